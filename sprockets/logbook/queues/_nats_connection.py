"""NATS: servers, streams, and a connection on an event loop of its own.

The client of NATS is made for asyncio.  Its loop runs in a thread of its own, so that it answers
the server whatever else goes on here, and never meets the loop of the application.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import random
import ssl
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from sprockets._support.optional import optional
from sprockets.logbook import _caller
from sprockets.logbook.delivery import PartlyDelivered, PermanentError
from sprockets.logbook.queues._broker_handler import in_one_line
from sprockets.logbook.queues._nats_loop import LoopThread

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

_caller.register(__file__)

T = TypeVar("T")

_PATIENCE: Final = 0.1
"""Seconds to wait for the server's farewell."""
_PATIENCE_WITH_OTHERS: Final = 2.0
"""Seconds to wait for other connections of this process that look for their streams."""
_HESITATION: Final = 0.1
"""Seconds at most before a stream is made."""
_DUPLICATE_WINDOW: Final = 600.0
"""Seconds for which a stream that we make knows the names of records."""

_making = threading.Lock()


def _forget_lock() -> None:
    global _making
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)


class Streams:
    """A server, or several, and one stream there.

    Args:
        url: Where the server is; several are tried in turn.
        stream: Names the stream.
        subject: What is published to; a stream that we make takes this.
        needed_by: What the user asked for.
        domain: The JetStream domain; ``None`` is the server's own.
        create: Whether to make what is missing.
        credentials: A file of credentials, as ``nsc`` writes it.
        tls: Whether to encrypt, or with what; a ``tls`` URL says so by itself.
        connect: Further arguments of ``nats.connect``.
        timeout: Seconds to wait for the server at most.

    Raises:
        MissingDependency: nats-py is not installed.
        ValueError: An argument cannot be used.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        stream: str,
        subject: str,
        *,
        needed_by: str,
        domain: str | None,
        create: bool,
        credentials: str | os.PathLike[str] | None,
        tls: bool | ssl.SSLContext,
        connect: Mapping[str, Any] | None,
        timeout: float,
    ) -> None:
        optional("nats", extra="nats", needed_by=needed_by)
        if timeout <= 0:
            raise ValueError(f"timeout must be more than 0 seconds, got {timeout!r}")
        check_name("stream", stream)
        if not subject or any(character in subject for character in " *>\t\r\n"):
            raise ValueError(f"a subject has neither blanks nor wildcards: {subject!r}")
        self.servers = [url] if isinstance(url, str) else list(url)
        if not self.servers:
            raise ValueError("there is no url to connect to")
        self.shown = ", ".join(map(_without_password, self.servers))
        self.stream = stream
        self.subject = subject
        self.domain = domain
        self.create = create
        self.timeout = timeout
        self._connect = dict(connect or {})
        self._credentials = credentials
        if credentials is not None:
            self._connect["user_credentials"] = os.fspath(credentials)
        if tls is not False:
            self._connect["tls"] = ssl.create_default_context() if tls is True else tls

    @property
    def prefix(self) -> str:
        """What all subjects of JetStream's own begin with."""
        return "$JS.API" if self.domain is None else f"$JS.{self.domain}.API"

    def options(self) -> dict[str, Any]:
        """Return the arguments of ``nats.connect``.

        Raises:
            OSError: The file of credentials cannot be read.
        """
        if self._credentials is not None:
            # The client looks only if the server asks, and then takes what is wrong for a refusal.
            with open(self._credentials, "rb"):
                pass
        return {
            "name": "sprockets.logbook",
            "servers": list(self.servers),
            # We do that ourselves, and know then what is under way.
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0,
            "connect_timeout": self.timeout,
            **self._connect,
        }


def check_name(what: str, name: str) -> None:
    """Raise ValueError if *name* is none that NATS takes for a *what*."""
    if not name or any(character in name for character in " .*>/\\\t\r\n"):
        raise ValueError(f"the name of a {what} has neither blanks nor any of .*>/\\: {name!r}")


def _without_password(url: str) -> str:
    parts = urlsplit(url if "//" in url else f"nats://{url}")
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}"


class Connection:
    """An open connection; all that is called ``_in_loop`` runs in its thread.

    Raises:
        ConnectionError: There is none to be had.
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._loop = LoopThread()
        self._last_error: Exception | None = None
        try:
            self.run(self._open_in_loop(), self._streams.timeout * 2)
            is_mine = _making.acquire(timeout=_PATIENCE_WITH_OTHERS)
            try:
                self.run(self._make_in_loop(), self._streams.timeout * 2)
            finally:
                if is_mine:
                    _making.release()
        except BaseException:
            self.close()
            raise

    def run(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """Return what *work* returns; whatever goes wrong is the connection."""
        try:
            return self._loop.run(work, timeout)
        except (ConnectionError, PartlyDelivered, PermanentError):
            raise
        except concurrent.futures.CancelledError as error:
            raise ConnectionError(f"{self._streams.shown}: the connection is closed") from error
        except Exception as error:
            cause = self._last_error if type(error).__name__ == "NoServersError" else error
            raise ConnectionError(
                f"{self._streams.shown}: {in_one_line(cause or error)}"
            ) from error

    async def _open_in_loop(self) -> None:
        from nats.aio.client import Client

        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._client: Client = Client()
        async with asyncio.timeout(self._streams.timeout):
            await self._client.connect(
                error_cb=self._on_error,
                disconnected_cb=self._on_lost,
                closed_cb=self._on_lost,
                **self._streams.options(),
            )
            self._js: JetStreamContext = self._client.jetstream(
                prefix=self._streams.prefix, timeout=self._streams.timeout
            )

    async def _make_in_loop(self) -> None:
        async with asyncio.timeout(self._streams.timeout):
            await self._unless_lost(self._set_up_in_loop())

    async def _unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what *work* returns; the client would go on waiting for an answer without us."""
        task = asyncio.create_task(work)
        waiting: set[asyncio.Future[Any]] = {task, self._lost}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise self._lost_error()
            return await task
        finally:
            task.cancel()

    async def _set_up_in_loop(self) -> None:
        """Make what is missing on the server."""
        await self._ensure_stream(self._streams.stream, self._streams.subject)

    async def _ensure_stream(self, name: str, subject: str) -> None:
        from nats.js.api import RetentionPolicy, StorageType, StreamConfig
        from nats.js.errors import BadRequestError

        if not self._streams.create:
            return
        if await self._is_missing(name):
            # Two that make a stream at the same moment get into each other's way: the server, 2.9,
            # answers "subjects overlap", or "no stream" later.
            pause = random.uniform(0.0, _HESITATION)  # noqa: S311 - nobody is to be fooled
            await asyncio.sleep(pause)
        if await self._is_missing(name):
            wanted = StreamConfig(
                name=name,
                subjects=[subject],
                retention=RetentionPolicy.WORK_QUEUE,
                storage=StorageType.FILE,
                duplicate_window=_DUPLICATE_WINDOW,
            )
            try:
                await self._js.add_stream(wanted)
            except BadRequestError:
                # Somebody else has made it meanwhile, or it cannot be made: then this fails too.
                await self._js.stream_info(name)

    async def _is_missing(self, name: str) -> bool:
        from nats.js.errors import NotFoundError

        try:
            await self._js.stream_info(name)
        except NotFoundError:
            return True
        return False

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error

    async def _on_lost(self) -> None:
        if not self._lost.done():
            self._lost.set_result(None)

    def _lost_error(self) -> ConnectionError:
        why = "" if self._last_error is None else f": {in_one_line(self._last_error)}"
        return ConnectionError(f"{self._streams.shown}: the connection is lost{why}")

    def close(self, patience: float = _PATIENCE) -> None:
        """Say good-bye, and close."""
        with contextlib.suppress(Exception):
            self._loop.run(self._close_in_loop(), patience)
        self._loop.stop()

    async def _close_in_loop(self) -> None:
        client = self.__dict__.get("_client")
        if client is not None:
            await client.close()

    def abandon(self) -> None:
        """Leave the connection to the parent."""
        self._loop.abandon()
