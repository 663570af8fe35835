"""`SQLAlchemyBackend` owes what every store owes, on each kind of database."""

import os

import pytest

from tests.logbook.ticketing.contract import StoreContract
from tests.logbook.ticketing.sql import database
from tests.logbook.ticketing.walking import walk

# Of fifty steps each.
WALKS = 20 if os.environ.get("SPROCKETS_SOAK") else 2


@pytest.fixture(name="server", params=["sqlite", "postgresql", "mariadb"], scope="module")
def _server(request, tmp_path_factory):
    with database(request.param, tmp_path_factory.mktemp("store")) as found:
        found.open().close()
        yield found


@pytest.fixture(name="database")
def _database(server):
    server.empty()
    return server


class TestSQLAlchemyBackend(StoreContract):
    """In a file, and in servers."""

    @pytest.fixture(name="make_store")
    def _make_store(self, database):
        return database.open


class TestInMemory(StoreContract):
    """In memory: one connection that all threads share."""

    @pytest.fixture(name="make_store")
    def _make_store(self):
        from sprockets.logbook.ticketing._sqlalchemy import SQLAlchemyBackend

        store = SQLAlchemyBackend(uri="sqlite://")
        return lambda: store


def test_the_store_does_what_the_model_does(database):
    """Through random steps, each of them compared."""
    walk(database.open_empty, walks=WALKS)
