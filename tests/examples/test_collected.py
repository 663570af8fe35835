"""The example of one process that writes what many log."""

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "collected.py"


def test_no_sale_of_any_till_is_lost(tmp_path):
    """Three processes, one file that was rolled over, each record once."""
    result = subprocess.run(
        [sys.executable, "-P", str(EXAMPLE)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    received, lines = result.stdout.splitlines()
    assert received == "received 600, duplicates 0, gaps 0"
    match = re.fullmatch(r"600 lines in (\d+) files", lines)
    assert match
    assert int(match[1]) > 1
