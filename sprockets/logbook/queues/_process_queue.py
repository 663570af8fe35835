"""A queue between processes that none of them can block, however it dies.

No lock is shared.  Each process that puts has a file of its own in memory, which it alone appends
to; the receiver was sent the file through a socket, and reads behind.  So what was put is the
kernel's before the call returns, and whoever is killed leaves at worst one record half written, at
the end of a file that nobody else writes to.
"""

from __future__ import annotations

import contextlib
import errno
import io
import multiprocessing.context
import multiprocessing.reduction
import os
import pickle
import select
import socket
from collections import deque
from queue import Empty, Full
from threading import RLock
from time import monotonic
from typing import Any, Final

from sprockets.logbook import _fork
from sprockets.logbook.queues._process_files import STEP, Announcement, Inbox, Segment
from sprockets.logbook.queues._wire import MAX_BYTES, MalformedRecordError

_FIRST_WAIT: Final = 1.0
"""Seconds that the first call of a process waits for the receiver to learn of it."""
_LOOK_INTERVAL: Final = 1.0
"""Seconds after which the receiver looks which processes are gone."""


class ProcessQueue:
    """Carries data, nothing executable, from any number of processes to one that receives.

    Hand it to processes as an argument of ``multiprocessing.Process``, or let them inherit it by
    fork; one process receives, the one that made it as a rule.  The calls are those of
    ``multiprocessing.Queue``.  Safe in threads and signal handlers.

    Args:
        max_bytes: Memory for what one process has put and nobody has got; beyond, putting raises
            ``queue.Full``.
    """

    def __init__(self, max_bytes: int = 64 << 20) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, got {max_bytes}")
        # Datagrams keep their borders everywhere; as a pair they are bounded by memory alone.
        receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        waking_end, wake_end = os.pipe()
        self._take(max_bytes, receiving.detach(), sending.detach(), waking_end, wake_end)

    def _take(self, max_bytes: int, *descriptors: int) -> None:
        self.max_bytes = max_bytes
        self._descriptors = descriptors
        receiving, sending, self._waking_end, self._wake_end = descriptors
        for descriptor in descriptors:
            os.set_blocking(descriptor, False)
            os.set_inheritable(descriptor, False)
        self._receiving = socket.socket(fileno=receiving)
        self._sending = socket.socket(fileno=sending)
        for each in (self._receiving, self._sending):
            each.setblocking(False)  # whatever the default time-out of sockets is
        self.is_closed: bool = False
        self._start_anew()
        _fork.hold_at_fork(self)

    def _start_anew(self) -> None:
        # A signal handler may log, or close this, in the middle of either.
        self._put_lock = RLock()
        self._get_lock = RLock()
        self._depth = 0
        self._set_aside: deque[bytes] = deque()
        self._sender = os.urandom(8)
        self._has_waited = False
        self._segments: list[Segment] = []
        self._inbox = Inbox(self._receiving)

    # -- process life

    def __getstate__(self) -> tuple[Any, ...]:
        multiprocessing.context.assert_spawning(self)
        share = multiprocessing.reduction.DupFd
        return self.max_bytes, *[share(descriptor) for descriptor in self._descriptors]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        max_bytes, *shared = state
        self._take(max_bytes, *[each.detach() for each in shared])

    def before_fork(self) -> None:
        """Do nothing: the child uses nothing of what is half done here."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Become another sender, and leave what came in to the parent."""
        for segment in self._segments:
            segment.close()
        self._inbox.close()
        self._start_anew()

    def close(self) -> None:
        """Put and get nothing more here; what was put remains for the receiver.

        Closing twice is closing once.  Other processes do not notice.
        """
        if self.is_closed:
            return
        self.is_closed = True
        self._wake()
        with self._get_lock, self._put_lock:
            self._let_go()

    def _let_go(self) -> None:
        if self._segments:
            self._segments[-1].end()
        for segment in self._segments:
            segment.close()
        self._segments.clear()
        self._inbox.close()
        self._receiving.close()
        self._sending.close()
        os.close(self._waking_end)
        os.close(self._wake_end)

    def join_thread(self) -> None:
        """Do nothing: there is no thread."""

    cancel_join_thread = join_thread

    def __del__(self) -> None:
        # Nobody else has it, so no lock is needed.
        if not self.__dict__.get("is_closed", True):
            self.is_closed = True
            try:
                self._let_go()
            except Exception:  # noqa: BLE001 - the interpreter may be half gone
                return

    def _check_open(self) -> None:
        if self.is_closed:
            raise ValueError(f"{self!r} is closed")

    # -- putting

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put *obj* like :meth:`put_nowait`: as it never waits for room, the rest is ignored."""
        self.put_nowait(obj)

    def put_nowait(self, obj: Any) -> None:
        """Put *obj*, which consists of dicts, lists, tuples, text, bytes, numbers and ``None``.

        The first call of a process waits, at most a second, if hundreds of processes were never
        heard of by the receiver; no other call waits.

        Raises:
            queue.Full: The receiver is behind by *max_bytes*.
            ValueError: The queue is closed, or *obj* is larger than 16 MiB.
        """
        data = pickle.dumps(obj, pickle.HIGHEST_PROTOCOL)
        if len(data) > MAX_BYTES:
            raise ValueError(f"{len(data)} bytes, where the queue takes at most {MAX_BYTES}")
        with self._put_lock:
            self._check_open()
            self._depth += 1
            try:
                if self._depth == 1:
                    self._append(data)
                else:
                    self._append_between(data)
            finally:
                self._depth -= 1
            self._wake()

    def _append(self, data: bytes) -> None:
        self._append_set_aside()
        self._segment_for(len(data)).append(data)
        self._append_set_aside()

    def _append_set_aside(self) -> None:
        while self._set_aside:
            data = self._set_aside[0]
            self._segment_for(len(data)).append(data)
            self._set_aside.popleft()

    def _append_between(self, data: bytes) -> None:
        """Append *data* in a signal handler that came in the middle of :meth:`_append`."""
        if self._segments and not self._segments[-1].is_ended:
            self._segments[-1].append(data)
        else:
            # One file ends and the next has not begun: the interrupted call does it.
            self._set_aside.append(data)

    def _segment_for(self, size: int) -> Segment:
        current = self._segments[-1] if self._segments else None
        if current is not None and not current.is_due():
            return current
        for segment in self._segments[:-1]:
            if segment.unread() == 0:
                self._segments.remove(segment)
                segment.close()
        if sum(segment.unread() for segment in self._segments) + size > self.max_bytes:
            raise Full(f"the receiver is behind by {self.max_bytes} bytes")
        if current is not None and not current.is_long():
            return current
        return self._next_segment(current)

    def _next_segment(self, current: Segment | None) -> Segment:
        following = Segment(min(STEP, self.max_bytes // 16))
        try:
            self._announce(following, may_wait=current is None and not self._has_waited)
        except OSError as error:
            following.close()
            if current is not None and error.errno in _NO_ROOM:
                return current  # which may as well become longer
            raise Full(f"the receiver does not know of this process: {error}") from error
        if current is not None:
            current.end()
        self._segments.append(following)
        return following

    def _announce(self, segment: Segment, may_wait: bool) -> None:
        message = Announcement(os.getpid(), self._sender).to_bytes()
        deadline = monotonic() + (_FIRST_WAIT if may_wait else 0.0)
        while True:
            try:
                socket.send_fds(self._sending, [message], [segment.descriptor])
            except OSError as error:
                remaining = deadline - monotonic()
                if error.errno not in _NO_ROOM or remaining <= 0:
                    self._has_waited = True
                    raise
                room = select.poll()
                room.register(self._sending, select.POLLOUT)
                room.poll(int(min(remaining, 0.05) * 1000) + 1)
            else:
                return

    def _wake(self) -> None:
        # A pipe that is full has woken the receiver already.
        with contextlib.suppress(OSError):
            os.write(self._wake_end, b"\0")

    # -- getting

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return what was put next; what one process put comes in its order.

        Args:
            block: Whether to wait.
            timeout: Seconds to wait at most; None means for ever.

        Raises:
            queue.Empty: Nothing came in time.
            ValueError: The queue is closed, also while this waits.
            MalformedRecordError: What came is no data; the next call goes on behind it.
        """
        deadline = None if timeout is None else monotonic() + timeout
        if not self._get_lock.acquire(block, -1 if timeout is None or not block else timeout):
            raise Empty
        try:
            while True:
                self._check_open()
                data = self._next()
                if isinstance(data, MalformedRecordError):
                    raise data
                if data is not None:
                    return loads(data)
                remaining = None if deadline is None else deadline - monotonic()
                if not block or (remaining is not None and remaining <= 0):
                    raise Empty
                self._wait(remaining)
        except OSError:
            self._check_open()  # by a signal handler, meanwhile
            raise
        finally:
            self._get_lock.release()

    def _next(self) -> bytes | MalformedRecordError | None:
        data = self._inbox.pop()
        if data is None:
            # In this order: what comes after the look at the files wakes again.
            with contextlib.suppress(BlockingIOError):
                os.read(self._waking_end, 1 << 16)
            self._inbox.look()
            data = self._inbox.pop()
        return data

    def _wait(self, remaining: float | None) -> None:
        seconds = _LOOK_INTERVAL if remaining is None else min(remaining, _LOOK_INTERVAL)
        ready = select.poll()
        ready.register(self._waking_end, select.POLLIN)
        ready.register(self._receiving.fileno(), select.POLLIN)
        # Rounded up: a wait that ends too early is a busy one.
        if not ready.poll(int(seconds * 1000) + 1):
            self._inbox.part_from_the_dead()

    def get_nowait(self) -> Any:
        """Return what was put next, or raise ``queue.Empty``."""
        return self.get(False)

    def empty(self) -> bool:
        """Return whether :meth:`get` would have to wait now."""
        with self._get_lock:
            self._check_open()
            data = self._next()
            if data is not None:
                self._inbox.push_back(data)
            return data is None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}>"


_NO_ROOM: Final = (errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS)


class _DataUnpickler(pickle.Unpickler):
    """Reads data and nothing else: whatever names a class or a function is refused."""

    def find_class(self, module: str, name: str, /) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is no data")


def loads(data: bytes) -> Any:
    """Return the data that *data*, a pickle, describes; nothing that it names is imported.

    Raises:
        MalformedRecordError: It is no pickle, or one of something else than data.
    """
    try:
        return _DataUnpickler(io.BytesIO(data)).load()
    except Exception as error:
        raise MalformedRecordError(f"not from put_nowait ({error}): {data[:200]!r}") from error
