"""Kinds of trackers, by the names that files and commands have for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from sprockets.logbook.ticketing._trackers._base import Tracker
from sprockets.logbook.ticketing._trackers._github import GitHubTracker
from sprockets.logbook.ticketing._trackers._gitlab import GitLabTracker
from sprockets.logbook.ticketing._trackers._redmine import RedmineTracker
from sprockets.logbook.ticketing._trackers._trac import TracTracker

KINDS: Final[Mapping[str, Callable[..., Tracker]]] = {
    "github": GitHubTracker,
    "gitea": partial(GitHubTracker, flavor="gitea"),
    "gitlab": GitLabTracker,
    "redmine": RedmineTracker,
    "trac": TracTracker,
}
"""What makes a tracker, by ``kind``."""


def make_tracker(facts: Mapping[str, Any]) -> Tracker:
    """Return the tracker that *facts* describe, as a table in a file does.

    Args:
        facts: The ``kind``, and what its class takes.

    Raises:
        ValueError: There is no such kind, or it takes something else.

    >>> make_tracker({"kind": "github", "repository": "shop/backend", "token": "s3cr3t"})
    <GitHubTracker 'github:shop/backend'>
    """
    options = dict(facts)
    kind = options.pop("kind", None)
    make = KINDS.get(kind) if isinstance(kind, str) else None
    if make is None:
        known = ", ".join(KINDS)
        raise ValueError(f"kind of a tracker: expected one of {known}, got {kind!r}")
    try:
        # What is wrong is said without the values, which may be secrets.
        inspect.signature(make).bind(**options)
    except TypeError as error:
        raise ValueError(f"tracker of kind {kind!r}: {error}") from None
    try:
        return make(**options)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"tracker of kind {kind!r}: a value of another type: {error}") from error
