"""Records through ZeroMQ of which none is lost, whoever comes late, goes, or comes back."""

import contextlib
import gc
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import zmq

from sprockets.logbook import Flags, Handler, Logger
from sprockets.logbook.delivery import Retry, Spool
from sprockets.logbook.queues._ordinary import encode_line
from sprockets.logbook.queues._zeromq_reliable import ReliableZeroMQHandler
from sprockets.logbook.queues._zeromq_reliable_subscriber import ReliableZeroMQSubscriber

log = Logger("payments")
SOAK = os.environ.get("SPROCKETS_SOAK") == "1"
BATCH = b"batch 0123456789abcdef\n"
AT_ONCE = Retry(initial=0.01, maximum=0.05)


class Counting(Handler):
    """Keeps the messages, and says when there are enough."""

    def __init__(self, wanted=sys.maxsize):
        super().__init__()
        self.messages = []
        self.wanted = wanted
        self.done = threading.Event()

    def emit(self, record):
        self.messages.append(record.message)
        if len(self.messages) == self.wanted:
            self.done.set()


@pytest.fixture(name="subscribe")
def _subscribe():
    made = []

    def subscribe(uri="tcp://127.0.0.1:*", **options):
        deadline = time.monotonic() + 10
        while True:
            try:
                subscriber = ReliableZeroMQSubscriber(uri, **options)
            except zmq.ZMQError:
                # Whoever had the address lets go of it in the background.
                if time.monotonic() > deadline:
                    raise
            else:
                break
        made.append(subscriber)
        return subscriber, subscriber.socket.last_endpoint.decode()

    yield subscribe
    for subscriber in made:
        subscriber.close()


@pytest.fixture(name="make_handler")
def _make_handler():
    made = []

    def make_handler(uri, **options):
        options.setdefault("retry", AT_ONCE)
        handler = ReliableZeroMQHandler(uri, **options)
        made.append(handler)
        return handler

    yield make_handler
    with Flags(errors="silent").applicationbound():
        for handler in made:
            handler.close(0)


def free_uri():
    with zmq.Context() as context, context.socket(zmq.PAIR) as pair:
        pair.bind("tcp://127.0.0.1:*")
        return pair.last_endpoint.decode()


def start(program, *args, **options):
    return subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(program), *args], text=True, **options
    )


def dispatch(subscriber, count, seconds=30.0):
    """Dispatch until there were *count* records, and return their messages."""
    counting = Counting()
    deadline = time.monotonic() + seconds
    with counting.contextbound():
        while len(counting.messages) < count and time.monotonic() < deadline:
            subscriber.dispatch_once(0.1)
    return counting.messages


def numbers(count):
    return [str(number) for number in range(count)]


# -- delivered


def test_records_arrive_in_order_with_all_facts(subscribe, make_handler):
    """They are delivered once they have been dispatched."""
    subscriber, uri = subscribe()
    handler = make_handler(uri)
    with handler.contextbound():
        for number in range(1000):
            log.info("{}", number, extra={"ü": number})
    assert not handler.flush(0)

    messages = dispatch(subscriber, 1000)

    assert handler.flush(10)
    assert messages == numbers(1000)
    assert handler.is_connected
    assert handler.statistics()["delivered"] == 1000
    assert subscriber.statistics() == {
        "received": 1000,
        "malformed": 0,
        "duplicates": 0,
        "gaps": 0,
        "refused": 0,
        "unacknowledged": 0,
    }


def test_an_exception_travels_with_its_traceback(subscribe, make_handler):
    """It is worked out where it happened."""
    subscriber, uri = subscribe()
    handler = make_handler(uri)
    with handler.contextbound():
        try:
            {}["schlüssel"]
        except KeyError:
            log.exception("no")

    record = subscriber.recv(10)
    subscriber.acknowledge(record)

    assert record.exception_name == "builtins.KeyError"
    assert record.formatted_exception.endswith("KeyError: 'schlüssel'")
    assert record.func_name == "test_an_exception_travels_with_its_traceback"


def test_what_is_only_received_is_not_acknowledged(subscribe, make_handler):
    """The sender keeps a batch until each of its records was acknowledged, from any thread."""
    subscriber, uri = subscribe(max_unacknowledged=3)
    handler = make_handler(uri, batch_wait=0.2)
    with handler.contextbound():
        for number in range(3):
            log.info("{}", number)
    records = [subscriber.recv(10) for _ in range(3)]

    assert not handler.flush(0.1)
    with pytest.raises(RuntimeError, match="acknowledge"):
        subscriber.recv(0)
    for record in records:
        subscriber.acknowledge(record)
        subscriber.acknowledge(record)
    assert handler.flush(10)
    assert subscriber.statistics()["unacknowledged"] == 0


def test_a_record_whose_handler_fails_has_been_dispatched(subscribe, make_handler):
    """Or else it would come again for ever."""
    subscriber, uri = subscribe()
    handler = make_handler(uri)

    class Failing(Handler):
        def emit(self, record):
            raise RuntimeError("no")

    with handler.contextbound():
        log.info("x")
    with (
        Failing().contextbound(),
        Flags(errors="raise").contextbound(),
        pytest.raises(RuntimeError, match="no"),
    ):
        subscriber.dispatch_once(10)

    assert handler.flush(10)


@pytest.mark.rule("M22")
def test_a_short_program_loses_nothing(subscribe):
    """It logs a thousand records and ends, without closing anything."""
    subscriber, uri = subscribe()
    process = start(
        """
        import sys
        from sprockets.logbook import Logger
        from sprockets.logbook.queues._zeromq_reliable import ReliableZeroMQHandler
        ReliableZeroMQHandler(sys.argv[1], drain_timeout=30).push_application()
        for number in range(1000):
            Logger("short").info("{}", number)
        """,
        uri,
    )

    assert dispatch(subscriber, 1000) == numbers(1000)
    assert process.wait(20) == 0
    assert subscriber.statistics()["gaps"] == 0


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_a_record_at_which_an_interrupt_came_is_the_next_again(subscribe, make_handler, interrupt):
    """Its sender keeps it until it was dispatched; the second time it counts as that."""
    subscriber, uri = subscribe()
    handler = make_handler(uri)
    with handler.contextbound():
        for number in range(3):
            log.info("{}", number)
    seen = []

    class Interrupted(Handler):
        def emit(self, record):
            seen.append(record.message)
            if record.message != "0":
                raise interrupt

    with Interrupted().contextbound():
        assert subscriber.dispatch_once(30)
        with pytest.raises(interrupt):
            subscriber.dispatch_once(30)
        assert subscriber.statistics()["unacknowledged"] == 2
        assert subscriber.statistics()["received"] == 1
        with pytest.raises(interrupt):
            subscriber.dispatch_once(30)
        assert subscriber.statistics()["unacknowledged"] == 1
    assert seen == ["0", "1", "1"]
    assert not handler.flush(0)

    assert dispatch(subscriber, 1) == ["2"]
    assert subscriber.statistics()["received"] == 3
    assert handler.flush(30)
    assert handler.statistics()["delivered"] == 3


def test_what_an_interrupt_kept_from_being_dispatched_comes_to_the_next_subscriber(
    subscribe, make_handler
):
    """If the process goes after all."""
    subscriber, uri = subscribe()
    handler = make_handler(uri)

    class Interrupted(Handler):
        def emit(self, record):
            raise KeyboardInterrupt

    with handler.contextbound():
        log.info("dear")
    with Interrupted().contextbound(), pytest.raises(KeyboardInterrupt):
        subscriber.dispatch_once(30)
    subscriber.close()
    following, _ = subscribe(uri)

    assert dispatch(following, 1) == ["dear"]
    assert handler.flush(30)


@pytest.mark.rule("M22", "M23")
def test_while_nobody_is_there_a_log_call_does_not_wait(subscribe, make_handler):
    """All is delivered once somebody comes, in order."""
    count = 100_000 if SOAK else 10_000
    uri = free_uri()
    handler = make_handler(uri, capacity=count)
    seconds = []
    with handler.contextbound(), Flags(errors="silent").applicationbound():
        for number in range(count):
            begun = time.thread_time()
            log.info("{}", number)
            seconds.append(time.thread_time() - begun)
        assert handler.statistics()["queued"] == count
        subscriber, _ = subscribe(uri)
        messages = dispatch(subscriber, count, 120)
        assert handler.flush(10)

    assert messages == numbers(count)
    # Of processor time: what the machine does meanwhile is not the log call's.
    assert sorted(seconds)[count * 999 // 1000] <= 0.005


def test_memory_is_bounded_and_what_does_not_fit_is_counted_on_both_sides(subscribe, make_handler):
    """Without a spool the oldest go; the subscriber sees that they are missing in between."""
    uri = free_uri()
    subscriber, uri = subscribe()
    handler = make_handler(uri, capacity=100, batch_size=10)
    with handler.contextbound(), Flags(errors="silent").applicationbound():
        log.info("first")
        assert dispatch(subscriber, 1) == ["first"]
        assert handler.flush(10)
        for number in range(1000):
            log.info("{}", number)
        dropped = handler.statistics()["dropped"]["full"]
        messages = dispatch(subscriber, 1000 - dropped)
        assert handler.flush(10)

    assert dropped >= 800
    assert len(messages) == 1000 - dropped
    assert messages[-1] == "999"
    assert subscriber.statistics()["gaps"] == dropped


def test_a_spool_keeps_what_nobody_takes_for_the_next_process(subscribe, make_handler, tmp_path):
    """The first program ends while nobody is there; the second one's handler delivers it."""
    uri = free_uri()
    with Flags(errors="silent").applicationbound():
        first = make_handler(uri, spool=Spool(tmp_path / "spool"), capacity=10)
        with first.contextbound():
            for number in range(200):
                log.info("{}", number)
        first.close(0.1)
        subscriber, _ = subscribe(uri)
        make_handler(uri, spool=Spool(tmp_path / "spool"))

        messages = dispatch(subscriber, 200)

    # What was under way when the first one ended comes last.
    assert sorted(messages, key=int) == numbers(200)
    assert subscriber.statistics()["gaps"] == 0


# -- again


def test_what_was_not_acknowledged_comes_again_to_the_next_subscriber(subscribe, make_handler):
    """The first took a batch and went: nothing of it is lost."""
    first, uri = subscribe()
    handler = make_handler(uri)
    with handler.contextbound(), Flags(errors="silent").applicationbound():
        for number in range(100):
            log.info("{}", number)
        begun = [first.recv(10).message for _ in range(7)]
        first.close()
        second, _ = subscribe(uri)

        messages = dispatch(second, 100)
        assert handler.flush(10)

    assert begun == numbers(7)
    assert messages == numbers(100)
    assert handler.statistics()["resent"] >= 1


class Cable:
    """A connection in between, which can be cut."""

    def __init__(self, port):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends = []
        self._threads = []
        self._is_silent = threading.Event()
        self.uri = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                near.close()
                continue
            self._ends += [near, far]
            self._start(self._carry, near, far)
            self._start(self._carry, far, near)

    def _carry(self, one, other):
        try:
            while data := one.recv(65536):
                if not self._is_silent.is_set():
                    other.sendall(data)
        except OSError:
            pass
        finally:
            for end in (one, other):
                self._shut(end)

    def _shut(self, end):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        for end in self._ends:
            self._shut(end)

    def swallow(self):
        """Take all, deliver nothing, and keep the connections up."""
        self._is_silent.set()

    def heal(self):
        self._is_silent.clear()

    def close(self):
        self._shut(self._listener)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)
        for end in self._ends:
            end.close()


@pytest.fixture(name="lay_cable")
def _lay_cable():
    cables = []

    def lay_cable(uri):
        cables.append(Cable(int(uri.rpartition(":")[2])))
        return cables[-1]

    yield lay_cable
    for cable in cables:
        cable.close()


def test_a_broken_connection_loses_nothing_and_doubles_nothing(subscribe, make_handler, lay_cable):
    """Cut ten times in the middle of ten thousand records: each is dispatched once, in order."""
    subscriber, uri = subscribe()
    cable = lay_cable(uri)
    handler = make_handler(cable.uri, batch_size=500)
    counting = Counting()
    with Flags(errors="silent").applicationbound():
        with handler.contextbound():
            for number in range(10_000):
                log.info("{}", number)
        with counting.contextbound():
            deadline = time.monotonic() + 60
            for wanted in range(1000, 11_000, 1000):
                while len(counting.messages) < wanted and time.monotonic() < deadline:
                    subscriber.dispatch_once(0.1)
                cable.cut()
        subscriber.dispatch_in_background()
        assert handler.flush(20)

    assert counting.messages == numbers(10_000)
    assert subscriber.statistics()["gaps"] == 0


def test_a_peer_that_falls_silent_is_noticed(subscribe, make_handler, lay_cable):
    """The connection is still up, and nothing answers: heartbeats find out."""
    subscriber, uri = subscribe()
    cable = lay_cable(uri)
    handler = make_handler(cable.uri, heartbeat=0.1)
    with handler.contextbound(), Flags(errors="silent").applicationbound():
        log.info("before")
        assert dispatch(subscriber, 1) == ["before"]
        assert handler.flush(10)
        cable.swallow()
        log.info("after")
        deadline = time.monotonic() + 20
        while handler.is_connected and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert not handler.is_connected
        cable.heal()
        cable.cut()

        assert dispatch(subscriber, 1) == ["after"]
        assert handler.flush(10)


def test_a_subscriber_that_acknowledges_nothing_is_given_up_and_gets_all_again(
    subscribe, make_handler
):
    """Records that are still with it are not doubled, and are acknowledged together."""
    subscriber, uri = subscribe()
    handler = make_handler(uri, timeout=0.2, batch_wait=0.1)
    with handler.contextbound(), Flags(errors="silent").applicationbound():
        for number in range(10):
            log.info("{}", number)
        records = [subscriber.recv(10) for _ in range(10)]
        deadline = time.monotonic() + 20
        while subscriber.statistics()["duplicates"] < 10 and time.monotonic() < deadline:
            assert subscriber.recv(0.05) is None
        for record in records:
            subscriber.acknowledge(record)
        while not handler.flush(0.05) and time.monotonic() < deadline:
            assert subscriber.recv(0.05) is None

    assert [record.message for record in records] == numbers(10)
    assert handler.statistics()["delivered"] == 10
    assert handler.statistics()["failed"] >= 1


# -- what peers send


@pytest.mark.rule("M24")
@pytest.mark.parametrize(
    "frames",
    [
        [b"hello"],
        [b"batch 1\n{}"],
        [BATCH + b"{}", b"more"],
        [BATCH + b"\xff\n[1]\n{"],
        [BATCH],
        [BATCH[:-1]],
        [BATCH + b'{"level":11,"record_id":[]}\n{"level":[]}'],
        [BATCH + b'{"level":1},{"level":1}\n'],
    ],
)
def test_what_is_no_batch_is_counted_and_harms_nobody(subscribe, make_handler, frames):
    """Records of others still come."""
    subscriber, uri = subscribe()
    handler = make_handler(uri)
    with (
        zmq.Context() as context,
        context.socket(zmq.DEALER) as hostile,
        Flags(errors="silent").applicationbound(),
    ):
        hostile.connect(uri)
        hostile.linger = 0
        hostile.send_multipart(frames)
        deadline = time.monotonic() + 10
        while not subscriber.statistics()["malformed"] and time.monotonic() < deadline:
            subscriber.dispatch_once(0.05)
        with handler.contextbound():
            log.info("good")

        assert "good" in dispatch(subscriber, 1)
    assert subscriber.statistics()["malformed"] >= 1
    assert handler.flush(10)


def test_a_bad_line_among_good_ones_is_the_only_one_that_is_lost(subscribe):
    """Its batch is acknowledged all the same: it would be no better the next time."""
    subscriber, uri = subscribe()
    lines = [encode_line(record, f"a-{n}") for n, record in enumerate(make_records(), 1)]
    lines.insert(1, b"no record")
    with (
        zmq.Context() as context,
        context.socket(zmq.DEALER) as sender,
        Flags(errors="silent").applicationbound(),
    ):
        sender.connect(uri)
        sender.send(BATCH + b"\n".join(lines))

        assert len(dispatch(subscriber, len(lines) - 1)) == len(lines) - 1
        assert sender.poll(10_000)
        assert sender.recv_multipart() == [b"ack 0123456789abcdef"]

    assert subscriber.statistics()["malformed"] == 1
    assert "no record" in subscriber.last_malformed[0]


def make_records():
    class Keeping(Handler):
        def emit(self, record):
            made.append(encode_now(record))

    def encode_now(record):
        record.keep_open = True
        return record

    made = []
    with Keeping().contextbound():
        log.info("one")
        log.info("two {}", 2)
    return made


# -- keys


@pytest.fixture(name="keys", scope="module")
def _keys():
    return {name: zmq.curve_keypair() for name in ("server", "client", "stranger")}


def text(key):
    return key.decode()


@pytest.mark.parametrize("kind", ["file", "list", "function", "anybody"])
def test_who_has_the_right_keys_gets_through(subscribe, make_handler, keys, tmp_path, kind):
    """The sender knows the server's key, and the server those of its senders."""
    public = text(keys["client"][0])
    file = tmp_path / "keys"
    file.write_text(f"# senders\n\n{public} # shop\n")
    allowed = {"file": file, "list": [public], "function": public.__eq__, "anybody": None}[kind]
    subscriber, uri = subscribe(secret_key=keys["server"][1], client_keys=allowed)
    handler = make_handler(uri, server_key=text(keys["server"][0]), keys=keys["client"])
    with handler.contextbound():
        log.info("secret")

    assert dispatch(subscriber, 1) == ["secret"]
    assert handler.flush(10)
    assert subscriber.statistics()["refused"] == 0


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        ({"server_key": "server", "keys": "stranger"}, "key is refused"),
        ({"server_key": "stranger", "keys": "client"}, "handshake|nobody receives"),
        ({}, "nobody receives|no agreement|handshake"),
    ],
    ids=["unknown client", "wrong server key", "no key"],
)
def test_a_wrong_key_delivers_nothing_and_says_so(
    subscribe, make_handler, keys, capfd, theirs, says
):
    """What was logged stays with the sender."""
    subscriber, uri = subscribe(secret_key=keys["server"][1], client_keys=[keys["client"][0]])
    options = {}
    if theirs:
        options["server_key"] = keys[theirs["server_key"]][0]
        options["keys"] = keys[theirs["keys"]]
    handler = make_handler(uri, **options)
    with handler.contextbound():
        log.info("secret")
    deadline = time.monotonic() + 20
    reported = ""
    while not re.search(says, reported) and time.monotonic() < deadline:
        assert subscriber.recv(0.1) is None
        reported += capfd.readouterr().err

    assert re.search(says, reported)
    assert "secret" not in reported
    assert handler.statistics()["delivered"] == 0
    assert not handler.is_connected
    if "unknown" in theirs.get("keys", "") or theirs.get("keys") == "stranger":
        assert subscriber.statistics()["refused"] >= 1
        assert f"{text(keys['stranger'][0])!r} is refused: not among the allowed keys" in reported


def test_a_key_that_is_added_to_the_file_lets_its_owner_in(subscribe, make_handler, keys, tmp_path):
    """The file is read at every connection."""
    file = tmp_path / "keys"
    file.write_text("")
    subscriber, uri = subscribe(secret_key=keys["server"][1], client_keys=file)
    with Flags(errors="silent").applicationbound():
        handler = make_handler(uri, server_key=keys["server"][0], keys=keys["client"])
        with handler.contextbound():
            log.info("patient")
        deadline = time.monotonic() + 10
        while not subscriber.statistics()["refused"] and time.monotonic() < deadline:
            assert subscriber.recv(0.1) is None
        file.write_text(text(keys["client"][0]))

        assert dispatch(subscriber, 1) == ["patient"]


@pytest.mark.parametrize(
    "options",
    [
        {"server_key": "too short"},
        {"server_key": "é" * 40},
        {"server_key": '"' * 40},
        {"keys": ("a", "b")},
    ],
)
def test_a_key_that_is_none_is_a_mistake(options):
    """And is not shown, for it may be a secret."""
    with pytest.raises(ValueError, match="key") as caught:
        ReliableZeroMQHandler("tcp://127.0.0.1:1", **options)
    assert "too short" not in str(caught.value)
    gc.collect()


def test_allowed_keys_need_a_secret_one():
    """Nobody would be kept out."""
    with pytest.raises(ValueError, match="secret_key"):
        ReliableZeroMQSubscriber(client_keys=[])
    gc.collect()


# -- forks, signals, ends


@pytest.mark.rule("M25")
@pytest.mark.parametrize("ending", ["sys.exit()", "handler.close(20); os._exit(0)"])
def test_forked_children_send_for_themselves(subscribe, ending):
    """Four, with five hundred records each, through the handler that they inherited connected."""
    subscriber, uri = subscribe()
    process = start(
        f"""
        import os, sys
        from sprockets.logbook import Logger
        from sprockets.logbook.queues._zeromq_reliable import ReliableZeroMQHandler
        handler = ReliableZeroMQHandler(sys.argv[1], drain_timeout=30)
        handler.push_application()
        log = Logger("forked")
        log.info("parent")
        assert handler.flush(20)
        children = []
        for child in range(4):
            pid = os.fork()
            if not pid:
                for number in range(500):
                    log.info("{{}}-{{}}", child, number)
                {ending}
            children.append(pid)
        log.info("parent again")
        statuses = [os.waitpid(pid, 0)[1] for pid in children]
        assert statuses == [0] * 4, statuses
        """,
        uri,
    )

    messages = dispatch(subscriber, 2002, 60)

    assert process.wait(20) == 0
    assert sorted(messages) == sorted(
        ["parent", "parent again"] + [f"{child}-{n}" for child in range(4) for n in range(500)]
    )
    assert subscriber.statistics()["gaps"] == 0


def test_threads_signal_handlers_and_finalisers_may_log_at_once(subscribe):
    """Nothing hangs, and nothing is lost."""
    subscriber, uri = subscribe()
    process = start(
        """
        import signal, sys, threading
        from sprockets.logbook import Logger
        from sprockets.logbook.queues._zeromq_reliable import ReliableZeroMQHandler
        log = Logger("busy")
        handler = ReliableZeroMQHandler(sys.argv[1], drain_timeout=30)
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
        print(count + 4000, flush=True)
        """,
        uri,
        stdout=subprocess.PIPE,
    )
    counting = Counting()
    controller = subscriber.dispatch_in_background(counting)

    output, _ = process.communicate(timeout=40)

    controller.stop()
    assert process.returncode == 0
    assert len(counting.messages) == int(output)


@pytest.mark.parametrize(
    "ending",
    [
        "pass",
        "handler.close(0.2)",
        "del handler; import gc; gc.collect()",
        "os.kill(os.getpid(), signal.SIGALRM)",
        "signal.setitimer(signal.ITIMER_REAL, 0.01); handler.flush(1)",
    ],
    ids=["exit", "close", "collected", "closed by a signal", "closed while waiting"],
)
def test_with_nobody_there_a_program_still_ends(ending):
    """Within its deadline, and says how many records are lost."""
    begun = time.monotonic()
    process = start(
        f"""
        import os, signal, sys
        from sprockets.logbook import Logger
        from sprockets.logbook.queues._zeromq_reliable import ReliableZeroMQHandler
        handler = ReliableZeroMQHandler(sys.argv[1], drain_timeout=0.5)
        signal.signal(signal.SIGALRM, lambda *_: handler.close(0.2))
        with handler.contextbound():
            for number in range(100):
                Logger("x").info("{{}}", number)
        {ending}
        """,
        free_uri(),
        stderr=subprocess.PIPE,
    )

    _, stderr = process.communicate(timeout=20)

    assert process.returncode == 0
    assert "100 items for 'ReliableZeroMQHandler' were not delivered" in stderr
    assert "Traceback" not in stderr
    assert time.monotonic() - begun < 15


def test_a_subscriber_that_is_interrupted_while_waiting_ends():
    """Closed by a signal handler in the middle of a wait, or collected, or left open."""
    process = start(
        """
        import signal, zmq
        from sprockets.logbook.queues._zeromq_reliable_subscriber import ReliableZeroMQSubscriber
        _, secret = zmq.curve_keypair()
        for _ in range(2):
            subscriber = ReliableZeroMQSubscriber(
                "tcp://127.0.0.1:*", secret_key=secret, client_keys=[]
            )
            signal.signal(signal.SIGALRM, lambda *_: subscriber.close())
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            try:
                subscriber.recv()
            except zmq.ZMQError:
                print("closed", flush=True)
        left_open = ReliableZeroMQSubscriber("tcp://127.0.0.1:*")
        left_open.dispatch_in_background()
        """,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    assert process.communicate(timeout=20) == ("closed\nclosed\n", "")
    assert process.returncode == 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_a_killed_subscriber_loses_nothing_that_it_had_not_dispatched(subscribe, make_handler):
    """What it dispatched and what the next one dispatches are all there is, in order."""
    uri = free_uri()
    process = start(
        """
        import sys
        from sprockets.logbook import Handler
        from sprockets.logbook.queues._zeromq_reliable_subscriber import ReliableZeroMQSubscriber
        class Printing(Handler):
            def emit(self, record):
                print(record.message, flush=True)
        with Printing().applicationbound():
            ReliableZeroMQSubscriber(sys.argv[1]).dispatch_forever()
        """,
        uri,
        stdout=subprocess.PIPE,
    )
    handler = make_handler(uri, heartbeat=0.2)
    with handler.contextbound(), Flags(errors="silent").applicationbound():
        for number in range(5000):
            log.info("{}", number)
        printed = [process.stdout.readline() for _ in range(300)]
        process.kill()
        printed += process.stdout.readlines()
        process.wait(10)
        process.stdout.close()
        subscriber, _ = subscribe(uri)
        deadline = time.monotonic() + 60
        messages = []
        while not handler.flush(0) and time.monotonic() < deadline:
            messages += dispatch(subscriber, 250, 0.2)

    known = [line.strip() for line in printed if line.endswith("\n")]
    assert known == numbers(len(known))
    assert set(known) | set(messages) == set(numbers(5000))
    assert messages == numbers(5000)[-len(messages) :]
