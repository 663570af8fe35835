"""What pages show of tickets: made of what a store holds, knowing neither store nor request.

Everything here is text that a template escapes, or a number; the only finished markup are the
pictures of `sprockets.tickets._sparklines`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from sprockets.eliot._trees._times import format_duration
from sprockets.logbook.ticketing._model import HistoryItem, Status, Ticket
from sprockets.tickets._sparklines import last_day, last_month, short_count, sparkline
from sprockets.tickets._views_texts import (
    MAX_TITLE,
    MAX_VALUE,
    Moment,
    cut,
    level_name,
    moment_of,
    one_line,
    short_path,
    ticket_url,
    web_url,
)

_STATE_TEXTS: Final = {
    "new": "New",
    "assigned": "Assigned",
    "solved": "Solved",
    "ignored": "Ignored",
    "regressed": "Regressed",
}
_HISTORY_TEXTS: Final = {
    "created": "Seen for the first time",
    "regressed": "Came back",
    "woken": "No longer ignored",
    "solved": "Solved",
    "reopened": "Reopened",
    "ignored": "Ignored",
    "assigned": "Assigned",
    "commented": "Comment",
    "merged": "Merged",
    "split": "Split",
    "filed": "Filed in a tracker",
    "refused": "A tracker was not told",
}


# -- tickets


@dataclass(frozen=True, slots=True)
class TicketView:
    """A ticket, ready to be shown.

    Args:
        ticket_id: Its id, as text.
        url: Of its page.
        title: What happens, in a line.
        level_name: How bad it is.
        state: Where it stands, as the store says it.
        state_text: The same for people, with what is to be known of it.
        channel: Of its records; empty if they have none.
        location: Where it happens.
        module: The module in which it happens.
        app_id: The application.
        count: How often it happened.
        count_short: The same in few characters.
        first: When it happened first, if that is known.
        last: When it happened last.
        assignee: Whose it is; empty if nobody's.
        first_release: Where it was seen first; empty if unknown.
        last_release: Where it was seen last.
        fingerprint: Under which it is one ticket.
        record_hash: Logbook's hash.
    """

    ticket_id: str
    url: str
    title: str
    level_name: str
    state: str
    state_text: str
    channel: str
    location: str
    module: str
    app_id: str
    count: int
    count_short: str
    first: Moment | None
    last: Moment | None
    assignee: str
    first_release: str
    last_release: str
    fingerprint: str
    record_hash: str

    @property
    def place(self) -> str:
        """Channel and location in a line, without the folders that say little."""
        return " · ".join(part for part in (self.channel, short_path(self.location)) if part)


def view_ticket(ticket: Ticket, now: datetime, base: str) -> TicketView:
    """Return what is shown of *ticket*.

    Args:
        ticket: The ticket.
        now: The present, in UTC and without a zone.
        base: Path of the frontend, without a slash at its end.
    """
    status = ticket.status
    channel, location, module = ticket.channel or "", ticket.location or "", ticket.module or ""
    return TicketView(
        ticket_id=str(ticket.ticket_id),
        url=ticket_url(base, ticket.ticket_id),
        title=cut(one_line(status.title), MAX_TITLE) or _title(channel or module, location),
        level_name=level_name(ticket.level),
        state=status.state,
        state_text=state_text(status, ticket.occurrence_count, now),
        channel=channel,
        location=location,
        module=module,
        app_id=ticket.app_id or "",
        count=ticket.occurrence_count,
        count_short=short_count(ticket.occurrence_count),
        first=moment_of(status.first_time, now),
        last=moment_of(ticket.last_occurrence_time, now),
        assignee=status.assignee,
        first_release=status.first_release or "",
        last_release=status.last_release or "",
        fingerprint=status.fingerprint or "",
        record_hash=ticket.record_hash,
    )


def _title(channel: str, location: str) -> str:
    """Return what a ticket is called of which nobody noted a title."""
    if channel and location:
        return f"{channel} at {location}"
    return channel or location or "(no title)"


def state_text(status: Status, count: int, now: datetime) -> str:
    """Return where a ticket stands, for people.

    Args:
        status: What is kept of the ticket.
        count: How often it happened so far.
        now: The present, in UTC and without a zone.
    """
    text = _STATE_TEXTS.get(status.state, status.state)
    if status.state == "solved" and status.solved_in:
        return f"{text} in {status.solved_in}"
    if status.state != "ignored":
        return text
    conditions = []
    if status.ignored_until is not None:
        left = (status.ignored_until - now).total_seconds()
        conditions.append(f"for {format_duration(left)}" if left > 0 else "until the next one")
    if status.ignored_count is not None:
        left_count = max(1, status.ignored_count - count)
        conditions.append(f"until {left_count:,} more")
    return f"{text} {' or '.join(conditions)}" if conditions else text


# -- a list of tickets


@dataclass(frozen=True, slots=True)
class ListRow:
    """A ticket in a list.

    Args:
        ticket: The ticket.
        day: A picture of the last 24 hours.
        month: A picture of the last 30 days.
    """

    ticket: TicketView
    day: str
    month: str


def list_rows(
    tickets: Sequence[Ticket],
    hours: Mapping[Any, Sequence[int]],
    days: Mapping[Any, Sequence[int]],
    now: datetime,
    base: str,
) -> list[ListRow]:
    """Return the rows of a list.

    Args:
        tickets: In their order.
        hours: Of each ticket, how often it happened in each of the last 24 hours.
        days: The same in each of the last 30 days.
        now: The present, in UTC and without a zone.
        base: Path of the frontend, without a slash at its end.
    """
    day, month = last_day(now), last_month(now)
    rows = []
    for ticket in tickets:
        of_day = fit(hours.get(ticket.ticket_id, ()), day.count)
        of_month = fit(days.get(ticket.ticket_id, ()), month.count)
        view = view_ticket(ticket, now, base)
        rows.append(ListRow(view, sparkline(of_day, day), sparkline(of_month, month)))
    return rows


def fit(counts: Sequence[int], length: int) -> list[int]:
    """Return the last *length* of *counts*, with zeros in front if there are fewer.

    Between asking a store and drawing, an hour may end.
    """
    found = list(counts)[-length:] if length else []
    return [0] * (length - len(found)) + found


@dataclass(frozen=True, slots=True)
class Column:
    """A column by which a list can be sorted.

    Args:
        title: What stands above it.
        url: Sorts by it; the other way round if it is already.
        direction: ``ascending`` or ``descending`` if the list is sorted by it, else ``none``.
    """

    title: str
    url: str
    direction: str


def column(
    title: str, field: str, order_by: str, url: str, arguments: Mapping[str, str | None]
) -> Column:
    """Return a column that sorts by *field*.

    Args:
        title: What stands above it.
        field: A field of tickets.
        order_by: What the list is sorted by; greatest first with ``-`` in front.
        url: Path of the list.
        arguments: What else the list is asked for.
    """
    current = order_by.removeprefix("-")
    is_descending = order_by.startswith("-")
    # The greatest first is what is wanted of numbers and times; of texts, the other way.
    wanted = f"-{field}" if field not in _TEXT_FIELDS else field
    if current == field:
        wanted = field if is_descending else f"-{field}"
        direction = "descending" if is_descending else "ascending"
    else:
        direction = "none"
    return Column(title, with_arguments(url, {**arguments, "sort": wanted}), direction)


_TEXT_FIELDS: Final = frozenset(("channel", "location", "module", "app_id"))


@dataclass(frozen=True, slots=True)
class Pager:
    """Where a page stands among the others.

    Args:
        first: Number of its first item, from 1; 0 if there is none.
        last: Number of its last item.
        total: Items in all.
        previous: URL of the page before; empty if it is the first.
        next: URL of the page after; empty if it is the last.
    """

    first: int
    last: int
    total: int
    previous: str
    next: str

    @property
    def text(self) -> str:
        """As in ``51–100 of 1,234``."""
        if not self.total:
            return "none"
        if self.first > self.last:
            return f"none here, {self.total:,} in all"
        return f"{self.first:,}–{self.last:,} of {self.total:,}"


def pager(
    page: int, size: int, total: int, url: str, arguments: Mapping[str, str | None], shown: int
) -> Pager:
    """Return where *page*, counted from 1, stands.

    Args:
        page: Number of the page.
        size: Items on a page.
        total: Items in all.
        url: Path of the pages.
        arguments: What else they are asked for.
        shown: Items on this one.
    """
    start = (page - 1) * size

    def address(number: int) -> str:
        return with_arguments(url, {**arguments, "page": str(number) if number > 1 else None})

    pages = max(1, -(-total // size))
    return Pager(
        start + 1,
        start + shown,
        total,
        address(min(page - 1, pages)) if page > 1 else "",
        address(page + 1) if start + shown < total and shown else "",
    )


def with_arguments(url: str, arguments: Mapping[str, str | None]) -> str:
    """Return *url* with those of *arguments* that are not None.

    >>> with_arguments("/", {"q": "is:new", "page": None})
    '/?q=is%3Anew'
    """
    query = urlencode({name: value for name, value in arguments.items() if value is not None})
    return f"{url}?{query}" if query else url


# -- history


@dataclass(frozen=True, slots=True)
class HistoryView:
    """A line of the history, ready to be shown.

    Args:
        action: As the store says it.
        title: The same for people.
        actor: Who; empty for the library itself.
        text: A comment, or what is to be known.
        url: Where that is, if it is anywhere; else empty.
        is_comment: Whether somebody wrote the text.
        time: When.
    """

    action: str
    title: str
    actor: str
    text: str
    url: str
    is_comment: bool
    time: Moment | None


def _text_of(item: HistoryItem) -> str:
    """Return what is to be known; of an issue by what people call it, not by its address."""
    tracker, issue = item.facts.get("tracker"), item.facts.get("issue")
    if item.action == "filed" and tracker and issue:
        return f"{tracker} #{issue}"
    return item.text


def view_history(items: Iterable[HistoryItem], now: datetime) -> list[HistoryView]:
    """Return what is shown of *items*."""
    return [
        HistoryView(
            item.action,
            _HISTORY_TEXTS.get(item.action, item.action.capitalize()),
            item.actor,
            cut(_text_of(item), MAX_VALUE),
            web_url(item.facts.get("url")),
            item.action == "commented",
            moment_of(item.time, now),
        )
        for item in items
    ]
