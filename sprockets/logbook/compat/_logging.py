"""The bridges between stdlib logging and the stacks, one each way."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Any, Final, Self

from sprockets.logbook import _caller, _clock
from sprockets.logbook._dispatch import dispatch_record
from sprockets.logbook._failures import report
from sprockets.logbook._lazy import cached_property
from sprockets.logbook._levels import (
    CRITICAL,
    DEBUG,
    ERROR,
    INFO,
    NOTSET,
    WARNING,
    Level,
)
from sprockets.logbook._percent import format_percent
from sprockets.logbook.handlers import Filter, Handler
from sprockets.logbook.record import LogRecord

_caller.register(__file__)
_STDLIB: Final = logging.addLevelName.__code__.co_filename
_caller.register(_STDLIB)
_caller.register(os.path.join(os.path.dirname(_STDLIB), "handlers.py"))

_FROM_STACKS: Final = "_from_the_stacks"
"""Mark on a stdlib record that came from the stacks, and need not go back."""

_STANDARD: Final = frozenset(
    [
        "name",
        "msg",
        "args",
        "levelname",
        "levelno",
        "pathname",
        "filename",
        "module",
        "exc_info",
        "exc_text",
        "stack_info",
        "lineno",
        "funcName",
        "created",
        "msecs",
        "relativeCreated",
        "thread",
        "threadName",
        "processName",
        "process",
        "taskName",
        "message",
        "asctime",
        "greenlet",
    ]
) | {_FROM_STACKS}
"""Attributes of every stdlib record; what else it has was passed as ``extra``."""


class LoggingCompatRecord(LogRecord):
    """A record that came from stdlib logging; its message is a template of the ``%`` operator."""

    @cached_property
    def message(self) -> str:
        """The formatted message, always text."""
        message = LogRecord.message.func(self)
        return message if isinstance(message, str) else str(message)

    def _format_message(self, msg: Any, /, *args: Any, **kwargs: Any) -> str:
        return format_percent(msg if isinstance(msg, str) else str(msg), args, kwargs)


# -- stdlib logging into the stacks


class RedirectLoggingHandler(logging.Handler):
    """A handler for stdlib logging that sends its records to the bound handlers of the stacks.

    It has no lock of its own, since the handlers behind it have theirs.  What fails there never
    comes out of the stdlib call, unless the flag ``errors`` is ``"raise"``.
    """

    def createLock(self) -> None:
        """Do without a lock: there is nothing to guard, and one lock less to hold at a fork."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> Any:
        """Emit *record* if the filters let it through, without locking."""
        found = self.filter(record)
        if isinstance(found, logging.LogRecord):
            # Since Python 3.12 a filter may put another record in the place of this one.
            record = found
        if found:
            self.emit(record)
        return found

    def emit(self, record: logging.LogRecord) -> None:
        """Convert *record* and dispatch it; one that came from the stacks stays away."""
        if _FROM_STACKS in record.__dict__:
            return
        try:
            converted = self.convert_record(record)
        except Exception:  # noqa: BLE001 - reported
            report(None, sys.exc_info())  # type: ignore[arg-type]  # never empty here
            return
        try:
            dispatch_record(converted)
        finally:
            converted.late = True
            if not converted.keep_open:
                converted.close()

    def convert_level(self, level: int) -> int:
        """Return the level of the stacks for *level* of stdlib logging."""
        for least, converted in _LEVELS_IN:
            if level >= least:
                return converted
        return DEBUG

    def find_extra(self, old_record: logging.LogRecord) -> dict[str, Any]:
        """Return what was passed as ``extra``; and the stack's text, if it was asked for."""
        extra = {
            name: value for name, value in old_record.__dict__.items() if name not in _STANDARD
        }
        if old_record.stack_info is not None:
            extra["stack_info"] = old_record.stack_info
        return extra

    def find_caller(self, old_record: logging.LogRecord) -> FrameType | None:
        """Return the frame of the logging call, if it is one of this thread's."""
        return _caller.find_caller(sys._getframe(1))

    def convert_time(self, timestamp: float) -> datetime:
        """Return *timestamp*, in seconds since the epoch, as records show time."""
        source = _clock.source()
        if source is not None and source().tzinfo is not None:
            return datetime.fromtimestamp(timestamp, UTC)
        return _clock.datetime_of(round(timestamp * 1_000_000))

    def convert_record(self, old_record: logging.LogRecord) -> LogRecord:
        """Return the record of the stacks for *old_record*."""
        args, kwargs = _arguments(old_record.args)
        record = LoggingCompatRecord(
            old_record.name,
            self.convert_level(old_record.levelno),
            old_record.msg,
            args,
            kwargs,
            old_record.exc_info,
            self.find_extra(old_record),
            None if _has_place(old_record) else self.find_caller(old_record),
        )
        if _has_place(old_record):
            record.filename = os.path.abspath(old_record.pathname)
            record.lineno = old_record.lineno
            record.func_name = old_record.funcName
            record.module = old_record.module
        if record.exc_info is None and old_record.exc_text:
            record.formatted_exception = old_record.exc_text
        for name, value in (
            ("process", old_record.process),
            ("process_name", old_record.processName),
            ("thread", old_record.thread),
            ("greenlet", old_record.thread),
            ("thread_name", old_record.threadName),
        ):
            if value is not None:
                setattr(record, name, value)
        record.time = self.convert_time(old_record.created)
        # What is shown may be local time; the instant is known all the same.
        record._moment = round(old_record.created * 1_000_000)
        return record


_LEVELS_IN: Final = (
    (logging.CRITICAL, CRITICAL),
    (logging.ERROR, ERROR),
    (logging.WARNING, WARNING),
    (logging.INFO, INFO),
)


def _arguments(args: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if not args:
        return (), {}
    if isinstance(args, tuple):
        return args, {}
    if isinstance(args, Mapping) and all(isinstance(key, str) for key in args):
        return (), args
    return (args,), {}


def _has_place(record: logging.LogRecord) -> bool:
    return bool(record.lineno) and bool(record.pathname) and record.pathname != "(unknown file)"


def redirect_logging(set_root_logger_level: bool = True) -> None:
    """Send all of stdlib logging to the stacks, for good.

    The root logger's handlers are replaced, not closed; other loggers are left alone.

    Args:
        set_root_logger_level: Let everything through at the root, from ``DEBUG`` up.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(RedirectLoggingHandler())
    if set_root_logger_level:
        root.setLevel(logging.DEBUG)


class redirected_logging:
    """Sends all of stdlib logging to the stacks within a block, or from `start` to `end`.

    It does so in all threads, and may be used again afterwards.

    >>> from sprockets.logbook import TestHandler
    >>> with TestHandler() as handler, redirected_logging():
    ...     logging.getLogger("old").warning("%d left", 2)
    >>> handler.formatted_records
    ['[WARNING] old: 2 left']

    Args:
        set_root_logger_level: Let everything through at the root, from ``DEBUG`` up.
    """

    old_handlers: list[logging.Handler]
    old_level: int

    def __init__(self, set_root_logger_level: bool = True) -> None:
        self.set_root_logger_level = set_root_logger_level
        self.old_handlers = []
        self.old_level = logging.NOTSET
        self._is_active = False

    def start(self) -> Self:
        """Begin to redirect.

        Raises:
            RuntimeError: It has begun already.
        """
        if self._is_active:
            raise RuntimeError(f"cannot start {self!r} twice; end it first")
        root = logging.getLogger()
        self.old_handlers = list(root.handlers)
        self.old_level = root.level
        self._is_active = True
        redirect_logging(self.set_root_logger_level)
        return self

    def end(
        self,
        etype: type[BaseException] | None = None,
        evalue: BaseException | None = None,
        tb: TracebackType | None = None,
    ) -> None:
        """Put the root logger's handlers and level back; without a start, do nothing."""
        if not self._is_active:
            return
        self._is_active = False
        root = logging.getLogger()
        for handler in list(root.handlers):
            root.removeHandler(handler)
        for handler in self.old_handlers:
            root.addHandler(handler)
        root.setLevel(self.old_level)

    __enter__ = start
    __exit__ = end


# -- the stacks into stdlib logging


class LoggingHandler(Handler):
    """Hands records to stdlib logging; one that came from there goes on to the next handler.

    Args:
        logger: Where to hand them to, a logger or its name; the root logger unless given.  Its own
            level does not matter, its filters and handlers do.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
    """

    logger: logging.Logger

    def __init__(
        self,
        logger: logging.Logger | str | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        super().__init__(level, filter, bubble)
        self.logger = logger if isinstance(logger, logging.Logger) else logging.getLogger(logger)

    def handle(self, record: LogRecord) -> bool:
        """Emit *record*, unless it came from stdlib logging."""
        return not isinstance(record, LoggingCompatRecord) and super().handle(record)

    def get_logger(self, record: LogRecord) -> logging.Logger:
        """Return the logger that *record* is handed to."""
        return self.logger

    def convert_level(self, level: int) -> int:
        """Return the level of stdlib logging for *level* of the stacks."""
        for least, converted in _LEVELS_OUT:
            if level >= least:
                return converted
        return logging.DEBUG

    def convert_time(self, dt: datetime) -> float:
        """Return *dt* in seconds since the epoch; a naive one counts as UTC."""
        return _clock.moment_of(dt) / 1_000_000

    def convert_record(self, old_record: LogRecord) -> logging.LogRecord:
        """Return the stdlib record for *old_record*, its message finished."""
        exc_info: Any = old_record.exc_info
        record = logging.LogRecord(
            old_record.channel or "",
            self.convert_level(old_record.level),
            old_record.filename,  # type: ignore[arg-type]  # None where nobody looked
            old_record.lineno or 0,  # formatters write it with %d
            old_record.message,
            (),
            exc_info,
            old_record.func_name,
        )
        for name, value in old_record.extra.items():
            record.__dict__.setdefault(name, value)
        if exc_info is None and old_record.formatted_exception:
            record.exc_text = old_record.formatted_exception
        record.thread = old_record.thread
        record.threadName = old_record.thread_name
        record.process = old_record.process
        if old_record.process_name is not None:
            record.processName = old_record.process_name
        if old_record.time is not None:
            started = record.created - record.relativeCreated / 1000
            record.created = self._timestamp(old_record, old_record.time)
            record.msecs = float(int(record.created % 1 * 1000 + 1e-6))
            record.relativeCreated = (record.created - started) * 1000
        record.__dict__[_FROM_STACKS] = True
        return record

    def _timestamp(self, record: LogRecord, time: datetime) -> float:
        if type(self).convert_time is LoggingHandler.convert_time and record.moment is not None:
            # The record knows its instant, also where it shows local time.
            return record.moment / 1_000_000
        return self.convert_time(time)

    def emit(self, record: LogRecord) -> None:
        """Convert *record* and hand it over."""
        self.get_logger(record).handle(self.convert_record(record))


_LEVELS_OUT: Final = (
    (CRITICAL, logging.CRITICAL),
    (ERROR, logging.ERROR),
    (WARNING, logging.WARNING),
    (INFO, logging.INFO),
)
