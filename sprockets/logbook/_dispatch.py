"""Dispatch: which handlers see a record, in which order, and where its way ends.

A record's way is worked out once per context and level, and kept as a :class:`Route` on the
context's node.  :func:`deliver` is the way itself.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, SupportsIndex, TypeVar

from sprockets.logbook import _caller, _clock, _context
from sprockets.logbook._context import (
    NEVER,
    Application,
    Entry,
    Node,
    current_node,
    is_blackhole,
    merged,
)
from sprockets.logbook._failures import report
from sprockets.logbook._flags import Flags
from sprockets.logbook._groups import LoggerGroup, group_reflected_property
from sprockets.logbook._levels import NOTSET, Level, lookup_level
from sprockets.logbook._processor import Fields, Processor
from sprockets.logbook.record import LogRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

_caller.register(__file__)

T = TypeVar("T")


class SupportsHandle(Protocol):
    """What dispatching needs to know of a handler."""

    level: int
    filter: Callable[[LogRecord, Any], object] | None
    bubble: bool
    blackhole: bool

    def should_handle(self, record: LogRecord) -> bool:
        """Return whether the handler is interested in *record*."""
        ...

    def handle(self, record: LogRecord) -> bool:
        """Deliver *record*, never raising, and return whether it was consumed."""
        ...


class SupportsProcess(Protocol):
    """What dispatching needs to know of a processor."""

    def process(self, record: LogRecord) -> object:
        """Add facts to *record*."""
        ...


def _failure() -> tuple[type[BaseException], BaseException, TracebackType | None]:
    error = sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1]
    assert error is not None
    return type(error), error, error.__traceback__


# -- the way of a record


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
            _guarded(process, record)
        if handler.filter is not None and not _accepts(handler, record):
            continue
        if handler.blackhole or (_has_handled(handler, record) and not handler.bubble):
            return


def follow(record: LogRecord, route: Route) -> None:
    """Do what :func:`deliver` does, for a record that is initialised and processed already."""
    for handler, is_asked in route.steps:
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
        report(record, _failure())
        return True


def _accepts(handler: SupportsHandle, record: LogRecord) -> bool:
    assert handler.filter is not None
    try:
        return bool(handler.filter(record, handler))
    except Exception:  # noqa: BLE001 - reported
        report(record, _failure())
        return True


def _has_handled(handler: SupportsHandle, record: LogRecord) -> bool:
    try:
        return handler.handle(record)
    except Exception:  # noqa: BLE001 - reported
        report(record, _failure())
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
        report(record, _failure())


def _guarded(step: Callable[[LogRecord], object], record: LogRecord) -> None:
    try:
        step(record)
    except Exception:  # noqa: BLE001 - reported
        report(record, _failure())


# -- routes: the same, worked out beforehand


class Route:
    """Where records of one level go in one context.

    Attributes:
        handlers: The candidates, those left out that could only have said no.
        steps: The candidates, each with whether it has to be asked if it is interested.
        is_certain: Whether the first of them gets the record for certain, or at least its filter.
        only: The one handler it all comes down to, if it has no filter and no way to decline.
        line: Writes a record's line for ``only`` without there being a record, if nobody can tell.
        wants_caller: Whether anybody on the way may ask where the call was.
    """

    __slots__ = ("handlers", "is_certain", "line", "only", "steps", "wants_caller")

    def __init__(self, handlers: tuple[Any, ...]) -> None:
        self.handlers = handlers
        self.steps = tuple(
            [(handler, not getattr(handler, "is_predictable", False)) for handler in handlers]
        )
        first, is_asked = self.steps[0]
        self.is_certain = not is_asked
        self.only = first if len(handlers) == 1 and _takes_all(first) else None
        self.line: Callable[..., None] | None = None
        if self.only is not None and _clock.source() is None:
            self.line = first.line_writer()
        self.wants_caller = any(
            getattr(handler, "wants_caller", True) or handler.filter is not None
            for handler in handlers
        )


def _takes_all(handler: Any) -> bool:
    """Whether *handler* certainly handles what reaches its level."""
    return (
        bool(getattr(handler, "is_predictable", False))
        and handler.always_consumes
        and handler.filter is None
        and not handler.blackhole
    )


def fresh_node() -> Node:
    """Return the current context's node, made ready for the application as it is now."""
    node = current_node()
    if node.application is not _context.application:
        prepare(node)
    return node


def prepare(node: Node) -> None:
    """Work out what depends on the application's stacks as well as on *node*'s own."""
    application = _context.application
    stale = [node]
    below = node.below
    while below is not None and below.application is not application:
        stale.append(below)
        below = below.below
    while stale:
        _prepare_one(stale.pop(), application)


def _prepare_one(node: Node, application: Application) -> None:
    below = node.below
    kind = node.kind if below is not None else None
    # A node differs from the one below it in one of the three stacks; the rest is taken over.
    if kind == "processors":
        node.routes = below.routes  # type: ignore[union-attr]  # a kind says that there is one
    else:
        # Routes say what they were worked out for: another thread may change the application's
        # stack while this one works, and its routes must not end up among those for another.
        node.routes = {_OF_APPLICATION: application}
    if kind == "handlers" or kind == "flags":
        node.steps = below.steps  # type: ignore[union-attr]  # likewise
        node.fields = below.fields  # type: ignore[union-attr]  # likewise
    else:
        _prepare_processors(node, application)
    if node.flags is None and application.flags is None:
        node.introspection = True
    else:
        node.introspection = bool(Flags.get_flag("introspection", True))
    node.is_bare = not node.steps and node.fields is None
    node.application = application


def _prepare_processors(node: Node, application: Application) -> None:
    below = node.below
    entry = node.processors
    newest = application.processors
    if (
        below is not None
        and node.kind == "processors"
        and entry is not None
        and (newest is None or entry[0] > newest[0])
        and _prepare_top_processor(node, below, entry[1])
    ):
        return
    processors = merged(entry, newest)
    node.steps = ()
    node.fields = None
    if any(type(processor) is not Fields for processor in processors):
        node.steps = tuple([processor.process for processor in processors])
    elif processors:
        node.fields = {}
        for processor in reversed(processors):
            node.fields.update(processor.fields)


def _prepare_top_processor(node: Node, below: Node, top: Any) -> bool:
    """Put *top* before the processors of the node below, if that is all there is to do."""
    if type(top) is not Fields:
        if below.fields is not None:
            return False
        node.steps = (top.process, *below.steps)
        node.fields = None
        return True
    if below.steps:
        node.steps = (top.process, *below.steps)
        node.fields = None
    else:
        node.steps = ()
        node.fields = dict(top.fields) if below.fields is None else {**below.fields, **top.fields}
    return True


def find_route(node: Node, level: int) -> Route | None:
    """Return where records of *level* go from *node*; ``None`` is nowhere."""
    routes = node.routes
    try:
        route: Route | None = routes[level]
    except KeyError:
        application = routes.get(_OF_APPLICATION)
        if application is None or len(routes) > _MAX_LEVELS:
            # The node was emptied this very moment, or somebody logs with levels of their own
            # making: nothing to be remembered.
            return _make_route(node, _context.application, level)
        route = routes[level] = _make_route(node, application, level)
    return route


_OF_APPLICATION: Final = -1 << 62
"""Where routes say what application they are for: a level that nobody has."""
_MAX_LEVELS: Final = 256


def _make_route(node: Node, application: Application, level: int) -> Route | None:
    top = _newest(node.handlers, application.handlers)
    if top is None:
        return None
    route = own_route(top)
    if route is not None and level >= top.level:
        # The commonest case: it goes no further, whatever else is bound, in any context.
        return route
    found = tuple(_candidates(merged(node.handlers, application.handlers), level))
    return Route(found) if found else None


def _newest(one: Entry | None, other: Entry | None) -> Any:
    if one is None or (other is not None and other[0] > one[0]):
        one = other
    return None if one is None else one[1]


def own_route(handler: Any) -> Route | None:
    """Return the route of what comes to *handler* first; ``None`` if it may not end there."""
    known: tuple[object, Route | None] | None = handler.__dict__.get("_own_route")
    settings = _context.settings
    if known is None or known[0] is not settings:
        # Asked for, so that a change is told from now on.
        _context.least_level_of(handler)
        ends_there = _takes_all(handler) and not handler.bubble
        known = (settings, Route((handler,)) if ends_there else None)
        handler.__dict__["_own_route"] = known
    return known[1]


def _candidates(handlers: Iterable[Any], level: int) -> Iterable[Any]:
    for handler in handlers:
        if not getattr(handler, "is_predictable", False):
            yield handler
            continue
        if level < handler.level:
            continue
        if is_blackhole(handler):
            return
        if handler.blackhole and handler.bubble:
            continue
        yield handler
        if _takes_all(handler) and not handler.bubble:
            return


_unwanted_calls = 0


def note_unwanted() -> None:
    """Remember that a call passed its gate for nothing; now and then see whether gates can rise."""
    global _unwanted_calls
    _unwanted_calls += 1
    if not _unwanted_calls & 0xFF:
        _context.tighten_floor()


# -- dispatchers

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
            _guarded(group.process_record, record)
        for processor in Processor.stack_manager.iter_context_objects():
            _guarded(processor.process, record)

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
