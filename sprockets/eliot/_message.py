"""Messages as objects, which are written some time after they are made: an old way to log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from sprockets._support import deprecated
from sprockets.eliot import _fields
from sprockets.eliot._action import Action, log_message
from sprockets.eliot._fields import MESSAGE_TYPE
from sprockets.eliot._logger import ILogger, Serializer


class Message:
    """A message that can be added to before it is written, and written more than once.

    .. deprecated:: 3.0
       Use :func:`log_message`, or :meth:`Action.log`.

    Args:
        contents: Its fields; ``message_type`` among them, if it has a type.
        serializer: Makes the fields writable; None if they are.
    """

    __slots__ = ("_contents", "_serializer")

    def __init__(self, contents: Mapping[str, Any], serializer: Serializer | None = None) -> None:
        self._contents = dict(contents)
        self._serializer = serializer

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._contents!r})"

    @classmethod
    @deprecated("Message.new() is deprecated since 3.0; use log_message() instead")
    def new(cls, /, _serializer: Serializer | None = None, **fields: Any) -> Self:
        """Return a message that has *fields*."""
        return cls(fields, _serializer)

    @classmethod
    @deprecated("Message.log() is deprecated since 3.0; use log_message() instead")
    def log(cls, /, **fields: Any) -> None:
        """Write a message that has *fields*."""
        cls(fields).write()

    def bind(self, /, **fields: Any) -> Self:
        """Return a message that has *fields* as well, instead of those of the same name."""
        return type(self)({**self._contents, **fields}, self._serializer)

    def contents(self) -> _fields.Message:
        """Return the fields, as a dict of the caller's own."""
        return dict(self._contents)

    def write(self, logger: ILogger | None = None, action: Action | None = None) -> None:
        """Log what the message has now, as a message of its own each time.

        Args:
            logger: Where to; by default where the action's messages go.
            action: What it is logged in; by default the current action, if there is one.
        """
        fields = self.contents()
        message_type = fields.pop(MESSAGE_TYPE, "")
        log = log_message if action is None else action.log
        log(
            message_type,
            __eliot_logger__=logger,
            __eliot_serializer__=self._serializer,
            **fields,
        )
