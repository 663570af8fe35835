r"""JSON: a message as one line of UTF-8, at once where it can be and without loss where it cannot.

>>> encode({"price": float("inf"), "size": {1: 2**70}, "text": "caf\u00e9 \udc80"}).decode()
'{"price":null,"size":{"1":1180591620717411303424},"text":"café \\udc80"}'

The C encoder of the standard library does nearly all of it.  What it refuses (numbers that JSON
lacks, keys that are no text, deep nesting) is written by a second encoder that is slower, has no
limit of depth, and otherwise writes the same.  Faster libraries are left alone even if they are
installed: what a message looks like does not depend on the machine.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from enum import Enum
from json import encoder
from json.encoder import encode_basestring as quote
from typing import Any, Final, TypeAlias

from sprockets.eliot._fields import IDENTITY, safe_repr, safe_text

__all__ = ["EliotJSONEncoder", "encode", "json_default"]

JSONDefault: TypeAlias = Callable[[object], object]

_ARRAY_MAX: Final = 10_000
"""Elements of a NumPy array that are written."""

_CONVERSIONS_MAX: Final = 10_000
"""Conversions around a value from which on they are taken to be endless."""


# -- values that JSON has no form for


def json_default(o: object) -> object:
    """Return what is written in place of *o*, for which JSON has no form.

    Members of enumerations are their value; moments ISO 8601; UUIDs and paths text; data classes
    objects of their fields; sets arrays; complex numbers ``{"real": …, "imag": …}``.  Of NumPy,
    Pydantic, Pandas and Polars the usual types are known, if those are already imported.  Anything
    else, and what cannot be taken apart, is its ``repr``.

    Raises:
        RecursionError: The stack is too full to find out; `encode` tries again with more room.

    >>> json_default(3 + 4j), json_default(b"bytes")
    ({'real': 3.0, 'imag': 4.0}, "b'bytes'")
    """
    try:
        for name, convert in _CONVERTERS:
            module = sys.modules.get(name)
            if module is not None:
                converted = convert(module, o)
                if converted is not _UNKNOWN:
                    return converted
    except RecursionError:
        raise
    except Exception:  # noqa: BLE001 - what cannot be taken apart can still be shown
        return _show(o)
    return _show(o)


def _show(o: object) -> str:
    try:
        return repr(o)
    except RecursionError:
        raise
    except Exception:  # noqa: BLE001 - the text says it
        return safe_repr(o)


_UNKNOWN: Final = object()


def _is_a(o: object, module: Any, *names: str) -> bool:
    # A module that another thread is still importing may lack some of its names.
    return any(isinstance(o, getattr(module, name, ())) for name in names)


def _from_builtins(_: Any, o: object) -> object:
    if isinstance(o, Enum):
        return o.value
    if isinstance(o, (datetime, date, time)):
        return o.isoformat()
    if isinstance(o, set):
        return list(o)
    if isinstance(o, complex):
        return {"real": o.real, "imag": o.imag}
    return _UNKNOWN


def _from_dataclasses(dataclasses: Any, o: object) -> object:
    if hasattr(type(o), "__dataclass_fields__"):
        return {field.name: getattr(o, field.name) for field in dataclasses.fields(o)}
    return _UNKNOWN


def _from_uuid(uuid: Any, o: object) -> object:
    return str(o) if _is_a(o, uuid, "UUID") else _UNKNOWN


def _from_pathlib(pathlib: Any, o: object) -> object:
    return str(o) if _is_a(o, pathlib, "PurePath") else _UNKNOWN


def _from_numpy(numpy: Any, o: Any) -> object:
    if _is_a(o, numpy, "ndarray"):
        if o.size > _ARRAY_MAX:
            return {
                "array_start": o.flat[:_ARRAY_MAX].tolist(),
                "original_shape": list(o.shape),
            }
        return o.tolist()
    if _is_a(o, numpy, "datetime64", "timedelta64"):
        # Their numbers mean nothing without the unit.
        return str(o)
    if _is_a(o, numpy, "longdouble", "clongdouble"):
        # For which Python has no number of its own.
        return complex(o) if _is_a(o, numpy, "clongdouble") else float(o)
    return o.item() if _is_a(o, numpy, "generic") else _UNKNOWN


def _from_pydantic(pydantic: Any, o: Any) -> object:
    return o.model_dump() if _is_a(o, pydantic, "BaseModel") else _UNKNOWN


def _from_pandas(pandas: Any, o: Any) -> object:
    # A Timestamp is a datetime.
    if _is_a(o, pandas, "Series"):
        return o.to_list()
    if _is_a(o, pandas, "DataFrame"):
        return o.to_dict(orient="records")
    if _is_a(o, pandas, "Interval"):
        return {"left": o.left, "right": o.right, "closed": o.closed}
    return str(o) if _is_a(o, pandas, "Period") else _UNKNOWN


def _from_polars(polars: Any, o: Any) -> object:
    if _is_a(o, polars, "Series"):
        return o.to_list()
    return o.to_dicts() if _is_a(o, polars, "DataFrame") else _UNKNOWN


_CONVERTERS: Final[tuple[tuple[str, Callable[[Any, Any], object]], ...]] = (
    ("builtins", _from_builtins),
    ("dataclasses", _from_dataclasses),
    ("uuid", _from_uuid),
    ("pathlib", _from_pathlib),
    ("numpy", _from_numpy),
    # Not "pydantic", which would import this one when asked for the model.
    ("pydantic.main", _from_pydantic),
    ("pandas", _from_pandas),
    ("polars", _from_polars),
)


class EliotJSONEncoder(json.JSONEncoder):
    """Encodes what `json_default` knows.

    .. deprecated:: 3.0
       Use `json_default`.
    """

    def default(self, o: object) -> object:
        """Return what is written in place of *o*."""
        return json_default(o)


# -- at once


def _make_encoder(json_default: JSONDefault) -> Callable[[object, int], tuple[str, ...]]:
    make: Any = getattr(encoder, "c_make_encoder", None)
    if make is None:
        return _refuse
    # The dict is where it notes what it is in the middle of, to find cycles.  Without it a cycle
    # would be written a thousand times before it is noticed, with all the text that is in it.
    encode: Callable[[object, int], tuple[str, ...]] = make(
        {}, json_default, encoder.encode_basestring, None, ":", ",", False, False, False
    )
    return encode


def _refuse(message: object, level: int) -> tuple[str, ...]:
    # An interpreter without the C encoder.
    raise TypeError(f"no encoder for {type(message)} at {level}")


_DEFAULT: Final = json_default
_encode_quickly = _make_encoder(_DEFAULT)

# What else it raises comes from json_default.  KeyError: another thread, or a signal handler, that
# encoded the same object meanwhile has deleted the note that both had made.
_REFUSALS: Final = (ValueError, TypeError, RecursionError, KeyError)


def quick_members(fields: dict[str, Any]) -> str | None:
    """Return *fields* as members of a JSON object, each with a comma after it.

    None if it takes a closer look: at a value, which `encode` is then to have, or at a name, which
    is that of a member that a message has anyway.
    """
    global _encode_quickly
    text = ""
    try:
        # For as few as most messages have, the C encoder takes longer to get going than this does.
        for key, value in fields.items():
            if key in IDENTITY:
                return None
            kind = type(value)
            if kind is int:
                text = f"{text}{quote(key)}:{value},"
            elif kind is str:
                text = f"{text}{quote(key)}:{quote(value)},"
            elif IDENTITY.isdisjoint(fields):
                return "".join(_encode_quickly(fields, 0))[1:-1] + ","
            else:
                return None
    except Exception:  # noqa: BLE001 - the caller goes the long way, which says what is wrong
        # The notes of what failed stay behind.
        _encode_quickly = _make_encoder(_DEFAULT)
        return None
    return text


def encode(message: object, json_default: JSONDefault = json_default) -> bytes:
    """Return *message* as compact JSON in UTF-8, without a line break.

    Text, numbers, lists and tuples, dicts and their subclasses have their natural form.  Numbers
    that are not finite become ``null``; lone surrogates are escaped; integers with more digits than
    Python reads are text, in hexadecimal; keys that are neither text, numbers, booleans nor None
    are written as ``str`` shows them.

    Args:
        message: What to encode, a dict as a rule; nested as deeply as it likes.
        json_default: Called with what JSON has no form for, returns what to write in its place.
            It may be called twice for the same value.

    Raises:
        ValueError: *message* contains itself; the text says where.
        Exception: What *json_default* raises.
    """
    global _encode_quickly
    try:
        if json_default is _DEFAULT:
            parts = _encode_quickly(message, 0)
        else:
            parts = _make_encoder(json_default)(message, 0)
        # "backslashreplace" is how JSON escapes the one thing that UTF-8 lacks, lone surrogates.
        return "".join(parts).encode("utf-8", "backslashreplace")
    except _REFUSALS:
        # The notes of a message that failed stay behind.
        _encode_quickly = _make_encoder(_DEFAULT)
    return _encode_carefully(message, json_default).encode("utf-8", "backslashreplace")


# -- with care


class _Container:
    """A value whose members are being written.

    Args:
        value: The value.
        end: What comes after its members; nothing if it is a value that is being converted.
        members: What comes before a member, its key, the member.
    """

    __slots__ = ("end", "key", "members", "value")

    def __init__(
        self, value: object, end: str, members: Iterator[tuple[str, object, object]]
    ) -> None:
        self.value = value
        self.end = end
        self.members = members
        self.key: object = None


def _encode_carefully(message: object, json_default: JSONDefault) -> str:
    parts: list[str] = []
    containers: list[_Container] = []
    depths: dict[int, int] = {}
    conversions = 0
    value = message
    while True:
        text = _encode_atom(value)
        if text is not None:
            parts.append(text)
        else:
            if id(value) in depths:
                raise ValueError(_describe_cycle(containers, depths[id(value)]))
            depths[id(value)] = len(containers)
            # By type(), as the C encoder does: a proxy that says it is a dict is none.
            kind = type(value)
            if issubclass(kind, dict):
                parts.append("{")
                containers.append(_Container(value, "}", _members_of_dict(value)))
            elif issubclass(kind, (list, tuple)):
                parts.append("[")
                containers.append(_Container(value, "]", _members_of_list(value)))
            else:
                conversions += 1
                if conversions > _CONVERSIONS_MAX:
                    raise ValueError(_describe_endless(containers))
                converted = _convert(value, json_default)
                containers.append(_Container(value, "", iter([("", None, converted)])))
        while containers:
            container = containers[-1]
            member = next(container.members, None)
            if member is not None:
                before, container.key, value = member
                parts.append(before)
                break
            parts.append(container.end)
            conversions -= not container.end
            del depths[id(container.value)], containers[-1]
        else:
            return "".join(parts)


def _convert(value: object, json_default: JSONDefault) -> object:
    try:
        return json_default(value)
    except RecursionError:
        if json_default is not _DEFAULT:
            raise
        # There is room here: it is the value itself that has no end.
        return safe_repr(value)


def _encode_atom(value: Any) -> str | None:
    """Return *value* if it has no members, else None."""
    kind = type(value)
    if issubclass(kind, str):
        return encoder.encode_basestring(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if issubclass(kind, int):
        return _encode_int(value)
    if issubclass(kind, float):
        return float.__repr__(value) if math.isfinite(value) else "null"
    return None


def _encode_int(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:
        # Thousands of digits: decimals would take a time that grows with their square, and
        # Python's readers refuse them.
        return f'"{hex(value)}"'


def _encode_key(key: Any) -> str:
    kind = type(key)
    if key is None or issubclass(kind, int) or (issubclass(kind, float) and math.isfinite(key)):
        key = str(_encode_atom(key)).strip('"')
    elif not issubclass(kind, str):
        key = safe_text(key)
    return encoder.encode_basestring(key)


def _members_of_dict(value: Any) -> Iterator[tuple[str, object, object]]:
    comma = ""
    # A copy: another thread may be changing it.
    for key, member in list(value.items()):
        yield f"{comma}{_encode_key(key)}:", key, member
        comma = ","


def _members_of_list(value: Any) -> Iterator[tuple[str, object, object]]:
    comma = ""
    for index, member in enumerate(list(value)):
        yield comma, index, member
        comma = ","


def _describe_cycle(containers: list[_Container], depth: int) -> str:
    kind = type(containers[depth].value).__name__
    first, again = _describe_path(containers[:depth]), _describe_path(containers)
    return (
        f"cannot write a message that contains itself as JSON: the {kind} at {first} comes again"
        f" at {again}; log a part of it, or its repr()"
    )


def _describe_endless(containers: list[_Container]) -> str:
    return (
        f"cannot write as JSON what is converted without end: {_CONVERSIONS_MAX:,} conversions"
        f" at {_describe_path(containers)}; let json_default return text at some point"
    )


_PATH_MAX: Final = 10
"""Keys of a path that are shown."""


def _describe_path(containers: list[_Container]) -> str:
    keys = [container.key for container in containers if container.end]
    shown = "".join([f"[{safe_repr(key):.80}]" for key in keys[:_PATH_MAX]])
    return f"message{shown}{'…' if len(keys) > _PATH_MAX else ''}"
