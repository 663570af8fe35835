"""The base of remote handlers: encodes in the calling thread, delivers in its own."""

import gc
import threading
import time
import weakref

import pytest

from sprockets.logbook import FingersCrossedHandler, Flags, Handler, Logger, statistics
from sprockets.logbook.delivery import PermanentError, Spool, _worker
from sprockets.logbook.handlers._remote import RemoteHandler

log = Logger("remote")


class Collecting(RemoteHandler):
    """Keeps what is delivered, and in which threads it was encoded and delivered."""

    def __init__(self, *args, **kwargs):
        self.items = []
        self.encoders, self.deliverers = set(), set()
        self.error = None
        super().__init__(*args, **kwargs)

    def encode(self, record):
        assert record.information_pulled is self.pulls_information
        self.encoders.add(threading.get_ident())
        return record.message.encode()

    def deliver(self, items):
        self.deliverers.add(threading.get_ident())
        if self.error is not None:
            raise self.error
        self.items += items


@pytest.fixture(name="make")
def _make():
    made = []

    def make(*args, **kwargs):
        handler = Collecting(*args, **kwargs)
        made.append(handler)
        return handler

    yield make
    for handler in made:
        handler.close(0.1)


def test_records_are_encoded_here_and_delivered_there(make):
    """What depends on the calling thread is worked out before."""
    handler = make()
    with handler:
        for number in range(100):
            log.info("{}", number)

    assert handler.flush(5.0)
    assert handler.items == [b"%d" % number for number in range(100)]
    assert handler.encoders == {threading.get_ident()}
    assert handler.deliverers.isdisjoint(handler.encoders)
    assert handler.statistics()["delivered"] == handler.delivery.statistics()["delivered"] == 100


def test_an_immediate_handler_delivers_in_the_call(make):
    """What goes wrong is a handler's error."""
    handler = make(immediate=True)
    with handler, Flags(errors="raise"):
        log.info("x")
        handler.error = OSError("away")
        with pytest.raises(OSError, match="away"):
            log.info("y")

    assert handler.items == [b"x"]
    assert handler.encoders == handler.deliverers == {threading.get_ident()}


def test_what_cannot_be_encoded_is_an_error_of_the_call(make, capfd):
    """The call itself does not notice, and nothing is queued."""
    handler = make()
    handler.encode = lambda record: 1 / 0
    before = statistics()["failed"]
    with handler, Flags(errors="print"):
        log.info("x")

    assert statistics()["failed"] == before + 1
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert handler.statistics()["accepted"] == 0


def test_the_options_are_the_engines(make, tmp_path):
    """All of them, by keyword only."""
    spool = Spool(tmp_path / "s")
    handler = make(
        "WARNING", capacity=1, max_bytes=5, policy="spill", block_timeout=0.1, batch_size=2,
        batch_wait=0.5, spool=spool, drain_timeout=0.2,
    )  # fmt: skip

    engine = handler.delivery
    assert (engine.capacity, engine.max_bytes, engine.policy) == (1, 5, "spill")
    assert (engine.batch_size, engine.batch_wait, engine.spool) == (2, 0.5, spool)
    assert (engine.block_timeout, engine.drain_timeout) == (0.1, 0.2)
    assert handler.level_name == "WARNING"
    with pytest.raises(TypeError):
        RemoteHandler(0, None, False, 100)


def test_dead_letters_are_told_to_the_handler(make):
    """Which may do something about them."""
    handler, dead = make(), []
    handler.dead_letter = None
    handler.delivery._on_dead_letter = lambda item, error: dead.append(item)
    handler.error = PermanentError("no")
    with handler, Flags(errors="silent").applicationbound():
        log.info("x")
        assert handler.flush(5.0)
    assert dead == [b"x"]


@pytest.mark.parametrize(("item", "size"), [(b"abc", 3), ("abc", 3), ((b"ab", "c", 1), 3), ({}, 0)])
def test_the_size_of_what_is_queued_is_that_of_its_texts(item, size, make):
    """A subclass that queues something else says how large it is."""
    assert make().size_of(item) == size


def test_a_handler_that_nobody_holds_is_delivered_and_gone(monkeypatch):
    """Its thread holds it while there is something to do, and no longer."""
    monkeypatch.setattr(_worker, "_IDLE", 0.01)
    handler = Collecting()
    items, gone = handler.items, weakref.ref(handler)
    with handler:
        log.info("x")
    del handler
    for _ in range(500):
        gc.collect()
        if gone() is None:
            break
        threading.Event().wait(0.005)
    assert gone() is None
    assert items == [b"x"]


def test_a_handler_is_collected_without_waiting():
    """Wherever that happens: its thread delivers what there is, and lets go of the connection."""

    class Connected(Collecting):
        def __init__(self):
            self.release, self.gone = threading.Event(), threading.Event()
            super().__init__(batch_size=1)

        def deliver(self, items):
            assert self.release.wait(10)
            super().deliver(items)

        def disconnect(self):
            self.gone.set()

    handler = Connected()
    release, gone, items = handler.release, handler.gone, handler.items
    with handler:
        for number in range(3):
            log.info("{}", number)
    begun = time.monotonic()
    handler.__del__()
    seconds = time.monotonic() - begun
    del handler
    gc.collect()
    assert not gone.is_set()
    release.set()

    assert gone.wait(5)
    assert seconds < 2
    assert items == [b"0", b"1", b"2"]


def test_a_handler_with_nothing_to_do_is_closed_when_it_is_collected():
    """At once, and its connection with it."""
    gone = threading.Event()

    class Connected(Collecting):
        def disconnect(self):
            gone.set()

    handler = Connected()
    del handler
    gc.collect()

    assert gone.is_set()


@pytest.mark.parametrize("is_stuck", [True, False])
def test_closing_lets_go_of_the_connection(is_stuck, make):
    """When there is nothing left to deliver, or no time."""
    release, calls = threading.Event(), []
    handler = make()
    handler.disconnect = lambda: calls.append(list(handler.items))
    if is_stuck:
        handler.deliver = lambda items: release.wait(10)
    with handler, Flags(errors="silent"):
        log.info("x")

    assert handler.close(0.1 if is_stuck else 5) is not is_stuck
    release.set()
    assert calls == [[] if is_stuck else [b"x"]]


def test_a_handler_that_is_being_made_gets_nothing_to_deliver(tmp_path):
    """What a dead process left waits for the end of the last constructor."""
    dead = Spool(tmp_path)
    dead.append(b"left")
    dead.close()
    delivered = threading.Event()

    class Late(Collecting):
        def __init__(self):
            super().__init__(spool=Spool(tmp_path))
            assert not self.delivery._state.is_running
            self.prefix = "late"
            self.ready(Late)

        def deliver(self, items):
            assert self.prefix == "late"
            super().deliver(items)
            delivered.set()

    class Later(Late):
        def __init__(self):
            super().__init__()
            assert not self.delivery._state.is_running
            del self.prefix
            self.prefix = "late"
            self.ready(Later)

    handler = Later()
    assert delivered.wait(5)
    counts = handler.statistics()
    handler.close()

    assert handler.items == [b"left"]
    assert (counts["adopted"], counts["dead"]) == (1, 0)


def test_a_handler_without_a_constructor_of_its_own_is_ready(tmp_path):
    """It has nothing to wait for."""
    dead = Spool(tmp_path)
    dead.append(b"left")
    dead.close()
    delivered = []
    done = threading.Event()

    class Plain(RemoteHandler):
        def deliver(self, items):
            delivered.extend(items)
            done.set()

    handler = Plain(spool=Spool(tmp_path))
    assert done.wait(5)
    handler.close()
    assert delivered == [b"left"]


def test_what_nobody_needs_is_not_worked_out(make):
    """A subclass that makes bytes of what it reads says so, and is faster."""
    handler = make()
    handler.pulls_information = False
    with handler:
        log.info("x")
    assert handler.flush(5)
    assert handler.items == [b"x"]


def test_a_base_that_does_not_deliver_says_so():
    """A subclass must."""
    with pytest.raises(NotImplementedError):
        RemoteHandler().deliver([])


def test_a_wrapper_that_is_collected_leaves_the_handler_to_its_owner(make):
    """Whoever binds a fingers-crossed handler for each request goes on using what it wraps."""
    inner = make()
    for number in range(3):
        wrapper = FingersCrossedHandler(inner, reset=True)
        with wrapper:
            Logger("app").error("failed {}", number)
        wrapper.itself = wrapper  # so that it takes the collector to find it
        del wrapper
        gc.collect()

    assert inner.flush(10)
    assert inner.statistics()["delivered"] == 3


def test_a_finaliser_that_closes_a_handler_waits_for_nothing(make):
    """It may run in the very thread that would have to deliver."""
    entered, release = threading.Event(), threading.Event()
    inner = make()

    def deliver(items):
        entered.set()
        release.wait(60)
        inner.items.extend(items)

    inner.deliver = deliver

    class Owner(Handler):
        def close(self):
            inner.close(30)

    owner = Owner()
    with inner.applicationbound():
        Logger("app").error("on its way")
    assert entered.wait(10)
    began = time.monotonic()
    del owner
    gc.collect()

    assert time.monotonic() - began < 10
    release.set()
    assert inner.flush(10)
    assert inner.items == [b"on its way"]
