"""Messages and actions as they were written: what a log tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from sprockets.eliot._fields import (
    ACTION_STATUS,
    ACTION_TYPE,
    EXCEPTION,
    FAILED,
    REASON,
    STARTED,
    SUCCEEDED,
    TASK_LEVEL,
    TASK_UUID,
    TIMESTAMP,
    Message,
)
from sprockets.eliot._task_level import TaskLevel

# -- what can be wrong


class WrongTask(ValueError):
    """A message belongs to another task."""


class WrongTaskLevel(ValueError):
    """A message or an action is not directly in the action it was added to."""


class WrongActionType(ValueError):
    """An action ends with another type than it started with."""


class InvalidStatus(ValueError):
    """A message ends an action with a status that is no end."""


class InvalidStartMessage(ValueError):
    """A message starts an action with another status or level than that of a start."""


class DuplicateChild(ValueError):
    """Two different messages or actions have the same level."""


# -- messages

_PLACE: Final = frozenset((TASK_UUID, TASK_LEVEL, TIMESTAMP))


class WrittenMessage:
    """A message that was written.  It does not change."""

    __slots__ = ("_fields", "task_level")

    task_level: TaskLevel
    """Where it is in its task."""

    def __init__(self, fields: Message, task_level: TaskLevel) -> None:
        self._fields = fields
        self.task_level = task_level

    @classmethod
    def from_dict(cls, logged_dictionary: Mapping[str, Any]) -> WrittenMessage:
        """Return the message that has the fields of *logged_dictionary*, which is copied.

        Raises:
            ValueError: A field that places a message is missing, or is not what it should be.
        """
        fields = logged_dictionary
        try:
            uuid, level, _ = fields[TASK_UUID], fields[TASK_LEVEL], fields[TIMESTAMP]
        except KeyError as error:
            raise ValueError(f"not a message: there is no {error} in {_shorten(fields)}") from None
        if not isinstance(uuid, str):
            raise ValueError(f"not a message: {TASK_UUID!r} must be text, got {_shorten(uuid)}")
        # bool is an int to isinstance, and no number of a message.
        if (
            not isinstance(level, (list, tuple))
            or not level
            or set(map(type, level)) != {int}
            or min(level) < 1
        ):
            raise ValueError(
                f"not a message: {TASK_LEVEL!r} must be a list of numbers from 1 up, at least one,"
                f" got {_shorten(level)}"
            )
        return cls(dict(fields), TaskLevel(level))

    @property
    def task_uuid(self) -> str:
        """Which task it belongs to."""
        uuid: str = self._fields[TASK_UUID]
        return uuid

    @property
    def timestamp(self) -> float:
        """When it was logged, in seconds since the epoch."""
        timestamp: float = self._fields[TIMESTAMP]
        return timestamp

    @property
    def contents(self) -> Message:
        """All fields but those three, as a dict of the caller's own."""
        return {name: value for name, value in self._fields.items() if name not in _PLACE}

    def as_dict(self) -> Message:
        """Return all fields, as a dict of the caller's own."""
        return dict(self._fields)

    def get(self, name: str) -> Any:
        """Return the field *name*, None if there is none."""
        return self._fields.get(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WrittenMessage) and self._fields == other._fields

    def __hash__(self) -> int:
        return hash((self.task_uuid, self.task_level))

    def __repr__(self) -> str:
        return f"WrittenMessage.from_dict({self._fields!r})"


# -- actions


class WrittenAction:
    """An action that was written, or what is known of it.  It does not change.

    `from_messages` makes one.
    """

    __slots__ = ("children", "end_message", "start_message", "task_level", "task_uuid")

    task_uuid: str
    """Which task it belongs to."""
    task_level: TaskLevel
    """Where it is in its task; empty for the task itself."""
    start_message: WrittenMessage | None
    """Its first message, if that is known."""
    children: tuple[Written, ...]
    """The messages and actions directly in it, in the order of their levels."""
    end_message: WrittenMessage | None
    """Its last message, if that is known."""

    def __init__(
        self,
        task_uuid: str,
        task_level: TaskLevel,
        start_message: WrittenMessage | None,
        children: tuple[Written, ...],
        end_message: WrittenMessage | None,
    ) -> None:
        self.task_uuid = task_uuid
        self.task_level = task_level
        self.start_message = start_message
        self.children = children
        self.end_message = end_message

    @classmethod
    def from_messages(
        cls,
        start_message: WrittenMessage | None = None,
        children: Iterable[Written] = (),
        end_message: WrittenMessage | None = None,
    ) -> WrittenAction:
        """Return the action that these make up, in whatever order its children come.

        Raises:
            InvalidStartMessage: *start_message* is not the start of an action.
            InvalidStatus: *end_message* is not the end of an action.
            WrongActionType: *end_message* ends an action of another type.
            WrongTask: They are of different tasks.
            WrongTaskLevel: They are of different actions.
            DuplicateChild: Two different children have the same level.
            ValueError: There is not one message, so that it is nowhere.
        """
        members = [start_message, *children, end_message]
        known = [member for member in members if member is not None]
        if not known:
            raise ValueError("an action is made of at least one message, got none")
        uuid, level = known[0].task_uuid, known[0].task_level.parent()
        if level is None:
            raise WrongTaskLevel(f"a task as a whole is in no action: {known[0]!r}")
        if start_message is not None:
            check_start(start_message)
        if end_message is not None:
            check_end(end_message, start_message)
        by_level: dict[TaskLevel, Written] = {}
        for member in known:
            check_task(member, uuid)
            if member.task_level.parent() != level:
                raise WrongTaskLevel(
                    f"{member.task_level.to_string()} is not directly in the action at"
                    f" {level.to_string()}"
                )
            if member is start_message or member is end_message:
                continue
            if by_level.setdefault(member.task_level, member) != member:
                raise DuplicateChild(f"two different children at {member.task_level.to_string()}")
        in_order = tuple([by_level[level] for level in sorted(by_level)])
        return cls(uuid, level, start_message, in_order, end_message)

    @property
    def action_type(self) -> str | None:
        """Its type; None if neither start nor end is known."""
        known = self.start_message or self.end_message
        return None if known is None else known.get(ACTION_TYPE)

    @property
    def status(self) -> str | None:
        """How it ended, or ``started``; None if neither start nor end is known."""
        known = self.end_message or self.start_message
        return None if known is None else known.get(ACTION_STATUS)

    @property
    def start_time(self) -> float | None:
        """When it started, in seconds since the epoch."""
        return None if self.start_message is None else self.start_message.timestamp

    @property
    def end_time(self) -> float | None:
        """When it ended, in seconds since the epoch."""
        return None if self.end_message is None else self.end_message.timestamp

    @property
    def exception(self) -> str | None:
        """The name of the exception that it failed with."""
        return self._of_failure(EXCEPTION)

    @property
    def reason(self) -> str | None:
        """The text of the exception that it failed with."""
        return self._of_failure(REASON)

    def _of_failure(self, name: str) -> str | None:
        end = self.end_message
        return None if end is None or self.status != FAILED else end.get(name)

    def __eq__(self, other: object) -> bool:
        # One pair after the other: a tree may be deeper than the stack.
        pairs: list[tuple[object, object]] = [(self, other)]
        while pairs:
            one, two = pairs.pop()
            if isinstance(one, WrittenAction) and isinstance(two, WrittenAction):
                if one._head() != two._head():
                    return False
                pairs.extend(zip(one.children, two.children, strict=True))
            elif isinstance(one, WrittenAction) or one != two:
                return False
        return True

    def _head(self) -> tuple[object, ...]:
        """Return all of it but its children, of which it says how many there are."""
        place = (self.task_uuid, self.task_level)
        return (*place, self.start_message, self.end_message, len(self.children))

    def __hash__(self) -> int:
        return hash((self.task_uuid, self.task_level))

    def __repr__(self) -> str:
        return (
            f"<WrittenAction {self.action_type!r} {self.status}"
            f" {self.task_uuid}{self.task_level.to_string()}, {len(self.children)} children>"
        )


Written: TypeAlias = WrittenMessage | WrittenAction

# -- checks


def check_task(member: Written, task_uuid: str) -> None:
    """Refuse what is not of this task.

    Raises:
        WrongTask: It is of another.
    """
    if member.task_uuid != task_uuid:
        raise WrongTask(f"task_uuid must be {task_uuid!r}, got {member.task_uuid!r}")


def check_start(message: WrittenMessage) -> None:
    """Refuse what cannot start an action.

    Raises:
        InvalidStartMessage: Its status or level is not that of a start.
    """
    status, level = message.get(ACTION_STATUS), message.task_level
    if status != STARTED:
        raise InvalidStartMessage(f"{ACTION_STATUS} of a start must be {STARTED!r}, got {status!r}")
    if level.as_list()[-1] != 1:
        raise InvalidStartMessage(f"level of a start must end in 1, got {level.to_string()}")


def check_end(message: WrittenMessage, start: WrittenMessage | None) -> None:
    """Refuse what cannot end an action, one with this *start* if that is known.

    Raises:
        InvalidStatus: Its status is not that of an end.
        WrongActionType: Its type is not that of the start.
    """
    status = message.get(ACTION_STATUS)
    if status not in (SUCCEEDED, FAILED):
        raise InvalidStatus(
            f"{ACTION_STATUS} of an end must be {SUCCEEDED!r} or {FAILED!r}, got {status!r}"
        )
    if start is not None and message.get(ACTION_TYPE) != start.get(ACTION_TYPE):
        raise WrongActionType(
            f"an action of type {start.get(ACTION_TYPE)!r} cannot end with type"
            f" {message.get(ACTION_TYPE)!r}"
        )


def _shorten(value: object) -> str:
    return f"{value!r:.200}"
