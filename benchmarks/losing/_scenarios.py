"""The scenarios: what is done to a library, and what came of it."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.losing._libraries import BETWEEN, FILES, MAIL, ROTATED, THREADED, Log

FORKS, ROTATING, RECORDS, TRIALS = 30, 8, 500, 5
PATIENCE = 4.0
"""Seconds for what should take none."""
PAUSE = 0.001
"""Seconds from the end of a signal handler to the next signal."""


@dataclass(frozen=True)
class Found:
    """What came of it: a text, and whether that is good."""

    text: str
    good: bool


def _lines(folder: Path) -> list[bytes]:
    return [line for path in folder.iterdir() for line in path.read_bytes().splitlines()]


def _wait(children: Collection[int], seconds: float) -> int:
    """Wait for *children* to end; kill those that do not, and return how many."""
    left, deadline = set(children), time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        left -= {child for child in left if os.waitpid(child, os.WNOHANG)[0]}
        time.sleep(0.01)
    for child in left:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(left)


def _fork(run: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        run()
    finally:
        os._exit(0)


def fork_while_logging(library: str, folder: Path) -> Found:
    """Fork while two threads log; each child logs a line."""
    log = FILES[library](folder / "log")
    over = threading.Event()

    def busy() -> None:
        while not over.is_set():
            log("from a thread")

    threads = [threading.Thread(target=busy, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    children = []
    for number in range(FORKS):
        children.append(_fork(lambda number=number: log(f"from child {number}.")))
        time.sleep(random.random() / 100)
    hung = _wait(children, PATIENCE)
    over.set()
    for thread in threads:
        thread.join()
    text = b"\n".join(_lines(folder))
    written = sum(f"from child {number}.".encode() in text for number in range(FORKS))
    return Found(f"{hung} of {FORKS} hang", hung == 0 and written == FORKS)


def log_in_signal_handlers(library: str, folder: Path) -> Found:
    """Log in a signal handler, some hundred times a second, interrupting what logs as well."""
    log = FILES[library](folder / "log")
    counts = {"main": 0, "handler": 0, "raised": 0}

    def count(where: str) -> None:
        counts[where] += 1
        try:
            log(f"{where} {counts[where]}.")
        except Exception:  # noqa: BLE001  # whatever reaches the application counts
            counts["raised"] += 1

    def in_handler(*_: object) -> None:
        count("handler")
        signal.setitimer(signal.ITIMER_REAL, PAUSE)

    def run() -> None:
        signal.signal(signal.SIGALRM, in_handler)
        signal.setitimer(signal.ITIMER_REAL, PAUSE)
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            count("main")
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        told = f"{counts['main'] + counts['handler']} {counts['raised']}"
        (folder / "counts").write_text(told)

    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # what they report there is not of interest
    if _wait([_fork(run)], 1.5 + PATIENCE):
        return Found("hangs", False)
    logged, raised = map(int, (folder / "counts").read_text().split())
    lost = logged - sum(b"main " in line or b"handler " in line for line in _lines(folder))
    text = f"{lost} of {logged / 1000:.0f} k lost"
    if raised:
        text += f", {raised} raise"
    return Found(text, lost == 0 and raised == 0)


def kill_while_writing(library: str, folder: Path) -> Found:
    """Kill with -9 what writes to a file, at any moment; what had returned from the call counts."""
    lost = acknowledged = 0
    for trial in range(TRIALS):
        path = folder / str(trial)
        reading, writing = os.pipe()

        def run(path: Path = path, writing: int = writing) -> None:
            log = FILES[library](path)
            while True:
                log("a line")
                os.write(writing, b".")

        child = _fork(run)
        os.close(writing)
        count = len(os.read(reading, 1))
        deadline = time.monotonic() + random.random() / 2
        while time.monotonic() < deadline:
            if select.select([reading], [], [], 0.01)[0]:
                count += len(os.read(reading, 65_536))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while more := os.read(reading, 65_536):
            count += len(more)
        os.close(reading)
        lost += max(0, count - path.read_bytes().count(b"\n"))
        acknowledged += count
    text = f"{lost} of {acknowledged / 1000:.0f} k lost"
    return Found(text, lost == 0)


def rotate_in_processes(library: str, folder: Path) -> Found:
    """Have eight processes write to one file that is rolled over by size."""
    padding = "x" * 80

    def run(process: int) -> None:
        log = ROTATED[library](folder / "log")
        for number in range(RECORDS):
            log(f"{process}-{number} {padding}")

    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    _wait([_fork(lambda p=p: run(p)) for p in range(ROTATING)], 60)
    found = {line.partition(b" ")[0] for line in _lines(folder) if line.endswith(b"x" * 80)}
    lost = ROTATING * RECORDS - len(found)
    return Found(f"{lost / ROTATING / RECORDS:.0%} lost" if lost else "0 lost", lost == 0)


def _slow_sink(path: Path, seconds: float, failing: str = "") -> Callable[[str], None]:
    def sink(text: str) -> None:
        time.sleep(seconds)
        if text == failing:
            raise ConnectionError("the destination had a hiccup")
        with path.open("a") as file:
            file.write(f"{text}\n")

    return sink


def log_to_a_slow_destination(library: str, folder: Path) -> None:
    """Log to a slow destination behind a thread, close nothing, and return."""
    log = THREADED[library](_slow_sink(folder / "sink", 0.001))
    for number in range(RECORDS):
        log(str(number))


def end_with_a_slow_destination(library: str, folder: Path) -> Found:
    """End a program that has logged to a slow destination behind a thread, as programs end."""
    program = Path(__file__).parents[1] / "losses.py"
    command = [sys.executable, "-P", str(program), "--program", library, str(folder)]
    try:
        subprocess.run(command, stderr=subprocess.DEVNULL, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return Found("does not end", False)
    lost = RECORDS - len(_lines(folder))
    return Found(f"{lost / RECORDS:.0%} lost" if lost else "0 lost", lost == 0)


def fail_once_behind_a_thread(library: str, folder: Path) -> Found:
    """Have a destination behind a thread fail for one record in the middle."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    log = THREADED[library](_slow_sink(folder / "sink", 0, failing="100"))
    for number in range(RECORDS):
        log(str(number))
    deadline = time.monotonic() + PATIENCE
    while len(_lines(folder)) < RECORDS - 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    lost = RECORDS - 1 - len(_lines(folder))
    text = f"{lost / (RECORDS - 1):.0%} of the others lost" if lost else "0 of the others lost"
    return Found(text, lost == 0)


def kill_behind_a_thread(library: str, folder: Path) -> Found:
    """Kill with -9 what logs to a slow destination behind a thread."""
    reading, writing = os.pipe()

    def run() -> None:
        log = THREADED[library](_slow_sink(folder / "sink", 0.001))
        for number in range(RECORDS):
            log(str(number))
        os.write(writing, b".")
        time.sleep(60)

    child = _fork(run)
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    lost = RECORDS - (len(_lines(folder)) if (folder / "sink").exists() else 0)
    return Found(f"{lost / RECORDS:.0%} lost", lost == 0)


def mail_to_a_black_hole(library: str, folder: Path) -> Found:
    """Log to a mail server that takes the connection and never says a word."""
    server = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        log = MAIL[library](server.getsockname()[1])
        begun = time.monotonic()
        log("the till is jammed")
        (folder / "seconds").write_text(f"{time.monotonic() - begun:.1f}")

    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    limit = 12
    if _wait([_fork(run)], limit):
        return Found(f"> {limit} s", False)
    seconds = float((folder / "seconds").read_text())
    return Found(f"{seconds:.1f} s", seconds < 0.5)


def break_a_line(library: str, folder: Path) -> Found:
    """Log a value with a line break and a terminal's escape in it."""
    FILES[library](folder / "log")("sold\x1b[2K\n2026-01-01 ERROR forged")
    text = (folder / "log").read_bytes()
    lines, raw = text.count(b"\n"), b"\x1b" in text
    return Found(f"{lines} line{'s' * (lines > 1)}{', raw escapes' * raw}", lines == 1 and not raw)


def fill_the_disk(library: str, folder: Path) -> Found:
    """Log to a full disk."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    log = FILES[library](Path("/dev/full"))
    try:
        log("a line")
    except Exception as error:  # noqa: BLE001  # whatever reaches the application counts
        return Found(f"raises {type(error).__name__}", False)
    return Found("goes on", True)


def kill_a_writer_of_a_queue(library: str, folder: Path) -> Found:
    """Kill with -9 one of the processes that log to a queue; may another one go on?"""
    going_on = 0
    for _ in range(TRIALS):
        queue, send, receive = BETWEEN[library]()

        def busy(queue: Any = queue, send: Callable[[Any], Log] = send) -> None:
            log = send(queue)
            while True:
                log("busy " * 200)

        def other(queue: Any = queue, send: Callable[[Any], Log] = send) -> None:
            send(queue)("the other one")
            time.sleep(PATIENCE)

        victim = _fork(busy)
        deadline = time.monotonic() + 0.3 + random.random() / 5
        while time.monotonic() < deadline:
            receive(queue, 0.01)
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        while receive(queue, 0.3):
            pass
        child = _fork(other)
        going_on += receive(queue, PATIENCE / 2)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return Found(f"{going_on} of {TRIALS} go on", going_on == TRIALS)


@dataclass(frozen=True)
class Scenario:
    """One row.

    Args:
        title: What the table says.
        run: Does it to a library, with a folder for its files.
        libraries: Those that have means for it.
    """

    title: str
    run: Callable[[str, Path], Found]
    libraries: Mapping[str, object]


SCENARIOS = {
    "fork": Scenario(f"{FORKS} forks while two threads log to a file", fork_while_logging, FILES),
    "signal": Scenario("signal handlers log, too", log_in_signal_handlers, FILES),
    "kill": Scenario("kill -9 of a program that logs to a file", kill_while_writing, FILES),
    "disk-full": Scenario("the disk is full: the log call", fill_the_disk, FILES),
    "line-break": Scenario("a line break and an escape in a value", break_a_line, FILES),
    "rotate": Scenario("eight processes, one file rotated by size", rotate_in_processes, ROTATED),
    "end": Scenario(
        "a slow destination behind a thread, the program ends",
        end_with_a_slow_destination,
        THREADED,
    ),
    "hiccup": Scenario(
        "a destination behind a thread fails once", fail_once_behind_a_thread, THREADED
    ),
    "kill-thread": Scenario(
        "a slow destination behind a thread, kill -9", kill_behind_a_thread, THREADED
    ),
    "mail": Scenario(
        "a mail server that says nothing: a log call takes", mail_to_a_black_hole, MAIL
    ),
    "queue": Scenario(
        "a queue between processes, one is killed: the others", kill_a_writer_of_a_queue, BETWEEN
    ),
}
