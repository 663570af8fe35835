"""Tools for tests of what a program logs, and that it is as its types say.

>>> import unittest
>>> from sprockets.eliot import start_action
>>> class ShipTest(unittest.TestCase):
...     @capture_logging(assertHasAction, "orders:ship", succeeded=True)
...     def test_shipping_is_logged(self, logger):
...         with start_action(action_type="orders:ship", order=7):
...             pass
>>> ShipTest("test_shipping_is_logged").run().wasSuccessful()
True

With pytest, the fixture ``eliot_logger`` does what the decorator does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

from sprockets.eliot._fields import (
    ACTION_STATUS,
    ACTION_TYPE,
    FAILED,
    IDENTITY,
    MESSAGE_TYPE,
    STARTED,
    SUCCEEDED,
    TASK_LEVEL,
    TASK_UUID,
    TRACEBACK,
    Message,
    safe_repr,
)
from sprockets.eliot._logger import swap_logger
from sprockets.eliot._memory_logger import MemoryLogger
from sprockets.eliot._test_methods import (
    capture_logging,
    check_for_errors,
    validate_logging,
    validateLogging,
)
from sprockets.eliot._types import ActionType, MessageType
from sprockets.eliot.errors import UnflushedTracebacks

__all__ = [
    "COMPLETED_STATUSES",
    "LoggedAction",
    "LoggedMessage",
    "MemoryLogger",
    "UnflushedTracebacks",
    "assertContainsFields",
    "assertHasAction",
    "assertHasMessage",
    "capture_logging",
    "check_for_errors",
    "describe_messages",
    "issuperset",
    "swap_logger",
    "validateLogging",
    "validate_logging",
]

COMPLETED_STATUSES: Final = (FAILED, SUCCEEDED)
"""What ``action_status`` of the last message of an action may be."""

_SHOWN: Final = 50
_SHOWN_LENGTH: Final = 100

_Place: TypeAlias = tuple[str, tuple[int, ...]]
"""A task, and the level of an action in it."""


# -- what was logged


@dataclass(frozen=True)
class LoggedMessage:
    """A message that was logged.

    Args:
        message: Its fields.
    """

    message: Message

    @classmethod
    def of_type(cls, messages: Iterable[Message], messageType: MessageType | str) -> list[Self]:
        """Return those of *messages* that are of a type, in order."""
        name = messageType if isinstance(messageType, str) else messageType.message_type
        return [cls(message) for message in messages if message.get(MESSAGE_TYPE) == name]

    ofType = of_type


@dataclass(frozen=True)
class LoggedAction:
    """An action that was logged from its start to its end.

    Args:
        startMessage: Its first message.
        endMessage: Its last one.
        children: What was logged in between: messages, and actions with what is in them.
    """

    startMessage: Message
    endMessage: Message
    children: list[LoggedMessage | LoggedAction]

    @property
    def start_message(self) -> Message:
        """Its first message."""
        return self.startMessage

    @property
    def end_message(self) -> Message:
        """Its last message."""
        return self.endMessage

    @property
    def succeeded(self) -> bool:
        """Whether it did not fail."""
        return bool(self.endMessage[ACTION_STATUS] == SUCCEEDED)

    @classmethod
    def from_messages(cls, uuid: str, level: Iterable[int], messages: Iterable[Message]) -> Self:
        """Return one action, with all that is in it.

        Args:
            uuid: Its task.
            level: The level of its start message, or of any other that is directly in it.
            messages: Those it is among.

        Raises:
            ValueError: Its start or its end is not among them, or that of an action in it.
        """
        return cls._build((uuid, tuple(level)[:-1]), _sorted_into_actions(messages))

    @classmethod
    def of_type(cls, messages: Iterable[Message], actionType: ActionType | str) -> list[Self]:
        """Return the actions of a type, in the order in which they started.

        Raises:
            ValueError: One of them, or of those in them, has not ended.
        """
        name = actionType if isinstance(actionType, str) else actionType.action_type
        messages = list(messages)
        inside = _sorted_into_actions(messages)
        return [
            cls._build(_place(message), inside)
            for message in messages
            if message.get(ACTION_TYPE) == name and message.get(ACTION_STATUS) == STARTED
        ]

    fromMessages = from_messages
    ofType = of_type

    @classmethod
    def _build(cls, place: _Place, inside: Mapping[_Place, list[Message]]) -> Self:
        start = end = None
        children: list[LoggedMessage | LoggedAction] = []
        for message in inside.get(place, ()):
            if (inner := _place(message)) != place:
                children.append(cls._build(inner, inside))
            elif (status := message.get(ACTION_STATUS)) == STARTED:
                start = message
            elif status in COMPLETED_STATUSES:
                end = message
            else:
                children.append(LoggedMessage(message))
        if start is None:
            raise ValueError("Missing start message")
        if end is None:
            raise ValueError(f"Missing end message of type {start.get(ACTION_TYPE, 'unknown')}")
        return cls(start, end, children)

    def descendants(self) -> Iterator[LoggedMessage | LoggedAction]:
        """Yield what is in it, and what is in that, each action before what is in it."""
        for child in self.children:
            yield child
            if isinstance(child, LoggedAction):
                yield from child.descendants()

    def type_tree(self) -> dict[str, list[Any]]:
        """Return the types: of the action, to a list of those in it; of a message as it is.

        For example ``{"orders:ship": ["orders:packed", {"orders:label": []}]}``.
        """
        return {
            str(self.startMessage[ACTION_TYPE]): [
                child.type_tree()
                if isinstance(child, LoggedAction)
                else child.message.get(MESSAGE_TYPE)
                for child in self.children
            ]
        }


def _place(message: Message) -> _Place:
    return message[TASK_UUID], tuple(message[TASK_LEVEL][:-1])


def _sorted_into_actions(messages: Iterable[Message]) -> Mapping[_Place, list[Message]]:
    """Return the messages that are directly in each action, and the first of each one in it."""
    inside: defaultdict[_Place, list[Message]] = defaultdict(list)
    for message in messages:
        if TASK_UUID not in message or TASK_LEVEL not in message:
            continue  # written to the logger by hand
        uuid, level = place = _place(message)
        inside[place].append(message)
        # An action within begins with number 1.
        if level and message[TASK_LEVEL][-1] == 1:
            inside[uuid, level[:-1]].append(message)
    return inside


def describe_messages(messages: Sequence[Message], limit: int = _SHOWN) -> str:
    """Return *messages* as lines to be read: level, type and status, fields.

    Args:
        messages: What was logged.
        limit: Lines at most; the last one then says how many messages are not shown.
    """
    lines = [_describe(message) for message in messages[:limit]]
    if len(messages) > limit:
        lines.append(f"  ... and {len(messages) - limit} more")
    return "\n".join(lines)


def _describe(message: Message) -> str:
    kind = message.get(ACTION_TYPE, message.get(MESSAGE_TYPE, "(no type)"))
    status = message.get(ACTION_STATUS)
    level = "/".join(str(number) for number in message.get(TASK_LEVEL, ()))
    words = [f"  /{level}", str(kind) or "''", *([str(status)] if status is not None else [])]
    for name, value in message.items():
        # A traceback is long, and the exception tells enough.
        if name not in IDENTITY and name != TRACEBACK:
            words.append(f"{name}={safe_repr(value)}")
    line = " ".join(words)
    return line if len(line) <= _SHOWN_LENGTH else f"{line[: _SHOWN_LENGTH - 3]}..."


# -- assertions


def assertHasMessage(
    testCase: Any,
    logger: MemoryLogger,
    messageType: MessageType | str,
    fields: Mapping[str, object] | None = None,
) -> LoggedMessage:
    """Return the first message of a type, having made sure that there is one, with *fields*.

    Args:
        testCase: The test, for its ``fail``; None raises `AssertionError` itself.
        logger: What was logged to.
        messageType: The type, or its name.
        fields: What the message has, among others.

    Raises:
        AssertionError: There is none, or the first one has other fields; the text lists what
            there is.
    """
    found = LoggedMessage.of_type(logger.messages, messageType)
    if not found:
        _fail_to_find(testCase, logger, f"No messages of type {_name(messageType)!r}")
    _assert_fields(testCase, "message", found[0].message, fields)
    return found[0]


def assertHasAction(
    testCase: Any,
    logger: MemoryLogger,
    actionType: ActionType | str,
    succeeded: bool,
    startFields: Mapping[str, object] | None = None,
    endFields: Mapping[str, object] | None = None,
) -> LoggedAction:
    """Return the first action of a type, having made sure that there is one, and how it went.

    Args:
        testCase: The test, for its ``fail``; None raises `AssertionError` itself.
        logger: What was logged to.
        actionType: The type, or its name.
        succeeded: Whether it has succeeded, or failed.
        startFields: What its start message has, among others.
        endFields: What its end message has, among others.

    Raises:
        AssertionError: There is none, or the first one differs; the text lists what there is.
        ValueError: An action of this type has not ended.
    """
    found = LoggedAction.of_type(logger.messages, actionType)
    if not found:
        _fail_to_find(testCase, logger, f"No actions of type {_name(actionType)!r}")
    action = found[0]
    if action.succeeded != succeeded:
        _fail(
            testCase,
            f"The action {_name(actionType)!r} should have {'succeeded' if succeeded else FAILED}:"
            f"\n{_describe(action.endMessage)}",
        )
    _assert_fields(testCase, "start message", action.startMessage, startFields)
    _assert_fields(testCase, "end message", action.endMessage, endFields)
    return action


def assertContainsFields(
    test: Any, message: Mapping[str, object], fields: Mapping[str, object]
) -> None:
    """Return if *message* has all of *fields*, with equal values.

    Args:
        test: The test, for its ``fail``; None raises `AssertionError` itself.
        message: The message.
        fields: What it has, among others.

    Raises:
        AssertionError: It has not; the text says which differ.
    """
    _assert_fields(test, "message", message, fields)


def issuperset(a: Mapping[str, object], b: Mapping[str, object]) -> bool:
    """Return whether *a* has all of *b*, with equal values."""
    return not _differences(a, b)


def _differences(message: Mapping[str, object], fields: Mapping[str, object]) -> list[str]:
    found = []
    for name, expected in fields.items():
        if name not in message:
            found.append(f"{name!r} is missing, expected {safe_repr(expected)}")
        # As containers compare: what is the same object is equal, whatever it says itself.
        elif not (message[name] is expected or message[name] == expected):
            found.append(f"{name!r} is {safe_repr(message[name])}, expected {safe_repr(expected)}")
    return found


def _assert_fields(
    test: Any,
    what: str,
    message: Mapping[str, object],
    fields: Mapping[str, object] | None,
) -> None:
    found = _differences(message, fields or {})
    if found:
        lines = "".join(f"\n  {difference}" for difference in found)
        _fail(test, f"The {what} differs:{lines}\nin {safe_repr(dict(message))}")


def _name(kind: MessageType | ActionType | str) -> str:
    if isinstance(kind, str):
        return kind
    return kind.message_type if isinstance(kind, MessageType) else kind.action_type


def _fail_to_find(test: Any, logger: MemoryLogger, text: str) -> None:
    there_is = describe_messages(logger.messages) or "  nothing"
    _fail(test, f"{text}; there is:\n{there_is}")


def _fail(test: Any, text: str) -> None:
    fail = getattr(test, "fail", None)
    if fail is not None:
        fail(text)
    raise AssertionError(text)
