"""Tools for programs that log: slow blocks, and what is deprecated."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from types import MethodType, TracebackType
from typing import Any, Final, Protocol, Self, overload

from sprockets.logbook import _caller
from sprockets.logbook._failures import report
from sprockets.logbook._flags import Flags
from sprockets.logbook._levels import DEBUG, WARNING, Level, lookup_level
from sprockets.logbook._logger import Logger
from sprockets.logbook.errors import MisuseError

__all__ = [
    "deprecated",
    "forget_deprecation_locations",
    "log_deprecation_message",
    "logged_if_slow",
    "suppressed_deprecations",
]

_caller.register(__file__)


class SupportsTimer(Protocol):
    """A timer that has been told when to do what, like ``threading.Timer``."""

    def start(self) -> object:
        """Begin to wait."""
        ...

    def cancel(self) -> object:
        """Do not do it, if it has not been done."""
        ...


MakeTimer = Callable[[float, Callable[[], None]], SupportsTimer]

_numbers = iter(range(1, sys.maxsize))


def _daemon_timer(seconds: float, function: Callable[[], None]) -> SupportsTimer:
    timer = threading.Timer(seconds, function)
    # A timer that is waited for at exit would hold the program up.
    timer.daemon = True
    timer.name = f"logbook-slow-{next(_numbers)}"
    return timer


_SLOW: Final = Logger("Slow")
_UNSET: Final[Any] = object()


class logged_if_slow:
    """Logs, once and at that moment, if the block is still running after *threshold* seconds.

    The record comes from another thread, but in a copy of the context that entered the block, and
    its place is the ``with`` line.  A block that ends earlier logs nothing.  May be used again.

    Args:
        *args: The message and its arguments, for ``logger.log``.
        threshold: Seconds.
        logger: Where to log; its channel is ``Slow`` unless given.
        level: A number or a name; ``DEBUG`` unless given.
        func: Called with the arguments instead of logging.  Deprecated: pass a logger.
        make_timer: Makes the timer, of seconds and a function; ``threading.Timer`` is one.
        **kwargs: Keyword arguments for ``logger.log``.

    Raises:
        TypeError: *func* is given together with *logger* or *level*.
    """

    def __init__(
        self,
        *args: Any,
        threshold: float = 1,
        logger: Logger = _UNSET,
        level: Level = _UNSET,
        func: Callable[..., object] | None = None,
        make_timer: MakeTimer = _daemon_timer,
        **kwargs: Any,
    ) -> None:
        if func is not None and (logger is not _UNSET or level is not _UNSET):
            raise TypeError("func replaces the logger; pass func, or logger and level, not both")
        self._args = args
        self._kwargs = kwargs
        self._threshold = threshold
        self._logger = _SLOW if logger is _UNSET else logger
        self._level = DEBUG if level is _UNSET else level
        self._func = func
        self._make_timer = make_timer
        self._timers: list[SupportsTimer] = []

    def __enter__(self) -> Self:
        """Begin to wait."""
        frame = _caller.find_caller(sys._getframe(1))
        context = copy_context()
        where = None
        if frame is not None:
            where = (_caller.place_of(frame), frame.f_globals.get("__name__"))
        timer = self._make_timer(self._threshold, lambda: self._log_in(context, where))
        self._timers.append(timer)
        timer.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Stop waiting; exceptions pass."""
        self._timers.pop().cancel()

    def _log_in(self, context: Context, where: _Where | None) -> None:
        try:
            context.run(self._log, where)
        except Exception:  # noqa: BLE001 - reported: the block goes on and knows nothing of it
            with Flags(errors="print"):
                report(None, sys.exc_info())  # type: ignore[arg-type]  # never empty here

    def _log(self, where: _Where | None) -> None:
        if self._func is not None:
            self._func(*self._args, **self._kwargs)
        elif where is None or not self._args or not issubclass(type(self._logger), Logger):
            # A stand-in for a logger, as tests use them, is just called.
            self._logger.log(self._level, *self._args, **self._kwargs)
        else:
            msg, *args = self._args
            log_from(where, self._logger, lookup_level(self._level), msg, tuple(args), self._kwargs)


_Where = tuple[_caller.Place | None, str | None]
"""A place in the code, and the name of its module."""


def log_from(
    where: _Where,
    logger: Logger,
    level: int,
    msg: object,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """Log as if the call stood at *where*, which may be in a frame that is long gone."""
    arguments = dict(kwargs)
    exc_info = arguments.pop("exc_info", None)
    extra = arguments.pop("extra", None)
    arguments.pop("frame_correction", None)
    record = logger._make_record(level, msg, args, arguments, exc_info, extra, 0)
    record._spot, record.module = where
    try:
        logger.handle(record)
    finally:
        record.late = True
        if not record.keep_open:
            record.close()


# -- deprecations

_deprecations: Final = Logger("deprecation")
_reported: set[tuple[object, ...]] = set()
_are_suppressed: ContextVar[bool] = ContextVar("sprockets.logbook.deprecations", default=False)


def forget_deprecation_locations() -> None:
    """Report every place of a deprecated call anew, as if none had been reported."""
    _reported.clear()


@contextmanager
def suppressed_deprecations() -> Iterator[None]:
    """Report no deprecations in the block, in this context; nor remember them as reported."""
    token = _are_suppressed.set(True)
    try:
        yield
    finally:
        _are_suppressed.reset(token)


def log_deprecation_message(message: str, frame_correction: int = 0) -> None:
    """Log a warning on channel ``deprecation``, once for each place that calls.

    Args:
        message: What is deprecated, and what to use.
        frame_correction: How many frames further out than the caller the place is.
    """
    _report_call(f"Deprecation message: {message}", message, frame_correction)


def _report_call(text: str, subject: object, frame_correction: int) -> None:
    if _are_suppressed.get():
        return
    frame = _caller.find_caller(sys._getframe(1))
    for _ in range(frame_correction):
        frame = None if frame is None else frame.f_back
    place = None if frame is None else _caller.place_of(frame)
    if place is not None:
        location = _caller.locate(*place)
        key = (location.filename, location.lineno, location.func_name, subject)
        # Adding to a set is one step, so two threads at one place report twice at the worst.
        if key in _reported:
            return
        _reported.add(key)
    module = None if frame is None else frame.f_globals.get("__name__")
    log_from((place, module), _deprecations, WARNING, text, (), {})


class _Deprecated:
    """A function that reports its calls; behaves like it in every other way."""

    def __init__(self, func: Any, message: str | None) -> None:
        self._func = func
        self._message = message
        self._own_doc = _UNSET
        wrapped = func.__func__ if isinstance(func, (classmethod, staticmethod)) else func
        functools.update_wrapper(self, wrapped)
        self.__dict__.pop("__doc__", None)
        self.__signature__ = inspect.signature(wrapped)
        if inspect.iscoroutinefunction(wrapped):
            _mark_coroutine_function(self, wrapped)

    @property
    def __doc__(self) -> str | None:
        doc = self._func.__doc__ if self._own_doc is _UNSET else self._own_doc
        if doc is None:
            return None
        note = f"\n.. deprecated\n{f'   {self._message}' if self._message else ''}"
        return f"{doc}{note}"

    @__doc__.setter
    def __doc__(self, doc: str | None) -> None:
        self._own_doc = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._report(None)
        return self._func(*args, **kwargs)

    def __get__(self, obj: object | None, owner: type | None = None) -> Any:
        cls = owner if owner is not None else type(obj)
        if isinstance(self._func, (classmethod, staticmethod)):
            return _Bound(self, self._func.__get__(obj, cls), cls)
        if obj is None:
            return _Bound(self, self._func, cls)
        return _Bound(self, MethodType(self._func, obj), cls)

    def _report(self, owner: type | None) -> None:
        func = self._func
        name = getattr(func, "__name__", repr(func))
        scope = self.__module__ if owner is None else owner.__name__
        text = f"{scope}.{name} is deprecated."
        if self._message:
            text += f" {self._message}"
        _report_call(text, self._func, 0)


class _Bound:
    """A deprecated function, looked up on a class or an object."""

    def __init__(self, deprecated: _Deprecated, func: Callable[..., Any], owner: type) -> None:
        self._deprecated = deprecated
        self._func = func
        self._owner = owner
        functools.update_wrapper(self, func)
        if inspect.iscoroutinefunction(func):
            _mark_coroutine_function(self, func)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._deprecated._report(self._owner)
        return self._func(*args, **kwargs)


def _mark_coroutine_function(wrapper: Any, func: Any) -> None:
    """Have *wrapper* taken for a coroutine function: inspect asks what is like a function, too."""
    func = getattr(func, "__func__", func)
    for name in ("__code__", "__defaults__", "__kwdefaults__"):
        setattr(wrapper, name, getattr(func, name))


@overload
def deprecated(func: Callable[..., Any], /) -> Any: ...


@overload
def deprecated(func: str | None = None, message: str | None = None) -> Callable[[Any], Any]: ...


def deprecated(func: Any = None, message: str | None = None) -> Any:
    """Mark a function, method, class method or static method as deprecated.

    A call logs a warning on channel ``deprecation``, with the caller as its place, once for each
    place; then it does what it always did.  It is written ``@deprecated`` or ``@deprecated()``, or
    with a text that says what to use, positional or as *message*.

    >>> from sprockets.logbook import TestHandler
    >>> @deprecated("Use new().")
    ... def old():
    ...     return 1
    >>> with TestHandler() as handler:
    ...     old()
    1
    >>> handler.has_warning(channel="deprecation")
    True

    Raises:
        AssertionError: A positional text and *message* were given.
    """
    if isinstance(func, str):
        if message is not None:
            raise MisuseError("give the text once: positional, or as message=")
        func, message = None, func
    if func is None:
        return lambda function: _Deprecated(function, message)
    return _Deprecated(func, message)
