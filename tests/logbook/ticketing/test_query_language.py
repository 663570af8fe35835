"""What people type to find tickets: read, written again, and explained where it is wrong."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook._levels import LEVEL_NAMES
from sprockets.logbook.ticketing import Query, QueryError, format_query, parse_query
from sprockets.logbook.ticketing._query_language import FIELD_NAMES, MAX_LENGTH
from sprockets.logbook.ticketing._search import STATES

NOW = datetime(2026, 11, 21, 12, 0)


def parse(text, **options):
    return parse_query(text, **{"now": NOW, "me": "ann", **options})


def test_a_query_of_everything_there_is():
    """Each term is a condition."""
    query = parse(
        "is:new level:>=error channel:shop.* release:1.2 env:production assigned:me -is:ignored "
        'seen:24h first:7d count:>100 request:5c0f app:shop "text with spaces" word'
    )

    assert query == Query(
        states=("new",),
        min_level=14,
        channels=("shop.*",),
        releases=("1.2",),
        environments=("production",),
        assignees=("ann",),
        seen_since=NOW - timedelta(days=1),
        first_since=NOW - timedelta(days=7),
        min_count=101,
        request_ids=("5c0f",),
        app_ids=("shop",),
        texts=("text with spaces", "word"),
        excluded=(Query(states=("ignored",)),),
    )


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", Query()),
        (" \t\n", Query()),
        ("is:new,solved is:ignored", Query(states=("new", "solved", "ignored"))),
        ("IS:New", Query(states=("new",))),
        ("is:open", Query(states=("new", "assigned", "regressed"))),
        ("state:new status:solved", Query(states=("new", "solved"))),
        ("level:error,warning", Query(levels=(14, 13))),
        ("level:ERROR", Query(levels=(14,))),
        ("level:14", Query(levels=(14,))),
        ("level:>error", Query(min_level=15)),
        ("level:>=7", Query(min_level=7)),
        ("level:<info", Query(levels=(0, 9, 10))),
        ("level:<=debug", Query(levels=(0, 9, 10))),
        ("level:>=info level:>=error level:>=notice", Query(min_level=14)),
        ("count:>=5", Query(min_count=5)),
        ("count:>5 count:>3", Query(min_count=6)),
        ("assigned:none", Query(assignees=("",))),
        ('assigned:"none"', Query(assignees=("none",))),
        ('assigned:"me",me', Query(assignees=("me", "ann"))),
        ("assignee:bob", Query(assignees=("bob",))),
        ('channel:"a b","c,d"', Query(channels=("a b", "c,d"))),
        ('channel:""', Query(channels=("",))),
        ("environment:test request_id:x app_id:y", parse("env:test request:x app:y")),
        ("seen:90s", Query(seen_since=NOW - timedelta(seconds=90))),
        ("seen:30m", Query(seen_since=NOW - timedelta(minutes=30))),
        ("first:2w", Query(first_since=NOW - timedelta(weeks=2))),
        ("seen:2026-11-20", Query(seen_since=datetime(2026, 11, 20))),
        ("seen:2026-11-20T10:30", Query(seen_since=datetime(2026, 11, 20, 10, 30))),
        ("seen:2026-11-20T10:30+02:00", Query(seen_since=datetime(2026, 11, 20, 8, 30))),
        ("seen:1d seen:1h seen:2d", Query(seen_since=NOW - timedelta(hours=1))),
        (r'"say \"no\" \\ x"', Query(texts=('say "no" \\ x',))),
        ('"is:new"', Query(texts=("is:new",))),
        ('"-x"', Query(texts=("-x",))),
        ("a-b 3:4", Query(texts=("a-b", "3:4"))),
        ("-x -y", Query(excluded=(Query(texts=("x",)), Query(texts=("y",))))),
        ("-level:info,debug", Query(excluded=(Query(levels=(11, 10)),))),
        ("-(is:new app:x) y", Query(excluded=(parse("is:new app:x"),), texts=("y",))),
        ("-(-x)", Query(excluded=(Query(excluded=(Query(texts=("x",)),)),))),
        ("-()", Query(excluded=(Query(),))),
    ],
)
def test_a_query_means_this(text, query):
    """And means the same when it is written again."""
    assert parse(text) == query
    assert parse(format_query(query)) == query


def test_now_is_now_and_me_is_nobody_unless_said():
    """For scripts."""
    before = datetime.now(UTC).replace(tzinfo=None)
    query = parse_query("seen:1h")

    assert before <= query.seen_since + timedelta(hours=1) <= before + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("text", "position", "length", "says"),
    [
        ("is:new lvl:error", 7, 3, "unknown field 'lvl'; did you mean 'level'?; known: is, level"),
        ("ValueError:", 0, 10, "text with a colon goes in quotes"),
        ("is:nwe", 3, 3, "unknown state 'nwe'; did you mean 'new'?; known: new, assigned"),
        ("level:>=eror", 6, 6, "unknown level 'eror'; did you mean 'error'?; known: critical"),
        ("level:xyz", 6, 3, "unknown level 'xyz'; known: critical, error"),
        ("level:>critical", 6, 9, "there is no level above this one"),
        ("level:<notset", 6, 7, "there is no level below this one"),
        ("count:5", 6, 1, "a count is a least number, as in count:>=100"),
        ("count:>x", 6, 2, "a count is a least number"),
        ("seen:yesterday", 5, 9, "seen: takes a time as 30m, 24h, 7d or 2w, or as 2026-11-21"),
        ("first:999999w", 6, 7, "first: takes a time as"),
        ("seen:0001-01-01T00:00+14:00", 5, 22, "seen: takes a time as"),
        ("is: x", 3, 1, "is: needs a value"),
        ("is:new,", 7, 1, "is: needs a value"),
        ("assigned:me", 9, 2, "nobody knows who 'me' is; say the name"),
        ('x "abc', 2, 1, "there is no second quote for this one"),
        ('channel:a"b"', 9, 1, "a space is missing here"),
        ("x - y", 2, 1, "'-' stands before what is not so; a minus sign goes in quotes"),
        ("--x", 0, 1, "'-' stands before what is not so"),
        ("a -(b", 3, 1, "there is no ')' for this one"),
        ("a)", 1, 1, "there is no '(' for this one"),
        ("(a)", 0, 1, "parentheses stand behind '-' only"),
        ("-(" * 30, 41, 1, "at most 20 parentheses within each other"),
        ("x" * (MAX_LENGTH + 1), MAX_LENGTH, 1, "a query has at most 4000 characters"),
    ],
)
def test_an_error_shows_the_place_and_what_is_known(text, position, length, says):
    """In words for those who typed it, and in numbers for whoever marks it."""
    with pytest.raises(QueryError) as caught:
        parse(text, me=None)

    error = caught.value
    assert isinstance(error, ValueError)
    assert (error.query, error.position, error.length) == (text, position, length)
    assert says in error.message
    message, shown, marks = str(error).split("\n")
    assert message == error.message
    begin, end = marks.index("^"), len(marks)
    assert shown[begin:end] == text[position : position + length].replace("\n", " ")[: end - begin]


def test_the_place_in_a_long_query_is_still_in_sight():
    """Only what is around it is shown, in one line."""
    with pytest.raises(QueryError) as caught:
        parse("word\n" * 100 + "lvl:x " + "word " * 100)

    _, shown, marks = str(caught.value).split("\n")
    assert len(shown) < 130
    assert shown[marks.index("^") : len(marks)] == "lvl"


texts = st.text(max_size=8)
numbers = st.integers(0, 10**9 - 1)
moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))
names = st.lists(texts, max_size=2).map(tuple)


def queries(inner):
    return st.builds(
        Query,
        states=st.lists(st.sampled_from(STATES), max_size=3).map(tuple),
        levels=st.lists(st.sampled_from(sorted(LEVEL_NAMES)) | numbers, max_size=3).map(tuple),
        min_level=st.none() | st.sampled_from(sorted(LEVEL_NAMES)) | numbers,
        channels=names,
        releases=names,
        environments=names,
        app_ids=names,
        assignees=st.lists(texts | st.sampled_from(("me", "none", "")), max_size=3).map(tuple),
        request_ids=names,
        seen_since=st.none() | moments,
        first_since=st.none() | moments,
        min_count=st.none() | numbers,
        texts=names,
        excluded=st.lists(inner, max_size=2).map(tuple),
    )


@settings(max_examples=150)
@given(queries(st.just(Query()) | queries(st.builds(Query, texts=names))))
def test_what_is_written_is_read_as_what_it_was(query):
    """Any query, whatever its texts are."""
    text = format_query(query)

    assert parse_query(text, me=None) == query


pieces = st.sampled_from(
    [*(f"{name}:" for name in FIELD_NAMES), "new", "error", ">=", ",", "-", "(", ")", '"', " ", "5"]
)


@settings(max_examples=300)
@given(st.text() | st.lists(pieces, max_size=20).map("".join))
def test_any_text_is_a_query_or_an_error_that_shows_a_place(text):
    """Nothing else comes out of it, and what is read can be written."""
    failure = None
    try:
        query = parse(text)
    except QueryError as error:
        failure = error
    if failure is None:
        assert parse(format_query(query)) == query
    else:
        assert 0 <= failure.position <= len(text)
        assert "^" in str(failure)


def test_a_query_reads_well():
    """For the address bar."""
    query = Query(
        states=("new", "regressed"),
        min_level=14,
        channels=("shop.*",),
        assignees=("",),
        texts=("time out", "disk"),
        excluded=(Query(levels=(11,)), Query(app_ids=("x",), texts=("-y",))),
    )

    assert format_query(query) == (
        'is:new,regressed level:>=error channel:shop.* assigned:none "time out" disk '
        '-level:info -(app:x "-y")'
    )
