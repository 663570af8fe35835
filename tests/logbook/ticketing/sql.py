"""Databases for tests: a new one for each, or tables of its own in one of a server."""

from contextlib import contextmanager
from itertools import count
from uuid import uuid4

import sqlalchemy as sa

from sprockets.logbook.ticketing._sqlalchemy import SQLAlchemyBackend
from sprockets.logbook.ticketing._tables import make_tables
from tests import services

_SERVERS = {"postgresql": services.postgresql_url, "mariadb": services.mariadb_url}


class TestDatabase:
    """A place for tables, empty at first.

    Args:
        uri: Where it is.
    """

    __test__ = False

    def __init__(self, uri):
        self.uri = uri
        self.prefix = f"t{uuid4().hex[:10]}_"
        self._numbers = count(1)

    def open(self, **options):
        """Open the store, once more."""
        return SQLAlchemyBackend(**{"uri": self.uri, "table_prefix": self.prefix, **options})

    def open_empty(self):
        """Open another store."""
        return self.open(table_prefix=self.new_prefix())

    def new_prefix(self):
        """Return a prefix for tables of another store."""
        return f"{self.prefix}{next(self._numbers)}_"

    def empty(self):
        """Remove what is in the tables of `open`, which is faster than to make them anew."""
        tables = list(make_tables(sa.MetaData(), self.prefix))
        engine = sa.create_engine(self.uri)
        try:
            with engine.begin() as connection:
                # What belongs to tickets first.
                for table in [*tables[2:], *reversed(tables[:2])]:
                    connection.execute(table.delete())
        finally:
            engine.dispose()

    def remove(self):
        """Remove all tables."""
        engine = sa.create_engine(self.uri)
        try:
            names = sa.inspect(engine).get_table_names()
            quote = engine.dialect.identifier_preparer.quote
            with engine.begin() as connection:
                if engine.dialect.name == "mysql":
                    connection.exec_driver_sql("SET foreign_key_checks = 0")
                for name in names:
                    if name.startswith(self.prefix):
                        cascade = " CASCADE" if engine.dialect.name == "postgresql" else ""
                        connection.exec_driver_sql(f"DROP TABLE {quote(name)}{cascade}")
        finally:
            engine.dispose()


@contextmanager
def database(kind, folder):
    """A `TestDatabase` of that kind, which is removed in the end."""
    if kind == "sqlite":
        yield TestDatabase(f"sqlite:///{folder / 'tickets.db'}")
        return
    found = TestDatabase(_SERVERS[kind]())
    try:
        yield found
    finally:
        found.remove()
