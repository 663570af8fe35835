"""The example of set-ups from a file shows what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

from sprockets.logbook.setups import check

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_example_shows_what_a_file_does(tmp_path: Path):
    """Problems with suggestions, records where the file sends them, a reload, a probe."""
    result = subprocess.run(
        [sys.executable, "-P", str(EXAMPLES / "setups.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")
    told, bound, reloaded, probed, files = result.stdout.split("\n\n")[1:10:2]
    assert "unknown handler 'consle'; did you mean 'console'?" in told
    assert "unknown handler 'strem'; did you mean 'stream'?" in told
    assert "logging.toml has 0 problems" in told
    assert bound.splitlines() == [
        "ERROR   payments.cards no answer",
        "WARNING driver    3 retries",
    ]
    assert reloaded.splitlines() == [
        "INFO    shop      the console has this now",
        "   the set-up 'production' stays as it was",
    ]
    assert "FileHandler, written" in probed
    lines = [json.loads(line) for line in files.splitlines()]
    assert [line["message"] for line in lines] == [
        "sold tea for 4",
        "asking the bank",
        "no answer",
        "3 retries",
        "the console has this now",
    ]
    assert all(line["extra"]["service"] == "shop" for line in lines)
    assert result.stdout.splitlines()[-4:-1] == [
        "DEBUG: asking the bank",
        "ERROR: no answer",
        "NOTICE: a record to see whether records arrive",
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_right():
    """All its set-ups, and what none of them uses."""
    assert check(EXAMPLES / "logging.toml") == []
