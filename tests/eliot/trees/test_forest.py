"""Lines become entries, entries become trees, and what is held meanwhile is bounded."""

import io
import json
import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.eliot import (
    FileDestination,
    add_destinations,
    log_message,
    remove_destination,
    start_action,
    start_task,
)
from sprockets.eliot._trees import _forest
from sprockets.eliot._trees._entry import MAX_DEPTH, Entry, read_entry
from sprockets.eliot._trees._facts import facts_of
from sprockets.eliot._trees._forest import Forest
from sprockets.eliot._trees._growth import Action, grow
from sprockets.eliot.logbook import ActionHandler, ActionProcessor, StacksDestination
from sprockets.logbook import Logger, StreamHandler, TestHandler
from sprockets.logbook._json import JSONFormatter

UUID = "2e9628dc-f5c8-44a3-97f1-a5c12128761a"
OTHER = "8c813245-9773-4a55-ab8c-7baf4fb9250b"
START = 1795224951.0


def message(level, after=0.0, task=UUID, **members):
    """Return the line of a message; without a type, it is one of ``app:info``."""
    if "action_type" not in members:
        members.setdefault("message_type", "app:info")
    members.update(timestamp=START + after, task_uuid=task, task_level=level)
    return json.dumps(members).encode() + b"\n"


def start(level, after=0.0, kind="app:do", **members):
    return message(level, after, action_type=kind, action_status="started", **members)


def end(level, after=0.0, kind="app:do", status="succeeded", **members):
    return message(level, after, action_type=kind, action_status=status, **members)


def record(text, level=(), after=0.0, task=UUID, **extra):
    """Return the line that a record becomes."""
    logger = Logger("shop")
    fields = {} if task is None else {"task_uuid": task, "task_level": list(level)}
    with TestHandler() as logs:
        logger.warning(text, extra={**fields, **extra})
    members = json.loads(JSONFormatter()(logs.records[0], logs))
    seconds = f"{START + after:.6f}".partition(".")
    assert seconds[0].startswith("17952249")
    members["time"] = f"2026-11-21T01:35:{int(seconds[0]) - 1795224900:02d}.{seconds[2]}Z"
    return json.dumps(members).encode() + b"\n"


def entries(*lines):
    found = [read_entry(line) for line in lines]
    assert None not in found
    return found


TASK = [
    start([1], 0, "app:parent", key=123),
    message([2], 1, x=1),
    start([3, 1], 2, "app:child"),
    record("inside", [3], 2.5),
    message([3, 2], 3, x=2),
    end([3, 3], 4, "app:child", result=7),
    end([4], 5, "app:parent", "failed", exception="builtins.RuntimeError", reason="ono"),
]


def outline(node):
    """Return a tree as nested lists of names, to be compared."""
    if isinstance(node, Entry):
        return node.name
    return [node.name, node.status, *map(outline, node.children)]


WHOLE = [
    "app:parent",
    "failed",
    "app:info",
    ["app:child", "succeeded", "shop", "app:info"],
]


def planted(lines, **options):
    """Return the trees that come of *lines*, in the order they come."""
    forest = Forest(**options)
    trees = []
    for entry in entries(*lines):
        trees += forest.add(entry, entry.time)
    return [*trees, *forest.clear()]


# -- lines


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"hello\n",
        b"[1]\n",
        b'"text"\n',
        b"{}\n",
        b"null",
        message([1])[:-20],
        message([1]) + b"x",
        b"\0" * 100,
        message([]),
        message("1"),
        message([1.5]),
        message([True]),
        message([-1]),
        message([1] * (MAX_DEPTH + 1)),
        message([1]).replace(str(START).encode(), b'"noon"'),
        message([1]).replace(str(START).encode(), b"NaN"),
        message([1]).replace(str(START).encode(), b"true"),
        message([1]).replace(str(START).encode(), b"1" + b"0" * 400),
        message([1], task=""),
        message([1], task=7),
        b'{"message": "no channel, no level"}',
        b'{"level": 11, "message": 5}',
        b'{"a":' * 100_000,
    ],
)
def test_what_is_neither_a_message_nor_a_record_is_no_entry(line):
    """Torn, foreign, malformed, or made to hurt: it is said to be none, and nothing breaks."""
    assert read_entry(line) is None


@pytest.mark.parametrize(
    ("line", "kind", "level", "name"),
    [
        (start([2, 1]), "start", (2, 1), "app:do"),
        (end([2, 5], status="failed"), "end", (2, 5), "app:do"),
        (message([2]), "message", (2,), "app:info"),
        (message([2], message_type=None), "message", (2,), ""),
        (b"\xef\xbb\xbf" + message([2]), "message", (2,), "app:info"),
        (message([2]).rstrip() + b"  \r\n", "message", (2,), "app:info"),
        (message([2], text="\N{SNOWMAN}"), "message", (2,), "app:info"),
        (message([2], text="XX").replace(b"XX", b"\xff\xfe"), "message", (2,), "app:info"),
        (record("text", [2]), "record", (2,), "shop"),
        (record("text", []), "record", (), "shop"),
    ],
)
def test_messages_and_records_are_told_apart(line, kind, level, name):
    """By their members; the level of a record is that of its action."""
    entry = read_entry(line)

    assert (entry.kind, entry.level, entry.name) == (kind, level, name)
    assert entry.task_uuid == UUID
    assert entry.time == START


def test_a_record_with_its_place_at_the_top_level_is_the_same():
    """Whoever flattens records before they are written changes nothing."""
    line = b"""{"time": "2026-11-21T01:35:51Z", "level": 11, "channel": "shop", "message": "hi",
               "task_uuid": "u", "task_level": [2], "request_id": "4711", "user": "ann"}"""

    entry = read_entry(line)

    assert (entry.kind, entry.task_uuid, entry.level) == ("record", "u", (2,))
    assert (entry.request_id, entry.time) == ("4711", START)
    facts = facts_of(entry)
    assert (facts.level_name, facts.text) == ("INFO", "hi")
    assert facts.fields == {"user": "ann"}


def test_a_message_that_took_the_way_of_records_has_its_own_level():
    """As records of the end of a request have it."""
    line = record(
        "GET / 500",
        [7],
        action_type="http:request",
        action_status="failed",
        duration=0.25,
        status=500,
        exception="builtins.ValueError",
        reason="no",
    )

    entry = read_entry(line)

    assert (entry.kind, entry.name, entry.status) == ("end", "http:request", "failed")
    assert (entry.level, entry.duration) == ((7,), 0.25)
    facts = facts_of(entry)
    assert facts.fields == {"duration": 0.25, "status": 500}
    assert (facts.exception, facts.reason) == ("builtins.ValueError", "no")


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("logbook:record", {"channel": "shop", "level": "WARNING", "extra": {"a": 1}}),
        ("eliot:stdlib", {"logger": "shop", "log_level": "WARNING", "a": 1}),
    ],
)
def test_a_message_made_of_a_record_reads_like_one(kind, members):
    """Whichever world it came from."""
    place = {"timestamp": START, "task_uuid": UUID, "task_level": [2], "message_type": kind}
    line = json.dumps({**place, "message": "hi", **members}).encode()

    facts = facts_of(read_entry(line))

    assert facts.is_record
    assert (facts.channel, facts.level_name, facts.text) == ("shop", "WARNING", "hi")
    assert facts.fields == {"a": 1}


# -- trees


def test_a_tree_has_the_order_of_events():
    """Messages stand by their levels, records between them by their time."""
    tree = grow(UUID, entries(*TASK))

    assert outline(tree.root) == WHOLE
    assert tree.root.duration == 5
    assert tree.is_whole


@given(seed=st.randoms(use_true_random=False))
def test_the_order_of_the_lines_does_not_matter(seed):
    """Threads and processes write into one file, in whatever order."""
    lines = list(TASK)
    seed.shuffle(lines)

    tree = grow(UUID, entries(*lines))

    assert outline(tree.root) == WHOLE


def test_a_clock_that_is_set_back_does_not_change_the_order():
    """Numbers count for more than times; a duration shows what the clock did."""
    lines = [
        start([1], 100),
        message([2], 101, message_type="first"),
        message([3], 1, message_type="second"),
        end([4], 2),
    ]

    tree = grow(UUID, entries(*lines))

    assert [child.name for child in tree.root.children] == ["first", "second"]
    assert tree.root.duration == -98


def test_messages_that_share_a_level_are_all_there():
    """As some libraries write them after a fork; what is the same line is there once."""
    again = message([2], 1, who="child")
    lines = [start([1]), message([2], 1), again, again, start([1], kind="app:else"), end([3])]

    tree = grow(UUID, entries(*lines))

    assert [child.line for child in tree.root.children] == [
        line.strip() for line in (lines[4], message([2], 1), again)
    ]
    assert tree.duplicates == 1


def test_a_message_told_as_a_record_too_is_there_once():
    """Somebody reads the log of records and the log of actions of one service together."""
    telling = {"action_type": "app:do", "action_status": "failed"}
    told = [
        record("app:do failed", [3], 5, **telling),
        record("m", [2], 1, message_type="app:info"),
    ]
    lines = [start([1]), told[1], message([2], 1), message([2], 1, more=2), end([3], 5), told[0]]
    lines[4] = end([3], 5, status="failed")

    tree = grow(UUID, entries(*lines))

    assert outline(tree.root) == ["app:do", "failed", "app:info", "app:info"]
    assert tree.duplicates == 2


@pytest.mark.parametrize("order", [1, -1])
def test_real_actions_are_read_in_either_way(order):
    """As messages in a file, as records in the stacks, and in both."""
    logger = Logger("shop")
    told = io.StringIO()
    handler = StreamHandler(told)
    handler.formatter = JSONFormatter()
    written = io.BytesIO()
    sinks = [FileDestination(written), StacksDestination()]
    add_destinations(*sinks)
    try:
        with handler, ActionProcessor(), suppress(KeyError), start_task(action_type="order", n=1):
            logger.info("taking it")
            log_message("order:asked", amount=2)
            with start_action(action_type="order:pay"):
                raise KeyError("purse")
    finally:
        for sink in sinks:
            remove_destination(sink)
    as_messages = written.getvalue().splitlines()
    as_records = told.getvalue().encode().splitlines()

    wanted = ["order", "failed", "shop", "order:asked", ["order:pay", "failed"]]
    assert len(as_messages) == 5
    assert len(as_records) == 6
    for lines in (as_records, (as_messages + as_records)[::order]):
        tree = grow("", entries(*lines))
        assert outline(tree.root) == wanted
        facts = facts_of(tree.root.end)
        assert (facts.exception, facts.reason, facts.fields) == ("builtins.KeyError", "'purse'", {})


def test_real_records_are_read_as_messages():
    """Of a handler that writes them among the actions, with their exceptions."""
    written = io.BytesIO()
    sink = FileDestination(written)
    add_destinations(sink)
    try:
        with ActionHandler(), start_task(action_type="order"):
            Logger("shop").warning("late", extra={"by": 3})
    finally:
        remove_destination(sink)

    tree = grow("", entries(*written.getvalue().splitlines()))

    facts = facts_of(tree.root.children[0])
    assert facts.is_record
    assert (facts.level_name, facts.channel, facts.text) == ("WARNING", "shop", "late")
    assert facts.fields == {"by": 3}


def test_an_action_that_is_only_spoken_of_is_there_without_a_name():
    """Its messages are below the level that is written, a record in it is not."""
    tree = grow(UUID, entries(start([1]), record("deep", [2, 3], 1), end([3], 2)))

    (outer,) = tree.root.children
    (inner,) = outer.children
    assert (outer.name, outer.status, outer.duration) == ("", "", None)
    assert (outer.level, inner.level) == ((2,), (2, 3))
    assert outline(inner) == ["", "", "shop"]


def test_an_end_without_a_start_tells_when_it_began():
    """From the duration that it has as a field."""
    (end_,) = entries(end([7], 5, duration=2))

    root = grow(UUID, [end_]).root

    assert (root.started_at, root.duration) == (START + 3, 2)


def test_levels_as_deep_as_they_may_be_are_grown_and_forgotten():
    """Nothing here calls itself."""
    level = [1] * MAX_DEPTH

    (tree,) = planted([start([*level[:-1], 1])])

    assert len(list(tree.actions())) == MAX_DEPTH
    assert isinstance(tree.root, Action)


# -- the forest


def completed_by(lines):
    """Return how many trees each of *lines* completes."""
    forest = Forest()
    return [len(list(forest.add(entry, entry.time))) for entry in entries(*lines)]


def test_a_task_comes_with_the_message_that_completes_it():
    """Not before, and it is forgotten then."""
    assert completed_by(TASK) == [0, 0, 0, 0, 0, 0, 1]
    assert completed_by([TASK[-1], *TASK[:-1]]) == [0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("missing", range(7))
def test_a_task_with_a_gap_is_not_complete(missing):
    """A record has no number, so nobody misses it."""
    lines = TASK[:missing] + TASK[missing + 1 :]

    assert sum(completed_by(lines)) == (missing == 3)


def test_numbers_after_the_end_do_not_hold_a_task_up():
    """A process that was forked within it counts from far away."""
    lines = [start([1]), message([2**31 + 5], 1), start([2**40, 1], 2), end([2**40, 2], 3)]

    assert completed_by([*lines, end([2], 4)]) == [0, 0, 0, 0, 1]


def test_an_action_after_the_end_is_waited_for():
    """It is part of the task as long as it is open."""
    lines = [start([1]), start([2**40, 1], 2), end([2], 3), end([2**40, 2], 4)]

    assert completed_by(lines) == [0, 0, 0, 1]


def test_single_messages_and_records_are_complete_at_once():
    """A message outside of any action; a record of no task and no request."""
    assert completed_by([message([1]), record("up", task=None)]) == [1, 1]
    assert [tree.task_uuid for tree in planted([message([1]), record("up", task=None)])] == [
        UUID,
        "",
    ]


def test_tasks_come_in_the_order_of_their_completion():
    """However they are interleaved; what is incomplete comes at the end."""
    lines = [
        message([1], task="open", action_type="a", action_status="started"),
        message([1], task="slow", action_type="a", action_status="started"),
        message([1], task="fast", action_type="a", action_status="started"),
        message([2], task="fast", action_type="a", action_status="succeeded"),
        message([2], task="slow", action_type="a", action_status="succeeded"),
    ]

    trees = planted(lines)

    assert [tree.task_uuid for tree in trees] == ["fast", "slow", "open"]
    assert [tree.is_whole for tree in trees] == [True, True, False]


def test_a_task_that_has_ended_with_gaps_comes_when_it_is_quiet():
    """A log that leaves out the lower levels has nothing but gaps."""
    forest = Forest(linger=10)
    (last,) = entries(end([9], 5))
    (late,) = entries(record("late", after=12))

    assert list(forest.add(last, 5)) == []
    assert list(forest.settle(14)) == []
    assert list(forest.add(late, 14)) == []
    assert list(forest.settle(24)) == []
    (tree,) = forest.settle(24.5)

    assert [child.name for child in tree.root.children] == ["shop"]
    assert tree.is_whole
    assert len(forest) == 0


def test_what_comes_after_a_task_is_a_tree_that_says_so():
    """It is not lost, and not taken for an unfinished task."""
    first, second = planted([*TASK, message([5], 6), record("late", after=7)])

    assert not first.is_continued
    assert second.is_continued
    assert second.is_whole
    assert [child.name for child in second.root.children] == ["app:info", "shop"]


def test_records_of_a_request_without_actions_are_a_tree():
    """Its id holds them together, and the access log ends it."""
    lines = [
        record("one", task=None, request_id="4711", after=1),
        record("two", task=None, request_id="4712", after=1),
        record("GET /", task=None, request_id="4711", after=3, status=503, duration=2.5)
        .replace(b'"shop"', b'"tornado.access"'),
    ]  # fmt: skip

    first, second = planted(lines)

    assert list(first.request_ids) == ["4711"]
    assert outline(first.root) == ["http:request", "failed", "shop"]
    assert (first.root.started_at, first.is_whole) == (START + 0.5, True)
    assert (list(second.request_ids), second.is_whole) == (["4712"], False)


def test_an_unwanted_task_is_forgotten_at_once():
    """The choice is made with its first entry."""
    lines = [start([1]), message([2], task=OTHER), end([2], 1)]

    (tree,) = planted(lines, wants=lambda entry: entry.task_uuid == UUID)

    assert tree.task_uuid == UUID


# -- bounds


@given(
    tasks=st.lists(st.integers(0, 30), min_size=1, max_size=200),
    max_open=st.integers(1, 40),
)
@settings(max_examples=50)
def test_nothing_is_lost_however_few_may_be_open(tasks, max_open):
    """Every entry is in exactly one tree, and no more are held than was said."""
    forest = Forest(max_open=max_open)
    numbers = dict.fromkeys(tasks, 1)
    trees = []
    lines = []
    for task in tasks:
        numbers[task] += 1
        lines.append(message([numbers[task]], len(lines), task=f"task {task}"))
        (entry,) = entries(lines[-1])
        trees += forest.add(entry, entry.time)
        assert forest._weight <= max_open
        assert sum(len(task.entries) for task in forest._open.values()) <= max_open
    trees += forest.clear()

    found = sorted(entry.line for tree in trees for entry in tree.entries())
    assert found == sorted(line.strip() for line in lines)
    assert (forest._weight, forest._size, len(forest)) == (0, 0, 0)


def test_what_has_ended_goes_first_and_then_what_has_been_quiet_longest():
    """A task that has to go before its end is counted."""
    forest = Forest(max_open=8)

    def add(line):
        (entry,) = entries(line)
        return [tree.task_uuid for tree in forest.add(entry, entry.time)]

    def begin(task):
        return message([1], task=task, action_type="a", action_status="started")

    assert add(begin("quiet")) == []
    assert add(begin("busy")) == []
    assert add(message([9], task="ended", action_type="a", action_status="failed")) == []
    assert add(message([2], task="busy")) == []
    assert add(begin("new")) == ["ended"]
    assert forest.evicted == 0
    assert add(begin("newer")) == ["quiet"]
    assert forest.evicted == 1


def test_one_large_task_does_not_drive_out_the_others():
    """It goes itself, as it is, when it needs more than half of the room."""
    forest = Forest(max_open=20)
    (small,) = entries(message([1], task="small", action_type="a", action_status="started"))
    list(forest.add(small, 0))

    gone = []
    for number in range(2, 100):
        (entry,) = entries(message([number], number, task="large"))
        gone += [tree.task_uuid for tree in forest.add(entry, number)]

    assert set(gone) == {"large"}
    assert forest.evicted >= 1
    assert "small" in [tree.task_uuid for tree in forest.clear()]


def test_the_bytes_of_what_is_held_are_bounded_too():
    """A few long lines are as much as many short ones."""
    forest = Forest(max_bytes=10_000)

    for number in range(100):
        (entry,) = entries(message([2], task=f"task {number}", text="x" * 1_000))
        list(forest.add(entry, number))
        assert forest._size <= 10_000

    assert forest.evicted > 80


def test_deep_levels_count_for_what_they_make():
    """A line that speaks of a thousand actions takes the room of a thousand."""
    forest = Forest(max_open=5_000)

    for number in range(50):
        (entry,) = entries(message([1] * MAX_DEPTH, task=f"task {number}"))
        list(forest.add(entry, number))

    assert len(forest) <= 5


def test_what_is_remembered_of_drawn_tasks_is_bounded(monkeypatch):
    """The oldest are forgotten."""
    monkeypatch.setattr(_forest, "_MAX_REMEMBERED", 3)
    forest = Forest()

    for number in range(10):
        (entry,) = entries(message([1], task=f"task {number}"))
        list(forest.add(entry, number))

    assert len(forest._remembered) == 3


def test_a_forest_needs_room():
    """The error says what was given."""
    with pytest.raises(ValueError, match="max_open must be at least 1, got 0"):
        Forest(max_open=0)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_random_trees_are_complete_when_their_last_message_is_there(seed):
    """The count of what is missing agrees with what was left out, in any order."""
    chance = random.Random(seed)
    lines = []

    def act(level, depth):
        number = 1
        lines.append(start([*level, number], len(lines)))
        for _ in range(chance.randrange(4)):
            number += 1
            if depth and chance.random() < 0.5:
                act([*level, number], depth - 1)
            else:
                lines.append(message([*level, number], len(lines)))
        lines.append(end([*level, number + 1], len(lines)))

    act([], 3)
    chance.shuffle(lines)

    assert completed_by(lines) == [0] * (len(lines) - 1) + [1]
