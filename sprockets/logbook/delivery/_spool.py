"""The spool: a folder on disk that keeps what could not be delivered yet.

Every process has segments of its own, and says that it lives by holding a lock on a file; the
segments of a process that no longer lives are adopted by whoever looks next.  A record is one
``write`` of a frame to a file opened for appending.  What a kill left half written is skipped and
counted.

Files are read without the lock, so that nobody who appends waits for that.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, Literal

from sprockets.logbook import _fork
from sprockets.logbook.delivery._dead_letters import DeadLetters
from sprockets.logbook.delivery._frames import decode_item, encode_item, frame, frames
from sprockets.logbook.delivery._segments import (
    Segment,
    changed_at,
    claim,
    is_locked_now,
    orphans_of,
)


class SpoolFullError(OSError):
    """The spool has no room and its policy is to take nothing more."""


@dataclass(eq=False)
class _Taken:
    """An item that was shown, or some that cannot be, and where it ends in its segment."""

    segment: Segment
    end: int
    item: Any = None
    unreadable: int = 0


class Spool:
    """Keeps items on disk, in the order in which they came, until they are delivered.

    An item is safe once :meth:`append` returned: it is the kernel's then, so it outlives the
    process, however that ends; not the machine.  Several processes may share the folder, as
    long as all of them deliver to the same destination.

    Belongs to one engine, which closes it.  :meth:`append` may be called from any thread; what
    takes, is done with, or adopts, by one at a time.

    Args:
        folder: Where the segments are; made if it is missing.  Dead letters are in ``dead`` in it.
        max_bytes: Bound of what this process keeps here, what it adopted included, and of all dead
            letters.
        policy: What to do beyond that: ``"drop_oldest"`` or ``"drop_newest"``.
        encode: Makes bytes of an item.
        decode: Makes an item of bytes.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        max_bytes: int = 256 << 20,
        policy: Literal["drop_oldest", "drop_newest"] = "drop_oldest",
        encode: Callable[[Any], bytes] = encode_item,
        decode: Callable[[bytes], Any] = decode_item,
    ) -> None:
        if max_bytes < 1024:
            raise ValueError(f"max_bytes must be at least 1024, got {max_bytes}")
        if policy not in ("drop_oldest", "drop_newest"):
            raise ValueError(f"policy must be 'drop_oldest' or 'drop_newest', got {policy!r}")
        self.folder: Path = Path(folder)
        self.max_bytes = max_bytes
        self.policy = policy
        self._encode = encode
        self._decode = decode
        self._segment_bytes = max(256, min(max_bytes // 8, 1 << 20))
        self._dead = DeadLetters(self.folder / "dead", max_bytes, encode, decode)
        self._lock = RLock()
        self._held_at_fork = False
        self._adopting = -1  # descriptor of the lock of a process that may be dead
        self._torn = 0
        self._era = 0
        self._start()
        _fork.hold_at_fork(self)

    def _start(self) -> None:
        self._era += 1  # what was begun in another one comes to nothing
        self._token: str | None = None
        self._alive = -1  # descriptor whose lock says that this process lives
        self._adopted_locks: dict[str, int] = {}
        self._segments: list[Segment] = []
        self._writing: Segment | None = None
        self._file = -1
        self._number = 0
        self._taken: list[_Taken] = []
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Spool {str(self.folder)!r} of {len(self)}>"

    def __len__(self) -> int:
        """Return how many items wait here, those of adopted segments included."""
        return sum(segment.unread for segment in list(self._segments))

    def statistics(self) -> dict[str, int]:
        """Return what is in the spool and what was wrong in it.

        ``waiting`` items, ``bytes`` they take, ``torn`` places that were skipped, and dead letters
        that were not kept for want of room: ``unburied``.
        """
        return {
            "waiting": len(self),
            "bytes": sum(segment.size - segment.offset for segment in list(self._segments)),
            "torn": self._torn,
            "unburied": self._dead.unkept,
        }

    # -- writing

    def append(self, item: Any) -> int:
        """Keep *item*, and return how many older ones had to go for it.

        Raises:
            SpoolFullError: There is no room, and the policy is to drop the newest.
            OSError: The disk refuses; nothing of the item stays.
            TypeError: The item cannot be made bytes of.
        """
        data = frame(self._encode(item))
        with self._lock:
            dropped = self._make_room(len(data))
            segment = self._open_segment(len(data))
            try:
                written = os.write(self._file, data)
                if written != len(data):
                    text = "no room for a whole record"
                    raise OSError(errno.ENOSPC, text, str(segment.path))
                # An interrupt comes before these three, or after.
                segment.unread += 1
                self._bytes += written
                segment.size += written
            except BaseException:
                self._cut_off(segment)
                raise
            return dropped

    def _cut_off(self, segment: Segment) -> None:
        """Take away what is in the file beyond the last whole record."""
        try:
            os.ftruncate(self._file, segment.size)
        except OSError:
            # Its reader does not look there, as long as nothing else follows.
            self._close_segment()

    def _make_room(self, size: int) -> int:
        dropped = 0
        while True:
            if self._bytes + size <= self.max_bytes:
                return dropped
            reading = {taken.segment for taken in self._taken}
            victims = [segment for segment in self._segments if segment not in reading]
            if self.policy == "drop_newest" or size > self.max_bytes or not victims:
                raise SpoolFullError(errno.ENOSPC, "the spool is full", str(self.folder))
            dropped += victims[0].unread
            self._remove(victims[0])

    def _open_segment(self, size: int) -> Segment:
        segment = self._writing
        if segment is not None and segment.size + size <= self._segment_bytes:
            return segment
        self._close_segment()
        if self._token is None:
            self._token, self._alive = claim(self.folder)
        self._number += 1
        path = self.folder / f"{self._token}-{self._number:08}.spool"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        segment = self._writing = Segment(path)
        self._segments.append(segment)
        return segment

    def _close_segment(self) -> None:
        self._writing = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # -- reading

    def take(self, limit: int) -> list[Any]:
        """Return the first *limit* items at most; they stay until :meth:`done`.

        Taking again returns the same ones.

        Raises:
            OSError: A file cannot be read at present.
        """
        with self._lock:
            self._taken = []
            era = self._era
            sources = [(each, each.offset, each.size, each.unread) for each in self._segments]
        taken: list[_Taken] = []
        left = limit
        for segment, begin, end, unread in sources:
            for each in self._read(segment, begin, end, unread):
                taken.append(each)
                left -= not each.unreadable
                if not left:
                    break
            if not left:
                break
        with self._lock:
            if self._era == era:
                # Meanwhile some may have had to make room.
                there = set(self._segments)
                self._taken = [each for each in taken if each.segment in there]
            return [each.item for each in self._taken if not each.unreadable]

    def _read(self, segment: Segment, begin: int, end: int, unread: int) -> Iterator[_Taken]:
        try:
            with segment.path.open("rb") as file:
                file.seek(begin)
                data = file.read(end - begin)
        except FileNotFoundError:
            data = b""
        for payload, at in frames(data):
            unread -= 1
            try:
                yield _Taken(segment, begin + at, self._decode(payload))
            except Exception:  # noqa: BLE001 - counted; it would fail each time
                self._torn += 1
                yield _Taken(segment, begin + at, unreadable=1)
        if unread > 0:
            yield _Taken(segment, end, unreadable=unread)

    def done(self, count: int) -> int:
        """Forget the first *count* items that were taken.

        Returns:
            How many that were here are lost, since they could not be read.
        """
        lost = 0
        with self._lock:
            touched: dict[Segment, None] = {}
            number = 0
            for each in self._taken:
                if count <= 0 and not each.unreadable:
                    break
                count -= not each.unreadable
                lost += each.unreadable
                each.segment.offset = each.end
                each.segment.unread -= each.unreadable or 1
                touched[each.segment] = None
                number += 1
            del self._taken[:number]
            for segment in touched:
                if segment.offset < segment.size:
                    segment.remember()
                else:
                    lost += max(0, segment.unread)
                    self._remove(segment)
        return lost

    def _remove(self, segment: Segment) -> None:
        if segment is self._writing:
            self._close_segment()
        self._segments.remove(segment)
        self._bytes -= segment.size
        segment.unlink()
        token = segment.path.name.partition("-")[0]
        descriptor = self._adopted_locks.get(token)
        if descriptor is not None and not any(
            other.path.name.startswith(token) for other in self._segments
        ):
            del self._adopted_locks[token]
            (self.folder / f"{token}.lock").unlink(missing_ok=True)
            os.close(descriptor)

    # -- adopting

    def adopt(self) -> int:
        """Take over the segments of processes that no longer live, and return how many items.

        Beyond *max_bytes* those of one dead process are taken at a time, however many there are.

        Raises:
            OSError: A file cannot be read at present.
        """
        if not self.folder.is_dir():
            return 0
        adopted = 0
        paths = [self.folder / name for name in os.listdir(self.folder) if name.endswith(".lock")]
        for path in sorted(paths, key=changed_at):
            token = path.name.removesuffix(".lock")
            if token != self._token and token not in self._adopted_locks:
                adopted += self._adopt(token, path)
        return adopted

    def _adopt(self, token: str, path: Path) -> int:
        era = self._era
        try:
            descriptor = self._adopting = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            # Somebody else was faster, or it is somebody else's.
            return 0
        try:
            if not is_locked_now(descriptor, path):
                return 0
            found = orphans_of(token, self.folder, self._count_torn)
            if not found:
                path.unlink(missing_ok=True)
                return 0
            size = sum(segment.size for segment in found)
            with self._lock:
                has_room = self._bytes + size <= self.max_bytes or not self._adopted_locks
                if not has_room or self._era != era:
                    return 0
                self._adopted_locks[token], descriptor = descriptor, -1
                # Older than anything of our own.
                older = sum(not segment.is_ours for segment in self._segments)
                self._segments[older:older] = found
                self._bytes += size
            return sum(segment.unread for segment in found)
        finally:
            self._adopting = -1
            if descriptor >= 0:
                os.close(descriptor)

    def _count_torn(self) -> None:
        self._torn += 1

    # -- dead letters

    def bury(self, item: Any, error: BaseException) -> bool:
        """Keep *item* as a dead letter, with the text of *error*; return whether it is kept."""
        return self._dead.bury(item, error)

    def dead_letters(self) -> Iterator[tuple[Any, str]]:
        """Yield the dead letters of all processes, each with why; torn lines are skipped."""
        return self._dead.letters()

    # -- the end, and fork

    def close(self) -> None:
        """Let go of the files; what waits in them stays for whoever adopts it."""
        with self._lock:
            self._close_segment()
            if self._alive >= 0 and not any(segment.is_ours for segment in self._segments):
                (self.folder / f"{self._token}.lock").unlink(missing_ok=True)
            self._let_go()
            self._start()

    def _let_go(self) -> None:
        for descriptor in (self._file, self._alive, *self._adopted_locks.values()):
            if descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def before_fork(self) -> None:
        """Wait until no other thread has a descriptor that the child could not know of."""
        self._held_at_fork = self._lock.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on: everything stays the parent's."""
        if self._held_at_fork:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Let go of the parent's files, without unlocking them."""
        self._lock = RLock()
        self._let_go()
        if self._adopting >= 0:
            with contextlib.suppress(OSError):
                os.close(self._adopting)
        self._adopting = -1
        self._start()
        self._torn = 0
        self._dead.begin_anew()
