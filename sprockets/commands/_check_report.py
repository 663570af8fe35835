"""What ``sprockets check`` says: a table for people, JSON for programs."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TextIO, TypeAlias

from sprockets.logbook._console import should_color
from sprockets.logbook._text import escape_line
from sprockets.logbook.setups import Probe, Problem

Verdict: TypeAlias = Literal["yes", "taken", "no"]

_HEAD: Final = ("handler", "class", "arrived?", "detail", "ms")
_DETAIL: Final = _HEAD.index("detail")
_VERDICT: Final = _HEAD.index("arrived?")
_MIN_WIDTH: Final = 30
_COLORS: Final[Mapping[str, str]] = {"yes": "32", "taken": "33", "no": "31"}


@dataclass(frozen=True)
class Row:
    """What became of the record of one handler.

    Args:
        name: The handler's name in the set-up.
        probe: What became of it.
    """

    name: str
    probe: Probe

    @property
    def verdict(self) -> Verdict:
        """Whether the record arrived; ``"taken"`` if the destination does not say."""
        if not self.probe.arrived:
            return "no"
        return "yes" if self.probe.is_confirmed else "taken"


def write_table(rows: Sequence[Row], out: TextIO, environ: Mapping[str, str]) -> None:
    """Write a line for each of *rows*, aligned; details are wrapped where *out* is a terminal."""
    cells = [
        (
            escape_line(row.name),
            row.probe.handler,
            row.verdict,
            escape_line(row.probe.detail),
            f"{row.probe.seconds * 1000:.1f}",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (_HEAD, *cells)) for column in range(len(_HEAD))]
    if out.isatty():
        others = sum(widths) - widths[_DETAIL] + 2 * (len(_HEAD) - 1)
        room = shutil.get_terminal_size((100, 24)).columns - others
        widths[_DETAIL] = min(widths[_DETAIL], max(room, _MIN_WIDTH))
    has_colors = should_color(out, environ)
    for line in (_HEAD, *cells):
        first, *more = textwrap.wrap(line[_DETAIL], widths[_DETAIL]) or [""]
        out.write(_line((*line[:_DETAIL], first, line[-1]), widths, has_colors=has_colors))
        out.writelines(_line(("", "", "", rest, ""), widths, has_colors=False) for rest in more)


def _line(cells: Sequence[str], widths: Sequence[int], *, has_colors: bool) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells[:-1], widths, strict=False)]
    color = _COLORS.get(cells[_VERDICT])
    if has_colors and color is not None:
        padded[_VERDICT] = f"\x1b[{color}m{padded[_VERDICT]}\x1b[0m"
    return "  ".join([*padded, cells[-1].rjust(widths[-1])]).rstrip() + "\n"


def to_json(reference: str, problems: Sequence[Problem], rows: Sequence[Row], *, ok: bool) -> str:
    """Return all that was found, as one JSON object on a line."""
    found: dict[str, Any] = {
        "setup": reference,
        "ok": ok,
        "problems": [asdict(problem) for problem in problems],
        "handlers": [
            {
                "name": row.name,
                "class": row.probe.handler,
                "arrived": row.verdict,
                "detail": row.probe.detail,
                "milliseconds": round(row.probe.seconds * 1000, 3),
            }
            for row in rows
        ],
    }
    return json.dumps(found)
