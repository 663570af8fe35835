"""What the tests of the frontend share: a loop, a server on it, a store with some tickets."""

import asyncio
import sys
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    # Last: what is tested is what is installed.
    sys.path.append(ROOT)


@pytest.fixture(name="loop")
def _loop():
    """A loop of the test's own."""
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    yield loop
    tasks = asyncio.all_tasks(loop.asyncio_loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.asyncio_loop.run_until_complete(asyncio.wait(tasks, timeout=30))
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@pytest.fixture(name="serve")
def _serve(loop):
    """Serve an application, and return a browser that visits it."""
    from tests.tickets.driver import Served

    served = []

    def serve(application, **options):
        served.append(Served(loop, application, **options))
        return served[-1].browser()

    yield serve
    for each in served:
        each.close()


@pytest.fixture(name="store")
def _store():
    """A store in memory with three tickets; the first two are warnings, the last an error."""
    from tests.tickets.driver import make_store

    store = make_store()
    yield store
    store.close()
