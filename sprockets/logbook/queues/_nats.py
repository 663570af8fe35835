"""JetStream, the part of NATS that keeps what it is given."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.queues._broker_handler import BrokerHandler
from sprockets.logbook.queues._broker_subscriber import BrokerSubscriber
from sprockets.logbook.queues._nats_connection import Streams, check_name
from sprockets.logbook.queues._nats_publisher import Publisher
from sprockets.logbook.queues._nats_puller import Puller

_caller.register(__file__)


class JetStreamHandler(BrokerHandler):
    """Publishes each record to a stream of NATS JetStream, and keeps it until the server does.

    A log call never waits for the server.  While it is away, records stay in memory, or in the
    *spool*; see `RemoteHandler` for that, for closing, and for the end of the program.  What is
    sent a second time has the same name, ``Nats-Msg-Id``, by which the server leaves it out within
    its window, ten minutes for a stream that is made here; beyond that, `JetStreamSubscriber` does.

    The connection lives on an event loop of its own, in a thread of its own.  It may be used in
    forked children, each of which connects for itself.

    Args:
        url: Where the server is; of several, the first that answers.
        stream: Names the stream.
        subject: What is published to.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        create: Whether to make the stream if it is missing: on disk, for one kind of consumer, and
            a record is gone from it once that has dealt with it.  Make it yourself for anything
            else.
        domain: The JetStream domain; ``None`` is the server's own.
        credentials: A file of credentials, as ``nsc`` writes it (this needs the library nkeys).
        tls: Whether to encrypt, which a ``tls`` URL says by itself; certificates are verified with
            the system's authorities, or as the context says.
        connect: Further arguments of ``nats.connect``, such as ``user``, ``password``, ``token``.
        timeout: Seconds to wait for the server at most.
        **options: Those of `RemoteHandler`.

    Raises:
        MissingDependency: nats-py is not installed.
        ValueError: A name is none that NATS takes.
    """

    def __init__(
        self,
        url: str | Sequence[str] = "nats://127.0.0.1:4222",
        stream: str = "logging",
        subject: str = "logging",
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        create: bool = True,
        domain: str | None = None,
        credentials: str | os.PathLike[str] | None = None,
        tls: bool | ssl.SSLContext = False,
        connect: Mapping[str, Any] | None = None,
        timeout: float = 10.0,
        **options: Any,
    ) -> None:
        self._streams = Streams(
            url,
            stream,
            subject,
            needed_by=type(self).__name__,
            domain=domain,
            create=create,
            credentials=credentials,
            tls=tls,
            connect=connect,
            timeout=timeout,
        )
        super().__init__(level, filter, bubble, **options)
        self.ready(JetStreamHandler)

    def _connect(self) -> Publisher:
        return Publisher(self._streams)


class JetStreamSubscriber(BrokerSubscriber):
    """Receives records from a stream of NATS JetStream, by a durable consumer.

    Each is acknowledged once it was dispatched; who calls :meth:`recv` calls :meth:`acknowledge`
    then, or :meth:`reject`.  If dispatching it raises, it comes again, here or at another
    subscriber with the same *durable*; one that came *max_deliveries* times is a dead letter, and
    so is what is no record.  What had been delivered so often to processes that died of it is not
    dispatched any more.

    Args:
        url: Where the server is; of several, the first that answers.
        stream: Names the stream.
        subject: What is received; a stream that is made here takes this.
        durable: Names the consumer, made if it is missing; subscribers with the same share what
            comes.
        create: Whether to make the stream and the consumer if they are missing.
        domain: As for `JetStreamHandler`.
        credentials: As for `JetStreamHandler`.
        tls: As for `JetStreamHandler`.
        connect: As for `JetStreamHandler`.
        timeout: Seconds to wait for the server at most.
        prefetch: Records that are asked for at once.
        patience: Seconds without a word after which the server gives a record to another, if the
            consumer is made here; while this process lives, it gives that word.
        max_deliveries: Deliveries of one record at most.
        retry_pause: Seconds until a record whose dispatching failed comes again.
        max_unacknowledged: Records that may be received and not acknowledged.
        dead_letters: The subject for dead letters; its stream is made if it is missing, and
            *create* holds, with dashes for dots.  What was wrong is in the header ``Error``.
            ``None`` keeps none.

    Raises:
        MissingDependency: nats-py is not installed.
        ValueError: A name is none that NATS takes.
    """

    def __init__(
        self,
        url: str | Sequence[str] = "nats://127.0.0.1:4222",
        stream: str = "logging",
        subject: str = "logging",
        durable: str = "logging",
        *,
        create: bool = True,
        domain: str | None = None,
        credentials: str | os.PathLike[str] | None = None,
        tls: bool | ssl.SSLContext = False,
        connect: Mapping[str, Any] | None = None,
        timeout: float = 10.0,
        prefetch: int = 100,
        patience: float = 30.0,
        max_deliveries: int = 5,
        retry_pause: float = 1.0,
        max_unacknowledged: int = 1_000,
        dead_letters: str | None = None,
    ) -> None:
        check_name("consumer", durable)
        if prefetch < 1:
            raise ValueError(f"prefetch must be at least 1, got {prefetch}")
        self._streams = Streams(
            url,
            stream,
            subject,
            needed_by=type(self).__name__,
            domain=domain,
            create=create,
            credentials=credentials,
            tls=tls,
            connect=connect,
            timeout=timeout,
        )
        self._durable = durable
        self._pulling: dict[str, Any] = {
            "prefetch": prefetch,
            "patience": patience,
            "dead_letters": dead_letters,
            "pause": retry_pause,
        }
        super().__init__(
            acknowledges_at_once=False,
            max_unacknowledged=max_unacknowledged,
            max_deliveries=max_deliveries,
        )

    def _connect(self) -> Puller:
        return Puller(self._streams, self._durable, **self._pulling)
