"""Where the session bus is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from urllib.parse import unquote_to_bytes


def find_address(environ: Mapping[str, str]) -> str:
    """Return the address of the user's session bus.

    It is that of ``DBUS_SESSION_BUS_ADDRESS``, or the socket ``bus`` in ``XDG_RUNTIME_DIR``.

    Raises:
        ConnectionError: There is none.
    """
    address = environ.get("DBUS_SESSION_BUS_ADDRESS")
    if address:
        return address
    runtime = environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.exists(f"{runtime}/bus"):
        return f"unix:path={runtime}/bus"
    raise ConnectionError("there is no session bus: DBUS_SESSION_BUS_ADDRESS is not set")


def find_sockets(address: str, environ: Mapping[str, str]) -> list[bytes]:
    r"""Return the Unix sockets of *address*, in the order in which to try them.

    >>> find_sockets("unix:path=/tmp/a%20bus,guid=1f;unix:abstract=b", {})
    [b'/tmp/a bus', b'\x00b']

    Raises:
        ConnectionError: There are none.

    Source: D-Bus Specification 0.43, "Server Addresses".
    """
    found = list(_sockets(address, environ.get("XDG_RUNTIME_DIR")))
    if not found:
        raise ConnectionError(f"the session bus is at no Unix socket: {address[:200]!r}")
    return found


def _sockets(address: str, runtime: str | None) -> Iterator[bytes]:
    for one in address.split(";"):
        transport, _, rest = one.partition(":")
        if transport != "unix":
            continue
        pairs = dict(pair.partition("=")[::2] for pair in rest.split(","))
        if "path" in pairs:
            yield unquote_to_bytes(pairs["path"])
        elif "abstract" in pairs:
            yield b"\0" + unquote_to_bytes(pairs["abstract"])
        elif pairs.get("runtime") == "yes" and runtime:
            yield os.fsencode(f"{runtime}/bus")
