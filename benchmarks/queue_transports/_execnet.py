"""A channel of execnet: ours, and execnet by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.queue_transports._case import (
    PATIENCE,
    Case,
    Reading,
    Taker,
    dispatching,
)

_FAR_END = """
import sys
sys.path.append({root!r})
from benchmarks.queue_transports import _execnet
_execnet.send(channel, {count}, {is_ours})
"""


def send(channel: Any, count: int, is_ours: bool) -> None:
    """Be the sender, at the far end of *channel*."""
    from time import process_time

    from benchmarks.queue_transports._case import facts_of, logging_to, time_calls

    if is_ours:
        from sprockets.logbook.queues import ExecnetChannelHandler

        with logging_to(ExecnetChannelHandler(channel)) as log:
            reading = time_calls(log, count)
    else:
        reading = time_calls(lambda number: channel.send(facts_of(number)), count)
    reading["sender's"] = (process_time() - reading.pop("cpu")) / count * 1e6
    channel.send(reading)


def _between(receive: Callable[[Any, Taker], None], is_ours: bool, count: int) -> Reading:
    import execnet

    group = execnet.Group()
    try:
        gateway = group.makegateway(f"popen//python={sys.executable}")
        root = str(Path(__file__).parents[2])
        channel = gateway.remote_exec(_FAR_END.format(root=root, count=count, is_ours=is_ours))
        taker = Taker(count)
        receive(channel, taker)
        return {**channel.receive(PATIENCE), **taker.reading}
    finally:
        group.terminate(timeout=5)


def run(count: int) -> Reading:
    from sprockets.logbook.queues import ExecnetChannelSubscriber

    return _between(
        lambda channel, taker: dispatching(ExecnetChannelSubscriber(channel), taker), True, count
    )


def run_by_hand(count: int) -> Reading:
    def receive(channel: Any, taker: Taker) -> None:
        while not taker.is_done:
            taker.take(channel.receive(30)["message"])

    return _between(receive, False, count)


BY_HAND = "execnet, dicts"
CASES = [
    Case("ExecnetChannelHandler", BY_HAND, ("execnet",), share=4, run=run),
    Case(BY_HAND, None, ("execnet",), share=4, run=run_by_hand),
]
