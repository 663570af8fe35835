"""Jobs: what is to be told to trackers, and how they are treated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

Reason: TypeAlias = Literal["file", "count", "regressed", "reopened", "solved"]


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be told of a ticket.

    Args:
        ticket_id: The ticket.
        reason: ``"file"`` that it is there, ``"count"`` that it occurred *count* times...
        count: Number of occurrences that was reached.
        tries: How often an issue was made of which nobody knows whether it was.
    """

    ticket_id: Any
    reason: Reason
    count: int = 0
    tries: int = 0


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
