"""What handing something over costs, and how long a log call takes whatever the destination does.

Usage: ``python -P benchmarks/delivery.py [--quick] [--calls N] [--handlers NAMES] [--json FILE]``
       ``python -P benchmarks/delivery.py --show --json FILE [--format rst]``

The first table puts the delivery engine beside ``logging.handlers.QueueHandler``, in alternated
rounds in this process, with a thread that takes the items off.  The second takes the time of each
log call of our remote handlers, whose destinations are in another process: one that is dead, one
that is slow, and one that takes connections and nothing else; with each policy, and before them
without any, which shows what the machine adds.  Both are proven
first: everything that is handed over arrives.  What is shown for the page about peers has only the
policy that is the default.
"""

import argparse
import logging
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from statistics import median
from typing import Any

# Run with -P nothing of ours is on the path; at its end this can shadow nobody.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.report import TABLES, Table, keep, kept, machine, shown
from sprockets.logbook import Flags, Logger
from sprockets.logbook.delivery import Delivery, Spool
from sprockets.logbook.handlers import MailHandler, OTLPHandler, SentryHandler, SyslogHandler

LIMIT_MS = 5.0
"""What 99.9 % of the log calls may take."""
BLOCK_TIMEOUT = 0.003
"""Seconds that ``"block"`` waits for room; the rest of the limit is for making the item."""
POLICIES = ("drop_oldest", "drop_newest", "block", "spill")
CONDITIONS = ("dead", "slow", "black hole")
MACHINE = "(none)"
"""A destination that is none: what is left is making the item, and the machine's own pauses."""


# -- handing over


class Counting(logging.Handler):
    """Counts what arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count *record*."""
        self.count += 1


def time_delivery(calls: int) -> float:
    """Return seconds for so many puts into the engine."""
    count = 0

    def deliver(items: list[Any]) -> None:
        nonlocal count
        count += len(items)

    engine = Delivery(deliver, name="benchmark", capacity=calls + 1, max_bytes=1 << 30)
    item = b"x" * 100
    engine.put(item)
    begun = time.perf_counter()
    for _ in range(calls):
        engine.put(item)
    taken = time.perf_counter() - begun
    engine.close()
    prove("Delivery.put", count, calls + 1)
    return taken


def time_queue_handler(calls: int, waiting: "queue.Queue[Any] | queue.SimpleQueue[Any]") -> float:
    """Return seconds for so many records through the standard library's."""
    target = Counting()
    handler = QueueHandler(waiting)  # type: ignore[arg-type]  # has what is asked of it
    listener = QueueListener(waiting, target)  # type: ignore[arg-type]
    listener.start()
    record = logging.makeLogRecord({"msg": "x" * 100})
    handler.enqueue(record)
    begun = time.perf_counter()
    for _ in range(calls):
        handler.enqueue(record)
    taken = time.perf_counter() - begun
    listener.stop()
    prove("QueueHandler.enqueue", target.count, calls + 1)
    return taken


def prove(name: str, found: int, expected: int) -> None:
    """End the program if something did not arrive: then there is nothing to time."""
    if found != expected:
        raise SystemExit(f"{name}: {found} of {expected} arrived")


def compare_handing_over(rounds: int, calls: int) -> Table:
    """Return a table of microseconds a call, and of our share of theirs."""
    cases: dict[str, Callable[[], float]] = {
        "Delivery.put": lambda: time_delivery(calls),
        "QueueHandler.enqueue, Queue": lambda: time_queue_handler(calls, queue.Queue(calls + 2)),
        "QueueHandler.enqueue, SimpleQueue": lambda: time_queue_handler(calls, queue.SimpleQueue()),
    }
    readings: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for _ in range(rounds):
        for name, case in cases.items():
            readings[name].append(case() / calls * 1e6)
    ours = readings["Delivery.put"]
    rows = [
        [
            name,
            f"{median(values):.2f}",
            f"{median(mine / theirs for mine, theirs in zip(ours, values, strict=True)):.2f}",
        ]
        for name, values in readings.items()
    ]
    return {"title": "", "head": ["handing over", "us a call", "ours by it"], "rows": rows}


# -- destinations, in a process of their own


def serve_http(connection: socket.socket, pause: float) -> None:
    """Answer requests, each after *pause* seconds."""
    with connection, connection.makefile("rb") as lines:
        while lines.readline():
            length = 0
            while (line := lines.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            lines.read(length)
            time.sleep(pause)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def serve_smtp(connection: socket.socket, pause: float) -> None:
    """Take mails; the end of each takes *pause* seconds."""
    with connection, connection.makefile("rb") as lines:
        connection.sendall(b"220 here\r\n")
        while line := lines.readline():
            command = line[:4].upper()
            if command == b"DATA":
                connection.sendall(b"354 go on\r\n")
                while lines.readline() not in (b".\r\n", b""):
                    pass
                time.sleep(pause)
            connection.sendall(b"221 bye\r\n" if command == b"QUIT" else b"250 OK\r\n")
            if command == b"QUIT":
                return


def serve_syslog(connection: socket.socket, pause: float) -> None:
    """Read, four kilobytes each *pause* seconds."""
    with connection:
        while connection.recv(4096):
            time.sleep(pause)


def serve_nothing(connection: socket.socket, _: float) -> None:
    """Keep the connection, and do nothing with it."""
    while True:
        time.sleep(3600)
        connection.fileno()


SERVERS = {"http": serve_http, "smtp": serve_smtp, "syslog": serve_syslog, "hole": serve_nothing}


def serve(kind: str, pause: float) -> None:
    """Serve connections for ever; the port is the first line of standard output."""
    server = socket.create_server(("127.0.0.1", 0), backlog=1000)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    print(server.getsockname()[1], flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=SERVERS[kind], args=(connection, pause), daemon=True).start()


@contextmanager
def destination(kind: str, condition: str) -> Iterator[int]:
    """Return the port of a destination of that kind, in that condition."""
    if condition in ("dead", MACHINE):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            yield sock.getsockname()[1]
        return
    kind = "hole" if condition == "black hole" else kind
    pause = "0.005" if condition == "slow" else "0"
    command = [sys.executable, "-P", __file__, "--serve", kind, "--pause", pause]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


# -- log calls


def make_syslog(port: int, **options: Any) -> SyslogHandler:
    """Return a handler that sends over TCP."""
    stream = socket.SOCK_STREAM
    return SyslogHandler("shop", ("127.0.0.1", port), socktype=stream, delay=True, **options)


def make_mail(port: int, **options: Any) -> MailHandler:
    """Return a handler that sends mail."""
    there = ("127.0.0.1", port)
    return MailHandler("shop@example.com", ["ops@example.com"], server_addr=there, **options)


def make_otlp(port: int, **options: Any) -> OTLPHandler:
    """Return a handler for a collector."""
    return OTLPHandler(f"http://127.0.0.1:{port}/v1/logs", environ={}, **options)


def make_sentry(port: int, **options: Any) -> SentryHandler:
    """Return a handler for Sentry."""
    return SentryHandler(f"http://key@127.0.0.1:{port}/1", environ={}, **options)


HANDLERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "syslog, TCP": ("syslog", make_syslog),
    "mail": ("smtp", make_mail),
    "OTLP": ("http", make_otlp),
    "Sentry": ("http", make_sentry),
}
COLUMNS = [
    "a log call, ms",
    "destination",
    "policy",
    "p50",
    "p99",
    "p99.9",
    "longest",
    "not in memory",
]


def prove_handler(name: str) -> None:
    """Show that a handler delivers what it is given, if somebody takes it."""
    kind, make = HANDLERS[name]
    with destination(kind, "fine") as port:
        handler = make(port)
        with handler:
            for number in range(100):
                Logger("shop").error("order {} failed", number)
        handler.flush(30)
        prove(name, handler.statistics()["delivered"], 100)
        handler.close(5)


def time_calls(name: str, condition: str, policy: str, calls: int) -> list[str]:
    """Return a row: how long the calls took, in milliseconds, and what became of them."""
    kind, make = HANDLERS[name]
    log = Logger("shop")
    with tempfile.TemporaryDirectory() as folder, destination(kind, condition) as port:
        spool = Spool(Path(folder) / "spool") if policy == "spill" else None
        handler = make(
            port,
            policy=policy,
            block_timeout=BLOCK_TIMEOUT,
            spool=spool,
            capacity=min(1_000, calls // 4),
        )
        if condition == MACHINE:
            handler.immediate = True
            handler.deliver = lambda *_: None
        delays = []
        with handler:
            for number in range(calls):
                begun = time.perf_counter()
                log.error("order {} failed", number)
                delays.append(time.perf_counter() - begun)
            counts = handler.statistics()
            handler.close(0)
    kept = counts["delivered"] + counts["queued"] + counts["spooled"] + counts["dead"]
    if condition != MACHINE:
        prove(f"{name}, {policy}", kept + sum(counts["dropped"].values()), calls)
    delays.sort()
    values = [delays[min(calls - 1, int(calls * share))] * 1e3 for share in (0.5, 0.99, 0.999, 1.0)]
    # Of fewer calls it is the longest, which is the machine's more often than ours.
    mark = " !" if values[2] > LIMIT_MS and calls >= 10_000 else ""
    shown = [f"{value:.3f}" for value in values]
    shown[2] += mark
    return [
        name,
        condition,
        policy,
        *shown,
        str(counts["spooled"] + sum(counts["dropped"].values())),
    ]


def for_page(tables: list[Table]) -> list[Table]:
    """Return *tables* with the default policy only, and without saying so."""
    handing_over, calls = tables
    place = COLUMNS.index("policy")
    rows = [row for row in calls["rows"] if row[place] == POLICIES[0]]
    without = [[cell for at, cell in enumerate(row) if at != place] for row in (COLUMNS, *rows)]
    return [handing_over, {**calls, "head": without[0], "rows": without[1:]}]


def measure_calls(handlers: str, calls: int) -> Table:
    """Return a table of what log calls take, of the handlers in whose names *handlers* is."""
    rows = []
    # What the handlers have to say of their destinations is known here.
    with Flags(errors="silent").applicationbound():
        for name in HANDLERS:
            if handlers.lower() in name.lower():
                prove_handler(name)
                rows.append(time_calls(name, MACHINE, "drop_oldest", calls))
                rows += [
                    time_calls(name, condition, policy, calls)
                    for condition in CONDITIONS
                    for policy in POLICIES
                ]
    return {"title": f"{calls:,} log calls a row", "head": COLUMNS, "rows": rows}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a look that takes some seconds")
    parser.add_argument("--calls", type=int, default=0, help="log calls in each row")
    parser.add_argument("--handlers", default="", help="part of the names of those to be timed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables there, too")
    parser.add_argument("--show", action="store_true", help="print what was kept there, no more")
    parser.add_argument("--format", choices=sorted(TABLES), default="text", help="of what is shown")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--pause", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.pause)
    if options.show:
        print(shown(for_page(kept(options.json)["tables"]), options.format))
        return
    rounds, puts, calls = (5, 5_000, 500) if options.quick else (15, 20_000, 100_000)
    calls = options.calls or calls
    handing_over = compare_handing_over(rounds, puts)
    print(shown([handing_over]), end="\n\n")
    found = measure_calls(options.handlers, calls)
    print(shown([found]))
    late = sum(" !" in row[5] for row in found["rows"])
    if calls >= 10_000:
        print(f"\np99.9 beyond {LIMIT_MS:g} ms, marked with !: {late} of {len(found['rows'])}")
    if options.json:
        keep(options.json, {**machine(), "tables": [handing_over, found]})


if __name__ == "__main__":
    main()
