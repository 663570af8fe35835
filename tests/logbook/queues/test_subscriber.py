"""What all subscribers do with what they receive, and the thread that does it."""

import contextlib
import queue
import threading
import time

import pytest

from sprockets.logbook import (
    Flags,
    Handler,
    Logger,
    NestedSetup,
    NullHandler,
    Processor,
    TestHandler,
)
from sprockets.logbook._dispatcher import dispatch_record
from sprockets.logbook.queues._subscriber import (
    ClosedError,
    SubscriberBase,
    ThreadController,
    checked_timeout,
    dispatch,
)
from sprockets.logbook.queues._wire import MalformedRecordError, decode_record

log = Logger("here")


def record(message="x"):
    return decode_record({"level": 13, "channel": "there", "message": message})


class Subscriber(SubscriberBase):
    """Receives what is put into it: records, exceptions, and the end."""

    END = object()

    def __init__(self, *items):
        self.items = queue.Queue()
        self.put(*items)
        self.ended = False
        self.acknowledged = []
        self.threads = set()

    def put(self, *items):
        for item in items:
            self.items.put(item)

    @property
    def is_ended(self):
        return self.ended

    def recv(self, timeout=None):
        timeout = checked_timeout(timeout)
        self.threads.add(threading.current_thread())
        if self.ended:
            return None
        try:
            item = self.items.get(timeout != 0, timeout or None)
        except queue.Empty:
            return None
        if item is self.END:
            self.ended = True
            return None
        if isinstance(item, BaseException):
            if isinstance(item, MalformedRecordError):
                self._count_malformed(b"bytes", item)
            raise item
        self._received += 1
        return item

    def acknowledge(self, record):
        self.acknowledged.append(record.message)


class Recording(TestHandler):
    """Says when it has so many records."""

    def __init__(self, count=1, **options):
        super().__init__(**options)
        self.count = count
        self.is_complete = threading.Event()

    def emit(self, record):
        super().emit(record)
        if len(self.records) >= self.count:
            self.is_complete.set()

    def messages(self):
        return [record.message for record in self.records]


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.002)


@pytest.mark.rule("SC-1")
def test_a_subclass_only_supplies_recv():
    """The base says that it does not."""
    with pytest.raises(NotImplementedError, match="SubscriberBase"):
        SubscriberBase().recv()
    SubscriberBase().acknowledge(record())
    assert not SubscriberBase().is_ended


@pytest.mark.rule("SC-2", "SC-3")
def test_dispatching_once_says_whether_there_was_a_record():
    """Also one that no handler took."""
    subscriber = Subscriber(record("a"), record("b"))

    with TestHandler() as seen:
        assert subscriber.dispatch_once(0) is True
    with NullHandler():
        assert subscriber.dispatch_once(0) is True
        assert subscriber.dispatch_once(0) is False
        assert subscriber.dispatch_once(0.01) is False

    assert [each.message for each in seen.records] == ["a"]
    assert subscriber.statistics()["received"] == 2


def test_a_record_is_acknowledged_after_it_was_dispatched():
    """And by ``recv`` alone it is not."""
    subscriber = Subscriber(record("a"), record("b"))

    class Looking(TestHandler):
        def emit(self, record):
            assert subscriber.acknowledged == []
            super().emit(record)

    with Looking(), Flags(errors="raise"):
        subscriber.dispatch_once(0)
    subscriber.recv(0)

    assert subscriber.acknowledged == ["a"]


@pytest.mark.rule("SC-4")
def test_dispatching_for_ever_ends_with_the_source():
    """It returns, and does not spin."""
    subscriber = Subscriber(record("a"), record("b"), Subscriber.END)

    with TestHandler() as seen:
        subscriber.dispatch_forever()

    assert len(seen.records) == 2


@pytest.mark.rule("SC-5")
def test_what_recv_raises_leaves_it():
    """But what is no record does not end dispatching for ever."""
    error = MalformedRecordError("no record")
    with pytest.raises(MalformedRecordError), Flags(errors="silent"):
        Subscriber(error).dispatch_once()

    subscriber = Subscriber(error, record("a"), error, ClosedError("the end"), record("b"))
    with TestHandler() as seen, Flags(errors="silent"), pytest.raises(ClosedError):
        subscriber.dispatch_forever()
    assert [each.message for each in seen.records] == ["a"]
    assert subscriber.statistics()["malformed"] == 2


@pytest.mark.parametrize("timeout", [-1, -0.001])
def test_a_negative_timeout_is_refused(timeout):
    """Rather than waited for for ever."""
    with pytest.raises(ValueError, match="seconds from 0 on"):
        checked_timeout(timeout)


# -- in the background


@pytest.mark.rule("SC-6", "SC-7", "P-S4")
def test_the_thread_is_a_daemon_and_binds_the_setup_to_itself():
    """What is bound there is unbound at its end, and nobody here sees it."""
    seen = Recording(2)
    stamped = Processor(lambda record: record.extra.update(stamp=1))
    subscriber = Subscriber(record("a"), record("b"))

    controller = subscriber.dispatch_in_background(NestedSetup([NullHandler(), stamped, seen]))

    assert isinstance(controller, ThreadController)
    assert controller.running
    assert controller._thread.daemon
    assert seen.is_complete.wait(5)
    with TestHandler() as mine:
        log.warning("mine")
    controller.stop()
    assert not controller.running
    assert seen.messages() == ["a", "b"]
    assert seen.records[0].extra["stamp"] == 1
    assert len(mine.records) == 1
    assert subscriber.threads.isdisjoint([threading.current_thread()])


@pytest.mark.rule("SC-8", "SC-9")
def test_the_context_of_the_starter_is_not_seen(no_default_handler):
    """Only what is bound to the application."""
    everywhere = Recording()
    subscriber = Subscriber(record("a"))

    with TestHandler() as mine, everywhere.applicationbound():
        controller = subscriber.dispatch_in_background()
        assert everywhere.is_complete.wait(5)
        controller.stop()

    assert mine.records == []
    assert everywhere.messages() == ["a"]


@pytest.mark.rule("SC-10", "SC-13")
def test_starting_and_stopping_twice_is_once():
    """And stopping what was never started is nothing."""
    seen = Recording()
    subscriber = Subscriber()
    controller = ThreadController(subscriber, seen)
    assert controller.running is False
    controller.stop()

    controller.start()
    thread = controller._thread
    controller.start()
    assert controller._thread is thread
    controller.stop()
    controller.stop()
    assert not thread.is_alive()
    assert controller._thread is None

    controller.start()
    subscriber.put(record("again"))
    assert seen.is_complete.wait(5)
    controller.stop()
    assert len(subscriber.threads) == 2


@pytest.mark.rule("SC-11")
def test_what_was_taken_is_dispatched_and_the_rest_stays():
    """Stopping loses nothing."""
    is_in, may_go_on = threading.Event(), threading.Event()

    class Slow(Recording):
        def emit(self, record):
            is_in.set()
            may_go_on.wait(5)
            super().emit(record)

    seen = Slow()
    subscriber = Subscriber(record("a"), record("b"))
    controller = subscriber.dispatch_in_background(seen)
    assert is_in.wait(5)
    stopping = threading.Thread(target=controller.stop)
    stopping.start()
    wait_until(lambda: not controller.running)
    may_go_on.set()
    stopping.join(5)

    assert seen.messages() == ["a"]
    assert subscriber.recv(0).message == "b"


@pytest.mark.rule("SC-12", "M24")
def test_the_thread_goes_on_whatever_is_raised(capfd):
    """The next thousand records are dispatched; what went wrong is reported."""

    class Failing(Recording):
        def handle(self, record):
            super().handle(record)
            if record.message == "exit":
                raise SystemExit("from a handler")
            return True

    seen = Failing(1001)
    letters = []
    subscriber = Subscriber(
        record("exit"),
        MalformedRecordError("no record"),
        RuntimeError("a hiccup"),
        *(record(str(n)) for n in range(1000)),
    )
    subscriber.dead_letter = lambda data, error: letters.append((data, str(error)))

    with Flags(errors="raise").applicationbound():
        controller = subscriber.dispatch_in_background(seen)
        assert seen.is_complete.wait(10)
        assert controller.running
        controller.stop()

    assert seen.messages()[1:] == [str(n) for n in range(1000)]
    assert letters == [(b"bytes", "no record")]
    assert subscriber.statistics()["malformed"] == 1
    errors = capfd.readouterr().err
    for text in ("from a handler", "no record", "a hiccup"):
        assert text in errors


@pytest.mark.rule("SC-12")
@pytest.mark.parametrize("end", [ClosedError("closed"), Subscriber.END])
def test_the_thread_ends_with_its_source(end):
    """And says so."""
    controller = Subscriber(end).dispatch_in_background()

    wait_until(lambda: not controller.running)
    controller.stop()


@pytest.mark.rule("SC-12")
def test_a_setup_that_cannot_be_bound_is_reported(capfd):
    """The thread has not begun, and does not pretend to run."""

    class Broken:
        def push_context(self):
            raise RuntimeError("not today")

    controller = Subscriber().dispatch_in_background(Broken())

    wait_until(lambda: not controller.running)
    controller.stop()
    assert "not today" in capfd.readouterr().err


@pytest.mark.rule("SC-14")
def test_a_handler_may_stop_the_thread_it_runs_in():
    """It ends after this record; and may be started anew at once."""

    class Stopping(Recording):
        def emit(self, record):
            controller.stop()
            super().emit(record)

    seen = Stopping()
    subscriber = Subscriber(record("a"), record("b"))
    controller = ThreadController(subscriber, seen)
    controller.start()
    assert seen.is_complete.wait(5)
    (thread,) = subscriber.threads
    thread.join(5)

    assert not thread.is_alive()
    assert seen.messages() == ["a"]
    assert not controller.running


# -- what is no record


def test_what_is_no_record_is_counted_and_reported_once_a_minute(capfd):
    """The last one can be read, and not more of it than is good."""
    subscriber = SubscriberBase()
    for number in range(5):
        subscriber._count_malformed(b"x" * 100_000, MalformedRecordError(f"no record {number}"))

    assert subscriber.statistics()["malformed"] == 5
    shown, error = subscriber.last_malformed
    assert len(shown) < 300
    assert str(error) == "no record 4"
    errors = capfd.readouterr().err
    assert "no record 0" in errors
    assert "no record 1" not in errors


def test_a_dead_letter_box_that_fails_is_reported(capfd):
    """The count is right all the same."""
    subscriber = SubscriberBase()

    def fail(data, error):
        raise RuntimeError("the box is full")

    subscriber.dead_letter = fail
    with Flags(errors="raise"):
        subscriber._count_malformed(b"x", MalformedRecordError("no record"))

    assert subscriber.statistics()["malformed"] == 1
    assert "the box is full" in capfd.readouterr().err


# -- the short way of dispatching


class Failing(Handler):
    """Fails, and says how often it was told so."""

    def __init__(self):
        super().__init__()
        self.told = []

    def emit(self, record):
        raise ValueError(record.message)

    def handle_error(self, record, exc_info):
        self.told.append((record.message, str(exc_info[1])))


def set_ups():
    """Return what may be bound, and how much of that one handler hears."""
    return {
        "one handler": lambda seen: [seen],
        "another below it": lambda seen: [TestHandler(), seen],
        "a bubbling one above it": lambda seen: [seen, TestHandler(bubble=True)],
        "a processor": lambda seen: [seen, Processor(lambda each: each.extra.update(a=1))],
        "a level": lambda seen: [seen, TestHandler(level="ERROR")],
        "a filter": lambda seen: [seen, TestHandler(filter=lambda *_: False)],
        "a null handler above it": lambda seen: [seen, NullHandler()],
        "nothing of interest": lambda seen: [NullHandler(), TestHandler(level="CRITICAL")],
    }


@pytest.mark.parametrize("name", set_ups())
def test_the_short_way_ends_where_the_long_one_does(name):
    """Whatever is bound."""
    found = []
    for way in (dispatch, dispatch_record):
        seen = TestHandler()
        with contextlib.ExitStack() as stack:
            for each in set_ups()[name](seen):
                stack.enter_context(each.contextbound())
            way(record("hello"))
        found.append([(each.message, each.extra) for each in seen.records])

    assert found[0] == found[1]


def test_a_handler_that_fails_on_the_short_way_is_told():
    """As on the long one, and nobody else."""
    handler = Failing()
    with handler.contextbound():
        dispatch(record("hello"))

    assert handler.told == [("hello", "hello")]
