"""Segments: the files of a spool, how much of each is dealt with, and whose process still lives.

A process holds a lock on a file that is named after its token, as its segments are.  The lock goes
with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sprockets.logbook.delivery._frames import frames

_POSITION: Final = struct.Struct(">Q")


@dataclass(eq=False)
class Segment:
    """A file of records, and how much of it has been dealt with.

    Args:
        path: The file.
        offset: Bytes that are dealt with.
        size: Bytes up to the end of the last whole record.
        unread: Records that are not dealt with.
        is_ours: Whether this process wrote it.
    """

    path: Path
    offset: int = 0
    size: int = 0
    unread: int = 0
    is_ours: bool = True

    @property
    def position_path(self) -> Path:
        """Where it is written how much has been dealt with."""
        return self.path.with_suffix(".at")

    def remember(self) -> None:
        """Write down how much has been dealt with."""
        # What is not remembered is delivered again after a kill: no reason to fail.
        with contextlib.suppress(OSError):
            descriptor = os.open(self.position_path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(descriptor, _POSITION.pack(self.offset), 0)
            finally:
                os.close(descriptor)

    def measure(self, torn: Callable[[], object]) -> None:
        """Find out what is in the file, and call *torn* at each bad place.

        Raises:
            OSError: It cannot be read at present.
        """
        with contextlib.suppress(FileNotFoundError, struct.error):
            self.offset = _POSITION.unpack(self.position_path.read_bytes())[0]
        data = self.path.read_bytes()[self.offset :]
        ends = [end for _, end in frames(data, torn)]
        self.unread = len(ends)
        self.size = self.offset + (ends[-1] if ends else 0)

    def unlink(self) -> None:
        """Remove the files."""
        self.path.unlink(missing_ok=True)
        self.position_path.unlink(missing_ok=True)


def orphans_of(token: str, folder: Path, torn: Callable[[], object]) -> list[Segment]:
    """Return what a dead process left, in order, and remove what has nothing in it.

    Args:
        token: Name of the process.
        folder: Where it was.
        torn: Called at each place that cannot be read.

    Raises:
        OSError: A file cannot be read at present.
    """
    found = []
    # Not glob(), which finds nothing where it is not allowed to look.
    for name in sorted(os.listdir(folder)):
        if name.startswith(f"{token}-") and name.endswith(".spool"):
            segment = Segment(folder / name, is_ours=False)
            segment.measure(torn)
            if segment.unread:
                found.append(segment)
            else:
                segment.unlink()
    return found


def claim(folder: Path) -> tuple[str, int]:
    """Return a new name and the descriptor of the file whose lock says that this process lives."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        token = secrets.token_hex(8)
        path = folder / f"{token}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if is_locked_now(descriptor, path):
            return token, descriptor
        # Another process took it for an orphan's in this very moment.
        os.close(descriptor)


def is_locked_now(descriptor: int, path: Path) -> bool:
    """Lock the file if nobody else holds it, and return whether *path* still names it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def changed_at(path: Path) -> float:
    """Return when *path* was written to last, 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
