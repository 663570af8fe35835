"""Time: the one place that reads the clock and writes ISO 8601.

A *moment* is an instant as a whole number of microseconds since 1970-01-01 00:00 UTC.  Records keep
moments; ``datetime`` objects are made of them only where somebody asks for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from time import time_ns as time_ns

from sprockets.logbook._typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import re

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC, as records show time
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = 1_000_000

THOUSAND: Final = tuple(f"{number:03d}" for number in range(1000))
"""Three-digit texts of the numbers below a thousand."""

is_default: bool = True
"""Whether records show naive UTC, read from the system's clock."""
is_local: bool = False
"""Whether records show naive local time."""
_source: Callable[[], datetime] | None = None
shown_format: object = object()
"""Another object after each call of :func:`set_datetime_format`; compare its identity."""
_watchers: list[Callable[[], object]] = []


def moment() -> int:
    """Return the present moment."""
    return time_ns() // 1000


def source() -> Callable[[], datetime] | None:
    """Return the callable that gives records their time; ``None`` is the system's clock."""
    return _source


def watch_format(callback: Callable[[], object]) -> None:
    """Call *callback* after the format was set."""
    _watchers.append(callback)


def set_datetime_format(datetime_format: Literal["utc", "local"] | Callable[[], datetime]) -> None:
    """Choose what the time of records looks like, in the whole process, from the next record on.

    Whatever it looks like, a record knows its instant, and says it in UTC where it leaves the
    process.

    Args:
        datetime_format: ``"utc"`` for naive UTC, which it is to begin with; ``"local"`` for naive
            local time; or a function that returns the present time.  What such a function returns
            is kept as it is; if that is naive, it counts as UTC.

    Raises:
        ValueError: It is none of these, or the function did not return a ``datetime``.
    """
    global _source, shown_format, is_default, is_local
    if callable(datetime_format):
        value = datetime_format()
        if not isinstance(value, datetime):
            raise ValueError(
                f"Invalid callable value: {datetime_format!r} returned {value!r}, not a datetime"
            )
        _source, is_local = datetime_format, False
    elif datetime_format in ("utc", "local"):
        _source, is_local = None, datetime_format == "local"
    else:
        raise ValueError(
            f"Invalid value {datetime_format!r}: pass 'utc', 'local', or a function that returns a "
            "datetime"
        )
    is_default = _source is None and not is_local
    shown_format = object()
    for callback in _watchers:
        callback()


def now() -> datetime:
    """Return the present time as records show it."""
    return datetime_of(moment()) if _source is None else _source()


def datetime_of(moment: int, *, local: bool | None = None) -> datetime:
    """Return *moment* as a naive ``datetime``.

    Args:
        moment: Microseconds since the epoch.
        local: In local time rather than UTC; ``None`` means as records show it now.

    >>> datetime_of(1_000_001, local=False)
    datetime.datetime(1970, 1, 1, 0, 0, 1, 1)
    """
    utc = _EPOCH + timedelta(microseconds=moment)
    if is_local if local is None else local:
        return utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
    return utc


def moment_of(time: datetime) -> int:
    """Return the moment of *time*; a naive one counts as UTC.

    >>> moment_of(datetime(1970, 1, 1, 0, 0, 1, 1))
    1000001
    """
    offset = time.utcoffset()
    if offset is None:
        return (time.replace(tzinfo=None) - _EPOCH) // _MICROSECOND
    return (time.replace(tzinfo=None) - offset - _EPOCH) // _MICROSECOND


def local_moment_of(time: datetime) -> int:
    """Return the moment of *time*; a naive one counts as local time."""
    return moment_of(time if time.tzinfo is not None else time.astimezone())


# -- text


def _split_at_microseconds(spec: str) -> list[str]:
    """Return the pieces of *spec* between its fields ``%f``; ``%%f`` is none."""
    pieces = [""]
    for position, part in enumerate(spec.split("%%")):
        first, *others = part.split("%f")
        pieces[-1] += f"%%{first}" if position else first
        pieces += others
    return pieces


class SecondText:
    """The text of the second that was shown last, with a gap where its microseconds go.

    Whoever shows moments compares ``known[0]`` with the second and ``known[1]`` with
    :data:`shown_format`, and asks for another text if one of them differs.  ``known`` is replaced
    whole, so another thread sees either the old second or the new one.
    """

    __slots__ = ("_specs", "known")

    def __init__(self, before: str, after: str) -> None:
        self._specs = (before, after)
        self.known: tuple[int, object, str, str] = (0, None, "", "")

    def renew(self, second: int) -> tuple[int, object, str, str]:
        """Return what ``known`` is for *second* from now on."""
        present = shown_format
        before, after = _pieces_of(second, self._specs)
        self.known = (second, present, before, after)
        return self.known


def _pieces_of(second: int, specs: Iterable[str]) -> tuple[str, ...]:
    whole = datetime_of(second * _SECOND)
    return tuple([spec and whole.strftime(spec) for spec in specs])


def second_text(spec: str) -> SecondText | None:
    """Return the text of seconds for *spec*, if it shows microseconds exactly once."""
    specs = _split_at_microseconds(spec)
    return SecondText(*specs) if len(specs) == 2 else None


def time_renderer(spec: str) -> Callable[[int], str]:
    """Return a function that writes a moment as ``format(datetime_of(moment), spec)`` does.

    The text of a second is made once and kept; only the microseconds differ.
    """
    if not spec:
        return lambda moment: str(datetime_of(moment))
    thousand = THOUSAND
    seconds = second_text(spec)
    if seconds is not None:

        def render(moment: int) -> str:
            second, microseconds = divmod(moment, 1_000_000)
            known = seconds.known
            if known[0] != second or known[1] is not shown_format:
                known = seconds.renew(second)
            return (
                f"{known[2]}{thousand[microseconds // 1000]}{thousand[microseconds % 1000]}"
                f"{known[3]}"
            )

        return render

    specs = _split_at_microseconds(spec)
    known: tuple[int, object, tuple[str, ...]] = (0, None, ())

    def render_in_pieces(moment: int) -> str:
        nonlocal known
        second, microseconds = divmod(moment, 1_000_000)
        cached = known
        if cached[0] != second or cached[1] is not shown_format:
            cached = known = (second, shown_format, _pieces_of(second, specs))
        return f"{microseconds:06d}".join(cached[2])

    return render_in_pieces


_second: tuple[int, str] = (0, "1970-01-01T00:00:00.")


def iso8601(moment: int) -> str:
    """Return *moment* in UTC, always with six digits of microseconds.

    >>> iso8601(1_000_001)
    '1970-01-01T00:00:01.000001Z'

    Source: RFC 3339, section 5.6.
    """
    global _second
    second, microseconds = divmod(moment, 1_000_000)
    cached = _second
    if cached[0] != second:
        whole = datetime_of(second * _SECOND, local=False)
        cached = _second = (second, f"{whole.isoformat()}.")
    return f"{cached[1]}{THOUSAND[microseconds // 1000]}{THOUSAND[microseconds % 1000]}Z"


def format_iso8601(d: datetime | None = None) -> str:
    """Return *d* in UTC, with six digits of microseconds if it has any; a naive one counts as UTC.

    >>> format_iso8601(datetime(2000, 1, 1, 12, 0, 0, 1234))
    '2000-01-01T12:00:00.001234Z'

    Args:
        d: The present moment if not given.
    """
    text = iso8601(moment() if d is None else moment_of(d))
    return text.replace(".000000Z", "Z")


@cache
def _iso8601_pattern() -> re.Pattern[str]:
    import re

    return re.compile(
        r"([0-9]{4})(?:-?([0-9]{2})(?:-?([0-9]{2}))?)?"
        r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?"
        r"(Z|([+-])([0-9]{2}):([0-9]{2}))?)?"
    )


def parse_iso8601(value: str) -> datetime:
    """Return the time that *value* says, as naive UTC.

    Missing months and days are the first, a missing time is midnight, a missing zone is UTC, and
    digits beyond the microseconds are dropped.

    >>> parse_iso8601("2000-01-01T12:00:00.5+01:30")
    datetime.datetime(2000, 1, 1, 10, 30, 0, 500000)

    Raises:
        ValueError: *value* is no such time.
        TypeError: *value* is not text.
    """
    match = _iso8601_pattern().fullmatch(value)
    if match is None:
        raise ValueError(
            f"not an ISO 8601 time: {value!r}; expected like 2000-01-31T23:59:59.123456Z"
        )
    year, month, day, hour, minute, second, fraction, _, sign, hours, minutes = match.groups()
    time = datetime(  # noqa: DTZ001 - naive UTC is what this returns
        int(year),
        int(month or 1),
        int(day or 1),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        int((fraction or "")[:6].ljust(6, "0")),
    )
    if sign is None:
        return time
    offset = timezone(timedelta(hours=int(sign + hours), minutes=int(sign + minutes)))
    return time.replace(tzinfo=offset).astimezone(UTC).replace(tzinfo=None)
