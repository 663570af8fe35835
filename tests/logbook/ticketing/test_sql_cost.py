"""What `SQLAlchemyBackend` asks of a database: few statements, short waits, nothing cut."""

import json
import sqlite3
import time
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from sprockets.logbook.ticketing import _sql_adding, _sql_database
from sprockets.logbook.ticketing._search import Query
from tests.logbook.ticketing.contract import START, after, make_entry
from tests.logbook.ticketing.sql import database


@pytest.fixture(name="server", params=["sqlite", "postgresql", "mariadb"], scope="module")
def _server(request, tmp_path_factory):
    with database(request.param, tmp_path_factory.mktemp("cost")) as found:
        yield found


@pytest.fixture(name="store")
def _store(server):
    with_tables = server.open()
    server.empty()
    yield with_tables
    with_tables.close()


@pytest.fixture(name="statements")
def _statements(store):
    """The statements so far; transactions begin and end without being listed."""
    found = []

    def listen(connection, cursor, statement, *more):
        if statement not in ("BEGIN IMMEDIATE", "COMMIT"):
            found.append(statement)

    sa.event.listen(store.engine, "before_cursor_execute", listen)
    yield found
    sa.event.remove(store.engine, "before_cursor_execute", listen)


# -- few statements


def test_a_batch_takes_as_few_statements_as_a_record(store, statements):
    """Of tickets and releases that are known; the servers are written to with one statement."""

    def entries(number):
        return [
            make_entry(f"t{one % 20}", release="1.0", environment="production")
            for one in range(number)
        ]

    store.record_entries(entries(20))
    # The number of a release is asked for once.
    store.record_entries(entries(1))
    statements.clear()
    store.record_entries(entries(1))
    of_one = list(statements)
    statements.clear()

    store.record_entries(entries(100))

    assert len(statements) == len(of_one)
    assert len(of_one) <= {"sqlite": 8, "postgresql": 4, "mysql": 3}[store.engine.dialect.name]
    assert sum(ticket.occurrence_count for ticket in store.get_tickets()) == 122


def test_a_page_of_the_list_takes_four_statements(store, statements):
    """Tickets, how many there are, and what happened in a day and in a month."""
    outcomes = store.record_entries([make_entry(f"t{number}") for number in range(60)])
    store.merge_tickets(outcomes[0].ticket_id, [outcomes[1].ticket_id])
    statements.clear()

    tickets = store.get_tickets(limit=50)
    ids = [ticket.ticket_id for ticket in tickets]
    count = store.count_tickets()
    hours = store.get_counts(ids, after(hours=-23), START, "hour")
    days = store.get_counts(ids, after(days=-29), START, "day")

    assert len(statements) == 4
    assert (len(tickets), count) == (50, 59)
    assert sum(sum(counts) for counts in hours.values()) == sum(map(sum, days.values())) >= 50


def test_what_was_merged_is_not_counted_whatever_is_asked(store):
    """By the short way, which counts all and takes off, and by the long one."""
    a, b, c, d = (
        outcome.ticket_id for outcome in store.record_entries([make_entry(one) for one in "abcd"])
    )
    store.merge_tickets(a, [b])
    store.merge_tickets(c, [a])
    assert store.count_tickets() == store.count_tickets(Query(min_count=1)) == 2

    store.delete_ticket(c)

    assert store.count_tickets() == store.count_tickets(Query(min_count=1)) == 1
    assert [ticket.ticket_id for ticket in store.get_tickets()] == [d]


# -- statements that MariaDB is given together


@pytest.fixture(name="mariadb", scope="module")
def _mariadb(tmp_path_factory):
    with database("mariadb", tmp_path_factory.mktemp("blocks")) as found:
        yield found


@pytest.mark.parametrize(
    ("setting", "longest", "blocks"),
    [
        ("auto_increment_increment = 1", 1 << 20, 2),
        ("auto_increment_increment = 3", 1 << 20, 2),
        ("auto_increment_increment = 1", 300, 1),
        ("sql_mode = 'ORACLE'", 1 << 20, 1),  # which is refused
        ("sql_mode = 'ANSI'", 1 << 20, 2),
    ],
    ids=["", "numbers with gaps, as of a cluster", "too long for one", "Oracle's words", "quotes"],
)
@pytest.mark.filterwarnings("ignore:Unknown schema content")  # of other quotes than usual
def test_what_goes_in_a_block_is_stored_as_in_single_statements(
    mariadb, monkeypatch, setting, longest, blocks
):
    """Each occurrence with its own details, whatever numbers it gets."""
    engine = sa.create_engine(mariadb.uri)
    statements = []

    @sa.event.listens_for(engine, "connect")
    def set_up(connection, _):
        with connection.cursor() as cursor:
            cursor.execute(f"SET {setting}")

    @sa.event.listens_for(engine, "before_cursor_execute")
    def note(connection, cursor, text, *more):
        statements.append(text)

    monkeypatch.setattr(_sql_adding, "_BLOCK", longest)
    entries = [
        make_entry(f"t{one % 3}", time=after(hours=one), release="1.0", environment="live")
        for one in range(8)
    ]
    store = mariadb.open(uri=engine, table_prefix=mariadb.new_prefix())

    store.record_entries(entries[:3])
    store.record_entries(entries)

    assert sum(text.startswith("BEGIN NOT ATOMIC") for text in statements) == blocks
    tickets = {ticket.record_hash: ticket for ticket in store.get_tickets()}
    found = {
        one.details.key: (hash, one.time, one.details.release, one.message)
        for hash, ticket in tickets.items()
        for one in store.get_occurrences(ticket.ticket_id)
    }
    assert found == {
        one.key: (one.hash, one.time, "1.0", json.loads(one.data)["message"]) for one in entries
    }
    for place, count in enumerate((3, 3, 2)):
        ticket = tickets[entries[place].hash]
        assert ticket.occurrence_count == count
        assert ticket.last_occurrence_time == after(hours=place + 3 * (count - 1))
        hours = store.get_counts([ticket.ticket_id], START, after(hours=7), "hour")
        assert [hour for hour, one in enumerate(hours[ticket.ticket_id]) if one] == [
            place + 3 * nth for nth in range(count)
        ]
    store.close()
    engine.dispose()


# -- nothing cut


def test_a_name_that_is_too_long_is_refused_and_not_cut(store):
    """Two that begin alike would be one; SQLite has room for any."""
    entries = [make_entry("a"), make_entry("a", key="x" * 65)]
    if store.engine.dialect.name == "sqlite":
        store.record_entries(entries)
        assert store.record_entries([entries[1]])[0].event == "duplicate"
        return

    with pytest.raises(sa.exc.DataError):
        store.record_entries(entries)

    assert store.count_tickets() == 0


def test_what_json_has_to_escape_is_stored_as_it_is(store):
    """Also where a batch goes to the database as JSON."""
    text = "\" \\ / ' \b\f\n\r\t \x7f \u2028 é 🧀 \\u0041 %s {}"
    [outcome] = store.record_entries(
        [make_entry("a", title=text, release=text, environment=text, request_id=text)]
    )

    assert store.record_entries([make_entry("a", release=text)])[0].event == "again"
    ticket = store.get_ticket(outcome.ticket_id)
    assert (ticket.status.title, ticket.status.first_release) == (text, text)
    assert store.get_values("environment") == [text]
    [found] = store.find_occurrences(request_id=text)
    assert (found.details.release, found.details.environment) == (text, text)


# -- short waits


@pytest.mark.rule("SA-15")
def test_who_waits_for_sqlite_asks_again_soon(tmp_path, monkeypatch):
    """Not after a tenth of a second, as SQLite itself; how long it waits elsewhere stays."""
    with database("sqlite", tmp_path) as file:
        store = file.open(lock_timeout=60)
        other = sqlite3.connect(file.uri.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        pauses = []

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == 50:
                other.execute("ROLLBACK")

        fake = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
        monkeypatch.setattr(_sql_database, "time", fake)

        assert store.record_entries([make_entry("a")])[0].event == "new"

        assert len(pauses) == 50
        assert 0 < max(pauses) < 0.01
        with store.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000
        other.close()
        store.close()


@pytest.mark.rule("SA-3", "SA-15")
def test_of_an_engine_that_is_passed_the_owner_says_how_long_it_waits(tmp_path):
    """Not at all, if he says so."""
    with database("sqlite", tmp_path) as file:
        file.open().close()
        engine = sa.create_engine(file.uri, connect_args={"timeout": 0})
        store = file.open(uri=engine)
        other = sqlite3.connect(file.uri.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(TimeoutError, match="lock_timeout"):
            store.record_entries([make_entry("a")])

        other.close()
        assert store.record_entries([make_entry("a")])[0].event == "new"
        engine.dispose()
