"""Batches, and what else comes: records read at speed.

A batch is lines, each a record in JSON, in which what has its default may be missing.  Ordinary
records, which are nearly all, take a short way; the others go through
`sprockets.logbook.queues._wire`, and so does whatever looks suspicious.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType
from typing import Any, Final, TypeAlias

from sprockets.logbook import _caller
from sprockets.logbook._clock import moment_of, parse_iso8601
from sprockets.logbook._levels import LEVEL_NAMES, TRACE
from sprockets.logbook.queues._wire import (
    MAX_BYTES,
    MalformedRecordError,
    decode_record,
    is_deep,
)
from sprockets.logbook.record import ExtraDict, LogRecord

_quick_loads: Callable[[bytes], Any] | None
try:
    # Nobody needs it; where it is, reading takes half the time.
    from orjson import loads as _quick_loads
except ImportError:
    _quick_loads = None

_caller.register(__file__)

_HEAD_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "time": (str,),
    "level": (int,),
    "channel": (str, NoneType),
    "message": (str,),
    "msg": (str,),
    "args": (list, tuple),
    "kwargs": (dict,),
    "extra": (dict,),
    "exception_name": (str, NoneType),
    "exception_message": (str, NoneType),
    "formatted_exception": (str, NoneType),
    "record_id": (str,),
}
_TAIL_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "filename": (str, NoneType),
    "lineno": (int, NoneType),
    "func_name": (str, NoneType),
    "module": (str, NoneType),
    "process": (int, NoneType),
    "process_name": (str, NoneType),
    "thread": (int,),
    "thread_name": (str,),
    "greenlet": (int,),
}
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    **_HEAD_KINDS,
    **_TAIL_KINDS,
    "frame_correction": (int,),
    "heavy_initialized": (bool,),
    "information_pulled": (bool,),
}
_REQUIRED: Final = frozenset(("time", "level", "message", "msg"))
_PLAIN: Final = frozenset((str, int, bool, NoneType))
# Beyond 64 bits orjson makes an integer a float.
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")

_shapes: dict[tuple[object, ...], Mapping[str, Any]] = {}
"""Names and types of the members of objects that were looked at: of what they are ordinary."""
_MAX_SHAPES: Final = 256
_tails: dict[bytes, dict[str, Any]] = {}
"""Ends of lines, as facts with all defaults: the same place and thread again and again."""
_MAX_TAILS: Final = 1_024
_MAX_TAIL: Final = 1_000
_TAIL: Final = b',"process":'

_NO_FACTS: Final = {
    **{
        name: value
        for name, value in decode_record({"level": TRACE}).__dict__.items()
        if name not in ("level", "args", "kwargs", "extra", "_time")
    },
    "_time": None,
    "heavy_initialized": True,
    "information_pulled": True,
    "args": (),
}
_NO_BASE: Final[dict[str, Any]] = {}
_PADDED_LENGTH: Final = len("2000-01-01T00:00:00.000000Z")
_second: tuple[str, int] = ("", 0)

Unreadable: TypeAlias = tuple[bytes, MalformedRecordError]


def decode(data: Any) -> LogRecord:
    """Return the record that is *data*, as `decode_record` does.

    Raises:
        MalformedRecordError: It is none.
    """
    kind = type(data)
    if kind is bytes and len(data) <= MAX_BYTES:
        record = _quick_record(_loads(data), _KINDS, _NO_FACTS, data)
    elif kind is dict:
        record = _quick_record(data, _KINDS, _NO_FACTS, b"")
    else:
        record = None
    return decode_record(data) if record is None else record


def decode_lines(payload: bytes) -> Iterable[LogRecord | Unreadable]:
    """Return the records of a batch, in order; and what is none, with the reason."""
    lines = payload.split(b"\n")
    if len(payload) > MAX_BYTES:
        return map(_decode_line, lines)
    parts = [line.rpartition(_TAIL) for line in lines]
    bases = [_tails.get(tail) or _base_of(tail) for _, _, tail in parts]
    if _NO_BASE in bases:
        return _decode_mixed(lines, parts, bases)
    return _decode_heads(lines, [head for head, _, _ in parts], bases)


def _decode_mixed(
    lines: list[bytes],
    parts: list[tuple[bytes, bytes, bytes]],
    bases: list[dict[str, Any]],
) -> Iterator[LogRecord | Unreadable]:
    good = [index for index, base in enumerate(bases) if base]
    decoded = iter(
        _decode_heads(
            [lines[index] for index in good],
            [parts[index][0] for index in good],
            [bases[index] for index in good],
        )
    )
    for line, base in zip(lines, bases, strict=True):
        yield next(decoded) if base else _decode_line(line)


def _decode_heads(
    lines: list[bytes], heads: list[bytes], bases: list[dict[str, Any]]
) -> Iterable[LogRecord | Unreadable]:
    if not lines:
        return ()
    # All at once: half the time of one by one.
    objects = _loads(b"[%b}]" % b"},".join(heads))
    if objects is None or len(objects) != len(lines):
        return map(_decode_line, lines)
    return map(_decode_head, objects, bases, lines)


def _decode_head(facts: Any, base: dict[str, Any], line: bytes) -> LogRecord | Unreadable:
    return _quick_record(facts, _HEAD_KINDS, base, line) or _decode_line(line)


def _decode_line(line: bytes) -> LogRecord | Unreadable:
    try:
        return decode(line)
    except MalformedRecordError as error:
        return line, error


def _loads(data: bytes) -> Any:
    """Return what *data* is in JSON; ``None`` if it is no JSON."""
    if _quick_loads is not None:
        try:
            return _quick_loads(data)
        except ValueError:
            pass  # stricter than others: lone surrogates, infinities
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _base_of(tail: bytes) -> dict[str, Any]:
    """Return the facts that *tail*, the end of a line, says, with all defaults; or none."""
    if not tail or len(tail) > _MAX_TAIL or b"record_id" in tail:
        return _NO_BASE
    facts = _loads(b"{%b%b" % (_TAIL[1:], tail))
    if type(facts) is not dict or not _is_of(facts, _TAIL_KINDS):
        return _NO_BASE
    if len(_tails) >= _MAX_TAILS:
        _tails.clear()
    base = _tails[tail] = {**_NO_FACTS, **facts}
    return base


def _is_of(facts: dict[str, Any], kinds: Mapping[str, tuple[type, ...]]) -> bool:
    return all(type(value) in kinds.get(name, ()) for name, value in facts.items())


def _quick_record(
    facts: Any, kinds: Mapping[str, tuple[type, ...]], base: dict[str, Any], line: bytes
) -> LogRecord | None:
    """Return the record with *facts*, and others from *base*; ``None`` takes a closer look."""
    if type(facts) is not dict:
        return None
    shape = (*facts, *map(type, facts.values()))
    if _shapes.get(shape) is not kinds:
        if not (facts.keys() >= _REQUIRED and _is_of(facts, kinds)):
            return None
        # What a peer makes up must not push out what is ordinary.
        if len(_shapes) < _MAX_SHAPES:
            _shapes[shape] = kinds
    moment = _moment_of(facts["time"])
    if moment is None or facts["level"] not in LEVEL_NAMES:
        return None
    own = {**base, **facts}
    del own["time"]
    own["_moment"] = moment
    args = facts.get("args")
    if args:
        if not _PLAIN.issuperset(map(type, args)) and _is_suspicious(args, line):
            return None
        own["args"] = tuple(args)
    else:
        own["args"] = ()
    kwargs = facts.get("kwargs")
    if kwargs:
        if not _PLAIN.issuperset(map(type, kwargs.values())) and _is_suspicious(kwargs, line):
            return None
        own["kwargs"] = kwargs
    else:
        own["kwargs"] = {}
    extra = facts.get("extra")
    if extra:
        if not _PLAIN.issuperset(map(type, extra.values())) and _is_suspicious(extra, line):
            return None
        own["extra"] = ExtraDict(extra)
    else:
        own["extra"] = ExtraDict()
    own["heavy_initialized"] = own["information_pulled"] = True
    record = LogRecord.__new__(LogRecord)
    record.__dict__ = own
    return record


def _is_suspicious(values: object, line: bytes) -> bool:
    """Whether *values* are too deep, or a number among them may not be what *line* says."""
    # The record is one, and this is the second.
    return is_deep([values]) or (_quick_loads is not None and bool(_LONG_NUMBER.search(line)))


def _moment_of(time: str) -> int | None:
    """Return the moment of *time* in the form that we write; ``None`` if it has another."""
    global _second
    fraction = time[20:26]
    if len(time) != _PADDED_LENGTH or not (fraction.isascii() and fraction.isdigit()):
        return None
    known = _second
    second = time[:20] + time[26]
    if known[0] != second:
        if second[19:] != ".Z":
            return None
        try:
            known = second, moment_of(parse_iso8601(f"{second[:19]}Z"))
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
