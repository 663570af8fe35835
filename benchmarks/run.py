"""Measure us beside our peers in one process, and print how many empty calls each thing costs.

Usage: ``python -P benchmarks/run.py [--quick] [--rows PATTERN] [--json FILE]``
       ``python -P benchmarks/run.py --show --json FILE [--format rst]``

Every row is proven before it is timed: a library that does not deliver what the row says has no
figure there.
The tables for the page about peers say what a peer takes where we take 1.
For counts instead of times, where noise matters: ``--callgrind ROW LIBRARY`` (needs valgrind).
"""

import argparse
import asyncio
import contextvars
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice, repeat
from pathlib import Path
from statistics import median
from typing import Any

# Run with -P nothing of ours is on the path; at its end this can shadow nobody.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.cases import FURTHER, Emitted, Library, Loop, Scope, fresh
from benchmarks.libraries import LIBRARIES, load
from benchmarks.measure import Effort, Meter, Timed, call_units, spread
from benchmarks.report import MISSING, TABLES, keep, kept, machine, number, strong, table
from benchmarks.rows import (
    BIND_TARGET_NS,
    DEPTHS,
    FIRST_TARGET_NS,
    KINDS,
    ROWS,
    TASKS,
    UNIT_NS,
    Kind,
    NotProvenError,
    Row,
)

FULL = Effort(rounds=75, reading_us=2000)
FLOOR = "os.write"
# Marks a figure for which a peer does less than the row asks.
FAULTY = "*"

QUICK = Effort(rounds=9, reading_us=400)


@dataclass
class Cells:
    """What was measured: figures with their spread, and the reasons why some are missing or marked.

    Figures and reasons are by name of row and library.
    """

    values: dict[tuple[str, str], float] = field(default_factory=dict)
    spreads: dict[tuple[str, str], float] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    faults: dict[tuple[str, str], str] = field(default_factory=dict)
    units: list[float] = field(default_factory=list)
    descriptions: dict[str, str] = field(default_factory=dict)

    def add(self, row: str, library: str, ratios: Sequence[float]) -> None:
        """Keep the median of *ratios*."""
        self.values[row, library] = median(ratios)
        self.spreads[row, library] = spread(ratios)

    def value(self, row: str, library: str) -> float | None:
        """Return the figure, if there is one."""
        return self.values.get((row, library))

    def best_peer(self, row: str) -> float | None:
        """Return the least figure among all but us."""
        return min(
            (value for (of, name), value in self.values.items() if of == row and name != "ours"),
            default=None,
        )

    def against_best(self, row: str) -> float | None:
        """Return our figure as a part of the best peer's."""
        ours, best = self.value(row, "ours"), self.best_peer(row)
        return ours / best if ours is not None and best else None

    def text(self, row: str, library: str, factor: float = 1) -> str:
        """Return the figure times *factor* for a table."""
        value = self.value(row, library)
        if value is None:
            return MISSING
        return number(value * factor) + (FAULTY if (row, library) in self.faults else "")


@contextmanager
def opened(
    row: str, libraries: Sequence[Library], method: str, cells: Cells, *arguments: object
) -> Iterator[list[tuple[Library, Any, contextvars.Context]]]:
    """Open the cases of all libraries that have one, each in a context of its own."""
    with ExitStack() as stack:
        cases = []
        for library in libraries:
            if (make := getattr(library, method, None)) is None:
                continue
            # What one binds to its context must not be there for another.
            context = contextvars.copy_context()
            try:
                manager: AbstractContextManager[Any] = make(*arguments)
                case = context.run(manager.__enter__)
            except Exception as error:  # noqa: BLE001  # told at the end; the others go on
                cells.failures[row, library.name] = describe(error)
                continue
            stack.callback(context.run, manager.__exit__, None, None, None)
            cases.append((library, case, context))
        yield cases


def proven(
    row: str,
    library: Library,
    context: contextvars.Context,
    prove: Callable[[], object],
    cells: Cells,
) -> bool:
    """Return whether the case does what its row says; if not, keep the reason."""
    try:
        with library.switched(), redirect_stderr(io.StringIO()) as elsewhere:
            context.run(prove)
        if elsewhere.getvalue():
            raise NotProvenError(f"something went to stderr: {elsewhere.getvalue()!r}")
    except Exception as error:  # noqa: BLE001  # told at the end; the others go on
        if row not in library.faults:
            cells.failures[row, library.name] = describe(error)
            return False
    if row in library.faults:
        cells.faults[row, library.name] = library.faults[row]
    return True


def describe(error: Exception) -> str:
    """Return what went wrong in one line of bounded length."""
    return f"{type(error).__name__}: {error}".replace("\n", " | ")[:300]


def emptied(sink: object) -> Callable[[], object]:
    """Return what empties *sink* between rounds."""
    return (lambda: None) if isinstance(sink, Emitted) else sink.take  # type: ignore[attr-defined,no-any-return]


def timed(library: Library, loop: Loop, context: contextvars.Context, sink: object) -> Timed:
    """Return *loop* of *library*, to be read in *context*."""
    return Timed(partial(context.run, fresh(loop)), library.switched, emptied(sink))


@contextmanager
def only_write(library: Library) -> Iterator[Timed]:
    """Time what the system takes for the line alone: nobody who flushes each line can be faster."""
    path = library.file_named(FLOOR)
    line = b"[2026-11-21 04:30:47.123456] INFO: shop: order accepted\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def writes(count: int) -> None:
        for _ in repeat(None, count):
            os.write(descriptor, line)

    try:
        yield Timed(writes, library.switched, partial(os.truncate, path, 0))
    finally:
        os.close(descriptor)


def measure_row(row: Row, libraries: Sequence[Library], meter: Meter, cells: Cells) -> None:
    """Measure one row for every library."""
    with ExitStack() as stack:
        cases = stack.enter_context(opened(row.name, libraries, row.name, cells))
        readings = {
            library.name: timed(library, case.loop, context, case.sink)
            for library, case, context in cases
            if proven(row.name, library, context, partial(row.prove, case), cells)
        }
        if row.name == "file" and cases:
            readings[FLOOR] = stack.enter_context(only_write(cases[0][0]))
        if readings:
            cells.units.append(meter.take_rounds(row.name, readings.values()))
        for name, each in readings.items():
            cells.add(FLOOR if name == FLOOR else row.name, name, each.ratios)


def measure_contexts(depth: int, libraries: Sequence[Library], meter: Meter, cells: Cells) -> None:
    """Measure what binding to a context costs under depth - 1 others of the kind."""
    with ExitStack() as stack:
        readings: dict[tuple[str, str], list[Timed]] = {}
        for kind in KINDS:
            row = f"{kind.name}-{depth}"
            scopes = stack.enter_context(opened(row, libraries, kind.name, cells, depth - 1))
            for library, scope, context in scopes:
                if proven(row, library, context, partial(kind.prove, scope), cells):
                    readings[row, library.name] = [
                        timed(library, loop, context, scope.sink)
                        for loop in (scope.bind, scope.first, scope.further)
                    ]
        if readings:
            cells.units.append(
                meter.take_rounds(
                    f"contexts-{depth}", (each for three in readings.values() for each in three)
                )
            )
        for (row, name), (bind, first, further) in readings.items():
            cells.add(f"{row}-bind", name, bind.ratios)
            cells.add(
                f"{row}-first",
                name,
                [b - a for a, b in zip(bind.ratios, first.ratios, strict=True)],
            )
            cells.add(
                f"{row}-then",
                name,
                [(b - a) / FURTHER for a, b in zip(first.ratios, further.ratios, strict=True)],
            )


def log_nothing(count: int) -> None:
    """Loop as the cases do, to know what that alone costs."""
    for _ in repeat(None, count):
        pass


def in_turn(contexts: Sequence[contextvars.Context], log: Loop) -> Loop:
    """Return a loop that runs *log* once in each of *contexts*, and goes on where it stopped."""
    endless = cycle(contexts)

    def turns(count: int) -> None:
        for context in islice(endless, count):
            context.run(log, 1)

    return turns


async def measure_tasks(
    kind: Kind, count: int, libraries: Sequence[Library], meter: Meter, cells: Cells
) -> None:
    """Measure a record in one of *count* live tasks that bind something, and in each in turn."""
    row = f"{kind.name}-tasks-{count}"
    over = asyncio.Event()

    async def live(scope: Scope, ready: asyncio.Event) -> None:
        with scope.enter():
            scope.log(1)
            ready.set()
            await over.wait()

    with opened(row, libraries, kind.name, cells) as scopes:
        tasks: list[asyncio.Task[None]] = []
        readings: dict[str, list[Timed]] = {}
        for library, scope, context in scopes:
            if not proven(row, library, context, partial(kind.prove, scope), cells):
                continue
            contexts = [context.copy() for _ in range(count)]
            for each in contexts:
                ready = asyncio.Event()
                tasks.append(asyncio.create_task(live(scope, ready), context=each))
                await ready.wait()
            readings[library.name] = [
                timed(library, scope.log, contexts[count // 2], scope.sink),
                Timed(in_turn(contexts, fresh(scope.log)), library.switched, emptied(scope.sink)),
                Timed(in_turn(contexts, fresh(log_nothing)), library.switched),
            ]
        if readings:
            cells.units.append(
                meter.take_rounds(row, (each for three in readings.values() for each in three))
            )
        for name, (one, turns, nothing) in readings.items():
            cells.add(f"{row}-one", name, one.ratios)
            cells.add(
                f"{row}-turns",
                name,
                [b - a for a, b in zip(nothing.ratios, turns.ratios, strict=True)],
            )
        over.set()
        await asyncio.gather(*tasks)


def show_rows(rows: Sequence[Row], names: Sequence[str], cells: Cells) -> str:
    """Return the table of log calls, in units."""
    peers = [name for name in names if name != "ours"]
    lines = []
    for row in rows:
        ours = cells.value(row.name, "ours")
        lines.append(
            [
                row.title,
                number(row.target),
                number(ours),
                number(ours / row.target if ours is not None and row.target else None),
                number(cells.against_best(row.name)),
                *(cells.text(row.name, name) for name in peers),
            ]
        )
    return table(["a log call, in units", "target", "ours", "/target", "/best", *peers], lines)


def show_ns(
    head: str, rows: Sequence[tuple[str, str, float | None]], names: Sequence[str], cells: Cells
) -> str:
    """Return a table in nanoseconds of the machine on which the targets were set."""
    names = [
        name for name in names if any(cells.value(row, name) is not None for row, _, _ in rows)
    ]
    peers = [name for name in names if name != "ours"]
    lines = [
        [
            title,
            number(target),
            cells.text(row, "ours", UNIT_NS),
            number(cells.against_best(row)),
            *(cells.text(row, name, UNIT_NS) for name in peers),
        ]
        for row, title, target in rows
    ]
    return table([head, "target", "ours", "/best", *peers], lines)


def context_rows(depths: Sequence[int]) -> list[tuple[str, str, float | None]]:
    """Return name, title and target of the rows about binding; only the first depth has targets."""
    return [
        (
            f"{kind.name}-{depth}-{part}",
            f"{kind.title}, {what}, depth {depth}",
            target if depth == 1 else None,
        )
        for kind in KINDS
        for part, what, target in (
            ("bind", "bind + unbind", BIND_TARGET_NS),
            ("first", "first record", FIRST_TARGET_NS),
            ("then", "further ones", kind.then_target_ns),
        )
        for depth in depths
    ]


def task_rows(counts: Sequence[int]) -> list[tuple[str, str, float | None]]:
    """Return name and title of the rows about live tasks; their target is not to grow."""
    parts = [("one", "one logs"), ("turns", "each in turn")]
    return [
        (f"{kind.name}-tasks-{count}-{part}", f"{kind.title}, {what}, {count} tasks", None)
        for kind in KINDS
        for part, what in parts
        for count in counts
    ]


def show_failures(cells: Cells) -> str:
    """Return why some figures are missing or marked."""
    lines = [f"{MISSING} {name}, {row}: {reason}" for (row, name), reason in cells.failures.items()]
    lines += [f"{FAULTY} {name}, {row}: {reason}" for (row, name), reason in cells.faults.items()]
    return "\n".join(lines)


def show_noise(cells: Cells) -> str:
    """Return how far the readings of a figure lie apart."""
    if not cells.spreads:
        return "nothing was measured"
    worst = max(cells.spreads, key=cells.spreads.__getitem__)
    return (
        f"spread of readings (half the distance of the quartiles): typically "
        f"{median(cells.spreads.values()):.1%}, "
        f"at worst {cells.spreads[worst]:.0%} ({worst[1]}, {worst[0]})"
    )


def instructions(arguments: Sequence[str], calls: int) -> int:
    """Return the instructions that *calls* calls of a row take, the start-up included."""
    command = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        sys.executable,
        "-P",
        __file__,
        "--calls",
        str(calls),
        "--callgrind",
        *arguments,
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(  # our own command line
        command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode or not (found := re.search(r"Collected : (\d+)", done.stderr)):
        raise SystemExit(f"callgrind failed:\n{done.stderr[-2000:]}")
    return int(found[1])


def count_instructions(row: str, library: str) -> str:
    """Return the instructions of one call and of the unit, the start-up subtracted."""
    if shutil.which("valgrind") is None:
        raise SystemExit(
            "counting instructions needs valgrind; install it with: apt-get install valgrind"
        )
    few, many = 200, 1200
    of_call, of_unit = (
        (instructions(of, many) - instructions(of, few)) / (many - few)
        for of in ([row, library], ["unit", library])
    )
    return (
        f"{library}, {row}: {of_call:.0f} instructions a call; "
        f"the unit {of_unit:.0f}; ratio {number(of_call / of_unit)}"
    )


def only_call(row: str, library: str, calls: int, folder: Path) -> None:
    """Make *calls* calls of a row and nothing else, for callgrind to count."""
    if row == "unit":
        call_units(calls)
        return
    loaded = load(library, folder)
    with getattr(loaded, row)() as case, loaded.switched():
        case.loop(calls)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few short rounds: figures are rough")
    parser.add_argument(
        "--rows", default="", metavar="PATTERN", help="only rows whose name matches this expression"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument(
        "--libraries", default="", metavar="PATTERN", help="only libraries whose name matches"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--show", action="store_true", help="print what was kept there, no more")
    parser.add_argument("--format", choices=sorted(TABLES), default="text", help="of what is shown")
    parser.add_argument(
        "--callgrind", nargs=2, metavar=("ROW", "LIBRARY"), help="count instructions by valgrind"
    )
    parser.add_argument("--calls", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def say(text: str = "") -> None:
    """Write *text* as a line to the terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def loaded_libraries(pattern: str, folder: Path, cells: Cells) -> list[Library]:
    """Return the libraries that are installed, and say what they are."""
    libraries = []
    for name in LIBRARIES:
        if not re.search(pattern, name):
            continue
        try:
            library = load(name, folder)
        except Exception as error:  # noqa: BLE001  # told at the end; the others go on
            cells.failures["all rows", name] = describe(error)
            continue
        libraries.append(library)
        cells.descriptions[name] = library.describe()
        say(f"{name:12} {cells.descriptions[name]}")
    return libraries


def measure_all(options: argparse.Namespace, folder: Path, cells: Cells) -> None:
    """Measure and print the rows asked for."""
    meter = Meter(QUICK if options.quick else FULL)
    libraries = loaded_libraries(options.libraries, folder, cells)
    names = [library.name for library in libraries]

    def wanted(name: str) -> bool:
        return re.search(options.rows, name) is not None

    def progress(name: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{name}")

    rows = [row for row in ROWS if wanted(row.name)]
    for row in rows:
        progress(row.name)
        measure_row(row, libraries, meter, cells)
    depths = [depth for depth in DEPTHS if wanted(f"contexts-{depth}")]
    for depth in depths:
        progress(f"contexts-{depth}")
        measure_contexts(depth, libraries, meter, cells)
    counts = [count for count in TASKS if wanted(f"tasks-{count}")]
    for count in counts:
        for kind in KINDS:
            progress(f"tasks-{count}")
            asyncio.run(measure_tasks(kind, count, libraries, meter, cells))
    progress("")

    unit = median(cells.units) if cells.units else 0.0
    say(f"\nunit: one call of an empty method, {unit:.1f} ns here\n")
    if rows:
        say(show_rows(rows, names, cells) + "\n")
    scaled = f"ns where the unit is {UNIT_NS:.0f} ns"
    if depths:
        say(show_ns(f"contexts, {scaled}", context_rows(depths), names, cells) + "\n")
    if counts:
        say(show_ns(f"live tasks, {scaled}", task_rows(counts), names, cells) + "\n")
    if (floor := cells.value(FLOOR, FLOOR)) is not None:
        say(f"one {FLOOR} of such a line to such a file: {number(floor)} units")
    say(show_noise(cells))
    if meter.thrown_away:
        say(f"rounds not counted because the machine was disturbed: {meter.thrown_away}")
    if meter.slow:
        units = ", ".join(f"{name} (unit {unit:.0f} ns)" for name, unit in meter.slow.items())
        say(f"DISTURBED throughout, do not trust: {units}")
    if cells.failures or cells.faults:
        say(show_failures(cells))


def as_document(cells: Cells) -> dict[str, Any]:
    """Return all figures, in units, to be kept."""
    figures: dict[str, dict[str, object]] = {}
    for (row, name), value in cells.values.items():
        spread_of = round(cells.spreads[row, name], 3)
        figures.setdefault(row, {})[name] = {"units": round(value, 2), "spread": spread_of}
    return {
        **machine(),
        "unit_ns": round(median(cells.units), 1) if cells.units else None,
        "libraries": cells.descriptions,
        "targets": {row.name: row.target for row in ROWS},
        "figures": figures,
        "failures": {f"{row}, {name}": reason for (row, name), reason in cells.failures.items()},
        "faults": {f"{row}, {name}": reason for (row, name), reason in cells.faults.items()},
    }


def from_document(document: dict[str, Any]) -> Cells:
    """Return what was kept."""
    cells = Cells(descriptions=document["libraries"])
    for row, found in document["figures"].items():
        for name, figure in found.items():
            cells.values[row, name] = figure["units"]
            cells.spreads[row, name] = figure["spread"]
    for told, into in (("failures", cells.failures), ("faults", cells.faults)):
        for place, reason in document[told].items():
            row, name = place.rsplit(", ", 1)
            into[row, name] = reason
    return cells


# What a page has room for: at the top of a context, and under many others.
_SHOWN_DEPTHS = [1, 64]
_SHOWN_TASKS = [10_000]


def show_page(cells: Cells, style: str) -> str:
    """Return the tables for the page: ours in units, and the others as multiples of ours."""
    names = [name for name in cells.descriptions if name != "ours"]
    groups = [
        ("a log call", [(row.name, row.title) for row in ROWS]),
        ("a context", [(name, title) for name, title, _ in context_rows(_SHOWN_DEPTHS)]),
        ("live tasks", [(name, title) for name, title, _ in task_rows(_SHOWN_TASKS)]),
    ]
    shown = []
    for head, rows in groups:
        measured = [row for row in rows if cells.value(row[0], "ours")]
        peers = [n for n in names if any(cells.value(row, n) is not None for row, _ in measured)]
        lines = [
            [title, known(cells.value(row, "ours")), *(times(cells, row, n) for n in peers)]
            for row, title in measured
        ]
        if lines:
            shown.append(TABLES[style]([head, "ours, units", *peers], lines))
    return "\n\n".join(shown)


def known(value: float | None) -> str:
    """Return a figure; a difference of two readings that noise has made negative is none."""
    return number(value) if value is not None and value > 0 else MISSING


def times(cells: Cells, row: str, name: str) -> str:
    """Return how many times as long as we *name* takes; in bold if that is faster."""
    ours, theirs = cells.value(row, "ours"), cells.value(row, name)
    if ours is None or theirs is None or min(ours, theirs) <= 0:
        return MISSING
    text = number(theirs / ours) + (" †" if (row, name) in cells.faults else "")
    return strong(text) if theirs < ours else text


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    options = parse(arguments)
    if options.list:
        say(
            "\n".join(
                [row.name for row in ROWS]
                + [f"contexts-{n}" for n in DEPTHS]
                + [f"tasks-{n}" for n in TASKS]
            )
        )
        return
    if options.show:
        say(show_page(from_document(kept(options.json)), options.format))
        return
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        if options.callgrind and options.calls is not None:
            row, library = options.callgrind
            only_call(row, library, options.calls, Path(folder))
        elif options.callgrind:
            say(count_instructions(*options.callgrind))
        else:
            cells = Cells()
            measure_all(options, Path(folder), cells)
            if options.json:
                keep(options.json, as_document(cells))


if __name__ == "__main__":
    main()
