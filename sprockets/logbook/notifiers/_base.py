"""The base of notifiers: a record becomes a short notice, and a thread brings it where it goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from threading import RLock
from time import monotonic
from typing import Any, ClassVar

from sprockets.logbook import _caller, _fork
from sprockets.logbook._layout import message_of
from sprockets.logbook._levels import LEVEL_NAMES, NOTSET, Level
from sprockets.logbook._text import escape_block, escape_line
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._limits import LimitingHandlerMixin
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.helpers import get_application_name
from sprockets.logbook.notifiers._sending import is_sending, sending
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


@dataclass
class Notice:
    """What is shown of a record.

    Args:
        title: One line.
        text: What it says; control characters are escaped.
        level: The record's, a number.
        facts: What a kind of notifier wants to know besides; plain values that JSON can hold.
    """

    title: str
    text: str
    level: int = NOTSET
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def level_title(self) -> str:
        """Name of the level, such as ``Warning``."""
        return LEVEL_NAMES.get(self.level, str(self.level)).title()

    def to_bytes(self) -> bytes:
        """Return the notice as it waits for delivery.

        >>> Notice.from_bytes(Notice("till: Error", "jammed", 14).to_bytes()).level_title
        'Error'
        """
        return json.dumps([self.title, self.text, self.level, self.facts]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Notice:
        """Return the notice that :meth:`to_bytes` wrote."""
        return cls(*json.loads(data))


class NotificationBaseHandler(RemoteHandler, LimitingHandlerMixin):
    """Makes a short notice of each record; a base for handlers that bring it somewhere.

    A subclass writes :meth:`send_notice`, which a thread of the handler's own calls, or
    :meth:`emit` if it wants to do all by itself; then it asks :meth:`check_delivery` first.  What
    the thread logs while it sends becomes no notice of any handler: it is counted as dropped for
    ``"recursion"``.

    Args:
        application_name: Who tells; ``None`` means the name of the running program.
        record_limit: Notices per call and window; the next one says how many were left out.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        clock: Returns the current time in seconds; never goes backwards.
        **options: Of :class:`RemoteHandler`, but for the size of batches: each notice is one.
    """

    pulls_information: ClassVar[bool] = False  # it is bytes that go to the thread

    max_title: ClassVar[int] = 250
    """Characters of a title at most."""
    max_text: ClassVar[int] = 1_024
    """Characters of a text at most."""

    application_name: str | None

    def __init__(
        self,
        application_name: str | None = None,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        clock: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        RemoteHandler.__init__(self, level, filter, bubble, batch_size=1, **options)
        LimitingHandlerMixin.__init__(self, record_limit, record_delta, clock)
        self.application_name = (
            get_application_name() if application_name is None else application_name
        )
        self._withheld = 0
        self._recursions = 0
        self._held_at_fork = False
        _fork.hold_at_fork(self)
        self.ready(NotificationBaseHandler)

    # -- what is told

    def make_title(self, record: LogRecord) -> str:
        """Return the title of the notice about *record*: channel and level."""
        name = LEVEL_NAMES.get(record.level, str(record.level)).title()
        return name if record.channel is None else f"{record.channel}: {name}"

    def make_text(self, record: LogRecord) -> str:
        """Return the text of the notice about *record*: what the formatter says, or its message."""
        if self.formatter is None:
            return message_of(record)
        return str(self.format(record))

    def make_notice(self, record: LogRecord, withheld: int = 0) -> Notice:
        """Return the notice about *record*; a subclass may add facts.

        Args:
            record: What it tells of.
            withheld: How many of its call were left out before; the text says so if there are.
        """
        more = f"\n(and {withheld} more like it)" if withheld else ""
        text = shorten(escape_block(self.make_text(record)), self.max_text - len(more))
        title = shorten(escape_line(self.make_title(record)), self.max_title)
        return Notice(title, text + more, record.level)

    # -- which records

    def emit(self, record: LogRecord) -> None:
        """Make a notice of *record* and hand it over, unless there have been too many like it."""
        if is_sending():
            with self._limit_lock:
                self._recursions += 1
            return
        withheld, is_admitted = self.check_delivery(record)
        if not is_admitted:
            with self._limit_lock:
                self._withheld += 1
            return
        item = self.make_notice(record, withheld).to_bytes()
        if self.immediate:
            self.deliver([item])
        else:
            self._delivery.put(item)

    def encode(self, record: LogRecord) -> bytes:
        """Return the notice about *record* as it waits for delivery."""
        return self.make_notice(record).to_bytes()

    # -- bringing it

    def deliver(self, items: list[Any]) -> None:
        """Send the notices that *items* are."""
        with sending():
            for item in items:
                self.send_notice(Notice.from_bytes(item))

    def send_notice(self, notice: Notice) -> None:
        """Bring *notice* where it goes; called in the thread that delivers, with one at a time.

        Limits its own waits; says by what it raises whether trying again is of use.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it sends a notice")

    def statistics(self) -> dict[str, Any]:
        """Return the counts of the delivery, and how many records *record_limit* ``withheld``."""
        found = super().statistics()
        if self._recursions:
            dropped = dict(found["dropped"])
            dropped["recursion"] = dropped.get("recursion", 0) + self._recursions
            found.update(accepted=found["accepted"] + self._recursions, dropped=dropped)
        return {**found, "withheld": self._withheld}

    # -- fork

    def before_fork(self) -> None:
        """Wait until no other thread is counting."""
        self._held_at_fork = self._limit_lock.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._held_at_fork:
            self._limit_lock.release()

    def after_fork_in_child(self) -> None:
        """Start with a fresh lock, and counts of its own."""
        self._limit_lock = RLock()
        self._withheld = self._recursions = 0


def shorten(text: str, limit: int) -> str:
    """Return *text*, or as much of it as fits into *limit* characters together with a mark.

    >>> shorten("0123456789", 5)
    '0123…'
    """
    return text if len(text) <= limit else f"{text[: max(limit - 1, 0)]}…"
