"""Coming to rest before a fork: nothing is half stored, and SQLite has nothing open.

What a forked child inherits of SQLite in the middle of a transaction holds its locks for ever; and
a file that was open in the parent is not locked by the child's own connections to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from time import monotonic
from typing import Any, Final

from sprockets.logbook import _fork
from sprockets.logbook.ticketing._backend import BackendBase

_LONGEST: Final = 2 * _fork.MAX_WAIT
"""Seconds that storing waits for a fork, which may never come back."""
_LONGEST_WITH_FILE: Final = 5.0
"""Seconds that a fork waits for a transaction on a file, lest the child can never write there."""


class Gate:
    """Lets threads through, until somebody wants nobody to be inside for a while."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._is_shut = False

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Be inside; waits while the gate is shut, though not for ever."""
        deadline = monotonic() + _LONGEST
        with self._changed:
            while self._is_shut and (remaining := deadline - monotonic()) > 0:
                self._changed.wait(remaining)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def shut(self, timeout: float) -> bool:
        """Let nobody in, and return whether all were out within *timeout* seconds."""
        deadline = monotonic() + timeout
        with self._changed:
            self._is_shut = True
            while self._inside and (remaining := deadline - monotonic()) > 0:
                self._changed.wait(remaining)
            return not self._inside

    def open(self) -> None:
        """Let threads in again."""
        with self._changed:
            self._is_shut = False
            self._changed.notify_all()


def time_to_rest(db: BackendBase) -> float:
    """Return how many seconds a fork waits at most for what is being stored."""
    return _LONGEST_WITH_FILE if _is_file(db) else _fork.time_to_wait()


def let_go(db: BackendBase) -> None:
    """Have a store in a SQLite file close its connections; it connects anew when it is used."""
    if _is_file(db):
        db.close()


def _is_file(db: BackendBase) -> bool:
    # One that is opened when it is first needed has the other behind it.
    engine: Any = getattr(getattr(db, "_made", None) or db, "engine", None)
    if engine is None or engine.dialect.name != "sqlite":
        return False
    # A database in memory is gone with its connection, and has no locks.
    return type(engine.pool).__name__ not in ("StaticPool", "SingletonThreadPool")
