"""Wording: what trackers are told of a ticket."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from sprockets.logbook._text import safe_str
from sprockets.logbook.ticketing._model import Occurrence, Ticket
from sprockets.logbook.ticketing._trackers._base import PREFIX
from sprockets.logbook.ticketing._trackers._text import Text, scrubbed_json

_HASH: Final = re.compile(r"[0-9a-f]{40}")
_TIME: Final = "%Y-%m-%d %H:%M:%S UTC"


def marker_of(ticket: Ticket) -> str:
    """Return by what the issue of *ticket* is found, in whatever store the ticket is."""
    known = str(ticket.record_hash)
    if not _HASH.fullmatch(known):
        known = hashlib.sha1(known.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
    return f"{PREFIX}{known}"


def title_of(ticket: Ticket) -> str:
    """Return a line that tells what happens."""
    return ticket.status.title or f"{ticket.level_name} in {ticket.module} ({ticket.location})"


def issue_text(ticket: Ticket, last: Occurrence | None, link: str) -> Text:
    """Return what a new issue says."""
    status = ticket.status
    facts = [
        ("Ticket", ticket.ticket_id),
        ("Title", status.title),
        ("Level", ticket.level_name),
        ("Logger", ticket.channel),
        ("Place", f"{ticket.module} ({ticket.location})"),
        ("Application", ticket.app_id),
        ("First seen", status.first_time and status.first_time.strftime(_TIME)),
        ("First release", status.first_release),
        *_of_occurrence(ticket, last),
    ]
    heading = "This issue was filed for a ticket, and is kept up to date."
    return Text(heading, _present(facts), _body_of(last), link, marker_of(ticket))


def count_text(ticket: Ticket, last: Occurrence | None, link: str) -> Text:
    """Return what a comment says once there are many occurrences."""
    heading = f"It has occurred {ticket.occurrence_count:,} times."
    return Text(heading, _present(_of_occurrence(ticket, last)), link=link)


def regressed_text(ticket: Ticket, last: Occurrence | None, link: str) -> Text:
    """Return what a comment says when a ticket that was solved occurs again."""
    facts = _present(_of_occurrence(ticket, last))
    return Text("It was solved, and has occurred again.", facts, _body_of(last), link)


def reopened_text(ticket: Ticket, link: str) -> Text:
    """Return what a comment says when somebody reopened a ticket."""
    return Text("The ticket was reopened.", link=link)


def solved_text(ticket: Ticket, link: str) -> Text:
    """Return what a comment says when a ticket is solved."""
    facts = _present([("Release", ticket.status.solved_in)])
    return Text("The ticket is solved.", facts, link=link)


def merged_text(into: Ticket, issue_url: str, link: str) -> Text:
    """Return what a comment says when a ticket became part of another one, *into*."""
    facts = [("Ticket", into.ticket_id), ("Title", into.status.title), ("Issue", issue_url)]
    return Text("The ticket was merged into another one.", _present(facts), link=link)


def adopted_text(into: Ticket, link: str) -> Text:
    """Return what a comment says when the issue is that of another ticket from now on, *into*."""
    facts = [("Ticket", into.ticket_id), ("Title", into.status.title)]
    heading = "The ticket was merged into another one, of which this is the issue now."
    return Text(heading, _present(facts), link=link)


def split_text(other: Ticket, link: str) -> Text:
    """Return what a comment says when a ticket was split off, *other*."""
    facts: list[tuple[str, object]] = [
        ("Ticket", other.ticket_id),
        ("Title", other.status.title),
        ("Occurrences", f"{other.occurrence_count:,}"),
    ]
    return Text("Some occurrences became a ticket of their own.", _present(facts), link=link)


def deleted_text() -> Text:
    """Return what a comment says when somebody deleted a ticket."""
    return Text("The ticket was deleted.")


def _of_occurrence(ticket: Ticket, last: Occurrence | None) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [
        ("Occurrences", f"{ticket.occurrence_count:,}"),
        ("Last seen", ticket.last_occurrence_time.strftime(_TIME)),
    ]
    if last is not None:
        details = last.details
        facts += [
            ("Release", details.release),
            ("Environment", details.environment),
            ("Request", details.request_id),
            ("Actions", details.task_uuid),
        ]
    return facts


def _body_of(last: Occurrence | None) -> str:
    if last is None:
        return ""
    parts = [safe_str(last.message)]
    if last.formatted_exception:
        parts.append(safe_str(last.formatted_exception))
    if last.extra:
        parts.append(scrubbed_json(dict(last.extra)))
    return "\n\n".join(parts)


def _present(facts: list[tuple[str, object]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, safe_str(value, 1_000)) for name, value in facts if value not in (None, ""))
