"""A handler that keeps what it gets, for tests to ask about."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

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
)
from sprockets.logbook.handlers._base import Filter, Handler
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

Expected = str | re.Pattern[str] | None


def _has_any(level: int, name: str) -> property:
    def has_any(self: TestHandler) -> bool:
        return any(record.level == level for record in self.records)

    return property(has_any, doc=f"Whether there is a record of level ``{name}``.")


def _has_one(level: int, name: str) -> Callable[..., bool]:
    def has_one(self: TestHandler, message: Expected = None, channel: str | None = None) -> bool:
        return self.has_record(level, message, channel)

    has_one.__name__ = f"has_{name.lower()}"
    has_one.__qualname__ = f"TestHandler.{has_one.__name__}"
    has_one.__doc__ = (
        f"Return whether there is a record of level ``{name}`` that fits; see `has_record`."
    )
    return has_one


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

    def has_record(self, level: int, message: Expected = None, channel: str | None = None) -> bool:
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

    has_criticals = _has_any(CRITICAL, "CRITICAL")
    has_errors = _has_any(ERROR, "ERROR")
    has_warnings = _has_any(WARNING, "WARNING")
    has_notices = _has_any(NOTICE, "NOTICE")
    has_infos = _has_any(INFO, "INFO")
    has_debugs = _has_any(DEBUG, "DEBUG")
    has_traces = _has_any(TRACE, "TRACE")

    has_critical = _has_one(CRITICAL, "CRITICAL")
    has_error = _has_one(ERROR, "ERROR")
    has_warning = _has_one(WARNING, "WARNING")
    has_notice = _has_one(NOTICE, "NOTICE")
    has_info = _has_one(INFO, "INFO")
    has_debug = _has_one(DEBUG, "DEBUG")
    has_trace = _has_one(TRACE, "TRACE")


def _fits(record: LogRecord, message: Expected) -> bool:
    if message is None:
        return True
    if isinstance(message, re.Pattern):
        return message.search(str(record.message)) is not None
    return bool(record.message == message)
