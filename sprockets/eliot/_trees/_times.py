"""Times: durations and moments as people write and read them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

_UNITS: Final = {
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) *([a-zµ]*)")
_CLOCK: Final = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?")


def parse_duration(text: str) -> float:
    """Return the seconds that *text* says; without a unit, it is seconds already.

    >>> parse_duration("500ms"), parse_duration("1.5"), parse_duration("2h")
    (0.5, 1.5, 7200.0)

    Raises:
        ValueError: It is no duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or (match[2] or "s") not in _UNITS:
        raise ValueError(f"not a duration: {text!r}; expected like 0.5, 500ms, 3s, 2m or 1h")
    return float(match[1]) * _UNITS[match[2] or "s"]


def format_duration(seconds: float, *, is_ascii: bool = False) -> str:
    """Return *seconds* with the unit that suits them, and two or three digits that count.

    >>> format_duration(0.0000271), format_duration(0.812), format_duration(-0.0031)
    ('27 µs', '812 ms', '-3.1 ms')
    >>> format_duration(1.239), format_duration(125), format_duration(8100)
    ('1.24 s', '2 m 5 s', '2 h 15 m')
    """
    size = abs(seconds)
    if size < 0.0009995:
        text = f"{size * 1e6:.0f} {'us' if is_ascii else 'µs'}"
    elif size < 0.00995:
        text = f"{size * 1e3:.1f} ms"
    elif size < 0.9995:
        text = f"{size * 1e3:.0f} ms"
    elif size < 9.995:
        text = f"{size:.2f} s"
    elif size < 59.95:
        text = f"{size:.1f} s"
    elif size < 3599.5:
        minutes, rest = divmod(round(size), 60)
        text = f"{minutes} m {rest} s"
    else:
        hours, rest = divmod(math.floor(size / 60 + 0.5), 60)
        text = f"{hours:,} h {rest} m"
    return f"-{text}" if seconds < 0 else text


def parse_moment(text: str, now: datetime, *, is_utc: bool = False) -> float:
    """Return the moment that *text* says, in seconds since the epoch.

    It may be a date, with or without a time; a time of today; or a duration that is over, such as
    ``2h``.

    >>> noon = datetime(1970, 1, 2, 12, tzinfo=UTC)
    >>> words = ["1970-01-01T00:01:00Z", "0:01", "11h"]
    >>> [parse_moment(text, noon, is_utc=True) for text in words]
    [60.0, 86460.0, 90000.0]

    Args:
        text: What was written.
        now: The present, aware.
        is_utc: Whether what names no zone is UTC, rather than local time.

    Raises:
        ValueError: It is no moment.
    """
    said = text = text.strip()
    try:
        if text[-1:].islower():
            ago = text.removeprefix("-").removesuffix("ago")
            return now.timestamp() - parse_duration(ago)
        if _CLOCK.fullmatch(text):
            today = now.astimezone(UTC if is_utc else None)
            text = f"{today:%Y-%m-%d}T{text.zfill(len(text) + (text[1] == ':'))}"
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC) if is_utc else moment.astimezone()
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"not a moment: {said!r}; expected like 2026-11-21, 2026-11-21T10:00, 10:00 or 2h"
        ) from None
