"""The trackers that ``sprockets tickets`` tells of what is done: named in a word, or in a file."""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from sprockets.http._loading import CommandError
from sprockets.logbook._setups._levels import read_level
from sprockets.logbook._setups._problems import Place, Problems
from sprockets.logbook._setups._values import Values
from sprockets.logbook.ticketing import Filing, Tracker
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._trackers._kinds import KINDS, make_tracker

VARIABLE: Final = "SPROCKETS_TICKETS_TRACKERS"
"""Variable of the environment that names trackers, spaces between them."""
FILING: Final = ("min_level", "comment_at", "cool_down", "patience", "ticket_url", "drain_timeout")
"""What the table ``filing`` of a file may say."""

_SECRETS: Final = {
    "github": "SPROCKETS_TICKETS_GITHUB_TOKEN",
    "gitlab": "SPROCKETS_TICKETS_GITLAB_TOKEN",
    "redmine": "SPROCKETS_TICKETS_REDMINE_KEY",
    "trac": "SPROCKETS_TICKETS_TRAC_PASSWORD",
}


def add_option(parser: Any) -> None:
    """Give *parser* the option that names trackers."""
    parser.add_argument(
        "--tracker",
        action="append",
        metavar="TRACKER",
        help=(
            "is told what is done with tickets: github:OWNER/NAME, gitlab:GROUP/NAME,"
            " redmine:https://HOST/PROJECT, trac:https://USER@HOST/PATH, or a TOML file; may be"
            f" repeated ({VARIABLE}); secrets are in {', '.join(_SECRETS.values())}"
        ),
    )


def find_trackers(arguments: argparse.Namespace) -> list[str]:
    """Return the trackers that the arguments name, or else the environment."""
    given: list[str] | None = arguments.tracker
    return os.environ.get(VARIABLE, "").split() if given is None else given


class Trackers:
    """What makes trackers and their filing, in each process that needs them.

    Args:
        names: As given on the command line.
        environ: Variables; those of the process unless given.

    Raises:
        CommandError: One makes no sense.
    """

    def __init__(self, names: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._tables: list[dict[str, Any]] = []
        self._options: dict[str, Any] = {}
        for name in names:
            if name.endswith(".toml"):
                self._read(name)
            else:
                self._tables.append(self._table_of(name))
        # Whatever is wrong is to be said at once.
        self.make_filing(None).close(0)

    def __bool__(self) -> bool:
        return bool(self._tables)

    def make_filing(self, db: BackendBase | None, **options: Any) -> Filing:
        """Return a filing in these trackers.

        Args:
            db: The store.
            **options: For it, unless the file says them.

        Raises:
            CommandError: It cannot be made of what was given.
        """
        try:
            made: list[Tracker] = [make_tracker(table) for table in self._tables]
            return Filing(db, made, **{**options, **self._options})
        except (ValueError, LookupError, TypeError) as error:
            raise CommandError(f"--tracker: {error}") from None

    def _table_of(self, name: str) -> dict[str, Any]:
        kind, _, place = name.partition(":")
        if kind not in _SECRETS or not place:
            known = ", ".join(f"{each}:..." for each in _SECRETS)
            raise CommandError(f"--tracker: expected {known} or a TOML file, got {name!r}")
        secret = self._environ.get(_SECRETS[kind], "")
        if kind == "trac":
            url, user = _without_user(place)
            return {"kind": kind, "url": url, "user": user, "password": secret}
        if not secret:
            raise CommandError(f"--tracker {name}: set {_SECRETS[kind]}")
        if kind == "github":
            return {"kind": kind, "repository": place, "token": secret}
        if kind == "gitlab":
            return {"kind": kind, "project": place, "token": secret}
        url, _, project = place.rstrip("/").rpartition("/")
        return {"kind": kind, "url": url, "key": secret, "project": project}

    def _read(self, path: str) -> None:
        problems = Problems()
        values = Values(self._environ, problems)
        try:
            document = tomllib.loads(Path(path).read_text("utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CommandError(f"--tracker: cannot read {path}: {reason}") from None
        unknown = document.keys() - {"trackers", "filing"}
        tables, filing = document.get("trackers", []), document.get("filing", {})
        if unknown:
            problems.add(Place(path), f"unknown {', '.join(sorted(unknown))}; known: {_KNOWN}")
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            problems.add(Place(path, "trackers"), "expected [[trackers]], a table for each")
            tables = []
        if not isinstance(filing, dict):
            problems.add(Place(path, "filing"), "expected a table")
            filing = {}
        for name in filing:
            if name not in FILING:
                problems.add_unknown(Place(path, "filing", name), "key", name, FILING)
        found = values.resolve(tables, Place(path, "trackers"))
        options = values.resolve(filing, Place(path, "filing"))
        if "min_level" in options:
            place = Place(path, "filing", "min_level")
            options["min_level"] = read_level(options["min_level"], place, problems)
        if problems:
            raise CommandError("\n".join(f"--tracker: {values.hide(str(one))}" for one in problems))
        self._tables += [dict(table) for table in found]
        self._options.update(options)


_KNOWN: Final = f"[filing] and [[trackers]] of the kinds {', '.join(KINDS)}"


def _without_user(url: str) -> tuple[str, str | None]:
    parts = urlsplit(url)
    login, sign, host = parts.netloc.rpartition("@")
    if ":" in login:
        raise CommandError(
            f"--tracker: a password on the command line is seen by all; set {_SECRETS['trac']}"
        )
    return urlunsplit(parts._replace(netloc=host)), unquote(login) if sign else None
