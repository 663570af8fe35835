"""Trac with a plug-in for programs: XmlRpcPlugin, or trac-ticketrpc."""

from __future__ import annotations

import json
import xmlrpc.client
from collections.abc import Callable, Mapping
from time import time
from typing import Any, ClassVar, Final
from xml.parsers.expat import ExpatError

from sprockets.logbook._text import safe_str
from sprockets.logbook.ticketing._trackers._base import (
    GoneError,
    Issue,
    RefusedError,
    UnauthorisedError,
)
from sprockets.logbook.ticketing._trackers._calls import check
from sprockets.logbook.ticketing._trackers._text import Text
from sprockets.logbook.ticketing._trackers._trac_web import (
    MAX_SUMMARY,
    MAX_TEXT,
    TracSession,
    WebForms,
)

_XML: Final = {"Content-Type": "text/xml"}
_JSON: Final = {"Content-Type": "application/json", "Accept": "application/json"}
_NO_SUCH_METHOD: Final = -32601
_DENIED: Final = 1000


class XMLRPC(WebForms):
    """XmlRpcPlugin, at ``/login/rpc``; for who has no user at ``/rpc``."""

    dialect = "xmlrpc"

    def __init__(
        self,
        session: TracSession,
        fields: Mapping[str, str],
        resolution: str,
        now: Callable[[], float] = time,
        *,
        path: str = "/login/rpc",
    ) -> None:
        super().__init__(session, fields, resolution, now)
        self._path = path

    def is_there(self) -> bool:
        """Ask whether Trac has it."""
        body = xmlrpc.client.dumps((), "system.getAPIVersion").encode()
        reply = self.session.call("POST", self._path, lambda: body, _XML)
        self._check_health(reply)
        return reply.status == 200 and b"<methodResponse" in reply.body

    def _ask(self, method: str, *arguments: Any) -> Any:
        body = xmlrpc.client.dumps(arguments, method, allow_none=True).encode()
        reply = self.session.call("POST", self._path, lambda: body, _XML)
        check(reply, method, self.session.caller.host, self._now)
        try:
            (answer,), _ = xmlrpc.client.loads(reply.body)
        except xmlrpc.client.Fault as fault:
            text = f"{method}: {safe_str(fault.faultString, 300)}"
            if fault.faultCode == 403:
                raise UnauthorisedError(text) from None
            if fault.faultCode == 404:
                raise GoneError(text) from None
            if fault.faultCode == _NO_SUCH_METHOD:
                raise RefusedError(text) from None
            raise RuntimeError(text) from None
        except (xmlrpc.client.Error, ExpatError, ValueError, TypeError, LookupError) as error:
            raise RuntimeError(
                f"{method}: no XML-RPC, but {safe_str(reply.text[:200], 200)}"
            ) from error
        return answer

    def find(self, marker: str) -> Issue | None:
        """Return the oldest with *marker* among its keywords."""
        numbers = self._ask("ticket.query", f"keywords=~{marker}&max=0")
        if not numbers:
            return None
        number = min(int(one) for one in numbers)
        return self.issue(str(number), is_open=self._get(number)["status"] != "closed")

    def _get(self, number: int) -> dict[str, Any]:
        attributes: dict[str, Any] = self._ask("ticket.get", number)[3]
        return attributes

    def create(self, marker: str, title: str, text: Text) -> Issue:
        """Make one, without mails about it."""
        attributes = dict(self.fields)
        attributes["keywords"] = f"{attributes.get('keywords', '')} {marker}".strip()
        number = self._ask(
            "ticket.create",
            self._markup.title(title, MAX_SUMMARY),
            self._markup.render(text, MAX_TEXT),
            attributes,
            False,
        )
        return self.issue(str(int(number)))

    def _send(self, issue_id: str, text: Text, action: str) -> None:
        number = int(issue_id)
        if action != "leave":
            offered = [one[0] for one in self._ask("ticket.getActions", number)]
            if action not in offered:
                other = "resolve" if action == "reopen" else "reopen"
                if other not in offered:
                    raise RefusedError(f"Trac offers {', '.join(offered)}, not {action!r}")
                action = "leave"
        attributes = {"action": action, "_ts": self._get(number)["_ts"]}
        if action == "resolve":
            attributes["action_resolve_resolve_resolution"] = self.resolution
        comment = self._markup.render(text, MAX_TEXT)
        self._ask("ticket.update", number, comment, attributes, False)


class TicketRPC(WebForms):
    """trac-ticketrpc, at ``/ticketrpc``.

    It neither finds nor reopens, and knows no keywords: the marker is found in the description, and
    reopened is with Trac's form.
    """

    dialect = "ticketrpc"
    _TAKEN: ClassVar[tuple[str, ...]] = ("type", "priority", "version", "component")

    def is_there(self) -> bool:
        """Ask whether Trac has it."""
        reply = self._post("system.listMethods", {})
        self._check_health(reply)
        if reply.status != 200:
            return False
        try:
            return bool(json.loads(reply.body)["error"]["code"] == _NO_SUCH_METHOD)
        except (KeyError, TypeError, ValueError):
            return False

    def _post(self, method: str, params: Mapping[str, str]) -> Any:
        value = {"jsonrpc": "2.0", "method": method, "params": dict(params), "id": 1}
        body = json.dumps(value).encode("ascii")
        return self.session.call("POST", "/ticketrpc", lambda: body, _JSON)

    def _ask(self, method: str, **params: str) -> dict[str, Any]:
        params["project"] = self.session.caller.url
        for is_again in (False, True):
            reply = self._post(method, params)
            check(reply, method, self.session.caller.host, self._now)
            answer = reply.json()
            error = answer.get("error")
            if error is None:
                result: dict[str, Any] = answer["result"]
                return result
            if error.get("code") == _DENIED and not is_again:
                # The session may be over: who is not logged in is anybody.
                self.session.login()
                continue
            text = f"{method}: {safe_str(error.get('message'), 300)}"
            raise (UnauthorisedError if error.get("code") == _DENIED else RefusedError)(text)
        raise AssertionError("the second time is the last")

    def create(self, marker: str, title: str, text: Text) -> Issue:
        """Make one."""
        given = {name: value for name, value in self.fields.items() if name in self._TAKEN}
        made = self._ask(
            "ticket.create",
            summary=self._markup.title(title, MAX_SUMMARY),
            description=self._markup.render(text, MAX_TEXT),
            **given,
        )
        return self.issue(str(int(made["id"])))

    def comment(self, issue_id: str, text: Text) -> None:
        """Add a comment."""
        self._ask("ticket.add_comment", id=issue_id, text=self._markup.render(text, MAX_TEXT))

    def close(self, issue_id: str, text: Text) -> None:
        """Close one, and say why."""
        self._ask(
            "ticket.close",
            id=issue_id,
            resolution=self.resolution,
            text=self._markup.render(text, MAX_TEXT),
        )
