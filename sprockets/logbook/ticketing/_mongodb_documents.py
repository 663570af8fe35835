"""Documents: what entries become, and what tickets and occurrences are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Final

from sprockets.logbook import _clock
from sprockets.logbook.ticketing._entry import Entry
from sprockets.logbook.ticketing._model import (
    Details,
    HistoryItem,
    Occurrence,
    Status,
    Ticket,
    TrackerIssue,
)
from sprockets.logbook.ticketing._mongodb_connection import Document
from sprockets.logbook.ticketing._mongodb_library import bson
from sprockets.logbook.ticketing._reading import occurrence
from sprockets.logbook.ticketing._states import state_of
from sprockets.logbook.ticketing._texts import fitting, fitting_or_none

if TYPE_CHECKING:
    from sprockets.logbook.ticketing._backend import BackendBase

MAX_CHANNEL: Final = 120
MAX_LOCATION: Final = 512
MAX_MODULE: Final = 256
MAX_APP_ID: Final = 80
MAX_TITLE: Final = 512
MAX_NAME: Final = 200
"""Characters of what is searched for: releases, environments, people, requests, fingerprints."""
MAX_COMMENT: Final = 1_000_000

DETAILS: Final = ("key", "request_id", "task_uuid", "release", "environment", "leading")


def id_of(value: Any) -> Any:
    """Return the ObjectId that *value* is, has, or says in 24 digits; None for anything else."""
    if isinstance(value, Ticket):
        value = value.ticket_id
    if isinstance(value, bson.ObjectId):
        return value
    try:
        return bson.ObjectId(value) if isinstance(value, str) else None
    except bson.errors.InvalidId:
        return None


def name_of(text: str) -> str:
    """Return a name as it is stored: one that can be searched for."""
    return fitting(text, MAX_NAME)


def hash_forms(record_hash: str) -> list[str | bytes]:
    """Return *record_hash* as it may be stored: Logbook's later releases wrote bytes."""
    return [record_hash, record_hash.encode("utf-8", "replace")]


def hash_text(stored: Any) -> str:
    """Return the hash of a ticket as text, however it is stored."""
    return stored.decode("ascii", "replace") if isinstance(stored, bytes) else str(stored or "")


def made_hash(way: str, ticket_id: Any) -> str:
    """Return a hash of Logbook's form for a ticket whose own is another's."""
    return sha1(f"{way} {ticket_id}".encode(), usedforsecurity=False).hexdigest()


# -- written


def ticket_document(entry: Entry, record_hash: str) -> Document:
    """Return a ticket that *entry* opens; it counts nothing yet.

    What the first occurrence sets is missing: ``$min`` and ``$max`` take a missing field for later
    and earlier than any, but ``None`` for a value.
    """
    return {
        "record_hash": record_hash,
        "level": entry.level,
        "channel": fitting(entry.channel, MAX_CHANNEL),
        "location": fitting(entry.location, MAX_LOCATION, from_left=True),
        "module": fitting(entry.module, MAX_MODULE),
        "app_id": fitting(entry.app_id, MAX_APP_ID),
        "occurrence_count": 0,
        "solved": False,
        "status": {
            "state": "new",
            "title": fitting(entry.title, MAX_TITLE),
            "fingerprint": fitting_or_none(entry.fingerprint, MAX_NAME),
            "assignee": "",
        },
    }


def occurrence_document(entry: Entry) -> Document:
    """Return what is stored of *entry*, without its ticket.

    Raises:
        InvalidDocument: Something of it cannot be stored.
    """
    facts = {
        "app_id": fitting(entry.app_id, MAX_APP_ID),
        "time": entry.time,
        "data": entry.data,
        "key": entry.key,
        # By which a ticket is split.
        "way": way_of(entry),
        "title": fitting(entry.title, MAX_TITLE),
        "request_id": fitting_or_none(entry.request_id, MAX_NAME),
        "task_uuid": fitting_or_none(entry.task_uuid, MAX_NAME),
        "release": fitting_or_none(entry.release, MAX_NAME),
        "environment": fitting_or_none(entry.environment, MAX_NAME),
        "leading": entry.leading,
    }
    document = {name: value for name, value in facts.items() if value is not None}
    # Before anything is written; as the server would, it refuses what is no BSON.
    bson.encode(document)
    return document


def way_of(entry: Entry) -> str:
    """Return what leads *entry* to its ticket: its fingerprint, or its hash."""
    return entry.hash if entry.fingerprint is None else fitting(entry.fingerprint, MAX_NAME)


def hour_of(time: datetime) -> datetime:
    """Return the begin of the hour of *time*."""
    return time.replace(minute=0, second=0, microsecond=0)


class Order:
    """Numbers that grow with time, in one thread for certain: microseconds since 1970.

    Without a lock, which a forked process might find held; two threads may get the same one.
    """

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """Return a number greater than those before."""
        self._last = number = max(self._last + 1, _clock.time_ns() // 1000)
        return number


def history_document(
    ticket_id: Any,
    order: int,
    action: str,
    text: str = "",
    actor: str = "",
    facts: Mapping[str, Any] | None = None,
) -> Document:
    """Return an item of history."""
    return {
        "ticket_id": ticket_id,
        "order": order,
        "action": fitting(action, MAX_NAME),
        "actor": name_of(actor),
        "text": fitting(text, MAX_COMMENT),
        # As text: names of fields may contain what names in documents may not.
        "facts": json.dumps(dict(facts or {}), default=str),
    }


# -- read


def ticket_of(db: BackendBase, document: Document) -> Ticket:
    """Return the ticket that *document* is; what is missing has its least value."""
    is_solved = bool(document.get("solved"))
    row = {
        "ticket_id": document["_id"],
        "record_hash": hash_text(document.get("record_hash")),
        "level": document.get("level"),
        "channel": document.get("channel") or "",
        "location": document.get("location") or "<unknown>:0",
        "module": document.get("module") or "<unknown>",
        "last_occurrence_time": document.get("last_occurrence_time"),
        "occurrence_count": document.get("occurrence_count") or 0,
        "solved": is_solved,
        "app_id": document.get("app_id") or "",
    }
    status = document.get("status") or {}
    return Ticket(
        db,
        row,
        Status(
            state_of(status.get("state"), is_solved),
            status.get("title") or "",
            status.get("fingerprint"),
            status.get("assignee") or "",
            status.get("first_time"),
            status.get("first_release"),
            status.get("last_release"),
            status.get("solved_in"),
            status.get("ignored_until"),
            status.get("ignored_count"),
            status.get("merged_into"),
        ),
    )


def occurrence_of(db: BackendBase, document: Document) -> Occurrence:
    """Return the occurrence that *document* is."""
    row = {
        "occurrence_id": document["_id"],
        "ticket_id": document.get("ticket_id"),
        "time": document.get("time"),
        "data": document.get("data"),
        "app_id": document.get("app_id"),
    }
    return occurrence(db, row, Details(*[document.get(name) for name in DETAILS]))


def item_of(document: Document) -> HistoryItem:
    """Return the item of history that *document* is."""
    return HistoryItem(
        document["_id"],
        document["ticket_id"],
        _clock.datetime_of(document["order"], local=False),
        document["actor"],
        document["action"],
        document["text"],
        json.loads(document["facts"]),
    )


def issue_of(document: Document) -> TrackerIssue:
    """Return what a tracker was told."""
    return TrackerIssue(
        document["ticket_id"],
        document["tracker"],
        document.get("issue_id"),
        document.get("url"),
        document.get("commented_at", 0),
        document.get("is_open", True),
    )
