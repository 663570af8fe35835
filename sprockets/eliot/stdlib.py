"""Records of stdlib logging as messages in the tree.

>>> import logging
>>> handler = EliotHandler()
>>> logging.getLogger("orders").addHandler(handler)
>>> logging.getLogger("orders").removeHandler(handler)
"""

from __future__ import annotations

import logging
import sys
from itertools import count
from typing import Any, Final, cast

from sprockets.eliot import _destinations
from sprockets.eliot._action import log_message
from sprockets.eliot._fields import STDLIB_MESSAGE
from sprockets.eliot._traceback import ExcInfo, write_traceback

__all__ = ["EliotHandler"]

_DELIVERY: Final = _destinations.Destinations.send.__code__.co_filename


class EliotHandler(logging.Handler):
    """Logs each record as ``eliot:stdlib``, in the current action; its exception as a traceback.

    The message has the record's ``log_level``, ``logger`` and ``message``; what was passed as
    ``extra`` is left out.

    A record that a destination makes while it handles a message is not logged, since that would
    have no end; how many there were, :meth:`statistics` says.  Other handlers of stdlib logging
    get them.

    It has no lock of its own: one that is held while destinations are at work could be waited for
    by one of them.
    """

    def __init__(self, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._dropped = 0
        self._next_dropped = count(1).__next__

    def createLock(self) -> None:
        """Do without a lock."""
        self.__dict__["lock"] = None

    def handle(self, record: logging.LogRecord) -> Any:
        """Emit *record* if the filters let it through, without locking."""
        found: Any = self.filter(record)
        if found:
            # Since Python 3.12 a filter may put another record in the place of this one.
            self.emit(found if isinstance(found, logging.LogRecord) else record)
        return found

    def emit(self, record: logging.LogRecord) -> None:
        """Log *record*; what fails is told by ``handleError``, as stdlib logging does."""
        if _is_delivering():
            self._dropped = self._next_dropped()
            return
        try:
            log_message(
                STDLIB_MESSAGE,
                log_level=record.levelname,
                logger=record.name,
                message=record.getMessage(),
            )
            exc_info = _exc_info(record.exc_info)
            if exc_info is not None:
                write_traceback(exc_info=exc_info)
        except Exception:  # noqa: BLE001 - printed, and counted by nobody: it is stdlib's rule
            self.handleError(record)

    def statistics(self) -> dict[str, int]:
        """Return how many records were not logged.

        ``dropped_in_destinations``
            Made by a destination, or by what interrupted one.
        """
        return {"dropped_in_destinations": self._dropped}


def _is_delivering() -> bool:
    """Whether a destination is at work in this thread."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == _DELIVERY:
            return True
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return False


def _exc_info(given: Any) -> ExcInfo | None:
    """Return the exception of a record, however it was passed; None if there is none."""
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    found = given if isinstance(given, tuple) else sys.exc_info() if given else None
    return None if found is None or found[1] is None else cast("ExcInfo", found)
