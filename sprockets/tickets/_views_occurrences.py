"""What pages show of occurrences: one in full, many in a table, all of a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing._model import Occurrence, Ticket, TrackerIssue
from sprockets.logbook.ticketing._reading import leading_records
from sprockets.tickets._trees import unique
from sprockets.tickets._views import view_ticket
from sprockets.tickets._views_records import (
    Fact,
    RecordView,
    arguments_of,
    error_of,
    extra_of,
    facts_of_record,
    message_of,
    view_record,
)
from sprockets.tickets._views_texts import (
    Moment,
    cut,
    level_name,
    moment_of,
    occurrence_url,
    one_line,
    request_url,
    ticket_url,
    web_url,
)

MAX_RECORDS: Final = 500
"""Records that pages show in one table, the last ones."""

_SHOWN: Final = 160
_ID: Final = 12


@dataclass(frozen=True, slots=True)
class OccurrenceView:
    """An occurrence in full.

    Args:
        occurrence_id: Its id, as text.
        url: Of its page.
        time: When it was.
        message: What it says.
        links: Request, task, release and environment.
        extra: What was added to the record.
        arguments: What the message was made of.
        origin: Where the record was made.
    """

    occurrence_id: str
    url: str
    time: Moment | None
    message: str
    links: list[Fact]
    extra: list[Fact]
    arguments: list[Fact]
    origin: list[Fact]


def view_occurrence(found: Occurrence, now: datetime, base: str) -> OccurrenceView:
    """Return what is shown of *found*; *now* is in UTC and without a zone."""
    details = found.details
    links = [
        Fact(
            "Request",
            details.request_id or "",
            request_url(base, details.request_id) if details.request_id else "",
        ),
        Fact("Task", details.task_uuid or ""),
        Fact("Release", details.release or ""),
        Fact("Environment", details.environment or ""),
    ]
    known = ("request_id", "task_uuid", "task_level")
    return OccurrenceView(
        str(found.occurrence_id),
        occurrence_url(base, found.occurrence_id),
        moment_of(found.time, now),
        message_of(found),
        [fact for fact in links if fact.value],
        [fact for fact in extra_of(found) if fact.name not in known],
        arguments_of(found),
        facts_of_record(found),
    )


def view_leading(
    found: Occurrence, records: Iterable[LogRecord], now: datetime
) -> list[RecordView]:
    """Return what is shown of *records*, which led up to *found*; none if there are none.

    The occurrence itself is the last of them.
    """
    leading = list(records)[-MAX_RECORDS:]
    if not leading:
        return []
    return [view_record(each, now, found.time) for each in leading] + [
        view_record(found, now, found.time, is_here=True)
    ]


@dataclass(frozen=True, slots=True)
class OccurrenceRow:
    """An occurrence in a table."""

    url: str
    time: Moment | None
    message: str
    error: str
    request_id: str
    request_url: str
    request_short: str
    release: str
    environment: str


def occurrence_rows(
    occurrences: Iterable[Occurrence], now: datetime, base: str
) -> list[OccurrenceRow]:
    """Return the rows of a table of occurrences."""
    rows = []
    for each in occurrences:
        request_id = each.details.request_id or ""
        message, error = one_line(message_of(each)), error_of(each)
        rows.append(
            OccurrenceRow(
                occurrence_url(base, each.occurrence_id),
                moment_of(each.time, now),
                cut(message, _SHOWN),
                "" if error in message else cut(error, _SHOWN),
                request_id,
                request_url(base, request_id) if request_id else "",
                cut(request_id, _ID),
                each.details.release or "",
                each.details.environment or "",
            )
        )
    return rows


# -- all of a request


@dataclass(frozen=True, slots=True)
class Failure:
    """An occurrence among those of a request."""

    url: str
    level_name: str
    message: str
    error: str
    channel: str
    location: str
    ticket_url: str
    ticket_title: str
    is_elsewhere: bool


def view_failures(
    occurrences: Iterable[Occurrence],
    tickets: Mapping[Any, Ticket],
    request_id: str,
    now: datetime,
    base: str,
) -> list[Failure]:
    """Return what is shown of the occurrences of a request, and of others of its task.

    Args:
        occurrences: The oldest first.
        tickets: By id.
        request_id: The request.
        now: The present, in UTC and without a zone.
        base: Path of the frontend, without a slash at its end.
    """
    found = []
    for each in occurrences:
        ticket = tickets.get(each.ticket_id)
        title = f"#{each.ticket_id}"
        if ticket is not None:
            title += f" {view_ticket(ticket, now, base).title}"
        record = view_record(each, now)
        found.append(
            Failure(
                occurrence_url(base, each.occurrence_id),
                level_name(each.level),
                cut(message_of(each), _SHOWN * 2),
                record.error,
                record.channel,
                record.location,
                ticket_url(base, each.ticket_id),
                cut(title, _SHOWN),
                each.details.request_id != request_id,
            )
        )
    return found


def records_of(occurrences: Iterable[Occurrence]) -> list[LogRecord]:
    """Return *occurrences* and the records that led up to them: each once, the oldest first."""
    found: list[LogRecord] = []
    counted = list(occurrences)
    # First those that were counted: of two copies, theirs is the one that has a page.
    found += counted
    for each in counted:
        found += leading_records(each)
    return sorted(unique(found), key=_time_of)


def _time_of(record: LogRecord) -> str:
    # As text: what has no time is first.
    return "" if record.time is None else record.time.isoformat(timespec="microseconds")


def view_request_records(
    records: Sequence[LogRecord], now: datetime, base: str
) -> list[RecordView]:
    """Return what is shown of the records of a request, with times from the first one on."""
    shown = records[-MAX_RECORDS:]
    origin = next((record.time for record in shown if record.time is not None), None)
    views = []
    for record in shown:
        url = ""
        if isinstance(record, Occurrence):
            url = occurrence_url(base, record.occurrence_id)
        views.append(view_record(record, now, origin, url=url))
    return views


_OF_REQUEST: Final = (
    ("method", "Method"),
    ("path", "Path"),
    ("handler", "Handler"),
    ("remote_ip", "From"),
    ("status", "Status"),
)


def facts_of_request(records: Iterable[LogRecord]) -> list[Fact]:
    """Return what the records of a request say of it: what was asked for, and who answered."""
    known: dict[str, str] = {}
    for record in records:
        for fact in extra_of(record):
            known.setdefault(fact.name, fact.value)
    return [Fact(title, known[name]) for name, title in _OF_REQUEST if known.get(name)]


# -- trackers


@dataclass(frozen=True, slots=True)
class IssueView:
    """What a tracker was told."""

    name: str
    url: str
    state: str


def view_issues(issues: Iterable[TrackerIssue]) -> list[IssueView]:
    """Return what is shown of *issues*; an address that is none for browsers is no link."""
    found = []
    for issue in issues:
        url = web_url(issue.url)
        if issue.issue_id is None:
            found.append(IssueView(issue.tracker, url, "being filed"))
        else:
            state = "open" if issue.is_open else "closed"
            found.append(IssueView(f"{issue.tracker} #{issue.issue_id}", url, state))
    return found
