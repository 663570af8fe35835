"""The program that times queues: every transport is proven, or says what it lacks."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "queues.py"
FIGURES = r" +[\d,]+ +[\d,]+ +[\d.]+ +[\d.]+ +[\d.]+ +([\d.]+|–)"
OURS = {
    "ReliableZeroMQHandler",
    "ZeroMQHandler",
    "MultiProcessingHandler",
    "the same, multiprocessing.Queue",
    "ThreadedWrapperHandler",
    "RedisHandler",
    "RedisStreamHandler",
    "MessageQueueHandler",
    "JetStreamHandler",
    "ExecnetChannelHandler",
}


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-P", str(PROGRAM), *arguments],
        capture_output=True, text=True, check=False, timeout=240, env=environment or None,
    )  # fmt: skip


def test_every_transport_has_a_row():
    """With figures, or with what is not there to measure it with."""
    done = run("--quick", "--records", "60", "--calls", "60")

    assert done.returncode == 0, done.stderr
    first, _, second = done.stdout.partition("a log call in ms")
    for name in OURS:
        assert re.search(rf"^{name}({FIGURES}|: no )", first, re.MULTILINE), name
    assert re.search(rf"^logging QueueHandler{FIGURES}", first, re.MULTILINE)
    assert re.search(rf"^multiprocessing.Queue, dicts{FIGURES}", first, re.MULTILINE)
    rows = re.findall(r"^(\w+) +(dead|slow|black hole) +[\d.n]", second, re.MULTILINE)
    assert len(rows) == 15
    assert {name for name, _ in rows} < OURS


def test_a_server_that_is_missing_is_said_to_be():
    """And is no failure."""
    with socket.socket() as taken:
        # Bound, so that nobody else gets it, and not listening.
        taken.bind(("127.0.0.1", 0))
        there = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_without(there)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"no server at {there}") >= 6
    assert not re.search(r"MessageQueueHandler" + FIGURES, done.stdout)


def run_without(there):
    nowhere = {
        "SPROCKETS_TEST_REDIS": f"redis://{there}/0",
        "SPROCKETS_TEST_RABBITMQ": f"amqp://guest:guest@{there}//",
        "SPROCKETS_TEST_NATS": f"nats://{there}",
    }
    return run(
        "--quick", "--records", "20", "--calls", "20",
        "--only", "RedisStream,MessageQueue,JetStream", **nowhere,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [["--records", "x"], ["--send", "nothing"]])
def test_what_makes_no_sense_is_refused(arguments):
    """As command-line tools do."""
    assert run(*arguments).returncode == 2
