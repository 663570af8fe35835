"""Trees are drawn for people, written for programs, chosen and counted."""

import json
import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.eliot._trees._as_json import to_json
from sprockets.eliot._trees._drawing import Look, draw
from sprockets.eliot._trees._entry import read_entry
from sprockets.eliot._trees._flow import Word, columns, flow, paint, words_of
from sprockets.eliot._trees._growth import grow
from sprockets.eliot._trees._selection import Selection, line_filter
from sprockets.eliot._trees._summary import OTHERS, Summary
from sprockets.eliot._trees._times import format_duration, parse_duration, parse_moment

UUID = "2e9628dc-f5c8-44a3-97f1-a5c12128761a"
PLACE = f'"task_uuid":"{UUID}"'
SALE = f"""\
{{"key":123,"action_status":"started","timestamp":1795224951.1549714,{PLACE},"action_type":"app:parent","task_level":[1]}}
{{"x":1,"timestamp":1795224951.155038,{PLACE},"task_level":[2],"message_type":"app:info"}}
{{"n":2,"action_status":"started","timestamp":1795224951.1550603,{PLACE},"action_type":"app:child","task_level":[3,1]}}
{{"x":2,"timestamp":1795224951.1550703,{PLACE},"task_level":[3,2],"message_type":"app:info"}}
{{"result":[1,2],"action_status":"succeeded","timestamp":1795224951.155084,{PLACE},"action_type":"app:child","task_level":[3,3]}}
{{"action_status":"started","timestamp":1795224951.155096,{PLACE},"action_type":"app:badchild","task_level":[4,1]}}
{{"errno":2,"exception":"builtins.FileNotFoundError","reason":"[Errno 2] No such file: '/x'","action_status":"failed","timestamp":1795224951.1551228,{PLACE},"action_type":"app:badchild","task_level":[4,2]}}
{{"exception":"builtins.RuntimeError","reason":"ono","action_status":"failed","timestamp":1795224951.15514,{PLACE},"action_type":"app:parent","task_level":[5]}}
"""
REQUEST = {"request_id": "4711", "method": "POST", "path": "/orders", "handler": "shop.Orders"}


def message(level, at, **members):
    return {"timestamp": at, "task_uuid": UUID, "task_level": level, **members}


def record(text, level, at, name="INFO", exception=None, **extra):
    moment = datetime.fromtimestamp(at, UTC).isoformat()
    return {
        "time": moment,
        "level_name": name,
        "channel": "shop",
        "message": text,
        "extra": {**REQUEST, "task_uuid": UUID, "task_level": level, **extra},
        **(exception or {}),
    }


def do(level, at, status, kind="app:do", **fields):
    return message(level, at, action_type=kind, action_status=status, **fields)


def tree_of(*lines):
    lines = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return grow(UUID, [read_entry(line.encode()) for line in lines])


def drawn(*lines, **look):
    return "\n".join(draw(tree_of(*lines), Look(**{"is_utc": True, **look}))) + "\n"


# -- the drawing


def test_a_task_is_drawn_as_a_tree():
    """When, what, whether it went well, how long it took, and why not."""
    assert (
        drawn(*SALE.splitlines())
        == f"""\
2026-11-21 01:35:51.154Z  task {UUID}
0.000000  ✘ app:parent  169 µs  RuntimeError: ono  key=123
0.000067  ├─ app:info  x=1
0.000089  ├─ ✔ app:child  24 µs  n=2  → result=[1, 2]
0.000099  │  └─ app:info  x=2
0.000125  └─ ✘ app:badchild  27 µs  FileNotFoundError: [Errno 2] No such file: '/x'  → errno=2
"""
    )


def test_what_was_cut_off_is_drawn_as_unfinished():
    """As a process leaves it that was killed; here with ASCII signs, in a narrow window."""
    assert (
        drawn(*SALE.splitlines()[:6], is_ascii=True, width=60)
        == f"""\
2026-11-21 01:35:51.154Z
    task {UUID}  unfinished
0.000000  ... app:parent  unfinished  key=123
0.000067  |- app:info  x=1
0.000089  |- ok app:child  24 us  n=2  -> result=[1, 2]
0.000099  |  `- app:info  x=2
0.000125  `- ... app:badchild  unfinished
"""
    )


def test_records_stand_in_their_actions_and_repeat_nothing():
    """What the request says of itself is said once; a failure shows its traceback."""
    failure = {
        "exception_name": "builtins.TimeoutError",
        "exception_message": "the bank is silent",
        "formatted_exception": 'Traceback:\n  File "pay.py", line 12, in pay\nTimeoutError: silent',
    }
    lines = [
        do([1], 100, "started", "http:request", **REQUEST),
        record("taking order 12", [], 100.001, order=12),
        do([2, 1], 100.002, "started", "order:pay", amount=12.5),
        record("asking the bank", [2], 100.003, "DEBUG"),
        record("payment failed", [2], 100.81, "ERROR", failure, order=12),
        do([2, 2], 100.811, "failed", "order:pay", exception="app.Broke", reason="no money"),
        {
            **record('::1 - - "POST /orders" 500', [3], 100.812, "ERROR"),
            "extra": {
                **REQUEST,
                **do([3], None, "failed", "http:request", duration=0.812),
                "status": 500,
            },
        },
    ]

    assert (
        drawn(*lines, width=80)
        == f"""\
1970-01-01 00:01:40.000Z  task {UUID}
    request 4711
0.000  ✘ http:request POST /orders → 500  812 ms  handler=shop.Orders
0.001  ├─ INFO shop: taking order 12  order=12
0.002  └─ ✘ order:pay  809 ms  app.Broke: no money  amount=12.5
0.003     ├─ DEBUG shop: asking the bank
0.810     └─ ERROR shop: payment failed  TimeoutError: the bank is silent
                order=12
                Traceback:
                  File "pay.py", line 12, in pay
                TimeoutError: silent
"""
    )


def test_the_end_of_a_request_is_enough_to_draw_it():
    """Its start is below the level that is written; the duration tells when it was."""
    lines = [
        record("taking order 12", [], 100.001),
        record("asking", [2], 100.002),
        {
            **record("", [], 100.5),
            "extra": {
                **REQUEST,
                **do([7], None, "succeeded", "http:request", duration=0.5),
                "status": 201,
            },
        },
    ]

    assert (
        drawn(*lines)
        == f"""\
1970-01-01 00:01:40.000Z  task {UUID}  request 4711
0.000  ✔ http:request POST /orders → 201  500 ms  handler=shop.Orders
0.001  ├─ INFO shop: taking order 12
       └─ · /2
0.002     └─ INFO shop: asking
"""
    )


def test_single_messages_are_one_line_with_their_time():
    """There is no tree to draw around them."""
    line = message([1], 100, message_type="app:up", value="two words", none=None, text="1")
    failure = message(
        [1],
        100,
        message_type="eliot:traceback",
        exception="builtins.ValueError",
        reason="because",
        traceback="Traceback:\n\tin x\nValueError: because\n",
    )

    assert (
        drawn(line) == '1970-01-01 00:01:40.000Z  app:up  value="two words"  none=null  text="1"\n'
    )
    assert (
        drawn(failure)
        == """\
1970-01-01 00:01:40.000Z  ✘ ValueError: because
    Traceback:
        in x
    ValueError: because
"""
    )


def test_fields_are_chosen_by_patterns():
    """None of them, or those that are named."""
    lines = SALE.splitlines()

    assert "=" not in drawn(*lines, fields=())
    assert set(re.findall(r"\w+=", drawn(*lines, fields=("r*", "key")))) == {"key=", "result="}


def test_times_are_those_of_the_clock_if_wanted():
    """With the date where a task lasted over midnight."""
    assert "01:35:51.155  ├─ app:info" in drawn(*SALE.splitlines(), is_absolute=True)
    lines = [do([1], 86399.5, "started"), do([2], 86400.5, "succeeded")]
    assert "\n01-01 23:59:59.500  ✔" in drawn(*lines, is_absolute=True)


def test_local_times_are_those_of_the_reader(monkeypatch):
    """Unless UTC is asked for, which says so."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert drawn(*SALE.splitlines(), is_utc=False).startswith("2026-11-21 10:35:51.154  task")
    finally:
        monkeypatch.undo()
        time.tzset()


EVIL = "\x1b[2J\x1b]0;owned\x07\r\b\x9b31m\u202e\ud800\x00"


@pytest.mark.parametrize("has_colors", [True, False])
@pytest.mark.parametrize("width", [None, 40, 100])
def test_nothing_in_a_log_is_obeyed_by_the_terminal(has_colors, width):
    """Wherever it stands, it is shown as escapes; the only sequences are our colours."""
    lines = [
        do([1], 1, "started", EVIL, **{EVIL: EVIL}),
        message([2], 2, message_type=EVIL, deep=[{EVIL: EVIL}]),
        message(
            [3], 3, message_type="eliot:traceback", exception=EVIL, reason=EVIL, traceback=EVIL
        ),
        {
            **record(EVIL, [], 4, EVIL, {"formatted_exception": EVIL}, **{EVIL: EVIL}),
            "channel": EVIL,
        },
        do([4], 5, "failed", EVIL, exception=EVIL, reason=EVIL, request_id=EVIL),
    ]
    lines = [{**line, "task_uuid": EVIL} if "timestamp" in line else line for line in lines]

    text = drawn(*lines, has_colors=has_colors, width=width)

    plain = re.sub(r"\x1b\[[0-9;]*m", "", text) if has_colors else text
    assert all(part.isprintable() for part in plain.split("\n"))
    assert "[2J" in plain
    assert ("\x1b" in text) == has_colors


@pytest.mark.parametrize("width", [40, 60, 100])
def test_lines_fit_into_the_window(width):
    """Words wrap, long ones are broken, wide characters count for two; the tree keeps some room."""
    lines = [
        do([1], 1, "started", kind="x" * 90, text="日本語" * 50),
        *(message([1] * depth, depth, message_type="m", n="y" * 500) for depth in range(2, 60)),
        record("word " * 100 + "\n\n   indented", [], 70),
    ]

    longest = max(map(columns, drawn(*lines, width=width).split("\n")))

    assert width - 8 <= longest <= width


def test_wide_lines_leave_nothing_out():
    """Each message is a line, to be searched; otherwise long texts are cut, and say so."""
    lines = [do([1], 1, "started", text="y" * 5_000), record("z" * 5_000, [], 2)]

    assert "y" * 5_000 in drawn(*lines, width=None)
    assert "z" * 5_000 in drawn(*lines, width=None)
    assert "… (4,800 more)" in drawn(*lines)
    assert "(3,000 more)" in drawn(*lines)


def test_long_tracebacks_are_cut_in_the_middle():
    """The beginning tells where it came from, the end what it was."""
    text = "\n".join(f"line {number}" for number in range(1_000))
    line = message([1], 1, message_type="eliot:traceback", exception="E", traceback=text)

    short = drawn(line)

    assert "    line 29\n      … 940 lines\n    line 970\n" in short
    assert drawn(line, width=None).count("\n") == 1_001


def test_colours_tell_what_matters():
    """A failure is red, and so is its reason."""
    text = drawn(*SALE.splitlines(), has_colors=True)

    assert "\x1b[0;1;31m✘\x1b[0m \x1b[0;1;31mapp:parent\x1b[0m" in text
    assert "\x1b[0;31mRuntimeError:\x1b[0m \x1b[0;31mono\x1b[0m" in text
    assert "\x1b[0;32m✔\x1b[0m \x1b[0;1mapp:child\x1b[0m  \x1b[0;36m24 µs" in text
    assert re.sub(r"\x1b\[[0-9;]*m", "", text) == drawn(*SALE.splitlines())


def test_trees_deeper_than_python_calls_are_drawn():
    """Down to the last leaf."""
    lines = [message([1] * depth, depth, message_type=f"m{depth}") for depth in range(2, 1_000)]

    text = drawn(*lines)

    assert text.count("\n") == 1_998
    assert "m999" in text


# -- text


@given(
    words=st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1)
    ),
    width=st.integers(2, 30),
)
def test_flowing_text_fits_and_loses_nothing(words, width):
    """No line is wider than it may be, and put together they are what was given."""
    lines = [
        paint(line, has_colors=False)
        for line in flow([Word([("", word)]) for word in words], width)
    ]

    assert "".join(lines).replace(" ", "") == "".join(words)
    assert all(columns(line) <= width for line in lines)


def test_indented_lines_keep_their_indentation():
    """As those of a traceback."""
    words = words_of("one\n  two  three\n\n\tfour")

    lines = [paint(line, has_colors=False) for line in flow(words, 40)]

    assert lines == ["one", "  two  three", "", "    four"]


# -- times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0.5", 0.5),
        (".5 s", 0.5),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("2m", 120),
        ("1h", 3600),
        ("7d", 604800),
    ],
)
def test_durations_are_read(text, seconds):
    """In seconds, or with a unit."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "fast", "-1", "1 fortnight", "1e3", "nan", "1.2.3"])
def test_what_is_no_duration_is_told_what_one_is(text):
    """The error shows what was given."""
    with pytest.raises(ValueError, match=re.escape(f"not a duration: {text!r}; expected like 0.5")):
        parse_duration(text)


@given(st.floats(1e-6, 3e6))
def test_formatted_durations_are_near_the_truth(seconds):
    """Whatever unit suits."""
    parts = re.findall(r"([\d.,]+) (µs|ms|s|m|h)", format_duration(seconds))

    total = sum(parse_duration(number.replace(",", "") + unit) for number, unit in parts)

    assert total == pytest.approx(seconds, rel=0.06 if seconds > 1e-5 else 0.5)


NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T08:00:00.5", datetime(2026, 11, 20, 8, 0, 0, 500_000, UTC)),
        ("2026-11-20 08:00+02:00", datetime(2026, 11, 20, 6, tzinfo=UTC)),
        ("9:30", datetime(2026, 11, 21, 9, 30, tzinfo=UTC)),
        ("09:30:15", datetime(2026, 11, 21, 9, 30, 15, tzinfo=UTC)),
        ("2h", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ("-30m", datetime(2026, 11, 21, 11, 30, tzinfo=UTC)),
        ("90s ago", datetime(2026, 11, 21, 11, 58, 30, tzinfo=UTC)),
    ],
)
def test_moments_are_read(text, wanted):
    """Dates, times of today, and how long ago it was."""
    assert parse_moment(text, NOON, is_utc=True) == wanted.timestamp()


@pytest.mark.parametrize("text", ["", "soon", "2026", "25:00", "12", "2026-13-01", "ago"])
def test_what_is_no_moment_is_told_what_one_is(text):
    """The error shows what was given."""
    with pytest.raises(ValueError, match=f"not a moment: '{text}'; expected like 2026-11-21"):
        parse_moment(text, NOON)


# -- the choice


FAILED = tree_of(*SALE.splitlines())
FINE = tree_of(
    do([1], 10, "started", request_id="4711"),
    do([2, 1], 11, "started", "db:query"),
    do([2, 2], 13, "succeeded", "db:query"),
    do([3], 14, "succeeded"),
)
OPEN = tree_of(do([1], 10, "started"), do([2, 1], 11, "started"), do([2, 2], 12, "succeeded"))
SINGLE = tree_of(message([1], 20, message_type="app:do"))
TREES = {"FAILED": FAILED, "FINE": FINE, "OPEN": OPEN, "SINGLE": SINGLE}


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, "FAILED FINE OPEN SINGLE"),
        ({"request_id": "4711"}, "FINE"),
        ({"request_id": "47"}, ""),
        ({"task": UUID[:8]}, "FAILED FINE OPEN SINGLE"),
        ({"task": "other"}, ""),
        ({"status": "failed"}, "FAILED"),
        ({"status": "started"}, "OPEN"),
        ({"status": "succeeded"}, "FINE"),
        ({"action_type": "app:*"}, "FAILED FINE OPEN"),
        ({"action_type": "db:*"}, "FINE"),
        ({"action_type": "app:child", "status": "succeeded"}, "FAILED"),
        ({"action_type": "app:child", "status": "failed"}, ""),
        ({"min_duration": 1}, "FINE OPEN"),
        ({"min_duration": 4.1}, ""),
        ({"action_type": "db:*", "min_duration": 2}, "FINE"),
        ({"action_type": "db:*", "min_duration": 2.1}, ""),
        ({"status": "started", "min_duration": 0.1}, ""),
        ({"status": "succeeded", "min_duration": 4}, "FINE"),
        ({"since": 13}, "FAILED FINE SINGLE"),
        ({"since": 14, "until": 20}, "FINE"),
        ({"until": 10}, ""),
        ({"until": 10.1}, "FINE OPEN"),
    ],
)
def test_trees_are_chosen(wanted, names):
    """By what is in them; everything that is asked for must hold, of one action where it can."""
    selection = Selection(**wanted)

    assert [name for name, tree in TREES.items() if tree in selection] == names.split()


def test_what_continues_a_chosen_tree_is_chosen():
    """Late records would be lost otherwise: they do not fail, and may not name the request."""
    late = tree_of(record("late", [], 30))
    late.is_continued = True

    assert late not in Selection(status="failed")

    selection = Selection(status="failed")
    assert FAILED in selection
    assert late in selection


@pytest.mark.parametrize(
    ("texts", "line", "found"),
    [
        (["4711"], b'{"request_id": "4711"}', True),
        (["4711"], b'{"request_id": "4712"}', False),
        (["4711", "a.b"], b'{"request_id": "a.b"}', True),
        (["4711", "a.b"], b'{"request_id": "aXb"}', False),
    ],
)
def test_lines_are_chosen_by_their_bytes(texts, line, found):
    """It is quick, and leaves out what cannot matter only."""
    assert bool(line_filter(texts)(line)) == found


@pytest.mark.parametrize("texts", [[], ["ä"], ['"'], ["a b"], [""], [str(n) for n in range(101)]])
def test_what_json_may_write_in_two_ways_is_not_looked_for_in_bytes(texts):
    """Nor too many at once."""
    assert line_filter(texts) is None


# -- the summary


def test_a_summary_counts_types_of_actions():
    """How often, how often not, and how long."""
    summary = Summary()
    for tree in TREES.values():
        summary.add(tree)

    assert list(summary.draw()) == [
        "action type   count  failed  unfinished     p50     p95     max",
        "app:do            3       0           1  1.00 s  4.00 s  4.00 s",
        "app:badchild      1       1           0   27 µs   27 µs   27 µs",
        "app:child         1       0           0   24 µs   24 µs   24 µs",
        "app:parent        1       1           0  169 µs  169 µs  169 µs",
        "db:query          1       0           0  2.00 s  2.00 s  2.00 s",
    ]
    assert next(iter(summary.to_rows())) == {
        "action_type": "app:do",
        "count": 3,
        "failed": 0,
        "unfinished": 1,
        "p50": 1,
        "p95": 4,
        "max": 4,
    }


@given(st.lists(st.floats(0.001, 1_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_quantiles_are_right_to_three_digits(durations, share):
    """However many there are, for little memory."""
    summary = Summary()
    for duration in durations:
        summary.add(tree_of(do([2], 1, "succeeded", duration=duration)))
    (line,) = summary.lines.values()

    exact = sorted(durations)[max(0, -int(-share * len(durations) // 1) - 1)]

    assert line.quantile(share) == pytest.approx(exact, rel=0.0051)
    assert line.longest == max(durations)


def test_the_number_of_types_is_bounded(monkeypatch):
    """Whoever puts an id into the type does not fill the memory."""
    monkeypatch.setattr("sprockets.eliot._trees._summary._MAX_TYPES", 2)
    summary = Summary()

    for number in range(10):
        summary.add(tree_of(do([1], 1, "started", f"type {number}")))

    assert {name: line.count for name, line in summary.lines.items()} == {
        "type 0": 1,
        "type 1": 1,
        OTHERS: 8,
    }


# -- for programs


def test_a_tree_as_json_says_everything():
    """Nested as the actions are, with times in UTC."""
    members = json.loads(to_json(FAILED))

    root = members.pop("root")
    assert members == {
        "task_uuid": UUID,
        "request_ids": [],
        "start": "2026-11-21T01:35:51.154971Z",
        "end": "2026-11-21T01:35:51.155140Z",
        "finished": True,
        "continued": False,
    }
    children = root.pop("children")
    assert root == {
        "action_type": "app:parent",
        "action_status": "failed",
        "task_level": [],
        "start": "2026-11-21T01:35:51.154971Z",
        "end": "2026-11-21T01:35:51.155140Z",
        "duration": 0.000169,
        "exception": "builtins.RuntimeError",
        "reason": "ono",
        "fields": {"key": 123},
    }
    assert [child.get("action_type") for child in children] == [None, "app:child", "app:badchild"]
    assert children[0] == {
        "message_type": "app:info",
        "task_level": [2],
        "time": "2026-11-21T01:35:51.155038Z",
        "fields": {"x": 1},
    }
    assert children[1]["end_fields"] == {"result": [1, 2]}


def test_a_record_as_json_has_the_members_of_a_record():
    """Alone, or in a tree."""
    assert json.loads(to_json(tree_of(record("hi", [], 5, user="ann"))))["root"]["children"] == [
        {
            "task_level": [],
            "time": "1970-01-01T00:00:05.000000Z",
            "level_name": "INFO",
            "channel": "shop",
            "message": "hi",
            "fields": {
                "method": "POST",
                "path": "/orders",
                "handler": "shop.Orders",
                "user": "ann",
            },
        }
    ]


def test_the_json_of_what_json_does_not_have_is_strict():
    """Not a number is null; and trees may be deeper than Python calls."""
    line = json.dumps(message([1] * 999, 5, message_type="m", ratio=float("nan")))

    text = to_json(tree_of(line))

    assert text.isascii()
    assert '"fields":{"ratio":null}' in text
    assert text.count('"children":[') == text.count("]}") == 999
