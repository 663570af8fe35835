"""The collector's heartbeat, as its parent sees it: a cell of memory that both of them have."""

from __future__ import annotations

import mmap
from time import monotonic


class Pulse:
    """Made by the parent before it forks; written by the collector alone, so it needs no lock.

    Args:
        interval: Seconds between two beats, at most.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._memory = mmap.mmap(-1, 8)
        self._cell = memoryview(self._memory).cast("d")

    @property
    def beat_at(self) -> float:
        """When the last beat was, by the monotonic clock, which all processes share."""
        return self._cell[0]

    def beat(self, moment: float | None = None) -> None:
        """Write down that all is well, or was at *moment*."""
        self._cell[0] = monotonic() if moment is None else moment

    def close(self) -> None:
        """Give the memory back."""
        self._cell.release()
        self._memory.close()
