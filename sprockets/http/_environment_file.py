"""The environment file: definitions that a service finds in its environment when it starts.

Its lines look like those of a shell, but there are no escapes and nothing is expanded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sprockets.logbook import Logger

_log = Logger("sprockets.http")

_EXPORT: Final = re.compile(r"^export\s+(?=[^\s=])")
_QUOTED: Final = re.compile(r"""("[^"]*"|'[^']*')\s*(?:#.*)?""")
_WHOLLY_QUOTED: Final = re.compile(r"""(["']).*\1""")
_LONG_WORD: Final = re.compile(r"\S{20,}")


@dataclass(frozen=True)
class Definition:
    """A line that says what the variable *name* is; without a *value* it is removed."""

    name: str
    value: str | None


@dataclass(frozen=True)
class Malformed:
    """A line, the *number*-th from 1, that says nothing; *text* is what may be shown of it."""

    number: int
    text: str


def parse(text: str) -> Iterator[Definition | Malformed]:
    r"""Return what the lines of *text* say, but for blank ones and comments.

    >>> list(parse("export PORT=8000  # behind the proxy\nDEBUG=\nwhat?"))
    [Definition(name='PORT', value='8000'), Definition(name='DEBUG', value=None),
     Malformed(number=3, text='what?')]
    """
    # Not splitlines(): a value may hold the separators that only Python takes for line ends.
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, sign, value = _EXPORT.sub("", line, count=1).partition("=")
        name = name.rstrip()
        if not sign or not _is_name(name) or "\0" in value:
            yield Malformed(number, _shown(line))
        else:
            yield Definition(name, _value(value.strip()) or None)


def _is_name(name: str) -> bool:
    return bool(name) and not any(mark.isspace() or mark in "\0#" for mark in name)


def _value(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        return quoted[1][1:-1]
    if _WHOLLY_QUOTED.fullmatch(text) is None:
        text = text.partition("#")[0].rstrip()
    return text[1:-1] if _WHOLLY_QUOTED.fullmatch(text) is not None else text


def _shown(line: str) -> str:
    """Return *line* without what could be a value, such as a line of a key in several."""
    name, sign, value = line.partition("=")
    return _LONG_WORD.sub("***", f"{name}{sign}***" if value.strip() else line)


def apply(path: str | os.PathLike[str], environ: MutableMapping[str, str]) -> None:
    """Define in *environ* what the file at *path* says, from its first line to its last.

    Each variable is named in the log, and no value.  Lines that say nothing are passed over, and
    named too.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not UTF-8.
    """
    for found in parse(Path(path).read_text(encoding="utf-8-sig")):
        if isinstance(found, Malformed):
            _log.info("ignored malformed line {} of {}: {}", found.number, path, found.text)
        elif found.value is None:
            environ.pop(found.name, None)
            _log.info("removed {} from the environment", found.name)
        else:
            environ[found.name] = found.value
            _log.info("set {} from {}", found.name, path)
