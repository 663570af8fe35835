"""Ticketing: what happened, how often, since when; in a store that processes share."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sprockets.logbook.ticketing._alert_rates import RateAlert, SpikeAlert
    from sprockets.logbook.ticketing._alerts import Alert, NewAlert, RegressedAlert, WokenAlert
    from sprockets.logbook.ticketing._backend import BackendBase
    from sprockets.logbook.ticketing._entry import Entry, Outcome
    from sprockets.logbook.ticketing._fingerprint import Fingerprinter, Rule, fingerprint
    from sprockets.logbook.ticketing._handlers import TicketingHandler
    from sprockets.logbook.ticketing._hash import TicketingBaseHandler
    from sprockets.logbook.ticketing._model import (
        Details,
        HistoryItem,
        Occurrence,
        Removed,
        Retention,
        Status,
        Ticket,
        TrackerIssue,
    )
    from sprockets.logbook.ticketing._mongodb import MongoDBBackend
    from sprockets.logbook.ticketing._query_language import QueryError, format_query, parse_query
    from sprockets.logbook.ticketing._reading import leading_records
    from sprockets.logbook.ticketing._search import Query
    from sprockets.logbook.ticketing._sqlalchemy import SQLAlchemyBackend
    from sprockets.logbook.ticketing._trackers import (
        Filing,
        GitHubTracker,
        GitLabTracker,
        RedmineTracker,
        Tracker,
        TracTracker,
    )

# Imported when they are first asked for: few programs need all of it, and no library is needed to
# import any.
_LAZY: Final = {
    "Alert": "_alerts",
    "BackendBase": "_backend",
    "Details": "_model",
    "Entry": "_entry",
    "Filing": "_trackers",
    "Fingerprinter": "_fingerprint",
    "GitHubTracker": "_trackers",
    "GitLabTracker": "_trackers",
    "HistoryItem": "_model",
    "MongoDBBackend": "_mongodb",
    "NewAlert": "_alerts",
    "Occurrence": "_model",
    "Outcome": "_entry",
    "Query": "_search",
    "QueryError": "_query_language",
    "RateAlert": "_alert_rates",
    "RedmineTracker": "_trackers",
    "RegressedAlert": "_alerts",
    "Removed": "_model",
    "Retention": "_model",
    "Rule": "_fingerprint",
    "SQLAlchemyBackend": "_sqlalchemy",
    "SpikeAlert": "_alert_rates",
    "Status": "_model",
    "Ticket": "_model",
    "TicketingBaseHandler": "_hash",
    "TicketingHandler": "_handlers",
    "TracTracker": "_trackers",
    "Tracker": "_trackers",
    "TrackerIssue": "_model",
    "WokenAlert": "_alerts",
    "fingerprint": "_fingerprint",
    "format_query": "_query_language",
    "leading_records": "_reading",
    "parse_query": "_query_language",
}

__all__ = [
    "Alert",
    "BackendBase",
    "Details",
    "Entry",
    "Filing",
    "Fingerprinter",
    "GitHubTracker",
    "GitLabTracker",
    "HistoryItem",
    "MongoDBBackend",
    "NewAlert",
    "Occurrence",
    "Outcome",
    "Query",
    "QueryError",
    "RateAlert",
    "RedmineTracker",
    "RegressedAlert",
    "Removed",
    "Retention",
    "Rule",
    "SQLAlchemyBackend",
    "SpikeAlert",
    "Status",
    "Ticket",
    "TicketingBaseHandler",
    "TicketingHandler",
    "TracTracker",
    "Tracker",
    "TrackerIssue",
    "WokenAlert",
    "fingerprint",
    "format_query",
    "leading_records",
    "parse_query",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        found = getattr(import_module(f"sprockets.logbook.ticketing.{_LAZY[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
