"""Handlers that count records as tickets: what they promise to callers, to stores, to subclasses."""

import gc
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from sprockets.logbook import (
    FingersCrossedHandler,
    Flags,
    GroupHandler,
    Logger,
    LogRecord,
    _clock,
)
from sprockets.logbook.delivery import Retry, Spool
from sprockets.logbook.ticketing import (
    BackendBase,
    Entry,
    NewAlert,
    Outcome,
    Removed,
    Retention,
    SQLAlchemyBackend,
    TicketingBaseHandler,
    TicketingHandler,
    _resting,
    leading_records,
)
from sprockets.logbook.ticketing._aftermath import RETENTION_INTERVAL
from sprockets.logbook.ticketing._alerts import CHANNEL
from sprockets.logbook.ticketing._deferred import DeferredBackend
from sprockets.logbook.ticketing._making import (
    MAX_DATA,
    MAX_LEADING,
    make_entry,
    new_key,
    record_json,
)
from sprockets.logbook.ticketing._resting import Gate
from sprockets.logbook.ticketing._verdicts import verdict_on
from tests.logbook.ticketing.sql import database

log = Logger("shop")
LIMIT = 30.0
QUICKLY = Retry(initial=0.01, maximum=0.05)


def wait_until(condition):
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "this never comes"
        time.sleep(0.005)


class ListStore(BackendBase):
    """Keeps entries in a list, and does what a test wants beforehand."""

    def setup_backend(self):
        self.batches = []
        self.threads = set()
        self.errors = []
        self.closed = 0
        self.before = None
        self.claims = []
        self.retentions = []

    @property
    def entries(self):
        return [entry for batch in self.batches for entry in batch]

    def record_entries(self, entries):
        if self.before is not None:
            self.before(entries)
        if self.errors:
            raise self.errors.pop(0)
        self.threads.add(threading.get_ident())
        known = {entry.hash for entry in self.entries}
        self.batches.append(list(entries))
        outcomes = []
        for entry in entries:
            event = "again" if entry.hash in known else "new"
            known.add(entry.hash)
            count = sum(other.hash == entry.hash for other in self.entries)
            outcomes.append(Outcome(entry, event, entry.hash[:6], count))
        return outcomes

    def claim(self, name, *, now, seconds):
        self.claims.append((name, now, seconds))
        return self.options.get("may_claim", True)

    def apply_retention(self, retention, now=None):
        self.retentions.append((retention, now))
        return Removed(3, 1)

    def close(self):
        self.closed += 1


@pytest.fixture(name="make")
def _make():
    made = []

    def make(uri="list:", **options):
        options.setdefault("backend", ListStore)
        options.setdefault("retry", QUICKLY)
        handler = options.pop("cls", TicketingHandler)(uri, **options)
        made.append(handler)
        return handler

    yield make
    for handler in made:
        handler.close(1.0)


@pytest.fixture(name="url")
def _url(tmp_path):
    return f"sqlite:///{tmp_path / 'tickets.db'}"


# --- the hash -------------------------------------------------------------------------------------


def record_at(level=13, channel="käse", filename="/srv/app/main.py", lineno=42, **facts):
    return LogRecord.from_dict(
        {"level": level, "channel": channel, "filename": filename, "lineno": lineno, **facts}
    )


@pytest.mark.rule("TI-1", "HL-1")
@pytest.mark.parametrize(
    ("level", "channel", "salt", "digest"),
    [
        (13, "käse", None, "93748b47ea78e7de6711e1eef92105158996bab8"),
        (13, "käse", "apphash-generic", "25c96274e59aed76f9debfbef2f315b9574f9dd8"),
        (13, "käse", "x", "0d4ace6b86f7256e59cbb6233c2e989011e452d7"),
        (14, None, "apphash-generic", "e7752d06f11343559d9055c87849169e84e0b178"),
    ],
)
def test_the_hash_is_logbooks(level, channel, salt, digest):
    """A store that Logbook has written is continued."""
    handler = TicketingBaseHandler(salt)

    assert handler.hash_record(record_at(level, channel)) == digest


@pytest.mark.rule("TI-4", "HL-3", "Q-10")
def test_a_salt_is_text_or_bytes():
    """An empty one is one, too; a subclass may add more."""
    record = record_at()

    def hashed(salt):
        return TicketingBaseHandler(salt).hash_record(record)

    assert hashed(b"x") == hashed("x")
    assert hashed("ü") == hashed("ü".encode())
    assert len({hashed(None), hashed(""), hashed("x")}) == 3


@pytest.mark.rule("TI-2", "HL-2")
def test_a_call_is_one_ticket_whatever_it_says():
    """Level, channel, file and line tell calls apart; nothing else does."""
    handler = TicketingBaseHandler("x")
    first = handler.hash_record(record_at())

    same = record_at(msg="other", args=[1], func_name="f", module="m", time="2020-01-01T00:00:00Z")
    assert handler.hash_record(same) == first
    for change in (
        {"level": 14},
        {"channel": "brot"},
        {"filename": "/srv/app/other.py"},
        {"lineno": 43},
    ):
        assert handler.hash_record(record_at(**change)) != first


@pytest.mark.rule("TI-5", "HL-4")
def test_a_record_without_a_place_has_a_hash(make):
    """The file's name is empty, the line is the text None."""
    import hashlib

    handler = make(immediate=True)
    with handler, Flags(introspection=False):
        log.warning("somewhere")

    (entry,) = handler.db.entries
    expected = hashlib.sha1(b"13\0shop\0\0None\0apphash-generic").hexdigest()
    assert entry.hash == expected
    assert entry.location == "<unknown>:0"
    assert entry.module == "<unknown>"


@pytest.mark.rule("TI-3")
def test_applications_do_not_share_tickets(make):
    """The name of the application is the salt, unless there is another."""
    hashes = []
    for options in ({}, {"app_id": "generic"}, {"app_id": "b"}, {"app_id": "b", "hash_salt": "x"}):
        handler = make(immediate=True, **options)
        hashes.append(handler.hash_record(record_at()))
        assert handler.app_id == options.get("app_id", "generic")

    assert hashes[0] == hashes[1] == "25c96274e59aed76f9debfbef2f315b9574f9dd8"
    assert hashes[3] == "0d4ace6b86f7256e59cbb6233c2e989011e452d7"
    assert len(set(hashes)) == 3


@pytest.mark.rule("TI-6")
def test_old_levels_hash_to_other_tickets():
    """The number is part of the hash."""
    handler = TicketingBaseHandler("x")

    assert handler.hash_record(record_at(level=5)) != handler.hash_record(record_at(level=14))


@pytest.mark.rule("TI-14")
def test_the_base_alone_stores_nothing():
    """It takes records, and that is all."""
    handler = TicketingBaseHandler(None, level="WARNING", bubble=True)
    with handler:
        log.warning("x")

    assert (handler.level_name, handler.bubble, handler.hash_salt) == ("WARNING", True, None)


# --- recording ------------------------------------------------------------------------------------


@pytest.mark.rule("TK-15", "TK-3", "TI-2")
def test_five_rounds_of_two_calls_and_two_exceptions_are_three_tickets(url):
    """What was logged can be read as soon as one asks for the store."""
    handler = TicketingHandler(url)
    with handler:
        for number in range(5):
            log.warning("A warning {}", number)
            log.info("An info")
            if number < 2:
                try:
                    1 / 0  # noqa: B018
                except ZeroDivisionError:
                    log.exception()
    tickets = handler.db.get_tickets()

    assert handler.db.count_tickets() == 3
    assert [ticket.level_name for ticket in tickets] == ["INFO", "WARNING", "ERROR"]
    assert [ticket.occurrence_count for ticket in tickets] == [5, 5, 2]
    first, _ = tickets[2].get_occurrences(order_by="time")
    assert first.func_name == "test_five_rounds_of_two_calls_and_two_exceptions_are_three_tickets"
    assert (first.thread, first.process, first.channel) == (
        threading.get_ident(),
        os.getpid(),
        "shop",
    )
    assert "1 / 0" in first.formatted_exception
    assert tickets[2].location == f"{__file__}:{first.lineno}"
    assert tickets[2].module == __name__
    assert tickets[2].status.title == "ZeroDivisionError: division by zero"
    handler.close()


@pytest.mark.rule("TI-7", "TI-13", "P-T3")
def test_an_entry_has_everything_a_store_needs(make):
    """Levels are not limited; custom fields that can be looked for are there by themselves."""
    handler = make(app_id="web", release="1.2", environment="test")
    before = datetime.now(UTC).replace(tzinfo=None)
    with handler:
        log.trace("{} is {}", "a", 1, extra={"request_id": "r1", "task_uuid": "t1", "n": object()})
    (entry,) = handler.db.entries

    assert entry.hash == handler.hash_record(LogRecord.from_json(entry.data))
    assert len(entry.key) == 32
    assert before <= entry.time <= datetime.now(UTC).replace(tzinfo=None)
    assert (entry.level, entry.channel, entry.app_id) == (9, "shop", "web")
    assert (entry.release, entry.environment) == ("1.2", "test")
    assert (entry.request_id, entry.task_uuid) == ("r1", "t1")
    assert (entry.title, entry.fingerprint, entry.leading) == ("a is 1", None, None)
    data = json.loads(entry.data)
    assert entry.data.isascii()
    assert data["msg"] == "{} is {}"
    assert data["args"] == ["a", 1]
    assert data["extra"] == {"request_id": "r1", "task_uuid": "t1", "n": None}
    assert "level_name" not in data
    assert entry == Entry.from_bytes(entry.to_bytes())


def test_storing_happens_behind_the_callers_back(make):
    """In one thread, in batches."""
    handler = make()
    held = threading.Event()
    handler.db.before = lambda entries: held.wait(LIMIT)
    with handler:
        log.info("first")
        wait_until(lambda: handler.delivery.waiting == 0)
        for number in range(1_200):
            log.info("{}", number)
    held.set()
    db = handler.db

    assert [len(batch) for batch in db.batches] == [1, 500, 500, 200]
    assert [json.loads(entry.data)["message"] for entry in db.entries[1:]] == [
        str(number) for number in range(1_200)
    ]
    assert len(db.threads) == 1
    assert threading.get_ident() not in db.threads
    assert handler.statistics()["events"] == {"new": 2, "again": 1_199}


def test_names_of_occurrences_sort_by_when_they_were_given(monkeypatch):
    """So an index of them grows at its end; what is named in one instant differs all the same."""
    times = [1_000, 1_000, 2_000_000_000, 1_800_000_000_000_000_000]
    clock = iter(times)
    monkeypatch.setattr(_clock, "time_ns", lambda: next(clock))

    keys = [new_key() for _ in times]

    moments = [key[:16] for key in keys]
    assert moments == sorted(moments)
    assert len(set(moments)) == 3
    assert len(set(keys)) == 4


def test_a_record_that_a_queue_named_keeps_its_name(make):
    """So that a copy of it is known as one."""
    handler = make(immediate=True)
    for name in ("5c0f-1", "x" * 100, "ü", "", 5):
        handler.handle(record_at(msg="m", record_id=name))
    keys = [entry.key for entry in handler.db.entries]

    assert keys[0] == "5c0f-1"
    assert all(key.isascii() and 0 < len(key) <= 64 for key in keys)
    assert len(set(keys)) == 5
    handler.handle(record_at(msg="m", record_id="x" * 100))
    assert handler.db.entries[-1].key == keys[1]


def test_text_that_databases_refuse_is_replaced(make):
    """In what is stored beside the record; the hash is of what was there."""
    handler = make(immediate=True)
    hostile = "a\0b\ud800c"
    record = record_at(channel=hostile, filename=hostile, module=hostile, msg=hostile)
    record.extra["request_id"] = hostile

    handler.handle(record)

    (entry,) = handler.db.entries
    clean = "a\ufffdb\ufffdc"
    assert (entry.channel, entry.module, entry.title, entry.request_id) == (clean,) * 4
    assert entry.location == f"{clean}:42"
    assert entry.hash == handler.hash_record(record)
    assert json.loads(entry.data)["channel"] == hostile


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        ({"msg": "  first \n second"}, "first"),
        ({"msg": ""}, ""),
        ({"msg": "x" * 1_000}, None),
        ({"msg": "m", "exception_name": "app.NoMoney", "exception_message": "a\nb"}, "NoMoney: a"),
        ({"msg": "m", "exception_name": "app.NoMoney", "exception_message": ""}, "NoMoney"),
        ({"msg": 5}, "5"),
    ],
)
def test_a_title_is_one_line(facts, title):
    """The exception, or the message."""
    entry = make_entry(record_at(**facts), "{}", "0" * 40, app_id="a")

    assert len(entry.title) <= 300
    assert "\n" not in entry.title
    if title is not None:
        assert entry.title == title


def test_a_message_that_cannot_be_formatted_is_stored_raw(make):
    """With a note; nothing is lost."""
    handler = make(immediate=True)
    with handler, Flags(errors="silent"):
        log.warning("{} and {}", 1)

    (entry,) = handler.db.entries
    assert entry.title.startswith("{} and {} [could not be formatted: ")


def test_what_is_large_in_a_record_is_cut(make):
    """The rest of it is as it was, the end of the traceback too."""
    trace = "Traceback\n" + "x" * 2_000_000 + "\nValueError: end"
    record = record_at(
        msg="m",
        args=["y" * 2_000_000],
        extra={"big": "z" * 2_000_000},
        formatted_exception=trace,
        custom={"a": ["w" * 2_000_000]},
        message="short",
    )

    text = record_json(record)

    data = json.loads(text)
    assert len(text) < MAX_DATA
    assert data["message"] == "short"
    assert data["args"] == []
    assert "characters cut" in data["extra"]["cut"]
    assert data["formatted_exception"].startswith("Traceback\nxxx")
    assert data["formatted_exception"].endswith("ValueError: end")
    assert LogRecord.from_json(text).channel == "käse"


# --- what led up to it ----------------------------------------------------------------------------


def test_the_records_before_an_error_are_kept_with_it(url):
    """One occurrence, not one for each of them."""
    handler = TicketingHandler(url, level="ERROR")
    with FingersCrossedHandler(handler, reset=True):
        log.debug("looking")
        log.info("found {}", 3)
        log.error("no price", extra={"request_id": "r"})
    (found,) = handler.db.find_occurrences(request_id="r")

    assert handler.db.count_tickets() == 1
    assert found.message == "no price"
    assert [(record.level_name, record.message) for record in leading_records(found)] == [
        ("DEBUG", "looking"),
        ("INFO", "found 3"),
    ]
    handler.close()


def test_what_follows_a_trigger_is_counted_if_its_level_is_high_enough(url):
    """A FingersCrossedHandler passes it on, whatever it is."""
    handler = TicketingHandler(url, level="ERROR")
    with FingersCrossedHandler(handler):
        log.error("no price")
        log.debug("looking elsewhere")
        log.error("none there")

    assert sorted(t.status.title for t in handler.db.get_tickets()) == ["no price", "none there"]
    handler.close()


def batch_of(*levels):
    return [record_at(level=level, msg=f"m{index}") for index, level in enumerate(levels)]


@pytest.mark.parametrize(
    ("reason", "levels", "title", "leading"),
    [
        ("escalation", (10, 14), "m1", ["m0"]),
        ("escalation", (14, 10), "m0", ["m1"]),
        ("escalation", (10, 11), "m1", ["m0"]),
        ("escalation", (14,), "m0", []),
        ("group", (11, 14, 10), "m0", ["m1", "m2"]),
    ],
)
def test_the_significant_record_of_a_batch_is_the_occurrence(make, reason, levels, title, leading):
    """The last that the level admits, the last of all if there is none; of a group the first."""
    handler = make(immediate=True, level="ERROR")

    handler.emit_batch(iter(batch_of(*levels)), reason)

    (entry,) = handler.db.entries
    assert entry.title == title
    assert [record["message"] for record in json.loads(entry.leading or "[]")] == leading


def test_records_that_were_merely_collected_are_counted_each(make):
    """So are those of a reason that nobody knows; of an empty batch there is none."""
    handler = make(immediate=True)
    handler.emit_batch(iter(batch_of(10, 14)), "buffer")
    handler.emit_batch(batch_of(10, 14), "other")
    handler.emit_batch(iter([]), "escalation")

    assert [entry.title for entry in handler.db.entries] == ["m0", "m1"] * 2
    assert {entry.leading for entry in handler.db.entries} == {None}


def test_a_group_is_one_occurrence(make):
    """The first record is the significant one."""
    handler = make()
    with GroupHandler(handler):
        log.error("first")
        log.info("second")
    (entry,) = handler.db.entries

    assert entry.title == "first"
    assert [record["message"] for record in json.loads(entry.leading)] == ["second"]


def test_of_what_led_up_the_newest_are_kept(make):
    """The first line says how many are not."""
    handler = make(immediate=True)
    handler.emit_batch(batch_of(*[10] * 150, 14), "escalation")
    handler.emit_batch(
        [record_at(msg="x" * 60_000) for _ in range(10)] + [record_at(msg="end")], "escalation"
    )
    many, large = (json.loads(entry.leading) for entry in handler.db.entries)

    assert len(many) == MAX_LEADING + 1
    assert many[0]["message"] == "50 earlier records were left out"
    assert many[-1]["message"] == "m149"
    assert 2 < len(large) < 8
    assert large[0]["message"] == f"{11 - len(large)} earlier records were left out"


# --- subclasses -----------------------------------------------------------------------------------


@pytest.mark.rule("TI-8")
@pytest.mark.parametrize("immediate", [False, True])
def test_a_subclass_changes_what_is_stored(make, immediate):
    """Called in the thread that logs."""
    threads = set()

    class Extending(TicketingHandler):
        def process_record(self, record, hash):
            threads.add(threading.get_ident())
            data = super().process_record(record, hash)
            data["hash"] = hash
            del data["thread_name"]
            return data

    handler = make(cls=Extending, immediate=immediate)
    with handler:
        log.info("a {}", 1)
    (entry,) = handler.db.entries

    data = json.loads(entry.data)
    assert data["hash"] == entry.hash
    assert "thread_name" not in data
    assert data["message"] == "a 1"
    assert threads == {threading.get_ident()}


@pytest.mark.rule("TI-8")
def test_what_is_no_json_is_an_error_of_the_call(make, capfd):
    """The subclass has to see to that."""

    class Careless(TicketingHandler):
        def process_record(self, record, hash):
            return {"what": object()}

    handler = make(cls=Careless)
    with handler:
        log.info("x")

    assert handler.db.entries == []
    assert "not JSON serializable" in capfd.readouterr().err


@pytest.mark.rule("TI-7")
@pytest.mark.parametrize("immediate", [False, True])
def test_a_subclass_does_something_else_with_a_record(make, immediate):
    """It gets a record, what was made of it, and the hash; where the record is gone, made anew."""
    calls = []

    class Telling(TicketingHandler):
        def record_ticket(self, record, data, hash):
            calls.append((record, data, hash, threading.get_ident()))
            super().record_ticket(record, {**data, "more": 1}, hash)

    handler = make(cls=Telling, immediate=immediate, release="1")
    with handler:
        log.info("a {}", 1, extra={"request_id": "r"})
    (entry,) = handler.db.entries

    ((record, data, hash, thread),) = calls
    assert (record.message, data["message"], record.lineno) == ("a 1", "a 1", data["lineno"])
    assert type(hash) is str
    assert hash == entry.hash
    assert (thread == threading.get_ident()) is immediate
    assert json.loads(entry.data)["more"] == 1
    assert (entry.request_id, entry.release) == ("r", "1")
    assert handler.statistics()["events"] == {"new": 1}


def test_a_subclass_that_fails_for_one_record_has_the_others(make):
    """Those that were stored are not stored again."""
    calls = []

    class Failing(TicketingHandler):
        def record_ticket(self, record, data, hash):
            calls.append(record.message)
            if record.message == "bad":
                raise ValueError("never")
            if record.message == "slow" and calls.count("slow") < 3:
                raise ConnectionError("later")

    handler = make(cls=Failing, batch_wait=LIMIT)
    with handler, Flags(errors="silent"):
        for message in ("a", "bad", "slow", "b"):
            log.info(message)
    assert handler.flush(LIMIT)

    assert [calls.count(message) for message in ("a", "slow", "b")] == [1, 3, 1]
    assert handler.statistics()["dead"] == 1
    assert handler.statistics()["delivered"] == 3


class LogbookStore(BackendBase):
    """A store as people wrote them for Logbook: it knows one way of counting."""

    def setup_backend(self):
        self.recorded = []

    def record_ticket(self, record, data, hash, app_id):
        self.recorded.append((record.message, data["level"], hash, app_id))


@pytest.mark.rule("TI-7")
@pytest.mark.parametrize("immediate", [False, True])
def test_a_store_written_for_logbook_is_asked_as_logbook_asks(make, immediate):
    """Record by record."""
    handler = make(backend=LogbookStore, immediate=immediate, app_id="web")
    with handler:
        log.error("a {}", 1)
        log.error("b")

    assert [(message, level, app) for message, level, _, app in handler.db.recorded] == [
        ("a 1", 14, "web"),
        ("b", 14, "web"),
    ]
    assert {type(hash) for _, _, hash, _ in handler.db.recorded} == {str}


def test_a_store_derived_from_ours_may_count_in_its_own_way(make, url):
    """As one derived from Logbook's does."""
    seen = []

    class Own(SQLAlchemyBackend):
        def record_ticket(self, record, data, hash, app_id):
            seen.append(record.message)
            super().record_ticket(record, data, hash, app_id)

    handler = make(url, backend=Own)
    with handler:
        log.error("a")

    assert handler.db.count_tickets() == 1
    assert seen == ["a"]


# --- the store ------------------------------------------------------------------------------------


@pytest.mark.rule("TI-9", "TK-2")
def test_the_store_is_made_with_uri_and_options(make):
    """Both are its options; what the handler takes itself is not among them."""
    handler = make("here", colour="red", app_id="x", capacity=5)

    assert isinstance(handler.db, ListStore)
    assert handler.db.options == {"uri": "here", "colour": "red"}


@pytest.mark.rule("TI-9")
def test_a_store_that_cannot_be_opened_is_an_error_of_the_constructor(tmp_path):
    """Not of the first record."""

    class Closed(BackendBase):
        def setup_backend(self):
            raise ConnectionRefusedError("nobody there")

    with pytest.raises(ConnectionRefusedError):
        TicketingHandler("x", backend=Closed)
    with pytest.raises(OSError, match="nowhere"):
        TicketingHandler(f"sqlite:///{tmp_path}/nowhere/tickets.db")
    gc.collect()


def test_a_handler_that_cannot_be_made_closes_its_store():
    """The options are looked at after it was opened."""
    made = []

    class Seen(ListStore):
        def setup_backend(self):
            super().setup_backend()
            made.append(self)

    with pytest.raises(ValueError, match="policy must be one of"):
        TicketingHandler("x", backend=Seen, policy="never")
    with pytest.raises(ValueError, match="grouping must be 'hash' or 'fingerprint', got 'x'"):
        TicketingHandler("x", backend=Seen, grouping="x")

    assert len(made) == 1
    assert made[0].closed >= 1


@pytest.mark.rule("TI-10")
def test_the_default_backend_may_be_another(make):
    """Of a subclass, or of one handler."""

    class Listing(TicketingHandler):
        default_backend = ListStore

    assert TicketingHandler.default_backend is SQLAlchemyBackend
    assert type(make(cls=Listing, backend=None).db) is ListStore
    assert type(make(cls=Listing, backend=LogbookStore).db) is LogbookStore


@pytest.mark.rule("TI-10")
def test_the_store_can_be_switched(make):
    """What was logged before is in the one before, which is closed."""
    handler = make()
    with handler:
        log.info("a")
        before = handler.__dict__["_db"]
        handler.set_backend(ListStore, uri="there")
        log.info("b")

    assert [entry.title for entry in before.entries] == ["a"]
    assert before.closed == 1
    assert [entry.title for entry in handler.db.entries] == ["b"]
    assert handler.db.options == {"uri": "there"}


@pytest.mark.rule("TI-11")
def test_the_store_stays_usable(url):
    """After the handler is unbound, and after it is closed."""
    with TicketingHandler(url) as handler:
        log.info("a")
    assert handler.db.count_tickets() == 1
    with handler:
        log.info("b")

    assert handler.close()
    assert handler.close()
    assert handler.db.count_tickets() == 2
    handler.db.close()


@pytest.mark.rule("TI-11")
def test_closing_closes_the_store_and_drops_what_comes_later(make):
    """Nobody stores it any more, and that is counted."""
    handler = make()
    with handler:
        log.info("a")
        assert handler.close(LIMIT)
        log.info("b")

    assert handler.db.closed >= 1
    assert [entry.title for entry in handler.db.entries] == ["a"]
    assert handler.statistics()["dropped"] == {"closed": 1}


# --- when the store fails -------------------------------------------------------------------------


@pytest.mark.rule("TI-12")
def test_errors_of_the_store_are_emit_errors_where_it_is_asked_at_once(make):
    """As of any handler."""
    handler = make(immediate=True)
    handler.db.errors = [ConnectionError("away"), ValueError("never")]
    with handler, Flags(errors="raise"):
        with pytest.raises(ConnectionError, match="away"):
            log.info("a")
        with pytest.raises(ValueError, match="never"):
            log.info("b")
        log.info("c")

    assert [entry.title for entry in handler.db.entries] == ["c"]
    assert handler.db.threads == {threading.get_ident()}


def test_while_the_store_is_away_records_wait(make, capfd):
    """However long that takes; then each is stored once."""
    handler = make(retry=Retry(initial=0.001, maximum=0.002, attempts=3))
    handler.db.errors = [ConnectionError("away")] * 50
    with handler:
        for number in range(10):
            log.info("{}", number)
    assert handler.flush(LIMIT)

    assert [entry.title for entry in handler.db.entries] == [str(number) for number in range(10)]
    statistics = handler.statistics()
    assert (statistics["delivered"], statistics["dead"], statistics["failed"]) == (10, 0, 50)
    assert "'TicketingHandler' fails" in capfd.readouterr().err


def test_an_entry_that_the_store_refuses_is_a_dead_letter_and_no_other(make, tmp_path, capfd):
    """With a spool, it is kept for people to look at."""
    spool = Spool(tmp_path / "spool")
    handler = make(spool=spool)
    held = threading.Event()

    def refuse(entries):
        held.wait(LIMIT)
        if any(entry.title == "bad" for entry in entries):
            raise ValueError("this never fits")

    handler.db.before = refuse
    with handler:
        for message in ("a", "b", "bad", "c"):
            log.info(message)
        held.set()
        assert handler.flush(LIMIT)

    assert sorted(entry.title for entry in handler.db.entries) == ["a", "b", "c"]
    assert handler.statistics()["dead"] == 1
    (letter,) = (tmp_path / "spool" / "dead").glob("*.jsonl")
    assert '\\"title\\":\\"bad\\"' in letter.read_text()
    assert "this never fits" in capfd.readouterr().err


def test_a_store_that_hangs_costs_the_caller_nothing(make):
    """Beyond the capacity the oldest are dropped, and counted."""
    handler = make(capacity=10, drain_timeout=0.05)
    held = threading.Event()
    handler.db.before = lambda entries: held.wait(LIMIT)
    with handler:
        log.info("first")
        wait_until(lambda: handler.delivery.waiting == 0)
        for number in range(30):
            log.info("{}", number)
        statistics = handler.statistics()
        assert not handler.flush(0.01)

    assert statistics["queued"] == 11
    assert statistics["dropped"] == {"full": 20}
    held.set()
    assert handler.flush(LIMIT)
    assert [entry.title for entry in handler.db.entries] == [
        "first",
        *map(str, range(20, 30)),
    ]


def test_a_file_that_is_locked_costs_the_caller_nothing(tmp_path, url, capfd):
    """Whoever holds the lock lets go of it after the last log call; then all is stored, once."""
    handler = TicketingHandler(url, retry=QUICKLY, lock_timeout=0.02)
    other = sqlite3.connect(tmp_path / "tickets.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with handler:
        for number in range(500):
            log.info("{}", number)
    wait_until(lambda: handler.statistics()["failed"] > 0)
    assert handler.statistics()["queued"] == 500
    other.execute("ROLLBACK")
    other.close()
    assert handler.flush(LIMIT)
    (ticket,) = handler.db.get_tickets()

    assert ticket.occurrence_count == 500
    assert handler.statistics()["dropped"] == {}
    assert "database is locked" in capfd.readouterr().err
    handler.close()


def test_closing_does_not_wait_for_a_store_that_hangs(make, capfd):
    """It says what is lost."""
    handler = make()
    held = threading.Event()
    handler.__dict__["_db"].before = lambda entries: held.wait(LIMIT)
    with handler:
        log.info("a")
        wait_until(lambda: handler.delivery.waiting == 0)
        log.info("b")

    assert not handler.close(0.01)
    held.set()
    assert "2 items for 'TicketingHandler' were not delivered" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ConnectionResetError(), "outage"),
        (TimeoutError(), "outage"),
        (ValueError(), "permanent"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), "permanent"),
        (RuntimeError(), "transient"),
    ],
)
def test_errors_say_whether_trying_again_is_of_use(error, verdict):
    """Time cures what the system reports; a wrong value stays one."""
    assert verdict_on(error) == verdict


def test_whoever_says_when_to_try_again_need_not_say_what_errors_mean(make):
    """Unless they want to."""

    def always(error):
        return "outage"

    for retry, expected in (
        (None, verdict_on),
        (Retry(initial=1.0), verdict_on),
        (Retry(classify=always), always),
    ):
        assert make(retry=retry).delivery.retry.classify is expected


def test_errors_of_libraries_say_so_too():
    """What of a database is not translated by the store."""
    sa = pytest.importorskip("sqlalchemy")
    pymongo = pytest.importorskip("pymongo")

    assert verdict_on(sa.exc.DataError("s", {}, Exception())) == "permanent"
    assert verdict_on(sa.exc.OperationalError("s", {}, Exception())) == "transient"
    lost = sa.exc.OperationalError("s", {}, Exception(), connection_invalidated=True)
    assert verdict_on(lost) == "outage"
    assert verdict_on(sa.exc.TimeoutError()) == "outage"
    assert verdict_on(pymongo.errors.ServerSelectionTimeoutError()) == "outage"
    assert verdict_on(pymongo.errors.DuplicateKeyError("x")) == "transient"
    assert verdict_on(pymongo.errors.DocumentTooLarge("x")) == "permanent"


# --- fingerprints ---------------------------------------------------------------------------------


def test_the_same_bug_at_another_line_is_one_ticket(url):
    """And two calls on one line are two."""
    handler = TicketingHandler(url, grouping="fingerprint", rules=[{"group": "g", "channel": "x"}])
    with handler:
        log.error("no price of {}", "apples")
        log.error("no price of {}", "pears")
        log.error("a {}", 1), log.error("b {}", 1)
        Logger("x").error("something")
        Logger("x").warning("anything")
    counts = sorted(ticket.occurrence_count for ticket in handler.db.get_tickets())

    assert counts == [1, 1, 2, 2]
    assert all(ticket.status.fingerprint for ticket in handler.db.get_tickets())
    handler.close()


def test_fingerprints_are_made_behind_the_callers_back(make, tmp_path):
    """Rules see the record as it is stored."""
    seen = []

    def rule(record):
        seen.append((record.message, threading.get_ident()))
        return "all"

    for options in ({}, {"spool": Spool(tmp_path / "spool")}):
        handler = make(grouping="fingerprint", rules=[rule], **options)
        with handler:
            log.info("a {}", 1)
        (entry,) = handler.db.entries
        assert entry.fingerprint.startswith("v1:")

    assert [message for message, _ in seen] == ["a 1"] * 2
    assert threading.get_ident() not in {thread for _, thread in seen}


# --- those who want to know -----------------------------------------------------------------------


class Observer:
    """Keeps what it is told, and fails if a test wants it."""

    def __init__(self, error=None):
        self.told = []
        self.error = error

    def observe(self, db, outcomes):
        self.told += [(outcome.event, outcome.entry.title) for outcome in outcomes]
        if self.error is not None:
            raise self.error


def test_alerts_and_trackers_are_told_what_became_of_records(make, capfd):
    """One that fails harms neither the others nor the storing, and is counted."""
    alert, tracker = Observer(RuntimeError("ouch")), Observer()
    handler = make(alerts=[alert], trackers=[tracker])
    with handler:
        for _ in range(2):
            log.info("a")
    db = handler.db

    assert alert.told == tracker.told == [("new", "a"), ("again", "a")]
    assert len(db.entries) == 2
    statistics = handler.statistics()
    assert statistics["failures"]["alerts"] >= 1
    assert "trackers" not in statistics["failures"]
    assert statistics["dead"] == 0
    err = capfd.readouterr().err
    assert "alerts of TicketingHandler failed: RuntimeError: ouch" in err


def test_failing_alerts_do_not_harm_where_errors_are_raised(make):
    """They are none of the call's."""
    handler = make(alerts=[Observer(RuntimeError("ouch"))], immediate=True)
    with handler, Flags(errors="raise"):
        log.info("a")

    assert len(handler.db.entries) == 1


@pytest.mark.parametrize("immediate", [False, True])
def test_an_alert_that_comes_back_is_not_counted(make, immediate):
    """By whatever way: else each alert would be a new ticket, and each new ticket an alert."""
    told = []

    def back(record):
        told.append(record.message)
        handler.handle(record)
        other = threading.Thread(target=handler.handle, args=(record,))
        other.start()
        other.join(LIMIT)
        log.error("the alert itself failed")

    handler = make(alerts=[NewAlert(back)], immediate=immediate)
    with handler:
        log.info("a")
    db = handler.db

    assert len(told) == 1
    assert [entry.title for entry in db.entries] == ["a"]
    assert handler.statistics()["failures"]["recursion"] >= 2
    assert CHANNEL not in {entry.channel for entry in db.entries}


def test_what_an_immediate_store_logs_itself_is_not_stored(make):
    """That would never end; it is counted."""
    handler = make(immediate=True)
    handler.db.before = lambda entries: log.info("storing")
    with handler:
        log.info("a")

    assert [entry.title for entry in handler.db.entries] == ["a"]
    assert handler.statistics()["failures"] == {"recursion": 1}


def test_a_tracker_is_told_by_a_filing_of_the_handlers_own(make):
    """Which is closed with it."""
    from sprockets.logbook.ticketing._trackers import Filing, Tracker

    closed = []

    class Silent(Tracker):
        def disconnect(self):
            closed.append(self.name)

    handler = make(trackers=[Silent("one"), Silent("two")])
    assert isinstance(handler._filing, Filing)
    assert [tracker.name for tracker in handler._filing.trackers] == ["one", "two"]

    assert handler.close(LIMIT)

    assert sorted(closed) == ["one", "two"]


# --- retention ------------------------------------------------------------------------------------


class Clock:
    def __init__(self):
        self.seconds = 1_800_000_000.0

    def __call__(self):
        return self.seconds


def test_the_store_is_tidied_about_once_an_hour(make):
    """By the first that stores something after that, if no other process does it."""
    clock, retention = Clock(), Retention(max_age=timedelta(days=1))
    handler = make(retention=retention, clock=clock)

    def log_after(seconds):
        clock.seconds += seconds
        with handler:
            log.info("a")
        return len(handler.db.retentions)

    assert log_after(RETENTION_INTERVAL) == 1
    assert log_after(0.5 * RETENTION_INTERVAL) == 1
    assert log_after(0.7 * RETENTION_INTERVAL) == 2
    now = datetime.fromtimestamp(clock(), UTC).replace(tzinfo=None)
    assert handler.db.retentions[-1] == (retention, now)
    assert handler.db.claims[-1] == ("retention", now, 0.8 * RETENTION_INTERVAL)
    assert handler.statistics()["removed"] == {"occurrences": 6, "tickets": 2}


def test_the_store_is_tidied_by_one_process(make):
    """The store says by which."""
    clock = Clock()
    handler = make(retention=Retention(), clock=clock, may_claim=False)
    clock.seconds += RETENTION_INTERVAL
    with handler:
        log.info("a")

    assert handler.db.retentions == []
    assert len(handler.db.claims) == 1


def test_tidying_that_fails_harms_nothing(make, capfd):
    """It is tried again in an hour."""
    clock = Clock()
    handler = make(retention=Retention(), clock=clock)
    handler.db.apply_retention = lambda *args: 1 / 0
    clock.seconds += RETENTION_INTERVAL
    with handler:
        log.info("a")

    assert len(handler.db.entries) == 1
    assert handler.statistics()["failures"] == {"retention": 1}
    assert "retention of TicketingHandler failed: ZeroDivisionError" in capfd.readouterr().err


def test_a_real_store_is_tidied(url):
    """Old occurrences go, and stay in the count."""
    clock = Clock()
    clock.seconds = time.time()
    handler = TicketingHandler(
        url, retention=Retention(max_age=None, max_per_ticket=10), clock=clock
    )
    with handler:
        for _ in range(50):
            log.info("a")
        assert handler.flush(LIMIT)
        clock.seconds += RETENTION_INTERVAL
        log.warning("b")
    tickets = {ticket.level_name: ticket for ticket in handler.db.get_tickets()}

    assert tickets["INFO"].occurrence_count == 50
    assert len(tickets["INFO"].get_occurrences(limit=100)) == 10
    assert handler.statistics()["removed"]["occurrences"] == 40
    handler.close()


# --- forks ----------------------------------------------------------------------------------------


def test_a_gate_is_shut_once_all_are_out():
    """Who comes meanwhile waits until it is open again."""
    gate, inside, leave, passed = Gate(), threading.Event(), threading.Event(), threading.Event()

    def stay():
        with gate.passed():
            inside.set()
            leave.wait(LIMIT)

    def pass_by():
        with gate.passed():
            passed.set()

    first, second = threading.Thread(target=stay), threading.Thread(target=pass_by)
    first.start()
    assert inside.wait(LIMIT)

    assert not gate.shut(0.01)
    leave.set()
    first.join(LIMIT)
    assert gate.shut(LIMIT)
    second.start()
    assert not passed.wait(0.05)
    gate.open()
    assert passed.wait(LIMIT)
    second.join(LIMIT)


def test_a_gate_that_nobody_opens_is_not_shut_for_ever(monkeypatch):
    """A fork that never came back costs a while, not the records."""
    monkeypatch.setattr(_resting, "_LONGEST", 0.01)
    gate = Gate()
    gate.shut(0)

    with gate.passed():
        pass


@pytest.mark.parametrize("kind", ["file", "deferred", "memory"])
def test_before_a_fork_a_file_of_sqlite_is_closed(url, kind):
    """A child would not lock what it inherits open; a database in memory would be gone."""
    handler = TicketingHandler("sqlite://" if kind == "memory" else url)
    if kind == "deferred":
        handler.set_backend(DeferredBackend, make=SQLAlchemyBackend, uri=url)
    with handler:
        log.info("a")
        store = handler.db.opened if kind == "deferred" else handler.db
        pool = store.engine.pool
        handler.before_fork()
        was_closed = store.engine.pool is not pool
        handler.after_fork_in_parent()
        log.info("b")

    assert was_closed is (kind != "memory")
    assert handler.db.count_tickets() == 2
    handler.close()


# --- processes and threads ------------------------------------------------------------------------


def test_records_of_many_threads_are_all_counted(url):
    """Each once."""
    handler = TicketingHandler(url)
    barrier = threading.Barrier(8)

    def work():
        with handler:
            barrier.wait(LIMIT)
            for number in range(100):
                log.info("{}", number)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert handler.flush(LIMIT)
    (ticket,) = handler.db.get_tickets()

    assert ticket.occurrence_count == 800
    assert handler.statistics()["delivered"] == 800
    handler.close()


def test_many_threads_may_store_at_once_where_it_is_immediate(url):
    """The store sees to that."""
    handler = TicketingHandler(url, immediate=True)

    def work():
        with handler:
            for number in range(25):
                log.info("{}", number)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    (ticket,) = handler.db.get_tickets()

    assert ticket.occurrence_count == 100
    handler.close()


def test_a_forked_child_counts_on_its_own(url):
    """What the parent had not stored is the parent's; no connection is shared."""
    handler = TicketingHandler(url)
    with handler:
        for _ in range(20):
            log.info("a")
        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    for _ in range(10):
                        log.info("b")
                    status = 0 if handler.close(LIMIT) else 2
                finally:
                    os._exit(status)
            children.append(child)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        log.info("c")
    counts = {ticket.status.title: ticket.occurrence_count for ticket in handler.db.get_tickets()}

    assert counts == {"a": 20, "b": 40, "c": 1}
    handler.close()


@pytest.fixture(name="server", params=["postgresql", "mariadb"])
def _server(request, tmp_path):
    with database(request.param, tmp_path) as found:
        yield found


def test_children_of_a_process_that_is_connected_connect_themselves(server):
    """Eight of them, while the parent goes on; each record is counted once."""
    handler = TicketingHandler(server.uri, table_prefix=server.prefix, grouping="fingerprint")
    with handler:
        log.info("first")
        assert handler.flush(LIMIT)
        children = []
        for _ in range(8):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    for number in range(25):
                        log.info("of a child {}", number)
                    status = 0 if handler.close(LIMIT) else 2
                finally:
                    os._exit(status)
            children.append(child)
            log.info("of the parent {}", child)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
    counts = {
        ticket.status.title.split(" {")[0][:8]: ticket.occurrence_count
        for ticket in handler.db.get_tickets()
    }

    assert counts == {"first": 1, "of a chi": 200, "of the p": 8}
    assert handler.statistics()["failed"] == 0
    assert handler.close(LIMIT)


def run(code, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        **options,
    )


def test_the_end_of_a_program_stores_what_is_left(url):
    """Without a word from it."""
    done = run(f"""
        from sprockets.logbook import Logger
        from sprockets.logbook.ticketing import TicketingHandler
        TicketingHandler({url!r}).push_application()
        for number in range(700):
            Logger("shop").info("{{}}", number)
    """)

    assert (done.returncode, done.stderr) == (0, "")
    store = SQLAlchemyBackend(uri=url)
    (ticket,) = store.get_tickets()
    assert ticket.occurrence_count == 700
    store.close()


def test_entries_outlive_a_kill(url, tmp_path):
    """What was logged while the store was away is stored by the next process, each once."""
    done = run(f"""
        import os, signal
        from sprockets.logbook import Logger
        from sprockets.logbook.delivery import Spool
        from sprockets.logbook.ticketing import SQLAlchemyBackend, TicketingHandler
        class Away(SQLAlchemyBackend):
            def record_entries(self, entries):
                raise ConnectionError("away")
        handler = TicketingHandler(
            {url!r}, backend=Away, spool=Spool({str(tmp_path / "spool")!r}), capacity=0
        )
        with handler:
            for number in range(100):
                Logger("shop").error("{{}}", number, extra={{"request_id": str(number)}})
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert done.returncode == -signal.SIGKILL

    handler = TicketingHandler(url, spool=Spool(tmp_path / "spool"), retry=QUICKLY)
    wait_until(lambda: handler.statistics()["delivered"] == 100)
    (ticket,) = handler.db.get_tickets()

    assert ticket.occurrence_count == 100
    assert handler.statistics()["adopted"] == 100
    assert len(handler.db.find_occurrences(request_id="99")) == 1
    handler.close()


def test_a_signal_handler_may_log_in_the_middle_of_it(make):
    """Whether the handler stores at once or not."""
    for immediate in (False, True):
        handler = make(immediate=immediate)
        with handler:
            before = signal.signal(signal.SIGUSR1, lambda *_: log.warning("signal"))
            try:
                for number in range(50):
                    signal.raise_signal(signal.SIGUSR1)
                    log.info("{}", number)
            finally:
                signal.signal(signal.SIGUSR1, before)
        titles = [entry.title for entry in handler.db.entries]

        assert titles.count("signal") == 50
        assert len(titles) == 100


def test_a_handler_that_nobody_holds_stores_what_it_has(url):
    """And lets go of the store."""
    handler = TicketingHandler(url)
    with handler:
        log.info("a")
    del handler
    gc.collect()
    store = SQLAlchemyBackend(uri=url)

    wait_until(lambda: store.count_tickets() == 1)
    store.close()


def test_finalisers_may_log(make):
    """They may run in the middle of anything."""
    handler = make()

    class Noisy:
        def __del__(self):
            log.info("gone")

    with handler:
        for _ in range(20):
            Noisy()
            log.info("here")

    assert len(handler.db.entries) == 40


def test_importing_needs_no_library():
    """Stores import theirs when they are made."""
    done = run("""
        import sys
        from sprockets.logbook.ticketing import TicketingHandler, SQLAlchemyBackend, Alert
        print([name for name in ("sqlalchemy", "pymongo", "alembic") if name in sys.modules])
    """)

    assert done.stdout.strip() == "[]"
