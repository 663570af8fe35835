"""Requests to other services, in one tree with those that make them."""

import json
import re

import pytest
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.testing import AsyncHTTPTestCase, gen_test

from sprockets.eliot import add_destinations, parse, remove_destination, start_action
from sprockets.eliot._destinations import Destinations, destinations
from sprockets.http.app import Application
from sprockets.http.client import fetch, outgoing_headers


@pytest.fixture(autouse=True)
def _own_destinations():
    """Give each test destinations as in a new process: what others left is not for this one."""
    before = dict(vars(destinations))
    vars(destinations).update(vars(Destinations()))
    yield
    vars(destinations).update(before)


class Inner(web.RequestHandler):
    """Tells what it was sent."""

    def get(self):
        if self.get_query_argument("fail", None):
            raise web.HTTPError(503)
        self.write(dict(self.request.headers))


class Outer(web.RequestHandler):
    """Asks the other one."""

    async def get(self):
        response = await fetch(f"{self.application.settings['base']}/inner?token=hush")
        self.write(response.body)


class ClientTest(AsyncHTTPTestCase):
    def setUp(self):
        super().setUp()
        self.messages = []
        add_destinations(self.messages.append)
        self.addCleanup(remove_destination, self.messages.append)
        self._app.settings["base"] = self.get_url("").rstrip("/")

    def get_app(self):
        return Application([("/inner", Inner), ("/outer", Outer)])

    def of_type(self, action_type):
        return [each for each in self.messages if each.get("action_type") == action_type]

    @gen_test
    async def test_a_request_is_an_action(self):
        """It has method, address and status, and no secret."""
        await fetch(self.get_url("/inner?token=hush&page=2"))

        started, ended = self.of_type("http:client")
        assert started["method"] == "GET"
        assert "page=2" in started["url"]
        assert "hush" not in json.dumps(self.messages)
        assert (ended["action_status"], ended["status"]) == ("succeeded", 200)

    @gen_test
    async def test_an_error_fails_the_action(self):
        """With the error that is raised; without raising, it is an answer like any other."""
        with pytest.raises(HTTPClientError):
            await fetch(self.get_url("/inner?fail=1"))
        response = await fetch(self.get_url("/inner?fail=1"), raise_error=False)

        assert response.code == 503
        _, failed, _, answered = self.of_type("http:client")
        assert failed["action_status"] == "failed"
        assert "503" in failed["reason"]
        assert (answered["action_status"], answered["status"]) == ("succeeded", 503)

    @gen_test
    async def test_a_request_of_tornado_stays_as_it_is(self):
        """And is sent each time with a place of its own in the task."""
        request = HTTPRequest(self.get_url("/inner"), headers={"X-Mine": "1"})
        with start_action(action_type="twice"):
            first, second = [json.loads((await fetch(request)).body) for _ in range(2)]

        assert dict(request.headers) == {"X-Mine": "1"}
        assert first["X-Mine"] == "1"
        assert first["X-Eliot-Task-Id"] != second["X-Eliot-Task-Id"]

    @gen_test
    async def test_headers_of_the_caller_are_kept(self):
        """Whoever sets them knows why."""
        response = await fetch(
            self.get_url("/inner"), headers={"X-Request-Id": "mine"}, client=AsyncHTTPClient()
        )

        assert json.loads(response.body)["X-Request-Id"] == "mine"

    @gen_test
    async def test_options_beside_a_request_are_refused(self):
        """Tornado itself would not look at them."""
        with pytest.raises(ValueError, match="connect_timeout"):
            await fetch(HTTPRequest(self.get_url("/inner")), connect_timeout=1)

    @gen_test
    async def test_one_tree_spans_both_requests(self):
        """What the other request does is a branch of the one that asked."""
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        response = await AsyncHTTPClient().fetch(
            self.get_url("/outer"),
            headers={
                "X-Request-Id": "follow-me",
                "traceparent": f"00-{trace}-00f067aa0ba902b7-01",
            },
        )

        sent = json.loads(response.body)
        assert sent["X-Request-Id"] == "follow-me"
        assert re.search(rf"^00-{trace}-[0-9a-f]{{16}}-01$", sent["Traceparent"])
        assert "00f067aa0ba902b7" not in sent["Traceparent"]
        tasks = {each["task_uuid"] for each in self.of_type("http:request")}
        assert len(tasks) == 1
        (tree,) = parse.Parser.parse_stream(self.messages)
        outer = tree.root()
        (asked,) = outer.children
        (inner,) = asked.children
        assert [each.action_type for each in (outer, asked, inner)] == [
            "http:request",
            "http:client",
            "http:request",
        ]
        assert tree.is_complete()


def test_outside_of_everything_there_is_nothing_to_tell():
    """Neither a request nor an action."""
    assert outgoing_headers() == {}


def test_inside_an_action_its_place_is_told():
    """Each time another."""
    with start_action(action_type="a"):
        one, two = outgoing_headers(), outgoing_headers()

    assert one != two
    assert re.fullmatch(r"[0-9a-f-]{36}@/\d+", one["X-Eliot-Task-Id"])
