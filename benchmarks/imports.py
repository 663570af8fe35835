"""Imports: what it costs to import us, and our peers, over an interpreter that imports nothing.

Usage: ``python -P benchmarks/imports.py [--quick] [--old-http FOLDER]``

Each import is done by a process of its own, in turn with all the others; the least processor time
that one of them took counts, less that of a process that imports nothing.  What an environment
brings into every process (``site``, and what editable installs hook in) is kept out, for it would
pay a part of some imports and not of others.

sprockets.http 2.5 cannot be installed beside us: *FOLDER* is a virtual environment, or its
``site-packages``, that has it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Run with -P nothing of ours is on the path; at its end this can shadow nobody.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.report import machine, table

ROOT = Path(__file__).resolve().parents[1]
ROUNDS, QUICK_ROUNDS = 20, 3
HEAD = ["import", "ms", "of its peer's"]
TARGET = 0.5
PEERS = "pip install -r requirements/benchmarks.txt"
OLD_HTTP = (
    "sprockets.http 2.5: python -m venv OLD && OLD/bin/pip install sprockets.http==2.5.1"
    " 'setuptools<82' tornado, then --old-http OLD"
)


@dataclass(frozen=True)
class Case:
    """An import.

    Args:
        name: What it is called in the table.
        statement: Does it.
        paths: Where modules are looked for, before those of the standard library.
        peer: Name of the case that it is compared with.
    """

    name: str
    statement: str
    paths: tuple[str, ...]
    peer: str | None = None


BARE = Case("nothing", "pass", ())


def cases_of(old_http: Path | None) -> tuple[list[Case], list[str]]:
    """Return what can be measured here, and how to get what cannot."""
    ours = (str(ROOT), *_installed())
    found = [
        BARE,
        Case("logging", "import logging", ours),
        Case("sprockets.logbook", "import sprockets.logbook", ours, "logbook"),
        Case(
            "sprockets.logbook, setups.console()",
            "from sprockets.logbook import Logger, setups; setups.console()",
            ours,
            "loguru",
        ),
        Case("sprockets.http", "import sprockets.http", ours, "sprockets.http 2.5"),
        Case("sprockets.http.app", "import sprockets.http.app", ours, "sprockets.http.app 2.5"),
    ]
    missing = []
    for peer in ("logbook", "loguru", "structlog"):
        if importlib.util.find_spec(peer) is None:
            missing.append(f"{peer}: {PEERS}")
        else:
            found.append(Case(peer, f"import {peer}", _installed()))
    packages = None if old_http is None else _site_packages(old_http)
    if packages is None:
        missing.append(OLD_HTTP)
    else:
        old = (str(packages),)
        found += [
            Case("sprockets.http 2.5", "import sprockets.http", old),
            Case("sprockets.http.app 2.5", "import sprockets.http.app", old),
        ]
    return found, missing


def _installed() -> tuple[str, ...]:
    return tuple(path for path in sys.path if path.endswith("site-packages"))


def _site_packages(folder: Path) -> Path | None:
    """Return the folder in or below *folder* that has packages, if one has sprockets.http."""
    for packages in (folder, *folder.glob("lib/python*/site-packages")):
        if (packages / "sprockets" / "http").is_dir():
            return packages
    return None


def measure(case: Case) -> float:
    """Return the seconds of processor time that one process took.

    Raises:
        RuntimeError: It failed.
    """
    code = f"import sys; sys.path[:0] = {list(case.paths)!r}\n{case.statement}"
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", "-P", "-c", code], stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    with process.stderr as stream:
        errors = stream.read().decode("utf-8", "replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{case.statement!r} failed:\n{errors}")
    return usage.ru_utime + usage.ru_stime


def measure_all(cases: list[Case], rounds: int) -> dict[str, float]:
    """Return the least time of each of *cases* in milliseconds, over that of importing nothing."""
    best = {case.name: float("inf") for case in cases}
    for _ in range(rounds):
        for case in cases:
            best[case.name] = min(best[case.name], measure(case))
    floor = best.pop(BARE.name)
    return {name: max(0.0, seconds - floor) * 1000 for name, seconds in best.items()}


def rows_of(cases: list[Case], times: dict[str, float]) -> list[list[str]]:
    """Return the rows of the table."""
    rows = []
    for case in cases:
        if case is BARE:
            continue
        ratio = ""
        if case.peer is not None and times.get(case.peer):
            ratio = f"{times[case.name] / times[case.peer]:.2f}"
        rows.append([case.name, f"{times[case.name]:.1f}", ratio])
    return rows


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short look")
    parser.add_argument("--old-http", type=Path, metavar="FOLDER", help="has sprockets.http 2.5")
    arguments = parser.parse_args()
    cases, missing = cases_of(arguments.old_http)
    times = measure_all(cases, QUICK_ROUNDS if arguments.quick else ROUNDS)
    print(", ".join(f"{name} {value}" for name, value in machine().items()), end="\n\n")
    print(table(HEAD, rows_of(cases, times)))
    print(f"\nthe target for sprockets.logbook and sprockets.http is {TARGET} at most")
    for line in missing:
        print(f"left out: {line}")


if __name__ == "__main__":
    main()
