"""Authentication: who asks, and how that is known."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from tornado import httputil, web

Kind: TypeAlias = Literal["token", "session", "user", "anonymous"]
"""How somebody is known.

``"token"``: sent it along, which no other site can make a browser do.  ``"session"``: logged in.
``"user"``: a proxy or the application says who it is.  ``"anonymous"``: everybody is let in.
"""

Route: TypeAlias = tuple[str, type[web.RequestHandler]]

READ: Final = frozenset({"read"})
READ_AND_WRITE: Final = frozenset({"read", "write"})


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who is let in.

    Args:
        name: For history.
        scopes: What is allowed: ``read``, ``write``.
        kind: How it is known who it is.
    """

    name: str
    scopes: frozenset[str]
    kind: Kind

    @property
    def may_write(self) -> bool:
        """Whether tickets may be changed."""
        return "write" in self.scopes


class User:
    """Base of the ways in which people are known.

    Args:
        writers: Names of those who may change tickets; ``None`` for everybody who is let in.
    """

    has_login: bool = False
    """Whether people log in at a page of ours, which :meth:`routes` has then at ``/login``."""

    def __init__(self, *, writers: Collection[str] | None = None) -> None:
        if isinstance(writers, str):
            raise TypeError(f"writers are names, as in [{writers!r}], got {writers!r}")
        self.writers: frozenset[str] | None = None if writers is None else frozenset(writers)

    def find_name(self, request: httputil.HTTPServerRequest) -> str | None:
        """Return who sends *request*, or None if that cannot be said."""
        return None

    def scopes_of(self, name: str) -> frozenset[str]:
        """Return what *name* may do."""
        return READ_AND_WRITE if self.writers is None or name in self.writers else READ

    def routes(self) -> list[Route]:
        """Return further routes, under the path of the frontend."""
        return []


class CallableUser(User):
    """Asks a function, as that of the application in which the frontend is mounted.

    Args:
        function: Takes the request, returns a name or None.
        writers: As for `User`.
    """

    def __init__(
        self,
        function: Callable[[httputil.HTTPServerRequest], str | None],
        *,
        writers: Collection[str] | None = None,
    ) -> None:
        super().__init__(writers=writers)
        self._function = function

    def find_name(self, request: httputil.HTTPServerRequest) -> str | None:
        """Return what the function does."""
        return self._function(request) or None


class TrustedHeader(User):
    """Believes a proxy that has people log in, and says in a header who they are.

    The proxy must remove that header from what comes from outside.

    Args:
        header: Name of the header.
        proxies: Networks in which the proxy is, as in ``["10.0.0.0/8"]``: from anywhere else the
            header is not believed.  ``"unix"`` stands for whoever may connect to our unix socket.
        writers: As for `User`.

    Raises:
        ValueError: There are no proxies, or one is no network.
    """

    def __init__(
        self,
        header: str = "X-Forwarded-User",
        proxies: Iterable[str] = ("127.0.0.1", "::1"),
        *,
        writers: Collection[str] | None = None,
    ) -> None:
        super().__init__(writers=writers)
        if isinstance(proxies, str):
            raise TypeError(f"proxies are networks, as in [{proxies!r}], got {proxies!r}")
        self.header = header
        words = list(proxies)
        if not words:
            raise ValueError(
                f"whose {header} is believed? name the networks of the proxy, as in 10.0.0.0/8"
            )
        self._is_unix_believed = "unix" in words
        self._networks = [ipaddress.ip_network(word) for word in words if word != "unix"]

    def find_name(self, request: httputil.HTTPServerRequest) -> str | None:
        """Return what the header says, if it is there once and comes from the proxy."""
        names = request.headers.get_list(self.header)
        if len(names) != 1:
            return None
        name = names[0].strip()
        if not name or len(name) > 200 or not name.isprintable():
            return None
        return name if self._is_proxy(peer_of(request)) else None

    def _is_proxy(self, peer: str | None) -> bool:
        if peer is None:
            return False
        if peer == "unix":
            return self._is_unix_believed
        address = ipaddress.ip_address(peer)
        mapped = getattr(address, "ipv4_mapped", None)
        return any(
            each.version == network.version and each in network
            for each in filter(None, (address, mapped))
            for network in self._networks
        )


def peer_of(request: httputil.HTTPServerRequest) -> str | None:
    """Return the address at the other end of the connection itself, whatever headers say.

    Returns:
        The address; ``"unix"`` on a unix socket; ``None`` if it is not known, or gone.
    """
    connection: Any = request.connection
    stream = getattr(connection, "stream", None)
    sock = getattr(stream, "socket", None)
    try:
        peer = sock.getpeername() if sock is not None else None
    except OSError:
        return None
    if isinstance(peer, tuple):
        return str(peer[0]).partition("%")[0]
    return None if peer is None else "unix"


def is_loopback(address: str | None) -> bool:
    """Return whether *address*, as of :func:`peer_of`, is of this machine."""
    if address is None or address == "unix":
        return address is not None
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def host_of(netloc: str) -> str:
    """Return the host of ``host:port``, in lower case and without brackets.

    >>> host_of("[::1]:8000"), host_of("Example.org:80"), host_of("localhost")
    ('::1', 'example.org', 'localhost')
    """
    netloc = netloc.strip().lower()
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0]
    return netloc.partition(":")[0]
