"""Which call a record is of: the hash by which Logbook tells tickets apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.handlers._base import Filter, Handler
from sprockets.logbook.handlers._limits import HashingHandlerMixin

if TYPE_CHECKING:
    from hashlib import _Hash

    from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class TicketingBaseHandler(Handler, HashingHandlerMixin):
    """Gives records of the same call the same hash; a base for handlers of ticket systems.

    By itself it stores nothing.  Level, channel, file and line of the call make the hash, and
    the salt; the message does not.

    Args:
        hash_salt: Keeps the tickets of one application apart from another's; ``None`` is none.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
    """

    hash_salt: str | bytes | None

    def __init__(
        self,
        hash_salt: str | bytes | None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        super().__init__(level, filter, bubble)
        self.hash_salt = hash_salt

    def hash_record_raw(self, record: LogRecord) -> _Hash:
        """Return the hash object of *record*, salted; a subclass may update it further."""
        sha1 = super().hash_record_raw(record)
        if record.lineno is None:
            sha1.update(b"None")
        salt = self.hash_salt
        if salt is not None:
            sha1.update(b"\0")
            sha1.update(salt.encode("utf-8", "surrogateescape") if isinstance(salt, str) else salt)
        return sha1
