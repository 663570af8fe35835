"""TCP and TLS for handlers: streams of messages, and how one knows that they were read."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from socket import socket as Socket

from sprockets.logbook import _caller
from sprockets.logbook._typing import TYPE_CHECKING, Final
from sprockets.logbook.handlers._socket_links import Link

if TYPE_CHECKING:
    import ssl

_caller.register(__file__)

_SETTLING: Final = 1.0
"""Seconds after which a server has said what it says after a handshake."""


class TCPLink(Link):
    """Sends streams of messages over TCP, or TLS.

    Args:
        address: Host, a name or a number of IPv4 or IPv6, and port.
        tls: ``True``, or a context.
        timeout: Longest wait for the server, in seconds.
        confirm: Whether each batch has a connection of its own, whose end confirms it.
    """

    takes_batches = True

    def __init__(
        self,
        address: tuple[str, int],
        tls: bool | ssl.SSLContext,
        timeout: float,
        *,
        confirm: bool,
    ) -> None:
        super().__init__()
        self._address = address
        self._timeout = timeout
        self._confirm = confirm
        self._closings = 0
        self._opened_at = 0.0
        self._context: ssl.SSLContext | None = None
        if tls:
            import ssl

            self._context = tls if isinstance(tls, ssl.SSLContext) else ssl.create_default_context()

    def _connected(self) -> Socket:
        sock = socket.create_connection(self._address, self._timeout)
        self._opened_at = time.monotonic()
        if self._context is None:
            return sock
        try:
            return self._context.wrap_socket(sock, server_hostname=self._address[0])
        except BaseException:
            sock.close()
            raise

    def send(self, data: bytes) -> None:
        with self._lock:
            closings = self._closings
            if self.socket is not None and _is_closed_there(self.socket, self._timeout):
                self.drop(self.socket)
            for is_last in (False, True):
                sock = self.open()
                try:
                    self._check(closings)
                    sock.sendall(data)
                    if self._confirm:
                        self._wait_confirmed(sock, closings)
                except OSError:
                    self.drop(sock)
                    if is_last or self._closings != closings:
                        raise
                else:
                    self.counts["sent"] += 1
                    return

    def close(self) -> None:
        """Close the socket; a thread that waits for the other side to take bytes gives up.

        This does not wait for that thread, which may be about to connect.
        """
        self._closings += 1
        if self._lock.acquire(blocking=False):
            try:
                if self.socket is not None:
                    self._read_rest(self.socket)
                super().close()
            finally:
                self._lock.release()
            return
        sock = self.socket
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not that of a TLS socket, which would go on in plain text.
                Socket.shutdown(sock, socket.SHUT_RDWR)

    def _read_rest(self, sock: Socket) -> None:
        """Read what the server said: what is unread ends the connection for it before its time.

        It says something after a TLS handshake, which it may still be at.
        """
        age = time.monotonic() - self._opened_at
        try:
            sock.setblocking(False)
            if self._context is not None:
                with contextlib.suppress(OSError):
                    # Says good-bye; the answer need not be waited for.
                    sock.unwrap()  # type: ignore[attr-defined]  # a socket of TLS
                if age < _SETTLING:
                    sock.settimeout(_SETTLING)
            Socket.shutdown(sock, socket.SHUT_WR)
            deadline = time.monotonic() + _SETTLING
            # Below TLS, which has no more to say.
            while Socket.recv(sock, 65_536) and time.monotonic() < deadline:
                continue
        except OSError:
            # Nothing more is there, or nobody.
            return

    def _check(self, closings: int) -> None:
        if self._closings != closings:
            raise ConnectionAbortedError("the connection was closed here")

    def _wait_confirmed(self, sock: Socket, closings: int) -> None:
        """Say that this was all, and wait until the server has read it and closes too.

        A server that goes away with bytes unread resets the connection instead.
        """
        deadline = time.monotonic() + self._timeout
        if self._context is not None:
            import ssl

            # Many servers end TLS without saying so; what counts is how they end the connection.
            with contextlib.suppress(ssl.SSLEOFError):
                sock.unwrap()  # type: ignore[attr-defined]  # a socket of TLS
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            if time.monotonic() > deadline:
                raise TimeoutError("the server goes on sending instead of closing the connection")
        while not _is_acknowledged(sock):
            self._check(closings)
            if time.monotonic() > deadline:
                raise TimeoutError("the server did not acknowledge the end of the connection")
            time.sleep(0.001)
        # What ended may have been this side.
        self._check(closings)
        self.drop(sock)


def _is_closed_there(sock: Socket, timeout: float) -> bool:
    """Return whether the other side has closed the connection, so that bytes would be lost."""
    try:
        sock.settimeout(0)
        try:
            return sock.recv(4096) == b""
        finally:
            sock.settimeout(timeout)
    except BlockingIOError:
        return False
    except OSError as error:
        return not error.args or error.args[0] != 2  # ssl.SSL_ERROR_WANT_READ


def _is_acknowledged(sock: Socket) -> bool:
    """Return whether the other side's kernel has taken every byte, the end included.

    If it closed before it got our last bytes, its end arrives first and its reset later.

    Raises:
        OSError: That came.
    """
    if sys.platform != "linux":
        return True
    import fcntl
    import termios

    waiting = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
    return not any(waiting)
