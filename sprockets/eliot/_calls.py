"""Calls as actions: their arguments at the start, their result at the end."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, ParamSpec, TypeVar, cast, overload

from sprockets.eliot._action import open_action
from sprockets.eliot._fields import EXCEPTION, IDENTITY, REASON, TRACEBACK, Message

P = ParamSpec("P")
R = TypeVar("R")

_OURS: Final = IDENTITY | {EXCEPTION, REASON, TRACEBACK}
_STARS: Final[dict[object, str]] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


@overload
def log_call(
    wrapped_function: Callable[P, R],
    action_type: str | None = None,
    include_args: Sequence[str] | None = None,
    include_result: bool = True,
) -> Callable[P, R]: ...


@overload
def log_call(
    wrapped_function: None = None,
    action_type: str | None = None,
    include_args: Sequence[str] | None = None,
    include_result: bool = True,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def log_call(
    wrapped_function: Any = None,
    action_type: str | None = None,
    include_args: Sequence[str] | None = None,
    include_result: bool = True,
) -> Any:
    """Make each call of a function an action.

    The start message has the arguments, with defaults filled in, but for one called ``self``; an
    argument that has the name of a field of ours gets a ``_`` after it.  The end message has the
    ``result``.  What is passed and returned is logged as it is: mind secrets, and size.

    The action of a coroutine function lasts until it has returned.  That of a generator function,
    asynchronous or not, or of any other that returns something which has yet to happen, lasts for
    the call alone.

    >>> @log_call(action_type="orders:price", include_args=["order"])
    ... def price(order, customer, *, discount=0): ...

    Args:
        wrapped_function: What is decorated: a function, a ``staticmethod`` or ``classmethod``, or
            anything else that is called and has a signature.
        action_type: By default the function's module and qualified name.
        include_args: Names of the arguments to log; all of them if None.
        include_result: Whether to log the result.

    Raises:
        ValueError: A name in *include_args* is no argument of the function, or the function does
            not tell its arguments.
        TypeError: What is decorated is no function.
    """
    if wrapped_function is None:
        return functools.partial(
            log_call,
            action_type=action_type,
            include_args=include_args,
            include_result=include_result,
        )
    if isinstance(wrapped_function, (staticmethod, classmethod)):
        inner: Any = log_call(wrapped_function.__func__, action_type, include_args, include_result)
        return type(wrapped_function)(inner)
    if not callable(wrapped_function):
        raise TypeError(
            f"log_call decorates functions, not {wrapped_function!r}"
            " (the type of the action is given as action_type=)"
        )
    named = _named(wrapped_function)
    if action_type is None:
        action_type = ".".join(
            filter(None, (getattr(named, "__module__", None), named.__qualname__))
        )
    bind = _make_bind(wrapped_function, named, include_args)
    wrapper = _wrap(wrapped_function, action_type, bind, include_result)
    # A class or an instance has attributes that are no marks on a function.
    marks = ("__dict__",) if inspect.isroutine(wrapped_function) else ()
    functools.update_wrapper(wrapper, wrapped_function, updated=marks)
    for name in ("__module__", "__name__", "__qualname__"):
        setattr(wrapper, name, getattr(named, name, None))
    return wrapper


def _named(function: Any) -> Any:
    """Return what *function* is called after: a partial object has no name, nor has an instance."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if hasattr(function, "__qualname__") else type(function)


def _wrap(
    function: Callable[..., Any],
    action_type: str,
    bind: Callable[..., Message],
    include_result: bool,
) -> Callable[..., Any]:
    if _is_coroutine_function(function):

        async def call_and_wait(*args: Any, **kwargs: Any) -> Any:
            with open_action(None, action_type, None, bind(*args, **kwargs)) as action:
                result = await function(*args, **kwargs)
                if include_result:
                    action.add_success_fields(result=result)
                return result

        return call_and_wait

    def call(*args: Any, **kwargs: Any) -> Any:
        with open_action(None, action_type, None, bind(*args, **kwargs)) as action:
            result = function(*args, **kwargs)
            if include_result:
                action.add_success_fields(result=result)
            return result

    return call


def _is_coroutine_function(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or (
        not isinstance(function, type)
        and inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
    )


# -- arguments


def _make_bind(
    function: Callable[..., Any], named: Any, include_args: Sequence[str] | None
) -> Callable[..., Message]:
    """Return a function of the same arguments that returns them as fields.

    It is compiled, so that the interpreter itself puts arguments to names, at a tenth of the price
    of `inspect.Signature.bind`; and what it says of a call that does not fit is what it would have
    said of the function.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError) as error:
        raise ValueError(f"cannot find out the arguments of {function!r}") from error
    logged = _logged(named.__qualname__, parameters, include_args)
    names = _field_names(logged)
    source = f"lambda {_parameter_list(parameters.values())}: {{{_items(names)}}}"
    # Only names of parameters are in the source, and those are identifiers.
    bind: Any = eval(source, {})  # noqa: S307
    bind.__qualname__ = named.__qualname__
    positional, keyword_only = [], {}
    for name, parameter in parameters.items():
        if parameter.default is not parameter.empty:
            if parameter.kind is parameter.KEYWORD_ONLY:
                keyword_only[name] = parameter.default
            else:
                positional.append(parameter.default)
    bind.__defaults__ = tuple(positional)
    bind.__kwdefaults__ = keyword_only
    return cast("Callable[..., Message]", bind)


def _logged(
    function: str, parameters: Iterable[str], include_args: Sequence[str] | None
) -> list[str]:
    """Return the names of the arguments to log."""
    if include_args is None:
        return [name for name in parameters if name != "self"]
    known = list(parameters)
    wanted = [include_args] if isinstance(include_args, str) else list(include_args)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(
            f"{function}() has no argument {', '.join(map(repr, unknown))};"
            f" it has {', '.join(map(repr, known)) or 'none'}"
        )
    return wanted


def _field_names(logged: Iterable[str]) -> dict[str, str]:
    """Return the field of each argument: its name, unless that is a field of ours."""
    names = dict.fromkeys(logged, "")
    for name in names:
        field = name
        while field in _OURS or (field != name and field in names):
            field += "_"
        names[name] = field
    return names


def _parameter_list(parameters: Iterable[inspect.Parameter]) -> str:
    """Return *parameters* as source; the defaults only hold the place of the real ones."""
    parts: list[str] = []
    last: object = None
    has_star = False
    for parameter in parameters:
        kind = parameter.kind
        if last is parameter.POSITIONAL_ONLY and kind is not parameter.POSITIONAL_ONLY:
            parts.append("/")
        if kind is parameter.KEYWORD_ONLY and not has_star:
            parts.append("*")
            has_star = True
        has_star = has_star or kind is parameter.VAR_POSITIONAL
        stars = _STARS.get(kind, "")
        default = "" if parameter.default is parameter.empty else "=None"
        parts.append(f"{stars}{parameter.name}{default}")
        last = kind
    if last is inspect.Parameter.POSITIONAL_ONLY:
        parts.append("/")
    return ", ".join(parts)


def _items(names: dict[str, str]) -> str:
    return ", ".join(f"{field!r}: {name}" for name, field in names.items())
