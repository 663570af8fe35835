"""Messages in the journal of systemd, to be found by task and type.

``journalctl ELIOT_TASK=8c668cde-235b-4872-af4e-caea524bd1c0`` shows all that a task did, and
``--output cat`` shows the messages themselves, as JSON.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable
from socket import socket as Socket
from typing import Final

from sprockets.eliot._fields import (
    ACTION_STATUS,
    ACTION_TYPE,
    FAILED,
    MESSAGE_TYPE,
    TASK_UUID,
    TRACEBACK_MESSAGE,
    Message,
    safe_text,
)
from sprockets.eliot.json import encode
from sprockets.logbook.handlers._journald import JOURNAL_SOCKET, JournalLink, field

__all__ = ["JournaldDestination", "sd_journal_send"]

_CRITICAL, _ERROR, _INFO = b"2", b"3", b"6"

_BLOCK_TIMEOUT: Final = 0.005

# The journal drops fields with other names, and those that begin with an underscore, unsaid.
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class _RefusedError(Exception):
    """The journal did not take an entry in time."""


class _Link(JournalLink):
    """Raises an error for an entry that the journal does not take in time, and counts it too."""

    def send(self, data: bytes) -> None:
        try:
            super().send(data)
        except _RefusedError:
            raise BlockingIOError(
                errno.EAGAIN, "the journal takes nothing at the moment; entry dropped", self._path
            ) from None

    def _has_taken(self, sock: Socket, data: bytes, send: Callable[[bytes], object]) -> bool:
        if not super()._has_taken(sock, data, send):
            self._count(is_taken=False)
            # No OSError, after which it would connect anew and try again.
            raise _RefusedError
        return True


def _send(link: JournalLink, fields: dict[str, bytes]) -> None:
    for name in fields:
        if not _NAME.fullmatch(name):
            raise OSError(
                errno.EINVAL,
                f"no name of a field of the journal: {name!r:.80}; it takes A to Z, digits and"
                " underscores, a letter first, at most 64",
            )
    link.send(b"".join([field(name, value) for name, value in fields.items()]))


_default_link: Final = _Link(JOURNAL_SOCKET, _BLOCK_TIMEOUT)


def sd_journal_send(**fields: bytes) -> None:
    """Send an entry with these *fields* to the journal, whatever bytes and however many they are.

    Raises:
        OSError: There is no journal here, or it takes nothing; ``EINVAL`` if it would drop a field
            for its name, which is empty, say, or in small letters.
    """
    _send(_default_link, fields)


class JournaldDestination:
    """Sends messages to the journal of systemd, one entry each, in the thread that logs.

    An entry has ``MESSAGE``, the message as JSON; ``ELIOT_TASK`` and ``ELIOT_TYPE``;
    ``SYSLOG_IDENTIFIER``, the program's name; and ``PRIORITY``: 3 (error) for the end of an action
    that failed, 2 (critical) for a traceback, 6 (informational) for anything else.

    Args:
        address: Path of the journal's socket.
        block_timeout: Longest wait for the journal to take an entry, in seconds.

    Raises:
        OSError: No journal is reachable.  As a destination, also: it did not take the message.
    """

    def __init__(
        self,
        *,
        address: str | os.PathLike[str] = JOURNAL_SOCKET,
        block_timeout: float = _BLOCK_TIMEOUT,
    ) -> None:
        program = os.path.basename(sys.argv[0]) if sys.argv else ""
        self._identifier = os.fsencode(program)
        self._link = _Link(os.fspath(address), block_timeout)
        try:
            self._link.open()
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot reach the journal of systemd ({error.strerror}); is systemd-journald"
                " running here, and its socket there",
                os.fspath(address),
            ) from error

    def __call__(self, message: Message) -> None:
        """Send *message*.

        Raises:
            OSError: The journal is gone, or does not take it.
            ValueError: *message* contains itself.
        """
        kind = message.get(ACTION_TYPE)
        if kind is None:
            kind = message.get(MESSAGE_TYPE, "")
        _send(
            self._link,
            {
                "MESSAGE": encode(message),
                "ELIOT_TASK": _to_bytes(message.get(TASK_UUID, "")),
                "ELIOT_TYPE": _to_bytes(kind),
                "SYSLOG_IDENTIFIER": self._identifier,
                "PRIORITY": _priority_of(message),
            },
        )

    def statistics(self) -> dict[str, int]:
        """Return counts: ``sent``; ``refused``, which the journal would not take; ``opened``."""
        return dict(self._link.counts)

    def close(self) -> None:
        """Close the socket; the next message opens it again."""
        self._link.close()


def _priority_of(message: Message) -> bytes:
    if message.get(ACTION_STATUS) == FAILED:
        return _ERROR
    if message.get(MESSAGE_TYPE) == TRACEBACK_MESSAGE:
        return _CRITICAL
    return _INFO


def _to_bytes(value: object) -> bytes:
    return safe_text(value).encode("utf-8", "backslashreplace")
