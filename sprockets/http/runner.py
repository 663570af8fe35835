"""The runner: serves an application in one process or several, until it is told to stop."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import logging
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from importlib import import_module
from time import monotonic, time
from typing import TYPE_CHECKING, Any, NoReturn

from tornado import web
from tornado.ioloop import IOLoop

from sprockets._support.optional import optional
from sprockets.http._collecting import CollectorError, CollectorProcess
from sprockets.http._cpus import count_cpus
from sprockets.http._lifecycle import Lifecycle, Place
from sprockets.http._logging import LogSetup, reopen_files
from sprockets.http._notify import Notifier, PidFile
from sprockets.http._request_context import Activity
from sprockets.http._scoreboard import Scoreboard
from sprockets.http._server import Server
from sprockets.http._settings import Options
from sprockets.http._sockets import BindError, listen, make_ssl_context
from sprockets.http._supervisor import (
    EXIT_START,
    EXIT_UNAVAILABLE,
    Link,
    Supervisor,
    count_rows,
)
from sprockets.http.app import Application, Callback, CallbackManager, wrap_application

if TYPE_CHECKING:
    from tornado.httpserver import HTTPServer


if TYPE_CHECKING:
    RunCommand: Any


def __getattr__(name: str) -> Any:
    """Bring in the command of setuptools for those who have setuptools, and want it."""
    if name == "RunCommand":
        return import_module("sprockets.http._run_command").RunCommand
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _ServiceEnded(Exception):
    """The parent has seen its last worker go.

    Args:
        status: The exit status for the parent.
    """

    def __init__(self, status: int) -> None:
        self.status = status


class Runner:
    """Serves one application.

    With several processes the one that calls :meth:`run` becomes their supervisor: it binds the
    port, forks them, replaces those that die, and tells them what it is told by signals:

    ============  ====================================================================
    signal        what happens
    ============  ====================================================================
    TERM, INT     stop: finish the requests in flight, within ``shutdown_limit``
    … again       do not wait for requests any longer; a third time: kill
    QUIT          as two of them
    HUP           replace all workers, one by one, without refusing a connection; with
                  one process, read the certificates again
    USR1          open log files again
    TTIN, TTOU    one worker more, one less
    ============  ====================================================================

    The exit status is 0 after a clean stop, 69 if the address cannot be bound, 70 if a worker could
    not start or workers die faster than they serve, 75 if something had to be cut short.

    Args:
        app: What to serve.
        before_run: Callbacks to add, see :class:`sprockets.http.app.CallbackManager`.
        on_start: Likewise.
        shutdown: Likewise.
        options: Limits and times; the defaults otherwise.
    """

    application: CallbackManager
    logger: logging.Logger
    server: HTTPServer | None
    shutdown_limit: float = 5.0
    """Seconds granted to a stop."""
    wait_timeout: float = 1.0
    """Seconds between two looks at what is unfinished when stopping."""

    def __init__(
        self,
        app: web.Application,
        before_run: list[Callback] | None = None,
        on_start: list[Callback] | None = None,
        shutdown: list[Callback] | None = None,
        *,
        options: Options | None = None,
    ) -> None:
        self.application = wrap_application(app, before_run, on_start, shutdown)
        self.logger = logging.getLogger("Runner")
        self.server = None
        self._options = options or Options(debug=bool(self.application.settings.get("debug")))
        if options is not None:
            self.shutdown_limit = options.shutdown_limit
            self.wait_timeout = options.wait_timeout
        self._lifecycle: Lifecycle | None = None
        self._place: Place | None = None

    def start_server(self, port_number: int, number_of_procs: int = 0) -> None:
        """Bind the port and serve as soon as the loop runs; the loop is the caller's to start.

        With several processes this forks, and returns in the workers only: the parent supervises
        them, and exits when they are gone.

        Args:
            port_number: TCP port; 0 takes a free one.
            number_of_procs: 1 forks nothing, 0 and less means one worker for each processor.
        """
        try:
            self._enter(port_number, number_of_procs)
        except _ServiceEnded as ended:
            sys.exit(ended.status)
        self._prepare()
        assert self._lifecycle is not None
        assert self._place is not None
        self._lifecycle.is_by_hand = True
        self._lifecycle.go_live()
        self._lifecycle.accept()
        self._place.row["is_ready"] = 1  # there are no callbacks to wait for

    def stop_server(self) -> None:
        """Stop accepting connections; does nothing where none are accepted."""
        if self.server is not None:
            self.server.stop()
        if self._place is not None:
            self._place.listener.close()

    def run(self, port_number: int, number_of_procs: int = 0) -> None:
        """Serve until a signal says stop.

        With several processes it returns in the parent only.

        Args:
            port_number: TCP port; 0 takes a free one.
            number_of_procs: 1 forks nothing, 0 and less means one worker for each processor.

        Raises:
            SystemExit: It did not end well; see the table above for the status.
            ValueError: This is not the main thread, and only that can handle signals.
        """
        try:
            self._enter(port_number, number_of_procs)
        except _ServiceEnded as ended:
            if ended.status:
                sys.exit(ended.status)
            return
        assert self._place is not None
        end(self._place, self.work)

    def work(self) -> int:
        """Serve in this process until the end, and return the exit status."""
        try:
            self._prepare()
        except Exception:
            self.logger.exception("the server could not be made")
            if self._place is not None:
                self._place.listener.close()
            return EXIT_START
        lifecycle = self._lifecycle
        assert lifecycle is not None
        io_loop = lifecycle.io_loop
        application = self.application
        application.shutdown_limit = self.shutdown_limit
        application.wait_timeout = self.wait_timeout
        try:
            application.start(io_loop)
        except Exception as error:  # noqa: BLE001  # logged by the application, and by us
            io_loop.start()  # for what application.stop() has left to do
            self.logger.error(
                "the application terminated during start: %s: %s", type(error).__name__, error
            )
            lifecycle.status = EXIT_START
            return self._close(lifecycle)
        lifecycle.go_live()
        io_loop.start()
        return self._close(lifecycle)

    def _close(self, lifecycle: Lifecycle) -> int:
        status = lifecycle.close()
        if lifecycle.has_stuck_threads and self._place is not None and self._place.link is None:
            # The interpreter would wait for them at its exit, and there is nobody to end it.
            atexit._run_exitfuncs()
            _flush()
            os._exit(status)
        if self._place is not None and self._place.has_made_loop:
            lifecycle.io_loop.close()
            asyncio.set_event_loop(None)
        return status

    def settle(self, place: Place, options: Options) -> None:
        """Serve at *place*, which somebody else has entered."""
        self._place = place
        self._options = options

    def _enter(self, port_number: int, number_of_procs: int) -> None:
        options = dataclasses.replace(
            self._options, port=int(port_number), number_of_procs=int(number_of_procs)
        )
        options = dataclasses.replace(
            options,
            debug=bool(self.application.settings.get("debug")),
            shutdown_limit=self.shutdown_limit,
            wait_timeout=self.wait_timeout,
        )
        self.settle(enter(options, self.logger), options)

    def _prepare(self) -> None:
        """Make the loop, the server and what watches over them."""
        place, options = self._place, self._options
        assert place is not None
        io_loop = open_loop(place, options)
        application = self.application.tornado_application
        settings = application.settings
        is_ours = isinstance(application, Application)
        server = Server(
            application,
            options=options,
            activity=application.activity if is_ours else Activity(),  # type: ignore[attr-defined]  # ours has one
            settings=settings if is_ours else None,
            ssl_context=make_ssl_context(options.ssl_options),
            xheaders=settings.get("xheaders") is None or bool(settings["xheaders"]),
            max_body_size=settings.get("max_body_size"),
            max_buffer_size=settings.get("max_buffer_size"),
        )
        self.server = server
        self._lifecycle = Lifecycle(
            self.application,
            server,
            io_loop,
            options,
            place,
            self.logger,
            shutdown_limit=self.shutdown_limit,
            wait_timeout=self.wait_timeout,
            reopen_files=reopen_files,
            notifier=Notifier() if place.link is None else None,
        )
        self._lifecycle.install()


def get_logger() -> logging.Logger:
    """Return the logger that the runner and its supervisor write to."""
    return logging.getLogger("Runner")


def open_loop(place: Place, options: Options) -> IOLoop:
    """Return the loop to serve on at *place*; the first call makes it, and makes it current.

    A worker never uses a loop that it inherited: parent and child would share its selector.
    """
    if place.io_loop is None:
        current = None if options.uvloop or place.link is not None else _find_loop()
        if current is None:
            place.has_made_loop = True
            if options.uvloop:
                module = optional("uvloop", extra="uvloop", needed_by="the setting uvloop")
                asyncio.set_event_loop(module.new_event_loop())
            else:
                asyncio.set_event_loop(asyncio.new_event_loop())
            current = IOLoop.current()
        place.io_loop = current
    return place.io_loop


def _find_loop() -> IOLoop | None:
    """Return the current loop if somebody has set one."""
    # Until 3.14 whoever asks for a loop that is not there gets one, which nobody would close.
    policy = asyncio.get_event_loop_policy() if sys.version_info < (3, 14) else None
    if policy is not None and getattr(getattr(policy, "_local", None), "_loop", policy) is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            asyncio.get_event_loop()
        except RuntimeError:
            return None
        return IOLoop.current()


def enter(
    options: Options, logger: logging.Logger, collector: CollectorProcess | None = None
) -> Place:
    """Bind the address and fork the workers; return in each worker, or where there is just one.

    Args:
        options: How to serve.
        logger: Told what happens.
        collector: Runs already; watched together with the workers.

    Raises:
        SystemExit: The address cannot be bound; status 69.
        ValueError: This is not the main thread.
        _ServiceEnded: In the parent, when the last worker is gone.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ValueError(
            "a service handles signals, which only the main thread can; call run() there"
        )
    try:
        listener = listen(options)
    except BindError as error:
        logger.critical("%s", error.strerror)
        sys.exit(EXIT_UNAVAILABLE)
    try:
        pid_file = None if options.pid_file is None else PidFile(options.pid_file)
    except OSError as error:
        listener.close()
        logger.critical("cannot write the PID file: %s", error)
        sys.exit(EXIT_UNAVAILABLE)
    count = options.number_of_procs if options.number_of_procs > 0 else count_cpus()
    if options.debug or count == 1:
        logger.info("starting 1 process on %s", listener.describe())
        board = Scoreboard()
        board["started_at"] = time()
        if pid_file is not None:
            atexit.register(pid_file.remove)
        return Place(listener, board)
    logger.info("starting processes on %s", listener.describe())
    board = Scoreboard(count_rows(count))
    board["started_at"] = time()
    supervisor = Supervisor(
        count,
        options,
        listener,
        board,
        logger,
        notifier=Notifier(),
        reopen_files=reopen_files,
        collector=collector,
    )
    outcome: Link | int | None = None
    try:
        outcome = supervisor.run()
    finally:
        if not isinstance(outcome, Link):
            listener.close()
            if pid_file is not None:
                pid_file.remove()
    if isinstance(outcome, Link):
        _forget_parents_exit()
        return Place(listener, board, outcome)
    raise _ServiceEnded(outcome)


def end(place: Place, work: Callable[[], int]) -> None:
    """Do *work*, then end the process as befits it.

    A worker ends here: it never goes back to the code around ``run()``, which is the parent's, and
    would have its ``finally`` clauses run once for each worker.
    """
    if place.link is None:
        status = work()
        if status:
            sys.exit(status)
        return
    status = 1
    try:
        status = work()
    except SystemExit as error:
        status = _status_of(error)
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        logging.getLogger("Runner").exception("a worker ended with an exception")
        status = EXIT_START
    finally:
        leave(status)


def _status_of(error: SystemExit) -> int:
    """The status that the interpreter would exit with."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code
    print(error.code, file=sys.stderr)  # noqa: T201  # as the interpreter does
    return 1


def _forget_parents_exit() -> None:
    """Have this worker do at its exit only what it registers itself.

    Temporary folders, PID files and the like are the parent's to remove.
    """
    for each in list(getattr(weakref.finalize, "_registry", ())):
        each.atexit = False
    atexit._clear()
    atexit.register(logging.shutdown)
    finalize: Any = weakref.finalize
    atexit.register(finalize._exitfunc)
    delivery = sys.modules.get("sprockets.logbook.delivery._engine")
    if delivery is not None:
        # Its engines are empty in a forked child; what the worker puts into them is its own.
        atexit.register(delivery._close_all)


def leave(status: int) -> NoReturn:
    """End a worker as the interpreter would end a program, without going through its callers."""
    try:
        # As the standard library's multiprocessing does in its children.
        getattr(threading, "_shutdown", lambda: None)()
        atexit._run_exitfuncs()
    except BaseException:
        with contextlib.suppress(Exception):
            logging.getLogger("Runner").exception("an exit function raised")
    finally:
        _flush()
        os._exit(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def serve(
    make_runner: Callable[[], Runner],
    options: Options,
    logs: LogSetup,
    logger: logging.Logger,
    collector: CollectorProcess | None = None,
) -> None:
    """Serve what *make_runner* makes, in each worker, until the end.

    Args:
        make_runner: Called in the worker; or once, before the fork, with the option ``preload``.
        options: All that the runner can be told.
        logs: Bound here, and unbound.
        logger: Told what happens before there is a runner.
        collector: Started here; ended by its supervisor, or here if there is none.
    """
    logs.bind_in_parent()
    try:
        if collector is not None:
            _start_collector(collector, logs, logger)
        runner: Runner | None = None
        if options.preload:
            runner = _make(make_runner, logger)
            if runner is None:
                sys.exit(EXIT_START)
        try:
            place = enter(options, logger, collector)
        except _ServiceEnded as ended:
            if ended.status:
                sys.exit(ended.status)
            return
        end(place, lambda: _work(runner, make_runner, place, options, logs, logger))
    finally:
        if collector is not None:
            # After anything that kept the supervisor from it.
            collector.end(monotonic() + options.shutdown_limit)
        logs.unbind()


def _start_collector(collector: CollectorProcess, logs: LogSetup, logger: logging.Logger) -> None:
    collector.forget_logging = logs.unbind
    try:
        collector.start()
    except CollectorError as error:
        logger.critical("the collector cannot be started: %s", error)
        collector.end(monotonic())
        sys.exit(EXIT_START)


def _work(
    runner: Runner | None,
    make_runner: Callable[[], Runner],
    place: Place,
    options: Options,
    logs: LogSetup,
    logger: logging.Logger,
) -> int:
    try:
        logs.bind_in_worker()
    except Exception:
        logger.exception("logging could not be set up")
        return EXIT_START
    if runner is None:
        try:
            # Before the factory, which may want to know the loop.
            try:
                open_loop(place, options)
            except ImportError:
                logger.exception("there is no loop to serve on")
                return EXIT_START
            runner = _make(make_runner, logger)
        finally:
            if runner is None:
                place.listener.close()
        if runner is None:
            return EXIT_START
    runner.settle(place, options)
    try:
        return runner.work()
    finally:
        if place.link is not None:
            logs.unbind(close=True)


def _make(make_runner: Callable[[], Runner], logger: logging.Logger) -> Runner | None:
    try:
        return make_runner()
    except Exception:
        logger.exception("the application could not be made")
        return None
