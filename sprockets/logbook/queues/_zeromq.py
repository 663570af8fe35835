"""ZeroMQ, as Logbook speaks it: one frame a record, best effort, in both directions with Logbook.

For records that must arrive there is `sprockets.logbook.queues._zeromq_reliable`.
"""

from __future__ import annotations

import json
from collections import deque
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from sprockets._support.optional import optional
from sprockets.logbook import _caller, _fork
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.handlers._base import Filter, Handler
from sprockets.logbook.queues._arrivals import Arrivals
from sprockets.logbook.queues._batches import decode
from sprockets.logbook.queues._ordinary import encode_whole
from sprockets.logbook.queues._subscriber import SubscriberBase, Timeout, checked_timeout
from sprockets.logbook.queues._wire import (
    MAX_BYTES,
    MalformedRecordError,
    RecordIds,
)
from sprockets.logbook.queues._zeromq_context import abandon, close_at_exit, shared_context
from sprockets.logbook.queues._zeromq_receiving import Receiver
from sprockets.logbook.record import LogRecord

if TYPE_CHECKING:
    import zmq

_caller.register(__file__)

_LINGER_MS: Final = 100
"""Milliseconds for what is under way when a handler is collected, or the program ends."""


class ZeroMQHandler(Handler):
    """Sends each record as one message of JSON, and waits for nobody.

    It publishes (PUB, which binds *uri*) or, with *multi*, pushes (PUSH, which connects to it).
    What is published while no subscriber is connected is lost, and the subscriber counts it as a
    gap; what is pushed queues up, and beyond the high-water mark, a thousand messages, a record is
    an error of the log call.  `ReliableZeroMQHandler` loses neither.

    In a forked child a handler that pushes connects anew at its first record.  One that publishes
    cannot: the address is the parent's.

    Args:
        uri: Where to publish, or whom to push to; ``None`` leaves that to the user of ``socket``.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        context: Makes the socket, and is never terminated here; ``None`` is one of our own, for
            all there are in this process.
        multi: Push to one subscriber of many handlers, rather than publish to many subscribers.

    Raises:
        MissingDependency: pyzmq is not installed.
        zmq.ZMQError: *uri* cannot be bound or connected to.
    """

    context: zmq.Context[Any]
    socket: zmq.Socket[Any]
    uri: str | None
    multi: bool

    def __init__(
        self,
        uri: str | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        context: zmq.Context[Any] | None = None,
        multi: bool = False,
    ) -> None:
        super().__init__(level, filter, bubble)
        self._zmq: ModuleType = optional("zmq", extra="zmq", needed_by=type(self).__name__)
        self.uri = uri
        self.multi = multi
        self._ids = RecordIds()
        self._sent = self._failed = 0
        self._is_inherited = False
        self._forget_turn()
        self.context = shared_context() if context is None else context
        self._open()
        _fork.hold_at_fork(self)
        close_at_exit(self)

    def _forget_turn(self) -> None:
        self._lock = RLock()
        self._is_sending = False
        # What a signal handler or a finaliser logs while this thread sends.
        self._aside: deque[bytes] = deque()

    def _open(self) -> None:
        zmq = self._zmq
        self.socket = self.context.socket(zmq.PUSH if self.multi else zmq.PUB)
        try:
            if self.uri is not None:
                (self.socket.connect if self.multi else self.socket.bind)(self.uri)
        except BaseException:
            self.socket.close(0)
            raise

    def export_record(self, record: LogRecord) -> dict[str, Any]:
        """Return the facts of *record* that are sent; an override may add to them or leave out.

        Raises:
            TypeError: The message cannot be formatted.
        """
        return record.to_dict(json_safe=True)

    def _encode(self, record: LogRecord) -> bytes:
        if type(self).export_record is ZeroMQHandler.export_record:
            if record.args or record.kwargs:
                record.message  # noqa: B018 - raises if it cannot be formatted
            return encode_whole(record, self._ids.next())
        facts = self.export_record(record)
        facts.setdefault("record_id", self._ids.next())
        return json.dumps(facts, separators=(",", ":")).encode("ascii")

    def emit(self, record: LogRecord) -> None:
        """Send *record*, without waiting.

        Raises:
            zmq.Again: There is no room for it, because nobody takes what is pushed.
            zmq.ZMQError: The handler is closed, or was inherited by a forked child and cannot
                publish there.
            TypeError: The message cannot be formatted.
        """
        try:
            self._send(self._encode(record))
        except Exception:
            self._failed += 1
            raise

    def _send(self, data: bytes) -> None:
        with self._lock:
            if self._is_sending:
                self._aside.append(data)
                return
            self._is_sending = True
            try:
                if self._is_inherited:
                    self._reopen()
                self._send_now(data)
                while self._aside:
                    self._send_now(self._aside.popleft())
            finally:
                self._is_sending = False

    def _send_now(self, data: bytes) -> None:
        self.socket.send(data, self._zmq.NOBLOCK)
        self._sent += 1

    def _reopen(self) -> None:
        if self.uri is None:
            raise self._zmq.ZMQError(
                self._zmq.ENOTSOCK,
                "a socket does not survive a fork, and who connected it has to do it again: make a "
                "handler in the child",
            )
        if self.socket.closed:
            return
        abandon(self.socket, self.context)
        self.context = shared_context()
        self._open()
        self._is_inherited = False

    def statistics(self) -> dict[str, int]:
        """Return how many records were ``sent``, and for how many of them that ``failed``.

        What is sent is with ZeroMQ, and not necessarily with anybody else.
        """
        return {"sent": self._sent, "failed": self._failed}

    def close(self, linger: int = -1) -> None:
        """Close the socket, at once; closing twice is closing once.

        Args:
            linger: Milliseconds for which what was sent may still be under way; -1 is as long as
                the context lives, 0 discards it.
        """
        socket = self.__dict__.get("socket")
        if socket is None or self._is_inherited:
            return
        with self._lock:
            socket.close(linger)

    def close_at_exit(self) -> None:
        """Close, and leave what is under way a moment."""
        if not self.socket.closed:
            self.close(_LINGER_MS)

    def __del__(self) -> None:
        try:
            self.close(_LINGER_MS)
        except Exception:  # noqa: BLE001 - the handler may be half made, the interpreter half gone
            return

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for: the child opens a socket of its own."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Open another socket when there is something to send."""
        self._is_inherited = True
        self._sent = self._failed = 0
        self._forget_turn()


class ZeroMQSubscriber(SubscriberBase):
    """Receives records from `ZeroMQHandler`, or from Logbook's.

    It subscribes (SUB, which connects to *uri*) or, with *multi*, pulls (PULL, which binds it).
    Both sides must agree on that, or nothing comes.

    One thread at a time may receive; :meth:`close` may be called from any.  A forked child cannot
    use what it inherits.

    Args:
        uri: Where to receive from; ``None`` leaves that to the user of ``socket``.
        context: Makes the socket, and is never terminated here; ``None`` is one of our own.
        multi: Receive from many handlers that push.
        from_the_first: Whether all that a handler sent before it was first heard of counts as
            gaps; ``None`` means without *multi*, where nothing is kept for who comes late.

    Raises:
        MissingDependency: pyzmq is not installed.
        zmq.ZMQError: *uri* cannot be bound or connected to.
    """

    context: zmq.Context[Any]
    socket: zmq.Socket[Any]

    def __init__(
        self,
        uri: str | None = None,
        context: zmq.Context[Any] | None = None,
        multi: bool = False,
        *,
        from_the_first: bool | None = None,
    ) -> None:
        zmq: Any = optional("zmq", extra="zmq", needed_by=type(self).__name__)
        self.context = shared_context() if context is None else context
        self.socket = self.context.socket(zmq.PULL if multi else zmq.SUB)
        self._receiver = Receiver(self.socket)
        self._arrivals = Arrivals(not multi if from_the_first is None else from_the_first)
        try:
            # A peer that sends more is disconnected, before memory is found for it.
            self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
            if not multi:
                self.socket.setsockopt(zmq.SUBSCRIBE, b"")
            if uri is not None:
                (self.socket.bind if multi else self.socket.connect)(uri)
        except BaseException:
            self.socket.close(0)
            raise
        close_at_exit(self)

    def recv(self, timeout: Timeout = None) -> LogRecord | None:
        """Return the next record; None if there is none in time.

        Args:
            timeout: Seconds to wait at most; None means for ever, 0 not at all.

        Raises:
            MalformedRecordError: What came is no record; all its frames are consumed.
            zmq.ZMQError: The subscriber is closed.
            ValueError: *timeout* is negative.
        """
        checked_timeout(timeout)
        for frames in self._receiver.messages(timeout):
            record = self._record_of(frames)
            if self._arrivals is None or self._arrivals.admit(record.__dict__.get("record_id")):
                self._received += 1
                return record
        return None

    def _record_of(self, frames: list[bytes]) -> LogRecord:
        try:
            if len(frames) != 1:
                raise MalformedRecordError(
                    f"a message of {len(frames)} frames, where a record is one: {frames[0][:100]!r}"
                )
            return decode(frames[0])
        except MalformedRecordError as error:
            self._count_malformed(b"".join(frames), error)
            raise

    @property
    def is_ended(self) -> bool:
        """Whether the subscriber is closed."""
        return self._receiver.is_closed

    def close(self) -> None:
        """Close the socket, which ends a thread that receives; closing twice is closing once."""
        receiver = self.__dict__.get("_receiver")
        if receiver is not None:
            receiver.close()

    def close_at_exit(self) -> None:
        """Close."""
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # noqa: BLE001 - the subscriber may be half made, the interpreter half gone
            return
