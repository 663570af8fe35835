"""Web applications of others: each request has an id, in its records and in its answer."""

import asyncio
import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from sprockets.logbook import Fields, Logger, Processor, StreamHandler, TestHandler, setups
from sprockets.logbook._setups._requests import is_request_id
from sprockets.logbook.web import CHANNEL, ASGIRequests, WSGIRequests

log = Logger("shop")
TIMEOUT = 30.0


@pytest.fixture(name="written")
def _written():
    """What is written from INFO up, in all threads."""
    written = TestHandler(level="INFO")
    with written.applicationbound():
        yield written


def told(handler):
    return [(record.extra["request_id"], record.message) for record in handler.records]


def bound_here():
    return list(Processor.stack_manager.iter_context_objects())


# -- WSGI


class Answer:
    """What a server was given."""

    def __init__(self):
        self.status = ""
        self.headers = []
        self.body = b""

    def __getitem__(self, name):
        (value,) = [value for header, value in self.headers if header.lower() == name.lower()]
        return value


def ask(application, path="/", headers=(), **environ):
    """Do what a server does, and return the answer."""
    answer = Answer()
    environ = {"SCRIPT_NAME": "", "PATH_INFO": path, **environ}
    for name, value in dict(headers).items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    setup_testing_defaults(environ)

    def start_response(status, headers, exc_info=None):
        answer.status, answer.headers = status, headers
        return lambda data: None

    body = application(environ, start_response)
    try:
        answer.body = b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    return answer


def sells(environ, start_response):
    """An application that logs, and answers at once."""
    log.debug("looking")
    log.info("sold")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"sold"]


def test_a_request_has_an_id_in_its_records_and_in_its_answer(written):
    """A new one, with method and path; and the next request has another."""
    application = WSGIRequests(sells)

    first = ask(application, "/a b", REQUEST_METHOD="POST")
    second = ask(application)

    one, other = written.records
    assert (first.status, first.body) == ("200 OK", b"sold")
    assert first["X-Request-Id"] == one.extra["request_id"]
    assert second["X-Request-Id"] == other.extra["request_id"]
    assert first["X-Request-Id"] != second["X-Request-Id"]
    assert (one.extra["method"], one.extra["path"]) == ("POST", "/a b")
    assert is_request_id(first["X-Request-Id"])


def test_an_id_that_the_request_brings_is_taken(written):
    """So that it can be followed from service to service."""
    answer = ask(WSGIRequests(sells), headers={"X-Request-Id": "r1"})

    assert answer["X-Request-Id"] == "r1"
    assert told(written) == [("r1", "sold")]


@pytest.mark.parametrize("given", ["", "a b", "-1", "x" * 129, "r1\r\nSet-Cookie: a=b", "é"])
def test_an_id_that_could_do_harm_is_not_taken(written, given):
    """A new one is in its place."""
    answer = ask(WSGIRequests(sells), headers={"X-Request-Id": given})

    assert answer["X-Request-Id"] != given
    assert is_request_id(answer["X-Request-Id"])


def test_ids_of_requests_may_be_ignored_and_the_header_named_otherwise(written):
    """As a service wants it that strangers talk to."""
    ignoring = WSGIRequests(sells, trust_header=False)
    other = WSGIRequests(sells, header="X-Trace")

    assert ask(ignoring, headers={"X-Request-Id": "r1"})["X-Request-Id"] != "r1"
    assert ask(other, headers={"X-Trace": "r2"})["X-Trace"] == "r2"


@pytest.mark.parametrize("make", [WSGIRequests, ASGIRequests])
@pytest.mark.parametrize("header", ["", "X Request", "X-Request\n", "Größe"])
def test_a_header_needs_the_name_of_one(make, header):
    """What was given is in the error."""
    with pytest.raises(ValueError, match="expected the name of a header, as X-Request-Id, got"):
        make(None, header=header)


def test_an_id_that_the_application_sends_itself_is_replaced(written):
    """There is one id, and the records have it."""

    def application(environ, start_response):
        start_response("200 OK", [("x-request-id", "other")])
        return []

    answer = ask(WSGIRequests(application), headers={"X-Request-Id": "r1"})

    assert answer["X-Request-Id"] == "r1"


def test_a_path_is_told_as_text(written):
    """With the part that the server took; bytes that are no text do no harm."""
    path = "/é".encode().decode("latin-1")

    ask(WSGIRequests(sells), path, SCRIPT_NAME="/shop")
    ask(WSGIRequests(sells), "/\xff")

    assert [record.extra["path"] for record in written.records] == [
        "/shop/é",
        "/\N{REPLACEMENT CHARACTER}",
    ]


def test_what_makes_the_body_is_in_the_context_of_its_request(written):
    """From the first piece to the closing; two bodies that are made by turns do not mix."""
    closed = []

    def application(environ, start_response):
        start_response("200 OK", [])

        def body():
            try:
                for number in range(2):
                    log.info("piece {}", number)
                    yield b"x"
            finally:
                log.info("closed")
                closed.append(environ["PATH_INFO"])

        return body()

    wrapped = WSGIRequests(application)
    bodies = []
    for name in ("r1", "r2"):
        environ = {"HTTP_X_REQUEST_ID": name, "PATH_INFO": name}
        setup_testing_defaults(environ)
        bodies.append(wrapped(environ, lambda *arguments: None))
    before = bound_here()
    for body in (bodies[0], bodies[1], bodies[0]):
        next(body)
    for body in bodies:
        body.close()

    assert bound_here() == before
    assert told(written) == [
        ("r1", "piece 0"),
        ("r2", "piece 0"),
        ("r1", "piece 1"),
        ("r1", "closed"),
        ("r2", "closed"),
    ]
    assert closed == ["r1", "r2"]


def test_an_exception_is_logged_in_the_context_of_its_request(written):
    """Once, then it is the server's."""

    def application(environ, start_response):
        raise KeyError("price")

    with pytest.raises(KeyError):
        ask(WSGIRequests(application), "/a", {"X-Request-Id": "r1"})

    (record,) = written.records
    assert (record.channel, record.level_name, record.message) == (
        CHANNEL,
        "ERROR",
        "the request failed",
    )
    assert record.extra["request_id"] == "r1"
    assert record.exception_name == "builtins.KeyError"


def test_an_exception_of_the_body_is_logged_as_well(written):
    """Whether it is there from the start or in the middle."""

    def application(environ, start_response):
        start_response("200 OK", [])

        def body():
            yield b"x"
            raise KeyError("price")

        return body()

    with pytest.raises(KeyError):
        ask(WSGIRequests(application), headers={"X-Request-Id": "r1"})

    assert told(written) == [("r1", "the request failed")]


def fails_in(way):
    def application(environ, start_response):
        log.debug("looking")
        if way == "exception":
            raise KeyError("price")
        if way == "record":
            logging.getLogger("shop").error("no price")
        start_response("503 No" if way == "status" else "200 OK", [])
        log.debug("after that")
        return []

    return application


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("none", []),
        ("status", ["looking", "after that"]),
        ("record", ["looking", "no price", "after that"]),
        ("exception", ["looking", "the request failed"]),
    ],
)
def test_debug_records_are_kept_and_written_if_the_request_fails(stream, way, expected):
    """By a status, a record of whatever library, or an exception."""
    console = setups.console(stream=stream, environ={})

    with console.applicationbound():
        try:
            ask(WSGIRequests(fails_in(way), keep_debug=True), headers={"X-Request-Id": "r1"})
        except KeyError:
            assert way == "exception"
    console.close()

    lines = [line for line in stream.getvalue().splitlines() if "request_id=r1" in line]
    assert [line.partition(": ")[2].partition("  ")[0] for line in lines] == expected


def test_it_keeps_the_rules_of_wsgi(written):
    """As the standard library's judge sees them, from both sides."""

    def application(environ, start_response):
        write = start_response("200 OK", [("Content-Type", "text/plain")], None)
        write(b"one")
        return [b"two"]

    answer = ask(validator(WSGIRequests(validator(application))), QUERY_STRING="")

    assert answer.body == b"two"
    assert is_request_id(answer["X-Request-Id"])


class Quiet(WSGIRequestHandler):
    def log_message(self, format, *args):
        """Say nothing."""


@contextmanager
def served(application):
    """Serve with the standard library's server, and give its address."""
    server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(TIMEOUT)
        server.server_close()


def get(url, **headers):
    request = urllib.request.Request(
        url, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return answer.status, answer.headers, answer.read()


def test_a_server_of_the_standard_library_serves_it(written, tmp_path):
    """Complete bodies, those in pieces, and files."""
    (tmp_path / "a.txt").write_bytes(b"file")

    def application(environ, start_response):
        log.info("sold")
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/pieces":
            return iter([b"pie", b"ces"])
        if environ["PATH_INFO"] == "/file":
            return environ["wsgi.file_wrapper"](open(tmp_path / "a.txt", "rb"))
        return [b"complete"]

    with served(WSGIRequests(application)) as url:
        answers = [get(f"{url}/{name}", X_Request_Id=name) for name in ("a", "pieces", "file")]

    assert [body for _, _, body in answers] == [b"complete", b"pieces", b"file"]
    assert answers[0][1]["Content-Length"] == "8"
    assert [headers["X-Request-Id"] for _, headers, _ in answers] == ["a", "pieces", "file"]
    assert [name for name, _ in told(written)] == ["a", "pieces", "file"]


# -- ASGI


async def ask_asgi(application, type="http", headers=(), path="/", **scope):
    """Do what a server does, and return the messages that were sent."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(name.lower().encode(), value.encode()) for name, value in dict(headers).items()]
    scope = {"type": type, "headers": headers, "path": path, "method": "GET", **scope}
    await application(scope, receive, send)
    return sent


async def sells_asgi(scope, receive, send):
    log.debug("looking")
    log.info("sold")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"sold"})


def test_asgi_requests_have_ids_as_well(written):
    """Taken or made, in records and answer; what else was sent is as it was."""
    application = ASGIRequests(sells_asgi)

    async def main():
        given = await ask_asgi(application, headers={"X-Request-Id": "r1"}, path="/é")
        new = await ask_asgi(application, headers={"X-Request-Id": "a b"})
        return given, new

    given, new = asyncio.run(main())

    assert given[0]["headers"] == [(b"a", b"b"), (b"x-request-id", b"r1")]
    assert given[1] == {"type": "http.response.body", "body": b"sold"}
    made = dict(new[0]["headers"])[b"x-request-id"].decode()
    assert told(written) == [("r1", "sold"), (made, "sold")]
    assert (written.records[0].extra["method"], written.records[0].extra["path"]) == ("GET", "/é")


def test_of_two_ids_neither_is_taken(written):
    """Nobody knows which one those before us took; servers for WSGI join them."""
    application = ASGIRequests(sells_asgi)
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"x-request-id", b"r1"), (b"X-Request-Id", b"r2")]
    scope = {"type": "http", "path": "/", "method": "GET", "headers": headers}
    asyncio.run(application(scope, None, send))
    answer = ask(WSGIRequests(sells), headers={"X-Request-Id": "r1,r2"})

    assert dict(sent[0]["headers"])[b"x-request-id"] not in (b"r1", b"r2")
    assert "r1" not in answer["X-Request-Id"]


def test_the_application_is_found_by_the_name_that_frameworks_use(written):
    """Some give it by that name, some look for it."""
    assert ASGIRequests(app=sells_asgi).app is sells_asgi
    assert WSGIRequests(app=sells).app is sells


def test_asgi_requests_that_overlap_do_not_mix(written):
    """Each task has its own context, and so have those that it starts."""

    async def application(scope, receive, send):
        async def child():
            await asyncio.sleep(0)
            log.info("child of {}", scope["path"])

        task = asyncio.ensure_future(child())
        await asyncio.sleep(0)
        log.info("{}", scope["path"])
        await task

    async def main():
        wrapped = ASGIRequests(application)
        before = bound_here()
        await asyncio.gather(
            *(ask_asgi(wrapped, headers={"X-Request-Id": name}, path=name) for name in ("a", "b"))
        )
        await ask_asgi(wrapped, headers={"X-Request-Id": "c"}, path="c")
        assert bound_here() == before

    asyncio.run(main())

    assert len(written.records) == 6
    assert all(name == message.split()[-1] for name, message in told(written))


def test_websockets_have_an_id_and_the_rest_of_asgi_is_left_alone(written):
    """The lifespan of a server is no request."""
    types = []

    async def application(scope, receive, send):
        types.append(scope["type"])
        log.info("here")
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})

    async def main():
        wrapped = ASGIRequests(application)
        sent = await ask_asgi(wrapped, "websocket", {"X-Request-Id": "r1"}, path="/live")
        await ask_asgi(wrapped, "lifespan")
        return sent

    sent = asyncio.run(main())

    assert sent == [{"type": "websocket.accept", "headers": [(b"x-request-id", b"r1")]}]
    assert types == ["websocket", "lifespan"]
    first, second = written.records
    assert first.extra["method"] == "WEBSOCKET"
    assert "request_id" not in second.extra


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("none", []),
        ("status", ["looking", "after that"]),
        ("record", ["looking", "no price", "after that"]),
        ("exception", ["looking", "the request failed"]),
        ("cancelled", []),
    ],
)
def test_an_asgi_request_that_fails_writes_what_was_kept(stream, way, expected):
    """One that the client has left has not failed."""

    async def application(scope, receive, send):
        log.debug("looking")
        if way == "exception":
            raise KeyError("price")
        if way == "cancelled":
            raise asyncio.CancelledError
        if way == "record":
            log.error("no price")
        await send({"type": "http.response.start", "status": 500 if way == "status" else 200})
        log.debug("after that")

    async def main():
        try:
            await ask_asgi(ASGIRequests(application, keep_debug=True))
        except KeyError:
            assert way == "exception"
        except asyncio.CancelledError:
            assert way == "cancelled"

    handler = StreamHandler(stream, level="INFO", format_string="{record.message}")
    with handler.applicationbound():
        asyncio.run(main())

    assert [line for line in stream.getvalue().splitlines() if line[:1] not in " TK"] == expected


def test_a_server_for_asgi_serves_it(written):
    """Uvicorn, with requests on one connection and several at once."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs uvicorn (requirements/benchmarks.txt)")

    async def application(scope, receive, send):
        await asyncio.sleep(0)
        log.info(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"sold"})

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(ASGIRequests(application), log_config=None, lifespan="off")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        deadline = time.monotonic() + TIMEOUT
        while not server.started and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        answers = [get(f"http://127.0.0.1:{port}/{name}", X_Request_Id=name) for name in ("a", "b")]
        server.should_exit = True
        thread.join(TIMEOUT)

    assert [headers["X-Request-Id"] for _, headers, _ in answers] == ["a", "b"]
    assert told(written) == [("a", "/a"), ("b", "/b")]


def test_fields_of_the_server_stay(written):
    """What is bound around the application is in its records, too."""
    with Fields(service="shop"):
        ask(WSGIRequests(sells))

    assert written.records[0].extra["service"] == "shop"
