"""The server of a worker: Tornado's, with bounds on time and size, and an orderly end.

Tornado answers a malformed request with a bare status line, and a head that is too large not at
all; here both get the error document.  It bounds the wait for a request's head with one long
time-out; here an idle connection, a head that has begun and a body each have a bound of their own,
looked at once a second for all connections, which costs a request less than a timer of its own.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
from time import monotonic
from typing import Any, Final

from tornado import httputil, iostream, netutil
from tornado.http1connection import HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop, PeriodicCallback

from sprockets.http._access_log import log_refusal
from sprockets.http._error_document import phrase_of, plain_document
from sprockets.http._identity import make_request_id
from sprockets.http._request_context import Activity, Exchange, Intake, Peer
from sprockets.http._settings import Options

_ACCEPTS_AT_ONCE: Final = 16  # more would starve the other workers, and the loop
_SWEEP: Final = 1.0  # seconds between two looks at the connections
_BARE_400: Final = b"HTTP/1.1 400 Bad Request\r\n\r\n"
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = logging.getLogger("tornado.general")


class _Timed:
    """What a stream of ours knows besides: since when it waits, and for what."""

    server: Server
    peer: Peer
    """Who is at the other end."""
    waiting_since: float = 0.0
    """When the connection became idle, by the server's coarse clock."""
    first_heard_at: float | None = None
    """When the first byte after that came."""
    last_heard_at: float = 0.0
    """When the latest byte came."""
    exchange: Exchange | None = None
    """The request that is being read or answered."""

    def set_nodelay(self, value: bool) -> None:
        """Do nothing: it is set once, for good, when the connection is accepted."""


class _Stream(_Timed, iostream.IOStream):
    """A plain connection."""

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """Read what has come, and remember that something has."""
        try:
            count = self.socket.recv_into(buf, len(buf))
        except BlockingIOError:
            return None
        finally:
            del buf
        now = self.last_heard_at = self.server.activity.now
        if self.first_heard_at is None:
            self.first_heard_at = now
        return count

    def write(self, data: bytes | memoryview) -> Any:
        """Write *data*; a bare refusal of Tornado's gets its document."""
        if data == _BARE_400:
            data = self.server.refuse(self, 400)
        return super().write(data)

    def close(self, exc_info: Any = False) -> None:
        """Close; to a head that is too large, say so first."""
        if isinstance(exc_info, iostream.UnsatisfiableReadError) and self.exchange is None:
            with contextlib.suppress(OSError):
                self.socket.send(self.server.refuse(self, 431))
        super().close(exc_info)


class _TLSStream(_Timed, iostream.SSLIOStream):
    """An encrypted connection."""

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """Read what has come, and remember that something has."""
        count = super().read_from_fd(buf)
        if count:
            now = self.last_heard_at = self.server.activity.now
            if self.first_heard_at is None:
                self.first_heard_at = now
        return count

    def write(self, data: bytes | memoryview) -> Any:
        """Write *data*; a bare refusal of Tornado's gets its document."""
        if data == _BARE_400:
            data = self.server.refuse(self, 400)
        return super().write(data)


class Server(HTTPServer):
    """Serves an application on sockets that somebody else has bound.

    Args:
        request_callback: The application, or whatever else :class:`~tornado.httpserver.HTTPServer`
            takes.
        options: Bounds on times and sizes.
        activity: Where the requests in flight are kept.
        settings: Of the application, for its ``server_header``; None leaves Tornado's.
        ssl_context: For TLS.
    """

    def initialize(  # type: ignore[override]  # one of ours is never made from another's arguments
        self,
        request_callback: Any,
        *,
        options: Options | None = None,
        activity: Activity | None = None,
        settings: dict[str, Any] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        xheaders: bool = True,
        max_body_size: int | None = None,
        max_buffer_size: int | None = None,
    ) -> None:
        options = options or Options()
        super().initialize(
            request_callback,
            xheaders=False,  # the Intake does it, for less
            ssl_options=ssl_context,
            max_body_size=max_body_size,
            max_buffer_size=max_buffer_size,
            max_header_size=options.max_header_size,
        )
        self._believes_proxies = xheaders
        self._start_inner = super().start_request
        if isinstance(request_callback, httputil.HTTPServerConnectionDelegate):
            # An Application's own start_request() does for other servers what we do here.
            self._start_inner = getattr(
                request_callback, "_start_exchange", request_callback.start_request
            )
        # The sweep bounds the wait for a head.
        self.conn_params.header_timeout = None
        self.options = options
        self.activity = Activity() if activity is None else activity
        self.activity.max_header_count = options.max_header_count
        self.activity.max_body_size = (
            max_body_size or max_buffer_size or 100 << 20  # the stream's own limit
        )
        self.turned_away = 0
        """Connections closed because there were no descriptors left, or they were too slow."""
        self._app_settings = settings
        self._streams: dict[HTTP1ServerConnection, Any] = {}
        self._listening: list[socket.socket] = []
        self._is_paused = False
        self._sweeper: PeriodicCallback | None = None

    # -- accepting

    def serve_on(self, sockets: list[socket.socket]) -> None:
        """Accept connections on *sockets*, which are bound, listening, and ours to close."""
        self.activity.now = monotonic()
        self._sweeper = PeriodicCallback(self._sweep, _SWEEP * 1000)
        self._sweeper.start()
        self._listening = list(sockets)
        self._resume()

    def _resume(self) -> None:
        loop = IOLoop.current()
        self._is_paused = False
        for each in self._listening:
            loop.add_handler(each, self._accept_some, IOLoop.READ)

    def _pause(self) -> None:
        """Leave connections in the kernel's queue, for other workers or for later."""
        if not self._is_paused:
            self._is_paused = True
            loop = IOLoop.current()
            for each in self._listening:
                loop.remove_handler(each)

    def _accept_some(self, listening: Any, events: int) -> None:
        self._accept(listening, _ACCEPTS_AT_ONCE)

    def _accept(self, listening: socket.socket, most: int) -> bool:
        """Accept up to *most* connections, and say whether there may be more to accept."""
        limit = self.options.max_connections
        for _ in range(most):
            if limit and len(self._streams) >= limit and not self.activity.is_draining:
                self._pause()
                return False
            try:
                connection, address = listening.accept()
            except BlockingIOError:
                return False
            except ConnectionAbortedError:  # gone while it waited
                continue
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._make_room(error)
                    return False
                raise
            self._welcome(connection, address)
        return True

    def _make_room(self, error: OSError) -> None:
        """Close what is idle, and try again a moment later."""
        self._pause()
        closed = self.close_idle()
        self.turned_away += closed
        _log.error("cannot accept connections: %s; closed %d idle ones", error, closed)
        IOLoop.current().call_later(0.1, self._resume_if_serving)

    def _resume_if_serving(self) -> None:
        if self._is_paused and not self.activity.is_draining:
            self._resume()

    def _welcome(self, connection: socket.socket, address: Any) -> None:
        family = connection.family
        try:
            if family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream: Any
            if self.ssl_options is not None:
                connection = netutil.ssl_wrap_socket(
                    connection, self.ssl_options, server_side=True, do_handshake_on_connect=False
                )
                stream = _TLSStream(connection, max_buffer_size=self.max_buffer_size)
            else:
                stream = _Stream(connection, max_buffer_size=self.max_buffer_size)
        except OSError:  # closed already, as port scanners do
            connection.close()
            return
        stream.server = self
        stream.waiting_since = self.activity.now
        protocol = "http" if self.ssl_options is None else "https"
        peer = Peer(family, address, protocol, is_believed=self._believes_proxies)
        stream.peer = peer
        serving = HTTP1ServerConnection(stream, self.conn_params, peer)
        self._streams[serving] = stream
        self.activity.row["connections"] = len(self._streams)
        serving.start_serving(self)

    # -- Tornado's view: a delegate for connections

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Make the exchange for the next request of a connection."""
        exchange = Exchange(self.activity, request_conn, self._app_settings)  # type: ignore[arg-type]  # the one kind there is
        return Intake(exchange, self._start_inner(server_conn, exchange))

    def on_close(self, server_conn: object) -> None:
        """Forget a connection that is closed."""
        self._streams.pop(server_conn, None)  # type: ignore[call-overload]  # the one kind there is
        self.activity.row["connections"] = len(self._streams)
        self._resume_if_serving()

    def refuse(self, stream: Any, status_code: int) -> bytes:
        """Return a whole answer, with an error document, to what no handler will answer."""
        exchange: Exchange | None = stream.exchange
        row = self.activity.row
        if exchange is None:
            request_id = make_request_id()
            row.enter()
            row.leave(status_code, 0.0)
        else:
            request_id = exchange.request_id
            exchange.refuse(status_code)
            exchange.end()
        reason = phrase_of(status_code)
        action = None if exchange is None else exchange.action
        log_refusal(stream.peer.remote_ip, status_code, reason, request_id, action=action)
        body = plain_document(status_code, request_id)
        head = (
            f"HTTP/1.1 {status_code} {reason}\r\n"
            "Content-Type: application/json; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"X-Request-Id: {request_id}\r\n"
            "Connection: close\r\n\r\n"
        )
        return head.encode("ascii") + body

    # -- bounds on time

    def _sweep(self) -> None:
        """Close what has been idle, or in the middle of something, for too long."""
        now = self.activity.now = monotonic()
        options = self.options
        for stream in list(self._streams.values()):
            if stream.closed():
                continue
            exchange = stream.exchange
            if exchange is None:
                if stream.first_heard_at is not None:
                    if options.header_timeout and (
                        now - stream.first_heard_at > options.header_timeout
                    ):
                        self._turn_away(stream)
                elif options.idle_timeout and now - stream.waiting_since > options.idle_timeout:
                    stream.close()
            elif (
                options.body_timeout
                and exchange.is_waiting_for_client
                and now - max(stream.last_heard_at, exchange.waiting_since) > options.body_timeout
            ):
                if exchange.status_code:
                    stream.close()
                else:
                    self._turn_away(stream)

    def _turn_away(self, stream: Any) -> None:
        """Tell a client that it is too slow, and close."""
        self.turned_away += 1
        future = stream.write(self.refuse(stream, 408))
        future.add_done_callback(lambda done: (done.exception(), stream.close()))

    # -- the end

    def stop(self) -> None:
        """Stop accepting: serve what the kernel has queued already, then close the sockets."""
        if not self._listening:
            return
        self._pause()
        sockets, self._listening = self._listening, []
        for each in sockets:
            while self._accept(each, _ACCEPTS_AT_ONCE):
                pass
            each.close()

    def begin_drain(self) -> None:
        """Stop accepting, and have every connection close with its next answer."""
        self.activity.is_draining = True
        self.conn_params.no_keep_alive = True
        self.stop()
        for handler in list(self.activity.upgraded):
            close = getattr(handler, "close", None)
            if close is not None:
                with contextlib.suppress(Exception):  # closed already, in one of many ways
                    close(1001, "going away")  # RFC 6455, section 7.4.1

    def close_idle(self) -> int:
        """Close the connections that have no request in progress, and say how many."""
        idle = [each for each in self._streams.values() if each.exchange is None]
        for each in idle:
            each.close()
        return len(idle)

    @property
    def has_connections(self) -> bool:
        """Whether any connection is open."""
        return bool(self._streams)

    def end(self) -> None:
        """Close everything."""
        self.stop()
        if self._sweeper is not None:
            self._sweeper.stop()
        for each in list(self._streams.values()):
            each.close()

    async def close_all_connections(self) -> None:
        """Close all connections, and wait until their requests have noticed."""
        for serving in list(self._streams):
            await serving.close()
