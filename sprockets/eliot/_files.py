"""Messages as lines of JSON in a file."""

from __future__ import annotations

import io
import json
import os
import stat
import warnings
from collections import deque
from collections.abc import Callable
from select import select
from threading import RLock
from typing import Any

from sprockets.eliot._destinations import add_destinations
from sprockets.eliot._fields import Message
from sprockets.eliot.json import encode, json_default
from sprockets.logbook import _fork

_WRITE_TIMEOUT = 5.0
"""Seconds that a pipe which takes nothing is waited for."""


class FileDestination:
    """Writes each message as one line of JSON to a file, which it never closes.

    A line is in the kernel when the call returns: one write, nothing is kept back.  Lines of
    threads, of processes that append to the same file, and of signal handlers do not mix.  A file
    of the operating system is written past its own buffer; what else the program writes to the
    same object it should flush.

    Destinations for the same file with the same options are equal.

    Args:
        file: Takes text or bytes by ``write``; which, is tried with an empty write.
        encoder: Deprecated; a subclass of `json.JSONEncoder`.
        json_default: Called with what JSON has no form for, returns what to write in its place;
            it may call `sprockets.eliot.json.json_default` for what it does not know itself.

    Raises:
        RuntimeError: The file is not writable, or *encoder* and *json_default* are both given.
    """

    def __init__(
        self,
        file: Any,
        encoder: type[json.JSONEncoder] | None = None,
        json_default: Callable[[object], object] = json_default,
    ) -> None:
        if encoder is not None:
            _check_encoder(json_default)
        if isinstance(file, io.IOBase) and not file.writable():
            raise RuntimeError(f"the file is not open for writing: {file!r}")
        self._file = file
        self._encoder = encoder
        self._json_default = json_default
        self._is_binary = _takes_bytes(file)
        self._is_raw = isinstance(file, io.RawIOBase)
        self._descriptor = _regular_descriptor(file)
        self._is_torn = False
        self._start_anew()
        _fork.hold_at_fork(self)

    def _start_anew(self) -> None:
        self._lock = RLock()
        self._is_writing = False
        self._waiting: deque[bytes] = deque()

    @property
    def file(self) -> Any:
        """The file that it writes to, as it was given."""
        return self._file

    def __repr__(self) -> str:
        return f"FileDestination(file={self._file!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileDestination):
            return NotImplemented
        return (
            self._file is other._file
            and self._encoder is other._encoder
            and self._json_default == other._json_default
        )

    def __hash__(self) -> int:
        return hash((id(self._file), self._encoder))

    def __call__(self, message: Message) -> None:
        """Write *message*.

        Raises:
            OSError: The system does not take it.
            ValueError: The file is closed, or *message* refers to itself.
        """
        if self._encoder is None:
            line = encode(message, self._json_default) + b"\n"
        else:
            text = json.dumps(message, cls=self._encoder, ensure_ascii=False, separators=(",", ":"))
            line = f"{text}\n".encode("utf-8", "backslashreplace")
        self._put_bytes(line)

    @property
    def put_line(self) -> Callable[[str], None] | None:
        """Writes a message that is a line already; None if lines are made in another way."""
        if type(self) is not FileDestination or self._descriptor is None:
            return None
        if self._encoder is not None or self._json_default is not _DEFAULT:
            return None
        file, descriptor, write = self._file, self._descriptor, os.write

        def put_line(text: str) -> None:
            try:
                line = text.encode()
            except UnicodeEncodeError:
                # How JSON escapes the one thing that UTF-8 lacks, lone surrogates.
                line = text.encode("utf-8", "backslashreplace")
            if self._is_torn or file.closed:
                self._put_bytes(line)
                return
            written = write(descriptor, line)
            if written != len(line):
                self._write_rest(descriptor, line[written:])

        return put_line

    def _put_bytes(self, line: bytes) -> None:
        descriptor = self._descriptor
        if descriptor is None:
            self._write_in_turn(line)
            return
        if self._file.closed:
            raise ValueError(f"closed: {self._file!r}")
        if self._is_torn:
            # What there is of another line ends here, so that this one can be read.
            line = b"\n" + line
        written = os.write(descriptor, line)
        if written == len(line):
            self._is_torn = False
        else:
            self._write_rest(descriptor, line[written:])

    # -- a file of the operating system

    def _write_rest(self, descriptor: int, rest: bytes) -> None:
        self._is_torn = True
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        self._is_torn = False

    # -- any other: a terminal, a pipe, an object with write

    def _write_in_turn(self, line: bytes) -> None:
        """Write *line*, and those that signal handlers and finalisers of this thread log meanwhile.

        Raises:
            Exception: The first that went wrong; it does not keep the other lines from being
                written, and says how many of those it cost.
        """
        with self._lock:
            self._waiting.append(line)
            if self._is_writing:
                # This thread is in the middle of a line further out, and writes this one then.
                return
            errors: list[Exception] = []
            try:
                self._is_writing = True
                while self._waiting:
                    try:
                        self._put(self._waiting.popleft())
                    except Exception as error:  # noqa: BLE001 - raised below
                        errors.append(error)
            finally:
                self._is_writing = False
            if errors:
                if len(errors) > 1:
                    errors[0].add_note(f"and {len(errors) - 1} more lines were not written")
                raise errors[0]

    def _put(self, line: bytes) -> None:
        file = self._file
        if self._is_raw:
            self._put_raw(line)
            return
        file.write(line if self._is_binary else line.decode("utf-8"))
        flush = getattr(file, "flush", None)
        if flush is not None:
            flush()

    def _put_raw(self, line: bytes) -> None:
        """Write to a file without a buffer, which may take a part of it at a time, or nothing."""
        rest = b"\n" + line if self._is_torn else line
        whole = len(rest)
        while rest:
            taken = self._file.write(rest)
            if taken:
                rest = rest[taken:]
                self._is_torn = bool(rest)
            elif not select([], [self._file], [], _WRITE_TIMEOUT)[1]:
                raise OSError(
                    f"for {_WRITE_TIMEOUT:g} seconds {self._file!r} took nothing;"
                    f" {whole - len(rest)} of {whole} bytes are written"
                )

    # -- fork

    def before_fork(self) -> None:
        """Wait until no other thread is in the middle of a line."""
        self._held_at_fork = self._lock.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._held_at_fork:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start anew; lines of other threads are theirs to write, in the parent."""
        self._start_anew()


def to_file(
    output_file: Any,
    encoder: type[json.JSONEncoder] | None = None,
    json_default: Callable[[object], object] = json_default,
) -> FileDestination:
    """Add a destination that writes to *output_file*, and return it.

    See `FileDestination` for what the arguments are.
    """
    destination = FileDestination(output_file, None, json_default)
    if encoder is not None:
        _check_encoder(json_default)
        destination._encoder = encoder
    add_destinations(destination)
    return destination


_DEFAULT = json_default


def _check_encoder(json_default: Callable[[object], object]) -> None:
    if json_default is not _DEFAULT:
        raise RuntimeError("give json_default or encoder, not both")
    warnings.warn("encoder is deprecated, use json_default", DeprecationWarning, stacklevel=3)


def _takes_bytes(file: Any) -> bool:
    try:
        file.write(b"")
    except TypeError:
        return False
    return True


def _regular_descriptor(file: Any) -> int | None:
    """Return the descriptor of *file* if writing to that is the same as writing to the object."""
    if type(file) is io.TextIOWrapper:
        if file.encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
            return None
        buffer: object = file.buffer
    else:
        buffer = file
    if type(buffer) not in (io.BufferedWriter, io.FileIO):
        return None
    try:
        descriptor: int = file.fileno()
        is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        file.flush()
    except (OSError, ValueError):
        return None
    return descriptor if is_regular else None
