"""A handler that keeps what it gets, for tests to ask about."""

from __future__ import annotations

from functools import partial

from sprockets.logbook import _caller
from sprockets.logbook._format import TEST_FORMAT_STRING, StringFormatterHandlerMixin
from sprockets.logbook._levels import (
    CRITICAL,
    DEBUG,
    ERROR,
    INFO,
    NOTICE,
    NOTSET,
    TRACE,
    WARNING,
    Level,
    get_level_name,
)
from sprockets.logbook._typing import (
    TYPE_CHECKING,
    ClassVar,
    Protocol,
    Self,
    overload,
)
from sprockets.logbook.handlers._base import Filter, Handler
from sprockets.logbook.record import LogRecord

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    import re

_caller.register(__file__)


class _HasAny:
    """Whether a test handler has a record of one level."""

    def __init__(self, level: int) -> None:
        self._level = level
        self.__doc__ = f"Whether there is a record of level ``{get_level_name(level)}``."

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...

    @overload
    def __get__(self, obj: TestHandler, owner: type) -> bool: ...

    def __get__(self, obj: TestHandler | None, owner: type) -> Self | bool:
        if obj is None:
            return self
        return any(record.level == self._level for record in obj.records)


class SupportsProbe(Protocol):
    """A question about one record of one level."""

    def __call__(
        self, message: str | re.Pattern[str] | None = None, channel: str | None = None
    ) -> bool:
        """Return whether there is a record that fits."""


class _HasOne:
    """Asks a test handler about one record of one level; see `TestHandler.has_record`."""

    def __init__(self, level: int) -> None:
        self._level = level
        name = get_level_name(level)
        self.__doc__ = f"Return whether a record of level ``{name}`` fits; see `has_record`."

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...

    @overload
    def __get__(self, obj: TestHandler, owner: type) -> SupportsProbe: ...

    def __get__(self, obj: TestHandler | None, owner: type) -> Self | SupportsProbe:
        return self if obj is None else partial(obj.has_record, self._level)


class TestHandler(Handler, StringFormatterHandlerMixin):
    """Keeps all records, open, and answers questions about them.

    >>> from sprockets.logbook import Logger
    >>> with TestHandler() as handler:
    ...     Logger("shop").warning("only {} left", 2)
    >>> handler.has_warning("only 2 left", channel="shop")
    True

    Args:
        level: Least level it keeps, a number or a name.
        format_string: Layout of :attr:`formatted_records`.
        filter: Called with record and handler; the handler keeps what it answers true for.
        bubble: Whether records go on to the next handler.
        force_heavy_init: Fix time and place also of records dispatched in unusual ways.
    """

    __test__ = False

    default_format_string: ClassVar[str] = TEST_FORMAT_STRING

    records: list[LogRecord]

    def __init__(
        self,
        level: Level = NOTSET,
        format_string: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
        force_heavy_init: bool = False,
    ) -> None:
        Handler.__init__(self, level, filter, bubble)
        StringFormatterHandlerMixin.__init__(self, format_string)
        self.records = []
        self.force_heavy_init = force_heavy_init
        self._formatted: list[str] = []
        self._formatted_of: list[object] = []

    def emit(self, record: LogRecord) -> None:
        """Keep *record*."""
        record.keep_open = True
        if self.force_heavy_init:
            record.heavy_init()
        self.records.append(record)

    def close(self) -> None:
        """Close all records; they stay in :attr:`records`."""
        for record in self.records:
            record.close()

    @property
    def formatted_records(self) -> list[str]:
        """The records' lines; the same list until there is something new to format."""
        current: list[object] = [self.formatter, *self.records]
        if len(current) != len(self._formatted_of) or any(
            now is not before for now, before in zip(current, self._formatted_of, strict=True)
        ):
            self._formatted = [self.format(record) for record in self.records]
            self._formatted_of = current
        return self._formatted

    def has_record(
        self, level: int, message: str | re.Pattern[str] | None = None, channel: str | None = None
    ) -> bool:
        """Return whether there is a record of exactly *level* that fits.

        Args:
            level: The number of the level.
            message: The whole message, or a compiled pattern to be found somewhere in it.
            channel: The channel.
        """
        return any(
            record.level == level
            and (channel is None or record.channel == channel)
            and _fits(record, message)
            for record in self.records
        )

    has_criticals: _HasAny = _HasAny(CRITICAL)
    has_errors: _HasAny = _HasAny(ERROR)
    has_warnings: _HasAny = _HasAny(WARNING)
    has_notices: _HasAny = _HasAny(NOTICE)
    has_infos: _HasAny = _HasAny(INFO)
    has_debugs: _HasAny = _HasAny(DEBUG)
    has_traces: _HasAny = _HasAny(TRACE)

    has_critical: _HasOne = _HasOne(CRITICAL)
    has_error: _HasOne = _HasOne(ERROR)
    has_warning: _HasOne = _HasOne(WARNING)
    has_notice: _HasOne = _HasOne(NOTICE)
    has_info: _HasOne = _HasOne(INFO)
    has_debug: _HasOne = _HasOne(DEBUG)
    has_trace: _HasOne = _HasOne(TRACE)


def _fits(record: LogRecord, message: str | re.Pattern[str] | None) -> bool:
    if message is None:
        return True
    if isinstance(message, str):
        return bool(record.message == message)
    return message.search(str(record.message)) is not None
