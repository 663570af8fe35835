"""What people type to find tickets, and what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

from sprockets.logbook._levels import LEVEL_NAMES
from sprockets.logbook.ticketing._query_writing import TUPLES, format_query
from sprockets.logbook.ticketing._search import STATES, Query

__all__ = ["FIELD_NAMES", "QueryError", "format_query", "parse_query"]

MAX_LENGTH: Final = 4_000
"""Characters of a query."""
MAX_DEPTH: Final = 20
"""Parentheses within each other."""

FIELD_NAMES: Final = (
    "is",
    "level",
    "channel",
    "release",
    "env",
    "app",
    "assigned",
    "request",
    "seen",
    "first",
    "count",
)
"""What may stand before a colon."""

_ALIASES: Final = {
    "app_id": "app",
    "assignee": "assigned",
    "environment": "env",
    "first_seen": "first",
    "last_seen": "seen",
    "request_id": "request",
    "state": "is",
    "status": "is",
    "times": "count",
}
_OPEN: Final = ("new", "assigned", "regressed")
_LEVELS: Final = {name.lower(): level for level, name in LEVEL_NAMES.items()}
_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_EMPTY: Final = Query()


class QueryError(ValueError):
    """A query that cannot be understood; the text shows where, and what is known.

    Args:
        message: What is wrong.
        query: The query.
        position: Where in it, in characters from 0 on.
        length: How many characters are to blame.
    """

    def __init__(self, message: str, query: str, position: int, length: int = 1) -> None:
        self.message = message
        self.query = query
        self.position = position
        self.length = length
        shown = "".join(character if character.isprintable() else " " for character in query)
        begin = max(0, position - 60)
        end = begin + 120
        marks = " " * (position - begin) + "^" * max(1, min(length, end - position))
        super().__init__(f"{message}\n  {shown[begin:end]}\n  {marks}")


class _Value(NamedTuple):
    text: str
    is_quoted: bool
    position: int
    length: int


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    return (
        re.compile(r"([A-Za-z_]+):"),
        re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL),
        re.compile(r"(\d{1,6})([smhdw])"),
    )


def parse_query(text: str, *, now: datetime | None = None, me: str | None = None) -> Query:
    """Return the query that *text* says; a ticket meets all of its terms.

    ==============================  ============================================================
    ``is:new`` ``is:open``          its state; ``open`` is new, assigned or regressed
    ``level:error``                 its level
    ``level:>=warning``             its level at least, or with ``>`` ``<=`` ``<``
    ``channel:shop.*``              its channel, ``*`` being any text
    ``release:1.2`` ``env:test``    where it was seen
    ``app:shop``                    its application
    ``assigned:ann``                to whom it is assigned: ``me``, or ``none``
    ``request:5c0f``                a request during which it occurred
    ``seen:24h`` ``first:7d``       when it occurred last, or first: within ``s m h d w``, or since
                                    a date, or a time of a day in UTC
    ``count:>100``                  how often it occurred
    ``word`` ``"any text"``         what title, channel, module or location contain
    ``-term`` ``-(term term)``      what is not so, or not all at once
    ==============================  ============================================================

    Values after commas are alternatives.  Values in quotes are what they are: ``assigned:"me"``.

    >>> parse_query("is:new,regressed level:>=error -channel:noise timeout").texts
    ('timeout',)

    Args:
        text: What was typed.
        now: The time, in UTC and without a zone; the present unless given.
        me: Who asks.

    Raises:
        QueryError: It cannot be understood.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"a query has at most {MAX_LENGTH} characters", text, MAX_LENGTH)
    parser = _Parser(text, now or datetime.now(UTC).replace(tzinfo=None), me)
    query = parser.read_terms(0)
    if parser.position < len(text):
        parser.fail("there is no '(' for this one", parser.position)
    return query


class _Parser:
    """Reads a query from left to right."""

    def __init__(self, text: str, now: datetime, me: str | None) -> None:
        self.text = text
        self.position = 0
        self._now = now
        self._me = me

    def fail(self, message: str, position: int, length: int = 1) -> NoReturn:
        """Raise what is wrong at *position*."""
        raise QueryError(message, self.text, position, length)

    def read_terms(self, depth: int) -> Query:
        """Return what all terms up to the end, or a closing parenthesis, say."""
        query = _EMPTY
        while True:
            while self._peek().isspace():
                self.position += 1
            if self._peek() in ("", ")"):
                return query
            if self._peek() == "-":
                self.position += 1
                excluded = self._read_negated(depth)
                query = replace(query, excluded=(*query.excluded, excluded))
            else:
                query = self._read_term(query, depth)

    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def _read_negated(self, depth: int) -> Query:
        following = self._peek()
        if following == "(":
            return self._read_group(depth)
        if following in ("", "-", ")") or following.isspace():
            self.fail(
                "'-' stands before what is not so; a minus sign goes in quotes", self.position - 1
            )
        return self._read_term(_EMPTY, depth)

    def _read_group(self, depth: int) -> Query:
        begin = self.position
        if depth >= MAX_DEPTH:
            self.fail(f"at most {MAX_DEPTH} parentheses within each other", begin)
        self.position += 1
        query = self.read_terms(depth + 1)
        if self._peek() != ")":
            self.fail("there is no ')' for this one", begin)
        self.position += 1
        return query

    def _read_term(self, query: Query, depth: int) -> Query:
        begin = self.position
        if self._peek() == "(":
            self.fail("parentheses stand behind '-' only; other terms need none", begin)
        match = _patterns()[0].match(self.text, begin)
        if match is None:
            return replace(query, texts=(*query.texts, self._read_value(stop="").text))
        written = match[1]
        name = _ALIASES.get(written.lower(), written.lower())
        if name not in FIELD_NAMES:
            self._fail_for_name(written, begin)
        self.position = match.end()
        values = [self._read_value(stop=",")]
        while self._peek() == ",":
            self.position += 1
            values.append(self._read_value(stop=","))
        if self._peek() not in ("", ")") and not self._peek().isspace():
            self.fail("a space is missing here", self.position)
        for value in values:
            query = self._meet(query, name, value)
        return query

    def _fail_for_name(self, name: str, position: int) -> NoReturn:
        known = f"known: {', '.join(FIELD_NAMES)}; text with a colon goes in quotes"
        self.fail(
            f"unknown field {name!r}{_nearest(name, FIELD_NAMES)}; {known}", position, len(name)
        )

    def _read_value(self, stop: str) -> _Value:
        """Return the value that is next; unquoted, it ends at a space, a parenthesis, or *stop*."""
        begin = self.position
        if self._peek() == '"':
            match = _patterns()[1].match(self.text, begin)
            if match is None:
                self.fail("there is no second quote for this one", begin)
            self.position = match.end()
            return _Value(
                re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL), True, begin, match.end() - begin
            )
        end = begin
        while end < len(self.text):
            character = self.text[end]
            if character.isspace() or character in f'()"{stop}':
                break
            end += 1
        self.position = end
        return _Value(self.text[begin:end], False, begin, end - begin)

    # -- what a term says

    def _meet(self, query: Query, name: str, value: _Value) -> Query:
        if not value.text and not value.is_quoted:
            self.fail(f"{name}: needs a value", value.position)
        if name == "count":
            return replace(query, min_count=_most(query.min_count, self._count(value)))
        if name == "seen":
            return replace(query, seen_since=_most(query.seen_since, self._since(name, value)))
        if name == "first":
            return replace(query, first_since=_most(query.first_since, self._since(name, value)))
        if name == "level":
            return self._meet_level(query, value)
        found: tuple[Any, ...] = (value.text,)
        if name == "is":
            found = self._states(value)
        elif name == "assigned":
            found = (self._assignee(value),)
        attribute = TUPLES[name]
        changed: dict[str, Any] = {attribute: (*getattr(query, attribute), *found)}
        return replace(query, **changed)

    def _states(self, value: _Value) -> tuple[str, ...]:
        state = value.text.lower()
        if state == "open":
            return _OPEN
        if state not in STATES:
            self._fail_for_value("state", value, (*STATES, "open"))
        return (state,)

    def _assignee(self, value: _Value) -> str:
        if value.is_quoted:
            return value.text
        if value.text == "none":
            return ""
        if value.text == "me":
            if self._me is None:
                self.fail("nobody knows who 'me' is; say the name", value.position, value.length)
            return self._me
        return value.text

    def _meet_level(self, query: Query, value: _Value) -> Query:
        operator, rest = _operator(value.text)
        level = self._level(rest, value)
        if operator == ">=":
            return replace(query, min_level=_most(query.min_level, level))
        known = sorted(LEVEL_NAMES)
        if operator == ">":
            above = [number for number in known if number > level]
            if not above:
                self.fail("there is no level above this one", value.position, value.length)
            return replace(query, min_level=_most(query.min_level, above[0]))
        found: tuple[int, ...] = (level,)
        if operator:
            found = tuple(
                number
                for number in known
                if number < level or (number == level and operator == "<=")
            )
            if not found:
                self.fail("there is no level below this one", value.position, value.length)
        return replace(query, levels=(*query.levels, *found))

    def _level(self, text: str, value: _Value) -> int:
        if text.isascii() and text.isdigit() and len(text) < 10:
            return int(text)
        level = _LEVELS.get(text.lower())
        if level is None:
            self._fail_for_value("level", value, tuple(_LEVELS), text)
        return level

    def _count(self, value: _Value) -> int:
        operator, rest = _operator(value.text)
        if operator not in (">", ">=") or not (
            rest.isascii() and rest.isdigit() and len(rest) < 16
        ):
            self.fail(
                "a count is a least number, as in count:>=100 or count:>100",
                value.position,
                value.length,
            )
        return int(rest) + (operator == ">")

    def _since(self, name: str, value: _Value) -> datetime:
        match = _patterns()[2].fullmatch(value.text)
        try:
            if match is not None:
                return self._now - int(match[1]) * _UNITS[match[2]]
            moment = datetime.fromisoformat(value.text)
            if moment.tzinfo is not None:
                moment = moment.astimezone(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):
            self.fail(
                f"{name}: takes a time as 30m, 24h, 7d or 2w, or as 2026-11-21 or 2026-11-21T10:30",
                value.position,
                value.length,
            )
        return moment

    def _fail_for_value(
        self, kind: str, value: _Value, known: tuple[str, ...], text: str | None = None
    ) -> NoReturn:
        text = value.text if text is None else text
        self.fail(
            f"unknown {kind} {text!r}{_nearest(text, known)}; known: {', '.join(known)}",
            value.position,
            value.length,
        )


def _operator(text: str) -> tuple[str, str]:
    for operator in (">=", "<=", ">", "<"):
        if text.startswith(operator):
            return operator, text[len(operator) :]
    return "", text


def _most(before: Any, found: Any) -> Any:
    return found if before is None else max(before, found)


def _nearest(text: str, known: tuple[str, ...]) -> str:
    found = get_close_matches(text.lower(), known, 1)
    return f"; did you mean {found[0]!r}?" if found else ""
