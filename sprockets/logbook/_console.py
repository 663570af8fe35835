"""The console: lines for people who read along, coloured where that can be seen.

A line says when, how bad, from whom, what, and last, dim, in what context that was; a traceback
follows below.
"""

from __future__ import annotations

from collections.abc import Mapping

from sprockets.logbook import _caller
from sprockets.logbook._format import StringFormatter
from sprockets.logbook._json import quote
from sprockets.logbook._levels import CRITICAL, DEBUG, ERROR, INFO, NOTICE, TRACE, WARNING
from sprockets.logbook._text import escape_block, escape_line, safe_repr
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sprockets.logbook.handlers._base import Handler
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_COLORS: Final[Mapping[int, str]] = {
    CRITICAL: "1;31",
    ERROR: "31",
    WARNING: "33",
    NOTICE: "36",
    INFO: "32",
    DEBUG: "34",
    TRACE: "2",
}
_FIRST: Final = ("request_id", "method", "path")
_MAX_VALUE: Final = 200

# Names of fields whose owners, actions and the access log, are above: a test holds them together.
_PLACE: Final = frozenset(("task_uuid", "task_level"))
_IDENTITY: Final = _PLACE | {"timestamp", "message_type", "action_type", "action_status"}
_OF_MESSAGES: Final = _IDENTITY | {"exception", "reason", "message"}
_ACCESS_CHANNEL: Final = "tornado.access"
_OF_REQUESTS: Final = _IDENTITY.union(
    ("remote_ip", "user", "method", "path", "query", "http_version", "status", "bytes"),
    ("duration", "referer", "user_agent", "exception", "reason"),
)


def should_color(stream: Any, environ: Mapping[str, str]) -> bool:
    """Return whether lines for *stream* are to be coloured: on a terminal, if nobody objects.

    ``NO_COLOR`` in *environ* forbids it, ``FORCE_COLOR`` asks for it; set and not empty is enough.
    So do ``CLICOLOR=0`` and ``CLICOLOR_FORCE`` that is not ``0``.  Who forbids it, wins; a terminal
    that says it is ``dumb`` is coloured for those only who ask for it.

    Source: no-color.org, force-color.org, bixense.com/clicolors.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR") or environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    if environ.get("TERM") == "dumb" or environ.get("CLICOLOR") == "0":
        return False
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        # It is no file, or a closed one.
        return False


class ConsoleFormatter:
    """Formats records for people: time, level, channel, message, then in what context it was.

    What the message and the context say stays on the line, and cannot colour it; an exception
    follows below.

    >>> from io import StringIO
    >>> from sprockets.logbook import Fields, Logger, StreamHandler
    >>> handler = StreamHandler(StringIO())
    >>> handler.formatter = ConsoleFormatter()
    >>> with handler, Fields(request_id="r1"):
    ...     Logger("shop").warning("{} left", 3)
    >>> time, _, line = handler.stream.getvalue().partition(" ")
    >>> line.rstrip()
    'WARNING  shop: 3 left  request_id=r1'

    Args:
        color: Whether to colour levels, and to dim what is read last: time, context, and of a
            traceback the places.
    """

    color: bool

    def __init__(self, color: bool = False) -> None:
        self.color = color
        self._time = StringFormatter("{record.time:%H:%M:%S.%f}")
        self._text = StringFormatter("{record.channel}: {record.message}")

    def __call__(self, record: LogRecord, handler: Handler) -> str:
        """Return the line of *record*, and below it what takes more than a line."""
        time = self._time.format_record(record, handler)[:-3]
        name = level_name_of(record)
        text = self._text.format_record(record, handler)
        context = _context_of(record)
        if self.color:
            time = f"\x1b[2m{time}\x1b[0m"
            name = f"\x1b[{_COLORS.get(record.level, '1')}m{name:8}\x1b[0m"
            context = context and f"\x1b[2m{context}\x1b[0m"
        lines = [f"{time} {name:8} {text}  {context}" if context else f"{time} {name:8} {text}"]
        stack = record.extra.get("stack_info")
        if isinstance(stack, str):
            lines.append(escape_block(stack))
        exception = self._text.format_exception(record)
        if exception:
            lines += map(_colored, exception.split("\n")) if self.color else [exception]
        return "\n".join(lines)


def _colored(line: str) -> str:
    """Return a line of a traceback: what was raised stands out, where it was steps back."""
    if line.startswith(("  File ", "Traceback (")) or not line.strip(" ^~"):
        return f"\x1b[2m{line}\x1b[0m"
    if line and line[0] not in " |+":
        return f"\x1b[31m{line}\x1b[0m"
    return line


def level_name_of(record: LogRecord) -> str:
    """Return the name of the level of *record*, or its number where somebody's own has no name."""
    try:
        return record.level_name
    except LookupError:
        return str(record.level)


def _context_of(record: LogRecord) -> str:
    extra = record.extra
    if not extra:
        return ""
    # Ids of tasks are for programs; people have that of the request.
    hidden = _PLACE
    if record.channel == _ACCESS_CHANNEL:
        # The line says what the fields say.
        hidden = _OF_REQUESTS
    elif "action_status" in extra or "message_type" in extra:
        hidden = _OF_MESSAGES
    names = [name for name in _FIRST if name in extra]
    names += [name for name in extra if name not in _FIRST and name != "stack_info"]
    return " ".join(
        [
            f"{escape_line(str(name))}={_value_text(extra[name])}"
            for name in names
            if name not in hidden and extra[name] is not None
        ]
    )


def _value_text(value: object) -> str:
    if isinstance(value, str):
        if len(value) > _MAX_VALUE:
            value = f"{value[:_MAX_VALUE]}..."
        if value and value.isprintable() and not any(mark in value for mark in " \"'="):
            return value
        return quote(value)
    return escape_line(safe_repr(value, _MAX_VALUE))
