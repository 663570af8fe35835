"""From the stacks into stdlib logging: what the bridge owes where it is hard."""

import io
import logging
import pickle
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook import (
    ERROR,
    INFO,
    FingersCrossedHandler,
    Flags,
    Logger,
    LogRecord,
    TestHandler,
    set_datetime_format,
)
from sprockets.logbook.compat import LoggingHandler, RedirectLoggingHandler

log = Logger("testlogger")


class Keeping(logging.Handler):
    """Keeps what it gets."""

    def __init__(self, *args):
        super().__init__(*args)
        self.kept = []

    def emit(self, record):
        self.kept.append(record)


@pytest.fixture(name="keeping")
def _keeping():
    return Keeping()


@pytest.fixture(name="target")
def _target(keeping):
    """A logger of stdlib logging that nobody else knows."""
    logger = logging.Logger("target")
    logger.addHandler(keeping)
    return logger


# -- where to


@pytest.mark.rule("CG-1")
@pytest.mark.parametrize(
    ("given", "name"), [(None, "root"), ("", "root"), ("a.b", "a.b"), (logging.Logger("c"), "c")]
)
def test_a_logger_or_its_name_says_where_to(given, name):
    """Nothing at all is the root."""
    assert LoggingHandler(given).logger.name == name


@pytest.mark.rule("CG-1")
def test_a_logger_that_is_none_is_refused():
    """At once, not with the first record."""
    with pytest.raises(TypeError, match="logger name"):
        LoggingHandler(5)


@pytest.mark.rule("CG-1")
def test_the_logger_may_be_chosen_for_each_record(target, keeping):
    """By overriding `get_logger`."""

    class ByChannel(LoggingHandler):
        def get_logger(self, record):
            return loggers[record.channel]

    other = Keeping()
    loggers = {"a": target, "b": logging.Logger("b")}
    loggers["b"].addHandler(other)
    with ByChannel():
        Logger("a").info("1")
        Logger("b").info("2")

    assert [record.getMessage() for record in keeping.kept] == ["1"]
    assert [record.getMessage() for record in other.kept] == ["2"]


@pytest.mark.rule("CG-2")
def test_filters_and_switch_of_the_logger_count_and_its_level_does_not(target, keeping):
    """The levels of its handlers do."""
    target.setLevel(logging.CRITICAL)
    target.addFilter(lambda record: "secret" not in record.getMessage())
    keeping.setLevel(logging.INFO)
    with LoggingHandler(target):
        log.debug("a")
        log.info("b")
        log.info("secret")
        target.disabled = True
        log.info("c")

    assert [record.getMessage() for record in keeping.kept] == ["b"]


@pytest.mark.rule("CG-2")
def test_level_filter_and_bubbling_are_those_of_any_handler(target, keeping):
    """In the order of the signature."""
    with TestHandler() as below:
        with LoggingHandler(target, ERROR, lambda r, h: r.message != "no", True):
            log.info("low")
            log.error("no")
            log.error("yes")

    assert [record.getMessage() for record in keeping.kept] == ["yes"]
    assert [record.message for record in below.records] == ["low", "no", "yes"]
    below.close()


@pytest.mark.parametrize("step", ["get_logger", "convert_level", "convert_record"])
def test_a_failing_override_does_not_reach_the_log_call(target, step, capsys):
    """It is reported as any failure of a handler; only the flag lets it out."""

    class Broken(LoggingHandler):
        pass

    def fail(*_):
        raise KeyError("broken")

    setattr(Broken, step, fail)
    with Broken(target):
        log.error("x")
        assert "KeyError: 'broken'" in capsys.readouterr().err
        with Flags(errors="raise"), pytest.raises(KeyError, match="broken"):
            log.error("x")


@pytest.mark.rule("CG-2")
def test_it_can_be_wrapped(target, keeping):
    """What is handed to it in a batch goes the same way."""
    with FingersCrossedHandler(LoggingHandler(target)):
        log.info("a")
        log.error("b")

    assert [record.getMessage() for record in keeping.kept] == ["a", "b"]


# -- what


@pytest.mark.rule("CG-3")
@given(st.text())
def test_any_message_arrives_as_it_is(message):
    """Percent signs and braces included, finished, with no arguments."""
    record = LoggingHandler().convert_record(LogRecord("x", INFO, message))

    assert (record.getMessage(), record.args) == (message, ())


@pytest.mark.rule("CG-3")
def test_a_record_without_a_channel_has_an_empty_name():
    """Since a name is a text."""
    assert LoggingHandler().convert_record(LogRecord(None, INFO, "x")).name == ""


@pytest.mark.rule("CG-4")
@pytest.mark.parametrize(
    "name",
    [
        "name",
        "msg",
        "args",
        "levelno",
        "created",
        "exc_info",
        "getMessage",
        "__class__",
        "__dict__",
    ],
)
def test_an_extra_does_not_replace_what_the_record_has(name):
    """Neither an attribute nor a method."""
    record = LoggingHandler().convert_record(LogRecord("x", INFO, "m", extra={name: "no", "k": 1}))

    assert record.getMessage() == "m"
    assert getattr(record, name) != "no"
    assert record.k == 1


@pytest.mark.rule("CG-4")
def test_extras_are_for_formats(target):
    """As those of stdlib calls are; a key that is no text becomes one."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(user)s %(5)s %(message)s"))
    target.addHandler(handler)
    with LoggingHandler(target):
        log.info("hello", extra={"user": "ann", 5: "five"})

    assert stream.getvalue() == "ann five hello\n"


_MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1))


@pytest.mark.rule("CG-5", "CG-6")
@given(_MOMENTS)
def test_seconds_milliseconds_and_start_agree(moment):
    """All three say the instant of the record, down to the float's precision."""
    old = LogRecord("x", INFO, "m")
    old.time = moment
    record = LoggingHandler().convert_record(old)
    fresh = logging.makeLogRecord({})
    start = fresh.created - fresh.relativeCreated / 1000

    assert datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None) - moment < timedelta(
        microseconds=1
    )
    assert record.msecs == moment.microsecond // 1000
    assert record.created - record.relativeCreated / 1000 == pytest.approx(start, abs=1e-3)


@pytest.mark.rule("CG-5")
def test_an_aware_time_is_its_instant():
    """Whatever its zone."""
    moment = datetime(2000, 1, 1, 1, 0, 0, 500000, tzinfo=timezone(timedelta(hours=1)))

    assert LoggingHandler().convert_time(moment) == 946_684_800.5
    assert LoggingHandler().convert_time(datetime(2000, 1, 1, 0, 0, 0, 500000)) == 946_684_800.5


@pytest.mark.rule("CG-6")
def test_local_time_is_no_other_instant(target, keeping, monkeypatch):
    """Records that show local time know when it was."""
    import time

    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        set_datetime_format("local")
        before = time.time()
        with LoggingHandler(target):
            log.info("x")
        assert before - 1e-3 <= keeping.kept[0].created <= time.time() + 1e-3
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.rule("CG-6")
def test_an_overridden_time_counts(target, keeping):
    """For all that is made of it."""

    class Mine(LoggingHandler):
        def convert_time(self, dt):
            return 1.25

    with Mine(target):
        log.info("x")

    assert (keeping.kept[0].created, keeping.kept[0].msecs) == (1.25, 250.0)


@pytest.mark.rule("CG-6")
def test_a_received_record_keeps_its_origin():
    """Process and thread are those of the sender; what it does not say is no `None` for `%d`."""
    sent = LogRecord("far", INFO, "m")
    sent.heavy_init()
    sent.thread, sent.thread_name, sent.process, sent.process_name = 1, "T", 2, "P"
    received = pickle.loads(pickle.dumps(sent))
    record = LoggingHandler().convert_record(received)
    bare = LoggingHandler().convert_record(LogRecord.from_dict({"level": INFO, "message": "m"}))

    assert (record.thread, record.threadName, record.process, record.processName) == (
        1,
        "T",
        2,
        "P",
    )
    assert logging.Formatter("%(process)d %(thread)d %(lineno)d").format(bare)


@pytest.mark.rule("CG-6")
def test_a_record_that_another_thread_delivers_keeps_its_thread(target, keeping):
    """What was pulled before counts, not who converts it."""
    record = LogRecord("x", INFO, "m")
    record.heavy_init()
    record.pull_information()
    thread = threading.Thread(target=LoggingHandler(target).emit, args=(record,))
    thread.start()
    thread.join()

    assert keeping.kept[0].thread == threading.get_ident()


@pytest.mark.rule("CG-7")
def test_a_closed_record_brings_its_traceback_as_text(target, keeping):
    """And stdlib formats show it."""
    try:
        raise ValueError("v")
    except ValueError as error:
        record = LogRecord("x", ERROR, "m", exc_info=error)
    record.heavy_init()
    record.pull_information()
    record.close()
    LoggingHandler(target).emit(record)

    assert keeping.kept[0].exc_info is None
    assert "ValueError: v" in logging.Formatter("%(message)s").format(keeping.kept[0])


@pytest.mark.rule("CG-7")
def test_without_introspection_there_is_no_place_and_no_failure(target, keeping):
    """Line 0, since formats write it with ``%d``."""
    with LoggingHandler(target), Flags(introspection=False):
        log.info("x")
    record = keeping.kept[0]

    assert (record.pathname, record.lineno, record.funcName) == (None, 0, None)
    assert record.module == "Unknown module"
    assert logging.Formatter("%(module)s:%(lineno)d").format(record) == "Unknown module:0"


def test_a_record_crosses_process_borders_of_stdlib(target, keeping):
    """What the bridge leaves on it is a text, so that it can be unpickled where we are not."""
    with LoggingHandler(target):
        log.info("x")
    record = keeping.kept[0]
    added = record.__dict__.keys() - logging.makeLogRecord({}).__dict__.keys()

    assert {type(record.__dict__[name]) for name in added} == {str}
    assert all(name.startswith("_") for name in added)
    assert RedirectLoggingHandler().convert_record(record).extra == {}
