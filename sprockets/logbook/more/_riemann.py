"""Riemann: records as events for a monitor."""

from __future__ import annotations

import platform
import sys
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sprockets.logbook import _caller, _clock, _failures, _fork
from sprockets.logbook._layout import message_of
from sprockets.logbook._levels import ERROR, NOTSET, Level
from sprockets.logbook.delivery import Delivery, PartlyDelivered
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.more._riemann_messages import RefusedError, encode_event
from sprockets.logbook.more._riemann_transports import (
    MAX_DATAGRAM,
    BlankTransport,
    TCPTransport,
    Transport,
    UDPTransport,
)

if TYPE_CHECKING:
    import ssl

    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_KINDS: Final = ("tcp", "udp", "test")
_DEFAULT_CAPACITY: Final = 10_000


class RiemannHandler(RemoteHandler):
    """Sends records as events to Riemann, several at a time; needs no library.

    An event is of the service ``<channel>.<process id>``, and its state is ``error`` from the level
    ERROR up, else ``ok``.  A subclass that wants something else overrides :meth:`record_to_event`.

    Events collect in :attr:`queue`, and are sent together once there are *flush_threshold* of them,
    or the first has waited for *flush_interval*; by :meth:`flush`; and at the end.  A thread does
    that, see `RemoteHandler`: a log call never waits for Riemann, and while that is away events
    wait, *capacity* at most.  Over TCP Riemann confirms them, and one that it refuses is given up
    alone; over UDP, what gets lost on the way is lost.

    Args:
        host: Where Riemann is.
        port: Where it listens, as a rule at 5555.
        message_type: ``"tcp"``; ``"udp"``; or ``"test"``, which sends nothing.
        ttl: Seconds for which Riemann takes an event for current.
        flush_threshold: Events that are sent together.
        bubble: Whether records go on to the next handler.
        filter: Called with record and handler; the handler takes what it answers true for.
        level: Least level it is interested in, a number or a name.
        flush_interval: Seconds that an event waits at most for others; ``math.inf`` is for ever.
        timeout: Seconds for a whole exchange, from connecting to the last byte of the answer.
        ssl_context: For TLS over TCP; ``None`` is without.
        immediate: Send in the logging thread, without the engine: a call that reaches the threshold
            waits for Riemann, and its error is the handler's.  The events stay in the queue then,
            the newest *capacity* of them; one that is refused alone does not.
        capacity: Events in memory at most.
        **options: Of `RemoteHandler`; *batch_size* and *batch_wait* are the two flush options.

    Raises:
        RuntimeError: There is no such *message_type*.
        ValueError: *flush_threshold* is less than 1.
    """

    pulls_information: ClassVar[bool] = False  # it is bytes that go to the thread

    host: str
    port: int
    ttl: int
    queue: list[dict[str, Any]]
    """Events that are not on their way yet."""
    transport: Transport

    def __init__(
        self,
        host: str,
        port: int,
        message_type: str = "tcp",
        ttl: int = 60,
        flush_threshold: int = 10,
        bubble: bool = False,
        filter: Filter | None = None,
        level: Level = NOTSET,
        *,
        flush_interval: float = 5.0,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        immediate: bool = False,
        capacity: int = _DEFAULT_CAPACITY,
        **options: Any,
    ) -> None:
        if message_type not in _KINDS:
            raise RuntimeError(f"unknown message type {message_type!r}; known: {', '.join(_KINDS)}")
        self.host = host
        self.port = port
        self.ttl = ttl
        if message_type == "tcp":
            self.transport = TCPTransport(host, port, timeout, ssl_context)
        elif message_type == "udp":
            self.transport = UDPTransport(host, port, timeout)
        else:
            self.transport = BlankTransport()
        self._is_test = message_type == "test"
        self._limit = MAX_DATAGRAM if message_type == "udp" else None
        self._begin_anew()
        super().__init__(
            level,
            filter,
            bubble,
            immediate=immediate or self._is_test,
            capacity=capacity,
            batch_wait=flush_interval,
            **options,
        )
        self.flush_threshold = flush_threshold
        self.delivery.on_closing = self._hand_over
        _fork.hold_at_fork(self)
        self.ready(RiemannHandler)

    def _begin_anew(self) -> None:
        self.queue = []
        # By the identity of what is sent: which event of the queue that is.
        self._events: dict[int, tuple[bytes, dict[str, Any]]] = {}
        # Taken again by a signal handler or a finaliser that logs.
        self._lock = RLock()
        self._is_sending = False
        # What became of events without the engine.
        self._fates = dict.fromkeys(("delivered", "dead", "full"), 0)

    @property
    def flush_threshold(self) -> int:
        """Events that are sent together; *capacity* at most.

        Raises:
            ValueError: It is set to less than 1.
        """
        return self.delivery.batch_size

    @flush_threshold.setter
    def flush_threshold(self, value: int) -> None:
        if value < 1:
            raise ValueError(f"flush_threshold must be at least 1, got {value}")
        self.delivery.batch_size = min(value, max(1, self.delivery.capacity))

    # -- in the caller's thread

    def record_to_event(self, record: LogRecord) -> dict[str, Any]:
        """Return the event of *record*, by the names that Riemann has for its facts.

        Beside those that are there, ``attributes``, ``time_micros``, ``metric_d`` and
        ``metric_sint64`` are known.
        """
        moment = record.moment
        exception = record.exception_message
        process = record.process
        return {
            "metric_f": 1.0,
            "tags": ["log", record.level_name],
            "description": message_of(record) if exception is None else exception,
            "time": (_clock.moment() if moment is None else moment) // 1_000_000,
            "ttl": self.ttl,
            "host": platform.node(),
            "service": (
                f"{record.channel or 'unknown'}."
                f"{_fork.process_id() if process is None else process}"
            ),
            "state": "error" if record.level >= ERROR else "ok",
        }

    def encode(self, record: LogRecord) -> bytes:
        """Return the event of *record* as Riemann is sent it."""
        return encode_event(self.record_to_event(record), self._limit)

    def emit(self, record: LogRecord) -> None:
        """Add the event of *record* to the queue, and have that sent if there are enough."""
        event = self.record_to_event(record)
        item = encode_event(event, self._limit)
        with self._lock:
            if self.immediate:
                self.queue.append(event)
                self._send_queue(self.flush_threshold)
                return
            self._events[id(item)] = item, event
            self.queue.append(event)
            if len(self.queue) >= self.flush_threshold:
                self.queue, self._events = [], {}
            self.delivery.put(item)

    def _send_queue(self, threshold: int) -> None:
        """Send the queue from this thread if it is so long; called with the lock held.

        Raises:
            Exception: Whatever keeps it from being sent; the queue is as it was then.
        """
        excess = len(self.queue) - self.delivery.capacity
        if excess > 0:
            del self.queue[:excess]
            self._fates["full"] += excess
        if len(self.queue) < threshold or self._is_sending:
            return
        self._is_sending = True
        try:
            self._send_events(list(self.queue))
        finally:
            self._is_sending = False

    def _send_events(self, events: list[dict[str, Any]]) -> None:
        """Send the first *events* of the queue; what Riemann refuses alone is given up."""
        try:
            self.deliver([encode_event(event, self._limit) for event in events])
        except PartlyDelivered as error:
            self._take_off(error.count, "delivered")
            raise
        except RefusedError:
            if len(events) == 1:
                self._take_off(1, "dead")
                raise
        else:
            self._take_off(len(events), "delivered")
            return
        refusal: RefusedError | None = None
        for event in events:
            try:
                self._send_events([event])
            except RefusedError as error:
                refusal = error
        if refusal is not None:
            raise refusal

    def _take_off(self, count: int, fate: str) -> None:
        # What was logged in the middle of it stays.
        self.queue = self.queue[count:]
        self._fates[fate] += count

    def flush(self, timeout: float | None = None) -> bool:
        """Send what there is in the queue, and wait until it is delivered or dead.

        Args:
            timeout: Seconds to wait at most; ``None`` means *drain_timeout*.

        Returns:
            Whether it is.
        """
        if self.immediate:
            with self._lock:
                try:
                    self._send_queue(1)
                except Exception:  # noqa: BLE001 - reported
                    _failures.report(None, sys.exc_info())  # type: ignore[arg-type]  # never empty here
                    return False
        return super().flush(timeout)

    def _hand_over(self) -> None:
        """Leave what an immediate handler still has to the engine, which may be given up."""
        if not self.immediate:
            return
        with self._lock:
            events, self.queue = self.queue, []
        for event in events:
            if self._is_test:
                self._fates["delivered"] += 1
            else:
                self.delivery.put(encode_event(event, self._limit))

    def __del__(self) -> None:
        queue = self.__dict__.get("queue")
        if queue and self.__dict__.get("immediate") and not self._is_test:
            # The engine is being collected, too, so it takes another one, which outlives this.
            transport, self.transport = self.transport, BlankTransport()
            last = Delivery(transport.send, name=type(self).__name__)
            last.on_end = transport.disconnect
            self.queue = []
            for event in queue:
                last.put(encode_event(event, self._limit))
            last.close_nowait()
        super().__del__()

    def statistics(self) -> dict[str, Any]:
        """Return what became of the records; see `RemoteHandler`."""
        counts = super().statistics()
        if self.immediate:
            fates = self._fates
            counts["accepted"] += sum(fates.values()) + len(self.queue)
            counts["queued"] += len(self.queue)
            counts["delivered"] += fates["delivered"]
            counts["dead"] += fates["dead"]
            if fates["full"]:
                dropped = counts["dropped"]
                counts["dropped"] = {**dropped, "full": dropped.get("full", 0) + fates["full"]}
        return counts

    # -- in the thread that delivers

    def deliver(self, items: list[Any]) -> None:
        """Send events as one message, over UDP as several if need be.

        Raises:
            OSError: Riemann cannot be reached, or does not answer properly.
            ValueError: It refuses them; what for, one learns by sending them one by one.
            PartlyDelivered: The first of them are sent.
        """
        if not self.immediate:
            self._take_off_queue(items)
        self.transport.send(items)

    def _take_off_queue(self, items: list[Any]) -> None:
        """Take off the queue what is sent before there are enough."""
        with self._lock:
            found = [self._events.pop(id(item), None) for item in items]
            gone = {id(pair[1]) for pair in found if pair is not None}
            if gone:
                self.queue = [event for event in self.queue if id(event) not in gone]

    def disconnect(self) -> None:
        """Close the connection."""
        transport = self.__dict__.get("transport")
        if transport is not None:
            transport.disconnect()

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for: the child starts anew."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do."""

    def after_fork_in_child(self) -> None:
        """Start with an empty queue: what was in it is the parent's to send."""
        self._begin_anew()
