"""A process among several that count records on the same tickets; run as a program.

Reads a line of JSON that says what to count, and where; says ``ready``; waits for a line; counts;
and says in JSON what went wrong.  So again, until there is nothing more to be read.  *how* is
``store``, or ``read, then write``: what happens to those who look before they write.
"""

import json
import random
import sys
from datetime import datetime
from hashlib import sha1

import sqlalchemy as sa

from sprockets.logbook.ticketing._entry import Entry
from sprockets.logbook.ticketing._sqlalchemy import SQLAlchemyBackend

START = datetime(2026, 3, 1, 12, 0)


def entry(process, number, ticket):
    data = {"level": 13, "channel": "app", "msg": f"record {number}", "process": process}
    return Entry(
        key=f"{process}-{number}",
        hash=sha1(str(ticket).encode()).hexdigest(),
        time=START,
        level=13,
        channel="app",
        location=f"/srv/app/main.py:{ticket}",
        module="app.main",
        app_id="generic",
        data=json.dumps(data),
        title=f"record {number}",
        release="1.0",
        environment="production",
        request_id=f"request-{number}",
    )


def read_then_write(store, entries):
    """Count without an upsert, and without locks."""
    tickets, occurrences = store.tickets, store.occurrences
    with store.engine.begin() as connection:
        for one in entries:
            found = connection.execute(
                sa.select(tickets.c.ticket_id, tickets.c.occurrence_count).where(
                    tickets.c.record_hash == one.hash
                )
            ).first()
            if found is None:
                made = connection.execute(
                    tickets.insert(),
                    {"record_hash": one.hash, "occurrence_count": 1, "solved": False},
                )
                ticket_id = made.inserted_primary_key[0]
            else:
                ticket_id = found.ticket_id
                connection.execute(
                    tickets.update()
                    .where(tickets.c.ticket_id == ticket_id)
                    .values(occurrence_count=found.occurrence_count + 1)
                )
            connection.execute(
                occurrences.insert(), {"ticket_id": ticket_id, "time": one.time, "data": one.data}
            )


def count(uri, prefix, how, process, records, tickets, batch):
    """Count *records* on *tickets*, each of them once at least, and return what went wrong."""
    # Whoever waits for SQLite's lock gets it by chance, and the machine may be busy.
    store = SQLAlchemyBackend(uri=uri, table_prefix=prefix, lock_timeout=60)
    chosen = random.Random(process)
    numbers = [*range(tickets), *(chosen.randrange(tickets) for _ in range(records - tickets))]
    chosen.shuffle(numbers)
    entries = [entry(process, number, ticket) for number, ticket in enumerate(numbers)]
    errors = []
    print("ready", flush=True)
    sys.stdin.readline()
    for place in range(0, records, batch):
        part = entries[place : place + batch]
        try:
            if how == "store":
                store.record_entries(part)
            else:
                read_then_write(store, part)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}"[:500])
    store.close()
    return errors


if __name__ == "__main__":
    for line in iter(sys.stdin.readline, ""):
        print(json.dumps(count(**json.loads(line))), flush=True)
