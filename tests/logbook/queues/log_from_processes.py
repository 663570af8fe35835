"""Processes log through one queue, begun the way the first argument names; prints what came."""

import json
import multiprocessing
import os
import signal
import sys

from sprockets.logbook import Logger
from sprockets.logbook.queues._multiprocessing import (
    MultiProcessingHandler,
    MultiProcessingSubscriber,
)

RECORDS = 500


def work(number, queue):
    with MultiProcessingHandler(queue):
        for index in range(RECORDS):
            Logger("worker").warning("{} {}", number, index, extra={"pair": (1, "ü\udc80")})
    if number == 1:
        os._exit(0)
    if number == 2:
        os.kill(os.getpid(), signal.SIGTERM)


def main():
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue(-1) if sys.argv[2] == "standard" else None
    subscriber = MultiProcessingSubscriber(queue)
    workers = [context.Process(target=work, args=(n, subscriber.queue)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    messages = [[], [], []]
    names = set()
    extras = set()
    while (record := subscriber.recv(1.0)) is not None:
        number, index = record.message.split()
        messages[int(number)].append(int(index))
        names.add(record.process_name)
        extras.add(repr(record.extra["pair"]))
    print(
        json.dumps(
            {
                "in order": [each == list(range(len(each))) for each in messages],
                "counts": [len(each) for each in messages],
                "names": sorted(names),
                "extras": sorted(extras),
                "exit codes": [worker.exitcode for worker in workers],
            }
        )
    )


if __name__ == "__main__":
    main()
