"""JSON lines: a record as one object on one line, under the names it has everywhere."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from sprockets.logbook import _caller, _clock, _fork
from sprockets.logbook._jsonable import to_safe_json
from sprockets.logbook._layout import LineFormatter, LineSource, message_of
from sprockets.logbook._levels import LEVEL_NAMES
from sprockets.logbook._text import MAX_MESSAGE, cut, safe_repr
from sprockets.logbook._traceback import exception_message, exception_name, format_exception
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final

try:
    # What json.encoder has from there; json itself is imported only by those who need more of it.
    from _json import encode_basestring_ascii
except ImportError:
    from json.encoder import encode_basestring_ascii

if TYPE_CHECKING:
    from sprockets.logbook.handlers._base import Handler
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

quote: Callable[[str], str] = encode_basestring_ascii
"""Return text as a JSON string in ASCII."""

FIELDS: Final = (
    "time",
    "level",
    "level_name",
    "channel",
    "message",
    "extra",
    "filename",
    "lineno",
    "func_name",
    "module",
    "process",
    "process_name",
    "thread",
    "thread_name",
    "greenlet",
    "exception_name",
    "exception_message",
    "formatted_exception",
    "msg",
    "args",
    "kwargs",
    "frame_correction",
    "heavy_initialized",
    "information_pulled",
)
"""All fields of a record's JSON, those first that a reader looks for first."""


def _encode_int(value: Any) -> str:
    try:
        return int.__repr__(value)
    except ValueError:
        # Thousands of digits, more than Python writes in decimal: its size has to do.
        return quote(safe_repr(value))


def encode(value: object) -> str:
    r"""Return *value* as strict JSON in ASCII; what JSON does not have becomes ``null``.

    >>> encode({"price": 1.5, "currency": "€", "limit": float("inf")})
    '{"price":1.5,"currency":"\\u20ac","limit":null}'
    """
    kind = type(value)
    if kind is str:
        return quote(value)  # type: ignore[arg-type]  # a str
    if kind is int:
        return _encode_int(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if kind is float:
        return float.__repr__(value) if math.isfinite(value) else "null"  # type: ignore[arg-type]  # a float
    try:
        if kind is dict:
            return encode_mapping(value)  # type: ignore[arg-type]  # a dict
        if kind is list or kind is tuple:
            return f"[{','.join([encode(item) for item in value])}]"  # type: ignore[attr-defined]  # one of the two
    except (RecursionError, RuntimeError):
        # It contains itself, is very deep, or another thread is changing it.
        return _encode_other(value)
    return _encode_other(value)


def encode_mapping(mapping: Mapping[Any, object]) -> str:
    """Return *mapping* as a JSON object."""
    members = [
        f"{quote(key if type(key) is str else _key(key))}:{encode(value)}"
        for key, value in mapping.items()
    ]
    return f"{{{','.join(members)}}}"


def _strict(value: Any) -> str:
    import json

    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _key(key: object) -> str:
    (text,) = to_safe_json({key: None})
    return str(text)


def _encode_other(value: object) -> str:
    safe = to_safe_json(value)
    try:
        return _strict(safe)
    except ValueError:
        return _strict(_finite(safe))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _time_of(record: LogRecord) -> str:
    moment = record.moment
    return "null" if moment is None else f'"{_clock.iso8601(moment)}"'


def _attribute(name: str) -> Callable[[LogRecord], str]:
    return lambda record: encode(getattr(record, name))


_OF_RECORD: Final[Mapping[str, Callable[[LogRecord], str]]] = {
    **{name: _attribute(name) for name in FIELDS},
    "time": _time_of,
    "message": lambda record: quote(message_of(record)),
    "extra": lambda record: encode(dict(record.extra)),
    "args": lambda record: encode(record.args),
    "msg": lambda record: encode(record.wire_msg),
    "heavy_initialized": lambda _: "true",
    "information_pulled": lambda _: "true",
}

_LEVEL_NAMES: Final[Mapping[int, str]] = {level: quote(name) for level, name in LEVEL_NAMES.items()}
_PLACE: Final = frozenset(("filename", "lineno", "func_name"))

_OF_FACTS: Final[Mapping[str, str]] = {
    "time": '"{iso8601(moment)}"',
    "level": "{level}",
    "level_name": "{level_names[level]}",
    "channel": "{encode(channel) if channel is None else quote(channel)}",
    "message": "{quote(message)}",
    "extra": "{encode(extra) if extra else nothing}",
    "filename": "{encode(where.filename)}",
    "lineno": "{encode(where.lineno)}",
    "func_name": "{encode(where.func_name)}",
    "process": "{process_id()}",
    "thread": "{get_ident()}",
    "thread_name": "{quote(current_thread().name)}",
    "greenlet": "{get_ident()}",
    "exception_name": "{null if exc_info is None else quote(exception_name(exc_info[1]))}",
    "exception_message": "{null if exc_info is None else quote(exception_message(exc_info[1]))}",
    "formatted_exception": "{null if exc_info is None else quote(format_exception(exc_info))}",
}
"""The same of the facts of a call, as parts of an f-string."""


class JSONFormatter(LineFormatter):
    r"""Formats a record as one JSON object on one line, in ASCII.

    The names are those of the record's attributes; the time is UTC with six digits of microseconds;
    custom fields are under ``extra``.  Any handler of text takes it: ``handler.formatter =
    JSONFormatter()``.

    >>> import io
    >>> from sprockets.logbook import Logger, StreamHandler
    >>> handler = StreamHandler(io.StringIO())
    >>> handler.formatter = JSONFormatter(["level_name", "channel", "message"])
    >>> with handler:
    ...     Logger("shop").warning("only {} left", 2)
    >>> handler.stream.getvalue()
    '{"level_name":"WARNING","channel":"shop","message":"only 2 left"}\n'

    Args:
        fields: Names of the fields, in their order; ``None`` means all there are.

    Raises:
        ValueError: There is no field of this name.
    """

    def __init__(self, fields: Iterable[str] | None = None) -> None:
        self.fields: tuple[str, ...] = FIELDS if fields is None else tuple(fields)
        for name in self.fields:
            if name not in _OF_RECORD:
                raise ValueError(f"unknown field {name!r}; known: {', '.join(FIELDS)}")
        self._encoders = [(f"{quote(name)}:", _OF_RECORD[name]) for name in self.fields]
        self.wants_caller: bool = "module" in self.fields or not _PLACE.isdisjoint(self.fields)
        self._source: LineSource | None = None
        if all(name in _OF_FACTS for name in self.fields):
            self._source = _source_of(self.fields)

    def __call__(self, record: LogRecord, handler: Handler) -> str:
        """Return the line of *record*."""
        return "{" + ",".join([name + encoder(record) for name, encoder in self._encoders]) + "}"

    def line_source(self) -> LineSource | None:
        """Return what makes a line of a call's facts; ``None`` if only a record will do."""
        return self._source if type(self).__call__ is JSONFormatter.__call__ else None


_NAMES: Final[Mapping[str, Any]] = {
    "clock": _clock,
    "current_thread": threading.current_thread,
    "cut": cut,
    "encode": encode,
    "exception_message": exception_message,
    "exception_name": exception_name,
    "format_exception": format_exception,
    "get_ident": threading.get_ident,
    "iso8601": _clock.iso8601,
    "level_names": _LEVEL_NAMES,
    "locate": _caller.locate,
    "nothing": "{}",
    "nowhere": _caller.Location(None, None, None),
    "null": "null",
    "process_id": _fork.process_id,
    "quote": quote,
}


@lru_cache(maxsize=64)
def _source_of(fields: tuple[str, ...]) -> LineSource:
    # Field names are those of the list above, so the source consists of our own words only.
    members = ",".join(f'"{name}":{_OF_FACTS[name]}' for name in fields)
    statements = [f"if len(message) > {MAX_MESSAGE}: message = cut(message)"]
    if not _PLACE.isdisjoint(fields):
        statements.append("where = nowhere if place is None else locate(*place)")
    return LineSource([*statements, f"line = f'{{{{{members}}}}}'"], _NAMES)
