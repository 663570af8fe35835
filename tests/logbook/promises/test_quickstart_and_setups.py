"""What the first pages and those of common set-ups promise, as a reader takes it."""

import os

import pytest

from sprockets.logbook import (
    FileHandler,
    Logger,
    LogRecord,
    NestedSetup,
    NullHandler,
    Processor,
    StreamHandler,
    TestHandler,
    default_handler,
)

log = Logger("Application")


class Captured(TestHandler):
    """Stands for mail: keeps what would be sent."""


# -- quickstart


@pytest.mark.rule("P-Q3")
def test_a_handler_can_be_for_a_context_the_process_or_a_logger():
    """Each gets what is its own."""
    process, context, own = TestHandler(), TestHandler("WARNING"), TestHandler("ERROR")
    logger = Logger("x")
    logger.handlers.append(own)

    with process.applicationbound(), context:
        logger.info("one")
        logger.warning("two")
        logger.error("three")

    found = [[record.message for record in one.records] for one in (process, context, own)]
    assert found == [["one"], ["two"], ["three"]]


@pytest.mark.rule("P-Q7")
def test_a_processor_puts_the_working_directory_into_every_record():
    """The example of the page."""

    def inject_cwd(record):
        record.extra["cwd"] = os.getcwd()

    with TestHandler(format_string="{record.extra[cwd]}: {record.message}") as handler:
        with Processor(inject_cwd):
            log.info("one")
        log.info("two")

    assert handler.formatted_records == [f"{os.getcwd()}: one", ": two"]


@pytest.mark.rule("P-Q8")
def test_overriding_process_record_does_so_for_one_logger():
    """With the parent's, which runs the processors."""

    class MyLogger(Logger):
        def process_record(self, record):
            Logger.process_record(self, record)
            record.extra["cwd"] = "here"

    with TestHandler() as handler, Processor(lambda record: record.extra.update(p=1)):
        MyLogger("one").info("x")
        Logger("two").info("x")

    assert [dict(record.extra) for record in handler.records] == [{"p": 1, "cwd": "here"}, {"p": 1}]


@pytest.mark.rule("P-Q11")
def test_layouts_show_attributes_and_custom_data():
    """What is missing is empty."""
    layout = "{record.channel}|{record.extra[user]}|{record.extra[ip]}"
    with TestHandler(format_string=layout) as handler:
        log.info("x", extra={"user": "ann"})

    assert handler.formatted_records == ["Application|ann|"]


@pytest.mark.rule("P-Q12")
def test_a_layout_with_a_mismatched_bracket_is_refused_at_once():
    """The page once had one; with the right one it works."""
    with pytest.raises(ValueError, match="expected '}' before end of string"):
        TestHandler(format_string="{record.message)")

    with TestHandler(format_string="{record.message}") as handler:
        log.info("x")
    assert handler.formatted_records == ["x"]


# -- common set-ups


@pytest.mark.rule("P-C1", "P-D3")
def test_a_file_gets_all_records_of_a_program(tmp_path, capsys):
    """Wrapped around it, or pushed once; nothing on standard error."""
    wrapped, pushed = (
        FileHandler(tmp_path / "application.log"),
        FileHandler(tmp_path / "pushed.log"),
    )

    with wrapped.applicationbound() as bound:
        log.warning("one")
    pushed.push_application()
    log.warning("two")
    pushed.pop_application()
    for handler in (wrapped, pushed):
        handler.close()

    assert bound is wrapped
    assert (tmp_path / "application.log").read_text().endswith("WARNING: Application: one\n")
    assert (tmp_path / "pushed.log").read_text().endswith("WARNING: Application: two\n")
    assert capsys.readouterr().err == ""


@pytest.mark.rule("P-C2")
def test_handlers_are_popped_in_reverse_order():
    """Any other order is told, and changes nothing."""
    first, second = TestHandler(), TestHandler()
    first.push_context()
    second.push_context()

    with pytest.raises(AssertionError, match="popped unexpected object"):
        first.pop_context()

    second.pop_context()
    first.pop_context()


@pytest.mark.rule("P-C4")
def test_a_callback_of_one_parameter_in_a_processor_beside_the_handler():
    """It was once said to be given to ``threadbound``, with two parameters; that is an error."""

    def inject_info(record):
        record.extra.update(ip="127.0.0.1", method="GET")

    with TestHandler(format_string="{record.extra[ip]} {record.extra[method]}") as handler:
        with Processor(inject_info).threadbound():
            log.info("x")

    assert handler.formatted_records == ["127.0.0.1 GET"]
    with pytest.raises(TypeError):
        handler.threadbound(processor=inject_info)


@pytest.mark.rule("P-C3", "P-C5", "P-C6")
@pytest.mark.parametrize("position", range(4))
def test_a_usual_setup_sends_each_record_where_it_should(position, tmp_path, capsys):
    """Wherever its processor stands: nothing below, a file, mails, and all with its data."""
    file = FileHandler(tmp_path / "a.log", level="WARNING", format_string="{record.message}")
    mail = Captured("ERROR", format_string="{record.extra[url]}: {record.message}", bubble=True)
    objects = [NullHandler(), file, mail]
    objects.insert(position, Processor(lambda record: record.extra.update(url="/shop")))

    with NestedSetup(objects).applicationbound():
        for level in ("DEBUG", "NOTICE", "WARNING", "ERROR"):
            log.log(level, "{}", level)
    file.close()

    assert (tmp_path / "a.log").read_text() == "WARNING\nERROR\n"
    assert mail.formatted_records == ["/shop: ERROR"]
    assert capsys.readouterr().err == ""


@pytest.mark.rule("P-C7")
def test_a_loggers_own_handlers_come_before_those_that_are_bound():
    """Bubbling works as ever."""
    logger, own = Logger("x"), TestHandler(bubble=True)
    logger.handlers.append(own)

    with TestHandler() as bound:
        logger.info("one")
        own.bubble = False
        logger.info("two")

    assert [record.message for record in own.records] == ["one", "two"]
    assert [record.message for record in bound.records] == ["one"]


@pytest.mark.rule("P-C8")
def test_filters_take_record_and_handler(capsys):
    """One of a single parameter fails as a filter may: it is told, and counts as one that accepts."""
    with TestHandler(filter=lambda r: False) as handler:
        log.info("x")

    assert "takes 1 positional argument but 2 were given" in capsys.readouterr().err
    assert handler.has_info("x")


@pytest.mark.rule("P-C9", "P-C10")
def test_a_filter_may_compare_channel_or_dispatcher():
    """The dispatcher does not survive transport, nor is it kept alive."""
    loggers = [Logger("one")]
    by_channel = TestHandler(filter=lambda r, h: r.channel == "one", bubble=True)
    by_logger = TestHandler(filter=lambda r, h: r.dispatcher in loggers, bubble=True)
    with by_channel, by_logger:
        loggers[0].info("mine")
        Logger("one").info("of a namesake")
        Logger("two").info("other")

    assert [record.message for record in by_channel.records] == ["mine", "of a namesake"]
    assert [record.message for record in by_logger.records] == ["mine"]
    record = by_logger.records[0]
    assert LogRecord.from_dict(record.to_dict()).dispatcher is None
    loggers.clear()
    assert record.dispatcher is None


@pytest.mark.rule("P-C11")
def test_a_filter_selects_by_custom_data_and_a_bubbling_handler_gets_all():
    """As the cookbook has it."""
    everything = TestHandler(bubble=True)
    interesting = TestHandler(filter=lambda r, h: r.extra["interesting"])

    with NullHandler(), interesting, everything:
        log.info("one", extra={"interesting": True})
        log.info("two")

    assert [record.message for record in everything.records] == ["one", "two"]
    assert [record.message for record in interesting.records] == ["one"]


@pytest.mark.rule("P-Q5", "P-Q6")
def test_errors_go_to_one_handler_or_to_both(capsys):
    """Both, if it bubbles; nothing else is said, if there is a null handler below."""
    errors = Captured("ERROR", bubble=True)
    with errors:
        log.error("to both")
    errors.bubble = False
    with NestedSetup([NullHandler(), errors]):
        log.error("to one")
        log.warning("to nobody")

    assert [record.message for record in errors.records] == ["to both", "to one"]
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.endswith("ERROR: Application: to both\n")
    assert isinstance(default_handler, StreamHandler)
