"""From stdlib logging into the stacks: what the bridge owes where it is hard."""

import collections
import contextlib
import enum
import io
import logging
import logging.handlers
import os
import pickle
import queue
import re
import signal
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import (
    ERROR,
    WARNING,
    Flags,
    Handler,
    Logger,
    LogRecord,
    NullHandler,
    Processor,
    StreamHandler,
    TestHandler,
    set_datetime_format,
    statistics,
)
from sprockets.logbook.compat import (
    LoggingCompatRecord,
    RedirectLoggingHandler,
    redirect_logging,
    redirected_logging,
)

stdlib = logging.getLogger("old.system")


@pytest.fixture(autouse=True)
def _root_as_it_was():
    # Pytest's own handlers come and go with the phases of a test.
    root = logging.getLogger()
    level = root.level
    yield
    assert not [one for one in root.handlers if isinstance(one, RedirectLoggingHandler)]
    assert root.level == level


@pytest.fixture(name="redirected")
def _redirected():
    with TestHandler() as handler, redirected_logging():
        yield handler
    handler.close()


def converted(msg, args=(), handler=None, **facts):
    """The record of the stacks for a stdlib record made of *facts*."""
    old = logging.LogRecord("x", 20, "f.py", 1, msg, (), None)
    old.args = args
    old.__dict__.update(facts)
    return (handler or RedirectLoggingHandler()).convert_record(old)


# -- installing


@pytest.mark.rule("CL-1")
def test_there_is_no_moment_without_a_handler(monkeypatch):
    """While handlers are exchanged, a record of another thread finds one: the new before the old."""
    root = logging.getLogger()
    least = []
    remove = root.removeHandler
    monkeypatch.setattr(
        root, "removeHandler", lambda handler: (remove(handler), least.append(len(root.handlers)))
    )

    with redirected_logging():
        pass

    assert least
    assert min(least) >= 1


@pytest.mark.rule("CL-3", "CL-5")
def test_redirections_that_end_in_the_wrong_order_put_everything_back():
    """The one that ends last restores what was there before the first."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    first, second, third = redirected_logging(), redirected_logging(False), redirected_logging()
    first.start()
    second.start()
    third.start()

    with TestHandler() as handler:
        second.end()
        stdlib.info("a")
        first.end()
        stdlib.info("b")
        third.end()

    assert [record.message for record in handler.records] == ["a", "b"]
    assert (root.handlers, root.level) == (handlers, level)
    handler.close()


@pytest.mark.rule("CL-3")
def test_the_end_restores_the_handlers_in_their_order():
    """Also what was added meanwhile is gone, and what was taken off meanwhile is back."""
    root = logging.getLogger()
    before, first, second = list(root.handlers), logging.NullHandler(), logging.NullHandler()
    root.addHandler(first)
    root.addHandler(second)

    with redirected_logging():
        root.addHandler(logging.NullHandler())
        root.removeHandler(first)

    assert root.handlers == [*before, first, second]
    root.removeHandler(first)
    root.removeHandler(second)


@pytest.mark.rule("CL-5")
def test_early_made_redirections_remember_what_is_there_when_they_start():
    """The state is that of the start; a redirection that never started restores nothing."""
    root = logging.getLogger()
    early, level = redirected_logging(), root.level
    root.setLevel(logging.CRITICAL)
    with early:
        assert early.old_level == logging.CRITICAL
        assert root.level == logging.DEBUG
    assert root.level == logging.CRITICAL
    root.setLevel(level)

    redirected_logging().end(ValueError, ValueError(), None)


def test_importing_records_does_not_import_stdlib_logging():
    """The bridge does; the package itself has no need."""
    script = "import sys, sprockets.logbook; print('logging' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "False\n"


# -- messages


class Words(enum.StrEnum):
    FORMAT = "%s"


class Shouting(str):
    def __str__(self):
        return self.upper() + "%s"


class Odd(collections.abc.Mapping):
    """A mapping with an answer for everything."""

    def __getitem__(self, key):
        return f"<{key}>"

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 1


Point = collections.namedtuple("Point", "x y")

MESSAGES = [
    ("%s", ["a"]),
    ("no field", ["a"]),
    ("no field", "a"),
    ("%s", "a"),
    ("%s", 0),
    ("%d", 5),
    ("%s", {}),
    ("%s", []),
    ("%(a)s", {"a": 1}),
    ("%(a)s", collections.defaultdict(lambda: "missing", b=1)),
    ("%(a)s %(b)s", collections.ChainMap({"a": 1}, {"b": 2})),
    ("%(anything)s", Odd()),
    ("no field", Odd()),
    ("%(a)s", ({"a": 1},)),
    ("%s", ({"a": 1},)),
    ("no field", ({"a": 1},)),
    ("%s %s", Point(1, 2)),
    ("%(1)s", {1: 2, "1": 3}),
    ("%s", {1: 2}),
    (Words.FORMAT, ("a",)),
    (Words.FORMAT, ()),
    (Shouting("x"), ("a",)),
    (Shouting("x"), ()),
    (b"x", ("a",)),
    (None, ()),
    (Exception("%s"), ("a",)),
    ("%(msg)s %(args)s %(kwargs)s %(self)s", {"msg": 1, "args": 2, "kwargs": 3, "self": 4}),
    ("%", ()),
    ("%", ("a",)),
    ("%q", ("a",)),
    ("%5000d", ()),
    ("%*d", (5, 3)),
    ("%.*f", (2, 3.14159)),
    ("%-10s|%+d|% d|%#x|%05d|%c|%%", ("a", 1, 2, 255, 3, "z")),
    ("%5ld", (7,)),
    ("%(a(b)c)s", {"a(b)c": 1}),
]


def assert_equals_stdlib(msg, args):
    old = logging.LogRecord("x", 20, "f.py", 1, msg, (), None)
    old.args = args
    new = RedirectLoggingHandler().convert_record(old)
    try:
        expected = old.getMessage()
    except Exception as error:
        # The text of the error goes along.
        with pytest.raises(TypeError, match=re.escape(str(error))):
            _ = new.message
    else:
        assert new.message == expected
        assert type(new.message) is str


@pytest.mark.rule("CL-10")
@pytest.mark.parametrize(("msg", "args"), MESSAGES)
def test_a_message_is_what_stdlib_makes_of_whatever_stands_for_arguments(msg, args):
    """Lists, texts, numbers, mappings with defaults, a mapping in a tuple: the same or both raise."""
    assert_equals_stdlib(msg, args)


@pytest.mark.rule("CL-10")
@pytest.mark.parametrize(("msg", "args"), [("%%5000d %s", (1,)), ("pid %*d", (5, 123_456))])
def test_large_numbers_are_refused_only_as_widths(msg, args):
    """After an escaped percent sign, or as the value beside a star, a number is just a number."""
    assert_equals_stdlib(msg, args)


_VALUES = st.one_of(
    st.text(max_size=3), st.integers(-999, 999), st.floats(), st.none(), st.binary(max_size=2)
)
_TEMPLATES = st.lists(
    st.one_of(
        st.sampled_from(
            ["%s", "%d", "%r", "%x", "%5.1f", "%%", "%(a)s", "%(b)d", "%*d", "%", "%c"]
        ),
        st.text(st.sampled_from("ab {}%()"), max_size=3),
    ),
    max_size=4,
).map("".join)


@pytest.mark.rule("CL-10")
@settings(max_examples=300, deadline=None)
@given(
    msg=_TEMPLATES | st.integers() | st.binary(max_size=4),
    args=st.one_of(
        st.lists(_VALUES, max_size=3).map(tuple),
        st.lists(_VALUES, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", 1]), _VALUES, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", 1]), _VALUES, max_size=3).map(lambda d: (d,)),
        _VALUES,
    ),
)
def test_random_messages_equal_those_of_stdlib(msg, args):
    """`message` and `getMessage()` agree, or both raise, for any template and any operand."""
    assert_equals_stdlib(msg, args)


@pytest.mark.rule("CL-9")
def test_a_mapping_is_shown_as_keywords():
    """Template and arguments stay apart; what is no keyword stays an argument."""
    plain = converted("%(a)s", {"a": 1})
    odd = converted("%(a)s", {"a": 1, 2: 3})
    several = converted("%s %s", ("a", "b"))

    assert (plain.msg, plain.args, plain.kwargs) == ("%(a)s", (), {"a": 1})
    assert (odd.args, odd.kwargs, odd.message) == (({"a": 1, 2: 3},), {}, "1")
    assert (several.args, several.kwargs) == (("a", "b"), {})


@pytest.mark.rule("CL-9", "CL-10")
def test_a_subclass_may_format_with_other_arguments():
    """What it passes on counts, even where the record knows the operand better."""

    class Masking(LoggingCompatRecord):
        def _format_message(self, msg, /, *args, **kwargs):
            return super()._format_message(msg + "!", *["***" for _ in args], **kwargs)

    class Handler_(RedirectLoggingHandler):
        def convert_record(self, old_record):
            record = super().convert_record(old_record)
            record.__class__ = Masking
            return record

    assert converted("%s", ["secret"], Handler_()).message == "***!"
    assert converted("%s", ("secret",), Handler_()).message == "***!"


@pytest.mark.rule("CL-11")
def test_a_message_that_does_not_fit_is_told_in_five_lines():
    """With the place that stdlib logging found."""
    with TestHandler() as handler, redirected_logging():
        line = sys._getframe().f_lineno + 1
        stdlib.error("%d of %d", "x")
    with pytest.raises(TypeError) as caught:
        _ = handler.records[0].message
    handler.close()

    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("Could not format message with provided arguments: %d format")
    assert lines[1:4] == ["  msg='%d of %d'", "  args=('x',) ", "  kwargs={}."]
    assert lines[4] == f"Happened in file {__file__}, line {line}"


@pytest.mark.rule("CL-10")
@pytest.mark.parametrize(
    ("msg", "args"),
    [("%1001d", (1,)), ("%*d", (10**9, 1)), ("%.99999f", (1.0,)), ("%(a(b))99999s", {"a(b)": 1})],
)
def test_a_width_that_would_eat_the_memory_is_refused(msg, args):
    """The one place where the text is not stdlib's: it is written raw instead."""
    with pytest.raises(TypeError, match="1000|1,000"):
        _ = converted(msg, args).message


def test_a_record_survives_pickling():
    """Message, place and class; whatever operand it had."""
    record = converted("%(a)s", Odd(), process=7, threadName="there")
    record.heavy_init()
    again = pickle.loads(pickle.dumps(converted("%s", ["b"])))

    assert (again.message, type(again), again.filename[-4:]) == (
        "['b']",
        LoggingCompatRecord,
        "f.py",
    )
    assert record.message == "<a>"


# -- facts


@pytest.mark.rule("CL-15")
@pytest.mark.parametrize("pathname", ["<stdin>", "<frozen importlib>"])
def test_code_without_a_file_keeps_its_name(pathname):
    """No directory is put before it; a relative path becomes absolute."""
    assert converted("x", pathname=pathname).filename == pathname
    assert converted("x", pathname="relative.py").filename == os.path.abspath("relative.py")


@pytest.mark.rule("CL-14", "CL-15")
@pytest.mark.parametrize("srcfile", [None, "kept"])
def test_the_place_is_the_call_however_stdlib_looked_for_it(redirected, monkeypatch, srcfile):
    """Also where stdlib logging was told not to look."""
    if srcfile is None:
        monkeypatch.setattr(logging, "_srcfile", None)
    line = sys._getframe().f_lineno + 1
    stdlib.info("x")
    record = redirected.records[0]

    assert (record.filename, record.lineno) == (__file__, line)
    assert record.func_name == "test_the_place_is_the_call_however_stdlib_looked_for_it"


@pytest.mark.rule("CL-14")
def test_subclasses_of_the_bridge_are_no_callers(monkeypatch):
    """Overrides stand between the call and the bridge, and are skipped."""

    class Mine(RedirectLoggingHandler):
        def emit(self, record):
            super().emit(record)

        def convert_record(self, old_record):
            return super().convert_record(old_record)

    monkeypatch.setattr(logging, "_srcfile", None)
    logger = logging.Logger("mine")
    logger.addHandler(Mine())
    with TestHandler() as handler:
        line = sys._getframe().f_lineno + 1
        logger.warning("x")

    assert (handler.records[0].lineno, handler.records[0].calling_frame) == (line, sys._getframe())
    handler.close()


@pytest.mark.rule("CL-15")
def test_process_and_thread_are_those_of_the_origin(redirected):
    """Whoever brings a record here is not who made it."""
    old = logging.makeLogRecord(
        {
            "name": "far", "levelno": 30, "levelname": "WARNING", "msg": "x", "pathname": "/there.py",
            "lineno": 7, "funcName": "f", "module": "there", "process": 1, "processName": "P",
            "thread": 2, "threadName": "T",
        }
    )  # fmt: skip
    logging.getLogger().handle(old)
    record = redirected.records[0]

    assert (record.process, record.process_name, record.thread, record.thread_name) == (
        1, "P", 2, "T",
    )  # fmt: skip
    assert (record.filename, record.lineno, record.func_name, record.module) == (
        "/there.py", 7, "f", "there",
    )  # fmt: skip


@pytest.mark.rule("CL-12", "CL-15")
def test_a_record_that_came_through_a_queue_is_whole():
    """A QueueListener's thread delivers it; time, thread and place are those of the call."""
    records = queue.SimpleQueue()
    logger = logging.Logger("queued")
    logger.addHandler(logging.handlers.QueueHandler(records))
    listener = logging.handlers.QueueListener(records, RedirectLoggingHandler())
    with TestHandler().applicationbound() as handler:
        listener.start()
        before = datetime.now(UTC).replace(tzinfo=None)
        line = sys._getframe().f_lineno + 1
        logger.error("%s", "x", extra={"k": 1})
        after = datetime.now(UTC).replace(tzinfo=None)
        listener.stop()
    (record,) = handler.records

    assert (record.message, record.level, record.extra) == ("x", ERROR, {"k": 1})
    assert (record.filename, record.lineno) == (__file__, line)
    assert record.thread == threading.get_ident()
    assert before <= record.time <= after
    handler.close()


@pytest.mark.rule("CL-12")
def test_exceptions_come_along_in_any_form(redirected):
    """As an instance, as what is being handled, as text from elsewhere, or not at all."""
    error = ValueError("v")
    stdlib.error("a", exc_info=error)
    stdlib.error("b", exc_info=True)
    old = logging.makeLogRecord({"msg": "c", "levelno": 40, "exc_text": "Traceback of elsewhere"})
    logging.getLogger().handle(old)
    first, second, third = redirected.records

    assert (first.exception_name, first.exception_message) == ("builtins.ValueError", "v")
    assert (second.exception_name, second.formatted_exception) == (None, None)
    assert third.formatted_exception == "Traceback of elsewhere"


@pytest.mark.rule("CL-13")
def test_nothing_of_a_record_that_others_have_formatted_leaks_into_extra(redirected):
    """A formatter of stdlib logging leaves `message`, `asctime` and `exc_text` on it."""
    old = logging.LogRecord("x", 30, "f.py", 1, "m", (), None)
    logging.Formatter("%(asctime)s %(message)s").format(old)
    old.taskName = "Task-1"
    logging.getLogger().handle(old)

    assert redirected.records[0].extra == {}


@pytest.mark.rule("CL-13")
def test_find_extra_may_be_overridden():
    """What it returns is what the record carries."""

    class Mine(RedirectLoggingHandler):
        def find_extra(self, old_record):
            return super().find_extra(old_record) | {"levelname": old_record.levelname}

        def convert_level(self, level):
            return WARNING

        def find_caller(self, old_record):
            return None

        def convert_time(self, timestamp):
            return datetime(2000, 1, 1)

    record = converted("x", handler=Mine(), k=1)

    assert (record.extra, record.level) == ({"k": 1, "levelname": "INFO"}, WARNING)
    assert (record.time, record.moment) == (datetime(2000, 1, 1), 946_684_800_000_000)


@pytest.mark.rule("CL-16", "CL-17")
def test_the_time_of_the_call_survives(redirected, monkeypatch):
    """To the microsecond, in whatever form records show time, without asking its source each time."""
    asked = []

    def now():
        asked.append(1)
        return datetime.now(UTC)

    old = {"levelno": 20, "created": 1_700_000_000.123456}
    logging.getLogger().handle(logging.makeLogRecord(old))
    set_datetime_format(now)
    count = len(asked)
    for _ in range(3):
        logging.getLogger().handle(logging.makeLogRecord(old))
    set_datetime_format("utc")
    first, *others = redirected.records

    assert first.time == datetime(2023, 11, 14, 22, 13, 20, 123456)
    assert {other.time for other in others} == {first.time.replace(tzinfo=UTC)}
    assert {record.moment for record in redirected.records} == {1_700_000_000_123_456}
    assert len(asked) <= count + 1


@pytest.mark.rule("CL-16")
def test_a_source_of_time_that_fails_does_not_cost_the_record(redirected):
    """The stdlib record brings its own time."""
    answers = iter([datetime.now(UTC)])
    set_datetime_format(lambda: next(answers))
    stdlib.info("x")
    set_datetime_format("utc")

    assert redirected.records[0].time.tzinfo is None


@given(st.floats(0, 4_000_000_000))
@pytest.mark.rule("CL-16")
def test_any_time_comes_over_to_the_microsecond(timestamp):
    """Read as UTC it is the timestamp, rounded."""
    time = RedirectLoggingHandler().convert_time(timestamp)

    assert abs(time.replace(tzinfo=UTC).timestamp() - timestamp) < 1e-6


@pytest.mark.rule("CL-7")
def test_a_level_between_the_names_reaches_who_wants_it(redirected):
    """A custom level is logged at the named one below it."""
    stdlib.log(35, "between")

    assert redirected.records[0].level_name == "WARNING"


# -- who hears it


@pytest.mark.rule("CL-18")
def test_what_nobody_wants_is_not_converted(monkeypatch):
    """A redirected debug message costs little where nobody wants it."""
    monkeypatch.setattr(LogRecord, "__init__", None)
    with NullHandler(), redirected_logging():
        stdlib.error("x")
    with NullHandler(), TestHandler(level="ERROR"), redirected_logging():
        stdlib.debug("x")


@pytest.mark.rule("CL-8")
def test_processors_and_filters_of_the_context_see_it(redirected):
    """The record is like any other on its way, and closed at the end unless somebody keeps it."""
    seen = []

    class Looking(Handler):
        def emit(self, record):
            seen.append(record)

    with Looking(bubble=False), Processor(lambda record: record.extra.update(k=1)):
        try:
            raise ValueError
        except ValueError:
            stdlib.exception("x")
    (record,) = seen

    assert (record.extra["k"], record.dispatcher) == (1, None)
    assert (record.late, record.frame, record.exc_info) == (True, None, None)


class Failing(Handler):
    def emit(self, record):
        raise OSError("full")


@pytest.mark.rule("CL-18")
@pytest.mark.parametrize("step", ["convert_level", "find_extra", "find_caller", "convert_record"])
def test_a_failing_override_does_not_reach_the_stdlib_call(step):
    """It is counted and reported; only the flag lets it out."""

    class Broken(RedirectLoggingHandler):
        pass

    def fail(*_):
        raise KeyError("broken")

    setattr(Broken, step, fail)
    logger = logging.Logger("broken")
    logger.addHandler(Broken())
    with TestHandler(), Flags(errors="silent"):
        before = statistics()["failed"]
        logger.error("x")
        assert statistics()["failed"] == before + 1
    with TestHandler(), Flags(errors="raise"), pytest.raises(KeyError, match="broken"):
        logger.error("x")


@pytest.mark.rule("CL-18")
@pytest.mark.parametrize("raises", [True, False])
def test_stdlib_has_no_say_in_what_happens_to_failures(monkeypatch, raises):
    """`logging.raiseExceptions` plays no role, either way."""
    monkeypatch.setattr(logging, "raiseExceptions", raises)
    with Failing(), redirected_logging():
        with Flags(errors="silent"):
            stdlib.error("x")
        with Flags(errors="raise"), pytest.raises(OSError, match="full"):
            stdlib.error("x")


@pytest.mark.rule("CL-19")
def test_what_a_handler_logs_through_stdlib_comes_back(redirected):
    """It is another record, with a way of its own; protection is the handler's business."""

    class Chatting(Handler):
        def emit(self, record):
            if record.channel != "library":
                logging.getLogger("library").info("connecting")

    with Chatting(bubble=True):
        stdlib.error("x")

    assert [record.channel for record in redirected.records] == ["library", "old.system"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="filters answer yes or no before 3.12")
def test_a_filter_may_put_another_record_in_place(redirected):
    """What the filter of the handler returns is what is redirected."""
    handler = RedirectLoggingHandler()
    handler.addFilter(lambda record: logging.makeLogRecord(record.__dict__ | {"msg": "replaced"}))
    logger = logging.Logger("filtering")
    logger.addHandler(handler)
    logger.warning("x")

    assert redirected.records[0].message == "replaced"


# -- locks


def test_it_has_no_lock():
    """Two threads may be in it at once, and none is ever held at a fork."""
    inside = threading.Barrier(2, timeout=10)

    class Meeting(Handler):
        def emit(self, record):
            inside.wait()

    with Meeting().applicationbound(), redirected_logging():
        threads = [threading.Thread(target=stdlib.error, args=("x",)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)

    assert not inside.broken
    handler = RedirectLoggingHandler()
    handler.acquire()
    handler.release()
    handler.close()


def run_script(text, *, seconds=60):
    return subprocess.run(
        [sys.executable, "-P", "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_no_child_hangs_that_was_forked_while_threads_log(tmp_path):
    """Fifty forks in the middle of two threads' redirected calls; each child writes its record."""
    path = tmp_path / "log"
    done = run_script(
        f"""
        import logging, os, signal, threading, time
        from sprockets.logbook import FileHandler
        from sprockets.logbook.compat import redirect_logging

        FileHandler({str(path)!r}, format_string="{{record.message}}").push_application()
        redirect_logging()
        log = logging.getLogger("forking")
        stopped = threading.Event()

        def work():
            while not stopped.is_set():
                log.warning("thread %s", "x" * 100)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        hung = 0
        for number in range(50):
            pid = os.fork()
            if not pid:
                log.warning("child %d end", number)
                os._exit(0)
            deadline = time.monotonic() + 5
            while not os.waitpid(pid, os.WNOHANG)[0]:
                if time.monotonic() > deadline:
                    hung += 1
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    break
                time.sleep(0.001)
        stopped.set()
        for thread in threads:
            thread.join(10)
        print(hung)
        """,
        seconds=300,
    )

    assert (done.stdout, done.stderr) == ("0\n", "")
    lines = path.read_text().splitlines()
    assert {line for line in lines if line.startswith("child")} == {
        f"child {number} end" for number in range(50)
    }
    assert {line for line in lines if not line.startswith("child")} == {"thread " + "x" * 100}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers")
def test_a_signal_handler_may_log_while_the_main_thread_does(tmp_path):
    """Neither waits for the other, and no line is torn or lost."""
    path = tmp_path / "log"
    done = run_script(
        f"""
        import logging, signal
        from sprockets.logbook import FileHandler
        from sprockets.logbook.compat import redirect_logging

        handler = FileHandler({str(path)!r}, format_string="{{record.message}}")
        handler.push_application()
        redirect_logging()
        log = logging.getLogger("signals")
        count = 0

        def on_alarm(number, frame):
            global count
            count += 1
            log.warning("signal %d end", count)

        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        written = 0
        while count < 200:
            log.warning("main %d end", written)
            written += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        handler.close()
        print(count, written)
        """
    )

    assert done.stderr == ""
    count, written = map(int, done.stdout.split())
    lines = path.read_text().splitlines()
    assert {line for line in lines if line.startswith("signal")} == {
        f"signal {number} end" for number in range(1, count + 1)
    }
    assert [line for line in lines if line.startswith("main")] == [
        f"main {number} end" for number in range(written)
    ]
    assert len(lines) == count + written


def test_redirecting_for_good_stands_the_interpreter_s_end():
    """`logging.shutdown()` meets a handler without a lock, and a record at exit still arrives."""
    done = run_script(
        """
        import atexit, logging
        from sprockets.logbook.compat import redirect_logging
        redirect_logging()
        atexit.register(logging.getLogger("end").error, "the last word")
        """
    )

    assert "the last word" in done.stderr
    assert "Traceback" not in done.stderr


def test_redirect_logging_is_what_the_block_uses():
    """Both put the same kind of handler there."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [root.addHandler(handler) for handler in handlers])
        stack.callback(lambda: root.removeHandler(root.handlers[0]))
        stack.callback(root.setLevel, level)
        redirect_logging()
        assert [type(handler) for handler in root.handlers] == [RedirectLoggingHandler]
        with TestHandler() as handler:
            Logger("x").info("a")
            stdlib.info("b")
    assert [record.message for record in handler.records] == ["a", "b"]
    handler.close()


# -- the short way


class LongWay(RedirectLoggingHandler):
    """Converts every record, since an override might have something to add."""

    def convert_record(self, old_record):
        return super().convert_record(old_record)


def facts(msg, args=(), **others):
    return {
        "name": "x", "levelno": 30, "msg": msg, "args": args, "created": 1_700_000_000.123456,
        "pathname": "/f.py", "lineno": 1, "funcName": "f", "module": "f", **others,
    }  # fmt: skip


def raised():
    try:
        raise ValueError("line\nbreak")
    except ValueError:
        return sys.exc_info()


@pytest.mark.parametrize(
    "old",
    [
        *(facts(*message) for message in MESSAGES),
        facts("a\nb\x1b[0m"),
        facts("x" * 100_000),
        facts("%s", ("x" * 100_000,)),
        facts("%5000d", (1,)),
        facts("x", user="ann"),
        facts("x", stack_info="Stack (most recent call last):"),
        facts("x", exc_info=raised()),
        facts("x", exc_info=(None, None, None)),
        facts("x", exc_text="Traceback of elsewhere"),
        facts("x", exc_text="cached", exc_info=raised()),
        facts("x", thread=1),
        facts("x", threadName="other"),
        facts("x", process=1),
        facts("x", levelno=None),
        facts("x", levelno=60),
        facts("x", name=None),
    ],
)
@pytest.mark.parametrize(
    "layout",
    [
        "{record.time} {record.level_name} {record.channel} {record.message} {record.extra}",
        "{record.message} {record.extra[user]} {record.thread_name} {record.process} {record.thread}",
        "{record.level} {record.filename}:{record.lineno} {record.func_name}: {record.message}",
    ],
)
def test_the_short_way_writes_the_same_line(old, layout):
    """Without conversion or with it, nobody can tell from what comes out."""
    lines = []
    for handler in (RedirectLoggingHandler(), LongWay()):
        stream = io.StringIO()
        with StreamHandler(stream, format_string=layout):
            handler.handle(logging.makeLogRecord(old))
        lines.append(stream.getvalue())

    assert lines[0] == lines[1] != ""


def test_the_short_way_is_taken(monkeypatch):
    """A plain record for a handler that writes lines is not converted; others are."""
    converted_ones = []
    monkeypatch.setattr(
        RedirectLoggingHandler, "find_caller", lambda self, old: converted_ones.append(old.msg)
    )
    monkeypatch.setattr(
        RedirectLoggingHandler,
        "_is_standard",
        lambda self: True,
    )
    with StreamHandler(io.StringIO()), redirected_logging():
        stdlib.info("short")
        with Processor(lambda record: None):
            stdlib.info("processed")
        with TestHandler(bubble=True):
            stdlib.info("kept")

    assert converted_ones == ["processed", "kept"]


@pytest.mark.rule("CL-18")
def test_a_stream_that_fails_on_the_short_way_is_reported(capsys):
    """With the place of the call; the flag lets it out, and nothing is written twice."""

    class Full(io.StringIO):
        def write(self, text):
            written.append(text)
            raise OSError("full")

    written = []
    with StreamHandler(Full()), redirected_logging():
        line = sys._getframe().f_lineno + 1
        stdlib.error("x")
        with Flags(errors="raise"), pytest.raises(OSError, match="full"):
            stdlib.error("y")

    error = capsys.readouterr().err
    assert f"Logged from file {__file__}, line {line}" in error
    assert error.count("OSError: full") == 1
    assert len(written) == 2
