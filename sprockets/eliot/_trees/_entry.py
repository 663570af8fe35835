"""Entries: what a line of a log says, whether it is a message of ours or a record.

A line is read twice.  `read_entry` takes from it what finds its place in a tree; what people see
is read again from the same line, once somebody does.  Between the two an entry is little more than
its line, so that many fit into memory.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from sprockets.eliot._fields import (
    ACTION_STATUS,
    ACTION_TYPE,
    FAILED,
    MESSAGE_TYPE,
    STARTED,
    SUCCEEDED,
    TASK_LEVEL,
    TASK_UUID,
    TIMESTAMP,
)

Kind: TypeAlias = Literal["start", "end", "message", "record"]
TaskLevel: TypeAlias = tuple[int, ...]

MAX_DEPTH: Final = 1_000
"""Numbers that a task level may have; actions are not nested that deep, attacks are."""

REQUEST: Final = "http:request"
"""The type of the action that a request is."""

REQUEST_ID: Final = "request_id"

_DURATION: Final = "duration"
_ACCESS_LOG: Final = "tornado.access"
_STATUSES: Final = frozenset((STARTED, SUCCEEDED, FAILED))
# Past the year 9998, local times overflow.
_LAST_TIME: Final = 253_370_000_000.0

_decode = json.JSONDecoder().raw_decode


@dataclass(slots=True, eq=False)
class Entry:
    """A line, and what finds its place.

    Args:
        kind: The start or the end of an action, a message with a number of its own, or a record,
            which has none.
        task_uuid: Of the task it belongs to; empty if it belongs to none.
        level: Its own, or the level of the action in which a record was made.
        time: Seconds since the epoch, if it says.
        name: The type of the action or message, or the channel.
        status: Of the action, if it starts or ends one.
        request_id: Of the request in which it was written, if it says.
        duration: Seconds, if the end of an action says how long that was.
        is_told_as_record: Whether it is a message that took the way of records.
        line: What it was read from.
    """

    kind: Kind
    task_uuid: str
    level: TaskLevel
    time: float | None
    name: str
    status: str
    request_id: str
    duration: float | None
    is_told_as_record: bool
    line: bytes

    @property
    def action_level(self) -> TaskLevel:
        """The level of the action that it starts, ends or belongs to."""
        return self.level if self.kind == "record" else self.level[:-1]


def read_entry(line: bytes) -> Entry | None:
    """Return what *line* says; None if it is neither a message nor a record, or is torn."""
    line = line.strip()
    members = read_members(line)
    if members is None:
        return None
    if is_message(members):
        return _entry_of_message(members, line)
    return _entry_of_record(members, line)


def read_members(line: bytes) -> dict[str, Any] | None:
    """Return the members of the JSON object that *line* is; None if it is none."""
    if line.startswith(b"\xef\xbb\xbf"):
        line = line[3:]
    if not line.startswith(b"{"):
        return None
    try:
        # Bytes that are no UTF-8 stay visible, as escapes, rather than cost the whole line.
        text = line.decode("utf-8", "surrogateescape")
        members, end = _decode(text)
    except (ValueError, RecursionError):
        return None
    return members if end == len(text) else None


# -- messages


def is_message(members: Mapping[str, Any]) -> bool:
    """Whether *members* are those of a message; they may be a record's otherwise."""
    return TIMESTAMP in members and TASK_UUID in members


def _entry_of_message(members: Mapping[str, Any], line: bytes) -> Entry | None:
    uuid = members[TASK_UUID]
    level = _level_of(members.get(TASK_LEVEL))
    time = _number(members[TIMESTAMP])
    if not level or not isinstance(uuid, str) or not uuid or time is None:
        return None
    if not 0.0 <= time <= _LAST_TIME:
        return None
    kind, name, status = kind_of(members)
    return Entry(
        kind,
        uuid,
        level,
        time,
        name,
        status,
        text_of(members.get(REQUEST_ID)),
        _number(members.get(_DURATION)) if kind == "end" else None,
        False,
        line,
    )


def kind_of(members: Mapping[str, Any]) -> tuple[Kind, str, str]:
    """Return what kind of message it is, its type, and its status if it has one."""
    status = members.get(ACTION_STATUS)
    action_type = members.get(ACTION_TYPE)
    if isinstance(action_type, str) and isinstance(status, str) and status in _STATUSES:
        kind: Kind = "start" if status == STARTED else "end"
        return kind, sys.intern(action_type), sys.intern(status)
    name = members.get(MESSAGE_TYPE, action_type)
    return "message", sys.intern(text_of(name)), ""


# -- records


def _entry_of_record(members: Mapping[str, Any], line: bytes) -> Entry | None:
    message = members.get("message")
    if not isinstance(members.get("msg") if message is None else message, str):
        return None
    if "channel" not in members and "level" not in members and "level_name" not in members:
        return None
    extra = members.get("extra")
    if not isinstance(extra, dict):
        extra = {}
    time = _time_of(members.get("time"))
    request_id = text_of(members.get(REQUEST_ID) or extra.get(REQUEST_ID))
    uuid = text_of(members.get(TASK_UUID) or extra.get(TASK_UUID))
    channel = sys.intern(text_of(members.get("channel")))
    own = members if ACTION_TYPE in members or MESSAGE_TYPE in members else extra
    level = _level_of(members.get(TASK_LEVEL, extra.get(TASK_LEVEL))) or ()
    if uuid:
        if level and (ACTION_TYPE in own or MESSAGE_TYPE in own):
            # It is a message that took the way of records, and has a number of its own.
            kind, name, status = kind_of(own)
            duration = _number(extra.get(_DURATION, members.get(_DURATION)))
            if kind != "end":
                duration = None
            return Entry(kind, uuid, level, time, name, status, request_id, duration, True, line)
        return Entry("record", uuid, level, time, channel, "", request_id, None, False, line)
    if request_id and channel == _ACCESS_LOG and isinstance(extra.get("status"), int):
        # A service without actions: the record of a request ends it all the same.
        status = FAILED if extra["status"] >= 500 else SUCCEEDED
        duration = _number(extra.get(_DURATION))
        return Entry("end", "", (0,), time, REQUEST, status, request_id, duration, False, line)
    return Entry("record", "", (), time, channel, "", request_id, None, False, line)


# -- values


def text_of(value: object) -> str:
    """Return *value* if it is text; of other things their JSON, of None nothing."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value)
    except (ValueError, RecursionError):
        return ""


def _number(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    return None


def _level_of(value: object) -> TaskLevel | None:
    if not isinstance(value, list) or len(value) > MAX_DEPTH:
        return None
    for number in value:
        if type(number) is not int or number < 0:
            return None
    return tuple(value)


def _time_of(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        time = moment.timestamp()
    except (ValueError, OverflowError):
        return None
    return time if 0.0 <= time <= _LAST_TIME else None
