"""A file whose lines have a time, which tells when another file is to begin."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime

from sprockets.logbook import _caller, _clock
from sprockets.logbook._typing import IO, Any, ClassVar, Final, TypeAlias
from sprockets.logbook.handlers._base import Handler
from sprockets.logbook.handlers._files import FileHandler, descriptor_of
from sprockets.logbook.handlers._periods import moment_of_file, shown_time, stretch_of
from sprockets.logbook.handlers._shared import LOOK_INTERVAL, SHORT, SharedFileHandler, has_room
from sprockets.logbook.handlers._stream import TAIL_FORM
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

DatedLine: TypeAlias = "tuple[Any, int, LogRecord | None]"
"""A line, its moment, and its record where the moment alone does not tell what is to be done."""

_TAIL: Final = tuple(
    TAIL_FORM.format("(line, moment, None)", "put((line, moment, None))").split("\n")
)
_LOOK_INTERVAL: Final = int(LOOK_INTERVAL * 1_000_000)


class DatedFileHandler(SharedFileHandler, ABC):
    """Appends lines to a file that is for one period: as long as their time has the same text.

    The period of a file is that of its first line; of a file that is already there, that of its
    last change.
    """

    _tails = (_TAIL,)
    _margin: ClassVar[int] = 0
    """Microseconds before the end of a period in which lines are written under the lock."""

    date_format: str | None
    max_size: int | None = None

    _period: str | None = None
    """Text of the period; ``None`` until there is a line."""
    _period_at: int = 0
    """A moment in the period: no line before it begins another one."""
    _file_of_period: tuple[int, int] | None = None

    def _text_of(self, time: datetime) -> str:
        assert self.date_format is not None
        return time.strftime(self.date_format)

    def _set_period(self, timestamp: str | None, moment: int) -> None:
        self._period, self._period_at = timestamp, moment

    def _read_period(self, status: os.stat_result) -> None:
        """Take the period of a file that is there from when it was written last."""
        self._file_of_period = (status.st_dev, status.st_ino)
        moment = moment_of_file(status)
        self._set_period(self._text_of(shown_time(moment)), moment)

    def _read_period_at(self, path: str) -> None:
        with contextlib.suppress(OSError):
            self._read_period(os.stat(path))

    def _has_one_name(self) -> bool:
        """Whether the file of another period comes to the same path."""
        return True

    def _prepare(self, descriptor: int) -> None:
        """Find out what period a file is for that another process has begun."""
        if self._has_one_name():
            status = os.fstat(descriptor)
            if self._is_empty(status.st_size):
                self._set_period(None, 0)
                self._file_of_period = (status.st_dev, status.st_ino)
            elif self._file_of_period != (status.st_dev, status.st_ino):
                self._read_period(status)
        super()._prepare(descriptor)

    def _is_later(self, timestamp: str, moment: int) -> bool:
        return self._period is not None and timestamp != self._period and moment > self._period_at

    # -- a line

    def _is_standard(self) -> bool:
        cls = type(self)
        return (
            cls.emit is DatedFileHandler.emit
            and cls.format is Handler.format
            and self.always_consumes
            and self._rolls_as_usual()
            and self.__dict__.keys().isdisjoint(("emit", "format"))
        )

    @abstractmethod
    def _rolls_as_usual(self) -> bool:
        """Whether nothing is overridden that decides by the record."""

    @abstractmethod
    def _append_dated(self, line: bytes, time: datetime, moment: int, item: DatedLine) -> None:
        """Append *line* to the file of its time, having begun that if need be."""

    def emit(self, record: LogRecord) -> None:
        """Append *record* to the file of its time."""
        moment = record.moment
        if moment is None:
            raise ValueError("a record without time belongs to no file")
        # What most records show is what their moment shows.
        is_usual = (
            record._time is None and record._is_local is _clock.is_local and self._rolls_as_usual()
        )
        self._deliver((self.format(record), moment, None if is_usual else record), record)

    def _write_line(self, text: Any) -> None:
        item: DatedLine = text
        self._append_dated(self.encode(item[0]), _time_of(item), item[1], item)

    def _put(self) -> Callable[[Any], None] | None:
        if not (self._writes_like(FileHandler) and self._rolls_as_usual()):
            return None
        encode = self._encoder()
        system_write = os.write
        known: IO[Any] | None = None
        fileno: Callable[[], int] = int
        since = until = 0
        shown_format: object = None
        date_format: str | None = None

        def put(item: DatedLine) -> None:
            nonlocal known, fileno, since, until, shown_format, date_format
            text, moment, record = item
            line = encode(text)
            # Between two looks, nothing but the end of the period could matter.
            if (
                since <= moment < until
                and self.stream is known
                and record is None
                and _clock.shown_format is shown_format
                and self.date_format is date_format
            ):
                descriptor = fileno()
                length = len(line)
                if self.max_size is None or (
                    length <= SHORT and has_room(descriptor, self.max_size)
                ):
                    written = system_write(descriptor, line)
                    if written < length:
                        self._append_rest(descriptor, line, written)
                    return
            until = 0
            time = _time_of(item)
            self._append_dated(line, time, moment, item)
            known = self.stream
            if known is not None and record is None:
                fileno = descriptor_of(known)
                shown_format, date_format = _clock.shown_format, self.date_format
                since, until = self._stretch(time, moment)

        return put

    def _stretch(self, time: datetime, moment: int) -> tuple[int, int]:
        """Return from when until when lines simply go to the file that is open."""
        look_at = moment + _LOOK_INTERVAL
        if self.date_format is None:
            return moment - _LOOK_INTERVAL, look_at
        if self._text_of(time) != self._period:
            # A late line says nothing about those that are not.
            return 0, 0
        since, until = stretch_of(time, moment, self.date_format)
        return since, min(until - self._margin, look_at)


def _time_of(item: DatedLine) -> datetime:
    _, moment, record = item
    time = None if record is None else record.time
    return _clock.datetime_of(moment) if time is None else time
