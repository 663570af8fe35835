"""A file with tokens: who is in it now is let in."""

import os

import pytest

from sprockets.logbook import TestHandler
from sprockets.tickets import Token, TokenFile
from sprockets.tickets._tokens import digest_of, find_token
from sprockets.tickets.app import make_app

ME = "/api/v1/me"


class Clock:
    """Moves on with each look, so that each one may look at the file."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        self.seconds += 1.0
        return self.seconds


def line(name, scopes="read"):
    return f"{name} {scopes} {digest_of(f'spt_{name}')}\n"


@pytest.fixture(name="path")
def _path(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("# who reads\n" + line("ci"))
    return path


def replace(path, text):
    """Put another file in its place, as editors and deployments do."""
    other = path.with_name("other")
    other.write_text(text)
    os.replace(other, path)


def test_who_is_written_into_the_file_is_let_in_and_who_is_taken_out_is_not(path):
    """The next time that somebody asks."""
    tokens = TokenFile(path, clock=Clock())
    before = [token.name for token in tokens]

    with TestHandler() as handler:
        replace(path, line("board") + line("robot", "read,write"))
        after = list(tokens)

    assert before == ["ci"]
    assert after == [
        Token.from_text("spt_board", "board", ["read"]),
        Token.from_text("spt_robot", "robot"),
    ]
    assert find_token(tokens, digest_of("spt_ci")) is None
    assert handler.formatted_records == [
        f"[INFO] sprockets.tickets: read 2 tokens from {path}, which changed"
    ]


def test_it_is_looked_at_once_in_a_while(path):
    """Not with each request of many."""
    seconds = [0.0]
    tokens = TokenFile(path, interval=5.0, clock=lambda: seconds[0])
    with TestHandler():
        replace(path, line("board"))
        seconds[0] = 4.9
        early = [token.name for token in tokens]
        seconds[0] = 5.0
        late = [token.name for token in tokens]

    assert (early, late) == (["ci"], ["board"])


@pytest.mark.parametrize("damage", ["nonsense", "removed", "unreadable"])
def test_a_file_that_makes_no_sense_changes_nothing_until_it_is_put_right(path, damage):
    """That is said once; a token that stands there by mistake is not repeated."""
    tokens = TokenFile(path, clock=Clock())

    with TestHandler() as handler:
        if damage == "removed":
            path.unlink()
        elif damage == "nonsense":
            replace(path, "board read spt_secret_in_plain\n")
        else:
            path.write_bytes(b"\xff\xfe")
        kept = [[token.name for token in tokens] for _ in range(3)]
        complaints = [text for text in handler.formatted_records if "are good still" in text]
        replace(path, line("board"))
        right = [token.name for token in tokens]

    assert kept == [["ci"]] * 3
    assert len(complaints) == 1
    assert "spt_secret" not in complaints[0]
    assert right == ["board"]


def test_a_file_without_tokens_lets_nobody_in(path, serve, store):
    """Emptied is not broken: that is how the last one is taken out."""
    tokens = TokenFile(path, clock=Clock())
    browser = serve(make_app(store=store, tokens=tokens))
    before = browser.with_token("spt_ci").fetch(ME).code
    session = browser.another()
    session.fetch("/login", "POST", form={"token": "spt_ci"})
    with_session = session.fetch(ME).code

    with TestHandler():
        path.write_text("# nobody\n")
        after = browser.with_token("spt_ci").fetch(ME).code

    assert (before, with_session) == (200, 200)
    # Neither the token nor what began with it; and nobody is let in without one instead.
    assert (after, session.fetch(ME).code, browser.fetch(ME).code) == (401, 401, 401)


def test_a_file_that_makes_no_sense_at_first_is_refused(path, tmp_path):
    """There is nothing yet that would be good still."""
    path.write_text("ci read\n")
    with pytest.raises(ValueError, match="line 1: expected three words"):
        TokenFile(path)
    with pytest.raises(FileNotFoundError):
        TokenFile(tmp_path / "nowhere")
