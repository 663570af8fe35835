"""Counting: a batch of occurrences becomes rows, in one transaction and few statements.

Whatever two processes do to the same tickets, they do in the same order: they make the missing ones
in the order of their hashes, then lock all in the order of their ids.  So they wait, and do not
block each other for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sprockets.logbook.ticketing._entry import Entry, Event, Outcome
from sprockets.logbook.ticketing._sql_adding import Additions
from sprockets.logbook.ticketing._sql_database import OutdatedError
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_standings import history_row, locked_standings
from sprockets.logbook.ticketing._sql_statements import Work
from sprockets.logbook.ticketing._sql_ways import Ways, accept, claim, find, make_tickets
from sprockets.logbook.ticketing._states import HISTORY, Standing
from sprockets.logbook.ticketing._texts import fitting

_LENGTHS: Final = {
    "channel": 120,
    "location": 512,
    "module": 256,
    "app_id": 80,
    "title": 512,
    "request_id": 200,
    "task_uuid": 200,
    "release": 200,
    "environment": 200,
}
"""Characters that fit into columns."""
_NEW: Final = 1 << 62
"""Numbers of releases that nobody has seen before begin here, until they have their own."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Counts batches of occurrences.

    Args:
        hash_as_bytes: Whether hashes are stored as Logbook's later releases do on SQLite.
        releases: Numbers of releases that are stored for certain, filled by and by.
    """

    hash_as_bytes: bool = False
    releases: dict[str, int] = field(default_factory=dict)

    def record(self, work: Work, entries: Sequence[Entry], now: datetime) -> list[Outcome]:
        """Count *entries*, which :func:`fitting_entry` returned, and return what became of each."""
        stored, ways = find(work, entries)
        fresh: dict[str, Entry] = {}
        for entry in entries:
            if entry.key not in stored:
                fresh.setdefault(entry.key, entry)
        ids: dict[str, int] = {}
        standings: dict[int, Standing] = {}
        events: dict[str, tuple[Event, int]] = {}
        if fresh:
            # First of all: once tickets are locked, nothing else is to be waited for.
            releases = self._seen_releases(work, fresh.values())
            ids, standings = self._tickets_of(work, ways, fresh.values())
            events = self._count(work, fresh, ids, standings, releases, now)
        outcomes = []
        for entry in entries:
            key = entry.key
            if key in stored:
                outcomes.append(Outcome(entry, "duplicate", *stored[key]))
            else:
                # Whoever has the same key further on in the batch finds it stored.
                event, count = events[key]
                outcomes.append(Outcome(entry, event, ids[key], count))
                events[key] = ("duplicate", standings[ids[key]].count)
        return outcomes

    def _tickets_of(
        self, work: Work, ways: Ways, entries: Iterable[Entry]
    ) -> tuple[dict[str, int], dict[int, Standing]]:
        """Return the ticket of each key, and the tickets, locked; missing ones are made."""
        found = {entry.key: ways.way_of(entry) for entry in entries}
        made = make_tickets(work, ways, hash_as_bytes=self.hash_as_bytes)
        ids = {key: made[way] if isinstance(way, str) else way for key, way in found.items()}
        standings = locked_standings(work, set(ids.values()))
        if standings.keys() != set(ids.values()):
            raise OutdatedError("a ticket was removed meanwhile")
        accept(work, ways, made, standings)
        claim(work, ways, made, standings)
        return ids, standings

    # -- counting

    def _count(
        self,
        work: Work,
        entries: Mapping[str, Entry],
        ids: Mapping[str, int],
        standings: Mapping[int, Standing],
        releases: dict[str, int],
        now: datetime,
    ) -> dict[str, tuple[Event, int]]:
        """Store *entries*, and return what each was, and the how-manieth."""
        solved_in = [one.solved_in for one in standings.values() if one.solved_in is not None]
        if solved_in:
            releases |= self._releases(work, solved_in)
        events: dict[str, tuple[Event, int]] = {}
        batch = Additions(list(standings.values()))
        hours, values = batch.hours, batch.values
        for key, entry in entries.items():
            ticket_id = ids[key]
            standing = standings[ticket_id]
            event = standing.count_one(entry, releases)
            events[key] = (event, standing.count)
            if entry.release is not None:
                releases.setdefault(entry.release, _NEW + len(releases))
                values.add((ticket_id, "release", entry.release))
            if entry.environment is not None:
                values.add((ticket_id, "environment", entry.environment))
            if event in HISTORY:
                batch.history.append(history_row(ticket_id, HISTORY[event], now))
            hour = (ticket_id, entry.time.replace(minute=0, second=0, microsecond=0))
            hours[hour] = hours.get(hour, 0) + 1
            batch.entries.append((ticket_id, entry))
        batch.store(work)
        return events

    def _releases(self, work: Work, names: Iterable[str]) -> dict[str, int]:
        """Return the numbers of the releases of these names that are stored."""
        wanted = set(names)
        asked = wanted - self.releases.keys()
        if asked:
            table = work.tables.releases
            # They are never removed, so they may be remembered.
            self.releases.update(
                (name, number)
                for number, name in work.all(
                    sa.select(table.c.release_id, table.c.release).where(table.c.release.in_(asked))
                )
            )
        return {name: self.releases[name] for name in wanted if name in self.releases}

    def _seen_releases(self, work: Work, entries: Iterable[Entry]) -> dict[str, int]:
        """Return the numbers of the releases of *entries* that were seen before; store the rest."""
        names = dict.fromkeys(entry.release for entry in entries if entry.release is not None)
        seen = self._releases(work, names)
        work.insert_missing(
            work.tables.releases, [{"release": name} for name in names if name not in seen]
        )
        return seen


def fitting_entry(entry: Entry) -> Entry:
    """Return *entry* with texts that fit into their columns; itself if they do.

    Raises:
        TypeError: It is not made of what `Entry` says.
    """
    for name in ("key", "hash", "data"):
        if not isinstance(getattr(entry, name), str):
            # Some drivers store whatever such an object has for a text.
            raise TypeError(f"{name} of an entry is text, got {getattr(entry, name)!r:.200}")
    changed: dict[str, Any] = {}
    for name, length in _LENGTHS.items():
        text = getattr(entry, name)
        if text is not None:
            fit = fitting(text, length, from_left=name == "location")
            if fit is not text:
                changed[name] = fit
    return replace(entry, **changed) if changed else entry
