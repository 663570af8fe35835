"""What the tests of the pages share: a month of a shop in SQLite, served beside the test."""

import shutil
from datetime import UTC, datetime

import pytest


@pytest.fixture(name="shop", scope="session")
def _shop(tmp_path_factory):
    """Path of a database with a month of tickets, and their ids by name; to be copied."""
    from sprockets.logbook.ticketing import SQLAlchemyBackend
    from tests.tickets.pages import seeding

    path = tmp_path_factory.mktemp("shop") / "tickets.db"
    store = SQLAlchemyBackend(uri=f"sqlite:///{path}")
    try:
        now = datetime.now(UTC).replace(tzinfo=None)
        tickets = seeding.seed(store, now)
        seeding.live(store, tickets)
        (entry,) = seeding.entries_of(seeding.mail_bounces)
        store.record_entries([seeding.at(entry, now, "mail-again")])
    finally:
        store.close()
    return path, tickets


@pytest.fixture(name="seeded")
def _seeded(shop, tmp_path):
    """A store with a month of tickets, of the test's own."""
    from sprockets.logbook.ticketing import SQLAlchemyBackend

    path, tickets = shop
    copy = tmp_path / "tickets.db"
    for suffix in ("", "-wal", "-shm"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            shutil.copy(source, copy.with_name(copy.name + suffix))
    store = SQLAlchemyBackend(uri=f"sqlite:///{copy}")
    store.of = tickets
    yield store
    store.close()


@pytest.fixture(name="empty")
def _empty(tmp_path):
    """A store with nothing in it."""
    from sprockets.logbook.ticketing import SQLAlchemyBackend

    store = SQLAlchemyBackend(uri=f"sqlite:///{tmp_path}/empty.db")
    yield store
    store.close()


@pytest.fixture(name="visit")
def _visit():
    """Serve a store, and return what visits its pages."""
    from tests.tickets.pages.serving import Served

    served = []

    def visit(store, **options):
        options.setdefault("user", lambda request: "ann")
        served.append(Served(store, **options))
        return served[-1].visitor()

    yield visit
    for each in served:
        each.close()


@pytest.fixture(name="driver", scope="session")
def _driver(tmp_path_factory):
    """A browser; all tests share it, because to start one takes long."""
    from tests.tickets.pages import chromium

    driver = chromium.start(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()


@pytest.fixture(name="check")
def _check(driver, request):
    """Return what is wrong with the page that the browser shows, at all widths, in all colours."""
    from tests.tickets.pages import chromium

    axe = chromium.find_axe(request.config.cache.mkdir("axe-core"))
    checker = chromium.Checker(driver, axe)
    yield checker.find
    checker.close()
