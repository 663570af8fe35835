"""Flowing text: words with colours, broken into lines that fit between the edges of a terminal.

What a log says cannot reach the terminal as anything but text: every word goes through `shown`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from sprockets.logbook._text import escape_line

Span: TypeAlias = tuple[str, str]
"""The parameters of an SGR sequence, empty for none, and a text."""

TAB: Final = 4

BOLD: Final = "1"
DIM: Final = "2"
RED: Final = "31"
GREEN: Final = "32"
YELLOW: Final = "33"
CYAN: Final = "36"


def shown(text: str) -> str:
    r"""Return *text* with what a terminal would obey rather than show as an escape.

    >>> shown("a\x1b[2Jb\n")
    'a\\x1b[2Jb\\n'
    """
    return text if text.isprintable() else escape_line(text)


def columns(text: str) -> int:
    """Return how many columns *text* takes on a terminal.

    >>> columns("abc"), columns("日本"), columns("e\N{COMBINING ACUTE ACCENT}")
    (3, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


@dataclass(slots=True)
class Word:
    """What a line is broken around.

    Args:
        spans: What it consists of; their texts have been through `shown`.
        gap: Spaces before it, unless it is the first of a line.
        starts_line: It begins a line of its own, and its gap is kept.
    """

    spans: list[Span]
    gap: int = 1
    starts_line: bool = False


def words_of(text: str, style: str = "") -> Iterator[Word]:
    """Split *text* at its spaces and line feeds."""
    for number, line in enumerate(text.split("\n")):
        gap, is_first = 0 if number else 1, number > 0
        for piece in line.expandtabs(TAB).rstrip().split(" "):
            if piece or is_first:
                yield Word([(style, shown(piece))], gap, is_first)
                gap, is_first = 1, False
            else:
                gap += 1


def flow(
    words: Iterable[Word], width: int | None, first: int | None = None
) -> Iterator[list[Span]]:
    """Break *words* into lines.

    Args:
        words: In their order.
        width: Columns, or None for lines as long as they are.
        first: Columns of the first line, if it has others.
    """
    room = width if first is None else first
    line: list[Span] | None = None
    column = 0
    for word in words:
        length = sum(columns(text) for _, text in word.spans)
        gap = word.gap
        if line is None:
            line, gap = [], gap if word.starts_line else 0
        elif word.starts_line or (room is not None and column + gap + length > room):
            yield line
            line, column, room = [], 0, width
            gap = gap if word.starts_line else 0
        if gap:
            line.append(("", " " * gap))
            column += gap
        if room is None or column + length <= room:
            line += word.spans
            column += length
            continue
        for style, character in _characters(word.spans):
            size = columns(character)
            if column and width is not None and column + size > (room or width):
                yield line
                line, column, room = [], 0, width
            line.append((style, character))
            column += size
    if line is not None:
        yield line


def _characters(spans: Iterable[Span]) -> Iterator[Span]:
    for style, text in spans:
        for character in text:
            yield style, character


def paint(spans: Iterable[Span], *, has_colors: bool) -> str:
    """Return the text of *spans*, with colours if wanted."""
    if not has_colors:
        return "".join([text for _, text in spans]).rstrip()
    parts: list[str] = []
    current = ""
    for style, text in spans:
        if text and style != current:
            parts.append(f"\x1b[0;{style}m" if style else "\x1b[0m")
            current = style
        parts.append(text)
    if current:
        parts.append("\x1b[0m")
    return "".join(parts)
