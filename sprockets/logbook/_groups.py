"""Groups of loggers, and the settings that loggers reflect from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sprockets.logbook import _context
from sprockets.logbook._levels import (
    NOTSET,
    Level,
    LevelNameProperty,
    level_name_property,
    lookup_level,
)
from sprockets.logbook._processor import ProcessorCallback
from sprockets.logbook._typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Self,
    TypeVar,
    overload,
)
from sprockets.logbook.errors import MisuseError

if TYPE_CHECKING:
    from sprockets.logbook._dispatcher import RecordDispatcher
    from sprockets.logbook.record import LogRecord

T = TypeVar("T")
V = TypeVar("V")

_MISSING: Final[Any] = object()


class group_reflected_property(Generic[T, V]):
    """A setting of a logger that is its group's unless the logger has its own.

    Args:
        name: Name of the attribute, on the logger and on the group.
        default: The value without a group.
        fallback: A value of the logger's own that means "ask the group".
        convert: Turns what is assigned into what is stored.
    """

    def __init__(
        self,
        name: str,
        default: T,
        fallback: Any = _MISSING,
        convert: Callable[[V], T] | None = None,
    ) -> None:
        self._name = name
        self._key = self.own_key(name)
        self._default = default
        self._fallback = fallback
        self._convert = convert

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...

    @overload
    def __get__(self, obj: object, owner: type) -> T: ...

    def __get__(self, obj: Any, owner: type) -> Self | T:
        if obj is None:
            return self
        value: T = obj.__dict__.get(self._key, _MISSING)
        if value is not _MISSING and value != self._fallback:
            return value
        group = obj.__dict__.get("_origin") or obj.group
        if group is None:
            return self._default
        of_group: T = getattr(group, self._name)
        return of_group

    def __set__(self, obj: Any, value: V) -> None:
        obj.__dict__[self._key] = value if self._convert is None else self._convert(value)

    def __delete__(self, obj: Any) -> None:
        if self._key not in obj.__dict__:
            raise AttributeError(f"{type(obj).__name__} has no {self._name} of its own to delete")
        del obj.__dict__[self._key]

    @staticmethod
    def own_key(name: str) -> str:
        """Return the key under which an object's ``__dict__`` has its own value for *name*."""
        return "_own_" + name


class LoggerGroup:
    """Several loggers with one level, one switch, and one processor.

    A member's own level or ``disabled`` wins over the group's; see :class:`Logger`.  Changes take
    effect at once.

    Args:
        loggers: The first members.
        level: Least level of members that have none of their own, a number or a name.
        processor: Called with every record of every member, before the bound processors.
    """

    loggers: list[RecordDispatcher]
    level: int
    disabled: bool
    processor: ProcessorCallback | None
    level_name: LevelNameProperty = level_name_property()

    def __init__(
        self,
        loggers: Iterable[RecordDispatcher] | None = None,
        level: Level = NOTSET,
        processor: ProcessorCallback | None = None,
    ) -> None:
        self.loggers = []
        self.disabled = False
        self.processor = processor
        self.level = lookup_level(level)
        for logger in loggers or ():
            self.add_logger(logger)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "level":
            value = lookup_level(value)
        object.__setattr__(self, name, value)
        if name in ("level", "disabled", "processor"):
            _context.settings_changed()

    def add_logger(self, logger: RecordDispatcher) -> None:
        """Make *logger* a member.

        Raises:
            AssertionError: It belongs to a group already.
        """
        if logger.group is not None:
            raise MisuseError("Logger already belongs to a group")
        self.loggers.append(logger)
        logger.group = self

    def remove_logger(self, logger: RecordDispatcher) -> None:
        """Let *logger* go.

        Raises:
            ValueError: It is not a member.
        """
        for position, member in enumerate(self.loggers):
            if member is logger:
                del self.loggers[position]
                logger.group = None
                return
        raise ValueError(f"{logger!r} is not in this group; its loggers: {self.loggers!r}")

    def process_record(self, record: LogRecord) -> None:
        """Call the group's processor, if there is one, with *record*."""
        if self.processor is not None:
            self.processor(record)

    def enable(self, force: bool = False) -> None:
        """Let the members log.

        Args:
            force: Members that were switched on or off by themselves are switched on too.
        """
        self._switch(disabled=False, force=force)

    def disable(self, force: bool = False) -> None:
        """Silence the members.

        Args:
            force: Members that were switched on or off by themselves are switched off too.
        """
        self._switch(disabled=True, force=force)

    def _switch(self, *, disabled: bool, force: bool) -> None:
        self.disabled = disabled
        if not force:
            return
        for logger in self.loggers:
            if group_reflected_property.own_key("disabled") in vars(logger):
                logger.disabled = disabled
