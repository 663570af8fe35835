"""Aligned tables for a terminal."""

from collections.abc import Sequence

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
