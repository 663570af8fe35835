"""The benchmark of requests measures what it says."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/requests.py"


def test_both_servers_are_asked_and_measured():
    """A short run: numbers, and nothing about how good they are."""
    command = [sys.executable, "-P", str(SCRIPT), "--rounds", "1", "--requests", "20"]

    done = subprocess.run(
        [*command, "--json", "--rows", "200", "404"], capture_output=True, text=True
    )

    rows = json.loads(done.stdout)
    assert [row["path"] for row in rows] == ["200", "404"]
    for row in rows:
        assert row["bare"] > 0
        assert row["ours"] > 0
        assert abs(row["ratio"] - row["bare"] / row["ours"]) < 1e-9
