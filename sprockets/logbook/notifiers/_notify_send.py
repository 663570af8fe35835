"""The program ``notify-send``, for a desktop that has it where ``jeepney`` is not installed."""

from __future__ import annotations

import html
import os
import shutil

from sprockets.logbook.notifiers._bus_address import find_address
from sprockets.logbook.notifiers._program import run_program

_URGENCIES = ("low", "normal", "critical")


class NotifySend:
    """Shows notices by way of ``notify-send``.

    Args:
        address: Of the session bus; ``None`` means what the environment says.
        timeout: Seconds for a notice.

    Raises:
        FileNotFoundError: There is no such program.
    """

    def __init__(self, address: str | None = None, timeout: float = 2.0) -> None:
        program = shutil.which("notify-send")
        if program is None:
            raise FileNotFoundError("there is no program notify-send")
        self.program = program
        self.address = address
        self.timeout = timeout

    def show(
        self, application: str, title: str, text: str, *, icon: str, urgency: int, expires: int
    ) -> None:
        """Show a notice; see `SessionBus.show` for the arguments."""
        options = [f"--app-name={application}", f"--urgency={_URGENCIES[urgency]}"]
        if expires >= 0:
            options.append(f"--expire-time={expires}")
        if icon:
            options.append(f"--icon={icon}")
        # It replaces backslash sequences in the text, and leaves markup to the desktop.
        text = html.escape(text, quote=False).replace("\\", "\\\\")
        # Said, since without an address it would try to start a bus.
        address = find_address(os.environ) if self.address is None else self.address
        run_program(
            [self.program, *options, "--", title, text],
            timeout=self.timeout,
            environ={**os.environ, "DBUS_SESSION_BUS_ADDRESS": address},
        )
