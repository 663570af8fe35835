"""Texts that pages have in many places: times, addresses, and what is too long for a line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from sprockets.eliot._trees._times import format_duration
from sprockets.logbook._levels import LEVEL_NAMES

MAX_TITLE: Final = 300
"""Characters of a title that pages show."""

MAX_VALUE: Final = 20_000
"""Characters of a single value that pages show."""


# -- times


@dataclass(frozen=True, slots=True)
class Moment:
    """A time, as machines and as people read it; all of it is UTC.

    Args:
        iso: With all six digits of microseconds.
        text: To the second.
        ago: How long ago that is.
    """

    iso: str
    text: str
    ago: str


def moment_of(time: datetime | None, now: datetime) -> Moment | None:
    """Return *time* for people who look at it at *now*; both in UTC and without a zone."""
    if time is None:
        return None
    iso = f"{time.isoformat(timespec='microseconds')}Z"
    return Moment(iso, f"{time:%Y-%m-%d %H:%M:%S}", ago(time, now))


def ago(time: datetime, now: datetime) -> str:
    """Return how long before *now* *time* was, in words as short as can be.

    >>> noon = datetime(2026, 11, 21, 12)
    >>> [ago(noon.replace(hour=hour), noon) for hour in (12, 11, 3)]
    ['just now', '1 h ago', '9 h ago']
    >>> ago(datetime(2026, 11, 14, 11), noon), ago(datetime(2026, 8, 1), noon)
    ('7 d ago', '1 Aug')
    """
    seconds = (now - time).total_seconds()
    if seconds < 60:
        # What is ahead of us comes from a machine whose clock is.
        return "just now"
    if seconds < 3_600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 86_400:
        return f"{int(seconds // 3_600)} h ago"
    if seconds < 14 * 86_400:
        return f"{int(seconds // 86_400)} d ago"
    year = f" {time.year}" if time.year != now.year else ""
    return f"{time.day} {time:%b}{year}"


def present() -> datetime:
    """Return the present in UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


def offset_text(time: datetime | None, origin: datetime | None) -> str:
    """Return how long *time* is after *origin*, with a sign.

    >>> offset_text(datetime(2026, 1, 1, 0, 0, 1), datetime(2026, 1, 1, 0, 0, 3))
    '−2.00 s'
    """
    if time is None or origin is None:
        return ""
    seconds = (time - origin).total_seconds()
    if not seconds:
        return "0"
    return f"{'−' if seconds < 0 else '+'}{format_duration(abs(seconds))}"


# -- addresses


def ticket_url(base: str, ticket_id: object) -> str:
    """Return the path of a ticket's page."""
    return f"{base}/tickets/{quote(str(ticket_id), safe='')}"


def occurrence_url(base: str, occurrence_id: object) -> str:
    """Return the path of an occurrence's page."""
    return f"{base}/occurrences/{quote(str(occurrence_id), safe='')}"


def request_url(base: str, request_id: str) -> str:
    """Return the path of a request's page; ids may have slashes in them."""
    return f"{base}/requests/{quote(request_id, safe='')}"


# -- texts


def one_line(text: str) -> str:
    """Return *text* with its line breaks and other white space as single spaces."""
    return " ".join(text.split())


def cut(text: str, limit: int) -> str:
    """Return *text*, or as much of it as *limit* allows and a sign that there is more."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def short_path(path: str) -> str:
    """Return the name of a file with the folder it is in.

    >>> [short_path(path) for path in ("/srv/shop/orders/pay.py:12", "pay.py", "<unknown>:0")]
    ['orders/pay.py:12', 'pay.py', '']
    """
    if path == "<unknown>:0":
        return ""
    return "/".join(path.replace("\\", "/").split("/")[-2:])


def level_name(level: int | None) -> str:
    """Return the name of *level*; of one that has none, its number.

    >>> level_name(14), level_name(99), level_name(None)
    ('ERROR', 'LEVEL 99', 'NOTSET')
    """
    return LEVEL_NAMES.get(level or 0) or f"LEVEL {level}"


def web_url(url: object) -> str:
    """Return *url* if it is one for browsers, else nothing: no link runs a script.

    >>> web_url("https://example.org/17"), web_url("javascript:alert(1)"), web_url(None)
    ('https://example.org/17', '', '')
    """
    text = url if isinstance(url, str) else ""
    return text if text.startswith(("https://", "http://")) else ""
