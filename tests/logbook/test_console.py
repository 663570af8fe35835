"""The console: what a line looks like, when it is coloured, and that nothing in it can forge one."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.eliot import _fields
from sprockets.http import _access_log, logs
from sprockets.logbook import (
    ConsoleFormatter,
    Fields,
    Logger,
    StreamHandler,
    _console,
    handlers,
)
from sprockets.logbook._console import should_color

log = Logger("shop")
TIME = r"\d\d:\d\d:\d\d\.\d{3}"


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Closed:
    def isatty(self):
        raise ValueError("I/O operation on closed file")


@pytest.fixture(name="lines")
def _lines(stream):
    """Return what binds a console on a stream, and what gives the lines written so far."""

    class Lines:
        def bound(self, color=False):
            handler = StreamHandler(stream)
            handler.formatter = ConsoleFormatter(color)
            return handler

        def __call__(self):
            return stream.getvalue().splitlines()

    return Lines()


def test_levels_are_aligned_whatever_their_name(lines):
    """Channel and message begin in the same column in every line."""
    with lines.bound():
        for level in ("critical", "error", "warning", "notice", "info", "debug", "trace"):
            getattr(log, level)("sold")

    assert {line.index("shop: sold") for line in lines()} == {len("12:00:00.000 CRITICAL ")}


def test_a_level_without_a_name_is_shown_by_its_number(lines):
    """Somebody's own level is in the column of the others."""
    with lines.bound():
        log.log(42, "sold")

    (line,) = lines()
    assert re.fullmatch(rf"{TIME} 42       shop: sold", line)


def test_the_context_comes_last_and_what_names_the_request_first(lines):
    """Texts of several words are quoted, long ones cut; what is None says nothing."""
    with lines.bound(), Fields(user="ann b", path="/a", request_id="r1", none=None, n=3):
        log.info("sold", extra={"text": "x" * 300})

    (line,) = lines()
    assert re.fullmatch(
        rf'{TIME} INFO     shop: sold  request_id=r1 path=/a user="ann b" n=3'
        r" text=x{200}\.\.\.",
        line,
    )


@pytest.mark.parametrize(
    ("level", "code"),
    [
        ("critical", "1;31"),
        ("error", "31"),
        ("warning", "33"),
        ("notice", "36"),
        ("info", "32"),
        ("debug", "34"),
        ("trace", "2"),
    ],
)
def test_a_level_has_its_colour_and_time_and_context_are_dim(lines, level, code):
    """The message has none: it is what is read."""
    with lines.bound(color=True):
        getattr(log, level)("sold", extra={"n": 3})

    (line,) = lines()
    assert re.fullmatch(
        rf"\x1b\[2m{TIME}\x1b\[0m \x1b\[{code}m{level.upper():8}\x1b\[0m shop: sold"
        r"  \x1b\[2mn=3\x1b\[0m",
        line,
    )


def test_of_a_coloured_traceback_what_was_raised_stands_out(lines):
    """Places are dim, the code is plain, and the exception is red; without colours it is as is."""
    for color in (True, False):
        with lines.bound(color):
            try:
                raise KeyError("price")
            except KeyError:
                log.exception("no price")

    text = lines()
    coloured, plain = text[1 : len(text) // 2], text[len(text) // 2 + 1 :]
    assert coloured[0] == "\x1b[2mTraceback (most recent call last):\x1b[0m"
    assert coloured[1].startswith('\x1b[2m  File "')
    assert coloured[2] == '    raise KeyError("price")'
    assert coloured[-1] == "\x1b[31mKeyError: 'price'\x1b[0m"
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == plain


def test_a_stack_that_comes_with_a_record_is_below_its_line(lines):
    """As stdlib logging gives it with ``stack_info``; not a second time in the context."""
    with lines.bound():
        log.info("here", extra={"stack_info": "Stack:\n  one\x1b[31m"})

    first, *rest = lines()
    assert first.endswith("shop: here")
    assert rest == ["Stack:", r"  one\x1b[31m"]


def test_ids_of_actions_are_for_programs(lines):
    """A record has its request's id only, and a message of an action what is not in its text."""
    with lines.bound(), Fields(task_uuid="u", task_level="/1"):
        log.info("sold", extra={"n": 1})
        log.info("sale", extra={"action_type": "sale", "action_status": "started", "n": 1})

    assert [line.partition("  n")[2] for line in lines()] == ["=1", "=1"]


ANYTHING = st.text(st.characters(exclude_categories=()), max_size=40)


@given(
    channel=ANYTHING,
    message=ANYTHING,
    key=ANYTHING,
    value=ANYTHING | st.integers() | st.lists(ANYTHING),
)
def test_one_record_is_one_line_whatever_is_in_it(channel, message, key, value):
    """What is logged cannot make another line, nor reach the terminal."""
    stream = io.StringIO()
    handler = StreamHandler(stream)
    handler.formatter = ConsoleFormatter()

    with handler, Fields(**{key: value, "request_id": value}):
        Logger(channel).info(message)

    line = stream.getvalue()
    assert line.endswith("\n")
    assert "\x1b" not in line
    assert key == "stack_info" or len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("stream", "environ", "colored"),
    [
        (io.StringIO(), {}, False),
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        (Terminal(), {"CLICOLOR": "0"}, False),
        (Terminal(), {"CLICOLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"CLICOLOR_FORCE": "1"}, True),
        (io.StringIO(), {"CLICOLOR_FORCE": "0"}, False),
        (io.StringIO(), {"CLICOLOR_FORCE": ""}, False),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (io.StringIO(), {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
        (object(), {}, False),
        (None, {}, False),
        (Closed(), {}, False),
    ],
)
def test_who_decides_on_colour(stream, environ, colored):
    """A terminal is coloured; the environment may forbid it, or ask for it, and forbidding wins."""
    assert should_color(stream, environ) is colored


def test_the_formatter_is_the_same_by_all_its_names():
    """The services' module has it as well."""
    assert logs.ConsoleFormatter is ConsoleFormatter
    assert handlers.ConsoleFormatter is ConsoleFormatter


def test_names_of_fields_are_those_of_their_owners():
    """Actions and the access log are above this module, which only knows the names."""
    outcome = {_fields.EXCEPTION, _fields.REASON}

    assert {*_console._PLACE} == {_fields.TASK_UUID, _fields.TASK_LEVEL}
    assert {*_console._OF_MESSAGES} == {*_fields.IDENTITY, *outcome, "message"}
    assert {*_console._OF_REQUESTS} == {*_fields.IDENTITY, *outcome, *_access_log.FIELDS}


def test_an_access_record_does_not_repeat_in_its_context_what_its_line_says(lines):
    """The id of the request, which it does not say, is there."""
    facts = dict.fromkeys(_access_log.FIELDS, 1)

    with lines.bound(), Fields(**facts, request_id="r1"):
        Logger("tornado.access").info("GET / 200")

    (line,) = lines()
    assert line.endswith("tornado.access: GET / 200  request_id=r1")
