"""Attributes that are worked out when first read."""

from __future__ import annotations

from collections.abc import Callable

from sprockets.logbook._typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


class cached_property(Generic[T]):
    """An attribute that is worked out when first read, then stored on the object under its name.

    Assigning replaces the stored value, deleting has it worked out again.  The object needs a
    ``__dict__``.

    >>> class Order:
    ...     @cached_property
    ...     def total(self):
    ...         return 42
    >>> order = Order()
    >>> order.total, vars(order)
    (42, {'total': 42})

    Args:
        func: Works the value out; takes the object.
        name: Name of the attribute; its name in the class body unless given.
        doc: Documentation; that of *func* unless given.
    """

    def __init__(
        self, func: Callable[[Any], T], name: str | None = None, doc: str | None = None
    ) -> None:
        self.func = func
        self.__name__: str = str(name or getattr(func, "__name__", ""))
        self.__module__ = func.__module__
        self.__doc__ = doc or func.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.__name__ = name

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...

    @overload
    def __get__(self, obj: object, owner: type) -> T: ...

    def __get__(self, obj: object | None, owner: type) -> Self | T:
        if obj is None:
            return self
        value = self.func(obj)
        # Not through __dict__: asking for it makes the interpreter build one.
        object.__setattr__(obj, self.__name__, value)
        return value

    if TYPE_CHECKING:

        def __set__(self, obj: object, value: T) -> None: ...
