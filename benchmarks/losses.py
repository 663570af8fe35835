"""What is lost, and what hangs, when things go wrong: us beside our peers.

Usage: ``python -P benchmarks/losses.py [--only NAMES] [--libraries NAMES] [--json FILE]``
       ``python -P benchmarks/losses.py --show --json FILE [--format rst]``

Each cell is a process of its own, in which a library is set up as its documentation shows, and in
which something is done to it.  What is not good is in bold.  Some are a matter of chance: of five
trials, thirty forks, or as many interruptions as there are in a second and a half.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# Run with -P nothing of ours is on the path; at its end this can shadow nobody.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.losing._libraries import DISTRIBUTIONS
from benchmarks.losing._scenarios import SCENARIOS, log_to_a_slow_destination
from benchmarks.report import MISSING, TABLES, keep, kept, machine, strong

LIMIT = 90
"""Seconds for a scenario; one that takes longer hangs."""


def versions() -> dict[str, str]:
    """Return the versions of the libraries that are installed."""
    found = {}
    for name, distribution in DISTRIBUTIONS.items():
        try:
            found[name] = (
                importlib.metadata.version(distribution)
                if distribution
                else platform.python_version()
            )
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def do(scenario: str, library: str) -> dict[str, Any]:
    """Return what came of *scenario* with *library*, in a process of its own."""
    command = [sys.executable, "-P", __file__, "--do", scenario, library]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {"text": "hangs", "good": False}
    if done.returncode:
        raise SystemExit(f"{scenario}, {library}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def be_done_to(scenario: str, library: str) -> None:
    """Run *scenario* here, and print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        found = SCENARIOS[scenario].run(library, Path(folder))
    print(json.dumps({"text": found.text, "good": found.good}), flush=True)


def show(document: dict[str, Any], style: str) -> str:
    """Return the table."""
    names = list(document["libraries"])
    cells = document["cells"]
    rows = [
        [SCENARIOS[row].title, *(_shown(cells[row].get(name)) for name in names)]
        for row in SCENARIOS
        if row in cells
    ]
    head = ["", *(f"{name} {document['libraries'][name]}" for name in names)]
    return TABLES[style](head, rows)


def _shown(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return MISSING
    return str(cell["text"]) if cell["good"] else strong(cell["text"])


def main() -> None:
    """Do it, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=SCENARIOS, default=[], metavar="NAME")
    parser.add_argument("--libraries", nargs="*", choices=DISTRIBUTIONS, default=[], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="list the scenarios, and do none")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write what came of it there, too"
    )
    parser.add_argument("--show", action="store_true", help="print what was kept there, no more")
    parser.add_argument("--format", choices=sorted(TABLES), default="text", help="of the table")
    parser.add_argument("--do", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--program", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        log_to_a_slow_destination(options.program[0], Path(options.program[1]))
        return
    if options.do:
        be_done_to(*options.do)
        return
    if options.list:
        print("\n".join(f"{name:12} {each.title}" for name, each in SCENARIOS.items()))
        return
    if options.show:
        print(show(kept(options.json), options.format))
        return
    libraries = {
        name: version
        for name, version in versions().items()
        if name in (options.libraries or DISTRIBUTIONS)
    }
    cells: dict[str, dict[str, Any]] = {}
    for row in options.only or SCENARIOS:
        for name in libraries:
            if name not in SCENARIOS[row].libraries:
                continue
            cells.setdefault(row, {})[name] = found = do(row, name)
            print(f"{row:12} {name:10} {found['text']}", file=sys.stderr)
    document = {**machine(), "libraries": libraries, "cells": cells}
    print(show(document, options.format))
    if options.json:
        keep(options.json, document)


if __name__ == "__main__":
    main()
