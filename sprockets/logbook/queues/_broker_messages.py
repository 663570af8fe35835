"""What comes from a broker: messages, where they come from, and which came before."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from sprockets.logbook import _caller
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_MAX_NAMES: Final = 50_000


class Message(NamedTuple):
    """Something that a broker delivered."""

    body: Any
    """What may be a record, as bytes or text."""
    attempts: int
    """How often it was delivered, this time included, as far as the broker knows."""
    native: Any
    """What the library of the transport knows it by."""


class Source(Protocol):
    """An open connection from which messages come; used by one thread at a time.

    Every method raises ConnectionError when the connection is lost.
    """

    def fetch(self, timeout: float) -> Message | None:
        """Return the next message, or None after *timeout* seconds; with 0 what there is now."""

    def accept(self, message: Message) -> None:
        """Tell the broker that it may forget *message*."""

    def discard(self, message: Message, error: Exception) -> None:
        """Put *message* where dead letters are, because of *error*."""

    def retry(self, message: Message) -> None:
        """Have the broker deliver *message* again."""

    def close(self, patience: float) -> None:
        """Let go within *patience* seconds; raises nothing."""

    def abandon(self) -> None:
        """Let go in a forked child, without a word to the broker: the parent uses it still."""


class DeliveriesExceededError(RuntimeError):
    """A record could not be dispatched, as often as it was tried."""


@dataclass(eq=False)
class Held:
    """A record that was received and is not dealt with, with all the messages that brought it."""

    record: LogRecord
    name: object
    messages: list[tuple[Source, Message]] = field(default_factory=list)


class Names:
    """The names of the records that came last.

    Which numbers a sender left out says nothing here: they may have gone to another subscriber, and
    may come late, from one that died.  So only what is known to have come is a duplicate.
    """

    def __init__(self) -> None:
        self._names: OrderedDict[str, None] = OrderedDict()
        self.duplicates = 0

    def admit(self, name: str) -> bool:
        """Return whether *name* is new."""
        if name in self._names:
            self.duplicates += 1
            return False
        self._names[name] = None
        if len(self._names) > _MAX_NAMES:
            self._names.popitem(last=False)
        return True

    def forget(self, name: str) -> None:
        """Have *name* be new when it comes again."""
        self._names.pop(name, None)
