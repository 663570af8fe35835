"""Queues of kombu: what is known of a broker, connecting to it, and parting from it.

Whatever kombu and its transports raise while they talk to a broker is a ConnectionError afterwards:
they raise dozens of things, of libraries that they pick by the URI.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from sprockets._support.optional import MissingDependency, optional
from sprockets.logbook import _caller
from sprockets.logbook.queues._broker_handler import in_one_line

if TYPE_CHECKING:
    from kombu.simple import SimpleQueue

_caller.register(__file__)

# Of kombu, which says little about its types.
Connection: TypeAlias = Any

_PATIENCE: Final = 0.1
"""Seconds for closing what is broken."""
# A forked child must not close what it inherits: the closing would be the parent's.
_abandoned: list[object] = []


class Queues:
    """A broker, as its URI says, and one of its queues.

    Args:
        uri: As kombu takes it.
        queue: Names the queue.
        needed_by: What the user asked for.
        tls: Whether to encrypt, or with what, as kombu takes it; an ``amqps`` or ``rediss`` URI
            says so by itself.  Certificates are verified.
        arguments: Given to the broker when it makes the queue.
        timeout: Seconds to wait for the broker at most.
        heartbeat: Seconds after which a silent connection is dead; 0 is never.

    Raises:
        MissingDependency: kombu, or what it needs for this URI, is not installed.
        ValueError: *uri* is missing, or of no kind that kombu knows.
    """

    def __init__(
        self,
        uri: str | None,
        queue: str,
        *,
        needed_by: str,
        tls: bool | Mapping[str, Any],
        arguments: Mapping[str, Any] | None,
        timeout: float,
        heartbeat: float = 0,
    ) -> None:
        kombu = optional("kombu", extra="kombu", needed_by=needed_by)
        if not uri:
            raise ValueError(f"{needed_by} needs a uri, such as 'amqp://guest:guest@localhost//'")
        if timeout <= 0:
            raise ValueError(f"timeout must be more than 0 seconds, got {timeout!r}")
        self._kombu: Any = kombu
        self._uri = uri
        self.queue = queue
        self.arguments = dict(arguments or {})
        self.timeout = timeout
        self._heartbeat = heartbeat
        self._tls = _tls_options(uri, tls)
        scheme = uri.partition(":")[0]
        try:
            connection = self._make_connection()
            connection.get_transport_cls()
            self.shown: str = connection.as_uri()
            """The URI, without the password."""
        except ImportError as error:
            raise MissingDependency(
                f"{needed_by} needs a library for {scheme!r} ({error}); install it with: "
                f"pip install 'kombu[{scheme}]'",
                name=error.name,
            ) from error
        except (LookupError, ValueError) as error:
            raise ValueError(f"kombu knows no transport called {scheme!r}: {error}") from error

    def _make_connection(self) -> Connection:
        return self._kombu.Connection(
            self._uri,
            ssl=self._tls,
            connect_timeout=self.timeout,
            heartbeat=self._heartbeat,
        )

    def open(self) -> tuple[Connection, Any]:
        """Return an open connection, and a channel of it.

        Raises:
            ConnectionError: There is none to be had.
        """
        connection = self._make_connection()
        try:
            with self.failing(connection):
                # Each of the addresses once or twice; to try again is for somebody else.
                connection.ensure_connection(
                    max_retries=1 + self._uri.count(";"), interval_start=0, interval_step=0
                )
                sock = getattr(connection.connection, "sock", None)
                if sock is not None and not self._is_virtual(connection):
                    # Where nothing else is said, py-amqp would wait for an answer for ever.
                    sock.settimeout(self.timeout)
                return connection, connection.channel()
        except BaseException:
            collect(connection)
            raise

    @staticmethod
    def _is_virtual(connection: Connection) -> bool:
        return not hasattr(connection.connection, "heartbeat_tick")

    def make_queue(self, channel: Any, name: str) -> SimpleQueue:
        """Return the durable queue *name*, made if it is missing."""
        make: Any = optional("kombu.simple", extra="kombu", needed_by=name).SimpleQueue
        queue: SimpleQueue = make(channel, name, queue_args=self.arguments)
        return queue

    @contextlib.contextmanager
    def failing(self, connection: object) -> Iterator[None]:
        """Say of whatever goes wrong within, that it is the connection."""
        try:
            yield
        except Exception as error:
            raise ConnectionError(f"{self.shown}: {in_one_line(error)}") from error


def _tls_options(uri: str, tls: bool | Mapping[str, Any]) -> Any:
    scheme = urlsplit(uri.partition(";")[0]).scheme
    if isinstance(tls, Mapping):
        return dict(tls)
    if scheme == "rediss":
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    if tls or scheme == "amqps":
        # None: the host that the URI names.
        return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}
    return False


def collect(connection: Connection) -> None:
    """Close *connection* without a word."""
    with contextlib.suppress(Exception):
        connection.collect(_PATIENCE)


def part_from(connection: Connection, patience: float) -> None:
    """Close *connection*, waiting for the broker's farewell for *patience* seconds at most."""
    # Some transports finish what they wait for first, whatever time-out they have.
    thread = threading.Thread(
        target=_release, args=(connection, patience), name="logbook-kombu-close", daemon=True
    )
    try:
        thread.start()
    except RuntimeError:  # the interpreter is about to end
        collect(connection)
    else:
        thread.join(patience)


def _release(connection: Connection, patience: float) -> None:
    with contextlib.suppress(Exception):
        sock = getattr(connection.connection, "sock", None) if connection.connected else None
        if sock is not None:
            sock.settimeout(patience)
        connection.release()
    collect(connection)


def abandon(connection: Connection) -> None:
    """Forget *connection* in a forked child; only its file is closed, which the parent has too."""
    _abandoned.append(connection)
    with contextlib.suppress(Exception):
        connection.connection.sock.close()
