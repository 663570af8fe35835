"""Errors of a service as tickets: ``tickets`` in the settings."""

import contextlib
import json
from pathlib import Path

from tornado import web

from sprockets.eliot import start_action
from sprockets.http import _request_context
from sprockets.http._logging import LogSetup
from sprockets.http._settings import resolve
from sprockets.http._tickets import tickets_of
from sprockets.http.app import Application
from sprockets.http.mixins import ErrorLogger, ErrorWriter
from sprockets.http.testing import SprocketsHttpTestCase
from sprockets.logbook import Logger, NullHandler, TestHandler
from sprockets.logbook.ticketing import SQLAlchemyBackend

log = Logger("shop")


_BROKE = ValueError("the till broke")


class Failing(ErrorLogger, ErrorWriter, web.RequestHandler):
    """Fails in many ways."""

    def get(self, how):
        """Log, and fail."""
        log.info("trying {}", how)
        if how == "unexpected":
            raise LookupError("no such thing")
        if how == "status":
            raise web.HTTPError(502, reason="Bank Down")
        if how == "logged":
            log.error("a word of warning")
        if how == "refused":
            raise web.HTTPError(400)
        if how in ("acting", "translated"):
            with start_action(action_type="shop:sell"), start_action(action_type="shop:pay"):
                raise self.translated(LookupError("no till")) if how == "translated" else _BROKE
        if how == "caught":
            with (
                contextlib.suppress(LookupError),
                start_action(action_type="shop:sell"),
                start_action(action_type="shop:pay"),
            ):
                raise LookupError("no change")

    @staticmethod
    def translated(error):
        """Return another exception that *error* led to."""
        other = web.HTTPError(503, reason="Till Broke")
        other.__cause__ = error
        return other


class Consuming(Failing):
    """Lets nobody else see the records of its requests."""

    @classmethod
    def request_setup(cls):
        """Swallow them all."""
        return TestHandler()


class Plain(web.RequestHandler):
    """Knows nothing of mixins."""

    def get(self):
        """Fail."""
        raise LookupError("plain")


class CountingTest(SprocketsHttpTestCase):
    """A service whose errors are counted."""

    def setUp(self):
        import tempfile

        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.url = f"sqlite:///{folder.name}/tickets.sqlite"
        options, settings = resolve(
            {"tickets": self.url, "service": "shop", "version": "1.2", "environment": "test"}, {}
        )
        logs = LogSetup(NullHandler(), tickets=tickets_of(options, settings, {}))
        logs.bind_in_parent()
        self.addCleanup(logs.unbind)
        logs.bind_in_worker()
        self.logs = logs
        super().setUp()

    def get_app(self):
        """Return what fails."""
        self.app = Application(
            [(r"/plain", Plain), (r"/consuming/(\w+)", Consuming), (r"/(\w+)", Failing)]
        )
        return self.app

    def counted(self):
        """Return title and count of each ticket, and the store."""
        self.logs._tickets.handler.flush(30)
        store = SQLAlchemyBackend(uri=self.url)
        self.addCleanup(store.close)
        tickets = store.get_tickets("ticket_id")
        return [(each.status.title, each.occurrence_count) for each in tickets], store

    def test_each_failure_is_counted_once(self):
        """Whoever else tells of it."""
        for path in ("/unexpected", "/unexpected", "/status", "/logged", "/refused", "/plain"):
            self.fetch(path)

        titles, store = self.counted()

        assert dict(titles) == {
            "LookupError: no such thing": 2,
            "HTTPError: HTTP 502: Bank Down": 1,
            "a word of warning": 1,
            "LookupError: plain": 1,
        }
        assert len(titles) == 4
        (ticket,) = [each for each in store.get_tickets() if each.occurrence_count == 2]
        assert (ticket.app_id, ticket.status.first_release) == ("shop", "1.2")
        assert ticket.last_occurrence.details.environment == "test"

    def test_a_failure_that_leaves_actions_is_counted_once(self):
        """By the record that knows most: that of the request."""
        for path in ("/acting", "/translated"):
            self.fetch(path)

        titles, store = self.counted()

        assert sorted(titles) == [
            ("HTTPError: HTTP 503: Till Broke", 1),
            ("ValueError: the till broke", 1),
        ]
        assert {ticket.channel for ticket in store.get_tickets()} == {"Failing"}

    def test_a_failure_that_never_leaves_the_request_is_counted_by_its_innermost_action(self):
        """Nobody else tells of it; what led up to it goes along."""
        document = self.fetch("/caught")

        titles, store = self.counted()

        assert document.code == 200
        assert titles == [("LookupError: no change", 1)]
        (ticket,) = store.get_tickets()
        assert ticket.last_occurrence.extra["action_type"] == "shop:pay"
        assert json.loads(ticket.last_occurrence.details.leading)[0]["message"] == "trying caught"

    def test_the_request_is_known_and_what_led_to_it(self):
        """By the id that the document has."""
        document = json.loads(self.fetch("/unexpected").body)

        _, store = self.counted()

        (found,) = store.find_occurrences(request_id=document["request_id"])
        leading = json.loads(found.details.leading)
        assert leading[0]["message"] == "trying unexpected"

    def test_its_place_is_where_it_was_raised(self):
        """Not where the library logged it; what was logged by hand is where that was."""
        self.fetch("/unexpected")
        self.fetch("/logged")

        _, store = self.counted()

        lines = Path(__file__).read_text("utf-8").splitlines()
        for ticket, expected in zip(
            store.get_tickets("ticket_id"),
            ('raise LookupError("no such thing")', 'log.error("a word of warning")'),
            strict=True,
        ):
            filename, _, lineno = ticket.location.rpartition(":")
            assert Path(filename) == Path(__file__)
            assert lines[int(lineno) - 1].strip() == expected
            assert ticket.module == __name__

    def test_handlers_of_a_class_hide_nothing(self):
        """Although they consume their records."""
        self.fetch("/consuming/unexpected")
        self.fetch("/consuming/logged")

        titles, _ = self.counted()

        assert sorted(titles) == [("LookupError: no such thing", 1), ("a word of warning", 1)]


def test_it_is_off_unless_asked_for():
    """And then nothing is imported for it."""
    options, settings = resolve({}, {})

    assert tickets_of(options, settings, {}) is None


def test_a_store_that_is_away_stops_nobody(tmp_path):
    """It is opened behind the service's back."""
    options, settings = resolve({"tickets": f"sqlite:///{tmp_path}/missing/tickets.sqlite"}, {})
    logs = LogSetup(None, tickets=tickets_of(options, settings, {"SERVICE": "shop"}))

    logs.bind_in_worker()
    handler = logs._tickets.handler
    log.error("nobody counts it")
    (tmp_path / "missing").mkdir()
    assert handler.flush(60)
    logs.unbind()

    assert handler.statistics()["delivered"] == 1
    assert _request_context._on_top is None
