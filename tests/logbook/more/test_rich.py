"""Lines by rich."""

import io
import re
import subprocess
import sys
import threading
from urllib.parse import quote

import pytest

from sprockets._support import MissingDependency
from sprockets.logbook import Logger, LogRecord
from sprockets.logbook.more import RichHandler
from tests.logbook.more.terminal import run_in_terminal

rich_console = pytest.importorskip("rich.console")
Console = rich_console.Console

log = Logger("shop")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    """An environment that says nothing of colours, and a width."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


def shown(call, stream=None, **options):
    """Return the lines that *call* makes a handler write."""
    stream = io.StringIO() if stream is None else stream
    with RichHandler(stream=stream, **{"show_time": False, **options}):
        call()
    return stream.getvalue().splitlines()


def plain(text):
    """Return *text* without codes and links."""
    return re.sub(r"\x1b\[[\d;]*m|\x1b\]8;[^\x1b]*\x1b\\", "", text)


def columns(call, **options):
    """Return the lines that a terminal shows, without colours and the space behind."""
    return [plain(line).rstrip() for line in shown(call, Terminal(), **options)]


def oops(text="boom"):
    secret = "hunter2"  # noqa: F841 - it is a local variable to be seen
    raise ValueError(text)


def logged_oops(text="boom"):
    try:
        oops(text)
    except ValueError:
        log.exception("failed")


# -- the library


@pytest.mark.rule("E-02", "E-03")
def test_without_the_library_the_text_says_what_to_install(monkeypatch):
    """It can be caught as either error."""
    monkeypatch.setitem(sys.modules, "rich", None)

    with pytest.raises(RuntimeError, match=r"RichHandler needs 'rich'.*\[color\]") as caught:
        RichHandler()

    assert isinstance(caught.value, MissingDependency)


# -- no terminal


def test_where_there_is_no_terminal_a_record_is_one_line():
    """However long, with its fields and its place; nothing is wrapped, nothing coloured."""

    def call():
        log.info("{} left", "x" * 300, extra={"item": "tea", "note": "two words", "n": 1, "e": ""})

    (line,) = shown(call)

    assert re.fullmatch(
        r"INFO     shop: x{300} left item=tea note='two words' n=1 e='' test_rich\.py:\d+", line
    )


def test_the_time_is_shown_as_one_likes():
    """Each line has it where there are no columns."""

    def call():
        log.info("one")
        log.info("two")

    for line in shown(call, show_time=True, log_time_format="<%Y>"):
        assert re.fullmatch(r"<\d{4}> INFO     shop: (one|two) test_rich\.py:\d+", line)


def test_each_part_can_be_left_out():
    """What is left is the message."""
    options = {"show_level": False, "show_channel": False, "show_fields": False}

    assert shown(lambda: log.info("x", extra={"a": 1}), show_path=False, **options) == ["x"]


def test_a_traceback_is_plain_where_there_is_no_terminal():
    """As in any file."""
    lines = shown(logged_oops, show_path=False)

    assert lines[:2] == ["ERROR    shop: failed", "Traceback (most recent call last):"]
    assert lines[-1] == "ValueError: boom"


def test_a_line_cannot_be_forged():
    """Line breaks and codes are shown as escapes: in messages, fields, channels, exceptions."""
    evil = "x\n12:00:00 ERROR    fake\x1b[2J\r\x9b2J\u202e"

    def call():
        log.info(evil, extra={"a": evil, evil: "b"})
        Logger(evil).info("x")
        log.info("x", exc_info=ValueError("\x1b[2J"))

    text = "\n".join(shown(call))

    assert text.replace("\n", "").isprintable()
    assert text.count("\n") == 3
    assert "ValueError: \\x1b[2J" in text


# -- a terminal


def test_a_terminal_gets_columns():
    """Level, message, place at the right edge; a long message is wrapped below itself."""
    first, second = columns(lambda: log.warning("word " * 20))

    assert first.startswith("WARNING  shop: word word")
    assert re.search(r"word +test_rich\.py:\d+$", first)
    assert re.fullmatch(r" {9}(word ?)+", second)
    assert (first + second).count("word") == 20


def test_equal_times_are_shown_once():
    """Unless one wants them all."""

    def call():
        log.info("one")
        log.info("two")

    once = columns(call, show_time=True, log_time_format="%Y")
    always = columns(call, show_time=True, log_time_format="%Y", omit_repeated_times=False)

    assert [re.match(r"\d{4} |     ", line)[0].strip() != "" for line in once] == [True, False]
    assert all(re.match(r"\d{4} ", line) for line in always)


@pytest.mark.parametrize(
    ("level", "code"),
    [
        ("CRITICAL", "1;7;31"),
        ("ERROR", "1;31"),
        ("WARNING", "33"),
        ("NOTICE", "36"),
        ("INFO", "34"),
        ("DEBUG", "32"),
        ("TRACE", "2"),
        ("NOTSET", "2"),
    ],
)
def test_levels_have_colours(level, code):
    """Each its own, as in rich's handler where that has one."""
    (line,) = shown(lambda: log.log(level, "x"), Terminal())

    assert re.match(rf"\x1b\[({code}|{';'.join(sorted(code.split(';')))})m{level}", line), repr(
        line
    )


def test_a_level_of_ones_own_is_shown_with_the_colour_of_the_one_below():
    """There is no name for it."""
    (line,) = shown(lambda: log.log(99, "x"), Terminal())

    assert plain(line).startswith("99")


def test_markup_is_off_unless_asked_for():
    """For the handler or for one record; what is no markup is shown as it is."""

    def call():
        log.info("[bold]x[/bold]")
        log.info("[bold]y[/bold]", extra={"markup": True})
        log.info("[/nothing]", extra={"markup": True})
        log.info("[bold]z[/bold]", extra={"markup": "anything else that is true"})

    off = columns(call, show_path=False)
    on = columns(call, show_path=False, markup=True)

    assert off == [
        "INFO     shop: [bold]x[/bold]",
        "INFO     shop: y",
        "INFO     shop: [/nothing]",
        "INFO     shop: [bold]z[/bold]",
    ]
    assert on[0] == "INFO     shop: x"
    assert on[2] == "INFO     shop: [/nothing]"


def test_words_can_be_made_to_stand_out():
    """Wherever they are in a message; and values of Python are coloured unless one says no."""
    from rich.highlighter import NullHighlighter

    (line,) = shown(lambda: log.info("GET 12"), Terminal(), keywords=["GET"], show_path=False)
    (bare,) = shown(
        lambda: log.info("GET 12"), Terminal(), highlighter=NullHighlighter(), show_path=False
    )

    assert "\x1b[1;33mGET\x1b[0m" in line
    assert "\x1b[1;36m12\x1b[0m" in line
    assert "GET 12" in bare


def test_the_place_is_a_link():
    """In terminals that have links; it can be left out."""
    (line,) = shown(lambda: log.info("x"), Terminal())
    (without,) = shown(lambda: log.info("x"), Terminal(), enable_link_path=False)

    assert re.search(rf"\x1b\]8;id=\d+;file://{re.escape(quote(__file__))}#\d+\x1b\\", line)
    assert "\x1b]8" not in without


def test_a_file_of_another_machine_cannot_end_the_link():
    """Its name is quoted there, and escaped in the text."""
    record = LogRecord("c", "INFO", "x")
    record.heavy_init()
    record.filename = "/tmp/\x1b\\\x1b[2Jx.py"
    record.lineno = 1

    text = RichHandler(stream=Terminal()).format(record)

    assert "\x1b[2J" not in text
    assert "file:///tmp/%1B%5C%1B%5B2Jx.py#1" in text


def test_a_traceback_is_shown_with_its_code_and_without_its_values():
    """There are passwords among them; who wants them says so."""
    without = "\n".join(columns(logged_oops))
    with_values = "\n".join(columns(logged_oops, tracebacks_show_locals=True))
    plain_one = columns(logged_oops, rich_tracebacks=False)

    assert "Traceback (most recent call last)" in without
    assert "╭" in without
    assert "raise ValueError(text)" in without
    assert "locals" not in without
    assert "secret = 'hunter2'" in with_values
    assert plain_one[1] == "Traceback (most recent call last):"


def test_exceptions_cannot_steer_the_terminal():
    """Neither by their text, nor by what their variables say of themselves."""

    class Evil:
        def __repr__(self):
            return "\x1b[2Jevil"

    def call():
        evil = Evil()  # noqa: F841 - it is a local variable to be seen
        try:
            oops("\x1b[2J\x9b2J")
        except ValueError as error:
            error.add_note("\x1b[2Jnote")
            log.exception("failed")

    text = "\n".join(shown(call, Terminal(), tracebacks_show_locals=True))

    assert "\x1b[2J" not in text
    assert "\x9b" not in text
    assert "\\x1b" in plain(text)


def test_an_exception_whose_traceback_is_gone_is_shown_as_text():
    """It has been put into words before."""
    record = LogRecord("c", "ERROR", "x", exc_info=ValueError("boom"))
    record.heavy_init()
    record.pull_information()
    record.close()

    text = RichHandler(stream=Terminal(), show_time=False).format(record)

    assert plain(text).splitlines()[-1] == "ValueError: boom"


def test_an_exception_that_misbehaves_is_shown_all_the_same(monkeypatch):
    """In the plain way."""
    import rich.traceback

    def failing(*args, **options):
        raise RuntimeError("no")

    monkeypatch.setattr(rich.traceback.Traceback, "from_exception", failing)

    assert columns(logged_oops)[-1] == "ValueError: boom"


def test_a_message_that_cannot_be_formatted_is_shown_raw_with_a_note():
    """As other layouts do."""
    (line,) = shown(lambda: log.info("{nothing}", 1), show_path=False)

    assert line.startswith("INFO     shop: {nothing} [could not be formatted: ")


def test_a_formatter_makes_the_text_in_the_place_of_the_message():
    """As with rich's own handler."""
    stream = io.StringIO()
    with RichHandler(stream=stream, show_time=False, show_path=False) as handler:
        handler.formatter = lambda record, handler: f"<{record.message}>"
        log.info("x")

    assert stream.getvalue() == "INFO     shop: <x>\n"


# -- colours


@pytest.mark.rule("CO-1")
@pytest.mark.parametrize(
    ("environ", "stream", "has_codes"),
    [
        ({}, Terminal, True),
        ({}, io.StringIO, False),
        ({"NO_COLOR": "1"}, Terminal, False),
        ({"TERM": "dumb"}, Terminal, False),
        ({"FORCE_COLOR": "1"}, io.StringIO, True),
        ({"CLICOLOR_FORCE": "1", "TERM": "dumb"}, io.StringIO, True),
    ],
)
def test_the_environment_says_whether_to_colour(monkeypatch, environ, stream, has_codes):
    """As for all our coloured lines."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    (line,) = shown(lambda: log.error("x"), stream(), enable_link_path=False)

    assert ("\x1b[" in line) is has_codes


@pytest.mark.rule("CO-3")
def test_standard_error_is_looked_up_for_each_record(monkeypatch):
    """Another one is written in the way that suits it; none drops records."""
    terminal, file, other = Terminal(), io.StringIO(), Terminal()
    with RichHandler(show_time=False, show_path=False) as handler:
        for stream in (terminal, file, None):
            monkeypatch.setattr(sys, "stderr", stream)
            log.error("x")
        handler.stream = other
        log.error("x")

    assert "\x1b[" in terminal.getvalue()
    assert file.getvalue() == "ERROR    shop: x\n"
    assert plain(other.getvalue()).rstrip() == "ERROR    shop: x"


CODE = """
from sprockets.logbook import Logger
from sprockets.logbook.more import RichHandler
with RichHandler(show_time=False):
    Logger("shop").error("An error", extra={"item": "tea"})
"""


@pytest.mark.rule("CO-1")
def test_a_real_terminal_gets_colours_and_columns():
    """As wide as it is; eighty where it does not say."""
    text = run_in_terminal(CODE)
    bare = run_in_terminal(CODE, NO_COLOR="1", COLUMNS="60")

    assert "\x1b[1;31mERROR" in text
    assert len(plain(text).rstrip("\n")) == 80
    assert re.fullmatch(r"ERROR    shop: An error item=tea +<string>:5\n", bare)
    assert len(bare) == 61


# -- a console of one's own


def test_a_console_of_ones_own_is_printed_to():
    """Always in columns, with the styles of its theme, and so beside a progress bar."""
    from rich.theme import Theme

    stream = io.StringIO()
    theme = Theme({"logging.level.notice": "magenta"})
    console = Console(file=stream, width=50, force_terminal=True, theme=theme, legacy_windows=False)

    with RichHandler(console=console, show_time=False, enable_link_path=False) as handler:
        log.notice("x")
        assert (handler.console, handler.stream) == (console, stream)

    (line,) = stream.getvalue().splitlines()
    assert "\x1b[35mNOTICE" in line
    assert len(plain(line)) == 50


def test_a_console_that_records_can_be_exported():
    """As any of rich's."""
    console = Console(file=io.StringIO(), record=True, width=60)
    with RichHandler(console=console, show_time=False, show_path=False):
        log.info("x < y")

    assert "x &lt; y" in console.export_html()


def test_formatting_for_a_console_of_ones_own_prints_nothing():
    """It gives what would be printed."""
    stream = io.StringIO()
    handler = RichHandler(console=Console(file=stream, width=40), show_time=False)

    text = handler.format(LogRecord("c", "INFO", "x"))

    assert text.startswith("INFO     c: x")
    assert stream.getvalue() == ""


def test_a_console_whose_reader_is_gone_does_not_end_the_program():
    """By itself it would; here it is an error of the handler."""
    code = """
import os
from rich.console import Console
from sprockets.logbook import Flags, Logger
from sprockets.logbook.more import RichHandler
reader, writer = os.pipe()
os.close(reader)
RichHandler(console=Console(file=open(writer, "w"))).push_context()
try:
    with Flags(errors="raise"):
        Logger("x").info("x")
except BrokenPipeError as error:
    os.write(2, str(error).encode())
os._exit(0)
"""
    result = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert result.stderr == "the console's output is closed"


def test_console_and_stream_exclude_each_other():
    """A console has a stream; and what is none is refused at once."""
    with pytest.raises(ValueError, match="give a console or a stream, not both"):
        RichHandler(console=Console(file=io.StringIO()), stream=io.StringIO())
    with pytest.raises(TypeError, match=r"console must be a rich\.console\.Console, got 'x'"):
        RichHandler(console="x")


# -- many


def test_lines_of_threads_do_not_mix():
    """Each is written as a whole."""
    stream = io.StringIO()
    with RichHandler(stream=stream, show_time=False, show_path=False).applicationbound():
        threads = [
            threading.Thread(target=lambda word=word: [log.info(word * 50) for _ in range(50)])
            for word in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    lines = stream.getvalue().splitlines()
    assert len(lines) == 200
    assert set(lines) == {f"INFO     shop: {word * 50}" for word in "abcd"}


def test_what_a_signal_handler_logs_while_a_line_is_rendered_stays_a_line_of_its_own(monkeypatch):
    """At the moment when the console has the text of the other."""
    stream = io.StringIO()
    end = Console.end_capture

    def interrupted(console):
        monkeypatch.setattr(Console, "end_capture", end)
        log.debug("inner")
        return end(console)

    with RichHandler(stream=stream, show_time=False, show_path=False):
        log.info("before")
        monkeypatch.setattr(Console, "end_capture", interrupted)
        log.info("outer")

    assert stream.getvalue().splitlines() == [
        "INFO     shop: before",
        "DEBUG    shop: inner",
        "INFO     shop: outer",
    ]


def test_what_is_logged_while_a_line_is_made_comes_too():
    """By a value that logs when it is asked for its text."""

    class Talking:
        def __str__(self):
            log.debug("inner")
            return "outer"

    lines = shown(lambda: log.info("{}", Talking()), show_path=False)

    assert sorted(lines) == ["DEBUG    shop: inner", "INFO     shop: outer"]
