"""The sending end of the reliable way through ZeroMQ: batches out, acknowledgements back.

A message out is one frame: a line of ``batch`` and a number, in 16 hexadecimal digits, and then
lines of JSON.  One back is ``ack`` and the number of a batch whose records are all dispatched.
What has not been acknowledged when the connection breaks is sent again over the next one, so the
receiver tells by their names which records it has had.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from sprockets.logbook.delivery import PartlyDelivered
from sprockets.logbook.queues._batches import split_batch
from sprockets.logbook.queues._wire import MAX_BYTES

if TYPE_CHECKING:
    import zmq

BATCH: Final = b"batch "
ACK: Final = b"ack "
NUMBER_LENGTH: Final = 16
MAX_MESSAGE: Final = MAX_BYTES + 100
"""Bytes of a batch at most: those of a single record, and a little."""

# Each message takes a turn with the threads that log, which may be five milliseconds: not too few.
_LINES: Final = 1_000
_BYTES: Final = 1 << 20
_MAX_UNDER_WAY: Final = 64
"""Batches that ZeroMQ holds at most."""
_SLICE_MS: Final = 50
_CONNECT_TIMEOUT: Final = 1.0
"""Seconds after which there is nobody."""


class Link:
    """A connection to one subscriber, made again whenever it breaks.

    Used by one thread at a time.

    Args:
        context: Makes the sockets.
        uri: Whom to connect to.
        timeout: Seconds without any acknowledgement after which :meth:`send` gives up.
        heartbeat: Seconds between two heartbeats; without an answer to three the peer is dead.
        options: Further options of the socket, by name.
        is_cut: Asked whether to give up.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        uri: str,
        *,
        timeout: float,
        heartbeat: float,
        options: dict[str, Any],
        is_cut: Callable[[], bool],
    ) -> None:
        import zmq
        from zmq.utils.monitor import recv_monitor_message

        self._zmq = zmq
        self._recv_monitor_message: Callable[..., Any] = recv_monitor_message
        self._uri = uri
        self._timeout = timeout
        self._is_cut = is_cut
        self._numbers = itertools.count(1)
        self._under_way: dict[bytes, int] = {}
        self.is_connected = False
        self.resent = 0
        self._refusal: str | None = None
        self._socket: zmq.Socket[Any] = context.socket(zmq.DEALER)
        self._monitor: zmq.Socket[Any] | None = None
        try:
            # Nothing is given to a connection that is not made yet.
            self._socket.setsockopt(zmq.IMMEDIATE, 1)
            # Whatever matters has been acknowledged, or is sent again.
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.SNDHWM, _MAX_UNDER_WAY)
            self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
            self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
            set_heartbeat(zmq, self._socket, heartbeat)
            for name, value in options.items():
                setattr(self._socket, name, value)
            self._monitor = self._socket.get_monitor_socket()
            self._poller = zmq.Poller()
            self._poller.register(self._monitor, zmq.POLLIN)
            self._socket.connect(uri)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the sockets; closing twice is closing once."""
        if self._monitor is not None and not self._socket.closed:
            self._socket.disable_monitor()
            self._monitor.close()
        self._socket.close()

    def abandoned(self) -> tuple[object, ...]:
        """Return what a forked child must not touch."""
        return self._socket, self._monitor, self._poller

    def send(self, lines: list[bytes]) -> None:
        """Send *lines*, and return when all have been acknowledged.

        Raises:
            PartlyDelivered: Those from the beginning so far; from the error that follows.
            ConnectionError: Nobody is there, or who is there refuses us.
            TimeoutError: There is somebody, who acknowledges nothing any more.
        """
        pieces = list(split_batch(lines, _LINES, _BYTES))
        try:
            self._send(_Pieces([b"\n".join(piece) for _, piece in pieces]))
        except _GaveUp as gave_up:
            if gave_up.prefix:
                done = pieces[gave_up.prefix - 1][0]
                raise PartlyDelivered(done) from gave_up.error
            raise gave_up.error from None

    def _send(self, pieces: _Pieces) -> None:
        zmq = self._zmq
        heard_at = monotonic()
        self._under_way.clear()
        while not pieces.are_done:
            # What is given to a connection whose end is known, ZeroMQ loses in silence.
            may_send = self.is_connected and pieces.waiting
            wants = zmq.POLLIN | (zmq.POLLOUT if may_send else 0)
            self._poller.register(self._socket, wants)
            ready = dict(self._poller.poll(_SLICE_MS))
            if self._is_cut():
                raise _GaveUp(pieces.prefix, ConnectionAbortedError(f"{self._uri}: closed"))
            if self._monitor in ready:
                self._note_events(pieces)
            events = ready.get(self._socket, 0)
            if events & zmq.POLLIN and self._take_acks(pieces):
                heard_at = monotonic()
            if events & zmq.POLLOUT and self.is_connected:
                self._fill(pieces)
            error = self._trouble(monotonic() - heard_at)
            if error is not None:
                raise _GaveUp(pieces.prefix, error)

    def _fill(self, pieces: _Pieces) -> None:
        while pieces.waiting:
            index = pieces.waiting[0]
            number = b"%016x" % next(self._numbers)
            try:
                self._socket.send(
                    b"%b%b\n%b" % (BATCH, number, pieces.payloads[index]), self._zmq.NOBLOCK
                )
            except self._zmq.Again:
                return
            self._under_way[number] = index
            pieces.waiting.popleft()

    def _take_acks(self, pieces: _Pieces) -> bool:
        is_heard = False
        while True:
            try:
                frames = self._socket.recv_multipart(self._zmq.NOBLOCK)
            except self._zmq.Again:
                return is_heard
            if frames[0].startswith(ACK):
                # One from before has no number here any more.
                index = self._under_way.pop(frames[0][len(ACK) :], None)
                if index is not None:
                    is_heard = True
                    pieces.acknowledge(index)

    def _note_events(self, pieces: _Pieces) -> None:
        zmq = self._zmq
        while self._monitor is not None and self._monitor.poll(0):
            event = self._recv_monitor_message(self._monitor, zmq.NOBLOCK)
            kind = event["event"]
            if kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.is_connected = True
                self._refusal = None
            elif kind == zmq.EVENT_DISCONNECTED:
                self.is_connected = False
                # A late acknowledgement of theirs still counts.
                again = set(self._under_way.values())
                self.resent += pieces.send_again(again)
            elif kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self._refusal = f"our key is refused (status {event['value']})"
            elif kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                self._refusal = (
                    f"no agreement on encryption (event {event['value']:#x}); both sides need "
                    "keys, or none does"
                )
            elif kind == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                self._refusal = "the handshake fails; is that the server's key?"

    def _trouble(self, silence: float) -> OSError | None:
        if not self.is_connected:
            if silence < min(_CONNECT_TIMEOUT, self._timeout):
                return None
            if self._refusal is not None:
                return ConnectionRefusedError(f"{self._uri}: {self._refusal}")
            return ConnectionError(f"nobody receives at {self._uri}")
        if silence < self._timeout:
            return None
        return TimeoutError(f"{self._uri} has acknowledged nothing for {self._timeout:.3g} s")


class _GaveUp(Exception):
    def __init__(self, prefix: int, error: OSError) -> None:
        super().__init__(prefix, error)
        self.prefix = prefix
        self.error = error


class _Pieces:
    """What has been acknowledged of some payloads, and which are to be sent."""

    def __init__(self, payloads: list[bytes]) -> None:
        self.payloads = payloads
        self.waiting = deque(range(len(payloads)))
        self._done = [False] * len(payloads)
        self._missing = len(payloads)

    @property
    def are_done(self) -> bool:
        return not self._missing

    @property
    def prefix(self) -> int:
        """How many from the beginning are acknowledged."""
        return len(self._done) if self.are_done else self._done.index(False)

    def acknowledge(self, index: int) -> None:
        if not self._done[index]:
            self._done[index] = True
            self._missing -= 1

    def send_again(self, indices: set[int]) -> int:
        again = sorted(index for index in indices if not self._done[index])
        again = [index for index in again if index not in self.waiting]
        self.waiting.extendleft(reversed(again))
        return len(again)


def set_heartbeat(zmq: Any, socket: zmq.Socket[Any], heartbeat: float) -> None:
    """Have *socket* ask every *heartbeat* seconds whether its peers are alive; 0 is never."""
    milliseconds = int(heartbeat * 1000)
    socket.setsockopt(zmq.HEARTBEAT_IVL, milliseconds)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * milliseconds)
    # Tells the peer after which silence of ours it is to give us up.
    socket.setsockopt(zmq.HEARTBEAT_TTL, min(3 * milliseconds, 6_553_500))
