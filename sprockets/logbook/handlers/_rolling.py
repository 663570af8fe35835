"""A file that is rolled over by size and by time, whose back-ups are compressed and limited."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import IO, Final, Literal, NamedTuple, TypeAlias

from sprockets._support.optional import optional
from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.handlers import _lockfile
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._dated import DatedFileHandler, DatedLine
from sprockets.logbook.handlers._periods import keeps_order, parse_time, render_time
from sprockets.logbook.handlers._shared import LOOK_INTERVAL, followed, make_like, remove_all

_caller.register(__file__)

Compression: TypeAlias = Literal["gzip", "brotli"]

_SUFFIXES: Final = {None: "", "gzip": ".gz", "brotli": ".br"}
_DAY: Final = "%Y-%m-%d"


class _Backup(NamedTuple):
    """An old file, as its name tells."""

    time: datetime
    number: int
    suffix: str
    path: str


class RollingFileHandler(DatedFileHandler):
    """Appends to a file that is rolled over when it is full and when its time is over.

    The old file of 2026-01-31, of ``shop.log``, becomes ``shop-2026-01-31.1.log``, the next of that
    day ``shop-2026-01-31.2.log``.  All but the latest are compressed, in a thread of their own,
    and the oldest removed as soon as one of the limits asks for it.  Only files are touched whose
    names can be read back.  A new file gets the owner and the permissions of the one before, as far
    as that is allowed.  Any number of threads and processes may write to the same file.

    Args:
        filename: As for :class:`FileHandler`; what is written now has this name.  Where it is a
            symbolic link, the file that it leads to is rolled over, beside itself.
        mode: For the first opening; later ones append.
        encoding: Encoding of the file.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a line.
        delay: Open the file with the first record.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        max_size: Bytes that a file stays below; ``None`` is no limit.
        date_format: As for ``strftime``; a file ends when this text of a record's time changes.
            It must be possible to read it back.  ``None``: the time does not matter.
        backup_count: Old files that are kept; ``None`` keeps all.
        max_age: Seconds, or a timedelta, after which an old file is removed.
        max_total_bytes: Bytes that the old files take together.
        compression: How all old files but the latest are compressed.
        clock: Returns the present time in seconds, which is compared with the files' times.

    Raises:
        ValueError: A limit is below 1, there is no such *compression*, or *date_format* cannot be
            read back or does not tell which of two times is later.
        MissingDependency: The library for *compression* is not installed.
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
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        max_size: int | None = None,
        date_format: str | None = _DAY,
        backup_count: int | None = None,
        max_age: timedelta | float | None = None,
        max_total_bytes: int | None = None,
        compression: Compression | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(max_age, timedelta):
            max_age = max_age.total_seconds()
        limits = {
            "max_size": max_size,
            "backup_count": backup_count,
            "max_age": max_age,
            "max_total_bytes": max_total_bytes,
        }
        for name, limit in limits.items():
            if limit is not None and limit < 1:
                raise ValueError(f"{name} must be 1 or more, or None, got {limit!r}")
        if str(compression or "gzip") not in ("gzip", "brotli"):
            raise ValueError(f"compression must be 'gzip', 'brotli' or None, got {compression!r}")
        if not keeps_order(date_format or _DAY) or os.sep in (date_format or _DAY):
            raise ValueError(
                "date_format must be readable for strptime, and tell which of two times is later,"
                f" got {date_format!r}"
            )
        if compression == "brotli":
            optional("brotli", extra="brotli", needed_by="RollingFileHandler")
        self.max_size = max_size
        self.date_format = date_format
        self.backup_count = backup_count
        self.max_age = max_age
        self.max_total_bytes = max_total_bytes
        self.compression = compression
        self._wall_clock = clock
        self._tidying: threading.Thread | None = None
        path = followed(filename)
        self._base, self._ext = os.path.splitext(path)
        self._read_period_at(path)
        super().__init__(filename, mode, encoding, level, format_string, delay, filter, bubble)

    def _text_of(self, time: datetime) -> str:
        return time.strftime(self.date_format or _DAY)

    # -- a line

    def _rolls_as_usual(self) -> bool:
        return True

    def _append_dated(self, line: bytes, time: datetime, moment: int, item: DatedLine) -> None:
        timestamp = self._text_of(time)

        def roll(length: int) -> bool:
            if self._period is None:
                self._set_period(timestamp, moment)
            if not self._is_due(timestamp, moment, length):
                return False
            self._roll()
            self._set_period(timestamp, moment)
            return True

        self._append_shared(line, roll)

    def _is_due(self, timestamp: str, moment: int, length: int) -> bool:
        size = self._size()
        if self._is_empty(size):
            self._set_period(timestamp, moment)
            return False
        if self.max_size is not None and size + length >= self.max_size:
            return True
        return self.date_format is not None and self._is_later(timestamp, moment)

    def perform_rollover(self) -> None:
        """Give the file the name of an old one, begin anew, and remove what is superfluous.

        A signal handler may call it: the line that it interrupts is finished first.

        Raises:
            OSError: The file cannot be moved.  All that was written is still there.
        """
        self._roll_between_lines(self._roll_unless_empty)

    def _roll_unless_empty(self) -> None:
        with self._exclusive():
            if not self._is_empty(self._size()):
                self._roll()

    def _roll(self) -> None:
        if self._period is None:
            self._read_period_at(self._filename)
        self._replace_file(self._move)
        self._tidy_up()

    def _move(self) -> None:
        stamp = self._period
        assert stamp is not None
        date_format = self.date_format or _DAY
        numbers = [
            backup.number
            for backup in self.backups()
            if render_time(backup.time, date_format) == stamp
        ]
        number = max(numbers, default=0) + 1
        # What is no old file of ours, as a folder, may have such a name as well.
        while os.path.lexists(target := f"{self._base}-{stamp}.{number}{self._ext}"):
            number += 1
        os.rename(self._filename, target)

    # -- old files

    def backups(self) -> list[_Backup]:
        """Return the old files, the oldest first: time, number, suffix of compression, path."""
        directory, base = os.path.split(self._base)
        pattern = re.compile(
            re.escape(base) + r"-(.+)\.([1-9][0-9]*)" + re.escape(self._ext) + r"(\.gz|\.br|)",
            re.DOTALL | re.ASCII,
        )
        found = []
        for name in os.listdir(directory):
            match = pattern.fullmatch(name)
            if match is None:
                continue
            stamp, number, suffix = match.groups()
            moment = parse_time(stamp, self.date_format or _DAY)
            if moment is not None and render_time(moment, self.date_format or _DAY) == stamp:
                path = os.path.join(directory, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    found.append(_Backup(moment, int(number), suffix, path))
        return sorted(found)

    def _tidy_up(self) -> None:
        if self.compression is None:
            self._limit()
            return
        if self._tidying is not None and self._tidying.is_alive():
            # What it does not find now, it or the next one will.
            return
        thread = threading.Thread(target=self._compress_and_limit, name="sprockets-log-files")
        try:
            thread.start()
        except RuntimeError:
            # The interpreter ends; the next start goes on.
            return
        self._tidying = thread

    def after_fork_in_child(self) -> None:
        """Leave to the parent what its thread is doing."""
        super().after_fork_in_child()
        self._tidying = None

    def close(self) -> None:
        """Close the file, and wait until old ones are compressed."""
        super().close()
        thread = self.__dict__.get("_tidying")
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _compress_and_limit(self) -> None:
        # First what is to go, so that it need not be compressed.
        for tidy in (self._limit, self._compress_old, self._limit):
            try:
                tidy()
            except OSError:
                # The log goes on; whoever runs out of disk space has been told why.
                self._report_failure(None, sys.exc_info())  # type: ignore[arg-type]  # not empty

    def _compress_old(self) -> None:
        failure: OSError | None = None
        for backup in self.backups()[:-1]:
            if backup.suffix:
                continue
            try:
                _wait_for_rest(backup.path)
                self._compress(backup.path)
            except FileNotFoundError:
                # Another process was first.
                continue
            except OSError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def _compress(self, path: str) -> None:
        """Compress one old file; a crash leaves it as it was, or both."""
        suffix = _SUFFIXES[self.compression]
        unfinished = f"{path}{suffix}.unfinished"
        with open(path, "rb") as source:
            # Of several processes one compresses it; the lock ends with the process.
            if not _lockfile.acquire(source.fileno(), 0.0):
                return
            if not _lockfile.is_at(source.fileno(), path):
                return
            status = os.fstat(source.fileno())
            try:
                with open(unfinished, "wb", opener=_open_for_owner) as target:
                    self._copy_compressed(source, target)
                    make_like(target.fileno(), status)
                os.utime(unfinished, ns=(status.st_atime_ns, status.st_mtime_ns))
                if os.fstat(source.fileno()).st_size != source.tell():
                    # Somebody has written to it all the same: the next time, then.
                    os.remove(unfinished)
                    return
                os.replace(unfinished, f"{path}{suffix}")
            except OSError:
                with contextlib.suppress(OSError):
                    os.remove(unfinished)
                raise
            os.remove(path)

    def _copy_compressed(self, source: IO[bytes], target: IO[bytes]) -> None:
        if self.compression == "gzip":
            with gzip.GzipFile("", "wb", 6, target) as destination:
                shutil.copyfileobj(source, destination, 1 << 18)
            return
        compressor = optional("brotli", extra="brotli", needed_by="RollingFileHandler").Compressor(
            quality=6
        )
        while block := source.read(1 << 18):
            target.write(compressor.process(block))
        target.write(compressor.finish())

    def _limit(self) -> None:
        remove_all(self.files_to_delete())

    def files_to_delete(self) -> list[str]:
        """Return the paths of the old files that the limits ask to be removed, the oldest first."""
        backups = self.backups()
        keep = len(backups) if self.backup_count is None else self.backup_count
        now = self._wall_clock()
        total = 0
        superfluous = []
        for position, backup in enumerate(reversed(backups)):
            try:
                status = os.stat(backup.path)
            except FileNotFoundError:
                continue
            total += status.st_size
            if (
                position >= keep
                or (self.max_age is not None and now - status.st_mtime > self.max_age)
                or (self.max_total_bytes is not None and total > self.max_total_bytes)
            ):
                superfluous.append(backup.path)
        return superfluous[::-1]


def _open_for_owner(path: str, flags: int) -> int:
    # Until it is complete it is nobody else's to read; then whoever may read the original may.
    return os.open(path, flags, 0o600)


def _wait_for_rest(path: str) -> None:
    """Wait until no process can take the file for the current one any more."""
    # It was renamed then: each process looks at the path that often, and once more for safety.
    at_rest = os.stat(path).st_ctime + 2 * LOOK_INTERVAL
    time.sleep(min(2 * LOOK_INTERVAL, max(0.0, at_rest - time.time())))
