"""Occurrences of what a store holds: the record, and beside it where it was found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing._model import Details, Occurrence
from sprockets.logbook.ticketing._stored import facts_of, level_of

if TYPE_CHECKING:
    from sprockets.logbook.ticketing._backend import BackendBase

__all__ = ["leading_records", "level_of", "occurrence"]


def occurrence(
    db: BackendBase, row: Mapping[str, Any], details: Details | None = None
) -> Occurrence:
    """Return the occurrence that is stored as *row*; never raises for what that holds.

    Args:
        db: The store it is from.
        row: `OCCURRENCE_FIELDS`, by name; what is missing is ``None``.
        details: What the store has of it beyond these.
    """
    return Occurrence(db, row, details)


def leading_records(found: Occurrence) -> list[LogRecord]:
    """Return the records that led up to *found*, oldest first; damaged ones say so."""
    text = found.details.leading
    if not text:
        return []
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError):
        stored = [text]
    return [_record(data) for data in (stored if isinstance(stored, list) else [stored])]


def _record(data: object) -> LogRecord:
    record = LogRecord.from_dict(facts_of(data))
    record.heavy_initialized = True
    return record
