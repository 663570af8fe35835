"""Files that somebody else has moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sprockets.logbook._logger import Logger
from sprockets.logbook.handlers import FileHandler, Handler


def reopen_files(log: Logger) -> int:
    """Let go of the files of all bound handlers, also of those that others wrap; return how many.

    The next records go to new ones.  Not for a signal handler: it may have interrupted the writing
    of a line.

    Args:
        log: Told which file cannot be opened again.
    """
    count = 0
    for handler in _all_handlers(Handler.stack_manager.iter_context_objects()):
        if isinstance(handler, FileHandler) and handler.stream is not None:
            try:
                handler.reopen()
            except OSError as error:
                log.error("cannot open {} again, writing on: {}", handler.filename, error)
                continue
            count += 1
    return count


def _all_handlers(found: Iterable[Any]) -> list[Handler]:
    """Return the handlers *found*, and all that they keep in their attributes."""
    handlers: dict[int, Handler] = {}
    todo = list(found)
    while todo:
        handler = todo.pop()
        if not isinstance(handler, Handler) or id(handler) in handlers:
            continue
        handlers[id(handler)] = handler
        for value in list(vars(handler).values()):
            if isinstance(value, (list, tuple)):
                todo += value
            elif isinstance(value, Mapping):
                todo += value.values()
            else:
                todo.append(value)
    return list(handlers.values())
