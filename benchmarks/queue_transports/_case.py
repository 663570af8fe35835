"""A case: one way for records, how it is measured, and how two processes measure it together."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from urllib.parse import urlsplit

PADDING = "a message of about the length that messages have, so that a record is 300 bytes"
PATIENCE = 120.0
"""Seconds for whatever should not take any."""

Reading = dict[str, float]
Log = Callable[[int], object]
"""Logs the record of a number."""
Sender = Callable[[str], AbstractContextManager[Log]]
"""Given where to, yields what logs one record; all are on their way when the context ends."""
Ready = Callable[[str], None]
Receiver = Callable[[Ready, "Taker"], None]
"""Says where it is, then gives each message to the taker until that has all."""


@dataclass
class Case:
    """One row.

    Args:
        name: What it is called.
        peer: Name of the row that it is compared with.
        needs: Modules that must be importable.
        server: Its address as a URL, if there must be one.
        share: Which part of the records it gets: one of so many, where each takes long.
        send: The sender, for another process.
        receive: The receiver, for another process.
        run: What measures so many records without either.
    """

    name: str
    peer: str | None = None
    needs: tuple[str, ...] = ()
    server: str | None = None
    share: int = 1
    send: Sender | None = None
    receive: Receiver | None = None
    run: Callable[[int], Reading] | None = None

    def missing(self) -> str | None:
        """Return what there is not, or nothing."""
        for name in self.needs:
            if name not in sys.modules and importlib.util.find_spec(name) is None:
                return f"no {name}"
        if self.server is not None:
            parts = urlsplit(self.server)
            try:
                socket.create_connection((str(parts.hostname), int(parts.port or 0)), 2).close()
            except OSError:
                return f"no server at {parts.hostname}:{parts.port}"
        return None

    def measure(self, count: int) -> Reading:
        """Send *count* records, see that all arrive in order, and return the figures."""
        return between_processes(self.name, count) if self.run is None else self.run(count)


class Taker:
    """Checks that records come in order, all of them, and takes the time from first to last."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.next = 0
        self.begun = self.ended = self.begun_cpu = self.ended_cpu = 0.0

    def take(self, message: str) -> None:
        if self.next == 0:
            self.begun = perf_counter()
            self.begun_cpu = process_time()
        if message.startswith(f"{self.next} "):
            self.next += 1
        if self.is_done:
            self.ended = perf_counter()
            self.ended_cpu = process_time()

    @property
    def is_done(self) -> bool:
        return self.next == self.count

    @property
    def reading(self) -> Reading:
        if not self.is_done:
            raise SystemExit(f"only {self.next} of {self.count} came in order")
        return {
            "received": (self.count - 1) / (self.ended - self.begun),
            "receiver's": (self.ended_cpu - self.begun_cpu) / (self.count - 1) * 1e6,
        }


def time_calls(log: Log, count: int) -> Reading:
    """Return what *count* calls cost the caller."""
    costs = []
    append = costs.append
    cpu = process_time()
    begun = perf_counter()
    for number in range(count):
        before = perf_counter()
        log(number)
        append(perf_counter() - before)
    seconds = perf_counter() - begun
    costs.sort()
    return {
        "sent": count / seconds,
        "p50": costs[count // 2] * 1e6,
        "p99.9": costs[count * 999 // 1000] * 1e3,
        "cpu": cpu,
    }


def be_sender(case: Case, where: str, count: int) -> Reading:
    """Return what sending costs, its threads and the end of it included."""
    assert case.send is not None
    with case.send(where) as log:
        reading = time_calls(log, count)
    reading["sender's"] = (process_time() - reading.pop("cpu")) / count * 1e6
    return reading


def be_receiver(case: Case, count: int) -> Reading:
    """Print where to send to, and return how fast it came."""
    assert case.receive is not None
    taker = Taker(count)
    case.receive(lambda where: print(where, flush=True), taker)
    return taker.reading


def between_processes(name: str, count: int) -> Reading:
    """Measure with a sender and a receiver, each in a process of its own."""
    program = [sys.executable, "-P", str(Path(__file__).parents[1] / "queues.py")]
    with subprocess.Popen(
        [*program, "--receive", name, "--count", str(count)], stdout=subprocess.PIPE, text=True
    ) as receiver:
        try:
            assert receiver.stdout is not None
            where = receiver.stdout.readline().strip()
            if not where:
                raise SystemExit(f"{name}: the receiver failed")
            sender = [*program, "--send", name, "--where", where, "--count", str(count)]
            sent = subprocess.run(
                sender, stdout=subprocess.PIPE, text=True, check=True, timeout=2 * PATIENCE
            )
            received, _ = receiver.communicate(timeout=PATIENCE)
        except BaseException:
            receiver.kill()
            raise
    if receiver.returncode:
        raise SystemExit(f"{name}: the receiver failed")
    return {**json.loads(sent.stdout), **json.loads(received)}


# -- what our rows have in common


@contextmanager
def logging_to(handler: Any) -> Iterator[Log]:
    """Yield what logs to *handler*, one of ours, and close that."""
    from sprockets.logbook import Logger

    log = Logger("bench")
    with handler.contextbound():
        yield lambda number: log.info("{} {}", number, PADDING)
    if not hasattr(handler, "flush"):
        handler.close()  # whatever it took is with the transport already
    elif not handler.close(PATIENCE):
        raise SystemExit(f"not all was delivered: {handler.statistics()}")


def dispatching(subscriber: Any, taker: Taker) -> None:
    """Have *subscriber*, one of ours, give all it gets to *taker*, and close it."""
    from sprockets.logbook import Handler

    class Taking(Handler):
        def emit(self, record: Any) -> None:
            taker.take(record.message)

    with Taking().contextbound():
        while not taker.is_done and subscriber.dispatch_once(30):
            pass
    if hasattr(subscriber, "close"):
        subscriber.close()


def facts_of(number: int) -> dict[str, Any]:
    """Return a record as somebody without us would write it."""
    from time import time

    return {
        "time": time(),
        "level": 11,
        "channel": "bench",
        "message": f"{number} {PADDING}",
        "msg": "{} {}",
        "args": [number, PADDING],
        "process": 1,
        "thread": 1,
    }
