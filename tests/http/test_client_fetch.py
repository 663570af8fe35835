"""Asking other services: an action at this end, its continuation at the other."""

import asyncio
import json
import re

import pytest
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.testing import bind_unused_port

from sprockets.eliot import Action, add_destinations, current_action, start_task
from sprockets.eliot._destinations import Destinations, destinations
from sprockets.eliot.parse import Parser
from sprockets.http.app import Application
from sprockets.http.client import fetch, outgoing_headers
from sprockets.http.mixins import ErrorLogger, ErrorWriter

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Handler(ErrorLogger, ErrorWriter, web.RequestHandler):
    pass


class Echo(Handler):
    """Says what it was asked."""

    def get(self):
        headers = {name: self.request.headers.get_list(name) for name in self.request.headers}
        self.write({"method": self.request.method, "headers": headers, "uri": self.request.uri})

    put = get

    def post(self):
        self.get()
        self.add_header("X-Body", self.request.body.decode())

    def head(self):
        self.set_header("X-Method", "HEAD")


class Answer(Handler):
    def get(self, status):
        self.send_error(int(status))


class Redirect(Handler):
    def get(self, status):
        self.set_status(int(status))
        self.set_header("Location", self.get_argument("to"))

    post = put = head = get


class Turn(Handler):
    """Redirects to itself, for ever."""

    def get(self):
        self.redirect("/turn")


class Relay(Handler):
    """Asks another before it answers."""

    async def get(self):
        response = await fetch(self.get_argument("url"))
        self.write(response.body)
        self.set_header("X-Task", current_action().task_uuid)


ROUTES = [
    ("/echo", Echo),
    (r"/answer/(\d+)", Answer),
    (r"/redirect/(\d+)", Redirect),
    ("/turn", Turn),
    ("/relay", Relay),
]


@pytest.fixture(autouse=True)
def _own_destinations():
    """Give each test destinations as in a new process."""
    before = dict(vars(destinations))
    vars(destinations).update(vars(Destinations()))
    yield
    vars(destinations).update(before)


@pytest.fixture(name="messages")
def _messages():
    found = []
    add_destinations(found.append)
    return found


@pytest.fixture(name="run")
def _run():
    """``run(coroutine function)`` calls it with the address of a service, and another of its."""

    def run(talk, *more_routes):
        async def work():
            servers, addresses = [], []
            for _ in range(2):
                bound, port = bind_unused_port()
                servers.append(HTTPServer(Application([*ROUTES, *more_routes])))
                servers[-1].add_sockets([bound])
                addresses.append(f"http://127.0.0.1:{port}")
            try:
                return await asyncio.wait_for(talk(*addresses), 10)
            finally:
                AsyncHTTPClient().close()
                for server in servers:
                    server.stop()
                    await server.close_all_connections()

        return asyncio.run(work())

    return run


def headers_of(response):
    return HTTPHeaders({name: values[0] for name, values in _json(response)["headers"].items()})


def _json(response):
    return json.loads(response.body)


def of_type(messages, name):
    return [each for each in messages if each.get("action_type") == name]


# -- the action


def test_asking_is_an_action(run, messages):
    """With method and address at its start, without secrets, and the status at its end."""

    async def talk(url, _):
        await fetch(f"{url.replace('//', '//ann:s3cr3t@')}/echo?token=s3cr3t&q=tea", method="GET")
        return url

    url = run(talk)

    start, end = of_type(messages, "http:client")
    address = url.partition("//")[2]
    assert (start["method"], start["url"]) == ("GET", f"http://***@{address}/echo?token=***&q=tea")
    assert (end["action_status"], end["status"]) == ("succeeded", 200)
    assert "s3cr3t" not in str(messages)


def test_the_tree_spans_both_ends(run, messages):
    """The request over there is a branch of the action here, and the whole is complete."""

    async def talk(url, _):
        with start_task(action_type="main"):
            await fetch(f"{url}/echo")

    run(talk)

    (task,) = Parser.parse_stream(messages)
    assert task.is_complete()
    (client,) = task.root().children
    (request,) = client.children
    assert (client.action_type, request.action_type) == ("http:client", "http:request")
    assert request.start_message.contents["handler"] == "Echo"


def test_it_goes_on_through_every_service(run, messages):
    """One asks one that asks one: one task, one request id, one trace."""

    async def talk(url, other):
        with start_task(action_type="main"):
            return await fetch(f"{url}/relay?url={other}/echo")

    response = run(talk)

    (task,) = Parser.parse_stream(messages)
    assert task.is_complete()
    assert len({each["task_uuid"] for each in messages}) == 1
    starts = [each for each in of_type(messages, "http:request") if "request_id" in each]
    assert len({each["request_id"] for each in starts}) == 1
    assert headers_of(response)["X-Request-Id"] == starts[0]["request_id"]
    assert (
        starts[0]["trace_id"] == starts[1]["trace_id"] == messages[0]["task_uuid"].replace("-", "")
    )


@pytest.mark.parametrize("raise_error", [True, False])
@pytest.mark.parametrize("status", [404, 503])
def test_an_answer_that_is_an_error(run, messages, status, raise_error):
    """It is raised, and fails the action; or it is an answer like any other."""

    async def talk(url, _):
        if raise_error:
            with pytest.raises(HTTPClientError) as info:
                await fetch(f"{url}/answer/{status}")
            return info.value.code
        return (await fetch(f"{url}/answer/{status}", raise_error=False)).code

    assert run(talk) == status

    end = of_type(messages, "http:client")[-1]
    assert end["status"] == status
    if raise_error:
        assert end["action_status"] == "failed"
        assert end["exception"] == "tornado.httpclient.HTTPClientError"
        assert end["reason"].startswith(f"HTTP {status}: ")
    else:
        assert end["action_status"] == "succeeded"


@pytest.mark.parametrize("raise_error", [True, False])
def test_without_a_connection_it_fails(run, messages, raise_error):
    """There is no answer to return."""

    async def talk(*_):
        bound, port = bind_unused_port()
        bound.close()
        with pytest.raises(OSError):
            await fetch(f"http://127.0.0.1:{port}/", raise_error=raise_error)

    run(talk)

    assert messages[-1]["action_status"] == "failed"
    assert messages[-1]["exception"] == "builtins.ConnectionRefusedError"


def test_a_cancelled_request_has_failed(run, messages):
    """As any other action that is left by an exception."""

    async def talk(url, _):
        task = asyncio.ensure_future(fetch(f"{url}/echo"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(talk)

    end = of_type(messages, "http:client")[-1]
    assert (end["action_status"], end["exception"]) == (
        "failed",
        "asyncio.exceptions.CancelledError",
    )


# -- what is asked


def test_a_request_is_sent_as_it_is_and_stays_as_it_is(run):
    """Method, body and headers; ours are added to a copy."""

    async def talk(url, _):
        request = HTTPRequest(f"{url}/echo", method="POST", body="tea", headers={"X-Own": "1"})
        with start_task(action_type="main"):
            responses = [await fetch(request), await fetch(request)]
        return request, responses

    request, responses = run(talk)

    assert dict(request.headers) == {"X-Own": "1"}
    for response in responses:
        assert response.headers["X-Body"] == "tea"
        assert headers_of(response)["X-Own"] == "1"
    assert len({headers_of(each)["X-Eliot-Task-Id"] for each in responses}) == 2


def test_keywords_are_those_of_a_request(run):
    """And make no sense beside one."""

    async def talk(url, _):
        with pytest.raises(ValueError, match=r"not for a request; got \['method'\]"):
            await fetch(HTTPRequest(f"{url}/echo"), method="PUT")
        return await fetch(f"{url}/echo", method="PUT", body="", headers={"X-Own": "1"})

    response = run(talk)

    assert _json(response)["method"] == "PUT"
    assert headers_of(response)["X-Own"] == "1"


def test_a_client_of_ones_own_is_used(run):
    """With its defaults, and it stays open."""

    async def talk(url, _):
        client = AsyncHTTPClient(
            force_instance=True, defaults={"user_agent": "shop", "follow_redirects": False}
        )
        try:
            plain = await fetch(f"{url}/echo", client=client)
            redirect = await fetch(f"{url}/redirect/302?to=/echo", client=client, raise_error=False)
            return headers_of(plain)["User-Agent"], redirect.code
        finally:
            client.close()

    assert run(talk) == ("shop", 302)


def test_headers_of_ones_own_stay(run):
    """But for the place in the task, which would be another's."""

    async def talk(url, _):
        own = {"X-Request-Id": "mine", "Traceparent": "own", "X-Eliot-Task-Id": "own"}
        with start_task(action_type="main") as action:
            return action.task_uuid, await fetch(f"{url}/echo", headers=own)

    uuid, response = run(talk)

    headers = headers_of(response)
    assert (headers["X-Request-Id"], headers["Traceparent"]) == ("mine", "own")
    assert headers["X-Eliot-Task-Id"].startswith(f"{uuid}@/2/2")


# -- redirects


@pytest.mark.parametrize(
    ("code", "method", "followed_by"),
    [
        (301, "GET", "GET"),
        (302, "POST", "GET"),
        (301, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (302, "PUT", "PUT"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
    ],
)
def test_a_redirect_is_followed_as_tornado_does(run, code, method, followed_by):
    """The same method and body, or none; and the same as without us."""
    body = None if method == "GET" else "tea"

    async def talk(url, _):
        address = f"{url}/redirect/{code}?to=/echo"
        headers = {"Authorization": "Basic x", "Cookie": "a=b", "X-Own": "1"}
        ours = await fetch(address, method=method, body=body, headers=headers)
        theirs = await AsyncHTTPClient().fetch(address, method=method, body=body, headers=headers)
        return ours, theirs

    ours, theirs = run(talk)

    assert ours.effective_url == theirs.effective_url
    assert ours.headers.get("X-Body") == theirs.headers.get("X-Body")
    assert _json(ours)["method"] == _json(theirs)["method"] == followed_by
    added = {"X-Eliot-Task-Id", "Traceparent"}
    assert _json(ours)["headers"].keys() - added == _json(theirs)["headers"].keys()
    assert headers_of(ours)["Authorization"] == "Basic x"


@pytest.mark.rule("E10.4")
def test_each_try_has_a_place_of_its_own(run, messages):
    """Else two requests would claim the same, and the tree would be wrong."""

    async def talk(url, _):
        with start_task(action_type="main"):
            await fetch(f"{url}/redirect/302?to={url}/redirect/302?to=/echo")

    run(talk)

    (task,) = Parser.parse_stream(messages)
    assert task.is_complete()
    places = [(each["task_uuid"], tuple(each["task_level"])) for each in messages]
    assert len(places) == len(set(places))
    (client,) = task.root().children
    assert [each.end_message.contents["status"] for each in client.children] == [302, 302, 200]


def test_what_proves_who_we_are_goes_to_no_other_service(run):
    """As with Tornado's client."""

    async def talk(url, other):
        target = other.replace("//", "//ann:s3cr3t@")
        headers = {"Authorization": "Bearer s3cr3t", "Cookie": "a=b", "X-Own": "1", "Host": "here"}
        return await fetch(
            f"{url}/redirect/302?to={target}/echo", headers=headers, auth_username=None
        )

    headers = headers_of(run(talk))

    assert "Authorization" not in headers
    assert "Cookie" not in headers
    assert headers["X-Own"] == "1"
    assert headers["Host"] != "here"


def test_redirects_have_an_end(run, messages):
    """That of the request, or of the client."""

    async def talk(url, _):
        own = await fetch(f"{url}/turn", max_redirects=2, raise_error=False)
        none = await fetch(f"{url}/turn", follow_redirects=False, raise_error=False)
        with pytest.raises(HTTPClientError) as info:
            await fetch(f"{url}/turn")
        return own.code, none.code, info.value.code

    assert run(talk) == (302, 302, 302)

    ends = [each for each in of_type(messages, "http:request") if "status" in each]
    assert len(ends) == 3 + 1 + 6


def test_a_head_stays_one(run):
    """After a 303, too."""

    async def talk(url, _):
        return await fetch(f"{url}/redirect/303?to=/echo", method="HEAD")

    assert run(talk).headers["X-Method"] == "HEAD"


# -- for other libraries


def test_outside_of_everything_there_is_nothing_to_send():
    """No action, no request: no headers."""
    assert outgoing_headers() == {}


@pytest.mark.rule("E10.1")
def test_in_an_action_its_task_is_named():
    """A place each time, and a trace made of the task."""
    with start_task(action_type="main") as action:
        first, second = outgoing_headers(), outgoing_headers()

    assert first["X-Eliot-Task-Id"] == f"{action.task_uuid}@/2"
    assert second["X-Eliot-Task-Id"] == f"{action.task_uuid}@/3"
    traces = [PARENT.fullmatch(each["traceparent"]).groups() for each in (first, second)]
    assert [trace for trace, _, _ in traces] == [action.task_uuid.replace("-", "")] * 2
    assert traces[0][1] != traces[1][1]
    assert traces[0][2] == "01"
    assert "X-Request-Id" not in first


@pytest.mark.parametrize(
    ("given", "request_id", "trace"),
    [
        ({}, None, "request"),
        ({"X-Request-Id": "mine-1"}, "mine-1", "task"),
        (
            {"X-Request-Id": "mine-1", "Traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"},
            "mine-1",
            TRACE,
        ),
    ],
)
def test_in_a_request_its_ids_are_sent_along(run, given, request_id, trace):
    """The caller's trace, with its flags; else the request's id as one, if it may be; else the task."""
    sent = {}

    class Tells(Handler):
        def get(self):
            sent.update(outgoing_headers(), task=current_action().task_uuid)

    async def talk(url, _):
        return await AsyncHTTPClient().fetch(f"{url}/tells", headers=given)

    response = run(talk, ("/tells", Tells))

    assert sent["X-Request-Id"] == response.headers["X-Request-Id"]
    assert request_id is None or sent["X-Request-Id"] == request_id
    found, _, flags = PARENT.fullmatch(sent["traceparent"]).groups()
    expected = {"request": sent["X-Request-Id"], "task": sent["task"].replace("-", "")}
    assert found == expected.get(trace, trace)
    assert flags == ("00" if trace == TRACE else "01")
    assert sent["X-Eliot-Task-Id"] == f"{sent['task']}@/2"


def test_a_task_of_somebody_elses_making_has_no_trace():
    """Its name may be anything."""
    with Action.continue_task(task_id="mine@/1"):
        assert outgoing_headers() == {"X-Eliot-Task-Id": "mine@/1/2"}
