"""The notification centre of macOS."""

from __future__ import annotations

import asyncio
import os
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from sprockets._support.optional import MissingDependency
from sprockets.logbook.notifiers._program import run_program

# The texts are arguments, never a part of the script.
_SCRIPT: Final = (
    "on run argv",
    "display notification (item 3 of argv) with title (item 1 of argv) subtitle (item 2 of argv)",
    "end run",
)
_URGENCIES: Final = ("Low", "Normal", "Critical")


class NotificationCentre:
    """Shows notices by way of ``desktop-notifier``, else of the program ``osascript``.

    The system lets only signed programs speak for themselves, which many a Python is not; for the
    others ``desktop-notifier`` can do nothing, and ``osascript`` speaks for them.

    Args:
        timeout: Seconds for a notice.
        needed_by: Who needs it, as an error should call it.

    Raises:
        MissingDependency: There is neither of them.
    """

    def __init__(self, timeout: float, *, needed_by: str) -> None:
        self.timeout = timeout
        self.program = shutil.which("osascript")
        self._library: Any = None
        try:
            self._library = import_module("desktop_notifier")
        except ImportError as error:
            if self.program is None:
                raise MissingDependency(
                    f"{needed_by} needs macOS, and there 'desktop-notifier' or the program"
                    " osascript; install it with: pip install 'sprockets.http[notify]'",
                    name="desktop_notifier",
                ) from error

    def show(
        self, application: str, title: str, text: str, *, icon: str = "", urgency: int = 1
    ) -> None:
        """Show a notice.

        Args:
            application: Who tells.
            title: One line.
            text: Plain text.
            icon: Path of a file; empty for none.
            urgency: 0 to 2.

        Raises:
            OSError: It takes too long.
            RuntimeError: The system refuses.
        """
        if self._library is not None:
            path = Path(icon) if icon and os.path.isfile(icon) else None
            if asyncio.run(self._send(application, title, text, path, _URGENCIES[urgency])):
                return
            if self.program is None:
                raise RuntimeError("this Python is not signed, so it may show nothing")
            self._library = None
        assert self.program is not None
        options = [option for line in _SCRIPT for option in ("-e", line)]
        arguments = [self.program, *options, "--", application, title, text]
        run_program(arguments, timeout=self.timeout)

    async def _send(
        self, application: str, title: str, text: str, icon: Path | None, urgency: str
    ) -> bool:
        """Return whether the library could do it."""
        library = self._library
        options = {} if icon is None else {"app_icon": library.Icon(path=icon)}
        notifier = library.DesktopNotifier(app_name=application, **options)
        async with asyncio.timeout(self.timeout):
            if library.Capability.MESSAGE not in await notifier.get_capabilities():
                return False
            await notifier.send(
                title=title, message=text, urgency=getattr(library.Urgency, urgency)
            )
        return True
