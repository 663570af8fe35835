"""The documents by themselves: what is in them, and above all what is not."""

import asyncio
import json
import string

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from sprockets.http import _error_document as documents
from sprockets.http.mixins import ErrorLogger, ErrorWriter, Problem
from sprockets.logbook import NullHandler

_ID = "6d0c7a0e3d6a4f0f9b6d1c2b3a495867"


# -- which document


@pytest.mark.parametrize(
    ("accept", "alternative", "wants"),
    [
        (None, "application/json", False),
        ("", "application/json", False),
        ("*/*", "application/json", False),
        ("application/*", "application/json", False),
        ("application/json", "application/json", False),
        ("application/problem+json", "application/json", True),
        ("APPLICATION/Problem+JSON", "application/json", True),
        ("application/problem+json;q=0", "application/json", False),
        ("application/problem+json;q=0.000", "application/json", False),
        ("application/problem+json;q=nan", "application/json", False),
        ("application/problem+json;q=0.1", "application/json", True),
        ("application/problem+json, application/json", "application/json", True),
        ("application/json, application/problem+json;q=0.5", "application/json", False),
        ("application/json;q=0.4, application/problem+json;q=0.5", "application/json", True),
        ("text/html, application/problem+json;q=0.5", "application/json", True),
        ("*/*, application/problem+json;q=0.5", "application/json", False),
        ("*/*;q=0.1, application/problem+json;q=0.5", "application/json", True),
        ("application/*, application/problem+json;q=0.5", "application/json", False),
        ("application/json;q=0.2, */*, application/problem+json;q=0.5", "application/json", True),
        ("application/msgpack, application/problem+json;q=0.5", "application/msgpack", False),
        ("application/msgpack, application/problem+json;q=0.5", "application/json", True),
        ("application/problem+json;charset=utf-8 ; q=0.9", "application/json", True),
        ("application/problem+xml", "application/json", False),
        (f"{'x' * 5000}, application/problem+json", "application/json", True),
    ],
)
def test_a_problem_is_for_those_who_name_it_and_like_it_best(accept, alternative, wants):
    """Quality values count, and wildcards count for the alternative only."""
    assert documents.wants_problem(accept, alternative) is wants


@given(accept=st.text())
def test_no_accept_header_is_too_strange(accept):
    """There is an answer for everything."""
    assert documents.wants_problem(f"problem {accept}") in (True, False)


@given(accept=st.lists(st.integers(), min_size=1, max_size=20))
def test_what_clients_send_is_bounded_before_it_is_remembered(accept):
    """Long headers are not kept."""
    before = documents._prefers_problem.cache_info().currsize

    documents.wants_problem(f"problem/{'x' * 2000}{accept}")

    assert documents._prefers_problem.cache_info().currsize == before


# -- the texts


@given(text=st.text(st.characters(codec=None)))
@example(text="\ud800")
@example(text="\udc00\ud800")
@example(text="x" * 100_000)
def test_a_clean_text_is_bounded_unicode(text):
    """Whatever it was, every encoder takes it; what was fine is unchanged."""
    clean = documents.clean_text(text)

    clean.encode("utf-8")
    assert len(clean) <= documents.MAX_TEXT
    if len(text) <= documents.MAX_TEXT and not any("\ud800" <= c <= "\udfff" for c in text):
        assert clean == text


@given(request_id=st.text(st.characters(codec="utf-8"), min_size=1))
def test_an_instance_is_a_uri_in_ascii(request_id):
    """Every id has one, without spaces or characters that no URI has."""
    instance = documents.instance_of(request_id)

    assert instance.startswith("urn:")
    assert set(instance) <= set(string.ascii_letters + string.digits + ":-._~%/")


@pytest.mark.rule("H13.13", "H13.14")
@pytest.mark.parametrize(
    ("status", "reason", "exception", "resolved"),
    [
        (500, None, None, "Internal Server Error"),
        (567, None, None, "Unknown"),
        (500, "Uh oh", None, "Uh oh"),
        (500, "", None, ""),
        (500, 17, None, "17"),
        (400, None, web.HTTPError(400, reason="Nope"), "Nope"),
        (400, None, web.HTTPError(400, reason=17), "Bad Request"),
        (400, "Mine", web.HTTPError(400, reason="Nope"), "Mine"),
        (500, None, UnicodeDecodeError("utf-8", b"", 0, 1, "internal"), "Internal Server Error"),
    ],
)
def test_a_reason_is_given_or_an_http_errors_or_the_standard_one(
    status, reason, exception, resolved
):
    """In this order, and no other exception's."""
    assert documents.resolve_reason(status, reason, exception) == resolved


@given(
    kind=st.sampled_from([None, ValueError(), KeyError("x")]),
    message=st.text(),
    trace=st.none() | st.lists(st.text()),
)
def test_the_plain_document_is_what_json_would_make_of_it(kind, message, trace):
    """It is written by hand, and reads the same."""
    document = documents.make_document(kind, message, trace, _ID)

    body = documents.encode_document(document)

    assert json.loads(body) == document
    assert body.isascii()
    assert list(document) == ["type", "message", "traceback", "request_id"]


@given(
    status=st.integers(100, 999),
    reason=st.text(),
    exception=st.sampled_from([None, ValueError("x"), web.HTTPError(400, "x")]),
    request_id=st.text(st.characters(codec="ascii")),
)
@example(status=400, reason="\ud800" * 20_000, exception=None, request_id="")
def test_the_short_way_to_a_document_leads_to_the_same(status, reason, exception, request_id):
    """It is what the long way makes of an error that is told nothing special about."""
    message = documents.public_message(status, reason, exception, expose=False)
    document = documents.make_document(exception, message, None, request_id)

    short = documents.public_document(status, reason, exception, request_id)

    assert short == documents.encode_document(document)


@pytest.mark.parametrize("status", [400, 404, 500, 567])
def test_a_document_of_constants_says_the_status(status):
    """For when nothing else can be said."""
    plain = json.loads(documents.plain_document(status, _ID))
    problem = json.loads(documents.plain_problem(status, _ID))

    phrase = documents.phrase_of(status)
    assert plain == {"type": None, "message": phrase, "traceback": None, "request_id": _ID}
    assert problem == {
        "type": "about:blank",
        "title": phrase,
        "status": status,
        "instance": "urn:uuid:6d0c7a0e-3d6a-4f0f-9b6d-1c2b3a495867",
        "request_id": _ID,
    }


def test_a_traceback_that_cannot_be_formatted_is_none(monkeypatch):
    """An exception may be too broken for the traceback module."""

    def fail(*args, **kwargs):
        raise RuntimeError("cannot")

    monkeypatch.setattr(documents.traceback, "format_exception", fail)

    assert documents.format_exception(ValueError()) is None


# -- what stays inside

_CANARY = "c4n4ry-5ecret"


def pack(value):
    """Return *value* as msgpack, as far as documents need it."""
    if value is None:
        return b"\xc0"
    if isinstance(value, str):
        data = value.encode("utf-8")
        return b"\xdb" + len(data).to_bytes(4, "big") + data
    return (
        b"\xdf"
        + len(value).to_bytes(4, "big")
        + b"".join(pack(name) + pack(member) for name, member in value.items())
    )


class _Fails(ErrorLogger, ErrorWriter, web.RequestHandler):
    fail = None

    async def get(self):
        if self.get_query_argument("packed", None):
            self.send_response = self.send_packed
        self.fail()

    def send_packed(self, document):
        self.set_header("Content-Type", "application/msgpack")
        self.write(pack(document))


class _Service:
    """A server in a loop of its own, for tests that Hypothesis runs many times."""

    def __init__(self):
        self.loop = IOLoop(make_current=False)
        self.loop.asyncio_loop.run_until_complete(self._start())

    async def _start(self):
        sock, self.port = bind_unused_port()
        self.server = HTTPServer(web.Application([("/", _Fails)]))
        self.server.add_socket(sock)

    def fetch(self, path, accept):
        return self.loop.asyncio_loop.run_until_complete(self._fetch(path, accept))

    async def _fetch(self, path, accept):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: {accept}\r\n\r\n".encode()
        )
        try:
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()

    def close(self):
        self.server.stop()
        self.loop.asyncio_loop.run_until_complete(self.server.close_all_connections())
        self.loop.close(all_fds=True)


@pytest.fixture(scope="module", name="service")
def _service():
    service = _Service()
    yield service
    service.close()


def with_cause(error, cause):
    error.__cause__ = cause
    return error


def with_note(error, note):
    error.add_note(note)
    return error


_canaries = st.builds(
    lambda before, after: f"{before}{_CANARY}{after}", st.text(max_size=5), st.text(max_size=5)
)
_types = st.sampled_from(
    [ValueError, KeyError, OSError, RuntimeError, LookupError, StopIteration, AssertionError]
)
_statuses = st.sampled_from([400, 401, 404, 409, 499, 500, 503, 567])
_plain_errors = st.builds(lambda kind, text: kind(text), _types, _canaries)
_http_errors = st.one_of(
    st.builds(web.HTTPError, _statuses, _canaries.map(lambda text: text.replace("%", "%%"))),
    st.builds(lambda status, text: web.HTTPError(status, "%s", text), _statuses, _canaries),
    st.builds(
        lambda status, text: Problem(status, detail="for clients", log_message=text),
        _statuses,
        _canaries,
    ),
    st.builds(web.MissingArgumentError, _canaries),
)
_errors = st.one_of(_plain_errors, _http_errors)
_all_errors = st.one_of(
    _errors,
    st.builds(with_cause, _errors, _plain_errors),
    st.builds(with_note, _errors, _canaries),
    st.builds(lambda text, inner: ExceptionGroup(text, [inner]), _canaries, _plain_errors),
)


@pytest.mark.rule("H14.4")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    error=_all_errors,
    log_message=st.none() | _canaries,
    accept=st.sampled_from(["*/*", "application/json", "application/problem+json"]),
    path=st.sampled_from(["/", "/?packed=1"]),
    is_sent=st.booleans(),
)
def test_nothing_of_the_inside_is_told_outside(service, error, log_message, accept, path, is_sent):
    """No text, log message, cause, note or group of any exception is in status, headers or body."""

    def fail(handler):
        if not is_sent:
            raise error
        try:
            raise error
        except Exception as caught:
            handler.send_error(
                getattr(caught, "status_code", 500),
                exc_info=(type(caught), caught, caught.__traceback__),
                log_message=log_message,
            )

    _Fails.fail = fail

    with NullHandler().applicationbound():
        response = service.fetch(path, accept)

    assert response.startswith(b"HTTP/1.1 ")
    assert b"X-Request-Id" in response
    assert _CANARY.encode() not in response
    body = response.partition(b"\r\n\r\n")[2]
    if b"application/msgpack" in response:
        assert body.startswith(b"\xdf\x00\x00\x00\x04")
    else:
        assert _CANARY not in json.dumps(json.loads(body))
