"""Exceptions out of records: a log call that raises."""

from __future__ import annotations

from sprockets.logbook import _caller
from sprockets.logbook._format import StringFormatterHandlerMixin
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.handlers import Handler
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.more._leaving import leave
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class ExceptionHandler(Handler, StringFormatterHandlerMixin):
    """Raises an exception out of the log call, whatever the flag ``errors`` says.

    For tests, and for programs that must not go on after what they logged.  Handlers that come
    before it have had the record; those that come after do not get it.  Wrapped in another handler
    it does nothing.

    >>> from sprockets.logbook import Logger
    >>> with ExceptionHandler(ValueError, "ERROR", "{record.channel}: {record.message}"):
    ...     Logger("shop").error("no till")
    Traceback (most recent call last):
        ...
    ValueError: shop: no till

    Args:
        exc_type: The class of the exception; called with the line of the record.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of the line; ``None`` means :attr:`default_format_string`.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler: nothing goes on past what is raised.

    Raises:
        TypeError: *exc_type* is no class of exceptions.
    """

    exc_type: type[BaseException]

    def __init__(
        self,
        exc_type: type[BaseException],
        level: Level = NOTSET,
        format_string: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        if not _is_exception(exc_type):
            raise TypeError(f"exc_type must be a class of exceptions, got {exc_type!r}")
        Handler.__init__(self, level, filter, bubble)
        StringFormatterHandlerMixin.__init__(self, format_string)
        self.exc_type = exc_type

    def handle(self, record: LogRecord) -> bool:
        """Raise an exception with the line of *record*, out of the log call.

        Returns:
            ``False`` for a record below the level, which goes on to the next handler.
        """
        if not self.should_handle(record):
            return False
        return leave(self.exc_type(self.format(record)))


def _is_exception(exc_type: object) -> bool:
    return isinstance(exc_type, type) and issubclass(exc_type, BaseException)
