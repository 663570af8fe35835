"""Shutdown: the callbacks, what they have begun, what requests have left running; then the end.

Everything here happens before one deadline.  What is not finished by then is cancelled, named in
the log, and remembered as unclean.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import inspect
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from tornado.ioloop import IOLoop

from sprockets.http._request_context import request_of_context


class Shutdown:
    """Ends an application: calls its callbacks, waits for what is unfinished, stops the loop.

    Args:
        application: What the callbacks are called with.
        callbacks: Called in this order; each may return an awaitable.
        io_loop: Stopped in the end; it need not be running yet.
        limit: Seconds for all of it, but for what the callbacks do before they return.
        wait_timeout: Seconds between two looks at tasks that are not finished.
        logger: Told what happens.
    """

    def __init__(
        self,
        application: Any,
        callbacks: Iterable[Callable[..., Any]],
        io_loop: IOLoop,
        *,
        limit: float,
        wait_timeout: float,
        logger: logging.Logger,
    ) -> None:
        self._application = application
        self._callbacks = list(callbacks)
        self._io_loop = io_loop
        self._loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]  # there is no other kind of loop
        self._limit = limit
        self._wait_timeout = max(wait_timeout, 0.001)
        self._log = logger
        self._deadline = 0.0
        self._pending: dict[asyncio.Future[Any], Callable[..., Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_waiting_for_tasks = False
        self.is_over = False
        """Whether the loop has been stopped."""
        self.unfinished: list[str] = []
        """What was cut short, by name."""

    def begin(self) -> None:
        """Call the callbacks now; the rest follows on the loop."""
        self._deadline = self._loop.time() + self._limit
        for callback in self._callbacks:
            self._call(callback)
        if self._pending:
            self._timer = self._loop.call_at(self._deadline, self._give_up_callbacks)
        else:
            self._wait_for_tasks()

    def hurry(self, seconds: float) -> None:
        """Have it over in so many *seconds* at most."""
        deadline = self._loop.time() + seconds
        if self.is_over or deadline >= self._deadline:
            return
        self._limit -= self._deadline - deadline
        self._deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
        then = self._look_at_tasks if self._is_waiting_for_tasks else self._give_up_callbacks
        self._timer = self._loop.call_at(deadline, then)

    # -- the callbacks

    def _call(self, callback: Callable[..., Any]) -> None:
        try:
            result = callback(self._application)
            if result is None:
                return
            if isinstance(result, concurrent.futures.Future):
                future: asyncio.Future[Any] = asyncio.wrap_future(result, loop=self._loop)
            elif inspect.isawaitable(result):
                future = asyncio.ensure_future(result, loop=self._loop)
            else:
                return
        except Exception as error:  # noqa: BLE001  # logged; the others still have to run
            self._log.warning(
                "shutdown callback %r raised %s: %s",
                callback,
                type(error).__name__,
                error,
                exc_info=True,
            )
            return
        self._pending[future] = callback
        future.add_done_callback(self._take_result)

    def _take_result(self, future: asyncio.Future[Any]) -> None:
        callback = self._pending.pop(future, None)
        if callback is None:
            return
        if future.cancelled():
            self._log.warning("shutdown callback %r was cancelled", callback)
        elif (error := future.exception()) is not None:
            self._log.warning(
                "shutdown callback %r raised %s: %s",
                callback,
                type(error).__name__,
                error,
                exc_info=error,
            )
        else:
            self._log.debug(
                "shutdown callback %r returned %r; %d still pending",
                callback,
                future.result(),
                len(self._pending),
            )
        if not self._pending:
            if self._timer is not None:
                self._timer.cancel()
            self._wait_for_tasks()

    def _give_up_callbacks(self) -> None:
        pending, self._pending = self._pending, {}
        for future, callback in pending.items():
            self._log.warning(
                "shutdown callback %r did not finish within %.3g s; cancelling it",
                callback,
                self._limit,
            )
            self.unfinished.append(f"shutdown callback {callback!r}")
            future.cancel()
            future.add_done_callback(_retrieve)
        self._wait_for_tasks()

    # -- what requests have left running

    def _wait_for_tasks(self) -> None:
        self._is_waiting_for_tasks = True
        self._log.info("starting IOLoop shutdown process")
        self._look_at_tasks()

    def _look_at_tasks(self) -> None:
        if self.is_over:
            return
        tasks = tasks_of_requests(self._loop)
        now = self._loop.time()
        if tasks and now < self._deadline:
            until = min(now + self._wait_timeout, self._deadline)
            self._timer = self._loop.call_at(until, self._look_at_tasks)
            for task in tasks:
                # Whoever ends first may be the last one.
                task.add_done_callback(partial(self._task_ended, self._timer))
            return
        for task in tasks:
            self._log.warning("a task that a request began did not finish; cancelling it: %r", task)
            self.unfinished.append(f"task {task.get_name()}")
            task.cancel()
        self._stop()

    def _task_ended(self, timer: asyncio.TimerHandle, task: asyncio.Task[Any]) -> None:
        if timer.cancelled() or self.is_over:
            return
        timer.cancel()
        self._timer = self._loop.call_soon(self._look_at_tasks)  # type: ignore[assignment]  # as good

    def _stop(self) -> None:
        self.is_over = True
        self._io_loop.stop()
        self._log.info("stopped IOLoop")


def _retrieve(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


def tasks_of_requests(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    """Return the tasks on *loop* that were begun in the context of some request.

    Those are waited for, since a client was perhaps promised what they do.  The others belong to
    the service itself, which ends; whoever wants them to end in a certain way says so in a shutdown
    callback.
    """
    return [
        task
        for task in asyncio.all_tasks(loop)
        if request_of_context(context_of_task(task)) is not None
    ]


def context_of_task(task: asyncio.Task[Any]) -> contextvars.Context | None:
    try:
        context: contextvars.Context = task.get_context()  # type: ignore[attr-defined]  # 3.12
    except AttributeError:
        # 3.11 keeps it to itself, but the garbage collector has to know.
        for each in gc.get_referents(task):
            if isinstance(each, contextvars.Context):
                return each
        return None
    return context


async def cancel_tasks(
    tasks: Iterable[asyncio.Task[Any]], seconds: float
) -> list[asyncio.Task[Any]]:
    """Cancel *tasks*, wait so many *seconds* for them to end, and return those that did not."""
    waiting = set(tasks)
    for task in waiting:
        task.cancel()
        task.add_done_callback(_retrieve)
    if not waiting:
        return []
    _, unfinished = await asyncio.wait(waiting, timeout=seconds)
    return list(unfinished)
