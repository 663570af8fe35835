"""The text of a traceback, without source lines: no file is read for it."""

from __future__ import annotations

import sys
import traceback
from types import FrameType, TracebackType


def format_traceback(value: BaseException | None, tb: TracebackType | None) -> str:
    """Return the traceback of *value* and of what led to it, in the standard format.

    Source lines are left out, so that nothing is read from disk and nothing of the source gets
    into a log.
    """
    if value is None:
        return "NoneType: None\n"
    try:
        # Built without its frames: collecting them would look at the files.
        told = traceback.TracebackException(
            type(value), value, tb, limit=0, lookup_lines=False, compact=True
        )
        _add_frames(told, value, tb)
        return "".join(told.format())
    except Exception:  # noqa: BLE001 - the exception misbehaves
        kind = type(value)
        return f"{_HEADER}{_frames(tb)}{kind.__module__}.{kind.__qualname__}\n"


_HEADER = "Traceback (most recent call last):\n"


def _add_frames(
    told: traceback.TracebackException, value: BaseException, tb: TracebackType | None
) -> None:
    """Add the frames to *told*, and to what it tells of the exceptions that led to *value*."""
    # Not by recursion: chains can be longer than that goes.
    left = [(told, value, tb)]
    seen: set[int] = set()
    while left:
        told, value, tb = left.pop()
        if id(told) in seen:
            continue
        seen.add(id(told))
        if tb is not None:
            told.stack = _summary(tb)
        if isinstance(value, SyntaxError):
            # The line that it is about.
            told.text = None  # type: ignore[assignment]  # as it is when there is none
        for other, error in (
            (told.__cause__, value.__cause__),
            (told.__context__, value.__context__),
            *zip(told.exceptions or (), getattr(value, "exceptions", ()), strict=False),
        ):
            if other is not None and error is not None:
                left.append((other, error, error.__traceback__))


def _summary(tb: TracebackType) -> traceback.StackSummary:
    frames = traceback.StackSummary()
    for frame, line in _limited(tb):
        code = frame.f_code
        # A line that is "" is taken for known, and not shown.
        frames.append(
            traceback.FrameSummary(code.co_filename, line, code.co_name, lookup_line=False, line="")
        )
    return frames


def _limited(tb: TracebackType) -> list[tuple[FrameType, int]]:
    pairs = list(traceback.walk_tb(tb))
    limit = getattr(sys, "tracebacklimit", None)
    return pairs if limit is None else pairs[: max(limit, 0)]


def _frames(tb: TracebackType | None) -> str:
    if tb is None:
        return ""
    return "".join(
        f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}\n'
        for frame, line in traceback.walk_tb(tb)
    )
