"""What pages show, made of what a store holds."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing._model import HistoryItem, Status, Ticket, TrackerIssue
from sprockets.tickets import _views as views
from sprockets.tickets._views_occurrences import view_issues
from sprockets.tickets._views_records import arguments_of, extra_of, view_record
from sprockets.tickets._views_texts import MAX_VALUE, Moment, ago, request_url, ticket_url

NOW = datetime(2026, 11, 21, 14, 5)


def ticket(status=None, **fields):
    row = {
        "ticket_id": 17,
        "record_hash": "0" * 40,
        "level": 14,
        "channel": "shop",
        "location": "/srv/shop/pay.py:12",
        "module": "shop.pay",
        "last_occurrence_time": NOW - timedelta(minutes=3),
        "occurrence_count": 1234,
        "solved": False,
        "app_id": "shop",
        **fields,
    }
    return Ticket(None, row, status)


def test_a_ticket_in_full():
    """All of it as text, times for machines and for people."""
    status = Status("assigned", "OSError:  no\nanswer", "v1:ab", "ann", NOW, "1.0", "1.1")

    view = views.view_ticket(ticket(status), NOW, "/ops")

    assert (view.url, view.title, view.level_name, view.state_text) == (
        "/ops/tickets/17",
        "OSError: no answer",
        "ERROR",
        "Assigned",
    )
    assert (view.count_short, view.place) == ("1.2k", "shop · shop/pay.py:12")
    assert view.last == Moment("2026-11-21T14:02:00.000000Z", "2026-11-21 14:02:00", "3 min ago")
    assert (view.first_release, view.last_release, view.assignee) == ("1.0", "1.1", "ann")


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({}, "shop at /srv/shop/pay.py:12"),
        ({"channel": None}, "shop.pay at /srv/shop/pay.py:12"),
        ({"channel": "", "module": None}, "/srv/shop/pay.py:12"),
        ({"channel": "", "module": "", "location": ""}, "(no title)"),
    ],
)
def test_a_ticket_without_a_title_is_called_by_its_place(fields, title):
    """Logbook keeps no titles."""
    assert views.view_ticket(ticket(**fields), NOW, "").title == title


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status("solved", solved_in="1.5"), "Solved in 1.5"),
        (Status("solved"), "Solved"),
        (Status("ignored"), "Ignored"),
        (Status("ignored", ignored_until=NOW + timedelta(hours=2)), "Ignored for 2 h 0 m"),
        (Status("ignored", ignored_until=NOW - timedelta(hours=2)), "Ignored until the next one"),
        (Status("ignored", ignored_count=1300), "Ignored until 66 more"),
        (Status("ignored", ignored_count=5), "Ignored until 1 more"),
        (
            Status("ignored", ignored_until=NOW + timedelta(minutes=2), ignored_count=1300),
            "Ignored for 2 m 0 s or until 66 more",
        ),
        (Status("regressed"), "Regressed"),
    ],
)
def test_states_in_words(status, text):
    """A state says what is to be known of it."""
    assert views.state_text(status, 1234, NOW) == text


@settings(deadline=None)  # a machine may be busy
@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))
def test_any_time_is_some_time_ago(time):
    """Past or to come: there are words for it, and short ones."""
    assert 0 < len(ago(time, NOW)) <= 11


def test_counts_that_are_short_are_filled_in_front():
    """Between asking and drawing an hour may end."""
    assert views.fit([1, 2], 3) == [0, 1, 2]
    assert views.fit([1, 2, 3, 4], 3) == [2, 3, 4]
    assert views.fit([], 0) == []


@pytest.mark.parametrize(
    ("page", "total", "shown", "text", "previous", "following"),
    [
        (1, 0, 0, "none", "", ""),
        (1, 50, 50, "1–50 of 50", "", ""),
        (1, 51, 50, "1–50 of 51", "", "/?q=&page=2"),
        (2, 51, 1, "51–51 of 51", "/?q=", ""),
        (3, 120, 20, "101–120 of 120", "/?q=&page=2", ""),
        (9, 120, 0, "none here, 120 in all", "/?q=&page=3", ""),
    ],
)
def test_pages_know_their_neighbours(page, total, shown, text, previous, following):
    """Of a page beyond the end, the last one is the neighbour."""
    pager = views.pager(page, 50, total, "/", {"q": "", "sort": None}, shown)

    assert (pager.text, pager.previous, pager.next) == (text, previous, following)


def test_urls_keep_what_is_in_them():
    """Ids of requests have slashes, and may be anything else."""
    assert request_url("/ops", "a/b?c#d ü") == "/ops/requests/a%2Fb%3Fc%23d%20%C3%BC"
    assert ticket_url("", "65f0") == "/tickets/65f0"


def test_history_in_words():
    """Every action has a name for people; one that nobody knows has its own."""
    items = [
        HistoryItem(1, 17, NOW, "ann", "commented", "text"),
        HistoryItem(2, 17, NOW, "", "polished", "x"),
    ]

    first, second = views.view_history(items, NOW)

    assert (first.title, first.is_comment, first.actor) == ("Comment", True, "ann")
    assert (second.title, second.is_comment) == ("Polished", False)


def record(**fields):
    made = LogRecord.from_dict(
        {"level": 14, "msg": "m", "message": "m", "time": "2026-11-21T14:00:00.000000Z", **fields}
    )
    made.heavy_initialized = True
    return made


def test_long_values_are_laid_out_and_huge_ones_cut():
    """JSON with line breaks where it would be long, and an end to everything."""
    facts = extra_of(
        record(extra={"a": 1, "b": {"key": ["x" * 50, "y" * 50]}, "c": "z" * 30_000, "d": None})
    )

    assert [fact.name for fact in facts] == ["a", "b", "c"]
    assert facts[1].value.count("\n") > 3
    assert len(facts[2].value) == MAX_VALUE


def test_what_a_message_was_made_of():
    """Template and arguments, if there are any."""
    made = record(msg="{} of {name}", args=[3], kwargs={"name": "tea"})

    assert [(fact.name, fact.value) for fact in arguments_of(made)] == [
        ("template", "{} of {name}"),
        ("0", "3"),
        ("name", "tea"),
    ]
    assert arguments_of(record()) == []


def test_an_exception_that_the_message_tells_is_not_told_again():
    """Messages of actions end with what went wrong."""
    failed = record(
        message="pay failed: shop.Broke: no", exception_name="shop.Broke", exception_message="no"
    )
    other = record(message="failed", exception_name="shop.Broke", exception_message="no")

    assert view_record(failed, NOW).error == ""
    assert view_record(other, NOW).error == "shop.Broke: no"


def test_issues_link_to_addresses_of_the_web_only():
    """A tracker's answer may be anything."""
    issues = [
        TrackerIssue(1, "a", "1", "https://example.org"),
        TrackerIssue(1, "b", "2", "javascript:x", is_open=False),
        TrackerIssue(1, "c"),
    ]

    assert [(issue.name, issue.url, issue.state) for issue in view_issues(issues)] == [
        ("a #1", "https://example.org", "open"),
        ("b #2", "", "closed"),
        ("c", "", "being filed"),
    ]


@settings(deadline=None)  # a machine may be busy
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.none()
            | st.text()
            | st.integers()
            | st.lists(st.text())
            | st.dictionaries(st.text(), st.integers())
            for name in (
                "message",
                "msg",
                "extra",
                "args",
                "kwargs",
                "channel",
                "filename",
                "lineno",
                "exception_name",
                "exception_message",
                "time",
                "process",
                "thread_name",
            )
        },
    )
)
def test_whatever_a_store_holds_can_be_shown(data):
    """Damaged rows are read with forbearance; what is read has a view."""
    from sprockets.logbook.ticketing._model import Occurrence
    from sprockets.tickets._views_occurrences import occurrence_rows, view_occurrence

    row = {
        "occurrence_id": 1,
        "ticket_id": 1,
        "time": NOW,
        "data": {"level": 14, **data},
        "app_id": "",
    }
    found = Occurrence(None, row, None)

    view_occurrence(found, NOW, "")
    occurrence_rows([found], NOW, "")
    view_record(found, NOW, NOW)
