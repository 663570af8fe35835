"""Dispatch: which handlers see a record, in which order, and where its way ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import TracebackType

from sprockets.logbook import _caller
from sprockets.logbook._failures import report
from sprockets.logbook._typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class SupportsHandle(Protocol):
    """What dispatching needs to know of a handler."""

    level: int
    filter: Callable[[LogRecord, Any], object] | None
    bubble: bool
    blackhole: bool

    def should_handle(self, record: LogRecord) -> bool:
        """Return whether the handler is interested in *record*."""

    def handle(self, record: LogRecord) -> bool:
        """Deliver *record*, never raising, and return whether it was consumed."""


class SupportsProcess(Protocol):
    """What dispatching needs to know of a processor."""

    def process(self, record: LogRecord) -> object:
        """Add facts to *record*."""


def deliver(
    record: LogRecord,
    candidates: Iterable[SupportsHandle],
    process: Callable[[LogRecord], object],
) -> None:
    """Send *record* past *candidates* until one consumes it without letting it bubble.

    It is initialised and processed once, when the first handler turns out to be interested.  What
    raises on the way is reported: a filter that raises counts as one that accepts.
    """
    ready = False
    for handler in candidates:
        if not _is_interested(handler, record):
            continue
        if handler.blackhole:
            if handler.bubble:
                continue
            if handler.filter is None:
                return
        if not ready:
            record.heavy_init()
            ready = True
            guarded(process, record)
        if handler.filter is not None and not _accepts(handler, record):
            continue
        if handler.blackhole or (_has_handled(handler, record) and not handler.bubble):
            return


def follow(record: LogRecord, steps: Iterable[tuple[Any, bool]]) -> None:
    """Do what :func:`deliver` does, for a record that is initialised and processed already.

    Args:
        record: The record.
        steps: The candidates, each with whether it has to be asked if it is interested.
    """
    for handler, is_asked in steps:
        if is_asked and not _is_interested(handler, record):
            continue
        if handler.blackhole:
            if handler.bubble:
                continue
            if handler.filter is None:
                return
        if handler.filter is not None and not _accepts(handler, record):
            continue
        if handler.blackhole or (_has_handled(handler, record) and not handler.bubble):
            return


def _is_interested(handler: SupportsHandle, record: LogRecord) -> bool:
    try:
        return handler.should_handle(record)
    except Exception:  # noqa: BLE001 - reported
        report(record, current_failure())
        return True


def _accepts(handler: SupportsHandle, record: LogRecord) -> bool:
    assert handler.filter is not None
    try:
        return bool(handler.filter(record, handler))
    except Exception:  # noqa: BLE001 - reported
        report(record, current_failure())
        return True


def _has_handled(handler: SupportsHandle, record: LogRecord) -> bool:
    try:
        return handler.handle(record)
    except Exception:  # noqa: BLE001 - reported
        report(record, current_failure())
        return True


def report_failed(
    handler: Any,
    record: LogRecord,
    failure: tuple[type[BaseException], BaseException, TracebackType | None],
) -> None:
    """Let *handler* deal with the *failure* of its ``emit``, and deal with it if it cannot."""
    try:
        handler.handle_error(record, failure)
    except Exception:  # noqa: BLE001 - reported; or raised, if that is what the flag asks for
        report(record, current_failure())


def guarded(step: Callable[[LogRecord], object], record: LogRecord) -> None:
    try:
        step(record)
    except Exception:  # noqa: BLE001 - reported
        report(record, current_failure())


def current_failure() -> tuple[type[BaseException], BaseException, TracebackType | None]:
    error = sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1]
    assert error is not None
    return type(error), error, error.__traceback__
