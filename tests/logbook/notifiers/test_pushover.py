"""Pushover: what the service gets, and what becomes of messages that it does not take."""

import http.client
import socket
import ssl
import subprocess
import sys
import textwrap
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook import Logger, LogRecord
from sprockets.logbook.delivery import PermanentError, RetryLater, Spool
from sprockets.logbook.notifiers import PushoverHandler
from tests.logbook.notifiers.conftest import QUICK, wait_until

log = Logger("till")
REFUSED = b'{"user":"invalid","errors":["user identifier is invalid"],"status":0}'


def handler_for(service, **options):
    """Return a handler that sends there, and tries again quickly."""
    options = {"apikey": "K", "userkey": "U", "backoff": QUICK, **options}
    return PushoverHandler(api_url=service.url, **options)


def send(handler, *texts):
    """Have *handler* send what it makes of some records."""
    with handler:
        for text in texts:
            log.error("{}", text)
    assert handler.close(20)


def immediate(service, **options):
    """Return a handler whose errors are its caller's."""
    return handler_for(service, immediate=True, **options)


def record(text="x"):
    return LogRecord("till", 14, text)


# -- what is sent


class FakeConnection:
    """Stands in for the HTTPS connection: keeps what is asked of it, and answers 200."""

    made = []  # noqa: RUF012 - emptied by the test

    def __init__(self, host, **options):
        self.host = host
        self.options = options
        self.is_closed = False
        self.made.append(self)

    def request(self, *arguments):
        self.arguments = arguments

    def getresponse(self):
        return self

    status = 200

    def read(self, amount=None):
        return b'{"status":1}'

    def getheaders(self):
        return [("X-Limit-App-Remaining", "7496")]

    def close(self):
        self.is_closed = True


@pytest.mark.rule("NO-11", "NO-14", "NO-16", "NO-17")
@pytest.mark.parametrize("is_replaced", [False, True], ids=["passed", "replaced"])
def test_the_request_is_what_the_service_asks_for(monkeypatch, is_replaced):
    """Host, method, path, content type and form, byte for byte."""
    monkeypatch.setattr(FakeConnection, "made", [])
    options = {}
    if is_replaced:
        monkeypatch.setattr(http.client, "HTTPSConnection", FakeConnection)
    else:
        options["connection_class"] = FakeConnection
    handler = PushoverHandler(apikey="K", userkey="U", **options)

    send(handler, "ä b&c")

    (connection,) = FakeConnection.made
    method, path, body, headers = connection.arguments
    assert connection.host == "api.pushover.net"
    assert connection.options["timeout"] == 10
    assert connection.options["context"].verify_mode is ssl.CERT_REQUIRED
    assert (method, path) == ("POST", "/1/messages.json")
    assert body == "token=K&user=U&message=%C3%A4+b%26c&priority=0"
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert connection.is_closed
    assert handler.statistics()["remaining"] == 7496


@pytest.mark.rule("NO-11", "NO-14")
def test_title_device_and_sound_are_sent_if_they_are_given(serve):
    """The application's name is the title."""
    service = serve()
    handler = handler_for(
        service, application_name="shop", device="ann", sound="siren", priority=-1
    )

    send(handler, "jammed")

    (form,) = service.forms
    assert form == {
        "token": "K",
        "user": "U",
        "message": "jammed",
        "priority": "-1",
        "title": "shop",
        "device": "ann",
        "sound": "siren",
    }
    ((path, headers, _),) = service.requests
    assert path == "/1/messages.json"
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.rule("NO-1", "NO-14")
def test_without_a_name_there_is_no_title(serve):
    """Pushover then shows the name that belongs to the key."""
    handler = handler_for(serve())

    assert handler.application_name is None
    assert handler.title is None
    handler.close()


@pytest.mark.rule("NO-12")
@pytest.mark.parametrize(
    ("given_priority", "sent"), [(-3, 0), (-2, -2), (0, 0), (1, 1), (2, 0), (3, 0)]
)
def test_a_priority_out_of_range_is_none(given_priority, sent):
    """2 as well, without what it needs."""
    handler = PushoverHandler(None, "K", "U", priority=given_priority)

    assert handler.priority == sent
    handler.close()


def test_an_emergency_says_how_often_and_how_long(serve):
    """With both numbers, priority 2 is one."""
    service = serve()
    handler = handler_for(service, priority=2, retry=60, expire=3600)

    send(handler, "fire")

    (form,) = service.forms
    assert (form["priority"], form["retry"], form["expire"]) == ("2", "60", "3600")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"retry": 60}, "retry and expire belong together"),
        ({"expire": 60}, "retry and expire belong together"),
        ({"retry": 29, "expire": 60}, "retry must be at least 30 seconds, got 29"),
        ({"retry": 30, "expire": 10_801}, "expire must be 1 to 10800 seconds, got 10801"),
        ({"api_url": "ftp://example.com/"}, "not an http or https address: ftp://example.com"),
        ({"api_url": "https://ann:secret@example.com/"}, "not an http or https address"),
    ],
)
def test_what_the_service_would_refuse_is_an_error_at_once(options, text):
    """The caller's line is where it is to be seen; a password in an address is not."""
    with pytest.raises(ValueError, match=text) as caught:
        PushoverHandler(None, "K", "U", priority=2, **options)

    assert "secret" not in str(caught.value)


def test_a_subclass_says_which_priority_a_record_has(serve):
    """Only what the service takes is sent."""

    class Louder(PushoverHandler):
        def get_priority(self, record):
            return 1 if record.level > 13 else 2

    service = serve()
    handler = Louder(None, "K", "U", api_url=service.url)

    with handler:
        log.error("a")
        log.info("b")
    assert handler.close(20)

    assert [form["priority"] for form in service.forms] == ["1", "0"]


@pytest.mark.rule("NO-13")
@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (10, "0123456..."),
        (13, "0123456789ABC"),
        (12, "012345678..."),
        (3, "..."),
        (2, "01"),
        (1, "0"),
        (0, "0123456789ABC"),
        (-5, "0123456789ABC"),
        (None, "0123456789ABC"),
    ],
)
def test_cropping(limit, text):
    """Dots where there is room for them; never longer than before."""
    assert PushoverHandler._crop("0123456789ABC", limit) == text


@pytest.mark.rule("NO-13")
@given(st.text(max_size=50), st.integers(min_value=1, max_value=60))
def test_nothing_cropped_is_longer_than_it_may_be(text, limit):
    """Nor longer than it was; what fits stays."""
    cropped = PushoverHandler._crop(text, limit)

    assert len(cropped) <= min(limit, len(text))
    assert (cropped == text) == (len(text) <= limit) or limit < 3


@pytest.mark.rule("NO-13", "NO-15")
@pytest.mark.parametrize(
    ("options", "title", "message"),
    [
        ({}, 100, 512),
        ({"max_title_len": 20, "max_message_len": 30}, 20, 30),
        ({"max_title_len": None, "max_message_len": None}, 250, 1024),
        ({"max_title_len": 0, "max_message_len": -1}, 250, 1024),
        ({"max_title_len": 9999, "max_message_len": 9999}, 250, 1024),
    ],
)
def test_no_limit_exceeds_that_of_the_service(serve, options, title, message):
    """Which would refuse the message."""
    service = serve()
    handler = handler_for(service, application_name="t" * 3000, **options)

    send(handler, "m" * 3000)

    (form,) = service.forms
    assert form["title"] == "t" * (title - 3) + "..."
    assert form["message"] == "m" * (message - 3) + "..."


def test_a_blank_message_says_where_it_comes_from(serve):
    """The service refuses those that say nothing."""
    service = serve()

    send(handler_for(service), " ")

    assert service.forms[0]["message"] == "till: Error"


@pytest.mark.rule("NO-3")
def test_the_limit_is_asked_first(serve, clock):
    """What it refuses reaches nobody; the next message says how many that were."""
    service = serve()
    handler = handler_for(service, record_limit=1, record_delta=3600, clock=clock)

    with handler:
        for number in range(5):
            if number == 4:
                clock.seconds += 3601
            log.error("jammed {}", number)
    assert handler.close(20)

    assert [form["message"] for form in service.forms] == [
        "jammed 0",
        "jammed 4\n(and 3 more like it)",
    ]


@pytest.mark.rule("NO-3", "NO-13")
def test_a_tiny_limit_leaves_the_number_out(serve, clock):
    """Rather than the message."""
    service = serve()
    handler = handler_for(service, record_limit=1, max_message_len=8, clock=clock)

    with handler:
        for number in range(3):
            if number == 2:
                clock.seconds += 61
            log.error("jammed again")
    assert handler.close(20)

    assert [form["message"] for form in service.forms] == ["jamme...", "jamme..."]


# -- what it answers


@pytest.mark.rule("NO-16")
def test_a_refusal_is_for_good_and_tells_the_services_words(serve, capsys):
    """It is not tried again, and counted."""
    service = serve((400, {}, REFUSED))
    handler = handler_for(service)

    send(handler, "lost", "sent")

    assert len(service.requests) == 2
    statistics = handler.statistics()
    assert (statistics["dead"], statistics["delivered"]) == (1, 1)
    assert "answered 400: user identifier is invalid" in capsys.readouterr().err


@pytest.mark.rule("NO-16")
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (REFUSED, "user identifier is invalid"),
        (b'{"errors":["one","two"]}', "one; two"),
        (b'{"errors":"only one"}', "only one"),
        (b"<h1>No\x1b[2J</h1>\n", r"<h1>No\x1b[2J</h1>\n"),
        (b"[]", "[]"),
        (b"\xff", "\ufffd"),
        (b"x" * 500, "x" * 200),
    ],
)
def test_an_immediate_error_has_the_services_words(serve, body, text):
    """Whatever it says; a page is shown from its beginning."""
    service = serve((403, {}, body))
    handler = immediate(service)

    with pytest.raises(PermanentError) as caught:
        handler.emit(record())
    handler.close()

    assert str(caught.value) == f"127.0.0.1:{service.port} answered 403: {text}"


@pytest.mark.parametrize("status", [500, 502, 503, 408])
def test_a_service_that_is_down_is_asked_again(serve, capsys, status):
    """Until it is back: an alarm may be late, and is not lost."""
    service = serve(*[(status, {}, b"down")] * 15)
    handler = handler_for(service)

    send(handler, "late")

    assert [form["message"] for form in service.forms] == ["late"] * 16
    assert handler.statistics()["delivered"] == 1
    assert f"answered {status}: down" in capsys.readouterr().err


def test_a_service_that_says_when_to_come_again_is_heard(serve):
    """Not only where there are too many messages."""
    handler = immediate(serve((503, {"Retry-After": "7"}, b"")))

    with pytest.raises(RetryLater, match="answered 503") as caught:
        handler.emit(record())
    handler.close()

    assert caught.value.after == 7


def test_a_late_message_says_when_it_was_meant_to_be_sent(serve):
    """The telephone shows that moment then."""
    service = serve((500, {}, b""))
    times = [1_000_000_000.0]

    def now():
        # An hour later once the first try is over.
        return times[0] + 3_600 * len(service.requests)

    handler = handler_for(service, now=now)
    send(handler, "late")

    first, second = service.forms
    assert "timestamp" not in first
    assert second["timestamp"] == "1000000000"


@pytest.mark.parametrize(
    ("headers", "after"),
    [
        ({"X-Limit-App-Reset": "1000000600"}, 600),
        ({"X-Limit-App-Reset": "1000000001"}, 5),
        ({"Retry-After": "42"}, 42),
        ({}, 60),
        ({"X-Limit-App-Reset": "soon"}, 60),
    ],
)
def test_too_many_messages_wait_as_long_as_the_service_says(serve, headers, after):
    """Or a minute, if it does not say."""
    handler = immediate(serve((429, headers, b"")), now=lambda: 1_000_000_000.0)

    with pytest.raises(RetryLater) as caught:
        handler.emit(record())
    handler.close()

    assert caught.value.after == after


def test_a_quota_that_is_used_up_for_days_is_not_waited_for(serve):
    """Nothing is sent until it begins anew: the service wants no such requests."""
    moment = [1_000_000_000.0]
    reset = {"X-Limit-App-Remaining": "0", "X-Limit-App-Reset": "1000864000"}
    service = serve((429, reset, b'{"errors":["over quota"]}'))
    handler = immediate(service, now=lambda: moment[0])

    with pytest.raises(PermanentError, match="over quota; there is a new one in 240 hours"):
        handler.emit(record())
    with pytest.raises(PermanentError, match="the quota is used up; .* in 240 hours"):
        handler.emit(record())
    assert len(service.requests) == 1
    assert handler.statistics()["remaining"] == 0

    moment[0] = 1_000_864_001.0
    handler.emit(record())
    handler.close()

    assert len(service.requests) == 2


def test_the_last_message_of_the_quota_is_sent_and_no_other(serve):
    """The service says with it that there are no more."""
    reset = {"X-Limit-App-Remaining": "0", "X-Limit-App-Reset": "1000864000"}
    service = serve((200, reset, b'{"status":1}'))
    handler = immediate(service, now=lambda: 1_000_000_000.0)

    handler.emit(record())
    with pytest.raises(PermanentError, match="the quota is used up"):
        handler.emit(record())
    handler.close()

    assert len(service.requests) == 1


def test_without_keys_nothing_is_sent(serve, capsys):
    """The report says what is missing."""
    service = serve()
    handler = PushoverHandler("shop", None, "U", api_url=service.url)

    send(handler, "lost")

    assert "needs an apikey and a userkey" in capsys.readouterr().err
    assert service.requests == []


@pytest.mark.rule("NO-16")
@pytest.mark.parametrize("step", ["silence", "drip"])
def test_a_service_that_does_not_answer_costs_no_more_than_the_timeout(serve, step):
    """Also if it sends a byte now and then."""
    handler = immediate(serve(step), timeout=0.2)

    with pytest.raises(OSError, match="timed out|did not answer within 0.2 seconds"):
        handler.emit(record())
    handler.close()


def test_a_call_does_not_wait_for_the_service(serve):
    """All calls are back while the first message is still on its way."""
    service = serve("silence")
    handler = handler_for(service, timeout=60, drain_timeout=0)

    with handler:
        for _ in range(100):
            log.error("x")
        statistics = handler.statistics()
    service.released.set()
    handler.close(20)

    assert (statistics["accepted"], statistics["delivered"]) == (100, 0)


def test_what_is_no_http_is_an_outage():
    """Something else at that address is none of the program's mistakes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            connection.recv(65_536)
            connection.sendall(b"220 mail.example.com ESMTP\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        handler = PushoverHandler(None, "K", "U", api_url=url, immediate=True)
        with pytest.raises(OSError, match="no proper answer|reset"):
            handler.emit(record())
        thread.join()
    handler.close()


def test_tls_is_verified(serve):
    """A certificate that nobody vouches for is not Pushover's; one of a known authority is."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    known = ssl.create_default_context()
    authority.configure_trust(known)
    service = serve()
    service.socket = context.wrap_socket(service.socket, server_side=True)
    service.url = f"https://localhost:{service.port}/1/messages.json"

    stranger = immediate(service)
    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.emit(record())
    friend = immediate(service, ssl_context=known)
    friend.emit(record("known"))
    for handler in (stranger, friend):
        handler.close()

    assert [form["message"] for form in service.forms] == ["known"]


def test_it_needs_no_library(monkeypatch, serve):
    """Nothing but what Python brings."""
    for name in ("requests", "apprise", "jeepney"):
        monkeypatch.setitem(sys.modules, name, None)
    service = serve()

    send(handler_for(service), "sent")

    assert len(service.requests) == 1


def test_what_is_left_waits_on_disk_for_the_next_process(serve, tmp_path):
    """With a spool an alarm survives the end of the program."""
    down, up = serve(*[(503, {}, b"")] * 1000), serve()
    program = f"""
        from sprockets.logbook import Logger
        from sprockets.logbook.delivery import Spool
        from sprockets.logbook.notifiers import PushoverHandler
        handler = PushoverHandler(
            None, "K", "U", api_url={down.url!r}, spool=Spool({str(tmp_path)!r}), drain_timeout=0.1
        )
        handler.push_application()
        Logger("till").error("survives")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=60, check=True)

    handler = handler_for(up, spool=Spool(tmp_path))
    wait_until(lambda: handler.statistics()["delivered"], "the message from the disk")
    assert handler.close(20)

    assert [form["message"] for form in up.forms] == ["survives"]
