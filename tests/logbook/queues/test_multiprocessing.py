"""Records between processes of one machine, and the queue that they go through."""

import errno
import gc
import json
import multiprocessing
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook import Flags, Logger, TestHandler
from sprockets.logbook.queues._multiprocessing import (
    MultiProcessingHandler,
    MultiProcessingSubscriber,
    QueueClosedError,
)
from sprockets.logbook.queues._process_files import Announcement, Segment
from sprockets.logbook.queues._process_queue import ProcessQueue
from sprockets.logbook.queues._subscriber import ClosedError
from sprockets.logbook.queues._wire import MalformedRecordError

SCRIPT = Path(__file__).with_name("log_from_processes.py")
log = Logger("parent")

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture(name="subscriber")
def _subscriber():
    subscriber = MultiProcessingSubscriber()
    yield subscriber
    subscriber.close()


@pytest.fixture(name="data")
def _data():
    carrier = ProcessQueue()
    yield carrier
    carrier.close()


def in_child(work):
    """Run *work* in a forked child, and return how that ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.002)


# -- handler and subscriber


@pytest.mark.rule("MP-1", "MP-2")
@pytest.mark.parametrize("make", [queue.Queue, queue.SimpleQueue, ProcessQueue])
def test_the_handler_puts_the_dictionary(make):
    """Not its JSON, so tuples stay tuples; any queue will do."""
    carrier = make()
    with MultiProcessingHandler(carrier):
        log.warning("{}", (1, "ü"), extra={"odd": object(), "pair": (1, 2)})

    facts = carrier.get(True, 5)

    assert facts["message"] == "(1, 'ü')"
    assert facts["level"] == 13
    assert facts["extra"] == {"odd": None, "pair": (1, 2)}
    if make is ProcessQueue:
        carrier.close()


@pytest.mark.rule("MP-2", "MP-5", "SC-2")
@pytest.mark.parametrize("kind", ["own", "queue", "multiprocessing", "manager"])
def test_any_queue_receives_with_a_timeout(kind):
    """None, none at all, or some seconds."""
    manager = multiprocessing.Manager() if kind == "manager" else None
    carrier = {
        "own": lambda: None,
        "queue": queue.Queue,
        "multiprocessing": lambda: multiprocessing.Queue(-1),
        "manager": lambda: manager.Queue(),
    }[kind]()
    subscriber = MultiProcessingSubscriber(carrier)
    assert carrier is None or subscriber.queue is carrier

    assert subscriber.recv(0) is None
    assert subscriber.recv(False) is None
    start = time.monotonic()
    assert subscriber.recv(0.05) is None
    assert time.monotonic() - start >= 0.045
    with pytest.raises(ValueError, match="timeout"):
        subscriber.recv(-1)

    with MultiProcessingHandler(subscriber.queue):
        log.info("a")
        log.info("b")
    assert subscriber.recv().message == "a"
    assert subscriber.recv(5).message == "b"
    assert subscriber.recv(0) is None
    if manager is not None:
        manager.shutdown()
    elif kind == "own":
        subscriber.close()
    elif kind == "multiprocessing":
        carrier.close()
        carrier.join_thread()


@pytest.mark.rule("MP-3", "M20")
def test_a_full_queue_drops_counts_and_reports(capfd):
    """And the log call does not wait."""
    handler = MultiProcessingHandler(queue.Queue(1))
    with handler:
        log.info("a")
        log.info("b")
        with Flags(errors="silent"):
            log.info("c")
        with Flags(errors="raise"), pytest.raises(queue.Full, match="no room"):
            log.info("d")

    assert handler.statistics() == {"sent": 1, "dropped": 3}
    assert capfd.readouterr().err.count("queue.Full") >= 1


@pytest.mark.rule("WF-11")
def test_a_message_that_cannot_be_formatted_is_an_error_and_nothing_is_sent(subscriber):
    """It could not be formatted at the other end either."""
    handler = MultiProcessingHandler(subscriber.queue)
    with handler, Flags(errors="raise"), pytest.raises(TypeError):
        log.info("{} {}", 1)

    assert subscriber.recv(0) is None
    assert handler.statistics() == {"sent": 0, "dropped": 1}


@pytest.mark.rule("MP-4")
def test_a_subscriber_makes_a_queue_of_its_own(subscriber):
    """For handlers in this process and others."""
    assert isinstance(subscriber.queue, ProcessQueue)


@pytest.mark.rule("MP-6", "M19")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_log_however_they_begin_and_end(method):
    """Ended by ``os._exit`` and SIGTERM: not one record of theirs is lost."""
    done = subprocess.run(
        [sys.executable, "-P", SCRIPT, method, "own"], capture_output=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr.decode()
    result = json.loads(done.stdout)
    name = {"fork": "Fork", "spawn": "Spawn", "forkserver": "ForkServer"}[method]
    assert result == {
        "in order": [True] * 3,
        "counts": [500] * 3,
        "names": [f"{name}Process-{number}" for number in (1, 2, 3)],
        "extras": ["(1, 'ü\\udc80')"],
        "exit codes": [0, 0, -signal.SIGTERM],
    }


@pytest.mark.rule("MP-9", "P-F12", "P-C12")
def test_a_child_logs_and_the_parent_dispatches(subscriber):
    """As the first example has it."""

    def work():
        with MultiProcessingHandler(subscriber.queue, level="WARNING"):
            Logger("child").info("too low")
            Logger("child").warning("Hello World")

    assert in_child(work) == 0
    with TestHandler() as seen:
        assert subscriber.dispatch_once(5)
    assert seen.has_warning("Hello World")


@pytest.mark.rule("MP-7")
@pytest.mark.parametrize("kind", ["own", "multiprocessing"])
def test_receiving_from_a_closed_queue_is_an_error(kind):
    """And ends a thread that does."""
    subscriber = MultiProcessingSubscriber(
        multiprocessing.Queue(-1) if kind == "multiprocessing" else None
    )
    controller = subscriber.dispatch_in_background()
    subscriber.queue.close()

    wait_until(lambda: not controller.running)
    controller.stop()
    with pytest.raises(ValueError, match="closed") as caught:
        subscriber.recv(0)
    assert isinstance(caught.value, ClosedError)


def test_a_manager_that_is_gone_ends_the_thread():
    """Nothing will come from it any more."""
    manager = multiprocessing.Manager()
    subscriber = MultiProcessingSubscriber(manager.Queue())
    controller = subscriber.dispatch_in_background()
    manager.shutdown()

    wait_until(lambda: not controller.running)
    controller.stop()
    with pytest.raises(QueueClosedError):
        subscriber.recv(0)


@pytest.mark.skipif(not hasattr(queue, "ShutDown"), reason="since Python 3.13")
def test_a_queue_that_was_shut_down_ends_dispatching():
    """After what was in it."""
    carrier = queue.Queue()
    with MultiProcessingHandler(carrier):
        log.info("a")
    carrier.shutdown()
    subscriber = MultiProcessingSubscriber(carrier)

    with TestHandler() as seen:
        subscriber.dispatch_forever()

    assert len(seen.records) == 1
    assert subscriber.is_ended


@pytest.mark.rule("M24")
def test_what_is_no_record_is_counted_and_the_rest_dispatched():
    """Whatever somebody has put on the queue."""
    carrier = queue.Queue()
    for item in (None, 12, b"\xff", "[]", {"level": None}, {1: 2}, [], object()):
        carrier.put(item)
    with MultiProcessingHandler(carrier):
        log.info("a record")
    subscriber = MultiProcessingSubscriber(carrier)
    seen = TestHandler()
    with Flags(errors="silent").applicationbound():
        controller = subscriber.dispatch_in_background(seen)
        wait_until(lambda: seen.records)
        controller.stop()

    assert subscriber.statistics()["malformed"] == 8
    assert subscriber.statistics()["received"] == 1


class Odd:
    """Is pickled, and cannot be unpickled."""

    def __reduce__(self):
        return int, ("no number",)


def test_what_cannot_be_unpickled_is_counted():
    """It is gone from the queue, and the next record comes."""
    carrier = multiprocessing.Queue(-1)
    carrier.put(Odd())
    carrier.put({"level": 11, "message": "next"})
    subscriber = MultiProcessingSubscriber(carrier)

    with Flags(errors="silent"), pytest.raises(MalformedRecordError, match="not unpickled"):
        subscriber.recv(5)
    assert subscriber.recv(5).message == "next"
    assert subscriber.statistics()["malformed"] == 1
    carrier.close()
    carrier.join_thread()


def test_logbook_is_at_the_other_end():
    """Both ways, through our queue."""
    theirs = pytest.importorskip("logbook.queues", reason="Logbook is not installed")
    logbook = pytest.importorskip("logbook")
    carrier = ProcessQueue()

    with MultiProcessingHandler(carrier):
        log.warning("from {}", "us", extra={"a": 1})
    got = theirs.MultiProcessingSubscriber(carrier).recv(5)
    assert (got.message, got.level_name, got.extra["a"]) == ("from us", "WARNING", 1)

    with theirs.MultiProcessingHandler(carrier).applicationbound():
        logbook.Logger("their").error("from {}", "them")
    record = MultiProcessingSubscriber(carrier).recv(5)
    assert (record.message, record.level_name) == ("from them", "ERROR")
    carrier.close()


# -- the queue


data_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.binary()
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.lists(data_values, max_size=5))
def test_what_is_put_is_got(items):
    """All kinds of data, in their order."""
    data = ProcessQueue()
    for item in items:
        data.put(item)

    assert [data.get_nowait() for _ in items] == items
    with pytest.raises(queue.Empty):
        data.get_nowait()
    data.close()


def test_it_says_whether_it_is_empty(data):
    """Without taking anything."""
    assert data.empty()
    data.put_nowait("a")
    assert not data.empty()
    assert not data.empty()
    assert data.get(True, 5) == "a"
    assert data.empty()


def test_large_and_many_pass_through_many_files(data):
    """Ten megabytes at once, then many small ones; memory is given back."""
    large = "x" * 10_000_000
    data.put_nowait(large)
    assert data.get(True, 5) == large
    for number in range(30_000):
        data.put_nowait((number, "y" * 100))
        if number % 2:
            assert data.get(True, 5)[0] == number // 2
    for number in range(15_000, 30_000):
        assert data.get(True, 5)[0] == number

    for _ in range(3_000):
        data.put_nowait("z" * 100)
        data.get(True, 5)
    assert sum(os.fstat(each.descriptor).st_size for each in data._segments) < 10_000_000
    assert len(data._inbox._sources) == 1


def test_what_is_too_large_is_refused(data):
    """Before anything of it is written."""
    with pytest.raises(ValueError, match="at most"):
        data.put_nowait("x" * (17 << 20))
    data.put_nowait("y")
    assert data.get(True, 5) == "y"


@pytest.mark.rule("M20")
def test_a_receiver_that_is_behind_makes_it_full_at_once():
    """No call waits; there is room again when it has caught up; nothing that was put is lost."""
    data = ProcessQueue(max_bytes=100_000)
    put = []
    slowest = 0.0
    for number in range(3_000):
        start = time.monotonic()
        try:
            data.put_nowait((number, "x" * 100))
            put.append(number)
        except queue.Full:
            pass
        slowest = max(slowest, time.monotonic() - start)
    assert 500 < len(put) < 1_000
    assert put == list(range(len(put)))
    assert slowest < 0.5

    assert [data.get(True, 5)[0] for _ in put] == put
    data.put_nowait("again")
    assert data.get(True, 5) == "again"
    data.close()


def test_the_first_call_of_a_process_waits_a_second_for_a_receiver_that_hears_nothing(data):
    """And later ones do not."""
    with pytest.raises(OSError):
        while True:
            data._sending.send(b"noise")

    start = time.monotonic()
    with pytest.raises(queue.Full, match="does not know"):
        data.put_nowait("a")
    waited = time.monotonic() - start
    start = time.monotonic()
    with pytest.raises(queue.Full):
        data.put_nowait("b")

    assert 0.9 < waited < 5
    assert time.monotonic() - start < 0.5
    assert list(data._segments) == []


def test_no_descriptor_is_left_open():
    """Of the queue, its files and its receivers; also in a child that came by fork."""
    gc.collect()  # what earlier tests left is not to go meanwhile
    before = os.listdir("/proc/self/fd")
    data = ProcessQueue()
    for _ in range(100):
        data.put_nowait("x" * 10_000)
    data.get(True, 5)

    def count():
        data.close()
        assert os.listdir("/proc/self/fd") == before

    assert in_child(count) == 0
    data.get(True, 5)
    data.close()
    data.close()
    assert os.listdir("/proc/self/fd") == before

    other = ProcessQueue()
    other.put_nowait("x")
    del other
    assert os.listdir("/proc/self/fd") == before


def test_files_of_processes_that_are_gone_are_closed(data):
    """Once there is nothing in them any more."""
    for number in range(20):
        assert in_child(lambda number=number: data.put_nowait(number)) == 0
    assert sorted(data.get(True, 5) for _ in range(20)) == list(range(20))
    assert len(data._inbox._sources) == 20

    data._inbox.part_from_the_dead()

    assert data._inbox._sources == {}


def test_a_process_that_lives_is_not_parted_from(data):
    """However long it says nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        data.put_nowait("a")
        os.read(reading, 1)
        data.put_nowait("b")
        os._exit(0)
    assert data.get(True, 5) == "a"
    data._inbox.part_from_the_dead()
    assert len(data._inbox._sources) == 1

    os.write(writing, b"x")

    assert data.get(True, 5) == "b"
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)


def test_half_a_record_of_a_dead_process_is_said_to_be_so(data):
    """What it put before is there; it is counted, not waited for."""

    def work():
        data.put_nowait("whole")
        segment = data._segments[0]
        os.pwrite(segment.descriptor, b"\x10\x00\x00\x00abcdefg", segment._end)

    assert in_child(work) == 0
    data.put_nowait("mine")
    assert {data.get(True, 5), data.get(True, 5)} == {"whole", "mine"}

    with pytest.raises(MalformedRecordError, match="died in the middle"):
        data.get(True, 5)
    assert data.empty()


def test_a_frame_that_is_still_being_written_is_waited_for(data):
    """By its checksum the receiver knows."""
    data.put_nowait("a")
    data.get(True, 5)
    segment = data._segments[0]
    position = segment._end
    data.put_nowait("b")
    whole = os.pread(segment.descriptor, 1000, position)
    for done in range(len(whole)):
        os.ftruncate(segment.descriptor, position)
        os.pwrite(segment.descriptor, whole[:done], position)
        assert data.empty()
        os.ftruncate(segment.descriptor, position + len(whole))
        if whole[done:].strip(b"\0"):
            assert data.empty()
    os.pwrite(segment.descriptor, whole, position)

    assert data.get(True, 5) == "b"


def announce(data, descriptor, message=None):
    message = Announcement(os.getpid(), os.urandom(8)).to_bytes() if message is None else message
    socket.send_fds(data._sending, [message], [descriptor] if descriptor is not None else [])


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.rule("M24")
def test_what_a_process_sends_otherwise_is_counted_and_never_run(data, tmp_path):
    """Not announced, no file, no frame, no pickle, or a pickle of code."""
    reading, writing = os.pipe()
    frames = {
        "a length of a gigabyte": b"\0\0\0\x40\0\0\0\0" + b"x" * 100,
    }
    announce(data, None, b"hello")
    announce(data, None)
    announce(data, reading)
    announce(data, reading, b"hello")
    for frame in frames.values():
        segment = Segment()
        os.pwrite(segment.descriptor, frame, 8)
        announce(data, segment.descriptor)
        segment.close()
    for protocol in range(6):
        segment = Segment()
        segment.append(pickle.dumps(Trap(tmp_path / "trap"), protocol))
        segment.append(b"no pickle")
        announce(data, segment.descriptor)
        segment.end()
        segment.close()
    data.put_nowait({"level": 11, "message": "the next record"})
    subscriber = MultiProcessingSubscriber(data)
    seen = TestHandler()

    with Flags(errors="silent").applicationbound():
        controller = subscriber.dispatch_in_background(seen)
        wait_until(lambda: seen.records and subscriber.statistics()["malformed"] >= 17)
        controller.stop()

    assert subscriber.statistics()["malformed"] == 5 + 12
    assert [record.message for record in seen.records] == ["the next record"]
    assert list(tmp_path.iterdir()) == []
    os.close(reading)
    os.close(writing)


def test_it_goes_to_other_processes_only_as_they_begin(data):
    """As the standard queues do: a descriptor means nothing elsewhere."""
    with pytest.raises(RuntimeError, match="inheritance"):
        pickle.dumps(data)


def test_closing_wakes_who_waits(data):
    """It is told that the queue is closed."""
    errors = []

    def wait():
        with pytest.raises(ValueError, match="is closed") as caught:
            data.get()
        errors.append(caught.value)

    thread = threading.Thread(target=wait)
    thread.start()
    data.close()
    thread.join(5)

    assert len(errors) == 1
    with pytest.raises(ValueError, match="is closed"):
        data.put_nowait("x")
    with pytest.raises(ValueError, match="is closed"):
        data.empty()


def test_threads_of_one_process_share_it():
    """Each one's records come in their order, none twice."""
    data = ProcessQueue(max_bytes=1 << 30)
    threads = [
        threading.Thread(
            target=lambda name=name: [data.put_nowait((name, n)) for n in range(3_000)]
        )
        for name in range(4)
    ]
    for thread in threads:
        thread.start()
    came = [data.get(True, 10) for _ in range(12_000)]
    for thread in threads:
        thread.join()

    for name in range(4):
        assert [n for each, n in came if each == name] == list(range(3_000))
    data.close()


def test_a_signal_handler_may_log_in_the_middle_of_a_log_call():
    """All records come, however often it comes between; small files, so that it hits their ends."""
    data = ProcessQueue(max_bytes=1 << 30)
    data.max_bytes = 16_000  # of which each file has a part
    from_handler = 0
    got = {"main": 0, "signal": 0}

    def interrupt(*_):
        nonlocal from_handler
        try:
            data.put_nowait("signal")
            from_handler += 1
        except queue.Full:
            pass

    def drain():
        while True:
            try:
                got[data.get_nowait()] += 1
            except queue.Empty:
                return

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    main = 0
    try:
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            for _ in range(20):
                try:
                    data.put_nowait("main")
                    main += 1
                except queue.Full:
                    pass
            drain()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    data.max_bytes = 1 << 30
    data.put_nowait("main")
    drain()

    assert got == {"main": main + 1, "signal": from_handler}
    assert from_handler > 20
    data.close()


def test_no_memory_for_a_record_leaves_the_rest_as_it_was(data, monkeypatch):
    """The caller is told, and the next record is readable."""
    data.put_nowait("a")
    write = os.pwrite

    def half(descriptor, content, position):
        return write(descriptor, content[: len(content) // 2], position)

    def none(descriptor, content, position):
        raise OSError(errno.ENOSPC, "no space")

    for fails in (half, none):
        monkeypatch.setattr(os, "pwrite", fails)
        with pytest.raises(OSError, match="no memory"):
            data.put_nowait("lost" * 100)
        monkeypatch.setattr(os, "pwrite", write)
    data.put_nowait("b")

    assert [data.get(True, 5), data.get(True, 5)] == ["a", "b"]


def test_a_bound_that_is_none_is_refused():
    """At least one byte."""
    with pytest.raises(ValueError, match="max_bytes"):
        ProcessQueue(0)
