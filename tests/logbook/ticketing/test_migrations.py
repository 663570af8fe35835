"""Tables: made when a database is opened, whoever wrote it and however many open it at once."""

import json
import os
import subprocess
import sys
import traceback
from dataclasses import replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
import sqlalchemy as sa

from sprockets.logbook.ticketing._search import Query
from sprockets.logbook.ticketing._sql_errors import MissingTablesError
from sprockets.logbook.ticketing._sql_migrating import HEAD, version_table
from sprockets.logbook.ticketing._tables import make_tables
from tests.logbook.ticketing.contract import after, in_threads, make_entry
from tests.logbook.ticketing.sql import database

PROGRAM = Path(__file__).with_name("logbook_store.py")


@pytest.fixture(name="database", params=["sqlite", "postgresql", "mariadb"])
def _database(request, tmp_path):
    with database(request.param, tmp_path) as found:
        yield found


@pytest.fixture(name="file")
def _file(tmp_path):
    with database("sqlite", tmp_path) as found:
        found.prefix = "logbook_"
        yield found


@pytest.fixture(name="logbook")
def _logbook(file):
    """Let Logbook do something with the file."""
    if find_spec("logbook") is None:
        pytest.skip("Logbook is not installed")

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(PROGRAM), file.uri, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout else None

    return run


def entry_for_logbook(hash, **facts):
    """Return an entry whose record Logbook can read, which wants more of the fields than we do."""
    data = {"level": 13, "channel": "app", "msg": "x", "message": "x", "extra": {}}
    return make_entry("x", hash=hash, data=json.dumps(data), **facts)


def names_in(uri):
    engine = sa.create_engine(uri)
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


@pytest.fixture(name="engine")
def _engine(database):
    engine = sa.create_engine(database.uri)
    yield engine
    engine.dispose()


# -- what is made


def test_the_migrations_make_what_the_statements_use(database, engine):
    """Tables, columns, their types, indexes: one and the same, written down twice."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    metadata = sa.MetaData()
    names = {table.name for table in make_tables(metadata, database.prefix)}
    database.open().close()

    def is_ours(name, kind, parents):
        return kind != "table" or name in names

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": is_ours, "version_table": version_table(database.prefix)},
        )
        differences = compare_metadata(context, metadata)

    assert differences == []


def test_the_last_migration_is_the_one_that_is_checked_for():
    """A migration that nobody runs would be the alternative."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from sprockets.logbook.ticketing import _sql_migrating

    config = Config()
    config.set_main_option("script_location", str(_sql_migrating._FOLDER))
    config.set_main_option("path_separator", "os")

    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


@pytest.mark.rule("SA-1")
def test_logbooks_tables_have_logbooks_columns(file, tmp_path):
    """In SQLite's own words, the order of the columns included."""
    file.open().close()
    engine = sa.create_engine(file.uri)

    with engine.connect() as connection:
        columns = {
            name: [
                (row.name, row.type, bool(row.pk))
                for row in connection.exec_driver_sql(f"PRAGMA table_info(logbook_{name})")
            ]
            for name in ("tickets", "occurrences")
        }
    engine.dispose()

    assert columns == {
        "tickets": [
            ("ticket_id", "INTEGER", True),
            ("record_hash", "VARCHAR(40)", False),
            ("level", "INTEGER", False),
            ("channel", "VARCHAR(120)", False),
            ("location", "VARCHAR(512)", False),
            ("module", "VARCHAR(256)", False),
            ("last_occurrence_time", "DATETIME", False),
            ("occurrence_count", "INTEGER", False),
            ("solved", "BOOLEAN", False),
            ("app_id", "VARCHAR(80)", False),
        ],
        "occurrences": [
            ("occurrence_id", "INTEGER", True),
            ("ticket_id", "INTEGER", False),
            ("time", "DATETIME", False),
            ("data", "TEXT", False),
            ("app_id", "VARCHAR(80)", False),
        ],
    }


@pytest.mark.rule("SA-2")
def test_other_tables_of_a_shared_metadata_are_left_alone(file):
    """They are somebody else's to make."""
    metadata = sa.MetaData()
    sa.Table("orders", metadata, sa.Column("id", sa.Integer, primary_key=True))

    store = file.open(metadata=metadata)

    assert {"orders", "logbook_tickets", "logbook_occurrences"} <= set(metadata.tables)
    assert store.tickets is metadata.tables["logbook_tickets"]
    assert store.occurrences is metadata.tables["logbook_occurrences"]
    assert "orders" not in names_in(file.uri)
    store.close()


@pytest.mark.rule("SA-2")
def test_without_autocreate_nothing_is_made_and_what_is_missing_is_said(database):
    """When the store is used first: its tables may be made in the meantime."""
    store = database.open(autocreate_tables=False)

    with pytest.raises(MissingTablesError, match=f"{database.prefix}ticket_status.*autocreate"):
        store.count_tickets()
    assert not {name for name in names_in(database.uri) if name.startswith(database.prefix)}

    store.metadata.create_all(store.engine)
    assert store.record_entries([make_entry("a")])[0].event == "new"
    assert store.count_tickets() == 1
    store.close()


def test_without_autocreate_missing_columns_are_named(file):
    """A table of that name may be another's, or an older one."""
    engine = sa.create_engine(file.uri)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE logbook_tokens (digest VARCHAR(64))")
    engine.dispose()
    store = file.open(autocreate_tables=False)

    with pytest.raises(MissingTablesError, match=r"logbook_tokens\.scopes"):
        store.get_tokens()
    store.close()


def test_many_may_open_an_empty_database_at_once(database):
    """One makes the tables, the others wait for it."""

    def work(index):
        store = database.open()
        try:
            return store.record_entries([make_entry("a")])[0].event
        finally:
            store.close()

    events = in_threads(6, work)

    assert sorted(events) == ["again"] * 5 + ["new"]


def test_many_processes_may_open_an_empty_database_at_once(database):
    """As the workers of a service do when it starts."""
    waited_for, starting = os.pipe()
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                os.close(starting)
                os.read(waited_for, 1)
                store = database.open()
                assert store.count_tickets() == 0
                store.close()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(pid)
    os.close(waited_for)
    # The end of it is what they wait for.
    os.close(starting)

    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]

    assert codes == [0] * 4


def test_a_migration_that_was_torn_is_done_again(database, engine):
    """MariaDB keeps what was made before something failed."""
    store = database.open()
    entry = make_entry("a")
    store.record_entries([entry, make_entry("a"), make_entry("a", time=after(hours=1))])
    store.close()
    with engine.begin() as connection:
        quote = engine.dialect.identifier_preparer.quote
        connection.exec_driver_sql(f"DELETE FROM {quote(version_table(database.prefix))}")
        connection.exec_driver_sql(f"DROP TABLE {quote(f'{database.prefix}tokens')}")

    store = database.open()

    assert store.get_tokens() == []
    ids = [ticket.ticket_id for ticket in store.get_tickets()]
    assert store.get_counts(ids, entry.time, after(hours=1), "hour") == {ids[0]: [2, 1]}
    store.close()


def test_a_database_of_a_later_release_is_refused(database, engine):
    """It may mean other things by its columns."""
    database.open().close()
    table = sa.table(version_table(database.prefix), sa.column("version_num"))
    with engine.begin() as connection:
        connection.execute(table.update().values(version_num="9999"))

    with pytest.raises(RuntimeError, match="later release.*9999.*upgrade"):
        database.open()


# -- what Logbook wrote


@pytest.mark.rule("SA-1", "SA-9", "SA-18")
def test_a_store_of_logbook_is_read_and_continued_and_read_by_logbook(file, logbook):
    """Three hundred tickets: listed, searched, solved, counted on; neither side loses any."""
    logbook("write", 300)
    before = logbook("list")
    store = file.open()

    tickets = store.get_tickets("ticket_id", limit=5_000)

    assert store.count_tickets() == 300
    assert [ticket.occurrence_count for ticket in tickets] == [3] + [1] * 299
    assert all(
        type(ticket.record_hash) is str and len(ticket.record_hash) == 40 for ticket in tickets
    )
    assert tickets[7].channel == "channel 7"
    assert tickets[7].level_name == "WARNING"
    assert tickets[7].location.startswith(str(PROGRAM))
    assert tickets[7].status.state == "new"
    found = tickets[0].get_occurrences()
    assert [(one.message, one.extra["number"]) for one in found] == [("hello 0", 0)] * 3
    assert tickets[0].status.first_time == found[-1].time
    assert store.count_tickets(Query(texts=("Channel 29",))) == 11
    hour = found[0].time
    assert store.get_counts([tickets[0].ticket_id], found[-1].time, hour, "day")[
        tickets[0].ticket_id
    ][-1] in (1, 2, 3)

    assert store.solve_ticket(tickets[1].ticket_id)
    entries = [entry_for_logbook(one.record_hash, time=after(days=365)) for one in tickets]
    outcomes = store.record_entries([*entries, replace(entries[0], key="more")])

    assert [outcome.ticket_id for outcome in outcomes[:-1]] == [one.ticket_id for one in tickets]
    assert [outcome.event for outcome in outcomes] == ["again", "regressed"] + ["again"] * 299
    assert store.count_tickets() == 300
    assert store.get_ticket(tickets[0].ticket_id).occurrence_count == 5
    store.solve_ticket(tickets[2].ticket_id)
    store.close()

    logbook("again")
    listed = logbook("list")
    assert [one["channel"] for one in listed] == [one["channel"] for one in before]
    assert [one["count"] for one in listed] == [6] + [2] * 299
    assert [one["solved"] for one in listed[:4]] == [False, False, True, False]
    assert sorted(listed[0]["messages"]) == ["hello 0"] * 4 + ["x"] * 2


@pytest.mark.rule("SA-1")
def test_what_logbook_removes_leaves_nothing_of_ours_behind(file, logbook):
    """Its ids are used again there, and what belongs to them must not be another's."""
    logbook("write", 2)
    store = file.open()
    last = store.get_tickets("-ticket_id")[0]
    store.record_entries(
        [make_entry("x", hash=last.record_hash, fingerprint="1:abc", request_id="r")]
    )
    store.assign_ticket(last.ticket_id, "ann")
    store.close()

    logbook("remove", last.ticket_id)

    assert store.get_ticket(last.ticket_id) is None
    assert store.find_occurrences(request_id="r") == []
    [outcome] = store.record_entries([make_entry("new", fingerprint="1:abc")])
    assert outcome.event == "new"
    assert store.get_ticket(outcome.ticket_id).status.assignee == ""
    assert [item.action for item in store.get_history(outcome.ticket_id)] == ["created"]
    store.close()


@pytest.mark.rule("SA-10")
def test_hashes_as_bytes_are_found_by_logbook(file, logbook):
    """For a time in which both write the same file."""
    logbook("write", 1)
    engine = sa.create_engine(file.uri)
    with engine.begin() as connection:
        hash = connection.exec_driver_sql("SELECT record_hash FROM logbook_tickets").scalar()
        assert isinstance(hash, bytes)
        for table in ("occurrences", "tickets"):
            connection.exec_driver_sql(f"DELETE FROM logbook_{table}")
    engine.dispose()
    store = file.open(hash_as_bytes=True)
    assert store.record_entries([entry_for_logbook(hash.decode())])[0].event == "new"
    assert store.record_entries([entry_for_logbook(hash.decode())])[0].event == "again"
    store.close()

    logbook("again")

    assert [one["count"] for one in logbook("list")] == [3]


@pytest.mark.rule("SA-9")
def test_of_a_text_and_a_blob_the_text_is_preferred(file):
    """And rows that are found are not rewritten."""
    store = file.open()
    [outcome] = store.record_entries([make_entry("a")])
    entry = make_entry("a")
    with store.engine.begin() as connection:
        connection.execute(
            store.tickets.insert(),
            {"record_hash": entry.hash.encode(), "occurrence_count": 1, "solved": False},
        )

    [again] = store.record_entries([entry])

    assert again.ticket_id == outcome.ticket_id
    with store.engine.connect() as connection:
        hashes = set(connection.execute(sa.select(store.tickets.c.record_hash)).scalars())
    assert hashes == {entry.hash, entry.hash.encode()}
    store.close()


@pytest.mark.rule("TK-14")
def test_levels_of_old_releases_are_translated_and_the_store_stays_as_it_is(file):
    """Where they are shown, sought, and ordered by."""
    store = file.open()
    for name, level in (("a", 14), ("b", 5), ("c", 2)):
        store.record_entries([make_entry(name, level=level, data=json.dumps({"level": level}))])

    tickets = store.get_tickets("-level")

    assert [ticket.level_name for ticket in tickets] == ["ERROR", "ERROR", "INFO"]
    assert store.count_tickets(Query(levels=(14,))) == 2
    assert store.count_tickets(Query(min_level=12)) == 2
    [found] = tickets[0].get_occurrences()
    assert found.level_name == "ERROR"
    with store.engine.connect() as connection:
        levels = connection.execute(sa.select(store.tickets.c.level)).scalars()
        assert sorted(levels) == [2, 5, 14]
    store.close()


@pytest.mark.rule("SA-11")
def test_times_are_stored_in_utc_with_all_digits(file):
    """In SQLite, as the text that Logbook writes."""
    store = file.open()
    store.record_entries([make_entry("a", time=datetime(2026, 3, 1, 12, 0, 0, 42))])

    with store.engine.connect() as connection:
        times = {
            connection.exec_driver_sql(f"SELECT {column} FROM logbook_{table}").scalar()
            for table, column in (("tickets", "last_occurrence_time"), ("occurrences", "time"))
        }

    assert times == {"2026-03-01 12:00:00.000042"}
    store.close()
