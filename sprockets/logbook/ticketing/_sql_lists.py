"""Lists: what people look at, page by page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Final

from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._model import (
    FIELDS,
    OCCURRENCE_FIELDS,
    Details,
    HistoryItem,
    Occurrence,
    Status,
    Ticket,
)
from sprockets.logbook.ticketing._reading import level_of, occurrence
from sprockets.logbook.ticketing._search import EVERYTHING, Query
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_search import (
    conditions,
    first_time_column,
    is_alive,
    level_column,
    prepare_search,
    sorting,
    tickets_and_status,
)
from sprockets.logbook.ticketing._sql_statements import Work
from sprockets.logbook.ticketing._states import state_of
from sprockets.logbook.ticketing._tables import Tables
from sprockets.logbook.ticketing._texts import fitting

_MOST: Final = (1 << 31) - 1
"""The greatest id there is."""
_DIGITS: Final = len(str(_MOST))
_DETAILS: Final = tuple(field.name for field in fields(Details))
_STATUS: Final = tuple(
    field.name for field in fields(Status) if field.name not in ("state", "first_time")
)


def id_of(value: Any) -> int | None:
    """Return the id that *value* is, or is the text of, or has; None if it can be that of nothing.

    >>> id_of(3), id_of("3"), id_of("x"), id_of(-1), id_of(True)
    (3, 3, None, None, None)
    """
    if isinstance(value, Ticket):
        value = value.ticket_id
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _DIGITS:
        value = int(value)
    return value if type(value) is int and 0 < value <= _MOST else None


def order_of(order_by: str, names: Iterable[str]) -> tuple[str, bool]:
    """Return the field of *order_by*, and whether the greatest is first.

    Raises:
        KeyError: There is no such field.
        ValueError: *order_by* names none.
    """
    name = order_by.removeprefix("-")
    if not name:
        raise ValueError(f"order_by is {order_by!r}; pass a field: {', '.join(names)}")
    if name not in names:
        raise KeyError(name)
    return name, order_by.startswith("-")


# -- tickets


def count_tickets(work: Work, query: Query = EVERYTHING) -> int:
    """Return how many tickets meet *query*."""
    if query == EVERYTHING:
        rows = work.all(work.statement("count tickets", lambda: _counting(work.tables)))
        return int(rows[0][0] - rows[0][1])
    prepare_search(work, query)
    tables = work.tables
    return int(
        work.scalar(
            sa.select(sa.func.count())
            .select_from(tickets_and_status(tables))
            .where(is_alive(work), *conditions(work, query))
        )
    )


def _counting(tables: Tables) -> Any:
    """Return how many tickets there are, and how many of them were merged: few, by an index."""
    tickets, status = tables.tickets, tables.status
    merged = (
        sa.select(sa.func.count())
        .select_from(status.join(tickets, tickets.c.ticket_id == status.c.ticket_id))
        .where(status.c.merged_into.is_not(None))
    )
    everything = sa.select(sa.func.count()).select_from(tickets)
    return sa.select(everything.scalar_subquery(), merged.scalar_subquery())


def get_tickets(
    work: Work, db: BackendBase, order_by: str, limit: int, offset: int, query: Query
) -> list[Ticket]:
    """Return a page of the tickets that meet *query*."""
    name, is_down = order_of(order_by, (*FIELDS, "first_time"))
    prepare_search(work, query)

    def make() -> Any:
        return _page(work, name, is_down, query)

    # The first thing that is looked at is asked for most often.
    is_plain = query == EVERYTHING
    statement = work.statement(("page", name, is_down), make) if is_plain else make()
    return _tickets_of(work, db, work.all(statement, {"limit": limit, "offset": offset}))


def _page(work: Work, name: str, is_down: bool, query: Query) -> Any:
    tables = work.tables
    columns: dict[str, Any] = {
        "first_time": first_time_column(tables),
        "level": level_column(tables),
    }
    column = sorting(work, columns.get(name, tables.tickets.c.get(name)))
    keys = [column, tables.tickets.c.ticket_id]
    return (
        _tickets(work)
        .where(is_alive(work), *conditions(work, query))
        .order_by(*((key.desc() for key in keys) if is_down else keys))
        .limit(sa.bindparam("limit", type_=sa.Integer()))
        .offset(sa.bindparam("offset", type_=sa.Integer()))
    )


def get_ticket(work: Work, db: BackendBase, ticket_id: Any) -> Ticket | None:
    """Return a ticket, merged or not."""
    found = id_of(ticket_id)
    if found is None:
        return None
    rows = work.all(_tickets(work).where(work.tables.tickets.c.ticket_id == found))
    return next(iter(_tickets_of(work, db, rows)), None)


def _tickets(work: Work) -> Any:
    tables = work.tables
    return sa.select(
        *tables.tickets.c,
        tables.status.c.state,
        tables.status.c.first_time,
        *(tables.status.c[name] for name in _STATUS),
    ).select_from(tickets_and_status(tables))


def _tickets_of(work: Work, db: BackendBase, rows: Iterable[Any]) -> list[Ticket]:
    tickets = [dict(row._mapping) for row in rows]
    unknown = [facts["ticket_id"] for facts in tickets if facts["first_time"] is None]
    if unknown:
        # Of what Logbook wrote the occurrences tell.
        first_times = dict(work.look_up("first times", _first_times, ids=unknown))
        for facts in tickets:
            if facts["first_time"] is None:
                facts["first_time"] = first_times.get(facts["ticket_id"])
    return [_ticket(db, facts) for facts in tickets]


def _first_times(work: Work) -> Any:
    occurrences = work.tables.occurrences.c
    return (
        sa.select(occurrences.ticket_id, sa.func.min(occurrences.time))
        .where(work.is_among(occurrences.ticket_id, "ids"))
        .group_by(occurrences.ticket_id)
    )


def _ticket(db: BackendBase, facts: dict[str, Any]) -> Ticket:
    if isinstance(facts["record_hash"], bytes):
        facts["record_hash"] = facts["record_hash"].decode("ascii", "replace")
    facts["level"] = level_of(facts["level"])
    facts["solved"] = bool(facts["solved"])
    facts["occurrence_count"] = facts["occurrence_count"] or 0
    status = Status(
        state_of(facts["state"], facts["solved"]),
        first_time=facts["first_time"],
        **{
            name: facts[name]
            for name in _STATUS
            # What Logbook wrote has no status.
            if facts[name] is not None
        },
    )
    return Ticket(db, facts, status)


def get_values(work: Work, field: str, limit: int) -> list[str]:
    """Return the values of a field that tickets have."""
    tables = work.tables
    columns = {
        "channel": tables.tickets.c.channel,
        "app_id": tables.tickets.c.app_id,
        "assignee": tables.status.c.assignee,
    }
    origin = tickets_and_status(tables)
    if field in ("release", "environment"):
        column, values = tables.values.c.value, tables.values
        origin = values.join(tables.tickets, values.c.ticket_id == tables.tickets.c.ticket_id)
        origin = origin.outerjoin(
            tables.status, tables.status.c.ticket_id == tables.tickets.c.ticket_id
        )
        chosen = [values.c.field == field]
    elif field in columns:
        column, chosen = columns[field], []
    else:
        known = ", ".join((*columns, "release", "environment"))
        raise KeyError(f"{field!r} is no field that has a list of values; known: {known}")
    rows = work.all(
        sa.select(column)
        .select_from(origin)
        .where(column.is_not(None), column != "", is_alive(work), *chosen)
        .group_by(column)
        .order_by(sorting(work, column))
        .limit(limit)
    )
    return [value for (value,) in rows]


def get_mark(work: Work) -> str:
    """Return a text that differs whenever something was counted or changed."""
    tables = work.tables
    tickets = tables.tickets.c
    parts = [
        sa.select(sa.func.max(tables.occurrences.c.occurrence_id)),
        sa.select(sa.func.max(tables.history.c.item_id)),
    ]
    solved = sa.func.sum(sa.case((tickets.solved.is_(sa.true()), 1), else_=0))
    row = work.first(
        sa.select(
            *(part.scalar_subquery() for part in parts),
            sa.func.count(),
            sa.func.sum(tickets.occurrence_count),
            solved,
        ).select_from(tables.tickets)
    )
    return "-".join(str(int(value or 0)) for value in row)


# -- occurrences


def get_occurrences(
    work: Work, db: BackendBase, ticket: Any, order_by: str, limit: int, offset: int
) -> list[Occurrence]:
    """Return a page of the occurrences of a ticket."""
    name, is_down = order_of(order_by, OCCURRENCE_FIELDS)
    ticket_id = id_of(ticket)
    if ticket_id is None:
        return []
    occurrences = work.tables.occurrences.c
    keys = [sorting(work, occurrences[name]), occurrences.occurrence_id]
    if name == "ticket_id":
        del keys[0]
    statement = (
        _occurrences(work)
        .where(occurrences.ticket_id == ticket_id)
        .order_by(*((key.desc() for key in keys) if is_down else keys))
        .limit(limit)
        .offset(offset)
    )
    return [_occurrence(db, row) for row in work.all(statement)]


def get_occurrence(work: Work, db: BackendBase, occurrence_id: Any) -> Occurrence | None:
    """Return an occurrence, or None."""
    found = id_of(occurrence_id)
    if found is None:
        return None
    row = work.first(_occurrences(work).where(work.tables.occurrences.c.occurrence_id == found))
    return None if row is None else _occurrence(db, row)


def find_occurrences(
    work: Work, db: BackendBase, request_id: str | None, task_uuid: str | None, limit: int
) -> list[Occurrence]:
    """Return the occurrences of a request, or of a tree of actions."""
    details, occurrences = work.tables.details.c, work.tables.occurrences.c
    asked = []
    if request_id is not None:
        asked.append(details.request_id == fitting(request_id, 200))
    if task_uuid is not None:
        asked.append(details.task_uuid == fitting(task_uuid, 200))
    if not asked:
        return []
    statement = (
        _occurrences(work)
        .where(sa.or_(*asked))
        .order_by(occurrences.time, occurrences.occurrence_id)
        .limit(limit)
    )
    return [_occurrence(db, row) for row in work.all(statement)]


def _occurrences(work: Work) -> Any:
    occurrences, details = work.tables.occurrences, work.tables.details
    return sa.select(
        *occurrences.c, *(details.c[name].label(f"more_{name}") for name in _DETAILS)
    ).select_from(
        occurrences.outerjoin(details, details.c.occurrence_id == occurrences.c.occurrence_id)
    )


def _occurrence(db: BackendBase, row: Any) -> Occurrence:
    facts = row._mapping
    return occurrence(
        db,
        {name: facts[name] for name in OCCURRENCE_FIELDS},
        Details(**{name: facts[f"more_{name}"] for name in _DETAILS}),
    )


# -- what happened to a ticket


def get_history(work: Work, ticket_id: Any, limit: int, offset: int) -> list[HistoryItem]:
    """Return what happened to a ticket, the newest first."""
    found = id_of(ticket_id)
    if found is None:
        return []
    table = work.tables.history
    rows = work.all(
        sa.select(table)
        .where(table.c.ticket_id == found)
        .order_by(table.c.item_id.desc())
        .limit(limit)
        .offset(offset)
    )
    return [
        HistoryItem(
            row.item_id, row.ticket_id, row.time, row.actor, row.action, row.text, _facts(row.facts)
        )
        for row in rows
    ]


def _facts(text: str) -> Mapping[str, Any]:
    found = json.loads(text)
    return found if isinstance(found, dict) else {}
