"""Handlers that write lines to a file."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable
from time import monotonic

from sprockets.logbook import _caller, _failures
from sprockets.logbook._flags import Flags
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._typing import IO, Any, Final
from sprockets.logbook.handlers import _lockfile
from sprockets.logbook.handlers._base import Failure, Filter
from sprockets.logbook.handlers._stream import StreamHandler, codec_of, mark_of
from sprockets.logbook.handlers._torn import is_torn, take_back
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class FileHandler(StreamHandler):
    """Appends each record as one line to a file.

    A line is given to the operating system whole, before the log call returns, by one write to a
    descriptor opened for appending; so several processes may share a file, and a crash loses
    nothing that was logged.  A record that comes after :meth:`close` opens the file again.

    Where a full disk cuts a line, what was written of it is taken back, or ended with a line break.

    Args:
        filename: Made absolute at once; its directory must exist.
        mode: For the first opening, as for ``open``; later ones append, and so do all that come
            after a fork.
        encoding: ``None`` means UTF-8; what it cannot encode is written as backslash escapes.  A
            byte order mark, as of ``utf-16``, begins the file once.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a line; ``None`` means :attr:`default_format_string`.
        delay: Open the file with the first record.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.

    Raises:
        OSError: The file cannot be opened (with *delay*, an error of the first record).
    """

    # Lines go to the file's descriptor, never to a text stream.
    _tails = StreamHandler._tails[:1]
    stream: IO[Any] | None

    _permissions = 0o666
    """Of a file that is made now; the process's umask takes some away."""

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
        encoding: str | None = None,
        level: Level = NOTSET,
        format_string: str | None = None,
        delay: bool = False,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        super().__init__(None, level, format_string, encoding or "utf-8", filter, bubble)
        self.stream = None
        self._filename = os.path.abspath(os.fspath(filename))
        self._mode = mode
        self._line_break = "\n" if "b" in mode else os.linesep
        self._reported: dict[int | None, float] = {}
        if not delay:
            self._open()

    @property
    def filename(self) -> str:
        """Absolute path of the file."""
        return self._filename

    def _open(self) -> None:
        """Open the file, ready for a whole line."""
        stream = self._opened()
        # What is there now is ours to keep: whoever opens again appends.
        self._mode = _appending(self._mode)
        self.stream = stream

    def _opened(self) -> IO[Any]:
        mode = self._mode
        is_binary = "b" in mode
        stream = open(  # noqa: SIM115 - closed by close()
            self._filename,
            mode,
            encoding=None if is_binary else codec_of(self.encoding),
            errors=None if is_binary else "backslashreplace",
            opener=self._open_for_appending,
        )
        try:
            self._prepare(stream.fileno())
        except BaseException:
            stream.close()
            raise
        return stream

    def _open_for_appending(self, path: str, flags: int) -> int:
        return os.open(path, flags | os.O_APPEND, self._permissions)

    def _prepare(self, descriptor: int) -> None:
        """Begin an empty file as its encoding asks, and end a line that was left torn."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return
        line_break = self._line_break.encode(codec_of(self.encoding))
        if status.st_size:
            if not is_torn(self._filename, status, line_break):
                return
        elif not mark_of(self.encoding):
            return
        # Of several processes that find the file so, one does something about it.
        _lockfile.acquire(descriptor)
        try:
            status = os.fstat(descriptor)
            if not status.st_size:
                self._append(descriptor, mark_of(self.encoding))
            elif is_torn(self._filename, status, line_break):
                self._append(descriptor, line_break)
        finally:
            _lockfile.release(descriptor)

    def ensure_stream_is_open(self) -> None:
        """Open the file if it is not open."""
        if self.stream is None:
            self._open()

    def encode(self, msg: Any) -> bytes:
        """Return the bytes written for *msg*: the text and a line break in the file's encoding."""
        return f"{msg}{self._line_break}".encode(codec_of(self.encoding), "backslashreplace")

    def _encoder(self) -> Callable[[str], bytes]:
        """Return what does the same as :meth:`encode`, as long as the encoding stays."""
        line_break, encoding = self._line_break, codec_of(self.encoding)
        if encoding != "utf-8":
            return lambda text: f"{text}{line_break}".encode(encoding, "backslashreplace")

        def encode(text: str) -> bytes:
            line = f"{text}{line_break}"
            try:
                return line.encode()
            except UnicodeEncodeError:
                return line.encode("utf-8", "backslashreplace")

        return encode

    def write(self, item: str | bytes) -> None:
        """Append *item* to the file, opening it if need be; text goes in the file's encoding."""
        self.ensure_stream_is_open()
        assert self.stream is not None
        if isinstance(item, str):
            item = item.encode(codec_of(self.encoding), "backslashreplace")
        self._append(self.stream.fileno(), item)

    def _append(self, descriptor: int, item: bytes) -> None:
        written = os.write(descriptor, item)
        if written < len(item):
            self._append_rest(descriptor, item, written)

    def _append_rest(self, descriptor: int, item: bytes, written: int) -> None:
        """Append what the system has left of *item*, or else take back what it has written."""
        view = memoryview(item)
        try:
            # A signal or a pipe may cut a long line; the rest follows at once.
            while written < len(item):
                written += os.write(descriptor, view[written:])
        except OSError:
            if not take_back(descriptor, self._filename, item[:written]):
                # Whoever opens it again ends the torn line first.
                self._close_stream()
            raise

    def _put(self) -> Callable[[str], None] | None:
        """Return what writes one line to the file, if nothing of that is overridden."""
        if not self._writes_like(FileHandler):
            return None
        encode = self._encoder()
        system_write = os.write
        known: IO[Any] | None = None
        fileno: Callable[[], int] = int

        def put(text: str) -> None:
            nonlocal known, fileno
            stream = self.stream
            if stream is not known or stream is None:
                self.ensure_stream_is_open()
                stream = known = self.stream
                assert stream is not None
                fileno = descriptor_of(stream)
            line = encode(text)
            written = system_write(fileno(), line)
            if written < len(line):
                self._append_rest(fileno(), line, written)

        return put

    def flush(self) -> None:
        """Flush what was written to :attr:`stream` past this handler; lines need no flushing."""
        if self.stream is not None:
            self.stream.flush()

    def reopen(self) -> None:
        """Go on in the file that is now at the path, after the old one was moved or removed.

        The new file is opened before the old one is let go of.  A closed handler stays closed.
        While this thread is writing a line, as a signal handler may find it, the line is finished
        first.

        Raises:
            OSError: The file cannot be opened; the handler goes on with the old one.
        """
        self._between_lines(self._reopen)

    def _reopen(self) -> None:
        old = self.stream
        if old is not None:
            self._open()
            old.close()

    def close(self) -> None:
        """Close the file; the next record opens it again."""
        if "lock" in self.__dict__:
            self._between_lines(self._close_stream)

    def _between_lines(self, action: Callable[[], None]) -> None:
        lock = self.lock
        lock.acquire()
        try:
            writing = self._writing
            if writing.is_under_way:
                writing.nested.append((_Action(action), None))
                return
            writing.is_under_way = True
            try:
                action()
            finally:
                writing.is_under_way = False
                if writing.nested:
                    self._write_nested()
        finally:
            lock.release()

    def _write_one_nested(self, text: Any, record: LogRecord | None) -> None:
        if not isinstance(text, _Action):
            super()._write_one_nested(text, record)
            return
        try:
            text.function()
        except Exception:  # noqa: BLE001 - reported: who asked for it has gone on
            self._report_failure(None, sys.exc_info())  # type: ignore[arg-type]  # never empty here

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on; nobody empties what may now be two processes' file."""
        super().after_fork_in_parent()
        self._mode = _appending(self._mode)

    def after_fork_in_child(self) -> None:
        """Start anew; nobody empties what may now be two processes' file."""
        super().after_fork_in_child()
        self._mode = _appending(self._mode)

    def _close_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()

    def handle_error(self, record: LogRecord, exc_info: Failure) -> None:
        """Deal with an error as the flag ``errors`` says, with that of a disk once a minute.

        A disk that is full refuses every line; all refusals are counted, see
        :func:`~sprockets.logbook.statistics`.
        """
        with self._as_often_as_told(exc_info[1]):
            super().handle_error(record, exc_info)

    def _report_failure(self, record: LogRecord | None, exc_info: Failure) -> None:
        """Report what has failed for no record, or for one whose line is written later."""
        with self._as_often_as_told(exc_info[1]):
            _failures.report(record, exc_info)

    def _as_often_as_told(self, error: BaseException) -> contextlib.AbstractContextManager[object]:
        """Silence errors of the disk that were reported less than a minute ago."""
        if isinstance(error, OSError) and not _failures.should_raise():
            now = monotonic()
            last = self._reported.get(error.errno)
            if last is not None and now - last < _REPORT_INTERVAL:
                return Flags(errors="silent")
            self._reported[error.errno] = now
        return contextlib.nullcontext()


_REPORT_INTERVAL: Final = 60.0
"""Seconds between two reports of the same error."""


def descriptor_of(stream: IO[Any]) -> Callable[[], int]:
    """Return what gives the descriptor of *stream*, and raises once it is closed."""
    # Asked there, it costs a third of what it does by way of the text stream.
    raw = getattr(getattr(stream, "buffer", stream), "raw", stream)
    fileno: Callable[[], int] = raw.fileno
    return fileno


class _Action:
    """What is to be done once the line under way is written."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function


def _appending(mode: str) -> str:
    return "ab" if "b" in mode else "a"


class MonitoringFileHandler(FileHandler):
    """Appends to a file that others may move or remove, as logrotate does.

    Before each line it checks whether the path still leads to the file it has open, and opens it
    anew if not.  Not for Windows, where an open file cannot be moved.

    Args:
        filename: As for :class:`FileHandler`, like the rest.
        mode: For the first opening; later ones append.
        encoding: Encoding of the file.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a line.
        delay: Open the file with the first record.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.

    Raises:
        RuntimeError: This is Windows.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
        encoding: str | None = "utf-8",
        level: Level = NOTSET,
        format_string: str | None = None,
        delay: bool = False,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        if os.name == "nt":
            raise RuntimeError(
                "MonitoringFileHandler does not work on Windows, where an open file cannot be "
                "moved; use FileHandler"
            )
        super().__init__(filename, mode, encoding, level, format_string, delay, filter, bubble)

    def _put(self) -> Callable[[str], None] | None:
        """Return what writes one line to the file at the path, if nothing is overridden."""
        if not self._writes_like(MonitoringFileHandler):
            return None
        encode = self._encoder()

        def put(text: str) -> None:
            self.ensure_stream_is_open()
            assert self.stream is not None
            self._append(self.stream.fileno(), encode(text))

        return put

    def ensure_stream_is_open(self) -> None:
        """Open the file if it is not open, or no longer the one at its path."""
        stream = self.stream
        if stream is not None and not _lockfile.is_at(stream.fileno(), self._filename):
            with contextlib.suppress(OSError):
                self._close_stream()
        super().ensure_stream_is_open()
