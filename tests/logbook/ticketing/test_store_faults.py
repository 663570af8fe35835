"""Stores in trouble: many processes, forks, locks, and servers that are gone in the middle."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from threading import Event, Timer

import pytest
import sqlalchemy as sa

from sprockets.logbook.delivery import Delivery, Retry
from sprockets.logbook.ticketing._entry import Entry
from sprockets.logbook.ticketing._sql_errors import StoreLockedError, StoreUnavailableError
from sprockets.logbook.ticketing._sqlalchemy import SQLAlchemyBackend
from tests import services
from tests.logbook.ticketing.contract import make_entry
from tests.logbook.ticketing.sql import database

COUNTING = Path(__file__).with_name("count_from_processes.py")
LIMIT = 60  # seconds, for whatever is waited for


@pytest.fixture(name="database", params=["sqlite", "postgresql", "mariadb"])
def _database(request, tmp_path):
    with database(request.param, tmp_path) as found:
        yield found


@pytest.fixture(name="file")
def _file(tmp_path):
    with database("sqlite", tmp_path) as found:
        yield found


def wait_until(condition):
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def sums(store):
    """Return how many tickets there are, what they count, and how many occurrences are stored."""
    tickets, occurrences = store.tickets, store.occurrences
    with store.engine.connect() as connection:
        return (
            connection.scalar(sa.select(sa.func.count()).select_from(tickets)),
            int(connection.scalar(sa.select(sa.func.sum(tickets.c.occurrence_count))) or 0),
            connection.scalar(sa.select(sa.func.count()).select_from(occurrences)),
        )


# -- many processes


@pytest.fixture(name="workers", scope="module")
def _workers():
    """Eight processes that count what they are told to, as often as they are."""
    workers = [
        subprocess.Popen(
            [sys.executable, str(COUNTING)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    yield workers
    for worker in workers:
        worker.communicate(timeout=LIMIT)


def count_from_processes(workers, found, how, **numbers):
    """Have *workers* begin to count at once; return what went wrong."""

    def tell(worker, line):
        worker.stdin.write(f"{line}\n")
        worker.stdin.flush()

    def kill():
        for worker in workers:
            worker.kill()

    watchdog = Timer(4 * LIMIT, kill)
    watchdog.start()
    try:
        for index, worker in enumerate(workers):
            where = {"uri": found.uri, "prefix": found.prefix, "how": how, "process": index}
            tell(worker, json.dumps({**where, **numbers}))
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            tell(worker, "go")
        return [error for worker in workers for error in json.loads(worker.stdout.readline())]
    finally:
        watchdog.cancel()


def test_eight_processes_count_exactly(database, workers):
    """200 tickets, and each record once on one of them, without an error."""
    store = database.open()

    errors = count_from_processes(workers, database, "store", records=500, tickets=200, batch=100)

    assert errors == []
    assert sums(store) == (200, 4_000, 4_000)
    ids = [ticket.ticket_id for ticket in store.get_tickets(limit=500)]
    entry = make_entry("a")
    counts = store.get_counts(ids, entry.time, entry.time, "hour")
    assert sum(count for [count] in counts.values()) == 4_000
    store.close()


def test_who_reads_before_he_writes_loses_some(database, workers):
    """The control: without upserts and locks, the same processes fail."""
    store = database.open()

    errors = count_from_processes(
        workers[:4], database, "read, then write", records=100, tickets=50, batch=50
    )

    assert errors or sums(store) != (50, 400, 400)
    store.close()


# -- forks


def test_forked_children_have_connections_of_their_own(database):
    """Eight children and the parent use at once what the parent opened before the fork."""
    store = database.open()
    store.record_entries([make_entry("a")])
    children = []
    for child in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                for number in range(10):
                    store.record_entries([make_entry("a", key=f"child {child} {number}")])
                    assert store.count_tickets() == 1
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(pid)
    for number in range(10):
        store.record_entries([make_entry("a", key=f"parent {number}")])

    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]

    assert codes == [0] * 8
    assert sums(store) == (1, 91, 91)
    store.close()


def test_a_forked_child_has_a_copy_of_a_database_in_memory():
    """What it counts there is its own."""
    store = SQLAlchemyBackend(uri="sqlite://")
    store.record_entries([make_entry("a")])
    pid = os.fork()
    if pid == 0:
        store.record_entries([make_entry("b")])
        os._exit(store.count_tickets())

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert store.count_tickets() == 1
    store.close()


# -- locks


@pytest.mark.rule("SA-15")
def test_a_lock_that_lasts_is_an_outage(file):
    """Waited for twice, then reported as what passes: the delivery engine tries again."""
    store = file.open(lock_timeout=0.05)
    store.record_entries([make_entry("a")])
    other = sqlite3.connect(file.uri.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreLockedError, match="lock_timeout") as caught:
            store.record_entries([make_entry("a")])
        assert isinstance(caught.value, OSError)
        # Who reads waits for nobody.
        assert store.count_tickets() == 1
    finally:
        other.close()

    assert store.record_entries([make_entry("a")])[0].count == 2
    store.close()


@pytest.mark.rule("SA-15")
def test_a_lock_that_ends_while_it_is_waited_for_is_no_trouble(file):
    """The second try finds it gone."""
    store = file.open(lock_timeout=0.01)
    other = sqlite3.connect(
        file.uri.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN IMMEDIATE")
    write_once, tries = store._database._write_once, []

    def counted(work):
        tries.append(work)
        if len(tries) == 2:
            other.execute("ROLLBACK")
        return write_once(work)

    store._database._write_once = counted

    assert store.record_entries([make_entry("a")])[0].event == "new"
    assert len(tries) == 2
    other.close()
    store.close()


def test_a_locked_database_does_not_delay_who_logs(file):
    """What is put while another holds the lock waits in the engine, and nothing is lost."""
    store = file.open(lock_timeout=0.05)
    failed = Event()

    def deliver(entries):
        try:
            store.record_entries(entries)
        except StoreLockedError:
            failed.set()
            raise

    engine = Delivery(
        deliver, name="tickets", size_of=lambda _: 1, retry=Retry(initial=0.01, maximum=0.05)
    )
    other = sqlite3.connect(file.uri.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert all(engine.put(make_entry(f"t{number % 7}")) for number in range(300))
    assert failed.wait(LIMIT)
    assert all(engine.put(make_entry(f"t{number % 7}")) for number in range(300))
    assert engine.statistics()["delivered"] == 0
    other.execute("ROLLBACK")
    other.close()

    assert engine.flush(LIMIT)
    assert engine.statistics()["delivered"] == 600
    assert sums(store) == (7, 600, 600)
    engine.close()
    store.close()


# -- errors that say what to do


@pytest.mark.rule("SA-15")
def test_a_server_that_is_not_there_is_an_outage():
    """The text says where, without the password."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for scheme in ("postgresql", "mysql"):
            with pytest.raises(StoreUnavailableError, match="is the server running") as caught:
                SQLAlchemyBackend(uri=f"{scheme}://me:secret@127.0.0.1:{port}/tickets")
            assert isinstance(caught.value, OSError)
            assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", [services.postgresql_url, services.mariadb_url])
def test_an_unknown_database_is_named(url):
    """And that it has to be created first."""
    uri = sa.make_url(url()).set(database="no_such_database")

    with pytest.raises(StoreUnavailableError, match="no_such_database.*create it first"):
        SQLAlchemyBackend(uri=uri)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    """Its folder is missing."""
    with pytest.raises(StoreUnavailableError, match=r"missing/t\.db.*cannot be opened"):
        SQLAlchemyBackend(uri=f"sqlite:///{tmp_path}/missing/t.db")


def test_a_file_that_is_no_database_is_refused(tmp_path):
    """And left as it is."""
    file = tmp_path / "t.db"
    file.write_text("something else entirely, and long enough to be looked at " * 20)

    with pytest.raises(StoreUnavailableError, match="cannot be used.*not a database"):
        SQLAlchemyBackend(uri=f"sqlite:///{file}")
    assert file.read_text().startswith("something else")


def test_an_account_without_rights_is_told_so(file):
    """A file that is only to be read."""
    file.open().close()
    uri = file.uri.replace("sqlite:///", "sqlite:///file:") + "?mode=ro&uri=true"
    store = SQLAlchemyBackend(uri=uri, table_prefix=file.prefix)

    with pytest.raises(PermissionError, match="refuses"):
        store.record_entries([make_entry("a")])
    assert store.count_tickets() == 0
    store.close()


def test_an_account_of_postgresql_without_rights_is_told_so():
    """It may connect, and make nothing."""
    url = services.postgresql_url()
    engine = sa.create_engine(url)
    name = f"t{os.getpid()}_{time.monotonic_ns()}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
    try:
        with pytest.raises(PermissionError, match="refuses: grant the account"):
            SQLAlchemyBackend(uri=sa.make_url(url).set(username=name), table_prefix=f"{name}_")
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP ROLE {name}")
        engine.dispose()


# -- a server that is stopped in the middle


@pytest.fixture(name="cluster")
def _cluster():
    """A PostgreSQL server of its own, which may be stopped the hard way."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    services.require(programs and os.geteuid() == 0 and shutil.which("su"), "no PostgreSQL to run")
    # The folders of pytest are root's alone.
    folder = Path(tempfile.mkdtemp(prefix="tickets"))
    shutil.chown(folder, "postgres")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    running = Cluster(programs[-1].parent, folder, port)
    try:
        running.run("initdb", "-D", folder / "data", "-A", "trust", "-N", "-E", "UTF8")
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder)


class Cluster:
    def __init__(self, programs, folder, port):
        self.programs = programs
        self.folder = folder
        self.port = port
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"

    def run(self, program, *arguments):
        command = " ".join(f"'{part}'" for part in (self.programs / program, *arguments))
        done = subprocess.run(
            ["su", "postgres", "-c", command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=120,
            cwd="/",
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self):
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        log = self.folder / "log"
        self.run("pg_ctl", "-D", self.folder / "data", "-w", "-l", log, "-o", options, "start")

    def stop(self):
        self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")


def test_a_server_that_is_stopped_three_times_loses_nothing(cluster):
    """3,000 records: what was taken is stored, and counted once."""
    store = SQLAlchemyBackend(uri=cluster.url)
    acknowledged, outages = set(), []

    def deliver(items):
        try:
            outcomes = store.record_entries([Entry.from_bytes(item) for item in items])
        except OSError as error:
            outages.append(error)
            raise
        acknowledged.update(outcome.entry.key for outcome in outcomes)

    engine = Delivery(
        deliver, name="tickets", batch_size=20, retry=Retry(initial=0.02, maximum=0.2)
    )
    try:
        for part in range(4):
            for number in range(part * 750, (part + 1) * 750):
                engine.put(make_entry(f"t{number % 11}", key=f"record {number}").to_bytes())
            if part == 3:
                break
            least = part * 750 + 100
            wait_until(lambda least=least: len(acknowledged) >= least)
            cluster.stop()
            # It is noticed before it is over.
            seen = len(outages)
            wait_until(lambda seen=seen: len(outages) > seen or engine.waiting == 0)
            cluster.start()
            engine.hurry()
        assert engine.flush(LIMIT)
    finally:
        engine.close()

    assert engine.statistics()["delivered"] == 3_000
    assert outages
    assert len(acknowledged) == 3_000
    assert sums(store) == (11, 3_000, 3_000)
    store.close()
