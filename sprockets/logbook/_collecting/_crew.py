"""The threads that receive and dispatch, each for a share of the sources."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Final

from sprockets.logbook._collecting._source import Intake

_POLL: Final = 0.05
"""Seconds after which a thread looks whether it is to end."""
_AT_ONCE: Final = 250
"""Records of one source before it is the turn of another."""
_LINGER: Final = 0.2
"""Seconds without a record after which nothing more is expected at the end."""


class Crew:
    """Threads that deal with what comes, until there is nothing more, or no more time.

    Args:
        intakes: What comes, from each source.
        count: Threads at most; ``None`` is one for each.
    """

    def __init__(self, intakes: Sequence[Intake], count: int | None) -> None:
        count = min(count or len(intakes), len(intakes))
        self._shares = [intakes[number::count] for number in range(count)]
        self._threads: list[threading.Thread] = []
        # When each came round last.  A float in a list: no thread sees half of it.
        self._beats = [monotonic() for _ in self._shares]
        self._deadline: float | None = None
        self.is_drained: bool = True
        """Whether all that was under way has come in time."""

    def start(self) -> None:
        """Start the threads."""
        self._threads = [self._start_thread(number) for number in range(len(self._shares))]

    def _start_thread(self, number: int) -> threading.Thread:
        self._beats[number] = monotonic()
        # An empty context: what the starter has bound is not to be seen there.
        context = contextvars.Context()
        thread = threading.Thread(
            target=context.run, args=(self._collect, number), name="collector", daemon=True
        )
        thread.start()
        return thread

    def look_after(self) -> None:
        """Start threads again that have died, whatever of."""
        for number, (thread, share) in enumerate(zip(self._threads, self._shares, strict=True)):
            if not thread.is_alive() and not all(each.is_over for each in share):
                self._threads[number] = self._start_thread(number)

    def end(self, deadline: float) -> None:
        """Have the threads end as soon as nothing more comes.

        Args:
            deadline: When to end in any case, by the monotonic clock; may be put forward.
        """
        self._deadline = deadline

    @property
    def beat_at(self) -> float:
        """A moment, by the monotonic clock, since which every thread has come round.

        Each does so after every record, and some times a second while there is none.
        """
        beats = [
            beat
            for thread, beat in zip(self._threads, self._beats, strict=False)
            if thread.is_alive()
        ]
        return min(beats, default=monotonic())

    @property
    def is_working(self) -> bool:
        """Whether there are threads left."""
        return any(thread.is_alive() for thread in self._threads)

    def join(self, timeout: float) -> None:
        """Wait for the threads, *timeout* seconds at most for each."""
        for thread in self._threads:
            thread.join(timeout)

    # -- in the threads

    def _collect(self, number: int) -> None:
        share = self._shares[number]
        was_busy = True
        busy_at = monotonic()
        while True:
            deadline, now = self._deadline, monotonic()
            self._beats[number] = now
            is_ending = deadline is not None
            intakes = [each for each in share if self._is_of_use(each, now, is_ending)]
            if not intakes:
                return
            if was_busy or not is_ending:
                busy_at = now
            if deadline is not None and now >= deadline:
                # What is left, its senders still have.
                self.is_drained = self.is_drained and not was_busy
                return
            if now - busy_at >= _LINGER:
                return
            wait = 0.0 if was_busy and len(intakes) > 1 else _POLL / len(intakes)
            was_busy = False
            for intake in intakes:
                if intake.retry_at > monotonic():
                    threading.Event().wait(wait)
                elif self._take(number, intake, wait):
                    was_busy = True

    @staticmethod
    def _is_of_use(intake: Intake, now: float, is_ending: bool) -> bool:
        if intake.is_over:
            return False
        return not (is_ending and (intake.source.is_kept or now < intake.retry_at))

    def _take(self, number: int, intake: Intake, wait: float) -> bool:
        """Deal with some records of one source; return whether there were any."""
        count = 0
        while count < _AT_ONCE and intake.turn(wait if count == 0 else 0.0):
            count += 1
            now = self._beats[number] = monotonic()
            if self._deadline is not None and now >= self._deadline:
                break
        return count > 0
