"""Signals and other calls for attention, noted where they come in and dealt with by one thread."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections import deque
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, Final, Self

SIGNALS: Final = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
)


class Mailbox:
    """Notes signals while it is entered, and wakes whoever waits for them.

    Args:
        signals: Those to take over; only the main thread can.
    """

    def __init__(self, signals: Iterable[int]) -> None:
        self._signals = tuple(signals)
        self._noted: deque[int] = deque()
        self._previous: dict[int, Any] = {}
        self._previous_wakeup = -1
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def __enter__(self) -> Self:
        if self._signals:
            for signum in self._signals:
                self._previous[signum] = signal.signal(signum, self._note)
            self._previous_wakeup = signal.set_wakeup_fd(
                self._write.fileno(), warn_on_full_buffer=False
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._signals:
            signal.set_wakeup_fd(self._previous_wakeup)
            for signum, handler in self._previous.items():
                signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        self._read.close()
        self._write.close()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        # Nothing more: it may have interrupted whoever holds a lock.
        self._noted.append(signum)

    def has_any(self, *signals: int) -> bool:
        """Whether one of *signals* has come that :meth:`wait` has not returned."""
        return not set(signals).isdisjoint(self._noted.copy())

    def wake(self) -> None:
        """Have :meth:`wait` return; from any thread, and in a signal handler."""
        with contextlib.suppress(OSError, ValueError):
            self._write.send(b"\0")

    def wait(self, timeout: float) -> list[int]:
        """Return the signals that came, at once if there are any; else wait to be woken.

        Args:
            timeout: Seconds to wait at most.
        """
        if not self._noted:
            select.select([self._read], [], [], timeout)
        with contextlib.suppress(BlockingIOError):
            while self._read.recv(4096):
                pass
        noted = []
        while self._noted:
            noted.append(self._noted.popleft())
        return noted
