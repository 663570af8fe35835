"""The engine: never in the way of whoever logs, whatever the destination does."""

import ctypes
import gc
import itertools
import logging
import os
import queue
import threading
import time
from logging.handlers import QueueListener

import pytest

from sprockets.logbook import Flags
from sprockets.logbook.delivery import (
    Delivery,
    PartlyDelivered,
    PermanentError,
    Retry,
    RetryLater,
    Spool,
    UndeliveredError,
    _worker,
)

SOAK = bool(os.environ.get("SPROCKETS_SOAK"))
# Seconds; a busy machine is slower, and the short form is there to find what blocks.
LIMIT = 0.005 if SOAK else 0.1
PUTS = 100_000 if SOAK else 5_000


@pytest.fixture(autouse=True)
def _silently():
    """What the engine reports is looked at where it is the subject."""
    with Flags(errors="silent").applicationbound():
        yield


def refuse(items):
    raise ConnectionRefusedError("nobody is there")


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.002)


# -- order, batches, the usual way


def test_items_are_delivered_in_order_and_in_batches(make_engine, clock, adds_up):
    """At most as many together as asked for."""
    batches = []
    engine = make_engine(batches.append, batch_size=4)
    for number in range(10):
        engine.put(b"%d" % number)

    engine.run_dry(clock)

    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert [item for batch in batches for item in batch] == [b"%d" % number for number in range(10)]
    assert adds_up(engine)["delivered"] == 10


def test_a_batch_waits_to_be_filled_but_not_longer_than_it_may(make_engine, clock):
    """A full one goes at once; so does any when somebody waits for it."""
    batches = []
    engine = make_engine(batches.append, batch_size=3, batch_wait=2.0)
    engine.put(b"1")
    assert engine.step() == 2.0
    clock.seconds += 2.0
    engine.step()
    assert batches == [[b"1"]]

    for item in (b"2", b"3", b"4"):
        engine.put(item)
    engine.step()
    assert batches[1:] == [[b"2", b"3", b"4"]]

    engine.put(b"5")
    assert engine.step() == 2.0
    engine._state.flushing = 1
    engine.step()
    assert batches[2:] == [[b"5"]]


def test_a_thread_delivers_without_being_asked(make_threaded, adds_up):
    """It is started by the first item, wakes for each, and flush waits for what was put before."""
    delivered = []
    engine = make_threaded(delivered.extend)
    for number in range(300):
        engine.put(b"%d" % number)
        if not number % 100:
            assert engine.flush(5.0)
            assert len(delivered) == number + 1
    wait_until(lambda: len(delivered) == 300)
    assert adds_up(engine)["queued"] == 0


def test_the_thread_ends_when_there_is_nothing_to_do_and_comes_back(make_threaded, monkeypatch):
    """An idle handler costs no thread, and nobody has to close it to be rid of it."""
    monkeypatch.setattr(_worker, "_IDLE", 0.01)
    delivered = []
    engine = make_threaded(delivered.extend)
    for item in (b"1", b"2"):
        engine.put(item)
        assert engine.flush(5.0)
        wait_until(lambda: not engine._state.is_running)
    assert delivered == [b"1", b"2"]


# -- a destination that fails


def test_an_outage_is_waited_for_ever_longer_and_nothing_is_lost(make_engine, clock, adds_up):
    """The tries get rarer, never rarer than the maximum, and go on until somebody is there."""
    tries, delivered = [], []

    def deliver(items):
        tries.append(clock.seconds)
        if len(tries) <= 50:
            refuse(items)
        delivered.extend(items)

    engine = make_engine(deliver, retry=Retry(1.0, 30.0, attempts=3, random=lambda: 1.0))
    engine.put(b"x")
    engine.run_dry(clock)

    pauses = [later - sooner for sooner, later in itertools.pairwise(tries)]
    assert pauses[:6] == [1, 2, 4, 8, 16, 30]
    assert set(pauses[5:]) == {30}
    assert delivered == [b"x"]
    assert adds_up(engine)["retried"] == adds_up(engine)["failed"] == 50


def test_a_destination_is_asked_again_when_it_wants_to_be(make_engine, clock):
    """``RetryLater`` is a wait to the second."""
    answers = [RetryLater(7.5)]

    def deliver(items):
        if answers:
            raise answers.pop()

    engine = make_engine(deliver)
    engine.put(b"x")

    assert engine.step() == 7.5
    assert engine.step() == 7.5, "not any sooner"
    clock.seconds += 7.5
    assert engine.step() == 0.0


@pytest.mark.parametrize("with_spool", [False, True])
def test_poison_is_the_one_dead_letter_of_its_batch(
    with_spool, make_engine, clock, adds_up, tmp_path
):
    """All others of the batch, and the thousand after it, are delivered in order."""
    delivered, dead = [], []

    def deliver(items):
        if b"poison" in items:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "what is this")
        delivered.extend(items)

    spool = Spool(tmp_path) if with_spool else None
    engine = make_engine(
        deliver,
        spool=spool,
        policy="spill" if with_spool else "drop_oldest",
        capacity=0 if with_spool else 10_000,
        on_dead_letter=lambda item, error: dead.append((item, type(error))),
    )
    items = [b"%d" % number for number in range(1050)]
    for item in [*items[:50], b"poison", *items[50:]]:
        engine.put(item)
    engine.run_dry(clock)

    assert dead == [(b"poison", UnicodeDecodeError)]
    assert delivered == items
    assert adds_up(engine)["dead"] == 1
    if spool is not None:
        assert [item for item, _ in spool.dead_letters()] == [b"poison"]


def test_what_fails_again_and_again_is_given_up(make_engine, clock, adds_up):
    """Not at once, as an outage of an unknown kind may be behind it; each item gets a last try."""
    tries, dead = [], []

    def deliver(items):
        tries.append(items)
        raise RuntimeError("odd")

    engine = make_engine(
        deliver,
        retry=Retry(attempts=4),
        on_dead_letter=lambda item, error: dead.append(item),
    )
    for item in (b"1", b"2"):
        engine.put(item)
    engine.run_dry(clock)

    assert tries == [[b"1", b"2"]] * 4 + [[b"1"], [b"2"]]
    assert dead == [b"1", b"2"]
    adds_up(engine)


def test_what_is_refused_for_good_is_not_tried_again(make_engine, clock, adds_up):
    """All of the batch, or those that the destination names."""
    tries, dead = [], []

    def deliver(items):
        tries.append(list(items))
        if len(tries) == 1:
            raise PermanentError("not this one", items[1:2])
        if len(tries) == 3:
            raise PermanentError("none of them")

    engine = make_engine(
        deliver, batch_size=3, on_dead_letter=lambda item, error: dead.append(item)
    )
    for item in (b"1", b"2", b"3"):
        engine.put(item)
    engine.run_dry(clock)
    for item in (b"4", b"5"):
        engine.put(item)
    engine.run_dry(clock)

    assert tries == [[b"1", b"2", b"3"], [b"1", b"3"], [b"4", b"5"]]
    assert dead == [b"2", b"4", b"5"]
    assert adds_up(engine)["delivered"] == 2


def test_what_was_delivered_of_a_batch_is_not_delivered_again(make_engine, clock, adds_up):
    """Only the rest is."""
    delivered = []

    def deliver(items):
        delivered.extend(items[:2])
        if len(items) > 2:
            raise PartlyDelivered(2) from ConnectionResetError()

    engine = make_engine(deliver)
    for number in range(5):
        engine.put(b"%d" % number)
    engine.run_dry(clock)

    assert delivered == [b"0", b"1", b"2", b"3", b"4"]
    assert adds_up(engine)["delivered"] == 5


@pytest.mark.rule("M3")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_no_exception_ends_the_thread(error, make_threaded, adds_up):
    """Every seventh try fails, with what ends threads elsewhere; everything gets there."""
    delivered, count = [], 0

    def deliver(items):
        nonlocal count
        count += 1
        if not count % 7:
            raise error
        delivered.extend(items)

    engine = make_threaded(deliver, batch_size=1, retry=Retry(initial=0.001, maximum=0.001))
    for number in range(100):
        engine.put(number)
    assert engine.flush(5.0)

    assert delivered == list(range(100))
    assert adds_up(engine)["failed"] == count // 7 > 0
    assert engine.statistics()["restarts"] == 0


@pytest.mark.rule("M3")
def test_a_thread_that_was_killed_is_replaced(make_threaded, adds_up):
    """Also one that something threw an exception into, from outside."""
    delivered = []
    engine = make_threaded(delivered.extend)
    engine.put(b"1")
    assert engine.flush(5.0)
    worker = engine._state.worker
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker), ctypes.py_object(SystemExit))
    engine.put(b"2")

    wait_until(lambda: engine.statistics()["restarts"] or len(delivered) == 2)
    engine.put(b"3")
    assert engine.flush(5.0)
    assert delivered == [b"1", b"2", b"3"]
    adds_up(engine)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_control_of_killed_threads_delivers_nothing_more():
    """The thread of the standard library's listener is not replaced, so the test above can fail."""
    delivered, put = [], threading.Event()

    class Noting(logging.Handler):
        def emit(self, record):
            delivered.append(record.msg)
            put.set()

    waiting = queue.SimpleQueue()
    listener = QueueListener(waiting, Noting())
    listener.start()
    waiting.put(logging.makeLogRecord({"msg": 1}))
    assert put.wait(5.0)
    thread = listener._thread
    ident = ctypes.c_ulong(thread.ident)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
    waiting.put(logging.makeLogRecord({"msg": 2}))
    thread.join(5.0)
    assert not thread.is_alive()
    waiting.put(logging.makeLogRecord({"msg": 3}))

    assert 3 not in delivered
    assert waiting.qsize() >= 1


def test_a_thread_that_dies_again_and_again_waits_only_while_it_does_nothing_else(
    make_threaded, adds_up
):
    """Nine deaths in a year are no reason to take five seconds for the tenth."""
    delivered = []
    engine = make_threaded(delivered.extend)
    for number in range(10):
        worker = engine._state.worker
        if worker:
            ident = ctypes.c_ulong(worker)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
        engine.put(number)
        assert engine.flush(5.0)

    assert delivered == list(range(10))
    assert engine._state.crashed <= 1
    adds_up(engine)


@pytest.mark.parametrize("broken", ["classify", "delay", "on_dead_letter", "size_of"])
def test_what_the_caller_passed_in_may_fail_as_well(broken, make_engine, clock, adds_up):
    """Nothing of it reaches put, and nothing is lost from the books."""

    class BrokenRetry(Retry):
        def delay(self, failures, error=None):
            raise ZeroDivisionError

    def fail(*args):
        raise ZeroDivisionError

    options = {
        "classify": {"retry": Retry(classify=fail, attempts=2)},
        "delay": {"retry": BrokenRetry(attempts=2)},
        "on_dead_letter": {"on_dead_letter": fail, "retry": Retry(attempts=1)},
        "size_of": {"size_of": fail, "retry": Retry(attempts=1)},
    }[broken]

    def deliver(items):
        raise RuntimeError("odd")

    engine = make_engine(deliver, **options)
    engine.put(b"x")
    engine.run_dry(clock)

    assert adds_up(engine)["dead"] == 1


# -- bounds and policies


def test_the_oldest_go_when_there_is_no_room(make_engine, clock, adds_up):
    """By number and by size; what is left is the newest, in order."""
    delivered = []
    engine = make_engine(delivered.extend, capacity=3)
    assert all(engine.put(b"%d" % number) for number in range(8))
    engine.run_dry(clock)
    assert delivered == [b"5", b"6", b"7"]
    assert adds_up(engine)["dropped"] == {"full": 5}

    delivered.clear()
    engine = make_engine(delivered.extend, max_bytes=25)
    for number in range(8):
        engine.put(b"%d" % number * 10)
    engine.run_dry(clock)
    assert delivered == [b"6" * 10, b"7" * 10]


def test_the_newest_go_if_that_is_wanted(make_engine, clock, adds_up):
    """And put says so."""
    delivered = []
    engine = make_engine(delivered.extend, capacity=3, policy="drop_newest")
    assert [engine.put(b"%d" % number) for number in range(5)] == [True] * 3 + [False] * 2
    engine.run_dry(clock)
    assert delivered == [b"0", b"1", b"2"]
    assert adds_up(engine)["dropped"] == {"full": 2}


def test_what_is_larger_than_everything_goes_alone(make_engine, adds_up):
    """It does not push the others out."""
    engine = make_engine(refuse, max_bytes=100)
    engine.put(b"small")
    assert not engine.put(b"x" * 101)
    assert adds_up(engine)["dropped"] == {"too large": 1}
    assert engine.waiting == 1


def test_a_blocked_call_waits_for_room_but_not_longer_than_it_may(make_threaded, adds_up):
    """With a destination that comes back in time nothing is dropped; with one that does not, it is."""
    release = threading.Event()
    delivered = []

    def deliver(items):
        release.wait(5.0)
        delivered.extend(items)

    engine = make_threaded(deliver, capacity=1, batch_size=1, policy="block", block_timeout=5.0)
    engine.put(b"under way")
    wait_until(lambda: engine.waiting == 0)
    engine.put(b"waiting")
    threading.Timer(0.01, release.set).start()
    assert engine.put(b"room in time")
    assert engine.flush(5.0)
    assert delivered == [b"under way", b"waiting", b"room in time"]

    release.clear()
    engine.block_timeout = 0.02
    engine.put(b"under way")
    wait_until(lambda: engine.waiting == 0)
    engine.put(b"waiting")
    begun = time.monotonic()
    assert not engine.put(b"no room")
    assert 0.02 <= time.monotonic() - begun < 0.5
    release.set()
    assert adds_up(engine)["dropped"] == {"full": 1}


def test_who_waited_in_vain_waits_once(make_engine, clock, adds_up):
    """A destination that is away costs one wait, and not one for each call; then it counts again."""
    engine = make_engine(
        lambda items: None, capacity=2, policy="block", block_timeout=0.05, batch_size=1
    )
    seconds = []
    for _ in range(2):
        while engine.waiting < 2:
            engine.put(b"x")
        for _ in range(3):
            begun = time.monotonic()
            assert not engine.put(b"too many")
            seconds.append(time.monotonic() - begun)
        engine.step()

    assert min(seconds[0], seconds[3]) >= 0.05
    assert max(min(seconds[1:3]), min(seconds[4:])) < 0.05
    adds_up(engine)


def test_a_blocked_call_that_found_no_room_in_time_goes_to_the_disk(
    make_engine, clock, adds_up, tmp_path
):
    """If there is one; then nothing is dropped, and the order is kept."""
    delivered = []
    engine = make_engine(
        delivered.extend, capacity=2, policy="block", block_timeout=0, spool=Spool(tmp_path / "s")
    )
    for number in range(6):
        assert engine.put(b"%d" % number)
    assert adds_up(engine)["spooled"] == 4
    engine.run_dry(clock)
    assert delivered == [b"%d" % number for number in range(6)]


def test_what_does_not_fit_is_spilled_and_delivered_in_order(make_engine, clock, adds_up, tmp_path):
    """Once an item is on disk all that follow go there, until the disk is empty."""
    delivered = []
    engine = make_engine(
        delivered.extend, capacity=3, batch_size=2, policy="spill", spool=Spool(tmp_path / "s")
    )
    for number in range(20):
        assert engine.put(b"%d" % number)
        if number == 10:
            assert (engine.statistics()["spooled"], engine.waiting) == (8, 3)
            engine.step()
    engine.run_dry(clock)
    engine.put(b"20")

    assert delivered == [b"%d" % number for number in range(20)]
    assert engine.waiting == 1, "the disk is empty, so this one is in memory"
    adds_up(engine)


def test_everything_may_go_by_way_of_the_disk(make_threaded, adds_up, tmp_path):
    """With no memory at all, put returns when the item is safe."""
    delivered = []
    engine = make_threaded(
        delivered.extend, capacity=0, policy="spill", spool=Spool(tmp_path / "s")
    )
    for number in range(200):
        assert engine.put(b"%d" % number)
    wait_until(lambda: len(delivered) == 200)
    assert delivered == [b"%d" % number for number in range(200)]
    assert adds_up(engine)["spooled"] == 0


def test_a_spool_that_fails_is_one_more_reason_to_drop(make_engine, adds_up, tmp_path):
    """Counted and reported, and put does not raise."""
    (tmp_path / "file").touch()
    engine = make_engine(
        refuse, capacity=1, policy="spill", spool=Spool(tmp_path / "file" / "below")
    )
    engine.put(b"1")
    assert not engine.put(b"2")
    assert adds_up(engine)["dropped"] == {"spool failed": 1}


def test_what_a_dead_process_left_is_delivered(make_engine, clock, adds_up, tmp_path):
    """By whoever is there next; it counts as accepted then."""
    dead = Spool(tmp_path)
    for number in range(5):
        dead.append(b"%d" % number)
    dead.close()
    delivered = []

    engine = make_engine(delivered.extend, spool=Spool(tmp_path))
    engine.run_dry(clock)

    assert delivered == [b"%d" % number for number in range(5)]
    assert (adds_up(engine)["adopted"], engine.statistics()["delivered"]) == (5, 5)


def test_a_spool_that_fails_is_reported_by_the_thread_and_not_by_the_call(
    make_engine, tmp_path, capfd
):
    """Standard error may make one wait, and others wait for the lock."""
    (tmp_path / "file").touch()
    engine = make_engine(
        refuse,
        name="collector",
        capacity=0,
        policy="spill",
        spool=Spool(tmp_path / "file" / "below"),
    )
    with Flags(errors="print"):
        assert not engine.put(b"1")
        assert capfd.readouterr().err == ""
        engine.step()
    assert "the spool of 'collector' fails: NotADirectoryError" in capfd.readouterr().err


class SlowSpool(Spool):
    """Takes as long as it is not released for what *slow* names."""

    def __init__(self, folder, slow):
        self.slow = slow
        self.begun, self.release = threading.Event(), threading.Event()
        super().__init__(folder)

    def _wait(self, what):
        if what == self.slow:
            self.begun.set()
            assert self.release.wait(10)

    def adopt(self):
        self._wait("adopt")
        return super().adopt()

    def take(self, limit):
        self._wait("take")
        return super().take(limit)


@pytest.mark.parametrize("slow", ["adopt", "take"])
def test_a_call_does_not_wait_for_a_disk_that_is_slow_to_read(
    slow, make_threaded, adds_up, tmp_path
):
    """Neither where what a dead process left is looked through, nor where its own is read."""
    dead = Spool(tmp_path)
    dead.append(b"left")
    dead.close()
    spool, delivered = SlowSpool(tmp_path, slow), []
    engine = make_threaded(delivered.extend, spool=spool)
    assert spool.begun.wait(5)
    caller = threading.Thread(target=engine.put, args=(b"new",))
    caller.start()
    caller.join(5)
    waits = caller.is_alive()
    spool.release.set()

    assert not waits
    wait_until(lambda: sorted(delivered) == [b"left", b"new"])
    adds_up(engine)


@pytest.mark.parametrize("slow", ["adopt", "take"])
def test_an_engine_that_is_closed_while_it_reads_leaves_everything(
    slow, make_threaded, adds_up, tmp_path
):
    """What was read too late is not delivered, and still there for the next one."""
    dead = Spool(tmp_path)
    dead.append(b"left")
    dead.close()
    spool, delivered = SlowSpool(tmp_path, slow), []
    engine = make_threaded(delivered.extend, spool=spool)
    assert spool.begun.wait(5)
    engine.close(0)
    spool.release.set()
    wait_until(lambda: not engine._state.is_running)
    adds_up(engine)

    assert delivered == []
    heir = Spool(tmp_path)
    assert heir.adopt() == 1
    heir.close()


def test_a_spool_that_cannot_be_read_just_now_is_tried_again(
    make_engine, clock, adds_up, tmp_path, capfd
):
    """Nothing of it is given up; that it fails is reported."""

    class Failing(Spool):
        fails = 3

        def take(self, limit):
            self.fails -= 1
            if self.fails >= 0:
                raise OSError(24, "Too many open files")
            return super().take(limit)

    delivered = []
    engine = make_engine(
        delivered.extend, name="x", capacity=0, policy="spill", spool=Failing(tmp_path)
    )
    for number in range(5):
        engine.put(b"%d" % number)
    with Flags(errors="print"):
        assert engine.step() == 1.0
    engine.run_dry(clock)

    assert delivered == [b"%d" % number for number in range(5)]
    assert adds_up(engine)["dropped"] == {}
    assert "the spool of 'x' fails: OSError: [Errno 24]" in capfd.readouterr().err


def test_what_the_spool_lost_is_counted(make_engine, clock, adds_up, tmp_path):
    """Somebody removed the files; what comes afterwards is delivered."""
    delivered = []
    engine = make_engine(delivered.extend, capacity=0, policy="spill", spool=Spool(tmp_path))
    for number in range(5):
        engine.put(b"%d" % number)
    for path in tmp_path.glob("*.spool"):
        path.unlink()
    engine.run_dry(clock)
    engine.put(b"new")
    engine.run_dry(clock)

    assert delivered == [b"new"]
    assert adds_up(engine)["dropped"] == {"unreadable": 5}


# -- how long a call takes

CONDITIONS = ["fine", "dead", "raising", "slow", "black hole"]


def destination(kind, release):
    def deliver(items):
        if kind == "dead":
            refuse(items)
        if kind == "raising":
            raise SystemExit
        if kind == "slow":
            time.sleep(0.002)
        if kind == "black hole":
            release.wait(30.0)

    return deliver


def delays_of(put, count):
    delays = []
    for _ in range(count):
        begun = time.perf_counter()
        put(b"x" * 100)
        delays.append(time.perf_counter() - begun)
    return sorted(delays)


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "spill"])
@pytest.mark.parametrize("kind", CONDITIONS)
def test_a_call_takes_no_time_whatever_the_destination_does(
    kind, policy, make_threaded, adds_up, tmp_path
):
    """Dead, raising, slow or a black hole: 99.9 % of the calls are over within 5 ms."""
    release = threading.Event()
    engine = make_threaded(
        destination(kind, release),
        capacity=1000,
        policy=policy,
        spool=Spool(tmp_path / "s") if policy == "spill" else None,
    )
    # Other programs may take the processor for a round; what the engine does shows in each.
    rounds = []
    while len(rounds) < 4 and (not rounds or rounds[-1] > LIMIT):
        rounds.append(delays_of(engine.put, PUTS)[int(PUTS * 0.999)])
    adds_up(engine)
    release.set()

    assert min(rounds) <= LIMIT


def test_the_control_of_calls_takes_its_time():
    """A call that goes to the slow destination itself is slow, so the test above can fail."""
    delays = delays_of(destination("slow", None), 50)

    assert delays[len(delays) // 2] >= 0.002


@pytest.mark.parametrize("kind", CONDITIONS)
def test_a_blocked_call_is_over_in_time_whatever_the_destination_does(kind, make_threaded):
    """The limit is the one that was set, and a little for the scheduler."""
    release = threading.Event()
    engine = make_threaded(
        destination(kind, release), capacity=5, policy="block", block_timeout=0.002
    )
    middle = min(delays_of(engine.put, 100)[90] for _ in range(3))
    release.set()

    assert middle <= 0.01


# -- the end


def test_closing_delivers_all_and_twice_is_once(make_threaded, adds_up):
    """What comes afterwards is dropped and counted."""
    delivered = []
    engine = make_threaded(delivered.extend)
    for number in range(1000):
        engine.put(b"%d" % number)

    assert engine.close()
    assert engine.close()
    assert len(delivered) == 1000
    assert not engine.put(b"late")
    assert adds_up(engine)["dropped"] == {"closed": 1}
    assert engine.flush(0.1)


@pytest.mark.parametrize("kind", ["dead", "black hole"])
def test_closing_takes_no_longer_than_it_may_and_spools_the_rest(
    kind, make_threaded, adds_up, tmp_path
):
    """What a destination did not take is there for the next process, in order."""
    release = threading.Event()
    engine = make_threaded(destination(kind, release), spool=Spool(tmp_path), batch_size=10)
    for number in range(100):
        engine.put(b"%d" % number)
    begun = time.monotonic()
    assert not engine.close(0.1)
    taken = time.monotonic() - begun
    release.set()

    assert 0.1 <= taken < 1.0
    assert adds_up(engine)["spooled"] == 100
    heir = Spool(tmp_path)
    heir.adopt()
    assert heir.take(1000) == [b"%d" % number for number in range(100)]
    heir.close()


def test_without_a_spool_the_rest_is_dropped_and_reported_once(make_engine, adds_up, capfd):
    """With the number, as a report of its own even if others were made just before."""
    engine = make_engine(refuse, name="collector")
    for number in range(100):
        engine.put(b"%d" % number)
    with Flags(errors="print"):
        engine.step()
        engine.close(0)
        engine.close(0)

    assert adds_up(engine)["dropped"] == {"closed": 100}
    reports = capfd.readouterr().err.splitlines()
    assert len(reports) == 2
    assert "'collector' fails, 100 are waiting: ConnectionRefusedError" in reports[0]
    assert "100 items for 'collector' were not delivered within 0 s; 100 are lost" in reports[1]


def test_a_destination_may_close_its_own_engine(make_threaded, adds_up):
    """It cannot wait for itself, but what is queued is delivered, and then it is over."""
    delivered = []

    def deliver(items):
        delivered.extend(items)
        assert not engine.flush(5.0)
        assert engine.close(5.0) is engine.is_closed

    engine = make_threaded(deliver, batch_size=1)
    with engine._state.lock:
        for number in range(10):
            engine.put(b"%d" % number)
    wait_until(lambda: engine.is_closed)

    found = adds_up(engine)
    assert len(delivered) == found["delivered"] >= 1
    assert found["dropped"].get("closed", 0) == 10 - found["delivered"] == 0


@pytest.mark.parametrize("kind", ["dead", "slow"])
def test_an_engine_closed_by_its_destination_is_over_in_time(kind, make_threaded, adds_up):
    """Whether nothing gets through or everything, but slowly."""

    def deliver(items):
        engine.close(0.2)
        if kind == "dead":
            refuse(items)
        ticks.wait(0.01)

    ticks = threading.Event()
    engine = make_threaded(deliver, batch_size=1, retry=Retry(initial=30.0))
    with engine._state.lock:
        for number in range(1000):
            engine.put(b"%d" % number)
    wait_until(lambda: engine.is_closed, 3.0)

    found = adds_up(engine)
    assert found["dropped"]["closed"] == 1000 - found["delivered"] > 0


def test_closing_in_the_middle_of_a_put_waits_for_nothing(make_threaded, adds_up):
    """As in a signal handler that came just then: the thread needs the lock that this one holds."""
    delivered, ended = [], threading.Event()
    engine = make_threaded(delivered.extend, capacity=2)
    engine.on_end = ended.set
    admit, answers, seconds = engine._admit, [], []

    def interrupted(state, item, size, may_wait):
        if item == b"outer":
            begun = time.monotonic()
            answers.append(engine.flush(10.0))
            answers.append(engine.close(10.0))
            seconds.append(time.monotonic() - begun)
        return admit(state, item, size, may_wait)

    engine._admit = interrupted
    with engine._state.lock:
        for item in (b"1", b"2", b"outer"):
            engine.put(item)
    assert ended.wait(5.0)

    assert seconds[0] < 5.0
    assert answers == [False, False]
    assert engine.is_closed
    assert adds_up(engine)["delivered"] == len(delivered) == 2
    assert engine.statistics()["dropped"] == {"closed": 1}


def test_closing_without_waiting_is_the_threads_work(make_threaded, adds_up):
    """It delivers what there is, then says that it is over; without anything it is over at once."""
    release, ended, delivered = threading.Event(), threading.Event(), []

    def deliver(items):
        release.wait(10.0)
        delivered.extend(items)

    engine = make_threaded(deliver)
    engine.on_end = ended.set
    for number in range(200):
        engine.put(b"%d" % number)
    assert not engine.close_nowait()
    assert not engine.put(b"late")
    assert not ended.is_set()
    release.set()
    assert ended.wait(5.0)
    assert engine.close_nowait()
    assert len(delivered) == 200
    assert adds_up(engine)["dropped"] == {"closed": 1}

    idle = make_threaded(deliver)
    assert idle.close_nowait()
    assert idle.is_closed


def test_what_is_said_last_is_put_while_that_is_possible(make_threaded, adds_up):
    """Before the engine closes, in whatever way; what fails there is reported."""
    delivered, ended = [], threading.Event()
    engine = make_threaded(delivered.extend)
    engine.on_closing = lambda: engine.put(b"the last")
    assert engine.close()
    assert delivered == [b"the last"]

    engine = make_threaded(delivered.extend)
    engine.on_closing = lambda: 1 / 0
    engine.on_end = ended.set
    assert engine.close_nowait()
    assert not ended.is_set()
    assert adds_up(engine)["accepted"] == 0


def test_an_engine_that_never_had_a_thread_says_what_it_lost(capfd):
    """It was dropped with items in it, on a system that has no threads left."""

    class Threadless(Delivery):
        def _start_thread(self, state):
            return False

    engine = Threadless(refuse, name="collector")
    engine.put(b"x")
    with Flags(errors="print").applicationbound():
        del engine
        gc.collect()
    assert "1 items for 'collector' were not delivered" in capfd.readouterr().err


def test_the_thread_leaves_no_trace_where_threads_are_listed(make_threaded, monkeypatch):
    """It has a name while it is there, and is not counted afterwards."""
    monkeypatch.setattr(_worker, "_IDLE", 0.01)
    names = []
    engine = make_threaded(lambda items: names.append(threading.current_thread().name))
    engine.put(b"x")
    assert engine.flush(5.0)
    wait_until(lambda: not engine._state.is_running)

    assert names == ["delivery of test"]
    wait_until(lambda: names[0] not in [thread.name for thread in threading.enumerate()])


# -- reports and recursion


def test_a_destination_that_is_away_is_reported_once_a_minute(make_engine, clock, capfd):
    """However often it fails; the next report says how many were left out."""
    engine = make_engine(refuse, name="collector")
    engine.put(b"x")
    with Flags(errors="print"):
        for _ in range(20):
            clock.seconds += engine.step()
    assert capfd.readouterr().err.count("UndeliveredError") == 1

    engine._reports._told_at -= 60.0
    with Flags(errors="print"):
        engine.step()
    assert "(19 reports were left out)" in capfd.readouterr().err


def test_a_report_is_made_even_where_errors_are_to_be_raised(make_engine, clock, capfd):
    """There is nobody to raise them to in the engine's thread."""
    engine = make_engine(refuse, name="collector")
    engine.put(b"x")
    with Flags(errors="raise"):
        engine.step()
    assert "'collector' fails" in capfd.readouterr().err


def test_what_a_destination_logs_to_itself_is_dropped(make_threaded, adds_up):
    """Else each delivery made the next one, without end."""
    tries = []

    def deliver(items):
        tries.append(items)
        engine.put(b"delivering")

    engine = make_threaded(deliver)
    engine.put(b"x")
    assert engine.flush(5.0)
    assert tries == [[b"x"]]
    assert adds_up(engine)["dropped"] == {"recursion": 1}


def test_a_dead_letter_that_logs_makes_no_new_one(make_engine, clock, adds_up):
    """That is the destination's own as well."""

    def deliver(items):
        raise PermanentError("no")

    engine = make_engine(deliver, on_dead_letter=lambda item, error: engine.put(b"dead"))
    engine.put(b"x")
    engine.run_dry(clock)
    assert adds_up(engine)["dropped"] == {"recursion": 1}


def test_a_finaliser_that_interrupts_the_destination_is_heard(make_engine, clock, adds_up):
    """What it logs has nothing to do with the destination, wherever it happens to run."""
    delivered = []

    class Talking:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            engine.put(b"finaliser")

    def deliver(items):
        delivered.extend(items)
        if items == [b"x"]:
            Talking()
            gc.collect()

    engine = make_engine(deliver)
    engine.put(b"x")
    engine.run_dry(clock)
    assert delivered == [b"x", b"finaliser"]
    assert adds_up(engine)["dropped"] == {}


def test_a_destination_within_a_finaliser_is_not_heard_either(make_engine, clock, adds_up):
    """Its own finaliser counts, and not the one that it was called from."""

    class Driving:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            engine.step()

    def deliver(items):
        engine.put(b"delivering")

    engine = make_engine(deliver)
    engine.put(b"x")
    Driving()
    gc.collect()
    assert adds_up(engine)["dropped"] == {"recursion": 1}


def test_a_dead_letter_that_cannot_be_kept_is_told_all_the_same(make_engine, clock, tmp_path):
    """The spool fails, and the handler hears of it nevertheless."""

    def deliver(items):
        raise PermanentError("no")

    (tmp_path / "dead").touch()
    told = []
    engine = make_engine(
        deliver, spool=Spool(tmp_path), on_dead_letter=lambda item, error: told.append(item)
    )
    engine.put(b"x")
    engine.run_dry(clock)
    assert told == [b"x"]


# -- re-entrance


def test_a_put_that_interrupts_a_put_is_laid_aside(make_engine, clock, adds_up):
    """Neither waits for the other; the outer one adds what came."""
    delivered = []
    engine = make_engine(delivered.extend, capacity=2)
    admit = engine._admit

    def interrupted(state, item, size, may_wait):
        if item == b"outer":
            engine.put(b"inner")
            assert engine.statistics() is not None
        return admit(state, item, size, may_wait)

    engine._admit = interrupted
    for item in (b"1", b"2", b"outer"):
        engine.put(item)
    engine.run_dry(clock)

    assert delivered == [b"outer", b"inner"]
    assert adds_up(engine)["accepted"] == 4


def test_an_interrupt_in_the_middle_of_a_put_leaves_the_engine_whole(make_engine, clock, adds_up):
    """Ctrl-C may come anywhere; the next put works, and the books are right."""
    delivered = []
    engine = make_engine(delivered.extend, capacity=1)
    admit = engine._admit

    def interrupted(state, item, size, may_wait):
        if item == b"interrupted":
            raise KeyboardInterrupt
        return admit(state, item, size, may_wait)

    engine._admit = interrupted
    engine.put(b"1")
    with pytest.raises(KeyboardInterrupt):
        engine.put(b"interrupted")
    done = threading.Thread(target=engine.put, args=(b"2",))
    done.start()
    done.join(5.0)
    assert not done.is_alive(), "the lock is free"
    engine.run_dry(clock)
    assert delivered == [b"2"]
    adds_up(engine)


def test_many_threads_lose_nothing(make_threaded, adds_up):
    """Four threads put at once, while the destination fails every third time."""
    delivered, count = [], 0

    def deliver(items):
        nonlocal count
        count += 1
        if not count % 3:
            refuse(items)
        delivered.extend(items)

    engine = make_threaded(deliver, retry=Retry(0.001, 0.001), capacity=100_000)

    def work(name):
        for number in range(1000):
            engine.put((name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.flush(10.0)

    for name in range(4):
        assert [number for who, number in delivered if who == name] == list(range(1000))
    assert adds_up(engine)["delivered"] == 4000


@pytest.mark.parametrize(
    "options",
    [{"policy": "drop"}, {"policy": "spill"}, {"capacity": 0}, {"batch_size": 0}],
)
def test_options_that_make_no_sense_are_refused(options):
    """At once, and not when the first outage comes."""
    with pytest.raises(ValueError, match=r"must be|needs"):
        Delivery(refuse, name="test", **options)


def test_the_report_of_a_failure_says_why(make_engine, capfd):
    """A mistake in the destination comes with its traceback; an outage is one line."""

    def deliver(items):
        raise RuntimeError("a mistake in the destination")

    engine = make_engine(deliver)
    engine.put(b"x")
    with Flags(errors="print"):
        engine.step()
    text = capfd.readouterr().err
    assert 'raise RuntimeError("a mistake in the destination")' in text
    assert UndeliveredError.__name__ in text


def test_a_batch_that_fills_while_the_thread_goes_to_rest_is_not_forgotten():
    """The put that fills it finds the thread awake, and wakes nobody."""
    delivered = queue.SimpleQueue()
    engine = Delivery(delivered.put, name="filling", batch_size=3, batch_wait=3600.0)
    state = engine._state
    state.collecting_since, state.wake_at = 0.0, 3

    with state.lock:
        state.queue.extend([("a", 1), ("b", 1), ("c", 1)])
        assert engine._may_rest(state, 1.0)
        state.queue.clear()
        assert not engine._may_rest(state, 1.0)

    state.collecting_since = None
    assert engine.close(5)
