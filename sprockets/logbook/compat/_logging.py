"""The bridges between stdlib logging and the stacks, one each way.

A record that came over one bridge is marked, and the other bridge does not take it back.  The mark
is on the record and not in the context, since between the bridges there may be a queue and the
thread that reads it; and it is good in this process only, since a record that another process sends
is news here, however it got out there.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from threading import current_thread, get_ident
from types import FrameType, TracebackType
from typing import Any, Final, Self, cast

from sprockets.logbook import _caller, _clock, _fork
from sprockets.logbook._dispatch import current_failure, report_failed
from sprockets.logbook._dispatcher import dispatch_record
from sprockets.logbook._failures import Failure, report
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
from sprockets.logbook._routes import Route, find_route, fresh_node
from sprockets.logbook.handlers import Filter, Handler
from sprockets.logbook.record import LogRecord, resolve_exc_info

_caller.register(__file__)
_STDLIB: Final = logging.addLevelName.__code__.co_filename
_caller.register(_STDLIB)
_caller.register(os.path.join(os.path.dirname(_STDLIB), "handlers.py"))

_FROM_STACKS: Final = "_from_the_stacks"
"""Attribute of a stdlib record that came from the stacks: where that was."""

_FROM_LOGGING: Final = "_from_logging"
"""Attribute of a record that came from stdlib logging; neither exported nor pickled."""

# An id of a process may be another machine's as well, or an earlier process's.
_HERE: Final = os.urandom(8).hex()

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
        _FROM_STACKS,
    ]
)
"""Attributes of every stdlib record; what else it has was passed as ``extra``."""


def _here() -> str:
    return f"{_HERE}-{_fork.pid}"


def _failure() -> Failure:
    return cast(Failure, sys.exc_info())


class LoggingCompatRecord(LogRecord):
    """A record that came from stdlib logging; its message is a template of the ``%`` operator.

    It is what ``getMessage()`` of the stdlib record gives, whatever the arguments are; but widths
    over 1,000 are refused, and what is over 65,536 characters is cut.
    """

    _values: Any = None
    """The right operand of ``%``, where arguments and keywords do not say it all."""

    @cached_property
    def message(self) -> str:
        """The formatted message, always text.

        Raises:
            TypeError: The message cannot be formatted with its arguments.
        """
        message = LogRecord.message.func(self)
        return message if type(message) is str else str(message)

    def _format_message(self, msg: Any, /, *args: Any, **kwargs: Any) -> str:
        template = msg if type(msg) is str else str(msg)
        if self._values is not None and self._has_arguments(args, kwargs):
            # As keywords, since those are taken as they are.
            return format_percent(template, (), self._values)
        return format_percent(template, args, kwargs)

    def _has_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether these are the arguments, and not what a subclass made of them."""
        return (
            len(args) == len(self.args)
            and len(kwargs) == len(self.kwargs)
            and all(one is other for one, other in zip(args, self.args, strict=True))
            and all(kwargs.get(name, self) is value for name, value in self.kwargs.items())
        )


# -- stdlib logging into the stacks


class RedirectLoggingHandler(logging.Handler):
    """A handler for stdlib logging that sends its records to the bound handlers of the stacks.

    It has no lock of its own, since the handlers behind it have theirs.  What fails there never
    comes out of the stdlib call, unless the flag ``errors`` is ``"raise"``.
    """

    _is_aware: tuple[object, bool] = (None, False)
    """Whether records show aware time, and the format for which that is known."""

    def createLock(self) -> None:
        """Do without a lock: there is nothing to guard, and one lock less to hold at a fork."""
        self.__dict__["lock"] = None

    def handle(self, record: logging.LogRecord) -> Any:
        """Emit *record* if the filters let it through, without locking."""
        found: Any = self.filter(record)
        if found:
            # Since Python 3.12 a filter may put another record in the place of this one.
            self.emit(found if isinstance(found, logging.LogRecord) else record)
        return found

    def emit(self, record: logging.LogRecord) -> None:
        """Convert *record* and dispatch it; one that came from the stacks stays away."""
        origin = getattr(record, _FROM_STACKS, None)
        if origin is not None and origin == _here():
            return
        converted: LogRecord | None = None
        try:
            if self._is_standard():
                node = fresh_node()
                level = self.convert_level(record.levelno or 0)
                route = find_route(node, level)
                if route is None:
                    # Nobody wants it, so it need not be converted.
                    return
                if route.line is not None and node.is_bare and self._write(record, level, route):
                    return
            converted = self.convert_record(record)
            setattr(converted, _FROM_LOGGING, True)
            dispatch_record(converted)
        except Exception:  # noqa: BLE001 - reported, or raised if that is what the flag asks for
            report(converted, _failure())
        finally:
            if converted is not None:
                converted.late = True
                if not converted.keep_open:
                    converted.close()

    def _is_standard(self) -> bool:
        """Whether nobody could tell if a record was converted, from what comes out."""
        cls = type(self)
        return (
            cls.convert_record is RedirectLoggingHandler.convert_record
            and cls.convert_time is RedirectLoggingHandler.convert_time
            and cls.find_caller is RedirectLoggingHandler.find_caller
            and self.__dict__.keys().isdisjoint(_CONVERTING)
        )

    def _write(self, record: logging.LogRecord, level: int, route: Route) -> bool:
        """Write the line of *record* without converting it; return whether that is possible.

        A handler that writes lines, and nobody else who looks, needs no record.  This is what most
        of what libraries log comes down to, and takes a third of the time.
        """
        args: Any = record.args
        if (
            route.line is None
            or route.wants_caller
            or type(record.msg) is not str
            or (record.exc_text and not record.exc_info)
            or record.thread != get_ident()
            or record.threadName != current_thread().name
            or record.process != _fork.pid
            or (args and (type(args) is not tuple or isinstance(args[0], Mapping)))
        ):
            return False
        message = record.msg
        if args:
            try:
                message = format_percent(message, args, {})
            except Exception:  # noqa: BLE001 - the formatter writes it raw, with a note
                return False
        extra = self.find_extra(record)
        exc_info = resolve_exc_info(record.exc_info)
        moment = round(record.created * 1_000_000)
        try:
            route.line(record.name, level, message, moment, exc_info, extra, None)
        except Exception:  # noqa: BLE001 - reported, and with a record now
            failure = current_failure()
            converted = self.convert_record(record)
            try:
                report_failed(route.only, converted, failure)
            finally:
                converted.close()
        return True

    def convert_level(self, level: int) -> int:
        """Return the level of the stacks for *level* of stdlib logging."""
        for least, converted in _LEVELS_IN:
            if level >= least:
                return converted
        return DEBUG

    def find_extra(self, old_record: logging.LogRecord) -> dict[str, Any]:
        """Return what was passed as ``extra``; and the stack's text, if it was asked for."""
        extra: dict[str, Any] = {}
        if not old_record.__dict__.keys() <= _STANDARD:
            extra = {
                name: value for name, value in old_record.__dict__.items() if name not in _STANDARD
            }
        if old_record.stack_info is not None:
            extra["stack_info"] = old_record.stack_info
        return extra

    def find_caller(self, old_record: logging.LogRecord) -> FrameType | None:
        """Return the first frame outwards that belongs neither to this library nor to ``logging``.

        For a record that was made elsewhere this is whoever brought it here.
        """
        frame: FrameType | None = sys._getframe(1)
        start = frame
        # Between here and stdlib logging there may be subclasses, and they are no caller either.
        while frame is not None and frame.f_code.co_filename != _STDLIB:
            frame = frame.f_back
        return _caller.find_caller(start if frame is None else frame)

    def convert_time(self, timestamp: float) -> datetime:
        """Return *timestamp*, in seconds since the epoch, as records show time."""
        if self._shows_aware_time():
            return datetime.fromtimestamp(timestamp, UTC)
        return _clock.datetime_of(round(timestamp * 1_000_000))

    def _shows_aware_time(self) -> bool:
        source = _clock.source()
        if source is None:
            return False
        if self._is_aware[0] is not _clock.shown_format:
            try:
                is_aware = source().tzinfo is not None
            except Exception:  # noqa: BLE001 - asked once more for the next record
                return False
            self._is_aware = (_clock.shown_format, is_aware)
        return self._is_aware[1]

    def convert_record(self, old_record: logging.LogRecord) -> LogRecord:
        """Return the record of the stacks for *old_record*."""
        args: Any = old_record.args
        values = kwargs = None
        if not args:
            args = None
        elif type(args) is not tuple or (len(args) == 1 and isinstance(args[0], Mapping)):
            values = args
            args, kwargs = _arguments(args)
        record = LoggingCompatRecord(
            old_record.name,
            self.convert_level(old_record.levelno or 0),
            old_record.msg,
            args,
            kwargs,
            old_record.exc_info,
            self.find_extra(old_record),
            self.find_caller(old_record),
        )
        if values is not None:
            record._values = values
        if old_record.lineno and old_record.pathname:
            record.filename = _caller._absolute(old_record.pathname)
            record.lineno = old_record.lineno
            record.func_name = old_record.funcName
            record.module = old_record.module
        if old_record.exc_text and record.exc_info is None:
            record.formatted_exception = old_record.exc_text
        if old_record.process is not None:
            record.process = old_record.process
        if old_record.processName is not None:
            record.process_name = old_record.processName
        if old_record.thread is not None:
            record.thread = record.greenlet = old_record.thread
        if old_record.threadName is not None:
            record.thread_name = old_record.threadName
        if (
            type(self).convert_time is not RedirectLoggingHandler.convert_time
            or self._shows_aware_time()
        ):
            record.time = self.convert_time(old_record.created)
        else:
            record._is_local = _clock.is_local
        if type(self).convert_time is RedirectLoggingHandler.convert_time:
            # What is shown may be local time; the instant is known all the same.
            record._moment = round(old_record.created * 1_000_000)
        return record


_CONVERTING: Final = frozenset(("convert_record", "convert_time", "find_caller"))

_LEVELS_IN: Final = (
    (logging.CRITICAL, CRITICAL),
    (logging.ERROR, ERROR),
    (logging.WARNING, WARNING),
    (logging.INFO, INFO),
)


def _arguments(args: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return *args*, which are not quite a tuple of arguments, as a record shows them."""
    if isinstance(args, tuple):
        return args, {}
    # A mapping may be true and list no keys; then there would seem to be no arguments.
    if isinstance(args, Mapping) and (names := list(args)) and _are_texts(names):
        return (), dict(args)
    return (args,), {}


def _are_texts(names: Iterable[object]) -> bool:
    return all(isinstance(name, str) for name in names)


def redirect_logging(set_root_logger_level: bool = True) -> None:
    """Send all of stdlib logging to the stacks, for good.

    The root logger's handlers are replaced, not closed; other loggers are left alone.

    Args:
        set_root_logger_level: Let everything through at the root, from ``DEBUG`` up.
    """
    _replace_handlers([RedirectLoggingHandler()])
    if set_root_logger_level:
        logging.getLogger().setLevel(logging.DEBUG)


def _replace_handlers(handlers: list[logging.Handler]) -> None:
    """Let the root logger have *handlers*; for other threads there is no moment without any."""
    root = logging.getLogger()
    old = [handler for handler in root.handlers if handler not in handlers]
    for handler in handlers:
        root.addHandler(handler)
    for handler in old:
        root.removeHandler(handler)


class redirected_logging:
    """Sends all of stdlib logging to the stacks within a block, or from `start` to `end`.

    It does so in all threads, and may be used again afterwards.  Where several overlap, what was
    there before the first comes back with the end of the last.

    >>> from sprockets.logbook import TestHandler
    >>> with TestHandler() as handler, redirected_logging():
    ...     logging.getLogger("old").warning("%d left", 2)
    >>> handler.formatted_records
    ['[WARNING] old: 2 left']

    Args:
        set_root_logger_level: Let everything through at the root, from ``DEBUG`` up.
    """

    old_handlers: list[logging.Handler]
    """The root logger's handlers from before."""
    old_level: int
    """Its level."""
    set_root_logger_level: bool

    def __init__(self, set_root_logger_level: bool = True) -> None:
        self.set_root_logger_level = set_root_logger_level
        self.old_handlers = []
        self.old_level = logging.NOTSET

    def start(self) -> Self:
        """Begin to redirect.

        Raises:
            RuntimeError: It has begun already.
        """
        if self in _active:
            raise RuntimeError(f"cannot start {self!r} twice; end it first")
        root = logging.getLogger()
        self.old_handlers = list(root.handlers)
        self.old_level = root.level
        _active.append(self)
        redirect_logging(self.set_root_logger_level)
        return self

    def end(
        self,
        etype: type[BaseException] | None = None,
        evalue: BaseException | None = None,
        tb: TracebackType | None = None,
    ) -> None:
        """Put the root logger's handlers and level back; without a start, do nothing."""
        if self not in _active:
            return
        position = _active.index(self)
        _active.remove(self)
        if position < len(_active):
            # One that began later still redirects; it puts back what this one would have.
            _active[position].old_handlers = self.old_handlers
            _active[position].old_level = self.old_level
            return
        _replace_handlers(self.old_handlers)
        logging.getLogger().setLevel(self.old_level)

    __enter__ = start
    __exit__ = end


_active: list[redirected_logging] = []


# -- the stacks into stdlib logging


class LoggingHandler(Handler):
    """Hands records to stdlib logging, but those that are back from there at once.

    A record goes on to the next handler if it came from stdlib logging, or if nobody but
    `RedirectLoggingHandler` would get it there.

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
        """Emit *record*, unless it would only come back."""
        if hasattr(record, _FROM_LOGGING):
            return False
        try:
            if _leads_back(self.get_logger(record)):
                return False
        except Exception:  # noqa: BLE001 - reported
            self.handle_error(record, _failure())
            return True
        return super().handle(record)

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
            # str(): somebody's keys are numbers.
            if not hasattr(record, str(name)):
                setattr(record, str(name), value)
        if exc_info is None and old_record.formatted_exception:
            record.exc_text = old_record.formatted_exception
        for name, value in (
            ("thread", old_record.thread),
            ("threadName", old_record.thread_name),
            ("process", old_record.process),
            ("processName", old_record.process_name),
        ):
            # What a record from elsewhere does not say is better wrong than "%(thread)d" of None.
            if value is not None:
                setattr(record, name, value)
        if old_record.time is not None:
            started = record.created - record.relativeCreated / 1000
            record.created = self._timestamp(old_record, old_record.time)
            # Not the float's own fraction, which may be a bit short of the millisecond.
            record.msecs = float(round(record.created * 1_000_000) % 1_000_000 // 1000)
            record.relativeCreated = (record.created - started) * 1000
        setattr(record, _FROM_STACKS, _here())
        return record

    def _timestamp(self, record: LogRecord, time: datetime) -> float:
        if type(self).convert_time is LoggingHandler.convert_time and record.moment is not None:
            # The record knows its instant, also where it shows local time.
            return record.moment / 1_000_000
        return self.convert_time(time)

    def emit(self, record: LogRecord) -> None:
        """Convert *record* and hand it over, unless it came from there."""
        if hasattr(record, _FROM_LOGGING):
            return
        converted = self.convert_record(record)
        # Here again: a subclass may have converted it all by itself.
        setattr(converted, _FROM_STACKS, _here())
        self.get_logger(record).handle(converted)


_LEVELS_OUT: Final = (
    (CRITICAL, logging.CRITICAL),
    (ERROR, logging.ERROR),
    (WARNING, logging.WARNING),
    (INFO, logging.INFO),
)


def _leads_back(logger: logging.Logger) -> bool:
    """Whether what *logger* gets goes to no other handlers than those that send it back here."""
    found = False
    while True:
        for handler in logger.handlers:
            if not isinstance(handler, RedirectLoggingHandler):
                return False
            found = True
        if not logger.propagate or logger.parent is None:
            return found
        logger = logger.parent
