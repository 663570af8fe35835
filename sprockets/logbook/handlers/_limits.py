"""Mixins that tell records apart by where they come from, and limit how many are delivered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from threading import RLock
from time import monotonic

from sprockets.logbook._typing import TYPE_CHECKING, ClassVar
from sprockets.logbook.record import LogRecord

if TYPE_CHECKING:
    from hashlib import _Hash


class HashingHandlerMixin:
    """Gives records of the same call the same hash: level, channel, file and line make it."""

    def hash_record_raw(self, record: LogRecord) -> _Hash:
        """Return the hash object of *record*; a subclass may update it further."""
        # Imported here: few programs limit anything, and the library behind it takes its time.
        import hashlib

        sha1 = hashlib.sha1(usedforsecurity=False)
        for part in (record.level, record.channel or "", record.filename or ""):
            text = f"{part}\0"
            try:
                sha1.update(text.encode("utf-8", "surrogateescape"))
            except UnicodeEncodeError:  # half a character, of which no file system made the name
                sha1.update(text.encode("utf-8", "surrogatepass"))
        sha1.update(b"" if record.lineno is None else str(record.lineno).encode())
        return sha1

    def hash_record(self, record: LogRecord) -> str:
        """Return the hash of *record*, 40 hexadecimal digits."""
        return self.hash_record_raw(record).hexdigest()


class _Window:
    """What was delivered and withheld of one hash since its window opened."""

    __slots__ = ("delivered", "opened_at", "withheld")

    def __init__(self, opened_at: float, withheld: int) -> None:
        self.opened_at = opened_at
        self.delivered = 0
        self.withheld = withheld


class LimitingHandlerMixin(HashingHandlerMixin):
    """Limits how many records of one call are delivered in a stretch of time.

    Args:
        record_limit: Deliveries of one hash per window; ``None`` is no limit.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        clock: Returns the current time in seconds; never goes backwards.
    """

    max_record_cache: ClassVar[int] = 512
    """Hashes that are remembered at most."""
    record_cache_prune: ClassVar[float] = 0.333
    """Share of the remembered hashes, the oldest, that is forgotten when there are too many."""

    def __init__(
        self,
        record_limit: int | None,
        record_delta: timedelta | float | None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.record_limit = record_limit
        if record_delta is None:
            record_delta = 60.0
        if not isinstance(record_delta, timedelta):
            record_delta = timedelta(seconds=record_delta)
        self.record_delta: timedelta = record_delta
        self._clock = clock
        self._limit_lock = RLock()
        # In the order in which the windows were opened: the oldest first.
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def check_delivery(self, record: LogRecord) -> tuple[int, bool]:
        """Return how many records of this hash were withheld, and whether to deliver this one.

        The count is of the time since the last delivery, and includes *record* if it is withheld
        itself.
        """
        if self.record_limit is None:
            return 0, True
        key = self.hash_record(record)
        with self._limit_lock:
            now = self._clock()
            window = self._windows.get(key)
            if window is None or now - window.opened_at > self.record_delta.total_seconds():
                window = self._open_window(key, now, 0 if window is None else window.withheld)
            if window.delivered < self.record_limit:
                window.delivered += 1
                withheld, window.withheld = window.withheld, 0
                return withheld, True
            window.withheld += 1
            return window.withheld, False

    def _open_window(self, key: str, now: float, withheld: int) -> _Window:
        self._windows.pop(key, None)
        count = len(self._windows)
        if count >= self.max_record_cache:
            for _ in range(max(1, int(count * self.record_cache_prune))):
                self._windows.popitem(last=False)
        window = self._windows[key] = _Window(now, withheld)
        return window
