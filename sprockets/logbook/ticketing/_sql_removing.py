"""Removing: whole tickets, and what is not to be kept, in transactions that are small."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from sprockets.logbook.ticketing._model import Removed, Retention
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_lists import id_of
from sprockets.logbook.ticketing._sql_statements import Work

T = TypeVar("T")


class Write(Protocol):
    """Runs a function in a transaction, perhaps more than once, and returns what it returned."""

    def __call__(self, do: Callable[[Work], T], /) -> T:
        """Run *do*."""
        ...


def delete(write: Write, ticket_id: Any, chunk: int) -> bool:
    """Remove a ticket, those merged into it, and all that belongs to them.

    Args:
        write: Runs a function in a transaction.
        ticket_id: The ticket.
        chunk: Occurrences removed in one transaction; the last takes the ticket along.
    """
    found = id_of(ticket_id)
    return found is not None and _delete(write, found, chunk) is not None


def _delete(write: Write, ticket_id: int, chunk: int) -> int | None:
    """Return how many occurrences were removed, or None if there is no such ticket."""
    removed = 0
    while True:
        count, is_done = write(lambda work: _delete_some(work, ticket_id, chunk))
        removed += count
        if is_done is None:
            return None
        if is_done:
            return removed


def _delete_some(work: Work, ticket_id: int, chunk: int) -> tuple[int, bool | None]:
    tables = work.tables
    tickets, status, occurrences = tables.tickets, tables.status, tables.occurrences
    merged = sa.select(status.c.ticket_id).where(status.c.merged_into == ticket_id)
    ids = [
        id
        for (id,) in work.locked(
            sa.select(tickets.c.ticket_id)
            .where(
                sa.or_(
                    tickets.c.ticket_id == ticket_id,
                    tickets.c.ticket_id.in_([id for (id,) in work.all(merged)]),
                )
            )
            .order_by(tickets.c.ticket_id)
        )
    ]
    if ticket_id not in ids:
        return 0, None
    found = sa.select(occurrences.c.occurrence_id).where(occurrences.c.ticket_id.in_(ids))
    count = remove_occurrences(work, found.limit(chunk))
    if count >= chunk:
        return count, False
    if work.kind == "sqlite":
        # It checks foreign keys only for those who ask for it.
        for table in (
            tables.status,
            tables.fingerprints,
            tables.values,
            tables.history,
            tables.histogram,
            tables.issues,
        ):
            work.do(table.delete().where(table.c.ticket_id.in_(ids)))
    # What else belongs to them goes with them.
    work.do(tickets.delete().where(tickets.c.ticket_id.in_(ids)))
    return count, True


def remove_occurrences(work: Work, found: Any) -> int:
    """Remove the occurrences that *found* selects, with their details, and return how many."""
    ids = [id for (id,) in work.all(found)]
    for table in (work.tables.details, work.tables.occurrences):
        if ids:
            work.do(table.delete().where(table.c.occurrence_id.in_(ids)))
    return len(ids)


# -- retention


def apply(write: Write, retention: Retention, now: datetime) -> Removed:
    """Remove what *retention* does not keep.

    Args:
        write: Runs a function in a transaction.
        retention: What is kept.
        now: The time.
    """
    if retention.chunk < 1:
        raise ValueError(f"chunk is rows removed at once, at least 1, got {retention.chunk}")
    occurrences, tickets = _remove_solved(write, retention, now)
    if retention.max_age is not None:
        oldest = now - retention.max_age
        occurrences += _in_chunks(
            write, retention.chunk, lambda work, limit: _older_than(work, oldest, limit)
        )
    if retention.max_per_ticket is not None:
        occurrences += _thin_out(write, retention.max_per_ticket, retention.chunk)
    if retention.max_occurrences is not None:
        occurrences += _remove_oldest(write, retention.max_occurrences, retention.chunk)
    return Removed(occurrences, tickets)


def _in_chunks(
    write: Write,
    chunk: int,
    select: Callable[[Work, int], Any],
    most: int | None = None,
) -> int:
    """Remove what *select* finds, until it finds less than it may, or *most*."""
    removed = 0
    while most is None or removed < most:
        limit = chunk if most is None else min(chunk, most - removed)
        count = write(partial(_remove_selected, select, limit))
        removed += count
        if count < limit:
            break
    return removed


def _remove_selected(select: Callable[[Work, int], Any], limit: int, work: Work) -> int:
    return remove_occurrences(work, select(work, limit))


def _older_than(work: Work, oldest: datetime, limit: int) -> Any:
    table = work.tables.occurrences.c
    return (
        sa.select(table.occurrence_id)
        .where(table.time < oldest)
        .order_by(table.time, table.occurrence_id)
        .limit(limit)
    )


def _remove_solved(write: Write, retention: Retention, now: datetime) -> tuple[int, int]:
    if retention.max_solved_age is None:
        return 0, 0
    oldest = now - retention.max_solved_age

    def old(work: Work) -> list[int]:
        tickets, status = work.tables.tickets, work.tables.status
        rows = work.all(
            sa.select(tickets.c.ticket_id)
            .outerjoin_from(tickets, status, status.c.ticket_id == tickets.c.ticket_id)
            .where(
                tickets.c.solved.is_(sa.true()),
                tickets.c.last_occurrence_time < oldest,
                status.c.merged_into.is_(None),
            )
        )
        return [ticket_id for (ticket_id,) in rows]

    occurrences = tickets = 0
    for ticket_id in write(old):
        count = _delete(write, ticket_id, retention.chunk)
        if count is not None:
            occurrences, tickets = occurrences + count, tickets + 1
    return occurrences, tickets


def _thin_out(write: Write, most: int, chunk: int) -> int:
    """Keep of each ticket the first tenth of *most*, and the newest."""
    first = most // 10

    def crowded(work: Work) -> list[tuple[int, int]]:
        table = work.tables.occurrences.c
        rows = work.all(
            sa.select(table.ticket_id, sa.func.count())
            .where(table.ticket_id.is_not(None))
            .group_by(table.ticket_id)
            .having(sa.func.count() > most)
        )
        return [(ticket_id, count) for ticket_id, count in rows]

    def next_ones(ticket_id: int, work: Work, limit: int) -> Any:
        table = work.tables.occurrences.c
        return (
            sa.select(table.occurrence_id)
            .where(table.ticket_id == ticket_id)
            .order_by(table.time, table.occurrence_id)
            .limit(limit)
            .offset(first)
        )

    removed = 0
    for ticket_id, count in write(crowded):
        removed += _in_chunks(
            write,
            chunk,
            partial(next_ones, ticket_id),
            count - most,
        )
    return removed


def _remove_oldest(write: Write, most: int, chunk: int) -> int:
    def excess(work: Work) -> int:
        count = work.scalar(sa.select(sa.func.count()).select_from(work.tables.occurrences))
        return int(count) - most

    def oldest(work: Work, limit: int) -> Any:
        table = work.tables.occurrences.c
        return sa.select(table.occurrence_id).order_by(table.time, table.occurrence_id).limit(limit)

    return _in_chunks(write, chunk, oldest, max(0, write(excess)))
