"""Sentry's events: what is told of a record, without its secrets.

Source: develop.sentry.dev, "Event Payloads".
"""

from __future__ import annotations

import platform
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import uuid4

from sprockets.logbook import _caller, _clock
from sprockets.logbook._layout import message_of
from sprockets.logbook._levels import CRITICAL, DEBUG, ERROR, INFO, NOTICE, TRACE, WARNING
from sprockets.logbook._text import cut, safe_repr, safe_str
from sprockets.logbook.handlers._plain import SCRUBBED, clean, jsonable, name_of, plain
from sprockets.logbook.handlers._sentry_exceptions import MAX_TEXT, exceptions_of
from sprockets.logbook.handlers._trace_ids import trace_of

if TYPE_CHECKING:
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

Event: TypeAlias = dict[str, Any]

CLIENT: Final = "sprockets.logbook/3.0"
MAX_BREADCRUMBS: Final = 100

_LEVELS: Final[Mapping[int, str]] = {
    TRACE: "debug",
    DEBUG: "debug",
    INFO: "info",
    NOTICE: "info",
    WARNING: "warning",
    ERROR: "error",
    CRITICAL: "fatal",
}
_SECRET: Final = re.compile(
    r"apikey|assertion|bearer|cookie|credential|csrf|jwt|passphrase|passw(or)?d|privatekey|pwd"
    r"|secret|sessid|session|signature|token|xsrf|auth(?!or)|authoriz"
)
_SECRET_NAMES: Final = frozenset(("cvc", "cvv", "key", "otp", "pass", "pin", "pw", "sid"))


class EventMaker:
    """Makes events of records; what it knows of the program are its attributes."""

    release: str | None
    environment: str
    server_name: str
    tags: dict[str, object]
    tag_names: tuple[str, ...]
    fingerprint: Callable[[LogRecord], Iterable[str] | None] | None
    with_locals: bool
    _secret_names: tuple[str, ...]

    def make_event(self, record: LogRecord, related: Iterable[LogRecord] = ()) -> Event:
        """Return the event of *record*, without its secrets; *related* are its breadcrumbs."""
        extra = dict(record.extra)
        message = message_of(record)
        event: Event = {
            "event_id": uuid4().hex,
            "timestamp": _clock.iso8601(_moment(record)),
            "platform": "python",
            "level": _level(record.level),
            "server_name": clean(self.server_name),
            "environment": clean(self.environment),
            "logentry": self._logentry(record, message),
            "sdk": {"name": "sprockets.logbook", "version": CLIENT.partition("/")[2]},
            "contexts": {
                "runtime": {
                    "type": "runtime",
                    "name": platform.python_implementation(),
                    "version": platform.python_version(),
                }
            },
        }
        if record.channel:
            event["logger"] = clean(safe_str(record.channel, 200))
        if self.release:
            event["release"] = clean(self.release)
        trace_id, span_id, _ = trace_of(extra)
        if trace_id:
            # A span id is needed where there is a trace id; one of a span nobody else knows is true
            # enough.
            span = span_id or secrets.token_hex(8)
            event["contexts"]["trace"] = {"trace_id": trace_id, "span_id": span}
        tags = self._tags(record, extra)
        if tags:
            event["tags"] = tags
        fingerprint = self._fingerprint(record, extra)
        if fingerprint:
            event["fingerprint"] = fingerprint
        event["extra"] = self._extra(record, extra)
        exceptions = exceptions_of(record, self._variable if self.with_locals else None)
        if exceptions:
            event["exception"] = {"values": exceptions}
        if record.thread is not None:
            thread = {
                "id": record.thread,
                "name": clean(safe_str(record.thread_name, 200)),
                "current": True,
                "crashed": False,
            }
            event["threads"] = {"values": [thread]}
        breadcrumbs = [self._breadcrumb(one) for one in list(related)[-MAX_BREADCRUMBS:]]
        if breadcrumbs:
            event["breadcrumbs"] = {"values": breadcrumbs}
        return event

    def is_secret(self, name: str) -> bool:
        """Return whether the value of a field or variable of this name stays in the process."""
        letters = bare(name)
        if any(part in letters for part in self._secret_names):
            return True
        return letters in _SECRET_NAMES or _SECRET.search(letters) is not None

    def _plain(self, value: object) -> Any:
        return jsonable(plain(value, is_secret=self.is_secret, max_text=MAX_TEXT))

    def _logentry(self, record: LogRecord, message: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"formatted": clean(cut(message, MAX_TEXT))}
        if isinstance(record.msg, str):
            # What Sentry groups by: the same for all records of one call.
            entry["message"] = clean(cut(record.msg, MAX_TEXT))
        if record.kwargs:
            entry["params"] = self._plain(record.kwargs)
        elif record.args:
            entry["params"] = self._plain(list(record.args))
        return entry

    def _tags(self, record: LogRecord, extra: Mapping[str, Any]) -> dict[str, str]:
        found = {**self.tags, **{name: extra[name] for name in self.tag_names if name in extra}}
        return {
            name_of(name)[:200]: (
                SCRUBBED if self.is_secret(str(name)) else clean(safe_str(value, 200))
            )
            for name, value in found.items()
            if value is not None
        }

    def _fingerprint(self, record: LogRecord, extra: dict[str, Any]) -> list[str]:
        found = extra.pop("fingerprint", None)
        if found is None and self.fingerprint is not None:
            found = self.fingerprint(record)
        if not found:
            return []
        parts = [found] if isinstance(found, str) else list(found)
        return [clean(safe_str(part, 500)) for part in parts]

    def _extra(self, record: LogRecord, extra: Mapping[str, Any]) -> dict[str, Any]:
        facts: dict[str, Any] = self._plain(extra)
        own = {
            "filename": record.filename,
            "lineno": record.lineno,
            "func_name": record.func_name,
            "process": record.process,
        }
        for name, value in own.items():
            if value is not None:
                facts.setdefault(name, value)
        if not record.exc_info and record.formatted_exception is not None:
            # The exception itself is gone, as in a record from another process.
            facts.setdefault("traceback", clean(cut(record.formatted_exception)))
        return facts

    def _breadcrumb(self, record: LogRecord) -> dict[str, Any]:
        return {
            "type": "error" if record.level >= ERROR else "default",
            "category": clean(safe_str(record.channel, 200)),
            "level": _level(record.level),
            "timestamp": _clock.iso8601(_moment(record)),
            "message": clean(cut(message_of(record), MAX_TEXT)),
            "data": self._plain(dict(record.extra)),
        }

    def _variable(self, name: str, value: object) -> str:
        """Return the text of a local variable, containers without the secrets in them."""
        if self.is_secret(name):
            return SCRUBBED
        if isinstance(value, (Mapping, list, tuple)):
            value = self._plain(value)
        return clean(safe_repr(value, 1_000))


def _moment(record: LogRecord) -> int:
    moment = record.moment
    return _clock.moment() if moment is None else moment


def _level(level: int) -> str:
    known = _LEVELS.get(level)
    if known is None:
        known = _LEVELS[max((own for own in _LEVELS if own <= level), default=DEBUG)]
    return known


def bare(name: str) -> str:
    """Return *name* without what people write in different ways."""
    return "".join([character for character in name.lower() if character.isalnum()])
