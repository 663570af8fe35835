"""Handlers that write lines: to streams, to standard error, to files."""

import gc
import io
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import (
    FileHandler,
    Flags,
    JSONFormatter,
    Logger,
    LogRecord,
    MonitoringFileHandler,
    StderrHandler,
    StreamHandler,
    default_handler,
    statistics,
)

log = Logger("testlogger")
PLAIN = "{record.message}"
LEVELLED = "{record.level_name}:{record.channel}:{record.message}"


class NotingLock:
    """A lock that notes what is done with it, and has no more than it must."""

    def __init__(self, calls):
        self.calls = calls

    def acquire(self):
        self.calls.append("acquire")

    def release(self):
        self.calls.append("release")


class NotingStream(StreamHandler):
    """Notes the steps of writing."""

    def __init__(self, calls, **options):
        super().__init__(io.StringIO(), format_string=PLAIN, **options)
        self.calls = calls

    def format(self, record):
        self.calls.append("format")
        return super().format(record)

    def ensure_stream_is_open(self):
        self.calls.append("open")

    def encode(self, msg):
        self.calls.append("encode")
        return super().encode(msg)

    def write(self, item):
        self.calls.append(item)
        super().write(item)

    def should_flush(self):
        self.calls.append("should")
        return True

    def flush(self):
        self.calls.append("flush")
        super().flush()


# -- streams


@pytest.mark.rule("SH-1", "SH-3", "D-12")
def test_a_record_is_formatted_outside_the_lock_and_written_inside():
    """Format; then under the lock: open, encode, one write, flush."""
    calls = []
    handler = NotingStream(calls)
    handler.lock = NotingLock(calls)
    with handler.applicationbound():
        log.info("x")

    assert calls == ["format", "acquire", "open", "encode", "x\n", "should", "flush", "release"]
    assert handler.format_and_encode(LogRecord("c", 11, "y")) == "y\n"


@pytest.mark.rule("SH-2", "X-25", "P-H9")
@pytest.mark.parametrize(
    "handler_class", [StreamHandler, type("Sub", (StreamHandler,), {"emit": StreamHandler.emit})]
)
def test_a_replaced_lock_is_used_by_its_two_methods(handler_class, stream):
    """Also on the way without a record; it is given back when writing fails."""
    calls = []
    handler = handler_class(stream, format_string=PLAIN)
    with handler.applicationbound():
        log.info("before")
        handler.lock = NotingLock(calls)
        log.info("x")
        stream.close()
        with Flags(errors="silent"):
            log.info("y")

    assert calls == ["acquire", "release"] * 2


@pytest.mark.rule("SH-2", "RD-15", "X-25")
def test_an_argument_that_logs_does_no_harm(stream):
    """Its line comes first, since the other is not finished."""

    class Talking:
        def __str__(self):
            log.info("inner")
            return "argument"

    with StreamHandler(stream, format_string=PLAIN):
        log.info("{}", Talking())

    assert stream.getvalue() == "inner\nargument\n"


def test_a_line_that_comes_while_another_is_written_is_written_after_it():
    """A stream, or a finaliser, that logs in the middle of a write does not tear the line."""

    class Talking(io.StringIO):
        def write(self, text):
            if text.startswith("outer"):
                log.info("nested {}", text.strip())
            return super().write(text)

    for handler_class in (
        StreamHandler,
        type("Sub", (StreamHandler,), {"emit": StreamHandler.emit}),
    ):
        stream = Talking()
        with handler_class(stream, format_string=PLAIN).applicationbound():
            log.info("outer")
            log.info("after")
        assert stream.getvalue() == "outer\nnested outer\nafter\n"


@pytest.mark.rule("SH-4", "SH-5", "X-26")
def test_closing_flushes_and_leaves_the_stream_open():
    """``with`` unbinds first and closes then, also if closing fails; the handler can be used again."""

    class Failing(StreamHandler):
        def close(self):
            raise OSError("cannot flush")

    stream = io.StringIO()
    handler = StreamHandler(stream, format_string=PLAIN)
    for message in "ab":
        with handler:
            log.info(message)
    assert stream.getvalue() == "a\nb\n"
    assert not stream.closed
    before = list(Failing.stack_manager.iter_context_objects())
    failing = Failing(stream)
    with pytest.raises(OSError, match="cannot flush"), failing:
        pass
    assert list(Failing.stack_manager.iter_context_objects()) == before
    StreamHandler(object()).flush()
    Failing.close = StreamHandler.close


@pytest.mark.rule("SH-6", "X-27", "D-13")
@pytest.mark.parametrize(
    ("encoding", "expected"), [(None, "ü☃\n".encode()), ("latin-1", b"\xfc?\n"), ("ascii", b"??\n")]
)
def test_a_binary_stream_gets_bytes(encoding, expected, tmp_path):
    """In the encoding asked for; what it lacks is replaced."""
    memory = io.BytesIO()
    with StreamHandler(memory, format_string=PLAIN, encoding=encoding):
        log.info("ü☃")
    with (
        open(tmp_path / "file", "wb") as file,
        StreamHandler(file, format_string=PLAIN, encoding=encoding),
    ):
        log.info("ü☃")

    assert memory.getvalue() == (tmp_path / "file").read_bytes() == expected


@pytest.mark.rule("SH-6")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_binary_stream_has_one_byte_order_mark(encoding, tmp_path):
    """At its beginning, whoever writes to it; a pipe begins where the handler does."""
    memory = io.BytesIO()
    for _ in range(2):
        with StreamHandler(memory, format_string=PLAIN, encoding=encoding):
            log.info("ü")
            log.info("é")
    reading, writing = os.pipe()
    with (
        open(writing, "wb", buffering=0) as pipe,
        StreamHandler(pipe, format_string=PLAIN, encoding=encoding),
    ):
        log.info("ü")
        log.info("é")
    with open(reading, "rb") as other_end:
        piped = other_end.read()

    assert memory.getvalue().decode(encoding) == "ü\né\n" * 2
    assert piped.decode(encoding) == "ü\né\n"


@pytest.mark.rule("SH-6")
def test_anything_that_takes_text_is_a_text_stream():
    """A duck with ``write`` is enough."""

    class Duck:
        def __init__(self):
            self.lines = []

        def write(self, text):
            self.lines.append(text)

    duck = Duck()
    with StreamHandler(duck, format_string=PLAIN):
        log.info("x")

    assert duck.lines == ["x\n"]


@pytest.mark.rule("SH-7")
def test_what_a_text_stream_cannot_encode_is_escaped():
    """An ASCII console shows where the character was; nothing is lost."""
    memory = io.BytesIO()
    handler = StreamHandler(io.TextIOWrapper(memory, "ascii"), format_string=PLAIN)
    with handler:
        log.info("ü☃ ok")

    assert memory.getvalue() == b"\\xfc\\u2603 ok\n"


@pytest.mark.rule("SH-8")
def test_a_closed_stream_is_the_handlers_error(stream, capsys):
    """Reported with the place of the call, and the application goes on."""
    with StreamHandler(stream).applicationbound():
        stream.close()
        log.info("x")

    error = capsys.readouterr().err
    assert "ValueError: I/O operation on closed file" in error
    assert f"Logged from file {__file__}, line " in error
    stream.close = lambda: None


@pytest.mark.rule("SH-9")
def test_standard_error_is_looked_up_each_time(monkeypatch):
    """Replacing it redirects the handler."""
    first, second = io.StringIO(), io.StringIO()
    handler = StderrHandler(format_string=PLAIN)
    with handler.applicationbound():
        monkeypatch.setattr("sys.stderr", first)
        log.info("a")
        monkeypatch.setattr("sys.stderr", second)
        log.info("b")
        assert handler.stream is second
    monkeypatch.undo()

    assert (first.getvalue(), second.getvalue()) == ("a\n", "b\n")


@pytest.mark.rule("SH-10", "X-17")
def test_without_standard_error_records_are_dropped(monkeypatch):
    """Windowed applications have none."""
    monkeypatch.setattr("sys.stderr", None)
    with StderrHandler(), Flags(errors="raise"):
        log.info("x")
    assert default_handler.stream is None
    default_handler.close()


# -- one record, one line

SEPARATORS = {"\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"}


@settings(max_examples=300, deadline=None)
@given(
    message=st.text(),
    argument=st.text(st.characters(categories=["Cc", "Cs", "Zl", "Zp", "Cf", "Ll"])),
    channel=st.text(max_size=8),
    extra=st.text(max_size=8),
    layout=st.sampled_from(
        [
            "{record.channel}|{record.message}|{record.extra[k]}",
            "{record.message}\t{record.extra[k]}",
        ]
    ),
)
def test_whatever_is_logged_a_record_is_one_line(message, argument, channel, extra, layout):
    """Message, argument, channel and fields; nothing of it can end or forge a line."""
    text, data = io.StringIO(newline=""), io.BytesIO()
    for handler in (
        StreamHandler(text, format_string=layout),
        StreamHandler(data, format_string=layout, encoding="latin-1"),
    ):
        with handler:
            Logger(channel).info(message, extra={"k": extra})
            Logger(channel).info("{}", argument, extra={"k": extra})

    for written in (text.getvalue(), data.getvalue().decode("latin-1")):
        assert written.endswith("\n")
        lines = written[:-1].split("\n")
        assert len(lines) == 2
        assert not any(
            character in line for line in lines for character in SEPARATORS | {"\x1b", "\0"}
        )
    text.getvalue().encode("utf-8")


def test_a_traceback_keeps_its_lines_and_its_message_stays_on_one(stream):
    """An exception's text cannot forge a line either, also not after it was held back."""
    from sprockets.logbook import FingersCrossedHandler

    for wrap in (lambda handler: handler, FingersCrossedHandler):
        stream.seek(0)
        stream.truncate()
        with wrap(StreamHandler(stream, format_string=PLAIN)):
            try:
                raise ValueError("one\n2026-01-01 CRITICAL: forged \x1b[31m")
            except ValueError:
                log.exception("x")
        lines = stream.getvalue().splitlines()
        assert lines[0] == "x"
        assert lines[1] == "Traceback (most recent call last):"
        assert lines[-1] == "ValueError: one\\n2026-01-01 CRITICAL: forged \\x1b[31m"


def test_a_layout_of_several_lines_keeps_those_of_the_message(stream):
    """Mails and the like are not lines."""
    with StreamHandler(stream, format_string="Message:\n{record.message}"):
        log.info("one\ntwo")

    assert stream.getvalue() == "Message:\none\ntwo\n"


@settings(max_examples=200, deadline=None)
@given(
    message=st.text(),
    extra=st.dictionaries(
        st.text(max_size=4), st.text(max_size=4) | st.integers() | st.floats(), max_size=3
    ),
)
def test_a_json_line_is_one_line_of_strict_json(message, extra):
    """ASCII, one object, what was logged comes back; infinities are ``null``."""
    import json

    stream = io.StringIO(newline="")
    handler = StreamHandler(stream)
    handler.formatter = JSONFormatter()
    with handler:
        log.info(message, extra=extra)

    line = stream.getvalue()
    assert line.isascii()
    assert line.count("\n") == 1
    facts = json.loads(line, parse_constant=lambda name: pytest.fail(name))
    assert facts["message"] == message
    assert facts["level_name"] == "INFO"
    assert set(facts["extra"]) == set(extra)
    again = LogRecord.from_json(line)
    assert (again.message, again.level, again.channel) == (message, 11, "testlogger")


def test_json_of_awkward_values_is_written_all_the_same():
    """Cycles, huge numbers, odd keys, deep nesting, broken objects."""
    import json

    cycle = []
    cycle.append(cycle)
    deep = []
    for _ in range(5_000):
        deep = [deep]

    class Evil:
        def __str__(self):
            raise RuntimeError

        __repr__ = __str__

    extra = {
        "a": cycle,
        "b": 10**5000,
        "c": {1: 2, (1, 2): None},
        "d": deep,
        "e": Evil(),
        "f": {Evil(): 1},
    }
    stream = io.StringIO()
    handler = StreamHandler(stream)
    handler.formatter = JSONFormatter(["message", "extra"])
    with handler, Flags(errors="raise"):
        log.info("x", extra=extra)

    facts = json.loads(stream.getvalue())
    assert facts["extra"]["c"] == {"1": 2, "(1, 2)": None}
    assert facts["extra"]["e"] is None


def test_an_unknown_json_field_is_refused():
    """The error names those there are."""
    with pytest.raises(ValueError, match="unknown field 'nope'; known: time, level"):
        JSONFormatter(["nope"])


# -- files


@pytest.mark.rule("FH-1", "FH-10", "FH-9")
def test_a_file_gets_utf_8_lines_and_is_closed_by_with(tmp_path):
    """Bound to the application it stays open."""
    path = tmp_path / "log"
    handler = FileHandler(path, format_string=LEVELLED)
    with handler:
        log.warning("warning message ü")
    assert handler.stream is None
    with handler.applicationbound():
        log.warning("again")
    assert handler.stream is not None
    handler.close()

    assert (
        path.read_text("utf-8")
        == "WARNING:testlogger:warning message ü\nWARNING:testlogger:again\n"
    )


@pytest.mark.rule("FH-2", "D-14", "P-H13")
def test_a_path_is_absolute_from_the_beginning(tmp_path, monkeypatch):
    """Changing the directory changes nothing; a missing one is an error at once, or at the record."""
    monkeypatch.chdir(tmp_path)
    handler = FileHandler("log", delay=True, format_string=PLAIN)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    with handler:
        log.info("x")

    assert (tmp_path / "log").read_text() == "x\n"
    with pytest.raises(FileNotFoundError):
        FileHandler(tmp_path / "missing" / "log")
    with FileHandler(tmp_path / "missing" / "log", delay=True), Flags(errors="raise"):
        with pytest.raises(FileNotFoundError):
            log.info("x")


@pytest.mark.rule("FH-3", "FH-4", "FH-5", "HB-7")
def test_a_delayed_file_is_made_by_the_first_record_and_reopened_by_a_later_one(tmp_path):
    """Closing is repeatable."""
    path = tmp_path / "log"
    handler = FileHandler(path, delay=True, format_string=PLAIN)
    assert (handler.stream, path.exists()) == (None, False)
    with handler.applicationbound():
        log.info("a")
        handler.close()
        handler.close()
        assert handler.stream is None
        log.info("b")
    handler.close()
    eager = FileHandler(tmp_path / "eager")
    assert eager.stream is not None
    eager.close()

    assert path.read_text() == "a\nb\n"


@pytest.mark.rule("FH-6", "X-28")
def test_mode_w_empties_the_file_once(tmp_path):
    """Reopening appends; upstream wiped what it had written."""
    path = tmp_path / "log"
    path.write_text("old\n")
    handler = FileHandler(path, "w", format_string=PLAIN)
    for message in "ab":
        with handler:
            log.info(message)

    assert path.read_text() == "a\nb\n"


@pytest.mark.rule("FH-7", "FH-8", "X-56")
@pytest.mark.parametrize("mode", ["a", "w", "ab", "wb", "a+"])
def test_text_and_bytes_can_be_written_in_every_mode(mode, tmp_path):
    """In order, also with what somebody wrote to the stream."""
    path = tmp_path / "log"
    handler = FileHandler(path, mode, format_string=PLAIN)
    with handler.applicationbound():
        log.info("ü")
        handler.write("text\n")
        handler.write(b"bytes\n")
    handler.close()

    assert path.read_bytes() == "ü\ntext\nbytes\n".encode()


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "utf-16-le"])
def test_what_the_files_encoding_lacks_is_escaped(encoding, tmp_path):
    """Surrogates too; a line is never lost to an encoding."""
    path = tmp_path / "log"
    with FileHandler(path, encoding=encoding, format_string=PLAIN), Flags(errors="raise"):
        log.info("☃ \ud800 é")

    text = path.read_bytes().decode(encoding)
    assert text.endswith("\n")
    assert "\\ud800" in text


@pytest.mark.rule("FH-11", "FH-12")
def test_a_monitored_file_that_was_moved_is_opened_anew(tmp_path):
    """What was written stays in the moved one."""
    path, moved = tmp_path / "log", tmp_path / "log.1"
    handler = MonitoringFileHandler(path, format_string=PLAIN)
    with handler.applicationbound():
        log.info("1")
        path.unlink()
        log.info("2")
        path.rename(moved)
        log.info("3")
        path.unlink()
        path.mkdir()
        with Flags(errors="raise"), pytest.raises(IsADirectoryError):
            log.info("4")
    handler.close()

    assert moved.read_text() == "2\n"


@pytest.mark.rule("FH-13", "X-29")
def test_monitoring_is_refused_on_windows_before_anything_is_opened(tmp_path, monkeypatch):
    """It says what to use instead."""
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(RuntimeError, match="use FileHandler"):
        MonitoringFileHandler(str(tmp_path) + "/log")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.rule("HB-8")
def test_a_collected_file_handler_closes_its_file(tmp_path):
    """Warnings about unclosed files are errors in these tests."""
    handler = FileHandler(tmp_path / "log")
    stream = handler.stream
    del handler
    gc.collect()

    assert stream.closed


@pytest.mark.rule("P-C1", "P-F8")
def test_threads_and_processes_share_a_file(tmp_path):
    """Four processes with two threads each, long lines: none lost, none torn."""
    path = tmp_path / "log"
    script = (
        "import sys, threading\n"
        "from sprockets.logbook import FileHandler, Logger\n"
        "log = Logger('x')\n"
        "def work(t):\n"
        "    for i in range(250): log.info('{} {} {}', sys.argv[2], t * 250 + i, 'x' * 4000)\n"
        "with FileHandler(sys.argv[1], format_string='{record.message}').applicationbound():\n"
        "    ts = [threading.Thread(target=work, args=(t,)) for t in range(2)]\n"
        "    [t.start() for t in ts]; [t.join() for t in ts]\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(path), str(number)])
        for number in range(4)
    ]
    assert [process.wait(60) for process in processes] == [0] * 4

    found = sorted(
        tuple(map(int, line.split()[:2]))
        for line in path.read_text().splitlines()
        if line.endswith("x" * 4000)
    )
    assert found == [(process, number) for process in range(4) for number in range(500)]


def test_a_write_that_is_cut_short_is_finished(tmp_path, monkeypatch):
    """A pipe, a signal or a quota may take part of a line; the rest follows."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
    path = tmp_path / "log"
    with FileHandler(path, format_string=PLAIN):
        log.info("a line of some length")
        log.info("another")
    monkeypatch.undo()

    assert path.read_text() == "a line of some length\nanother\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_reported_and_does_no_more_harm(capsys):
    """The call returns; each record is tried and counted, and the reason told once a minute."""
    failed = statistics()["failed"]
    with FileHandler("/dev/full", "w", format_string=PLAIN) as handler:
        for _ in range(100):
            log.info("x")
        assert capsys.readouterr().err.count("No space left on device") == 1
        for number in handler._reported:
            handler._reported[number] -= 60
        log.info("x")

    assert capsys.readouterr().err.count("No space left on device") == 1
    assert statistics()["failed"] == failed + 101


def test_closing_while_threads_log_loses_nothing(tmp_path):
    """A closed descriptor is never written to; the file is opened again."""
    path = tmp_path / "log"
    handler = FileHandler(path, format_string=PLAIN)

    def work(number):
        for index in range(300):
            log.info("{} {}", number, index)

    with handler.applicationbound():
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            handler.close()
        for thread in threads:
            thread.join()
    handler.close()

    assert sorted(path.read_text().splitlines()) == sorted(
        f"{n} {i}" for n in range(3) for i in range(300)
    )
