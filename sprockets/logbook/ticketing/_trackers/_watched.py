"""A store in which whatever people do with tickets is told to trackers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._model import TrackerIssue


class SupportsTelling(Protocol):
    """What is told: a filing."""

    def ticket_solved(self, ticket_id: Any) -> None:
        """A ticket was marked as solved."""

    def ticket_reopened(self, ticket_id: Any) -> None:
        """A ticket was opened again."""

    def ticket_merged(self, ticket_id: Any, into: Any) -> None:
        """A ticket became part of another one."""

    def ticket_split(self, ticket_id: Any, new_id: Any) -> None:
        """A ticket was split off another one."""

    def ticket_deleted(self, ticket_id: Any, issues: Iterable[TrackerIssue]) -> None:
        """A ticket was removed."""


class WatchedBackend(BackendBase):
    """Does what another store does, and tells a filing what was done with tickets.

    Only what happened is told, and only once it did.

    Args:
        db: The other store; closed with this one.
        filing: Is told, and waits for nothing.
    """

    def __init__(self, db: BackendBase, filing: SupportsTelling) -> None:
        self.watched: BackendBase = db
        self._filing = filing
        super().__init__(**db.options)

    def setup_backend(self) -> None:
        """Do nothing: the other store is there."""

    def solve_ticket(self, ticket_id: Any, *, release: str | None = None, actor: str = "") -> bool:
        """Mark a ticket as solved, and have its issues closed."""
        is_done = self.watched.solve_ticket(ticket_id, release=release, actor=actor)
        if is_done:
            self._filing.ticket_solved(ticket_id)
        return is_done

    def reopen_ticket(self, ticket_id: Any, *, actor: str = "") -> bool:
        """Mark a ticket as new, and have its issues opened again."""
        is_done = self.watched.reopen_ticket(ticket_id, actor=actor)
        if is_done:
            self._filing.ticket_reopened(ticket_id)
        return is_done

    def merge_tickets(self, into: Any, others: Iterable[Any], *, actor: str = "") -> bool:
        """Make tickets one, and have the issues of *others* closed."""
        ids = list(others)
        is_done = self.watched.merge_tickets(into, ids, actor=actor)
        if is_done:
            for ticket_id in ids:
                self._filing.ticket_merged(ticket_id, into)
        return is_done

    def split_ticket(self, ticket_id: Any, occurrence_id: Any, *, actor: str = "") -> Any:
        """Make a ticket of its own, and have an issue made of it."""
        new_id = self.watched.split_ticket(ticket_id, occurrence_id, actor=actor)
        if new_id is not None:
            self._filing.ticket_split(ticket_id, new_id)
        return new_id

    def delete_ticket(self, ticket_id: Any) -> bool:
        """Remove a ticket and all that belongs to it, and have its issues closed."""
        # Afterwards nobody knows them.
        issues = self.watched.get_issues(ticket_id)
        if issues:
            ticket = self.watched.get_ticket(ticket_id)
            if ticket is None or ticket.status.merged_into is not None:
                # That of a merged ticket may be another one's now.
                issues = []
        is_done = self.watched.delete_ticket(ticket_id)
        if is_done and issues:
            self._filing.ticket_deleted(ticket_id, issues)
        return is_done


_OWN: Final = frozenset(vars(WatchedBackend))


def _forward(name: str) -> Callable[..., Any]:
    def method(self: WatchedBackend, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.watched, name)(*args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"WatchedBackend.{name}"
    method.__doc__ = getattr(BackendBase, name).__doc__
    return method


for _name, _value in list(vars(BackendBase).items()):
    if callable(_value) and not _name.startswith("_") and _name not in _OWN:
        setattr(WatchedBackend, _name, _forward(_name))
