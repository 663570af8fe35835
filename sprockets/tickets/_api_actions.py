"""What can be done with tickets, in one place for the interface and for the command."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._model import FIELDS, OCCURRENCE_FIELDS
from sprockets.logbook.ticketing._query_language import QueryError, parse_query
from sprockets.logbook.ticketing._search import Query
from sprockets.tickets._api_forms import (
    history_facts,
    id_value,
    issue_facts,
    occurrence_facts,
    ticket_facts,
    time_text,
)
from sprockets.tickets._api_input import Change, InputError, Page, TicketId

TICKET_ORDERS: Final = (*FIELDS, "first_time")
"""By which tickets are ordered."""
OCCURRENCE_ORDERS: Final = tuple(name for name in OCCURRENCE_FIELDS if name != "data")
"""By which occurrences are ordered."""
VALUE_FIELDS: Final = ("channel", "app_id", "assignee", "release", "environment")
"""Of which the values are listed."""

Step = Literal["hour", "day"]
_MAX_STEPS: Final = 1_000
_OF_A_REQUEST: Final = 500


def parse_search(text: str, me: str | None = None) -> Query:
    """Return the conditions that *text* says.

    Args:
        text: The search.
        me: Who asks, for ``assigned:me``.

    Raises:
        InputError: It makes no sense.
    """
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError("q", "has characters that cannot be stored: NUL, or lone surrogates")
    try:
        return parse_query(text, me=me)
    except QueryError as error:
        raise InputError("q", error.message, position=error.position, length=error.length) from None


# -- reading


def list_tickets(
    store: BackendBase, search: str, page: Page, me: str | None = None
) -> dict[str, Any]:
    """Return a page of the tickets that meet *search*, and how many there are in all."""
    query = parse_search(search, me)
    found = store.get_tickets(page.order_by, page.limit, page.offset, query)
    return {
        "tickets": [ticket_facts(ticket) for ticket in found],
        "total": store.count_tickets(query),
        "limit": page.limit,
        "offset": page.offset,
    }


def get_ticket(store: BackendBase, ticket_id: TicketId) -> dict[str, Any] | None:
    """Return a ticket with its issues in trackers, or None."""
    ticket = store.get_ticket(ticket_id)
    if ticket is None:
        return None
    issues = [issue_facts(issue) for issue in store.get_issues(ticket.ticket_id)]
    return {**ticket_facts(ticket), "issues": issues}


def list_occurrences(store: BackendBase, ticket_id: TicketId, page: Page) -> dict[str, Any] | None:
    """Return a page of the occurrences of a ticket, or None if there is no such ticket."""
    if store.get_ticket(ticket_id) is None:
        return None
    # One more than asked for tells whether there are more.
    found = store.get_occurrences(ticket_id, page.order_by, page.limit + 1, page.offset)
    return {
        "occurrences": [occurrence_facts(each, with_leading=False) for each in found[: page.limit]],
        "has_more": len(found) > page.limit,
        "limit": page.limit,
        "offset": page.offset,
    }


def get_occurrence(store: BackendBase, occurrence_id: TicketId) -> dict[str, Any] | None:
    """Return an occurrence with the records that led up to it, or None."""
    found = store.get_occurrence(occurrence_id)
    return None if found is None else occurrence_facts(found)


def list_history(store: BackendBase, ticket_id: TicketId, page: Page) -> dict[str, Any] | None:
    """Return a page of what happened to a ticket, or None if there is no such ticket."""
    if store.get_ticket(ticket_id) is None:
        return None
    found = store.get_history(ticket_id, page.limit + 1, page.offset)
    return {
        "history": [history_facts(item) for item in found[: page.limit]],
        "has_more": len(found) > page.limit,
        "limit": page.limit,
        "offset": page.offset,
    }


def find_by(
    store: BackendBase, *, request_id: str | None = None, task_uuid: str | None = None
) -> dict[str, Any]:
    """Return the occurrences of a request or of a tree of actions, and their tickets."""
    found = store.find_occurrences(request_id=request_id, task_uuid=task_uuid, limit=_OF_A_REQUEST)
    ticket_ids = dict.fromkeys(each.ticket_id for each in found)
    tickets = [store.get_ticket(ticket_id) for ticket_id in ticket_ids]
    return {
        "occurrences": [occurrence_facts(each) for each in found],
        "tickets": [ticket_facts(ticket) for ticket in tickets if ticket is not None],
    }


def get_counts(
    store: BackendBase,
    ticket_ids: Iterable[TicketId],
    step: Step,
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[str, Any]:
    """Return how often tickets occurred in each hour or day.

    Args:
        store: Where they are.
        ticket_ids: Which tickets.
        step: What is counted together.
        since: In the first hour or day; 24 hours or 30 days unless given.
        until: In the last one; now unless given.

    Raises:
        InputError: There would be none, or very many.
    """
    size = timedelta(hours=1) if step == "hour" else timedelta(days=1)
    until = until or datetime.now(UTC).replace(tzinfo=None)
    since = since or until - (24 if step == "hour" else 30) * size + size
    since = since.replace(minute=0, second=0, microsecond=0)
    if step == "day":
        since = since.replace(hour=0)
    if since > until:
        raise InputError("since", "expected a time that is not after until")
    if (until - since) / size > _MAX_STEPS:
        raise InputError("since", f"expected at most {_MAX_STEPS:,} {step}s up to until")
    ids = list(ticket_ids)
    counts = store.get_counts(ids, since, until, step)
    by_text = {str(ticket_id): numbers for ticket_id, numbers in counts.items()}
    steps = int((until - since) / size) + 1
    return {
        "step": step,
        "since": time_text(since),
        "counts": {str(each): by_text.get(str(each), [0] * steps) for each in ids},
    }


def get_values(store: BackendBase, field: str) -> dict[str, Any]:
    """Return the values that tickets have in *field*.

    Raises:
        InputError: There is no such field.
    """
    if field not in VALUE_FIELDS:
        raise InputError("field", f"expected one of {', '.join(VALUE_FIELDS)}")
    return {"field": field, "values": store.get_values(field)}


# -- changing


def apply_change(store: BackendBase, ticket_id: TicketId, change: Change, actor: str) -> bool:
    """Change a ticket; return whether there is one."""
    is_there = True
    if change.state == "solved":
        is_there = store.solve_ticket(ticket_id, release=change.release, actor=actor)
    elif change.state == "ignored":
        is_there = store.ignore_ticket(
            ticket_id, until=change.until, occurrences=change.occurrences, actor=actor
        )
    elif change.state == "new":
        is_there = store.reopen_ticket(ticket_id, actor=actor)
    if is_there and change.assignee is not None:
        is_there = store.assign_ticket(ticket_id, change.assignee, actor=actor)
    return is_there


def change_ticket(
    store: BackendBase, ticket_id: TicketId, change: Change, actor: str
) -> dict[str, Any] | None:
    """Change a ticket and return it, or None if there is none."""
    if store.get_ticket(ticket_id) is None:
        return None
    apply_change(store, ticket_id, change, actor)
    return get_ticket(store, ticket_id)


def change_tickets(
    store: BackendBase, ticket_ids: Iterable[TicketId], change: Change | None, actor: str
) -> dict[str, Any]:
    """Change tickets, one by one; without a *change*, delete them."""
    done: list[int | str | None] = []
    unknown: list[int | str | None] = []
    for ticket_id in ticket_ids:
        if store.get_ticket(ticket_id) is None:
            unknown.append(id_value(ticket_id))
            continue
        if change is None:
            store.delete_ticket(ticket_id)
        else:
            apply_change(store, ticket_id, change, actor)
        done.append(id_value(ticket_id))
    return {"deleted" if change is None else "changed": done, "unknown": unknown}


def comment(
    store: BackendBase, ticket_id: TicketId, text: str, actor: str
) -> dict[str, Any] | None:
    """Add a comment and return its line of the history, or None if there is no such ticket."""
    if store.get_ticket(ticket_id) is None:
        return None
    store.comment_on_ticket(ticket_id, text, actor=actor)
    newest = store.get_history(ticket_id, limit=1)
    return history_facts(newest[0]) if newest else {}


def merge(
    store: BackendBase, into: TicketId, others: Iterable[TicketId], actor: str
) -> dict[str, Any] | None:
    """Make tickets one and return it, or None if there is none.

    Raises:
        InputError: One is not there, or is the one itself.
    """
    others = list(others)
    if str(into) in map(str, others):
        raise InputError("tickets", "a ticket cannot be merged into itself")
    if store.get_ticket(into) is None:
        return None
    for each in others:
        if store.get_ticket(each) is None:
            raise InputError("tickets", f"there is no ticket {each}")
    store.merge_tickets(into, others, actor=actor)
    return get_ticket(store, into)


def split(
    store: BackendBase, ticket_id: TicketId, occurrence_id: TicketId, actor: str
) -> dict[str, Any] | None:
    """Make a ticket of its own of what is like an occurrence; None if there is no such ticket.

    Raises:
        InputError: There is no such occurrence of it, or nothing else.
    """
    if store.get_ticket(ticket_id) is None:
        return None
    new_id = store.split_ticket(ticket_id, occurrence_id, actor=actor)
    if new_id is None:
        raise InputError(
            "occurrence",
            f"there is no occurrence {occurrence_id} of this ticket, or all that it has are alike",
        )
    return get_ticket(store, new_id)
