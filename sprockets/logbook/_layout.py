"""Layouts: each becomes a function once, and that function makes every line.

A layout is the program's own text and may use the whole of ``str.format``; what it shows is data,
and stays on its line.
"""

from __future__ import annotations

import _string  # type: ignore[import-not-found]  # the parser of str.format, which has no stub
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import CodeType

from sprockets.logbook import _caller, _clock, _fork
from sprockets.logbook._failures import count_unformatted, should_raise
from sprockets.logbook._levels import LEVEL_NAMES
from sprockets.logbook._text import MAX_MESSAGE, cut, escape_line, safe_repr, safe_str
from sprockets.logbook._traceback import format_exception
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sprockets.logbook.handlers._base import Handler
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

FACTS: Final = "channel, level, message, moment, exc_info, extra, place"
"""The facts of a call, as the parameters of a function that makes a line of them.

The message is text already, the moment an instant; exception tuple, custom fields and place may be
``None``.
"""


class LineSource:
    """Statements that make a line of a call's :data:`FACTS`, and leave it in ``line``.

    Whoever takes the line adds his own statements, and all become one function: between two
    functions a call would cost as much as the work.

    Args:
        statements: Source text at the level of a function's body; it consists of our own words, and
            of literals with everything escaped that could end them, never of plain foreign text.
        names: What the statements refer to.
    """

    def __init__(self, statements: Iterable[str], names: Mapping[str, Any]) -> None:
        self._statements = list(statements)
        self._names = dict(names)
        self._compiled: dict[tuple[str, ...], CodeType] = {}

    def function(
        self, tail: tuple[str, ...] = ("return line",), names: Mapping[str, Any] | None = None
    ) -> Callable[..., Any]:
        """Return the function that makes a line and then does what *tail* says, given *names*."""
        code = self._compiled.get(tail) or self.compile(tail)
        namespace = {**self._names, **(names or {})}
        exec(code, namespace)  # noqa: S102 - our own words, see above
        function: Callable[..., Any] = namespace["write_line"]
        return function

    def compile(self, tail: tuple[str, ...]) -> CodeType:
        """Compile the statements with *tail*, once.

        This takes a good part of a millisecond.  Who can do it beforehand should: a signal handler
        that logs would otherwise start it again each time it interrupts it.
        """
        code = self._compiled.get(tail)
        if code is None:
            body = "\n    ".join((*self._statements, *tail))
            source = f"def write_line({FACTS}):\n    {body}\n"
            code = self._compiled[tail] = compile(source, __file__, "exec")
        return code


class LineFormatter(ABC):
    """A formatter that can make a line from the facts of a call, without there being a record."""

    wants_caller: bool = True
    """Whether its lines show where the call was."""

    @abstractmethod
    def __call__(self, record: LogRecord, handler: Handler) -> str:
        """Return the line of *record*."""

    @abstractmethod
    def line_source(self) -> LineSource | None:
        """Return what makes a line of a call's facts; ``None`` if only a record will do."""


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


class _Field:
    """A replacement field, as expressions of the two functions a layout becomes.

    Without one for the facts of a call, only a record can answer.
    """

    __slots__ = ("of_facts", "of_record", "wants_caller")

    def __init__(self, of_record: str, of_facts: str | None, wants_caller: bool = False) -> None:
        self.of_record = of_record
        self.of_facts = of_facts
        self.wants_caller = wants_caller


class _Layout:
    """A layout, taken apart once and compiled into two functions.

    One makes the line of a record, the other the same line of the facts of a call.  A field that
    only a record can answer leaves the second one out.
    """

    def __init__(self, text: str) -> None:
        self.is_one_line = "\n" not in text
        self._names: dict[str, Any] = {
            "clock": _clock,
            "current_thread": threading.current_thread,
            "cut": cut,
            "empty": "",
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
            "thousand": _clock.THOUSAND,
        }
        self._before: dict[str, None] = {}
        parts: list[str | _Field] = []
        for literal, field, spec, conversion in _string.formatter_parser(text):
            if literal:
                parts.append(literal)
            if field is not None:
                parts.append(self._compile_field(field, spec or "", conversion))
        fields = [part for part in parts if isinstance(part, _Field)]
        self.wants_caller = any(field.wants_caller for field in fields)
        line_of_record = self._line(parts, lambda field: field.of_record)
        self.render_record: Callable[[LogRecord, Handler], str] = self._function(line_of_record)
        self.source: LineSource | None = None
        if all(field.of_facts is not None for field in fields):
            self.source = self._source(self._line(parts, lambda field: field.of_facts or ""))

    def _source(self, line: str) -> LineSource:
        """Return what makes the line, traceback included, of the facts of a call."""
        if self.wants_caller:
            self._before["where = nowhere if place is None else locate(*place)"] = None
        statements = [
            f"if len(message) > {MAX_MESSAGE}: message = cut(message)",
            *self._before,
            f"line = {line}",
            "if exc_info is not None:",
            f"    exception = format_exception(exc_info, one_line_messages={self.is_one_line})",
            "    line = f'{line}\\n{exception}'",
        ]
        return LineSource(statements, self._names)

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
            return self._compile_time(spec)
        if is_simple and not spec and attribute == "extra" and [s[0] for s in steps[1:]] == [False]:
            key = self._name(steps[1][1])
            shown = "value if type(value := {}) is str else shown(value)"
            self._before["if extra is None: extra = nothing"] = None
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

    def _compile_time(self, spec: str) -> _Field:
        of_record = f"{self._name(_time_of(spec))}(record)"
        seconds = _clock.second_text(spec)
        if seconds is None:
            return _Field(of_record, f"{self._name(_clock.time_renderer(spec))}(moment)")
        shown = self._name(seconds)
        known = f"known_{shown}"
        self._before["second, microseconds = divmod(moment, 1000000)"] = None
        self._before[f"{known} = {shown}.known"] = None
        is_other = f"{known}[0] != second or {known}[1] is not clock.shown_format"
        self._before[f"if {is_other}: {known} = {shown}.renew(second)"] = None
        digits = "thousand[microseconds // 1000]}{thousand[microseconds % 1000]"
        return _Field(of_record, f"{known}[2]}}{{{digits}}}{{{known}[3]")

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

    def _function(self, line: str) -> Callable[..., str]:
        # As with a LineSource, nothing of the layout's text is code.
        namespace = dict(self._names)
        exec(f"def render(record, handler):\n    return {line}\n", namespace)  # noqa: S102
        render: Callable[..., str] = namespace["render"]
        return render


@lru_cache(maxsize=256)
def layout_of(text: str) -> _Layout:
    """Return the layout *text*, compiled once for all who use it."""
    return _Layout(text)


def _quoted(literal: str) -> str:
    """Return *literal* as it stands inside a double-quoted f-string."""
    # With quotes of both kinds in it, a text is written between single ones.
    text = ascii(f"{literal}'\"")[1:-4]
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
