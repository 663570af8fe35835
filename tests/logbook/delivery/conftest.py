"""What the tests of delivery share: engines without a thread, and a clock that stands still."""

import pytest

from sprockets.logbook import statistics
from sprockets.logbook.delivery import Delivery


class FakeClock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


class SteppedDelivery(Delivery):
    """An engine without a thread: `step` does what its thread would do next."""

    def _start_thread(self, state):
        return True

    def step(self):
        return self._step(self._state)

    def run_dry(self, clock):
        """Step until nothing is left; the clock is advanced where the engine would wait."""
        for _ in range(10_000):
            pause = self.step()
            if pause is None:
                return
            clock.seconds += pause
        raise AssertionError("this never ends")


@pytest.fixture(name="clock")
def _clock():
    return FakeClock()


@pytest.fixture(name="make_engine")
def _make_engine(clock):
    """Make engines without a thread."""
    made = []

    def make(deliver, **options):
        options.setdefault("name", "test")
        options.setdefault("clock", clock)
        engine = SteppedDelivery(deliver, **options)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close(0)


@pytest.fixture(name="make_threaded")
def _make_threaded():
    """Make engines as they are."""
    made = []

    def make(deliver, **options):
        options.setdefault("name", "test")
        engine = Delivery(deliver, **options)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close(0.2)


@pytest.fixture(name="adds_up")
def _adds_up():
    """Check that every item is in exactly one place."""

    def check(engine):
        found = engine.statistics()
        assert found["accepted"] == (
            found["delivered"]
            + found["queued"]
            + found["spooled"]
            + found["dead"]
            + sum(found["dropped"].values())
        ), found
        return found

    return check


@pytest.fixture(autouse=True)
def _reports_are_announced(capfd, request):
    """Fail a test in which the engine reported something that it did not look at."""
    before = statistics()["unreported"]
    yield
    assert statistics()["unreported"] == before
