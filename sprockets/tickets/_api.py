"""The interface for programs, under ``/api/v1``: JSON in, JSON out, errors as error documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from sprockets.http.mixins import Problem
from sprockets.tickets import _api_actions as actions
from sprockets.tickets._api_description import describe
from sprockets.tickets._api_forms import to_json
from sprockets.tickets._api_input import (
    CHANGE_MEMBERS,
    MAX_BODY,
    MAX_TEXT,
    InputError,
    Page,
    TicketId,
    check_members,
    check_parameters,
    parse_change,
    parse_id,
    parse_ids,
    parse_line,
    parse_object,
    parse_page,
    parse_text,
    parse_time,
)
from sprockets.tickets._base import TicketsHandler

PREFIX: Final = "/api/v1"
_PAGE: Final = ("order_by", "limit", "offset")
_PERIOD: Final = ("step", "since", "until")


class ApiHandler(TicketsHandler):
    """Answers programs."""

    is_page: ClassVar[bool] = False

    def read_parameters(self, *known: str) -> dict[str, str]:
        """Return the parameters of the URL, each once.

        Raises:
            sprockets.http.mixins.Problem: There is one beyond those that are *known*.
        """
        try:
            check_parameters(self.request.query_arguments, *known)
        except InputError as error:
            raise error.to_problem(in_body=False) from None
        return {name: self.get_query_argument(name) for name in self.request.query_arguments}

    def read_body(self, *known: str) -> dict[str, Any]:
        """Return the members of the body.

        Raises:
            sprockets.http.mixins.Problem: It is no JSON object, or has a member beyond those that
                are *known*.
        """
        if len(self.request.body) > MAX_BODY:
            raise Problem(413, detail=f"Expected at most {MAX_BODY:,} bytes")
        content_type = self.request.headers.get("Content-Type", "")
        body = parse_object(self.request.body, content_type)
        members: dict[str, Any] = self.read(check_body, body, known, in_body=True)
        return members

    def read(
        self, parse: Callable[..., Any], *args: Any, in_body: bool = False, **kwargs: Any
    ) -> Any:
        """Return what *parse* makes of something that the client sent.

        Raises:
            sprockets.http.mixins.Problem: It makes no sense.
        """
        try:
            return parse(*args, **kwargs)
        except InputError as error:
            raise error.to_problem(in_body=in_body) from None

    def read_id(self, text: str) -> TicketId:
        """Return an id that is part of the path.

        Raises:
            sprockets.http.mixins.Problem: With 404, if it can be the id of nothing.
        """
        try:
            return parse_id(text)
        except InputError:
            raise Problem(404, detail="There is nothing of that id") from None

    async def ask(
        self, function: Callable[..., Any], *args: Any, in_body: bool = False
    ) -> dict[str, Any]:
        """Return what *function* finds in the store.

        Raises:
            sprockets.http.mixins.Problem: With 404, if it finds nothing; else if what it was told
                makes no sense.
        """
        try:
            found: dict[str, Any] | None = await self.call(function, self.store, *args)
        except InputError as error:
            raise error.to_problem(in_body=in_body) from None
        if found is None:
            raise Problem(404, detail="There is nothing of that id")
        return found

    def send(self, document: Mapping[str, Any], status: int = 200) -> None:
        """Answer with *document*."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(to_json(document))

    def send_page(self, document: dict[str, Any], page: Page, has_more: bool) -> None:
        """Answer with a page of a list, and where its neighbours are."""
        links = {"self": self._link(page.offset)}
        if page.offset > 0:
            links["prev"] = self._link(max(page.offset - page.limit, 0))
        if has_more:
            links["next"] = self._link(page.offset + page.limit)
        fields = ", ".join(f'<{url}>; rel="{name}"' for name, url in links.items())
        self.set_header("Link", fields)
        self.send({**document, "links": links})

    def _link(self, offset: int) -> str:
        arguments = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        arguments.pop("offset", None)
        if offset:
            arguments["offset"] = str(offset)
        query = urlencode(arguments)
        return f"{self.request.path}?{query}" if query else self.request.path


def check_body(body: dict[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Return *body* if it has only members that are known.

    Raises:
        InputError: It has others.
    """
    check_members(body, *known)
    return body


class TicketsApi(ApiHandler):
    """The list of tickets."""

    async def get(self) -> None:
        """Send a page of the tickets that meet a search."""
        given = self.read_parameters("q", *_PAGE)
        page = self.read(parse_page, given, actions.TICKET_ORDERS, "-last_occurrence_time")
        found = await self.ask(actions.list_tickets, given.get("q", ""), page, self.actor)
        self.send_page(found, page, page.offset + page.limit < found["total"])


class BulkApi(ApiHandler):
    """Many tickets at once."""

    async def post(self) -> None:
        """Change tickets, or delete them."""
        body = self.read_body("tickets", "change", "delete")
        ticket_ids = self.read(parse_ids, body.get("tickets"), "tickets", in_body=True)
        change = self.read(parse_bulk, body, in_body=True)
        self.send(await self.ask(actions.change_tickets, ticket_ids, change, self.actor))


def parse_bulk(body: Mapping[str, Any]) -> Any:
    """Return the change that *body* is about, or None if it is about deleting.

    Raises:
        InputError: It says neither, or both.
    """
    if ("change" in body) == (body.get("delete") is True) or body.get("delete", True) is not True:
        raise InputError("", 'expected either a "change", or "delete": true')
    if "change" not in body:
        return None
    if not isinstance(body["change"], dict):
        raise InputError("change", "expected an object, as for a single ticket")
    try:
        return parse_change(body["change"])
    except InputError as error:
        name = f"change/{error.name}" if error.name else "change"
        raise InputError(name, error.text) from None


class TicketApi(ApiHandler):
    """A ticket."""

    async def get(self, ticket_id: str) -> None:
        """Send it."""
        self.read_parameters()
        self.send(await self.ask(actions.get_ticket, self.read_id(ticket_id)))

    async def patch(self, ticket_id: str) -> None:
        """Change its state, or whose it is."""
        found = self.read_id(ticket_id)
        body = self.read_body(*CHANGE_MEMBERS)
        change = self.read(parse_change, body, in_body=True)
        self.send(await self.ask(actions.change_ticket, found, change, self.actor))

    async def delete(self, ticket_id: str) -> None:
        """Remove it, with all that belongs to it."""
        if not await self.call(self.store.delete_ticket, self.read_id(ticket_id)):
            raise Problem(404, detail="There is nothing of that id")
        self.set_status(204)
        self.clear_header("Content-Type")
        self.finish()


class OccurrencesApi(ApiHandler):
    """The occurrences of a ticket."""

    async def get(self, ticket_id: str) -> None:
        """Send a page of them."""
        given = self.read_parameters(*_PAGE)
        page = self.read(parse_page, given, actions.OCCURRENCE_ORDERS, "-time")
        found = await self.ask(actions.list_occurrences, self.read_id(ticket_id), page)
        self.send_page(found, page, found.pop("has_more"))


class HistoryApi(ApiHandler):
    """What happened to a ticket."""

    async def get(self, ticket_id: str) -> None:
        """Send a page of it, the newest first."""
        given = self.read_parameters("limit", "offset")
        page = self.read(parse_page, given, ["time"], "-time", 100)
        found = await self.ask(actions.list_history, self.read_id(ticket_id), page)
        self.send_page(found, page, found.pop("has_more"))


class CommentsApi(ApiHandler):
    """Comments on a ticket."""

    async def post(self, ticket_id: str) -> None:
        """Add one."""
        found = self.read_id(ticket_id)
        body = self.read_body("text")
        text = self.read(parse_text, body.get("text"), "text", max_length=MAX_TEXT, in_body=True)
        self.send(await self.ask(actions.comment, found, text, self.actor), 201)


class MergeApi(ApiHandler):
    """Tickets that are one."""

    async def post(self, ticket_id: str) -> None:
        """Make a ticket of several."""
        found = self.read_id(ticket_id)
        body = self.read_body("tickets")
        others = self.read(parse_ids, body.get("tickets"), "tickets", in_body=True)
        self.send(await self.ask(actions.merge, found, others, self.actor, in_body=True))


class SplitApi(ApiHandler):
    """A ticket that is two."""

    async def post(self, ticket_id: str) -> None:
        """Make a ticket of its own of what is like an occurrence."""
        found = self.read_id(ticket_id)
        body = self.read_body("occurrence")
        occurrence = self.read(parse_id, body.get("occurrence"), "occurrence", in_body=True)
        new = await self.ask(actions.split, found, occurrence, self.actor, in_body=True)
        self.set_header("Location", self.make_url(f"{PREFIX}/tickets/{new['id']}"))
        self.send(new, 201)


class CountsApi(ApiHandler):
    """How often tickets occurred."""

    async def get(self) -> None:
        """Send the counts of each hour or day."""
        given = self.read_parameters("tickets", *_PERIOD)
        ids = given.get("tickets", "").split(",")
        ticket_ids = self.read(parse_ids, [each.strip() for each in ids], "tickets")
        step = given.get("step", "hour")
        if step not in ("hour", "day"):
            error = InputError("step", f"expected hour or day, got {step[:60]!r}")
            raise error.to_problem(in_body=False)
        period = [
            self.read(parse_time, given[name], name) if name in given else None
            for name in ("since", "until")
        ]
        self.send(await self.ask(actions.get_counts, ticket_ids, step, *period))


class OccurrenceApi(ApiHandler):
    """An occurrence."""

    async def get(self, occurrence_id: str) -> None:
        """Send it, with the records that led up to it."""
        self.read_parameters()
        self.send(await self.ask(actions.get_occurrence, self.read_id(occurrence_id)))


class RequestApi(ApiHandler):
    """What happened during a request."""

    async def get(self, request_id: str) -> None:
        """Send its occurrences, oldest first, and their tickets."""
        self.read_parameters()
        name = self.read(parse_line, request_id, "request_id")
        found = await self.call(actions.find_by, self.store, request_id=name)
        self.send({"request_id": name, **found})


class TaskApi(ApiHandler):
    """What happened in a tree of actions."""

    async def get(self, task_uuid: str) -> None:
        """Send its occurrences, oldest first, and their tickets."""
        self.read_parameters()
        name = self.read(parse_line, task_uuid, "task_uuid")
        found = await self.call(actions.find_by, self.store, task_uuid=name)
        self.send({"task_uuid": name, **found})


class ValuesApi(ApiHandler):
    """The values of a field, for filters."""

    async def get(self, field: str) -> None:
        """Send them, in their order."""
        self.read_parameters()
        if field not in actions.VALUE_FIELDS:
            known = ", ".join(actions.VALUE_FIELDS)
            raise Problem(404, detail=f"There is no such field; known: {known}")
        self.send(await self.ask(actions.get_values, field))


class MeApi(ApiHandler):
    """Who asks."""

    def get(self) -> None:
        """Send name and scopes."""
        self.read_parameters()
        assert self.identity is not None
        scopes = sorted(self.identity.scopes)
        self.send({"name": self.actor, "scopes": scopes, "may_write": self.may_write})


class DescriptionApi(ApiHandler):
    """The description of all this."""

    def get(self) -> None:
        """Send it, as OpenAPI has it."""
        self.read_parameters()
        self.send(describe(self.make_url(PREFIX)))


PATHS: Final[Mapping[str, type[ApiHandler]]] = {
    "/tickets": TicketsApi,
    "/tickets/bulk": BulkApi,
    "/tickets/{ticket_id}": TicketApi,
    "/tickets/{ticket_id}/occurrences": OccurrencesApi,
    "/tickets/{ticket_id}/history": HistoryApi,
    "/tickets/{ticket_id}/comments": CommentsApi,
    "/tickets/{ticket_id}/merge": MergeApi,
    "/tickets/{ticket_id}/split": SplitApi,
    "/counts": CountsApi,
    "/occurrences/{occurrence_id}": OccurrenceApi,
    "/requests/{request_id}": RequestApi,
    "/tasks/{task_uuid}": TaskApi,
    "/values/{field}": ValuesApi,
    "/me": MeApi,
    "/openapi.json": DescriptionApi,
}
"""What is where; a name in braces is a part of the path that varies."""


def routes() -> list[tuple[str, type[TicketsHandler]]]:
    """Return the routes of this room."""
    return [(PREFIX + pattern_of(path), handler) for path, handler in PATHS.items()]


def pattern_of(path: str) -> str:
    """Return *path* as a regular expression.

    >>> pattern_of("/values/{field}")
    '/values/([^/]+)'
    """
    return re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(path))
