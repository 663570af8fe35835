"""Tables for a terminal and for a page, and figures that are kept to be shown again."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MISSING = "\N{EN DASH}"


def number(value: float | None) -> str:
    """Return *value* with as many digits as mean something, or a dash.

    >>> number(2.449), number(129.4), number(0.034)
    ('2.4', '129', '0.03')
    """
    if value is None:
        return MISSING
    if abs(value) < 1:
        return f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < 10 else f"{value:.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* under *head*, the first column aligned left and the others right.

    >>> print(table(["row", "ours"], [["level", "2.4"], ["a line", "40"]]))
    row     ours
    ------  ----
    level    2.4
    a line    40
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def list_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* under *head* as reStructuredText.

    >>> print(list_table(["row", "ours"], [["level", "2.4"]]))
    .. list-table::
       :header-rows: 1
    <BLANKLINE>
       * - row
         - ours
       * - level
         - 2.4
    """
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        lines += [
            f"   {'  -' if place else '* -'} {cell}".rstrip() for place, cell in enumerate(row)
        ]
    return "\n".join(lines)


TABLES = {"text": table, "rst": list_table}


def strong(text: str) -> str:
    """Return *text* in bold.

    >>> strong("0.6")
    '**0.6**'
    """
    return f"**{text}**"


def machine() -> dict[str, Any]:
    """Return on what something was measured, and how busy that was with other things."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
    }


def keep(path: Path, document: Mapping[str, Any]) -> None:
    """Write *document* to the file at *path*."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n", encoding="utf-8")


def kept(path: Path) -> Any:
    """Return the document in the file at *path*."""
    return json.loads(path.read_text(encoding="utf-8"))


Table = dict[str, Any]
"""A title, a head and rows, all of them texts."""


def shown(tables: Sequence[Table], style: str = "text") -> str:
    """Return *tables* one after the other; for a terminal with their titles."""
    titles = style == "text"
    return "\n\n".join(
        (f"{each['title']}\n\n" if titles and each["title"] else "")
        + TABLES[style](each["head"], each["rows"])
        for each in tables
    )
