"""A lock between processes that share a file: the file itself, locked with ``flock``.

The system lets go of it when its holder dies.  It belongs to the opened file, not to the process,
so after a fork each process opens the file anew, or the two would not exclude one another.
"""

from __future__ import annotations

import errno
import os
from time import monotonic, sleep

from sprockets.logbook._typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import fcntl
else:
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None

MAX_WAIT: Final = 1.0
"""Seconds to wait for another process, which may have been stopped in the middle of a line."""

_BUSY: Final = frozenset((errno.EAGAIN, errno.EACCES))


def acquire(descriptor: int, timeout: float = MAX_WAIT) -> bool:
    """Lock the opened file, and return whether that succeeded within *timeout* seconds.

    Where files cannot be locked, as on some network disks, it is as if there were no other process.
    """
    if fcntl is None:
        return True
    deadline = None
    pause = 0.0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _BUSY:
                return True
        else:
            return True
        now = monotonic()
        if deadline is None:
            deadline = now + timeout
        elif now >= deadline:
            return False
        # The first time just let others go on; a line takes a few microseconds.
        sleep(pause)
        pause = min(0.001, pause + 0.00002)


def release(descriptor: int) -> None:
    """Unlock the opened file, for all processes that have inherited it."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except OSError:
            # It was never locked: this system cannot lock it.
            return


def is_at(descriptor: int, path: str) -> bool:
    """Return whether *path* leads to the opened file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)
