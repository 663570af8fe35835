"""Handlers that hand records over to a broker: what they have in common."""

from __future__ import annotations

import json
from _thread import get_ident
from threading import Lock
from typing import Any, Final, Protocol

from sprockets.logbook import _caller, _fork
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.delivery import PartlyDelivered, PermanentError, Retry, Spool
from sprockets.logbook.delivery._ledger import Policy
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.queues._ordinary import encode_whole
from sprockets.logbook.queues._wire import MAX_BYTES, RecordIds
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_PATIENCE: Final = 0.1
"""Seconds for the farewell: what was sent has been confirmed, and nothing hangs on it."""
_ID_BEGINS: Final = b'"record_id":"'


class Link(Protocol):
    """An open connection to a broker, used by one thread at a time."""

    def send(self, items: list[bytes]) -> None:
        """Return once the broker has taken all *items*.

        Raises:
            OSError: It has not, or has not said so in time.
            PartlyDelivered: It has taken the first of them.
            PermanentError: It never takes some of them; the connection is of use still.
        """

    def close(self, patience: float) -> None:
        """Let go within *patience* seconds; raises nothing."""

    def abandon(self) -> None:
        """Let go in a forked child, without a word to the broker: the parent uses it still."""


class BrokerHandler(RemoteHandler):
    """Encodes records as JSON with a name each, and hands them over to a broker.

    Subclasses write :meth:`_connect`.

    Args:
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        policy: What to do beyond the bounds of memory; ``None`` means ``"spill"`` with a spool, and
            else ``"drop_oldest"``, which is counted and reported.
        retry: When to try again; ``None`` means every few seconds.
        spool: Where to keep what cannot be delivered; closed with the handler.
        **options: The rest of `RemoteHandler`'s.
    """

    pulls_information = False

    def __init__(
        self,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        policy: Policy | None = None,
        retry: Retry | None = None,
        spool: Spool | None = None,
        **options: Any,
    ) -> None:
        self._ids = RecordIds()
        self._forget_link()
        self._is_cut = False
        super().__init__(
            level,
            filter,
            bubble,
            policy=policy or ("drop_oldest" if spool is None else "spill"),
            retry=retry or Retry(initial=0.2, maximum=5.0),
            spool=spool,
            **options,
        )
        _fork.hold_at_fork(self)

    def _forget_link(self) -> None:
        self._link: Any = None
        self._link_lock = Lock()
        self._sender = 0

    def _connect(self) -> Link:
        """Return a new connection; raises OSError if there is none to be had."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it connects")

    def export_record(self, record: LogRecord) -> dict[str, Any]:
        """Return the facts of *record* that are sent; an override may add to them or leave out.

        Raises:
            TypeError: The message cannot be formatted.
        """
        return record.to_dict(json_safe=True)

    def encode(self, record: LogRecord) -> bytes:
        """Return *record* as one JSON object, its name last.

        Raises:
            ValueError: It is too large for any subscriber.
            TypeError: The message cannot be formatted.
        """
        if type(self).export_record is BrokerHandler.export_record:
            data = encode_whole(record, self._ids.next())
        else:
            facts = self.export_record(record)
            facts["record_id"] = facts.pop("record_id", None) or self._ids.next()
            data = json.dumps(facts, separators=(",", ":")).encode("ascii")
        if len(data) > MAX_BYTES:
            raise ValueError(f"a record of {len(data)} bytes, where at most {MAX_BYTES} are sent")
        return data

    def deliver(self, items: list[bytes]) -> None:
        """Hand *items* over, connecting if need be; return once the broker has taken them."""
        if self._sender == get_ident():
            # Only without the engine, which counts such records itself.
            raise RuntimeError(f"{type(self).__name__} logs to itself while it sends")
        with self._link_lock:
            self._sender = get_ident()
            try:
                if self._is_cut:
                    raise ConnectionAbortedError(f"the {type(self).__name__} is closed")
                self._send(items)
            finally:
                self._sender = 0
                if self._is_cut:
                    self._close_link()
        if self._is_cut:
            self.disconnect()

    def _send(self, items: list[bytes]) -> None:
        if self._link is None:
            self._link = self._connect()
        try:
            self._link.send(items)
        except PermanentError:
            raise
        except PartlyDelivered as error:
            self._close_link()
            if error.count == 0 and error.__cause__ is not None:
                raise error.__cause__ from None
            raise
        except BaseException:
            self._close_link()
            raise

    def _close_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close(_PATIENCE)

    def disconnect(self) -> None:
        """Close the connection, or have the thread do it that uses it."""
        if "_link_lock" not in self.__dict__:
            return
        self._is_cut = True
        if self._link_lock.acquire(blocking=False):
            try:
                self._close_link()
            finally:
                self._link_lock.release()

    @property
    def is_connected(self) -> bool:
        """Whether the connection was there when something was last sent."""
        return self._link is not None

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for: the child has a connection of its own."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Connect anew when there is something to send."""
        if self._link is not None:
            self._link.abandon()
        self._forget_link()


def name_of(item: bytes) -> str | None:
    """Return the name of the record that is *item*, as JSON spells it; ``None`` if it has none.

    >>> name_of(b'{"level":12,"record_id":"5c0f-1"}')
    '5c0f-1'
    """
    _, found, rest = item.rpartition(_ID_BEGINS)
    return rest[:-2].decode() if found and rest.endswith(b'"}') else None


def in_one_line(error: BaseException, length: int = 200) -> str:
    """Return the text of *error* so that it fits into a header: printable ASCII, cut."""
    text = f"{type(error).__name__}: {error}"[:length]
    return " ".join(text.encode("ascii", "backslashreplace").decode().split())
