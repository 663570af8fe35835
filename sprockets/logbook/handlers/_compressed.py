"""Handlers that compress what they write to a file."""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
import zlib
from abc import ABC, abstractmethod
from typing import Any, Final

from sprockets._support.optional import MissingDependency, optional
from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.handlers import _lockfile
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._files import FileHandler
from sprockets.logbook.handlers._stream import codec_of, mark_of

_caller.register(__file__)

_BLOCK: Final = 64 * 1024
"""Bytes of text that are compressed together, at most; more would hardly make them smaller."""
_TAIL: Final = 4 * _BLOCK
"""Bytes at the end of a file in which a member that is left unfinished, and the one before it, are
looked for."""
_GZIP: Final = 16 + zlib.MAX_WBITS
_MAGIC: Final = b"\x1f\x8b\x08"

_buffering: weakref.WeakSet[_CompressedFileHandler] = weakref.WeakSet()
_is_exiting = False


class _CompressedFileHandler(FileHandler, ABC):
    """Collects lines, and compresses them when there are enough."""

    stream: Any

    def __init__(
        self,
        filename: str | os.PathLike[str],
        encoding: str | None,
        level: Level,
        format_string: str | None,
        delay: bool,
        filter: Filter | None,
        bubble: bool,
        flush_every: int,
    ) -> None:
        if flush_every < 1:
            raise ValueError(f"flush_every must be 1 or more, got {flush_every}")
        self.flush_every = flush_every
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._needs_mark = False
        super().__init__(filename, "ab", encoding, level, format_string, delay, filter, bubble)
        _buffering.add(self)

    def should_flush(self) -> bool:
        """Return false: a record alone compresses badly."""
        return False

    def write(self, item: str | bytes) -> None:
        """Take *item*, one line, to be compressed with others.

        Raises:
            OSError: The lines could not be written.  Up to 128 KiB are kept and tried again with
                the next; what comes then is lost.
        """
        self.ensure_stream_is_open()
        if isinstance(item, str):
            item = item.encode(codec_of(self.encoding), "backslashreplace")
        if self._pending_size >= 2 * _BLOCK:
            # The disk is full, and memory shall not be.
            self._write_pending()
        self._pending.append(item)
        self._pending_size += len(item)
        if _is_exiting or self._pending_size >= _BLOCK or len(self._pending) >= self.flush_every:
            self._write_pending()

    def _prepare(self, descriptor: int) -> None:
        """What is in the file are no lines."""
        self._needs_mark = not os.fstat(descriptor).st_size

    def _put(self) -> None:
        return None

    def flush(self) -> None:
        """Compress and write what has come until now, so that it can be read."""
        self._between_lines(self._write_pending)

    def _take_pending(self) -> bytes:
        data = b"".join(self._pending)
        if self._needs_mark:
            data = mark_of(self.encoding) + data
        return data

    def _forget_pending(self) -> None:
        self._pending.clear()
        self._pending_size = 0
        self._needs_mark = False

    @abstractmethod
    def _write_pending(self) -> None:
        """Compress what has been collected, and write it."""

    def _close_stream(self) -> None:
        try:
            self._write_pending()
        finally:
            super()._close_stream()

    def after_fork_in_child(self) -> None:
        """Leave to the parent what it has collected; a lock is shared with who shares the file."""
        super().after_fork_in_child()
        self._forget_pending()
        stream, self.stream = self.stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _flush_all() -> None:
    global _is_exiting
    # What comes later, from finalisers, is written at once.
    _is_exiting = True
    for handler in list(_buffering):
        try:
            handler.flush()
        except Exception:  # noqa: BLE001, S112 - the interpreter ends, with nobody left to tell
            continue


atexit.register(_flush_all)


class GZIPCompressionHandler(_CompressedFileHandler):
    """Appends each record as one line to a file that ``zcat`` reads.

    Lines are collected, and compressed when there are *flush_every* of them or 64 KiB.  What was
    compressed can be read at once, and is a complete member of the file, so that a crash takes
    nothing but the lines that were not compressed yet; several processes may share a file.  At the
    end of the program, and when closed, everything is written.  A record that comes after
    ``close()`` goes on behind what is there.

    Args:
        filename: As for :class:`FileHandler`.
        encoding: Encoding of the text; ``None`` means UTF-8.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a line.
        delay: Open the file with the first record.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        compression_quality: From 1, fast, to 9, small.
        flush_every: Records that a crash may take at most.

    Raises:
        ValueError: *compression_quality* or *flush_every* is outside its range.
        OSError: The file cannot be opened.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        encoding: str | None = None,
        level: Level = NOTSET,
        format_string: str | None = None,
        delay: bool = False,
        filter: Filter | None = None,
        bubble: bool = False,
        compression_quality: int = 9,
        *,
        flush_every: int = 1000,
    ) -> None:
        if not 0 <= compression_quality <= 9:
            raise ValueError(f"compression_quality must be 0 to 9, got {compression_quality}")
        self.compression_quality = compression_quality
        super().__init__(
            filename, encoding, level, format_string, delay, filter, bubble, flush_every
        )

    def _prepare(self, descriptor: int) -> None:
        # What another process is about to complete is not torn.
        if _lockfile.acquire(descriptor):
            try:
                _drop_torn_member(descriptor, self._filename)
            finally:
                _lockfile.release(descriptor)
        super()._prepare(descriptor)

    def _write_pending(self) -> None:
        if not self._pending:
            return
        self.ensure_stream_is_open()
        stream = self.stream
        descriptor = stream.fileno()
        _lockfile.acquire(descriptor)
        try:
            self._needs_mark = self._needs_mark and not os.fstat(descriptor).st_size
            compressor = zlib.compressobj(self.compression_quality, zlib.DEFLATED, _GZIP)
            data = compressor.compress(self._take_pending()) + compressor.flush()
            self._append(descriptor, data)
            self._forget_pending()
        finally:
            if not stream.closed:
                _lockfile.release(descriptor)


def _drop_torn_member(descriptor: int, path: str) -> None:
    """Remove an unfinished member from the end of a file, or gzip would not read what follows."""
    size = os.fstat(descriptor).st_size
    try:
        reader = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return
    try:
        start = max(0, size - _TAIL)
        os.lseek(reader, start, os.SEEK_SET)
        tail = os.read(reader, _TAIL)
    finally:
        os.close(reader)
    torn_at = _torn_at(tail, is_whole=not start)
    if torn_at is not None:
        os.ftruncate(descriptor, start + torn_at)


def _torn_at(tail: bytes, *, is_whole: bool) -> int | None:
    """Return where the unfinished member begins that *tail*, the end of a file, ends with."""
    # Compressed data may look like the beginning of a member.  The end of one does not lie: there
    # is a sum of what was in it.  Behind that another member begins, or nothing of ours.
    end = 0 if is_whole else _first_end(tail)
    while end is not None and end < len(tail):
        rest = tail[end:]
        if rest[: len(_MAGIC)] != _MAGIC[: len(rest)]:
            return None
        length = _length_of_member(rest)
        if length is None:
            return None
        if not length:
            return end
        end += length
    return None


def _first_end(tail: bytes) -> int | None:
    """Return where the first member ends of which all is in *tail*."""
    position = -1
    while (position := tail.find(_MAGIC, position + 1)) >= 0:
        length = _length_of_member(tail[position:])
        if length:
            return position + length
    return None


def _length_of_member(data: bytes) -> int | None:
    """Return how many bytes the member takes that *data* begins with.

    Returns:
        0 if its end is missing, ``None`` if it is none.
    """
    member = zlib.decompressobj(_GZIP)
    rest = data
    try:
        while rest and not member.eof:
            # What is in it may be much larger, and is not wanted.
            member.decompress(rest, _BLOCK)
            rest = member.unconsumed_tail
    except zlib.error:
        return None
    return len(data) - len(member.unused_data) if member.eof else 0


class BrotliCompressionHandler(_CompressedFileHandler):
    """Writes each record as one line to a file that ``brotli --decompress`` reads.

    A file of Brotli is one whole: nothing can be appended once it is closed, so each handler needs
    a file of its own, which is empty or not there; a record that comes after ``close()`` is an
    error of the handler, and so is one that comes in a child process.  Needs ``brotlicffi`` or
    ``brotli``, the extra ``brotli``.

    Args:
        filename: As for :class:`FileHandler`.
        encoding: Encoding of the text; ``None`` means UTF-8.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a line.
        delay: Open the file with the first record.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        compression_window_size: Bytes that are searched for repetitions, 1 KiB to 16 MiB.
        compression_quality: From 0, fast, to 11, small.
        flush_every: Records that a crash may take at most.

    Raises:
        MissingDependency: Neither library is installed; it is a ``RuntimeError``.
        ValueError: A number is outside its range.
        FileExistsError: There is something in the file.
        OSError: The file cannot be opened.
    """

    stream: Any

    def __init__(
        self,
        filename: str | os.PathLike[str],
        encoding: str | None = None,
        level: Level = NOTSET,
        format_string: str | None = None,
        delay: bool = False,
        filter: Filter | None = None,
        bubble: bool = False,
        compression_window_size: int = 4 * 1024**2,
        compression_quality: int = 11,
        *,
        flush_every: int = 1000,
    ) -> None:
        window_bits = int(compression_window_size).bit_length() - 1
        if not 10 <= window_bits <= 24:
            raise ValueError(
                "compression_window_size must be 1 KiB to 16 MiB, given in bytes, got"
                f" {compression_window_size}"
            )
        if not 0 <= compression_quality <= 11:
            raise ValueError(f"compression_quality must be 0 to 11, got {compression_quality}")
        self._compressor: Any = _import_brotli().Compressor(
            quality=compression_quality, lgwin=window_bits
        )
        self._unwritten = b""
        self._was_opened = False
        super().__init__(
            filename, encoding, level, format_string, delay, filter, bubble, flush_every
        )

    def _open(self) -> None:
        if self._was_opened:
            raise RuntimeError(
                f"cannot append to {self._filename!r}: a file of Brotli is complete once it is"
                " closed, and belongs to one process; make a handler for another file"
            )
        super()._open()
        self._was_opened = True

    def _prepare(self, descriptor: int) -> None:
        super()._prepare(descriptor)
        if not self._needs_mark:
            raise FileExistsError(
                f"cannot append to {self._filename!r}: a file of Brotli is complete once it is"
                " closed; remove it or choose another name"
            )

    def reopen(self) -> None:
        """Do nothing: the file cannot be left before it is complete."""

    def _write_pending(self) -> None:
        if not self._pending and not self._unwritten:
            return
        if self.stream is None:
            self._forget_pending()
            return
        # What is compressed cannot be compressed again, so it is kept until it is written.
        self._write_compressed()
        self._unwritten = self._compressor.process(self._take_pending()) + self._compressor.flush()
        self._forget_pending()
        self._write_compressed()

    def _write_compressed(self) -> None:
        assert self.stream is not None
        data, descriptor = self._unwritten, self.stream.fileno()
        while data:
            # A part that was written is written: nobody else writes here.
            data = data[os.write(descriptor, data) :]
            self._unwritten = data

    def _close_stream(self) -> None:
        if self.stream is not None:
            try:
                self._write_pending()
                self._unwritten += self._compressor.finish()
                self._write_compressed()
            finally:
                FileHandler._close_stream(self)

    def after_fork_in_child(self) -> None:
        """Leave the file to the parent."""
        super().after_fork_in_child()
        self._was_opened = True


def _import_brotli() -> Any:
    try:
        return optional("brotlicffi", extra="brotli", needed_by="BrotliCompressionHandler")
    except MissingDependency:
        return optional("brotli", extra="brotli", needed_by="BrotliCompressionHandler")
