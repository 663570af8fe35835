"""The bridges: stdlib logging and warnings into the stacks, and the stacks into stdlib logging."""

import io
import logging
import logging.handlers
import queue
import subprocess
import sys
import threading
import time
import warnings
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import (
    ERROR,
    WARNING,
    Fields,
    Flags,
    Handler,
    Logger,
    LogRecord,
    TestHandler,
    set_datetime_format,
    statistics,
)
from sprockets.logbook.compat import (
    LoggingCompatRecord,
    LoggingHandler,
    RedirectLoggingHandler,
    redirect_logging,
    redirect_warnings,
    redirected_logging,
    redirected_warnings,
)

stdlib = logging.getLogger("old.system")
log = Logger("testlogger")


@pytest.fixture(autouse=True)
def _root_as_it_was():
    root = logging.getLogger()
    handlers, level, raises = list(root.handlers), root.level, logging.raiseExceptions
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    logging.raiseExceptions = raises


@pytest.fixture(name="handler")
def _handler():
    with TestHandler() as handler:
        yield handler
    handler.close()


@pytest.fixture(name="redirected")
def _redirected(handler):
    with redirected_logging():
        yield handler


# -- into the stacks: installing


@pytest.mark.rule("CL-1", "CL-2", "CL-6", "P-T4", "P-F17")
@pytest.mark.parametrize(("sets_level", "level"), [(True, logging.DEBUG), (False, logging.ERROR)])
def test_redirecting_for_good_leaves_one_handler_at_the_root(sets_level, level):
    """Others are taken off and left open; other loggers are not touched."""

    class Closing(logging.Handler):
        def close(self):
            closed.append(self)
            super().close()

    closed, other = [], Closing()
    root = logging.getLogger()
    root.setLevel(logging.ERROR)
    root.addHandler(Closing())
    stdlib.addHandler(other)
    redirect_logging(sets_level)
    redirect_logging(sets_level)

    assert [type(handler) for handler in root.handlers] == [RedirectLoggingHandler]
    assert root.level == level
    assert (closed, stdlib.handlers) == ([], [other])
    stdlib.removeHandler(other)


@pytest.mark.rule("CL-3", "CL-4", "CL-20", "PY-8")
@pytest.mark.parametrize(("sets_level", "first"), [(True, "DEBUG"), (False, "WARNING")])
def test_redirecting_for_a_block_puts_everything_back(sets_level, first, handler):
    """Handlers and level of the root; the block's exceptions come out; it yields itself."""
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    before = list(root.handlers)
    redirection = redirected_logging(sets_level)
    with pytest.raises(KeyError), redirection as target:
        assert target is redirection
        for name in ("debug", "info", "warning", "error", "critical"):
            getattr(stdlib, name)("This is from the %(where)s", {"where": "old system"})
        raise KeyError

    assert (root.handlers, root.level) == (before, logging.WARNING)
    assert handler.records[0].level_name == first
    assert handler.records[-1].message == "This is from the old system"
    assert handler.formatted_records[-1] == "[CRITICAL] old.system: This is from the old system"


@pytest.mark.rule("CL-5", "Y-56")
def test_redirections_nest_and_may_be_used_again(handler):
    """Each remembers what was there when it started; starting twice is an error, ending twice is not."""
    outer, inner = redirected_logging(), redirected_logging()
    for _ in range(2):
        with outer:
            with inner:
                stdlib.info("inner")
            stdlib.info("outer")
            with pytest.raises(RuntimeError, match="twice"):
                outer.start()
    outer.end()

    assert [record.message for record in handler.records] == ["inner", "outer"] * 2


# -- into the stacks: converting


@pytest.mark.rule("CL-7")
@pytest.mark.parametrize(
    ("level", "name"),
    [(60, "CRITICAL"), (50, "CRITICAL"), (40, "ERROR"), (35, "WARNING"), (25, "INFO"), (20, "INFO"),
     (15, "DEBUG"), (5, "DEBUG"), (0, "DEBUG")],
)  # fmt: skip
def test_levels_come_over_by_their_thresholds(level, name):
    """Custom levels are what they are at least."""
    assert RedirectLoggingHandler().convert_level(level) == getattr(logging, name) // 10 * 0 + {
        "CRITICAL": 15, "ERROR": 14, "WARNING": 13, "INFO": 11, "DEBUG": 10,
    }[name]  # fmt: skip


@pytest.mark.rule("CL-8", "CL-9", "CL-12", "CL-15", "CL-17", "Y-59", "Y-60")
def test_a_record_keeps_the_facts_it_had(redirected):
    """Channel, template, arguments, exception, place, thread, process and time."""
    before = time.time_ns() // 1000
    line = sys._getframe().f_lineno + 4
    try:
        raise ValueError("v")
    except ValueError:
        stdlib.exception("a %s %d", "b", 3, extra={"k": 1})
    record = redirected.records[0]

    assert (record.channel, record.dispatcher, record.level) == ("old.system", None, ERROR)
    assert (record.msg, record.args, record.message) == ("a %s %d", ("b", 3), "a b 3")
    assert (record.exception_shortname, record.extra) == ("ValueError", {"k": 1})
    assert (record.filename, record.lineno, record.module) == (__file__, line, "test_bridges")
    assert record.func_name == "test_a_record_keeps_the_facts_it_had"
    assert (record.thread, record.thread_name) == (
        threading.get_ident(),
        threading.current_thread().name,
    )
    assert before - 1000 <= record.moment <= time.time_ns() // 1000
    assert isinstance(record, LoggingCompatRecord)


@pytest.mark.rule("CL-15", "Y-59")
def test_a_record_from_elsewhere_keeps_its_origin(redirected):
    """Stack levels count; a queue between changes nothing; what is unknown comes from the frame."""

    def wrapper():
        stdlib.info("x", stacklevel=2)

    line = sys._getframe().f_lineno + 1
    wrapper()
    assert redirected.records[-1].lineno == line

    records = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(records, RedirectLoggingHandler())
    listener.start()
    feeding = logging.getLogger("feeding")
    feeding.propagate = False
    feeding.addHandler(logging.handlers.QueueHandler(records))
    with TestHandler().applicationbound() as other:
        thread = threading.Thread(target=feeding.warning, args=("y",), name="origin")
        thread.start()
        thread.join()
        listener.stop()
    feeding.handlers.clear()
    assert (other.records[0].thread_name, other.records[0].module) == ("origin", "threading")

    made = logging.makeLogRecord({"msg": "z", "created": 0.5, "levelno": 20})
    logging.getLogger().handle(made)
    last = redirected.records[-1]
    assert (last.message, last.time) == ("z", datetime(1970, 1, 1, 0, 0, 0, 500000))
    assert last.func_name == "test_a_record_from_elsewhere_keeps_its_origin"
    other.close()


def formats_like_stdlib(msg, args):
    old = logging.LogRecord("x", 20, "f", 1, msg, args, None)
    new = RedirectLoggingHandler().convert_record(old)
    try:
        expected = old.getMessage()
    except Exception:
        with pytest.raises(TypeError, match="Could not format"):
            _ = new.message
    else:
        assert new.message == expected
    new.close()


@pytest.mark.rule("CL-10", "CL-11", "Y-57")
@pytest.mark.parametrize(
    ("msg", "args"),
    [
        ("100%", ()),
        ("{braces} %s", ("a",)),
        ("%s", ({},)),
        ("%(a)s", ({"a": 1},)),
        ("%(msg)s %(self)s", ({"msg": 1, "self": 2},)),
        ("%(a)s", ({"a": 1, 2: 3},)),
        (ValueError("object"), ()),
        (42, (1,)),
        ("%d", ("x",)),
        ("%s %s", ("a",)),
        ("%s", (("tuple",),)),
        (b"%s", ()),
        ("%%", ()),
        ("%%%s", ("a",)),
        ("%5.2f|%-5s|%r", (1.234, "a", "b")),
    ],
)
def test_a_message_is_what_stdlib_would_have_made_of_it(msg, args):
    """In every case; one that does not format is the five-line error."""
    formats_like_stdlib(msg, args)


@settings(max_examples=300, deadline=None)
@given(
    msg=st.one_of(
        st.text(st.sampled_from("%sdrfa().05- *x"), max_size=10), st.text(max_size=5), st.integers()
    ),
    args=st.lists(
        st.text(max_size=3) | st.integers(-9, 9) | st.floats() | st.none(), max_size=3
    ).map(tuple)
    | st.dictionaries(st.sampled_from(["a", "x", ""]), st.integers(0, 9), min_size=1).map(
        lambda d: (d,)
    ),
)
def test_random_messages_are_what_stdlib_would_have_made_of_them(msg, args):
    """Both agree, or both refuse."""
    formats_like_stdlib(msg, args)


@pytest.mark.rule("CL-13", "Y-58")
def test_only_what_was_passed_as_extra_becomes_extra(redirected):
    """Standard attributes stay out; the stack is kept where it was asked for."""
    stdlib.info("x", extra={"user": "ann"})
    stdlib.info("y", stack_info=True)

    assert redirected.records[0].extra == {"user": "ann"}
    assert list(redirected.records[1].extra) == ["stack_info"]
    assert "Stack (most recent call last)" in redirected.records[1].extra["stack_info"]


@pytest.mark.rule("CL-14")
def test_the_caller_is_outside_of_this_library_and_of_stdlib_logging(redirected):
    """The frame is that of the call."""
    stdlib.info("x")

    assert redirected.records[0].calling_frame.f_code.co_filename == __file__


@pytest.mark.rule("CL-16")
def test_times_are_converted_as_records_show_them(monkeypatch):
    """UTC, local, or aware where the source is."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        convert = RedirectLoggingHandler().convert_time
        assert convert(0.000001) == datetime(1970, 1, 1, 0, 0, 0, 1)
        set_datetime_format("local")
        assert convert(0).hour == 5
        set_datetime_format(lambda: datetime.now(UTC))
        assert convert(0) == datetime(1970, 1, 1, tzinfo=UTC)
    finally:
        set_datetime_format("utc")
        monkeypatch.undo()
        time.tzset()


class Failing(Handler):
    def emit(self, record):
        raise OSError("full")


@pytest.mark.rule("CL-18")
def test_a_failing_handler_does_not_reach_the_stdlib_call(capsys):
    """Unless it is asked for; nobody interested is nothing at all."""
    logging.raiseExceptions = True
    with Failing(), redirected_logging():
        stdlib.error("x")
        with Flags(errors="raise"), pytest.raises(OSError, match="full"):
            stdlib.error("x")

    class Broken(RedirectLoggingHandler):
        def convert_record(self, old_record):
            raise KeyError("broken")

    before = statistics()["failed"]
    Broken().handle(logging.makeLogRecord({}))
    assert statistics()["failed"] == before + 1
    assert "OSError: full" in capsys.readouterr().err


def test_a_filter_of_stdlib_logging_counts(handler):
    """On the redirecting handler as on any."""
    redirecting = RedirectLoggingHandler()
    redirecting.addFilter(lambda record: record.levelno > 20)
    stdlib.addHandler(redirecting)
    stdlib.propagate = False
    stdlib.warning("yes")
    redirecting.handle(logging.makeLogRecord({"levelno": 10}))
    stdlib.removeHandler(redirecting)
    stdlib.propagate = True

    assert [record.message for record in handler.records] == ["yes"]


# -- into stdlib logging


class Keeping(logging.Handler):
    """Keeps what it gets."""

    def __init__(self, *args):
        super().__init__(*args)
        self.kept = []

    def emit(self, record):
        self.kept.append(record)


@pytest.fixture(name="target")
def _target():
    logger, keeping = logging.getLogger("target"), Keeping()
    logger.addHandler(keeping)
    logger.propagate = False
    logger.setLevel(logging.CRITICAL)
    yield keeping
    logger.removeHandler(keeping)
    logger.propagate = True
    logger.disabled = False
    logger.setLevel(logging.NOTSET)


@pytest.mark.rule("CG-1", "CG-2")
def test_records_are_handed_to_the_named_logger(target):
    """Its level does not count; its switch and its handlers' levels do."""
    logger = logging.getLogger("target")
    assert LoggingHandler().logger is logging.getLogger()
    with LoggingHandler("target"):
        log.info("a")
        target.setLevel(logging.ERROR)
        log.info("below the handler's level")
        target.setLevel(0)
    with LoggingHandler(logger, "ERROR"):
        log.error("b")
        logger.disabled = True
        log.error("c")

    assert [record.getMessage() for record in target.kept] == ["a", "b"]


@pytest.mark.rule("CG-3", "CG-4", "CG-5", "CG-6", "Y-61")
def test_a_stdlib_record_has_the_facts_of_ours(target):
    """Message finished, percent signs and all; extras as attributes, none replacing its own."""
    with LoggingHandler("target"):
        try:
            raise ValueError("v")
        except ValueError:
            line = sys._getframe().f_lineno + 1
            log.exception("100% {}", "{}", extra={"user": "ann", "name": "no", "msg": "no"})
    record = target.kept[0]

    assert (record.name, record.levelno, record.getMessage()) == ("testlogger", 40, "100% {}")
    assert (record.pathname, record.lineno, record.args) == (__file__, line, ())
    assert record.funcName == "test_a_stdlib_record_has_the_facts_of_ours"
    assert (record.user, record.exc_info[0]) == ("ann", ValueError)
    assert (record.thread, record.process) == (threading.get_ident(), record.process)


@pytest.mark.rule("CG-5", "CG-6", "D-12")
@pytest.mark.parametrize(
    ("moment", "created"),
    [
        (datetime(2000, 1, 1, 0, 0, 0, 500000), 946684800.5),
        (datetime(2000, 1, 1, 0, 0, 0, 500000, tzinfo=UTC), 946684800.5),
    ],
)
def test_the_time_of_a_stdlib_record_is_consistent(moment, created):
    """Seconds, milliseconds and time since the start are those of the record, not of the conversion."""
    record = LogRecord("x", ERROR, "y")
    record.time = moment
    handler = LoggingHandler()
    converted = handler.convert_record(record)

    assert handler.convert_time(moment) == converted.created == created
    assert converted.msecs == 500.0
    now = logging.makeLogRecord({})
    assert converted.relativeCreated - now.relativeCreated == pytest.approx(
        (created - now.created) * 1000, abs=1000
    )


@pytest.mark.rule("CG-7")
def test_what_is_not_known_does_no_harm(target):
    """No place (line 0, since formats use ``%d``); a traceback that is text by now; no channel."""
    with LoggingHandler("target"):
        with Flags(introspection=False):
            log.info("x")
        received = LogRecord.from_dict(
            {"level": ERROR, "message": "y", "formatted_exception": "Traceback …", "process": 7}
        )
        LoggingHandler("target").emit(received)
    first, second = target.kept

    assert (first.pathname, first.lineno, first.funcName) == (None, 0, None)
    assert (second.exc_text, second.name, second.process) == ("Traceback …", "", 7)
    assert "Traceback …" in logging.Formatter("%(message)s").format(second)


@pytest.mark.rule("CG-8", "Y-62", "CL-19")
def test_both_bridges_at_once_send_each_record_once_each_way(target):
    """What came over one does not go back over the other; it goes on to the next handler."""
    with TestHandler() as below, redirected_logging(), LoggingHandler():
        logging.getLogger().addHandler(target)
        log.error("from the stacks")
        stdlib.error("from stdlib")

    assert [record.getMessage() for record in target.kept] == ["from the stacks", "from stdlib"]
    assert [record.message for record in below.records] == ["from stdlib"]
    below.close()


@pytest.mark.rule("CG-9")
def test_a_stdlib_format_shows_our_records():
    """As if they were its own."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s:%(levelname)s:%(message)s"))
    logger = logging.getLogger("formatting")
    logger.addHandler(handler)
    logger.propagate = False
    with LoggingHandler(logger):
        log.warning("This goes to logging")
    logger.handlers.clear()

    assert stream.getvalue() == "testlogger:WARNING:This goes to logging\n"


@pytest.mark.rule("CG-3")
@pytest.mark.parametrize(
    ("level", "converted"),
    [(15, 50), (14, 40), (13, 30), (12, 20), (11, 20), (10, 10), (9, 10), (0, 10)],
)
def test_levels_go_out_by_their_thresholds(level, converted):
    """Notices are information, traces are debugging."""
    assert LoggingHandler().convert_level(level) == converted


# -- warnings


@pytest.fixture(name="always")
def _always():
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield


class MyWarning(UserWarning):
    pass


@pytest.mark.rule("CW-1", "CW-2", "CW-8", "CW-12", "Y-64", "P-F17")
def test_a_warning_is_a_record_with_its_own_place(handler, always):
    """Its channel is the category; stack levels count; module and function are those of the line."""

    def wrapper():
        warnings.warn("deep", stacklevel=2)

    with redirected_warnings():
        line = sys._getframe().f_lineno
        warnings.warn(RuntimeWarning("Testing 0"))
        wrapper()
        warnings.warn("mine", MyWarning)
        warnings.warn_explicit("explicit", UserWarning, "relative.py", 12)
    first, second, third, fourth = handler.records

    assert handler.formatted_records[0] == "[WARNING] RuntimeWarning: Testing 0"
    assert (first.filename, first.lineno, second.lineno) == (__file__, line + 1, line + 2)
    assert (first.module, first.func_name) == (
        __name__,
        "test_a_warning_is_a_record_with_its_own_place",
    )
    assert third.channel == f"{MyWarning.__module__}.MyWarning"
    assert (fourth.filename, fourth.lineno, fourth.module, fourth.func_name) == (
        "relative.py",
        12,
        None,
        None,
    )
    assert first.level == WARNING


@pytest.mark.rule("CW-3", "CW-4", "PY-9")
def test_filters_count_and_are_put_back(handler, always):
    """What is ignored stays ignored; changes in the block are the block's."""
    before = list(warnings.filters)
    with Fields(k=1), redirected_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("ignored")
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            warnings.warn("error")
        warnings.simplefilter("always")
        warnings.warn("heard")

    assert [(record.message, record.extra["k"]) for record in handler.records] == [("heard", 1)]
    assert warnings.filters == before


@pytest.mark.rule("CW-5")
def test_redirecting_warnings_for_good_happens_once():
    """In a process of its own, since it is for good."""
    script = (
        "import warnings\n"
        "from sprockets.logbook.compat import redirect_warnings, redirected_warnings\n"
        "redirect_warnings(); redirect_warnings()\n"
        "warnings.warn('one')\n"
        "with redirected_warnings(): warnings.warn('two')\n"
        "warnings.warn('three')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert [line.split("] ")[1] for line in done.stderr.splitlines()] == [
        f"WARNING: UserWarning: {number}" for number in ("one", "two", "three")
    ]


@pytest.mark.rule("CW-6", "CW-7", "Y-63")
def test_a_redirection_is_started_and_ended_in_turn(handler, always):
    """Twice is an error, and so is ending what has not begun; afterwards it can be used again."""
    redirection = redirected_warnings()
    with pytest.raises(RuntimeError, match="^Cannot exit .* without entering first$"):
        redirection.end()
    for _ in range(2):
        with redirection as target:
            assert target is redirection
            with pytest.raises(RuntimeError, match="^Cannot enter .* twice$"):
                redirection.start()
            warnings.warn("x")

    assert len(handler.records) == 2


@pytest.mark.rule("CW-9")
@pytest.mark.parametrize("order", [(1, 0), (0, 1)])
def test_redirections_may_end_in_any_order(order, always):
    """The original hook comes back with the last of them."""
    shown = []
    original, warnings.showwarning = warnings.showwarning, lambda *args: shown.append(str(args[0]))
    redirections = [redirected_warnings(), redirected_warnings()]
    with TestHandler() as handler:
        for redirection in redirections:
            redirection.start()
        warnings.warn("both")
        redirections[order[0]].end()
        warnings.warn("one")
        redirections[order[1]].end()
        warnings.warn("none")
    warnings.showwarning = original

    assert [record.message for record in handler.records] == ["both", "one"]
    assert shown == ["none"]
    handler.close()


@pytest.mark.rule("CW-10")
def test_warnings_of_other_threads_are_redirected_too(always):
    """The hook is the process's."""
    with TestHandler().applicationbound() as handler, redirected_warnings():
        thread = threading.Thread(target=warnings.warn, args=("afar",))
        thread.start()
        thread.join()

    assert [record.message for record in handler.records] == ["afar"]
    handler.close()


@pytest.mark.rule("CW-11")
def test_a_handler_that_warns_does_not_recurse(always):
    """Its warning is shown as it would have been."""

    class Warning_(Handler):
        def emit(self, record):
            warnings.warn("nested")

    shown = []
    original, warnings.showwarning = warnings.showwarning, lambda *args: shown.append(str(args[0]))
    with Warning_(), redirected_warnings():
        warnings.warn("x")
    warnings.showwarning = original

    assert shown == ["nested"]


def test_redirect_warnings_is_a_function_of_this_package():
    """Named where users look for it."""
    assert redirect_warnings.__module__.startswith("sprockets.logbook.compat")
