"""Processors: they add facts to a record before handlers see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sprockets.logbook._context import ContextObject, ContextStackManager, NodeStackManager
from sprockets.logbook._typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

if TYPE_CHECKING:
    from sprockets.logbook.record import LogRecord

ProcessorCallback: TypeAlias = "Callable[[LogRecord], object]"


class Processor(ContextObject):
    """Calls *callback* with every record that somebody wants, once, before the handlers see it.

    All bound processors run, the most recently bound first.  One that raises is reported and
    passed over; the record goes on.

    Args:
        callback: Takes the record, usually to add to ``record.extra``; its result is ignored.
    """

    stack_manager: ClassVar[ContextStackManager] = NodeStackManager("processors")

    def __init__(self, callback: ProcessorCallback | None = None) -> None:
        self.callback = callback

    def process(self, record: LogRecord) -> None:
        """Add to *record* what there is to add."""
        if self.callback is not None:
            self.callback(record)


class Fields(Processor):
    """Gives every record the same fields, in ``record.extra``.

    It is a processor that needs no code, and costs less than one.  A field that the record has
    already (from the call, a bound logger, or fields bound later) stays as it is.

    >>> from sprockets.logbook import Logger, TestHandler
    >>> with TestHandler() as handler, Fields(request_id="f3a1"):
    ...     Logger("shop").info("sold")
    >>> handler.records[0].extra["request_id"]
    'f3a1'

    Args:
        **fields: Names and values; they are not copied, so do not change them afterwards.
    """

    def __init__(self, /, **fields: Any) -> None:
        super().__init__()
        self.fields: Mapping[str, Any] = fields

    def process(self, record: LogRecord) -> None:
        """Add the fields that *record* does not have yet."""
        extra = record.extra
        for name, value in self.fields.items():
            if name not in extra:
                extra[name] = value
