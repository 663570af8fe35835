"""Messages as objects: the old way to log."""

import warnings

import pytest

from sprockets.eliot import (
    MemoryLogger,
    Message,
    MessageType,
    add_destinations,
    fields,
    remove_destination,
    start_action,
)
from sprockets.eliot.testing import swap_logger


@pytest.fixture(name="messages")
def _messages():
    """What gets to the destinations."""
    found = []
    destination = found.append
    add_destinations(destination)
    found.clear()  # of what was kept for the first destination of this process
    yield found
    remove_destination(destination)


@pytest.mark.rule("E7.6")
def test_new_and_log_are_deprecated_at_the_line_of_the_caller(messages):
    """They say what to use; everything else of a message says nothing."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        message = Message.new(message_type="x", key=1)
        Message.log(message_type="y", key=2)

    assert [(w.filename, str(w.message)) for w in caught] == [
        (__file__, "Message.new() is deprecated since 3.0; use log_message() instead"),
        (__file__, "Message.log() is deprecated since 3.0; use log_message() instead"),
    ]
    with warnings.catch_warnings(action="error"):
        Message(message.contents()).bind(a=1).write()
    assert [(m["message_type"], m["key"]) for m in messages] == [("y", 2), ("x", 1)]


@pytest.mark.rule("E7.4")
def test_binding_makes_another_message():
    """It has the new fields, over the old ones, and the first stays as it was."""
    message = Message({"message_type": "x", "a": 1, "b": 2})

    bound = message.bind(b=3, c=4)

    assert bound.contents() == {"message_type": "x", "a": 1, "b": 3, "c": 4}
    assert message.contents() == {"message_type": "x", "a": 1, "b": 2}


@pytest.mark.rule("E7.4")
def test_the_serializer_is_inherited(messages):
    """By bind, and by a subclass's bind as well."""

    class Special(Message):
        pass

    serializer = MessageType("x", fields(a=int))._serializer
    logger = MemoryLogger()

    bound = Special({"message_type": "x"}, serializer).bind(a=1)
    bound.write(logger)

    assert isinstance(bound, Special)
    assert logger.serializers == [serializer]


def test_contents_are_a_copy():
    """Of what was given, and for whoever asks."""
    given = {"a": 1}
    message = Message(given)

    given["a"] = 2
    message.contents()["a"] = 3

    assert message.contents() == {"a": 1}
    assert repr(message) == "Message({'a': 1})"


@pytest.mark.rule("E7.5")
def test_a_message_without_a_type_gets_an_empty_one(messages):
    """It is needed to be a message."""
    Message({"a": 1}).write()

    assert messages[0]["message_type"] == ""
    assert list(messages[0]) == ["a", "timestamp", "task_uuid", "task_level", "message_type"]


@pytest.mark.rule("E7.5")
def test_writing_twice_writes_two_messages(messages):
    """Each a dict of its own, with its own place."""
    message = Message({"message_type": "x", "a": 1})

    message.write()
    message.write()

    first, second = messages
    assert first is not second
    assert first["task_uuid"] != second["task_uuid"]
    assert (first["a"], first["task_level"], second["task_level"]) == (1, [1], [1])
    assert message.contents() == {"message_type": "x", "a": 1}


@pytest.mark.rule("E7.5")
def test_it_is_written_to_the_action_given_or_the_current_one(messages):
    """Else it is a task of its own."""
    message = Message({"message_type": "x"})
    other = start_action(action_type="other")

    with start_action(action_type="current") as current:
        message.write()
        message.write(action=other)
    message.write()

    written = [m for m in messages if m.get("message_type") == "x"]
    assert [m["task_level"] for m in written] == [[2], [2], [1]]
    assert [m["task_uuid"] for m in written][:2] == [current.task_uuid, other.task_uuid]


def test_it_is_written_to_the_logger_given_or_the_one_of_the_action():
    """Also inside of an action that has another one."""
    of_action, given, default = MemoryLogger(), MemoryLogger(), MemoryLogger()
    message = Message({"message_type": "x"})
    previous = swap_logger(default)
    try:
        message.write()
        message.write(given)
        with start_action(of_action, "a"):
            message.write()
            message.write(logger=given)
    finally:
        swap_logger(previous)

    assert [len(default.messages), len(given.messages), len(of_action.messages)] == [1, 2, 3]
    assert given.messages[1]["task_level"] == [3]


def test_fields_of_any_name_are_fields(messages):
    """Those of the methods' own parameters too."""
    with pytest.warns(DeprecationWarning):
        Message.new(cls=1, logger=2).bind(action=3).write()

    assert [messages[0][name] for name in ("cls", "logger", "action")] == [1, 2, 3]
