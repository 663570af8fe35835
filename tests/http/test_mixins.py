"""What the mixins log, keep and answer; the texts are those that operators and clients read."""

import asyncio
import datetime as dt
import json
import logging
import socket
import urllib.error

import pytest
from tornado import httputil, iostream, web
from tornado.ioloop import IOLoop

from sprockets.http import mixins
from sprockets.http.mixins import (
    ErrorHandler,
    ErrorLogger,
    ErrorWriter,
    LoggingHandler,
    Problem,
)
from sprockets.logbook import ERROR, INFO, WARNING, Logger

_ROUTES = []


def routed(cls):
    """Serve *cls* at its name."""
    _ROUTES.append((f"/{cls.__name__}", cls))
    return cls


class Both(ErrorLogger, ErrorWriter, web.RequestHandler):
    """What most services have."""


@pytest.fixture
def io_loop():
    # pytest-tornado's own makes its loop current in a way that Tornado warns of.
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@pytest.fixture
def app():
    return web.Application(_ROUTES, default_handler_class=ErrorHandler)


@pytest.fixture(name="fetch")
def _fetch(http_client, base_url, log_records):
    def fetch(path, **options):
        path = path if isinstance(path, str) else f"/{path.__name__}"
        return http_client.fetch(base_url + path, raise_error=False, **options)

    return fetch


@pytest.fixture(name="fetch_raw")
def _fetch_raw(http_server, http_port, log_records):
    """Send bytes, and return what came before the connection ended, and what it ended with."""

    async def fetch_raw(request):
        reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
        writer.write(request)
        received, end = b"", None
        try:
            while chunk := await reader.read(65_536):
                received += chunk
        except ConnectionResetError as error:
            end = error
        writer.close()
        return received, end

    return fetch_raw


def lines_of(records, channel=None):
    """Return levels and texts of *records*, those of a channel or all but Tornado's own."""
    return [
        (record.level, record.message)
        for record in records.records
        if (record.channel == channel if channel else not record.channel.startswith("tornado"))
    ]


async def wait_until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


# -- LoggingHandler


@routed
class Logging(LoggingHandler, web.RequestHandler):
    def get(self):
        self.logger.info("%s took %d s", "tea", 3)
        self.write(self.logger.name)


class _Sub(Logging):
    pass


class _Configured(web.RequestHandler):
    def initialize(self, foo=None):
        self.foo = foo

    def get(self):
        self.write(str(self.foo))


class _LoggingConfigured(ErrorLogger, _Configured):
    pass


class _WithAttribute(LoggingHandler, web.RequestHandler):
    logger = logging.getLogger("mine")


class _SetsFirst(web.RequestHandler):
    def initialize(self):
        self.logger = "mine"


class _KeepsInstance(LoggingHandler, _SetsFirst):
    pass


def make_handler(cls, app, **kwargs):
    """Return a handler without a client."""

    class Connection:
        stream = None

        def set_close_callback(self, callback):
            pass

    request = httputil.HTTPServerRequest(
        start_line=httputil.RequestStartLine("GET", "/", "HTTP/1.1"),
        headers=httputil.HTTPHeaders({"Host": "x"}),
        connection=Connection(),
    )
    return cls(app, request, **kwargs)


@pytest.mark.rule("H12.1")
def test_a_handler_has_a_logger_of_its_class_name(app):
    """The channel is the bare name of the class, a subclass has its own."""
    handler = make_handler(Logging, app)

    assert isinstance(handler.logger, Logger)
    assert handler.logger.name == "Logging"
    assert make_handler(_Sub, app).logger.name == "_Sub"
    assert make_handler(Logging, app).logger is handler.logger


@pytest.mark.rule("H12.1")
@pytest.mark.gen_test
async def test_the_logger_takes_arguments_as_stdlib_loggers_do(fetch, log_records):
    """``%s`` means what it meant."""
    await fetch(Logging)

    assert lines_of(log_records, "Logging") == [(INFO, "tea took 3 s")]


@pytest.mark.rule("H12.2")
def test_a_logger_of_the_class_or_the_instance_is_kept(app):
    """Whatever it is, wherever it was set."""
    assert make_handler(_WithAttribute, app).logger.name == "mine"
    assert make_handler(_KeepsInstance, app).logger == "mine"


@pytest.mark.rule("H12.3", "H12.4")
def test_keywords_of_the_route_reach_the_next_class(app):
    """The mixins take none for themselves, and a keyword that nobody takes is an error."""
    assert make_handler(_LoggingConfigured, app, foo=1).foo == 1
    with pytest.raises(TypeError):
        make_handler(Logging, app, foo=1)


@pytest.mark.rule("H12.3")
def test_the_next_class_is_initialized_with_the_logger_there(app):
    """It is the class's own, so whoever is initialized can use it; one that it sets is kept."""
    seen = []

    class Base(web.RequestHandler):
        def initialize(self):
            seen.append(self.logger.name)

    class Handler(LoggingHandler, Base):
        pass

    make_handler(Handler, app)

    assert seen == ["Handler"]


# -- the record


@routed
class Sends(Both):
    def get(self):
        options = {name: self.get_argument(name) for name in self.request.arguments}
        status = int(options.pop("status"))
        for name, value in options.items():
            if value == "None":
                options[name] = None
        self.send_error(status, **options)


_ERRORS = {}


@routed
class Raises(Both):
    def get(self):
        raise _ERRORS[self.get_query_argument("what")]()


class Falsy(Exception):
    def __bool__(self):
        return False

    def __len__(self):
        return 0


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


_ERRORS.update(
    {
        "400": lambda: web.HTTPError(400),
        "nope": lambda: web.HTTPError(400, reason="Nope"),
        "secret": lambda: web.HTTPError(400, "secret %s", "x"),
        "567": lambda: web.HTTPError(567),
        "500": lambda: web.HTTPError(500),
        "value": lambda: ValueError("bad value"),
        "empty": lambda: ValueError(),
        "url": lambda: urllib.error.URLError("internal"),
        "url-os": lambda: urllib.error.URLError(OSError("internal")),
        "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "internal"),
        "number": lambda: web.HTTPError(400, reason=17),
        "falsy": Falsy,
        "mute": Mute,
    }
)


@routed
class MissingArgument(Both):
    def get(self):
        self.get_argument("foo")


# query of the request, status line, type, message, level, text in the log
_CAPTURED = [
    ("/Sends?status=500", 500, "Internal Server Error", None, "Internal Server Error", None),
    ("/Sends?status=500&reason=Uh%20oh", 500, "Uh oh", None, "Uh oh", None),
    (
        "/Sends?status=500&reason=Uh%20oh&log_message=internal",
        500,
        "Uh oh",
        None,
        "Uh oh",
        "internal",
    ),
    ("/Sends?status=404", 404, "Not Found", None, "Not Found", None),
    ("/Sends?status=567", 567, "Unknown", None, "Unknown", None),
    ("/Raises?what=400", 400, "Bad Request", "HTTPError", "HTTP 400: Bad Request", None),
    ("/Raises?what=nope", 400, "Nope", "HTTPError", "HTTP 400: Nope", None),
    ("/Raises?what=secret", 400, "Bad Request", "HTTPError", "HTTP 400: Bad Request", None),
    ("/Raises?what=567", 567, "Unknown", "HTTPError", "HTTP 567: Unknown", None),
    (
        "/Raises?what=value",
        500,
        "Internal Server Error",
        "ValueError",
        "Internal Server Error",
        None,
    ),
    (
        "/Raises?what=empty",
        500,
        "Internal Server Error",
        "ValueError",
        "Internal Server Error",
        None,
    ),
    (
        "/MissingArgument",
        400,
        "Bad Request",
        "MissingArgumentError",
        "HTTP 400: Bad Request",
        None,
    ),
]


@pytest.mark.rule(
    "H13.1", "H13.2", "H13.4", "H13.11", "H14.1", "H14.2", "H14.4", "H14.13", "H13.12"
)
@pytest.mark.parametrize(("path", "status", "reason", "kind", "message", "text"), _CAPTURED)
@pytest.mark.gen_test
async def test_every_error_is_one_document_and_one_record(
    path, status, reason, kind, message, text, fetch, log_records
):
    """The table of all ways to fail: status line, document, and the record beside it."""
    response = await fetch(path)

    assert (response.code, response.reason) == (status, reason)
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    document = json.loads(response.body)
    assert document == {
        "type": kind,
        "message": message,
        "traceback": None,
        "request_id": response.headers["X-Request-Id"],
    }
    assert lines_of(log_records) == [
        (
            WARNING if status < 500 else ERROR,
            f"GET {path} failed with {status}: {text or reason}",
        )
    ]


@pytest.mark.rule("H13.3", "H13.17", "H14.9")
@pytest.mark.gen_test
async def test_keywords_that_are_none_count_as_absent(fetch, log_records):
    """As if they had not been given."""
    path = "/Sends?status=409&reason=None&log_message=None&exc_info=None"

    response = await fetch(path)

    assert json.loads(response.body)["message"] == "Conflict"
    assert lines_of(log_records) == [(WARNING, f"GET {path} failed with 409: Conflict")]


@pytest.mark.rule("H13.4", "H13.11")
@pytest.mark.parametrize(
    ("status", "level"),
    [(399, ERROR), (400, WARNING), (456, WARNING), (499, WARNING), (623, ERROR)],
)
@pytest.mark.gen_test
async def test_only_what_the_client_did_wrong_is_a_warning(status, level, fetch, log_records):
    """Odd statuses are errors: nobody meant them."""
    response = await fetch(f"/Sends?status={status}&reason=Odd")

    assert (response.code, response.reason) == (status, "Odd")
    assert [found for found, _ in lines_of(log_records)] == [level]


@pytest.mark.rule("H13.5")
@pytest.mark.parametrize(
    ("what", "has_trace"), [("value", True), ("500", True), ("567", True), ("400", False)]
)
@pytest.mark.gen_test
async def test_what_was_not_expected_is_logged_with_its_traceback(
    what, has_trace, fetch, log_records
):
    """Any exception but an ``HTTPError`` below 500."""
    await fetch(f"/Raises?what={what}")

    (record,) = [record for record in log_records.records if record.channel == "Raises"]
    assert (record.exc_info is not None) is has_trace


@pytest.mark.rule("H13.6")
@pytest.mark.gen_test
async def test_the_records_of_tornado_stay_as_they_were(fetch, caplog):
    """It reports log messages, uncaught exceptions and accesses itself."""
    await fetch("/Raises?what=secret")
    await fetch("/Raises?what=value")

    assert [record.name for record in caplog.records] == [
        "tornado.general",
        "tornado.access",
        "tornado.application",
        "tornado.access",
    ]


class _SeesRecord(web.RequestHandler):
    def write_error(self, status_code, **kwargs):
        self.seen.append((len(self.records.records), kwargs["reason"]))
        self.finish("mine")


@routed
class LogsFirst(ErrorLogger, _SeesRecord):
    def get(self):
        self.send_error(456)


@pytest.mark.rule("H13.7", "H13.12")
@pytest.mark.gen_test
async def test_the_record_is_written_before_the_document(fetch, log_records):
    """The next class finds the record written and the reason among its keywords."""
    LogsFirst.seen, LogsFirst.records = [], log_records

    response = await fetch(LogsFirst)

    assert LogsFirst.seen == [(1, "Unknown")]
    assert response.body == b"mine"


@routed
class WriterFirst(ErrorWriter, ErrorLogger, web.RequestHandler):
    def get(self):
        self.send_error(418, log_message="short and stout")


@routed
class Direct(Both):
    def get(self):
        self.set_status(500)
        self.write_error(500, log_message="direct")


@routed
class DirectWriterFirst(WriterFirst):
    def get(self):
        self.set_status(500)
        self.write_error(500)


@routed
class OverridesWriteError(Both):
    def get(self):
        raise web.HTTPError(409)

    def write_error(self, status_code, **kwargs):
        self.write("mine")


@routed
class FailsInWriteError(OverridesWriteError):
    def write_error(self, status_code, **kwargs):
        raise RuntimeError("worse")


@pytest.mark.rule("H13.8", "H14.5")
@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (WriterFirst, "GET /WriterFirst failed with 418: short and stout"),
        (Direct, "GET /Direct failed with 500: direct"),
        (DirectWriterFirst, "GET /DirectWriterFirst failed with 500: Internal Server Error"),
        (OverridesWriteError, "GET /OverridesWriteError failed with 409: Conflict"),
        (FailsInWriteError, "GET /FailsInWriteError failed with 409: Conflict"),
    ],
)
@pytest.mark.gen_test
async def test_a_request_fails_once(handler, text, fetch, log_records):
    """One record, whatever the order of the bases and whoever wrote the answer."""
    await fetch(handler)

    assert [line for _, line in lines_of(log_records)] == [text]


@pytest.mark.rule("H13.9")
@pytest.mark.gen_test
async def test_not_modified_is_no_error(fetch, log_records):
    """``send_error(304)`` writes no record."""
    response = await fetch("/Sends?status=304")

    assert response.code == 304
    assert lines_of(log_records) == []


@pytest.mark.rule("H13.13")
@pytest.mark.parametrize("what", ["url", "url-os", "unicode"])
@pytest.mark.gen_test
async def test_only_the_reason_of_an_http_error_is_meant_for_clients(what, fetch):
    """Other exceptions have a ``reason`` too, which stays inside."""
    response = await fetch(f"/Raises?what={what}")

    assert (response.code, response.reason) == (500, "Internal Server Error")
    assert b"internal" not in response.body


@pytest.mark.rule("H13.13")
@pytest.mark.gen_test
async def test_a_reason_of_an_exception_that_is_no_text_counts_for_nothing(fetch):
    """Tornado alone fails on it, and the client waits for ever."""
    response = await fetch("/Raises?what=number")

    assert (response.code, response.reason) == (400, "Bad Request")


@routed
class OddReason(Both):
    def get(self):
        self.send_error(400, reason=17)


@pytest.mark.rule("H13.14")
@pytest.mark.gen_test
async def test_a_reason_that_is_no_text_becomes_one(fetch, log_records):
    """For the status line, the document and the record."""
    response = await fetch(OddReason)

    assert response.reason == "17"
    assert json.loads(response.body)["message"] == "17"
    assert lines_of(log_records) == [(WARNING, "GET /OddReason failed with 400: 17")]


@routed
class ForgedReason(Both):
    def get(self):
        raise web.HTTPError(400, reason="a\r\nSet-Cookie: b=<\x1b[31m")


@pytest.mark.rule("H13.15", "H13.16")
@pytest.mark.gen_test
async def test_a_reason_cannot_forge_headers_or_lines(fetch, log_records):
    """It is not in the status line, escaped in the log, and as it is in the document."""
    response = await fetch(ForgedReason)

    assert response.reason == "Unknown"
    assert "Set-Cookie" not in response.headers
    assert json.loads(response.body)["message"] == "HTTP 400: a\r\nSet-Cookie: b=<\x1b[31m"
    assert lines_of(log_records) == [
        (
            WARNING,
            "GET /ForgedReason failed with 400: a\\r\\nSet-Cookie: b=<\\x1b[31m",
        )
    ]


@routed
class Templates(Both):
    def get(self):
        if self.get_query_argument("stdlib", None):
            self.logger = logging.getLogger("stdlib")
        elif self.get_query_argument("braces", None):
            self.logger = Logger("braces")
        self.send_error(400, log_message="100%s %d {} {0.__class__}")


@pytest.mark.rule("H13.1")
@pytest.mark.parametrize("kind", ["percent", "braces", "stdlib"])
@pytest.mark.gen_test
async def test_a_finished_text_is_no_template_for_any_logger(kind, fetch, log_records, caplog):
    """What looks like a template is written as it is."""
    await fetch(f"/Templates?{kind}=1")

    text = f"GET /Templates?{kind}=1 failed with 400: 100%s %d {{}} {{0.__class__}}"
    if kind == "stdlib":
        (record,) = [record for record in caplog.records if record.name == "stdlib"]
        assert record.getMessage() == text
        assert len(record.request_id) == 32
    else:
        assert lines_of(log_records) == [(WARNING, text)]


@pytest.mark.gen_test
async def test_secrets_in_the_address_are_not_logged(fetch, log_records):
    """The log has the address of the request without what opens doors."""
    await fetch("/nowhere?access_token=s3cr3t&page=2")

    assert lines_of(log_records) == [
        (WARNING, "GET /nowhere?access_token=***&page=2 failed with 404: Not Found")
    ]


class _BrokenLogger:
    def warning(self, *args, **kwargs):
        raise RuntimeError("disk full")


@routed
class LoggerFails(Both):
    logger = _BrokenLogger()

    def get(self):
        raise web.HTTPError(404)


class _PickyLogger:
    def __init__(self):
        self.lines = []

    def warning(self, text):
        self.lines.append(text)


@routed
class LoggerIsPicky(LoggerFails):
    logger = _PickyLogger()


@pytest.mark.gen_test
async def test_a_broken_logger_does_not_take_the_answer_away(fetch, caplog):
    """The text goes to Tornado's logger, the document to the client."""
    response = await fetch(LoggerFails)

    assert json.loads(response.body)["type"] == "HTTPError"
    assert "GET /LoggerFails failed with 404: Not Found" in caplog.text


@pytest.mark.gen_test
async def test_a_logger_that_takes_no_fields_gets_the_text_alone(fetch):
    """Loggers of any make will do."""
    await fetch(LoggerIsPicky)

    assert LoggerIsPicky.logger.lines == ["GET /LoggerIsPicky failed with 404: Not Found"]


# -- a response that fails on its way


@routed
class FailsOnItsWay(Both):
    async def get(self):
        if self.get_query_argument("length", None):
            self.set_header("Content-Length", "100")
        self.write("partial")
        await self.flush()
        raise ValueError("too late")


@pytest.mark.rule("H13.10")
@pytest.mark.parametrize("query", ["", "?length=1"])
@pytest.mark.gen_test
async def test_a_response_that_fails_on_its_way_is_seen_to_be_cut(query, fetch_raw, log_records):
    """No last chunk, no end of the promised length; the record has the request's id."""
    path = f"/FailsOnItsWay{query}"

    received, _ = await fetch_raw(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: here-17\r\n\r\n".encode()
    )

    assert b"partial" in received
    assert not received.endswith(b"\r\n0\r\n\r\n")
    (record,) = [record for record in log_records.records if record.channel == "FailsOnItsWay"]
    assert record.message == f"GET {path} failed with 500: Internal Server Error"
    assert record.extra["request_id"] == "here-17"
    assert record.level == ERROR


@pytest.mark.gen_test
async def test_a_response_that_ends_with_the_connection_is_reset(fetch_raw):
    """Where the end of the connection is the end of the response, only a reset tells."""
    _, end = await fetch_raw(b"GET /FailsOnItsWay HTTP/1.0\r\n\r\n")

    assert isinstance(end, ConnectionResetError)


@routed
class FailsWhenFinished(Both):
    async def get(self):
        await self.finish("complete")
        raise ValueError("nobody sees this")


@pytest.mark.gen_test
async def test_a_complete_response_stays_complete(fetch, caplog):
    """What fails afterwards is logged by Tornado, and cuts nothing."""
    response = await fetch(FailsWhenFinished)

    assert response.body == b"complete"
    assert "nobody sees this" in caplog.text


# -- a client that goes away


class _Waits(Both):
    waiting = None

    async def get(self):
        type(self).waiting = self
        await self.wait()

    def on_finish(self):
        type(self).ended = self.get_status()


@routed
class Streams(_Waits):
    ended = None

    async def wait(self):
        while True:
            self.write("x" * 65_536)
            await self.flush()


@routed
class IsCancelled(_Waits):
    ended = None

    def on_connection_close(self):
        self.pending.cancel()

    async def wait(self):
        self.pending = asyncio.get_running_loop().create_future()
        await self.pending


@routed
class IsCancelledAsTask(IsCancelled):
    ended = None

    async def wait(self):
        self.pending = asyncio.current_task()
        await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("handler", "status"), [(Streams, 200), (IsCancelled, 499), (IsCancelledAsTask, 499)]
)
@pytest.mark.gen_test
async def test_a_client_that_goes_away_is_no_error(
    handler, status, http_server, http_port, log_records, caplog
):
    """One record says so, without a traceback; Tornado's own stays out."""
    client = socket.create_connection(("127.0.0.1", http_port))
    client.sendall(f"GET /{handler.__name__} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await wait_until(lambda: handler.waiting is not None)

    client.close()
    await wait_until(lambda: handler.ended is not None)

    assert lines_of(log_records) == [
        (INFO, f"GET /{handler.__name__} abandoned: the client has gone")
    ]
    assert handler.ended == status
    assert "Uncaught exception" not in caplog.text


@routed
class OtherStream(Both):
    def get(self):
        raise iostream.StreamClosedError


@pytest.mark.gen_test
async def test_a_closed_stream_of_somebody_else_is_an_error(fetch, log_records):
    """The client is there, and gets its document."""
    response = await fetch(OtherStream)

    assert response.code == 500
    assert json.loads(response.body)["type"] == "StreamClosedError"
    assert [level for level, _ in lines_of(log_records)] == [ERROR]


# -- the document


@routed
class Traced(Both):
    def get(self):
        try:
            raise LookupError("first")
        except LookupError as error:
            raise ValueError("bad value") from error


@pytest.mark.rule("H14.3", "H14.11")
@pytest.mark.gen_test
async def test_debug_mode_shows_traceback_and_text(app, fetch):
    """Each element ends in a newline; the text is the exception's own."""
    app.settings["serve_traceback"] = True

    document = json.loads((await fetch(Traced)).body)

    assert document["message"] == "bad value"
    assert all(line.endswith("\n") for line in document["traceback"])
    assert document["traceback"][-1] == "ValueError: bad value\n"
    assert web.Application([], debug=True).settings["serve_traceback"] is True


@pytest.mark.rule("H14.11")
@pytest.mark.gen_test
async def test_texts_of_exceptions_are_shown_where_that_is_asked_for(app, fetch):
    """Without their tracebacks; an empty text is an empty text."""
    app.settings["expose_error_messages"] = True

    document = json.loads((await fetch(Traced)).body)
    empty = json.loads((await fetch("/Raises?what=empty")).body)

    assert document["message"] == "bad value"
    assert document["traceback"] is None
    assert empty["message"] == ""


@pytest.mark.gen_test
async def test_a_log_message_is_never_shown(app, fetch):
    """Not even where texts are."""
    app.settings["expose_error_messages"] = True

    response = await fetch("/Raises?what=secret")

    assert b"secret x" not in response.body


@pytest.mark.rule("H14.10")
@pytest.mark.parametrize(("what", "name"), [("falsy", "Falsy"), ("mute", "Mute")])
@pytest.mark.gen_test
async def test_exceptions_may_be_falsy_or_without_a_text(what, name, app, fetch):
    """They are exceptions all the same."""
    app.settings["expose_error_messages"] = True

    document = json.loads((await fetch(f"/Raises?what={what}")).body)

    assert document["type"] == name
    assert document["message"] == ("" if what == "falsy" else "Internal Server Error")


@routed
class SetsThings(Both):
    def get(self):
        self.set_header("X-Mine", "1")
        self.set_header("Location", "/there")
        self.write("half of it")
        raise web.HTTPError(500)


@pytest.mark.rule("H14.6")
@pytest.mark.gen_test
async def test_what_was_meant_for_the_good_case_is_gone(fetch):
    """The headers, and what was written."""
    response = await fetch(SetsThings)

    assert {"X-Mine", "Location"}.isdisjoint(response.headers)
    assert b"half" not in response.body


@routed
class Head(Both):
    def get(self):
        raise web.HTTPError(404)

    head = get


@pytest.mark.rule("H14.7")
@pytest.mark.gen_test
async def test_head_has_the_headers_of_the_document(fetch):
    """The length too, and no body."""
    full = await fetch(Head)
    head = await fetch(Head, method="HEAD")

    assert head.body == b""
    assert head.headers["Content-Length"] == full.headers["Content-Length"]
    assert head.headers["Content-Type"] == full.headers["Content-Type"]


@pytest.mark.rule("H14.8")
@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.gen_test
async def test_a_status_without_a_body_has_none(status, fetch):
    """Neither body nor content type, and no error of its own."""
    response = await fetch(f"/Sends?status={status}")

    assert (response.code, response.body) == (status, b"")
    assert "Content-Type" not in response.headers


@pytest.mark.rule("H14.8")
@pytest.mark.gen_test
async def test_an_informational_status_has_no_body(fetch_raw):
    """The answer is its head."""
    received, _ = await fetch_raw(
        b"GET /Sends?status=103 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )

    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 103 ")
    assert b"Content-Type" not in head
    assert body == b""


@routed
class WriterOnly(ErrorWriter, web.RequestHandler):
    def get(self):
        self.send_error(409, reason=None)


@routed
class LoggerOnly(ErrorLogger, web.RequestHandler):
    def get(self):
        self.send_error(409)


@routed
class LoggingOnly(LoggingHandler, web.RequestHandler):
    def get(self):
        self.send_error(409)


@pytest.mark.rule("H15.1", "H14.9", "H15.2")
@pytest.mark.parametrize(
    ("handler", "is_logged", "is_document"),
    [
        (WriterOnly, False, True),
        (LoggerOnly, True, False),
        (LoggingOnly, False, False),
        (WriterFirst, True, True),
        (OverridesWriteError, True, False),
    ],
)
@pytest.mark.gen_test
async def test_each_mixin_does_its_own_and_nothing_else(
    handler, is_logged, is_document, fetch, log_records
):
    """Who has only one of them gets only that, the rest is Tornado's."""
    response = await fetch(handler)

    assert response.code in (409, 418)
    assert bool(lines_of(log_records)) is is_logged
    assert response.headers["Content-Type"].startswith(
        "application/json" if is_document else "text/html"
    )


@pytest.mark.rule("H15.1")
def test_the_mixins_are_no_handlers():
    """They come before ``RequestHandler`` and do not inherit from it."""
    for mixin in (LoggingHandler, ErrorLogger, ErrorWriter):
        assert not issubclass(mixin, web.RequestHandler)
    assert not issubclass(ErrorWriter, ErrorLogger)


class _WritesToo(web.RequestHandler):
    def write_error(self, status_code, **kwargs):
        raise AssertionError("written twice")


@routed
class WritesOnce(ErrorWriter, _WritesToo):
    def get(self):
        self.send_error(409)


@pytest.mark.rule("H15.2")
@pytest.mark.gen_test
async def test_the_document_is_the_only_answer(fetch):
    """The next class is not asked."""
    response = await fetch(WritesOnce)

    assert json.loads(response.body)["message"] == "Conflict"


@routed
class Message(Both):
    def get(self):
        raise ValueError("internal")

    def get_error_message(self, status_code, **kwargs):
        return f"{status_code}, sorry ({kwargs['reason']})"


@routed
class MessageFails(Message):
    def get_error_message(self, status_code, **kwargs):
        raise RuntimeError("no idea")


@pytest.mark.rule("H14.12")
@pytest.mark.gen_test
async def test_one_method_says_what_clients_read(fetch):
    """It gets the keywords of the error."""
    response = await fetch(Message)

    assert json.loads(response.body)["message"] == "500, sorry (Internal Server Error)"


@pytest.mark.rule("H14.12")
@pytest.mark.gen_test
async def test_a_message_that_fails_is_the_reason(fetch, log_records):
    """And a warning says why."""
    response = await fetch(MessageFails)

    assert json.loads(response.body)["message"] == "Internal Server Error"
    (warning,) = [record for record in log_records.records if record.level == WARNING]
    assert warning.message == "GET /MessageFails: get_error_message() failed"
    assert warning.exc_info is not None


@routed
class Huge(Both):
    def get(self):
        raise web.HTTPError(400, reason="\ud800x" * 1_000_000)


@pytest.mark.gen_test
async def test_a_message_may_be_huge_and_no_unicode(fetch):
    """It arrives shortened, as text that every parser takes."""
    response = await fetch(Huge)

    message = json.loads(response.body)["message"]
    assert message.startswith("HTTP 400: �x�x")
    assert message.endswith("…")
    assert len(response.body) < 200_000


@pytest.mark.gen_test
async def test_the_document_is_written_even_if_it_cannot_be_made(fetch, monkeypatch):
    """What is left is the original status in a document of constants."""

    def fail(*args, **kwargs):
        raise RuntimeError("cannot")

    monkeypatch.setattr(mixins.documents, "public_document", fail)

    response = await fetch("/Raises?what=nope")

    assert (response.code, response.reason) == (400, "Nope")
    assert json.loads(response.body) == {
        "type": None,
        "message": "Bad Request",
        "traceback": None,
        "request_id": response.headers["X-Request-Id"],
    }


# -- headers of the error


@routed
class Reads(Both):
    def get(self):
        self.write("read")

    def put(self):
        self.write("written")


@routed
class ReadsHead(Reads):
    def head(self):
        pass

    def options(self):
        pass


@pytest.mark.rule("H14.13")
@pytest.mark.parametrize(
    ("handler", "allowed"), [(Reads, "GET, PUT"), (ReadsHead, "GET, HEAD, PUT, OPTIONS")]
)
@pytest.mark.parametrize("method", ["DELETE", "BREW"])
@pytest.mark.gen_test
async def test_a_method_that_is_not_allowed_is_told_which_are(handler, allowed, method, fetch):
    """Those that the class has written, and no others."""
    response = await fetch(handler, method=method, allow_nonstandard_methods=True)

    assert response.code == 405
    assert set(response.headers["Allow"].split(", ")) == set(allowed.split(", "))
    assert json.loads(response.body)["message"] == "HTTP 405: Method Not Allowed"


@routed
class SetsAllow(Both):
    def get(self):
        self.set_header("Allow", "POST")
        raise web.HTTPError(405)


@pytest.mark.gen_test
async def test_an_allow_header_of_the_handlers_own_stands(fetch):
    """It knows better what is allowed now."""
    assert (await fetch(SetsAllow)).headers["Allow"] == "POST"


@routed
class Throttles(Both):
    error_headers = ("X-RateLimit-Reset",)

    def set_default_headers(self):
        self.set_header("Vary", "Origin")

    def get(self):
        self.set_header("Retry-After", "30")
        self.add_header("WWW-Authenticate", 'Basic realm="a"')
        self.add_header("WWW-Authenticate", 'Bearer realm="b"')
        self.add_header("Vary", "Cookie")
        self.set_header("x-ratelimit-reset", "17")
        self.set_header("X-Named-In-Settings", "18")
        self.set_header("X-Other", "19")
        raise web.HTTPError(429)


@pytest.mark.gen_test
async def test_headers_that_belong_to_the_error_stay(app, fetch):
    """The well-known ones, and those that the class and the settings name."""
    app.settings["error_headers"] = ["x-named-in-settings"]

    headers = (await fetch(Throttles)).headers

    assert headers["Retry-After"] == "30"
    assert headers.get_list("WWW-Authenticate") == ['Basic realm="a"', 'Bearer realm="b"']
    assert headers["X-RateLimit-Reset"] == "17"
    assert headers["X-Named-In-Settings"] == "18"
    assert headers["Vary"] == "Origin, Cookie, Accept"
    assert "X-Other" not in headers


# -- unrouted addresses


@pytest.mark.rule("H14.14")
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "BREW"])
@pytest.mark.gen_test
async def test_an_unrouted_address_has_the_same_document(method, fetch, log_records):
    """With any method, and without a check for forged requests."""
    response = await fetch("/nowhere", method=method, allow_nonstandard_methods=True)

    assert response.code == 404
    assert json.loads(response.body) == {
        "type": "HTTPError",
        "message": "HTTP 404: Not Found",
        "traceback": None,
        "request_id": response.headers["X-Request-Id"],
    }
    assert lines_of(log_records) == [(WARNING, f"{method} /nowhere failed with 404: Not Found")]


@pytest.mark.gen_test
async def test_an_error_handler_may_be_routed_with_another_status(app, fetch):
    """As Tornado's own."""
    app.add_handlers(".*", [("/gone", ErrorHandler, {"status_code": 410})])

    assert (await fetch("/gone")).code == 410


# -- the problem document


@routed
class SoldOut(Both):
    def get(self):
        raise Problem(
            409,
            detail="Two are left",
            type="https://example.com/sold-out",
            title="Sold out",
            left=2,
            errors=[{"detail": "too many", "pointer": "#/number"}],
        )


@routed
class BadExtension(Both):
    def get(self):
        raise Problem(409, detail="Two are left", until=dt.datetime(2030, 1, 1))


_PROBLEM = {"Accept": "application/problem+json"}


@pytest.mark.gen_test
async def test_a_problem_says_what_its_author_wrote(fetch, log_records):
    """With the status and the names of the request and its trace."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {
        **_PROBLEM,
        "X-Request-Id": "edge-17",
        "Traceparent": f"00-{trace}-00f067aa0ba902b7-01",
    }

    response = await fetch(SoldOut, headers=headers)

    assert response.code == 409
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Vary"] == "Accept"
    assert json.loads(response.body) == {
        "type": "https://example.com/sold-out",
        "title": "Sold out",
        "status": 409,
        "detail": "Two are left",
        "instance": "urn:request-id:edge-17",
        "request_id": "edge-17",
        "trace_id": trace,
        "left": 2,
        "errors": [{"detail": "too many", "pointer": "#/number"}],
    }
    assert lines_of(log_records) == [
        (WARNING, "GET /SoldOut failed with 409: Conflict: Two are left")
    ]


@pytest.mark.gen_test
async def test_a_problem_is_the_plain_document_for_everybody_else(fetch):
    """Its detail is the message."""
    document = json.loads((await fetch(SoldOut)).body)

    assert (document["type"], document["message"]) == ("Problem", "HTTP 409: Two are left")


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/Raises?what=nope", "Nope"),
        ("/Raises?what=secret", None),
        ("/Raises?what=value", None),
        ("/Sends?status=404", None),
        ("/Sends?status=404&reason=No%20widget", "No widget"),
        ("/Message", "500, sorry (Internal Server Error)"),
    ],
)
@pytest.mark.gen_test
async def test_a_detail_is_what_somebody_wrote_for_clients(path, detail, app, fetch):
    """Never the text of an exception, nor a log message."""
    app.settings["expose_error_messages"] = True

    response = await fetch(path, headers=_PROBLEM)

    problem = json.loads(response.body)
    assert problem["status"] == response.code
    assert problem["type"] == "about:blank"
    assert problem.get("detail") == detail
    assert problem["instance"] == f"urn:uuid:{uuid_of(response.headers['X-Request-Id'])}"


def uuid_of(text):
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


@pytest.mark.gen_test
async def test_a_problem_has_exception_and_traceback_in_debug_mode_only(app, fetch):
    """As extensions, in the form of the plain document."""
    assert "traceback" not in json.loads((await fetch(Traced, headers=_PROBLEM)).body)
    app.settings["serve_traceback"] = True

    problem = json.loads((await fetch(Traced, headers=_PROBLEM)).body)

    assert problem["exception"] == "ValueError: bad value"
    assert problem["traceback"][-1] == "ValueError: bad value\n"


@pytest.mark.gen_test
async def test_an_extension_that_is_no_json_is_left_out(fetch, log_records):
    """And a warning says so."""
    response = await fetch(BadExtension, headers=_PROBLEM)

    problem = json.loads(response.body)
    assert problem["detail"] == "Two are left"
    assert "until" not in problem
    assert "GET /BadExtension: cannot encode the extensions of a problem" in [
        text for _, text in lines_of(log_records)
    ]


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/problem+json;q=0"])
@pytest.mark.gen_test
async def test_a_problem_has_to_be_asked_for_by_name(accept, fetch):
    """Whoever says ``*/*`` gets the plain document."""
    response = await fetch(SoldOut, headers={"Accept": accept})

    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["Vary"] == "Accept"


@pytest.mark.parametrize("name", ["status", "instance", "request_id", "traceback"])
def test_an_extension_cannot_take_a_members_name(name):
    """What the document says of itself is not the author's to say."""
    with pytest.raises(ValueError, match=f"'{name}' is a member of every problem"):
        Problem(400, **{name: 1})


@pytest.mark.parametrize("name", ["no", "1st", "a-b", "ünd", "_private"])
def test_an_extension_has_a_name_that_clients_can_use(name):
    """Letters, digits and underscores, three at least, a letter first."""
    with pytest.raises(ValueError, match="cannot name an extension"):
        Problem(400, **{name: 1})


def test_a_problem_reads_as_what_it_says():
    """The detail, or else the reason."""
    assert str(Problem(409, detail="Two are left")) == "HTTP 409: Two are left"
    assert str(Problem(409, reason="Sold Out")) == "HTTP 409: Sold Out"
    assert str(Problem(409)) == "HTTP 409: Conflict"
