"""Tickets within a transaction: locked, changed, and stored again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sprockets.logbook.ticketing._sql_database import OutdatedError
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_statements import Work
from sprockets.logbook.ticketing._states import Standing, state_of
from sprockets.logbook.ticketing._texts import fitting


def locked_standings(
    work: Work, ids: Collection[int], *, merged: bool = False
) -> dict[int, Standing]:
    """Return tickets, which nobody else changes until the transaction ends.

    Args:
        work: The transaction.
        ids: Their ids; unknown ones are left out.
        merged: Leave out those that were merged into others, instead of trying anew.

    Raises:
        OutdatedError: One was merged into another.
    """
    found = list(ids)
    if work.kind == "postgresql":
        rows = work.look_up("lock", _locking, ids=found)
        # Read only now: what a lock was waited for may have changed these.
        known = {row[0]: row for row in work.look_up("status", _reading, ids=found)}
        rows = [(*row, *known.get(row[0], _NO_STATUS)) for row in rows]
    else:
        # What is locked on MariaDB is read as it is then.
        rows = work.look_up("lock", _locking_both, ids=found)
        if work.kind == "mysql":
            rows = [_unpacked(text) for (text,) in rows]
    standings = {}
    for ticket_id, count, last_time, solved, is_known, merged_into, state, *more in rows:
        if is_known is None:
            standings[ticket_id] = _standing_of_logbook(work, ticket_id, count, last_time, solved)
            continue
        if merged_into is not None:
            if merged:
                continue
            raise OutdatedError("a ticket was merged meanwhile")
        now = state_of(state, solved)
        standing = standings[ticket_id] = Standing(ticket_id, count or 0, last_time, now, *more)
        standing.is_changed = now != state
    return standings


_STATUS: Final = (
    "ticket_id",
    "merged_into",
    "state",
    # As a standing has them.
    "title",
    "assignee",
    "fingerprint",
    "first_time",
    "first_release",
    "last_release",
    "solved_in",
    "solved_order",
    "ignored_until",
    "ignored_count",
)
_TICKET: Final = ("ticket_id", "occurrence_count", "last_occurrence_time", "solved")
_TIMES: Final = [
    place
    for place, name in enumerate(_TICKET + _STATUS)
    if name in ("last_occurrence_time", "first_time", "ignored_until")
]
_NO_STATUS: Final = (None,) * len(_STATUS)


def _locking(work: Work) -> Any:
    return work.locking(_rows(work, work.tables.tickets))


def _locking_both(work: Work) -> Any:
    tickets, status = work.tables.tickets, work.tables.status
    both = tickets.outerjoin(status, status.c.ticket_id == tickets.c.ticket_id)
    return work.locking(_rows(work, both, *(status.c[name] for name in _STATUS)))


def _rows(work: Work, origin: Any, *more: Any) -> Any:
    tickets = work.tables.tickets.c
    columns: tuple[Any, ...] = (*(tickets[name] for name in _TICKET), *more)
    if work.kind == "mysql":
        # For each column of an answer the driver does more than the server.
        columns = (sa.func.json_array(*columns),)
    return (
        sa.select(*columns)
        .select_from(origin)
        .where(work.is_among(tickets.ticket_id, "ids"))
        .order_by(tickets.ticket_id)
    )


def _unpacked(text: str) -> list[Any]:
    """Return the values of a row that came as JSON."""
    row = json.loads(text)
    for place in _TIMES:
        if row[place] is not None:
            row[place] = datetime.fromisoformat(row[place])
    return row  # type: ignore[no-any-return]


def _reading(work: Work) -> Any:
    status = work.tables.status.c
    return sa.select(*(status[name] for name in _STATUS)).where(
        work.is_among(status.ticket_id, "ids")
    )


def _standing_of_logbook(
    work: Work, ticket_id: int, count: int | None, last_time: datetime | None, solved: object
) -> Standing:
    """Return the standing of a ticket that was made just now, or by Logbook."""
    first = None
    if count:
        table = work.tables.occurrences
        first = work.scalar(
            sa.select(sa.func.min(table.c.time)).where(table.c.ticket_id == ticket_id)
        )
    found = Standing(ticket_id, count or 0, last_time, state_of(None, solved), "", "", None, first)
    found.is_changed = True
    return found


def store_standings(work: Work, standings: Iterable[Standing]) -> None:
    """Store what has become of tickets that are locked."""
    given = sorted(standings, key=lambda standing: standing.ticket_id)
    store_status(work, given)
    add_counts(work, given)


def store_status(work: Work, standings: Iterable[Standing]) -> None:
    """Store what is kept of tickets beyond Logbook's fields, where that has changed."""
    changed = [status_row(standing) for standing in standings if standing.is_changed]
    work.upsert(work.tables.status, changed)


COUNTING: Final = [
    f"new_{name}" for name in ("occurrence_count", "last_occurrence_time", "solved", "ticket_id")
]
"""The parameters of :func:`counting`."""


def add_counts(work: Work, standings: Iterable[Standing]) -> None:
    """Store Logbook's fields of tickets."""
    rows = count_rows(work, standings)
    if work.kind == "mysql":
        # One statement for all of them.
        names = [name.removeprefix("new_") for name in COUNTING]
        work.upsert(
            work.tables.tickets,
            [dict(zip(names, row, strict=True)) for row in rows],
            added=["occurrence_count"],
        )
        return
    work.many("count", lambda: counting(work), COUNTING, rows)


def count_rows(work: Work, standings: Iterable[Standing]) -> list[tuple[Any, ...]]:
    """Return what :func:`counting` is given for each ticket."""
    return [
        (one.added, work.moment(one.last_time), one.state == "solved", one.ticket_id)
        for one in standings
    ]


def counting(work: Work) -> Any:
    """Return the statement that stores Logbook's fields of a ticket."""
    tickets = work.tables.tickets
    new = {
        column.name: sa.bindparam(f"new_{column.name}", type_=column.type) for column in tickets.c
    }
    return (
        tickets.update()
        .where(tickets.c.ticket_id == new["ticket_id"])
        .values(
            occurrence_count=tickets.c.occurrence_count + new["occurrence_count"],
            last_occurrence_time=new["last_occurrence_time"],
            solved=new["solved"],
        )
    )


def status_row(standing: Standing) -> dict[str, Any]:
    """Return what is stored of a ticket beyond Logbook's fields."""
    return {
        "ticket_id": standing.ticket_id,
        "state": standing.state,
        "title": standing.title,
        "fingerprint": standing.fingerprint,
        "assignee": standing.assignee,
        "first_time": standing.first_time,
        "first_release": standing.first_release,
        "last_release": standing.last_release,
        "solved_in": standing.solved_in,
        "solved_order": standing.solved_order,
        "ignored_until": standing.ignored_until,
        "ignored_count": standing.ignored_count,
    }


def history_row(
    ticket_id: int,
    action: str,
    time: datetime,
    text: str = "",
    actor: str = "",
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return an item of a history."""
    return {
        "ticket_id": ticket_id,
        "time": time,
        "actor": fitting(actor, 200),
        "action": fitting(action, 32),
        "text": fitting(text, 1 << 20),
        "facts": json.dumps(facts or {}, default=str),
    }
