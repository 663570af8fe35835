"""The program that times delivery: it runs, proves, and shows what it says it shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "delivery.py"


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-P", str(PROGRAM), *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_quick_look_has_every_condition_and_policy():
    """With the machine's own share in front, and nothing on standard error."""
    done = run("--quick", "--calls", "60", "--handlers", "syslog")

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = re.findall(r"^syslog, TCP +(.+?)  +(\w+)  ", done.stdout, re.MULTILINE)
    expected = [("(none)", "drop_oldest")]
    for condition in ("dead", "slow", "black hole"):
        expected += [
            (condition, policy) for policy in ("drop_oldest", "drop_newest", "block", "spill")
        ]
    assert rows == expected
    assert re.search(r"^QueueHandler.enqueue, Queue +[\d.]+ +[\d.]+$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["--calls", "x"], ["--serve", "nothing"]])
def test_what_makes_no_sense_is_refused(arguments):
    """As command-line tools do."""
    assert run(*arguments).returncode == 2
