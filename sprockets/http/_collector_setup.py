"""What a collector writes into: the set-up that the caller named, made, or had made."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import TypeAlias

from sprockets.logbook import _context, setups
from sprockets.logbook.base import StackedObject

#: What records are collected into: a reference to a file of set-ups, a function that returns
#: something to bind, or that itself.
CollectorConfig: TypeAlias = "str | StackedObject | Callable[[], StackedObject]"


def make_setup(config: CollectorConfig) -> StackedObject:
    """Return what *config* stands for, not bound yet.

    Raises:
        SetupError: The file that it names is wrong.
        TypeError: It is, or returned, nothing that can be bound.
    """
    if isinstance(config, str):
        return setups.from_reference(config)
    if isinstance(config, StackedObject):
        return config
    check_config(config)
    made = config()
    if not isinstance(made, StackedObject):
        raise TypeError(
            "the function given as collector must return a handler or other stacked object,"
            f" {config!r} returned {made!r}"
        )
    return made


def check_config(config: object) -> None:
    """See whether *config* may stand for a set-up.

    Raises:
        TypeError: It may not.
    """
    if not (isinstance(config, (str, StackedObject)) or callable(config)):
        raise TypeError(
            "collector must be a reference such as 'logging.toml:production', a handler or other"
            f" stacked object, or a function that returns one, got {config!r}"
        )


class ToldSetup(StackedObject):
    """A set-up that tells the parent of each reload.

    Args:
        setup: What is bound and read again.
        control: To the parent.
    """

    def __init__(self, setup: StackedObject, control: socket.socket) -> None:
        self._setup = setup
        self._control = control

    def push_application(self) -> None:
        """Bind to the application."""
        self._setup.push_application()

    def pop_application(self) -> None:
        """Unbind."""
        self._setup.pop_application()

    def push_context(self) -> None:
        """Bind to the current context."""
        self._setup.push_context()

    def pop_context(self) -> None:
        """Unbind from it."""
        self._setup.pop_context()

    def reload(self) -> None:
        """Read the set-up again, and tell the parent which level is wanted now.

        Raises:
            ValueError: It cannot be.
        """
        try:
            reload = getattr(self._setup, "reload", None)
            if reload is None:
                raise ValueError("it came from no file")
            reload()
        finally:
            with contextlib.suppress(OSError):
                self._control.sendall(f"reloaded {_context.floor}\n".encode())

    def close(self) -> bool:
        """Close the handlers; return whether all was delivered."""
        return close_setup(self._setup)


def close_setup(setup: StackedObject) -> bool:
    """Close all handlers of *setup*; return whether all was delivered."""
    parts = getattr(setup, "objects", None)
    close = getattr(setup, "close", None)
    if callable(close):
        return close() is not False
    # All of them, whatever the first one says.
    return False not in [close_setup(part) for part in reversed(parts or ())]
