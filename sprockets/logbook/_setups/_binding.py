"""Binding: how a set-up comes onto the application's stacks, and another one in its place.

An exchange is one step: there is no moment at which a record finds neither set-up, or both.  A log
call that began before it may still be on its way to the old handlers; :func:`wait_for_calls` looks
at the stacks of the threads until all such calls are over, so that logging itself pays nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from threading import RLock
from types import CodeType, FrameType

from sprockets.logbook import _context, _fork
from sprockets.logbook._context import Entry, StackedObject
from sprockets.logbook._dispatcher import RecordDispatcher
from sprockets.logbook._logger import Logger, LoggerMixin
from sprockets.logbook._typing import Any, Final, TypeAlias

Stacks: TypeAlias = "Mapping[str, list[StackedObject]]"

KINDS: Final = ("handlers", "processors", "flags")
MAX_WAIT: Final = 5.0
"""Seconds that log calls may take to be over, before their handlers are left to themselves."""
_STEP: Final = 0.001


def exchange(old: Stacks | None, new: Stacks | None) -> None:
    """Put *new* onto the application's stacks, in the place of *old* if that is there."""
    with _context._guard.lock:
        application = _context.application
        number = _place_of(old) if old is not None else None
        if number is None:
            number = _context._next_number()
        _context._replace_application(
            *(
                _exchanged(
                    getattr(application, kind),
                    old[kind] if old is not None else [],
                    new[kind] if new is not None else [],
                    number,
                )
                for kind in KINDS
            )
        )


def _place_of(stacks: Stacks) -> int | None:
    """Return the number of the newest binding of *stacks*; ``None`` if there is none."""
    numbers = []
    for kind in KINDS:
        ours = set(map(id, stacks[kind]))
        entry: Entry | None = getattr(_context.application, kind)
        while entry is not None:
            if id(entry[1]) in ours:
                numbers.append(entry[0])
            entry = entry[2]
    return max(numbers, default=None)


def _exchanged(
    entry: Entry | None, old: list[StackedObject], new: list[StackedObject], number: int
) -> Entry | None:
    gone = set(map(id, old))
    others: list[tuple[int, Any]] = []
    while entry is not None:
        if id(entry[1]) not in gone:
            others.append((entry[0], entry[1]))
        entry = entry[2]
    below = [(at, bound) for at, bound in others if at <= number]
    above = [(at, bound) for at, bound in others if at > number]
    result: Entry | None = None
    for at, bound in [*reversed(below), *((number, bound) for bound in new), *reversed(above)]:
        result = (at, bound, result)
    return result


# -- log calls under way


def _codes() -> frozenset[CodeType]:
    """Return what runs for as long as a log call has handlers in its hands."""
    functions: list[Callable[..., Any]] = [
        Logger._log,
        LoggerMixin._log,
        RecordDispatcher.call_handlers,
        RecordDispatcher.make_record_and_handle,
    ]
    bridge: Any = sys.modules.get("sprockets.logbook.compat")
    if bridge is not None:
        functions.append(bridge.RedirectLoggingHandler.emit)
    return frozenset(function.__code__ for function in functions)


def _calls(codes: frozenset[CodeType]) -> dict[int, list[FrameType]]:
    """Return the frames of log calls that other threads are in, by thread."""
    found = {}
    for thread, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost
        calls = []
        while frame is not None:
            if frame.f_code in codes:
                calls.append(frame)
            frame = frame.f_back
        if calls and thread != threading.get_ident():
            found[thread] = calls
    return found


def wait_for_calls(
    timeout: float = MAX_WAIT,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> bool:
    """Wait until all log calls that other threads are in now are over.

    Args:
        timeout: Seconds to wait at most.
        clock: Returns the current time in seconds; never goes backwards.
        sleep: Waits for so many seconds.

    Returns:
        Whether they are.
    """
    codes = _codes()
    waiting = _calls(codes)
    deadline = clock() + timeout
    while waiting:
        if clock() >= deadline:
            return False
        sleep(_STEP)
        waiting = _still_there(waiting, _calls(codes))
    return True


def _still_there(
    before: dict[int, list[FrameType]], now: dict[int, list[FrameType]]
) -> dict[int, list[FrameType]]:
    found = {}
    for thread, frames in before.items():
        # Held, so that no new frame can be taken for an old one.
        same = [frame for frame in frames if any(frame is one for one in now.get(thread, ()))]
        if same:
            found[thread] = same
    return found


class ForkSafeLock:
    """A re-entrant lock: no forked child finds it held by a thread that it does not have."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._is_held_at_fork = False
        _fork.hold_at_fork(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def before_fork(self) -> None:
        """Wait until no other thread is in the middle of a change."""
        self._is_held_at_fork = self._lock.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._is_held_at_fork:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Go on, or start anew: whoever else held the lock does not exist here."""
        if self._is_held_at_fork:
            # Not another one in its place: whoever forks may be in a block of it.
            self._lock.release()
        else:
            self._lock = RLock()


class Redirection:
    """Takes in the records of stdlib logging and warnings, for as long as somebody is bound."""

    def __init__(self) -> None:
        self._active: dict[str, Any] = {}

    def follow(self, *, logging: bool, warnings: bool) -> None:
        """Redirect just these from now on."""
        for name, is_wanted in (("logging", logging), ("warnings", warnings)):
            if is_wanted and name not in self._active:
                from sprockets.logbook import compat

                make = (
                    compat.redirected_logging if name == "logging" else compat.redirected_warnings
                )
                self._active[name] = make().start()
            elif not is_wanted and name in self._active:
                self._active.pop(name).end()
