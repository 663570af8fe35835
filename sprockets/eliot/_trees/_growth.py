"""Trees: the entries of one task, put together as actions within actions.

Everything that was read is in the tree: an action without start or end, and a level that two
messages share, are shown as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sprockets.eliot._trees._entry import Entry, TaskLevel


@dataclass(slots=True, eq=False)
class Action:
    """An action, and what belongs to it.

    Args:
        level: Empty for the outermost action of a task.
        start: Its first message, if that was read.
        end: Its last message, if that was read.
        children: Messages, records and actions, in the order of events.
    """

    level: TaskLevel
    start: Entry | None = None
    end: Entry | None = None
    children: list[Entry | Action] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its type; empty if neither start nor end was read."""
        known = self.start or self.end
        return "" if known is None else known.name

    @property
    def status(self) -> str:
        """``started``, ``succeeded`` or ``failed``; empty if neither start nor end was read."""
        known = self.end or self.start
        return "" if known is None else known.status

    @property
    def started_at(self) -> float | None:
        """Seconds since the epoch; if there is no start, as the end tells it."""
        if self.start is not None:
            return self.start.time
        if self.end is None or self.end.time is None or self.end.duration is None:
            return None
        return self.end.time - self.end.duration

    @property
    def duration(self) -> float | None:
        """Seconds from start to end, negative if the clock was set back meanwhile."""
        if self.end is None:
            return None
        if self.start is None:
            return self.end.duration
        if self.start.time is None or self.end.time is None:
            return None
        return self.end.time - self.start.time


@dataclass(slots=True, eq=False)
class Tree:
    """What was read of a task, or a single message that belongs to none.

    Args:
        task_uuid: Empty if it is no task.
        root: The outermost action, or the single message or record.
        request_ids: Of the requests that it mentions.
        is_whole: Whether its outermost action has ended, so that no more is expected.
        is_continued: Whether an earlier part of the same task is a tree of its own.
        duplicates: Messages that were read more than once, and are shown once.
    """

    task_uuid: str
    root: Action | Entry
    request_ids: Sequence[str] = ()
    is_whole: bool = True
    is_continued: bool = False
    duplicates: int = 0

    def actions(self) -> Iterator[Action]:
        """Iterate over all actions, the outermost first, in no other order."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, Action):
                yield node
                waiting.extend(node.children)

    def entries(self) -> Iterator[Entry]:
        """Iterate over everything that was read, in no order."""
        if isinstance(self.root, Entry):
            yield self.root
            return
        for action in self.actions():
            if action.start is not None:
                yield action.start
            if action.end is not None:
                yield action.end
            for child in action.children:
                if isinstance(child, Entry):
                    yield child

    def period(self) -> tuple[float, float] | None:
        """Return when it began and ended as far as is known, in seconds since the epoch."""
        times = [entry.time for entry in self.entries() if entry.time is not None]
        times += [action.started_at for action in self.actions() if action.started_at is not None]
        return (min(times), max(times)) if times else None


def grow(task_uuid: str, entries: Iterable[Entry]) -> Tree:
    """Return the tree that *entries* of one task make, given in the order they were read.

    Messages stand in the order of their levels; records have none, and stand between these by
    their time.
    """
    entries = list(entries)
    request_ids = list(dict.fromkeys(entry.request_id for entry in entries if entry.request_id))
    if len(entries) == 1 and _stands_alone(entries[0]):
        return Tree(task_uuid, entries[0], request_ids)
    actions: dict[TaskLevel, Action] = {(): Action(())}
    places: dict[TaskLevel, list[_Child]] = {}
    seen: set[bytes] = set()
    told: Counter[tuple[object, ...]] = Counter()
    duplicates = 0
    time = 0.0
    for index, entry in enumerate(entries):
        if entry.kind != "record":
            if entry.line in seen or _is_told_in_both_ways(entry, told):
                duplicates += 1
                continue
            seen.add(entry.line)
        time = time if entry.time is None else entry.time
        level = entry.action_level
        action = _action_at(level, actions)
        if entry.kind == "start" and action.start is None:
            action.start = entry
        elif entry.kind == "end" and action.end is None:
            action.end = entry
        else:
            number = entry.level[-1] if entry.kind != "record" else None
            places.setdefault(level, []).append(_Child(entry, number, time, index))
    _put_children_in_order(actions, places)
    root = actions[()]
    return Tree(task_uuid, root, request_ids, is_whole=root.end is not None, duplicates=duplicates)


def _is_told_in_both_ways(entry: Entry, told: Counter[tuple[object, ...]]) -> bool:
    """Whether a message that is there as a record is there as a message too, and came first."""
    key = (entry.level, entry.name, entry.status)
    told[*key, entry.is_told_as_record] += 1
    return told[*key, entry.is_told_as_record] <= told[*key, not entry.is_told_as_record]


def _stands_alone(entry: Entry) -> bool:
    if not entry.task_uuid:
        return entry.kind == "record" and not entry.request_id
    return entry.kind == "message" and entry.level == (1,)


def _action_at(level: TaskLevel, actions: dict[TaskLevel, Action]) -> Action:
    found = actions.get(level)
    if found is not None:
        return found
    found = actions[level] = Action(level)
    # Those in between that nobody has spoken of.
    parent = level[:-1]
    while parent not in actions:
        actions[parent] = Action(parent)
        parent = parent[:-1]
    return found


@dataclass(slots=True)
class _Child:
    node: Entry | Action
    number: int | None
    time: float
    index: int


def _put_children_in_order(
    actions: dict[TaskLevel, Action], places: dict[TaskLevel, list[_Child]]
) -> None:
    # The innermost first: an action whose start is unknown began when something in it did.
    for level in sorted(actions, key=len, reverse=True):
        action = actions[level]
        children = places.get(level, [])
        numbered = [child for child in children if child.number is not None]
        numbered.sort(key=lambda child: (child.number, child.index))
        # A number counts for more than a time: clocks are set back, counters are not.
        latest = (0.0, 0)
        for child in numbered:
            latest = max(latest, (child.time, child.index))
            child.time, child.index = latest
        children.sort(key=lambda child: (child.time, child.index))
        action.children = [child.node for child in children]
        first = [(child.time, child.index) for child in children]
        began = action.started_at
        if began is not None:
            first = [(began, first[0][1] if first else -1)]
        elif action.end is not None and action.end.time is not None:
            first.append((action.end.time, -1))
        if level:
            time, index = min(first, default=(0.0, -1))
            places.setdefault(level[:-1], []).append(_Child(action, level[-1], time, index))
