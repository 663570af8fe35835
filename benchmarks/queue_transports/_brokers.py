"""RabbitMQ: ours, Logbook's, and kombu by hand."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.queue_transports._case import (
    PADDING,
    Case,
    Log,
    Ready,
    Taker,
    dispatching,
    facts_of,
    logging_to,
)

URL = os.environ.get("SPROCKETS_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//")
CONFIRMING = {"confirm_publish": True}


@contextmanager
def named() -> Iterator[str]:
    """Return the name of a queue that is gone in the end."""
    from kombu import Connection

    name = f"sprockets-benchmark-{uuid.uuid4().hex}"
    try:
        yield name
    finally:
        with Connection(URL) as connection:
            connection.default_channel.queue_delete(name)


@contextmanager
def send(name: str) -> Iterator[Log]:
    from sprockets.logbook.queues import MessageQueueHandler

    handler = MessageQueueHandler(URL, name, capacity=10**7, max_bytes=4 << 30, drain_timeout=120)
    with logging_to(handler) as log:
        yield log


def receive(ready: Ready, taker: Taker) -> None:
    from sprockets.logbook.queues import MessageQueueSubscriber

    with named() as name:
        subscriber = MessageQueueSubscriber(URL, name, acknowledge="dispatched")
        subscriber.recv(0.1)
        ready(name)
        dispatching(subscriber, taker)


@contextmanager
def send_with_logbook(name: str) -> Iterator[Log]:
    warnings.simplefilter("ignore")
    import logbook
    from logbook.queues import MessageQueueHandler

    log = logbook.Logger("bench")
    handler = MessageQueueHandler(URL, name)
    with handler:
        yield lambda number: log.info("{} {}", number, PADDING)
    handler.close()


def receive_with_logbook(ready: Ready, taker: Taker) -> None:
    warnings.simplefilter("ignore")
    import logbook
    from logbook.queues import MessageQueueSubscriber

    class Taking(logbook.Handler):
        def emit(self, record: Any) -> None:
            taker.take(record.message)

    with named() as name:
        subscriber = MessageQueueSubscriber(URL, name)
        ready(name)
        with Taking():
            while not taker.is_done and subscriber.dispatch_once(30):
                pass
        subscriber.close()


@contextmanager
def send_by_hand(name: str) -> Iterator[Log]:
    from kombu import Connection, Queue

    with Connection(URL, transport_options=CONFIRMING) as connection:
        queue = Queue(name, durable=True)
        with connection.Producer(serializer="json") as producer:
            yield lambda number: producer.publish(
                facts_of(number), routing_key=name, declare=[queue], delivery_mode=2
            )


def receive_by_hand(ready: Ready, taker: Taker) -> None:
    from kombu import Connection, Queue

    def take(body: dict[str, Any], message: Any) -> None:
        taker.take(body["message"])
        message.ack()

    with named() as name, Connection(URL) as connection:
        queue = Queue(name, durable=True)
        with connection.Consumer(queue, callbacks=[take], prefetch_count=100):
            ready(name)
            while not taker.is_done:
                connection.drain_events(timeout=30)


BY_HAND = "kombu, confirmed"
CASES = [
    Case("MessageQueueHandler", BY_HAND, ("kombu",), URL, 10, send=send, receive=receive),
    Case(
        "Logbook MessageQueueHandler",
        BY_HAND,
        ("logbook", "kombu"),
        URL,
        40,
        send=send_with_logbook,
        receive=receive_with_logbook,
    ),
    Case(BY_HAND, None, ("kombu",), URL, 40, send=send_by_hand, receive=receive_by_hand),
]
