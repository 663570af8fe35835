"""The sending end of the reliable way through ZeroMQ, as a handler."""

from __future__ import annotations

import weakref
from threading import Lock
from typing import TYPE_CHECKING, Any

from sprockets._support.optional import optional
from sprockets.logbook import _caller, _fork
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.delivery import PartlyDelivered, Retry, Spool
from sprockets.logbook.delivery._ledger import Policy
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.queues._ordinary import encode_line
from sprockets.logbook.queues._wire import MAX_BYTES, RecordIds
from sprockets.logbook.queues._zeromq_context import abandon, shared_context
from sprockets.logbook.queues._zeromq_curve import Key, checked_key
from sprockets.logbook.queues._zeromq_link import Link
from sprockets.logbook.record import LogRecord

if TYPE_CHECKING:
    import zmq

_caller.register(__file__)


class ReliableZeroMQHandler(RemoteHandler):
    """Sends records to a `ReliableZeroMQSubscriber`, and keeps each until it was dispatched there.

    A log call never waits for the subscriber.  While there is none, records stay in memory, or in
    the *spool*; see `RemoteHandler` for that, for closing, and for the end of the program.  Records
    may come twice where a connection breaks; they have names, and the subscriber leaves out the
    second.

    It may be used in forked children, each of which connects for itself.

    Args:
        uri: Where the subscriber is.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        context: Makes the socket, and is never terminated here; ``None`` is one of our own.  A
            forked child uses one of its own in any case.
        server_key: The subscriber's public key, with which all is encrypted.
        keys: Our public and our secret key; without them, a pair is made.
        timeout: Seconds without any acknowledgement after which all is sent again.
        heartbeat: Seconds between two heartbeats, by which a dead connection is noticed; 0 is none.
        capacity: Records in memory at most.
        max_bytes: Bytes of them at most.
        policy: What to do beyond these; ``None`` means ``"spill"`` with a spool, and else
            ``"drop_oldest"``, which is counted and reported.
        batch_size: Records sent before the acknowledgement of the first of them at most.
        retry: When to try again; ``None`` means twice a second or so.
        spool: Where to keep what cannot be delivered; closed with the handler.
        **options: The rest of `RemoteHandler`'s.

    Raises:
        MissingDependency: pyzmq is not installed.
        ValueError: A key is none, or *keys* came without *server_key*.
        zmq.ZMQError: *uri* is none that can be connected to.
    """

    pulls_information = False

    def __init__(
        self,
        uri: str,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        context: zmq.Context[Any] | None = None,
        *,
        server_key: Key | None = None,
        keys: tuple[Key, Key] | None = None,
        timeout: float = 30.0,
        heartbeat: float = 2.0,
        capacity: int = 100_000,
        max_bytes: int = 64 << 20,
        policy: Policy | None = None,
        batch_size: int = 20_000,
        retry: Retry | None = None,
        spool: Spool | None = None,
        **options: Any,
    ) -> None:
        self._zmq: Any = optional("zmq", extra="zmq", needed_by=type(self).__name__)
        self.uri = uri
        self.context = context
        self._link_options: dict[str, Any] = {
            "timeout": timeout,
            "heartbeat": heartbeat,
            "options": self._curve_options(server_key, keys),
        }
        self._ids = RecordIds()
        self._resent = 0
        self._is_cut = False
        self._link: Link | None = self._connect()
        self._link_lock = Lock()
        super().__init__(
            level,
            filter,
            bubble,
            capacity=capacity,
            max_bytes=max_bytes,
            policy=policy or ("drop_oldest" if spool is None else "spill"),
            batch_size=batch_size,
            retry=retry or Retry(initial=0.2, maximum=1.0),
            spool=spool,
            **options,
        )
        _fork.hold_at_fork(self)
        self.ready(ReliableZeroMQHandler)

    def _curve_options(
        self, server_key: Key | None, keys: tuple[Key, Key] | None
    ) -> dict[str, bytes]:
        if server_key is None:
            if keys is not None:
                raise ValueError("keys without the server_key of the subscriber encrypt nothing")
            return {}
        public, secret = keys or self._zmq.curve_keypair()
        return {
            "curve_serverkey": checked_key(server_key, "server_key"),
            "curve_publickey": checked_key(public, "the first of keys"),
            "curve_secretkey": checked_key(secret, "the second of keys"),
        }

    def encode(self, record: LogRecord) -> bytes:
        """Return *record* as a line of JSON, with a name.

        Raises:
            ValueError: It is too large for any subscriber.
            TypeError: The message cannot be formatted.
        """
        line = encode_line(record, self._ids.next())
        if len(line) > MAX_BYTES:
            raise ValueError(f"a record of {len(line)} bytes, where at most {MAX_BYTES} are sent")
        return line

    def deliver(self, items: list[bytes]) -> None:
        """Send *items*, and wait until all have been acknowledged."""
        try:
            self._send(items)
        except (PartlyDelivered, ConnectionAbortedError):
            # After the end the engine has dealt with them, and said so.
            if not (self._is_cut and self.delivery.is_closed):
                raise
        finally:
            if self._is_cut:
                self.disconnect()

    def _send(self, items: list[bytes]) -> None:
        with self._link_lock:
            try:
                if self._is_cut:
                    raise ConnectionAbortedError(f"{self.uri}: closed")
                if self._link is None:
                    self._link = self._connect()
                self._link.send(items)
            except ConnectionRefusedError:
                # ZeroMQ may not come back by itself to who refused it.
                self._close_link()
                raise
            except self._zmq.ZMQError as error:
                self._close_link()
                raise ConnectionAbortedError(f"{self.uri}: {error}") from error
            finally:
                if self._is_cut:
                    self._close_link()

    def _connect(self) -> Link:
        this = weakref.ref(self)
        return Link(
            shared_context() if self.context is None else self.context,
            self.uri,
            is_cut=lambda: (handler := this()) is None or handler._is_cut,
            **self._link_options,
        )

    def _close_link(self) -> None:
        if self._link is not None:
            self._resent += self._link.resent
            self._link.close()
            self._link = None

    def disconnect(self) -> None:
        """Close the connection, or have the thread do it that uses it."""
        self._is_cut = True
        if self._link_lock.acquire(blocking=False):
            try:
                self._close_link()
            finally:
                self._link_lock.release()

    @property
    def is_connected(self) -> bool:
        """Whether a subscriber was there when something was last sent."""
        link = self._link
        return link is not None and link.is_connected

    def statistics(self) -> dict[str, Any]:
        """Return what became of the records.

        That is what `RemoteHandler` counts, and ``resent``: batches that were sent again because
        the connection broke.
        """
        link = self._link
        resent = self._resent + (0 if link is None else link.resent)
        return {**super().statistics(), "resent": resent}

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for: the child has a connection of its own."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Connect anew when there is something to send."""
        if self._link is not None:
            abandon(*self._link.abandoned())
        if self.context is not None:
            abandon(self.context)
        self._link = None
        self.context = None
        self._resent = 0
        self._link_lock = Lock()
