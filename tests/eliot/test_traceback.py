"""Tracebacks: one message, a text without source lines, whatever the exception is like."""

import asyncio
import re
import subprocess
import sys
import textwrap
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import fail as failed_deferred
from twisted.python.failure import Failure

from sprockets.eliot import (
    Logger,
    register_exception_extractor,
    start_action,
    write_failure,
    write_traceback,
    writeFailure,
)
from sprockets.eliot._traceback_text import format_traceback


def inner():
    raise ValueError("because")


def outer():
    inner()


def raised(f):
    """Return what *f* raises."""
    try:
        f()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


class KeepingLogger:
    """Keeps messages as they were given, with their serializers."""

    def __init__(self):
        self.messages, self.serializers = [], []

    def write(self, dictionary, serializer=None):
        self.messages.append(dict(dictionary))
        self.serializers.append(serializer)


@pytest.mark.rule("E9.1", "E2.4")
def test_a_traceback_is_one_message(messages):
    """Its fields and their order; inside an action it takes the next number."""
    try:
        raise FileNotFoundError(2, "No such file or directory", "/nonexistent")
    except OSError:
        write_traceback()
        with start_action(action_type="a"):
            write_traceback()

    assert list(messages[0]) == [
        "reason", "traceback", "exception", "errno", "timestamp", "task_uuid", "task_level",
        "message_type",
    ]  # fmt: skip
    assert messages[0]["message_type"] == "eliot:traceback"
    assert messages[0]["exception"] == "builtins.FileNotFoundError"
    assert messages[0]["reason"] == "[Errno 2] No such file or directory: '/nonexistent'"
    assert messages[0]["errno"] == 2
    assert messages[0]["task_level"] == [1]
    assert messages[2]["task_level"] == [2]


@pytest.mark.rule("E9.2", "E9.3")
def test_the_text_is_the_standard_one_without_source_lines(messages):
    """Of the exception being handled, or of the one that is given."""
    error = raised(outer)
    write_traceback(exc_info=(type(error), error, error.__traceback__))
    try:
        outer()
    except ValueError:
        write_traceback()

    line = outer.__code__.co_firstlineno
    expected = (
        rf'Traceback \(most recent call last\):\n  File "{__file__}", line \d+, in \w+\n'
        rf'  File "{__file__}", line {line + 1}, in outer\n'
        rf'  File "{__file__}", line {line - 3}, in inner\nValueError: because\n'
    )
    assert re.fullmatch(expected, messages[0]["traceback"])
    assert re.fullmatch(expected, messages[1]["traceback"])


def chained():
    try:
        inner()
    except ValueError as error:
        raise KeyError("second") from error


def during():
    try:
        inner()
    except ValueError:
        raise KeyError("second")  # noqa: B904 - that is what is tried


def hidden():
    try:
        inner()
    except ValueError:
        raise KeyError("second") from None


def group():
    raise ExceptionGroup("both", [raised(inner), raised(chained)])


def noted():
    error = ValueError("x")
    error.add_note("a note\nof two lines")
    raise error


def deep(depth=60):
    if depth:
        deep(depth - 1)
    inner()


def misspelt():
    return outre  # noqa: F821 - that is what is tried


def cycle():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def without_source(text):
    """Return a traceback less what stands below the line of a frame, further in than that."""
    lines, further_in = [], None
    for line in text.splitlines(keepends=True):
        if further_in and line.startswith(further_in):
            continue
        frame = re.match(r'([ |]*)File ".*", line \d+, in ', line)
        further_in = f"{frame[1]}  " if frame else None
        lines.append(line)
    return "".join(lines)


@pytest.mark.rule("E9.3")
@pytest.mark.parametrize("f", [outer, chained, during, hidden, group, noted, deep, misspelt, cycle])
def test_everything_else_is_as_python_prints_it(f):
    """Python's own text, less the lines of source and what is drawn below them."""
    error = raised(f)
    theirs = "".join(traceback.format_exception(error))

    ours = format_traceback(error, error.__traceback__)

    assert ours == without_source(theirs)
    assert ours != theirs


SCRIPT = """
import sys
opened = []
watching = False
def watch(event, args):
    if watching and event in ("open", "os.stat"):
        opened.append(args)
sys.addaudithook(watch)
from sprockets.eliot import add_destinations, write_traceback
got = []
add_destinations(got.append)
def fail():
    try:
        undefined_name
    except NameError as error:
        raise KeyError("x") from error
try:
    fail()
except KeyError:
    watching = True
    write_traceback()
    watching = False
print(len(got), opened, "linecache" in sys.modules and bool(sys.modules["linecache"].cache))
"""


@pytest.mark.rule("E9.3")
def test_no_file_is_read(tmp_path):
    """In a process that would tell."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)

    assert done.stdout == "1 [] False\n"


def test_the_line_of_a_syntax_error_is_source_too():
    """Its place is told, its text not."""
    error = raised(lambda: compile("password = = 'hunter2'", "config.py", "exec"))

    text = format_traceback(error, error.__traceback__)

    assert "config.py" in text
    assert "SyntaxError: invalid syntax" in text
    assert "hunter2" not in text


def test_a_long_chain_is_told_to_its_end():
    """Longer than recursion goes."""
    error = first = ValueError("first")
    for number in range(5_000):
        following = ValueError(f"number {number}")
        following.__cause__ = error
        error = following
    error.__traceback__ = raised(inner).__traceback__
    first.__traceback__ = raised(inner).__traceback__

    text = format_traceback(error, error.__traceback__)

    assert text.count("direct cause of the following") == 5_000
    assert text.count("in inner\n") == 2
    assert text.endswith("ValueError: number 4999\n")


class Evil(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Worse(Exception):
    @property
    def __cause__(self):
        raise RuntimeError("no cause")


@pytest.mark.parametrize("kind", [Evil, Worse])
def test_an_exception_that_misbehaves_is_told_all_the_same(messages, kind):
    """Its name and its frames."""
    error = raised(lambda: (_ for _ in ()).throw(kind()))
    write_traceback(exc_info=(kind, error, error.__traceback__))

    assert messages[0]["exception"] == f"{__name__}.{kind.__name__}"
    assert "in raised\n" in messages[0]["traceback"]
    assert kind.__name__ in messages[0]["traceback"]


@given(texts=st.lists(st.text(), max_size=4))
def test_any_text_can_be_told(texts):
    """Whatever is in it."""
    error = raised(lambda: (_ for _ in ()).throw(ValueError(*texts)))

    text = format_traceback(error, error.__traceback__)

    assert text.endswith("".join(traceback.format_exception_only(error)))


@pytest.mark.rule("E9.4", "E9.5", "E9.6")
@pytest.mark.parametrize("errback", [write_failure, writeFailure])
def test_a_failure_of_twisted_is_logged_by_an_errback(messages, errback):
    """The Deferred goes on with None; the text is the failure's own."""
    try:
        outer()
    except ValueError:
        failure = Failure()
    brief = failure.getBriefTraceback()
    results = []

    failed_deferred(failure).addErrback(errback).addCallback(results.append)

    assert results == [None]
    assert messages[0]["traceback"] == brief
    assert re.match(r"Traceback: <class 'ValueError'>: because\n.*:\d+:\w+\n", brief)
    assert messages[0]["exception"] == "builtins.ValueError"
    assert messages[0]["reason"] == "because"


@pytest.mark.rule("E9.5", "E9.6")
def test_a_failure_needs_two_things_only(messages):
    """Its value and its text; extractors see the value."""

    class Slim:
        value = OSError(7, "x")

        def getBriefTraceback(self):
            return "brief"

    write_failure(Slim())
    write_failure(Failure(KeyError("k")))

    assert messages[0]["traceback"] == "brief"
    assert messages[0]["errno"] == 7
    assert (
        messages[1]["traceback"] == "Traceback (failure with no frames): <class 'KeyError'>: 'k'\n"
    )


@pytest.mark.rule("E9.7")
@pytest.mark.parametrize("exc_info", [None, (None, None, None)])
def test_a_traceback_of_nothing_says_so(messages, exc_info):
    """In one message."""
    write_traceback(exc_info=exc_info)

    (message,) = messages
    assert message["exception"] == "builtins.NoneType"
    assert message["reason"] == "None"
    assert message["traceback"] == "NoneType: None\n"


@pytest.mark.rule("E9.8")
def test_nothing_warns(messages, recwarn):
    """Not of what is deprecated in Python either."""
    try:
        outer()
    except ValueError:
        write_traceback()
        write_failure(Failure())

    assert len(messages) == 2
    assert not recwarn.list


@pytest.mark.rule("E9.9")
def test_loggers_for_tests_get_the_exception_itself(messages):
    """Its class too; what is written are their names."""
    logger = KeepingLogger()
    error = raised(outer)
    write_traceback(logger, (type(error), error, error.__traceback__))
    (message,), (serializer,) = logger.messages, logger.serializers

    assert message["reason"] is error
    assert message["exception"] is ValueError
    serializer.validate(message)
    Logger().write(message, serializer)
    assert messages[0]["reason"] == "because"
    assert messages[0]["exception"] == "builtins.ValueError"
    assert message["reason"] is error


def test_an_extractor_that_raises_is_told_with_the_traceback(messages):
    """Before it; both arrive."""
    register_exception_extractor(ValueError, lambda error: 1 / 0)
    try:
        outer()
    except ValueError:
        write_traceback()

    assert [message["exception"] for message in messages] == [
        "builtins.ZeroDivisionError", "builtins.ValueError",
    ]  # fmt: skip


def test_a_limit_is_kept(monkeypatch):
    """Python's own setting for tracebacks."""
    error = raised(outer)
    monkeypatch.setattr(sys, "tracebacklimit", 1, raising=False)
    assert format_traceback(error, error.__traceback__).count("File") == 1
    monkeypatch.setattr(sys, "tracebacklimit", 0)
    assert format_traceback(error, error.__traceback__) == "".join(
        traceback.format_exception(error)
    )


def test_a_cancelled_task_is_told(messages):
    """Exceptions that are no `Exception` too."""

    async def main():
        try:
            raise asyncio.CancelledError
        except asyncio.CancelledError:
            write_traceback()

    asyncio.run(main())

    assert messages[0]["exception"] == "asyncio.exceptions.CancelledError"
    assert textwrap.dedent(messages[0]["traceback"]).startswith("Traceback")
