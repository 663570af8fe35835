"""A store that is opened when it is first asked."""

import os
import threading

import pytest

from sprockets.logbook import Logger
from sprockets.logbook.delivery import Retry
from sprockets.logbook.ticketing import TicketingHandler
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._deferred import DeferredBackend
from tests.logbook.ticketing.model import DictStore


class Door:
    """Makes stores, unless it is shut."""

    def __init__(self):
        self.is_open = False
        self.made = []

    def __call__(self, **options):
        if not self.is_open:
            raise ConnectionRefusedError("nobody there")
        store = DictStore(**options)
        self.made.append(store)
        return store


def test_it_is_opened_once_and_forwards_everything():
    """Also what it was asked before it could be."""
    door = Door()
    deferred = DeferredBackend(door, colour="red")

    with pytest.raises(ConnectionRefusedError):
        deferred.count_tickets()
    door.is_open = True

    assert deferred.count_tickets() == 0
    assert deferred.get_ticket(1) is None
    assert [store.options for store in door.made] == [{"colour": "red"}]


def test_every_method_of_a_store_is_forwarded():
    """None of them is the base's, which only says that it is missing."""
    own = {"setup_backend", "close"}
    for name in vars(BackendBase):
        if not name.startswith("_") and name not in own:
            assert getattr(DeferredBackend, name) is not getattr(BackendBase, name), name


def test_closing_closes_what_was_opened():
    """And nothing else."""
    door = Door()
    deferred = DeferredBackend(door)
    deferred.close()
    door.is_open = True
    deferred.count_tickets()
    closed = []
    door.made[0].close = lambda: closed.append(True)

    deferred.close()

    assert closed == [True]


def test_a_handler_starts_while_its_store_is_away_and_loses_nothing():
    """The log call knows nothing of it."""
    door = Door()
    handler = TicketingHandler(
        "dict://",
        backend=lambda **options: DeferredBackend(door, **options),
        retry=Retry(initial=0.01, maximum=0.01),
    )
    with handler:
        Logger("shop").error("before")
        door.is_open = True

    assert handler.flush(30)
    assert handler.close(30)
    assert [ticket.occurrence_count for ticket in door.made[0].get_tickets()] == [1]


def test_a_child_forked_while_the_store_is_being_opened_opens_its_own():
    """It does not wait for a thread that it does not have."""
    began, may_end = threading.Event(), threading.Event()
    parent = os.getpid()

    def make():
        if os.getpid() == parent:
            began.set()
            may_end.wait(60)
        return DictStore()

    deferred = DeferredBackend(make)
    thread = threading.Thread(target=deferred.count_tickets)
    thread.start()
    assert began.wait(60)
    pid = os.fork()
    if pid == 0:
        child = threading.Thread(target=deferred.count_tickets, daemon=True)
        child.start()
        child.join(30)
        os._exit(child.is_alive())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    may_end.set()
    thread.join()

    assert status == 0
