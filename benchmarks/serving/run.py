"""Do the same things to each server, and print what they did as a table.

Usage: ``python -P benchmarks/serving/run.py [--servers ours,uvicorn] [--scenarios PATTERN ...]``

What is not good is set in bold.  Real processes on this machine, one server at a time.
"""

import argparse
import fnmatch
import json
import os
import platform
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

# Run with -P nothing of ours is on the path; at its end this can shadow nobody.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.serving.scenarios import SCENARIOS, Cell, Scenario, occupy
from benchmarks.serving.servers import ROOT, SERVERS, Server
from tests.http.serving.driver import Service, free_port

MISSING = "\N{EN DASH}"


def run(server: Server, scenario: Scenario, python: str, *, show_output: bool = False) -> Cell:
    """Return what *server* does in *scenario*; what goes wrong with that is in the cell."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serving-")))
        port = free_port()
        if scenario.occupied:
            stack.enter_context(occupy(port))
        service = Service(
            server.command(python, scenario.limits, directory),
            port=port,
            env={
                "PYTHONPATH": str(ROOT),
                "MARK": str(directory / "marks"),
                "BROKEN": str(directory / "broken"),
                **scenario.env,
            },
            cwd=directory,
            ready_path="/" if scenario.is_ready else None,
        )
        try:
            with service:
                try:
                    return scenario.run(service)
                finally:
                    if show_output:
                        print(service.output(), file=sys.stderr)
        except Exception:  # noqa: BLE001  # one cell must not cost the table
            if show_output:
                traceback.print_exc()
            return Cell(f"not measured: {sys.exception()!r:.100}", False)


def worst(server: Server, scenario: Scenario, python: str, *, show_output: bool = False) -> Cell:
    """Return the first cell that is not good, of as many runs as *scenario* has, or the last."""
    cells = (run(server, scenario, python, show_output=show_output) for _ in range(scenario.runs))
    for cell in cells:
        if not cell.good:
            break
    return cell


def version(server: Server, python: str) -> str:
    """Return the version of a server, or nothing where it is not installed."""
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    answer = subprocess.run(
        [python, "-c", code, server.package], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()


def _shown(cell: dict[str, object] | None) -> str:
    if cell is None:
        return MISSING
    return str(cell["text"]) if cell["good"] else f"**{cell['text']}**"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rst(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in reStructuredText.

    >>> print(rst(["a", "b"], [["1", "2"]]))
    .. list-table::
       :header-rows: 1
    <BLANKLINE>
       * - a
         - b
       * - 1
         - 2
    """
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [head, *rows]:
        lines.append(f"   * - {row[0]}")
        lines.extend(f"     - {cell}" for cell in row[1:])
    return "\n".join(lines)


def _chosen(names: Sequence[str], patterns: Sequence[str], *, slow: bool) -> list[str]:
    if patterns:
        return [name for name in names if any(fnmatch.fnmatch(name, p) for p in patterns)]
    return [name for name in names if slow or not SCENARIOS[name].slow]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", default=",".join(SERVERS), help="which, with commas between")
    parser.add_argument("--scenarios", nargs="*", default=[], metavar="PATTERN")
    parser.add_argument("--slow", action="store_true", help="those that take half a minute, too")
    parser.add_argument("--list", action="store_true", help="list the scenarios, and run none")
    parser.add_argument("--python", default=sys.executable, help="the peers' interpreter")
    parser.add_argument("--format", choices=("markdown", "rst"), default="markdown")
    parser.add_argument("--json", type=Path, help="read figures from here, and write them back")
    parser.add_argument("--output", action="store_true", help="show what the services print")
    parser.add_argument("--show", action="store_true", help="print the table, and run none")
    arguments = parser.parse_args()
    if arguments.list:
        for name, scenario in SCENARIOS.items():
            print(f"{name:26} {scenario.title}{' (slow)' if scenario.slow else ''}")
        return
    servers = [] if arguments.show else arguments.servers.split(",")
    report: dict[str, Any] = {"machine": {}, "versions": {}, "cells": {}}
    if arguments.json and arguments.json.exists():
        report = json.loads(arguments.json.read_text("utf-8"))
    if servers:
        report["machine"] = {
            "cpus": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "kernel": platform.release(),
        }
    for name in servers:
        python = sys.executable if name == "ours" else arguments.python
        report["versions"][name] = version(SERVERS[name], python)
        if not report["versions"][name]:
            parser.error(f"{name} is not installed for {python}")
        for row in _chosen(list(SCENARIOS), arguments.scenarios, slow=arguments.slow):
            cell = worst(SERVERS[name], SCENARIOS[row], python, show_output=arguments.output)
            report["cells"].setdefault(row, {})[name] = {"text": cell.text, "good": cell.good}
            print(f"{name:10} {row:26} {'' if cell.good else '! '}{cell.text}", file=sys.stderr)
            if arguments.json:
                text = json.dumps(report, indent=2, ensure_ascii=False)
                arguments.json.write_text(text + "\n", "utf-8")
    columns = [name for name in SERVERS if name in report["versions"]]
    cells = report["cells"]
    rows = [
        [SCENARIOS[row].title, *(_shown(cells[row].get(name)) for name in columns)]
        for row in SCENARIOS
        if row in cells
    ]
    head = ["scenario", *(f"{name} {report['versions'][name]}" for name in columns)]
    counts = [
        sum(bool(cells[row][name]["good"]) for row in cells if name in cells[row])
        for name in columns
    ]
    totals = [sum(name in cells[row] for row in cells) for name in columns]
    rows.append(["good", *(f"{n} of {all_}" for n, all_ in zip(counts, totals, strict=True))])
    print((markdown if arguments.format == "markdown" else rst)(head, rows))


if __name__ == "__main__":
    main()
