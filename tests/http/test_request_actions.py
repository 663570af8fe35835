"""Requests are actions: begun, continued, ended, told once, and gone with the request."""

import asyncio
import gc
import json
import logging
import os
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest
from tornado import httputil, web
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from sprockets.eliot import (
    MemoryLogger,
    add_destinations,
    current_action,
    log_message,
    start_action,
    start_task,
)
from sprockets.eliot._destinations import Destinations, destinations
from sprockets.eliot._logger import swap_logger
from sprockets.eliot.logbook import ActionProcessor, StacksDestination
from sprockets.eliot.parse import Parser
from sprockets.http._identity import make_task_uuid
from sprockets.http._logging import LogSetup
from sprockets.http._request_action import RequestAction, make_request_action, parse_task_id
from sprockets.http._request_context import carry_into_threads
from sprockets.http._server import Server
from sprockets.http._settings import Options
from sprockets.http.app import Application
from sprockets.http.mixins import ErrorLogger, ErrorWriter
from sprockets.logbook import (
    DEBUG,
    ERROR,
    INFO,
    NOTSET,
    FingersCrossedHandler,
    Logger,
    NullHandler,
    TestHandler,
)
from sprockets.logbook.compat import redirected_logging

log = Logger("shop")
UUID = "8c813245-9773-4a55-ab8c-7baf4fb9250b"


# -- handlers


class Handler(ErrorLogger, ErrorWriter, web.RequestHandler):
    pass


class Plain(Handler):
    def get(self):
        self.write({"task": current_action().task_uuid})


class Working(Handler):
    """Has an action of its own, and records in and around it."""

    async def get(self):
        log.info("before")
        with start_action(action_type="order:place", item="tea"):
            await asyncio.sleep(0)
            log.info("inside")
            log_message("order:packed", boxes=2)
        log.info("after")
        current_action().add_success_fields(order=7, method="ours")
        self.write({"task": current_action().task_uuid})


class Asking(Handler):
    """Takes its time between two looks at the current action."""

    async def get(self):
        before = current_action()
        await asyncio.sleep(0.001)
        self.write({"same": before is current_action(), "task": before.task_uuid})


class Threads(Handler):
    async def get(self):
        loop = IOLoop.current()

        def look():
            return current_action().task_uuid

        with ThreadPoolExecutor(1) as executor:
            found = [
                look(),
                await asyncio.to_thread(look),
                await loop.run_in_executor(None, look),
                await loop.run_in_executor(executor, look),
                await asyncio.get_running_loop().run_in_executor(None, look),
                await asyncio.create_task(self.look(look)),
            ]
        self.write({"found": found})

    async def look(self, look):
        await asyncio.sleep(0)
        return look()


class Failing(Handler):
    def get(self):
        raise LookupError("no such shelf")


class Answering(Handler):
    """Answers with the status that it is asked for, in one of several ways."""

    def get(self, way, status):
        status = int(status)
        if way == "send":
            self.send_error(status)
        elif way == "raise":
            raise web.HTTPError(status)
        elif way == "finish":
            try:
                raise LookupError("dealt with")
            except LookupError:
                self.set_status(status)
                self.finish()
        elif way == "end":
            raise web.Finish
        else:
            self.set_status(status)


class Bare(web.RequestHandler):
    """Without mixins."""

    async def get(self, way):
        if way == "cut":
            self.write("some of it")
            await self.flush()
        raise LookupError("no such shelf")


class Cut(Handler):
    async def get(self):
        self.set_header("Content-Length", "100")
        self.write("some of it")
        await self.flush()
        raise LookupError("no such shelf")


class Slow(Handler):
    """Waits until it is let go."""

    reached = released = None

    async def get(self):
        Slow.reached.set()
        await Slow.released.wait()
        log_message("late")
        self.write({})


@web.stream_request_body
class Upload(Handler):
    def data_received(self, chunk):
        pass

    def put(self):
        self.write({})


class Detailed(Handler):
    details: ClassVar = []

    @classmethod
    def request_setup(cls):
        kept = TestHandler()
        cls.details.append(kept)
        return FingersCrossedHandler(kept, action_level=ERROR)

    def get(self):
        with start_action(action_type="order:look"):
            pass
        log.error("broken")


class Ended(Handler):
    """Ends the action by hand."""

    def get(self):
        current_action().finish()


ROUTES = [
    ("/", Plain),
    ("/working", Working),
    ("/asking", Asking),
    ("/threads", Threads),
    ("/failing", Failing),
    ("/cut", Cut),
    ("/slow", Slow),
    ("/upload", Upload),
    ("/detailed", Detailed),
    ("/ended", Ended),
    (r"/answering/(\w+)/(\d+)", Answering),
    (r"/bare/(\w+)", Bare),
    ("/orders/.*", Plain),
]


# -- serving


@pytest.fixture(autouse=True)
def _own_destinations():
    """Give each test destinations as in a new process."""
    before = dict(vars(destinations))
    vars(destinations).update(vars(Destinations()))
    assert current_action() is None
    yield
    vars(destinations).update(before)
    assert current_action() is None


class Client:
    """One connection, kept from request to request."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def send(self, data):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(data)
        await self.writer.drain()

    async def read(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, _, rest = head.partition("\r\n")
        headers = httputil.HTTPHeaders.parse(rest)
        body = await self.reader.readexactly(int(headers.get("Content-Length", 0)))
        return int(first.split()[1]), headers, json.loads(body) if body[:1] == b"{" else body

    async def get(self, path="/", **headers):
        lines = [f"GET {path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return await self.read()

    async def close(self):
        if self.writer is not None:
            self.writer.close()
            self.writer = None


@pytest.fixture(name="loop")
def _loop():
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    yield loop
    tasks = asyncio.all_tasks(loop.asyncio_loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.asyncio_loop.run_until_complete(asyncio.wait(tasks, timeout=1))
    loop.asyncio_loop.run_until_complete(loop.asyncio_loop.shutdown_default_executor())
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@pytest.fixture(name="serve")
def _serve(loop):
    """``serve(coroutine function)`` calls it with a client of a served application."""

    def serve(talk, application=None, kind=Server, **options):
        application = application or Application(ROUTES)
        bound, port = bind_unused_port()
        is_ours = isinstance(application, Application)
        if kind is Server:
            server = Server(
                application,
                options=Options(**options),
                activity=application.activity if is_ours else None,
                settings=application.settings if is_ours else None,
                max_body_size=options.get("max_body_size"),
            )
            add = server.serve_on
        else:
            server = HTTPServer(application)
            add = server.add_sockets

        async def work():
            add([bound])
            client = Client(port)
            try:
                return await asyncio.wait_for(talk(client), 10)
            finally:
                await client.close()
                server.stop()
                await asyncio.sleep(0)
                await server.close_all_connections()
                if isinstance(server, Server):
                    server.end()

        carry_into_threads(loop)
        return loop.run_sync(work)

    return serve


def get(path="/", **headers):
    async def talk(client):
        return await client.get(path, **headers)

    return talk


@pytest.fixture(name="messages")
def _messages():
    """What a destination gets that is not the stacks."""
    found = []
    add_destinations(found.append)
    return found


@pytest.fixture(name="setup")
def _setup():
    """The set-up of ``run`` around a handler; returns the handler's records."""
    made = []

    def make(level=INFO, **options):
        handler = TestHandler(level=level)
        made.append(LogSetup(handler, environ={}, **options))
        made[-1].bind_in_parent()
        made[-1].bind_in_worker()
        return handler.records

    yield make
    for each in made:
        each.unbind()


def of_requests(messages):
    return [each for each in messages if each.get("action_type") == "http:request"]


def ids(record):
    return record.extra["task_uuid"], record.extra["task_level"]


# -- the action


@pytest.mark.parametrize("kind", [Server, HTTPServer], ids=["ours", "Tornado's"])
def test_a_request_is_an_action(serve, messages, kind):
    """A task of its own, with what is known at the start and at the end."""
    status, headers, body = serve(get("/orders/7;token=s3cr3t?key=s3cr3t"), kind=kind)

    start, end = messages
    assert {start.pop("timestamp") <= end.pop("timestamp")} == {True}
    assert start == {
        "request_id": headers["X-Request-Id"],
        "method": "GET",
        "path": "/orders/7;token=***",
        "remote_ip": "127.0.0.1",
        "handler": "Plain",
        "action_type": "http:request",
        "action_status": "started",
        "task_uuid": body["task"],
        "task_level": [1],
    }
    assert end == {
        "status": status,
        "action_type": "http:request",
        "action_status": "succeeded",
        "task_uuid": body["task"],
        "task_level": [2],
    }


def test_what_a_request_does_is_inside_of_it(serve, messages):
    """Its actions, its messages, what it adds; the whole is a task that is complete."""
    _, _, body = serve(get("/working"))

    assert [each["task_level"] for each in messages] == [[1], [2, 1], [2, 2], [2, 3], [3]]
    assert {each["task_uuid"] for each in messages} == {body["task"]}
    assert messages[-1]["order"] == 7
    (task,) = Parser.parse_stream(messages)
    root = task.root()
    assert root.action_type == "http:request"
    assert [child.action_type for child in root.children] == ["order:place"]
    assert task.is_complete()


@pytest.mark.rule("E5.1")
def test_it_is_current_wherever_the_requests_context_is(serve):
    """Coroutines, tasks, threads."""
    _, _, body = serve(get("/threads"))

    assert len(set(body["found"])) == 1
    assert len(body["found"]) == 6


def test_nothing_of_it_is_left_for_the_next_on_the_connection(serve, messages):
    """Each request on a kept connection is a task, and nobody outside is in any."""

    async def talk(client):
        bodies = [(await client.get("/asking"))[2] for _ in range(3)]
        return bodies, current_action()

    bodies, outside = serve(talk)

    assert outside is None
    assert all(each["same"] for each in bodies)
    assert len({each["task"] for each in bodies}) == 3
    assert len(of_requests(messages)) == 6


@pytest.mark.rule("E11.1")
def test_requests_at_the_same_time_do_not_see_each_other(serve, messages):
    """Each its own, between any two steps."""

    async def talk(client):
        others = [Client(client.port) for _ in range(20)]
        try:
            return await asyncio.gather(*(other.get("/asking") for other in others))
        finally:
            for other in others:
                await other.close()

    answers = serve(talk)

    assert all(body["same"] for _, _, body in answers)
    assert len({body["task"] for _, _, body in answers}) == 20
    assert all(task.is_complete() for task in Parser.parse_stream(messages))


def test_a_server_that_runs_in_an_action_serves_tasks(serve, messages):
    """A request belongs to its caller, if to anybody."""
    with start_task(action_type="serve") as serving:
        _, _, body = serve(get())

    assert body["task"] != serving.task_uuid


def test_an_application_of_anybody_is_served_in_actions(serve, messages):
    """What never becomes a handler of Tornado's, too."""

    class Application(httputil.HTTPServerConnectionDelegate):
        def start_request(self, server_conn, request_conn):
            class Delegate(httputil.HTTPMessageDelegate):
                def finish(self):
                    found.append(current_action().task_uuid)
                    headers = httputil.HTTPHeaders({"Content-Length": "0"})
                    line = httputil.ResponseStartLine("", 204, "No Content")
                    request_conn.write_headers(line, headers)
                    request_conn.finish()

            return Delegate()

    found = []

    serve(get(), Application())

    assert [each["task_uuid"] for each in messages] == found * 2
    assert (messages[1]["status"], messages[1]["action_status"]) == (204, "succeeded")


def test_a_logger_in_place_of_the_default_gets_the_messages(serve):
    """As ``capture_logging`` puts it there."""
    logger = MemoryLogger()
    previous = swap_logger(logger)
    try:
        serve(get("/working"))
    finally:
        swap_logger(previous)

    assert [each["task_level"] for each in logger.messages] == [[1], [2, 1], [2, 2], [2, 3], [3]]
    logger.validate()


# -- the caller's


@pytest.mark.parametrize(
    ("text", "task"),
    [
        (f"{UUID}@/2/2", (UUID, [2, 2])),
        (f"{UUID.upper()}@/1", (UUID.upper(), [1])),
        (f"{UUID}@/9007199254740991", (UUID, [9007199254740991])),
        (f"{UUID}@", None),
        (f"{UUID}@/", None),
        (f"{UUID}@/0", None),
        (f"{UUID}@/01", None),
        (f"{UUID}@/1/", None),
        (f"{UUID}@/-1", None),
        (f"{UUID}@/1\n", None),
        (f"{UUID}@/12345678901234567", None),
        (f"{UUID}@/٣", None),
        (f" {UUID}@/1", None),
        (f"x{UUID[1:]}@/1", None),
        ("@/1", None),
        ("", None),
        (f"{UUID}@" + "/1" * 237, (UUID, [1] * 237)),
        (f"{UUID}@" + "/1" * 238, None),
    ],
)
def test_only_what_actions_make_is_a_task_id(text, task):
    """It comes from outside: nothing else gets into a log."""
    assert parse_task_id(text) == task


@pytest.mark.rule("E10.2", "E10.9")
def test_a_request_continues_its_callers_task(serve, messages):
    """At the place that was set aside for it, and what it does below that."""
    _, _, body = serve(get("/working", X_Eliot_Task_Id=f"{UUID}@/2/2"))

    assert body["task"] == UUID
    assert {each["task_uuid"] for each in messages} == {UUID}
    assert [each["task_level"] for each in messages] == [
        [2, 2, 1],
        [2, 2, 2, 1],
        [2, 2, 2, 2],
        [2, 2, 2, 3],
        [2, 2, 3],
    ]


@pytest.mark.parametrize(
    "headers",
    [
        "X-Eliot-Task-Id: nonsense",
        f"X-Eliot-Task-Id: {UUID}@/1/",
        f"X-Eliot-Task-Id: {UUID}@/1\r\nX-Eliot-Task-Id: {UUID}@/2",
        f"X-Eliot-Task-Id: {UUID}@{'/1' * 300}",
    ],
)
def test_what_is_no_task_id_is_ignored(serve, messages, headers):
    """The request is a task of its own."""

    async def talk(client):
        await client.send(f"GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode())
        return await client.read()

    status, _, body = serve(talk)

    assert status == 200
    assert body["task"] != UUID
    assert [each["task_level"] for each in messages] == [[1], [2]]


def test_callers_can_be_distrusted(serve, messages):
    """By a setting of the application."""
    _, _, body = serve(
        get(X_Eliot_Task_Id=f"{UUID}@/2/2"), Application(ROUTES, continue_tasks=False)
    )

    assert body["task"] != UUID


# -- how it ends


@pytest.mark.parametrize(
    ("path", "status", "exception", "reason"),
    [
        ("/failing", 500, "builtins.LookupError", "no such shelf"),
        ("/bare/fails", 500, "builtins.LookupError", "no such shelf"),
        ("/answering/send/503", 503, "tornado.web.HTTPError", "HTTP 503: Service Unavailable"),
        ("/answering/set/500", 500, "tornado.web.HTTPError", "HTTP 500: Internal Server Error"),
        ("/answering/raise/502", 502, "tornado.web.HTTPError", "HTTP 502: Bad Gateway"),
        ("/answering/finish/503", 503, "builtins.LookupError", "dealt with"),
    ],
)
def test_a_request_fails_by_500_and_by_what_it_lets_out(
    serve, messages, path, status, exception, reason
):
    """With the exception, or the one that the status would be."""
    assert serve(get(path))[0] == status

    end = messages[-1]
    assert (end["action_status"], end["status"]) == ("failed", status)
    assert (end["exception"], end["reason"]) == (exception, reason)


@pytest.mark.rule("E6.1")
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nowhere", 404),
        ("/answering/send/409", 409),
        ("/answering/raise/404", 404),
        ("/answering/finish/200", 200),
        ("/answering/finish/418", 418),
        ("/answering/end/1", 200),
        ("/answering/set/304", 304),
    ],
)
def test_all_other_requests_succeed(serve, messages, path, status):
    """What the client did wrong is not our failure, nor what was dealt with."""
    assert serve(get(path))[0] == status

    assert (messages[-1]["action_status"], messages[-1]["status"]) == ("succeeded", status)
    assert "exception" not in messages[-1]


@pytest.mark.parametrize("path", ["/cut", "/bare/cut"])
def test_a_request_that_breaks_off_has_failed(serve, messages, path):
    """Whatever the status was that had been sent by then."""

    async def talk(client):
        await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while not messages or messages[-1].get("action_status") == "started":
            await asyncio.sleep(0.001)

    serve(talk)

    end = messages[-1]
    assert (end["action_status"], end["exception"]) == ("failed", "builtins.LookupError")


@pytest.mark.rule("E3.3", "E11.2")
def test_a_client_that_goes_away_ends_it(serve, messages, setup):
    """At once, as 499; what the handler does afterwards still belongs to it."""
    records = setup(DEBUG)

    async def talk(client):
        Slow.reached, Slow.released = asyncio.Event(), asyncio.Event()
        await client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await Slow.reached.wait()
        await client.close()
        while len(messages) < 2:
            await asyncio.sleep(0.001)
        ended = messages[1].copy()
        Slow.released.set()
        while not [each for each in records if each.channel == "tornado.access"]:
            await asyncio.sleep(0.001)
        return ended

    ended = serve(talk)

    assert (ended["action_status"], ended["status"]) == ("succeeded", 499)
    assert ended["task_level"] == [2]
    assert [each["task_level"] for each in messages] == [[1], [2], [3]]
    (access,) = [each for each in records if each.channel == "tornado.access"]
    assert (access.extra["status"], access.extra["action_status"]) == (499, "succeeded")
    assert ids(access) == (ended["task_uuid"], [2])


def test_a_client_that_goes_away_while_it_sends_ends_it(serve, messages, setup):
    """No handler is left to log the request, so the stacks get the message."""
    records = setup(DEBUG)

    async def talk(client):
        await client.send(b"PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello")
        while not messages:
            await asyncio.sleep(0.001)
        await client.close()
        while len(messages) < 2:
            await asyncio.sleep(0.001)

    serve(talk)

    assert messages[1]["status"] == 499
    assert [each.message for each in records if each.channel == "eliot"] == [
        "http:request started",
        "http:request succeeded",
    ]


@pytest.mark.rule("E6.2")
def test_an_action_that_was_ended_by_hand_is_not_ended_again(serve, messages, setup):
    """And the record of the access log does not say that it is the end."""
    records = setup()

    serve(get("/ended"))

    assert [each["task_level"] for each in messages] == [[1], [2]]
    (access,) = [each for each in records if each.channel == "tornado.access"]
    assert "action_status" not in access.extra
    assert ids(access) == (messages[0]["task_uuid"], [])


@pytest.mark.parametrize(
    ("request_text", "options", "status"),
    [
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", {"max_body_size": 10}, 413),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n"
            + "x" * 32
            + "\r\n0\r\n\r\n",
            {"max_body_size": 10},
            413,
        ),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nB: 2\r\n\r\n", {"max_header_count": 2}, 431),
    ],
)
def test_a_request_that_is_refused_is_an_action_too(
    serve, messages, setup, request_text, options, status
):
    """It starts and ends, and its record says so."""
    records = setup()

    async def talk(client):
        await client.send(request_text.encode())
        return await client.read()

    assert serve(talk, **options)[0] == status

    start, end = messages
    assert (start["action_status"], start["task_level"]) == ("started", [1])
    assert (end["action_status"], end["status"], end["task_level"]) == ("succeeded", status, [2])
    (access,) = [each for each in records if each.channel == "tornado.access"]
    assert ids(access) == (end["task_uuid"], [2])
    assert access.extra["action_status"] == "succeeded"


# -- one stream


def test_the_access_record_is_the_end_of_the_action(serve, setup):
    """With its ids, type and status, and what was added to it; there is no other record of it."""
    records = setup()

    _, headers, body = serve(get("/working"))

    (access,) = [each for each in records if each.extra["action_type"]]
    assert access.channel == "tornado.access"
    assert ids(access) == (body["task"], [3])
    assert access.extra["action_type"] == "http:request"
    assert access.extra["action_status"] == "succeeded"
    assert access.extra["request_id"] == headers["X-Request-Id"]
    assert access.extra["order"] == 7
    assert access.extra["method"] == "GET", "its own fields stay"
    assert "timestamp" not in access.extra


def test_a_failure_is_in_the_access_record(serve, setup):
    """Exception and reason, beside the status."""
    records = setup()

    serve(get("/failing"))

    (access,) = [each for each in records if each.channel == "tornado.access"]
    assert access.extra["action_status"] == "failed"
    assert (access.extra["exception"], access.extra["reason"]) == (
        "builtins.LookupError",
        "no such shelf",
    )
    assert [each.channel for each in records].count("eliot") == 0


def test_every_record_says_in_which_action_it_was_made(serve, setup):
    """In the request's own, or in one inside of it; also in the first request of a process."""
    records = setup()

    _, _, body = serve(get("/working"))

    found = {each.message: ids(each) for each in records if each.channel == "shop"}
    assert found == {
        "before": (body["task"], []),
        "inside": (body["task"], [2]),
        "after": (body["task"], []),
    }
    (packed,) = [each for each in records if each.message == "order:packed"]
    assert ids(packed) == (body["task"], [2, 2])


def test_records_cost_no_more_until_there_is_another_action(serve, setup):
    """Requests put their ids on their records themselves."""
    setup()
    before = _processors()

    serve(get())
    without = _processors()
    serve(get("/working"))

    assert without == before
    assert len(_processors()) == len(before) + 1


def test_the_setup_leaves_nothing_behind(serve, setup):
    """Neither destination nor processor."""
    before = _processors()
    made = LogSetup(TestHandler(), environ={})
    made.bind_in_parent()
    start_action(action_type="a").finish()
    assert _processors() != before

    made.unbind()

    assert _processors() == before
    assert destinations.statistics()["destinations"] == 0


def _processors():
    return list(ActionProcessor.stack_manager.iter_context_objects())


def test_at_the_debug_level_the_start_has_a_record(serve, setup):
    """And the end has still one only."""
    records = setup(DEBUG)

    serve(get())

    assert [(each.level_name, each.channel, each.extra["task_level"]) for each in records] == [
        ("DEBUG", "eliot", [1]),
        ("INFO", "tornado.access", [2]),
    ]


@pytest.mark.parametrize("level", [DEBUG, ERROR])
def test_where_the_access_log_is_somebody_elses_the_end_has_a_record(serve, setup, level):
    """A ``log_function``; at the level of how it ended."""
    records = setup(level)
    application = Application(ROUTES, log_function=lambda handler: None)

    serve(get("/"), application)
    serve(get("/failing"), application)

    of_action = [each.message for each in records if each.channel == "eliot"]
    ends = [
        "http:request started",
        "http:request succeeded",
        "http:request started",
        "http:request failed: builtins.LookupError: no such shelf",
    ]
    assert of_action == (ends if level == DEBUG else ends[-1:])


def test_an_application_that_logs_some_requests_loses_no_end(serve, setup):
    """It overrides ``log_request``: its record is one in the action, the end is another."""

    class Choosy(Application):
        def log_request(self, handler):
            if handler.request.path != "/":
                super().log_request(handler)

    records = setup(DEBUG)

    serve(get("/"), Choosy(ROUTES))
    serve(get("/asking"), Choosy(ROUTES))

    ends = [each for each in records if each.extra["action_status"] == "succeeded"]
    assert [each.channel for each in ends] == ["eliot", "eliot"]
    (access,) = [each for each in records if each.channel == "tornado.access"]
    assert access.extra["task_level"] == []


def test_other_destinations_get_the_end_beside_the_record(serve, setup, messages):
    """It is the same message, with the same place."""
    records = setup()

    serve(get())

    (access,) = [each for each in records if each.channel == "tornado.access"]
    assert ids(access) == (messages[-1]["task_uuid"], messages[-1]["task_level"])


def test_a_user_s_own_bridge_leaves_the_end_to_the_record_as_well(serve):
    """It need not be that of the set-up."""
    add_destinations(StacksDestination())
    with NullHandler().applicationbound(), TestHandler().applicationbound() as handler:
        with redirected_logging():
            serve(get())

    ends = [each for each in handler.records if each.extra["action_status"] == "succeeded"]
    assert [each.channel for each in ends] == ["tornado.access"]


def test_actions_can_be_kept_out_of_the_stream(serve, setup):
    """Requests still say which they are; everything else is for destinations alone."""
    records = setup(NOTSET, log_actions=False)

    _, _, body = serve(get("/working"))

    assert [each.channel for each in records] == ["shop", "shop", "shop", "tornado.access"]
    assert {each.extra["task_uuid"] for each in records} == {body["task"]}


def test_a_dict_for_stdlib_logging_gets_the_stream_as_well(serve):
    """Through the logger ``eliot``, whose level counts."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    found = []

    class Keep(logging.Handler):
        def emit(self, record):
            found.append(record)

    made = LogSetup(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"keep": {"()": Keep}},
            "root": {"level": "INFO", "handlers": ["keep"]},
        },
        environ={},
    )
    try:
        made.bind_in_parent()
        serve(get("/working"))
    finally:
        made.unbind()
        root.handlers[:] = handlers
        root.setLevel(level)

    assert [each.getMessage() for each in found if each.name == "eliot"] == ["order:packed"]
    (access,) = [each for each in found if each.name == "tornado.access"]
    assert access.action_type == "http:request"
    assert access.order == 7


@pytest.mark.parametrize("log_config", [None])
def test_where_logging_is_left_alone_so_are_actions(log_config):
    """Nothing is added."""
    made = LogSetup(log_config, environ={})

    made.bind_in_parent()
    try:
        assert destinations.statistics()["destinations"] == 0
    finally:
        made.unbind()


def test_fields_that_stdlib_logging_refuses_get_another_name(serve):
    """What was added to the action must not cost the access log its record."""

    class Clashing(Handler):
        def get(self):
            current_action().add_success_fields(name="tea", args=[1])

    found = []
    handler = logging.Handler()
    handler.emit = found.append
    logger = logging.getLogger("tornado.access")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        serve(get("/clashing"), Application([("/clashing", Clashing)]))
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)

    assert (found[0].name_, found[0].args_) == ("tea", [1])


def test_what_a_class_binds_for_its_requests_begins_after_the_start(serve, setup):
    """Its handler gets what is done for the request, and not that there is one."""
    setup()
    Detailed.details.clear()

    serve(get("/detailed"))

    *found, access = Detailed.details[0].records
    assert access.channel == "tornado.access"
    assert [each.message for each in found] == [
        "order:look started",
        "order:look succeeded",
        "broken",
    ]


def test_the_console_shows_people_what_is_for_people():
    """The ids of tasks are for programs."""
    import io

    stream = io.StringIO()
    made = LogSetup(debug=True, environ={}, stream=stream)
    made.bind_in_parent()
    try:
        with pytest.raises(ValueError, match="sold"), start_action(action_type="order", item="tea"):
            log.info("looking", extra={"reason": "asked"})
            raise ValueError("sold")
    finally:
        made.unbind()

    lines = [line.split(maxsplit=1)[1].strip() for line in stream.getvalue().splitlines()]
    assert [" ".join(line.split()) for line in lines] == [
        "DEBUG eliot: order started item=tea",
        "INFO shop: looking reason=asked",
        "ERROR eliot: order failed: builtins.ValueError: sold",
    ]


# -- made when somebody looks


def test_nobody_looks_at_most_requests(serve, setup):
    """No part of the action is set up where only the access log has something to say."""
    seen = []

    class Looking(Application):
        def log_request(self, handler):
            seen.append(handler.request.connection.action)
            super().log_request(handler)

        def logs_requests_of(self, handler_class):
            return True

    class Nothing(Handler):
        def get(self):
            pass

    records = setup()
    serve(get(), Looking([("/", Nothing)]))

    (action,) = seen
    assert not action._is_settled
    assert ids(records[-1]) == (action._task_uuid, [2])
    # Who looks later finds the numbers taken that were.
    action.log("late")
    assert action.next_level() == [4]
    assert not hasattr(action, "_open")


@pytest.mark.rule("E3.4")
def test_two_who_look_first_see_the_same():
    """Threads that meet in the setting up take no number twice."""
    for _ in range(50):
        action = make_request_action(make_task_uuid(), [])
        barrier = threading.Barrier(4)
        found = []

        def look(action=action, barrier=barrier, found=found):
            barrier.wait()
            found.extend(tuple(action.next_level()) for _ in range(25))

        threads = [threading.Thread(target=look) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

        assert len(found) == len(set(found)) == 100
        assert min(found) == (2,)


def test_a_signal_handler_that_logs_while_it_is_set_up_takes_no_number_twice(monkeypatch):
    """In the middle of the very first look."""
    from sprockets.http import _request_action

    make = _request_action.make_action
    taken = []

    def interrupted(*args):
        made = make(*args)
        if not taken:
            taken.append("at work")
            signal.raise_signal(signal.SIGUSR1)
        return made

    monkeypatch.setattr(_request_action, "make_action", interrupted)
    action = make_request_action(make_task_uuid(), [])
    before = signal.signal(signal.SIGUSR1, lambda *_: taken.append(action.next_level()))
    try:
        taken.append(action.next_level())
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert taken == ["at work", [2], [3]]


def test_an_action_has_no_other_attributes():
    """What is missing is missing, before and after somebody looked."""
    action = make_request_action(UUID, [2, 2])

    assert repr(action) == f"<RequestAction 'http:request' {UUID}@[2, 2]>"
    with pytest.raises(AttributeError, match="nothing"):
        _ = action.nothing
    assert isinstance(action, RequestAction)


def test_a_child_process_of_a_request_repeats_no_place(serve, messages):
    """It goes on in a branch of its own."""

    class Forking(Handler):
        def get(self):
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                level = current_action().next_level()
                os.write(write, json.dumps([current_action().task_uuid, level]).encode())
                os._exit(0)
            os.close(write)
            os.waitpid(pid, 0)
            with os.fdopen(read) as file:
                self.write({"child": json.load(file), "own": current_action().next_level()})

    _, _, body = serve(get(), Application([("/", Forking)]))

    uuid, level = body["child"]
    assert uuid == messages[0]["task_uuid"]
    assert len(level) == 2
    assert level[0] != body["own"][0]


def test_a_request_that_is_over_is_forgotten(serve):
    """Nothing keeps its action."""

    class Kept(Handler):
        def get(self):
            self.write({"task": current_action().task_uuid})

    async def talk(client):
        tasks = {(await client.get())[2]["task"] for _ in range(5)}
        gc.collect()
        actions = [each for each in gc.get_objects() if type(each) is RequestAction]
        return [each for each in actions if each.task_uuid in tasks]

    assert len(serve(talk, Application([("/", Kept)]))) <= 1


def test_task_ids_are_unique_uuids():
    """Of version 4, also across batches."""
    made = [make_task_uuid() for _ in range(2000)]

    assert len(set(made)) == 2000
    for text in made:
        assert uuid.UUID(text).version == 4
        assert uuid.UUID(text).variant == uuid.RFC_4122
        assert str(uuid.UUID(text)) == text


def test_a_process_that_was_forked_names_its_tasks_otherwise():
    """A worker does not go on where its parent was."""
    make_task_uuid()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, make_task_uuid().encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read) as file:
        assert file.read()[:33] != make_task_uuid()[:33]
