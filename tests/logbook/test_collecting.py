"""One process that receives the records of many."""

import itertools
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
import zmq

from sprockets.logbook import INFO, FileHandler, Flags, Handler, Logger, LogRecord
from sprockets.logbook._collecting._beats import Watch, Watchdog
from sprockets.logbook.collecting import (
    Collector,
    Source,
    register_source,
    source_examples,
    source_from_url,
    unregister_source,
)
from sprockets.logbook.delivery import Retry
from sprockets.logbook.errors import MisuseError
from sprockets.logbook.handlers import TestHandler
from sprockets.logbook.queues._kombu import MessageQueueHandler
from sprockets.logbook.queues._multiprocessing import (
    MultiProcessingHandler,
    MultiProcessingSubscriber,
)
from sprockets.logbook.queues._nats import JetStreamHandler
from sprockets.logbook.queues._redis_streams import RedisStreamHandler
from sprockets.logbook.queues._subscriber import ClosedError, SubscriberBase
from sprockets.logbook.queues._zeromq import ZeroMQHandler
from sprockets.logbook.queues._zeromq_reliable import ReliableZeroMQHandler
from sprockets.logbook.queues._zeromq_reliable_subscriber import ReliableZeroMQSubscriber

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    # Last: what is tested is what is installed.
    sys.path.append(ROOT)

from tests.services import nats_url, rabbitmq_url, redis_url  # noqa: E402 - found through the above

log = Logger("shop")
AT_ONCE = Retry(initial=0.01, maximum=0.02)


class Counting(TestHandler):
    """Keeps records, and says when there are enough."""

    def __init__(self, wanted=sys.maxsize):
        super().__init__()
        self.wanted = wanted
        self.done = threading.Event()

    def emit(self, record):
        super().emit(record)
        if len(self.messages) >= self.wanted:
            self.done.set()

    @property
    def messages(self):
        return [each.message for each in self.records if each.channel != "sprockets.collector"]

    @property
    def told(self):
        """What the collector itself says."""
        return [each.message for each in self.records if each.channel == "sprockets.collector"]


def put(channel, *messages):
    handler = MultiProcessingHandler(channel)
    for message in messages:
        record = LogRecord("shop", INFO, message)
        record.heavy_init()
        handler.emit(record)


class Scripted(SubscriberBase):
    """Does what a list says: raises an error, or returns a record."""

    def __init__(self, *script):
        self.script = list(script)
        self.done = []
        self.is_closed = False

    def recv(self, timeout=None):
        if self.is_closed:
            raise ClosedError("closed")
        if not self.script:
            threading.Event().wait(min(timeout, 0.01))
            return None
        step = self.script.pop(0)
        if isinstance(step, BaseException):
            raise step
        self._received += 1
        return LogRecord("shop", INFO, step)

    def acknowledge(self, record):
        self.done.append(f"acknowledged {record.message}")

    def close(self):
        self.is_closed = True


# -- what becomes of records


def test_the_records_of_all_sources_go_into_one_set_up():
    """Whichever way they came, and they are counted together and each by itself."""
    channels = [queue.Queue() for _ in range(3)]
    for number, channel in enumerate(channels):
        put(channel, f"a{number}", f"b{number}")
    handler = Counting(6)

    with Collector(map(MultiProcessingSubscriber, channels), handler) as collector:
        assert handler.done.wait(10)

    assert sorted(handler.messages) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    counts = collector.statistics()
    assert (counts["received"], counts["dispatched"], counts["failed"]) == (6, 6, 0)
    assert counts["malformed"] == counts["duplicates"] == counts["gaps"] == counts["outages"] == 0


def test_the_order_of_one_source_is_kept_though_sources_share_a_thread():
    """Fewer threads than sources take them in turn."""
    channels = [queue.Queue() for _ in range(5)]
    for number, channel in enumerate(channels):
        put(channel, *(f"{number} {index:03}" for index in range(400)))
    handler = Counting(2000)

    with Collector(map(MultiProcessingSubscriber, channels), handler, threads=2):
        assert handler.done.wait(20)

    for number in range(5):
        mine = [each for each in handler.messages if each.startswith(str(number))]
        assert mine == [f"{number} {index:03}" for index in range(400)]


def test_a_record_is_acknowledged_after_it_was_dispatched():
    """A collector that dies in between leaves it with its sender."""
    source = Scripted("one", "two")

    class Writing(Counting):
        def emit(self, record):
            if record.channel == "shop":
                source.done.append(f"wrote {record.message}")
            super().emit(record)

    handler = Writing(2)
    with Collector([source], handler):
        assert handler.done.wait(10)

    assert source.done == ["wrote one", "acknowledged one", "wrote two", "acknowledged two"]


def test_what_is_under_way_when_it_stops_is_received_still():
    """The end waits until nothing more comes."""
    channel = queue.Queue()
    handler = Counting()

    with Collector([MultiProcessingSubscriber(channel)], handler):
        put(channel, *map(str, range(2000)))

    assert handler.messages == list(map(str, range(2000)))


def test_the_end_waits_no_longer_than_it_may():
    """A source that never pauses does not keep it alive, and the result says that there was more."""

    class Endless(SubscriberBase):
        def recv(self, timeout=None):
            self._received += 1
            return LogRecord("shop", INFO, "more")

    handler = Counting(1)
    collector = Collector([Endless()], handler, drain_timeout=0.3)
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(collector.run()), daemon=True)
    thread.start()
    assert handler.done.wait(10)

    began = time.monotonic()
    collector.stop()
    thread.join(20)

    assert outcome == [False]
    assert 0.25 < time.monotonic() - began < 10


def test_what_a_broker_keeps_is_not_waited_for():
    """At the end a source whose records stay where they are is left at once."""
    made = Scripted(*map(str, range(100_000)))
    collector = Collector([Source("a broker", lambda: made, is_kept=True)], Counting())
    collector.stop()

    assert collector.run() is True

    assert len(made.script) > 90_000
    assert made.is_closed


def test_a_record_that_a_handler_fails_with_is_counted_and_the_next_one_dispatched(capsys):
    """Even where failures are raised; the record is dealt with, and the thread lives."""

    class Failing(Counting):
        def emit(self, record):
            if record.message == "bad":
                raise ZeroDivisionError("oh")
            super().emit(record)

    for setting in ("raise", "print"):
        source = Scripted("bad", "good", "bad", "fine")
        handler = Failing(2)
        flags = Flags(errors=setting)
        flags.push_application()
        try:
            with Collector([source], handler) as collector:
                assert handler.done.wait(10)
        finally:
            flags.pop_application()

        assert handler.messages == ["good", "fine"]
        assert collector.statistics()["failed"] == 2
        assert collector.statistics()["received"] == 4
    assert "ZeroDivisionError: oh" in capsys.readouterr().err


@pytest.mark.rule("M24")
def test_nothing_that_a_peer_sends_ends_it(capsys):
    """What is no record is counted, and the records after it arrive."""
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    handler = Counting(100)
    url = "zmq+pull://127.0.0.1:*"
    source = source_from_url(url.replace("*", str(free_port())))
    address = source.name.replace("zmq+pull", "tcp")
    push.connect(address)
    bad = [b"", b"{", b"\xff\xfe", b"[]", b'{"level": "x"}', b"[" * 100_000, b'{"level": 1e999}']

    with Collector([source], handler) as collector:
        for each in bad:
            push.send(each)
        push.send_multipart([b"a", b"b"])
        sender = ZeroMQHandler(address, multi=True)
        for number in range(100):
            sender.emit(LogRecord("shop", INFO, str(number)))
        assert handler.done.wait(20)
        sender.close()
    push.close(0)
    context.term()

    assert handler.messages == list(map(str, range(100)))
    assert collector.statistics()["malformed"] == len(bad) + 1
    capsys.readouterr()


def free_port():
    context = zmq.Context()
    socket = context.socket(zmq.PULL)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    socket.close(0)
    context.term()
    return port


# -- sources that fail


def test_a_source_that_fails_is_tried_again_and_named_while_the_others_go_on():
    """The log says what cannot be received from, when it is tried again, and that it is back."""
    tries = itertools.count()

    def open_third_time():
        if next(tries) < 2:
            raise ConnectionRefusedError("with the password hunter2")
        return Scripted("late")

    channel = queue.Queue()
    put(channel, "soon")
    handler = Counting(2)
    flaky = Source("flaky://", open_third_time, hide=lambda text: text.replace("hunter2", "***"))

    with Collector(
        [flaky, MultiProcessingSubscriber(channel)], handler, retry=AT_ONCE
    ) as collector:
        assert handler.done.wait(10)

    assert sorted(handler.messages) == ["late", "soon"]
    told = [each for each in handler.told if "flaky://" in each]
    failures = [each for each in told if each.startswith("cannot receive from flaky://: ")]
    assert len(failures) == 2
    assert "ConnectionRefusedError: with the password ***; trying again in 0.0 s" in failures[0]
    assert any(each.startswith("receiving from flaky:// again, after ") for each in told)
    assert collector.statistics_by_source()["flaky://"]["outages"] == 1


def test_a_source_that_ends_is_opened_again_and_its_counts_go_on():
    """Two subscribers of one source count as one."""
    subscribers = [Scripted("one", ClosedError("gone")), Scripted("two")]
    opened = iter(subscribers)
    handler = Counting(2)

    with Collector([Source("it", lambda: next(opened))], handler, retry=AT_ONCE) as collector:
        assert handler.done.wait(10)

    assert handler.messages == ["one", "two"]
    assert collector.statistics()["received"] == 2
    assert all(each.is_closed for each in subscribers)


def test_it_ends_by_itself_when_all_that_it_was_given_has_ended():
    """A subscriber of the caller's is not opened again, and not closed."""
    subscriber = Scripted("one", ClosedError("gone"))
    handler = Counting()

    assert Collector([subscriber], handler).run() is True

    assert handler.messages == ["one"]
    assert not subscriber.is_closed


def test_an_error_that_is_no_exception_does_not_end_a_thread(capsys):
    """Whatever is raised, the next record arrives."""

    class Exiting(Counting):
        def emit(self, record):
            if record.message == "exit":
                sys.exit(3)
            super().emit(record)

    handler = Exiting(1)
    with Collector([Scripted("exit", "next")], handler):
        assert handler.done.wait(10)

    assert handler.messages == ["next"]
    assert "SystemExit: 3" in capsys.readouterr().err


def test_who_wants_to_know_opens_the_sources_before():
    """What cannot be opened is raised, named, and what was opened is closed again."""
    good = Scripted()

    def refuse():
        raise PermissionError("not you")

    collector = Collector([Source("good", lambda: good), Source("bad", refuse)])

    with pytest.raises(PermissionError, match="not you") as caught:
        collector.open()

    assert caught.value.__notes__ == ["source: bad"]
    assert good.is_closed


# -- its life


def test_its_own_records_go_into_the_set_up_and_what_nobody_wants_goes_nowhere(capsys):
    """While it runs the set-up is bound to the application, and nothing is left to the default."""
    channel = queue.Queue()
    handler = Counting(1)
    handler.level = INFO

    with Collector([MultiProcessingSubscriber(channel)], handler):
        log.debug("beneath it")
        put(channel, "from elsewhere")
        log.info("from here")
        assert handler.done.wait(10)

    assert sorted(handler.messages) == ["from elsewhere", "from here"]
    assert handler.told[0] == "collecting from a MultiProcessingSubscriber"
    assert capsys.readouterr().err == ""


def test_without_a_set_up_records_go_where_the_application_says():
    """Nothing is bound then."""
    handler = Counting(1)
    with handler.applicationbound(), Collector([Scripted("one")]):
        assert handler.done.wait(10)

    assert handler.messages == ["one"]


def test_a_set_up_that_cannot_be_bound_is_told_to_who_starts_it():
    """And not to a thread that nobody looks at."""

    class Unbindable(TestHandler):
        def push_application(self):
            raise MisuseError("no")

    collector = Collector([Scripted()], Unbindable())

    with pytest.raises(MisuseError, match="no"), collector:
        pytest.fail("it runs")


def test_it_runs_once_at_a_time_and_again_later():
    """A second run is refused while there is one, and fine afterwards."""
    channel = queue.Queue()
    handler = Counting()
    collector = Collector([MultiProcessingSubscriber(channel)], handler)
    with collector:
        with pytest.raises(MisuseError, match="runs already"):
            collector.run()
        put(channel, "one")
    with collector:
        put(channel, "two")

    assert handler.messages == ["one", "two"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sources": []}, "needs something to receive from"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"drain_timeout": -1}, "drain_timeout must be seconds from 0 on, got -1"),
        ({"statistics_interval": float("nan")}, "statistics_interval must be seconds"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options, text):
    """At once, with what was given."""
    with pytest.raises(ValueError, match=text):
        Collector(**{"sources": [Scripted()], **options})


def test_a_broken_set_up_leaves_the_old_one_in_force():
    """A reload says what came of it."""

    class Reloadable(Counting):
        error = None

        def reload(self):
            if self.error is not None:
                raise self.error

    handler = Reloadable()
    collector = Collector([Scripted()], handler)
    with collector:
        assert collector.reload() is True
        handler.error = ValueError("line 3: what?")
        assert collector.reload() is False

    assert "read the set-up again" in handler.told
    assert "keeping the old set-up: line 3: what?" in handler.told


def test_a_set_up_that_came_from_no_file_cannot_be_read_again():
    """Which is said, and harmless."""
    handler = Counting()
    with Collector([Scripted()], handler) as collector:
        assert collector.reload() is False

    assert "the set-up cannot be read again: it came from no file" in handler.told


def test_files_that_somebody_has_moved_are_opened_again(tmp_path):
    """As logrotate does it: what comes next is in a new file."""
    path = tmp_path / "all.log"
    channel = queue.Queue()
    handler = FileHandler(path)
    with Collector([MultiProcessingSubscriber(channel)], handler) as collector:
        put(channel, "before")
        wait_until(lambda: path.exists() and "before" in path.read_text())
        path.rename(tmp_path / "all.log.1")
        assert collector.reopen() == 1
        put(channel, "after")
    handler.close()

    assert "before" in (tmp_path / "all.log.1").read_text()
    assert "after" in path.read_text()
    assert "before" not in path.read_text()


def test_what_came_so_far_is_logged_again_and_again():
    """With every count as a fact of the record."""
    handler = Counting()
    with Collector([Scripted("one", "two")], handler, statistics_interval=0.05):
        wait_until(lambda: "collected so far: dispatched 2, received 2" in handler.told)

    last = handler.records[-1]
    assert last.message == "collected: dispatched 2, received 2"
    assert last.extra["dispatched"] == 2


def test_a_notifier_hears_of_every_state():
    """For systemd and the like."""
    told = []

    class Notifier:
        watchdog_interval = 0.01

        def ready(self, status=""):
            told.append("ready")

        def reloading(self):
            told.append("reloading")

        def stopping(self, seconds):
            told.append("stopping")

        def alive(self):
            told.append("alive")

    with Collector([Scripted()], Counting(), notifier=Notifier()):
        wait_until(lambda: told.count("alive") > 2)

    assert told[0] == "ready"
    assert told[-1] == "stopping"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_inherits_no_running_collector():
    """The parent's goes on; in the child it stands still, and may be run."""
    channel = queue.Queue()
    handler = Counting(1)
    made = []

    def make():
        made.append(Scripted("one"))
        return made[-1]

    source = Source("it", make)
    collector = Collector([source, MultiProcessingSubscriber(channel)], handler)
    with collector:
        assert handler.done.wait(10)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                collector.setup = None
                collector.stop()
                # What the parent has opened is the parent's; the child opens its own.
                if collector.run() is True and not made[0].is_closed:
                    status = 0
            finally:
                os._exit(status)
        assert status_of(pid) == 0
        put(channel, "still there")
    assert handler.messages == ["one", "still there"]


def status_of(pid):
    """Return the exit status of a child, which is killed if it takes too long."""
    statuses = []

    def has_ended():
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            statuses.append(os.waitstatus_to_exitcode(status))
        return found

    try:
        wait_until(has_ended)
    finally:
        if not statuses:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return statuses[0]


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        threading.Event().wait(0.005)


# -- its heart


class Heart:
    """Keeps the moments of the beats."""

    interval = 0.01

    def __init__(self):
        self.beats = []

    def beat(self, moment):
        self.beats.append(moment)


class Blocking(Counting):
    """Does not come back from one record until it is told to."""

    def __init__(self, wanted):
        super().__init__(wanted)
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()

    def emit(self, record):
        if record.message == "stuck":
            self.has_begun.set()
            assert self.may_go_on.wait(60)
        super().emit(record)


def test_the_heart_beats_while_the_threads_come_round():
    """With nothing to do as well as with much."""
    channel = queue.Queue()
    heart = Heart()
    handler = Counting(5000)
    with Collector([MultiProcessingSubscriber(channel), Scripted()], handler, heart=heart):
        wait_until(lambda: len(set(heart.beats)) > 3)
        put(channel, *map(str, range(5000)))
        before = heart.beats[-1]
        assert handler.done.wait(30)
        wait_until(lambda: heart.beats[-1] > before)

    assert heart.beats[-1] <= time.monotonic()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_heart_stands_still_while_a_handler_blocks(threads):
    """Though the other threads come round, and the collector answers; then it beats again."""
    heart = Heart()
    handler = Blocking(1)
    sources = [Scripted("stuck"), Scripted()]
    with Collector(sources, handler, threads=threads, heart=heart) as collector:
        assert handler.has_begun.wait(10)
        blocked_at = time.monotonic()
        rounds = len(heart.beats) + 50
        wait_until(lambda: len(heart.beats) > rounds)
        assert heart.beats[-1] <= blocked_at
        assert collector.statistics()["dispatched"] == 0
        handler.may_go_on.set()
        assert handler.done.wait(10)
        wait_until(lambda: heart.beats[-1] > blocked_at)


def test_a_process_manager_does_not_hear_that_all_is_well_while_a_handler_blocks():
    """Or it would not begin it anew."""
    heart = Heart()
    handler = Blocking(1)
    alive = []

    class Notifier:
        watchdog_interval = 0.01

        def ready(self, status=""):
            pass

        def stopping(self, seconds):
            pass

        def alive(self):
            alive.append(time.monotonic())

    source = Scripted()
    with Collector([source], handler, notifier=Notifier(), heart=heart):
        wait_until(lambda: len(alive) > 2)
        source.script.append("stuck")
        assert handler.has_begun.wait(10)
        blocked_at = time.monotonic()
        rounds = len(heart.beats) + 50
        wait_until(lambda: len(heart.beats) > rounds)
        # What was on the way when it began.
        assert sum(moment > blocked_at for moment in alive) <= 1
        handler.may_go_on.set()
        wait_until(lambda: sum(moment > blocked_at for moment in alive) > 2)


def test_a_handler_that_blocks_with_its_lock_held_does_not_keep_it_from_ending():
    """Though what it has to say of that has to wait for the lock; it says that not all was had."""

    class Locked(Blocking):
        def __init__(self):
            super().__init__(1)
            self.own_lock = threading.Lock()

        def emit(self, record):
            with self.own_lock:
                super().emit(record)

    handler = Locked()
    source = Scripted()
    collector = Collector([source], handler, drain_timeout=0.05)
    outcome = []

    def run():
        outcome.append(collector.run(on_ready=lambda: source.script.append("stuck")))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert handler.has_begun.wait(10)

    collector.stop()
    thread.join(30)

    assert outcome == [False]
    handler.may_go_on.set()
    wait_until(lambda: "a handler takes too long; not waiting for it" in handler.told)


def test_it_is_ending_as_soon_as_it_was_told():
    """Not only when it has done so."""
    handler = Blocking(1)
    with Collector([Scripted("stuck")], handler) as collector:
        assert handler.has_begun.wait(10)
        assert not collector.is_ending
        collector.stop()
        assert collector.is_ending
        handler.may_go_on.set()


def test_silence_is_what_is_longer_than_the_limit():
    """No limit is no silence."""
    watch = Watch(10.0)
    assert watch.find_silence(100.0, 105.0) is None
    assert watch.find_silence(100.0, 110.0) is None
    assert watch.find_silence(100.0, 110.5) == 10.5
    assert watch.find_silence(111.0, 112.0) is None
    assert Watch(0.0).find_silence(0.0, 1e9) is None


def test_who_was_stopped_together_with_the_rest_is_patient():
    """Nobody could beat while the machine slept."""
    watch = Watch(10.0)
    assert watch.find_silence(100.0, 101.0) is None

    assert watch.find_silence(101.0, 1000.0) is None
    assert watch.find_silence(101.0, 1004.0) is None
    assert watch.find_silence(101.0, 1006.0) == 905.0


@pytest.mark.parametrize(("limit", "interval"), [(0.0, 0.5), (0.1, 0.05), (1.0, 0.25), (60.0, 0.5)])
def test_it_beats_often_enough_for_its_limit(limit, interval):
    """Four times, or it would be missed for no reason."""
    assert Watch(limit).interval == interval
    assert Watchdog(limit, lambda silence: None).interval == interval


def test_a_watchdog_calls_when_nobody_beats():
    """From its own thread, as the others may be stuck; not if it is told to look no more."""
    calls = queue.Queue()
    watchdog = Watchdog(0.05, calls.put)
    watchdog.start()
    assert calls.get(timeout=30) > 0.05
    watchdog.stop()

    now = 100.0
    found = []
    watchdog = Watchdog(1.0, found.append, clock=lambda: now)
    now = 100.5
    watchdog.look()
    watchdog.beat(now)
    now = 101.4
    watchdog.look()
    assert found == []
    now = 101.6
    watchdog.look()
    assert found == [pytest.approx(1.1)]


def test_where_everybody_is_is_told_without_waiting_for_a_reader():
    """It may be the reader of standard error that all wait for."""
    script = (
        "import os, sys\n"
        "from sprockets.logbook._collecting import _beats\n"
        "reading, writing = os.pipe()\n"
        "os.set_blocking(writing, False)\n"
        "full = 0\n"
        "try:\n"
        "    while True: full += os.write(writing, b' ' * 4096)\n"
        "except BlockingIOError:\n"
        "    os.set_blocking(writing, True)\n"
        "os.dup2(writing, 2)\n"
        "def here(): _beats.tell_stacks('stuck')\n"
        "here()\n"
        "print('told')\n"
        "os.read(reading, full)\n"
        "here()\n"
        "while b'in here' not in os.read(reading, 65536): pass\n"
        "print('and read')\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
        text=True,
    )

    assert done.stdout.split("\n")[:2] == ["told", "and read"]


# -- sources by URL


def test_reliable_handlers_reach_it_by_url():
    """Every record once, and acknowledged."""
    source = source_from_url(f"zmq+reliable://127.0.0.1:{free_port()}")
    handler = Counting(500)
    sender = ReliableZeroMQHandler(source.name.replace("zmq+reliable", "tcp"))
    with Collector([source], handler):
        for number in range(500):
            sender.emit(LogRecord("shop", INFO, str(number)))
        assert handler.done.wait(20)
        assert sender.close() is True

    assert handler.messages == list(map(str, range(500)))
    assert sender.statistics()["delivered"] == 500


def test_a_unix_socket_is_a_path(tmp_path):
    """Three slashes, as in a file URL."""
    path = tmp_path / "socket"
    subscriber = source_from_url(f"zmq+reliable://{path}").open()

    assert isinstance(subscriber, ReliableZeroMQSubscriber)
    assert subscriber.socket.last_endpoint.decode().rstrip("\0") == f"ipc://{path}"
    assert path.exists()
    subscriber.close()


def test_keys_are_read_from_files(tmp_path):
    """A sender without the key of the collector does not get through, one with it does."""
    public, secret = zmq.curve_keypair()
    path = tmp_path / "secret"
    path.write_bytes(secret + b"\n")
    address = f"127.0.0.1:{free_port()}"
    source = source_from_url(f"zmq+reliable://{address}?secret_key={path}")
    assert secret.decode() not in repr(source)
    handler = Counting(1)
    sender = ReliableZeroMQHandler(f"tcp://{address}", server_key=public)
    with Collector([source], handler):
        sender.emit(LogRecord("shop", INFO, "encrypted"))
        assert handler.done.wait(20)
        sender.close()

    assert handler.messages == ["encrypted"]


def _redis(name):
    url = redis_url()
    mark = "&" if "?" in url else "?"
    return RedisStreamHandler(url, name), f"{url}{mark}stream={name}&group=collector"


def _kombu(name):
    url = rabbitmq_url()
    return MessageQueueHandler(url, name), f"{url}?queue={name}"


def _nats(name):
    url = nats_url()
    return JetStreamHandler(url, name, name), f"{url}?stream={name}&subject={name}&durable={name}"


@pytest.mark.parametrize("make", [_redis, _kombu, _nats])
def test_records_come_from_brokers_and_are_acknowledged_there(make):
    """A second collector with the same URL finds nothing more to do."""
    sender, url = make(f"collected-{uuid.uuid4().hex}")
    source = source_from_url(url)
    assert source.is_kept
    handler = Counting(100)
    again = Counting()
    with Collector([source], handler):
        for number in range(100):
            sender.emit(LogRecord("shop", INFO, str(number)))
        assert sender.close(20) is True
        assert handler.done.wait(20)
    with Collector([source], again):
        sender = make(sender_name(url))[0]
        again.wanted = 1
        sender.emit(LogRecord("shop", INFO, "the last"))
        sender.close(20)
        assert again.done.wait(20)

    assert handler.messages == list(map(str, range(100)))
    assert again.messages == ["the last"]
    clean_up(url)


def sender_name(url):
    return url.partition("=")[2].partition("&")[0]


def clean_up(url):
    name = sender_name(url)
    if url.startswith("redis"):
        import redis

        with redis.Redis.from_url(redis_url()) as client:
            client.delete(name, f"{name}:dead")
    elif url.startswith("amqp"):
        import kombu

        with kombu.Connection(rabbitmq_url()) as connection:
            connection.default_channel.queue_delete(name)
    else:
        import asyncio

        import nats

        async def delete():
            client = await nats.connect(nats_url())
            await client.jetstream().delete_stream(name)
            await client.close()

        asyncio.run(delete())


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("kafka://here", "cannot receive from kafka://; a source is one of: zmq+reliable://HOST"),
        ("nonsense", "cannot receive from what is no URL; a source is one of"),
        ("zmq+pull://host", "expected //HOST:PORT, got //host; expected zmq+pull://HOST:PORT"),
        ("zmq+pull://host:70000", "the port is no number up to 65535"),
        ("zmq+sub://host:1?x=1", "unknown option 'x'; known: none"),
        ("redis://host/0?stream=a", "missing: group"),
        ("redis://host/0?stream=a&stream=b&group=c", "the option stream is there twice"),
        ("nats://host?stream=", "the option stream is empty"),
        ("nats://host?stream=a&prefetch=0", "prefetch: expected at least 1, got 0"),
        ("nats://host?stream=a&patience=soon", "patience: expected seconds, got 'soon'"),
        ("amqp://host//", "missing: queue; expected amqp://USER:PASSWORD@HOST"),
        ("zmq+reliable://h:1?secret_key=/nowhere", "secret_key: cannot read a key from '/nowhere'"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_with_what_would(url, text):
    """What is wrong, and what it should look like."""
    with pytest.raises(ValueError, match=r"^cannot receive from ") as caught:
        source_from_url(url)

    assert text in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@host/0?stream=a&group=b",
        "redis://host/0?stream=a&group=b&password=hunter2",
        "redis://user:hunter2@host:port/0?stream=a&group=b",
        "redis://user:hun/ter2@host/0?stream=a&group=b",
        "amqp://user:hunter2@host//?queue=q",
        "amqp://user:hunter2@host//",
        "amqp://user:%68unter2@host//?queue=q",
        "nats://hunter2@host?stream=a",
        "kafka://user:hunter2@host",
        "user:hunter2@host",
    ],
)
def test_no_password_is_ever_shown(url):
    """Neither in a name, nor in an error."""
    try:
        source = source_from_url(url)
        shown = f"{source!r} {source.name} {source.hide(f'failed: {url} hunter2')}"
    except ValueError as error:
        shown = str(error)

    assert "hunter" not in shown
    assert "hun/ter2" not in shown
    assert "ter2" not in shown


def test_other_kinds_of_sources_can_be_registered():
    """They get their options as values, are in the list, and can be taken out again."""
    made = []

    def make(url, **options):
        made.append((url, options))
        return Scripted()

    register_source(
        "Kafka", make, example="kafka://HOST?topic=T", options={"topic": str}, required=("topic",)
    )
    try:
        with pytest.raises(ValueError, match="already"):
            register_source("kafka", make)
        assert "kafka://HOST?topic=T" in source_examples()
        source_from_url("kafka://here?topic=logs").open()
        with pytest.raises(ValueError, match=r"missing: topic; expected kafka://HOST\?topic=T"):
            source_from_url("kafka://here")
    finally:
        unregister_source("kafka")

    assert made == [("kafka://here", {"topic": "logs"})]
    with pytest.raises(LookupError, match="no kind of source called 'kafka'"):
        unregister_source("kafka")
    with pytest.raises(ValueError, match="a scheme is a letter"):
        register_source("1st", make)


def test_every_kind_can_be_made_of_its_example():
    """What the errors recommend is right."""
    for example in source_examples():
        source = source_from_url(example.replace("PORT", "5555"))
        assert source.name.partition("://")[0] == example.partition("://")[0]


def test_stdlib_logging_is_not_touched():
    """That is for who runs it to decide."""
    before = list(logging.getLogger().handlers)
    with Collector([Scripted()], Counting()):
        assert logging.getLogger().handlers == before


def test_a_handler_is_nothing_to_receive_from():
    """A mistake is told early, as an error of the caller's."""
    with pytest.raises(TypeError, match="neither a subscriber nor a Source"):
        Collector([Handler()])
