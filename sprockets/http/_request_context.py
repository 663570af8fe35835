"""A request's context: its id, what is bound for it, and what is known of its fate.

An :class:`Exchange` stands between Tornado's connection and the application for the time of one
request.  To the connection it is the delegate that takes the request; to the application it is the
connection that takes the answer.  So it sees both ends of every request, whatever handler class or
router is behind it, and can do what must be done for each:

* make the request a context of its own, in which every record is stamped with the request's id,
  and an action, in which everything that is done for it happens;
* put ``X-Request-Id`` on the answer, and ``Connection: close`` while the service drains;
* count it, and say which requests are still in flight.

The context is a copy of the connection's.  The handler's task starts in it, as do the tasks,
threads and callbacks that the handler starts; the connection's own context is never touched, so the
next request on the same connection starts clean.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import Context, ContextVar, copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tornado import httputil, netutil, web
from tornado.ioloop import IOLoop
from tornado.log import app_log

from sprockets.eliot._context import CURRENT
from sprockets.eliot._fields import TASK_LEVEL, TASK_UUID
from sprockets.eliot.logbook import are_heard
from sprockets.http._access_log import CLIENT_CLOSED_REQUEST, log_refusal, scrub_path, will_log
from sprockets.http._error_document import phrase_of, plain_document
from sprockets.http._identity import (
    is_request_id,
    make_request_id,
    make_task_uuid,
    parse_traceparent,
)
from sprockets.http._request_action import (
    RequestAction,
    make_request_action,
    parse_task_id,
)
from sprockets.http._scoreboard import Row, Scoreboard
from sprockets.logbook import Fields, Handler
from sprockets.logbook.concurrency import ContextThreadPoolExecutor, carry_context

if TYPE_CHECKING:
    from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
    from tornado.iostream import IOStream

    from sprockets.http.app import Application

_BAD_SETUP: Final = (
    "request_setup of %s failed: what it binds is missing; it has to be a class method that returns"
    " a handler, a processor or another object to be bound, a list of these, or None"
)
_LONG: Final = 4_096
_FORWARDED: Final = frozenset({"X-Forwarded-For", "X-Real-Ip", "X-Scheme", "X-Forwarded-Proto"})
_SPECIAL: Final = _FORWARDED | {"X-Request-Id", "Traceparent", "X-Eliot-Task-Id"}
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})

# Without its constructor, which would copy the dict: this is done for every request.
_make_fields: Final = Fields.__new__
_push: Final = Fields.stack_manager.push_context
_enter_action: Final = CURRENT.set
_exception_at_hand: Final = sys.exception
# What a handler lets out is caught here, so its traceback begins here.
_OUTERMOST: Final = web.RequestHandler._execute.__code__

_on_top: Handler | None = None

_current: ContextVar[Exchange | None] = ContextVar("sprockets.http.request", default=None)


def _failure_of(error: BaseException, status_code: int) -> BaseException | None:
    """Return *error* if it is why a request failed that ends while it is being handled.

    It is if the answer says so, or if the handler let it out: some of the answer may have been sent
    by then, with a status that says nothing of it.
    """
    if isinstance(error, web.Finish):
        return None
    if status_code < 500:
        trace = error.__traceback__
        if trace is None or trace.tb_frame.f_code is not _OUTERMOST:
            return None
        if isinstance(error, web.HTTPError) and error.status_code < 500:
            return None
    return error


class Activity:
    """What an application is doing: the requests in flight, and whether it winds down.

    Args:
        board: What is known of the whole service; one of its own by default.
        row: Where the counters are kept; the first of *board* by default.
    """

    def __init__(self, board: Scoreboard | None = None, row: Row | None = None) -> None:
        self.board: Scoreboard = Scoreboard() if board is None else board
        self.row: Row = self.board.rows[0] if row is None else row
        self.exchanges: set[Exchange] = set()
        """Requests in flight."""
        self.upgraded: weakref.WeakSet[Any] = weakref.WeakSet()
        """Handlers whose connections are no HTTP any longer: websockets."""
        self.is_draining: bool = False
        self.max_body_size: int | None = None
        self.max_header_count: int | None = None
        self.requests_left: int | None = None
        """How many more requests until :attr:`on_worn_out` is called; None for no bound."""
        self.on_worn_out: Callable[[], object] | None = None
        self.now: float = monotonic()
        """The time in seconds when the server looked last: coarse, and free."""

    def wear(self) -> None:
        """Take note that one request more was answered."""
        if self.requests_left is not None:
            self.requests_left -= 1
            if self.requests_left <= 0 and self.on_worn_out is not None:
                callback, self.on_worn_out = self.on_worn_out, None
                callback()


class Traits(NamedTuple):
    """What of a handler class matters for its requests, asked once for each class."""

    setup: Callable[[], Any] | None
    is_websocket: bool


_traits: dict[type | None, Traits] = {None: Traits(None, False)}


def _find_traits(handler_class: type) -> Traits:
    found = Traits(
        getattr(handler_class, "request_setup", None), hasattr(handler_class, "write_message")
    )
    _traits[handler_class] = found
    return found


class Exchange(httputil.HTTPConnection):
    """One request and its answer: what the application knows as the request's connection.

    Args:
        activity: Of the application that answers.
        connection: Where the request comes from and the answer goes.
        settings: Of the application, for its ``server_header``; None leaves Tornado's.
    """

    __slots__ = (
        "_application",
        "_callback",
        "_failure",
        "_is_heard",
        "_is_refused",
        "_settings",
        "action",
        "activity",
        "afterwards",
        "client_is_gone",
        "connection",
        "context",
        "fields",
        "handler_class",
        "is_over",
        "is_waiting_for_client",
        "request_id",
        "scope",
        "started_at",
        "status_code",
        "stream",
        "trace_flags",
        "trace_id",
        "waiting_since",
    )

    activity: Activity
    afterwards: Callable[[], object] | None
    """Called once the request is over; what it raises would come out of its end."""
    connection: HTTP1Connection
    client_is_gone: bool
    """Whether the client left before it had its answer."""
    status_code: int
    """What was answered; 0 as long as nothing was."""
    request_id: str
    trace_id: str | None
    trace_flags: int
    """Of the caller's ``traceparent``; without meaning where there is no trace id."""
    action: RequestAction
    """The ``http:request`` action that it is."""
    scope: Context
    fields: dict[str, Any]
    """What its records are stamped with."""
    started_at: float
    is_waiting_for_client: bool
    """Whether it is the client's turn: the request is not complete."""
    is_over: bool
    """Whether the answer is complete, or nobody is there any longer to read it."""
    waiting_since: float
    """Since when it is, or was; by the coarse clock."""

    def __init__(
        self, activity: Activity, connection: HTTP1Connection, settings: dict[str, Any] | None
    ) -> None:
        self.activity = activity
        self.afterwards = None
        self.connection = connection
        self.context: Any = connection.context
        self.stream: IOStream = connection.stream
        self.client_is_gone = False
        self.status_code = 0
        self.handler_class: type | None = None
        self._application: Application | None = None
        self._failure: BaseException | None = None
        self._is_heard = False
        self._is_refused = False
        self._settings = settings
        self._callback: Callable[[], None] | None = None
        self.is_over = True

    # -- the application's view: a connection

    def write_headers(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> Any:
        """Write the head of the answer, with the headers that every answer has."""
        self.status_code = start_line.code  # type: ignore[union-attr]  # a response
        headers["X-Request-Id"] = self.request_id
        if self._settings is not None:
            server = self._settings.get("server_header")
            if server is not None:
                headers["Server"] = server
            elif headers.get_list("Server"):
                del headers["Server"]
        if self.activity.is_draining:
            headers["Connection"] = "close"
        return self.connection.write_headers(start_line, headers, chunk)

    def write(self, chunk: bytes) -> Any:
        """Write a piece of the answer's body."""
        return self.connection.write(chunk)

    def finish(self) -> None:
        """Say that the answer is complete."""
        self.connection.finish()
        self.end()

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have *callback* called, in the request's context, when the client goes away."""
        if callback is None and _traits[self.handler_class].is_websocket:
            # A websocket's handler lets go of us just before it takes the stream.
            self._keep_upgraded()
        self._callback = callback

    def _keep_upgraded(self) -> None:
        handler = getattr(self._callback, "__self__", None)
        if handler is not None:
            self.activity.upgraded.add(handler)

    def detach(self) -> IOStream:
        """Give up the stream: what follows is no HTTP."""
        self._keep_upgraded()
        stream = self.connection.detach()
        self.status_code = self.status_code or 101
        self.end()
        return stream

    # What else a connection has.  Written out: a __getattr__ would make every attribute slow.

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def set_max_body_size(self, max_body_size: int) -> None:
        """Bound the body of this request, in bytes."""
        self.connection.set_max_body_size(max_body_size)

    def set_body_timeout(self, timeout: float) -> None:
        """Bound the time for the body of this request, in seconds."""
        self.connection.set_body_timeout(timeout)

    def read_response(self, delegate: httputil.HTTPMessageDelegate) -> Awaitable[bool]:
        """Read one message more, for *delegate*."""
        return self.connection.read_response(delegate)

    @property
    def is_client(self) -> bool:
        """Whether the connection is a client's: it is not."""
        return self.connection.is_client

    @property
    def no_keep_alive(self) -> bool:
        """Whether the connection is closed after this request."""
        return self.connection.no_keep_alive

    @property
    def params(self) -> HTTP1ConnectionParameters:
        """How the connection was made."""
        return self.connection.params

    # -- its fate

    def note_handler(self, handler_class: type, application: Application | None = None) -> None:
        """Take note of who answers, and bind what that class wants bound for its requests.

        Args:
            handler_class: Of Tornado's kind.
            application: Ours, if it is one of ours that the handler belongs to.
        """
        self.handler_class = handler_class
        self.fields["handler"] = handler_class.__name__
        self._application = application
        if are_heard():
            self._announce()
        traits = _traits.get(handler_class) or _find_traits(handler_class)
        if traits.setup is not None:
            self._bind(traits.setup)

    def _bind(self, setup: Callable[[], Any]) -> None:
        """Bind what *setup* returns; if that fails, the request is answered all the same."""
        try:
            bound = setup()
            if bound is not None:
                for each in bound if isinstance(bound, (list, tuple)) else (bound,):
                    each.push_context()
        except Exception:  # noqa: BLE001 - what is wrong with a set-up of logs is the log's business
            bound = ()
            app_log.error(_BAD_SETUP, self.fields["handler"], exc_info=True)
        if bound is not None and _on_top is not None:
            _on_top.push_context()

    def begin(self) -> None:
        """Count the request, and make its context."""
        self.started_at = monotonic()
        self.is_over = False
        activity = self.activity
        activity.exchanges.add(self)
        activity.row.enter()
        self.is_waiting_for_client = True
        self.waiting_since = activity.now
        self.stream.exchange = self  # type: ignore[attr-defined]  # known to the server's own kind
        self.connection.set_close_callback(self._on_close)
        self.scope = copy_context()

    def take_names(self, headers: httputil.HTTPHeaders) -> None:
        """Continue the ids that *headers* bring, where they are valid."""
        given = headers.get_list("Traceparent")
        parent = parse_traceparent(given[0]) if len(given) == 1 else None
        if parent is None:
            self.trace_id = None
        else:
            self.trace_id, self.trace_flags = parent.trace_id, parent.flags
        given = headers.get_list("X-Request-Id")
        if len(given) == 1 and is_request_id(given[0]):
            self.request_id = given[0]
        else:
            self.request_id = self.trace_id or make_request_id()
        given = headers.get_list("X-Eliot-Task-Id")
        task = parse_task_id(given[0]) if len(given) == 1 else None
        if task is None or not (self._settings or {}).get("continue_tasks", True):
            task = make_task_uuid(), []
        self.action = make_request_action(*task)

    def _announce(self) -> None:
        self._is_heard = True
        known = self.fields.copy()
        del known[TASK_UUID], known[TASK_LEVEL]
        self.action.announce(known)

    def note_failure(self, error: BaseException) -> None:
        """Take note of what went wrong here, whatever has been answered by then."""
        self._failure = error
        self._is_heard = True

    def is_told(self) -> bool:
        """Return whether a record of the access log tells that the request has ended."""
        application = self._application
        return will_log(self.status_code) and (
            self._is_refused
            or (application is not None and application.logs_requests_of(self.handler_class))
        )

    def _conclude(self) -> None:
        """End the action, in the request's context."""
        failure = self._failure
        if failure is None and (error := _exception_at_hand()) is not None:
            failure = _failure_of(error, self.status_code)
        status = CLIENT_CLOSED_REQUEST if self.client_is_gone else self.status_code
        if _current.get() is self:
            self.action.conclude(status, failure, self)
        else:
            self.scope.run(self.action.conclude, status, failure, self)

    def refuse(self, status_code: int) -> None:
        """Take note that no handler answers, or none any longer: the answer is ours."""
        self.status_code = status_code
        self._is_refused = True
        if request_of_context(self.scope) is None and are_heard():
            self._announce()
        self._conclude()

    def wait_for_handler(self, result: Any) -> None:
        """Take note that the client has to wait until the handler is done with what it has."""

        def go_on(future: object) -> None:
            self.waiting_since = self.activity.now
            self.is_waiting_for_client = True

        if not result.done():
            self.is_waiting_for_client = False
            result.add_done_callback(go_on)

    def lose_client(self) -> None:
        """Take note that the client went away before it had sent its request."""
        self.client_is_gone = True
        self._application = None  # whatever handler there is, it will not log the request
        self.end()

    def _on_close(self) -> None:
        if self.is_over:
            return
        self.client_is_gone = True
        callback = self._callback
        if callback is not None:
            self.scope.run(callback)
        self.end()

    def end(self) -> None:
        """Count what came of it; the first call counts."""
        if self.is_over:
            return
        self.is_over = True
        activity = self.activity
        row = activity.row
        if self.client_is_gone:
            row.add("client_gone")
        if self._is_heard or self.status_code >= 500 or _exception_at_hand() is not None:
            self._conclude()
        if self.afterwards is not None:
            self.afterwards()
        row.leave(self.status_code, monotonic() - self.started_at)
        stream: Any = self.stream
        stream.exchange = stream.first_heard_at = None
        stream.waiting_since = activity.now
        activity.exchanges.discard(self)
        if activity.is_draining:
            self._close_when_written()
        if activity.requests_left is not None:
            activity.wear()

    def _close_when_written(self) -> None:
        stream = self.connection.stream
        if stream is None or stream.closed():  # type: ignore[redundant-expr]  # None once detached
            return
        if stream.writing():
            stream.io_loop.call_later(0.02, self._close_when_written)
        else:
            stream.io_loop.add_callback(stream.close)


class Peer:
    """Who is at the other end of a connection: the context of its requests.

    Args:
        family: Of the socket.
        address: What the socket says.
        protocol: ``http`` or ``https``.
        is_believed: Whether what a proxy writes into the headers is believed.
    """

    def __init__(self, family: int, address: Any, protocol: str, *, is_believed: bool) -> None:
        self.address = address
        self.address_family = family
        is_ip = family in (socket.AF_INET, socket.AF_INET6) and address
        self.own_ip: str = address[0] if is_ip else "0.0.0.0"  # noqa: S104  # as Tornado says
        self.own_protocol = protocol
        self.remote_ip = self.own_ip
        self.protocol = protocol
        self.is_believed = is_believed
        self.is_forwarded = False

    def __str__(self) -> str:
        if self.address_family in (socket.AF_INET, socket.AF_INET6):
            return self.remote_ip
        if isinstance(self.address, bytes):
            return self.address.decode(errors="replace")
        return str(self.address)

    def believe(self, headers: httputil.HTTPHeaders) -> None:
        """Take address and protocol from what a proxy wrote into *headers*.

        The last address in ``X-Forwarded-For`` is the one that our own proxy saw; ``X-Real-Ip``
        says outright.  What is no address or protocol is not believed.
        """
        self.is_forwarded = True
        found = headers.get("X-Forwarded-For", self.own_ip).rpartition(",")[2].strip()
        found = headers.get("X-Real-Ip", found)
        self.remote_ip = found if netutil.is_valid_ip(found) else self.own_ip
        scheme = headers.get("X-Scheme", headers.get("X-Forwarded-Proto", self.own_protocol))
        scheme = scheme.rpartition(",")[2].strip()
        self.protocol = scheme if scheme in ("http", "https") else self.own_protocol

    def forget(self) -> None:
        """Go back to what the connection itself says, for its next request."""
        self.is_forwarded = False
        self.remote_ip = self.own_ip
        self.protocol = self.own_protocol


class Intake(httputil.HTTPMessageDelegate):
    """What the connection sees of an exchange: the delegate that takes the request.

    Args:
        exchange: The one it belongs to.
        inner: The application's delegate.
    """

    __slots__ = ("_exchange", "_inner", "_refusal", "_unread")

    def __init__(self, exchange: Exchange, inner: httputil.HTTPMessageDelegate) -> None:
        self._exchange = exchange
        self._inner = inner
        self._refusal = 0
        self._unread: int | None = None

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        """Begin the request in a context of its own."""
        exchange = self._exchange
        exchange.begin()
        peer = exchange.context
        is_ours = type(peer) is Peer
        if is_ours and peer.is_forwarded:
            peer.forget()
        if _SPECIAL.isdisjoint(headers):
            exchange.request_id = make_request_id()
            exchange.trace_id = None
            exchange.action = make_request_action(make_task_uuid(), [])
        else:
            exchange.take_names(headers)
            if is_ours and peer.is_believed and not _FORWARDED.isdisjoint(headers):
                peer.believe(headers)
        path = start_line.path.partition("?")[0]  # type: ignore[union-attr]  # a request
        if "=" in path or "@" in path or "%" in path or len(path) > _LONG:
            path = scrub_path(path)
        exchange.fields = {
            "request_id": exchange.request_id,
            "method": start_line.method,  # type: ignore[union-attr]  # likewise
            "path": path,
            "remote_ip": peer.remote_ip,
            TASK_UUID: exchange.action._task_uuid,
            TASK_LEVEL: exchange.action._level,
        }
        if exchange.trace_id is not None:
            exchange.fields["trace_id"] = exchange.trace_id
        activity = exchange.activity
        if (
            activity.max_body_size is not None and start_line.method not in _WITHOUT_BODY  # type: ignore[union-attr]  # a request
        ) or (activity.max_header_count is not None and len(headers) > activity.max_header_count):
            self._check_size(headers)
            if self._refusal:
                method, uri, version = start_line
                self._refuse(headers, f"{method} {uri} {version}")
                return None
        return exchange.scope.run(self._enter, start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Hand on a piece of the body."""
        if self._unread is not None:
            self._unread -= len(chunk)
            if self._unread < 0 and not self._refusal:
                self._refusal = 413
                self._answer(None)
        if self._refusal:
            return None
        scope = self._exchange.scope
        result = scope.run(self._inner.data_received, chunk)
        if result is not None and asyncio.iscoroutine(result):
            # Awaited by the connection's task, it would run in the connection's context.
            result = scope.run(asyncio.ensure_future, result)
        if result is not None:
            self._exchange.wait_for_handler(result)
        return result

    def finish(self) -> None:
        """Take note that the request has been read."""
        self._exchange.is_waiting_for_client = False
        if self._refusal:
            self._exchange.finish()
        else:
            self._exchange.scope.run(self._inner.finish)

    def on_connection_close(self) -> None:
        """Take note that the client went away while the request was being read."""
        exchange = self._exchange
        if not self._refusal:
            exchange.scope.run(self._inner.on_connection_close)
        exchange.lose_client()

    def _enter(self, start_line: Any, headers: httputil.HTTPHeaders) -> Awaitable[None] | None:
        exchange = self._exchange
        _current.set(exchange)
        _enter_action(exchange.action)
        fields = _make_fields(Fields)
        fields.callback = None
        fields.fields = exchange.fields  # the very dict: the handler's name comes later
        _push(fields)
        result = self._inner.headers_received(start_line, headers)
        if result is not None:
            exchange.wait_for_handler(result)
        if exchange.handler_class is None:
            # An Application has said so itself by now; of others this is where they keep it.
            delegate = getattr(self._inner, "delegate", None)
            handler_class = getattr(delegate, "handler_class", None)
            if handler_class is not None:
                exchange.note_handler(handler_class)
            elif are_heard():
                exchange._announce()
        return result

    def _check_size(self, headers: httputil.HTTPHeaders) -> None:
        activity = self._exchange.activity
        if activity.max_header_count is not None and len(headers) > activity.max_header_count:
            self._refusal = 431
        elif activity.max_body_size is not None:
            lengths = headers.get_list("Content-Length")
            if lengths:
                if lengths[0].isdecimal() and int(lengths[0]) > activity.max_body_size:
                    self._refusal = 413
            elif headers.get_list("Transfer-Encoding"):
                # Nobody says how long it will be.  Tornado's own limit closes the connection
                # without a word, so it is set higher than the one that is kept here.
                self._unread = activity.max_body_size
                self._exchange.connection.set_max_body_size(activity.max_body_size + _PASSES_BY)

    def _refuse(self, headers: httputil.HTTPHeaders, line: str) -> None:
        """Answer a request that is too large, then let its body pass by for a moment.

        Closing at once would reset the connection under a client that is still sending, and the
        answer would be lost with it.
        """
        self._answer(line)
        connection = self._exchange.connection
        lengths = headers.get_list("Content-Length")
        if lengths and lengths[0].isdecimal():
            connection.set_max_body_size(int(lengths[0]))
        if headers.get_list("Expect"):
            self._exchange.finish()  # the client waits for our word before it sends, and has it now

    def _answer(self, line: str | None) -> None:
        exchange = self._exchange
        reason = phrase_of(self._refusal)
        exchange.refuse(self._refusal)
        log_refusal(
            exchange.context.remote_ip,
            self._refusal,
            reason,
            exchange.request_id,
            line,
            action=exchange.action,
        )
        body = plain_document(self._refusal, exchange.request_id)
        headers = httputil.HTTPHeaders(
            {
                "Content-Type": "application/json; charset=utf-8",
                "Content-Length": str(len(body)),
                "Connection": "close",
            }
        )
        start_line = httputil.ResponseStartLine("", self._refusal, reason)
        exchange.write_headers(start_line, headers, body)
        exchange.connection.set_body_timeout(_LINGER)


_LINGER: Final = 2.0  # seconds for which a refused body may go on arriving
_PASSES_BY: Final = 64 << 20  # bytes of a refused body that may


def put_on_top(handler: Handler | None) -> None:
    """Have *handler* see the records of requests before whatever handler classes bind for theirs.

    It is bound to the application besides, for all others, and so may see a record twice.
    """
    global _on_top
    _on_top = handler


def current_request() -> Exchange | None:
    """Return the request in whose context this is called, or None outside of any."""
    return _current.get()


def request_of_context(context: Context | None) -> Exchange | None:
    """Return the request that *context* was made for, if it was made for one."""
    return None if context is None else context.get(_current)


def request_id_of(request: httputil.HTTPServerRequest) -> str:
    """Return the id of *request*; one that has none yet gets one."""
    connection: Any = request.connection
    if type(connection) is Exchange:
        return connection.request_id
    known: str | None = getattr(request, "request_id", None)
    if known is None:
        given = request.headers.get_list("X-Request-Id")
        parent = parse_traceparent(request.headers.get("Traceparent", ""))
        if len(given) == 1 and is_request_id(given[0]):
            known = given[0]
        else:
            known = parent.trace_id if parent is not None else make_request_id()
        request.request_id = known  # type: ignore[attr-defined]  # remembered where it belongs
    return known


def trace_id_of(request: httputil.HTTPServerRequest) -> str | None:
    """Return the id of the trace that *request* belongs to, if its caller named one."""
    connection: Any = request.connection
    if type(connection) is Exchange:
        return connection.trace_id
    parent = parse_traceparent(request.headers.get("Traceparent", ""))
    return None if parent is None else parent.trace_id


def client_is_gone(request: httputil.HTTPServerRequest) -> bool:
    """Whether the client of *request* closed the connection before it had its answer."""
    connection: Any = request.connection
    if type(connection) is Exchange:
        # Once the answer is complete it is we who close.  Before that its task may hear of the
        # closed stream sooner than the exchange does.
        return connection.client_is_gone or (not connection.is_over and connection.stream.closed())
    stream = getattr(connection, "stream", None)
    return stream is not None and stream.closed()


def carry_into_threads(io_loop: IOLoop) -> ThreadPoolExecutor:
    """Have functions that *io_loop* runs in threads run in the context of whoever asked for it.

    ``asyncio.to_thread`` does so anyway; the loops' ``run_in_executor`` does not.

    Returns:
        The loop's default executor from now on.
    """
    executor = ContextThreadPoolExecutor(thread_name_prefix="worker")
    io_loop.set_default_executor(executor)
    for loop in (io_loop, getattr(io_loop, "asyncio_loop", None)):
        if loop is not None:
            _wrap_run_in_executor(loop)
    return executor


def _wrap_run_in_executor(loop: Any) -> None:
    original = loop.run_in_executor
    if getattr(original, "carries_context", False):
        return

    def run_in_executor(
        executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> Awaitable[Any]:
        # A context cannot go to another process.
        if executor is None or isinstance(executor, ThreadPoolExecutor):
            func = carry_context(func)
        return original(executor, func, *args)  # type: ignore[no-any-return]  # of the loop's kind

    run_in_executor.carries_context = True  # type: ignore[attr-defined]  # for the next to ask
    loop.run_in_executor = run_in_executor
