"""D-Bus: one notice over a connection of its own, within a deadline.

A connection that is kept would have to be read, since the desktop tells on it of every notice that
is closed; a new one takes a millisecond, and neither a fork nor a restart of the desktop matters.
"""

from __future__ import annotations

import html
import os
import socket
from collections.abc import Callable, Mapping
from importlib import import_module
from time import monotonic
from typing import Any, Final

from sprockets._support.optional import optional
from sprockets.logbook.notifiers._bus_address import find_address, find_sockets

_NAME: Final = "org.freedesktop.Notifications"
_PATH: Final = "/org/freedesktop/Notifications"


class SessionBus:
    """Shows notices by way of the session bus.

    Args:
        address: Of the bus; ``None`` means what the environment says, asked for each notice.
        timeout: Seconds for a whole notice.
        environ: Where the variables are looked up; ``None`` means the environment of the process.
        clock: Returns the current time in seconds; never goes backwards.

    Raises:
        MissingDependency: ``jeepney`` is not installed.
    """

    def __init__(
        self,
        address: str | None = None,
        timeout: float = 2.0,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._library: Any = optional("jeepney", extra="notify", needed_by="LibNotifyHandler")
        # Parts of it that it does not import by itself.
        for module in ("jeepney.auth", "jeepney.bus_messages"):
            import_module(module)
        self.address = address
        self.timeout = timeout
        self._environ = os.environ if environ is None else environ
        self._clock = clock

    def show(
        self, application: str, title: str, text: str, *, icon: str, urgency: int, expires: int
    ) -> None:
        """Show a notice.

        Args:
            application: Who tells.
            title: Plain text.
            text: Plain text as well; it is escaped for a desktop that would read it as markup.
            icon: A name or a ``file`` URI; empty for none.
            urgency: 0 to 2.
            expires: Milliseconds; 0 for never, -1 for what the desktop thinks is right.

        Raises:
            OSError: There is no bus, or no answer in time.
            RuntimeError: The bus, or the desktop, refuses.

        Source: Desktop Notifications Specification 1.2, "D-BUS Protocol".
        """
        new_call = self._library.new_method_call
        desktop = self._library.DBusAddress(_PATH, bus_name=_NAME, interface=_NAME)
        with self._connect() as connection:
            # The first call has the bus start a desktop's service that is not running yet.
            (capabilities,) = connection.call(new_call(desktop, "GetCapabilities"))
            if "body-markup" in capabilities:
                text = html.escape(text, quote=False)
            hints = {"urgency": ("y", urgency)}
            arguments: Any = (application, 0, icon, title, text, [], hints, expires)
            connection.call(new_call(desktop, "Notify", "susssasa{sv}i", arguments))

    def _connect(self) -> _Connection:
        deadline = self._clock() + self.timeout

        def remaining() -> float:
            seconds = deadline - self._clock()
            if seconds <= 0:
                raise TimeoutError(f"no answer on the session bus within {self.timeout:g} s")
            return seconds

        failure: Exception | None = None
        address = find_address(self._environ) if self.address is None else self.address
        for path in find_sockets(address, self._environ):
            try:
                return _Connection(self._library, path, remaining)
            except OSError as error:
                failure = failure or error
        assert failure is not None
        raise failure


class _Connection:
    """A connection to a bus, greeted; closed at the end of ``with``.

    Args:
        library: jeepney.
        path: Of the socket.
        remaining: Returns the seconds that are left, or raises that there are none.
    """

    def __init__(self, library: Any, path: bytes, remaining: Callable[[], float]) -> None:
        self._library = library
        self._remaining = remaining
        self._parser = library.Parser()
        self._serial = 0
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(remaining())
            self._socket.connect(path)
            greeting = library.auth.Authenticator()
            for data in greeting:
                self._send(data)
                greeting.feed(self._receive(1_024))
            self._send(library.auth.BEGIN)
            self.call(library.bus_messages.message_bus.Hello())
        except BlockingIOError as error:
            # What a socket whose queue is full says.
            self._socket.close()
            raise TimeoutError("nobody takes connections to the session bus") from error
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *args: object) -> None:
        self._socket.close()

    def call(self, message: Any) -> Any:
        """Return the body of the answer to *message*."""
        names = self._library.HeaderFields
        self._serial += 1
        self._send(message.serialise(serial=self._serial))
        while True:
            answer = self._parser.get_next_message()
            if answer is None:
                self._parser.add_data(self._receive(4_096))
            elif answer.header.fields.get(names.reply_serial) == self._serial:
                if answer.header.message_type is self._library.MessageType.error:
                    name = answer.header.fields.get(names.error_name, "?")
                    raise RuntimeError(f"{name}: {' '.join(map(str, answer.body))[:200]}")
                return answer.body

    def _send(self, data: bytes) -> None:
        self._socket.settimeout(self._remaining())
        self._socket.sendall(data)

    def _receive(self, size: int) -> bytes:
        self._socket.settimeout(self._remaining())
        data = self._socket.recv(size)
        if not data:
            raise ConnectionError("the session bus hung up")
        return data
