"""Probes: one record for one handler, and whether it got there."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sprockets.logbook._flags import Flags
from sprockets.logbook._levels import NOTICE, Level, lookup_level
from sprockets.logbook._text import safe_str
from sprockets.logbook.handlers import (
    FileHandler,
    FingersCrossedHandler,
    Handler,
    StderrHandler,
    StreamHandler,
    TestHandler,
    WrapperHandler,
)
from sprockets.logbook.record import LogRecord

CHANNEL: Final = "sprockets.probe"
"""The channel of the records that are sent to see whether they arrive."""

_BAD: Final = ("dead", "discarded", "dropped", "refused", "rejected")
_LIMITED: Final = ("unmailed", "withheld")
_NOT_TOLD: Final = ("accepted", "queued", "retried")
_MAX_TEXT: Final = 300


@dataclass(frozen=True)
class Probe:
    """What became of the one record.

    Args:
        handler: The class of the handler that delivered, which may be one that another wraps.
        arrived: Whether the destination took it, as far as it says so: that of a datagram is the
            system.
        detail: What became of it, for people; why, if it did not arrive.
        seconds: How long that took.
        is_confirmed: Whether the destination itself said that it has the record.  Without that it
            was *taken*: by the system, or by a queue that somebody has to read.
    """

    handler: str
    arrived: bool
    detail: str
    seconds: float
    is_confirmed: bool = True


def innermost(handler: Handler) -> Handler:
    """Return the handler that *handler* has its records delivered by, in the end."""
    while True:
        inner: Any
        if isinstance(handler, FingersCrossedHandler):
            inner = handler._handler
        elif isinstance(handler, WrapperHandler):
            inner = handler.handler
        else:
            # As those that collect what led up to a record: they wrap, and have settings besides.
            inner = vars(handler).get("handler")
        if not isinstance(inner, Handler):
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

    A handler that delivers from a thread of its own is asked what it counted.  One whose
    destination never answers may say so by an attribute ``confirms_delivery`` that is false.

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
    with _watched(handler) as errors:
        try:
            arrived, detail = _send(handler, record, timeout)
        except Exception as error:  # noqa: BLE001 - that is the answer
            arrived, detail = False, _in_one_line(error)
        finally:
            record.close()
    seconds = clock() - begin
    if not arrived and errors and (cause := _in_one_line(errors[-1])) not in detail:
        detail = f"{detail}; {cause}"
    silence = _silence_of(handler) if arrived else ""
    if silence:
        detail = f"{detail}: {silence}"
    return Probe(type(handler).__name__, arrived, detail, seconds, arrived and not silence)


def _send(handler: Handler, record: LogRecord, timeout: float) -> tuple[bool, str]:
    if handler.blackhole:
        return True, "swallowed, as it should be"
    if isinstance(handler, StderrHandler) and handler.stream is None:
        return False, "there is no standard error"
    statistics: Callable[[], Mapping[str, Any]] | None = getattr(handler, "statistics", None)
    before = _flat(statistics()) if statistics is not None else {}
    record.heavy_init()
    with Flags(errors="raise"):
        handler.emit(record)
    flush = getattr(handler, "flush", None)
    is_done = True
    is_remote = hasattr(handler, "delivery")
    if is_remote:
        is_done = bool(flush(timeout)) if flush is not None else True
    elif callable(flush):
        flush()
    if statistics is None:
        return True, _where(handler)
    after = _flat(statistics())
    changed = {name: after[name] - before.get(name, 0) for name in after}
    changed = {name: count for name, count in changed.items() if count > 0}
    if not changed and is_remote:
        if getattr(handler, "immediate", False):
            return True, "delivered"
        return False, "held back: nothing was handed to its destination"
    return _judge(changed, is_done, timeout)


def _where(handler: Handler) -> str:
    """Return what became of a record that was written without an error."""
    if isinstance(handler, FileHandler):
        return f"written to {handler.filename}"
    if isinstance(handler, StderrHandler):
        return "written to standard error"
    if isinstance(handler, StreamHandler):
        name = getattr(handler.stream, "name", None)
        return f"written to {name}" if isinstance(name, str) else "written"
    if isinstance(handler, TestHandler):
        return "kept in memory"
    if isinstance(handler, FingersCrossedHandler):
        return "kept back"
    return "taken" if _silence_of(handler) else "written"


def _flat(counts: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in counts.items():
        if isinstance(value, Mapping):
            found |= {f"{name}: {reason}": count for reason, count in _flat(value).items()}
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = value
    return found


def _judge(changed: Mapping[str, float], is_done: bool, timeout: float) -> tuple[bool, str]:
    told = ", ".join(
        f"{count:g} {name}" for name, count in changed.items() if name not in _NOT_TOLD
    )
    # Nested counts, as those of a socket, are called "socket: refused".
    words = {word.strip() for name in changed for word in name.split(":")}
    if not words.isdisjoint(_BAD):
        return False, told
    if not words.isdisjoint(_LIMITED):
        return False, f"held back by a limit of the handler: {told}"
    if "delivered" in words or "sent" in words:
        return True, "delivered" if "delivered" in words else "sent"
    if "spooled" in words:
        return False, f"kept on disk for later: {told}"
    if not is_done or "queued" in words:
        return False, f"not delivered within {timeout:g} s{f': {told}' if told else ''}"
    return True, told or "written"


# -- what the counts do not say


@contextmanager
def _watched(handler: Handler) -> Iterator[list[BaseException]]:
    """Collect what delivering raises, in whichever thread that is."""
    errors: list[BaseException] = []
    deliver = getattr(handler, "deliver", None)
    if not callable(deliver) or "deliver" in vars(handler) or not hasattr(handler, "delivery"):
        yield errors
        return

    def watched(*args: Any, **kwargs: Any) -> Any:
        try:
            return deliver(*args, **kwargs)
        except BaseException as error:
            errors.append(error)
            raise

    vars(handler)["deliver"] = watched
    try:
        yield errors
    finally:
        vars(handler).pop("deliver", None)


_SILENT: Final = {
    "DedupHandler": "it says each message once it is unbound",
    "ExceptionHandler": "it raises an exception in the log call",
    "ExecnetChannelHandler": "somebody has to read the channel",
    "JournaldHandler": "the journal says nothing more",
    "LoggingHandler": "what becomes of it is for stdlib logging to say",
    "MultiProcessingHandler": "somebody has to read the queue",
    "TaggingHandler": "its tags say which handlers get a record",
    "ZeroMQHandler": "ZeroMQ has it, and nobody need be there to read it",
}
"""Handlers whose destination does not answer, and what that means."""
_OF_DATAGRAMS: Final = "of a datagram nobody says whether it arrives"


def _silence_of(handler: Handler) -> str:
    """Return why nobody can say whether a record arrived; empty if the destination does."""
    if handler.blackhole:
        return ""
    if not getattr(handler, "confirms_delivery", True):
        return "its destination does not answer"
    if isinstance(handler, FingersCrossedHandler):
        return "its handler is made when something fails"
    if type(handler).emit is Handler.emit and type(handler).handle is Handler.handle:
        return "this handler delivers nothing"
    names = [cls.__name__ for cls in type(handler).__mro__ if _is_ours(cls)]
    for name in names:
        if name in _SILENT:
            return _SILENT[name]
    if "SyslogHandler" in names:
        # Over TCP it may have the server close the connection in confirmation.
        if getattr(getattr(handler, "_link", None), "_confirm", False):
            return ""
        if getattr(handler, "socktype", None) == socket.SOCK_STREAM:
            return "syslog over TCP acknowledges nothing"
        return _OF_DATAGRAMS
    if "UDP" in type(getattr(handler, "transport", None)).__name__:
        return _OF_DATAGRAMS
    return ""


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("sprockets.")


def _in_one_line(error: BaseException) -> str:
    text = " ".join(safe_str(error, _MAX_TEXT).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
