"""Generators whose actions stay inside."""

import contextlib
import contextvars
import gc
import sys
import threading
import weakref

import pytest

from sprockets.eliot import (
    add_destinations,
    current_action,
    log_message,
    remove_destination,
    start_action,
)
from sprockets.eliot._generators import eliot_friendly_generator_function


@pytest.fixture(name="messages")
def _messages():
    """Everything that is logged."""
    found = []
    destination = found.append
    add_destinations(destination)
    found.clear()  # of what was kept for the first destination of this process
    yield found
    remove_destination(destination)


def levels(messages):
    return [
        (
            each.get("message_type") or (each["action_type"], each["action_status"]),
            each["task_level"],
        )
        for each in messages
    ]


@eliot_friendly_generator_function
def working(name="work"):
    with start_action(action_type=name):
        log_message("before")
        sent = yield 1
        log_message("after", sent=sent)
    return "done"


@pytest.mark.rule("E11.5", "E18.20")
def test_code_between_the_steps_does_not_see_the_actions_of_a_generator(messages):
    """They are current inside only, and again when it goes on."""
    with start_action(action_type="outer") as outer:
        generator = working()
        next(generator)
        assert current_action() is outer
        log_message("between")

    with pytest.raises(StopIteration):
        generator.send("a word")

    assert current_action() is None
    assert levels(messages) == [
        (("outer", "started"), [1]),
        (("work", "started"), [2, 1]),
        ("before", [2, 2]),
        ("between", [3]),
        (("outer", "succeeded"), [4]),
        ("after", [2, 3]),
        (("work", "succeeded"), [2, 4]),
    ]
    assert messages[5]["sent"] == "a word"
    assert len({each["task_uuid"] for each in messages}) == 1


@pytest.mark.rule("E11.4")
def test_the_control_a_plain_generator_leaks(messages):
    """What a generator without the decorator does, as documented: the tests here can fail."""

    def plain():
        with start_action(action_type="leaking"):
            yield

    generator = plain()
    next(generator)
    leaked = current_action()
    generator.close()

    assert leaked is not None
    assert current_action() is None


@pytest.mark.rule("E11.5")
def test_the_context_is_copied_at_the_first_step(messages):
    """Not when the generator is made, and not again later."""
    generator = working()
    with start_action(action_type="first"):
        next(generator)
    with start_action(action_type="second"), pytest.raises(StopIteration):
        next(generator)

    first = messages[0]["task_uuid"]
    assert [each["task_uuid"] == first for each in messages] == [
        True, True, True, True, False, True, True, False,
    ]  # fmt: skip


@pytest.mark.rule("E11.5")
def test_two_generators_take_turns_and_each_has_its_own(messages):
    """Interleaved steps build two branches."""
    with start_action(action_type="outer"):
        one, two = working("one"), working("two")
        next(one), next(two)
        for generator in (one, two):
            with pytest.raises(StopIteration):
                next(generator)

    assert [each["task_level"] for each in messages] == [
        [1], [2, 1], [2, 2], [3, 1], [3, 2], [2, 3], [2, 4], [3, 3], [3, 4], [4],
    ]  # fmt: skip


@pytest.mark.rule("E11.5")
def test_steps_may_be_taken_by_any_thread(messages):
    """The action goes along."""
    generator = working()
    next(generator)

    def finish():
        with pytest.raises(StopIteration):
            next(generator)

    thread = threading.Thread(target=finish)
    thread.start()
    thread.join()

    assert [each["task_level"] for each in messages] == [[1], [2], [3], [4]]


@pytest.mark.rule("E11.6")
def test_the_return_value_is_kept():
    """As the value of ``yield from``, and of StopIteration."""

    def delegating():
        return (yield from working())

    generator = delegating()
    next(generator)
    with pytest.raises(StopIteration) as caught:
        next(generator)

    assert caught.value.value == "done"


@pytest.mark.rule("E11.6")
def test_a_generator_that_yields_nothing_returns_its_value():
    """At its first step."""

    @eliot_friendly_generator_function
    def immediate():
        return 42
        yield

    with pytest.raises(StopIteration) as caught:
        next(immediate())

    assert caught.value.value == 42


def plain_echo():
    """Does something noticeable with all that can be done to a generator."""
    trace = []
    while True:
        try:
            trace.append((yield tuple(trace)))
        except KeyError as error:
            trace.append(repr(error))
        except ZeroDivisionError:
            return tuple(trace)
        except KeyboardInterrupt:
            raise RuntimeError("interrupted") from None


def stubborn():
    try:
        yield 1
    except GeneratorExit:
        yield 2


def closing_with_a_value():
    try:
        yield 1
    except GeneratorExit:
        return "closed"


def outcome(action, *args):
    try:
        return "value", action(*args)
    except StopIteration as stop:
        return "stop", stop.value
    except BaseException as error:
        return type(error), str(error)


SCRIPTS = {
    "send": (plain_echo, [("send", None), ("send", 1), ("send", 2)]),
    "send too early": (plain_echo, [("send", 1), ("send", None)]),
    "throw": (plain_echo, [("send", None), ("throw", KeyError("k")), ("send", 1)]),
    "throw and return": (plain_echo, [("send", None), ("throw", ZeroDivisionError()), ("send", 1)]),
    "throw and replace": (plain_echo, [("send", None), ("throw", KeyboardInterrupt())]),
    "throw what is not caught": (plain_echo, [("send", None), ("throw", OSError(2, "none"))]),
    "throw before the first step": (plain_echo, [("throw", KeyError("k")), ("send", None)]),
    "throw GeneratorExit": (plain_echo, [("send", None), ("throw", GeneratorExit())]),
    "throw StopIteration": (plain_echo, [("send", None), ("throw", StopIteration(3))]),
    "close": (plain_echo, [("send", None), ("close",), ("close",), ("send", None)]),
    "close before the first step": (plain_echo, [("close",), ("send", None)]),
    "close what will not": (stubborn, [("send", None), ("close",), ("send", None)]),
    "close with a value": (closing_with_a_value, [("send", None), ("close",)]),
}


@pytest.mark.rule("E11.5", "E11.6")
@pytest.mark.parametrize("name", SCRIPTS)
def test_whatever_is_done_to_a_generator_has_the_same_outcome(name):
    """The decorated one and the plain one answer alike, step by step."""
    function, steps = SCRIPTS[name]
    plain, friendly = function(), eliot_friendly_generator_function(function)()

    expected = [outcome(getattr(plain, step), *args) for step, *args in steps]
    found = [outcome(getattr(friendly, step), *args) for step, *args in steps]

    assert found == expected


@pytest.mark.rule("E11.5")
def test_an_action_left_by_close_fails_inside_the_generator(messages):
    """Its end is logged in its own branch."""
    generator = working()
    next(generator)

    generator.close()

    assert messages[-1]["action_status"] == "failed"
    assert messages[-1]["exception"] == "builtins.GeneratorExit"
    assert messages[-1]["task_level"] == [3]


@pytest.mark.rule("E11.5")
def test_an_abandoned_generator_ends_its_action(messages):
    """Collected in the middle, as a plain one would be."""
    next(working())
    gc.collect()

    assert [each["task_level"] for each in messages] == [[1], [2], [3]]
    assert messages[-1]["action_status"] == "failed"


@pytest.mark.rule("E11.5")
def test_debug_logs_each_yield_inside_the_generator(messages):
    """The attribute is asked at each yield, and is off at first."""

    @eliot_friendly_generator_function
    def function():
        with start_action(action_type="work"):
            yield 1
            yield 2

    assert function.debug is False
    generator = function()
    next(generator)
    function.debug = True
    next(generator)

    assert levels(messages) == [(("work", "started"), [1]), ("yielded", [2])]


def test_what_is_not_a_generator_is_returned_as_it_is():
    """The caller finds the mistake, at the call, as without the decorator."""
    assert eliot_friendly_generator_function(lambda: 3)() == 3
    with pytest.raises(TypeError, match="unexpected keyword"):
        working(colour="red")


def test_the_function_keeps_its_name_and_documentation():
    """As it should be for a decorator."""

    @eliot_friendly_generator_function
    def fetch():
        """Fetch it."""
        yield

    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Fetch it.")
    assert fetch.__wrapped__.__name__ == "fetch"


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="collected at once by CPython")
def test_an_exception_that_passes_through_leaves_no_cycle_behind():
    """It goes with its last reference, without the collector."""

    class Thing(Exception):
        pass

    generator = eliot_friendly_generator_function(plain_echo)()
    next(generator)
    thing = Thing()
    found = weakref.ref(thing)
    gc.disable()
    try:
        with contextlib.suppress(Thing):
            generator.throw(thing)
        del thing, generator
        assert found() is None
    finally:
        gc.enable()


def test_other_context_variables_are_kept_inside_as_well():
    """It is the whole context that is the generator's own."""
    colour = contextvars.ContextVar("colour", default="none")

    @eliot_friendly_generator_function
    def painting():
        colour.set("red")
        yield colour.get()
        yield colour.get()

    generator = painting()
    seen = [next(generator), colour.get()]
    colour.set("blue")
    seen.append(next(generator))

    assert seen == ["red", "none", "red"]
