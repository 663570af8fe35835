"""Filing: one issue for a ticket, whatever happens meanwhile, and what is told of it later."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sprockets.logbook import Logger
from sprockets.logbook.ticketing._handlers import TicketingHandler
from sprockets.logbook.ticketing._trackers import (
    Filing,
    GoneError,
    RateLimitedError,
    UnansweredError,
    UnauthorisedError,
)
from tests.logbook.ticketing.trackers.doubles import LIMIT, FakeClock, FakeTracker, entry, marker_of


def record(store, filing, count=1, **facts):
    """Count *count* occurrences, one after the other, and tell *filing*; return the ticket's id."""
    for _ in range(count):
        outcomes = store.record_entries([entry(**facts)])
        filing(outcomes)
    return outcomes[0].ticket_id


def counts(filing):
    """Return the counters of the only tracker."""
    (found,) = filing.statistics().values()
    return found


# -- one issue


def test_a_new_ticket_becomes_an_issue_and_its_history_says_so(store, tracker, make_filing):
    """The issue has title, place, message and marker; the ticket's history has the address."""
    filing = make_filing(tracker, ticket_url="https://tickets.example/tickets/{ticket_id}")

    ticket_id = record(store, filing, message="no price of apples")

    assert filing.flush(LIMIT)
    (issue,) = tracker.issues.values()
    assert issue["title"] == "no price of apples"
    assert issue["marker"] == marker_of()
    assert issue["text"].link == f"https://tickets.example/tickets/{ticket_id}"
    assert ("Place", "shop (shop.py:7)") in issue["text"].facts
    assert "no price of apples" in issue["text"].body
    filed = store.get_history(ticket_id)[0]
    assert (filed.action, filed.text) == ("filed", "https://tracker.example/fake/1")
    assert filed.facts["tracker"] == "fake"
    saved = store.get_issue(ticket_id, "fake")
    assert (saved.issue_id, saved.commented_at, saved.is_open) == ("1", 1, True)


def test_below_the_level_nothing_is_filed(store, tracker, make_filing):
    """Warnings are no issues unless somebody says so."""
    filing = make_filing(tracker)
    record(store, filing, level="WARNING")

    assert filing.flush(LIMIT)

    assert tracker.issues == {}


def test_many_processes_make_one_issue(store, tracker, clock):
    """Eight filings see occurrences of one ticket at once; one of them files it."""
    filings = [Filing(store, [tracker], clock=clock, cool_down=0.0) for _ in range(8)]
    barrier = threading.Barrier(len(filings))

    def occur(filing):
        barrier.wait(LIMIT)
        for _ in range(25):
            filing(store.record_entries([entry()]))

    threads = [threading.Thread(target=occur, args=(filing,)) for filing in filings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)

    for filing in filings * 2:
        assert filing.flush(LIMIT)
    for filing in filings:
        filing.close(1.0)
    assert len(tracker.issues) == 1
    assert tracker.count("create") == 1
    assert [item.action for item in store.get_history(1)].count("filed") == 1
    assert store.get_issue(1, "fake").commented_at == 100


def test_an_answer_lost_after_creation_makes_no_second_issue(store, tracker, make_filing):
    """What may be made is looked for before it is made again."""
    tracker.fail("create", (UnansweredError("the line went dead"), "after"))
    filing = make_filing(tracker)

    record(store, filing)

    assert filing.flush(LIMIT)
    assert len(tracker.issues) == 1
    assert counts(filing)["uncertain"] == 1
    assert counts(filing)["found"] == 1
    assert store.get_issue(1, "fake").issue_id == "1"


def test_a_lost_creation_is_made_after_all(store, tracker, make_filing):
    """If it was not made, it is made the second time."""
    tracker.fail("create", UnansweredError("the line went dead"), RuntimeError("500"))
    filing = make_filing(tracker)

    record(store, filing)

    for _ in range(3):
        assert filing.flush(LIMIT)
    assert len(tracker.issues) == 1
    assert counts(filing)["filed"] == 1
    assert counts(filing)["uncertain"] == 2


def test_what_can_never_be_made_is_given_up(store, tracker, make_filing):
    """A tracker that stumbles over a text stumbles each time; then it is counted."""
    tracker.fail("create", *[RuntimeError("500")] * 100)
    filing = make_filing(tracker)

    record(store, filing)

    for _ in range(15):
        assert filing.flush(LIMIT)
    assert tracker.count("create") == 11
    assert counts(filing)["refused"] == {"RefusedError": 1}
    assert counts(filing)["last_refusal"] == "given up after 10 tries: 500"


def test_an_issue_that_is_there_already_is_taken_over(store, tracker, make_filing):
    """A store that was lost, or another one, has filed it; a closed one is opened again."""
    first = make_filing(tracker)
    record(store, first)
    assert first.flush(LIMIT)
    tracker.issues["1"]["is_open"] = False
    other = type(store)()
    second = make_filing(tracker, db=other)

    record(other, second)

    assert second.flush(LIMIT)
    assert len(tracker.issues) == 1
    assert tracker.issues["1"]["is_open"]
    assert other.get_issue(1, "fake").issue_id == "1"


def test_who_dies_while_filing_is_stood_in_for(store, tracker, make_filing, clock):
    """A reservation is void after a while; until then nobody else files."""
    start = datetime(2026, 1, 1)
    moments = [start]
    store.record_entries([entry()])
    assert store.claim_issue(1, "fake", now=start, patience=300.0)
    filing = make_filing(tracker, now=lambda: moments[-1])

    record(store, filing)
    assert filing.flush(LIMIT)
    assert tracker.issues == {}
    assert counts(filing)["claimed"] >= 1

    moments.append(start + timedelta(seconds=301))
    assert filing.flush(LIMIT)
    assert len(tracker.issues) == 1


def test_what_a_dead_process_had_begun_is_found_by_the_next(store, tracker, make_filing):
    """A ticket that never occurs again is filed, too, once anything else is told."""
    long_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=1)
    store.record_entries([entry("lost.py:1")])
    assert store.claim_issue(1, "fake", now=long_ago, patience=300.0)
    filing = make_filing(tracker)

    record(store, filing, where="other.py:2")

    assert filing.flush(LIMIT)
    assert filing.flush(LIMIT)
    assert sorted(issue["marker"] for issue in tracker.issues.values()) == sorted(
        [marker_of("lost.py:1"), marker_of("other.py:2")]
    )


def test_a_reservation_that_has_grown_old_is_not_used(store, make_filing, clock):
    """While it was looked for an issue, so much time went by that another may be at it."""
    tracker = FakeTracker()
    tracker.fail("find", lambda: setattr(clock, "seconds", clock.seconds + 200.0))
    filing = make_filing(tracker)

    record(store, filing)
    assert filing.flush(LIMIT)

    assert tracker.count("create") == 0
    assert counts(filing)["claimed"] >= 1


def test_a_store_that_fails_after_the_issue_was_made_makes_no_second(store, tracker, make_filing):
    """The issue is remembered until the store has taken it."""
    real, failures = store.save_issue, [RuntimeError("locked"), RuntimeError("locked")]

    def save(issue):
        if failures:
            raise failures.pop()
        real(issue)

    store.save_issue = save
    filing = make_filing(tracker)

    record(store, filing)

    assert filing.flush(LIMIT)
    assert len(tracker.issues) == 1
    assert tracker.count("find") == 1
    assert store.get_issue(1, "fake").issue_id == "1"


@pytest.mark.parametrize("how", ["solved", "ignored", "deleted"])
def test_what_is_dealt_with_already_is_not_filed(store, tracker, make_filing, how):
    """Somebody was faster than the tracker."""
    filing = make_filing(tracker)
    (outcome,) = store.record_entries([entry()])
    if how == "solved":
        store.solve_ticket(1)
    elif how == "ignored":
        store.ignore_ticket(1)
    else:
        store.delete_ticket(1)

    filing([outcome])

    assert filing.flush(LIMIT)
    assert tracker.issues == {}
    assert counts(filing)["skipped"] == 1


def test_a_merged_ticket_is_told_as_the_one_it_became(store, tracker, make_filing):
    """Its issue is the issue of the ticket it was merged into."""
    filing = make_filing(tracker)
    outcomes = store.record_entries([entry("a.py:1"), entry("b.py:1")])
    store.merge_tickets(outcomes[0].ticket_id, [outcomes[1].ticket_id])

    filing(outcomes)

    assert filing.flush(LIMIT)
    assert [issue["marker"] for issue in tracker.issues.values()] == [marker_of("a.py:1")]


def test_an_occurrence_that_was_stored_before_is_still_told(store, tracker, make_filing):
    """Whoever stored it may have died before it told anybody."""
    one = entry()
    store.record_entries([one])
    filing = make_filing(tracker)

    filing(store.record_entries([one]))

    assert filing.flush(LIMIT)
    assert len(tracker.issues) == 1


# -- what is told later


def test_comments_come_at_ten_and_a_hundred(store, tracker, make_filing, clock):
    """The issue itself is the first; each later number is told once."""
    filing = make_filing(tracker, now=clock.now)

    for number in range(1, 101):
        record(store, filing)
        if number in (1, 10, 100):
            assert filing.flush(LIMIT)
            clock.seconds += 60.0

    assert tracker.issues["1"]["comments"] == [
        "It has occurred 10 times.",
        "It has occurred 100 times.",
    ]
    assert store.get_issue(1, "fake").commented_at == 100
    assert counts(filing)["commented"] == 2


def test_what_comes_too_soon_is_told_together(store, tracker, make_filing, clock):
    """Within the cool-down there is one comment, with the number that was reached last."""
    filing = make_filing(tracker, comment_at=(1, 2, 3, 4, 5), now=clock.now)
    record(store, filing)
    assert filing.flush(LIMIT)
    record(store, filing)
    assert filing.flush(LIMIT)

    record(store, filing, count=3)
    assert filing.flush(LIMIT)
    assert tracker.issues["1"]["comments"] == ["It has occurred 2 times."]

    clock.seconds += 2.0
    assert filing.flush(LIMIT)
    assert tracker.issues["1"]["comments"] == [
        "It has occurred 2 times.",
        "It has occurred 5 times.",
    ]


def test_a_solved_ticket_closes_the_issue_and_a_regression_opens_it(store, tracker, make_filing):
    """Both say so in a comment, and each happens once."""
    filing = make_filing(tracker)
    record(store, filing)
    assert filing.flush(LIMIT)

    store.solve_ticket(1)
    filing.ticket_solved(1)
    filing.ticket_solved(1)
    assert filing.flush(LIMIT)
    assert not tracker.issues["1"]["is_open"]
    assert not store.get_issue(1, "fake").is_open

    record(store, filing, count=3)
    assert filing.flush(LIMIT)
    assert tracker.issues["1"]["is_open"]
    assert store.get_issue(1, "fake").is_open
    assert tracker.issues["1"]["comments"] == [
        "The ticket is solved.",
        "It was solved, and has occurred again.",
    ]


def test_an_issue_that_is_thought_closed_and_is_open_is_closed(store, tracker, make_filing):
    """Two processes that tell something at the same moment write over each other's notes."""
    filing = make_filing(tracker)
    record(store, filing)
    assert filing.flush(LIMIT)
    store.save_issue(replace(store.get_issue(1, "fake"), is_open=False))

    store.solve_ticket(1)
    filing.ticket_solved(1)

    assert filing.flush(LIMIT)
    assert not tracker.issues["1"]["is_open"]


def test_who_reopens_a_ticket_reopens_its_issue(store, tracker, make_filing):
    """And what was reopened before it could be closed is left open."""
    filing = make_filing(tracker)
    record(store, filing)
    store.solve_ticket(1)
    filing.ticket_solved(1)
    assert filing.flush(LIMIT)

    store.reopen_ticket(1)
    filing.ticket_reopened(1)
    filing.ticket_solved(1)

    assert filing.flush(LIMIT)
    assert tracker.issues["1"]["is_open"]
    assert counts(filing)["closed"] in (0, 1)


def test_what_is_solved_while_it_is_filed_is_closed_afterwards(store, tracker, make_filing):
    """Who is filing it does not know of the solution."""
    store.record_entries([entry()])
    assert store.claim_issue(1, "fake", now=store.clock(), patience=300.0)
    store.solve_ticket(1)
    filing = make_filing(tracker)
    filing.ticket_solved(1)
    assert filing.flush(LIMIT)
    assert tracker.calls == []

    issue = tracker.create(marker_of(), "t", None)
    store.save_issue(store.get_issue(1, "fake").__class__(1, "fake", issue.issue_id, issue.url, 1))

    assert filing.flush(LIMIT)
    assert not tracker.issues["1"]["is_open"]


def test_a_comment_whose_answer_is_lost_is_not_said_twice(store, tracker, make_filing):
    """It is counted, and readable why."""
    filing = make_filing(tracker)
    record(store, filing)
    assert filing.flush(LIMIT)
    tracker.fail("comment", (UnansweredError("the line went dead"), "after"))

    record(store, filing, count=9)

    assert filing.flush(LIMIT)
    assert tracker.issues["1"]["comments"] == ["It has occurred 10 times."]
    assert counts(filing)["unanswered"] == 1
    assert counts(filing)["last_refusal"] == "the line went dead"


# -- trackers that say no


def test_a_tracker_that_cannot_be_reached_is_asked_until_it_can(store, tracker, make_filing):
    """Nothing is lost meanwhile."""
    tracker.fail("find", *[ConnectionRefusedError("nobody there")] * 25)
    filing = make_filing(tracker)

    record(store, filing)

    assert filing.flush(LIMIT)
    assert len(tracker.issues) == 1
    assert counts(filing)["delivery"]["failed"] == 25


def test_a_tracker_that_asks_for_patience_gets_it(store, tracker, make_filing):
    """As many seconds as it says; nothing is given up."""
    tracker.fail("create", RateLimitedError(0.02), RateLimitedError(0.02))
    filing = make_filing(tracker)

    record(store, filing)

    assert filing.flush(LIMIT)
    assert len(tracker.issues) == 1
    assert counts(filing)["limited"] == 2
    assert counts(filing)["refused"] == {}


@pytest.mark.parametrize("error", [UnauthorisedError("401"), GoneError("issues are off")])
def test_a_refusal_is_counted_readable_and_tried_again_at_the_next_number(
    store, tracker, make_filing, clock, error
):
    """Not at each occurrence: it would be refused as often."""
    tracker.fail("create", error)
    moments = [datetime(2026, 1, 1)]
    filing = make_filing(tracker, now=lambda: moments[-1])
    record(store, filing, count=9)
    assert filing.flush(LIMIT)
    assert tracker.count("create") == 1
    assert counts(filing)["refused"] == {type(error).__name__: 1}
    assert counts(filing)["last_refusal"] == str(error)

    moments.append(datetime(2026, 1, 2))
    record(store, filing)

    assert filing.flush(LIMIT)
    assert len(tracker.issues) == 1


def test_a_slow_tracker_delays_neither_the_caller_nor_the_others(store, make_filing):
    """Each has a thread of its own."""
    slow, quick = FakeTracker("slow"), FakeTracker("quick")
    is_over = threading.Event()
    slow.fail("find", lambda: is_over.wait(LIMIT))
    filing = make_filing(slow, quick)

    record(store, filing, count=20)

    try:
        assert filing._desks[1].flush(LIMIT)
        assert len(quick.issues) == 1
        assert slow.issues == {}
    finally:
        is_over.set()
    assert filing.flush(LIMIT)
    assert len(slow.issues) == 1


def test_issues_are_made_at_the_pace_that_a_tracker_bears(store, make_filing, clock):
    """What is too much for one minute, of all processes together, is made in the next."""
    tracker = FakeTracker()
    tracker.creations_per_minute = 4
    filings = [make_filing(tracker, now=clock.now) for _ in range(2)]
    for number in range(10):
        filings[number % 2](store.record_entries([entry(f"shop.py:{number}")]))

    made = []
    for _ in range(3):
        for filing in filings:
            assert filing.flush(LIMIT)
        made.append(len(tracker.issues))
        clock.seconds += 60.0

    assert made == [4, 8, 10]
    # Whoever found no room looks for nothing until there may be some.
    assert tracker.count("find") <= 14


# -- how it is made


def test_two_trackers_of_one_name_are_refused(store):
    """The store could not tell them apart."""
    with pytest.raises(ValueError, match="two trackers are named 'fake'"):
        Filing(store, [FakeTracker(), FakeTracker()])


@pytest.mark.parametrize(
    "options", [{"comment_at": (0, 1)}, {"cool_down": -1.0}, {"patience": 0.0}]
)
def test_numbers_outside_their_range_are_refused(store, options):
    """The error says which."""
    with pytest.raises(ValueError, match=next(iter(options))):
        Filing(store, [], **options)


def test_a_filing_without_a_store_takes_the_one_it_is_told_of(store, tracker, make_filing):
    """As a handler tells it; before that there is nothing to be told."""
    filing = make_filing(tracker, db=None)
    with pytest.raises(ValueError, match="no store yet"):
        filing.ticket_solved(1)

    filing.observe(store, store.record_entries([entry()]))

    assert filing.flush(LIMIT)
    assert len(tracker.issues) == 1


def test_closing_lets_go_of_the_trackers(store, tracker, make_filing):
    """And twice is once."""
    filing = make_filing(tracker)
    record(store, filing)

    assert filing.close(LIMIT)
    assert filing.close(LIMIT)

    assert len(tracker.issues) == 1
    assert not tracker.is_open


def test_what_is_put_off_when_it_is_closed_is_counted(store, tracker, make_filing):
    """Another process is filing it, and will not have done so in time."""
    store.record_entries([entry()])
    assert store.claim_issue(1, "fake", now=store.clock(), patience=300.0)
    filing = make_filing(tracker, cool_down=60.0)
    record(store, filing)

    filing.close(LIMIT)

    assert tracker.issues == {}
    assert counts(filing)["left"] == 1


def test_a_handler_files_in_the_trackers_it_is_given(tmp_path, tracker):
    """And lets go of them when it is closed."""
    handler = TicketingHandler(f"sqlite:///{tmp_path}/tickets.sqlite3", trackers=[tracker])
    with handler.contextbound():
        for _ in range(3):
            Logger("shop").error("no price")

    assert handler.flush(LIMIT)
    assert handler._filing.flush(LIMIT)
    assert handler.close(LIMIT)

    (issue,) = tracker.issues.values()
    assert issue["title"] == "no price"
    assert not tracker.is_open


def test_a_forked_child_starts_anew(store, tracker, make_filing):
    """What the parent has reserved and seen is the parent's."""
    filing = make_filing(tracker)
    record(store, filing)
    assert filing.flush(LIMIT)
    desk = filing._desks[0]
    desk._claimed[7] = FakeClock()()

    filing.after_fork_in_child()
    desk.after_fork_in_child()

    assert not filing._seen
    assert not desk._claimed
    assert counts(filing)["filed"] == 0
