"""Removing what is not to be kept, a little at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from sprockets.logbook.ticketing._model import Removed, Retention
from sprockets.logbook.ticketing._mongodb_connection import Connection, Document
from sprockets.logbook.ticketing._mongodb_search import NOT_MERGED

_OLDEST_FIRST: Final = [("time", 1), ("_id", 1)]
_MAX_RELEASES: Final = 1_000
_BELONGS: Final = (
    "occurrences",
    "ticket_history",
    "ticket_histogram",
    "ticket_issues",
    "ticket_fingerprints",
)


def delete_ticket(connection: Connection, ticket_id: Any) -> int | None:
    """Remove a ticket, those merged into it, and all that belongs to them.

    Returns:
        How many occurrences that were, or ``None`` if there is no such ticket.
    """
    tickets = connection["tickets"]
    if tickets.find_one({"_id": ticket_id}, {"_id": 1}) is None:
        return None
    merged = tickets.find({"status.merged_into": ticket_id}, {"_id": 1})
    gone = {"$in": [*[document["_id"] for document in merged], ticket_id]}
    count = 0
    # Twice: what was counted before the ticket was gone may have been stored after the first time.
    for _ in range(2):
        for name in _BELONGS:
            deleted = connection[name].delete_many({"ticket_id": gone}).deleted_count
            count += deleted * (name == "occurrences")
        tickets.delete_many({"_id": gone})
    return count


def apply_retention(connection: Connection, retention: Retention, now: datetime) -> Removed:
    """Remove what *retention* does not keep; see `BackendBase.apply_retention`."""
    tickets = occurrences = 0
    if retention.max_solved_age is not None:
        limit = now - retention.max_solved_age
        old = {"solved": True, "last_occurrence_time": {"$lt": limit}, **NOT_MERGED}
        for document in list(connection["tickets"].find(old, {"_id": 1})):
            count = delete_ticket(connection, document["_id"])
            tickets += count is not None
            occurrences += count or 0
    if retention.max_age is not None:
        too_old = {"time": {"$lt": now - retention.max_age}}
        occurrences += _delete_oldest(connection, too_old, None, retention.chunk)
    if retention.max_per_ticket is not None:
        first = retention.max_per_ticket // 10
        for ticket_id, count in _largest(connection, retention.max_per_ticket):
            excess = count - retention.max_per_ticket
            of_it = {"ticket_id": ticket_id}
            occurrences += _delete_oldest(connection, of_it, excess, retention.chunk, first)
    if retention.max_occurrences is not None:
        excess = connection["occurrences"].count_documents({}) - retention.max_occurrences
        occurrences += _delete_oldest(connection, {}, max(0, excess), retention.chunk)
    _shorten_releases(connection)
    return Removed(occurrences, tickets)


def _delete_oldest(
    connection: Connection, condition: Document, limit: int | None, chunk: int, skip: int = 0
) -> int:
    """Delete the oldest occurrences that meet *condition*; return how many.

    Args:
        connection: The database.
        condition: Which ones.
        limit: How many at most; ``None`` deletes all.
        chunk: How many at once.
        skip: How many of the oldest stay.
    """
    occurrences = connection["occurrences"]
    deleted = 0
    while limit is None or deleted < limit:
        size = chunk if limit is None else min(chunk, limit - deleted)
        found = occurrences.find(condition, {"_id": 1}).sort(_OLDEST_FIRST).skip(skip).limit(size)
        ids = [document["_id"] for document in found]
        if not ids:
            break
        deleted += occurrences.delete_many({"_id": {"$in": ids}}).deleted_count
    return deleted


def _largest(connection: Connection, limit: int) -> Iterator[tuple[Any, int]]:
    """Return tickets with more stored occurrences than *limit*, and how many."""
    found = connection["occurrences"].aggregate(
        [
            {"$group": {"_id": "$ticket_id", "count": {"$sum": 1}}},
            {"$match": {"count": {"$gt": limit}}},
        ],
        allowDiskUse=True,
    )
    for document in list(found):
        yield document["_id"], document["count"]


def _shorten_releases(connection: Connection) -> None:
    """Let tickets forget the oldest of very many releases."""
    tickets = connection["tickets"]
    many = {f"status.releases.{_MAX_RELEASES}": {"$exists": True}}
    for document in list(tickets.find(many, {"status.releases": 1})):
        releases = document["status"]["releases"]
        tickets.update_one(
            {"_id": document["_id"], "status.releases": releases},
            {"$set": {"status.releases": releases[-_MAX_RELEASES:]}},
        )
