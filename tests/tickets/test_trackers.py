"""Trackers are told of what people do on pages and through the interface for programs."""

import pytest

from sprockets.http.app import Application
from sprockets.logbook.ticketing._trackers import Filing
from sprockets.tickets._settings import Site
from sprockets.tickets.app import handlers, make_app
from tests.logbook.ticketing.trackers.doubles import FakeTracker
from tests.logbook.ticketing.trackers.github_server import GitHubServer
from tests.logbook.ticketing.trackers.gitlab_server import GitLabServer
from tests.tickets.driver import LIMIT, TOKENS, ids

TICKETS = "/api/v1/tickets"


class Hosted:
    """A tracker's contract server, as a table describes how it is asked."""

    def __init__(self, name):
        self.is_github = name == "github"
        self.server = GitHubServer() if self.is_github else GitLabServer()

    @property
    def table(self):
        if self.is_github:
            url = f"{self.server.url}/api/v3"
            return {"kind": "github", "repository": "o/r", "token": "s3cr3t", "url": url}
        url = self.server.url
        return {"kind": "gitlab", "project": "g/p", "token": "s3cr3t", "url": url}

    def states(self):
        """Return the state of each issue, and what was said of it last."""
        comments = "comments_" if self.is_github else "notes_"
        return [
            (one["state"] == "closed", (one[comments] or [""])[-1].partition("\n")[0])
            for one in self.server.issues
        ]


@pytest.fixture(name="hosted", params=["github", "gitlab"])
def _hosted(request):
    found = Hosted(request.param)
    yield found
    found.server.close()


@pytest.fixture(name="application")
def _application(store, hosted):
    """A frontend with a tracker, in which all tickets of the store are filed."""
    filing = Filing.of([hosted.table], store, min_level="WARNING")
    for ticket_id in ids(store):
        # As if somebody had opened it again: what makes an issue of what has none.
        filing.ticket_reopened(ticket_id)
        assert filing.flush(LIMIT)
    assert filing.close(LIMIT)
    assert len(hosted.server.issues) == 3
    return make_app(
        store=store, tokens=TOKENS, trackers=[hosted.table], url="https://tickets.example"
    )


@pytest.fixture(name="site")
def _site(application):
    return application.wildcard_router.rules[0].target_kwargs["site"]


@pytest.fixture(name="browser")
def _browser(serve, application, site):
    return serve(application).with_token()


def test_what_programs_do_is_told(browser, site, store, hosted):
    """Solve, reopen, many at once, merge, split, delete: each in the tracker, and its page linked."""
    first, second, third = ids(store)

    browser.json(f"{TICKETS}/{first}", "PATCH", data={"state": "solved"})
    assert site.filing.flush(LIMIT)
    assert hosted.states()[0] == (True, "The ticket is solved.")
    browser.json(f"{TICKETS}/{first}", "PATCH", data={"state": "new"})
    assert site.filing.flush(LIMIT)
    assert hosted.states()[0] == (False, "The ticket was reopened.")
    assert "https://tickets.example/tickets/" in str(hosted.server.issues[0])

    change = {"tickets": [first, second], "change": {"state": "solved"}}
    browser.json(f"{TICKETS}/bulk", "POST", data=change)
    assert site.filing.flush(LIMIT)
    assert [is_closed for is_closed, _ in hosted.states()] == [True, True, False]

    browser.json(f"{TICKETS}/{first}/merge", "POST", data={"tickets": [third]})
    assert site.filing.flush(LIMIT)
    assert hosted.states()[2] == (True, "The ticket was merged into another one.")

    browser.json(f"{TICKETS}/{second}", "PATCH", data={"state": "new"})
    assert browser.fetch(f"{TICKETS}/{second}", "DELETE").code == 204
    assert site.filing.flush(LIMIT)
    assert hosted.states()[1] == (True, "The ticket was deleted.")

    (issue,) = browser.json(f"{TICKETS}/{first}")["issues"]
    assert issue["url"].endswith("/issues/1")
    assert issue["is_open"] is False


def test_what_people_do_on_pages_is_told(serve, application, site, store, hosted):
    """The same of forms; and the page of the ticket says where its issue is."""
    browser = serve(application)
    browser.cookies["tickets_session"] = session_of(browser)
    key = ids(store)[0]
    page = browser.fetch(f"/tickets/{key}").body.decode()
    xsrf = page.partition('name="_xsrf" value="')[2].partition('"')[0]

    done = browser.fetch(f"/tickets/{key}/solve", "POST", form={"_xsrf": xsrf})

    assert done.code == 303
    assert site.filing.flush(LIMIT)
    assert hosted.states()[0] == (True, "The ticket is solved.")
    page = browser.fetch(f"/tickets/{key}").body.decode()
    assert f'href="{store.get_issues(key)[0].url}"' in page


def session_of(browser):
    answer = browser.fetch("/login", "POST", form={"token": "spt_writer"})
    assert answer.code == 303
    return browser.cookies["tickets_session"]


def test_a_request_never_waits_for_a_tracker(browser, site, store, hosted):
    """The tracker answers a byte at a time, for ever; whoever asks is answered at once."""
    hosted.server.fault("PATCH" if hosted.is_github else "PUT", "drip")
    site.filing.trackers[0]._caller.timeout = 1.0
    key = ids(store)[0]

    browser.json(f"{TICKETS}/{key}", "PATCH", data={"state": "solved"})

    # The tracker is still at it.
    assert hosted.states()[0][0] is False
    assert site.filing.flush(LIMIT)
    assert hosted.states()[0][0] is True


def test_what_the_tracker_refuses_stands_in_the_history(browser, site, store, hosted):
    """Where whoever did it looks."""
    method = "PATCH" if hosted.is_github else "PUT"
    hosted.server.fault(method, (403, {}, {"message": "Must have admin rights"}))
    key = ids(store)[0]

    browser.json(f"{TICKETS}/{key}", "PATCH", data={"state": "solved"})

    assert site.filing.flush(LIMIT)
    newest = browser.json(f"{TICKETS}/{key}/history")["history"][0]
    assert newest["action"] == "refused"
    assert "Must have admin rights" in newest["text"]
    assert site.filing.statistics()[newest["facts"]["tracker"]]["refused"] == {
        "UnauthorisedError": 1
    }
    assert "A tracker was not told" in browser.fetch(f"/tickets/{key}").body.decode()


def test_a_filing_that_is_given_stays(serve, store):
    """Whoever made it closes it."""
    tracker = FakeTracker()
    filing = Filing(store, [tracker])
    site = Site(store, tokens=TOKENS, trackers=filing)

    site.close()

    assert site.filing is filing
    assert tracker.is_open
    assert filing.close(LIMIT)


def test_a_filing_of_its_own_is_closed_with_the_site(store):
    """After what was to be told is told."""
    tracker = FakeTracker()
    site = Site(store, tokens=TOKENS, trackers=[tracker])
    site.filing.ticket_reopened(ids(store)[2])

    site.close()

    assert tracker.count("create") == 1
    assert not tracker.is_open


def test_without_trackers_the_store_is_what_was_given(store):
    """Nothing in between."""
    site = Site(store, tokens=TOKENS)

    assert site.store is store
    assert site.filing is None
    site.close()


def test_what_was_done_elsewhere_is_looked_for(serve, store):
    """From the start on, and every minute."""
    tracker = FakeTracker()
    filing = Filing(store, [tracker], cool_down=0.0)
    looks = []
    filing.look = lambda: looks.append(True)
    application = make_app(store=store, tokens=TOKENS, trackers=filing)

    serve(application).with_token().json("/api/v1/me")

    assert len(looks) == 1
    assert application.wildcard_router.rules[0].target_kwargs["site"]._looking.is_running()
    assert filing.close(LIMIT)


def test_an_application_of_ones_own_looks_as_well(serve, store):
    """From the first request on, for before that the frontend does not know where it is."""
    filing = Filing(store, [FakeTracker()], cool_down=0.0)
    looks = []
    filing.look = lambda: looks.append(True)
    application = Application(handlers("/ops", store=store, tokens=TOKENS, trackers=filing))
    browser = serve(application).with_token()

    before = len(looks)
    for _ in range(2):
        browser.json("/ops/api/v1/me")

    assert (before, len(looks)) == (0, 1)
    assert filing.close(LIMIT)
