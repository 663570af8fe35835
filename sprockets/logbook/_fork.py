"""Fork: locks that a child process does not find held by a thread it does not have.

Before a fork all registered owners are asked to come to rest, so that no line is half written and
no lock half held; the waits are bounded, since a fork must not hang.  In the child each starts
anew.
"""

from __future__ import annotations

import itertools
import os
import weakref

from sprockets.logbook._typing import Protocol


class SupportsFork(Protocol):
    """Something that has to know of a fork."""

    def before_fork(self) -> object:
        """Come to rest, waiting a fraction of a second at most."""

    def after_fork_in_parent(self) -> object:
        """Go on."""

    def after_fork_in_child(self) -> object:
        """Start anew: the other threads do not exist here."""


pid: int = os.getpid()
"""Id of this process."""

_numbers = itertools.count()
_owners: dict[int, weakref.ref[SupportsFork]] = {}
_resting: list[SupportsFork] = []


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


def _before() -> None:
    # The newest first: what wraps another is newer than that, and takes its own lock first.
    _resting.clear()
    for reference in reversed(list(_owners.values())):
        owner = reference()
        if owner is not None:
            owner.before_fork()
            _resting.append(owner)


def _after_in_parent() -> None:
    while _resting:
        _resting.pop().after_fork_in_parent()


def _after_in_child() -> None:
    global pid
    pid = os.getpid()
    while _resting:
        _resting.pop().after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
