"""The stacks: what is bound to the application, and what to the current context.

A :class:`Node` is everything one context has bound.  It never changes: a push or a pop makes (or
finds again) another node and sets it in one context variable, so tasks and threads cannot see each
other's bindings.  The application's part is one immutable :class:`Application`; whoever caches
something that depends on it compares its identity with :data:`application`.

Loggers keep a *gate*, the least level at which anything at all could happen.  It rests on
:data:`floor`, the least level that any bound handler wants; see :func:`watch_floor`.  The floor may
be too low (a call then takes the long way to find nobody interested); it is never too high, for
that would lose a record.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from threading import RLock
from types import TracebackType

from sprockets.logbook import _clock, _fork
from sprockets.logbook._typing import (
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
)
from sprockets.logbook.errors import MisuseError

NEVER: Final = 1 << 60
"""A floor or gate that no level reaches."""

Entry: TypeAlias = "tuple[int, Any, Entry | None]"
"""One binding: its push number, the bound object, the entry below it."""

Kind: TypeAlias = "Literal['handlers', 'processors', 'flags']"

T = TypeVar("T", bound="StackedObject")

_next_number = itertools.count(1).__next__


class Want:
    """A wish for records from *level* up, alive as long as somebody who has it is.

    All who want the same level hold the same object, and :data:`floor` is worked out from those
    still alive.  The garbage collector does the counting, so a context that dies without popping
    takes its wish along.
    """

    __slots__ = ("__weakref__", "level")

    def __init__(self, level: int) -> None:
        self.level = level


class Application:
    """What is bound to the application: one immutable snapshot of its three stacks."""

    __slots__ = ("flags", "handlers", "processors")

    def __init__(
        self,
        handlers: Entry | None = None,
        processors: Entry | None = None,
        flags: Entry | None = None,
    ) -> None:
        self.handlers = handlers
        self.processors = processors
        self.flags = flags


class Node:
    """What one context has bound.

    ``handlers``, ``processors`` and ``flags`` are the tops of the three stacks.  The node of the
    last push is ``below``, and ``kind`` names the stack that it grew; a node made by popping out of
    order has neither.  ``application``, ``routes``, ``steps``, ``fields`` and ``introspection``
    belong to the dispatcher, which fills them for one :class:`Application`.
    """

    __slots__ = (
        "application",
        "below",
        "fields",
        "flags",
        "handlers",
        "introspection",
        "is_bare",
        "kind",
        "processors",
        "routes",
        "steps",
        "want",
    )

    application: Application | None
    routes: dict[int, Any]
    steps: tuple[Any, ...]
    fields: dict[str, Any] | None
    introspection: bool
    is_bare: bool

    def __init__(
        self,
        handlers: Entry | None,
        processors: Entry | None,
        flags: Entry | None,
        below: Node | None = None,
        kind: Kind | None = None,
        want: Want | tuple[Want, ...] | None = None,
    ) -> None:
        self.handlers = handlers
        self.processors = processors
        self.flags = flags
        self.below = below
        self.kind = kind
        self.want = want
        self.application = None


_ROOT = Node(None, None, None)
_current: ContextVar[Node] = ContextVar("sprockets.logbook.stacks", default=_ROOT)
current_node = _current.get

application = Application()
settings = object()
"""Another object each time an attribute of some handler changed; compare its identity."""
floor: int = NEVER

_wants: dict[int, weakref.ref[Want]] = {}
_kept: dict[int, Want] = {}
"""Wishes kept alive until the floor is looked at, so that each request does not make its own."""
_watchers: list[Callable[[], object]] = []
_changes = 0


class _Guard:
    """The lock that the application's stacks and the floor are changed under; good across fork."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._held_at_fork = False
        _fork.hold_at_fork(self)

    def before_fork(self) -> None:
        """Wait until no other thread is in the middle of a change."""
        self._held_at_fork = self.lock.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._held_at_fork:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        """Start anew: whoever held the lock does not exist here."""
        self.lock = RLock()


_guard = _Guard()


# -- the floor


def watch_floor(callback: Callable[[], object]) -> None:
    """Call *callback* after :data:`floor` changed; it is quick, re-entrant, and does not raise."""
    _watchers.append(callback)


def want(level: int) -> Want:
    """Return the shared wish for *level*, having made sure that no gate is above it.

    The order of the two steps matters: the wish exists before the floor is compared.  Whoever
    raises the floor meanwhile first publishes the higher floor, then looks for wishes, then raises
    the gates, so one of the two notices the other.
    """
    found = _kept.get(level)
    if found is None:
        with _guard.lock:
            reference = _wants.get(level)
            found = reference() if reference is not None else None
            if found is None:
                found = Want(level)
                _wants[level] = weakref.ref(found)
            _kept[level] = found
    if level < floor:
        _settle_floor()
    return found


def tighten_floor() -> None:
    """Raise the floor to what the wishes still alive ask for, and drop the dead ones."""
    with _guard.lock:
        _kept.clear()
        for level, reference in list(_wants.items()):
            if reference() is None:
                del _wants[level]
        if _least_level() > floor:
            _settle_floor()


def _settle_floor() -> None:
    """Work the floor out and tell the watchers, again and again until nothing changed meanwhile.

    A signal handler may bind a handler in the middle of this; it then runs its own, complete pass,
    and the check at the end sees that and starts over.
    """
    global floor, _changes
    with _guard.lock:
        while True:
            _changes += 1
            mine = _changes
            floor = _least_level()
            least = _least_level()
            if least < floor:
                continue
            for callback in _watchers:
                callback()
            if mine == _changes:
                return


def _least_level() -> int:
    least = _least_level_of_application()
    for level, reference in list(_wants.items()):
        if level < least and reference() is not None:
            least = level
    return least


def _least_level_of_application() -> int:
    """The least level that a handler of the application wants and no blackhole keeps from it."""
    least = ceiling = NEVER
    for handler in _objects(application.handlers):
        level = least_level_of(handler)
        if is_blackhole(handler):
            ceiling = min(ceiling, level)
        elif level < ceiling:
            least = min(least, level)
    return least


def least_level_of(handler: object) -> int:
    """The least level *handler* could be interested in; 0 if it does not say."""
    try:
        level: int = handler.least_level  # type: ignore[attr-defined]  # asked, not required
    except AttributeError:
        return 0
    return level


def is_blackhole(handler: object) -> bool:
    """Whether *handler* ends the way of every record from its level up, unseen."""
    return (
        bool(getattr(handler, "blackhole", False))
        and getattr(handler, "filter", None) is None
        and not getattr(handler, "bubble", False)
        and bool(getattr(handler, "is_predictable", False))
    )


def settings_changed() -> None:
    """Have the gates worked out anew: a level or switch of a logger or group has changed."""
    for callback in _watchers:
        callback()


def handlers_changed() -> None:
    """Forget what was worked out from the handlers' attributes.

    A level, filter, formatter or the like of one of them has changed.
    """
    global settings
    with _guard.lock:
        settings = object()
        _replace_application(application.handlers, application.processors, application.flags)


def _replace_application(
    handlers: Entry | None, processors: Entry | None, flags: Entry | None
) -> None:
    global application
    application = Application(handlers, processors, flags)
    # The root node lives for ever; do not let it keep handlers that are no longer bound.
    _ROOT.application = None
    _ROOT.routes = {}
    _ROOT.steps = ()
    _ROOT.fields = None
    if _least_level() != floor:
        _settle_floor()


_clock.watch_format(handlers_changed)


# -- the stacks


def _objects(entry: Entry | None) -> Iterator[Any]:
    while entry is not None:
        yield entry[1]
        entry = entry[2]


def merged(one: Entry | None, other: Entry | None) -> tuple[Any, ...]:
    """The objects of both stacks, the most recently pushed first."""
    found = []
    while one is not None and other is not None:
        if one[0] > other[0]:
            found.append(one[1])
            one = one[2]
        else:
            found.append(other[1])
            other = other[2]
    found.extend(_objects(one if one is not None else other))
    return tuple(found)


class ContextStackManager:
    """A stack of objects with two parts: the application's, and the current context's.

    This base keeps both parts itself; the handlers, processors and flags of the package share one
    node a context instead. All methods may be called from any thread and any task.
    """

    def __init__(self) -> None:
        self._context: ContextVar[Entry | None] = ContextVar(
            "sprockets.logbook.stack", default=None
        )
        self._application: Entry | None = None

    def iter_context_objects(self) -> Iterator[Any]:
        """Return the bound objects of application and context, the most recently pushed first.

        The answer is a snapshot: binding something while iterating does not change it.
        """
        return iter(merged(self._context.get(), self._application))

    def push_context(self, obj: Any) -> None:
        """Put *obj* on the stack of the current context."""
        self._context.set((_next_number(), obj, self._context.get()))

    def pop_context(self, expected: Any = None) -> Any:
        """Take the top object off the stack of the current context and return it.

        Args:
            expected: What must be on top, if it matters.

        Raises:
            AssertionError: The stack is empty, or something else is on top; it stays as it was.
        """
        entry = self.expect(self._context.get(), expected)
        self._context.set(entry[2])
        return entry[1]

    def push_application(self, obj: Any) -> None:
        """Put *obj* on the stack of the application."""
        with _guard.lock:
            self._application = (_next_number(), obj, self._application)

    def pop_application(self, expected: Any = None) -> Any:
        """Take the top object off the stack of the application and return it.

        Args:
            expected: What must be on top, if it matters.

        Raises:
            AssertionError: The stack is empty, or something else is on top; it stays as it was.
        """
        with _guard.lock:
            entry = self.expect(self._application, expected, "application ")
            self._application = entry[2]
            return entry[1]

    @staticmethod
    def expect(entry: Entry | None, expected: Any = None, which: str = "") -> Entry:
        """Return the top *entry* of *which* stack, if there is one and it is the *expected* one."""
        if entry is None:
            raise MisuseError(f"no objects on {which}stack")
        if expected is not None and entry[1] is not expected:
            raise MisuseError("popped unexpected object")
        return entry

    def push_thread(self, obj: Any) -> None:
        """Do what :meth:`push_context` does, under its old name."""
        self.push_context(obj)

    def pop_thread(self) -> Any:
        """Do what :meth:`pop_context` does, under its old name."""
        return self.pop_context()


class NodeStackManager(ContextStackManager):
    """One of the three stacks that share a node: of handlers, processors, or flags."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind: Kind = kind

    def iter_context_objects(self) -> Iterator[Any]:
        """Return the bound objects of application and context, the most recently pushed first."""
        return iter(merged(getattr(_current.get(), self.kind), getattr(application, self.kind)))

    def push_context(self, obj: Any) -> None:
        """Put *obj* on the stack of the current context."""
        node = _current.get()
        kind = self.kind
        if kind == "handlers":
            entry = (_next_number(), obj, node.handlers)
            least = least_level_of(obj)
            wish = _kept.get(least)
            if wish is None or least < floor:
                wish = want(least)
            _current.set(Node(entry, node.processors, node.flags, node, kind, wish))
        elif kind == "processors":
            entry = (_next_number(), obj, node.processors)
            _current.set(Node(node.handlers, entry, node.flags, node, kind))
        else:
            entry = (_next_number(), obj, node.flags)
            _current.set(Node(node.handlers, node.processors, entry, node, kind))

    def pop_context(self, expected: Any = None) -> Any:
        """Take the top object off the stack of the current context and return it."""
        node = _current.get()
        kind = self.kind
        entry: Entry | None = getattr(node, kind)
        if entry is None or (expected is not None and entry[1] is not expected):
            entry = self.expect(entry, expected)
        if node.kind == kind and node.below is not None:
            # The last push was ours: what it left below is exactly what we want, caches included.
            _current.set(node.below)
            return entry[1]
        tops = {"handlers": node.handlers, "processors": node.processors, "flags": node.flags}
        tops[kind] = entry[2]
        if not any(tops.values()):
            _current.set(_ROOT)
            return entry[1]
        wishes = tuple(want(least_level_of(handler)) for handler in _objects(tops["handlers"]))
        _current.set(Node(tops["handlers"], tops["processors"], tops["flags"], want=wishes))
        return entry[1]

    def push_application(self, obj: Any) -> None:
        """Put *obj* on the stack of the application."""
        with _guard.lock:
            self._set_application((_next_number(), obj, getattr(application, self.kind)))

    def pop_application(self, expected: Any = None) -> Any:
        """Take the top object off the stack of the application and return it."""
        with _guard.lock:
            entry = self.expect(getattr(application, self.kind), expected, "application ")
            self._set_application(entry[2])
            return entry[1]

    def _set_application(self, entry: Entry | None) -> None:
        tops = {
            "handlers": application.handlers,
            "processors": application.processors,
            "flags": application.flags,
        }
        tops[self.kind] = entry
        _replace_application(tops["handlers"], tops["processors"], tops["flags"])


# -- stacked objects


class StackedObject:
    """Something that can be bound: to the application, or to the current context.

    ``with obj:`` binds to the current context, which is the thread in threaded code and the task in
    asyncio code.  What is pushed must be popped in reverse order, in the context it was pushed in.
    """

    def push_context(self) -> None:
        """Bind to the current context."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is bound")

    def pop_context(self) -> None:
        """Unbind from the current context."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is unbound")

    def push_application(self) -> None:
        """Bind to the application: all threads, all tasks."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is bound")

    def pop_application(self) -> None:
        """Unbind from the application."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is unbound")

    def __enter__(self) -> Self:
        """Bind to the current context."""
        self.push_context()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Unbind from the current context; exceptions pass."""
        self.pop_context()

    def applicationbound(self) -> ApplicationBinding[Self]:
        """Return a context manager that binds to the application and gives back this object."""
        return ApplicationBinding(self)

    def contextbound(self) -> Self:
        """Return a context manager that binds to the current context: the object itself."""
        return self

    def threadbound(self) -> Self:
        """Do what :meth:`contextbound` does, under its old name."""
        return self

    def greenletbound(self) -> Self:
        """Do what :meth:`contextbound` does, under its old name."""
        return self

    def push_thread(self) -> None:
        """Do what :meth:`push_context` does, under its old name."""
        self.push_context()

    def pop_thread(self) -> None:
        """Do what :meth:`pop_context` does, under its old name."""
        self.pop_context()

    def push_greenlet(self) -> None:
        """Do what :meth:`push_context` does, under its old name."""
        self.push_context()

    def pop_greenlet(self) -> None:
        """Do what :meth:`pop_context` does, under its old name."""
        self.pop_context()


class ApplicationBinding(Generic[T]):
    """Binds an object to the application for the length of a ``with`` block."""

    def __init__(self, obj: T) -> None:
        self._obj = obj

    def __enter__(self) -> T:
        """Bind, and return the object."""
        self._obj.push_application()
        return self._obj

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Unbind; exceptions pass."""
        self._obj.pop_application()


class ContextObject(StackedObject):
    """A stacked object whose class owns a stack."""

    stack_manager: ClassVar[ContextStackManager | None] = None
    """The stack that objects of this class, and of its subclasses, are bound on."""

    def _manager(self) -> ContextStackManager:
        if self.stack_manager is None:
            raise MisuseError(f"{type(self).__name__} has no stack_manager to be bound on")
        return self.stack_manager

    def push_context(self) -> None:
        """Bind to the current context."""
        (self.stack_manager or self._manager()).push_context(self)

    def pop_context(self) -> None:
        """Unbind from the current context.

        Raises:
            AssertionError: Nothing is bound, or something else is on top; nothing changes.
        """
        (self.stack_manager or self._manager()).pop_context(self)

    def push_application(self) -> None:
        """Bind to the application: all threads, all tasks."""
        self._manager().push_application(self)

    def pop_application(self) -> None:
        """Unbind from the application.

        Raises:
            AssertionError: Nothing is bound, or something else is on top; nothing changes.
        """
        self._manager().pop_application(self)


class NestedSetup(StackedObject):
    """Several stacked objects, of any kind, bound and unbound as one.

    Args:
        objects: From the one with the least priority to the one with the most.
    """

    def __init__(self, objects: Iterable[StackedObject] | None = None) -> None:
        self.objects: list[StackedObject] = list(objects or ())

    def push_context(self) -> None:
        """Bind all to the current context, first to last; all or none."""
        self._push(lambda obj: obj.push_context(), lambda obj: obj.pop_context())

    def pop_context(self) -> None:
        """Unbind all from the current context, last to first."""
        for obj in reversed(self.objects):
            obj.pop_context()

    def push_application(self) -> None:
        """Bind all to the application, first to last; all or none."""
        self._push(lambda obj: obj.push_application(), lambda obj: obj.pop_application())

    def pop_application(self) -> None:
        """Unbind all from the application, last to first."""
        for obj in reversed(self.objects):
            obj.pop_application()

    def _push(
        self, push: Callable[[StackedObject], object], pop: Callable[[StackedObject], object]
    ) -> None:
        pushed: list[StackedObject] = []
        try:
            for obj in self.objects:
                push(obj)
                pushed.append(obj)
        except BaseException:
            for obj in reversed(pushed):
                pop(obj)
            raise
