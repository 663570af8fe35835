"""What ``sprockets tickets URL`` serves, and to whom."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import secrets
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit, urlunsplit

from sprockets import http
from sprockets._support.optional import MissingDependency
from sprockets.commands._tickets_trackers import Trackers, find_trackers
from sprockets.commands._tickets_trackers import add_option as add_tracker_option
from sprockets.http import _command
from sprockets.http._loading import CommandError
from sprockets.http._settings import FIELDS, variable_of
from sprockets.http._supervisor import EXIT_UNAVAILABLE
from sprockets.logbook.ticketing import Filing
from sprockets.tickets._auth import TrustedHeader, User, is_loopback
from sprockets.tickets._settings import Anonymous, check_base_path, open_store
from sprockets.tickets._token_file import TokenFile
from sprockets.tickets._tokens import Token, parse_tokens
from sprockets.tickets.app import make_app

_VARIABLE: Final = "env:"
_OPENID_SECRET: Final = "SPROCKETS_TICKETS_OPENID_SECRET"  # noqa: S105  # a name
_LOCAL: Final = "127.0.0.1"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}; see {self.prog} --help")


def make_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser for the arguments of the command that is called *program*."""
    parser = _Parser(
        prog=program,
        usage="%(prog)s [options] URL",
        description="Serve the tickets of a store until a signal says stop.",
        epilog=(
            "A URL of env:VARIABLE is in that variable: a password on the command line is seen by"
            " all.  Without --address only this machine is answered.  Beyond it, people or programs"
            " have to be known: by a token of the store, --token-file, --trusted-header or"
            " --openid-issuer."
        ),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("store", metavar="URL", help="of the store, as in sqlite:///tickets.db, or mongodb://...")
    add("--base-path", default="", metavar="PATH", help="put before each path, as in /tickets")
    add("--url", metavar="URL", dest="public_url", help="where people reach it through a proxy")
    add("--host", action="append", metavar="NAME", help="answer this Host only; may be repeated")
    add("--secret-file", metavar="FILE", help="what signs sessions, so that they outlive a restart")
    add_tracker_option(parser)
    known = parser.add_argument_group("who is let in")
    add = known.add_argument
    add(
        "--token-file",
        metavar="FILE",
        help="lines of: name, read,write, SHA-256 of the token; read again when it changed",
    )
    add("--trusted-header", metavar="NAME", help="a proxy says in it who asks")
    add(
        "--proxy",
        action="append",
        metavar="NETWORK",
        help="whose header is believed; this machine's by default; may be repeated",
    )
    add("--openid-issuer", metavar="URL", help="people log in with this OpenID provider")
    add(
        "--openid-client", metavar="ID", help=f"what it calls us; the secret is in {_OPENID_SECRET}"
    )
    add("--writers", type=_names, metavar="NAMES", help="who may change tickets; all by default")
    add("--insecure", action="store_true", help="let in everybody who can reach it")
    options = parser.add_argument_group("options of the service, with their variables")
    for name, each in FIELDS.items():
        if name != "ssl_options":
            _command._add_option(options, name, each)
    options.add_argument("--certfile", metavar="PATH", help="serve HTTPS with this certificate")
    options.add_argument("--keyfile", metavar="PATH", help="its key, if it is in another file")
    parser.set_defaults(own=())
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def run(argv: Sequence[str], program: str) -> int:
    """Serve as *argv* says until a signal says stop, and return the exit status.

    Args:
        argv: The arguments.
        program: What the command is called.

    Raises:
        CommandError: They make no sense, or the store cannot be reached.
    """
    arguments = make_parser(program).parse_args(argv)
    settings = _command._find_settings(arguments)
    if not any(name in settings for name in ("address", "unix_socket")) and not any(
        os.environ.get(variable_of(name), "").strip() for name in ("address", "unix_socket")
    ):
        settings["address"] = _LOCAL
    options, _ = _command._resolve(settings)
    url = resolve_store(arguments.store)
    base_path = _check(check_base_path, arguments.base_path)
    user = _find_user(arguments)
    tokens = _read_tokens(arguments.token_file)
    trackers = find_trackers(arguments)
    # What makes no sense is said before anything is served.
    Trackers(trackers)
    is_known = bool(user or tokens or _has_tokens(url))
    anonymous: Anonymous = "never" if is_known else "local"
    if arguments.insecure:
        if is_known:
            raise CommandError("--insecure lets everybody in: leave it out, or tokens and users")
        anonymous = "anywhere"
    elif not is_known and options.unix_socket is None and not is_local(options.address):
        raise CommandError(
            f"nobody has to say who he is, and {options.address or 'all addresses'} can be reached"
            " by others: make a token with 'sprockets tickets token add', or give --token-file,"
            " --trusted-header or --openid-issuer; or listen on --address 127.0.0.1"
        )
    keywords: dict[str, Any] = {
        "user": user,
        "base_path": base_path,
        "anonymous": anonymous,
        # Made before the processes are forked: a session is good in all of them.
        "secret": _read_secret(arguments.secret_file),
        "url": arguments.public_url,
        "hosts": arguments.host,
    }
    if options.ssl_options is not None:
        keywords["secure"] = True

    def make_application(**more: Any) -> Any:
        # In each process of its own: what SIGHUP starts reads the files as they are then.
        if arguments.token_file is not None:
            more["tokens"] = TokenFile(arguments.token_file)
        if not trackers:
            return make_app(store=url, **keywords, **more)
        filing = Trackers(trackers).make_filing(
            None, ticket_url=_page_of_tickets(arguments.public_url)
        )
        application = make_app(store=url, trackers=filing, **keywords, **more)
        application.on_shutdown_callbacks.append(partial(_close_filing, filing))
        return application

    http.run(make_application, settings)
    return 0


async def _close_filing(filing: Filing, _: object) -> None:
    """Wait in a thread for what trackers are still told; then its store has nothing to do."""
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, filing.close)
    if filing.db is not None:
        await loop.run_in_executor(None, filing.db.close)


def _page_of_tickets(url: str | None) -> str | None:
    if url is None:
        return None
    escaped = url.rstrip("/").replace("{", "{{").replace("}", "}}")
    return f"{escaped}/tickets/{{ticket_id}}"


def resolve_store(text: str) -> str:
    """Return the URL of a store; ``env:VARIABLE`` is in that variable.

    Raises:
        CommandError: There is none.
    """
    if not text.startswith(_VARIABLE):
        return text
    name = text.removeprefix(_VARIABLE)
    url = os.environ.get(name, "")
    if not url:
        raise CommandError(f"the environment variable {name!r} of {text} is not set")
    return url


def shown_url(url: str) -> str:
    """Return *url* without its password.

    >>> shown_url("postgresql://shop:secret@db/tickets")
    'postgresql://shop:***@db/tickets'
    """
    try:
        parts = urlsplit(url)
        if parts.password is None:
            return url
        name, _, host = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{name.partition(':')[0]}:***@{host}"))
    except ValueError:
        return f"{url.partition(':')[0]}:..."


def open_or_complain(url: str) -> Any:
    """Return the store at *url*.

    Raises:
        CommandError: It cannot be opened; with status 69 unless the URL makes no sense.
    """
    try:
        return open_store(url)
    except (MissingDependency, ValueError) as error:
        raise CommandError(str(error)) from None
    except Exception as error:
        raise _no_store(url, error) from error


def _no_store(url: str, error: Exception) -> CommandError:
    # SQLAlchemy's go on with the statement, and with where to read about it.
    text = str(error).partition("\n")[0]
    kind = type(error).__name__
    if kind in ("ArgumentError", "NoSuchModuleError", "ConfigurationError", "InvalidURI"):
        return CommandError(f"{shown_url(url)} is no URL of a store: {text}")
    if kind == "StoreUnavailableError":
        return CommandError(text, EXIT_UNAVAILABLE)
    return CommandError(f"cannot open the store {shown_url(url)}: {kind}: {text}", EXIT_UNAVAILABLE)


def _has_tokens(url: str) -> bool:
    store = open_or_complain(url)
    try:
        return bool(store.get_tokens())
    except Exception as error:
        raise _no_store(url, error) from error
    finally:
        # No process that is forked later shares its connections.
        store.close()


def _check(convert: Any, value: Any) -> Any:
    try:
        return convert(value)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _find_user(arguments: argparse.Namespace) -> User | None:
    header, issuer = arguments.trusted_header, arguments.openid_issuer
    if header is not None and issuer is not None:
        raise CommandError("--trusted-header and --openid-issuer both say who asks; give one")
    if header is None and arguments.proxy:
        raise CommandError("--proxy needs --trusted-header")
    if issuer is None and arguments.openid_client is not None:
        raise CommandError("--openid-client needs --openid-issuer")
    try:
        if header is not None:
            proxies = arguments.proxy or ["127.0.0.1", "::1", "unix"]
            return TrustedHeader(header, proxies, writers=arguments.writers)
        if issuer is not None:
            return _make_openid(issuer, arguments)
    except (MissingDependency, ValueError) as error:
        raise CommandError(str(error)) from None
    if arguments.writers is not None:
        raise CommandError("--writers needs --trusted-header or --openid-issuer")
    return None


def _make_openid(issuer: str, arguments: argparse.Namespace) -> User:
    from sprockets.tickets._auth_openid import OpenIDConnect

    if arguments.openid_client is None:
        raise CommandError("--openid-issuer needs --openid-client")
    secret = os.environ.get(_OPENID_SECRET) or None
    return OpenIDConnect(issuer, arguments.openid_client, secret, writers=arguments.writers)


def _read(path: str, name: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandError(f"{name}: cannot read {path}: {reason}") from None


def _read_tokens(path: str | None) -> list[Token]:
    if path is None:
        return []
    try:
        tokens = parse_tokens(_read(path, "--token-file"))
    except ValueError as error:
        raise CommandError(f"--token-file: {path}: {error}") from None
    if not tokens:
        raise CommandError(f"--token-file: there is no token in {path}")
    return tokens


def _read_secret(path: str | None) -> str:
    if path is None:
        return secrets.token_urlsafe(32)
    text = _read(path, "--secret-file").strip()
    if len(text) < 16:
        raise CommandError(f"--secret-file: expected 16 characters or more in {path}")
    return text


def is_local(address: str | None) -> bool:
    """Return whether what listens on *address* is reached from this machine only."""
    if not address:
        return False
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(address, None)
    except OSError:
        return False
    return all(is_loopback(str(each[4][0]).partition("%")[0]) for each in found)
