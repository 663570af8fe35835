"""Trac, a real one: its forms, and trac-ticketrpc."""

import hashlib
import re

import pytest

from sprockets.logbook.ticketing._trackers import (
    GoneError,
    RefusedError,
    Text,
    TracTracker,
    UnauthorisedError,
)
from tests.logbook.ticketing.trackers.storming import assert_one_issue, storm, the_ticket
from tests.logbook.ticketing.trackers.trac_server import PASSWORD, USER, TracServer

WILD = "}}}\n#!html\n{{{#!html\n<script>alert(1)</script>\n}}}\n[[Image(x)]] #1 [wiki:Start]"


@pytest.fixture(name="trac", scope="module")
def _trac(tmp_path_factory):
    """A Trac with the plug-in; whose forms are there as well."""
    server = TracServer(tmp_path_factory.mktemp("trac"), with_plug_in=True)
    yield server
    server.close()


@pytest.fixture(name="server", params=["web", "ticketrpc"])
def _server(request, trac):
    """The same, and which way it is spoken with."""
    trac.dialect = request.param
    return trac


def tracker_at(server, **options):
    return TracTracker(server.url, USER, PASSWORD, **{"dialect": server.dialect, **options})


def marker(text):
    return f"lb:{hashlib.sha1(text.encode()).hexdigest()}"


def text_for(mark, body=WILD):
    return Text("It went wrong.", (("Level", "ERROR"),), body, marker=mark)


def test_the_plug_in_is_found_by_asking(trac):
    """It is asked at the first request, not before."""
    tracker = TracTracker(trac.url, USER, PASSWORD)
    assert tracker.dialect is None

    assert tracker.find(marker("nothing")) is None

    assert tracker.dialect == "ticketrpc"


@pytest.mark.rule("P-R2", "Q-2")
def test_the_life_of_an_issue(server):
    """Made, found by its marker, commented, closed, opened again; each as Trac has it."""
    tracker = tracker_at(server, fields={"type": "defect", "priority": "major"})
    mark = marker(f"life {server.dialect}")

    made = tracker.create(mark, "ValueError: no price\nof #1", text_for(mark))
    assert tracker.find(mark) == made
    assert tracker.find(marker("another")) is None
    tracker.comment(made.issue_id, Text("It has occurred 10 times."))
    tracker.close(made.issue_id, Text("The ticket is solved."))
    assert tracker.find(mark) == type(made)(made.issue_id, made.url, False)
    tracker.close(made.issue_id, Text("Solved already."))
    tracker.reopen(made.issue_id, Text("It is back."))
    assert tracker.find(mark) == made
    tracker.reopen(made.issue_id, Text("It is back, and open."))

    number = int(made.issue_id)
    assert made.url == tracker.url(made.issue_id) == f"{server.url}/ticket/{number}"
    ((summary, reporter, status, kind, priority),) = server.rows(
        "SELECT summary, reporter, status, type, priority FROM ticket WHERE id = ?", number
    )
    assert summary == r"ValueError: no price\nof #1"
    assert (reporter, status, kind, priority) == (USER, "reopened", "defect", "major")
    assert server.comments(number) == [
        "It has occurred 10 times.",
        "The ticket is solved.",
        "Solved already.",
        "It is back.",
        "It is back, and open.",
    ]


def test_what_a_record_says_is_no_markup(server):
    """It stands in a block, cannot end it, and is nothing but text on the page."""
    tracker = tracker_at(server)
    mark = marker(f"wild {server.dialect}")

    made = tracker.create(mark, "[[Image(x)]] <b>", text_for(mark))

    page = server.page(f"/ticket/{made.issue_id}")
    description = re.search(r'<div class="searchable">(.*?)</div>', page, re.DOTALL)[1]
    assert description.count("<pre") == description.count("</pre>") == 1
    assert "<script" not in description
    assert "<img" not in description
    assert "<a " not in description
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in description


def test_the_longest_text_is_taken(server):
    """It is cut, with beginning and end left, and the marker is there."""
    tracker = tracker_at(server)
    mark = marker(f"long {server.dialect}")

    made = tracker.create(mark, "x" * 10_000, text_for(mark, "first\n" + "é" * 300_000 + "\nlast"))

    ((summary, text),) = server.rows(
        "SELECT summary, description FROM ticket WHERE id = ?", int(made.issue_id)
    )
    assert len(summary) <= 255
    assert len(text) <= 32_000
    assert mark in text
    assert "first\n" in text
    assert text.endswith("last\n}}}")
    assert tracker.find(mark) == made


def test_a_session_that_is_over_is_begun_anew(server):
    """Trac forgets who is logged in; then it is done again, with a new token."""
    tracker = tracker_at(server)
    mark = marker(f"session {server.dialect}")
    made = tracker.create(mark, "t", text_for(mark))
    tracker.way.session._cookies.update(trac_auth="0" * 32, trac_form_token="1" * 24)

    tracker.comment(made.issue_id, Text("Still here."))

    assert server.comments(int(made.issue_id)) == ["Still here."]


def test_who_is_slower_than_somebody_else_sends_the_form_again(trac):
    """Between the page and the form another comment came; nothing is lost, nothing comes twice."""
    tracker = tracker_at(trac, dialect="web")
    mark = marker("collision")
    made = tracker.create(mark, "t", text_for(mark))
    real, other = tracker.way._page, tracker_at(trac, dialect="web")
    interruptions = [Text("Faster.")]

    def page(path):
        found = real(path)
        if interruptions:
            other.comment(made.issue_id, interruptions.pop())
        return found

    tracker.way._page = page
    tracker.comment(made.issue_id, Text("Slower."))

    assert trac.comments(int(made.issue_id)) == ["Faster.", "Slower."]


def test_a_wrong_password_is_no_way_in(server):
    """The error says who could not log in, and not with what."""
    tracker = TracTracker(server.url, USER, "wrong-word", dialect=server.dialect)

    with pytest.raises(UnauthorisedError, match="does not let 'bot' log in") as caught:
        tracker.find(marker("nothing"))

    assert "wrong-word" not in str(caught.value)


def test_who_may_not_create_is_told_so(trac):
    """Anybody may look, nobody unknown may write."""
    tracker = TracTracker(trac.url, dialect="web")
    assert tracker.find(marker("nothing")) is None

    with pytest.raises(RefusedError):
        tracker.create(marker("anybody"), "t", text_for(marker("anybody")))


def test_an_issue_that_was_deleted_is_gone(trac):
    """There is nothing to comment on."""
    tracker = tracker_at(trac, dialect="web")

    with pytest.raises(GoneError):
        tracker.comment("99999", Text("Hello?"))


def test_digest_authentication_and_no_plug_in(tmp_path):
    """As tracd offers it beside Basic; and the forms are what is left to be found by asking."""
    server = TracServer(tmp_path, with_digest=True)
    try:
        tracker = TracTracker(server.url, USER, PASSWORD)
        mark = marker("digest")

        made = tracker.create(mark, "t", text_for(mark))

        assert tracker.find(mark) == made
        assert tracker.dialect == "web"
        assert server.rows("SELECT reporter FROM ticket") == [(USER,)]
    finally:
        server.close()


@pytest.mark.rule("P-R2", "Q-2")
def test_four_processes_make_one_issue_of_a_thousand_occurrences(server, tmp_path):
    """Whoever was first has filed it, and the last number is told."""
    results = storm(tmp_path, "TracTracker", server.url, USER, PASSWORD, dialect=server.dialect)

    issue, commented = assert_one_issue(tmp_path, results, 1_000)
    mark = f"%lb:{the_ticket(tmp_path)[0].record_hash}%"
    # Whichever way was the first has made it for the other, too.
    assert server.rows("SELECT count(*) FROM ticket WHERE description LIKE ?", mark) == [(1,)]
    comments = server.comments(int(issue.issue_id))
    assert commented <= 3
    ((text,),) = server.rows("SELECT description FROM ticket WHERE id = ?", int(issue.issue_id))
    assert "1,000" in (comments[-1] if comments else text)
    assert "hunter2" not in text
    assert "s3cr3t" not in text


def test_an_unknown_dialect_is_refused():
    """The error lists those that are known."""
    with pytest.raises(ValueError, match="unknown dialect 'soap'; known: auto, xmlrpc"):
        TracTracker("http://localhost/trac", dialect="soap")
