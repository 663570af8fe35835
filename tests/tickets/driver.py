"""A browser without a window, and a service for it to visit."""

import json
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from tornado.httpclient import AsyncHTTPClient
from tornado.testing import bind_unused_port

from sprockets.http.testing import make_server, manage, stop_application
from sprockets.tickets._tokens import Token
from tests.logbook.ticketing.contract import after, make_entry
from tests.logbook.ticketing.model import DictStore

WRITER = "spt_writer"
READER = "spt_reader"
TOKENS = [Token.from_text(WRITER, "robot"), Token.from_text(READER, "reader", ["read"])]

LIMIT = 60  # seconds for an answer


def make_store(store=None):
    """Return a store with three tickets: two warnings, and an error with a request."""
    store = DictStore() if store is None else store
    leading = json.dumps([{"level": 10, "msg": "before", "message": "before", "channel": "app"}])
    for entry in (
        make_entry("first"),
        make_entry("second", time=after(hours=1), release="1.0", environment="test"),
        make_entry(
            "third",
            time=after(hours=2),
            level=14,
            request_id="request-1",
            task_uuid="task-1",
            leading=leading,
        ),
        make_entry("third", time=after(hours=3), level=14, request_id="request-2"),
    ):
        store.record_entries([entry])  # one by one: their ids are in that order
    return store


def ids(store):
    """Return the ids of the tickets, in the order in which they came first."""
    return [ticket.ticket_id for ticket in store.get_tickets("ticket_id")]


class Served:
    """An application that listens on a port of its own."""

    def __init__(self, loop, application, address="127.0.0.1", **options):
        self.loop = loop
        self.application = application
        self.socket, self.port = bind_unused_port(address=address)
        self.manager = manage(application)
        self.server = make_server(application, **options)
        self.server.add_socket(self.socket)
        self.client = AsyncHTTPClient(force_instance=True, max_clients=50)
        self.manager.start(loop)

    def browser(self):
        return Browser(self)

    def close(self):
        self.client.close()
        activity = getattr(self.application, "activity", None)
        if activity is not None:
            activity.is_draining = True  # as a worker does that is told to stop
        stop_application(self.manager, self.server, self.loop, 5.0, 0.01)
        self.loop.run_sync(self.server.close_all_connections, timeout=LIMIT)


class Browser:
    """Keeps cookies, follows no redirects, and sends what it is told."""

    def __init__(self, served, **headers):
        self.served = served
        self.port = served.port
        self.headers = headers
        self.cookies = {}

    def another(self, **headers):
        """Return a browser with no cookies, visiting the same."""
        return Browser(self.served, **headers)

    def with_token(self, token=WRITER):
        return self.another(Authorization=f"Bearer {token}")

    def fetch(self, path, method="GET", *, data=None, form=None, headers=None, body=None):
        """Return the answer, whatever its status.

        Args:
            path: What to ask for.
            method: How.
            data: Sent as JSON.
            form: Sent as a form.
            headers: More of them; ``None`` as a value leaves one out.
            body: Sent as it is.
        """
        sent = dict(self.headers)
        if data is not None:
            body, sent["Content-Type"] = json.dumps(data), "application/json"
        if form is not None:
            body, sent["Content-Type"] = urlencode(form), "application/x-www-form-urlencoded"
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent.update(headers or {})

        async def ask():
            return await self.served.client.fetch(
                f"http://127.0.0.1:{self.port}{path}",
                method=method,
                body=body,
                headers={name: value for name, value in sent.items() if value is not None},
                follow_redirects=False,
                raise_error=False,
                allow_nonstandard_methods=True,
                request_timeout=LIMIT,
            )

        answer = self.served.loop.run_sync(ask, timeout=LIMIT)
        for line in answer.headers.get_list("Set-Cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel.value:
                    self.cookies[name] = morsel.value
                else:
                    self.cookies.pop(name, None)
        return answer

    def json(self, path, method="GET", *, status=200, **options):
        """Return what the answer says, if it has that status."""
        answer = self.fetch(path, method, **options)
        assert answer.code == status, (answer.code, answer.body)
        return json.loads(answer.body) if answer.body else None
