"""Heartbeats: for how long who receives has not come round, and what is done about it."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import tempfile
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

_STDERR: Final = 2
_PATIENCE: Final = 1.0
"""Seconds for what nobody may read."""
_SLEPT: Final = 5.0
"""Seconds between two looks after which whoever looks has been stopped itself."""


class SupportsBeat(Protocol):
    """Who is told again and again that a collector's threads come round."""

    @property
    def interval(self) -> float:
        """Seconds between two beats, at most; it may be more often."""
        ...

    def beat(self, moment: float) -> None:
        """Every thread has come round at *moment*, by the monotonic clock, or later."""


class Watch:
    """Says when what beats has been silent for too long.

    Whoever looks may have been stopped together with the rest of the machine.  Then what beats has
    some time to do so again.

    Args:
        limit: Seconds that it may be silent; 0 is for ever.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._looked_at = float("inf")
        self._patient_until = float("-inf")

    @property
    def interval(self) -> float:
        """Seconds between two looks, and between two beats, at most."""
        return min(max(self.limit / 4, 0.05), 0.5) if self.limit else 0.5

    def find_silence(self, beat_at: float, now: float) -> float | None:
        """Return the seconds since the last beat if they are too many, else None.

        Args:
            beat_at: When that was.
            now: By the same clock.
        """
        late, self._looked_at = now - self._looked_at, now
        if late > _SLEPT:
            self._patient_until = now + max(self.limit / 2, 2.0)
        silence = now - beat_at
        if not self.limit or now < self._patient_until or silence <= self.limit:
            return None
        return silence


class Watchdog:
    """Looks from a thread of its own whether the others of this process come round.

    The others may hold every lock there is when *on_hang* is called: nothing in it may log.

    Args:
        limit: Seconds that they may need; 0 is for ever, and there is no thread.
        on_hang: Called with the seconds that they have not come round, again at each look.
        clock: Returns the current time in seconds; never goes backwards.
    """

    def __init__(
        self,
        limit: float,
        on_hang: Callable[[float], object],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._watch = Watch(limit)
        self._on_hang = on_hang
        self._clock = clock
        self._beat_at = clock()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def interval(self) -> float:
        """Seconds between two looks, and between two beats, at most."""
        return self._watch.interval

    def beat(self, moment: float) -> None:
        """Every thread has come round at *moment*."""
        self._beat_at = moment

    def start(self) -> None:
        """Begin to look."""
        self.beat(self._clock())
        if self._watch.limit:
            self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
            self._thread.start()

    def look(self) -> None:
        """Look once, as the thread does all the time."""
        silence = self._watch.find_silence(self._beat_at, self._clock())
        if silence is not None:
            self._on_hang(silence)

    def stop(self) -> None:
        """Look no more."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._is_over.wait(self.interval):
            self.look()


def tell_stacks(text: str) -> None:
    """Write *text*, and where each thread is, to standard error; do not wait long for that.

    Whoever should read it may be what the others wait for.
    """
    stacks = b""
    with contextlib.suppress(OSError, ValueError), tempfile.TemporaryFile() as file:
        # Not at once: while it writes, no other thread runs.
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        stacks = file.read()
    data = f"{text}\n".encode(errors="replace") + stacks
    thread = threading.Thread(target=_write, args=(data,), name="stacks", daemon=True)
    thread.start()
    thread.join(_PATIENCE)


def _write(data: bytes) -> None:
    # There may be no standard error.
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(_STDERR, data) :]
