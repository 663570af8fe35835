"""Elastic Common Schema: a record as one JSON object on one line, under the names Elastic knows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from sprockets.logbook import _caller, _clock, _fork
from sprockets.logbook._json import encode, encode_mapping, quote
from sprockets.logbook._layout import LineFormatter, LineSource, message_of
from sprockets.logbook._levels import LEVEL_NAMES
from sprockets.logbook._text import MAX_MESSAGE, cut, safe_str
from sprockets.logbook._traceback import exception_message, exception_name, format_exception
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sprockets.logbook.handlers._base import Handler
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

ECS_VERSION: Final = "8.11.0"
"""Version of the schema that the lines follow."""

_LEVELS: Final[Mapping[int, str]] = {
    level: quote(name.lower()) for level, name in LEVEL_NAMES.items()
}

_KNOWN: Final[Mapping[str, str]] = {
    "request_id": "http.request.id",
    "span_id": "span.id",
    "trace_id": "trace.id",
    "transaction_id": "transaction.id",
}
"""Custom fields that have a place of their own in the schema."""

_OWN: Final = frozenset(
    (
        "@timestamp",
        "ecs.version",
        "error.message",
        "error.stack_trace",
        "error.type",
        "labels",
        "log.level",
        "log.logger",
        "log.origin.file.line",
        "log.origin.file.name",
        "log.origin.function",
        "message",
        "process.pid",
        "process.thread.id",
        "process.thread.name",
        "service.environment",
        "service.name",
        "service.version",
        *_KNOWN.values(),
    )
)
"""Fields that the formatter writes itself."""


def _level(level: int) -> str:
    return _LEVELS.get(level) or quote(str(level))


def _is_schema_name(name: str) -> bool:
    """Return whether a custom field is meant for the schema: dotted, and in nobody's way."""
    parts = name.split(".")
    if len(parts) < 2 or not all(parts) or name in _OWN:
        return False
    # What is text above cannot be an object as well, and the other way round.
    above = {".".join(parts[:length]) for length in range(1, len(parts))}
    return above.isdisjoint(_OWN) and not any(own.startswith(f"{name}.") for own in _OWN)


def _is_taken(name: str, members: Mapping[str, object]) -> bool:
    """Return whether a field would be both a value and an object."""
    return any(other.startswith(f"{name}.") or name.startswith(f"{other}.") for other in members)


def _label(value: object) -> object:
    """Return *value* as a label may be: no object, no list."""
    kind = type(value)
    if kind is str or kind is int or kind is float or kind is bool or value is None:
        return value
    if isinstance(value, (dict, list, tuple)):
        return encode(value)
    return safe_str(value)


def _add(members: dict[str, object], name: str, value: object) -> None:
    while name in members:
        name += "_"
    members[name] = value


def _custom(extra: Mapping[str, Any], labels: Mapping[str, object]) -> str:
    """Return the members for custom fields, each with a comma in front."""
    members: dict[str, object] = {}
    shown = dict(labels)
    for key, value in dict(extra).items():
        name = key if type(key) is str else safe_str(key)
        known = _KNOWN.get(name)
        if known is not None:
            members[known] = None if value is None else safe_str(value)
        elif "." in name and _is_schema_name(name) and not _is_taken(name, members):
            members[name] = value
        else:
            _add(shown, name.replace(".", "_").strip() or "_", _label(value))
    if shown:
        members["labels"] = shown
    return f",{encode_mapping(members)[1:-1]}" if members else ""


def _error(exc_info: Any) -> str:
    error = exc_info[1]
    return _error_members(
        exception_name(error), exception_message(error), format_exception(exc_info)
    )


def _error_members(name: str | None, message: str | None, trace: str | None) -> str:
    return (
        f',"error.type":{encode(name)},"error.message":{encode(message)}'
        f',"error.stack_trace":{encode(trace)}'
    )


class ECSFormatter(LineFormatter):
    r"""Formats a record as one line of JSON in the Elastic Common Schema, in ASCII.

    Names are dotted, as ``log.level``; Elasticsearch reads them like nested objects.  Custom fields
    become labels, containers among them as JSON text; what is named like a field of the schema,
    with a dot (``url.path``), is written under that name, and ``trace_id``, ``span_id``,
    ``transaction_id`` and ``request_id`` have fields of their own.  Any handler of text takes it:
    ``handler.formatter = ECSFormatter(service_name="shop")``.

    >>> import io, json
    >>> from sprockets.logbook import Logger, StreamHandler
    >>> handler = StreamHandler(io.StringIO())
    >>> handler.formatter = ECSFormatter(service_name="shop")
    >>> with handler:
    ...     Logger("till").warning("only {} left", 2, extra={"item": "apple"})
    >>> facts = json.loads(handler.stream.getvalue())
    >>> facts["log.level"], facts["message"], facts["service.name"], facts["labels"]
    ('warning', 'only 2 left', 'shop', {'item': 'apple'})

    Args:
        service_name: What logs, as ``service.name``.
        service_version: Its version, as ``service.version``.
        environment: Where it runs (production, staging), as ``service.environment``.
        labels: Labels of every line.
        origin: Write file, line and function of the call.

    Source: https://www.elastic.co/docs/reference/ecs/ecs-field-reference
    """

    def __init__(
        self,
        *,
        service_name: str | None = None,
        service_version: str | None = None,
        environment: str | None = None,
        labels: Mapping[str, object] | None = None,
        origin: bool = True,
    ) -> None:
        self.wants_caller: bool = origin
        service = {
            "service.name": service_name,
            "service.version": service_version,
            "service.environment": environment,
        }
        known = {name: value for name, value in service.items() if value is not None}
        self._service = f",{encode_mapping(known)[1:-1]}" if known else ""
        self._labels: dict[str, object] = {}
        for name, value in (labels or {}).items():
            _add(self._labels, str(name).replace(".", "_").strip() or "_", _label(value))
        self._no_extra = _custom({}, self._labels)
        self._source = self._make_source()

    def __call__(self, record: LogRecord, handler: Handler) -> str:
        """Return the line of *record*."""
        moment = record.moment
        origin = ""
        if self.wants_caller:
            origin = (
                f',"log.origin.file.name":{encode(record.filename)}'
                f',"log.origin.file.line":{encode(record.lineno)}'
                f',"log.origin.function":{encode(record.func_name)}'
            )
        error = ""
        if record.exception_name is not None or record.formatted_exception is not None:
            error = _error_members(
                record.exception_name, record.exception_message, record.formatted_exception
            )
        return (
            f'{{"@timestamp":"{_clock.iso8601(_clock.moment() if moment is None else moment)}"'
            f',"log.level":{_level(record.level)},"message":{quote(message_of(record))}'
            f',"ecs.version":"{ECS_VERSION}","log.logger":{encode(record.channel)}{self._service}'
            f',"process.pid":{encode(record.process)},"process.thread.id":{encode(record.thread)}'
            f',"process.thread.name":{encode(record.thread_name)}{origin}{error}'
            f"{self._custom(record.extra)}}}"
        )

    def _custom(self, extra: Mapping[str, Any] | None) -> str:
        return _custom(extra, self._labels) if extra else self._no_extra

    def _make_source(self) -> LineSource:
        # What users said is bound to names: the statements are our own words only.
        statements = [f"if len(message) > {MAX_MESSAGE}: message = cut(message)"]
        origin = ""
        if self.wants_caller:
            statements.append("where = nowhere if place is None else locate(*place)")
            origin = (
                ',"log.origin.file.name":{encode(where.filename)}'
                ',"log.origin.file.line":{encode(where.lineno)}'
                ',"log.origin.function":{encode(where.func_name)}'
            )
        line = (
            '{{"@timestamp":"{iso8601(moment)}","log.level":{level_of(level)}'
            f',"message":{{quote(message)}},"ecs.version":"{ECS_VERSION}"'
            ',"log.logger":{encode(channel)}{service},"process.pid":{process_id()}'
            ',"process.thread.id":{get_ident()}'
            f',"process.thread.name":{{quote(current_thread().name)}}{origin}'
            "{empty if exc_info is None else error(exc_info)}{custom(extra)}}}"
        )
        names: dict[str, Callable[..., object] | object] = {
            "current_thread": threading.current_thread,
            "custom": self._custom,
            "cut": cut,
            "empty": "",
            "encode": encode,
            "error": _error,
            "get_ident": threading.get_ident,
            "iso8601": _clock.iso8601,
            "level_of": _level,
            "locate": _caller.locate,
            "nowhere": _caller.Location(None, None, None),
            "process_id": _fork.process_id,
            "quote": quote,
            "service": self._service,
        }
        return LineSource([*statements, f"line = f'{line}'"], names)

    def line_source(self) -> LineSource | None:
        """Return what makes a line of a call's facts; ``None`` if only a record will do."""
        return self._source if type(self).__call__ is ECSFormatter.__call__ else None
