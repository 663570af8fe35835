"""The forest: many tasks at once, each of which becomes a tree when it is complete.

A task is complete when nothing can be missing: every action has its start, its end and a message
for each number between them.  A log that leaves out the lower levels has gaps, so a task whose
outermost action has ended also counts as complete, once it has been quiet for a while.  What is
held meanwhile is bounded: a task that has to go becomes a tree as it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from sprockets.eliot._trees._entry import Entry, TaskLevel
from sprockets.eliot._trees._growth import Tree, grow

MAX_OPEN: Final = 100_000
"""Messages and actions of tasks that are not complete; as many are held unless told otherwise."""

MAX_BYTES: Final = 64 << 20
"""Bytes that the lines of such tasks have together."""

_MAX_REMEMBERED: Final = 10_000
_MAX_TWINS: Final = 4
_SAME_TIME: Final = 0.001  # seconds; not every log has all digits
_Signature: TypeAlias = tuple[int, float]


def _signature(entry: Entry) -> _Signature:
    return hash((entry.kind, entry.level, entry.name, entry.status)), entry.time or 0.0


class _Progress:
    """How far an action is.

    Its messages and the actions in it are numbered from 1, the start, to the number of its end.
    Later numbers belong to what was logged after the end, or in a forked process.
    """

    __slots__ = ("end", "has_start", "is_complete", "missing", "numbers")

    def __init__(self) -> None:
        self.has_start = False
        self.end: int | None = None
        self.numbers: set[int] = set()
        self.missing = 0  # between start and end, known when that is
        self.is_complete = False

    def take(self, number: int) -> None:
        if number not in self.numbers:
            self.numbers.add(number)
            if self.end is not None and number < self.end:
                self.missing -= 1

    def finish(self, number: int) -> None:
        if self.end is None:
            self.end = number
            self.missing = number - 1 - sum(1 for each in self.numbers if each < number)
        self.take(number)


class _Task:
    """The entries of a task that is not complete."""

    __slots__ = (
        *("actions", "entries", "has_ended", "incomplete", "is_continued"),
        *("size", "touched_at", "weight"),
    )

    def __init__(self, *, is_continued: bool) -> None:
        self.entries: list[Entry] = []
        self.actions: dict[TaskLevel, _Progress] = {}
        self.incomplete = 0
        self.is_continued = is_continued
        self.has_ended = is_continued
        self.touched_at = 0.0
        self.weight = 0
        self.size = 0

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        level = entry.level
        if entry.kind == "record":
            self.progress(level)
            return
        progress = self.progress(level[:-1])
        if entry.kind == "end":
            progress.finish(level[-1])
            if len(level) == 1:
                self.has_ended = True
        else:
            progress.take(level[-1])
            if entry.kind == "start":
                progress.has_start = True
        if (
            not progress.is_complete
            and progress.missing == 0
            and progress.end is not None
            and progress.has_start
        ):
            progress.is_complete = True
            self.incomplete -= 1

    def progress(self, level: TaskLevel) -> _Progress:
        """Return that of the action at *level*; it, and all it is in, counts from now on."""
        found = self.actions.get(level)
        if found is not None:
            return found
        found = self.actions[level] = _Progress()
        self.incomplete += 1
        inner = level
        while inner:
            outer, known = inner[:-1], self.actions.get(inner[:-1])
            if known is None:
                known = self.actions[outer] = _Progress()
                self.incomplete += 1
                known.take(inner[-1])
                inner = outer
                continue
            was_missing = known.missing
            known.take(inner[-1])
            if was_missing and known.missing == 0 and known.has_start and not known.is_complete:
                known.is_complete = True
                self.incomplete -= 1
            break
        return found

    @property
    def is_complete(self) -> bool:
        if self.incomplete == 0:
            return True
        (first, *others) = self.entries[:2]
        return not others and first.kind == "message" and first.level == (1,)


class Forest:
    """Puts entries together, and hands out each task as a tree once it is complete.

    Not for several threads at once.

    Args:
        max_open: How many messages and actions of incomplete tasks are held.
        max_bytes: How many bytes their lines have.
        linger: Seconds for which a task has to be quiet after its end, if some of its numbers are
            missing.
        wants: Asked about each entry of a task that is not open; if it is not wanted, it is
            forgotten at once.
    """

    def __init__(
        self,
        *,
        max_open: int = MAX_OPEN,
        max_bytes: int = MAX_BYTES,
        linger: float = 60.0,
        wants: Callable[[Entry], bool] | None = None,
    ) -> None:
        if max_open < 1:
            raise ValueError(f"max_open must be at least 1, got {max_open}")
        self._max_open = max_open
        self._max_bytes = max_bytes
        self.linger: float = linger
        """Seconds for which a task has to be quiet after its end; may be changed."""
        self._wants = wants
        # In the order in which they were last heard of.
        self._open: OrderedDict[str, _Task] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        # The tasks that were handed out last, with the signatures of their last messages.
        self._remembered: OrderedDict[str, list[_Signature]] = OrderedDict()
        self._weight = 0
        self._size = 0
        self.evicted: int = 0
        """Tasks that had to go before they had ended."""
        self.duplicates: int = 0
        """Messages that were read more than once."""

    def __len__(self) -> int:
        """How many tasks are open."""
        return len(self._open)

    def add(self, entry: Entry, now: float) -> Iterator[Tree]:
        """Take *entry*, and hand out the trees that are complete by it, or have to go for it.

        Args:
            entry: What was read.
            now: Seconds on whatever clock tells how long a task has been quiet.
        """
        key = entry.task_uuid
        if not key:
            if not entry.request_id:
                if self._wants is None or self._wants(entry):
                    yield grow("", [entry])
                return
            # Nothing else is called so: an id has no control characters that anybody would log.
            key = f"\0{entry.request_id}"
        task = self._open.get(key)
        if task is None:
            if self._wants is not None and not self._wants(entry):
                return
            if self._is_twin(key, entry):
                self.duplicates += 1
                return
            task = self._open[key] = _Task(is_continued=key in self._remembered)
        else:
            self._open.move_to_end(key)
        if task.entries:
            # One text for all of them.
            entry.task_uuid = task.entries[0].task_uuid
            if entry.request_id == task.entries[-1].request_id:
                entry.request_id = task.entries[-1].request_id
        known = len(task.actions)
        task.add(entry)
        task.touched_at = now
        weight = 1 + len(task.actions) - known
        task.weight += weight
        task.size += len(entry.line)
        self._weight += weight
        self._size += len(entry.line)
        if task.is_complete:
            yield self._fell(key)
            return
        if task.has_ended:
            self._ended[key] = None
            self._ended.move_to_end(key)
        if self._weight > self._max_open or self._size > self._max_bytes:
            yield from self._make_room(key)

    def settle(self, now: float) -> Iterator[Tree]:
        """Hand out the tasks that have ended, and have been quiet for long enough by *now*."""
        while self._ended:
            key = next(iter(self._ended))
            if now - self._open[key].touched_at <= self.linger:
                return
            yield self._fell(key)

    def clear(self) -> Iterator[Tree]:
        """Hand out everything that is left: what has ended first, then what has not."""
        for keys in (self._ended, self._open):
            while keys:
                yield self._fell(next(iter(keys)))

    def _is_twin(self, key: str, entry: Entry) -> bool:
        """Whether one of the messages that completed a task comes once more, from another log."""
        if entry.kind == "record":
            return False
        name, time = _signature(entry)
        return any(
            name == other and abs(time - when) < _SAME_TIME
            for other, when in self._remembered.get(key, ())
        )

    def _make_room(self, newest: str) -> Iterator[Tree]:
        while self._weight > self._max_open or self._size > self._max_bytes:
            task = self._open.get(newest)
            if self._ended:
                key = next(iter(self._ended))
            elif task is not None and (
                task.weight * 2 > self._max_open or task.size * 2 > self._max_bytes
            ):
                # The others are not to go for one that needs more than all of them.
                key = newest
            else:
                key = next(iter(self._open))
            if not self._open[key].has_ended:
                self.evicted += 1
            yield self._fell(key)

    def _fell(self, key: str) -> Tree:
        """Take the task out of the forest, and return it as a tree."""
        task = self._open.pop(key)
        self._ended.pop(key, None)
        self._weight -= task.weight
        self._size -= task.size
        self._remembered[key] = [
            _signature(entry) for entry in task.entries[-_MAX_TWINS:] if entry.kind != "record"
        ]
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        tree = grow(task.entries[0].task_uuid, task.entries)
        tree.is_whole = tree.is_whole or task.has_ended
        tree.is_continued = task.is_continued
        self.duplicates += tree.duplicates
        return tree
