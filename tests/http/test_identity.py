"""Names of requests: our own ids, those of others, and the W3C's trace context."""

import os
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.http._identity import (
    TraceParent,
    is_request_id,
    make_request_id,
    parse_traceparent,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
ALLOWED = string.ascii_letters + string.digits + "._~:/+=@-"


def ids_of_child(count):
    """Return the ids that a forked process makes."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, "\n".join(make_request_id() for _ in range(count)).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read, "rb") as file:
        return file.read().decode().split()


# -- ids


def test_an_id_is_32_hexadecimal_digits():
    """As a trace id is, and never all zero."""
    for _ in range(1000):
        made = make_request_id()
        assert re.fullmatch("[0-9a-f]{32}", made)
        assert int(made, 16)
        assert is_request_id(made)


def test_ids_are_unique_across_workers():
    """They are copies of one process; none continues the series of its parent or its sibling."""
    ids = [*ids_of_child(200), *ids_of_child(200), *(make_request_id() for _ in range(200))]

    assert len(ids) == len(set(ids)) == 600


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "7",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "Root=1-67891233-abcdef012345678912345678",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "user@host:/path/x.y_z~1+2",
        "x" * 128,
    ],
)
def test_an_id_from_outside_may_be_of_any_usual_kind(text):
    """UUIDs, ULIDs, what AWS sends, and what people make up."""
    assert is_request_id(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "-a", ".a", " a", "a ", "a\n", "a\r\nX: y", "a b", 'a"b', "a'b", "a\\b", "a<b"),
        *("a&b", "a;b", "a$b", "a`b", "a,b", "a%b", "a{b", "é", "a\x00", "\u0661", "x" * 129),
    ],
)
def test_anything_that_could_be_mistaken_for_something_else_is_no_id(text):
    """In a log line, in JSON, in a shell, in a page."""
    assert not is_request_id(text)


@given(text=st.text(max_size=140))
def test_what_is_an_id_has_nothing_but_harmless_characters(text):
    """No control characters, no quotes, no blanks, whatever comes."""
    assert is_request_id(text) == bool(
        1 <= len(text) <= 128
        and set(text) <= set(ALLOWED)
        and text[0] in string.ascii_letters + string.digits
    )


@given(
    text=st.text(ALLOWED, min_size=1, max_size=128), bad=st.characters(exclude_characters=ALLOWED)
)
def test_one_bad_character_spoils_an_id(text, bad):
    """At any end of it."""
    assert not is_request_id(text + bad)
    assert not is_request_id(bad + text)


# -- W3C trace context


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (f"00-{TRACE}-{PARENT}-01", 1),
        (f"00-{TRACE}-{PARENT}-00", 0),
        (f"00-{TRACE}-{PARENT}-ff", 255),
        (f"01-{TRACE}-{PARENT}-01", 1),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like", 1),
        (f"fe-{TRACE}-{PARENT}-01-", 1),
    ],
)
def test_a_valid_traceparent_is_read(text, flags):
    """Versions to come may have more after the flags."""
    assert parse_traceparent(text) == TraceParent(TRACE, PARENT, flags)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-001",
        f"00-{TRACE}-{PARENT}-01-",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01.",
        f"cc-{TRACE}-{PARENT}-01.what",
        f"ff-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f".0-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00-{TRACE}-{PARENT[:-1]}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT.upper()}-01",
        f"00-{TRACE}-{PARENT}-0A",
        f"00-{TRACE[:-1]}g-{PARENT}-01",
        f" 00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01 ",
        f"00-{TRACE}-{PARENT}-01\n",
        f"00_{TRACE}_{PARENT}_01",
        f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01",
    ],
)
def test_an_invalid_traceparent_is_ignored(text):
    """The table of the recommendation's own test suite, as far as one header goes."""
    assert parse_traceparent(text) is None


@given(
    version=st.integers(0, 254),
    trace=st.integers(1, 2**128 - 1),
    parent=st.integers(1, 2**64 - 1),
    flags=st.integers(0, 255),
)
def test_every_traceparent_that_can_be_written_is_read(version, trace, parent, flags):
    """And its trace id can name a request."""
    found = parse_traceparent(f"{version:02x}-{trace:032x}-{parent:016x}-{flags:02x}")

    assert found == (f"{trace:032x}", f"{parent:016x}", flags)
    assert is_request_id(found.trace_id)


@given(text=st.text(max_size=80))
def test_whatever_is_sent_reading_it_fails_quietly(text):
    """The header comes from outside."""
    assert parse_traceparent(text) is None
