"""The notifier for desktops that follow freedesktop.org: GNOME, KDE, Xfce, sway and the rest."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from time import monotonic
from typing import Any, Final, Literal, Protocol, TypeAlias

from sprockets._support.optional import MissingDependency
from sprockets.logbook import _caller
from sprockets.logbook._levels import ERROR, NOTSET, WARNING, Level
from sprockets.logbook._text import escape_line
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.notifiers._base import Notice
from sprockets.logbook.notifiers._dbus import SessionBus
from sprockets.logbook.notifiers._gobject import GObjectBus
from sprockets.logbook.notifiers._local import LocalNotificationHandler
from sprockets.logbook.notifiers._notify_send import NotifySend
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

Way: TypeAlias = Literal["dbus", "notify-send", "gobject"]


class SupportsShow(Protocol):
    """Something that shows a notice on a desktop."""

    def show(
        self, application: str, title: str, text: str, *, icon: str, urgency: int, expires: int
    ) -> None:
        """Show a notice, or raise why that cannot be."""


# The first needs nothing but a library in pure Python, and asks the desktop what it understands.
_WAYS: Final[Mapping[Way, Callable[[str | None, float], SupportsShow]]] = {
    "dbus": SessionBus,
    "notify-send": NotifySend,
    "gobject": GObjectBus,
}


class LibNotifyHandler(LocalNotificationHandler):
    """Shows records on the desktop: title and text, more urgent the worse the level.

    It goes by way of D-Bus with ``jeepney``, which the extra ``notify`` brings; else of the program
    ``notify-send``; else of PyGObject.  No log call waits for any of it.  A record's text is data:
    markup in it is shown as it is, and what exceeds 256 characters is cut.

    Where there is no desktop, that is reported once, and records are counted as ``unshown``; see
    :meth:`statistics`.  After three failures in a row one notice a minute is tried.

    Args:
        application_name: Who tells; ``None`` means the name of the running program.
        icon: A file, or the name of one of the desktop's icons.
        no_init: Without effect: there is nothing to initialise.
        record_limit: Notices per call and window; the next one says how many were left out.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        way: How to get there, ``"dbus"``, ``"notify-send"`` or ``"gobject"``; ``None`` takes the
            first that there is.
        bus_address: The session bus; ``None`` means the user's own, looked up for each notice.
        timeout: Seconds that showing a notice may take.
        clock: Returns the current time in seconds; never goes backwards.
        **options: Of :class:`RemoteHandler`.

    Raises:
        MissingDependency: There is no way to the desktop.
        ValueError: *way* is none of the above.
    """

    icon: str | os.PathLike[str] | None
    way: Way

    def __init__(
        self,
        application_name: str | None = None,
        icon: str | os.PathLike[str] | None = None,
        no_init: bool = False,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        way: Way | None = None,
        bus_address: str | None = None,
        timeout: float = 2.0,
        clock: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        self.way, self._desktop = _find_way(way, bus_address, timeout)
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
        self.ready(LibNotifyHandler)

    def set_notifier_icon(self, notifier: Notice, icon: str | os.PathLike[str]) -> None:
        """Have *notifier*, the notice that is about to be shown, carry *icon*."""
        text = os.fspath(icon)
        if os.sep in text or os.path.exists(text):
            text = pathlib.Path(os.path.abspath(text)).as_uri()
        notifier.facts["icon"] = text

    def get_expires(self, record: LogRecord) -> int:
        """Return the milliseconds that *record* is shown.

        Errors stay until somebody takes them away, 0; with others it is up to the desktop, -1.
        """
        return 0 if record.level >= ERROR else -1

    def get_urgency(self, record: LogRecord) -> int:
        """Return how urgent *record* is: 2 for errors, 1 for warnings, else 0."""
        if record.level >= ERROR:
            return 2
        return 1 if record.level == WARNING else 0

    def make_notice(self, record: LogRecord, withheld: int = 0) -> Notice:
        """Return the notice about *record*, with its urgency, expiry and icon."""
        notice = super().make_notice(record, withheld)
        notice.facts["urgency"] = self.get_urgency(record)
        notice.facts["expires"] = self.get_expires(record)
        if self.icon is not None:
            self.set_notifier_icon(notice, self.icon)
        return notice

    def show(self, notice: Notice) -> None:
        """Show *notice* on the desktop."""
        facts = notice.facts
        self._desktop.show(
            escape_line(self.application_name or ""),
            notice.title,
            notice.text,
            icon=escape_line(facts.get("icon", "")),
            urgency=facts["urgency"],
            expires=facts["expires"],
        )


def _find_way(way: Way | None, address: str | None, timeout: float) -> tuple[Way, SupportsShow]:
    if way is not None and way not in _WAYS:
        raise ValueError(f"unknown way {way!r}; known: {', '.join(_WAYS)}")
    failure: Exception | None = None
    for name, make in _WAYS.items():
        if way in (None, name):
            try:
                return name, make(address, timeout)
            except (ImportError, OSError, AttributeError) as error:
                failure = failure or error
    if isinstance(failure, MissingDependency):
        text = f"{failure}, or have the program notify-send"
        raise MissingDependency(text, name="jeepney") from failure
    raise MissingDependency(f"LibNotifyHandler has no way {way!r}: {failure}") from failure
