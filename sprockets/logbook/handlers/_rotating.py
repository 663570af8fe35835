"""A handler that begins a new file when the old one is full."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from time import monotonic

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._typing import IO, Any
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._files import FileHandler, descriptor_of
from sprockets.logbook.handlers._shared import LOOK_INTERVAL, SHORT, SharedFileHandler, has_room
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class _NoBackups(AssertionError, ValueError):
    """There would be no place for what was written."""


class RotatingFileHandler(SharedFileHandler):
    """Appends to a file that never grows larger than *max_size*.

    When a line would not fit, ``log`` becomes ``log.1``, ``log.1`` becomes ``log.2`` and so on, and
    ``log`` is begun anew, with the same owner and permissions as far as that is allowed.  Any
    number of threads and processes may write to the same file, opened before or after a fork; a
    line is in one of the files before the log call returns.  Where the roll-over fails, lines go on
    into the old file, and it is tried again with the next.

    A line that is larger by itself gets a file of its own.  Waiting for another process is limited
    to one second.

    Args:
        filename: As for :class:`FileHandler`.  Where it is a symbolic link, the file that it leads
            to is rolled over, beside itself.
        mode: For the first opening; later ones append.
        encoding: Encoding of the file.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a line.
        delay: Open the file with the first record.
        max_size: Bytes that a file stays below.
        backup_count: Old files that are kept, at least 1.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.

    Raises:
        AssertionError: *backup_count* is below 1.  (It is a ``ValueError`` as well.)
        OSError: The file cannot be opened.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
        encoding: str | None = "utf-8",
        level: Level = NOTSET,
        format_string: str | None = None,
        delay: bool = False,
        max_size: int = 1024 * 1024,
        backup_count: int = 5,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        if backup_count < 1:
            raise _NoBackups(
                f"at least one backup file has to be specified, got backup_count={backup_count!r}"
            )
        self.max_size = max_size
        self.backup_count = backup_count
        super().__init__(filename, mode, encoding, level, format_string, delay, filter, bubble)

    def should_rollover(self, record: LogRecord | None, bytes: int) -> bool:
        """Return whether a line of *bytes* bytes calls for a new file.

        An override is asked once a line.

        Args:
            record: The record of the line; ``None`` where a line is written without one, which is
                not the case where this method is overridden.
            bytes: Length of the line, with its line break.
        """
        if self.stream is None:
            return False
        size = self._size()
        return size + bytes >= self.max_size and not self._is_empty(size)

    def perform_rollover(self) -> None:
        """Move the file to its first back-up, the back-ups one on, and begin anew.

        A signal handler may call it: the line that it interrupts is finished first.

        Raises:
            OSError: A file cannot be moved.  All that was written is still there.
        """
        self._roll_between_lines(self._roll)

    def _roll(self) -> None:
        with self._exclusive():
            self._replace_file(self._shift)

    def _shift(self) -> None:
        path = self._filename
        moved = []
        try:
            for number in sorted(self._backups(), reverse=True):
                if 0 < number < self.backup_count:
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(f"{path}.{number}", f"{path}.{number + 1}")
                        moved.append(number)
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, f"{path}.1")
        except OSError:
            # It is tried again with each line, and shall not push out one back-up after another.
            for number in reversed(moved):
                with contextlib.suppress(OSError):
                    os.replace(f"{path}.{number + 1}", f"{path}.{number}")
            raise

    def _backups(self) -> set[int]:
        """Return the numbers of the old files."""
        directory, name = os.path.split(self._filename)
        prefix = f"{name}."
        return {
            int(found[len(prefix) :])
            for found in os.listdir(directory)
            if found.startswith(prefix) and found[len(prefix) :].isdecimal()
        }

    # -- a line

    def _is_standard(self) -> bool:
        return super()._is_standard() and self._rolls_like(RotatingFileHandler)

    def _deliver(self, text: Any, record: LogRecord | None = None) -> None:
        # Whoever decides by the record gets it together with its line.
        if not self._rolls_like(RotatingFileHandler):
            text = _Line(text, record)
        super()._deliver(text, record)

    def _write_line(self, text: Any) -> None:
        if not isinstance(text, _Line):
            self._append_shared(self.encode(text), self._roll_if_due)
            return
        record = text.record
        was_asked = False

        def roll(length: int) -> bool:
            nonlocal was_asked
            # Asked again about the file that it has just begun, an override need not say no.
            if was_asked or not self.should_rollover(record, length):
                return False
            was_asked = True
            self.perform_rollover()
            return True

        self._append_shared(self.encode(text.text), roll)

    def _roll_if_due(self, length: int) -> bool:
        if not self.should_rollover(None, length):
            return False
        self.perform_rollover()
        return True

    def _put(self) -> Callable[[str], None] | None:
        if not (self._writes_like(FileHandler) and self._rolls_like(RotatingFileHandler)):
            return None
        encode = self._encoder()
        system_write, clock = os.write, monotonic
        known: IO[Any] | None = None
        fileno: Callable[[], int] = int
        look_at = 0.0

        def put(text: str) -> None:
            nonlocal known, fileno, look_at
            line = encode(text)
            stream = self.stream
            if stream is known and stream is not None and clock() < look_at:
                descriptor = fileno()
                length = len(line)
                # Far from the limit nobody rolls, so nobody needs a lock.
                if length <= SHORT and has_room(descriptor, self.max_size):
                    written = system_write(descriptor, line)
                    if written < length:
                        self._append_rest(descriptor, line, written)
                    return
            self._append_shared(line, self._roll_if_due)
            stream = self.stream
            if stream is not known and stream is not None:
                fileno = descriptor_of(stream)
            known = stream
            look_at = clock() + LOOK_INTERVAL

        return put


class _Line:
    """A line together with its record."""

    __slots__ = ("record", "text")

    def __init__(self, text: Any, record: LogRecord | None) -> None:
        self.text = text
        self.record = record


class RotatingFileHandlerBase(FileHandler):
    """A base for handlers that decide by the record and its line whether to roll over.

    .. deprecated:: 3.0
       Use :class:`RotatingFileHandler`, and override its ``should_rollover``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            "RotatingFileHandlerBase is deprecated since 3.0; derive from RotatingFileHandler"
            " instead",
            DeprecationWarning,
            stacklevel=2,
        )
        super().__init__(*args, **kwargs)

    def emit(self, record: LogRecord) -> None:
        """Write *record*, having rolled over before if that is due."""
        formatted = self.format_and_encode(record)
        self._deliver(_Line(formatted, record), record)

    def should_rollover(self, record: LogRecord, formatted_record: Any) -> bool:
        """Return whether to roll over before *formatted_record*, encoded, is written."""
        return False

    def perform_rollover(self) -> None:
        """Roll over; called under the lock."""

    def _put(self) -> None:
        return None

    def _write_line(self, text: Any) -> None:
        if not isinstance(text, _Line):
            super()._write_line(text)
            return
        assert text.record is not None
        self.ensure_stream_is_open()
        if self.should_rollover(text.record, text.text):
            self.perform_rollover()
        self.write(text.text)
        self.flush()
