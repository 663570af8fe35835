"""Ordinary records, which are nearly all: a short way to their JSON, and to a dict.

Whatever looks the least unusual takes the long way, through `sprockets.logbook.queues._wire`; what
comes out means the same.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from threading import get_ident
from types import CodeType
from typing import Any, Final

from sprockets.logbook import _caller
from sprockets.logbook._clock import iso8601
from sprockets.logbook._json import encode, quote
from sprockets.logbook._jsonable import to_safe_json
from sprockets.logbook._text import MAX_MESSAGE, format_message
from sprockets.logbook.queues._wire import encode_record
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_MAX_CACHED: Final = 4_096

_KNOWN: Final = frozenset(
    (
        "_dispatcher",
        "_is_local",
        "_moment",
        "_spot",
        "_time",
        "args",
        "channel",
        "exc_info",
        "extra",
        "frame",
        "frame_correction",
        "heavy_initialized",
        "kwargs",
        "level",
        "message",
        "msg",
        "process",
    )
)
"""What a record may have that was logged and not looked at any further."""

_ordinary: dict[tuple[str, ...], bool] = {}
"""Names of what records had: whether it was nothing else."""


class _Place:
    """Where a call is, in both forms; the code keeps its identity unique, as in `_caller`."""

    __slots__ = ("code", "facts", "json", "module")

    def __init__(self, code: CodeType | None, lasti: int, module: str | None) -> None:
        self.code = code
        self.module = module
        where = _caller.Location(None, None, None) if code is None else _caller.locate(code, lasti)
        self.facts: dict[str, Any] = {
            "filename": where.filename,
            "lineno": where.lineno,
            "func_name": where.func_name,
            "module": module,
        }
        self.json = _members(self.facts)


class _Who:
    """Which process and thread this is, in both forms."""

    __slots__ = ("facts", "json", "name")

    def __init__(self, name: tuple[object, ...]) -> None:
        process, process_name, thread_name = name
        ident = get_ident()
        self.name = name
        self.facts: dict[str, Any] = {
            "process": process,
            "process_name": process_name,
            "thread": ident,
            "thread_name": thread_name,
            "greenlet": ident,
        }
        self.json = _members(self.facts)


_places: dict[tuple[int, int], _Place] = {}
_threads: dict[int, _Who] = {}
_NO_FAILURE: Final[dict[str, Any]] = dict.fromkeys(
    ("exception_name", "exception_message", "formatted_exception")
)
_SETTLED: Final[dict[str, Any]] = {
    "frame_correction": 0,
    "heavy_initialized": True,
    "information_pulled": True,
}


def _members(facts: Mapping[str, object]) -> str:
    return "".join([f",{quote(name)}:{encode(value)}" for name, value in facts.items()])


_NOWHERE: Final = _Place(None, 0, None)
_REST_JSON: Final = _members({**_NO_FAILURE, **_SETTLED})


def encode_line(record: LogRecord, record_id: str) -> bytes:
    """Return *record* as JSON in ASCII, in which what has its default is missing.

    What may be the same in the next record comes last, from the process on.

    Args:
        record: To be called in the thread that logged it.
        record_id: Names this record; one that came with a name keeps that.

    Raises:
        TypeError: The message cannot be formatted.
    """
    message = _message_of(record)
    if message is not None:
        place = _place_of(record)
        if place is not None:
            args, kwargs = record.args, record.kwargs
            extra = record.__dict__.get("extra")
            channel = record.channel
            return (
                f'{{"time":"{iso8601(record._moment)}","level":{record.level},"channel":'  # type: ignore[arg-type]  # looked at
                f"{quote(channel) if type(channel) is str else encode(channel)}"
                f',"message":{quote(message)},"msg":{quote(record.msg)}'
                f"{_arguments(args) if args else ''}"
                f"{_mapping('kwargs', kwargs) if kwargs else ''}"
                f"{_mapping('extra', extra) if extra else ''}"
                f',"record_id":"{record_id}"{_who(record).json}'
                f"{'' if place is _NOWHERE else place.json}}}"
            ).encode("ascii")
    record.pull_information()
    return encode_record(record, record_id)


def encode_whole(record: LogRecord, record_id: str) -> bytes:
    """Return *record* as one JSON object in ASCII with every field, its name last.

    Args:
        record: To be called in the thread that logged it.
        record_id: Names this record; one that came with a name keeps that.

    Raises:
        TypeError: The message cannot be formatted, and the flag ``errors`` is ``"raise"``; else it
            is sent as it is, with a note.
    """
    message = _message_of(record)
    if message is not None:
        place = _place_of(record)
        if place is not None:
            args, kwargs = record.args, record.kwargs
            extra = record.__dict__.get("extra")
            channel = record.channel
            return (
                f'{{"time":"{iso8601(record._moment)}","level":{record.level},"channel":'  # type: ignore[arg-type]  # looked at
                f"{quote(channel) if type(channel) is str else encode(channel)}"
                f',"message":{quote(message)},"msg":{quote(record.msg)}'
                f"{_arguments(args) if args else _NO_ARGUMENTS}"
                f"{_mapping('kwargs', kwargs) if kwargs else _NO_KEYWORDS}"
                f"{_mapping('extra', extra) if extra else _NO_EXTRA}{_who(record).json}"
                f"{place.json}{_REST_JSON}"
                f',"record_id":"{record_id}"}}'
            ).encode("ascii")
    return encode_record(record, record_id)


_NO_ARGUMENTS: Final = ',"args":[]'
_NO_KEYWORDS: Final = ',"kwargs":{}'
_NO_EXTRA: Final = ',"extra":{}'


def facts_of(record: LogRecord) -> dict[str, Any]:
    """Return what ``record.to_dict(json_safe=True)`` returns.

    Args:
        record: To be called in the thread that logged it.

    Raises:
        TypeError: The message cannot be formatted.
    """
    message = _message_of(record)
    place = None if message is None else _place_of(record)
    if place is None:
        return record.to_dict(json_safe=True)
    args, kwargs = record.args, record.kwargs
    extra = record.__dict__.get("extra")
    channel = record.channel
    return {
        "channel": channel if type(channel) is str else to_safe_json(channel),
        "level": record.level,
        "msg": record.msg,
        "args": args if _SAFE.issuperset(map(type, args)) else to_safe_json(args),
        "kwargs": to_safe_json(kwargs) if kwargs else {},
        **_who(record).facts,
        **place.facts,
        **_NO_FAILURE,
        "message": message,
        **_SETTLED,
        "extra": to_safe_json(dict(extra)) if extra else {},
        "time": iso8601(record._moment),  # type: ignore[arg-type]  # looked at
    }


_SMALL: Final = 1 << 64
_SAFE: Final = frozenset((str, int, bool, type(None)))


def _message_of(record: LogRecord) -> str | None:
    """Return the message; ``None`` if the record is not ordinary."""
    facts = record.__dict__
    names = tuple(facts)
    is_ordinary = _ordinary.get(names)
    if is_ordinary is None:
        is_ordinary = _KNOWN.issuperset(names)
        if len(_ordinary) < _MAX_CACHED:
            _ordinary[names] = is_ordinary
    msg = record.msg
    if (
        not is_ordinary
        or type(msg) is not str
        or record.exc_info is not None
        or type(record) is not LogRecord
        or record.frame_correction
        or record._moment is None
    ):
        return None
    if "message" in facts:
        message = facts["message"]
    elif record.args or record.kwargs:
        try:
            message = format_message(msg, record.args, record.kwargs)
        except Exception:  # noqa: BLE001 - the long way says what is wrong
            return None
        facts["message"] = message
    else:
        message = msg
    return message if type(message) is str and len(message) <= MAX_MESSAGE else None


def _place_of(record: LogRecord) -> _Place | None:
    """Return where *record* was logged; ``None`` takes a closer look."""
    frame = record.frame
    spot = record._spot
    if frame is None:
        return _NOWHERE if spot is None else None
    if spot is None:
        record.settle_place()
        spot = record._spot
    if spot is None or frame.f_code is not spot[0]:
        return None
    code, lasti = spot
    module = frame.f_globals.get("__name__")
    known = _places.get((id(code), lasti))
    if known is None or known.module != module:
        if type(module) is not str:
            return None
        if len(_places) >= _MAX_CACHED:
            _places.clear()
        known = _places[id(code), lasti] = _Place(code, lasti, module)
    return known


def _who(record: LogRecord) -> _Who:
    process_name = None
    if "multiprocessing" in sys.modules:
        # Not asked of the record, which would keep it, and be ordinary no more.
        process_name = LogRecord.process_name.func(record)
    name = (record.process, process_name, threading.current_thread().name)
    ident = get_ident()
    known = _threads.get(ident)
    if known is None or known.name != name:
        if len(_threads) >= _MAX_CACHED:
            _threads.clear()
        known = _threads[ident] = _Who(name)
    return known


def _arguments(args: tuple[object, ...]) -> str:
    text = ',"args":['
    for item in args:
        kind = type(item)
        if kind is str:
            text += f"{quote(item)},"  # type: ignore[arg-type]  # a str
        elif kind is int and -_SMALL < item < _SMALL:  # type: ignore[operator]  # an int
            text += f"{item},"
        else:
            text += f"{encode(item)},"
    return f"{text[:-1]}]"


def _mapping(name: str, mapping: Mapping[str, object]) -> str:
    return f',"{name}":{encode(dict(mapping))}'
