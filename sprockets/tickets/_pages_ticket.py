"""The pages of a ticket and of an occurrence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sprockets.http.mixins import Problem
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._model import HistoryItem, Occurrence, Ticket, TrackerIssue
from sprockets.logbook.ticketing._reading import leading_records
from sprockets.tickets import _views as views
from sprockets.tickets import _views_occurrences as occurrence_views
from sprockets.tickets._api_input import InputError, TicketId, parse_count, parse_id
from sprockets.tickets._known import Values
from sprockets.tickets._pages_list import IGNORE_CHOICES, MAX_PAGE, mark_of
from sprockets.tickets._pages_look import PageHandler
from sprockets.tickets._sparklines import histogram, last_day, last_month
from sprockets.tickets._trees import draw_trees
from sprockets.tickets._views_records import Fact
from sprockets.tickets._views_texts import present
from sprockets.tickets._views_traceback import read_traceback

OCCURRENCES_SIZE: Final = 20
HISTORY_SIZE: Final = 50

_MAX_MERGED: Final = 10


@dataclass(frozen=True, slots=True)
class Found:
    """What a store has for the page of a ticket."""

    ticket: Ticket
    occurrences: list[Occurrence]
    has_more: bool
    latest: Occurrence | None
    hours: list[int]
    days: list[int]
    history: list[HistoryItem]
    issues: list[TrackerIssue]
    assignees: list[str]
    releases: list[str]
    mark: str


def find(
    store: BackendBase, values: Values, ticket_id: TicketId, page: int, now: datetime
) -> Found | None:
    """Ask *store* for all that the page of a ticket shows; None if there is no such ticket.

    Args:
        store: Where tickets are.
        values: What is proposed.
        ticket_id: The ticket.
        page: Number of the page of occurrences, from 1.
        now: The present, in UTC and without a zone.
    """
    mark = mark_of(store)
    ticket = find_ticket(store, ticket_id)
    if ticket is None:
        return None
    key = ticket.ticket_id
    offset = (page - 1) * OCCURRENCES_SIZE
    found = store.get_occurrences(key, "-time", OCCURRENCES_SIZE + 1, offset)
    latest = found[0] if found and page == 1 else ticket.last_occurrence
    hours = store.get_counts([key], last_day(now).begin, now, "hour")
    days = store.get_counts([key], last_month(now).begin, now, "day")
    return Found(
        ticket,
        found[:OCCURRENCES_SIZE],
        len(found) > OCCURRENCES_SIZE,
        latest,
        views.fit(hours.get(key, []), last_day(now).count),
        views.fit(days.get(key, []), last_month(now).count),
        store.get_history(key, HISTORY_SIZE),
        store.get_issues(key),
        values.of("assignee", mark),
        values.of("release", mark),
        mark,
    )


def find_ticket(store: BackendBase, ticket_id: TicketId) -> Ticket | None:
    """Return a ticket; of one that was merged, the one that counts for it now."""
    ticket = store.get_ticket(ticket_id)
    for _ in range(_MAX_MERGED):
        if ticket is None or ticket.status.merged_into is None:
            break
        ticket = store.get_ticket(ticket.status.merged_into)
    return ticket


class TicketPageHandler(PageHandler):
    """Base of the pages that are about a ticket or an occurrence."""

    def read_id(self, text: str) -> TicketId:
        """Return the id that is part of the path.

        Raises:
            sprockets.http.mixins.Problem: With 404, if it can be the id of nothing.
        """
        try:
            return parse_id(text)
        except InputError:
            raise Problem(404, detail="There is nothing of that id") from None

    def values_of(self, found: Occurrence | None, now: datetime) -> dict[str, Any]:
        """Return what templates show of an occurrence."""
        if found is None:
            return {"record": None, "trace": None, "leading": [], "trees": ()}
        leading = leading_records(found)
        return {
            "record": occurrence_views.view_occurrence(found, now, self.base_path),
            "trace": read_traceback(found.formatted_exception),
            "leading": occurrence_views.view_leading(found, leading, now),
            "trees": draw_trees([*leading, found], here=found),
        }


class TicketHandler(TicketPageHandler):
    """A ticket."""

    async def get(self, ticket_id: str) -> None:
        """Show it."""
        key = self.read_id(ticket_id)
        try:
            page = parse_count(self.get_query_argument("page", "1"), "page", most=MAX_PAGE)
        except InputError:
            page = 1
        now = present()
        found = await self.call(find, self.store, self.site.shared(Values), key, page, now)
        if found is None:
            raise Problem(404, detail=f"There is no ticket {ticket_id}")
        ticket = views.view_ticket(found.ticket, now, self.base_path)
        if ticket.ticket_id != str(key):
            self.go(ticket.url, "merged")
            return
        last = (page - 1) * OCCURRENCES_SIZE + len(found.occurrences)
        is_all = page == 1 and not found.has_more
        total = last if not found.has_more else max(last + 1, ticket.count)
        self.send_page(
            "ticket.html",
            f"#{ticket.ticket_id} {ticket.title}",
            ticket=ticket,
            **self.values_of(found.latest, now),
            occurrences=occurrence_views.occurrence_rows(found.occurrences, now, self.base_path),
            kept=last if is_all else None,
            pager=views.pager(
                page, OCCURRENCES_SIZE, total, ticket.url, {}, len(found.occurrences)
            ),
            hours=found.hours,
            days=found.days,
            day=histogram(found.hours, last_day(now)),
            month=histogram(found.days, last_month(now)),
            history=views.view_history(found.history, now),
            issues=occurrence_views.view_issues(found.issues),
            assignees=found.assignees,
            releases=found.releases,
            ignore_choices=IGNORE_CHOICES,
            identity=[
                Fact("Fingerprint", ticket.fingerprint or "left to the hash"),
                Fact("Hash", ticket.record_hash),
                Fact("Location", ticket.location),
                Fact("Application", ticket.app_id),
            ],
            mark=found.mark,
        )


class OccurrenceHandler(TicketPageHandler):
    """An occurrence."""

    async def get(self, occurrence_id: str) -> None:
        """Show it."""
        key = self.read_id(occurrence_id)
        found = await self.call(self.store.get_occurrence, key)
        ticket = None
        if found is not None:
            ticket = await self.call(find_ticket, self.store, found.ticket_id)
        if found is None or ticket is None:
            raise Problem(404, detail=f"There is no occurrence {occurrence_id}; it may be too old")
        now = present()
        ticket_view = views.view_ticket(ticket, now, self.base_path)
        self.send_page(
            "occurrence.html",
            f"Occurrence {found.occurrence_id} of #{ticket_view.ticket_id}",
            ticket=ticket_view,
            can_split=ticket.occurrence_count > 1,
            **self.values_of(found, now),
        )
