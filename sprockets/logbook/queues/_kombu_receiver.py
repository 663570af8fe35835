"""Receiving from a queue of kombu, and telling the broker what became of a message."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from sprockets.logbook import _caller
from sprockets.logbook.queues._broker_handler import in_one_line
from sprockets.logbook.queues._broker_messages import Message
from sprockets.logbook.queues._kombu_connection import Queues, abandon, collect, part_from
from sprockets.logbook.queues._kombu_publisher import Publisher

_caller.register(__file__)

_HEARTBEAT_CHECK: Final = 1.0
"""Seconds between two looks for whether a heartbeat is due."""


class Receiver:
    """Receives from a queue what the broker hands out, and tells it what became of that.

    Args:
        queues: Where from.
        prefetch: Messages that the broker hands out before any was acknowledged.
        dead_letters: Names the queue for what is given up; ``None`` leaves it to the broker, which
            has its own rules for what is rejected.
    """

    def __init__(self, queues: Queues, prefetch: int, dead_letters: str | None) -> None:
        self._queues = queues
        self._dead_letters = dead_letters
        self._graveyard: Publisher | None = None
        self._checked_at = monotonic()
        self.connection, channel = queues.open()
        try:
            with queues.failing(self.connection):
                self.queue: Any = queues.make_queue(channel, queues.queue)
                consumer = self.queue.consumer
                consumer.qos(prefetch_count=prefetch)
                # As it is: what a message says of its encoding is not to choose who decodes it.
                consumer.on_message = self.queue.buffer.append
                consumer.on_decode_error = self._keep_undecoded
        except BaseException:
            collect(self.connection)
            raise

    def _keep_undecoded(self, message: object, error: Exception) -> None:
        self.queue.buffer.append(message)

    def fetch(self, timeout: float) -> Message | None:
        """Return the next message, or None after *timeout* seconds; with 0 what there is now."""
        with self._queues.failing(self.connection):
            queue = self.queue
            if not queue.buffer:
                self._check_heartbeat()
                self._drain(timeout)
            return _as_message(queue.buffer.popleft()) if queue.buffer else None

    def _drain(self, timeout: float) -> None:
        queue = self.queue
        if timeout > 0:
            queue._consume()
            deadline = monotonic() + timeout
            while not queue.buffer and (remaining := deadline - monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    self.connection.drain_events(timeout=remaining)
            return
        if queue._consuming:
            with contextlib.suppress(TimeoutError):
                self.connection.drain_events(timeout=0.001)
            if queue.buffer:
                return
        # What is waiting here, even if it was not handed out so far.
        message = queue.queue.get(no_ack=False)
        if message is not None:
            queue.buffer.append(message)

    def _check_heartbeat(self) -> None:
        now = monotonic()
        if self.connection.heartbeat and now - self._checked_at >= _HEARTBEAT_CHECK:
            self._checked_at = now
            self.connection.heartbeat_check()

    def accept(self, message: Message) -> None:
        """Tell the broker that it may forget *message*."""
        self._tell(message.native.ack)

    def retry(self, message: Message) -> None:
        """Have the broker deliver *message* again."""
        self._tell(message.native.requeue)

    def discard(self, message: Message, error: Exception) -> None:
        """Put *message* where dead letters are, because of *error*."""
        if self._dead_letters is None:
            self._tell(message.native.reject)
            return
        with self._queues.failing(self.connection):
            if self._graveyard is None:
                opened = self.connection, self.connection.channel()
                self._graveyard = Publisher(self._queues, self._dead_letters, opened)
            headers = {"error": in_one_line(error), "queue": self._queues.queue}
            self._graveyard.send_one(message.body, headers)
        self._tell(message.native.ack)

    def _tell(self, tell: Callable[[], object]) -> None:
        with self._queues.failing(self.connection):
            tell()

    def close(self, patience: float) -> None:
        """Say good-bye, and close; what was not acknowledged, the broker delivers again."""
        part_from(self.connection, patience)

    def abandon(self) -> None:
        """Leave the connection to the parent."""
        abandon(self.connection)


def _as_message(native: Any) -> Message:
    attempts = 1
    if isinstance(native.delivery_info, dict) and native.delivery_info.get("redelivered"):
        attempts = 2
    # Only queues of the kind "quorum" count.
    count = (native.headers or {}).get("x-delivery-count")
    if isinstance(count, int):
        attempts = max(attempts, count + 1)
    return Message(native.body, attempts, native)
