"""The notifier for macOS."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any

from sprockets.logbook import _caller
from sprockets.logbook._levels import ERROR, NOTSET, WARNING, Level
from sprockets.logbook._text import escape_line
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.notifiers._base import Notice
from sprockets.logbook.notifiers._local import LocalNotificationHandler
from sprockets.logbook.notifiers._macos_center import NotificationCentre

_caller.register(__file__)


class MacOSNotificationHandler(LocalNotificationHandler):
    """Shows records in the notification centre of macOS.

    It goes by way of ``desktop-notifier``, which the extra ``notify`` brings there, else of the
    program ``osascript``, which every Mac has.  No log call waits for it.  What cannot be shown is
    reported once, and counted as ``unshown``: see :meth:`statistics`.

    Args:
        application_name: Who tells; ``None`` means the name of the running program.
        icon: A file; ``osascript`` shows none.
        record_limit: Notices per call and window; the next one says how many were left out.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        timeout: Seconds that showing a notice may take.
        clock: Returns the current time in seconds; never goes backwards.
        **options: Of :class:`RemoteHandler`.

    Raises:
        MissingDependency: There is neither the library nor the program.
    """

    icon: str | os.PathLike[str] | None

    def __init__(
        self,
        application_name: str | None = None,
        icon: str | os.PathLike[str] | None = None,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        timeout: float = 5.0,
        clock: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        self._centre = NotificationCentre(timeout, needed_by=type(self).__name__)
        self.icon = icon
        super().__init__(
            application_name,
            record_limit,
            record_delta,
            level,
            filter,
            bubble,
            timeout=timeout,
            clock=clock,
            **options,
        )
        self.ready(MacOSNotificationHandler)

    def show(self, notice: Notice) -> None:
        """Show *notice* in the notification centre."""
        self._centre.show(
            escape_line(self.application_name or ""),
            notice.title,
            notice.text,
            icon="" if self.icon is None else os.fspath(self.icon),
            urgency=2 if notice.level >= ERROR else 1 if notice.level >= WARNING else 0,
        )
