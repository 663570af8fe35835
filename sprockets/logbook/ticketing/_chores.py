"""What one process of many does: asked of the store that they share."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sprockets.logbook.ticketing._backend import BackendBase


def may_do(db: BackendBase, name: str, now: datetime, seconds: float) -> bool:
    """Return whether it is for this process to do *name*, which nobody else does for *seconds*.

    A store that cannot tell lets everybody do it.
    """
    try:
        return db.claim(name, now=now, seconds=seconds)
    except NotImplementedError:
        return True
