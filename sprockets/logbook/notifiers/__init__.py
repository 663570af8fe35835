"""Notifiers: records on a desktop, on a telephone, and wherever apprise reaches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sprockets.logbook.notifiers._apprise import AppriseHandler
    from sprockets.logbook.notifiers._base import Notice, NotificationBaseHandler
    from sprockets.logbook.notifiers._creating import create_notification_handler
    from sprockets.logbook.notifiers._desktop import LibNotifyHandler
    from sprockets.logbook.notifiers._growl import GrowlHandler
    from sprockets.logbook.notifiers._legacy import BoxcarHandler, NotifoHandler
    from sprockets.logbook.notifiers._macos import MacOSNotificationHandler
    from sprockets.logbook.notifiers._pushover import PushoverHandler

# Imported when they are first asked for: each is one idea, and few need more than one.
_LAZY: Final = {
    "AppriseHandler": "_apprise",
    "BoxcarHandler": "_legacy",
    "GrowlHandler": "_growl",
    "LibNotifyHandler": "_desktop",
    "MacOSNotificationHandler": "_macos",
    "NotificationBaseHandler": "_base",
    "Notice": "_base",
    "NotifoHandler": "_legacy",
    "PushoverHandler": "_pushover",
    "create_notification_handler": "_creating",
}

__all__ = [
    "AppriseHandler",
    "BoxcarHandler",
    "GrowlHandler",
    "LibNotifyHandler",
    "MacOSNotificationHandler",
    "Notice",
    "NotificationBaseHandler",
    "NotifoHandler",
    "PushoverHandler",
    "create_notification_handler",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        found = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
