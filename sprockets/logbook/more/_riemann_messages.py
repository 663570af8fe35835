"""Riemann's messages in Protocol Buffers: events on their way there, and what it answers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sprockets.logbook._text import cut, safe_str
from sprockets.logbook.handlers._plain import clean, is_int64

_VARINT: Final = 0
_EIGHT_BYTES: Final = 1
_BYTES: Final = 2
_FOUR_BYTES: Final = 5

_OK: Final = 2
_ERROR: Final = 3
_EVENTS: Final = 6


class RefusedError(ValueError):
    """Riemann has read a message, and does not want it."""


def encode_event(event: Mapping[str, Any], limit: int | None = None) -> bytes:
    r"""Return *event* as a field of a message; what is ``None`` is left out.

    Args:
        event: Facts by the names that Riemann has for them; ``tags`` are texts, ``attributes`` a
            mapping of texts.
        limit: Bytes at most; of a longer event the description is cut.

    Raises:
        ValueError: Riemann knows no such fact, a number is too large, or the event is too long
            even without a description.

    >>> encode_event({"state": "ok", "ttl": 60})
    b'2\t\x12\x02okE\x00\x00pB'

    Source: riemann-client for Java, ``proto.proto``, whose field numbers these are; protobuf.dev,
    "Encoding".
    """
    encoded = _message(_EVENTS, b"".join(_fields_of(event)))
    if limit is None or len(encoded) <= limit:
        return encoded
    description = clean(safe_str(event.get("description") or ""))
    # A character takes four bytes at most, and the mark some more.
    room = max(0, len(description) - (len(encoded) - limit) - 100)
    for length in (room, room // 4, 0):
        shorter = {**event, "description": cut(description, length) if length else None}
        encoded = _message(_EVENTS, b"".join(_fields_of(shorter)))
        if len(encoded) <= limit:
            return encoded
    raise ValueError(f"an event of {len(encoded)} bytes without description; {limit} are possible")


def encode_message(events: Iterable[bytes]) -> bytes:
    """Return the message of *events*, each made by :func:`encode_event`."""
    return b"".join(events)


def read_answer(data: bytes) -> tuple[bool, str]:
    """Return whether a message says that all is well, and if not, what it says is wrong.

    Raises:
        ValueError: That is no message, or one that says neither.
    """
    is_ok, error = None, ""
    for number, kind, value in _read_fields(data):
        if (number, kind) == (_OK, _VARINT):
            is_ok = value != 0
        elif (number, kind) == (_ERROR, _BYTES) and isinstance(value, bytes):
            error = value.decode("utf-8", "replace")
    if is_ok is None and not error:
        raise ValueError("neither yes nor no")
    return bool(is_ok), error


# -- writing


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _text(number: int, value: object) -> bytes:
    return _message(number, clean(safe_str(value)).encode())


def _texts(number: int, values: Sequence[object]) -> bytes:
    return b"".join([_text(number, value) for value in values])


def _whole(number: int, value: object) -> bytes:
    return _varint(number << 3 | _VARINT) + _varint(_int64(value) & 0xFFFFFFFFFFFFFFFF)


def _zigzag(number: int, value: object) -> bytes:
    whole = _int64(value)
    return _varint(number << 3 | _VARINT) + _varint(whole << 1 if whole >= 0 else -2 * whole - 1)


def _int64(value: Any) -> int:
    whole = int(value)
    if not is_int64(whole):
        raise OverflowError("more than 64 bits")
    return whole


def _float(number: int, value: Any) -> bytes:
    return _varint(number << 3 | _FOUR_BYTES) + struct.pack("<f", value)


def _double(number: int, value: Any) -> bytes:
    return _varint(number << 3 | _EIGHT_BYTES) + struct.pack("<d", value)


def _pairs(number: int, pairs: Mapping[object, object]) -> bytes:
    return b"".join(
        [_message(number, _text(1, name) + _text(2, value)) for name, value in pairs.items()]
    )


_FIELDS: Final[Mapping[str, tuple[int, Callable[[int, Any], bytes]]]] = {
    "time": (1, _whole),
    "state": (2, _text),
    "service": (3, _text),
    "host": (4, _text),
    "description": (5, _text),
    "tags": (7, _texts),
    "ttl": (8, _float),
    "attributes": (9, _pairs),
    "time_micros": (10, _whole),
    "metric_sint64": (13, _zigzag),
    "metric_d": (14, _double),
    "metric_f": (15, _float),
}


def _fields_of(event: Mapping[str, Any]) -> Iterator[bytes]:
    for name, value in sorted(event.items(), key=lambda fact: _FIELDS.get(fact[0], (0,))[0]):
        if name not in _FIELDS:
            raise ValueError(f"unknown fact {name!r} of an event; known: {', '.join(_FIELDS)}")
        if value is not None:
            number, encode = _FIELDS[name]
            try:
                yield encode(number, value)
            except (OverflowError, TypeError, struct.error) as error:
                shown = safe_str(value, 100)
                raise ValueError(f"cannot send {shown} as {name} of an event") from error


# -- reading


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number does not end")


def _read_fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield number, kind and value of each field."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield tag >> 3, kind, value
            continue
        if kind == _BYTES:
            length, at = _read_varint(data, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"unknown kind {kind} of a field")
        if at + length > len(data):
            raise ValueError("a field ends early")
        yield tag >> 3, kind, data[at : at + length]
        at += length
