"""Handlers that write lines to a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._typing import IO, Any
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._stream import StreamHandler

_caller.register(__file__)


class FileHandler(StreamHandler):
    """Appends each record as one line to a file.

    A line is given to the operating system whole, before the log call returns, by one write to a
    descriptor opened for appending; so several processes may share a file, and a crash loses
    nothing that was logged.  A record that comes after :meth:`close` opens the file again.

    Args:
        filename: Made absolute at once; its directory must exist.
        mode: For the first opening, as for ``open``; later ones append.
        encoding: ``None`` means UTF-8; what it cannot encode is written as backslash escapes.
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
        if not delay:
            self._open()

    @property
    def filename(self) -> str:
        """Absolute path of the file."""
        return self._filename

    def _open(self) -> None:
        mode = self._mode
        is_binary = "b" in mode
        self.stream = open(  # noqa: SIM115 - closed by close()
            self._filename,
            mode,
            encoding=None if is_binary else self.encoding,
            errors=None if is_binary else "backslashreplace",
            opener=_open_for_appending,
        )
        # What is there now is ours to keep: whoever opens again appends.
        self._mode = "ab" if is_binary else "a"

    def ensure_stream_is_open(self) -> None:
        """Open the file if it is not open."""
        if self.stream is None:
            self._open()

    def encode(self, msg: Any) -> bytes:
        """Return the bytes written for *msg*: the text and a line break in the file's encoding."""
        return f"{msg}{self._line_break}".encode(self.encoding or "utf-8", "backslashreplace")

    def write(self, item: str | bytes) -> None:
        """Append *item* to the file, opening it if need be; text goes in the file's encoding."""
        self.ensure_stream_is_open()
        assert self.stream is not None
        if isinstance(item, str):
            item = item.encode(self.encoding or "utf-8", "backslashreplace")
        descriptor = self.stream.fileno()
        written = os.write(descriptor, item)
        while written < len(item):
            # A signal, a full disk, or a pipe may cut a long line; the rest follows at once.
            item = item[written:]
            written = os.write(descriptor, item)

    def _put(self) -> Callable[[str], None] | None:
        """Return what writes one line to the file, if nothing of that is overridden."""
        if not self._writes_like(FileHandler):
            return None
        line_break = self._line_break
        encoding = self.encoding or "utf-8"
        system_write = os.write

        def put(text: str) -> None:
            stream = self.stream
            if stream is None:
                self._open()
                stream = self.stream
                assert stream is not None
            line = f"{text}{line_break}".encode(encoding, "backslashreplace")
            written = system_write(stream.fileno(), line)
            if written < len(line):
                self.write(line[written:])

        return put

    def flush(self) -> None:
        """Flush what was written to :attr:`stream` past this handler; lines need no flushing."""
        if self.stream is not None:
            self.stream.flush()

    def close(self) -> None:
        """Close the file; the next record opens it again."""
        lock = self.__dict__.get("lock")
        if lock is None:
            return
        lock.acquire()
        try:
            self._close_stream()
        finally:
            lock.release()

    def _close_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close()


def _open_for_appending(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_APPEND, 0o666)


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

    def ensure_stream_is_open(self) -> None:
        """Open the file if it is not open, or no longer the one at its path."""
        if self.stream is not None and not self._is_ours():
            with contextlib.suppress(OSError):
                self._close_stream()
        super().ensure_stream_is_open()

    def _is_ours(self) -> bool:
        assert self.stream is not None
        try:
            found = os.stat(self._filename)
        except FileNotFoundError:
            return False
        ours = os.fstat(self.stream.fileno())
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)
