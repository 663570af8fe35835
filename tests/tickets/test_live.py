"""Live updates: one look at the store for all, an event for each who watches, an end in time."""

import asyncio
import json
import threading

import pytest
from tornado.httpclient import HTTPRequest

from sprockets.tickets._live import Live
from sprockets.tickets.app import make_app
from tests.logbook.ticketing.contract import make_entry
from tests.tickets.driver import LIMIT, READER, TOKENS, ids

EVENTS = "/api/v1/events"


@pytest.fixture(name="application")
def _application(store):
    return make_app(store=store, tokens=TOKENS)


@pytest.fixture(name="live")
def _live(application):
    """The part that looks, in a hurry."""
    found = application.wildcard_router.rules[0].target_kwargs["site"].shared(Live)
    found.interval = found.tick = 0.005
    return found


@pytest.fixture(name="browser")
def _browser(serve, application, live):
    return serve(application).with_token(READER)


class Watcher:
    """A client that keeps what it is sent."""

    def __init__(self, browser, **headers):
        self.loop = browser.served.loop
        self.text = ""
        request = HTTPRequest(
            f"http://127.0.0.1:{browser.port}{EVENTS}",
            headers={**browser.headers, **headers},
            streaming_callback=self.take,
            request_timeout=LIMIT,
        )
        self.answer = browser.served.client.fetch(request, raise_error=False)

    def take(self, chunk):
        self.text += chunk.decode()

    def events(self):
        """Return names and data of all events so far."""
        found = []
        for block in self.text.split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.splitlines())
            if "event" in fields:
                data = json.loads(fields["data"])
                assert fields["id"] == data["mark"]
                found.append((fields["event"], data["mark"]))
        return found

    def wait(self, condition):
        """Return as soon as that is so."""

        async def wait():
            while not condition():
                assert not self.answer.done(), self.answer
                await asyncio.sleep(0.002)

        self.loop.run_sync(wait, timeout=LIMIT)

    def wait_events(self, number):
        self.wait(lambda: len(self.events()) >= number)
        return self.events()

    def wait_end(self):
        async def wait():
            return await self.answer

        return self.loop.run_sync(wait, timeout=LIMIT)


def test_a_change_is_told(browser, store):
    """How things stand at first, then every change; both with a mark of their own."""
    watcher = Watcher(browser)
    first = watcher.wait_events(1)
    assert first == [("mark", store.get_mark())]

    store.solve_ticket(ids(store)[0])
    second = watcher.wait_events(2)
    store.record_entries([make_entry("new")])
    third = watcher.wait_events(3)

    assert [name for name, _ in third] == ["mark", "change", "change"]
    assert third[-1][1] == store.get_mark()
    assert second[1] != first[0]


def test_it_is_a_stream_of_events(browser):
    """Of that type, not kept by caches, and not held back by proxies."""
    watcher = Watcher(browser)
    watcher.wait_events(1)
    assert watcher.text.startswith("retry: 3000\n\n")
    browser.served.application.wildcard_router.rules[0].target_kwargs["site"].shared(Live).stop()

    headers = watcher.wait_end().headers

    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"


def test_who_comes_back_is_told_what_changed_meanwhile(browser, store):
    """If anything did."""
    old = store.get_mark()
    store.solve_ticket(ids(store)[0])
    late = Watcher(browser, **{"Last-Event-ID": old})
    assert late.wait_events(1) == [("change", store.get_mark())]

    current = Watcher(browser, **{"Last-Event-ID": store.get_mark()})
    store.reopen_ticket(ids(store)[0])

    assert current.wait_events(1) == [("change", store.get_mark())]


def test_the_store_is_asked_once_for_all(browser, store, live):
    """However many watch; and not at all when nobody does."""
    live.interval = 3600.0
    watchers = [Watcher(browser) for _ in range(20)]
    for watcher in watchers:
        watcher.wait_events(1)

    assert live.looks == 1
    assert len(live.watchers) == 20
    live.stop()
    for watcher in watchers:
        watcher.wait_end()
    assert not live.watchers
    browser.served.loop.run_sync(lambda: asyncio.wait([live._task], timeout=LIMIT))
    assert live._task.done()


def test_who_has_gone_is_forgotten(browser, live):
    """A closed window costs nothing."""
    watcher = Watcher(browser)
    watcher.wait_events(1)
    assert len(live.watchers) == 1

    reader_end(browser, watcher)

    async def wait():
        while live.watchers:
            await asyncio.sleep(0.002)

    browser.served.loop.run_sync(wait, timeout=LIMIT)


def reader_end(browser, watcher):
    """Have the server see the connection of *watcher* closed."""
    exchange = next(iter(browser.served.application.activity.exchanges))
    exchange.stream.close()


def test_there_is_a_bound(browser, live):
    """Who comes too late is told to come again."""
    live.max_clients = 2
    for _ in range(2):
        Watcher(browser).wait_events(1)

    answer = browser.fetch(EVENTS)

    assert answer.code == 503
    assert len(live.watchers) == 2


def test_silence_is_broken(browser, live):
    """So that proxies keep the connection, and the server notices who has gone."""
    live.heartbeat = 0.01

    watcher = Watcher(browser)

    watcher.wait(lambda: watcher.text.count(": still here\n\n") >= 3)
    assert len(watcher.events()) == 1


def test_who_watches_is_let_in_anew_now_and_then(browser, live):
    """The stream ends; a browser comes again by itself, and is asked who it is."""
    live.heartbeat = live.max_age = 0.01

    answer = Watcher(browser).wait_end()

    assert answer.code == 200


def test_a_store_that_fails_is_tried_again(browser, store, live):
    """Failures are counted, and told to nobody as changes."""
    real = store.get_mark
    failed = threading.Event()

    def fail():
        if live.failures >= 2:
            store.get_mark = real
            failed.set()
        raise OSError("gone")

    store.get_mark = fail

    watcher = Watcher(browser)

    assert watcher.wait_events(1) == [("mark", real())]
    assert failed.is_set()
    assert live.failures == 0


def test_streams_end_when_the_service_stops(browser, live):
    """At once: nobody waits for somebody who only watches."""
    live.heartbeat = 3600.0
    watcher = Watcher(browser)
    watcher.wait_events(1)

    browser.served.server.activity.is_draining = True
    watcher.wait_end()

    assert live.is_over
    assert browser.fetch(EVENTS).code == 503


def test_nobody_watches_who_is_not_let_in(browser):
    """As everywhere."""
    assert browser.another().fetch(EVENTS, headers={"Accept": "text/event-stream"}).code == 401


def test_a_client_that_does_not_read_is_cut_off(browser, store, live):
    """What it does not take would be kept for it."""
    import socket

    live.heartbeat = 0.05
    marks = iter(range(10**9))
    store.get_mark = lambda: f"{next(marks)}-" + "x" * 200_000
    with socket.create_connection(("127.0.0.1", browser.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(
            f"GET {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {READER}\r\n\r\n".encode()
        )

        async def wait():
            while not live.watchers:
                await asyncio.sleep(0.002)
            while live.watchers:
                await asyncio.sleep(0.002)

        browser.served.loop.run_sync(wait, timeout=LIMIT)
