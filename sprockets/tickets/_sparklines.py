"""Pictures of numbers over time: inline SVG, drawn with the colours of the text around it.

Every picture says in words what it shows, to whoever cannot see it.  Nothing is styled here, and
there is no ``style`` attribute, so that a strict content security policy leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from tornado.escape import xhtml_escape

_BAR: Final = 3  # units of the picture; a unit is a pixel unless the page says otherwise
_GAP: Final = 1
_HEIGHT: Final = 26
_LEAST: Final = 2
_MARGIN: Final = 26
_FOOT: Final = 14


@dataclass(frozen=True, slots=True)
class Period:
    """Which hours or days numbers stand for.

    Args:
        end: In the last of them; in UTC, with or without a zone.
        step: What a number stands for.
        count: How many numbers there are.
    """

    end: datetime
    step: Literal["hour", "day"]
    count: int

    @property
    def width(self) -> timedelta:
        """How long each of them is."""
        return timedelta(hours=1) if self.step == "hour" else timedelta(days=1)

    @property
    def last(self) -> datetime:
        """When the last of them began."""
        if self.step == "hour":
            return self.end.replace(minute=0, second=0, microsecond=0)
        return self.end.replace(hour=0, minute=0, second=0, microsecond=0)

    @property
    def begin(self) -> datetime:
        """When the first of them began."""
        return self.last - self.width * (self.count - 1)

    def moments(self) -> list[datetime]:
        """Return when each of them began."""
        return [self.begin + self.width * number for number in range(self.count)]

    def name(self, moment: datetime) -> str:
        """Return what people call the hour or day that began at *moment*."""
        if self.step == "day":
            return f"{moment.day} {moment:%b}"
        return f"{moment:%H:00}"

    @property
    def phrase(self) -> str:
        """What people call all of it, as in ``24 hours``."""
        return f"{self.count} {self.step}s" if self.count != 1 else f"1 {self.step}"


HOURS: Final = 24
DAYS: Final = 30


def last_day(now: datetime) -> Period:
    """Return the 24 hours of which the last is the one in which *now* is."""
    return Period(now, "hour", HOURS)


def last_month(now: datetime) -> Period:
    """Return the 30 days of which the last is the one in which *now* is."""
    return Period(now, "day", DAYS)


def describe(counts: Sequence[int], period: Period) -> str:
    """Return *counts* in words.

    >>> describe([0, 3, 1], Period(datetime(2026, 11, 21, 14, 5), "hour", 3))
    '4 in 3 hours, most at 13:00 (3)'
    """
    total = sum(counts)
    if not total:
        return f"none in {period.phrase}"
    peak = max(counts)
    when = period.name(period.begin + period.width * counts.index(peak))
    at = "at" if period.step == "hour" else "on"
    return f"{total:,} in {period.phrase}, most {at} {when} ({peak:,})"


def sparkline(counts: Sequence[int], period: Period) -> str:
    """Return a picture of *counts* for a line of a table: bars without any writing.

    Args:
        counts: One for each hour or day of *period*, the oldest first; the greatest fills the
            height, and one that is not zero is always to be seen.
        period: What they stand for.
    """
    width = period.count * (_BAR + _GAP) - _GAP
    label = xhtml_escape(describe(counts, period))
    bars = _path(_heights(counts, _HEIGHT))
    # Where there is nothing, a line as thin as can be says that there is nothing.
    return (
        f'<svg class="spark" viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}"'
        f' role="img" aria-label="{label}"><title>{label}</title>'
        f'<path class="spark-base" d="M0 {_HEIGHT - 0.5}h{width}"/>'
        f'<path class="spark-bars" d="{bars}"/></svg>'
    )


def _heights(counts: Sequence[int], height: int) -> list[float]:
    share = height / (max(counts, default=0) or 1)
    return [round(max(_LEAST, count * share), 1) if count > 0 else 0.0 for count in counts]


def _path(heights: Iterable[float], bottom: float = _HEIGHT) -> str:
    return "".join(
        f"M{number * (_BAR + _GAP)} {bottom:g}v-{height:g}h{_BAR}v{height:g}z"
        for number, height in enumerate(heights)
        if height
    )


def histogram(counts: Sequence[int], period: Period, *, width: int = 320, height: int = 64) -> str:
    """Return a picture of *counts* that stands alone: with a scale, and a title for each bar.

    Args:
        counts: One for each hour or day of *period*, the oldest first.
        period: What they stand for.
        width: Units of the picture across; pages scale it.
        height: Units for the bars alone.
    """
    label = xhtml_escape(describe(counts, period))
    top = nice_ceiling(max(counts, default=0))
    slot = (width - _MARGIN) / max(1, len(counts))
    parts = [
        f'<svg class="histogram" viewBox="0 0 {width} {height + _FOOT + 8}" role="img"'
        f' aria-label="{label}"><title>{label}</title>'
    ]
    for share in (1, 0.5):
        y = 8 + height * (1 - share)
        parts.append(f'<path class="grid" d="M{_MARGIN} {y:g}H{width}"/>')
        if top * share == int(top * share):
            parts.append(
                f'<text class="scale" x="{_MARGIN - 6}" y="{y + 4:g}" text-anchor="end">'
                f"{short_count(int(top * share))}</text>"
            )
    parts.append(f'<path class="axis" d="M{_MARGIN} {height + 8.5}H{width}"/>')
    every = 6 if period.step == "hour" else 7
    for number, (count, moment) in enumerate(zip(counts, period.moments(), strict=True)):
        x = _MARGIN + slot * number
        name = period.name(moment)
        bar = max(_LEAST, count / top * height) if count > 0 else 0
        parts.append(
            f"<g><title>{name}: {count:,}</title>"
            f'<rect class="slot" x="{x:.1f}" y="8" width="{slot:.1f}" height="{height}"/>'
        )
        if bar:
            parts.append(
                f'<rect class="bar" x="{x + slot * 0.12:.1f}" y="{8 + height - bar:.1f}"'
                f' width="{slot * 0.76:.1f}" height="{bar:.1f}" rx="1.5"/>'
            )
        parts.append("</g>")
        left = len(counts) - 1 - number
        if left % every == 0:
            # The last one ends with the picture, so that it is not cut off.
            end = (
                f'{width}" text-anchor="end'
                if not left
                else f'{x + slot / 2:.1f}" text-anchor="middle'
            )
            parts.append(f'<text class="scale" x="{end}" y="{height + _FOOT + 6}">{name}</text>')
    parts.append("</svg>")
    return "".join(parts)


def nice_ceiling(number: int) -> int:
    """Return the least number not below *number* that is easy to read on a scale.

    >>> [nice_ceiling(number) for number in (0, 1, 3, 7, 11, 23, 480, 1_001)]
    [1, 1, 4, 10, 20, 40, 500, 2000]
    """
    size = 1
    while True:
        for digit in (1, 2, 4, 5, 10):
            if digit * size >= number:
                return digit * size
        size *= 10


def short_count(number: int) -> str:
    """Return *number* in at most four characters and a unit.

    >>> [short_count(number) for number in (7, 999, 1_000, 9_960, 12_345, 999_999, 1_234_567)]
    ['7', '999', '1k', '10k', '12k', '1M', '1.2M']
    """
    if number < 1_000:
        return str(number)
    size = float(number)
    for unit in ("", "k", "M", "G"):
        if size < 999.5 or unit == "G":
            text = f"{size:.1f}".removesuffix(".0") if size < 9.95 else f"{size:.0f}"
            return f"{text}{unit}"
        size /= 1_000
    raise AssertionError  # the last unit is for everything
