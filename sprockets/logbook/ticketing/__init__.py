"""Ticketing: what happened, how often, since when; in a store that processes share."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sprockets.logbook.ticketing._alert_rates import RateAlert, SpikeAlert
    from sprockets.logbook.ticketing._alerts import Alert, NewAlert, RegressedAlert, WokenAlert
    from sprockets.logbook.ticketing._backend import BackendBase
    from sprockets.logbook.ticketing._deferred import DeferredBackend
    from sprockets.logbook.ticketing._entry import Entry, Outcome
    from sprockets.logbook.ticketing._fingerprint import Fingerprinter, Rule, fingerprint
    from sprockets.logbook.ticketing._handlers import TicketingHandler
    from sprockets.logbook.ticketing._hash import TicketingBaseHandler
    from sprockets.logbook.ticketing._leading import LeadingRecordsHandler
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
        FailedError,
        Filing,
        GitHubTracker,
        GitLabTracker,
        GoneError,
        Issue,
        RateLimitedError,
        RedmineTracker,
        RefusedError,
        Text,
        Tracker,
        TrackerError,
        TracTracker,
        UnansweredError,
        UnauthorisedError,
    )

# Imported when they are first asked for: few programs need all of it, and no library is needed to
# import any.
_LAZY: Final = {
    "Alert": "_alerts",
    "BackendBase": "_backend",
    "DeferredBackend": "_deferred",
    "Details": "_model",
    "Entry": "_entry",
    "FailedError": "_trackers",
    "Filing": "_trackers",
    "Fingerprinter": "_fingerprint",
    "GitHubTracker": "_trackers",
    "GitLabTracker": "_trackers",
    "GoneError": "_trackers",
    "HistoryItem": "_model",
    "Issue": "_trackers",
    "LeadingRecordsHandler": "_leading",
    "MongoDBBackend": "_mongodb",
    "NewAlert": "_alerts",
    "Occurrence": "_model",
    "Outcome": "_entry",
    "Query": "_search",
    "QueryError": "_query_language",
    "RateAlert": "_alert_rates",
    "RateLimitedError": "_trackers",
    "RedmineTracker": "_trackers",
    "RefusedError": "_trackers",
    "RegressedAlert": "_alerts",
    "Removed": "_model",
    "Retention": "_model",
    "Rule": "_fingerprint",
    "SQLAlchemyBackend": "_sqlalchemy",
    "SpikeAlert": "_alert_rates",
    "Status": "_model",
    "Text": "_trackers",
    "Ticket": "_model",
    "TicketingBaseHandler": "_hash",
    "TicketingHandler": "_handlers",
    "TracTracker": "_trackers",
    "Tracker": "_trackers",
    "TrackerError": "_trackers",
    "TrackerIssue": "_model",
    "UnansweredError": "_trackers",
    "UnauthorisedError": "_trackers",
    "WokenAlert": "_alerts",
    "fingerprint": "_fingerprint",
    "format_query": "_query_language",
    "leading_records": "_reading",
    "parse_query": "_query_language",
}

__all__ = [
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


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        found = getattr(import_module(f"sprockets.logbook.ticketing.{_LAZY[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
