"""How `SQLAlchemyBackend` connects, what it lets go of, and what it makes of its values."""

import json
import subprocess
import sys

import pytest
import sqlalchemy as sa

from sprockets._support.optional import MissingDependency
from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing import _sql_database, _sql_recording, _sql_ways
from sprockets.logbook.ticketing._sql_database import is_in_memory, url_of
from sprockets.logbook.ticketing._sqlalchemy import SQLAlchemyBackend
from sprockets.logbook.ticketing._states import is_older_version
from tests import services
from tests.logbook.ticketing.contract import in_threads, make_entry
from tests.logbook.ticketing.sql import database


@pytest.fixture(name="file")
def _file(tmp_path):
    with database("sqlite", tmp_path) as found:
        yield found


@pytest.fixture(name="store")
def _store(file):
    store = file.open()
    yield store
    store.close()


# -- engines


@pytest.mark.rule("SA-3")
def test_an_engine_may_be_passed_and_stays_its_owners(file):
    """Closing the store closes none of its connections."""
    engine = sa.create_engine(file.uri)
    pool = engine.pool
    store = SQLAlchemyBackend(uri=engine)
    store.record_entries([make_entry("a")])

    store.close()

    assert store.engine is engine
    assert engine.pool is pool
    assert engine.pool.checkedin() >= 1
    assert store.count_tickets() == 1
    engine.dispose()


@pytest.mark.rule("SA-3")
@pytest.mark.parametrize("url", [services.postgresql_url, services.mariadb_url])
def test_an_engine_of_a_server_may_be_passed(url):
    """Its own isolation is put back when it gets its connection back."""
    with database("postgresql" if "postgresql" in url.__name__ else "mariadb", None) as found:
        engine = sa.create_engine(found.uri, isolation_level="SERIALIZABLE")
        store = SQLAlchemyBackend(uri=engine, table_prefix=found.prefix)

        assert store.record_entries([make_entry("a"), make_entry("a")])[1].count == 2

        with engine.connect() as connection:
            assert connection.get_isolation_level() == "SERIALIZABLE"
        engine.dispose()


@pytest.mark.rule("SA-3")
def test_an_engine_in_memory_may_be_passed():
    """Threads take turns with its connection, too."""
    engine = sa.create_engine(
        "sqlite://", poolclass=sa.pool.StaticPool, connect_args={"check_same_thread": False}
    )
    store = SQLAlchemyBackend(uri=engine)

    in_threads(6, lambda index: store.record_entries([make_entry(f"t{index}")]))

    assert store.count_tickets() == 6
    engine.dispose()


def test_engine_options_do_not_go_with_an_engine():
    """It has its own already."""
    engine = sa.create_engine("sqlite://")

    with pytest.raises(ValueError, match="engine_options"):
        SQLAlchemyBackend(uri=engine, engine_options={"echo": False})
    engine.dispose()


@pytest.mark.rule("SA-4")
def test_connections_are_tested_renewed_and_few(file):
    """Unless the options say otherwise."""
    store = file.open()
    other = file.open(engine_options={"pool_recycle": 7, "pool_size": 2, "pool_pre_ping": False})

    assert store.engine.pool._pre_ping is True
    assert store.engine.pool._recycle == 360
    assert store.engine.pool.size() == 5
    assert other.engine.pool._pre_ping is False
    assert other.engine.pool._recycle == 7
    assert other.engine.pool.size() == 2
    store.close()
    other.close()


@pytest.mark.rule("SA-5")
@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_in_memory_all_threads_see_one_database(uri):
    """None finds it without tables."""
    store = SQLAlchemyBackend(uri=uri)

    counts = in_threads(4, lambda _: store.record_entries([make_entry("a")])[0].count)

    assert sorted(counts) == [1, 2, 3, 4]
    store.close()


def test_a_file_is_no_database_in_memory():
    """Told apart by the URL alone."""
    assert is_in_memory(sa.make_url("sqlite:///file::memory:?cache=shared&uri=true"))
    assert is_in_memory(sa.make_url("sqlite:///file:x?mode=memory&uri=true"))
    assert not is_in_memory(sa.make_url("sqlite:////tmp/t.db"))


@pytest.mark.rule("SA-13", "SA-16")
def test_no_connection_stays_open_after_a_call_or_an_error(store):
    """All are back in the pool."""
    store.record_entries([make_entry("a")])
    store.get_tickets()
    with pytest.raises(TypeError):
        store.record_entries([make_entry("a", data=object())])
    with pytest.raises(KeyError):
        store.get_tickets("no such field")
    store._tables.history.name = "no_such_table"
    try:
        with pytest.raises(OSError, match="no_such_table"):
            store.get_history(1)
    finally:
        store._tables.history.name = f"{store.table_prefix}history"

    assert store.engine.pool.checkedout() == 0


@pytest.mark.rule("SA-14")
@pytest.mark.parametrize(
    ("meanwhile", "fingerprint", "tries"),
    [
        ("made", None, 1),
        ("made", "f", 1),
        ("claimed", "f", 2),
        ("merged", None, 2),
        ("merged", "f", 2),
        ("split", None, 2),
        ("removed", None, 2),
        ("removed", "f", 2),
    ],
)
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_what_another_does_meanwhile_is_seen(
    kind, tmp_path, monkeypatch, meanwhile, fingerprint, tries
):
    """The occurrence goes where it would had the other been faster; for that it is tried again.

    On SQLite nobody else writes meanwhile.
    """
    with database(kind, tmp_path) as server:
        store, other = server.open(), server.open()
        ours = make_entry("a", fingerprint=fingerprint)
        theirs = "g" if meanwhile == "claimed" else fingerprint
        if meanwhile == "removed":
            other.record_entries([make_entry("a", fingerprint=theirs)])

        def act():
            if meanwhile == "removed":
                other.delete_ticket(other.get_tickets()[0].ticket_id)
                return
            entries = [make_entry("a", fingerprint=theirs), make_entry("b"), make_entry("a")]
            found = other.record_entries(entries)
            if meanwhile in ("merged", "split"):
                a, b, _ = (outcome.ticket_id for outcome in found)
                [occurrence, _] = other.get_occurrences(a)
                assert other.merge_tickets(b, [a])
                if meanwhile == "split":
                    assert other.split_ticket(b, occurrence.occurrence_id)

        calls = []

        def find(work, entries):
            found = _sql_ways.find(work, entries)
            if work.connection.engine is store.engine:
                calls.append(found)
                if len(calls) == 1:
                    act()
            return found

        monkeypatch.setattr(_sql_recording, "find", find)

        [outcome] = store.record_entries([ours])

        assert len(calls) == tries
        [next_one] = store.record_entries([make_entry("a", fingerprint=fingerprint)])
        assert (next_one.ticket_id, next_one.count) == (outcome.ticket_id, outcome.count + 1)
        counts = sorted(ticket.occurrence_count for ticket in store.get_tickets())
        assert (
            counts
            == {
                "made": [1, 4],
                "claimed": [1, 2, 2],
                "merged": [5],
                "split": [1, 4],
                "removed": [2],
            }[meanwhile]
        )
        store.close()
        other.close()


@pytest.mark.rule("SA-17", "Q-9")
def test_old_spellings_of_urls_are_understood():
    """And the drivers are ours unless others are named."""
    assert url_of("postgres://u:p@h/d").drivername == "postgresql+psycopg"
    assert url_of("postgresql://u:p@h/d").drivername == "postgresql+psycopg"
    assert url_of("mysql://h/d").drivername == "mysql+pymysql"
    assert url_of("mariadb://h/d").drivername == "mariadb+pymysql"
    assert url_of("postgresql+asyncpg://h/d").drivername == "postgresql+asyncpg"
    assert url_of("sqlite:///x").drivername == "sqlite"


def test_what_is_no_url_is_refused():
    """With an example of one."""
    with pytest.raises(ValueError, match="example: sqlite:///"):
        SQLAlchemyBackend(uri="no url")
    with pytest.raises(TypeError, match="needs uri"):
        SQLAlchemyBackend()


@pytest.mark.parametrize(
    ("uri", "extra"), [("postgresql://h/d", "postgresql"), ("mysql://h/d", "mariadb")]
)
def test_a_missing_driver_says_what_to_install(monkeypatch, uri, extra):
    """By the name of its extra."""
    for name in ("psycopg", "psycopg2", "pymysql", "MySQLdb"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(_sql_database, "find_spec", lambda name: None)

    with pytest.raises(MissingDependency, match=rf"sprockets\.http\[{extra}\]"):
        SQLAlchemyBackend(uri=uri)


def test_without_sqlalchemy_the_module_is_there_and_the_store_says_what_to_install():
    """Importing needs no extra."""
    code = (
        "import sys\n"
        "for name in ('sqlalchemy', 'alembic', 'packaging', 'psycopg', 'pymysql'):\n"
        "    sys.modules[name] = None\n"
        "from sprockets.logbook.ticketing import _sqlalchemy\n"
        "try:\n"
        "    _sqlalchemy.SQLAlchemyBackend(uri='sqlite://')\n"
        "except RuntimeError as error:\n"
        "    print(error)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert "pip install 'sprockets.http[sqlalchemy]'" in done.stdout


# -- values


@pytest.mark.rule("SA-8")
def test_texts_are_cut_to_their_columns(store):
    """A location from the left, so that the line stays; what counts is the whole hash."""
    long = "x" * 600
    entry = make_entry("a", channel=long, module=long, app_id=long, location=f"/{long}:42")

    store.record_entries([entry])

    [ticket] = store.get_tickets()
    assert ticket.channel == long[:120]
    assert ticket.module == long[:256]
    assert ticket.app_id == long[:80]
    assert ticket.location == f"{long[:509]}:42"
    assert ticket.record_hash == entry.hash


@pytest.mark.rule("SA-6", "SA-7")
def test_what_a_record_does_not_know_has_a_text_all_the_same(store):
    """No channel, no module, no place."""
    record = LogRecord.from_dict({"level": 13, "msg": "hello"})
    record.heavy_initialized = record.information_pulled = True

    store.record_ticket(record, record.to_dict(json_safe=True), "c" * 40, "shop")

    with store.engine.connect() as connection:
        row = connection.execute(sa.select(store.tickets)).one()
    assert (row.channel, row.module, row.location) == ("", "<unknown>", "<unknown>:0")


@pytest.mark.rule("SA-12")
def test_records_are_stored_as_json_in_ascii(store):
    """As they are on the wire."""
    from sprockets.logbook import Logger, TestHandler

    with TestHandler() as handler:
        Logger("käse").warning("größer als {}", "ü\udc80")
    record = handler.records[0]
    store.record_ticket(record, record.to_dict(json_safe=True), "a" * 40, "shop")

    with store.engine.connect() as connection:
        data = connection.execute(sa.select(store.occurrences.c.data)).scalar_one()

    assert data.isascii()
    assert json.loads(data)["message"] == record.message
    assert store.get_tickets()[0].last_occurrence.message == record.message


@pytest.mark.rule("SA-9")
def test_a_hash_may_come_as_bytes(store):
    """As Logbook's handlers pass it; it is written as text."""
    from sprockets.logbook import Logger, TestHandler

    with TestHandler() as handler:
        Logger("app").warning("hello")
    record = handler.records[0]
    for hash in ("b" * 40, b"b" * 40):
        store.record_ticket(record, record.to_dict(json_safe=True), hash, "shop")

    [ticket] = store.get_tickets()
    assert (ticket.record_hash, ticket.occurrence_count) == ("b" * 40, 2)


def test_ids_may_be_text(store):
    """As they come from a URL; what is no id is that of nothing."""
    [outcome] = store.record_entries([make_entry("a")])

    assert store.get_ticket(str(outcome.ticket_id)) == store.get_ticket(outcome.ticket_id)
    for wrong in ("", "x", "1x", "-1", "٣", "9" * 30, 1 << 70, 0, -1, None, 1.5, True, "1; drop"):
        assert store.get_ticket(wrong) is None
        assert store.solve_ticket(wrong) is False
        assert store.delete_ticket(wrong) is False


def test_releases_are_compared_as_versions():
    """What is none is compared by the order in which it was seen."""
    assert is_older_version("1.9", "1.10") is True
    assert is_older_version("1.10", "1.10.0") is False
    assert is_older_version("2.0.dev1", "2.0") is True
    assert is_older_version("build 7", "1.0") is None


def test_a_release_that_is_no_version_is_older_if_it_was_seen_before(store):
    """Of two that were seen, the first; where the cure was never seen, what was there before it."""
    [outcome] = store.record_entries([make_entry("a", release="blue")])
    store.record_entries([make_entry("a", release="green"), make_entry("b", release="red")])

    def events(*releases):
        outcomes = store.record_entries([make_entry("a", release=one) for one in releases])
        return [one.event for one in outcomes]

    store.solve_ticket(outcome.ticket_id, release="green")
    assert events("blue", "green") == ["again", "regressed"]
    store.solve_ticket(outcome.ticket_id, release="never seen")
    assert events("blue", "red", "first seen afterwards", "blue") == [
        "again",
        "again",
        "regressed",
        "again",
    ]
    store.solve_ticket(outcome.ticket_id, release="green")
    assert events(None) == ["regressed"]
