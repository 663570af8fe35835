"""Periods: the texts that times have in the names of files, and how they are read back."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

from sprockets.logbook import _clock
from sprockets.logbook._typing import Final

_DIRECTIVE: Final = re.compile(r"%[-_0^#]*[0-9]*[EO]?(.)", re.DOTALL)
_OF_MINUTES: Final = frozenset("aAbBCdDeFgGhHIjklmMnpPRtuUVwWxyYzZ%")
_OF_SECONDS: Final = frozenset("crsSTX")
_MINUTE: Final = 60_000_000
_SECOND: Final = 1_000_000

_SAMPLES: Final = (
    datetime(2001, 2, 3, 4, 5, 6),  # noqa: DTZ001 - only their texts count
    datetime(2001, 2, 3, 17, 4, 1),  # noqa: DTZ001
    datetime(2001, 11, 28),  # noqa: DTZ001
    datetime(2001, 12, 31),  # noqa: DTZ001
    datetime(2002, 1, 1),  # noqa: DTZ001
    datetime(2002, 1, 1, 1, 2, 3),  # noqa: DTZ001
)


def stretch_of(time: datetime, moment: int, date_format: str) -> tuple[int, int]:
    """Return the moments around *moment*, whose time is *time*, of which the text is the same.

    Nothing that is shown changes within a minute, unless it shows seconds: offsets of time zones
    change between two minutes only.

    Returns:
        The first of these moments, and the first after them; a stretch without length where the
        text may always be another.
    """
    letters = set(_DIRECTIVE.findall(date_format))
    if letters <= _OF_MINUTES:
        since = moment - time.second * _SECOND - time.microsecond
        return since, since + _MINUTE
    if letters <= _OF_MINUTES | _OF_SECONDS:
        since = moment - time.microsecond
        return since, since + _SECOND
    return moment, moment


def moment_of_file(status: os.stat_result) -> int:
    """Return when a file was changed last."""
    moment = status.st_mtime_ns // 1000
    source = _clock.source()
    # Where a program has a time of its own, a file is not younger than that.
    return moment if source is None else min(moment, _clock.moment_of(source()))


def shown_time(moment: int) -> datetime:
    """Return *moment* as records show time."""
    source = _clock.source()
    if source is None:
        return _clock.datetime_of(moment)
    zone = source().tzinfo
    if zone is None:
        return _clock.datetime_of(moment, local=False)
    return datetime.fromtimestamp(moment / 1_000_000, UTC).astimezone(zone)


_HAS_YEAR = re.compile(r"%[-_0^#EO]*[YyGcxD]")


def parse_time(text: str, date_format: str) -> datetime | None:
    """Return the time that *text* says, ``None`` if it says none."""
    if _HAS_YEAR.search(date_format) is None:
        # Without one, Python knows no 29th of February, and warns of that.
        text, date_format = f"2000 {text}", f"%Y {date_format}"
    try:
        return datetime.strptime(text, date_format)  # noqa: DTZ007 - compared with its like only
    except (ValueError, OverflowError, re.error):
        return None


def render_time(time: datetime, date_format: str) -> str | None:
    """Return the text of *time*, ``None`` if it has none."""
    try:
        return time.strftime(date_format)
    except (ValueError, UnicodeError):
        return None


def reads_back(date_format: str) -> bool:
    """Return whether the texts of times can be read, and written again as they were.

    >>> reads_back("%Y-%m-%d"), reads_back("%Y-W%W"), reads_back("%C")
    (True, False, False)
    """
    for sample in _SAMPLES:
        text = sample.strftime(date_format)
        time = parse_time(text, date_format)
        if time is None or render_time(time, date_format) != text:
            return False
    return True


def keeps_order(date_format: str) -> bool:
    """Return whether texts that can be read back tell which of two times is the later one.

    >>> keeps_order("%d.%m.%Y"), keeps_order("%m-%d")
    (True, False)
    """
    if not reads_back(date_format):
        return False
    read = [parse_time(each.strftime(date_format), date_format) for each in _SAMPLES]
    times = [each for each in read if each is not None]
    return len(times) == len(read) and times == sorted(times) and times[0] < times[-1]


class TimedName:
    """Names with a time in them, made and recognised.

    Args:
        before: What stands before the time.
        after: What stands behind it.
        date_format: How the time is written, as for ``strftime``.
    """

    def __init__(self, before: str, after: str, date_format: str) -> None:
        self.before = before
        self.after = after
        self.date_format = date_format
        self._reads_back = reads_back(date_format)

    def time_of(self, path: str) -> datetime | None:
        """Return the time in the name of *path*, if it is a name that we could have made."""
        before, after = self.before, self.after
        if len(path) < len(before) + len(after) or not (
            path.startswith(before) and path.endswith(after)
        ):
            return None
        text = path[len(before) : len(path) - len(after)]
        if self._reads_back:
            time = parse_time(text, self.date_format)
        else:
            # What cannot be read can still be compared.
            try:
                time = shown_time(moment_of_file(os.stat(path)))
            except OSError:
                return None
        if time is None or render_time(time, self.date_format) != text:
            return None
        return time
