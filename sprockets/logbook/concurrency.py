"""Threads and contexts: who is running, and how the context goes along.

What is bound to a context is seen by coroutines, by tasks they start, and by ``asyncio.to_thread``.
It is not seen by threads and executors, since they begin with a context of their own; the helpers
here carry it along.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sprockets._support import deprecated

__all__ = [
    "ContextThread",
    "ContextThreadPoolExecutor",
    "carry_context",
    "enable_gevent",
    "greenlet_get_ident",
    "is_gevent_enabled",
    "new_fine_grained_lock",
    "thread_get_ident",
    "thread_get_name",
]

P = ParamSpec("P")
R = TypeVar("R")


def carry_context(func: Callable[P, R]) -> Callable[P, R]:
    """Return *func* tied to the context as it is now, to be called anywhere.

    Each call runs in a copy of its own, so calls may overlap, and what one binds no other sees.

    >>> from sprockets.logbook import Fields, Logger, TestHandler
    >>> log = Logger("job")
    >>> with TestHandler() as handler, Fields(request_id="f3a1"):
    ...     thread = threading.Thread(target=carry_context(log.info), args=("in a thread",))
    ...     thread.start()
    ...     thread.join()
    >>> handler.records[0].extra["request_id"]
    'f3a1'
    """
    context = copy_context()

    @wraps(func)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.copy().run(func, *args, **kwargs)

    return carried


class ContextThreadPoolExecutor(ThreadPoolExecutor):
    """A pool of threads in which each call runs in a copy of the context that submitted it.

    As a loop's default executor it makes ``run_in_executor(None, …)`` carry the context, in asyncio
    and in Tornado: ``loop.set_default_executor(ContextThreadPoolExecutor())``.
    """

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have *fn* called in one of the threads, in a copy of the present context."""
        return super().submit(copy_context().run, fn, *args, **kwargs)  # type: ignore[arg-type]  # run() is generic in its own way


class ContextThread(threading.Thread):
    """A thread that runs in a copy of the context that made it.

    It takes the arguments of ``threading.Thread``.
    """

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        super().__init__(group, target, name, args, kwargs, daemon=daemon)
        self._made_in: Context = copy_context()

    def run(self) -> None:
        """Run the target in the context."""
        self._made_in.run(super().run)


def thread_get_ident() -> int:
    """Return the ident of the system's thread, also where gevent has replaced it."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        ident: int = monkey.get_original("threading", "get_ident")()
        return ident
    return threading.get_ident()


def greenlet_get_ident() -> int:
    """Return the ident of the thread, which is the greenlet's where gevent has replaced it."""
    return threading.get_ident()


def thread_get_name() -> str:
    """Return the name of the running thread."""
    return threading.current_thread().name


@deprecated("enable_gevent() is deprecated, use gevent.monkey instead.")
def enable_gevent() -> None:
    """Do nothing.

    .. deprecated:: 3.0
       Use ``gevent.monkey``.
    """


@deprecated("is_gevent_enabled() is deprecated, greenlets need no switch.")
def is_gevent_enabled() -> bool:
    """Return ``False``.

    .. deprecated:: 3.0
       Greenlets need no switch.
    """
    return False


@deprecated("new_fine_grained_lock() is deprecated, use threading.RLock instead.")
def new_fine_grained_lock() -> Any:
    """Return a re-entrant lock.

    .. deprecated:: 3.0
       Use ``threading.RLock``.
    """
    return threading.RLock()
