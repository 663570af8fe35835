"""Trac, in whichever way it lets programs in."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from time import time
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, urlsplit

from sprockets.logbook import _caller
from sprockets.logbook.ticketing._trackers._base import Issue, Tracker
from sprockets.logbook.ticketing._trackers._calls import Caller
from sprockets.logbook.ticketing._trackers._text import Text
from sprockets.logbook.ticketing._trackers._trac_rpc import XMLRPC, TicketRPC
from sprockets.logbook.ticketing._trackers._trac_web import TracSession, WebForms

_caller.register(__file__)

Dialect: TypeAlias = Literal["auto", "xmlrpc", "ticketrpc", "web"]

_DIALECTS: Final = ("auto", "xmlrpc", "ticketrpc", "web")


class TracTracker(Tracker):
    """Files tickets in a Trac, which are issues to us.

    There are three ways: XmlRpcPlugin, trac-ticketrpc, and Trac's own forms, for which it needs no
    plug-in.  What is filed is found again by the marker among its keywords or, with
    trac-ticketrpc, in its description.

    Args:
        url: Of the project.
        user: Who files, with ``TICKET_VIEW``, ``TICKET_CREATE`` and ``TICKET_MODIFY``, and
            ``XML_RPC`` for that plug-in; ``None`` is anybody.  HTTP's Basic and Digest
            authentication are known.
        password: Theirs.
        dialect: Which way; ``"auto"`` asks for the plug-ins at the first request.
        fields: Further fields of what is filed, by their names in Trac: ``type``, ``component``,
            ``priority``, ``milestone``, ``owner``...
        resolution: Of what is closed.
        name: Names the tracker in the store of tickets; ``trac:host/path`` unless given.
        timeout: Seconds for a whole request.
        ssl_context: For ``https``; ``None`` verifies against the certificates of the system.
        now: Returns the time in seconds since 1970, for limits that end at a moment.

    Raises:
        ValueError: *url* is no address, or there is no such *dialect*.

    Source: trac-hacks.org, "XmlRpcPlugin"; trac-ticketrpc 0.9; Trac 1.6, "TracQuery".
    """

    def __init__(
        self,
        url: str,
        user: str | None = None,
        password: str = "",
        *,
        dialect: Dialect = "auto",
        fields: Mapping[str, str] | None = None,
        resolution: str = "fixed",
        name: str | None = None,
        timeout: float = 20.0,
        ssl_context: ssl.SSLContext | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        if dialect not in _DIALECTS:
            raise ValueError(f"unknown dialect {dialect!r}; known: {', '.join(_DIALECTS)}")
        parts = urlsplit(url)
        super().__init__(name or f"trac:{parts.hostname}{parts.path.rstrip('/')}")
        caller = Caller(url, timeout=timeout, ssl_context=ssl_context)
        self._caller = caller
        session = TracSession(caller, user, password, now)
        given = (session, dict(fields or {}), resolution, now)
        self._xmlrpc = XMLRPC(*given, path="/rpc" if user is None else "/login/rpc")
        self._ticketrpc = TicketRPC(*given)
        self._web = WebForms(*given)
        ways = {"xmlrpc": self._xmlrpc, "ticketrpc": self._ticketrpc, "web": self._web}
        self._way: WebForms | None = ways.get(dialect)

    @property
    def dialect(self) -> str | None:
        """The way that is gone; ``None`` if Trac was not asked yet."""
        return None if self._way is None else self._way.dialect

    @property
    def way(self) -> WebForms:
        """What speaks with Trac; asks it for its plug-ins the first time."""
        if self._way is None:
            if self._xmlrpc.is_there():
                self._way = self._xmlrpc
            elif self._ticketrpc.is_there():
                self._way = self._ticketrpc
            else:
                self._way = self._web
        return self._way

    # -- what all trackers do

    def find(self, marker: str) -> Issue | None:
        """Return the oldest one with *marker*."""
        return self.way.find(marker)

    def create(self, marker: str, title: str, text: Text) -> Issue:
        """Make one with *marker*."""
        return self.way.create(marker, title, text)

    def comment(self, issue_id: str, text: Text) -> None:
        """Add a comment."""
        self.way.comment(issue_id, text)

    def reopen(self, issue_id: str, text: Text) -> None:
        """Open one again, and say why."""
        self.way.reopen(issue_id, text)

    def close(self, issue_id: str, text: Text) -> None:
        """Close one, and say why."""
        self.way.close(issue_id, text)

    def url(self, issue_id: str) -> str:
        """Return where people see one."""
        return f"{self._caller.url}/ticket/{quote(issue_id)}"

    def disconnect(self) -> None:
        """Close the connection."""
        self._caller.close()
