"""The actions of a request as a tree, put together from the records that a store knows of it.

A store has the records that failed and those that led up to them.  Records say in ``extra`` to
which task and which action they belong, and where messages of actions take the way of records, the
starts and ends of the actions are among them.  What nobody recorded is not in the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from sprockets.eliot._fields import FAILED, STARTED, SUCCEEDED
from sprockets.eliot._trees._entry import Entry, read_entry
from sprockets.eliot._trees._facts import Facts, facts_of
from sprockets.eliot._trees._growth import Action, Tree, grow
from sprockets.eliot._trees._times import format_duration
from sprockets.eliot._trees._wording import value_text
from sprockets.logbook._json import encode
from sprockets.logbook.record import LogRecord

Kind: TypeAlias = Literal["action", "message", "record"]

MAX_ROWS: Final = 400
"""Rows that are shown of a tree; it says how many there are beyond."""

MAX_GUIDES: Final = 16
"""Levels of a tree that are indented; what is deeper stands below the last of them."""

SCALE: Final = 1_000
"""Where rows say when something was, from the begin of the tree at 0 to its end."""

_MAX_FIELDS: Final = 12
_MAX_TEXT: Final = 300
_MAX_REQUESTS: Final = 5
# What the rest of the page says: of the request, and of the place in the tree.
_TOLD_ELSEWHERE: Final = frozenset(
    (
        *("method", "path", "remote_ip", "handler", "trace_id", "http_version", "user_agent"),
        *("request_id", "task_uuid", "task_level", "referer", "user", "query", "bytes"),
        *("exception", "reason", "status", "url"),
    )
)
_PHRASES: Final = {"http:request": "path", "http:client": "url"}
_STATUS_WORDS: Final = {
    SUCCEEDED: "succeeded",
    FAILED: "failed",
    STARTED: "not finished",
    "": "start unknown",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a drawn tree.

    Args:
        kind: What it is about.
        guides: For each level above it, outermost first, whether something follows there.
        is_last: Whether nothing follows on its own level.
        depth: How deep it is in the tree; 0 is the task itself.
        name: Type of the action or message; of a record, its channel.
        status: Of an action: ``succeeded``, ``failed``, ``started``, or nothing if not known.
        status_text: The same for people.
        level_name: Of a record.
        text: The message of a record; of a request, what was asked for and answered.
        error: The exception in a line.
        fields: What else is known, as texts.
        offset: Since the begin of the tree, for people.
        duration: Of an action, for people.
        begin: When it was, on `SCALE`; None if nobody knows.
        length: How long it took, on `SCALE`; 0 for what took no time.
        is_here: Whether it is the record that the page is about.
    """

    kind: Kind
    guides: tuple[bool, ...]
    is_last: bool
    depth: int
    name: str = ""
    status: str = ""
    status_text: str = ""
    level_name: str = ""
    text: str = ""
    error: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    offset: str = ""
    duration: str = ""
    begin: int | None = None
    length: int = 0
    is_here: bool = False


@dataclass(frozen=True, slots=True)
class DrawnTree:
    """A task, ready to be shown.

    Args:
        task_uuid: The task.
        request_ids: Of the requests that it mentions.
        rows: Its lines, from top to bottom.
        left_out: Lines beyond `MAX_ROWS`.
        length: From begin to end, for people.
        is_whole: Whether its outermost action has ended.
    """

    task_uuid: str
    request_ids: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: int
    length: str
    is_whole: bool


def draw_trees(
    records: Iterable[LogRecord], here: LogRecord | None = None
) -> tuple[DrawnTree, ...]:
    """Return the trees of the tasks that *records* belong to, in the order they are met.

    Records that say of no task are left aside, and those that come more than once count once.

    Args:
        records: The oldest first.
        here: The one among them that is to be found at once.
    """
    tasks: dict[str, list[Entry]] = {}
    marked: bytes | None = None
    for record in unique(records):
        line = _line_of(record)
        entry = read_entry(line)
        if entry is not None and entry.task_uuid:
            tasks.setdefault(entry.task_uuid, []).append(entry)
            if here is not None and identity(record) == identity(here):
                marked = entry.line
    return tuple(_draw(grow(uuid, entries), marked) for uuid, entries in tasks.items())


def unique(records: Iterable[LogRecord]) -> Iterator[LogRecord]:
    """Return *records* without those that are there once more.

    A record that several failures were led up to by is stored with each of them.
    """
    seen: set[object] = set()
    for record in records:
        key = identity(record)
        if key not in seen:
            seen.add(key)
            yield record


def identity(record: LogRecord) -> object:
    """Return what two copies of a record have in common, and other records do not."""
    extra = record.extra
    return (
        *(record.time, record.level, record.channel, _text(record.message)),
        *(record.lineno, record.process, record.thread),
        repr((extra["task_uuid"], extra["task_level"])),
    )


def _line_of(record: LogRecord) -> bytes:
    time = record.time
    members: dict[str, Any] = {
        "time": None if time is None else f"{time.isoformat()}Z",
        "level": record.level,
        "channel": record.channel,
        "message": _text(record.message),
        "extra": dict(record.extra),
        "exception_name": record.exception_name,
        "exception_message": record.exception_message,
    }
    return encode(members).encode("ascii")


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)


# -- rows


def _draw(tree: Tree, marked: bytes | None) -> DrawnTree:
    drawing = _Drawing(tree, marked)
    rows: list[Row] = []
    left_out = 0
    for row in drawing.rows():
        if len(rows) < MAX_ROWS:
            rows.append(row)
        else:
            left_out += 1
    return DrawnTree(
        tree.task_uuid,
        tuple(tree.request_ids[:_MAX_REQUESTS]),
        tuple(rows),
        left_out,
        format_duration(drawing.length) if drawing.length else "",
        tree.is_whole,
    )


class _Drawing:
    """One tree being drawn."""

    def __init__(self, tree: Tree, marked: bytes | None) -> None:
        self._tree = tree
        self._marked = marked
        self._begin, end = tree.period() or (0.0, 0.0)
        self.length = end - self._begin

    def rows(self) -> Iterator[Row]:
        """Return the rows from top to bottom; not by recursion: logs may nest very deep."""
        root = self._tree.root
        if isinstance(root, Entry):
            yield self._entry(root, (), True)
            return
        yield self._action(root, (), True)
        waiting: list[tuple[Sequence[Entry | Action], int, tuple[bool, ...]]] = [
            (root.children, 0, ())
        ]
        while waiting:
            children, index, guides = waiting.pop()
            if index == len(children):
                continue
            waiting.append((children, index + 1, guides))
            child, is_last = children[index], index + 1 == len(children)
            # Below so many levels, what is deeper stands beside what is above.
            inner = (*guides, not is_last) if len(guides) < MAX_GUIDES else guides
            if isinstance(child, Action):
                yield self._action(child, guides, is_last, depth=len(guides) + 1)
                waiting.append((child.children, 0, inner))
            else:
                yield self._entry(child, guides, is_last, depth=len(guides) + 1)

    def _action(
        self, action: Action, guides: tuple[bool, ...], is_last: bool, depth: int = 0
    ) -> Row:
        start = Facts() if action.start is None else facts_of(action.start)
        end = Facts() if action.end is None else facts_of(action.end)
        fields = {**start.fields, **end.fields}
        duration = action.duration
        begin, length = self._bar(action.started_at, duration)
        status = action.status
        name = action.name
        if not name and not depth:
            name = "task"
        return Row(
            kind="action",
            guides=guides,
            is_last=is_last,
            depth=depth,
            name=name or f"/{'/'.join(map(str, action.level))}",
            status=status,
            status_text=_STATUS_WORDS[status],
            text=_phrase(action.name, fields),
            error=_error(end),
            fields=_fields(fields),
            offset=self._offset(action.started_at),
            duration="" if duration is None else format_duration(duration),
            begin=begin,
            length=length,
            is_here=self._is_marked(action.start, action.end),
        )

    def _entry(self, entry: Entry, guides: tuple[bool, ...], is_last: bool, depth: int = 0) -> Row:
        facts = facts_of(entry)
        begin, _ = self._bar(entry.time, None)
        kind: Kind = "record" if entry.kind == "record" else "message"
        return Row(
            kind=kind,
            guides=guides,
            is_last=is_last,
            depth=depth,
            name=entry.name if kind == "message" else facts.channel,
            level_name=facts.level_name,
            text=_cut(facts.text),
            error=_error(facts),
            fields=_fields(facts.fields),
            offset=self._offset(entry.time),
            begin=begin,
            is_here=self._is_marked(entry),
        )

    def _is_marked(self, *entries: Entry | None) -> bool:
        return self._marked is not None and any(
            entry is not None and entry.line == self._marked for entry in entries
        )

    def _offset(self, time: float | None) -> str:
        return "" if time is None else f"+{format_duration(max(0.0, time - self._begin))}"

    def _bar(self, time: float | None, duration: float | None) -> tuple[int | None, int]:
        if time is None or self.length <= 0:
            return None, 0
        begin = min(SCALE, max(0, round((time - self._begin) / self.length * SCALE)))
        length = 0 if duration is None else round(max(0.0, duration) / self.length * SCALE)
        return begin, min(SCALE - begin, length)


def _phrase(kind: str, fields: dict[str, object]) -> str:
    """Return what a request is and what came of it, as in ``POST /orders → 201``."""
    if kind not in _PHRASES:
        return ""
    words = [fields.get("method"), fields.get(_PHRASES[kind])]
    text = " ".join(_cut(word) for word in words if isinstance(word, str))
    status = fields.get("status")
    return f"{text} → {status}" if isinstance(status, int) else text


def _error(facts: Facts) -> str:
    name = facts.exception.removeprefix("builtins.")
    reason = _cut(facts.reason)
    return f"{name}: {reason}" if name and reason else name or reason


def _fields(fields: dict[str, object]) -> tuple[tuple[str, str], ...]:
    told = [
        (name, _cut(value_text(value)))
        for name, value in fields.items()
        if name not in _TOLD_ELSEWHERE and value is not None and value != ""
    ]
    return tuple(told[:_MAX_FIELDS])


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
