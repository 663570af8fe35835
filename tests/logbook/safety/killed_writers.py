"""Processes log through one queue while one after the other of them is killed.

Arguments: ``own`` or ``standard`` queue, number of kills.  Eight processes log at a leisurely pace
all the time; each of the others logs as fast as it can until it is killed, at a random moment.
Prints how often all eight were heard of within a second after a kill, and what became of their
records.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import time

from sprockets.logbook import Logger
from sprockets.logbook.queues._multiprocessing import (
    MultiProcessingHandler,
    MultiProcessingSubscriber,
)
from sprockets.logbook.queues._wire import MalformedRecordError

SURVIVORS = 8
log = Logger("writer")


def survive(queue, number, told_to_end):
    handler = MultiProcessingHandler(queue)
    index = 0
    with handler:
        while not os.path.exists(told_to_end):
            log.info("{} {}", number, index)
            index += 1
            time.sleep(0.01)
        log.info("{} end {}", number, index)
    if hasattr(queue, "join_thread"):
        queue.close()
        queue.join_thread()


def be_killed(queue, size):
    with MultiProcessingHandler(queue):
        while True:
            log.info("victim {}", "x" * size)


class Receiver:
    def __init__(self, subscriber):
        self.subscriber = subscriber
        self.seen = {number: [] for number in range(SURVIVORS)}
        self.ends = {}
        self.victims = 0

    def receive(self, until, seconds):
        """Receive until the condition holds; return whether it did in time."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                return False
            try:
                record = self.subscriber.recv(0.05)
            except MalformedRecordError:
                continue
            if record is not None:
                self.note(record.message.split())
        return True

    def note(self, words):
        if words[0] == "victim":
            self.victims += 1
        elif words[1] == "end":
            self.ends[int(words[0])] = int(words[2])
        else:
            self.seen[int(words[0])].append(int(words[1]))

    def hears_all(self, seconds):
        counts = {number: len(seen) for number, seen in self.seen.items()}
        return self.receive(
            lambda: all(len(seen) > counts[number] for number, seen in self.seen.items()), seconds
        )


def main():
    kind, kills = sys.argv[1], int(sys.argv[2])
    told_to_end = sys.argv[3]
    context = multiprocessing.get_context("fork")
    queue = context.Queue(-1) if kind == "standard" else None
    receiver = Receiver(MultiProcessingSubscriber(queue))
    queue = receiver.subscriber.queue
    survivors = [
        context.Process(target=survive, args=(queue, number, told_to_end), daemon=True)
        for number in range(SURVIVORS)
    ]
    for survivor in survivors:
        survivor.start()
    result = {"heard at first": receiver.hears_all(20), "heard after": 0}
    # To be killed while it holds the lock of a pipe, it writes until the pipe is full; records that
    # a pipe takes as a whole or not at all, or the receiver would hang as well.
    size = 1_000 if kind == "standard" else 0
    for _ in range(kills):
        victim = context.Process(
            target=be_killed, args=(queue, size or random.choice((10, 1_000, 100_000))), daemon=True
        )
        victim.start()
        if size:
            time.sleep(0.5)  # nobody receives: it is stuck
        else:
            receiver.receive(lambda: False, random.uniform(0.01, 0.06))
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        receiver.receive(lambda: False, 0.5 if size else 0)  # what was in the pipe before
        result["heard after"] += receiver.hears_all(2.0 if size else 5.0)
    open(told_to_end, "w").close()
    ends_came = receiver.receive(lambda: len(receiver.ends) == SURVIVORS, 0.1 if size else 20)
    result["ends came"] = ends_came
    result["lost"] = sum(
        receiver.ends.get(number, 0) - len(seen) for number, seen in receiver.seen.items()
    )
    result["in order"] = all(seen == list(range(len(seen))) for seen in receiver.seen.values())
    result["victims"] = receiver.victims
    result["malformed"] = receiver.subscriber.statistics()["malformed"]
    print(json.dumps(result), flush=True)
    for survivor in survivors:
        survivor.kill()
    os._exit(0)  # the standard queue's threads may be stuck for ever


if __name__ == "__main__":
    main()
