"""Pulling from a durable consumer of JetStream, and telling it what became of a message."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from sprockets.logbook import _caller
from sprockets.logbook._json import encode
from sprockets.logbook.queues._broker_handler import in_one_line
from sprockets.logbook.queues._broker_messages import Message
from sprockets.logbook.queues._nats_connection import Connection, Streams

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_caller.register(__file__)

_PATIENCE: Final = 0.1
_PULL_EXPIRES: Final = 1.0
"""Seconds that the server keeps a request for messages."""


class Puller(Connection):
    """Pulls messages from a durable consumer of a stream, and tells what became of them.

    While a message is here, the server hears three times within its patience that it is.

    Args:
        streams: Where from.
        durable: Names the consumer, made if it is missing.
        prefetch: Messages that are asked for at once.
        patience: Seconds after which the server gives a message to another, if a consumer is made.
        dead_letters: The subject for what is given up; ``None`` forgets it.
        pause: Seconds until a message that could not be dispatched comes again.
    """

    def __init__(
        self,
        streams: Streams,
        durable: str,
        *,
        prefetch: int,
        patience: float,
        dead_letters: str | None,
        pause: float,
    ) -> None:
        self._durable = durable
        self._prefetch = prefetch
        self._patience = patience
        self._dead_letters = dead_letters
        self._pause = pause
        self._buffer: deque[Msg] = deque()
        self._here: dict[str, Msg] = {}
        self._wanted = 0
        self._asked_until = 0.0
        super().__init__(streams)

    async def _set_up_in_loop(self) -> None:
        await super()._set_up_in_loop()
        if self._dead_letters is not None:
            await self._ensure_stream(self._dead_letters.replace(".", "-"), self._dead_letters)
        await self._ensure_consumer()
        self._arrived = asyncio.Event()
        self._inbox: str = self._client.new_inbox()
        self._subscription = await self._client.subscribe(self._inbox, cb=self._on_message)
        self._keeping = asyncio.create_task(self._keep_in_loop())

    async def _ensure_consumer(self) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig
        from nats.js.errors import NotFoundError

        streams = self._streams
        try:
            info = await self._js.consumer_info(streams.stream, self._durable)
        except NotFoundError:
            if not streams.create:
                raise
            info = await self._js.add_consumer(
                streams.stream,
                ConsumerConfig(
                    durable_name=self._durable,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=self._patience,
                    filter_subject=streams.subject,
                ),
            )
        if info.config.ack_wait:
            self._patience = info.config.ack_wait

    # -- what comes

    async def _on_message(self, message: Msg) -> None:
        if message.subject == self._inbox:
            # The server's word on the request: "100" says that it lives, all else that it is over.
            status = (message.headers or {}).get("Status")
            if status != "100":
                self._wanted = 0
                self._arrived.set()
            return
        self._wanted -= 1
        self._buffer.append(message)
        self._here[message.reply] = message
        self._arrived.set()

    def fetch(self, timeout: float) -> Message | None:
        """Return the next message, or None after *timeout* seconds; with 0 what there is now."""
        if not self._buffer:
            self.run(self._pull_in_loop(timeout), timeout + self._streams.timeout)
        try:
            native = self._buffer.popleft()
        except IndexError:
            return None
        return Message(native.data, native.metadata.num_delivered, native)

    async def _pull_in_loop(self, seconds: float) -> None:
        if self._lost.done():
            raise self._lost_error()
        self._arrived.clear()
        if self._buffer:
            return
        is_asked = self._wanted > 0 and monotonic() < self._asked_until
        if is_asked and seconds == 0:
            return  # what there was has been sent
        if not is_asked:
            await self._ask_in_loop(seconds)
        # Without waiting there is an answer all the same, if only that there is nothing.
        patience = seconds if seconds > 0 else self._streams.timeout
        arrival = asyncio.create_task(self._arrived.wait())
        waiting: set[asyncio.Future[Any]] = {arrival, self._lost}
        await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        arrival.cancel()
        if self._lost.done() and not self._buffer:
            raise self._lost_error()

    async def _ask_in_loop(self, seconds: float) -> None:
        request: dict[str, Any] = {"batch": self._prefetch}
        if seconds > 0:
            request["expires"] = int(_PULL_EXPIRES * 1e9)
        else:
            request["no_wait"] = True
        self._wanted = self._prefetch
        self._asked_until = monotonic() + _PULL_EXPIRES + _PATIENCE
        await self._client.publish(
            f"{self._streams.prefix}.CONSUMER.MSG.NEXT.{self._streams.stream}.{self._durable}",
            encode(request).encode("ascii"),
            reply=self._inbox,
        )

    async def _keep_in_loop(self) -> None:
        while True:
            await asyncio.sleep(self._patience / 3)
            for message in list(self._here.values()):
                with contextlib.suppress(Exception):
                    await message.in_progress()

    # -- what became of it

    def accept(self, message: Message) -> None:
        """Tell the server that it may forget *message*."""
        self._tell(message, message.native.ack())

    def retry(self, message: Message) -> None:
        """Have the server deliver *message* again, after a pause."""
        self._tell(message, message.native.nak(self._pause))

    def discard(self, message: Message, error: Exception) -> None:
        """Put *message* where dead letters are, because of *error*."""
        if self._dead_letters is not None:
            burying = self._unless_lost(self._bury_in_loop(message, error))
            self.run(burying, self._streams.timeout * 2)
        self._tell(message, message.native.term())

    async def _bury_in_loop(self, message: Message, error: Exception) -> None:
        assert self._dead_letters is not None
        native = message.native
        headers = {
            "Nats-Msg-Id": f"{native.metadata.stream}-{native.metadata.sequence.stream}",
            "Error": in_one_line(error),
            "Subject": native.subject,
        }
        await self._js.publish(self._dead_letters, message.body, headers=headers)

    def _tell(self, message: Message, telling: Coroutine[Any, Any, object]) -> None:
        self._here.pop(message.native.reply, None)
        self._loop.submit(_told(telling))

    async def _close_in_loop(self) -> None:
        with contextlib.suppress(Exception):
            # Others need not wait for what nobody here is going to look at.  But as long as the
            # server has a request of ours, it would send that here.
            await self._subscription.unsubscribe()
            is_asked = self._wanted > 0
            pause = max(0.0, self._asked_until - monotonic()) if is_asked else None
            for message in list(self._here.values()):
                await message.nak(pause)
            await self._client.flush()
        await super()._close_in_loop()


async def _told(telling: Coroutine[Any, Any, object]) -> None:
    # If the connection breaks meanwhile, the message comes again.
    with contextlib.suppress(Exception):
        await telling
