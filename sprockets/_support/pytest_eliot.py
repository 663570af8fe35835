"""The plugin for pytest: the fixture ``eliot_logger``.

Every test run where the distribution is installed loads this, so it imports nothing of
`sprockets.eliot` until a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sprockets.eliot import MemoryLogger

_TITLE = "Captured messages"


@pytest.fixture
def eliot_logger() -> Iterator[MemoryLogger]:
    """Return the logger that has all messages and actions of the test; no destination gets them.

    It is the default logger of the process, so those of other threads and tasks are there too, as
    are those of fixtures that come after this one.  Look at its ``messages``, or use what is in
    `sprockets.eliot.testing`::

        def test_shipping_is_logged(eliot_logger):
            ship(order=7)
            assertHasAction(None, eliot_logger, "orders:ship", succeeded=True)

    When the test is over, messages that are not as their types say are an error, and so are
    tracebacks that it did not take out by ``eliot_logger.flush_tracebacks(TypeOfTheException)``.
    When a test fails, its messages are shown with what else pytest has captured.
    """
    # By name: it is not below us, but beside whoever runs the tests.
    testing = import_module("sprockets.eliot.testing")
    logger: MemoryLogger = testing.MemoryLogger()
    previous = testing.swap_logger(logger)
    try:
        yield logger
    finally:
        testing.swap_logger(previous)
    testing.check_for_errors(logger)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the messages of a test that failed."""
    report = yield
    if report.when == "call" and report.failed:
        logger = getattr(item, "funcargs", {}).get("eliot_logger")
        messages = getattr(logger, "messages", None)
        if messages and not any(title == _TITLE for title, _ in report.sections):
            testing = import_module("sprockets.eliot.testing")
            report.sections.append((_TITLE, testing.describe_messages(messages, limit=1_000)))
    return report
