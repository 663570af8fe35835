"""Redis lists: records as flat JSON objects, for whoever reads such lists.

For records that must arrive once, and be dealt with, there is
`sprockets.logbook.queues._redis_streams`.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from threading import RLock
from time import monotonic
from typing import Any, Final, Literal, TypeAlias

from sprockets.logbook import _caller, _clock, _fork
from sprockets.logbook._json import encode
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.queues._redis_client import RedisConnection
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

PushMethod: TypeAlias = Literal["rpush", "lpush"]

_LEAST_CAPACITY: Final = 1_000
_UNBUFFERED_WAIT: Final = 1.0
"""Seconds that a log call waits at most for a push of its own."""
_POLL: Final = 0.02


class RedisHandler(RemoteHandler):
    """Pushes records onto a list of a Redis server, each as a JSON object.

    The object has the formatted ``message``, ``host``, the name of the ``level`` and the ``time``
    in UTC, then *extra_fields*, then the keyword arguments of the log call; the later replace the
    earlier.

    Records are collected, and pushed with one command when there are *flush_threshold* of them, and
    *flush_time* seconds after the first of them.  That goes on behind the caller's back: see
    `RemoteHandler`.  While the server is away they wait, the oldest being dropped beyond
    *capacity*, and counted.  A push whose answer was lost is done again, so records may be in the
    list twice; a list cannot tell.

    Args:
        host: Of the server.
        port: Of the server.
        key: The list; may be changed at any time.
        extra_fields: Of every object.
        flush_threshold: Records pushed together, at least 1.
        flush_time: Seconds that a record waits for others.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        password: ``None`` or ``False`` means none.
        bubble: Whether records go on to the next handler, as they do unless this is ``False``.
        context: Not used.
        push_method: ``"rpush"`` keeps the oldest record at the list's head, ``"lpush"`` the newest.
        timeout: Seconds for connecting, and for an answer.
        connection: Further options of ``redis.Redis``, such as ``db``, ``username`` or ``ssl``.
        capacity: Records in memory at most; by default ten times *flush_threshold*, and at least
            1,000.
        **options: Of `RemoteHandler`.

    Raises:
        MissingDependency: redis-py is not installed.
        ValueError: An argument is out of its range.
        redis.ConnectionError: The server cannot be reached.
        redis.AuthenticationError: It wants another password.
    """

    key: str
    extra_fields: dict[str, Any]
    lock: RLock
    """Held while records are pushed."""
    pulls_information = False

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 6379,
        key: str = "redis",
        extra_fields: dict[str, Any] | None = None,
        flush_threshold: int = 128,
        flush_time: float = 1,
        level: Level = NOTSET,
        filter: Filter | None = None,
        password: str | Literal[False] | None = False,
        bubble: bool = True,
        context: object = None,
        push_method: PushMethod = "rpush",
        *,
        timeout: float = 5.0,
        connection: Mapping[str, Any] | None = None,
        capacity: int | None = None,
        **options: Any,
    ) -> None:
        if push_method not in ("rpush", "lpush"):
            raise ValueError(f"push_method must be 'rpush' or 'lpush', got {push_method!r}")
        _check_threshold(flush_threshold)
        if flush_time < 0:
            raise ValueError(f"flush_time is seconds from 0 on, got {flush_time!r}")
        address = {"host": host, "port": port, "password": password or None}
        self._connection = RedisConnection(
            type(self).__name__,
            None,
            timeout,
            {**address, "decode_responses": True, **(connection or {})},
        )
        self._greet(bool(password))
        self.key = key
        self.extra_fields = dict(extra_fields or {})
        self.push_method: PushMethod = push_method
        self._host_name = platform.node()
        self._is_buffering = True
        self._trouble: Exception | None = None
        self.lock = RLock()
        _fork.hold_at_fork(self)
        super().__init__(
            level,
            filter,
            bubble,
            capacity=capacity or max(10 * flush_threshold, _LEAST_CAPACITY),
            batch_size=flush_threshold,
            batch_wait=flush_time,
            **options,
        )
        self.ready(RedisHandler)

    def _greet(self, has_password: bool) -> None:
        """Find out now what would otherwise be found out in the middle of the night."""
        import redis

        try:
            self._connection.client.ping()
        except (redis.AuthenticationError, redis.ResponseError) as error:
            self._connection.close()
            said = "the password is apparently wrong" if has_password else "it wants a password"
            raise redis.AuthenticationError(
                f"the Redis server refuses: {said}; it says {str(error)!r}"
            ) from error
        except BaseException:
            self._connection.close()
            raise

    @property
    def redis(self) -> Any:
        """The ``redis.Redis`` in use; it answers with text."""
        return self._connection.client

    @property
    def flush_threshold(self) -> int:
        """Records pushed together."""
        return self.delivery.batch_size

    @flush_threshold.setter
    def flush_threshold(self, value: int) -> None:
        self.delivery.batch_size = _check_threshold(value)

    @property
    def queue(self) -> list[str]:
        """What is in memory and not pushed, the oldest first, as it is now."""
        state = self.delivery._state
        return [item for item, _ in (*state.batch, *state.queue)]

    def disable_buffering(self) -> None:
        """Push what is waiting, and from now on every record at once.

        A log call then waits for its push, up to a second; if that fails, it is an error of this
        call, and the record is pushed later nevertheless.  Until a push succeeds again, no further
        call waits.
        """
        self._is_buffering = False
        self.delivery.batch_wait = 0.0
        self.flush(_UNBUFFERED_WAIT)
        self.delivery.batch_size = 1

    def encode(self, record: LogRecord) -> str:
        """Return the object for *record*."""
        moment = record.moment
        fields = {
            "message": self.format(record),
            "host": self._host_name,
            "level": record.level_name,
            "time": None if moment is None else _clock.iso8601(moment)[:-1].removesuffix(".000000"),
        }
        fields.update(self.extra_fields)
        fields.update(record.kwargs)
        return encode(fields)

    def emit(self, record: LogRecord) -> None:
        """Take *record*; without buffering, see that it is pushed."""
        super().emit(record)
        if self._is_buffering or self._trouble is not None:
            return
        deadline = monotonic() + _UNBUFFERED_WAIT
        while not self.flush(_POLL):
            trouble = self._trouble
            if trouble is not None:
                raise trouble
            if self.delivery.is_closed:
                return
            if monotonic() >= deadline:
                self._trouble = TimeoutError(f"no answer from Redis in {_UNBUFFERED_WAIT} s")
                raise self._trouble

    def deliver(self, items: list[str]) -> None:
        """Push *items* with one command."""
        try:
            with self.lock:
                client = self._connection.client
                push = client.rpush if self.push_method == "rpush" else client.lpush
                push(self.key, *items)
        except self._connection.errors as error:
            self._trouble = self._connection.translated(error)
            raise self._trouble from error
        self._trouble = None

    def disconnect(self) -> None:
        """Let go of the connections."""
        self._connection.close()

    def before_fork(self) -> None:
        """Nothing to wait for: the child starts empty."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start anew: nobody pushes here."""
        self.lock = RLock()
        self._trouble = None


def _check_threshold(value: int) -> int:
    if value < 1:
        raise ValueError(f"flush_threshold is a number of records from 1 on, got {value!r}")
    return value
