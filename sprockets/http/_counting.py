"""What of a request becomes a ticket: of records that tell of the same failure, the best."""

from __future__ import annotations

import sys
from threading import Lock
from typing import Final

from sprockets.http._request_context import Exchange, current_request, put_on_top
from sprockets.http.mixins import ErrorLogger
from sprockets.logbook import Handler, LogRecord
from sprockets.logbook._traceback import exception_message, exception_name
from sprockets.logbook.base import Level
from sprockets.logbook.ticketing import LeadingRecordsHandler

_MAX_CHAIN: Final = 20


class CountingHandler(LeadingRecordsHandler, finaliser=False):
    """Passes on what is to be counted, with what led up to it, and each failure of a request once.

    An exception that leaves an action, and then the request, is told by the action, by those around
    it, and by whoever answers the request.  The last one knows most, so what actions tell waits for
    the end of the request, and is counted if nobody else told of the same exception.

    It sees the records of requests before the handlers that handler classes bind.
    """

    def __init__(self, handler: Handler, level: Level) -> None:
        super().__init__(handler, level, bubble=True)
        handler.filter = self._tells_something_new
        put_on_top(self)

    def close(self) -> None:
        """Close the wrapped handler; records of requests are not seen first any more."""
        put_on_top(None)
        super().close()

    def _tells_something_new(self, record: LogRecord, handler: Handler) -> bool:
        """Return whether *record* is to be counted now."""
        if record.channel == "tornado.access":
            return False
        request = current_request()
        if request is None:
            return True
        undecided = request.afterwards
        if not isinstance(undecided, Undecided):
            undecided = request.afterwards = Undecided(self)
        if record.extra.get("action_status") == "failed":
            return not undecided.hold(record)
        if _is_told_again(record, request):
            return False
        undecided.note(record)
        return True

    def tell(self, record: LogRecord) -> None:
        """Have *record*, which was kept, counted after all, with what led up to it."""
        with self._lock:
            kept = list(self._kept.get(record.extra[self._field], ()))
        places = [number for number, each in enumerate(kept) if each is record]
        batch = [*kept[: places[0]], record] if places else [record]
        try:
            self.handler.emit_batch(batch, "escalation")
        except Exception:  # noqa: BLE001 - the request that ends has nothing to do with it
            self.handle_error(record, sys.exc_info())  # type: ignore[arg-type]  # never empty here


class Undecided:
    """The failed actions of a request, until it is over.

    Args:
        counting: Has those counted that nobody else told of.
    """

    def __init__(self, counting: CountingHandler) -> None:
        self._counting = counting
        self._records: list[LogRecord] = []
        self._told: set[tuple[object, object]] = set()
        self._is_over = False
        self._lock = Lock()

    def hold(self, record: LogRecord) -> bool:
        """Return whether *record*, of a failed action, is kept until the request is over."""
        with self._lock:
            if not self._is_over and not any(record is each for each in self._records):
                self._records.append(record)
            return not self._is_over

    def note(self, record: LogRecord) -> None:
        """Take note that *record* tells of its exception, and of those that led to it."""
        exc_info = record.exc_info
        error = exc_info[1] if isinstance(exc_info, tuple) else None
        for _ in range(_MAX_CHAIN):
            if error is None:
                return
            with self._lock:
                self._told.add((exception_name(error), exception_message(error)))
            error = error.__cause__ or error.__context__

    def __call__(self) -> None:
        """Have what nobody told of counted: the request is over."""
        with self._lock:
            self._is_over = True
            records, self._records = self._records, []
        for record in records:
            failure = record.extra.get("exception"), record.extra.get("reason")
            if failure not in self._told:
                # What it went through on its way out is the same failure.
                self._told.add(failure)
                self._counting.tell(record)


def _is_told_again(record: LogRecord, request: Exchange) -> bool:
    """Whether *record* is Tornado's own of what an `ErrorLogger` tells of as well."""
    if record.channel != "tornado.application" or not str(record.msg).startswith("Uncaught"):
        return False
    handler_class = request.handler_class
    return handler_class is not None and issubclass(handler_class, ErrorLogger)
