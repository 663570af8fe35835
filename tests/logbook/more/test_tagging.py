"""Tags: what they are about decides where records go."""

import gc
import sys
import weakref

import pytest

from sprockets.logbook import Flags, Handler, Logger, LogRecord, NullHandler, TestHandler
from sprockets.logbook.more import ExceptionHandler, TaggingHandler, TaggingLogger


@pytest.fixture(name="log")
def _log():
    return TaggingLogger("testlogger", ["info", "cmd", "both"])


@pytest.fixture(name="target")
def _target():
    with TestHandler(format_string="{record.msg}|{record.extra[tags]}") as handler:
        yield handler


class FailingHandler(Handler):
    """Fails with every record."""

    def emit(self, record):
        raise OSError("the disk is full")


# -- the logger


@pytest.mark.rule("TG-1", "Y-40")
def test_each_declared_tag_is_a_method_that_logs_with_it(log, target):
    """Each with its own, not all with the last."""
    log.info("a")
    log.cmd("b")
    log.both("c")

    assert target.formatted_records == ["a|['info']", "b|['cmd']", "c|['both']"]
    assert {"info", "cmd", "both", "log"} <= set(dir(log))


@pytest.mark.rule("TG-1")
def test_a_tag_need_not_be_an_identifier(target):
    """It is got by name."""
    log = TaggingLogger("testlogger", ["disk full"])

    getattr(log, "disk full")("sda")

    assert target.formatted_records == ["sda|['disk full']"]


@pytest.mark.rule("TG-2", "Q-12")
def test_log_takes_any_tags_and_none_need_be_declared(target):
    """One or several, in their order; the level is that of nothing."""
    log = TaggingLogger()

    log.log("one", "a")
    log.log(("two", "one"), "b")
    log.log(iter(["three"]), "c")

    assert [record.extra["tags"] for record in target.records] == [
        ["one"],
        ["two", "one"],
        ["three"],
    ]
    assert {(record.level, record.level_name) for record in target.records} == {(0, "NOTSET")}


@pytest.mark.rule("TG-3")
def test_a_handler_with_a_level_sees_no_tagged_record(log, target):
    """They have the lowest level there is."""
    with TestHandler("TRACE") as high:
        log.info("a")

    assert not high.records
    assert target.formatted_records == ["a|['info']"]


@pytest.mark.rule("TG-3")
def test_a_tagging_logger_can_be_switched_off_and_has_no_methods_of_levels(log, target):
    """Neither ``exception`` nor ``catch_exceptions``, either."""
    log.disabled = True
    log.info("unheard")
    log.disabled = False
    log.info("heard")

    assert target.formatted_records == ["heard|['info']"]
    for name in ("debug", "exception", "catch_exceptions", "warning"):
        with pytest.raises(
            AttributeError, match=f"'TaggingLogger' object has no attribute .{name}"
        ):
            getattr(log, name)


@pytest.mark.rule("TG-3")
def test_a_level_of_the_logger_keeps_everything_out(log, target):
    """That is why it stays what it is."""
    log.level = "TRACE"

    log.info("unheard")

    assert not target.records


@pytest.mark.rule("TG-4")
def test_messages_take_arguments_as_those_of_other_loggers(log, target):
    """Also keywords that are names of parameters; channel and dispatcher are the logger's."""
    log.info("{} {msg} {tags}", 1, msg=2, tags=3)

    (record,) = target.records
    assert record.message == "1 2 3"
    assert (record.channel, record.dispatcher) == ("testlogger", log)


@pytest.mark.rule("TG-4")
def test_an_exception_may_be_given_in_every_form(log, target):
    """The one being handled, or one at hand."""
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        log.info("a", exc_info=True)
        log.log("x", "b", exc_info=error)

    assert [record.exception_shortname for record in target.records] == ["ZeroDivisionError"] * 2


@pytest.mark.rule("TG-5", "Y-41")
def test_custom_data_stays_as_the_caller_has_it(log, target):
    """A dict is copied, ``None`` is none, and its own tags do not count."""
    extra = {"user": "ann", "tags": ["forged"]}

    log.info("a", extra=extra)
    log.info("b", extra=None)

    assert extra == {"user": "ann", "tags": ["forged"]}
    assert [dict(record.extra) for record in target.records] == [
        {"user": "ann", "tags": ["info"]},
        {"tags": ["info"]},
    ]


def _here():
    return sys._getframe(1).f_lineno


@pytest.mark.rule("TG-6", "Y-42")
def test_the_place_is_where_the_tag_was_called(log, target):
    """Through a method of a tag, through `log`, and through a wrapper that says so."""

    def wrapper():
        log.info("c", frame_correction=1)

    lines = [_here() + number for number in (1, 2, 3)]
    log.info("a")
    log.log("x", "b")
    wrapper()

    assert [record.lineno for record in target.records] == lines
    assert {record.filename for record in target.records} == {__file__}
    assert {record.func_name for record in target.records} == {
        "test_the_place_is_where_the_tag_was_called"
    }


@pytest.mark.rule("TG-7")
@pytest.mark.parametrize(
    "tag", ["log", "name", "level", "handlers", "handle", "disabled", "group", "__class__"]
)
def test_a_tag_that_would_hide_something_of_the_logger_is_refused(tag):
    """The text says what else to do."""
    with pytest.raises(ValueError, match=f"tag '{tag}' would hide an attribute of the logger"):
        TaggingLogger("testlogger", ["fine", tag])


@pytest.mark.rule("TG-7")
def test_a_tag_may_be_declared_twice_and_a_single_one_as_a_text(target):
    """Neither is worth an error, nor are letters tags."""
    TaggingLogger("testlogger", ["one", "one"]).one("a")
    TaggingLogger("testlogger", "two").two("b")

    assert target.formatted_records == ["a|['one']", "b|['two']"]


@pytest.mark.rule("TG-8")
def test_a_tag_without_a_message_is_a_mistake(log):
    """Nobody would know what was meant."""
    with pytest.raises(TypeError, match="msg"):
        log.info()


@pytest.mark.rule("TG-4")
def test_nobody_keeps_a_tagging_logger():
    """It is gone when nobody holds it, with its methods of tags, without the garbage collector."""
    gc.disable()
    try:
        log = TaggingLogger("testlogger", ["info"])
        with TestHandler() as handler:
            log.info("a")
        handler.close()
        reference = weakref.ref(log)

        del log

        assert reference() is None
    finally:
        gc.enable()


def test_a_call_of_a_disabled_logger_makes_no_record(log, monkeypatch):
    """It ends at the gate, as with other loggers."""
    made = []
    monkeypatch.setattr(TaggingLogger, "_make_record", lambda *args: made.append(args))
    log.disabled = True

    with TestHandler():
        log.info("unheard")

    assert not made


# -- the handler


@pytest.mark.rule("TG-9", "TG-10", "TG-15")
def test_tags_decide_which_handlers_get_a_record():
    """One handler or several for each tag, whoever logged with it."""
    one = TestHandler(format_string="{record.msg}|{record.extra[tags]}")
    two = TestHandler(format_string="{record.msg}|{record.extra[tags]}")
    log = TaggingLogger("name", ["cmd"])

    with NullHandler(), TaggingHandler({"info": one, "cmd": two, "both": iter([one, two])}):
        log.log("info", "a")
        log.log("both", "b")
        log.cmd("c")
        Logger("other").error("d", extra={"tags": "cmd"})

    assert one.formatted_records == ["a|['info']", "b|['both']"]
    assert two.formatted_records == ["b|['both']", "c|['cmd']", "d|cmd"]


@pytest.mark.rule("TG-9")
@pytest.mark.parametrize("handlers", [[], None, TestHandler])
def test_handlers_by_tag_are_a_dict(handlers):
    """Anything else is a mistake."""
    with pytest.raises(AssertionError, match="handlers must be a dict"):
        TaggingHandler(handlers)


@pytest.mark.rule("TG-9")
def test_what_is_no_handler_is_refused_at_once():
    """Not with the first record of that tag."""
    with pytest.raises(TypeError, match="handlers of tag 'sale' must be handlers, got 'f'"):
        TaggingHandler({"sale": "file"})


@pytest.mark.rule("TG-10")
def test_a_handler_of_two_tags_gets_a_record_of_both_twice(log):
    """In the order of the tags."""
    calls = []

    class Noting(Handler):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def emit(self, record):
            calls.append(self.name)

    one, two = Noting("one"), Noting("two")
    with TaggingHandler({"a": [one, two], "b": [one]}):
        log.log(["b", "unknown", "a"], "x")

    assert calls == ["one", "one", "two"]


@pytest.mark.rule("TG-11")
def test_level_filter_and_bubble_of_the_inner_handlers_do_not_matter(log):
    """It is the tag alone."""
    inner = TestHandler("CRITICAL", filter=lambda record, handler: False)

    with TaggingHandler({"info": inner}):
        log.info("a")

    assert inner.records[0].message == "a"


@pytest.mark.rule("TG-11", "TG-13")
def test_an_inner_handler_may_raise_out_of_the_call_when_all_have_had_the_record(log):
    """Its ``handle`` is asked, and that is what it is for."""
    inner = TestHandler()

    with TaggingHandler(
        {"info": [ExceptionHandler(LookupError, format_string="{record.msg}"), inner]}
    ):
        with pytest.raises(LookupError, match="^a$"):
            log.info("a")

    assert len(inner.records) == 1


@pytest.mark.rule("TG-11")
def test_it_raises_also_where_somebody_else_asks():
    """Called by hand, and from within a handler that wraps."""
    handler = TaggingHandler({"t": ExceptionHandler(LookupError)})
    record = LogRecord("c", 0, "x", extra={"tags": ["t"]})
    record.heavy_init()

    with pytest.raises(LookupError):
        handler.handle(record)
    with pytest.raises(LookupError):
        handler.emit(record)


@pytest.mark.rule("TG-12")
def test_records_without_a_known_tag_end_there_unless_let_through(log, target):
    """A filter or bubbling does so."""
    inner = TestHandler()
    with TaggingHandler({"cmd": inner}) as handler:
        log.info("unknown")
        Logger("other").error("untagged")
        assert handler.level == 0
    with TaggingHandler({"cmd": inner}, bubble=True):
        log.info("bubbles")
    with TaggingHandler({"cmd": inner}, filter=lambda record, _: "cmd" in record.extra["tags"]):
        log.info("filtered")

    assert [record.msg for record in target.records] == ["bubbles", "filtered"]
    assert not inner.records


@pytest.mark.rule("TG-13")
def test_one_failing_handler_does_not_keep_the_others_from_the_record(log, capsys):
    """It is reported; with the flag ``raise`` it comes out afterwards."""
    inner = TestHandler()

    with TaggingHandler({"info": [FailingHandler(), inner]}):
        log.info("a")
        with Flags(errors="raise"), pytest.raises(OSError, match="the disk is full"):
            log.info("b")

    assert [record.msg for record in inner.records] == ["a", "b"]
    assert "OSError: the disk is full" in capsys.readouterr().err


@pytest.mark.rule("TG-13")
def test_an_error_comes_out_of_emit_when_all_have_had_the_record(log):
    """For whoever wraps the handler, and deals with errors."""
    inner = TestHandler()
    handler = TaggingHandler({"t": [FailingHandler(), inner]})
    record = LogRecord("c", 0, "x", extra={"tags": ["t"]})

    with Flags(errors="raise"), pytest.raises(OSError, match="the disk is full"):
        handler.emit(record)

    assert inner.records == [record]


@pytest.mark.rule("TG-14")
def test_closing_leaves_the_inner_handlers_open(log):
    """They are their owner's."""
    closed = []

    class Noting(Handler):
        def close(self):
            closed.append(self)

    inner = Noting()
    handler = TaggingHandler({"info": inner})

    handler.close()
    del handler
    gc.collect()

    assert not closed
    inner.close()
