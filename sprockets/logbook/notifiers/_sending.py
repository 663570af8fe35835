"""Sending: whether this thread is bringing a notice somewhere, so that what it logs is no notice.

The libraries that bring it log as well, and where standard logging leads into the stacks, a notice
about a notice would never end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from threading import local
from typing import Final

_threads: Final = local()


def is_sending() -> bool:
    """Return whether this thread is within :func:`sending`."""
    return getattr(_threads, "depth", 0) > 0


@contextlib.contextmanager
def sending() -> Iterator[None]:
    """Say that what this thread logs here belongs to the sending."""
    _threads.depth = getattr(_threads, "depth", 0) + 1
    try:
        yield
    finally:
        _threads.depth -= 1
