"""What people do with tickets reaches the trackers: by a store that is watched, or by comparing."""

import threading
from datetime import timedelta

import pytest

from sprockets.logbook.setups import load
from sprockets.logbook.ticketing._handlers import TicketingHandler
from sprockets.logbook.ticketing._model import TrackerIssue
from sprockets.logbook.ticketing._trackers import (
    Filing,
    GitHubTracker,
    TracTracker,
    UnauthorisedError,
)
from sprockets.logbook.ticketing._trackers._kinds import make_tracker
from tests.logbook.ticketing.model import DictStore
from tests.logbook.ticketing.trackers.doubles import LIMIT, entry


def occur(filing, **facts):
    """Count an occurrence, have it filed, and return the ticket's id."""
    (outcome,) = filing.db.record_entries([entry(**facts)])
    filing([outcome])
    assert filing.flush(LIMIT)
    return outcome.ticket_id


def settle(filing):
    """Wait until what was put off was looked at again."""
    assert filing.flush(LIMIT)
    assert filing.flush(LIMIT)


def counts(filing):
    (found,) = filing.statistics().values()
    return found


def actions(store, ticket_id):
    return [item.action for item in store.get_history(ticket_id)]


# -- a store that is watched


def test_solving_and_reopening_are_told(store, tracker, make_filing):
    """The issue is closed, and opened again; the store behind has what was done."""
    filing = make_filing(tracker)
    watched = filing.watch()
    ticket_id = occur(filing)

    assert watched.solve_ticket(ticket_id, actor="ann")
    assert filing.flush(LIMIT)
    is_open_when_solved = tracker.issues["1"]["is_open"]
    assert watched.reopen_ticket(ticket_id, actor="ann")
    assert filing.flush(LIMIT)

    assert not is_open_when_solved
    assert tracker.issues["1"]["is_open"]
    assert tracker.issues["1"]["comments"] == ["The ticket is solved.", "The ticket was reopened."]
    assert store.get_issue(ticket_id, "fake").is_open
    assert actions(store, ticket_id)[:2] == ["reopened", "solved"]


def test_what_changes_nothing_is_not_told(tracker, make_filing):
    """Unknown tickets, and what only reads."""
    filing = make_filing(tracker)
    watched = filing.watch()
    occur(filing)
    before = len(tracker.calls)

    assert not watched.solve_ticket(99)
    assert not watched.reopen_ticket(99)
    assert not watched.delete_ticket(99)
    assert watched.split_ticket(99, 1) is None
    watched.get_tickets()
    watched.comment_on_ticket(1, "looks bad", actor="ann")
    watched.assign_ticket(1, "ann")

    assert filing.flush(LIMIT)
    assert len(tracker.calls) == before


def test_a_watched_store_never_waits_for_a_tracker(tracker, make_filing):
    """The tracker hangs; solving is done all the same."""
    hang = threading.Event()
    filing = make_filing(tracker)
    watched = filing.watch()
    ticket_id = occur(filing)
    tracker.fail("close", lambda: hang.wait(LIMIT))

    is_done = watched.solve_ticket(ticket_id)
    is_open = tracker.issues["1"]["is_open"]
    hang.set()

    assert (is_done, is_open) == (True, True)
    assert filing.flush(LIMIT)
    assert not tracker.issues["1"]["is_open"]


def test_to_close_a_watched_store_closes_the_other(tracker, make_filing):
    """It has nothing of its own."""
    closed = []
    filing = make_filing(tracker)
    filing.db.close = lambda: closed.append(True)

    filing.watch().close()

    assert closed == [True]


def test_without_a_store_there_is_nothing_to_watch(tracker):
    """The first store that is watched is the filing's own."""
    filing = Filing(None, [tracker])
    with pytest.raises(ValueError, match="no store yet"):
        filing.watch()
    filing.look()

    store = DictStore()
    watched = filing.watch(store)

    assert filing.db is watched.watched is store
    assert filing.close(LIMIT)


# -- merging, splitting, deleting


def test_a_merged_tickets_issue_says_where_it_went_and_is_closed(store, tracker, make_filing):
    """The issue of the other ticket stays, and stays open."""
    filing = make_filing(tracker, ticket_url="https://tickets.example/{ticket_id}")
    stays, goes = occur(filing), occur(filing, where="shop.py:9", message="no stock")

    filing.watch().merge_tickets(stays, [goes], actor="ann")

    assert filing.flush(LIMIT)
    assert tracker.issues["1"]["is_open"]
    assert not tracker.issues["2"]["is_open"]
    assert tracker.issues["2"]["comments"] == ["The ticket was merged into another one."]
    text = tracker.texts[-1]
    assert ("Issue", "https://tracker.example/fake/1") in text.facts
    assert text.link == f"https://tickets.example/{stays}"
    assert store.get_issue(goes, "fake").is_open is False


def test_the_only_issue_of_merged_tickets_is_that_of_the_one_that_stays(
    store, tracker, make_filing
):
    """It is not closed; and it is closed when that ticket is solved."""
    filing = make_filing(tracker)
    watched = filing.watch()
    stays = store.record_entries([entry()])[0].ticket_id
    goes = occur(filing, where="shop.py:9")

    watched.merge_tickets(stays, [goes])
    assert filing.flush(LIMIT)
    adopted = store.get_issue(stays, "fake")
    is_open = tracker.issues["1"]["is_open"]
    watched.solve_ticket(stays)

    assert filing.flush(LIMIT)
    assert (adopted.issue_id, adopted.is_open, is_open) == ("1", True, True)
    assert counts(filing)["adopted"] == 1
    assert "filed" in actions(store, stays)
    assert not tracker.issues["1"]["is_open"]
    assert tracker.count("create") == 1


def test_merging_waits_for_an_issue_that_is_being_filed(store, tracker, make_filing):
    """Whoever files it may not know yet; then the one that is there stays open until it is."""
    filing = make_filing(tracker)
    stays = store.record_entries([entry()])[0].ticket_id
    goes = occur(filing, where="shop.py:9")
    assert store.claim_issue(stays, "fake", now=store.clock(), patience=300.0)

    filing.watch().merge_tickets(stays, [goes])
    assert filing.flush(LIMIT)
    is_open_before = tracker.issues["1"]["is_open"]
    store.save_issue(TrackerIssue(stays, "fake", "7", "https://tracker.example/fake/7"))

    settle(filing)
    assert is_open_before
    assert not tracker.issues["1"]["is_open"]


def test_what_is_split_off_gets_an_issue_of_its_own(store, tracker, make_filing):
    """And the issue of the other ticket says so."""
    filing = make_filing(tracker)
    first = occur(filing, fingerprint="v1:a")
    (outcome,) = store.record_entries([entry(where="shop.py:9", fingerprint="v1:b", message="b")])
    store.merge_tickets(first, [outcome.ticket_id])
    occurrence = next(each for each in store.get_occurrences(first) if each.message == "b")

    new = filing.watch().split_ticket(first, occurrence.occurrence_id, actor="ann")

    assert filing.flush(LIMIT)
    assert store.get_issue(new, "fake").issue_id == "2"
    assert tracker.issues["1"]["comments"] == ["Some occurrences became a ticket of their own."]


def test_a_deleted_tickets_issue_is_closed(tracker, make_filing):
    """Nobody would look after it any more."""
    filing = make_filing(tracker)
    ticket_id = occur(filing)

    assert filing.watch().delete_ticket(ticket_id)

    assert filing.flush(LIMIT)
    assert not tracker.issues["1"]["is_open"]
    assert tracker.issues["1"]["comments"] == ["The ticket was deleted."]


def test_to_delete_what_was_merged_closes_nothing(store, tracker, make_filing):
    """Its issue is the other ticket's by now."""
    filing = make_filing(tracker)
    watched = filing.watch()
    stays = store.record_entries([entry()])[0].ticket_id
    goes = occur(filing, where="shop.py:9")
    watched.merge_tickets(stays, [goes])
    assert filing.flush(LIMIT)

    watched.delete_ticket(goes)

    assert filing.flush(LIMIT)
    assert tracker.issues["1"]["is_open"]


def test_to_open_a_small_matter_again_files_nothing(store, tracker, make_filing):
    """What would not have been filed when it occurred is not, whoever looks at it."""
    filing = make_filing(tracker)
    ticket_id = store.record_entries([entry(level="WARNING")])[0].ticket_id
    watched = filing.watch()
    watched.solve_ticket(ticket_id)

    watched.reopen_ticket(ticket_id)

    assert filing.flush(LIMIT)
    assert tracker.issues == {}


# -- what goes wrong


def test_what_a_tracker_refuses_is_told_where_it_was_done(store, tracker, make_filing):
    """In the history of the ticket, and in the counts."""
    filing = make_filing(tracker)
    watched = filing.watch()
    ticket_id = occur(filing)
    tracker.fail("close", UnauthorisedError("401 Bad credentials"))

    watched.solve_ticket(ticket_id, actor="ann")

    assert filing.flush(LIMIT)
    newest = store.get_history(ticket_id)[0]
    assert (newest.action, newest.text) == ("refused", "fake: 401 Bad credentials")
    assert dict(newest.facts) == {"tracker": "fake", "reason": "solved"}
    assert counts(filing)["refused"] == {"UnauthorisedError": 1}


def test_that_nobody_can_be_told_of_a_refusal_is_counted(store, tracker, make_filing):
    """The store may be what is away."""
    filing = make_filing(tracker)
    ticket_id = occur(filing)
    tracker.fail("close", UnauthorisedError("401 Bad credentials"))

    def fail(*args, **kwargs):
        raise ConnectionError("gone")

    store.add_history = fail
    filing.watch().solve_ticket(ticket_id)

    assert filing.flush(LIMIT)
    assert counts(filing)["unwritten"] == 1


# -- what nobody told


def look(filing, store, times=1):
    """Compare, each time as much later as processes agree on."""
    for _ in range(times):
        store.shift += timedelta(minutes=1)
        filing.look()
        settle(filing)


@pytest.fixture(name="looked")
def _looked(store, make_filing):
    """What makes a filing whose time of day can be moved."""
    store.shift = timedelta()

    def make(tracker, **options):
        return make_filing(tracker, now=lambda: store.clock() + store.shift, **options)

    return make


def test_what_was_solved_behind_its_back_is_found_by_comparing(store, tracker, looked):
    """The second time that it differs: until then, whoever did it may be about to tell it."""
    filing = looked(tracker)
    ticket_id = occur(filing)
    store.solve_ticket(ticket_id)

    look(filing, store)
    once = tracker.issues["1"]["is_open"]
    look(filing, store)

    assert once
    assert not tracker.issues["1"]["is_open"]
    look(filing, store, times=3)
    assert tracker.count("close") == 1


def test_a_regression_that_nobody_told_opens_the_issue(store, tracker, looked):
    """The program that saw it has no tracker."""
    filing = looked(tracker)
    ticket_id = occur(filing)
    filing.watch().solve_ticket(ticket_id)
    assert filing.flush(LIMIT)
    look(filing, store)

    store.record_entries([entry()])
    look(filing, store, times=2)

    assert tracker.issues["1"]["is_open"]
    assert tracker.issues["1"]["comments"][-1] == "It was solved, and has occurred again."


def test_comparing_asks_little_when_nothing_changed(store, tracker, looked):
    """The mark of the store is looked at, and that is all."""
    filing = looked(tracker)
    occur(filing)
    look(filing, store)
    asked = []
    store.get_tickets, real = (lambda **options: asked.append(options) or []), store.get_tickets

    look(filing, store, times=3)

    assert asked == []
    store.get_tickets = real


def test_what_was_refused_is_not_found_again_and_again(store, tracker, looked):
    """It would be refused again, and the history full of it."""
    filing = looked(tracker)
    ticket_id = occur(filing)
    tracker.fail("close", *(UnauthorisedError("401 Bad credentials") for _ in range(9)))
    store.solve_ticket(ticket_id)

    look(filing, store, times=2)
    for number in range(4):
        store.comment_on_ticket(ticket_id, f"still open {number}")
        look(filing, store)

    assert tracker.count("close") == 1
    assert "refused" not in actions(store, ticket_id)


def test_of_several_processes_one_compares(store, tracker, looked):
    """So that an issue is not closed, and commented on, twice."""
    filings = [looked(tracker) for _ in range(4)]
    ticket_id = occur(filings[0])
    store.solve_ticket(ticket_id)

    for _ in range(4):
        store.shift += timedelta(minutes=1)
        for filing in filings:
            filing.look()
        for filing in filings:
            settle(filing)

    assert tracker.count("close") == 1


# -- by description


def test_trackers_are_made_of_tables():
    """As a file has them; what is wrong with one is said without its values."""
    github = make_tracker({"kind": "github", "repository": "o/r", "token": "s3cr3t"})
    trac = make_tracker({"kind": "trac", "url": "https://trac.example/shop", "dialect": "web"})
    gitea = make_tracker({"kind": "gitea", "repository": "o/r", "token": "s3cr3t"})

    assert isinstance(github, GitHubTracker)
    assert isinstance(trac, TracTracker)
    assert gitea.flavor == "gitea"
    for facts, text in (
        ({"kind": "jira"}, "expected one of github, gitea, gitlab, redmine, trac, got 'jira'"),
        ({}, "got None"),
        ({"kind": ["github"]}, "got"),
        ({"kind": "github", "repository": "o/r"}, "missing a required argument: 'token'"),
        ({"kind": "github", "repository": "o", "token": "s3cr3t"}, "expected 'owner/name'"),
        ({"kind": "gitlab", "project": "g/p", "tokn": "s3cr3t"}, "missing a required"),
    ):
        with pytest.raises(ValueError, match=text) as caught:
            make_tracker(facts)
        assert "s3cr3t" not in str(caught.value)


def test_a_handler_takes_trackers_as_tables(tmp_path):
    """As a file of set-ups has them."""
    pytest.importorskip("sqlalchemy")
    table = {"kind": "github", "repository": "o/r", "token": "s3cr3t", "url": "http://localhost:1"}

    handler = TicketingHandler(f"sqlite:///{tmp_path}/tickets.db", trackers=[table])

    assert repr(handler._filing) == "<Filing in github:o/r>"
    handler.close(0.5)


def test_a_set_up_from_a_file_has_trackers(tmp_path):
    """Each a table of the handler, with secrets from elsewhere."""
    pytest.importorskip("sqlalchemy")
    table = {"kind": "gitlab", "project": "g/p", "token": "${TOKEN}", "url": "http://localhost:1"}
    source = {
        "setups": {"shop": {"handlers": ["tickets"]}},
        "handlers": {
            "tickets": {
                "class": "ticketing",
                "uri": f"sqlite:///{tmp_path}/tickets.db",
                "trackers": [table],
            }
        },
    }

    setup = load(source, environ={"TOKEN": "s3cr3t"})

    assert repr(setup.handlers["tickets"]._filing) == "<Filing in gitlab:g/p>"
    setup.close()
