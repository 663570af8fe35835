"""What comes after storing: those who want to know are told, and the store is tidied."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from threading import RLock
from typing import Any, Final, Protocol

from sprockets.logbook import _fork
from sprockets.logbook.delivery._reports import Reports, in_one_line
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._chores import may_do
from sprockets.logbook.ticketing._entry import Outcome
from sprockets.logbook.ticketing._model import Retention

RETENTION_INTERVAL: Final = 3600.0
"""Seconds between two times that a store is tidied."""

_chance: Final = random.Random().random  # noqa: S311 - spreads load, keeps no secret


class SupportsOutcomes(Protocol):
    """Something that wants to know what became of records: alerts, trackers."""

    def observe(self, db: BackendBase, outcomes: Sequence[Outcome]) -> object:
        """Called with each batch once it is stored, in the thread that stored it."""


class Aftermath:
    """Tells observers what became of records, and has a store tidied; harms nobody by what fails.

    Args:
        name: Of whom reports speak.
        observers: Who is told, each beside what it is called in counts.
        retention: How much the store keeps; ``None`` is all.
        clock: Returns seconds since the beginning of 1970.
    """

    def __init__(
        self,
        name: str,
        observers: Iterable[tuple[str, SupportsOutcomes]],
        retention: Retention | None,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._observers = tuple(observers)
        self.retention = retention
        self._clock = clock
        self._reports = Reports()
        self._events: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._removed: Counter[str] = Counter()
        self._lock = RLock()
        self._tidy_at = clock() + RETENTION_INTERVAL * _chance()
        _fork.hold_at_fork(self)

    def tell(self, db: BackendBase, outcomes: Sequence[Outcome]) -> None:
        """Count *outcomes*, and tell who wants to know."""
        outcomes = outcomes or ()  # a store of somebody else may have forgotten to say
        with self._lock:
            self._events.update(outcome.event for outcome in outcomes)
        for name, observer in self._observers:
            try:
                observer.observe(db, outcomes)
            except Exception as error:  # noqa: BLE001 - reported
                self._report(name, error)

    def tidy(self, db: BackendBase) -> None:
        """Remove what is not to be kept, if it is time, and no other process does it."""
        if self.retention is None:
            return
        now = self._clock()
        with self._lock:
            if now < self._tidy_at:
                return
            self._tidy_at = now + RETENTION_INTERVAL * (0.9 + 0.2 * _chance())
        try:
            moment = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
            if not may_do(db, "retention", moment, 0.8 * RETENTION_INTERVAL):
                return
            removed = db.apply_retention(self.retention, moment)
        except Exception as error:  # noqa: BLE001 - reported
            self._report("retention", error)
            return
        with self._lock:
            self._removed.update(occurrences=removed.occurrences, tickets=removed.tickets)

    def count_failure(self, name: str) -> None:
        """Count something that went wrong with what is called *name*."""
        with self._lock:
            self._failures[name] += 1

    def _report(self, name: str, error: Exception) -> None:
        self.count_failure(name)
        self._reports.tell(f"{name} of {self._name} failed: {in_one_line(error)}", error)

    def statistics(self) -> dict[str, Any]:
        """Return what happened, and what failed."""
        with self._lock:
            return {
                "events": dict(self._events),
                "failures": dict(self._failures),
                "removed": dict(self._removed),
            }

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start with a fresh lock, and tidy at another time than the parent."""
        self._lock = RLock()
        self._tidy_at = self._clock() + RETENTION_INTERVAL * _chance()
