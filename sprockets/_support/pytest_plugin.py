"""The plugin for pytest: the fixture ``log_records``.

Every test run where the distribution is installed loads this, whatever it tests.  So it is not in
`sprockets.logbook`, and imports nothing of it until a test asks for the fixture: that would cost
time, and what is imported so early is not measured by coverage.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sprockets.logbook import Handler, TestHandler

_TITLE = "Captured records"


@pytest.fixture
def log_records() -> Iterator[TestHandler]:
    """Return a handler that has all records of the test, and keeps them from other handlers.

    It is bound to the application, so records of other threads and tasks arrive too, as do those of
    fixtures that come after this one.  What the test, or the code under test, binds above it gets
    those records first, as always; so do handlers attached to a logger.  It is unbound and closed
    when the test is over.

    When a test fails, its records are shown with what else pytest has captured.
    """
    # By name: it is not below us, but beside whoever runs the tests.
    handler: TestHandler = import_module("sprockets.logbook").TestHandler()
    handler.push_application()
    try:
        yield handler
    finally:
        _unbind(handler)
        handler.close()


def _unbind(handler: Handler) -> None:
    """Take *handler* off the application's stack, even if a test left something above it."""
    above = []
    try:
        while (top := handler.stack_manager.pop_application()) is not handler:
            above.append(top)
    except AssertionError:
        # The stack is empty: the test has unbound it itself.
        pass
    for left in reversed(above):
        handler.stack_manager.push_application(left)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the records of a test that failed."""
    report = yield
    if report.when == "call" and report.failed:
        handler = getattr(item, "funcargs", {}).get("log_records")
        lines = getattr(handler, "formatted_records", None)
        if lines and not any(title == _TITLE for title, _ in report.sections):
            report.sections.append((_TITLE, "\n".join(lines)))
    return report
