"""Publishing to a queue of kombu; with AMQP, until the broker says that it keeps what it got."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from sprockets.logbook import _caller
from sprockets.logbook.delivery import PartlyDelivered
from sprockets.logbook.queues._broker_handler import name_of
from sprockets.logbook.queues._kombu_connection import (
    Connection,
    Queues,
    abandon,
    collect,
    part_from,
)

if TYPE_CHECKING:
    from kombu.simple import SimpleQueue

_caller.register(__file__)

_JSON: Final = {"content_type": "application/json", "content_encoding": "utf-8"}
# What is no record may be anything.
_BYTES: Final = {"content_type": "application/octet-stream", "content_encoding": "binary"}


class Publisher:
    """Sends messages to a queue; with AMQP, until the broker says that it keeps them.

    Args:
        queues: Where to.
        queue: Names the queue; ``None`` is the one of *queues*.
        opened: A connection and a channel that are open already, and closed by someone else.
    """

    def __init__(
        self, queues: Queues, queue: str | None = None, opened: tuple[Connection, Any] | None = None
    ) -> None:
        self._queues = queues
        self.connection, self._channel = opened or queues.open()
        try:
            with queues.failing(self.connection):
                self.queue: SimpleQueue = queues.make_queue(self._channel, queue or queues.queue)
                self._confirms = (
                    _Confirms(self._channel) if hasattr(self._channel, "confirm_select") else None
                )
        except BaseException:
            collect(self.connection)
            raise

    def send(self, items: list[bytes]) -> None:
        """Send *items*, persistent, and wait until all are confirmed.

        Raises:
            ConnectionError: The connection is lost, or the broker takes none.
            PartlyDelivered: It took the first of them.
        """
        sent = 0
        try:
            with self._queues.failing(self.connection):
                for item in items:
                    self.publish(item, message_id=name_of(item), **_JSON)
                    sent += 1
                if self._confirms is not None:
                    self._confirms.wait(self.connection, self._queues.timeout)
        except ConnectionError as error:
            taken = sent if self._confirms is None else self._confirms.taken
            raise PartlyDelivered(taken, f"{taken} of {len(items)} were taken: {error}") from error
        finally:
            if self._confirms is not None:
                self._confirms.begin_anew()

    def publish(self, body: Any, **options: Any) -> None:
        """Send one message without waiting for what comes of it."""
        if self._confirms is not None:
            self._confirms.sent += 1
            options.update(mandatory=True, timeout=self._queues.timeout)
        self.queue.producer.publish(body, delivery_mode=2, **options)

    def send_one(self, body: Any, headers: Mapping[str, str]) -> None:
        """Send one message with *headers*, and wait until it is confirmed.

        Raises:
            ConnectionError: It is not.
        """
        try:
            with self._queues.failing(self.connection):
                data = body.encode() if isinstance(body, str) else body
                self.publish(data, headers=dict(headers), **_BYTES)
                if self._confirms is not None:
                    self._confirms.wait(self.connection, self._queues.timeout)
        finally:
            if self._confirms is not None:
                self._confirms.begin_anew()

    def close(self, patience: float) -> None:
        """Say good-bye, and close."""
        part_from(self.connection, patience)

    def abandon(self) -> None:
        """Leave the connection to the parent."""
        abandon(self.connection)


class _Confirms:
    """What RabbitMQ says of the messages published on a channel since :meth:`begin_anew`."""

    def __init__(self, channel: Any) -> None:
        self.sent = 0
        self._before = 0
        self._confirmed: set[int] = set()
        self._all_up_to = 0
        self._refusal: str | None = None
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._all_up_to = max(self._all_up_to, tag)
        else:
            self._confirmed.add(tag)
        while self._all_up_to + 1 in self._confirmed:
            self._all_up_to += 1
            self._confirmed.discard(self._all_up_to)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refusal = self._refusal or f"the broker refuses message {tag}: is the queue full?"

    def _on_return(self, error: Exception, exchange: str, key: str, message: object) -> None:
        self._refusal = f"nobody keeps what is sent to {key!r}: {error}"
        # Its confirmation follows, and says nothing of this.
        self._before = self._all_up_to = self.sent

    @property
    def taken(self) -> int:
        """Messages, from the first without a gap, that the broker keeps."""
        return max(0, self._all_up_to - self._before)

    def wait(self, connection: Connection, timeout: float) -> None:
        deadline = monotonic() + timeout
        while self._refusal is None and self._all_up_to < self.sent:
            remaining = deadline - monotonic()
            if remaining <= 0:
                raise ConnectionError(f"the broker confirms nothing within {timeout:g} s")
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=remaining)
        if self._refusal is not None:
            raise ConnectionError(self._refusal)

    def begin_anew(self) -> None:
        """Count the next batch."""
        self._before = self.sent
