"""A handler that begins a new file when the time of the old one is over."""

from __future__ import annotations

import contextlib
import os
import string
from datetime import datetime

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._typing import ClassVar
from sprockets.logbook.handlers import _lockfile
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._dated import DatedFileHandler, DatedLine
from sprockets.logbook.handlers._files import FileHandler
from sprockets.logbook.handlers._periods import TimedName, keeps_order
from sprockets.logbook.handlers._shared import remove_all
from sprockets.logbook.handlers._stream import mark_of
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class TimedRotatingFileHandler(DatedFileHandler):
    """Appends to one file per day, or whatever stretch of time *date_format* distinguishes.

    The time of a record alone decides; a record that comes late never rolls anything over.  Files
    are appended to, never emptied, and get the owner and the permissions of the one before as far
    as that is allowed.  Any number of threads and processes may write to the same files.

    Args:
        filename: Path that the names of files are made from.  Where it is a symbolic link to a
            file, names are made from what it leads to.
        mode: For the first opening; later ones append.
        encoding: Encoding of the files.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a line.
        date_format: As for ``strftime``; a file ends when this text changes.
        backup_count: Files that are kept, with the current one; 0 keeps all.  Only files are
            removed whose names can be read back; where names do not tell which is older, as
            without a year, the time of the last change does.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        timed_filename_for_current: Whether the current file has its time in its name as well;
            otherwise it has the plain name, and gets the other when its time is over.
        rollover_format: How a name is made of ``{basename}``, ``{timestamp}`` and ``{ext}``.

    Raises:
        ValueError: *rollover_format* has no ``{timestamp}``.
    """

    # Where a file of that name is there already, the lines are copied; none may come meanwhile.
    _margin: ClassVar[int] = 1_000_000

    date_format: str

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
        encoding: str | None = "utf-8",
        level: Level = NOTSET,
        format_string: str | None = None,
        date_format: str = "%Y-%m-%d",
        backup_count: int = 0,
        filter: Filter | None = None,
        bubble: bool = False,
        timed_filename_for_current: bool = True,
        rollover_format: str = "{basename}-{timestamp}{ext}",
    ) -> None:
        fields = [field for _, field, _, _ in string.Formatter().parse(rollover_format)]
        if "timestamp" not in fields:
            raise ValueError(
                f"rollover_format must have a field {{timestamp}}, got {rollover_format!r}"
            )
        self.date_format = date_format
        self.backup_count = backup_count
        self.rollover_format = rollover_format
        self.timed_filename_for_current = timed_filename_for_current
        self.original_filename = filename
        super().__init__(filename, mode, encoding, level, format_string, True, filter, bubble)
        self._plain = self._filename
        parts = os.path.splitext(self._plain)
        self.basename: str = parts[0]
        self.ext: str = parts[1]
        if not timed_filename_for_current:
            self._read_period_at(self._plain)

    def _has_one_name(self) -> bool:
        return not self.timed_filename_for_current

    def generate_timed_filename(self, timestamp: str) -> str:
        """Return the absolute path of the file of *timestamp*."""
        return os.path.abspath(
            self.rollover_format.format(basename=self.basename, timestamp=timestamp, ext=self.ext)
        )

    # -- old files

    def files_to_delete(self) -> list[tuple[float, str]]:
        """Return when the superfluous files were modified, in seconds, and where they are.

        The oldest by their names come first.
        """
        if not self.backup_count:
            return []
        mark = "\0"
        before, _, after = self.rollover_format.format(
            basename=self.basename, timestamp=mark, ext=self.ext
        ).partition(mark)
        name = TimedName(os.path.abspath(before + mark)[:-1], after, self.date_format)
        current = self._filename
        found: list[tuple[datetime, str, float]] = []
        for path in _paths_beside(name.before + "x"):
            time = name.time_of(path)
            if time is not None and path != current and os.path.isfile(path):
                with contextlib.suppress(OSError):
                    found.append((time, path, os.stat(path).st_mtime))
        if keeps_order(self.date_format):
            found.sort()
        else:
            found.sort(key=lambda each: each[2])
        superfluous = max(0, len(found) - (self.backup_count - 1))
        return [(modified_at, path) for _, path, modified_at in found[:superfluous]]

    # -- another file

    def should_rollover(self, record: LogRecord) -> bool:
        """Return whether *record* is the first of a later period than the current one.

        An override is asked once a line.
        """
        time, moment = record.time, record.moment
        if time is None or moment is None:
            raise ValueError("a record without time belongs to no file")
        return self._is_later(self._text_of(time), moment)

    def perform_rollover(self, new_timestamp: str) -> None:
        """Begin the file of *new_timestamp*, and remove what is superfluous then.

        A signal handler may call it: the line that it interrupts is finished first.

        Raises:
            OSError: A file cannot be moved, opened or removed.  Nothing that was written is lost.
        """
        self._roll_between_lines(lambda: self._roll(new_timestamp))

    def _roll(self, new_timestamp: str) -> None:
        if self.timed_filename_for_current:
            self._go_to(self.generate_timed_filename(new_timestamp))
        elif self._period not in (None, new_timestamp):
            with self._exclusive():
                # Waiting for the lock, it may have come to a file of another period.
                if self._period not in (None, new_timestamp) and not self._is_empty(self._size()):
                    self._replace_file(self._move_to_timed)
        self._period = new_timestamp
        remove_all(path for _, path in self.files_to_delete())

    def _go_to(self, path: str) -> None:
        before, self._filename = self._filename, path
        old = self.stream
        try:
            if old is None:
                self._open()
            else:
                self._open_like(os.fstat(old.fileno()))
        except OSError:
            self._filename = before
            raise
        if old is not None:
            old.close()

    def _move_to_timed(self) -> None:
        assert self._period is not None
        path, target = self._plain, self.generate_timed_filename(self._period)
        if os.path.lexists(target):
            self._append_file(path, target)
            return
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, target)

    def _append_file(self, path: str, target: str) -> None:
        """Move all lines of a file to the end of another, which has its byte order mark."""
        mark = mark_of(self.encoding)
        with open(path, "rb") as source, FileHandler(target, "ab", self.encoding) as destination:
            assert destination.stream is not None
            start = os.fstat(destination.stream.fileno()).st_size
            if source.read(len(mark)) != mark:
                source.seek(0)
            try:
                while block := source.read(1 << 20):
                    destination.write(block)
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(target, start)
                raise
            os.remove(path)

    # -- a line

    def _rolls_as_usual(self) -> bool:
        return self._rolls_like(TimedRotatingFileHandler)

    def _append_dated(self, line: bytes, time: datetime, moment: int, item: DatedLine) -> None:
        timestamp = self._text_of(time)
        if self.timed_filename_for_current:
            self._append_timed(line, timestamp, moment, item[2])
        else:
            self._append_plain(line, timestamp, moment, item[2])

    def _is_due(self, timestamp: str, moment: int, record: LogRecord | None) -> bool:
        if record is None or self._rolls_as_usual():
            return self._is_later(timestamp, moment)
        return self.should_rollover(record)

    def _append_timed(
        self, line: bytes, timestamp: str, moment: int, record: LogRecord | None
    ) -> None:
        failure: OSError | None = None
        is_first = self._period is None or self._is_due(timestamp, moment, record)
        try:
            if is_first:
                self._roll_within_line(lambda length: self._begin(timestamp), len(line))
            elif timestamp != self._period:
                self._append_late(line, timestamp)
                return
            elif not self._is_at_path():
                self._reopen()
        except OSError as error:
            if self.stream is None:
                raise
            # There is a file to write to: the old one, or one beside those not removed.
            failure = error
        if is_first and self._period == timestamp:
            self._period_at = moment
        self.write(line)
        if failure is not None:
            raise failure

    def _begin(self, timestamp: str) -> bool:
        self.perform_rollover(timestamp)
        return True

    def _is_at_path(self) -> bool:
        return self.stream is None or _lockfile.is_at(self.stream.fileno(), self._filename)

    def _append_late(self, line: bytes, timestamp: str) -> None:
        late = FileHandler(self.generate_timed_filename(timestamp), "ab", self.encoding)
        try:
            late.write(line)
        finally:
            late.close()

    def _append_plain(
        self, line: bytes, timestamp: str, moment: int, record: LogRecord | None
    ) -> None:
        was_asked = False

        def roll(length: int) -> bool:
            nonlocal was_asked
            if self._period is None:
                self._set_period(timestamp, moment)
            # Asked again about the file that it has just begun, an override need not say no.
            if (was_asked and not self._rolls_as_usual()) or not self._is_due(
                timestamp, moment, record
            ):
                return False
            was_asked = True
            self.perform_rollover(timestamp)
            self._set_period(timestamp, moment)
            return True

        self._append_shared(line, roll)


def _paths_beside(path: str) -> list[str]:
    directory = os.path.dirname(path)
    try:
        return [os.path.join(directory, name) for name in os.listdir(directory)]
    except FileNotFoundError:
        return []
