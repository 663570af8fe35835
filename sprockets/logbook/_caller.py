"""The caller: which frame logged, and where that is.

Frames of this package's own machinery are skipped, by the name of their file.  A place is a code
object with the index of an instruction; it does not move on as a frame does, and keeps nothing
alive but the code.
"""

from __future__ import annotations

import os
from types import CodeType, FrameType

from sprockets.logbook._typing import Final, TypeAlias

MACHINERY: Final[set[str]] = set()
"""File names of the code whose frames are never a caller."""

Place: TypeAlias = tuple[CodeType, int]

_MAX_CACHED: Final = 4_096


class Location:
    """Where code is; ``None`` is not known."""

    __slots__ = ("filename", "func_name", "lineno")

    def __init__(self, filename: str | None, lineno: int | None, func_name: str | None) -> None:
        self.filename = filename
        self.lineno = lineno
        self.func_name = func_name


# Keyed by the identity of the code, whose hash is slow; the code beside the location keeps it
# unique.
_locations: dict[tuple[int, int], tuple[Location, CodeType]] = {}
_paths: dict[str, str] = {}


def register(filename: str) -> None:
    """Skip the frames of the file *filename*, a module's ``__file__``, from now on."""
    MACHINERY.add(filename)


def find_caller(frame: FrameType | None) -> FrameType | None:
    """Return *frame*, or the first frame outwards from it that is not machinery."""
    while frame is not None and frame.f_code.co_filename in MACHINERY:
        frame = frame.f_back
    return frame


def place_of(frame: FrameType, correction: int = 0) -> Place | None:
    """Return the place of the caller at or outside of *frame*, *correction* frames further out.

    ``None`` means that there are not as many frames.
    """
    code = frame.f_code
    if correction > 0 or code.co_filename in MACHINERY:
        caller = find_caller(frame)
        for _ in range(correction):
            if caller is None:
                break
            caller = caller.f_back
        if caller is None:
            return None
        frame = caller
        code = frame.f_code
    return code, frame.f_lasti


def locate(code: CodeType, lasti: int) -> Location:
    """Return file, line and function of the instruction at *lasti* of *code*.

    The file is absolute, unless its name is of the form ``<…>``.
    """
    key = (id(code), lasti)
    try:
        return _locations[key][0]
    except KeyError:
        location = Location(_absolute(code.co_filename), _line_at(code, lasti), code.co_name)
        if len(_locations) >= _MAX_CACHED:
            _locations.clear()
        _locations[key] = (location, code)
        return location


def _line_at(code: CodeType, lasti: int) -> int | None:
    if lasti < 0:
        return code.co_firstlineno
    for start, end, line in code.co_lines():
        if start <= lasti < end:
            return line
    return None


def _absolute(filename: str) -> str:
    if filename.startswith("<") and filename.endswith(">"):
        return filename
    path = _paths.get(filename)
    if path is None:
        # A relative name is relative to where the program started: resolve it once and for all.
        path = os.path.abspath(filename)
        if len(_paths) >= _MAX_CACHED:
            _paths.clear()
        _paths[filename] = path
    return path
