"""What the page of features promises, as a reader takes it."""

import inspect
import io
import subprocess
import sys
import threading

import pytest

import sprockets.logbook
from sprockets.logbook import (
    FileHandler,
    FingersCrossedHandler,
    Flags,
    GMailHandler,
    Handler,
    Logger,
    MailHandler,
    NestedSetup,
    NTEventLogHandler,
    NullHandler,
    Processor,
    RotatingFileHandler,
    StderrHandler,
    StreamHandler,
    SyslogHandler,
    TestHandler,
    TimedRotatingFileHandler,
    _context,
    default_handler,
    lookup_level,
    notifiers,
)

log = Logger("shop")


def run(code):
    """Run *code* in a program of its own; return what it wrote to standard error."""
    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return result.stderr


@pytest.mark.rule("P-F1")
def test_without_any_set_up_calls_appear_on_standard_error_in_readable_form():
    """In a program that does nothing but log."""
    text = run("from sprockets.logbook import Logger; Logger('My logger').warn('A {}', 'warning')")

    assert text.endswith("] WARNING: My logger: A warning\n")
    assert text.count("\n") == 1


@pytest.mark.rule("P-F2")
def test_importing_a_function_and_calling_it_is_enough():
    """The channel is one for all who do so."""
    text = run("from sprockets.logbook import warn; warn('This is a warning')")

    assert text.endswith("] WARNING: Generic: This is a warning\n")


@pytest.mark.rule("P-F3")
def test_any_number_of_loggers_can_be_made_by_name():
    """Each has its channel."""
    with TestHandler() as handler:
        for number in range(1_000):
            Logger(f"logger {number}").info("x")

    assert [record.channel for record in handler.records] == [f"logger {n}" for n in range(1_000)]


@pytest.mark.rule("P-F4", "P-D8")
def test_binding_adds_priority_and_replaces_nothing():
    """The application's handler is still there when the context's lets records through, or goes."""
    application, mine = TestHandler(), TestHandler("ERROR")

    with application.applicationbound():
        with mine:
            log.error("one")
            log.info("two")
        log.error("three")

    assert [record.message for record in mine.records] == ["one"]
    assert [record.message for record in application.records] == ["two", "three"]


@pytest.mark.rule("P-F5")
def test_each_handler_can_keep_records_from_those_below():
    """It does, unless it bubbles."""
    below = TestHandler()
    with below, TestHandler():
        log.info("kept")
    with below, TestHandler(bubble=True):
        log.info("let through")

    assert [record.message for record in below.records] == ["let through"]


@pytest.mark.rule("P-F6")
def test_loggers_handlers_and_others_may_add_information():
    """The call, a bound logger, a subclass, processors, and a handler on the way."""

    class Adding(Logger):
        def process_record(self, record):
            super().process_record(record)
            record.extra["logger"] = 1

    class AddingHandler(Handler):
        def emit(self, record):
            record.extra["handler"] = 1

    def add(record):
        record.extra["processor"] = 1

    with TestHandler() as below, AddingHandler(bubble=True), Processor(add):
        Adding("x").bind(bound=1).info("x", extra={"call": 1})

    assert set(below.records[0].extra) == {"logger", "handler", "processor", "bound", "call"}


@pytest.mark.rule("P-F7", "P-Q9")
def test_every_handler_of_text_works_without_a_layout_and_takes_another(tmp_path):
    """Streams and files write a line, mail a table; assigning a layout puts it in force."""
    made = [
        StreamHandler(io.StringIO()),
        StderrHandler(),
        FileHandler(tmp_path / "a", delay=True),
        RotatingFileHandler(tmp_path / "b", delay=True),
        TimedRotatingFileHandler(tmp_path / "c"),
        SyslogHandler("app", address=("127.0.0.1", 9)),
        MailHandler("a@example.org", ["b@example.org"]),
        TestHandler(),
    ]
    shown = []
    for handler in made:
        assert "format_string" in inspect.signature(type(handler)).parameters
        kept = TestHandler()
        with kept:
            log.warning("tea is out")
        shown.append(str(handler.format(kept.records[0])))
        before = handler.formatter
        handler.format_string = "{record.message}!"
        assert handler.formatter is not before
        shown.append(str(handler.format(kept.records[0])))
        handler.close()

    lines = shown[0:10:2] + shown[14:16:2]
    assert all(line.endswith("WARNING: shop: tea is out") for line in lines[:5])
    assert shown[10].endswith("shop: tea is out")
    assert "Message type:       WARNING\nLocation:           " in shown[12].replace("\r\n", "\n")
    assert all(text.endswith("tea is out!") for text in shown[1:12:2] + shown[15:])


@pytest.mark.rule("P-F8")
@pytest.mark.parametrize(
    "cls",
    [
        *(StreamHandler, StderrHandler, FileHandler, RotatingFileHandler),
        *(TimedRotatingFileHandler, MailHandler, GMailHandler, SyslogHandler, NTEventLogHandler),
    ],
)
def test_there_are_handlers_for_streams_files_mail_and_logs_of_systems(cls):
    """All from the package, and all handlers."""
    assert issubclass(cls, Handler)
    assert cls.__name__ in sprockets.logbook.__all__


@pytest.mark.rule("P-F9")
def test_all_records_of_a_request_are_withheld_until_one_is_an_error():
    """Another request, at the same time, gives nothing."""
    written = TestHandler()

    def request(name, fails):
        with FingersCrossedHandler(written):
            log.debug("{} begins", name)
            if fails:
                log.error("{} fails", name)
            log.debug("{} ends", name)

    for name, fails in (("a", False), ("b", True), ("c", False)):
        threads = [threading.Thread(target=request, args=(name, fails))]
        with NullHandler().applicationbound():
            for thread in threads:
                thread.start()
                thread.join(30)

    assert [record.message for record in written.records] == ["b begins", "b fails", "b ends"]


@pytest.mark.rule("P-F13")
def test_there_are_no_custom_levels():
    """A name that is none of ours is an error."""
    with pytest.raises(LookupError, match="unknown level name EMERGENCY"):
        lookup_level("EMERGENCY")


@pytest.mark.rule("P-F15", "P-D9")
def test_information_reaches_records_of_libraries_that_know_nothing_of_it():
    """All loggers of the context, or of the application; in other threads only the latter."""
    theirs = Logger("somebody else's library")

    def stamp(name):
        return Processor(lambda record: record.extra.update({name: True}))

    with TestHandler().applicationbound() as handler:
        with stamp("application").applicationbound(), stamp("context"):
            theirs.info("x")
            thread = threading.Thread(target=theirs.info, args=("y",))
            thread.start()
            thread.join(30)

    assert [set(record.extra) for record in handler.records] == [
        {"application", "context"},
        {"application"},
    ]


@pytest.mark.rule("P-F16")
def test_with_statements_cannot_leave_the_stacks_in_disorder():
    """However they are left, and whatever is bound; nothing else has a state but a handler."""
    node, application = _context.current_node(), _context.application
    everything = NestedSetup([NullHandler(), TestHandler(), Processor(), Flags(errors="raise")])

    for binding in (everything, everything.applicationbound()):
        for error in (ValueError, KeyboardInterrupt, SystemExit, GeneratorExit):
            with pytest.raises(error), binding, everything:
                raise error

    assert _context.current_node() is node
    assert _context.application.handlers == application.handlers
    assert _context.application.flags is application.flags
    assert default_handler in list(Handler.stack_manager.iter_context_objects())


@pytest.mark.rule("P-F18")
def test_there_are_handlers_for_telephones_and_desktops():
    """And for what a library of such services reaches."""
    for name in ("PushoverHandler", "LibNotifyHandler", "MacOSNotificationHandler"):
        assert issubclass(getattr(notifiers, name), notifiers.NotificationBaseHandler)
    assert issubclass(notifiers.NotificationBaseHandler, Handler)
    assert issubclass(notifiers.AppriseHandler, Handler)
