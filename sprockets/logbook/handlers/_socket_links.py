"""Sockets of handlers that send at once: opened anew when need be, and in a child process."""

from __future__ import annotations

import _thread
import contextlib
import errno
import os
import select
import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from socket import socket as Socket
from threading import RLock

from sprockets.logbook import _caller, _fork
from sprockets.logbook._typing import Any, ClassVar, Final

_caller.register(__file__)

_REFUSED: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM)
_ASK_INTERVAL: Final = 5.0
"""Seconds between two questions to the name service."""


class Link(ABC):
    """A socket that is opened anew when need be, and in a child process."""

    takes_batches: ClassVar[bool] = False
    """Whether several messages may be sent as one."""

    socket: Socket | None = None

    def __init__(self) -> None:
        self.counts = {"sent": 0, "refused": 0, "opened": 0}
        self._lock = RLock()
        self._held_at_fork = False
        _fork.hold_at_fork(self)

    @abstractmethod
    def _connected(self) -> Socket:
        """Return a new socket that is ready to send."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send *data*, or count it as refused.

        Raises:
            OSError: The other side is not there.
        """

    def open(self) -> Socket:
        """Return the socket, a new one if there is none, for as long as connecting takes.

        Raises:
            OSError: It cannot be connected.
        """
        with self._lock:
            if self.socket is None:
                new = self._connected()
                # A signal handler may have been here meanwhile.
                old, self.socket = self.socket, new
                if old is not None:
                    old.close()
                self.counts["opened"] += 1
            return self.socket

    def drop(self, used: Socket) -> None:
        """Close *used*, so that the next message gets a new socket."""
        with self._lock:
            if self.socket is used:
                self.socket = None
            used.close()

    def close(self) -> None:
        """Close the socket; the next message opens one again."""
        sock = self.socket
        if sock is not None:
            self.drop(sock)

    # -- fork

    def before_fork(self) -> None:
        """Wait until no other thread is in the middle of a message."""
        self._held_at_fork = self._lock.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._held_at_fork:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Leave the connection to the parent: two senders would tear each other's messages."""
        self._lock = RLock()
        sock, self.socket = self.socket, None
        if sock is not None:
            # Only this process's descriptor; nothing is said to the other side.
            _close_descriptor(sock)


def _close_descriptor(sock: Socket) -> None:
    with contextlib.suppress(OSError):
        os.close(sock.detach())


class UDPLink(Link):
    """Sends datagrams to a host, to which there is no connection.

    What the name of the host means is asked in a thread: with the network the name service is
    often gone too, and then it lets one wait.

    Args:
        address: Host, a name or a number of IPv4 or IPv6, and port.
        block_timeout: Longest wait for the first answer of the name service, in seconds.
        resolve: Finds addresses, as ``socket.getaddrinfo`` does.
        clock: Returns the current time in seconds; never goes backwards.
    """

    def __init__(
        self,
        address: tuple[str, int],
        block_timeout: float = 0.005,
        resolve: Callable[..., list[Any]] = socket.getaddrinfo,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._address = address
        self._block_timeout = block_timeout
        self._resolve = resolve
        self._clock = clock
        self._found: tuple[Any, ...] | None = None
        self._failure: OSError | None = None
        self._is_asking = False
        self._ask_at = clock()

    def _connected(self) -> Socket:
        if self._found is None:
            self._find()
        family, kind, number, _, _ = self._found  # type: ignore[misc]  # found
        sock = Socket(family, kind, number)
        sock.setblocking(False)
        return sock

    def _find(self) -> None:
        self._found = self._resolve(*self._address, type=socket.SOCK_DGRAM)[0]
        self._failure = None

    def send(self, data: bytes) -> None:
        if self._found is None and not self._has_answer():
            self.counts["refused"] += 1
            return
        sock = self.socket or self.open()
        try:
            sock.sendto(data, self._found[4])  # type: ignore[index]  # found
        except OSError as error:
            if error.errno in _REFUSED:
                self.counts["refused"] += 1
                return
            if error.errno != errno.EMSGSIZE:
                self.drop(sock)
                # The host may have moved; until that is known, it is where it was.
                self._ask()
            raise
        self.counts["sent"] += 1

    def _has_answer(self) -> bool:
        """Return whether the name service answers in time; what it says against it is raised."""
        deadline = self._clock() + self._block_timeout
        self._ask()
        while self._found is None:
            if not self._is_asking and self._failure is not None:
                raise OSError(*self._failure.args) from self._failure
            if self._clock() >= deadline:
                return False
            time.sleep(0.0005)
        return True

    def _ask(self) -> None:
        """Have a thread ask what the name means, unless the last answer is not long ago."""
        if self._is_asking or self._clock() < self._ask_at:
            return
        self._is_asking = True
        try:
            _thread.start_new_thread(self._ask_here, ())
        except RuntimeError:
            self._is_asking = False

    def _ask_here(self) -> None:
        try:
            before = self._found
            self._find()
            sock = self.socket
            if before != self._found and sock is not None:
                # It may be of the wrong family now.
                self.drop(sock)
        except OSError as error:
            self._failure = error
        finally:
            self._ask_at = self._clock() + _ASK_INTERVAL
            self._is_asking = False

    def after_fork_in_child(self) -> None:
        """Begin anew, with what is known of the host."""
        super().after_fork_in_child()
        self._is_asking = False


class UnixLink(Link):
    """Sends messages to a Unix socket, datagrams if it takes them.

    Args:
        path: Path of the socket.
        block_timeout: Longest wait for the daemon to take a message, in seconds.  Once it did not,
            there is no waiting until it takes one again.
        kinds: The kinds of socket to try.
    """

    def __init__(
        self,
        path: str,
        block_timeout: float,
        kinds: tuple[int, ...] = (socket.SOCK_DGRAM, socket.SOCK_STREAM),
    ) -> None:
        super().__init__()
        self._path = path
        self._block_timeout = block_timeout
        self._kinds = kinds
        self._is_stuck = False
        self._is_under_way = False
        self._nested: deque[bytes] = deque()
        self._unsent = b""

    def _connected(self) -> Socket:
        failure: OSError | None = None
        for kind in self._kinds:
            sock = Socket(socket.AF_UNIX, kind)
            try:
                sock.connect(self._path)
            except OSError as error:
                sock.close()
                failure = error
                if error.errno != errno.EPROTOTYPE:
                    break
            else:
                sock.setblocking(False)
                self._unsent = b""
                return sock
        assert failure is not None
        raise OSError(failure.errno, failure.strerror, self._path) from failure

    def send(self, data: bytes) -> None:
        for is_last in (False, True):
            sock = self.socket or self.open()
            try:
                if sock.type == socket.SOCK_STREAM:
                    self._send_in_stream(sock, data)
                else:
                    self._count(is_taken=self._has_taken(sock, data, sock.send))
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    raise
                self.drop(sock)
                if is_last:
                    raise
            else:
                return

    def _count(self, *, is_taken: bool) -> None:
        self.counts["sent" if is_taken else "refused"] += 1
        self._is_stuck = not is_taken

    def _has_taken(self, sock: Socket, data: bytes, send: Callable[[bytes], object]) -> bool:
        """Return whether the kernel took *data*, within the time that there is."""
        deadline: float | None = None
        while True:
            try:
                send(data)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
            else:
                return True
            if self._is_stuck:
                return False
            now = time.monotonic()
            deadline = now + self._block_timeout if deadline is None else deadline
            if now >= deadline or not _wait_writable(sock, deadline - now):
                return False

    def _send_in_stream(self, sock: Socket, data: bytes) -> None:
        with self._lock:
            if self._is_under_way:
                # This thread is in the middle of a message, which comes to its end first.
                self._nested.append(data)
                return
            self._is_under_way = True
            try:
                self._count(is_taken=self._has_taken(sock, data, self._begin(sock)))
            finally:
                self._is_under_way = False
                while self._nested:
                    self._is_under_way = True
                    try:
                        # Asked again: until the flag was set, a nested call could send them all.
                        if self._nested:
                            more = self._nested.popleft()
                            self._count(is_taken=self._has_taken(sock, more, self._begin(sock)))
                    finally:
                        self._is_under_way = False

    def _begin(self, sock: Socket) -> Callable[[bytes], None]:
        """Return what begins to send a message; what has begun is ended before the next."""

        def send(data: bytes) -> None:
            while self._unsent:
                self._unsent = self._unsent[sock.send(self._unsent) :]
            self._unsent = data[sock.send(data) :]

        return send

    def close(self) -> None:
        """Close the socket, after the end of the message that has begun if it is taken at once."""
        sock = self.socket
        if sock is not None and self._unsent:
            with contextlib.suppress(OSError):
                sock.send(self._unsent)
        super().close()

    def after_fork_in_child(self) -> None:
        """Begin anew; what the parent has begun it also ends."""
        super().after_fork_in_child()
        self._is_under_way = False
        self._nested = deque()
        self._unsent = b""


def _wait_writable(sock: Socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(max(1, round(seconds * 1000))))
