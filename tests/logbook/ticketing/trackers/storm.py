"""One of several processes that run into one error, and file it: run by tests and by hand.

Reads what to do from its argument, as JSON: ``store`` (a URL), ``tracker`` (a class and its
arguments), ``count`` (occurrences), ``pause`` (seconds between two, for measures).  Prints a line
when it is ready, waits for one, and prints what became of it.
"""

import json
import sys
import time

from sprockets.logbook import Logger
from sprockets.logbook.ticketing import _trackers as trackers
from sprockets.logbook.ticketing._handlers import TicketingHandler

LIMIT = 120.0  # seconds


def fail(log, number):
    """Log an error; always at the same place."""
    try:
        raise ValueError(f"no price of {number} @admin </pre> }}}}}} ``` password=hunter2")
    except ValueError:
        log.exception("no price", extra={"request_id": f"r-{number}", "token": "s3cr3t"})


def main(task):
    kind = getattr(trackers, task["tracker"]["class"])
    tracker = kind(*task["tracker"]["args"], **task["tracker"]["options"])
    filing = trackers.Filing(None, [tracker], cool_down=task.get("cool_down", 0.2))
    handler = TicketingHandler(task["store"], trackers=[filing], release="1.4")
    log = Logger("shop")
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.monotonic()
    with handler.contextbound():
        for number in range(task["count"]):
            fail(log, number)
            if task.get("pause"):
                time.sleep(task["pause"])
    logged = time.monotonic() - start
    is_stored = handler.flush(LIMIT)
    stored = time.monotonic() - start
    while filing.flush(LIMIT) and time.monotonic() < start + LIMIT:
        if filing.statistics()[tracker.name]["waiting"] == 0:
            break
        time.sleep(0.02)  # another process is filing it
    told = time.monotonic() - start
    found = filing.statistics()[tracker.name]
    is_done = handler.close(LIMIT) and filing.close(LIMIT) and is_stored
    times = {"logged": logged, "stored": stored, "told": told}
    print(json.dumps({"is_done": is_done, **times, **found}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
