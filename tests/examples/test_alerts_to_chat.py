"""The example of errors that go to a chat shows what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("slack_sdk", reason="slack_sdk is not installed")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "alerts_to_chat.py"


def test_each_place_is_told_once_an_hour_and_the_rest_is_counted(tmp_path: Path):
    """Two places, three hours; that Slack was busy at first is reported, and costs nothing."""
    result = subprocess.run(
        [sys.executable, "-P", str(EXAMPLE)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    *told, counts = result.stdout.splitlines()
    assert [line for line in told if "nobody pays" in line] == [
        f"#alerts  ERROR in sell(): nobody pays -1 for &lt;tea {hour}.0&gt;" for hour in range(3)
    ]
    prices = [line for line in told if "no price" in line]
    assert prices == [f"#alerts  ERROR in sell(): no price of tea {hour}.1" for hour in range(3)]
    assert told.count("#alerts  (98 more like this)") == 2
    assert len(told) == 8
    assert counts == "delivered 6, withheld 294, dead 0"
    assert re.search(r"'SlackHandler' fails, \d are waiting: RetryLater: .*429", result.stderr)
