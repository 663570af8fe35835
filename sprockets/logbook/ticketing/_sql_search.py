"""Search: the conditions of a query, as SQL; each is true or false, so all can be negated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from sprockets.logbook.ticketing._search import Query
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_statements import Work
from sprockets.logbook.ticketing._tables import Tables
from sprockets.logbook.ticketing._texts import fitting

_SPECIAL_IN_LIKE: Final = re.compile(r"[\\%_]")
_LONGEST: Final = 1_000
"""Characters that can be looked for; SQLite has a limit to patterns."""
_SPECIAL_IN_GLOB: Final = re.compile(r"[\[\]?]")


def state_column(tables: Tables) -> Any:
    """Return where a ticket stands, as `state_of` says it."""
    status = tables.status.c.state
    return sa.case(
        (tables.tickets.c.solved.is_(sa.true()), "solved"),
        (status == "solved", "regressed"),
        else_=sa.func.coalesce(status, "new"),
    )


def level_column(tables: Tables) -> Any:
    """Return the level of a ticket; those of Logbook before 0.11 are translated."""
    level = sa.func.coalesce(tables.tickets.c.level, 0)
    return sa.case((level.between(1, 6), level + 9), else_=level)


def first_time_column(tables: Tables) -> Any:
    """Return when a ticket occurred first; of those that Logbook wrote the occurrences tell."""
    occurrences = tables.occurrences
    oldest = (
        sa.select(sa.func.min(occurrences.c.time))
        .where(occurrences.c.ticket_id == tables.tickets.c.ticket_id)
        .correlate(tables.tickets)
        .scalar_subquery()
    )
    return sa.func.coalesce(tables.status.c.first_time, oldest)


def tickets_and_status(tables: Tables) -> Any:
    """Return what tickets are selected from."""
    tickets, status = tables.tickets, tables.status
    return tickets.outerjoin(status, status.c.ticket_id == tickets.c.ticket_id)


def is_alive(work: Work) -> Any:
    """Return the condition that a ticket was not merged into another."""
    status = work.tables.status
    if work.kind != "postgresql":
        return status.c.merged_into.is_(None)
    # It would think that of nearly all tickets this is not so, and read and sort all for one page.
    other = status.alias()
    return ~sa.exists().where(
        other.c.ticket_id == work.tables.tickets.c.ticket_id, other.c.merged_into.is_not(None)
    )


def conditions(work: Work, query: Query) -> list[Any]:
    """Return what *query* says of a row of :func:`tickets_and_status`."""
    tables, found = work.tables, list[Any]()
    tickets = tables.tickets.c
    if query.states:
        found.append(state_column(tables).in_(query.states))
    if query.levels:
        found.append(level_column(tables).in_(query.levels))
    if query.min_level is not None:
        found.append(level_column(tables) >= query.min_level)
    if query.channels:
        channel = sa.func.coalesce(tickets.channel, "")
        found.append(sa.or_(*(_matches(work, channel, pattern) for pattern in query.channels)))
    for name, values in (("release", query.releases), ("environment", query.environments)):
        if values:
            seen = tables.values.c
            found.append(
                tickets.ticket_id.in_(
                    sa.select(seen.ticket_id).where(
                        seen.field == name, seen.value.in_(_fitting(values, 200))
                    )
                )
            )
    if query.app_ids:
        found.append(sa.func.coalesce(tickets.app_id, "").in_(_fitting(query.app_ids, 80)))
    if query.assignees:
        found.append(
            sa.func.coalesce(tables.status.c.assignee, "").in_(_fitting(query.assignees, 200))
        )
    if query.request_ids:
        found.append(tickets.ticket_id.in_(_tickets_of_requests(tables, query.request_ids)))
    if query.seen_since is not None:
        found.append(_is_since(tickets.last_occurrence_time, query.seen_since))
    if query.first_since is not None:
        found.append(_is_since(first_time_column(tables), query.first_since))
    if query.min_count is not None:
        found.append(sa.func.coalesce(tickets.occurrence_count, 0) >= query.min_count)
    texts = (tables.status.c.title, tickets.channel, tickets.module, tickets.location)
    found.extend(sa.or_(*(_contains(work, one, text) for one in texts)) for text in query.texts)
    found.extend(sa.not_(sa.and_(sa.true(), *conditions(work, other))) for other in query.excluded)
    return found


def _fitting(values: Iterable[str], length: int) -> list[str]:
    """Return *values* as they are stored."""
    return [fitting(value, length) for value in values]


def _is_since(column: Any, moment: Any) -> Any:
    return sa.and_(column.is_not(None), column >= moment)


def _tickets_of_requests(tables: Tables, request_ids: Iterable[str]) -> Any:
    details, occurrences = tables.details.c, tables.occurrences.c
    return (
        sa.select(occurrences.ticket_id)
        .join_from(
            tables.occurrences,
            tables.details,
            details.occurrence_id == occurrences.occurrence_id,
        )
        .where(
            details.request_id.in_(_fitting(request_ids, 200)), occurrences.ticket_id.is_not(None)
        )
    )


def _matches(work: Work, column: Any, pattern: str) -> Any:
    """Return the condition that *column* is *pattern*, whose stars stand for any text."""
    pattern = fitting(pattern, _LONGEST)
    if work.kind == "mysql":
        column = column.collate("utf8mb4_bin")
    if "*" not in pattern:
        return column == pattern
    if work.kind == "sqlite":
        # LIKE is one for capital and small letters there.
        glob = _SPECIAL_IN_GLOB.sub(lambda found: f"[{found[0]}]", pattern)
        return column.op("GLOB", is_comparison=True)(glob)
    return column.like(_escaped(pattern).replace("*", "%"), escape="\\")


def _contains(work: Work, column: Any, text: str) -> Any:
    column = sa.func.coalesce(column, "")
    pattern = f"%{_escaped(fitting(text, _LONGEST).lower())}%"
    if work.kind == "sqlite":
        return sa.func.sprockets_lower(column).like(pattern, escape="\\")
    if work.kind == "mysql":
        return sa.func.lower(column.collate("utf8mb4_bin")).like(pattern, escape="\\")
    return sa.func.lower(column).like(pattern, escape="\\")


def _escaped(text: str) -> str:
    return _SPECIAL_IN_LIKE.sub(lambda found: f"\\{found[0]}", text)


def prepare_search(work: Work, query: Query) -> None:
    """Give SQLite what it needs for *query*: its own LOWER knows no letters beyond ASCII."""
    if work.kind == "sqlite" and (query.texts or query.excluded):
        driver: Any = work.connection.connection.driver_connection
        driver.create_function("sprockets_lower", 1, _lower, deterministic=True)


def _lower(text: object) -> str:
    return str(text).lower()


def sorting(work: Work, column: Any) -> Any:
    """Return *column* as it is ordered everywhere: texts by the numbers of their characters."""
    if isinstance(column.type, sa.String):
        if work.kind == "postgresql":
            return column.collate("C")
        if work.kind == "mysql":
            return column.collate("utf8mb4_bin")
    return column
