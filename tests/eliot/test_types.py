"""Typed messages and actions: how they are defined, what is checked, what is written."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.eliot import (
    ActionType,
    Field,
    MemoryLogger,
    Message,
    MessageType,
    ValidationError,
    add_destinations,
    fields,
    log_message,
    register_exception_extractor,
    remove_destination,
    start_action,
    write_traceback,
)
from sprockets.eliot.testing import swap_logger

PACKED = MessageType("orders:packed", fields(boxes=int, by=str), "The goods are in boxes.")
SHIP = ActionType("orders:ship", fields(order=int), fields(parcel=str), "An order leaves.")
PATH = MessageType("app:path", [Field("path", lambda value: f"<{value}>", "Where it is.")])


@pytest.fixture(name="logger")
def _logger():
    """A logger that keeps its messages, and is the default one."""
    logger = MemoryLogger()
    previous = swap_logger(logger)
    yield logger
    swap_logger(previous)


@pytest.fixture(name="messages")
def _messages():
    """What gets to the destinations."""
    found = []
    destination = found.append
    add_destinations(destination)
    found.clear()  # of what was kept for the first destination of this process
    yield found
    remove_destination(destination)


def invalid(logger):
    """Return what `validate` says."""
    with pytest.raises(ValidationError) as caught:
        logger.validate()
    return str(caught.value)


# -- fields


@pytest.mark.rule("E15.2")
def test_validating_a_field_calls_the_serializer_then_the_extra_validator():
    """In that order; serializing calls the serializer alone."""
    calls = []
    field = Field(
        "path",
        lambda value: calls.append("serializer") or "x",
        "Where.",
        lambda value: calls.append(value),
    )

    assert field.validate("/tmp") is None
    assert calls == ["serializer", "/tmp"]
    assert field.serialize("/tmp") == "x"
    assert calls == ["serializer", "/tmp", "serializer"]
    assert (field.key, field.description) == ("path", "Where.")


@pytest.mark.rule("E15.2")
@pytest.mark.parametrize("where", ["serializer", "validator"])
def test_what_a_field_raises_passes_through(where):
    """Its own exception, not ours."""

    def fail(value):
        raise ZeroDivisionError(value)

    field = Field("x", fail) if where == "serializer" else Field("x", str, "", fail)

    with pytest.raises(ZeroDivisionError, match="5"):
        field.validate(5)


@pytest.mark.rule("E15.3", "E15.5")
def test_a_field_for_a_value_is_always_that_value():
    """Whatever is logged; but validation tells."""
    field = Field.for_value("version", 2)

    assert field.serialize("anything") == 2
    assert field.validate(2) is None
    assert field.description == ""
    with pytest.raises(ValidationError, match="field 'version' is always 2, not 3"):
        field.validate(3)


@pytest.mark.rule("E15.4", "E15.5")
@pytest.mark.parametrize(
    ("classes", "good", "bad"),
    [
        ([str], "a", b"a"),
        ([int], 5, "5"),
        ([int], True, 5.0),
        ([float], 0.5, 1),
        ([bool], False, 0),
        ([list], [1], (1,)),
        ([dict], {}, []),
        ([bytes], b"a", "a"),
        ([None], None, 0),
        ((int, None), None, "x"),
    ],
)
def test_a_field_for_types_takes_instances_and_converts_nothing(classes, good, bad):
    """As isinstance says, so a bool is an int."""
    field = Field.for_types("x", classes)

    assert field.serialize(good) is good
    assert field.validate(good) is None
    assert field.serialize(bad) is bad
    with pytest.raises(ValidationError, match="field 'x' is of type .*, not "):
        field.validate(bad)


@pytest.mark.rule("E15.4")
@pytest.mark.parametrize("kind", [set, object, type(None).__class__, "str"])
def test_a_type_that_json_has_no_form_for_is_refused_at_definition(kind):
    """And what to do instead is said."""
    with pytest.raises(TypeError, match="field 'x' cannot be of type .*a Field with a serializer"):
        Field.for_types("x", [str, kind])
    with pytest.raises(TypeError):
        fields(x=kind)


@pytest.mark.rule("E15.4")
def test_a_field_for_types_may_have_an_extra_validator():
    """It sees only what is of the right type."""
    seen = []
    field = Field.for_types("x", [int], "A number.", extraValidator=seen.append)

    field.validate(5)
    with pytest.raises(ValidationError):
        field.validate("5")

    assert seen == [5]


def test_fields_are_those_given_and_one_for_each_type():
    """In the order of the call."""
    path = Field("path", str)

    found = fields(path, size=int, owner=None)

    assert found[0] is path
    assert [field.key for field in found] == ["path", "size", "owner"]
    assert found[2].validate(None) is None


def test_the_names_that_users_of_eliot_know_are_the_same():
    """Two spellings of one thing."""
    assert Field.forValue("x", 1, "").serialize(2) == 1
    assert Field.forTypes("x", [int], "").serialize(2) == 2
    assert ActionType.asTask is ActionType.as_task


# -- definitions


@pytest.mark.rule("E15.6")
@pytest.mark.parametrize(
    ("declared", "error", "text"),
    [
        (fields(a=int) + fields(a=str), ValueError, "two fields 'a'"),
        (fields(_a=int), ValueError, "does not begin with '_': '_a'"),
        (fields(task_uuid=str), ValueError, "'task_uuid' is in every message"),
        (fields(task_level=list), ValueError, "'task_level' is in every message"),
        (fields(timestamp=float), ValueError, "'timestamp' is in every message"),
        (fields(action_type=str), ValueError, "'action_type' or 'message_type', not both"),
        (fields(message_type=str), ValueError, "two fields 'message_type'"),
        ([str], TypeError, "made of Field instances, not <class 'str'>"),
        (["a"], TypeError, "made of Field instances, not 'a'"),
    ],
)
def test_a_definition_that_cannot_work_is_refused(declared, error, text):
    """When it is made, whichever of the three places it is in."""
    with pytest.raises(error, match=text):
        MessageType("x", declared)


@pytest.mark.rule("E15.6")
@pytest.mark.parametrize(
    "declared", [fields(_a=int), fields(timestamp=float), fields(message_type=str)]
)
def test_so_is_that_of_an_action(declared):
    """Its start fields, and its success fields."""
    with pytest.raises(ValueError):
        ActionType("x", declared, [])
    with pytest.raises(ValueError):
        ActionType("x", [], declared)


@pytest.mark.rule("E15.7")
def test_fields_may_come_in_any_sequence(logger):
    """A tuple, an iterator."""
    kind = MessageType("x", tuple(fields(a=int)))
    action = ActionType("y", iter(fields(a=int)), ())

    kind.log(a=1)
    with action(a=1):
        pass

    assert logger.validate() is None


# -- logging


@pytest.mark.rule("E15.1")
def test_a_program_that_runs_checks_nothing(messages):
    """Wrong values and undeclared fields are written as they are."""
    PACKED.log(boxes="many", by="me", rope=True)

    (message,) = messages
    assert (message["boxes"], message["rope"]) == ("many", True)
    assert message["message_type"] == "orders:packed"


@pytest.mark.rule("E15.10", "E2.4")
def test_declared_fields_are_converted_and_others_are_not(messages):
    """In the order in which they were logged, before ours."""
    PATH.log(other=[1], path="/tmp")

    (message,) = messages
    assert list(message.items())[:2] == [("other", [1]), ("path", "</tmp>")]
    assert list(message)[2:] == ["timestamp", "task_uuid", "task_level", "message_type"]


def test_a_typed_message_is_logged_in_the_current_action(messages):
    """As any other; and outside of one it is a task of its own."""
    with start_action(action_type="a") as action:
        PACKED.log(boxes=1, by="me")
    PACKED.log(boxes=2, by="me")

    assert messages[1]["task_level"] == [2]
    assert messages[1]["task_uuid"] == action.task_uuid
    assert messages[3]["task_level"] == [1]
    assert messages[3]["task_uuid"] != action.task_uuid


def test_fields_may_have_the_names_of_python_variables(messages):
    """Also self and logger: nothing of ours is in the way."""
    MessageType("x", fields(self=int, logger=str)).log(self=1, logger="l")
    with ActionType("y", fields(self=int), [])(self=2):
        pass

    assert (messages[0]["self"], messages[0]["logger"], messages[1]["self"]) == (1, "l", 2)


@pytest.mark.rule("E15.11")
def test_calling_an_action_type_starts_an_action(messages):
    """Inside the current one, with its type; the fields of start and success are its own."""
    paths = ActionType(
        "app:copy", [Field("source", lambda p: f"from {p}")], [Field("target", lambda p: f"to {p}")]
    )
    with start_action(action_type="outer") as outer, paths(source="/a") as action:
        action.add_success_fields(target="/b")

    start, end = messages[1:3]
    assert (start["source"], start["action_type"]) == ("from /a", "app:copy")
    assert (end["target"], end["action_status"]) == ("to /b", "succeeded")
    assert (start["task_uuid"], start["task_level"]) == (outer.task_uuid, [2, 1])


@pytest.mark.rule("E15.11")
@pytest.mark.parametrize("method", ["as_task", "asTask"])
def test_as_task_starts_a_task(messages, method):
    """Whatever is current."""
    with start_action(action_type="outer") as outer, getattr(SHIP, method)(order=7) as action:
        action.add_success_fields(parcel="JD0002")

    assert action.task_uuid != outer.task_uuid
    assert [message["task_level"] for message in messages] == [[1], [1], [2], [2]]


@pytest.mark.rule("E15.11")
def test_children_have_their_own_serializers(messages):
    """Nothing of the parent's type is asked of them."""
    with SHIP(order=7) as action:
        action.add_success_fields(parcel="JD0002")
        with start_action(action_type="inner", order="text"):
            log_message("m", parcel=5)

    assert [m.get("order") for m in messages][:2] == [7, "text"]
    assert messages[-1]["action_status"] == "succeeded"


@pytest.mark.rule("E15.11")
def test_a_logger_may_be_given(logger):
    """To the call, and to as_task."""
    other = MemoryLogger()

    with SHIP(other, order=7) as action:
        action.add_success_fields(parcel="JD0002")
    with SHIP.as_task(logger=other, order=8) as action:
        action.add_success_fields(parcel="JD0003")

    assert len(other.messages) == 4
    assert logger.messages == []
    assert other.validate() is None


@pytest.mark.rule("E13.6")
def test_a_field_that_cannot_be_converted_costs_the_message_and_that_is_logged(messages):
    """By a traceback, and by a message that holds the text of the lost one."""
    MessageType("app:typed", [Field("n", int)]).log(n="zz")

    traceback, failure = messages
    assert traceback["message_type"] == "eliot:traceback"
    assert traceback["exception"] == "builtins.ValueError"
    assert failure["message_type"] == "eliot:serialization_failure"
    assert "\"'n'\": \"'zz'\"" in failure["message"]
    assert list(failure) == ["message", "timestamp", "task_uuid", "task_level", "message_type"]


@pytest.mark.rule("E13.6")
def test_the_number_of_a_lost_message_stays_used(messages):
    """The level of what is logged next shows the gap."""
    with start_action(action_type="a") as action:
        MessageType("app:typed", [Field("n", int)]).log(n="zz")
        action.log("m")

    assert [m["task_level"] for m in messages] == [[1], [3], [4], [5], [6]]


@pytest.mark.rule("E13.7", "E13.8")
def test_an_action_whose_success_fields_are_missing_still_ends(messages):
    """The failure is logged; what is left of the end message closes the tree."""
    with SHIP(order=7) as action:
        pass

    start, traceback, failure, end = messages
    assert traceback["exception"] == "builtins.KeyError"
    assert "field 'parcel' is missing" in traceback["reason"]
    assert failure["message_type"] == "eliot:serialization_failure"
    assert end == {
        "action_status": "succeeded",
        "timestamp": end["timestamp"],
        "task_uuid": action.task_uuid,
        "action_type": "orders:ship",
        "task_level": [2],
    }
    assert start["task_level"] == [1]


@pytest.mark.rule("E13.7", "E13.8")
def test_so_does_one_whose_start_fields_are_missing(messages):
    """Its start message has what is ours."""
    with SHIP() as action:
        action.add_success_fields(parcel="JD0002")

    starts = [m for m in messages if m.get("action_status") == "started"]
    assert [m["task_level"] for m in starts] == [[1]]
    assert messages[-1]["parcel"] == "JD0002"


def test_calling_a_message_type_is_deprecated(messages):
    """It returns a message that knows the type, and the warning points here."""
    with pytest.warns(DeprecationWarning, match=r"use its method log\(\)") as caught:
        message = PATH(path="/tmp")

    assert isinstance(message, Message)
    assert caught[0].filename == __file__
    message.write()
    assert messages[0]["path"] == "</tmp>"
    assert messages[0]["message_type"] == "app:path"


# -- validation


@pytest.mark.rule("E15.8")
def test_messages_as_declared_are_valid(logger):
    """What is in every message need not be declared."""
    PACKED.log(boxes=1, by="me")
    with SHIP(order=7) as action:
        action.add_success_fields(parcel="JD0002")

    assert logger.validate() is None


@pytest.mark.rule("E15.8")
@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"boxes": 1}, "field 'by' is missing; there are 'boxes', 'timestamp'"),
        ({"boxes": "1", "by": "me"}, "field 'boxes' is of type int, not '1'"),
        (
            {"boxes": 1, "by": "me", "rope": 2},
            "field 'rope' is not declared; 'boxes', 'by', 'message_type' are",
        ),
    ],
)
def test_a_message_that_is_not_as_declared_is_not(logger, given, text):
    """A field is missing, of another type, or not declared."""
    PACKED.log(**given)

    assert text in invalid(logger)


@pytest.mark.rule("E15.8")
def test_a_message_of_another_type_is_not_valid(logger):
    """The type field is the declared one."""
    with pytest.warns(DeprecationWarning):
        message = PACKED(boxes=1, by="me")
    logger.write({**message.contents(), "message_type": "other"}, PACKED._serializer)

    assert "field 'message_type' is always 'orders:packed', not 'other'" in invalid(logger)


@pytest.mark.rule("E15.8")
def test_success_fields_that_are_missing_are_found(logger):
    """Before they cost an end message."""
    with SHIP(order=7):
        pass

    assert "field 'parcel' is missing" in invalid(logger)


@pytest.mark.rule("E15.9")
def test_a_failed_action_and_a_traceback_may_have_the_fields_of_extractors(logger):
    """Nobody can declare those."""

    class Refused(Exception):
        pass

    register_exception_extractor(Refused, lambda error: {"code": 17})
    with pytest.raises(Refused), SHIP(order=7):
        raise Refused("no")
    try:
        raise Refused("no")
    except Refused:
        write_traceback()

    assert [message.get("code") for message in logger.messages] == [None, 17, 17]
    assert logger.validate() is None


@pytest.mark.rule("E15.9")
@pytest.mark.parametrize("name", ["reason", "exception"])
def test_reason_and_exception_of_a_failed_action_are_text(logger, name):
    """That much is sure of every failure."""
    failed = {
        "reason": "no",
        "exception": "x.Y",
        "action_type": "orders:ship",
        "action_status": "failed",
    }
    logger.write(failed, SHIP._serializers.failure)
    assert logger.validate() is None

    logger.write({**failed, name: 5}, SHIP._serializers.failure)

    assert f"field {name!r} is of type str, not 5" in invalid(logger)


@given(
    declared=st.dictionaries(
        st.text(min_size=1).filter(
            lambda name: (
                not name.startswith("_")
                and name
                not in (
                    "task_uuid",
                    "task_level",
                    "timestamp",
                    "message_type",
                    "action_type",
                    "self",
                )
            )
        ),
        st.sampled_from([1, "x", 0.5, [1], {"a": 1}, None, True, b"x"]),
        max_size=5,
    )
)
@pytest.mark.rule("E15.8", "E15.10")
def test_what_is_logged_as_declared_is_valid_and_written_unchanged(declared):
    """Whatever the names are; a field taken away makes it invalid."""
    kind = MessageType("t", [Field.for_types(k, [type(v)]) for k, v in declared.items()])
    logger = MemoryLogger()
    message = {**declared, "message_type": "t"}

    logger.write(message, kind._serializer)
    assert logger.validate() is None
    assert logger.serialize() == [message]

    for name in declared:
        logger.reset()
        logger.write({k: v for k, v in message.items() if k != name}, kind._serializer)
        with pytest.raises(ValidationError):
            logger.validate()


def test_types_say_what_they_are():
    """In a debugger, or in a test that fails."""
    assert repr(PACKED) == "<MessageType 'orders:packed'>"
    assert repr(SHIP) == "<ActionType 'orders:ship'>"
    assert (PACKED.message_type, PACKED.description) == ("orders:packed", "The goods are in boxes.")
    assert (SHIP.action_type, SHIP.description) == ("orders:ship", "An order leaves.")


@pytest.mark.rule("E0.1")
def test_types_bring_no_framework():
    """Nor does anything else that is for tests."""
    script = (
        "import sys, sprockets.eliot.testing, sprockets.eliot.stdlib, sprockets.eliot._calls\n"
        "print([n for n in ('twisted', 'tornado', 'numpy', 'pydantic', 'pandas', 'polars', 'pytest')"
        " if n in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "[]\n"
