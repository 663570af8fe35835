"""Tickets and what belongs to them, as a store hands them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sprockets.logbook._levels import LevelNameProperty, level_name_property
from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing._search import State
from sprockets.logbook.ticketing._stored import facts_of, level_of

if TYPE_CHECKING:
    from sprockets.logbook.ticketing._backend import BackendBase

FIELDS: Final = (
    "ticket_id",
    "record_hash",
    "level",
    "channel",
    "location",
    "module",
    "last_occurrence_time",
    "occurrence_count",
    "solved",
    "app_id",
)
"""What Logbook keeps of a ticket, and by which tickets are ordered and compared."""

OCCURRENCE_FIELDS: Final = ("occurrence_id", "ticket_id", "time", "data", "app_id")
"""What Logbook keeps of an occurrence, and by which they are ordered."""

_OF_OCCURRENCE: Final = ("app_id", "db", "details", "occurrence_id", "ticket_id")


@dataclass(frozen=True, slots=True)
class Status:
    """What is kept of a ticket beyond Logbook's fields.

    Args:
        state: Where it stands.
        title: A line that tells what happens.
        fingerprint: Under which it is one ticket; ``None`` if that is left to the hash.
        assignee: Whose it is, ``""`` if nobody's.
        first_time: When it occurred first, in UTC and without a zone; ``None`` if unknown.
        first_release: The release in which it was first seen.
        last_release: The release in which it was last seen.
        solved_in: The release in which it is solved; ``None`` if solved at once, or not.
        ignored_until: When it is no longer ignored, in UTC and without a zone.
        ignored_count: The number of occurrences, in all, at which it is no longer ignored.
        merged_into: The ticket that counts its occurrences now.
    """

    state: State = "new"
    title: str = ""
    fingerprint: str | None = None
    assignee: str = ""
    first_time: datetime | None = None
    first_release: str | None = None
    last_release: str | None = None
    solved_in: str | None = None
    ignored_until: datetime | None = None
    ignored_count: int | None = None
    merged_into: Any = None


@dataclass(frozen=True, slots=True)
class Details:
    """What is kept of an occurrence beyond Logbook's fields; see `Entry`."""

    key: str | None = None
    request_id: str | None = None
    task_uuid: str | None = None
    release: str | None = None
    environment: str | None = None
    leading: str | None = None


class Ticket:
    """What happened, how often, since when: all occurrences that are one and the same.

    Two tickets are equal if Logbook's fields of them are.

    Args:
        db: The store it is from.
        row: Logbook's fields, by name.
        status: The rest; a store that knows no more derives it from *row*.
    """

    ticket_id: Any
    record_hash: str
    level: int
    channel: str
    location: str
    module: str
    last_occurrence_time: datetime
    occurrence_count: int
    solved: bool
    app_id: str
    level_name: LevelNameProperty = level_name_property()

    def __init__(
        self, db: BackendBase, row: Mapping[str, Any], status: Status | None = None
    ) -> None:
        self.db = db
        for name in FIELDS:
            setattr(self, name, row[name])
        self.level = level_of(self.level)
        self.status: Status = status or Status("solved" if self.solved else "new")

    def __repr__(self) -> str:
        return f"<Ticket {self.ticket_id} {self.status.state} {self.occurrence_count} times>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ticket):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in FIELDS)

    __hash__: ClassVar[None]  # type: ignore[assignment]  # it changes

    @cached_property
    def last_occurrence(self) -> Occurrence | None:
        """The most recent occurrence; read once."""
        found = self.get_occurrences(limit=1)
        return found[0] if found else None

    def get_occurrences(
        self, order_by: str = "-time", limit: int = 50, offset: int = 0
    ) -> list[Occurrence]:
        """Return a page of the occurrences; see `BackendBase.get_occurrences`."""
        return self.db.get_occurrences(self.ticket_id, order_by, limit, offset)

    def solve(self) -> None:
        """Mark it as solved; the next occurrence reopens it."""
        self.db.solve_ticket(self.ticket_id)
        self.solved = True

    def delete(self) -> None:
        """Remove it and its occurrences from the store."""
        self.db.delete_ticket(self.ticket_id)


class Occurrence(LogRecord):
    """A record that was counted; can be dispatched, formatted and exported like any other.

    What is stored may be damaged: the message then says what is there, and the ``extra`` field
    ``damage`` what is wrong with it.

    Args:
        db: The store it is from.
        row: Logbook's fields of it, by name; what is missing is ``None``.
        details: What the store has of it beyond these.
    """

    db: BackendBase
    ticket_id: Any
    occurrence_id: Any
    app_id: str | None
    details: Details = Details()

    def __init__(
        self, db: BackendBase, row: Mapping[str, Any], details: Details | None = None
    ) -> None:
        facts = facts_of(row.get("data"))
        for name in _OF_OCCURRENCE:
            facts.pop(name, None)
        self.update_from_dict(facts)
        self.heavy_initialized = True
        time = row.get("time")
        if isinstance(time, datetime):
            self.time = time
        self.db = db
        self.ticket_id = row.get("ticket_id")
        self.occurrence_id = row.get("occurrence_id")
        self.app_id = row.get("app_id")
        if details is not None:
            self.details = details

    def to_dict(self, json_safe: bool = False) -> dict[str, Any]:
        """Return the record's facts and where they were found, without the store.

        Args:
            json_safe: Reduce values to what JSON has.
        """
        facts = super().to_dict(json_safe)
        facts.pop("db", None)
        facts.pop("details", None)
        if json_safe:
            for name in ("ticket_id", "occurrence_id"):
                value = getattr(self, name, None)
                # Ids of some stores are objects.
                if value is not None and not isinstance(value, int):
                    facts[name] = str(value)
        return facts


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """A line in the history of a ticket.

    Args:
        item_id: Orders the items of all tickets.
        ticket_id: The ticket.
        time: In UTC and without a zone.
        actor: Who; ``""`` for the library itself.
        action: ``"created"``, ``"regressed"``, ``"woken"``, ``"solved"``, ``"reopened"``,
            ``"ignored"``, ``"assigned"``, ``"commented"``, ``"merged"``, ``"split"``, ``"filed"``.
        text: The comment; else what is to be known of the action, for people.
        facts: The same for programs.
    """

    item_id: Any
    ticket_id: Any
    time: datetime
    actor: str
    action: str
    text: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrackerIssue:
    """What a tracker of issues was told of a ticket.

    Args:
        ticket_id: The ticket.
        tracker: Names the tracker among all of the store.
        issue_id: Its issue there; ``None`` while one process is filing it.
        url: Where people see it.
        commented_at: The greatest number of occurrences that was told.
        is_open: Whether the issue was open when it was told last; never ``None`` in a store.
    """

    ticket_id: Any
    tracker: str
    issue_id: str | None = None
    url: str | None = None
    commented_at: int = 0
    is_open: bool | None = True


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept; what is removed stays in the counts and in the histogram.

    Args:
        max_age: Occurrences older than this are removed.
        max_occurrences: Occurrences kept in all, the newest.
        max_per_ticket: Occurrences kept of each ticket: the first tenth and the newest.
        max_solved_age: Solved tickets that did not occur for this long are removed.
        chunk: Rows removed in one transaction.
    """

    max_age: timedelta | None = timedelta(days=90)
    max_occurrences: int | None = 1_000_000
    max_per_ticket: int | None = 1_000
    max_solved_age: timedelta | None = timedelta(days=365)
    chunk: int = 1_000


@dataclass(frozen=True, slots=True)
class Removed:
    """What `BackendBase.apply_retention` removed."""

    occurrences: int = 0
    tickets: int = 0
