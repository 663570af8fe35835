"""A client of a Redis server: its time limits, what its errors mean, and what a fork does to it."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

from sprockets._support.optional import optional
from sprockets.logbook import _caller, _fork

_caller.register(__file__)

_PASSING: Final = frozenset(
    (
        "BusyLoadingError",
        "ClusterDownError",
        "MasterDownError",
        "NoPermissionError",
        "OutOfMemoryError",
        "ReadOnlyError",
        "TryAgainError",
    )
)
"""Errors of redis-py that say something of the server's present state, by name."""
_PASSING_CODES: Final = ("BUSY ", "LOADING", "MISCONF", "NOAUTH", "NOREPLICAS", "OOM", "WRONGPASS")


class RedisConnection:
    """A client that is made when it is first used, and anew in a forked child.

    It does not try again by itself: who uses it knows how long a call may take.

    Args:
        needed_by: What the user asked for, as the error should call it.
        url: As redis-py takes it; ``None`` leaves the address to *options*.
        timeout: Seconds for connecting, and for an answer.
        options: Of ``redis.Redis``; they win over *url* and *timeout*.

    Raises:
        MissingDependency: redis-py is not installed.
        ValueError: *url* is none of Redis, or *timeout* is not above 0.
    """

    def __init__(
        self, needed_by: str, url: str | None, timeout: float, options: Mapping[str, Any]
    ) -> None:
        self._redis: Any = optional("redis", extra="redis", needed_by=needed_by)
        if not timeout > 0:
            raise ValueError(f"timeout is seconds above 0, got {timeout!r}")
        if url is not None:
            self._redis.connection.parse_url(url)
        self._url = url
        self._options: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0),
            # What answers look like is not to depend on the age of redis-py.
            "protocol": 2,
            **options,
        }
        self.errors: tuple[type[Exception], ...] = (self._redis.RedisError, OSError)
        """What a call may raise."""
        self._client: Any = None
        self._inherited: list[Any] = []
        self._lock = Lock()
        _fork.hold_at_fork(self)

    @property
    def client(self) -> Any:
        """A ``redis.Redis``; thread-safe, as redis-py makes them."""
        with self._lock:
            if self._client is None:
                if self._url is None:
                    self._client = self._redis.Redis(**self._options)
                else:
                    self._client = self._redis.Redis.from_url(self._url, **self._options)
            return self._client

    def close(self) -> None:
        """Let go of all connections, those in use too; twice is once."""
        client = self._client
        if client is not None:
            client.close()
            client.connection_pool.disconnect()

    def translated(self, error: Exception) -> Exception:
        """Return what *error* means to an engine: an outage is an `OSError`."""
        text = str(error).rpartition("caused error: ")[2] or type(error).__name__
        if isinstance(error, (OSError, self._redis.ConnectionError, self._redis.TimeoutError)):
            return ConnectionError(text)
        if type(error).__name__ in _PASSING or text.startswith(_PASSING_CODES):
            return ConnectionError(text)
        return RuntimeError(text)

    def before_fork(self) -> None:
        """Nothing to wait for: the child gets a client of its own."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start anew; the parent's client is kept, since nobody knows who holds its locks."""
        self._lock = Lock()
        self._inherited.append(self._client)
        self._client = None
