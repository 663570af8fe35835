"""Tickets in MongoDB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from sprockets.logbook._json import encode
from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing import _mongodb_issues as issues
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._entry import Entry, Outcome
from sprockets.logbook.ticketing._making import make_entry
from sprockets.logbook.ticketing._model import (
    HistoryItem,
    Occurrence,
    Removed,
    Retention,
    Ticket,
    TrackerIssue,
)
from sprockets.logbook.ticketing._mongodb_connection import Connection, Document
from sprockets.logbook.ticketing._mongodb_documents import (
    Order,
    history_document,
    hour_of,
    id_of,
    item_of,
    name_of,
    occurrence_of,
    ticket_of,
)
from sprockets.logbook.ticketing._mongodb_library import errors
from sprockets.logbook.ticketing._mongodb_merging import Merging
from sprockets.logbook.ticketing._mongodb_recording import Recording
from sprockets.logbook.ticketing._mongodb_removing import apply_retention, delete_ticket
from sprockets.logbook.ticketing._mongodb_search import (
    NOT_MERGED,
    ROW_FIELDS,
    TICKET_FIELDS,
    conditions_of,
    sorting,
)
from sprockets.logbook.ticketing._search import EVERYTHING, Query

if TYPE_CHECKING:
    from pymongo.database import Database

_OPTIONS: Final = frozenset(
    {"uri", "database", "client_options", "transactions", "autocreate_indexes"}
)
_VALUES: Final = {
    "channel": "channel",
    "app_id": "app_id",
    "assignee": "status.assignee",
    "release": "status.releases",
    "environment": "status.environments",
}
_STEPS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


class MongoDBBackend(BackendBase):
    """Tickets in MongoDB, 4.2 and newer, through pymongo 4.

    They are in the collections ``tickets`` and ``occurrences``, where Logbook has them, with fields
    of ours beside Logbook's; what else there is, in collections whose names begin with ``ticket_``.
    Ids are ``ObjectId``; wherever one is passed, its 24 digits do as well.  Times are kept to the
    millisecond; the JSON of an occurrence has the microseconds.

    On a replica set or a sharded cluster, a batch of occurrences is one transaction, and processes
    take turns.  On a single server, and if ``occurrences`` is capped, there are none; there a batch
    is written in an order in which a crash loses nothing: it comes again, and what the crash leaves
    behind is the counts of its tickets, and those per hour, too high by its occurrences at most.
    An occurrence that two processes store at once is counted once, unless one of them crashes.
    What is acknowledged is in the journal.  Merging or splitting more than 10,000 occurrences, and
    deleting, is never one transaction.

    A client of ours is not shared with forked processes: each makes its own.  One that was passed
    in is used as it is, also after a fork, which its documentation warns of.  TLS and credentials
    are the URI's.

    Args:
        uri: A URI that names the database, as in ``mongodb://localhost/logs``; or a
            ``MongoClient``, or a ``Database``, neither of which is ever closed.
        database: Name of the database, if *uri* does not say.
        client_options: Options of ``MongoClient``, for a URI.
        transactions: Whether to use transactions; ``None`` asks the server.
        autocreate_indexes: Whether to make missing collections and indexes.

    Raises:
        MissingDependency: pymongo is not installed.
        ValueError: No database is named.
        TypeError: *uri* is nothing of the kind, or an option is unknown.
        PyMongoError: The server was not reached, or refused.
    """

    missed_marks: int
    """How often a change could not be marked; whoever waits for it sees it with the next."""

    def setup_backend(self) -> None:
        """Connect, and make missing collections and indexes."""
        options = self.options
        unknown = sorted(options.keys() - _OPTIONS)
        if unknown or "uri" not in options:
            what = f"unknown: {', '.join(unknown)}" if unknown else "uri is missing"
            raise TypeError(f"MongoDBBackend takes {', '.join(sorted(_OPTIONS))}; {what}")
        self.missed_marks = 0
        self._connection = Connection(
            options["uri"],
            name=options.get("database"),
            options=options.get("client_options"),
            transactions=options.get("transactions"),
            indexes=options.get("autocreate_indexes", True),
        )
        self._order = Order()
        self._recording = Recording(self._connection, self._order)
        self._merging = Merging(self._connection, self._order)
        _ = self.database

    @property
    def database(self) -> Database[Document]:
        """The database; of a client of ours, another object after a fork or :meth:`close`."""
        return self._connection.database

    def close(self) -> None:
        """Close the client, if it is ours; the next use of the store connects anew."""
        self._connection.close()

    # -- writing

    def record_ticket(
        self, record: LogRecord, data: Mapping[str, Any], hash: str, app_id: str
    ) -> None:
        """Count *record* on the ticket of *hash*; see `BackendBase.record_ticket`."""
        self.record_entries([make_entry(record, encode(dict(data)), hash, app_id=app_id)])

    def record_entries(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Count *entries*; see `BackendBase.record_entries`; after a crash, see the class."""
        if not entries:
            return []
        outcomes = self._recording.record(entries)
        self._mark()
        return outcomes

    def _mark(self) -> None:
        # Apart from what it marks: all transactions would meet in this document.
        try:
            self._connection["ticket_marks"].update_one(
                {"_id": "mark"}, {"$inc": {"number": 1}}, upsert=True
            )
        except errors.PyMongoError:
            # What was stored is stored; failing here would have it stored again.
            self.missed_marks += 1

    # -- reading

    def _conditions(self, query: Query) -> Document:
        def tickets_of(request_ids: Iterable[str]) -> list[Any]:
            return self._connection["occurrences"].distinct(
                "ticket_id", {"request_id": {"$in": list(request_ids)}}
            )

        return conditions_of(query, tickets_of)

    def count_tickets(self, query: Query = EVERYTHING) -> int:
        """Return how many tickets meet *query*."""
        return self._connection["tickets"].count_documents(self._conditions(query))

    def get_tickets(
        self,
        order_by: str = "-last_occurrence_time",
        limit: int = 50,
        offset: int = 0,
        query: Query = EVERYTHING,
    ) -> list[Ticket]:
        """Return a page of the tickets that meet *query*; see `BackendBase.get_tickets`."""
        order = sorting(order_by, TICKET_FIELDS)
        found = self._connection["tickets"].find(self._conditions(query))
        return [ticket_of(self, one) for one in _page(found.sort(order), limit, offset)]

    def get_ticket(self, ticket_id: Any) -> Ticket | None:
        """Return a ticket, or None if there is none of that id."""
        document = self._connection["tickets"].find_one({"_id": id_of(ticket_id)})
        return None if document is None else ticket_of(self, document)

    def get_occurrences(
        self, ticket: Any, order_by: str = "-time", limit: int = 50, offset: int = 0
    ) -> list[Occurrence]:
        """Return a page of the occurrences of a ticket; see `BackendBase.get_occurrences`."""
        order = sorting(order_by, ROW_FIELDS)
        found = self._connection["occurrences"].find({"ticket_id": id_of(ticket)})
        return [occurrence_of(self, one) for one in _page(found.sort(order), limit, offset)]

    def get_occurrence(self, occurrence_id: Any) -> Occurrence | None:
        """Return an occurrence, or None if there is none of that id."""
        document = self._connection["occurrences"].find_one({"_id": id_of(occurrence_id)})
        return None if document is None else occurrence_of(self, document)

    def find_occurrences(
        self, *, request_id: str | None = None, task_uuid: str | None = None, limit: int = 100
    ) -> list[Occurrence]:
        """Return the occurrences of a request, or of a tree of actions, the oldest first."""
        wanted = [
            {name: name_of(value)}
            for name, value in (("request_id", request_id), ("task_uuid", task_uuid))
            if value is not None
        ]
        if not wanted:
            return []
        found = self._connection["occurrences"].find({"$or": wanted})
        order = sorting("time", ROW_FIELDS)
        return [occurrence_of(self, one) for one in _page(found.sort(order), limit, 0)]

    def get_counts(
        self,
        ticket_ids: Iterable[Any],
        since: datetime,
        until: datetime,
        step: Literal["hour", "day"],
    ) -> dict[Any, list[int]]:
        """Return how often tickets occurred; see `BackendBase.get_counts`."""
        width = _STEPS[step]
        begin = hour_of(since) if step == "hour" else hour_of(since).replace(hour=0)
        number = (until - begin) // width + 1
        asked = {given: id_of(given) for given in ticket_ids}
        counts = {found: [0] * number for found in asked.values()}
        hours = {"$gte": begin, "$lt": begin + number * width}
        for document in self._connection["ticket_histogram"].find(
            {"ticket_id": {"$in": list(counts)}, "hour": hours}
        ):
            counts[document["ticket_id"]][(document["hour"] - begin) // width] += document["count"]
        return {given: list(counts[found]) for given, found in asked.items()}

    def get_history(self, ticket_id: Any, limit: int = 100, offset: int = 0) -> list[HistoryItem]:
        """Return what happened to a ticket, the newest first."""
        found = self._connection["ticket_history"].find({"ticket_id": id_of(ticket_id)})
        found = found.sort([("order", -1), ("_id", -1)])
        return [item_of(document) for document in _page(found, limit, offset)]

    def get_values(self, field: str, limit: int = 100) -> list[str]:
        """Return the values that tickets have, in their order; see `BackendBase.get_values`.

        Raises:
            KeyError: There is no such field.
        """
        found = self._connection["tickets"].distinct(_VALUES[field], dict(NOT_MERGED))
        return sorted(value for value in found if value)[:limit]

    def get_mark(self) -> str:
        """Return a text that differs whenever a ticket was counted on or changed."""
        document = self._connection["ticket_marks"].find_one({"_id": "mark"})
        return str(document["number"]) if document else "0"

    # -- changing

    def _change(self, ticket_id: Any, changes: Document, action: str, **told: Any) -> bool:
        """Set what *changes* says on a ticket that is one by itself, and tell its history."""
        tickets = self._connection["tickets"]
        found = id_of(ticket_id)
        done = tickets.update_one({"_id": found, **NOT_MERGED}, changes)
        if done.matched_count == 0:
            return False
        self._tell(found, action, **told)
        return True

    def _tell(
        self,
        ticket_id: Any,
        action: str,
        text: str = "",
        actor: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._connection["ticket_history"].insert_one(
            history_document(ticket_id, self._order.next(), action, text, actor, facts)
        )
        self._mark()

    def solve_ticket(self, ticket_id: Any, *, release: str | None = None, actor: str = "") -> bool:
        """Mark a ticket as solved; see `BackendBase.solve_ticket`."""
        release = None if release is None else name_of(release)
        state = _state("solved", solved_in=release, solved_order=self._last_release())
        facts = {} if release is None else {"release": release}
        return self._change(
            ticket_id, {"$set": state}, "solved", text=release or "", actor=actor, facts=facts
        )

    def _last_release(self) -> int:
        """Return the number of the release that was seen for the first time last."""
        document = self._connection["ticket_releases"].find_one(sort=[("order", -1)])
        return document["order"] if document else 0

    def reopen_ticket(self, ticket_id: Any, *, actor: str = "") -> bool:
        """Mark a ticket as new, or as assigned if it is somebody's."""
        nobodys = {"_id": id_of(ticket_id), "status.assignee": {"$in": ["", None]}}
        is_nobodys = self._connection["tickets"].find_one(nobodys, {"_id": 1}) is not None
        state = _state("new" if is_nobodys else "assigned")
        return self._change(ticket_id, {"$set": state}, "reopened", actor=actor)

    def ignore_ticket(
        self,
        ticket_id: Any,
        *,
        until: datetime | None = None,
        occurrences: int | None = None,
        actor: str = "",
    ) -> bool:
        """Ignore a ticket; see `BackendBase.ignore_ticket`."""
        document = self._connection["tickets"].find_one({"_id": id_of(ticket_id)})
        if document is None:
            return False
        count = document.get("occurrence_count") or 0
        wanted = None if occurrences is None else count + occurrences
        state = _state("ignored", ignored_until=until, ignored_count=wanted)
        facts = {"until": until and until.isoformat(), "occurrences": occurrences}
        known = {name: value for name, value in facts.items() if value is not None}
        text = ", ".join(f"{name} {value}" for name, value in known.items())
        return self._change(
            ticket_id, {"$set": state}, "ignored", text=text, actor=actor, facts=known
        )

    def assign_ticket(self, ticket_id: Any, assignee: str, *, actor: str = "") -> bool:
        """Give a ticket to *assignee*; see `BackendBase.assign_ticket`."""
        assignee = name_of(assignee)
        facts = {"assignee": assignee}
        done = self._change(
            ticket_id,
            {"$set": {"status.assignee": assignee}},
            "assigned",
            text=assignee,
            actor=actor,
            facts=facts,
        )
        # Whoever solves or ignores it in between is not contradicted.
        stored = ["new", None] if assignee else ["assigned"]
        self._connection["tickets"].update_one(
            {"_id": id_of(ticket_id), "solved": {"$ne": True}, "status.state": {"$in": stored}},
            {"$set": {"status.state": "assigned" if assignee else "new"}},
        )
        return done

    def comment_on_ticket(self, ticket_id: Any, text: str, *, actor: str = "") -> bool:
        """Add *text* to the history of a ticket."""
        return self.add_history(ticket_id, "commented", text, actor=actor)

    def add_history(
        self, ticket_id: Any, action: str, text: str = "", *, actor: str = "", **facts: Any
    ) -> bool:
        """Add an item to the history of a ticket."""
        found = id_of(ticket_id)
        if self._connection["tickets"].find_one({"_id": found}, {"_id": 1}) is None:
            return False
        self._tell(found, action, text, actor, facts)
        return True

    def merge_tickets(self, into: Any, others: Iterable[Any], *, actor: str = "") -> bool:
        """Make tickets one; see `BackendBase.merge_tickets`."""
        target, given = id_of(into), [id_of(other) for other in others]
        if target in given and target is not None:
            raise ValueError(f"ticket {into} cannot be merged into itself")
        done = self._merging.merge(target, given, actor)
        if done:
            self._mark()
        return done

    def split_ticket(self, ticket_id: Any, occurrence_id: Any, *, actor: str = "") -> Any:
        """Make a ticket of some occurrences of another; see `BackendBase.split_ticket`."""
        made = self._merging.split(id_of(ticket_id), id_of(occurrence_id), actor)
        if made is not None:
            self._mark()
        return made

    def delete_ticket(self, ticket_id: Any) -> bool:
        """Remove a ticket and all that belongs to it; not in one transaction."""
        done = delete_ticket(self._connection, id_of(ticket_id)) is not None
        if done:
            self._mark()
        return done

    def apply_retention(self, retention: Retention, now: datetime | None = None) -> Removed:
        """Remove what is not to be kept; see `BackendBase.apply_retention`."""
        moment = datetime.now(UTC).replace(tzinfo=None) if now is None else now
        removed = apply_retention(self._connection, retention, moment)
        if removed != Removed():
            self._mark()
        return removed

    # -- what one process of many does, and who may

    def claim(self, name: str, *, now: datetime, seconds: float) -> bool:
        """Reserve a piece of work; see `BackendBase.claim`."""
        return issues.claim(self._connection, name, now, seconds)

    def claim_issue(self, ticket_id: Any, tracker: str, *, now: datetime, patience: float) -> bool:
        """Reserve the filing of an issue; see `BackendBase.claim_issue`."""
        return issues.claim_issue(self._connection, ticket_id, tracker, now, patience)

    def save_issue(self, issue: TrackerIssue) -> None:
        """Store what a tracker was told."""
        issues.save_issue(self._connection, issue)

    def get_issue(self, ticket_id: Any, tracker: str) -> TrackerIssue | None:
        """Return what a tracker was told of a ticket, claims included."""
        found = issues.get_issues(self._connection, ticket_id, tracker=name_of(tracker))
        return found[0] if found else None

    def get_issues(self, ticket_id: Any) -> list[TrackerIssue]:
        """Return what all trackers were told of a ticket."""
        return issues.get_issues(self._connection, ticket_id)

    def add_token(self, digest: str, name: str, scopes: Iterable[str]) -> None:
        """Store a token."""
        issues.add_token(self._connection, digest, name, scopes)

    def get_token(self, digest: str) -> tuple[str, frozenset[str]] | None:
        """Return name and scopes of a token, or None."""
        found = issues.get_tokens(self._connection, _id=digest)
        return found[0] if found else None

    def get_tokens(self) -> list[tuple[str, frozenset[str]]]:
        """Return names and scopes of all tokens, by name."""
        return issues.get_tokens(self._connection)

    def remove_token(self, name: str) -> bool:
        """Remove the tokens of that name."""
        return issues.remove_token(self._connection, name)


def _state(
    state: str,
    *,
    solved_in: str | None = None,
    solved_order: int | None = None,
    ignored_until: datetime | None = None,
    ignored_count: int | None = None,
) -> Document:
    """Return what is set where a ticket gets another state; what was said before is taken back."""
    return {
        "solved": state == "solved",
        "status.state": state,
        "status.solved_in": solved_in,
        "status.solved_order": solved_order,
        "status.ignored_until": ignored_until,
        "status.ignored_count": ignored_count,
    }


def _page(cursor: Any, limit: int, offset: int) -> Iterable[Document]:
    # A limit of 0 is none to the server.
    if limit <= 0:
        return []
    found: Iterable[Document] = cursor.skip(max(0, offset)).limit(limit)
    return found
