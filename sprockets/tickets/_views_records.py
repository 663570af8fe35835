"""What pages show of records: in full, and in a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sprockets.eliot._trees._wording import value_text
from sprockets.logbook.record import LogRecord
from sprockets.tickets._views_texts import (
    MAX_TITLE,
    MAX_VALUE,
    Moment,
    cut,
    level_name,
    moment_of,
    offset_text,
    one_line,
    short_path,
)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is known, under its name."""

    name: str
    value: str
    url: str = ""


def facts_of_record(record: LogRecord) -> list[Fact]:
    """Return what a record says about where it was made."""
    place = ":".join(str(part) for part in (record.filename, record.lineno) if part)
    process = " ".join(str(part) for part in (record.process_name, record.process) if part)
    thread = " ".join(str(part) for part in (record.thread_name, record.thread) if part)
    found = [
        Fact("Channel", record.channel or ""),
        Fact("Module", record.module or ""),
        Fact("Function", record.func_name or ""),
        Fact("File", place),
        Fact("Process", process),
        Fact("Thread", thread),
    ]
    return [Fact(fact.name, cut(fact.value, MAX_VALUE)) for fact in found if fact.value]


def extra_of(record: LogRecord) -> list[Fact]:
    """Return what was added to a record, each as a text; JSON with line breaks if it is long."""
    found = [(str(name), value) for name, value in record.extra.items() if value is not None]
    return [Fact(cut(name, MAX_TITLE), cut(_pretty(value), MAX_VALUE)) for name, value in found]


def arguments_of(record: LogRecord) -> list[Fact]:
    """Return what the message of a record was made of, if it was of anything."""
    found = [*enumerate(record.args or ()), *(record.kwargs or {}).items()]
    facts = [
        Fact(cut(str(name), MAX_TITLE), cut(_pretty(value), MAX_VALUE)) for name, value in found
    ]
    if not facts:
        return []
    return [Fact("template", cut(str(record.msg), MAX_VALUE)), *facts]


def _pretty(value: object) -> str:
    if isinstance(value, str):
        return value
    text = value_text(value)
    if len(text) <= 80 or not isinstance(value, (dict, list)):
        return text
    try:
        return json.dumps(value, ensure_ascii=False, indent=2)
    except (TypeError, ValueError, RecursionError):
        return text


@dataclass(frozen=True, slots=True)
class RecordView:
    """A record in a table of records.

    Args:
        time: When it was made.
        offset: How long before or after the record that the page is about.
        level_name: How bad it is.
        channel: Where it comes from.
        message: What it says.
        error: Its exception in a line.
        location: File and line.
        facts: What was added to it.
        url: Of its own page, if it was counted.
        ticket_url: Of the ticket it counted on.
        is_here: Whether the page is about it.
    """

    time: Moment | None
    offset: str
    level_name: str
    channel: str
    message: str
    error: str
    location: str
    facts: list[Fact]
    url: str = ""
    ticket_url: str = ""
    is_here: bool = False


# Of the request and of the place in the tree, or said by the message already.
_OF_EVERY_RECORD: Final = frozenset(
    (
        *("request_id", "task_uuid", "task_level", "method", "path", "remote_ip", "handler"),
        *("trace_id", "action_type", "action_status", "message_type", "exception", "reason"),
    )
)


def view_record(
    record: LogRecord,
    now: datetime,
    origin: datetime | None = None,
    *,
    url: str = "",
    ticket_url: str = "",
    is_here: bool = False,
) -> RecordView:
    """Return what a table shows of *record*.

    Args:
        record: The record.
        now: The present, in UTC and without a zone.
        origin: The time from which others are counted.
        url: Of its own page.
        ticket_url: Of the ticket it counted on.
        is_here: Whether the page is about it.
    """
    name = short_path(record.filename or "")
    location = f"{name}:{record.lineno}" if name and record.lineno else name
    message, error = message_of(record), error_of(record)
    return RecordView(
        moment_of(record.time, now),
        offset_text(record.time, origin),
        level_name(record.level),
        record.channel or "",
        cut(message, MAX_VALUE),
        "" if error in message else cut(error, MAX_TITLE),
        location,
        [fact for fact in extra_of(record) if fact.name not in _OF_EVERY_RECORD],
        url,
        ticket_url,
        is_here,
    )


def message_of(record: LogRecord) -> str:
    """Return the message of *record* as text."""
    message = record.message
    return message if isinstance(message, str) else str(message)


def error_of(record: LogRecord) -> str:
    """Return the exception of *record* in a line; empty if it has none."""
    name = (record.exception_name or "").removeprefix("builtins.")
    text = one_line(record.exception_message or "")
    return f"{name}: {text}" if name and text else name or text
