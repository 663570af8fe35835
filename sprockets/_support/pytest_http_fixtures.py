"""Fixtures that serve an application on a loop, and what runs coroutine tests on that loop.

Names and meaning are those of pytest-tornado's.  A test overrides the fixture ``app``, which
returns the application, and asks for ``http_client`` and ``base_url``:

.. code-block:: python

    @pytest.fixture
    def app():
        return make_app()


    @pytest.mark.gen_test
    async def test_status(http_client, base_url):
        response = await http_client.fetch(f"{base_url}/status")
        assert response.code == 200

More than there, the application's callbacks are run: ``before_run`` when the server starts,
``shutdown`` after the test.  And the mark may be left out where a coroutine test uses ``io_loop``,
itself or through another fixture.  The mark's argument ``run_sync`` is taken, and changes nothing:
each test may stop the loop it runs on.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    import asyncio
    import socket

    from tornado.httpclient import AsyncHTTPClient
    from tornado.httpserver import HTTPServer
    from tornado.ioloop import IOLoop

DEFAULT_TIMEOUT: Final = 5.0
_SHUTDOWN_LIMIT: Final = 0.25
_WAIT_TIMEOUT: Final = 0.05
_OTHERS: Final = ("asyncio", "anyio", "trio", "twisted")


# -- fixtures


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """Create a tornado.ioloop.IOLoop for the test, and make it the current one.

    Tasks that are left when the test is over are cancelled.
    """
    import asyncio

    from tornado.ioloop import IOLoop

    loop = IOLoop(make_current=False)
    asyncio_loop: asyncio.AbstractEventLoop = loop.asyncio_loop
    asyncio.set_event_loop(asyncio_loop)
    try:
        yield loop
        asyncio_loop.run_until_complete(_end_tasks())
    finally:
        asyncio.set_event_loop(None)
        loop.close(all_fds=True)


async def _end_tasks() -> None:
    import asyncio

    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=DEFAULT_TIMEOUT)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _bind() -> Iterator[tuple[socket.socket, int]]:
    from tornado.testing import bind_unused_port

    bound, port = bind_unused_port()
    try:
        yield bound, port
    finally:
        bound.close()


@pytest.fixture
def _http_socket() -> Iterator[tuple[socket.socket, int]]:
    yield from _bind()


@pytest.fixture
def _https_socket() -> Iterator[tuple[socket.socket, int]]:
    yield from _bind()


@pytest.fixture
def http_port(_http_socket: tuple[socket.socket, int]) -> int:
    """Return the port that http_server listens on."""
    return _http_socket[1]


@pytest.fixture
def https_port(_https_socket: tuple[socket.socket, int]) -> int:
    """Return the port that https_server listens on."""
    return _https_socket[1]


@pytest.fixture
def base_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of the server, without a slash at its end; https if the test uses that."""
    names = request.fixturenames
    if not {"https_port", "https_server", "https_client"}.isdisjoint(names):
        return f"https://localhost:{request.getfixturevalue('https_port')}"
    return f"http://localhost:{request.getfixturevalue('http_port')}"


@pytest.fixture
def http_server(
    request: pytest.FixtureRequest, io_loop: IOLoop, _http_socket: tuple[socket.socket, int]
) -> Iterator[HTTPServer]:
    """Serve what the fixture ``app`` returns, and run its callbacks.

    The fixture ``app`` is yours to write; the option --app-fixture names another.
    """
    application = request.getfixturevalue(_option(request.config, "app_fixture", "app"))
    yield from _serve(request.config, io_loop, _http_socket[0], application)


@pytest.fixture
def https_server(
    request: pytest.FixtureRequest, io_loop: IOLoop, _https_socket: tuple[socket.socket, int]
) -> Iterator[HTTPServer]:
    """Serve what the fixture ``app`` returns with TLS, and run its callbacks.

    The fixtures ``app`` and ``ssl_options`` are yours to write; the latter returns a context, or a
    dict with ``certfile`` and ``keyfile``.  The options --app-fixture and --ssl-options-fixture
    name others.
    """
    application = request.getfixturevalue(_option(request.config, "app_fixture", "app"))
    name = _option(request.config, "ssl_options_fixture", "ssl_options")
    yield from _serve(
        request.config,
        io_loop,
        _https_socket[0],
        application,
        ssl_options=request.getfixturevalue(name),
    )


@pytest.fixture
def http_client(http_server: HTTPServer) -> Iterator[AsyncHTTPClient]:
    """Return a tornado.httpclient.AsyncHTTPClient for the loop; http_server is serving."""
    yield from _make_client()


@pytest.fixture
def https_client(https_server: HTTPServer) -> Iterator[AsyncHTTPClient]:
    """Return a tornado.httpclient.AsyncHTTPClient for the loop; https_server is serving."""
    yield from _make_client()


def _make_client() -> Iterator[AsyncHTTPClient]:
    from tornado.httpclient import AsyncHTTPClient

    client = AsyncHTTPClient()
    try:
        yield client
    finally:
        client.close()


def _serve(
    config: pytest.Config,
    io_loop: IOLoop,
    bound: socket.socket,
    application: Any,
    **options: Any,
) -> Iterator[HTTPServer]:
    # By name: these are not below us, but beside whoever runs the tests.
    testing = import_module("sprockets.http.testing")
    testing.carry_into_threads(io_loop)
    manager = testing.manage(application)
    server: HTTPServer = testing.make_server(application, **options)
    server.add_socket(bound)
    try:
        if manager is not None:
            manager.start(io_loop)
        yield server
    finally:
        try:
            if manager is not None:
                testing.stop_application(manager, server, io_loop, _SHUTDOWN_LIMIT, _WAIT_TIMEOUT)
        finally:
            server.stop()
            io_loop.run_sync(server.close_all_connections, timeout=_timeout(config))


def _option(config: pytest.Config, name: str, default: Any) -> Any:
    # Nobody has added them if pytest-tornado is installed, and not loaded.
    return config.getoption(name, default)


def _timeout(config: pytest.Config) -> float:
    timeout: float = _option(config, "async_test_timeout", DEFAULT_TIMEOUT)
    return timeout


# -- tests that are coroutines


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> object:
    """Collect generators that are marked: old-style coroutines, which pytest would refuse."""
    if not inspect.isgeneratorfunction(obj):
        return None
    marks = getattr(obj, "pytestmark", ())
    if not (
        any(mark.name == "gen_test" for mark in marks) or collector.get_closest_marker("gen_test")
    ):
        return None

    @functools.wraps(obj)
    def no_generator() -> None: ...

    # The item looks its function up by name, and finds the generator.
    return collector.ihook.pytest_pycollect_makeitem(
        collector=collector, name=name, obj=no_generator
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have a loop made for each test that is marked."""
    if isinstance(item, pytest.Function) and item.get_closest_marker("gen_test") is not None:
        names = item.fixturenames
        if "io_loop" not in names:
            names.append("io_loop")


def _is_ours(item: pytest.Function) -> bool:
    """Whether *item* is to be run on the loop."""
    if item.get_closest_marker("gen_test") is not None:
        return True
    return (
        # Not one that another plugin has made its own.
        type(item) is pytest.Function
        and inspect.iscoroutinefunction(item.obj)
        and "io_loop" in item.funcargs
        and not any(item.get_closest_marker(name) for name in _OTHERS)
    )


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on the loop."""
    __tracebackhide__ = True
    if not _is_ours(pyfuncitem):
        return None
    mark = pyfuncitem.get_closest_marker("gen_test")
    timeout = None if mark is None else mark.kwargs.get("timeout")
    if timeout is None:
        timeout = _timeout(pyfuncitem.config)
    arguments = {
        name: pyfuncitem.funcargs[name]
        for name, parameter in inspect.signature(pyfuncitem.obj).parameters.items()
        if parameter.default is parameter.empty and name in pyfuncitem.funcargs
    }
    call = functools.partial(_as_coroutine(pyfuncitem.obj), **arguments)
    _run(pyfuncitem.funcargs["io_loop"], call, timeout)
    return True


def _as_coroutine(function: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
    from tornado import gen

    if inspect.isgeneratorfunction(function):
        function = gen.coroutine(function)

    async def run(**arguments: Any) -> None:
        __tracebackhide__ = True
        result = function(**arguments)
        if inspect.isawaitable(result):
            await result

    return run


def _run(loop: Any, call: Callable[[], Awaitable[None]], timeout: float) -> None:
    """Run *call* to its end, even if it stops the loop meanwhile: that may be what it tests."""
    import asyncio

    __tracebackhide__ = True
    task: asyncio.Task[None] | None = None

    async def run() -> None:
        __tracebackhide__ = True
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                await call()
        except TimeoutError as error:
            if limit.expired():
                # Its cause shows what the test was waiting for.
                text = f"the test did not end within {timeout:g} seconds"
                raise TimeoutError(text) from error.__cause__
            raise

    def begin() -> None:
        nonlocal task
        task = asyncio.ensure_future(run())
        task.add_done_callback(lambda _: loop.stop())

    loop.add_callback(begin)
    while task is None or not task.done():
        loop.start()
    task.result()
