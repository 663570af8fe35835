"""The benchmark of imports runs, and says how to get what it leaves out; its figures are not judged."""

import os
import re
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "imports.py"


def run(folder, *arguments):
    """Run the benchmark as briefly as it can, and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-P", str(PROGRAM), "--quick", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_what_is_not_here_is_left_out_with_how_to_get_it(tmp_path):
    """sprockets.http 2.5 never is: it would be in our place."""
    out = run(tmp_path)

    assert re.search(r"^sprockets\.logbook +\d+\.\d", out, re.MULTILINE)
    assert re.search(r"^sprockets\.http +\d+\.\d$", out, re.MULTILINE)
    assert "left out: sprockets.http 2.5: python -m venv OLD && OLD/bin/pip install" in out


def test_a_peer_in_an_environment_of_its_own_is_compared_with(tmp_path):
    """Here a stand-in for sprockets.http 2.5, as it lies in a virtual environment."""
    package = tmp_path / "lib" / "python3" / "site-packages" / "sprockets" / "http"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import json, logging, email.message\n")
    (package / "app.py").write_text("")

    out = run(tmp_path, "--old-http", str(tmp_path))

    assert re.search(r"^sprockets\.http +\d+\.\d +\d+\.\d\d$", out, re.MULTILINE)
    assert "left out: sprockets.http" not in out
