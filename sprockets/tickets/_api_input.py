"""What programs tell us: read with suspicion, refused with an explanation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, TypeAlias

from sprockets.http.mixins import Problem
from sprockets.logbook._clock import parse_iso8601

TicketId: TypeAlias = int | str

MAX_BODY: Final = 1024 * 1024
"""Bytes of a body."""
MAX_TEXT: Final = 10_000
"""Characters of a comment."""
MAX_NAME: Final = 200
"""Characters of a name, or of a release."""
MAX_IDS: Final = 500
"""Tickets of one request."""
MAX_LIMIT: Final = 200
"""Rows of a page."""
_MAX_OFFSET: Final = 10_000_000
_MAX_COUNT: Final = 1_000_000_000


class InputError(ValueError):
    """What was told makes no sense.

    Args:
        name: Which part of it.
        text: What is wrong, and what is expected.
        more: The same for programs.
    """

    def __init__(self, name: str, text: str, **more: Any) -> None:
        super().__init__(f"{name}: {text}" if name else text)
        self.name = name
        self.text = text
        self.more = more

    def to_problem(self, *, in_body: bool) -> Problem:
        """Return the same for the client.

        Args:
            in_body: Whether the part is a member of the body, or a parameter of the URL.
        """
        error: dict[str, Any] = {"detail": self.text, **self.more}
        if in_body:
            error["pointer"] = f"#/{self.name}" if self.name else "#"
        else:
            error["parameter"] = self.name
        return Problem(422 if in_body else 400, detail=str(self), errors=[error])


# -- bodies


def parse_object(body: bytes, content_type: str) -> dict[str, Any]:
    """Return the JSON object that *body* is.

    Raises:
        sprockets.http.mixins.Problem: It is none.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, detail="Expected a body of the type application/json")
    try:
        # Exactly as RFC 8259 has it: no byte order mark, no NaN, no name twice.
        found = json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique
        )
    except RecursionError:
        raise Problem(400, detail="The body is nested too deeply") from None
    except ValueError as error:
        raise Problem(400, detail=f"The body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Problem(422, detail=f"Expected a JSON object, got {_kind_of(found)}")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _kind_of(value: object) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return "null" if value is None else kinds.get(type(value), "a number")


def check_members(body: Mapping[str, Any], *known: str) -> None:
    """Refuse members that nobody knows: one that is mistyped would be left out in silence.

    Raises:
        InputError: There is one.
    """
    for name in body:
        if name not in known:
            raise InputError(_shown(name), f"unknown; known: {', '.join(known)}")


def _shown(value: object) -> str:
    text = ascii(value)[1:-1] if isinstance(value, str) else ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def parse_text(
    value: object, name: str, *, max_length: int = MAX_NAME, may_be_empty: bool = False
) -> str:
    """Return a text that every store takes: no NUL, no half of a character.

    Raises:
        InputError: It is none.
    """
    if not isinstance(value, str):
        raise InputError(name, f"expected a string, got {_kind_of(value)}")
    if not value.strip() and not may_be_empty:
        raise InputError(name, "expected some text, got none")
    if len(value) > max_length:
        raise InputError(name, f"expected at most {max_length:,} characters, got {len(value):,}")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(name, "has characters that cannot be stored: NUL, or lone surrogates")
    return value


def parse_line(value: object, name: str, *, may_be_empty: bool = False) -> str:
    """Return a text of one line, as a name is.

    Raises:
        InputError: It is none.
    """
    text = parse_text(value, name, may_be_empty=may_be_empty).strip()
    if not text.isprintable():
        raise InputError(name, "expected one line without control characters")
    return text


def parse_count(value: object, name: str, *, least: int = 1, most: int = _MAX_COUNT) -> int:
    """Return a whole number, given as such or in decimal digits.

    Raises:
        InputError: It is none, or out of bounds.
    """
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19:
        value = int(value)
    if type(value) is not int:
        shown = f" {_shown(value)!r}" if isinstance(value, str) else f" {_kind_of(value)}"
        raise InputError(name, f"expected a whole number, got{shown}")
    if not least <= value <= most:
        raise InputError(name, f"expected {least:,} to {most:,}, got {_shown(value)}")
    return value


def parse_time(value: object, name: str) -> datetime:
    """Return a moment, in UTC and without a zone; it is in UTC unless it says otherwise.

    Raises:
        InputError: It is none.
    """
    try:
        if isinstance(value, str) and len(value) <= 40:
            return parse_iso8601(value)
    except (ValueError, OverflowError):
        pass
    raise InputError(name, "expected a time, as in 2026-01-31T12:00:00Z")


def parse_id(value: object, name: str = "id") -> TicketId:
    """Return the id of something: a number, or the text that MongoDB has.

    Raises:
        InputError: It is neither.
    """
    if type(value) is int and 0 <= value < 2**63:
        return value
    if isinstance(value, str) and value.isascii() and value.isalnum() and len(value) <= 64:
        # The ids of MongoDB have 24 digits, all of which may be decimal.
        return int(value) if value.isdecimal() and len(value) <= 18 else value
    raise InputError(name, "expected an id, as in 17")


def parse_ids(value: object, name: str) -> list[TicketId]:
    """Return some ids, each once.

    Raises:
        InputError: There are none, or too many.
    """
    if not isinstance(value, list):
        raise InputError(name, f"expected an array of ids, got {_kind_of(value)}")
    if not 1 <= len(value) <= MAX_IDS:
        raise InputError(name, f"expected 1 to {MAX_IDS} ids, got {len(value):,}")
    return list(dict.fromkeys(parse_id(each, name) for each in value))


# -- what is to be changed


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a ticket.

    Args:
        state: ``"solved"``, ``"ignored"``, or ``"new"`` to reopen it; ``None`` leaves it.
        release: In which it is solved.
        until: When it is no longer ignored.
        occurrences: After how many more it is no longer ignored.
        assignee: Whose it is from now on, ``""`` for nobody; ``None`` leaves that.
    """

    state: str | None = None
    release: str | None = None
    until: datetime | None = None
    occurrences: int | None = None
    assignee: str | None = None


CHANGE_MEMBERS: Final = ("state", "release", "until", "occurrences", "assignee")
_STATES: Final = ("new", "solved", "ignored")


def parse_change(body: Mapping[str, Any], now: datetime | None = None) -> Change:
    """Return what *body* wants to be changed.

    Raises:
        InputError: It makes no sense.
    """
    check_members(body, *CHANGE_MEMBERS)
    if "state" not in body and "assignee" not in body:
        raise InputError("", "expected a state or an assignee")
    state = body.get("state")
    if "state" in body and (not isinstance(state, str) or state not in _STATES):
        hint = {
            "assigned": "; name an assignee instead",
            "regressed": "; a solved ticket becomes that when it occurs",
        }.get(state if isinstance(state, str) else "", "")
        shown = repr(_shown(state)) if isinstance(state, str) else _kind_of(state)
        raise InputError("state", f"expected new, solved or ignored, got {shown}{hint}")
    for name, of_state in (("release", "solved"), ("until", "ignored"), ("occurrences", "ignored")):
        if body.get(name) is not None and state != of_state:
            raise InputError(name, f"says something with the state {of_state} only")
    read: dict[str, Callable[[object, str], Any]] = {
        "release": parse_line,
        "until": parse_time,
        "occurrences": parse_count,
    }
    found = {
        name: parse(body[name], name) for name, parse in read.items() if body.get(name) is not None
    }
    if "until" in found and found["until"] <= (now or _now()):
        raise InputError("until", "expected a time to come, got one that is past")
    assignee = None
    if "assignee" in body:
        assignee = parse_line(body["assignee"] or "", "assignee", may_be_empty=True)
    return Change(state, assignee=assignee, **found)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


# -- parameters of URLs


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of a list.

    Args:
        order_by: A field; ``-`` in front puts the greatest first.
        limit: Rows at most.
        offset: Rows left out before.
    """

    order_by: str
    limit: int
    offset: int


def parse_page(
    given: Mapping[str, str], fields: Sequence[str], order_by: str, limit: int = 50
) -> Page:
    """Return the page that is asked for.

    Args:
        given: The parameters.
        fields: By which rows may be ordered.
        order_by: The order unless given.
        limit: Likewise.

    Raises:
        InputError: A parameter makes no sense.
    """
    order_by = given.get("order_by", order_by)
    if order_by.removeprefix("-") not in fields:
        raise InputError(
            "order_by",
            f"expected one of {', '.join(fields)}, with - in front for the reverse,"
            f" got {_shown(order_by)!r}",
        )
    return Page(
        order_by,
        parse_count(given.get("limit", limit), "limit", most=MAX_LIMIT),
        parse_count(given.get("offset", 0), "offset", least=0, most=_MAX_OFFSET),
    )


def check_parameters(given: Mapping[str, list[bytes]], *known: str) -> None:
    """Refuse parameters that nobody knows, and those that are there twice.

    Raises:
        InputError: There is one.
    """
    for name, values in given.items():
        if name not in known:
            text = f"unknown; known: {', '.join(known)}" if known else "there are no parameters"
            raise InputError(_shown(name), text)
        if len(values) > 1:
            raise InputError(name, "is there twice")
