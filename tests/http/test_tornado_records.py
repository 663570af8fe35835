"""Tornado's own records: without secrets, and without clients that only went away."""

import asyncio
import contextvars
import logging
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado import httputil, web
from tornado.iostream import StreamClosedError
from tornado.testing import AsyncHTTPTestCase

from sprockets.http import _request_context, _tornado_records
from sprockets.http._tornado_records import LOGGERS, TornadoFilter
from sprockets.http.app import Application

SECRET = "canary-4711"


def make_request(uri):
    return httputil.HTTPServerRequest(
        start_line=httputil.RequestStartLine("GET", uri, "HTTP/1.1"),
        connection=SimpleNamespace(context=None, set_close_callback=lambda callback: None),
        headers=httputil.HTTPHeaders(Host="localhost"),
    )


def record_of(message, *arguments, error=None):
    exc_info = None if error is None else (type(error), error, None)
    return logging.LogRecord("tornado.general", logging.ERROR, "", 1, message, arguments, exc_info)


def filtered(message, *arguments, error=None):
    """Return whether such a record passes, and its text."""
    record = record_of(message, *arguments, error=error)
    passes = TornadoFilter().filter(record)
    return passes, record.getMessage()


# -- scrubbing


def test_a_request_is_shown_without_its_secrets():
    """As Tornado shows the one whose handler failed, and that is all that changes."""
    shown = f"/pay?user=ann&token={SECRET}"

    passes, text = filtered("Uncaught exception %s\n%r", "GET /pay (::1)", make_request(shown))

    assert passes
    assert text == "Uncaught exception GET /pay (::1)\n" + repr(make_request(shown)).replace(
        SECRET, "***"
    )


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (f"GET /pay?token={SECRET} (127.0.0.1)", "GET /pay?token=*** (127.0.0.1)"),
        (f"https://ann:{SECRET}@example.org/", "https://***@example.org/"),
        ("what? nothing", "what? nothing"),
        ("plain text", "plain text"),
        (404, "404"),
        (None, "None"),
    ],
)
def test_texts_are_shown_without_secrets_of_urls(argument, expected):
    """Others stay as they are."""
    assert filtered("it is %s", argument) == (True, f"it is {expected}")


@pytest.mark.parametrize(
    "arguments", [(), ({"url": "/x"},), (3, 4.5)], ids=["none", "a mapping", "numbers"]
)
def test_records_without_texts_are_left_alone(arguments):
    """Whatever their arguments are."""
    record = record_of("no text" if not arguments else "%s" * len(arguments), *arguments)
    before = record.args, record.getMessage()

    assert TornadoFilter().filter(record) is True
    assert (record.args, record.getMessage()) == before


def test_a_template_of_names_still_finds_them():
    """Logging takes a single mapping as the arguments of such a template."""
    assert filtered("%(url)s", {"url": "/x"}) == (True, "/x")


@pytest.mark.parametrize("odd", ["\\", "'\"", "\x80", "\xad"])
def test_a_url_with_odd_characters_is_scrubbed_too(odd):
    """They are written with a backslash where the request is shown."""
    _, text = filtered("%r", make_request(f"/pay?x={odd}b&token={SECRET}&y=1"))

    assert SECRET not in text
    assert "token=***" in text


@given(
    before=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\'")),
    after=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\'")),
)
def test_a_token_is_scrubbed_whatever_is_around_it(before, after):
    """In a URL that a client may send."""
    uri = f"/{before}?token={SECRET}&{after}"

    assert SECRET not in filtered("%r", make_request(uri))[1]
    assert SECRET not in filtered("%s", f"GET {uri} (::1)")[1]


@given(text=st.text(max_size=60))
def test_no_text_makes_the_filter_fail(text):
    """Else the record would be lost, and the request with it."""
    passes, shown = filtered("%s %r", text, text)

    assert passes
    assert shown


# -- clients that went away


def in_request(function, **known):
    """Call *function* in the context of a request that looks so."""
    request = SimpleNamespace(
        client_is_gone=known.get("client_is_gone", False),
        is_over=known.get("is_over", False),
        stream=SimpleNamespace(closed=lambda: known.get("is_closed", False)),
    )
    context = contextvars.copy_context()
    context.run(_request_context._current.set, request)
    return context.run(function)


GONE = [{"client_is_gone": True}, {"is_closed": True}]
CUT = "Cannot send error response after headers written"
FLUSH = "Failed to flush partial response"


@pytest.mark.parametrize("known", GONE)
@pytest.mark.parametrize(
    ("message", "error"),
    [("Uncaught exception", StreamClosedError()), (CUT, None), (FLUSH, StreamClosedError())],
)
def test_what_only_says_that_a_client_went_away_is_dropped(known, message, error):
    """It is no error of the handler's; the request is counted elsewhere."""
    assert in_request(lambda: filtered(message, error=error), **known)[0] is False


@pytest.mark.parametrize("known", GONE)
@pytest.mark.parametrize("error", [None, ValueError("another"), OSError("another")])
def test_other_errors_of_such_a_request_are_kept(known, error):
    """Its handler may have a fault of its own."""
    assert in_request(lambda: filtered("Uncaught exception", error=error), **known)[0] is True


@pytest.mark.parametrize(
    "known", [{}, {"is_over": True, "is_closed": True}], ids=["still there", "answered"]
)
@pytest.mark.parametrize("message", [CUT, FLUSH, "Uncaught exception"])
def test_the_same_records_of_other_requests_are_kept(known, message):
    """A stream that is closed once the answer is complete is closed by us."""
    assert in_request(lambda: filtered(message, error=StreamClosedError()), **known)[0] is True


def test_the_same_records_outside_of_requests_are_kept():
    """Whoever wrote them means something else."""
    assert filtered(FLUSH, error=StreamClosedError())[0] is True


# -- installed


def test_the_filter_is_put_on_tornados_loggers_and_taken_away():
    """Those for errors; others stay as they were."""
    before = {name: list(logging.getLogger(name).filters) for name in (*LOGGERS, "tornado.access")}

    found = _tornado_records.install()
    during = {name: list(logging.getLogger(name).filters) for name in before}
    _tornado_records.remove(found)
    after = {name: list(logging.getLogger(name).filters) for name in before}

    assert set(LOGGERS) == {"tornado.application", "tornado.general"}
    for name in LOGGERS:
        assert during[name] == [*before[name], found]
    assert during["tornado.access"] == before["tornado.access"]
    assert after == before


class Failing(web.RequestHandler):
    def get(self):
        raise LookupError("it fails")


class TestFailingHandlers(AsyncHTTPTestCase):
    """With Tornado's own words."""

    def get_app(self):
        return Application([("/fails", Failing)])

    def setUp(self):
        super().setUp()
        found = _tornado_records.install()
        self.addCleanup(_tornado_records.remove, found)

    def shown_of(self, data):
        """Return what Tornado's record shows of a request that is sent so."""

        async def send():
            reader, writer = await asyncio.open_connection("127.0.0.1", self.get_http_port())
            writer.write(data + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

        with self.assertLogs("tornado.application") as logs:
            answer = self.io_loop.run_sync(send, 5)
        assert answer.startswith(b"HTTP/1.1 500 ")
        (record,) = logs.records
        return logging.Formatter().format(record)

    def test_the_record_of_a_failing_handler_has_no_secret(self):
        """The request's address is there, its token is not."""
        text = self.shown_of(f"GET /fails?token={SECRET}".encode())

        assert "token=***" in text
        assert "LookupError: it fails" in text
        assert SECRET not in text

    def test_a_backslash_does_not_bring_the_secret_back(self):
        """Tornado lets it pass in a request's target."""
        assert SECRET not in self.shown_of(f"GET /fails?x=\\&token={SECRET}&y".encode())


def test_nothing_is_installed_by_an_import():
    """A program may use the mixins alone."""
    assert "sprockets.http._tornado_records" in sys.modules
    assert not any(
        isinstance(each, TornadoFilter)
        for name in LOGGERS
        for each in logging.getLogger(name).filters
    )
