"""Alerts: who is told when a ticket is new, is back, or wakes up."""

from __future__ import annotations

import json
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import RLock
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

from sprockets.logbook import _caller, _clock, _fork
from sprockets.logbook._levels import Level, lookup_level
from sprockets.logbook.handlers._base import Handler
from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._chores import may_do
from sprockets.logbook.ticketing._entry import Entry, Outcome
from sprockets.logbook.ticketing._matching import check_query, matches
from sprockets.logbook.ticketing._query_language import parse_query
from sprockets.logbook.ticketing._search import EVERYTHING, Query
from sprockets.logbook.ticketing._stored import facts_of

_caller.register(__file__)

CHANNEL: Final = "sprockets.tickets"
"""Channel of the records that alerts are; a `TicketingHandler` takes none of them."""

Target: TypeAlias = Handler | Callable[[LogRecord], object]
S = TypeVar("S")

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something to be told.

    Args:
        outcome: Of which occurrence.
        text: A line that says what is the matter.
        key: Of what it is told; the ticket unless given.
        facts: Further fields of the record.
    """

    outcome: Outcome
    text: str
    key: Hashable = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Memory(Generic[S]):
    """What is known of each of the tickets that occurred last.

    Args:
        limit: Tickets that are known at most.
        make: Makes what is known of a ticket first.
    """

    def __init__(self, limit: int, make: Callable[[], S]) -> None:
        self._limit = limit
        self._make = make
        self._known: OrderedDict[Hashable, S] = OrderedDict()
        self.forgotten: int = 0
        """Tickets that were known and are no longer."""

    def __len__(self) -> int:
        return len(self._known)

    def __getitem__(self, key: Hashable) -> S:
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._make()
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
                self.forgotten += 1
        else:
            self._known.move_to_end(key)
        return found


class _Told:
    """When somebody was told of a ticket last, and how often nobody was since."""

    __slots__ = ("at", "held_back")

    def __init__(self) -> None:
        self.at: float | None = None
        self.held_back = 0


class Alert:
    """Tells somebody of tickets; a base for those that say when.

    An alert is a record with the level, the place and the traceback of the occurrence, and with
    facts of the ticket as custom fields: ``alert``, ``ticket_id``, ``count``, ``title``,
    ``ticket_channel``, ``app_id``, ``location``, ``release``, ``environment``, ``request_id``,
    ``task_uuid``, ``url``, and ``held_back``, how many alerts there were since the last that nobody
    was told of.

    Given to a `TicketingHandler`, it is called in the thread that stores.  What it knows is
    bounded, and is lost with the process.

    Args:
        to: A handler, whatever its level and filter, or a callable that takes a record.
        query: Of which tickets; as `parse_query` reads it, without what is only known of tickets.
        quiet: Seconds after an alert in which there is no other of the same ticket.
        max_per_hour: Alerts in an hour at most, of all tickets; ``None`` is no limit.
        level: Of the records; ``None`` means that of the occurrence.
        base_url: Of the web frontend.
        max_tickets: Tickets that are known at most.
        clock: Returns seconds since the beginning of 1970.

    Raises:
        ValueError: *query* cannot be understood, or cannot be asked of an occurrence.
    """

    kind: ClassVar[str] = "alert"
    """What alerts of this class say in ``alert``."""

    def __init__(
        self,
        to: Target,
        query: Query | str = EVERYTHING,
        *,
        quiet: float = 3600.0,
        max_per_hour: int | None = 100,
        level: Level | None = None,
        base_url: str | None = None,
        max_tickets: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.to = to
        self.query: Query = check_query(parse_query(query) if isinstance(query, str) else query)
        self.quiet = quiet
        self.max_per_hour = max_per_hour
        self.level: int | None = None if level is None else lookup_level(level)
        self.base_url = base_url
        self.clock = clock
        self._told: Memory[_Told] = Memory(max_tickets, _Told)
        self._recent: deque[float] = deque()
        self._count = 0
        self._failed = 0
        self._held_back: Counter[str] = Counter()
        self._lock = RLock()
        _fork.hold_at_fork(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self.to!r}>"

    # -- what subclasses write

    def find(self, db: BackendBase, outcomes: Sequence[Outcome]) -> Iterable[Alarm]:
        """Return what there is to tell; called with what meets the query."""
        raise NotImplementedError(f"{type(self).__name__} does not say when somebody is told")

    # -- what handlers call

    def observe(self, db: BackendBase, outcomes: Sequence[Outcome]) -> None:
        """Tell of *outcomes* what there is to tell.

        Raises:
            Exception: Whatever a target raised first; the others are told nevertheless.
        """
        query = self.query
        outcomes = [
            outcome
            for outcome in outcomes
            if outcome.event != "duplicate" and (query is EVERYTHING or matches(query, outcome))
        ]
        if not outcomes:
            return
        failure: Exception | None = None
        for alarm in self.find(db, outcomes):
            with self._lock:
                held_back = self._admit(alarm)
            if held_back is None:
                continue
            try:
                self._deliver(self._record_of(alarm, held_back))
            except Exception as error:  # noqa: BLE001 - raised in the end
                failure = failure or error
                with self._lock:
                    self._failed += 1
        if failure is not None:
            raise failure

    def _admit(self, alarm: Alarm) -> int | None:
        """Return how many were held back before *alarm*; ``None`` if it is held back too."""
        now = self.clock()
        told = self._told[_key_of(alarm)]
        reason = None
        if told.at is not None and 0 <= now - told.at < self.quiet:
            reason = "quiet"
        elif self.max_per_hour is not None:
            while self._recent and not 0 <= now - self._recent[0] < _HOUR:
                self._recent.popleft()
            if len(self._recent) >= self.max_per_hour:
                reason = "limit"
        if reason is not None:
            told.held_back += 1
            self._held_back[reason] += 1
            return None
        told.at = now
        self._recent.append(now)
        self._count += 1
        held_back, told.held_back = told.held_back, 0
        return held_back

    def _is_ours(self, db: BackendBase, key: Hashable, seconds: float) -> bool:
        """Whether it is this process that tells, of all that found the same."""
        name = f"alert {self.kind} {key}"[:120]
        if may_do(db, name, self._now(), seconds):
            return True
        with self._lock:
            self._held_back["elsewhere"] += 1
        return False

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC).replace(tzinfo=None)

    # -- records

    def _deliver(self, record: LogRecord) -> None:
        if isinstance(self.to, Handler):
            self.to.handle(record)
        else:
            self.to(record)

    def _record_of(self, alarm: Alarm, held_back: int) -> LogRecord:
        outcome, entry = alarm.outcome, alarm.outcome.entry
        text = f"{alarm.text}: {entry.title}"
        if entry.channel:
            text += f" ({entry.channel}, {entry.location})"
        else:
            text += f" ({entry.location})"
        if held_back:
            text += f"; {held_back} alerts were held back"
        ticket_id = outcome.ticket_id
        if not isinstance(ticket_id, int):
            ticket_id = str(ticket_id)
        extra = {
            "alert": self.kind,
            "ticket_id": ticket_id,
            "count": outcome.count,
            "title": entry.title,
            "ticket_channel": entry.channel,
            "app_id": entry.app_id,
            "location": entry.location,
            "release": entry.release,
            "environment": entry.environment,
            "request_id": entry.request_id,
            "task_uuid": entry.task_uuid,
            "held_back": held_back,
            **alarm.facts,
        }
        if self.base_url:
            extra["url"] = f"{self.base_url.rstrip('/')}/tickets/{ticket_id}"
        filename, _, line = entry.location.rpartition(":")
        record = LogRecord.from_dict(
            {
                **_exception_of(entry),
                "channel": CHANNEL,
                "level": entry.level if self.level is None else self.level,
                "msg": text,
                "message": text,
                "extra": {name: value for name, value in extra.items() if value is not None},
                "time": _clock.iso8601(int(self.clock() * 1_000_000)),
                "module": entry.module,
                "filename": filename,
                "lineno": int(line) if line.isdigit() else None,
                "process": _fork.process_id(),
            }
        )
        record.heavy_initialized = True
        return record

    # -- what users look at

    def statistics(self) -> dict[str, Any]:
        """Return what there was to tell.

        ``told`` counts alerts, ``failed`` those of them whose target raised; ``held_back`` is a
        dict of counts by reason: ``"quiet"``, ``"limit"`` (of an hour), ``"elsewhere"`` (another
        process told).  ``known`` are the tickets in memory, ``forgotten`` those that had no room.
        """
        with self._lock:
            return {
                "told": self._count,
                "failed": self._failed,
                "held_back": dict(self._held_back),
                "known": len(self._told),
                "forgotten": self._told.forgotten,
            }

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for: what is known may be a moment old."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start with a fresh lock."""
        self._lock = RLock()


class _EventAlert(Alert):
    """Tells of one kind of outcome."""

    text: ClassVar[str]

    def find(self, db: BackendBase, outcomes: Sequence[Outcome]) -> Iterator[Alarm]:
        """Return the outcomes of that kind."""
        for outcome in outcomes:
            if outcome.event == self.kind:
                yield Alarm(outcome, self.text.format(outcome.ticket_id))


class NewAlert(_EventAlert):
    """Tells of a ticket's first occurrence; for arguments see `Alert`."""

    kind = "new"
    text = "new ticket {}"


class RegressedAlert(_EventAlert):
    """Tells of a ticket that occurs again after it was solved; for arguments see `Alert`."""

    kind = "regressed"
    text = "ticket {} was solved, and is back"


class WokenAlert(_EventAlert):
    """Tells of a ticket that was ignored long or often enough; for arguments see `Alert`."""

    kind = "woken"
    text = "ticket {} is no longer ignored"


def _key_of(alarm: Alarm) -> Hashable:
    if alarm.key is not None:
        return alarm.key
    ticket_id = alarm.outcome.ticket_id
    return ticket_id if isinstance(ticket_id, Hashable) else str(ticket_id)


def _exception_of(entry: Entry) -> dict[str, Any]:
    try:
        facts = facts_of(json.loads(entry.data))
    except (ValueError, RecursionError):
        return {}
    names = ("exception_name", "exception_message", "formatted_exception", "func_name")
    return {name: facts.get(name) for name in names}
