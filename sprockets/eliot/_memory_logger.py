"""A logger that keeps its messages, and finds out which of them would not do: for tests."""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Any, Final, NamedTuple

from sprockets.eliot._fields import (
    ACTION_TYPE,
    MESSAGE_TYPE,
    REASON,
    TRACEBACK_MESSAGE,
    Message,
    describe_message,
    safe_repr,
    safe_text,
)
from sprockets.eliot._logger import Serializer
from sprockets.eliot.errors import ValidationError
from sprockets.eliot.json import encode, json_default
from sprockets.logbook import _fork

Encode = Callable[[Message], object]
"""Writes a message as JSON, or raises."""

_PACKAGE: Final = os.path.dirname(__file__) + os.sep
_RUNNERS: Final = ("_pytest", "pluggy", "unittest")
_SHOWN_FRAMES: Final = 8


class _Invalid(NamedTuple):
    """A message that would not do."""

    message: Message
    error: Exception
    stack: str

    def describe(self) -> str:
        kind = type(self.error).__name__
        message = describe_message(self.message)
        return f"{kind}: {safe_text(self.error)}\n  in {message}\n{self.stack}"


class MemoryLogger:
    """Keeps the messages that are written to it, as they were when they were logged.

    A copy of each is checked at once: whether it is as its type says, whether its names are text,
    whether it can be written as JSON.  What was found, :meth:`validate` raises.  An exception that
    is logged by a traceback is still there, as ``reason``, and its class as ``exception``.

    Thread-safe; may be written to by signal handlers and finalizers.

    Args:
        encoder: Deprecated; a subclass of `json.JSONEncoder`.
        json_default: Called with what JSON has no form for; see `sprockets.eliot.FileDestination`.

    Raises:
        RuntimeError: *encoder* and *json_default* are both given.
    """

    messages: list[Message]
    """What was logged, in order."""
    serializers: list[Serializer | None]
    """Those of :attr:`messages`, one for each; None for a message without a type."""
    tracebackMessages: list[Message]
    """Tracebacks that were logged, and not yet flushed."""

    def __init__(
        self,
        encoder: type[json.JSONEncoder] | None = None,
        json_default: Callable[[object], object] = json_default,
    ) -> None:
        self._encode = choose_encode(encoder, json_default, stacklevel=3)
        self._incoming: deque[tuple[Message, Serializer | None, _Invalid | None]] = deque()
        self._start_anew()
        self.reset()
        _fork.hold_at_fork(self)

    def _start_anew(self) -> None:
        self._lock = RLock()
        self._is_storing = False

    def reset(self) -> None:
        """Forget everything; the lists are new ones."""
        with self._lock:
            self.messages = []
            self.serializers = []
            self.tracebackMessages = []
            self._invalid: list[_Invalid] = []

    # -- writing

    def write(self, dictionary: Message, serializer: Serializer | None = None) -> None:
        """Keep *dictionary* itself, and check a copy of it.

        Args:
            dictionary: The message.
            serializer: Makes its fields writable; None if they are.
        """
        self._incoming.append((dictionary, serializer, self._check(dictionary, serializer)))
        with self._lock:
            # Whoever interrupts this thread right here finds it storing, and leaves it to it.
            while self._incoming and not self._is_storing:
                self._is_storing = True
                try:
                    while self._incoming:
                        self._store(*self._incoming.popleft())
                finally:
                    self._is_storing = False

    def _store(
        self, message: Message, serializer: Serializer | None, invalid: _Invalid | None
    ) -> None:
        self.messages.append(message)
        self.serializers.append(serializer)
        if message.get(MESSAGE_TYPE) == TRACEBACK_MESSAGE:
            self.tracebackMessages.append(message)
        if invalid is not None:
            self._invalid.append(invalid)

    def _check(self, message: Message, serializer: Serializer | None) -> _Invalid | None:
        try:
            copied = dict(message)
            _check_names(copied)
            if ACTION_TYPE in copied and MESSAGE_TYPE in copied:
                raise ValidationError(
                    f"a message has {ACTION_TYPE!r} or {MESSAGE_TYPE!r}, not both;"
                    " no reader could place it in a tree"
                )
            if serializer is not None:
                serializer.validate(copied)
                serializer.serialize(copied)
            try:
                self._encode(copied)
            except Exception as error:
                raise TypeError(f"cannot be written as JSON: {error}") from error
        except Exception as error:  # noqa: BLE001 - raised by validate
            return _Invalid(message, error, _describe_callers())
        return None

    # -- what was found

    def validate(self) -> None:
        """Return if all messages are as they should be.

        Raises:
            ValidationError: One is not as its type says.
            TypeError: One cannot be written as JSON, or has names that are no text.
            Exception: What a serializer or validator raised.  The text, or a note if that is not
                ours to write, tells of every such message, and where it was logged.
        """
        with self._lock:
            invalid = list(self._invalid)
        if not invalid:
            return
        first = invalid[0].error
        text = "\n".join(each.describe() for each in invalid)
        if type(first) in (ValidationError, TypeError):
            raise type(first)(text) from first
        # Of any other class nobody knows how to make one.
        first.__notes__ = [text]
        raise first

    def serialize(self) -> list[Message]:
        """Return the messages as they would be written: copies, which serializers have converted.

        Raises:
            Exception: What a serializer raises.
        """
        with self._lock:
            pairs = list(zip(self.messages, self.serializers, strict=True))
        written = []
        for message, serializer in pairs:
            copied = dict(message)
            if serializer is not None:
                serializer.serialize(copied)
            written.append(copied)
        return written

    def flush_tracebacks(self, exceptionType: type[BaseException]) -> list[Message]:
        """Return the tracebacks of exceptions of a type, which the test thereby expects.

        They are taken out of :attr:`tracebackMessages`, and stay in :attr:`messages`.

        Args:
            exceptionType: The class of the exceptions, or a base of it.
        """
        flushed: list[Message] = []
        left: list[Message] = []
        with self._lock:
            for message in self.tracebackMessages:
                is_expected = isinstance(message.get(REASON), exceptionType)
                (flushed if is_expected else left).append(message)
            self.tracebackMessages[:] = left
        return flushed

    flushTracebacks = flush_tracebacks

    # -- fork

    def before_fork(self) -> None:
        """Wait until no other thread is storing a message."""
        self._held_at_fork = self._lock.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._held_at_fork:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start anew; the child has a copy of the messages."""
        self._start_anew()


_DEFAULT: Final = json_default


def choose_encode(
    encoder: type[json.JSONEncoder] | None,
    json_default: Callable[[object], object],
    stacklevel: int,
) -> Encode:
    """Return what writes messages as JSON.

    Args:
        encoder: Deprecated; None unless the user gave one.
        json_default: Called with what JSON has no form for.
        stacklevel: Of the warning, as `warnings.warn` counts.

    Raises:
        RuntimeError: Both are given.
    """
    if encoder is None:
        return lambda message: encode(message, json_default)
    if json_default is not _DEFAULT:
        raise RuntimeError("give json_default or encoder, not both")
    warnings.warn(
        "encoder is deprecated, use json_default", DeprecationWarning, stacklevel=stacklevel
    )
    return lambda message: json.dumps(message, cls=encoder)


def _check_names(message: dict[Any, Any]) -> None:
    for name in list(message):
        if isinstance(name, bytes):
            try:
                text = name.decode("utf-8")
            except UnicodeDecodeError as error:
                raise TypeError(f"the name of a field is text, not {safe_repr(name)}") from error
            message[text] = message.pop(name)
        elif not isinstance(name, str):
            raise TypeError(f"the name of a field is text, not {safe_repr(name)}")


def _describe_callers() -> str:
    """Return where this comes from, the nearest last, without frames of ours or what runs tests."""
    frames = []
    for frame, line in traceback.walk_stack(sys._getframe(1)):
        if frame.f_globals.get("__name__", "").partition(".")[0] in _RUNNERS:
            break
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            frames.append((frame, line))
    shown = traceback.StackSummary.extract(reversed(frames[:_SHOWN_FRAMES]))
    return "  logged here:\n" + "".join(shown.format())
