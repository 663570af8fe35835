"""Summaries: how often each type of action was there, how often it failed, how long it took."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sprockets.eliot._fields import FAILED, STARTED
from sprockets.eliot._trees._flow import BOLD, RED, YELLOW, Span, columns, paint, shown
from sprockets.eliot._trees._growth import Action, Tree
from sprockets.eliot._trees._times import format_duration

OTHERS: Final = "(other types)"
_MAX_TYPES: Final = 10_000
_MIN: Final = 1e-7


@dataclass
class Line:
    """What is known of the actions of one type.

    Durations are counted by their first three digits, which is what is shown of them; so their
    number does not matter for the memory they take.
    """

    count: int = 0
    failed: int = 0
    unfinished: int = 0
    longest: float | None = None
    _durations: Counter[float] = field(default_factory=Counter, repr=False)

    def add(self, action: Action) -> None:
        """Count *action*."""
        self.count += 1
        self.failed += action.status == FAILED
        self.unfinished += action.status == STARTED
        duration = action.duration
        if duration is not None:
            self.longest = duration if self.longest is None else max(self.longest, duration)
            self._durations[_rounded(duration)] += 1

    def quantile(self, share: float) -> float | None:
        """Return the shortest duration that at least *share* of all do not exceed, in seconds."""
        wanted = math.ceil(share * self._durations.total())
        for duration in sorted(self._durations):
            wanted -= self._durations[duration]
            if wanted <= 0:
                return duration
        return None


def _rounded(duration: float) -> float:
    if abs(duration) < _MIN:
        return 0.0
    return float(f"{duration:.3g}")


class Summary:
    """Counts the actions of trees by their type.

    Args:
        wants: Says which actions count; all unless given.
    """

    def __init__(self, wants: Callable[[Action], bool] | None = None) -> None:
        self._wants = wants
        self.lines: dict[str, Line] = {}

    def add(self, tree: Tree) -> None:
        """Count the actions of *tree*; what is known of neither start nor end is none."""
        for action in tree.actions():
            if action.status and (self._wants is None or self._wants(action)):
                name = action.name
                if name not in self.lines and len(self.lines) >= _MAX_TYPES:
                    name = OTHERS
                self.lines.setdefault(name, Line()).add(action)

    def _sorted(self) -> list[tuple[str, Line]]:
        return sorted(self.lines.items(), key=lambda item: (-item[1].count, item[0]))

    def to_rows(self) -> Iterator[dict[str, object]]:
        """Return each type as what JSON can say, the most frequent first; durations are seconds."""
        for name, line in self._sorted():
            yield {
                "action_type": name,
                "count": line.count,
                "failed": line.failed,
                "unfinished": line.unfinished,
                "p50": line.quantile(0.5),
                "p95": line.quantile(0.95),
                "max": line.longest,
            }

    def draw(self, *, has_colors: bool = False, is_ascii: bool = False) -> Iterator[str]:
        """Return the lines of a table, the most frequent type first."""
        titles = ["action type", "count", "failed", "unfinished", "p50", "p95", "max"]
        rows = [[(BOLD, title) for title in titles]]
        for name, line in self._sorted():
            times = [line.quantile(0.5), line.quantile(0.95), line.longest]
            rows.append(
                [
                    ("", shown(name) or "(no type)"),
                    ("", f"{line.count:,}"),
                    (RED if line.failed else "", f"{line.failed:,}"),
                    (YELLOW if line.unfinished else "", f"{line.unfinished:,}"),
                    *(
                        ("", "-" if time is None else format_duration(time, is_ascii=is_ascii))
                        for time in times
                    ),
                ]
            )
        widths = [max(columns(text) for _, text in column) for column in zip(*rows, strict=True)]
        for row in rows:
            spans: list[Span] = []
            for index, ((style, text), width) in enumerate(zip(row, widths, strict=True)):
                space = " " * (width - columns(text))
                spans += (
                    [(style, text), ("", space)]
                    if not index
                    else [("", f"  {space}"), (style, text)]
                )
            yield paint(spans, has_colors=has_colors)
