"""What every store of tickets owes, as tests: a class to inherit from, with a store of one's own.

    class TestMyStore(StoreContract):
        @pytest.fixture(name="make_store")
        def _make_store(self):
            return lambda: MyStore(...)  # of one and the same database, as often as it is called

:mod:`tests.logbook.ticketing.walking` has `StoreMachine`, which walks a store and the model through
the same random steps.
"""

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha1
from itertools import count

import pytest

from sprockets.logbook import Logger, TestHandler
from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._entry import Entry
from sprockets.logbook.ticketing._model import FIELDS, Removed, Retention, TrackerIssue
from sprockets.logbook.ticketing._reading import leading_records
from sprockets.logbook.ticketing._search import EVERYTHING, Query

START = datetime(2026, 3, 1, 12, 0)
ALL = Retention(None, None, None, None)
"""Keeps everything; for `dataclasses.replace`."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

_numbers = count(1)


def hash_of(name):
    """Return a hash as Logbook has them."""
    return sha1(name.encode()).hexdigest()


def fingerprint_of(name):
    """Return a fingerprint of the form `Entry` asks for."""
    return f"1:{sha1(name.encode()).hexdigest()}"


def make_entry(name="a", **facts):
    """Return an entry with a key of its own; *name* stands for the place that logged it."""
    number = next(_numbers)
    data = {"level": facts.get("level", 13), "msg": name, "message": name, "channel": "app"}
    known = {
        "key": f"key-{number}",
        "hash": hash_of(name),
        "time": START,
        "level": 13,
        "channel": "app",
        "location": f"/srv/{name}.py:1",
        "module": f"service.{name}",
        "app_id": "generic",
        "data": json.dumps(data),
        "title": f"title of {name}",
    }
    return Entry(**{**known, **facts})


def after(**span):
    """Return a time after the start."""
    return START + timedelta(**span)


def record_and_data(msg="hello", channel="app", level="WARNING", **facts):
    """Return a record as a handler has it, and what is stored of it."""
    with TestHandler() as handler:
        Logger(channel, level=0).log(level, msg)
    record = handler.records[0]
    for name, value in facts.items():
        setattr(record, name, value)
    return record, record.to_dict(json_safe=True)


def in_threads(number, work):
    """Call *work* with 0, 1, … in as many threads at once; return what they returned, in order."""
    barrier = threading.Barrier(number)
    results = [None] * number

    def run(index):
        barrier.wait(60)
        try:
            results[index] = work(index)
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a thread is stuck"
    failed = [result for result in results if isinstance(result, BaseException)]
    if failed:
        raise failed[0]
    return results


RELEASES = [
    ("1.10", "1.9", "again"),
    ("1.10", "1.10rc1", "again"),
    ("1.10", "1.10", "regressed"),
    ("1.10", "1.10.0", "regressed"),
    ("1.10", "2.0", "regressed"),
    ("1.10", None, "regressed"),
    ("build-b", "build-a", "again"),
    ("build-a", "build-b", "regressed"),
    ("build-b", "build-b", "regressed"),
    ("never-seen", "build-b", "again"),
    ("never-seen", "never-seen", "regressed"),
    ("never-seen", "build-after", "regressed"),
    ("build-b", "build-after", "regressed"),
    ("build-b", "1.0", "regressed"),
]
"""In which release a ticket is solved, in which it occurs, and what that is."""
SEARCHES = [
    ({}, "abcd"),
    ({"states": ("new",)}, "d"),
    ({"states": ("assigned", "solved")}, "ab"),
    ({"states": ("ignored",)}, "c"),
    ({"states": ("regressed",)}, ""),
    ({"levels": (13, 15)}, "bd"),
    ({"min_level": 14}, "cd"),
    ({"channels": ("mail",)}, "c"),
    ({"channels": ("shop",)}, ""),
    ({"channels": ("shop.*",)}, "ab"),
    ({"channels": ("*.orders", "mail")}, "bc"),
    ({"channels": ("s*.c*t",)}, "a"),
    ({"channels": ("*",)}, "abcd"),
    ({"channels": ("",)}, "d"),
    ({"channels": ("shop_*", "shop%", ".*", "s[h]op.*")}, ""),
    ({"releases": ("1.1",)}, "ab"),
    ({"releases": ("1.0",)}, "a"),
    ({"releases": ("1",)}, ""),
    ({"environments": ("production",)}, "a"),
    ({"environments": ("staging", "other")}, "a"),
    ({"app_ids": ("shop",)}, "ab"),
    ({"app_ids": ("mail", "generic")}, "cd"),
    ({"assignees": ("ann",)}, "a"),
    ({"assignees": ("",)}, "bcd"),
    ({"assignees": ("", "ann")}, "abcd"),
    ({"request_ids": ("r-2",)}, "b"),
    ({"request_ids": ("r-1", "r-2")}, "ab"),
    ({"request_ids": ("r",)}, ""),
    ({"seen_since": after(hours=3)}, "cd"),
    ({"seen_since": after(hours=6, seconds=1)}, ""),
    ({"first_since": after(hours=1)}, "bcd"),
    ({"first_since": after(hours=4)}, "d"),
    ({"min_count": 2}, "ad"),
    ({"texts": ("keyerror",)}, "a"),
    ({"texts": ("SHOP.",)}, "ab"),
    ({"texts": ("shop", "service.b")}, "b"),
    ({"texts": ("/srv/c.py:1",)}, "c"),
    ({"texts": ("100%",)}, "b"),
    ({"texts": ("%",)}, "b"),
    ({"texts": ("1_0",)}, ""),
    ({"texts": ("k_1",)}, "b"),
    ({"texts": ("c:\\disk",)}, "b"),
    ({"texts": ("käse",)}, "b"),
    ({"texts": ("[a](.)+",)}, "c"),
    ({"texts": ("(",)}, "c"),
    ({"texts": ("' or 1=1 --",)}, ""),
    ({"texts": ('"$where"',)}, ""),
    ({"excluded": (Query(states=("new",)),)}, "abc"),
    ({"excluded": (Query(states=("new",)), Query(channels=("shop.*",)))}, "c"),
    ({"excluded": (Query(app_ids=("shop",), releases=("1.0",)),)}, "bcd"),
    ({"excluded": (Query(assignees=("",)),)}, "a"),
    ({"excluded": (EVERYTHING,)}, ""),
    ({"excluded": (Query(texts=("käse",)), Query(request_ids=("r-1",)))}, "cd"),
    ({"excluded": (Query(excluded=(Query(levels=(10,)),)),)}, "a"),
    ({"min_level": 13, "min_count": 2, "texts": ("service",)}, "d"),
    ({"releases": ("1.1",), "environments": ("staging",)}, "a"),
]
"""Conditions, and the tickets that meet them."""


class StoreContract:
    """Inherit, and override the fixtures; the name of the class begins with ``Test`` then."""

    @pytest.fixture(name="make_store")
    def _make_store(self):
        """Return a function that opens the store once more: the same database each time."""
        raise NotImplementedError

    @pytest.fixture(name="store")
    def _store(self, make_store):
        store = make_store()
        yield store
        store.close()

    @pytest.fixture(name="unknown_id")
    def _unknown_id(self):
        """Return an id that no ticket and no occurrence has."""
        return 999_999_999

    def assert_time(self, found, expected):
        """Check a time that was stored; stores that keep less than microseconds override this."""
        assert found == expected

    # -- helpers

    @staticmethod
    def record(store, *entries):
        return [outcome.event for outcome in store.record_entries(list(entries))]

    @staticmethod
    def ticket_of(store, entry):
        """Record *entry* and return the id of its ticket."""
        return store.record_entries([entry])[0].ticket_id

    @staticmethod
    def names(tickets):
        return [ticket.module.rpartition(".")[2] for ticket in tickets]

    def found(self, store, **conditions):
        """Return the names of the tickets that meet a query; counting agrees with listing."""
        query = Query(**conditions)
        names = sorted(self.names(store.get_tickets(query=query)))
        assert store.count_tickets(query) == len(names)
        return names

    @staticmethod
    def state_of(store, ticket_id):
        ticket = store.get_ticket(ticket_id)
        assert ticket.solved is (ticket.status.state == "solved")
        return ticket.status.state

    @staticmethod
    def actions_of(store, ticket_id):
        return [item.action for item in store.get_history(ticket_id)]

    # -- Logbook's promises

    @pytest.mark.rule("TK-1", "TK-2")
    def test_the_options_are_kept_whole_and_the_callers_stay_as_they_are(self, store):
        """What a store was given it still has; it is a BackendBase."""
        assert isinstance(store, BackendBase)
        assert isinstance(store.options, dict)

    @pytest.mark.rule("TK-3")
    def test_the_first_record_of_a_hash_makes_a_ticket(self, store):
        """What the ticket says is what the record said."""
        record, data = record_and_data(channel="payments")

        store.record_ticket(record, data, hash_of("x"), "shop")

        [ticket] = store.get_tickets()
        assert ticket.record_hash == hash_of("x")
        assert ticket.level == 13
        assert ticket.level_name == "WARNING"
        assert ticket.channel == "payments"
        assert ticket.location == f"{record.filename}:{record.lineno}"
        assert ticket.module == record.module
        self.assert_time(ticket.last_occurrence_time, record.time)
        assert ticket.occurrence_count == 1
        assert ticket.solved is False
        assert ticket.app_id == "shop"
        assert store.count_tickets() == 1

    @pytest.mark.rule("TK-3")
    def test_a_later_record_counts_and_changes_nothing_but_the_time(self, store):
        """Level, channel, location, module and application are those of the first occurrence."""
        store.record_entries([make_entry("a")])
        before = store.get_tickets()[0]

        store.record_entries(
            [
                make_entry(
                    "a",
                    time=after(minutes=5),
                    level=15,
                    channel="other",
                    location="/b.py:2",
                    module="b",
                    app_id="b",
                )
            ]
        )

        [ticket] = store.get_tickets()
        assert ticket.occurrence_count == 2
        assert ticket.last_occurrence_time == after(minutes=5)
        for name in ("level", "channel", "location", "module", "app_id", "record_hash"):
            assert getattr(ticket, name) == getattr(before, name)

    @pytest.mark.rule("TK-3")
    def test_a_solved_ticket_is_open_again_after_the_next_record(self, store):
        """Nothing that comes again is solved."""
        record, data = record_and_data()
        store.record_ticket(record, data, hash_of("x"), "shop")
        store.get_tickets()[0].solve()
        assert store.get_tickets()[0].solved is True

        store.record_ticket(record, data, hash_of("x"), "shop")

        [ticket] = store.get_tickets()
        assert ticket.solved is False
        assert ticket.occurrence_count == 2

    def test_a_record_without_a_place_has_an_unknown_one(self, store):
        """Introspection may be off, and the channel None."""
        record = LogRecord.from_dict({"level": 13, "msg": "hello", "time": "2026-03-01T12:00:00Z"})

        store.record_ticket(record, record.to_dict(json_safe=True), hash_of("x"), "shop")

        [ticket] = store.get_tickets()
        assert ticket.channel == ""
        assert ticket.location == "<unknown>:0"
        assert ticket.module == "<unknown>"

    def test_an_aware_time_is_stored_in_utc(self, store):
        """A time with a zone is the same instant without."""
        record, data = record_and_data()
        record.time = datetime(2026, 3, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))

        store.record_ticket(record, data, hash_of("x"), "shop")

        assert store.get_tickets()[0].last_occurrence_time == START

    @pytest.mark.rule("TK-4")
    def test_of_a_batch_all_is_stored_or_nothing(self, store):
        """What cannot be stored takes the rest with it, and leaves no trace of it."""
        store.record_entries([make_entry("a")])
        broken = make_entry("b", data=object())

        with pytest.raises(Exception):  # noqa: B017 - each database has its own
            store.record_entries([make_entry("a"), make_entry("c"), broken, make_entry("d")])

        [ticket] = store.get_tickets()
        assert ticket.occurrence_count == 1
        assert len(ticket.get_occurrences()) == 1
        assert store.get_counts([ticket.ticket_id], START, START, "hour") == {ticket.ticket_id: [1]}
        assert self.record(store, make_entry("c")) == ["new"]

    @pytest.mark.rule("TK-5")
    def test_tickets_are_ordered_by_any_field_both_ways(self, store):
        """Ascending as it is, descending with a minus."""
        for number, name in enumerate("cab"):
            entry = make_entry(
                name,
                level=15 - number,
                channel=f"channel {name}",
                app_id=f"app {name}",
                time=after(hours=-number),
            )
            store.record_entries(
                [replace(entry, key=f"{entry.key} {one}") for one in range(number + 1)]
            )
        store.solve_ticket(store.get_tickets(query=Query(texts=("title of a",)))[0].ticket_id)

        for field in (*FIELDS, "first_time"):
            up = store.get_tickets(field)
            down = store.get_tickets(f"-{field}")

            owner = [ticket.status if field == "first_time" else ticket for ticket in up]
            values = [getattr(one, field) for one in owner]
            assert len(values) == 3, field
            assert values == sorted(values), field
            assert down == up[::-1], field

    @pytest.mark.rule("TK-5")
    def test_the_most_recent_comes_first_unless_said_otherwise(self, store):
        """Tickets by their last occurrence, occurrences by their time."""
        store.record_entries([make_entry("a"), make_entry("b", time=after(hours=2))])
        store.record_entries([make_entry("c", time=after(hours=1))])
        ticket_id = self.ticket_of(store, make_entry("c", time=after(hours=0.5)))

        assert self.names(store.get_tickets()) == ["b", "c", "a"]
        times = [found.time for found in store.get_occurrences(ticket_id)]
        assert times == [after(hours=1), after(hours=0.5)]

    @pytest.mark.rule("TK-5", "TK-7")
    def test_paging_is_stable_where_all_are_equal(self, store):
        """Every ticket is on exactly one page; equals are ordered by id, in the same direction."""
        store.record_entries([make_entry(f"t{number}") for number in range(23)])

        for order_by in ("level", "-level", "-last_occurrence_time"):
            pages = [store.get_tickets(order_by, 5, offset) for offset in range(0, 30, 5)]

            assert [len(page) for page in pages] == [5, 5, 5, 5, 3, 0]
            ids = [ticket.ticket_id for page in pages for ticket in page]
            assert ids == sorted(set(ids), reverse=order_by.startswith("-"))
            assert len(ids) == 23

    @pytest.mark.rule("TK-5", "TK-7")
    def test_paging_of_occurrences_is_stable_where_all_are_equal(self, store):
        """Every occurrence is on exactly one page."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        store.record_entries([make_entry("a") for _ in range(12)])

        for order_by in ("time", "-time", "app_id", "-ticket_id"):
            pages = [
                store.get_occurrences(ticket_id, order_by, 5, offset) for offset in range(0, 20, 5)
            ]

            assert [len(page) for page in pages] == [5, 5, 3, 0]
            ids = [found.occurrence_id for page in pages for found in page]
            assert ids == sorted(set(ids), reverse=order_by.startswith("-"))
            assert len(ids) == 13

    def test_occurrences_are_found_by_the_ticket_as_by_its_id(self, store):
        """Who has a ticket need not know where it has its id."""
        store.record_entries([make_entry("a"), make_entry("b")])
        ticket = store.get_tickets()[0]

        [found] = store.get_occurrences(ticket)

        [same] = store.get_occurrences(ticket.ticket_id)
        assert found.occurrence_id == same.occurrence_id
        assert found.ticket_id == ticket.ticket_id

    @pytest.mark.rule("TK-6")
    def test_an_order_by_no_field_is_refused(self, store):
        """Unknown fields are KeyErrors, no field is a ValueError, for tickets and occurrences."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        unknown = ("color", "-color", "--level", "level; drop table", "_id", "state")
        errors = {**dict.fromkeys(unknown, KeyError), "": ValueError, "-": ValueError}

        for order_by, error in errors.items():
            with pytest.raises(error):
                store.get_tickets(order_by)
            with pytest.raises(error):
                store.get_occurrences(ticket_id, order_by)

    @pytest.mark.rule("TK-7")
    def test_a_page_past_the_end_is_empty(self, store):
        """An offset beyond is no error."""
        ticket_id = self.ticket_of(store, make_entry("a"))

        assert store.get_tickets(offset=100) == []
        assert store.get_occurrences(ticket_id, offset=100) == []
        assert store.get_history(ticket_id, offset=100) == []

    @pytest.mark.rule("TK-8", "TK-9", "Q-11")
    def test_an_unknown_ticket_is_none_and_changing_it_does_nothing(self, store, unknown_id):
        """Each method says so in its way, and what is there stays as it is."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        before = store.get_mark(), store.get_ticket(ticket_id)

        assert store.get_ticket(unknown_id) is None
        assert store.get_occurrence(unknown_id) is None
        assert store.get_occurrences(unknown_id) == []
        assert store.get_history(unknown_id) == []
        assert store.get_issue(unknown_id, "redmine") is None
        assert store.get_issues(unknown_id) == []
        assert store.get_counts([unknown_id], START, START, "day") == {unknown_id: [0]}
        assert store.solve_ticket(unknown_id) is False
        assert store.reopen_ticket(unknown_id) is False
        assert store.ignore_ticket(unknown_id) is False
        assert store.assign_ticket(unknown_id, "ann") is False
        assert store.comment_on_ticket(unknown_id, "hello") is False
        assert store.add_history(unknown_id, "filed") is False
        assert store.merge_tickets(unknown_id, [ticket_id]) is False
        assert store.merge_tickets(ticket_id, [unknown_id]) is False
        assert store.split_ticket(unknown_id, unknown_id) is None
        assert store.split_ticket(ticket_id, unknown_id) is None
        assert store.delete_ticket(unknown_id) is False
        assert store.claim_issue(unknown_id, "redmine", now=START, patience=60) is False
        store.save_issue(TrackerIssue(unknown_id, "redmine", "1"))
        assert store.get_issue(unknown_id, "redmine") is None
        assert store.get_ticket(ticket_id) == before[1]
        assert self.actions_of(store, ticket_id) == ["created"]
        assert store.count_tickets() == 1

    @pytest.mark.rule("TK-9")
    def test_a_deleted_ticket_takes_everything_with_it(self, store):
        """Occurrences, history, counts and issues; what comes next is the first of a new ticket."""
        entry = make_entry("a", fingerprint=fingerprint_of("f"), request_id="r-1")
        ticket_id = self.ticket_of(store, entry)
        [kept] = [outcome.ticket_id for outcome in store.record_entries([make_entry("b")])]
        store.comment_on_ticket(ticket_id, "hm")
        store.save_issue(TrackerIssue(ticket_id, "redmine", "1"))
        [occurrence] = store.get_occurrences(ticket_id)

        assert store.delete_ticket(ticket_id) is True

        assert store.get_ticket(ticket_id) is None
        assert store.get_occurrences(ticket_id) == []
        assert store.get_occurrence(occurrence.occurrence_id) is None
        assert store.find_occurrences(request_id="r-1") == []
        assert store.get_history(ticket_id) == []
        assert store.get_issues(ticket_id) == []
        assert store.get_counts([ticket_id], START, START, "day") == {ticket_id: [0]}
        assert [ticket.ticket_id for ticket in store.get_tickets()] == [kept]
        assert self.record(store, entry) == ["new"]

    @pytest.mark.rule("TK-10")
    def test_a_ticket_can_be_solved_and_deleted_by_itself(self, store):
        """solve() says so on the object too, delete() leaves it as it is."""
        store.record_entries([make_entry("a")])
        [ticket] = store.get_tickets()

        ticket.solve()
        assert ticket.solved is True
        assert self.state_of(store, ticket.ticket_id) == "solved"

        ticket.delete()
        assert ticket.occurrence_count == 1
        assert store.get_ticket(ticket.ticket_id) is None

    @pytest.mark.rule("TK-11")
    def test_the_last_occurrence_is_the_most_recent_and_read_once(self, store):
        """By time, not by when it was stored; later ones do not show on the same object."""
        store.record_entries([make_entry("a", time=after(hours=2)), make_entry("a")])
        [ticket] = store.get_tickets()

        found = ticket.last_occurrence

        assert found.time == after(hours=2)
        store.record_entries([make_entry("a", time=after(hours=3))])
        assert ticket.last_occurrence is found
        store.apply_retention(replace(ALL, max_occurrences=0))
        assert store.get_ticket(ticket.ticket_id).last_occurrence is None

    @pytest.mark.rule("TK-12")
    def test_tickets_are_equal_if_what_is_stored_is(self, store):
        """Reading an occurrence through one of them changes nothing."""
        store.record_entries([make_entry("a"), make_entry("b")])
        one, other = store.get_tickets("ticket_id")
        again = store.get_ticket(one.ticket_id)
        assert one.last_occurrence is not None

        assert again == one
        assert one == again
        assert one != other
        assert one != "a ticket"
        assert one.__eq__("a ticket") is NotImplemented
        with pytest.raises(TypeError):
            hash(one)
        store.record_entries([make_entry("a")])
        assert store.get_ticket(one.ticket_id) != one

    @pytest.mark.rule("TK-13")
    def test_an_occurrence_is_a_record_that_knows_where_it_is_stored(self, store):
        """What the record was comes out of the JSON, the time out of the row."""
        record, data = record_and_data("hello", channel="payments")
        store.record_ticket(record, data, hash_of("x"), "shop")
        [ticket] = store.get_tickets()

        [found] = ticket.get_occurrences()

        assert isinstance(found, LogRecord)
        assert found.message == "hello"
        assert found.channel == "payments"
        assert found.func_name == record.func_name
        assert found.lineno == record.lineno
        self.assert_time(found.time, record.time)
        assert found.ticket_id == ticket.ticket_id
        assert found.db is store
        assert store.get_occurrence(found.occurrence_id).message == "hello"
        assert json.loads(json.dumps(found.to_dict(json_safe=True))).get("db") is None

    @pytest.mark.rule("TK-14")
    def test_a_level_of_old_is_read_as_what_it_means_and_stays(self, store):
        """Logbook before 0.11 counted levels from 1 to 6."""
        data = json.dumps({"level": 4, "msg": "old", "channel": "app"})
        ticket_id = self.ticket_of(store, make_entry("a", level=4, data=data))

        [found] = store.get_occurrences(ticket_id)

        assert store.get_ticket(ticket_id).level_name == "WARNING"
        assert found.level_name == "WARNING"

    @pytest.mark.rule("TK-15")
    def test_five_rounds_of_two_and_two_exceptions_are_three_tickets(self, store):
        """The newest first: INFO, WARNING, ERROR, with the counts 5, 5 and 2."""
        logger = Logger("testlogger")
        with TestHandler() as handler:
            for number in range(5):
                if number in (0, 1):
                    try:
                        1 / 0  # noqa: B018
                    except ZeroDivisionError:
                        logger.exception("Hey")
                logger.warning("A warning")
                logger.info("An info")
        for record in handler.records:
            place = f"{record.level} {record.lineno}"
            data = record.to_dict(json_safe=True)
            store.record_ticket(record, data, hash_of(place), "generic")

        tickets = store.get_tickets()

        assert [ticket.level_name for ticket in tickets] == ["INFO", "WARNING", "ERROR"]
        assert [ticket.occurrence_count for ticket in tickets] == [5, 5, 2]
        occurrences = tickets[2].get_occurrences(order_by="time")
        assert len(occurrences) == 2
        first = occurrences[0]
        assert first.func_name == ("test_five_rounds_of_two_and_two_exceptions_are_three_tickets")
        assert first.thread == threading.get_ident()
        assert first.process == handler.records[0].process
        assert first.channel == "testlogger"
        assert "1 / 0" in first.formatted_exception

    # -- entries

    def test_the_outcomes_say_what_each_entry_was(self, store):
        """In the order of the entries, with the count that each one made."""
        first, second, third = make_entry("a"), make_entry("b"), make_entry("a")

        outcomes = store.record_entries([first, second, third])

        assert [(one.entry, one.event, one.count) for one in outcomes] == [
            (first, "new", 1),
            (second, "new", 1),
            (third, "again", 2),
        ]
        assert outcomes[0].ticket_id == outcomes[2].ticket_id != outcomes[1].ticket_id
        assert store.record_entries([]) == []

    def test_what_comes_twice_under_one_key_is_counted_once(self, store, make_store):
        """In the same batch, in a later one, or from another process."""
        entry = make_entry("a", key="k" * 64)
        other = make_store()

        assert self.record(store, entry, make_entry("b"), entry) == ["new", "new", "duplicate"]
        assert self.record(other, entry, make_entry("a")) == ["duplicate", "again"]
        [outcome] = store.record_entries([entry])

        assert (outcome.event, outcome.count) == ("duplicate", 2)
        ticket = store.get_ticket(outcome.ticket_id)
        assert ticket.occurrence_count == 2
        assert len(ticket.get_occurrences()) == 2
        assert store.get_counts([ticket.ticket_id], START, START, "day") == {ticket.ticket_id: [2]}
        other.close()

    def test_a_duplicate_does_not_reopen_a_solved_ticket(self, store):
        """It happened before the ticket was solved."""
        entry = make_entry("a")
        ticket_id = self.ticket_of(store, entry)
        store.solve_ticket(ticket_id)

        assert self.record(store, entry) == ["duplicate"]
        assert self.state_of(store, ticket_id) == "solved"

    def test_a_fingerprint_is_one_ticket_wherever_it_happens(self, store):
        """The same bug at a moved line."""
        fingerprint = fingerprint_of("bug")

        outcomes = store.record_entries(
            [make_entry(name, fingerprint=fingerprint) for name in ("line 1", "line 2", "line 3")]
        )

        assert [one.event for one in outcomes] == ["new", "again", "again"]
        [ticket] = store.get_tickets()
        assert ticket.status.fingerprint == fingerprint
        assert ticket.record_hash == hash_of("line 1")

    def test_two_fingerprints_on_one_line_are_two_tickets(self, store):
        """The first has the hash of the line, the other has another one, of the same form."""
        entries = [make_entry("a", fingerprint=fingerprint_of(name)) for name in ("x", "y", "x")]

        outcomes = store.record_entries(entries)

        assert [one.event for one in outcomes] == ["new", "new", "again"]
        hashes = {ticket.record_hash for ticket in store.get_tickets()}
        assert len(hashes) == 2
        assert hash_of("a") in hashes
        assert all(len(bytes.fromhex(one)) == 20 for one in hashes)

    def test_a_fingerprint_claims_the_ticket_that_a_hash_made(self, store):
        """A store that Logbook filled is continued; only the first that comes claims a ticket."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        assert store.get_ticket(ticket_id).status.fingerprint is None

        claiming, second, moved, plain = store.record_entries(
            [
                make_entry("a", fingerprint=fingerprint_of("x")),
                make_entry("a", fingerprint=fingerprint_of("y")),
                make_entry("elsewhere", fingerprint=fingerprint_of("x")),
                make_entry("a"),
            ]
        )

        assert (claiming.event, claiming.ticket_id) == ("again", ticket_id)
        assert second.event == "new"
        assert moved.ticket_id == ticket_id
        assert plain.ticket_id == ticket_id
        assert store.get_ticket(ticket_id).status.fingerprint == fingerprint_of("x")

    def test_a_ticket_knows_since_when_and_in_which_releases(self, store):
        """First time, first and last release, and its title; a missing release changes nothing."""
        ticket_id = self.ticket_of(store, make_entry("a", release="1.0", title="It broke"))
        store.record_entries([make_entry("a", release="1.1", time=after(hours=1), title="Other")])
        store.record_entries([make_entry("a", time=after(hours=2))])

        status = store.get_ticket(ticket_id).status

        assert status.title == "It broke"
        assert status.state == "new"
        assert status.first_time == START
        assert status.first_release == "1.0"
        assert status.last_release == "1.1"
        assert status.assignee == ""
        assert status.merged_into is None

    def test_the_details_of_an_occurrence_come_back(self, store):
        """Key, request, tree of actions, release, environment, and the records before."""
        leading = json.dumps([{"level": 10, "msg": "before", "channel": "app"}])
        facts = {
            "request_id": "req-1",
            "task_uuid": "task-1",
            "release": "1.0",
            "environment": "production",
            "leading": leading,
        }
        entry = make_entry("a", **facts)
        ticket_id = self.ticket_of(store, entry)

        [found] = store.get_occurrences(ticket_id)

        assert found.details.key == entry.key
        for name, value in facts.items():
            assert getattr(found.details, name) == value
        assert [record.message for record in leading_records(found)] == ["before"]

    # -- states

    def test_what_was_solved_and_comes_again_has_regressed(self, store):
        """Once; what follows only counts."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        assert store.solve_ticket(ticket_id, actor="ann") is True
        assert self.state_of(store, ticket_id) == "solved"

        assert self.record(store, make_entry("a"), make_entry("a")) == ["regressed", "again"]

        assert self.state_of(store, ticket_id) == "regressed"
        assert self.actions_of(store, ticket_id) == ["regressed", "solved", "created"]
        assert [item.actor for item in store.get_history(ticket_id)] == ["", "ann", ""]

    def test_what_is_solved_in_a_release_comes_again_only_from_there_on(self, store):
        """Versions are compared as such; else what was seen first is older."""
        for number, (solved_in, release, event) in enumerate(RELEASES):

            def own(name, number=number):
                """Return the release of that name that no other case has seen."""
                return name if name is None or name[0].isdigit() else f"{name}-{number}"

            one, other = f"a{number}", f"b{number}"
            ticket_id = self.ticket_of(store, make_entry(one, release=own("build-a")))
            store.record_entries([make_entry(other, release=own("build-b"))])
            assert store.solve_ticket(ticket_id, release=own(solved_in)) is True
            assert store.get_ticket(ticket_id).status.solved_in == own(solved_in)
            store.record_entries([make_entry(other, release=own("build-after"))])

            [outcome] = store.record_entries([make_entry(one, release=own(release))])

            assert (outcome.event, outcome.count) == (event, 2), (solved_in, release)
            ticket = store.get_ticket(ticket_id)
            if event == "again":
                assert self.state_of(store, ticket_id) == "solved"
                assert ticket.status.solved_in == own(solved_in)
            else:
                assert self.state_of(store, ticket_id) == "regressed"
                assert ticket.status.solved_in is None

    def test_an_ignored_ticket_only_counts(self, store):
        """For ever, unless something was said."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        assert store.ignore_ticket(ticket_id, actor="ann") is True

        events = self.record(store, *[make_entry("a", time=after(days=1000)) for _ in range(20)])

        assert events == ["again"] * 20
        assert self.state_of(store, ticket_id) == "ignored"
        assert store.get_ticket(ticket_id).occurrence_count == 21
        assert self.actions_of(store, ticket_id) == ["ignored", "created"]

    def test_an_ignored_ticket_wakes_at_its_time(self, store):
        """With the first occurrence then or later, not with the passing of time."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        store.ignore_ticket(ticket_id, until=after(hours=2))
        assert store.get_ticket(ticket_id).status.ignored_until == after(hours=2)

        events = self.record(
            store, *[make_entry("a", time=after(hours=hours)) for hours in range(5)]
        )

        assert events == ["again", "again", "woken", "again", "again"]
        assert self.state_of(store, ticket_id) == "new"
        assert store.get_ticket(ticket_id).status.ignored_until is None
        assert self.actions_of(store, ticket_id) == ["woken", "ignored", "created"]

    @pytest.mark.parametrize("size", [1, 10])
    def test_an_ignored_ticket_wakes_after_so_many_occurrences(self, store, size):
        """The last of them is the one; whether they come one by one or together."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        store.record_entries([make_entry("a")])
        store.ignore_ticket(ticket_id, occurrences=3)
        assert store.get_ticket(ticket_id).status.ignored_count == 5

        events = []
        for _ in range(0, 10, size):
            events += self.record(store, *[make_entry("a") for _ in range(size)])

        assert events == ["again", "again", "woken"] + ["again"] * 7
        assert self.state_of(store, ticket_id) == "new"
        assert store.get_ticket(ticket_id).status.ignored_count is None

    def test_a_solved_ticket_can_be_ignored_and_an_ignored_one_solved(self, store):
        """The last word counts, and takes back what was said before."""
        ticket_id = self.ticket_of(store, make_entry("a"))

        store.solve_ticket(ticket_id, release="1.0")
        store.ignore_ticket(ticket_id, occurrences=5)
        assert self.state_of(store, ticket_id) == "ignored"
        assert store.get_ticket(ticket_id).status.solved_in is None

        store.solve_ticket(ticket_id)
        assert self.state_of(store, ticket_id) == "solved"
        assert store.get_ticket(ticket_id).status.ignored_count is None

    def test_a_ticket_is_assigned_and_given_back(self, store):
        """A new one is assigned then; reopening one that is somebody's leaves it so."""
        ticket_id = self.ticket_of(store, make_entry("a"))

        assert store.assign_ticket(ticket_id, "ann", actor="bob") is True
        assert self.state_of(store, ticket_id) == "assigned"
        assert store.get_ticket(ticket_id).status.assignee == "ann"
        assert self.record(store, make_entry("a")) == ["again"]
        assert self.state_of(store, ticket_id) == "assigned"

        store.solve_ticket(ticket_id)
        assert store.reopen_ticket(ticket_id) is True
        assert self.state_of(store, ticket_id) == "assigned"

        store.assign_ticket(ticket_id, "")
        assert self.state_of(store, ticket_id) == "new"
        assert store.get_ticket(ticket_id).status.assignee == ""
        assert self.actions_of(store, ticket_id) == [
            "assigned",
            "reopened",
            "solved",
            "assigned",
            "created",
        ]

    @pytest.mark.parametrize("state", ["solved", "ignored"])
    def test_assigning_a_ticket_that_is_done_with_leaves_it_so(self, store, state):
        """It is merely somebody's."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        {"solved": store.solve_ticket, "ignored": store.ignore_ticket}[state](ticket_id)

        store.assign_ticket(ticket_id, "ann")

        assert self.state_of(store, ticket_id) == state
        assert store.get_ticket(ticket_id).status.assignee == "ann"

    def test_a_reopened_ticket_of_nobodys_is_new(self, store):
        """Whatever it was before."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        store.ignore_ticket(ticket_id, occurrences=3)

        assert store.reopen_ticket(ticket_id) is True

        assert self.state_of(store, ticket_id) == "new"
        assert self.record(store, *[make_entry("a") for _ in range(5)]) == ["again"] * 5

    # -- history

    def test_comments_and_facts_are_kept_the_newest_first(self, store):
        """With who and when; the facts come back as they were."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        facts = {"url": "https://example.org/1", "number": 7, "a.b": {"$set": [None, True, 1.5]}}

        assert store.comment_on_ticket(ticket_id, "It is the <disk>.", actor="ann") is True
        assert store.add_history(ticket_id, "filed", "issue 7", actor="", **facts) is True

        filed, comment, created = store.get_history(ticket_id)
        assert (filed.action, filed.text, filed.actor) == ("filed", "issue 7", "")
        assert dict(filed.facts) == facts
        assert (comment.action, comment.text, comment.actor) == (
            "commented",
            "It is the <disk>.",
            "ann",
        )
        assert created.action == "created"
        assert {item.ticket_id for item in (filed, comment, created)} == {ticket_id}
        assert len({item.item_id for item in (filed, comment, created)}) == 3
        assert filed.time.tzinfo is None
        assert abs(filed.time - datetime.now(UTC).replace(tzinfo=None)) < HOUR

    def test_a_long_history_comes_in_pages(self, store):
        """The newest first, none twice."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        for number in range(24):
            store.comment_on_ticket(ticket_id, f"{number}")

        pages = [store.get_history(ticket_id, 10, offset) for offset in (0, 10, 20)]

        assert [len(page) for page in pages] == [10, 10, 5]
        texts = [item.text for page in pages for item in page if item.action == "commented"]
        assert texts == [f"{number}" for number in range(23, -1, -1)]

    # -- merging, splitting

    def test_merged_tickets_are_one(self, store):
        """Occurrences, counts and fingerprints go over; what comes for them counts there."""
        a, b, c = [
            outcome.ticket_id
            for outcome in store.record_entries(
                [
                    make_entry("a", time=after(hours=1), release="2"),
                    make_entry("b", release="1"),
                    make_entry("c", fingerprint=fingerprint_of("c"), time=after(hours=5)),
                ]
            )
        ]
        store.record_entries([make_entry("b")])

        assert store.merge_tickets(a, [b, c], actor="ann") is True

        ticket = store.get_ticket(a)
        assert ticket.occurrence_count == 4
        assert len(ticket.get_occurrences()) == 4
        assert {found.ticket_id for found in ticket.get_occurrences()} == {a}
        assert ticket.last_occurrence_time == after(hours=5)
        assert ticket.status.first_time == START
        assert store.get_counts([a], START, after(hours=5), "hour") == {a: [2, 1, 0, 0, 0, 1]}
        assert [one.ticket_id for one in store.get_tickets()] == [a]
        assert store.count_tickets() == 1
        assert store.get_ticket(b).status.merged_into == a
        assert store.get_ticket(c).status.merged_into == a
        assert store.get_occurrences(b) == []
        [merged, *_] = store.get_history(a)
        assert (merged.action, merged.actor) == ("merged", "ann")

        outcomes = store.record_entries(
            [
                make_entry("b"),
                make_entry("c", fingerprint=fingerprint_of("c")),
                make_entry("elsewhere", fingerprint=fingerprint_of("c")),
                make_entry("a"),
            ]
        )
        assert [one.event for one in outcomes] == ["again"] * 4
        assert {one.ticket_id for one in outcomes} == {a}
        assert outcomes[-1].count == 8

    def test_merging_again_passes_on_what_was_merged_before(self, store):
        """Of a into b and b into c, what comes for a counts on c."""
        a, b, c = [self.ticket_of(store, make_entry(name)) for name in "abc"]

        assert store.merge_tickets(b, [a]) is True
        assert store.merge_tickets(c, [b]) is True

        [outcome] = store.record_entries([make_entry("a")])
        assert (outcome.ticket_id, outcome.event, outcome.count) == (c, "again", 4)
        assert store.count_tickets() == 1

    def test_a_ticket_is_not_merged_into_itself(self, store):
        """It is a mistake, and nothing happens to the others."""
        a, b = [self.ticket_of(store, make_entry(name)) for name in "ab"]

        with pytest.raises(ValueError):
            store.merge_tickets(a, [b, a])

        assert store.count_tickets() == 2
        assert store.merge_tickets(a, []) is False

    def test_the_ticket_of_merged_ones_takes_them_with_it_when_deleted(self, store):
        """What comes for one of them is the first of a new ticket."""
        a, b = [self.ticket_of(store, make_entry(name)) for name in "ab"]
        store.merge_tickets(a, [b])

        store.delete_ticket(a)

        assert self.record(store, make_entry("b"), make_entry("a")) == ["new", "new"]
        assert store.count_tickets() == 2

    def test_a_ticket_is_split_by_fingerprint(self, store):
        """The occurrences of the fingerprint, and what comes under it from then on."""
        x, y = fingerprint_of("x"), fingerprint_of("y")
        a, b = [
            outcome.ticket_id
            for outcome in store.record_entries(
                [make_entry("a", fingerprint=x), make_entry("b", fingerprint=y)]
            )
        ]
        store.merge_tickets(a, [b])
        store.record_entries(
            [
                make_entry("b", fingerprint=y, time=after(hours=1)),
                make_entry("a", fingerprint=x, time=after(hours=2)),
                make_entry("b", fingerprint=y, time=after(hours=3)),
            ]
        )
        newest = store.get_occurrences(a, limit=1)[0]

        made = store.split_ticket(a, newest.occurrence_id, actor="ann")

        ticket = store.get_ticket(made)
        assert ticket.occurrence_count == 3
        assert len(store.get_occurrences(made)) == 3
        assert ticket.status.fingerprint == y
        assert ticket.status.state == "new"
        assert ticket.status.first_time == START
        assert ticket.last_occurrence_time == after(hours=3)
        assert len(bytes.fromhex(ticket.record_hash)) == 20
        old = store.get_ticket(a)
        assert old.occurrence_count == 2
        assert old.status.fingerprint == x
        assert old.last_occurrence_time == after(hours=2)
        assert store.get_counts([a, made], START, after(hours=3), "hour") == {
            a: [1, 0, 1, 0],
            made: [1, 1, 0, 1],
        }
        assert store.get_history(a)[0].action == "split"
        assert store.get_history(a)[0].actor == "ann"
        assert store.count_tickets() == 2

        outcomes = store.record_entries(
            [make_entry("b", fingerprint=y), make_entry("a", fingerprint=x)]
        )
        assert [(one.ticket_id, one.event, one.count) for one in outcomes] == [
            (made, "again", 4),
            (a, "again", 3),
        ]

    def test_a_ticket_is_split_by_hash_where_there_is_no_fingerprint(self, store):
        """The hash leads to the new ticket from then on, also if it is the old one's own."""
        a, b = [self.ticket_of(store, make_entry(name)) for name in "ab"]
        store.merge_tickets(a, [b])
        of_a, _ = store.get_occurrences(a, "occurrence_id")

        made = store.split_ticket(a, of_a.occurrence_id)

        outcomes = store.record_entries([make_entry("a"), make_entry("b")])
        assert [(one.ticket_id, one.event, one.count) for one in outcomes] == [
            (made, "again", 2),
            (a, "again", 2),
        ]
        assert store.count_tickets() == 2

    def test_a_ticket_is_not_split_if_nothing_would_stay(self, store):
        """Nor by an occurrence of another one."""
        a = self.ticket_of(store, make_entry("a"))
        store.record_entries([make_entry("a"), make_entry("b")])
        other = store.get_tickets(query=Query(texts=("title of b",)))[0]

        assert store.split_ticket(a, store.get_occurrences(a)[0].occurrence_id) is None
        assert store.split_ticket(a, other.last_occurrence.occurrence_id) is None

        assert store.count_tickets() == 2
        assert store.get_ticket(a).occurrence_count == 2

    # -- counts, marks

    def test_occurrences_are_counted_by_hour_and_by_day(self, store):
        """The hours and days are those of UTC, whole ones, the last one included."""
        times = [after(minutes=1), after(minutes=59), after(hours=1), after(hours=11, minutes=59)]
        times += [after(hours=12), after(days=2)]
        a = self.ticket_of(store, make_entry("a", time=START))
        store.record_entries([make_entry("a", time=time) for time in times])
        b = self.ticket_of(store, make_entry("b", time=after(hours=2, minutes=30)))

        hours = store.get_counts([a, b], after(minutes=30), after(hours=3), "hour")
        days = store.get_counts([a], after(days=-1, hours=-3), after(days=2, hours=3), "day")

        assert hours == {a: [3, 1, 0, 0], b: [0, 0, 1, 0]}
        assert days == {a: [0, 5, 1, 1]}
        assert store.get_counts([], START, START, "hour") == {}
        assert store.get_counts([a], START, START, "day") == {a: [5]}

    def test_the_mark_differs_after_every_change(self, store, make_store):
        """Whoever watches it knows when to look, whichever process made the change."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        b, c = self.ticket_of(store, make_entry("b")), self.ticket_of(store, make_entry("c"))
        other = make_store()
        changes = [
            lambda: other.record_entries([make_entry("a")]),
            lambda: other.record_entries([make_entry("new")]),
            lambda: other.assign_ticket(ticket_id, "ann"),
            lambda: other.solve_ticket(ticket_id),
            lambda: other.reopen_ticket(ticket_id),
            lambda: other.ignore_ticket(ticket_id),
            lambda: other.comment_on_ticket(ticket_id, "hm"),
            lambda: other.merge_tickets(ticket_id, [b]),
            lambda: other.split_ticket(
                ticket_id, other.get_occurrences(ticket_id, limit=1)[0].occurrence_id
            ),
            lambda: other.delete_ticket(c),
        ]
        marks = [store.get_mark()]
        assert store.get_mark() == marks[0]

        for change in changes:
            change()
            marks.append(store.get_mark())

        assert len(set(marks)) == len(changes) + 1
        assert all(len(mark) <= 100 for mark in marks)
        other.close()

    # -- retention

    def test_old_occurrences_are_removed_and_stay_counted(self, store):
        """By age; counts per hour, the count of the ticket and the ticket itself stay."""
        a = self.ticket_of(store, make_entry("a"))
        store.record_entries([make_entry("a", time=after(days=day)) for day in (1, 2, 3)])
        retention = replace(ALL, max_age=2 * DAY)

        removed = store.apply_retention(retention, after(days=4))

        assert removed == Removed(2, 0)
        assert [found.time for found in store.get_occurrences(a)] == [after(days=3), after(days=2)]
        assert store.get_ticket(a).occurrence_count == 4
        assert store.get_counts([a], START, after(days=3), "day") == {a: [1, 1, 1, 1]}
        assert store.apply_retention(retention, after(days=4)) == Removed(0, 0)
        [outcome] = store.record_entries([make_entry("a", time=after(days=4))])
        assert (outcome.event, outcome.count) == ("again", 5)

    @pytest.mark.parametrize("chunk", [1, 3, 1000])
    def test_of_all_occurrences_the_newest_are_kept(self, store, chunk):
        """In all, whatever ticket they are of, and however small the steps."""
        store.record_entries(
            [make_entry("ab"[number % 2], time=after(hours=number)) for number in range(10)]
        )

        removed = store.apply_retention(replace(ALL, max_occurrences=3, chunk=chunk), after(days=1))

        assert removed == Removed(7, 0)
        kept = [found.time for ticket in store.get_tickets() for found in ticket.get_occurrences()]
        assert sorted(kept) == [after(hours=7), after(hours=8), after(hours=9)]
        assert [ticket.occurrence_count for ticket in store.get_tickets()] == [5, 5]

    @pytest.mark.parametrize("chunk", [2, 1000])
    def test_of_a_ticket_the_first_tenth_and_the_newest_are_kept(self, store, chunk):
        """How it began and how it is; tickets with fewer keep all."""
        a = self.ticket_of(store, make_entry("a"))
        store.record_entries([make_entry("a", time=after(hours=number)) for number in range(1, 40)])
        b = self.ticket_of(store, make_entry("b"))
        store.record_entries([make_entry("b") for _ in range(19)])

        removed = store.apply_retention(replace(ALL, max_per_ticket=20, chunk=chunk), after(days=9))

        assert removed == Removed(20, 0)
        kept = [found.time for found in store.get_occurrences(a, "time")]
        assert kept == [after(hours=number) for number in [0, 1, *range(22, 40)]]
        assert len(store.get_occurrences(b)) == 20
        assert store.get_ticket(a).occurrence_count == 40

    def test_tickets_solved_long_ago_are_removed(self, store):
        """Those that are solved and did not occur for so long; no others."""
        old, recent, unsolved = [
            outcome.ticket_id
            for outcome in store.record_entries(
                [make_entry("a"), make_entry("b", time=after(days=8)), make_entry("c")]
            )
        ]
        store.solve_ticket(old)
        store.solve_ticket(recent)

        removed = store.apply_retention(replace(ALL, max_solved_age=5 * DAY), after(days=10))

        assert removed.tickets == 1
        assert store.get_ticket(old) is None
        assert store.get_occurrences(old) == []
        assert store.get_ticket(recent) is not None
        assert store.get_ticket(unsolved) is not None
        assert self.record(store, make_entry("a", time=after(days=11))) == ["new"]

    def test_who_keeps_everything_keeps_everything(self, store):
        """Limits that are not set remove nothing, and the defaults keep what is young and few."""
        store.record_entries([make_entry("a") for _ in range(5)])

        assert store.apply_retention(ALL, after(days=10_000)) == Removed()
        assert store.apply_retention(Retention(), after(days=1)) == Removed()
        assert len(store.get_tickets()[0].get_occurrences()) == 5

    # -- looking for something

    def test_occurrences_are_found_by_request_and_by_tree(self, store):
        """The oldest first, of whatever ticket; what has neither is found by neither."""
        store.record_entries(
            [
                make_entry("a", request_id="r-1", task_uuid="t-1", time=after(hours=2)),
                make_entry("b", request_id="r-1", task_uuid="t-2", time=after(hours=1)),
                make_entry("c", request_id="r-2", task_uuid="t-1", time=after(hours=3)),
                make_entry("d"),
            ]
        )

        def messages(**wanted):
            return [found.message for found in store.find_occurrences(**wanted)]

        assert messages(request_id="r-1") == ["b", "a"]
        assert messages(task_uuid="t-1") == ["a", "c"]
        assert messages(request_id="r-1", limit=1) == ["b"]
        assert messages(request_id="r") == []
        assert messages(request_id="R-2") in ([], ["c"])
        assert messages(task_uuid="") == []

    @pytest.fixture(name="filled")
    def _filled(self, store):
        """A store with tickets a to d that differ in everything."""
        store.record_entries(
            [
                make_entry(
                    "a",
                    level=10,
                    channel="shop.cart",
                    app_id="shop",
                    release="1.0",
                    environment="staging",
                    request_id="r-1",
                    title="KeyError: 'x'",
                ),
                make_entry("a", release="1.1", environment="production", time=after(hours=1)),
                make_entry(
                    "b",
                    level=13,
                    channel="shop.orders",
                    app_id="shop",
                    release="1.1",
                    request_id="r-2",
                    time=after(hours=2),
                    title="100% full: C:\\disk_1 käse",
                ),
                make_entry(
                    "c",
                    level=14,
                    channel="mail",
                    app_id="mail",
                    time=after(hours=3),
                    title="[a](.)+",
                ),
                make_entry("d", level=15, channel="", time=after(hours=4), title=""),
                make_entry("d", level=15, time=after(hours=6)),
            ]
        )
        by_name = {ticket.module[-1]: ticket.ticket_id for ticket in store.get_tickets()}
        store.assign_ticket(by_name["a"], "ann")
        store.solve_ticket(by_name["b"])
        store.ignore_ticket(by_name["c"])
        return store

    def test_a_ticket_is_found_if_it_meets_all_conditions(self, filled):
        """Of the values of one condition any, of the conditions all; texts stand for themselves."""
        found = [
            (conditions, "".join(self.found(filled, **conditions))) for conditions, _ in SEARCHES
        ]

        assert found == SEARCHES

    def test_a_search_is_ordered_and_paged_as_everything_else(self, filled):
        """Order and page are those of the tickets that are found."""
        query = Query(min_level=13)

        assert self.names(filled.get_tickets("-level", 2, 0, query)) == ["d", "c"]
        assert self.names(filled.get_tickets("-level", 2, 2, query)) == ["b"]
        assert self.names(filled.get_tickets("first_time", 1, 1, query)) == ["c"]

    def test_the_values_that_tickets_have_are_listed(self, filled):
        """In their order, none twice, empty ones left aside."""
        for field, values in {
            "channel": ["mail", "shop.cart", "shop.orders"],
            "app_id": ["generic", "mail", "shop"],
            "assignee": ["ann"],
            "release": ["1.0", "1.1"],
            "environment": ["production", "staging"],
        }.items():
            assert filled.get_values(field) == values
            assert filled.get_values(field, 1) == values[:1]

    # -- trackers, tokens

    def test_one_of_many_may_file_an_issue(self, store, make_store):
        """Of any number of threads and processes that ask, exactly one is told so."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        stores = [make_store() for _ in range(2)]

        def claim(index):
            return stores[index % 2].claim_issue(ticket_id, "redmine", now=START, patience=60)

        answers = in_threads(8, claim)

        assert sorted(answers) == [False] * 7 + [True]
        assert store.get_issue(ticket_id, "redmine") == TrackerIssue(ticket_id, "redmine")
        for one in stores:
            one.close()

    def test_a_claim_is_void_after_a_while_unless_the_issue_was_filed(self, store):
        """The process that claimed it may have died; another tracker is another matter."""
        ticket_id = self.ticket_of(store, make_entry("a"))

        def claim(tracker, **span):
            return store.claim_issue(ticket_id, tracker, now=after(**span), patience=60)

        assert claim("redmine") is True
        assert claim("redmine", seconds=59) is False
        assert claim("trac", seconds=59) is True
        assert claim("redmine", seconds=61) is True
        assert claim("redmine", seconds=62) is False
        store.save_issue(TrackerIssue(ticket_id, "redmine", "7", "https://example.org/7", 1))
        assert claim("redmine", days=1) is False

    def test_of_many_that_find_a_void_claim_one_gets_it(self, store):
        """Taking over is claiming, too."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        store.claim_issue(ticket_id, "redmine", now=START, patience=60)

        answers = in_threads(
            6,
            lambda _: store.claim_issue(ticket_id, "redmine", now=after(hours=1), patience=60),
        )

        assert sorted(answers) == [False] * 5 + [True]

    def test_a_piece_of_work_is_for_one_at_a_time(self, store, make_store):
        """Of many that ask one is answered so, and nobody else until its time is over."""
        stores = [make_store() for _ in range(2)]

        def claim(index):
            return stores[index % 2].claim("retention", now=START, seconds=60)

        assert sorted(in_threads(6, claim)) == [False] * 5 + [True]
        assert store.claim("retention", now=after(seconds=59), seconds=60) is False
        assert store.claim("x" * 120, now=after(seconds=59), seconds=60) is True
        again = in_threads(6, lambda _: store.claim("retention", now=after(seconds=61), seconds=60))
        assert sorted(again) == [False] * 5 + [True]
        for one in stores:
            one.close()

    def test_what_a_tracker_was_told_is_kept(self, store):
        """And replaced by what it was told later."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        first = TrackerIssue(ticket_id, "redmine", "7", "https://example.org/7", 1)
        later = replace(first, commented_at=100, is_open=False)
        other = TrackerIssue(ticket_id, "github", "8", None, 10)

        store.save_issue(first)
        assert store.get_issue(ticket_id, "redmine") == first
        store.save_issue(later)
        store.save_issue(other)

        assert store.get_issue(ticket_id, "redmine") == later
        assert store.get_issue(ticket_id, "trac") is None
        assert sorted(store.get_issues(ticket_id), key=lambda issue: issue.tracker) == [
            other,
            later,
        ]

    def test_who_tells_a_tracker_one_thing_takes_nothing_back(self, store):
        """What is not said stays, and the number that was told does not fall."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        filed = TrackerIssue(ticket_id, "redmine", "7", "https://example.org/7", 100)
        store.save_issue(filed)

        store.save_issue(TrackerIssue(ticket_id, "redmine", is_open=False))
        store.save_issue(TrackerIssue(ticket_id, "redmine", commented_at=10, is_open=None))
        store.save_issue(TrackerIssue(ticket_id, "trac", commented_at=10, is_open=None))

        assert store.get_issue(ticket_id, "redmine") == replace(filed, is_open=False)
        assert store.get_issue(ticket_id, "trac") == TrackerIssue(ticket_id, "trac", None, None, 10)

    def test_processes_that_tell_a_tracker_at_once_lose_nothing(self, store, make_store):
        """One counts, the other closes: in whatever order, both is known afterwards."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        store.save_issue(TrackerIssue(ticket_id, "redmine", "7"))
        stores = [make_store() for _ in range(2)]

        def tell(index):
            told = {"commented_at": index, "is_open": None} if index else {"is_open": False}
            stores[index % 2].save_issue(TrackerIssue(ticket_id, "redmine", **told))

        answers = in_threads(8, tell)

        assert answers == [None] * 8
        assert store.get_issue(ticket_id, "redmine") == TrackerIssue(
            ticket_id, "redmine", "7", None, 7, False
        )
        for one in stores:
            one.close()

    def test_tokens_are_known_by_their_digest(self, store):
        """With their name and what they are good for; removed, they are unknown."""
        digests = [sha1(name.encode()).hexdigest() * 2 for name in "abc"]
        digests = [digest[:64] for digest in digests]
        store.add_token(digests[0], "zoe", ["read"])
        store.add_token(digests[1], "ann", ["read", "write"])
        store.add_token(digests[2], "ann", [])

        assert store.get_token(digests[0]) == ("zoe", frozenset({"read"}))
        assert store.get_token(digests[1]) == ("ann", frozenset({"read", "write"}))
        assert store.get_token(digests[2]) == ("ann", frozenset())
        assert store.get_token("f" * 64) is None
        tokens = store.get_tokens()
        assert [name for name, _ in tokens] == ["ann", "ann", "zoe"]
        assert {scopes for _, scopes in tokens[:2]} == {frozenset({"read", "write"}), frozenset()}

        assert store.remove_token("ann") is True
        assert store.remove_token("ann") is False
        assert store.get_token(digests[1]) is None
        assert store.get_tokens() == [("zoe", frozenset({"read"}))]

    # -- many at once

    def test_eight_threads_count_exactly(self, store):
        """320 records on 20 tickets: 20 tickets, 20 of them new, and as many counted as stored."""

        def work(index):
            events = []
            for number in range(0, 40, 5):
                batch = [make_entry(f"t{(number + index + more) % 20}") for more in range(5)]
                events += self.record(store, *batch)
            return events

        events = [event for found in in_threads(8, work) for event in found]

        assert sorted(events) == ["again"] * 300 + ["new"] * 20
        tickets = store.get_tickets()
        assert len(tickets) == 20
        assert [ticket.occurrence_count for ticket in tickets] == [16] * 20
        assert [len(ticket.get_occurrences(limit=100)) for ticket in tickets] == [16] * 20
        ids = [ticket.ticket_id for ticket in tickets]
        assert store.get_counts(ids, START, START, "hour") == {one: [16] for one in ids}

    def test_eight_threads_agree_on_fingerprints(self, store):
        """Each fingerprint is one ticket, though each thread meets it on lines of its own."""

        def work(index):
            entries = [
                make_entry(f"line {index} {number}", fingerprint=fingerprint_of(f"f{number % 5}"))
                for number in range(20)
            ]
            return self.record(store, *entries[:10]) + self.record(store, *entries[10:])

        events = [event for found in in_threads(8, work) for event in found]

        assert sorted(events) == ["again"] * 155 + ["new"] * 5
        tickets = store.get_tickets()
        assert [ticket.occurrence_count for ticket in tickets] == [32] * 5

    def test_the_same_batch_from_many_threads_is_counted_once(self, store):
        """A batch that is delivered again while it is being stored is a duplicate."""
        batch = [make_entry(f"t{number % 4}") for number in range(20)]

        outcomes = in_threads(4, lambda _: self.record(store, *batch))

        events = [event for found in outcomes for event in found]
        assert events.count("duplicate") == 60
        assert [ticket.occurrence_count for ticket in store.get_tickets()] == [5] * 4
        assert sum(len(ticket.get_occurrences()) for ticket in store.get_tickets()) == 20

    def test_one_of_many_reopens_a_solved_ticket(self, store):
        """It regresses once, whoever sees it first."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        store.solve_ticket(ticket_id)

        events = in_threads(6, lambda _: self.record(store, make_entry("a")))

        assert sorted(event for [event] in events) == ["again"] * 5 + ["regressed"]
        assert store.get_ticket(ticket_id).occurrence_count == 7

    def test_one_of_many_wakes_an_ignored_ticket(self, store):
        """The one that reaches the count."""
        ticket_id = self.ticket_of(store, make_entry("a"))
        store.ignore_ticket(ticket_id, occurrences=6)

        events = in_threads(8, lambda _: self.record(store, make_entry("a")))

        assert sorted(event for [event] in events) == ["again"] * 7 + ["woken"]
        assert store.get_ticket(ticket_id).occurrence_count == 9

    # -- texts that were not meant well

    @pytest.mark.parametrize(
        "text",
        [
            "nul \0 in the middle",
            "\0",
            "lone \ud800 surrogate",
            "\udcff",
            "quotes ' \" ` \\ ; -- /* */ %s {0} $set",
            "<script>alert(1)</script>",
            "emoji 🧀 and ﷽",
            "x" * 100_000,
            "\ud83d" * 20_000,
            " \t\r\n ",
            "",
        ],
        ids=lambda text: f"{len(text)}-{text[:8]!a}",
    )
    def test_whatever_the_texts_contain_the_occurrence_is_counted(self, store, text):
        """Stored as they are, cut, or with a mark for what cannot be stored; nothing is lost."""
        entry = make_entry(
            "a",
            channel=text,
            location=f"{text}:7",
            module=text,
            app_id=text,
            title=text,
            request_id=text or None,
            task_uuid=text or None,
            release=text or None,
            environment=text or None,
            data=json.dumps({"level": 13, "msg": text, "message": text, "channel": text}),
        )

        [outcome] = store.record_entries([entry])
        assert self.record(store, replace(entry, key="other")) == ["again"]
        store.assign_ticket(outcome.ticket_id, text[:50])
        store.comment_on_ticket(outcome.ticket_id, text, actor=text)
        store.add_history(outcome.ticket_id, "filed", text, fact=text)

        ticket = store.get_ticket(outcome.ticket_id)
        assert ticket.occurrence_count == 2
        assert ticket.location.endswith(":7")
        assert len(store.get_history(outcome.ticket_id)) == 4
        assert len(store.get_occurrences(outcome.ticket_id)) == 2
        found = store.get_occurrences(outcome.ticket_id)[0]
        assert found.message == text
        for value in (ticket.channel, ticket.module, ticket.app_id, ticket.status.title):
            assert isinstance(value, str)
        # What the store shows can be looked for.
        assert store.count_tickets(Query(app_ids=(ticket.app_id,))) == 1
        assert store.count_tickets(Query(assignees=(ticket.status.assignee,))) == 1
        if text:
            assert len(store.find_occurrences(request_id=text)) == 2
            assert store.count_tickets(Query(request_ids=(text,))) == 1
            assert store.count_tickets(Query(releases=(text,))) == 1
        for conditions in ({"texts": (text,)}, {"channels": (text,)}, {"app_ids": (text,)}):
            assert store.count_tickets(Query(**conditions)) in (0, 1)
        assert store.get_values("release") in ([], [found.details.release])

    def test_unusual_times_and_numbers_are_stored(self, store):
        """Years far away, and the level that nobody has."""
        times = [datetime(1970, 1, 1), datetime(1901, 1, 1, 1, 1, 1), datetime(2999, 12, 31, 23)]

        events = [
            self.record(store, make_entry(f"t{number}", time=time, level=number))
            for number, time in enumerate(times)
        ]

        assert events == [["new"]] * 3
        assert [ticket.last_occurrence_time for ticket in store.get_tickets()] == sorted(
            times, reverse=True
        )

    # -- life

    def test_a_closed_store_can_still_be_used(self, store):
        """It connects anew; closing twice is closing once."""
        store.record_entries([make_entry("a")])

        store.close()
        store.close()

        assert store.count_tickets() in (0, 1)
        store.record_entries([make_entry("b")])
        assert store.get_tickets(query=Query(texts=("title of b",)))

    def test_two_stores_of_one_database_see_the_same(self, store, make_store):
        """Nothing is kept back by either."""
        other = make_store()
        ticket_id = self.ticket_of(store, make_entry("a"))

        assert other.get_ticket(ticket_id) == store.get_ticket(ticket_id)
        other.assign_ticket(ticket_id, "ann")

        assert store.get_ticket(ticket_id).status == other.get_ticket(ticket_id).status
        other.close()
