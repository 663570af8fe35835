"""OTLP in Protocol Buffers: log records, the requests that carry them, and what comes back."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from sprockets.logbook import _caller
from sprockets.logbook._text import safe_str
from sprockets.logbook.handlers._plain import is_int64

_caller.register(__file__)


class Protobuf:
    """OTLP in Protocol Buffers, as far as logs need it.

    Source: opentelemetry-proto, ``logs/v1/logs.proto`` and ``common/v1/common.proto``, whose field
    numbers these are; protobuf.dev, "Encoding".
    """

    def item(self, scope: str, facts: Mapping[str, Any]) -> bytes:
        record = b"".join(
            [
                b"\x09" + struct.pack("<Q", facts["time"]),
                _number(2, facts["severity"]),
                _bytes(3, facts["severity_text"].encode()),
                _bytes(5, _proto_value(facts["body"])),
                _proto_pairs(6, facts["attributes"]),
                _number(7, facts["dropped"]),
                b"" if facts["flags"] is None else b"\x45" + struct.pack("<I", facts["flags"]),
                _bytes(9, bytes.fromhex(facts["trace_id"])),
                _bytes(10, bytes.fromhex(facts["span_id"])),
                b"\x59" + struct.pack("<Q", facts["observed"]),
            ]
        )
        name = scope.encode()
        return b"%b%b%b" % (_varint(len(name)), name, record)

    def request(self, resource: Mapping[str, Any], items: list[bytes]) -> bytes:
        scopes: dict[bytes, list[bytes]] = {}
        for item in items:
            length, start = _read_varint(item, 0)
            scopes.setdefault(item[start : start + length], []).append(
                _message(2, item[start + length :])
            )
        logs = [
            _message(2, _message(1, _bytes(1, name)) + b"".join(records))
            for name, records in scopes.items()
        ]
        return _message(1, _message(1, _proto_pairs(1, resource)) + b"".join(logs))

    def rejected(self, body: bytes) -> int:
        try:
            for field, value in _read_fields(body):
                if field == 1 and isinstance(value, bytes):
                    return sum(
                        count
                        for inner, count in _read_fields(value)
                        if inner == 1 and isinstance(count, int) and count < 2**63
                    )
        except (ValueError, IndexError):
            return 0
        return 0


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _message(field: int, value: bytes) -> bytes:
    return b"%b%b%b" % (_varint(field << 3 | 2), _varint(len(value)), value)


def _bytes(field: int, value: bytes) -> bytes:
    """Return a field of bytes, text or a message; what is empty need not be said."""
    return _message(field, value) if value else b""


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _proto_pairs(field: int, pairs: Mapping[str, Any]) -> bytes:
    return b"".join(
        [
            _message(
                field,
                _bytes(1, name.encode())
                + (b"" if value is None else _message(2, _proto_value(value))),
            )
            for name, value in pairs.items()
        ]
    )


def _proto_value(value: Any) -> bytes:
    # One of several: what is empty or zero is said as well.
    if isinstance(value, str):
        return _message(1, value.encode())
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        if is_int64(value):
            return b"\x18" + _varint(value & 0xFFFFFFFFFFFFFFFF)
        return _message(1, safe_str(value).encode())
    if isinstance(value, float):
        return b"\x21" + struct.pack("<d", value)
    if isinstance(value, list):
        return _message(5, b"".join([_message(1, _proto_value(item)) for item in value]))
    if isinstance(value, dict):
        return _message(6, _proto_pairs(1, value))
    if isinstance(value, bytes):
        return _message(7, value)
    return _message(1, b"")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _read_fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """Return the fields of a message: numbers and bytes; fixed ones count as bytes."""
    fields: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value: int | bytes
        kind = tag & 7
        if kind == 0:
            value, at = _read_varint(data, at)
        else:
            length = {1: 8, 5: 4}.get(kind, 0)
            if kind == 2:
                length, at = _read_varint(data, at)
            elif not length:
                raise ValueError(f"unknown wire type {kind}")
            if at + length > len(data):
                raise ValueError("a field ends early")
            value, at = data[at : at + length], at + length
        fields.append((tag >> 3, value))
    return fields
