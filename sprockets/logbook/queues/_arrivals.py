"""Which records have come: exactly, however far out of their order, in little memory."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from threading import Lock
from typing import Any, Final

_MAX_INTERVALS: Final = 1_000
_MAX_DIGITS: Final = 19


class Arrivals:
    """Tells records that came before from those that did not, and counts those that never came.

    Senders number their records; one that keeps what is not acknowledged sends old ones long after
    new ones.  Memory is bounded: of the senders that were heard of least recently, and of names
    without a number that are long past, nothing is known any more.

    Thread-safe.

    Args:
        from_the_first: Whether a sender's numbers are missed from 1 on; if not, numbers below the
            lowest that came count as no gaps: somebody else may have had them.
        senders: Senders that are remembered.
        window: Names without a number that are remembered.
    """

    def __init__(
        self, from_the_first: bool = False, senders: int = 10_000, window: int = 10_000
    ) -> None:
        self._from_the_first = from_the_first
        self._most = senders
        self._window = window
        self._numbers: OrderedDict[str, Intervals] = OrderedDict()
        self._latest: tuple[str, Intervals] | None = None
        self._others: OrderedDict[str, None] = OrderedDict()
        self._duplicates = 0
        self._forgotten_gaps = 0
        self._lock = Lock()

    def admit(self, record_id: object) -> bool:
        """Return whether the record called *record_id* is new; one without a name always is."""
        if not isinstance(record_id, str):
            return True
        name, _, digits = record_id.rpartition("-")
        with self._lock:
            if name and digits.isdecimal() and digits.isascii() and len(digits) < _MAX_DIGITS:
                latest = self._latest
                if latest is not None and latest[0] == name:
                    is_new = latest[1].add(int(digits))
                else:
                    is_new = self._add(name, int(digits))
            else:
                is_new = self._add_other(record_id)
            self._duplicates += not is_new
        return is_new

    def admit_run(self, record_ids: list[Any]) -> bool:
        """Return whether all *record_ids* are new, if that is seen at a glance.

        That is so if they are numbered without a gap, and behind all others of their sender; else
        none of them is admitted.
        """
        if not record_ids or type(record_ids[0]) is not str:
            return False
        name, _, digits = record_ids[0].rpartition("-")
        if not (name and digits.isdecimal() and digits.isascii() and len(digits) < _MAX_DIGITS):
            return False
        first = int(digits)
        beyond = first + len(record_ids)
        if record_ids != [f"{name}-{number}" for number in range(first, beyond)]:
            return False
        with self._lock:
            numbers = self._numbers.get(name)
            if numbers is None:
                self._add(name, first)
                numbers = self._numbers[name]
            elif numbers.ends[-1] == first - 1:
                self._add(name, first)
            else:
                return False
            numbers.extend(beyond - 1)
            return True

    def _add(self, name: str, number: int) -> bool:
        numbers = self._numbers.get(name)
        if numbers is not None:
            self._numbers.move_to_end(name)
            is_new = numbers.add(number)
        else:
            numbers = self._numbers[name] = Intervals(number, from_the_first=self._from_the_first)
            is_new = True
            if len(self._numbers) > self._most:
                _, forgotten = self._numbers.popitem(last=False)
                self._forgotten_gaps += forgotten.gaps()
        self._latest = name, numbers
        return is_new

    def _add_other(self, record_id: str) -> bool:
        if record_id in self._others:
            return False
        self._others[record_id] = None
        if len(self._others) > self._window:
            self._others.popitem(last=False)
        return True

    def statistics(self) -> dict[str, int]:
        """Return how many records came again, and how many have not come so far."""
        with self._lock:
            gaps = sum(numbers.gaps() for numbers in self._numbers.values())
            return {"duplicates": self._duplicates, "gaps": gaps + self._forgotten_gaps}


class Intervals:
    """A set of numbers, kept as runs of neighbours.

    Beyond a thousand runs the lowest is forgotten: what was in it would be new again.

    Args:
        number: The first of them.
        from_the_first: Whether those below it, from 1 on, are missing.
    """

    __slots__ = ("_count", "_lowest", "ends", "starts")

    def __init__(self, number: int, *, from_the_first: bool = False) -> None:
        self.starts = [number]
        self.ends = [number]
        self._lowest = min(number, 1) if from_the_first else number
        self._count = 1

    def add(self, number: int) -> bool:
        """Return whether *number* is new, and add it."""
        ends = self.ends
        if number == ends[-1] + 1:
            ends[-1] = number
            self._count += 1
            return True
        index = bisect_left(ends, number)
        starts = self.starts
        if index < len(ends) and starts[index] <= number:
            return False
        self._count += 1
        self._lowest = min(self._lowest, number)
        joins_lower = index > 0 and ends[index - 1] == number - 1
        joins_upper = index < len(starts) and starts[index] == number + 1
        if joins_lower and joins_upper:
            ends[index - 1] = ends.pop(index)
            del starts[index]
        elif joins_lower:
            ends[index - 1] = number
        elif joins_upper:
            starts[index] = number
        else:
            starts.insert(index, number)
            ends.insert(index, number)
            if len(starts) > _MAX_INTERVALS:
                del starts[0], ends[0]
        return True

    def extend(self, last: int) -> None:
        """Add all numbers behind the highest up to *last*."""
        self._count += last - self.ends[-1]
        self.ends[-1] = last

    def gaps(self) -> int:
        """Return how many numbers are missing between the lowest and the highest."""
        return max(0, self.ends[-1] - self._lowest + 1 - self._count)
