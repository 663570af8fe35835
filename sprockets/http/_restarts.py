"""Restarts: when the next worker may start, and when it is no use to go on.

Each death doubles the wait before the next start in its place, up to a bound that depends on what
is known.  A worker that was ready while the service was being used is replaced almost at once: the
service needs it.  One that was killed from outside, or had lived for a while, did not die of its
start either.  Any other may have.  After a number of workers that died so, or never were ready,
with no request answered in between, the service gives up.  What happened longer ago than the window
is forgotten.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 30.0
LONGEST_WAIT_OF_OTHERS: Final = 1.0
LONGEST_WAIT_WHILE_SERVING: Final = 0.1
LONG_ENOUGH: Final = 1.0  # seconds after which a worker did not die of its start


class RestartPolicy:
    """Says how long to wait before a dead worker is replaced.

    Args:
        most: Deaths at the start, over all workers and within the window, after which to give up;
            at least 1.
        window: Seconds after which a death is forgotten.
        clock: Returns the current time in seconds; never goes backwards.
        jitter: Returns a number from 0 to 1, so that workers do not start in step.
    """

    def __init__(
        self,
        most: int,
        window: float,
        *,
        clock: Callable[[], float] = monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._most = most
        self._window = window
        self._clock = clock
        self._jitter = jitter
        self._strikes: deque[float] = deque()
        self._deaths: dict[int, deque[float]] = {}

    def find_wait(
        self, slot: int, *, lived: float | None, is_serving: bool, was_killed: bool = False
    ) -> float | None:
        """Return the seconds to wait before *slot* gets another worker, or None to give up.

        Args:
            slot: The place whose worker has just died.
            lived: Seconds since that worker was ready, None if it never was.
            is_serving: Whether any worker has answered a request since the last death of one.
            was_killed: Whether somebody else ended it, with a signal that cannot be caught.
        """
        now = self._clock()
        deaths = self._deaths.setdefault(slot, deque())
        deaths.append(now)
        self._forget(deaths, now)
        if is_serving:
            self._strikes.clear()
        if lived is not None and is_serving:
            longest = LONGEST_WAIT_WHILE_SERVING
        elif was_killed or (lived is not None and lived >= LONG_ENOUGH):
            longest = LONGEST_WAIT_OF_OTHERS
        else:
            longest = LONGEST_WAIT
        if lived is None or longest == LONGEST_WAIT:
            self._strikes.append(now)
            self._forget(self._strikes, now)
            if len(self._strikes) >= self._most:
                return None
        if len(deaths) < 2:
            return 0.0
        wait = min(FIRST_WAIT * 2.0 ** min(len(deaths) - 2, 16), longest)
        return wait * (0.9 + 0.2 * self._jitter())

    def _forget(self, moments: deque[float], now: float) -> None:
        while moments and moments[0] < now - self._window:
            moments.popleft()
