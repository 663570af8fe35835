"""The handler that has another one work in a thread of its own."""

import contextvars
import gc
import os
import queue
import subprocess
import sys
import threading
import time
import weakref

import pytest

from sprockets.logbook import (
    FingersCrossedHandler,
    Flags,
    Handler,
    Logger,
    StreamHandler,
    TestHandler,
)
from sprockets.logbook.queues import ThreadedWrapperHandler, TWHThreadController

log = Logger("threaded")


class Recording(Handler):
    """Writes down what is called, by which thread, and in which context."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = []
        self.threads = set()
        self.closed = 0
        self.release = threading.Event()
        self.release.set()

    def emit(self, record):
        self.release.wait(5.0)
        self.threads.add(threading.get_ident())
        self.calls.append(record)

    def emit_batch(self, records, reason):
        self.release.wait(5.0)
        self.calls.append((list(records), reason))

    def close(self):
        self.closed += 1


class Failing(Recording):
    def __init__(self):
        super().__init__()
        self.errors = []

    def emit(self, record):
        super().emit(record)
        if "bad" in record.message:
            raise (SystemExit if "exit" in record.message else RuntimeError)(record.message)

    def emit_batch(self, records, reason):
        super().emit_batch(records, reason)
        raise RuntimeError("a bad batch")

    def handle_error(self, record, exc_info):
        self.errors.append((record, exc_info[0]))


@pytest.fixture(name="inner")
def _inner():
    return Recording()


@pytest.fixture(name="threaded")
def _threaded(inner):
    handler = ThreadedWrapperHandler(inner)
    yield handler
    inner.release.set()
    handler.close()


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.002)


# -- attributes


@pytest.mark.rule("TW-1")
def test_all_but_three_attributes_are_the_wrapped_handlers(inner, threaded):
    """Read and written both ways."""
    assert threaded._direct_attrs == {"handler", "queue", "controller"}
    threaded.level_name = "WARNING"
    threaded.foo = 1
    threaded.bubble = True
    assert (inner.level_name, inner.foo, inner.bubble) == ("WARNING", 1, True)
    inner.bar = 2
    assert (threaded.level, threaded.bar) == (inner.level, 2)


@pytest.mark.rule("TW-2")
def test_the_wrapped_handler_says_what_it_is_interested_in(inner, threaded):
    """By its level, its filter, and whether it is a black hole."""
    inner.level_name = "WARNING"
    inner.filter = lambda record, handler: "no" not in record.message
    with threaded:
        log.info("too low")
        log.warning("no")
        log.warning("yes")
    threaded.controller.stop()
    assert [record.message for record in inner.calls] == ["yes"]
    assert threaded.blackhole is False


@pytest.mark.rule("TW-3", "TW-9")
def test_the_thread_emits_and_asks_nothing_more(threaded, inner):
    """Neither level nor filter again, and no override of ``handle``."""
    inner.handle = lambda record: pytest.fail("not in the thread")
    with threaded:
        inner.release.clear()
        log.info("x")
        inner.level_name = "CRITICAL"
        inner.release.set()
    threaded.controller.stop()
    assert len(inner.calls) == 1


@pytest.mark.rule("TW-4")
def test_a_binding_gives_the_wrapper_and_does_not_close_it(threaded, inner):
    """It may be bound again."""
    with threaded as bound:
        assert bound is threaded
    assert threaded.controller.running
    assert inner.closed == 0


# -- queueing


@pytest.mark.rule("TW-5", "TW-6", "TW-23")
def test_records_are_emitted_in_order_by_one_other_thread(threaded, inner):
    """And the log call does not wait for it."""
    assert isinstance(threaded.controller, TWHThreadController)
    assert threaded.controller.running
    assert threaded.controller.wrapper_handler is threaded
    inner.release.clear()
    with threaded:
        begun = time.monotonic()
        for number in range(200):
            log.info("{}", number)
        assert time.monotonic() - begun < 1.0
    inner.release.set()
    threaded.close()
    assert [record.message for record in inner.calls] == [str(number) for number in range(200)]
    assert len(inner.threads) == 1
    assert threading.get_ident() not in inner.threads


@pytest.mark.rule("TW-7", "TW-12", "TW-23")
def test_a_batch_is_delivered_as_one_though_it_was_an_iterator(threaded, inner):
    """In its place between the records."""
    records = []
    with TestHandler() as collected:
        for number in range(3):
            log.info("{}", number)
    records = collected.records
    threaded.emit(records[0])
    threaded.emit_batch(iter(records[1:]), "group")
    threaded.emit(records[0])
    threaded.close()
    assert inner.calls == [records[0], (records[1:], "group"), records[0]]


@pytest.mark.rule("TW-23")
def test_what_was_held_back_arrives_with_its_trigger():
    """200 records and an error are 201 records, though the buffer is cleared right away."""
    inner = TestHandler()
    threaded = ThreadedWrapperHandler(inner)
    with FingersCrossedHandler(threaded, reset=True):
        for number in range(200):
            log.info("{}", number)
        log.error("now")
    threaded.controller.stop()
    assert len(inner.records) == 201
    threaded.close()


@pytest.mark.rule("TW-8", "TW-23")
def test_a_full_queue_drops_the_newest_without_waiting():
    """The one at work and as many as fit are kept; what was dropped is counted."""
    inner = Recording()
    inner.release.clear()
    threaded = ThreadedWrapperHandler(inner, maxsize=2)
    with threaded:
        log.info("at work")
        wait_until(threaded.queue.empty)
        for name in ("first", "second", "third", "fourth"):
            log.info(name)
    assert (threaded.queue.full(), threaded.queue.qsize()) == (True, 2)
    assert threaded.statistics()["dropped"] == {"full": 2}
    inner.release.set()
    threaded.close()
    assert [record.message for record in inner.calls] == ["at work", "first", "second"]


@pytest.mark.rule("TW-10", "TW-11", "M5")
def test_what_depends_on_the_calling_thread_is_not_lost(threaded, inner):
    """A hundred exceptions: a hundred tracebacks, places, thread names."""
    with threaded:
        for _ in range(100):
            try:
                raise LookupError("here")
            except LookupError:
                log.exception("oh")
    threaded.controller.stop()
    facts = {
        (
            record.exception_name,
            record.func_name,
            os.path.basename(record.filename),
            record.thread_name,
            record.exc_info,
            record.frame,
        )
        for record in inner.calls
    }
    assert facts == {
        (
            "builtins.LookupError",
            test_what_depends_on_the_calling_thread_is_not_lost.__name__,
            os.path.basename(__file__),
            threading.current_thread().name,
            None,
            None,
        )
    }
    assert sum("raise LookupError" in record.formatted_exception for record in inner.calls) == 100


@pytest.mark.rule("TW-10")
def test_a_message_that_does_not_fit_is_an_error_of_the_calling_thread(threaded, inner):
    """There its place can be seen."""
    with threaded, Flags(errors="raise"), pytest.raises(TypeError, match="Could not format"):
        log.info("{} {}", 1)
    threaded.controller.stop()
    assert inner.calls == []


# -- errors


@pytest.mark.rule("TW-13", "TW-23", "M3")
@pytest.mark.parametrize("text", ["bad", "bad exit"])
def test_an_error_of_the_wrapped_handler_does_not_end_the_thread(text):
    """The handler deals with it, and the next record is delivered."""
    inner = Failing()
    threaded = ThreadedWrapperHandler(inner)
    with threaded:
        log.info(text)
        log.info("fine")
    threaded.close()
    assert [record.message for record in inner.calls] == [text, "fine"]
    assert [record.message for record, _ in inner.errors] == [text]


@pytest.mark.rule("TW-13")
@pytest.mark.parametrize(("reason", "position"), [("escalation", -1), ("group", 0)])
def test_a_batch_that_fails_is_put_down_to_its_significant_record(reason, position):
    """The last of an escalation, the first of anything else."""
    with TestHandler() as collected:
        for number in range(3):
            log.info("{}", number)
    inner = Failing()
    threaded = ThreadedWrapperHandler(inner)
    threaded.emit_batch(collected.records, reason)
    threaded.emit_batch([], reason)
    threaded.close()
    assert inner.errors == [(collected.records[position], RuntimeError), (None, RuntimeError)]


@pytest.mark.rule("TW-13", "TW-14")
@pytest.mark.parametrize("errors", ["print", "raise", "silent"])
def test_the_flags_of_the_log_call_decide_what_happens_to_an_error(errors, capfd):
    """Where it is to be raised it is printed: the call is over."""
    inner = StreamHandler(None)
    inner.emit = lambda record: 1 / 0
    threaded = ThreadedWrapperHandler(inner)
    with threaded, Flags(errors=errors):
        log.info("x")
    threaded.controller.stop()
    assert ("ZeroDivisionError" in capfd.readouterr().err) is (errors != "silent")


@pytest.mark.rule("TW-21")
def test_the_wrapped_handler_works_in_a_context_of_its_own():
    """What the calling context has set does not leak into it, nor stays what it sets."""
    variable = contextvars.ContextVar("variable", default="fresh")
    variable.set("caller's")
    seen = []

    class Looking(Handler):
        def emit(self, record):
            seen.append(variable.get())
            variable.set("left behind")

    threaded = ThreadedWrapperHandler(Looking())
    with threaded:
        log.info("1")
        log.info("2")
    threaded.close()
    assert seen == ["fresh", "fresh"]


# -- closing


@pytest.mark.rule("TW-15", "TW-17")
def test_closing_waits_for_everything_and_closes_the_wrapped_handler_once(threaded, inner):
    """Also if several threads do it."""
    inner.release.clear()
    with threaded:
        for _ in range(50):
            log.info("x")
    threading.Timer(0.02, inner.release.set).start()
    closers = [threading.Thread(target=threaded.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()
    assert len(inner.calls) == 50
    assert inner.closed == 1
    assert not threaded.controller.running


@pytest.mark.rule("TW-16")
def test_a_full_queue_can_be_closed():
    """What is in it is delivered first."""
    inner = Recording()
    inner.release.clear()
    threaded = ThreadedWrapperHandler(inner, maxsize=1)
    with threaded:
        for _ in range(5):
            log.info("x")
    threading.Timer(0.02, inner.release.set).start()
    threaded.close()
    assert len(inner.calls) == threaded.statistics()["delivered"] >= 1
    assert inner.closed == 1


@pytest.mark.rule("TW-17")
def test_the_wrapped_handler_may_close_the_wrapper():
    """In the thread, which does not wait for itself; everything is delivered, then it is closed."""

    class Closing(Recording):
        def emit(self, record):
            super().emit(record)
            threaded.close()

    inner = Closing()
    inner.release.clear()
    threaded = ThreadedWrapperHandler(inner)
    with threaded:
        for _ in range(3):
            log.info("x")
    inner.release.set()
    wait_until(lambda: inner.closed)
    assert len(inner.calls) == 3
    threaded.close()
    assert inner.closed == 1


@pytest.mark.rule("TW-18", "TW-19")
def test_a_closed_wrapper_discards_until_it_is_started_again(threaded, inner):
    """Starting twice is starting once; stopping leaves the wrapped handler open."""
    threaded.close()
    with threaded:
        log.info("discarded")
        threaded.controller.start()
        threaded.controller.start()
        log.info("taken")
    threaded.controller.stop()
    assert [record.message for record in inner.calls] == ["taken"]
    assert inner.closed == 1
    assert not threaded.controller.running


@pytest.mark.rule("TW-20")
def test_a_wrapper_that_nobody_holds_drains_and_closes():
    """The thread does not keep it alive."""
    inner = Recording()
    inner.release.clear()
    threaded = ThreadedWrapperHandler(inner)
    with threaded:
        for _ in range(10):
            log.info("x")
    gone = weakref.ref(threaded)
    threading.Timer(0.02, inner.release.set).start()
    del threaded
    gc.collect()
    assert gone() is None
    wait_until(lambda: inner.closed)
    assert (len(inner.calls), inner.closed) == (10, 1)


def test_a_wrapper_is_collected_wherever_that_happens():
    """Even by a thread that holds what the wrapped handler waits for: nobody waits, all is there."""
    lock = threading.Lock()

    class Locking(Recording):
        def emit(self, record):
            with lock:
                super().emit(record)

    inner = Locking()
    with lock:
        threaded = ThreadedWrapperHandler(inner)
        with threaded:
            for _ in range(10):
                log.info("x")
        begun = time.monotonic()
        del threaded
        gc.collect()
        seconds = time.monotonic() - begun
    wait_until(lambda: inner.closed)

    assert seconds < 2
    assert len(inner.calls) == 10


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.rule("TW-20", "M2")
@pytest.mark.parametrize("ending", ["pass", "import sys; sys.exit(3)", "1/0"])
def test_a_wrapper_that_was_not_closed_is_drained_at_exit(ending, tmp_path):
    """Everything logged is in the file."""
    script = f"""
import sys, time
from sprockets.logbook import FileHandler, Logger
from sprockets.logbook.queues import ThreadedWrapperHandler
class Slow(FileHandler):
    def emit(self, record):
        time.sleep(0.001)
        super().emit(record)
ThreadedWrapperHandler(Slow(sys.argv[1], format_string="{{record.message}}")).push_application()
for number in range(200):
    Logger("x").info("{{}}", number)
{ending}
"""
    path = tmp_path / "log"
    run(script, path)
    assert path.read_text().split() == [str(number) for number in range(200)]


@pytest.mark.rule("TW-22", "M4")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_starts_with_an_empty_queue(tmp_path):
    """It delivers its own records, and the parent's are delivered once."""
    script = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")
from sprockets.logbook import FileHandler, Logger
from sprockets.logbook.queues import ThreadedWrapperHandler
release = threading.Event()
class Slow(FileHandler):
    def emit(self, record):
        release.wait(5)
        super().emit(record)
threaded = ThreadedWrapperHandler(Slow(sys.argv[1], format_string="{record.message}"))
threaded.push_application()
for number in range(5):
    Logger("x").info("parent {}", number)
pid = os.fork()
release.set()
if not pid:
    Logger("x").info("child")
    threaded.close()
    os._exit(0)
os.waitpid(pid, 0)
threaded.close()
"""
    path = tmp_path / "log"
    done = run(script, path)
    lines = sorted(path.read_text().splitlines())
    assert lines == ["child", *(f"parent {number}" for number in range(5))], done.stderr


def test_the_control_loses_what_a_plain_thread_had_not_written_at_exit(tmp_path):
    """A queue with a daemon thread loses records, so the test of exits can fail."""
    script = """
import queue, sys, threading, time
waiting = queue.Queue()
def work():
    with open(sys.argv[1], "a", buffering=1) as file:
        while True:
            item = waiting.get(); time.sleep(0.001); file.write(f"{item}\\n")
threading.Thread(target=work, daemon=True).start()
for number in range(200):
    waiting.put(number)
"""
    path = tmp_path / "log"
    run(script, path)
    assert not path.exists() or len(path.read_text().split()) < 200


def test_the_queue_shows_how_full_it_is(threaded):
    """It has the questions of ``queue.Queue``."""
    for name in ("qsize", "empty", "full"):
        assert hasattr(queue.Queue, name)
    assert threaded.queue.empty()
    assert not threaded.queue.full()
    assert (threaded.queue.qsize(), threaded.queue.maxsize) == (0, 0)
