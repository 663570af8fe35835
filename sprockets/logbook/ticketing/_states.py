"""States: what an occurrence is for its ticket.  Free of databases and clocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sprockets._support.optional import optional
from sprockets.logbook.ticketing._entry import Entry, Event
from sprockets.logbook.ticketing._search import State

HISTORY: Final[Mapping[Event, str]] = {
    "new": "created",
    "regressed": "regressed",
    "woken": "woken",
}
"""What the history says of an event."""


def state_of(state: str | None, solved: object) -> State:
    """Return where a ticket stands: Logbook knows ``solved`` alone, and may have changed that.

    >>> state_of(None, True), state_of("assigned", False), state_of("solved", False)
    ('solved', 'assigned', 'regressed')
    """
    if solved:
        return "solved"
    if state == "solved":
        return "regressed"
    return state or "new"  # type: ignore[return-value]  # what we wrote ourselves


@dataclass(slots=True)
class Standing:
    """A ticket while occurrences are counted on it.

    Args:
        ticket_id: The ticket.
        count: Occurrences so far.
        last_time: When it occurred last.
        state: Where it stands.
        title: What it is called.
        assignee: Whose it is.
        fingerprint: The fingerprint that claimed it.
        first_time: When it occurred first.
        first_release: The release in which it was first seen.
        last_release: The release in which it was last seen.
        solved_in: The release in which it is solved.
        solved_order: Number of the last release that was known when it was solved.
        ignored_until: When it is no longer ignored.
        ignored_count: Count at which it is no longer ignored.
        added: Occurrences that came to it.
        is_changed: Whether there is more to be stored than count and time.
    """

    ticket_id: int
    count: int
    last_time: datetime | None
    state: State
    title: str = ""
    assignee: str = ""
    fingerprint: str | None = None
    first_time: datetime | None = None
    first_release: str | None = None
    last_release: str | None = None
    solved_in: str | None = None
    solved_order: int | None = None
    ignored_until: datetime | None = None
    ignored_count: int | None = None
    added: int = 0
    is_changed: bool = False

    def count_one(self, entry: Entry, releases: Mapping[str, int]) -> Event:
        """Count *entry*, and return what it is.

        Args:
            entry: The occurrence.
            releases: Numbers of the releases seen before it, in the order in which they were seen.
        """
        is_first = self.count == 0
        if not self.title and entry.title:
            self.title, self.is_changed = entry.title, True
        self.count += 1
        self.added += 1
        if self.last_time is None or entry.time > self.last_time:
            self.last_time = entry.time
        if self.first_time is None or entry.time < self.first_time:
            self.first_time, self.is_changed = entry.time, True
        if entry.release is not None and entry.release != self.last_release:
            self.first_release = self.first_release or entry.release
            self.last_release, self.is_changed = entry.release, True
        event = "new" if is_first else self._event(entry, releases)
        if event in ("regressed", "woken"):
            self.state = "regressed" if event == "regressed" else "new"
            self.solved_in = self.solved_order = None
            self.ignored_until = self.ignored_count = None
            self.is_changed = True
        return event

    def _event(self, entry: Entry, releases: Mapping[str, int]) -> Event:
        if self.state == "solved":
            return "again" if self._is_from_before(entry.release, releases) else "regressed"
        if self.state == "ignored" and (
            (self.ignored_until is not None and entry.time >= self.ignored_until)
            or (self.ignored_count is not None and self.count >= self.ignored_count)
        ):
            return "woken"
        return "again"

    def _is_from_before(self, release: str | None, releases: Mapping[str, int]) -> bool:
        """Whether *release* is older than the one in which it is solved."""
        if self.solved_in is None or release is None:
            return False
        older = is_older_version(release, self.solved_in)
        if older is not None:
            return older
        known = releases.get(release)
        if known is None:
            return False
        if self.solved_in in releases:
            return known < releases[self.solved_in]
        # Nobody has seen the release that cures it; what was there before that does not.
        return known <= (self.solved_order or 0)


def is_older_version(release: str, other: str) -> bool | None:
    """Return whether *release* is the lower version of two; None unless both are versions.

    >>> is_older_version("1.9", "1.10"), is_older_version("1.10rc1", "1.10")
    (True, True)
    >>> is_older_version("1.9", "build-7")

    Source: PEP 440.
    """
    version = optional("packaging.version", extra="sqlalchemy", needed_by="SQLAlchemyBackend")
    try:
        return bool(version.Version(release) < version.Version(other))
    except version.InvalidVersion:
        return None
