"""Tickets: how fast they are counted, listed, and forgotten, on each kind of database.

Usage: ``python -P benchmarks/tickets.py [--quick] [--only NAMES] [--occurrences N] [--tickets N]``

A store is filled with tickets, and with many occurrences of one of them.  Then come: records per
second that eight processes count at once, in batches; how long it takes to count one record on the
ticket that has so many; how long the first page of the list takes, with what happened in the last
24 hours and 30 days, and a search; and what retention leaves.  Beside the counting stands, taken in
turn with it, the least that a store could do: one row, and a commit.  Of times there are the median
and the 99th percentile, and beside it the processor's time of this process, which other programs on
the machine hardly change.

SQLite is a file in a temporary folder; the servers are those of ``SPROCKETS_TEST_POSTGRESQL`` and
``SPROCKETS_TEST_MARIADB``, and are left out if nobody answers.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path
from typing import Any

# Run with -P nothing of ours is on the path; at its end this can shadow nobody.
sys.path.append(str(Path(__file__).resolve().parents[1]))

import sqlalchemy as sa

from benchmarks.report import table
from sprockets.logbook.ticketing._entry import Entry
from sprockets.logbook.ticketing._making import new_key
from sprockets.logbook.ticketing._model import Retention
from sprockets.logbook.ticketing._search import Query
from sprockets.logbook.ticketing._sqlalchemy import SQLAlchemyBackend

NOW = datetime.now(UTC).replace(tzinfo=None)
HEAD = [
    "database",
    "rec/s, 8 processes",
    "insert p50 ms",
    "p99 ms",
    "cpu ms",
    "bare p50 ms",
    "p99 ms",
    "page p50 ms",
    "p99 ms",
    "cpu ms",
    "search p50 ms",
    "rows before",
    "after retention",
    "took s",
    "bytes/row",
]
RECORDS, TICKETS, BATCH, PROCESSES = 500, 200, 100, 8


def entry(ticket: int, moment: datetime) -> Entry:
    """Return an occurrence of about the size that real ones have."""
    data = {
        "channel": "shop.orders",
        "level": 14,
        "msg": "order {0} failed",
        "message": f"order {ticket} failed",
        "args": [ticket],
        "kwargs": {},
        "extra": {"request_id": uuid.uuid4().hex},
        "filename": "/srv/shop/orders.py",
        "lineno": 120,
        "formatted_exception": "Traceback (most recent call last):\n" + '  File "/srv/x.py"\n' * 8,
    }
    return Entry(
        key=new_key(),
        hash=sha1(str(ticket).encode(), usedforsecurity=False).hexdigest(),
        time=moment,
        level=14,
        channel="shop.orders",
        location=f"/srv/shop/orders.py:{ticket}",
        module="shop.orders",
        app_id="shop",
        data=json.dumps(data),
        title=f"OrderError: order {ticket} failed",
        request_id=uuid.uuid4().hex,
        release="1.0",
        environment="production",
    )


def times_of(work: Callable[[], Any], number: int) -> tuple[float, float, float]:
    """Return median and 99th percentile of what *work* takes, and the processor's time, in ms."""
    (found,) = times_in_turn([work], number)
    return found


def times_in_turn(
    works: Sequence[Callable[[], Any]], number: int
) -> list[tuple[float, float, float]]:
    """Return what :func:`times_of` does, for each of *works*, which take turns."""
    taken: list[list[tuple[float, float]]] = [[] for _ in works]
    for _ in range(number):
        for work, times in zip(works, taken, strict=True):
            begin, begin_cpu = time.perf_counter(), time.process_time()
            work()
            cpu = time.process_time() - begin_cpu
            times.append(((time.perf_counter() - begin) * 1000, cpu * 1000))
    found = []
    for times in taken:
        walls = sorted(wall for wall, _ in times)
        cpu = sum(cpu for _, cpu in times) / number
        found.append((walls[number // 2], walls[math.ceil(number * 0.99) - 1], cpu))
    return found


def count_in_process(uri: str, prefix: str, barrier: Any) -> None:
    """Count as one process of several."""
    store = SQLAlchemyBackend(uri=uri, table_prefix=prefix, lock_timeout=60)
    entries = [entry(number % TICKETS, NOW) for number in range(RECORDS)]
    barrier.wait()
    for place in range(0, RECORDS, BATCH):
        store.record_entries(entries[place : place + BATCH])
    barrier.wait()
    store.close()


def rate_of_processes(uri: str, prefix: str) -> float:
    """Return the records a second that processes count at once, on tickets that they share."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES + 1)
    workers = [
        context.Process(target=count_in_process, args=(uri, prefix, barrier))
        for _ in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    barrier.wait(300)
    begin = time.perf_counter()
    barrier.wait(300)
    seconds = time.perf_counter() - begin
    for worker in workers:
        worker.join(60)
    return PROCESSES * RECORDS / seconds


def fill(store: SQLAlchemyBackend, occurrences: int, tickets: int) -> None:
    """Make *tickets*, one of which has *occurrences* from the last 60 days."""
    for place in range(0, tickets, 1_000):
        numbers = range(place, min(tickets, place + 1_000))
        store.record_entries([entry(one, NOW - timedelta(minutes=one)) for one in numbers])
    really = min(occurrences, 8_000)
    step = timedelta(days=60) / max(1, really)
    for place in range(0, really, 2_000):
        numbers = range(place, min(really, place + 2_000))
        made = store.record_entries([entry(0, NOW - step * (really - one)) for one in numbers])
        if numbers.stop == really:
            copy(store, made[0].ticket_id, occurrences)


def copy(store: SQLAlchemyBackend, ticket_id: int, occurrences: int) -> None:
    """Copy the occurrences of a ticket until there are as many, with keys of their own.

    The database does that by itself, much faster than records come.
    """
    rows, details = (
        store.occurrences,
        store.metadata.tables[f"{store.table_prefix}occurrence_details"],
    )
    with store.engine.begin() as connection:
        of_ticket = rows.c.ticket_id == ticket_id
        names = ["ticket_id", "time", "data", "app_id"]
        count = connection.scalar(sa.select(sa.func.count()).where(of_ticket)) or 0
        while 0 < count < occurrences:
            some = sa.select(*(rows.c[name] for name in names)).where(of_ticket)
            connection.execute(
                rows.insert().from_select(names, some.limit(min(count, occurrences - count)))
            )
            count = connection.scalar(sa.select(sa.func.count()).where(of_ticket)) or 0
        key = sa.literal("copy ") + sa.cast(rows.c.occurrence_id, sa.String(20))
        missing = (
            sa.select(rows.c.occurrence_id, key, key, sa.literal("1.0"), sa.literal("production"))
            .outerjoin(details, details.c.occurrence_id == rows.c.occurrence_id)
            .where(details.c.occurrence_id.is_(None))
        )
        columns = ["occurrence_id", "key", "request_id", "release", "environment"]
        connection.execute(details.insert().from_select(columns, missing))
        connection.execute(
            store.tickets.update()
            .where(store.tickets.c.ticket_id == ticket_id)
            .values(occurrence_count=count)
        )


def rows_in(store: SQLAlchemyBackend) -> int:
    """Return how many occurrences are stored."""
    with store.engine.connect() as connection:
        count = sa.select(sa.func.count()).select_from(store.occurrences)
        return int(connection.scalar(count) or 0)


def bytes_in(store: SQLAlchemyBackend) -> int:
    """Return how large the tables of *store* are, with their indexes."""
    kind = store.engine.dialect.name
    statement = {
        "sqlite": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        "postgresql": "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
        f" WHERE relkind = 'r' AND relname LIKE '{store.table_prefix}%%'",
    }.get(
        kind,
        "SELECT sum(data_length + index_length) FROM information_schema.tables"
        f" WHERE table_name LIKE '{store.table_prefix}%%'",
    )
    with store.engine.connect() as connection:
        return int(connection.execute(sa.text(statement.replace("%%", "%"))).scalar() or 0)


@contextmanager
def bare_insert(store: SQLAlchemyBackend, prefix: str) -> Iterator[Callable[[], None]]:
    """What inserts one row of that size into a table without an index, by the driver alone."""
    data = entry(0, NOW).data
    with store.engine.connect() as pooled:
        pooled.exec_driver_sql(f"CREATE TABLE {prefix}bare (data TEXT)")
        pooled.commit()
        connection: Any = pooled.connection.driver_connection
        sign = "?" if store.engine.dialect.name == "sqlite" else "%s"
        statement = f"INSERT INTO {prefix}bare (data) VALUES ({sign})"

        def insert() -> None:
            cursor = connection.cursor()
            cursor.execute(statement, (data,))
            connection.commit()
            cursor.close()

        yield insert


def page(store: SQLAlchemyBackend) -> None:
    """Read what the list of tickets shows."""
    tickets = store.get_tickets()
    ids = [ticket.ticket_id for ticket in tickets]
    store.count_tickets()
    store.get_counts(ids, NOW - timedelta(hours=23), NOW, "hour")
    store.get_counts(ids, NOW - timedelta(days=29), NOW, "day")


def measured(name: str, uri: str, occurrences: int, tickets: int, number: int) -> list[str]:
    """Return the row of a database."""
    prefix = f"bench{uuid.uuid4().hex[:8]}_"
    shared = f"{prefix}shared_"
    store = SQLAlchemyBackend(uri=uri, table_prefix=prefix)
    try:
        rate = rate_of_processes(uri, shared)
        fill(store, occurrences, tickets)
        with bare_insert(store, prefix) as insert:
            inserting, bare = times_in_turn(
                [lambda: store.record_entries([entry(0, NOW)]), insert], 4 * number
            )
        listing = times_of(lambda: page(store), number)
        query = Query(states=("new",), texts=("orders.py:77",), min_level=13)
        seeking = times_of(lambda: store.get_tickets(query=query), number)
        before, size = rows_in(store), bytes_in(store)
        retention = Retention(max_age=timedelta(days=90), max_occurrences=1_000_000)
        begin = time.perf_counter()
        store.apply_retention(retention)
        took = time.perf_counter() - begin
        after = rows_in(store)
    finally:
        drop(store, prefix)
    times = [*inserting, *bare[:2], *listing, seeking[0]]
    return [
        name,
        f"{rate:,.0f}",
        *(f"{one:.2f}" for one in times),
        f"{before:,}",
        f"{after:,}",
        f"{took:.1f}",
        f"{size / before:,.0f}",
    ]


def drop(store: SQLAlchemyBackend, prefix: str) -> None:
    """Remove all tables."""
    metadata = sa.MetaData()
    metadata.reflect(store.engine, only=lambda name, _: name.startswith(prefix))
    metadata.drop_all(store.engine)
    store.close()


def databases(folder: str) -> dict[str, str]:
    """Return what there is to be measured."""
    return {
        "SQLite": f"sqlite:///{folder}/tickets.db",
        "PostgreSQL": os.environ.get(
            "SPROCKETS_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/test"
        ),
        "MariaDB": os.environ.get(
            "SPROCKETS_TEST_MARIADB", "mysql+pymysql://root@127.0.0.1:3306/test"
        ),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a look that takes some seconds")
    parser.add_argument("--only", default="", help="part of the names of the databases")
    parser.add_argument("--occurrences", type=int, default=0, help="of one ticket")
    parser.add_argument("--tickets", type=int, default=0, help="tickets in all")
    options = parser.parse_args()
    occurrences = options.occurrences or (10_000 if options.quick else 1_000_000)
    tickets = options.tickets or (1_000 if options.quick else 10_000)
    print(f"{tickets:,} tickets, {occurrences:,} occurrences of one of them\n")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, uri in databases(folder).items():
            if options.only.lower() not in name.lower():
                continue
            try:
                print(f"{name} …", file=sys.stderr)
                rows.append(measured(name, uri, occurrences, tickets, 50 if options.quick else 250))
            except OSError as error:
                print(f"{name} is left out: {error}")
    print(table(HEAD, rows))


if __name__ == "__main__":
    main()
