"""What a store holds of a record, read with forbearance: damaged rows are shown, not refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sprockets.logbook._clock import parse_iso8601
from sprockets.logbook._levels import CRITICAL, LEVEL_NAMES, NOTSET, TRACE
from sprockets.logbook._text import cut, format_message, safe_repr, safe_str

MAX_DEPTH: Final = 100
"""Arrays and objects within each other that are read, those of a field included."""
MAX_FIELDS: Final = 256
"""Fields of a record that are read, known and unknown."""

_SHOWN = 1_000
_OLD_LEVELS: Final = range(1, 7)
_OLD_LEVELS_DIFFER_BY: Final = 9
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
_NUMBERS: Final = ("process", "thread", "greenlet", "lineno", "frame_correction")


def level_of(level: object) -> int:
    """Return the level that a store's number stands for.

    Levels of Logbook before 0.11 are translated; those that nobody knows become the nearest that is
    known, and what is no number becomes ``NOTSET``.

    >>> level_of(5), level_of(14), level_of(99), level_of(None)
    (14, 14, 15, 0)
    """
    if type(level) is not int or level <= NOTSET:
        return NOTSET
    if level in LEVEL_NAMES:
        return level
    if level in _OLD_LEVELS:
        return level + _OLD_LEVELS_DIFFER_BY
    return min(max(level, TRACE), CRITICAL)


def facts_of(data: object) -> dict[str, Any]:
    """Return the facts of a record that is stored as *data*, for `LogRecord.update_from_dict`.

    Never raises.  Of what is no record, the message says what is stored and the ``extra`` field
    ``damage`` what is wrong with it; single facts of the wrong kind become their text.

    Args:
        data: JSON, as text or bytes; or what was decoded from it.
    """
    facts, damage = _decoded(data)
    if damage is not None:
        return {
            "level": NOTSET,
            "msg": cut(data) if isinstance(data, str) else safe_repr(data, _SHOWN),
            "extra": {"damage": damage},
        }
    if len(facts) > MAX_FIELDS:
        facts = dict(list(facts.items())[:MAX_FIELDS])
    for name, value in facts.items():
        if isinstance(value, (dict, list)) and _is_deep(value):
            facts[name] = safe_repr(value, _SHOWN)
    facts["level"] = level_of(facts.get("level"))
    _straighten(facts)
    if facts.get("message") is None and (facts.get("args") or facts.get("kwargs")):
        facts["message"] = _message_of(facts)
    return facts


def _message_of(facts: Mapping[str, Any]) -> str:
    msg = facts.get("msg")
    try:
        return format_message(
            msg if isinstance(msg, str) else safe_str(msg),
            tuple(facts.get("args") or ()),
            facts.get("kwargs") or {},
        )
    except Exception:  # noqa: BLE001 - the template is what there is to be shown
        return safe_str(msg)


def _decoded(data: object) -> tuple[dict[str, Any], str | None]:
    if isinstance(data, Mapping):
        return {str(name): value for name, value in data.items()}, None
    if not isinstance(data, (str, bytes, bytearray)):
        return {}, "nothing is stored" if data is None else "what is stored is no text"
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        return {}, f"no JSON: {error}"
    if not isinstance(found, dict):
        return {}, "no JSON object"
    return found, None


def _straighten(facts: dict[str, Any]) -> None:
    """Make every known fact one of its kind."""
    for name in _TEXTS:
        value = facts.get(name)
        if value is not None and type(value) is not str:
            facts[name] = safe_repr(value, _SHOWN)
    for name in _NUMBERS:
        if type(facts.get(name)) is not int:
            facts.pop(name, None)
    if not isinstance(facts.get("args"), list):
        facts.pop("args", None)
    if not isinstance(facts.get("kwargs"), dict):
        facts.pop("kwargs", None)
    time = facts.get("time")
    try:
        facts["time"] = parse_iso8601(time) if isinstance(time, str) else None
    except ValueError:
        facts["time"] = None


def _is_deep(data: Any) -> bool:
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            value
            for outer in level
            for value in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(value, (dict, list))
        ]
        if not level:
            return False
    return True
