"""The application as a whole: nobody is answered who is not let in, and what every answer has."""

import re
import threading

import pytest
from tornado import web

from sprockets.http.app import Application
from sprockets.http.context import current_request_id
from sprockets.tickets import app as tickets_app
from sprockets.tickets._base import TicketsHandler
from sprockets.tickets._settings import Site, check_base_path, open_store
from tests.tickets.driver import TOKENS, WRITER, ids

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OPEN = {"LoginHandler", "OpenIDHandler", "AssetHandler", "ThemeHandler"}
"""Who answers everybody: the way in, and what our pages look like."""


def make_app(store, **options):
    options.setdefault("tokens", TOKENS)
    return tickets_app.make_app(store=store, **options)


def example_of(pattern, store):
    """Return a path that *pattern* is for."""
    ticket_id = str(ids(store)[0])
    path = pattern.removesuffix("$").replace("/?", "/").replace(".*", "x").replace(".+", "x")
    path = re.sub(r"\(\?:(\w+)(?:\|\w+)*\)", r"\1", path)  # the first of some words
    path = re.sub(r"\((\w+)(?:\|\w+)+\)", r"\1", path)
    path = re.sub(r"\([^()]*\)", ticket_id, path)
    path = path.replace("\\", "")
    assert re.fullmatch(pattern, path), f"no example for {pattern}"
    return path


def routes_of(store, **options):
    site = Site(store, tokens=TOKENS, **options)
    found = tickets_app.routes(site)
    site.close()
    return found


@pytest.mark.parametrize("base_path", ["", "/ops/tickets"])
def test_nothing_is_answered_without_authorisation(serve, store, base_path):
    """Every route, whatever the method, refuses who is not let in, and changes nothing."""
    browser = serve(make_app(store, base_path=base_path))
    mark = store.get_mark()
    asked = 0
    for pattern, handler, _ in routes_of(store, base_path=base_path):
        if handler.__name__ in OPEN:
            continue
        path = example_of(pattern, store)
        for method in METHODS:
            for headers in (
                {},
                {"Accept": "text/html"},
                {"Authorization": "Bearer spt_unknown"},
                {"Authorization": f"Basic {WRITER}"},
                {"Cookie": "tickets_session=forged"},
            ):
                answer = browser.fetch(path, method, headers=headers)
                asked += 1

                assert answer.code in (401, 303), (method, path, answer.code)
                if answer.code == 303:
                    assert answer.headers["Location"].startswith(f"{base_path}/login?next=")
                assert b"title of" not in answer.body
    assert asked > 100
    assert store.get_mark() == mark


def test_all_handlers_have_the_base_that_refuses(store):
    """No route leads past the authentication."""
    for pattern, handler, options in routes_of(store):
        assert issubclass(handler, TicketsHandler), pattern
        if handler.__name__ not in OPEN:
            assert handler.needs_user, pattern
            prepare = handler.prepare
            assert prepare is TicketsHandler.prepare or "super().prepare()" in source_of(prepare)
        assert "site" in options


def source_of(function):
    import inspect

    return inspect.getsource(function)


@pytest.mark.parametrize(
    "path", ["/api/v1/tickets", "/login", "/api/v1/nothing", "/api/v1/tickets/0"]
)
def test_every_answer_has_the_headers_of_security(serve, store, path):
    """Policy, referrer, sniffing, frames, opener and cache, on errors as well."""
    browser = serve(make_app(store)).with_token()
    answer = browser.fetch(path)

    if path == "/api/v1/nothing":
        assert answer.code == 404
        return
    headers = answer.headers
    assert headers["Referrer-Policy"] == ("same-origin" if path == "/login" else "no-referrer")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert re.fullmatch(r"'self' 'nonce-[\w-]{22}'", policy["script-src"])
    assert "unsafe" not in headers["Content-Security-Policy"]


def test_every_answer_has_a_nonce_of_its_own(serve, store):
    """What a page was allowed is of no use for the next one."""
    browser = serve(make_app(store))
    nonces = set()
    for _ in range(5):
        answer = browser.fetch("/login")
        nonce = re.search(r"'nonce-([\w-]+)'", answer.headers["Content-Security-Policy"])[1]
        assert "<style>" not in answer.body.decode()
        nonces.add(nonce)

    assert len(nonces) == 5


def test_it_is_mounted_beside_other_handlers(serve, store):
    """Routes under a path of their own; the application's others are left alone."""

    class Root(web.RequestHandler):
        def get(self):
            self.write("shop")

    routes = tickets_app.handlers("/tickets/", store=store, tokens=TOKENS)
    application = Application([("/", Root), *routes], xsrf_cookies=True)
    browser = serve(application)

    assert browser.fetch("/").body == b"shop"
    assert browser.fetch("/api/v1/tickets").code == 404
    assert browser.fetch("/tickets/api/v1/tickets").code == 401
    found = browser.with_token().json("/tickets/api/v1/tickets?limit=1")
    assert found["total"] == 3
    assert found["links"]["next"] == "/tickets/api/v1/tickets?limit=1&offset=1"
    # The application's own way with forms does not stop programs.
    path = f"/tickets/api/v1/tickets/{ids(store)[0]}"
    changed = browser.with_token().json(path, "PATCH", data={"state": "solved"})
    assert changed["state"] == "solved"


def test_a_body_that_is_too_long_is_refused_there_too(serve, store):
    """Whatever the application around it takes."""
    routes = tickets_app.handlers("/t", store=store, tokens=TOKENS)
    browser = serve(Application(routes)).with_token()

    path = f"/t/api/v1/tickets/{ids(store)[0]}/comments"

    assert browser.fetch(path, "POST", data={"text": "x" * 2_000_000}).code == 413


def test_an_application_of_tornado_will_do(serve, store):
    """Mounted where nobody knows of callbacks."""
    application = web.Application(tickets_app.handlers("/t", store=store, tokens=TOKENS))
    browser = serve(application)

    assert browser.with_token().json("/t/api/v1/me")["name"] == "robot"


def test_the_store_in_trouble_is_said_in_so_many_words(serve, store):
    """A database that is down is 503 for clients, with a time to come again."""

    class OperationalError(Exception):
        pass

    def fail(*args):
        raise OperationalError("password=secret")

    browser = serve(make_app(store)).with_token()
    store.get_tickets = fail

    answer = browser.fetch("/api/v1/tickets", headers={"Accept": "application/problem+json"})

    assert answer.code == 503
    assert answer.headers["Retry-After"] == "5"
    assert b"cannot be reached" in answer.body
    assert b"secret" not in answer.body


def test_an_unexpected_error_says_nothing_of_itself(serve, store):
    """A fault of ours is 500, and its text stays in the log."""

    def fail(*args):
        raise ZeroDivisionError("secret")

    browser = serve(make_app(store)).with_token()
    store.get_tickets = fail

    answer = browser.fetch("/api/v1/tickets")

    assert answer.code == 500
    assert b"secret" not in answer.body
    assert answer.headers["X-Request-Id"].encode() in answer.body


def test_threads_and_store_are_let_go_at_the_end(loop, store):
    """A store that the application opened is closed with it; one it was given is not."""
    from tests.tickets.driver import Served

    closed = []
    store.close = lambda: closed.append(True)
    served = Served(loop, make_app(store))
    site = served.application.wildcard_router.rules[0].target_kwargs["site"]
    served.browser().with_token().json("/api/v1/me")
    site._owns_store = True

    served.close()

    assert closed == [True]
    with pytest.raises(RuntimeError, match="shutdown"):
        site._pool.submit(print)


def test_a_store_is_asked_in_a_thread_that_knows_the_request(serve, store):
    """What it logs has the id of the request; the loop is not held up by it."""
    seen = []

    def get_values(field, limit=100):
        seen.append((threading.current_thread().name, current_request_id()))
        return []

    store.get_values = get_values
    answer = serve(make_app(store)).with_token().fetch("/api/v1/values/channel")

    ((name, request_id),) = seen
    assert name.startswith("tickets_")
    assert request_id == answer.headers["X-Request-Id"]


@pytest.mark.parametrize("path", ["tickets", "//evil", "/a b", "/a?b", "/a%2f", "/käse"])
def test_a_path_that_cannot_be_mounted_is_refused(path):
    """Plain characters behind one slash."""
    with pytest.raises(ValueError, match="expected a path"):
        check_base_path(path)


def test_what_is_no_url_of_a_store_is_refused():
    """A file name without a scheme."""
    with pytest.raises(ValueError, match="as in sqlite:///tickets.db"):
        open_store("tickets.db")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"secret": "short"}, "16 characters"),
        ({"url": "example.org"}, "expected a URL"),
        ({"base_path": "tickets"}, "expected a path"),
    ],
)
def test_settings_that_make_no_sense_are_refused(store, options, text):
    """Said when the application is made, not at the first request."""
    with pytest.raises(ValueError, match=text):
        make_app(store, **options)


def test_a_store_that_is_away_keeps_no_service_from_starting(serve, tmp_path):
    """It answers once the store does, and lets nobody in before that."""
    url = f"sqlite:///{tmp_path}/later/tickets.sqlite"
    browser = serve(tickets_app.make_app(store=url))
    assert browser.fetch("/api/v1/tickets").code == 500

    (tmp_path / "later").mkdir()

    assert browser.fetch("/api/v1/tickets").code == 200


def test_a_token_in_a_store_that_is_opened_late_ends_free_access(serve, tmp_path):
    """As it does in one that is there at once."""
    url = f"sqlite:///{tmp_path}/tickets.sqlite"
    store = open_store(url)
    store.add_token("0" * 64, "somebody", ["read"])
    store.close()

    assert serve(tickets_app.make_app(store=url)).fetch("/api/v1/tickets").code == 401
