"""Records per second from one process or thread to another, and what each costs.

Usage: ``python -P benchmarks/queues.py [--quick] [--only NAMES] [--records N] [--calls N]
[--json FILE]``, or ``--show --json FILE [--format rst]``

The first table has every transport we offer, beside its library used by hand, the standard library
and Logbook, on loopback.  Each is first proven to bring every record, in order.  ``sent/s`` is how
fast calls were made and ``received/s`` how fast records came; then come what half of the calls took
at most, and what 99.9 % did; then the processor's time a record at both ends, all threads included,
which other programs on the machine hardly change.  Ratios are those of the peer that is named.

The second takes the time of each log call while the peer is dead, slow, or says nothing; and before
that, in the same process, of as many calls that make the same of a record and forget it: what those
take beyond the median is the machine's.  ``less waiting`` leaves out what the kernel says that the
process wanted a processor and had none.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

# Run with -P nothing of ours is on the path; at its end this can shadow nobody.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.queue_transports import CASES
from benchmarks.queue_transports._case import Case, Reading, be_receiver, be_sender
from benchmarks.queue_transports._troubles import TROUBLED, time_in_trouble
from benchmarks.report import MISSING, TABLES, Table, keep, kept, machine, shown

HEAD = [
    "transport",
    "sent/s",
    "received/s",
    "p50 us",
    "p99.9 ms",
    "sender us",
    "receiver us",
    "sent",
    "received",
    "of",
]
_HIGHER_IS_BETTER = ("sent", "received")


def best(readings: list[Reading]) -> Reading:
    """Return the best of each figure: what is worse, other programs have done."""
    return {
        name: (max if name in _HIGHER_IS_BETTER else min)(reading[name] for reading in readings)
        for name in readings[0]
    }


def row(case: Case, found: dict[str, Reading | str]) -> list[str]:
    """Return the row of *case*, or what it says instead of figures."""
    reading = found[case.name]
    if isinstance(reading, str):
        return [f"{case.name}: {reading}", *[MISSING] * (len(HEAD) - 1)]
    peer = found.get(case.peer or "")
    ratios = [MISSING] * 3
    if isinstance(peer, dict):
        ratios = [f"{reading[name] / peer[name]:.2f}" for name in _HIGHER_IS_BETTER]
        ratios.append(str(case.peer))
    return [
        case.name,
        f"{reading['sent']:,.0f}",
        f"{reading['received']:,.0f}",
        f"{reading['p50']:.1f}",
        f"{reading['p99.9']:.2f}",
        *[
            MISSING if math.isnan(reading[name]) else f"{reading[name]:.1f}"
            for name in ("sender's", "receiver's")
        ],
        *ratios,
    ]


def compare(cases: list[Case], records: int, rounds: int) -> Table:
    """Return the table of *cases*."""
    readings: dict[str, list[Reading]] = {}
    found: dict[str, Reading | str] = {}
    for case in cases:
        missing = case.missing()
        if missing is not None:
            found[case.name] = missing
            continue
        case.measure(min(records, 100))  # proven before timed
        readings[case.name] = []
    for _ in range(rounds):
        for case in cases:
            if case.name in readings:
                readings[case.name].append(case.measure(max(10, records // case.share)))
    found |= {name: best(values) for name, values in readings.items()}
    title = f"best of {rounds}; {records:,} records, fewer where each takes long"
    return {"title": title, "head": HEAD, "rows": [row(case, found) for case in cases]}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer records, one round")
    parser.add_argument("--only", default="", help="parts of the names of rows, with commas")
    parser.add_argument("--records", type=int, default=0, help="in each row")
    parser.add_argument("--calls", type=int, default=0, help="with each peer in trouble")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables there, too")
    parser.add_argument("--show", action="store_true", help="print what was kept there, no more")
    parser.add_argument("--format", choices=sorted(TABLES), default="text", help="of what is shown")
    parser.add_argument("--send", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--receive", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--where", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        print(json.dumps(be_sender(CASES[options.send], options.where, options.count)))
        return
    if options.receive:
        print(json.dumps(be_receiver(CASES[options.receive], options.count)))
        return
    if options.show:
        print(shown(kept(options.json)["tables"], options.format))
        return
    records, rounds, calls = (10_000, 1, 5_000) if options.quick else (100_000, 2, 100_000)
    records = options.records or records
    calls = options.calls or calls
    wanted = options.only.lower().split(",")
    cases = [case for case in CASES.values() if any(part in case.name.lower() for part in wanted)]
    tables = [compare(cases, records, rounds)]
    print(shown(tables))
    troubled = [case for case in cases if case.name in TROUBLED]
    if troubled:
        tables.append(time_in_trouble(troubled, calls))
        print(f"\n{shown(tables[1:])}")
    if options.json:
        keep(options.json, {**machine(), "tables": tables})


if __name__ == "__main__":
    main()
