"""SMTP: where a mail server is, how it is spoken to securely, and how long it may take."""

from __future__ import annotations

import io
import smtplib
import ssl
import warnings
from collections.abc import Mapping, Sequence
from time import monotonic

from sprockets.logbook import _caller
from sprockets.logbook._typing import Any, TypeAlias

_caller.register(__file__)

Secure: TypeAlias = "bool | ssl.SSLContext | Sequence[str | None] | Mapping[str, str | None] | None"
ServerAddress: TypeAlias = "str | tuple[str, int] | None"


def checked_address(address: Any) -> ServerAddress:
    """Return *address* if it is one.

    Raises:
        TypeError: It is none.
    """
    if address is None or isinstance(address, str):
        return address
    if isinstance(address, Sequence) and len(address) == 2:
        return address[0], address[1]
    raise TypeError(f"server_addr must be a host, or a pair of host and port, got {address!r}")


def host_and_port(address: ServerAddress, *, secure: bool, starttls: bool) -> tuple[str, int]:
    """Return where *address* is, with the port that goes with the security.

    >>> host_and_port(None, secure=False, starttls=True)
    ('127.0.0.1', 25)
    >>> host_and_port("mail", secure=True, starttls=True)
    ('mail', 587)
    """
    if isinstance(address, tuple):
        return address
    port = smtplib.SMTP_PORT
    if secure:
        port = 587 if starttls else smtplib.SMTP_SSL_PORT
    return address or "127.0.0.1", port


def checked_secure(secure: Any) -> Secure:
    """Return *secure* if it is one of the forms that say how; key and certificate as a mapping.

    Raises:
        TypeError: It is none of them.
    """
    if secure is None or isinstance(secure, (bool, ssl.SSLContext)):
        return secure
    if isinstance(secure, Mapping):
        chain = {name: secure.get(name) for name in ("keyfile", "certfile")}
    elif isinstance(secure, (tuple, list)):
        if not secure:
            return True
        chain = dict(zip(("keyfile", "certfile"), secure, strict=False))
    else:
        raise TypeError(f"secure must be a bool or an ssl.SSLContext, got {secure!r}")
    warnings.warn(
        "key and certificate files in secure are deprecated; pass an ssl.SSLContext",
        DeprecationWarning,
        stacklevel=3,
    )
    return chain


def make_context(secure: Secure) -> ssl.SSLContext:
    """Return the context that *secure* asks for; it verifies, unless it is the caller's own."""
    if isinstance(secure, ssl.SSLContext):
        return secure
    context = ssl.create_default_context()
    if isinstance(secure, Mapping):
        context.load_cert_chain(secure.get("certfile") or "", secure.get("keyfile"))
    return context


def timed(base: Any, timeout: float) -> Any:
    """Return *base*, a class of ``smtplib``, with a time-out for each answer as a whole.

    That of a socket is for each piece of an answer, however small.  Something else than a class in
    its place is used as it is.

    Args:
        base: ``SMTP`` or ``SMTP_SSL``.
        timeout: Seconds.
    """
    if not isinstance(base, type):
        return base

    class Timed(base):  # type: ignore[misc]  # whatever smtplib has there
        def __init__(self, host: str, port: int, **options: Any) -> None:
            self.file: Any = None
            self._deadline = 0.0
            super().__init__(host, port, timeout=timeout, **options)

        def getreply(self) -> tuple[int, bytes]:
            self._deadline = monotonic() + timeout
            if self.file is None:
                self.file = io.BufferedReader(_Answer(self))
            try:
                reply: tuple[int, bytes] = super().getreply()
            finally:
                if self.sock is not None:
                    self.sock.settimeout(timeout)
            return reply

    return Timed


class _Answer(io.RawIOBase):
    """What a server answers, read until the deadline of its connection."""

    def __init__(self, con: Any) -> None:
        self._con = con

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self._con._deadline - monotonic()
        if seconds <= 0:
            raise TimeoutError("the mail server takes too long to answer")
        sock = self._con.sock
        sock.settimeout(seconds)
        received: int = sock.recv_into(buffer)
        return received
