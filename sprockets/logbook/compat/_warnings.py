"""The bridge from warnings to the stacks."""

from __future__ import annotations

import sys
import warnings
from contextvars import ContextVar
from threading import RLock
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

from sprockets.logbook import _caller
from sprockets.logbook._dispatch import dispatch_record
from sprockets.logbook._levels import WARNING
from sprockets.logbook.record import LogRecord

_caller.register(__file__)
_caller.register(warnings.__file__)

_lock = RLock()
_active: list[redirected_warnings] = []
_original: Any = None
_is_handling: ContextVar[bool] = ContextVar("sprockets.logbook.warning", default=False)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Stand in for ``warnings.showwarning``."""
    with _lock:
        redirection = _active[-1] if _active else None
        original = _original
    if redirection is None or file is not None or _is_handling.get():
        original(message, category, filename, lineno, file, line)
        return
    token = _is_handling.set(True)
    try:
        redirection.dispatch(message, category, filename, lineno)
    finally:
        _is_handling.reset(token)


def _install() -> None:
    """Let the hook be ours as long as somebody redirects, and what it was before afterwards."""
    global _original
    if _active and warnings.showwarning is not _show:
        _original = warnings.showwarning
        warnings.showwarning = _show
    elif not _active and _original is not None:
        warnings.showwarning = _original
        _original = None


class redirected_warnings:
    """Turns warnings into records within a block, or from `start` to `end`.

    What the filters let through becomes a record of level ``WARNING`` whose channel is the
    category, with the warning's own file and line.  Filters changed within are put back.  A warning
    that comes while another is handled is shown as it would be without this.

    >>> from sprockets.logbook import TestHandler
    >>> with TestHandler() as handler, redirected_warnings():
    ...     warnings.simplefilter("always")
    ...     warnings.warn("getting old", FutureWarning)
    >>> handler.formatted_records
    ['[WARNING] FutureWarning: getting old']
    """

    def __init__(self) -> None:
        self._saved: warnings.catch_warnings[None] | None = None

    def start(self) -> Self:
        """Begin to redirect.

        Raises:
            RuntimeError: It has begun already.
        """
        with _lock:
            if self._saved is not None:
                raise RuntimeError(f"Cannot enter {self!r} twice")
            self._saved = warnings.catch_warnings()
            self._saved.__enter__()
            _active.append(self)
            _install()
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
            if self._saved is None:
                raise RuntimeError(f"Cannot exit {self!r} without entering first")
            saved, self._saved = self._saved, None
            hook = warnings.showwarning
            saved.__exit__(None, None, None)
            # That put the filters back, and some hook that may have ended by now.
            warnings.showwarning = hook
            _active.remove(self)
            _install()

    __enter__ = start
    __exit__ = end

    def dispatch(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int
    ) -> None:
        """Make a record of a warning, and send it to the bound handlers."""
        record = self.make_record(self.message_to_unicode(message), category, filename, lineno)
        try:
            dispatch_record(record)
        finally:
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
        if exception.__module__ not in ("builtins", "exceptions"):
            channel = f"{exception.__module__}.{channel}"
        record = LogRecord(channel, WARNING, message)
        record.filename = filename
        record.lineno = lineno
        frame = _find_frame(filename, lineno)
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
    """Turn warnings into records, until the interpreter exits; calling it again changes nothing."""
    with _lock:
        if _for_good not in _active:
            _active.insert(0, _for_good)
        _install()
