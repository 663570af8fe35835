"""Publishing to a stream of JetStream, with confirmations."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sprockets.logbook import _caller
from sprockets.logbook.delivery import PartlyDelivered, PermanentError
from sprockets.logbook.queues._broker_handler import in_one_line, name_of
from sprockets.logbook.queues._nats_connection import Connection

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_caller.register(__file__)

_HEADERS_SIZE: Final = 512
"""Bytes that headers may take at most."""
_TOO_LARGE_FOR_STREAM: Final = 10054


class Publisher(Connection):
    """Publishes to a stream, until the server says that it keeps what it got.

    The client's own way to do that, in 2.16, never hears of what the server refuses.
    """

    async def _set_up_in_loop(self) -> None:
        await super()._set_up_in_loop()
        self._numbers = itertools.count(1)
        self._replies: dict[str, asyncio.Future[None]] = {}
        self._inbox: str = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*", cb=self._on_reply)

    def send(self, items: list[bytes]) -> None:
        """Publish *items* in order, and wait until all are kept.

        The server leaves out one that it knows by its name.

        Raises:
            ConnectionError: The connection is lost, or the stream takes nothing.
            PartlyDelivered: It took the first of them.
            PermanentError: Some are larger than the server accepts.
        """
        limit = self._client.max_payload - _HEADERS_SIZE
        large = [item for item in items if len(item) > limit]
        if large:
            raise PermanentError(
                f"{len(large)} records of more than {limit} bytes; see max_payload of the server",
                large,
            )
        self.run(self._send_in_loop(items), self._streams.timeout * 2)

    async def _send_in_loop(self, items: list[bytes]) -> None:
        futures: list[asyncio.Future[Any]] = []
        error: BaseException
        try:
            async with asyncio.timeout(self._streams.timeout):
                for item in items:
                    future = await self._publish(item)
                    futures.append(future)
                await self._unless_lost(_all_of(futures))
                return
        except TimeoutError:
            error = ConnectionError(
                f"{self._streams.shown}: not confirmed within {self._streams.timeout:g} s"
            )
        except Exception as raised:  # noqa: BLE001 - told below
            error = raised
        count = _count_kept(futures)
        if count < len(futures) and _is_too_large(futures[count]):
            item = items[count]
            raise PermanentError(f"too large for the stream: {len(item)} bytes", [item]) from error
        for future in futures:
            future.cancel()
        if not isinstance(error, ConnectionError):
            error = ConnectionError(f"{self._streams.shown}: {in_one_line(error)}")
        raise PartlyDelivered(count, f"{count} of {len(items)} were taken: {error}") from error

    async def _publish(self, item: bytes) -> asyncio.Future[None]:
        """Publish *item*, and return what says later whether it was kept."""
        number = str(next(self._numbers))
        reply: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        headers = {"Nats-Expected-Stream": self._streams.stream}
        name = name_of(item)
        if name is not None:
            headers["Nats-Msg-Id"] = name
        await self._client.publish(
            self._streams.subject, item, reply=f"{self._inbox}.{number}", headers=headers
        )
        return reply

    async def _on_reply(self, message: Msg) -> None:
        reply = self._replies.pop(message.subject.rpartition(".")[2], None)
        if reply is None or reply.done():
            return
        if (message.headers or {}).get("Status") == "503":
            reply.set_exception(_RefusedError(f"there is no stream {self._streams.stream!r}", 0))
            return
        try:
            error = json.loads(message.data).get("error")
            if error is None:
                reply.set_result(None)
            else:
                reply.set_exception(_RefusedError(error["description"], error.get("err_code", 0)))
        except (ValueError, LookupError, AttributeError) as unexpected:
            reply.set_exception(_RefusedError(f"an answer that is none: {unexpected}", 0))


class _RefusedError(Exception):
    """What the server says of a message that it does not keep."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


async def _all_of(futures: Sequence[asyncio.Future[None]]) -> None:
    await asyncio.gather(*futures)


def _count_kept(futures: Sequence[asyncio.Future[Any]]) -> int:
    for count, future in enumerate(futures):
        if not future.done() or future.cancelled() or future.exception() is not None:
            return count
    return len(futures)


def _is_too_large(future: asyncio.Future[Any]) -> bool:
    if not future.done() or future.cancelled():
        return False
    error = future.exception()
    return isinstance(error, _RefusedError) and error.code == _TOO_LARGE_FOR_STREAM
