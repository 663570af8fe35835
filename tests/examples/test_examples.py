"""Every example runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# These serve until they are told to stop, and have tests of their own.
SERVICES = {"orders.py", "storefront.py", "warehouse.py"}


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(EXAMPLES.glob("*.py")) if path.name not in SERVICES],
    ids=lambda path: path.name,
)
def test_an_example_runs(path: Path, tmp_path: Path):
    """Started as its reader would start it, it ends by itself, well, and says something."""
    result = subprocess.run(
        [sys.executable, "-P", str(path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout + result.stderr
