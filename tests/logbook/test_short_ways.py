"""The short ways of a record are not to be told from the long one.

Gates, routes and lines without records are there for speed alone.  These tests compare them with the
plain algorithm, which is written out here once more.
"""

import io
import subprocess
import sys
import threading
from contextvars import Context, copy_context

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from sprockets.logbook import (
    Fields,
    Handler,
    JSONFormatter,
    Logger,
    LoggerGroup,
    NullHandler,
    Processor,
    StreamHandler,
    StringFormatter,
    WrapperHandler,
    _context,
    set_datetime_format,
)
from sprockets.logbook import default_handler as the_default_handler
from sprockets.logbook.base import DEBUG, ERROR, INFO, NOTSET, TRACE, WARNING

LEVELS = [NOTSET, TRACE, DEBUG, INFO, WARNING, ERROR]


class Noting(Handler):
    """Notes its number for each record."""

    def __init__(self, number, *args):
        super().__init__(*args)
        self.number = number

    def emit(self, record):
        received.append(self.number)


class Choosy(Noting):
    """Decides by itself what it is interested in."""

    def should_handle(self, record):
        return record.level != INFO and super().should_handle(record)


class Declining(Noting):
    """Says of some records that it did not handle them."""

    def handle(self, record):
        super().handle(record)
        return record.level >= WARNING


class Writing(StreamHandler):
    """A stream handler, whose lines may be made without a record."""

    def __init__(self, number, *args):
        super().__init__(Sink(number), args[0], "{record.message}", None, *args[1:])
        self.number = number


class Sink(io.StringIO):
    """A text stream that notes a number for each line."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        received.append(self.number)
        return len(text)


class Black(NullHandler):
    """Swallows."""

    number = None

    def __init__(self, number, *args):
        super().__init__(*args)


class Wrapping(WrapperHandler):
    """Wraps a noting handler."""

    def __init__(self, number, *args):
        super().__init__(Noting(number, *args))


received = []
KINDS = [Noting, Choosy, Declining, Writing, Black, Wrapping]


def is_odd_level(record, handler):
    return record.level % 2 == 1


def expected_receivers(logger, level, own, bound):
    """The plain algorithm: who gets a record of *level* from *logger*."""
    if logger.disabled or level < logger.level:
        return []

    class Record:
        pass

    record = Record()
    record.level = level
    found = []
    for handler in [*own, *bound]:
        if isinstance(handler, Choosy):
            if level == INFO or level < handler.level:
                continue
        elif level < handler.level:
            continue
        if handler.blackhole and handler.filter is None:
            if handler.bubble:
                continue
            break
        if handler.filter is not None and not handler.filter(record, handler):
            continue
        if handler.blackhole:
            if handler.bubble:
                continue
            break
        found.append(handler.number)
        handled = level >= WARNING if isinstance(handler, Declining) else True
        if handled and not handler.bubble:
            break
    return found


class Machine(RuleBasedStateMachine):
    """Binds, unbinds and changes at random; after each step every logger tells every level."""

    def __init__(self):
        super().__init__()
        the_default_handler.pop_application()
        self.handlers = []
        self.application = []
        self.contexts = [(Context(), []) for _ in range(3)]
        self.pushes = 0
        self.group = LoggerGroup()
        grouped = Logger("grouped")
        self.group.add_logger(grouped)
        plain = Logger("plain")
        self.loggers = [plain, grouped, plain.bind(field=1), grouped.bind(field=2)]
        self.processed = 0

    def teardown(self):
        for _ in self.application:
            Handler.stack_manager.pop_application()
        the_default_handler.push_application()

    def pick(self, number):
        return self.handlers[number % len(self.handlers)] if self.handlers else None

    @rule(
        kind=st.sampled_from(KINDS),
        level=st.sampled_from(LEVELS),
        filters=st.booleans(),
        bubble=st.booleans(),
    )
    def make(self, kind, level, filters, bubble):
        number = len(self.handlers)
        self.handlers.append(kind(number, level, is_odd_level if filters else None, bubble))

    @rule(number=st.integers(0, 30), where=st.integers(0, 2))
    def push_context(self, number, where):
        handler = self.pick(number)
        if handler is not None:
            context, stack = self.contexts[where]
            context.run(handler.push_context)
            self.pushes += 1
            stack.append((self.pushes, handler))

    @rule(where=st.integers(0, 2))
    def pop_context(self, where):
        context, stack = self.contexts[where]
        if stack:
            _, handler = stack.pop()
            context.run(handler.pop_context)

    @rule(number=st.integers(0, 30))
    def push_application(self, number):
        handler = self.pick(number)
        if handler is not None:
            handler.push_application()
            self.pushes += 1
            self.application.append((self.pushes, handler))

    @rule()
    def pop_application(self):
        if self.application:
            _, handler = self.application.pop()
            handler.pop_application()

    @rule(where=st.integers(0, 2), fields=st.booleans())
    def push_processor(self, where, fields):
        processor = Fields(bound=1) if fields else Processor(lambda record: None)
        self.contexts[where][0].run(processor.push_context)

    @rule(where=st.integers(0, 2))
    def copy_a_context(self, where):
        context, stack = self.contexts[where]
        self.contexts[(where + 1) % 3] = (context.run(copy_context), list(stack))

    @rule(where=st.integers(0, 2))
    def a_context_dies(self, where):
        self.contexts[where] = (Context(), [])

    @rule(number=st.integers(0, 30), level=st.sampled_from(LEVELS))
    def change_level(self, number, level):
        handler = self.pick(number)
        if handler is not None:
            handler.level = level

    @rule(number=st.integers(0, 30), bubble=st.booleans())
    def change_bubble(self, number, bubble):
        handler = self.pick(number)
        if handler is not None:
            handler.bubble = bubble

    @rule(number=st.integers(0, 30), filters=st.booleans())
    def change_filter(self, number, filters):
        handler = self.pick(number)
        if handler is not None:
            handler.filter = is_odd_level if filters else None

    @rule(number=st.integers(0, 3), level=st.sampled_from(LEVELS))
    def change_logger(self, number, level):
        self.loggers[number].level = level

    @rule(number=st.integers(0, 3), disabled=st.booleans())
    def switch_logger(self, number, disabled):
        self.loggers[number].disabled = disabled

    @rule(level=st.sampled_from(LEVELS), disabled=st.booleans(), processes=st.booleans())
    def change_group(self, level, disabled, processes):
        self.group.level = level
        self.group.disabled = disabled
        self.group.processor = (lambda record: None) if processes else None

    @rule(number=st.integers(0, 3), which=st.integers(0, 30))
    def attach(self, number, which):
        handler = self.pick(which)
        if handler is not None and len(self.loggers[number].handlers) < 3:
            self.loggers[number].handlers.append(handler)

    @rule(number=st.integers(0, 3))
    def detach(self, number):
        self.loggers[number].handlers.clear()

    @rule()
    def many_unwanted_calls(self):
        """Enough of them for the gates to rise again."""
        for _ in range(300):
            self.loggers[0].trace("unwanted")

    @invariant()
    def everybody_gets_what_is_theirs(self):
        for context, stack in self.contexts:
            bound = [
                handler
                for _, handler in sorted(
                    [*stack, *self.application], key=lambda entry: entry[0], reverse=True
                )
            ]
            for logger in self.loggers:
                for level in LEVELS:
                    expected = expected_receivers(logger, level, logger.handlers, bound)
                    received.clear()
                    context.run(logger.log, level, "message")
                    assert received == expected, (logger, level)


def test_the_short_way_delivers_to_exactly_those_the_plain_algorithm_names():
    """Whatever was bound, unbound or changed before, nobody gets more or less than is theirs."""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


# -- a line without a record is the line of the record


class ByRecord(StreamHandler):
    """Goes the long way: whoever overrides `emit` gets a record."""

    def emit(self, record):
        super().emit(record)


LAYOUTS = [
    "{record.level_name}: {record.channel}: {record.message}",
    "{record.level:>5}|{record.channel!r}|{record.message!s:>12}",
    "{record.extra[a]}/{record.extra[b]} {record.message} {record.extra[missing]}",
    "{record.func_name}:{record.lineno} {record.filename} {record.message}",
    "{record.thread} {record.thread_name} {record.process} {record.greenlet}\t{record.message}",
    "two lines:\n{record.message}",
    '{{literal}} "quoted" \\ {record.message} ü\u2028',
    "{record.message!a} {record.extra[a]!r}",
    "{record.module} {record.exception_name} {record.message}",
]

values = st.one_of(
    st.text(max_size=8), st.integers(), st.floats(), st.none(), st.booleans(), st.binary(max_size=4)
)


def lines_of(handler_class, formatter, call):
    handler = handler_class(io.StringIO())
    handler.formatter = formatter
    with handler:
        call()
    return handler.stream.getvalue()


def says_the_same(formatter, log, extra, message, args, kwargs):
    def call():
        log.log(WARNING, message, *args, extra=extra, **kwargs)

    assert lines_of(StreamHandler, formatter, call) == lines_of(ByRecord, formatter, call)


keywords = st.dictionaries(st.sampled_from(["a", "b", "msg", "self", "level"]), values, max_size=2)
extras = st.dictionaries(st.sampled_from(["a", "b", "c"]), values, max_size=3)
templates = st.one_of(
    st.text(max_size=20), st.sampled_from(["{}", "{0} {a}", "{a:>8}", "{", "{!r}", "{0.real}", "x"])
)


@settings(max_examples=300, deadline=None)
@given(
    layout=st.sampled_from(LAYOUTS),
    message=st.one_of(templates, st.integers(), st.none(), st.binary(max_size=5)),
    args=st.lists(values, max_size=2),
    kwargs=keywords,
    extra=extras,
    fields=extras,
    bound=extras,
    channel=st.one_of(st.none(), st.text(max_size=5)),
)
def test_a_line_made_without_a_record_is_the_records_line(
    layout, message, args, kwargs, extra, fields, bound, channel
):
    """Whatever is logged, a layout says the same of the call's facts as of a record."""
    log = Logger(channel).bind(**bound)

    with Fields(**fields):
        says_the_same(StringFormatter(layout), log, extra, message, args, kwargs)


@settings(max_examples=200, deadline=None)
@given(message=templates, args=st.lists(values, max_size=2), kwargs=keywords, extra=extras)
def test_a_json_line_made_without_a_record_is_the_records(message, args, kwargs, extra):
    """The same holds of JSON, field by field."""
    fields = ["level", "level_name", "channel", "message", "extra", "filename", "lineno"]
    fields += ["func_name", "process", "thread", "thread_name", "exception_name"]

    says_the_same(JSONFormatter(fields), Logger("shop"), extra, message, args, kwargs)


@pytest.mark.parametrize("layout", [*LAYOUTS, None])
def test_an_exceptions_line_is_the_same_either_way(layout):
    """Traceback, exception name and message are the same with and without a record."""
    log = Logger("shop")
    formatter = JSONFormatter() if layout is None else StringFormatter(layout)
    formatter = JSONFormatter(formatter.fields[1:15]) if layout is None else formatter

    def call():
        try:
            raise ValueError("one\ntwo") from KeyError("x")
        except ValueError:
            log.exception("failed {}", 1)

    assert lines_of(StreamHandler, formatter, call) == lines_of(ByRecord, formatter, call)


@pytest.mark.parametrize("spec", ["%Y-%m-%d %H:%M:%S.%f%z", "%H:%M", "", "%f %f", "%%f"])
@pytest.mark.parametrize("source", ["utc", "local"])
def test_the_time_is_shown_the_same_either_way(spec, source, monkeypatch):
    """The compiled time is what ``format`` makes of the record's time."""
    from sprockets.logbook import _clock, _logger

    set_datetime_format(source)
    monkeypatch.setattr(_logger, "time_ns", lambda: 1_700_000_000_012_345_678)
    monkeypatch.setattr(_clock, "moment", lambda: 1_700_000_000_012_345)
    layout = StringFormatter(f"{{record.time:{spec}}} {{record.message}}")

    def call():
        Logger("shop").warning("x")

    expected = format(_clock.datetime_of(1_700_000_000_012_345), spec)
    assert lines_of(StreamHandler, layout, call) == f"{expected} x\n"
    assert lines_of(ByRecord, layout, call) == f"{expected} x\n"


def test_a_changed_layout_takes_effect_with_the_next_line(stream):
    """Handler, formatter, layout and stream may all be changed while they are in use."""
    log, handler = Logger("shop"), StreamHandler(stream, format_string="1 {record.message}")
    other = io.StringIO()

    with handler.applicationbound():
        log.info("a")
        handler.formatter.format_string = "2 {record.message}"
        log.info("b")
        handler.format_string = "3 {record.message}"
        log.info("c")
        handler.formatter = lambda record, handler: f"4 {record.message}"
        log.info("d")
        handler.formatter = None
        log.info("e")
        handler.stream = other
        log.info("f")

    assert stream.getvalue() == "1 a\n2 b\n3 c\n4 d\ne\n"
    assert other.getvalue() == "f\n"


@pytest.mark.parametrize(
    "name",
    ["write", "flush", "encode", "emit", "format", "handle", "should_handle", "should_flush"],
)
def test_a_method_replaced_on_a_handler_in_use_is_called(name, stream_handler):
    """What is overridden is honoured, on the class or on the object, also afterwards."""
    log, calls = Logger("shop"), []

    def instead(*args):
        calls.append(name)

    with stream_handler.applicationbound():
        log.info("before")
        setattr(stream_handler, name, instead)
        log.info("after")
        delattr(stream_handler, name)
        log.info("again")

    assert calls == [name]
    overriding = type("Overriding", (StreamHandler,), {name: instead})(io.StringIO())
    with overriding:
        log.info("of the class")
    assert calls[1:]


def test_a_gate_rises_again_after_calls_that_nobody_wanted():
    """A handler that wanted everything, once, does not make calls slow for good.

    In a process of its own, where nobody else has a handler bound.
    """
    script = (
        "import sprockets.logbook as lb\n"
        "lb.default_handler.pop_application()\n"
        "log = lb.Logger('shop')\n"
        "with lb.TestHandler('ERROR').applicationbound():\n"
        "    with lb.TestHandler():\n"
        "        low = log._gate\n"
        "    for _ in range(300): log.debug('nobody wants this')\n"
        "    high = log._gate\n"
        "    with lb.TestHandler() as handler: log.debug('wanted')\n"
        "print(low, high, len(handler.records))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout == f"0 {ERROR} 1\n"


def test_gates_are_never_too_high_while_threads_bind_and_log(no_default_handler, make_handler):
    """Threads bind handlers of all levels while others make the gates rise: nothing is lost."""
    log = Logger("shop")

    def work(level):
        for number in range(400):
            with make_handler(level) as handler:
                log.log(level, "{}", number)
                log.log(level - 1, "too low")
            if handler.messages != [str(number)]:
                lost.append((level, number))

    lost = []
    threads = [threading.Thread(target=work, args=(level,)) for level in LEVELS[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert lost == []


def test_an_extra_that_is_no_mapping_does_no_harm_on_the_short_way(stream):
    """It is kept under a name of its own, with and without bound fields."""
    log = Logger("shop")
    with StreamHandler(stream, format_string="{record.extra[extra]} {record.message}"):
        log.info("x", extra=5)
        log.bind(a=1).info("y", extra=6)

    assert stream.getvalue() == "5 x\n6 y\n"


def test_levels_of_ones_own_making_are_not_all_remembered(make_handler):
    """A program that counts its levels does not fill the memory."""
    log = Logger("shop")
    with make_handler() as handler:
        for level in range(2_000):
            log.log(level, "x")
        assert len(_context.current_node().routes) <= 300

    assert len(handler.messages) == 2_000


def test_threads_that_change_the_application_leave_no_stale_routes(
    no_default_handler, make_handler
):
    """While some push and pop, others log; afterwards everybody gets what is theirs."""
    log = Logger("shop")
    stopped = threading.Event()

    def log_on():
        while not stopped.is_set():
            log.warning("x")

    threads = [threading.Thread(target=log_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    lost = 0
    for _ in range(300):
        with make_handler().applicationbound() as handler:
            log.warning("mine")
            lost += "mine" not in handler.messages
    stopped.set()
    for thread in threads:
        thread.join()

    assert lost == 0


def test_a_report_that_comes_back_as_a_record_ends(monkeypatch):
    """Standard error sent to a logger whose handler fails: one report, counted, no recursion."""
    log = Logger("shop")

    class Back:
        def write(self, text):
            log.error(text)

        def flush(self):
            pass

    class Failing(Handler):
        def emit(self, record):
            calls.append(1)
            raise ValueError("full")

    calls = []
    monkeypatch.setattr("sys.stderr", Back())
    with Failing():
        log.error("x")

    assert len(calls) == 2
