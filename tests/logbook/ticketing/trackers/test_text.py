"""Text for trackers: what a record says is shown, and does nothing there."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook.ticketing._trackers._digest import digest
from sprockets.logbook.ticketing._trackers._text import (
    Markdown,
    RedmineMarkdown,
    Text,
    Textile,
    TracWiki,
    scrub,
    scrubbed_json,
)

MARK = f"lb:{'a' * 40}"
# What is markup somewhere, more often than chance has it.
wild = st.text(
    st.sampled_from(list("`~{}<>/@#![]()\n\r \t\\x09preCODE\u2028\x00\ud800é"))
) | st.text(st.characters())
MARKUPS = [Markdown(), RedmineMarkdown(), Textile(), TracWiki()]


def parts_of(markup, rendered):
    """Return what stands before the block, its first line, its inside, and what stands behind."""
    opening, closing = {
        Markdown: (r"(`{3,})text\n", r"\n\1\Z"),
        RedmineMarkdown: (r"(`{3,})text\n", r"\n\1\Z"),
        Textile: (r"(<pre>)\n", r"\n</pre>\Z"),
        TracWiki: (r"(\{\{\{)\n", r"\n\}\}\}\Z"),
    }[type(markup)]
    return re.fullmatch(rf"(?s)It went wrong\.\n\n{opening}(.*?){closing}", rendered)


@pytest.mark.parametrize("markup", MARKUPS, ids=lambda markup: type(markup).__name__)
@given(body=wild, value=wild)
def test_whatever_a_record_says_stays_in_the_block(markup, body, value):
    """There is one beginning and one end, both ours."""
    rendered = markup.render(Text("It went wrong.", (("Level", value),), body, marker=MARK), 10_000)

    found = parts_of(markup, rendered)
    assert found is not None
    inside = found[2]
    assert inside.startswith(("Level ", "Marker "))
    if isinstance(markup, Textile):
        assert not re.search(r"(?i)</?\s*(pre|code)", inside)
    elif isinstance(markup, TracWiki):
        assert "{{" not in inside
        assert "}}" not in inside
    else:
        assert found[1] not in inside
    if isinstance(markup, RedmineMarkdown):
        assert not re.search(r"```|~~~|@\w", inside)


@pytest.mark.parametrize("markup", MARKUPS, ids=lambda markup: type(markup).__name__)
@given(body=wild.map(lambda text: text * 100), limit=st.integers(300, 3_000))
def test_no_text_is_longer_than_it_may_be(markup, body, limit):
    """And the marker is in it, and the block ended, however much is cut."""
    rendered = markup.render(Text("It went wrong.", (), body, marker=MARK), limit)

    assert len(rendered) <= limit
    assert MARK in rendered
    assert parts_of(markup, rendered) is not None


@pytest.mark.parametrize("markup", MARKUPS, ids=lambda markup: type(markup).__name__)
@given(text=wild, limit=st.integers(60, 300))
def test_a_title_is_one_line(markup, text, limit):
    """Without control characters, and no longer than it may be."""
    title = markup.title(text, limit)

    assert len(title) <= limit
    assert not re.search("[\x00-\x1f\x7f\u2028\u2029]", title)


def test_a_title_of_markdown_mentions_nobody():
    """GitLab reads references in titles, too."""
    title = Markdown().title("@ann #1 !2 ~bug %v1 `code`", 255)

    assert not re.search(r"[@#!~%]\w|`", title)


def test_beginning_and_end_are_what_is_left():
    """The message comes first, the innermost frames last."""
    body = "the message\n" + "middle\n" * 10_000 + "the last frame"

    rendered = Markdown().render(Text("It went wrong.", body=body, marker=MARK), 2_000)

    assert "the message\n" in rendered
    assert "characters cut] …" in rendered
    assert rendered.endswith("the last frame\n```")


def test_a_text_without_anything_is_its_heading():
    """No empty block follows."""
    assert TracWiki().render(Text("The ticket is solved."), 100) == "The ticket is solved."
    linked = Text("The ticket is solved.", link="https://tickets.example/7")
    assert Markdown().render(linked, 100) == "The ticket is solved.\n\nhttps://tickets.example/7"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password=hunter2", "password=[Filtered]"),
        ("DB_PASSWORD: 'hunter2 and more', x", "DB_PASSWORD: [Filtered], x"),
        ('{"api_key": "k-123", "n": 1}', '{"api_key": [Filtered], "n": 1}'),
        ("Authorization: Bearer abc.def", "Authorization: [Filtered]"),
        ("token = s3cr3t)", "token = [Filtered])"),
        ("postgresql://ann:s3cr3t@db/shop", "postgresql://[Filtered]@db/shop"),
        ("error: password=hunter2", "error: password=[Filtered]"),
        ("password: token=hunter2 x", "password: [Filtered] x"),
        (r"{\"password\": \"hunter2\", \"n\": 1}", r"{\"password\": [Filtered], \"n\": 1}"),
        ("?user=ann&access_token=abc&n=1", "?user=ann&access_token=[Filtered]&n=1"),
        ('password="hunter2 and', "password=[Filtered]"),
        ("author: Ann", "author: Ann"),
        ("monkey=7 at 12:30", "monkey=7 at 12:30"),
    ],
)
def test_what_is_named_like_a_secret_is_filtered(text, shown):
    """The name stays, what follows it goes."""
    assert scrub(text) == shown


def test_a_secret_is_filtered_however_the_text_is_cut():
    """It is cut after it was filtered."""
    body = "x\n" * 5_000 + "password=hunter2 " + "y\n" * 5_000

    for limit in range(1_000, 1_060):
        assert "hunter2" not in Markdown().render(Text("It went wrong.", body=body), limit)


def test_fields_that_are_named_like_secrets_are_filtered():
    """As for Sentry."""
    shown = scrubbed_json({"token": "s3cr3t", "user": {"password": "x", "name": "ann"}})

    assert "s3cr3t" not in shown
    assert '"name": "ann"' in shown


@given(text=wild.map(lambda text: text * 200))
def test_filtering_never_fails(text):
    """Nor takes long: it looks at each character a few times."""
    scrub(text)


def test_a_challenge_is_answered():
    """As in the example of RFC 2069, its answer put right by the erratum."""
    challenge = (
        'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )

    text = digest(challenge, "Mufasa", "CircleOfLife", "GET", "/dir/index.html")

    assert 'response="1949323746fe6a43ef61f9606e7febea"' in text
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in text
