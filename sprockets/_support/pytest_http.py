"""The plugin for pytest that serves applications: pytest-tornado's fixtures, where it is missing.

pytest-tornado needs a module that setuptools no longer has.  Its fixtures, its options and its
marker are here under the same names, and step aside where it is active.

Every test run where the distribution is installed loads this.  So nothing here imports Tornado, or
anything that does, until a test asks for a fixture.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from sprockets._support import pytest_http_fixtures

if TYPE_CHECKING:
    from sprockets.http.testing import RunningService

_FIXTURES = "sprockets_http_fixtures"


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options of pytest-tornado, unless it does so itself."""
    # It may not be loaded yet, and would fail to add what is there already.
    if find_spec("pytest_tornado") is not None and not pluginmanager.is_blocked("tornado"):
        return
    group = parser.getgroup("tornado options")
    try:
        group.addoption(
            "--async-test-timeout",
            type=float,
            default=_default_timeout(),
            help="timeout in seconds before failing the test",
        )
    except ValueError:
        return  # loaded twice: found by pytest, and named by its user
    group.addoption(
        "--app-fixture", default="app", help="fixture name returning a tornado application"
    )
    group.addoption(
        "--ssl-options-fixture",
        default="ssl_options",
        help="fixture name returning a certificate configuration",
    )


def _default_timeout() -> float:
    try:
        return float(os.environ["ASYNC_TEST_TIMEOUT"])
    except (KeyError, ValueError):
        return pytest_http_fixtures.DEFAULT_TIMEOUT


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Provide the fixtures and the marker, unless pytest-tornado does."""
    manager = config.pluginmanager
    names = {getattr(plugin, "__name__", "") for plugin in manager.get_plugins()}
    if "pytest_tornado.plugin" in names or manager.has_plugin(_FIXTURES):
        return
    config.addinivalue_line(
        "markers",
        "gen_test(timeout=None): run the test, a coroutine, on the loop of the fixture io_loop, "
        "for so many seconds at most",
    )
    manager.register(pytest_http_fixtures, _FIXTURES)


@pytest.fixture
def run_service() -> Iterator[Callable[..., RunningService]]:
    """Return a function that runs a service in a process of its own until the test is over.

    It takes what `sprockets.http.testing.RunningService` does, first of all ``module:factory`` or a
    command, and returns one that has answered a request.  When the test fails, the output of its
    services is shown.
    """
    services: list[RunningService] = []

    def run(*args: Any, **kwargs: Any) -> RunningService:
        # By name: it is not below us, but beside whoever runs the tests.
        service: RunningService = import_module("sprockets.http.testing").RunningService(
            *args, **kwargs
        )
        service.start()
        services.append(service)
        return service

    try:
        yield run
    finally:
        for service in reversed(services):
            service.close()
            sys.stdout.write(service.output)
