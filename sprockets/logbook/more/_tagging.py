"""Tags: records that are told apart by what they are about, instead of how bad they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from sprockets.logbook import _caller
from sprockets.logbook._dispatch import current_failure
from sprockets.logbook._dispatcher import RecordDispatcher
from sprockets.logbook._levels import NOTSET
from sprockets.logbook.errors import MisuseError
from sprockets.logbook.handlers import Handler
from sprockets.logbook.handlers._base import Failure, Filter
from sprockets.logbook.more._leaving import Leaving, asks, leave
from sprockets.logbook.record import ExcInfo, LogRecord, make_extra

_caller.register(__file__)
asks(__file__)


class TaggingLogger(RecordDispatcher):
    """Makes records that have tags in place of a level.

    Each tag that is declared is a method that logs with it; any other, and several at once, go
    through :meth:`log`.  The tags of a record are the list ``record.extra["tags"]``, its level is
    ``NOTSET``: a handler with a level, and a level of the logger itself, keep it out.

    >>> from sprockets.logbook import TestHandler
    >>> shop = TaggingLogger("shop", ["sale", "refund"])
    >>> with TestHandler(format_string="{record.extra[tags]} {record.message}") as handler:
    ...     shop.sale("{} for {}", "tea", 3)
    ...     shop.log(["refund", "angry"], "too cold")
    >>> handler.formatted_records
    ["['sale'] tea for 3", "['refund', 'angry'] too cold"]

    Args:
        name: The channel of its records.
        tags: Names of the methods.

    Raises:
        ValueError: A tag is the name of something that the logger has.
    """

    _tags: tuple[str, ...] = ()

    def __init__(self, name: str | None = None, tags: Iterable[str] | None = None) -> None:
        super().__init__(name)
        declared = tuple(dict.fromkeys(_as_list(tags or ())))
        for tag in declared:
            # Asked before the first of them is there.
            if hasattr(self, tag):
                raise ValueError(
                    f"tag {tag!r} would hide an attribute of the logger; choose another, or use"
                    f" log({tag!r}, …)"
                )
        self._tags = declared

    # Found here and not stored: a bound method in the logger would keep it alive until the garbage
    # collector comes, and loggers are gone when nobody holds them.
    def __getattr__(self, name: str) -> Callable[..., None]:
        if name in self._tags:
            return partial(self.log, name)
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
        )

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self._tags]

    def log(
        self,
        tags: str | Iterable[str],
        msg: Any,
        /,
        *args: Any,
        exc_info: ExcInfo = None,
        extra: Mapping[str, Any] | None = None,
        frame_correction: int = 0,
        **kwargs: Any,
    ) -> None:
        """Log *msg* with one tag or several.

        Args:
            tags: Declared or not.
            msg: The message, or the template of one.
            *args: Positional arguments of the template.
            exc_info: An exception, an ``exc_info`` tuple, or ``True`` for the one being handled.
            extra: Custom data; copied.  What it has as ``tags`` does not count.
            frame_correction: How many frames further out than this call the record's place is.
            **kwargs: Keyword arguments of the template.
        """
        if self._gate > NOTSET:
            return
        facts = make_extra(extra)
        facts["tags"] = _as_list(tags)
        self.make_record_and_handle(NOTSET, msg, args, kwargs, exc_info, facts, frame_correction)


class TaggingHandler(Handler, finaliser=False):
    """Passes each record on to the handlers of its tags.

    For each tag of a record, in order, each of the tag's handlers gets it: level, filter and bubble
    of these do not matter.  A handler of two tags gets a record with both twice.  Records without a
    tag that is known end here, too, unless a filter or *bubble* lets them through.

    The handlers stay their owner's to close.

    >>> from sprockets.logbook import TestHandler
    >>> sales, all_of_it = TestHandler(), TestHandler()
    >>> shop = TaggingLogger("shop", ["sale", "refund"])
    >>> with TaggingHandler({"sale": [sales, all_of_it], "refund": all_of_it}):
    ...     shop.sale("tea")
    ...     shop.refund("tea")
    >>> len(sales.records), len(all_of_it.records)
    (1, 2)

    Args:
        handlers: A handler or several, by tag.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.

    Raises:
        AssertionError: *handlers* is no dict.
        TypeError: A value of it is no handler, nor several.
    """

    handlers: dict[str, list[Handler]]
    """The handlers of each tag; may be changed."""

    def __init__(
        self,
        handlers: dict[str, Handler | Iterable[Handler]],
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        if not isinstance(handlers, dict):
            raise MisuseError(f"handlers must be a dict of handlers by tag, got {handlers!r}")
        super().__init__(NOTSET, filter, bubble)
        self.handlers = {
            tag: [found] if isinstance(found, Handler) else list(found)
            for tag, found in handlers.items()
        }
        for tag, found in self.handlers.items():
            for handler in found:
                if not isinstance(handler, Handler):
                    raise TypeError(f"handlers of tag {tag!r} must be handlers, got {handler!r}")

    def handle(self, record: LogRecord) -> bool:
        """Pass *record* on; what goes wrong goes to :meth:`handle_error`.

        Returns:
            ``True``: the record was dealt with.  It is then consumed, unless the handler lets it
            bubble.
        """
        failures, leaving = self._pass_on(record)
        for failure in failures:
            self.handle_error(record, failure)
        return True if leaving is None else leave(leaving.error)

    def emit(self, record: LogRecord) -> None:
        """Pass *record* on; the first of what goes wrong is raised when all have had it."""
        failures, leaving = self._pass_on(record)
        if leaving is not None:
            raise leaving.error
        if failures:
            raise failures[0][1]

    def _pass_on(self, record: LogRecord) -> tuple[list[Failure], Leaving | None]:
        failures: list[Failure] = []
        leaving: Leaving | None = None
        for tag in _as_list(record.extra["tags"] or ()):
            for handler in self.handlers.get(tag, ()):
                try:
                    answer: object = handler.handle(record)
                except Exception:  # noqa: BLE001 - the others get the record first
                    failures.append(current_failure())
                else:
                    if leaving is None and isinstance(answer, Leaving):
                        leaving = answer
        return failures, leaving


def _as_list(tags: str | Iterable[str]) -> list[str]:
    return [tags] if isinstance(tags, str) else list(tags)
