"""What people look for among tickets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

State: TypeAlias = Literal["new", "assigned", "solved", "ignored", "regressed"]
"""Where a ticket stands.

A ticket is ``new`` until somebody takes it (``assigned``), solves or ignores it; ``regressed`` if
it came again after it was solved.
"""

STATES: Final[tuple[State, ...]] = ("new", "assigned", "solved", "ignored", "regressed")


@dataclass(frozen=True, slots=True)
class Query:
    """Conditions that a ticket meets, all of them; of the values of one, any.

    Args:
        states: In which state it is.
        levels: Numbers of its level.
        min_level: Least number of its level.
        channels: Its channel, whole; with ``*`` for any text.
        releases: A release in which it was seen.
        environments: An environment in which it was seen.
        app_ids: Its application.
        assignees: To whom it is assigned; ``""`` for nobody.
        request_ids: A request during which it occurred.
        seen_since: It occurred at that time or later (UTC, no zone).
        first_since: It occurred for the first time at that time or later.
        min_count: Least number of occurrences.
        texts: Texts that title, channel, module or location contain, in any case; all of them.
        excluded: Of these, none may be met as a whole.
    """

    states: tuple[State, ...] = ()
    levels: tuple[int, ...] = ()
    min_level: int | None = None
    channels: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    app_ids: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()
    request_ids: tuple[str, ...] = ()
    seen_since: datetime | None = None
    first_since: datetime | None = None
    min_count: int | None = None
    texts: tuple[str, ...] = ()
    excluded: tuple[Query, ...] = ()


EVERYTHING: Final = Query()
