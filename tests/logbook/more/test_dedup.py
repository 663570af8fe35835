"""Repeated messages: one line in place of many."""

import io
import json
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook import (
    Flags,
    Handler,
    Logger,
    LogRecord,
    Processor,
    StreamHandler,
    TestHandler,
)
from sprockets.logbook.handlers import JSONFormatter
from sprockets.logbook.more import DedupHandler, ExceptionHandler

log = Logger("testlogger")


@pytest.fixture(name="target")
def _target():
    with TestHandler() as handler:
        yield handler


def messages(handler):
    return [record.message for record in handler.records]


@pytest.mark.rule("MO-13", "MO-14", "MO-20")
def test_each_message_is_said_once_with_its_count(target):
    """In the order in which they came first, when the handler is unbound."""
    with DedupHandler():
        log.info("foo")
        log.info("bar")
        log.info("foo")
        assert not target.records

    assert target.formatted_records == [
        "[INFO] testlogger: message repeated 2 times: foo",
        "[INFO] testlogger: message repeated 1 times: bar",
    ]


@pytest.mark.rule("MO-14")
@given(texts=st.lists(st.sampled_from(["a", "b", "{}", "", "c\n"]), max_size=30))
def test_the_counts_add_up(texts):
    """Each text as often as it was logged, in the order of the first."""
    with TestHandler() as target, DedupHandler("{count} {message}"):
        for text in texts:
            log.info(text)

    assert messages(target) == [f"{texts.count(text)} {text}" for text in dict.fromkeys(texts)]


@pytest.mark.rule("MO-13")
def test_the_first_record_stands_for_all_that_say_the_same(target):
    """Level and channel do not matter, the finished message does."""
    with DedupHandler():
        log.warning("{} {}", "disk", "full")
        Logger("other").critical("disk full")

    (record,) = target.records
    assert (record.channel, record.level_name) == ("testlogger", "WARNING")
    assert record.message == "message repeated 2 times: disk full"


@pytest.mark.rule("MO-13")
def test_it_takes_what_its_level_and_filter_admit_and_lets_nothing_bubble(target):
    """What they do not admit goes on."""
    handler = DedupHandler(level="WARNING", filter=lambda record, _: "spared" not in record.msg)
    with handler:
        log.info("low")
        log.error("spared")
        log.error("taken")
        assert messages(target) == ["low", "spared"]
        assert handler.handle(LogRecord("c", "ERROR", "by hand")) is True

    assert messages(target)[2:] == [
        "message repeated 1 times: taken",
        "message repeated 1 times: by hand",
    ]


@pytest.mark.rule("MO-13")
def test_there_is_no_bubbling_to_ask_for():
    """It would be pointless."""
    with pytest.raises(TypeError, match="bubble"):
        DedupHandler(bubble=True)


@pytest.mark.rule("MO-14")
@pytest.mark.parametrize(
    ("push", "pop"),
    [
        ("push_context", "pop_context"),
        ("push_thread", "pop_thread"),
        ("push_greenlet", "pop_greenlet"),
        ("push_application", "pop_application"),
    ],
)
def test_whichever_binding_ends_says_it(target, push, pop):
    """Afterwards nothing is left to say."""
    handler = DedupHandler()
    getattr(handler, push)()
    log.info("foo")
    getattr(handler, pop)()
    handler.flush()

    assert messages(target) == ["message repeated 1 times: foo"]


@pytest.mark.rule("MO-14")
def test_the_text_may_be_another(target):
    """With count, message, both or neither."""
    for text in ("{count:>3}x {message!r}", "{message}", "repeated"):
        with DedupHandler(text):
            log.info("foo")

    assert messages(target) == ["  1x 'foo'", "foo", "repeated"]


@pytest.mark.parametrize("text", ["{times}", "{message", "{}", "{count:s}", "{message.nothing}"])
def test_a_text_that_cannot_be_formatted_is_refused_at_once(text):
    """Not when it is too late."""
    with pytest.raises(ValueError, match="format_string must be a layout with"):
        DedupHandler(text)


@pytest.mark.rule("MO-15")
def test_what_is_said_goes_the_way_of_its_logger(target):
    """Handlers of the logger included; its level and switch have been asked before."""
    logger = Logger("own")
    own = TestHandler(bubble=True)
    with DedupHandler():
        logger.info("foo")
        logger.handlers.append(own)
        logger.level = "ERROR"
        logger.disabled = True

    assert messages(own) == messages(target) == ["message repeated 1 times: foo"]


@pytest.mark.rule("MO-15")
def test_without_its_logger_it_goes_to_whom_is_bound(target):
    """The logger may be gone by then."""
    with DedupHandler():
        Logger("short-lived").info("foo")

    assert target.formatted_records == ["[INFO] short-lived: message repeated 1 times: foo"]


@pytest.mark.rule("MO-15")
def test_a_loggers_own_way_of_dispatching_is_used(target):
    """A subclass may count, or drop."""
    seen = []

    class Counting(Logger):
        def call_handlers(self, record):
            seen.append(record.message)
            super().call_handlers(record)

    logger = Counting("own")
    with DedupHandler():
        logger.info("foo")

    assert seen == ["foo", "message repeated 1 times: foo"]
    assert messages(target) == ["message repeated 1 times: foo"]


@pytest.mark.rule("MO-16", "Y-44")
def test_the_representative_has_its_own_time_place_and_traceback():
    """They are those of the first record, though it was closed long ago."""
    stream = io.StringIO()
    with StreamHandler(stream, format_string="{record.lineno} {record.func_name}"):
        with DedupHandler():
            line = sys._getframe().f_lineno + 4
            try:
                raise ValueError("boom")
            except ValueError:
                log.exception("foo")

    first, *_, last = stream.getvalue().splitlines()
    assert first == f"{line} test_the_representative_has_its_own_time_place_and_traceback"
    assert last == "ValueError: boom"


@pytest.mark.rule("MO-17", "Y-45")
def test_processors_run_once_for_each_record(target):
    """They run at the call, and not again."""
    calls = []
    with Processor(lambda record: calls.append(record.msg)), DedupHandler():
        log.info("foo")
        log.info("bar")
        log.info("foo")
    with DedupHandler():
        log.info("without")
        late = Processor(lambda record: calls.append("late"))
        late.push_context()
    late.pop_context()

    assert calls == ["foo", "bar", "foo"]


@pytest.mark.rule("MO-18")
def test_a_message_that_cannot_be_formatted_is_reported_and_not_counted(target, capsys):
    """The log call goes on, unless the flag says otherwise."""
    with DedupHandler():
        log.info("{nothing}", 1)
        with Flags(errors="raise"), pytest.raises(TypeError, match="Could not format message"):
            log.info("{nothing}", 2)

    assert "Could not format message" in capsys.readouterr().err
    assert not target.records


@pytest.mark.rule("MO-13")
def test_a_message_may_be_anything(target):
    """Its text counts, be it one that no dict would have as a key."""
    with DedupHandler():
        log.info(["unhashable"])
        log.info(["unhashable"])
        log.info(None)

    assert messages(target) == [
        "message repeated 2 times: ['unhashable']",
        "message repeated 1 times: None",
    ]


@pytest.mark.rule("MO-19")
def test_threads_are_counted_together(target):
    """None is missed."""
    threads = [
        threading.Thread(target=lambda: [log.info("foo") for _ in range(200)]) for _ in range(4)
    ]
    with target.applicationbound(), DedupHandler().applicationbound():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    assert messages(target) == ["message repeated 800 times: foo"]


@pytest.mark.rule("MO-19")
def test_flushing_says_it_now_and_begins_anew(target):
    """Bound, twice bound, or not: what is said is not counted."""
    handler = DedupHandler()
    with handler, handler:
        log.info("foo")
        handler.flush()
        handler.flush()
        assert messages(target) == ["message repeated 1 times: foo"]
        log.info("foo")
        log.info("foo")
    handler.handle(LogRecord("c", "INFO", "unbound"))
    handler.flush()

    assert messages(target)[1:] == [
        "message repeated 2 times: foo",
        "message repeated 1 times: unbound",
    ]


@pytest.mark.rule("MO-19")
def test_what_a_handler_below_logs_meanwhile_is_counted(target):
    """It is no output of the handler's own."""

    class Chatty(Handler):
        def emit(self, record):
            target.records.append(record)
            if "noticed" not in record.message:
                log.info("noticed")

    handler = DedupHandler()
    with Chatty(), handler:
        log.info("foo")
        handler.flush()

    assert messages(target) == [
        "message repeated 1 times: foo",
        "message repeated 1 times: noticed",
    ]


@pytest.mark.rule("MO-19")
def test_clearing_forgets(target):
    """Nothing is said."""
    with DedupHandler() as handler:
        log.info("foo")
        handler.clear()
        log.info("bar")

    assert messages(target) == ["message repeated 1 times: bar"]


def test_one_within_another_has_its_say_counted(target):
    """To the outer one it is a message like any other."""
    with DedupHandler("{count} {message}"), DedupHandler("{count} {message}"):
        log.info("foo")
        log.info("foo")

    assert messages(target) == ["1 2 foo"]


def test_a_record_that_somebody_kept_stays_as_it_was(target):
    """What is said is a copy."""
    above = TestHandler(bubble=True)
    with DedupHandler(), above:
        log.info("foo")

    assert messages(above) == ["foo"]
    assert messages(target) == ["message repeated 1 times: foo"]


def test_what_is_raised_below_keeps_nothing_from_being_said(target):
    """The first comes out, when all has been said."""

    class Failing(Handler):
        def emit(self, record):
            raise OSError(record.message)

    with Failing(bubble=True), Flags(errors="raise"):
        with pytest.raises(OSError, match="repeated 1 times: foo"), DedupHandler():
            log.info("foo")
            log.info("bar")

    assert not target.records
    with ExceptionHandler(LookupError, filter=lambda record, _: "bar" not in record.message):
        with pytest.raises(LookupError, match="1 foo"), DedupHandler("{count} {message}"):
            log.info("foo")
            log.info("bar")

    assert messages(target) == ["1 bar"]


def test_exports_have_the_text_that_is_shown(target):
    """Files and queues, too."""
    stream = io.StringIO()
    writer = StreamHandler(stream)
    writer.formatter = JSONFormatter()
    with writer, DedupHandler():
        log.info("{}", "foo")

    assert json.loads(stream.getvalue())["message"] == "message repeated 1 times: foo"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_begins_with_nothing():
    """What was counted before is the parent's to say, and that once."""
    code = """
import os, sys
from sprockets.logbook import Logger, StreamHandler
from sprockets.logbook.more import DedupHandler, ExceptionHandler
log = Logger("x")
with StreamHandler(sys.stdout, format_string="{record.process} {record.message}"):
    with DedupHandler():
        log.info("foo")
        pid = os.fork()
        if pid == 0:
            log.info("bar")
        else:
            os.waitpid(pid, 0)
            log.info("foo")
    sys.stdout.flush()
    if pid == 0:
        os._exit(0)
"""
    result = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    child, parent = (line.split(" ", 1) for line in result.stdout.splitlines())
    assert child[1] == "message repeated 1 times: bar"
    assert parent[1] == "message repeated 2 times: foo"
    assert child[0] != parent[0]


def test_the_end_of_the_program_says_what_is_left():
    """Bound to the application and never unbound; also to a handler that delivers in a thread."""
    code = """
import sys
from sprockets.logbook import Logger
from sprockets.logbook.handlers import RemoteHandler
from sprockets.logbook.more import DedupHandler, ExceptionHandler

class Printing(RemoteHandler):
    def deliver(self, items):
        print(*items, flush=True)

Printing().push_application()
DedupHandler().push_application()
log = Logger("x")
log.info("foo")
log.info("foo")
"""
    result = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert (result.stdout, result.stderr) == ("message repeated 2 times: foo\n", "")
