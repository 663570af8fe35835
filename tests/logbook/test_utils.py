"""Slow blocks and deprecations."""

import asyncio
import inspect
import threading
from unittest.mock import Mock, call

import pytest

from sprockets.logbook import Fields, Logger, TestHandler
from sprockets.logbook.utils import (
    deprecated,
    forget_deprecation_locations,
    log_deprecation_message,
    logged_if_slow,
    suppressed_deprecations,
)


@pytest.fixture(autouse=True)
def _forgotten():
    forget_deprecation_locations()


@pytest.fixture(name="handler")
def _handler():
    with TestHandler() as handler:
        yield handler
    handler.close()


class FakeTimer:
    """A timer that goes off when it is told to."""

    made = None

    def __init__(self, seconds, function):
        self.seconds, self.function = seconds, function
        self.is_waiting = False
        FakeTimer.made = self

    def start(self):
        self.is_waiting = True

    def cancel(self):
        self.is_waiting = False

    def go_off(self):
        import threading

        if self.is_waiting:
            thread = threading.Thread(target=self.function)
            thread.start()
            thread.join()


# -- slow blocks


@pytest.mark.rule("UT-1", "UX-1", "UX-4", "Y-65")
def test_a_slow_block_is_logged_while_it_runs(handler):
    """Once, at that moment, in the context and with the line of the ``with``; it may be used again."""
    slow = logged_if_slow("still at {}", "it", threshold=3, make_timer=FakeTimer)
    for _ in range(2):
        with Fields(request_id=5), slow:
            assert FakeTimer.made.seconds == 3
            FakeTimer.made.go_off()
            assert handler.records[-1].message == "still at it"
    first = handler.records[0]

    assert len(handler.records) == 2
    assert (first.channel, first.level_name, first.extra) == ("Slow", "DEBUG", {"request_id": 5})
    assert (first.filename, first.func_name) == (
        __file__,
        "test_a_slow_block_is_logged_while_it_runs",
    )
    assert first.module == __name__


@pytest.mark.rule("UX-1", "UX-2", "UX-6")
def test_a_block_that_ends_in_time_logs_nothing(handler):
    """Exceptions come out."""
    with pytest.raises(KeyError), logged_if_slow("x", make_timer=FakeTimer):
        raise KeyError
    FakeTimer.made.go_off()

    assert handler.records == []


@pytest.mark.rule("UX-3", "UX-6")
def test_logger_level_or_function_may_be_given(handler):
    """The function replaces the other two, so all of them is an error."""
    logger, function = Mock(), Mock()
    with logged_if_slow("checking...", logger=logger, make_timer=FakeTimer):
        FakeTimer.made.go_off()
    with logged_if_slow("checking...", 1, func=function, make_timer=FakeTimer, a=2):
        FakeTimer.made.go_off()
    with logged_if_slow(
        "x", logger=Logger("mine"), level="ERROR", make_timer=FakeTimer, extra={"k": 1}
    ):
        FakeTimer.made.go_off()

    assert logger.log.mock_calls == [call(10, "checking...")]
    assert function.mock_calls == [call("checking...", 1, a=2)]
    assert (handler.records[0].channel, handler.records[0].extra) == ("mine", {"k": 1})
    for options in ({"logger": Logger("x")}, {"level": 10}):
        with pytest.raises(TypeError, match="pass func, or logger and level"):
            logged_if_slow("x", func=print, **options)


@pytest.mark.rule("UX-5")
def test_a_failing_call_is_reported_and_the_block_knows_nothing(capsys):
    """It happens in another thread anyway."""
    with logged_if_slow("x", func=Mock(side_effect=ValueError("full")), make_timer=FakeTimer):
        FakeTimer.made.go_off()

    assert "ValueError: full" in capsys.readouterr().err


@pytest.mark.rule("UX-4", "CN-3")
def test_the_real_timer_is_a_daemon_with_a_name():
    """It does not hold up the end of the program."""
    from sprockets.logbook.utils import _daemon_timer

    timer = _daemon_timer(1000, print)

    assert timer.daemon
    assert timer.name.startswith("logbook-slow-")


@pytest.mark.rule("UX-1", "UX-4", "UX-6")
def test_a_block_that_really_is_slow_is_logged_from_another_thread():
    """With the timer that everybody gets; the block is not over yet when it is."""
    is_logged = threading.Event()
    threads = []

    class Telling(TestHandler):
        def emit(self, record):
            super().emit(record)
            threads.append(threading.current_thread())
            is_logged.set()

    with Telling() as handler, logged_if_slow("checking...", threshold=0.01):
        assert is_logged.wait(30)

    assert [(record.message, record.filename) for record in handler.records] == [
        ("checking...", __file__)
    ]
    assert threads[0].daemon
    assert threads[0] is not threading.current_thread()
    handler.close()


# -- deprecations


@deprecated
def old(value=1):
    return value


@deprecated("Use new().")
def older():
    """Do it."""
    return 2


class Thing:
    @deprecated
    def method(self, value):
        return self, value

    @deprecated(message="No more.")
    @classmethod
    def above(cls):
        return cls

    @classmethod
    @deprecated()
    def below(cls):
        return cls

    @deprecated
    @staticmethod
    def static_above(value):
        return value

    @staticmethod
    @deprecated
    def static_below(value):
        return value


class Sub(Thing):
    pass


@pytest.mark.rule("UT-2", "UX-7", "UX-8", "UX-10")
def test_a_call_of_what_is_deprecated_is_reported_where_it_is(handler):
    """Module or class, name and text; the function runs as ever."""
    line = inspect.currentframe().f_lineno
    assert (old(3), older()) == (3, 2)
    thing = Sub()
    assert thing.method(4) == (thing, 4)
    first, second, third = handler.records

    assert [record.message for record in handler.records] == [
        f"{__name__}.old is deprecated.",
        f"{__name__}.older is deprecated. Use new().",
        "Sub.method is deprecated.",
    ]
    assert (first.channel, first.level_name, first.lineno) == ("deprecation", "WARNING", line + 1)
    assert (second.lineno, third.lineno) == (line + 1, line + 3)
    assert first.filename == __file__
    with pytest.raises(AssertionError, match="give the text once"):
        deprecated("one", message="two")


@pytest.mark.rule("UX-9", "Y-66", "UT-2")
def test_each_place_is_reported_once(handler):
    """Several functions at one line are several; forgetting starts over."""
    for _ in range(3):
        old(older())
    assert len(handler.records) == 2
    old()
    assert len(handler.records) == 3
    forget_deprecation_locations()
    for _ in range(2):
        old()
    assert len(handler.records) == 4


@pytest.mark.rule("UX-9", "Y-66")
def test_places_in_different_files_are_different(handler):
    """Though function and line are the same."""
    for filename in ("one.py", "two.py", "one.py"):
        exec(compile("def place(): old()\nplace()", filename, "exec"), {"old": old})

    assert [record.filename.rpartition("/")[2] for record in handler.records] == [
        "one.py",
        "two.py",
    ]


@pytest.mark.rule("UX-8")
def test_exceptions_of_what_is_deprecated_come_out(handler):
    """They are its own."""

    @deprecated
    def failing(*args, **kwargs):
        raise KeyError(args, kwargs)

    with pytest.raises(KeyError) as caught:
        failing(1, x=2)

    assert caught.value.args == ((1,), {"x": 2})
    assert len(handler.records) == 1


@pytest.mark.rule("UX-11", "UX-12", "UT-2")
def test_suppressed_deprecations_are_neither_reported_nor_remembered(handler):
    """Nested, after exceptions, and in this context only."""

    def place():
        old()

    with suppressed_deprecations():
        with pytest.raises(KeyError), suppressed_deprecations():
            raise KeyError
        place()
    assert handler.records == []
    place()
    assert len(handler.records) == 1

    async def main():
        async def other():
            log_deprecation_message("in a task")

        task = asyncio.create_task(other())
        with suppressed_deprecations():
            await asyncio.sleep(0)
            await task

    asyncio.run(main())
    assert handler.records[-1].message == "Deprecation message: in a task"


@pytest.mark.rule("UX-11")
def test_a_place_counts_as_reported_also_when_nobody_listened(no_default_handler):
    """Whoever listens later does not hear of it."""

    def place():
        old()

    place()
    with TestHandler() as handler:
        place()

    assert handler.records == []


@pytest.mark.rule("UX-13", "Y-67")
def test_methods_of_all_kinds_get_what_they_would_get():
    """On objects and on classes, in both orders of decorators."""
    thing = Sub()
    with TestHandler():
        assert Thing.method(thing, 1) == (thing, 1)
        assert (thing.above(), Sub.above(), thing.below(), Sub.below()) == (Sub,) * 4
        assert (thing.static_above(1), Sub.static_above(2)) == (1, 2)
        assert (thing.static_below(1), Sub.static_below(2)) == (1, 2)


@pytest.mark.rule("UX-14")
def test_what_is_deprecated_looks_like_what_it_was():
    """Name, signature, and a note in its documentation, which can be replaced."""
    assert (older.__name__, older.__module__, older.__qualname__) == ("older", __name__, "older")
    assert older.__wrapped__() == 2
    assert str(inspect.signature(old)) == "(value=1)"
    assert older.__doc__ == "Do it.\n.. deprecated\n   Use new()."
    assert old.__doc__ is None

    @deprecated
    def documented():
        """Text."""

    assert documented.__doc__ == "Text.\n.. deprecated\n"
    documented.__doc__ = "Other."
    assert documented.__doc__ == "Other.\n.. deprecated\n"


@pytest.mark.rule("UX-15")
def test_a_coroutine_function_stays_one(handler):
    """For those who ask, and for those who await."""

    @deprecated
    async def work():
        return 5

    class Worker:
        @deprecated
        async def work(self):
            return 6

    assert inspect.iscoroutinefunction(work)
    assert inspect.iscoroutinefunction(Worker().work)
    assert not inspect.iscoroutinefunction(old)
    assert (asyncio.run(work()), asyncio.run(Worker().work())) == (5, 6)


@pytest.mark.rule("UX-16", "UT-3")
def test_a_message_is_reported_once_for_each_place(handler):
    """Lines count separately; a wrapper can name its caller."""

    def wrapper():
        log_deprecation_message("m", frame_correction=1)

    line = inspect.currentframe().f_lineno
    for _ in range(2):
        log_deprecation_message("m")
        wrapper()
    log_deprecation_message("m")

    assert [record.lineno - line for record in handler.records] == [2, 3, 4]
    assert {record.message for record in handler.records} == {"Deprecation message: m"}
