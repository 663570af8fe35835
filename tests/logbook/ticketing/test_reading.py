"""Occurrences of what a store holds: whatever is there, something is shown."""

import json
import pickle
import sys
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook import LogRecord, StringFormatter, TestHandler
from sprockets.logbook.ticketing import Details, Occurrence, leading_records
from sprockets.logbook.ticketing._reading import level_of, occurrence
from sprockets.logbook.ticketing._stored import facts_of

TIME = datetime(2026, 11, 21, 1, 37, 55, 893569)
SAMPLE_A = (
    '{"channel": "payments", "msg": "Charged {0} to {account}", "args": [12], "kwargs": '
    '{"account": "A-1"}, "level": 13, "extra": {}, "frame_correction": 0, "process": 16163, '
    '"heavy_initialized": true, "time": "2026-11-21T01:37:55.893569Z", "message": '
    '"Charged 12 to A-1", "lineno": 11, "thread": 140102835403648, "exception_name": null, '
    '"func_name": "charge", "exception_message": null, "process_name": null, "module": "app", '
    '"greenlet": 140102835403648, "filename": "/srv/app/app.py", "thread_name": "MainThread", '
    '"formatted_exception": null, "information_pulled": true}'
)


class Store:
    """Stands in for a store: nothing is asked of it."""


def read(data, **columns):
    row = {"occurrence_id": 7, "ticket_id": 3, "time": TIME, "data": data, "app_id": "generic"}
    return occurrence(Store(), row | columns)


def stored(**facts):
    return json.dumps({"level": 13, "msg": "hello", "message": "hello", **facts})


@pytest.mark.rule("TK-13", "WF-15", "WF-18", "WF-21")
def test_an_occurrence_is_the_record_and_where_it_was_found():
    """What Logbook stored is read with all its facts."""
    found = read(SAMPLE_A)

    assert isinstance(found, Occurrence)
    assert isinstance(found, LogRecord)
    assert (found.ticket_id, found.occurrence_id, found.app_id) == (3, 7, "generic")
    assert isinstance(found.db, Store)
    assert found.message == "Charged 12 to A-1"
    assert found.level_name == "WARNING"
    assert list(found.args) == [12]
    assert found.extra["nope"] == ""
    assert found.dispatcher is None
    assert found.time == TIME
    assert found.details == Details()
    assert found.heavy_initialized
    assert found.information_pulled


@pytest.mark.rule("TK-13")
def test_the_time_is_the_rows():
    """The store may keep fewer digits; a row without one leaves the record's."""
    assert read(SAMPLE_A, time=datetime(2026, 11, 21, 1, 37, 55, 893000)).time.microsecond == 893000
    assert read(SAMPLE_A, time=None).time == TIME


@pytest.mark.rule("TK-13")
def test_an_occurrence_can_be_dispatched_and_formatted():
    """It is like any record that came from elsewhere."""
    found = read(SAMPLE_A)
    handler = TestHandler()

    assert handler.handle(found)

    assert handler.has_warning("Charged 12 to A-1", channel="payments")
    formatter = StringFormatter("{record.level_name} {record.channel}: {record.message}")
    assert formatter(found, handler) == "WARNING payments: Charged 12 to A-1"


@pytest.mark.rule("TK-13")
@pytest.mark.parametrize("json_safe", [False, True])
def test_an_export_has_everything_but_the_store(json_safe):
    """It can be read again as a record, and says where it was stored."""
    found = read(SAMPLE_A)

    exported = found.to_dict(json_safe=json_safe)

    assert not {"db", "details"} & set(exported)
    assert (exported["ticket_id"], exported["occurrence_id"]) == (3, 7)
    assert LogRecord.from_dict(exported).message == found.message
    assert json.loads(found.to_json())["channel"] == "payments"


@pytest.mark.rule("TK-13")
def test_ids_that_are_objects_are_exported_as_text():
    """JSON has no other way."""

    class Id:
        def __str__(self):
            return "5c0f"

    found = read(SAMPLE_A, ticket_id=Id(), occurrence_id=Id())

    assert found.to_dict(json_safe=True)["ticket_id"] == "5c0f"
    assert isinstance(found.to_dict()["ticket_id"], Id)


def test_an_occurrence_can_be_pickled():
    """The store does not go along."""
    again = pickle.loads(pickle.dumps(read(SAMPLE_A)))

    assert again.message == "Charged 12 to A-1"
    assert again.details == Details()


@pytest.mark.rule("TK-14", "WF-22")
@pytest.mark.parametrize(
    ("number", "level"),
    [(1, 10), (2, 11), (3, 12), (4, 13), (5, 14), (6, 15), (0, 0), (9, 9), (13, 13), (15, 15)],
)
def test_levels_of_old_are_translated(number, level):
    """Logbook before 0.11 counted from 1."""
    assert read(stored(level=number)).level == level_of(number) == level


@pytest.mark.parametrize(
    ("number", "level"), [(7, 9), (99, 15), (-1, 0), (True, 0), ("14", 0), (None, 0), (1.5, 0)]
)
def test_levels_that_nobody_knows_become_known_ones(number, level):
    """Whoever shows one finds its name."""
    assert read(stored(level=number)).level == level
    assert read(stored(level=number)).level_name


@pytest.mark.rule("WF-19")
def test_a_message_that_is_missing_is_computed():
    """Where that fails, the template is shown."""
    assert read('{"level": 13, "msg": "a {}", "args": [1]}').message == "a 1"
    assert read('{"level": 13, "msg": "a {}", "args": [1], "message": null}').message == "a 1"
    assert read('{"level": 13, "msg": "a {x}", "args": [1]}').message == "a {x}"
    assert read('{"level": 13, "msg": "a"}').message == "a"


@pytest.mark.rule("WF-20")
def test_what_is_missing_is_none():
    """Nothing of the reader's thread or process is mixed in."""
    found = read('{"level": 13, "msg": "a"}')

    for name in ("thread", "thread_name", "greenlet", "process_name", "process", "filename"):
        assert getattr(found, name) is None


@pytest.mark.rule("WF-23")
def test_unknown_fields_become_attributes_and_methods_stay():
    """What is stored cannot take anything over."""
    hostile = dict.fromkeys(
        ("close", "to_dict", "level_name", "db", "details", "_time", "dispatcher"), "mine"
    )

    found = read(stored(colour="red", keep_open=True, late=True, **hostile))

    assert found.colour == "red"
    assert not found.keep_open
    assert not found.late
    assert isinstance(found.db, Store)
    assert found.details == Details()
    assert callable(found.close)
    assert callable(found.to_dict)
    assert found.level_name == "WARNING"


DAMAGED = [
    None,
    "",
    "{",
    "[1]",
    '"text"',
    "nothing of the kind",
    b"\xff\xfe",
    7,
    "[" * 100_000,
    "9" * 10_000,
    '{"level": 13, "msg": "cut in the mid',
]


@pytest.mark.parametrize("data", DAMAGED, ids=range(len(DAMAGED)))
def test_of_what_is_no_record_the_occurrence_says_what_is_stored(data):
    """It can be shown and exported all the same."""
    found = read(data)

    assert found.extra["damage"]
    assert found.level_name == "NOTSET"
    assert (found.ticket_id, found.time) == (3, TIME)
    if isinstance(data, str):
        assert found.message[:50] == data[:50]
    assert json.loads(found.to_json())["extra"]["damage"]


@pytest.mark.parametrize(
    "facts",
    [
        {"args": "x", "kwargs": [1], "extra": [1], "frame_correction": "x"},
        {"time": "yesterday"},
        {"time": 5},
        {"channel": {"a": 1}, "filename": 5, "formatted_exception": [1], "exception_name": 3},
        {"lineno": "x", "process": "y", "thread": [1]},
        {"message": {"a": 1}},
        {f"field{number}": 1 for number in range(2_000)},
        {"extra": json.loads('{"a":' * 150 + "1" + "}" * 150)},
    ],
)
def test_facts_of_the_wrong_kind_are_shown_as_text_or_left_out(facts):
    """The rest of the record is as it was."""
    found = read(stored(**facts))

    assert found.msg == "hello"
    assert found.level == 13
    assert found.channel is None or isinstance(found.channel, str)
    assert found.exception_shortname is None or isinstance(found.exception_shortname, str)
    assert isinstance(found.message, str)
    assert len(found.to_dict()) < 300
    found.to_json()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
known_names = st.sampled_from(
    ("level", "msg", "message", "args", "kwargs", "extra", "time", "channel", "lineno", "db")
)


@given(
    st.one_of(
        st.text(),
        st.binary(),
        st.dictionaries(known_names | st.text(max_size=8), json_values).map(json.dumps),
    )
)
def test_no_data_keeps_an_occurrence_from_being_shown(data):
    """Whatever is in the column, it is read, exported and read again."""
    found = read(data)

    assert found.level_name
    assert found.message is None or str(found.message) is not None
    LogRecord.from_json(found.to_json())
    assert facts_of(data)["level"] == found.level


def test_records_that_led_up_to_it_come_back_in_order():
    """Damaged ones are shown like damaged occurrences."""

    def leading(text):
        row = {"occurrence_id": 7, "ticket_id": 3, "time": TIME, "data": SAMPLE_A}
        return [
            (record.level, record.message)
            for record in leading_records(occurrence(Store(), row, Details(leading=text)))
        ]

    assert leading(None) == []
    assert leading(f"[{stored(message='a')},{stored(message='b', level=5)}]") == [
        (13, "a"),
        (14, "b"),
    ]
    assert leading('["x", 1]') == [(0, "x"), (0, "1")]
    assert leading("torn [") == [(0, "torn [")]
    assert leading("{}") == [(0, None)]


def test_reading_needs_no_library():
    """Nothing but the standard library is imported for it."""
    import subprocess

    code = (
        "import sys; from sprockets.logbook.ticketing._reading import occurrence; "
        "print([n for n in ('sqlalchemy', 'pymongo', 'tornado') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
