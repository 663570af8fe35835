"""The page of a request: from the id in an error document to everything that is kept of it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Final

from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._model import Occurrence, Ticket
from sprockets.tickets import _views_occurrences as occurrence_views
from sprockets.tickets._api_input import InputError, parse_text
from sprockets.tickets._pages_look import PageHandler
from sprockets.tickets._trees import draw_trees
from sprockets.tickets._views_texts import cut, present, request_url
from sprockets.tickets._views_traceback import read_traceback

MAX_OCCURRENCES: Final = 100
"""Occurrences of a request that are shown."""

_MAX_TASKS: Final = 5
_MAX_ID: Final = 200


@dataclass(frozen=True, slots=True)
class Found:
    """What a store has of a request."""

    occurrences: list[Occurrence]
    tickets: dict[Any, Ticket]
    is_cut: bool


def find(store: BackendBase, request_id: str) -> Found:
    """Ask *store* for the occurrences of a request, and those of the tasks that it was part of."""
    found = store.find_occurrences(request_id=request_id, limit=MAX_OCCURRENCES + 1)
    is_cut = len(found) > MAX_OCCURRENCES
    found = found[:MAX_OCCURRENCES]
    known = {each.occurrence_id for each in found}
    tasks = dict.fromkeys(each.details.task_uuid for each in found if each.details.task_uuid)
    for task_uuid in list(tasks)[:_MAX_TASKS]:
        # A request that called another service is one task with that one's requests.
        others = store.find_occurrences(task_uuid=task_uuid, limit=MAX_OCCURRENCES)
        found += [each for each in others if each.occurrence_id not in known]
        known.update(each.occurrence_id for each in others)
    tickets = {}
    for ticket_id in dict.fromkeys(each.ticket_id for each in found):
        ticket = store.get_ticket(ticket_id)
        if ticket is not None:
            tickets[ticket_id] = ticket
    return Found(found, tickets, is_cut)


class RequestsHandler(PageHandler):
    """Asks for the id of a request."""

    section = "requests"

    def get(self) -> None:
        """Show the form, or go to the page of the request."""
        request_id = self.get_query_argument("id", "")
        if request_id:
            self.redirect(request_url(self.base_path, request_id[:_MAX_ID]), status=303)
            return
        self.send_page("requests.html", "What did a request do?")


class RequestHandler(PageHandler):
    """A request."""

    section = "requests"

    async def get(self, request_id: str) -> None:
        """Show everything that is kept of it."""
        try:
            parse_text(request_id, "request_id", max_length=_MAX_ID)
        except InputError:
            # No store can have it; then there is nothing, which the page says.
            found = Found([], {}, False)
        else:
            found = await self.call(find, self.store, request_id)
        now = present()
        records = occurrence_views.records_of(found.occurrences)
        failures = occurrence_views.view_failures(
            found.occurrences, found.tickets, request_id, now, self.base_path
        )
        with_trace = [each for each in found.occurrences if each.formatted_exception]
        last = with_trace[-1] if with_trace else None
        self.send_page(
            "request.html",
            f"Request {cut(request_id, 40)}",
            request_id=request_id,
            shell_quoted=shlex.quote(request_id),
            failures=failures,
            is_cut=found.is_cut,
            records=occurrence_views.view_request_records(records, now, self.base_path),
            trees=draw_trees(records),
            trace=None if last is None else read_traceback(last.formatted_exception),
            facts_of_request=occurrence_views.facts_of_request(records),
        )
