"""What pages ask a store again and again, and need not: kept for a while by each process."""

from __future__ import annotations

from time import monotonic
from typing import Final

from sprockets.logbook.ticketing._search import Query
from sprockets.tickets._settings import Site

_MAX_KNOWN: Final = 100


class Counts:
    """How many tickets meet conditions; known as long as the store's mark is what it was.

    To count is what takes longest of a list, and it counts the same again and again.

    Args:
        site: Whose store it is.
    """

    def __init__(self, site: Site) -> None:
        self._store = site.store
        self._known: tuple[str, dict[Query, int]] = ("", {})

    def count(self, query: Query, mark: str) -> int:
        """Return how many tickets meet *query*; *mark* was read from the store before."""
        known_mark, known = self._known
        if known_mark != mark or len(known) >= _MAX_KNOWN:
            # A dict of its own for each mark: another thread may still fill that of the last one.
            known = {}
            self._known = (mark, known)
        if query not in known:
            known[query] = self._store.count_tickets(query)
        return known[query]


class Values:
    """What may be chosen in a field: releases, names; known as long as the mark is what it was.

    And for some seconds in any case: who types something else than what is proposed may do so.

    Args:
        site: Whose store it is.
    """

    max_age: float = 15.0
    """Seconds after which they are asked for again if the mark is another one."""

    def __init__(self, site: Site) -> None:
        self._store = site.store
        self._known: dict[str, tuple[str, float, list[str]]] = {}

    def of(self, field: str, mark: str) -> list[str]:
        """Return the values of *field*; *mark* was read from the store before."""
        now = monotonic()
        known = self._known.get(field)
        if known is None or (known[0] != mark and now - known[1] >= self.max_age):
            known = self._known[field] = (mark, now, self._store.get_values(field))
        return known[2]
