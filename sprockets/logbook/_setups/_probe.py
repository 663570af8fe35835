"""Probes: one record for one handler, and whether it got there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sprockets.logbook._flags import Flags
from sprockets.logbook._levels import NOTICE, Level, lookup_level
from sprockets.logbook.handlers import FingersCrossedHandler, Handler, WrapperHandler
from sprockets.logbook.record import LogRecord

CHANNEL: Final = "sprockets.probe"
"""The channel of the records that are sent to see whether they arrive."""


@dataclass(frozen=True)
class Probe:
    """What became of the one record.

    Args:
        handler: The class of the handler that delivered, which may be one that another wraps.
        arrived: Whether the destination took it, as far as it says so: that of a datagram is the
            system.
        detail: What became of it, for people; why, if it did not arrive.
        seconds: How long that took.
    """

    handler: str
    arrived: bool
    detail: str
    seconds: float


def innermost(handler: Handler) -> Handler:
    """Return the handler that *handler* has its records delivered by, in the end."""
    while True:
        inner: Any
        if isinstance(handler, WrapperHandler):
            inner = handler.handler
        elif isinstance(handler, FingersCrossedHandler):
            inner = handler._handler
        else:
            return handler
        if inner is None:
            return handler
        handler = inner


def probe(
    handler: Handler,
    *,
    level: Level = NOTICE,
    text: str = "a record to see whether records arrive",
    timeout: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
) -> Probe:
    """Send one record to *handler* alone, and return whether it arrived.

    Filters and levels are not asked, and what wraps another is passed over: the one that delivers
    gets the record.  It is a real one, so a mail is a mail.  Its channel is ``"sprockets.probe"``.

    Args:
        handler: The handler; it need not be bound.
        level: Level of the record, raised to the handler's own if that is higher.
        text: Its message.
        timeout: Seconds to wait at most for a handler that delivers from a thread of its own.
        clock: Returns the current time in seconds; never goes backwards.
    """
    handler = innermost(handler)
    record = LogRecord(CHANNEL, max(lookup_level(level), handler.level), text)
    begin = clock()
    try:
        arrived, detail = _send(handler, record, timeout)
    except Exception as error:  # noqa: BLE001 - that is the answer
        arrived, detail = False, f"{type(error).__name__}: {error}"
    finally:
        record.close()
    return Probe(type(handler).__name__, arrived, detail, clock() - begin)


def _send(handler: Handler, record: LogRecord, timeout: float) -> tuple[bool, str]:
    if handler.blackhole:
        return True, "swallowed, as it should be"
    statistics: Callable[[], Mapping[str, Any]] | None = getattr(handler, "statistics", None)
    before = _flat(statistics()) if statistics is not None else {}
    record.heavy_init()
    with Flags(errors="raise"):
        handler.emit(record)
    flush = getattr(handler, "flush", None)
    is_done = True
    if hasattr(handler, "delivery"):
        is_done = bool(flush(timeout)) if flush is not None else True
    elif callable(flush):
        flush()
    if statistics is None:
        return True, "written"
    after = _flat(statistics())
    changed = {name: after[name] - before.get(name, 0) for name in after}
    return _judge({name: count for name, count in changed.items() if count > 0}, is_done, timeout)


def _flat(counts: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in counts.items():
        if isinstance(value, Mapping):
            found |= {f"{name}: {reason}": count for reason, count in _flat(value).items()}
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = value
    return found


def _judge(changed: Mapping[str, float], is_done: bool, timeout: float) -> tuple[bool, str]:
    told = ", ".join(f"{count:g} {name}" for name, count in changed.items())
    for name in changed:
        if name.partition(":")[0] in ("dead", "dropped", "refused"):
            return False, told
    if "delivered" in changed or "sent" in changed:
        return True, "delivered" if "delivered" in changed else "sent"
    if "spooled" in changed:
        return False, f"kept on disk for later: {told}"
    if not is_done or "queued" in changed:
        return False, f"not delivered within {timeout:g} s: {told}"
    return True, told or "written"
