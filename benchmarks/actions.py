"""What actions and messages cost, beside Eliot in the same run.

Usage: ``python -P benchmarks/actions.py [--quick] [--json FILE]``
       ``python -P benchmarks/actions.py --show --json FILE [--format rst]``

Each row is proven before it is timed.  Readings of the two libraries alternate; figures are
medians, in units of an empty method call and in nanoseconds, and as a part of Eliot's.  The table
for the page about peers has units, and what Eliot takes where we take 1.
"""

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from itertools import cycle, islice, repeat
from pathlib import Path
from statistics import median
from typing import Any

# Run with -P nothing of ours is on the path; at its end this can shadow nobody.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.cases import Disk, Emitted, Loop, fresh
from benchmarks.measure import Effort, Meter, Timed, spread
from benchmarks.report import TABLES, keep, kept, machine, number, strong, table
from benchmarks.rows import TRIES, UNIT_NS, NotProvenError

FULL = Effort(rounds=75, reading_us=4000)
QUICK = Effort(rounds=9, reading_us=800)

LIBRARIES = {"ours": "sprockets.eliot", "Eliot": "eliot"}
DISTRIBUTIONS = {"ours": "sprockets.http", "Eliot": "eliot"}
DEPTH = 64
TASKS = 10_000

# Nanoseconds on a machine whose unit is UNIT_NS.
ACTION_TO_JSON_NS = 6500.0


def _actions(library: Any) -> Loop:
    start_action = library.start_action

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            with start_action(action_type="orders:ship", order=1742):
                pass

    return fresh(loop)


def _messages(library: Any) -> Loop:
    log_message = library.log_message

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            log_message(message_type="orders:packed", boxes=2)

    return fresh(loop)


def _nothing(_: dict[str, Any]) -> None:
    pass


@dataclass
class Case:
    """One library in one row.

    Args:
        loop: Makes that many of the calls to be timed.
        switched: Sets the destination for as long.
        sink: What proves that the messages get there.
    """

    loop: Loop
    switched: Callable[[], AbstractContextManager[object]]
    sink: Disk | Emitted

    def empty(self) -> object:
        """Forget what was written."""
        return self.sink.take() if isinstance(self.sink, Disk) else None


@contextmanager
def _added(library: Any, destination: Callable[[dict[str, Any]], object]) -> Iterator[None]:
    library.add_destinations(destination)
    yield
    library.remove_destination(destination)


@contextmanager
def _without(library: Any) -> Iterator[None]:
    yield


def _inside(library: Any, loop: Loop, depth: int) -> Loop:
    """Return *loop*, run inside of that many actions."""
    context = copy_context()
    for _ in range(depth):
        context.run(lambda: library.start_action(action_type="outer").__enter__())
    return lambda count: context.run(loop, count)


def _among(library: Any, loop: Loop, tasks: int) -> Loop:
    """Return *loop*, each call run in another of that many contexts with an action of their own."""
    contexts: list[Context] = []
    for _ in range(tasks):
        context = copy_context()
        context.run(library.start_task(action_type="task").__enter__)
        contexts.append(context)
    following = cycle(contexts)

    def run(count: int) -> None:
        for context in islice(following, count):
            context.run(loop, 1)

    return fresh(run)


@dataclass(frozen=True)
class Row:
    """One question put to both.

    Args:
        title: What the table says.
        make_loop: Returns the calls to be timed.
        sink: Where the messages go: nowhere, to a function that does nothing, to a file.
        messages: How many each call logs.
        target: What we want to be at most, in units, if that is set.
        around: What the calls are in the middle of.
    """

    title: str
    make_loop: Callable[[Any], Loop]
    sink: str
    messages: int
    target: float | None = None
    around: Callable[[Any, Loop], Loop] = lambda library, loop: loop

    def make_case(self, library: Any, path: Path) -> Case:
        """Return the case of *library*; a file is at *path*."""
        loop = self.around(library, self.make_loop(library))
        if self.sink == "file":
            path.touch()
            destination = library.FileDestination(file=path.open("ab"))
            return Case(loop, lambda: _added(library, destination), Disk(path))
        nothing = fresh(_nothing)
        if self.sink == "nowhere":
            return Case(loop, lambda: _without(library), Emitted(nothing))
        return Case(loop, lambda: _added(library, nothing), Emitted(nothing))

    def prove(self, library: Any, case: Case) -> None:
        """Raise `NotProvenError` if *case* does not log what the row says."""
        expected = TRIES * self.messages
        if isinstance(case.sink, Emitted):
            with case.switched():
                delivered = case.sink.count(lambda: case.loop(TRIES))
            if delivered != (0 if self.sink == "nowhere" else expected):
                raise NotProvenError(f"{TRIES} calls delivered {delivered} messages")
            return
        case.empty()
        with case.switched():
            case.loop(TRIES)
        messages = [json.loads(line) for line in case.sink.take().splitlines()]
        kinds = [
            (m.get("message_type"), m.get("action_type"), m.get("boxes", m.get("order")))
            for m in messages
        ]
        wanted = (
            [(None, "orders:ship", 1742), (None, "orders:ship", None)]
            if self.messages == 2
            else [("orders:packed", None, 2)]
        )
        if kinds != wanted * TRIES or not all(m["timestamp"] and m["task_uuid"] for m in messages):
            raise NotProvenError(f"{TRIES} calls wrote {messages!r}")


def _in_one(library: Any, loop: Loop) -> Loop:
    return _inside(library, loop, 1)


def _in_many(library: Any, loop: Loop) -> Loop:
    return _inside(library, loop, DEPTH)


def _in_tasks(library: Any, loop: Loop) -> Loop:
    return _among(library, loop, TASKS)


ROWS = [
    Row("action, no destination", _actions, "nowhere", 2),
    Row("action, a destination that does nothing", _actions, "function", 2),
    Row(f"… {DEPTH} actions deep", _actions, "function", 2, around=_in_many),
    Row(f"… in turn in {TASKS:,} tasks", _actions, "function", 2, around=_in_tasks),
    Row("message, a destination that does nothing", _messages, "function", 1, around=_in_one),
    Row(f"… {DEPTH} actions deep", _messages, "function", 1, around=_in_many),
    Row(f"… in turn in {TASKS:,} tasks", _messages, "function", 1, around=_in_tasks),
    Row("action to a JSON file", _actions, "file", 2, target=ACTION_TO_JSON_NS / UNIT_NS),
    Row("message to a JSON file", _messages, "file", 1),
]


def measure(effort: Effort, libraries: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the figures of all rows."""
    meter = Meter(effort)
    rows: list[dict[str, Any]] = []
    for place, row in enumerate(ROWS):
        timed: dict[str, Timed] = {}
        for name, library in libraries.items():
            case = row.make_case(library, folder / f"{place}-{name}")
            row.prove(library, case)
            timed[name] = Timed(case.loop, case.switched, case.empty)
        unit = meter.take_rounds(row.title, timed.values())
        ours = timed["ours"].ratios
        against = {
            name: median(a / b for a, b in zip(ours, each.ratios, strict=True))
            for name, each in timed.items()
        }
        found = {
            name: {
                "units": round(median(each.ratios), 2),
                "spread": round(spread(each.ratios), 3),
                "ours / theirs": round(against[name], 3),
            }
            for name, each in timed.items()
        }
        rows.append({"title": row.title, "unit_ns": round(unit, 1), "found": found})
    return {
        **machine(),
        "unit_ns": round(meter.best_unit, 1),
        "libraries": {name: installed_version(of) for name, of in DISTRIBUTIONS.items()},
        "disturbed": {name: round(of_unit, 1) for name, of_unit in meter.slow.items()},
        "rows": rows,
    }


def show(document: Mapping[str, Any]) -> str:
    """Return the table for a terminal."""
    names = [name for name in document["libraries"] if name != "ours"]
    targets = {row.title: row.target for row in ROWS}
    lines: list[list[str]] = []
    for row in document["rows"]:
        found, unit = row["found"], row["unit_ns"]
        ours = found["ours"]
        cells = [row["title"], number(ours["units"]), f"{ours['spread']:.0%}"]
        target = targets.get(row["title"])
        cells += [f"{ours['units'] * unit:.0f}", "" if target is None else number(target)]
        for name in names:
            theirs = found[name]
            cells += [number(theirs["units"]), f"{theirs['units'] * unit:.0f}"]
            cells.append(f"{theirs['ours / theirs']:.2f}")
        lines.append(cells)
    head = ["", "ours", "±", "ns", "target"]
    for name in names:
        head += [name, "ns", "ours / theirs"]
    notes = [
        f"Python {document['python']}; unit: an empty method call, {document['unit_ns']:.0f} ns",
        *(f"disturbed: {name}, unit {unit:.0f} ns" for name, unit in document["disturbed"].items()),
    ]
    return "\n".join([table(head, lines), "", *notes])


def show_page(document: Mapping[str, Any], style: str) -> str:
    """Return the table for the page: ours in units, and the others as multiples of ours."""
    names = [name for name in document["libraries"] if name != "ours"]
    lines = []
    for row in document["rows"]:
        found = row["found"]
        against = [1 / found[name]["ours / theirs"] for name in names]
        cells = [strong(number(each)) if each < 1 else number(each) for each in against]
        lines.append([row["title"], number(found["ours"]["units"]), *cells])
    return TABLES[style](["", "ours, units", *names], lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a minute less, figures less certain")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--show", action="store_true", help="print what was kept there, no more")
    parser.add_argument("--format", choices=sorted(TABLES), default="text", help="of what is shown")
    arguments = parser.parse_args()
    if arguments.show:
        print(show_page(kept(arguments.json), arguments.format))
        return
    libraries = {name: importlib.import_module(module) for name, module in LIBRARIES.items()}
    for library in libraries.values():
        # What is logged before the first destination is kept: nothing is, after one.
        with _added(library, _nothing):
            pass
    with tempfile.TemporaryDirectory() as folder:
        document = measure(QUICK if arguments.quick else FULL, libraries, Path(folder))
    print(show(document))
    if arguments.json:
        keep(arguments.json, document)


if __name__ == "__main__":
    main()
