"""Lines by rich: coloured columns and tracebacks on a terminal, plain lines everywhere else."""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sprockets.logbook import _caller
from sprockets.logbook._console import should_color
from sprockets.logbook._layout import message_of
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.handlers import StreamHandler
from sprockets.logbook.handlers._base import Filter, Formatter
from sprockets.logbook.more._rich_lines import RichLayout
from sprockets.logbook.record import LogRecord

if TYPE_CHECKING:
    from rich.console import Console

_caller.register(__file__)


class RichHandler(StreamHandler):
    """Writes records in columns, coloured, with rich's tracebacks, if there is a terminal.

    Time, level, message with its custom fields, and the file with the line that logged.  Where the
    output is no terminal each record is one line, however long, with a plain traceback below.

    Messages are other people's texts: no markup is read from them unless *markup* says so, and what
    could steer a terminal is shown as escapes.  Values of local variables are shown only if
    *tracebacks_show_locals* says so: there are passwords among them.

    What is coloured is as with :class:`ColorizingStreamHandlerMixin`; the colours of levels can be
    set in the theme of a console, as ``logging.level.info`` and the like.

    >>> import sys
    >>> from sprockets.logbook import Logger
    >>> with RichHandler(stream=sys.stdout, show_time=False, show_path=False):
    ...     Logger("shop").warning("only {} left", 2, extra={"item": "tea"})
    WARNING  shop: only 2 left item=tea

    Args:
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        console: Print to this, for the sake of its theme, or of a progress bar that it shows;
            always in columns.
        stream: A text stream; ``None`` means what ``sys.stderr`` is at that moment.
        show_time: Show when.
        omit_repeated_times: Leave a time out that is the same as that of the record before.
        show_level: Show the level.
        show_channel: Show the channel, before the message.
        show_fields: Show the custom fields, behind the message.
        show_path: Show where the call was.
        enable_link_path: Make that a link to the file, in terminals that have links.
        highlighter: Colours what it knows in messages; ``None`` means rich's for Python's values.
        markup: Read messages as rich's markup; ``extra={"markup": True}`` does so for one record.
        keywords: Words to stand out in messages.
        rich_tracebacks: Show tracebacks in rich's way.
        tracebacks_width: Columns of a traceback; ``None`` is the whole width.
        tracebacks_extra_lines: Lines of code around each line of a traceback.
        tracebacks_theme: Colours of the code in a traceback.
        tracebacks_word_wrap: Wrap long lines of code.
        tracebacks_show_locals: Show the values of local variables.
        tracebacks_suppress: Modules or paths whose frames are shown without code.
        tracebacks_max_frames: Frames of a traceback at most; 0 is no limit.
        locals_max_length: Items of a container shown at most.
        locals_max_string: Characters of a text shown at most.
        log_time_format: What ``strftime`` makes of the time.

    Raises:
        ImportError: rich is not installed.
        ValueError: There are both a console and a stream.
        TypeError: *console* is none of rich's.
    """

    formatter: Formatter | None

    def __init__(
        self,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        console: Console | None = None,
        stream: Any = None,
        show_time: bool = True,
        omit_repeated_times: bool = True,
        show_level: bool = True,
        show_channel: bool = True,
        show_fields: bool = True,
        show_path: bool = True,
        enable_link_path: bool = True,
        highlighter: Any = None,
        markup: bool = False,
        keywords: Iterable[str] = (),
        rich_tracebacks: bool = True,
        tracebacks_width: int | None = None,
        tracebacks_extra_lines: int = 3,
        tracebacks_theme: str | None = None,
        tracebacks_word_wrap: bool = True,
        tracebacks_show_locals: bool = False,
        tracebacks_suppress: Iterable[Any] = (),
        tracebacks_max_frames: int = 100,
        locals_max_length: int = 10,
        locals_max_string: int = 80,
        log_time_format: str = "%H:%M:%S",
    ) -> None:
        if console is not None and stream is not None:
            raise ValueError("give a console or a stream, not both: a console has its own")
        if console is not None and not hasattr(console, "capture"):
            raise TypeError(f"console must be a rich.console.Console, got {console!r}")
        self._layout = RichLayout(
            show_time=show_time,
            show_level=show_level,
            show_channel=show_channel,
            show_fields=show_fields,
            show_path=show_path,
            has_links=enable_link_path,
            time_format=log_time_format,
            highlighter=highlighter,
            has_markup=markup,
            keywords=tuple(keywords),
            traceback_options={
                "width": tracebacks_width,
                "extra_lines": tracebacks_extra_lines,
                "theme": tracebacks_theme,
                "word_wrap": tracebacks_word_wrap,
                "show_locals": tracebacks_show_locals,
                "suppress": tuple(tracebacks_suppress),
                "max_frames": tracebacks_max_frames,
                "locals_max_length": locals_max_length,
                "locals_max_string": locals_max_string,
            }
            if rich_tracebacks
            else None,
            needed_by=type(self).__name__,
        )
        self._console = console
        self._stream = stream
        self._made: tuple[object, Console] | None = None
        self._rendering: set[int] = set()
        self._omits_times = omit_repeated_times
        self._last_time = ""
        super().__init__(None, level, None, None, filter, bubble)
        self.formatter = None

    @property
    def stream(self) -> Any:
        """What is written to; standard error as it is now, unless there is another."""
        if self._console is not None:
            return self._console.file
        return sys.stderr if self._stream is None else self._stream

    @stream.setter
    def stream(self, stream: Any) -> None:
        self._stream = stream

    @property
    def console(self) -> Console:
        """The console that records are made for; one of its own, unless it was given one."""
        if self._console is not None:
            return self._console
        stream = self.stream
        is_coloured = should_color(stream, os.environ)
        if get_ident() in self._rendering:
            # A signal handler logs while a record is rendered, whose text that console has.
            return _make_console(stream, is_coloured)
        key = (stream, is_coloured, _is_terminal(stream))
        made = self._made
        if made is None or made[0] != key:
            made = self._made = (key, _make_console(stream, is_coloured))
        return made[1]

    def emit(self, record: LogRecord) -> None:
        """Write *record*, or print it to the console that was given.

        Raises:
            BrokenPipeError: Nobody reads any more what the console prints.
        """
        if self._console is None:
            if self.stream is not None:
                super().emit(record)
            return
        try:
            message = self._message(record)
            self._console.print(self._columns(record, message, self._console))
        except SystemExit as error:
            # rich ends the program then, which is not for a log call to do.
            raise BrokenPipeError("the console's output is closed") from error

    def format(self, record: LogRecord) -> str:
        """Return *record* as it is written: columns for a terminal, a line for everything else.

        A formatter that was assigned makes the text that stands in the place of the message.
        """
        message = self._message(record)
        console = self.console
        thread = get_ident()
        is_first = thread not in self._rendering
        self._rendering.add(thread)
        try:
            with console.capture() as captured:
                if self._console is not None or _is_terminal(self.stream):
                    console.print(self._columns(record, message, console))
                else:
                    line = self._layout.line(record, message, console)
                    console.print(line, soft_wrap=True, highlight=False)
        finally:
            if is_first:
                self._rendering.discard(thread)
        return captured.get().removesuffix("\n")

    def _columns(self, record: LogRecord, message: str, console: Console) -> Any:
        before = self._last_time if self._omits_times else ""
        self._last_time = self._layout.time_of(record)
        return self._layout.columns(record, message, console, omitted_time=before)

    def _message(self, record: LogRecord) -> str:
        formatter = self.formatter
        return message_of(record) if formatter is None else str(formatter(record, self))


class _Facade:
    """Looks like a stream to a console, and is written nothing: what is rendered is captured."""

    def __init__(self, stream: Any) -> None:
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.isatty = lambda: _is_terminal(stream)

    def write(self, text: str) -> int:
        """Take *text*, and drop it."""
        return len(text)

    def flush(self) -> None:
        """Do nothing."""


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def _make_console(stream: Any, is_coloured: bool) -> Console:
    from rich.console import Console

    system: Any = "auto" if is_coloured else None
    if is_coloured and os.environ.get("TERM", "dumb") in {"dumb", "unknown"}:
        # Somebody insists on colours; these are what everything understands.
        system = "standard"
    facade: Any = _Facade(stream)
    return Console(
        file=facade,
        color_system=system,
        force_terminal=True if is_coloured else None,
        # Colours forbidden are no colours at all; allowed ones have been asked for.
        no_color=False,
        force_jupyter=False,
        emoji=False,
    )
