"""How tickets look on a terminal."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from sprockets.logbook._text import escape_block, escape_line

_GAP: Final = "  "
_MAX_WIDTH: Final = 400
_SHOWN_LINES: Final = 60


def show(
    document: dict[str, Any], describe: Callable[[dict[str, Any]], Iterable[str]], *, as_json: bool
) -> None:
    """Write *document* to standard output: as it is, or as *describe* says it."""
    out = sys.stdout
    if as_json:
        out.write(json.dumps(document, indent=2) + "\n")
        return
    encoding = out.encoding or "utf-8"
    for line in describe(document):
        # Whatever was logged, it neither moves the cursor nor ends in an error.
        text = escape_line(line).encode(encoding, "backslashreplace").decode(encoding)
        out.write(f"{text}\n")


def _width() -> int:
    if not sys.stdout.isatty():
        return _MAX_WIDTH
    return shutil.get_terminal_size((100, 24)).columns


def _time(text: str | None) -> str:
    """Return a time of ours to the second.

    >>> _time("2026-03-01T15:00:00.000000Z")
    '2026-03-01 15:00:00Z'
    """
    return "-" if text is None else f"{text[:10]} {text[11:19]}Z"


def _table(rows: list[list[str]], right: frozenset[int], width: int) -> list[str]:
    """Return rows as lines; the last column takes what is left of the *width*."""
    columns = range(len(rows[0]) - 1)
    widths = [max(len(row[column]) for row in rows) for column in columns]
    lines = []
    for row in rows:
        cells = [
            f"{row[column]:>{widths[column]}}"
            if column in right
            else f"{row[column]:<{widths[column]}}"
            for column in columns
        ]
        line = _GAP.join([*cells, row[-1]]).rstrip()
        lines.append(line if len(line) <= width else f"{line[: width - 1]}…")
    return lines


def _cell(value: object, limit: int = 40) -> str:
    text = escape_line("" if value is None else str(value))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def describe_list(found: dict[str, Any]) -> list[str]:
    """Return a table of tickets, and what is not in it."""
    tickets = found["tickets"]
    if not tickets:
        return [f"no ticket of {found['total']:,}" if found["total"] else "no ticket"]
    rows = [["ID", "STATE", "LEVEL", "COUNT", "LAST TIME", "ASSIGNEE", "TITLE"]]
    rows += [
        [
            str(ticket["id"]),
            ticket["state"],
            ticket["level_name"].lower(),
            f"{ticket['occurrence_count']:,}",
            _time(ticket["last_occurrence_time"]),
            _cell(ticket["assignee"], 20),
            _cell(ticket["title"] or ticket["location"], _MAX_WIDTH),
        ]
        for ticket in tickets
    ]
    lines = _table(rows, frozenset({0, 3}), _width())
    first, last = found["offset"] + 1, found["offset"] + len(tickets)
    if last - first + 1 < found["total"]:
        lines.append(f"{first:,} to {last:,} of {found['total']:,}; see --offset")
    return lines


def describe_ticket(ticket: dict[str, Any]) -> list[str]:
    """Return what is to be known of a ticket."""
    state = ticket["state"]
    if ticket["solved_in"]:
        state += f" in {ticket['solved_in']}"
    if ticket["ignored_until"]:
        state += f" until {_time(ticket['ignored_until'])}"
    if ticket["ignored_count"]:
        state += f" until {ticket['ignored_count']:,} occurrences"
    facts = [
        ("state", state),
        ("assignee", ticket["assignee"]),
        ("merged into", ticket["merged_into"]),
        ("level", ticket["level_name"].lower()),
        ("channel", ticket["channel"]),
        ("location", ticket["location"]),
        ("module", ticket["module"]),
        ("application", ticket["app_id"]),
        ("occurred", f"{ticket['occurrence_count']:,} times"),
        ("first", _time(ticket["first_time"])),
        ("last", _time(ticket["last_occurrence_time"])),
        ("first release", ticket["first_release"]),
        ("last release", ticket["last_release"]),
    ]
    facts += [
        (f"in {issue['tracker']}", f"{issue['issue_id']} {issue['url'] or ''}".strip())
        for issue in ticket["issues"]
        if issue["issue_id"]
    ]
    lines = [f"{ticket['id']}: {ticket['title']}", "", *_facts(facts)]
    if ticket["last_occurrence"] is not None:
        lines += ["", "last occurrence", *_occurrence(ticket["last_occurrence"])]
    if ticket["history"]:
        lines += ["", "history", *map(_history, ticket["history"])]
    return lines


def _facts(facts: Iterable[tuple[str, object]]) -> list[str]:
    return [f"  {name:<14}{value}" for name, value in facts if value not in (None, "")]


def _occurrence(found: dict[str, Any]) -> list[str]:
    facts = [
        ("id", found["id"]),
        ("time", _time(found["time"])),
        ("request", found["request_id"]),
        ("task", found["task_uuid"]),
        ("release", found["release"]),
        ("environment", found["environment"]),
    ]
    record = found["record"]
    text = record.get("formatted_exception") or record.get("message") or ""
    lines = escape_block(str(text)).splitlines()
    if len(lines) > _SHOWN_LINES:
        left = len(lines) - _SHOWN_LINES
        lines = [f"... {left:,} lines before", *lines[-_SHOWN_LINES:]]
    return [*_facts(facts), *(f"    {line.expandtabs()}" for line in lines)]


def _history(item: dict[str, Any]) -> str:
    actor = f" by {item['actor']}" if item["actor"] else ""
    text = f": {item['text']}" if item["text"] else ""
    return f"  {_time(item['time'])}  {item['action']}{actor}{text}"


def describe_request(found: dict[str, Any]) -> list[str]:
    """Return what was counted during a request, the oldest first."""
    if not found["occurrences"]:
        return [f"nothing was counted during {found['request_id']}"]
    titles = {ticket["id"]: ticket["title"] for ticket in found["tickets"]}
    lines = [f"request {found['request_id']}"]
    for each in found["occurrences"]:
        ticket_id = each["ticket_id"]
        lines += ["", f"ticket {ticket_id}: {titles.get(ticket_id, '')}", *_occurrence(each)]
    return lines
