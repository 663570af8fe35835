"""Web applications of any framework: the records of a request have its id, and so has its answer.

>>> from sprockets.logbook.web import WSGIRequests
>>> def application(environ, start_response):
...     start_response("200 OK", [("Content-Type", "text/plain")])
...     return [b"hello"]
>>> application = WSGIRequests(application)

:class:`ASGIRequests` is the same for ASGI.  Services of `sprockets.http` need neither.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextvars import Context, copy_context

from sprockets.logbook import _caller
from sprockets.logbook._context import StackedObject
from sprockets.logbook._logger import Logger
from sprockets.logbook._processor import Fields
from sprockets.logbook._setups._requests import (
    RequestSetup,
    is_request_id,
    make_request_id,
    request,
)
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

__all__ = ["CHANNEL", "ASGIRequests", "WSGIRequests"]

CHANNEL: Final = "sprockets.web"
"""The channel of the record that says a request ended with an exception."""

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_log: Final = Logger(CHANNEL)

_caller.register(__file__)


class _Requests:
    """What both have in common.

    Args:
        keep_debug: As for :class:`WSGIRequests`.
        header: As there.
        trust_header: As there.
    """

    keep_debug: bool
    header: str
    trust_header: bool

    def __init__(self, *, keep_debug: bool, header: str, trust_header: bool) -> None:
        if not header.isascii() or not header.replace("-", "").isalnum():
            raise ValueError(f"expected the name of a header, as X-Request-Id, got {header!r}")
        self.keep_debug = keep_debug
        self.header = header
        self.trust_header = trust_header

    def _choose_id(self, given: str | None) -> str:
        """Return the id of a request: the one in its header, if that is one."""
        if self.trust_header and given is not None and is_request_id(given):
            return given
        return make_request_id()

    def _make_setup(self, request_id: str, method: str, path: str) -> StackedObject:
        if self.keep_debug:
            return request(request_id, method=method, path=path)
        return Fields(request_id=request_id, method=method, path=path)


def _fail(setup: StackedObject) -> None:
    """Let go what was kept of a request that was answered with an error."""
    if isinstance(setup, RequestSetup):
        setup.let_go()


class WSGIRequests(_Requests):
    """Stamps the records of each request with ``request_id``, ``method`` and ``path``; for WSGI.

    The id is that of the request's ``X-Request-Id``, if it has a well-formed one, or else a new
    one; the answer has it, too.  An exception that leaves the application is logged, then raised
    again.  It needs a set-up that is bound to the application; see `sprockets.logbook.setups`.

    The application runs in a copy of the server's context, and so does what it returns, so nothing
    of a request is left for the next one in the same thread.

    Args:
        app: The application.
        keep_debug: Keep records back that are not bad enough to be written, and write them if the
            request fails, by a record of level ``ERROR``, an exception, or a status of 500 or more;
            see :func:`sprockets.logbook.setups.request`.
        header: Name of the header.
        trust_header: Take the id that a request brings; turn it off where clients could choose ids
            to mislead, and nothing in front of the server sets them.

    Raises:
        ValueError: *header* is no name of a header.
    """

    app: WSGIApplication

    def __init__(
        self,
        app: WSGIApplication,
        *,
        keep_debug: bool = False,
        header: str = "X-Request-Id",
        trust_header: bool = True,
    ) -> None:
        super().__init__(keep_debug=keep_debug, header=header, trust_header=trust_header)
        self.app = app
        self._key = "HTTP_" + header.upper().replace("-", "_")

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request that *environ* describes."""
        request_id = self._choose_id(environ.get(self._key))
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        setup = self._make_setup(
            request_id,
            str(environ.get("REQUEST_METHOD", "")),
            # PEP 3333 has bytes in such texts, one a character.
            path.encode("latin-1", "replace").decode("utf-8", "replace"),
        )

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if status[:1] == "5":
                _fail(setup)
            name = self.header.lower()
            headers = [pair for pair in headers if pair[0].lower() != name]
            headers.append((self.header, request_id))
            return start_response(status, headers, exc_info)

        context = copy_context()
        context.run(setup.push_context)
        body = context.run(self._guarded, lambda: self.app(environ, start))
        if isinstance(body, (list, tuple)):
            # Complete already; a server may know its length by it.
            return body
        return _Body(body, context, self._guarded)

    @staticmethod
    def _guarded(step: Callable[[], Any]) -> Any:
        """Do a *step* of answering, and log what it raises."""
        try:
            return step()
        except Exception as error:
            if not isinstance(error, StopIteration):
                _log.exception("the request failed")
            raise


class _Body:
    """The body of an answer, made in the context of its request.

    Args:
        body: What the application returned.
        context: The request's.
        guarded: Does a step, and logs what it raises.
    """

    def __init__(
        self,
        body: Iterable[bytes],
        context: Context,
        guarded: Callable[[Callable[[], Any]], Any],
    ) -> None:
        self._body = body
        self._context = context
        self._guarded = guarded
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._chunks is None:
            self._chunks = self._run(lambda: iter(self._body))
        chunks = self._chunks
        assert chunks is not None
        chunk: bytes = self._run(lambda: next(chunks))
        return chunk

    def close(self) -> None:
        """Close what the application returned, if it can be closed."""
        close = getattr(self._body, "close", None)
        if close is not None:
            self._run(close)

    def _run(self, step: Callable[[], Any]) -> Any:
        return self._context.run(self._guarded, step)


class ASGIRequests(_Requests):
    """Stamps the records of each request with ``request_id``, ``method`` and ``path``; for ASGI.

    It is for HTTP and websockets, whose ``method`` is ``"WEBSOCKET"``; anything else is passed on.
    The rest is as for :class:`WSGIRequests`.

    Args:
        app: The application, of ASGI 3.
        keep_debug: Keep records back that are not bad enough to be written, and write them if the
            request fails.
        header: Name of the header.
        trust_header: Take the id that a request brings.

    Raises:
        ValueError: *header* is no name of a header.
    """

    app: ASGIApplication

    def __init__(
        self,
        app: ASGIApplication,
        *,
        keep_debug: bool = False,
        header: str = "X-Request-Id",
        trust_header: bool = True,
    ) -> None:
        super().__init__(keep_debug=keep_debug, header=header, trust_header=trust_header)
        self.app = app
        self._key = header.lower().encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request that *scope* describes."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request_id = self._choose_id(self._given_id(scope))
        method = str(scope.get("method", "")) if scope["type"] == "http" else "WEBSOCKET"
        setup = self._make_setup(request_id, method, str(scope.get("path", "")))

        async def send_with_id(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                if int(message.get("status", 200)) >= 500:
                    _fail(setup)
                message = {**message, "headers": self._headers(message, request_id)}
            await send(message)

        # Without RequestSetup's own way to end: the record of the failure lets go what was kept.
        setup.push_context()
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            _log.exception("the request failed")
            raise
        finally:
            setup.pop_context()

    def _given_id(self, scope: Mapping[str, Any]) -> str | None:
        values = [value for name, value in scope.get("headers", ()) if name.lower() == self._key]
        # Of two, nobody knows which one those before us took.
        return bytes(values[0]).decode("latin-1") if len(values) == 1 else None

    def _headers(self, message: Mapping[str, Any], request_id: str) -> list[tuple[bytes, bytes]]:
        headers = [
            (name, value)
            for name, value in message.get("headers", ())
            if bytes(name).lower() != self._key
        ]
        return [*headers, (self._key, request_id.encode("ascii"))]
