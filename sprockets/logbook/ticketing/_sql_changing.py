"""Changes that people make to a ticket, each with its line in the history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sprockets.logbook.ticketing._search import State
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_lists import id_of
from sprockets.logbook.ticketing._sql_standings import (
    history_row,
    locked_standings,
    store_standings,
)
from sprockets.logbook.ticketing._sql_statements import Work
from sprockets.logbook.ticketing._states import Standing
from sprockets.logbook.ticketing._texts import fitting


def _change(
    work: Work,
    ticket_id: Any,
    change: Callable[[Standing], object],
    now: datetime,
    action: str,
    actor: str,
    text: str = "",
    facts: Mapping[str, Any] | None = None,
) -> bool:
    """Do *change* to a ticket that is not merged into another, and say so in its history."""
    found = id_of(ticket_id)
    standing = None if found is None else locked_standings(work, [found], merged=True).get(found)
    if standing is None:
        return False
    change(standing)
    standing.is_changed = True
    store_standings(work, [standing])
    row = history_row(standing.ticket_id, action, now, text, actor, facts)
    work.do(work.tables.history.insert(), row)
    return True


def _set_state(
    standing: Standing,
    state: State,
    *,
    solved_in: str | None = None,
    solved_order: int | None = None,
    until: datetime | None = None,
    count: int | None = None,
) -> None:
    standing.state = state
    standing.solved_in, standing.solved_order = solved_in, solved_order
    standing.ignored_until, standing.ignored_count = until, count


def solve(work: Work, ticket_id: Any, release: str | None, actor: str, now: datetime) -> bool:
    """Mark a ticket as solved."""
    release = None if release is None else fitting(release, 200)

    def change(standing: Standing) -> None:
        last = work.scalar(sa.select(sa.func.max(work.tables.releases.c.release_id)))
        _set_state(standing, "solved", solved_in=release, solved_order=last or 0)

    facts = {"release": release}
    return _change(work, ticket_id, change, now, "solved", actor, release or "", facts)


def reopen(work: Work, ticket_id: Any, actor: str, now: datetime) -> bool:
    """Mark a ticket as new, or as assigned if it is somebody's."""

    def change(standing: Standing) -> None:
        _set_state(standing, "assigned" if standing.assignee else "new")

    return _change(work, ticket_id, change, now, "reopened", actor)


def ignore(
    work: Work,
    ticket_id: Any,
    until: datetime | None,
    occurrences: int | None,
    actor: str,
    now: datetime,
) -> bool:
    """Ignore a ticket, for ever, until a moment, or for so many occurrences."""

    def change(standing: Standing) -> None:
        count = None if occurrences is None else standing.count + occurrences
        _set_state(standing, "ignored", until=until, count=count)

    parts = [] if until is None else [f"until {until.isoformat(' ', 'seconds')}"]
    parts += [] if occurrences is None else [f"for {occurrences} occurrences"]
    facts = {
        "until": None if until is None else until.isoformat(),
        "occurrences": occurrences,
    }
    return _change(work, ticket_id, change, now, "ignored", actor, " or ".join(parts), facts)


def assign(work: Work, ticket_id: Any, assignee: str, actor: str, now: datetime) -> bool:
    """Give a ticket to somebody, or to nobody."""
    assignee = fitting(assignee, 200)

    def change(standing: Standing) -> None:
        standing.assignee = assignee
        if standing.state in ("new", "assigned"):
            standing.state = "assigned" if assignee else "new"

    facts = {"assignee": assignee}
    return _change(work, ticket_id, change, now, "assigned", actor, assignee, facts)


def add_history(
    work: Work,
    ticket_id: Any,
    action: str,
    text: str,
    actor: str,
    facts: Mapping[str, Any],
    now: datetime,
) -> bool:
    """Add an item to the history of a ticket, merged or not."""
    found = id_of(ticket_id)
    if found is None or not is_there(work, found):
        return False
    work.do(work.tables.history.insert(), history_row(found, action, now, text, actor, facts))
    return True


def is_there(work: Work, ticket_id: int) -> bool:
    """Return whether there is such a ticket, and keep it from being removed meanwhile."""
    tickets = work.tables.tickets.c
    return bool(work.locked(sa.select(tickets.ticket_id).where(tickets.ticket_id == ticket_id)))
