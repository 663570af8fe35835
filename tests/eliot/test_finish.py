"""How actions end, and what is logged of exceptions."""

import asyncio
import threading

import pytest

from sprockets.eliot import (
    log_message,
    register_exception_extractor,
    start_action,
    start_task,
    write_traceback,
)


def end_of(messages):
    """Return the last message without what identifies it."""
    return {
        name: value
        for name, value in messages[-1].items()
        if name not in ("timestamp", "task_uuid", "task_level", "action_type")
    }


@pytest.mark.rule("E6.1")
def test_a_success_has_its_fields_and_a_failure_the_exception(messages):
    """Never both."""
    action = start_action(action_type="a")
    action.add_success_fields(result=1)
    action.finish()
    assert end_of(messages) == {"result": 1, "action_status": "succeeded"}

    action = start_action(action_type="a")
    action.add_success_fields(result=1)
    action.finish(ValueError("because"))
    assert end_of(messages) == {
        "exception": "builtins.ValueError", "reason": "because", "action_status": "failed",
    }  # fmt: skip


@pytest.mark.rule("E6.2")
def test_only_the_first_end_counts(messages):
    """Of many, whoever makes them."""
    action = start_action(action_type="a")
    with pytest.raises(KeyError), action:
        action.finish()
        action.finish(ValueError())
        raise KeyError
    action.finish()

    assert [message["action_status"] for message in messages] == ["started", "succeeded"]


@pytest.mark.rule("E6.2")
def test_of_threads_that_finish_at_once_one_does(messages):
    """A hundred times eight."""
    for _ in range(100):
        action, barrier = start_task(action_type="a"), threading.Barrier(8)

        def finish(action=action, barrier=barrier):
            barrier.wait()
            action.finish()

        threads = [threading.Thread(target=finish) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(messages) == 200


@pytest.mark.rule("E6.3")
@pytest.mark.parametrize(
    ("error", "name", "reason"),
    [
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError", ""),
        (KeyboardInterrupt(), "builtins.KeyboardInterrupt", ""),
        (SystemExit(3), "builtins.SystemExit", "3"),
        (GeneratorExit(), "builtins.GeneratorExit", ""),
        (ValueError("v"), "builtins.ValueError", "v"),
    ],
)
def test_any_exception_fails_the_action_and_passes(messages, error, name, reason):
    """Those that are no `Exception` too; there is no traceback."""
    with pytest.raises(type(error)) as caught, start_action(action_type="a"):
        raise error

    assert caught.value is error
    assert end_of(messages) == {"exception": name, "reason": reason, "action_status": "failed"}
    assert len(messages) == 2


class Outer:
    class Inner(Exception):
        pass


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.rule("E6.4", "E6.5")
def test_an_exception_has_a_name_and_a_text(messages):
    """Its module and plain name; a text that says so when it has none."""
    start_action(action_type="a").finish(Outer.Inner("x"))
    assert messages[-1]["exception"] == f"{__name__}.Inner"

    start_action(action_type="a").finish(Silent())
    assert messages[-1]["reason"] == "eliot: unknown, str() raised exception"


@pytest.mark.rule("E6.6")
def test_a_failure_logs_no_traceback(messages):
    """It is the caller's to log, once."""
    with pytest.raises(ValueError), start_action(action_type="a"):
        raise ValueError

    assert [message.get("message_type") for message in messages] == [None, None]


class Base(Exception):
    pass


class Derived(Base):
    pass


def fail_with(error):
    with pytest.raises(type(error)), start_action(action_type="a"):
        raise error


@pytest.mark.rule("E6.7", "E6.9")
def test_the_extractor_of_the_nearest_class_is_asked(messages):
    """Of a class that has none, its base's; registered again, the new one."""
    register_exception_extractor(Exception, lambda error: {"found_by": "Exception"})
    register_exception_extractor(Base, lambda error: {"found_by": "Base", "args": error.args})
    fail_with(Derived(1))
    assert messages[-1]["found_by"] == "Base"
    assert messages[-1]["args"] == (1,)

    register_exception_extractor(Derived, lambda error: {"found_by": "Derived"})
    fail_with(Derived(1))
    assert messages[-1]["found_by"] == "Derived"

    register_exception_extractor(Derived, lambda error: {"found_by": "another"})
    fail_with(Derived(1))
    assert messages[-1]["found_by"] == "another"

    try:
        raise Base
    except Base:
        write_traceback()
    assert messages[-1]["found_by"] == "Base"
    fail_with(ZeroDivisionError())
    assert messages[-1]["found_by"] == "Exception"


def test_an_extractor_is_for_exceptions():
    """Not for what else there is."""
    with pytest.raises(TypeError, match="an exception class is needed, not <class 'int'>"):
        register_exception_extractor(int, dict)
    with pytest.raises(TypeError, match="an exception class is needed, not 'x'"):
        register_exception_extractor("x", dict)


@pytest.mark.rule("E6.8")
def test_an_os_error_tells_its_number(messages):
    """Without one it is None."""
    fail_with(FileNotFoundError(2, "No such file", "/x"))
    assert end_of(messages) == {
        "errno": 2, "exception": "builtins.FileNotFoundError",
        "reason": "[Errno 2] No such file: '/x'", "action_status": "failed",
    }  # fmt: skip
    fail_with(OSError())
    assert messages[-1]["errno"] is None


@pytest.mark.rule("E6.10")
def test_an_extractor_that_raises_is_told_first(messages):
    """In the parent, where nothing more is wrong; the end comes without fields."""
    register_exception_extractor(Base, lambda error: 1 / 0)
    with start_action(action_type="parent"):
        fail_with(Derived("x"))

    trace, end = messages[2:4]
    assert trace["message_type"] == "eliot:traceback"
    assert trace["exception"] == "builtins.ZeroDivisionError"
    assert "ZeroDivisionError" in trace["traceback"]
    assert trace["task_level"] == [3]
    assert end["task_level"] == [2, 2]
    assert end["exception"] == f"{__name__}.Derived"


def test_an_extractor_that_raises_for_all_exceptions_does_not_go_round(messages):
    """What it raised is an exception too."""
    register_exception_extractor(Exception, lambda error: 1 / 0)

    fail_with(Derived("x"))

    assert [message.get("message_type") for message in messages] == [
        None, "eliot:traceback", "eliot:traceback", None,
    ]  # fmt: skip


@pytest.mark.rule("E6.11", "E6.13")
def test_the_fields_of_a_failure_win_over_the_extractors(messages):
    """Whose dict stays as it is."""
    fields = {
        "exception": "mine", "reason": "mine", "action_status": "mine", "timestamp": "mine",
        "task_uuid": "mine", "task_level": "mine", "action_type": "mine", "extra": 1,
    }  # fmt: skip
    register_exception_extractor(Base, lambda error: fields)
    before = dict(fields)

    fail_with(Base("text"))

    assert fields == before
    assert messages[-1]["extra"] == 1
    assert messages[-1]["exception"] == f"{__name__}.Base"
    assert messages[-1]["reason"] == "text"
    assert "mine" not in messages[-1].values()


@pytest.mark.rule("E6.12", "E6.13")
def test_the_fields_of_a_traceback_win_over_the_extractors(messages):
    """All of them, the text too."""
    fields = {
        "exception": "mine", "reason": "mine", "traceback": "mine", "timestamp": "mine",
        "task_uuid": "mine", "task_level": "mine", "message_type": "mine", "extra": 1,
    }  # fmt: skip
    register_exception_extractor(Base, lambda error: fields)
    before = dict(fields)

    try:
        raise Base("text")
    except Base:
        write_traceback()

    assert fields == before
    assert messages[-1]["extra"] == 1
    assert messages[-1]["reason"] == "text"
    assert "mine" not in messages[-1].values()


@pytest.mark.rule("E6.14")
@pytest.mark.parametrize("found", [None, 7, "text", {1: 2}, [("a", 1)]])
def test_what_is_no_mapping_of_fields_is_taken_as_an_error(messages, found):
    """The exception passes all the same, and is logged."""
    register_exception_extractor(Base, lambda error: found)

    fail_with(Base("x"))

    assert [message.get("message_type") for message in messages] == [None, "eliot:traceback", None]
    assert repr(found) in messages[1]["reason"]
    assert messages[2]["reason"] == "x"


@pytest.mark.rule("E6.15")
@pytest.mark.parametrize(
    ("given", "name"),
    [
        (Derived, f"{__name__}.Derived"),
        (int, "builtins.int"),
        ("text", "builtins.str"),
        (0, "builtins.int"),
        (False, "builtins.bool"),
    ],
)
def test_whatever_an_action_is_finished_with_is_told(messages, given, name):
    """A class by its own name."""
    start_action(action_type="a").finish(given)

    assert messages[-1]["exception"] == name
    assert messages[-1]["reason"] == str(given)
    assert messages[-1]["action_status"] == "failed"


def test_a_failure_inside_of_another(messages):
    """Each action has its own end."""
    with pytest.raises(ValueError), start_action(action_type="outer"):
        with start_action(action_type="inner"):
            log_message("m")
            raise ValueError("x")

    assert [message["task_level"] for message in messages] == [[1], [2, 1], [2, 2], [2, 3], [3]]
    assert [message["reason"] for message in messages[-2:]] == ["x", "x"]
