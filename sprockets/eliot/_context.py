"""The current action, and the place in a tree that a message logged here and now gets."""

from __future__ import annotations

import os
from contextvars import ContextVar
from struct import Struct
from typing import Any, Protocol

from sprockets._support import deprecated

_UUIDS_AT_ONCE = 64


class CurrentAction(Protocol):
    """An action, as far as those need to know it who stand below it."""

    @property
    def task_uuid(self) -> str:
        """The task it belongs to."""

    def next_level(self) -> list[int]:
        """Take the next number inside the action, and return it as a message's level."""

    def log(self, message_type: str, **fields: Any) -> None:
        """Log a message inside the action."""


CURRENT: ContextVar[CurrentAction | None] = ContextVar("sprockets.eliot.action", default=None)
"""The action that what is logged in this context belongs to."""


@deprecated(
    "use_asyncio_context() is deprecated since 3.0;"
    " actions follow asyncio by themselves, delete the call"
)
def use_asyncio_context() -> None:
    """Do nothing: each task of asyncio has a current action of its own anyway.

    .. deprecated:: 3.0
       Delete the call.
    """


_uuids: list[str] = []


def new_task_uuid() -> str:
    """Return a random UUID (RFC 9562, version 4), as text of 36 characters.

    They are made many at a time; a forked child makes its own.
    """
    try:
        return _uuids.pop()
    except IndexError:
        made = _make_uuids()
        uuid = made.pop()
        _uuids.extend(made)
        return uuid


_PARTS = Struct("8s4s4s4s12s" * _UUIDS_AT_ONCE)
_FORM = b" ".join([b"%b-%b-%b-%b-%b"] * _UUIDS_AT_ONCE)
_WITH_VERSION = bytes(0x40 | byte & 0x0F for byte in range(256))
_WITH_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))


def _make_uuids() -> list[str]:
    random = bytearray(os.urandom(16 * _UUIDS_AT_ONCE))
    random[6::16] = random[6::16].translate(_WITH_VERSION)
    random[8::16] = random[8::16].translate(_WITH_VARIANT)
    return (_FORM % _PARTS.unpack(random.hex().encode("ascii"))).decode("ascii").split()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_uuids.clear)


def place() -> tuple[str, list[int]]:
    """Return task and level of a message that is logged here and now.

    It is the next one inside the current action; without one, a task of its own.
    """
    action = CURRENT.get()
    if action is None:
        return new_task_uuid(), [1]
    return action.task_uuid, action.next_level()
