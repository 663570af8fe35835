"""Merging tickets, and splitting one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha1
from typing import Any
from uuid import uuid4

from sprockets.logbook.ticketing._reading import level_of
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_lists import id_of
from sprockets.logbook.ticketing._sql_standings import (
    history_row,
    locked_standings,
    status_row,
    store_standings,
)
from sprockets.logbook.ticketing._sql_statements import Work
from sprockets.logbook.ticketing._states import Standing
from sprockets.logbook.ticketing._texts import fitting

_CHUNK = 5_000
"""Rows that one statement names."""


def merge(work: Work, into: Any, others: Iterable[Any], actor: str, now: datetime) -> bool:
    """Make tickets one; see `BackendBase.merge_tickets`.

    Raises:
        ValueError: *into* is among *others*.
    """
    target = id_of(into)
    asked = {id_of(other) for other in others}
    if target in asked and target is not None:
        raise ValueError(
            f"ticket {into!r} cannot be merged into itself; leave it out of the others"
        )
    if target is None:
        return False
    standings = locked_standings(
        work, {target, *(other for other in asked if other is not None)}, merged=True
    )
    kept = standings.pop(target, None)
    if kept is None or not standings:
        return False
    for other in standings.values():
        _take_over(work, kept, other)
    kept.is_changed = True
    kept.fingerprint = _fingerprint_of(work, kept)
    store_standings(work, [kept])
    given = sorted(standings)
    text = ", ".join(map(str, given))
    rows = [history_row(target, "merged", now, text, actor, {"tickets": given})]
    rows += [
        history_row(other, "merged", now, f"into {target}", actor, {"into": target})
        for other in given
    ]
    work.do(work.tables.history.insert(), rows)
    return True


def _take_over(work: Work, kept: Standing, other: Standing) -> None:
    tables = work.tables
    old, new = other.ticket_id, kept.ticket_id
    _keep_hashes(work, old)
    for table in (tables.occurrences, tables.fingerprints):
        work.do(table.update().where(table.c.ticket_id == old).values(ticket_id=new))
    hash = _hash_of(work, old)
    work.upsert(tables.fingerprints, [{"fingerprint": hash, "ticket_id": new}])
    histogram = tables.histogram.c
    counts = work.all(sa.select(histogram.hour, histogram.count).where(histogram.ticket_id == old))
    work.upsert(
        tables.histogram,
        [{"ticket_id": new, "hour": hour, "count": count} for hour, count in counts],
        added=["count"],
    )
    values = tables.values.c
    seen = work.all(sa.select(values.field, values.value).where(values.ticket_id == old))
    work.insert_missing(
        tables.values, [{"ticket_id": new, "field": name, "value": value} for name, value in seen]
    )
    for table in (tables.histogram, tables.values):
        work.do(table.delete().where(table.c.ticket_id == old))
    work.do(
        tables.tickets.update().where(tables.tickets.c.ticket_id == old).values(occurrence_count=0)
    )
    work.upsert(tables.status, [{**status_row(other), "merged_into": new}])
    work.do(
        tables.status.update().where(tables.status.c.merged_into == old).values(merged_into=new)
    )
    kept.added += other.count
    kept.count += other.count
    kept.title = kept.title or other.title
    times = [time for time in (kept.last_time, other.last_time) if time is not None]
    kept.last_time = max(times, default=None)
    is_earlier = other.first_time is not None and (
        kept.first_time is None or other.first_time < kept.first_time
    )
    kept.first_release = (
        (other.first_release or kept.first_release)
        if is_earlier
        else (kept.first_release or other.first_release)
    )
    kept.first_time = other.first_time if is_earlier else kept.first_time
    kept.last_release = kept.last_release or other.last_release


def _keep_hashes(work: Work, ticket_id: int) -> None:
    """Have the occurrences that Logbook wrote remember their hash, by which they can be split."""
    occurrences, details = work.tables.occurrences.c, work.tables.details
    rows = work.all(
        sa.select(occurrences.occurrence_id)
        .outerjoin_from(
            work.tables.occurrences,
            details,
            details.c.occurrence_id == occurrences.occurrence_id,
        )
        .where(occurrences.ticket_id == ticket_id, details.c.occurrence_id.is_(None))
    )
    hash = _hash_of(work, ticket_id) if rows else ""
    for begin in range(0, len(rows), _CHUNK):
        work.do(
            details.insert(),
            [{"occurrence_id": id, "hash": hash} for (id,) in rows[begin : begin + _CHUNK]],
        )


def _hash_of(work: Work, ticket_id: int) -> str:
    tickets = work.tables.tickets.c
    hash = work.scalar(sa.select(tickets.record_hash).where(tickets.ticket_id == ticket_id))
    return hash.decode("ascii", "replace") if isinstance(hash, bytes) else str(hash)


def _fingerprint_of(work: Work, standing: Standing) -> str | None:
    """Return the fingerprint of a ticket if it leads there still, else the least that does."""
    ways = work.tables.fingerprints.c
    found = [
        name
        for (name,) in work.all(
            sa.select(ways.fingerprint).where(
                ways.ticket_id == standing.ticket_id, ways.fingerprint.contains(":")
            )
        )
    ]
    return standing.fingerprint if standing.fingerprint in found else min(found, default=None)


# -- splitting


def split(work: Work, ticket_id: Any, occurrence_id: Any, actor: str, now: datetime) -> Any:
    """Make a ticket of its own of some occurrences; see `BackendBase.split_ticket`."""
    ticket, start = id_of(ticket_id), id_of(occurrence_id)
    if ticket is None or start is None:
        return None
    standing = locked_standings(work, [ticket], merged=True).get(ticket)
    if standing is None:
        return None
    _keep_hashes(work, ticket)
    tables = work.tables
    occurrences, details = tables.occurrences.c, tables.details.c
    origin = tables.occurrences.join(
        tables.details, details.occurrence_id == occurrences.occurrence_id
    )
    way_column = sa.func.coalesce(details.fingerprint, details.hash)
    way = work.scalar(
        sa.select(way_column)
        .select_from(origin)
        .where(occurrences.occurrence_id == start, occurrences.ticket_id == ticket)
    )
    if way is None:
        return None
    facts = (occurrences.occurrence_id, occurrences.time, details.release, details.environment)
    rows = work.all(
        sa.select(*facts, way_column.label("way"))
        .select_from(origin)
        .where(occurrences.ticket_id == ticket)
        .order_by(occurrences.occurrence_id)
    )
    moved = [row for row in rows if row.way == way]
    staying = [row for row in rows if row.way != way]
    if not staying:
        return None
    made = _make_ticket(work, start, moved)
    for begin in range(0, len(moved), _CHUNK):
        ids = [row.occurrence_id for row in moved[begin : begin + _CHUNK]]
        work.do(
            tables.occurrences.update()
            .where(occurrences.occurrence_id.in_(ids))
            .values(ticket_id=made.ticket_id)
        )
    work.upsert(tables.fingerprints, [{"fingerprint": way, "ticket_id": made.ticket_id}])
    made.fingerprint = way if ":" in way else None
    _move_counts(work, standing, made, moved, staying)
    standing.added = -len(moved)
    standing.last_time = max(row.time for row in staying)
    standing.fingerprint = _fingerprint_of(work, standing)
    standing.is_changed = True
    store_standings(work, [standing, made])
    work.do(
        tables.history.insert(),
        [
            history_row(
                ticket, "split", now, str(made.ticket_id), actor, {"ticket": made.ticket_id}
            ),
            history_row(made.ticket_id, "split", now, str(ticket), actor, {"ticket": ticket}),
        ],
    )
    return made.ticket_id


def _make_ticket(work: Work, start: int, moved: Sequence[Any]) -> Standing:
    """Make the ticket for the occurrences *moved*, of which *start* is one."""
    tables = work.tables
    row = work.first(
        sa.select(tables.occurrences).where(tables.occurrences.c.occurrence_id == start)
    )
    record = _record(row.data)
    location = f"{record.get('filename') or '<unknown>'}:{record.get('lineno') or 0}"
    (ticket_id,) = work.insert_numbered(
        tables.tickets.c.ticket_id,
        [
            {
                # Whatever comes for it comes by way of its fingerprint.
                "record_hash": sha1(uuid4().bytes, usedforsecurity=False).hexdigest(),
                "level": level_of(record.get("level")),
                "channel": fitting(str(record.get("channel") or ""), 120),
                "location": fitting(location, 512, from_left=True),
                "module": fitting(str(record.get("module") or "<unknown>"), 256),
                "occurrence_count": 0,
                "solved": False,
                "app_id": row.app_id,
            }
        ],
    )
    releases = [one.release for one in moved if one.release]
    times = [one.time for one in moved]
    return Standing(
        ticket_id,
        len(moved),
        max(times),
        "new",
        fitting(_title(record), 512),
        "",
        None,
        min(times),
        releases[0] if releases else None,
        releases[-1] if releases else None,
        added=len(moved),
        is_changed=True,
    )


def _record(data: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _title(record: Mapping[str, Any]) -> str:
    name = str(record.get("exception_name") or "").rpartition(".")[2]
    if name:
        return f"{name}: {record.get('exception_message') or ''}".rstrip(": ").partition("\n")[0]
    return str(record.get("message") or record.get("msg") or "").partition("\n")[0]


def _move_counts(
    work: Work, old: Standing, new: Standing, moved: Sequence[Any], staying: Sequence[Any]
) -> None:
    tables = work.tables
    hours: dict[datetime, int] = {}
    for row in moved:
        hour = row.time.replace(minute=0, second=0, microsecond=0)
        hours[hour] = hours.get(hour, 0) + 1
    for ticket_id, sign in ((old.ticket_id, -1), (new.ticket_id, 1)):
        work.upsert(
            tables.histogram,
            [
                {"ticket_id": ticket_id, "hour": hour, "count": sign * count}
                for hour, count in sorted(hours.items())
            ],
            added=["count"],
        )
    values = tables.values
    for name in ("release", "environment"):
        seen = {getattr(row, name) for row in moved} - {None}
        work.insert_missing(
            values,
            [{"ticket_id": new.ticket_id, "field": name, "value": value} for value in sorted(seen)],
        )
        gone = seen - {getattr(row, name) for row in staying}
        if gone:
            work.do(
                values.delete().where(
                    values.c.ticket_id == old.ticket_id,
                    values.c.field == name,
                    values.c.value.in_(gone),
                )
            )
