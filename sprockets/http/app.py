"""Applications, and the callbacks that belong to their life."""

from __future__ import annotations

import asyncio
import inspect
import logging
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from tornado import httputil, web
from tornado.ioloop import IOLoop
from tornado.log import access_log

from sprockets.http._access_log import log_access
from sprockets.http._request_context import Activity, Exchange, Intake, client_is_gone
from sprockets.http._shutdown import Shutdown
from sprockets.http.mixins import ErrorHandler

if TYPE_CHECKING:
    from tornado.http1connection import HTTP1Connection

Callback: TypeAlias = Callable[..., Any]
EVENTS: Final = ("before_run", "on_start", "shutdown")


class CallbackManager:
    """Runs the callbacks of an application's life.

    There are three events, each with a list of callbacks that are called in the order in which they
    were added:

    ``before_run(application, io_loop)``
        In each worker process, before its loop runs.  An awaitable that it returns is run to its
        end first.  An exception ends the process with status 70.
    ``on_start(application, io_loop)``
        On the running loop.  Nobody waits for an awaitable that it returns, so it may go on for
        ever; an exception is logged.
    ``shutdown(application)``
        When the process was told to stop, after the requests in flight are answered.  An awaitable
        that it returns is waited for, within what is left of the time for stopping.

    All of them are called on the loop's thread.

    Args:
        tornado_application: What serves the requests; its ``runner_callbacks`` are used, or made.
        *args: For the next class.
        runner_callbacks: Lists of callbacks by event; the very lists are used.
        **kwargs: For the next class.
    """

    runner_callbacks: dict[str, list[Callback]]
    logger: logging.Logger
    settings: dict[str, Any]
    """Of the application that serves the requests."""
    shutdown_limit: float
    """Seconds for a stop that a failed start makes necessary."""
    wait_timeout: float
    """Seconds between two looks at what is unfinished then."""
    has_started: bool
    """Whether every ``on_start`` callback has returned."""
    start_failed: bool
    """Whether one of them raised an exception."""
    on_started: Callable[[], object] | None
    """Called once, after the last one returned or the first one failed."""

    def __init__(
        self,
        tornado_application: web.Application,
        *args: Any,
        runner_callbacks: dict[str, list[Callback]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._tornado_application = tornado_application
        found = runner_callbacks
        if found is None:
            found = getattr(tornado_application, "runner_callbacks", None)
        self.runner_callbacks = {} if found is None else found
        for event in EVENTS:
            self.runner_callbacks.setdefault(event, [])
        self.logger = logging.getLogger(type(self).__name__)
        self.shutdown_limit = 5.0
        self.wait_timeout = 1.0
        self.settings = tornado_application.settings
        self.has_started = False
        self.start_failed = False
        self.on_started = None
        self._unfinished = 0
        self._running: set[asyncio.Future[Any]] = set()
        self._shutdown: Shutdown | None = None

    @property
    def tornado_application(self) -> web.Application:
        """What serves the requests."""
        return self._tornado_application

    @property
    def before_run_callbacks(self) -> list[Callback]:
        """Called in each process before its loop runs."""
        return self.runner_callbacks.setdefault("before_run", [])

    @property
    def on_start_callbacks(self) -> list[Callback]:
        """Called on the running loop."""
        return self.runner_callbacks.setdefault("on_start", [])

    @property
    def on_shutdown_callbacks(self) -> list[Callback]:
        """Called when the process was told to stop."""
        return self.runner_callbacks.setdefault("shutdown", [])

    def start(self, io_loop: IOLoop) -> None:
        """Run the ``before_run`` callbacks, then queue the ``on_start`` callbacks on *io_loop*.

        Raises:
            Exception: Whatever a ``before_run`` callback raised.  It has been logged, the callbacks
                after it were not called, and :meth:`stop` was: the loop ends when it is next run.
        """
        self._shutdown = None
        self.has_started = self.start_failed = False
        for callback in list(self.before_run_callbacks):
            try:
                result = callback(self._tornado_application, io_loop)
                if inspect.isawaitable(result):
                    _run(io_loop, result)
            except Exception:
                self.logger.exception("before_run callback %r cancelled the start", callback)
                self.stop(io_loop, self.shutdown_limit, self.wait_timeout)
                raise
        callbacks = list(self.on_start_callbacks)
        self._unfinished = len(callbacks)
        for callback in callbacks:
            io_loop.spawn_callback(self._call_on_start, callback, io_loop)
        if not callbacks:
            io_loop.add_callback(self._note_started)

    def _call_on_start(self, callback: Callback, io_loop: IOLoop) -> Any:
        """Call one ``on_start`` callback; Tornado logs what it raises, now or later."""
        try:
            result = callback(self._tornado_application, io_loop)
        except Exception:
            self._note_failure()
            raise
        if not inspect.isawaitable(result):
            self._note_return()
            return None
        future = asyncio.ensure_future(result)
        # The loop itself holds tasks weakly: one that waits for ever would be collected.
        self._running.add(future)
        future.add_done_callback(self._note_result)
        return future

    def _note_result(self, future: asyncio.Future[Any]) -> None:
        self._running.discard(future)
        if future.cancelled() or future.exception() is not None:
            self._note_failure()
        else:
            self._note_return()

    def _note_return(self) -> None:
        self._unfinished -= 1
        if self._unfinished == 0:
            self._note_started()

    def _note_started(self) -> None:
        if not self.start_failed:
            self.has_started = True
        self._tell()

    def _note_failure(self) -> None:
        self.start_failed = True
        self._tell()

    def _tell(self) -> None:
        callback, self.on_started = self.on_started, None
        if callback is not None:
            callback()

    def stop(self, io_loop: IOLoop, shutdown_limit: float = 5.0, wait_timeout: float = 1.0) -> None:
        """Call the ``shutdown`` callbacks, and have *io_loop* stop when all is finished.

        It returns at once, and raises nothing because of a callback.  The loop need not be running:
        the next ``io_loop.start()`` does what is left, and returns.  A second call does nothing.

        Args:
            io_loop: Stopped in the end.
            shutdown_limit: Seconds after which what is not finished is cancelled.
            wait_timeout: Seconds between two looks at tasks that requests have left running.
        """
        if self._shutdown is not None:
            return
        self._shutdown = Shutdown(
            self._tornado_application,
            self.on_shutdown_callbacks,
            io_loop,
            limit=shutdown_limit,
            wait_timeout=wait_timeout,
            logger=self.logger,
        )
        self._shutdown.begin()

    def hurry(self, seconds: float) -> None:
        """Have a :meth:`stop` that was called come to its end in so many *seconds*."""
        if self._shutdown is not None:
            self._shutdown.hurry(seconds)

    @property
    def has_stopped(self) -> bool:
        """Whether a :meth:`stop` that was called has come to its end."""
        return self._shutdown is not None and self._shutdown.is_over

    @property
    def unfinished(self) -> list[str]:
        """What :meth:`stop` had to cut short, by name."""
        return [] if self._shutdown is None else self._shutdown.unfinished


def _run(io_loop: IOLoop, awaitable: Any) -> None:
    """Run *awaitable* to its end on a loop that is not running."""
    loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]  # there is no other kind
    loop.run_until_complete(asyncio.ensure_future(awaitable, loop=loop))


class Application(CallbackManager, web.Application):
    """A Tornado application with callbacks, an access log, and error documents for every URL.

    Args:
        handlers: As for :class:`tornado.web.Application`.
        default_host: As there.
        transforms: As there; the list is not changed.
        runner_callbacks: Lists of callbacks by event, see :class:`CallbackManager`.
        **settings: As there.  ``server_header`` is the value of the ``Server`` header, None for
            none; if it is not given, it is made of ``service`` and ``version``.  URLs that no
            handler is routed for are answered by :class:`sprockets.http.mixins.ErrorHandler`, but
            for a ``default_handler_class``.
    """

    activity: Activity
    """The requests in flight, and the counters of this process."""

    def __init__(
        self,
        handlers: Any = None,
        default_host: str | None = None,
        transforms: Iterable[type[web.OutputTransform]] | None = None,
        *,
        runner_callbacks: dict[str, list[Callback]] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(
            self,
            handlers,
            default_host,
            None if transforms is None else list(transforms),
            runner_callbacks=runner_callbacks,
            **settings,
        )
        if "server_header" not in self.settings:
            service, version = self.settings.get("service"), self.settings.get("version")
            if service and version:
                service = f"{service}/{version}"
            self.settings["server_header"] = service or None
        if not self.settings.get("default_handler_class"):
            self.settings["default_handler_class"] = ErrorHandler
            self.settings.setdefault("default_handler_args", {"status_code": 404})
        self.activity = Activity()

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Take a request from a server, ours or any other of Tornado's."""
        if type(request_conn) is Exchange:
            return self._start_exchange(server_conn, request_conn)
        exchange = Exchange(self.activity, cast("HTTP1Connection", request_conn), self.settings)
        return Intake(exchange, self._start_exchange(server_conn, exchange))

    # For a server that has made the exchange for a request already.
    _start_exchange = web.Application.start_request

    def get_handler_delegate(
        self,
        request: httputil.HTTPServerRequest,
        target_class: type[web.RequestHandler],
        target_kwargs: dict[str, Any] | None = None,
        path_args: list[bytes] | None = None,
        path_kwargs: dict[str, bytes] | None = None,
    ) -> Any:
        """Return what runs *target_class* for *request*, in the context that the class asks for."""
        connection = request.connection
        if type(connection) is Exchange:
            connection.note_handler(target_class, self)
        return super().get_handler_delegate(
            request, target_class, target_kwargs, path_args, path_kwargs
        )

    def log_request(self, handler: web.RequestHandler) -> None:
        """Write the line of the access log, or call the ``log_function`` of the settings."""
        log_function = self.settings.get("log_function")
        if log_function is not None:
            log_function(handler)
        elif access_log.isEnabledFor(logging.INFO) or handler.get_status() >= 400:
            connection = handler.request.connection
            log_access(
                handler,
                client_is_gone=client_is_gone(handler.request),
                action=connection.action if type(connection) is Exchange else None,
            )

    def logs_requests_of(self, handler_class: type | None) -> bool:
        """Return whether the access log has a record of the requests of *handler_class*."""
        return (
            type(self).log_request is Application.log_request
            and self.settings.get("log_function") is None
            and getattr(handler_class, "_log", None) is web.RequestHandler._log
        )


class _WrappedApplication(CallbackManager):
    """Callbacks for an application that knows nothing of them."""

    def __init__(self, application: web.Application) -> None:
        super().__init__(application)
        application.runner_callbacks = self.runner_callbacks  # type: ignore[attr-defined]  # where its owner looks for them


def wrap_application(
    application: web.Application,
    before_run: list[Callback] | None,
    on_start: list[Callback] | None,
    shutdown: list[Callback] | None,
) -> CallbackManager:
    """Return *application* as something that has callbacks, with the given ones added at the end.

    An :class:`Application` is returned as it is.  Any other gets an adapter, which works as well
    but lacks the access log and the error documents.

    Args:
        application: What serves the requests.
        before_run: More callbacks for that event; the list is not changed.
        on_start: Likewise.
        shutdown: Likewise.
    """
    if isinstance(application, CallbackManager):
        manager: CallbackManager = application
    else:
        warnings.warn(
            f"{type(application).__name__} is no sprockets.app.Application; it works, without our"
            " access log and error documents.  Derive it from sprockets.http.app.Application",
            DeprecationWarning,
            stacklevel=3,
        )
        manager = _WrappedApplication(application)
    for event, callbacks in zip(EVENTS, (before_run, on_start, shutdown), strict=True):
        manager.runner_callbacks.setdefault(event, []).extend(callbacks or ())
    return manager
