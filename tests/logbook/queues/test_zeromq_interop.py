"""Records between us and Logbook 1.10, the real one, through ZeroMQ in both directions."""

import sys
import time
from datetime import UTC, datetime

import pytest
import zmq

from sprockets.logbook import Logger, TestHandler
from sprockets.logbook.helpers import parse_iso8601
from sprockets.logbook.queues._zeromq import ZeroMQHandler, ZeroMQSubscriber

COUNT = 1_000
IN_BATCHES_OF = 100
FIELDS = (
    "channel",
    "level",
    "msg",
    "kwargs",
    "extra",
    "message",
    "process",
    "process_name",
    "thread",
    "thread_name",
    "greenlet",
    "func_name",
    "module",
    "filename",
    "lineno",
    "exception_name",
    "exception_message",
    "formatted_exception",
    "frame_correction",
)
MODES = pytest.mark.parametrize("multi", [False, True], ids=["publish", "push"])


@pytest.fixture(name="theirs")
def _theirs():
    """Logbook's modules."""
    pytest.importorskip("logbook.queues", reason="Logbook is not installed")
    return sys.modules["logbook"]


@pytest.fixture(name="context")
def _context():
    with zmq.Context() as context:
        yield context


def write_records(log, begin, count):
    """Log every kind there is, in turn."""
    for number in range(begin, begin + count):
        match number % 5:
            case 0:
                log.info("plain {}", number)
            case 1:
                log.warning("für {user} ☃ {n}", user="Jörg 🎉", n=number)
            case 2:
                try:
                    {}["schlüssel"]
                except KeyError:
                    log.exception("Rückzahlung {0}", number)
            case 3:
                when = datetime(2024, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
                log.error(
                    "extras",
                    extra={"ip": "::1", "n": number, "tags": ["a", "ü"], "when": when, "no": None},
                )
            case 4:
                log.notice("{0!r} of {1[x]}", {"a": [1.5, None]}, {"x": "ß" * 50})


def wait_for_connection(send, recv):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        send("hello")
        if recv(0.02) is not None:
            break
    send("that is all")
    while (record := recv(5)) is not None:
        if record.message == "that is all":
            return
    pytest.fail("nothing came")


@MODES
@pytest.mark.rule("WF-3", "WF-4", "WF-18", "WF-26")
def test_a_thousand_of_their_records_arrive_here(theirs, context, multi):
    """Equal field by field to what Logbook's own handler has seen."""
    if multi:
        subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", context, multi=True)
        uri = subscriber.socket.last_endpoint.decode()
        handler = theirs.queues.ZeroMQHandler(uri, context=context, multi=True, bubble=True)
    else:
        handler = theirs.queues.ZeroMQHandler("tcp://127.0.0.1:*", context=context, bubble=True)
        subscriber = ZeroMQSubscriber(handler.socket.last_endpoint.decode(), context)
    log = theirs.Logger("payments")
    with theirs.NullHandler(), handler:
        wait_for_connection(log.info, subscriber.recv)
    seen = theirs.TestHandler()
    arrived = []
    with seen, handler:
        for begin in range(0, COUNT, IN_BATCHES_OF):
            write_records(log, begin, IN_BATCHES_OF)
            arrived += [subscriber.recv(5) for _ in range(IN_BATCHES_OF)]

    assert len(arrived) == len(seen.records) == COUNT
    for ours, sent in zip(arrived, seen.records, strict=True):
        expected = sent.to_dict(json_safe=True)
        assert {name: getattr(ours, name) for name in FIELDS} == {
            name: expected[name] for name in FIELDS
        }
        assert list(ours.args) == list(expected["args"])
        assert ours.time == parse_iso8601(expected["time"])
        assert ours.level_name == sent.level_name
    handler.close(0)
    subscriber.close()


@MODES
@pytest.mark.rule("WF-3", "WF-14", "WF-26")
def test_a_thousand_of_our_records_arrive_there(theirs, context, multi):
    """Logbook's subscriber makes the same of them, to the microsecond."""
    if multi:
        subscriber = theirs.queues.ZeroMQSubscriber("tcp://127.0.0.1:*", context, multi=True)
        uri = subscriber.socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        handler = ZeroMQHandler(uri, context=context, multi=True, bubble=True)
    else:
        handler = ZeroMQHandler("tcp://127.0.0.1:*", context=context, bubble=True)
        subscriber = theirs.queues.ZeroMQSubscriber(handler.socket.last_endpoint.decode(), context)
    log = Logger("payments")
    arrived = []
    with handler.contextbound():
        wait_for_connection(log.info, subscriber.recv)
    seen = TestHandler()
    with seen.contextbound(), handler.contextbound():
        for begin in range(0, COUNT, IN_BATCHES_OF):
            write_records(log, begin, IN_BATCHES_OF)
            arrived += [subscriber.recv(5) for _ in range(IN_BATCHES_OF)]

    assert len(arrived) == len(seen.records) == COUNT
    for theirs_, sent in zip(arrived, seen.records, strict=True):
        expected = sent.to_dict(json_safe=True)
        assert {name: getattr(theirs_, name) for name in FIELDS} == {
            name: expected[name] for name in FIELDS
        }
        assert list(theirs_.args) == list(expected["args"])
        assert theirs_.time.replace(tzinfo=None) == sent.time
        assert theirs_.level_name == sent.level_name
    handler.close(0)
    subscriber.close()


@pytest.mark.rule("WF-15", "WF-26")
@pytest.mark.parametrize(
    "data",
    [
        '{"channel":"x","level":13,"message":"ü ☃","extra":{},"time":"2026-11-21T01:37:55.893569Z"}',
        '{ "extra" : {"deep": {"x": [1]}} , "time":"2026-11-21T03:37:55.893569+02:00", '
        '"message":"ü ☃","level":13, "channel":"x", "unknown": {"a": [NaN]}}',
    ],
    ids=["compact", "spacious"],
)
def test_whoever_writes_valid_json_is_understood(context, data):
    """Raw UTF-8, any order and white space, other time zones, fields that nobody knows."""
    subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", context, multi=True)
    with context.socket(zmq.PUSH) as socket:
        socket.connect(subscriber.socket.last_endpoint.decode())
        socket.send(data.encode())

        record = subscriber.recv(5)

    assert (record.message, record.level_name, record.channel) == ("ü ☃", "WARNING", "x")
    assert record.time == datetime(2026, 11, 21, 1, 37, 55, 893569)
    assert record.thread is record.filename is None
    subscriber.close()
