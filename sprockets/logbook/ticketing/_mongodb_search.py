"""Searching: conditions as MongoDB understands them, and the order of what is found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sprockets.logbook.ticketing._model import FIELDS, OCCURRENCE_FIELDS
from sprockets.logbook.ticketing._mongodb_connection import Document
from sprockets.logbook.ticketing._mongodb_documents import (
    MAX_APP_ID,
    MAX_CHANNEL,
    MAX_TITLE,
    name_of,
)
from sprockets.logbook.ticketing._search import Query, State
from sprockets.logbook.ticketing._texts import fitting

NOT_MERGED: Final[Mapping[str, Any]] = {"status.merged_into": None}
"""What a ticket meets that is one by itself; those that Logbook wrote meet it too."""

TICKET_FIELDS: Final = {
    **{name: name for name in FIELDS},
    "ticket_id": "_id",
    "first_time": "status.first_time",
}
"""By which tickets are ordered, and where that is in a document."""
ROW_FIELDS: Final = {**{name: name for name in OCCURRENCE_FIELDS}, "occurrence_id": "_id"}
"""By which occurrences are ordered, and where that is in a document."""

_NOTHING: Final[Document] = {"_id": {"$in": []}}
_TEXTS: Final = ("status.title", "channel", "module", "location")
_OLD_LEVELS: Final = range(1, 7)
_OLD_LEVELS_DIFFER_BY: Final = 9
# In PCRE "$" would also be the place before a last line break.
_END: Final = r"(?![\s\S])"
_MAX_PATTERN: Final = 8_000


def sorting(order_by: str, fields: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return the order that *order_by* names; equals are ordered by id, in the same direction.

    Raises:
        KeyError: There is no such field.
        ValueError: *order_by* is empty.
    """
    name = order_by.removeprefix("-")
    if not name:
        raise ValueError(f"order_by is {order_by!r}; pass one of {', '.join(fields)}")
    if name not in fields:
        raise KeyError(f"no field {name!r} to order by; known: {', '.join(fields)}")
    direction = -1 if order_by.startswith("-") else 1
    found = [(fields[name], direction)]
    return found if fields[name] == "_id" else [*found, ("_id", direction)]


def conditions_of(query: Query, tickets_of: Callable[[Iterable[str]], list[Any]]) -> Document:
    """Return what tickets meet that meet *query*, merged ones left out.

    Args:
        query: Conditions.
        tickets_of: Returns the ids of the tickets that occurred during requests.
    """
    return {"$and": [dict(NOT_MERGED), *_parts_of(query, tickets_of)]}


def _parts_of(query: Query, tickets_of: Callable[[Iterable[str]], list[Any]]) -> list[Document]:
    parts: list[Document] = []
    if query.states:
        parts.append({"$or": [_in_state(state) for state in query.states]})
    if query.levels:
        parts.append({"level": {"$in": [one for level in query.levels for one in _stored(level)]}})
    if query.min_level is not None:
        parts.append(_at_least(query.min_level))
    if query.channels:
        parts.append({"$or": [_of_channel(channel) for channel in query.channels]})
    for field, names in (
        ("status.releases", query.releases),
        ("status.environments", query.environments),
    ):
        if names:
            parts.append({field: {"$in": [name_of(name) for name in names]}})
    if query.app_ids:
        parts.append({"app_id": {"$in": [fitting(one, MAX_APP_ID) for one in query.app_ids]}})
    if query.assignees:
        people: list[str | None] = [name_of(name) for name in query.assignees]
        parts.append({"status.assignee": {"$in": people + [None] * ("" in people)}})
    if query.request_ids:
        parts.append({"_id": {"$in": tickets_of([name_of(one) for one in query.request_ids])}})
    for field, least in (
        ("last_occurrence_time", query.seen_since),
        ("status.first_time", query.first_since),
        ("occurrence_count", query.min_count),
    ):
        if least is not None:
            parts.append({field: {"$gte": least}})
    parts += [_containing(text) for text in query.texts]
    if query.excluded:
        others = [{"$and": _parts_of(other, tickets_of) or [{}]} for other in query.excluded]
        parts.append({"$nor": others})
    return parts


def _in_state(state: State) -> Document:
    """Return what tickets meet that read as *state*; see `state_of`."""
    if state == "solved":
        return {"solved": True}
    stored: dict[State, list[str | None]] = {
        "new": ["new", None],
        "regressed": ["regressed", "solved"],
    }
    return {"solved": {"$ne": True}, "status.state": {"$in": stored.get(state, [state])}}


def _stored(level: int) -> list[int]:
    """Return the numbers that are read as *level*."""
    old = level - _OLD_LEVELS_DIFFER_BY
    return [level, old] if old in _OLD_LEVELS else [level]


def _at_least(level: int) -> Document:
    if level <= _OLD_LEVELS[-1]:
        return {"level": {"$gte": level}}
    old = [one for one in _OLD_LEVELS if one + _OLD_LEVELS_DIFFER_BY >= level]
    return {"$or": [{"level": {"$gte": level}}, {"level": {"$in": old}}]}


def _of_channel(channel: str) -> Document:
    if "*" not in channel:
        return {"channel": fitting(channel, MAX_CHANNEL)}
    parts = [re.escape(fitting(part, MAX_TITLE)) for part in re.split(r"\*+", channel)]
    pattern = f"^{'.*'.join(parts)}{_END}"
    # The server refuses patterns that are too long; no channel is as long as that.
    if len(pattern) > _MAX_PATTERN:
        return _NOTHING
    return {"channel": {"$regex": pattern, "$options": "s"}}


def _containing(text: str) -> Document:
    text = fitting(text, MAX_TITLE + 1)
    if len(text) > MAX_TITLE:
        return _NOTHING
    pattern = {"$regex": re.escape(text), "$options": "i"}
    return {"$or": [{field: pattern} for field in _TEXTS]}
