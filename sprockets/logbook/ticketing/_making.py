"""Entries of records: what a store is given of each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from secrets import token_hex
from typing import Any, Final

from sprockets.logbook import _caller, _clock
from sprockets.logbook._json import FIELDS, JSONFormatter, encode
from sprockets.logbook._layout import message_of
from sprockets.logbook._text import cut
from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing._entry import Entry

_caller.register(__file__)

MAX_DATA: Final = 1 << 20
"""Bytes of a record's JSON; of a larger one, what is large is cut."""
MAX_LEADING: Final = 100
"""Records that led up to one, the newest, that are kept with it."""
MAX_LEADING_BYTES: Final = 256 << 10
"""Bytes of these at most."""
MAX_TITLE: Final = 300
"""Characters of a title."""
MAX_ID: Final = 200
"""Characters of a request's id, and of the name of a tree of actions."""

_MAX_KEY = 64
_MAX_FIELD = 64 << 10

_WIRE_FIELDS: Final = tuple(name for name in FIELDS if name != "level_name")
_as_json: Final = JSONFormatter(_WIRE_FIELDS)
_NOT_CUSTOM: Final = frozenset(_WIRE_FIELDS) | {
    "app_id",
    "calling_frame",
    "db",
    "details",
    "exc_info",
    "frame",
    "keep_open",
    "late",
}


def record_json(record: LogRecord) -> str:
    """Return *record* as one JSON object in ASCII, at most about `MAX_DATA` long.

    What JSON does not have becomes ``null``.  Attributes that a processor has set go along.  To be
    called in the thread that logged it.
    """
    line = _as_json(record, None)  # type: ignore[arg-type]  # no field asks for the handler
    facts = record.__dict__
    custom = [name for name in facts if name not in _NOT_CUSTOM and not name.startswith("_")]
    if custom:
        members = [f"{encode(name)}:{encode(facts[name])}" for name in custom]
        line = f"{line[:-1]},{','.join(members)}}}"
    return line if len(line) <= MAX_DATA else _shortened(line)


def _shortened(line: str) -> str:
    facts: dict[str, Any] = json.loads(line)
    for name, value in facts.items():
        text = encode(value)
        if len(text) <= _MAX_FIELD:
            continue
        if name == "args":
            facts[name] = []
        elif isinstance(value, str):
            facts[name] = _without_middle(value, _MAX_FIELD // 6)
        else:
            shown = _without_middle(text, _MAX_FIELD // 6)
            facts[name] = {"cut": shown} if isinstance(value, dict) else shown
    return encode(facts)


def _without_middle(text: str, limit: int) -> str:
    # Of a traceback the end is what matters, of anything else the beginning.
    half = limit // 2
    return f"{text[:half]} … [{len(text) - 2 * half} characters cut] … {text[-half:]}"


def leading_json(records: Iterable[LogRecord]) -> str | None:
    """Return the newest of *records* as one JSON array, ``None`` if there are none.

    In place of those that were left out, the first says how many.
    """
    records = list(records)
    lines: list[str] = []
    size = 0
    for record in reversed(records[-MAX_LEADING:]):
        line = record_json(record)
        size += len(line)
        if size > MAX_LEADING_BYTES and lines:
            break
        lines.append(line)
    missing = len(records) - len(lines)
    if missing:
        text = f"{missing} earlier records were left out"
        lines.append(encode({"level": 0, "channel": None, "msg": text, "message": text}))
    return f"[{','.join(reversed(lines))}]" if lines else None


def make_entry(
    record: LogRecord,
    data: str,
    hash: str,
    *,
    app_id: str,
    release: str | None = None,
    environment: str | None = None,
    leading: str | None = None,
    place: tuple[str, int, str] | None = None,
) -> Entry:
    """Return what a store is given of *record*, which is *data* in JSON.

    Args:
        record: The record.
        data: One JSON object in ASCII.
        hash: Logbook's hash.
        app_id: Names the application.
        release: Version of the program.
        environment: Where it runs.
        leading: What led up to it, from `leading_json`.
        place: File, line and module where it happened, if that is not where it was logged.
    """
    extra = record.__dict__.get("extra") or {}
    filename, lineno, module = place or (record.filename, record.lineno, record.module)
    is_known = filename is not None and lineno is not None
    return Entry(
        key=_key_of(record),
        hash=hash,
        time=_time_of(record),
        level=record.level,
        channel=_clean(record.channel or ""),
        location=f"{_clean(filename or '')}:{lineno}" if is_known else "<unknown>:0",
        module=_clean(module or "<unknown>"),
        app_id=_clean(app_id),
        data=data,
        title=title_of(record),
        request_id=_id_of(extra.get("request_id")),
        task_uuid=_id_of(extra.get("task_uuid")),
        release=None if release is None else _clean(release),
        environment=None if environment is None else _clean(environment),
        leading=leading,
    )


def title_of(record: LogRecord) -> str:
    """Return a line that tells people what happened: the exception, or the message."""
    name = record.exception_shortname
    if name:
        message = record.exception_message or ""
        text = f"{name}: {message}" if message else name
    else:
        text = message_of(record)
    lines = text[: 4 * MAX_TITLE].strip().splitlines()
    return cut(_clean(lines[0].strip()), MAX_TITLE) if lines else ""


def _time_of(record: LogRecord) -> datetime:
    moment = record.moment
    if moment is None:
        return datetime.now(UTC).replace(tzinfo=None)
    return _clock.datetime_of(moment, local=False).replace(tzinfo=None)


def new_key() -> str:
    """Return a name for an occurrence: when it was given, in nanoseconds, and 64 random bits.

    Names that come after each other sort after each other, so that databases write a few pages of
    their index again and again, and not another one for each.
    """
    return f"{_clock.time_ns():016x}{token_hex(8)}"


def _key_of(record: LogRecord) -> str:
    """Return the name that a queue gave the record, or one of its own."""
    name = record.__dict__.get("record_id")
    if not isinstance(name, str) or not name:
        return new_key()
    if len(name) <= _MAX_KEY and name.isascii() and name.isprintable():
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _id_of(value: object) -> str | None:
    if value is None or value == "":
        return None
    return _clean(value if isinstance(value, str) else str(value))[:MAX_ID]


@lru_cache(maxsize=1)
def _unstorable() -> re.Pattern[str]:
    return re.compile("[\0\ud800-\udfff]")


def _clean(text: str) -> str:
    """Return *text* as every database takes it: without NUL and halves of characters."""
    if text.isascii() and "\0" not in text:
        return text
    return _unstorable().sub("\ufffd", text)
