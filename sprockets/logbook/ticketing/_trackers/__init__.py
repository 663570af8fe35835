"""Trackers: tickets filed as issues in Redmine, Trac, GitHub and GitLab."""

from sprockets.logbook.ticketing._trackers._base import (
    FailedError,
    GoneError,
    Issue,
    RateLimitedError,
    RefusedError,
    Tracker,
    TrackerError,
    UnansweredError,
    UnauthorisedError,
)
from sprockets.logbook.ticketing._trackers._filing import Filing
from sprockets.logbook.ticketing._trackers._github import GitHubTracker
from sprockets.logbook.ticketing._trackers._gitlab import GitLabTracker
from sprockets.logbook.ticketing._trackers._redmine import RedmineTracker
from sprockets.logbook.ticketing._trackers._text import Text
from sprockets.logbook.ticketing._trackers._trac import TracTracker

__all__ = [
    "FailedError",
    "Filing",
    "GitHubTracker",
    "GitLabTracker",
    "GoneError",
    "Issue",
    "RateLimitedError",
    "RedmineTracker",
    "RefusedError",
    "Text",
    "TracTracker",
    "Tracker",
    "TrackerError",
    "UnansweredError",
    "UnauthorisedError",
]
