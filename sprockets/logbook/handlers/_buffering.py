"""Handlers that hold records back, and pass them on together."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable
from threading import RLock

from sprockets.logbook import _caller, _fork
from sprockets.logbook._failures import should_raise
from sprockets.logbook._levels import ERROR, NOTSET, Level, lookup_level
from sprockets.logbook._typing import Any, ClassVar, Final
from sprockets.logbook.handlers._base import BatchReason, Filter, Handler, WrapperHandler
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

MAX_RECORDS: Final = 1_000
"""Records that are held back at most, unless a handler is told otherwise."""

MAX_BYTES: Final = 8 * 1024 * 1024
"""Bytes of text in the records that are held back at most."""


def _keep(record: LogRecord) -> bool:
    """Keep what is lost later; return whether the message could be formatted.

    One that cannot be is no reason to lose the record.
    """
    try:
        record.remember()
    except Exception:  # the formatter of the wrapped handler will write it raw, with a note
        if should_raise():
            raise
        return False
    return True


def _length(text: object) -> int:
    return len(text) if isinstance(text, (str, bytes)) else 0


def _size(record: LogRecord, is_kept: bool) -> int:
    """Return about how much text *record* holds; what has not been worked out counts nothing.

    Args:
        record: The record.
        is_kept: Whether message and exception have been worked out.
    """
    msg = record.msg
    size = len(msg) if type(msg) is str else _length(msg)
    if is_kept:
        # Its __dict__ is left alone: asking for it has the interpreter make one.
        message = record.message
        size += len(message) if type(message) is str else _length(message)
        if record.exc_info is not None:
            size += _length(record.formatted_exception)
    return size


class FingersCrossedHandler(Handler, finaliser=False):
    """Holds records back until one is bad enough, then passes on that and all before it.

    Until a record of *action_level* comes, nothing is emitted.  Then the wrapped handler gets the
    whole buffer as one batch, the trigger last, and from there on every record as it comes; with
    *reset* it starts over after each batch instead.

    The buffer is bounded: it drops its oldest records, and :attr:`dropped` counts them.

    >>> from sprockets.logbook import Logger, TestHandler
    >>> log, delivered = Logger("shop"), TestHandler()
    >>> with FingersCrossedHandler(delivered):
    ...     log.debug("looking up the price")
    ...     len(delivered.records)
    ...     log.error("no price")
    ...     len(delivered.records)
    0
    2

    Args:
        handler: The wrapped handler, or a factory called at the first trigger with the triggering
            record and this handler.  Its own level, filter and bubble do not matter here.
        action_level: Least level that triggers, a number or a name.
        buffer_size: How many records are held back at most, the trigger included; 0 means
            :attr:`max_records`.
        pull_information: Work out place, thread and traceback text of a record while they are
        known.
        reset: Start over after each batch.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.

    Raises:
        ValueError: *buffer_size* is negative.
    """

    batch_emit_reason: ClassVar[BatchReason] = "escalation"
    max_records: ClassVar[int] = MAX_RECORDS
    """Bound of a buffer whose size was not given."""
    max_bytes: ClassVar[int] = MAX_BYTES
    """Bound of the text in a buffer, messages and tracebacks."""

    buffered_records: deque[LogRecord]
    buffer_size: int
    lock: Any
    dropped: int
    """Records that were pushed out of the buffer, ever."""

    def __init__(
        self,
        handler: Handler | Callable[[LogRecord, FingersCrossedHandler], Handler],
        action_level: Level = ERROR,
        buffer_size: int = 0,
        pull_information: bool = True,
        reset: bool = False,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        Handler.__init__(self, NOTSET, filter, bubble)
        if buffer_size < 0:
            raise ValueError(
                f"buffer_size must be 0 (at most {self.max_records}) or more, got {buffer_size}"
            )
        self.lock = RLock()
        self._handler: Handler | None = handler if isinstance(handler, Handler) else None
        self._factory = None if isinstance(handler, Handler) else handler
        self._action_level = lookup_level(action_level)
        self.buffer_size = buffer_size
        self.buffered_records = deque()
        self._bytes = 0
        self._pull_information = pull_information
        self._reset = reset
        self._triggered = False
        self.dropped = 0
        self._held_at_fork = False
        _fork.hold_at_fork(self)

    @property
    def triggered(self) -> bool:
        """Whether the trigger has come, so that records pass directly."""
        return self._triggered

    @property
    def wants_caller(self) -> bool:
        """Whether anybody may ask where the call was."""
        return True

    def emit(self, record: LogRecord) -> None:
        """Hold *record* back, or pass it on."""
        with self.lock:
            if self._triggered:
                assert self._handler is not None
                self._handler.emit(record)
            elif self.enqueue(record):
                self.rollover(record)

    def enqueue(self, record: LogRecord) -> bool:
        """Add *record* to the buffer, and return whether it triggers."""
        is_kept = False
        try:
            if self._pull_information:
                is_kept = _keep(record)
        finally:
            records = self.buffered_records
            records.append(record)
            grown = _size(record, is_kept)
            record._held_size = grown
            size = self._bytes + grown
            limit = self.buffer_size or self.max_records
            while len(records) > limit or (size > self.max_bytes and len(records) > 1):
                size -= records.popleft()._held_size
                self.__dict__["dropped"] += 1
            self.__dict__["_bytes"] = size  # assigning asks whether somebody watches
        return record.level >= self._action_level

    def rollover(self, record: LogRecord) -> None:
        """Pass the whole buffer on as one batch, *record* having triggered it."""
        with self.lock:
            if self._handler is None:
                assert self._factory is not None
                self._handler = self._factory(record, self)
            # Detached first: what the wrapped handler logs meanwhile is not part of this batch.
            # One by one, so that a signal handler that logs in the middle of this cannot make two
            # batches have the same record, nor none.
            batch = []
            with contextlib.suppress(IndexError):
                while True:
                    batch.append(self.buffered_records.popleft())
            self._bytes = 0
            self._triggered = not self._reset
            self._handler.emit_batch(iter(batch), self.batch_emit_reason)

    def close(self) -> None:
        """Close the wrapped handler, if there is one yet."""
        handler = self.__dict__.get("_handler")
        if handler is not None:
            handler.close()

    def before_fork(self) -> None:
        """Wait until no other thread is in the middle of a record."""
        self._held_at_fork = self.lock.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._held_at_fork:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        """Start with a fresh lock."""
        self.lock = RLock()


class GroupHandler(WrapperHandler):
    """Collects the records of a binding, and passes them on as one batch when it ends.

    Level, filter and bubble are the wrapped handler's.  The group is bounded: beyond
    :attr:`max_records` the oldest but the first, which is the significant one, are dropped and
    counted in :attr:`dropped`.

    >>> from sprockets.logbook import Logger, TestHandler
    >>> log, delivered = Logger("job"), TestHandler()
    >>> with GroupHandler(delivered):
    ...     log.info("begin")
    ...     log.info("end")
    ...     len(delivered.records)
    0
    >>> len(delivered.records)
    2

    Args:
        handler: The wrapped handler.
        pull_information: Work out place, thread and traceback text of a record while they are
        known.
    """

    _direct_attrs: ClassVar[frozenset[str]] = frozenset(
        ("buffered_records", "dropped", "handler", "pull_information")
    )
    max_records: ClassVar[int] = MAX_RECORDS
    """Records a group holds at most."""

    buffered_records: list[LogRecord]
    pull_information: bool
    dropped: int
    """Records that were pushed out of a group, ever."""

    def __init__(self, handler: Handler, pull_information: bool = True) -> None:
        super().__init__(handler)
        self.pull_information = pull_information
        self.buffered_records = []
        self.dropped = 0

    def emit(self, record: LogRecord) -> None:
        """Add *record* to the group."""
        try:
            if self.pull_information:
                _keep(record)
        finally:
            self.buffered_records.append(record)
            if len(self.buffered_records) > self.max_records:
                del self.buffered_records[1]
                self.dropped += 1

    def rollover(self) -> None:
        """Pass the group on as one batch, and begin a new one; errors are the wrapped handler's."""
        records, self.buffered_records = self.buffered_records, []
        try:
            self.handler.emit_batch(iter(records), "group")
        except Exception:  # noqa: BLE001 - the wrapped handler deals with it
            # The batch's first record stands for all of them; without one there is nothing to
            # blame.
            failure = sys.exc_info()
            record = records[0] if records else LogRecord(None, NOTSET, "(an empty group)")
            self.handler.handle_error(record, failure)  # type: ignore[arg-type]  # never empty here

    def pop_context(self) -> None:
        """Unbind from the current context, then pass the group on."""
        super().pop_context()
        self.rollover()

    def pop_application(self) -> None:
        """Unbind from the application, then pass the group on."""
        super().pop_application()
        self.rollover()
