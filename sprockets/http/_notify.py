"""What the world outside is told: systemd of our state, others of our process id."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Tells systemd how the service is; does nothing where systemd did not ask.

    Args:
        environ: Where systemd says how it wants to be told.

    Source: systemd, sd_notify(3).
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = environ.get("NOTIFY_SOCKET") or None
        if self._address and self._address.startswith("@"):  # Linux's abstract namespace
            self._address = "\0" + self._address[1:]
        period = environ.get("WATCHDOG_USEC", "")
        wanted = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_interval: float | None = (
            int(period) / 1e6 / 2 if period.isdigit() and int(period) and wanted else None
        )
        """How often systemd wants to hear :meth:`alive`, in seconds, or None for never."""
        self.lost = 0
        """Messages that could not be delivered."""

    def ready(self, status: str = "") -> None:
        """The service can be used, or can again after a reload."""
        self._tell("READY=1", f"MAINPID={os.getpid()}", f"STATUS={status}")

    def reloading(self) -> None:
        """Workers are being replaced."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """The service is about to end, and may take so many *seconds* for it."""
        self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def alive(self) -> None:
        """The supervisor still runs."""
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            self.lost += 1  # a service runs just as well unheard


class PidFile:
    """A file with the process id of the parent, written whole, removed by whoever wrote it.

    Args:
        path: Where; a file that a dead process left there is replaced.

    Raises:
        FileExistsError: The process named in the file is alive.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._pid = os.getpid()
        with contextlib.suppress(FileNotFoundError, ValueError):
            with open(path, encoding="ascii") as file:
                other = int(file.read().strip() or "0")
            if other != self._pid and other > 0 and _is_alive(other):
                raise FileExistsError(
                    f"{path} names process {other}, which is alive; stop that one first"
                )
        temporary = f"{path}.{self._pid}"
        with open(temporary, "w", encoding="ascii") as file:
            file.write(f"{self._pid}\n")
        os.replace(temporary, path)

    def remove(self) -> None:
        """Remove the file, unless it is another process's by now."""
        if os.getpid() != self._pid:
            return
        with contextlib.suppress(OSError, ValueError):
            with open(self._path, encoding="ascii") as file:
                owner = int(file.read().strip() or "0")
            if owner == self._pid:
                os.unlink(self._path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
