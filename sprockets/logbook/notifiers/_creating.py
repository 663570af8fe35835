"""The notifier that this system has."""

from __future__ import annotations

import os
import sys
from typing import Any

from sprockets._support.deprecation import deprecated
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.notifiers._base import NotificationBaseHandler


@deprecated(
    "create_notification_handler is deprecated: it hides what differs between desktops;"
    " use LibNotifyHandler, or MacOSNotificationHandler on a Mac"
)
def create_notification_handler(
    application_name: str | None = None,
    level: Level = NOTSET,
    icon: str | os.PathLike[str] | None = None,
    *,
    platform: str = sys.platform,
    **options: Any,
) -> NotificationBaseHandler:
    """Return a handler that shows records on this system's desktop.

    .. deprecated:: 3.0
       Use :class:`LibNotifyHandler`, or :class:`MacOSNotificationHandler` on a Mac.

    Args:
        application_name: Who tells; ``None`` means the name of the running program.
        level: Least level it is interested in, a number or a name.
        icon: A file, or with freedesktop.org's desktops the name of one of their icons.
        platform: What ``sys.platform`` calls the system.
        **options: Of the handler.

    Raises:
        RuntimeError: The system is Windows.
        MissingDependency: What it takes is not installed.
    """
    # Imported here: each system needs one of them.
    if platform in ("win32", "cygwin"):
        raise RuntimeError(
            "there is no handler for the notifications of Windows; have a subclass of"
            " NotificationBaseHandler send them by way of 'desktop-notifier'"
        )
    if platform == "darwin":
        from sprockets.logbook.notifiers._macos import MacOSNotificationHandler

        return MacOSNotificationHandler(application_name, icon, level=level, **options)
    from sprockets.logbook.notifiers._desktop import LibNotifyHandler

    return LibNotifyHandler(application_name, icon, level=level, **options)
