"""A request's context: its own, below any server, and gone when the request is."""

import asyncio
import contextvars
import json
import logging
import os
import socket
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import ClassVar

import pytest
from tornado import httputil, web
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.testing import bind_unused_port

from sprockets.http._request_context import (
    Activity,
    Exchange,
    Peer,
    carry_into_threads,
    current_request,
    request_id_of,
    request_of_context,
    trace_id_of,
)
from sprockets.http._server import Server
from sprockets.http._settings import Options
from sprockets.http._shutdown import context_of_task
from sprockets.http.app import Application
from sprockets.http.context import current_request_id
from sprockets.http.mixins import ErrorLogger, ErrorWriter
from sprockets.logbook import Logger, Processor, TestHandler

log = Logger("test")
variable = contextvars.ContextVar("variable", default="unset")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Handler(ErrorLogger, ErrorWriter, web.RequestHandler):
    pass


class Tells(Handler):
    """Says what it sees, and leaves something in its context."""

    async def get(self):
        before = variable.get()
        variable.set("set by a request")
        log.info("before")
        await asyncio.sleep(0)
        log.info("after")
        self.write(
            {
                "before": before,
                "id": current_request_id(),
                "of_request": request_id_of(self.request),
                "trace": trace_id_of(self.request),
                "is_current": current_request() is self.request.connection,
                "ip": self.request.remote_ip,
            }
        )


TAKEN = []
"""The sizes of the pieces that arrived."""


@web.stream_request_body
class Upload(Handler):
    """Takes its body piece by piece, in a coroutine."""

    def prepare(self):
        self.pieces = []

    async def data_received(self, chunk):
        log.info("before a piece")
        await asyncio.sleep(0)
        log.info("after a piece")
        self.pieces.append((len(chunk), current_request_id()))
        TAKEN.append(len(chunk))

    def put(self):
        self.write({"pieces": self.pieces})


@web.stream_request_body
class PlainUpload(Handler):
    """The same without a coroutine."""

    def prepare(self):
        self.ids = []

    def data_received(self, chunk):
        self.ids.append(current_request_id())
        TAKEN.append(len(chunk))

    def put(self):
        self.write({"pieces": [[5, each] for each in self.ids]})


class Threads(Handler):
    async def get(self):
        loop = IOLoop.current()
        with ThreadPoolExecutor(1) as executor:
            found = [
                await loop.run_in_executor(None, current_request_id),
                await loop.run_in_executor(executor, current_request_id),
                await asyncio.get_running_loop().run_in_executor(None, current_request_id),
                await asyncio.get_running_loop().run_in_executor(executor, current_request_id),
                await asyncio.to_thread(current_request_id),
            ]
        self.write({"ids": found, "id": current_request_id()})


class Later(Handler):
    """Answers at once, and leaves a task."""

    tasks: ClassVar = []

    def get(self):
        async def work():
            await asyncio.sleep(0.01)
            return current_request_id()

        self.tasks.append(asyncio.create_task(work()))
        self.write({"id": current_request_id()})


def stamp(name):
    def process(record):
        record.extra.setdefault("stamps", []).append(name)

    return Processor(process)


class Bound(Handler):
    """Wants what its subclasses say bound."""

    wanted = None

    @classmethod
    def request_setup(cls):
        return cls.wanted

    def get(self):
        log.info("bound")
        self.write({})


class BoundOne(Bound):
    wanted = stamp("one")


class BoundList(Bound):
    wanted: ClassVar = [stamp("first"), stamp("second")]


class BoundTuple(Bound):
    wanted = (stamp("third"),)


class BoundFailing(Bound):
    @classmethod
    def request_setup(cls):
        raise LookupError("no set-up")


class BoundWithoutClass(Bound):
    def request_setup(self):
        raise AssertionError("there is no instance yet")


class BoundByNobody(Bound):
    request_setup = 3


class BoundWrongly(Bound):
    wanted: ClassVar = ["a text"]


ROUTES = [
    ("/", Tells),
    ("/upload", Upload),
    ("/plain-upload", PlainUpload),
    ("/threads", Threads),
    ("/later", Later),
    ("/none", Bound),
    ("/one", BoundOne),
    ("/list", BoundList),
    ("/tuple", BoundTuple),
    ("/failing", BoundFailing),
    ("/no-classmethod", BoundWithoutClass),
    ("/no-function", BoundByNobody),
    ("/not-to-be-bound", BoundWrongly),
]


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
        return int(first.split()[1]), headers, body

    async def get(self, path="/", **headers):
        lines = [f"GET {path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return await self.read()

    async def close(self):
        if self.writer is not None:
            self.writer.close()
            await self.writer.wait_closed()


@pytest.fixture(name="serve", params=["ours", "Tornado's"])
def _serve(request, loop):
    """Serve our application below our own server and below one of Tornado's.

    ``serve(coroutine function)`` calls it with a client, and returns what it returns.
    """

    def serve(talk, application=None, kind=None, **options):
        application = application or Application(ROUTES)
        bound, port = bind_unused_port()
        if (kind or request.param) == "ours":
            server = Server(
                application,
                options=Options(**options),
                activity=getattr(application, "activity", None),
                settings=application.settings if isinstance(application, Application) else None,
            )
            add = server.serve_on
        else:
            server = HTTPServer(application)
            add = server.add_sockets

        async def work():
            add([bound])
            client = Client(port)
            try:
                return await asyncio.wait_for(talk(client), 5)
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


def bodies(*answers):
    return [json.loads(body) for _, _, body in answers]


# -- ids


def test_a_request_knows_its_id_everywhere(serve):
    """In the answer's header, of the request, and in whatever is called."""

    async def talk(client):
        return await client.get()

    status, headers, body = serve(talk)

    found = json.loads(body)
    assert status == 200
    assert found["id"] == found["of_request"] == headers["X-Request-Id"]
    assert found["is_current"] is True
    assert found["trace"] is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"X_Request_Id": "mine-1"}, "mine-1"),
        ({"Traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE),
        ({"X_Request_Id": "a", "Traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, "a"),
        ({"X_Request_Id": 'wrong"'}, None),
        ({"Traceparent": "nonsense"}, None),
    ],
)
def test_a_name_from_outside_is_continued_where_it_is_valid(serve, given, expected):
    """A request id before a trace id; what is not valid is as if it was not there."""

    async def talk(client):
        return await client.get(**given)

    _, headers, body = serve(talk)

    found = json.loads(body)
    assert found["id"] == headers["X-Request-Id"]
    assert found["trace"] == (TRACE if "00-" in str(given) else None)
    assert expected is None or found["id"] == expected
    assert "wrong" not in found["id"]


def test_two_names_are_none(serve):
    """Nobody knows which one is meant."""

    async def talk(client):
        await client.send(
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n\r\n"
        )
        return await client.read()

    _, headers, _ = serve(talk)

    assert len(headers["X-Request-Id"]) == 32


# -- the context


def test_nothing_of_a_request_is_left_for_the_next_on_its_connection(serve):
    """Neither what it set in its context nor what was set for it."""

    async def talk(client):
        answers = [await client.get() for _ in range(3)]
        return answers, current_request(), variable.get()

    with TestHandler() as records:
        answers, current, value = serve(talk)

    found = bodies(*answers)
    assert [each["before"] for each in found] == ["unset"] * 3
    assert len({each["id"] for each in found}) == 3
    assert (current, value) == (None, "unset")
    stamped = [each.extra["request_id"] for each in records.records if each.channel == "test"]
    assert stamped == [each["id"] for each in found for _ in range(2)]


def test_the_connections_own_task_is_never_in_a_requests_context(serve):
    """Also while the request is being answered."""
    seen = []

    async def talk(client):
        await client.get()
        for task in asyncio.all_tasks():
            coroutine = task.get_coro()
            if "_server_request_loop" in getattr(coroutine, "__qualname__", ""):
                context = context_of_task(task)
                seen.append((request_of_context(context), context.get(variable)))

    serve(talk)

    assert seen == [(None, None)]


def test_records_of_a_request_say_whose_they_are(serve):
    """Id, method, path without its query, address and handler; and place among the actions."""

    async def talk(client):
        return await client.get("/?secret=1")

    with TestHandler() as records:
        _, headers, _ = serve(talk)

    record = next(each for each in records.records if each.channel == "test")
    assert dict(record.extra) == {
        "request_id": headers["X-Request-Id"],
        "method": "GET",
        "path": "/",
        "remote_ip": "127.0.0.1",
        "handler": "Tells",
        "task_uuid": record.extra["task_uuid"],
        "task_level": [],
    }
    assert len(record.extra["task_uuid"]) == 36


def test_tasks_that_a_request_leaves_keep_its_context(serve):
    """Long after the answer."""

    async def talk(client):
        Later.tasks.clear()
        answers = [await client.get("/later") for _ in range(2)]
        return answers, await asyncio.gather(*Later.tasks)

    answers, found = serve(talk)

    assert found == [each["id"] for each in bodies(*answers)]


@pytest.mark.parametrize("path", ["/upload", "/plain-upload"])
def test_a_streamed_body_is_taken_in_the_requests_context(serve, path):
    """Every piece of it, also after the coroutine that takes it has waited."""
    TAKEN.clear()

    async def talk(client):
        answers = []
        for _ in range(2):
            head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            await client.send(head.encode())
            for number in range(1, 4):
                await client.send(b"5\r\nhello\r\n")
                while len(TAKEN) < number:  # so that two do not arrive as one
                    await asyncio.sleep(0)
            TAKEN.clear()
            await client.send(b"0\r\n\r\n")
            answers.append(await client.read())
        return answers

    with TestHandler() as records:
        answers = serve(talk)

    ids = [headers["X-Request-Id"] for _, headers, _ in answers]
    assert len(set(ids)) == 2
    for request_id, body in zip(ids, bodies(*answers), strict=True):
        assert body["pieces"] == [[5, request_id]] * 3
    stamped = [each.extra["request_id"] for each in records.records if each.channel == "test"]
    assert stamped == ([each for each in ids for _ in range(6)] if path == "/upload" else [])


@pytest.mark.parametrize(
    ("path", "stamps"),
    [
        ("/none", None),
        ("/one", ["one"]),
        ("/list", ["first", "second"]),
        ("/tuple", ["third"]),
    ],
)
def test_a_handler_class_binds_what_it_wants_for_its_requests(serve, path, stamps):
    """One object, several or none; and for no request of another class."""

    async def talk(client):
        await client.get(path)
        await client.get("/none")

    with TestHandler() as records:
        serve(talk)

    found = [each.extra["stamps"] for each in records.records if each.message == "bound"]
    first = found[0] or None
    assert (None if first is None else sorted(first)) == (
        None if stamps is None else sorted(stamps)
    )
    assert not found[1]


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("/failing", "no set-up"),
        ("/no-classmethod", "missing 1 required positional argument: 'self'"),
        ("/no-function", "not callable"),
        ("/not-to-be-bound", "no attribute 'push_context'"),
    ],
)
def test_a_setup_that_fails_costs_no_answer(serve, caplog, path, cause):
    """What is wrong is told, and how it should be."""

    async def talk(client):
        return (await client.get(path))[0], (await client.get("/one"))[0]

    assert serve(talk) == (200, 200)
    [told] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert told.getMessage().startswith("request_setup of Bound")
    assert "has to be a class method" in told.getMessage()
    assert cause in str(told.exc_info[1])


# -- counting


def test_requests_are_counted_from_their_beginning_to_their_end(serve):
    """Below any server."""
    application = Application(ROUTES)
    row = application.activity.row

    async def talk(client):
        for _ in range(3):
            await client.get()
        return row.requests, row.in_flight, len(application.activity.exchanges)

    assert serve(talk, application) == (3, 0, 0)


def test_a_client_that_goes_away_is_counted_as_gone(serve):
    """Once, and its request is no longer in flight."""
    application = Application(ROUTES)
    activity = application.activity

    async def talk(client):
        await client.send(b"PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello")
        while not activity.exchanges:
            await asyncio.sleep(0.001)
        in_flight = activity.row.in_flight
        await client.close()
        client.writer = None
        while activity.exchanges:
            await asyncio.sleep(0.001)
        return in_flight

    assert serve(talk, application) == 1
    assert (activity.row["client_gone"], activity.row.in_flight) == (1, 0)
    assert activity.board.totals().by_status[0] == 1


def test_whoever_wears_out_says_so_once(serve):
    """After so many requests, and no more often."""
    application = Application(ROUTES)
    called = []
    application.activity.requests_left = 2
    application.activity.on_worn_out = lambda: called.append(application.activity.row.requests)

    async def talk(client):
        for _ in range(4):
            await client.get()

    serve(talk, application)

    assert called == [2]


@pytest.mark.parametrize("serve", ["ours"], indirect=True)
def test_a_plain_application_below_our_server_has_contexts_too(serve):
    """Its handlers are found out later."""

    async def talk(client):
        return [await client.get("/one"), await client.get()]

    with TestHandler() as records:
        answers = serve(talk, web.Application(ROUTES))

    found = json.loads(answers[1][2])
    assert found["id"] == answers[1][1]["X-Request-Id"]
    assert [each.extra["handler"] for each in records.records if each.channel == "test"] == [
        *("BoundOne", "Tells", "Tells")
    ]


@pytest.mark.parametrize("serve", ["ours"], indirect=True)
def test_any_callback_below_our_server_has_contexts_too(loop, serve):
    """As Tornado's servers take one instead of an application."""
    seen = []

    def answer(request):
        seen.append((current_request_id(), request_id_of(request)))
        request.connection.write_headers(
            httputil.ResponseStartLine("HTTP/1.1", 204, "No Content"), httputil.HTTPHeaders()
        )
        request.connection.finish()

    answer.settings = {}

    async def talk(client):
        return await client.get()

    status, headers, _ = serve(talk, answer)

    assert status == 204
    assert seen == [(headers["X-Request-Id"],) * 2]


def test_an_application_below_tornados_server_leaves_its_addresses_to_it(loop, serve):
    """Whom to believe is that server's business."""

    async def talk(client):
        return await client.get(X_Real_Ip="6.6.6.6")

    found = json.loads(serve(talk, kind="Tornado's")[2])

    assert found["ip"] == "127.0.0.1"


# -- who is at the other end


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Real-Ip": "6.6.6.6"}, ("6.6.6.6", "http")),
        ({"X-Forwarded-For": "1.1.1.1, 2.2.2.2"}, ("2.2.2.2", "http")),
        ({"X-Forwarded-For": "1.1.1.1", "X-Real-Ip": "::1"}, ("::1", "http")),
        ({"X-Real-Ip": "nobody"}, ("127.0.0.1", "http")),
        ({"X-Scheme": "https"}, ("127.0.0.1", "https")),
        ({"X-Forwarded-Proto": "http, https"}, ("127.0.0.1", "https")),
        ({"X-Scheme": "gopher"}, ("127.0.0.1", "http")),
    ],
)
def test_a_peer_is_who_its_proxy_says(headers, expected):
    """Where that is an address, and a scheme; and for the one request only."""
    peer = Peer(2, ("127.0.0.1", 4711), "http", is_believed=True)

    peer.believe(httputil.HTTPHeaders(headers))
    found = peer.remote_ip, peer.protocol
    peer.forget()

    assert found == expected
    assert (peer.remote_ip, peer.protocol) == ("127.0.0.1", "http")


@pytest.mark.parametrize(
    ("family", "address", "text"),
    [(2, ("127.0.0.1", 1), "127.0.0.1"), (1, "/run/s.sock", "/run/s.sock"), (1, b"\0x", "\0x")],
)
def test_a_peer_has_a_text(family, address, text):
    """Tornado shows it in its records."""
    assert str(Peer(family, address, "http", is_believed=False)) == text


# -- threads


def test_functions_in_threads_run_in_the_requests_context(serve):
    """By whichever way they get there."""

    async def talk(client):
        return [await client.get("/threads") for _ in range(2)]

    for found in bodies(*serve(talk)):
        assert found["ids"] == [found["id"]] * 5


def test_functions_in_other_processes_do_without(loop):
    """A context cannot go there; arguments and results can."""
    carry_into_threads(loop)

    async def work():
        with ProcessPoolExecutor(1) as executor:
            return await loop.run_in_executor(executor, os.path.join, "a", "b")

    assert loop.run_sync(work) == "a/b"


def test_what_a_thread_changes_stays_there(loop):
    """The function runs in a copy."""
    carry_into_threads(loop)

    async def work():
        token = variable.set("ours")
        try:
            seen = await loop.run_in_executor(None, variable.get)
            await loop.run_in_executor(None, variable.set, "the thread's")
            return seen, variable.get()
        finally:
            variable.reset(token)

    assert loop.run_sync(work) == ("ours", "ours")


def test_an_error_in_a_thread_arrives(loop):
    """As it would without us."""
    carry_into_threads(loop)

    async def work():
        await loop.run_in_executor(None, int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        loop.run_sync(work)


# -- outside of requests


def test_outside_of_requests_there_is_none():
    """And a task without a request's context has none."""
    assert current_request() is None
    assert current_request_id() is None
    assert request_of_context(None) is None
    assert request_of_context(contextvars.copy_context()) is None


def test_a_request_without_an_exchange_gets_an_id_and_keeps_it():
    """As those that tests make by hand."""
    request = httputil.HTTPServerRequest(
        start_line=httputil.RequestStartLine("GET", "/", "HTTP/1.1"),
        headers=httputil.HTTPHeaders(Host="x"),
    )

    first = request_id_of(request)

    assert request_id_of(request) == first
    assert len(first) == 32
    assert trace_id_of(request) is None


def test_an_exchange_has_what_its_connection_has():
    """And no more."""

    async def make():
        stream = IOStream(socket.socket())
        connection = HTTP1Connection(
            stream, False, context=Peer(2, ("::1", 1), "http", is_believed=False)
        )
        exchange = Exchange(Activity(), connection, None)
        names = {*dir(connection), *vars(connection)}
        missing = {name for name in names if name[0] != "_" and not hasattr(exchange, name)}
        same = [
            name
            for name in ("is_client", "no_keep_alive", "params")
            if getattr(exchange, name) is getattr(connection, name)
        ]
        exchange.set_max_body_size(17)
        exchange.set_body_timeout(1.5)
        exchange.close()
        return (
            exchange,
            missing,
            same,
            (connection._max_body_size, connection._body_timeout),
            stream.closed(),
        )

    exchange, missing, same, bounds, is_closed = asyncio.run(make())

    assert missing == set()
    assert same == ["is_client", "no_keep_alive", "params"]
    assert bounds == (17, 1.5)
    assert is_closed
    with pytest.raises(AttributeError):
        _ = exchange.nothing
    with pytest.raises(AttributeError):
        _ = exchange.request_id


def test_the_logger_of_this_module_is_heard(caplog):
    """Else nothing above would have been tested."""
    caplog.set_level(logging.INFO)

    with TestHandler() as records:
        log.info("heard")

    assert [each.message for each in records.records] == ["heard"]
