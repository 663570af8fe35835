"""Actions: what was begun, by what, and how it ended.

An action takes a number for each thing that is logged in it, and logs how it starts and how it
ends; an action that is started while another is current becomes a branch of that one.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from contextlib import suppress
from contextvars import Token
from itertools import count
from json.encoder import encode_basestring as quote
from threading import RLock, get_ident
from time import time, time_ns
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from sprockets.eliot._context import CURRENT, CurrentAction, new_task_uuid
from sprockets.eliot._destinations import destinations
from sprockets.eliot._errors import exception_name, extracted_fields, log_exception
from sprockets.eliot._fields import (
    ACTION_STATUS,
    ACTION_TYPE,
    EXCEPTION,
    FAILED,
    MESSAGE_TYPE,
    REASON,
    REMOTE_TASK,
    STARTED,
    SUCCEEDED,
    TASK_LEVEL,
    TASK_UUID,
    TIMESTAMP,
    Message,
    safe_text,
)
from sprockets.eliot._logger import ILogger, Logger, Serializer, Serializers, default_logger
from sprockets.eliot._task_level import TaskLevel
from sprockets.eliot.errors import TooManyCalls
from sprockets.eliot.json import quick_members

P = ParamSpec("P")
R = TypeVar("R")

_MISSING: Final = object()
_TASK_ID: Final = re.compile(r"([^@\s]+)@((?:/[0-9]+)*)/?")
_FIRST_UNRESERVED: Final = 2**31
"""Numbers from here on are drawn by chance, in a child process for which none was set aside."""

_current = CURRENT.get
_enter = CURRENT.set
_leave = CURRENT.reset
_send = destinations.send


class Action:
    """One thing that is done, from its start to its end, in the tree of its task.

    As a context manager it is current inside the block, and ends with it: succeeded, or failed by
    the exception that leaves the block.  Entered again while it is current, it ends with the inner
    block.  :meth:`context` and :meth:`run` make it current without ending it.

    Thread-safe: no two messages get the same level.  In a child process an action of the parent
    goes on as an ``eliot:remote_task`` inside of it.

    Made by `start_action` and `start_task`; the constructor itself logs nothing.

    Args:
        logger: Where its messages go; None for the default logger, as it is now.
        task_uuid: The task it belongs to.
        task_level: Its place there.
        action_type: What kind of thing is done, such as ``orders:ship``.
        serializers: For the fields of its start and its end, if they are typed.
    """

    __slots__ = (
        "__weakref__",
        "_action_head",
        "_action_type",
        "_generation",
        "_level",
        "_logger",
        "_message_head",
        "_numbers",
        "_open",
        "_serializers",
        "_success_fields",
        "_task_uuid",
        "_tokens",
    )

    def __init__(
        self,
        logger: ILogger | None,
        task_uuid: str,
        task_level: TaskLevel,
        action_type: str,
        serializers: Serializers | None = None,
    ) -> None:
        self._set_up(_checked(logger), task_uuid, task_level.as_list(), action_type, serializers)

    def _set_up(
        self,
        logger: ILogger,
        task_uuid: str,
        level: list[int],
        action_type: str,
        serializers: Serializers | None,
    ) -> None:
        self._logger = logger
        self._task_uuid = task_uuid
        self._level = level
        self._action_type = action_type
        self._serializers = serializers
        # Each number goes to one thread alone: next() on it does not let another in.
        self._numbers = count(1)
        self._success_fields: Message | None = None
        self._tokens: list[Token[CurrentAction | None]] = []
        self._open = True
        self._generation = _generation
        self._action_head: str | None = None
        self._message_head: str | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._action_type!r} {self._task_uuid}@{self._level}>"

    @property
    def task_uuid(self) -> str:
        """The task it belongs to: 36 characters, unless somebody else made the id."""
        return self._task_uuid

    @property
    def task_level(self) -> TaskLevel:
        """Its place in the task."""
        return TaskLevel(self._level)

    @property
    def action_type(self) -> str:
        """What kind of thing is done."""
        return self._action_type

    def next_level(self) -> list[int]:
        """Take the next number, and return it as the level of a message or of a child."""
        if self._generation is not _generation:
            self._go_on_in_child()
        return [*self._level, next(self._numbers)]

    # -- messages

    def _start(self, fields: Message) -> None:
        """Log the start message, which *fields* become."""
        number = next(self._numbers)
        put = destinations.put_line
        if put is not None and self._put_line(put, fields, STARTED, number):
            return
        fields[ACTION_STATUS] = STARTED
        fields[TIMESTAMP] = time()
        fields[TASK_UUID] = self._task_uuid
        fields[ACTION_TYPE] = self._action_type
        fields[TASK_LEVEL] = [*self._level, number]
        logger, serializers = self._logger, self._serializers
        if serializers is None and logger.__class__ is Logger:
            _send(fields)
        else:
            logger.write(fields, None if serializers is None else serializers.start)

    # -- messages as lines: a third of the cost, where one plain file is all there is

    def _put_line(
        self, put: Callable[[str], None], fields: Message, status: str, number: int
    ) -> bool:
        """Write the start or end message as the line that the file would have made of it.

        Returns whether that was done; what takes a closer look has to be made a message first.
        """
        if self._serializers is not None or self._logger.__class__ is not Logger:
            return False
        members = quick_members(fields) if fields else ""
        if members is None or type(self._action_type) is not str:
            return False
        head = self._action_head or self._make_action_head()
        now = str(time_ns())
        try:
            put(
                f'{{{members}"action_status":"{status}",'
                f'"timestamp":{now[:-9]}.{now[-9:-3]},{head}{number}]}}\n'
            )
        except Exception as error:  # noqa: BLE001 - reported
            message = {
                **fields,
                ACTION_STATUS: status,
                TIMESTAMP: int(now) / 1e9,
                TASK_UUID: self._task_uuid,
                ACTION_TYPE: self._action_type,
                TASK_LEVEL: [*self._level, number],
            }
            destinations.report(message, [error])
        return True

    def _put_message_line(
        self, put: Callable[[str], None], fields: Message, message_type: object, number: int
    ) -> bool:
        members = quick_members(fields) if fields else ""
        if members is None or type(message_type) is not str:
            return False
        head = self._message_head or self._make_message_head()
        now = str(time_ns())
        try:
            put(
                f'{{{members}"timestamp":{now[:-9]}.{now[-9:-3]},'
                f'{head}{number}],"message_type":{quote(message_type)}}}\n'
            )
        except Exception as error:  # noqa: BLE001 - reported
            message = {
                **fields,
                TIMESTAMP: int(now) / 1e9,
                TASK_UUID: self._task_uuid,
                TASK_LEVEL: [*self._level, number],
                MESSAGE_TYPE: message_type,
            }
            destinations.report(message, [error])
        return True

    def _make_action_head(self) -> str:
        """Return what the lines of its start and its end have in common."""
        level = "".join([f"{number}," for number in self._level]) if self._level else ""
        self._action_head = head = (
            f'"task_uuid":{quote(self._task_uuid)},"action_type":{quote(self._action_type)},'
            f'"task_level":[{level}'
        )
        return head

    def _make_message_head(self) -> str:
        """Return what the lines of the messages inside of it have in common."""
        level = "".join([f"{number}," for number in self._level]) if self._level else ""
        self._message_head = head = f'"task_uuid":{quote(self._task_uuid)},"task_level":[{level}'
        return head

    def log(
        self,
        /,
        message_type: str,
        *,
        __eliot_logger__: ILogger | None = None,
        __eliot_serializer__: Serializer | None = None,
        **fields: Any,
    ) -> None:
        """Log a message inside the action.

        Args:
            message_type: What kind of message, such as ``orders:packed``.
            fields: What it says.
        """
        if self._generation is not _generation:
            self._go_on_in_child()
        number = next(self._numbers)
        logger = self._logger if __eliot_logger__ is None else __eliot_logger__
        is_plain = __eliot_serializer__ is None and logger.__class__ is Logger
        if is_plain:
            put = destinations.put_line
            if put is not None and self._put_message_line(put, fields, message_type, number):
                return
        fields[TIMESTAMP] = time()
        fields[TASK_UUID] = self._task_uuid
        fields[TASK_LEVEL] = [*self._level, number]
        fields[MESSAGE_TYPE] = message_type
        if is_plain:
            # Nobody else has the dict: there is nothing that a copy would protect.
            _send(fields)
        else:
            logger.write(fields, __eliot_serializer__)

    def add_success_fields(self, /, **fields: Any) -> None:
        """Add *fields* to the end message, if the action succeeds; later values win."""
        if self._success_fields is None:
            self._success_fields = fields
        else:
            self._success_fields.update(fields)

    addSuccessFields = add_success_fields

    def finish(self, exception: BaseException | None = None) -> None:
        """Log that the action has ended; only the first call does.

        Args:
            exception: What made it fail; without one it has succeeded.
        """
        try:
            # Of two threads that finish at the same time, one finds it gone.
            del self._open
        except AttributeError:
            return
        if self._generation is not _generation:
            self._go_on_in_child()
        has_succeeded = exception is None or _is_return_value(exception)
        number: int | None = None
        if has_succeeded:
            message = {} if self._success_fields is None else dict(self._success_fields)
            put = destinations.put_line
            if put is not None:
                number = next(self._numbers)
                if self._put_line(put, message, SUCCEEDED, number):
                    return
            message[ACTION_STATUS] = SUCCEEDED
        else:
            message = self._describe_failure(exception)
        message[TIMESTAMP] = time()
        message[TASK_UUID] = self._task_uuid
        message[ACTION_TYPE] = self._action_type
        message[TASK_LEVEL] = [*self._level, number or next(self._numbers)]
        logger, serializers = self._logger, self._serializers
        if serializers is None and logger.__class__ is Logger:
            _send(message)
        elif serializers is None:
            logger.write(message, None)
        else:
            logger.write(message, serializers.success if has_succeeded else serializers.failure)

    def _describe_failure(self, exception: object) -> Message:
        message, error = extracted_fields(exception)
        if error is not None:
            log_exception(self._logger, error, error.__traceback__)
        message[EXCEPTION] = exception_name(exception)
        message[REASON] = safe_text(exception)
        message[ACTION_STATUS] = FAILED
        return message

    # -- context

    def __enter__(self) -> Action:
        """Make it current."""
        self._tokens.append(_enter(self))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Make current again what was, then finish."""
        token = self._tokens.pop()
        try:
            _leave(token)
        except ValueError:
            _leave_elsewhere(self._tokens, token, self)
        self.finish(exc_value)

    def context(self) -> Bound:
        """Return a context manager that makes the action current, and does not finish it.

        Its value is the action.
        """
        return Bound(self)

    def run(self, f: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what *f* returns, called while the action is current; the action does not end."""
        token = _enter(self)
        try:
            return f(*args, **kwargs)
        finally:
            _leave(token)

    # -- branches

    def child(
        self, logger: ILogger | None, action_type: str, serializers: Serializers | None = None
    ) -> Action:
        """Return an action inside of this one; its start is the caller's to log."""
        return make_action(
            _checked(logger), self._task_uuid, self.next_level(), action_type, serializers
        )

    def serialize_task_id(self) -> bytes:
        """Return what :meth:`continue_task` needs elsewhere: ASCII, to be used once."""
        level = "/".join(map(str, self.next_level()))
        return f"{self._task_uuid}@/{level}".encode("ascii", "backslashreplace")

    serializeTaskId = serialize_task_id

    @classmethod
    def continue_task(
        cls,
        /,
        logger: ILogger | None = None,
        task_id: str | bytes = cast("str", _MISSING),
        *,
        action_type: str = REMOTE_TASK,
        _serializers: Serializers | None = None,
        **fields: Any,
    ) -> Action:
        """Start the action that stands here for one that is elsewhere.

        Args:
            logger: Where its messages go; None for the default logger.
            task_id: From :meth:`serialize_task_id`, of another thread, process or machine.
            action_type: What kind of thing is done.
            fields: For the start message.

        Raises:
            RuntimeError: There is no *task_id*.
            ValueError: It is malformed.
        """
        if task_id is _MISSING:
            raise RuntimeError(
                "continue_task needs a task_id, as serialize_task_id() of an action returns it"
            )
        task_uuid, level = parse_task_id(task_id)
        action = make_action(_checked(logger), task_uuid, level, action_type, _serializers)
        action._start(fields)
        return action

    continueTask = continue_task

    # -- fork

    def _go_on_in_child(self) -> None:
        """Become, in this process, a branch of what the action is in the parent process.

        A signal handler that logs meanwhile finds it done or not begun: the values are made first,
        and then stored without a call between.
        """
        with _going_on:
            if self._generation is _generation:
                return
            level = [*self._level, _number_of_branch(self)]
            # The first is for the start message, whoever logs before that is written.
            numbers = count(2)
            start: Message = {
                ACTION_STATUS: STARTED,
                TIMESTAMP: time(),
                TASK_UUID: self._task_uuid,
                ACTION_TYPE: REMOTE_TASK,
                TASK_LEVEL: [*level, 1],
            }
            if self._generation is _generation:
                return
            self._level, self._numbers = level, numbers
            self._action_head = self._message_head = None
            self._action_type, self._serializers = REMOTE_TASK, None
            self._generation = _generation
        self._logger.write(start)


class Bound:
    """Makes an action current for a block, without ending it; may be entered again."""

    __slots__ = ("_action", "_tokens")

    def __init__(self, action: Action) -> None:
        self._action = action
        self._tokens: list[Token[CurrentAction | None]] = []

    def __enter__(self) -> Action:
        """Make it current."""
        self._tokens.append(_enter(self._action))
        return self._action

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Make current again what was."""
        _leave_one(self._tokens, self._action)


def _leave_one(tokens: list[Token[CurrentAction | None]], action: Action) -> None:
    """Make current again what was before *action*; *tokens* are those of its entries."""
    token = tokens.pop()
    try:
        _leave(token)
    except ValueError:
        _leave_elsewhere(tokens, token, action)


def _leave_elsewhere(
    tokens: list[Token[CurrentAction | None]], token: Token[CurrentAction | None], action: Action
) -> None:
    """Leave by the token of this context, after *token* proved to be another's.

    Without any, this is a context in which it was never entered: there is nothing to restore,
    unless it has been inherited.
    """
    tokens.insert(0, token)
    for other in reversed(tokens[1:]):
        try:
            _leave(other)
        except ValueError:
            continue
        except RuntimeError:
            # Another thread, which looks for its own, has just used it.
            continue
        with suppress(ValueError):
            tokens.remove(other)
        return
    with suppress(ValueError):
        tokens.remove(token)
    if _current() is action:
        before = token.old_value
        _enter(None if before is Token.MISSING else before)


def _checked(logger: ILogger | None) -> ILogger:
    if logger is None:
        return default_logger()
    if not hasattr(logger, "write"):
        raise TypeError(
            f"a logger has a method write; {logger!r} has none"
            " (the type of an action is given as action_type=)"
        )
    return logger


def _is_return_value(exception: BaseException) -> bool:
    """Whether this is how Twisted's ``returnValue`` leaves a generator."""
    kind = type(exception)
    return kind.__name__ == "_DefGen_Return" and kind.__module__ == "twisted.internet.defer"


def parse_task_id(task_id: str | bytes) -> tuple[str, list[int]]:
    """Return task and level that *task_id* holds.

    Raises:
        ValueError: It is malformed.
        TypeError: It is neither text nor bytes.
    """
    if isinstance(task_id, bytes):
        text = task_id.decode("ascii", "replace")
    elif isinstance(task_id, str):
        text = task_id
    else:
        raise TypeError(f"a task id is text or bytes, not {task_id!r}")
    match = _TASK_ID.fullmatch(text)
    if match is None or not text.isascii():
        raise ValueError(
            f"not a task id: {task_id!r}; it looks like '<task uuid>@/2/1', as serialize_task_id()"
            " of an action returns it"
        )
    return match[1], [int(number) for number in match[2].split("/") if number]


def make_action(
    logger: ILogger,
    task_uuid: str,
    level: list[int],
    action_type: str,
    serializers: Serializers | None = None,
) -> Action:
    """Return an action that has logged nothing yet; *level* becomes its own."""
    action = Action.__new__(Action)
    action._set_up(logger, task_uuid, level, action_type, serializers)
    return action


def open_action(
    logger: ILogger | None, action_type: str, serializers: Serializers | None, fields: Message
) -> Action:
    """Start an action inside the current one; *fields* become its start message."""
    logger = default_logger() if logger is None else _checked(logger)
    parent = _current()
    action = _new(Action)
    if parent is None:
        action._set_up(logger, new_task_uuid(), [], action_type, serializers)
    else:
        action._set_up(logger, parent.task_uuid, parent.next_level(), action_type, serializers)
    action._start(fields)
    return action


_new = Action.__new__


def start_action(
    logger: ILogger | None = None,
    action_type: str = "",
    _serializers: Serializers | None = None,
    **fields: Any,
) -> Action:
    """Start an action inside the current one, or a new task if there is none.

    Its start is logged at once; it becomes current by ``with``.

    >>> with start_action(action_type="orders:ship", order=7) as action:
    ...     action.log("orders:packed", boxes=2)

    Args:
        logger: Where its messages go; None for the destinations.
        action_type: What kind of thing is done.
        fields: For the start message.

    Raises:
        TypeError: *logger* is none; the type is not the first argument.
    """
    # As open_action does, which is not called for what is done so often.
    logger = default_logger() if logger is None else _checked(logger)
    parent = _current()
    action = _new(Action)
    if parent is None:
        action._set_up(logger, new_task_uuid(), [], action_type, _serializers)
    else:
        action._set_up(logger, parent.task_uuid, parent.next_level(), action_type, _serializers)
    action._start(fields)
    return action


def start_task(
    logger: ILogger | None = None,
    action_type: str = "",
    _serializers: Serializers | None = None,
    **fields: Any,
) -> Action:
    """Start an action that is a task of its own, whatever is current.

    Args:
        logger: Where its messages go; None for the destinations.
        action_type: What kind of thing is done.
        fields: For the start message.

    Raises:
        TypeError: *logger* is none; the type is not the first argument.
    """
    action = make_action(_checked(logger), new_task_uuid(), [], action_type, _serializers)
    action._start(fields)
    return action


startAction = start_action
startTask = start_task


def current_action() -> Action | None:
    """Return the action that what is logged here belongs to, None outside of any."""
    return cast("Action | None", _current())


def log_message(
    message_type: str,
    *,
    __eliot_logger__: ILogger | None = None,
    __eliot_serializer__: Serializer | None = None,
    **fields: Any,
) -> None:
    """Log a message inside the current action; without one, as a task of its own.

    Args:
        message_type: What kind of message, such as ``orders:packed``.
        fields: What it says.
    """
    action = _current()
    if action is not None:
        if __eliot_logger__ is None and __eliot_serializer__ is None:
            action.log(message_type, **fields)
        else:
            action.log(
                message_type,
                __eliot_logger__=__eliot_logger__,
                __eliot_serializer__=__eliot_serializer__,
                **fields,
            )
        return
    fields[TIMESTAMP] = time()
    fields[TASK_UUID] = new_task_uuid()
    fields[TASK_LEVEL] = [1]
    fields[MESSAGE_TYPE] = message_type
    logger = default_logger() if __eliot_logger__ is None else __eliot_logger__
    if __eliot_serializer__ is None and logger.__class__ is Logger:
        _send(fields)
    else:
        logger.write(fields, __eliot_serializer__)


def preserve_context(f: Callable[P, R]) -> Callable[P, R]:
    """Return *f* such that, called in another thread, it runs inside the current action.

    It is to be called once: what it does there is an ``eliot:remote_task``, a branch of the action
    that is current now.  Without a current action *f* itself is returned.

    Raises:
        TooManyCalls: By the function returned, at a second call.
    """
    action = _current()
    if action is None:
        return f
    task_ids = [cast("Action", action).serialize_task_id()]

    def run_in_action(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            # Taken by one thread alone.
            task_id = task_ids.pop()
        except IndexError:
            raise TooManyCalls(f) from None
        with Action.continue_task(task_id=task_id):
            return f(*args, **kwargs)

    return run_in_action


# -- fork

_generation = 0
"""How many forks this process is away from the first one."""
_going_on = RLock()
_set_aside: dict[int, tuple[Action, int]] = {}
"""By thread that forks: its current action, and a number of that for the child."""
_inherited: tuple[Action, int] | None = None
"""What was set aside for this process."""


def _number_of_branch(action: Action) -> int:
    """Return the number that the branch of *action* in this process has in it."""
    global _inherited
    if _inherited is not None and _inherited[0] is action:
        number, _inherited = _inherited[1], None
        return number
    return random.SystemRandom().randrange(_FIRST_UNRESERVED, 2**53)


def _before_fork() -> None:
    """Set a number of the current action aside, for what the child does in it."""
    action = _current()
    if isinstance(action, Action):
        _set_aside[get_ident()] = action, action.next_level()[-1]


def _after_fork_in_parent() -> None:
    _set_aside.pop(get_ident(), None)


def _after_fork_in_child() -> None:
    global _generation, _going_on, _inherited
    _generation += 1
    _inherited = _set_aside.pop(get_ident(), None)
    _set_aside.clear()
    _going_on = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
