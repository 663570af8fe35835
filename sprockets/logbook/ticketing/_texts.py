"""Texts that fit into columns, and that every database takes."""

from __future__ import annotations

from typing import Final

_NUL: Final = "\x00"


def fitting(text: str, length: int, *, from_left: bool = False) -> str:
    """Return *text* in at most *length* characters, none of which a database refuses.

    Args:
        text: The text.
        length: Characters at most.
        from_left: Cut off the begin instead of the end.

    >>> fitting("/srv/app.py:9", 8, from_left=True)
    'app.py:9'
    """
    if _NUL in text:
        text = text.replace(_NUL, "\\x00")
    if not text.isascii():
        # Undecodable parts of file names are lone surrogates here.
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= length:
        return text
    return text[-length:] if from_left else text[:length]


def fitting_or_none(text: str | None, length: int) -> str | None:
    """Return *text* in at most *length* characters, or None."""
    return None if text is None else fitting(text, length)
