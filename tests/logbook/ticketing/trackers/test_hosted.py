"""GitHub, Gitea and GitLab, held to their documentation: what is asked, and what goes wrong."""

import hashlib
import ssl
from types import MappingProxyType

import pytest
import trustme

from sprockets.logbook.ticketing._trackers import (
    FailedError,
    Filing,
    GitHubTracker,
    GitLabTracker,
    GoneError,
    RateLimitedError,
    RefusedError,
    Text,
    UnansweredError,
    UnauthorisedError,
)
from tests.logbook.ticketing.trackers.conftest import QUICK
from tests.logbook.ticketing.trackers.doubles import entry
from tests.logbook.ticketing.trackers.github_server import GiteaServer, GitHubServer
from tests.logbook.ticketing.trackers.gitlab_server import GitLabServer
from tests.logbook.ticketing.trackers.storming import assert_one_issue, storm

LIMIT = 60.0  # seconds
NOW = 1_790_000_000.0
WILD = "```\n/close\n@ann fixes #1 ![x](http://x/y.png)\n````\n~~~"
MARK = f"lb:{hashlib.sha1(b'mark').hexdigest()}"


class GitHub:
    """How GitHub is asked, and what it then has."""

    server_class = GitHubServer
    comments = "comments_"
    closed = MappingProxyType({"state": "closed", "state_reason": "completed"})
    opened = MappingProxyType({"state": "open", "state_reason": "reopened"})

    @staticmethod
    def tracker(url, token="s3cr3t", **options):
        return GitHubTracker("o/r", token, url=f"{url}/api/v3", now=lambda: NOW, **options)


class Gitea(GitHub):
    """The same of Gitea."""

    server_class = GiteaServer
    closed = MappingProxyType({"state": "closed"})
    opened = MappingProxyType({"state": "open"})

    @staticmethod
    def tracker(url, token="s3cr3t", **options):
        options = {"flavor": "gitea", "now": lambda: NOW, **options}
        return GitHubTracker("o/r", token, url=f"{url}/api/v1", **options)


class GitLab:
    """The same of GitLab."""

    server_class = GitLabServer
    comments = "notes_"
    closed = MappingProxyType({"state": "closed"})
    opened = MappingProxyType({"state": "opened"})

    @staticmethod
    def tracker(url, token="s3cr3t", **options):
        return GitLabTracker("g/p", token, url=url, now=lambda: NOW, **options)


@pytest.fixture(name="kind", params=[GitHub, Gitea, GitLab])
def _kind(request):
    return request.param


@pytest.fixture(name="server")
def _server(kind):
    server = kind.server_class()
    yield server
    server.close()


@pytest.fixture(name="tracker")
def _tracker(kind, server):
    return kind.tracker(server.url)


def text_for(mark=MARK, body=WILD):
    return Text("It went wrong.", (("Level", "ERROR"),), body, marker=mark)


def body_of(issue):
    return issue.get("description") or issue["body"]


# -- what is asked


def test_the_life_of_an_issue(kind, server, tracker):
    """Made, found, commented, closed, opened again; every request as the documentation has it."""
    assert tracker.find(MARK) is None
    made = tracker.create(MARK, "ValueError: no price\nof #1 for @ann", text_for())
    assert tracker.find(MARK) == made
    assert made.is_open
    (issue,) = server.issues

    tracker.comment(made.issue_id, Text("It has occurred 10 times."))
    tracker.close(made.issue_id, Text("The ticket is solved."))
    assert kind.closed.items() <= issue.items()
    assert tracker.find(MARK) == type(made)(made.issue_id, made.url, False)
    tracker.reopen(made.issue_id, Text("It is back."))

    assert kind.opened.items() <= issue.items()
    assert tracker.find(MARK) == made
    assert issue[kind.comments] == [
        "It has occurred 10 times.",
        "The ticket is solved.",
        "It is back.",
    ]
    assert issue["title"] == "ValueError: no price\\nof #\u200b1 for @\u200bann"


def test_what_a_record_says_is_no_markup(server, tracker):
    """It stands between fences that are longer than any in it, so it ends none."""
    tracker.create(MARK, "`x` @ann", text_for())

    head, fence, rest = body_of(server.issues[0]).partition("`````text\n")
    assert head == "It went wrong.\n\n"
    assert fence
    assert rest.endswith(f"{WILD}\n`````")
    assert "`````" not in rest.removesuffix("`````")
    assert server.issues[0]["title"] == "'x' @\u200bann"


def test_an_issue_without_its_label_is_found_by_its_text(kind, server, tracker):
    """Without the right to push, or as a guest, labels are dropped without a word."""
    server.may_push = server.may_label = False
    made = tracker.create(MARK, "t", text_for())
    assert server.issues[0]["labels"] == []

    assert tracker.find(MARK) == made


def test_an_issue_whose_text_was_edited_is_found_by_its_label(server, tracker):
    """People shorten what is long."""
    made = tracker.create(MARK, "t", text_for())
    name = "description" if "description" in server.issues[0] else "body"
    server.issues[0][name] = "Shortened."

    assert tracker.find(MARK) == made


def test_another_ticket_with_the_same_eight_digits_is_another(server, tracker):
    """Labels are short, so the text decides; and of several the oldest is it."""
    twin = f"{MARK[:11]}{'0' * 32}"
    tracker.create(twin, "twin", text_for(twin))
    assert tracker.find(MARK) is None
    made = tracker.create(MARK, "first", text_for())
    tracker.create(MARK, "second", text_for())

    assert tracker.find(MARK) == made


def test_a_pull_request_is_no_issue():
    """GitHub lists them together."""
    server = GitHubServer()
    tracker = GitHub.tracker(server.url)
    tracker.create(MARK, "t", text_for())
    server.issues[0]["pull_request"] = {"url": "https://api.github.com/…"}

    assert tracker.find(MARK) is None

    server.close()


def test_the_longest_text_is_taken(server, tracker):
    """Title and text are cut, comments too."""
    made = tracker.create(MARK, "é" * 1_000, text_for(body="é`" * 300_000))
    tracker.comment(made.issue_id, text_for(body="`" * 300_000))

    assert MARK in body_of(server.issues[0])


def test_what_is_wanted_of_each_issue_is_sent():
    """Labels, assignees, milestone; and what only GitLab has."""
    server = GitHubServer()
    tracker = GitHub.tracker(server.url, labels=["bug"], assignees=["ann"], milestone=3)
    tracker.create(MARK, "t", text_for())
    (issue,) = server.issues
    server.close()
    assert [one["name"] for one in issue["labels"]] == [MARK[:11], "bug"]
    assert issue["assignees"] == [{"login": "ann"}]
    assert issue["milestone"] == {"number": 3}

    server = GitLabServer()
    tracker = GitLab.tracker(
        server.url,
        labels=["bug"],
        assignee_ids=[7],
        confidential=True,
        issue_type="incident",
        bearer=True,
    )
    tracker.create(MARK, "t", text_for())
    (issue,) = server.issues
    server.close()
    assert issue["labels"] == [f"lb::{MARK[3:11]}", "bug"]
    assert (issue["assignee_ids"], issue["confidential"]) == ([7], True)
    assert issue["issue_type"] == "incident"


def test_where_people_see_an_issue():
    """On the site, not where programs ask."""
    assert GitHubTracker("o/r", "t").url("7") == "https://github.com/o/r/issues/7"
    own = GitHubTracker("o/r", "t", url="https://git.example/api/v3")
    assert own.url("7") == "https://git.example/o/r/issues/7"
    assert GitLabTracker("g/p", "t").url("7") == "https://gitlab.com/g/p/-/issues/7"


def test_what_cannot_be_is_refused_at_once():
    """Each with what would be right."""
    with pytest.raises(ValueError, match="expected 'owner/name', got 'o'"):
        GitHubTracker("o", "t")
    with pytest.raises(ValueError, match="unknown flavor 'hub'; known: github, gitea"):
        GitHubTracker("o/r", "t", flavor="hub")
    with pytest.raises(ValueError, match="Gitea wants labels as numbers"):
        GitHubTracker("o/r", "t", flavor="gitea", labels=["bug"])
    with pytest.raises(ValueError, match="no comma in it: 'a,b'"):
        GitLabTracker("g/p", "t", labels=["a,b"])


# -- what goes wrong


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        ((403, {"Retry-After": "30"}, {"message": "You have exceeded a secondary rate limit"}), 30),
        ((403, {}, {"message": "You have exceeded a secondary rate limit."}), 60),
        ((429, {"Retry-After": "7"}, {}), 7),
        ((429, {"Retry-After": "0"}, {}), 1),
        ((429, {}, {}), 60),
        (
            (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) + 90)}, {}),
            90,
        ),
        ((429, {"RateLimit-Remaining": "0", "RateLimit-Reset": str(int(NOW) + 45)}, {}), 45),
        ((503, {"Retry-After": "120"}, {}), 120),
    ],
)
def test_a_rate_limit_says_how_long(server, tracker, fault, seconds):
    """Whichever of the headers there is; a minute if none."""
    server.fault("GET", fault)

    with pytest.raises(RateLimitedError) as caught:
        tracker.find(MARK)

    assert caught.value.after == seconds


@pytest.mark.parametrize(
    ("fault", "kind_of_error"),
    [
        ((401, {}, {"message": "Bad credentials"}), UnauthorisedError),
        ((403, {}, {"message": "Resource not accessible"}), UnauthorisedError),
        ((404, {}, {"message": "Not Found"}), GoneError),
        ((410, {}, {"message": "Issues are disabled for this repo"}), GoneError),
        ((422, {}, {"message": "Validation Failed"}), RefusedError),
        ((301, {"Location": "https://elsewhere.example/"}, {}), RefusedError),
        ((500, {}, {"message": "Oops"}), RuntimeError),
        ((502, {}, {}), FailedError),
        ((503, {}, {}), FailedError),
        ("reset", UnansweredError),
        ("lost", UnansweredError),
    ],
)
def test_each_refusal_of_a_comment_has_its_error(server, tracker, fault, kind_of_error):
    """And the text says who answered what; the token is not in it."""
    made = tracker.create(MARK, "t", text_for())
    server.fault("POST", fault)

    with pytest.raises(kind_of_error) as caught:
        tracker.comment(made.issue_id, Text("Hello."))

    assert "127.0.0.1" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_a_wrong_token_is_no_way_in(kind, server):
    """It is not in the error either."""
    with pytest.raises(UnauthorisedError) as caught:
        kind.tracker(server.url, "wrong-token").find(MARK)

    assert "wrong-token" not in str(caught.value)


@pytest.mark.parametrize(("method", "error"), [("GET", TimeoutError), ("POST", UnansweredError)])
def test_slow_bytes_end_at_the_deadline(kind, server, method, error):
    """However steadily they come; and a change may have happened."""
    tracker = kind.tracker(server.url, timeout=0.3)
    server.fault(method, "drip")

    with pytest.raises(error):
        if method == "GET":
            tracker.find(MARK)
        else:
            tracker.create(MARK, "t", text_for())


def test_an_answer_that_is_no_json_is_a_failure(server, tracker):
    """As a proxy gives it, with status 200."""
    server.fault("GET", (200, {}, "not a list"))

    with pytest.raises(RuntimeError, match="answered no list to GET"):
        tracker.find(MARK)


def test_nobody_there_is_an_outage():
    """It is an OSError, and no change can have happened."""
    server = GitHubServer()
    url = server.url
    server.close()

    with pytest.raises(ConnectionRefusedError):
        GitHub.tracker(url).create(MARK, "t", text_for())


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    """Unless one says who vouches for it; then nothing else is believed."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *args):
            pass

    authority = trustme.CA()
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(own)
    httpd = HTTPServer(("localhost", 0), Empty)
    httpd.handle_error = lambda *args: None
    httpd.socket = own.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    try:
        url = f"https://localhost:{httpd.server_address[1]}"
        with pytest.raises(ssl.SSLCertVerificationError):
            GitHubTracker("o/r", "t", url=url).find(MARK)
        trusted = ssl.create_default_context()
        authority.configure_trust(trusted)
        assert GitHubTracker("o/r", "t", url=url, ssl_context=trusted).find(MARK) is None
    finally:
        httpd.shutdown()
        thread.join(LIMIT)
        httpd.server_close()


# -- together with filing


@pytest.mark.parametrize(
    "fault",
    [
        "lost",
        "reset",
        (403, {"Retry-After": "1"}, {"message": "secondary rate limit"}),
        (429, {"Retry-After": "1"}, {}),
        (500, {}, {}),
        (502, {}, {}),
    ],
)
def test_one_issue_whatever_goes_wrong(kind, server, tracker, store, fault):
    """Twice in a row; then the issue is there, once."""
    server.fault("POST", fault, fault)
    filing = Filing(store, [tracker], retry=QUICK, cool_down=0.0)

    filing(store.record_entries([entry(), entry()]))

    for _ in range(4):
        assert filing.flush(LIMIT)
    found = filing.statistics()[tracker.name]
    assert filing.close(LIMIT)
    assert len(server.issues) == 1
    assert store.get_issue(1, tracker.name).issue_id == "1"
    assert found["filed"] + found["found"] == 1


@pytest.mark.parametrize(
    ("status", "name"), [(401, "UnauthorisedError"), (410, "GoneError"), (422, "RefusedError")]
)
def test_a_refusal_for_good_is_asked_for_once(server, tracker, store, status, name):
    """A hundred occurrences do not make a hundred requests."""
    server.fault("POST", *[(status, {}, {"message": "No."})] * 100)
    filing = Filing(store, [tracker], retry=QUICK, cool_down=0.0, comment_at=())

    for _ in range(100):
        filing(store.record_entries([entry()]))

    assert filing.flush(LIMIT)
    found = filing.statistics()[tracker.name]
    assert filing.close(LIMIT)
    assert found["refused"] == {name: 1}
    assert f"answered {status}" in found["last_refusal"]
    assert sum(one[0] == "POST" for one in server.requests) == 1


@pytest.mark.parametrize("kind", [GitHub, GitLab])
def test_four_processes_make_one_issue_of_a_thousand_occurrences(kind, server, tmp_path):
    """Whoever was first has filed it, and the last number is told."""
    if kind is GitLab:
        results = storm(tmp_path, "GitLabTracker", "g/p", "s3cr3t", url=server.url)
    else:
        url = f"{server.url}/api/v3"
        results = storm(tmp_path, "GitHubTracker", "o/r", "s3cr3t", url=url)

    _, commented = assert_one_issue(tmp_path, results, 1_000)
    (issue,) = server.issues
    assert len(issue[kind.comments]) == commented <= 3
    told = issue[kind.comments][-1] if commented else body_of(issue)
    assert "1,000" in told
    assert "hunter2" not in body_of(issue)
    assert "s3cr3t" not in body_of(issue)
