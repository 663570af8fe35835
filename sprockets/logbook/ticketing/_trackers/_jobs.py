"""Jobs: what is to be told to trackers, and how they are treated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from sprockets.logbook.ticketing._model import TrackerIssue
from sprockets.logbook.ticketing._search import State

Reason: TypeAlias = Literal[
    "file", "count", "regressed", "reopened", "solved", "merged", "split", "deleted", "look"
]

DONE_BY_PEOPLE: Final = frozenset(("reopened", "solved", "merged", "split", "deleted"))
"""Reasons of jobs whose failure is told in the history of the ticket."""

OPEN: Final[tuple[State, ...]] = ("new", "assigned", "regressed")
"""States of tickets whose issues are open."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be told of a ticket.

    Args:
        ticket_id: The ticket.
        reason: ``"file"`` that it is there, ``"count"`` that it occurred *count* times...;
            ``"look"`` has others looked for that differ from what the tracker was told.
        count: Number of occurrences that was reached.
        tries: How often an issue was made of which nobody knows whether it was.
        other: The ticket into which it was merged, or that was split off.
        issues: Those of a ticket that is no more.
        is_found: Whether nobody said so: the ticket and its issue were found to differ.
    """

    ticket_id: Any
    reason: Reason
    count: int = 0
    tries: int = 0
    other: Any = None
    issues: tuple[TrackerIssue, ...] = ()
    is_found: bool = False


@dataclass(frozen=True, slots=True)
class Manners:
    """How trackers are treated.

    Args:
        min_level: Least level of tickets that are filed.
        comment_at: Numbers of occurrences at which an issue gets a comment, in order.
        cool_down: Seconds between two comments to one issue; after which what is put off is looked
            at again.
        patience: Seconds after which the filing that another process has begun is taken over.
        link: Returns where people see a ticket, ``""`` for nowhere.
        clock: Returns the current time in seconds; never goes backwards.
        now: Returns the time in UTC and without a zone.
    """

    min_level: int
    comment_at: tuple[int, ...]
    cool_down: float
    patience: float
    link: Callable[[Any], str]
    clock: Callable[[], float]
    now: Callable[[], datetime]
