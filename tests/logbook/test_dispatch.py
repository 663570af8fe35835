"""Dispatch: who gets a record, in which order, and what failures do on the way."""

import gc
import weakref

import pytest

from sprockets.logbook import (
    INFO,
    WARNING,
    FileHandler,
    Flags,
    Handler,
    Logger,
    LogRecord,
    NestedSetup,
    NullHandler,
    Processor,
    StderrHandler,
    TestHandler,
    dispatch_record,
    statistics,
)
from sprockets.logbook.base import RecordDispatcher

log = Logger("dispatch")


class Untouched(LogRecord):
    """A record that must not be initialised."""

    def heavy_init(self):
        raise AssertionError("nobody was interested")


@pytest.mark.rule("RD-1", "P-F3", "P-Q1", "P-L1", "P-D1", "TY-5")
def test_loggers_are_not_registered_and_vanish_with_their_last_reference(make_handler):
    """Two loggers of one name are two; one that nobody holds is collected, also after it logged."""
    first, second = Logger("same"), Logger("same")
    first.level = "ERROR"
    with make_handler():
        first.error("x")
        second.bind(a=1).info("x")

    references = [weakref.ref(first), weakref.ref(second)]
    del first, second

    assert [reference() for reference in references] == [None, None]


@pytest.mark.rule("RD-2", "P-E6")
def test_a_record_is_closed_after_the_call_also_after_a_failure():
    """Late and closed afterwards, unless a handler keeps it open; also when the handling raised."""
    records = []

    class Failing(Handler):
        def emit(self, record):
            records.append(record)
            raise ValueError("full")

    with Failing(), Flags(errors="raise"), pytest.raises(ValueError, match="full"):
        log.error("x", exc_info=ValueError())
    with TestHandler() as kept:
        log.error("y")

    assert records[0].late
    assert (records[0].frame, records[0].calling_frame, records[0].exc_info) == (None, None, None)
    assert kept.records[0].late
    assert kept.records[0].frame is not None
    kept.close()


@pytest.mark.rule("RD-2")
def test_an_override_of_the_reference_with_six_arguments_works():
    """A subclass that knows no frame correction overrides and is called as it expects."""

    class Old(Logger):
        def make_record_and_handle(self, level, msg, args, kwargs, exc_info, extra):
            calls.append((level, msg, args, kwargs, exc_info, extra))
            super().make_record_and_handle(level, msg, args, kwargs, exc_info, extra)

    calls = []
    with TestHandler() as handler:
        Old("old").warning("{} {a}", 1, a=2, extra={"b": 3})

    assert calls == [(WARNING, "{} {a}", (1,), {"a": 2}, None, {"b": 3})]
    assert handler.records[0].message == "1 2"


@pytest.mark.rule("RD-3", "RD-4")
def test_handle_asks_for_level_and_switch_and_call_handlers_does_not(make_handler):
    """`handle` drops what is below the level; `call_handlers` asks nothing; neither closes."""
    logger = Logger("x", level="WARNING")
    with make_handler() as handler:
        logger.handle(LogRecord("x", INFO, "below"))
        logger.call_handlers(LogRecord("x", INFO, "asked directly"))
        logger.disable()
        record = LogRecord("x", WARNING, "disabled")
        logger.handle(record)
        logger.call_handlers(record)

    assert handler.messages == ["asked directly", "disabled"]
    assert not record.late


@pytest.mark.rule("RD-5", "RD-9", "P-S6", "P-P1")
def test_a_record_that_interests_nobody_is_left_alone(no_default_handler, make_handler):
    """No initialisation, no processing, where no handler gets as far."""
    processed = []
    with Processor(processed.append), make_handler("ERROR"):
        log.info("not interesting")
        record = Untouched("x", INFO, "y")
        log.call_handlers(record)

    assert processed == []
    assert record.time is None
    assert record.frame is None


@pytest.mark.rule("RD-6", "NH-2", "RD-9", "P-S5")
def test_a_blackhole_without_a_filter_stops_a_record_before_anything_is_worked_out(make_handler):
    """Neither time nor place nor processors: that is why silencing costs nothing."""
    processed = []
    with make_handler() as below, Processor(processed.append), NullHandler():
        log.call_handlers(Untouched("x", INFO, "y"))
        log.info("x")

    assert (below.messages, processed) == ([], [])


@pytest.mark.rule("RD-6", "RD-7", "NH-1", "NH-3", "D-08", "P-H8")
def test_a_blackhole_with_a_filter_swallows_what_the_filter_accepts(make_handler):
    """The filter of a blackhole is asked, after the record was processed."""
    seen = []

    def noise(record, handler):
        seen.append(record.extra["p"])
        return record.message == "noise"

    with (
        make_handler() as below,
        Processor(lambda record: record.extra.update(p=1)),
        NullHandler(filter=noise),
    ):
        log.info("noise")
        log.info("signal")

    assert below.messages == ["signal"]
    assert seen == [1, 1]


@pytest.mark.rule("RD-8", "D-07")
def test_a_blackhole_that_bubbles_does_nothing_at_all(no_default_handler, make_handler):
    """Upstream let it stop the chain all the same."""
    with make_handler() as below, NullHandler(bubble=True):
        log.info("x")
        with NullHandler("NOTSET", lambda record, handler: True, True):
            log.info("y")
    with NullHandler(bubble=True):
        log.call_handlers(Untouched("x", INFO, "nobody but a bubbling blackhole"))

    assert below.messages == ["x", "y"]


@pytest.mark.rule("RD-6", "P-F5", "P-Q4", "P-Q5", "P-C11")
def test_a_record_goes_on_exactly_as_long_as_handlers_let_it_bubble(make_handler):
    """The first that consumes without bubbling is the last that gets it."""
    with (
        make_handler() as bottom,
        make_handler("ERROR") as middle,
        make_handler("WARNING", bubble=True) as top,
    ):
        log.error("error")
        log.warning("warning")
        log.info("info")

    assert top.messages == ["error", "warning"]
    assert middle.messages == ["error"]
    assert bottom.messages == ["warning", "info"]


@pytest.mark.rule("RD-10", "RD-20", "P-H6")
def test_a_record_is_processed_once_a_dispatch_however_many_take_it(make_handler):
    """Also when the first filter vetoes; a second dispatch processes again, and keeps the time."""
    processed = []

    with (
        make_handler(),
        make_handler(bubble=True),
        make_handler(filter=lambda record, handler: False),
        Processor(processed.append),
    ):
        log.info("x")
        assert len(processed) == 1
        record = LogRecord("x", INFO, "y")
        dispatch_record(record)
        time = record.time
        dispatch_record(record)

    assert len(processed) == 3
    assert record.time == time


@pytest.mark.rule("RD-11")
def test_a_handler_that_declines_lets_the_record_go_on(make_handler):
    """A false value from `handle` means: not recorded here."""

    class Declining(Handler):
        def handle(self, record):
            return False

    with make_handler() as below, Declining():
        log.info("x")

    assert below.messages == ["x"]


@pytest.mark.rule("RD-12", "P-C7", "P-Q3")
def test_a_loggers_own_handlers_come_first_and_obey_the_same_rules(make_handler):
    """Level, filter, bubble and blackhole count for them as for bound ones."""
    logger = Logger("own")
    own = make_handler("WARNING")
    logger.handlers.append(own)
    with make_handler() as bound:
        logger.info("to the stack")
        logger.warning("to its own")
        own.bubble = True
        logger.warning("to both")
        own.filter = lambda record, handler: False
        logger.warning("filtered")
        logger.handlers[:] = [NullHandler()]
        logger.warning("swallowed")
        logger.handlers = [own]
        own.filter = None
        logger.handlers += [NullHandler()]
        logger.warning("last")

    assert own.messages == ["to its own", "to both", "last"]
    assert bound.messages == ["to the stack", "to both", "filtered"]


@pytest.mark.rule("RD-13")
def test_a_record_without_any_handler_is_dropped(no_default_handler, capsys):
    """Nothing bound, nothing said."""
    log.error("nobody")

    assert capsys.readouterr() == ("", "")


class Broken:
    """Raises wherever it is called."""

    def __init__(self, error=RuntimeError):
        self.error = error

    def __call__(self, *args):
        raise self.error("broken part")


def broken_setups(make_handler):
    class Asking(Handler):
        should_handle = Broken()

    class Handling(Handler):
        handle = Broken()

    class BadErrors(Handler):
        emit = Broken()
        handle_error = Broken()

    def logger_processing():
        logger = Logger("x")
        logger.process_record = Broken()
        return logger

    return {
        "should_handle": (log, [Asking(bubble=True)]),
        "handle": (log, [Handling(bubble=True)]),
        "handle_error": (log, [BadErrors(bubble=True)]),
        "filter": (log, [make_handler(filter=Broken(), bubble=True)]),
        "processor": (log, [Processor(Broken())]),
        "process_record": (logger_processing(), []),
    }


PARTS = ["should_handle", "handle", "handle_error", "filter", "processor", "process_record"]


@pytest.mark.rule("RD-14", "PR-5")
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_raises_is_reported_and_the_record_goes_on(part, make_handler, capsys):
    """Filters, processors and handlers that raise never reach the application."""
    logger, parts = broken_setups(make_handler)[part]
    before = statistics()["failed"]

    with make_handler() as below, NestedSetup(parts):
        logger.warning("important")

    assert below.messages == ["important"]
    assert statistics()["failed"] > before
    assert "RuntimeError: broken part" in capsys.readouterr().err


@pytest.mark.rule("RD-14", "PR-5")
@pytest.mark.parametrize("part", PARTS)
def test_with_errors_raise_a_part_that_raises_reaches_the_application(part, make_handler):
    """Who wants to see failures in tests asks for it."""
    logger, parts = broken_setups(make_handler)[part]

    with make_handler(), NestedSetup(parts), Flags(errors="raise"), pytest.raises(RuntimeError):
        logger.warning("important")


@pytest.mark.rule("RD-14")
def test_a_filter_that_raises_counts_as_one_that_accepts(make_handler):
    """A broken filter costs a report, not a record."""
    with make_handler(filter=Broken()) as handler, Flags(errors="silent"):
        log.warning("important")

    assert handler.messages == ["important"]


@pytest.mark.rule("RD-14", "HB-3", "D-10")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("part", PARTS)
def test_what_ends_the_program_passes_from_every_part(error, part, make_handler, monkeypatch):
    """KeyboardInterrupt and SystemExit are not failures of logging."""
    monkeypatch.setattr(Broken.__init__, "__defaults__", (error,))
    logger, parts = broken_setups(make_handler)[part]

    with make_handler(), NestedSetup(parts), Flags(errors="silent"), pytest.raises(error):
        logger.warning("important")


@pytest.mark.rule("RD-15")
def test_logging_from_within_logging_is_an_ordinary_call(make_handler):
    """Handlers, filters, processors, formatters and arguments may log."""
    inner, other = make_handler(), Logger("inner")

    class Talking(Handler):
        def emit(self, record):
            with inner:
                other.info("emit")

    class Argument:
        def __str__(self):
            with inner:
                other.info("str")
            return "argument"

    def talk(where):
        def part(record, handler=None):
            with inner:
                other.info(where)
            return True

        return part

    with TestHandler() as kept, Processor(talk("processor")):
        with Talking(filter=talk("filter"), bubble=True):
            log.info("{}", Argument())
        assert kept.formatted_records == ["[INFO] dispatch: argument"]

    assert set(inner.messages) == {"emit", "filter", "processor", "str"}


@pytest.mark.rule("RD-16", "RD-17", "P-Q8", "P-D6")
def test_process_record_may_be_overridden_with_and_without_the_parent():
    """The group's processor runs first, then the bound ones; an override replaces or extends both."""
    from sprockets.logbook import LoggerGroup

    def note(name):
        return lambda record: record.extra.setdefault("order", []).append(name)

    class Extending(Logger):
        def process_record(self, record):
            super().process_record(record)
            note("own")(record)

    class Replacing(Logger):
        def process_record(self, record):
            note("own")(record)

    loggers = [Logger("a"), Extending("b"), Replacing("c")]
    LoggerGroup(loggers, processor=note("group"))

    with TestHandler() as handler, Processor(note("older")), Processor(note("newer")):
        for logger in loggers:
            logger.info("x")

    assert [record.extra["order"] for record in handler.records] == [
        ["group", "newer", "older"],
        ["group", "newer", "older", "own"],
        ["own"],
    ]


@pytest.mark.rule("RD-18", "P-E4", "P-E5", "EX-1")
def test_dispatch_record_asks_no_logger_and_leaves_the_record_open(make_handler):
    """Processors run; dispatcher, lateness and openness stay as they are."""
    record = LogRecord("My channel", INFO, "Hello World!")

    with TestHandler() as handler, Processor(lambda record: record.extra.update(p=1)):
        dispatch_record(record)

    assert handler.formatted_records == ["[INFO] My channel: Hello World!"]
    assert record.extra["p"] == 1
    assert (record.dispatcher, record.late) == (None, False)
    assert record.frame is not None
    record.close()


@pytest.mark.rule("RD-19", "LR-17")
def test_a_closed_record_that_was_never_initialised_cannot_be_dispatched(make_handler):
    """It is too late to know when and where it was."""
    record = LogRecord("x", INFO, "y")
    record.close()

    with NullHandler():
        dispatch_record(record)
    with make_handler(), pytest.raises(AssertionError, match="heavy init is no longer possible"):
        dispatch_record(record)


@pytest.mark.rule("P-F1", "EX-6", "P-Q6", "NH-4")
def test_a_blackhole_below_a_handler_takes_what_the_handler_does_not(make_handler, capsys):
    """Errors to the handler, the rest to nobody, nothing on standard error."""
    with NullHandler(), make_handler("ERROR") as handler:
        log.error("error")
        log.warning("warning")

    assert handler.messages == ["error"]
    assert capsys.readouterr().err == ""


@pytest.mark.rule("P-L5")
def test_hooking_a_null_handler_in_silences_a_call_and_leaves_the_rest(make_handler):
    """A noisy library is silenced for a block."""
    with make_handler() as handler:
        with NullHandler():
            log.error("noise")
        log.error("after")

    assert handler.messages == ["after"]


@pytest.mark.rule("P-C5", "P-C3", "NS-1")
def test_a_usual_nested_setup_sends_everything_where_it_belongs(tmp_path, capsys):
    """Blackhole, file, bubbling alarm, processor: each level ends where it should."""
    alarm = TestHandler("ERROR", bubble=True)
    setup = NestedSetup(
        [
            NullHandler(),
            FileHandler(
                tmp_path / "log",
                level="WARNING",
                format_string="{record.extra[p]} {record.message}",
            ),
            alarm,
            Processor(lambda record: record.extra.update(p="here")),
        ]
    )

    with setup:
        log.error("error")
        log.warning("warning")
        log.info("info")
    setup.objects[1].close()

    assert (tmp_path / "log").read_text() == "here error\nhere warning\n"
    assert [record.extra["p"] for record in alarm.records] == ["here"]
    assert capsys.readouterr().err == ""


@pytest.mark.rule("LR-26", "LR-27", "P-C9", "P-C10", "P-E3")
def test_a_record_knows_its_logger_weakly():
    """A filter may compare the dispatcher; after closing nothing keeps the logger."""
    logger = Logger("weak")
    seen = []

    expected = weakref.ref(logger)

    def look(record, handler):
        seen.append(record.dispatcher is expected())

    with TestHandler(filter=look):
        logger.info("x")
    with TestHandler() as handler:
        logger.info("y")
    assert handler.records[0].dispatcher is logger
    assert seen == [True]

    handler.close()
    del logger
    gc.collect()

    assert handler.records[0].dispatcher is None


@pytest.mark.rule("TY-3")
def test_the_class_hierarchy_is_what_users_know():
    """What derives from what."""
    from sprockets.logbook import FingersCrossedHandler, GroupHandler, WrapperHandler
    from sprockets.logbook.base import ContextObject, LoggerMixin, StackedObject

    assert issubclass(Logger, RecordDispatcher)
    assert issubclass(Logger, LoggerMixin)
    assert issubclass(GroupHandler, WrapperHandler)
    assert issubclass(FingersCrossedHandler, Handler)
    assert issubclass(StderrHandler, Handler)
    assert issubclass(NestedSetup, StackedObject)
    assert not issubclass(NestedSetup, ContextObject)
    assert issubclass(Handler, ContextObject)
