"""A message that goes straight into a file is the line that it would be if it went by way of a dict."""

import enum
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.eliot import (
    FileDestination,
    Logger,
    add_destinations,
    add_global_fields,
    remove_destination,
    start_action,
    statistics,
)
from sprockets.eliot._destinations import Destinations, destinations

LETTERS = st.text('aé\u2028"\\\n\x00\ud800😀', max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | LETTERS | st.just({1}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["a", "é", "message", "x y", "timestamp", "task_uuid", "action_status", "message_type"]
)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=4)


class Number(int):
    """An integer that shows itself as something else."""

    def __repr__(self):
        return "many"


class Colour(enum.StrEnum):
    RED = "red"


@pytest.fixture(name="path")
def _path(tmp_path):
    return tmp_path / "messages.log"


def written(path, log, *others):
    """Log into a file, beside *others*, and return the messages without what differs anyway."""
    with path.open("wb", buffering=0) as file:
        destination = FileDestination(file=file)
        add_destinations(destination, *others)
        try:
            goes_straight = destinations.put_line is not None
            log()
        finally:
            for each in (destination, *others):
                remove_destination(each)
    messages = [json.loads(line) for line in path.read_bytes().splitlines()]
    for message in messages:
        assert isinstance(message.pop("timestamp"), float)
        assert len(message.pop("task_uuid")) == 36
    return goes_straight, messages


@given(FIELDS, FIELDS, FIELDS, LETTERS, LETTERS)
def test_both_ways_write_the_same(tmp_path_factory, start, middle, success, one, other):
    """Whatever the fields are called, and whatever is in them."""
    path = tmp_path_factory.getbasetemp() / "both.log"

    def log():
        start.pop("action_type", None)
        middle.pop("message_type", None)
        with start_action(action_type=one, **start) as action:
            action.log(other, **middle)
            with start_action(action_type=other):
                pass
            action.add_success_fields(**success)

    straight, lines = written(path, log)
    by_dict, messages = written(path, log, lambda message: None)

    assert (straight, by_dict) == (True, False)
    assert lines == messages
    assert [each["task_level"] for each in lines] == [[1], [2], [3, 1], [3, 2], [4]]


@pytest.mark.parametrize(
    "value",
    [
        Number(3),
        Colour.RED,
        pytest.param(10**5000, id="5,000 digits"),
        float("nan"),
        object,
        {"a": {"b": (1, 2)}},
    ],
)
def test_values_that_take_a_closer_look(path, value):
    """A subclass of int or str is written as any other message has it."""

    def log():
        with start_action(action_type="a", value=value) as action:
            action.log("m", value=value)

    _, lines = written(path, log)
    _, messages = written(path, log, lambda message: None)

    assert lines == messages
    assert len(lines) == 3


@pytest.mark.parametrize("kind", [None, 7, b"bytes"])
def test_a_type_that_is_no_text(path, kind):
    """It is written as what it is."""

    def log():
        with start_action(action_type=kind) as action:
            action.log(kind)

    _, lines = written(path, log)
    _, messages = written(path, log, lambda message: None)

    assert lines == messages


def test_what_makes_it_go_by_way_of_a_dict(path, tmp_path):
    """A second destination, global fields, a file that is none of the system's, options."""
    with path.open("ab") as file, (tmp_path / "other.log").open("ab") as other:
        destination = FileDestination(file=file)
        add_destinations(destination)
        assert destinations.put_line is not None

        add_destinations(second := FileDestination(file=other))
        assert destinations.put_line is None
        remove_destination(second)
        assert destinations.put_line is not None

        add_destinations(third := FileDestination(file=other, json_default=repr))
        remove_destination(destination)
        assert destinations.put_line is None
        remove_destination(third)
        assert destinations.put_line is None

        add_destinations(destination)
        add_global_fields(process="p")
        assert destinations.put_line is None


def test_a_destination_of_its_own_kind_gets_messages(path):
    """A subclass may do what it likes with them."""
    seen = []

    class Seen(FileDestination):
        def __call__(self, message):
            seen.append(message)
            super().__call__(message)

    with path.open("ab") as file:
        add_destinations(Seen(file=file))
        with start_action(action_type="a"):
            pass

    assert len(seen) == 2


def test_a_logger_of_its_own_kind_gets_messages(path):
    """As does an action that was given one."""
    seen = []

    class Seen(Logger):
        def write(self, dictionary, serializer=None):
            seen.append(dictionary)

    with path.open("ab") as file:
        add_destinations(FileDestination(file=file))
        with start_action(Seen(), action_type="a") as action:
            action.log("m")

    assert len(seen) == 3
    assert path.read_bytes() == b""


@pytest.mark.parametrize("through_dict", [False, True])
def test_a_failure_is_reported_all_the_same(path, through_dict):
    """With the text of the message, as if there had been one."""
    with path.open("ab", buffering=0) as file:
        destination = FileDestination(file=file)
        reports = []
        add_destinations(destination)
        if through_dict:
            add_destinations(reports.append)
        file_end = os.open(path, os.O_RDONLY)
        os.dup2(file_end, file.fileno())  # which cannot be written to
        with start_action(action_type="a", n=1) as action:
            action.log("m", k="v")
        os.close(file_end)

    found = statistics()
    assert (found["failures"], found["failures_unreported"]) == (3, 3)
    failed = [each["message"] for each in reports if "reason" in each]
    if through_dict:
        assert len(failed) == 3
        assert "'n'" in failed[0]


def test_new_destinations_go_by_way_of_a_dict():
    """Until there is one."""
    assert Destinations().put_line is None
