"""The table on the page of other servers is the one that was measured."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/serving/results.json"


def test_the_table_is_what_the_driver_prints(tmp_path):
    """From the figures that are kept beside it."""
    figures = tmp_path / "results.json"
    figures.write_text(RESULTS.read_text("utf-8"), "utf-8")
    command = [sys.executable, "-P", str(ROOT / "benchmarks/serving/run.py"), "--format", "rst"]

    done = subprocess.run(
        [*command, "--json", str(figures), "--show"], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() in (ROOT / "docs/comparison.rst").read_text("utf-8")


def test_nothing_that_is_ours_is_in_bold():
    """Else the page says so, and here is the list of what to do."""
    cells = json.loads(RESULTS.read_text("utf-8"))["cells"]

    assert [row for row, found in cells.items() if not found["ours"]["good"]] == []
