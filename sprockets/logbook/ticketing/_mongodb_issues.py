"""What trackers were told, work that is for one process, and tokens."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sprockets.logbook.ticketing._model import TrackerIssue
from sprockets.logbook.ticketing._mongodb_connection import Connection
from sprockets.logbook.ticketing._mongodb_documents import id_of, issue_of, name_of
from sprockets.logbook.ticketing._mongodb_library import errors


def claim(connection: Connection, name: str, now: datetime, seconds: float) -> bool:
    """Reserve a piece of work; see `BackendBase.claim`."""
    until = now + timedelta(seconds=seconds)
    try:
        connection["ticket_work"].insert_one({"_id": name_of(name), "until": until})
    except errors.DuplicateKeyError:
        over = {"_id": name_of(name), "until": {"$lte": now}}
        done = connection["ticket_work"].update_one(over, {"$set": {"until": until}})
        return done.modified_count == 1
    return True


def claim_issue(
    connection: Connection, ticket_id: Any, tracker: str, now: datetime, patience: float
) -> bool:
    """Reserve the filing of an issue; see `BackendBase.claim_issue`."""
    if connection["tickets"].find_one({"_id": id_of(ticket_id)}, {"_id": 1}) is None:
        return False
    issues = connection["ticket_issues"]
    key = {"ticket_id": id_of(ticket_id), "tracker": name_of(tracker)}
    try:
        issues.insert_one({**key, "claimed_at": now, "commented_at": 0, "is_open": True})
    except errors.DuplicateKeyError:
        # Of those that find a void claim, one replaces the time that all found.
        void = {"issue_id": None, "claimed_at": {"$lt": now - timedelta(seconds=patience)}}
        done = issues.update_one({**key, **void}, {"$set": {"claimed_at": now}})
        return done.modified_count == 1
    return True


def save_issue(connection: Connection, issue: TrackerIssue) -> None:
    """Store what a tracker was told; see `BackendBase.save_issue`.

    Of an unknown ticket nothing is stored.
    """
    ticket_id = id_of(issue.ticket_id)
    if connection["tickets"].find_one({"_id": ticket_id}, {"_id": 1}) is None:
        return
    key = {"ticket_id": ticket_id, "tracker": name_of(issue.tracker)}
    facts = {"issue_id": issue.issue_id, "url": issue.url, "is_open": issue.is_open}
    known = {name: value for name, value in facts.items() if value is not None}
    change: dict[str, Any] = {"$max": {"commented_at": issue.commented_at}}
    if known:
        change["$set"] = known
    if issue.is_open is None:
        change["$setOnInsert"] = {"is_open": True}
    for is_last in (False, True):
        try:
            connection["ticket_issues"].update_one(key, change, upsert=True)
        except errors.DuplicateKeyError:
            # Somebody else made it at the same moment: now it is there.
            if is_last:
                raise
        else:
            return


def get_issues(connection: Connection, ticket_id: Any, **conditions: Any) -> list[TrackerIssue]:
    """Return what trackers were told of a ticket, in the order of their names."""
    found = connection["ticket_issues"].find({"ticket_id": id_of(ticket_id), **conditions})
    return [issue_of(document) for document in found.sort("tracker", 1)]


def add_token(connection: Connection, digest: str, name: str, scopes: Iterable[str]) -> None:
    """Store a token; see `BackendBase.add_token`."""
    facts = {"name": name_of(name), "scopes": sorted(scopes)}
    connection["ticket_tokens"].update_one({"_id": digest}, {"$set": facts}, upsert=True)


def get_tokens(connection: Connection, **conditions: Any) -> list[tuple[str, frozenset[str]]]:
    """Return names and scopes of tokens, by name."""
    found = connection["ticket_tokens"].find(conditions).sort([("name", 1), ("_id", 1)])
    return [(document["name"], frozenset(document["scopes"])) for document in found]


def remove_token(connection: Connection, name: str) -> bool:
    """Remove the tokens of that name."""
    deleted = connection["ticket_tokens"].delete_many({"name": name_of(name)})
    return deleted.deleted_count > 0
