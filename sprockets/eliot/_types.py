"""Typed messages: which fields a message or an action has, and how they are written.

Types cost no check where a program runs: fields are converted, and that is all.  Whether messages
are as declared, tests find out; see `sprockets.eliot.testing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, Final, Self

from sprockets._support import deprecated
from sprockets.eliot import _fields
from sprockets.eliot._action import Action, log_message, start_action, start_task
from sprockets.eliot._fields import (
    ACTION_STATUS,
    ACTION_TYPE,
    EXCEPTION,
    FAILED,
    MESSAGE_TYPE,
    REASON,
    STARTED,
    SUCCEEDED,
    TASK_LEVEL,
    TASK_UUID,
    TIMESTAMP,
    safe_repr,
)
from sprockets.eliot._logger import ILogger
from sprockets.eliot._message import Message
from sprockets.eliot.errors import ValidationError

_RESERVED: Final = (TASK_UUID, TASK_LEVEL, TIMESTAMP)
_CLASSES: Final = (str, int, float, bool, list, dict, bytes, NoneType)


class Field:
    """One field of a typed message.

    Args:
        key: Its name in the message.
        serializer: Takes the value that is logged, returns the one that is written.
        description: What the field means, for people.
        extraValidator: Takes the value that is logged, raises if it is not acceptable; used in
            tests only.
    """

    __slots__ = ("_extra_validator", "_serializer", "description", "key")

    key: str
    description: str

    def __init__(
        self,
        key: str,
        serializer: Callable[[Any], Any],
        description: str = "",
        extraValidator: Callable[[Any], None] | None = None,
    ) -> None:
        self.key = key
        self.description = description
        self._serializer = serializer
        self._extra_validator = extraValidator

    def __repr__(self) -> str:
        return f"<Field {self.key!r}>"

    @classmethod
    def for_value(cls, key: str, value: object, description: str = "") -> Self:
        """Return a field that is always *value*, whatever is logged."""

        def check(given: object) -> None:
            if given != value:
                raise ValidationError(f"field {key!r} is always {value!r}, not {safe_repr(given)}")

        return cls(key, lambda _: value, description, check)

    @classmethod
    def for_types(
        cls,
        key: str,
        classes: Iterable[type | None],
        description: str = "",
        extraValidator: Callable[[Any], None] | None = None,
    ) -> Self:
        """Return a field whose values are instances of *classes*, and written as they are.

        Args:
            key: Its name in the message.
            classes: Any of str, int, float, bool, list, dict, bytes, and None for None.
            description: What the field means, for people.
            extraValidator: Takes a value of the right class, raises if it is not acceptable.

        Raises:
            TypeError: There is another class in *classes*.
        """
        allowed = tuple(NoneType if each is None else each for each in classes)
        for each in allowed:
            if each not in _CLASSES:
                names = ", ".join(known.__name__ for known in _CLASSES[:-1])
                raise TypeError(
                    f"field {key!r} cannot be of type {each!r}; known: {names}, None;"
                    " a Field with a serializer takes anything"
                )

        def check(given: object) -> None:
            if not isinstance(given, allowed):
                expected = " or ".join(
                    "None" if each is NoneType else each.__name__ for each in allowed
                )
                raise ValidationError(
                    f"field {key!r} is of type {expected}, not {safe_repr(given)}"
                )
            if extraValidator is not None:
                extraValidator(given)

        return cls(key, _as_it_is, description, check)

    forValue = for_value
    forTypes = for_types

    def validate(self, input: Any) -> None:
        """Return if *input* may be logged.

        Raises:
            ValidationError: It is not what the field is declared to be.
            Exception: What the serializer or the extra validator raises.
        """
        self._serializer(input)
        if self._extra_validator is not None:
            self._extra_validator(input)

    def serialize(self, input: Any) -> Any:
        """Return what is written when *input* is logged.

        Raises:
            Exception: What the serializer raises.
        """
        return self._serializer(input)


def _as_it_is(value: Any) -> Any:
    return value


def fields(*fields: Field, **keys: type | None) -> list[Field]:
    """Return *fields*, and one of the given type for each of *keys*.

    >>> fields(Field("path", str), size=int, owner=None)
    [<Field 'path'>, <Field 'size'>, <Field 'owner'>]
    """
    return [*fields, *(Field.for_types(key, [kind]) for key, kind in keys.items())]


class FieldsSerializer:
    """Converts the fields of one kind of message, and in tests checks them.

    Args:
        declared: Its fields.
        is_open: Whether there may be others.

    Raises:
        ValueError: A name is reserved, begins with ``_`` or occurs twice.
        TypeError: There is something else among the fields.
    """

    __slots__ = ("_fields", "_is_open")

    def __init__(self, declared: Iterable[Field], is_open: bool = False) -> None:
        self._fields: dict[str, Field] = {}
        self._is_open = is_open
        for field in declared:
            if not isinstance(field, Field):
                raise TypeError(f"a message is made of Field instances, not {field!r}")
            name = field.key
            if name in self._fields:
                raise ValueError(f"there are two fields {name!r}; one is ours if it is a type")
            if name.startswith("_"):
                raise ValueError(f"the name of a field does not begin with '_': {name!r}")
            if name in _RESERVED:
                raise ValueError(f"the field {name!r} is in every message, and not to be declared")
            self._fields[name] = field
        if ACTION_TYPE in self._fields and MESSAGE_TYPE in self._fields:
            raise ValueError("a message has 'action_type' or 'message_type', not both")

    def serialize(self, message: _fields.Message) -> None:
        """Replace the declared fields of *message* by what is to be written.

        Raises:
            KeyError: One of them is missing.
            Exception: What the serializer of one of them raises.
        """
        for name, field in self._fields.items():
            try:
                value = message[name]
            except KeyError:
                raise KeyError(f"field {name!r} is missing") from None
            message[name] = field._serializer(value)

    def validate(self, message: _fields.Message) -> None:
        """Return if *message* is as declared.

        Raises:
            ValidationError: A field is missing, not acceptable, or not declared.
            Exception: What serializer or extra validator of a field raises.
        """
        for name, field in self._fields.items():
            if name not in message:
                raise ValidationError(f"field {name!r} is missing; there are {_names(message)}")
            field.validate(message[name])
        if not self._is_open:
            for name in message:
                if name not in self._fields and name not in _RESERVED:
                    raise ValidationError(
                        f"field {name!r} is not declared; {_names(self._fields)} are"
                    )


def _names(names: Iterable[object]) -> str:
    return ", ".join(map(repr, names)) or "none"


class ActionSerializers:
    """Those of one type of action."""

    __slots__ = ("failure", "start", "success")

    start: FieldsSerializer
    success: FieldsSerializer
    failure: FieldsSerializer

    def __init__(
        self, action_type: str, start_fields: Iterable[Field], success_fields: Iterable[Field]
    ) -> None:
        kind = Field.for_value(ACTION_TYPE, action_type)

        def status(value: str) -> Field:
            return Field.for_value(ACTION_STATUS, value)

        self.start = FieldsSerializer([*start_fields, kind, status(STARTED)])
        self.success = FieldsSerializer([*success_fields, kind, status(SUCCEEDED)])
        # Exceptions have fields of their own: what their extractor finds.
        self.failure = FieldsSerializer(
            [*fields(**{REASON: str, EXCEPTION: str}), kind, status(FAILED)], is_open=True
        )


class MessageType:
    """A type of message, to be defined once and logged by its :meth:`log`.

    >>> PACKED = MessageType("orders:packed", fields(boxes=int), "The goods are in boxes.")
    >>> PACKED.log(boxes=2)

    Args:
        message_type: Its name.
        fields: What each message of it has.
        description: What it means, for people.

    Raises:
        ValueError: A field is reserved, begins with ``_``, or is there twice.
        TypeError: There is something else among the fields.
    """

    message_type: str
    description: str

    def __init__(self, message_type: str, fields: Iterable[Field], description: str = "") -> None:
        self.message_type = message_type
        self.description = description
        self._serializer = FieldsSerializer(
            [*fields, Field.for_value(MESSAGE_TYPE, message_type)],
        )

    def __repr__(self) -> str:
        return f"<MessageType {self.message_type!r}>"

    def log(self, /, **fields: Any) -> None:
        """Log a message of this type, in the current action.

        It is as with `log_message`; a field that is missing, or cannot be converted, costs the
        message, and that is logged.
        """
        log_message(self.message_type, __eliot_serializer__=self._serializer, **fields)

    @deprecated("calling a MessageType is deprecated since 3.0; use its method log() instead")
    def __call__(self, /, **fields: Any) -> Message:
        """Return a message of this type, to be written.

        .. deprecated:: 3.0
           Use :meth:`log`.
        """
        return Message({**fields, MESSAGE_TYPE: self.message_type}, self._serializer)


class ActionType:
    """A type of action, to be defined once and called to start one.

    >>> SHIP = ActionType("orders:ship", fields(order=int), fields(parcel=str))
    >>> with SHIP(order=7) as action:
    ...     action.add_success_fields(parcel="JD0002")

    Args:
        action_type: Its name.
        startFields: What its start message has.
        successFields: What its end message has if it succeeds: all of them are to be supplied by
            :meth:`Action.add_success_fields`.
        description: What it means, for people.

    Raises:
        ValueError: A field is reserved, begins with ``_``, or is there twice.
        TypeError: There is something else among the fields.
    """

    action_type: str
    description: str

    def __init__(
        self,
        action_type: str,
        startFields: Iterable[Field],
        successFields: Iterable[Field],
        description: str = "",
    ) -> None:
        self.action_type = action_type
        self.description = description
        self._serializers = ActionSerializers(action_type, startFields, successFields)

    def __repr__(self) -> str:
        return f"<ActionType {self.action_type!r}>"

    def __call__(self, /, logger: ILogger | None = None, **fields: Any) -> Action:
        """Start an action of this type inside the current one, as `start_action` does."""
        return start_action(logger, self.action_type, self._serializers, **fields)

    def as_task(self, /, logger: ILogger | None = None, **fields: Any) -> Action:
        """Start an action of this type that is a task of its own, as `start_task` does."""
        return start_task(logger, self.action_type, self._serializers, **fields)

    asTask = as_task
