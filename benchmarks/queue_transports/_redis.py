"""Redis: lists and streams, ours, Logbook's, and redis-py by hand."""

from __future__ import annotations

import json
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

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

URL = os.environ.get("SPROCKETS_TEST_REDIS", "redis://127.0.0.1:6379/0")


@contextmanager
def named() -> Iterator[tuple[Any, str]]:
    """Return a client, and the name of a key that is gone in the end."""
    import redis

    name = f"sprockets-benchmark-{uuid.uuid4().hex}"
    with redis.Redis.from_url(URL, socket_timeout=60) as client:
        try:
            yield client, name
        finally:
            client.delete(name, f"{name}:dead")


# -- a list: nobody subscribes to one with us, so all are read the same way


@contextmanager
def send_to_list(key: str) -> Iterator[Log]:
    from sprockets.logbook.queues import RedisHandler

    parts = urlsplit(URL)
    handler = RedisHandler(
        parts.hostname or "127.0.0.1",
        parts.port or 6379,
        key,
        bubble=False,
        capacity=10**7,
        max_bytes=4 << 30,
        drain_timeout=120,
    )
    with logging_to(handler) as log:
        yield log


@contextmanager
def send_to_list_with_logbook(key: str) -> Iterator[Log]:
    warnings.simplefilter("ignore")
    import logbook
    from logbook.queues import RedisHandler

    parts = urlsplit(URL)
    log = logbook.Logger("bench")
    address = (parts.hostname or "127.0.0.1", parts.port or 6379)
    handler = RedisHandler(*address, key, bubble=False)
    with handler:
        # It sends messages as they are before their arguments are put in.
        yield lambda number: log.info(f"{number} {PADDING}")
    handler.close()


@contextmanager
def send_to_list_by_hand(key: str) -> Iterator[Log]:
    import redis

    with redis.Redis.from_url(URL) as client:
        yield lambda number: client.rpush(key, json.dumps(facts_of(number)))


def receive_from_list(ready: Ready, taker: Taker) -> None:
    with named() as (client, key):
        ready(key)
        while not taker.is_done:
            # One pop waits, the next takes what else there is.
            popped = client.blpop([key], timeout=30)
            if popped is None:
                return
            for data in (popped[1], *(client.lpop(key, 1000) or ())):
                taker.take(json.loads(data)["message"])


# -- a stream


@contextmanager
def send_to_stream(name: str) -> Iterator[Log]:
    from sprockets.logbook.queues import RedisStreamHandler

    handler = RedisStreamHandler(
        URL, name, max_length=None, capacity=10**7, max_bytes=4 << 30, drain_timeout=120
    )
    with logging_to(handler) as log:
        yield log


def receive_from_stream(ready: Ready, taker: Taker) -> None:
    from sprockets.logbook.queues import RedisStreamSubscriber

    with named() as (_, name):
        subscriber = RedisStreamSubscriber(URL, name)
        subscriber.recv(0)  # makes the group
        ready(name)
        dispatching(subscriber, taker)


@contextmanager
def send_to_stream_by_hand(name: str) -> Iterator[Log]:
    import redis

    with redis.Redis.from_url(URL) as client:
        yield lambda number: client.xadd(name, {"record": json.dumps(facts_of(number))})


def receive_from_stream_by_hand(ready: Ready, taker: Taker) -> None:
    with named() as (client, name):
        client.xgroup_create(name, "group", mkstream=True)
        ready(name)
        while not taker.is_done:
            answer = client.xreadgroup("group", "me", {name: ">"}, count=100, block=30_000)
            if not answer:
                return
            entries = answer[0][1]
            for _, fields in entries:
                taker.take(json.loads(fields[b"record"])["message"])
            client.xack(name, "group", *[entry for entry, _ in entries])


LIST = "redis-py, RPUSH + BLPOP"
STREAM = "redis-py, XADD + XREADGROUP"
CASES = [
    Case("RedisHandler", LIST, ("redis",), URL, send=send_to_list, receive=receive_from_list),
    Case(
        "Logbook RedisHandler",
        LIST,
        ("logbook", "redis"),
        URL,
        5,
        send=send_to_list_with_logbook,
        receive=receive_from_list,
    ),
    Case(LIST, None, ("redis",), URL, 20, send=send_to_list_by_hand, receive=receive_from_list),
    Case(
        "RedisStreamHandler",
        STREAM,
        ("redis",),
        URL,
        2,
        send=send_to_stream,
        receive=receive_from_stream,
    ),
    Case(
        STREAM,
        None,
        ("redis",),
        URL,
        20,
        send=send_to_stream_by_hand,
        receive=receive_from_stream_by_hand,
    ),
]
