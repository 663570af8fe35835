"""Levels: how bad a record is, as a number and as a name."""

from __future__ import annotations

from types import MappingProxyType

from sprockets.logbook._typing import Any, Final, Self, TypeAlias, overload

CRITICAL: Final = 15
ERROR: Final = 14
WARNING: Final = 13
NOTICE: Final = 12
INFO: Final = 11
DEBUG: Final = 10
TRACE: Final = 9
NOTSET: Final = 0

Level: TypeAlias = int | str

LEVEL_NAMES: Final = MappingProxyType(
    {
        CRITICAL: "CRITICAL",
        ERROR: "ERROR",
        WARNING: "WARNING",
        NOTICE: "NOTICE",
        INFO: "INFO",
        DEBUG: "DEBUG",
        TRACE: "TRACE",
        NOTSET: "NOTSET",
    }
)
_LEVELS: Final = MappingProxyType({name: level for level, name in LEVEL_NAMES.items()})


def lookup_level(level: Level) -> int:
    """Return the number of *level*; a number is its own.

    >>> lookup_level("WARNING"), lookup_level(99)
    (13, 99)

    Raises:
        LookupError: No level has this name.
    """
    if isinstance(level, int):
        return level
    try:
        return _LEVELS[level]
    except (KeyError, TypeError):
        raise LookupError(f"unknown level name {level}; known: {', '.join(_LEVELS)}") from None


def get_level_name(level: int) -> str:
    """Return the name of *level*.

    >>> get_level_name(13)
    'WARNING'

    Raises:
        LookupError: No level has this number.
    """
    try:
        return LEVEL_NAMES[level]
    except (KeyError, TypeError):
        known = ", ".join(f"{number} {name}" for number, name in LEVEL_NAMES.items())
        raise LookupError(f"unknown level {level!r}; known: {known}") from None


class LevelNameProperty:
    """The name of an object's ``level``; may be set to a name or a number."""

    __doc__ = "Name of the level; may be set to a name or a number."

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...

    @overload
    def __get__(self, obj: object, owner: type) -> str: ...

    def __get__(self, obj: Any, owner: type) -> Self | str:
        return self if obj is None else get_level_name(obj.level)

    def __set__(self, obj: Any, value: Level) -> None:
        obj.level = lookup_level(value)


def level_name_property() -> LevelNameProperty:
    """Return a property that reads an object's ``level`` by name, and sets it by name or number."""
    return LevelNameProperty()
