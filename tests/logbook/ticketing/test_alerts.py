"""Alerts: who is told when a ticket is new, is back, wakes up, or occurs too often."""

import json
import os
import random
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import Handler, Logger, TestHandler
from sprockets.logbook.ticketing import (
    Alert,
    BackendBase,
    Entry,
    NewAlert,
    Outcome,
    Query,
    RateAlert,
    RegressedAlert,
    SpikeAlert,
    TicketingHandler,
    WokenAlert,
    parse_query,
)
from sprockets.logbook.ticketing._alert_rates import usual_of
from sprockets.logbook.ticketing._alerts import CHANNEL
from sprockets.logbook.ticketing._matching import matches

log = Logger("shop")
BEGIN = datetime(2026, 11, 21, 12, 0)
LIMIT = 30.0


class Clock:
    """Seconds since 1970; stands still."""

    def __init__(self):
        self.seconds = BEGIN.replace(tzinfo=UTC).timestamp()

    def __call__(self):
        return self.seconds


class CountingStore(BackendBase):
    """Knows counts by the hour, and who claimed what."""

    def setup_backend(self):
        self.counts = {}
        self.asked = []
        self.claimed = {}

    def get_counts(self, ticket_ids, since, until, step):
        ids = list(ticket_ids)
        self.asked.append((ids, since, until, step))
        hours = int((until - since).total_seconds() // 3600) + 1
        return {
            ticket_id: ([0] * hours + self.counts.get(ticket_id, [10**6]))[-hours:]
            for ticket_id in ids
        }

    def claim(self, name, *, now, seconds):
        assert len(name) <= 120
        until = self.claimed.get(name)
        if until is not None and now < until:
            return False
        self.claimed[name] = now + timedelta(seconds=seconds)
        return True


class PlainStore(BackendBase):
    """Knows nothing but Logbook's methods."""

    def setup_backend(self):
        """Nothing to do."""


@pytest.fixture(name="clock")
def _clock():
    return Clock()


@pytest.fixture(name="store")
def _store():
    return CountingStore()


def entry(at=0.0, **facts):
    return Entry(
        **{
            "key": str(random.random()),
            "hash": "0" * 40,
            "time": BEGIN + timedelta(seconds=at),
            "level": 14,
            "channel": "shop",
            "location": "/srv/shop.py:12",
            "module": "shop",
            "app_id": "web",
            "data": '{"level": 14, "msg": "m"}',
            "title": "ValueError: no",
            **facts,
        }
    )


def outcome(event="again", ticket_id=7, count=1, at=0.0, **facts):
    return Outcome(entry(at, **facts), event, ticket_id, count)


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alert", "event", "text"),
    [
        (NewAlert, "new", "new ticket 7: ValueError: no (shop, /srv/shop.py:12)"),
        (
            RegressedAlert,
            "regressed",
            "ticket 7 was solved, and is back: ValueError: no (shop, /srv/shop.py:12)",
        ),
        (
            WokenAlert,
            "woken",
            "ticket 7 is no longer ignored: ValueError: no (shop, /srv/shop.py:12)",
        ),
    ],
)
def test_an_event_is_told(store, clock, alert, event, text):
    """Others are not."""
    told = []
    watch = alert(told.append, clock=clock)

    for other in ("new", "again", "regressed", "woken", "duplicate"):
        watch.observe(store, [outcome(other)])

    assert [record.message for record in told] == [text]
    assert told[0].extra["alert"] == event
    assert watch.statistics()["told"] == 1


def test_an_alert_is_a_record_with_the_facts_of_the_ticket(store, clock):
    """As any handler delivers it, with the traceback of the occurrence."""
    handler = TestHandler()
    data = {
        "level": 14,
        "msg": "m",
        "exception_name": "builtins.ValueError",
        "exception_message": "no",
        "formatted_exception": "Traceback\nValueError: no",
        "func_name": "pay",
    }
    watch = NewAlert(handler, base_url="https://tickets.example.org/", clock=clock)

    watch.observe(
        store,
        [
            outcome(
                "new",
                data=json.dumps(data),
                request_id="r1",
                task_uuid="t1",
                release="1.2",
                environment="test",
            )
        ],
    )

    (record,) = handler.records
    assert (record.channel, record.level_name) == (CHANNEL, "ERROR")
    assert record.time == BEGIN
    assert (record.filename, record.lineno, record.module) == ("/srv/shop.py", 12, "shop")
    assert (record.func_name, record.process) == ("pay", os.getpid())
    assert record.exception_name == "builtins.ValueError"
    assert record.formatted_exception == "Traceback\nValueError: no"
    assert record.extra == {
        "alert": "new",
        "ticket_id": 7,
        "count": 1,
        "title": "ValueError: no",
        "ticket_channel": "shop",
        "app_id": "web",
        "location": "/srv/shop.py:12",
        "release": "1.2",
        "environment": "test",
        "request_id": "r1",
        "task_uuid": "t1",
        "held_back": 0,
        "url": "https://tickets.example.org/tickets/7",
    }
    assert json.loads(record.to_json())["extra"]["ticket_id"] == 7


def test_the_facts_of_an_odd_occurrence_are_as_far_as_they_go(store, clock):
    """No channel, no place, no data that can be read, an id that is an object."""

    class Id:
        def __str__(self):
            return "5c0f"

        def __hash__(self):
            return 1

    told = []
    watch = NewAlert(told.append, level="CRITICAL", clock=clock)

    watch.observe(
        store,
        [outcome("new", Id(), channel="", location="<unknown>:0", data="torn", level=11)],
    )

    (record,) = told
    assert record.message == "new ticket 5c0f: ValueError: no (<unknown>:0)"
    assert record.extra["ticket_id"] == "5c0f"
    assert record.level_name == "CRITICAL"
    assert record.formatted_exception is None


def test_the_level_of_the_target_does_not_matter(store, clock):
    """Who is told of what is the alert's to say."""
    handler = TestHandler(level="CRITICAL")

    NewAlert(handler, clock=clock).observe(store, [outcome("new", level=11)])

    assert len(handler.records) == 1


def test_the_base_does_not_know_when(store):
    """A subclass says so."""
    with pytest.raises(NotImplementedError, match="Alert does not say when somebody is told"):
        Alert(print).observe(store, [outcome()])


# --- filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "is_met"),
    [
        ("", True),
        ("level:error", True),
        ("level:>error", False),
        ("level:warning", False),
        ("channel:sh*", True),
        ("channel:s*p", True),
        ("channel:sho?", False),
        ("channel:[s]hop", False),
        ("channel:shop.*", False),
        ("channel:x,shop", True),
        ("app:web", True),
        ("app:other", False),
        ("release:1.2", True),
        ("release:1.3", False),
        ("env:test", False),
        ("request:r1", True),
        ("count:>=5", True),
        ("count:>5", False),
        ("VALUEERROR no", True),
        ("srv", True),
        ("nothing", False),
        ("-level:error", False),
        ("-(level:error app:other)", True),
        ("-(level:error app:web)", False),
    ],
)
def test_an_alert_is_of_the_tickets_that_meet_its_query(store, clock, query, is_met):
    """As far as an occurrence says."""
    told = []
    watch = NewAlert(told.append, query, clock=clock)

    watch.observe(store, [outcome("new", count=5, release="1.2", request_id="r1")])

    assert bool(told) is is_met
    assert matches(parse_query(query), outcome(count=5, release="1.2", request_id="r1")) is is_met


@pytest.mark.parametrize("query", ["is:new", "assigned:ann", "seen:1h", "first:1h", "-is:solved"])
def test_what_only_a_store_knows_cannot_be_asked(query):
    """The constructor says so."""
    with pytest.raises(ValueError, match="that is asked of stores only"):
        NewAlert(print, query)


def test_a_query_may_be_one_already(store, clock):
    """Or a text that is wrong."""
    told = []

    NewAlert(told.append, Query(min_level=15), clock=clock).observe(store, [outcome("new")])

    assert told == []
    with pytest.raises(ValueError, match="unknown field"):
        NewAlert(print, "lvl:error")


# --- restraint ------------------------------------------------------------------------------------


def test_after_an_alert_it_is_quiet_for_a_while(store, clock):
    """About this ticket; the next alert says how many there were meanwhile."""
    told = []
    watch = RegressedAlert(told.append, quiet=60, clock=clock)

    def regress(ticket_id=7):
        watch.observe(store, [outcome("regressed", ticket_id)])

    regress()
    clock.seconds += 59
    regress()
    regress()
    regress(8)
    clock.seconds += 1
    regress()

    assert [(record.extra["ticket_id"], record.extra["held_back"]) for record in told] == [
        (7, 0),
        (8, 0),
        (7, 2),
    ]
    assert told[-1].message.endswith("; 2 alerts were held back")
    assert watch.statistics() == {
        "told": 3,
        "failed": 0,
        "held_back": {"quiet": 2},
        "known": 2,
        "forgotten": 0,
    }


def test_in_an_hour_there_are_so_many_at_most(store, clock):
    """A release that breaks everything is no flood of mails."""
    told = []
    watch = NewAlert(told.append, max_per_hour=3, clock=clock)

    watch.observe(store, [outcome("new", number) for number in range(10)])
    clock.seconds += 3600
    watch.observe(store, [outcome("new", 11)])

    assert [record.extra["ticket_id"] for record in told] == [0, 1, 2, 11]
    assert watch.statistics()["held_back"] == {"limit": 7}


def test_a_clock_that_goes_back_silences_nobody(store, clock):
    """Wall clocks are set."""
    told = []
    watch = RegressedAlert(told.append, max_per_hour=1, clock=clock)

    watch.observe(store, [outcome("regressed")])
    clock.seconds -= 100_000
    watch.observe(store, [outcome("regressed")])

    assert len(told) == 2


def test_what_is_known_is_bounded(store, clock):
    """The tickets that occurred longest ago are forgotten, and counted."""
    watch = RateAlert(print, 1_000, 60, max_tickets=10, clock=clock)
    new = NewAlert(lambda record: None, max_tickets=10, max_per_hour=None, clock=clock)

    for number in range(100):
        watch.observe(store, [outcome("new", number)])
        new.observe(store, [outcome("new", number)])

    assert len(watch._windows) == 10
    assert new.statistics()["known"] == 10
    assert new.statistics()["forgotten"] == 90


# --- rates ----------------------------------------------------------------------------------------


def occurrences(watch, store, times, ticket_id=7, count=0):
    for number, at in enumerate(times, count + 1):
        watch.observe(store, [outcome(ticket_id=ticket_id, count=number, at=at)])


def test_more_than_so_many_in_a_period_are_told(store, clock):
    """Once; and again after it was fewer."""
    told = []
    watch = RateAlert(told.append, 3, 60, quiet=0, clock=clock)

    occurrences(watch, store, [0, 20, 40])
    assert told == []
    occurrences(watch, store, [50, 55, 58], count=3)
    assert len(told) == 1
    clock.seconds += 300
    occurrences(watch, store, [300, 310, 320, 330, 335], count=6)

    assert [record.extra["rate"] for record in told] == [4, 4]
    assert told[0].message == (
        "ticket 7 occurred 4 times in 60 s, more than 3: ValueError: no (shop, /srv/shop.py:12)"
    )
    assert (told[0].extra["limit"], told[0].extra["seconds"]) == (3, 60)


def test_as_many_as_that_are_not_told(store, clock):
    """Nor more of them over a longer time."""
    told = []
    watch = RateAlert(told.append, 3, 60, clock=clock)

    occurrences(watch, store, range(0, 2_000, 20))

    assert told == []


def test_occurrences_that_others_store_count_too(store, clock):
    """A ticket says how often it occurred in all."""
    told = []
    watch = RateAlert(told.append, 50, 60, clock=clock)

    watch.observe(store, [outcome(count=100, at=0)])
    watch.observe(store, [outcome(count=120, at=10)])
    watch.observe(store, [outcome(count=151, at=20)])

    assert [record.extra["rate"] for record in told] == [52]


def test_what_happened_before_the_period_does_not_count(store, clock):
    """However far the count has come since this process last heard of the ticket."""
    told = []
    watch = RateAlert(told.append, 50, 60, clock=clock)

    watch.observe(store, [outcome(count=100, at=0)])
    watch.observe(store, [outcome(count=10_000, at=61)])

    assert told == []


def test_late_records_are_counted_when_they_happened(store, clock):
    """What a spool brings back after an outage is no rate of now."""
    told = []
    watch = RateAlert(told.append, 10, 60, clock=clock)

    watch.observe(store, [outcome(ticket_id="other", at=3_600)])
    watch.observe(store, [outcome(count=number + 1, at=number * 30) for number in range(100)])
    late = [outcome(count=200 + number, at=number) for number in range(100)]
    watch.observe(store, late)

    assert told == []


def test_a_merge_of_tickets_is_no_rate(store, clock):
    """The count jumps; the store says how often it really occurred, asked once in a period."""
    told = []
    watch = RateAlert(told.append, 50, 60, clock=clock)
    store.counts[7] = [2]

    watch.observe(store, [outcome(count=1, at=0)])
    watch.observe(store, [outcome(count=1_000, at=10)])

    assert told == []
    assert len(store.asked) == 1
    assert store.asked[0][0] == [7]


def test_all_tickets_together_have_a_rate(store, clock):
    """Those that meet the query."""
    told = []
    watch = RateAlert(told.append, 5, 60, "channel:shop", of="all", clock=clock)

    for number in range(6):
        watch.observe(store, [outcome(ticket_id=number, at=number)])
        watch.observe(store, [outcome(ticket_id=number, at=number, channel="other")])

    (record,) = told
    assert record.message.startswith("tickets occurred 6 times in 60 s, more than 5, the last: ")
    assert store.asked == []


def test_of_many_processes_one_tells(store, clock):
    """The store says which; the others count that."""
    told = []
    watches = [RateAlert(told.append, 3, 60, clock=clock) for _ in range(4)]

    for number in range(1, 40):
        for watch in watches:
            watch.observe(store, [outcome(count=number, at=number)])

    assert len(told) == 1
    assert [watch.statistics()["held_back"] for watch in watches] == [
        {},
        *[{"elsewhere": 1}] * 3,
    ]


def test_a_store_that_knows_neither_counts_nor_claims_is_enough(clock):
    """Then each process tells."""
    told = []
    watch = RateAlert(told.append, 3, 60, clock=clock)

    occurrences(watch, PlainStore(), range(10))

    assert len(told) == 1


@settings(max_examples=200, deadline=None)
@given(
    gaps=st.lists(st.integers(0, 40), min_size=1, max_size=200),
    limit=st.integers(1, 20),
    seconds=st.sampled_from((10, 60, 300)),
)
def test_nobody_is_told_of_a_rate_that_was_not(gaps, limit, seconds):
    """The window may forget some of many, and never counts one too long."""
    told = []
    watch = RateAlert(told.append, limit, seconds, quiet=0, max_per_hour=None, clock=Clock())
    times, at = [], 0
    for gap in gaps:
        at += gap
        times.append(at)

    expected, was_above = 0, False
    for index, time_ in enumerate(times):
        rate = sum(time_ - seconds < other <= time_ for other in times[: index + 1])
        expected += rate > limit and not was_above
        was_above = rate > limit
        watch.observe(PlainStore(), [outcome(count=index + 1, at=time_)])

    # With at most as many as the window remembers one by one, it is exact.
    assert len(told) <= expected
    if limit < 20 and len(times) <= 64:
        assert len(told) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0, "seconds": 60},
        {"limit": 1, "seconds": 0},
        {"limit": 1, "seconds": 1, "of": "x"},
    ],
)
def test_a_rate_that_makes_no_sense_is_refused(options):
    """When it is made."""
    with pytest.raises(ValueError, match="got"):
        RateAlert(print, **options)


# --- spikes ---------------------------------------------------------------------------------------


def day(hour_now, others=0):
    return [others] * 23 + [hour_now]


@pytest.mark.parametrize(
    ("counts", "current", "usual"),
    [
        ([], 0, None),
        ([0], 0, None),
        ([5], 5, None),
        ([0, 0, 1, 3, 60], 60, 2.0),
        (day(4) * 7 + day(40), 40, 4.0),
        ([0] * 24 * 5 + day(4) * 2 + day(40), 40, 4.0),
        (day(4, others=100) * 7 + day(40), 40, 4.0),
        (day(2) + day(4) + day(40), 40, 3.0),
        ([0] * 24 * 7 + day(40), 40, None),
        ([0] * 24 * 7 + day(40, others=4), 40, 4.0),
        ([0] * 23 + [4] + day(40), 40, 4.0),
    ],
)
def test_the_usual_is_that_of_the_same_hour_on_days_before(counts, current, usual):
    """Since the ticket occurred first; if that is less than a day, the mean of the hours since."""
    assert usual_of(counts) == (current, usual)


def test_far_more_than_usual_is_told_once(store, clock):
    """And again only after it was not so."""
    told = []
    watch = SpikeAlert(told.append, 5, 20, days=7, interval=300, quiet=0, clock=clock)

    def look(now, usual=10):
        store.counts[7] = day(usual) * 7 + day(now)
        clock.seconds += 300
        watch.observe(store, [outcome(count=1_000)])
        return len(told)

    assert look(50) == 0
    assert look(51) == 1
    assert look(80) == 1
    assert look(10) == 1
    clock.seconds += 3600
    assert look(60) == 2
    assert told[0].message.startswith("ticket 7 occurred 51 times in this hour, usually 10: ")
    assert (told[0].extra["current"], told[0].extra["usual"]) == (51, 10.0)


def test_few_are_no_spike(store, clock):
    """However few were usual; a ticket that has not as many in all is not even looked at."""
    told = []
    watch = SpikeAlert(told.append, 5, 20, clock=clock)
    store.counts[7] = day(1) * 7 + day(19)

    watch.observe(store, [outcome(count=19)])
    assert store.asked == []
    watch.observe(store, [outcome(count=20)])

    assert told == []
    assert len(store.asked) == 1


def test_a_ticket_that_is_new_does_not_spike(store, clock):
    """What is usual, the next hour will show."""
    told = []
    watch = SpikeAlert(told.append, 5, 20, quiet=0, clock=clock)

    for counts in ([0] * 168 + [1_000], [0] * 167 + [100, 500], [0] * 167 + [100, 501]):
        store.counts[7] = counts
        watch.observe(store, [outcome(count=1_000)])
        clock.seconds += 300

    assert [record.extra["current"] for record in told] == [501]


def test_the_store_is_asked_seldom_and_for_all_tickets_at_once(store, clock):
    """Once in the interval for a ticket."""
    watch = SpikeAlert(lambda record: None, 5, 20, days=3, interval=300, clock=clock)
    batch = [outcome(ticket_id=number % 5, count=100) for number in range(50)]

    for _ in range(10):
        watch.observe(store, batch)
        clock.seconds += 100

    assert [ids for ids, *_ in store.asked] == [[0, 1, 2, 3, 4]] * 4
    _, since, until, step = store.asked[0]
    assert (until, until - since, step) == (BEGIN, timedelta(days=3), "hour")


def test_of_many_processes_one_tells_of_a_spike(store, clock):
    """The store says which."""
    told = []
    watches = [SpikeAlert(told.append, 5, 20, clock=clock) for _ in range(4)]
    store.counts[7] = day(1) * 7 + day(100)

    for watch in watches:
        watch.observe(store, [outcome(count=100)])

    assert len(told) == 1


@pytest.mark.parametrize("options", [{"factor": 0.5}, {"minimum": 0}, {"days": 0}, {"days": 100}])
def test_a_spike_that_makes_no_sense_is_refused(options):
    """When it is made."""
    with pytest.raises(ValueError, match="factor and minimum are at least 1, days 1 to 60"):
        SpikeAlert(print, **options)


# --- targets that fail, threads, processes ----------------------------------------------------------


def test_a_target_that_fails_keeps_nobody_else_from_being_told(store, clock):
    """The first failure is raised in the end, for the handler to report."""
    told = []

    def target(record):
        told.append(record.extra["ticket_id"])
        if record.extra["ticket_id"] in (1, 2):
            raise RuntimeError(record.extra["ticket_id"])

    watch = NewAlert(target, clock=clock)

    with pytest.raises(RuntimeError, match="1"):
        watch.observe(store, [outcome("new", number) for number in range(4)])

    assert told == [0, 1, 2, 3]
    assert watch.statistics()["failed"] == 2


def test_a_handler_that_fails_reports_it_itself(store, clock, capfd):
    """As with any record."""

    class Broken(Handler):
        def emit(self, record):
            raise RuntimeError("ouch")

    NewAlert(Broken(), clock=clock).observe(store, [outcome("new")])

    assert "RuntimeError: ouch" in capfd.readouterr().err


def test_many_threads_may_tell_at_once(store, clock):
    """As handlers do that store in the call, or several that share an alert."""
    told = []
    watch = RegressedAlert(told.append, quiet=60, max_per_hour=None, clock=clock)

    def work():
        for number in range(200):
            watch.observe(store, [outcome("regressed", number)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)

    assert len(told) == 200
    assert watch.statistics()["held_back"] == {"quiet": 7 * 200}


def test_a_forked_child_finds_no_lock_held(store, clock):
    """Though another thread was in the middle of it."""
    inside, leave = threading.Event(), threading.Event()

    def slow(record):
        with watch._lock:
            inside.set()
            leave.wait(LIMIT)

    watch = NewAlert(slow, clock=clock)
    thread = threading.Thread(target=watch.observe, args=(store, [outcome("new", 1)]))
    thread.start()
    assert inside.wait(LIMIT)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if watch.statistics()["told"] == 1 else 2
        finally:
            os._exit(status)
    deadline = time.monotonic() + LIMIT
    done = (0, 0)
    while done == (0, 0) and time.monotonic() < deadline:
        done = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    leave.set()
    thread.join(LIMIT)

    assert done == (child, 0)


# --- all of it ------------------------------------------------------------------------------------


def test_from_a_log_call_to_the_one_who_is_told(tmp_path):
    """New, and back after it was solved; with a real store."""
    told = TestHandler()
    handler = TicketingHandler(
        f"sqlite:///{tmp_path / 'tickets.db'}",
        alerts=[NewAlert(told, "level:>=error"), RegressedAlert(told), RateAlert(told, 30, 3600)],
    )

    def fail():
        log.error("no price")

    with handler:
        fail()
        log.warning("not so bad")
        fail()
        (ticket,) = [one for one in handler.db.get_tickets() if one.level_name == "ERROR"]
        handler.db.solve_ticket(ticket.ticket_id)
        fail()
        assert handler.flush(LIMIT)
        for _ in range(100):
            fail()
    assert handler.close(LIMIT)

    kinds = [record.extra["alert"] for record in told.records]
    assert kinds == ["new", "regressed", "rate"]
    assert {record.extra["ticket_id"] for record in told.records} == {ticket.ticket_id}
    assert told.records[0].extra["title"] == "no price"
