"""The files in memory that a `ProcessQueue` is made of, as their writer and their reader see them.

A file begins with how far the reader has come, eight bytes that the reader writes.  The rest are
frames: length and CRC-32 of the data, four bytes each, and the data.  A length of all ones ends the
file: what its writer has to say goes on in the next.  The writer holds a lock of the kind that the
kernel takes back from a process that dies.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import tempfile
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Final, Self

from sprockets.logbook.queues._wire import MAX_BYTES, MalformedRecordError

_POSITION: Final = struct.Struct("=Q")
_FRAME: Final = struct.Struct("=II")
_END: Final = 0xFFFFFFFF
_CHUNK: Final = 1 << 18
"""Bytes that are read at once, if there is no frame that is longer."""
STEP: Final = 1 << 18
"""Bytes after which a writer looks how far the reader has come."""
_STEPS: Final = 16
"""Steps after which another file begins, even if the reader is behind."""


def _make_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("sprockets.logbook", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@dataclass(frozen=True)
class Announcement:
    """What goes with a file on its way to the reader.

    Args:
        process: Id of the process that writes it.
        sender: Eight bytes, the same for all files of one writer.
    """

    process: int
    sender: bytes

    def to_bytes(self) -> bytes:
        """Return the message."""
        return _ANNOUNCEMENT.pack(self.process, self.sender)

    @classmethod
    def from_bytes(cls, message: bytes) -> Self:
        """Return what *message* announces.

        Raises:
            ValueError: It announces nothing.
        """
        try:
            return cls(*_ANNOUNCEMENT.unpack(message))
        except struct.error as error:
            raise ValueError(f"not an announcement: {message!r}") from error


_ANNOUNCEMENT: Final = struct.Struct("=Q8s")


class Segment:
    """A file as its writer sees it; used by one thread at a time.

    A signal handler may :meth:`append` at any moment.

    Args:
        step: Bytes after which it :meth:`is_due`.
    """

    def __init__(self, step: int = STEP) -> None:
        self.descriptor = _make_file()
        self.is_ended = False
        os.pwrite(self.descriptor, _POSITION.pack(_POSITION.size), 0)
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        self._step = step
        self._end = _POSITION.size
        self._due_at = self._end + step
        self._read_to = _POSITION.size

    def append(self, data: bytes) -> None:
        """Append *data*.

        Raises:
            OSError: There is no memory for it.
        """
        frame = _FRAME.pack(len(data), zlib.crc32(data)) + data
        size = len(frame)
        # First, so that a signal handler that comes now writes behind.
        start = self._end
        self._end = start + size
        try:
            written = os.pwrite(self.descriptor, frame, start)
        except OSError:
            written = 0
        if written < size:
            # For half a frame the reader would wait.
            if self._end == start + size:
                self._end = start
                os.ftruncate(self.descriptor, start)
            raise OSError(errno.ENOMEM, f"no memory for a frame of {size} bytes")

    def end(self) -> None:
        """Say that nothing follows here."""
        self.is_ended = True
        with contextlib.suppress(OSError):  # then the reader sees it once the process is gone
            os.pwrite(self.descriptor, _FRAME.pack(_END, 0), self._end)

    def unread(self) -> int:
        """Return how many bytes the reader has not come to."""
        (position,) = _POSITION.unpack(os.pread(self.descriptor, _POSITION.size, 0))
        if self._read_to <= position <= self._end:
            self._read_to = position
        return self._end - self._read_to

    def is_due(self) -> bool:
        """Return whether it is time to look how far the reader has come."""
        return self._end >= self._due_at

    def is_long(self) -> bool:
        """Return whether another file should follow; asked after :meth:`unread`, when due."""
        self._due_at = self._end + self._step
        return self._read_to == self._end or self._end >= _STEPS * self._step

    def close(self) -> None:
        """Let go of it; the reader has one of its own."""
        os.close(self.descriptor)


class _Source:
    """A file as its reader sees it."""

    def __init__(self, descriptor: int, announcement: Announcement) -> None:
        self.descriptor = descriptor
        self._process = announcement.process
        self._position = _POSITION.size
        self.is_finished = False

    def read(self) -> list[bytes]:
        """Return the data of some more frames; a frame that is not complete is left for later.

        Raises:
            ValueError: What comes next is no frame.
            OSError: The file cannot be read.
        """
        chunk = os.pread(self.descriptor, _CHUNK, self._position)
        found: list[bytes] = []
        at = 0
        while len(chunk) >= at + _FRAME.size:
            length, checksum = _FRAME.unpack_from(chunk, at)
            start, end = at + _FRAME.size, at + _FRAME.size + length
            if length == _END:
                self.is_finished = True
                break
            if length > MAX_BYTES:
                raise ValueError(f"a frame of {length} bytes, where {MAX_BYTES} are accepted")
            if end > len(chunk):
                if found or len(chunk) < _CHUNK:
                    break
                chunk = os.pread(self.descriptor, end, self._position)
                if end > len(chunk):
                    break
            data = chunk[start:end]
            # No length yet, or not all of the data: its writer is at it at this moment.
            if length == 0 or zlib.crc32(data) != checksum:
                break
            found.append(data)
            at = end
        if at:
            self._position += at
            os.pwrite(self.descriptor, _POSITION.pack(self._position), 0)
        return found

    def is_dead(self) -> bool:
        """Return whether its writer is gone."""
        if self._process == os.getpid():
            return False  # such locks do not hold within a process
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def has_rest(self) -> bool:
        """Return whether something is left that :meth:`read` cannot make out."""
        return not self.is_finished and os.fstat(self.descriptor).st_size > self._position

    def close(self) -> None:
        os.close(self.descriptor)


class Inbox:
    """What has come from all writers, and their files; used by one thread at a time.

    Args:
        announcements: The socket through which files come; not closed here.
    """

    def __init__(self, announcements: socket.socket) -> None:
        self._announcements = announcements
        self._sources: dict[bytes, deque[_Source]] = {}
        self._ready: deque[bytes | MalformedRecordError] = deque()

    def pop(self) -> bytes | MalformedRecordError | None:
        """Return the data of the next frame that :meth:`look` has found, or what is wrong."""
        return self._ready.popleft() if self._ready else None

    def push_back(self, data: bytes | MalformedRecordError) -> None:
        """Have :meth:`pop` return *data* next."""
        self._ready.appendleft(data)

    def look(self) -> None:
        """Read what there is, some of each writer's."""
        while self._receive():
            pass
        for sender in list(self._sources):
            self._read(sender)

    def _receive(self) -> bool:
        try:
            self._announcements.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        # A file that comes when there is no descriptor for it is lost, so this fails before.
        os.close(os.dup(self._announcements.fileno()))
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        message, descriptors, _, _ = socket.recv_fds(self._announcements, 64, 1, flags)
        try:
            announcement = Announcement.from_bytes(message)
            (descriptor,) = descriptors
        except ValueError:
            for each in descriptors:
                os.close(each)
            self._ready.append(MalformedRecordError(f"announces no sender: {message!r}"))
        else:
            sources = self._sources.setdefault(announcement.sender, deque())
            sources.append(_Source(descriptor, announcement))
        return True

    def _read(self, sender: bytes) -> None:
        sources = self._sources[sender]
        while sources:
            source = sources[0]
            try:
                self._ready.extend(source.read())
            except (OSError, ValueError) as error:
                self._ready.append(MalformedRecordError(f"a sender's file is broken: {error}"))
                source.is_finished = True
            if not source.is_finished:
                return
            sources.popleft().close()
        # Its next file, if there is one, has come before the end of this one.
        del self._sources[sender]

    def part_from_the_dead(self) -> None:
        """Read the last words of writers that are gone, and close their files."""
        for sender, sources in list(self._sources.items()):
            while sources and not self._ready and sources[0].is_dead():
                source = sources[0]
                self._read(sender)
                if self._ready or source.is_finished:
                    continue
                if source.has_rest():
                    self._ready.append(MalformedRecordError("its sender died in the middle of it"))
                sources.popleft().close()
            if not sources:
                self._sources.pop(sender, None)

    def close(self) -> None:
        """Close all files."""
        for sources in self._sources.values():
            for source in sources:
                source.close()
        self._sources.clear()
        self._ready.clear()
