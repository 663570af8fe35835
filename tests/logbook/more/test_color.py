"""Colours on terminals."""

import io
import os
import subprocess
import sys
import types

import pytest

from sprockets.logbook import Flags, Logger, LogRecord, StreamHandler
from sprockets.logbook._console import should_color
from sprockets.logbook.more import ColorizedStderrHandler, ColorizingStreamHandlerMixin, _color
from sprockets.logbook.more._termcolors import codes, colorize
from tests.logbook.more.terminal import run_in_terminal

RED, YELLOW, GRAY = "\x1b[31;01m", "\x1b[33;01m", "\x1b[37m"
END = "\x1b[39;49;00m"

log = Logger("testlogger")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


class ColorizedStreamHandler(ColorizingStreamHandlerMixin, StreamHandler):
    """What a user of the mixin writes."""


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    """An environment that says nothing of colours."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture(name="windows")
def _windows(monkeypatch):
    """Windows, as far as the handler looks."""
    monkeypatch.setattr(_color, "os", types.SimpleNamespace(name="nt", environ=os.environ))
    _color._is_console_ready.cache_clear()
    yield
    _color._is_console_ready.cache_clear()


def shown(handler, stream):
    with handler:
        log.error("An error")
        log.warning("A warning")
        log.notice("A notice")
        log.info("An info")
        log.debug("A debug message")
        log.trace("A trace")
    return stream.getvalue().splitlines()


COLOURED = [
    f"{RED}An error{END}",
    f"{YELLOW}A warning{END}",
    f"{YELLOW}A notice{END}",
    f"{GRAY}An info{END}",
    f"{GRAY}A debug message{END}",
    f"{GRAY}A trace{END}",
]


# -- codes


@pytest.mark.rule("CO-8")
def test_colours_have_names_and_codes():
    """Two rows of eight, and some names more."""
    dark = "black darkred darkgreen brown darkblue purple teal lightgray"
    light = "darkgray red green yellow blue fuchsia turquoise white"

    for number, name in enumerate(dark.split(), 30):
        assert codes[name] == f"\x1b[{number}m"
    for number, name in enumerate(light.split(), 30):
        assert codes[name] == f"\x1b[{number};01m"
    assert codes["darkteal"] == codes["turquoise"]
    assert codes["darkyellow"] == codes["brown"]
    assert codes["fuscia"] == codes["fuchsia"]
    assert (codes[""], codes["reset"]) == ("", END)


@pytest.mark.rule("CO-5", "CO-8")
def test_a_text_is_wrapped_in_the_codes_of_its_colour():
    """An unknown colour is an error."""
    assert colorize("red", "x") == f"{RED}x{END}"
    with pytest.raises(KeyError, match="pink"):
        colorize("pink", "x")


# -- whether to


@pytest.mark.rule("CO-1")
@pytest.mark.parametrize(
    ("environ", "on_terminal", "elsewhere"),
    [
        ({}, True, False),
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "1"}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": "0"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"CLICOLOR_FORCE": "1", "CLICOLOR": "0"}, True, True),
        ({"CLICOLOR_FORCE": "0"}, True, False),
        ({"CLICOLOR_FORCE": ""}, True, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_the_environment_says_whether_to_colour(environ, on_terminal, elsewhere):
    """And where it says nothing, terminals are coloured."""
    assert should_color(Terminal(), environ) is on_terminal
    assert should_color(io.StringIO(), environ) is elsewhere


@pytest.mark.rule("CO-1")
def test_a_stream_that_does_not_know_is_no_terminal():
    """The answer is a real truth value, with none, a closed one, or an odd one."""
    closed = Terminal()
    closed.close()
    closed_file = io.StringIO()
    closed_file.close()

    for stream in (None, object(), closed_file, types.SimpleNamespace(isatty=lambda: 0)):
        assert should_color(stream, {}) is False
    assert should_color(types.SimpleNamespace(isatty=lambda: 1), {}) is True


@pytest.mark.rule("CO-1")
def test_what_was_said_to_the_handler_counts_more_than_all_else(monkeypatch):
    """Forced and forbidden, whatever stream and environment say."""
    record = LogRecord("c", "INFO", "x")
    handler = ColorizedStreamHandler(Terminal())
    assert handler.should_colorize(record) is True
    handler.forbid_color()
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert handler.should_colorize(record) is False
    handler = ColorizedStreamHandler(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    handler.force_color()
    assert handler.should_colorize(record) is True


@pytest.mark.rule("CO-1")
def test_the_environment_is_asked_for_each_record(monkeypatch):
    """It may be set while the program runs."""
    handler = ColorizedStreamHandler(Terminal(), format_string="x")
    record = LogRecord("c", "INFO", "x")

    before = handler.format(record)
    monkeypatch.setenv("NO_COLOR", "1")

    assert (before, handler.format(record)) == (f"{GRAY}x{END}", "x")


@pytest.mark.rule("CO-2")
def test_on_windows_it_takes_a_library(windows, monkeypatch):
    """Without it there is no colour, even if forced."""
    monkeypatch.setitem(sys.modules, "colorama", None)
    handler = ColorizedStreamHandler(Terminal())
    record = LogRecord("c", "INFO", "x")

    assert handler.should_colorize(record) is False
    handler.force_color()
    assert handler.should_colorize(record) is False


@pytest.mark.rule("CO-2", "CO-7", "Y-43", "Q-13")
def test_on_windows_the_console_is_prepared_once(windows, monkeypatch):
    """By the call that touches no streams that need no help."""
    calls = []
    library = types.ModuleType("colorama")
    library.just_fix_windows_console = lambda: calls.append("fixed")
    library.init = lambda: calls.append("replaced")
    monkeypatch.setitem(sys.modules, "colorama", library)

    handler = ColorizedStderrHandler()
    ColorizedStderrHandler()
    handler.force_color()

    assert handler.should_colorize(LogRecord("c", "INFO", "x")) is True
    assert calls == ["fixed"]


@pytest.mark.rule("CO-7", "Y-43")
def test_elsewhere_the_library_is_left_alone(monkeypatch):
    """Standard streams stay what they are: a call of it would fail here, for it has nothing."""
    monkeypatch.setitem(sys.modules, "colorama", types.ModuleType("colorama"))
    before = (sys.stdout, sys.stderr)
    _color._is_console_ready.cache_clear()

    handler = ColorizedStderrHandler(format_string="{record.message}")
    handler.force_color()

    assert handler.format(LogRecord("c", "ERROR", "x")) == f"{RED}x{END}"
    assert (sys.stdout, sys.stderr) == before


# -- lines


@pytest.mark.rule("CO-4", "CO-8")
def test_lines_have_the_colour_of_their_level():
    """It ends before the line does."""
    stream = io.StringIO()
    handler = ColorizedStreamHandler(stream, format_string="{record.message}")
    handler.force_color()

    assert shown(handler, stream) == COLOURED


@pytest.mark.rule("CO-8")
def test_lines_are_plain_where_colour_is_forbidden():
    """On a terminal, too."""
    stream = Terminal()
    handler = ColorizedStreamHandler(stream, format_string="{record.message}")
    handler.forbid_color()

    assert shown(handler, stream)[:2] == ["An error", "A warning"]


@pytest.mark.rule("CO-3")
def test_standard_error_is_looked_up_for_each_line(monkeypatch):
    """Replacing it takes effect."""
    terminal, file = Terminal(), io.StringIO()
    with ColorizedStderrHandler(format_string="{record.message}"):
        monkeypatch.setattr(sys, "stderr", terminal)
        log.error("one")
        monkeypatch.setattr(sys, "stderr", file)
        log.error("two")
        monkeypatch.setattr(sys, "stderr", None)
        log.error("three")

    assert terminal.getvalue() == f"{RED}one{END}\n"
    assert file.getvalue() == "two\n"


@pytest.mark.rule("CO-4")
def test_a_traceback_has_the_colour_too():
    """All of it, with one end."""
    stream = Terminal()
    with ColorizedStreamHandler(stream, format_string="{record.message}"):
        log.error("oops", exc_info=ValueError("boom"))

    assert stream.getvalue() == f"{RED}oops\nValueError: boom{END}\n"


@pytest.mark.rule("CO-5")
@pytest.mark.parametrize("color", [None, ""])
def test_a_subclass_may_leave_records_uncoloured(color):
    """Or choose another colour."""

    class Blue(ColorizedStreamHandler):
        def get_color(self, record):
            return "blue" if record.level_name == "INFO" else color

    stream = Terminal()
    with Blue(stream, format_string="{record.message}"):
        log.info("one")
        log.error("two")

    assert stream.getvalue() == f"\x1b[34;01mone{END}\ntwo\n"


@pytest.mark.rule("CO-5")
def test_an_unknown_colour_is_an_error_of_the_handler():
    """It is reported as any."""

    class Pink(ColorizedStreamHandler):
        def get_color(self, record):
            return "pink"

    with Pink(Terminal()), Flags(errors="raise"), pytest.raises(KeyError, match="pink"):
        log.info("x")


@pytest.mark.rule("CO-6")
def test_formatting_colours():
    """Not only writing; also where there is no layout and the message is no text."""
    handler = ColorizedStreamHandler(Terminal(), format_string="{record.message}")
    bare = ColorizedStreamHandler(Terminal())
    bare.formatter = None

    assert handler.format(LogRecord("c", "ERROR", "x")) == f"{RED}x{END}"
    assert bare.format(LogRecord("c", "ERROR", 42)) == f"{RED}42{END}"


def test_messages_cannot_end_the_colour_themselves():
    """Codes in a message are shown, not sent."""
    stream = Terminal()
    with ColorizedStreamHandler(stream, format_string="{record.message}"):
        log.error("a\x1b[2Jb")

    assert stream.getvalue() == f"{RED}a\\x1b[2Jb{END}\n"


CODE = """
from sprockets.logbook import Logger
from sprockets.logbook._console import should_color
from sprockets.logbook.more import ColorizedStderrHandler
with ColorizedStderrHandler(format_string="{record.message}"):
    Logger("x").error("An error")
"""


@pytest.mark.rule("CO-1", "CO-4")
@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({}, f"{RED}An error{END}\n"),
        ({"NO_COLOR": "1"}, "An error\n"),
        ({"TERM": "dumb"}, "An error\n"),
    ],
)
def test_a_real_terminal_is_coloured(environ, text):
    """Unless its environment speaks against it."""
    assert run_in_terminal(CODE, **environ) == text


@pytest.mark.rule("CO-1")
@pytest.mark.parametrize(
    ("environ", "text"), [({}, "An error\n"), ({"FORCE_COLOR": "1"}, f"{RED}An error{END}\n")]
)
def test_a_real_pipe_is_not_coloured(environ, text):
    """Unless its environment asks for it."""
    result = subprocess.run(
        [sys.executable, "-P", "-c", CODE],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert result.stderr == text
