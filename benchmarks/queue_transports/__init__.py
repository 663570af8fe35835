"""The ways from one process, or thread, to another that ``benchmarks/queues.py`` compares.

Each module has the rows of one kind of transport: ours, and next to it what its library does when
it is used by hand, or the same class of Logbook.
"""

from benchmarks.queue_transports import (
    _brokers,
    _execnet,
    _nats,
    _processes,
    _redis,
    _threads,
    _zeromq,
)
from benchmarks.queue_transports._case import Case

CASES: dict[str, Case] = {
    case.name: case
    for module in (_zeromq, _processes, _threads, _redis, _brokers, _nats, _execnet)
    for case in module.CASES
}

__all__ = ["CASES"]
