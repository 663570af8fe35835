"""ZeroMQ: ours, Logbook's, and pyzmq by hand.

High-water marks are off, so that nothing is lost where a sender is faster than its receiver.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.queue_transports._case import (
    PADDING,
    Case,
    Log,
    Ready,
    Receiver,
    Sender,
    Taker,
    dispatching,
    facts_of,
    logging_to,
)


@contextmanager
def send_reliably(uri: str) -> Iterator[Log]:
    from sprockets.logbook.queues import ReliableZeroMQHandler

    handler = ReliableZeroMQHandler(uri, capacity=10**7, max_bytes=4 << 30, drain_timeout=120)
    with logging_to(handler) as log:
        yield log


@contextmanager
def send(uri: str) -> Iterator[Log]:
    from sprockets.logbook import Logger
    from sprockets.logbook.queues import ZeroMQHandler

    log = Logger("bench")
    handler = ZeroMQHandler(None, multi=True)
    handler.socket.sndhwm = 0
    handler.socket.connect(uri)
    with handler.contextbound():
        yield lambda number: log.info("{} {}", number, PADDING)
    handler.close(60_000)
    handler.context.term()


def receiving(name: str, **options: object) -> Receiver:
    def receive(ready: Ready, taker: Taker) -> None:
        from sprockets.logbook import queues

        subscriber = getattr(queues, name)("tcp://127.0.0.1:*", **options)
        ready(subscriber.socket.last_endpoint.decode())
        dispatching(subscriber, taker)

    return receive


@contextmanager
def send_with_logbook(uri: str) -> Iterator[Log]:
    warnings.simplefilter("ignore")
    import zmq

    import logbook
    from logbook.queues import ZeroMQHandler

    log = logbook.Logger("bench")
    context = zmq.Context()
    handler = ZeroMQHandler(context=context, multi=True)
    handler.socket.setsockopt(zmq.SNDHWM, 0)
    handler.socket.connect(uri)
    with handler:
        yield lambda number: log.info("{} {}", number, PADDING)
    handler.close(60_000)
    context.term()


def receive_with_logbook(ready: Ready, taker: Taker) -> None:
    warnings.simplefilter("ignore")
    import zmq

    import logbook
    from logbook.queues import ZeroMQSubscriber

    class Taking(logbook.Handler):
        def emit(self, record: object) -> None:
            taker.take(record.message)  # type: ignore[attr-defined]  # a record

    subscriber = ZeroMQSubscriber("tcp://127.0.0.1:*", multi=True)
    ready(subscriber.socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())
    with Taking():
        while not taker.is_done and subscriber.dispatch_once(30):
            pass
    subscriber.close()


def by_hand(batch: int) -> Sender:
    @contextmanager
    def send(uri: str) -> Iterator[Log]:
        import orjson
        import zmq

        dumps = orjson.dumps
        with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
            socket.sndhwm = 0
            socket.linger = 60_000
            socket.connect(uri)
            records: list[dict[str, object]] = []

            def log(number: int) -> None:
                records.append(facts_of(number))
                if len(records) == batch:
                    socket.send(dumps(records))
                    records.clear()

            yield log
            if records:
                socket.send(dumps(records))

    return send


def receive_by_hand(ready: Ready, taker: Taker) -> None:
    import orjson
    import zmq

    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.bind("tcp://127.0.0.1:*")
        ready(socket.last_endpoint.decode())
        while not taker.is_done and socket.poll(30_000):
            for record in orjson.loads(socket.recv()):
                taker.take(record["message"])


BY_HAND = "pyzmq + orjson"
IN_BATCHES = "pyzmq + orjson, 100 a message"

CASES = [
    Case(
        "ReliableZeroMQHandler",
        IN_BATCHES,
        ("zmq",),
        send=send_reliably,
        receive=receiving("ReliableZeroMQSubscriber"),
    ),
    Case(
        "ZeroMQHandler",
        "Logbook ZeroMQHandler",
        ("zmq",),
        send=send,
        receive=receiving("ZeroMQSubscriber", multi=True),
    ),
    Case(
        "Logbook ZeroMQHandler",
        needs=("logbook", "zmq"),
        share=5,
        send=send_with_logbook,
        receive=receive_with_logbook,
    ),
    Case(BY_HAND, needs=("orjson", "zmq"), send=by_hand(1), receive=receive_by_hand),
    Case(IN_BATCHES, needs=("orjson", "zmq"), send=by_hand(100), receive=receive_by_hand),
]
