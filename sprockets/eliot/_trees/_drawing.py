"""Drawings: a tree as lines of text for people.

At the left stands when each thing began, then the tree, and in the tree for each action whether it
succeeded, how long it took, and why it failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sprockets.eliot._trees._entry import Entry
from sprockets.eliot._trees._facts import Facts, facts_of
from sprockets.eliot._trees._flow import BOLD, DIM, Word, flow, paint
from sprockets.eliot._trees._growth import Action, Tree
from sprockets.eliot._trees._wording import Wording

MIN_WIDTH: Final = 40
"""Columns that a line has at least."""

_MAX_STEM: Final = 200  # columns of a tree, where nothing else limits them


@dataclass(frozen=True)
class Look:
    """How trees are drawn.

    Args:
        width: Columns that lines may have, at least `MIN_WIDTH`; None for lines as long as they
            are, with nothing left out.
        has_colors: Whether to write the escape sequences of colours.
        is_ascii: Whether to draw with ASCII signs only.
        is_utc: Whether times are UTC, rather than local.
        is_absolute: Whether the times at the left are those of the clock, rather than seconds
            since the task began.
        fields: Patterns of the fields to show; None for all of them.
    """

    width: int | None = 100
    has_colors: bool = False
    is_ascii: bool = False
    is_utc: bool = False
    is_absolute: bool = False
    fields: tuple[str, ...] | None = None


def draw(tree: Tree, look: Look) -> Iterator[str]:
    """Return the lines of *tree*, without line feeds; they are made as they are taken."""
    drawing = _Drawing(tree, look)
    if isinstance(tree.root, Entry):
        return drawing.single(tree.root)
    return drawing.tree(tree.root)


class _Drawing:
    """One tree being drawn."""

    def __init__(self, tree: Tree, look: Look) -> None:
        self._look = look
        self._width = None if look.width is None else max(MIN_WIDTH, look.width)
        self._wording = Wording(
            tree,
            fields=look.fields,
            is_ascii=look.is_ascii,
            is_whole=look.width is None,
        )
        period = tree.period()
        self._base: float | None = None
        self._decimals = 3
        self._clock = "%H:%M:%S.%f"
        self._gutter = 0
        if period is not None:
            self._base, end = period
            if end - self._base < 0.01:
                self._decimals = 6
            if self._local(self._base).date() != self._local(end).date():
                self._clock = "%m-%d %H:%M:%S.%f"
            self._gutter = len(self._time_text(end)) + 2

    # -- the tree

    def single(self, entry: Entry) -> Iterator[str]:
        """Return the lines of a message or record that is in no tree."""
        words = list(self._wording.entry(entry, ()))
        if entry.time is not None:
            words.insert(0, Word([(DIM, self._moment(entry.time))]))
            for word in words[1:2]:
                word.gap = 2
        return self._lay_out(words, "", "", "    ")

    def tree(self, root: Action) -> Iterator[str]:
        """Return the lines of *root* and all below; not by recursion: logs may nest very deep."""
        words = list(self._wording.heading())
        if self._base is not None:
            words.insert(0, Word([(BOLD, self._moment(self._base))]))
        yield from self._lay_out(words, "", "", "    ")
        signs = self._wording.signs
        fields: list[dict[str, object]] = []
        yield from self._action(root, "", "", fields)
        waiting = [(iter(root.children), len(root.children), "")]
        while waiting:
            children, left, stem = waiting.pop()
            child = next(children, None)
            if child is None:
                fields.pop()
                continue
            waiting.append((children, left - 1, stem))
            first = stem + (signs.fork if left > 1 else signs.last)
            inner = stem + (signs.bar if left > 1 else signs.blank)
            if isinstance(child, Action):
                yield from self._action(child, first, inner, fields)
                waiting.append((iter(child.children), len(child.children), inner))
            else:
                words = list(self._wording.entry(child, fields))
                yield from self._lay_out(words, self._when(child.time), first, f"{inner}   ")

    def _action(
        self, action: Action, first: str, inner: str, fields: list[dict[str, object]]
    ) -> Iterator[str]:
        """Return the lines of *action* alone, and add its fields to those of the ones around."""
        start = Facts() if action.start is None else facts_of(action.start)
        end = Facts() if action.end is None else facts_of(action.end)
        fields.append({**start.fields, **end.fields})
        signs = self._wording.signs
        words = list(self._wording.action(action, start, end, fields[:-1]))
        rest = f"{inner}{signs.bar if action.children else signs.blank} "
        return self._lay_out(words, self._when(action.started_at), first, rest)

    # -- lines

    def _lay_out(self, words: Iterable[Word], when: str, first: str, rest: str) -> Iterator[str]:
        """Break *words* into lines, the first after *when* and *first*, the others after *rest*."""
        gutter = len(when)
        # So deep within the tree, only the nearest branches are drawn.
        limit = _MAX_STEM if self._width is None else (self._width - gutter) // 2
        first, rest = first[-limit:], rest[-limit:]
        widths: tuple[int | None, int | None] = (None, None)
        if self._width is not None:
            widths = (self._width - gutter - len(rest), self._width - gutter - len(first))
        prefix = [(DIM, when), (DIM, first)]
        for line in flow(words, *widths):
            yield paint([*prefix, *line], has_colors=self._look.has_colors)
            prefix = [(DIM, " " * gutter), (DIM, rest)]

    # -- times

    def _when(self, time: float | None) -> str:
        """Return what stands at the left; where the time is not known, as many spaces."""
        return self._time_text(time).ljust(self._gutter)

    def _local(self, time: float) -> datetime:
        moment = datetime.fromtimestamp(time, UTC)
        return moment if self._look.is_utc else moment.astimezone()

    def _moment(self, time: float) -> str:
        moment = self._local(time)
        text = f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"
        return f"{text}Z" if self._look.is_utc else text

    def _time_text(self, time: float | None) -> str:
        if time is None or self._base is None:
            return ""
        if self._look.is_absolute:
            return self._local(time).strftime(self._clock)[:-3]
        return f"{time - self._base:.{self._decimals}f}"
