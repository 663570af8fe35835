"""Generators: each in a context of its own, so that the actions it opens stay inside."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextvars import copy_context
from functools import wraps
from types import GeneratorType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from sprockets.eliot._action import log_message

P = ParamSpec("P")
Y = TypeVar("Y")
S = TypeVar("S")
R = TypeVar("R")
P_co = ParamSpec("P_co")
T_co = TypeVar("T_co", covariant=True)


class FriendlyFunction(Protocol, Generic[P_co, T_co]):
    """A generator function as `eliot_friendly_generator_function` returns it."""

    debug: bool
    """Whether to log a message of the type ``yielded`` inside the generator at each yield."""

    def __call__(self, *args: P_co.args, **kwargs: P_co.kwargs) -> T_co:
        """Return a generator."""


def eliot_friendly_generator_function(
    original: Callable[P, Generator[Y, S, R]],
) -> FriendlyFunction[P, Generator[Y, S, R]]:
    """Return *original* so that each of its generators keeps its actions to itself.

    A generator runs in a copy of the context in which its first step is taken, whoever takes the
    steps that follow, in whatever thread.  What its caller sends, throws, or closes reaches it;
    what it yields, returns, and raises comes out.

    >>> from sprockets.eliot._context import CURRENT
    >>> @eliot_friendly_generator_function
    ... def counting():
    ...     CURRENT.set("the generator's own")
    ...     yield 1
    ...     return CURRENT.get()
    >>> def delegating():
    ...     print((yield from counting()))
    >>> for number in delegating():
    ...     print(number, CURRENT.get())
    1 None
    the generator's own
    """

    @wraps(original)
    def generate(*args: P.args, **kwargs: P.kwargs) -> Generator[Y, S, R]:
        generator = original(*args, **kwargs)
        # Anything else is the caller's mistake, and for the caller to find.
        return _steps(generator, friendly) if isinstance(generator, GeneratorType) else generator

    friendly = cast("FriendlyFunction[P, Generator[Y, S, R]]", generate)
    friendly.debug = False
    return friendly


def _steps(
    generator: Generator[Y, S, R], function: FriendlyFunction[Any, object]
) -> Generator[Y, S, R]:
    context = copy_context()
    step: Callable[[Any], Y] = generator.send
    value: object = None
    while True:
        try:
            yielded = context.run(step, value)
        except StopIteration as stop:
            return cast("R", stop.value)
        finally:
            value = None  # an exception would hold this frame, which holds it
        if function.debug:
            context.run(log_message, "yielded")
        try:
            value = yield yielded
            step = generator.send
        except BaseException as error:  # noqa: BLE001 - all of them are the generator's
            # GeneratorExit as well: thrown, it does what close() does, and one that is caught
            # inside ends as it would without us.
            value = error
            step = generator.throw
