"""Making one ticket of several, and several of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from sprockets.logbook.ticketing._mongodb_connection import Connection, Document, Session
from sprockets.logbook.ticketing._mongodb_documents import (
    Order,
    hash_text,
    history_document,
    hour_of,
    made_hash,
)
from sprockets.logbook.ticketing._mongodb_library import bson, pymongo
from sprockets.logbook.ticketing._mongodb_recording import add_to_histogram

SMALL: Final = 10_000
"""Occurrences that are moved in one transaction, which the server ends after a minute."""


class Merging:
    """Merges and splits tickets.

    Args:
        connection: The database.
        order: Numbers what happens.
    """

    def __init__(self, connection: Connection, order: Order) -> None:
        self._connection = connection
        self._order = order

    def _is_small(self, ticket_ids: Iterable[Any]) -> bool:
        of_these = {"ticket_id": {"$in": list(ticket_ids)}}
        count = self._connection["occurrences"].count_documents(of_these, limit=SMALL + 1)
        return count <= SMALL

    def _tell(
        self, session: Session, ticket_id: Any, action: str, actor: str, **facts: Any
    ) -> None:
        text = ", ".join(str(one) for value in facts.values() for one in value)
        facts = {name: [str(one) for one in value] for name, value in facts.items()}
        self._connection["ticket_history"].insert_one(
            history_document(ticket_id, self._order.next(), action, text, actor, facts),
            session=session,
        )

    # -- merging

    def merge(self, into: Any, others: Iterable[Any], actor: str) -> bool:
        """Make *into* of all; see `BackendBase.merge_tickets`."""
        others = list(dict.fromkeys(others))

        def work(session: Session) -> bool:
            tickets = self._connection["tickets"]
            alone = {"status.merged_into": None}
            if tickets.find_one({"_id": into, **alone}, {"_id": 1}, session=session) is None:
                return False
            merged = [other for other in others if self._merge(session, into, other)]
            if merged:
                self._choose_fingerprint(session, into)
                self._tell(session, into, "merged", actor, tickets=merged)
            return bool(merged)

        return self._connection.run(work, is_small=self._is_small(others))

    def _merge(self, session: Session, into: Any, other: Any) -> bool:
        connection = self._connection
        tickets = connection["tickets"]
        # From here on nobody counts on it, so what it says is final.
        given = tickets.find_one_and_update(
            {"_id": other, "status.merged_into": None},
            {"$set": {"status.merged_into": into, "occurrence_count": 0}},
            session=session,
        )
        if given is None:
            return False
        tickets.update_many(
            {"status.merged_into": other}, {"$set": {"status.merged_into": into}}, session=session
        )
        connection["ticket_fingerprints"].update_many(
            {"ticket_id": other}, {"$set": {"ticket_id": into}}, session=session
        )
        status = given.get("status") or {}
        for way in (hash_text(given.get("record_hash")), status.get("fingerprint")):
            if way:
                connection["ticket_fingerprints"].update_one(
                    {"_id": way},
                    {"$setOnInsert": {"ticket_id": into}},
                    upsert=True,
                    session=session,
                )
        self._add_facts(session, into, given)
        connection["occurrences"].update_many(
            {"ticket_id": other}, {"$set": {"ticket_id": into}}, session=session
        )
        hours = Counter(
            {
                (into, document["hour"]): document["count"]
                for document in connection["ticket_histogram"].find(
                    {"ticket_id": other}, session=session
                )
            }
        )
        add_to_histogram(connection, session, hours)
        connection["ticket_histogram"].delete_many({"ticket_id": other}, session=session)
        return True

    def _add_facts(self, session: Session, into: Any, given: Document) -> None:
        """Add what is known of a merged ticket to what is known of the other."""
        tickets = self._connection["tickets"]
        status = given.get("status") or {}
        own = tickets.find_one({"_id": into}, session=session) or {}
        known = own.get("status") or {}
        update: Document = {"$inc": {"occurrence_count": given.get("occurrence_count") or 0}}
        if given.get("last_occurrence_time") is not None:
            update["$max"] = {"last_occurrence_time": given["last_occurrence_time"]}
        set_: Document = {}
        if status.get("first_time") is not None:
            update["$min"] = {"status.first_time": status["first_time"]}
            is_earlier = known.get("first_time") is None or (
                status["first_time"] < known["first_time"]
            )
            if status.get("first_release") and (is_earlier or not known.get("first_release")):
                set_["status.first_release"] = status["first_release"]
        if status.get("last_release") and not known.get("last_release"):
            set_["status.last_release"] = status["last_release"]
        if set_:
            update["$set"] = set_
        added = {
            f"status.{name}": {"$each": status[name]}
            for name in ("releases", "environments")
            if status.get(name)
        }
        if added:
            update["$addToSet"] = added
        tickets.update_one({"_id": into}, update, session=session)

    # -- splitting

    def split(self, ticket_id: Any, occurrence_id: Any, actor: str) -> Any:
        """Make a ticket of what has one fingerprint; see `BackendBase.split_ticket`."""

        def work(session: Session) -> Any:
            return self._split(session, ticket_id, occurrence_id, actor)

        return self._connection.run(work, is_small=self._is_small([ticket_id]))

    def _split(self, session: Session, ticket_id: Any, occurrence_id: Any, actor: str) -> Any:
        connection = self._connection
        tickets, occurrences = connection["tickets"], connection["occurrences"]
        start = occurrences.find_one(
            {"_id": occurrence_id, "ticket_id": ticket_id}, session=session
        )
        old = tickets.find_one({"_id": ticket_id, "status.merged_into": None}, session=session)
        if start is None or old is None:
            return None
        record_hash = hash_text(old.get("record_hash"))
        way = start.get("way") or record_hash
        # Those that Logbook wrote go by the hash of their ticket.
        ways = [way, None] if way == record_hash else [way]
        others = {"ticket_id": ticket_id, "way": {"$nin": ways}}
        if occurrences.find_one(others, {"_id": 1}, session=session) is None:
            return None

        made = bson.ObjectId()
        tickets.insert_one(
            {
                **{name: old.get(name) for name in ("level", "channel", "location", "module")},
                "_id": made,
                "record_hash": made_hash(way, made),
                "app_id": start.get("app_id"),
                "occurrence_count": 0,
                "solved": False,
                "status": {
                    "state": "new",
                    "title": start.get("title") or (old.get("status") or {}).get("title", ""),
                    "fingerprint": None,
                    "assignee": "",
                },
            },
            session=session,
        )
        connection["ticket_fingerprints"].update_one(
            {"_id": way}, {"$set": {"ticket_id": made}}, upsert=True, session=session
        )
        moved = occurrences.update_many(
            {"ticket_id": ticket_id, "way": {"$in": ways}},
            {"$set": {"ticket_id": made}},
            session=session,
        ).modified_count
        self._move_counts(session, ticket_id, made, moved)
        for one, other in ((ticket_id, made), (made, ticket_id)):
            self._describe(session, one)
            self._choose_fingerprint(session, one)
            self._tell(session, one, "split", actor, tickets=[other])
        return made

    def _move_counts(self, session: Session, old: Any, made: Any, moved: int) -> None:
        connection = self._connection
        for ticket_id, change in ((old, -moved), (made, moved)):
            connection["tickets"].update_one(
                {"_id": ticket_id}, {"$inc": {"occurrence_count": change}}, session=session
            )
        hours: Counter[Any] = Counter()
        for document in connection["occurrences"].find(
            {"ticket_id": made}, {"time": 1}, session=session
        ):
            hours[hour_of(document["time"])] += 1
        for ticket_id, sign in ((made, 1), (old, -1)):
            counts = {(ticket_id, hour): count for hour, count in hours.items()}
            add_to_histogram(connection, session, counts, sign)

    def _describe(self, session: Session, ticket_id: Any) -> None:
        """Set what a ticket's occurrences say of it: since when, until when, in which releases."""
        occurrences = self._connection["occurrences"]
        of_it = {"ticket_id": ticket_id}
        shown = {"time": 1, "release": 1}

        def end(direction: int, **conditions: Any) -> Document:
            order = [("time", direction), ("_id", direction)]
            found = occurrences.find_one(
                {**of_it, **conditions}, shown, sort=order, session=session
            )
            return found or {}

        facts = {
            "last_occurrence_time": end(pymongo.DESCENDING).get("time"),
            "status.first_time": end(pymongo.ASCENDING).get("time"),
            "status.first_release": end(pymongo.ASCENDING, release={"$ne": None}).get("release"),
            "status.last_release": end(pymongo.DESCENDING, release={"$ne": None}).get("release"),
        }
        for name in ("release", "environment"):
            found = occurrences.distinct(name, of_it, session=session)
            facts[f"status.{name}s"] = sorted(one for one in found if one is not None)
        known = {name: value for name, value in facts.items() if value is not None}
        self._connection["tickets"].update_one({"_id": ticket_id}, {"$set": known}, session=session)

    def _choose_fingerprint(self, session: Session, ticket_id: Any) -> None:
        """Keep the fingerprint of a ticket if it leads there, else take the least that does."""
        tickets = self._connection["tickets"]
        document = tickets.find_one({"_id": ticket_id}, {"status": 1}, session=session) or {}
        present = (document.get("status") or {}).get("fingerprint")
        ways = [
            way["_id"]
            for way in self._connection["ticket_fingerprints"].find(
                {"ticket_id": ticket_id}, session=session
            )
            # Hashes have no version in front.
            if ":" in way["_id"]
        ]
        if present not in ways:
            tickets.update_one(
                {"_id": ticket_id},
                {"$set": {"status.fingerprint": min(ways, default=None)}},
                session=session,
            )
