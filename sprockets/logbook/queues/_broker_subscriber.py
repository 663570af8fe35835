"""Subscribers that receive from a broker: what they have in common.

What is received stays with the broker until it is acknowledged.  If the connection breaks, or this
process dies, the broker delivers it again: here, where it is recognised by its name, or elsewhere.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from threading import Event, Lock
from time import monotonic
from typing import Any, Final

from sprockets.logbook import _caller, _fork
from sprockets.logbook.delivery import Retry
from sprockets.logbook.queues._batches import decode
from sprockets.logbook.queues._broker_messages import (
    DeliveriesExceededError,
    Held,
    Message,
    Names,
    Source,
)
from sprockets.logbook.queues._subscriber import (
    ClosedError,
    SubscriberBase,
    Timeout,
    checked_timeout,
    dispatch,
    report_here,
)
from sprockets.logbook.queues._wire import MalformedRecordError
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_SLICE: Final = 0.25
"""Seconds after which a thread that waits for a message looks whether there is something else."""
_REPORT_INTERVAL: Final = 60.0
_PATIENCE: Final = 2.0
"""Seconds for giving back what was not acknowledged."""
_PATIENCE_OF_COLLECTOR: Final = 0.1


class BrokerSubscriber(SubscriberBase):
    """Receives from a broker, connecting and reconnecting as need be.

    Subclasses write :meth:`_connect`.  One thread at a time may receive; :meth:`acknowledge` and
    :meth:`close` may be called from any.  A forked child connects for itself; what its parent has
    not acknowledged is the parent's.

    Args:
        acknowledges_at_once: Whether a record is acknowledged before :meth:`recv` returns it.
        max_unacknowledged: Records that may be received and not acknowledged.
        max_deliveries: Deliveries after which a record whose dispatching fails becomes a dead
            letter; ``None``: one whose dispatching fails has been dispatched.
    """

    def __init__(
        self,
        *,
        acknowledges_at_once: bool,
        max_unacknowledged: int,
        max_deliveries: int | None = None,
    ) -> None:
        if max_unacknowledged < 1:
            raise ValueError(f"max_unacknowledged must be at least 1, got {max_unacknowledged}")
        if max_deliveries is not None and max_deliveries < 1:
            raise ValueError(f"max_deliveries must be at least 1, got {max_deliveries}")
        self._acknowledges_at_once = acknowledges_at_once
        self._max_unacknowledged = max_unacknowledged
        self._max_deliveries = max_deliveries
        self._retry = Retry(initial=0.2, maximum=5.0)
        self._names = Names()
        self._reconnects = self._dead = 0
        self._outage_reported_at = float("-inf")
        self._patience = _PATIENCE
        self._closing = Event()
        self._start_anew()
        _fork.hold_at_fork(self)

    def _start_anew(self) -> None:
        self._source: Any = None
        self._lock = Lock()
        self._held: dict[int, Held] = {}
        self._held_by_name: dict[str, Held] = {}
        self._settlements: deque[Callable[[], None]] = deque()
        self._failures = 0
        self._was_connected = False
        self._try_at = float("-inf")
        self._outage: BaseException | None = None

    def _connect(self) -> Source:
        """Return a new connection; raises ConnectionError if there is none to be had."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it connects")

    # -- receiving

    def recv(self, timeout: Timeout = None) -> LogRecord | None:
        """Return the next record; None if there is none in time.

        A connection that is lost is made anew; what had not been acknowledged comes again, and is
        not returned twice.

        Args:
            timeout: Seconds to wait at most; None means for ever, 0 not at all.

        Raises:
            ConnectionError: The broker is not there.  The next call tries again, after a pause
                that grows up to 5 seconds.
            MalformedRecordError: What came is no record; it is among the dead letters.
            ClosedError: The subscriber is closed.
            RuntimeError: Too many records have been received and not been acknowledged.
            ValueError: *timeout* is negative.
        """
        checked_timeout(timeout)
        deadline = None if timeout is None else monotonic() + timeout
        try:
            with self._lock:
                return self._receive(deadline)
        finally:
            self._leave()

    def _receive(self, deadline: float | None) -> LogRecord | None:
        while True:
            if self._closing.is_set():
                raise ClosedError(f"the {type(self).__name__} is closed")
            if len(self._held) >= self._max_unacknowledged:
                raise RuntimeError(
                    f"{len(self._held)} records were received and not acknowledged; call "
                    "acknowledge() with each"
                )
            remaining = _SLICE if deadline is None else max(0.0, deadline - monotonic())
            message = self._fetch(min(remaining, _SLICE), deadline)
            if message is not None:
                record = self._take(message)
                if record is not None:
                    self._received += 1
                    return record
            elif deadline is not None and monotonic() >= deadline:
                return None

    def _fetch(self, timeout: float, deadline: float | None) -> Message | None:
        if self._source is None:
            self._wait_for_next_try(deadline)
            self._open()
        try:
            self._settle_all()
            message: Message | None = self._source.fetch(timeout)
            return message
        except ConnectionError as error:
            self._lose(error)
            # If the broker is back already, nobody needs to hear of it.
            self._open()
            return None

    def _wait_for_next_try(self, deadline: float | None) -> None:
        while (pause := self._try_at - monotonic()) > 0 and not self._closing.is_set():
            remaining = pause if deadline is None else deadline - monotonic()
            if remaining <= 0:
                raise ConnectionError(str(self._outage)) from self._outage
            self._closing.wait(min(pause, remaining))

    def _open(self) -> None:
        if self._closing.is_set():
            raise ClosedError(f"the {type(self).__name__} is closed")
        try:
            self._source = self._connect()
        except ConnectionError as error:
            self._outage = error
            self._failures += 1
            self._try_at = monotonic() + self._retry.delay(self._failures, error)
            raise
        self._failures = 0
        self._reconnects += self._was_connected
        self._was_connected = True

    def _lose(self, error: BaseException) -> None:
        self._outage = error
        source, self._source = self._source, None
        if source is not None:
            source.close(self._patience)

    def _take(self, message: Message) -> LogRecord | None:
        """Return the record in *message*; None if it came before, or too often."""
        source = self._source
        try:
            record = decode(message.body)
        except MalformedRecordError as error:
            self._count_malformed(message.body, error)
            source.discard(message, error)
            raise
        name = record.__dict__.get("record_id")
        if isinstance(name, str):
            held = self._held_by_name.get(name)
            if held is not None:
                self._names.duplicates += 1
                held.messages.append((source, message))
                return None
            if not self._names.admit(name):
                source.accept(message)
                return None
        if self._max_deliveries is not None and message.attempts > self._max_deliveries:
            # Whoever had it before did not live to tell.
            self._bury(source, message, None)
            return None
        if self._acknowledges_at_once:
            source.accept(message)
        else:
            held = Held(record, name, [(source, message)])
            self._held[id(record)] = held
            if isinstance(name, str):
                self._held_by_name[name] = held
        return record

    # -- dispatching

    def dispatch_once(self, timeout: Timeout = None) -> bool:
        """Receive one record, dispatch it, and acknowledge it; return whether there was one.

        That the broker is not there is reported once a minute, and is no error.

        Args:
            timeout: As for :meth:`recv`.
        """
        try:
            record = self.recv(timeout)
        except ConnectionError:
            self._report_outage()
            return False
        if record is None:
            return False
        try:
            dispatch(record)
        except Exception as error:
            self._fail(record, error)
            raise
        self.acknowledge(record)
        return True

    def _report_outage(self) -> None:
        now = monotonic()
        if now - self._outage_reported_at >= _REPORT_INTERVAL:
            self._outage_reported_at = now
            report_here(None)

    # -- settling

    def acknowledge(self, record: LogRecord) -> None:
        """Tell the broker that *record*, which came from here, has been dealt with."""
        held = self._let_go(record)
        if held is not None:
            self._settle(lambda: self._accept(held))

    def reject(self, record: LogRecord, error: Exception | None = None) -> None:
        """Give *record*, which came from here, back to the broker: it could not be dealt with.

        It comes again, here or elsewhere, until it came as often as it may; then it is a dead
        letter.

        Args:
            record: One that was not acknowledged.
            error: Why.
        """
        held = self._let_go(record)
        if held is not None:
            if isinstance(held.name, str):
                self._names.forget(held.name)
            self._settle(lambda: self._give_back(held, error))

    def _fail(self, record: LogRecord, error: Exception) -> None:
        if self._max_deliveries is None:
            self.acknowledge(record)
        else:
            self.reject(record, error)

    def _let_go(self, record: LogRecord) -> Held | None:
        held = self._held.pop(id(record), None)
        if held is not None and isinstance(held.name, str):
            self._held_by_name.pop(held.name, None)
        return held

    def _accept(self, held: Held) -> None:
        for source, message in held.messages:
            # Of another connection nothing is left; the broker delivers it again.
            if source is self._source:
                source.accept(message)

    def _give_back(self, held: Held, error: Exception | None) -> None:
        for source, message in held.messages:
            if source is not self._source:
                continue
            if self._max_deliveries is not None and message.attempts >= self._max_deliveries:
                self._bury(source, message, error)
            else:
                source.retry(message)

    def _bury(self, source: Source, message: Message, error: Exception | None) -> None:
        self._dead += 1
        exceeded = DeliveriesExceededError(f"delivered {message.attempts} times: {error}")
        exceeded.__cause__ = error
        if self.dead_letter is not None:
            try:
                self.dead_letter(message.body, exceeded)
            except Exception:  # noqa: BLE001 - reported
                report_here(None)
        source.discard(message, exceeded)

    def _settle(self, settlement: Callable[[], None]) -> None:
        """Do *settlement* now, or have the thread do it that receives."""
        self._settlements.append(settlement)
        self._leave()

    def _settle_all(self) -> None:
        while self._settlements:
            self._settlements.popleft()()

    def _leave(self) -> None:
        """Do what came up while the connection was in use."""
        # Asked again each time: whoever found the lock taken relies on its holder.
        while self._has_work() and self._lock.acquire(blocking=False):
            try:
                if self._source is None:
                    # What was received through it, the broker delivers again.
                    self._settlements.clear()
                    continue
                self._settle_all()
                if self._closing.is_set():
                    self._close_source()
            except ConnectionError as error:
                self._lose(error)
            finally:
                self._lock.release()

    def _has_work(self) -> bool:
        return bool(self._settlements) or (self._closing.is_set() and self._source is not None)

    # -- what users look at

    def statistics(self) -> dict[str, int]:
        """Return what came.

        That is what `SubscriberBase` counts, where ``gaps`` is 0: others may receive from the same
        queue.  ``dead``: records given up because dispatching them failed; ``unacknowledged``:
        records that are here and not dealt with; ``reconnects``.
        """
        return {
            **super().statistics(),
            "duplicates": self._names.duplicates,
            "dead": self._dead,
            "unacknowledged": len(self._held),
            "reconnects": self._reconnects,
        }

    @property
    def is_connected(self) -> bool:
        """Whether the connection was there when it was last used."""
        return self._source is not None

    @property
    def is_ended(self) -> bool:
        """Whether the subscriber is closed."""
        return self._closing.is_set()

    # -- its end

    def close(self) -> None:
        """Close the connection, which ends a thread that receives; closing twice is closing once.

        What was received and not acknowledged, the broker delivers again.
        """
        if "_closing" in self.__dict__:
            self._closing.set()
            self._leave()

    def _close_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close(self._patience)

    def __del__(self) -> None:
        if sys.is_finalizing():
            return  # the connection ends with the process
        self._patience = _PATIENCE_OF_COLLECTOR
        try:
            self.close()
        except Exception:  # noqa: BLE001 - the subscriber may be half made, the interpreter half gone
            return

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for: the child has a connection of its own."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Connect anew when something is to be received."""
        if self._source is not None:
            self._source.abandon()
        is_closed = self._closing.is_set()
        self._closing = Event()
        if is_closed:
            self._closing.set()
        self._start_anew()
