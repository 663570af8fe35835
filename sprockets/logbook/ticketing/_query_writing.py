"""Queries as people type them: written so that they are read as what they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from sprockets.logbook._levels import LEVEL_NAMES
from sprockets.logbook.ticketing._search import Query

TUPLES: Final = {
    "is": "states",
    "level": "levels",
    "channel": "channels",
    "release": "releases",
    "env": "environments",
    "app": "app_ids",
    "assigned": "assignees",
    "request": "request_ids",
}
"""Under which name the values of a query are typed that are alternatives."""


def format_query(query: Query) -> str:
    """Return the text that `parse_query` makes *query* of.

    >>> format_query(Query(states=("new",), min_level=14, texts=("time out",)))
    'is:new level:>=error "time out"'
    """
    return " ".join(_terms(query))


def _terms(query: Query) -> list[str]:
    terms = []
    for name, attribute in TUPLES.items():
        values = getattr(query, attribute)
        if values:
            write = _WRITERS.get(name, _quoted)
            terms.append(f"{name}:{','.join(write(value) for value in values)}")
        if name == "level" and query.min_level is not None:
            terms.append(f"level:>={_level_text(query.min_level)}")
    if query.seen_since is not None:
        terms.append(f"seen:{query.seen_since.isoformat()}")
    if query.first_since is not None:
        terms.append(f"first:{query.first_since.isoformat()}")
    if query.min_count is not None:
        terms.append(f"count:>={query.min_count}")
    terms += [_quoted_text(text) for text in query.texts]
    for excluded in query.excluded:
        inner = _terms(excluded)
        is_simple = len(inner) == 1 and not inner[0].startswith("-")
        terms.append(f"-{inner[0]}" if is_simple else f"-({' '.join(inner)})")
    return terms


def _level_text(level: int) -> str:
    return LEVEL_NAMES[level].lower() if level in LEVEL_NAMES else str(level)


@lru_cache(maxsize=1)
def _plain() -> re.Pattern[str]:
    return re.compile(r"[^\s()\",\\:-][^\s()\",\\]*")


def _quoted(value: str) -> str:
    return value if _plain().fullmatch(value) else _in_quotes(value)


def _quoted_text(text: str) -> str:
    # What comes before a colon would be taken for a field.
    return _quoted(text) if ":" not in text else _in_quotes(text)


def _in_quotes(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _quoted_name(name: str) -> str:
    if not name:
        return "none"
    return f'"{name}"' if name in ("me", "none") else _quoted(name)


_WRITERS: Final[dict[str, Callable[[Any], str]]] = {
    "is": str,
    "level": _level_text,
    "assigned": _quoted_name,
}
