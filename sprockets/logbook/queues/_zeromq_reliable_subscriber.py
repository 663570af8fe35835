"""The receiving end of the reliable way through ZeroMQ: what was dispatched is acknowledged."""

from __future__ import annotations

from collections import deque
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from sprockets._support.optional import optional
from sprockets.logbook import _caller
from sprockets.logbook.queues._arrivals import Arrivals
from sprockets.logbook.queues._batches import decode_lines
from sprockets.logbook.queues._subscriber import (
    SubscriberBase,
    Timeout,
    checked_timeout,
    dispatch,
    report_here,
)
from sprockets.logbook.queues._wire import MalformedRecordError
from sprockets.logbook.queues._zeromq_context import (
    abandon,
    close_at_exit,
    end_context,
    shared_context,
)
from sprockets.logbook.queues._zeromq_curve import (
    DOMAIN,
    AllowedKeys,
    Gate,
    Key,
    checked_key,
    key_check,
)
from sprockets.logbook.queues._zeromq_link import (
    ACK,
    BATCH,
    MAX_MESSAGE,
    NUMBER_LENGTH,
    set_heartbeat,
)
from sprockets.logbook.queues._zeromq_receiving import Receiver
from sprockets.logbook.record import LogRecord

if TYPE_CHECKING:
    import zmq

_caller.register(__file__)

_MAX_UNACKNOWLEDGED: Final = 100_000
_LAST_WORD: Final = 0.05
"""Seconds that an acknowledgement has to leave: ZeroMQ may forget it when the socket is closed."""
_QUEUED_BATCHES: Final = 16
"""Batches that ZeroMQ keeps for each sender while nobody receives."""


class ReliableZeroMQSubscriber(SubscriberBase):
    """Receives records from any number of `ReliableZeroMQHandler`.

    Each is acknowledged once it was dispatched, whether or not a handler failed; before that, its
    sender keeps it.  Who calls :meth:`recv` acknowledges what it returns.  Records that come a
    second time are left out.

    One thread at a time may receive; :meth:`acknowledge` and :meth:`close` may be called from any.
    A forked child cannot use what it inherits.

    Args:
        uri: Where senders connect to; ``None`` leaves that to the user of ``socket``.
        context: Makes the socket, and is never terminated here; ``None`` is one of our own.
        secret_key: The secret key of this subscriber: senders must know the public one, and all is
            encrypted.
        client_keys: Who may send, by their public keys: a file with one a line, the keys, or a
            function that is called with one and says; ``None`` is whoever knows this subscriber's
            public key.  With it, *context* must not have another such subscriber.
        heartbeat: Seconds between two heartbeats, by which a dead connection is noticed; 0 is none.
        max_unacknowledged: Records that may be received and not acknowledged.

    Raises:
        MissingDependency: pyzmq is not installed.
        ValueError: A key is none, or *client_keys* came without *secret_key*.
        OSError: The file of *client_keys* cannot be read.
        zmq.ZMQError: *uri* cannot be bound.
    """

    context: zmq.Context[Any]
    socket: zmq.Socket[Any]

    def __init__(
        self,
        uri: str | None = None,
        context: zmq.Context[Any] | None = None,
        *,
        secret_key: Key | None = None,
        client_keys: AllowedKeys | None = None,
        heartbeat: float = 2.0,
        max_unacknowledged: int = _MAX_UNACKNOWLEDGED,
    ) -> None:
        zmq: Any = optional("zmq", extra="zmq", needed_by=type(self).__name__)
        self._zmq = zmq
        self._arrivals: Arrivals = Arrivals()
        self._records: deque[LogRecord] = deque()
        self._interrupted: LogRecord | None = None
        self._unacknowledged: dict[str, _Batch] = {}
        self._max_unacknowledged = max_unacknowledged
        self._acks: deque[tuple[bytes, bytes]] = deque()
        self._acknowledged_at = float("-inf")
        self._refused = 0
        self._refusal_reported_at = float("-inf")
        is_allowed = None if client_keys is None else key_check(client_keys)
        if secret_key is None and is_allowed is not None:
            raise ValueError("client_keys without a secret_key keep nobody out")
        secret = None if secret_key is None else checked_key(secret_key, "secret_key")
        # One context has one gate, and so a subscriber with a gate has a context of its own.
        self._own_context = zmq.Context() if context is None and is_allowed is not None else None
        self.context = context or self._own_context or shared_context()
        self._gate: Gate | None = None
        self.socket = self.context.socket(zmq.ROUTER)
        try:
            self.socket.setsockopt(zmq.LINGER, 1000)
            self.socket.setsockopt(zmq.RCVHWM, _QUEUED_BATCHES)
            self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
            set_heartbeat(zmq, self.socket, heartbeat)
            if secret is not None:
                self.socket.setsockopt(zmq.CURVE_SERVER, 1)
                self.socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
            if is_allowed is not None:
                self.socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
                self._gate = Gate(self.context, is_allowed, self._refuse)
            self._receiver = Receiver(
                self.socket, self._between, () if self._gate is None else (self._gate.socket,)
            )
            if uri is not None:
                self.socket.bind(uri)
        except BaseException:
            self.socket.close(0)
            if self._gate is not None:
                self._gate.socket.close()
            if self._own_context is not None:
                end_context(self._own_context)
            raise
        close_at_exit(self)

    # -- receiving

    def recv(self, timeout: Timeout = None) -> LogRecord | None:
        """Return the next record; None if there is none in time.  Give it to :meth:`acknowledge`.

        Args:
            timeout: Seconds to wait at most; None means for ever, 0 not at all.

        Raises:
            zmq.ZMQError: The subscriber is closed.
            RuntimeError: Too many records have been received and not been acknowledged.
            ValueError: *timeout* is negative.
        """
        checked_timeout(timeout)
        while not self._records:
            if len(self._unacknowledged) >= self._max_unacknowledged:
                raise RuntimeError(
                    f"{len(self._unacknowledged)} records were received and not acknowledged; call "
                    "acknowledge() with each"
                )
            frames = next(self._receiver.messages(timeout), None)
            if frames is None:
                return None
            self._take(frames)
        self._received += 1
        return self._records.popleft()

    def _take(self, frames: list[bytes]) -> None:
        """Take the records of a batch."""
        message = b"".join(frames[1:])
        end = len(BATCH) + NUMBER_LENGTH
        if len(frames) != 2 or not message.startswith(BATCH) or message[end : end + 1] != b"\n":
            self._count_malformed(
                message, MalformedRecordError(f"no batch, in {len(frames) - 1} frames")
            )
            return
        batch = _Batch(frames[0], message[len(BATCH) : end])
        records: list[LogRecord] = []
        for decoded in decode_lines(message[end + 1 :]):
            if isinstance(decoded, tuple):
                self._count_malformed(*decoded)
            else:
                records.append(decoded)
        ids: list[Any] = [record.__dict__.get("record_id") for record in records]
        if self._arrivals.admit_run(ids):
            # Nearly always.
            batch.left = len(ids)
            self._unacknowledged.update(dict.fromkeys(ids, batch))
            self._records.extend(records)
        else:
            self._take_one_by_one(batch, records)

    def _take_one_by_one(self, batch: _Batch, records: list[LogRecord]) -> None:
        followed = set()
        for record in records:
            record_id = record.__dict__.get("record_id")
            if self._arrivals.admit(record_id):
                if type(record_id) is str:
                    batch.left += 1
                    self._unacknowledged[record_id] = batch
                self._records.append(record)
            else:
                earlier = self._unacknowledged.get(str(record_id))
                if earlier is not None and earlier is not batch:
                    followed.add(earlier)
        for earlier in followed:
            # What it brings again is still on its way through here.
            earlier.followers.append(batch)
            batch.left += 1
        self._settle(batch)

    def dispatch_once(self, timeout: Timeout = None) -> bool:
        """Receive one record, dispatch it, and acknowledge it; return whether there was one.

        A record whose handlers fail has been dispatched.  One at which an interrupt came, or the
        wish to exit, may not have been: it is the next again, and if this process ends before, its
        sender has it still.  If that happens to it a second time, it is dealt with.

        Args:
            timeout: As for :meth:`recv`.
        """
        record = self.recv(timeout)
        if record is None:
            return False
        try:
            dispatch(record)
        except Exception:
            self.acknowledge(record)
            raise
        except BaseException:
            if self._interrupted is record:
                # Somebody goes on in spite of it, and would never get beyond this record.
                self.acknowledge(record)
            else:
                self._interrupted = record
                self._records.appendleft(record)
                self._received -= 1
            raise
        self.acknowledge(record)
        return True

    # -- acknowledging

    def acknowledge(self, record: LogRecord) -> None:
        """Tell the sender of *record*, once it was the last of its batch, that it is dealt with."""
        batch = self._unacknowledged.pop(record.__dict__.get("record_id", ""), None)
        if batch is not None:
            batch.left -= 1
            if not batch.left:
                self._settle(batch)

    def _settle(self, batch: _Batch) -> None:
        if batch.left:
            return
        self._acks.append((batch.sender, batch.number))
        for follower in batch.followers:
            follower.left -= 1
            self._settle(follower)
        # If somebody is waiting for messages, that one sends them before it goes on.
        self._receiver.using(self._send_acks)

    def _send_acks(self) -> None:
        while self._acks:
            sender, number = self._acks.popleft()
            try:
                self.socket.send_multipart([sender, ACK + number], self._zmq.NOBLOCK)
                self._acknowledged_at = monotonic()
            except self._zmq.ZMQError:
                # It has gone, or does not read: it sends the batch again, and is told then.
                continue

    def _between(self) -> None:
        self._send_acks()
        if self._gate is not None:
            self._gate.answer()

    def _refuse(self, key: str, reason: str) -> None:
        self._refused += 1
        now = monotonic()
        if now - self._refusal_reported_at >= 60.0:
            self._refusal_reported_at = now
            try:
                raise PermissionError(f"a sender with the key {key!r} is refused: {reason}")
            except PermissionError:
                report_here(None)

    # -- what users look at

    def statistics(self) -> dict[str, int]:
        """Return what came.

        That is what `SubscriberBase` counts; ``refused``, connections of senders that may not send;
        and ``unacknowledged``, records that are here and not dealt with.
        """
        return {
            **super().statistics(),
            "refused": self._refused,
            "unacknowledged": len(self._unacknowledged),
        }

    @property
    def is_ended(self) -> bool:
        """Whether the subscriber is closed."""
        return self._receiver.is_closed

    def close(self) -> None:
        """Close the socket, which ends a thread that receives; closing twice is closing once.

        Records that were received and not dispatched are still with their senders.
        """
        if not self._receiver.is_closed:
            self._receiver.using(self._send_acks)
            sleep(max(0.0, self._acknowledged_at + _LAST_WORD - monotonic()))
        self._close()

    def _close(self) -> None:
        receiver = self.__dict__.get("_receiver")
        if receiver is not None:
            receiver.using(self._send_acks)
            receiver.close()
            self._end_context()

    def _end_context(self) -> None:
        context, self._own_context = self._own_context, None
        if context is None:
            return
        if self._receiver.is_inherited:
            abandon(context)
        else:
            end_context(context)

    def close_at_exit(self) -> None:
        """Close."""
        self.close()

    def __del__(self) -> None:
        # Anything may be interrupted by this, so it waits for nothing.
        try:
            self._close()
        except Exception:  # noqa: BLE001 - the subscriber may be half made, the interpreter half gone
            return


class _Batch:
    """A batch of which something is not dealt with yet."""

    __slots__ = ("followers", "left", "number", "sender")

    def __init__(self, sender: bytes, number: bytes) -> None:
        self.sender = sender
        self.number = number
        self.left = 0
        self.followers: list[_Batch] = []
