"""Batches: many records in one message, written and read at speed.

A batch is lines, each a record in JSON, in which what has its default may be missing.  Ordinary
records, which are nearly all, take a short way; the others go through
`sprockets.logbook.queues._wire`, and so does whatever looks suspicious.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from threading import get_ident
from types import CodeType, NoneType
from typing import Any, Final, TypeAlias

from sprockets.logbook import _caller
from sprockets.logbook._clock import iso8601, moment_of, parse_iso8601
from sprockets.logbook._json import encode, quote
from sprockets.logbook._levels import LEVEL_NAMES, TRACE
from sprockets.logbook._text import MAX_MESSAGE
from sprockets.logbook.queues._wire import (
    MAX_BYTES,
    MAX_DEPTH,
    MalformedRecordError,
    decode_record,
    encode_record,
)
from sprockets.logbook.record import ExtraDict, LogRecord

_caller.register(__file__)

_MAX_CACHED: Final = 4_096

# --- writing --------------------------------------------------------------------------------

_ORDINARY: Final = frozenset(
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

# The code beside the text keeps its identity unique, as in `_caller`.
_places: dict[tuple[int, int, object], tuple[str, CodeType]] = {}
_threads: dict[int, tuple[str, str]] = {}


def encode_line(record: LogRecord, record_id: str) -> bytes:
    """Return *record* as a line of a batch, without its end, in ASCII.

    Args:
        record: To be called in the thread that logged it.
        record_id: Names this record; one that came with a name keeps that.

    Raises:
        TypeError: The message cannot be formatted.
    """
    facts = record.__dict__
    message = record.message
    if (
        facts.keys() <= _ORDINARY
        and type(message) is type(record.msg) is str
        and record.exc_info is None
        and type(record) is LogRecord
        and not record.frame_correction
        and len(message) <= MAX_MESSAGE
    ):
        place = _place_of(record)
        moment = record.moment
        if place is not None and moment is not None:
            extra = facts.get("extra")
            return (
                f'{{"time":"{iso8601(moment)}","level":{record.level}'
                f',"channel":{encode(record.channel)},"message":{quote(message)}'
                f',"msg":{quote(record.msg)}'
                f"{_arguments(record.args) if record.args else ''}"
                f"{_member('kwargs', record.kwargs) if record.kwargs else ''}"
                f"{_member('extra', dict(extra)) if extra else ''}"
                f'{place}{_who(record)},"record_id":"{record_id}"}}'
            ).encode("ascii")
    record.pull_information()
    return encode_record(record, record_id)


def _member(name: str, value: object) -> str:
    return f',"{name}":{encode(value)}'


def _arguments(args: tuple[object, ...]) -> str:
    items = [quote(item) if type(item) is str else encode(item) for item in args]
    return f',"args":[{",".join(items)}]'


def _place_of(record: LogRecord) -> str | None:
    """Return the members that say where *record* was logged; ``None`` takes a closer look."""
    frame = record.frame
    if frame is None:
        return "" if record._spot is None else None
    record.settle_place()
    spot = record._spot
    if spot is None or frame.f_code is not spot[0]:
        return None
    code = spot[0]
    module = frame.f_globals.get("__name__")
    key = (id(code), spot[1], module)
    try:
        return _places[key][0]
    except KeyError:
        where = _caller.locate(*spot)
        text = "".join(
            _member(name, value)
            for name, value in (
                ("filename", where.filename),
                ("lineno", where.lineno),
                ("func_name", where.func_name),
                ("module", module),
            )
        )
        if len(_places) >= _MAX_CACHED:
            _places.clear()
        _places[key] = text, code
        return text
    except TypeError:
        return None  # a module whose name is no text


def _who(record: LogRecord) -> str:
    """Return the members that say which process and thread this is."""
    ident = get_ident()
    name = threading.current_thread().name
    known = _threads.get(ident)
    if known is None or known[0] != name:
        if len(_threads) >= _MAX_CACHED:
            _threads.clear()
        known = name, f',"thread":{ident},"thread_name":{encode(name)},"greenlet":{ident}'
        _threads[ident] = known
    if "multiprocessing" in sys.modules:
        return (
            f'{known[1]},"process":{encode(record.process)},"process_name":'
            f"{encode(record.process_name)}"
        )
    return f'{known[1]},"process":{encode(record.process)}'


# --- reading --------------------------------------------------------------------------------

_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "time": (str,),
    "level": (int,),
    "channel": (str, NoneType),
    "message": (str,),
    "msg": (str,),
    "args": (list,),
    "kwargs": (dict,),
    "extra": (dict,),
    "filename": (str, NoneType),
    "lineno": (int, NoneType),
    "func_name": (str, NoneType),
    "module": (str, NoneType),
    "process": (int, NoneType),
    "process_name": (str, NoneType),
    "thread": (int,),
    "thread_name": (str,),
    "greenlet": (int,),
    "exception_name": (str, NoneType),
    "exception_message": (str, NoneType),
    "formatted_exception": (str, NoneType),
    "frame_correction": (int,),
    "heavy_initialized": (bool,),
    "information_pulled": (bool,),
    "record_id": (str,),
}
_REQUIRED: Final = frozenset(("time", "level", "message", "msg", "record_id"))

_shapes: dict[tuple[object, ...], bool] = {}
"""Names and types of the members of objects that were looked at: whether they are ordinary."""
_MAX_SHAPES: Final = 256
_NO_FACTS: Final = {
    name: value
    for name, value in decode_record({"level": TRACE}).__dict__.items()
    if name not in ("level", "args", "kwargs", "extra", "_time")
}
# A tuple, since what is not hashable may be asked for.
_LEVELS: Final = tuple(LEVEL_NAMES)
_PADDED_LENGTH: Final = len("2000-01-01T00:00:00.000000Z")
_second: tuple[str, int] = ("", 0)

Unreadable: TypeAlias = tuple[bytes, MalformedRecordError]


def decode_lines(payload: bytes) -> Iterator[LogRecord | Unreadable]:
    """Return the records of a batch, in order; and what is none, with the reason."""
    lines = payload.split(b"\n")
    try:
        # All at once: half the time of one by one.
        objects = json.loads(f"[{','.join([str(line, 'ascii') for line in lines])}]")
    except (ValueError, RecursionError):
        objects = None
    if objects is None or len(objects) != len(lines):
        return map(_decode_line, lines)
    return map(_decode_object, objects, lines)


def _decode_line(line: bytes) -> LogRecord | Unreadable:
    try:
        return decode_record(line)
    except MalformedRecordError as error:
        return line, error


def _decode_object(facts: Any, line: bytes) -> LogRecord | Unreadable:
    if (
        type(facts) is dict
        and facts.get("level") in _LEVELS
        and _is_ordinary(facts)
        and line.count(b"[") + line.count(b"{") <= MAX_DEPTH
        and len(line) <= MAX_BYTES
    ):
        moment = _moment_of(facts["time"])
        if moment is not None:
            return _make_record(facts, moment)
    return _decode_line(line)


def _is_ordinary(facts: dict[str, Any]) -> bool:
    shape = (*facts, *map(type, facts.values()))
    try:
        return _shapes[shape]
    except KeyError:
        is_ordinary = facts.keys() >= _REQUIRED and all(
            type(value) in _KINDS.get(name, ()) for name, value in facts.items()
        )
        # What a peer makes up must not push out what is ordinary.
        if len(_shapes) < _MAX_SHAPES:
            _shapes[shape] = is_ordinary
        return is_ordinary


def _make_record(facts: dict[str, Any], moment: int) -> LogRecord:
    record = LogRecord.__new__(LogRecord)
    own = {**_NO_FACTS, **facts}
    del own["time"]
    own["_moment"] = moment
    own["_time"] = None
    own["heavy_initialized"] = own["information_pulled"] = True
    own["args"] = tuple(facts.get("args", ()))
    own["kwargs"] = facts.get("kwargs") or {}
    extra = facts.get("extra")
    own["extra"] = ExtraDict(extra) if extra else ExtraDict()
    record.__dict__ = own
    return record


def _moment_of(time: str) -> int | None:
    """Return the moment of *time* in the form that we write; ``None`` if it has another."""
    global _second
    fraction = time[20:26]
    if (
        len(time) != _PADDED_LENGTH
        or time[19] != "."
        or time[26] != "Z"
        or not (fraction.isascii() and fraction.isdigit())
    ):
        return None
    second = time[:19]
    known = _second
    if known[0] != second:
        try:
            known = second, moment_of(parse_iso8601(f"{second}Z"))
        except ValueError:
            return None
        _second = known
    return known[1] + int(fraction)


def split_batch(
    lines: list[bytes], max_lines: int, max_bytes: int
) -> Iterator[tuple[int, list[bytes]]]:
    """Return pieces of *lines* within these bounds, each with the number of lines up to its end.

    A line that is too long for itself is a piece of its own.
    """
    begin = 0
    while begin < len(lines):
        piece = lines[begin : begin + max_lines]
        while len(piece) > 1 and sum(map(len, piece)) > max_bytes:
            del piece[(len(piece) + 1) // 2 :]
        begin += len(piece)
        yield begin, piece
