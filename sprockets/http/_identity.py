"""Names of requests: the request id, and W3C's trace context."""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/+=@-]{0,127}")
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")
_TRACEPARENT: Final = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)


class TraceParent(NamedTuple):
    """Where a request stands in a trace that spans services."""

    trace_id: str
    parent_id: str
    flags: int


_AT_ONCE: Final = 256
_request_ids: list[str] = []
_task_uuids: list[str] = []


def make_request_id() -> str:
    """Return a new id: 32 hexadecimal digits by chance, so that it is a trace id as well."""
    try:
        return _request_ids.pop()
    except IndexError:
        digits = os.urandom(16 * _AT_ONCE).hex()
        made = [digits[start : start + 32] for start in range(0, len(digits), 32)]
        request_id = made.pop()
        _request_ids.extend(made)
        return request_id


def make_task_uuid() -> str:
    """Return a new UUID (RFC 9562, version 4), 36 characters, for the task that a request is.

    In place of the last two digits it counts, and draws the others anew when that comes to its end.
    """
    try:
        return _task_uuids.pop()
    except IndexError:
        d = os.urandom(15).hex()
        start = f"{d[:8]}-{d[8:12]}-4{d[12:15]}-{'89ab'[int(d[15], 16) & 3]}{d[16:19]}-{d[19:29]}"
        _task_uuids.extend([f"{start}{number:02x}" for number in range(1, _AT_ONCE)])
        return f"{start}00"


if hasattr(os, "register_at_fork"):
    # Workers are copies of one process: without this they would all name their requests alike.
    os.register_at_fork(after_in_child=_request_ids.clear)
    os.register_at_fork(after_in_child=_task_uuids.clear)


def is_request_id(text: str) -> bool:
    """Whether *text*, from outside, may name a request.

    That is 1 to 128 characters, a letter or digit first, then those and ``._~:/+=@-``: nothing that
    a log line, a JSON text, a shell or an HTML page could mistake for anything else.
    """
    return _REQUEST_ID.fullmatch(text) is not None


def is_trace_id(text: str) -> bool:
    """Whether *text* may be the trace id in a ``traceparent``."""
    return _TRACE_ID.fullmatch(text) is not None and text.count("0") < 32


def parse_traceparent(text: str) -> TraceParent | None:
    """Return what a ``traceparent`` header says, or None if it is not valid and must be ignored.

    >>> parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").trace_id
    '4bf92f3577b34da6a3ce929d0e0e4736'

    Source: W3C Trace Context, section 3.2.  A version above 00 may have more after the flags, set
    off by a dash; version ff and ids that are all zero are forbidden.
    """
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    version, trace_id, parent_id, flags = found.groups()
    if version == "ff" or (version == "00" and len(text) != 55):
        return None
    if not int(trace_id, 16) or not int(parent_id, 16):
        return None
    return TraceParent(trace_id, parent_id, int(flags, 16))
