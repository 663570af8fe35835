"""``sprockets tickets``: at a store, at a live service, and as that service."""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    # Last: what is tested is what is installed.
    sys.path.append(ROOT)

from sprockets.commands import _tickets_client, tickets  # noqa: E402
from sprockets.commands import _tickets_serving as serving  # noqa: E402
from sprockets.commands._registry import COMMANDS  # noqa: E402
from sprockets.http.testing import RunningService, free_port  # noqa: E402
from sprockets.logbook.ticketing import SQLAlchemyBackend  # noqa: E402
from sprockets.tickets._tokens import digest_of  # noqa: E402
from tests.logbook.ticketing.contract import make_entry  # noqa: E402
from tests.tickets.driver import ids, make_store  # noqa: E402

START_LIMIT = 60.0
COMMAND = [sys.executable, "-P", "-m", "sprockets.commands", "tickets"]
QUIET = {"LOG_FORMAT": "json", "PYTHONWARNINGS": "error"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("SPROCKETS_TICKETS_"):
            monkeypatch.delenv(name)


@pytest.fixture(name="filled", scope="module")
def _filled(tmp_path_factory):
    path = tmp_path_factory.mktemp("filled") / "tickets.db"
    make_store(SQLAlchemyBackend(uri=f"sqlite:///{path}")).close()
    return path


@pytest.fixture(name="url")
def _url(filled, tmp_path):
    """A store with three tickets."""
    return f"sqlite:///{shutil.copy(filled, tmp_path)}"


@pytest.fixture(name="store")
def _store(url):
    store = SQLAlchemyBackend(uri=url)
    yield store
    store.close()


class Outcome:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def json(self):
        assert self.status == 0, self.err
        return json.loads(self.out)


@pytest.fixture(name="run")
def _run(capsys):
    """Do what the words say, in this process."""

    def run(*words):
        capsys.readouterr()
        status = tickets.main([str(word) for word in words])
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture(name="at", params=["store", "api"])
def _at(request, url, run, tmp_path):
    """Do what the words say: at the store, and at a service that has it."""
    if request.param == "store":
        yield lambda *words: run(*words, "--store", url, "--actor", "robot")
        return
    token_file = tmp_path / "tokens"
    token_file.write_text(f"robot read,write {digest_of('spt_secret')}\n")
    with serve(url, "--token-file", token_file) as service:
        yield lambda *words: run(*words, "--api", service.url(""), "--token", "spt_secret")


def serve(url, *options, **environ):
    words = [*COMMAND, url, "--port", "{port}", "--workers", "1", *map(str, options)]
    return RunningService(
        words, env={**QUIET, **environ}, ready_path="/login", start_timeout=START_LIMIT
    )


def get(service, path, token=None, **headers):
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(service.url(path), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=START_LIMIT) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


# -- the words


def test_the_command_is_listed():
    """Among those of ``sprockets``."""
    assert COMMANDS["tickets"].load() is tickets.main


def test_the_help_lists_every_word(run):
    """A line each, and how to learn more of it."""
    outcome = run("--help")

    assert outcome.status == 0
    for word, summary in tickets.WORDS.items():
        assert re.search(rf"^  {word} +{re.escape(summary)}$", outcome.out, re.MULTILINE)


@pytest.mark.parametrize("word", [*tickets.WORDS, "serve"])
def test_every_word_has_a_help(run, word):
    """Which is printed, and nothing is done."""
    outcome = run(word, "--help")

    assert outcome.status == 0
    assert "usage: " in outcome.out


# -- at a store, and at a service


def test_tickets_are_listed(at, store):
    """As a table, the newest first; a search leaves out the others."""
    outcome = at("list")

    lines = outcome.out.splitlines()
    assert outcome.status == 0
    assert lines[0].split() == [
        "ID",
        "STATE",
        "LEVEL",
        "COUNT",
        "LAST",
        "TIME",
        "ASSIGNEE",
        "TITLE",
    ]
    assert re.search(r"new +error +2 +2026-03-01 15:00:00Z +title of third$", lines[1])
    assert len(lines) == 4
    assert len(at("list", "level:error").out.splitlines()) == 2
    last = at("list", "--limit", "1", "--offset", "1", "--order-by", "ticket_id").out.splitlines()
    assert "title of second" in last[1]
    assert last[2] == "2 to 2 of 3; see --offset"


def test_nothing_found_is_an_exit_status(at):
    """As of grep."""
    outcome = at("list", "is:solved")

    assert outcome.status == 1
    assert outcome.out == "no ticket\n"


def test_the_list_is_told_to_programs(at, store):
    """As the service tells it."""
    found = at("list", "title", "--json").json()

    assert found["total"] == 3
    assert found["tickets"][0]["title"] == "title of third"


NONSENSE = [
    (["list", "levle:error"], "levle"),
    (["list", "--order-by", "x"], "order_by: expected one of ticket_id"),
    (["list", "--limit", "500"], "limit: expected 1 to 200, got 500"),
    (["list", "--limit", "x"], "expected a number, got 'x'"),
    (["show", "x'"], "expected an id, as in 17"),
    (["ignore", "1", "--until", "yesterday"], "until: expected a time"),
    (["ignore", "1", "--until", "2001-01-01"], "until: expected a time to come"),
    (["ignore", "1", "--for", "7"], "expected a time, as in 12h or 7d"),
    (["ignore", "1", "--for", "7d", "--until", "2099-01-01"], "say the same"),
    (["solve"], "the following arguments are required: ID"),
    (["assign", "1"], "--to"),
    (["comment", "1", " "], "expected some text"),
    (["merge", "1", "1"], "cannot be merged into itself"),
    (["delete", "1"], "add --yes"),
]


def test_what_makes_no_sense_is_said_in_a_line(at):
    """With the status for it."""
    for words, text in NONSENSE:
        outcome = at(*words)

        assert outcome.status == 78, (words, outcome.out)
        assert text in outcome.err
        assert outcome.err.count("\n") == 1


def test_a_ticket_is_shown(at, store):
    """With its history and its last occurrence."""
    outcome = at("show", ids(store)[-1])

    assert outcome.status == 0
    assert outcome.out.startswith(f"{ids(store)[-1]}: title of third\n")
    for text in (
        "state         new",
        "occurred      2 times",
        "request       request-2",
        "    third",
    ):
        assert text in outcome.out
    assert (
        at("show", ids(store)[-1], "--json").json()["last_occurrence"]["request_id"] == "request-2"
    )


def test_a_request_is_shown(at):
    """All that was counted during it."""
    outcome = at("request", "request-1")

    assert outcome.status == 0
    assert "title of third" in outcome.out
    assert at("request", "unknown").status == 1


def test_tickets_are_solved_ignored_and_reopened(at, store):
    """Several at once; the store knows by whom."""
    first, second, third = ids(store)

    assert at("solve", first, second, "--in", "2.0").out == f"solved {first}, {second}\n"
    assert at("ignore", third, "--for", "7d", "--occurrences", "5").status == 0
    assert store.get_ticket(second).status.solved_in == "2.0"
    assert store.get_ticket(third).status.ignored_count == 7
    assert store.get_ticket(third).status.ignored_until is not None
    assert at("reopen", third).out == f"reopened {third}\n"
    assert store.get_ticket(third).status.state == "new"
    assert {item.actor for item in store.get_history(third)[:2]} == {"robot"}
    assert "solved by robot" in at("show", first).out


def test_a_ticket_is_assigned_and_commented(at, store, monkeypatch):
    """A comment may come from standard input."""
    first = ids(store)[0]

    assert at("assign", first, "--to", "ada").status == 0
    assert at("comment", first, "look at this").out == f"commented on {first}\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("two\nlines\n"))
    assert at("comment", first, "-").status == 0

    assert store.get_ticket(first).status.assignee == "ada"
    texts = [item.text for item in store.get_history(first) if item.action == "commented"]
    assert texts == ["two\nlines", "look at this"]
    assert at("assign", first, "--to", "").status == 0
    assert store.get_ticket(first).status.assignee == ""


def test_tickets_are_merged_split_and_deleted(at, store):
    """Each says what it did."""
    first, second, third = ids(store)

    assert at("merge", first, third).out == f"merged {third} into {first}\n"
    newest = store.get_occurrences(first, "-time")[0].occurrence_id
    new = at("split", first, newest, "--json").json()["id"]
    assert store.get_ticket(new).occurrence_count == 2
    assert at("delete", second, "--yes").out == f"deleted {second}\n"
    assert store.get_ticket(second) is None


def test_tickets_that_are_not_there_are_named(at, store):
    """The others are changed all the same."""
    first = ids(store)[0]

    outcome = at("solve", 999, first, 1000)

    assert outcome.status == 1
    assert outcome.out == f"solved {first}\n"
    assert "there are no tickets 999, 1000" in outcome.err
    assert store.get_ticket(first).status.state == "solved"
    for words in (["show", 999], ["comment", 999, "x"], ["merge", 999, first], ["split", 999, 1]):
        outcome = at(*words)
        assert (outcome.status, outcome.out) == (1, "")
        assert "there is no ticket 999" in outcome.err


@pytest.mark.rule("Q-3")
def test_what_was_logged_does_not_move_the_cursor(at, store):
    """Titles and messages are anybody's."""
    evil = "\x1b[2J\x1b]0;owned\x07 \u202eevil\r\n"
    data = json.dumps({"level": 14, "message": evil, "msg": evil, "channel": evil})
    store.record_entries([make_entry("evil", title=evil, channel=evil, data=data)])
    ticket_id = ids(store)[-1]
    at("comment", ticket_id, evil)

    for words in (["list"], ["show", ticket_id]):
        out = at(*words).out
        assert "owned" in out
        assert not {"\x1b", "\x07", "\r", "\u202e"} & set(out)


# -- where the tickets are


def test_the_place_comes_from_the_environment(run, url, monkeypatch):
    """So that a shell is told once."""
    monkeypatch.setenv("SPROCKETS_TICKETS_STORE", url)
    assert run("list").status == 0

    monkeypatch.setenv("SPROCKETS_TICKETS_STORE", "env:MY_STORE")
    assert "'MY_STORE'" in run("list").err
    monkeypatch.setenv("MY_STORE", url)
    assert run("list").status == 0


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        ([], 78, "where are the tickets?"),
        (["--store", "sqlite://", "--api", "http://x"], 78, "give one of them"),
        (["--store", "tickets.db"], 78, "as in sqlite:///tickets.db"),
        (["--store", "sqlite:////nowhere/at/all/x.db"], 69, "/nowhere/at/all/x.db"),
        (["--api", "example.org"], 78, "expected a URL such as https://example.org"),
        (["--api", "http://127.0.0.1:1"], 69, "cannot reach http://127.0.0.1:1/api/v1"),
        (["--api", "http://x", "--token", "env:NOT_THERE"], 78, "'NOT_THERE'"),
        (["--api", "http://x", "--token", "spt_\n"], 78, "plain characters"),
        (["--api", "http://x", "--actor", "me"], 78, "--actor is for --store"),
    ],
)
def test_a_place_that_is_none_is_said(run, options, status, text):
    """What makes no sense is told from what cannot be reached."""
    outcome = run("list", *options)

    assert outcome.status == status
    assert text in outcome.err


def test_a_password_is_not_shown(run):
    """In no error."""
    port = free_port()
    outcome = run("list", "--store", f"postgresql://shop:geheim@127.0.0.1:{port}/test")

    assert outcome.status in (69, 78)
    assert "geheim" not in outcome.err
    assert serving.shown_url("mysql://a:b:c@d/e") == "mysql://a:***@d/e"
    assert serving.shown_url("sqlite:///x") == "sqlite:///x"
    assert serving.shown_url("mysql://[a:geheim@") == "mysql:..."


def test_the_user_of_the_terminal_is_the_actor(run, url, store, monkeypatch):
    """Unless another is named."""
    monkeypatch.setenv("LOGNAME", "ada")

    run("solve", ids(store)[0], "--store", url)

    assert store.get_history(ids(store)[0])[0].actor == "ada"


# -- tokens


def test_a_token_is_made_once(run, url, store):
    """Printed, and kept as its digest."""
    outcome = run("token", "add", "ci", "--store", url)

    assert re.fullmatch(r"spt_[\w-]{43}\n", outcome.out)
    digest = hashlib.sha256(outcome.out.strip().encode()).hexdigest()
    assert store.get_token(digest) == ("ci", {"read", "write"})
    again = run("token", "add", "ci", "--store", url)
    assert again.status == 78
    assert "there is a token 'ci' already" in again.err


def test_tokens_are_listed_and_removed(run, url, store):
    """By name."""
    assert run("token", "list", "--store", url).status == 1
    run("token", "add", "board", "--read-only", "--store", url)
    run("token", "add", "ci", "--store", url)

    assert run("token", "list", "--store", url).out == "board  read\nci  read,write\n"
    assert run("token", "list", "--json", "--store", url).json()[0]["scopes"] == ["read"]
    assert run("token", "remove", "ci", "--store", url).status == 0
    assert run("token", "remove", "ci", "--store", url).status == 1
    assert [name for name, _ in store.get_tokens()] == ["board"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["add", "a b", "--store", "sqlite://"], "none of them a space"),
        (["add", "ci"], "tokens of which store?"),
        (["rename"], "invalid choice"),
        ([], "required"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(run, words, text):
    """In a line."""
    outcome = run("token", *words)

    assert outcome.status == 78
    assert text in outcome.err


# -- serving


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--address", "0.0.0.0"], "nobody has to say who he is, and 0.0.0.0 can be reached"),
        (["--address", "::"], "can be reached by others"),
        (["--address", "192.0.2.1"], "make a token with"),
        (["--token-file", "/nowhere"], "--token-file: cannot read /nowhere: No such file"),
        (["--secret-file", "/nowhere"], "--secret-file: cannot read"),
        (["--base-path", "x"], "expected a path such as /tickets"),
        (["--proxy", "10.0.0.0/8"], "--proxy needs --trusted-header"),
        (["--trusted-header", "X", "--proxy", "nonsense"], "does not appear to be"),
        (["--trusted-header", "X", "--openid-issuer", "https://x"], "both say who asks"),
        (["--openid-issuer", "https://x"], "needs --openid-client"),
        (["--openid-client", "x"], "needs --openid-issuer"),
        (["--openid-issuer", "http://x", "--openid-client", "x"], "expected a URL of HTTPS"),
        (["--writers", "ada"], "--writers needs"),
        (["--insecure", "--trusted-header", "X"], "--insecure lets everybody in"),
        (["--port", "x"], "expected an integer"),
        (["--keyfile", "x"], "--keyfile needs --certfile"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(run, url, words, text):
    """In a line, with 78; nothing is served."""
    outcome = run(url, *words)

    assert outcome.status == 78
    assert text in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        (None, False),
        ("192.0.2.1", False),
        ("no such host.invalid", False),
    ],
)
def test_it_is_known_what_only_this_machine_reaches(address, expected):
    """All addresses are not that."""
    assert serving.is_local(address) is expected


def test_files_of_tokens_and_secrets_are_checked(run, url, tmp_path):
    """An empty one would let nobody in."""
    path = tmp_path / "file"
    path.write_text("# nothing\n")
    assert "there is no token in" in run(url, "--token-file", path).err
    assert "16 characters or more" in run(url, "--secret-file", path).err
    path.write_text("ci read spt_secret\n")
    outcome = run(url, "--token-file", path)
    assert "line 1: expected the SHA-256" in outcome.err
    assert "spt_secret" not in outcome.err
    path.write_bytes(b"\xff")
    assert "cannot read" in run(url, "--token-file", path).err


def test_a_store_that_is_not_there_is_said(run):
    """Before anything is served."""
    outcome = run("sqlite:////nowhere/at/all/x.db")

    assert outcome.status == 69
    assert "/nowhere/at/all/x.db" in outcome.err


def test_it_serves_this_machine(url, store):
    """Without authentication: the store named, by two processes, until it is told to stop."""
    words = [*COMMAND, "serve", url, "--port", "{port}", "--workers", "2"]
    with RunningService(
        words, env=QUIET, ready_path="/api/v1/me", start_timeout=START_LIMIT
    ) as service:
        status, found = get(service, "/api/v1/tickets")
        assert (status, found["total"]) == (200, 3)
        assert get(service, "/api/v1/tickets", Host="evil.example")[0] == 421
        assert service.stop() == 0


def test_sessions_are_good_in_all_processes(url, store):
    """What one signed, the other takes; and a stop ends those who watch."""
    store.add_token(digest_of("spt_secret"), "ci", ["read"])
    words = [*COMMAND, url, "--port", "{port}", "--workers", "2"]
    with RunningService(
        words, env=QUIET, ready_path="/login", start_timeout=START_LIMIT, stop_timeout=30.0
    ) as service:
        assert get(service, "/api/v1/me")[0] == 401

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *args):
                return None

        opener = urllib.request.build_opener(Stay)
        request = urllib.request.Request(service.url("/login"), data=b"token=spt_secret")
        with pytest.raises(urllib.error.HTTPError) as caught:
            opener.open(request, timeout=START_LIMIT)
        with caught.value as answer:
            assert answer.code == 303
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
        for _ in range(20):
            assert get(service, "/api/v1/me", Cookie=cookie)[1]["name"] == "ci"

        request = urllib.request.Request(service.url("/api/v1/events"), headers={"Cookie": cookie})
        with urllib.request.urlopen(request, timeout=START_LIMIT) as stream:
            assert stream.readline() == b"retry: 3000\n"
            stopper = threading.Thread(target=service.stop, daemon=True)
            stopper.start()
            rest = stream.read()
            stopper.join(START_LIMIT)
        assert b"event: mark" in rest
        assert service.returncode == 0


def test_a_token_that_is_wrong_or_too_weak_is_told(url, store, run):
    """With the status for what is not allowed; the token is not repeated."""
    store.add_token(digest_of("spt_reader"), "board", ["read"])
    with serve(url) as service:
        wrong = run("list", "--api", service.url(), "--token", "spt_wrong")
        weak = run("solve", ids(store)[0], "--api", service.url(), "--token", "spt_reader")
        none = run("list", "--api", service.url())
        elsewhere = run("list", "--api", service.url("/x"), "--token", "spt_reader")

    assert (wrong.status, weak.status, none.status) == (77, 77, 77)
    assert "That token is not known here" in wrong.err
    assert "spt_wrong" not in wrong.err
    assert "may read tickets only" in weak.err
    assert elsewhere.status == 69
    assert "is no service of tickets" in elsewhere.err
    assert store.get_ticket(ids(store)[0]).status.state == "new"


def test_a_proxy_may_say_who_asks(url):
    """Also beyond this machine: somebody is known then."""
    options = ["--address", "0.0.0.0", "--trusted-header", "X-User", "--writers", "ada,bob"]
    with serve(url, *options, "--base-path", "/ops") as service:
        assert get(service, "/ops/api/v1/me", **{"X-User": "ada"})[1]["may_write"] is True
        assert get(service, "/ops/api/v1/me", **{"X-User": "eve"})[1]["may_write"] is False
        assert get(service, "/ops/api/v1/me")[0] == 401


def test_everybody_is_let_in_where_that_is_wanted(url):
    """It has to be said in so many letters."""
    with serve(url, "--address", "0.0.0.0", "--insecure") as service:
        assert get(service, "/api/v1/me", Host="example.org")[0] == 200


def test_the_package_is_the_command_too(url, tmp_path):
    """As ``python -m sprockets.tickets``."""
    import subprocess

    outcome = subprocess.run(
        [sys.executable, "-P", "-m", "sprockets.tickets", "list", "--store", url],
        capture_output=True,
        text=True,
        timeout=START_LIMIT,
        check=False,
    )

    assert outcome.returncode == 0, outcome.stderr
    assert "title of third" in outcome.stdout


def test_a_reader_that_has_left_is_no_error(url):
    """As in ``sprockets tickets list | head``."""
    import subprocess

    process = subprocess.Popen(
        [*COMMAND, "list", "--store", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **QUIET},
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()

    assert process.wait(START_LIMIT) == 141, err
    assert err == b""


def test_units_of_time_are_those_that_are_told():
    """From minutes to weeks."""
    assert [_tickets_client._span(f"2{unit}").total_seconds() for unit in "mhdw"] == [
        120,
        7_200,
        172_800,
        1_209_600,
    ]
