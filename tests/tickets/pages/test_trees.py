"""The tree of a request, put together from the records that are known of it."""

from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook.record import LogRecord
from sprockets.tickets._trees import MAX_GUIDES, MAX_ROWS, SCALE, draw_trees, unique
from tests.tickets.pages import seeding

BEGIN = datetime(2026, 11, 21, 10)


def record(after=0.0, message="said", uuid="task", level=(), **fields):
    """Return a record as a store hands it out."""
    extra = {"task_uuid": uuid, "task_level": list(level), **fields.pop("extra", {})}
    made = LogRecord.from_dict(
        {
            "level": 11,
            "channel": "shop",
            "msg": message,
            "message": message,
            "time": f"{(BEGIN + timedelta(seconds=after)).isoformat(timespec='microseconds')}Z",
            "extra": {name: value for name, value in extra.items() if value is not None},
            **fields,
        }
    )
    made.heavy_initialized = True
    return made


def action(after, level, status, kind="sale", /, **extra):
    """Return a record that an action's message became."""
    fields = {"action_type": kind, "action_status": status, **extra}
    return record(after, f"{kind} {status}", level=level, extra=fields)


def drawn(tree):
    return [
        (row.depth, row.kind, row.name, row.status or row.level_name, row.text) for row in tree.rows
    ]


def test_actions_and_records_find_their_places():
    """Starts and ends become one row, records stand in their actions, in the order of events."""
    records = [
        action(0, [1], "started", "http:request", method="POST", path="/orders"),
        record(1, "taking"),
        action(2, [2, 1], "started", "pay", amount=3),
        record(3, "asking", level=[2]),
        action(4, [2, 2], "failed", "pay", exception="builtins.OSError", reason="no answer"),
        action(5, [3], "succeeded", "http:request", status=500),
    ]

    (tree,) = draw_trees(records, here=records[3])

    assert drawn(tree) == [
        (0, "action", "http:request", "succeeded", "POST /orders → 500"),
        (1, "record", "shop", "INFO", "taking"),
        (1, "action", "pay", "failed", ""),
        (2, "record", "shop", "INFO", "asking"),
    ]
    assert [row.is_here for row in tree.rows] == [False, False, False, True]
    pay = tree.rows[2]
    assert (pay.error, pay.duration, pay.offset, pay.fields) == (
        "OSError: no answer",
        "2.00 s",
        "+2.00 s",
        (("amount", "3"),),
    )
    assert (pay.begin, pay.length) == (400, 400)
    assert (tree.length, tree.is_whole) == ("5.00 s", True)


def test_an_action_without_its_end_says_so():
    """What failed last may be all there is of an action."""
    (tree,) = draw_trees([action(0, [1], "started"), record(1)])

    assert (tree.rows[0].status_text, tree.rows[0].duration) == ("not finished", "")
    assert not tree.is_whole


def test_records_alone_are_a_tree_of_actions_that_nobody_named():
    """Without messages, the levels that records say are what is known."""
    (tree,) = draw_trees([record(0, "outer"), record(1, "inner", level=[2, 1])])

    assert drawn(tree) == [
        (0, "action", "task", "", ""),
        (1, "record", "shop", "INFO", "outer"),
        (1, "action", "/2", "", ""),
        (2, "action", "/2/1", "", ""),
        (3, "record", "shop", "INFO", "inner"),
    ]
    assert tree.rows[2].status_text == "start unknown"


def test_one_tree_for_each_task_and_none_for_records_without():
    """Records that say nothing of a task are left aside."""
    trees = draw_trees([record(uuid="b"), record(uuid=None), record(uuid="a"), record(1, uuid="b")])

    assert [(tree.task_uuid, len(tree.rows)) for tree in trees] == [("b", 3), ("a", 2)]


def test_what_is_stored_twice_is_shown_once():
    """A record that led up to two failures is stored with both."""
    (tree,) = draw_trees([record(0, "before"), record(1, "failed"), record(0, "before")])

    assert [row.text for row in tree.rows] == ["", "before", "failed"]
    assert len(list(unique([record(0), record(0), record(0.000001)]))) == 2


def test_real_records_make_the_real_tree():
    """What the stacks really hand to a store, drawn."""
    from sprockets.logbook.ticketing._model import Details, Occurrence
    from sprockets.logbook.ticketing._reading import leading_records

    (entry,) = seeding.entries_of(seeding.order_fails, "r1")
    row = {"occurrence_id": 1, "ticket_id": 1, "time": entry.time, "data": entry.data, "app_id": ""}
    occurrence = Occurrence(None, row, Details(leading=entry.leading))

    (tree,) = draw_trees([*leading_records(occurrence), occurrence], here=occurrence)

    assert [(row.depth, row.name, row.status) for row in tree.rows if row.kind == "action"] == [
        (0, "http:request", "started"),
        (1, "order:reserve", "succeeded"),
        (1, "order:pay", "failed"),
        (2, "bank:charge", "failed"),
    ]
    assert tree.rows[-1].is_here
    assert tree.request_ids == ("r1",)


def test_deep_and_long_trees_have_an_end():
    """A thousand levels are drawn below each other, and rows beyond the limit are counted."""
    (deep,) = draw_trees([record(0, level=[1] * 900), record(1)])
    (long,) = draw_trees([record(number, str(number)) for number in range(1000)])

    assert max(len(row.guides) for row in deep.rows) == MAX_GUIDES
    assert len(deep.rows) == MAX_ROWS
    assert (len(long.rows), long.left_out) == (MAX_ROWS, 1001 - MAX_ROWS)


@settings(deadline=None)  # a machine may be busy
@given(
    st.lists(
        st.tuples(
            st.floats(-10, 10),
            st.lists(st.integers(1, 3), max_size=3),
            st.sampled_from([None, "started", "succeeded", "failed", "odd", 7]),
        ),
        max_size=12,
    )
)
def test_whatever_the_records_say_there_is_a_tree(parts):
    """Contradictions, gaps, clocks that were set back: nothing raises, bars stay in their rail."""
    records = [
        record(after, level=level)
        if status is None
        else record(after, level=level, extra={"action_type": "a", "action_status": status})
        for after, level, status in parts
    ]

    for tree in draw_trees(records):
        assert tree.rows
        for row in tree.rows:
            assert row.begin is None or 0 <= row.begin <= row.begin + row.length <= SCALE


@settings(deadline=None)  # a machine may be busy
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_is_said_to_be_a_level(value):
    """What somebody put into ``task_level`` or ``task_uuid`` is no reason to show nothing."""
    draw_trees(
        [
            record(level=[1]),
            record(1, extra={"task_level": value}),
            record(2, extra={"task_uuid": value}),
        ]
    )
