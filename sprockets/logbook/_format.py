"""Formatting: a layout becomes a function once, and that function makes every line.

Layouts are the program's own text and use the whole of ``str.format``; what they show is data, and
stays on its line.
"""

from __future__ import annotations

import _string  # type: ignore[import-not-found]  # the parser of str.format, which has no stub
import string
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from sprockets.logbook import _caller, _clock, _context, _fork
from sprockets.logbook._failures import count_unformatted, should_raise
from sprockets.logbook._levels import LEVEL_NAMES
from sprockets.logbook._text import (
    MAX_MESSAGE,
    cut,
    escape_block,
    escape_line,
    safe_repr,
    safe_str,
)
from sprockets.logbook._traceback import format_exception

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


def message_of(record: LogRecord) -> str:
    """Return the record's message; where it cannot be formatted, the raw one with a note.

    Raises:
        TypeError: It cannot be formatted, and the flag ``errors`` is ``"raise"``.
    """
    try:
        message = record.message
        text = message if type(message) is str else str(message)
    except Exception as error:
        if should_raise():
            raise
        count_unformatted()
        cause = error.__cause__ or error
        return cut(
            f"{safe_str(record.msg)} [could not be formatted: {type(cause).__name__}: "
            f"{safe_str(cause)}; args={safe_repr(record.args)}, kwargs={safe_repr(record.kwargs)}]"
        )
    return text if len(text) <= MAX_MESSAGE else cut(text)


class LineFormatter(ABC):
    """A formatter that can make a line from the facts of a call, without there being a record."""

    wants_caller: bool = True
    """Whether its lines show where the call was."""

    @abstractmethod
    def __call__(self, record: LogRecord, handler: Handler) -> str:
        """Return the line of *record*."""

    @abstractmethod
    def line_renderer(self) -> Callable[..., str] | None:
        """Return the function that makes a line from a call's facts, ``None`` if there is none.

        It takes channel, level, message, moment, exception tuple, extra and place: the last three
        may be ``None``, and the place is a code object with the index of an instruction.
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
        layout = _Layout(value)
        is_change = hasattr(self, "_layout")
        self._format_string = value
        self._layout = layout
        self.wants_caller = layout.wants_caller
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

    def line_renderer(self) -> Callable[..., str] | None:
        """Return the function that makes a line from a call's facts, ``None`` if there is none."""
        cls = type(self)
        if (
            cls.__call__ is not StringFormatter.__call__
            or cls.format_record is not StringFormatter.format_record
            or cls.format_exception is not StringFormatter.format_exception
        ):
            return None
        return self._layout.render_facts()


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


# -- compiling a layout

_FACTS: Final[Mapping[str, str]] = {
    "channel": "channel",
    "level": "level",
    "level_name": "level_names[level]",
    "message": "message",
    "process": "process_id()",
    "thread": "get_ident()",
    "greenlet": "get_ident()",
    "thread_name": "current_thread().name",
    "filename": "where.filename",
    "func_name": "where.func_name",
    "lineno": "where.lineno",
}
"""What the facts of a call say of a record's attributes, as expressions."""

_NEEDS_NO_CALLER: Final = frozenset(
    (*_FACTS, "time", "extra", "process_name", "exception_name", "exception_message")
) - {"filename", "func_name", "lineno"}


class _Field(NamedTuple):
    """A replacement field, as expressions of the two functions a layout becomes."""

    of_record: str
    of_facts: str | None
    """``None``: only a record can answer."""
    wants_caller: bool = False


class _Layout:
    """A layout, taken apart once and compiled into two functions.

    One makes the line of a record, the other the same line of the facts of a call.  A field that
    only a record can answer leaves the second one out.
    """

    def __init__(self, text: str) -> None:
        self.is_one_line = "\n" not in text
        self._names: dict[str, Any] = {
            "current_thread": threading.current_thread,
            "cut": cut,
            "escape_line": escape_line,
            "format_exception": format_exception,
            "get_ident": threading.get_ident,
            "level_names": LEVEL_NAMES,
            "locate": _caller.locate,
            "message_of": message_of,
            "nothing": {},
            "nowhere": _caller.Location(None, None, None),
            "process_id": _fork.process_id,
            "shown": _shown,
        }
        self._prologue: list[str] = []
        parts: list[str | _Field] = []
        for literal, field, spec, conversion in string.Formatter().parse(text):
            if literal:
                parts.append(literal)
            if field is not None:
                parts.append(self._compile_field(field, spec or "", conversion))
        fields = [part for part in parts if isinstance(part, _Field)]
        self.wants_caller = any(field.wants_caller for field in fields)
        self._line_of_facts: str | None = None
        if all(field.of_facts is not None for field in fields):
            self._line_of_facts = self._line(parts, lambda field: field.of_facts or "")
        line_of_record = self._line(parts, lambda field: field.of_record)
        self.render_record: Callable[[LogRecord, Handler], str] = self._function(
            ["def render(record, handler):", f"    return {line_of_record}"]
        )
        self._render_facts: Callable[..., str] | None = None

    def render_facts(self) -> Callable[..., str] | None:
        """Return the function that makes a line, traceback included, of the facts of a call."""
        if self._line_of_facts is None:
            return None
        if self._render_facts is None:
            lines = [
                "def render(channel, level, message, moment, exc_info, extra, place):",
                f"    if len(message) > {MAX_MESSAGE}: message = cut(message)",
                *self._prologue,
            ]
            if self.wants_caller:
                lines.append("    where = nowhere if place is None else locate(*place)")
            lines += [
                f"    if exc_info is None: return {self._line_of_facts}",
                f"    exception = format_exception(exc_info, one_line_messages={self.is_one_line})",
                f"    line = {self._line_of_facts}",
                "    return f'{line}\\n{exception}'",
            ]
            self._render_facts = self._function(lines)
        return self._render_facts

    def _line(self, parts: list[str | _Field], expression: Callable[[_Field], str]) -> str:
        """Return the expression that makes the line: one f-string, which is what is fastest."""
        literals = [part for part in parts if isinstance(part, str)]
        escapes_whole = self.is_one_line and all(literal.isprintable() for literal in literals)
        escapes_each = self.is_one_line and not escapes_whole
        body = ""
        for part in parts:
            if isinstance(part, str):
                body += _quoted(part)
            elif escapes_each:
                body += f"{{escape_line(f'{{{expression(part)}}}')}}"
            else:
                body += f"{{{expression(part)}}}"
        if escapes_whole:
            return f'line if (line := f"{body}").isprintable() else escape_line(line)'
        return f'f"{body}"'

    def _compile_field(self, field: str, spec: str, conversion: str | None) -> _Field:
        first, path = _string.formatter_field_name_split(field)
        steps = list(path)
        is_of_record = first == "record" and bool(steps) and steps[0][0]
        attribute = str(steps[0][1]) if is_of_record else ""
        is_simple = "{" not in spec and conversion is None
        if is_simple and attribute == "time" and len(steps) == 1:
            shown_at = self._name(_clock.time_renderer(spec))
            time_of = self._name(_time_of(spec))
            return _Field(f"{time_of}(record)", f"{shown_at}(moment)")
        if is_simple and not spec and attribute == "extra" and [s[0] for s in steps[1:]] == [False]:
            key = self._name(steps[1][1])
            shown = "value if type(value := {}) is str else shown(value)"
            if not self._prologue:
                self._prologue.append("    if extra is None: extra = nothing")
            return _Field(
                f"({shown.format(f'record.extra[{key}]')})",
                f"({shown.format(f'extra.get({key}, empty)')})",
            )
        wants_caller = is_of_record and attribute not in _NEEDS_NO_CALLER
        if attribute in _FACTS and len(steps) == 1:
            of_record = "message_of(record)" if attribute == "message" else f"record.{attribute}"
            of_facts = _FACTS[attribute]
            if not is_simple or spec:
                if "{" in spec:
                    return self._general_field(field, spec, conversion, wants_caller=wants_caller)
                convert = self._name(_converter(conversion, spec))
                of_record, of_facts = f"{convert}({of_record})", f"{convert}({of_facts})"
            return _Field(of_record, of_facts, wants_caller)
        return self._general_field(field, spec, conversion, wants_caller=wants_caller)

    def _general_field(
        self, field: str, spec: str, conversion: str | None, *, wants_caller: bool
    ) -> _Field:
        """Leave a field to ``str.format``, which a layout may use to the full."""
        template = (
            "{"
            + field
            + (f"!{conversion}" if conversion else "")
            + (f":{spec}" if spec else "")
            + "}"
        )
        render = self._name(template.format)
        return _Field(f"{render}(record=record, handler=handler)", None, wants_caller)

    def _name(self, value: object) -> str:
        """Return a name under which the compiled functions find *value*."""
        name = f"constant_{len(self._names)}"
        self._names[name] = value
        return name

    def _function(self, lines: list[str]) -> Callable[..., str]:
        # The source consists of our own words, of names for constants, and of the layout's literal
        # text with everything escaped that could end it.
        self._names["empty"] = ""
        namespace = dict(self._names)
        exec("\n".join(lines), namespace)  # noqa: S102 - see above
        render: Callable[..., str] = namespace["render"]
        return render


def _quoted(literal: str) -> str:
    """Return *literal* as it stands inside a double-quoted f-string."""
    text = literal.encode("unicode_escape").decode("ascii")
    return text.replace('"', "\\x22").replace("{", "{{").replace("}", "}}")


def _shown(value: object) -> str:
    """Return the text of a custom field; one that has none does not cost the line."""
    try:
        return format(value, "")
    except Exception:
        if should_raise():
            raise
        count_unformatted()
        return safe_str(value)


def _time_of(spec: str) -> Callable[[LogRecord], str]:
    render = _clock.time_renderer(spec)

    def time_of(record: LogRecord) -> str:
        moment = record._moment
        if moment is None or record._time is not None or record._is_local is not _clock.is_local:
            return format(record.time, spec)
        return render(moment)

    return time_of


_CONVERSIONS: Final[Mapping[str | None, Callable[[Any], Any]]] = {
    None: lambda value: value,
    "s": str,
    "r": repr,
    "a": ascii,
}


def _converter(conversion: str | None, spec: str) -> Callable[[object], str]:
    try:
        convert = _CONVERSIONS[conversion]
    except KeyError:
        raise ValueError(f"unknown conversion {conversion!r} in a layout; known: s, r, a") from None
    return lambda value: format(convert(value), spec)
