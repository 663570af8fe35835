"""Facts: what an entry tells people, beyond its place in a tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from sprockets.eliot._fields import (
    ACTION_STATUS,
    EXCEPTION,
    FAILED,
    IDENTITY,
    MESSAGE_TYPE,
    REASON,
    STDLIB_MESSAGE,
    TASK_LEVEL,
    TASK_UUID,
    TRACEBACK,
    TRACEBACK_MESSAGE,
)
from sprockets.eliot._trees._entry import (
    REQUEST_ID,
    Entry,
    is_message,
    kind_of,
    read_members,
    text_of,
)
from sprockets.logbook._json import FIELDS as RECORD_FIELDS
from sprockets.logbook._levels import LEVEL_NAMES

LOGBOOK_MESSAGE: Final = "logbook:record"
"""The type of the message that a record becomes where it is handed to actions."""

_PLACE: Final = frozenset((TASK_UUID, TASK_LEVEL, REQUEST_ID))
_EXPORTED: Final = frozenset((*RECORD_FIELDS, "level_name", "keep_open", "late"))


@dataclass(slots=True)
class Facts:
    """What an entry tells people.

    Args:
        fields: Everything that has no place of its own here.
        text: The message of a record.
        channel: Where a record came from.
        level_name: How bad it was; empty if that is not known.
        exception: The dotted name of the class, of what ended an action or was logged with it.
        reason: The exception's text.
        traceback: As it was formatted.
        is_record: Whether it is a record, or a message that was made of one.
    """

    fields: dict[str, object] = field(default_factory=dict)
    text: str = ""
    channel: str = ""
    level_name: str = ""
    exception: str = ""
    reason: str = ""
    traceback: str = ""
    is_record: bool = False


def facts_of(entry: Entry) -> Facts:
    """Read the line of *entry* again, for what people see of it."""
    members = read_members(entry.line)
    if members is None:
        return Facts()
    if is_message(members):
        return _facts_of_message(members)
    return _facts_of_record(members, is_record=entry.kind == "record")


def _facts_of_message(members: dict[str, Any]) -> Facts:
    _, name, status = kind_of(members)
    facts = Facts({key: members[key] for key in members if key not in IDENTITY})
    _tidy(facts, name, status)
    return facts


def _tidy(facts: Facts, name: object, status: object) -> None:
    """Give the fields that some types of messages have a place of their own."""
    fields = facts.fields
    if name in (LOGBOOK_MESSAGE, STDLIB_MESSAGE):
        is_ours = name == LOGBOOK_MESSAGE
        facts.is_record = True
        facts.text = text_of(fields.pop("message", ""))
        facts.channel = text_of(fields.pop("channel" if is_ours else "logger", ""))
        facts.level_name = _level_name(fields.pop("level" if is_ours else "log_level", ""))
        extra = fields.pop("extra", None)
        if isinstance(extra, dict):
            fields.update(extra)
        elif extra is not None:
            fields["extra"] = extra
    if status == FAILED or name in (TRACEBACK_MESSAGE, LOGBOOK_MESSAGE, STDLIB_MESSAGE):
        _move_exception(facts)


def _move_exception(facts: Facts) -> None:
    fields = facts.fields
    # A message that was made a record has them in both ways.
    told = [text_of(fields.pop(key, "")) for key in (EXCEPTION, REASON, TRACEBACK)]
    facts.exception = facts.exception or told[0]
    facts.reason = facts.reason or told[1]
    facts.traceback = facts.traceback or told[2]


def _facts_of_record(members: dict[str, Any], *, is_record: bool) -> Facts:
    extra = members.get("extra")
    fields = {key: members[key] for key in members if key not in _EXPORTED}
    if isinstance(extra, dict):
        fields.update(extra)
    for key in _PLACE:
        fields.pop(key, None)
    facts = Facts(
        fields,
        exception=text_of(members.get("exception_name")),
        reason=text_of(members.get("exception_message")),
        traceback=text_of(members.get("formatted_exception")),
    )
    facts.is_record = is_record
    if is_record:
        message = members.get("message")
        facts.text = text_of(members.get("msg") if message is None else message)
        facts.channel = text_of(members.get("channel"))
        facts.level_name = _level_name(members.get("level_name") or members.get("level"))
    else:
        name, status = fields.get(MESSAGE_TYPE), fields.get(ACTION_STATUS)
        for key in IDENTITY:
            fields.pop(key, None)
        _tidy(facts, name, status)
    return facts


def _level_name(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return LEVEL_NAMES.get(value) or f"LEVEL {value}"
    return ""
