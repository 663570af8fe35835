"""Ways: which ticket counts an occurrence, by fingerprint or hash; missing ones are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any, Final, TypeAlias

from sprockets.logbook.ticketing._entry import Entry
from sprockets.logbook.ticketing._sql_database import OutdatedError
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_statements import Work
from sprockets.logbook.ticketing._states import Standing

Stored: TypeAlias = dict[str, tuple[int, int]]
"""Tickets, and how many occurrences they have had, by the keys of occurrences."""

_KEY: Final = 0
_WAY: Final = 1
_HASH: Final = 2
"""By what something was found."""


def _digest(text: str) -> str:
    return sha1(text.encode("utf-8", "backslashreplace"), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class Ways:
    """Which tickets fingerprints and hashes lead to, and what has to be made for that.

    Args:
        known: Ids of tickets by fingerprint or hash.
        claimed: Fingerprints of tickets that have one, by id.
        missing: Tickets that have to be made, by their hash: the first occurrence of each.
        claims: Ids or, of tickets to be made, hashes, by the fingerprint that claims them.
    """

    known: dict[str, int | str]
    claimed: dict[int | str, str]
    missing: dict[str, Entry] = field(default_factory=dict)
    claims: dict[str, int | str] = field(default_factory=dict)

    def way_of(self, entry: Entry) -> int | str:
        """Return the id of the ticket that counts *entry*, or the hash of one to be made."""
        ticket = self.known.get(entry.hash)
        if entry.fingerprint is None:
            return self._make(entry.hash, entry) if ticket is None else ticket
        if entry.fingerprint in self.known:
            return self.known[entry.fingerprint]
        if ticket is None:
            ticket = self._make(entry.hash, entry)
        elif ticket in self.claimed:
            # Another bug in the same line: Logbook's hash is taken.
            made = _digest(entry.fingerprint)
            ticket = self._make(made, entry)
        self.known[entry.fingerprint] = self.claims[entry.fingerprint] = ticket
        self.claimed[ticket] = entry.fingerprint
        return ticket

    def _make(self, hash: str, entry: Entry) -> str:
        self.known[hash] = hash
        self.missing[hash] = entry
        return hash


def find(work: Work, entries: Sequence[Entry]) -> tuple[Stored, Ways]:
    """Return which of *entries* are stored already, and what all of them lead to."""
    hashes = {entry.hash for entry in entries}
    names = hashes | {entry.fingerprint for entry in entries if entry.fingerprint is not None}
    stored: Stored = {}
    known: dict[str, int | str] = {}
    claimed: dict[int | str, str] = {}
    by_hash: dict[str, int | str] = {}
    for source, name, ticket_id, count, fingerprint in work.look_up(
        "find",
        _finding,
        keys=[entry.key for entry in entries],
        names=list(names),
        hashes=list(hashes),
    ):
        if source == _KEY:
            stored[name] = (ticket_id, count or 0)
        elif source == _WAY:
            known[name] = ticket_id
        else:
            by_hash[name] = ticket_id
            if fingerprint is not None:
                claimed[ticket_id] = fingerprint
    missing = hashes - by_hash.keys() - known.keys()
    if missing and work.kind == "sqlite":
        for ticket_id, blob, fingerprint in work.look_up(
            "blobs", _finding_blobs, hashes=[*missing]
        ):
            by_hash[blob.decode("utf-8", "replace")] = ticket_id
            if fingerprint is not None:
                claimed[ticket_id] = fingerprint
    # What was merged or split away leads elsewhere than the hash alone would.
    elsewhere = {ticket for name, ticket in known.items() if name in hashes}
    if elsewhere and len(names) > len(hashes):
        status = work.tables.status.c
        rows = work.all(
            sa.select(status.ticket_id, status.fingerprint).where(
                status.ticket_id.in_(elsewhere), status.fingerprint.is_not(None)
            )
        )
        claimed.update({row.ticket_id: row.fingerprint for row in rows})
    return stored, Ways({**by_hash, **known}, claimed)


def _finding(work: Work) -> Any:
    """Return the one statement that looks everything up."""
    details, occurrences = work.tables.details, work.tables.occurrences
    tickets, status, ways = work.tables.tickets, work.tables.status, work.tables.fingerprints.c
    number = sa.literal_column
    by_key = (
        sa.select(
            number(str(_KEY)).label("source"),
            details.c.key.label("name"),
            tickets.c.ticket_id,
            tickets.c.occurrence_count,
            sa.null().label("fingerprint"),
        )
        .join(occurrences, occurrences.c.occurrence_id == details.c.occurrence_id)
        .join(tickets, tickets.c.ticket_id == occurrences.c.ticket_id)
        .where(work.is_among(details.c.key, "keys"))
    )
    by_way = sa.select(
        number(str(_WAY)), ways.fingerprint, ways.ticket_id, number("0"), sa.null()
    ).where(work.is_among(ways.fingerprint, "names"))
    by_hash = (
        sa.select(
            number(str(_HASH)),
            tickets.c.record_hash,
            tickets.c.ticket_id,
            number("0"),
            status.c.fingerprint,
        )
        .outerjoin(status, status.c.ticket_id == tickets.c.ticket_id)
        .where(work.is_among(tickets.c.record_hash, "hashes"))
    )
    return sa.union_all(by_key, by_way, by_hash)


def _finding_blobs(work: Work) -> Any:
    """Return the statement for what Logbook's later releases wrote: the same digits as a BLOB."""
    tickets, status = work.tables.tickets, work.tables.status
    hash = sa.type_coerce(tickets.c.record_hash, sa.LargeBinary)
    return (
        sa.select(tickets.c.ticket_id, hash, status.c.fingerprint)
        .outerjoin(status, status.c.ticket_id == tickets.c.ticket_id)
        .where(hash.in_(work.listed("hashes", sa.LargeBinary)))
    )


def make_tickets(work: Work, ways: Ways, *, hash_as_bytes: bool) -> dict[str, int]:
    """Make the tickets that are missing, and return their ids by hash."""
    if not ways.missing:
        return {}
    tickets = work.tables.tickets
    stored: dict[Any, str] = {
        hash.encode() if hash_as_bytes and work.kind == "sqlite" else hash: hash
        for hash in sorted(ways.missing)
    }
    work.insert_missing(
        tickets,
        [{"record_hash": form, **_ticket_of(ways.missing[hash])} for form, hash in stored.items()],
    )
    rows = work.all(
        sa.select(tickets.c.record_hash, tickets.c.ticket_id).where(
            tickets.c.record_hash.in_(list(stored))
        )
    )
    made = {stored[form]: ticket_id for form, ticket_id in rows}
    if len(made) < len(stored):
        raise OutdatedError("a ticket was removed as soon as it was made")
    return made


def _ticket_of(entry: Entry) -> dict[str, Any]:
    """Return Logbook's fields of a ticket that begins with *entry*, but for hash and id."""
    return {
        "level": entry.level,
        "channel": entry.channel,
        "location": entry.location,
        "module": entry.module,
        "last_occurrence_time": entry.time,
        "occurrence_count": 0,
        "solved": False,
        "app_id": entry.app_id,
    }


def accept(
    work: Work, ways: Ways, made: Mapping[str, int], standings: Mapping[int, Standing]
) -> None:
    """Take the tickets that another has made meanwhile, if that is what would have been found.

    To look everything up again instead would let many that begin at once try many times.

    Args:
        work: The transaction.
        ways: What leads to them.
        made: Ids of tickets that were missing, by their hash.
        standings: The tickets, locked.

    Raises:
        OutdatedError: One is another's bug by now, or was divided up.
    """
    others = {
        hash: standings[ticket_id]
        for hash, ticket_id in made.items()
        if standings[ticket_id].count or standings[ticket_id].fingerprint is not None
    }
    if not others:
        return
    for fingerprint, way in list(ways.claims.items()):
        claimed = others[way].fingerprint if way in others else None
        if claimed == fingerprint:
            del ways.claims[fingerprint]
        elif claimed is not None:
            raise OutdatedError("a ticket was claimed by another meanwhile")
    table = work.tables.fingerprints
    names = sa.select(table.c.fingerprint).where(table.c.fingerprint.in_(list(others)))
    if work.all(names):
        raise OutdatedError("a ticket leads elsewhere meanwhile")


def claim(
    work: Work, ways: Ways, made: Mapping[str, int], standings: Mapping[int, Standing]
) -> None:
    """Have the fingerprints that lead nowhere lead to their tickets.

    Args:
        work: The transaction.
        ways: What they are to lead to.
        made: Ids of tickets that were made, by their hash.
        standings: The tickets, locked.

    Raises:
        OutdatedError: Another was faster.
    """
    claims = {
        fingerprint: made[way] if isinstance(way, str) else way
        for fingerprint, way in sorted(ways.claims.items())
    }
    if not claims:
        return
    for fingerprint, ticket_id in claims.items():
        standing = standings[ticket_id]
        if standing.fingerprint is not None:
            raise OutdatedError("a ticket was claimed by another meanwhile")
        standing.fingerprint = fingerprint
        standing.is_changed = True
    table = work.tables.fingerprints
    work.insert_missing(
        table, [{"fingerprint": name, "ticket_id": id} for name, id in claims.items()]
    )
    rows = work.all(
        sa.select(table.c.fingerprint, table.c.ticket_id).where(
            table.c.fingerprint.in_(list(claims))
        )
    )
    if {row.fingerprint: row.ticket_id for row in rows} != claims:
        raise OutdatedError("a fingerprint was taken by another meanwhile")
