"""Storms: several processes run into one error at once, each with a handler of its own."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from sprockets.logbook.ticketing._sqlalchemy import SQLAlchemyBackend

LIMIT = 150.0  # seconds


def storm(folder, kind, *args, processes=4, count=250, cool_down=0.2, pause=0.0, **options):
    """Let *processes* log one error *count* times each; return what each says became of it.

    Args:
        folder: Where the store is made.
        kind: Name of the class of the tracker.
        args: For it.
        processes: How many.
        count: Occurrences in each.
        cool_down: Seconds between two comments.
        pause: Seconds between two occurrences.
        options: For the tracker.
    """
    url = f"sqlite:///{folder}/tickets.sqlite3"
    SQLAlchemyBackend(uri=url).close()
    task = {
        "store": url,
        "tracker": {"class": kind, "args": args, "options": options},
        "count": count,
        "cool_down": cool_down,
        "pause": pause,
    }
    program = [sys.executable, "-P", str(Path(__file__).with_name("storm.py")), json.dumps(task)]
    with ExitStack() as stack:
        running = []
        for _ in range(processes):
            process = subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            running.append(process)
        for process in running:
            assert process.stdout.readline() == "ready\n"
        for process in running:
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.communicate(timeout=LIMIT)[0]) for process in running]


def the_ticket(folder):
    """Return the only ticket, and what its store knows of issues and of filings."""
    db = SQLAlchemyBackend(uri=f"sqlite:///{folder}/tickets.sqlite3")
    try:
        (ticket,) = db.get_tickets()
        filed = [item for item in db.get_history(ticket.ticket_id) if item.action == "filed"]
        return ticket, db.get_issues(ticket.ticket_id), filed
    finally:
        db.close()


def assert_one_issue(folder, results, occurrences):
    """Check what the processes and the store say; return the issue, and how many comments."""
    assert all(result["is_done"] for result in results), results
    assert all(result["refused"] == {} for result in results), results
    assert sum(result["filed"] + result["found"] for result in results) == 1
    ticket, issues, filed = the_ticket(folder)
    assert ticket.occurrence_count == occurrences
    assert len(issues) == len(filed) == 1
    assert issues[0].issue_id is not None
    return issues[0], sum(result["commented"] for result in results)
