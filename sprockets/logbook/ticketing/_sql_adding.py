"""Adding: what a batch brings is written in as few statements as a database allows.

PostgreSQL takes all of it in one, MariaDB in one block of them.  To the others rows go as their
drivers have them: at a thousand records a second, what SQLAlchemy does for each row would be most
of the work.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sprockets.logbook.ticketing._entry import Entry
from sprockets.logbook.ticketing._sql_block import Block, takes_blocks
from sprockets.logbook.ticketing._sql_library import mysql, postgresql, sa, sqlite
from sprockets.logbook.ticketing._sql_standings import (
    COUNTING,
    add_counts,
    count_rows,
    counting,
    store_status,
)
from sprockets.logbook.ticketing._sql_statements import Work
from sprockets.logbook.ticketing._states import Standing

_OCCURRENCE: Final = ("ticket_id", "time", "data", "app_id")
_DETAILS: Final = (
    "key",
    "hash",
    "fingerprint",
    "request_id",
    "task_uuid",
    "release",
    "environment",
    "leading",
)
_HOUR: Final = ("ticket_id", "hour", "count")
_VALUE: Final = ("ticket_id", "field", "value")
_COUNTS: Final = ("ticket_id", "occurrence_count", "last_occurrence_time", "solved")
_GIVEN: Final = {
    "counts": _COUNTS,
    "occurrences": _OCCURRENCE,
    "details": _DETAILS,
    "hours": _HOUR,
    "values": _VALUE,
}
"""What PostgreSQL is given, and its columns."""
_BLOCK: Final = 100_000
"""Characters of occurrences in a block, at most; servers refuse what is too long for a packet."""
_PLACE: Final = "place"
_TICKETS: Final = "tickets"

_dumps: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(slots=True)
class Additions:
    """What a batch brings.

    Args:
        standings: The tickets, locked and counted on.
        entries: The occurrences, with their tickets.
        hours: How many occurrences there were, by ticket and hour.
        values: Releases and environments: ticket, name of the field, and value.
        history: Items of history.
    """

    standings: Sequence[Standing]
    entries: list[tuple[int, Entry]] = field(default_factory=list)
    hours: dict[tuple[int, datetime], int] = field(default_factory=dict)
    values: set[tuple[int, str, str]] = field(default_factory=set)
    history: list[dict[str, Any]] = field(default_factory=list)

    def store(self, work: Work) -> None:
        """Write all of it, tickets in the order of their ids."""
        self.standings = sorted(self.standings, key=lambda standing: standing.ticket_id)
        store_status(work, self.standings)
        if work.kind == "postgresql":
            self._store_at_once(work)
        elif takes_blocks(work) and self._characters() <= _BLOCK:
            self._store_in_block(work)
        else:
            add_counts(work, self.standings)
            self._store_by_table(work)
        if self.history:
            work.do(work.statement("history", work.tables.history.insert), self.history)

    # -- row by row, as drivers have it

    def _store_by_table(self, work: Work) -> None:
        numbers = self._store_occurrences(work)
        tables = work.tables
        work.many(
            "details",
            tables.details.insert,
            ("occurrence_id", *_DETAILS),
            [
                (number, *_details_of(entry))
                for number, (_, entry) in zip(numbers, self.entries, strict=True)
            ],
        )
        work.many(
            "hours",
            lambda: _adding_hours(work),
            _HOUR,
            [
                (ticket_id, work.moment(hour), count)
                for (ticket_id, hour), count in sorted(self.hours.items())
            ],
        )
        if self.values:
            work.many("values", lambda: _adding_values(work), _VALUE, sorted(self.values))

    def _store_occurrences(self, work: Work) -> Sequence[int]:
        table = work.tables.occurrences
        if work.kind != "sqlite":
            return work.insert_numbered(
                table.c.occurrence_id,
                [
                    {
                        "ticket_id": ticket_id,
                        "time": entry.time,
                        "data": entry.data,
                        "app_id": entry.app_id,
                    }
                    for ticket_id, entry in self.entries
                ],
            )
        rows = [
            (ticket_id, work.moment(entry.time), entry.data, entry.app_id)
            for ticket_id, entry in self.entries
        ]
        work.many("occurrences", table.insert, _OCCURRENCE, rows)
        last = work.scalar(work.statement("last", lambda: sa.select(sa.func.last_insert_rowid())))
        # Nobody else writes meanwhile.
        return range(last - len(rows) + 1, last + 1)

    # -- a block of statements, which costs one way to the server and back

    def _characters(self) -> int:
        return sum(len(entry.data) + len(entry.leading or "") for _, entry in self.entries)

    def _store_in_block(self, work: Work) -> None:
        tables = work.tables
        block = Block(work)
        block.each("counts", lambda: counting(work), COUNTING, count_rows(work, self.standings))
        rows: list[tuple[Any, ...]] = [
            (ticket_id, entry.time, entry.data, entry.app_id) for ticket_id, entry in self.entries
        ]
        block.insert("occurrences", tables.occurrences.insert, _OCCURRENCE, rows)
        block.keep_number()
        rows = [(place, *_details_of(entry)) for place, (_, entry) in enumerate(self.entries)]
        block.insert(
            "details",
            lambda: tables.details.insert().values(occurrence_id=block.number(_PLACE)),
            (_PLACE, *_DETAILS),
            rows,
        )
        rows = [(ticket_id, hour, count) for (ticket_id, hour), count in sorted(self.hours.items())]
        block.insert("hours", lambda: _adding_hours(work), _HOUR, rows)
        if self.values:
            block.insert("values", lambda: _adding_values(work), _VALUE, sorted(self.values))
        block.run()

    # -- all of it at once, as JSON

    def _store_at_once(self, work: Work) -> None:
        rows: dict[str, list[tuple[Any, ...]]] = {
            "counts": [
                (one.ticket_id, one.added, _iso(one.last_time), one.state == "solved")
                for one in self.standings
            ],
            "occurrences": [
                (ticket_id, entry.time.isoformat(), entry.data, entry.app_id)
                for ticket_id, entry in self.entries
            ],
            "details": [_details_of(entry) for _, entry in self.entries],
            "hours": [
                (ticket_id, hour.isoformat(), count)
                for (ticket_id, hour), count in sorted(self.hours.items())
            ],
            "values": sorted(self.values),
        }
        given = {
            name: _dumps(
                [
                    dict(zip(_GIVEN[name], row, strict=True)) | {_PLACE: place}
                    for place, row in enumerate(some, 1)
                ]
            )
            for name, some in rows.items()
        }
        work.do(
            work.statement("add", lambda: _adding_all(work)),
            {**given, _TICKETS: len(self.standings)},
        )


def _details_of(entry: Entry) -> tuple[Any, ...]:
    return (
        entry.key,
        entry.hash,
        entry.fingerprint,
        entry.request_id,
        entry.task_uuid,
        entry.release,
        entry.environment,
        entry.leading,
    )


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _adding_hours(work: Work) -> Any:
    table = work.tables.histogram
    if work.kind == "mysql":
        statement: Any = mysql.insert(table)
        return statement.on_duplicate_key_update(count=table.c.count + statement.inserted["count"])
    statement = sqlite.insert(table)
    return statement.on_conflict_do_update(
        index_elements=["ticket_id", "hour"],
        set_={"count": table.c.count + statement.excluded["count"]},
    )


def _adding_values(work: Work) -> Any:
    table = work.tables.values
    if work.kind == "mysql":
        # Unlike IGNORE, this does not turn other errors into warnings.
        return mysql.insert(table).on_duplicate_key_update(ticket_id=table.c.ticket_id)
    return sqlite.insert(table).on_conflict_do_nothing()


def _adding_all(work: Work) -> Any:
    """Return the one statement of PostgreSQL."""
    tables = work.tables
    tickets = tables.tickets
    # It takes a hundred rows for granted, for which it would read all tickets; the limit says how
    # many there are.
    counts = (
        _columns(_given("counts", tickets), _COUNTS).limit(sa.bindparam(_TICKETS)).subquery("some")
    )
    counting = (
        tickets.update()
        .where(tickets.c.ticket_id == counts.c.ticket_id)
        .values(
            occurrence_count=tickets.c.occurrence_count + counts.c.occurrence_count,
            last_occurrence_time=counts.c.last_occurrence_time,
            solved=counts.c.solved,
        )
    )
    occurrences = _given("occurrences", tables.occurrences)
    # They get their numbers in this order, and are told from each other by it.
    inserting = tables.occurrences.insert().from_select(
        _OCCURRENCE, _columns(occurrences, _OCCURRENCE).order_by(occurrences.c[_PLACE])
    )
    inserted = inserting.returning(tables.occurrences.c.occurrence_id).cte("inserted")
    number = inserted.c.occurrence_id
    place = sa.func.row_number().over(order_by=number).label(_PLACE)
    numbered = sa.select(number, place).subquery("numbered")
    details = _given("details", tables.details)
    detailing = tables.details.insert().from_select(
        ["occurrence_id", *_DETAILS],
        sa.select(numbered.c.occurrence_id, *(details.c[name] for name in _DETAILS)).join_from(
            details, numbered, numbered.c[_PLACE] == details.c[_PLACE]
        ),
    )
    adding: Any = postgresql.insert(tables.histogram).from_select(
        _HOUR, _columns(_given("hours", tables.histogram), _HOUR)
    )
    adding = adding.on_conflict_do_update(
        index_elements=["ticket_id", "hour"],
        set_={"count": tables.histogram.c.count + adding.excluded["count"]},
    )
    seen = postgresql.insert(tables.values).from_select(
        _VALUE, _columns(_given("values", tables.values), _VALUE)
    )
    return seen.on_conflict_do_nothing().add_cte(
        counting.cte("counting"), detailing.cte("detailing"), adding.cte("adding")
    )


def _columns(rows: Any, names: Iterable[str]) -> Any:
    return sa.select(*(rows.c[name] for name in names))


def _given(name: str, table: sa.Table) -> Any:
    """Return rows made of a parameter, with the columns of *table* and their place."""
    columns = [sa.column(_PLACE, sa.Integer())]
    for one in _GIVEN[name]:
        type_: Any = table.c[one].type
        # Texts without a length: with one, what is too long would be cut instead of refused.
        type_ = sa.Text() if isinstance(type_, sa.String) else type_
        columns.append(sa.column(one, type_))
    json_type = postgresql.JSON()
    rows: Any = sa.func.json_to_recordset(sa.cast(sa.bindparam(name, type_=sa.Text()), json_type))
    return rows.table_valued(*columns, name=name).render_derived(with_types=True)
