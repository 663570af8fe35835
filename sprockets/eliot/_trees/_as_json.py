"""Trees as JSON: one object a line, for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sprockets.eliot._trees._entry import Entry
from sprockets.eliot._trees._facts import Facts, facts_of
from sprockets.eliot._trees._growth import Action, Tree
from sprockets.logbook import _clock
from sprockets.logbook._json import encode

_MICROSECONDS: Final = 1_000_000


def to_json(tree: Tree) -> str:
    """Return *tree* as one JSON object on one line, in ASCII.

    Members that have nothing to say are left out.  Times are UTC with six digits of microseconds,
    durations are seconds.  An action has its fields in ``fields``, those of its end in
    ``end_fields``, and what is in it in ``children``.
    """
    period = tree.period()
    head: dict[str, Any] = {
        "task_uuid": tree.task_uuid or None,
        "request_ids": list(tree.request_ids),
        "start": None if period is None else _time(period[0]),
        "end": None if period is None else _time(period[1]),
        "finished": tree.is_whole,
        "continued": tree.is_continued,
    }
    return f'{encode(head)[:-1]},"root":{"".join(_pieces(tree.root))}}}'


def _pieces(root: Action | Entry) -> Iterator[str]:
    """Return the JSON of *root* in pieces; not by recursion, because some logs nest without end."""
    if isinstance(root, Entry):
        yield encode(_of_entry(root))
        return
    yield _opening(root)
    waiting = [iter(root.children)]
    is_first = True
    while waiting:
        child = next(waiting[-1], None)
        if child is None:
            waiting.pop()
            yield "]}"
            is_first = False
            continue
        if not is_first:
            yield ","
        if isinstance(child, Action):
            yield _opening(child)
            waiting.append(iter(child.children))
            is_first = True
        else:
            yield encode(_of_entry(child))
            is_first = False


def _opening(action: Action) -> str:
    start = Facts() if action.start is None else facts_of(action.start)
    end = Facts() if action.end is None else facts_of(action.end)
    members = {
        "action_type": action.name or None,
        "action_status": action.status or None,
        "task_level": list(action.level),
        "start": _time(action.started_at),
        "end": None if action.end is None else _time(action.end.time),
        "duration": None if action.duration is None else round(action.duration, 6),
        "exception": end.exception,
        "reason": end.reason,
        "traceback": end.traceback,
        "fields": start.fields,
        "end_fields": end.fields,
    }
    return f'{encode(_told(members))[:-1]},"children":['


def _of_entry(entry: Entry) -> dict[str, Any]:
    facts = facts_of(entry)
    is_record = entry.kind == "record"
    members = {
        "message_type": None if is_record or entry.status else entry.name,
        "action_type": entry.name if entry.status else None,
        "action_status": entry.status,
        "task_level": list(entry.level),
        "time": _time(entry.time),
        "level_name": facts.level_name,
        "channel": facts.channel,
        "message": facts.text if is_record else facts.text or None,
        "exception": facts.exception,
        "reason": facts.reason,
        "traceback": facts.traceback,
        "fields": facts.fields,
    }
    return _told(members)


def _told(members: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in members.items()
        if (value is not None and value != "" and value != {}) or name == "task_level"
    }


def _time(time: float | None) -> str | None:
    return None if time is None else _clock.iso8601(round(time * _MICROSECONDS))
