"""JetStream: ours, and nats-py by hand."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.queue_transports._case import (
    PATIENCE,
    Case,
    Log,
    Ready,
    Taker,
    dispatching,
    facts_of,
    logging_to,
)

URL = os.environ.get("SPROCKETS_TEST_NATS", "nats://127.0.0.1:4222")


@contextmanager
def named() -> Iterator[str]:
    """Return the name of a stream, and of its subject, that is gone in the end."""
    name = f"sprockets-benchmark-{uuid.uuid4().hex}"
    try:
        yield name
    finally:
        asyncio.run(_delete(name))


async def _delete(name: str) -> None:
    import nats

    client = await nats.connect(URL)
    await client.jetstream().delete_stream(name)
    await client.close()


@contextmanager
def send(name: str) -> Iterator[Log]:
    from sprockets.logbook.queues import JetStreamHandler

    handler = JetStreamHandler(
        URL, name, name, capacity=10**7, max_bytes=4 << 30, drain_timeout=120
    )
    with logging_to(handler) as log:
        yield log


def receive(ready: Ready, taker: Taker) -> None:
    from sprockets.logbook.queues import JetStreamSubscriber

    with named() as name:
        subscriber = JetStreamSubscriber(URL, name, name)
        subscriber.recv(0.1)
        ready(name)
        dispatching(subscriber, taker)


@contextmanager
def send_by_hand(name: str) -> Iterator[Log]:
    import nats

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE)

    client = wait(nats.connect(URL))
    stream = client.jetstream()
    yield lambda number: wait(stream.publish(name, json.dumps(facts_of(number)).encode()))
    wait(client.close())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    loop.close()


def receive_by_hand(ready: Ready, taker: Taker) -> None:
    with named() as name:
        asyncio.run(_receive(name, ready, taker))


async def _receive(name: str, ready: Ready, taker: Taker) -> None:
    import nats

    client = await nats.connect(URL)
    stream = client.jetstream()
    await stream.add_stream(name=name, subjects=[name])
    subscription = await stream.pull_subscribe(name, "me")
    ready(name)
    while not taker.is_done:
        for message in await subscription.fetch(100, timeout=30):
            taker.take(json.loads(message.data)["message"])
            await message.ack()
    await client.close()


BY_HAND = "nats-py, one at a time"
CASES = [
    Case("JetStreamHandler", BY_HAND, ("nats",), URL, 4, send=send, receive=receive),
    Case(BY_HAND, None, ("nats",), URL, 40, send=send_by_hand, receive=receive_by_hand),
]
