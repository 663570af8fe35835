"""The way of the parent's own records to its collector: a socket pair, and no thread.

The parent forks, so its records cannot go by a handler that has threads.  They go as frames, four
bytes with a length and then JSON; for each one dispatched, a byte comes back.  What that has not
come for is sent again to the next collector.  The last frame says: stop, and in how many seconds.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from threading import RLock
from time import monotonic
from typing import Final

from sprockets.logbook import Handler, LogRecord, StreamHandler, StringFormatter, _fork
from sprockets.logbook.delivery import Spool
from sprockets.logbook.queues._subscriber import ClosedError, SubscriberBase, Timeout
from sprockets.logbook.queues._wire import (
    MalformedRecordError,
    RecordIds,
    decode_record,
    encode_record,
)

_LENGTH: Final = struct.Struct(">I")
_MAX_WAITING: Final = 10_000
_CHUNK: Final = 1 << 16
_ADOPT_INTERVAL: Final = 0.1
_AT_ONCE: Final = 500
_STOP: Final = b"stop "


class ParentHandler(Handler):
    """Sends the parent's records to the collector, and keeps each until it was dispatched there.

    Never waits.  Without a collector, records are kept, up to a number, and shown on standard error
    as well: one of them may say why there is none.  In a forked child that is all it does.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ids = RecordIds()
        self._lock = RLock()
        self._channel: socket.socket | None = None
        self._sent: deque[bytes] = deque()
        self._unsent: deque[bytes] = deque()
        self._rest = b""
        self.dropped: int = 0
        """Records that were not kept for want of room."""
        self._shown = StringFormatter(StreamHandler.default_format_string)
        self._pid = _fork.process_id()

    def emit(self, record: LogRecord) -> None:
        """Send *record*, or keep it."""
        if self._pid != _fork.process_id():
            self._show(record)
            return
        with self._lock:
            if len(self._sent) + len(self._unsent) >= _MAX_WAITING:
                # The oldest that nobody has a part of yet.
                (self._unsent or self._sent).popleft()
                self.dropped += 1
            line = encode_record(record, self._ids.next())
            self._unsent.append(_LENGTH.pack(len(line)) + line)
            self.pump()
            if self._channel is None:
                self._show(record)

    def _show(self, record: LogRecord) -> None:
        if sys.stderr is not None:
            sys.stderr.write(f"{self._shown(record, self)}\n")
            sys.stderr.flush()

    def attach(self, channel: socket.socket) -> None:
        """Send to *channel* from now on, what the last one had not dispatched first."""
        with self._lock:
            channel.setblocking(False)
            self._channel = channel
            self._rest = b""
            self._unsent.extendleft(reversed(self._sent))
            self._sent.clear()
            self.pump()

    def detach(self) -> None:
        """Keep what comes, until there is another channel."""
        self._channel = None

    @property
    def waiting(self) -> int:
        """Records that are not dispatched yet."""
        return len(self._sent) + len(self._unsent)

    def pump(self) -> None:
        """Send and receive what can be without waiting."""
        with self._lock:
            channel = self._channel
            if channel is None:
                return
            try:
                self._receive(channel)
                self._send(channel)
            except BlockingIOError:
                return
            except OSError:
                # Its end is noticed by who started it.
                self._channel = None

    def _receive(self, channel: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := channel.recv(_CHUNK):
                for _ in data:
                    if self._sent:
                        self._sent.popleft()

    def _send(self, channel: socket.socket) -> None:
        while self._rest or self._unsent:
            if not self._rest:
                self._rest = self._unsent.popleft()
                self._sent.append(self._rest)
            self._rest = self._rest[channel.send(self._rest) :]


def stop_frame(seconds: float) -> bytes:
    """Return what tells a collector to end within *seconds*."""
    text = b"%s%.3f" % (_STOP, seconds)
    return _LENGTH.pack(len(text)) + text


class ParentSubscriber(SubscriberBase):
    """Receives the parent's records, in the collector, and what else the parent has to say.

    Args:
        channel: From the parent.
        alive: At its end the parent and all workers are gone.
    """

    on_stop: Callable[[float | None], object] | None = None
    """Called when the collector is to end, with the seconds that it has, if that is known."""

    def __init__(self, channel: socket.socket, alive: int) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._waited_for: list[int] = [channel.fileno(), alive]
        self._alive = alive
        self._data = bytearray()
        self._owed = 0
        self._is_parent_gone = False

    def recv(self, timeout: Timeout = None) -> LogRecord | None:
        """Return the next record; None if there is none in time.

        Args:
            timeout: Seconds to wait at most; None means for ever, 0 not at all.
        """
        self._pay()
        record = self._next()
        if record is None:
            ready, _, _ = select.select(self._waited_for, [], [], timeout)
            if self._alive in ready:
                self._waited_for.remove(self._alive)
                self._stop(None)
            self._read()
            record = self._next()
        return record

    def _stop(self, seconds: float | None) -> None:
        if self.on_stop is not None:
            self.on_stop(seconds)

    def _read(self) -> None:
        if self._is_parent_gone:
            return
        try:
            data = self._channel.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # Its workers end, too; what they have to say is still to come.
            self._is_parent_gone = True
            self._waited_for.remove(self._channel.fileno())
        self._data += data

    def _next(self) -> LogRecord | None:
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            end = _LENGTH.size + length
            if len(self._data) < end:
                return None
            line = bytes(self._data[_LENGTH.size : end])
            del self._data[:end]
            if line.startswith(_STOP):
                self._stop(float(line.removeprefix(_STOP)))
                continue
            try:
                record = decode_record(line)
            except MalformedRecordError as error:
                self._owed += 1
                self._count_malformed(line, error)
                continue
            self._received += 1
            return record
        return None

    def acknowledge(self, record: LogRecord) -> None:
        """Tell the parent that *record* has been dealt with."""
        self._owed += 1
        self._pay()

    def _pay(self) -> None:
        while self._owed and not self._is_parent_gone:
            try:
                self._owed -= self._channel.send(b"." * min(self._owed, _CHUNK))
            except BlockingIOError:
                return
            except OSError:
                self._is_parent_gone = True


class SpoolSubscriber(SubscriberBase):
    """Receives what workers that are gone have left in the spool.

    Args:
        spool: Whose folder is the workers'.
        is_new: Called with the name of a record; answers false if it has come another way.
        clock: Returns the current time in seconds; never goes backwards.
    """

    def __init__(
        self,
        spool: Spool,
        is_new: Callable[[str | None], bool],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._spool = spool
        self._is_new = is_new
        self._clock = clock
        self._adopt_at = float("-inf")
        self._items: deque[bytes] = deque()
        self._done = 0
        self._is_closed = False

    def recv(self, timeout: Timeout = None) -> LogRecord | None:
        """Return the next record that was left, None if there is none; never waits.

        Args:
            timeout: Of no effect.

        Raises:
            OSError: The folder cannot be read.
        """
        if self._is_closed:
            raise ClosedError("the spool is closed")
        while self._items or self._refill():
            line = self._items.popleft()
            try:
                record = decode_record(line)
            except MalformedRecordError as error:
                self._done += 1
                self._count_malformed(line, error)
                continue
            if not self._is_new(record.__dict__.get("record_id")):
                self._done += 1
                continue
            self._received += 1
            return record
        return None

    def _refill(self) -> bool:
        """Read more; return whether there is any."""
        self._forget()
        if self._clock() >= self._adopt_at:
            self._adopt_at = self._clock() + _ADOPT_INTERVAL
            self._spool.adopt()
        if len(self._spool):
            self._items.extend(self._spool.take(_AT_ONCE))
        return bool(self._items)

    def acknowledge(self, record: LogRecord) -> None:
        """Forget *record*, the last that was returned, soon."""
        self._done += 1

    def _forget(self) -> None:
        done, self._done = self._done, 0
        if done:
            self._spool.done(done)

    def close(self) -> None:
        """Let go of the folder; what is left stays there."""
        if not self._is_closed:
            self._is_closed = True
            self._forget()
            self._spool.close()
