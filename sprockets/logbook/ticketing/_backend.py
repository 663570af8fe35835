"""What every store of tickets owes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing._entry import Entry, Outcome
from sprockets.logbook.ticketing._model import (
    HistoryItem,
    Occurrence,
    Removed,
    Retention,
    Ticket,
    TrackerIssue,
)
from sprockets.logbook.ticketing._search import EVERYTHING, Query


class BackendBase:
    """Base of the stores: all methods but the constructor are for subclasses to write.

    All may be called from any thread, and none keeps a connection to itself between calls.  Times
    are in UTC and without a zone.  An unknown ticket is no error to what changes it: nothing
    happens, and ``False`` is returned where something is.

    Args:
        options: Kept as :attr:`options`, before :meth:`setup_backend` is called.
    """

    def __init__(self, **options: Any) -> None:
        self.options: dict[str, Any] = dict(options)
        self.setup_backend()

    def setup_backend(self) -> None:
        """Connect, and make what is missing."""
        raise NotImplementedError(f"{type(self).__name__} is no store")

    def close(self) -> None:
        """Let go of connections the store made itself; it may still be used, and connects anew."""

    # -- writing

    def record_ticket(
        self, record: LogRecord, data: Mapping[str, Any], hash: str, app_id: str
    ) -> None:
        """Count *record* on the ticket of *hash*; all of it happens, or nothing.

        Args:
            record: The record.
            data: What is stored of it, ready for JSON.
            hash: Logbook's hash, 40 hexadecimal digits.
            app_id: Names the application.
        """
        raise NotImplementedError

    def record_entries(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Count *entries*, in order and in one transaction; all of them, or none.

        An entry with a key that the store has already counts nothing.  One with a fingerprint goes
        to the ticket of that fingerprint; failing that to the ticket of its hash, if no fingerprint
        has claimed that ticket, which is done thereby; else to a new one.  A merged ticket passes
        on to the one it was merged into.

        Returns:
            What became of each.
        """
        raise NotImplementedError

    # -- reading

    def count_tickets(self, query: Query = EVERYTHING) -> int:
        """Return how many tickets meet *query*; merged ones are none."""
        raise NotImplementedError

    def get_tickets(
        self,
        order_by: str = "-last_occurrence_time",
        limit: int = 50,
        offset: int = 0,
        query: Query = EVERYTHING,
    ) -> list[Ticket]:
        """Return a page of the tickets that meet *query*.

        Args:
            order_by: A field of Logbook's, such as ``level`` or ``occurrence_count``, or
                ``first_time``; with ``-`` in front the greatest first.  Equals are in the order of
                their ids.
            limit: Tickets at most.
            offset: Tickets left out before.
            query: Conditions.

        Raises:
            KeyError: There is no such field.
            ValueError: *order_by* is empty.
        """
        raise NotImplementedError

    def get_ticket(self, ticket_id: Any) -> Ticket | None:
        """Return a ticket, or None if there is none of that id."""
        raise NotImplementedError

    def get_occurrences(
        self, ticket: Any, order_by: str = "-time", limit: int = 50, offset: int = 0
    ) -> list[Occurrence]:
        """Return a page of the occurrences of a ticket.

        Args:
            ticket: The ticket, or its id.
            order_by: ``occurrence_id``, ``ticket_id``, ``time``, ``data`` or ``app_id``, as with
                :meth:`get_tickets`.
            limit: Occurrences at most.
            offset: Occurrences left out before.
        """
        raise NotImplementedError

    def get_occurrence(self, occurrence_id: Any) -> Occurrence | None:
        """Return an occurrence, or None if there is none of that id."""
        raise NotImplementedError

    def find_occurrences(
        self, *, request_id: str | None = None, task_uuid: str | None = None, limit: int = 100
    ) -> list[Occurrence]:
        """Return the occurrences of a request, or of a tree of actions, the oldest first."""
        raise NotImplementedError

    def get_counts(
        self,
        ticket_ids: Iterable[Any],
        since: datetime,
        until: datetime,
        step: Literal["hour", "day"],
    ) -> dict[Any, list[int]]:
        """Return how often tickets occurred, removed occurrences included.

        Args:
            ticket_ids: The tickets.
            since: Begin of the first hour or day; cut down to it.
            until: In the last one, which is included.
            step: What is counted together.

        Returns:
            For each ticket as many numbers as there are hours or days.
        """
        raise NotImplementedError

    def get_history(self, ticket_id: Any, limit: int = 100, offset: int = 0) -> list[HistoryItem]:
        """Return what happened to a ticket, the newest first."""
        raise NotImplementedError

    def get_values(self, field: str, limit: int = 100) -> list[str]:
        """Return the values that tickets have, in their order: for filters and completion.

        Args:
            field: ``channel``, ``app_id``, ``assignee``, ``release`` or ``environment``.
            limit: Values at most.
        """
        raise NotImplementedError

    def get_mark(self) -> str:
        """Return a short text that differs whenever a ticket was counted on or changed."""
        raise NotImplementedError

    # -- changing

    def solve_ticket(self, ticket_id: Any, *, release: str | None = None, actor: str = "") -> bool:
        """Mark a ticket as solved.

        Args:
            ticket_id: The ticket.
            release: Solved in that release: occurrences in releases before it do not reopen the
                ticket.  ``None``: solved at once; any occurrence reopens it.
            actor: Who says so.
        """
        raise NotImplementedError

    def reopen_ticket(self, ticket_id: Any, *, actor: str = "") -> bool:
        """Mark a ticket as new, or as assigned if it is somebody's."""
        raise NotImplementedError

    def ignore_ticket(
        self,
        ticket_id: Any,
        *,
        until: datetime | None = None,
        occurrences: int | None = None,
        actor: str = "",
    ) -> bool:
        """Ignore a ticket, for ever or until something of this is so.

        Args:
            ticket_id: The ticket.
            until: The first occurrence at that time or later wakes it.
            occurrences: So many more occurrences wake it.
            actor: Who says so.
        """
        raise NotImplementedError

    def assign_ticket(self, ticket_id: Any, assignee: str, *, actor: str = "") -> bool:
        """Give a ticket to *assignee*, or to nobody if that is empty; a new one is assigned then.

        A solved or ignored one stays that.
        """
        raise NotImplementedError

    def comment_on_ticket(self, ticket_id: Any, text: str, *, actor: str = "") -> bool:
        """Add *text* to the history of a ticket."""
        raise NotImplementedError

    def merge_tickets(self, into: Any, others: Iterable[Any], *, actor: str = "") -> bool:
        """Make tickets one: *into* takes over occurrences, counts and fingerprints of *others*.

        Whatever comes for them counts on *into* from now on.

        Raises:
            ValueError: *into* is among *others*.
        """
        raise NotImplementedError

    def split_ticket(self, ticket_id: Any, occurrence_id: Any, *, actor: str = "") -> Any:
        """Make a ticket of its own of the occurrences that have the fingerprint of this one.

        Occurrences without a fingerprint go by their hash.  Whatever comes under it counts on the
        new ticket from now on.

        Returns:
            Id of the new ticket; ``None`` if there is no such occurrence of that ticket, or no
            occurrence would stay.
        """
        raise NotImplementedError

    def delete_ticket(self, ticket_id: Any) -> bool:
        """Remove a ticket and all that belongs to it."""
        raise NotImplementedError

    def add_history(
        self, ticket_id: Any, action: str, text: str = "", *, actor: str = "", **facts: Any
    ) -> bool:
        """Add an item to the history of a ticket."""
        raise NotImplementedError

    def apply_retention(self, retention: Retention, now: datetime | None = None) -> Removed:
        """Remove what is not to be kept, in transactions that are small.

        Args:
            retention: How much is kept.
            now: The time; the present unless given.
        """
        raise NotImplementedError

    # -- who does what there is one to do

    def claim(self, name: str, *, now: datetime, seconds: float) -> bool:
        """Reserve a piece of work; of any number of processes that ask, one is answered so.

        Args:
            name: Of the work, at most 120 characters.
            now: The time.
            seconds: How long after *now* nobody else is answered so.
        """
        raise NotImplementedError

    # -- what trackers were told

    def claim_issue(self, ticket_id: Any, tracker: str, *, now: datetime, patience: float) -> bool:
        """Reserve the filing of an issue; of any number that ask, one is answered so.

        A claim that was not followed by :meth:`save_issue` within *patience* seconds is void.
        """
        raise NotImplementedError

    def save_issue(self, issue: TrackerIssue) -> None:
        """Store what a tracker was told, beside what other processes told it.

        What is ``None`` stays as it is stored, and ``commented_at`` never falls: who tells one
        thing takes nothing back that somebody else told meanwhile.
        """
        raise NotImplementedError

    def get_issue(self, ticket_id: Any, tracker: str) -> TrackerIssue | None:
        """Return what a tracker was told of a ticket, claims included."""
        raise NotImplementedError

    def get_issues(self, ticket_id: Any) -> list[TrackerIssue]:
        """Return what all trackers were told of a ticket."""
        raise NotImplementedError

    # -- who may use the interface for programs

    def add_token(self, digest: str, name: str, scopes: Iterable[str]) -> None:
        """Store a token: its SHA-256 in hexadecimal, whose it is, what it is good for."""
        raise NotImplementedError

    def get_token(self, digest: str) -> tuple[str, frozenset[str]] | None:
        """Return name and scopes of a token, or None."""
        raise NotImplementedError

    def get_tokens(self) -> list[tuple[str, frozenset[str]]]:
        """Return names and scopes of all tokens, by name."""
        raise NotImplementedError

    def remove_token(self, name: str) -> bool:
        """Remove the tokens of that name."""
        raise NotImplementedError
