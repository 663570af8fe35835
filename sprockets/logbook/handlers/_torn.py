"""Torn lines: whether a file ends in the middle of one, and how the beginning of one is removed."""

from __future__ import annotations

import os
import stat
from time import sleep


def is_torn(path: str, status: os.stat_result, line_break: bytes) -> bool:
    """Whether the file of *status* ends in the middle of a line, and nobody is writing it."""
    try:
        reader = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        # It may be for writing only.
        return False
    try:
        if not os.path.samestat(os.fstat(reader), status):
            return False
        size = status.st_size
        for pause in (0.001, None):
            os.lseek(reader, max(0, size - len(line_break)), os.SEEK_SET)
            if os.read(reader, len(line_break)) == line_break:
                return False
            if pause is not None:
                # Another process may be in the middle of a long line.
                sleep(pause)
                if os.fstat(reader).st_size != size:
                    return False
        return True
    except OSError:
        return False
    finally:
        os.close(reader)


def take_back(descriptor: int, path: str, part: bytes) -> bool:
    """Remove *part*, the beginning of a line, from the end of a file; return whether it is gone."""
    if not part:
        return True
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return False
        reader = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        start = status.st_size - len(part)
        if start < 0 or not os.path.samestat(os.fstat(reader), status):
            return False
        os.lseek(reader, start, os.SEEK_SET)
        # Another process may have gone on behind it; that is not to be removed.
        if os.read(reader, len(part) + 1) != part:
            return False
        os.ftruncate(descriptor, start)
        return True
    except OSError:
        return False
    finally:
        os.close(reader)
