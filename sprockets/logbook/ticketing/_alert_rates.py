"""Alerts of how often tickets occur: more than is bearable, more than is usual."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Literal

from sprockets.logbook import _caller
from sprockets.logbook.ticketing._alerts import Alarm, Alert, Memory, Target
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._entry import Outcome
from sprockets.logbook.ticketing._search import EVERYTHING, Query

_caller.register(__file__)

_MAX_STEPS: Final = 64
"""Steps that a window remembers; beyond them, two become one."""
_ALL: Final = "all tickets"
_HOURS = 24


class _Window:
    """How often something occurred within the last period, as far as is known; never more."""

    __slots__ = ("checked_at", "count", "is_above", "seen_at", "steps", "total")

    def __init__(self) -> None:
        self.steps: deque[tuple[datetime, int]] = deque()
        self.total = 0
        self.count = 0
        """Of the ticket in the store, when it was last heard of."""
        self.seen_at: datetime | None = None
        self.is_above = False
        self.checked_at: float | None = None

    def news(self, outcome: Outcome, period: timedelta) -> int:
        """Return how often the ticket occurred since it was last heard of, others' included."""
        time = outcome.entry.time
        count, seen_at = self.count, self.seen_at
        self.count = max(count, outcome.count)
        self.seen_at = time if seen_at is None else max(time, seen_at)
        if seen_at is None or not timedelta() <= time - seen_at <= period:
            return 1
        return max(1, outcome.count - count)

    def add(self, time: datetime, number: int, period: timedelta) -> bool:
        """Add *number* occurrences; return whether *time* is not too long ago to count."""
        steps = self.steps
        if steps:
            newest = steps[-1][0]
            if time <= newest - period:
                return False
            time = max(time, newest)
        steps.append((time, number))
        self.total += number
        while steps[0][0] <= time - period:
            self.total -= steps.popleft()[1]
        if len(steps) > _MAX_STEPS:
            self._join()
        return True

    def _join(self) -> None:
        steps = list(self.steps)
        # The earlier time of two, so that they are never counted for too long.
        self.steps = deque(
            (steps[index][0], sum(number for _, number in steps[index : index + 2]))
            for index in range(0, len(steps), 2)
        )


class RateAlert(Alert):
    """Tells when a ticket, or all together, occur more often than *limit* in *seconds*.

    It tells once, and again only after the rate was not above the limit.  The occurrences that
    other processes store are counted as far as this one hears of them: a ticket says how often it
    occurred in all.

    Args:
        to: See `Alert`.
        limit: Occurrences that are not worth an alert.
        seconds: The period.
        query: See `Alert`.
        of: ``"ticket"``, each by itself; or ``"all"`` that meet the query.
        **options: Of `Alert`.

    Raises:
        ValueError: An argument is out of its range; or see `Alert`.
    """

    kind: ClassVar[str] = "rate"

    def __init__(
        self,
        to: Target,
        limit: int,
        seconds: float,
        query: Query | str = EVERYTHING,
        *,
        of: Literal["ticket", "all"] = "ticket",
        **options: Any,
    ) -> None:
        if limit < 1 or seconds <= 0:
            raise ValueError(f"more than at least 1 in some time, got {limit} in {seconds} s")
        if of not in ("ticket", "all"):
            raise ValueError(f"of must be 'ticket' or 'all', got {of!r}")
        super().__init__(to, query, **options)
        self.limit = limit
        self.seconds = seconds
        self.of = of
        self._period = timedelta(seconds=seconds)
        self._windows: Memory[_Window] = Memory(options.get("max_tickets", 10_000), _Window)
        self._all = _Window()

    def find(self, db: BackendBase, outcomes: Sequence[Outcome]) -> Iterator[Alarm]:
        """Return where the limit was exceeded."""
        for outcome in outcomes:
            with self._lock:
                window = self._exceeded_by(outcome)
                if window is None:
                    continue
                total = window.total
            if self.of == "ticket" and not self._is_confirmed(db, outcome, window):
                continue
            key = _ALL if self.of == "all" else outcome.ticket_id
            described = f"{self.limit}/{self.seconds:g}s {key}"
            if not self._is_ours(db, described, self.seconds):
                continue
            who = "tickets" if self.of == "all" else f"ticket {outcome.ticket_id}"
            last = ", the last" if self.of == "all" else ""
            yield Alarm(
                outcome,
                f"{who} occurred {total} times in {self.seconds:g} s, more than {self.limit}{last}",
                _ALL if self.of == "all" else None,
                {"rate": total, "seconds": self.seconds, "limit": self.limit},
            )

    def _exceeded_by(self, outcome: Outcome) -> _Window | None:
        """Count *outcome*; return the window in which it is the first beyond the limit."""
        of_ticket = self._windows[outcome.ticket_id]
        number = of_ticket.news(outcome, self._period)
        window = self._all if self.of == "all" else of_ticket
        if not window.add(outcome.entry.time, number, self._period):
            return None
        if window.total <= self.limit:
            window.is_above = False
            return None
        if window.is_above:
            return None
        window.is_above = True
        return window

    def _is_confirmed(self, db: BackendBase, outcome: Outcome, window: _Window) -> bool:
        """Ask the store, at most once a period, whether it has so many.

        It has fewer if tickets were merged: that is no news, though the count has jumped.
        """
        now = self.clock()
        if window.checked_at is not None and 0 <= now - window.checked_at < self.seconds:
            return True
        window.checked_at = now
        until = outcome.entry.time
        try:
            counts = db.get_counts([outcome.ticket_id], until - self._period, until, "hour")
        except NotImplementedError:
            return True
        return sum(counts.get(outcome.ticket_id, ())) > self.limit


class _Usual:
    """When a ticket was last looked at, and whether it was spiking."""

    __slots__ = ("checked_at", "is_spiking")

    def __init__(self) -> None:
        self.checked_at: float | None = None
        self.is_spiking = False


class SpikeAlert(Alert):
    """Tells when a ticket occurs far more often in this hour than at this time of the day before.

    It tells once, and again only after that was not so.  Whatever process stored them, all
    occurrences count: the store is asked, once in *interval* for a ticket that occurs.

    A ticket that was unknown a day ago is compared with the hours since it occurred first, and in
    the first of them with nothing: that is for the other alerts.

    Args:
        to: See `Alert`.
        factor: How many times the usual is far more.
        minimum: Occurrences in this hour below which nothing is unusual.
        query: See `Alert`.
        days: On how many days before it is looked what is usual.
        interval: Seconds between two looks.
        **options: Of `Alert`.

    Raises:
        ValueError: An argument is out of its range; or see `Alert`.
    """

    kind: ClassVar[str] = "spike"

    def __init__(
        self,
        to: Target,
        factor: float = 5.0,
        minimum: int = 50,
        query: Query | str = EVERYTHING,
        *,
        days: int = 7,
        interval: float = 300.0,
        **options: Any,
    ) -> None:
        if factor < 1 or minimum < 1 or not 1 <= days <= 60:
            raise ValueError(
                "factor and minimum are at least 1, days 1 to 60; "
                f"got {factor!r}, {minimum!r} and {days!r}"
            )
        super().__init__(to, query, **options)
        self.factor = factor
        self.minimum = minimum
        self.days = days
        self.interval = interval
        self._seen: Memory[_Usual] = Memory(options.get("max_tickets", 10_000), _Usual)

    def find(self, db: BackendBase, outcomes: Sequence[Outcome]) -> Iterator[Alarm]:
        """Return the tickets that spike."""
        due = self._due(outcomes)
        if not due:
            return
        now = self._now()
        counts = db.get_counts(list(due), now - timedelta(days=self.days), now, "hour")
        for ticket_id, outcome in due.items():
            current, usual = usual_of(counts.get(ticket_id, ()))
            # What is new altogether is no spike: nobody knows what is usual.
            is_spiking = (
                usual is not None and current >= self.minimum and current > self.factor * usual
            )
            with self._lock:
                seen = self._seen[ticket_id]
                was_spiking, seen.is_spiking = seen.is_spiking, is_spiking
            if not is_spiking or was_spiking or not self._is_ours(db, ticket_id, 3600.0):
                continue
            yield Alarm(
                outcome,
                f"ticket {ticket_id} occurred {current} times in this hour, usually {usual:.3g}",
                None,
                {"current": current, "usual": usual},
            )

    def _due(self, outcomes: Sequence[Outcome]) -> dict[Any, Outcome]:
        now = self.clock()
        due = {}
        with self._lock:
            for outcome in outcomes:
                # Fewer in all are not enough in this hour.
                if outcome.count < self.minimum:
                    continue
                seen = self._seen[outcome.ticket_id]
                if seen.checked_at is None or not 0 <= now - seen.checked_at < self.interval:
                    seen.checked_at = now
                    due[outcome.ticket_id] = outcome
        return due


def usual_of(counts: Sequence[int]) -> tuple[int, float | None]:
    """Return the count of the last hour, and the mean of those at the same hour of days before.

    Days before the first occurrence do not count.  Of a ticket that was unknown a day ago it is the
    mean of the hours since; ``None`` if there is no whole one.

    >>> usual_of([0, 4] + [0] * 23 + [8] + [0] * 23 + [60])
    (60, 6.0)
    >>> usual_of([0, 0, 1, 3, 60])
    (60, 2.0)
    """
    if not counts:
        return 0, None
    last = len(counts) - 1
    first = next((index for index, count in enumerate(counts) if count), last)
    before = [counts[index] for index in range(last - _HOURS, first - 1, -_HOURS)]
    if not before:
        before = list(counts[first:last])
    return counts[-1], sum(before) / len(before) if before else None
