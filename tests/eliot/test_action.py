"""Actions: how they start, what they number, what they log."""

import re
import time
import uuid

import pytest

import sprockets.eliot
from sprockets.eliot import (
    Action,
    FileDestination,
    Logger,
    add_destinations,
    add_global_fields,
    current_action,
    log_message,
    start_action,
    start_task,
)
from sprockets.eliot._logger import default_logger, swap_logger
from sprockets.eliot._task_level import TaskLevel


class ListLogger:
    """Keeps what it is given."""

    def __init__(self):
        self.messages = []
        self.serializers = []

    def write(self, dictionary, serializer=None):
        self.messages.append(dictionary)
        self.serializers.append(serializer)


def levels(messages):
    return [message["task_level"] for message in messages]


@pytest.mark.rule("E3.1")
def test_a_task_is_numbered_as_it_goes(messages):
    """The example: task, message, child with one message, failure."""
    with pytest.raises(KeyError), start_action(action_type="parent"):
        log_message("m")
        with start_action(action_type="child"):
            log_message("m")
        raise KeyError

    assert levels(messages) == [[1], [2], [3, 1], [3, 2], [3, 3], [4]]
    assert len({message["task_uuid"] for message in messages}) == 1
    assert [message.get("action_status") for message in messages] == [
        "started", None, "started", None, "succeeded", "failed",
    ]  # fmt: skip


@pytest.mark.rule("E3.3", "E3.1")
def test_what_is_logged_after_the_end_keeps_counting(messages):
    """And so does a child that starts then."""
    task = start_task(action_type="task")
    with task.context(), start_action(action_type="a"):
        pass
    with task.context(), start_action(action_type="b") as late:
        pass

    late.log("late")

    assert levels(messages)[-2:] == [[3, 2], [3, 3]]


@pytest.mark.rule("E2.1")
def test_a_task_has_an_id_of_its_own(messages):
    """A random UUID in 36 characters."""
    for _ in range(200):
        start_task()
    ids = [message["task_uuid"] for message in messages]

    assert len(set(ids)) == 200
    for each in ids:
        assert len(each) == 36
        assert uuid.UUID(each).version == 4
        assert uuid.UUID(each).variant == uuid.RFC_4122
        assert str(uuid.UUID(each)) == each
    # Every digit but the one of the version and the one of the variant is random.
    columns = [len({each[place] for each in ids}) for place in range(36)]
    assert [place for place, seen in enumerate(columns) if seen < 12] == [8, 13, 14, 18, 19, 23]


@pytest.mark.rule("E2.2")
def test_a_message_is_of_an_action_or_has_a_type(messages):
    """Never both; a status goes with an action."""
    with start_action(action_type="a") as action:
        action.log("m")
    log_message("m")

    for message in messages:
        assert ("message_type" in message) is not ("action_type" in message)
        assert ("action_status" in message) is ("action_type" in message)


@pytest.mark.rule("E2.3")
def test_what_identifies_a_message_is_always_ours(messages):
    """Fields of the same names lose."""
    before = time.time()
    own = {"timestamp": 1, "task_uuid": "x", "task_level": [9]}
    with start_action(action_type="a", action_status="new", **own) as action:
        action.log("m", **own)
        log_message("m", **own)
        action.add_success_fields(action_status="new", action_type="z", **own)
    log_message("m", **own)

    assert [(m.get("action_type"), m.get("action_status"), m.get("message_type")) for m in messages] == [
        ("a", "started", None), (None, None, "m"), (None, None, "m"), ("a", "succeeded", None),
        (None, None, "m"),
    ]  # fmt: skip
    assert levels(messages) == [[1], [2], [3], [4], [1]]
    assert all(before <= message["timestamp"] <= time.time() for message in messages)
    assert all(len(message["task_uuid"]) == 36 for message in messages)


@pytest.mark.rule("E2.4")
def test_members_come_in_a_known_order(messages):
    """The caller's first, in the order of the call; global ones last."""
    add_global_fields(process="p")
    with pytest.raises(OSError), start_action(action_type="a", z=1, b=2) as action:
        action.log("m", y=1, c=2)
        with start_action(action_type="child") as child:
            child.add_success_fields(result=3, extra=4)
        raise OSError(2, "No such file")

    assert list(messages[0]) == [
        "z", "b", "action_status", "timestamp", "task_uuid", "action_type", "task_level", "process",
    ]  # fmt: skip
    assert list(messages[1]) == [
        "y", "c", "timestamp", "task_uuid", "task_level", "message_type", "process",
    ]  # fmt: skip
    assert list(messages[3]) == [
        "result", "extra", "action_status", "timestamp", "task_uuid", "action_type", "task_level",
        "process",
    ]  # fmt: skip
    assert list(messages[4]) == [
        "errno", "exception", "reason", "action_status", "timestamp", "task_uuid", "action_type",
        "task_level", "process",
    ]  # fmt: skip


@pytest.mark.rule("E4.1")
def test_an_action_is_inside_the_current_one(messages):
    """A task never is."""
    with start_action(action_type="outer") as outer:
        inner = start_action(action_type="inner")
        task = start_task(action_type="task")

    assert inner.task_uuid == outer.task_uuid != task.task_uuid
    assert inner.task_level == TaskLevel([2])
    assert task.task_level == TaskLevel([])
    assert start_action().task_uuid not in (outer.task_uuid, task.task_uuid)


@pytest.mark.rule("E4.2", "E4.3")
@pytest.mark.parametrize("start", [start_action, start_task])
def test_the_start_is_logged_at_once(start, messages):
    """With the fields, which the end has not; it does not become current."""
    action = start(action_type="a", x=1)

    assert len(messages) == 1
    assert messages[0].items() >= {"x": 1, "action_status": "started", "action_type": "a"}.items()
    assert current_action() is None

    action.finish()
    assert "x" not in messages[1]


@pytest.mark.rule("E4.4")
@pytest.mark.parametrize("start", [start_action, start_task])
def test_the_logger_comes_first_and_the_type_may_be_missing(start):
    """By place or by name."""
    logger = ListLogger()

    start(logger)
    start(logger, "b")
    start(logger=logger, action_type="c")

    assert [message["action_type"] for message in logger.messages] == ["", "b", "c"]


@pytest.mark.rule("E4.5")
@pytest.mark.parametrize(
    "start",
    [
        start_action,
        start_task,
        lambda logger: Action(logger, "uuid", TaskLevel([1]), "a"),
        lambda logger: start_task().child(logger, "a"),
        lambda logger: Action.continue_task(logger, "uuid@/1"),
    ],
)
@pytest.mark.parametrize("logger", ["orders:ship", 7, object()])
def test_a_type_in_the_place_of_the_logger_is_told(start, logger):
    """It is the mistake that everybody makes once."""
    with pytest.raises(TypeError, match=rf"{re.escape(repr(logger))} has none .*action_type="):
        start(logger)


@pytest.mark.rule("E4.6", "E4.7")
def test_an_action_keeps_its_logger_and_a_child_takes_the_default(messages):
    """What is logged in an action goes where its start went."""
    logger, other = ListLogger(), ListLogger()
    with start_action(logger, "a") as action:
        action.log("by action")
        log_message("by function")
        with start_action(action_type="child"):
            log_message("in child")

    assert levels(logger.messages) == [[1], [2], [3], [5]]
    assert levels(messages) == [[4, 1], [4, 2], [4, 3]]

    previous = swap_logger(logger)
    action = start_action(action_type="b")
    swap_logger(other)
    action.finish()
    swap_logger(previous)
    assert default_logger() is previous
    assert [message["action_type"] for message in logger.messages[-2:]] == ["b", "b"]
    assert not other.messages


@pytest.mark.rule("E4.8")
def test_a_child_made_by_hand_has_logged_nothing(messages):
    """It has taken a number; what is logged first in it gets 1."""
    with start_task(action_type="task") as task:
        child = task.child(Logger(), "child")
        log_message("next")
        child.log("first")

    assert levels(messages) == [[1], [3], [2, 1], [4]]


@pytest.mark.rule("E4.8")
def test_the_constructor_logs_nothing(messages):
    """Its messages have the uuid and level that it was given."""
    action = Action(None, "uuid", TaskLevel([7]), "a")
    assert not messages

    action.log("m")
    action.finish()

    assert [(m["task_uuid"], m["task_level"]) for m in messages] == [
        ("uuid", [7, 1]),
        ("uuid", [7, 2]),
    ]
    assert action.task_level == TaskLevel([7])
    assert action.action_type == "a"
    assert repr(action) == "<Action 'a' uuid@[7]>"


@pytest.mark.rule("E4.9")
def test_a_message_by_place_and_by_name(messages):
    """Are equal; each is a dict of its own."""
    fields = {"k": 1, "self": "me", "logger": "l", "f": 2}
    with start_action(action_type="a") as action:
        action.log("t", **fields)
        action.log(message_type="t", **fields)
        log_message("t", **fields)
    unique = ("timestamp", "task_level")
    plain = [{k: v for k, v in each.items() if k not in unique} for each in messages[1:4]]

    assert plain[0] == plain[1] == plain[2]
    assert plain[0].items() >= fields.items()
    assert messages[1] is not messages[2]
    assert fields == {"k": 1, "self": "me", "logger": "l", "f": 2}


@pytest.mark.rule("E4.10")
def test_success_fields_add_up(messages):
    """Later ones win; a failure has none."""
    with start_action(action_type="a") as action:
        action.add_success_fields(x=1, y=1, self=0)
        action.addSuccessFields(y=2)
    with pytest.raises(KeyError), start_action(action_type="b") as failing:
        failing.add_success_fields(x=1)
        raise KeyError

    assert messages[1].items() >= {"x": 1, "y": 2, "self": 0}.items()
    assert "x" not in messages[3]


@pytest.mark.rule("E7.1")
def test_a_message_is_in_the_current_action_or_alone(messages):
    """Alone, each is a task of its own."""
    log_message("a")
    log_message("b")
    with start_action(action_type="x"):
        log_message("c")

    assert levels(messages) == [[1], [1], [1], [2], [3]]
    assert len({message["task_uuid"] for message in messages[:3]}) == 3
    assert len({message["task_uuid"] for message in messages[2:]}) == 1


@pytest.mark.rule("E7.2")
def test_a_message_has_a_type(messages):
    """It may be empty, not missing."""
    log_message("")
    log_message(message_type="t")
    for log in (log_message, start_action().log):
        with pytest.raises(TypeError, match="message_type"):
            log()

    assert [message.get("message_type") for message in messages] == ["", "t", None]


class Doubling:
    """A serializer."""

    def serialize(self, message):
        message["k"] *= 2

    def validate(self, message):
        pass


class FalseLogger(ListLogger):
    """One that is easily taken for none."""

    def __bool__(self):
        return False


@pytest.mark.rule("E7.3")
@pytest.mark.parametrize("is_in_action", [True, False])
@pytest.mark.parametrize("make_logger", [ListLogger, FalseLogger])
def test_a_message_can_be_sent_elsewhere(is_in_action, make_logger, messages):
    """Two keywords, which are not logged."""
    logger, serializer = make_logger(), Doubling()

    def log():
        log_message("m", k=1, __eliot_logger__=logger, __eliot_serializer__=serializer)
        log_message("m", k=1, __eliot_serializer__=serializer)

    start_action().run(log) if is_in_action else log()

    assert logger.serializers == [serializer]
    assert logger.messages[0]["k"] == 1
    assert messages[-1]["k"] == 2
    assert not [name for each in (*messages, *logger.messages) for name in each if "eliot" in name]


def test_the_names_of_the_package():
    """Every name and its alias, which is the same thing unless it is the deprecated one."""
    names = {
        "start_action": "startAction", "start_task": "startTask", "Action": None,
        "current_action": None, "log_message": None, "Message": None, "log_call": None,
        "write_traceback": "writeTraceback", "write_failure": "writeFailure",
        "register_exception_extractor": None, "preserve_context": None, "add_destinations": None,
        "add_destination": "addDestination", "remove_destination": "removeDestination",
        "add_global_fields": "addGlobalFields", "FileDestination": None, "to_file": None,
        "ILogger": None, "Logger": None, "MemoryLogger": None, "Field": None, "fields": None,
        "MessageType": None, "ActionType": None, "ValidationError": None,
    }  # fmt: skip
    for name, alias in names.items():
        assert name in sprockets.eliot.__all__
        if alias:
            assert alias in sprockets.eliot.__all__
            assert getattr(sprockets.eliot, alias) is getattr(sprockets.eliot, name)
    assert sprockets.eliot.add_destination is not sprockets.eliot.add_destinations
    assert set(sprockets.eliot.__all__) == {*names, *filter(None, names.values())} | {
        "TooManyCalls", "statistics", "use_asyncio_context",
    }  # fmt: skip
    for name in sprockets.eliot.__all__:
        assert getattr(sprockets.eliot, name) is not None
    assert re.match(r"\d+\.\d+", sprockets.eliot.__version__)
    assert Action.serializeTaskId is Action.serialize_task_id
    assert Action.addSuccessFields is Action.add_success_fields
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(sprockets.eliot, "nothing")  # noqa: B009 - that is what is tried


def test_an_action_with_serializers(messages):
    """Those of the start for the start, one of two for the end."""

    class Naming:
        def __init__(self, name):
            self.name = name

        def serialize(self, message):
            message["by"] = self.name

        def validate(self, message):
            pass

    class Three:
        start, success, failure = Naming("start"), Naming("success"), Naming("failure")

    start_action(None, "a", Three).finish()
    start_task(None, "a", Three).finish(ValueError())
    Action.continue_task(None, "u@/1", _serializers=Three).finish()

    assert [message["by"] for message in messages] == [
        "start", "success", "start", "failure", "start", "success",
    ]  # fmt: skip


def test_numbers_are_taken_when_a_message_is_made(tmp_path):
    """One that is lost leaves a gap."""

    def refuse(message):
        raise ValueError

    got = []
    with (tmp_path / "log").open("w") as file:
        add_destinations(FileDestination(file=file, json_default=refuse), got.append)
        with start_action(action_type="a") as action:
            action.log("m", what=object())
    written = (tmp_path / "log").read_text()

    assert levels(got) == [[1], [2], [3], [4]]
    assert re.findall(r'"task_level":(\S+?\])', written) == ["[1]", "[3]", "[4]"]
