"""What rich makes of a record: columns, or a line; with a traceback below.

rich is imported when the first layout is made, not with this module.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sprockets._support.optional import optional
from sprockets.logbook import _caller
from sprockets.logbook._levels import (
    CRITICAL,
    DEBUG,
    ERROR,
    INFO,
    NOTICE,
    NOTSET,
    TRACE,
    WARNING,
)
from sprockets.logbook._text import escape_block, escape_line, safe_repr, safe_str
from sprockets.logbook.record import LogRecord

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.style import Style
    from rich.text import Text

_caller.register(__file__)

# Names in the theme of a console, those of rich's own handler among them; and what is used without.
_LEVEL_STYLES: Final[Mapping[int, tuple[str, str]]] = {
    CRITICAL: ("logging.level.critical", "bold reverse red"),
    ERROR: ("logging.level.error", "bold red"),
    WARNING: ("logging.level.warning", "yellow"),
    NOTICE: ("logging.level.notice", "cyan"),
    INFO: ("logging.level.info", "blue"),
    DEBUG: ("logging.level.debug", "green"),
    TRACE: ("logging.level.trace", "dim"),
    NOTSET: ("logging.level.notset", "dim"),
}
_LEVEL_WIDTH: Final = 8


@dataclass
class RichLayout:
    """What is shown of a record, and how.

    Args:
        show_time: Whether to show when.
        show_level: Whether to show the level.
        show_channel: Whether to show the channel, before the message.
        show_fields: Whether to show the custom fields, behind the message.
        show_path: Whether to show where the call was.
        has_links: Whether that is a link to the file.
        time_format: What ``strftime`` makes of the time.
        highlighter: Colours what it knows in messages; ``None`` means rich's for Python's values.
        has_markup: Whether messages are markup.
        keywords: Words to stand out in messages.
        traceback_options: Of ``rich.traceback.Traceback``; ``None`` for plain tracebacks.
        needed_by: What needs rich, as a text about its lack says.
    """

    show_time: bool
    show_level: bool
    show_channel: bool
    show_fields: bool
    show_path: bool
    has_links: bool
    time_format: str
    highlighter: Any
    has_markup: bool
    keywords: tuple[str, ...]
    traceback_options: Mapping[str, Any] | None
    needed_by: str

    def __post_init__(self) -> None:
        optional("rich", extra="color", needed_by=self.needed_by)
        if self.highlighter is None:
            from rich.highlighter import ReprHighlighter

            self.highlighter = ReprHighlighter()

    def columns(
        self, record: LogRecord, message: str, console: Console, *, omitted_time: str = ""
    ) -> RenderableType:
        """Return *record* in columns, its traceback below.

        Args:
            record: The record.
            message: Its message.
            console: Knows styles.
            omitted_time: A time that is left out if it is that of *record*.
        """
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1), expand=True)
        cells: list[Text] = []
        if self.show_time:
            time = self.time_of(record)
            table.add_column(style="log.time")
            cells.append(Text(" " * len(time) if time == omitted_time else time))
        if self.show_level:
            table.add_column(width=_LEVEL_WIDTH)
            cells.append(self._level(record, console))
        # Lines of a message that are set off by columns to the left cannot pass for records.
        escape = escape_block if cells else escape_line
        table.add_column(ratio=1, style="log.message", overflow="fold")
        cells.append(self._message(record, escape(message)))
        if self.show_path and record.filename:
            table.add_column(style="log.path")
            cells.append(self._path(record))
        table.add_row(*cells)
        below = self._traceback(record)
        return _Tame(table if below is None else Group(table, below))

    def line(self, record: LogRecord, message: str, console: Console) -> RenderableType:
        """Return *record* in one line, its traceback below as plain text."""
        from rich.text import Text

        cells: list[Text] = []
        if self.show_time:
            cells.append(Text(self.time_of(record), "log.time"))
        if self.show_level:
            cells.append(self._level(record, console))
        cells.append(self._message(record, escape_line(message)))
        if self.show_path and record.filename:
            cells.append(Text.assemble((self._place(record), "log.path")))
        line = Text(" ").join(cells)
        if record.formatted_exception:
            line.append(f"\n{escape_block(record.formatted_exception)}")
        return line

    def time_of(self, record: LogRecord) -> str:
        """Return when *record* was made, as it is shown."""
        return "" if record.time is None else record.time.strftime(self.time_format)

    def _level(self, record: LogRecord, console: Console) -> Text:
        from rich.text import Text

        known = max((level for level in _LEVEL_STYLES if level <= record.level), default=NOTSET)
        name, default = _LEVEL_STYLES[known]
        style: Style = console.get_style(name, default=default)
        try:
            text = record.level_name
        except LookupError:
            text = str(record.level)
        return Text(text.ljust(_LEVEL_WIDTH), style)

    def _message(self, record: LogRecord, message: str) -> Text:
        from rich.errors import MarkupError
        from rich.text import Text

        text = Text(message)
        if self.has_markup or record.extra["markup"] is True:
            try:
                text = Text.from_markup(message, emoji=False)
            except MarkupError:
                # It was meant for reading: so it is shown as it is.
                text = Text(message)
        text = self.highlighter(text)
        if self.keywords:
            text.highlight_words(self.keywords, "logging.keyword")
        if self.show_channel and record.channel:
            text = Text.assemble((f"{escape_line(safe_str(record.channel))}: ", "bold"), text)
        if self.show_fields:
            for key, value in record.extra.items():
                if key != "markup":
                    name = escape_line(safe_str(key))
                    text.append_text(Text.assemble(" ", (f"{name}=", "dim"), _value(value)))
        return text

    def _place(self, record: LogRecord) -> str:
        name = safe_str(record.filename).replace("\\", "/").rpartition("/")[2]
        return escape_line(f"{name}:{record.lineno}")

    def _path(self, record: LogRecord) -> Text:
        from rich.style import Style
        from rich.text import Text

        if not self.has_links:
            return Text(self._place(record))
        # Quoted: the name may come from another machine, and a link is an escape sequence.
        address = f"file://{quote(safe_str(record.filename), errors='replace')}"
        return Text(self._place(record), Style(link=f"{address}#{record.lineno}"))

    def _traceback(self, record: LogRecord) -> RenderableType | None:
        from rich.text import Text
        from rich.traceback import Traceback

        exc_info = record.exc_info
        if self.traceback_options is not None and isinstance(exc_info, tuple) and exc_info[1]:
            with contextlib.suppress(Exception):
                # Some exceptions misbehave; the text below says as much.
                return Traceback.from_exception(*exc_info, **self.traceback_options)
        text = record.formatted_exception
        return None if not text else Text(escape_block(text))


def _value(value: object) -> str:
    text = safe_str(value, 1_000)
    if text and text.isprintable() and not any(mark in text for mark in " ='\""):
        return text
    return escape_line(safe_repr(text))


class _Tame:
    """Shows what it is made of, with everything as escapes that could steer a terminal.

    Args:
        content: Anything that rich can show.
    """

    def __init__(self, content: RenderableType) -> None:
        self.content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Show it, piece by piece."""
        from rich.segment import Segment

        for text, style, control in console.render(self.content, options):
            yield Segment(text if control else escape_block(text), style, control)
