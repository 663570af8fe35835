"""Several subscribers as one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from queue import Empty, Full, Queue, SimpleQueue
from time import monotonic
from typing import Final

from sprockets.logbook import _caller
from sprockets.logbook.queues._subscriber import (
    POLL_INTERVAL,
    SubscriberBase,
    ThreadController,
    Timeout,
    checked_timeout,
    report_here,
)
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_MEMBER: Final = "_member"
"""Attribute of a record, which like all such names is not exported: through whom it came."""


class GroupMember(ThreadController):
    """A thread that puts what a subscriber receives on a queue, and waits while that is full.

    Args:
        subscriber: Nobody else may call its ``recv`` while the thread runs.
        queue: Where the records go, undispatched.
    """

    def __init__(self, subscriber: SubscriberBase, queue: Queue[LogRecord]) -> None:
        super().__init__(subscriber)
        self.queue = queue
        self.unplaced: deque[LogRecord] = deque()
        """Records that came when the queue was full, and the thread was told to end."""
        self._done_with: SimpleQueue[LogRecord] = SimpleQueue()
        self._is_over = threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether the thread has put its last record on the queue."""
        return self._is_over.is_set()

    def start(self) -> None:
        """Start the thread, if it does not run."""
        self._is_over.clear()
        super().start()

    def acknowledge(self, record: LogRecord) -> None:
        """Have the subscriber told that *record* has been dealt with.

        Its own thread does it, as far as that runs: few connections bear two threads.
        """
        self._done_with.put(record)
        if self.is_over:
            self._acknowledge_all()

    def _acknowledge_all(self) -> None:
        while True:
            try:
                record = self._done_with.get_nowait()
            except Empty:
                return
            self.subscriber.acknowledge(record)

    def _run(self) -> None:
        try:
            super()._run()
        finally:
            self._is_over.set()
            try:
                self._acknowledge_all()
            except Exception:  # noqa: BLE001 - then they come again, as transports promise
                report_here(None)

    def _once(self) -> bool:
        self._acknowledge_all()
        record = self.subscriber.recv(timeout=POLL_INTERVAL)
        if record is None:
            return False
        record.__dict__[_MEMBER] = self
        self._place(record)
        return True

    def _place(self, record: LogRecord) -> None:
        while self.running:
            try:
                self.queue.put(record, timeout=POLL_INTERVAL)
            except Full:
                self._acknowledge_all()
            else:
                return
        self.unplaced.append(record)


class SubscriberGroup(SubscriberBase):
    """Several subscribers as one: a thread for each receives, this one dispatches.

    When the destination is slow, the members wait, and records stay in their transports.  What one
    member receives keeps its order.

    Args:
        subscribers: Its first members.
        queue_limit: Records that are received and not dispatched, beside one for each member; 0 is
            no limit.
    """

    members: list[GroupMember]
    queue: Queue[LogRecord]

    def __init__(
        self, subscribers: Iterable[SubscriberBase] | None = None, queue_limit: int = 10
    ) -> None:
        self.members = []
        self.queue = Queue(queue_limit)
        self._is_stopped = False
        for subscriber in subscribers or ():
            self.add(subscriber)

    def add(self, subscriber: SubscriberBase) -> None:
        """Make *subscriber* a member, which nobody else may call ``recv`` of, and start it."""
        member = GroupMember(subscriber, self.queue)
        member.start()
        self.members.append(member)
        self._is_stopped = False

    def recv(self, timeout: Timeout = None) -> LogRecord | None:
        """Return the next record of any member; None if none comes in time, or all have ended.

        Args:
            timeout: Seconds to wait at most; None means for ever, 0 not at all.

        Raises:
            ValueError: *timeout* is negative.
        """
        timeout = checked_timeout(timeout)
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            # Asked first: what is placed before a member is over is found below.
            is_over = self._are_over()
            record = self._next(0.0 if is_over else _until(deadline))
            if record is not None:
                self._received += 1
                return record
            if is_over or (deadline is not None and monotonic() >= deadline):
                return None

    def _next(self, seconds: float) -> LogRecord | None:
        try:
            return self.queue.get(seconds > 0, seconds or None)
        except Empty:
            pass
        for member in list(self.members):
            if member.is_over and member.unplaced:
                return member.unplaced.popleft()
        return None

    def _are_over(self) -> bool:
        members = list(self.members)
        return (self._is_stopped or bool(members)) and all(member.is_over for member in members)

    @property
    def is_ended(self) -> bool:
        """Whether all members have ended and all their records were received."""
        return (
            self._are_over()
            and self.queue.empty()
            and not any(member.unplaced for member in list(self.members))
        )

    def acknowledge(self, record: LogRecord) -> None:
        """Tell the transport that *record* came through that it has been dealt with."""
        member = record.__dict__.get(_MEMBER)
        if member is not None:
            member.acknowledge(record)

    def statistics(self) -> dict[str, int]:
        """Return the sums of what the members' subscribers count.

        ``received`` are the records that :meth:`recv` of the group returned.
        """
        total = super().statistics()
        for member in list(self.members):
            for name, count in member.subscriber.statistics().items():
                if name != "received":
                    total[name] = total.get(name, 0) + count
        return total

    def stop(self) -> None:
        """End the members; what they have received is still there for :meth:`recv`.

        Takes about a tenth of a second.  The subscribers are their owner's to close.
        """
        self._is_stopped = True
        members = list(self.members)
        for member in members:
            member.running = False
        for member in members:
            member.stop()


def _until(deadline: float | None) -> float:
    """Return how many seconds to wait before looking whether members are over."""
    if deadline is None:
        return POLL_INTERVAL
    return max(0.0, min(POLL_INTERVAL, deadline - monotonic()))
