"""Dispatchers: what sends records to handlers, and knows beforehand when nobody wants them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from sprockets.logbook import _caller, _context
from sprockets.logbook._context import NEVER
from sprockets.logbook._dispatch import deliver, guarded
from sprockets.logbook._groups import LoggerGroup, group_reflected_property
from sprockets.logbook._levels import NOTSET, Level, lookup_level
from sprockets.logbook._processor import Processor
from sprockets.logbook._routes import find_route, fresh_node
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final, SupportsIndex
from sprockets.logbook.record import LogRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

_caller.register(__file__)

_dispatchers: set[weakref.ref[RecordDispatcher]] = set()


def _refresh_gates() -> None:
    for reference in tuple(_dispatchers):
        dispatcher = reference()
        if dispatcher is not None:
            dispatcher._refresh_gate()


_context.watch_floor(_refresh_gates)


class HandlerList(list[Any]):
    """The handlers attached to a logger; a change makes the loggers look again."""

    def append(self, handler: Any) -> None:
        """Add *handler* at the end."""
        super().append(handler)
        _refresh_gates()

    def extend(self, handlers: Iterable[Any]) -> None:
        """Add *handlers* at the end."""
        super().extend(handlers)
        _refresh_gates()

    def insert(self, index: SupportsIndex, handler: Any) -> None:
        """Add *handler* before position *index*."""
        super().insert(index, handler)
        _refresh_gates()

    def remove(self, handler: Any) -> None:
        """Take out the first handler equal to *handler*."""
        super().remove(handler)
        _refresh_gates()

    def pop(self, index: SupportsIndex = -1) -> Any:
        """Take out the handler at *index* and return it."""
        handler = super().pop(index)
        _refresh_gates()
        return handler

    def clear(self) -> None:
        """Take out all."""
        super().clear()
        _refresh_gates()

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(index, value)
        _refresh_gates()

    def __delitem__(self, index: Any) -> None:
        super().__delitem__(index)
        _refresh_gates()

    def __iadd__(self, handlers: Iterable[Any]) -> HandlerList:  # type: ignore[misc]  # as list does
        self.extend(handlers)
        return self


_WATCHED: Final = frozenset(
    (
        "call_handlers",
        "disabled",
        "group",
        "handle",
        "handlers",
        "level",
        "make_record_and_handle",
        "process_record",
    )
)


class RecordDispatcher:
    """Sends records to handlers: its own first, then those bound to the context.

    Args:
        name: The channel of its records.
        level: Least level it lets through, a number or a name.
    """

    suppress_dispatcher = False
    """Whether its records do not refer to it."""

    name: str | None
    group: LoggerGroup | None = None
    handlers: list[Any]
    """Handlers of this dispatcher alone, asked before the bound ones, in this order."""

    disabled: group_reflected_property[bool, bool] = group_reflected_property("disabled", False)
    level: group_reflected_property[int, Level] = group_reflected_property(
        "level", NOTSET, NOTSET, lookup_level
    )

    _origin: RecordDispatcher | None = None
    _reference: weakref.ref[RecordDispatcher]
    _has_followers = False
    """Whether other dispatchers follow its settings."""
    _gate = NOTSET
    """Least level at which anything at all could happen; kept up to date from all sides."""
    _is_direct = False
    """Whether records may take the short way: nothing of it is overridden or its own."""
    _first: Any = None
    """The first of its own handlers."""
    _is_processing = False
    """Whether records need :meth:`process_record` rather than just the bound processors."""

    def __init__(self, name: str | None = None, level: Level = NOTSET) -> None:
        self.__dict__.update(name=name, group=None, handlers=HandlerList())
        self._register()
        self.level = level

    def _register(self) -> None:
        """Have the gate kept up to date from now on."""
        reference: weakref.ref[RecordDispatcher] = weakref.ref(self, _dispatchers.discard)
        self.__dict__["_reference"] = reference
        _dispatchers.add(reference)
        self._refresh_gate()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "handlers" and type(value) is not HandlerList:
            value = HandlerList(value)
        object.__setattr__(self, name, value)
        if name in _WATCHED:
            self._settings_changed()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if name in _WATCHED:
            self._settings_changed()

    def _settings_changed(self) -> None:
        if self._has_followers:
            _refresh_gates()
        else:
            self._refresh_gate()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def _refresh_gate(self) -> None:
        """Work out anew which calls can be told off at once, and which way the others take."""
        cls = type(self)
        own = self.__dict__
        standard = RecordDispatcher
        if cls.disabled is not standard.disabled or cls.level is not standard.level:
            own["_is_direct"] = False
            own["_gate"] = NOTSET
            return
        is_direct = (
            cls.handle is standard.handle
            and cls.call_handlers is standard.call_handlers
            and cls.make_record_and_handle is standard.make_record_and_handle
            and own.keys().isdisjoint(("handle", "call_handlers", "make_record_and_handle"))
        )
        group = self._effective_group()
        handlers = own.get("handlers")
        own["_is_direct"] = is_direct
        own["_first"] = handlers[0] if handlers else None
        own["_is_processing"] = (
            cls.process_record is not standard.process_record
            or "process_record" in own
            or (group is not None and group.processor is not None)
        )
        if self.disabled:
            own["_gate"] = NEVER
        elif is_direct and not handlers:
            own["_gate"] = max(self.level, _context.floor)
        else:
            own["_gate"] = self.level

    def _effective_group(self) -> LoggerGroup | None:
        if self.group is None and self._origin is not None:
            return self._origin._effective_group()
        return self.group

    def handle(self, record: LogRecord) -> None:
        """Send *record* to the handlers, if its level is high enough; the record stays open."""
        if not self.disabled and record.level >= self.level:
            self.call_handlers(record)

    def call_handlers(self, record: LogRecord) -> None:
        """Send *record* to the handlers, whatever its level."""
        route = find_route(fresh_node(), record.level)
        if self.handlers:
            bound = () if route is None else route.handlers
            deliver(record, (*self.handlers, *bound), self.process_record)
        elif route is not None:
            deliver(record, route.handlers, self.process_record)

    def process_record(self, record: LogRecord) -> None:
        """Let the group's processor, then the bound ones, add to *record*."""
        group = self._effective_group()
        if group is not None:
            guarded(group.process_record, record)
        for processor in Processor.stack_manager.iter_context_objects():
            guarded(processor.process, record)

    def make_record_and_handle(
        self,
        level: int,
        msg: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        exc_info: Any,
        extra: Mapping[str, Any] | None,
        frame_correction: int = 0,
    ) -> None:
        """Make a record of a call, handle it, and close it unless somebody keeps it open."""
        record = self._make_record(level, msg, args, kwargs, exc_info, extra, frame_correction)
        try:
            self.handle(record)
        finally:
            record.late = True
            if record.keep_open:
                record.settle_place()
            else:
                record.close()

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
        record = LogRecord(
            self.name, level, msg, args, kwargs, exc_info, extra, frame_correction=frame_correction
        )
        if not self.suppress_dispatcher:
            record._dispatcher = self._reference
        return record


def dispatch_record(record: LogRecord) -> None:
    """Send *record*, made by hand or come from elsewhere, to the bound handlers.

    No level or switch is consulted; bound processors run; the record is not closed.

    >>> from sprockets.logbook import INFO, LogRecord, TestHandler
    >>> with TestHandler() as handler:
    ...     dispatch_record(LogRecord("elsewhere", INFO, "hello"))
    >>> handler.formatted_records
    ['[INFO] elsewhere: hello']
    """
    _ANONYMOUS.call_handlers(record)


_ANONYMOUS = RecordDispatcher()
