"""Where a message is in the tree of its task."""

from __future__ import annotations

from collections.abc import Iterable


class TaskLevel:
    """A position in the tree of a task: the numbers on the way from its root.

    Levels compare as lists do, which puts the messages of a task into the order of the story they
    tell.

    >>> level = TaskLevel([2, 1])
    >>> level.to_string(), level.next_sibling(), level.child()
    ('/2/1', TaskLevel([2, 2]), TaskLevel([2, 1, 1]))

    Args:
        level: Numbers from 1 up; none for the task itself.
    """

    __slots__ = ("_level",)

    def __init__(self, level: Iterable[int]) -> None:
        self._level = tuple(level)

    def as_list(self) -> list[int]:
        """Return the numbers, as a list of the caller's own."""
        return list(self._level)

    @property
    def level(self) -> list[int]:
        """The numbers, as :meth:`as_list` returns them."""
        return list(self._level)

    def to_string(self) -> str:
        """Return the numbers after a slash each; a lone slash for the task itself."""
        return "/" + "/".join(map(str, self._level))

    @classmethod
    def from_string(cls, string: str) -> TaskLevel:
        """Return the level that :meth:`to_string` wrote as *string*; empty pieces are ignored.

        Raises:
            ValueError: A piece is no number.
        """
        try:
            return cls([int(piece) for piece in string.split("/") if piece])
        except ValueError:
            raise ValueError(
                f"not a task level: {string!r}; it looks like '/2/1', numbers after slashes"
            ) from None

    toString = to_string
    fromString = from_string

    def next_sibling(self) -> TaskLevel:
        """Return the level after this one, in the same action.

        Raises:
            ValueError: This is the task itself, which has no siblings.
        """
        if not self._level:
            raise ValueError("the level of a task as a whole, [], has no siblings")
        return TaskLevel((*self._level[:-1], self._level[-1] + 1))

    def child(self) -> TaskLevel:
        """Return the first level inside of this one."""
        return TaskLevel((*self._level, 1))

    def parent(self) -> TaskLevel | None:
        """Return the level that this one is inside of, None for the task itself."""
        return TaskLevel(self._level[:-1]) if self._level else None

    def is_sibling_of(self, task_level: TaskLevel) -> bool:
        """Return whether both have the same parent."""
        return self.parent() == task_level.parent()

    def __repr__(self) -> str:
        return f"TaskLevel({list(self._level)})"

    def __hash__(self) -> int:
        return hash(self._level)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskLevel) and self._level == other._level

    def __lt__(self, other: TaskLevel) -> bool:
        return self._level < other._level

    def __le__(self, other: TaskLevel) -> bool:
        return self._level <= other._level

    def __gt__(self, other: TaskLevel) -> bool:
        return self._level > other._level

    def __ge__(self, other: TaskLevel) -> bool:
        return self._level >= other._level
