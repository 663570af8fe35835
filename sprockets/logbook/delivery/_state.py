"""What changes in an engine: the items it has, the thread it has, and the counts."""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import Any


class State:
    """All that changes; a forked child gets another."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_inside = False  # whether the thread that holds the lock is in the middle of it
        self.aside: deque[tuple[Any, int]] = deque()  # what came from that thread meanwhile
        self.queue: deque[tuple[Any, int]] = deque()
        self.bytes = 0
        self.batch: list[tuple[Any, int]] = []  # taken, neither delivered nor given up
        self.is_batch_spooled = False
        self.ticket = 0  # of the try under way; another one means that the try was given up
        self.delivering = 0  # ident of the thread that is inside the destination
        self.entered = 0  # into the queue, ever
        self.left = 0  # the memory, ever
        self.failures = 0  # in a row
        self.attempts = 0  # those of them that count, since the batch may be to blame
        self.singles = 0  # items still to be tried one by one
        self.is_last_try = False
        self.retry_at = 0.0
        self.collecting_since: float | None = None
        self.is_spilling = False
        self.is_stuck = False  # whether a call waited for room in vain, and nothing moved since
        self.adopt_at = 0.0
        self.is_hurried = False
        self.flushing = 0
        self.is_closing = False
        self.is_closed = False
        self.close_at: float | None = None  # when the thread is to close the engine itself
        self.trouble: BaseException | None = None  # the spool's, not yet reported
        # The thread.
        self.is_running = False
        self.worker = 0
        self.crashes = 0  # of the thread, ever
        self.crashed = 0  # since it last did something
        self.is_awake = True
        self.wake_at = 1
        self.wake: SimpleQueue[None] = SimpleQueue()
        self.waiters: list[SimpleQueue[None]] = []
        # What is counted.
        self.accepted = 0
        self.delivered = 0
        self.spooled = 0
        self.adopted = 0
        self.retried = 0
        self.failed = 0
        self.dead = 0
        self.dropped: dict[str, int] = {}

    @property
    def queued(self) -> int:
        """Items in memory, those under way included."""
        return len(self.queue) + (0 if self.is_batch_spooled else len(self.batch))

    def drop(self, reason: str, count: int = 1) -> None:
        """Count items that are dropped for *reason*."""
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def counts(self) -> dict[str, Any]:
        """Return what became of the items."""
        return {
            "accepted": self.accepted,
            "delivered": self.delivered,
            "queued": self.queued,
            "spooled": self.spooled,
            "adopted": self.adopted,
            "retried": self.retried,
            "failed": self.failed,
            "restarts": self.crashes,
            "dead": self.dead,
            "dropped": dict(self.dropped),
        }
