"""Frames: how items become bytes in a file that may end, or be torn, anywhere.

A frame is a magic word, length and checksum, and the payload.  What is no frame is skipped, up to
the next one.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

_MAGIC: Final = b"\xf5spl"
_HEADER: Final = struct.Struct(">4sII")


def encode_item(item: Any) -> bytes:
    """Return the bytes that stand for *item*: bytes, text, or what JSON can carry.

    Raises:
        TypeError: JSON cannot carry *item*.
    """
    if isinstance(item, (bytes, bytearray, memoryview)):
        return b"b" + item
    if isinstance(item, str):
        return b"s" + item.encode("utf-8", "surrogatepass")
    return b"j" + json.dumps(item, separators=(",", ":")).encode()


def decode_item(data: bytes) -> Any:
    """Return the item that *data* stands for; tuples have become lists.

    Raises:
        ValueError: *data* is not what `encode_item` makes.
    """
    kind, payload = data[:1], data[1:]
    if kind == b"b":
        return payload
    if kind == b"s":
        return payload.decode("utf-8", "surrogatepass")
    if kind == b"j":
        return json.loads(payload)
    raise ValueError(f"no item begins with {kind!r}")


def frame(payload: bytes) -> bytes:
    """Return *payload* with what tells whether it is whole."""
    return _HEADER.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload


def frames(data: bytes, torn: Callable[[], object] = int) -> Iterator[tuple[bytes, int]]:
    """Yield each whole payload in *data*, and where it ends; call *torn* at each bad place."""
    at = 0
    while at < len(data):
        start = at + _HEADER.size
        if start <= len(data):
            magic, length, checksum = _HEADER.unpack_from(data, at)
            payload = data[start : start + length]
            if magic == _MAGIC and len(payload) == length and zlib.crc32(payload) == checksum:
                at = start + length
                yield payload, at
                continue
        torn()
        at = data.find(_MAGIC, at + 1)
        if at < 0:
            return
