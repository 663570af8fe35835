"""An event loop in a thread of its own, for a client that is made for asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import ctypes
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from sprockets.logbook import _caller

_caller.register(__file__)

T = TypeVar("T")

_PATIENCE: Final = 0.1
"""Seconds to wait for the thread to end."""


class LoopThread:
    """An event loop in a thread of its own.

    When the interpreter is about to end there are no new threads any more.  Then what is to be done
    is done where it is called; there is no better place for what is delivered last.
    """

    def __init__(self) -> None:
        self._loop = _Loop()
        thread = threading.Thread(
            # What is bound where a record was logged is not to be seen, nor kept, here.
            target=contextvars.Context().run,
            args=(self._run,),
            name="logbook-nats",
            daemon=True,
        )
        self._thread: threading.Thread | None = None
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._end()

    def _end(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(Exception):
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def submit(self, work: Coroutine[Any, Any, object]) -> None:
        """Start *work*.

        Raises:
            ConnectionError: The loop has ended.
        """
        if self._thread is None:
            self.run(work, _PATIENCE)
        else:
            self._start(work)

    def _start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        try:
            return contextvars.Context().run(asyncio.run_coroutine_threadsafe, work, self._loop)
        except RuntimeError as error:
            work.close()
            raise ConnectionError(f"the connection is closed: {error}") from error

    def run(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """Return what *work* returns.

        Raises:
            TimeoutError: It takes longer than *timeout* seconds, and is cancelled.
            ConnectionError: The loop has ended.
        """
        if self._thread is None:
            return self._run_here(work, timeout)
        future = self._start(work)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def _run_here(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        limited = asyncio.wait_for(work, timeout)
        try:
            return contextvars.Context().run(self._loop.run_until_complete, limited)
        except RuntimeError as error:
            limited.close()
            work.close()
            raise ConnectionError(f"no thread for the connection: {error}") from error

    def stop(self) -> None:
        """End the thread, without waiting for more than a moment."""
        if self._thread is None:
            self._end()
            return
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)

    def abandon(self) -> None:
        """Leave everything to the parent of this forked process.

        Closing the loop here would take its files off the list that the parent waits with, so it
        lives as long as this process.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))


class _Loop(asyncio.SelectorEventLoop):
    """Looks up names by itself, since it has nothing else to do meanwhile.

    Others ask a pool of threads, which takes no work when the interpreter is about to end.
    """

    async def getaddrinfo(self, *args: Any, **options: Any) -> Any:
        return socket.getaddrinfo(*args, **options)
