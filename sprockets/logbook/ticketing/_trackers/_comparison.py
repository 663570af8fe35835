"""Comparison: tickets that are open while their issues are not, or the other way round."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import Any, Final, TypeVar

from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._chores import may_do
from sprockets.logbook.ticketing._search import Query, State
from sprockets.logbook.ticketing._trackers._jobs import OPEN, Job, Reason

T = TypeVar("T")

MAX_REMEMBERED: Final = 10_000
"""Tickets of which a process remembers what it did about them."""

_LOOKED_AT: Final = 500
_BETWEEN_LOOKS: Final = 20.0  # seconds in which one process tells what it found
_COMPARED: Final[tuple[tuple[tuple[State, ...], Reason], ...]] = (
    (("solved",), "solved"),
    (OPEN, "reopened"),
)


class Comparison:
    """Finds what one tracker was not told, since whoever did it could not tell.

    What differs is told the second time that it is found: before, somebody may be about to.

    Args:
        tracker: Name of the tracker.
    """

    def __init__(self, tracker: str) -> None:
        self._tracker = tracker
        # Of tickets: as what they are known to be the same here and there; what differed when we
        # looked last; and the mark of the store then.
        self._agreed: OrderedDict[Any, Reason] = OrderedDict()
        self._suspects: set[tuple[Any, Reason]] = set()
        self._mark = ""

    def find(self, db: BackendBase, now: datetime, name: str) -> list[Job]:
        """Return what is to be told; nothing if nothing changed, or another process tells it.

        Args:
            db: The store.
            now: The time.
            name: Of telling it, among processes.
        """
        mark = db.get_mark()
        if mark == self._mark and not self._suspects:
            return []
        jobs: list[Job] = []
        suspects: set[tuple[Any, Reason]] = set()
        for states, reason in _COMPARED:
            for ticket in db.get_tickets(limit=_LOOKED_AT, query=Query(states=states)):
                ticket_id = ticket.ticket_id
                if self._agreed.get(ticket_id) == reason:
                    continue
                known = db.get_issue(ticket_id, self._tracker)
                is_filed = known is not None and known.issue_id is not None
                if not is_filed or bool(known and known.is_open) == (reason != "solved"):
                    self.note(ticket_id, reason)
                elif (ticket_id, reason) in self._suspects:
                    jobs.append(Job(ticket_id, reason, is_found=True))
                else:
                    suspects.add((ticket_id, reason))
        self._mark = mark
        if jobs and not may_do(db, name, now, _BETWEEN_LOOKS):
            # Another process is about to tell it; what it did not is found the next time.
            suspects.update((job.ticket_id, job.reason) for job in jobs)
            jobs = []
        self._suspects = suspects
        return jobs

    def note(self, ticket_id: Any, reason: Reason) -> None:
        """Remember that there is nothing to be told of a ticket for that *reason*."""
        remember(self._agreed, ticket_id, reason)


def remember(memory: OrderedDict[Any, T], key: Any, value: T) -> None:
    """Put *value* into *memory*, which forgets what was not put there for long."""
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)
