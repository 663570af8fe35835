"""The journal of systemd: records with all their fields, over its own protocol."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable

from sprockets.logbook import _caller, _clock
from sprockets.logbook._format import StringFormatterHandlerMixin
from sprockets.logbook._json import FIELDS
from sprockets.logbook._json import encode as encode_json
from sprockets.logbook._layout import message_of
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._text import safe_str
from sprockets.logbook._typing import Any, Final
from sprockets.logbook.handlers._base import Filter, Handler
from sprockets.logbook.handlers._socket_links import UnixLink
from sprockets.logbook.handlers._syslog import SyslogHandler
from sprockets.logbook.handlers._syslog_message import parameter_text
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"

_MACHINERY: Final = frozenset(
    ("extra", "frame_correction", "heavy_initialized", "information_pulled", "message", "time")
)
_LETTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def field_name(name: object) -> str:
    """Return *name* as that of a field of the journal: A to Z, digits, underscores, at most 64.

    >>> field_name("user-id"), field_name("_secret"), field_name("9")
    ('USER_ID', 'SECRET', 'F9')

    Source: systemd, Journal Export Formats and sd_journal_send(3).
    """
    text = "".join([c if c in _LETTERS else "_" for c in safe_str(name)[:64].upper()])
    text = text.lstrip("_") or "F"
    return (text if not text[0].isdigit() else f"F{text}")[:64]


def field(name: str, value: str | bytes) -> bytes:
    r"""Return a field as the journal's socket takes it.

    >>> field("MESSAGE", "hello")
    b'MESSAGE=hello\n'
    >>> field("MESSAGE", "a\nb")
    b'MESSAGE\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\n'

    Source: systemd, Native Journal Protocol.
    """
    data = value.encode("utf-8", "backslashreplace") if isinstance(value, str) else value
    if b"\n" in data:
        return b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
    return b"%b=%b\n" % (name.encode(), data)


class JournaldHandler(Handler, StringFormatterHandlerMixin):
    """Sends records to the journal of systemd, one entry each, in the caller's thread.

    An entry has ``MESSAGE`` (with the traceback, if there is one), ``PRIORITY``,
    ``SYSLOG_IDENTIFIER``, ``CODE_FILE``, ``CODE_LINE`` and ``CODE_FUNC``; the record's fields under
    the names they have in JSON, in capitals, as in ``CHANNEL`` and ``THREAD_NAME``; and each custom
    field under its own name with ``EXTRA_`` in front; each is cut at 65,536 characters.  An entry
    that is too large for a datagram goes as a sealed file in memory.  What the journal does not
    take within *block_timeout* is dropped and counted: best effort.

    Args:
        application_name: The ``SYSLOG_IDENTIFIER``; ``None`` means the record's channel.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of ``MESSAGE``; ``None`` means the record's message as it is.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        address: Path of the journal's socket.
        fields: Names of the record's fields that are sent; ``None`` means all.
        block_timeout: Longest wait of a log call, in seconds.
        delay: Connect with the first record.

    Raises:
        OSError: There is no journal here (with *delay*, an error of the first record).
        ValueError: A record has no field of this name.
    """

    def __init__(
        self,
        application_name: str | None = None,
        level: Level = NOTSET,
        format_string: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        address: str | os.PathLike[str] = JOURNAL_SOCKET,
        fields: Iterable[str] | None = None,
        block_timeout: float = 0.005,
        delay: bool = False,
    ) -> None:
        Handler.__init__(self, level, filter, bubble)
        self.format_string = format_string
        self.application_name = application_name
        self.fields: tuple[str, ...] = FIELDS if fields is None else tuple(fields)
        for name in self.fields:
            if name not in FIELDS:
                raise ValueError(f"unknown field {name!r}; known: {', '.join(FIELDS)}")
        self._link = JournalLink(os.fspath(address), block_timeout)
        if not delay:
            self._link.open()

    def encode(self, record: LogRecord) -> bytes:
        """Return the entry of *record*."""
        severity = SyslogHandler.level_priority_map.get(record.level, SyslogHandler.LOG_WARNING)
        parts = [
            field("MESSAGE", self._text(record)),
            field("PRIORITY", str(severity)),
            field("SYSLOG_FACILITY", "1"),
        ]
        identifier = self.application_name or record.channel
        if identifier:
            parts.append(field("SYSLOG_IDENTIFIER", safe_str(identifier)))
        if record.filename is not None:
            parts.append(field("CODE_FILE", record.filename))
            parts.append(field("CODE_LINE", str(record.lineno)))
            parts.append(field("CODE_FUNC", str(record.func_name)))
        for name in self.fields:
            parts += self._fields_of(name, record)
        return b"".join(parts)

    def _fields_of(self, name: str, record: LogRecord) -> list[bytes]:
        if name == "extra":
            return [
                field(field_name(f"EXTRA_{safe_str(key)}"), parameter_text(value))
                for key, value in list(record.extra.items())
            ]
        if name == "time":
            moment = record.moment
            return [] if moment is None else [field("TIME", _clock.iso8601(moment))]
        if name in _MACHINERY:
            return []
        if name == "level_name":
            return [field("LEVEL_NAME", _level_name(record))]
        value: Any = record.wire_msg if name == "msg" else getattr(record, name)
        if value is None or value == () or value == {}:
            return []
        if isinstance(value, (dict, list, tuple)):
            value = encode_json(value)
        return [field(name.upper(), safe_str(value))]

    def _text(self, record: LogRecord) -> str:
        if self.formatter is not None:
            return safe_str(self.format(record))
        text = message_of(record)
        exception = record.formatted_exception
        return f"{text}\n{exception}" if exception else text

    def emit(self, record: LogRecord) -> None:
        """Send *record*, over a new connection if the journal has been restarted."""
        self._link.send(self.encode(record))

    def statistics(self) -> dict[str, int]:
        """Return counts: ``sent``; ``refused``, which the journal would not take; ``opened``."""
        return dict(self._link.counts)

    def close(self) -> None:
        """Close the socket; the next record opens it again."""
        link = self.__dict__.get("_link")
        if link is not None:
            link.close()


def _level_name(record: LogRecord) -> str:
    try:
        return record.level_name
    except LookupError:
        return str(record.level)


class JournalLink(UnixLink):
    """Sends entries to the journal's socket.

    Args:
        path: Path of the socket.
        block_timeout: Longest wait for the journal to take an entry, in seconds.
    """

    def __init__(self, path: str, block_timeout: float) -> None:
        super().__init__(path, block_timeout, (socket.SOCK_DGRAM,))

    def send(self, data: bytes) -> None:
        """Send *data*, as a file if it is too large for a datagram.

        Raises:
            OSError: The journal is not there.
        """
        try:
            super().send(data)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            descriptor = _sealed_file(data)
            try:
                self._send_file(descriptor)
            finally:
                os.close(descriptor)

    def _send_file(self, descriptor: int) -> None:
        sock = self.open()

        def send(data: bytes) -> object:
            return socket.send_fds(sock, [data], [descriptor])

        self._count(is_taken=self._has_taken(sock, b"", send))


def _sealed_file(data: bytes) -> int:
    """Return the descriptor of a file in memory that holds *data* and cannot be changed."""
    import fcntl

    descriptor = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        fcntl.fcntl(
            descriptor,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL,
        )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
