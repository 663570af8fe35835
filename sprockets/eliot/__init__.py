"""Actions: messages in a tree of cause and effect, across tasks, threads and processes."""

from typing import TYPE_CHECKING, Any

from sprockets.eliot._action import (
    Action,
    current_action,
    log_message,
    preserve_context,
    start_action,
    start_task,
    startAction,
    startTask,
)
from sprockets.eliot._context import use_asyncio_context
from sprockets.eliot._destinations import (
    add_destination,
    add_destinations,
    add_global_fields,
    remove_destination,
    statistics,
)
from sprockets.eliot._errors import register_exception_extractor
from sprockets.eliot._files import FileDestination, to_file
from sprockets.eliot._logger import ILogger, Logger
from sprockets.eliot._traceback import (
    write_failure,
    write_traceback,
    writeFailure,
    writeTraceback,
)
from sprockets.eliot.errors import TooManyCalls, ValidationError

if TYPE_CHECKING:
    from sprockets.eliot._calls import log_call
    from sprockets.eliot._memory_logger import MemoryLogger
    from sprockets.eliot._message import Message
    from sprockets.eliot._types import ActionType, Field, MessageType, fields

    __version__: str

addDestination = add_destination
addGlobalFields = add_global_fields
removeDestination = remove_destination

__all__ = [
    "Action",
    "ActionType",
    "Field",
    "FileDestination",
    "ILogger",
    "Logger",
    "MemoryLogger",
    "Message",
    "MessageType",
    "TooManyCalls",
    "ValidationError",
    "addDestination",
    "addGlobalFields",
    "add_destination",
    "add_destinations",
    "add_global_fields",
    "current_action",
    "fields",
    "log_call",
    "log_message",
    "preserve_context",
    "register_exception_extractor",
    "removeDestination",
    "remove_destination",
    "startAction",
    "startTask",
    "start_action",
    "start_task",
    "statistics",
    "to_file",
    "use_asyncio_context",
    "writeFailure",
    "writeTraceback",
    "write_failure",
    "write_traceback",
]

# Imported when they are first asked for: a service that only starts actions needs none of them.
_LAZY = {
    "ActionType": "_types",
    "Field": "_types",
    "MemoryLogger": "_memory_logger",
    "Message": "_message",
    "MessageType": "_types",
    "fields": "_types",
    "log_call": "_calls",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sprockets.http")
    if name in _LAZY:
        from importlib import import_module

        found = getattr(import_module(f"sprockets.eliot.{_LAZY[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
