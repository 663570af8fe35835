"""Tickets in SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar

from sprockets.logbook import _caller
from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing import (
    _sql_changing,
    _sql_histogram,
    _sql_issues,
    _sql_lists,
    _sql_merging,
    _sql_migrating,
    _sql_removing,
)
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._entry import Entry, Outcome
from sprockets.logbook.ticketing._making import make_entry
from sprockets.logbook.ticketing._model import (
    HistoryItem,
    Occurrence,
    Removed,
    Retention,
    Ticket,
    TrackerIssue,
)
from sprockets.logbook.ticketing._search import EVERYTHING, Query
from sprockets.logbook.ticketing._sql_database import Database
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_recording import Recording, fitting_entry
from sprockets.logbook.ticketing._sql_statements import Work
from sprockets.logbook.ticketing._tables import make_tables

_caller.register(__file__)

T = TypeVar("T")

_CHUNK: Final = 5_000
"""Occurrences of a removed ticket that go in one transaction."""


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class SQLAlchemyBackend(BackendBase):
    """Tickets in a database that SQLAlchemy talks to: SQLite, PostgreSQL, or MariaDB.

    Stores of Logbook are read and continued, and Logbook reads ours.  The tables are made, and
    those of earlier releases and of Logbook completed, when a database is opened.

    Every call is a transaction of its own.  One that failed because the connection was lost or the
    database locked is tried once more, one that came into conflict with others up to ten times;
    after that an `OSError` says what to do.  A forked child makes connections of its own.

    Options:

    * ``uri``: URL or ``sqlalchemy.Engine``.  An engine stays its owner's: it is never closed.  The
      drivers are ``psycopg`` and ``pymysql`` unless the URL names others.
    * ``table_prefix``: Begin of the names of all tables, ``"logbook_"`` unless given.
    * ``metadata``: Where the tables are registered; others in it are left alone.
    * ``autocreate_tables``: ``False`` makes and changes no tables.
    * ``engine_options``: Of ``sqlalchemy.create_engine``.
    * ``lock_timeout``: Seconds to wait for locks of others, 5 unless given.
    * ``hash_as_bytes``: ``True`` writes hashes on SQLite as Logbook 1.1 and later do.  Only where
      those write the same file at the same time; they do not find ours otherwise.
    * ``clock``: Returns the time of changes, in UTC and without a zone.

    Raises:
        MissingDependency: SQLAlchemy, Alembic, or the driver is not installed.
        TypeError: There is no *uri*.
        ValueError: It is none.
        OSError: The database cannot be reached, opened or written to.
        RuntimeError: A later release has changed its tables.
    """

    engine: sa.Engine
    metadata: sa.MetaData
    table_prefix: str
    tickets: sa.Table
    occurrences: sa.Table

    def setup_backend(self) -> None:
        """Connect, and bring the tables up to date."""
        options = self.options
        if options.get("uri") is None:
            raise TypeError("SQLAlchemyBackend needs uri, as in uri='sqlite:////var/lib/t.db'")
        self.table_prefix = str(options.get("table_prefix", "logbook_"))
        metadata = options.get("metadata")
        self.metadata = sa.MetaData() if metadata is None else metadata
        self._clock: Callable[[], datetime] = options.get("clock", _now)
        self._recording = Recording(bool(options.get("hash_as_bytes", False)))
        self._statements: dict[Any, Any] = {}
        self.create_tables()
        self._database = Database(
            options["uri"],
            lock_timeout=float(options.get("lock_timeout", 5.0)),
            options=options.get("engine_options") or {},
            prepare=self._prepare,
        )
        self.engine = self._database.base
        if self._is_autocreating:
            try:
                self._read(lambda _: None)
            except BaseException:
                # Nobody else can.
                self._database.close()
                raise

    def create_tables(self) -> None:
        """Describe the tables; nothing is made in the database."""
        self._tables = make_tables(self.metadata, self.table_prefix)
        self.tickets = self._tables.tickets
        self.occurrences = self._tables.occurrences

    @property
    def _is_autocreating(self) -> bool:
        return bool(self.options.get("autocreate_tables", True))

    def _prepare(self, engine: sa.Engine) -> None:
        # A database in memory is a new one when it is opened again.
        self._recording.releases.clear()
        if self._is_autocreating:
            _sql_migrating.migrate(engine, self.table_prefix)
        else:
            _sql_migrating.check_tables(engine, self._tables, self.table_prefix)

    def close(self) -> None:
        """Close the connections, unless they are of an engine that was passed.

        A database in memory is gone with its connection.
        """
        self._database.close()

    def _read(self, do: Callable[[Work], T]) -> T:
        return self._database.read(lambda connection: do(self._work(connection)))

    def _write(self, do: Callable[[Work], T]) -> T:
        return self._database.write(lambda connection: do(self._work(connection)))

    def _work(self, connection: sa.Connection) -> Work:
        return Work(connection, self._tables, self._database.kind, self._statements)

    # -- writing

    def record_ticket(
        self, record: LogRecord, data: Mapping[str, Any], hash: str, app_id: str
    ) -> None:
        """Count *record*; see `BackendBase.record_ticket`."""
        text = json.dumps(data)
        if isinstance(hash, bytes):
            hash = hash.decode("ascii")
        self.record_entries([make_entry(record, text, hash, app_id=app_id)])

    def record_entries(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Count *entries*; see `BackendBase.record_entries`."""
        if not entries:
            return []
        now = self._clock()
        # Before others have to wait.
        given = [fitting_entry(entry) for entry in entries]
        outcomes = self._write(lambda work: self._recording.record(work, given, now))
        return [
            outcome if outcome.entry is entry else replace(outcome, entry=entry)
            for outcome, entry in zip(outcomes, entries, strict=True)
        ]

    # -- reading

    def count_tickets(self, query: Query = EVERYTHING) -> int:
        """Return how many tickets meet *query*."""
        return self._read(lambda work: _sql_lists.count_tickets(work, query))

    def get_tickets(
        self,
        order_by: str = "-last_occurrence_time",
        limit: int = 50,
        offset: int = 0,
        query: Query = EVERYTHING,
    ) -> list[Ticket]:
        """Return a page of the tickets that meet *query*; see `BackendBase.get_tickets`."""
        return self._read(
            lambda work: _sql_lists.get_tickets(work, self, order_by, limit, offset, query)
        )

    def get_ticket(self, ticket_id: Any) -> Ticket | None:
        """Return a ticket, or None; ids may be text."""
        return self._read(lambda work: _sql_lists.get_ticket(work, self, ticket_id))

    def get_occurrences(
        self, ticket: Any, order_by: str = "-time", limit: int = 50, offset: int = 0
    ) -> list[Occurrence]:
        """Return a page of the occurrences of a ticket; see `BackendBase.get_occurrences`."""
        return self._read(
            lambda work: _sql_lists.get_occurrences(work, self, ticket, order_by, limit, offset)
        )

    def get_occurrence(self, occurrence_id: Any) -> Occurrence | None:
        """Return an occurrence, or None."""
        return self._read(lambda work: _sql_lists.get_occurrence(work, self, occurrence_id))

    def find_occurrences(
        self, *, request_id: str | None = None, task_uuid: str | None = None, limit: int = 100
    ) -> list[Occurrence]:
        """Return the occurrences of a request, or of a tree of actions, the oldest first."""
        return self._read(
            lambda work: _sql_lists.find_occurrences(work, self, request_id, task_uuid, limit)
        )

    def get_counts(
        self,
        ticket_ids: Iterable[Any],
        since: datetime,
        until: datetime,
        step: Literal["hour", "day"],
    ) -> dict[Any, list[int]]:
        """Return how often tickets occurred; see `BackendBase.get_counts`."""
        ids = list(ticket_ids)
        return self._read(lambda work: _sql_histogram.get_counts(work, ids, since, until, step))

    def get_history(self, ticket_id: Any, limit: int = 100, offset: int = 0) -> list[HistoryItem]:
        """Return what happened to a ticket, the newest first."""
        return self._read(lambda work: _sql_lists.get_history(work, ticket_id, limit, offset))

    def get_values(self, field: str, limit: int = 100) -> list[str]:
        """Return the values that tickets have; see `BackendBase.get_values`."""
        return self._read(lambda work: _sql_lists.get_values(work, field, limit))

    def get_mark(self) -> str:
        """Return a short text that differs whenever a ticket was counted on or changed."""
        return self._read(_sql_lists.get_mark)

    # -- changing

    def solve_ticket(self, ticket_id: Any, *, release: str | None = None, actor: str = "") -> bool:
        """Mark a ticket as solved; see `BackendBase.solve_ticket`."""
        now = self._clock()
        return self._write(lambda work: _sql_changing.solve(work, ticket_id, release, actor, now))

    def reopen_ticket(self, ticket_id: Any, *, actor: str = "") -> bool:
        """Mark a ticket as new, or as assigned if it is somebody's."""
        now = self._clock()
        return self._write(lambda work: _sql_changing.reopen(work, ticket_id, actor, now))

    def ignore_ticket(
        self,
        ticket_id: Any,
        *,
        until: datetime | None = None,
        occurrences: int | None = None,
        actor: str = "",
    ) -> bool:
        """Ignore a ticket; see `BackendBase.ignore_ticket`."""
        now = self._clock()
        return self._write(
            lambda work: _sql_changing.ignore(work, ticket_id, until, occurrences, actor, now)
        )

    def assign_ticket(self, ticket_id: Any, assignee: str, *, actor: str = "") -> bool:
        """Give a ticket to *assignee*, or to nobody if that is empty."""
        now = self._clock()
        return self._write(lambda work: _sql_changing.assign(work, ticket_id, assignee, actor, now))

    def comment_on_ticket(self, ticket_id: Any, text: str, *, actor: str = "") -> bool:
        """Add *text* to the history of a ticket."""
        return self.add_history(ticket_id, "commented", text, actor=actor)

    def merge_tickets(self, into: Any, others: Iterable[Any], *, actor: str = "") -> bool:
        """Make tickets one; see `BackendBase.merge_tickets`."""
        given, now = list(others), self._clock()
        return self._write(lambda work: _sql_merging.merge(work, into, given, actor, now))

    def split_ticket(self, ticket_id: Any, occurrence_id: Any, *, actor: str = "") -> Any:
        """Make a ticket of its own of some occurrences; see `BackendBase.split_ticket`."""
        now = self._clock()
        return self._write(
            lambda work: _sql_merging.split(work, ticket_id, occurrence_id, actor, now)
        )

    def delete_ticket(self, ticket_id: Any) -> bool:
        """Remove a ticket and all that belongs to it.

        Where it has many occurrences, they go first, in transactions that are small.
        """
        return _sql_removing.delete(self._write, ticket_id, _CHUNK)

    def add_history(
        self, ticket_id: Any, action: str, text: str = "", *, actor: str = "", **facts: Any
    ) -> bool:
        """Add an item to the history of a ticket; *facts* have to be of JSON."""
        now = self._clock()
        return self._write(
            lambda work: _sql_changing.add_history(work, ticket_id, action, text, actor, facts, now)
        )

    def apply_retention(self, retention: Retention, now: datetime | None = None) -> Removed:
        """Remove what is not to be kept; see `BackendBase.apply_retention`."""
        return _sql_removing.apply(self._write, retention, now or self._clock())

    # -- who does what there is one to do

    def claim(self, name: str, *, now: datetime, seconds: float) -> bool:
        """Reserve a piece of work; see `BackendBase.claim`."""
        return self._write(lambda work: _sql_issues.claim_work(work, name, now, seconds))

    # -- what trackers were told

    def claim_issue(self, ticket_id: Any, tracker: str, *, now: datetime, patience: float) -> bool:
        """Reserve the filing of an issue; see `BackendBase.claim_issue`."""
        return self._write(lambda work: _sql_issues.claim(work, ticket_id, tracker, now, patience))

    def save_issue(self, issue: TrackerIssue) -> None:
        """Store what a tracker was told."""
        now = self._clock()
        self._write(lambda work: _sql_issues.save(work, issue, now))

    def get_issue(self, ticket_id: Any, tracker: str) -> TrackerIssue | None:
        """Return what a tracker was told of a ticket, claims included."""
        return self._read(lambda work: _sql_issues.get(work, ticket_id, tracker))

    def get_issues(self, ticket_id: Any) -> list[TrackerIssue]:
        """Return what all trackers were told of a ticket, by the tracker's name."""
        return self._read(lambda work: _sql_issues.get_all(work, ticket_id))

    # -- who may use the interface for programs

    def add_token(self, digest: str, name: str, scopes: Iterable[str]) -> None:
        """Store a token; one of the same digest is replaced."""
        given = list(scopes)
        self._write(lambda work: _sql_issues.add_token(work, digest, name, given))

    def get_token(self, digest: str) -> tuple[str, frozenset[str]] | None:
        """Return name and scopes of a token, or None."""
        return self._read(lambda work: _sql_issues.get_token(work, digest))

    def get_tokens(self) -> list[tuple[str, frozenset[str]]]:
        """Return names and scopes of all tokens, by name."""
        return self._read(_sql_issues.get_tokens)

    def remove_token(self, name: str) -> bool:
        """Remove the tokens of that name."""
        return self._write(lambda work: _sql_issues.remove_token(work, name))
