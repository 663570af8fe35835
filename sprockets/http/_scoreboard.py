"""The scoreboard: what each worker does, in memory that parent and workers share.

One anonymous shared mapping, made before the first fork: a row of eight-byte cells for the service
and one for each worker.  A row has one writer at a time (its worker; the parent while nobody lives
in it), so no lock is needed: an aligned cell is never seen half written.  Whoever reads several
cells sees each as it was at about the same moment, which is all that counters promise.

A row outlives its worker.  What counts up goes on counting with the next worker in the row, so
that totals over all rows never go back.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Final

STARTING: Final = 1
SERVING: Final = 2
DRAINING: Final = 3
STATES: Final = {0: "empty", STARTING: "starting", SERVING: "serving", DRAINING: "draining"}

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram of request durations, in seconds; the usual Prometheus ones."""

_NUMBERS: Final = (  # what describes the worker in the row, and is cleared when it is gone
    "pid",
    "state",
    "generation",
    "is_ready",
    "has_failed",
    "connections",
)
_COUNTERS: Final = ("begun", "client_gone", "cut")  # what only ever grows
_FLOATS: Final = ("started_at", "beat_at", "lag", "lag_max", "seconds")
_CELLS: Final = {name: number for number, name in enumerate((*_NUMBERS, *_COUNTERS, *_FLOATS))}
_SERVICE: Final = ("state", "generation", "target", "restarts", "hung", "reloads", "failed_reloads")
_SERVICE_CELLS: Final = {name: number for number, name in enumerate((*_SERVICE, "started_at"))}

# Answers are counted in a table: a row for each class of status code, 0 for none at all, a column
# for each bucket of durations.  So a request costs one addition, whatever is to be known of it.
_KINDS: Final = 6
_COLUMNS: Final = len(BUCKETS) + 1
_TABLE: Final = len(_CELLS)
_WIDTH: Final = _TABLE + _KINDS * _COLUMNS


class Row:
    """One worker's cells: read by everybody, written by the worker that lives in it."""

    index: int
    """Which of the scoreboard's, from 1."""

    __slots__ = ("_begun", "_floats", "_ints", "_seconds", "_start", "_table", "index")

    def __init__(self, ints: memoryview[int], floats: memoryview[float], index: int) -> None:
        self._ints = ints
        self._floats = floats
        self._start = index * _WIDTH
        self._begun = self._start + _CELLS["begun"]
        self._seconds = self._start + _CELLS["seconds"]
        self._table = self._start + _TABLE
        self.index = index

    def __getitem__(self, name: str) -> Any:
        cells = self._floats if name in _FLOATS else self._ints
        return cells[self._start + _CELLS[name]]

    def __setitem__(self, name: str, value: float) -> None:
        cells: Any = self._floats if name in _FLOATS else self._ints
        cells[self._start + _CELLS[name]] = value

    def add(self, name: str, amount: float = 1) -> None:
        """Add *amount* to the cell *name*."""
        self[name] += amount

    def enter(self) -> None:
        """Count a request that begins."""
        self._ints[self._begun] += 1

    def leave(self, status_code: int, seconds: float) -> None:
        """Count a request that ends.

        Args:
            status_code: What was answered, 100 to 599; 0 for nothing.
            seconds: How long it took.
        """
        kind = status_code // 100
        if kind >= _KINDS:
            kind = 5  # Tornado lets handlers answer with 623 and the like
        self._ints[self._table + kind * _COLUMNS + bisect_left(BUCKETS, seconds)] += 1
        self._floats[self._seconds] += seconds

    @property
    def answers(self) -> list[list[int]]:
        """The table of answers: by class of status code, then by bucket."""
        cells = self._ints[self._table : self._table + _KINDS * _COLUMNS].tolist()
        return [cells[number : number + _COLUMNS] for number in range(0, len(cells), _COLUMNS)]

    @property
    def requests(self) -> int:
        """How many requests have ended."""
        cells = self._ints[self._table : self._table + _KINDS * _COLUMNS]
        return sum(cells)

    @property
    def in_flight(self) -> int:
        """How many have not."""
        return max(int(self["begun"]) - self.requests, 0)

    def clear(self) -> None:
        """Make the row free for another worker; what counts up stays."""
        for name in _NUMBERS:
            self[name] = 0
        for name in ("started_at", "beat_at", "lag", "lag_max"):
            self[name] = 0.0
        self["begun"] = self.requests  # those that ended with their worker are in flight no more


class Scoreboard:
    """The rows of all workers, and what is known of the service as a whole.

    Args:
        rows: Workers there can be at once, old and new ones together.
    """

    def __init__(self, rows: int = 1) -> None:
        # Row 0 is the service's.
        self._memory = mmap.mmap(-1, (rows + 1) * _WIDTH * 8)
        view = memoryview(self._memory)
        self._ints = view.cast("q")
        self._floats = view.cast("d")
        self.rows: tuple[Row, ...] = tuple(
            Row(self._ints, self._floats, number) for number in range(1, rows + 1)
        )

    def __getitem__(self, name: str) -> Any:
        cells = self._floats if name == "started_at" else self._ints
        return cells[_SERVICE_CELLS[name]]

    def __setitem__(self, name: str, value: float) -> None:
        cells: Any = self._floats if name == "started_at" else self._ints
        cells[_SERVICE_CELLS[name]] = value

    def find_free(self) -> Row | None:
        """Return a row that nobody lives in, if there is one."""
        for row in self.rows:
            if not row["pid"]:
                return row
        return None

    def workers(self) -> list[Row]:
        """The rows in which a worker lives."""
        return [row for row in self.rows if row["pid"]]

    def totals(self) -> Totals:
        """Sum up every counter over all rows, of workers long gone too."""
        answers = [[0] * _COLUMNS for _ in range(_KINDS)]
        for row in self.rows:
            if row["begun"]:
                for sums, counts in zip(answers, row.answers, strict=True):
                    for number, count in enumerate(counts):
                        sums[number] += count
        return Totals(
            requests=sum(map(sum, answers)),
            in_flight=sum(row.in_flight for row in self.rows),
            connections=sum(row["connections"] for row in self.rows),
            client_gone=sum(row["client_gone"] for row in self.rows),
            cut=sum(row["cut"] for row in self.rows),
            seconds=sum(row["seconds"] for row in self.rows),
            by_status=tuple(map(sum, answers)),
            by_duration=tuple(map(sum, zip(*answers, strict=True))),
        )


@dataclass(frozen=True)
class Totals:
    """The counters of a whole service."""

    requests: int
    in_flight: int
    connections: int
    client_gone: int
    cut: int
    seconds: float
    by_status: tuple[int, ...]
    """By class of status code; first those that got no answer."""
    by_duration: tuple[int, ...]
    """By bucket; the last has no upper bound."""
