"""Records on their way to another process of this machine."""

from __future__ import annotations

import os
from queue import Empty, Full
from typing import Any, Protocol

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.handlers._base import Filter, Handler
from sprockets.logbook.queues._batches import decode
from sprockets.logbook.queues._ordinary import facts_of
from sprockets.logbook.queues._subscriber import (
    ClosedError,
    SubscriberBase,
    Timeout,
    checked_timeout,
)
from sprockets.logbook.queues._wire import MalformedRecordError
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class SupportsPut(Protocol):
    """The end of a queue that takes."""

    def put_nowait(self, obj: Any, /) -> object:
        """Put *obj*, or raise ``queue.Full``."""


class SupportsGet(Protocol):
    """The end of a queue that gives."""

    def get(self, block: bool = True, timeout: float | None = None, /) -> Any:
        """Return what is next, or raise ``queue.Empty``."""


class QueueClosedError(ClosedError, ValueError):
    """The queue is closed, or the process that kept it is gone."""


class MultiProcessingHandler(Handler):
    """Puts records on a queue, from which a `MultiProcessingSubscriber` dispatches them.

    With the queue of the subscriber's own making, a record is safe from the end of this process
    once the log call returns, and no process that is killed keeps the others from logging.  With
    another, both are as good as that queue is: a ``multiprocessing.Queue`` keeps records in the
    process for a while, and its lock remains locked if who holds it is killed.

    >>> from sprockets.logbook import Logger, TestHandler
    >>> subscriber = MultiProcessingSubscriber()
    >>> with MultiProcessingHandler(subscriber.queue):
    ...     Logger("shop").warning("only {} left", 2)
    >>> with TestHandler() as seen:
    ...     subscriber.dispatch_once(timeout=5)
    True
    >>> seen.has_warning("only 2 left")
    True
    >>> subscriber.close()

    Args:
        queue: Anything with ``put_nowait``; if it is full, the record is dropped, counted in
            :meth:`statistics`, and reported as the flag ``errors`` says.  Not closed here.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
    """

    def __init__(
        self,
        queue: SupportsPut,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        super().__init__(level, filter, bubble)
        self.queue = queue
        self._sent = 0
        self._dropped = 0

    def emit(self, record: LogRecord) -> None:
        """Put *record*; never wait.

        Raises:
            queue.Full: There is no room.
            ValueError: The queue is closed.
            TypeError: The message cannot be formatted.
        """
        try:
            self.queue.put_nowait(facts_of(record))
        except Full as error:
            self._dropped += 1
            raise Full(str(error) or "the queue has no room for this record") from error
        except BaseException:
            self._dropped += 1
            raise
        self._sent += 1

    def statistics(self) -> dict[str, int]:
        """Return what became of the records: how many were ``sent``, how many ``dropped``."""
        return {"sent": self._sent, "dropped": self._dropped}


class MultiProcessingSubscriber(SubscriberBase):
    """Receives what `MultiProcessingHandler` puts on a queue, in whichever process.

    Give :attr:`queue` to the processes, as an argument of ``multiprocessing.Process`` or by fork;
    one process receives.

    Args:
        queue: Anything with ``get``; only take one from processes that may run code here, since a
            queue of the standard library unpickles.  Without one, the subscriber makes one of
            which this is not so.
    """

    queue: SupportsGet

    def __init__(self, queue: SupportsGet | None = None) -> None:
        self._owns_queue = queue is None
        self._is_ended = False
        self.queue = _make_queue() if queue is None else queue

    @property
    def is_ended(self) -> bool:
        """Whether the queue was shut down, and is empty."""
        return self._is_ended

    def recv(self, timeout: Timeout = None) -> LogRecord | None:
        """Return the next record; None if there is none in time.

        Args:
            timeout: Seconds to wait at most; None means for ever, 0 not at all.

        Raises:
            ValueError: *timeout* is negative, the queue is closed (`QueueClosedError`), or what
                came is no record (`MalformedRecordError`).
        """
        timeout = checked_timeout(timeout)
        if self._is_ended:
            return None
        try:
            data = self.queue.get(timeout != 0, timeout or None)
        except Empty:
            return None
        except MalformedRecordError as error:
            self._count_malformed(None, error)
            raise
        except (EOFError, OSError) as error:
            raise QueueClosedError(f"{self.queue!r} is gone: {error!r}") from error
        except Exception as error:  # noqa: BLE001 - a queue of the standard library unpickles
            self._deal_with(error)
            return None
        try:
            record = decode(data)
        except MalformedRecordError as error:
            self._count_malformed(data, error)
            raise
        self._received += 1
        return record

    def _deal_with(self, error: Exception) -> None:
        if type(error).__name__ == "ShutDown":  # since Python 3.13
            self._is_ended = True
            return
        queue: Any = self.queue
        if isinstance(error, ValueError) and (
            getattr(queue, "is_closed", False) or getattr(queue, "_closed", False)
        ):
            raise QueueClosedError(str(error)) from error
        # What came was taken from the queue, and could not be unpickled.
        malformed = MalformedRecordError(f"not unpickled: {error!r}")
        self._count_malformed(None, malformed)
        raise malformed from error

    def close(self) -> None:
        """Close the queue, if it is of this subscriber's making; closing twice is closing once."""
        if self._owns_queue:
            self.queue.close()  # type: ignore[attr-defined]  # both kinds can


def _make_queue() -> SupportsGet:
    # Only here, since importing multiprocessing costs those who do not need it.
    if os.name == "posix":
        from sprockets.logbook.queues._process_queue import ProcessQueue

        return ProcessQueue()
    import multiprocessing

    return multiprocessing.Queue(-1)
