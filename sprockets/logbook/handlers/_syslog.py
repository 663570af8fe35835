"""Syslog: records for the local daemon, or over the network for a distant one.

Messages are made in the caller's thread, and nothing is kept between two of them, so any number of
threads may do so at once; the links send them.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable
from functools import cache
from socket import socket as Socket

from sprockets.logbook import _caller, _clock
from sprockets.logbook._format import (
    SYSLOG_FORMAT_STRING,
    StringFormatter,
    StringFormatterHandlerMixin,
)
from sprockets.logbook._levels import (
    CRITICAL,
    DEBUG,
    ERROR,
    INFO,
    NOTICE,
    NOTSET,
    TRACE,
    WARNING,
    Level,
)
from sprockets.logbook._text import escape_line, safe_str
from sprockets.logbook._typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Literal,
    TypeAlias,
)
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.handlers._socket_links import Link, UDPLink, UnixLink
from sprockets.logbook.handlers._syslog_message import (
    Oversize,
    bsd_time,
    fit,
    parameter_name,
    printable,
    prival,
    structured_data,
)
from sprockets.logbook.handlers._tcp_link import TCPLink
from sprockets.logbook.record import LogRecord

if TYPE_CHECKING:
    import ssl

    from sprockets.logbook.handlers._nteventlog import NTEventLogHandler

_caller.register(__file__)

SYSLOG_PORT: Final = 514
"""The port of syslog over UDP; over TLS it is 6514."""

Address: TypeAlias = "str | os.PathLike[str] | tuple[str, int]"
Protocol: TypeAlias = "Literal['local', 'rfc3164', 'rfc5424']"
Framing: TypeAlias = "Literal['newline', 'octet-counting']"

_BOM: Final = b"\xef\xbb\xbf"
_PREFIX: Final = "{record.channel}: "
_HEADER_ROOM: Final = 512
"""Bytes of a message that its header may need, structured data left aside."""


@cache
def _without_channel(formatter_class: Callable[[str], Any], layout: str) -> Any:
    return formatter_class(layout[len(_PREFIX) :])


# -- the handler


class SyslogHandler(RemoteHandler, StringFormatterHandlerMixin):
    """Sends records to a syslog daemon.

    To a Unix socket or over UDP a message is sent at once, in the caller's thread, which waits
    *block_timeout* at most; what the kernel does not take is dropped and counted: best effort.
    Over TCP and TLS a thread delivers, so a dead server never holds the application up; with a
    *spool* nothing that was accepted is lost, and some of it may arrive twice.

    Args:
        application_name: Name of the program; without one, network messages carry the channel.
        address: Path of a Unix socket, or ``(host, port)``; ``None`` is the daemon of this machine.
        facility: Name or number of the facility.
        socktype: ``SOCK_DGRAM`` or ``SOCK_STREAM`` for a network address; of Unix sockets it is
            found out.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of the text; ``None`` means :attr:`default_format_string`.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        record_delimiter: Ends each message, and splits texts that contain it; ``None`` is NUL for
            a Unix socket, a line break over the network, and nothing where octets are counted.
        protocol: ``"local"``: priority, name, text.  ``"rfc3164"``: with local time and host.
            ``"rfc5424"``.  ``None`` is ``"local"`` for a Unix socket, else ``"rfc5424"``.
        framing: What separates messages in a TCP stream (RFC 6587); ``None`` is a line break, and
            over TLS, where RFC 5425 wants it, octet counting.
        tls: ``True`` for TLS with the system's certificate authorities, or a context of your own.
        hostname: This machine's name in network messages; ``None`` asks the system.
        sd_id: Name of the structured data that the record's extra fields become; ``None`` leaves
            them out.  32473 is the number for documentation: use your own enterprise's.
        bom: Mark texts with characters beyond ASCII as UTF-8, as RFC 5424 wants.
        max_message: Bytes of a message at most, delimiter and frame aside; at least 1024.
        oversize: What becomes of a longer one: ``"truncate"`` or ``"split"``, either with a mark.
        delay: Connect with the first record.
        timeout: Longest wait for a server to accept a connection or data, in seconds.
        confirm: End the connection after each batch, and count it as delivered once the server has
            read all of it and closed its side too: plain syslog has no other acknowledgement.
            ``None``: only with a spool.
        immediate: Deliver in the caller's thread; ``None``: to Unix sockets and over UDP.
        block_timeout: Longest wait of a log call, in seconds.
        **options: Of the delivery, as ``capacity``, ``policy``, ``retry``, ``spool``.

    Raises:
        OSError: The Unix socket or the server cannot be reached (with *delay*, nothing is tried).
        ValueError: There is no such facility, protocol, framing or address.
    """

    LOG_EMERG: ClassVar[int] = 0
    LOG_ALERT: ClassVar[int] = 1
    LOG_CRIT: ClassVar[int] = 2
    LOG_ERR: ClassVar[int] = 3
    LOG_WARNING: ClassVar[int] = 4
    LOG_NOTICE: ClassVar[int] = 5
    LOG_INFO: ClassVar[int] = 6
    LOG_DEBUG: ClassVar[int] = 7

    LOG_KERN: ClassVar[int] = 0
    LOG_USER: ClassVar[int] = 1
    LOG_MAIL: ClassVar[int] = 2
    LOG_DAEMON: ClassVar[int] = 3
    LOG_AUTH: ClassVar[int] = 4
    LOG_SYSLOG: ClassVar[int] = 5
    LOG_LPR: ClassVar[int] = 6
    LOG_NEWS: ClassVar[int] = 7
    LOG_UUCP: ClassVar[int] = 8
    LOG_CRON: ClassVar[int] = 9
    LOG_AUTHPRIV: ClassVar[int] = 10
    LOG_FTP: ClassVar[int] = 11
    LOG_LOCAL0: ClassVar[int] = 16
    LOG_LOCAL1: ClassVar[int] = 17
    LOG_LOCAL2: ClassVar[int] = 18
    LOG_LOCAL3: ClassVar[int] = 19
    LOG_LOCAL4: ClassVar[int] = 20
    LOG_LOCAL5: ClassVar[int] = 21
    LOG_LOCAL6: ClassVar[int] = 22
    LOG_LOCAL7: ClassVar[int] = 23

    facility_names: ClassVar[dict[str, int]] = {
        "kern": LOG_KERN,
        "user": LOG_USER,
        "mail": LOG_MAIL,
        "daemon": LOG_DAEMON,
        "auth": LOG_AUTH,
        "syslog": LOG_SYSLOG,
        "lpr": LOG_LPR,
        "news": LOG_NEWS,
        "uucp": LOG_UUCP,
        "cron": LOG_CRON,
        "authpriv": LOG_AUTHPRIV,
        "ftp": LOG_FTP,
        "local0": LOG_LOCAL0,
        "local1": LOG_LOCAL1,
        "local2": LOG_LOCAL2,
        "local3": LOG_LOCAL3,
        "local4": LOG_LOCAL4,
        "local5": LOG_LOCAL5,
        "local6": LOG_LOCAL6,
        "local7": LOG_LOCAL7,
    }
    level_priority_map: ClassVar[dict[int, int]] = {
        TRACE: LOG_DEBUG,
        DEBUG: LOG_DEBUG,
        INFO: LOG_INFO,
        NOTICE: LOG_NOTICE,
        WARNING: LOG_WARNING,
        ERROR: LOG_ERR,
        CRITICAL: LOG_CRIT,
    }
    default_format_string: ClassVar[str] = SYSLOG_FORMAT_STRING
    pulls_information: ClassVar[bool] = False  # it is bytes that go to the thread

    application_name: str | None
    address: str | tuple[str, int]
    remote_address: str | tuple[str, int]
    """Where messages go; the same as :attr:`address`."""
    facility: str | int
    socktype: int
    unixsocket: bool
    record_delimiter: str

    def __init__(
        self,
        application_name: str | None = None,
        address: Address | None = None,
        facility: str | int = "user",
        socktype: int = socket.SOCK_DGRAM,
        level: Level = NOTSET,
        format_string: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
        record_delimiter: str | None = None,
        *,
        protocol: Protocol | None = None,
        framing: Framing | None = None,
        tls: bool | ssl.SSLContext = False,
        hostname: str | None = None,
        sd_id: str | None = "extra@32473",
        bom: bool = True,
        max_message: int = 8192,
        oversize: Oversize = "truncate",
        delay: bool = False,
        timeout: float = 10.0,
        confirm: bool | None = None,
        immediate: bool | None = None,
        block_timeout: float = 0.005,
        **options: Any,
    ) -> None:
        _facility_code(facility)
        if address is None:
            address = "/var/run/syslog" if sys.platform == "darwin" else "/dev/log"
        self.address = self.remote_address = _checked_address(address)
        self.unixsocket = isinstance(self.address, str)
        if tls and (self.unixsocket or socktype != socket.SOCK_STREAM):
            raise ValueError("tls needs a (host, port) address and socktype=SOCK_STREAM")
        is_stream = not self.unixsocket and socktype == socket.SOCK_STREAM
        if framing is None:
            framing = "octet-counting" if tls else "newline"
        if protocol is None:
            protocol = "local" if self.unixsocket else "rfc5424"
        _check_word("protocol", protocol, ("local", "rfc3164", "rfc5424"))
        _check_word("framing", framing, ("newline", "octet-counting"))
        _check_word("oversize", oversize, ("truncate", "split"))
        if framing == "octet-counting" and not is_stream:
            raise ValueError("octets are counted in a TCP stream only; leave framing out")
        if max_message < 1024:
            raise ValueError(f"max_message must be at least 1024 bytes, got {max_message}")
        if record_delimiter is None:
            if framing == "octet-counting":
                record_delimiter = ""
            else:
                record_delimiter = "\0" if self.unixsocket else "\n"
        super().__init__(
            level,
            filter,
            bubble,
            immediate=not is_stream if immediate is None else immediate,
            block_timeout=block_timeout,
            **options,
        )
        StringFormatterHandlerMixin.__init__(self, format_string)
        self.application_name = application_name
        self.facility = facility
        self.socktype = socktype
        self.record_delimiter = record_delimiter
        self.hostname: str = socket.gethostname() if hostname is None else hostname
        self.sd_id: str | None = sd_id if sd_id is None else parameter_name(sd_id)
        self.bom = bom
        self.max_message = max_message
        self.oversize: Oversize = oversize
        self._protocol = protocol
        self._counts_octets = framing == "octet-counting"
        self._link: Link
        if isinstance(self.address, str):
            self._link = UnixLink(self.address, block_timeout)
        elif is_stream:
            if confirm is None:
                confirm = options.get("spool") is not None
            self._link = TCPLink(self.address, tls, timeout, confirm=confirm)
        else:
            self._link = UDPLink(self.address, block_timeout)
        if not delay:
            try:
                self._link.open()
            except BaseException:
                self.close()
                raise
        self.ready(SyslogHandler)

    @property
    def socket(self) -> Socket | None:
        """The socket; ``None`` if there is none at the moment."""
        link = self.__dict__.get("_link")
        return None if link is None else link.socket

    # -- text

    def encode_priority(self, record: LogRecord) -> int:
        """Return the priority value of *record*; levels of your own count as warnings."""
        severity = self.level_priority_map.get(record.level, self.LOG_WARNING)
        return prival(_facility_code(self.facility), severity)

    def unix_envelope(self, record: LogRecord) -> list[bytes]:
        """Return the messages of *record* as a local daemon takes them."""
        before = f"<{self.encode_priority(record)}>"
        if self.application_name:
            before += f"{escape_line(self.application_name)}:"
        return self.wrap_segments(record, before)

    def net_envelope(self, record: LogRecord) -> list[bytes]:
        """Return the messages of *record* as RFC 5424 has them."""
        before, text = self._header(record)
        return self._segments(before, text, bom=self.bom)

    def bsd_envelope(self, record: LogRecord) -> list[bytes]:
        """Return the messages of *record* as RFC 3164 describes them."""
        app, text = self._name_and_text(record)
        tag = "".join([char if char.isalnum() else "_" for char in app[:32]])
        process = "" if record.process is None else f"[{record.process}]"
        before = (
            f"<{self.encode_priority(record)}>{bsd_time(record.moment)} "
            f"{printable(self.hostname, 255)} {tag}{process}: "
        )
        return self._segments(before.encode(), text)

    def wrap_segments(self, record: LogRecord, before: str) -> list[bytes]:
        """Return the text of *record* as messages that begin with *before*.

        The text is split at the delimiter, and each piece is a message of its own.
        """
        return self._segments(before.encode("utf-8", "replace"), safe_str(self.format(record)))

    def _header(self, record: LogRecord) -> tuple[bytes, str]:
        app, text = self._name_and_text(record)
        moment = record.moment
        process = record.process
        header = (
            f"<{self.encode_priority(record)}>1 "
            f"{'-' if moment is None else _clock.iso8601(moment)} "
            f"{printable(self.hostname, 255)} {app} "
            f"{printable(process, 128)} - "
        ).encode()
        extra = record.extra
        if self.sd_id is None or not extra:
            return header + b"- ", text
        room = (self.max_message - _HEADER_ROOM) * 2 // 3
        return header + structured_data(self.sd_id, extra, room) + b" ", text

    def _name_and_text(self, record: LogRecord) -> tuple[str, str]:
        """Return the name that *record* is sent under, and its text, which need not repeat it."""
        if self.application_name:
            return printable(self.application_name, 48), safe_str(self.format(record))
        formatter = self.formatter
        channel = record.channel
        if channel and isinstance(formatter, StringFormatter):
            layout = formatter.format_string
            make = type(self).formatter_class
            if type(formatter) is make and layout.startswith(_PREFIX):
                shorter = _without_channel(make, layout)
                return printable(channel, 48), safe_str(shorter(record, self))
        return printable(channel, 48), safe_str(self.format(record))

    def _segments(self, before: bytes, text: str, *, bom: bool = False) -> list[bytes]:
        delimiter = self.record_delimiter
        end = delimiter.encode()
        messages = []
        for piece in text.split(delimiter) if delimiter else [text]:
            data = piece.encode("utf-8", "backslashreplace")
            start = before + _BOM if bom and not data.isascii() else before
            room = max(64, self.max_message - len(start) - len(end))
            messages += [start + part + end for part in fit(data, room, self.oversize)]
        return messages

    # -- delivery

    def encode(self, record: LogRecord) -> bytes:
        """Return the messages of *record* as they go over the wire; of datagrams, each counted."""
        if self._protocol == "rfc5424":
            messages = self.net_envelope(record)
        elif self._protocol == "rfc3164":
            messages = self.bsd_envelope(record)
        else:
            messages = self.unix_envelope(record)
        if self._counts_octets or not self._link.takes_batches:
            return b"".join([b"%d %b" % (len(message), message) for message in messages])
        return b"".join(messages)

    def deliver(self, items: list[Any]) -> None:
        """Send what :meth:`encode` returned.

        Raises:
            OSError: It could not be sent, also not over a new connection.
        """
        data = b"".join(items)
        if self._link.takes_batches:
            self.send_to_socket(data)
            return
        for message in _counted(data):
            self.send_to_socket(message)

    def send_to_socket(self, data: bytes) -> None:
        """Send *data*, a message (over TCP, any number of them), over a new connection if need be.

        Raises:
            OSError: It could not be sent.
        """
        self._link.send(data)

    def statistics(self) -> dict[str, Any]:
        """Return the counts of the delivery, and under ``socket`` those of the connection.

        There ``sent`` and ``refused`` count messages, the latter those that were dropped since the
        kernel would not take them without waiting, or the name service did not answer; over TCP
        ``sent`` counts batches; ``opened`` counts connections.
        """
        return {**super().statistics(), "socket": dict(self._link.counts)}

    def disconnect(self) -> None:
        """Close the socket; a record after that would open one again."""
        link = self.__dict__.get("_link")
        if link is not None:
            link.close()


def _check_word(what: str, word: str, known: Iterable[str]) -> None:
    if word not in known:
        raise ValueError(f"unknown {what} {word!r}; known: {', '.join(known)}")


def _facility_code(facility: str | int) -> int:
    names = SyslogHandler.facility_names
    if isinstance(facility, int) and facility in names.values():
        return facility
    try:
        return names[facility]  # type: ignore[index]  # a KeyError if it is not text
    except (KeyError, TypeError):
        raise ValueError(f"unknown facility {facility!r}; known: {', '.join(names)}") from None


def _checked_address(address: Address) -> str | tuple[str, int]:
    if isinstance(address, (str, os.PathLike)):
        return os.fspath(address)
    try:
        host, port = address
        return str(host), int(port)
    except (TypeError, ValueError):
        raise ValueError(
            f"address must be a path or a pair of host and port, got {address!r}"
        ) from None


def _counted(data: bytes) -> Iterable[bytes]:
    begin = 0
    while begin < len(data):
        blank = data.index(b" ", begin)
        begin = blank + 1 + int(data[begin:blank])
        yield data[blank + 1 : begin]


def create_syshandler(
    application_name: str, level: Level = NOTSET
) -> SyslogHandler | NTEventLogHandler:
    """Return a handler for the log of the operating system.

    Args:
        application_name: Name of the program there.
        level: Least level it is interested in, a number or a name.

    Raises:
        OSError: There is no syslog daemon here.
        MissingDependency: This is Windows, and pywin32 is not installed.
    """
    if os.name == "nt":
        from sprockets.logbook.handlers._nteventlog import NTEventLogHandler

        return NTEventLogHandler(application_name, level=level)
    return SyslogHandler(application_name, level=level)
