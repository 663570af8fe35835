"""What the tests of actions share: destinations of their own, and nothing left behind."""

import io
import json

import pytest

from sprockets.eliot import FileDestination, _errors, _logger, add_destinations, current_action
from sprockets.eliot._destinations import Destinations, destinations


@pytest.fixture(autouse=True)
def _leaves_no_trace():
    """Give each test destinations of its own, as in a new process; fail one that stays in an action."""
    before = dict(vars(destinations))
    default, extractors = _logger._default, dict(_errors._extractors)
    vars(destinations).update(vars(Destinations()))
    assert current_action() is None
    yield
    vars(destinations).update(before)
    _logger._default = default
    _errors._extractors.clear()
    _errors._extractors.update(extractors)
    assert current_action() is None


@pytest.fixture(name="messages")
def _messages():
    """Everything that gets to the destinations."""
    found = []
    add_destinations(found.append)
    return found


class Lines(io.BytesIO):
    """A file in memory, read as messages."""

    def messages(self):
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture(name="lines")
def _lines():
    """A file that everything is written to."""
    file = Lines()
    add_destinations(FileDestination(file=file))
    return file
