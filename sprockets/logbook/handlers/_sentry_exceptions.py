"""Exceptions as Sentry shows them: with the sources and, if wanted, the variables of their frames.

Source: develop.sentry.dev, "Exception Interface", "Stack Trace Interface".
"""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sprockets.logbook import _caller
from sprockets.logbook._text import cut
from sprockets.logbook._traceback import exception_message
from sprockets.logbook.handlers._plain import clean, name_of
from sprockets.logbook.record import resolve_exc_info

if TYPE_CHECKING:
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

ShowVariable: TypeAlias = Callable[[str, object], str]

MAX_FRAMES: Final = 100
MAX_EXCEPTIONS: Final = 50
MAX_TEXT: Final = 8_192
"""Characters of a text in an event."""

_CONTEXT_LINES: Final = 5
_MAX_CONTEXT_LINE: Final = 512


def exceptions_of(record: LogRecord, show: ShowVariable | None) -> list[dict[str, Any]]:
    """Return the record's exception and those behind it, the oldest first.

    Args:
        record: Its exception may be there, or only what is known of it.
        show: Makes text of a local variable; ``None`` leaves them out.
    """
    exc_info = resolve_exc_info(record.exc_info)
    if exc_info is None:
        if record.exception_name is None:
            return []
        module, _, name = record.exception_name.rpartition(".")
        value = {"type": name, "value": clean(cut(record.exception_message or "", MAX_TEXT))}
        return [{**value, "module": module} if module else value]
    values: list[dict[str, Any]] = []
    seen: set[int] = set()
    todo: list[tuple[BaseException, TracebackType | None, int | None, str]] = [
        (exc_info[1], exc_info[2], None, "")
    ]
    while todo and len(values) < MAX_EXCEPTIONS:
        error, tb, parent, source = todo.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        number = len(values)
        values.append(_exception(error, _frames(tb, show), number, parent, source))
        if isinstance(error, BaseExceptionGroup):
            for index, inner in reversed(list(enumerate(error.exceptions))):
                todo.append((inner, inner.__traceback__, number, f"exceptions[{index}]"))
        cause, origin = error.__cause__, "__cause__"
        if cause is None and not error.__suppress_context__:
            cause, origin = error.__context__, "__context__"
        if cause is not None:
            todo.append((cause, cause.__traceback__, number, origin))
    values.reverse()
    return values


def _exception(
    error: BaseException,
    frames: list[dict[str, Any]],
    number: int,
    parent: int | None,
    source: str,
) -> dict[str, Any]:
    mechanism: dict[str, Any] = {
        "type": "chained" if parent is not None else "sprockets.logbook",
        "handled": True,
        "exception_id": number,
    }
    if parent is not None:
        mechanism.update(parent_id=parent, source=source)
    if isinstance(error, BaseExceptionGroup):
        mechanism["is_exception_group"] = True
    value: dict[str, Any] = {
        "type": type(error).__qualname__,
        "value": clean(cut(exception_message(error), MAX_TEXT)),
        "mechanism": mechanism,
    }
    # Class bodies can say anything.
    module: object = type(error).__module__
    if isinstance(module, str) and module != "builtins":
        value["module"] = clean(module)
    if frames:
        value["stacktrace"] = {"frames": frames}
    return value


def _frames(tb: TracebackType | None, show: ShowVariable | None) -> list[dict[str, Any]]:
    places = []
    while tb is not None:
        places.append((tb.tb_frame, tb.tb_lineno))
        tb = tb.tb_next
    if len(places) > MAX_FRAMES:
        # Where it began and where it ended; what repeats is in between.
        half = MAX_FRAMES // 2
        places = [*places[:half], *places[-half:]]
    return [_frame(frame, lineno, show) for frame, lineno in places]


def _frame(frame: Any, lineno: int | None, show: ShowVariable | None) -> dict[str, Any]:
    code = frame.f_code
    module = frame.f_globals.get("__name__")
    module = module if isinstance(module, str) else None
    path = code.co_filename
    shown: dict[str, Any] = {
        "filename": clean(_short_path(path, module)),
        "abs_path": clean(path),
        "function": clean(code.co_qualname),
        "in_app": _is_in_app(path),
    }
    if module is not None:
        shown["module"] = clean(module)
    if lineno is not None:
        shown["lineno"] = lineno
        lines = _lines(path, frame.f_globals)
        if 0 < lineno <= len(lines):
            first = max(lineno - 1 - _CONTEXT_LINES, 0)
            shown["pre_context"] = [_source(line) for line in lines[first : lineno - 1]]
            shown["context_line"] = _source(lines[lineno - 1])
            after = lines[lineno : lineno + _CONTEXT_LINES]
            shown["post_context"] = [_source(line) for line in after]
    if show is not None:
        shown["vars"] = {
            name_of(name): show(name, value)
            for name, value in islice(list(frame.f_locals.items()), 100)
        }
    return shown


def _lines(path: str, names: dict[str, Any]) -> list[str]:
    try:
        return linecache.getlines(path, names)
    except Exception:  # noqa: BLE001 - a loader may raise anything; the frame is told without
        return []


def _source(line: str) -> str:
    return clean(line.rstrip("\r\n")[:_MAX_CONTEXT_LINE])


@cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(
        {os.path.join(paths[name], "") for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    )


_OURS: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


def _is_in_app(path: str) -> bool:
    """Return whether a frame is of the program rather than of a library."""
    if path.startswith(("<", _OURS)):
        return False
    return not (path.startswith(_library_folders()) or f"{os.sep}site-packages{os.sep}" in path)


def _short_path(path: str, module: str | None) -> str:
    """Return *path* from the folder on that Python imports *module* from, as Sentry shows it."""
    if module is None:
        return path
    package = module.partition(".")[0]
    origin = getattr(sys.modules.get(package), "__file__", None)
    if not isinstance(origin, str) or module == package:
        return os.path.basename(path)
    root = os.path.dirname(os.path.dirname(origin))
    return path[len(root) + 1 :] if path.startswith(os.path.join(root, "")) else path
