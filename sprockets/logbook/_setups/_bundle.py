"""Bundles: several stacked objects bound as one, in an order that makes sense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from sprockets.logbook._context import ContextObject, NestedSetup, StackedObject
from sprockets.logbook._flags import Flags
from sprockets.logbook._processor import Processor
from sprockets.logbook._setups._binding import (
    ForkSafeLock,
    Redirection,
    exchange,
    wait_for_calls,
)
from sprockets.logbook._typing import Any
from sprockets.logbook.errors import MisuseError
from sprockets.logbook.handlers import Handler, NullHandler, WrapperHandler


class ReadySetup(StackedObject):
    """A set-up with handlers of its own, not bound yet; made by the functions of this module.

    It is bound as any stacked object: ``with setup.applicationbound():``, or
    ``setup.push_application()`` for good.  While it is, stdlib logging and warnings are redirected
    into it.  The handlers are the set-up's: :meth:`close` closes them, and what waits is delivered
    at the end of the program as well.

    All methods may be called from any thread, but not from a signal handler.  In a forked child it
    is as it was, and so are its handlers.

    Args:
        outputs: Handlers that a record's way ends at, by name.  What they are not interested in
            ends there, too: nobody below writes it.
        others: What is bound upon these, from the one with the least priority to the one with the
            most.
        names: Of those among *others* that are handlers.
    """

    def __init__(
        self,
        outputs: Mapping[str, Handler] | None = None,
        others: Iterable[StackedObject] = (),
        *,
        names: Mapping[str, Handler] | None = None,
    ) -> None:
        self._outputs = dict(outputs or {})
        self._others = list(others)
        self._names = dict(names or {})
        for handler in list(self._outputs.values())[1:]:
            # It is above another, which is to have its records as well.
            handler.bubble = True
        ends: list[StackedObject] = [NullHandler()] if self._outputs else []
        self._objects = [*ends, *self._outputs.values(), *self._others]
        plain = [found for found in self._objects if _is_plain(found)]
        self._stacks: dict[str, list[StackedObject]] = {
            "flags": [found for found in plain if isinstance(found, Flags)],
            "processors": [found for found in plain if isinstance(found, Processor)],
            "handlers": [found for found in plain if isinstance(found, Handler)],
        }
        self._special = [found for found in self._objects if not _is_plain(found)]
        self._lock = ForkSafeLock()
        self._is_in_application = False
        self._contexts = 0
        self._is_closed = False
        self._redirection = Redirection()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self.handlers) or 'no handlers'}>"

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers by name, as in ``setup.handlers["console"]``."""
        return MappingProxyType({**self._outputs, **self._names})

    @property
    def objects(self) -> list[StackedObject]:
        """What is bound, from the one with the least priority to the one with the most."""
        return list(self._objects)

    # -- bound and unbound

    def push_application(self) -> None:
        """Bind to the application: all threads, all tasks.

        Raises:
            AssertionError: It is there already, or closed.
        """
        with self._lock:
            self._check_open()
            if self._is_in_application:
                raise MisuseError(f"{self!r} is bound to the application already")
            exchange(None, self._stacks)
            try:
                NestedSetup(self._special).push_application()
            except BaseException:
                exchange(self._stacks, None)
                raise
            self._is_in_application = True
            self._redirect()

    def pop_application(self) -> None:
        """Unbind from the application, whatever was bound after it.

        Raises:
            AssertionError: It is not bound there.
        """
        with self._lock:
            if not self._is_in_application:
                raise MisuseError(f"{self!r} is not bound to the application")
            self._is_in_application = False
            self._redirect()
            try:
                NestedSetup(self._special).pop_application()
            finally:
                exchange(self._stacks, None)

    def push_context(self) -> None:
        """Bind to the current context.

        Redirection of stdlib logging and warnings is for the whole process, here as well.
        """
        with self._lock:
            self._check_open()
            NestedSetup(self._objects).push_context()
            self._contexts += 1
            self._redirect()

    def pop_context(self) -> None:
        """Unbind from the current context.

        Raises:
            AssertionError: It is not bound there, or something else is on top.
        """
        NestedSetup(self._objects).pop_context()
        with self._lock:
            self._contexts = max(0, self._contexts - 1)
            self._redirect()

    def _check_open(self) -> None:
        if self._is_closed:
            raise MisuseError(f"{self!r} is closed; make another")

    def _redirect(self) -> None:
        is_bound = not self._is_closed and (self._is_in_application or self._contexts > 0)
        self._redirection.follow(logging=is_bound, warnings=is_bound)

    def close(self) -> bool:
        """Unbind from the application, deliver what waits, close the handlers; twice is once.

        What a context has bound is closed as well: close it when that is over.

        Returns:
            Whether everything was delivered in time.
        """
        with self._lock:
            if self._is_closed:
                return True
            if self._is_in_application:
                self.pop_application()
            self._is_closed = True
            self._redirect()
        wait_for_calls()
        done = [_close(found) for found in reversed(self._objects)]
        return all(done)


def bundle(setups: Iterable[StackedObject]) -> ReadySetup:
    """Return one set-up of all *setups*, whose handlers are its own from now on.

    What ready ones end at comes first, so that nothing is kept from the others.

    Raises:
        TypeError: There is something among them that cannot be bound.
        ValueError: There is none, or one that is bound or closed.
    """
    outputs: dict[str, Handler] = {}
    names: dict[str, Handler] = {}
    others: list[StackedObject] = []
    for setup in _flat(setups):
        if not isinstance(setup, ReadySetup):
            others.append(setup)
            if isinstance(setup, Handler):
                names[_free(_name_of(setup), outputs, names)] = setup
            continue
        if setup._is_in_application or setup._contexts or setup._is_closed:
            state = "closed" if setup._is_closed else "bound already"
            raise ValueError(f"{setup!r} is {state}; give all_of() set-ups that are new")
        # Its handlers are closed with the one that has them now.
        setup._is_closed = True
        for name, handler in setup._outputs.items():
            outputs[_free(name, outputs, names)] = handler
        for name, handler in setup._names.items():
            names[_free(name, outputs, names)] = handler
        others += setup._others
    if not outputs and not others:
        raise ValueError("all_of() of nothing; give it set-ups, as in all_of(console(), ...)")
    return ReadySetup(outputs, others, names=names)


def _flat(setups: Iterable[object]) -> Iterator[StackedObject]:
    for setup in setups:
        if type(setup) is NestedSetup:
            yield from _flat(setup.objects)
        elif isinstance(setup, StackedObject):
            yield setup
        else:
            raise TypeError(
                f"all_of() takes set-ups, handlers, processors and flags, got {setup!r}"
                f"{'; call it' if callable(setup) else ''}"
            )


def _name_of(handler: Handler) -> str:
    return type(handler).__name__.removesuffix("Handler").lower() or "handler"


def _free(name: str, *taken: Mapping[str, object]) -> str:
    """Return *name*, with a number if somebody has it."""
    number, found = 1, name
    while any(found in names for names in taken):
        number += 1
        found = f"{name}-{number}"
    return found


_BINDING = ("push_application", "pop_application")


def _is_plain(found: StackedObject) -> bool:
    """Whether *found* does no more when it is bound than to be on its stack."""
    return isinstance(found, (Flags, Handler, Processor)) and all(
        getattr(type(found), name) is getattr(ContextObject, name) for name in _BINDING
    )


def _close(found: StackedObject) -> bool:
    """Close *found*, and return whether it said that all was delivered."""
    inner = vars(found).get("handler")
    is_done = True
    if isinstance(inner, Handler) and not isinstance(found, WrapperHandler):
        # What only collects for another does not say what became of that one's records.
        is_done = _close(inner)
    close: Any = getattr(found, "close", None)
    try:
        return (close is None or close() is not False) and is_done
    except Exception as error:  # noqa: BLE001 - reported; the others are to be closed as well
        from sprockets.logbook import _failures

        _failures.report(None, (type(error), error, error.__traceback__))
        return False
