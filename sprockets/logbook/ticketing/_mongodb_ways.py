"""Ways: to which ticket an entry goes, and that there is one at its end.

A way leads from a fingerprint, or from a hash that was merged or split away, to a ticket.  All
other hashes lead to the ticket that bears them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sprockets.logbook.ticketing._entry import Entry
from sprockets.logbook.ticketing._mongodb_connection import (
    Connection,
    Document,
    MetAnotherError,
    Session,
    is_duplicate,
)
from sprockets.logbook.ticketing._mongodb_documents import (
    hash_forms,
    hash_text,
    made_hash,
    ticket_document,
    way_of,
)
from sprockets.logbook.ticketing._mongodb_library import bson, errors, pymongo

LEFT_OUT: Final[Mapping[str, int]] = {"status.releases": 0, "status.environments": 0}
"""What of a ticket is only ever added to."""


@dataclass
class Ways:
    """The ways of a batch: looked up together, made one by one where they are missing.

    Of any number of processes that meet a fingerprint or a hash for the first time, all end at the
    same ticket: the id at the end of a way is decided by who writes it first, and the ticket is
    made under that id by whoever comes next.

    Args:
        connection: The database.
        session: The transaction.
        found: The tickets that were met on the way, by id.
    """

    connection: Connection
    session: Session
    found: dict[Any, Document] = field(default_factory=dict)
    _known: dict[str, Any] = field(default_factory=dict)
    _fingerprints: dict[Any, str | None] = field(default_factory=dict)

    def look_up(self, entries: Sequence[Entry]) -> None:
        """Find the ways of *entries* that are there, with three questions for all."""
        hashes = sorted({entry.hash for entry in entries})
        fingerprints = sorted({way_of(one) for one in entries if one.fingerprint is not None})
        tickets, session = self.connection["tickets"], self.session
        forms = [form for one in hashes for form in hash_forms(one)]
        for document in tickets.find({"record_hash": {"$in": forms}}, LEFT_OUT, session=session):
            name = hash_text(document["record_hash"])
            # Of two that differ in form alone, the text is ours.
            if name not in self._known or isinstance(document["record_hash"], str):
                self._known[name] = self._note(document)
        if fingerprints:
            claimed = {"status.fingerprint": {"$in": fingerprints}}
            for document in tickets.find(claimed, LEFT_OUT, session=session):
                self._known[document["status"]["fingerprint"]] = self._note(document)
        for document in self.connection["ticket_fingerprints"].find(
            {"_id": {"$in": [*fingerprints, *hashes]}}, session=session
        ):
            self._known[document["_id"]] = document["ticket_id"]
        self._make_plain([entry for entry in entries if entry.fingerprint is None])

    def _note(self, document: Document) -> Any:
        status = document.get("status") or {}
        self.found[document["_id"]] = document
        self._fingerprints[document["_id"]] = status.get("fingerprint")
        return status.get("merged_into") or document["_id"]

    def ticket_for(self, entry: Entry) -> Any:
        """Return the id of the ticket that counts *entry*; it is there, unless it is deleted."""
        way = way_of(entry)
        found = self._known.get(way)
        if found is None:
            # A hash without a ticket now was deleted in between: the ticket is made with this id.
            is_plain = entry.fingerprint is None
            found = bson.ObjectId() if is_plain else self._make_way(entry, way)
            self._known[way] = found
            self._known.setdefault(entry.hash, found)
        return found

    def _make_plain(self, entries: Iterable[Entry]) -> None:
        """Make the tickets of hashes that lead nowhere, in their order, and find them."""
        missing = {entry.hash: entry for entry in reversed(list(entries))}
        missing = {one: missing[one] for one in sorted(missing) if one not in self._known}
        if not missing:
            return
        tickets = self.connection["tickets"]
        operations = [
            pymongo.UpdateOne(
                {"record_hash": one}, {"$setOnInsert": ticket_document(entry, one)}, upsert=True
            )
            for one, entry in missing.items()
        ]
        try:
            tickets.bulk_write(operations, ordered=False, session=self.session)
        except errors.BulkWriteError as error:
            # Two met: now they are there.
            if not is_duplicate(error):
                raise
            if self.session is not None:
                raise MetAnotherError("another process makes the same tickets") from error
        made = {"record_hash": {"$in": list(missing)}}
        for document in tickets.find(made, LEFT_OUT, session=self.session):
            self._known[hash_text(document["record_hash"])] = self._note(document)

    def _make_way(self, entry: Entry, fingerprint: str) -> Any:
        """Make the way of a fingerprint, to the ticket of its hash if nobody has claimed that."""
        of_hash = self._known.get(entry.hash)
        is_claimed = of_hash is not None and self._claim(of_hash, fingerprint)
        wanted = of_hash if is_claimed else bson.ObjectId()
        ways = self.connection["ticket_fingerprints"]
        ways.update_one(
            {"_id": fingerprint},
            {"$setOnInsert": {"ticket_id": wanted}},
            upsert=True,
            session=self.session,
        )
        way = ways.find_one({"_id": fingerprint}, session=self.session)
        found = wanted if way is None else way["ticket_id"]
        if found != wanted and is_claimed:
            # Somebody met it elsewhere at the same time.
            self.connection["tickets"].update_one(
                {"_id": wanted, "status.fingerprint": fingerprint},
                {"$set": {"status.fingerprint": None}},
                session=self.session,
            )
            self._fingerprints[wanted] = None
        if found != of_hash:
            self.make_ticket(found, entry)
        self._fingerprints[found] = fingerprint
        return found

    def _claim(self, ticket_id: Any, fingerprint: str) -> bool:
        if self._fingerprints.get(ticket_id) is not None:
            return False
        done = self.connection["tickets"].update_one(
            {"_id": ticket_id, "status.fingerprint": None},
            {"$set": {"status.fingerprint": fingerprint}},
            session=self.session,
        )
        return done.modified_count == 1

    def make_ticket(self, ticket_id: Any, entry: Entry) -> None:
        """Make the ticket at the end of a way, unless it is there."""
        tickets = self.connection["tickets"]
        is_taken = tickets.find_one(
            {"record_hash": {"$in": hash_forms(entry.hash)}}, {"_id": 1}, session=self.session
        )
        # Another bug in the same line: Logbook's hash is taken.
        own = made_hash(way_of(entry), ticket_id)
        for record_hash in (own,) if is_taken else (entry.hash, own):
            try:
                tickets.update_one(
                    {"_id": ticket_id},
                    {"$setOnInsert": ticket_document(entry, record_hash)},
                    upsert=True,
                    session=self.session,
                )
                return
            except errors.DuplicateKeyError:
                if self.session is not None:
                    # The transaction is over.
                    raise
