"""Breaker: who has failed three times in a row is left alone for a while."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from sprockets.logbook.delivery._reports import Reports


class Breaker:
    """Says whether a try is worth it: after some failures in a row, one each *pause* seconds is.

    A success starts all over.  Not for several threads at once.

    >>> now = 0.0
    >>> breaker = Breaker(limit=1, pause=60.0, clock=lambda: now)
    >>> breaker.failed()
    >>> breaker.admits()
    False
    >>> now = 60.0
    >>> breaker.admits()
    True

    Args:
        limit: Failures in a row after which tries become rare.
        pause: Seconds between two tries then.
        clock: Returns the current time in seconds; never goes backwards.
    """

    failures: int
    """Failures since the last success."""

    def __init__(
        self, limit: int = 3, pause: float = 60.0, clock: Callable[[], float] = monotonic
    ) -> None:
        self.limit = limit
        self.pause = pause
        self.failures = 0
        self._clock = clock
        self._failed_at = 0.0

    def admits(self) -> bool:
        """Return whether to try."""
        return self.failures < self.limit or self._clock() - self._failed_at >= self.pause

    def failed(self) -> None:
        """Note that a try failed."""
        self.failures += 1
        self._failed_at = self._clock()

    def succeeded(self) -> None:
        """Note that a try succeeded."""
        self.failures = 0


class FirstFailure(Reports):
    """Reports of an engine that tell the first of some failures in a row, and none of the others.

    Args:
        breaker: Knows which of them it is.
        clock: Returns the current time in seconds; never goes backwards.
    """

    def __init__(self, breaker: Breaker, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(clock)
        self._breaker = breaker

    def tell(self, text: str, cause: BaseException | None = None, *, always: bool = False) -> None:
        """Report *text*, unless a failure before it was reported and there was no success since.

        Args:
            text: What is wrong.
            cause: Left out with failures, which are not the program's fault: a line is enough.
            always: Report it in any case.
        """
        breaker = self._breaker
        if always or not breaker.failures:
            super().tell(text, cause, always=always)
        elif breaker.failures == 1:
            super().tell(
                f"{text} (this is told once; after {breaker.limit} failures in a row it is tried"
                f" every {breaker.pause:.0f} s only)"
            )
