"""The database: whose client it is, what is in it, and what is done in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from random import random
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from sprockets.logbook import _fork
from sprockets.logbook.ticketing._mongodb_library import bson, errors, pymongo

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection
    from pymongo.database import Database
    from pymongo.write_concern import WriteConcern

T = TypeVar("T")
Document: TypeAlias = dict[str, Any]
Session: TypeAlias = "ClientSession | None"
"""A transaction, or ``None`` where there are none."""

PATIENCE: Final = 60.0
"""Seconds for which a write is begun anew that meets others."""
_FIRST_PAUSE: Final = 0.005
_LAST_PAUSE: Final = 0.05
_TURNS: Final = "ticket_turns"
_WRITE_CONFLICT: Final = 112

_UP: Final = 1
_DOWN: Final = -1

_INDEXES: Final[Mapping[str, list[tuple[list[tuple[str, int]], dict[str, Any]]]]] = {
    "tickets": [
        ([("record_hash", _UP)], {"unique": True}),
        ([("solved", _UP), ("level", _UP)], {}),
        ([("last_occurrence_time", _DOWN), ("_id", _DOWN)], {}),
        ([("status.fingerprint", _UP)], {"sparse": True}),
        ([("status.merged_into", _UP)], {"sparse": True}),
        ([("status.releases", _UP)], {"sparse": True}),
        ([("status.environments", _UP)], {"sparse": True}),
    ],
    "occurrences": [
        ([("time", _DOWN)], {}),
        # Those that Logbook wrote have no key.
        ([("key", _UP)], {"unique": True, "sparse": True}),
        ([("ticket_id", _UP), ("time", _DOWN), ("_id", _DOWN)], {}),
        ([("request_id", _UP)], {"sparse": True}),
        ([("task_uuid", _UP)], {"sparse": True}),
    ],
    "ticket_fingerprints": [([("ticket_id", _UP)], {})],
    "ticket_history": [([("ticket_id", _UP), ("order", _DOWN)], {})],
    "ticket_histogram": [([("ticket_id", _UP), ("hour", _UP)], {"unique": True})],
    "ticket_issues": [([("ticket_id", _UP), ("tracker", _UP)], {"unique": True})],
    "ticket_releases": [([("order", _UP)], {})],
    "ticket_tokens": [([("name", _UP)], {})],
    "ticket_turns": [([("number", _UP)], {})],
    "ticket_work": [([("until", _UP)], {})],
}


class Connection:
    """A database of MongoDB, through a client of our own or somebody else's.

    A client of our own is left to its process at a fork, and the child makes another when it needs
    one; somebody else's is used as it is.

    Args:
        source: A URI; or a ``MongoClient``, or a ``Database``, which are never closed.
        name: Names the database where *source* does not.
        options: Options of a client of our own, beside those of the URI.
        transactions: Whether there are transactions; ``None`` asks the server.
        indexes: Whether missing indexes and collections are made.

    Raises:
        ValueError: No database is named.
        TypeError: *source* is nothing of the kind.
    """

    def __init__(
        self,
        source: Any,
        *,
        name: str | None = None,
        options: Mapping[str, Any] | None = None,
        transactions: bool | None = None,
        indexes: bool = True,
    ) -> None:
        self._uri: str | None = None
        self._name = name
        self._options = dict(options or {})
        self._wanted = transactions
        self._indexes = indexes
        self._client: Any = None
        self._database: Database[Document] | None = None
        self._has_transactions = False
        self._lock = Lock()
        if isinstance(source, str):
            self._uri = source
        elif isinstance(source, pymongo.MongoClient):
            if name is None:
                raise ValueError("a MongoClient names no database; pass database='…' beside it")
            self._given = source.get_database(name)
        elif isinstance(source, pymongo.database.Database):
            # A Database has no truth value, and any attribute one asks for.
            self._given = source
        else:
            raise TypeError(
                f"uri must be a text, a MongoClient or a Database, got {type(source).__name__}"
            )
        _fork.hold_at_fork(self)

    @property
    def is_ours(self) -> bool:
        """Whether the client is made here, and closed here."""
        return self._uri is not None

    @property
    def database(self) -> Database[Document]:
        """The database; connects if need be."""
        database = self._database
        if database is None:
            with self._lock:
                if self._database is None:
                    self._database = self._connect()
                database = self._database
        return database

    def _connect(self) -> Database[Document]:
        database = self._made() if self._uri is not None else self._given
        database = database.with_options(
            # What was written is read, years beyond 9999 and damaged texts included.
            codec_options=bson.codec_options.CodecOptions(
                unicode_decode_error_handler="replace",
                datetime_conversion=bson.codec_options.DatetimeConversion.DATETIME_CLAMP,
            ),
            read_preference=pymongo.ReadPreference.PRIMARY,
        )
        try:
            if self._indexes:
                for collection, indexes in _INDEXES.items():
                    database[collection].create_indexes(
                        [pymongo.IndexModel(keys, **options) for keys, options in indexes]
                    )
            wanted = self._wanted
            self._has_transactions = _has_transactions(database) if wanted is None else wanted
        except BaseException:
            self._let_go()
            raise
        return database

    def _made(self) -> Database[Document]:
        client: Any = pymongo.MongoClient(self._uri, **self._options)
        try:
            database: Database[Document] = client.get_default_database(self._name)
            if self._name is not None:
                database = client.get_database(self._name)
        except errors.ConfigurationError:
            client.close()
            # The URI may contain a password.
            raise ValueError(
                "the URI names no database; append it, as in mongodb://localhost/logs"
            ) from None
        self._client = client
        return database

    def _let_go(self) -> None:
        client, self._client, self._database = self._client, None, None
        if client is not None:
            client.close()

    def close(self) -> None:
        """Close a client of our own; the next use makes another."""
        with self._lock:
            self._let_go()
            self._database = None

    # -- what is in it

    def __getitem__(self, name: str) -> Collection[Document]:
        return self.database[name]

    def durable(self, name: str) -> Collection[Document]:
        """Return a collection whose writes, and all before them, are on a disk when acknowledged.

        A single server would acknowledge them up to a tenth of a second earlier.
        """
        collection = self[name]
        return collection.with_options(write_concern=_durable(collection.write_concern))

    def run(self, work: Callable[[Session], T], *, is_small: bool = True) -> T:
        """Do *work*, in one transaction where there are any, and return what it returns.

        Whatever meets another write at the same document is done again, from the beginning, for
        `PATIENCE` seconds.

        Args:
            work: What to do; called once more each time.
            is_small: Whether it fits into a transaction, which the server ends after a minute.
        """
        database = self.database
        deadline = monotonic() + PATIENCE
        pause = _FIRST_PAUSE
        while True:
            try:
                if not (self._has_transactions and is_small):
                    return work(None)
                # Not session.with_transaction: that goes on for two minutes where a server is gone,
                # and whoever delivers occurrences has a plan for that.
                with (
                    database.client.start_session() as session,
                    session.start_transaction(write_concern=_durable(database.write_concern)),
                ):
                    self._take_turn(session)
                    return work(session)
            except (errors.OperationFailure, MetAnotherError) as error:
                if monotonic() > deadline or not _met_another(error):
                    raise
            time.sleep(random() * pause)  # noqa: S311 - so that they do not meet again
            pause = min(2 * pause, _LAST_PAUSE)

    def _take_turn(self, session: ClientSession) -> None:
        """Meet others at the first write of a transaction, instead of after hundreds in vain."""
        self[_TURNS].update_one(
            {"_id": "turn"}, {"$inc": {"number": 1}}, upsert=True, session=session
        )

    # -- fork

    def before_fork(self) -> None:
        """Nothing: what a thread is in the middle of stays in the parent."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Leave the client to the parent; closing it here would wait for its threads."""
        self._lock = Lock()
        if self._client is not None:
            _left.append(self._client)
            self._client = self._database = None


_left: Final[list[Any]] = []
"""Clients of the parent; kept, since collecting one would close it."""


class MetAnotherError(Exception):
    """Somebody wrote what this write is about; it has to begin anew."""


def _durable(concern: WriteConcern) -> WriteConcern:
    """Return *concern* with the journal added, and the majority unless it says how many."""
    given = concern.document
    if not concern.acknowledged:
        return concern
    return pymongo.WriteConcern(**{"w": "majority", "j": True, **given})


def _met_another(error: Exception) -> bool:
    if isinstance(error, (errors.DuplicateKeyError, MetAnotherError)):
        return True
    # Only transactions are told of conflicts: any other write waits for them on the server.
    return isinstance(error, errors.OperationFailure) and (
        error.code == _WRITE_CONFLICT or error.has_error_label("TransientTransactionError")
    )


def _has_transactions(database: Database[Document]) -> bool:
    """Whether the deployment has transactions that may write all collections."""
    hello = database.client.admin.command("hello")
    is_set = "setName" in hello or hello.get("msg") == "isdbgrid"
    if not is_set or hello.get("logicalSessionTimeoutMinutes") is None:
        return False
    # "You cannot write to capped collections" in transactions -- MongoDB manual.
    return not database["occurrences"].options().get("capped", False)


def is_duplicate(error: errors.BulkWriteError) -> bool:
    """Return whether all that went wrong in a bulk write is keys that are there already."""
    details: Any = error.details or {}
    found = details.get("writeErrors", [])
    if details.get("writeConcernErrors"):
        return False
    return bool(found) and all(one["code"] == 11000 for one in found)
