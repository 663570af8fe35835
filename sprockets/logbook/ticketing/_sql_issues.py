"""What trackers of issues were told of tickets, and who may use the interface for programs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from sprockets.logbook.ticketing._model import TrackerIssue
from sprockets.logbook.ticketing._sql_changing import is_there
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_lists import id_of
from sprockets.logbook.ticketing._sql_statements import Work
from sprockets.logbook.ticketing._texts import fitting

_LONG_AGO: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - as the databases have them


def claim(work: Work, ticket_id: Any, tracker: str, now: datetime, patience: float) -> bool:
    """Reserve the filing of an issue; see `BackendBase.claim_issue`."""
    found = id_of(ticket_id)
    # Whoever else asks for this ticket waits here.
    if found is None or not is_there(work, found):
        return False
    table = work.tables.issues
    row = work.first(_of(work, found).where(table.c.tracker == tracker))
    if row is None:
        work.do(table.insert(), {**_row(TrackerIssue(found, tracker)), "claimed_at": now})
        return True
    if row.issue_id is not None:
        return False
    if row.claimed_at is not None and row.claimed_at + timedelta(seconds=patience) >= now:
        return False
    work.do(
        table.update()
        .where(table.c.ticket_id == found, table.c.tracker == tracker)
        .values(claimed_at=now)
    )
    return True


def claim_work(work: Work, name: str, now: datetime, seconds: float) -> bool:
    """Reserve a piece of work; see `BackendBase.claim`."""
    table = work.tables.claims
    name = fitting(name, 120)
    work.insert_missing(table, [{"name": name, "until": _LONG_AGO}])
    ((until,),) = work.locked(sa.select(table.c.until).where(table.c.name == name))
    if until > now:
        return False
    later = now + timedelta(seconds=seconds)
    work.do(table.update().where(table.c.name == name).values(until=later))
    return True


def save(work: Work, issue: TrackerIssue, now: datetime) -> None:
    """Store what a tracker was told; see `BackendBase.save_issue`.

    Of an unknown ticket nothing is stored.
    """
    found = id_of(issue.ticket_id)
    # Whoever else tells something of this ticket waits here.
    if found is None or not is_there(work, found):
        return
    table = work.tables.issues
    is_this = (table.c.ticket_id == found, table.c.tracker == issue.tracker)
    row = work.first(sa.select(table.c.commented_at).where(*is_this))
    if row is None:
        made = {**_row(issue), "ticket_id": found, "is_open": issue.is_open is not False}
        work.do(table.insert(), {**made, "claimed_at": now})
        return
    facts = {
        "issue_id": issue.issue_id,
        "url": issue.url,
        "is_open": issue.is_open,
        "commented_at": max(issue.commented_at, row.commented_at or 0),
    }
    known = {name: value for name, value in facts.items() if value is not None}
    work.do(table.update().where(*is_this).values(**known))


def get(work: Work, ticket_id: Any, tracker: str) -> TrackerIssue | None:
    """Return what a tracker was told of a ticket."""
    found = id_of(ticket_id)
    if found is None:
        return None
    row = work.first(_of(work, found).where(work.tables.issues.c.tracker == tracker))
    return None if row is None else _issue(row)


def get_all(work: Work, ticket_id: Any) -> list[TrackerIssue]:
    """Return what all trackers were told of a ticket."""
    found = id_of(ticket_id)
    if found is None:
        return []
    rows = work.all(_of(work, found))
    return sorted((_issue(row) for row in rows), key=lambda issue: issue.tracker)


def _of(work: Work, ticket_id: int) -> Any:
    table = work.tables.issues
    return sa.select(table).where(table.c.ticket_id == ticket_id)


def _issue(row: Any) -> TrackerIssue:
    return TrackerIssue(
        row.ticket_id, row.tracker, row.issue_id, row.url, row.commented_at, bool(row.is_open)
    )


def _row(issue: TrackerIssue) -> dict[str, Any]:
    return {
        "ticket_id": issue.ticket_id,
        "tracker": issue.tracker,
        "issue_id": issue.issue_id,
        "url": issue.url,
        "commented_at": issue.commented_at,
        "is_open": issue.is_open,
    }


# -- tokens


def add_token(work: Work, digest: str, name: str, scopes: Iterable[str]) -> None:
    """Store a token."""
    text = " ".join(sorted(set(scopes)))
    row = {"digest": digest, "name": fitting(name, 200), "scopes": text}
    work.upsert(work.tables.tokens, [row])


def get_token(work: Work, digest: str) -> tuple[str, frozenset[str]] | None:
    """Return name and scopes of a token, or None."""
    table = work.tables.tokens
    row = work.first(sa.select(table).where(table.c.digest == digest))
    return None if row is None else (row.name, frozenset(row.scopes.split()))


def get_tokens(work: Work) -> list[tuple[str, frozenset[str]]]:
    """Return names and scopes of all tokens, by name."""
    rows = work.all(sa.select(work.tables.tokens))
    found = [(row.name, frozenset(row.scopes.split())) for row in rows]
    return sorted(found, key=lambda token: (token[0], sorted(token[1])))


def remove_token(work: Work, name: str) -> bool:
    """Remove the tokens of that name."""
    table = work.tables.tokens
    return work.do(table.delete().where(table.c.name == name)) > 0
