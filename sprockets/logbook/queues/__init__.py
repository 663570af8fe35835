"""Queues: records on their way to another thread, process or machine."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sprockets.logbook.queues._broker_messages import DeliveriesExceededError
    from sprockets.logbook.queues._execnet import ExecnetChannelHandler, ExecnetChannelSubscriber
    from sprockets.logbook.queues._group import GroupMember, SubscriberGroup
    from sprockets.logbook.queues._kombu import (
        MessageQueueHandler,
        MessageQueueSubscriber,
        RabbitMQHandler,
        RabbitMQSubscriber,
    )
    from sprockets.logbook.queues._multiprocessing import (
        MultiProcessingHandler,
        MultiProcessingSubscriber,
        QueueClosedError,
    )
    from sprockets.logbook.queues._nats import JetStreamHandler, JetStreamSubscriber
    from sprockets.logbook.queues._process_queue import ProcessQueue
    from sprockets.logbook.queues._redis import RedisHandler
    from sprockets.logbook.queues._redis_streams import RedisStreamHandler, RedisStreamSubscriber
    from sprockets.logbook.queues._subscriber import ClosedError, SubscriberBase, ThreadController
    from sprockets.logbook.queues._threaded import ThreadedWrapperHandler, TWHThreadController
    from sprockets.logbook.queues._wire import MalformedRecordError
    from sprockets.logbook.queues._zeromq import ZeroMQHandler, ZeroMQSubscriber
    from sprockets.logbook.queues._zeromq_reliable import ReliableZeroMQHandler
    from sprockets.logbook.queues._zeromq_reliable_subscriber import ReliableZeroMQSubscriber

# Imported when they are first asked for: each brings a library, or sockets, that few need.
_LAZY: Final = {
    "ClosedError": "_subscriber",
    "DeliveriesExceededError": "_broker_messages",
    "ExecnetChannelHandler": "_execnet",
    "ExecnetChannelSubscriber": "_execnet",
    "GroupMember": "_group",
    "JetStreamHandler": "_nats",
    "JetStreamSubscriber": "_nats",
    "MalformedRecordError": "_wire",
    "MessageQueueHandler": "_kombu",
    "MessageQueueSubscriber": "_kombu",
    "MultiProcessingHandler": "_multiprocessing",
    "MultiProcessingSubscriber": "_multiprocessing",
    "ProcessQueue": "_process_queue",
    "QueueClosedError": "_multiprocessing",
    "RabbitMQHandler": "_kombu",
    "RabbitMQSubscriber": "_kombu",
    "RedisHandler": "_redis",
    "RedisStreamHandler": "_redis_streams",
    "RedisStreamSubscriber": "_redis_streams",
    "ReliableZeroMQHandler": "_zeromq_reliable",
    "ReliableZeroMQSubscriber": "_zeromq_reliable_subscriber",
    "SubscriberBase": "_subscriber",
    "SubscriberGroup": "_group",
    "TWHThreadController": "_threaded",
    "ThreadController": "_subscriber",
    "ThreadedWrapperHandler": "_threaded",
    "ZeroMQHandler": "_zeromq",
    "ZeroMQSubscriber": "_zeromq",
}

__all__ = [
    "ClosedError",
    "DeliveriesExceededError",
    "ExecnetChannelHandler",
    "ExecnetChannelSubscriber",
    "GroupMember",
    "JetStreamHandler",
    "JetStreamSubscriber",
    "MalformedRecordError",
    "MessageQueueHandler",
    "MessageQueueSubscriber",
    "MultiProcessingHandler",
    "MultiProcessingSubscriber",
    "ProcessQueue",
    "QueueClosedError",
    "RabbitMQHandler",
    "RabbitMQSubscriber",
    "RedisHandler",
    "RedisStreamHandler",
    "RedisStreamSubscriber",
    "ReliableZeroMQHandler",
    "ReliableZeroMQSubscriber",
    "SubscriberBase",
    "SubscriberGroup",
    "TWHThreadController",
    "ThreadController",
    "ThreadedWrapperHandler",
    "ZeroMQHandler",
    "ZeroMQSubscriber",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        found = getattr(import_module(f"sprockets.logbook.queues.{_LAZY[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
