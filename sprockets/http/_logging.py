"""The logging set-up of a service: what ``log_config`` means, in the parent and in each worker.

A `LogSetup` is made from the arguments of ``run``.  It is bound in the parent before the fork, and
what was given as a function comes in its place in the worker; where there is one process, the two
follow one another.
"""

from __future__ import annotations

import logging
import logging.config
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import count
from typing import Any, Final, Literal, TypeAlias

from sprockets.eliot._destinations import add_destinations, remove_destination
from sprockets.eliot._fields import ACTION_STATUS, ACTION_TYPE, STARTED, Message
from sprockets.eliot.logbook import ActionProcessor, StacksDestination
from sprockets.http._request_action import REQUEST
from sprockets.http._unset import UNSET as UNSET
from sprockets.http._unset import LogConfig as LogConfig
from sprockets.http._unset import Unset as Unset
from sprockets.logbook import (
    DEBUG,
    INFO,
    Handler,
    JSONFormatter,
    Logger,
    LogRecord,
    NestedSetup,
    NullHandler,
    StreamHandler,
    StringFormatter,
    _context,
)
from sprockets.logbook._collecting._files import reopen_files as reopen_handlers
from sprockets.logbook._console import ConsoleFormatter, level_name_of, should_color
from sprockets.logbook._setups._ready import LINE_FIELDS
from sprockets.logbook._text import escape_line, safe_repr
from sprockets.logbook.base import ContextStackManager, Level, StackedObject
from sprockets.logbook.compat import (
    LoggingHandler,
    RedirectLoggingHandler,
    redirected_logging,
    redirected_warnings,
)

_log: Final = Logger("sprockets.http")

LogFormat: TypeAlias = Literal["json", "console", "structured"]

LOG_FORMATS: Final[tuple[LogFormat, ...]] = ("json", "console", "structured")
"""The built-in set-ups."""

# -- stdlib logging, as a dict

_DEBUG_LAYOUT: Final = "[%(asctime)s] %(levelname)-8s %(name)s: %(message)s"
_STRUCTURED_LAYOUT: Final = (
    "%(levelname)1.1s[sprockets@34085{service}"
    ' correlation_id="%(correlation-id)s" logger="%(name)s" process="%(process)s"'
    ' line="%(lineno)d" function="%(funcName)s" module="%(module)s"] %(message)s'
)


class CorrelationFilter(logging.Filter):
    """Gives each record of stdlib logging a ``correlation-id``, empty if it has none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let *record* pass, with a ``correlation-id``."""
        if "correlation-id" not in record.__dict__:
            record.__dict__["correlation-id"] = ""
        return True


def builtin_config(debug: bool, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the layouts of sprockets.http 2.5 for ``logging.config.dictConfig``.

    Args:
        debug: For a person who reads along, rather than for a collector of structured lines.
        environ: Where ``SERVICE`` and ``ENVIRONMENT`` are looked up, which structured lines name
            if there are both.
    """
    level = "DEBUG" if debug else "INFO"
    layout = _DEBUG_LAYOUT
    if not debug:
        layout = _STRUCTURED_LAYOUT.replace("{service}", _service(environ).replace("%", "%%"))
    handler: dict[str, Any] = {
        "class": "logging.StreamHandler",
        "stream": "ext://sys.stdout",
        "level": level,
        "formatter": "line",
    }
    config: dict[str, Any] = {
        "version": 1,
        "disable_existing_loggers": False,
        "incremental": False,
        "formatters": {"line": {"format": layout}},
        "handlers": {"console": handler},
        "root": {"level": level, "handlers": ["console"]},
    }
    if not debug:
        handler["filters"] = ["correlation"]
        config["filters"] = {"correlation": {"()": CorrelationFilter}}
    return config


def _service(environ: Mapping[str, str]) -> str:
    service, environment = environ.get("SERVICE"), environ.get("ENVIRONMENT")
    if not service or not environment:
        return ""
    return f' service="{service}" environment="{environment}"'


# -- the built-in set-ups

_MAX_VALUE: Final = 200


def make_setup(
    log_format: str,
    *,
    stream: Any = None,
    level: Level = INFO,
    environ: Mapping[str, str] | None = None,
) -> StackedObject:
    """Return a built-in set-up, not bound yet.

    It writes records from *level* up to *stream*, and ends the way of those below, so that nobody
    else writes them.

    Args:
        log_format: ``"json"`` for one JSON object a line, ``"console"`` for people who read along,
            ``"structured"`` for the line of sprockets.http 2.5.
        stream: Standard output unless given.
        level: Least level that is written, a number or a name.
        environ: Where ``NO_COLOR``, ``FORCE_COLOR``, ``SERVICE`` and ``ENVIRONMENT`` are looked up;
            the environment of the process unless given.

    Raises:
        ValueError: There is no such format.
    """
    known = parse_log_format(log_format)
    environ = os.environ if environ is None else environ
    if stream is None:
        stream = sys.stdout
    # Below the other: the default handler would write what that one is not interested in.
    rest = NullHandler()
    if stream is None:
        # As in a windowed application: there is nothing to write to.
        return NestedSetup([rest])
    handler = StreamHandler(stream, level=level)
    if known == "json":
        handler.formatter = JSONFormatter(LINE_FIELDS)
    elif known == "console":
        handler.formatter = ConsoleFormatter(should_color(stream, environ))
    else:
        handler.formatter = StructuredFormatter(environ)
    return NestedSetup([rest, handler])


def parse_log_format(text: str, name: str = "log_format") -> LogFormat:
    """Return the format that *text* names, in upper or lower case.

    Args:
        text: As it was given.
        name: Where it was given.

    Raises:
        ValueError: There is no such format.
    """
    word = str(text).strip().lower()
    for known in LOG_FORMATS:
        if word == known:
            return known
    raise ValueError(f"unknown {name} {text!r}; known: {', '.join(LOG_FORMATS)}")


class StructuredFormatter:
    """Formats records as the structured lines of sprockets.http 2.5.

    The correlation id is the record's ``correlation-id``, or else the id of its request.

    Args:
        environ: Where ``SERVICE`` and ``ENVIRONMENT`` are looked up.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._service = escape_line(_service(environ))
        self._text = StringFormatter("{record.message}")

    def __call__(self, record: LogRecord, handler: Handler) -> str:
        """Return the line of *record*, and its traceback if it has one."""
        extra = record.extra
        correlation_id = extra["correlation-id"] or extra["correlation_id"] or extra["request_id"]
        module = os.path.splitext(os.path.basename(record.filename or ""))[0]
        line = (
            f"{level_name_of(record)[:1]}[sprockets@34085{self._service}"
            f' correlation_id="{_parameter(correlation_id)}"'
            f' logger="{_parameter(record.channel or "")}" process="{record.process or ""}"'
            f' line="{record.lineno or 0}" function="{_parameter(record.func_name or "")}"'
            f' module="{_parameter(module)}"] {self._text.format_record(record, handler)}'
        )
        exception = self._text.format_exception(record)
        return f"{line}\n{exception}" if exception else line


def _parameter(value: object) -> str:
    # "the characters '"' (ABNF %d34), '\' (ABNF %d92), and ']' (ABNF %d93) MUST be escaped"
    # -- RFC 5424, section 6.3.3
    text = value if isinstance(value, str) else safe_repr(value, _MAX_VALUE)
    for mark in '\\"]':
        text = text.replace(mark, f"\\{mark}")
    return escape_line(text)


# -- the set-up of a service


class _ToStdlibLogging(LoggingHandler):
    """Hands each record to the stdlib logger of its channel, whose level and handlers count."""

    def get_logger(self, record: LogRecord) -> logging.Logger:
        """Return the logger that *record* is handed to."""
        return logging.getLogger(record.channel)

    def emit(self, record: LogRecord) -> None:
        """Hand *record* over, if its logger is interested."""
        if self.get_logger(record).isEnabledFor(self.convert_level(record.level)):
            super().emit(record)


def _of_stdlib(name: str) -> int:
    """Return the level of our own from which on the stdlib logger *name* takes records."""
    return RedirectLoggingHandler().convert_level(logging.getLogger(name).getEffectiveLevel())


class _RootLevel:
    """Keeps the root logger of stdlib logging at the least level that any bound handler wants.

    What nobody wants then ends at its logger, for the price of one comparison.
    """

    def __init__(self) -> None:
        self._is_active = False
        self._is_watching = False

    def start(self) -> None:
        """Begin to follow the stacks."""
        self._is_active = True
        if not self._is_watching:
            self._is_watching = True
            _context.watch_floor(self._follow)
        self._follow()

    def stop(self) -> None:
        """Leave the root logger alone from now on."""
        self._is_active = False

    def _follow(self) -> None:
        if not self._is_active:
            return
        level = _to_stdlib_level(_context.floor)
        root = logging.getLogger()
        if root.level != level:
            root.setLevel(level)


_root_level = _RootLevel()


def _to_stdlib_level(floor: int) -> int:
    """Return the least level of stdlib logging that is converted to *floor* or more."""
    convert = RedirectLoggingHandler().convert_level
    for level in _STDLIB_LEVELS:
        if convert(level) >= floor:
            return level
    return logging.CRITICAL + 1


_STDLIB_LEVELS: Final = (
    logging.NOTSET + 1,
    logging.DEBUG,
    logging.INFO,
    logging.INFO + 5,
    logging.WARNING,
    logging.ERROR,
    logging.CRITICAL,
)


class _Actions(StacksDestination):
    """Makes records of the messages of actions, and has all records say what action they are of.

    The latter costs every record something, so it begins with the first action that is no request;
    requests put their own ids on their records, and for less.
    """

    def __init__(self) -> None:
        super().__init__()
        self._processor = ActionProcessor()
        self._turn = count().__next__
        self._is_processing = False

    def __call__(self, message: Message) -> None:
        if (
            not self._is_processing
            and message.get(ACTION_STATUS) == STARTED
            and message.get(ACTION_TYPE) != REQUEST
        ):
            self._begin_processing()
        super().__call__(message)

    def _begin_processing(self) -> None:
        self._is_processing = True
        if self._turn() == 0:
            self._processor.push_application()

    def bind(self) -> None:
        add_destinations(self)

    def unbind(self) -> None:
        remove_destination(self)
        if self._turn() > 0:
            _unbind(self._processor)


def _find_setup(reference: str) -> Callable[[], StackedObject]:
    """Return what makes the set-up that *reference* names, having looked for problems.

    Raises:
        ValueError: There are some; the text has all of them.
    """
    # With what it brings, few need it.
    from sprockets.logbook import setups

    path, name = setups.parse_reference(reference)
    problems = setups.check(path, name)
    if problems:
        raise setups.SetupError(problems)
    return lambda: setups.from_reference(reference)


class LogSetup:
    """What ``log_config`` asks for, bound and unbound.

    * A stacked object is bound to the application, and stdlib logging and warnings are redirected
      into it; that holds for workers, too, which are forked later.
    * A function that returns one is called in each worker, so that what it opens is the worker's
      own.  Until then, and in the parent, there is the built-in set-up.
    * A dict goes to ``logging.config.dictConfig``, and what is logged through the stacks goes to
      the stdlib loggers of the same names.
    * A text names a file with set-ups, and one of these, as in ``"logging.toml:production"``; each
      worker binds one of its own.
    * ``None`` leaves logging alone; and without an argument there is the built-in set-up.

    In all cases but ``None`` the messages of actions become records.

    Args:
        log_config: The argument of ``run``.
        debug: Makes ``"console"`` the format, unless another is chosen, and debug records be
            written.
        log_format: Which built-in set-up; ``None`` means that *environ* decides.
        environ: Where ``LOG_FORMAT`` is looked up; the environment of the process unless given.
        stream: Where a built-in set-up writes to; standard output unless given.
        log_actions: False leaves the messages of actions alone.
        in_parent: Bound in the place of the built-in set-up until a function is called in the
            worker.
        tickets: Makes a handler that is bound in each worker, beside all others.

    Raises:
        TypeError: *log_config* is nothing that logging could be set up with.
        ValueError: There is no such format, or the file of *log_config* has problems.
    """

    def __init__(
        self,
        log_config: LogConfig = UNSET,
        *,
        debug: bool = False,
        log_format: str | None = None,
        environ: Mapping[str, str] | None = None,
        stream: Any = None,
        log_actions: bool = True,
        in_parent: StackedObject | None = None,
        tickets: Callable[[], Handler] | None = None,
    ) -> None:
        self._in_parent = in_parent
        self._make_tickets = tickets
        self._tickets: Handler | None = None
        self._actions = _Actions() if log_actions and log_config is not None else None
        self._environ: Mapping[str, str] = os.environ if environ is None else environ
        self._stream = stream
        self._debug = debug
        self._config: dict[str, Any] | None = None
        self._given: StackedObject | None = None
        self._make: Callable[[], StackedObject] | None = None
        self._is_builtin = log_config is UNSET
        if isinstance(log_config, StackedObject):
            self._given = log_config
        elif isinstance(log_config, dict):
            self._config = log_config
        elif isinstance(log_config, str) and ".toml" in log_config:
            self._make = _find_setup(log_config)
            self._is_builtin = True
        elif callable(log_config):
            self._make = log_config
            self._is_builtin = True
        elif log_config is not None and log_config is not UNSET:
            raise TypeError(
                f"log_config must be a handler or other stacked object, a function that returns"
                f" one, the name of a file with set-ups, a dict or None, got {log_config!r}"
            )
        self._format = self._choose_format(log_format)
        self._bound: StackedObject | None = None
        self._is_ours = False
        self._undo: ExitStack | None = None

    def _choose_format(self, log_format: str | None) -> LogFormat:
        if log_format is not None:
            return parse_log_format(log_format)
        text = self._environ.get("LOG_FORMAT", "")
        if text.strip() and self._is_builtin:
            return parse_log_format(text, "LOG_FORMAT")
        return "console" if self._debug else "json"

    def bind_in_parent(self) -> None:
        """Set logging up, before there are workers; a second call does nothing."""
        if self._undo is not None:
            return
        with ExitStack() as undo:
            if self._config is not None:
                logging.config.dictConfig(self._config)
                self._bind(_ToStdlibLogging(), undo)
            elif self._is_builtin or self._given is not None:
                self._bind(self._given or self._make_builtin(), undo)
                undo.enter_context(redirected_warnings())
                undo.enter_context(redirected_logging())
                undo.callback(_root_level.stop)
                _root_level.start()
            if self._actions is not None:
                self._bind_actions(self._actions, undo)
            self._undo = undo.pop_all()

    def _bind_actions(self, actions: _Actions, undo: ExitStack) -> None:
        # Before the fork: what was logged so far then gets out once, and not from every worker.
        if self._config is not None:
            # All records go to stdlib logging, whose own gate is behind the stacks'.
            actions.logger.level = _of_stdlib(actions.logger.name or "")
        actions.bind()
        undo.callback(actions.unbind)

    def _make_builtin(self) -> StackedObject:
        if self._in_parent is not None:
            return self._in_parent
        return make_setup(
            self._format,
            stream=self._stream,
            level=DEBUG if self._debug else INFO,
            environ=self._environ,
        )

    def _bind(self, setup: StackedObject, undo: ExitStack) -> None:
        if self._config is None:
            # What the set-up is not interested in is not for the default handler either.
            rest = NullHandler()
            rest.push_application()
            undo.callback(_unbind, rest)
        setup.push_application()
        self._bound = setup
        self._is_ours = setup is not self._given
        undo.callback(self._take_off)

    def _take_off(self) -> None:
        bound, self._bound = self._bound, None
        if bound is None:
            return
        _unbind(bound)
        if self._is_ours:
            _close(bound)

    def bind_in_worker(self) -> None:
        """Bind what a function returns in the place of the built-in set-up, and tickets upon it.

        Raises:
            TypeError: It returned nothing that can be bound.  As with anything that the function
                raises, the built-in set-up is still there to say so.
        """
        make, self._make = self._make, None
        if make is not None and self._undo is not None:
            self._replace_builtin(make)
        if self._make_tickets is not None and self._tickets is None:
            self._tickets = self._make_tickets()
            self._tickets.push_application()

    def _replace_builtin(self, make: Callable[[], StackedObject]) -> None:
        setup = make()
        if not isinstance(setup, StackedObject):
            raise TypeError(
                f"the function given as log_config must return a handler or other stacked object,"
                f" {make!r} returned {setup!r}"
            )
        builtin = self._bound
        assert builtin is not None
        _unbind(builtin)
        try:
            setup.push_application()
        except BaseException:
            builtin.push_application()
            raise
        self._bound = setup

    def unbind(self, *, close: bool = False) -> None:
        """Put back what was there before; a second call does nothing.

        What a function returned is closed.  What stdlib logging was told by a dict stays.

        Args:
            close: The process ends: what was given is closed as well.
        """
        tickets, self._tickets = self._tickets, None
        if tickets is not None:
            _unbind(tickets)
            _close(tickets)
        undo, self._undo = self._undo, None
        if undo is not None:
            undo.close()
        if close and self._given is not None:
            _close(self._given)


def _unbind(setup: StackedObject) -> None:
    """Unbind *setup* from the application, though something may have been bound after it."""
    if isinstance(setup, NestedSetup):
        for part in reversed(setup.objects):
            _unbind(part)
        return
    try:
        setup.pop_application()
    except AssertionError:
        # It is not on top: an application binds its own handlers, and need not unbind them.
        manager = getattr(setup, "stack_manager", None)
        if isinstance(manager, ContextStackManager):
            _dig_out(setup, manager)


def _dig_out(setup: StackedObject, manager: ContextStackManager) -> None:
    if not any(bound is setup for bound in manager.iter_context_objects()):
        return
    above: list[Any] = []
    try:
        while (top := manager.pop_application()) is not setup:
            above.append(top)
    except AssertionError:
        # It was bound to a context only, and has been left where it was.
        pass
    finally:
        for bound in reversed(above):
            manager.push_application(bound)


def _close(setup: StackedObject) -> None:
    for part in reversed(setup.objects) if isinstance(setup, NestedSetup) else (setup,):
        if isinstance(part, NestedSetup):
            _close(part)
        elif callable(close := getattr(part, "close", None)):
            close()


# -- files that others have moved


def reopen_files() -> int:
    """Let go of all log files, so that the next records go to new ones; return how many there were.

    These are the files of the bound handlers, also of those that others wrap, and those of stdlib
    logging.  For a program that has moved them, like logrotate.  Not for a signal handler: it may
    have interrupted the writing of a line.
    """
    return reopen_handlers(_log) + sum(map(_let_go, _stdlib_file_handlers()))


def _stdlib_file_handlers() -> list[logging.FileHandler]:
    root = logging.getLogger()
    loggers = [root, *logging.Logger.manager.loggerDict.values()]
    todo: list[Any] = []
    for logger in loggers:
        # Instead of a logger that nobody has asked for yet, there is a placeholder.
        if isinstance(logger, logging.Logger):
            todo += logger.handlers
    handlers: dict[int, logging.FileHandler] = {}
    for handler in todo:
        # A memory handler has its file behind it.
        for one in (handler, getattr(handler, "target", None)):
            if isinstance(one, logging.FileHandler):
                handlers[id(one)] = one
    return list(handlers.values())


def _let_go(handler: logging.FileHandler) -> bool:
    handler.acquire()
    try:
        stream = handler.stream
        if stream is None:
            return False
        # The next record opens it again.
        handler.stream = None
        # What is there now is to be kept, whatever the first opening was to do.
        handler.mode = handler.mode.replace("w", "a").replace("x", "a")
        stream.close()
    finally:
        handler.release()
    return True
