"""The benchmarks run, so that they do not rot; what they measure is nobody's business here."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            encoding="utf-8",
            capture_output=True,
            check=False,
            timeout=120,
        )

    return run


def _needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"needs {', '.join(missing)}: see requirements/benchmarks.txt"
    )


def test_a_quick_run_measures_us_beside_logging(run, tmp_path):
    """Us and the standard library are always there to be compared, whatever else is installed."""
    done = run(
        str(ROOT / "benchmarks/run.py"),
        "--quick",
        "--rows=^level$",
        "--libraries=^(ours|stdlib)$",
        f"--json={tmp_path / 'figures.json'}",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "level too low" in done.stdout
    document = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert document["failures"] == {}
    assert set(document["figures"]["level"]) == {"ours", "stdlib"}


def test_files_that_are_rolled_over_are_proven_to_be(run, tmp_path):
    """By size and by time, in a quick run as in a long one."""
    done = run(
        str(ROOT / "benchmarks/run.py"),
        "--quick",
        "--rows=^rotated_by_(size|time)$",
        "--libraries=^(ours|stdlib|Logbook|loguru)$",
        f"--json={tmp_path / 'figures.json'}",
    )

    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    missing = {reason for reason in document["failures"].values() if "ModuleNotFound" not in reason}
    assert missing == set()
    for row in ("rotated_by_size", "rotated_by_time"):
        assert {"ours", "stdlib"} <= set(document["figures"][row])


SLOW_AT_FIRST = f"""
import sys, time
from contextlib import nullcontext
sys.path.append({str(ROOT)!r})
from benchmarks.measure import Timed
calls = []
def loop(count):
    if not calls:
        time.sleep(0.01)
    calls.append(count)
    for _ in range(count):
        pass
timed = Timed(loop, switched=nullcontext)
timed.calibrate(400)
print(timed.count)
"""


def test_a_loop_whose_first_call_is_slow_is_not_measured_by_that_call(run):
    """As one that opens a file: afterwards there are as many calls in a reading as should be."""
    done = run("-c", SLOW_AT_FIRST)

    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 100


@_needs("eliot", "logbook", "loguru", "picologging", "structlog")
def test_every_peer_does_what_a_row_says(run, tmp_path):
    """Each peer that has the row delivers its line before it is timed."""
    done = run(
        str(ROOT / "benchmarks/run.py"),
        "--quick",
        "--rows=^(line|json)$",
        f"--json={tmp_path / 'figures.json'}",
    )

    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert document["failures"] == {}
    assert set(document["figures"]["json"]) == {
        "ours",
        "stdlib",
        "stdlib tuned",
        "picologging",
        "Logbook",
        "loguru",
        "structlog",
        "Eliot",
    }


def test_a_library_that_is_not_there_is_named_with_the_reason(run, tmp_path):
    """A figure that is missing is explained at the end, and the others are there."""
    (tmp_path / "structlog.py").write_text("raise ImportError('left out')\n", encoding="utf-8")
    (tmp_path / "start.py").write_text(
        f"import runpy, sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        f"runpy.run_path({str(ROOT / 'benchmarks/run.py')!r}, run_name='__main__')\n",
        encoding="utf-8",
    )

    done = run(
        str(tmp_path / "start.py"),
        "--quick",
        "--rows=^level$",
        "--libraries=^(stdlib|structlog)$",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "structlog, all rows: ImportError: left out" in done.stdout


@_needs("pytest_benchmark")
def test_the_realistic_paths_work(run):
    """The paths measured with pytest-benchmark deliver what they promise."""
    done = run(
        "-m",
        "pytest",
        str(ROOT / "benchmarks/test_record_path.py"),
        f"--rootdir={ROOT}",
        f"--config-file={ROOT / 'setup.cfg'}",
        "--benchmark-disable",
        "-q",
    )

    assert done.returncode == 0, done.stdout + done.stderr
