"""What the tests of the stacks share: nothing stays bound, no format stays set."""

import io

import pytest

from sprockets.logbook import (
    Handler,
    StreamHandler,
    _context,
    default_handler,
    set_datetime_format,
)


def _bound_to_the_application():
    application = _context.application
    return [
        id(bound)
        for stack in (application.handlers, application.processors, application.flags)
        for bound in _context.merged(stack, None)
    ]


@pytest.fixture(autouse=True)
def _leaves_the_stacks_as_they_were():
    """Fail a test that leaves something bound, in its context or to the application."""
    context = _context.current_node()
    before = _bound_to_the_application()
    yield
    assert _context.current_node() is context
    assert _bound_to_the_application() == before
    set_datetime_format("utc")


@pytest.fixture(name="no_default_handler")
def _no_default_handler():
    """Take the default handler off the application's stack for a test."""
    default_handler.pop_application()
    yield
    default_handler.push_application()


class ListHandler(Handler):
    """Keeps the messages of its records, and no record."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.message)


@pytest.fixture(name="make_handler")
def _make_handler():
    return ListHandler


@pytest.fixture(name="stream")
def _stream():
    return io.StringIO()


@pytest.fixture(name="stream_handler")
def _stream_handler(stream):
    return StreamHandler(
        stream, format_string="{record.level_name}:{record.channel}:{record.message}"
    )
