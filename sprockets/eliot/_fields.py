"""The names that every message is made of, spelled as readers of Eliot's messages know them."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Message: TypeAlias = dict[str, Any]
"""One message: what is written as one JSON object."""

TASK_UUID: Final = "task_uuid"
TASK_LEVEL: Final = "task_level"
TIMESTAMP: Final = "timestamp"
MESSAGE_TYPE: Final = "message_type"
ACTION_TYPE: Final = "action_type"
ACTION_STATUS: Final = "action_status"
EXCEPTION: Final = "exception"
REASON: Final = "reason"
TRACEBACK: Final = "traceback"

STARTED: Final = "started"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"

TRACEBACK_MESSAGE: Final = "eliot:traceback"
REMOTE_TASK: Final = "eliot:remote_task"
DESTINATION_FAILURE: Final = "eliot:destination_failure"
SERIALIZATION_FAILURE: Final = "eliot:serialization_failure"
STDLIB_MESSAGE: Final = "eliot:stdlib"

IDENTITY: Final = frozenset(
    (TASK_UUID, TASK_LEVEL, TIMESTAMP, MESSAGE_TYPE, ACTION_TYPE, ACTION_STATUS)
)
"""Says which message it is, and of what: always ours."""

_UNKNOWN: Final = "eliot: unknown, str() raised exception"


def safe_text(value: object) -> str:
    """Return ``str(value)``, or a text that says that it failed."""
    try:
        return str.__str__(str(value))
    except Exception:  # noqa: BLE001 - the text says it
        return _UNKNOWN


def safe_repr(value: object) -> str:
    """Return ``repr(value)``, or a text that says that it failed."""
    try:
        return str.__str__(repr(value))
    except Exception:  # noqa: BLE001 - the text says it
        return _UNKNOWN


def describe_message(message: Message) -> str:
    """Return *message* as text that can always be written, whatever is in it."""
    return str({safe_repr(key): safe_repr(value) for key, value in list(message.items())})
