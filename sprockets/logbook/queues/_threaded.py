"""The handler that has another one work in a thread of its own."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from contextvars import Context
from typing import Any, ClassVar, Final

from sprockets.logbook import _caller, _failures
from sprockets.logbook._flags import Flags
from sprockets.logbook.delivery._engine import Delivery
from sprockets.logbook.handlers._base import BatchReason, Handler, WrapperHandler
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_UNBOUNDED: Final = sys.maxsize
_TOGETHER: Final = 50
"""Items taken off the queue at once, where nobody counts how many wait."""
_FOREVER: Final = float("inf")


class _Item:
    """A record, or a batch of them, on its way to the wrapped handler."""

    __slots__ = ("errors", "handler", "reason", "records")

    def __init__(
        self, handler: Handler, records: list[LogRecord], reason: BatchReason | None
    ) -> None:
        self.handler = handler
        self.records = records
        self.reason = reason
        # Not the context of the call, which holds all that is bound in it.
        self.errors = Flags.get_flag("errors", "print")

    def deliver(self) -> None:
        """Hand the records to the handler; what goes wrong is the handler's to deal with."""
        try:
            if self.reason is None:
                self.handler.emit(self.records[0])
            else:
                self.handler.emit_batch(list(self.records), self.reason)
        except BaseException as error:  # noqa: BLE001 - the thread goes on
            with Flags(errors=self.errors):
                self._deal_with((type(error), error, error.__traceback__))

    def _deal_with(self, failure: _failures.Failure) -> None:
        record = self._significant_record()
        try:
            self.handler.handle_error(record, failure)  # type: ignore[arg-type]  # may be an empty batch
        except BaseException as error:  # noqa: BLE001 - there is no caller to raise it to
            with Flags(errors="print"):
                _failures.report(record, (type(error), error, error.__traceback__))

    def _significant_record(self) -> LogRecord | None:
        if not self.records:
            return None
        return self.records[-1 if self.reason == "escalation" else 0]


def _deliver(items: list[_Item]) -> None:
    for item in items:
        # A context for each, so that what a handler binds does not stay bound.
        Context().run(item.deliver)


class QueueView:
    """Shows how full the queue of a `ThreadedWrapperHandler` is.

    Args:
        maxsize: Bound of the queue; 0 or less is none.
        count: Returns how many items wait.
    """

    def __init__(self, maxsize: int, count: Callable[[], int]) -> None:
        self.maxsize = maxsize
        self._count = count

    def qsize(self) -> int:
        """Return how many records and batches wait."""
        return self._count()

    def empty(self) -> bool:
        """Return whether none waits."""
        return not self._count()

    def full(self) -> bool:
        """Return whether another one would be dropped."""
        return 0 < self.maxsize <= self._count()


class TWHThreadController:
    """Starts and stops the thread of a `ThreadedWrapperHandler`, which it does not keep alive.

    Args:
        wrapper_handler: The handler.
        maxsize: Bound of its queue; 0 or less is none.
    """

    delivery: Delivery
    is_handler_closed: bool

    class Command:
        """What can be asked of the thread."""

        stop: ClassVar[object] = object()
        emit: ClassVar[object] = object()
        emit_batch: ClassVar[object] = object()

    running: bool
    """Whether records are taken; the thread itself runs while there is something to do."""

    def __init__(self, wrapper_handler: ThreadedWrapperHandler, maxsize: int = 0) -> None:
        self._wrapper_handler = weakref.ref(wrapper_handler)
        self._capacity = maxsize if maxsize > 0 else _UNBOUNDED
        self.running = False
        self.is_handler_closed = False
        self.delivery = self._make_delivery()

    @property
    def wrapper_handler(self) -> ThreadedWrapperHandler | None:
        """The handler whose thread this is, while there is one."""
        return self._wrapper_handler()

    def _make_delivery(self) -> Delivery:
        return Delivery(
            _deliver,
            name="ThreadedWrapperHandler",
            capacity=self._capacity,
            policy="drop_newest",
            batch_size=_TOGETHER if self._capacity == _UNBOUNDED else 1,
            size_of=_nothing,
        )

    def count(self) -> int:
        """Return how many items wait, the one at work not included."""
        return self.delivery.waiting

    def start(self) -> None:
        """Take records again; while running this does nothing."""
        if self.running:
            return
        if self.delivery.is_closed:
            self.delivery = self._make_delivery()
        self.is_handler_closed = False
        self.running = True

    def stop(self, timeout: float = _FOREVER) -> None:
        """Wait until everything queued is delivered, and take no more.

        The wrapped handler is not closed.  In the thread itself this does not wait.

        Args:
            timeout: Seconds to wait at most.
        """
        self.delivery.close(timeout)
        self.running = False


def _nothing(_: object) -> int:
    return 0


class ThreadedWrapperHandler(WrapperHandler):
    """Has the wrapped handler work in a thread of its own, so that log calls do not wait for it.

    Records are delivered one by one, in the order of their calls; what depends on the calling
    thread is worked out before.  Everything else is the wrapped handler's: level, filter, bubble.
    An override of ``handle`` in the wrapped handler has no effect, since the thread calls ``emit``.

    Bind this one and not the wrapped handler, and close it: that waits until everything is
    delivered, then closes the wrapped handler.  A forked child starts with an empty queue.

    >>> from sprockets.logbook import Logger, TestHandler
    >>> delivered = TestHandler()
    >>> threaded = ThreadedWrapperHandler(delivered)
    >>> with threaded:
    ...     Logger("shop").info("open")
    >>> threaded.controller.stop(); len(delivered.records)
    1

    Args:
        handler: The wrapped handler.
        maxsize: How many records may wait; those that come beyond are dropped.  0 or less is no
            limit.
    """

    _direct_attrs: ClassVar[frozenset[str]] = frozenset(("controller", "handler", "queue"))

    queue: QueueView
    controller: TWHThreadController

    def __init__(self, handler: Handler, maxsize: int = 0) -> None:
        super().__init__(handler)
        self.controller = TWHThreadController(self, maxsize)
        self.queue = QueueView(maxsize, self.controller.count)
        self.controller.start()

    def emit(self, record: LogRecord) -> None:
        """Queue *record*; drop it if there is no room, or after the handler was closed.

        Raises:
            TypeError: The message cannot be formatted.
        """
        record.pull_information()
        self.controller.delivery.put(_Item(self.handler, [record], None))

    def emit_batch(self, records: Iterable[LogRecord], reason: BatchReason) -> None:
        """Queue *records*, which the wrapped handler gets as one batch."""
        batch = list(records)
        for record in batch:
            record.pull_information()
        self.controller.delivery.put(_Item(self.handler, batch, reason))

    def statistics(self) -> dict[str, Any]:
        """Return what became of records and batches; see `sprockets.logbook.delivery`."""
        return self.controller.delivery.statistics()

    def close(self) -> None:
        """Deliver all that is queued, then close the wrapped handler; closing twice is once.

        In the thread itself this returns at once, and the thread does it.
        """
        close_wrapped = self._prepare_end()
        self.controller.stop()
        if self.controller.delivery.is_closed:
            close_wrapped()

    def __del__(self) -> None:
        # The thread does it: whoever this interrupts may hold what the wrapped handler waits for.
        try:
            if "controller" in self.__dict__:
                close_wrapped = self._prepare_end()
                self.controller.running = False
                if self.controller.delivery.close_nowait():
                    close_wrapped()
        except Exception:  # noqa: BLE001 - the handler may be half made, the interpreter half gone
            return

    def _prepare_end(self) -> Callable[[], None]:
        """Return what closes the wrapped handler; the thread calls it if it ends by itself."""
        controller, handler = self.controller, self.handler

        def close_wrapped() -> None:
            if not controller.is_handler_closed:
                controller.is_handler_closed = True
                handler.close()

        controller.delivery.on_end = close_wrapped
        return close_wrapped
