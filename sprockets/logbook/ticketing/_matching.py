"""Whether an occurrence meets a query: asked in passing, without a store."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from typing import Final

from sprockets.logbook.ticketing._entry import Outcome
from sprockets.logbook.ticketing._search import Query

_OF_TICKETS: Final = ("states", "assignees", "seen_since", "first_since")
"""What cannot be said of an occurrence."""


def check_query(query: Query) -> Query:
    """Return *query* if it can be asked of an occurrence.

    Raises:
        ValueError: It asks where a ticket stands, whose it is, or when it occurred.
    """
    for name in _OF_TICKETS:
        if getattr(query, name):
            raise ValueError(f"an occurrence has no {name}; that is asked of stores only")
    for excluded in query.excluded:
        check_query(excluded)
    return query


def matches(query: Query, outcome: Outcome) -> bool:
    """Return whether what *outcome* is of meets *query*."""
    entry = outcome.entry
    if query.levels and entry.level not in query.levels:
        return False
    if query.min_level is not None and entry.level < query.min_level:
        return False
    if query.min_count is not None and outcome.count < query.min_count:
        return False
    for wanted, value in (
        (query.releases, entry.release),
        (query.environments, entry.environment),
        (query.app_ids, entry.app_id),
        (query.request_ids, entry.request_id),
    ):
        if wanted and value not in wanted:
            return False
    if query.channels and not any(
        _globbed(channel).fullmatch(entry.channel) for channel in query.channels
    ):
        return False
    if query.texts:
        places = [
            text.casefold() for text in (entry.title, entry.channel, entry.module, entry.location)
        ]
        for text in query.texts:
            if not any(text.casefold() in place for place in places):
                return False
    return not any(matches(excluded, outcome) for excluded in query.excluded)


@lru_cache(maxsize=256)
def _globbed(pattern: str) -> re.Pattern[str]:
    # Only the star is special; what is made of several takes no time that grows with their number.
    return re.compile(translate(re.sub(r"[?\[]", r"[\g<0>]", pattern)))
