"""The handler of Growl, which notices on a Mac went by before it had a centre for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from importlib import import_module
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

from sprockets._support.optional import MissingDependency
from sprockets.logbook import _caller
from sprockets.logbook._levels import ERROR, LEVEL_NAMES, NOTSET, WARNING, Level
from sprockets.logbook._text import escape_line
from sprockets.logbook.errors import ServiceGoneError
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.notifiers._base import Notice
from sprockets.logbook.notifiers._macos_center import NotificationCentre
from sprockets.logbook.notifiers._transport import TransportedHandler, warn_of
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_INSTEAD: Final = "MacOSNotificationHandler on a Mac, LibNotifyHandler elsewhere, or AppriseHandler"


class GrowlHandler(TransportedHandler):
    """Sent records to Growl, which was withdrawn in November 2020.

    It goes by way of *transport*, if that is given; else of a module ``Growl``, where there is one;
    else to what still speaks Growl's protocol at *host*, by way of ``apprise`` and ``gntp``; else,
    on a Mac, to the system's own notification centre.

    .. deprecated:: 3.0
       Use :class:`MacOSNotificationHandler`, :class:`LibNotifyHandler` or :class:`AppriseHandler`.

    Args:
        application_name: Who tells; ``None`` means the name of the running program.
        icon: A file.
        host: Where Growl is; ``None`` means this machine.
        password: Of that.
        record_limit: Notices per call and window; the next one says how many were left out.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        transport: URL or URLs of apprise.
        timeout: Seconds for each service behind them.
        platform: What ``sys.platform`` calls this system.
        clock: Returns the current time in seconds; never goes backwards.
        **options: Of :class:`RemoteHandler`.

    Raises:
        OSError: There is no such file.
        MissingDependency: *host* or *password* is given, and a library that it takes is missing.
        ServiceGoneError: There is none of these ways.
    """

    def __init__(
        self,
        application_name: str | None = None,
        icon: str | os.PathLike[str] | None = None,
        host: str | None = None,
        password: str | None = None,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        transport: str | Iterable[str] | None = None,
        timeout: float = 15.0,
        platform: str = sys.platform,
        clock: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        warn_of("GrowlHandler", "Growl was withdrawn in November 2020", _INSTEAD)
        if icon is not None and not os.path.isfile(icon):
            raise FileNotFoundError(f"icon must be a file, got {os.fspath(icon)!r}")
        self._icon = "" if icon is None else os.fspath(icon)
        self._centre: NotificationCentre | None = None
        self._notifier: Any = None
        library = None if transport is not None else _find_growl()
        is_ours = transport is None and library is None
        if is_ours and (host is not None or password is not None):
            transport = _gntp_url(host, password)
        elif is_ours and platform == "darwin":
            self._centre = NotificationCentre(min(timeout, 5.0), needed_by="GrowlHandler")
        elif is_ours:
            raise ServiceGoneError(
                f"Growl was withdrawn in November 2020; use {_INSTEAD}; or pass host= if something"
                " there still speaks its protocol, or a URL of apprise as transport="
            )
        try:
            super().__init__(
                application_name,
                record_limit,
                record_delta,
                level,
                filter,
                bubble,
                transport=transport,
                timeout=timeout,
                clock=clock,
                **options,
            )
        except MissingDependency as error:
            if error.name == "growl":
                raise MissingDependency(
                    "GrowlHandler with a host needs 'gntp'; install it with: pip install gntp",
                    name="gntp",
                ) from error
            raise
        if library is not None:
            self._notifier = self._register(library, host, password)
        self.ready(GrowlHandler)

    def _register(self, library: Any, host: str | None, password: str | None) -> Any:
        icon = None
        if self._icon:
            icon = library.Image.imageFromPath(self._icon)
        else:
            try:
                icon = library.Image.imageWithIconForCurrentApplication()
            except TypeError:  # so it says that there is none
                icon = None
        notifier = library.GrowlNotifier(
            applicationName=self.application_name,
            applicationIcon=icon,
            notifications=[name.title() for name in LEVEL_NAMES.values()],
            hostname=host,
            password=password,
        )
        notifier.register()
        return notifier

    def is_sticky(self, record: LogRecord) -> bool:
        """Return whether *record* is shown until somebody takes it away: errors are."""
        return record.level >= ERROR

    def get_priority(self, record: LogRecord) -> int:
        """Return how urgent *record* is: 2 for errors, 1 for warnings, else 0."""
        if record.level >= ERROR:
            return 2
        return 1 if record.level == WARNING else 0

    def make_notice(self, record: LogRecord, withheld: int = 0) -> Notice:
        """Return the notice about *record*, with its priority."""
        notice = super().make_notice(record, withheld)
        notice.facts["sticky"] = self.is_sticky(record)
        notice.facts["priority"] = self.get_priority(record)
        return notice

    def send_by_itself(self, notice: Notice) -> None:
        """Hand *notice* to the module ``Growl``, or to the notification centre."""
        facts = notice.facts
        if self._centre is not None:
            self._centre.show(
                escape_line(self.application_name or ""),
                notice.title,
                notice.text,
                icon=self._icon,
                urgency=facts["priority"],
            )
            return
        self._notifier.notify(
            notice.level_title,
            notice.title,
            notice.text,
            sticky=facts["sticky"],
            priority=facts["priority"],
        )


def _find_growl() -> Any:
    try:
        return import_module("Growl")
    except ImportError:
        return None


def _gntp_url(host: str | None, password: str | None) -> str:
    secret = "" if password is None else f"{quote(password, safe='')}@"
    return f"growl://{secret}{host or 'localhost'}"
