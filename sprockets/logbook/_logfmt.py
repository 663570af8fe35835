"""logfmt: a record as ``key=value`` pairs on one line, for readers and for simple tools."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from sprockets.logbook import _caller, _clock, _fork
from sprockets.logbook._json import encode, quote
from sprockets.logbook._layout import LineFormatter, LineSource, message_of
from sprockets.logbook._levels import LEVEL_NAMES
from sprockets.logbook._text import MAX_MESSAGE, cut, safe_str
from sprockets.logbook._traceback import exception_message, exception_name, format_exception
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final

try:
    from _json import encode_basestring
except ImportError:
    from json.encoder import encode_basestring

if TYPE_CHECKING:
    from sprockets.logbook.handlers._base import Handler
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

FIELDS: Final = (
    "time",
    "level",
    "logger",
    "msg",
    "file",
    "line",
    "function",
    "process",
    "thread",
    "thread_name",
    "extra",
    "exception",
)
"""All fields of a line, those first that a reader looks for first."""

DEFAULT_FIELDS: Final = ("time", "level", "logger", "msg", "extra", "exception")

_LEVELS: Final[Mapping[int, str]] = {level: name.lower() for level, name in LEVEL_NAMES.items()}
_PLACE: Final = frozenset(("file", "line", "function"))
_EXCEPTION: Final = ("exception", "exception_message", "traceback")


def _text(text: str) -> str:
    """Return *text* as a value: bare if it can be, else in the quotes of JSON."""
    if text.isprintable():
        if text and " " not in text and '"' not in text and "=" not in text and "\\" not in text:
            return text
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    quoted: str = encode_basestring(text)
    # What is printable stays readable; with separators, surrogates and the like, all is escaped.
    return quoted if quoted.isprintable() else quote(text)


def _value(value: object) -> str:
    if type(value) is str:
        return _text(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, datetime):
        return _clock.iso8601(_clock.moment_of(value))
    if isinstance(value, (dict, list, tuple)):
        return _text(encode(value))
    return _text(safe_str(value))


def _name(key: object) -> str:
    """Return *key* as a name: no space, no equals sign, no quote, nothing invisible."""
    name = key if type(key) is str else safe_str(key)
    if name.isidentifier():
        return name
    kept = [
        character if character.isprintable() and character not in ' ="' else "_"
        for character in name
    ]
    return "".join(kept) or "_"


def _level(level: int) -> str:
    return _LEVELS.get(level) or str(level)


def _exception(exc_info: Any) -> str:
    error = exc_info[1]
    return _exception_pairs(
        exception_name(error), exception_message(error), format_exception(exc_info)
    )


def _exception_pairs(name: str | None, message: str | None, trace: str | None) -> str:
    return (
        f" exception={_value(name)} exception_message={_value(message)} traceback={_value(trace)}"
    )


_OF_RECORD: Final[Mapping[str, Callable[[LogRecord], str]]] = {
    "level": lambda record: _level(record.level),
    "logger": lambda record: _value(record.channel),
    "msg": lambda record: _text(message_of(record)),
    "file": lambda record: _value(record.filename),
    "line": lambda record: _value(record.lineno),
    "function": lambda record: _value(record.func_name),
    "process": lambda record: _value(record.process),
    "thread": lambda record: _value(record.thread),
    "thread_name": lambda record: _value(record.thread_name),
}

_OF_FACTS: Final[Mapping[str, str]] = {
    "time": "time={iso8601(moment)}",
    "level": "level={level_of(level)}",
    "logger": "logger={value(channel)}",
    "msg": "msg={text(message)}",
    "file": "file={value(where.filename)}",
    "line": "line={value(where.lineno)}",
    "function": "function={value(where.func_name)}",
    "process": "process={process_id()}",
    "thread": "thread={get_ident()}",
    "thread_name": "thread_name={text(current_thread().name)}",
    "extra": "{custom(extra) if extra else empty}",
    "exception": "{empty if exc_info is None else exception(exc_info)}",
}
"""The fields of the facts of a call, as parts of an f-string."""


class LogfmtFormatter(LineFormatter):
    r"""Formats a record as ``key=value`` pairs on one line.

    Values are bare where they can be, else in double quotes with the escapes of JSON, so a
    traceback is one value of one line.  Custom fields follow under their names, in which spaces,
    quotes and equals signs become ``_``; a name that is taken gets a ``_`` at its end.  Containers
    are JSON text.

    >>> import io
    >>> from sprockets.logbook import Logger, StreamHandler
    >>> handler = StreamHandler(io.StringIO())
    >>> handler.formatter = LogfmtFormatter(["level", "msg", "extra"])
    >>> with handler:
    ...     Logger("shop").warning("only {} left", 2, extra={"item": "apple"})
    >>> handler.stream.getvalue()
    'level=warning msg="only 2 left" item=apple\n'

    Args:
        fields: Names of the fields, in their order, of ``time``, ``level``, ``logger``, ``msg``,
            ``file``, ``line``, ``function``, ``process``, ``thread``, ``thread_name``, ``extra``
            (all custom fields) and ``exception`` (its class, message and traceback).  ``None``
            means time, level, logger, msg, extra and exception.

    Raises:
        ValueError: There is no field of this name, or it comes twice.
    """

    def __init__(self, fields: Iterable[str] | None = None) -> None:
        self.fields: tuple[str, ...] = DEFAULT_FIELDS if fields is None else tuple(fields)
        for name in self.fields:
            if name not in FIELDS:
                raise ValueError(f"unknown field {name!r}; known: {', '.join(FIELDS)}")
            if self.fields.count(name) > 1:
                raise ValueError(f"field {name!r} comes twice")
        self._taken = frozenset((*self.fields, *_EXCEPTION)) - {"extra"}
        self.wants_caller: bool = not _PLACE.isdisjoint(self.fields)
        self._source = self._make_source()

    def __call__(self, record: LogRecord, handler: Handler) -> str:
        """Return the line of *record*."""
        return "".join([self._field(name, record) for name in self.fields])[1:]

    def _field(self, name: str, record: LogRecord) -> str:
        """Return the pairs of one field, each with a space in front."""
        if name == "extra":
            return self._custom(record.extra) if record.extra else ""
        if name == "time":
            moment = record.moment
            return f" time={'null' if moment is None else _clock.iso8601(moment)}"
        if name == "exception":
            trace = record.formatted_exception
            if trace is None and record.exception_name is None:
                return ""
            return _exception_pairs(record.exception_name, record.exception_message, trace)
        return f" {name}={_OF_RECORD[name](record)}"

    def _custom(self, extra: Mapping[str, Any]) -> str:
        """Return the pairs of custom fields, each with a space in front."""
        pairs = []
        names = set(self._taken)
        for key, value in dict(extra).items():
            name = _name(key)
            while name in names:
                name += "_"
            names.add(name)
            pairs.append(f" {name}={_value(value)}")
        return "".join(pairs)

    def _make_source(self) -> LineSource:
        # Field names are those of the list above, so the source consists of our own words only.
        statements = [f"if len(message) > {MAX_MESSAGE}: message = cut(message)"]
        if self.wants_caller:
            statements.append("where = nowhere if place is None else locate(*place)")
        line = "".join(
            _OF_FACTS[name] if name in ("extra", "exception") else f" {_OF_FACTS[name]}"
            for name in self.fields
        )
        is_first_certain = bool(self.fields) and self.fields[0] not in ("extra", "exception")
        shown = f"f'{line[1:]}'" if is_first_certain else f"f'{line}'[1:]"
        names: dict[str, object] = {
            "current_thread": threading.current_thread,
            "custom": self._custom,
            "cut": cut,
            "empty": "",
            "exception": _exception,
            "get_ident": threading.get_ident,
            "iso8601": _clock.iso8601,
            "level_of": _level,
            "locate": _caller.locate,
            "nowhere": _caller.Location(None, None, None),
            "process_id": _fork.process_id,
            "text": _text,
            "value": _value,
        }
        return LineSource([*statements, f"line = {shown}"], names)

    def line_source(self) -> LineSource | None:
        """Return what makes a line of a call's facts; ``None`` if only a record will do."""
        return self._source if type(self).__call__ is LogfmtFormatter.__call__ else None
