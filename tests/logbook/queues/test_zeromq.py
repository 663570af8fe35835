"""Records through ZeroMQ, the way Logbook sends them."""

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import zmq

from sprockets._support.optional import MissingDependency
from sprockets.logbook import Flags, Handler, Logger, Processor, TestHandler
from sprockets.logbook.queues._wire import MalformedRecordError
from sprockets.logbook.queues._zeromq import ZeroMQHandler, ZeroMQSubscriber

log = Logger("payments")
MODES = pytest.mark.parametrize("multi", [False, True], ids=["publish", "push"])

SAMPLE_A = (
    b'{"channel": "payments", "msg": "Charged {0} to {account}", "args": [12], '
    b'"kwargs": {"account": "A-1"}, "level": 13, "extra": {}, "frame_correction": 0, '
    b'"process": 16163, "heavy_initialized": true, "time": "2026-11-21T01:37:55.893569Z", '
    b'"message": "Charged 12 to A-1", "lineno": 11, "thread": 140102835403648, '
    b'"exception_name": null, "func_name": "charge", "exception_message": null, '
    b'"process_name": null, "module": "app", "greenlet": 140102835403648, '
    b'"filename": "/srv/app/app.py", "thread_name": "MainThread", "formatted_exception": null, '
    b'"information_pulled": true}'
)


def connect(handler, subscriber, seconds=10.0):
    """Wait until what is published arrives, and take all that was sent for this."""
    deadline = time.monotonic() + seconds
    probe = Logger("probe")
    with handler.contextbound():
        while time.monotonic() < deadline:
            probe.info("hello")
            if subscriber.recv(0.02) is not None:
                break
        else:
            pytest.fail("nothing came")
        probe.info("that is all")
        while True:
            record = subscriber.recv(5)
            assert record is not None
            if record.message == "that is all":
                return


def free_uri():
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.bind("tcp://127.0.0.1:*")
        return socket.last_endpoint.decode()


@pytest.fixture(name="make_pair")
def _make_pair():
    made = []

    def make_pair(multi=False, **options):
        if multi:
            subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", multi=True)
            uri = subscriber.socket.last_endpoint.decode()
            handler = ZeroMQHandler(uri, multi=True, **options)
        else:
            handler = ZeroMQHandler("tcp://127.0.0.1:*", **options)
            subscriber = ZeroMQSubscriber(handler.socket.last_endpoint.decode())
        made.extend((handler, subscriber))
        connect(handler, subscriber)
        return handler, subscriber

    yield make_pair
    for one in made:
        one.close()


@pytest.fixture(name="pulling")
def _pulling():
    """A subscriber that pulls, and a bare socket that pushes to it."""
    subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", multi=True)
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.linger = 0
        socket.connect(subscriber.socket.last_endpoint.decode())
        yield subscriber, socket
    subscriber.close()


def run(program, *args, limit=20):
    """Run *program* in an interpreter of its own, for *limit* seconds at most."""
    begun = time.monotonic()
    result = subprocess.run(
        # From 3.12 on Python warns of any fork beside threads.
        [sys.executable, "-P", "-W", "ignore", "-c", textwrap.dedent(program), *args],
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    return result, time.monotonic() - begun


# -- what travels


@MODES
@pytest.mark.rule("ZM-5", "ZM-22", "WF-1", "WF-2", "WF-6", "P-F12")
def test_a_record_arrives_with_its_facts(make_pair, multi):
    """Text in any script, level, place, custom fields and traceback are there on the other side."""
    handler, subscriber = make_pair(multi)
    with handler.contextbound():
        try:
            {}["schlüssel"]
        except KeyError:
            log.exception("Rückzahlung für {user} ☃ 🎉", user="Jörg", extra={"ip": "::1"})

    record = subscriber.recv(5)

    assert record.message == "Rückzahlung für Jörg ☃ 🎉"
    assert (record.channel, record.level_name, record.extra["ip"]) == ("payments", "ERROR", "::1")
    assert record.extra["nope"] == ""
    assert record.filename == os.path.abspath(__file__)
    assert record.func_name == "test_a_record_arrives_with_its_facts"
    assert record.formatted_exception.endswith("KeyError: 'schlüssel'")


@pytest.mark.rule("WF-1", "WF-2", "WF-5", "ZM-5")
def test_a_message_is_one_frame_of_ascii_with_all_fields(make_pair):
    """What is sent is what `jq` reads: one object, no envelope, every field."""
    handler, subscriber = make_pair()
    with zmq.Context() as context, context.socket(zmq.SUB) as raw:
        raw.subscribe(b"")
        raw.connect(handler.socket.last_endpoint.decode())
        with handler.contextbound():
            while not raw.poll(20):
                log.info("für {}", object())
        frames = raw.recv_multipart()

    (frame,) = frames
    facts = json.loads(frame.decode("ascii"))
    assert len(set(facts) - {"record_id"}) == 23
    assert facts["args"] == [None]
    assert facts["message"].startswith("für <object object at")
    subscriber.close()


@pytest.mark.rule("WF-13")
def test_a_failed_lookup_of_an_exception_is_no_error(make_pair):
    """``exc_info=True`` where there is none leaves the three fields empty."""
    handler, subscriber = make_pair(True)
    with handler.contextbound():
        log.error("none", exc_info=True)

    record = subscriber.recv(5)

    assert record.exception_name is record.exception_message is record.formatted_exception is None


@pytest.mark.rule("WF-12")
def test_without_introspection_there_is_no_place(make_pair):
    """The place is null, and the rest is sent as ever."""
    handler, subscriber = make_pair(True)
    with handler.contextbound(), Flags(introspection=False).contextbound():
        log.error("somewhere")

    record = subscriber.recv(5)

    assert record.message == "somewhere"
    assert record.filename is record.lineno is record.module is record.func_name is None


@pytest.mark.rule("WF-11")
def test_a_message_that_cannot_be_formatted_is_an_error_and_nothing_is_sent(make_pair):
    """The error is the handler's to deal with."""
    handler, subscriber = make_pair(True)
    with (
        handler.contextbound(),
        Flags(errors="raise").contextbound(),
        pytest.raises(TypeError, match="Could not format"),
    ):
        log.info("{0} {1}", 1)
    with handler.contextbound():
        log.info("next")

    assert subscriber.recv(5).message == "next"
    assert handler.statistics()["failed"] == 1


@pytest.mark.rule("ZM-5")
def test_an_override_of_export_record_says_what_is_sent():
    """A subclass adds a field, and leaves one out."""

    class Terse(ZeroMQHandler):
        def export_record(self, record):
            facts = super().export_record(record)
            del facts["filename"]
            return {**facts, "region": "eu"}

    subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", multi=True)
    handler = Terse(subscriber.socket.last_endpoint.decode(), multi=True)
    with handler.contextbound():
        log.info("hello")

    record = subscriber.recv(5)

    assert (record.region, record.filename) == ("eu", None)
    handler.close()
    subscriber.close()


@pytest.mark.rule("ZM-22")
def test_three_handlers_push_to_one_subscriber():
    """Each record of each arrives once."""
    subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", multi=True)
    uri = subscriber.socket.last_endpoint.decode()
    handlers = [ZeroMQHandler(uri, multi=True) for _ in range(3)]
    for number, handler in enumerate(handlers):
        with handler.contextbound():
            for count in range(50):
                log.info("{}-{}", number, count)

    messages = [subscriber.recv(5).message for _ in range(150)]

    assert sorted(messages) == sorted(f"{n}-{count}" for n in range(3) for count in range(50))
    assert subscriber.recv(0) is None
    assert subscriber.statistics() == {"received": 150, "malformed": 0, "duplicates": 0, "gaps": 0}
    for one in (*handlers, subscriber):
        one.close()


@pytest.mark.rule("WF-24", "ZM-22", "P-C12")
def test_the_background_dispatches_to_what_it_was_given(make_pair):
    """A processor on the receiving side adds to the record, whose process stays the sender's."""
    handler, subscriber = make_pair()
    arrived = threading.Event()

    class Collecting(TestHandler):
        def emit(self, record):
            super().emit(record)
            if len(self.records) == 2:
                arrived.set()

    collecting = Collecting()
    controller = subscriber.dispatch_in_background(collecting)
    with handler.contextbound():
        log.warning("careful")
        log.error("too late")

    assert arrived.wait(10)
    controller.stop()
    assert collecting.has_warning("careful")
    assert collecting.has_error("too late")
    assert {record.process for record in collecting.records} == {os.getpid()}
    collecting.close()


# -- what does not


@pytest.mark.rule("M22")
def test_what_was_published_before_anybody_listened_is_counted_as_gaps():
    """A thousand records, half of them before there is a subscriber: received and gaps are all."""
    handler = ZeroMQHandler("tcp://127.0.0.1:*")
    with handler.contextbound():
        for number in range(500):
            log.info("{}", number)
        subscriber = ZeroMQSubscriber(handler.socket.last_endpoint.decode())
        connect(handler, subscriber)
        sent = handler.statistics()["sent"]
        for number in range(sent, 1000):
            log.info("{}", number)
    while subscriber.recv(0.5) is not None:
        pass

    statistics = subscriber.statistics()

    assert handler.statistics() == {"sent": 1000, "failed": 0}
    assert statistics["gaps"] >= 500
    assert statistics["received"] + statistics["gaps"] == 1000
    handler.close()
    subscriber.close()


@pytest.mark.rule("ZM-8", "M23")
def test_pushing_to_nobody_never_waits():
    """Beyond the high-water mark a record is an error of the log call, which returns at once."""
    handler = ZeroMQHandler(free_uri(), multi=True)
    errors = []
    handler.handle_error = lambda record, failure: errors.append(failure[0])
    begun = time.monotonic()
    with handler.contextbound():
        for number in range(1200):
            log.info("{}", number)

    assert time.monotonic() - begun < 10
    assert set(errors) == {zmq.Again}
    assert handler.statistics() == {"sent": 1200 - len(errors), "failed": len(errors)}
    assert len(errors) >= 100
    handler.close(0)


@pytest.mark.rule("M24", "WF-15", "WF-16", "WF-17", "WF-22", "ZM-19")
@pytest.mark.parametrize(
    "frames",
    [
        [b"\xff\xfe"],
        [b"{"],
        [b"[1]"],
        [b'{"level": null}'],
        [b'{"level": "12"}'],
        [b"[" * 100_000],
        [b'{"level": 12}', b'{"level": 12}'],
        [b""],
    ],
    ids=["bytes", "text", "array", "no level", "level text", "deep", "two frames", "empty"],
)
def test_what_is_no_record_is_one_dead_letter(pulling, frames):
    """It is counted and told; the next records come as if nothing had been."""
    subscriber, socket = pulling
    dead = []
    subscriber.dead_letter = lambda data, error: dead.append((data, error))
    socket.send_multipart(frames)
    socket.send(SAMPLE_A)

    with pytest.raises(MalformedRecordError), Flags(errors="silent").contextbound():
        subscriber.recv(5)

    assert subscriber.recv(5).message == "Charged 12 to A-1"
    assert [data for data, _ in dead] == [b"".join(frames)]
    assert subscriber.statistics()["malformed"] == 1


@pytest.mark.rule("M24")
def test_the_background_survives_what_is_no_record(pulling):
    """One bad message, then a thousand good ones: a thousand are dispatched."""
    subscriber, socket = pulling
    done = threading.Event()

    class Counting(Handler):
        count = 0

        def emit(self, record):
            self.count += 1
            if self.count == 1000:
                done.set()

    counting = Counting()
    with Flags(errors="silent").applicationbound():
        controller = subscriber.dispatch_in_background(counting)
        socket.send(b"no record")
        for _ in range(1000):
            socket.send(SAMPLE_A)
        assert done.wait(20)
        controller.stop()

    assert subscriber.statistics()["malformed"] == 1


@pytest.mark.rule("M24")
def test_a_peer_that_sends_far_too_much_is_cut_off(pulling):
    """A message beyond any record costs no memory; another sender's records still come."""
    subscriber, socket = pulling
    socket.send(b"x" * (17 << 20))
    with zmq.Context() as context, context.socket(zmq.PUSH) as other:
        other.connect(subscriber.socket.last_endpoint.decode())
        other.send(SAMPLE_A)

        assert subscriber.recv(10).message == "Charged 12 to A-1"

    assert subscriber.statistics()["malformed"] == 0


@pytest.mark.rule("WF-21", "WF-22", "WF-25")
def test_levels_of_old_peers_are_translated(pulling):
    """Their WARNING was a 4."""
    subscriber, socket = pulling
    socket.send(b'{"level": 4, "channel": "old", "msg": "x", "dispatcher": "y"}')

    record = subscriber.recv(5)

    assert (record.level_name, record.dispatcher, record.time) == ("WARNING", None, None)


# -- waiting and closing


@pytest.mark.rule("ZM-13", "ZM-14")
def test_receiving_waits_as_long_as_it_is_told(pulling):
    """Zero is not at all, less than a millisecond is a look, negative is a mistake."""
    subscriber, _ = pulling

    assert subscriber.recv(0) is None
    assert subscriber.recv(0.0001) is None
    assert subscriber.dispatch_once(0) is False
    with pytest.raises(ValueError, match="-1"):
        subscriber.recv(-1)


@pytest.mark.rule("ZM-16", "ZM-17")
def test_a_closed_subscriber_says_so(pulling):
    """Closing twice is closing once; receiving is ZeroMQ's error."""
    subscriber, _ = pulling
    subscriber.close()
    subscriber.close()

    assert subscriber.is_ended
    with pytest.raises(zmq.ZMQError):
        subscriber.recv(1)


@pytest.mark.rule("ZM-18")
def test_closing_ends_the_background(pulling):
    """From another thread, while it waits for messages."""
    subscriber, _ = pulling
    controller = subscriber.dispatch_in_background()
    thread = controller._thread

    subscriber.close()

    thread.join(10)
    assert not thread.is_alive()
    assert not controller.running
    controller.stop()


@pytest.mark.rule("ZM-18")
def test_a_terminated_context_ends_the_background():
    """Nothing will come any more, and nothing is reported."""
    context = zmq.Context()
    subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", context, multi=True)
    controller = subscriber.dispatch_in_background()
    thread = controller._thread

    context.term()

    thread.join(10)
    assert not controller.running
    assert subscriber.is_ended
    controller.stop()


@pytest.mark.rule("ZM-2", "ZM-3", "ZM-9", "ZM-12")
def test_a_handler_is_closed_once_and_then_says_so():
    """A passed context is used, and left alone; a socket without an address is the user's."""
    with zmq.Context() as context:
        handler = ZeroMQHandler(context=context)
        assert handler.context is context
        handler.socket.bind("inproc://somewhere")

        handler.close(0)
        handler.close()

        assert not context.closed
        with (
            handler.contextbound(),
            Flags(errors="raise").contextbound(),
            pytest.raises(zmq.ZMQError),
        ):
            log.info("too late")


@pytest.mark.rule("ZM-4")
def test_an_address_in_use_is_an_error_that_leaves_nothing_open():
    """A second publisher on the same port."""
    with zmq.Context() as context:
        first = ZeroMQHandler("tcp://127.0.0.1:*", context=context)
        with pytest.raises(zmq.ZMQError):
            ZeroMQHandler(first.socket.last_endpoint.decode(), context=context)

        assert [socket.closed for socket in list(context._sockets)] == [False]
        first.close(0)


@pytest.mark.rule("ZM-1")
@pytest.mark.parametrize("kind", [ZeroMQHandler, ZeroMQSubscriber])
def test_without_pyzmq_there_is_a_hint(monkeypatch, kind):
    """It is a RuntimeError too, as it always was."""
    monkeypatch.setitem(sys.modules, "zmq", None)

    with pytest.raises(RuntimeError, match=r"sprockets\.http\[zmq\]") as caught:
        kind("tcp://127.0.0.1:1")

    assert isinstance(caught.value, MissingDependency)
    gc.collect()


@pytest.mark.rule("ZM-10", "ZM-11")
def test_dropping_a_handler_with_messages_for_nobody_never_hangs():
    """Neither collecting it, open or closed, nor the end of the program waits for a peer."""
    result, seconds = run(
        """
        import gc, sys, time
        from sprockets.logbook import Logger
        from sprockets.logbook.queues._zeromq import ZeroMQHandler
        for is_closed in (True, False):
            handler = ZeroMQHandler(sys.argv[1], multi=True)
            with handler.contextbound():
                Logger("x").info("for nobody")
            if is_closed:
                handler.close()
            begun = time.monotonic()
            del handler
            gc.collect()
            assert time.monotonic() - begun < 0.5
        handler = ZeroMQHandler(sys.argv[1], multi=True)
        handler.push_application()
        Logger("x").info("for nobody")
        """,
        free_uri(),
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert seconds < 15


@MODES
def test_what_a_short_program_has_sent_to_somebody_leaves_before_its_end(multi):
    """It does not close the handler, and ends at once; who is connected gets it all."""
    if multi:
        subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", multi=True)
        uri = subscriber.socket.last_endpoint.decode()
    else:
        uri = free_uri()
        subscriber = ZeroMQSubscriber(uri)
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-c",
            textwrap.dedent("""
            import sys, zmq
            from sprockets.logbook import Logger
            from sprockets.logbook.queues._zeromq import ZeroMQHandler
            multi = sys.argv[2] == "True"
            handler = ZeroMQHandler(None, multi=multi)
            monitor = handler.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            (handler.socket.connect if multi else handler.socket.bind)(sys.argv[1])
            assert monitor.poll(10000)
            handler.socket.disable_monitor()
            with handler.contextbound():
                for number in range(900):
                    Logger("short").info("{}", number)
            """),
            uri,
            str(multi),
        ]
    )
    statistics = {"received": 0, "gaps": 0}
    while statistics["received"] + statistics["gaps"] < 900 and subscriber.recv(5) is not None:
        statistics = subscriber.statistics()

    assert process.wait(20) == 0
    # Subscribing takes a moment more than connecting, which a publisher cannot wait for.
    assert statistics["received"] + statistics["gaps"] == 900
    assert not (multi and statistics["gaps"])
    subscriber.close()


@pytest.mark.rule("ZM-15")
def test_waiting_for_ever_can_be_interrupted():
    """As a program in the foreground is, from the keyboard."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-c",
            "from sprockets.logbook.queues._zeromq import ZeroMQSubscriber\n"
            "subscriber = ZeroMQSubscriber('tcp://127.0.0.1:*', multi=True)\n"
            # Whoever started these tests in the background has had it ignored.
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "print('waiting', flush=True)\n"
            "subscriber.recv()\n",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)

    _, stderr = process.communicate(timeout=60)

    assert stderr.endswith("KeyboardInterrupt\n")


@pytest.mark.rule("ZM-7")
def test_threads_signal_handlers_and_finalisers_may_log_at_once():
    """Nothing hangs, and nothing is lost or garbled."""
    subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", multi=True)
    subscriber.socket.rcvhwm = 0
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-c",
            textwrap.dedent("""
            import signal, sys, threading
            from sprockets.logbook import Logger
            from sprockets.logbook.queues._zeromq import ZeroMQHandler
            log = Logger("busy")
            handler = ZeroMQHandler(None, multi=True)
            handler.socket.sndhwm = 0
            handler.socket.connect(sys.argv[1])
            handler.push_application()
            count = 0
            def note(*_):
                global count
                count += 1
                log.info("signal")
            class Cycle:
                def __init__(self):
                    self.me = self
                def __del__(self):
                    global count
                    count += 1
                    log.info("finaliser")
            signal.signal(signal.SIGALRM, note)
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            def work():
                for number in range(1000):
                    Cycle()
                    log.info("{}", number)
            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads: thread.start()
            work()
            for thread in threads: thread.join()
            signal.setitimer(signal.ITIMER_REAL, 0)
            import gc
            gc.collect()
            print(count + 4000, handler.statistics(), flush=True)
            sys.stdin.read()
            """),
            subscriber.socket.last_endpoint.decode(),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    expected = int(line.split()[0])
    received = 0
    while received < expected and subscriber.recv(5) is not None:
        received += 1

    process.communicate("", timeout=20)
    assert f"{{'sent': {expected}, 'failed': 0}}" in line
    assert received == expected
    assert subscriber.statistics()["malformed"] == 0
    subscriber.close()


# -- fork


@pytest.mark.rule("ZM-21", "M25")
def test_a_handler_that_pushes_connects_anew_in_a_forked_child():
    """Four children, five hundred records each, through the handler that they inherited."""
    subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", multi=True)
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-c",
            textwrap.dedent("""
            import os, sys
            from sprockets.logbook import Logger
            from sprockets.logbook.queues._zeromq import ZeroMQHandler
            handler = ZeroMQHandler(sys.argv[1], multi=True)
            handler.push_application()
            log = Logger("forked")
            log.info("parent")
            children = []
            for child in range(4):
                pid = os.fork()
                if not pid:
                    for number in range(500):
                        log.info("{}-{}", child, number)
                    sys.exit()
                children.append(pid)
            statuses = [os.waitpid(pid, 0)[1] for pid in children]
            assert statuses == [0] * 4, statuses
            """),
            subscriber.socket.last_endpoint.decode(),
        ]
    )
    messages = []
    while len(messages) < 2001 and (record := subscriber.recv(10)) is not None:
        messages.append(record.message)

    assert process.wait(20) == 0
    assert len(set(messages)) == 2001
    assert subscriber.statistics()["gaps"] == 0
    subscriber.close()


@pytest.mark.rule("ZM-21", "M25")
def test_a_handler_that_publishes_says_that_a_forked_child_cannot():
    """Every record there is an error, and none is lost in silence."""
    result, _ = run(
        """
        import os
        from sprockets.logbook import Logger
        from sprockets.logbook.queues._zeromq import ZeroMQHandler, ZeroMQSubscriber
        handler = ZeroMQHandler("tcp://127.0.0.1:*")
        handler.uri = handler.socket.last_endpoint.decode()
        subscriber = ZeroMQSubscriber(handler.uri)
        errors = []
        handler.handle_error = lambda record, failure: errors.append(failure[1])
        pid = os.fork()
        if not pid:
            with handler.contextbound():
                Logger("x").info("from the child")
            try:
                subscriber.recv(1)
            except Exception as error:
                errors.append(error)
            print(*errors, handler.statistics(), sep="\\n", flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        """
    )

    lines = result.stdout.splitlines()
    assert lines[0].startswith("Address already in use")
    assert "make a subscriber in the child" in lines[1]
    assert lines[2] == "{'sent': 0, 'failed': 1}"
    assert result.stderr == ""


def test_a_context_of_its_own_may_be_shared_by_both_ends():
    """Within a process no port is needed."""
    handler = ZeroMQHandler("inproc://records")
    subscriber = ZeroMQSubscriber("inproc://records")
    connect(handler, subscriber)
    with handler.contextbound(), Processor(lambda record: record.extra.update(a=1)).contextbound():
        log.info("near")

    assert subscriber.recv(5).extra == {"a": 1}
    handler.close()
    subscriber.close()
