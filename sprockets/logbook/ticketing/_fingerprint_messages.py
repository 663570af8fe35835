"""Messages without what differs from one to the next: numbers, names of people, times, paths."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

MAX_MESSAGE: Final = 4_096
"""Characters of a message that are looked at."""

# Each alternative begins where a token begins and is bounded, so that the time is linear in the
# length of the text, whatever it is.  What comes first takes precedence.
_PARTS: Final = (
    ("quoted", r"""(?<!\w)(?:'[^'\n]{0,500}'|"[^"\n]{0,500}"|`[^`\n]{0,500}`)"""),
    ("quoted", r"‘[^’\n]{0,500}’|“[^”\n]{0,500}”|«[^»\n]{0,500}»"),
    ("url", r"(?<!\w)[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s'\"<>]{1,500}"),
    ("email", r"(?<![\w.+%-])[\w.+%-]{1,64}@\w[\w-]{0,62}(?:\.[\w-]{1,63}){1,8}"),
    (
        "id",
        r"(?<!\w)[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}(?!\w)",
    ),
    (
        "time",
        r"(?<!\w)\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?"
        r"(?:Z|[+-]\d\d:?\d\d)?)?(?!\w)",
    ),
    ("time", r"(?<!\w)\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?![\w:])"),
    ("address", r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w.]*\w)"),
    ("address", r"(?<![\w:])\[?(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}\]?(?![\w:])"),
    ("path", r"(?<![\w/\\.])[A-Za-z]:[\\/][^\s'\"<>|*?]{1,500}"),
    ("path", r"(?<![\w/\\.~])(?:~|\.{1,2})?/[\w.@+~%-]{1,255}(?:/[\w.@+~%-]{0,255}){0,40}"),
    ("number", r"(?<!\w)0[xX][0-9A-Fa-f]{1,64}(?!\w)"),
    ("number", r"(?<!\w)(?=[0-9A-Fa-f]{0,64}\d)[0-9A-Fa-f]{8,128}(?!\w)"),
    ("number", r"[+-]?\d{1,400}(?:[.,]\d{1,400}){0,20}(?:[eE][+-]?\d{1,4})?"),
)
_NAMES: Final = tuple(f"<{name}>" for name, _ in _PARTS)


@lru_cache(maxsize=1)
def _variable() -> re.Pattern[str]:
    return re.compile("|".join(f"({pattern})" for _, pattern in _PARTS))


def _name(match: re.Match[str]) -> str:
    assert match.lastindex is not None
    return _NAMES[match.lastindex - 1]


def without_variables(message: str) -> str:
    """Return *message* with names of kinds in place of what differs from one to the next.

    Takes time in proportion to its length, of which `MAX_MESSAGE` characters count.

    >>> without_variables("no answer from 10.0.0.7:5432 for user 'ann' (17 tries, 0.5 s)")
    'no answer from <address> for user <quoted> (<number> tries, <number> s)'
    """
    return " ".join(_variable().sub(_name, message[:MAX_MESSAGE]).split())
