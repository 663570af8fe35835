"""Message queues of all kinds, by way of kombu: RabbitMQ, Redis, and more.

Records cross over to Logbook and back: the queue and what is in it are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.queues._broker_handler import BrokerHandler
from sprockets.logbook.queues._broker_subscriber import BrokerSubscriber
from sprockets.logbook.queues._kombu_connection import Queues
from sprockets.logbook.queues._kombu_publisher import Publisher
from sprockets.logbook.queues._kombu_receiver import Receiver

if TYPE_CHECKING:
    pass

_caller.register(__file__)


class MessageQueueHandler(BrokerHandler):
    """Puts each record into a durable queue of a broker, as a persistent message.

    A log call never waits for the broker.  RabbitMQ confirms what it keeps; until then, records
    stay in memory, or in the *spool*; see `RemoteHandler` for that, for closing, and for the end of
    the program.  Other brokers answer each command, which is as much.  After an outage, records of
    the last batch may come twice; they have names, by which `MessageQueueSubscriber` leaves out
    the second.

    It may be used in forked children, each of which connects for itself.

    Args:
        uri: Where the broker is, such as ``amqp://guest:guest@localhost//``,
            ``redis://localhost:6379/0`` or ``memory://``; several, with ``;`` between, are tried in
            turn.
        queue: Names the queue, made if it is missing.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        tls: Whether to encrypt, which an ``amqps`` URI says by itself; certificates are verified
            with the system's authorities.  A mapping says it in the words of kombu, as in
            ``{"ca_certs": "ca.pem", "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}``.
        queue_arguments: Given to the broker when it makes the queue; all who use the queue must
            give the same, and Logbook gives none.
        timeout: Seconds to wait for the broker at most.
        **options: Those of `RemoteHandler`.

    Raises:
        MissingDependency: kombu is not installed.
        ValueError: *uri* is missing, or nothing that kombu knows.
    """

    def __init__(
        self,
        uri: str | None = None,
        queue: str = "logging",
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        tls: bool | Mapping[str, Any] = False,
        queue_arguments: Mapping[str, Any] | None = None,
        timeout: float = 10.0,
        **options: Any,
    ) -> None:
        self._queues = Queues(
            uri,
            queue,
            needed_by=type(self).__name__,
            tls=tls,
            arguments=queue_arguments,
            timeout=timeout,
        )
        super().__init__(level, filter, bubble, **options)
        self.ready(MessageQueueHandler)

    def _connect(self) -> Publisher:
        return Publisher(self._queues)

    @property
    def queue(self) -> Any:
        """The queue, an object of kombu's; None while there is no connection."""
        link = self._link
        return None if link is None else link.queue


class MessageQueueSubscriber(BrokerSubscriber):
    """Receives records from a queue of a broker.

    Several may receive from one queue, and share what is in it.  A connection that is lost is made
    anew.  What is no record becomes a dead letter, and the queue goes on.

    Args:
        uri: Where the broker is, as for `MessageQueueHandler`.
        queue: Names the queue, made if it is missing.
        acknowledge: When the broker may forget a record: ``"received"``, once it is here; what this
            process has not dispatched when it dies is lost then.  With ``"dispatched"``, once it
            was dispatched, whether or not a handler failed; who calls :meth:`recv` calls
            :meth:`acknowledge` then.
        tls: As for `MessageQueueHandler`.
        queue_arguments: As for `MessageQueueHandler`.
        timeout: Seconds to wait for the broker at most.
        heartbeat: Seconds after which a silent connection is dead; 0 is never.  A record that takes
            longer to dispatch comes a second time, and is left out then.
        max_unacknowledged: Records that may be received and not acknowledged; so many are fetched
            ahead.
        dead_letters: Names a queue for what is no record, made if it is missing; what was wrong is
            in the header ``error``.  ``None``: it is rejected, and RabbitMQ puts it where the
            queue's ``x-dead-letter-exchange`` says, or forgets it.

    Raises:
        MissingDependency: kombu is not installed.
        ValueError: *uri* is missing, or nothing that kombu knows.
    """

    def __init__(
        self,
        uri: str | None = None,
        queue: str = "logging",
        *,
        acknowledge: Literal["received", "dispatched"] = "received",
        tls: bool | Mapping[str, Any] = False,
        queue_arguments: Mapping[str, Any] | None = None,
        timeout: float = 10.0,
        heartbeat: float = 60.0,
        max_unacknowledged: int = 1_000,
        dead_letters: str | None = None,
    ) -> None:
        if acknowledge not in ("received", "dispatched"):
            raise ValueError(f"acknowledge is 'received' or 'dispatched', not {acknowledge!r}")
        self._queues = Queues(
            uri,
            queue,
            needed_by=type(self).__name__,
            tls=tls,
            arguments=queue_arguments,
            timeout=timeout,
            heartbeat=heartbeat,
        )
        self._dead_letters = dead_letters
        super().__init__(
            acknowledges_at_once=acknowledge == "received", max_unacknowledged=max_unacknowledged
        )

    def _connect(self) -> Receiver:
        return Receiver(self._queues, self._max_unacknowledged, self._dead_letters)

    @property
    def queue(self) -> Any:
        """The queue, an object of kombu's; None while there is no connection."""
        source = self._source
        return None if source is None else source.queue


RabbitMQHandler = MessageQueueHandler
RabbitMQSubscriber = MessageQueueSubscriber
