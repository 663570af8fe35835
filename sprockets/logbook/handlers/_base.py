"""The handler: what delivers records, and how it stands between them and the application."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from threading import local
from types import TracebackType

from sprockets.logbook import _caller, _context, _failures
from sprockets.logbook._context import ContextObject, ContextStackManager, NodeStackManager
from sprockets.logbook._levels import (
    NOTSET,
    Level,
    LevelNameProperty,
    level_name_property,
    lookup_level,
)
from sprockets.logbook._typing import (
    Any,
    ClassVar,
    Final,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

H = TypeVar("H", bound="Handler")

Filter: TypeAlias = "Callable[[LogRecord, Handler], object]"
Formatter: TypeAlias = "Callable[[LogRecord, Handler], Any]"
BatchReason: TypeAlias = "Literal['buffer', 'escalation', 'group'] | str"
Failure: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

_WATCHED: Final = frozenset(
    (
        "blackhole",
        "bubble",
        "emit",
        "encode",
        "encoding",
        "ensure_stream_is_open",
        "filter",
        "flush",
        "format",
        "formatter",
        "handle",
        "level",
        "lock",
        "should_flush",
        "should_handle",
        "stream",
        "write",
    )
)
"""Attributes that routes are worked out from; setting one makes them be worked out anew."""


class LevelAttribute:
    """A level that may be set by number or name, and reads as a number."""

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...

    @overload
    def __get__(self, obj: object, owner: type) -> int: ...

    def __get__(self, obj: Any, owner: type) -> Self | int:
        if obj is None:
            return self
        try:
            level: int = obj.__dict__["_level"]
        except KeyError:
            raise AttributeError(f"{type(obj).__name__} has no level yet") from None
        return level

    def __set__(self, obj: Any, value: Level) -> None:
        obj.__dict__["_level"] = lookup_level(value)


class Handler(ContextObject):
    """Delivers records; a base for handlers, and by itself one that takes records and does nothing.

    A handler is bound to the application or to the current context, and asked in turn, the most
    recently bound first.  One that is interested in a record consumes it, unless it lets it bubble.
    Subclasses write :meth:`emit`; they may be called from several threads at once.

    Args:
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
    """

    stack_manager: ClassVar[ContextStackManager] = NodeStackManager("handlers")

    blackhole: bool = False
    """Whether records end here unseen."""

    level: LevelAttribute = LevelAttribute()
    level_name: LevelNameProperty = level_name_property()
    formatter: Formatter | None
    filter: Filter | None
    bubble: bool

    def __init__(
        self, level: Level = NOTSET, filter: Filter | None = None, bubble: bool = False
    ) -> None:
        self.__dict__.update(
            _level=lookup_level(level), formatter=None, filter=filter, bubble=bubble
        )

    def __init_subclass__(cls, *, finaliser: bool = True, **kwargs: Any) -> None:
        """Have instances closed when they are collected, if the class says how to close them.

        Args:
            finaliser: ``False`` for a class that closes what belongs to somebody else.
            **kwargs: For the next class.
        """
        super().__init_subclass__(**kwargs)
        owner = next(base for base in cls.__mro__ if "close" in base.__dict__)
        is_inherited = owner is not cls and issubclass(owner, Handler)
        if finaliser and not is_inherited and not hasattr(cls, "__del__"):
            cls.__del__ = _close_when_collected  # type: ignore[attr-defined]  # only where needed

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in _WATCHED:
            self._watched_attribute_changed(name)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if name in _WATCHED:
            self._watched_attribute_changed(name)

    def __repr__(self) -> str:
        level = self.__dict__.get("_level")
        return f"<{type(self).__name__} level={level}>"

    def _watched_attribute_changed(self, name: str) -> None:
        if self.__dict__.pop("_least", None) is None:
            # Nobody has asked yet, so nothing rests on it.
            return
        if name in ("level", "should_handle"):
            # Nobody knows where the handler is bound, so its wish is kept with it, for good.
            self.__dict__["_want"] = _context.want(self.least_level)
        _context.handlers_changed()

    # -- what dispatch asks beforehand

    @property
    def is_predictable(self) -> bool:
        """Whether the level alone says if the handler is interested."""
        return (
            type(self).should_handle is Handler.should_handle
            and type(self).level is Handler.level
            and "should_handle" not in self.__dict__
        )

    @property
    def always_consumes(self) -> bool:
        """Whether a record that gets here is certainly handled."""
        return type(self).handle is Handler.handle and "handle" not in self.__dict__

    @property
    def least_level(self) -> int:
        """Least level the handler could be interested in.

        Whoever asks rests something on the answer, so from now on changes are told.
        """
        own = self.__dict__
        if "_least" not in own:
            own["_least"] = own.get("_level", NOTSET) if self.is_predictable else NOTSET
        least: int = own["_least"]
        return least

    @property
    def wants_caller(self) -> bool:
        """Whether the handler, or its formatter, may ask where the call was."""
        return True

    def line_writer(self) -> Callable[..., None] | None:
        """Return what writes a line without there being a record, if there is such a way."""
        return None

    # -- what users call and override

    def format(self, record: LogRecord) -> Any:
        """Return *record* in the form that :meth:`emit` delivers."""
        if self.formatter is None:
            return record.message
        return self.formatter(record, self)

    def should_handle(self, record: LogRecord) -> bool:
        """Return whether the handler is interested in records of this level."""
        return record.level >= self.level

    def handle(self, record: LogRecord) -> bool:
        """Emit *record*; what goes wrong goes to :meth:`handle_error`.

        Returns:
            Whether the record was dealt with.  It is then consumed, unless the handler lets it
            bubble.
        """
        try:
            self.emit(record)
        except Exception:  # noqa: BLE001 - reported
            self.handle_error(record, sys.exc_info())  # type: ignore[arg-type]  # never empty here
        return True

    def emit(self, record: LogRecord) -> None:
        """Deliver *record*; what it raises is dealt with by the caller."""

    def emit_batch(self, records: Iterable[LogRecord], reason: BatchReason) -> None:
        """Deliver *records*, which belong together for *reason*.

        Args:
            records: May be a one-shot iterator, and empty.
            reason: ``"buffer"``: they were merely collected.  ``"escalation"``: a threshold was
                reached, the last is the trigger.  ``"group"``: the first is the significant one.
                An override passes reasons that it does not know to this method.
        """
        for record in records:
            self.emit(record)

    def close(self) -> None:
        """Let go of what the handler holds; closing twice is closing once."""

    def handle_error(self, record: LogRecord, exc_info: Failure) -> None:
        """Deal with an error of :meth:`emit` as the flag ``errors`` says."""
        _failures.report(record, exc_info)


def _close_when_collected(handler: Handler) -> None:
    try:
        # This interrupts anything, so what is closed may wait for nothing.
        _finalising.depth = getattr(_finalising, "depth", 0) + 1
        try:
            handler.close()
        finally:
            _finalising.depth -= 1
    except Exception:  # noqa: BLE001 - the handler may be half made, the interpreter half gone
        return


def is_finalising() -> bool:
    """Return whether a finaliser is closing handlers in this thread, so that none may wait."""
    return getattr(_finalising, "depth", 0) > 0


_finalising = local()


class NullHandler(Handler):
    """Ends the way of every record from its level up; bound below another, it silences the rest.

    >>> from sprockets.logbook import Logger
    >>> with NullHandler():
    ...     Logger("noise").error("nobody hears this")

    Args:
        level: Least level it swallows, a number or a name.
        filter: Called with record and handler; only what it answers true for is swallowed.
        bubble: ``True`` makes it do nothing at all.
    """

    blackhole = True


class WrapperHandler(Handler, finaliser=False):
    """Stands in for another handler: shares its attributes, and passes on what is not overridden.

    Subclasses name the attributes that are their own in :attr:`_direct_attrs`.

    Args:
        handler: The wrapped handler.
    """

    _direct_attrs: ClassVar[frozenset[str]] = frozenset(("handler",))

    handler: Handler

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    def __getattr__(self, name: str) -> Any:
        if name == "handler":
            raise AttributeError(f"{type(self).__name__} wraps no handler yet")
        return getattr(self.handler, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._direct_attrs or name.startswith("__"):
            object.__setattr__(self, name, value)
            if name == "handler":
                _context.handlers_changed()
        else:
            setattr(self.handler, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self._direct_attrs:
            object.__delattr__(self, name)
        else:
            delattr(self.handler, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.__dict__.get('handler')!r}>"

    @property
    def level(self) -> int:  # type: ignore[override]  # the wrapped handler's
        """Least level the wrapped handler is interested in."""
        return self.handler.level

    @property
    def blackhole(self) -> bool:  # type: ignore[override]  # the wrapped handler's
        """Whether records end in the wrapped handler unseen."""
        return self.handler.blackhole

    @property
    def level_name(self) -> str:  # type: ignore[override]  # the wrapped handler's
        """Name of the wrapped handler's level."""
        name: str = self.handler.level_name
        return name

    @property
    def is_predictable(self) -> bool:
        """Whether the wrapped handler's level alone says if it is interested."""
        return (
            type(self).should_handle is WrapperHandler.should_handle and self.handler.is_predictable
        )

    @property
    def always_consumes(self) -> bool:
        """Whether a record that gets here is certainly handled."""
        return type(self).handle is Handler.handle

    @property
    def least_level(self) -> int:
        """Least level the wrapped handler could be interested in."""
        return self.handler.least_level if self.is_predictable else NOTSET

    @property
    def wants_caller(self) -> bool:
        """Whether anybody may ask where the call was."""
        return True

    def should_handle(self, record: LogRecord) -> bool:
        """Return whether the wrapped handler is interested."""
        return self.handler.should_handle(record)

    def format(self, record: LogRecord) -> Any:
        """Return *record* as the wrapped handler formats it."""
        return self.handler.format(record)

    def emit(self, record: LogRecord) -> None:
        """Have the wrapped handler deliver *record*."""
        self.handler.emit(record)

    def emit_batch(self, records: Iterable[LogRecord], reason: BatchReason) -> None:
        """Have the wrapped handler deliver *records*, one by one if :meth:`emit` is overridden."""
        if type(self).emit is WrapperHandler.emit:
            self.handler.emit_batch(records, reason)
        else:
            super().emit_batch(records, reason)

    def close(self) -> None:
        """Close the wrapped handler."""
        self.handler.close()

    def handle_error(self, record: LogRecord, exc_info: Failure) -> None:
        """Have the wrapped handler deal with an error."""
        self.handler.handle_error(record, exc_info)
