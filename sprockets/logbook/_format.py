"""Formatters that follow a layout, and the layouts that handlers have to begin with."""

from __future__ import annotations

from collections.abc import Callable

from sprockets.logbook import _caller, _context
from sprockets.logbook._layout import LineFormatter, LineSource, layout_of
from sprockets.logbook._text import escape_block
from sprockets.logbook._traceback import format_exception
from sprockets.logbook._typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    from sprockets.logbook.handlers._base import Handler
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

DEFAULT_FORMAT_STRING: Final = (
    "[{record.time:%Y-%m-%d %H:%M:%S.%f%z}] {record.level_name}: {record.channel}: {record.message}"
)
SYSLOG_FORMAT_STRING: Final = "{record.channel}: {record.message}"
NTLOG_FORMAT_STRING: Final = """\
Message Level: {record.level_name}
Location: {record.filename}:{record.lineno}
Module: {record.module}
Function: {record.func_name}
Exact Time: {record.time:%Y-%m-%d %H:%M:%S}

Event provided Message:

{record.message}
"""
TEST_FORMAT_STRING: Final = "[{record.level_name}] {record.channel}: {record.message}"
MAIL_FORMAT_STRING: Final = """\
Subject: {handler.subject}

Message type:       {record.level_name}
Location:           {record.filename}:{record.lineno}
Module:             {record.module}
Function:           {record.func_name}
Time:               {record.time:%Y-%m-%d %H:%M:%S}

Message:

{record.message}
"""
MAIL_RELATED_FORMAT_STRING: Final = """\
Message type:       {record.level_name}
Location:           {record.filename}:{record.lineno}
Module:             {record.module}
Function:           {record.func_name}
{record.message}
"""


class StringFormatter(LineFormatter):
    """Formats records by a layout in the syntax of ``str.format``.

    ``record`` and ``handler`` are the names a layout may use, with all their attributes:
    ``{record.message}``, ``{record.time:%H:%M}``, ``{record.extra[user]}``.  An exception's
    traceback follows on lines of its own.

    In a layout of one line, control characters, line separators and the like in what is shown are
    written as escapes: one record is one line, whatever its message says.

    Args:
        format_string: The layout.
    """

    def __init__(self, format_string: str) -> None:
        self.format_string = format_string

    @property
    def format_string(self) -> str:
        """The layout; a new one takes effect with the next record."""
        return self._format_string

    @format_string.setter
    def format_string(self, value: str) -> None:
        layout = layout_of(value)
        is_change = hasattr(self, "_layout")
        self._format_string = value
        self._layout = layout
        self.wants_caller: bool = layout.wants_caller
        if is_change:
            _context.handlers_changed()

    def __call__(self, record: LogRecord, handler: Handler) -> str:
        """Return the line of *record*, and its traceback if it has one."""
        line = self.format_record(record, handler)
        exception = self.format_exception(record)
        return f"{line}\n{exception}" if exception else line

    def format_record(self, record: LogRecord, handler: Handler) -> str:
        """Return the line of *record*."""
        return self._layout.render_record(record, handler)

    def format_exception(self, record: LogRecord) -> str | None:
        """Return the text of the record's exception, ``None`` if it has none."""
        exc_info = record.exc_info
        if not self._layout.is_one_line:
            return record.formatted_exception
        if isinstance(exc_info, tuple) and exc_info[1] is not None:
            return format_exception(exc_info, one_line_messages=True)
        text = record.formatted_exception
        return None if text is None else escape_block(text)

    def line_source(self) -> LineSource | None:
        """Return what makes a line of a call's facts; ``None`` if only a record will do."""
        cls = type(self)
        if (
            cls.__call__ is not StringFormatter.__call__
            or cls.format_record is not StringFormatter.format_record
            or cls.format_exception is not StringFormatter.format_exception
        ):
            return None
        return self._layout.source


class StringFormatterHandlerMixin:
    """Gives a handler a layout.

    Args:
        format_string: ``None`` means :attr:`default_format_string`.
    """

    default_format_string: ClassVar[str] = DEFAULT_FORMAT_STRING
    formatter_class: ClassVar[Callable[[str], Any]] = StringFormatter

    def __init__(self, format_string: str | None) -> None:
        self.format_string = self.default_format_string if format_string is None else format_string

    @property
    def format_string(self) -> str | None:
        """The layout; ``None`` if the formatter is not a :class:`StringFormatter`.

        Setting it installs a new formatter; ``None`` removes the formatter, so that the plain
        message is what the handler delivers.
        """
        formatter = self.formatter
        return formatter.format_string if isinstance(formatter, StringFormatter) else None

    @format_string.setter
    def format_string(self, value: str | None) -> None:
        self.formatter = None if value is None else type(self).formatter_class(value)

    if TYPE_CHECKING:
        formatter: Any
