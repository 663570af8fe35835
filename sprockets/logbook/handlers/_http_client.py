"""HTTP for handlers: POST over a connection that is kept, each request within a deadline.

Imported with the handlers that need it, since ``http.client`` and ``ssl`` cost more to import than
all the rest.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import io
import os
import select
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import Any, Final
from urllib.parse import urlsplit

from sprockets.logbook import _caller, _fork

_caller.register(__file__)

MAX_ANSWER: Final = 65_536
"""Bytes of an answer that are read; a longer one costs the connection."""

MAX_WAIT: Final = 3_600.0
"""Seconds that a server can make us wait at most, whatever it says."""


@dataclass(frozen=True)
class Answer:
    """What a server answered; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def retry_after(self, now: Callable[[], float] = time) -> float | None:
        """Return the seconds that ``Retry-After`` asks to wait; ``None`` if it does not.

        Args:
            now: Returns the time in seconds since 1970, for dates.

        Source: RFC 9110, section 10.2.3.
        """
        text = self.headers.get("retry-after", "").strip()
        if not text:
            return None
        if text.isascii() and text.isdigit():
            return min(float(text[:9]), MAX_WAIT)
        with contextlib.suppress(ValueError, OverflowError):
            # Sentry answers with fractions at times.
            return min(max(float(text), 0.0), MAX_WAIT)
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return min(max((moment - datetime.fromtimestamp(now(), UTC)).total_seconds(), 0), MAX_WAIT)


class _Reader(io.RawIOBase):
    """Reads from a socket until the deadline, however slowly the other side sends."""

    def __init__(self, sock: socket.socket, remaining: Callable[[], float]) -> None:
        self._sock = sock
        self._raw: Any = sock.makefile("rb", buffering=0)
        self._remaining = remaining

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._remaining())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Readable:
    """What ``http.client`` asks of a socket for an answer."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reader)


class HTTPClient:
    """Sends POST requests to one address, over one connection that is kept.

    Not for several threads at once.  TLS certificates are verified, redirects are not followed,
    proxies are not used.

    Args:
        url: ``http`` or ``https``.
        headers: Of every request.
        timeout: Seconds for a whole request, from connecting to the last byte of the answer.
        ssl_context: For ``https``; ``None`` verifies against the certificates of the system.
        compress_from: Bytes from which on a body is sent in gzip; ``None`` means never.
        clock: Returns the current time in seconds; never goes backwards.

    Raises:
        ValueError: *url* is no address, or a header has a line break in it.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        compress_from: int | None = 1_024,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http or https address: {parts.scheme}://{parts.hostname}")
        if parts.username is not None:
            raise ValueError("name and password in an address are not sent; pass headers instead")
        self.host: str = parts.hostname
        self.port: int | None = parts.port
        self.path: str = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        self.is_tls: bool = parts.scheme == "https"
        self.headers: dict[str, str] = dict(headers or {})
        for name, value in self.headers.items():
            if not name or any(character in "\r\n\0" for character in f"{name}{value}"):
                raise ValueError(f"not a header: {name!r}")
        self.timeout = timeout
        self._ssl_context = ssl_context
        self._compress_from = compress_from
        self._clock = clock
        self._connection: http.client.HTTPConnection | None = None
        _fork.hold_at_fork(self)

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Send *body*, and return what the server answers.

        Raises:
            OSError: There is no connection, or no answer in time.
        """
        sent = {**self.headers, **(headers or {})}
        if self._compress_from is not None and len(body) >= self._compress_from:
            body = gzip.compress(body, 6, mtime=0)
            sent["Content-Encoding"] = "gzip"
        deadline = self._clock() + self.timeout
        try:
            connection = self._connect(deadline)
            sock = connection.sock
            sock.settimeout(self._remaining(deadline))
            connection.request("POST", self.path, body, sent)
            response = self._response(connection, deadline)
            content = response.read(MAX_ANSWER)
            if not response.isclosed() and response.read(1):
                self.close()
            return Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                content,
            )
        except http.client.HTTPException as error:
            self.close()
            raise ConnectionError(f"no proper answer from {self.host}: {error!r}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for: the child lets go of the connection, in whatever state it is."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do: the connection stays the parent's."""

    def after_fork_in_child(self) -> None:
        """Let go of the parent's connection, without a word on it."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                os.close(connection.sock.detach())

    def _remaining(self, deadline: float) -> float:
        remaining = deadline - self._clock()
        if remaining <= 0:
            raise TimeoutError(f"{self.host} did not answer within {self.timeout} seconds")
        return remaining

    def _response(
        self, connection: http.client.HTTPConnection, deadline: float
    ) -> http.client.HTTPResponse:
        def make(sock: socket.socket, **options: Any) -> http.client.HTTPResponse:
            reader = _Reader(sock, lambda: self._remaining(deadline))
            return http.client.HTTPResponse(_Readable(reader), **options)  # type: ignore[arg-type]
            # as much of a socket as it needs

        connection.response_class = make  # type: ignore[assignment]  # called like the class
        return connection.getresponse()

    def _connect(self, deadline: float) -> http.client.HTTPConnection:
        """Return the connection, a new one if the other side has hung up meanwhile."""
        connection = self._connection
        if connection is not None and _is_dropped(connection.sock):
            self.close()
            connection = None
        if connection is None:
            timeout = self._remaining(deadline)
            if self.is_tls:
                if self._ssl_context is None:
                    self._ssl_context = ssl.create_default_context()
                connection = http.client.HTTPSConnection(
                    self.host, self.port, timeout=timeout, context=self._ssl_context
                )
            else:
                connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
            connection.connect()
            self._connection = connection
        return connection


def _is_dropped(sock: Any) -> bool:
    """Return whether a connection without a request has something to read, that is, its end."""
    if sock is None:
        return True
    try:
        # Not select(), which knows the first 1,024 descriptors only.
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True


class Progress:
    """Which items of a batch are delivered already, while the batch is tried again.

    Items are told apart by identity: two records may well be equal.
    """

    def __init__(self) -> None:
        self._delivered: dict[int, Any] = {}

    def pending(self, items: list[Any]) -> list[Any]:
        """Return those of *items* that are not delivered yet, and forget all others."""
        known = self._delivered
        self._delivered = {id(item): item for item in items if id(item) in known}
        return [item for item in items if id(item) not in self._delivered]

    def delivered(self, items: list[Any]) -> None:
        """Note that *items* are delivered."""
        self._delivered.update({id(item): item for item in items})

    def prefix(self, items: list[Any]) -> int:
        """Return how many of *items*, from the first on, are delivered."""
        return next(
            (index for index, item in enumerate(items) if id(item) not in self._delivered),
            len(items),
        )

    def finish(self) -> None:
        """Forget all items: the batch is done with."""
        self._delivered = {}
