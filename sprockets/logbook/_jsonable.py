"""JSON-safe data: what JSON has stays, the rest becomes ``None``."""

from __future__ import annotations

from datetime import datetime

from sprockets.logbook._clock import format_iso8601
from sprockets.logbook._typing import Any


def to_safe_json(data: Any) -> Any:
    """Return a copy of *data* of nothing but what JSON has.

    ``None``, booleans, numbers and text stay, as values of the plain type; a ``datetime`` becomes
    ISO 8601 in UTC; lists, tuples and dicts are converted inside, with keys as text.  Everything
    else, and a container inside itself, becomes ``None``.  Never raises.

    >>> to_safe_json([object(), {1: {2, 3}, "a": (1, 2)}])
    [None, {'1': None, 'a': (1, 2)}]
    """
    return _convert(data, set())


def _convert(data: Any, outer: set[int]) -> Any:
    kind = type(data)
    if data is None or kind is str or kind is int or kind is float or kind is bool:
        return data
    try:
        if isinstance(data, str):
            return str.__str__(data)
        if isinstance(data, int):
            return int.__int__(data)
        if isinstance(data, float):
            return float.__float__(data)
        if isinstance(data, datetime):
            return format_iso8601(data)
        if isinstance(data, (list, tuple, dict)):
            return _convert_container(data, outer)
    except Exception:  # noqa: BLE001 - a value that breaks when looked at is like one JSON lacks
        return None
    return None


def _convert_container(data: Any, outer: set[int]) -> Any:
    identity = id(data)
    if identity in outer or len(outer) > _DEEPEST:
        return None
    outer.add(identity)
    try:
        if isinstance(data, dict):
            return {_key(key): _convert(value, outer) for key, value in list(dict.items(data))}
        items = [_convert(item, outer) for item in data]
        return tuple(items) if isinstance(data, tuple) else items
    finally:
        outer.discard(identity)


_DEEPEST = 200


def _key(key: object) -> str:
    if type(key) is str:
        return key
    try:
        return str.__str__(str(key))
    except Exception:  # noqa: BLE001 - its type is all that can be said of such a key
        return type(key).__name__
