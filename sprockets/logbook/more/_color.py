"""Colour: lines on a terminal whose colour says how bad it is."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import Any

from sprockets.logbook import _caller
from sprockets.logbook._console import should_color
from sprockets.logbook._levels import ERROR, NOTICE, NOTSET, Level
from sprockets.logbook.handlers import StderrHandler
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.more._termcolors import colorize
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


@cache
def _is_console_ready() -> bool:
    """Return whether the console understands colour codes, having seen to it where that helps."""
    if os.name != "nt":
        return True
    try:
        colorama = import_module("colorama")
    except ImportError:
        return False
    colorama.just_fix_windows_console()
    return True


class ColorizingStreamHandlerMixin:
    """Colours the lines of the stream handler that it comes before in a class statement.

    Lines are coloured where the stream is a terminal; ``NO_COLOR``, ``FORCE_COLOR``,
    ``CLICOLOR_FORCE`` and ``TERM=dumb`` in the environment count, and what :meth:`force_color` and
    :meth:`forbid_color` say counts more.  On Windows it takes the library colorama.

    >>> import sys
    >>> from sprockets.logbook import Logger, StreamHandler
    >>> class ColorizedStreamHandler(ColorizingStreamHandlerMixin, StreamHandler):
    ...     pass
    >>> handler = ColorizedStreamHandler(sys.stdout, format_string="{record.message}")
    >>> with handler:
    ...     Logger("shop").error("no colour: this is no terminal")
    no colour: this is no terminal
    """

    _choice: bool | None = None

    def force_color(self) -> None:
        """Colour every line from now on, wherever it is written to."""
        self._choice = True

    def forbid_color(self) -> None:
        """Colour no line from now on."""
        self._choice = False

    def should_colorize(self, record: LogRecord) -> bool:
        """Return whether the line of *record* is coloured; asked for each."""
        if self._choice is not None:
            return self._choice and _is_console_ready()
        return should_color(getattr(self, "stream", None), os.environ) and _is_console_ready()

    def get_color(self, record: LogRecord) -> str | None:
        """Return the name of the colour for *record*; ``None`` and ``""`` are none.

        Red for errors and worse, yellow for warnings and notices, light gray for the rest.
        """
        if record.level >= ERROR:
            return "red"
        if record.level >= NOTICE:
            return "yellow"
        return "lightgray"

    def format(self, record: LogRecord) -> Any:
        """Return the line of *record*, traceback included, between the codes of its colour."""
        text = super().format(record)  # type: ignore[misc]  # the stream handler's
        if self.should_colorize(record):
            color = self.get_color(record)
            if color:
                return colorize(color, str(text))
        return text


class ColorizedStderrHandler(ColorizingStreamHandlerMixin, StderrHandler):
    """Writes each record as one line to standard error, coloured if that is a terminal.

    Args:
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a line; ``None`` means :attr:`default_format_string`.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
    """

    def __init__(
        self,
        level: Level = NOTSET,
        format_string: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        super().__init__(level, format_string, filter, bubble)
        # Before the first line: on an old Windows this replaces the stream.
        _is_console_ready()
