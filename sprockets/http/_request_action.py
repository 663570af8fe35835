"""A request as an action: ``http:request``, a branch of its caller's task or a task of its own.

Most requests are not looked at as actions by anybody, so messages are made only where somebody gets
them.  Where there is an access log, its record is the message of the action's end for the stacks;
other destinations get one beside it.
"""

from __future__ import annotations

import os
import re
from threading import RLock
from time import time
from typing import Any, Final, Protocol

from tornado import web

from sprockets.eliot._action import Action, make_action
from sprockets.eliot._destinations import destinations
from sprockets.eliot._fields import (
    ACTION_STATUS,
    ACTION_TYPE,
    STARTED,
    SUCCEEDED,
    TASK_LEVEL,
    TASK_UUID,
    TIMESTAMP,
    Message,
)
from sprockets.eliot._logger import Logger, default_logger
from sprockets.eliot.logbook import ToldMessage, has_destination

REQUEST: Final = "http:request"
"""The type of the action that a request is."""

_MAX_TASK_ID: Final = 512
_TASK_ID: Final = re.compile(
    r"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})@((?:/[1-9][0-9]{0,15})+)"
)


def parse_task_id(text: str) -> tuple[str, list[int]] | None:
    """Return task and level of what an ``X-Eliot-Task-Id`` says; None if it must be ignored.

    It comes from outside, so it has to be what actions make: a UUID, an ``@``, and numbers from 1
    up after a slash each; 512 characters at most.

    >>> parse_task_id("8c813245-9773-4a55-ab8c-7baf4fb9250b@/2/2")
    ('8c813245-9773-4a55-ab8c-7baf4fb9250b', [2, 2])
    """
    if len(text) > _MAX_TASK_ID:
        return None
    match = _TASK_ID.fullmatch(text)
    if match is None:
        return None
    return match[1], [int(number) for number in match[2][1:].split("/")]


class Request(Protocol):
    """A request, as far as its action needs to know it."""

    def is_told(self) -> bool:
        """Return whether a record tells that it has ended, see :meth:`RequestAction.tell`."""


class Ending:
    """How a request ended.

    Args:
        status: What was answered; None if the action was ended by hand.
        failure: What went wrong here, if anything did.
        is_told: Whether a record tells that the action has ended.
    """

    __slots__ = ("failure", "is_told", "message", "status")

    def __init__(self, status: int | None, failure: BaseException | None, is_told: bool) -> None:
        self.status = status
        self.failure = failure
        self.is_told = is_told
        self.message: Message | None = None


_TOLD_UNSEEN: Final = Ending(None, None, is_told=True)
"""Of all actions that nobody has looked at before a record told their end."""


class RequestAction(Action):
    """The action that a request is; made by `make_request_action`, and ended by the server.

    Only its place is known from the beginning.  All else is set up by whoever looks first, and for
    most requests nobody does.
    """

    __slots__ = ("_ending", "_is_settled")

    _ending: Ending | None
    _generation: int
    _is_settled: bool
    _level: list[int]
    _task_uuid: str

    def __getattr__(self, name: str) -> Any:
        """Set up what is missing, the first time that anything is."""
        if self._is_settled or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._settle()
        return getattr(self, name)

    def _settle(self) -> None:
        with _settling:
            while not self._is_settled:
                ending = self._ending
                made = make_action(default_logger(), self._task_uuid, self._level, REQUEST)
                made.next_level()  # that of the start
                if ending is _TOLD_UNSEEN:
                    made.next_level()
                logger, numbers, tokens = made._logger, made._numbers, made._tokens
                generation = made._generation
                # Meanwhile somebody else may have done so: a signal handler that logs.  There is
                # none between the statements that follow, nor does another thread run.
                if self._is_settled or self._ending is not ending:  # type: ignore[redundant-expr]  # see above
                    continue
                self._logger, self._numbers, self._tokens = logger, numbers, tokens
                self._action_type, self._serializers, self._success_fields = REQUEST, None, None
                self._generation, self._is_settled = generation, True
                if ending is not _TOLD_UNSEEN:
                    self._open = True

    def announce(self, fields: Message) -> None:
        """Log the start message, which *fields* become."""
        fields[ACTION_STATUS] = STARTED
        # The first number is set aside for it, whether there is anybody to get it or not.
        self._complete(fields, [*self._level, 1])
        self._send(fields)

    def conclude(self, status: int, failure: BaseException | None, request: Request) -> None:
        """End the action; the first call counts.

        Args:
            status: What was answered.
            failure: What went wrong here; an answer of 500 and above is a failure in any case.
            request: What it is the action of.
        """
        if self._ending is not None:
            return
        if failure is None and status >= 500:
            failure = web.HTTPError(status)
        is_told = request.is_told()
        self._ending = Ending(status, failure, is_told)
        if self._logger.__class__ is not Logger or has_destination(beside_stacks=is_told):
            self.finish(failure)

    def finish(self, exception: BaseException | None = None) -> None:
        """Log that the action has ended; only the first call does, and the server makes it.

        Args:
            exception: What made it fail; without one it has succeeded.
        """
        if self._ending is None:
            self._ending = Ending(None, exception, is_told=False)
        message = self._end()
        if message is not None:
            self._send(message)

    def tell(self, fields: Message, status: int) -> None:
        """Add to the *fields* of a record what makes it the end message of the action.

        That is task and level, type and status, what was added to the action, and what went wrong;
        fields that are there stay.  Nothing is added if the end message itself goes to the stacks.

        Args:
            fields: Of the record; they are changed.
            status: What was answered.
        """
        ending = self._ending
        if ending is None:
            # There was nobody else to be told, and nothing went wrong.
            if not self._is_settled:
                # Nor has anybody looked: this is the short way to the same fields.
                self._ending = _TOLD_UNSEEN
                fields[TASK_UUID] = self._task_uuid
                fields[TASK_LEVEL] = [*self._level, 2]
                fields[ACTION_TYPE] = REQUEST
                fields[ACTION_STATUS] = SUCCEEDED
                return
            ending = self._ending = Ending(status, None, is_told=True)
        if ending.is_told:
            for name, value in (ending.message or self._end() or {}).items():
                if name != TIMESTAMP:  # the record has its own
                    fields.setdefault(name, value)

    def _end(self) -> Message | None:
        """Return the end message, made once; None if the action had ended before."""
        ending = self._ending
        assert ending is not None
        if not self._is_settled:
            self._settle()
        try:
            del self._open
        except AttributeError:
            return None
        if ending.failure is None:
            message: Message = dict(self._success_fields or ())
            message[ACTION_STATUS] = SUCCEEDED
        else:
            message = self._describe_failure(ending.failure)
        if ending.status is not None:
            message["status"] = ending.status
        self._complete(message, self.next_level())
        ending.message = message
        return message

    def _complete(self, message: Message, level: list[int]) -> None:
        message[TIMESTAMP] = time()
        message[TASK_UUID] = self._task_uuid
        message[ACTION_TYPE] = self._action_type
        message[TASK_LEVEL] = level

    def _send(self, message: Message) -> None:
        ending = self._ending
        if self._logger.__class__ is not Logger:
            self._logger.write(message)
        elif ending is not None and ending.is_told:
            destinations.send(ToldMessage(message))
        else:
            destinations.send(message.copy())


_settling = RLock()
_new: Final = object.__new__


def _after_fork_in_child() -> None:
    global _settling
    # A thread that the child does not have may have held it.
    _settling = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def make_request_action(task_uuid: str, level: list[int]) -> RequestAction:
    """Return the action of a request; nothing is logged yet.

    Args:
        task_uuid: The task that it is, or is a part of.
        level: Its place there.
    """
    action = _new(RequestAction)
    action._task_uuid = task_uuid
    action._level = level
    action._ending = None
    action._is_settled = False
    return action
