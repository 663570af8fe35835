"""Loggers: what takes a message from the one who logs to the destinations."""

from __future__ import annotations

from time import time
from typing import Final, Protocol

from sprockets.eliot import _context
from sprockets.eliot._destinations import destinations
from sprockets.eliot._errors import log_exception
from sprockets.eliot._fields import (
    ACTION_STATUS,
    ACTION_TYPE,
    EXCEPTION,
    IDENTITY,
    MESSAGE_TYPE,
    REASON,
    SERIALIZATION_FAILURE,
    TASK_LEVEL,
    TASK_UUID,
    TIMESTAMP,
    Message,
    describe_message,
)

_BUILT_IN: Final = IDENTITY | {EXCEPTION, REASON}


class Serializer(Protocol):
    """Makes the fields of a typed message writable."""

    def serialize(self, message: Message) -> None:
        """Replace what *message* holds by what is to be written.

        Raises:
            Exception: A field is missing, or cannot be converted.
        """

    def validate(self, message: Message) -> None:
        """Return if *message* is as its type says.

        Raises:
            Exception: It is not.
        """


class Serializers(Protocol):
    """Those of an action."""

    @property
    def start(self) -> Serializer:
        """For the start message."""

    @property
    def success(self) -> Serializer:
        """For the end message of an action that succeeded."""

    @property
    def failure(self) -> Serializer:
        """For the end message of an action that failed."""


class ILogger(Protocol):
    """What messages are written to."""

    def write(self, dictionary: Message, serializer: Serializer | None = None) -> None:
        """Log *dictionary*, which stays as it is.

        Args:
            dictionary: The message.
            serializer: Makes its fields writable; None if they are.
        """


class Logger:
    """Writes to the destinations of the process; all instances do the same."""

    __slots__ = ()

    def write(self, dictionary: Message, serializer: Serializer | None = None) -> None:
        """Deliver a copy of *dictionary*, made writable by *serializer*.

        Nothing that fails is raised: a message that will not serialize is replaced by a traceback
        and by an ``eliot:serialization_failure`` that holds its text.
        """
        message = dict(dictionary)
        if serializer is not None:
            try:
                serializer.serialize(message)
            except Exception as error:  # noqa: BLE001 - logged
                self._report(dictionary, error)
                return
        destinations.send(message)

    def _report(self, dictionary: Message, error: Exception) -> None:
        log_exception(self, error, error.__traceback__)
        report: Message = {"message": describe_message(dictionary), TIMESTAMP: time()}
        report[TASK_UUID], report[TASK_LEVEL] = _context.place()
        report[MESSAGE_TYPE] = SERIALIZATION_FAILURE
        destinations.send(report)
        if ACTION_TYPE in dictionary and ACTION_STATUS in dictionary:
            # Without it the tree would stay open: what is left of the message is enough to close.
            destinations.send({name: dictionary[name] for name in dictionary if name in _BUILT_IN})


_default: ILogger = Logger()


def default_logger() -> ILogger:
    """Return where messages go whose caller named no logger."""
    return _default


def swap_logger(logger: ILogger) -> ILogger:
    """Make *logger* the default, and return the one that was.

    Actions that are under way keep the one they were started with.
    """
    global _default
    previous, _default = _default, logger
    return previous
