"""Trac's XmlRpcPlugin, played with ``xmlrpc.server``: what is asked, and what goes wrong."""

import base64
import hashlib
import threading
import xmlrpc.client
from datetime import UTC, datetime
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

import pytest

from sprockets.logbook.ticketing._trackers import (
    Filing,
    GoneError,
    RefusedError,
    Text,
    TracTracker,
    UnauthorisedError,
)
from tests.logbook.ticketing.trackers.conftest import QUICK
from tests.logbook.ticketing.trackers.doubles import entry

LIMIT = 60.0  # seconds
MARK = f"lb:{hashlib.sha1(b'mark').hexdigest()}"


class _Request(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/trac/login/rpc",)

    def do_GET(self):
        """The pages that give cookies."""
        self.send_response(200)
        self.send_header("Set-Cookie", "trac_form_token=abc; Path=/")
        if self.path == "/trac/login":
            self.send_header("Set-Cookie", "trac_auth=def; Path=/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        pair = base64.b64encode(b"bot:s3cr3t").decode()
        if self.headers["Authorization"] != f"Basic {pair}":
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(401)
            return
        assert self.headers["Content-Type"] == "text/xml"
        super().do_POST()


class Plugin(SimpleXMLRPCServer):
    """What the plug-in does, with the signatures it has."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Request, logRequests=False, allow_none=False)
        self.tickets = []
        self.faults = []
        self.stamps = 0
        self.register_function(lambda: [1, 1, 9], "system.getAPIVersion")
        for name in ("create", "update", "query", "get", "getActions"):
            self.register_function(getattr(self, name), f"ticket.{name}")
        self.url = f"http://127.0.0.1:{self.server_address[1]}/trac"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def __exit__(self, *args):
        self.shutdown()
        self._thread.join(LIMIT)
        super().__exit__(*args)

    def _stamp(self):
        self.stamps += 1
        return str(self.stamps)

    def _ticket(self, number):
        if self.faults:
            raise self.faults.pop(0)
        if not 1 <= number <= len(self.tickets):
            raise xmlrpc.client.Fault(404, f"Ticket {number} does not exist.")
        return self.tickets[number - 1]

    def create(self, summary, description, attributes=None, notify=False, when=None):
        assert set(attributes) <= {"keywords", "type", "component", "priority"}
        if self.faults:
            raise self.faults.pop(0)
        self.tickets.append(
            {
                "summary": summary,
                "description": description,
                "status": "new",
                "_ts": self._stamp(),
                **attributes,
            }
        )
        self.comments = []
        return len(self.tickets)

    def get(self, number):
        now = datetime.now(UTC).replace(microsecond=0)
        return [number, now, now, dict(self._ticket(number))]

    def getActions(self, number):
        status = self._ticket(number)["status"]
        other = "reopen" if status == "closed" else "resolve"
        return [["leave", "leave", "", []], [other, other, "", []]]

    def query(self, text="status!=closed"):
        conditions = dict(part.split("=", 1) for part in text.split("&"))
        assert set(conditions) == {"keywords", "max"}
        assert conditions["keywords"].startswith("~")
        wanted = conditions["keywords"][1:]
        return [n for n, one in enumerate(self.tickets, 1) if wanted in one["keywords"]]

    def update(self, number, comment, attributes=None, notify=False, author="", when=None):
        ticket = self._ticket(number)
        if attributes["_ts"] != ticket["_ts"]:
            raise xmlrpc.client.Fault(1, "Sorry, can not save your changes: modified by someone")
        ticket["_ts"] = self._stamp()
        action = attributes["action"]
        if action == "resolve":
            assert attributes["action_resolve_resolve_resolution"] == "fixed"
            ticket["status"] = "closed"
        elif action == "reopen":
            ticket["status"] = "reopened"
        else:
            assert action == "leave"
        self.comments.append(comment)
        return self.get(number)


@pytest.fixture(name="plugin")
def _plugin():
    with Plugin() as server:
        yield server


@pytest.fixture(name="tracker")
def _tracker(plugin):
    return TracTracker(plugin.url, "bot", "s3cr3t", fields={"keywords": "log", "type": "defect"})


def test_the_life_of_an_issue(plugin, tracker):
    """Found by asking, then made, found, commented, closed and opened again."""
    assert tracker.find(MARK) is None
    assert tracker.dialect == "xmlrpc"
    made = tracker.create(MARK, "ValueError: no price", Text("Head.", (), "}}}\n#!html"))
    assert tracker.find(MARK) == made
    assert made.url == f"{plugin.url}/ticket/1"

    tracker.comment(made.issue_id, Text("It has occurred 10 times."))
    tracker.close(made.issue_id, Text("The ticket is solved."))
    assert tracker.find(MARK) == type(made)(made.issue_id, made.url, False)
    tracker.close(made.issue_id, Text("Solved already."))
    tracker.reopen(made.issue_id, Text("It is back."))

    assert tracker.find(MARK) == made
    (ticket,) = plugin.tickets
    assert ticket["keywords"] == f"log {MARK}"
    assert ticket["type"] == "defect"
    assert "}}}\n#!html" not in ticket["description"]
    assert plugin.comments == [
        "It has occurred 10 times.",
        "The ticket is solved.",
        "Solved already.",
        "It is back.",
    ]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (xmlrpc.client.Fault(403, "TICKET_CREATE privileges are required"), UnauthorisedError),
        (xmlrpc.client.Fault(404, "no such thing"), GoneError),
        (xmlrpc.client.Fault(-32601, "method not found"), RefusedError),
        (xmlrpc.client.Fault(1, "'ValueError' while executing"), RuntimeError),
    ],
)
def test_each_fault_has_its_error(plugin, tracker, fault, error):
    """By its number."""
    tracker.find(MARK)
    plugin.faults.append(fault)

    with pytest.raises(error, match=fault.faultString):
        tracker.create(MARK, "t", Text("Head."))


def test_an_issue_that_is_not_there_is_gone(tracker):
    """There is nothing to comment on."""
    with pytest.raises(GoneError, match="Ticket 9 does not exist"):
        tracker.comment("9", Text("Hello?"))


def test_a_wrong_password_is_no_way_in(plugin):
    """The plug-in answers 401."""
    tracker = TracTracker(plugin.url, "bot", "wrong-word", dialect="xmlrpc")

    with pytest.raises(UnauthorisedError) as caught:
        tracker.find(MARK)

    assert "wrong-word" not in str(caught.value)


def test_a_collision_is_tried_again(plugin, tracker, store):
    """Somebody was faster; the second time it is right."""
    filing = Filing(store, [tracker], retry=QUICK, cool_down=0.0)
    filing(store.record_entries([entry()]))
    assert filing.flush(LIMIT)
    plugin.faults.append(xmlrpc.client.Fault(1, "modified by someone"))

    for _ in range(9):
        filing(store.record_entries([entry()]))

    assert filing.flush(LIMIT)
    assert filing.close(LIMIT)
    assert len(plugin.tickets) == 1
    assert [text.partition("\n")[0] for text in plugin.comments] == ["It has occurred 10 times."]
