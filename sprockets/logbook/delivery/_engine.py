"""The engine: takes items at once, and delivers them in a thread of its own, as far as can be.

A log call only puts an item into a bounded queue.  The lock of that queue is held for memory alone,
and for a write to the spool; never while a destination is talked to.  It may be taken again by the
thread that holds it, since a signal handler or a finaliser may log in the middle of anything: what
such a nested call brings is laid aside, and added by the call that it interrupted.

The thread is started when there is something to do, ends when there has been nothing for a while,
and is replaced if it dies.  A forked child starts with an empty engine; exit drains all engines.
"""

from __future__ import annotations

import contextlib
import sys
from _thread import get_ident
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from types import FrameType
from typing import Any

from sprockets.logbook import _fork
from sprockets.logbook.delivery import _exit
from sprockets.logbook.delivery._ledger import Policy
from sprockets.logbook.delivery._retry import Retry
from sprockets.logbook.delivery._spool import Spool
from sprockets.logbook.delivery._state import State
from sprockets.logbook.delivery._worker import Worker

# Workers of `sprockets.http`, which forget their parent's exit functions, register it anew.
_close_all = _exit.close_all


class Delivery(Worker):
    """Takes items without waiting, and delivers them in batches from a thread of its own.

    :meth:`put` may be called from any thread, from signal handlers and finalisers.  A destination
    that fails is tried again as *retry* says; whatever it raises ends nothing but the try.  Every
    item ends up delivered, spooled, among the dead letters, or dropped and counted: see
    :meth:`statistics`.

    ``on_closing`` may be set to what is called whenever the engine is about to close, while it
    still takes items; ``on_end`` to what is called once it ends by :meth:`close_nowait`, or by a
    :meth:`close` that could not wait.  Both in whatever thread that happens.

    A destination may see an item twice: where it failed after having taken it, and after a kill.

    >>> delivered = []
    >>> engine = Delivery(delivered.extend, name="example")
    >>> engine.put("item")
    True
    >>> engine.close(), delivered
    (True, ['item'])

    Args:
        deliver: The destination; called with a batch, in order, from one thread at a time.  It
            limits its own waits: nobody can stop it.  It may raise `PermanentError`, `RetryLater`
            or `PartlyDelivered`.  What it puts into this engine itself is dropped.
        name: Names the destination in reports.
        capacity: Items in memory at most, beside the batch under way; 0 with ``"spill"`` sends
            everything by way of the disk.
        max_bytes: Bytes in memory at most, as *size_of* measures.
        policy: What to do beyond these: ``"block"`` waits for *block_timeout*, then spools or drops
            the new item, and waits for no other until something got through; ``"drop_oldest"``;
            ``"drop_newest"``; ``"spill"`` spools the new item and all that follow until the spool
            is empty, so that the order is kept.
        block_timeout: Seconds that a call waits at most.
        batch_size: Items delivered together at most.
        batch_wait: Seconds to wait for a batch to fill.
        retry: When to try again; ``None`` means ``Retry()``.
        spool: Where to keep what cannot be delivered; closed with the engine.
        size_of: Measures an item; one that cannot be measured counts nothing.
        drain_timeout: Seconds that :meth:`close` and the end of the program wait.
        on_dead_letter: Called with an item that is given up, and why, in the engine's thread.
        clock: Returns the current time in seconds; never goes backwards.
        is_ready: ``False`` leaves what a dead process left in the spool alone until :meth:`start`
            or the first item: the destination is still being made.
    """

    def __init__(
        self,
        deliver: Callable[[list[Any]], object],
        *,
        name: str,
        capacity: int = 10_000,
        max_bytes: int = 8 << 20,
        policy: Policy = "drop_oldest",
        block_timeout: float = 0.005,
        batch_size: int = 100,
        batch_wait: float = 0.0,
        retry: Retry | None = None,
        spool: Spool | None = None,
        size_of: Callable[[Any], int] = len,
        drain_timeout: float = 5.0,
        on_dead_letter: Callable[[Any, BaseException], object] | None = None,
        clock: Callable[[], float] = monotonic,
        is_ready: bool = True,
    ) -> None:
        super().__init__(
            deliver,
            name=name,
            on_dead_letter=on_dead_letter,
            drain_timeout=drain_timeout,
            capacity=capacity,
            max_bytes=max_bytes,
            policy=policy,
            batch_size=batch_size,
            batch_wait=batch_wait,
            retry=retry or Retry(),
            spool=spool,
            clock=clock,
        )
        self._state = State()
        self._size_of = size_of
        self.block_timeout = block_timeout
        self.on_closing: Callable[[], object] | None = None
        _fork.hold_at_fork(self)
        _exit.drain_at_exit(self)
        if is_ready:
            self.start()

    def __repr__(self) -> str:
        return f"<Delivery {self.name!r} {self.statistics()}>"

    def __del__(self) -> None:
        # Whoever has something to deliver is held by its thread, if one could be started.
        state = self.__dict__.get("_state")
        if state is not None and not state.is_closed and (state.queue or self.spool is not None):
            try:
                self.close(0)
            except Exception:  # noqa: BLE001 - the interpreter may be half gone
                return

    def start(self) -> None:
        """Deliver what is in the spool's folder already; items that are put need no start."""
        if self.spool is not None and self.spool.folder.is_dir():
            self._wake(self._state)

    # -- putting

    def put(self, item: Any) -> bool:
        """Take *item* for delivery, and return whether it was taken.

        Never raises, and waits for *block_timeout* at most.  Safe in signal handlers and
        finalisers, and in forked children.
        """
        try:
            size = self._size_of(item)
        except Exception:  # noqa: BLE001 - what has no size counts nothing
            size = 0
        state = self._state
        if state.delivering and state.delivering == get_ident() and not _in_finaliser():
            # The destination logs, and to itself: that would never end.
            return self._locked(state, self._refuse, "recursion")
        with state.lock:
            if state.is_inside:
                state.aside.append((item, size))
                return True
            state.is_inside = True
            try:
                if (
                    len(state.queue) < self.capacity
                    and state.bytes + size <= self.max_bytes
                    and not (state.is_closing or state.is_spilling)
                ):
                    # The usual way.  Nothing can come between counting and appending.
                    state.bytes += size
                    state.entered += 1
                    state.accepted += 1
                    state.queue.append((item, size))
                    taken: bool | None = True
                else:
                    taken = self._admit(state, item, size, self.policy == "block")
            finally:
                state.is_inside = False
                if state.aside:
                    self._admit_aside(state)
        if taken is None:
            taken = self._put_waiting(state, item, size)
        if not state.is_running or (
            not state.is_awake
            and (len(state.queue) >= state.wake_at or state.is_spilling or state.trouble)
        ):
            self._wake(state)
        return taken

    def _put_waiting(self, state: State, item: Any, size: int) -> bool:
        deadline = monotonic() + self.block_timeout
        self._wake(state)
        while True:
            remaining = deadline - monotonic()
            if remaining > 0:
                sleep(min(remaining, 0.0005))
            else:
                state.is_stuck = True
            taken = self._locked(state, self._admit, item, size, remaining > 0)
            if taken is not None:
                return taken

    # -- waiting for it

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything taken so far is delivered, dead or spooled.

        Args:
            timeout: Seconds to wait at most; ``None`` means *drain_timeout*.

        Returns:
            Whether it is.  At once in the engine's own thread, and in a signal handler or a
            finaliser that interrupted :meth:`put`.
        """
        state = self._state
        entered = state.entered
        state.flushing += 1
        try:
            return self._wait(state, entered, self.drain_timeout if timeout is None else timeout)
        finally:
            state.flushing -= 1

    def hurry(self) -> None:
        """Try at once what waits to be tried again."""
        self._state.is_hurried = True

    def close(self, timeout: float | None = None) -> bool:
        """Deliver what is queued, then let go; what is left is spooled, or dropped and reported.

        Closing twice is closing once.  What is put afterwards is dropped.  Where :meth:`flush`
        cannot wait, the thread closes the engine when it is done.

        Args:
            timeout: Seconds to wait at most; ``None`` means *drain_timeout*.

        Returns:
            Whether everything was delivered, dead or spooled before.
        """
        state = self._state
        if state.is_closed:
            return True
        timeout = self.drain_timeout if timeout is None else timeout
        self._begin_close(state)
        if self._is_within(state):
            self._close_by(state, monotonic() + timeout)
            return False
        in_time = self._wait(state, state.entered, timeout)
        self._end(state, timeout)
        return in_time

    def close_nowait(self) -> bool:
        """Have the thread close the engine, for which it has *drain_timeout* seconds.

        For finalisers, which may run in the middle of anything.

        Returns:
            Whether it is closed already, since there was nothing to deliver; else ``on_end`` is
            going to be called.
        """
        state = self._state
        if state.is_closed:
            return True
        self._begin_close(state)
        is_idle = state.left >= state.entered and not (state.aside or state.delivering)
        if not is_idle or self._is_within(state):
            if self._close_by(state, monotonic() + self.drain_timeout):
                return False
            # There is nobody to do it.
            state.close_at = None
        self._end(state, 0.0)
        return True

    def _begin_close(self, state: State) -> None:
        if self.on_closing is not None:
            try:
                self.on_closing()
            except Exception as error:  # noqa: BLE001 - reported
                self._tell(f"not all for {self.name!r} could be said", error)
        with state.lock:
            if not state.is_closing:
                state.is_closing = state.is_hurried = True

    def _close_by(self, state: State, moment: float) -> bool:
        """Have the thread close the engine by the first such moment; return if there is one."""
        state.close_at = moment if state.close_at is None else min(state.close_at, moment)
        return self._wake(state)

    def _is_within(self, state: State) -> bool:
        """Whether the caller is what the engine would have to wait for."""
        with state.lock:
            # Only its holder finds the lock free and somebody inside.
            return state.is_inside or get_ident() in (state.worker, state.delivering)

    def _wait(self, state: State, entered: int, timeout: float) -> bool:
        if state.left >= entered and not state.aside:
            return True
        if self._is_within(state):
            return False
        deadline = monotonic() + timeout
        waiter: SimpleQueue[None] = SimpleQueue()
        state.waiters.append(waiter)
        try:
            while state.left < entered:
                remaining = deadline - monotonic()
                if remaining <= 0 or state.is_closed:
                    return state.left >= entered
                if self._wake(state):
                    with contextlib.suppress(Empty):
                        waiter.get(timeout=min(remaining, 0.05))
                else:
                    # There are no new threads any more: the interpreter is about to end.
                    pause = self._step(state)
                    sleep(min(0.05 if pause is None else pause, remaining))
            return True
        finally:
            state.waiters.remove(waiter)

    # -- what users look at

    @property
    def waiting(self) -> int:
        """Items in the queue, those under way not included."""
        return len(self._state.queue)

    @property
    def is_closed(self) -> bool:
        """Whether the engine has let go."""
        return self._state.is_closed

    def statistics(self) -> dict[str, Any]:
        """Return what became of the items.

        ``accepted`` counts all that were put, and those ``adopted`` from the spool of dead
        processes; each is exactly one of ``delivered``, ``queued``, ``spooled``, ``dead``, or
        ``dropped``, a dict of counts by reason: ``"full"``, ``"closed"``, ``"recursion"`` (the
        destination's own), ``"too large"``, ``"spool full"``, ``"spool failed"``, ``"unreadable"``.
        ``failed`` counts tries that failed, ``retried`` items tried again, ``restarts`` of the
        thread.
        """
        return self._locked(self._state, State.counts)

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for: the child gets a state of its own."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do."""

    def after_fork_in_child(self) -> None:
        """Start empty: what is queued is the parent's to deliver."""
        state = State()
        state.is_closing = self._state.is_closing
        state.is_closed = self._state.is_closed
        self._state = state


_STEP = Worker._step.__code__


def _in_finaliser() -> bool:
    """Whether a finaliser is running that interrupted the destination.

    What that logs has nothing to do with the destination.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not _STEP:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
