"""The folder in which a service and its collector meet: a socket, and a spool."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from sprockets.logbook import Logger

_MAX_PATH: Final = 100  # a unix socket's path has 107 bytes

_log: Final = Logger("sprockets.http")


class CollectorError(Exception):
    """The collector cannot be started; the text says why."""


def make_folder(wanted: str | None) -> Path:
    """Return a folder that only this user may enter.

    Args:
        wanted: Its path, which may be there; ``None`` is a temporary one.

    Raises:
        CollectorError: It cannot be made, or has too long a path for a socket in it.
    """
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="sprockets-"))
    folder = Path(wanted).absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Whoever can connect can write into the log.
        folder.chmod(0o700)
    except OSError as error:
        raise CollectorError(f"no folder for the collector: {error}") from error
    if len(os.fsencode(folder)) > _MAX_PATH - len("/socket"):
        raise CollectorError(f"{folder} is too long for the path of a unix socket")
    return folder


def clear_folder(folder: Path, *, is_temporary: bool) -> bool:
    """Remove *folder* if it is a temporary one, unless records are left in it.

    Returns:
        Whether there were none; if there were, the log says what becomes of them.
    """
    left = [path for path in folder.glob("spool/*.spool") if path.stat().st_size]
    if left:
        _log.error(
            "records that could not be collected are in {}; a service with"
            " SPROCKETS_COLLECTOR_FOLDER={} collects them",
            folder / "spool",
            folder,
        )
        return False
    if is_temporary:
        shutil.rmtree(folder, ignore_errors=True)
    return True
