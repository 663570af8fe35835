"""``sprockets tickets`` and trackers: a real Trac, a service that runs, and the command itself."""

import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    # Last: what is tested is what is installed.
    sys.path.append(ROOT)

from sprockets.commands import tickets  # noqa: E402
from sprockets.commands._tickets_trackers import Trackers  # noqa: E402
from sprockets.http._loading import CommandError  # noqa: E402
from sprockets.http.testing import RunningService  # noqa: E402
from sprockets.logbook.ticketing import Filing, SQLAlchemyBackend, TracTracker  # noqa: E402
from sprockets.tickets._tokens import digest_of  # noqa: E402
from tests.logbook.ticketing.trackers.doubles import entry  # noqa: E402
from tests.logbook.ticketing.trackers.trac_server import PASSWORD, USER, TracServer  # noqa: E402

LIMIT = 60.0  # seconds
COMMAND = [sys.executable, "-P", "-m", "sprockets.commands", "tickets"]
QUIET = {"LOG_FORMAT": "json", "PYTHONWARNINGS": "error"}
SECRETS = {
    "SPROCKETS_TICKETS_GITHUB_TOKEN": "s3cr3t",
    "SPROCKETS_TICKETS_GITLAB_TOKEN": "s3cr3t",
    "SPROCKETS_TICKETS_REDMINE_KEY": "s3cr3t",
    "SPROCKETS_TICKETS_TRAC_PASSWORD": PASSWORD,
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("SPROCKETS_TICKETS_"):
            monkeypatch.delenv(name)


@pytest.fixture(name="trac", scope="module")
def _trac(tmp_path_factory):
    """A Trac, of which it is known how it is spoken with."""
    server = TracServer(tmp_path_factory.mktemp("trac"), with_plug_in=True)
    yield server
    server.close()


@pytest.fixture(name="filed", scope="module")
def _filed(trac, tmp_path_factory):
    """A store with two tickets that are filed in the Trac."""
    path = tmp_path_factory.mktemp("filed") / "tickets.db"
    store = SQLAlchemyBackend(uri=f"sqlite:///{path}")
    tracker = TracTracker(trac.url, USER, PASSWORD, dialect="ticketrpc")
    filing = Filing(store, [tracker])
    for number in (7, 9):
        filing(store.record_entries([entry(where=f"shop.py:{number}", message=f"{number}")]))
        assert filing.flush(LIMIT)
    assert filing.close(LIMIT)
    store.close()
    return path


@pytest.fixture(name="url")
def _url(filed, trac, tmp_path):
    """A copy of that store; and the Trac as it was then."""
    yield f"sqlite:///{shutil.copy(filed, tmp_path)}"
    tracker = TracTracker(trac.url, USER, PASSWORD, dialect="ticketrpc")
    store = SQLAlchemyBackend(uri=f"sqlite:///{filed}")
    for ticket in store.get_tickets():
        issue = store.get_issue(ticket.ticket_id, tracker.name)
        if state_of(trac, issue) == "closed":
            trac_reopen(tracker, issue)
    tracker.disconnect()
    store.close()


def trac_reopen(tracker, issue):
    from sprockets.logbook.ticketing import Text

    tracker.reopen(issue.issue_id, Text("The test is over."))


@pytest.fixture(name="toml")
def _toml(trac, tmp_path):
    """A file that describes the Trac, its password in another one."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    path = tmp_path / "trackers.toml"
    path.write_text(
        f"""
        [filing]
        min_level = "warning"
        ticket_url = "https://tickets.example/${{TEAM:-shop}}/{{ticket_id}}"

        [[trackers]]
        kind = "trac"
        url = "{trac.url}"
        user = "{USER}"
        password = {{ file = "password" }}
        dialect = "ticketrpc"
        """
    )
    return path


def issues_of(url):
    store = SQLAlchemyBackend(uri=url)
    try:
        found = {}
        for ticket in store.get_tickets("ticket_id"):
            (found[ticket.ticket_id],) = store.get_issues(ticket.ticket_id)
        return found
    finally:
        store.close()


def state_of(trac, issue):
    ((state,),) = trac.rows("SELECT status FROM ticket WHERE id = ?", int(issue.issue_id))
    return state


def wait_for(condition):
    """Wait until *condition* is so; what a tracker is told takes a moment."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run(capsys, *words):
    capsys.readouterr()
    status = tickets.main([str(word) for word in words])
    return status, *capsys.readouterr()


def ask(service, path, method="GET", body=None, token="spt_ci"):
    request = urllib.request.Request(service.url(path), method=method)
    request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:
        return json.loads(answer.read() or b"null")


def test_a_service_tells_the_trac_what_is_done_by_it(url, trac, toml, tmp_path):
    """Solved: closed.  Reopened: open again.  A signal to stop: what is under way is told."""
    (first, issue), (second, other) = issues_of(url).items()
    path = tmp_path / "tokens"
    path.write_text(f"ci read,write {digest_of('spt_ci')}\n")
    words = [*COMMAND, url, "--port", "{port}", "--workers", "2", "--tracker", str(toml)]
    with RunningService(
        [*words, "--token-file", str(path)],
        env=QUIET,
        ready_path="/login",
        start_timeout=LIMIT,
        stop_timeout=LIMIT,
    ) as service:
        ask(service, f"/api/v1/tickets/{first}", "PATCH", {"state": "solved"})
        wait_for(lambda: state_of(trac, issue) == "closed")
        ask(service, f"/api/v1/tickets/{first}", "PATCH", {"state": "new"})
        wait_for(lambda: state_of(trac, issue) == "reopened")
        (shown,) = ask(service, f"/api/v1/tickets/{first}")["issues"]
        ask(service, f"/api/v1/tickets/{second}", "PATCH", {"state": "solved"})
        assert service.stop() == 0

    assert state_of(trac, other) == "closed"
    assert shown["url"] == f"{trac.url}/ticket/{issue.issue_id}"
    assert f"https://tickets.example/shop/{first}" in trac.comments(int(issue.issue_id))[-1]


def test_the_command_tells_the_trac_before_it_ends(url, trac, toml, capsys, monkeypatch):
    """Named by the environment or in the arguments; also by a word and a variable."""
    ticket_id, issue = next(iter(issues_of(url).items()))

    monkeypatch.setenv("SPROCKETS_TICKETS_TRACKERS", str(toml))
    solved = run(capsys, "solve", ticket_id, "--store", url)
    closed = state_of(trac, issue)
    monkeypatch.delenv("SPROCKETS_TICKETS_TRACKERS")
    monkeypatch.setenv("SPROCKETS_TICKETS_TRAC_PASSWORD", PASSWORD)
    word = f"trac:{trac.url.replace('//', f'//{USER}@')}"
    reopened = run(capsys, "reopen", ticket_id, "--store", url, "--tracker", word)

    assert solved == (0, f"solved {ticket_id}\n", "")
    assert closed == "closed"
    assert reopened == (0, f"reopened {ticket_id}\n", "")
    assert state_of(trac, issue) == "reopened"


def test_what_a_tracker_does_not_take_is_said_and_the_change_stays(
    url, trac, capsys, monkeypatch, toml
):
    """On standard error, and in the history."""
    ticket_id, issue = next(iter(issues_of(url).items()))
    toml.write_text(toml.read_text().replace('{ file = "password" }', '"wrong"'))

    status, out, err = run(capsys, "solve", ticket_id, "--store", url, "--tracker", toml)

    assert (status, out) == (0, f"solved {ticket_id}\n")
    assert "does not take it" in err
    assert "wrong" not in err
    assert state_of(trac, issue) != "closed"
    store = SQLAlchemyBackend(uri=url)
    assert store.get_ticket(ticket_id).status.state == "solved"
    assert store.get_history(ticket_id)[0].action == "refused"
    store.close()


def test_reading_asks_no_tracker(url, toml, capsys):
    """Nor is it needed that it is right."""
    toml.write_text("nonsense")

    status, out, err = run(capsys, "list", "--store", url, "--tracker", toml)

    assert (status, err) == (0, "")
    assert "ID" in out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nonsense", "cannot read"),
        ("[[trackers]]\nkind = 'jira'", "expected one of github, gitea"),
        ("[[trackers]]\nkind = 'github'", "missing a required argument: 'repository'"),
        ("[[tracker]]\nkind = 'github'", "unknown tracker; known: [filing] and [[trackers]]"),
        ("trackers = 3", "expected [[trackers]]"),
        ("[filing]\nlevel = 'error'", "unknown key 'level'"),
        ("[filing]\nmin_level = 'dbug'\n[[trackers]]\nkind='trac'\nurl='http://x'", "dbug"),
        (
            "[[trackers]]\nkind='github'\nrepository='o/r'\ntoken='${NO_SUCH}'",
            "the variable NO_SUCH is not set",
        ),
        (
            "[[trackers]]\nkind='trac'\nurl='http://x'\n[[trackers]]\nkind='trac'\nurl='http://x'",
            "two trackers are named",
        ),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_at_once(tmp_path, text, expected, capsys):
    """In a line, with 78, before the store is opened."""
    path = tmp_path / "trackers.toml"
    path.write_text(text)

    status, _, err = run(capsys, "sqlite:////nowhere/x.db", "--tracker", path)

    assert status == 78
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("github:shop/backend", "github:shop/backend"),
        ("gitlab:shop/deep/backend", "gitlab:shop/deep/backend"),
        ("redmine:https://redmine.example/shop", "redmine:redmine.example/shop"),
        ("trac:https://bot@trac.example/shop", "trac:trac.example/shop"),
    ],
)
def test_a_word_names_a_tracker_as_a_handler_does(word, expected):
    """So that one finds the issues that the other made."""
    filing = Trackers([word], SECRETS).make_filing(None)

    assert [tracker.name for tracker in filing.trackers] == [expected]
    filing.close(0)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("jira:x", "expected github:..."),
        ("github", "expected github:..."),
        ("github:shop", "expected 'owner/name'"),
        ("github:shop/backend", "set SPROCKETS_TICKETS_GITHUB_TOKEN"),
        ("trac:https://bot:s3cr3t@trac.example", "a password on the command line"),
    ],
)
def test_a_word_that_names_none_is_refused(word, expected):
    """And says what is missing; no password is repeated."""
    environ = {} if expected.startswith("set") else SECRETS

    with pytest.raises(CommandError) as caught:
        Trackers([word], environ)

    assert expected in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_a_service_tells_its_own_trackers(capsys):
    """So the command that asks it has none."""
    status, _, err = run(
        capsys, "solve", 1, "--api", "http://localhost:1", "--tracker", "github:o/r"
    )

    assert status == 78
    assert "a service tells its own trackers" in err


def test_the_tokens_of_a_file_follow_the_file_and_the_signal(url, tmp_path):
    """A change is seen by itself; SIGHUP has new processes read it."""
    path = tmp_path / "tokens"
    path.write_text(f"ci read {digest_of('spt_ci')}\n")
    words = [*COMMAND, url, "--port", "{port}", "--workers", "2", "--token-file", str(path)]

    def is_let_in(token):
        try:
            return ask(service, "/api/v1/me", token=token)["name"] == "board"
        except urllib.error.HTTPError as error:
            with error:
                return error.code != 401

    with RunningService(
        words, env=QUIET, ready_path="/login", start_timeout=LIMIT, stop_timeout=LIMIT
    ) as service:
        assert not is_let_in("spt_board")
        path.write_text(f"board read {digest_of('spt_board')}\n")
        wait_for(lambda: all(is_let_in("spt_board") for _ in range(8)))
        path.write_text(f"board read {digest_of('spt_other')}\n")
        service.signal(signal.SIGHUP)
        wait_for(lambda: all(is_let_in("spt_other") for _ in range(8)))
        assert not is_let_in("spt_board")
        assert service.stop() == 0
