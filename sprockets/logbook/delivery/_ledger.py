"""The books of an engine: where each item is, what is tried next, and what became of a try.

Nothing here waits, starts a thread or talks to a destination.  All methods that take a state are
called under its lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice, repeat, starmap
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias

from sprockets.logbook.delivery._retry import PartlyDelivered, PermanentError, Retry, Verdict
from sprockets.logbook.delivery._spool import Spool, SpoolFullError
from sprockets.logbook.delivery._state import State

Policy: TypeAlias = Literal["block", "drop_oldest", "drop_newest", "spill"]

_SIZE_OF: Final = itemgetter(1)
_POLICIES: Final = ("block", "drop_oldest", "drop_newest", "spill")


class Ledger:
    """Says where an item goes, and which are tried next.

    Args:
        capacity: Items in memory at most, beside the batch under way.
        max_bytes: Bytes in memory at most.
        policy: What to do beyond these.
        batch_size: Items delivered together at most.
        batch_wait: Seconds to wait for a batch to fill.
        retry: When to try again.
        spool: Where to keep what cannot be delivered.
        clock: Returns the current time in seconds; never goes backwards.
    """

    def __init__(
        self,
        *,
        capacity: int,
        max_bytes: int,
        policy: Policy,
        batch_size: int,
        batch_wait: float,
        retry: Retry,
        spool: Spool | None,
        clock: Callable[[], float],
    ) -> None:
        if policy not in _POLICIES:
            raise ValueError(f"policy must be one of {', '.join(_POLICIES)}; got {policy!r}")
        if policy == "spill" and spool is None:
            raise ValueError("the policy 'spill' needs a spool; pass spool=Spool(folder)")
        if capacity < (0 if policy == "spill" else 1):
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.capacity = capacity
        self.max_bytes = max_bytes
        self.policy: Policy = policy
        self.batch_size = batch_size
        self.batch_wait = batch_wait
        self.retry: Retry = retry
        self.spool = spool
        self._clock = clock

    # -- coming in

    def _admit(self, state: State, item: Any, size: int, may_wait: bool) -> bool | None:
        """Find a place for *item*, and return whether there is one; ``None`` if it is to wait."""
        if state.is_closing:
            return self._refuse(state, "closed")
        if state.is_spilling:
            return self._spill(state, item)
        has_room = self._has_room(state, size)
        if not has_room and self.policy == "spill":
            return self._spill(state, item)
        if not has_room and size > self.max_bytes:
            return self._refuse(state, "too large")
        if not has_room and self.policy == "block":
            if may_wait and not state.is_stuck:
                return None
            if self.spool is not None:
                return self._spill(state, item)
        if not has_room and self.policy == "drop_oldest":
            while state.queue and not self._has_room(state, size):
                state.bytes -= state.queue.popleft()[1]
                state.left += 1
                state.drop("full")
            has_room = self._has_room(state, size)
        if not has_room:
            return self._refuse(state, "full")
        state.bytes += size
        state.entered += 1
        state.accepted += 1
        state.queue.append((item, size))
        return True

    def _has_room(self, state: State, size: int) -> bool:
        return len(state.queue) < self.capacity and state.bytes + size <= self.max_bytes

    def _refuse(self, state: State, reason: str) -> bool:
        state.accepted += 1
        state.drop(reason)
        return False

    def _spill(self, state: State, item: Any) -> bool:
        taken = self._keep(state, item)
        # Not before: an interrupt in the middle of a write means that it was not taken.
        state.accepted += 1
        state.is_spilling = state.spooled > 0
        return taken

    def _keep(self, state: State, item: Any) -> bool:
        """Spool *item*, or count it as dropped."""
        assert self.spool is not None
        try:
            pushed_out = self.spool.append(item)
        except SpoolFullError:
            state.drop("spool full")
            return False
        except Exception as error:  # noqa: BLE001 - counted, and reported once the lock is free
            state.drop("spool failed")
            state.trouble = error
            return False
        state.spooled += 1 - pushed_out
        state.drop("spool full", pushed_out)
        return True

    def _give_up(self, state: State) -> tuple[bool, int, int]:
        """Spool or drop all that is left, and be closed.

        Returns:
            Whether the engine was open, how many that were, and how many are lost.
        """
        if state.is_closed:
            return False, 0, 0
        state.ticket += 1
        entries = [*([] if state.is_batch_spooled else state.batch), *state.queue]
        state.batch, state.is_batch_spooled = [], False
        state.queue.clear()
        state.bytes = 0
        state.left += len(entries)
        lost = 0
        for item, _ in entries:
            if self.spool is None:
                state.drop("closed")
                lost += 1
            else:
                before = sum(state.dropped.values())
                self._keep(state, item)
                lost += sum(state.dropped.values()) - before
        state.is_closed = True
        state.wake.put(None)
        if self.spool is not None:
            self.spool.close()
        return True, len(entries), lost

    # -- what is tried next

    def _choose(self, state: State) -> tuple[float | None, int]:
        """Fill the batch, if it is time.

        Returns:
            Seconds until it is time, 0 if it is, ``None`` if there is nothing to try; and how many
            items the spool is asked for, since it is its turn.
        """
        if state.is_closed:
            return None, 0
        now = self._clock()
        if state.batch:
            if now < state.retry_at and not state.is_hurried:
                return state.retry_at - now, 0
            state.retried += len(state.batch)
            return 0.0, 0
        limit = 1 if state.singles else self.batch_size
        # What was in memory first is older than what was spilled since; what was adopted takes
        # turns with it.
        if state.singles:
            # The ones that are tried one by one are all from the same place.
            is_spool_next = state.is_batch_spooled
        else:
            is_spool_next = not (state.is_spilling or state.is_batch_spooled)
        if state.spooled and (is_spool_next or not state.queue):
            return 0.0, limit
        return self._take_queued(state, now, limit), 0

    def _take_queued(self, state: State, now: float, limit: int) -> float | None:
        state.is_batch_spooled = False
        if not state.queue:
            return None
        is_patient = self.batch_wait > 0 and not (state.flushing or state.is_closing)
        if is_patient and len(state.queue) < limit:
            if state.collecting_since is None:
                state.collecting_since = now
                state.wake_at = limit
            if now - state.collecting_since < self.batch_wait:
                return self.batch_wait - (now - state.collecting_since)
        state.collecting_since = None
        # Without a loop of our own: whoever logs meanwhile waits.
        entries = list(islice(state.queue, limit))
        state.batch += entries
        state.bytes -= sum(map(_SIZE_OF, entries))
        deque(starmap(state.queue.popleft, repeat((), len(entries))), maxlen=0)
        return 0.0

    def _take_spooled(self, state: State, items: list[Any]) -> None:
        """Fill the batch with *items*, which the spool has shown; ``[]``: it can read none."""
        if state.is_closed:
            return
        if items:
            state.batch = [(item, 0) for item in items]
            state.is_batch_spooled = True
            return
        assert self.spool is not None
        self._forget_spooled(state, 0)
        # Whatever else the books say is not there; more may have come since the spool was asked.
        missing = state.spooled - len(self.spool)
        state.drop("unreadable", missing)
        state.spooled -= missing
        state.is_spilling = state.spooled > 0

    def _begin_try(self, state: State) -> tuple[list[Any], int]:
        """Return the items of the batch, and the number of their try."""
        if not state.batch:
            return [], 0
        state.is_hurried = False
        state.ticket += 1
        return [item for item, _ in state.batch], state.ticket

    # -- what became of it

    def _settle(
        self, state: State, ticket: int, error: BaseException | None
    ) -> tuple[list[Any], float]:
        """Write down how a try went; return the dead items, and the pause until the next try."""
        if state.ticket != ticket:
            # It took so long that its items were given up meanwhile.
            return [], 0.0
        if error is None:
            self._remove(state, len(state.batch), "delivered")
            state.failures = state.attempts = 0
            return [], 0.0
        state.failed += 1
        if isinstance(error, PartlyDelivered):
            count = max(0, min(error.count, len(state.batch)))
            self._remove(state, count, "delivered")
            if count:
                state.failures = state.attempts = 0
            if not state.batch:
                return [], 0.0
            error = error.__cause__ or error
        state.failures += 1
        verdict = self._verdict(error)
        state.attempts += verdict == "transient"
        attempts = 1 if state.is_last_try else self.retry.attempts
        is_exhausted = attempts is not None and state.attempts >= attempts
        if verdict == "permanent" or (verdict == "transient" and is_exhausted):
            return self._bury_batch(state, error, verdict), 0.0
        try:
            pause = float(self.retry.delay(state.failures, error))
        except Exception:  # noqa: BLE001 - a wrong Retry must not make a busy loop
            pause = 30.0
        state.retry_at = self._clock() + pause
        return [], max(pause, 0.001)

    def _verdict(self, error: BaseException) -> Verdict:
        try:
            return self.retry.classify(error)
        except Exception:  # noqa: BLE001 - what cannot be classified is tried again
            return "transient"

    def _bury_batch(self, state: State, error: BaseException, verdict: Verdict) -> list[Any]:
        """Give up the batch, or the part of it that is to blame; return the dead items."""
        batch = state.batch
        refused = error.items if isinstance(error, PermanentError) else None
        is_clear = isinstance(error, PermanentError) and refused is None
        if refused is not None and not state.is_batch_spooled:
            dead = [entry for entry in batch if any(entry[0] is item for item in refused)]
            if dead:
                kept = [entry for entry in batch if not any(entry is other for other in dead)]
                state.batch = list(dead)
                self._remove(state, len(dead), "dead")
                state.queue.extendleft(reversed(kept))
                state.bytes += sum(size for _, size in kept)
                state.failures = state.attempts = 0
                return [item for item, _ in dead]
        if len(batch) > 1 and not is_clear:
            # One of them is to blame: each gets a try of its own.
            state.singles = len(batch)
            state.is_last_try = verdict == "transient"
            if not state.is_batch_spooled:
                state.queue.extendleft(reversed(batch))
                state.bytes += sum(size for _, size in batch)
            state.batch = []
            state.failures = state.attempts = 0
            return []
        items = [item for item, _ in batch]
        self._remove(state, len(batch), "dead")
        state.failures = state.attempts = 0
        return items

    def _remove(self, state: State, count: int, fate: Literal["delivered", "dead"]) -> None:
        """Take the first *count* items off the batch: their way ends here."""
        del state.batch[:count]
        state.is_stuck = state.is_stuck and not count
        if state.is_batch_spooled:
            self._forget_spooled(state, count)
            state.spooled -= count
            if not state.spooled:
                state.is_spilling = False
        else:
            state.left += count
        if fate == "dead":
            state.dead += count
        else:
            state.delivered += count
        state.singles = max(0, state.singles - count)
        if not state.singles:
            state.is_last_try = False

    def _forget_spooled(self, state: State, count: int) -> None:
        assert self.spool is not None
        try:
            lost = self.spool.done(count)
        except OSError as error:
            state.trouble = error
            return
        state.spooled -= lost
        state.drop("unreadable", lost)
