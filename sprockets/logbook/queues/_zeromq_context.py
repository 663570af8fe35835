"""ZeroMQ's context: one for the handlers and subscribers of a process, and how it ends.

Terminating a context waits until all that was sent has left, for ever if nobody takes it.  So ours
lives as long as the process, and its end waits for a moment only.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

from sprockets.logbook import _fork
from sprockets.logbook.delivery import _exit

if TYPE_CHECKING:
    import zmq

_PATIENCE: Final = 0.5
"""Seconds that the end of the program waits at most."""

_contexts: dict[int, zmq.Context[Any]] = {}
# Closing what a forked child inherits would touch what the parent's threads left half done.
_abandoned: list[object] = []


class ClosedAtExit(Protocol):
    """What uses the context."""

    def close_at_exit(self) -> None:
        """Close."""


_users: weakref.WeakSet[ClosedAtExit] = weakref.WeakSet()


def shared_context() -> zmq.Context[Any]:
    """Return this process's context; a forked child has another one than its parent."""
    import zmq

    context = _contexts.get(_fork.pid)
    if context is None or context.closed:
        context = _contexts[_fork.pid] = zmq.Context()
    return context


def abandon(*inherited: object) -> None:
    """Keep what a forked child cannot even close."""
    _abandoned.extend(inherited)


def close_at_exit(user: ClosedAtExit) -> None:
    """Close *user* at the end of the program; it is held weakly."""
    _users.add(user)


def _end() -> None:
    # Exit functions run the last one first, and engines still need the context.
    _exit.close_all()
    for user in list(_users):
        with contextlib.suppress(Exception):
            user.close_at_exit()
    context = _contexts.get(_fork.pid)
    if context is not None and not context.closed:
        end_context(context, _PATIENCE)


def end_context(context: zmq.Context[Any], timeout: float = 0.0) -> None:
    """Terminate *context*, which waits for its open sockets and for what is under way.

    Args:
        context: Of this process.
        timeout: Seconds to wait for that at most.
    """
    thread = threading.Thread(target=context.term, name="end of ZeroMQ", daemon=True)
    # Where there are no new threads any more, nothing is waited for.
    with contextlib.suppress(RuntimeError):
        thread.start()
        thread.join(timeout)


atexit.register(_end)
