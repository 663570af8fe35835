"""The bridges: records know their action, messages become records, records become messages."""

import io
import logging
import threading
from datetime import datetime

import pytest

from sprockets.eliot import (
    MessageType,
    add_destinations,
    fields,
    log_message,
    remove_destination,
    start_action,
    start_task,
    write_traceback,
)
from sprockets.eliot import logbook as bridge
from sprockets.eliot._destinations import destinations
from sprockets.eliot.logbook import (
    LEVELS,
    ActionHandler,
    ActionProcessor,
    StacksDestination,
    ToldMessage,
    describe,
)
from sprockets.eliot.stdlib import EliotHandler
from sprockets.logbook import (
    DEBUG,
    ERROR,
    INFO,
    NOTICE,
    WARNING,
    Fields,
    Flags,
    Handler,
    JSONFormatter,
    Logger,
    LogRecord,
    NullHandler,
    StreamHandler,
    TestHandler,
    dispatch_record,
)
from sprockets.logbook.compat import LoggingHandler, redirected_logging

log = Logger("shop")


@pytest.fixture(name="stacks")
def _stacks():
    """The destination, added."""
    found = StacksDestination()
    add_destinations(found)
    return found


@pytest.fixture(name="records")
def _records():
    """All records, from the lowest level up."""
    with TestHandler() as handler:
        yield handler.records


def texts(records):
    return [(record.level_name, record.channel, record.message) for record in records]


# -- records know their action


def test_a_record_has_the_ids_of_its_action(records):
    """The innermost one's, whoever logs; as a list, and only inside of an action."""
    with ActionProcessor():
        log.info("before")
        with start_task(action_type="outer") as outer:
            log.info("outer")
            with start_action(action_type="inner"):
                log.info("inner")

    found = [(each.extra["task_uuid"], each.extra["task_level"]) for each in records]
    assert found == [("", ""), (outer.task_uuid, []), (outer.task_uuid, [2])]
    assert "task_uuid" not in records[0].extra


def test_the_ids_of_an_outer_action_give_way(records):
    """Whether they were bound before the processor or after it."""
    with ActionProcessor(), Fields(task_uuid="a", task_level=[]), ActionProcessor():
        with start_task(action_type="outer") as outer:
            log.info("in it")

    assert records[0].extra["task_uuid"] == outer.task_uuid


@pytest.mark.parametrize("name", ["action_type", "message_type"])
def test_a_record_that_is_a_message_keeps_its_ids(records, name):
    """It has a place of its own in the tree."""
    with ActionProcessor(), start_task(action_type="outer"):
        log.info("a message", extra={name: "x", "task_uuid": "u", "task_level": [7]})

    assert (records[0].extra["task_uuid"], records[0].extra["task_level"]) == ("u", [7])


def test_a_record_from_elsewhere_keeps_its_ids(records):
    """The action in which it arrives is not the one in which it was made."""
    sent = LogRecord("shop", INFO, "sold", extra={"task_uuid": "u", "task_level": [7]})
    received = LogRecord.from_json(sent.to_json())

    with ActionProcessor(), start_task(action_type="receive"):
        dispatch_record(received)

    assert (records[0].extra["task_uuid"], records[0].extra["task_level"]) == ("u", [7])


# -- messages become records


@pytest.mark.parametrize(
    ("message", "text", "level"),
    [
        ({"action_type": "a:b", "action_status": "started"}, "a:b started", DEBUG),
        ({"action_type": "a:b", "action_status": "succeeded"}, "a:b succeeded", DEBUG),
        ({"action_type": "", "action_status": "started"}, "action started", DEBUG),
        (
            {"action_type": "a", "action_status": "failed", "exception": "x.E", "reason": "sold"},
            "a failed: x.E: sold",
            ERROR,
        ),
        (
            {"action_type": "a", "action_status": "failed", "exception": "x.E", "reason": ""},
            "a failed: x.E",
            ERROR,
        ),
        ({"message_type": "orders:packed", "boxes": 2}, "orders:packed", INFO),
        ({"message_type": "orders:note", "message": "late"}, "orders:note: late", INFO),
        ({"message_type": ""}, "message", INFO),
        ({"message_type": ["odd"]}, "", INFO),
        (
            {"message_type": "eliot:traceback", "exception": "x.E", "reason": "r"},
            "eliot:traceback: x.E: r",
            ERROR,
        ),
        (
            {"message_type": "eliot:destination_failure", "exception": "x.E", "reason": "full"},
            "eliot:destination_failure: x.E: full",
            WARNING,
        ),
        (
            {"message_type": "eliot:serialization_failure", "message": "{}"},
            "eliot:serialization_failure: {}",
            WARNING,
        ),
        (
            {"message_type": "eliot:stdlib", "log_level": "ERROR", "message": "broke"},
            "eliot:stdlib: broke",
            ERROR,
        ),
        ({"message_type": "eliot:stdlib", "log_level": "LOUD"}, "eliot:stdlib", INFO),
    ],
)
def test_each_kind_of_message_has_its_text_and_level(records, message, text, level):
    """For people, in a line; the rest is in the fields."""
    StacksDestination()({**message, "task_uuid": "u", "task_level": [1], "timestamp": 1.0})

    (record,) = records
    assert record.message == text == describe(message)
    assert (record.level, record.channel) == (level, "eliot")
    assert dict(record.extra) == {**message, "task_uuid": "u", "task_level": [1]}


def test_an_action_is_told_from_its_start_to_its_end(records, stacks):
    """With its fields, and its failure under the names that all records have for theirs."""
    with pytest.raises(ValueError, match="sold out"), start_action(action_type="order", item="tea"):
        log_message("order:looked", shelf=3)
        raise ValueError("sold out")

    assert texts(records) == [
        ("DEBUG", "eliot", "order started"),
        ("INFO", "eliot", "order:looked"),
        ("ERROR", "eliot", "order failed: builtins.ValueError: sold out"),
    ]
    start, message, end = records
    assert (start.extra["item"], message.extra["shelf"]) == ("tea", 3)
    assert [each.extra["task_level"] for each in records] == [[1], [2], [3]]
    assert (end.exception_name, end.exception_message) == ("builtins.ValueError", "sold out")
    assert end.formatted_exception is None
    assert "timestamp" not in start.extra


def test_a_traceback_is_the_records_exception(stacks):
    """Text formatters write it below the line, JSON has it where it always is."""
    lines, objects = io.StringIO(), io.StringIO()
    handler = StreamHandler(objects, bubble=True)
    handler.formatter = JSONFormatter(["exception_name", "formatted_exception"])

    with StreamHandler(lines), handler:
        try:
            raise ValueError("because")
        except ValueError:
            write_traceback()

    assert "eliot:traceback: builtins.ValueError: because\nTraceback (most" in lines.getvalue()
    assert lines.getvalue().endswith("ValueError: because\n")
    assert (
        '"exception_name":"builtins.ValueError","formatted_exception":"Trace' in objects.getvalue()
    )


def test_a_record_has_the_time_of_its_message(records):
    """Also where the message has waited for its first destination."""
    log_message("waited")
    message = destinations._buffer[0]
    message["timestamp"] = 1795224950.839239

    add_destinations(StacksDestination())

    assert records[0].time == datetime(2026, 11, 21, 1, 35, 50, 839239)
    assert records[0].moment == 1795224950839239


def test_a_record_says_where_the_message_was_logged(records, stacks):
    """Not where it became a record."""
    log_message("m")
    with start_action(action_type="a"):
        pass
    MessageType("typed", fields(n=int)).log(n=1)

    assert {record.filename for record in records} == {__file__}
    assert {record.func_name for record in records} == {
        "test_a_record_says_where_the_message_was_logged"
    }


def test_no_record_is_made_where_nobody_wants_it(stacks, monkeypatch):
    """Neither the text nor the fields are worked out."""
    made = []
    monkeypatch.setattr(bridge, "describe", lambda message: made.append(message) or "text")

    with NullHandler(), TestHandler(level=WARNING) as handler:
        with start_action(action_type="a"):
            log_message("m")
        assert made == []
        write_traceback()

    assert len(made) == len(handler.records) == 1


def test_a_gate_that_others_keep_open_is_not_enough(stacks, monkeypatch):
    """A handler bound in one context wants debug records; in another nobody does."""
    made = []
    monkeypatch.setattr(bridge, "describe", lambda message: made.append(message) or "text")
    entered, leave = threading.Event(), threading.Event()

    def want_everything():
        with TestHandler(level=DEBUG):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=want_everything)
    thread.start()
    try:
        assert entered.wait(10)
        with NullHandler(), TestHandler(level=WARNING):
            start_action(action_type="a").finish()
    finally:
        leave.set()
        thread.join()

    assert made == []


def test_levels_and_channel_are_chosen(records):
    """By status, by type, for all the rest."""
    stacks = StacksDestination(
        "audit", levels={"started": "NOTICE", "orders:packed": DEBUG, "message": "WARNING"}
    )
    add_destinations(stacks)

    with start_action(action_type="a"):
        log_message("orders:packed")
        log_message("orders:lost")

    assert [(each.channel, each.level) for each in records] == [
        ("audit", NOTICE),
        ("audit", DEBUG),
        ("audit", WARNING),
        ("audit", DEBUG),
    ]
    assert repr(stacks) == "<StacksDestination 'audit'>"
    assert LEVELS["started"] == DEBUG, "the defaults are nobody's to change"


def test_a_level_that_does_not_exist_is_named():
    """When the destination is made, and not when it is needed."""
    with pytest.raises(LookupError, match="LOUD"):
        StacksDestination(levels={"started": "LOUD"})


def test_its_logger_can_be_switched_off(records, stacks):
    """As any other."""
    stacks.logger.level = ERROR
    log_message("m")
    stacks.logger.disable()
    write_traceback()

    assert records == []


def test_handlers_of_its_logger_come_first(stacks):
    """As with any other logger, also where no other handler is."""
    own = TestHandler()
    stacks.logger.handlers.append(own)

    with TestHandler(level=ERROR):
        log_message("m")

    assert texts(own.records) == [("INFO", "eliot", "m")]


def test_a_record_is_closed_unless_somebody_keeps_it(stacks):
    """What a handler keeps knows where it was made; what none keeps holds nothing alive."""

    class Passing(Handler):
        def emit(self, record):
            self.record = record

    with Passing() as passing:
        log_message("m")
    with TestHandler() as keeping:
        log_message("m")

    assert passing.record.late
    assert passing.record.calling_frame is None
    assert keeping.records[0].lineno is not None


def test_what_a_handler_logs_makes_no_record(stacks, messages):
    """There would be no end; other destinations get it, and it is counted."""

    class Chatty(Handler):
        def emit(self, record):
            seen.append(record.message)
            log_message("chatty:sent")

    seen = []
    with Chatty():
        log_message("m")
        log_message("n")

    assert seen == ["m", "n"]
    assert [each["message_type"] for each in messages].count("chatty:sent") == 2
    assert stacks.skipped == 2


@pytest.mark.rule("E13.1", "E13.2")
def test_a_handler_that_raises_is_reported(stacks, messages):
    """If the flag says so, as a failure of the destination."""

    class Failing(Handler):
        def emit(self, record):
            raise OSError("disk full")

    with Failing(), Flags(errors="raise"):
        log_message("m")

    assert messages[-1]["message_type"] == "eliot:destination_failure"
    assert messages[-1]["reason"] == "disk full"


def test_a_told_message_is_left_out(records):
    """Some record tells it already."""
    StacksDestination()(ToldMessage(message_type="m"))

    assert records == []


def test_who_is_there_to_listen(stacks):
    """The stacks count where they want something, other destinations always."""
    with NullHandler(), TestHandler(level=INFO):
        assert not bridge.are_heard()
        assert bridge.has_destination(beside_stacks=False)
        assert not bridge.has_destination(beside_stacks=True)
        add_destinations(len)
        assert bridge.are_heard()
        assert bridge.has_destination(beside_stacks=True)
        remove_destination(len)
    with TestHandler(level=DEBUG):
        assert bridge.are_heard()
    remove_destination(stacks)
    assert not bridge.are_heard()


def test_a_logger_in_place_of_the_destinations_listens(memory_logger):
    """As tests put one there."""
    assert bridge.are_heard()


@pytest.fixture(name="memory_logger")
def _memory_logger():
    from sprockets.eliot import MemoryLogger
    from sprockets.eliot._logger import swap_logger

    logger = MemoryLogger()
    previous = swap_logger(logger)
    yield logger
    swap_logger(previous)


# -- records become messages


def test_a_record_is_a_message_in_the_current_action(messages):
    """With level, channel, message, fields, and the record's own time."""
    with ActionHandler() as handler, start_task(action_type="order") as action:
        log.warning("only {} left", 2, extra={"item": "tea"})
        record = LogRecord("shop", INFO, "earlier")
        record.time = datetime(2026, 11, 21, 1, 35, 50, 5)
        handler.emit(record)

    message, earlier = messages[1:3]
    assert isinstance(message.pop("timestamp"), float)
    assert message == {
        "level": "WARNING",
        "channel": "shop",
        "message": "only 2 left",
        "extra": {"item": "tea"},
        "task_uuid": action.task_uuid,
        "task_level": [2],
        "message_type": "logbook:record",
    }
    assert earlier["timestamp"] == 1795224950.000005
    assert "extra" not in earlier


def test_outside_of_an_action_a_record_is_a_task(messages):
    """One of its own each time."""
    with ActionHandler():
        log.info("one")
        log.info("two")

    assert [each["task_level"] for each in messages] == [[1], [1]]
    assert messages[0]["task_uuid"] != messages[1]["task_uuid"]


@pytest.mark.rule("E9.1", "E9.3")
def test_an_exception_follows_as_a_traceback(lines):
    """In the same action, without source lines."""
    with ActionHandler(), start_action(action_type="order"):
        try:
            raise KeyError("tea")
        except KeyError:
            log.exception("no such item")

    _, message, traceback, _ = lines.messages()
    assert (message["level"], message["message"]) == ("ERROR", "no such item")
    assert traceback["message_type"] == "eliot:traceback"
    assert (traceback["exception"], traceback["reason"]) == ("builtins.KeyError", "'tea'")
    assert [message["task_level"], traceback["task_level"]] == [[2], [3]]


def test_the_exception_of_a_record_from_elsewhere_is_in_its_message(lines):
    """There is only its text."""
    try:
        raise KeyError("tea")
    except KeyError as error:
        sent = LogRecord("shop", ERROR, "broken", exc_info=error)
        sent.heavy_init()
        text = sent.to_json()

    with ActionHandler():
        dispatch_record(LogRecord.from_json(text))

    (message,) = lines.messages()
    assert (message["exception"], message["reason"]) == ("builtins.KeyError", "'tea'")
    assert message["traceback"].startswith("Traceback")


def test_a_level_without_a_name_is_its_number(messages):
    """Somebody's own."""
    with ActionHandler():
        log.log(77, "odd")

    assert messages[0]["level"] == "77"


def test_levels_filters_and_bubbling_are_those_of_any_handler(messages, records):
    """What it does not take goes on, and with bubble all does."""
    with ActionHandler(WARNING, filter=lambda record, handler: record.channel == "shop"):
        log.info("below")
        Logger("other").error("not ours")
        log.error("ours")
    with ActionHandler(bubble=True):
        log.info("both")

    assert [each["message"] for each in messages] == ["ours", "both"]
    assert [each.message for each in records] == ["below", "not ours", "both"]


def test_a_message_that_cannot_be_formatted_is_reported_as_ever(messages):
    """By the rule of the flag, and nothing is logged instead."""
    with ActionHandler(), Flags(errors="raise"), pytest.raises(TypeError, match="format"):
        log.info("{} {}", 1)

    assert messages == []


# -- both ways at once


def test_both_bridges_at_once_hand_everything_over_once(stacks, messages, records):
    """A record is one message and no second record; a message one record and no second message."""
    with ActionHandler(bubble=True), start_action(action_type="order"):
        log.info("a record")
        log_message("a:message")

    assert [each.get("message_type") for each in messages] == [
        None,
        "logbook:record",
        "a:message",
        None,
    ]
    assert [each.message for each in records] == [
        "order started",
        "a record",
        "a:message",
        "order succeeded",
    ]


def test_a_record_that_was_a_message_passes_the_handler_by(stacks, records):
    """Even where it would have been the last to get it."""
    with ActionHandler():
        log_message("a:message")
        start_task(action_type="order")

    assert [each.message for each in records] == ["a:message", "order started"]
    # Whoever calls it directly hands over nothing either.
    seen = []
    add_destinations(seen.append)
    ActionHandler().emit(records[0])
    assert seen == []


@pytest.mark.rule("E16.5")
def test_all_bridges_there_are_come_to_an_end(stacks, messages):
    """Actions, stacks and stdlib logging, each handing on to the next."""
    logger = logging.getLogger()
    handler = EliotHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with TestHandler() as last, LoggingHandler(bubble=True), ActionHandler(bubble=True):
            with redirected_logging(False):
                logging.getLogger("library").warning("careful")
            log.warning("mind")
            log_message("a:message")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)

    said = [each.get("message") for each in messages]
    assert 1 <= said.count("careful") <= 2
    assert 1 <= said.count("mind") <= 2
    assert [each.get("message_type") for each in messages].count("a:message") == 1
    assert len(last.records) <= 6
