"""From one thread to another of the same process."""

from __future__ import annotations

import logging
import queue
import threading
import warnings
from logging.handlers import QueueHandler, QueueListener
from time import process_time
from typing import Any

from benchmarks.queue_transports._case import (
    PADDING,
    PATIENCE,
    Case,
    Reading,
    Taker,
    time_calls,
)


def _reading(sent: Reading, taker: Taker) -> Reading:
    # One process does both.
    cpu = (process_time() - sent.pop("cpu")) / taker.count * 1e6
    return {**sent, **taker.reading, "sender's": cpu, "receiver's": float("nan")}


def run(count: int) -> Reading:
    from sprockets.logbook import Handler, Logger
    from sprockets.logbook.queues import ThreadedWrapperHandler

    taker = Taker(count)

    class Taking(Handler):
        def emit(self, record: Any) -> None:
            taker.take(record.message)

    log = Logger("bench")
    handler = ThreadedWrapperHandler(Taking())
    with handler.contextbound():
        sent = time_calls(lambda number: log.info("{} {}", number, PADDING), count)
    handler.close()
    return _reading(sent, taker)


def run_with_logbook(count: int) -> Reading:
    warnings.simplefilter("ignore")
    import logbook
    from logbook.queues import ThreadedWrapperHandler

    taker = Taker(count)

    class Taking(logbook.Handler):
        def emit(self, record: Any) -> None:
            taker.take(record.message)

    log = logbook.Logger("bench")
    handler = ThreadedWrapperHandler(Taking())
    with logbook.NullHandler(), handler:
        sent = time_calls(lambda number: log.info("{} {}", number, PADDING), count)
    handler.close()
    return _reading(sent, taker)


def run_with_stdlib(count: int) -> Reading:
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
    log.addHandler(QueueHandler(waiting))  # type: ignore[arg-type]  # likewise
    listener.start()
    sent = time_calls(lambda number: log.info("%s %s", number, PADDING), count)
    done.wait(PATIENCE)
    listener.stop()
    return _reading(sent, taker)


STDLIB = "logging QueueHandler"
CASES = [
    Case("ThreadedWrapperHandler", STDLIB, run=run),
    Case("Logbook ThreadedWrapperHandler", STDLIB, ("logbook",), share=2, run=run_with_logbook),
    Case(STDLIB, run=run_with_stdlib),
]
