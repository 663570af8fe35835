"""Following: lines that are written to a file from now on, whatever becomes of the file.

A log file that is rotated is read to its end, and then the new one from its start; one that is
truncated is read from its start.  One that is not there yet is waited for.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from sprockets.commands._log_files import (
    MAX_LINE,
    STDIN,
    LineFilter,
    Report,
    Timed,
    is_packed,
    merge,
    read_entries,
    read_lines,
    shown_name,
)
from sprockets.eliot._trees._entry import Entry

_CHUNK: Final = 1 << 18


class _Lines:
    """Cuts what was read into lines, of which the last may go on."""

    def __init__(self, name: str, report: Report) -> None:
        self._name = shown_name(name)
        self._report = report
        self._pieces: list[bytes] = []
        self._length = 0
        self._number = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Return the lines that *data* completes, with their numbers."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._keep(data[start : end + 1])
            yield from self.flush()
            start = end + 1
        if start < len(data):
            self._keep(data[start:])

    def flush(self) -> Iterator[tuple[int, bytes]]:
        """Return what there is of the last line, as nothing will follow it."""
        if not self._length:
            return
        self._number += 1
        line, length = b"".join(self._pieces), self._length
        self._pieces, self._length = [], 0
        if length > MAX_LINE:
            self._report.reject(self._name, self._number)
        else:
            yield self._number, line

    def restart(self) -> Iterator[tuple[int, bytes]]:
        """Do the same, and count from the start."""
        yield from self.flush()
        self._number = 0

    def _keep(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length <= MAX_LINE:
            self._pieces.append(piece)
        else:
            self._pieces.clear()


class FollowedFile:
    """A file that others write to.

    Args:
        name: Its path.
        report: Is told what cannot be read.
        at_end: Whether to leave out what is there already.
    """

    is_over: bool = False
    """Whether no more can come."""

    def __init__(self, name: str, report: Report, *, at_end: bool = False) -> None:
        self._name = name
        self._report = report
        self._lines = _Lines(name, report)
        self._file: int | None = None
        self._failure = ""
        if self._open() and at_end:
            assert self._file is not None
            os.lseek(self._file, 0, os.SEEK_END)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Return the lines that are there by now and were not returned before."""
        if self._file is None and not self._open():
            return
        yield from self._read()
        while self._has_been_replaced():
            # Its writers may have had it open until a moment ago.
            yield from self._read()
            yield from self._lines.restart()
            self.close()
            if not self._open():
                return
            yield from self._read()

    def _open(self) -> bool:
        try:
            self._file = os.open(self._name, os.O_RDONLY | os.O_CLOEXEC)
            if os.path.isdir(self._name):
                self.close()
                raise IsADirectoryError(21, "Is a directory")
        except OSError as error:
            # Once for each reason, not five times a second.
            if self._failure != str(error):
                self._failure = str(error)
                self._report.say(f"{self._name}: {error.strerror}; waiting for it")
            return False
        self._failure = ""
        return True

    def _read(self) -> Iterator[tuple[int, bytes]]:
        assert self._file is not None
        if os.fstat(self._file).st_size < os.lseek(self._file, 0, os.SEEK_CUR):
            yield from self._lines.restart()
            os.lseek(self._file, 0, os.SEEK_SET)
        while data := os.read(self._file, _CHUNK):
            yield from self._lines.feed(data)

    def _has_been_replaced(self) -> bool:
        assert self._file is not None
        try:
            there = os.stat(self._name)
        except OSError:
            return False  # between the two; the old one is still read
        here = os.fstat(self._file)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)


class FollowedStream:
    """Standard input, read as it comes."""

    def __init__(self, report: Report) -> None:
        self._file = sys.stdin.fileno()
        self._lines = _Lines(STDIN, report)
        self.is_over: bool = False
        """Whether no more can come."""

    def close(self) -> None:
        """Leave it open: it is not ours."""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Return the lines that are there by now and were not returned before."""
        while not self.is_over and select.select([self._file], [], [], 0)[0]:
            data = os.read(self._file, _CHUNK)
            if not data:
                self.is_over = True
                yield from self._lines.flush()
                return
            yield from self._lines.feed(data)


def follow(
    names: Sequence[str],
    report: Report,
    may_want: LineFilter | None,
    *,
    at_end: bool,
    caught_up: Callable[[], None],
    wait: Callable[[], None],
) -> Iterator[Entry | None]:
    """Return the entries of all files as they come, and None each time there are no more yet.

    Args:
        names: Of the files; packed ones are read, and not followed.
        report: Is told what cannot be read.
        may_want: Lines for which this is false are not looked at.
        at_end: Whether to leave out what is there already.
        caught_up: Called once, when that has been read.
        wait: Called before each look at the files but the first.
    """
    packed = [name for name in names if is_packed(name)]
    followed = {
        name: FollowedStream(report) if name == STDIN else FollowedFile(name, report, at_end=at_end)
        for name in names
        if name not in packed
    }

    def new(name: str) -> Iterator[Timed]:
        return read_entries(name, followed[name].lines(), report, may_want)

    with contextlib.ExitStack() as stack:
        for file in followed.values():
            stack.callback(file.close)
        if not at_end:
            sources = [new(name) for name in followed]
            sources += [
                read_entries(name, read_lines(name, report), report, may_want) for name in packed
            ]
            for _, entry in merge(sources):
                yield entry
        caught_up()
        while True:
            yield None
            if all(file.is_over for file in followed.values()):
                return
            wait()
            for name in followed:
                for _, entry in new(name):
                    yield entry
