"""The record: its facts, when they are fixed, and how it is told on."""

import json
import os
import pickle
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import (
    ERROR,
    INFO,
    WARNING,
    Flags,
    Handler,
    Logger,
    LogRecord,
    TestHandler,
    dispatch_record,
    set_datetime_format,
)
from sprockets.logbook.record import ExtraDict

log = Logger("records")


def make(msg="x", *args, **kwargs):
    return LogRecord("records", INFO, msg, args, kwargs)


def logged(*args, **kwargs):
    """Return the record of a call, kept open."""
    with TestHandler() as handler:
        log.log(*args, **kwargs)
    return handler.records[0]


# -- construction


@pytest.mark.rule("LR-12", "LV-6", "TY-4")
def test_all_parameters_are_positional_in_their_order():
    """The attributes are what was given; empty things have their empty value."""
    frame, logger, error = sys._getframe(), Logger("x"), ValueError("e")
    record = LogRecord("c", "ERROR", "m", ("a",), {"k": 1}, error, {"e": 2}, frame, logger, 0)

    assert (record.channel, record.level, record.msg) == ("c", ERROR, "m")
    assert (record.args, record.kwargs, record.extra) == (("a",), {"k": 1}, {"e": 2})
    assert (record.frame, record.dispatcher, record.frame_correction) == (frame, logger, 0)
    empty = LogRecord(None, INFO, "m", None, None, (), None)
    assert (empty.args, empty.kwargs, empty.exc_info, empty.extra) == ((), {}, None, {})
    assert (empty.channel, empty.process, empty.time) == (None, None, None)
    record.close()


@pytest.mark.rule("LR-12", "LM-11")
def test_the_given_extra_is_copied():
    """Neither side changes the other."""
    given_extra = {"k": 1}
    record = LogRecord("c", INFO, "m", extra=given_extra)
    record.extra["more"] = 2
    given_extra["k"] = 3

    assert record.extra == {"k": 1, "more": 2}
    assert given_extra == {"k": 3}


@pytest.mark.rule("LR-13", "LR-14", "LR-15", "D-06", "X-07", "P-Q11")
def test_a_missing_extra_reads_as_empty_and_is_not_inserted():
    """Formatting a missing item must not change what a later filter sees, or what is exported."""
    record = make()

    assert record.extra["ip"] == ""
    assert f"{record.extra['ip']}" == ""
    assert ("ip" in record.extra, record.extra.get("ip"), len(record.extra)) == (False, None, 0)
    assert "ip" not in record.to_dict()["extra"]
    assert repr(ExtraDict(a=1)) == "ExtraDict({'a': 1})"
    assert isinstance(ExtraDict(a=1).copy(), ExtraDict)
    assert isinstance(LogRecord.from_dict({"extra": {}}).extra, ExtraDict)


# -- message


@pytest.mark.rule("LR-1")
@pytest.mark.parametrize("msg", ["{}", "{x", 42, b"bytes", None, ["list"]])
def test_without_arguments_the_message_is_what_was_given(msg):
    """No formatting, no conversion."""
    assert make(msg).message is msg


@pytest.mark.rule("LR-2", "P-P2", "P-F11")
def test_arguments_are_formatted_when_somebody_reads_the_message():
    """A record that nobody formats never asks its arguments for their text."""

    class Argument:
        def __format__(self, spec):
            asked.append(spec)
            return "text"

    asked = []
    record = make("{0} {a:>3}", Argument(), a=1)
    assert asked == []

    assert record.message == "text   1"
    assert record.message == "text   1"
    assert asked == [""]


@pytest.mark.rule("LR-3")
def test_a_template_in_bytes_is_decoded_and_arguments_in_bytes_are_shown():
    """Undecodable bytes are replaced."""
    assert make(b"\xff {}", b"\x00").message == "\ufffd b'\\x00'"


@pytest.mark.rule("LR-4")
def test_the_formatting_hook_may_be_overridden():
    """A subclass formats as it likes."""

    class Shouting(LogRecord):
        def _format_message(self, msg, /, *args, **kwargs):
            return msg.upper() + str(args) + str(kwargs)

    assert Shouting("c", INFO, "m", (1,), {"a": 2}).message == "M(1,){'a': 2}"


@pytest.mark.rule("LR-5", "X-10")
@pytest.mark.parametrize("name", ["msg", "self", "level", "args", "kwargs", "template"])
def test_every_keyword_may_be_used_in_a_message(name, make_handler):
    """Upstream's own parameter names were in the way of users' keywords."""
    with make_handler() as handler:
        log.info("{" + name + "}", **{name: "x"})
        log.log("INFO", "{" + name + "}", **{name: "y"})

    assert handler.messages == ["x", "y"]


@pytest.mark.rule("LR-6", "LR-7")
def test_a_message_that_cannot_be_formatted_says_what_was_given_each_time():
    """Five lines: the error, the template, both kinds of arguments, and the place."""
    record = logged(INFO, "Hello {foo:invalid}", foo=42)
    line = record.lineno

    for _ in range(2):
        with pytest.raises(TypeError) as caught:
            _ = record.message
        lines = str(caught.value).splitlines()
        assert lines[0].startswith(
            "Could not format message with provided arguments: Invalid format"
        )
        assert lines[1:] == [
            "  msg='Hello {foo:invalid}'",
            "  args=() ",
            "  kwargs={'foo': 42}.",
            f"Happened in file {__file__}, line {line}",
        ]
        assert isinstance(caught.value.__cause__, ValueError)
    record.close()


@pytest.mark.rule("LR-7")
def test_arguments_that_break_when_looked_at_do_not_break_the_error():
    """The text of the error is there whatever ``__repr__`` does."""

    class Evil:
        def __repr__(self):
            raise RuntimeError("no repr")

        __str__ = __repr__

    with pytest.raises(TypeError, match="Evil object"):
        _ = make("{}", Evil()).message


# -- exceptions


def failing():
    raise ZeroDivisionError("by hand")


@pytest.mark.rule("LR-8", "P-H7")
@pytest.mark.parametrize("form", ["tuple", "true", "instance", "one"])
def test_an_exception_may_be_given_in_every_form(form):
    """A tuple, ``True``, or the exception itself."""
    try:
        failing()
    except ZeroDivisionError as error:
        forms = {"tuple": sys.exc_info(), "true": True, "instance": error, "one": 1}
        record = logged(ERROR, "x", exc_info=forms[form])

    assert record.exception_name == "builtins.ZeroDivisionError"
    assert record.exception_shortname == "ZeroDivisionError"
    assert record.exception_message == "by hand"
    assert record.formatted_exception.startswith("Traceback (most recent call last):\n")
    assert record.formatted_exception.endswith("ZeroDivisionError: by hand")
    record.close()


@pytest.mark.rule("LR-8", "LR-10", "LR-11", "X-11", "X-12", "WF-13")
@pytest.mark.parametrize("exc_info", [None, False, (), True, (None, None, None)])
def test_no_exception_is_none_everywhere(exc_info):
    """Without one, all that is asked of it is ``None``, and the record can be exported."""
    record = logged(ERROR, "x", exc_info=exc_info)

    assert record.exc_info is None
    assert record.formatted_exception is None
    assert (record.exception_name, record.exception_message) == (None, None)
    assert record.exception_shortname is None
    assert json.loads(record.to_json())["formatted_exception"] is None
    record.close()


@pytest.mark.rule("LR-9")
def test_true_means_the_exception_of_the_call():
    """It is looked up while the exception is being handled, or on first use of a hand-made record."""
    record = LogRecord("x", ERROR, "y", exc_info=True)
    other = LogRecord("x", ERROR, "y", exc_info=True)
    try:
        failing()
    except ZeroDivisionError:
        record.heavy_init()
        assert other.exception_shortname == "ZeroDivisionError"

    assert record.exception_shortname == "ZeroDivisionError"
    record.close()
    other.close()


# -- time, place, closing


@pytest.mark.rule("LR-16", "LR-18", "X-13", "LR-35")
def test_heavy_initialisation_fixes_what_is_not_there_yet_once():
    """Time, process and frame; what was set before stays, and so does everything at a second call."""
    before = datetime.now(UTC).replace(tzinfo=None)
    record = make()
    record.heavy_init()
    time, frame = record.time, record.frame
    record.heavy_init()

    assert before <= time <= datetime.now(UTC).replace(tzinfo=None)
    assert (record.time, record.frame, record.process) == (time, frame, os.getpid())
    preset = make()
    preset.time, preset.process = datetime(2000, 1, 1), 7
    preset.filename, preset.lineno = "elsewhere.py", 12
    preset.heavy_init()
    assert (preset.time, preset.process) == (datetime(2000, 1, 1), 7)
    assert (preset.filename, preset.lineno) == ("elsewhere.py", 12)
    imported = LogRecord.from_dict({"level": INFO, "time": "2000-01-01T00:00:00Z"})
    with TestHandler():
        dispatch_record(imported)
    assert imported.time == datetime(2000, 1, 1)
    record.close()
    preset.close()


@pytest.mark.rule("LR-17")
def test_heavy_initialisation_after_closing_is_a_misuse():
    """It would tell lies about when and where."""
    record = make()
    record.close()

    with pytest.raises(AssertionError, match="^heavy init is no longer possible$"):
        record.heavy_init()


WAYS = {
    "method": lambda logger: logger.warning("x"),
    "warn": lambda logger: logger.warn("x"),
    "log": lambda logger: logger.log("WARNING", "x"),
    "exception": lambda logger: logger.exception("x", exc_info=None),
    "bound": lambda logger: logger.bind(a=1).warning("x"),
}


@pytest.mark.rule("LR-19", "LR-20", "EX-5", "P-P6")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("logger", [log, type("Sub", (Logger,), {})("sub")])
def test_the_place_of_a_record_is_that_of_the_call(way, logger):
    """Function, module, file and line of the user's code, however it logged."""
    call = WAYS[way]
    with TestHandler() as handler:
        call(logger)
    record = handler.records[0]

    assert record.calling_frame.f_code is call.__code__
    assert record.func_name == "<lambda>"
    assert (record.module, record.filename) == (__name__, os.path.abspath(__file__))
    assert record.lineno == call.__code__.co_firstlineno
    record.close()


@pytest.mark.rule("LR-19", "LR-20", "EX-4", "EX-5")
def test_the_place_is_right_for_package_functions_and_dispatched_records():
    """Also for records made by hand, and for what `catch_exceptions` caught."""
    import sprockets.logbook as package

    line = sys._getframe().f_lineno
    with TestHandler() as handler:
        package.error("x")
        dispatch_record(make())
        with package.catch_exceptions():
            failing()
    first, second, third = handler.records

    assert (first.lineno, first.func_name) == (line + 2, sys._getframe().f_code.co_name)
    assert second.lineno == line + 3
    assert third.lineno == line + 4
    assert (first.channel, first.dispatcher) == ("Generic", None)
    handler.close()


@pytest.mark.rule("LR-19")
def test_a_call_from_a_handler_or_formatter_is_its_own_caller():
    """Only the machinery is skipped, not what users plug into it."""

    class Talking(Handler):
        def emit(self, record):
            with inner:
                log.info("from a handler")

    inner = TestHandler()
    with Talking():
        log.info("x")

    assert inner.records[0].func_name == "emit"
    inner.close()


def wrapper(correction):
    log.info("wrapped", frame_correction=correction)


@pytest.mark.rule("LR-21", "P-H10")
@pytest.mark.parametrize("own", [True, False])
def test_frame_correction_names_the_callers_caller(own):
    """One frame out is the wrapper's caller; zero or less is none; beyond the outermost is nobody."""
    line = sys._getframe().f_lineno
    with TestHandler() as handler:
        wrapper(1)
        wrapper(0)
        wrapper(-1)
        wrapper(10_000)
    here, there, also_there, nowhere = handler.records

    assert (here.lineno, here.func_name) == (line + 2, sys._getframe().f_code.co_name)
    assert there.func_name == also_there.func_name == "wrapper"
    assert (nowhere.lineno, nowhere.calling_frame) == (None, None)
    handler.close()


@pytest.mark.rule("LR-40", "X-24")
def test_the_line_is_that_of_the_call_whenever_it_is_read():
    """A frame moves on; the record stays where it was made."""
    with TestHandler() as handler:
        line = sys._getframe().f_lineno
        log.info("one")
        log.info("two")
    explicit = LogRecord("x", INFO, "y", frame=sys._getframe())
    made_at = sys._getframe().f_lineno - 1

    assert [record.lineno for record in handler.records] == [line + 1, line + 2]
    assert explicit.lineno == made_at
    handler.close()
    explicit.close()


@pytest.mark.rule("FL-7", "WF-12", "P-S7", "P-P6")
def test_without_introspection_there_is_no_place_and_everything_works(stream):
    """All of it is ``None``; layouts show that; an explicit frame still counts."""
    from sprockets.logbook import StreamHandler

    with Flags(introspection=False):
        record = logged(INFO, "x")
        with StreamHandler(stream, format_string="{record.lineno} {record.message}"):
            log.info("y")
        explicit = LogRecord("x", INFO, "y", frame=sys._getframe())
        explicit.heavy_init()

    assert stream.getvalue() == "None y\n"
    names = ["frame", "calling_frame", "func_name", "module", "filename", "lineno"]
    assert [getattr(record, name) for name in names] == [None] * 6
    assert explicit.lineno is not None
    assert json.loads(record.to_json())["lineno"] is None
    explicit.close()


@pytest.mark.rule("LR-22")
def test_pulling_works_everything_out_and_the_message_last():
    """A message that cannot be formatted does not keep place and thread from being known."""
    record = logged(INFO, "{} {}", 1)
    with pytest.raises(TypeError):
        record.pull_information()
    assert not record.information_pulled
    record.close()

    assert record.thread_name == threading.current_thread().name
    assert record.func_name == "logged"
    assert record.lineno is not None


@pytest.mark.rule("LR-23", "LR-25")
def test_a_pulled_record_tells_another_thread_the_same():
    """Thread facts are those of the place of first access."""
    pulled, unpulled = logged(INFO, "x"), logged(INFO, "x")
    pulled.pull_information()
    pulled.close()
    names = []

    def read():
        names.append((pulled.thread_name, unpulled.thread_name))

    thread = threading.Thread(target=read, name="reader")
    thread.start()
    thread.join()

    assert names == [(threading.current_thread().name, "reader")]
    unpulled.close()


@pytest.mark.rule("LR-24", "LR-25", "P-H4")
def test_closing_lets_go_of_frames_and_twice_is_once():
    """What was worked out stays, what was not is ``None``, the message can still be made."""
    try:
        failing()
    except ZeroDivisionError:
        record = logged(ERROR, "{}", 1, exc_info=True)
    filename = record.filename
    record.close()
    record.close()

    assert (record.exc_info, record.frame, record.calling_frame, record.late) == (
        None,
        None,
        None,
        True,
    )
    assert record.filename == filename
    assert (record.formatted_exception, record.module, record.message) == (None, None, "1")


@pytest.mark.rule("LR-39")
def test_records_are_equal_to_themselves_only_and_take_any_attribute():
    """Identity is what counts; attributes are free."""
    one, other = make(), make()
    one.ticket = 5

    assert one != other
    assert len({one, other, one}) == 2
    assert one.to_dict()["ticket"] == 5


@pytest.mark.rule("LR-38")
def test_process_name_is_known_only_where_multiprocessing_is(monkeypatch):
    """It is not imported for the purpose; whatever is wrong with it gives ``None``."""
    monkeypatch.delitem(sys.modules, "multiprocessing", raising=False)
    assert make().process_name is None
    monkeypatch.setitem(sys.modules, "multiprocessing", object())
    assert make().process_name is None


# -- export and import

EXPORTED = {
    "args",
    "channel",
    "exception_message",
    "exception_name",
    "extra",
    "filename",
    "formatted_exception",
    "frame_correction",
    "func_name",
    "greenlet",
    "heavy_initialized",
    "information_pulled",
    "keep_open",
    "kwargs",
    "late",
    "level",
    "lineno",
    "message",
    "module",
    "msg",
    "process",
    "process_name",
    "thread",
    "thread_name",
    "time",
}


@pytest.mark.rule("LR-29", "LR-30", "WF-5", "WF-6")
def test_an_export_has_exactly_the_fields_it_promises():
    """Those of a record held by a test handler; fewer of one that was never initialised."""
    exported = logged(INFO, "x").to_dict()

    assert set(exported) == EXPORTED
    assert type(exported["extra"]) is dict
    assert exported["level"] == INFO
    bare = make().to_dict()
    assert set(bare) == EXPORTED - {"time", "heavy_initialized", "keep_open", "late"}


@pytest.mark.rule("LR-31", "WF-2", "WF-7", "WF-8", "P-T2", "P-E7")
def test_an_export_for_json_is_plain_ascii_and_reduces_what_json_lacks():
    """Objects become ``null`` in the arguments, and stay in the message."""
    record = logged(INFO, "{} ☃", object, extra={"when": datetime(2000, 1, 1), "x": {1: {2}}})

    text = record.to_json()
    facts = json.loads(text)
    assert text.isascii()
    assert facts["args"] == [None]
    assert facts["message"] == "<class 'object'> ☃"
    assert facts["extra"] == {"when": "2000-01-01T00:00:00Z", "x": {"1": None}}
    record.close()


@pytest.mark.rule("WF-9", "Y-01")
@pytest.mark.parametrize(
    ("msg", "wire_msg", "message"),
    [
        (ValueError("boom"), "boom", "boom"),
        (b"\xffbytes", "\ufffdbytes", "\ufffdbytes"),
        (42, 42, "42"),
        (["a"], ["a"], "['a']"),
        (None, None, None),
    ],
)
def test_a_message_that_json_lacks_is_sent_as_its_text(msg, wire_msg, message):
    """Upstream sent nothing at all."""
    facts = json.loads(logged(ERROR, msg).to_json())

    assert (facts["msg"], facts["message"]) == (wire_msg, message)


@pytest.mark.rule("WF-10")
def test_infinities_are_written_as_python_writes_them():
    """They come back as they went."""
    record = LogRecord.from_json(logged(INFO, "x", extra={"inf": float("inf")}).to_json())

    assert record.extra["inf"] == float("inf")


@pytest.mark.rule("WF-11", "LR-22")
def test_a_message_that_cannot_be_formatted_cannot_be_exported():
    """The export says so with the error of the message."""
    with pytest.raises(TypeError, match="Could not format"):
        logged(INFO, "{} {}", 1).to_json()


@pytest.mark.rule("LR-32", "LR-33", "LR-34", "X-15", "LR-28", "X-14", "WF-17", "WF-25")
def test_an_import_of_nothing_is_a_whole_record():
    """Every attribute has its default, nothing is this process's, extras read as empty."""
    record = LogRecord.from_dict({})

    assert record.information_pulled
    assert (record.dispatcher, record.exc_info, record.frame, record.calling_frame) == (None,) * 4
    assert (record.args, record.kwargs, record.extra["x"], record.channel) == ((), {}, "", None)
    assert (record.keep_open, record.late, record.frame_correction) == (False, False, 0)


@pytest.mark.rule("LR-32")
def test_importing_honours_subclasses_and_returns_the_record():
    """`from_dict` makes the class it is called on, without its constructor."""

    class Ticket(LogRecord):
        def __init__(self):
            raise AssertionError("not called")

    record = Ticket.from_dict({"channel": "c", "level": INFO})

    assert (type(record), record.channel) == (Ticket, "c")
    assert make().update_from_dict({"channel": "d"}).channel == "d"


@pytest.mark.rule("LR-37", "WF-18", "WF-19")
def test_a_stored_message_is_never_formatted_again():
    """A template of another style stays what it became; without a message it is made of the rest."""
    stored = LogRecord.from_dict({"level": INFO, "msg": "%s {", "args": ["a"], "message": "a {"})
    missing = LogRecord.from_dict({"level": INFO, "msg": "{}", "args": ["a"], "message": None})

    assert stored.message == "a {"
    assert missing.message == "a"


@pytest.mark.rule("WF-20", "Y-03")
def test_what_the_sender_did_not_say_is_not_made_up():
    """Thread, process name and place of the receiver are not the sender's."""
    record = LogRecord.from_json('{"level": 11}')

    for name in (
        "thread",
        "thread_name",
        "greenlet",
        "process_name",
        "process",
        "filename",
        "lineno",
        "func_name",
        "module",
    ):
        assert getattr(record, name) is None


@pytest.mark.rule("WF-21", "WF-23", "Y-04", "LR-34")
def test_a_sender_cannot_replace_what_belongs_to_the_class():
    """Methods, properties, private names and the sender's own state are ignored; the rest comes in."""
    facts = {
        "level": 11, "close": 1, "to_dict": 1, "level_name": "X", "dispatcher": 1, "_spot": 1,
        "keep_open": True, "late": True, "exc_info": 1, "frame": 1, "calling_frame": 1,
        "moment": 1, "custom": "kept", "extra": {"when": "2000-01-01T00:00:00Z"}, "time": None,
    }  # fmt: skip
    record = LogRecord.from_json(json.dumps(facts))
    record.close()

    assert record.level_name == "INFO"
    assert (record.keep_open, record.dispatcher, record.exc_info, record.frame) == (
        False,
        None,
        None,
        None,
    )
    assert record.custom == "kept"
    assert record.extra["when"] == "2000-01-01T00:00:00Z"
    assert (record.time, record.moment) == (None, None)
    assert record.heavy_initialized
    assert record.information_pulled


@pytest.mark.rule("WF-15", "WF-3", "WF-4")
def test_any_json_in_utf_8_is_taken():
    """Raw text, any order, any white space, bare NaN, unknown fields."""
    text = '{ "new" : 1,"message":"J\u00f6rg ☃", "extra": {"x": NaN}, "level" : 13}'.encode()

    record = LogRecord.from_json(text)

    assert (record.message, record.new, record.level_name) == ("Jörg ☃", 1, "WARNING")


@pytest.mark.rule("WF-16", "WF-17")
@pytest.mark.parametrize(
    "text",
    [b"\xff", "", "nope", "[]", "1", "null", "{}", '{"level": null}', '{"level": "INFO"}',
     '{"level": 1.5}', '{"level": true}', '{"level": 11, "time": "yesterday"}'],
)  # fmt: skip
def test_what_is_no_record_is_a_value_error(text):
    """Broken input is told apart from broken code."""
    with pytest.raises(ValueError):
        LogRecord.from_json(text)


@pytest.mark.rule("WF-24")
def test_a_received_record_is_dispatched_as_the_senders():
    """Processors of the receiver run; time and process stay; it can be exported again."""
    from sprockets.logbook import Processor

    record = LogRecord.from_json('{"level": 13, "process": 7, "time": "2000-01-01T00:00:00Z"}')
    with TestHandler(), Processor(lambda record: record.extra.update(here=1)):
        dispatch_record(record)

    again = json.loads(record.to_json())
    assert (again["process"], again["time"], again["extra"]) == (
        7, "2000-01-01T00:00:00.000000Z", {"here": 1},
    )  # fmt: skip


SAMPLE = r"""{"channel": "payments", "msg": "R\u00fcckzahlung f\u00fcr {user} fehlgeschlagen \u2603",
"args": [], "kwargs": {"user": "J\u00f6rg"}, "level": 14, "extra": {"ip": "127.0.0.1", "when":
"2024-01-02T03:04:05.60000Z", "tags": ["a", "\u00fc"], "nested": {"1": [1.5, null, null]}},
"frame_correction": 0, "process": 16163, "heavy_initialized": true, "time":
"2026-11-21T01:37:55.894293Z", "message": "R\u00fcckzahlung f\u00fcr J\u00f6rg fehlgeschlagen \u2603",
"lineno": 19, "thread": 140102835403648, "exception_name": "builtins.KeyError", "func_name": "refund",
"exception_message": "'schl\u00fcssel'", "process_name": null, "module": "app", "greenlet":
140102835403648, "filename": "/srv/app/app.py", "thread_name": "MainThread", "formatted_exception":
"Traceback (most recent call last):\n  File \"/srv/app/app.py\", line 16, in refund\n    {}[\"schl\u00fcssel\"]\n    ~~^^^^^^^^^^^^^\nKeyError: 'schl\u00fcssel'",
"information_pulled": true}""".replace("\n", " ")


@pytest.mark.rule("WF-1", "WF-21", "WF-26")
def test_a_message_that_another_library_sent_is_read_to_the_letter():
    """A captured message of Logbook's, with an exception."""
    record = LogRecord.from_json(SAMPLE)

    assert record.message == "Rückzahlung für Jörg fehlgeschlagen ☃"
    assert (record.level_name, record.exception_shortname) == ("ERROR", "KeyError")
    assert record.extra["nested"] == {"1": [1.5, None, None]}
    assert record.extra["tags"] == ["a", "ü"]
    assert record.time == datetime(2026, 11, 21, 1, 37, 55, 894293)
    assert TestHandler().format(record).endswith("KeyError: 'schlüssel'")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
moments = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))
zones = st.none() | st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(
    lambda offset: timezone(timedelta(minutes=offset.total_seconds() // 60))
)


@settings(max_examples=200, deadline=None)
@given(
    message=st.text(),
    args=st.lists(json_values, max_size=3),
    extra=st.dictionaries(st.text(max_size=4), json_values, max_size=3),
    time=moments,
    zone=zones,
    channel=st.none() | st.text(max_size=5),
)
@pytest.mark.rule("LR-36", "WF-14", "LR-32")
def test_what_is_exported_comes_back(message, args, extra, time, zone, channel):
    """Through a dict every fact; through JSON every fact that JSON has, and the same instant."""
    record = LogRecord(
        channel, WARNING, message.replace("{", "{{").replace("}", "}}"), tuple(args), extra=extra
    )
    record.time = time.replace(tzinfo=zone)
    record.heavy_init()
    utc = time if zone is None else time.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)

    copy = LogRecord.from_dict(record.to_dict())
    sent = LogRecord.from_json(record.to_json())
    record.close()

    ours, theirs = record.to_dict(), copy.to_dict()
    ours.pop("late")
    assert theirs == ours
    assert sent.time == utc
    assert sent.moment == record.moment
    assert (sent.message, sent.channel, sent.lineno) == (record.message, channel, record.lineno)
    assert (list(sent.args), sent.extra) == (list(args), extra)
    assert sent.to_json() == LogRecord.from_json(sent.to_json()).to_json()


@pytest.mark.rule("LR-36", "D-12")
@pytest.mark.parametrize(
    "source",
    ["utc", "local", lambda: datetime.now(UTC), lambda: datetime.now(timezone(timedelta(hours=5)))],
)
def test_an_exported_time_is_the_true_instant(source, monkeypatch):
    """Whatever records show people, they say UTC when they leave, to the microsecond."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    import time

    time.tzset()
    try:
        set_datetime_format(source)
        before = time.time_ns() // 1000
        record = logged(INFO, "x")
        after = time.time_ns() // 1000
        shown = record.time
        sent = LogRecord.from_json(record.to_json())
        pickled = pickle.loads(pickle.dumps(record))
        set_datetime_format("utc")
        assert record.time == shown
    finally:
        monkeypatch.undo()
        time.tzset()

    assert before <= record.moment <= after
    assert sent.moment == record.moment == pickled.moment
    assert pickled.time == shown
    record.close()


@pytest.mark.rule("LR-38")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_record_can_be_pickled_by_every_protocol(protocol):
    """It comes back as an import of its export, of the same class; what cannot be pickled fails."""
    record = logged(INFO, "{}", 1, extra={"a": {1, 2}})

    copy = pickle.loads(pickle.dumps(record, protocol))

    assert type(copy) is LogRecord
    ours, theirs = record.to_dict(), copy.to_dict()
    assert {key: ours[key] for key in theirs} == theirs
    assert ours.keys() - theirs.keys() == {"late", "keep_open"}
    assert (copy.extra, copy.time, copy.lineno) == (record.extra, record.time, record.lineno)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(logged(INFO, "x", extra={"a": lambda: 1}), protocol)
    record.close()
