"""Records between processes: their JSON, what a peer may send, and which of them came before.

One JSON object is one record, whatever carries it.  Nothing here evaluates what a peer sends, and
nothing is taken on trust: its size, its depth, its types and its names are looked at before a
record is made of it.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from typing import Any, Final

from sprockets.logbook import _caller, _fork
from sprockets.logbook._json import FIELDS, JSONFormatter, encode, quote
from sprockets.logbook._layout import message_of
from sprockets.logbook._levels import CRITICAL, LEVEL_NAMES, TRACE
from sprockets.logbook._text import cut, safe_repr
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

MAX_BYTES: Final = 16 << 20
"""Bytes of the largest record that is accepted."""
MAX_DEPTH: Final = 100
"""Arrays and objects within each other that are accepted, the record itself included."""
MAX_FIELDS: Final = 256
"""Fields of a record that are accepted, known and unknown."""

_SHOWN = 200
_OLD_LEVELS: Final = range(1, 7)
_OLD_LEVELS_DIFFER_BY: Final = 9


class MalformedRecordError(ValueError):
    """What a peer sent is no record; the text says why, and shows the beginning of it."""


# --- to JSON ------------------------------------------------------------------------------

_WIRE_FIELDS: Final = tuple(name for name in FIELDS if name != "level_name")


class _WireFormatter(JSONFormatter):
    """Tells a message that is bytes, or none, from the text that people are shown of it."""

    def __init__(self) -> None:
        super().__init__(name for name in _WIRE_FIELDS if name != "message")
        self._encoders.append(('"message":', _encode_message))


def _encode_message(record: LogRecord) -> str:
    text = message_of(record)
    message = record.__dict__.get("message", text)
    if message is None:
        return "null"
    return quote(cut(message.decode("utf-8", "replace")) if isinstance(message, bytes) else text)


_as_json: Final = _WireFormatter()
_NOT_CUSTOM: Final = frozenset(_WIRE_FIELDS) | {
    "calling_frame",
    "exc_info",
    "frame",
    "keep_open",
    "late",
    "record_id",
}


def encode_record(record: LogRecord, record_id: str | None = None) -> bytes:
    """Return *record* as one JSON object in ASCII, everything lazy included.

    What JSON does not have, infinities too, becomes ``null``.  Attributes that a processor has set
    go along.

    Args:
        record: To be called in the thread that logged it.
        record_id: Names this record, so that a receiver can tell it from its copies; a record that
            came with one keeps that.
    """
    line = _as_json(record, None)  # type: ignore[arg-type]  # no field asks for the handler
    facts = record.__dict__
    record_id = facts.get("record_id", record_id)
    custom = [name for name in facts if name not in _NOT_CUSTOM and not name.startswith("_")]
    if record_id is None and not custom:
        return line.encode("ascii")
    members = [f"{encode(name)}:{encode(facts[name])}" for name in custom]
    if record_id is not None:
        members.append(f'"record_id":{encode(record_id)}')
    return f"{line[:-1]},{','.join(members)}}}".encode("ascii")


# --- from JSON ------------------------------------------------------------------------------

_TEXTS: Final = (
    "channel",
    "process_name",
    "thread_name",
    "func_name",
    "module",
    "filename",
    "exception_name",
    "exception_message",
    "formatted_exception",
    "message",
)
_NUMBERS: Final = ("process", "thread", "greenlet", "lineno")


def decode_record(data: bytes | bytearray | memoryview | str | Mapping[str, Any]) -> LogRecord:
    """Return the record that a peer sent as *data*.

    Levels of Logbook before 0.11 are translated, and those that nobody here knows become the
    nearest that is known.  Attributes that the record class has itself are never replaced.

    Raises:
        MalformedRecordError: It is no JSON object in UTF-8, is too large or too deep, or has
            fields of the wrong kind.
    """
    facts = _facts_of(data)
    if len(facts) > MAX_FIELDS:
        raise MalformedRecordError(
            f"a record with {len(facts)} fields, where {MAX_FIELDS} are accepted"
        )
    facts["level"] = _level_of(facts.get("level"))
    for name in _TEXTS:
        value = facts.get(name)
        if value is not None and type(value) is not str:
            facts[name] = safe_repr(value, _SHOWN)
    for name in _NUMBERS:
        if type(facts.get(name)) is not int:
            facts.pop(name, None)
    _check(facts, "args", (list, tuple), "an array")
    _check(facts, "kwargs", (dict,), "an object")
    _check(facts, "extra", (dict,), "an object")
    _check(facts, "time", (str,), "text in ISO 8601")
    correction = facts.get("frame_correction", 0)
    if type(correction) is not int:
        facts["frame_correction"] = 0
    try:
        record = LogRecord.from_dict(facts)
    except (ValueError, TypeError, OverflowError) as error:
        raise MalformedRecordError(f"{error}; in {safe_repr(facts, _SHOWN)}") from error
    record.heavy_initialized = True
    return record


def _facts_of(data: object) -> dict[str, Any]:
    if isinstance(data, (bytes, bytearray, memoryview, str)):
        facts = _loads(data)
        # Hardly ever are there enough brackets, and counting them costs nothing.
        is_too_deep = _count_brackets(data) > MAX_DEPTH and is_deep(facts)
    elif isinstance(data, Mapping):
        try:
            facts = dict(data)
        except Exception as error:
            raise MalformedRecordError(f"no mapping: {safe_repr(data, _SHOWN)}") from error
        if not all(type(name) is str for name in facts):
            raise MalformedRecordError(f"names that are no text: {safe_repr(facts, _SHOWN)}")
        is_too_deep = is_deep(facts)
    else:
        raise MalformedRecordError(f"a record is a JSON object, not {safe_repr(data, _SHOWN)}")
    if is_too_deep:
        raise MalformedRecordError(
            f"nested more than {MAX_DEPTH} times: {safe_repr(facts, _SHOWN)}"
        )
    return facts


def _count_brackets(data: bytes | bytearray | memoryview | str) -> int:
    if isinstance(data, str):
        return data.count("[") + data.count("{")
    if isinstance(data, memoryview):
        data = data.tobytes()
    return data.count(b"[") + data.count(b"{")


def is_deep(data: object) -> bool:
    """Return whether *data* has more than `MAX_DEPTH` containers within each other."""
    level: list[Any] = [data]
    for _ in range(MAX_DEPTH):
        # Each once: what was pickled may contain the same twice, and itself.
        inner = {
            id(value): value
            for outer in level
            for value in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(value, (dict, list, tuple))
        }
        if not inner:
            return False
        level = list(inner.values())
    return True


def _loads(data: bytes | bytearray | memoryview | str) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise MalformedRecordError(f"{len(data)} bytes, where a record has at most {MAX_BYTES}")
    try:
        text = data if isinstance(data, str) else str(data, "utf-8")
        facts = json.loads(text)
    except (ValueError, RecursionError, BufferError) as error:
        shown = safe_repr(data[:_SHOWN], _SHOWN)
        raise MalformedRecordError(f"not JSON in UTF-8 ({error}): {shown}") from error
    if not isinstance(facts, dict):
        raise MalformedRecordError(f"a record is a JSON object, not {safe_repr(facts, _SHOWN)}")
    return facts


def _check(facts: dict[str, Any], name: str, kinds: tuple[type, ...], description: str) -> None:
    value = facts.get(name)
    if value is None:
        facts.pop(name, None)
    elif not isinstance(value, kinds):
        raise MalformedRecordError(
            f"the {name} of a record is {description}, not {safe_repr(value, _SHOWN)}"
        )


def _level_of(level: object) -> int:
    if type(level) is not int or level < 0:
        raise MalformedRecordError(
            f"the level of a record is a whole number, not {safe_repr(level, _SHOWN)}"
        )
    if level in LEVEL_NAMES:
        return level
    if level in _OLD_LEVELS:
        return level + _OLD_LEVELS_DIFFER_BY
    return min(max(level, TRACE), CRITICAL)


# --- which record it is ---------------------------------------------------------------------------


class RecordIds:
    """Names for the records of one sender: its own name, and a number that counts from 1.

    Thread-safe.  A forked child is another sender.
    """

    def __init__(self) -> None:
        self._start_anew()
        _fork.hold_at_fork(self)

    def _start_anew(self) -> None:
        self.sender = os.urandom(8).hex()
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """Return the next name, such as ``5c0f3a9be21d7764-1``."""
        return f"{self.sender}-{next(self._numbers)}"

    def before_fork(self) -> None:
        """Do nothing: there is nothing to come to rest."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Become another sender."""
        self._start_anew()
