"""A file that several processes append to, and that one of them rolls over.

Exactly one does: the one that holds the lock on the file that is at the path.  The others find that
the path leads elsewhere, and follow.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._typing import IO, Any, ClassVar, Final
from sprockets.logbook.handlers import _lockfile
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._files import FileHandler

_caller.register(__file__)

ROOM: Final = 256 * 1024
"""With at least so many bytes to go, a file cannot become too large by lines under way."""
SHORT: Final = 4096
"""Bytes of a line that is not too large for that."""
LOOK_INTERVAL: Final = 0.25
"""Seconds between looks at the path, while there is room and time."""
_MAX_LOOKS: Final = 50
"""How often a file may be gone from its path by the time it is locked, before that is believed to
be how this file system is."""


class SharedFileHandler(FileHandler):
    """Appends to a file that this and other processes roll over.

    A symbolic link to a file is followed once and for all, so that it stays when the file moves.
    """

    stream: Any

    _due: ClassVar[tuple[str, ...]] = ("should_rollover", "perform_rollover")
    _locked: IO[Any] | None = None
    _is_rolling = False

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
        super().__init__(
            followed(filename), mode, encoding, level, format_string, delay, filter, bubble
        )

    def after_fork_in_child(self) -> None:
        """Open the file anew: a lock on it is shared with whoever shares the open file."""
        super().after_fork_in_child()
        stream, self.stream = self.stream, None
        self._locked = None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()

    # -- a line

    def _append_shared(self, line: bytes, roll: Callable[[int], bool]) -> None:
        """Append *line* while no other process does.

        Args:
            line: What is written.
            roll: Given the length of the line, rolls the file over if that is due; returns whether
                it did.  It is asked again then, since another process may have been first.

        Raises:
            OSError: The line could not be written; or it is written, but the roll-over failed.
        """
        failure: OSError | None = None
        while True:
            self.ensure_stream_is_open()
            is_locked = self._lock_current()
            try:
                if is_locked and failure is None:
                    try:
                        if self._roll_within_line(roll, len(line)):
                            continue
                    except OSError as error:
                        # There is still the old file, and another time.
                        failure = error
                        self.ensure_stream_is_open()
                if self._writes_itself():
                    self._append(self.stream.fileno(), line)
                else:
                    self.write(line)
                break
            finally:
                self._unlock()
        if failure is not None:
            self._close_stream()
            raise failure

    def _writes_itself(self) -> bool:
        return type(self).write is FileHandler.write and "write" not in self.__dict__

    def _roll_within_line(self, roll: Callable[[int], bool], length: int) -> bool:
        state = self.__dict__
        was_rolling, state["_is_rolling"] = self._is_rolling, True
        try:
            return roll(length)
        finally:
            state["_is_rolling"] = was_rolling

    def _roll_between_lines(self, roll: Callable[[], None]) -> None:
        """Do *roll* at once, or after the line that this thread is in the middle of.

        The latter where a signal handler asks, not where the line itself does.
        """
        if self._is_rolling:
            roll()
        else:
            self._between_lines(roll)

    # -- the lock

    def _lock_current(self) -> bool:
        """Lock the file that is at the path, opening it if need be; return whether it is locked."""
        for _ in range(_MAX_LOOKS):
            stream = self.stream
            assert stream is not None
            descriptor = stream.fileno()
            is_locked = _lockfile.acquire(descriptor)
            if is_locked:
                # Past what watches the attributes of handlers: it is nothing they are asked for.
                self.__dict__["_locked"] = stream
            if _lockfile.is_at(descriptor, self._filename):
                return is_locked
            self._unlock()
            self._reopen()
        return False

    def _unlock(self) -> None:
        locked = self._locked
        if locked is not None:
            self.__dict__["_locked"] = None
            if not locked.closed:
                _lockfile.release(locked.fileno())

    def _close_stream(self) -> None:
        self._unlock()
        super()._close_stream()

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Be the one that rolls, in this process and among all."""
        lock = self.lock
        lock.acquire()
        try:
            if self._locked is not None:
                yield
                return
            self.ensure_stream_is_open()
            if not self._lock_current():
                raise BlockingIOError(
                    errno.EAGAIN, "another process holds the lock of the file", self._filename
                )
            try:
                yield
            finally:
                self._unlock()
        finally:
            lock.release()

    # -- another file

    def _replace_file(self, move: Callable[[], None]) -> None:
        """Have *move* take the file away from its path, and begin another there that is like it."""
        status = os.fstat(self.stream.fileno())
        if os.name == "nt":
            # An open file cannot be moved there.
            self._close_stream()
        move()
        old, self._locked = self._locked, None
        stream: Any = self.stream
        self.stream = None
        try:
            self._open_like(status)
        finally:
            if stream is not None:
                if old is not None and old is stream:
                    _lockfile.release(stream.fileno())
                stream.close()

    def _open_like(self, status: os.stat_result) -> None:
        """Open the file, which gets owner and permissions of another if it is a new one."""
        self._permissions = stat.S_IMODE(status.st_mode) & self._permissions
        try:
            self._open()
        finally:
            del self._permissions
        descriptor = self.stream.fileno()
        if self._is_empty(self._size()):
            make_like(descriptor, status)

    def _is_empty(self, size: int) -> bool:
        return size <= len("".encode(self.encoding or "utf-8"))

    def _size(self) -> int:
        return os.fstat(self.stream.fileno()).st_size

    def _rolls_like(self, base: type[Any]) -> bool:
        cls = type(self)
        return self.__dict__.keys().isdisjoint(self._due) and all(
            getattr(cls, name) is getattr(base, name) for name in self._due
        )


def make_like(descriptor: int, status: os.stat_result) -> None:
    """Give a new file the owner and the permissions of another, as far as that is allowed."""
    if os.name == "nt":
        return
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, status.st_uid, status.st_gid)
    if own.st_mode != status.st_mode:
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def remove_all(paths: Iterable[str]) -> None:
    """Remove files, also those that come after one that cannot be removed.

    Raises:
        OSError: One could not be removed; the first error.
    """
    failure: OSError | None = None
    for path in paths:
        try:
            os.remove(path)
        except FileNotFoundError:
            # Another process was first.
            continue
        except OSError as error:
            failure = failure or error
    if failure is not None:
        raise failure


def followed(filename: str | os.PathLike[str]) -> str:
    """Return the absolute path of a file; of the one it leads to, if it is a symbolic link."""
    path = os.path.abspath(os.fspath(filename))
    target = os.path.realpath(path)
    # What leads to no file, as /dev/stdout may, is opened by its own name.
    return target if os.path.islink(path) and os.path.isfile(target) else path


def has_room(descriptor: int, max_size: int) -> bool:
    """Return whether an open file is far from *max_size* bytes; a pipe is not."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_END) + ROOM < max_size
    except OSError:
        return False
