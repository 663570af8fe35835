"""What the tests of trackers share: a tracker in memory, a store, and records that go wrong."""

import pytest

from sprockets.logbook.delivery import Retry
from sprockets.logbook.ticketing._trackers import Filing
from tests.logbook.ticketing.model import DictStore
from tests.logbook.ticketing.trackers.doubles import FakeClock, FakeTracker

QUICK = Retry(initial=0.005, maximum=0.02)


@pytest.fixture(name="clock")
def _clock():
    return FakeClock()


@pytest.fixture(name="store")
def _store():
    return DictStore()


@pytest.fixture(name="tracker")
def _tracker():
    return FakeTracker()


@pytest.fixture(name="make_filing")
def _make_filing(store, clock):
    """Make filings that are quick to try again, and whose clock stands still."""
    made = []

    def make(*trackers, db=store, **options):
        options = {"retry": QUICK, "clock": clock, "cool_down": 1.0, **options}
        made.append(Filing(db, trackers, **options))
        return made[-1]

    yield make
    for filing in made:
        filing.close(0.5)
