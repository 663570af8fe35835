"""What programs are told: tickets and what belongs to them, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sprockets.logbook._json import encode
from sprockets.logbook._levels import LEVEL_NAMES
from sprockets.logbook.ticketing._model import HistoryItem, Occurrence, Ticket, TrackerIssue
from sprockets.logbook.ticketing._reading import leading_records, level_of

_OF_THE_STORE: Final = ("app_id", "db", "details", "occurrence_id", "ticket_id")


def time_text(time: datetime | None) -> str | None:
    """Return *time*, which is in UTC and without a zone, as ISO 8601 says it.

    >>> time_text(datetime(2026, 1, 2, 3, 4, 5))
    '2026-01-02T03:04:05.000000Z'
    """
    return None if time is None else f"{time.isoformat(timespec='microseconds')}Z"


def id_value(value: Any) -> int | str | None:
    """Return the id of something as JSON has it."""
    return value if value is None or type(value) is int else str(value)


def ticket_facts(ticket: Ticket) -> dict[str, Any]:
    """Return what is told of a ticket."""
    status = ticket.status
    level = level_of(ticket.level)
    return {
        "id": id_value(ticket.ticket_id),
        "title": status.title,
        "state": status.state,
        "level": level,
        "level_name": LEVEL_NAMES.get(level, "NOTSET"),
        "channel": ticket.channel,
        "location": ticket.location,
        "module": ticket.module,
        "app_id": ticket.app_id,
        "occurrence_count": ticket.occurrence_count,
        "first_time": time_text(status.first_time),
        "last_occurrence_time": time_text(ticket.last_occurrence_time),
        "assignee": status.assignee,
        "first_release": status.first_release,
        "last_release": status.last_release,
        "solved_in": status.solved_in,
        "ignored_until": time_text(status.ignored_until),
        "ignored_count": status.ignored_count,
        "merged_into": id_value(status.merged_into),
        "fingerprint": status.fingerprint,
        "record_hash": ticket.record_hash,
    }


def issue_facts(issue: TrackerIssue) -> dict[str, Any]:
    """Return what is told of the issue of a ticket in a tracker."""
    return {
        "tracker": issue.tracker,
        "issue_id": issue.issue_id,
        "url": issue.url,
        "is_open": issue.is_open,
        "commented_at": issue.commented_at,
    }


def occurrence_facts(found: Occurrence, *, with_leading: bool = True) -> dict[str, Any]:
    """Return what is told of an occurrence.

    Args:
        found: The occurrence.
        with_leading: Whether the records are told that led up to it.
    """
    details = found.details
    facts: dict[str, Any] = {
        "id": id_value(found.occurrence_id),
        "ticket_id": id_value(found.ticket_id),
        "time": time_text(found.time),
        "request_id": details.request_id,
        "task_uuid": details.task_uuid,
        "release": details.release,
        "environment": details.environment,
        "record": _record_facts(found),
    }
    if with_leading:
        facts["leading"] = [_record_facts(record) for record in leading_records(found)]
    return facts


def _record_facts(record: Any) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = record.to_dict(json_safe=True)
    except Exception as error:  # noqa: BLE001  # a damaged record is told as such
        return {"message": None, "damage": f"{type(error).__name__}: {error}"}
    for name in _OF_THE_STORE:
        facts.pop(name, None)
    return facts


def history_facts(item: HistoryItem) -> dict[str, Any]:
    """Return what is told of a line of a history."""
    return {
        "id": id_value(item.item_id),
        "ticket_id": id_value(item.ticket_id),
        "time": time_text(item.time),
        "actor": item.actor,
        "action": item.action,
        "text": item.text,
        "facts": dict(item.facts),
    }


def to_json(document: Mapping[str, Any]) -> str:
    """Return *document* as JSON in ASCII; what has no form there becomes its text."""
    return encode(dict(document))
