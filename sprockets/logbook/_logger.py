"""Loggers: where a logging call comes in, and where most calls end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType

from sprockets.logbook import _caller, _clock, _context, _fork
from sprockets.logbook._clock import time_ns
from sprockets.logbook._context import current_node
from sprockets.logbook._dispatch import current_failure, follow, guarded, report_failed
from sprockets.logbook._dispatcher import RecordDispatcher
from sprockets.logbook._failures import report
from sprockets.logbook._levels import (
    CRITICAL,
    DEBUG,
    ERROR,
    INFO,
    NOTICE,
    NOTSET,
    TRACE,
    WARNING,
    Level,
    LevelNameProperty,
    level_name_property,
    lookup_level,
)
from sprockets.logbook._percent import format_percent
from sprockets.logbook._routes import Route, find_route, note_unwanted, own_route, prepare
from sprockets.logbook._text import format_message
from sprockets.logbook._typing import Any, Final, Literal, Self, TypeAlias
from sprockets.logbook.errors import MisuseError
from sprockets.logbook.record import LogRecord, make_extra, resolve_exc_info

_caller.register(__file__)

new_record: Final = object.__new__
_UNCAUGHT: Final = "Uncaught exception occurred"

Style: TypeAlias = "Literal['{', '%']"


class PercentRecord(LogRecord):
    """A record whose message is a template of the ``%`` operator."""

    def _format_message(self, msg: Any, /, *args: Any, **kwargs: Any) -> str:
        return format_percent(msg if isinstance(msg, str) else str(msg), args, kwargs)


_STYLES: Final[Mapping[str, tuple[type[LogRecord], Callable[..., str]]]] = {
    "{": (LogRecord, format_message),
    "%": (PercentRecord, format_percent),
}


class LoggerMixin:
    """The logging calls, for anything that can make and handle records.

    The host class provides ``make_record_and_handle``, ``disabled`` and ``level``.  In every call
    the keywords ``exc_info``, ``extra`` and ``frame_correction`` are for the record; all others are
    arguments of the message.
    """

    level_name: LevelNameProperty = level_name_property()

    _gate: int = NOTSET

    def trace(self, msg: Any, /, *args: Any, **kwargs: Any) -> None:
        """Log *msg* at level ``TRACE``."""
        if self._gate <= TRACE:
            self._log(TRACE, msg, args, kwargs)

    def debug(self, msg: Any, /, *args: Any, **kwargs: Any) -> None:
        """Log *msg* at level ``DEBUG``."""
        if self._gate <= DEBUG:
            self._log(DEBUG, msg, args, kwargs)

    def info(self, msg: Any, /, *args: Any, **kwargs: Any) -> None:
        """Log *msg* at level ``INFO``."""
        if self._gate <= INFO:
            self._log(INFO, msg, args, kwargs)

    def notice(self, msg: Any, /, *args: Any, **kwargs: Any) -> None:
        """Log *msg* at level ``NOTICE``."""
        if self._gate <= NOTICE:
            self._log(NOTICE, msg, args, kwargs)

    def warning(self, msg: Any, /, *args: Any, **kwargs: Any) -> None:
        """Log *msg* at level ``WARNING``."""
        if self._gate <= WARNING:
            self._log(WARNING, msg, args, kwargs)

    def warn(self, msg: Any, /, *args: Any, **kwargs: Any) -> None:
        """Do what :meth:`warning` does."""
        self.warning(msg, *args, **kwargs)

    def error(self, msg: Any, /, *args: Any, **kwargs: Any) -> None:
        """Log *msg* at level ``ERROR``."""
        if self._gate <= ERROR:
            self._log(ERROR, msg, args, kwargs)

    def critical(self, msg: Any, /, *args: Any, **kwargs: Any) -> None:
        """Log *msg* at level ``CRITICAL``."""
        if self._gate <= CRITICAL:
            self._log(CRITICAL, msg, args, kwargs)

    def exception(self, msg: Any = _UNCAUGHT, /, *args: Any, **kwargs: Any) -> None:
        """Log *msg* at level ``ERROR``, with the exception being handled.

        Raises:
            AssertionError: No exception is being handled, and no ``exc_info`` was given.
        """
        if self.disabled or self.level > ERROR:  # type: ignore[attr-defined]  # the host's
            return
        if "exc_info" not in kwargs:
            exc_info = sys.exc_info()
            if exc_info[1] is None:
                raise MisuseError("no exception occurred")
            kwargs["exc_info"] = exc_info
        self.error(msg, *args, **kwargs)

    def log(self, level: Level, msg: Any, /, *args: Any, **kwargs: Any) -> None:
        """Log *msg* at *level*, a number or a name.

        Raises:
            LookupError: There is no level of this name.
        """
        number = lookup_level(level)
        if number >= self._gate:
            self._log(number, msg, args, kwargs)

    def catch_exceptions(
        self, msg: Any = _UNCAUGHT, /, *args: Any, **kwargs: Any
    ) -> ExceptionCatcher:
        """Return a context manager that logs an exception of its block, and swallows it.

        What is not an ``Exception`` (``KeyboardInterrupt``, ``SystemExit``) passes unlogged.
        """
        return ExceptionCatcher(self, msg, args, kwargs)

    def enable(self) -> None:
        """Let calls through again."""
        self._switch(disabled=False)

    def disable(self) -> None:
        """Ignore calls until :meth:`enable`."""
        self._switch(disabled=True)

    def _switch(self, *, disabled: bool) -> None:
        try:
            self.disabled = disabled
        except AttributeError:
            raise AttributeError("The disabled property is read-only.") from None

    def _log(self, level: int, msg: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Make and handle a record, unless switched off: the long way, which asks everybody."""
        host: Any = self
        if host.disabled or level < host.level:
            return
        exc_info = kwargs.pop("exc_info", None)
        extra = kwargs.pop("extra", None)
        frame_correction = kwargs.pop("frame_correction", 0)
        if frame_correction:
            host.make_record_and_handle(level, msg, args, kwargs, exc_info, extra, frame_correction)
        else:
            host.make_record_and_handle(level, msg, args, kwargs, exc_info, extra)


class ExceptionCatcher:
    """Logs and swallows the exceptions of a ``with`` block; may be used again."""

    def __init__(
        self, logger: LoggerMixin, msg: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self._logger = logger
        self._msg = msg
        self._args = args
        self._kwargs = kwargs

    def __enter__(self) -> Self:
        """Begin the block."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> bool:
        """Log what the block raised, and tell Python that it is dealt with."""
        if not isinstance(exc_value, Exception):
            return False
        kwargs = dict(self._kwargs)
        kwargs.setdefault("exc_info", (exc_type, exc_value, tb))
        self._logger.exception(self._msg, *self._args, **kwargs)  # noqa: LOG004 - it is given one
        return True


class Logger(RecordDispatcher, LoggerMixin):
    """Makes records of logging calls, and sends them to the handlers of the context.

    There is no registry: two loggers of one name are two loggers, and one that nobody holds is
    gone.

    >>> from sprockets.logbook import TestHandler
    >>> log = Logger("shop")
    >>> with TestHandler() as handler:
    ...     log.warning("only {} left", 2)
    >>> handler.formatted_records
    ['[WARNING] shop: only 2 left']

    Args:
        name: The channel of its records.
        level: Least level it lets through, a number or a name.
        style: How messages take their arguments: ``"{"`` like ``str.format``, ``"%"`` like stdlib
            logging.
    """

    _fields: Mapping[str, Any] | None = None
    _record_class: type[LogRecord] = LogRecord
    _format: Callable[[str, tuple[Any, ...], Mapping[str, Any]], str] = staticmethod(format_message)

    def __init__(
        self, name: str | None = None, level: Level = NOTSET, *, style: Style = "{"
    ) -> None:
        try:
            self._record_class, self._format = _STYLES[style]
        except KeyError:
            raise ValueError(f"unknown style {style!r}; known: '{{', '%'") from None
        super().__init__(name, level)

    def bind(self, /, **fields: Any) -> Self:
        """Return a logger like this one whose records carry *fields* in ``record.extra``.

        The new logger follows this one's level, switch and group until it gets its own.  A field
        of the call itself wins over a bound one, a bound one over the context's.

        >>> from sprockets.logbook import TestHandler
        >>> log = Logger("shop").bind(order=7)
        >>> with TestHandler() as handler:
        ...     log.bind(item="tea").info("sold")
        >>> handler.records[0].extra
        ExtraDict({'order': 7, 'item': 'tea'})
        """
        clone = self.__class__.__new__(self.__class__)
        own = clone.__dict__
        own.update(self.__dict__)
        own.pop("_own_level", None)
        own.pop("_own_disabled", None)
        own["group"] = None
        own["_origin"] = self
        own["_has_followers"] = False
        self.__dict__["_has_followers"] = True
        own["_fields"] = fields if self._fields is None else {**self._fields, **fields}
        clone._register()
        return clone

    def _make_record(
        self,
        level: int,
        msg: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        exc_info: Any,
        extra: Mapping[str, Any] | None,
        frame_correction: int,
    ) -> LogRecord:
        record = self._record_class(
            self.name,
            level,
            msg,
            args,
            kwargs,
            exc_info,
            self._with_fields(extra),
            frame_correction=frame_correction,
        )
        if not self.suppress_dispatcher:
            record._dispatcher = self._reference
        return record

    def _with_fields(self, extra: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        fields = self._fields
        if not extra:
            return fields
        if type(extra) is not dict:
            extra = make_extra(extra)
        return extra if fields is None else {**fields, **extra}

    def _log(self, level: int, msg: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Deal with a call that passed the gate.

        This is `make_record_and_handle` with everything left out that is known beforehand, so it is
        long on purpose: a call of a function costs as much here as all the work between two.
        """
        if not self._is_direct:
            super()._log(level, msg, args, kwargs)
            return
        node = current_node()
        if node.application is not _context.application:
            prepare(node)
        first = self._first
        if first is None:
            try:
                route: Route | None = node.routes[level]
            except KeyError:
                route = find_route(node, level)
            if route is None:
                note_unwanted()
                return
        else:
            route = own_route(first)
            if route is None or level < first.level:
                super()._log(level, msg, args, kwargs)
                return
        exc_info = None
        extra = self._fields
        frame_correction = 0
        if kwargs:
            exc_info = kwargs.pop("exc_info", None)
            if exc_info is not None:
                exc_info = resolve_exc_info(exc_info)
            extra = self._with_fields(kwargs.pop("extra", None))
            frame_correction = kwargs.pop("frame_correction", 0)
        line = route.line
        if line is not None and not node.steps and not self._is_processing:
            # One handler that writes lines, nobody else who looks: no record is needed.
            try:
                message = self._format(msg, args, kwargs) if args or kwargs else msg
                if type(message) is not str:
                    message = str(message)
            except Exception:  # noqa: BLE001, S110 - the formatter writes it raw, with a note
                pass
            else:
                place = None
                if route.wants_caller and node.introspection:
                    try:
                        place = _caller.place_of(sys._getframe(2), frame_correction)
                    except ValueError:
                        place = None  # called by C itself, as by atexit
                if node.fields is not None:
                    extra = node.fields if extra is None else {**node.fields, **extra}
                try:
                    line(self.name, level, message, time_ns() // 1000, exc_info, extra, place)
                except Exception:  # noqa: BLE001 - reported
                    failure = current_failure()
                    record = self._make_record(
                        level, msg, args, kwargs, exc_info, extra, frame_correction
                    )
                    record._fix(_frame_of_caller() if node.introspection else None)
                    try:
                        report_failed(route.only, record, failure)
                    finally:
                        record.close()
                return
        record = new_record(self._record_class)
        record.channel = self.name
        record.level = level
        record.msg = msg
        record.args = args
        record.kwargs = kwargs
        if exc_info is not None:
            record.exc_info = exc_info
        if frame_correction:
            record.frame_correction = frame_correction
        if not self.suppress_dispatcher:
            record._dispatcher = self._reference
        if extra:
            record.extra = make_extra(extra)
        try:
            if not route.is_certain:
                self.call_handlers(record)
                return
            record.heavy_initialized = True
            record.process = _fork.pid
            if _clock.is_default:
                record._moment = time_ns() // 1000
            else:
                record._read_clock()
            if node.introspection:
                try:
                    record.frame = sys._getframe(2)
                except ValueError:
                    record.frame = None  # called by C itself, as by atexit
            if self._is_processing:
                guarded(self.process_record, record)
            elif not node.is_bare:
                if node.fields is not None:
                    record.extra = make_extra({**node.fields, **record.extra})
                for step in node.steps:
                    try:
                        step(record)
                    except Exception:  # noqa: BLE001 - reported
                        report(record, current_failure())
            only = route.only
            if only is None:
                follow(record, route.steps)
                return
            try:
                only.emit(record)
            except Exception:  # noqa: BLE001 - reported
                report_failed(only, record, current_failure())
        finally:
            record.late = True
            if record.keep_open:
                record.settle_place()
            else:
                record.exc_info = record.frame = record.calling_frame = record._spot = None


def _frame_of_caller() -> FrameType | None:
    """Return the frame of who called the method that called `Logger._log`, which calls this."""
    try:
        return sys._getframe(3)
    except ValueError:
        return None
