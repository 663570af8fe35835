"""Tracebacks: the text of ``traceback.format_exception``, with the lines of each frame kept.

Where an exception passes, it passes again: what a frame looks like in a traceback is rendered once
for each place in the code.  Only what the standard library writes without a second thought is
written here; everything unusual (groups, syntax errors, suggestions, odd notes) is left to it.
"""

from __future__ import annotations

import sys
from itertools import islice
from types import CodeType, TracebackType

from sprockets.logbook._text import MAX_MESSAGE, cut, escape_block, escape_line
from sprockets.logbook._typing import TYPE_CHECKING, TypeAlias

# Imported where it is needed: with what it brings, it costs more than all the rest of the package.
if TYPE_CHECKING:
    import traceback

ExcInfo: TypeAlias = (
    "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"
)

_CACHED_FRAMES = 1_024
_CACHED_LENGTH = 4_096
_REPEATED = 3  # The standard library writes a repeated frame as often, then counts.
_STDLIB_PARTS = 8

_HEADER = "Traceback (most recent call last):\n"
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
_FAILED = "<exception str() failed>"


class _Frame:
    """What a traceback says of one place in the code."""

    __slots__ = ("code", "place", "safe_text", "text")

    def __init__(
        self, code: CodeType, text: str, safe_text: str, place: tuple[str, int, str] | None
    ) -> None:
        # Keeps the id that the cache goes by from being used again.
        self.code = code
        self.text = text
        self.safe_text = safe_text
        self.place = place


# By the identity of the code object: equal code from two files is not the same place.
_frames: dict[tuple[int, int], _Frame] = {}


def format_exception(exc_info: ExcInfo, *, one_line_messages: bool = False) -> str:
    """Return the traceback of *exc_info* as text, trailing whitespace removed.

    The text is that of ``"".join(traceback.format_exception(*exc_info)).rstrip()``, with one
    difference: a source line is shown as it was when the frame was first rendered, even if the
    file has been changed since, for the old line is the one that runs.

    Never raises, whatever the exceptions do; only what is no `Exception` passes.

    Args:
        exc_info: As returned by `sys.exc_info`.
        one_line_messages: Whether line breaks inside messages and notes are escaped, so that a
            message cannot pass for lines of the log.  All other control characters are then
            escaped too, and a message is cut at 64 kB.
    """
    _, value, tb = exc_info
    text = None
    if value is not None and not hasattr(sys, "tracebacklimit"):
        try:
            text = _format_chain(value, tb, one_line=one_line_messages)
        except Exception:  # noqa: BLE001  # an exception misbehaves: text stays None
            text = None
    if text is not None:
        return text
    try:
        return _format_by_stdlib(value, tb, one_line=one_line_messages)
    except Exception:  # noqa: BLE001  # it misbehaves there too
        try:
            return _format_last_resort(value, tb, one_line=one_line_messages)
        except Exception:  # noqa: BLE001  # no stack or no memory left: no calls from here on
            return "<the traceback cannot be written>"


def exception_name(exc: BaseException) -> str:
    """Return the module and the simple class name of *exc*, such as ``builtins.KeyError``."""
    kind = type(exc)
    try:
        return f"{kind.__module__}.{kind.__name__}"
    except Exception:  # noqa: BLE001  # the text says it
        return "<unknown>.<unknown>"


def exception_message(exc: BaseException) -> str:
    """Return ``str(exc)``, or the text a traceback shows if that raises."""
    try:
        return str.__str__(str(exc))
    except Exception:  # noqa: BLE001  # the text says it
        return _FAILED


# --- the usual ------------------------------------------------------------------------------------


def _format_chain(value: BaseException, tb: TracebackType | None, *, one_line: bool) -> str | None:
    """Return the text of *value* and what led to it, None if the stdlib is to write it."""
    sections = [(value, tb, "")]
    cause, context = value.__cause__, value.__context__
    if cause is not None or context is not None:
        if not _collect_chain(value, sections):
            return None
    elif isinstance(value, BaseExceptionGroup):
        return None
    parts: list[str] = []
    by_stdlib = 0
    for exc, exc_tb, leads_to in reversed(sections):
        if exc_tb is not None:
            parts.append(_HEADER)
            _add_frames(exc_tb, parts, one_line=one_line)
        usual = _usual_text(exc, one_line=one_line)
        if usual is None:
            by_stdlib += 1
            if by_stdlib > _STDLIB_PARTS:  # Each of them walks the rest of the chain.
                return None
            usual = _unusual_text(exc, exc_tb, one_line=one_line)
        parts.append(usual)
        parts.append(leads_to)
    return "".join(parts).rstrip()


def _collect_chain(
    value: BaseException, sections: list[tuple[BaseException, TracebackType | None, str]]
) -> bool:
    """Append what led to *value* to *sections*, latest first; False if there is a group in it."""
    seen = {id(value)}
    exc: BaseException = value
    while True:
        if isinstance(exc, BaseExceptionGroup):
            return False
        # An exception that is false has no chain in the standard library.
        if not exc:  # type: ignore[truthy-bool]  # a subclass may say so
            return True
        before = exc.__cause__
        leads_to = _CAUSE
        if before is None or id(before) in seen:
            before = exc.__context__
            leads_to = _CONTEXT
            if before is None or exc.__suppress_context__ or id(before) in seen:
                return True
        seen.add(id(before))
        sections.append((before, before.__traceback__, leads_to))
        exc = before


def _add_frames(tb: TracebackType | None, parts: list[str], *, one_line: bool) -> None:
    last: tuple[str, int, str] | None = None
    count = 0
    while tb is not None:
        frame = _frames.get((id(tb.tb_frame.f_code), tb.tb_lasti)) or _render(tb)
        place = frame.place
        if place is None or place != last:
            if count > _REPEATED:
                parts.append(_repetitions(count))
            last = place
            count = 0
        count += 1
        if count <= _REPEATED:
            parts.append(frame.safe_text if one_line else frame.text)
        tb = tb.tb_next
    if count > _REPEATED:
        parts.append(_repetitions(count))


def _repetitions(count: int) -> str:
    count -= _REPEATED
    return f"  [Previous line repeated {count} more time{'s' if count > 1 else ''}]\n"


def _render(tb: TracebackType) -> _Frame:
    """Have the standard library write the frame of *tb*; keep the text if it will do again."""
    import traceback

    code = tb.tb_frame.f_code
    stack = traceback.extract_tb(tb, limit=1)
    (summary,) = stack
    text = "".join(stack.format())
    safe_text = text
    for name in (summary.filename, summary.name):
        if not name.isprintable():
            safe_text = safe_text.replace(name, escape_line(name))
    safe_text = escape_block(safe_text)
    place = None if summary.lineno is None else (summary.filename, summary.lineno, summary.name)
    frame = _Frame(code, text, text if safe_text == text else safe_text, place)
    # A traceback put together by hand may say any line where the code says none.
    if len(text) <= _CACHED_LENGTH and _has_line(code, tb.tb_lasti):
        if len(_frames) >= _CACHED_FRAMES:
            for key in list(islice(_frames, _CACHED_FRAMES // 2)):
                _frames.pop(key, None)
        _frames[id(code), tb.tb_lasti] = frame
    return frame


def _has_line(code: CodeType, lasti: int) -> bool:
    if lasti < 0:
        return False
    position = next(islice(code.co_positions(), lasti // 2, None), None)
    return position is not None and position[0] is not None


def _usual_text(exc: BaseException, *, one_line: bool) -> str | None:
    """Return the last lines of a traceback, None if the standard library shall write them."""
    kind = type(exc)
    if issubclass(kind, _SPECIAL) and _is_special(exc):
        return None
    notes = getattr(exc, "__notes__", None)
    if notes is not None and (
        type(notes) is not list or any(type(note) is not str for note in notes)
    ):
        return None
    try:
        message = str(exc)
    except Exception:  # noqa: BLE001  # the text says it
        message = _FAILED
    module = kind.__module__
    name = kind.__qualname__
    if module != "builtins" and module != "__main__":
        # Metaclasses and class bodies can say anything.
        name = f"{module if type(module) is str else '<unknown>'}.{name}"
    if one_line:
        message = _in_one_line(message)
        name = _in_one_line(name)
        notes = notes and [_in_one_line(note) for note in notes]
    text = f"{name}: {message}\n" if message else f"{name}\n"
    return text + "".join([f"{note}\n" for note in notes]) if notes else text


# What the standard library writes more about than its message.
_SPECIAL: tuple[type[BaseException], ...] = (
    (SyntaxError,)
    if sys.version_info < (3, 12)
    else (AttributeError, ImportError, NameError, SyntaxError)
)


def _is_special(exc: BaseException) -> bool:
    if isinstance(exc, SyntaxError):
        return True
    if isinstance(exc, ImportError):
        return getattr(exc, "name_from", None) is not None
    return getattr(exc, "name", None) is not None


def _in_one_line(text: str) -> str:
    """Return *text* without line breaks, at most 64 kB of it."""
    if len(text) <= MAX_MESSAGE and text.isprintable():
        return text
    start = text[: MAX_MESSAGE + 1]
    escaped = escape_block(start).replace("\n", "\\n")
    return cut(escaped, missing=len(text) - len(start))


# --- the unusual ----------------------------------------------------------------------------------


def _unusual_text(exc: BaseException, tb: TracebackType | None, *, one_line: bool) -> str:
    import traceback

    described = traceback.TracebackException(
        type(exc), exc, tb, limit=0, lookup_lines=False, compact=True
    )
    if not one_line:
        return "".join(described.format_exception_only())
    _tame(described)
    return "".join(
        f"{_in_one_line(line.removesuffix(chr(10)))}\n"
        for line in described.format_exception_only()
    )


def _format_by_stdlib(value: object, tb: TracebackType | None, *, one_line: bool) -> str:
    import traceback

    described = traceback.TracebackException(
        type(value),  # type: ignore[arg-type]  # as the standard library calls it, None included
        value,  # type: ignore[arg-type]  # likewise
        tb,
        compact=True,
    )
    if not one_line:
        return "".join(described.format()).rstrip()
    todo = [described]
    while todo:
        one = todo.pop()
        _tame(one)
        todo += [other for other in (one.__cause__, one.__context__) if other is not None]
        todo += one.exceptions or ()
    return escape_block("".join(described.format())).rstrip()


def _tame(described: traceback.TracebackException) -> None:
    """Escape the line breaks in everything that an exception says itself."""
    for name in ("_str", "msg", "text", "filename"):
        text = getattr(described, name, None)
        if isinstance(text, str):
            setattr(described, name, _in_one_line(text.removesuffix("\n")))
    notes = getattr(described, "__notes__", None)
    if notes is not None:
        if not isinstance(notes, (list, tuple)):
            notes = [repr(notes)]
        described.__notes__ = [_in_one_line(_note_text(note)) for note in notes]
    for frame in described.stack:
        frame.filename = escape_line(frame.filename)
        frame.name = escape_line(frame.name)


def _note_text(note: object) -> str:
    try:
        return str(note)
    except Exception:  # noqa: BLE001  # the text says it
        return "<note str() failed>"


def _format_last_resort(value: object, tb: TracebackType | None, *, one_line: bool) -> str:
    """Return what is left to say: where it happened, and what it was."""
    parts: list[str] = []
    try:
        if tb is not None:
            parts.append(_HEADER)
            _add_frames(tb, parts, one_line=one_line)
    except Exception:  # noqa: BLE001  # the text says it
        parts.append("  <frames cannot be shown>\n")
    name = type.__getattribute__(type(value), "__qualname__")
    message = exception_message(value) if isinstance(value, BaseException) else ""
    if one_line:
        message = _in_one_line(message)
    return "".join([*parts, f"{name}: {message}"]).rstrip()
