"""Actions and records told as one story: the bridges between messages and the stacks.

`ActionProcessor` tells records which action they belong to.  `StacksDestination` makes records of
messages, `ActionHandler` makes messages of records; where both are in use, neither takes back what
the other has handed over.

>>> from sprockets.eliot import add_destinations, remove_destination, start_action
>>> from sprockets.logbook import TestHandler
>>> stacks = StacksDestination()
>>> add_destinations(stacks)
>>> with TestHandler() as handler, start_action(action_type="orders:place", item="tea"):
...     pass
>>> handler.formatted_records
['[DEBUG] eliot: orders:place started', '[DEBUG] eliot: orders:place succeeded']
>>> remove_destination(stacks)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from itertools import count
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from sprockets.eliot import _context
from sprockets.eliot._destinations import destinations
from sprockets.eliot._fields import (
    ACTION_STATUS,
    ACTION_TYPE,
    DESTINATION_FAILURE,
    EXCEPTION,
    FAILED,
    MESSAGE_TYPE,
    REASON,
    SERIALIZATION_FAILURE,
    STARTED,
    STDLIB_MESSAGE,
    SUCCEEDED,
    TASK_LEVEL,
    TASK_UUID,
    TIMESTAMP,
    TRACEBACK,
    TRACEBACK_MESSAGE,
    Message,
)
from sprockets.eliot._logger import Logger as StandardLogger
from sprockets.eliot._logger import default_logger
from sprockets.eliot._traceback import write_traceback
from sprockets.logbook import (
    DEBUG,
    ERROR,
    INFO,
    WARNING,
    Handler,
    Logger,
    LogRecord,
    Processor,
    _caller,
    _clock,
    lookup_level,
)
from sprockets.logbook._routes import find_route, fresh_node, note_unwanted
from sprockets.logbook.record import make_extra, resolve_exc_info

if TYPE_CHECKING:
    from sprockets.eliot._action import Action
    from sprockets.logbook.base import Level
    from sprockets.logbook.handlers import Filter

__all__ = [
    "LEVELS",
    "PLAIN_MESSAGE",
    "RECORD_MESSAGE",
    "ActionHandler",
    "ActionProcessor",
    "StacksDestination",
]

RECORD_MESSAGE: Final = "logbook:record"
"""Type of the message that `ActionHandler` makes of a record."""

PLAIN_MESSAGE: Final = "message"
"""In `LEVELS`: messages of any type that is not named there."""

LEVELS: Final[Mapping[str, int]] = MappingProxyType(
    {
        STARTED: DEBUG,
        SUCCEEDED: DEBUG,
        FAILED: ERROR,
        TRACEBACK_MESSAGE: ERROR,
        DESTINATION_FAILURE: WARNING,
        SERIALIZATION_FAILURE: WARNING,
        PLAIN_MESSAGE: INFO,
    }
)
"""Levels of the records that are made of messages: by status of an action, by type of others."""

_FROM_ACTIONS: Final = "_from_actions"
"""Attribute of a record that was made of a message; neither exported nor pickled."""

# Where a record was made is where the message was logged, so our own frames do not count.
for _name in (
    *("_action", "_calls", "_destinations", "_errors", "_logger", "_message", "_traceback"),
    *("_types", "stdlib"),
):
    _caller.register(os.path.join(os.path.dirname(__file__), f"{_name}.py"))
_caller.register(__file__)


# -- records say where they belong


class ActionProcessor(Processor):
    """Gives every record made in an action that action's ``task_uuid`` and ``task_level``.

    They go into ``record.extra``, the level as a list of numbers, in place of those of an outer
    action that may be there.  A record stays as it is that is made in no action, has come from
    another process, or is a message of an action and has ids of its own.

    >>> from sprockets.eliot import start_task
    >>> from sprockets.logbook import TestHandler
    >>> with TestHandler() as handler, ActionProcessor(), start_task(action_type="ship") as action:
    ...     Logger("shop").info("packed")
    >>> handler.records[0].extra["task_uuid"] == action.task_uuid
    True
    """

    def __init__(self) -> None:
        super().__init__()

    def process(self, record: LogRecord) -> None:
        """Add the ids of the current action, if there is one."""
        action = _context.CURRENT.get()
        if action is None or record.information_pulled:
            return
        extra = record.extra
        if TASK_UUID not in extra or (ACTION_TYPE not in extra and MESSAGE_TYPE not in extra):
            extra[TASK_UUID] = action.task_uuid
            extra[TASK_LEVEL] = list(cast("Action", action)._level)


# -- messages become records


class ToldMessage(dict[str, Any]):
    """A message that some record tells already: no destination needs to make another of it."""


_is_at_work: Final[ContextVar[bool]] = ContextVar("sprockets.eliot.logbook", default=False)


class StacksDestination:
    """A destination that hands messages to the handlers of the stacks, as records.

    A record's text says what happened, such as ``orders:place failed: builtins.ValueError: sold
    out``.  All fields are in its ``extra``; its time is the message's.  Where no handler wants the
    level, no record is made.

    What a handler itself logs as messages, while it handles such a record, makes no further records
    (there would be no end); other destinations get it, and :attr:`skipped` counts it.

    Args:
        channel: Of the records.
        levels: In place of those of `LEVELS`.  Keys are the statuses ``started``, ``succeeded`` and
            ``failed``, ``message``, and message types, such as ``{"orders:packed": "NOTICE"}``.

    Raises:
        LookupError: There is no level of a name.
    """

    logger: Logger
    """Says the channel; its level and its switch count."""
    skipped: int
    """How many messages were logged by handlers of records made here."""

    def __init__(self, channel: str = "eliot", levels: Mapping[str, Level] | None = None) -> None:
        self.logger = Logger(channel)
        self.skipped = 0
        self._next_skipped = count(1).__next__
        self._levels: dict[str, int] = dict(LEVELS)
        for name, level in (levels or {}).items():
            self._levels[name] = lookup_level(level)
        # No need for the other: whoever wants that one wants this one, too.
        self._least = max(self._levels[STARTED], self._levels[SUCCEEDED])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.logger.name!r}>"

    def __call__(self, message: Message) -> None:
        """Dispatch the record of *message*, if anybody wants it."""
        level = self._level_of(message)
        if level < self.logger._gate or type(message) is ToldMessage:
            return
        if message.get(MESSAGE_TYPE) == RECORD_MESSAGE or not self._is_wanted(level):
            return
        if _is_at_work.get():
            self.skipped = self._next_skipped()
            return
        token = _is_at_work.set(True)
        try:
            self._dispatch(level, message)
        finally:
            _is_at_work.reset(token)

    def _is_wanted(self, level: int) -> bool:
        if self.logger.handlers or find_route(fresh_node(), level) is not None:
            return True
        note_unwanted()
        return False

    def _level_of(self, message: Message) -> int:
        levels = self._levels
        kind = message.get(ACTION_STATUS)
        if kind is None:
            kind = message.get(MESSAGE_TYPE)
            if kind == STDLIB_MESSAGE and kind not in levels:
                try:
                    return lookup_level(message["log_level"])
                except (LookupError, TypeError):
                    # Somebody's own level, which has a name there only.
                    kind = PLAIN_MESSAGE
        return levels.get(kind if isinstance(kind, str) else "", levels[PLAIN_MESSAGE])

    def _dispatch(self, level: int, message: Message) -> None:
        logger = self.logger
        record = LogRecord(logger.name, level, describe(message))
        extra = make_extra(message)
        moment = extra.pop(TIMESTAMP, None)
        if isinstance(moment, (int, float)):
            record._moment = round(moment * 1_000_000)
            record._is_local = _clock.is_local
        record.extra = extra
        record._dispatcher = logger._reference
        setattr(record, _FROM_ACTIONS, True)
        if message.get(ACTION_STATUS) == FAILED or message.get(MESSAGE_TYPE) == TRACEBACK_MESSAGE:
            # Under the names that every other record has for its exception.
            record.exception_name = _text(message.get(EXCEPTION))
            record.exception_message = _text(message.get(REASON))
            trace = _text(extra.pop(TRACEBACK, None))
            record.formatted_exception = None if trace is None else trace.rstrip("\n")
        try:
            logger.handle(record)
        finally:
            record.late = True
            if record.keep_open:
                record.settle_place()
            else:
                record.close()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def describe(message: Message) -> str:
    """Return what *message* says, in a line for people.

    >>> describe({"action_type": "orders:place", "action_status": "started"})
    'orders:place started'
    """
    status = message.get(ACTION_STATUS)
    if status is None:
        kind = message.get(MESSAGE_TYPE)
        parts = [kind or PLAIN_MESSAGE]
        if kind in (TRACEBACK_MESSAGE, DESTINATION_FAILURE):
            parts += [message.get(EXCEPTION), message.get(REASON)]
        else:
            parts.append(message.get("message"))
    else:
        parts = [f"{message.get(ACTION_TYPE) or 'action'} {status}"]
        if status == FAILED:
            parts += [message.get(EXCEPTION), message.get(REASON)]
    return ": ".join([part for part in parts if isinstance(part, str) and part])


def are_heard() -> bool:
    """Return whether messages of actions that do not fail would get to anybody in this context.

    They would not if all destinations are the stacks, and nobody there wants records of them; nor
    if there is no destination.  (What is kept for the first destination is nobody's yet.)
    """
    for each in destinations._destinations:
        if not isinstance(each, StacksDestination):
            return True
        level = each._least
        if level >= each.logger._gate and each._is_wanted(level):
            return True
    return default_logger().__class__ is not StandardLogger


def has_destination(*, beside_stacks: bool) -> bool:
    """Return whether there is a destination; or, *beside_stacks*, one that is not the stacks."""
    return any(
        not (beside_stacks and isinstance(each, StacksDestination))
        for each in destinations._destinations
    )


# -- records become messages


class ActionHandler(Handler):
    """Logs records as messages ``logbook:record`` in the current action.

    A message has the record's ``level`` (its name), ``channel``, ``message`` and ``extra``, and its
    time; an exception follows as ``eliot:traceback``.  A record made outside of any action is a
    task of its own.

    Records that `StacksDestination` made of messages are not taken: they go on to the next handler.

    Args:
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
    """

    def __init__(
        self, level: Level = 0, filter: Filter | None = None, bubble: bool = False
    ) -> None:
        super().__init__(level, filter, bubble)

    @property
    def wants_caller(self) -> bool:
        """Whether it asks where the call was: it does not."""
        return False

    def handle(self, record: LogRecord) -> bool:
        """Log *record*, unless it was a message before; return whether it was taken."""
        return not hasattr(record, _FROM_ACTIONS) and super().handle(record)

    def emit(self, record: LogRecord) -> None:
        """Log *record* as a message, and its exception as another.

        Raises:
            TypeError: Its message cannot be formatted.
        """
        if hasattr(record, _FROM_ACTIONS):
            return
        message: Message = {
            "level": _level_name(record),
            "channel": record.channel,
            "message": str(record.message),
        }
        if record.extra:
            message["extra"] = dict(record.extra)
        moment = record.moment
        message[TIMESTAMP] = time() if moment is None else moment / 1_000_000
        message[TASK_UUID], message[TASK_LEVEL] = _context.place()
        message[MESSAGE_TYPE] = RECORD_MESSAGE
        exc_info = resolve_exc_info(record.exc_info)
        if exc_info is None and record.formatted_exception is not None:
            # It came from elsewhere, and has brought no more than the text.
            message[EXCEPTION] = record.exception_name
            message[REASON] = record.exception_message
            message[TRACEBACK] = record.formatted_exception
        default_logger().write(message)
        if exc_info is not None:
            write_traceback(exc_info=exc_info)


def _level_name(record: LogRecord) -> str:
    try:
        return record.level_name
    except LookupError:
        # Somebody's own level has a number only.
        return str(record.level)
