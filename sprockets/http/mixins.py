"""Mixins for request handlers: a logger, a record of every error, a document for every error.

They stand before ``RequestHandler``, and the two for errors in any order::

    class WidgetHandler(ErrorLogger, ErrorWriter, web.RequestHandler):
        async def get(self, number: str) -> None:
            if number not in widgets:
                raise Problem(404, detail=f"No widget {number}")

Before them comes Tornado, which calls ``send_error`` for whatever a handler raises; after them
`sprockets.http._error_document`, which knows what the documents say.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from tornado import httputil, iostream, web
from tornado.log import app_log

from sprockets.http import _error_document as documents
from sprockets.http._access_log import CLIENT_CLOSED_REQUEST, scrub_uri
from sprockets.http._request_context import (
    Exchange,
    client_is_gone,
    current_request,
    request_id_of,
    trace_id_of,
)
from sprockets.logbook import Logger
from sprockets.logbook._text import cut, escape_line

if TYPE_CHECKING:
    # What they are mixed into.  They do not inherit from it: they come before it.
    _Handler: TypeAlias = web.RequestHandler
else:
    _Handler = object

__all__ = [
    "ErrorHandler",
    "ErrorLogger",
    "ErrorWriter",
    "LoggingHandler",
    "NegotiationCache",
    "Problem",
]

# Spelled as Tornado normalizes them.
_ERROR_HEADERS: Final = frozenset(
    ("Allow", "Proxy-Authenticate", "Retry-After", "Vary", "Www-Authenticate")
)
_MAX_URI: Final = 4_096
_MAX_CACHED_CHOICES: Final = 256
_MAX_CACHED_ACCEPT: Final = 1_024
# What a request ends with whose client has gone; the stream may also be another one, a database's.
_ABANDONED: Final = (iostream.StreamClosedError, asyncio.CancelledError)
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

# For what handlers without a logger have to say.
_log: Final = Logger("sprockets.http", style="%")


class Problem(web.HTTPError):
    """An error whose author says what clients may read.

    Clients that ask for ``application/problem+json`` get all of it, the others the status and
    the *detail* as the ``message`` of their document.

    >>> raise Problem(409, detail="Two are left, three were asked for", left=2)
    Traceback (most recent call last):
    ...
    sprockets.http.mixins.Problem: HTTP 409: Two are left, three were asked for

    Args:
        status_code: Status of the response.
        detail: What helps the client with this occurrence.
        type: URI reference that names the kind of problem, and documents it at best.
        title: Name of the kind of problem, always the same for a *type*.
        reason: Reason phrase in place of the standard one.
        log_message: Text for Tornado's own record; never sent.
        extensions: Further members of the problem document, JSON values: ``errors=[{"detail":
            "must be positive", "pointer": "#/age"}]``.

    Raises:
        ValueError: An extension's name is taken, or is not at least three letters, digits and
            underscores, a letter first.
    """

    detail: str | None
    type: str | None
    title: str | None
    extensions: MappingProxyType[str, Any]

    def __init__(
        self,
        status_code: int = 500,
        *,
        detail: str | None = None,
        type: str | None = None,
        title: str | None = None,
        reason: str | None = None,
        log_message: str | None = None,
        **extensions: Any,
    ) -> None:
        documents.check_extensions(extensions)
        super().__init__(status_code, log_message, reason=reason)
        self.detail = detail
        self.type = type
        self.title = title
        self.extensions = MappingProxyType(extensions)

    def __str__(self) -> str:
        """Return the status and the detail."""
        reason = self.detail or self.reason or documents.phrase_of(self.status_code)
        return f"HTTP {self.status_code}: {reason}"


# -- negotiation, once for each Accept header

# Found by name, never imported: services that do not negotiate do not need the package.
_MEDIATYPE: Final = "sprockets.mixins.mediatype"
_CONTENT_SETTINGS: Final = "sprockets.mixins.mediatype.ContentSettings"
_CHOICES: Final = "_sprockets_http_choices"


class _Choices:
    """The response types chosen so far, and what the choice depends on beside the header."""

    __slots__ = ("_default", "_settings", "_types", "known")

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self._default: object = settings.default_content_type
        self._types: list[object] = list(settings.available_content_types)
        self.known: dict[str | None, str] = {}

    def are_valid_for(self, settings: Any) -> bool:
        # Lists compare their items by identity first: this is quick as long as nothing changed.
        return bool(
            settings is self._settings
            and settings.default_content_type == self._default
            and settings.available_content_types == self._types
        )


def _choose_from_cache(choose: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
    def get_response_content_type(self: Any) -> str | None:
        """Return the type of the response, chosen once for each ``Accept`` header."""
        # A choice of this request's own, made or set earlier, stands.
        if getattr(self, "_best_response_match", self) is not None:
            return choose(self)
        application = self.application
        settings = application.settings.get(_CONTENT_SETTINGS)
        if settings is None:
            return choose(self)
        choices = application.__dict__.get(_CHOICES)
        if choices is None or not choices.are_valid_for(settings):
            choices = application.__dict__[_CHOICES] = _Choices(settings)
        accept = self.request.headers.get("Accept")
        known = choices.known
        chosen: str | None = known.get(accept)
        if chosen is not None:
            self._best_response_match = chosen
            return chosen
        chosen = choose(self)
        # What clients send is bounded before it is remembered.
        if chosen and (accept is None or len(accept) <= _MAX_CACHED_ACCEPT):
            if len(known) >= _MAX_CACHED_CHOICES:
                known.pop(next(iter(known)), None)
            known[accept] = chosen
        return chosen

    return get_response_content_type


def _send_without_parsing(send: Callable[..., None]) -> Callable[..., None]:
    def send_response(self: Any, body: Any, set_content_type: bool = True) -> None:
        """Serialize *body* for the response, and write it."""
        settings = self.application.settings.get(_CONTENT_SETTINGS)
        transcoder = None if settings is None else settings.get(self.get_response_content_type())
        encoded = None
        if transcoder is not None:
            # What goes wrong goes wrong again below, in the package's own way.
            with contextlib.suppress(Exception):
                encoded = transcoder.to_bytes(body)
        if encoded is None:
            send(self, body, set_content_type)
            return
        content_type, data = encoded
        if set_content_type:
            self.set_header("Content-Type", content_type)
            self.add_header("Vary", "Accept")
        self.write(data)

    return send_response


class NegotiationCache:
    """Remembers which response type an ``Accept`` header led to.

    A handler class that has ``sprockets.mixins.mediatype`` among its bases, in any order, then
    negotiates once for each header and not once for each request.  The choices are forgotten when
    the types that the application offers, or its default, change.  A class that overrides one of
    the two methods keeps its own.

    All other mixins of this module are based on this one; there is no need to name it.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Replace what *cls* takes from the package, and nothing that anybody else wrote."""
        super().__init_subclass__(**kwargs)
        for name, replace in (
            ("get_response_content_type", _choose_from_cache),
            ("send_response", _send_without_parsing),
        ):
            method = getattr(cls, name, None)
            if inspect.isfunction(method) and method.__module__.startswith(_MEDIATYPE):
                setattr(cls, name, replace(method))


# -- logging


class LoggingHandler(NegotiationCache, _Handler):
    """Gives a handler a ``logger`` named after its class.

    It is made with ``style="%"``, so its calls mean what they mean with stdlib logging.  A
    ``logger`` that the class or the instance has already, of whatever kind, is kept.  It is there
    from the time when the class is made, so ``initialize`` takes what the other classes take.
    """

    logger: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the logger of *cls*, unless somebody else has."""
        super().__init_subclass__(**kwargs)
        for base in cls.__mro__:
            if "logger" in base.__dict__:
                if base.__dict__["logger"] is not base.__dict__.get("_own_logger"):
                    return
                break
        cls.logger = cls._own_logger = Logger(cls.__name__, style="%")

    _own_logger: ClassVar[Logger | None] = None


# -- errors


class _ErrorHandling(NegotiationCache, _Handler):
    """What the two mixins for errors share: how an error is taken in, whichever comes first."""

    error_headers: ClassVar[Iterable[str]] = ()

    _is_noted = False
    _kept_headers: list[tuple[str, str]] | None = None

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Answer the request with an error.

        Once part of a response is on its way, nothing can be answered: the connection is cut then,
        so that the client does not take the part for the whole.  Nor is anything answered to a
        client that has gone.

        Args:
            status_code: Status of the response.
            kwargs: ``reason`` (reason phrase of the response, for the client as well),
                ``log_message`` (text for the log instead of the reason, never sent) and
                ``exc_info`` (what the handler raised); all are handed to `write_error`.
        """
        _complete(status_code, kwargs)
        exc_info = kwargs.get("exc_info")
        exception = sys.exception() if exc_info is None else exc_info[1]
        if isinstance(exception, _ABANDONED) and _has_left(self.request):
            self._leave()
            return
        if exception is not None and (status_code >= 500 or self._headers_written):
            _note_failure(self.request, exception)
        if self._headers_written:
            self._note_error(status_code, kwargs)
            if not self._finished:
                self._cut()
        else:
            self._keep_headers(status_code)
        try:
            super().send_error(status_code, **kwargs)
        finally:
            # A write_error() of somebody else's may not have come this far.
            if not self._is_noted and status_code != 304:
                self._note_error(status_code, kwargs)

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log what the handler raised, unless it only means that the client has gone."""
        if isinstance(value, _ABANDONED) and _has_left(self.request):
            self._note_abandoned()
        else:
            super().log_exception(typ, value, tb)

    def _note_error(self, status_code: int, kwargs: dict[str, Any]) -> None:
        """Log the error, once; a task for `ErrorLogger`."""

    def _tell(self, level: str, text: str, **kwargs: Any) -> None:
        """Log *text*, which is finished, with the request's id; whatever the logger, never fail."""
        log = getattr(getattr(self, "logger", None), level, None) or getattr(_log, level)
        text = escape_line(cut(text))
        try:
            try:
                if current_request() is None:
                    kwargs["extra"] = {"request_id": request_id_of(self.request)}
                log(text, **kwargs)
            except (KeyError, TypeError):
                # Stdlib logging refuses a field that a record factory has set, others the keyword.
                kwargs.pop("extra", None)
                log(text, **kwargs)
        except Exception:  # noqa: BLE001 - the client shall have its answer
            app_log.error("cannot log %r", text, exc_info=True)

    def _name_request(self) -> str:
        request = self.request
        uri = request.uri or ""
        return f"{request.method} {cut(scrub_uri(uri), _MAX_URI)}"

    # -- a client that has gone

    def _note_abandoned(self) -> None:
        if not self._is_noted:
            self._is_noted = True
            self._tell("info", f"{self._name_request()} abandoned: the client has gone")

    def _leave(self) -> None:
        """End a request that nobody waits for."""
        self._note_abandoned()
        if self._finished:
            return
        if not self._headers_written:
            self.clear()
            self.set_status(CLIENT_CLOSED_REQUEST, "Client Closed Request")
        try:
            self.finish()
        except Exception:  # noqa: BLE001 - nobody is there to miss what could not be written
            self._tell("debug", f"{self._name_request()} could not be finished", exc_info=True)

    def _cut(self) -> None:
        """Close the connection in the middle of the response."""
        connection: Any = self.request.connection
        stream = getattr(connection, "stream", None)
        if stream is None or stream.closed():
            return
        if self.request.version == "HTTP/1.0" and "Content-Length" not in self._headers:
            # The end of the connection is the end of such a response; only a reset says otherwise.
            with contextlib.suppress(OSError):
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        stream.close()

    # -- headers that belong to the error

    def _keep_headers(self, status_code: int) -> None:
        """Remember the headers that `clear` must not take."""
        names = _ERROR_HEADERS
        headers = self._headers
        more = self.application.settings.get("error_headers", ())
        if more or self.error_headers:
            names = names.union(
                httputil.HTTPHeaders(dict.fromkeys((*more, *self.error_headers), ""))
            )
        if status_code == 405 and "Allow" not in headers:
            headers["Allow"] = ", ".join(_methods_of(type(self)))
        if not names.isdisjoint(headers):
            self._kept_headers = [
                (name, value)
                for name in headers
                if name in names
                for value in headers.get_list(name)
            ]

    def _restore_headers(self) -> None:
        """Put back the headers that were kept, unless there are new ones of their names."""
        kept = self._kept_headers
        if kept is None:
            return
        self._kept_headers = None
        headers = self._headers
        new = {name for name, _ in kept if name not in headers}
        for name, value in kept:
            if name in new:
                headers.add(name, value)
            elif name == "Vary":
                self._vary_on(value)

    def _vary_on(self, names: str) -> None:
        """Name header fields in ``Vary``, each once."""
        # Asked first: a header that is missing costs an exception.
        if "Vary" not in self._headers:
            self._headers["Vary"] = names
            return
        present = self._headers["Vary"]
        wanted = {name.strip().lower(): name.strip() for name in f"{present},{names}".split(",")}
        self._headers["Vary"] = ", ".join(filter(None, wanted.values()))


def _has_left(request: httputil.HTTPServerRequest) -> bool:
    """Return whether the client has gone, from the moment on when its stream is closed."""
    if client_is_gone(request):
        return True
    # The handler may wake up before those who are called when the stream closes.
    stream = getattr(request.connection, "stream", None)
    return stream is not None and bool(stream.closed())


def _note_failure(request: httputil.HTTPServerRequest, exception: BaseException) -> None:
    """Have the request's action say what it failed by."""
    connection: Any = request.connection
    if type(connection) is Exchange and not (
        isinstance(exception, web.HTTPError) and exception.status_code < 500
    ):
        connection.note_failure(exception)


def _is_complete(kwargs: dict[str, Any]) -> bool:
    return type(kwargs.get("reason")) is str and type(kwargs.get("exc_info", ())) is tuple


def _complete(status_code: int, kwargs: dict[str, Any]) -> None:
    """Bring the keywords of an error into order: a reason that is text, an exception or none."""
    exception = None
    if "exc_info" in kwargs:
        exc_info = kwargs["exc_info"]
        if isinstance(exc_info, BaseException):
            exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
        elif exc_info is not None and not isinstance(exc_info, tuple):
            exc_info = sys.exc_info()
        if exc_info is None or exc_info[1] is None:
            del kwargs["exc_info"]
        else:
            kwargs["exc_info"] = exc_info
            exception = exc_info[1]
            if isinstance(exception, web.HTTPError) and not isinstance(
                exception.reason, (str, type(None))
            ):
                # Tornado takes it as it is, and fails.
                exception.reason = None
    kwargs["reason"] = documents.resolve_reason(status_code, kwargs.get("reason"), exception)


def _methods_of(cls: Any) -> tuple[str, ...]:
    """Return the methods that a handler class has written, in Tornado's order."""
    methods: tuple[str, ...] | None = cls.__dict__.get("_own_methods")
    if methods is None:
        missing = web.RequestHandler._unimplemented_method
        methods = cls._own_methods = tuple(
            method
            for method in cls.SUPPORTED_METHODS
            if getattr(cls, method.lower(), missing) is not missing
        )
    return methods


class ErrorLogger(LoggingHandler, _ErrorHandling):
    """Logs every error of a handler, once: ``GET /widgets/7 failed with 404: Not Found``.

    What the client did wrong is a warning, everything else an error.  The record has the traceback
    if something unexpected was raised, or an ``HTTPError`` of 500 and above.
    """

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Log the error, then let the next class write it."""
        if not _is_complete(kwargs):
            _complete(status_code, kwargs)
        if not self._is_noted:
            self._note_error(status_code, kwargs)
        if self._kept_headers is not None:
            self._restore_headers()
        super().write_error(status_code, **kwargs)

    def _note_error(self, status_code: int, kwargs: dict[str, Any]) -> None:
        if self._is_noted:
            return
        self._is_noted = True
        more: dict[str, Any] = {}
        exception = None
        exc_info = kwargs.get("exc_info")
        if exc_info is not None:
            exception = exc_info[1]
            if not isinstance(exception, web.HTTPError) or exception.status_code >= 500:
                more["exc_info"] = exc_info
        text = kwargs.get("log_message")
        if text is None:
            text = kwargs["reason"]
            if isinstance(exception, Problem) and exception.detail:
                text = f"{text}: {exception.detail}"
        self._tell(
            "warning" if 400 <= status_code <= 499 else "error",
            f"{self._name_request()} failed with {status_code}: {text}",
            **more,
        )


class ErrorWriter(_ErrorHandling):
    """Answers every error of a handler with a document.

    The document has the members ``type`` (name of the exception's class), ``message``,
    ``traceback`` and ``request_id``.  It goes through ``send_response`` if the handler has that,
    and is JSON otherwise.  A client that asks for ``application/problem+json`` gets a problem
    document of RFC 9457 instead.

    The texts of exceptions stay inside, unless the application's settings say otherwise:
    ``serve_traceback`` (Tornado turns it on in debug mode) and ``expose_error_messages``.  A
    `Problem`, and the reason of a ``tornado.web.HTTPError``, are meant for clients.

    The headers ``Allow``, ``Retry-After``, ``Vary``, ``WWW-Authenticate`` and
    ``Proxy-Authenticate`` that the handler has set go with the error; ``error_headers``, as an
    attribute of the class and in the settings, names more.
    """

    def get_error_message(self, status_code: int, **kwargs: Any) -> str:
        """Return the text that clients read; override it to say something else.

        If it raises, the reason phrase is sent.

        Args:
            status_code: Status of the response.
            kwargs: Those of ``send_error``, with a ``reason`` in any case.
        """
        reason = kwargs.get("reason")
        exc_info = kwargs.get("exc_info")
        exception = None if exc_info is None else exc_info[1]
        if isinstance(exception, Problem):
            reason = exception.detail or reason
        settings = self.application.settings
        return documents.public_message(
            status_code,
            documents.resolve_reason(status_code, reason, exception),
            exception,
            expose=settings.get("serve_traceback") or settings.get("expose_error_messages"),
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Write the document; it is the end of the line, no other class writes anything."""
        if not _is_complete(kwargs):
            _complete(status_code, kwargs)
        if not self._is_noted:
            self._note_error(status_code, kwargs)
        if self._kept_headers is not None:
            self._restore_headers()
        request_id = request_id_of(self.request)
        self._headers["X-Request-Id"] = request_id
        if status_code in (204, 304) or 100 <= status_code <= 199:
            # "... always terminated by the first empty line after the header fields"
            # -- RFC 9112, section 6.3.
            return
        headers = self.request.headers
        if (
            "Accept" in headers
            and documents.wants_problem(headers["Accept"])
            and self._is_problem_best()
        ):
            self._write_problem(status_code, request_id, kwargs)
            return
        send_response = getattr(self, "send_response", None)
        try:
            if send_response is None and self._is_told_nothing_special(kwargs):
                exc_info = kwargs.get("exc_info")
                exception = None if exc_info is None else exc_info[1]
                body = documents.public_document(
                    status_code, kwargs["reason"], exception, request_id
                )
            else:
                document = self._make_document(status_code, request_id, kwargs)
                if send_response is not None and self._sent(send_response, document):
                    return
                body = documents.encode_document(document)
        except Exception:  # noqa: BLE001 - a document of constants is left
            self._warn("cannot make the error document")
            body = documents.plain_document(status_code, request_id)
        self._write_body(documents.JSON_TYPE, body)

    def _is_told_nothing_special(self, kwargs: dict[str, Any]) -> bool:
        """Return whether status, reason and the exception's class say it all."""
        settings = self.application.settings
        return (
            "serve_traceback" not in settings
            and "expose_error_messages" not in settings
            and type(self).get_error_message is ErrorWriter.get_error_message
            and ("exc_info" not in kwargs or not isinstance(kwargs["exc_info"][1], Problem))
        )

    def _write_body(self, content_type: str, body: bytes) -> None:
        self._headers["Content-Type"] = content_type
        self._vary_on("Accept")
        self.write(body)

    def _warn(self, text: str) -> None:
        self._tell("warning", f"{self._name_request()}: {text}", exc_info=True)

    def _message(self, status_code: int, kwargs: dict[str, Any]) -> str:
        try:
            return str(self.get_error_message(status_code, **kwargs))
        except Exception:  # noqa: BLE001 - the reason phrase is left
            self._warn("get_error_message() failed")
            return str(kwargs["reason"])

    def _make_trace(self, kwargs: dict[str, Any]) -> list[str] | None:
        if "exc_info" in kwargs and self.application.settings.get("serve_traceback"):
            return documents.format_exception(kwargs["exc_info"][1])
        return None

    # -- the plain document

    def _make_document(
        self, status_code: int, request_id: str, kwargs: dict[str, Any]
    ) -> documents.Document:
        exc_info = kwargs.get("exc_info")
        return documents.make_document(
            None if exc_info is None else exc_info[1],
            self._message(status_code, kwargs),
            self._make_trace(kwargs),
            request_id,
        )

    def _sent(self, send_response: Callable[[Any], Any], document: documents.Document) -> bool:
        """Return whether *send_response* has sent the document; if not, nothing of it is left."""
        status = self._status_code, self._reason
        written = len(self._write_buffer)
        try:
            result = send_response(document)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError("send_response() must not be a coroutine function")
        except Exception:  # noqa: BLE001 - the document is sent as JSON
            self._warn("cannot send the error document with send_response(), JSON it is")
            if self._headers_written:
                if not self._finished:
                    self._cut()
                return True
            self._status_code, self._reason = status
            del self._write_buffer[written:]
            return False
        if "," in self._headers.get("Vary", ""):
            self._vary_on("")
        return True

    # -- the problem document

    def _is_problem_best(self) -> bool:
        """Return whether the client likes a problem better than what it got otherwise."""
        choose = getattr(self, "get_response_content_type", None)
        if choose is None:
            return True
        try:
            alternative = choose()
        except Exception:  # noqa: BLE001 - then there is no alternative
            return True
        return not isinstance(alternative, str) or documents.wants_problem(
            self.request.headers.get("Accept"), alternative
        )

    def _write_problem(self, status_code: int, request_id: str, kwargs: dict[str, Any]) -> None:
        try:
            body = self._encode_problem(status_code, request_id, kwargs)
        except Exception:  # noqa: BLE001 - a document of constants is left
            self._warn("cannot make the problem document")
            body = documents.plain_problem(status_code, request_id)
        self._write_body(documents.PROBLEM_TYPE, body)

    def _encode_problem(self, status_code: int, request_id: str, kwargs: dict[str, Any]) -> bytes:
        exc_info = kwargs.get("exc_info")
        exception = None if exc_info is None else exc_info[1]
        problem = exception if isinstance(exception, Problem) else None
        document = documents.make_problem(
            status_code,
            request_id,
            detail=self._detail(status_code, kwargs, problem),
            type=None if problem is None else problem.type,
            title=None if problem is None else problem.title,
            trace_id=trace_id_of(self.request),
            exception=exception,
            trace=self._make_trace(kwargs),
        )
        if problem is None or not problem.extensions:
            return documents.encode_problem(document)
        try:
            return documents.encode_problem({**document, **problem.extensions})
        except Exception:  # noqa: BLE001 - the problem is told without them
            self._warn("cannot encode the extensions of a problem")
            return documents.encode_problem(document)

    def _detail(
        self, status_code: int, kwargs: dict[str, Any], problem: Problem | None
    ) -> str | None:
        if type(self).get_error_message is not ErrorWriter.get_error_message:
            return self._message(status_code, kwargs)
        if problem is not None and problem.detail:
            return problem.detail
        reason: str = kwargs["reason"]
        return None if reason == documents.phrase_of(status_code) else reason


# -- unrouted addresses


class _AnyMethod(tuple[str, ...]):
    """Contains every method, and lists those that it was made of."""

    __slots__ = ()

    def __contains__(self, method: object) -> bool:
        return True


class ErrorHandler(ErrorLogger, ErrorWriter, web.ErrorHandler):
    """Answers every request, whatever its method, with the same error.

    As ``default_handler_class`` of an application it answers addresses that no handler is for.

    Args:
        status_code: Status of the responses.
    """

    # There is nothing here, so there is nothing that a method could be wrong for.
    SUPPORTED_METHODS: tuple[str, ...] = _AnyMethod(web.RequestHandler.SUPPORTED_METHODS)

    def initialize(self, status_code: int = 404, **kwargs: Any) -> None:
        """Set the status."""
        super().initialize(status_code=status_code, **kwargs)

    def prepare(self) -> None:
        """Answer the request."""
        status_code = self.get_status()
        # Made and not raised: crawlers and scanners come by often.
        error = web.HTTPError(status_code)
        self.send_error(status_code, exc_info=(web.HTTPError, error, None))
