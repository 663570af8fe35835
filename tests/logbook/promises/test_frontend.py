"""What the roadmap promised of a web frontend, as far as it concerns records."""

import asyncio
import re

import pytest
from tornado.ioloop import IOLoop

from sprockets.logbook import LogRecord, dispatch_record
from sprockets.logbook.ticketing import TicketingHandler
from sprockets.tickets import app as tickets_app
from tests.tickets.driver import TOKENS, Served

pytest.importorskip("sqlalchemy")

EVIL = "<script>alert('x')</script>\"><img src=x>{{ 7 * 7 }}"


@pytest.fixture(name="serve")
def _serve():
    """Serve an application, and return a browser that is let in."""
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    served = []

    def serve(application):
        served.append(Served(loop, application))
        return served[-1].browser().with_token()

    yield serve
    for each in served:
        each.close()
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@pytest.mark.rule("P-R3", "Q-3")
def test_records_that_came_from_elsewhere_are_shown_and_harm_nobody(serve, tmp_path):
    """Restored from a dictionary with hardly anything in it, or with somebody's markup in all."""
    url = f"sqlite:///{tmp_path / 'tickets.db'}"
    with TicketingHandler(url) as handler:
        dispatch_record(LogRecord.from_dict({"level": 13, "msg": "hardly anything"}))
        dispatch_record(
            LogRecord.from_dict(
                {
                    "level": 14,
                    "msg": EVIL,
                    "channel": EVIL,
                    "filename": EVIL,
                    "lineno": 1,
                    "func_name": EVIL,
                    "module": EVIL,
                    "thread_name": EVIL,
                    "exception_name": EVIL,
                    "formatted_exception": EVIL,
                    "extra": {EVIL: EVIL},
                    "time": "2026-11-21T00:00:00Z",
                }
            )
        )
        handler.close()
    browser = serve(tickets_app.make_app(store=url, tokens=TOKENS))

    pages = [browser.fetch("/", headers={"Accept": "text/html"})]
    links = set(re.findall(rb'href="(/[^"]*?\d+)"', pages[0].body))
    for link in sorted(links):
        pages.append(browser.fetch(link.decode(), headers={"Accept": "text/html"}))

    assert len(pages) >= 3
    text = b"\n".join(page.body for page in pages)
    assert {page.code for page in pages} == {200}
    assert b"hardly anything" in text
    assert b"alert(" in text
    assert b"<script>alert" not in text
    assert b"<img src=x>" not in text
    assert b">49<" not in text
