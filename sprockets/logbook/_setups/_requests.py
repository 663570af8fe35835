"""One request, or one job: its records have its id, and its debug records are there if it fails."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from types import TracebackType

from sprockets.logbook import _caller
from sprockets.logbook._context import NestedSetup
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._processor import Fields, Processor
from sprockets.logbook._typing import Any, Final
from sprockets.logbook.handlers import (
    BatchReason,
    FingersCrossedHandler,
    Handler,
    StreamHandler,
    WrapperHandler,
)
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_MAX_LENGTH: Final = 128
_MARKS: Final = frozenset("._~:/+=@-")


def make_request_id() -> str:
    """Return a new id: 32 hexadecimal digits by chance."""
    return os.urandom(16).hex()


def is_request_id(text: str) -> bool:
    """Whether *text*, from outside, may name a request.

    That is 1 to 128 characters, a letter or digit first, then those and ``._~:/+=@-``, in ASCII:
    nothing that a log line, a JSON text, a shell or an HTML page could mistake for anything else.

    >>> is_request_id("f3a1-7"), is_request_id("-1"), is_request_id("a b")
    (True, False, False)
    """
    return (
        0 < len(text) <= _MAX_LENGTH
        and text.isascii()
        and text[0].isalnum()
        and all(character.isalnum() or character in _MARKS for character in text)
    )


def bound_request_id() -> str | None:
    """Return the request id that fields bound here give every record, ``None`` if there is none."""
    for processor in Processor.stack_manager.iter_context_objects():
        if isinstance(processor, Fields):
            found = processor.fields.get("request_id")
            if isinstance(found, str) and found:
                return found
    return None


class RequestSetup(NestedSetup):
    """What is bound around one request, or one job: made by :func:`request`, for one use.

    Args:
        request_id: Names it.
        fields: What its records have besides.
        failing_level: Least level of a record that says it failed.
    """

    request_id: str
    """The id that its records have."""

    def __init__(
        self, request_id: str, fields: dict[str, Any], failing_level: Level = "ERROR"
    ) -> None:
        self.request_id = request_id
        self._kept = _Kept(failing_level)
        super().__init__([Fields(request_id=request_id, **fields), self._kept])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request_id}>"

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Unbind; an exception passes, and lets go what was kept back."""
        if isinstance(exc_value, Exception):
            self.let_go()
        super().__exit__(exc_type, exc_value, tb)

    @property
    def has_failed(self) -> bool:
        """Whether what was kept back has been let go, because something failed."""
        return self._kept.triggered

    def let_go(self) -> None:
        """Write what was kept back, and what comes from now on: the request failed."""
        self._kept.let_go()

    def close(self) -> None:
        """Forget what is kept back."""
        self._kept.buffered_records.clear()


def request(
    request_id: str | None = None, /, *, failing_level: Level = "ERROR", **fields: Any
) -> RequestSetup:
    """Return what to bind around one request, or one job, so that its records are told apart.

    All records in its context have its id and *fields*.  Those that are not bad enough to be
    written are kept back; once one of *failing_level* comes, or an exception leaves the block,
    they are written after all, before it, and so is all that follows.  What is kept is bounded: the
    newest thousand records, or 8 MB of text.

    It is bound upon a set-up, whose handlers write the records; it redirects nothing itself.  Make
    another for each request.

    Args:
        request_id: Names it; unless given, the id that is bound here already, as in a request to
            `sprockets.http`, or a new one.
        failing_level: Least level of a record that says it failed, a number or a name.
        **fields: More that its records are to have.

    Raises:
        LookupError: There is no such level.
        TypeError: The id is no text.
        ValueError: The id has other characters than ASCII letters, digits and ``._~:/+=@-``.

    >>> from sprockets.logbook import Logger, TestHandler
    >>> log = Logger("shop")
    >>> with TestHandler(level="INFO") as written, request("r1", user="ann"):
    ...     log.debug("looking up the price")
    ...     log.error("no price")
    >>> for record in written.records:
    ...     record.extra["request_id"], record.message
    ('r1', 'looking up the price')
    ('r1', 'no price')
    """
    if request_id is None:
        request_id = bound_request_id() or make_request_id()
    if not isinstance(request_id, str):
        raise TypeError(f"a request id is a text, got {request_id!r}; give other facts by name")
    if not is_request_id(request_id):
        raise ValueError(
            f"a request id has 1 to {_MAX_LENGTH} ASCII letters, digits and ._~:/+=@- after the"
            f" first, got {request_id!r}"
        )
    if "request_id" in fields:
        raise TypeError("give the request id first, without its name, as in request('f3a1')")
    return RequestSetup(request_id, fields, failing_level)


class _Kept(FingersCrossedHandler, finaliser=False):
    """Keeps records until one fails; then the handlers below get those that they did not want."""

    def __init__(self, failing_level: Level) -> None:
        super().__init__(_Below(self), failing_level, bubble=True)

    def let_go(self) -> None:
        """Do what a record would that is bad enough."""
        with self.lock:
            if self.triggered:
                return
            if self.buffered_records:
                self.rollover(self.buffered_records[-1])
            else:
                self._triggered = True

    def close(self) -> None:
        """Do nothing: what is below belongs to others."""


class _Below(Handler):
    """Writes records where those of their request go, although they are not bad enough.

    Args:
        above: What is bound; all that is bound below it is asked.
    """

    def __init__(self, above: Handler) -> None:
        super().__init__(NOTSET)
        # Weakly: it has this one, and all that it keeps is to be gone with the request.
        self._above = weakref.ref(above)

    def emit(self, record: LogRecord) -> None:
        """Have *record* written by whoever would, were it worse."""
        for handler in _outputs_below(self._above()):
            passes = handler.filter is None or bool(handler.filter(record, handler))
            if not passes:
                continue
            if not handler.should_handle(record):
                handler.handle(record)
            if not handler.bubble:
                return

    def emit_batch(self, records: Iterable[LogRecord], reason: BatchReason) -> None:
        """Have each of *records* written."""
        for record in records:
            self.emit(record)


def _outputs_below(above: Handler | None) -> Iterator[Handler]:
    """Yield the handlers bound below *above* that write lines, or that records end their way at.

    The others, those that count and alert and let records pass, are not told.
    """
    handlers = list(Handler.stack_manager.iter_context_objects())
    positions = [number for number, handler in enumerate(handlers) if handler is above]
    for handler in handlers[positions[0] + 1 if positions else 0 :]:
        if handler.blackhole:
            return
        inner = handler
        while isinstance(inner, WrapperHandler):
            inner = inner.handler
        if isinstance(inner, StreamHandler) or not handler.bubble:
            yield handler
