"""Old names: still work, warn once at the caller's line, say since when and what instead."""

import functools
import warnings
from typing import TYPE_CHECKING, Any

__all__ = ["deprecated", "moved"]

if TYPE_CHECKING:
    # Type checkers report the uses of what this one marks.
    from typing_extensions import deprecated
else:
    # Importing typing_extensions costs more than all of sprockets.logbook should.
    def deprecated(text, /):
        """Mark a function as old: calling it warns with *text*, at the line of the caller."""

        def mark(function):
            @functools.wraps(function)
            def warn_and_call(*args, **kwargs):
                warnings.warn(text, DeprecationWarning, stacklevel=2)
                return function(*args, **kwargs)

            warn_and_call.__deprecated__ = text
            return warn_and_call

        return mark


class moved:
    """An attribute's old name, which reads and writes the new one and warns.

    Args:
        to: The name it has now.
        since: The version in which it moved.

    >>> class Queue:
    ...     def __init__(self) -> None:
    ...         self.max_size = 10
    ...     maxSize = moved("max_size", since="3.0")
    >>> import warnings
    >>> with warnings.catch_warnings(record=True, action="always") as caught:
    ...     Queue().maxSize
    10
    >>> print(caught[0].message)
    Queue.maxSize is deprecated since 3.0; use max_size instead
    """

    def __init__(self, to: str, *, since: str) -> None:
        self.to = to
        self.since = since
        self.text = f"this name is deprecated since {since}; use {to} instead"
        self.__doc__ = f".. deprecated:: {since}\n   Use :attr:`{to}`."

    def __set_name__(self, owner: type, name: str) -> None:
        self.text = (
            f"{owner.__name__}.{name} is deprecated since {self.since}; use {self.to} instead"
        )

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        warnings.warn(self.text, DeprecationWarning, stacklevel=2)
        return getattr(owner if instance is None else instance, self.to)

    def __set__(self, instance: object, value: object) -> None:
        warnings.warn(self.text, DeprecationWarning, stacklevel=2)
        setattr(instance, self.to, value)
