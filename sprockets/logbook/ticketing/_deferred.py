"""A store that is opened when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Final

from sprockets.logbook import _fork
from sprockets.logbook.ticketing._backend import BackendBase


class DeferredBackend(BackendBase):
    """Opens another store when something is asked of it: making this one never fails.

    A handler on it starts while its store is away.  What cannot be opened then is tried again with
    each question, and what goes wrong is raised to whoever asked.

    Args:
        make: Class of the store, or what else makes it.
        **options: For it.
    """

    def __init__(self, make: Callable[..., BackendBase], **options: Any) -> None:
        self._make = make
        self._made: BackendBase | None = None
        self._lock = Lock()
        super().__init__(**options)
        _fork.hold_at_fork(self)

    def setup_backend(self) -> None:
        """Do nothing yet."""

    @property
    def opened(self) -> BackendBase:
        """The store behind it.

        Raises:
            Exception: Whatever opening it raises.
        """
        made = self._made
        if made is None:
            with self._lock:
                made = self._made
                if made is None:
                    made = self._made = self._make(**self.options)
        return made

    def close(self) -> None:
        """Close the store if it was opened."""
        if self._made is not None:
            self._made.close()

    # -- fork

    def before_fork(self) -> None:
        """Wait for nobody: opening a store may take long."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Let go of what a thread of the parent held, which was opening the store."""
        self._lock = Lock()


_OWN: Final = frozenset(vars(DeferredBackend))


def _forward(name: str) -> Callable[..., Any]:
    def method(self: DeferredBackend, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.opened, name)(*args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"DeferredBackend.{name}"
    method.__doc__ = getattr(BackendBase, name).__doc__
    return method


for _name, _value in list(vars(BackendBase).items()):
    if callable(_value) and not _name.startswith("_") and _name not in _OWN:
        setattr(DeferredBackend, _name, _forward(_name))
