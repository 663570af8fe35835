"""Records per second from one process to another, and what each costs the one that logs.

Run as ``python -P benchmarks/queues.py [--quick]``.  Sender and receiver are two processes, joined
by loopback, and each transport is first proven to bring every record, in order.  High-water marks
are off, so that nothing is lost where a sender is faster than its receiver.
"""

from __future__ import annotations

import argparse
import json
import logging
import queue
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from time import perf_counter

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]  # the rows without it remain

import zmq

from sprockets.logbook import Handler, Logger
from sprockets.logbook.queues._zeromq import ZeroMQHandler, ZeroMQSubscriber
from sprockets.logbook.queues._zeromq_reliable import ReliableZeroMQHandler
from sprockets.logbook.queues._zeromq_reliable_subscriber import ReliableZeroMQSubscriber

Log = Callable[[int], object]

Ready = Callable[[str], None]

PADDING = "a message of about the length that messages have, so that a record is 300 bytes"


# -- senders: yield what logs one record


@contextmanager
def ours_reliable(uri: str) -> Iterator[Log]:
    log = Logger("bench")
    handler = ReliableZeroMQHandler(uri, capacity=10**7, max_bytes=4 << 30, drain_timeout=120)
    with handler.contextbound():
        yield lambda number: log.info("{} {}", number, PADDING)
    assert handler.close(120)


@contextmanager
def ours_plain(uri: str) -> Iterator[Log]:
    log = Logger("bench")
    handler = ZeroMQHandler(None, multi=True)
    handler.socket.sndhwm = 0
    handler.socket.connect(uri)
    with handler.contextbound():
        yield lambda number: log.info("{} {}", number, PADDING)
    handler.close(60_000)
    handler.context.term()


@contextmanager
def logbook(uri: str) -> Iterator[Log]:
    warnings.simplefilter("ignore")
    import logbook
    from logbook.queues import ZeroMQHandler

    log = logbook.Logger("bench")
    context = zmq.Context()
    handler = ZeroMQHandler(context=context, multi=True)
    handler.socket.setsockopt(zmq.SNDHWM, 0)
    handler.socket.connect(uri)
    with handler:
        yield lambda number: log.info("{} {}", number, PADDING)
    handler.close(60_000)
    context.term()


def raw(batch: int) -> Callable[[str], object]:
    @contextmanager
    def send(uri: str) -> Iterator[Log]:
        dumps = orjson.dumps
        with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
            socket.sndhwm = 0
            socket.linger = 60_000
            socket.connect(uri)
            records: list[dict[str, object]] = []

            def log(number: int) -> None:
                records.append(
                    {
                        "time": time.time(),
                        "level": 11,
                        "channel": "bench",
                        "message": f"{number} {PADDING}",
                        "msg": "{} {}",
                        "args": [number, PADDING],
                        "process": 1,
                        "thread": 1,
                    }
                )
                if len(records) == batch:
                    socket.send(dumps(records))
                    records.clear()

            yield log
            if records:
                socket.send(dumps(records))

    return send


# -- receivers: say where they are, and give each message to *taker* until it has all


class Taker:
    """Checks that records come in order, all of them, and takes the time from first to last."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.next = 0
        self.begun = self.ended = 0.0

    def take(self, message: str) -> None:
        if self.next == 0:
            self.begun = perf_counter()
        if message.startswith(f"{self.next} "):
            self.next += 1
        if self.is_done:
            self.ended = perf_counter()

    @property
    def is_done(self) -> bool:
        return self.next == self.count

    @property
    def rate(self) -> float:
        return (self.count - 1) / (self.ended - self.begun)


Receive = Callable[[Ready, Taker], None]


def receive_ours(kind: type, **options: object) -> Receive:
    def receive(ready: Ready, taker: Taker) -> None:
        class Taking(Handler):
            def emit(self, record: object) -> None:
                taker.take(record.message)  # type: ignore[attr-defined]  # a record

        subscriber = kind("tcp://127.0.0.1:*", **options)
        ready(subscriber.socket.last_endpoint.decode())
        with Taking().contextbound():
            while not taker.is_done and subscriber.dispatch_once(30):
                pass
        subscriber.close()

    return receive


def receive_logbook(ready: Ready, taker: Taker) -> None:
    warnings.simplefilter("ignore")
    import logbook
    from logbook.queues import ZeroMQSubscriber

    class Taking(logbook.Handler):
        def emit(self, record: object) -> None:
            taker.take(record.message)  # type: ignore[attr-defined]  # a record

    subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", multi=True)
    ready(subscriber.socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())
    with Taking():
        while not taker.is_done and subscriber.dispatch_once(30):
            pass
    subscriber.close()


def receive_raw(ready: Ready, taker: Taker) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.bind("tcp://127.0.0.1:*")
        ready(socket.last_endpoint.decode())
        while not taker.is_done and socket.poll(30_000):
            for record in orjson.loads(socket.recv()):
                taker.take(record["message"])


CASES = {
    "reliable ZeroMQ": (ours_reliable, receive_ours(ReliableZeroMQSubscriber)),
    "ZeroMQ": (ours_plain, receive_ours(ZeroMQSubscriber, multi=True)),
    "Logbook ZeroMQ": (logbook, receive_logbook),
    "pyzmq + orjson": (raw(1), receive_raw),
    "pyzmq + orjson, 100 a message": (raw(100), receive_raw),
}


def send(name: str, uri: str, count: int) -> None:
    """Be the sender: print the cost of calls, and how long all took."""
    sender, _ = CASES[name]
    costs = []
    with sender(uri) as log:  # type: ignore[attr-defined]  # a context manager
        begun = perf_counter()
        for number in range(count):
            before = perf_counter()
            log(number)
            costs.append(perf_counter() - before)
        seconds = perf_counter() - begun
    report(costs, count / seconds)


def report(costs: list[float], rate: float) -> None:
    costs.sort()
    print(
        json.dumps(
            {
                "rate": rate,
                "p50": costs[len(costs) // 2] * 1e6,
                "p99.9": costs[len(costs) * 999 // 1000] * 1e3,
            }
        ),
        flush=True,
    )


def receive(name: str, count: int) -> None:
    """Be the receiver: print where to send to, and then how fast records came."""
    taker = Taker(count)
    _, receiver = CASES[name]
    receiver(lambda uri: print(uri, flush=True), taker)
    if not taker.is_done:
        raise SystemExit(f"only {taker.next} of {count} came in order")
    print(taker.rate, flush=True)


def between_threads(count: int) -> dict[str, float]:
    """The standard library's queue, from a thread to another of the same process."""
    taker = Taker(count)
    done = threading.Event()

    class Taking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            taker.take(record.getMessage())
            if taker.is_done:
                done.set()

    waiting: queue.SimpleQueue[object] = queue.SimpleQueue()
    listener = QueueListener(waiting, Taking())  # type: ignore[arg-type]  # has what is asked of it
    log = logging.Logger("bench")
    log.addHandler(QueueHandler(waiting))  # type: ignore[arg-type]
    costs = []
    listener.start()
    begun = perf_counter()
    for number in range(count):
        before = perf_counter()
        log.info("%s %s", number, PADDING)
        costs.append(perf_counter() - before)
    seconds = perf_counter() - begun
    assert done.wait(120)
    listener.stop()
    costs.sort()
    return {
        "rate": count / seconds,
        "p50": costs[count // 2] * 1e6,
        "p99.9": costs[count * 999 // 1000] * 1e3,
        "received": taker.rate,
    }


def between_processes(name: str, count: int) -> dict[str, float]:
    this = [sys.executable, "-P", str(Path(__file__).resolve())]
    receiver = subprocess.Popen(
        [*this, "--receive", name, "--count", str(count)], stdout=subprocess.PIPE, text=True
    )
    assert receiver.stdout is not None
    uri = receiver.stdout.readline().strip()
    sent = subprocess.run(
        [*this, "--send", name, "--uri", uri, "--count", str(count)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    received, _ = receiver.communicate(timeout=300)
    if receiver.returncode:
        raise SystemExit(f"{name}: the receiver failed")
    return {**json.loads(sent.stdout), "received": float(received)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records, one round")
    parser.add_argument("--send", help=argparse.SUPPRESS)
    parser.add_argument("--receive", help=argparse.SUPPRESS)
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send(options.send, options.uri, options.count)
        return
    if options.receive:
        receive(options.receive, options.count)
        return
    count, rounds = (20_000, 1) if options.quick else (200_000, 3)
    rows: list[tuple[str, Callable[[int], dict[str, float]]]] = [
        (name, lambda count, name=name: between_processes(name, count))  # type: ignore[misc]
        for name in CASES
        if orjson is not None or "orjson" not in name
    ]
    rows.append(("logging.QueueHandler, threads", between_threads))
    print(f"best of {rounds}, {count} records")
    print(f"{'':30} {'sent/s':>9} {'received/s':>11} {'p50 us':>8} {'p99.9 ms':>9}")
    readings: dict[str, list[dict[str, float]]] = {name: [] for name, _ in rows}
    for _, run in rows:
        run(1_000)  # proven before timed
    for _ in range(rounds):
        for name, run in rows:
            readings[name].append(run(count // 5 if name.startswith("Logbook") else count))
    for name, values in readings.items():
        print(
            f"{name:30} {max(v['rate'] for v in values):9,.0f}"
            f" {max(v['received'] for v in values):11,.0f}"
            f" {min(v['p50'] for v in values):8.1f} {min(v['p99.9'] for v in values):9.2f}"
        )


if __name__ == "__main__":
    main()
