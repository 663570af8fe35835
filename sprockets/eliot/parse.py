"""Reads messages back: the tasks that they were written in, as trees.

>>> place = {"task_uuid": "a", "timestamp": 1.5}
>>> messages = [
...     {**place, "task_level": [1], "action_type": "sale", "action_status": "started"},
...     {**place, "task_level": [2], "message_type": "paid", "price": 42},
...     {**place, "task_level": [3], "action_type": "sale", "action_status": "succeeded"},
... ]
>>> for task in Parser.parse_stream(messages):
...     print(task.root(), task.root().children[0].contents)
<WrittenAction 'sale' succeeded a/, 1 children> {'message_type': 'paid', 'price': 42}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from threading import RLock
from typing import Any, Final, TypeAlias

from sprockets.eliot._fields import ACTION_STATUS, ACTION_TYPE, STARTED
from sprockets.eliot._task_level import TaskLevel
from sprockets.eliot._written import (
    DuplicateChild,
    InvalidStartMessage,
    InvalidStatus,
    Written,
    WrittenAction,
    WrittenMessage,
    WrongActionType,
    WrongTask,
    WrongTaskLevel,
    check_end,
    check_start,
    check_task,
)

__all__ = [
    "DuplicateChild",
    "InvalidStartMessage",
    "InvalidStatus",
    "Parser",
    "Task",
    "TaskLevel",
    "WrittenAction",
    "WrittenMessage",
    "WrongActionType",
    "WrongTask",
    "WrongTaskLevel",
]

_Level: TypeAlias = tuple[int, ...]


class _Node:
    """An action, as far as it is known."""

    __slots__ = (
        "children",
        "end",
        "inner",
        "is_complete",
        "last",
        "level",
        "parent",
        "start",
        "unfinished",
    )

    def __init__(self, level: _Level, parent: _Node | None) -> None:
        self.level = level
        self.parent = parent
        self.start: WrittenMessage | None = None
        self.end: WrittenMessage | None = None
        self.children: dict[int, WrittenMessage | _Node] = {}
        self.last = 0
        """The number of its end; 0 while that is not known."""
        self.inner = 0
        """Children with a number between those of start and end."""
        self.unfinished = 0
        """Child actions that are not complete."""
        self.is_complete = False

    def finish(self, end: WrittenMessage, number: int) -> None:
        self.end = end
        self.last = number
        self.inner = sum([self.is_inner(number) for number in self.children])

    def is_inner(self, number: int) -> bool:
        # What was logged after the end has greater numbers, and so may what another process
        # logged in this action.  It belongs to the action, but nobody can say whether it is all.
        return 1 < number < self.last

    def has_all(self) -> bool:
        return self.start is not None and self.inner == self.last - 2 and not self.unfinished


class _Tree:
    """All that is known of a task, after each of its messages in turn.

    It only grows: what it was after the first messages can be made anew from these.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.messages: list[WrittenMessage] = []
        self.root = _Node((), None)
        self._nodes: dict[_Level, _Node] = {(): self.root}

    def first(self, count: int) -> _Tree:
        """Return the tree of the first *count* messages; it is this one if there are no others."""
        if count == len(self.messages):
            return self
        tree = _Tree()
        for message in self.messages[:count]:
            tree.add(message)
        return tree

    @property
    def is_lone_message(self) -> bool:
        """Whether there is a single message, which is in no action."""
        return (
            len(self.messages) == 1
            and not self.root.start
            and not self.root.end
            and isinstance(self.root.children.get(1), WrittenMessage)
        )

    @property
    def is_complete(self) -> bool:
        return self.root.is_complete or self.is_lone_message

    def add(self, message: WrittenMessage) -> None:
        """Put *message* in its place, or raise an error and change nothing."""
        if self.messages:
            check_task(message, self.messages[0].task_uuid)
        level = tuple(message.task_level.as_list())
        if message.get(ACTION_TYPE) is None:
            node = self._node_at(level[:-1])
            self._put(node, level[-1], message)
        elif message.get(ACTION_STATUS) == STARTED:
            check_start(message)
            known = self._nodes.get(level[:-1])
            if known is not None and known.end is not None:
                check_end(known.end, message)
            node = self._node_at(level[:-1])
            node.start = message
        else:
            known = self._nodes.get(level[:-1])
            check_end(message, None if known is None else known.start)
            node = self._node_at(level[:-1])
            node.finish(message, level[-1])
        self.messages.append(message)
        _settle(node)

    def _node_at(self, level: _Level) -> _Node:
        """Return the action at *level*, which is made if need be, and so are those around it."""
        missing: list[_Level] = []
        while (found := self._nodes.get(level)) is None:
            missing.append(level)
            level = level[:-1]
        node = known = found
        for level in reversed(missing):
            child = self._nodes[level] = _Node(level, node)
            self._put(node, level[-1], child)
            node = child
        if missing:
            _settle(known)
        return node

    def _put(self, node: _Node, number: int, child: WrittenMessage | _Node) -> None:
        """Make *child* that with this number, in place of the one there may be."""
        old = node.children.get(number)
        if isinstance(old, _Node):
            node.unfinished -= not old.is_complete
            self._forget(old)
        elif old is None:
            node.inner += node.is_inner(number)
        node.unfinished += isinstance(child, _Node)
        node.children[number] = child

    def _forget(self, node: _Node) -> None:
        rest = [node]
        while rest:
            node = rest.pop()
            del self._nodes[node.level]
            rest.extend([child for child in node.children.values() if isinstance(child, _Node)])

    def written(self) -> Written:
        """Return the task's root."""
        if not self.messages:
            raise ValueError("a task without messages has no root; add one")
        if self.is_lone_message:
            return self.messages[0]
        uuid = self.messages[0].task_uuid
        actions: dict[_Level, WrittenAction] = {}
        # From the innermost to the outermost, so that nothing here is called within itself.
        for level, node in sorted(self._nodes.items(), key=lambda item: -len(item[0])):
            children: list[Written] = []
            for _, child in sorted(node.children.items(), key=lambda item: item[0]):
                children.append(actions[child.level] if isinstance(child, _Node) else child)
            actions[level] = WrittenAction(
                uuid, TaskLevel(level), node.start, tuple(children), node.end
            )
        return actions[()]


def _settle(node: _Node | None) -> None:
    """Find out anew whether *node* is complete, and thereby those around it."""
    while node is not None and node.is_complete != node.has_all():
        node.is_complete = not node.is_complete
        change = -1 if node.is_complete else 1
        node = node.parent
        if node is not None:
            node.unfinished += change


class Task:
    """A task, as far as it is known.  It does not change: `add` returns another one.

    Adding to the task that came last is quick; adding to an older one, as `root` of it, takes a
    time that grows with its size.  Tasks are equal if their roots are.  May be used by several
    threads.
    """

    __slots__ = ("_count", "_is_complete", "_root", "_tree")

    def __init__(self) -> None:
        self._tree = _Tree()
        self._count = 0
        self._is_complete = False
        self._root: Written | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Task):
            return NotImplemented
        if not self._count or not other._count:
            return self._count == other._count
        return self.root() == other.root()

    def __hash__(self) -> int:
        # All messages of a task have the same uuid, and the first of a tree stays the first.
        return hash(self._tree.messages[0].task_uuid if self._count else None)

    def __repr__(self) -> str:
        if not self._count:
            return "<Task, no messages>"
        plural, state = "s" * (self._count > 1), "" if self._is_complete else "in"
        uuid = self._tree.messages[0].task_uuid
        return f"<Task {uuid}, {self._count} message{plural}, {state}complete>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _task_of, (self._tree.messages[: self._count],)

    def add(self, message_dict: Mapping[str, Any]) -> Task:
        """Return this task with one more message.

        Of two messages with the same level the last counts.

        Raises:
            ValueError: It is no message, or one that does not fit: `InvalidStartMessage`,
                `InvalidStatus`, `WrongActionType`, `WrongTask`.
        """
        return self._with(WrittenMessage.from_dict(message_dict))

    def _with(self, message: WrittenMessage) -> Task:
        with self._tree.lock:
            tree = self._tree.first(self._count)
            tree.add(message)
            task = Task.__new__(Task)
            task._tree = tree
            task._count = len(tree.messages)
            task._is_complete = tree.is_complete
            task._root = None
        return task

    def root(self) -> Written:
        """Return its outermost action, or the message if it has a single one without action.

        Actions that are only known from what is in them have neither type, status nor times.

        Raises:
            ValueError: No message was added yet.
        """
        if self._root is None:
            with self._tree.lock:
                self._root = self._tree.first(self._count).written()
        return self._root

    def is_complete(self) -> bool:
        """Return whether nothing is missing.

        An action is complete with its start, its end, all numbers between, and all actions in it
        that are known.  A single message without action is complete.
        """
        return self._is_complete


def _task_of(messages: Iterable[WrittenMessage]) -> Task:
    task = Task()
    for message in messages:
        task = task._with(message)
    return task


_COPIED_MAX: Final = 32
"""Tasks up to which a parser leaves its own list to the one that comes after it."""


class Parser:
    """Puts messages together to tasks.  It does not change: `add` returns another one.

    Messages may come in any order, those of several tasks mixed.  Adding to the parser that came
    last is quick; using an older one may once take a time that grows with what was added since.
    Parsers are equal if their incomplete tasks are.  May be used by several threads.
    """

    # A parser with many tasks hands its dict over to the next one, and keeps what it takes to get
    # from the next one's tasks to its own.
    __slots__ = ("_lock", "_next", "_tasks")

    def __init__(self) -> None:
        self._lock = RLock()
        self._tasks: dict[str, Task] | None = {}
        self._next: tuple[Parser, str, Task | None] | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parser):
            return NotImplemented
        return self._copied_tasks() == other._copied_tasks()

    def __hash__(self) -> int:
        return hash(frozenset(self._copied_tasks()))

    def __repr__(self) -> str:
        count = len(self._copied_tasks())
        return f"<Parser, {count} incomplete task{'s' * (count != 1)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _parser_of, (self._copied_tasks(),)

    def add(self, message_dict: Mapping[str, Any]) -> tuple[list[Task], Parser]:
        """Return the task that this message completes, if any, and the parser for the next one.

        A task that is complete is forgotten: a later message with its uuid begins another one.

        Raises:
            ValueError: It is no message, or one that does not fit, as for `Task.add`; this parser
                can be used on.
        """
        written = WrittenMessage.from_dict(message_dict)
        uuid = written.task_uuid
        with self._lock:
            tasks = self._own_tasks()
            before = tasks.get(uuid)
            task = (Task() if before is None else before)._with(written)
            parser = Parser.__new__(Parser)
            parser._lock = self._lock
            parser._next = None
            if len(tasks) <= _COPIED_MAX:
                tasks = tasks.copy()
            else:
                self._tasks, self._next = None, (parser, uuid, before)
            parser._tasks = tasks
            if not task.is_complete():
                tasks[uuid] = task
                return [], parser
            tasks.pop(uuid, None)
            return [task], parser

    def _own_tasks(self) -> dict[str, Task]:
        if self._tasks is not None:
            return self._tasks
        changes: list[tuple[str, Task | None]] = []
        parser = self
        while parser._tasks is None:
            assert parser._next is not None
            parser, uuid, before = parser._next
            changes.append((uuid, before))
        tasks = parser._tasks.copy()
        for uuid, before in reversed(changes):
            if before is None:
                tasks.pop(uuid, None)
            else:
                tasks[uuid] = before
        self._tasks, self._next = tasks, None
        return tasks

    def _copied_tasks(self) -> dict[str, Task]:
        with self._lock:
            return self._own_tasks().copy()

    def incomplete_tasks(self) -> list[Task]:
        """Return the tasks of which something is missing."""
        return list(self._copied_tasks().values())

    @classmethod
    def parse_stream(cls, iterable: Iterable[Mapping[str, Any]]) -> Iterator[Task]:
        """Yield each task when it is complete, and at the end those of which something is missing.

        Raises:
            ValueError: One of them is no message, or does not fit.
        """
        parser = cls()
        for message in iterable:
            done, parser = parser.add(message)
            yield from done
        yield from parser.incomplete_tasks()


def _parser_of(tasks: dict[str, Task]) -> Parser:
    parser = Parser()
    parser._tasks = tasks
    return parser
