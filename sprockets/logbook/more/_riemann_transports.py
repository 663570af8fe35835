"""Ways to Riemann: TCP, where it answers each message; UDP, where nobody does; and none."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from sprockets.logbook import _fork
from sprockets.logbook._text import safe_str
from sprockets.logbook.delivery import PartlyDelivered
from sprockets.logbook.more._riemann_messages import RefusedError, encode_message, read_answer

if TYPE_CHECKING:
    import ssl

MAX_DATAGRAM: Final = 16_384
"""Bytes of a datagram that Riemann takes, unless it is told otherwise."""
_MAX_ANSWER: Final = 1 << 20


class Transport(Protocol):
    """A way to Riemann."""

    def send(self, events: Sequence[bytes]) -> None:
        """Send *events*, from one thread at a time.

        Raises:
            OSError: Nobody takes them.
            RefusedError: Riemann does not want them.
            PartlyDelivered: The first of them are sent.
        """

    def disconnect(self) -> None:
        """Let go of the connection; the next events are sent over another."""


class BlankTransport:
    """Leads nowhere, for tests."""

    def send(self, events: Sequence[bytes]) -> None:
        """Send nothing."""

    def disconnect(self) -> None:
        """Do nothing: there is no connection."""


class _SocketTransport:
    """What both ways have in common: a socket that is kept, and that a forked child lets go of."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.host = host
        self.port = port
        self.timeout = timeout
        self._socket: socket.socket | None = None
        self._closings = 0
        _fork.hold_at_fork(self)

    def disconnect(self) -> None:
        """Close the socket, from whatever thread; one that is sending gives up."""
        self._closings += 1
        self._drop()

    def _drop(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not that of a TLS socket, which would wait for the other side.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            sock.close()

    def before_fork(self) -> None:
        """Nothing to wait for: the child lets go of the socket, in whatever state it is."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do: the socket stays the parent's."""

    def after_fork_in_child(self) -> None:
        """Let go of the parent's socket, without a word on it."""
        sock, self._socket = self._socket, None
        if sock is not None:
            with contextlib.suppress(OSError):
                os.close(sock.detach())


class TCPTransport(_SocketTransport):
    """Sends events as one message, and waits for the answer.

    Args:
        host: Where Riemann is.
        port: Where it listens.
        timeout: Seconds for a whole exchange, from connecting to the last byte of the answer.
        ssl_context: For TLS; ``None`` is without.
        clock: Returns the current time in seconds; never goes backwards.
    """

    def __init__(
        self,
        host: str,
        port: int,
        timeout: float,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(host, port, timeout)
        self._ssl_context = ssl_context
        self._clock = clock

    def send(self, events: Sequence[bytes]) -> None:
        """Send *events* as one message.

        Raises:
            OSError: There is no connection, no answer in time, or no proper one.
            RefusedError: Riemann says that something is wrong with them.
        """
        deadline = self._clock() + self.timeout
        closings = self._closings
        message = encode_message(events)
        try:
            sock = self._connected(deadline)
            sock.settimeout(self._remaining(deadline))
            sock.sendall(struct.pack(">I", len(message)) + message)
            (length,) = struct.unpack(">I", self._read(sock, 4, deadline))
            if length > _MAX_ANSWER:
                raise ValueError(f"{length} bytes")
            is_ok, reason = read_answer(self._read(sock, length, deadline))
        except BaseException as error:
            self._drop()
            # That a certificate is wrong is both.
            if isinstance(error, ValueError) and not isinstance(error, OSError):
                raise ConnectionError(f"no proper answer from {self.host}: {error}") from error
            raise
        if self._closings != closings:
            self._drop()
        if not is_ok:
            raise RefusedError(f"Riemann at {self.host} answered: {safe_str(reason, 300)!r}")

    def _remaining(self, deadline: float) -> float:
        remaining = deadline - self._clock()
        if remaining <= 0:
            raise TimeoutError(f"{self.host} did not answer within {self.timeout} seconds")
        return remaining

    def _connected(self, deadline: float) -> socket.socket:
        """Return the connection, a new one if the other side has hung up meanwhile."""
        if self._socket is not None and _is_dropped(self._socket):
            self._drop()
        sock = self._socket
        if sock is None:
            sock = socket.create_connection((self.host, self.port), self._remaining(deadline))
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._ssl_context is not None:
                    sock.settimeout(self._remaining(deadline))
                    sock = self._ssl_context.wrap_socket(sock, server_hostname=self.host)
            except BaseException:
                sock.close()
                raise
            self._socket = sock
        return sock

    def _read(self, sock: socket.socket, count: int, deadline: float) -> bytes:
        parts = []
        while count:
            sock.settimeout(self._remaining(deadline))
            part = sock.recv(min(count, 65_536))
            if not part:
                raise ConnectionError(f"{self.host} closed the connection without an answer")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class UDPTransport(_SocketTransport):
    """Sends events in datagrams, as many in each as fit; nobody says whether they arrive.

    Args:
        host: Where Riemann is.
        port: Where it listens.
        timeout: Seconds that sending one may take.
    """

    def send(self, events: Sequence[bytes]) -> None:
        """Send *events*.

        Raises:
            OSError: The system cannot send; or it has learnt that nobody listens there.
            PartlyDelivered: The first of them are sent.
        """
        done = 0
        closings = self._closings
        for datagram in _datagrams(events):
            try:
                self._connected().send(encode_message(datagram))
            except OSError as error:
                self._drop()
                if done:
                    raise PartlyDelivered(done, f"after {done}: {error}") from error
                raise
            done += len(datagram)
        if self._closings != closings:
            self._drop()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_DGRAM
            )[0]
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(self.timeout)
                # Connected, so that the system says if nobody listens there.
                sock.connect(address)
            except BaseException:
                sock.close()
                raise
            self._socket = sock
        return self._socket


def _datagrams(events: Sequence[bytes]) -> list[list[bytes]]:
    found: list[list[bytes]] = []
    length = MAX_DATAGRAM
    for event in events:
        if length + len(event) > MAX_DATAGRAM:
            found.append([])
            length = 0
        found[-1].append(event)
        length += len(event)
    return found


def _is_dropped(sock: socket.socket) -> bool:
    """Return whether a connection on which nothing was asked has something to read: its end."""
    try:
        # Not select(), which knows the first 1,024 descriptors only.
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True
