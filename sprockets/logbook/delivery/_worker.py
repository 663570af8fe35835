"""The thread of an engine: what it does, when it starts, rests and ends."""

from __future__ import annotations

import _thread
import contextlib
import sys
import threading
from _thread import get_ident
from collections.abc import Callable
from queue import Empty
from time import monotonic, sleep
from typing import Any, Final, TypeVar

from sprockets.logbook.delivery._ledger import Ledger
from sprockets.logbook.delivery._reports import Reports, in_one_line
from sprockets.logbook.delivery._state import State

T = TypeVar("T")

_IDLE: Final = 5.0
"""Seconds without anything to do after which the thread ends."""
_ADOPT_INTERVAL: Final = 60.0
"""Seconds between two looks for what dead processes left in the spool."""
_SPOOL_PAUSE: Final = 1.0
"""Seconds until a spool that could not be read is tried again."""
_TURN: Final = 0.002
"""Seconds of work after which those who log get a turn: the interpreter gives them one after five
milliseconds, or twice as many where they meet this thread at the lock."""


class Worker(Ledger):
    """Brings the items of a ledger to their destination, in a thread that is there when needed.

    Args:
        deliver: The destination.
        name: Names the destination in reports.
        on_dead_letter: Called with an item that is given up, and why.
        drain_timeout: Seconds that the end may take.
        **options: Of the ledger.
    """

    def __init__(
        self,
        deliver: Callable[[list[Any]], object],
        *,
        name: str,
        on_dead_letter: Callable[[Any, BaseException], object] | None,
        drain_timeout: float,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.name = name
        self.drain_timeout = drain_timeout
        self._deliver = deliver
        self._on_dead_letter = on_dead_letter
        self._reports = Reports()
        self.on_end: Callable[[], object] | None = None

    def _locked(self, state: State, action: Callable[..., T], *args: Any) -> T:
        """Return what *action* returns, called with *state* and *args* under the lock."""
        with state.lock:
            if state.is_inside:
                # A finaliser that asks or closes: what it sees may be half done, but it sees it.
                return action(state, *args)
            state.is_inside = True
            try:
                return action(state, *args)
            finally:
                state.is_inside = False
                if state.aside:
                    self._admit_aside(state)

    def _admit_aside(self, state: State) -> None:
        """Add what came while this thread was inside; more may come meanwhile."""
        while state.aside:
            state.is_inside = True
            try:
                # Asked again: until the flag was set, a nested call could take all there was.
                if state.aside:
                    self._admit(state, *state.aside.popleft(), may_wait=False)
            finally:
                state.is_inside = False

    # -- its life

    def _wake(self, state: State) -> bool:
        """Have the thread look at once, starting it if need be; return whether there is one."""
        if not state.is_running:
            return self._start_thread(state)
        state.is_awake = True
        state.wake.put(None)
        return True

    def _start_thread(self, state: State) -> bool:
        with state.lock:
            if state.is_running:
                return True
            if state.is_closed:
                return False
            state.is_running = True
        try:
            # Not a threading.Thread: its start waits, under a lock that a signal handler may find
            # held by the very thread that it interrupted.
            _thread.start_new_thread(self._run, (state,))
        except RuntimeError:
            state.is_running = False
            return False
        return True

    def _run(self, state: State) -> None:
        state.worker = get_ident()
        is_over = False
        try:
            threading.current_thread().name = f"delivery of {self.name}"
            if state.crashed:
                sleep(min(5.0, 0.01 * 2.0 ** min(state.crashed, 10)))
            turn_ends = monotonic() + _TURN
            while not is_over:
                is_over = self._run_once(state)
                if monotonic() >= turn_ends:
                    sleep(0)
                    turn_ends = monotonic() + _TURN
        except BaseException as error:  # noqa: BLE001 - a thread that dies is replaced
            state.crashes += 1
            state.crashed += 1
            self._tell(f"the thread of {self.name!r} failed", error)
        finally:
            state.worker = 0
            if not is_over:
                state.is_running = False
                state.delivering = 0
                self._start_thread(state)
            _forget_thread()

    def _run_once(self, state: State) -> bool:
        """Do what is to be done, then wait for more; return whether the thread is to end."""
        pause = self._step(state)
        if state.close_at is not None:
            left = state.close_at - monotonic()
            if pause is None or left <= 0:
                self._end(state, self.drain_timeout)
                pause = None
            else:
                pause = min(pause, left)
        if pause == 0:
            return False
        if pause is None and self._locked(state, self._may_end, state.is_closed):
            return True
        if self._locked(state, self._may_rest, pause):
            return False
        try:
            state.wake.get(timeout=_IDLE if pause is None else min(pause, _IDLE))
        except Empty:
            if pause is None and self.spool is None:
                return self._locked(state, self._may_end, True)
        finally:
            state.is_awake = True
        return False

    @staticmethod
    def _may_rest(state: State, pause: float | None) -> bool:
        """Have puts wake the thread if that is of use; return whether there is something to do."""
        if pause is None:
            state.wake_at = 1
            state.is_awake = False
            return bool(state.queue) or state.is_spilling
        if state.collecting_since is not None:
            state.is_awake = False
            # What came since the batch was looked at has found the thread awake, and woke nobody.
            return state.is_closed or len(state.queue) >= state.wake_at
        return state.is_closed

    @staticmethod
    def _may_end(state: State, is_wanted: bool) -> bool:
        if not is_wanted or state.queue or state.batch or state.aside:
            return False
        state.is_running = False
        return True

    # -- a try

    def _step(self, state: State) -> float | None:
        """Try one batch, and return the seconds until the next try; ``None``: nothing is left."""
        if not self._locked(state, self._claim):
            return None
        error: BaseException | None = None
        try:
            pause, items, ticket = self._next_batch(state)
            if not items:
                return pause
            try:
                self._deliver(items)
            except BaseException as raised:  # noqa: BLE001 - nothing ends the thread
                error = raised
            dead, pause = self._locked(state, self._settle, ticket, error)
            state.crashed = 0
            if error is not None:
                for item in dead:
                    self._bury(item, error)
                self._tell(f"{self.name!r} fails, {state.queued} are waiting", error)
        finally:
            if state.delivering == get_ident():
                state.delivering = 0
            self._tell_trouble(state)
        for waiter in list(state.waiters):
            waiter.put(None)
        return pause

    @staticmethod
    def _claim(state: State) -> bool:
        """Return whether nobody else is at it, who then is this thread."""
        if state.is_closed or state.delivering:
            return False
        state.delivering = get_ident()
        return True

    def _next_batch(self, state: State) -> tuple[float | None, list[Any], int]:
        """Return the items to try and the number of the try; or a pause, if there are none."""
        if self.spool is not None and self._clock() >= state.adopt_at:
            self._adopt(state)
        pause, limit = self._locked(state, self._choose)
        if limit:
            assert self.spool is not None
            try:
                items = self.spool.take(limit)
            except OSError as error:
                state.trouble = error
                return _SPOOL_PAUSE, [], 0
            self._locked(state, self._take_spooled, items)
        if pause != 0:
            return pause, [], 0
        return pause, *self._locked(state, self._begin_try)

    def _adopt(self, state: State) -> None:
        assert self.spool is not None
        state.adopt_at = self._clock() + _ADOPT_INTERVAL
        try:
            count = self.spool.adopt()
        except OSError as error:
            state.trouble = error
            return
        if not self._locked(state, self._note_adopted, count):
            # Closed meanwhile: somebody else may have them.
            self.spool.close()

    @staticmethod
    def _note_adopted(state: State, count: int) -> bool:
        if state.is_closed:
            return False
        state.accepted += count
        state.adopted += count
        state.spooled += count
        return True

    def _bury(self, item: Any, error: BaseException) -> None:
        for bury in (None if self.spool is None else self.spool.bury, self._on_dead_letter):
            try:
                if bury is not None:
                    bury(item, error)
            except Exception as failure:  # noqa: BLE001 - reported
                self._tell(f"a dead letter of {self.name!r} is lost", failure)

    # -- its end

    def _end(self, state: State, timeout: float) -> None:
        was_open, count, lost = self._locked(state, self._give_up)
        self._tell_trouble(state)
        if count:
            text = f"{count} items for {self.name!r} were not delivered within {timeout:.3g} s"
            if self.spool is not None:
                text += f"; {count - lost} are in the spool {str(self.spool.folder)!r}"
            self._reports.tell(f"{text}; {lost} are lost", always=True)
        if was_open and state.close_at is not None and self.on_end is not None:
            try:
                self.on_end()
            except Exception as error:  # noqa: BLE001 - reported
                self._tell(f"{self.name!r} cannot be closed", error)

    # -- telling

    def _tell(self, text: str, error: BaseException) -> None:
        """Report *error*; of an outage a line is enough."""
        cause = None if self._verdict(error) == "outage" else error
        self._reports.tell(f"{text}: {in_one_line(error)}", cause)

    def _tell_trouble(self, state: State) -> None:
        trouble, state.trouble = state.trouble, None
        if trouble is not None:
            self._tell(f"the spool of {self.name!r} fails", trouble)


def _forget_thread() -> None:
    """Take this thread, which asked for its name, off the list of those that are alive."""
    if sys.version_info < (3, 13):
        # From 3.13 on that happens by itself.
        with contextlib.suppress(Exception):
            del threading._active[get_ident()]  # type: ignore[attr-defined]
