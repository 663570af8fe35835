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
from sprockets.logbook.ticketing._sql_database import OutdatedError
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_standings import (
    history_row,
    locked_standings,
    store_standings,
)
from sprockets.logbook.ticketing._sql_statements import Work, any_of
from sprockets.logbook.ticketing._sql_states import HISTORY, Standing
from sprockets.logbook.ticketing._sql_texts import fitting, fitting_or_none
from sprockets.logbook.ticketing._sql_ways import claim, find_ways, make_tickets
from sprockets.logbook.ticketing._tables import Tables

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
        """Count *entries*, and return what became of each."""
        stored = _stored_keys(work, entries)
        fresh: dict[str, Entry] = {}
        for entry in entries:
            if entry.key not in stored:
                fresh.setdefault(entry.key, fitting_entry(entry))
        ids: dict[str, int] = {}
        standings: dict[int, Standing] = {}
        events: dict[str, tuple[Event, int]] = {}
        if fresh:
            # First of all: once tickets are locked, nothing else is to be waited for.
            releases = self._seen_releases(work, list(fresh.values()))
            ids, standings = self._tickets_of(work, list(fresh.values()))
            events = self._count(work, fresh, ids, standings, releases, now)
        outcomes = []
        for entry in entries:
            if entry.key in stored:
                outcomes.append(Outcome(entry, "duplicate", *stored[entry.key]))
            else:
                # Whoever has the same key further on in the batch finds it stored.
                event, count = events[entry.key]
                outcomes.append(Outcome(entry, event, ids[entry.key], count))
                events[entry.key] = ("duplicate", standings[ids[entry.key]].count)
        return outcomes

    def _tickets_of(
        self, work: Work, entries: Sequence[Entry]
    ) -> tuple[dict[str, int], dict[int, Standing]]:
        """Return the ticket of each key, and the tickets, locked; missing ones are made."""
        ways = find_ways(work, entries)
        found = {entry.key: ways.way_of(entry) for entry in entries}
        made = make_tickets(work, ways, hash_as_bytes=self.hash_as_bytes)
        ids = {key: made[way] if isinstance(way, str) else way for key, way in found.items()}
        standings = locked_standings(work, set(ids.values()))
        if standings.keys() != set(ids.values()):
            raise OutdatedError("a ticket was removed meanwhile")
        for ticket_id in made.values():
            standing = standings[ticket_id]
            if standing.count or standing.fingerprint is not None:
                raise OutdatedError("a ticket was made by another meanwhile")
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
        history, hours, values = [], dict[tuple[int, datetime], int](), dict[Any, None]()
        for key, entry in entries.items():
            ticket_id = ids[key]
            standing = standings[ticket_id]
            event = standing.count_one(entry, releases)
            events[key] = (event, standing.count)
            if entry.release is not None:
                releases.setdefault(entry.release, _NEW + len(releases))
                values[ticket_id, "release", entry.release] = None
            if entry.environment is not None:
                values[ticket_id, "environment", entry.environment] = None
            if event in HISTORY:
                history.append(history_row(ticket_id, HISTORY[event], now))
            hour = (ticket_id, entry.time.replace(minute=0, second=0, microsecond=0))
            hours[hour] = hours.get(hour, 0) + 1
        store_standings(work, standings.values())
        _store_occurrences(work, entries, ids)
        tables = work.tables
        work.upsert(
            tables.histogram,
            [
                {"ticket_id": id, "hour": hour, "count": n}
                for (id, hour), n in sorted(hours.items())
            ],
            added=["count"],
        )
        work.insert_missing(
            tables.values,
            [
                {"ticket_id": id, "field": name, "value": value}
                for id, name, value in sorted(values)
            ],
        )
        if history:
            work.do(work.statement("history", tables.history.insert), history)
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

    def _seen_releases(self, work: Work, entries: Sequence[Entry]) -> dict[str, int]:
        """Return the numbers of the releases of *entries* that were seen before; store the rest."""
        names = dict.fromkeys(entry.release for entry in entries if entry.release is not None)
        seen = self._releases(work, names)
        work.insert_missing(
            work.tables.releases, [{"release": name} for name in names if name not in seen]
        )
        return seen


def fitting_entry(entry: Entry) -> Entry:
    """Return *entry* with texts that fit into their columns.

    Raises:
        TypeError: It is not made of what `Entry` says.
    """
    for name in ("key", "hash", "data"):
        if not isinstance(getattr(entry, name), str):
            # Some drivers store whatever such an object has for a text.
            raise TypeError(f"{name} of an entry is text, got {getattr(entry, name)!r:.200}")
    return replace(
        entry,
        channel=fitting(entry.channel, 120),
        location=fitting(entry.location, 512, from_left=True),
        module=fitting(entry.module, 256),
        app_id=fitting(entry.app_id, 80),
        title=fitting(entry.title, 512),
        request_id=fitting_or_none(entry.request_id, 200),
        task_uuid=fitting_or_none(entry.task_uuid, 200),
        release=fitting_or_none(entry.release, 200),
        environment=fitting_or_none(entry.environment, 200),
    )


def _stored_keys(work: Work, entries: Sequence[Entry]) -> dict[str, tuple[int, int]]:
    """Return ticket and count of the keys that are stored already."""
    statement = work.statement("keys", lambda: _keys_statement(work.tables))
    rows = work.all(statement, {"keys": [entry.key for entry in entries]})
    return {key: (ticket_id, count) for key, ticket_id, count in rows}


def _keys_statement(tables: Tables) -> Any:
    details, occurrences, tickets = tables.details, tables.occurrences, tables.tickets
    return (
        sa.select(details.c.key, tickets.c.ticket_id, tickets.c.occurrence_count)
        .join(occurrences, occurrences.c.occurrence_id == details.c.occurrence_id)
        .join(tickets, tickets.c.ticket_id == occurrences.c.ticket_id)
        .where(details.c.key.in_(any_of("keys")))
    )


def _store_occurrences(work: Work, entries: Mapping[str, Entry], ids: Mapping[str, int]) -> None:
    tables = work.tables
    numbers = work.insert_numbered(
        tables.occurrences.c.occurrence_id,
        [
            {
                "ticket_id": ids[key],
                "time": entry.time,
                "data": entry.data,
                "app_id": entry.app_id,
            }
            for key, entry in entries.items()
        ],
    )
    work.do(
        work.statement("details", tables.details.insert),
        [
            {
                "occurrence_id": number,
                "key": entry.key,
                "hash": entry.hash,
                "fingerprint": entry.fingerprint,
                "request_id": entry.request_id,
                "task_uuid": entry.task_uuid,
                "release": entry.release,
                "environment": entry.environment,
                "leading": entry.leading,
            }
            for number, entry in zip(numbers, entries.values(), strict=True)
        ],
    )
