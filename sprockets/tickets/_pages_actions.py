"""What forms do: change one ticket or many, and go back to where the form was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

from sprockets.http.mixins import Problem
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._model import Ticket
from sprockets.logbook.ticketing._search import Query
from sprockets.tickets import _views as views
from sprockets.tickets._api_input import (
    MAX_IDS,
    MAX_TEXT,
    InputError,
    TicketId,
    parse_count,
    parse_id,
    parse_ids,
    parse_line,
    parse_text,
)
from sprockets.tickets._pages_look import person_of
from sprockets.tickets._pages_ticket import TicketPageHandler
from sprockets.tickets._views_texts import present, ticket_url

_UNTIL: Final = {
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
}
_SIMILAR: Final = 8


class FormHandler(TicketPageHandler):
    """Base of what forms are posted to."""

    def read(self, parse: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what *parse* makes of a field.

        Raises:
            sprockets.http.mixins.Problem: With 422, if it makes no sense.
        """
        try:
            return parse(*args, **kwargs)
        except InputError as error:
            raise error.to_problem(in_body=True) from None

    def field(self, name: str) -> str:
        """Return a field of the form; empty if there is none."""
        return self.get_body_argument(name, "")

    # -- changes, each of which is what is called with the id of a ticket

    def solve(self) -> tuple[str, Callable[[TicketId], Any]]:
        """Return what solves a ticket."""
        release = self.read(parse_line, self.field("release"), "release", may_be_empty=True)
        return "solve", partial(self.store.solve_ticket, release=release or None, actor=self.actor)

    def reopen(self) -> tuple[str, Callable[[TicketId], Any]]:
        """Return what opens a ticket again."""
        return "reopen", partial(self.store.reopen_ticket, actor=self.actor)

    def ignore(self) -> tuple[str, Callable[[TicketId], Any]]:
        """Return what ignores a ticket, for as long as the form says."""
        choice = self.field("ignore")
        count = self.field("occurrences") or (choice if choice.isdecimal() else "")
        options: dict[str, Any] = {}
        if count:
            options["occurrences"] = self.read(parse_count, count, "occurrences")
        elif choice in _UNTIL:
            options["until"] = present() + _UNTIL[choice]
        elif choice not in ("", "forever"):
            known = ", ".join((*_UNTIL, "forever"))
            raise Problem(422, detail=f"ignore: expected {known}, or a number")
        return "ignore", partial(self.store.ignore_ticket, **options, actor=self.actor)

    def assign(self) -> tuple[str, Callable[[TicketId], Any]]:
        """Return what gives a ticket to whom the form says."""
        choice = self.field("assign")
        if choice == "me" and person_of(self):
            assignee = person_of(self)
        elif choice == "nobody":
            assignee = ""
        else:
            assignee = self.read(parse_line, self.field("assignee"), "assignee")
        return "assign" if assignee else "unassign", partial(
            _assign, self.store, assignee=assignee, actor=self.actor
        )


def _assign(store: BackendBase, ticket_id: TicketId, *, assignee: str, actor: str) -> bool:
    return store.assign_ticket(ticket_id, assignee, actor=actor)


class ChangeHandler(FormHandler):
    """Changes one ticket."""

    async def post(self, ticket_id: str, action: str) -> None:
        """Change it, and go back to its page."""
        key = self.read_id(ticket_id)
        changes = {
            "solve": self.solve,
            "reopen": self.reopen,
            "ignore": self.ignore,
            "assign": self.assign,
            "comment": self.comment,
        }
        done, change = changes[action]()
        url = ticket_url(self.base_path, ticket_id)
        if not await self.call(change, key):
            raise Problem(404, detail=f"There is no ticket {ticket_id}")
        self.go(url, done)

    def comment(self) -> tuple[str, Callable[[TicketId], Any]]:
        """Return what adds a comment to a ticket."""
        text = self.read(parse_text, self.field("comment"), "comment", max_length=MAX_TEXT)
        # Browsers end lines as forms have it.
        text = text.replace("\r\n", "\n")
        return "comment", partial(_comment, self.store, text=text, actor=self.actor)


def _comment(store: BackendBase, ticket_id: TicketId, *, text: str, actor: str) -> bool:
    return store.comment_on_ticket(ticket_id, text, actor=actor)


class SplitHandler(FormHandler):
    """Makes a ticket of its own of what is like an occurrence."""

    async def post(self, ticket_id: str) -> None:
        """Do it, and go to the new ticket."""
        key = self.read_id(ticket_id)
        occurrence = self.read(parse_id, self.field("occurrence"), "occurrence")
        new = await self.call(self.store.split_ticket, key, occurrence, actor=self.actor)
        if new is None:
            raise Problem(
                409,
                reason="Nothing to split",
                detail="All occurrences of this ticket are alike, so none would stay behind.",
            )
        self.go(ticket_url(self.base_path, new), "split")


# -- many tickets


class BulkHandler(FormHandler):
    """Changes the tickets that were selected in the list."""

    async def post(self) -> None:
        """Change them, and go back to the list; or on to a page that asks first."""
        back = self.check_next(self.field("next"))
        selected = self.get_body_arguments("ticket")
        if not selected:
            self.go(back, "none")
            return
        tickets = self.read(parse_ids, selected, "ticket")
        action = self.field("action")
        if action in ("merge", "delete"):
            where = "&".join(f"ticket={each}" for each in tickets)
            self.redirect(self.make_url(f"/{action}?{where}"), status=303)
            return
        if self.field("ignore"):
            action = "ignore"
        elif self.field("assign"):
            action = "assign"
        changes = {
            "solve": self.solve,
            "reopen": self.reopen,
            "ignore": self.ignore,
            "assign": self.assign,
        }
        if action not in changes:
            raise Problem(422, detail=f"action: expected one of {', '.join(changes)}")
        done, change = changes[action]()
        count = await self.call(_change_all, change, tickets)
        self.go(back, done if count else "gone", count)


def _change_all(change: Callable[[TicketId], Any], tickets: list[TicketId]) -> int:
    return sum(1 for each in tickets if change(each))


def _get_all(store: BackendBase, tickets: list[TicketId]) -> list[Ticket]:
    found = [store.get_ticket(each) for each in tickets]
    return [each for each in found if each is not None]


class ManyHandler(FormHandler):
    """Base of the pages that ask before something is done that cannot be undone."""

    async def selected(self, given: list[str]) -> list[Ticket]:
        """Return the tickets that are meant.

        Raises:
            sprockets.http.mixins.Problem: With 404, if there are none.
        """
        if len(given) > MAX_IDS:
            raise Problem(422, detail=f"Expected at most {MAX_IDS} tickets")
        ids = [self.read_id(each) for each in dict.fromkeys(given)]
        found = await self.call(_get_all, self.store, ids)
        if not found:
            raise Problem(404, detail="There is no such ticket")
        return found

    def check_writer(self) -> None:
        """Refuse those who may only read.

        Raises:
            sprockets.http.mixins.Problem: With 403.
        """
        if not self.may_write:
            raise Problem(403, detail=f"{self.actor} may read tickets only")

    def back(self, found: list[Ticket]) -> str:
        """Return where the page came from."""
        if len(found) == 1:
            return ticket_url(self.base_path, found[0].ticket_id)
        return self.make_url("/")


class MergeHandler(ManyHandler):
    """Makes several tickets one."""

    async def get(self, ticket_id: str = "") -> None:
        """Ask which of them stays."""
        self.check_writer()
        given = [ticket_id] if ticket_id else self.get_query_arguments("ticket")
        found = await self.selected(given)
        others = await self.call(_similar, self.store, found[0]) if len(found) == 1 else []
        now = present()
        # The one that has happened most often is what people know.
        found.sort(key=lambda ticket: -ticket.occurrence_count)
        self.send_page(
            "merge.html",
            "Merge tickets",
            tickets=[views.view_ticket(each, now, self.base_path) for each in found],
            others=[views.view_ticket(each, now, self.base_path) for each in others],
            back=self.back(found),
        )

    async def post(self, ticket_id: str = "") -> None:
        """Merge them, and go to the one that stays."""
        found = await self.selected(self.get_body_arguments("ticket"))
        into = self.read(
            parse_id, (self.field("into") or self.field("other")).strip().lstrip("#"), "into"
        )
        target = await self.call(self.store.get_ticket, into)
        if target is None or target.status.merged_into is not None:
            raise Problem(404, detail=f"There is no ticket {into}")
        others = [each.ticket_id for each in found if each.ticket_id != target.ticket_id]
        if not others:
            raise Problem(422, detail="A ticket cannot be merged into itself; choose another one")
        await self.call(self.store.merge_tickets, target.ticket_id, others, actor=self.actor)
        self.go(ticket_url(self.base_path, target.ticket_id), "merge")


def _similar(store: BackendBase, ticket: Ticket) -> list[Ticket]:
    """Return tickets that may be the same: of its channel, and those first that fail alike."""
    channels = (ticket.channel.replace("*", ""),) if ticket.channel else ()
    query = Query(channels=channels, texts=() if channels else (ticket.module or "",))
    found = store.get_tickets(limit=50, query=query)
    kind = ticket.status.title.partition(":")[0]
    found = [each for each in found if each.ticket_id != ticket.ticket_id]
    found.sort(key=lambda each: each.status.title.partition(":")[0] != kind)
    return found[:_SIMILAR]


class DeleteHandler(ManyHandler):
    """Removes tickets for good."""

    async def get(self, ticket_id: str = "") -> None:
        """Ask whether that is meant."""
        self.check_writer()
        given = [ticket_id] if ticket_id else self.get_query_arguments("ticket")
        found = await self.selected(given)
        now = present()
        self.send_page(
            "delete.html",
            "Delete?",
            tickets=[views.view_ticket(each, now, self.base_path) for each in found],
            back=self.back(found),
        )

    async def post(self, ticket_id: str = "") -> None:
        """Remove them, and go to the list."""
        if self.field("sure") != "yes":
            raise Problem(422, detail="sure: expected yes")
        found = await self.selected(self.get_body_arguments("ticket"))
        ids = [each.ticket_id for each in found]
        count = await self.call(_change_all, self.store.delete_ticket, ids)
        self.go(self.make_url("/"), "delete", count)
