"""A plugin for pytest: the fixture ``log_records``.

pytest finds it by itself once the distribution is installed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sprockets.logbook.handlers import TestHandler


@pytest.fixture(name="log_records")
def _log_records() -> Iterator[TestHandler]:
    """Return a handler that has all records of the test, and keeps them from other handlers.

    It is bound to the application, so records of other threads and tasks arrive too.  A test that
    binds handlers of its own gets those records first, as always.
    """
    handler = TestHandler()
    with handler.applicationbound():
        yield handler
    handler.close()
