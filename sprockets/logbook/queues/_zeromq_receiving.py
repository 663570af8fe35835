"""Receiving from a ZeroMQ socket that another thread, or a signal handler, may close.

Closing a socket that somebody waits at is not defined.  So waits are short, and who finds another
one waiting leaves the closing to that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from threading import Lock, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from sprockets.logbook import _fork
from sprockets.logbook.queues._subscriber import ClosedError, Timeout

if TYPE_CHECKING:
    import zmq

_SLICE: Final = 0.05
"""Seconds that a wait takes at most before it is looked whether to go on."""


@cache
def _closed_error() -> type[Exception]:
    import zmq

    class ClosedSocketError(zmq.ZMQError, ClosedError):
        """The subscriber is closed."""

    return ClosedSocketError


class Receiver:
    """Takes messages off a socket.

    Args:
        socket: Closed with the receiver.
        also: Called before every wait, in the thread that waits, while it may use the socket.
        others: Further sockets whose messages end a wait, so that *also* is called.
    """

    def __init__(
        self,
        socket: zmq.Socket[Any],
        also: Callable[[], object] | None = None,
        others: tuple[zmq.Socket[Any], ...] = (),
    ) -> None:
        import zmq

        self._zmq = zmq
        self._socket = socket
        self._sockets = (socket, *others)
        self._also = also
        self._poller = zmq.Poller()
        for each in self._sockets:
            self._poller.register(each, zmq.POLLIN)
        self._pid = _fork.pid
        self._lock = Lock()
        self._holder = 0
        self._is_closing = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing will come any more."""
        return self._is_closing or self._socket.closed

    @property
    def is_inherited(self) -> bool:
        """Whether the socket belongs to the process that forked this one."""
        return self._pid != _fork.pid

    def messages(self, timeout: Timeout) -> Iterator[list[bytes]]:
        """Yield messages, each as its frames, until there is none for *timeout* seconds in all.

        Raises:
            zmq.ZMQError: The socket is closed, or belongs to the process that forked this one.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            remaining = None if deadline is None else max(0.0, deadline - monotonic())
            frames = self._next(_SLICE if remaining is None else min(_SLICE, remaining))
            if frames is not None:
                yield frames
            elif remaining is not None and remaining <= 0:
                return

    def _next(self, wait: float) -> list[bytes] | None:
        """Return the next message, waiting *wait* seconds at most."""
        self._check()
        frames: list[bytes] | None = None
        with self._lock:
            self._holder = get_ident()
            try:
                if self._also is not None:
                    self._also()
                frames = self._take()
                if frames is None and wait > 0 and not self.is_closed:
                    # Rounded up: what is less than a millisecond must not become a busy loop.
                    self._poller.poll(int(wait * 1000) + 1)
                    if not self.is_closed:
                        frames = self._take()
            except self._zmq.ZMQError as error:
                if not (self._socket.closed or error.errno == self._zmq.ETERM):
                    raise
                self._is_closing = True
                raise _closed_error()(error.errno) from error
            finally:
                self._holder = 0
                if self._is_closing:
                    self._close_sockets()
        return frames

    def _take(self) -> list[bytes] | None:
        try:
            frames: list[bytes] = self._socket.recv_multipart(self._zmq.NOBLOCK)
        except self._zmq.Again:
            return None
        return frames

    def _check(self) -> None:
        if self.is_inherited:
            raise _closed_error()(
                self._zmq.ENOTSOCK,
                "a socket does not survive a fork: make a subscriber in the child",
            )
        if self.is_closed:
            raise _closed_error()(self._zmq.ENOTSOCK)

    def using(self, action: Callable[[], object]) -> bool:
        """Call *action*, which uses the socket, unless somebody waits at it; return whether."""
        if self.is_closed or self.is_inherited or not self._lock.acquire(blocking=False):
            return False
        try:
            self._holder = get_ident()
            action()
        finally:
            self._holder = 0
            if self._is_closing:
                self._close_sockets()
            self._lock.release()
        return True

    def close(self) -> None:
        """Close the sockets, or have the thread do it that waits at them; twice is once."""
        if self.is_inherited:
            return
        self._is_closing = True
        if self._holder == get_ident():
            return  # a signal handler, in the middle of a wait
        if self._lock.acquire(timeout=10 * _SLICE):
            try:
                self._close_sockets()
            finally:
                self._lock.release()

    def _close_sockets(self) -> None:
        for socket in self._sockets:
            socket.close()
