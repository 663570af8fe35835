"""What led up to a record: the ones that the same request logged before it."""

from __future__ import annotations

from collections import OrderedDict, deque
from threading import RLock
from typing import Final

from sprockets.logbook import _caller, _failures, _fork
from sprockets.logbook._levels import INFO, Level, lookup_level
from sprockets.logbook.handlers._base import Filter, Handler
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_MAX_GROUPS: Final = 1_000


class LeadingRecordsHandler(Handler, finaliser=False):
    """Passes records on together with what led up to them.

    Records of the same request are kept apart by a custom field.  Those that the wrapped handler's
    level and filter admit go on to it as a batch, the significant one last; the others wait for
    that, the newest of each request, for as many requests as there may be at once.  A record
    without the field goes on by itself.

    >>> from sprockets.logbook import Fields, Logger, TestHandler
    >>> log, counted = Logger("shop"), TestHandler(level="ERROR")
    >>> with LeadingRecordsHandler(counted), Fields(request_id="r1"):
    ...     log.info("looking up the price")
    ...     log.error("no price")
    >>> [record.message for record in counted.records]
    ['looking up the price', 'no price']

    Args:
        handler: The wrapped handler, whose ``emit_batch`` gets the batches.
        level: Least level of a record that is kept, a number or a name.
        size: Records kept of a request at most.
        field: The custom field that requests are told apart by.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.

    Raises:
        ValueError: *size* is less than 1.
    """

    handler: Handler
    dropped: int
    """Records that were pushed out by newer ones of their request, ever."""

    def __init__(
        self,
        handler: Handler,
        level: Level = INFO,
        size: int = 50,
        field: str = "request_id",
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        if size < 1:
            raise ValueError(f"size must be 1 or more, got {size}")
        super().__init__(min(lookup_level(level), handler.level), filter, bubble)
        self.handler = handler
        self._size = size
        self._field = field
        self.dropped = 0
        self._begin_anew()
        _fork.hold_at_fork(self)

    def _begin_anew(self) -> None:
        self._lock = RLock()
        self._kept: OrderedDict[str, deque[LogRecord]] = OrderedDict()

    def emit(self, record: LogRecord) -> None:
        """Keep *record*, or have it delivered with those that are kept of its request."""
        name = record.extra.get(self._field)
        if not isinstance(name, str) or not name:
            if self._is_wanted(record):
                self.handler.emit(record)
            return
        _pull(record)
        record.keep_open = True
        is_wanted = self._is_wanted(record)
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                kept = self._kept[name] = deque(maxlen=self._size)
                if len(self._kept) > _MAX_GROUPS:
                    self._kept.popitem(last=False)
            elif kept[-1] is record:
                return  # bound twice
            else:
                self._kept.move_to_end(name)
            batch = [*kept, record] if is_wanted else None
            self.dropped += len(kept) == self._size
            kept.append(record)
        if batch is not None:
            self.handler.emit_batch(batch, "escalation")

    def _is_wanted(self, record: LogRecord) -> bool:
        wrapped = self.handler
        if not wrapped.should_handle(record):
            return False
        return wrapped.filter is None or bool(wrapped.filter(record, wrapped))

    def close(self) -> None:
        """Close the wrapped handler, and forget what is kept."""
        self._begin_anew()
        self.handler.close()

    # -- fork

    def before_fork(self) -> None:
        """Wait for nobody: the child begins anew."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Forget the requests of the parent."""
        self._begin_anew()


def _pull(record: LogRecord) -> None:
    try:
        record.pull_information()
    except TypeError:  # a message that cannot be formatted is the wrapped handler's to deal with
        if _failures.should_raise():
            raise
