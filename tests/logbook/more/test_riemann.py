"""Riemann: the events it is sent, when they are sent, and what becomes of them when it is away.

There is no Riemann here: doubles that record what they get stand for it, and read it with another
protobuf than ours.
"""

import gc
import math
import os
import platform
import select
import ssl
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook import ERROR, INFO, Flags, Logger, LogRecord
from sprockets.logbook.delivery import PartlyDelivered, Retry
from sprockets.logbook.more import RiemannHandler
from sprockets.logbook.more._riemann_messages import (
    RefusedError,
    encode_event,
    encode_message,
    read_answer,
)
from sprockets.logbook.more._riemann_transports import (
    MAX_DATAGRAM,
    BlankTransport,
    TCPTransport,
    UDPTransport,
)

pytest.importorskip("google.protobuf", reason="protobuf is not installed")

from tests.logbook.more.riemann_server import (
    OK,
    DatagramServer,
    Msg,
    RiemannServer,
    events_of,
    frame,
)

log = Logger("till")
QUICK = Retry(initial=0.005, maximum=0.02)
LIMIT = 30.0  # seconds


@pytest.fixture(name="server")
def _server():
    with RiemannServer() as server:
        yield server


@pytest.fixture(name="make")
def _make():
    """Make handlers that try again quickly."""
    made = []

    def make(port=5555, message_type="tcp", *arguments, **options):
        options = {"retry": QUICK, "flush_interval": math.inf, **options}
        handler = RiemannHandler("127.0.0.1", port, message_type, *arguments, **options)
        made.append(handler)
        return handler

    yield make
    for handler in made:
        with Flags(errors="silent"):
            handler.close(0.2)


def fail():
    """Log an exception."""
    try:
        raise ValueError("no price")
    except ValueError:
        log.exception("failed")


def wait_until(condition):
    """Wait for what another thread does."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def is_dropped_there(handler):
    """Return whether the other side has hung up."""
    sock = handler.transport._socket
    return select.select([sock], [], [], 0)[0] != []


def assert_adds_up(statistics):
    """Each accepted record has exactly one fate."""
    assert statistics["accepted"] == (
        statistics["delivered"]
        + statistics["queued"]
        + statistics["spooled"]
        + statistics["dead"]
        + sum(statistics["dropped"].values())
    )


# -- an event


@pytest.mark.rule("RS-11", "Y-48")
def test_a_record_becomes_the_known_event(make):
    """Its message formatted, its own time and process; anything from ERROR up is an error."""
    handler = make(message_type="test", ttl=30)
    record = LogRecord("till", ERROR, "sold {}", ("tea",))
    record.process = 4711
    record.heavy_init()

    event = handler.record_to_event(record)

    assert event == {
        "metric_f": 1.0,
        "tags": ["log", "ERROR"],
        "description": "sold tea",
        "time": record.moment // 1_000_000,
        "ttl": 30,
        "host": platform.node(),
        "service": "till.4711",
        "state": "error",
    }


@pytest.mark.parametrize(
    ("level", "state"),
    [("TRACE", "ok"), ("WARNING", "ok"), ("ERROR", "error"), ("CRITICAL", "error")],
)
@pytest.mark.rule("RS-11", "Y-48")
def test_the_state_is_an_error_from_the_level_of_that_name_up(level, state, make):
    """CRITICAL included."""
    handler = make(message_type="test")
    with handler:
        log.log(level, "x")

    assert [event["state"] for event in handler.queue] == [state]


def test_the_encoded_event_is_that_of_the_record(make):
    """For whoever wants to send it some other way."""
    handler = make(message_type="test")
    record = LogRecord("till", ERROR, "jammed")
    record.heavy_init()

    (event,) = events_of(handler.encode(record))

    assert event == handler.record_to_event(record)


def test_a_record_without_a_channel_is_of_an_unknown_service(make):
    """And of this process."""
    handler = make(message_type="test")

    assert handler.record_to_event(LogRecord(None, INFO, "x"))["service"] == (
        f"unknown.{os.getpid()}"
    )


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INT64 = st.integers(-(2**63), 2**63 - 1)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "time": INT64,
        "state": TEXTS,
        "service": TEXTS,
        "host": TEXTS,
        "description": TEXTS,
        "tags": st.lists(TEXTS, min_size=1, max_size=3),
        "ttl": st.floats(width=32, allow_nan=False),
        "attributes": st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=3),
        "time_micros": INT64,
        "metric_sint64": INT64,
        "metric_d": st.floats(allow_nan=False),
        "metric_f": st.floats(width=32, allow_nan=False),
    },
)


@given(st.lists(EVENTS, max_size=3))
def test_another_protobuf_reads_what_is_written(events):
    """All that an event can have, negative numbers and empty texts included."""
    data = encode_message([encode_event(event) for event in events])

    assert events_of(data) == events


def test_half_a_character_is_replaced():
    """Texts are UTF-8."""
    assert events_of(encode_event({"state": "a\ud800"})) == [{"state": "a�"}]


@pytest.mark.parametrize(
    "event",
    [{"colour": "red"}, {"time": 2**63}, {"ttl": "long"}, {"time": None, "tags": 1}],
    ids=str,
)
def test_what_is_no_event_is_refused(event):
    """In the call that logs, where somebody learns of it."""
    with pytest.raises(ValueError, match="event"):
        encode_event(event)


def test_what_is_none_is_left_out():
    """As if it were not there."""
    assert encode_event({"state": "ok", "host": None}) == encode_event({"state": "ok"})


@given(st.text("aé€😀", max_size=2_000), st.integers(250, 3_000))
def test_a_long_event_loses_of_its_description(text, limit):
    """And nothing else; what fits stays as it is."""
    event = {"description": text, "host": "h" * 100}

    data = encode_event(event, limit)

    (found,) = events_of(data)
    assert len(data) <= limit
    assert found["host"] == event["host"]
    if len(encode_event(event)) <= limit:
        assert found == event


def test_an_event_that_is_too_long_anyway_is_refused():
    """A description is all that can be cut."""
    with pytest.raises(ValueError, match="without description"):
        encode_event({"host": "h" * 500, "description": "d"}, 200)


def test_answers_are_read():
    """What else there is in them does not matter."""
    assert read_answer(Msg(ok=True).SerializeToString()) == (True, "")
    assert read_answer(Msg(ok=False, error="nö").SerializeToString()) == (False, "nö")
    assert read_answer(Msg(error="bad").SerializeToString()) == (False, "bad")
    assert read_answer(b"\x10\x01" + encode_event({"ttl": 1, "metric_d": 2.0})) == (True, "")


def test_an_answer_that_says_neither_yes_nor_no_is_none():
    """As good as no answer."""
    with pytest.raises(ValueError, match="neither"):
        read_answer(b"")


@given(st.binary(max_size=40))
def test_an_answer_that_is_none_is_an_error_and_nothing_worse(data):
    """Whatever comes."""
    try:
        is_ok, error = read_answer(data)
    except ValueError:
        return
    assert isinstance(is_ok, bool)
    assert isinstance(error, str)


# -- when events are sent


@pytest.mark.rule("RS-9")
@pytest.mark.parametrize(
    ("kind", "transport"), [("tcp", TCPTransport), ("udp", UDPTransport), ("test", BlankTransport)]
)
def test_there_are_three_ways(kind, transport, make):
    """Two of them lead somewhere."""
    assert type(make(message_type=kind).transport) is transport


@pytest.mark.rule("RS-9")
def test_another_way_is_refused_with_those_there_are():
    """At once."""
    with pytest.raises(RuntimeError, match="'smoke'; known: tcp, udp, test"):
        RiemannHandler("127.0.0.1", 5555, "smoke")


@pytest.mark.rule("RS-9")
def test_the_arguments_come_in_the_known_order():
    """Bubble and filter before the level."""
    passed = []
    handler = RiemannHandler(
        "riemann", 5555, "test", 30, 5, True, lambda record, handler: passed or True, "ERROR"
    )

    assert (handler.host, handler.port, handler.ttl) == ("riemann", 5555, 30)
    assert (handler.flush_threshold, handler.bubble, handler.level) == (5, True, ERROR)
    assert handler.filter(None, handler)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        RiemannHandler("riemann", 5555, flush_threshold=0)


@pytest.mark.rule("RS-13")
def test_three_records_are_three_events(make):
    """An error, an exception and an information, with the states and texts they have."""
    handler = make(message_type="test")
    with handler:
        log.error("jammed")
        fail()
        log.info("sold")

    assert [event["state"] for event in handler.queue] == ["error", "error", "ok"]
    assert [event["description"] for event in handler.queue] == ["jammed", "no price", "sold"]


@pytest.mark.rule("RS-10", "RS-13")
def test_a_queue_that_was_sent_is_a_new_empty_one(make):
    """Of three records with a threshold of two, one is left."""
    handler = make(message_type="test", flush_threshold=2)
    before = handler.queue
    with handler:
        for number in range(3):
            log.info("{}", number)

    assert [event["description"] for event in handler.queue] == ["2"]
    assert handler.queue is not before
    assert handler.statistics()["delivered"] == 2


@pytest.mark.rule("RS-10")
@pytest.mark.parametrize("immediate", [False, True])
def test_the_threshold_may_be_changed(immediate, server, make):
    """From the next record on."""
    handler = make(server.port, immediate=immediate)
    with handler:
        handler.flush_threshold = 2
        log.info("0")
        log.info("1")
        wait_until(lambda: server.messages)

    assert [len(message) for message in server.messages] == [2]
    assert handler.flush_threshold == 2
    assert handler.queue == []


@pytest.mark.rule("RS-10")
def test_events_are_sent_together_when_there_are_enough(server, make):
    """As one message; what is left waits."""
    handler = make(server.port, flush_threshold=5)
    with handler:
        for number in range(13):
            log.info("{}", number)
        wait_until(lambda: len(server.messages) == 2)

        assert [len(message) for message in server.messages] == [5, 5]
        assert [event["description"] for event in handler.queue] == ["10", "11", "12"]
        assert handler.statistics()["queued"] == 3


@pytest.mark.rule("RS-11", "Y-48")
@pytest.mark.parametrize("immediate", [False, True])
def test_closing_sends_what_is_left(immediate, server, make):
    """Twice is once."""
    handler = make(server.port, immediate=immediate)
    with handler:
        log.info("last")

    assert handler.close(LIMIT)
    assert handler.close(LIMIT)

    assert server.descriptions == ["last"]
    assert handler.queue == []
    assert_adds_up(handler.statistics())


@pytest.mark.rule("RS-11", "Y-48")
@pytest.mark.parametrize("immediate", [False, True])
def test_a_handler_that_is_collected_sends_what_is_left(immediate, server):
    """By its own thread; an event that waits for others keeps it for as long as it may wait."""
    handler = RiemannHandler(
        "127.0.0.1", server.port, retry=QUICK, immediate=immediate, flush_interval=0.05
    )
    with handler:
        log.info("last")
    del handler
    gc.collect()

    wait_until(lambda: server.descriptions == ["last"])


@pytest.mark.rule("RS-11", "Y-48")
@pytest.mark.parametrize("immediate", [False, True])
def test_what_is_left_at_the_end_of_a_program_is_sent(immediate, server):
    """Without closing anything."""
    code = (
        "import sys\n"
        "from sprockets.logbook import Logger\n"
        "from sprockets.logbook.more import RiemannHandler\n"
        f"handler = RiemannHandler('127.0.0.1', int(sys.argv[1]), immediate={immediate})\n"
        "handler.push_application()\n"
        "for number in range(3):\n"
        "    Logger('till').info('{}', number)\n"
    )

    subprocess.run([sys.executable, "-P", "-c", code, str(server.port)], check=True, timeout=60)

    assert server.descriptions == ["0", "1", "2"]


def test_flushing_sends_what_there_is(server, make):
    """And waits for it."""
    handler = make(server.port)
    with handler:
        log.info("one")

        assert handler.flush(LIMIT)
        assert server.descriptions == ["one"]
        assert handler.queue == []


def test_an_event_waits_for_others_only_so_long(server, make):
    """Riemann takes it for expired after a while."""
    handler = make(server.port, flush_interval=0.01)
    with handler:
        log.info("alone")
        wait_until(lambda: server.descriptions == ["alone"])

    assert handler.queue == []


@pytest.mark.rule("RS-11", "Y-48")
def test_many_threads_lose_no_event(server, make):
    """Nor is one sent twice."""
    handler = make(server.port, flush_threshold=7)

    def work(number):
        for index in range(100):
            log.info("{}-{}", number, index)

    with handler.applicationbound():
        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert handler.close(LIMIT)

    assert len(server.descriptions) == len(set(server.descriptions)) == 600
    assert {len(message) for message in server.messages[:-1]} == {7}


def test_a_subclass_says_what_an_event_is(server):
    """With all that Riemann knows."""

    class Timed(RiemannHandler):
        def record_to_event(self, record):
            event = super().record_to_event(record)
            event["metric_f"] = None
            event["metric_d"] = record.extra["seconds"]
            event["attributes"] = {"user": record.extra["user"]}
            return event

    handler = Timed("127.0.0.1", server.port, retry=QUICK)
    with handler:
        log.info("sold", extra={"seconds": 0.1, "user": "ann"})
    assert handler.close(LIMIT)

    ((event,),) = server.messages
    assert (event["metric_d"], event["attributes"]) == (0.1, {"user": "ann"})
    assert "metric_f" not in event


# -- when Riemann is away, or says no


@pytest.mark.rule("RS-12")
def test_an_immediate_flush_that_fails_is_an_error_and_keeps_its_events(server, make):
    """The call that filled the queue hears of it; the events go with the next that succeeds."""
    server.script = ["close"]
    handler = make(server.port, flush_threshold=2, immediate=True)
    with handler, Flags(errors="raise"):
        log.info("0")
        with pytest.raises(ConnectionError):
            log.info("1")
        assert [event["description"] for event in handler.queue] == ["0", "1"]
        log.info("2")

    assert server.messages[0][0]["description"] == "0"
    assert server.descriptions == ["0", "1", "2"]
    assert handler.queue == []


@pytest.mark.rule("RS-12")
def test_the_queue_of_an_immediate_handler_is_bounded(make):
    """The oldest events go, and are counted."""
    handler = make(9, flush_threshold=2, immediate=True, capacity=5)
    with handler, Flags(errors="silent"):
        for number in range(20):
            log.info("{}", number)

        assert [event["description"] for event in handler.queue] == ["15", "16", "17", "18", "19"]
        statistics = handler.statistics()
        assert statistics["dropped"] == {"full": 15}
        assert_adds_up(statistics)
        assert handler.flush() is False


@pytest.mark.rule("RS-12")
def test_events_wait_for_a_riemann_that_is_away_up_to_a_bound(make):
    """The oldest go, and are counted; what is left at the end is, too."""
    handler = make(9, flush_threshold=2, capacity=10)
    with handler:
        for number in range(1_000):
            log.info("{}", number)
    assert handler.close(0.05) is False

    statistics = handler.statistics()
    assert (statistics["accepted"], statistics["delivered"]) == (1_000, 0)
    assert statistics["dropped"]["full"] >= 980
    assert_adds_up(statistics)


@pytest.mark.rule("RS-12")
@pytest.mark.parametrize(
    "script",
    [
        [],
        ["reset"],
        ["close", "reset"],
        ["silence"],
        ["drip"],
        [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        [frame(b"\xff\xff")],
        [frame(b"")],
        [OK[:5]],
        [b"\xff\xff\xff\xff"],
    ],
    ids=str,
)
def test_what_passes_costs_no_event(script, server, make):
    """All arrive, in order; what was sent without a proper answer may be there twice."""
    server.script = list(script)
    handler = make(server.port, flush_threshold=4, timeout=0.3)
    with handler:
        for number in range(10):
            log.info("{}", number)
    assert handler.close(LIMIT)

    statistics = handler.statistics()
    assert server.descriptions[-10:] == [str(number) for number in range(10)]
    assert (statistics["delivered"], statistics["failed"]) == (10, len(script))
    assert_adds_up(statistics)


def test_a_connection_that_was_closed_meanwhile_is_replaced(server, make):
    """Not found out by an exchange that fails."""
    server.script = ["last", "last"]
    handler = make(server.port, flush_threshold=1)
    with handler:
        for number in range(3):
            log.info("{}", number)
            assert handler.flush(LIMIT)
            wait_until(lambda is_last=number < 2: is_dropped_there(handler) is is_last)
    assert handler.close(LIMIT)

    assert server.descriptions == ["0", "1", "2"]
    assert server.connections == 3
    assert handler.statistics()["failed"] == 0


def test_an_event_that_is_refused_takes_no_other_with_it(server, make, capfd):
    """A message is taken apart; what Riemann says is reported."""
    server.poison = "poison"
    handler = make(server.port, flush_threshold=10)
    with handler:
        for number in range(10):
            log.info("{}{}", "poison" if number in (0, 4) else "", number)
    assert handler.close(LIMIT)

    statistics = handler.statistics()
    assert sorted(server.descriptions) == [
        str(number) for number in range(10) if number not in (0, 4)
    ]
    assert (statistics["delivered"], statistics["dead"]) == (8, 2)
    assert_adds_up(statistics)
    assert "RefusedError: Riemann at 127.0.0.1 answered: 'it is poison'" in capfd.readouterr().err


@pytest.mark.rule("RS-12")
def test_an_immediate_handler_gives_up_what_is_refused_alone(server, make):
    """It would keep all others from being sent."""
    server.poison = "poison"
    handler = make(server.port, flush_threshold=4, immediate=True)
    with handler, Flags(errors="raise"):
        for number in range(3):
            log.info("{}{}", "poison" if number == 1 else "", number)
        with pytest.raises(RefusedError, match="it is poison"):
            log.info("3")

    assert server.descriptions == ["0", "2", "3"]
    assert handler.queue == []
    statistics = handler.statistics()
    assert (statistics["delivered"], statistics["dead"]) == (3, 1)
    assert_adds_up(statistics)


@pytest.mark.rule("RS-12")
def test_an_immediate_handler_keeps_what_was_not_sent(make):
    """Of several datagrams, the first may be on its way."""
    handler = make(message_type="test", flush_threshold=3)

    class Failing(BlankTransport):
        def send(self, events):
            raise PartlyDelivered(2) from OSError("no buffer")

    handler.transport = Failing()
    with handler, Flags(errors="silent"):
        for number in range(3):
            log.info("{}", number)

    assert [event["description"] for event in handler.queue] == ["2"]
    assert handler.statistics()["delivered"] == 2


def test_no_log_call_talks_to_riemann(server, make):
    """All is sent by the handler's own thread, however Riemann behaves."""
    sending = set()

    class Watched(RiemannHandler):
        def deliver(self, items):
            sending.add(threading.get_ident())
            super().deliver(items)

    server.script = ["reset", "silence"]
    handler = Watched("127.0.0.1", server.port, flush_threshold=2, retry=QUICK, timeout=0.2)
    with handler:
        for number in range(20):
            log.info("{}", number)
    assert handler.close(LIMIT)

    assert server.descriptions == [str(number) for number in range(20)]
    assert threading.get_ident() not in sending


def test_log_calls_return_while_riemann_is_silent(server, make):
    """It answers none of them before all have returned; closing does not wait for it either."""
    server.script = ["silence"]
    handler = make(server.port, flush_threshold=2, timeout=60.0)
    with handler:
        for number in range(500):
            log.info("{}", number)

    assert server.messages == []
    assert handler.statistics()["accepted"] == 500
    assert handler.close(0.05) is False
    assert_adds_up(handler.statistics())


def test_a_whole_exchange_has_one_deadline(server):
    """A byte now and then does not buy more time: the clock is asked before each."""
    server.script = [b"\0\0\0\x09" + b"\0" * 8]
    ticks = iter([0.0, 0.0, 0.0, 1.0, 2.0, 99.0])
    transport = TCPTransport("127.0.0.1", server.port, 10.0, clock=lambda: next(ticks))

    with pytest.raises((TimeoutError, ConnectionError)):
        transport.send([encode_event({"description": "x"})])
    transport.disconnect()


def test_who_waits_for_an_answer_gives_up_when_the_connection_is_closed_here(server):
    """The end of a program does not wait for Riemann."""
    server.script = ["silence"]
    transport = TCPTransport("127.0.0.1", server.port, 60.0)
    raised = []

    def send():
        try:
            transport.send([encode_event({"description": "x"})])
        except OSError as error:
            raised.append(error)

    sending = threading.Thread(target=send)
    sending.start()
    wait_until(lambda: server.script == [])
    transport.disconnect()
    sending.join(LIMIT)

    assert not sending.is_alive()
    assert len(raised) == 1


def test_a_record_that_is_logged_while_the_queue_is_sent_stays_in_it(make):
    """By a finaliser or a signal handler, in the same thread."""
    handler = make(message_type="test", flush_threshold=2)

    class Logging(BlankTransport):
        def send(self, events):
            if len(events) == 2:
                log.info("meanwhile")

    handler.transport = Logging()
    with handler:
        log.info("0")
        log.info("1")

    assert [event["description"] for event in handler.queue] == ["meanwhile"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_sends_nothing_of_its_parent(server, make):
    """It has an empty queue and a connection of its own."""
    handler = make(server.port, flush_threshold=10)
    with handler:
        log.info("first")
        assert handler.flush(LIMIT)
        log.info("parent")
        pid = os.fork()
        if pid == 0:
            is_empty = handler.queue == []
            log.info("child")
            os._exit(0 if is_empty and handler.close(LIMIT) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert handler.close(LIMIT)

    assert sorted(server.descriptions) == ["child", "first", "parent"]
    assert server.connections == 2


def test_tls_is_verified(server, make):
    """A certificate that nobody vouches for is no Riemann of ours."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    known = ssl.create_default_context()
    authority.configure_trust(known)
    event = [encode_event({"description": "x"})]

    stranger = TCPTransport("127.0.0.1", server.port, 5.0, ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.send(event)
    friend = TCPTransport("127.0.0.1", server.port, 5.0, known)
    for _ in range(3):
        friend.send(event)
    friend.disconnect()

    assert server.descriptions == ["x", "x", "x"]
    assert server.connections == 1


def test_a_refusal_is_no_reason_to_hang_up(server):
    """The connection is fine."""
    server.poison = "bad"
    transport = TCPTransport("127.0.0.1", server.port, 5.0)

    with pytest.raises(RefusedError):
        transport.send([encode_event({"description": "bad"})])
    transport.send([encode_event({"description": "good"})])
    transport.disconnect()

    assert server.connections == 1


# -- UDP


@pytest.mark.rule("RS-9", "RS-10")
def test_events_go_in_datagrams_as_many_as_fit(make):
    """Of what is too long for one, the description is cut."""
    with DatagramServer() as server:
        handler = make(server.port, "udp", flush_threshold=30)
        with handler:
            for number in range(28):
                log.info("{}{}", number, "x" * 2_000)
            log.info("y" * 60_000)
            log.info("short")
        assert handler.close(LIMIT)
        found = []
        while len(found) < 30:
            events, length = server.receive()
            assert length <= MAX_DATAGRAM
            found += events

    assert [event["description"][:2] for event in found[:3]] == ["0x", "1x", "2x"]
    assert found[28]["description"].startswith("y" * 10_000)
    assert found[29]["description"] == "short"
    assert handler.statistics()["delivered"] == 30


def test_datagrams_that_were_sent_are_not_sent_again(make):
    """The engine is told how many that were."""
    with DatagramServer() as server:
        transport = UDPTransport("127.0.0.1", server.port, 5.0)
        events = [encode_event({"description": "x" * 10_000}) for _ in range(3)]
        sent = []

        class Failing:
            def send(self, data):
                if sent:
                    raise OSError("no buffer")
                sent.append(data)

            def shutdown(self, how):
                pass

            def close(self):
                pass

        transport._connected = Failing

        with pytest.raises(PartlyDelivered) as told:
            transport.send(events)

    assert told.value.count == 1


def test_nobody_listening_is_noticed_where_the_system_says_so():
    """At the second datagram; the first is lost."""
    with DatagramServer() as server:
        port = server.port
    transport = UDPTransport("127.0.0.1", port, 5.0)
    event = [encode_event({"description": "x"})]

    with pytest.raises(OSError):
        for _ in range(100):
            transport.send(event)
            time.sleep(0)
    transport.disconnect()
