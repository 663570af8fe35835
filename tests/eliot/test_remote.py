"""An action that goes on elsewhere: the id that leads there, and functions that take it along."""

import re
import threading

import pytest

from sprockets.eliot import (
    Action,
    TooManyCalls,
    current_action,
    log_message,
    preserve_context,
    start_action,
)
from sprockets.eliot._task_level import TaskLevel

ID = "8c813245-9773-4a55-ab8c-7baf4fb9250b"


def levels(messages):
    return [message["task_level"] for message in messages]


def in_thread(f):
    """Return what *f* returns in another thread, or the exception that it raises."""
    found = []

    def work():
        try:
            found.append(f())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.rule("E10.1")
def test_an_id_is_task_and_level_in_ascii(messages):
    """Each takes a number."""
    with start_action(action_type="a"), start_action(action_type="b") as action:
        ids = [action.serialize_task_id(), action.serializeTaskId()]
        log_message("m")

    assert ids == [f"{action.task_uuid}@/2/2".encode(), f"{action.task_uuid}@/2/3".encode()]
    assert levels(messages)[2] == [2, 4]


@pytest.mark.rule("E10.2")
@pytest.mark.parametrize("task_id", [f"{ID}@/2/2", f"{ID}@/2/2".encode()])
def test_a_task_goes_on_where_the_id_says(messages, task_id):
    """Text or bytes; its start is logged, and it is not current."""
    action = Action.continue_task(task_id=task_id)
    assert current_action() is None
    with action:
        log_message("m")

    assert [message["task_uuid"] for message in messages] == [ID] * 3
    assert levels(messages) == [[2, 2, 1], [2, 2, 2], [2, 2, 3]]
    assert messages[0]["action_type"] == "eliot:remote_task"
    assert messages[0]["action_status"] == "started"
    assert action.task_level == TaskLevel([2, 2])


@pytest.mark.rule("E10.2")
def test_a_task_goes_on_under_a_name_of_its_own(messages):
    """With fields for its start."""
    Action.continueTask(task_id=f"{ID}@/1", action_type="http:request", path="/", cls="c").finish()

    assert messages[0]["action_type"] == messages[1]["action_type"] == "http:request"
    assert messages[0].items() >= {"path": "/", "cls": "c"}.items()


@pytest.mark.rule("E10.3")
def test_an_id_is_needed():
    """The text says where to get one."""
    with pytest.raises(RuntimeError, match=r"needs a task_id, as serialize_task_id\(\)"):
        Action.continue_task()


@pytest.mark.rule("E10.3")
@pytest.mark.parametrize(
    "task_id",
    ["", "@", "x", f"{ID}", "@/1", f"{ID}@x", f"{ID}@/x", f"{ID}@1", f"{ID}@/1/-2", f"{ID}@/1@/2",
     f"{ID}@/1.5", f"{ID} @/1", f"{ID}@/1\n", "é@/1", f"{ID}@/²", f"{ID}@/" + "9" * 5_000, b"\xff@/1"],
)  # fmt: skip
def test_what_is_no_id_is_refused(messages, task_id):
    """Nothing is logged."""
    with pytest.raises(ValueError):
        Action.continue_task(task_id=task_id)

    assert not messages


@pytest.mark.parametrize("task_id", [None, 7, ["x"]])
def test_an_id_is_text_or_bytes(messages, task_id):
    """Anything else is a mistake in the program."""
    with pytest.raises(TypeError, match=re.escape(f"text or bytes, not {task_id!r}")):
        Action.continue_task(task_id=task_id)


@pytest.mark.rule("E10.2")
def test_an_id_from_another_library_may_be_anything_without_blanks(messages):
    """Readers compare it, and do not look inside."""
    Action.continue_task(task_id="request-17@/").finish()

    assert [(m["task_uuid"], m["task_level"]) for m in messages] == [
        ("request-17", [1]), ("request-17", [2]),
    ]  # fmt: skip


@pytest.mark.rule("E10.5")
def test_without_an_action_a_function_stays_what_it_is():
    """There is nothing to preserve."""
    assert preserve_context(print) is print


@pytest.mark.rule("E10.6")
def test_a_function_takes_the_action_along_to_a_thread(messages):
    """The captured tree: it takes its number at once, and runs inside of a remote task."""

    def add(x, y):
        with start_action(action_type="in_thread", x=x, y=y) as action:
            action.add_success_fields(result=x + y)
        return x + y

    with start_action(action_type="main_thread"):
        preserved = preserve_context(add)
        log_message("between")
        assert in_thread(lambda: preserved(3, y=4)) == 7

    assert [(m.get("action_type"), m.get("action_status"), m["task_level"]) for m in messages] == [
        ("main_thread", "started", [1]),
        (None, None, [3]),
        ("eliot:remote_task", "started", [2, 1]),
        ("in_thread", "started", [2, 2, 1]),
        ("in_thread", "succeeded", [2, 2, 2]),
        ("eliot:remote_task", "succeeded", [2, 3]),
        ("main_thread", "succeeded", [4]),
    ]


@pytest.mark.rule("E10.6")
def test_what_it_raises_fails_the_remote_task_and_passes(messages):
    """The action it was taken from goes on."""

    def fail():
        raise KeyError("x")

    with start_action(action_type="a"):
        preserved = preserve_context(fail)
    error = in_thread(preserved)

    assert isinstance(error, KeyError)
    assert messages[-1]["action_type"] == "eliot:remote_task"
    assert messages[-1]["exception"] == "builtins.KeyError"


@pytest.mark.rule("E10.7")
def test_it_works_once(messages):
    """Of threads that call it together, one gets through."""

    def f():
        return "done"

    with start_action(action_type="a"):
        preserved = preserve_context(f)
    barrier = threading.Barrier(8)
    found = []

    def work():
        barrier.wait()
        try:
            found.append(preserved())
        except TooManyCalls as error:
            found.append(error.args)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found.count("done") == 1
    assert found.count((f,)) == 7
    assert len(messages) == 4


@pytest.mark.rule("E10.4", "E10.8")
def test_an_id_that_is_not_used_leaves_a_gap(messages):
    """One that is used twice is used twice: nobody notices."""
    with start_action(action_type="a") as action:
        task_id = action.serialize_task_id()
        action.serialize_task_id()
    for _ in range(2):
        Action.continue_task(task_id=task_id)

    assert levels(messages) == [[1], [4], [2, 1], [2, 1]]
