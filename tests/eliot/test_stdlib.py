"""Records of stdlib logging as messages: what is taken over, and what cannot go wrong."""

import logging
import os
import sys
import threading
from contextlib import contextmanager

import pytest

from sprockets.eliot import (
    MemoryLogger,
    add_destinations,
    log_message,
    remove_destination,
    start_action,
)
from sprockets.eliot.stdlib import EliotHandler
from sprockets.eliot.testing import swap_logger


@pytest.fixture(name="handler")
def _handler():
    handler = EliotHandler()
    yield handler
    handler.close()


@pytest.fixture(name="log")
def _log(handler):
    """A logger of stdlib logging that nobody else hears, neither the root logger nor pytest."""
    log = logging.Logger("mypackage")
    log.addHandler(handler)
    return log


@pytest.fixture(name="logger")
def _logger():
    """A logger that keeps its messages, and is the default one; all are as they should be."""
    logger = MemoryLogger()
    previous = swap_logger(logger)
    yield logger
    swap_logger(previous)
    logger.validate()


@pytest.fixture(name="messages")
def _messages():
    """What gets to the destinations."""
    found = []
    with added(found.append):
        yield found


@contextmanager
def added(destination):
    """Have messages delivered to *destination*, but none that were kept for the first one."""
    nobody = [].append
    add_destinations(nobody)
    remove_destination(nobody)
    add_destinations(destination)
    try:
        yield
    finally:
        remove_destination(destination)


@pytest.mark.rule("E16.1")
def test_a_record_is_one_message(log, messages):
    """With its level, logger and text, and no more."""
    log.info("Number %d was rejected.", 3, extra={"customer": 7}, stack_info=True)

    (message,) = messages
    assert list(message.items())[:3] == [
        ("log_level", "INFO"),
        ("logger", "mypackage"),
        ("message", "Number 3 was rejected."),
    ]
    assert list(message)[3:] == ["timestamp", "task_uuid", "task_level", "message_type"]
    assert message["message_type"] == "eliot:stdlib"


@pytest.mark.rule("E16.1")
def test_it_is_logged_in_the_current_action(log, logger):
    """Wherever in the program the record is made."""
    with start_action(action_type="a") as action:
        log.debug("hello")

    assert logger.messages[1]["task_uuid"] == action.task_uuid
    assert logger.messages[1]["task_level"] == [2]
    assert logger.messages[1]["log_level"] == "DEBUG"


@pytest.mark.rule("E16.2")
def test_the_exception_of_a_record_is_a_traceback_after_it(log, logger):
    """In the same action, with the exception itself for tests to look at."""
    with start_action(action_type="a"):
        try:
            raise ValueError("no")
        except ValueError:
            log.exception("failed")

    record, traceback = logger.messages[1:3]
    assert (record["message"], record["log_level"]) == ("failed", "ERROR")
    assert (traceback["message_type"], traceback["task_level"]) == ("eliot:traceback", [3])
    assert "test_stdlib.py" in traceback["traceback"]
    assert len(logger.flush_tracebacks(ValueError)) == 1


@pytest.mark.rule("E16.2")
@pytest.mark.parametrize("given", ["instance", "tuple", "true"])
def test_the_exception_may_be_given_in_any_way(handler, logger, given):
    """As stdlib logging takes it, and as records that are made by hand have it."""
    error = ValueError("no")
    passed = {"instance": error, "tuple": (ValueError, error, None), "true": True}[given]
    record = logging.makeLogRecord({"name": "n", "msg": "m", "exc_info": passed})
    if given == "true":
        try:
            raise error
        except ValueError:
            handler.handle(record)
    else:
        handler.handle(record)

    (traceback,) = logger.flush_tracebacks(ValueError)
    assert traceback["reason"] is error


@pytest.mark.rule("E16.3")
@pytest.mark.parametrize("exc_info", [(None, None, None), None, False, (), True])
def test_no_exception_is_no_traceback(handler, logger, exc_info):
    """As of `exception` outside of an except clause."""
    handler.handle(logging.makeLogRecord({"msg": "m", "exc_info": exc_info or None}))
    handler.handle(logging.makeLogRecord({"msg": "m", "exc_info": exc_info}))

    assert [m["message_type"] for m in logger.messages] == ["eliot:stdlib"] * 2


@pytest.mark.rule("E16.3")
def test_exception_outside_of_except_adds_no_traceback(log, messages):
    """Nor any failure of logging."""
    log.exception("nothing was raised")

    assert [m["message_type"] for m in messages] == ["eliot:stdlib"]


@pytest.mark.rule("E16.4")
def test_a_bad_format_is_told_by_stdlib_logging(log, messages, capsys):
    """On standard error; the caller goes on, and nothing half-made is logged."""
    log.info("%d boxes", "many")

    assert messages == []
    error = capsys.readouterr().err
    assert "--- Logging error ---" in error
    assert "test_a_bad_format_is_told_by_stdlib_logging" in error


@pytest.mark.rule("E16.4")
def test_handle_error_may_be_overridden(messages):
    """It gets the record; stdlib's switch for what is printed is kept."""
    failed = []

    class Handler(EliotHandler):
        def handleError(self, record):
            failed.append((record.msg, sys.exc_info()[0]))

    handler = Handler()
    handler.handle(logging.makeLogRecord({"msg": "%d", "args": ("x",)}))
    handler.close()

    assert failed == [("%d", TypeError)]


@pytest.mark.rule("E16.5")
def test_what_a_destination_logs_does_not_come_back_to_it(log, handler):
    """A message of ours, and a record: each gets there once; what was left out is counted."""
    found = []

    def destination(message):
        found.append(message["message_type"])
        log.warning("delivering %s", message["message_type"])

    with added(destination):
        log_message("m")
        log.info("hello")

    assert found == ["m", "eliot:stdlib"]
    assert handler.statistics() == {"dropped_in_destinations": 2}


@pytest.mark.rule("E16.5")
def test_other_handlers_get_what_a_destination_logs(log):
    """It is left out of the tree alone."""
    others = []

    class Other(logging.Handler):
        def emit(self, record):
            others.append(record.getMessage())

    def destination(message):
        log.info("delivering")

    other = Other()
    log.addHandler(other)
    with added(destination):
        log_message("m")
    log.removeHandler(other)
    other.close()

    assert others == ["delivering"]


@pytest.mark.rule("E16.5")
def test_what_another_thread_logs_meanwhile_is_logged(log, handler):
    """Only the thread that delivers is not heard."""
    found = []
    thread = threading.Thread(target=lambda: log.info("from the thread"))

    def destination(message):
        found.append(message.get("message"))
        if message["message_type"] == "m":
            thread.start()
            # It waits for nothing that this thread holds.
            thread.join(30)
            assert not thread.is_alive()

    with added(destination):
        log_message("m", message="mine")

    assert found == ["mine", "from the thread"]
    assert handler.statistics() == {"dropped_in_destinations": 0}


def test_filters_and_levels_count(handler, logger):
    """As with any handler; since Python 3.12 a filter may put another record in place."""
    handler.setLevel("WARNING")
    handler.addFilter(lambda record: record.msg != "no")
    log = logging.Logger("x")
    log.addHandler(handler)

    log.info("below")
    log.warning("no")
    log.warning("yes")
    if sys.version_info >= (3, 12):
        handler.addFilter(lambda record: logging.makeLogRecord({"msg": "other", "levelname": "L"}))
        log.warning("replaced")

    expected = ["yes", "other"] if sys.version_info >= (3, 12) else ["yes"]
    assert [m["message"] for m in logger.messages] == expected


def test_it_holds_no_lock_while_destinations_are_at_work(log, handler):
    """So a destination that waits for a thread that logs is not waited for by it."""
    done = threading.Event()

    def destination(message):
        if message.get("message") == "first":
            thread = threading.Thread(target=lambda: (log.info("second"), done.set()))
            thread.start()
            thread.join(30)

    with added(destination):
        log.info("first")

    assert done.is_set()
    assert handler.lock is None
    handler.acquire()
    handler.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_it_logs_in_a_forked_child(log, messages):
    """Stdlib logging renews the locks of handlers there; this one has none to renew."""
    pid = os.fork()
    if pid == 0:
        log.info("in the child")
        os._exit(0 if [m["message"] for m in messages] == ["in the child"] else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_basic_config_takes_it(logger):
    """It is a handler as any other, for the root logger of a program too."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    handler = EliotHandler()
    try:
        for each in before:
            root.removeHandler(each)
        logging.basicConfig(level="INFO", handlers=[handler])
        logging.getLogger("any.where").info("hello")
    finally:
        root.removeHandler(handler)
        handler.close()
        for each in before:
            root.addHandler(each)
        root.setLevel(level)

    assert [(m["logger"], m["message"]) for m in logger.messages] == [("any.where", "hello")]
