"""Routes: where records of a level go in a context, worked out once and kept on its node."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sprockets.logbook import _caller, _clock, _context
from sprockets.logbook._context import (
    Application,
    Entry,
    Node,
    current_node,
    is_blackhole,
    merged,
)
from sprockets.logbook._flags import Flags
from sprockets.logbook._processor import Fields
from sprockets.logbook._typing import Any, Final

_caller.register(__file__)


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
