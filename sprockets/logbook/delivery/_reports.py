"""Reports: what an engine tells of itself, where errors of logging go, and seldom."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import Final

from sprockets.logbook import _failures
from sprockets.logbook.delivery._retry import UndeliveredError

INTERVAL: Final = 60.0
"""Seconds between two reports of one engine."""


class Reports:
    """Tells what is wrong at most once a minute, and then how often it did not.

    Args:
        clock: Returns the current time in seconds; never goes backwards.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._told_at: float | None = None
        self._untold = 0

    def tell(self, text: str, cause: BaseException | None = None, *, always: bool = False) -> None:
        """Report *text*, unless the last report is not long ago; never raises.

        Args:
            text: What is wrong.
            cause: Shown with its traceback.
            always: Report it however long ago the last report is.
        """
        try:
            now = self._clock()
            if not always and self._told_at is not None and now - self._told_at < INTERVAL:
                self._untold += 1
                return
            self._told_at = now
            if self._untold:
                text += f" ({self._untold} reports were left out)"
                self._untold = 0
            failure = UndeliveredError(text)
            failure.__cause__ = cause
            try:
                _failures.report(None, (UndeliveredError, failure, None))
            except UndeliveredError:
                # The flag wants it raised, but there is nobody to raise it to.
                if sys.stderr is not None:
                    sys.stderr.write(text + "\n")
        except Exception:  # noqa: BLE001 - there is nobody left to tell
            self._untold += 1


def in_one_line(error: BaseException) -> str:
    """Return class and text of *error* in one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - an exception may be unable to say what it is
        text = "?"
    return f"{type(error).__name__}: {text[:300]}"
