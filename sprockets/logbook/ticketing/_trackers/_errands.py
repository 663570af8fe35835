"""Errands: what people do with tickets, beyond solving and reopening them, told to one tracker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from sprockets.logbook.ticketing._model import Ticket, TrackerIssue
from sprockets.logbook.ticketing._trackers import _wording
from sprockets.logbook.ticketing._trackers._jobs import OPEN, Job

if TYPE_CHECKING:
    from sprockets.logbook.ticketing._trackers._desk import Desk


def tell_of_merging(desk: Desk, job: Job) -> None:
    """Close the issue of a ticket that became part of another one, unless that one needs it.

    If the other has no issue and is open, it takes over this one.
    """
    known = desk.db.get_issue(job.ticket_id, desk.tracker.name)
    into = desk.find_ticket(job.other)
    if known is None or into is None or into.ticket_id == job.ticket_id:
        desk.counts["skipped"] += 1
        return
    if known.issue_id is None:
        # Somebody is filing it, and does not know yet that it is merged.
        desk.put_off(job, "claimed")
        return
    target = desk.db.get_issue(into.ticket_id, desk.tracker.name)
    if not known.is_open or (target is not None and target.issue_id == known.issue_id):
        desk.counts["overtaken"] += 1
    elif target is None and into.status.state in OPEN:
        _adopt(desk, job, known, into)
    elif target is not None and target.issue_id is None:
        # One is being filed for the other: that will be the one that stays.
        desk.put_off(job, "claimed")
    else:
        url = (target.url if target is not None else None) or ""
        text = _wording.merged_text(into, url, desk.manners.link(into.ticket_id))
        desk.tracker.close(known.issue_id, text)
        desk.counts["closed"] += 1
        desk.save(known, is_open=False)


def _adopt(desk: Desk, job: Job, known: TrackerIssue, into: Ticket) -> None:
    manners, name = desk.manners, desk.tracker.name
    ticket_id = into.ticket_id
    if not desk.db.claim_issue(ticket_id, name, now=manners.now(), patience=manners.patience):
        desk.put_off(job, "claimed")
        return
    assert known.issue_id is not None
    # Stored first: a comment that is missing misleads nobody, a second issue would.
    desk.db.save_issue(
        TrackerIssue(ticket_id, name, known.issue_id, known.url, known.commented_at, True)
    )
    desk.counts["adopted"] += 1
    text = _wording.adopted_text(into, manners.link(ticket_id))
    desk.tracker.comment(known.issue_id, text)
    url = known.url or ""
    desk.db.add_history(ticket_id, "filed", url, tracker=name, issue=known.issue_id, url=url)


def tell_of_splitting(desk: Desk, job: Job) -> None:
    """Say in the issue of a ticket what was split off, for which an issue of its own is made."""
    known = desk.db.get_issue(job.ticket_id, desk.tracker.name)
    other = desk.db.get_ticket(job.other)
    if known is None or known.issue_id is None or other is None:
        desk.counts["skipped"] += 1
        return
    text = _wording.split_text(other, desk.manners.link(other.ticket_id))
    desk.tracker.comment(known.issue_id, text)
    desk.counts["commented"] += 1


def tell_of_deleting(desk: Desk, job: Job) -> None:
    """Close the issue of a ticket that is no more."""
    for known in job.issues:
        if known.tracker != desk.tracker.name or known.issue_id is None:
            continue
        # What is known of it is from before this job was put: there may have been others first.
        if not desk.told.get(known.issue_id, known.is_open):
            desk.counts["overtaken"] += 1
            return
        desk.tracker.close(known.issue_id, _wording.deleted_text())
        desk.counts["closed"] += 1
        return
    desk.counts["skipped"] += 1


BY_REASON: Final[Mapping[str, Callable[[Desk, Job], None]]] = {
    "merged": tell_of_merging,
    "split": tell_of_splitting,
    "deleted": tell_of_deleting,
}
"""What is to be done, by why."""
