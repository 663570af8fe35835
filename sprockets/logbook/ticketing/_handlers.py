"""Handlers that count records as tickets: encoded in the call, stored behind its back."""

from __future__ import annotations

import json
import time
from _thread import get_ident
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from sprockets.logbook import _caller, _failures, _fork
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.delivery import PartlyDelivered, Retry, Spool
from sprockets.logbook.delivery._ledger import Policy
from sprockets.logbook.handlers._base import BatchReason, Filter
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing._aftermath import Aftermath, SupportsOutcomes
from sprockets.logbook.ticketing._alerts import CHANNEL
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._entry import Entry
from sprockets.logbook.ticketing._fingerprint import Fingerprinter, Rule
from sprockets.logbook.ticketing._hash import TicketingBaseHandler
from sprockets.logbook.ticketing._making import leading_json, make_entry, record_json
from sprockets.logbook.ticketing._model import Retention
from sprockets.logbook.ticketing._resting import Gate, let_go, time_to_rest
from sprockets.logbook.ticketing._sqlalchemy import SQLAlchemyBackend
from sprockets.logbook.ticketing._stored import facts_of
from sprockets.logbook.ticketing._verdicts import verdict_on

if TYPE_CHECKING:
    from sprockets.logbook.ticketing._trackers import Filing, Tracker

_caller.register(__file__)

Grouping = Literal["hash", "fingerprint"]

_PATIENCE: Final = 5.0
"""Seconds that asking for the store waits for what is on its way there."""
_OURS: Final = "sprockets.logbook.ticketing."


class TicketingHandler(TicketingBaseHandler, RemoteHandler):
    """Counts records as tickets in a store: what happened, how often, since when.

    A record becomes an occurrence of the ticket of its call, or, with ``grouping="fingerprint"``,
    of its bug.  That goes on behind the caller's back: see `RemoteHandler`.  While the store is
    away, locked, or slow, records wait, and with a *spool* outlive the process; what the store
    never takes becomes a dead letter.  An occurrence has a name, so that one that is tried again
    is counted once.

    The records that come with one, as from a `sprockets.logbook.FingersCrossedHandler`, are kept
    with it.  The custom fields ``request_id`` and ``task_uuid`` can be looked for.

    A subclass may override :meth:`process_record` and :meth:`record_ticket`.

    Args:
        uri: Of the store, for its class.
        app_id: Names the application.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        hash_salt: ``None`` means a salt made of *app_id*.
        backend: Class of the store; ``None`` means :attr:`default_backend`.
        grouping: ``"hash"``: level, channel, file and line make a ticket, as in Logbook.
            ``"fingerprint"``: the bug does; see `Fingerprinter`.
        rules: For fingerprints: what belongs together whatever it looks like.
        in_app: For fingerprints: what is own code, though it does not look like that.
        release: Version of the program.
        environment: Where it runs, as in ``"production"``.
        retention: How much the store keeps; about once an hour one process removes the rest.
        alerts: Told what became of each batch; see `Alert`.
        trackers: Where tickets are filed as issues: trackers, or tables with their ``kind`` and
            what that takes, which are let go of by :meth:`close`; or a ``Filing``, for those who
            want to say how, and close it.
        immediate: Store in the logging thread, without the engine; what goes wrong is treated like
            any handler's error.
        capacity: Records in memory at most, beside the batch under way.
        max_bytes: Bytes of encoded records in memory at most.
        policy: What to do beyond these, see `sprockets.logbook.delivery.Delivery`; ``None`` means
            ``"spill"`` with a spool, and else ``"drop_oldest"``, which is counted and reported.
        block_timeout: Seconds that a log call waits at most, with ``"block"``.
        batch_size: Records stored in one transaction at most.
        batch_wait: Seconds to wait for a batch to fill.
        retry: When to try again; ``None`` means every few seconds.
        spool: Where to keep what cannot be stored; closed with the handler.
        drain_timeout: Seconds that :meth:`close` and the end of the program wait.
        clock: Returns seconds since the beginning of 1970; for *retention*.
        **db_options: Further options of the store.

    Raises:
        Exception: Whatever the store raises that cannot be opened.
    """

    default_backend: ClassVar[type[BackendBase]] = SQLAlchemyBackend
    """Class of the stores that are made unless *backend* says another."""

    app_id: str

    def __init__(
        self,
        uri: Any,
        app_id: str = "generic",
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        hash_salt: str | bytes | None = None,
        backend: type[BackendBase] | None = None,
        *,
        grouping: Grouping = "hash",
        rules: Iterable[Rule | Mapping[str, str] | Callable[[LogRecord], str | None]] = (),
        in_app: Iterable[str] = (),
        release: str | None = None,
        environment: str | None = None,
        retention: Retention | None = None,
        alerts: Iterable[SupportsOutcomes] = (),
        trackers: Iterable[Tracker | Mapping[str, Any] | SupportsOutcomes] = (),
        immediate: bool = False,
        capacity: int = 10_000,
        max_bytes: int = 32 << 20,
        policy: Policy | None = None,
        block_timeout: float = 0.005,
        batch_size: int = 500,
        batch_wait: float = 0.0,
        retry: Retry | None = None,
        spool: Spool | None = None,
        drain_timeout: float = 5.0,
        clock: Callable[[], float] = time.time,
        **db_options: Any,
    ) -> None:
        if grouping not in ("hash", "fingerprint"):
            raise ValueError(f"grouping must be 'hash' or 'fingerprint', got {grouping!r}")
        self.app_id: str = app_id
        self.hash_salt: str | bytes | None = f"apphash-{app_id}" if hash_salt is None else hash_salt
        self.release: str | None = release
        self.environment: str | None = environment
        fingerprinter = Fingerprinter(rules, in_app=in_app)
        self._fingerprinter = fingerprinter if grouping == "fingerprint" else None
        self._aftermath = Aftermath(
            type(self).__name__,
            [
                *(("alerts", observer) for observer in alerts),
                *(("trackers", observer) for observer in self._filings_of(trackers)),
            ],
            retention,
            clock,
        )
        self._begin_anew()
        self._is_spooling = spool is not None
        retry = retry or Retry(initial=0.2, maximum=15.0)
        if retry.classify is Retry.classify:
            retry = replace(retry, classify=verdict_on)
        self.set_backend(backend or self.default_backend, uri=uri, **db_options)
        try:
            RemoteHandler.__init__(
                self,
                level,
                filter,
                bubble,
                capacity=capacity,
                max_bytes=max_bytes,
                policy=policy or ("drop_oldest" if spool is None else "spill"),
                block_timeout=block_timeout,
                batch_size=batch_size,
                batch_wait=batch_wait,
                retry=retry,
                spool=spool,
                drain_timeout=drain_timeout,
                immediate=immediate,
            )
        except BaseException:
            self._db.close()
            raise
        _fork.hold_at_fork(self)
        self.ready(TicketingHandler)

    def _filings_of(self, trackers: Iterable[Any]) -> list[SupportsOutcomes]:
        """Return what tells *trackers* of tickets, where they do not see to that themselves."""
        given = list(trackers)
        plain = [tracker for tracker in given if not hasattr(tracker, "observe")]
        self._filing: Filing | None = None
        if plain:
            from sprockets.logbook.ticketing._trackers import Filing

            self._filing = Filing.of(plain)
        filings = [tracker for tracker in given if hasattr(tracker, "observe")]
        return filings if self._filing is None else [*filings, self._filing]

    def _begin_anew(self) -> None:
        self._gate = Gate()
        # Threads that are storing, which only an immediate handler has to know.
        self._storing: set[int] = set()
        self._entry: dict[int, Entry] = {}

    # -- the store

    def set_backend(self, cls: type[BackendBase], **options: Any) -> None:
        """Make a store and use it from now on; one that was in use before is closed.

        Args:
            cls: Class of the store.
            **options: For it.
        """
        made = cls(**options)
        if "_delivery" in self.__dict__:
            self.flush(_PATIENCE)
        before = self.__dict__.get("_db")
        self._db: BackendBase = made
        if before is not None:
            before.close()

    @property
    def db(self) -> BackendBase:
        """The store, once what was logged so far is stored, for which this waits 5 s at most.

        It may be used after the handler is closed.
        """
        if not self.immediate:
            self.flush(_PATIENCE)
        return self._db

    # -- in the caller's thread

    def process_record(self, record: LogRecord, hash: str) -> dict[str, Any]:
        """Return what is stored of *record*, ready for JSON; a subclass may change it.

        Called in the thread that logs.

        Args:
            record: The record.
            hash: Its hash.
        """
        data: dict[str, Any] = json.loads(record_json(record))
        return data

    def encode(self, record: LogRecord) -> Entry | bytes:
        """Return what is delivered of *record*."""
        return self._item_of(self._make(record, None))

    def emit(self, record: LogRecord) -> None:
        """Have *record* counted, if its level is high enough.

        A `FingersCrossedHandler` passes on whatever comes after its trigger.
        """
        if record.level >= self.level:
            self._take(record, None)

    def emit_batch(self, records: Iterable[LogRecord], reason: BatchReason) -> None:
        """Have *records* counted: the significant one, with the others as what led up to it.

        Records that were merely collected are counted each.
        """
        if reason not in ("escalation", "group"):
            for record in records:
                self._take(record, None)
            return
        batch = list(records)
        if batch:
            record = batch.pop(self._significant(batch) if reason == "escalation" else 0)
            self._take(record, batch)

    def _significant(self, batch: list[LogRecord]) -> int:
        """Return which is the last that the level admits; the last of all if it admits none."""
        for index in range(len(batch) - 1, -1, -1):
            if batch[index].level >= self.level:
                return index
        return len(batch) - 1

    def _take(self, record: LogRecord, batch: list[LogRecord] | None) -> None:
        if record.channel == CHANNEL or (self.immediate and get_ident() in self._storing):
            # An alert, by whatever way, or what the store logs itself: that would never end.
            self._aftermath.count_failure("recursion")
            return
        for one in (*(batch or ()), record):
            try:
                one.pull_information()
            except TypeError:  # a message that cannot be formatted is stored raw, with a note
                if _failures.should_raise():
                    raise
        entry = self._make(record, leading_json(batch) if batch else None)
        if self.immediate:
            self._store([entry], [record])
        else:
            self.delivery.put(self._item_of(entry))

    def _make(self, record: LogRecord, leading: str | None) -> Entry:
        hash = self.hash_record(record)
        if _is_overridden(self, "process_record"):
            data = _dumps(self.process_record(record, hash))
        else:
            data = record_json(record)
        return make_entry(
            record,
            data,
            hash,
            app_id=self.app_id,
            release=self.release,
            environment=self.environment,
            leading=leading,
            place=None if self._fingerprinter is None else self._fingerprinter.place_of(record),
        )

    def _item_of(self, entry: Entry) -> Entry | bytes:
        return entry.to_bytes() if self._is_spooling else entry

    def size_of(self, item: Entry | bytes) -> int:
        """Return about how many bytes *item* takes in memory."""
        if isinstance(item, bytes):
            return len(item)
        return 500 + len(item.data) + len(item.leading or "")

    # -- in the thread that delivers

    def deliver(self, items: list[Any]) -> None:
        """Store *items* in one transaction.

        Raises:
            Exception: Whatever the store raises.
        """
        self._store([item if isinstance(item, Entry) else Entry.from_bytes(item) for item in items])

    def record_ticket(self, record: LogRecord, data: dict[str, Any], hash: str) -> None:
        """Count *record*; a subclass may do something else instead, or besides.

        One that is overridden is called for each record, in the engine's thread, unless the
        handler is immediate: *record* is then made from *data* again.

        Args:
            record: The record.
            data: What :meth:`process_record` returned.
            hash: Its hash.
        """
        if _counts_by_itself(self._db):
            self._db.record_ticket(record, data, hash, self.app_id)
            return
        entry = self._entry.get(get_ident())
        if entry is None:
            entry = make_entry(
                record,
                _dumps(data),
                hash,
                app_id=self.app_id,
                release=self.release,
                environment=self.environment,
            )
        else:
            entry = replace(entry, data=_dumps(data), hash=hash)
        self._aftermath.tell(self._db, self._db.record_entries([entry]))

    def _store(self, entries: list[Entry], records: Sequence[LogRecord] = ()) -> None:
        ident = get_ident()
        self._storing.add(ident)
        try:
            with self._gate.passed():
                self._store_now(entries, records)
        finally:
            self._storing.discard(ident)

    def _store_now(self, entries: list[Entry], records: Sequence[LogRecord]) -> None:
        if self._fingerprinter is not None:
            make = self._fingerprinter.of_json
            entries = [replace(entry, fingerprint=make(entry.data)) for entry in entries]
        if _is_overridden(self, "record_ticket") or _counts_by_itself(self._db):
            self._store_each(entries, records)
        else:
            self._aftermath.tell(self._db, self._db.record_entries(entries))
        self._aftermath.tidy(self._db)

    def _store_each(self, entries: list[Entry], records: Sequence[LogRecord]) -> None:
        ident = get_ident()
        for index, entry in enumerate(entries):
            data = json.loads(entry.data)
            record = records[index] if records else _rebuilt(data)
            self._entry[ident] = entry
            try:
                self.record_ticket(record, data, entry.hash)
            except Exception as error:
                if index:
                    raise PartlyDelivered(index) from error
                raise
            finally:
                self._entry.pop(ident, None)

    def close(self, timeout: float | None = None) -> bool:  # type: ignore[override]  # says more
        """Store what is left as far as there is time, then let go; closing twice is closing once.

        Args:
            timeout: Seconds to wait at most; ``None`` means *drain_timeout*.

        Returns:
            Whether everything was stored, dead or spooled in time, and trackers were told.
        """
        is_done = super().close(timeout)
        filing: Filing | None = self.__dict__.get("_filing")
        if filing is not None:
            # It may have had to ask the store, which is connected again then.
            is_done = bool(filing.close(timeout)) and is_done
            self.disconnect()
        return is_done

    def disconnect(self) -> None:
        """Let go of the connections that the store has made itself."""
        db = self.__dict__.get("_db")
        if db is not None:
            db.close()

    # -- what users look at

    def statistics(self) -> dict[str, Any]:
        """Return what became of the records.

        Beside what `sprockets.logbook.delivery.Delivery.statistics` says: ``events`` counts
        outcomes by what they were for their tickets; ``failures`` what went wrong in ``alerts``,
        ``trackers`` and ``retention``, and alerts that came back, and what the store itself logged
        (``recursion``); ``removed`` occurrences and tickets that were not to be kept.
        """
        return {**super().statistics(), **self._aftermath.statistics()}

    # -- fork

    def before_fork(self) -> None:
        """Wait until nothing is half stored."""
        if self._gate.shut(time_to_rest(self._db)):
            let_go(self._db)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._gate.open()

    def after_fork_in_child(self) -> None:
        """Forget the threads of the parent; the child has an engine of its own."""
        self._begin_anew()


def _is_overridden(handler: TicketingHandler, name: str) -> bool:
    ours = TicketingHandler.__dict__[name]
    return getattr(type(handler), name) is not ours or name in handler.__dict__


def _counts_by_itself(db: BackendBase) -> bool:
    """Whether *db* has a ``record_ticket`` of somebody's own, newer than ``record_entries``."""
    for cls in type(db).__mro__:
        if "record_entries" in cls.__dict__:
            return cls is BackendBase
        if "record_ticket" in cls.__dict__:
            return not cls.__module__.startswith(_OURS)
    return False


def _rebuilt(data: Mapping[str, Any]) -> LogRecord:
    record = LogRecord.from_dict(facts_of(dict(data)))
    record.heavy_initialized = True
    return record


def _dumps(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))
