"""Flags: switches that are bound like handlers are."""

from __future__ import annotations

from collections.abc import Mapping

from sprockets.logbook._context import ContextObject, ContextStackManager, NodeStackManager
from sprockets.logbook._typing import Any, ClassVar, Final


class _InheritType:
    """The value that says: ask the next object on the stack."""

    def __repr__(self) -> str:
        return "Inherit"

    def __reduce__(self) -> str:
        return "Inherit"


Inherit: Final[_InheritType] = _InheritType()


class Flags(ContextObject):
    """Sets flags for as long as it is bound.

    Two flags are known to the package, and any other name may be used by its owner:

    ``errors``
        What happens when something that logs fails: ``"print"`` (the default) reports it on
        standard error, ``"silent"`` only counts it, ``"raise"`` raises it out of the log call.
    ``introspection``
        Whether records know their caller; ``True`` unless set.  ``False`` saves the look at the
        interpreter's frames.

    >>> with Flags(errors="silent"):
    ...     Flags.get_flag("errors")
    'silent'

    Args:
        **flags: The flags to set; ``Inherit`` leaves one to whoever is next on the stack.
    """

    stack_manager: ClassVar[ContextStackManager] = NodeStackManager("flags")

    def __init__(self, **flags: Any) -> None:
        self._values: Mapping[str, Any] = flags

    def __getattr__(self, name: str) -> Any:
        # Only asked for names that are neither methods nor attributes, so no flag hides one.
        values = self.__dict__.get("_values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"{type(self).__name__} sets no flag {name!r}")

    def __repr__(self) -> str:
        return f"Flags({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    @staticmethod
    def get_flag(flag: str, default: Any = None) -> Any:
        """Return the value that the most recently bound object sets for *flag*, or *default*."""
        for flags in Flags.stack_manager.iter_context_objects():
            value = flags._values.get(flag, Inherit)
            if value is not Inherit:
                return value
        return default
