"""Queues between processes, some of which die, and destinations that are slow."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sprockets.logbook import Handler, Logger
from sprockets.logbook.queues._group import SubscriberGroup
from sprockets.logbook.queues._multiprocessing import (
    MultiProcessingHandler,
    MultiProcessingSubscriber,
)

HERE = Path(__file__).parent
SOAK = os.environ.get("SPROCKETS_SOAK") == "1"
log = Logger("faults")

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def kill_writers(kind, kills, told_to_end):
    done = subprocess.run(
        [sys.executable, "-P", HERE / "killed_writers.py", kind, str(kills), told_to_end],
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.rule("M21")
def test_the_others_go_on_when_a_busy_writer_is_killed(tmp_path):
    """Every time; and of theirs nothing is lost, nor out of order."""
    kills = 200 if SOAK else 20

    result = kill_writers("own", kills, tmp_path / "end")

    # Half a record at the end of what a killed one wrote is told, and is no more than that.
    assert result.pop("malformed") <= kills
    assert result.pop("victims") > 0
    assert result == {
        "heard at first": True,
        "heard after": kills,
        "ends came": True,
        "lost": 0,
        "in order": True,
    }


@pytest.mark.rule("M21")
def test_the_same_ends_a_queue_of_the_standard_library(tmp_path):
    """So the test above can fail: here nobody is heard of after one kill."""
    result = kill_writers("standard", 1, tmp_path / "end")

    assert result["heard at first"]
    assert result["heard after"] == 0


@pytest.mark.rule("M19")
def test_a_process_that_is_killed_loses_nothing_that_it_had_logged():
    """``kill -9`` right after the last call returned: all is there, in order."""
    subscriber = MultiProcessingSubscriber()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with MultiProcessingHandler(subscriber.queue):
            for number in range(4_000):
                log.info("{}", number)
        os.write(writing, b"done")
        threading.Event().wait()
    os.read(reading, 4)
    os.kill(child, 9)
    os.waitpid(child, 0)

    messages = [subscriber.recv(5).message for _ in range(4_000)]

    assert messages == [str(number) for number in range(4_000)]
    assert subscriber.recv(0) is None
    subscriber.close()
    os.close(reading)
    os.close(writing)


@pytest.mark.rule("M20")
def test_a_receiver_that_does_nothing_costs_the_others_no_time():
    """Beyond the bound, records are dropped at once and counted; all others come."""
    subscriber = MultiProcessingSubscriber()
    subscriber.queue.max_bytes = 1 << 20
    handler = MultiProcessingHandler(subscriber.queue)
    times = []
    handler.handle_error = lambda record, failure: None
    with handler:
        for number in range(5_000):
            start = time.perf_counter()
            log.info("{}", number)
            times.append(time.perf_counter() - start)
    sent = handler.statistics()["sent"]

    assert handler.statistics()["dropped"] == 5_000 - sent > 0
    assert sorted(times)[4_950] < 0.1
    came = 0
    while subscriber.recv(0) is not None:
        came += 1
    assert came == sent
    subscriber.close()


@pytest.mark.rule("M26")
def test_a_group_with_a_slow_destination_drops_nothing():
    """500 records, each of which takes longer than a member waits for room, or so."""
    carrier = queue.Queue()
    with MultiProcessingHandler(carrier):
        for number in range(500):
            log.info("{}", number)
    pause = 0.06 if SOAK else 0.002
    seen = []

    class Slow(Handler):
        def emit(self, record):
            time.sleep(pause)
            # As long as the waits are, some times.
            if len(seen) % 100 == 50:
                time.sleep(0.11)
            seen.append(int(record.message))

    group = SubscriberGroup([MultiProcessingSubscriber(carrier)], queue_limit=2)
    controller = group.dispatch_in_background(Slow())
    deadline = time.monotonic() + 120
    while len(seen) < 500 and time.monotonic() < deadline:
        time.sleep(0.01)
    start = time.monotonic()
    controller.stop()
    group.stop()

    assert time.monotonic() - start < 1.0
    assert seen == list(range(500))


@pytest.mark.rule("M24")
def test_one_malformed_message_costs_one_message():
    """A thousand records follow, and are dispatched."""
    carrier = queue.Queue()
    carrier.put({"level": "not a level"})
    with MultiProcessingHandler(carrier):
        for number in range(1_000):
            log.info("{}", number)
    seen = []

    class Listing(Handler):
        def emit(self, record):
            seen.append(int(record.message))

    letters = []
    subscriber = MultiProcessingSubscriber(carrier)
    subscriber.dead_letter = lambda data, error: letters.append(data)
    controller = subscriber.dispatch_in_background(Listing())
    deadline = time.monotonic() + 30
    while len(seen) < 1_000 and time.monotonic() < deadline:
        time.sleep(0.005)
    controller.stop()

    assert seen == list(range(1_000))
    assert letters == [{"level": "not a level"}]
