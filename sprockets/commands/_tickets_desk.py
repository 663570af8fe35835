"""Where tickets are looked after: at a store itself, or at a service that has one."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode, urlsplit

from tornado import httpclient

from sprockets.commands._tickets_serving import open_or_complain, resolve_store, shown_url
from sprockets.commands._tickets_trackers import Trackers
from sprockets.http._loading import CommandError
from sprockets.http._supervisor import EXIT_UNAVAILABLE
from sprockets.logbook.ticketing import Filing
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.tickets import _api_actions as actions
from sprockets.tickets._api_input import (
    MAX_TEXT,
    InputError,
    Page,
    TicketId,
    parse_change,
    parse_line,
    parse_page,
    parse_text,
)

EXIT_FORBIDDEN: Final = 77  # EX_NOPERM
_TIMEOUT: Final = 60.0  # seconds for an answer
_TELL_TIMEOUT: Final = 15.0  # seconds for what trackers are told
_VARIABLE: Final = "env:"


class Desk(Protocol):
    """What can be done; answers are those of the interface for programs."""

    def list(self, search: str, page: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of the tickets that meet *search*."""

    def show(self, ticket_id: TicketId) -> dict[str, Any] | None:
        """Return a ticket, its history and its last occurrence, or None."""

    def request(self, request_id: str) -> dict[str, Any]:
        """Return all that was counted during a request."""

    def change(self, ids: Sequence[TicketId], body: dict[str, Any] | None) -> dict[str, Any]:
        """Change tickets, or delete them if *body* is None."""

    def comment(self, ticket_id: TicketId, text: str) -> dict[str, Any] | None:
        """Add a comment."""

    def merge(self, into: TicketId, others: Sequence[TicketId]) -> dict[str, Any] | None:
        """Make tickets one."""

    def split(self, ticket_id: TicketId, occurrence_id: TicketId) -> dict[str, Any] | None:
        """Make a ticket of its own of what is like an occurrence."""


@contextmanager
def open_desk(
    store: str | None,
    api: str | None,
    token: str | None,
    actor: str | None,
    *,
    trackers: Sequence[str] | None = None,
    complain: Callable[[Exception], object] = print,
) -> Iterator[Desk]:
    """Open what the arguments name, and close it in the end.

    Args:
        store: URL of a store.
        api: URL of a service.
        token: For the service.
        actor: Who does it; for a store.
        trackers: Are told what is done at a store.
        complain: Called with what a tracker was not told; that comes after all is done.

    Raises:
        CommandError: None is named, or both, or what is named cannot be reached.
    """
    if (store is None) == (api is None):
        raise CommandError(
            "where are the tickets? give --store, or --api and a token"
            if store is None
            else "--store and --api both say where the tickets are; give one of them"
        )
    if api is not None:
        if actor is not None:
            raise CommandError("--actor is for --store; a service knows who asks by the token")
        desk = ApiDesk(api, None if token is None else _find_token(token))
        try:
            yield desk
        finally:
            desk.close()
        return
    assert store is not None
    url = resolve_store(store)
    told = Trackers(trackers or ())
    opened = open_or_complain(url)
    try:
        if not told:
            yield StoreDesk(opened, shown_url(url), actor or _find_actor())
            return
        filing = told.make_filing(opened, drain_timeout=_TELL_TIMEOUT)
        try:
            yield StoreDesk(filing.watch(), shown_url(url), actor or _find_actor())
        finally:
            is_told = filing.close()
            for text in _failures_of(filing, is_told=is_told):
                complain(RuntimeError(text))
    finally:
        opened.close()


def _failures_of(filing: Filing, *, is_told: bool) -> Iterator[str]:
    for name, counts in filing.statistics().items():
        if counts["refused"]:
            yield f"{name} does not take it: {counts['last_refusal']}"
        elif not is_told or counts["waiting"] or counts["left"]:
            yield f"{name} could not be told in time; a service with this tracker will tell it"


def _find_token(text: str) -> str:
    name = text.removeprefix(_VARIABLE)
    if name == text:
        return text
    token = os.environ.get(name, "")
    if not token:
        raise CommandError(f"the environment variable {name!r} of {text} is not set")
    return token


def _find_actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A process of a user that has no name.
        return "terminal"


class StoreDesk:
    """Does it at a store.

    Args:
        store: Stays open.
        name: What it is called in errors.
        actor: Who does it.
    """

    def __init__(self, store: BackendBase, name: str, actor: str) -> None:
        self._store = store
        self._name = name
        self._actor = parse_line(actor, "--actor")

    def _ask(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return function(self._store, *args, **kwargs)
        except (CommandError, InputError):
            raise
        except Exception as error:
            text = str(error).partition("\n")[0]
            raise CommandError(
                f"the store {self._name} failed: {type(error).__name__}: {text}", EXIT_UNAVAILABLE
            ) from error

    def list(self, search: str, page: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of the tickets that meet *search*."""
        found = parse_page(page, actions.TICKET_ORDERS, "")
        tickets: dict[str, Any] = self._ask(actions.list_tickets, search, found, self._actor)
        return tickets

    def show(self, ticket_id: TicketId) -> dict[str, Any] | None:
        """Return a ticket, its history and its last occurrence, or None."""
        found: dict[str, Any] | None = self._ask(actions.get_ticket, ticket_id)
        if found is None:
            return None
        history = self._ask(actions.list_history, ticket_id, Page("", 20, 0))
        last = self._ask(actions.list_occurrences, ticket_id, Page("-time", 1, 0))
        return _shown(found, history, last)

    def request(self, request_id: str) -> dict[str, Any]:
        """Return all that was counted during a request."""
        name = parse_line(request_id, "ID")
        return {"request_id": name, **self._ask(actions.find_by, request_id=name)}

    def change(self, ids: Sequence[TicketId], body: dict[str, Any] | None) -> dict[str, Any]:
        """Change tickets, or delete them if *body* is None."""
        change = None if body is None else parse_change(body)
        changed: dict[str, Any] = self._ask(actions.change_tickets, ids, change, self._actor)
        return changed

    def comment(self, ticket_id: TicketId, text: str) -> dict[str, Any] | None:
        """Add a comment."""
        text = parse_text(text, "TEXT", max_length=MAX_TEXT)
        found: dict[str, Any] | None = self._ask(actions.comment, ticket_id, text, self._actor)
        return found

    def merge(self, into: TicketId, others: Sequence[TicketId]) -> dict[str, Any] | None:
        """Make tickets one."""
        found: dict[str, Any] | None = self._ask(actions.merge, into, others, self._actor)
        return found

    def split(self, ticket_id: TicketId, occurrence_id: TicketId) -> dict[str, Any] | None:
        """Make a ticket of its own of what is like an occurrence."""
        found: dict[str, Any] | None = self._ask(
            actions.split, ticket_id, occurrence_id, self._actor
        )
        return found


class ApiDesk:
    """Has a service do it.

    Args:
        url: Where it is, as in ``https://example.org/tickets``.
        token: Lets us in.

    Raises:
        CommandError: *url* is none.
    """

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CommandError(f"--api: expected a URL such as https://example.org, got {url!r}")
        self._url = url.rstrip("/").removesuffix("/api/v1") + "/api/v1"
        self._headers = {"Accept": "application/json"}
        if token is not None:
            if not token.isascii() or not token.isprintable():
                raise CommandError("--token: expected a token, which is plain characters")
            self._headers["Authorization"] = f"Bearer {token}"
        self._client = httpclient.HTTPClient()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Return the answer."""
        found = self._find(path, method, body)
        if found is None:
            raise CommandError(f"{self._url} is no service of tickets", EXIT_UNAVAILABLE)
        return found

    def _find(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Return the answer, or None if there is no such thing."""
        headers = dict(self._headers)
        data = None
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body)
        try:
            answer = self._client.fetch(
                self._url + path,
                method=method,
                headers=headers,
                body=data,
                follow_redirects=False,
                raise_error=False,
                request_timeout=_TIMEOUT,
                allow_nonstandard_methods=True,
            )
        except (OSError, ValueError, httpclient.HTTPError) as error:
            raise CommandError(f"cannot reach {self._url}: {error}", EXIT_UNAVAILABLE) from error
        try:
            document = json.loads(answer.body) if answer.body else None
        except ValueError:
            document = None
        if 200 <= answer.code <= 299:
            if not isinstance(document, dict):
                raise CommandError(f"{self._url} is no service of tickets", EXIT_UNAVAILABLE)
            return document
        if not isinstance(document, dict) or "message" not in document:
            document = {"message": answer.reason}
        if answer.code == 404:
            return None
        raise _error_of(self._url, answer.code, str(document["message"]))

    def list(self, search: str, page: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of the tickets that meet *search*."""
        query = urlencode({**({"q": search} if search else {}), **page})
        found: dict[str, Any] = self._ask(f"/tickets?{query}")
        return found

    def show(self, ticket_id: TicketId) -> dict[str, Any] | None:
        """Return a ticket, its history and its last occurrence, or None."""
        found: dict[str, Any] | None = self._find(f"/tickets/{ticket_id}")
        if found is None:
            return None
        history = self._find(f"/tickets/{ticket_id}/history?limit=20")
        last = self._find(f"/tickets/{ticket_id}/occurrences?limit=1")
        return _shown(found, history, last)

    def request(self, request_id: str) -> dict[str, Any]:
        """Return all that was counted during a request."""
        found: dict[str, Any] = self._ask(f"/requests/{quote(request_id, safe='')}")
        return found

    def change(self, ids: Sequence[TicketId], body: dict[str, Any] | None) -> dict[str, Any]:
        """Change tickets, or delete them if *body* is None."""
        what = {"delete": True} if body is None else {"change": body}
        changed: dict[str, Any] = self._ask("/tickets/bulk", "POST", {"tickets": list(ids), **what})
        return changed

    def comment(self, ticket_id: TicketId, text: str) -> dict[str, Any] | None:
        """Add a comment."""
        found: dict[str, Any] | None = self._find(
            f"/tickets/{ticket_id}/comments", "POST", {"text": text}
        )
        return found

    def merge(self, into: TicketId, others: Sequence[TicketId]) -> dict[str, Any] | None:
        """Make tickets one."""
        found: dict[str, Any] | None = self._find(
            f"/tickets/{into}/merge", "POST", {"tickets": list(others)}
        )
        return found

    def split(self, ticket_id: TicketId, occurrence_id: TicketId) -> dict[str, Any] | None:
        """Make a ticket of its own of what is like an occurrence."""
        found: dict[str, Any] | None = self._find(
            f"/tickets/{ticket_id}/split", "POST", {"occurrence": occurrence_id}
        )
        return found


def _shown(
    ticket: dict[str, Any], history: dict[str, Any] | None, last: dict[str, Any] | None
) -> dict[str, Any]:
    occurrences = [] if last is None else last["occurrences"]
    return {
        **ticket,
        "history": [] if history is None else history["history"],
        "last_occurrence": occurrences[0] if occurrences else None,
    }


def _error_of(url: str, status: int, text: str) -> CommandError:
    if status in (401, 403, 421):
        return CommandError(f"{url} does not allow that: {text}", EXIT_FORBIDDEN)
    if 400 <= status <= 499:
        return CommandError(text)
    return CommandError(f"{url} answered with {status}: {text}", EXIT_UNAVAILABLE)
