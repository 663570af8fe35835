"""Trac without a plug-in: its pages, forms and queries, as people use them with a browser."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from time import time
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from sprockets.logbook._text import safe_str
from sprockets.logbook.ticketing._trackers._base import (
    Issue,
    RefusedError,
    TrackerError,
    UnauthorisedError,
)
from sprockets.logbook.ticketing._trackers._calls import Caller, Reply, check
from sprockets.logbook.ticketing._trackers._digest import digest
from sprockets.logbook.ticketing._trackers._text import Text, TracWiki

MAX_SUMMARY: Final = 255
"""Characters of a summary."""
MAX_TEXT: Final = 32_000
"""Characters of a description or a comment; Trac takes 262,144 unless it is set up otherwise."""

_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


class NotTakenError(TrackerError, RuntimeError):
    """Trac shows a form again, and has changed nothing."""


class TracSession:
    """Somebody at a Trac: logs in once, and once more if Trac has forgotten that.

    Args:
        caller: Makes the requests.
        user: Who; ``None`` is anybody.
        password: Theirs.
        now: Returns the time in seconds since 1970.
    """

    def __init__(
        self,
        caller: Caller,
        user: str | None,
        password: str,
        now: Callable[[], float] = time,
    ) -> None:
        self.caller = caller
        self._user = user
        self._password = password
        self._now = now
        self._cookies: dict[str, str] = {}
        self._challenge: str | None = None

    @property
    def token(self) -> str:
        """What a form has to have in it."""
        return self._cookies.get("trac_form_token", "")

    @property
    def is_somebody(self) -> bool:
        """Whether it has a user."""
        return self._user is not None

    def login(self) -> None:
        """Get the cookies of somebody who is logged in, or of anybody."""
        self._cookies.clear()
        self._call("GET", "/")
        if self._user is None:
            return
        reply = self._call("GET", "/login")
        if reply.status == 401:
            raise UnauthorisedError(f"{self.caller.host} does not let {self._user!r} log in")
        if "trac_auth" not in self._cookies:
            check(reply, "GET /login", self.caller.host, self._now)
        # The token belongs to the session, which is another one for who is logged in.
        self._call("GET", "/")

    def call(
        self,
        method: str,
        path: str,
        body: Callable[[], bytes | None] = lambda: None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make a request as somebody who is logged in, and return the answer.

        Args:
            method: What to do.
            path: Where.
            body: Makes what is sent; called again if that needs another token.
            headers: Beside those of every request.
        """
        if not self._cookies:
            self.login()
        reply = self._call(method, path, body(), headers)
        if reply.status in (400, 401, 403) and self._user is not None:
            # "Missing or invalid form token" is 400.
            self.login()
            reply = self._call(method, path, body(), headers)
        return reply

    def post_form(self, path: str, fields: Mapping[str, str]) -> str:
        """Send a form, and return where Trac sends who did.

        Raises:
            NotTakenError: It shows the form again: somebody was faster, or something is missing.
        """

        def body() -> bytes:
            return urlencode({"__FORM_TOKEN": self.token, **fields}).encode("ascii")

        reply = self.call("POST", path, body, _FORM)
        if reply.status in (302, 303) and "/login" not in reply.headers.get("location", ""):
            return reply.headers.get("location", "")
        if 200 <= reply.status < 400:
            warnings = _Page.of(reply).warnings
            raise NotTakenError(
                f"{self.caller.host} did not take the form {path}: {safe_str(warnings, 300)}"
            )
        check(reply, f"POST {path}", self.caller.host, self._now)
        raise AssertionError("an answer that is no good one raises")

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        reply = self.caller.call(method, path, body, self._headers(method, path, headers))
        if reply.status == 401:
            challenge = reply.headers.get("www-authenticate", "")
            if challenge.lower().startswith("digest ") and self._user is not None:
                # Trac's are good for one request each.
                self._challenge = challenge
                reply = self.caller.call(method, path, body, self._headers(method, path, headers))
        self._cookies.update(reply.cookies)
        return reply

    def _headers(self, method: str, path: str, headers: Mapping[str, str] | None) -> dict[str, str]:
        sent = dict(headers or {})
        if self._cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if self._user is not None:
            if self._challenge is not None:
                place = urlsplit(self.caller.url).path.rstrip("/") + path
                sent["Authorization"] = digest(
                    self._challenge, self._user, self._password, method, place
                )
            else:
                pair = f"{self._user}:{self._password}".encode()
                sent["Authorization"] = f"Basic {base64.b64encode(pair).decode('ascii')}"
        return sent


class WebForms:
    """Trac's own forms and queries.

    Args:
        session: Makes the requests.
        fields: Further fields of each new ticket of Trac's, by their names there.
        resolution: Of what is closed.
        now: Returns the time in seconds since 1970.
    """

    dialect: str = "web"

    def __init__(
        self,
        session: TracSession,
        fields: Mapping[str, str],
        resolution: str,
        now: Callable[[], float] = time,
    ) -> None:
        self.session = session
        self.fields: dict[str, str] = dict(fields)
        self.resolution = resolution
        self._now = now
        self._markup = TracWiki()

    def _check_health(self, reply: Reply) -> None:
        """Raise if Trac is not well: it cannot say then what plug-ins it has."""
        if reply.status >= 500 or reply.status == 429:
            check(reply, "its plug-ins", self.session.caller.host, self._now)

    def find(self, marker: str) -> Issue | None:
        """Return the oldest with *marker* among its keywords or in its description."""
        columns = [("format", "csv"), ("col", "id"), ("col", "status"), ("max", "0")]
        query = "&or&".join(
            [urlencode({"keywords": f"~{marker}"}), urlencode({"description": f"~{marker}"})]
        )
        path = f"/query?{query}&{urlencode([*columns, ('order', 'id')])}"
        reply = self.session.call("GET", path)
        check(reply, "GET /query", self.session.caller.host, self._now)
        try:
            # The first row has the names of the columns, in the language of who asks.
            rows = list(csv.reader(io.StringIO(reply.body.decode("utf-8-sig"))))
            found = {int(row[0]): row[1] for row in rows[1:]}
        except (csv.Error, LookupError, ValueError) as error:
            raise RuntimeError(
                f"no tickets in CSV, but: {safe_str(reply.text[:200], 200)}"
            ) from error
        if not found:
            return None
        number = min(found)
        return self.issue(str(number), is_open=found[number] != "closed")

    def create(self, marker: str, title: str, text: Text) -> Issue:
        """Send the form for a new one."""
        keywords = f"{self.fields.get('keywords', '')} {marker}".strip()
        place = self.session.post_form(
            "/newticket",
            {
                **{f"field_{name}": value for name, value in self.fields.items()},
                "field_summary": self._markup.title(title, MAX_SUMMARY),
                "field_description": self._markup.render(text, MAX_TEXT),
                "field_keywords": keywords,
                "submit": "Create ticket",
            },
        )
        number = urlsplit(place).path.rpartition("/")[2]
        if not number.isdigit():
            raise RuntimeError(f"a new ticket was made at {safe_str(place, 200)}?")
        return self.issue(number)

    def comment(self, issue_id: str, text: Text) -> None:
        """Send the form of a ticket with a comment."""
        self._send(issue_id, text, "leave")

    def reopen(self, issue_id: str, text: Text) -> None:
        """Send the form of a ticket with the action ``reopen``; or a comment if it is open."""
        self._send(issue_id, text, "reopen")

    def close(self, issue_id: str, text: Text) -> None:
        """Send the form of a ticket with the action ``resolve``; or a comment if it is closed."""
        self._send(issue_id, text, "resolve")

    def _send(self, issue_id: str, text: Text, action: str) -> None:
        for is_last in (False, False, True):
            try:
                self._send_once(f"/ticket/{int(issue_id)}", text, action)
                break
            except NotTakenError:
                # Somebody was faster: what they did is on the page by now.
                if is_last:
                    raise

    def _send_once(self, path: str, text: Text, action: str) -> None:
        page = self._page(path)
        if not page.is_logged_in and self.session.is_somebody:
            # Trac has forgotten who this is, and shows what anybody may see.
            self.session.login()
            page = self._page(path)
        if action != "leave" and action not in page.actions:
            other = "resolve" if action == "reopen" else "reopen"
            if other not in page.actions:
                raise RefusedError(
                    f"Trac offers {', '.join(page.actions) or 'no actions'} for {path}, "
                    f"not {action!r}; give the user TICKET_MODIFY"
                )
            action = "leave"  # it is what it should be
        times = {name: value for name, value in page.inputs.items() if name in _TIMES}
        fields = {
            "comment": self._markup.render(text, MAX_TEXT),
            "action": action,
            "submit": "Submit changes",
            **times,
        }
        if action == "resolve":
            fields["action_resolve_resolve_resolution"] = self.resolution
        self.session.post_form(path, fields)

    def _page(self, path: str) -> _Page:
        reply = self.session.call("GET", path)
        check(reply, f"GET {path}", self.session.caller.host, self._now)
        return _Page.of(reply)

    def issue(self, number: str, *, is_open: bool = True) -> Issue:
        """Return the issue of that number."""
        return Issue(number, f"{self.session.caller.url}/ticket/{quote(number)}", is_open)


# By which Trac finds that somebody else has changed the ticket meanwhile.
_TIMES: Final = ("start_time", "view_time")


class _Page(HTMLParser):
    """What is of interest in a page: hidden fields, the actions to choose from, and warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: dict[str, str] = {}
        self.actions: list[str] = []
        self.is_logged_in = False
        self._said: list[str] = []
        self._depth = 0

    @classmethod
    def of(cls, reply: Reply) -> _Page:
        page = cls()
        page.feed(reply.text)
        page.close()
        return page

    @property
    def warnings(self) -> str:
        """What the page complains of."""
        return " ".join(" ".join(self._said).split()) or "without a reason"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found: dict[str, str] = {name: value or "" for name, value in attrs}
        if self._depth:
            self._depth += tag == "div"
        elif tag == "div" and "system-message" in found.get("class", "").split():
            self._depth = 1
        if tag in ("a", "form"):
            target = found.get("href") or found.get("action") or ""
            self.is_logged_in |= target.rstrip("/").endswith("/logout")
        if tag != "input" or "name" not in found:
            return
        if found["name"] == "action" and found.get("type") == "radio":
            self.actions.append(found.get("value", ""))
        elif found.get("type") == "hidden":
            self.inputs.setdefault(found["name"], found.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        self._depth -= bool(self._depth) and tag == "div"

    def handle_data(self, data: str) -> None:
        if self._depth:
            self._said.append(data)
