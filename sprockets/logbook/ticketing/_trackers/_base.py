"""Trackers: what each of them can be asked, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from sprockets.logbook.delivery import PermanentError, RetryLater
from sprockets.logbook.ticketing._trackers._text import Text

PREFIX: Final = "lb:"
"""What a marker starts with."""


class TrackerError(Exception):
    """Base of what a tracker raises."""


class RateLimitedError(TrackerError, RetryLater):
    """It wants to be left alone for a while, :attr:`after` seconds."""


class RefusedError(TrackerError, PermanentError):
    """It does not take this, and will not the next time either."""


class UnauthorisedError(RefusedError):
    """It does not know who asks, or does not let them."""


class GoneError(RefusedError):
    """The issue, the project, or its having issues is no more; or it never was."""


class UnansweredError(TrackerError, ConnectionError):
    """It was asked for something and did not answer, so nobody knows whether it did it."""


class FailedError(TrackerError, ConnectionError):
    """It, or what stands before it, is not well at present."""


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue, as a tracker has it.

    Args:
        issue_id: By which the tracker knows it.
        url: Where people see it.
        is_open: Whether it is not closed.
    """

    issue_id: str
    url: str
    is_open: bool = True


class Tracker:
    """Base of the trackers; each method makes one request or a few, and waits for the answers.

    They are called from one thread at a time, and never retry by themselves.  All raise

    * `RateLimitedError`, `UnauthorisedError`, `GoneError` or `RefusedError` as the tracker says,
    * `UnansweredError` if a change was sent and no answer came,
    * `FailedError` if it is not there at present, and ``RuntimeError`` if it failed,
    * any other ``OSError`` if it cannot be reached, so that nothing can have happened.

    Args:
        name: Names the tracker among all that a store of tickets knows.
    """

    creations_per_minute: ClassVar[int | None] = None
    """Issues that all processes together make in a minute at most; ``None`` is no limit."""

    def __init__(self, name: str) -> None:
        self.name: str = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def find(self, marker: str) -> Issue | None:
        """Return the issue that was made with *marker*, closed ones included.

        If there are several, the oldest.

        Args:
            marker: ``lb:`` and 40 hexadecimal digits.
        """
        raise NotImplementedError(f"{type(self).__name__} finds nothing")

    def create(self, marker: str, title: str, text: Text) -> Issue:
        """Make an issue that :meth:`find` finds by *marker*."""
        raise NotImplementedError(f"{type(self).__name__} makes nothing")

    def comment(self, issue_id: str, text: Text) -> None:
        """Add a comment to an issue."""
        raise NotImplementedError(f"{type(self).__name__} takes no comments")

    def reopen(self, issue_id: str, text: Text) -> None:
        """Open an issue again, and say why; one that is open gets the comment only."""
        raise NotImplementedError(f"{type(self).__name__} reopens nothing")

    def close(self, issue_id: str, text: Text) -> None:
        """Close an issue, and say why; one that is closed stays that."""
        raise NotImplementedError(f"{type(self).__name__} closes nothing")

    def url(self, issue_id: str) -> str:
        """Return where people see an issue."""
        raise NotImplementedError(f"{type(self).__name__} has no addresses")

    def disconnect(self) -> None:
        """Let go of connections; the next request opens another."""
