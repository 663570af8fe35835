"""Tracebacks: a formatted one taken apart, so that the frames of libraries can be folded away.

Whatever has another form than Python's usual one, such as an exception group, is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

MAX_FRAMES: Final = 200
"""Frames that are shown of a traceback; it says how many there are between."""

_HEAD: Final = "Traceback (most recent call last):"
_GROUP_HEAD: Final = re.compile(r"^\s*\+?\s*Exception Group Traceback|^  \+-", re.MULTILINE)
_FRAME: Final = re.compile(r'  File "(.*)", line ([0-9]+)(?:, in (.*))?')
_REPEATED: Final = re.compile(r"  \[Previous line repeated [0-9]+ more times?\]")
_MARKER: Final = re.compile(r"\s*[~^]+\s*")
_PACKAGES: Final = re.compile(r"[/\\](?:site|dist)-packages[/\\]([^/\\]+)")
_STANDARD: Final = re.compile(
    r"[/\\]lib(?:64)?[/\\]python[0-9.]+t?[/\\]|[/\\]Python[0-9]+[/\\]Lib[/\\]|^<frozen "
)
_RELATIONS: Final = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)


@dataclass(slots=True)
class Frame:
    """A call that was under way.

    Args:
        filename: As it was written.
        lineno: Number of the line.
        function: Its name; empty if none was written.
        library: Name of the library it belongs to; empty for a frame of one's own.
        code: The lines of code that were written under it.
        note: What was written about it besides.
    """

    filename: str
    lineno: int
    function: str
    library: str
    code: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def folder(self) -> str:
        """The part of the file's name that matters less."""
        return self.filename[: len(self.filename) - len(self.basename)]

    @property
    def basename(self) -> str:
        """The part of the file's name that matters more."""
        match = _PACKAGES.search(self.filename)
        if match is not None:
            return self.filename[match.start(1) :]
        return re.split(r"[/\\]", self.filename)[-1]

    @property
    def lines(self) -> Iterator[tuple[str, bool]]:
        """The lines of code, and of each whether it only points at the one before."""
        for line in self.code:
            yield line, _MARKER.fullmatch(line) is not None


@dataclass(frozen=True, slots=True)
class Fold:
    """Frames that stand together.

    Args:
        frames: One or more.
        libraries: Whose they are; none if they are one's own.
        is_open: Whether they are shown at once.
    """

    frames: tuple[Frame, ...]
    libraries: tuple[str, ...]
    is_open: bool

    @property
    def summary(self) -> str:
        """What stands for them as long as they are folded."""
        count = len(self.frames)
        return f"{count} frame{'s' if count != 1 else ''} in {', '.join(self.libraries)}"


@dataclass(frozen=True, slots=True)
class Section:
    """One exception of a chain.

    Args:
        folds: Its frames, the outermost call first.
        error: The exception and its text.
        relation: What it has to do with the one before.
        left_out: Frames that are not shown.
    """

    folds: tuple[Fold, ...]
    error: str
    relation: str = ""
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """A traceback.

    Args:
        sections: The exceptions, the first cause first; none if the text has another form.
        text: As it was formatted.
    """

    sections: tuple[Section, ...]
    text: str


def read_traceback(text: str | None) -> Trace | None:
    """Return what the traceback *text* consists of; None if there is none."""
    if not text or not text.strip():
        return None
    if _GROUP_HEAD.search(text) or _HEAD not in text:
        return Trace((), text)
    sections = tuple(_sections(text.splitlines()))
    return Trace(sections if any(section.folds for section in sections) else (), text)


def library_of(filename: str) -> str:
    """Return the library that a file belongs to; nothing if it is one's own.

    >>> library_of("/srv/venv/lib/python3.11/site-packages/tornado/web.py")
    'tornado'
    >>> library_of("/usr/lib/python3.11/json/decoder.py"), library_of("/srv/shop/pay.py")
    ('Python', '')
    """
    match = _PACKAGES.search(filename)
    if match is not None:
        return match[1].removesuffix(".py")
    return "Python" if _STANDARD.search(filename) else ""


def _sections(lines: list[str]) -> Iterator[Section]:
    frames: list[Frame] = []
    error: list[str] = []
    relation = ""
    is_begun = False
    for line in lines:
        if line == _HEAD:
            if is_begun:
                yield _section(frames, error, relation)
                frames, error, relation = [], [], _relation(error)
            is_begun = True
            continue
        match = None if error else _FRAME.fullmatch(line)
        if match is not None:
            name = match[1]
            frames.append(Frame(name, int(match[2][:9]), match[3] or "", library_of(name)))
        elif frames and not error and line.startswith("    "):
            frames[-1].code.append(line[4:])
        elif frames and not error and _REPEATED.fullmatch(line):
            frames[-1].note = line.strip()[1:-1]
        elif is_begun:
            error.append(line)
    yield _section(frames, error, relation)


def _relation(error: list[str]) -> str:
    """Return how an exception came of the one before, and what the error says before that."""
    return next((line for line in reversed(error) if line in _RELATIONS), "")


def _section(frames: list[Frame], error: list[str], relation: str) -> Section:
    left_out = 0
    if len(frames) > MAX_FRAMES:
        half = MAX_FRAMES // 2
        left_out = len(frames) - 2 * half
        frames = frames[:half] + frames[-half:]
    text = "\n".join(line for line in error if line not in _RELATIONS).strip("\n")
    has_own = any(not frame.library for frame in frames)
    folds = []
    for is_library, found in groupby(frames, lambda frame: bool(frame.library)):
        group = tuple(found)
        libraries = tuple(dict.fromkeys(frame.library for frame in group)) if is_library else ()
        folds.append(Fold(group, libraries, not (is_library and has_own)))
    return Section(tuple(folds), text, relation, left_out)
