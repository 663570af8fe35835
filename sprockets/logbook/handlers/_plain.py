"""Plain data for other services: what a record carries, bounded, as nothing but JSON's types."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime

from sprockets.logbook import _caller
from sprockets.logbook._clock import format_iso8601
from sprockets.logbook._text import cut, safe_repr, safe_str
from sprockets.logbook._typing import Any, Final

_caller.register(__file__)

MAX_DEPTH: Final = 8
"""Containers in containers that are kept as such; what is deeper becomes text."""

MAX_ITEMS: Final = 1_000
"""Items of all containers of a value together."""

SCRUBBED: Final = "[Filtered]"
"""What stands in the place of a secret."""


def clean(text: str) -> str:
    r"""Return *text* as UTF-8 can say it: a lone surrogate becomes U+FFFD.

    >>> clean("a\ud800b")
    'a�b'
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def name_of(key: object) -> str:
    """Return *key* as the name of a member."""
    return clean(cut(key if type(key) is str else safe_str(key), 1_000))


def plain(
    value: object,
    *,
    is_secret: Callable[[str], bool] | None = None,
    max_text: int = 65_536,
) -> Any:
    """Return *value* as nothing but ``None``, booleans, numbers, text, bytes, lists and dicts.

    Keys are text.  Other objects become their text; what is too deep, too long or too much is cut
    and says so.  Never raises.

    Args:
        value: Anything, containers that contain themselves included.
        is_secret: Whether a member of this name is replaced by ``[Filtered]``.
        max_text: Characters that a text has at most.
    """
    return _Plain(is_secret, max_text).convert(value, 0)


class _Plain:
    def __init__(self, is_secret: Callable[[str], bool] | None, max_text: int) -> None:
        self.is_secret = is_secret
        self.max_text = max_text
        self.items = MAX_ITEMS

    def convert(self, value: object, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is int:
            return value
        if kind is str:
            return clean(cut(value, self.max_text))  # type: ignore[arg-type]  # a str
        if kind is float:
            return value
        try:
            if kind is bytes:
                return value[: self.max_text]  # type: ignore[index]  # bytes
            if isinstance(value, datetime):
                return format_iso8601(value)
            if isinstance(value, (Mapping, list, tuple, set, frozenset)):
                return self.container(value, depth)
        except Exception:  # noqa: BLE001 - its text has to do
            return clean(safe_str(value, self.max_text))
        return clean(safe_str(value, self.max_text))

    def container(self, value: Any, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            return clean(safe_repr(value))
        # list() takes them at once: another thread may be changing the container.
        if isinstance(value, Mapping):
            return self.mapping(list(value.items()), depth)
        converted: list[Any] = []
        for item in list(value):
            if self.items <= 0:
                converted.append(f"… {len(value) - len(converted)} more")
                break
            self.items -= 1
            converted.append(self.convert(item, depth + 1))
        return converted

    def mapping(self, pairs: list[tuple[object, object]], depth: int) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        for key, item in pairs:
            if self.items <= 0:
                converted["…"] = f"{len(pairs) - len(converted)} more"
                break
            self.items -= 1
            name = name_of(key)
            while name in converted:
                name += "_"
            if self.is_secret is not None and self.is_secret(name):
                converted[name] = SCRUBBED
            else:
                converted[name] = self.convert(item, depth + 1)
        return converted


def jsonable(value: Any) -> Any:
    """Return a plain *value* as strict JSON can say it: bytes and what is not finite as text."""
    if isinstance(value, dict):
        return {name: jsonable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if type(value) is int and not -(2**63) <= value < 2**64:
        return safe_str(value, 1_000)
    return value


def is_int64(value: int) -> bool:
    """Return whether *value* fits into a number of 64 bits with a sign."""
    return -(2**63) <= value < 2**63
