"""Redis streams: records that are kept until somebody has dealt with them."""

from __future__ import annotations

import os
import platform
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event, Lock, RLock
from time import monotonic
from typing import Any, Final, TypeVar

from sprockets.logbook import _caller, _fork
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.delivery import PermanentError
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.queues._arrivals import Arrivals
from sprockets.logbook.queues._batches import decode
from sprockets.logbook.queues._ordinary import encode_whole
from sprockets.logbook.queues._redis_client import RedisConnection
from sprockets.logbook.queues._redis_group import Consumer, Entry, Start
from sprockets.logbook.queues._subscriber import (
    ClosedError,
    SubscriberBase,
    Timeout,
    checked_timeout,
    report_here,
)
from sprockets.logbook.queues._wire import (
    MalformedRecordError,
    RecordIds,
)
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

T = TypeVar("T")

_URL: Final = "redis://127.0.0.1:6379/0"
_FIELD: Final = b"record"
_ENTRY: Final = "_redis_entry"
_SLICE: Final = 0.25
"""Seconds that a wait takes at most before it is looked whether to go on."""
_ACKNOWLEDGE_INTERVAL: Final = 0.1
"""Seconds that an acknowledgement waits for others at most, while there is more to dispatch."""
_REMEMBERED: Final = 20_000
"""Records whose copies are known as such."""
_REPORT_INTERVAL: Final = 60.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0


class RedisStreamHandler(RemoteHandler):
    """Adds records to a Redis stream, where they stay for a `RedisStreamSubscriber`.

    That goes on behind the caller's back, in batches: see `RemoteHandler`.  While the server is
    away, records wait; with a spool, on disk and beyond the end of the process.  A batch is added
    as a whole or not at all.  One whose answer was lost is added again; its records are named, so
    that a subscriber can tell.

    An entry has one field, ``record``: the JSON that all our queues carry.

    Args:
        url: Of the server, with user, password and database: ``rediss://`` for TLS, ``unix://`` for
            a socket.  The server is not asked before there is a record.
        stream: Where to.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        max_length: Entries of the stream beyond which the server forgets the oldest, read or not;
            it keeps some more, for that is cheaper.  ``None`` is no limit.
        timeout: Seconds for connecting, and for an answer.
        connection: Further options of ``redis.Redis``, such as ``ssl_ca_certs``.
        **options: Of `RemoteHandler`.

    Raises:
        MissingDependency: redis-py is not installed.
        ValueError: An argument is out of its range, or *url* is none of Redis.
    """

    pulls_information = False

    def __init__(
        self,
        url: str = _URL,
        stream: str = "logging",
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        max_length: int | None = 1_000_000,
        timeout: float = 5.0,
        connection: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length is a number of entries from 1 on, got {max_length!r}")
        self._connection = RedisConnection(type(self).__name__, url, timeout, connection or {})
        self.stream = stream
        self.max_length = max_length
        self._ids = RecordIds()
        super().__init__(level, filter, bubble, **options)
        self.ready(RedisStreamHandler)

    def encode(self, record: LogRecord) -> bytes:
        """Return *record* as JSON, with a name of its own unless it has one."""
        return encode_whole(record, self._ids.next())

    def deliver(self, items: list[bytes]) -> None:
        """Add *items* to the stream, all or none."""
        limit = () if self.max_length is None else ("MAXLEN", "~", self.max_length)
        try:
            # A transaction of one would be three commands for nothing.
            pipeline = self._connection.client.pipeline(transaction=len(items) > 1)
            for item in items:
                pipeline.execute_command("XADD", self.stream, *limit, "*", _FIELD, item)
            pipeline.execute()
        except self._connection.errors as error:
            raise self._connection.translated(error) from error

    def disconnect(self) -> None:
        """Let go of the connections."""
        self._connection.close()


class RedisStreamSubscriber(SubscriberBase):
    """Receives the records of a Redis stream, as one consumer of a group.

    Each record goes to one consumer of each group, and is acknowledged once it has been dispatched.
    What a consumer that died has not acknowledged goes to another, so that a record may come twice,
    but none is lost.  What was put into the stream twice is left out, and counted as a duplicate,
    if both go to the same consumer with fewer than 20,000 others between them.

    No record, and what was tried *max_deliveries* times and never acknowledged, because its handler
    raised or the process died of it, is moved to a stream of dead letters, with ``dead_reason``.

    While the server is away :meth:`recv` waits for it, and reports it once a minute; an answer that
    does not come may take *timeout* seconds longer than was asked for.  ``gaps`` are of use where
    a group has one consumer: what the others get is missing here.

    Not to be used in a forked child, which makes its own.

    Args:
        url: Of the server, with user, password and database: ``rediss://`` for TLS, ``unix://`` for
            a socket.
        stream: What is read.
        group: Made at the first :meth:`recv`, unless it is there.
        consumer: Names this one within the group, and is best the same after a restart; by default
            made of host and process.
        start: Where a new group begins: with the ``"first"`` entry of the stream, or with those
            that are ``"new"``.
        claim_after: Seconds after which what was not acknowledged is tried again, by any consumer.
            Longer than a handler may take.
        max_deliveries: Times that a record is tried, at least 2.
        dead_stream: Where dead letters go; by default the name of the stream and ``:dead``.  The
            last 100,000 are kept.
        batch_size: Records fetched at once at most.
        timeout: Seconds for connecting, and for an answer.
        connection: Further options of ``redis.Redis``, such as ``ssl_ca_certs``.

    Raises:
        MissingDependency: redis-py is not installed.
        ValueError: An argument is out of its range, or *url* is none of Redis.
    """

    def __init__(
        self,
        url: str = _URL,
        stream: str = "logging",
        group: str = "sprockets",
        consumer: str | None = None,
        *,
        start: Start = "first",
        claim_after: float = 60.0,
        max_deliveries: int = 5,
        dead_stream: str | None = None,
        batch_size: int = 100,
        timeout: float = 5.0,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        if start not in ("first", "new"):
            raise ValueError(f"start must be 'first' or 'new', got {start!r}")
        if not claim_after > 0:
            raise ValueError(f"claim_after is seconds above 0, got {claim_after!r}")
        if max_deliveries < 2:
            raise ValueError(f"max_deliveries must be at least 2, got {max_deliveries!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size!r}")
        self._connection = RedisConnection(type(self).__name__, url, timeout, connection or {})
        self._wait = min(_SLICE, timeout / 2)
        self._consumer = Consumer(
            self._connection,
            stream,
            group,
            consumer or f"{platform.node()}-{os.getpid()}",
            start,
            claim_after,
            batch_size,
        )
        self._claim_after = claim_after
        self._max_deliveries = max_deliveries
        self._dead_stream = f"{stream}:dead" if dead_stream is None else dead_stream
        self._batch_size = batch_size
        self._arrivals = Arrivals()
        self._pid = _fork.process_id()
        self._buffer: deque[Entry] = deque()
        # Entries that recv has returned and nobody has acknowledged yet.
        self._held: set[bytes] = set()
        self._came: OrderedDict[str, None] = OrderedDict()
        self._acknowledged: list[bytes] = []
        self._settled_at = self._cleaned_at = self._retry_at = float("-inf")
        self._told_at = float("-inf")
        self._is_joined = False
        self._failures = self._outages = self._claimed = self._dead = self._duplicates = 0
        self._closing = Event()
        self._receiving = RLock()
        self._settling = Lock()

    # -- receiving

    def recv(self, timeout: Timeout = None) -> LogRecord | None:
        """Return the next record; None if there is none in time.

        It has to be passed to :meth:`acknowledge` then, or it comes again; :meth:`dispatch_once`
        does both.

        Args:
            timeout: Seconds to wait at most; None means for ever, 0 not at all.

        Raises:
            ValueError: *timeout* is negative.
            ClosedError: The subscriber is closed, or was made by the process that forked this one.
        """
        checked_timeout(timeout)
        deadline = None if timeout is None else monotonic() + timeout
        is_first = True
        while True:
            with self._receiving:
                self._check_open()
                record = self._guarded(self._next)
                if record is not None:
                    self._received += 1
                    return record
                remaining = self._wait if deadline is None else deadline - monotonic()
                if remaining <= 0 and not is_first:
                    return None
                is_first = False
                pause = min(self._retry_at - monotonic(), remaining)
                if self._retry_at <= monotonic():
                    wait = max(0.0, min(remaining, self._wait))
                    self._guarded(partial(self._fetch, wait))
            if pause > 0:
                self._closing.wait(pause)

    def _check_open(self) -> None:
        if self._pid != _fork.process_id():
            raise ClosedError("a subscriber does not survive a fork: make one in the child")
        if self._closing.is_set():
            raise ClosedError("the subscriber is closed")

    def _guarded(self, action: Callable[[], T]) -> T | None:
        """Return what *action* returns; if the server fails, None, and wait before the next try."""
        try:
            return action()
        except self._connection.errors as error:
            self._check_open()
            self._is_joined = False
            self._failures += 1
            self._outages += self._failures == 1
            now = monotonic()
            self._retry_at = now + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures, 16))
            if "NOGROUP" not in str(error) and now - self._told_at >= _REPORT_INTERVAL:
                self._told_at = now
                report_here(None)
            return None

    def _fetch(self, wait: float) -> None:
        """Fill the buffer."""
        self._settle()
        if not self._is_joined:
            self._consumer.join()
            known = {*self._held, *(entry.id for entry in self._buffer)}
            own = [id_ for id_ in self._consumer.own() if id_ not in known]
            self._consumer.keep(own)
            # Before what is new, for it is older.
            self._buffer.extendleft(reversed(self._consumer.fetch(own)))
            self._is_joined = True
            self._cleaned_at = monotonic()
        self._clean_if_due()
        if not self._buffer:
            self._buffer.extend(self._consumer.read(wait))
        self._failures = 0

    def _clean_if_due(self) -> None:
        """Say what is still being dealt with here, and take over what nobody deals with."""
        now = monotonic()
        if now - self._cleaned_at < self._claim_after / 2:
            return
        self._settle()
        own = set(self._consumer.own())
        # What somebody else has taken over is theirs.
        self._buffer = deque(entry for entry in self._buffer if entry.id in own)
        # What others have and not acknowledged may come back.
        self._held -= self._consumer.forgotten(self._held - own)
        self._consumer.keep([entry.id for entry in self._buffer])
        claimed = self._consumer.fetch(self._consumer.claim())
        self._claimed += len(claimed)
        self._buffer.extend(claimed)
        self._cleaned_at = now

    def _next(self) -> LogRecord | None:
        """Return the next record of the buffer."""
        if self._buffer:
            self._clean_if_due()
        while self._buffer:
            entry = self._buffer[0]
            if self._is_to_be_tried(entry):
                record = self._record_of(entry)
                self._buffer.popleft()
                if record is not None:
                    return record
            else:
                self._buffer.popleft()
        self._settle()
        return None

    def _is_to_be_tried(self, entry: Entry) -> bool:
        if not entry.is_again:
            return True
        # If this one kills the process, what was dealt with before is not to come again.
        self._settle()
        if entry.deliveries < self._max_deliveries:
            return self._consumer.count_delivery(entry.id)
        try:
            raise PermanentError(
                f"tried {entry.deliveries} times and never acknowledged: {entry.id.decode()}"
            )
        except PermanentError as error:
            self._bury(entry, error)
            report_here(None)
            if self.dead_letter is not None:
                try:
                    self.dead_letter(entry.fields.get(_FIELD), error)
                except Exception:  # noqa: BLE001 - reported like any failure
                    report_here(None)
        return False

    def _record_of(self, entry: Entry) -> LogRecord | None:
        data = entry.fields.get(_FIELD)
        try:
            if data is None:
                raise MalformedRecordError("an entry without the field 'record'")
            record = decode(data)
        except MalformedRecordError as error:
            self._bury(entry, error)
            self._count_malformed(data, error)
            return None
        record_id = record.__dict__.get("record_id")
        if entry.id not in self._held and self._came_before(record_id):
            self._acknowledged.append(entry.id)
            self._duplicates += 1
            return None
        self._held.add(entry.id)
        record.__dict__[_ENTRY] = entry.id
        return record

    def _came_before(self, record_id: object) -> bool:
        """Return whether *record_id* is known here, and know it from now on."""
        if not isinstance(record_id, str):
            return False
        # Not for Arrivals to say: it takes an old number for a copy, and what a consumer takes over
        # from another, or a sender's other thread was slow to send, is old and has never come.
        if record_id in self._came:
            return True
        self._came[record_id] = None
        if len(self._came) > _REMEMBERED:
            self._came.popitem(last=False)
        assert self._arrivals is not None
        self._arrivals.admit(record_id)
        return False

    def _bury(self, entry: Entry, error: Exception) -> None:
        self._consumer.bury(entry, self._dead_stream, str(error))
        self._held.discard(entry.id)
        self._dead += 1

    # -- acknowledging

    def acknowledge(self, record: LogRecord) -> None:
        """Tell the server that *record* has been dealt with; it then forgets to whom it gave it.

        While more is waiting here, that is told for some records together.  May be called from any
        thread.
        """
        entry_id = record.__dict__.pop(_ENTRY, None)
        if entry_id is None or self._pid != _fork.process_id():
            return
        self._held.discard(entry_id)
        self._acknowledged.append(entry_id)
        if (
            not self._buffer
            or len(self._acknowledged) >= self._batch_size
            or monotonic() - self._settled_at >= _ACKNOWLEDGE_INTERVAL
        ):
            self._guarded(self._settle)
        if self._closing.is_set():
            self._connection.close()

    def _settle(self) -> None:
        """Tell the server what has been dealt with."""
        if not self._acknowledged:
            return
        with self._settling:
            ids = self._acknowledged[:]
            self._consumer.acknowledge(ids)
            del self._acknowledged[: len(ids)]
            self._settled_at = monotonic()

    # -- the end

    @property
    def is_ended(self) -> bool:
        """Whether the subscriber is closed."""
        return self._closing.is_set()

    def close(self) -> None:
        """Tell the server what has been dealt with, and give the rest to others; twice is once.

        What was returned and not acknowledged goes to them after *claim_after* seconds, what was
        only fetched at once.
        """
        if self._pid != _fork.process_id() or self._closing.is_set():
            return
        self._closing.set()
        if self._receiving.acquire(timeout=4 * _SLICE):
            try:
                self._settle()
                if self._is_joined:
                    self._consumer.leave([entry.id for entry in self._buffer])
            except self._connection.errors:
                # The server is away: it gives what is left to others after some time.
                self._outages += 1
            finally:
                self._buffer.clear()
                self._receiving.release()
        self._connection.close()

    def __del__(self) -> None:
        # Anything may be interrupted by this, so it waits for nothing, and tells nobody.
        if "_settling" in self.__dict__ and self._pid == _fork.process_id():
            self._closing.set()
            try:
                self._connection.close()
            except Exception:  # noqa: BLE001 - the interpreter may be half gone
                return

    def statistics(self) -> dict[str, int]:
        """Return what came from this source.

        Besides what every subscriber counts:

        ``claimed``
            Records that had not been acknowledged in time, and were taken over or tried again.
        ``dead``
            Entries that were moved to the stream of dead letters.
        ``trimmed``
            Entries that the server forgot, for want of room, before they were acknowledged.
        ``outages``
            Times that the server went away.
        """
        return {
            **super().statistics(),
            "duplicates": self._duplicates,
            "claimed": self._claimed,
            "dead": self._dead,
            "trimmed": self._consumer.trimmed,
            "outages": self._outages,
        }
