"""Records on their way through a channel of execnet."""

from __future__ import annotations

from typing import Any

from sprockets.logbook import _caller, _fork
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._text import safe_repr
from sprockets.logbook.handlers._base import Filter, Handler
from sprockets.logbook.queues._batches import decode
from sprockets.logbook.queues._ordinary import facts_of
from sprockets.logbook.queues._subscriber import SubscriberBase, Timeout, checked_timeout
from sprockets.logbook.queues._wire import MalformedRecordError
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class ExecnetChannelHandler(Handler):
    """Sends records through a channel of execnet, in the process at its far end as a rule.

    A log call takes as long as the channel's ``send``, which waits while the connection takes
    nothing.  A forked child cannot use the channel of its parent, and drops its records.

    Args:
        channel: A channel of execnet; not closed here.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
    """

    def __init__(
        self,
        channel: Any,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        super().__init__(level, filter, bubble)
        self.channel = channel
        self._process = _fork.pid
        self._sent = 0
        self._dropped = 0

    def emit(self, record: LogRecord) -> None:
        """Send *record*.

        Raises:
            OSError: The channel is closed, or was made by the process that forked this one.
            TypeError: The message cannot be formatted.
        """
        try:
            self._send(facts_of(record))
        except BaseException:
            self._dropped += 1
            raise
        self._sent += 1

    def _send(self, facts: dict[str, Any]) -> None:
        if self._process != _fork.pid:
            # Both would write into one connection, and the other end understands neither.
            raise OSError(f"{self.channel!r} belongs to process {self._process}, not {_fork.pid}")
        try:
            self.channel.send(facts)
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - of a kind that only execnet has, before anything is sent
            self.channel.send(_sendable(facts))

    def statistics(self) -> dict[str, int]:
        """Return what became of the records: how many were ``sent``, how many ``dropped``."""
        return {"sent": self._sent, "dropped": self._dropped}


def _sendable(value: Any) -> Any:
    """Return *value* without what execnet refuses: lone surrogates, and numbers too long."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if type(value) is int:
        try:
            str(value)
        except ValueError:
            return safe_repr(value)
    if isinstance(value, dict):
        return {_sendable(key): _sendable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_sendable(item) for item in value)
    return value


class ExecnetChannelSubscriber(SubscriberBase):
    """Receives records through a channel of execnet, which says what it may carry: data only.

    It has ended once the channel is closed, or what runs at its far end has failed.

    Args:
        channel: A channel of execnet; not closed here.
    """

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._is_ended = False

    @property
    def is_ended(self) -> bool:
        """Whether nothing will come through the channel any more."""
        return self._is_ended

    def recv(self, timeout: Timeout = None) -> LogRecord | None:
        """Return the next record; None if there is none in time, or the channel has ended.

        Args:
            timeout: Seconds to wait at most; None means for ever, 0 not at all.

        Raises:
            ValueError: *timeout* is negative, or what came is no record.
            Exception: The channel's ``RemoteError``, once, with the traceback of the far end.
        """
        timeout = checked_timeout(timeout)
        if self._is_ended:
            return None
        try:
            data = self.channel.receive(timeout=timeout)
        except self.channel.TimeoutError:
            return None
        except EOFError:
            self._is_ended = True
            return None
        except self.channel.RemoteError:
            self._is_ended = True
            raise
        try:
            record = decode(data)
        except MalformedRecordError as error:
            self._count_malformed(data, error)
            raise
        self._received += 1
        return record
