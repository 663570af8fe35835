"""Log files: their lines, whatever they are packed in, and what could not be read of them."""

from __future__ import annotations

import gzip
import heapq
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final, TypeAlias

from sprockets.eliot._trees._entry import Entry, read_entry

STDIN: Final = "-"
"""The name under which standard input is read."""

MAX_LINE: Final = 16 << 20
"""Bytes of a line that is read; more is no message."""

_GZIP: Final = b"\x1f\x8b"

LineFilter: TypeAlias = Callable[[bytes], object]
Timed: TypeAlias = tuple[float, Entry]
"""An entry, and its time or that of the one before it."""


class Report:
    """What could not be read, for people.

    Args:
        write: Takes a line at a time.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._first = ""
        self.unread: int = 0
        """Lines that are neither a message nor a record."""
        self.has_failed: bool = False
        """Whether a file could not be read, or not to its end."""

    def say(self, text: str) -> None:
        """Write *text* at once."""
        self._write(text)

    def fail(self, name: str, error: BaseException, number: int | None = None) -> None:
        """Say why *name* cannot be read, or why not beyond line *number*."""
        self.has_failed = True
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        after = "" if number is None else f" breaks off after line {number}"
        self._write(f"{name}{after}: {reason}")

    def reject(self, name: str, number: int) -> None:
        """Count line *number* of *name* as one that is no message."""
        self.unread += 1
        if self.unread == 1:
            self._first = f"line {number} of {name}"

    def close(self) -> None:
        """Say how many lines were no messages, if any."""
        if self.unread == 1:
            self._write(f"1 line is no message: {self._first}")
        elif self.unread:
            self._write(f"{self.unread:,} lines are no messages, the first: {self._first}")


def is_regular(name: str) -> bool:
    """Whether *name* is a file that can be read more than once."""
    try:
        return name != STDIN and stat.S_ISREG(os.stat(name).st_mode)
    except OSError:
        return False


def is_packed(name: str) -> bool:
    """Whether *name* is a file in the format of gzip."""
    if not is_regular(name):
        return False
    try:
        with open(name, "rb") as file:
            return file.read(len(_GZIP)) == _GZIP
    except OSError:
        return False


def shown_name(name: str) -> str:
    """Return what *name* is called in front of people."""
    return "standard input" if name == STDIN else name.encode("utf-8", "replace").decode()


def read_lines(name: str, report: Report) -> Iterator[tuple[int, bytes]]:
    """Return the lines of the file called *name*, with their numbers; gzip is unpacked.

    What cannot be read is told to *report*.
    """
    shown = shown_name(name)
    number = 0
    try:
        with _open(name) as file:
            stream = _unpacked(file)
            while line := stream.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    _skip_line(stream)
                    report.reject(shown, number)
                else:
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        report.fail(shown, error, number or None)


def _open(name: str) -> io.BufferedReader:
    if name == STDIN:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    return open(name, "rb")


def _unpacked(file: io.BufferedReader) -> io.BufferedReader | gzip.GzipFile:
    """Return what is in *file*, which may be a pipe."""
    if file.peek(len(_GZIP))[: len(_GZIP)] != _GZIP:
        return file
    # Not with a buffer around it: that would swallow the last lines before a file breaks off.
    return gzip.GzipFile(fileobj=file, mode="rb")


def _skip_line(stream: io.BufferedReader | gzip.GzipFile) -> None:
    while rest := stream.readline(MAX_LINE):
        if rest.endswith(b"\n"):
            return


def read_entries(
    name: str,
    lines: Iterable[tuple[int, bytes]],
    report: Report,
    may_want: LineFilter | None = None,
) -> Iterator[Timed]:
    """Return what *lines* say; those that say nothing are told to *report*.

    Args:
        name: Of the file.
        lines: With their numbers.
        report: Is told.
        may_want: Lines for which this is false are not looked at.
    """
    time = 0.0
    for number, line in lines:
        if may_want is not None and not may_want(line):
            continue
        entry = read_entry(line)
        if entry is None:
            if not line.isspace():
                report.reject(shown_name(name), number)
            continue
        if entry.time is not None:
            time = entry.time
        yield time, entry


def merge(sources: Sequence[Iterator[Timed]]) -> Iterator[Timed]:
    """Return the entries of all *sources* in the order of their times.

    Each source is taken to be in order already, as logs are up to a moment.
    """
    return sources[0] if len(sources) == 1 else heapq.merge(*sources, key=itemgetter(0))
