"""Small things that others use too: times as text, JSON-safe data, lazy attributes."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

from sprockets.logbook._clock import format_iso8601, parse_iso8601
from sprockets.logbook._jsonable import to_safe_json
from sprockets.logbook._lazy import cached_property
from sprockets.logbook._typing import Final

__all__ = [
    "cached_property",
    "can_rename_open_file",
    "datetime_utcfromtimestamp",
    "datetime_utcnow",
    "format_iso8601",
    "get_application_name",
    "parse_iso8601",
    "rename",
    "to_safe_json",
]

can_rename_open_file: Final = True
"""Whether a file may be renamed while it is open."""


def rename(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Give the file *src* the name *dst*, replacing what has that name.

    Raises:
        OSError: The system refused.
    """
    os.replace(src, dst)


def get_application_name() -> str:
    """Return the name of the running program: that of its file, in title case.

    It is ``Python`` where the program has none.
    """
    if not getattr(sys, "argv", None) or not sys.argv[0]:
        return "Python"
    return os.path.basename(sys.argv[0]).title()


def datetime_utcnow() -> datetime:
    """Return the present time as naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def datetime_utcfromtimestamp(timestamp: float) -> datetime:
    """Return the time of *timestamp*, in seconds since the epoch, as naive UTC.

    >>> datetime_utcfromtimestamp(0.5)
    datetime.datetime(1970, 1, 1, 0, 0, 0, 500000)
    """
    return datetime.fromtimestamp(timestamp, UTC).replace(tzinfo=None)
