"""Testing: a service within a test, and one that runs beside it.

>>> class ShopTest(SprocketsHttpTestCase):
...     def get_app(self):
...         self.app = Application([("/", web.RequestHandler)])
...         return self.app
...
...     def test_nothing_is_for_sale(self):
...         self.assertEqual(self.fetch("/").code, 405)
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final, Self, cast
from unittest import mock

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import AsyncHTTPTestCase, AsyncTestCase

from sprockets.http._request_context import Activity, carry_into_threads
from sprockets.http._server import Server
from sprockets.http._sockets import make_ssl_context
from sprockets.http.app import Application, CallbackManager, wrap_application

__all__ = ["RunningService", "SprocketsHttpTestCase", "free_port"]

_OF_OURS: Final = frozenset({"max_body_size", "max_buffer_size", "ssl_options", "xheaders"})


# -- within the test


class _Server(Server):
    """The server of a worker, given its sockets as any of Tornado's is."""

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on *sockets*."""
        self.serve_on(list(sockets))

    async def close_all_connections(self) -> None:
        """Close all connections, and what looks after them."""
        await super().close_all_connections()
        self.end()


def make_server(application: Any, **options: Any) -> HTTPServer:
    """Return a server for *application* that is set up as :func:`sprockets.http.run` does it.

    Args:
        application: What serves the requests; anything that Tornado's server takes.
        **options: Of Tornado's server.  With one that our own knows nothing of, such as
            ``decompress_request``, it is Tornado's that is returned.
    """
    if not options.keys() <= _OF_OURS:
        return HTTPServer(application, **options)
    settings = getattr(application, "settings", {})
    is_ours = isinstance(application, Application)
    return _Server(
        application,
        activity=application.activity if is_ours else Activity(),
        settings=settings if is_ours else None,
        ssl_context=make_ssl_context(options.get("ssl_options")),
        xheaders=options.get("xheaders", settings.get("xheaders", True)),
        max_body_size=options.get("max_body_size", settings.get("max_body_size")),
        max_buffer_size=options.get("max_buffer_size", settings.get("max_buffer_size")),
    )


def manage(application: Any) -> CallbackManager | None:
    """Return what runs the callbacks of *application*, or None if it can have none."""
    if isinstance(application, CallbackManager):
        return application
    if not isinstance(application, web.Application):
        return None
    with warnings.catch_warnings():
        # Whoever serves it is told; a test of it is no place to be told again.
        warnings.simplefilter("ignore", DeprecationWarning)
        return wrap_application(application, None, None, None)


def stop_application(
    manager: CallbackManager,
    server: HTTPServer,
    io_loop: IOLoop,
    shutdown_limit: float,
    wait_timeout: float,
) -> None:
    """End an application as a worker does; when this returns its callbacks are done.

    Args:
        manager: Of the application's callbacks.
        server: Stops accepting, and has its requests finished, before the callbacks are called.
        io_loop: Not running; it is run here.
        shutdown_limit: Seconds for the requests, and again for the callbacks and what is left.
        wait_timeout: Seconds between two looks at what is left.
    """
    server.stop()
    activity = getattr(server, "activity", None) or getattr(manager, "activity", None)
    if activity is not None and activity.exchanges:
        io_loop.run_sync(lambda: _wait_for_requests(activity, shutdown_limit))
    manager.stop(io_loop, shutdown_limit, wait_timeout)
    shutdown = manager._shutdown
    if shutdown is not None and shutdown.is_over:
        # It was stopped before, or has nothing to wait for: nobody else ends what begins below.
        io_loop.add_callback(io_loop.stop)
    io_loop.start()


async def _wait_for_requests(activity: Activity, seconds: float) -> None:
    deadline = monotonic() + seconds
    while activity.exchanges and monotonic() < deadline:  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0.005)


class SprocketsHttpTestCase(AsyncHTTPTestCase):
    """A test case in which an application is served, and its callbacks are run.

    The ``before_run`` callbacks have run when a test begins; the ``on_start`` callbacks run when
    the loop does, as in the first ``self.fetch()``.  After the test the ``shutdown`` callbacks are
    called, and what they return is waited for.
    """

    app: Application | None
    """What is tested; :meth:`get_app` sets it."""
    shutdown_limit: float = 0.25
    """Seconds granted to the end of the application after each test."""
    wait_timeout: float = 0.05
    """Seconds between two looks at what is unfinished by then."""

    def setUp(self) -> None:
        """Make the application, serve it, and run its ``before_run`` callbacks."""
        self.app = None
        make_app = self.get_app
        failures: list[BaseException] = []

        def get_app() -> web.Application:
            try:
                return make_app()
            except BaseException as error:  # noqa: BLE001  # raised again below
                # Tornado's setUp has bound a socket by now, which nobody could close if it failed.
                failures.append(error)
                self.app = None
                return web.Application()

        try:
            with mock.patch.object(self, "get_app", get_app):
                super().setUp()
            if failures:
                raise failures[0]
            carry_into_threads(self.io_loop)
            made: web.Application | None = self.app  # get_app() may have set it
            manager = manage(made or self._app)
            if manager is not None:
                # An adapter has what a test asks an application for.
                self.app = cast("Application", manager)
                manager.start(self.io_loop)
        except BaseException as error:  # noqa: BLE001  # raised again, or the one it came from
            # unittest tears down only what was set up to the end.
            first = failures[0] if failures else error
            try:
                self._release()
            except Exception as another:  # noqa: BLE001  # the first error is the one to show
                first.add_note(f"while releasing what was set up: {another!r}")
            raise first  # noqa: B904  # which is the one that was caught, or where it came from

    def _release(self) -> None:
        if hasattr(self, "http_server"):
            SprocketsHttpTestCase.tearDown(self)
        elif hasattr(self, "io_loop"):
            if hasattr(self, "http_client"):
                self.http_client.close()
            AsyncTestCase.tearDown(self)

    def tearDown(self) -> None:
        """Run the ``shutdown`` callbacks, and release the server and the loop."""
        try:
            if self.app is not None:
                stop_application(
                    self.app, self.http_server, self.io_loop, self.shutdown_limit, self.wait_timeout
                )
        finally:
            super().tearDown()

    def get_app(self) -> web.Application:
        """Make the application to test; set :attr:`app` to it, and return it."""
        raise NotImplementedError("override get_app() to make the application")

    def get_http_server(self) -> HTTPServer:
        """Return the server, set up as a worker's is."""
        return make_server(self._app, **self.get_httpserver_options())


# -- beside the test

_HOST: Final = "127.0.0.1"
# Below what the kernel gives to clients, 32768 and up: no connection of ours can take the port.
_PORTS: Final = range(20_000, 32_000)
# Of whoever runs the tests, and not meant for what they run.
_SUPERVISION: Final = frozenset(
    {"LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}
)
_SHOWN: Final = 4000  # characters of output that an error message quotes
_PROGRAM: Final = """\
import json, sys
from importlib import import_module
place, settings, path = sys.argv[1:4]
sys.path[:] = ["", *json.loads(path)]
sys.argv[:] = [place]
from sprockets.http import run
module, _, name = place.partition(":")
factory = import_module(module)
for part in name.split("."):
    factory = getattr(factory, part)
run(factory, json.loads(settings))
"""


def free_port() -> int:
    """Return a TCP port that nobody listens on, and that no client will be given.

    Raises:
        OSError: There is none.
    """
    # Not the random numbers that plugins seed alike in each of several test runs.
    for port in random.SystemRandom().sample(_PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((_HOST, port))
                return port
    raise OSError(f"found no free port from {_PORTS.start} to {_PORTS.stop - 1}")


class RunningService:
    """Runs a service in a process of its own, to be tested from outside.

    .. code-block:: python

        with RunningService("shop.service:make_app", {"number_of_procs": 2}) as service:
            assert urlopen(service.url("/status")).status == 200
            assert service.stop() == 0

    When the block begins, the service has answered a request.  When it ends, nothing is left of the
    service.  An exception in the block is shown with the end of the service's output.

    Args:
        what: ``module:factory``, which is given to :func:`sprockets.http.run` by an interpreter
            that finds the modules which this one finds; or a command, in which ``{port}`` becomes
            the port.
        settings: For ``run()``, with a factory; what JSON can say.
        port: Where it will listen; a free port by default.  A command finds it in the environment
            too, as ``PORT``.
        env: Added to this process's environment.
        cwd: The directory to run in; this process's by default.
        ready_path: What must answer, with any status below 500, before the block begins; None does
            not wait.
        start_timeout: Seconds to wait for that answer.
        stop_timeout: Seconds to wait for the end, before the service is killed.
    """

    port: int
    command: list[str]

    def __init__(
        self,
        what: str | Sequence[str],
        settings: Mapping[str, Any] | None = None,
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        ready_path: str | None = "/",
        start_timeout: float = 15.0,
        stop_timeout: float = 10.0,
    ) -> None:
        self.port = free_port() if port is None else port
        if isinstance(what, str):
            if not re.fullmatch(r"[\w.]+:[\w.]+", what):
                raise ValueError(
                    f"expected module:factory, got {what!r}; give a command as a list of words"
                )
            told = json.dumps({"port": self.port, **(settings or {})})
            path = json.dumps([each for each in sys.path if each])
            self.command = [sys.executable, "-c", _PROGRAM, what, told, path]
        elif settings:
            raise ValueError("settings are for module:factory; tell a command in its arguments")
        else:
            self.command = [word.replace("{port}", str(self.port)) for word in what]
        self._env = dict(env or {})
        self._cwd = cwd
        self._ready_path = ready_path
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._last_output: str = ""
        self._file: Any = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.stop()
        finally:
            self.close()
            if error is not None:
                error.add_note(self._describe_output())

    def start(self) -> None:
        """Start the service, and wait until it answers.

        Raises:
            RuntimeError: It ended instead, or has been started before.
            TimeoutError: It did not answer in time.
        """
        if self._process is not None:
            raise RuntimeError("the service has been started before")
        environment = {name: text for name, text in os.environ.items() if name not in _SUPERVISION}
        environment |= {"PYTHONUNBUFFERED": "1", "PORT": str(self.port), **self._env}
        self._file = tempfile.NamedTemporaryFile(prefix="service-", suffix=".log")  # noqa: SIM115  # until close()
        try:
            self._process = subprocess.Popen(  # noqa: S603  # the command is the test's own
                self.command,
                env=environment,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=self._file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            if self._ready_path is not None:
                self._wait_ready(self._ready_path)
        except BaseException as error:
            self.close()
            error.add_note(self._describe_output())
            raise

    def _wait_ready(self, path: str) -> None:
        deadline = monotonic() + self._start_timeout
        while not self._answers(path):
            if self.returncode is not None:
                raise RuntimeError(f"the service ended with {self.returncode} while it started")
            if monotonic() > deadline:
                raise TimeoutError(f"no answer to {path} within {self._start_timeout:g} seconds")
            sleep(0.02)

    def _answers(self, path: str) -> bool:
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=1.0)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            with connection.getresponse() as response:
                return response.status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the service was not started; use it in a with statement")
        return self._process

    @property
    def pid(self) -> int:
        """The process that was started; its workers are its children."""
        return self._started.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; minus the number of the signal that killed it; None while it runs."""
        return self._started.poll()

    def url(self, path: str = "/") -> str:
        """Return the URL of *path*."""
        return f"http://{_HOST}:{self.port}{path}"

    @property
    def output(self) -> str:
        """What any of its processes has written to standard output or error so far."""
        if self._file is not None:
            return Path(self._file.name).read_text("utf-8", "replace")
        return self._last_output

    def _describe_output(self) -> str:
        return f"output of the service:\n{self.output[-_SHOWN:]}"

    def wait_output(self, text: str, timeout: float = 10.0) -> str:
        """Return the output as soon as *text* is in it.

        Raises:
            TimeoutError: It is not, after so many seconds.
        """
        deadline = monotonic() + timeout
        while text not in (output := self.output):
            if monotonic() > deadline:
                raise TimeoutError(f"no {text!r} in the output within {timeout:g} seconds")
            sleep(0.02)
        return output

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to the process that was started; one that has ended gets none."""
        self._started.send_signal(number)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for the end, and return the exit status.

        Raises:
            TimeoutError: It has not ended after so many seconds.
        """
        try:
            return self._started.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the service did not end within {timeout:g} seconds") from None

    def stop(self) -> int:
        """Tell the service to stop, wait until it has, and return its exit status.

        Raises:
            TimeoutError: It had to be killed.
        """
        self.signal()
        try:
            return self.wait(self._stop_timeout)
        except TimeoutError:
            self._kill()
            raise

    def _kill(self) -> None:
        """End every process that is left of the service."""
        process = self._started
        # Also if the first process is gone: others of its group may not be.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End all that is left of the service; its output stays to be read."""
        if self._process is not None:
            self._kill()
        if self._file is not None:
            self._last_output = self.output
            self._file.close()
            self._file = None
