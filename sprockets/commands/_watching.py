"""A process that hangs: its stacks on standard error, and the program anew in its place."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, MutableMapping, Sequence
from time import monotonic
from typing import Final, Protocol

from sprockets.logbook._collecting._beats import tell_stacks
from sprockets.logbook.delivery import Retry

_VARIABLE: Final = "SPROCKETS_COLLECT_HANGS"
"""Tells the program how often in a row it has begun anew."""
_LIVED: Final = 10.0  # seconds, beyond two limits, after which a hang is the first of its row
_EXIT_UNCLEAN: Final = 75


class SupportsEnding(Protocol):
    """What of a collector is of interest here."""

    @property
    def is_ending(self) -> bool:
        """Whether it has been told to end."""
        ...


class Renewal:
    """Puts a new process in the place of this one, with the same number, when it hangs.

    Whoever logs may wait for a lock that never comes, and so it says on standard error what it
    does.  One that has been told to end is not begun anew: it ends.

    Args:
        command: The arguments of the new process, the program first; an empty one is none, and
            this one ends.
        limit: Seconds after which a hang is noticed.
        environ: Where the new process learns how often that was so.
        retry: How long to wait before the next of a row.
        execute: Puts the new process in the place of this one; does not return.
        leave: Ends the process with a status; does not return.
    """

    def __init__(
        self,
        command: Sequence[str],
        limit: float,
        *,
        environ: MutableMapping[str, str] = os.environ,
        retry: Retry | None = None,
        execute: Callable[[str, list[str]], object] = os.execv,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._command = list(command)
        self._enough = _LIVED + 2 * limit
        self._environ = environ
        self._retry = retry or Retry(initial=0.2, maximum=10.0)
        self._execute = execute
        self._leave = leave
        self._began_at = monotonic()
        self.collector: SupportsEnding | None = None
        """Says whether it has been told to end."""
        self.is_last: bool = not self._command
        """Whether the end of this process is the end."""

    def __call__(self, silence: float) -> None:
        """Do so, after a hang of *silence* seconds."""
        count = self._count()
        wait = self._retry.delay(count - 1) if count > 1 else 0.0
        is_last = self._is_ending
        what = "ending" if is_last else f"starting anew in {wait:.1f} s"
        _tell(f"blocked for {silence:.1f} s, {what}; what has not been written comes again")
        if not is_last:
            threading.Event().wait(wait)
        if is_last or self._is_ending:
            self._leave(_EXIT_UNCLEAN)
            return
        self._environ[_VARIABLE] = str(count)
        try:
            self._execute(self._command[0], self._command)
        except OSError as error:
            _tell(f"cannot start anew: {error}")
            self._leave(_EXIT_UNCLEAN)

    @property
    def _is_ending(self) -> bool:
        return self.is_last or (self.collector is not None and self.collector.is_ending)

    def _count(self) -> int:
        """Return how many hangs there were in a row, with this one."""
        text = self._environ.get(_VARIABLE, "")
        if monotonic() - self._began_at > self._enough or not text.isdecimal():
            return 1
        return int(text) + 1


def find_command(argv: Sequence[str]) -> list[str]:
    """Return how this program was called, the interpreter and its options included.

    Args:
        argv: The arguments that the command was given.  If the program was not called with them,
            somebody else's has called the command, and there is nothing to begin anew.
    """
    original = list(sys.orig_argv)
    if not sys.executable or not argv or original[-len(argv) :] != list(argv):
        return []
    return [sys.executable, *original[1:]]


def _tell(text: str) -> None:
    tell_stacks(f"sprockets collect: {text}")
