"""PyGObject, for a desktop that has it and neither ``jeepney`` nor ``notify-send``."""

from __future__ import annotations

import html
import os
from importlib import import_module
from threading import Timer
from typing import Any, Final

from sprockets.logbook.notifiers._bus_address import find_address

_NAME: Final = "org.freedesktop.Notifications"
_PATH: Final = "/org/freedesktop/Notifications"


class GObjectBus:
    """Shows notices by way of GLib.

    Its libnotify has no time-out, so it is the bus that is talked to.

    Args:
        address: Of the session bus; ``None`` means what the environment says.
        timeout: Seconds for a notice.

    Raises:
        ImportError: There is no PyGObject.
    """

    def __init__(self, address: str | None = None, timeout: float = 2.0) -> None:
        self._gio: Any = import_module("gi.repository.Gio")
        self._glib: Any = import_module("gi.repository.GLib")
        self.address = address
        self.timeout = timeout

    def show(
        self, application: str, title: str, text: str, *, icon: str, urgency: int, expires: int
    ) -> None:
        """Show a notice; see `SessionBus.show` for the arguments."""
        gio, glib = self._gio, self._glib
        stop = gio.Cancellable()
        # Connecting has no time-out of its own either.
        timer = Timer(self.timeout, stop.cancel)
        timer.daemon = True
        timer.start()
        try:
            # Not the connection that GLib shares: the end of that one ends the program.
            flags = gio.DBusConnectionFlags
            bus = gio.DBusConnection.new_for_address_sync(
                find_address(os.environ) if self.address is None else self.address,
                flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION,
                None,
                stop,
            )
            hints = {"urgency": glib.Variant("y", urgency)}
            body = html.escape(text, quote=False)
            arguments = glib.Variant(
                "(susssasa{sv}i)", (application, 0, icon, title, body, [], hints, expires)
            )
            bus.call_sync(
                _NAME,
                _PATH,
                _NAME,
                "Notify",
                arguments,
                None,
                gio.DBusCallFlags.NONE,
                int(self.timeout * 1_000),
                stop,
            )
            bus.close_sync(stop)
        except Exception as error:
            if stop.is_cancelled():
                text = f"no answer on the session bus within {self.timeout:g} s"
                raise TimeoutError(text) from error
            raise
        finally:
            timer.cancel()
