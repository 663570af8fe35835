"""Fork: locks that a child process does not find held by a thread it does not have.

Before a fork all registered owners are asked to come to rest, so that no line is half written and
no lock half held; the waits are bounded, since a fork must not hang.  In the child each starts
anew.
"""

from __future__ import annotations

import itertools
import os
import weakref
from threading import RLock, get_ident
from time import monotonic

from sprockets.logbook._typing import Final, Protocol

MAX_WAIT: Final = 1.0
"""Seconds that a fork waits for all locks together."""
MAX_WAIT_EACH: Final = 0.2
"""Seconds that a fork waits for one lock."""


class SupportsFork(Protocol):
    """Something that has to know of a fork."""

    def before_fork(self) -> object:
        """Come to rest, waiting no longer than :func:`time_to_wait` says."""

    def after_fork_in_parent(self) -> object:
        """Go on."""

    def after_fork_in_child(self) -> object:
        """Start anew: the other threads do not exist here."""


pid: int = os.getpid()
"""Id of this process."""

_numbers = itertools.count()
_owners: dict[int, weakref.ref[SupportsFork]] = {}
_resting: list[SupportsFork] = []
_deadline: float | None = None
_turn = RLock()
"""Held for the length of a fork: owners rest for one thread's, and then for the other's."""
_without_turn: set[int] = set()
"""Threads that fork although they waited for their turn in vain."""


def process_id() -> int:
    """Return the id of this process, without asking the system each time."""
    return pid


def hold_at_fork(owner: SupportsFork) -> None:
    """Tell *owner* of every fork, for as long as it lives; it is held weakly."""
    number = next(_numbers)
    owners = _owners

    def forget(_: object) -> None:
        owners.pop(number, None)

    owners[number] = weakref.ref(owner, forget)


def time_to_wait() -> float:
    """Return how many seconds an owner may wait for a lock of its own before this fork.

    All owners share one bound: a hundred handlers that hang delay the fork no longer than five.
    """
    if _deadline is None:
        return MAX_WAIT_EACH
    return min(MAX_WAIT_EACH, max(0.0, _deadline - monotonic()))


def _before() -> None:
    global _deadline
    if not _turn.acquire(timeout=4 * MAX_WAIT):
        # The other thread never came back from its fork, so its owners rest for ever.
        _without_turn.add(get_ident())
        return
    # The newest first: what wraps another is newer than that, and takes its own lock first.
    _resting.clear()
    _deadline = monotonic() + MAX_WAIT
    try:
        for owner in _living():
            owner.before_fork()
            _resting.append(owner)
    finally:
        _deadline = None


def _living() -> list[SupportsFork]:
    found = [reference() for reference in reversed(list(_owners.values()))]
    return [owner for owner in found if owner is not None]


def _after_in_parent() -> None:
    if get_ident() in _without_turn:
        _without_turn.discard(get_ident())
        return
    try:
        while _resting:
            _resting.pop().after_fork_in_parent()
    finally:
        _turn.release()


def _after_in_child() -> None:
    global pid, _turn
    pid = os.getpid()
    _turn = RLock()
    if get_ident() in _without_turn:
        _resting[:] = _living()
    _without_turn.clear()
    while _resting:
        _resting.pop().after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
