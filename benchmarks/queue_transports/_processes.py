"""From one process of a machine to another, through a queue that both inherit."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable
from contextlib import closing
from time import process_time
from typing import Any

from benchmarks.queue_transports._case import (
    PADDING,
    PATIENCE,
    Case,
    Reading,
    Taker,
    dispatching,
    facts_of,
    logging_to,
    time_calls,
)

Send = Callable[[Any, int], Reading]


def send(queue: Any, count: int) -> Reading:
    from sprockets.logbook.queues import MultiProcessingHandler

    with logging_to(MultiProcessingHandler(queue)) as log:
        return time_calls(log, count)


def send_with_logbook(queue: Any, count: int) -> Reading:
    warnings.simplefilter("ignore")
    import logbook
    from logbook.queues import MultiProcessingHandler

    log = logbook.Logger("bench")
    with MultiProcessingHandler(queue):
        return time_calls(lambda number: log.info("{} {}", number, PADDING), count)


def send_by_hand(queue: Any, count: int) -> Reading:
    return time_calls(lambda number: queue.put(facts_of(number)), count)


def _be_sender(send: Send, queue: Any, count: int, report: Any) -> None:
    reading = send(queue, count)
    # What a queue of the standard library keeps in this process is part of the price.
    queue.close()
    queue.join_thread()
    reading["sender's"] = (process_time() - reading.pop("cpu")) / count * 1e6
    report.send(reading)


def between(send: Send, queue: Any, receive: Callable[[Taker], None], count: int) -> Reading:
    """Return the figures of *send* in another process and *receive* in this one."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_be_sender, args=(send, queue, count, theirs))
    process.start()
    try:
        theirs.close()
        taker = Taker(count)
        receive(taker)
        if not mine.poll(PATIENCE):
            raise SystemExit(f"the sender is stuck; {taker.next} of {count} came")
        sent: Reading = mine.recv()
        process.join(PATIENCE)
        return {**sent, **taker.reading}
    finally:
        mine.close()
        process.kill()
        process.join()


def run(count: int) -> Reading:
    from sprockets.logbook.queues import MultiProcessingSubscriber, ProcessQueue

    # As much room as there are records: the sender is faster.
    with closing(ProcessQueue(max_bytes=4 << 30)) as queue:
        subscriber = MultiProcessingSubscriber(queue)
        return between(send, queue, lambda taker: dispatching(subscriber, taker), count)


def run_over_stdlib(count: int) -> Reading:
    from sprockets.logbook.queues import MultiProcessingSubscriber

    queue: Any = multiprocessing.get_context("spawn").Queue()
    subscriber = MultiProcessingSubscriber(queue)
    return between(send, queue, lambda taker: dispatching(subscriber, taker), count)


def run_with_logbook(count: int) -> Reading:
    warnings.simplefilter("ignore")
    import logbook
    from logbook.queues import MultiProcessingSubscriber

    queue: Any = multiprocessing.get_context("spawn").Queue()
    subscriber = MultiProcessingSubscriber(queue)

    def receive(taker: Taker) -> None:
        class Taking(logbook.Handler):
            def emit(self, record: Any) -> None:
                taker.take(record.message)

        with Taking():
            while not taker.is_done and subscriber.dispatch_once(30):
                pass

    return between(send_with_logbook, queue, receive, count)


def run_by_hand(count: int) -> Reading:
    queue: Any = multiprocessing.get_context("spawn").Queue()

    def receive(taker: Taker) -> None:
        while not taker.is_done:
            taker.take(queue.get(timeout=30)["message"])

    return between(send_by_hand, queue, receive, count)


BY_HAND = "multiprocessing.Queue, dicts"
LOGBOOK = "Logbook MultiProcessingHandler"

CASES = [
    Case("MultiProcessingHandler", BY_HAND, run=run),
    Case("the same, multiprocessing.Queue", LOGBOOK, run=run_over_stdlib),
    Case(LOGBOOK, BY_HAND, ("logbook",), share=2, run=run_with_logbook),
    Case(BY_HAND, run=run_by_hand),
]
