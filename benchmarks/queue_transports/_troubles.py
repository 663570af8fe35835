"""How long log calls take while the peer is dead, slow, or says nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from benchmarks.queue_transports import _brokers, _nats, _redis
from benchmarks.queue_transports._case import PADDING, PATIENCE, Case
from benchmarks.report import MISSING, Table

LIMIT_MS = 5.0
"""What 99.9 % of the log calls may take."""
MOODS = ("dead", "slow", "black hole")
HEAD = [
    "transport",
    "peer",
    "p50",
    "p99.9",
    "less waiting",
    "longest",
    "null's p99.9",
    "less waiting",
    "kept",
]
_THREADS = Path("/proc/self/task")
"""Where Linux says how long each thread waited; elsewhere nothing is taken off."""
_REMARKABLE = 0.0005

Make = Callable[[str], Any]
"""Returns a handler for an address."""


@contextmanager
def relayed(url: str) -> Iterator[tuple[str, Callable[[str], None]]]:
    """Yield the address of a relay to *url*, and what sets its mood."""
    parts = urlsplit(url)
    there = [str(parts.hostname), str(parts.port)]
    program = [sys.executable, "-P", str(Path(__file__).with_name("_relay.py")), *there]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as relay:
        assert relay.stdin is not None
        assert relay.stdout is not None
        port = relay.stdout.readline().strip()
        user = parts.netloc.rpartition("@")[0]
        netloc = f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"

        def become(mood: str) -> None:
            assert relay.stdin is not None
            assert relay.stdout is not None
            print(mood, file=relay.stdin, flush=True)
            relay.stdout.readline()
            if mood == "dead":
                relay.wait(PATIENCE)

        try:
            yield urlunsplit(parts._replace(netloc=netloc)), become
        finally:
            relay.kill()


@contextmanager
def zeromq() -> Iterator[tuple[str, Make]]:
    from sprockets.logbook.queues import ReliableZeroMQHandler, ReliableZeroMQSubscriber

    subscriber = ReliableZeroMQSubscriber("tcp://127.0.0.1:*")
    controller = subscriber.dispatch_in_background()
    try:
        yield subscriber.socket.last_endpoint.decode(), ReliableZeroMQHandler
    finally:
        controller.stop()
        subscriber.close()


@contextmanager
def redis_list() -> Iterator[tuple[str, Make]]:
    from sprockets.logbook.queues import RedisHandler

    def make(url: str) -> Any:
        parts = urlsplit(url)
        return RedisHandler(str(parts.hostname), int(parts.port or 0), name, bubble=False)

    with _redis.named() as (_, name):
        yield _redis.URL, make


@contextmanager
def redis_stream() -> Iterator[tuple[str, Make]]:
    from sprockets.logbook.queues import RedisStreamHandler

    with _redis.named() as (_, name):
        yield _redis.URL, lambda url: RedisStreamHandler(url, name)


@contextmanager
def rabbitmq() -> Iterator[tuple[str, Make]]:
    from sprockets.logbook.queues import MessageQueueHandler

    with _brokers.named() as name:
        yield _brokers.URL, lambda url: MessageQueueHandler(url, name)


@contextmanager
def nats() -> Iterator[tuple[str, Make]]:
    from sprockets.logbook.queues import JetStreamHandler

    with _nats.named() as name:
        yield _nats.URL, lambda url: JetStreamHandler(url, name, name)


TROUBLED: dict[str, Callable[[], AbstractContextManager[tuple[str, Make]]]] = {
    "ReliableZeroMQHandler": zeromq,
    "RedisHandler": redis_list,
    "RedisStreamHandler": redis_stream,
    "MessageQueueHandler": rabbitmq,
    "JetStreamHandler": nats,
}


def time_in_trouble(cases: list[Case], calls: int) -> Table:
    """Return a table of those *cases* that can be in trouble."""
    from sprockets.logbook import Flags, NullHandler

    rows = []
    # What the handlers have to say of their peers is known here, and what arrives is of no account.
    with NullHandler().applicationbound(), Flags(errors="silent").applicationbound():
        for case in cases:
            for mood in MOODS:
                missing = case.missing()
                rows.append(
                    [case.name, mood, missing, *[MISSING] * (len(HEAD) - 3)]
                    if missing
                    else [case.name, mood, *_time_mood(case.name, mood, calls)]
                )
    title = f"a log call in ms; {calls:,} calls a row, at most {LIMIT_MS:g} ms wanted"
    return {"title": title, "head": HEAD, "rows": rows}


def _time_mood(name: str, mood: str, calls: int) -> list[str]:
    from sprockets.logbook import Handler, Logger

    class Null(Handler):
        """Does what the caller does for the handler, and forgets it."""

        def emit(self, record: Any) -> None:
            handler.encode(record)

    with TROUBLED[name]() as (url, make), relayed(url) as (relay, become):
        log = Logger("bench")
        handler = make(relay)
        with handler.contextbound():
            log.info("the first one arrives")
            deadline = monotonic() + PATIENCE
            while handler.statistics()["delivered"] < 1:
                if monotonic() > deadline:
                    raise SystemExit(f"{name}: nothing arrives: {handler.statistics()}")
                sleep(0.01)
        with Null().contextbound():
            control = _time(log, calls)
        become(mood)
        with handler.contextbound():
            ours = _time(log, calls)
        counts = handler.statistics()
        handler.close(0)
    dropped = sum(counts["dropped"].values())
    kept = counts["delivered"] + counts["queued"] + counts["spooled"]
    if kept + counts["dead"] + dropped != calls + 1:
        raise SystemExit(f"{name}: {calls + 1} records, of which {counts}")
    return [*ours, *control[1:3], f"{min(kept, calls) / calls:.0%}"]


def _time(log: Any, calls: int) -> list[str]:
    """Return median, p99.9, the same less the waiting for a processor, and the longest."""
    costs = []
    net = []
    waited = _waited()
    for number in range(calls):
        before = perf_counter()
        log.info("{} {}", number, PADDING)
        cost = perf_counter() - before
        costs.append(cost)
        if cost > _REMARKABLE or not number % 100:
            now = _waited()
            net.append(max(0.0, cost - (now - waited)) if cost > _REMARKABLE else cost)
            waited = now
        else:
            net.append(cost)
    costs.sort()
    net.sort()
    late = calls * 999 // 1000
    values = [costs[calls // 2], costs[late], net[late], costs[-1]]
    return [f"{value * 1e3:.3f}" for value in values]


def _waited() -> float:
    """Return seconds that this process's threads wanted a processor and had none, ever."""
    total = 0
    for thread in _THREADS.glob("*/schedstat"):
        try:
            total += int(thread.read_text().split()[1])
        except OSError:
            continue  # it has ended
    return total / 1e9
