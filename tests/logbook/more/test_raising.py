"""Exceptions out of log calls."""

import pytest

from sprockets.logbook import Flags, Logger, LogRecord, NestedSetup, TestHandler
from sprockets.logbook.more import ExceptionHandler

log = Logger("testlogger")


class Oops(Exception):
    """What is raised."""


@pytest.mark.rule("MO-10", "MO-11")
def test_a_log_call_raises_with_the_line_of_its_record():
    """The usual layout, unless there is another."""
    with ExceptionHandler(Oops):
        with pytest.raises(Oops, match=r"^\[.*\] INFO: testlogger: here i am$"):
            log.info("here i {}", "am")
    with ExceptionHandler(Oops, format_string="{record.message}"):
        with pytest.raises(Oops, match="^here$"):
            log.info("here")


@pytest.mark.rule("MO-10")
@pytest.mark.parametrize("errors", ["print", "silent", "raise"])
def test_it_raises_whatever_the_flag_says(errors, capsys):
    """It is no error of logging, and reported as none."""
    with Flags(errors=errors), ExceptionHandler(Oops), pytest.raises(Oops):
        log.info("x")

    assert capsys.readouterr().err == ""


@pytest.mark.rule("MO-10")
def test_it_raises_wherever_it_is_asked():
    """Bound to the application, attached to a logger, among others, and by hand."""
    handler = ExceptionHandler(Oops, format_string="{record.msg}")
    own = Logger("own")
    own.handlers.append(handler)

    with handler.applicationbound(), pytest.raises(Oops):
        log.info("x")
    with pytest.raises(Oops):
        own.info("x")
    with TestHandler("ERROR"), handler, TestHandler("ERROR", bubble=True), pytest.raises(Oops):
        log.info("x")
    with pytest.raises(Oops):
        handler.handle(LogRecord("c", "INFO", "x"))


@pytest.mark.rule("MO-10")
def test_a_record_below_the_level_goes_on():
    """The next handler gets it."""
    with TestHandler() as below, ExceptionHandler(Oops, "ERROR") as handler:
        log.warning("x")
        assert handler.handle(LogRecord("c", "INFO", "y")) is False

    assert below.has_warning("x")


@pytest.mark.rule("MO-12")
def test_handlers_before_it_have_had_the_record_and_later_ones_do_not_get_it():
    """Its filter decides, as any handler's; the record is closed as ever."""
    below, above = TestHandler(), TestHandler(bubble=True)
    kept = []
    handler = ExceptionHandler(
        Oops, filter=lambda record, handler: kept.append(record) or record.msg != "spared"
    )

    with NestedSetup([below, handler, above]):
        log.info("spared")
        with pytest.raises(Oops):
            log.info("x")

    assert [record.msg for record in above.records] == ["spared", "x"]
    assert [record.msg for record in below.records] == ["spared"]


@pytest.mark.rule("MO-12")
def test_the_record_is_closed():
    """Nothing keeps its frame."""
    kept = []
    with ExceptionHandler(Oops, filter=lambda record, handler: kept.append(record) or True):
        with pytest.raises(Oops):
            log.info("x")

    (record,) = kept
    assert (record.late, record.frame) == (True, None)


@pytest.mark.rule("MO-10")
def test_what_is_no_exception_at_all_may_be_raised():
    """``SystemExit`` ends the program."""
    with ExceptionHandler(SystemExit), pytest.raises(SystemExit):
        log.critical("the end")


@pytest.mark.parametrize("exc_type", [Oops("x"), "Oops", int])
def test_what_is_no_class_of_exceptions_is_refused(exc_type):
    """Not with the first record."""
    with pytest.raises(TypeError, match="exc_type must be a class of exceptions"):
        ExceptionHandler(exc_type)
