"""Selection: which trees somebody wants to see."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias

from sprockets.eliot._fields import FAILED, STARTED
from sprockets.eliot._trees._entry import Entry
from sprockets.eliot._trees._growth import Action, Tree

Status: TypeAlias = Literal["succeeded", "failed", "started"]

_MAX_REMEMBERED: Final = 10_000
# What stands in JSON as it is, whoever wrote it.
_PLAIN: Final = re.compile(r"[A-Za-z0-9._:@+-]+")
_MAX_TASKS: Final = 100


@dataclass
class Selection:
    """Says which trees are wanted; a tree has to meet everything that is given.

    Args:
        request_id: Something in the tree was written in this request.
        task: What the id of the task begins with.
        action_type: A pattern; see the next two.
        status: Of an action of this type.  Without a type, one that failed or is not finished
            will do; ``succeeded`` means that neither is in the tree.
        min_duration: Seconds that this action took at least.
        since: Seconds since the epoch; the tree does not end before.
        until: Seconds since the epoch; the tree does not begin then or later.
    """

    request_id: str | None = None
    task: str | None = None
    action_type: str | None = None
    status: Status | None = None
    min_duration: float | None = None
    since: float | None = None
    until: float | None = None
    _selected: OrderedDict[str, None] = field(default_factory=OrderedDict, repr=False)

    def __contains__(self, tree: Tree) -> bool:
        """Whether *tree* is wanted; what continues a tree that was is wanted as well."""
        if tree.is_continued and tree.task_uuid in self._selected:
            return True
        if not self._is_wanted(tree):
            return False
        if tree.task_uuid:
            self._selected[tree.task_uuid] = None
            if len(self._selected) > _MAX_REMEMBERED:
                self._selected.popitem(last=False)
        return True

    def wants_action(self, action: Action) -> bool:
        """Whether *action* is of the type that is asked for."""
        return self.action_type is None or fnmatchcase(action.name, self.action_type)

    def may_want(self, entry: Entry) -> bool:
        """Whether a tree that *entry* is in may be wanted; decided early where it can be."""
        return self.task is None or entry.task_uuid.startswith(self.task)

    def _is_wanted(self, tree: Tree) -> bool:
        if self.request_id is not None and self.request_id not in tree.request_ids:
            return False
        if self.task is not None and not tree.task_uuid.startswith(self.task):
            return False
        if self.since is not None or self.until is not None:
            period = tree.period()
            if period is None:
                return False
            if self.since is not None and period[1] < self.since:
                return False
            if self.until is not None and period[0] >= self.until:
                return False
        if self.action_type is None and self.status is None and self.min_duration is None:
            return True
        if self.action_type is None and self.status == "succeeded":
            return self._succeeded(tree)
        return any(map(self._meets, tree.actions()))

    def _meets(self, action: Action) -> bool:
        if not self.wants_action(action):
            return False
        if self.status is not None and action.status != self.status:
            return False
        return self._is_long_enough(action)

    def _is_long_enough(self, action: Action) -> bool:
        if self.min_duration is None:
            return True
        duration = action.duration
        return duration is not None and duration >= self.min_duration

    def _succeeded(self, tree: Tree) -> bool:
        actions = list(tree.actions())
        return (
            any(action.status for action in actions)
            and not any(action.status in (FAILED, STARTED) for action in actions)
            and any(map(self._is_long_enough, actions))
        )


def line_filter(texts: Collection[str]) -> Callable[[bytes], object] | None:
    """Return a function that tells whether a line mentions one of *texts*.

    It looks at the bytes, which is many times as fast as to read them.  Where the texts could be
    written in more than one way, or are too many, there is no such function.
    """
    if not 0 < len(texts) <= _MAX_TASKS or not all(map(_PLAIN.fullmatch, texts)):
        return None
    if len(texts) == 1:
        (wanted,) = (text.encode() for text in texts)
        return lambda line: wanted in line
    return re.compile(b"|".join(re.escape(text.encode()) for text in sorted(texts))).search
