"""The bridge from warnings to the stacks.

The hooks of the redirections are a chain: each shows a warning in its own way, or passes it on to
the hook that it found when it began.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextvars import ContextVar
from threading import RLock
from types import FrameType, TracebackType
from typing import Protocol, Self, TextIO, cast

from sprockets.logbook import _caller
from sprockets.logbook._dispatcher import dispatch_record
from sprockets.logbook._failures import Failure, report
from sprockets.logbook._levels import WARNING
from sprockets.logbook.record import LogRecord

_caller.register(__file__)
_caller.register(warnings.__file__)


class Hook(Protocol):
    """What ``warnings.showwarning`` is."""

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Show a warning."""


_lock = RLock()
"""Held while a redirection begins or ends, and never while a warning is shown."""
_active: list[redirected_warnings] = []
_is_handling: ContextVar[bool] = ContextVar("sprockets.logbook.warning", default=False)


def _renew_lock() -> None:
    global _lock
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class redirected_warnings:
    """Turns warnings into records within a block, or from `start` to `end`.

    What the filters let through becomes a record of level ``WARNING`` whose channel is the
    category, with the warning's own file and line.  Filters changed within are put back.  A warning
    that comes while another is handled is shown as it would be without this.

    Where several overlap, the last one in force makes the records, and what was there before the
    first comes back with the end of the last.

    >>> from sprockets.logbook import TestHandler
    >>> with TestHandler() as handler, redirected_warnings():
    ...     warnings.simplefilter("always")
    ...     warnings.warn("getting old", FutureWarning)
    >>> handler.formatted_records
    ['[WARNING] FutureWarning: getting old']
    """

    _saved: warnings.catch_warnings[None] | None = None
    _previous: Hook | None = None
    """The hook from before."""

    def __init__(self) -> None:
        # Bound once: hooks are compared by identity.
        self._hook: Hook = self._show

    def start(self) -> Self:
        """Begin to redirect.

        Raises:
            RuntimeError: It has begun already.
        """
        with _lock:
            if self in _active:
                raise RuntimeError(f"Cannot enter {self!r} twice")
            self._saved = warnings.catch_warnings()
            self._saved.__enter__()
            self._install()
            _active.append(self)
        return self

    def end(
        self,
        etype: type[BaseException] | None = None,
        evalue: BaseException | None = None,
        tb: TracebackType | None = None,
    ) -> None:
        """Stop redirecting, and put the filters back.

        Raises:
            RuntimeError: It has not begun.
        """
        with _lock:
            if self not in _active:
                raise RuntimeError(f"Cannot exit {self!r} without entering first")
            _active.remove(self)
            saved, self._saved = self._saved, None
            for later in _active:
                if later._previous is self._hook:
                    # One that began later still redirects; it puts back what this one would have.
                    later._previous = self._previous
                    later._saved = saved
                    return
            if saved is not None:
                saved.__exit__(None, None, None)
            # Again: in between there may have come a redirection for good.
            warnings.showwarning = cast(Hook, self._previous)

    __enter__ = start
    __exit__ = end

    def _install(self) -> None:
        self._previous = warnings.showwarning
        warnings.showwarning = self._hook

    def _show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Stand in for ``warnings.showwarning``."""
        if file is not None or _is_handling.get() or self not in _active:
            # Not in force any more: somebody else has put this back after it ended.
            cast(Hook, self._previous)(message, category, filename, lineno, file, line)
            return
        token = _is_handling.set(True)
        try:
            self._dispatch(message, category, filename, lineno)
        finally:
            _is_handling.reset(token)

    def _dispatch(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int
    ) -> None:
        record: LogRecord | None = None
        try:
            text = self.message_to_unicode(message)
            record = self.make_record(text, category, filename, lineno)
            dispatch_record(record)
        except Exception:  # noqa: BLE001 - reported, or raised if that is what the flag asks for
            report(record, cast(Failure, sys.exc_info()))
        finally:
            if record is not None:
                record.late = True
                if not record.keep_open:
                    record.close()

    def message_to_unicode(self, message: Warning | str) -> str:
        """Return the text of *message*."""
        return str(message)

    def make_record(
        self, message: str, exception: type[Warning], filename: str, lineno: int
    ) -> LogRecord:
        """Return the record of a warning.

        Args:
            message: Its text.
            exception: Its category.
            filename: The file that it is about, as the warnings machinery found it.
            lineno: The line.
        """
        channel = exception.__name__
        if exception.__module__ != "builtins":
            channel = f"{exception.__module__}.{channel}"
        frame = _find_frame(filename, lineno)
        record = LogRecord(channel, WARNING, message, frame=frame)
        record.filename = filename
        record.lineno = lineno
        record.func_name = None if frame is None else frame.f_code.co_name
        record.module = None if frame is None else frame.f_globals.get("__name__")
        return record


def _find_frame(filename: str, lineno: int) -> FrameType | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_lineno == lineno and frame.f_code.co_filename == filename:
            return frame
        frame = frame.f_back
    return None


_for_good = redirected_warnings()


def redirect_warnings() -> None:
    """Turn warnings into records, until the interpreter exits; calling it again changes nothing.

    It is a change, though, if a ``catch_warnings`` block that it was called in has ended since.
    """
    with _lock:
        if _for_good in _active:
            if warnings.showwarning is _for_good._previous:
                _for_good._install()
            return
        if _active:
            # Below those that end: what the first of them puts back is this.
            _for_good._previous, _active[0]._previous = _active[0]._previous, _for_good._hook
        else:
            _for_good._install()
        _active.insert(0, _for_good)
