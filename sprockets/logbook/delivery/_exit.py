"""The end of the program: engines deliver what they have, for as long as each may take."""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import weakref
from time import monotonic
from typing import Protocol


class Drainable(Protocol):
    """An engine, as its end sees it."""

    drain_timeout: float

    @property
    def is_closed(self) -> bool:
        """Whether there is nothing left to do."""

    def hurry(self) -> None:
        """Try at once what waits to be tried again."""

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything is delivered."""

    def close(self, timeout: float | None = None) -> bool:
        """Deliver what is queued, then let go."""


_live: dict[int, weakref.ref[Drainable]] = {}
_spent: weakref.WeakKeyDictionary[Drainable, float] = weakref.WeakKeyDictionary()
"""Seconds of its time that an engine has had already."""


def drain_at_exit(engine: Drainable) -> None:
    """Have *engine* drained and closed when the program ends; it is held weakly."""
    number = id(engine)
    _live[number] = weakref.ref(engine, lambda _: _live.pop(number, None) and None)


def _engines() -> list[Drainable]:
    found = [reference() for reference in list(_live.values())]
    return [engine for engine in found if engine is not None and not engine.is_closed]


def _drain_before_threads_end() -> None:
    """Deliver while destinations may still use threads and pools of their own."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        # A child of multiprocessing ends right after this, without exit functions.
        close_all()
        return
    begun = monotonic()
    for engine in _engines():
        engine.hurry()
        engine.flush(max(0.0, begun + engine.drain_timeout - monotonic()))
        _spent[engine] = monotonic() - begun


def close_all() -> None:
    """Close all engines, each within what is left of its *drain_timeout*."""
    begun = monotonic()
    engines = _engines()
    for engine in engines:
        engine.hurry()
    for engine in engines:
        left = engine.drain_timeout - _spent.get(engine, 0.0)
        engine.close(max(0.0, begun + left - monotonic()))


atexit.register(close_all)
# Other implementations may lack it, and it is too late when threads have ended already.
with contextlib.suppress(AttributeError, RuntimeError):
    threading._register_atexit(_drain_before_threads_end)  # type: ignore[attr-defined]
