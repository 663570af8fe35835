"""The base of handlers whose destination is slow or far away."""

from __future__ import annotations

from typing import Any, ClassVar

from sprockets.logbook import _caller, _failures
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.delivery._engine import Delivery
from sprockets.logbook.delivery._ledger import Policy
from sprockets.logbook.delivery._retry import Retry
from sprockets.logbook.delivery._spool import Spool
from sprockets.logbook.handlers._base import Filter, Handler, is_finalising
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class RemoteHandler(Handler):
    """Encodes records in the logging thread, and delivers them from a thread of its own.

    Subclasses write :meth:`encode` and :meth:`deliver`, and :meth:`disconnect` if they keep a
    connection.  One with a constructor of its own says at its end that it is :meth:`ready`.  A log
    call never waits for the destination; see `sprockets.logbook.delivery.Delivery` for what becomes
    of records that cannot be delivered.

    A handler that nobody holds any more is closed, by its own thread if there is something left to
    deliver.  A forked child starts with an empty queue; what a subclass is connected to it has to
    let go of itself there.

    Args:
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        capacity: Records in memory at most, beside the batch under way.
        max_bytes: Bytes of encoded records in memory at most.
        policy: What to do beyond these: ``"block"``, ``"drop_oldest"``, ``"drop_newest"`` or
            ``"spill"``.
        block_timeout: Seconds that a log call waits at most, with ``"block"``.
        batch_size: Records delivered together at most.
        batch_wait: Seconds to wait for a batch to fill.
        retry: When to try again; ``None`` means ``Retry()``.
        spool: Where to keep what cannot be delivered; closed with the handler.
        drain_timeout: Seconds that :meth:`close` and the end of the program wait.
        immediate: Deliver in the logging thread, once, without the engine; what goes wrong is
            treated like any handler's error.
    """

    pulls_information: ClassVar[bool] = True
    """Whether all lazy facts of a record are worked out before :meth:`encode`.

    Without, that is faster; then it reads there what is to be known later.
    """

    def __init__(
        self,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        capacity: int = 10_000,
        max_bytes: int = 8 << 20,
        policy: Policy = "drop_oldest",
        block_timeout: float = 0.005,
        batch_size: int = 100,
        batch_wait: float = 0.0,
        retry: Retry | None = None,
        spool: Spool | None = None,
        drain_timeout: float = 5.0,
        immediate: bool = False,
    ) -> None:
        super().__init__(level, filter, bubble)
        self.immediate = immediate
        self._delivery = Delivery(
            self._deliver,
            name=type(self).__name__,
            capacity=capacity,
            max_bytes=max_bytes,
            policy=policy,
            block_timeout=block_timeout,
            batch_size=batch_size,
            batch_wait=batch_wait,
            retry=retry,
            spool=spool,
            size_of=self.size_of,
            drain_timeout=drain_timeout,
            on_dead_letter=self.dead_letter,
            is_ready=False,
        )
        self._delivery.on_end = self.disconnect
        self.ready(RemoteHandler)

    def ready(self, constructor_of: type[RemoteHandler]) -> None:
        """Deliver from now on what a dead process left in the spool.

        Called at the end of a constructor; what comes before the end of the last one does nothing.
        Without it, that is delivered once there is a record.

        Args:
            constructor_of: The class whose constructor it is.
        """
        if type(self).__init__ is constructor_of.__init__:
            self._delivery.start()

    @property
    def delivery(self) -> Delivery:
        """The engine behind the handler."""
        return self._delivery

    def _deliver(self, items: list[Any]) -> None:
        # Looked up each time, so that the method may be replaced.
        self.deliver(items)

    # -- what subclasses write

    def encode(self, record: LogRecord) -> Any:
        """Return what is delivered of *record*, bytes if possible; called in the logging thread.

        All lazy facts of the record are worked out already, if :attr:`pulls_information`.
        """
        return self.format(record)

    def deliver(self, items: list[Any]) -> None:
        """Deliver what :meth:`encode` returned for some records, in order.

        Called in the engine's thread, never twice at once.  Limits its own waits; says by what it
        raises whether trying again is of use.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it delivers")

    def dead_letter(self, item: Any, error: BaseException) -> None:
        """Called in the engine's thread with what is given up because of *error*."""

    def disconnect(self) -> None:
        """Let go of the connection: nothing is delivered any more.

        Called once the handler is closed, which may be more than once; from any thread, even while
        :meth:`deliver` still runs because it took longer than it might.
        """

    def size_of(self, item: Any) -> int:
        """Return about how many bytes *item* takes in memory."""
        if isinstance(item, (bytes, str)):
            return len(item)
        if isinstance(item, (tuple, list)):
            return sum(len(part) for part in item if isinstance(part, (bytes, str)))
        return 0

    # -- what users call

    def emit(self, record: LogRecord) -> None:
        """Encode *record* and hand it over, or deliver it if the handler is immediate."""
        if self.pulls_information:
            try:
                record.pull_information()
            except TypeError:  # a message that cannot be formatted is the formatter's to deal with
                if _failures.should_raise():
                    raise
        item = self.encode(record)
        if self.immediate:
            self.deliver([item])
        else:
            self._delivery.put(item)

    def statistics(self) -> dict[str, Any]:
        """Return what became of the records.

        See `sprockets.logbook.delivery.Delivery.statistics`.
        """
        return self._delivery.statistics()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all records so far are delivered, dead or spooled.

        Args:
            timeout: Seconds to wait at most; ``None`` means *drain_timeout*.

        Returns:
            Whether they are.
        """
        return self._delivery.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:  # type: ignore[override]  # says more
        """Deliver what is left as far as there is time, then let go; closing twice is closing once.

        In the handler's own thread this does not wait: the thread does it when it is done.

        Args:
            timeout: Seconds to wait at most; ``None`` means *drain_timeout*.

        Returns:
            Whether everything was delivered, dead or spooled in time.
        """
        delivery: Delivery | None = self.__dict__.get("_delivery")
        if is_finalising() and delivery is not None:
            is_done = delivery.close_nowait()
        else:
            is_done = delivery is None or delivery.close(timeout)
        if delivery is None or delivery.is_closed:
            self.disconnect()
        return is_done

    def __del__(self) -> None:
        # Anything may be interrupted by this, so it waits for nothing.
        try:
            if "_delivery" not in self.__dict__ or self._delivery.close_nowait():
                self.disconnect()
        except Exception:  # noqa: BLE001 - the handler may be half made, the interpreter half gone
            return
