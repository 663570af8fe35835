"""Tracebacks, read from their text: which exceptions led to which, and through whose code.

The text is all there is of a record that came by way of a queue, so it is what is read of every
record.  What varies between releases of Python, between lines, and between depths of a recursion
is evened out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

MAX_TEXT: Final = 256 << 10
"""Characters of a traceback that are looked at, half of them at its end."""
MAX_SECTIONS: Final = 20
"""Exceptions of a chain or a group that are told apart, the last ones."""

_HEADERS: Final = frozenset(
    ("Traceback (most recent call last):", "Exception Group Traceback (most recent call last):")
)
_SEPARATORS: Final = frozenset(
    (
        "The above exception was the direct cause of the following exception:",
        "During handling of the above exception, another exception occurred:",
    )
)
_GROUP: Final = "Exception Group Traceback (most recent call last):"
_REPEATED: Final = "  [Previous line repeated "
_INLINED: Final = frozenset(("<listcomp>", "<dictcomp>", "<setcomp>"))
_PRINTED: Final = 3
_BRACKETS: Final = ("()", "[]", "{}")


@dataclass(slots=True)
class Frame:
    """A call in a traceback.

    Args:
        filename: As the traceback has it.
        function: Name of the function.
        source: The line, ``""`` if it is not shown.
        marked: The part of it that failed, if that is shown and is not all of it.
        times: How often it is there, one after the other.
    """

    filename: str
    function: str
    source: str = ""
    marked: str = ""
    times: int = 1


@dataclass(slots=True)
class Section:
    """An exception, with the calls that led to it, the outermost first."""

    type: str = ""
    frames: list[Frame] = field(default_factory=list)


@lru_cache(maxsize=1)
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    return (
        re.compile(r'  File "(.{1,4096})", line \d{1,10}, in (.{1,1024})$'),
        re.compile(r"([^\W\d][\w.<>]{0,300})(?::.*)?$", re.DOTALL),
        re.compile(r"  \[Previous line repeated (\d{1,9}) more times?\]$"),
    )


def sections_of(text: str, message: str | None = None) -> list[Section]:
    """Return the exceptions of a traceback, the first that happened first.

    Args:
        text: The traceback.
        message: What the last exception says.  It is left out of account, so that it cannot pass
            for a traceback.
    """
    if message and "\n" in message:
        begin = text.rfind(f": {message.rstrip()}")
        if begin >= 0:
            text = text[:begin]
    if len(text) > MAX_TEXT:
        half = MAX_TEXT // 2
        text = f"{text[:half]}\n{text[-half:]}"
    reader = _Reader(is_group=_GROUP in text)
    for line in text.split("\n"):
        reader.read(line)
    return reader.sections[-MAX_SECTIONS:]


class _Reader:
    """Reads a traceback line by line."""

    def __init__(self, is_group: bool) -> None:
        self.sections: list[Section] = []
        self._is_group = is_group
        self._frames: list[Frame] = []
        self._last: Frame | None = None
        # Whether an exception is to come, with or without calls before it.
        self._is_expecting = True
        self._is_in_frames = False
        self._has_marks = False

    def read(self, line: str) -> None:
        if self._is_group:
            line = _without_margin(line)
        if line in _HEADERS:
            self._frames = []
            self._last = None
            self._is_in_frames = True
            self._is_expecting = True
        elif line in _SEPARATORS:
            self._is_expecting = True
        elif self._is_in_frames and line.startswith("  "):
            self._read_frame(line)
        elif self._is_expecting and line and not line[0].isspace():
            self._end(line)

    def _read_frame(self, line: str) -> None:
        is_frame, _, is_repeated = _patterns()
        last = self._last
        if line.startswith("    "):
            if last is not None:
                self._read_source(last, line[4:])
        elif match := is_frame.match(line):
            self._last = Frame(match[1], match[2])
            self._has_marks = False
            self._frames.append(self._last)
        elif line.startswith(_REPEATED) and last is not None:
            match = is_repeated.match(line)
            if match:
                last.times += int(match[1])
        else:
            # Where the source is wrong, or a line that nobody knows.
            self._last = None

    def _read_source(self, frame: Frame, text: str) -> None:
        if not frame.source:
            frame.source = text
        elif not self._has_marks:
            # Later ones are of further lines of the same statement, which not all releases show.
            self._has_marks = True
            marks = text.rstrip()
            if marks and not marks.strip(" ~^") and frame.source.isascii():
                begin = len(marks) - len(marks.lstrip())
                marked = frame.source[begin : len(marks)].strip()
                # What goes on in the next line is not marked by all releases.
                if all(marked.count(one) == marked.count(other) for one, other in _BRACKETS):
                    frame.marked = marked

    def _end(self, line: str) -> None:
        match = _patterns()[1].match(line)
        self.sections.append(Section(match[1] if match else "", _evened(self._frames)))
        self._frames = []
        self._last = None
        self._is_in_frames = False
        self._is_expecting = False


def _without_margin(line: str) -> str:
    bare = line.lstrip(" ")
    if bare.startswith(("| ", "+ ")):
        return bare[2:]
    if bare.startswith("+-"):
        return ""
    return line


def _evened(frames: list[Frame]) -> list[Frame]:
    """Return *frames* with comprehensions as part of their functions, as from Python 3.12 on."""
    evened: list[Frame] = []
    for frame in frames:
        before = evened[-1] if evened else None
        if before is not None and frame.function in _INLINED and frame.filename == before.filename:
            before.source, before.marked = frame.source, frame.marked
        else:
            evened.append(frame)
    return evened


def collapsed(section: Section) -> list[Frame]:
    """Return the calls of *section*, each once, however deep a recursion was.

    Where that is what went wrong, calls are left out that are not part of it and came after it had
    begun: it might have ended in any of them.
    """
    found: dict[tuple[str, str, str], Frame] = {}
    counts: dict[tuple[str, str, str], int] = {}
    for frame in section.frames:
        key = (frame.filename, frame.function, frame.source)
        counts[key] = counts.get(key, 0) + frame.times
        known = found.setdefault(key, frame)
        if known.times > 1 or known is not frame:
            # Which of the repeated calls are shown depends on the depth, and so do their marks.
            known.marked = ""
    if section.type != "RecursionError":
        return list(found.values())
    kept: list[Frame] = []
    has_begun = False
    for key, frame in found.items():
        is_part = counts[key] > _PRINTED
        has_begun = has_begun or is_part
        if is_part or not has_begun:
            kept.append(frame)
    return kept
