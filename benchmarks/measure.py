"""Readings in alternated short rounds, as ratios to the unit measured in the same round."""

import gc
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from math import inf
from statistics import median, quantiles
from time import perf_counter_ns

from benchmarks.cases import Loop, fresh


class _Empty:
    def m(self, text: str) -> None:
        pass


def _unit(count: int, empty: _Empty = _Empty()) -> None:  # noqa: B008  # has no state
    for _ in repeat(None, count):
        empty.m("x")


def _deeper(depth: int, loop: Loop, count: int) -> None:
    if depth:
        _deeper(depth - 1, loop, count)
    else:
        loop(count)


def _make_unit(depth: int) -> Loop:
    """Return a loop of its own over an empty method of its own, run *depth* frames further down."""
    kind = type("_Empty", (), {"m": fresh(_Empty.m)})
    loop = fresh(_unit)
    loop.__defaults__ = (kind(),)  # type: ignore[attr-defined]  # written in Python
    return partial(_deeper, depth, loop)


def call_units(count: int) -> None:
    """Make *count* calls of the empty method that is the unit."""
    _unit(count)


@dataclass
class Effort:
    """How much is measured.

    Args:
        rounds: Readings of each loop.
        reading_us: About how long one reading takes, in microseconds.
    """

    rounds: int
    reading_us: int


@dataclass
class Timed:
    """A loop to be timed, and its readings as multiples of the unit.

    Args:
        loop: Makes that many calls.
        switched: Sets what is global to the process for the length of one reading.
        empty: Called after each reading, so that sinks do not grow without bound.
        max_count: Calls in one reading at most.
    """

    loop: Loop
    switched: Callable[[], AbstractContextManager[object]]
    empty: Callable[[], object] = field(default=lambda: None)
    max_count: int = 100_000
    count: int = 1
    ratios: list[float] = field(default_factory=list)

    def read(self) -> float:
        """Return nanoseconds a call in one reading."""
        with self.switched():
            started = perf_counter_ns()
            self.loop(self.count)
            elapsed = perf_counter_ns() - started
        self.empty()
        return elapsed / self.count

    def calibrate(self, reading_us: int) -> None:
        """Warm up, and find how many calls take about *reading_us* microseconds."""
        self.count = 1
        for _ in range(20):
            # The first call may open a file, or look after one: the second tells what calls take.
            elapsed_us = max(min(self.read(), self.read()) * self.count / 1000, 0.1)
            if elapsed_us > reading_us / 2:
                break
            self.count = min(self.max_count, int(self.count * min(8, reading_us / elapsed_us)) + 1)
        self.count = min(self.max_count, max(1, round(self.count * reading_us / elapsed_us)))


def spread(ratios: Sequence[float]) -> float:
    """Return how noisy readings were: half the distance of the quartiles, by the median."""
    if len(ratios) < 4 or not (middle := median(ratios)):
        return 0.0
    low, _, high = quantiles(ratios, n=4)
    return (high - low) / 2 / abs(middle)


# A round in which the unit takes this much longer than at its best is not counted: the machine was
# doing something else, and that slows an empty call more than it slows a long one.
DISTURBED = 1.2

# The same empty call can take twice as long for as long as its frame lies badly in memory.  Several
# of them, at different depths of the stack, seldom all do: the fastest is the unit.
UNIT_DEPTHS = [0, 3, 8]


@dataclass
class Meter:
    """Takes readings, and knows how fast the machine is when nothing disturbs it.

    Args:
        effort: How much is measured.
        best_unit: The unit at its best, in nanoseconds.
        thrown_away: Rounds that were not counted.
        slow: The unit in measurements that never found the machine undisturbed, by their names.
    """

    effort: Effort
    best_unit: float = inf
    thrown_away: int = 0
    slow: dict[str, float] = field(default_factory=dict)

    def take_rounds(self, name: str, timed: Iterable[Timed]) -> float:
        """Fill in the readings of all loops, interleaved so that noise hits all alike.

        The garbage collector runs between rounds only.

        Returns:
            The unit in nanoseconds: the median over the rounds that count.
        """
        timed = list(timed)
        units = [Timed(_make_unit(depth), switched=nullcontext) for depth in UNIT_DEPTHS]
        was_enabled = gc.isenabled()
        gc.collect()
        # What exists now stays: collections between rounds need not look at it.
        gc.freeze()
        gc.disable()
        rounds: list[tuple[float, list[float]]] = []
        try:
            for each in units:
                each.calibrate(min(200, self.effort.reading_us))
            for each in timed:
                each.calibrate(self.effort.reading_us)
            for number in range(4 * self.effort.rounds):
                rounds.append(_take_round(number, units, timed))
                self.best_unit = min(self.best_unit, rounds[-1][0])
                if len(self._undisturbed(rounds)) >= self.effort.rounds:
                    break
        finally:
            gc.unfreeze()
            if was_enabled:
                gc.enable()
        good = self._undisturbed(rounds)
        self.thrown_away += len(rounds) - len(good)
        if len(good) < self.effort.rounds // 4:
            self.slow[name] = median(of_unit for of_unit, _ in rounds)
            good = rounds
        for place, each in enumerate(timed):
            each.ratios = [readings[place] / of_unit for of_unit, readings in good]
        return median(of_unit for of_unit, _ in good)

    def _undisturbed(
        self, rounds: Sequence[tuple[float, list[float]]]
    ) -> Sequence[tuple[float, list[float]]]:
        return [each for each in rounds if each[0] <= self.best_unit * DISTURBED]


def _take_round(
    number: int, units: Sequence[Timed], timed: Sequence[Timed]
) -> tuple[float, list[float]]:
    """Return the unit in this round, and a reading of each loop."""
    gc.collect()
    # Another one goes first each time: nobody profits from his neighbour's warm caches.
    start = number % len(timed)
    of_unit: list[float] = []
    readings: dict[int, float] = {}
    for place in (*range(start, len(timed)), *range(start)):
        of_unit.append(min(unit.read() for unit in units))
        readings[place] = timed[place].read()
    return median(of_unit), [readings[place] for place in range(len(timed))]
