"""The list of tickets: searched, sorted, a page at a time; and what a script asks about it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sprockets.http.mixins import Problem
from sprockets.logbook._levels import LEVEL_NAMES
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._model import Ticket
from sprockets.logbook.ticketing._query_language import QueryError, parse_query
from sprockets.logbook.ticketing._search import STATES, Query
from sprockets.tickets import _views as views
from sprockets.tickets._api_actions import VALUE_FIELDS
from sprockets.tickets._api_forms import time_text
from sprockets.tickets._api_input import InputError, parse_count, parse_id, parse_time
from sprockets.tickets._base import TicketsHandler
from sprockets.tickets._known import Counts, Values
from sprockets.tickets._pages_look import PageHandler, person_of
from sprockets.tickets._sparklines import last_day, last_month
from sprockets.tickets._views_texts import present, request_url

PAGE_SIZE: Final = 50
DEFAULT_QUERY: Final = "is:open"
DEFAULT_ORDER: Final = "-last_occurrence_time"
MAX_QUERY: Final = 2_000  # characters
MAX_PAGE: Final = 100_000


_ORDERS: Final = ("last_occurrence_time", "first_time", "occurrence_count", "level", "channel")
_TABS: Final = (
    ("Open", DEFAULT_QUERY, True),
    ("New", "is:new", True),
    ("Regressed", "is:regressed", True),
    ("Mine", "is:open assigned:me", True),
    ("Ignored", "is:ignored", False),
    ("Solved", "is:solved", False),
    ("All", "", False),
)
IGNORE_CHOICES: Final = (
    ("1h", "For an hour"),
    ("1d", "For a day"),
    ("1w", "For a week"),
    ("100", "For 100 occurrences"),
    ("forever", "For good"),
)
"""For how long tickets are ignored with one click."""

QUERY_HELP: Final = (
    ("is:open", "that are new, assigned or regressed; also is:new, is:solved and so on"),
    ("level:error", "of that level; level:>=warning for that level and worse ones"),
    ("channel:shop.*", "of a channel; * stands for any text"),
    ("assigned:me", "that are yours; assigned:none for nobody's, assigned:ann for another's"),
    ("release:1.4.2", "that were seen in a release"),
    ("env:production", "that were seen in an environment"),
    ("app:shop", "of an application"),
    ("request:4711", "that occurred during a request"),
    ("seen:24h", "that occurred within 24 hours; or since a date, as in seen:2026-11-21"),
    ("first:7d", "that occurred for the first time within seven days"),
    ("count:>100", "that occurred more often than that"),
    ("timeout", "with that text in title, channel, module or location"),
    ('"connection reset"', "with that text, spaces included"),
    ("is:new,regressed", "for which one of these is so"),
    ("-channel:noise", "for which that is not so"),
)
"""Searches, and what they find."""

STATE_HELP: Final = (
    ("new", "New", "Nobody has looked at it yet."),
    ("assigned", "Assigned", "Somebody has taken it."),
    ("regressed", "Regressed", "It was solved, and came again."),
    ("ignored", "Ignored", "It only counts: for good, for some time, or some occurrences."),
    ("solved", "Solved", "Done; it regresses as soon as it comes again."),
)
"""States, and what they mean."""

_WORDS: Final[tuple[dict[str, Any], ...]] = (
    {"text": "is:", "meaning": "state", "values": ["open", *STATES]},
    {
        "text": "level:",
        "meaning": "how bad",
        "values": [
            sign + name.lower()
            for sign in ("", ">=")
            for level, name in LEVEL_NAMES.items()
            if level
        ],
    },
    {"text": "channel:", "meaning": "name of the logger", "field": "channel"},
    {"text": "release:", "meaning": "where it was seen", "field": "release"},
    {"text": "env:", "meaning": "where it was seen", "field": "environment"},
    {"text": "app:", "meaning": "application", "field": "app_id"},
    {"text": "assigned:", "meaning": "to whom", "field": "assignee"},
    {"text": "request:", "meaning": "id of a request", "values": []},
    {"text": "seen:", "meaning": "last", "values": ["1h", "24h", "7d", "30d"]},
    {"text": "first:", "meaning": "first", "values": ["1h", "24h", "7d", "30d"]},
    {"text": "count:>", "meaning": "how often", "values": []},
)


@dataclass(frozen=True, slots=True)
class Misunderstanding:
    """Why a search cannot be understood.

    Args:
        message: What is wrong.
        before: What stands before that.
        marked: What is wrong in it.
        after: What stands after that.
    """

    message: str
    before: str = ""
    marked: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Tab:
    """A search that many want.

    Args:
        name: What it is called.
        url: Of the list.
        is_current: Whether the list is that.
        count: How many tickets it finds, if that is shown.
    """

    name: str
    url: str
    is_current: bool
    count: int | None


def read_query(text: str, me: str) -> Query | Misunderstanding:
    """Return the conditions that *text* says, or why it says none."""
    if len(text) > MAX_QUERY:
        return Misunderstanding(f"a search has at most {MAX_QUERY:,} characters")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return Misunderstanding("there are characters in it that no ticket has")
    try:
        return parse_query(text, me=me or None)
    except QueryError as error:
        begin, end = error.position, error.position + max(1, error.length)
        return Misunderstanding(error.message, text[:begin], text[begin:end], text[end:])


@dataclass(frozen=True, slots=True)
class Found:
    """What a store has for a list."""

    tickets: list[Ticket]
    total: int
    hours: dict[Any, list[int]]
    days: dict[Any, list[int]]
    counts: list[int | None]
    mark: str
    has_tickets: bool
    assignees: list[str]


def find(
    store: BackendBase,
    counts: Counts,
    values: Values,
    query: Query | None,
    tabs: list[Query | None],
    order_by: str,
    page: int,
    now: datetime,
) -> Found:
    """Ask *store* for all that a list shows.

    Args:
        store: Where tickets are.
        counts: What is known of how many there are.
        values: What is proposed.
        query: Conditions; None finds nothing.
        tabs: Conditions of the tickets to be counted; None for those that are not.
        order_by: A field, ``-`` in front for the greatest first.
        page: Number of the page, from 1.
        now: The present, in UTC and without a zone.
    """
    mark = mark_of(store)
    of_tabs = [None if each is None else counts.count(each, mark) for each in tabs]
    tickets: list[Ticket] = []
    total = 0
    if query is not None:
        tickets = store.get_tickets(order_by, PAGE_SIZE, (page - 1) * PAGE_SIZE, query)
        total = len(tickets) if page == 1 else PAGE_SIZE
        if total >= PAGE_SIZE:
            total = counts.count(query, mark)
    ids = [ticket.ticket_id for ticket in tickets]
    hours: dict[Any, list[int]] = {}
    days: dict[Any, list[int]] = {}
    if ids:
        hours = store.get_counts(ids, last_day(now).begin, now, "hour")
        days = store.get_counts(ids, last_month(now).begin, now, "day")
    has_tickets = bool(tickets) or any(of_tabs) or bool(store.get_tickets(limit=1))
    assignees = values.of("assignee", mark) if tickets else []
    return Found(tickets, total, hours, days, of_tabs, mark, has_tickets, assignees)


def mark_of(store: BackendBase) -> str:
    """Return the store's mark as the events have it."""
    return "".join(store.get_mark().split())


class ListHandler(PageHandler):
    """The list."""

    async def get(self) -> None:
        """Show a page of it."""
        text = self.get_query_argument("q", DEFAULT_QUERY, strip=True)
        order_by = self.get_query_argument("sort", DEFAULT_ORDER)
        if order_by.removeprefix("-") not in _ORDERS:
            order_by = DEFAULT_ORDER
        try:
            page = parse_count(self.get_query_argument("page", "1"), "page", most=MAX_PAGE)
        except InputError:
            page = 1
        me = person_of(self)
        query = read_query(text, me)
        wrong = query if isinstance(query, Misunderstanding) else None
        tabs = [tab for tab in _TABS if me or "assigned:me" not in tab[1]]
        counted = [
            parse_query(each, me=me or None) if is_counted else None for _, each, is_counted in tabs
        ]
        now = present()
        found = await self.call(
            find,
            self.store,
            self.site.shared(Counts),
            self.site.shared(Values),
            None if isinstance(query, Misunderstanding) else query,
            counted,
            order_by,
            page,
            now,
        )
        home = self.make_url("/")
        sort = None if order_by == DEFAULT_ORDER else order_by
        arguments: dict[str, str | None] = {"q": text, "sort": sort}
        columns = [
            (name, views.column(title, field, order_by, home, {"q": text}))
            for name, title, field in (
                ("number", "Count", "occurrence_count"),
                ("when last", "Last seen", "last_occurrence_time"),
                ("when first", "First seen", "first_time"),
            )
        ]
        request_link = ""
        if text and ":" not in text and " " not in text and not found.tickets:
            request_link = request_url(self.base_path, text)
        self.send_page(
            "list.html",
            "Tickets",
            query=text,
            query_error=wrong,
            order_by=order_by,
            default_order=DEFAULT_ORDER,
            words=json.dumps(_WORDS),
            tabs=[
                Tab(name, views.with_arguments(home, {"q": each}), each == text, count)
                for (name, each, _), count in zip(tabs, found.counts, strict=True)
            ],
            rows=views.list_rows(found.tickets, found.hours, found.days, now, self.base_path),
            columns=columns,
            pager=views.pager(page, PAGE_SIZE, found.total, home, arguments, len(found.tickets)),
            total=found.total,
            has_tickets=found.has_tickets,
            assignees=found.assignees,
            ignore_choices=IGNORE_CHOICES,
            request_link=request_link,
            now_iso=time_text(now),
            mark=found.mark,
        )


class HelpHandler(PageHandler):
    """What can be searched for, and what keys do."""

    section = "help"

    def get(self) -> None:
        """Show it."""
        self.send_page(
            "help.html", "Search and keyboard", query_help=QUERY_HELP, state_help=STATE_HELP
        )


class UpdatesHandler(TicketsHandler):
    """Says in words what came since a page was made."""

    is_page = False

    async def get(self) -> None:
        """Answer with ``{"text": "…"}``; the page shows it as a link to itself."""
        try:
            if self.get_query_argument("ticket", ""):
                text = await self._of_ticket()
            else:
                text = await self._of_list()
        except InputError as error:
            raise error.to_problem(in_body=False) from None
        self.finish({"text": text})

    async def _of_ticket(self) -> str:
        ticket = await self.call(self.store.get_ticket, parse_id(self.get_query_argument("ticket")))
        if ticket is None:
            return "This ticket was deleted · show"
        known = parse_count(self.get_query_argument("count", "0"), "count", least=0)
        parts = []
        if ticket.occurrence_count > known:
            parts.append(f"{ticket.occurrence_count - known:,} more")
        if ticket.status.state != self.get_query_argument("state", ""):
            parts.append(
                f"now {views.state_text(ticket.status, ticket.occurrence_count, present())}"
            )
        return " · ".join([*(parts or ["Something changed"]), "show"])

    async def _of_list(self) -> str:
        text = self.get_query_argument("q", DEFAULT_QUERY)
        # Records are stored a little later than they were made.
        since = parse_time(self.get_query_argument("since", ""), "since") - timedelta(seconds=2)
        query = read_query(text, person_of(self))
        if isinstance(query, Misunderstanding):
            raise Problem(400, detail=query.message)
        seen = since if query.seen_since is None else max(since, query.seen_since)
        first = since if query.first_since is None else max(since, query.first_since)
        touched = await self.call(self.store.count_tickets, replace(query, seen_since=seen))
        new = await self.call(self.store.count_tickets, replace(query, first_since=first))
        parts = []
        if new:
            parts.append(f"{new:,} new")
        if touched > new:
            parts.append(f"{touched - new:,} again")
        return " · ".join([*(parts or ["Something changed"]), "show"])


class CompletionsHandler(TicketsHandler):
    """Says which values there are, for the completion of searches."""

    is_page = False

    async def get(self) -> None:
        """Answer with ``{"values": […]}``."""
        field = self.get_query_argument("field", "")
        if field not in VALUE_FIELDS:
            raise Problem(404, detail=f"There is no such field; known: {', '.join(VALUE_FIELDS)}")
        values = await self.call(self.store.get_values, field)
        if field == "assignee":
            values = [*(["me"] if person_of(self) else []), "none", *values]
        self.finish({"values": values})
