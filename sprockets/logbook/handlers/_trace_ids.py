"""Trace ids: which trace and span a record belongs to, where anything says so."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from sprockets.logbook._typing import Any, Final

_HEX: Final = frozenset("0123456789abcdef")


def _hex(value: object, digits: int) -> str:
    """Return *value* as an id of so many hexadecimal digits, ``""`` if it is none."""
    text = value.lower() if isinstance(value, str) else ""
    if len(text) != digits or not _HEX.issuperset(text) or text.count("0") == digits:
        return ""
    return text


def trace_of(extra: Mapping[str, Any]) -> tuple[str, str, int | None]:
    """Return trace id, span id and flags of a record, ``""`` and ``None`` where there is none.

    The custom fields ``trace_id``, ``span_id`` and ``trace_flags`` come first; then the current
    span, if OpenTelemetry's API is in use in this process; then a ``request_id`` that looks like a
    trace id, as one that came in by ``traceparent`` does.

    Source: W3C Trace Context, sections 3.2.2.3 and 3.2.2.4: all zeros is no id.
    """
    trace_id = _hex(extra.get("trace_id"), 32)
    span_id = _hex(extra.get("span_id"), 16)
    flags = extra.get("trace_flags")
    known_flags = flags if type(flags) is int and 0 <= flags <= 0xFFFFFFFF else None
    if not trace_id:
        found = _current_span()
        if found is not None:
            return found
        trace_id = _hex(extra.get("request_id"), 32)
    return trace_id, span_id if trace_id else "", known_flags


def _current_span() -> tuple[str, str, int | None] | None:
    # Whoever uses it has imported it; importing it here would cost those who do not.
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    try:
        context = api.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return f"{context.trace_id:032x}", f"{context.span_id:016x}", int(context.trace_flags)
    except Exception:  # noqa: BLE001 - a record without a trace is better than none
        return None
