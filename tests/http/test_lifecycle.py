"""One worker's life, told by this test what its supervisor would tell it."""

import asyncio
import logging
import signal
import socket
from time import monotonic

import pytest

from sprockets.http import _lifecycle
from sprockets.http._lifecycle import Place, count_resident_bytes
from sprockets.http._scoreboard import DRAINING, SERVING, STARTING, Scoreboard
from sprockets.http._settings import Options
from sprockets.http._sockets import listen
from sprockets.http._supervisor import Link
from sprockets.http.app import Application
from sprockets.http.runner import Runner

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


class Worker:
    """Lives in this process; ``parent`` is the supervisor's end of its link."""

    def __init__(self, **options):
        self.options = Options(port=0, address="127.0.0.1", **options)
        self.listener = listen(self.options, {})
        self.board = Scoreboard()
        self.row = self.board.rows[0]
        self.row["pid"] = 4711
        self.row["state"] = STARTING
        self.parent, self.channel = socket.socketpair()
        self.application = Application()

    def work(self):
        """Live until the end, and return the exit status."""
        runner = Runner(self.application, options=self.options)
        runner.settle(
            Place(self.listener, self.board, Link(self.channel, self.row, 0)), self.options
        )
        return runner.work()

    def heard(self):
        """What the supervisor has been told."""
        self.parent.setblocking(False)
        try:
            return self.parent.recv(100)
        except BlockingIOError:
            return b""

    def when_started(self, callback):
        self.application.on_start_callbacks.append(lambda application, io_loop: callback())


@pytest.fixture(name="worker")
def _worker():
    """Make a worker with options; the signals of this process are given back in the end."""
    before = {each: signal.getsignal(each) for each in SIGNALS}
    made = []

    def worker(**options):
        options.setdefault("shutdown_limit", 2.0)
        made.append(Worker(**options))
        return made[-1]

    yield worker
    for each in made:
        each.listener.close()
        each.parent.close()
        each.channel.close()
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("word", [b"T", b"R", b"Q", b"TQ"])
def test_a_worker_says_when_it_is_ready_and_goes_when_it_is_told(worker, word):
    """Nothing was cut, so its status is 0."""
    each = worker()
    seen = []

    def told():
        seen.append(each.row["state"])
        each.parent.send(word)

    each.when_started(lambda: asyncio.get_running_loop().call_later(0.01, told))

    assert each.work() == 0
    assert seen == [SERVING]
    assert each.heard() == b"rd"
    assert each.row["state"] == DRAINING


def test_a_worker_does_not_outlive_its_supervisor(worker, caplog):
    """The end of the channel says that it is gone."""
    each = worker()
    each.when_started(lambda: each.parent.shutdown(socket.SHUT_WR))

    assert each.work() == 0
    assert "the supervisor is gone; stopping" in caplog.text


def test_a_worker_that_has_lived_long_enough_asks_to_be_replaced(worker):
    """Once; and serves until it is told to go."""
    each = worker(max_lifetime=0.02, heartbeat_timeout=0.04)
    each.when_started(lambda: asyncio.get_running_loop().call_later(0.08, each.parent.send, b"R"))

    assert each.work() == 0
    assert each.heard() == b"rmd"


def test_a_worker_that_holds_too_much_memory_asks_to_be_replaced(worker):
    """A byte is less than any has."""
    each = worker(max_memory=1)
    each.when_started(lambda: asyncio.get_running_loop().call_later(0.01, each.parent.send, b"R"))

    assert each.work() == 0
    assert b"m" in each.heard()


@pytest.mark.parametrize(
    ("word", "delay", "least", "most"), [(b"T", 0.1, 0.09, 5), (b"R", 60, 0, 5)]
)
def test_only_a_service_that_stops_keeps_serving_for_a_while(worker, word, delay, least, most):
    """A worker whose siblings go on serving need not: nobody has to be told of it first."""
    each = worker(drain_delay=delay)
    times = []

    def told():
        times.append(monotonic())
        each.parent.send(word)

    each.when_started(lambda: asyncio.get_running_loop().call_later(0.005, told))
    each.application.on_shutdown_callbacks.append(lambda application: times.append(monotonic()))

    assert each.work() == 0
    assert least <= times[1] - times[0] < most


@pytest.mark.rule("H3.11")
def test_on_start_may_be_waited_for(worker):
    """The supervisor is told when the last has returned, not before."""
    each = worker(wait_for_on_start=True)
    heard = []

    async def slow(application, io_loop):
        await asyncio.sleep(0.02)
        heard.append(each.heard())
        asyncio.get_running_loop().call_later(0.005, each.parent.send, b"R")

    each.application.on_start_callbacks.append(slow)

    assert each.work() == 0
    assert [*heard, each.heard()] == [b"", b"rd"]


def test_an_on_start_that_is_waited_for_and_fails_ends_the_worker(worker, caplog):
    """Status 70; the supervisor never heard that it was ready."""
    each = worker(wait_for_on_start=True)

    def fail():
        raise LookupError("no such thing")

    each.when_started(fail)

    assert each.work() == 70
    assert each.heard() == b""
    assert "an on_start callback failed; stopping, as nothing was served yet" in caplog.text


@pytest.mark.rule("H3.12")
def test_an_on_start_that_fails_leaves_the_worker_serving(worker, caplog):
    """But not ready, as its row says."""
    each = worker()
    seen = []

    def fail():
        def told():
            seen.append((each.row["has_failed"], each.row["is_ready"]))
            each.parent.send(b"R")

        asyncio.get_running_loop().call_later(0.01, told)
        raise LookupError("no such thing")

    each.when_started(fail)

    assert each.work() == 0
    assert seen == [(1, 0)]
    assert each.heard() == b"rd"
    assert "serving on, but never ready" in caplog.text


@pytest.mark.rule("H3.9")
def test_a_worker_that_cannot_start_says_nothing_and_ends_with_70(worker, caplog):
    """Awaitables of its shutdown callbacks have been finished."""
    each = worker()
    ended = []

    def fail(application, io_loop):
        raise LookupError("no such thing")

    async def shutdown(application):
        await asyncio.sleep(0.01)
        ended.append(True)

    each.application.before_run_callbacks.append(fail)
    each.application.on_shutdown_callbacks.append(shutdown)

    assert each.work() == 70
    assert ended == [True]
    assert each.heard() == b""
    (record,) = [each for each in caplog.records if each.name == "Runner"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is None


def test_the_loop_writes_down_how_late_it_is(worker):
    """Whoever reads the scoreboard sees that it was held up, and for how long."""
    each = worker(heartbeat_timeout=0.04)
    seen = []

    def hold_up():
        end = monotonic() + 0.05
        while monotonic() < end:
            pass

    def look():
        seen.append((each.row["lag_max"], monotonic() - each.row["beat_at"]))
        each.parent.send(b"R")

    each.when_started(lambda: asyncio.get_running_loop().call_later(0.02, hold_up))
    each.when_started(lambda: asyncio.get_running_loop().call_later(0.09, look))

    assert each.work() == 0
    ((lag_max, silence),) = seen
    assert 0.03 < lag_max < 2
    assert silence < 1


def test_the_memory_of_this_process_is_known(monkeypatch):
    """Where the system says; elsewhere it is 0, which is never too much."""
    assert 1 << 20 < count_resident_bytes() < 1 << 40

    def missing(*arguments):
        raise FileNotFoundError

    monkeypatch.setattr(_lifecycle, "open", missing, raising=False)

    assert count_resident_bytes() == 0
