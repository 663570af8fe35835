"""The histogram: how often tickets occurred, hour by hour and day by day."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._sql_lists import id_of
from sprockets.logbook.ticketing._sql_statements import Work

_STEPS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


def get_counts(
    work: Work,
    ticket_ids: Iterable[Any],
    since: datetime,
    until: datetime,
    step: Literal["hour", "day"],
) -> dict[Any, list[int]]:
    """Return how often tickets occurred in each hour or day."""
    width = _STEPS[step]
    begin = since.replace(minute=0, second=0, microsecond=0)
    if step == "day":
        begin = begin.replace(hour=0)
    number = max(0, (until - begin) // width + 1)
    asked = {ticket_id: id_of(ticket_id) for ticket_id in ticket_ids}
    counts = {found: [0] * number for found in asked.values() if found is not None}
    rows = work.look_up(
        ("counts", step),
        partial(_counting_hours, step),
        {"begin": begin, "end": begin + number * width},
        ids=list(counts),
    )
    for ticket_id, moment, count in rows:
        counts[ticket_id][(_moment(moment) - begin) // width] += int(count)
    nothing = [0] * number
    return {
        ticket_id: nothing[:] if found is None else counts[found]
        for ticket_id, found in asked.items()
    }


def _counting_hours(step: Literal["hour", "day"], work: Work) -> Any:
    table = work.tables.histogram.c
    # Whole days are added up by the database: thirty rows of a ticket, not 720.
    place: Any = table.hour
    if step == "day":
        # Spelled out: what is selected and what is grouped by are to be one and the same.
        place = (
            sa.func.date_trunc(sa.literal_column("'day'"), table.hour)
            if work.kind == "postgresql"
            else sa.func.date(table.hour)
        )
    return (
        sa.select(table.ticket_id, place.label("place"), sa.func.sum(table.count))
        .where(
            work.is_among(table.ticket_id, "ids"),
            table.hour >= sa.bindparam("begin", type_=table.hour.type),
            table.hour < sa.bindparam("end", type_=table.hour.type),
        )
        .group_by(table.ticket_id, place)
    )


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(str(value))
