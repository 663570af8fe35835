"""Counting: a batch of occurrences becomes documents.

Where there are transactions, all of it happens in one.  Where there are none, the occurrences are
written last: whatever fails before, the batch comes again and is stored then, and what is left of
the first attempt is counts that are too high by what it had counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sprockets.logbook.ticketing._entry import Entry, Event, Outcome
from sprockets.logbook.ticketing._mongodb_connection import (
    Connection,
    Document,
    MetAnotherError,
    Session,
    is_duplicate,
)
from sprockets.logbook.ticketing._mongodb_documents import (
    MAX_NAME,
    MAX_TITLE,
    Order,
    history_document,
    hour_of,
    name_of,
    occurrence_document,
)
from sprockets.logbook.ticketing._mongodb_library import errors, pymongo
from sprockets.logbook.ticketing._mongodb_ways import LEFT_OUT, Ways
from sprockets.logbook.ticketing._states import HISTORY, Standing, state_of
from sprockets.logbook.ticketing._texts import fitting, fitting_or_none

_ATTEMPTS: Final = 1_000
_MAX_RELEASES: Final = 1_000


@dataclass
class _Group:
    """The entries of a batch that go to one ticket; their places in the batch."""

    places: list[int]


class Recording:
    """Counts batches of occurrences.

    Args:
        connection: The database.
        order: Numbers what happens.
    """

    def __init__(self, connection: Connection, order: Order) -> None:
        self._connection = connection
        self._order = order
        # Once stored, the number of a release does not change.
        self._releases: dict[str, int] = {}

    def record(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Count *entries*, and return what became of each; see `BackendBase.record_entries`."""
        documents = [occurrence_document(entry) for entry in entries]
        known = self._numbers_of([one["release"] for one in documents if "release" in one])

        def work(session: Session) -> list[Outcome]:
            return _Batch(self._connection, session, self._order, entries, documents, known).store()

        return self._connection.run(work)

    def _numbers_of(self, releases: Sequence[str]) -> Mapping[str, int]:
        """Return the numbers of releases, in the order in which they were first seen."""
        releases = list(dict.fromkeys(releases))
        found = {one: order for one in releases if (order := self._releases.get(one)) is not None}
        collection = self._connection["ticket_releases"]
        for release in releases:
            if release in found:
                continue
            # Somebody else may see it at the same moment: then it is there, and read below.
            with suppress(errors.DuplicateKeyError):
                collection.update_one(
                    {"_id": release}, {"$setOnInsert": {"order": self._order.next()}}, upsert=True
                )
            document = collection.find_one({"_id": release})
            found[release] = document["order"] if document else self._order.next()
        if len(self._releases) > _MAX_RELEASES:
            self._releases = {}
        self._releases.update(found)
        return found


@dataclass
class _Batch:
    connection: Connection
    session: Session
    order: Order
    entries: Sequence[Entry]
    documents: Sequence[Document]
    releases: Mapping[str, int]

    def __post_init__(self) -> None:
        self.outcomes: list[Outcome | None] = [None] * len(self.entries)
        self.history: list[Document] = []
        self.documents = [dict(document) for document in self.documents]
        self.ways = Ways(self.connection, self.session)

    def store(self) -> list[Outcome]:
        places = self._first_ones()
        entries = [self.entries[place] for place in places]
        if places:
            self.ways.look_up(entries)
            groups: dict[Any, _Group] = {}
            for place in places:
                ticket_id = self.ways.ticket_for(self.entries[place])
                groups.setdefault(ticket_id, _Group([])).places.append(place)
            self._count_all(groups)
            self._add_to_histogram(places)
            if self.history:
                self.connection["ticket_history"].insert_many(self.history, session=self.session)
            self._insert(places)
        self._tell_duplicates()
        return [outcome for outcome in self.outcomes if outcome is not None]

    def _first_ones(self) -> list[int]:
        """Return the places of the entries that are not stored already, each key once."""
        keys = [entry.key for entry in self.entries]
        stored = {
            document["key"]
            for document in self.connection["occurrences"].find(
                {"key": {"$in": keys}}, {"key": 1}, session=self.session
            )
        }
        places = []
        for place, key in enumerate(keys):
            if key not in stored:
                stored.add(key)
                places.append(place)
        return places

    # -- counting

    def _count_all(self, groups: dict[Any, _Group]) -> None:
        # In the order of their ids: of two batches that meet, one goes on.
        pending = sorted(groups.items())
        for _ in range(_ATTEMPTS):
            found = self._documents([ticket_id for ticket_id, _ in pending])
            again: dict[Any, _Group] = {}
            here: list[tuple[Document, _Group]] = []
            for ticket_id, group in pending:
                document = found.get(ticket_id)
                if document is None:
                    self.ways.make_ticket(ticket_id, self.entries[group.places[0]])
                elif merged := (document.get("status") or {}).get("merged_into"):
                    ticket_id = merged
                else:
                    here.append((document, group))
                    continue
                again.setdefault(ticket_id, _Group([])).places += group.places
            for document, group in self._count_each(here):
                again.setdefault(document["_id"], _Group([])).places += group.places
            if not again:
                return
            for group in again.values():
                group.places.sort()
            pending = sorted(again.items())
        raise MetAnotherError(f"{len(pending)} tickets were changed each time they were counted on")

    def _documents(self, ticket_ids: Sequence[Any]) -> dict[Any, Document]:
        """Return tickets: as they were met on the way to them, and the next time as they are."""
        met, self.ways.found = self.ways.found, {}
        found = {one: met[one] for one in ticket_ids if one in met}
        missing = [one for one in ticket_ids if one not in found]
        if missing:
            wanted = {"_id": {"$in": missing}}
            tickets = self.connection["tickets"]
            for document in tickets.find(wanted, LEFT_OUT, session=self.session):
                found[document["_id"]] = document
        return found

    def _count_each(self, here: Sequence[tuple[Document, _Group]]) -> list[tuple[Document, _Group]]:
        """Count groups on their tickets; return those whose ticket was changed meanwhile."""
        tickets = self.connection["tickets"]
        planned = [(document, group, *self._plan(document, group)) for document, group in here]
        if self.session is not None and planned:
            # Nobody else changes them until the end of the transaction.
            done = tickets.bulk_write(
                [pymongo.UpdateOne(_as_it_was(one), update) for one, _, _, update in planned],
                ordered=False,
                session=self.session,
            )
            if done.matched_count != len(planned):
                raise MetAnotherError("tickets were changed while they were counted on")
            for document, group, events, _ in planned:
                count = (document.get("occurrence_count") or 0) + len(events)
                self._note(document["_id"], group, events, count)
            return []
        failed = []
        for document, group, events, update in planned:
            after = tickets.find_one_and_update(
                _as_it_was(document),
                update,
                {"occurrence_count": 1},
                return_document=pymongo.ReturnDocument.AFTER,
            )
            if after is None:
                failed.append((document, group))
            else:
                self._note(document["_id"], group, events, after["occurrence_count"])
        return failed

    def _plan(self, document: Document, group: _Group) -> tuple[list[Event], Document]:
        """Return what the entries of a group are for their ticket, and what that changes."""
        standing = _standing(document)
        known = self._known_releases(standing)
        entries = [self.entries[place] for place in group.places]
        events = [standing.count_one(entry, known) for entry in entries]
        times = [entry.time for entry in entries]
        update: Document = {
            "$inc": {"occurrence_count": len(entries)},
            "$max": {"last_occurrence_time": max(times)},
            "$min": {"status.first_time": min(times)},
            "$set": _changes(standing, document.get("status") or {}, entries[0]),
        }
        added = {}
        for name in ("release", "environment"):
            found = {self.documents[place].get(name, "") for place in group.places} - {""}
            if found:
                added[f"status.{name}s"] = {"$each": sorted(found)}
        if added:
            update["$addToSet"] = added
        return events, update

    def _note(self, ticket_id: Any, group: _Group, events: Sequence[Event], count: int) -> None:
        """Note what became of a group whose last entry made *count*."""
        first = count - len(events) + 1
        for number, (place, event) in enumerate(zip(group.places, events, strict=True)):
            self.outcomes[place] = Outcome(self.entries[place], event, ticket_id, first + number)
            self.documents[place]["ticket_id"] = ticket_id
            if event in HISTORY:
                self.history.append(history_document(ticket_id, self.order.next(), HISTORY[event]))

    def _known_releases(self, standing: Standing) -> Mapping[str, int]:
        if standing.solved_in is None or standing.solved_in in self.releases:
            return self.releases
        document = self.connection["ticket_releases"].find_one(
            {"_id": name_of(standing.solved_in)}, session=self.session
        )
        return (
            self.releases
            if document is None
            else {**self.releases, standing.solved_in: document["order"]}
        )

    # -- the rest

    def _add_to_histogram(self, places: Sequence[int], sign: int = 1) -> None:
        counts = Counter(
            (self.documents[place]["ticket_id"], hour_of(self.entries[place].time))
            for place in places
        )
        add_to_histogram(self.connection, self.session, counts, sign)

    def _insert(self, places: Sequence[int]) -> None:
        try:
            self.connection.durable("occurrences").insert_many(
                [self.documents[place] for place in places], ordered=False, session=self.session
            )
        except errors.BulkWriteError as error:
            if not is_duplicate(error):
                raise
            if self.session is not None:
                raise MetAnotherError("another process stores the same occurrences") from error
            details: Any = error.details
            self._take_back([places[one["index"]] for one in details["writeErrors"]])

    def _take_back(self, places: Sequence[int]) -> None:
        """Take back what was counted: somebody else stored it in the meantime, and counted it."""
        self._add_to_histogram(places, -1)
        for place in places:
            self.connection["tickets"].update_one(
                {"_id": self.documents[place]["ticket_id"]}, {"$inc": {"occurrence_count": -1}}
            )
            self.outcomes[place] = None

    def _tell_duplicates(self) -> None:
        missing = [place for place, outcome in enumerate(self.outcomes) if outcome is None]
        if not missing:
            return
        keys = [self.entries[place].key for place in missing]
        tickets = {
            document["key"]: document["ticket_id"]
            for document in self.connection["occurrences"].find(
                {"key": {"$in": keys}}, {"key": 1, "ticket_id": 1}, session=self.session
            )
        }
        counts = {
            document["_id"]: document["occurrence_count"]
            for document in self.connection["tickets"].find(
                {"_id": {"$in": list(set(tickets.values()))}},
                {"occurrence_count": 1},
                session=self.session,
            )
        }
        for place in missing:
            entry = self.entries[place]
            ticket_id = tickets.get(entry.key)
            self.outcomes[place] = Outcome(entry, "duplicate", ticket_id, counts.get(ticket_id, 0))


def add_to_histogram(
    connection: Connection,
    session: Session,
    counts: Mapping[tuple[Any, datetime], int],
    sign: int = 1,
) -> None:
    """Add *counts*, by ticket and hour, to what was counted before; or take them away."""
    operations: list[Any] = [
        pymongo.UpdateOne(
            {"ticket_id": ticket_id, "hour": hour}, {"$inc": {"count": sign * count}}, upsert=True
        )
        for (ticket_id, hour), count in sorted(counts.items())
        if count
    ]
    while operations:
        try:
            connection["ticket_histogram"].bulk_write(operations, ordered=False, session=session)
            return
        except errors.BulkWriteError as error:
            # Two met at an hour that was not there: now it is.
            if not is_duplicate(error):
                raise
            if session is not None:
                raise MetAnotherError("another process counts in the same hour") from error
            details: Any = error.details
            operations = [operations[one["index"]] for one in details["writeErrors"]]


def _standing(document: Document) -> Standing:
    status = document.get("status") or {}
    return Standing(
        ticket_id=document["_id"],
        count=document.get("occurrence_count") or 0,
        last_time=document.get("last_occurrence_time"),
        state=state_of(status.get("state"), document.get("solved")),
        title=status.get("title") or "",
        assignee=status.get("assignee") or "",
        fingerprint=status.get("fingerprint"),
        first_time=status.get("first_time"),
        first_release=status.get("first_release"),
        last_release=status.get("last_release"),
        solved_in=status.get("solved_in"),
        solved_order=status.get("solved_order"),
        ignored_until=status.get("ignored_until"),
        ignored_count=status.get("ignored_count"),
    )


def _changes(standing: Standing, before: Mapping[str, Any], first: Entry) -> Document:
    """Return what is set on a ticket after it was counted on."""
    changes: Document = {
        "solved": standing.state == "solved",
        "status.state": standing.state,
        "status.solved_in": standing.solved_in,
        "status.ignored_until": standing.ignored_until,
        "status.ignored_count": standing.ignored_count,
    }
    for name in ("first_release", "last_release"):
        value = fitting_or_none(getattr(standing, name), MAX_NAME)
        if value is not None and value != before.get(name):
            changes[f"status.{name}"] = value
    if "title" not in before:
        changes["status.title"] = fitting(first.title, MAX_TITLE)
    return changes


def _as_it_was(document: Document) -> Document:
    """Return what is still met if nobody changed where a ticket stands."""
    status = document.get("status") or {}
    names = ("state", "solved_in", "ignored_until", "ignored_count")
    condition: Document = {
        "_id": document["_id"],
        "solved": document.get("solved"),
        "status.merged_into": None,
        **{f"status.{name}": status.get(name) for name in names},
    }
    count = document.get("occurrence_count")
    if not count or (status.get("state") == "ignored" and status.get("ignored_count") is not None):
        # Who counts the first, or the one that wakes it, is the only one.
        condition["occurrence_count"] = count
    return condition
