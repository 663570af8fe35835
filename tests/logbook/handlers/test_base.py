"""Handlers: what they all owe, and those that wrap, swallow and keep."""

import copy
import gc
import re
import threading
import weakref
from contextlib import closing
from datetime import timedelta

import pytest

from sprockets.logbook import (
    ERROR,
    INFO,
    NOTSET,
    WARNING,
    FingersCrossedHandler,
    Flags,
    GroupHandler,
    Handler,
    HashingHandlerMixin,
    LimitingHandlerMixin,
    Logger,
    LogRecord,
    NullHandler,
    StringFormatter,
    StringFormatterHandlerMixin,
    TestHandler,
    WrapperHandler,
    statistics,
)
from sprockets.logbook.handlers import (
    DEFAULT_FORMAT_STRING,
    MAIL_FORMAT_STRING,
    NTLOG_FORMAT_STRING,
    SYSLOG_FORMAT_STRING,
)

log = Logger("handlers")


def record(msg="x", *args, level=INFO, **options):
    return LogRecord("handlers", level, msg, args, **options)


class Failing(Handler):
    """Fails."""

    def __init__(self, error=ValueError("full"), **options):
        super().__init__(**options)
        self.error = error

    def emit(self, record):
        raise self.error


# -- the base


@pytest.mark.rule("HB-1", "SF-6", "P-Q10")
def test_format_asks_the_formatter_with_record_and_handler():
    """Without one, the message is what is formatted, of whatever type."""
    handler = Handler()
    assert handler.format(record(42)) == 42
    handler.formatter = lambda record, asked: (record.msg, asked is handler)
    assert handler.format(record("y")) == ("y", True)


@pytest.mark.rule("HB-2", "HB-4", "P-H2")
def test_a_bare_handler_takes_what_its_level_admits_and_does_nothing():
    """Its constructor takes level, filter and bubble."""
    handler = Handler("WARNING", None, True)

    assert (handler.level_name, handler.filter, handler.bubble) == ("WARNING", None, True)
    assert (handler.formatter, handler.blackhole) == (None, False)
    assert handler.should_handle(record(level=WARNING))
    assert not handler.should_handle(record(level=INFO))
    assert handler.handle(record()) is True
    assert handler.close() is None


@pytest.mark.rule("HB-3")
def test_handle_looks_at_nothing_and_protects_emit():
    """Failures go to `handle_error`; what ends the program passes."""
    seen = []

    class Noting(Failing):
        def handle_error(self, record, exc_info):
            seen.append((record, exc_info[0]))

    first = record()
    assert Noting(level="CRITICAL", filter=lambda record, handler: False).handle(first) is True
    assert seen == [(first, ValueError)]
    with pytest.raises(KeyboardInterrupt):
        Failing(KeyboardInterrupt()).handle(record())


@pytest.mark.rule("HB-5", "HB-6")
def test_a_batch_is_emitted_one_by_one_unprotected_and_unfiltered(make_handler):
    """Whatever the reason; an empty iterator is fine."""
    handler = make_handler("CRITICAL", lambda record, handler: False)
    handler.emit_batch(iter([record("a"), record("b")]), "something new")
    handler.emit_batch(iter(()), "buffer")

    assert handler.messages == ["a", "b"]
    with pytest.raises(ValueError, match="full"):
        Failing().emit_batch([record()], "group")


@pytest.mark.rule("HB-8")
def test_a_handler_that_can_be_closed_is_closed_when_collected():
    """Also one that is half made; failures are of no interest; others carry no finaliser."""
    closed = []

    class Closing(Handler):
        def __init__(self, fails=False):
            if fails:
                raise RuntimeError("half made")
            super().__init__()

        def close(self):
            closed.append(self.level)
            raise ValueError("nobody listens")

    class Sub(Closing):
        pass

    for kind in (Closing, Sub):
        kind()
        with pytest.raises(RuntimeError):
            kind(fails=True)
    gc.collect()

    assert closed == [NOTSET, NOTSET]
    assert not hasattr(Handler, "__del__")
    assert not hasattr(WrapperHandler, "__del__")
    assert not hasattr(GroupHandler, "__del__")


@pytest.mark.rule("HB-8", "TH-3")
def test_a_collected_test_handler_closes_its_records():
    """They hold frames, which is why it matters."""
    handler = TestHandler()
    kept = record()
    handler.emit(kept)
    del handler
    gc.collect()

    assert kept.late


@pytest.mark.rule("HB-9")
def test_mixins_are_initialised_by_hand():
    """No constructor chains into another's."""

    class Own(Handler, StringFormatterHandlerMixin, LimitingHandlerMixin):
        def __init__(self):
            Handler.__init__(self, "ERROR", None, True)
            StringFormatterHandlerMixin.__init__(self, "{record.message}!")
            LimitingHandlerMixin.__init__(self, 1, 2)

    handler = Own()

    assert (handler.level, handler.bubble, handler.format(record())) == (ERROR, True, "x!")
    assert (handler.record_limit, handler.record_delta) == (1, timedelta(seconds=2))


@pytest.mark.rule("HB-10")
def test_a_handler_may_be_used_by_several_threads(make_handler):
    """Each record arrives once."""
    handler = make_handler()

    def work(number):
        for index in range(200):
            log.info("{} {}", number, index)

    with handler.applicationbound():
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(handler.messages) == sorted(f"{n} {i}" for n in range(4) for i in range(200))


# -- errors


@pytest.mark.rule("HB-11", "HB-15", "PY-12")
def test_a_failing_handler_is_reported_and_has_consumed(make_handler, capsys):
    """The traceback, then where it was logged; bubbling goes on as always."""
    before = statistics()["failed"]
    with make_handler() as below:
        with Failing():
            log.error("x")
        assert below.messages == []
        with Failing(bubble=True):
            log.error("y")
        assert below.messages == ["y"]

    error = capsys.readouterr().err
    assert error.count("ValueError: full") == 2
    assert re.search(rf"\nLogged from file {re.escape(__file__)}, line \d+\n", error)
    assert statistics()["failed"] == before + 2


@pytest.mark.rule("HB-13", "X-16")
@pytest.mark.parametrize("error", [ValueError("v"), OSError("disk full"), ConnectionRefusedError()])
def test_errors_raise_raises_the_failure_itself(error):
    """Also an ``OSError``, which upstream swallowed; the traceback leads to the handler."""
    with Failing(error), Flags(errors="raise"), pytest.raises(type(error)) as caught:
        log.error("x")

    assert caught.value is error
    assert caught.traceback[-1].name == "emit"


def test_errors_silent_says_nothing_and_counts(capsys):
    """Nobody is told, and the count can be read."""
    before = statistics()["failed"]
    with Failing(), Flags(errors="silent"):
        log.error("x")

    assert capsys.readouterr().err == ""
    assert statistics()["failed"] == before + 1


class Refusing:
    """A standard error that cannot be written to."""

    def __init__(self, error):
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error


@pytest.mark.rule("HB-12", "HB-14", "X-17", "SH-10")
@pytest.mark.parametrize(
    "stderr",
    [None, Refusing(OSError("gone")), Refusing(ValueError("closed")), Refusing(BrokenPipeError())],
)
def test_a_report_that_cannot_be_written_is_counted(stderr, monkeypatch):
    """No standard error, a closed one, a broken one: the application notices nothing."""
    before = statistics()["unreported"]
    monkeypatch.setattr("sys.stderr", stderr)
    with Failing():
        log.error("x")

    assert statistics()["unreported"] == before + 1


@pytest.mark.rule("HB-16")
def test_a_message_that_does_not_format_is_written_raw_with_a_note(stream, stream_handler):
    """It is never lost; only who asks for errors gets one; handlers that store do not notice."""
    before = statistics()["unformatted"]
    with stream_handler:
        log.info("{} {}", 1, k=2)
        with Flags(errors="raise"), pytest.raises(TypeError, match="Could not format"):
            log.info("{} {}", 1)
    with TestHandler() as keeping, Flags(errors="raise"):
        log.info("{} {}", 1)

    line = stream.getvalue()
    assert line.startswith("INFO:handlers:{} {} [could not be formatted: IndexError: ")
    assert line.endswith("args=(1,), kwargs={'k': 2}]\n")
    assert len(keeping.records) == 1
    assert statistics()["unformatted"] == before + 1


# -- wrappers


@pytest.mark.rule("WH-1", "WH-2")
def test_a_wrapper_shares_the_attributes_of_what_it_wraps():
    """Both ways; it has none of its own but those it names."""
    wrapped = TestHandler("ERROR")
    wrapper = WrapperHandler(wrapped)
    wrapper.bubble = True
    wrapper.level = "WARNING"
    wrapper.custom = 1

    assert (wrapped.bubble, wrapped.level, wrapped.custom) == (True, WARNING, 1)
    assert (wrapper.level_name, wrapper.records) == ("WARNING", wrapped.records)
    assert wrapper.format_string == wrapped.format_string
    assert set(vars(wrapper)) <= {"handler", "_least", "_own_route"}
    del wrapper.custom
    assert not hasattr(wrapped, "custom")


@pytest.mark.rule("WH-3", "X-18")
def test_a_wrapper_passes_on_what_it_does_not_override():
    """Emitting, batches, closing, interest, format and blackhole are the wrapped handler's."""
    wrapped = TestHandler("ERROR", filter=None)
    wrapper = WrapperHandler(wrapped)
    kept = record()

    assert wrapper.handle(kept)
    wrapper.emit_batch([record()], "group")
    assert len(wrapped.records) == 2
    assert wrapper.format(kept) == "[INFO] handlers: x"
    assert not wrapper.should_handle(kept)
    assert WrapperHandler(NullHandler()).blackhole
    wrapper.close()
    assert kept.late

    class Emitting(WrapperHandler):
        def emit(self, record):
            seen.append(record)

    seen = []
    Emitting(wrapped).emit_batch([kept, kept], "buffer")
    assert seen == [kept, kept]


@pytest.mark.rule("WH-4", "X-19")
def test_a_wrapper_can_be_copied():
    """Asking a half-made one for anything ends."""
    wrapper = WrapperHandler(Handler())

    assert copy.copy(wrapper).handler is wrapper.handler
    with pytest.raises(AttributeError, match="wraps no handler yet"):
        _ = WrapperHandler.__new__(WrapperHandler).level_name


@pytest.mark.rule("WH-5")
def test_binding_a_wrapper_binds_the_wrapper(make_handler):
    """What is wrapped is not on the stack."""
    wrapper = WrapperHandler(make_handler("WARNING"))
    with wrapper:
        assert next(Handler.stack_manager.iter_context_objects()) is wrapper
        log.info("below")
        log.warning("x")
        wrapper.level = "INFO"
        log.info("y")

    assert wrapper.messages == ["x", "y"]


# -- limits


class Hashing(Handler, HashingHandlerMixin):
    """Hashes."""


@pytest.mark.rule("HL-1", "HL-2", "HL-3", "HL-4", "X-20", "P-T1")
def test_a_hash_is_of_level_channel_and_place():
    """Forty digits, the same for the same call, whatever it says; a place may be unknown."""
    hashing = Hashing()
    one, other = record("a", level=WARNING), record("b", level=WARNING)
    for item in (one, other):
        item.filename, item.lineno = "app.py", 12
    nowhere = record()
    with Flags(introspection=False):
        nowhere.heavy_init()

    # Worked out by hand: sha1(b"13\0handlers\0app.py\0" + b"12")
    assert hashing.hash_record(one) == hashing.hash_record(other)
    import hashlib

    assert hashing.hash_record(one) == hashlib.sha1(b"13\0handlers\0app.py\x0012").hexdigest()
    assert len(hashing.hash_record(nowhere)) == 40
    other.lineno = 13
    assert hashing.hash_record(one) != hashing.hash_record(other)

    class Salted(Hashing):
        def hash_record_raw(self, record):
            raw = super().hash_record_raw(record)
            raw.update(b"salt")
            return raw

    assert Salted().hash_record(one) != hashing.hash_record(one)


class FakeClock:
    """A clock that stands still until it is set."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def answers(limiter, count, line=1):
    item = record()
    item.filename, item.lineno = "app.py", line
    return [limiter.check_delivery(item) for _ in range(count)]


@pytest.mark.rule("HL-5", "HL-6")
def test_without_a_limit_everything_is_delivered():
    """And nothing is remembered; a window is a minute unless given."""
    limiter = LimitingHandlerMixin(None, None)

    assert answers(limiter, 3) == [(0, True)] * 3
    assert limiter.record_delta == timedelta(seconds=60)
    assert LimitingHandlerMixin(1, 2.5).record_delta == timedelta(seconds=2.5)
    assert not limiter._windows


@pytest.mark.rule("HL-7", "HL-8", "HL-9", "HL-12", "HL-13", "X-21")
@pytest.mark.parametrize(
    ("limit", "first", "second"),
    [
        (1, [(0, True), (1, False), (2, False), (3, False)], [(3, True)]),
        (
            2,
            [(0, True), (0, True), (1, False), (2, False)],
            [(2, True), (0, True), (1, False)],
        ),
        (0, [(1, False), (2, False)], [(3, False)]),
    ],
)
def test_a_window_delivers_its_limit_and_counts_what_it_withholds(limit, first, second):
    """The next window says how many the last one held back; only a full window opens another."""
    clock = FakeClock()
    limiter = LimitingHandlerMixin(limit, 60, clock)

    assert answers(limiter, len(first)) == first
    clock.seconds = 60.0
    if limit:
        assert not answers(limiter, 1)[0][1]
        second = [(second[0][0] + 1, True), *second[1:]]
    clock.seconds = 60.1
    assert answers(limiter, len(second)) == second


@pytest.mark.rule("HL-10", "HL-11", "X-22", "X-23")
def test_the_oldest_windows_are_forgotten_when_there_are_too_many():
    """A hundred thousand places cost no exception and a bounded memory."""
    clock = FakeClock()
    limiter = LimitingHandlerMixin(1, 60, clock)
    for line in range(100_000):
        assert answers(limiter, 1, line) == [(0, True)]

    assert limiter.max_record_cache == 512
    assert len(limiter._windows) <= 512
    assert answers(limiter, 1, 99_999) == [(1, False)]
    assert answers(limiter, 1, 0) == [(0, True)]


# -- layouts


@pytest.mark.rule("SF-1", "SF-2", "SF-3", "SF-8", "P-Q9")
def test_a_layout_shows_the_record_and_then_its_traceback():
    """Another layout changes what comes after; each formatting is a new one."""
    formatter = StringFormatter("{record.message}|{handler.level_name}")
    item = record()
    assert formatter(item, Handler("ERROR")) == "x|ERROR"
    formatter.format_string = "{record.extra[ip]}{record.message!r}"
    assert formatter(item, Handler()) == "'x'"
    item.formatted_exception = "Traceback …"
    assert formatter(item, Handler()) == "'x'\nTraceback …"
    assert formatter.format_exception(item) == "Traceback …"
    assert formatter.format_record(item, Handler()) == "'x'"


@pytest.mark.rule("SF-4", "SF-5", "P-Q9")
def test_a_handlers_layout_can_be_read_and_replaced():
    """``None`` means the default at construction, and no formatter afterwards."""
    handler = TestHandler()
    assert handler.format_string == TestHandler.default_format_string
    handler.format_string = "{record.message}!"
    assert (type(handler.formatter), handler.format(record())) == (StringFormatter, "x!")
    handler.format_string = None
    assert (handler.formatter, handler.format_string, handler.format(record())) == (None, None, "x")
    handler.formatter = lambda record, handler: "own"
    assert (handler.format_string, handler.format(record())) == (None, "own")


@pytest.mark.rule("SF-7", "LV-5")
@pytest.mark.parametrize(
    ("layout", "error"),
    [
        ("{record.time:%Y}", TypeError),
        ("{record.level_name}", LookupError),
        ("{record.nope}", AttributeError),
    ],
)
def test_a_layout_that_does_not_fit_the_record_fails(layout, error):
    """No time yet, no name for the level, no such attribute."""
    with pytest.raises(error):
        StringFormatter(layout)(record(level=37), Handler())


@pytest.mark.rule("LV-5", "HB-15")
def test_a_level_without_a_name_is_the_handlers_error(stream_handler, stream, capsys):
    """The call does not fail, and other records go on."""
    with stream_handler:
        log.log(37, "x")
        log.info("y")

    assert stream.getvalue() == "INFO:handlers:y\n"
    assert "KeyError: 37" in capsys.readouterr().err


@pytest.mark.rule("SF-10", "SF-11", "D-03", "P-F7")
def test_the_default_layouts_look_as_they_always_did():
    """One line for streams, labels in a column for mail."""
    item = record("This is a warning.", level=WARNING)
    item.heavy_init()
    item.filename, item.lineno, item.module, item.func_name = "app.py", 12, "app", "main"

    class Mail(Handler):
        subject = "Oh no"

    assert TestHandler().format(item) == "[WARNING] handlers: This is a warning."
    assert StringFormatter(SYSLOG_FORMAT_STRING)(item, Handler()) == "handlers: This is a warning."
    assert re.fullmatch(
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\] WARNING: handlers: This is a warning\.",
        StringFormatter(DEFAULT_FORMAT_STRING)(item, Handler()),
    )
    mail = StringFormatter(MAIL_FORMAT_STRING)(item, Mail()).split("\n")
    assert mail[:3] == ["Subject: Oh no", "", "Message type:       WARNING"]
    assert mail[3:6] == [
        "Location:           app.py:12",
        "Module:             app",
        "Function:           main",
    ]
    assert mail[7:] == ["", "Message:", "", "This is a warning.", ""]
    nt = StringFormatter(NTLOG_FORMAT_STRING)(item, Handler()).split("\n")
    assert (nt[0], nt[1], nt[-2:], len(nt)) == (
        "Message Level: WARNING", "Location: app.py:12", ["This is a warning.", ""], 10,
    )  # fmt: skip
    item.close()


# -- the test handler


@pytest.fixture(name="probed")
def _probed():
    with TestHandler() as handler:
        Logger("Testing").warning("Hello World")
    yield handler
    handler.close()


@pytest.mark.rule("TH-1", "TH-2", "TH-11", "P-U1", "P-F10", "PY-1", "PY-6")
def test_captured_records_are_open_and_unformatted(probed):
    """Late, but with frame and traceback; `force_heavy_init` fixes time for odd dispatches."""
    kept = probed.records[0]
    assert (kept.late, kept.keep_open, kept.frame is not None) == (True, True, True)
    bare = record()
    TestHandler(force_heavy_init=True).emit(bare)
    assert bare.heavy_initialized
    malformed = TestHandler()
    malformed.emit(record("{}{}", 1))
    with pytest.raises(TypeError):
        malformed.has_info("x")


@pytest.mark.rule("TH-3")
def test_closing_closes_the_records_and_keeps_them(probed):
    """Leaving ``with`` does not."""
    assert probed.records[0].frame is not None
    probed.close()
    assert probed.records[0].frame is None


@pytest.mark.rule("TH-4", "TH-5", "X-38", "P-U2")
def test_formatted_records_are_made_once_until_something_changes(probed):
    """The same list, until a record is added or replaced, or the layout changes."""
    first = probed.formatted_records
    assert first == ["[WARNING] Testing: Hello World"]
    assert probed.formatted_records is first
    probed.records[0] = record("other")
    assert probed.formatted_records == ["[INFO] handlers: other"]
    probed.format_string = "{record.message}"
    assert probed.formatted_records == ["other"]


@pytest.mark.rule("TH-6", "TH-7", "TH-8", "P-U3", "P-U4", "P-H11")
def test_probes_compare_message_pattern_and_channel(probed):
    """Exact level; whole message or a pattern to be found; both conditions on one record."""
    assert probed.has_warnings
    assert not probed.has_errors
    assert probed.has_warning("Hello World", channel="Testing")
    assert probed.has_warning(channel="Testing")
    assert probed.has_warning(re.compile("o W"))
    assert not probed.has_warning("^Hello")
    assert not probed.has_warning("Hello World", channel="other")
    assert not probed.has_error("Hello World")
    for name in ("trace", "debug", "info", "notice", "error", "critical"):
        assert not getattr(probed, f"has_{name}s")
        assert not getattr(probed, f"has_{name}")()


@pytest.mark.rule("TH-9")
def test_a_pattern_is_sought_in_the_text_of_any_message():
    """Unknown keywords are refused."""
    handler = TestHandler()
    handler.emit(record(42))
    assert handler.has_info(re.compile("4"))
    with pytest.raises(TypeError):
        handler.has_info(level=1)


@pytest.mark.rule("TH-10", "PY-13")
def test_pytest_does_not_collect_the_class():
    """It says so."""
    assert TestHandler.__test__ is False


# -- holding back


def batches_of(handler):
    """Return a list that gets the messages and the reason of every batch of *handler*."""
    batches = []
    handler.emit_batch = lambda records, reason: batches.append(
        ([record.message for record in records], reason)
    )
    return batches


@pytest.mark.rule("FC-1", "FC-2", "FC-3", "P-F9", "P-H3")
def test_nothing_is_emitted_until_the_trigger_then_everything(make_handler):
    """The batch ends with the trigger; level, filter and bubble of the wrapped do not count."""
    wrapped = make_handler("CRITICAL", lambda record, handler: False)
    batches = batches_of(wrapped)
    with FingersCrossedHandler(wrapped) as crossed:
        log.debug("a")
        log.warning("b")
        assert (batches, crossed.triggered, len(crossed.buffered_records)) == ([], False, 2)
        log.error("c")
        log.info("d")
    with crossed:
        log.info("e")

    assert batches == [(["a", "b", "c"], "escalation")]
    assert wrapped.messages == ["d", "e"]
    assert (crossed.triggered, list(crossed.buffered_records)) == (True, [])


@pytest.mark.rule("FC-4", "FC-8", "X-49", "P-H6")
def test_reset_starts_over_after_each_batch(make_handler):
    """It never reads as triggered; the reason is the class's."""

    class Grouping(FingersCrossedHandler):
        batch_emit_reason = "mine"

    wrapped = make_handler()
    batches = batches_of(wrapped)
    with Grouping(wrapped, reset=True) as crossed:
        for message in "ab":
            log.info(message)
            log.error(message.upper())
            assert not crossed.triggered

    assert batches == [(["a", "A"], "mine"), (["b", "B"], "mine")]


@pytest.mark.rule("FC-5")
def test_a_factory_makes_the_handler_at_the_first_trigger(make_handler, capsys):
    """It sees the trigger and the buffer; if it fails, the next trigger tries again."""
    made = []

    def factory(record, crossed):
        made.append((record.message, [item.message for item in crossed.buffered_records]))
        if len(made) == 1:
            raise OSError("no disk")
        return wrapped

    wrapped = make_handler()
    batches = batches_of(wrapped)
    with FingersCrossedHandler(factory, reset=True):
        log.info("a")
        log.error("b")
        assert "no disk" in capsys.readouterr().err
        log.error("c")
        log.error("d")

    assert made == [("b", ["a", "b"]), ("c", ["a", "b", "c"])]
    assert [messages for messages, _ in batches] == [["a", "b", "c"], ["d"]]


@pytest.mark.rule("FC-6")
def test_a_buffer_keeps_the_newest(make_handler):
    """The trigger is one of them; what is pushed out is counted."""
    wrapped = make_handler()
    batches = batches_of(wrapped)
    with FingersCrossedHandler(wrapped, buffer_size=3) as crossed:
        for level in ("info", "warning", "warning", "error"):
            getattr(log, level)(level)

    assert batches == [(["warning", "warning", "error"], "escalation")]
    assert crossed.dropped == 1
    with pytest.raises(ValueError, match="buffer_size must be 0"):
        FingersCrossedHandler(wrapped, buffer_size=-1)


@pytest.mark.rule("FC-6")
def test_a_buffer_is_bounded_also_when_nobody_said_so(make_handler):
    """A thousand records, eight mebibytes of text; the rest is counted."""
    many, large = FingersCrossedHandler(make_handler()), FingersCrossedHandler(make_handler())
    with many:
        for _ in range(3_000):
            log.debug("x")
    with large:
        for _ in range(30):
            log.debug("x" * 1_048_576)

    assert (len(many.buffered_records), many.dropped) == (1_000, 2_000)
    assert (len(large.buffered_records), large.dropped) == (4, 26)


@pytest.mark.rule("FC-7", "X-48")
def test_a_full_buffer_starts_over_after_a_reset(make_handler):
    """Upstream lost every error after the first."""
    wrapped = make_handler()
    batches = batches_of(wrapped)
    with FingersCrossedHandler(wrapped, buffer_size=2, reset=True):
        for message in ("a", "b", "c", "E1", "d", "E2", "E3"):
            getattr(log, "error" if message[0] == "E" else "info")(message)

    assert [messages for messages, _ in batches] == [["c", "E1"], ["d", "E2"], ["E3"]]


@pytest.mark.rule("FC-7")
def test_a_hundred_errors_come_with_their_own_lead_up(make_handler):
    """Each batch has exactly the last nine records before its error."""
    wrapped = make_handler()
    batches = batches_of(wrapped)
    with FingersCrossedHandler(wrapped, buffer_size=10, reset=True):
        for error in range(100):
            for info in range(20):
                log.info("{}.{}", error, info)
            log.error("{}", error)

    assert [messages for messages, _ in batches] == [
        [*(f"{error}.{info}" for info in range(11, 20)), str(error)] for error in range(100)
    ]


@pytest.mark.rule("FC-9")
def test_the_buffer_is_empty_after_a_trigger_not_gone(make_handler):
    """A deque, always."""
    with FingersCrossedHandler(make_handler()) as crossed:
        log.error("x")

    assert list(crossed.buffered_records) == []


@pytest.mark.rule("FC-10", "LR-25")
@pytest.mark.parametrize("pulls", [True, False])
def test_what_is_held_back_keeps_its_facts_if_it_was_pulled(pulls):
    """Place and traceback survive the closing of the record; without pulling, the trigger's do."""
    wrapped = TestHandler()
    with FingersCrossedHandler(wrapped, pull_information=pulls):
        try:
            raise ValueError("v")
        except ValueError:
            log.info("early", exc_info=True)
        log.error("late")
    early, late = wrapped.records

    assert (early.lineno is not None, early.formatted_exception is not None) == (pulls, pulls)
    assert late.lineno is not None


def test_a_message_that_does_not_format_is_held_back_like_any_other(stream, stream_handler):
    """It comes out raw, with its note."""
    with FingersCrossedHandler(stream_handler):
        log.info("{} {}", 1)
        log.error("x")

    assert "INFO:handlers:{} {} [could not be formatted" in stream.getvalue()


@pytest.mark.rule("FC-11", "X-50")
@pytest.mark.parametrize("reset", [True, False])
def test_a_wrapped_handler_that_logs_does_not_disturb_the_batch(reset):
    """Nested records go to the next buffer, or straight on."""

    class Talking(Handler):
        def emit(self, record):
            messages.append(record.message)
            if not record.message.startswith("inner"):
                log.info("inner {}", record.message)

    messages = []
    with FingersCrossedHandler(Talking(), reset=reset) as crossed:
        log.info("a")
        log.error("b")

    if reset:
        assert messages == ["a", "b"]
        assert [record.message for record in crossed.buffered_records] == ["inner a", "inner b"]
    else:
        assert sorted(messages) == ["a", "b", "inner a", "inner b"]


@pytest.mark.rule("FC-12")
def test_closing_closes_the_wrapped_handler_and_leaving_does_not():
    """Collection leaves it to its owner; one from a factory, which has none, is collected too."""
    closed = []

    class Closing(Handler):
        def close(self):
            closed.append(1)

    wrapped = Closing()
    crossed = FingersCrossedHandler(wrapped)
    with crossed:
        pass
    assert closed == []
    crossed.close()
    assert closed == [1]
    FingersCrossedHandler(lambda record, crossed: wrapped).close()
    del crossed
    gc.collect()
    assert closed == [1]

    made = FingersCrossedHandler(lambda record, crossed: Closing())
    with made:
        log.error("now there is one")
    del made
    gc.collect()
    assert closed == [1, 1]


@pytest.mark.rule("FC-13")
def test_a_failing_batch_is_this_handlers_error(capsys):
    """The flag decides, as for any handler."""
    with FingersCrossedHandler(Failing()):
        log.error("x")
    with (
        FingersCrossedHandler(Failing()),
        Flags(errors="raise"),
        pytest.raises(ValueError, match="full"),
    ):
        log.error("x")

    assert "ValueError: full" in capsys.readouterr().err


@pytest.mark.rule("FC-14")
def test_threads_around_the_trigger_lose_nothing_and_repeat_nothing():
    """Every record arrives exactly once."""
    wrapped = TestHandler()
    crossed = FingersCrossedHandler(wrapped, buffer_size=10_000)

    def work(number):
        for index in range(200):
            (log.error if index == 100 else log.info)("{} {}", number, index)

    with crossed.applicationbound():
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    messages = [record.message for record in wrapped.records]
    assert sorted(messages) == sorted(f"{n} {i}" for n in range(4) for i in range(200))


@pytest.mark.rule("LV-6", "P-D4", "FH-3", "FC-3")
def test_a_file_is_made_only_when_there_is_something_to_tell(tmp_path):
    """A delayed file handler behind it: no file until a warning, then also what came before."""
    from sprockets.logbook import FileHandler

    path = tmp_path / "log"
    file = FileHandler(path, delay=True, format_string="{record.message}")
    with closing(file), FingersCrossedHandler(file, "WARNING"):
        log.info("a")
        assert not path.exists()
        log.warning("b")
        log.info("c")

    assert path.read_text() == "a\nb\nc\n"


# -- groups


@pytest.mark.rule("GH-1", "GH-2", "GH-5")
@pytest.mark.parametrize("where", ["context", "application", "thread", "greenlet"])
def test_a_group_is_passed_on_when_its_binding_ends(where, make_handler):
    """As one batch, however it was bound; an empty one too; the next one is new."""
    wrapped = make_handler()
    batches = batches_of(wrapped)
    group = GroupHandler(wrapped)
    for messages in ("ab", ""):
        getattr(group, f"push_{where}")()
        for message in messages:
            log.info(message)
        getattr(group, f"pop_{where}")()

    assert batches == [(["a", "b"], "group"), ([], "group")]
    assert group.buffered_records == []


@pytest.mark.rule("GH-3")
def test_a_group_has_level_filter_and_bubble_of_the_wrapped(make_handler):
    """Only what it would have taken is collected."""
    with make_handler() as below, GroupHandler(make_handler("ERROR")) as group:
        log.info("a")
        log.error("b")
        assert [record.message for record in group.buffered_records] == ["b"]

    assert below.messages == ["a"]


@pytest.mark.rule("GH-6")
def test_each_pop_passes_on_what_has_been_collected(make_handler):
    """A group that is bound twice flushes twice."""
    wrapped = make_handler()
    batches = batches_of(wrapped)
    group = GroupHandler(wrapped)
    with group:
        log.info("a")
        with group:
            log.info("b")
        log.info("c")

    assert [messages for messages, _ in batches] == [["a", "b"], ["c"]]


@pytest.mark.rule("GH-7", "X-51")
def test_a_failing_flush_is_the_wrapped_handlers_error_and_happens_once(capsys):
    """It does not replace an exception on its way, and what failed is not sent again."""
    group = GroupHandler(Failing())
    with pytest.raises(KeyError), group:
        log.info("a")
        raise KeyError("mine")
    assert "ValueError: full" in capsys.readouterr().err
    assert group.buffered_records == []
    with Flags(errors="raise"), pytest.raises(ValueError, match="full"), group:
        log.info("b")


@pytest.mark.rule("GH-8")
def test_closing_a_group_closes_and_does_not_flush(make_handler):
    """What was never popped was never emitted."""
    closed = []
    wrapped = make_handler()
    batches = batches_of(wrapped)
    wrapped.close = lambda: closed.append(1)
    group = GroupHandler(wrapped)
    group.emit(record())
    group.close()

    assert (closed, batches) == ([1], [])


@pytest.mark.rule("GH-9")
def test_a_batch_that_comes_to_a_group_joins_it(make_handler):
    """Whatever its reason."""
    group = GroupHandler(make_handler())
    group.emit_batch(iter([record("a"), record("b")]), "escalation")

    assert [item.message for item in group.buffered_records] == ["a", "b"]


def test_a_group_is_bounded_and_keeps_its_first(make_handler):
    """The first is the significant one; the rest makes room, and is counted."""
    with GroupHandler(make_handler()) as group:
        for number in range(1_500):
            log.info("{}", number)
        assert group.dropped == 500
        kept = [item.message for item in group.buffered_records]

    assert kept == ["0", *map(str, range(501, 1_500))]


@pytest.mark.rule("HB-7")
@pytest.mark.parametrize(
    "make",
    [
        Handler,
        NullHandler,
        TestHandler,
        lambda: WrapperHandler(TestHandler()),
        lambda: FingersCrossedHandler(TestHandler()),
        lambda: GroupHandler(TestHandler()),
    ],
)
def test_closing_twice_is_closing_once(make):
    """A second close finds nothing left to do, and nothing keeps the handler."""
    handler = make()
    handler.close()
    handler.close()
    reference = weakref.ref(handler)
    del handler
    gc.collect()

    assert reference() is None
