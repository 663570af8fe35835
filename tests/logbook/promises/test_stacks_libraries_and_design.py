"""What the pages about stacks, libraries and design promise, as a reader takes it."""

import gc
import inspect
import threading
import weakref

import pytest

from sprockets.logbook import (
    INFO,
    FileHandler,
    Flags,
    Handler,
    Logger,
    LoggerGroup,
    LogRecord,
    NestedSetup,
    NullHandler,
    Processor,
    TestHandler,
    dispatch_record,
)
from sprockets.logbook import error as package_error
from sprockets.logbook._context import StackedObject

log = Logger("library")


# -- stacks


@pytest.mark.rule("P-S1", "P-S2")
def test_there_are_three_stacks_with_one_interface():
    """Each with its manager; all fit into a set-up."""
    objects = [TestHandler(), Processor(), Flags()]

    managers = {id(one.stack_manager) for one in objects}
    setup = NestedSetup([*objects, NestedSetup(objects)])

    assert len(managers) == 3
    for one in (*objects, setup):
        assert isinstance(one, StackedObject)
        with one, one.applicationbound():
            pass


@pytest.mark.rule("P-S3")
@pytest.mark.parametrize("binding", ["context", "application"])
def test_with_and_pushing_and_popping_are_the_same(binding):
    """For both bindings, and when it goes wrong."""
    handler = TestHandler()

    def log_inside(fails):
        log.info("inside")
        if fails:
            raise ValueError

    def by_with(fails):
        with handler if binding == "context" else handler.applicationbound():
            log_inside(fails)

    def by_hand(fails):
        getattr(handler, f"push_{binding}")()
        try:
            log_inside(fails)
        finally:
            getattr(handler, f"pop_{binding}")()

    with TestHandler() as below:
        for way in (by_with, by_hand):
            way(False)
            log.info("outside")
            with pytest.raises(ValueError, match="^$"):
                way(True)
            log.info("outside")

    assert [record.message for record in handler.records] == ["inside"] * 4
    assert [record.message for record in below.records] == ["outside"] * 4


@pytest.mark.rule("P-S5", "P-L5")
def test_a_blackhole_on_top_hides_a_configuration_at_no_cost(monkeypatch):
    """Nothing is initialised or processed; afterwards all is as before."""

    def never(*args):
        raise AssertionError("this costs something")

    with TestHandler() as handler:
        with monkeypatch.context() as patch, Processor(never), NullHandler():
            patch.setattr(LogRecord, "heavy_init", never)
            log.error("noise")
        log.error("heard")

    assert [record.message for record in handler.records] == ["heard"]


# -- libraries


class _StandIn:
    """What a library has in the place of a logger, where there is none."""

    def __init__(self, name, level=0):
        self.name = name
        self.level = level

    debug = info = warn = warning = notice = error = exception = critical = log = lambda *a, **kw: (
        None
    )


@pytest.mark.rule("P-L2")
def test_a_stand_in_covers_what_a_library_uses_of_a_logger():
    """Each of its names is there on a logger, and takes what it takes."""
    with TestHandler() as handler:
        for make in (_StandIn, Logger):
            logger = make("library", 0)
            assert (logger.name, logger.level) == ("library", 0)
            for name in ("debug", "info", "warn", "warning", "notice", "error", "critical"):
                getattr(logger, name)("{} {x}", 1, x=2)
            logger.log("INFO", "{}", 1)
            try:
                raise KeyError("k")
            except KeyError:
                logger.exception("failed")

    assert len(handler.records) == 9


@pytest.mark.rule("P-L3", "P-L6")
def test_a_library_is_switched_by_its_logger_or_group():
    """A single logger may deviate from its group."""
    group = LoggerGroup([one := Logger("one"), other := Logger("other")], level="ERROR")
    with TestHandler() as handler:
        one.info("too low")
        other.level = "INFO"
        other.info("deviates")
        group.disabled = True
        one.error("off")
        group.disabled = False
        one.disabled = True
        one.error("off, too")
        other.error("on")

    assert [record.message for record in handler.records] == ["deviates", "on"]


@pytest.mark.rule("P-L4")
def test_disabled_may_be_worked_out_at_each_call():
    """From whatever else."""
    switch = {"on": False}

    class Switched(Logger):
        @property
        def disabled(self):
            return not switch["on"]

    logger = Switched("x")
    with TestHandler() as handler:
        logger.info("one")
        switch["on"] = True
        logger.info("two")

    assert [record.message for record in handler.records] == ["two"]


# -- design


@pytest.mark.rule("P-E2", "P-E3", "P-E4", "P-E5", "P-E8")
def test_a_record_has_its_loggers_name_as_channel_and_the_logger_as_dispatcher():
    """Those of the package's functions have none, nor have those dispatched by hand."""
    with TestHandler() as handler:
        log.info("x")
        package_error("y")
        dispatch_record(LogRecord("My channel", INFO, "Hello World!"))

    assert [(record.channel, record.dispatcher) for record in handler.records] == [
        ("library", log),
        ("Generic", None),
        ("My channel", None),
    ]


@pytest.mark.rule("P-E7")
def test_there_are_three_ways_to_keep_a_record():
    """Open, with its information pulled, or as a dictionary, which may go as JSON."""

    class Keeping(Handler):
        def emit(self, record):
            if record.msg == "open":
                record.keep_open = True
            elif record.msg == "pulled":
                record.pull_information()
            self.records.append(record.to_dict() if record.msg == "dict" else record)

    handler = Keeping()
    handler.records = []
    with handler:
        for msg in ("open", "pulled", "dict", "closed"):
            log.info(msg)

    kept, pulled, exported, closed = handler.records
    assert kept.calling_frame is not None
    assert (pulled.calling_frame, pulled.filename) == (None, __file__)
    assert exported["filename"] == __file__
    assert (closed.calling_frame, closed.lineno) == (None, None)
    assert LogRecord.from_json(kept.to_json()).message == "open"
    kept.close()


@pytest.mark.rule("P-D1")
def test_a_logger_leaves_no_trace():
    """Not after it logged, and without the help of the garbage collector."""
    gc.disable()
    try:
        logger = Logger("short-lived")
        with NullHandler():
            logger.error("x")
        reference = weakref.ref(logger)

        del logger

        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.rule("P-D2", "P-D7", "P-H14")
def test_where_a_call_goes_is_decided_by_where_it_is_made():
    """One logger, in two threads, each with a handler of its own, and in one that has none."""
    seen = {}

    def work(name, handler):
        with handler:
            log.info(name)
        seen[name] = [record.message for record in handler.records]

    with TestHandler().applicationbound() as application:
        threads = [
            threading.Thread(target=work, args=("a", TestHandler())),
            threading.Thread(target=work, args=("b", TestHandler())),
            threading.Thread(target=log.info, args=("c",)),
        ]
        for thread in threads:
            thread.start()
            thread.join(30)

    assert seen == {"a": ["a"], "b": ["b"]}
    assert [record.message for record in application.records] == ["c"]


@pytest.mark.rule("P-D5")
def test_filter_and_bubble_belong_to_the_handler(tmp_path):
    """They were once said to be given to a binding; that is an error."""
    with FileHandler(tmp_path / "a", delay=True) as handler:
        for binding, options in (
            (handler.applicationbound, {"bubble": False}),
            (handler.threadbound, {"filter": lambda record, handler: True}),
        ):
            with pytest.raises(TypeError):
                binding(**options)
        assert (handler.bubble, handler.filter) == (False, None)


@pytest.mark.rule("P-D6")
def test_a_logger_may_tag_its_records_for_a_filter():
    """In a subclass."""

    class Tagging(Logger):
        def process_record(self, record):
            super().process_record(record)
            record.extra["tag"] = "audit"

    audit = TestHandler(filter=lambda record, handler: record.extra["tag"] == "audit")
    with NullHandler(), audit:
        Tagging("one").info("x")
        Logger("two").info("y")

    assert [record.message for record in audit.records] == ["x"]


# -- the changelog, as far as it promises


@pytest.mark.rule("P-H1", "P-S3")
def test_with_a_handler_binds_it_to_the_context_and_gives_it_back():
    """So do all helpers of binding."""
    handler = TestHandler()

    for binding in (
        handler,
        handler.threadbound(),
        handler.contextbound(),
        handler.greenletbound(),
        handler.applicationbound(),
    ):
        with binding as given:
            log.info("x")
            assert given is handler

    assert len(handler.records) == 5


@pytest.mark.rule("P-H5")
def test_the_origin_of_a_record_is_its_channel():
    """It was once called otherwise; filters may ask for it."""
    with TestHandler(filter=lambda record, handler: record.channel == "library") as handler:
        log.info("x")
    record = handler.records[0]

    assert record.channel == "library"
    assert not hasattr(record, "logger_name")


@pytest.mark.rule("P-H14")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_through_blocks(error):
    """Also those that catch exceptions; nothing stays bound."""
    setup = NestedSetup([TestHandler(), Processor(), Flags()])

    with TestHandler() as handler:
        with pytest.raises(error), setup, log.catch_exceptions():
            raise error

    assert not handler.records


@pytest.mark.rule("P-E1")
def test_the_methods_of_levels_come_from_a_mixin():
    """The dispatcher has none of them."""
    from sprockets.logbook.base import LoggerMixin, RecordDispatcher

    for name in ("debug", "info", "log", "exception"):
        assert not hasattr(RecordDispatcher, name)
        assert inspect.getattr_static(Logger, name) is inspect.getattr_static(LoggerMixin, name)
