"""Tickets within a transaction: locked, changed, and stored again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from sprockets.logbook.ticketing._sql_database import OutdatedError
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_statements import Work, any_of
from sprockets.logbook.ticketing._sql_states import Standing, state_of
from sprockets.logbook.ticketing._sql_texts import fitting


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
    status = work.tables.status
    given = {"ids": list(ids)}
    rows = work.all(work.statement("lock", lambda: _locking(work)), given)
    # Read only now: what a lock was waited for may have changed these.
    known = {
        row.ticket_id: row
        for row in work.all(
            work.statement(
                "status",
                lambda: sa.select(status).where(status.c.ticket_id.in_(any_of("ids"))),
            ),
            given,
        )
    }
    standings = {}
    for ticket_id, count, last_time, solved in rows:
        more = known.get(ticket_id)
        if more is None:
            standings[ticket_id] = _standing_of_logbook(work, ticket_id, count, last_time, solved)
            continue
        if more.merged_into is not None and merged:
            continue
        if more.merged_into is not None:
            raise OutdatedError("a ticket was merged meanwhile")
        standings[ticket_id] = Standing(
            ticket_id,
            count or 0,
            last_time,
            state_of(more.state, solved),
            more.title,
            more.assignee,
            more.fingerprint,
            more.first_time,
            more.first_release,
            more.last_release,
            more.solved_in,
            more.solved_order,
            more.ignored_until,
            more.ignored_count,
        )
        standings[ticket_id].is_changed = state_of(more.state, solved) != more.state
    return standings


def _locking(work: Work) -> Any:
    tickets = work.tables.tickets.c
    return work.locking(
        sa.select(
            tickets.ticket_id,
            tickets.occurrence_count,
            tickets.last_occurrence_time,
            tickets.solved,
        )
        .where(tickets.ticket_id.in_(any_of("ids")))
        .order_by(tickets.ticket_id)
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
    standings = sorted(standings, key=lambda standing: standing.ticket_id)
    tables = work.tables
    changed = [standing for standing in standings if standing.is_changed]
    work.upsert(tables.status, [status_row(standing) for standing in changed])
    rows = [
        {
            "ticket_id": standing.ticket_id,
            "occurrence_count": standing.added,
            "last_occurrence_time": standing.last_time,
            "solved": standing.state == "solved",
        }
        for standing in standings
    ]
    if work.kind == "mysql":
        # One statement for all of them.
        work.upsert(tables.tickets, rows, added=["occurrence_count"])
        return
    work.do(
        work.statement("count", lambda: _counting(work)),
        [
            {
                "of_ticket": row["ticket_id"],
                "added": row["occurrence_count"],
                "last": row["last_occurrence_time"],
                "is_solved": row["solved"],
            }
            for row in rows
        ],
    )


def _counting(work: Work) -> Any:
    tickets = work.tables.tickets
    return (
        tickets.update()
        .where(tickets.c.ticket_id == sa.bindparam("of_ticket"))
        .values(
            occurrence_count=tickets.c.occurrence_count + sa.bindparam("added"),
            last_occurrence_time=sa.bindparam("last"),
            solved=sa.bindparam("is_solved"),
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
