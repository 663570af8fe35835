"""The door of ticketing: which names there are, and what each costs."""

import importlib
import subprocess
import sys

import pytest

from sprockets.logbook import ticketing

NAMES = [
    "Alert",
    "BackendBase",
    "DeferredBackend",
    "Details",
    "Entry",
    "FailedError",
    "Filing",
    "Fingerprinter",
    "GitHubTracker",
    "GitLabTracker",
    "GoneError",
    "HistoryItem",
    "Issue",
    "LeadingRecordsHandler",
    "MongoDBBackend",
    "NewAlert",
    "Occurrence",
    "Outcome",
    "Query",
    "QueryError",
    "RateAlert",
    "RateLimitedError",
    "RedmineTracker",
    "RefusedError",
    "RegressedAlert",
    "Removed",
    "Retention",
    "Rule",
    "SQLAlchemyBackend",
    "SpikeAlert",
    "Status",
    "Text",
    "Ticket",
    "TicketingBaseHandler",
    "TicketingHandler",
    "TracTracker",
    "Tracker",
    "TrackerError",
    "TrackerIssue",
    "UnansweredError",
    "UnauthorisedError",
    "WokenAlert",
    "fingerprint",
    "format_query",
    "leading_records",
    "parse_query",
]


def test_the_names_are_these():
    """What is added or lost here is noticed."""
    assert sorted(ticketing.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(ticketing))


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_found_and_says_what_it_is(name):
    """It has a docstring, and comes from a module of this package."""
    found = getattr(ticketing, name)

    assert found.__doc__
    assert found.__module__.startswith("sprockets.logbook.ticketing.")
    assert getattr(importlib.import_module(found.__module__), name) is found


def test_an_unknown_name_is_an_error():
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Ticketing'"):
        ticketing.Ticketing  # noqa: B018


def test_importing_all_of_it_needs_no_optional_library():
    """They are imported by what is made of them."""
    code = (
        "import sys\nfrom sprockets.logbook.ticketing import *\n"
        "print([n for n in ('sqlalchemy', 'pymongo', 'alembic', 'tornado') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
