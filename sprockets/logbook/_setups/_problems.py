"""Problems: what is wrong in a file of set-ups, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Place:
    """Where something is said.

    Args:
        file: The file, as it was named.
        table: Its table, dots between the names; empty at the top.
        key: The key in the table; empty for the table as a whole.
    """

    file: str
    table: str = ""
    key: str = ""

    def at(self, key: str) -> Place:
        """Return the place of *key* in this table, or below this key."""
        return replace(self, key=f"{self.key}.{key}" if self.key else key)

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.file, ".".join(filter(None, (self.table, self.key))))))


@dataclass(frozen=True)
class Problem:
    """Something in a file of set-ups that is wrong.

    ``str()`` is a line for people.

    Args:
        file: The file, as it was named.
        table: The table, such as ``"handlers.console"``; empty at the top.
        key: The key in it; empty if it is the table as a whole.
        text: What is wrong, what was given, what is possible.
    """

    file: str
    table: str
    key: str
    text: str

    def __str__(self) -> str:
        return f"{Place(self.file, self.table, self.key)}: {self.text}"


class Problems(list[Problem]):
    """Collects problems, each once, so that all can be told together."""

    def add(self, place: Place, text: str) -> None:
        """Note what is wrong at *place*."""
        problem = Problem(place.file, place.table, place.key, text)
        if problem not in self:
            self.append(problem)

    def add_unknown(self, place: Place, what: str, given: str, known: Iterable[str]) -> None:
        """Note that *given* at *place* is none of the *known*."""
        self.add(place, describe_unknown(what, given, known))


def describe_unknown(what: str, given: str, known: Iterable[str]) -> str:
    """Return what is to be said of a word that is none of those *known*.

    >>> describe_unknown("level", "dbug", ["debug", "info"])
    "unknown level 'dbug'; did you mean 'debug'? known: debug, info"
    """
    names = sorted(known)
    text = f"unknown {what} {given!r}"
    close = difflib.get_close_matches(given.lower(), names, 1)
    if close:
        text = f"{text}; did you mean {close[0]!r}?"
        return f"{text} known: {', '.join(names)}"
    return f"{text}; known: {', '.join(names) or 'none'}"
