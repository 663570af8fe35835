"""Sockets: bound once, in the parent, before anything is forked."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import stat
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final

from sprockets.http._settings import Options

_FIRST_DESCRIPTOR: Final = 3  # SD_LISTEN_FDS_START


class BindError(OSError):
    """The service cannot listen where it was told to; the text says where and why."""


class Listener:
    """The sockets a service listens on, and what to remove when it stops.

    Args:
        sockets: Bound and listening, non-blocking.
        path: Of the unix socket that :meth:`close` removes, if there is one.
    """

    def __init__(self, sockets: list[socket.socket], path: str | None = None) -> None:
        self.sockets: list[socket.socket] = sockets
        self._path = path
        self._owner = os.getpid()
        self._identity = _identity(path) if path else None

    @property
    def port(self) -> int | None:
        """The TCP port that was really bound, or None where there is none."""
        for each in self.sockets:
            if each.family in (socket.AF_INET, socket.AF_INET6):
                port: int = each.getsockname()[1]
                return port
        return None

    def describe(self) -> str:
        """Say where the service listens: ``port 8000``, or ``unix socket /run/shop.sock``."""
        if self.port is not None:
            return f"port {self.port}"
        names = [each.getsockname() for each in self.sockets]
        return "unix socket " + ", ".join(os.fsdecode(name) or "(unnamed)" for name in names)

    def close(self) -> None:
        """Close the sockets, and remove the unix socket if this process made it."""
        for each in self.sockets:
            each.close()
        self.sockets = []
        path, self._path = self._path, None
        # Another instance may have put its own socket there in the meantime: leave that alone.
        if path and os.getpid() == self._owner and _identity(path) == self._identity:
            with contextlib.suppress(OSError):
                os.unlink(path)


def listen(options: Options, environ: MutableMapping[str, str] | None = None) -> Listener:
    """Return the sockets that *options* ask for, or that systemd hands over.

    Args:
        options: Where to listen.
        environ: Where systemd says what it hands over; those variables are removed, so that no
            child process takes them for its own.

    Raises:
        BindError: The address is taken, unknown or not ours to use.

    Source: systemd, sd_listen_fds(3).
    """
    handed_over = _take_over(os.environ if environ is None else environ)
    if handed_over:
        return Listener(handed_over)
    if options.unix_socket is not None:
        return _listen_unix(options.unix_socket, options.unix_socket_mode, options.backlog)
    return _listen_tcp(options)


def _take_over(environ: MutableMapping[str, str]) -> list[socket.socket]:
    count, pid = environ.get("LISTEN_FDS", ""), environ.get("LISTEN_PID", "")
    if not count.isdigit() or pid != str(os.getpid()):
        return []
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    found = []
    for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count)):
        try:
            each = socket.socket(fileno=descriptor)
        except OSError as error:
            raise BindError(
                error.errno, f"descriptor {descriptor} handed over by systemd is no socket"
            ) from error
        each.setblocking(False)
        os.set_inheritable(descriptor, False)
        found.append(each)
    return found


def _listen_tcp(options: Options) -> Listener:
    where = f"{options.address or '*'}:{options.port}"
    try:
        addresses = socket.getaddrinfo(
            options.address or None,
            options.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE | (socket.AI_ADDRCONFIG if options.address else 0),
        )
    except OSError as error:
        raise BindError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
    except UnicodeError as error:  # what can be no name is not even looked up
        raise BindError(
            errno.EADDRNOTAVAIL, f"cannot listen on {where}: {options.address!r} is no name"
        ) from error
    sockets: list[socket.socket] = []
    port = options.port
    try:
        # The same address may be found twice, and 127.0.0.1 for both localhost and its alias.
        for family, kind, protocol, _, address in dict.fromkeys(addresses):
            try:
                each = socket.socket(family, kind, protocol)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT:  # a kernel without IPv6
                    continue
                raise
            sockets.append(each)
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if options.reuse_port:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                # Else it takes the IPv4 port too, and our own second bind fails.
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            place: Any = (address[0], port, *address[2:])
            try:
                each.bind(place)
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL and family == socket.AF_INET6:
                    sockets.pop().close()  # a machine without an IPv6 loopback
                    continue
                raise
            each.listen(options.backlog)
            # Port 0: whatever the first socket got, the others take too.
            port = port or each.getsockname()[1]
    except OSError as error:
        for each in sockets:
            each.close()
        hint = "; another process listens there" if error.errno == errno.EADDRINUSE else ""
        raise BindError(
            error.errno, f"cannot listen on {where}: {os.strerror(error.errno or 0)}{hint}"
        ) from error
    if not sockets:
        raise BindError(errno.EADDRNOTAVAIL, f"cannot listen on {where}: no such address here")
    return Listener(sockets)


def _listen_unix(path: str, mode: int | None, backlog: int) -> Listener:
    each = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    each.setblocking(False)
    try:
        _remove_stale(path)
        # Nobody may connect before the permissions are what they should be.
        with _umask(0o777 & ~mode) if mode is not None else contextlib.nullcontext():
            each.bind(path)
        each.listen(backlog)
    except OSError as error:
        each.close()
        if isinstance(error, BindError):
            raise
        raise BindError(
            error.errno, f"cannot listen on unix socket {path}: {error.strerror or error}"
        ) from error
    return Listener([each], path)


def _remove_stale(path: str) -> None:
    """Remove what a service that was killed left behind; never what somebody listens on."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise BindError(errno.EEXIST, f"cannot listen on unix socket {path}: a file is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except OSError:  # full, or slow: somebody lives there
            pass
    raise BindError(
        errno.EADDRINUSE, f"cannot listen on unix socket {path}: another process listens there"
    )


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def make_ssl_context(given: ssl.SSLContext | Mapping[str, Any] | None) -> ssl.SSLContext | None:
    """Return a server's context for *given*, reading its files now.

    Args:
        given: A context, which is returned as it is, or a mapping with ``certfile`` and, where they
            differ from the defaults, ``keyfile``, ``password``, ``ca_certs``, ``cert_reqs``,
            ``ciphers``.

    Raises:
        ValueError: A file is missing or does not fit the others, or a key is unknown.
    """
    if given is None or isinstance(given, ssl.SSLContext):
        return given
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificates(context, given)
    return context


def load_certificates(context: ssl.SSLContext, given: Mapping[str, Any]) -> None:
    """Read the files that *given* names into *context*; connections made later use them.

    Raises:
        ValueError: As for :func:`make_ssl_context`; *context* is as it was.
    """
    # OpenSSL lets go of what it has before it finds that the new does not fit: so try elsewhere.
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), given)
    _load(context, given)


def _load(context: ssl.SSLContext, given: Mapping[str, Any]) -> None:
    known = {"certfile", "keyfile", "password", "ca_certs", "cert_reqs", "ciphers"}
    if unknown := set(given) - known:
        raise ValueError(
            f"ssl_options: unknown {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}"
        )
    if "certfile" not in given:
        raise ValueError("ssl_options: certfile is missing")
    try:
        context.load_cert_chain(given["certfile"], given.get("keyfile"), given.get("password"))
        if given.get("ca_certs") is not None:
            context.load_verify_locations(given["ca_certs"])
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(
            str(given[key]) for key in ("certfile", "keyfile", "ca_certs") if key in given
        )
        raise ValueError(f"ssl_options: cannot use {files}: {error}") from error
    if given.get("cert_reqs") is not None:
        context.verify_mode = given["cert_reqs"]
    if given.get("ciphers") is not None:
        try:
            context.set_ciphers(given["ciphers"])
        except ssl.SSLError as error:
            raise ValueError(f"ssl_options: cannot use {given['ciphers']!r}: {error}") from error
