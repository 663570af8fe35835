"""The service that writes messages in a thread, so that Twisted's reactor never waits for a disk.

Start it, or give it to a parent that does, and it is a destination; stop it, and it is none::

    writer = ThreadedWriter(FileDestination(file=open("actions.log", "ab")), reactor)
    writer.setServiceParent(application)
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from sprockets._support.optional import optional
from sprockets.eliot._destinations import add_destinations, remove_destination
from sprockets.eliot._fields import Message
from sprockets.logbook.delivery import Delivery, Retry

if TYPE_CHECKING:
    from twisted.application.service import Service
    from twisted.internet.defer import Deferred, succeed
    from twisted.internet.threads import deferToThreadPool
else:
    _IMPORT: Final = {"extra": "twisted", "needed_by": "sprockets.eliot.logwriter"}
    Service = optional("twisted.application.service", **_IMPORT).Service
    succeed = optional("twisted.internet.defer", **_IMPORT).succeed
    deferToThreadPool = optional("twisted.internet.threads", **_IMPORT).deferToThreadPool

__all__ = ["ThreadedWriter"]

_UNBOUNDED: Final = sys.maxsize
# What a destination refuses it would refuse again, and the next message must not wait for it.
_ONCE: Final = Retry(attempts=1, classify=lambda _: "permanent")


class ThreadedWriter(Service):
    """Hands messages to a destination that may block, in a thread that is not the reactor's.

    Messages are written one by one, in the order in which they were logged.  The thread is there
    while there is something to write.  What the destination raises loses that message, which is
    counted, and reported on standard error once a minute at most.  What the destination itself
    logs, in that thread, does not come back to it.

    The dict that was logged is handed over as it is: a list or dict among the values that the
    program changes afterwards may be written as it is then.

    A program that ends without :meth:`stopService` writes what is queued first.  A forked child
    starts with nothing queued, and writes what it logs itself.  Messages may come from any thread,
    from signal handlers and finalisers.

    Args:
        destination: Takes a message; called from one thread at a time.  Closing what it writes to
            is up to you, once the Deferred of :meth:`stopService` has fired.
        reactor: The reactor, whose thread pool waits for the writing to end.
        capacity: How many messages may wait; those that come beyond are dropped and counted.
            None is no limit.
        drain_timeout: Seconds that the end of the program waits for what is queued, and that
            :meth:`stopService` waits for a destination that is stuck.  What is lost is counted,
            and reported on standard error.
    """

    name: str = "Eliot Log Writer"
    running: int
    """1 between :meth:`startService` and :meth:`stopService`, else 0."""

    def __init__(
        self,
        destination: Callable[[Message], object],
        reactor: Any,
        *,
        capacity: int | None = None,
        drain_timeout: float = 10.0,
    ) -> None:
        if capacity is not None and capacity < 1:
            raise ValueError(f"capacity must be at least 1, or None for no limit, got {capacity}")
        self._destination = destination
        self._reactor = reactor
        self._capacity = capacity or _UNBOUNDED
        self._drain_timeout = drain_timeout
        self._has_stopped = False
        self._past: Counter[str] = Counter()
        self._deliveries = [self._make_delivery(None)]

    def startService(self) -> None:
        """Become a destination; while running this does nothing.

        Messages that were logged before there was any destination are written, too.
        """
        if self.running:
            return
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        if self._has_stopped:
            previous = self._deliveries[-1]
            self._forget_ended()
            self._deliveries.append(self._make_delivery(None if previous.is_closed else previous))
            self._has_stopped = False
        add_destinations(self)

    def stopService(self) -> Deferred[None]:
        """Be no destination any more, and have everything written.

        Returns:
            What fires in the reactor's thread, with None, when everything that was queued is
            written and the destination will not be called again.  That takes as long as messages
            are being written; with one that is stuck, about twice *drain_timeout*.  The reactor
            has to be running for it.  It has fired already if the writer was not running.
        """
        if not self.running:
            return succeed(None)
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        self._has_stopped = True
        # Somebody may have taken it away already.
        with suppress(ValueError):
            remove_destination(self)
        return deferToThreadPool(
            self._reactor,
            self._reactor.getThreadPool(),
            _drain,
            self._deliveries[-1],
            self._drain_timeout,
        )

    def __call__(self, message: Message) -> None:
        """Queue *message*, and return at once."""
        self._deliveries[-1].put(message)

    def statistics(self) -> dict[str, int]:
        """Return what became of the messages, over all starts in this process.

        ``queued`` are waiting or being written, ``written`` are, ``failed`` made the destination
        raise; ``dropped`` came when there was no room, after the stop, or from the destination
        itself, or were given up because it was stuck.

        >>> ThreadedWriter(print, reactor=None).statistics()
        {'queued': 0, 'written': 0, 'failed': 0, 'dropped': 0}
        """
        counts = self._past.copy()
        for delivery in self._deliveries:
            counts.update(_counts(delivery))
        return {name: counts[name] for name in ("queued", "written", "failed", "dropped")}

    def _make_delivery(self, previous: Delivery | None) -> Delivery:
        def write(messages: list[Message]) -> None:
            nonlocal previous
            if previous is not None:
                # Started again while the last run was still writing: that comes first.
                _drain(previous, self._drain_timeout)
                previous = None
            for message in messages:
                self._destination(message)

        return Delivery(
            write,
            name=self.name,
            capacity=self._capacity,
            max_bytes=_UNBOUNDED,
            policy="drop_newest",
            batch_size=1,
            retry=_ONCE,
            size_of=_nothing,
            drain_timeout=self._drain_timeout,
        )

    def _forget_ended(self) -> None:
        for delivery in [each for each in self._deliveries if each.is_closed]:
            self._deliveries.remove(delivery)
            self._past.update(_counts(delivery))


def _nothing(_: object) -> int:
    return 0


def _counts(delivery: Delivery) -> dict[str, int]:
    found = delivery.statistics()
    return {
        "queued": found["queued"],
        "written": found["delivered"],
        "failed": found["dead"],
        "dropped": sum(found["dropped"].values()),
    }


def _drain(delivery: Delivery, timeout: float) -> None:
    """Wait for as long as *delivery* gets on; close it when all is written, or it is stuck."""
    queued = -1
    while not delivery.flush(timeout):
        before, queued = queued, delivery.statistics()["queued"]
        if queued == before:
            break
    delivery.close(timeout)
