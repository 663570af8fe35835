"""Set-ups from a file: what a file may say, what is told of a wrong one, and what a reload keeps."""

import gzip
import io
import json
import logging
import pickle
import socket
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import pytest

import sprockets.logbook.handlers
import sprockets.logbook.queues
from sprockets.logbook import (
    DEBUG,
    ERROR,
    INFO,
    NOTSET,
    Fields,
    FileHandler,
    FingersCrossedHandler,
    Flags,
    Handler,
    JSONFormatter,
    Logger,
    MailHandler,
    Processor,
    StreamHandler,
    SyslogHandler,
    TestHandler,
    _context,
)
from sprockets.logbook._setups import _binding
from sprockets.logbook._setups._classes import handler_names
from sprockets.logbook.handlers import RemoteHandler
from sprockets.logbook.queues import ThreadedWrapperHandler
from sprockets.logbook.setups import (
    Probe,
    Problem,
    Setup,
    SetupError,
    check,
    from_reference,
    load,
    probe,
)

TIMEOUT = 30.0

log = Logger("shop")


class Shouting(Handler):
    """A handler of somebody else's."""

    made = 0

    def __init__(self, volume: int, name: str = "x") -> None:
        super().__init__()
        type(self).made += 1
        self.volume = volume
        self.name = name


class Stamp(Processor):
    """A processor of somebody else's."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def process(self, record):
        record.extra["where"] = self.where


def not_a_class() -> None:
    raise AssertionError("a file cannot have a function called")


class Gate(Handler):
    """Stays in the log call until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.closed_while_inside = False
        self.is_inside = False
        self.closed = threading.Event()

    def emit(self, record):
        self.is_inside = True
        self.entered.set()
        assert self.go_on.wait(TIMEOUT)
        self.is_inside = False

    def close(self):
        self.closed_while_inside = self.closed_while_inside or self.is_inside
        self.closed.set()


class Collecting(RemoteHandler):
    """Delivers into a list that outlives it, and refuses nothing."""

    delivered: list[str] = []  # noqa: RUF012 - shared on purpose

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.tag = tag

    def deliver(self, items):
        self.delivered.extend(items)


@pytest.fixture(name="write")
def _write(tmp_path):
    """Return what writes a file of set-ups, and gives its path."""

    def write(text: str, name: str = "logging.toml") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), "utf-8")
        return path

    return write


@pytest.fixture(name="opened")
def _opened():
    """Return a load whose set-ups are closed after the test."""
    setups: list[Setup] = []

    def opened(*args, **kwargs) -> Setup:
        setups.append(load(*args, **kwargs))
        return setups[-1]

    yield opened
    for setup in setups:
        setup.close()


@pytest.fixture(name="here", autouse=True)
def _here(monkeypatch):
    """Let dotted paths find this module, whatever pytest calls it."""
    monkeypatch.setitem(sys.modules, "setups_of_others", sys.modules[__name__])


def memory(**options):
    """Return what a file with one handler in memory would contain."""
    return {
        "setups": {"default": {"handlers": ["memory"], **options}},
        "handlers": {"memory": {"class": "test"}},
    }


def problems_of(source, **kwargs) -> list[str]:
    """Return what is said of *source*; loading and checking agree."""
    with pytest.raises(SetupError) as caught:
        load(source, **kwargs)
    found = [str(problem) for problem in caught.value.problems]
    assert str(caught.value) == "\n".join(found)
    return found


# -- what a file may say


def test_handlers_are_bound_in_the_order_of_the_file(write, opened):
    """The last one is asked first; what it does not consume goes on to the one before."""
    path = write("""
        [setups.production]
        handlers = ["everything", "errors"]

        [handlers.everything]
        class = "test"

        [handlers.errors]
        class = "TestHandler"
        level = "error"
        bubble = true
    """)
    setup = opened(path)

    with setup:
        log.info("open")
        log.error("no price")

    assert setup.name == "production"
    assert setup.objects == [setup.handlers["everything"], setup.handlers["errors"]]
    assert setup.handlers["everything"].formatted_records == [
        "[INFO] shop: open",
        "[ERROR] shop: no price",
    ]
    assert setup.handlers["errors"].formatted_records == ["[ERROR] shop: no price"]


def test_every_public_handler_has_a_short_name():
    """Those of the two rooms, but for the bases; and each name leads to its class."""
    names = handler_names()

    for room in (sprockets.logbook.handlers, sprockets.logbook.queues):
        for name in room.__all__:
            if name.endswith("Handler") and name not in {
                "Handler",
                "WrapperHandler",
                "RemoteHandler",
            }:
                assert f"{room.__name__}.{name}" in names.values()
    assert {"stream", "file", "gmail", "gzip", "otlp", "threaded", "fingers_crossed"} <= set(names)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("fingers_crossed", FingersCrossedHandler),
        ("fingers-crossed", FingersCrossedHandler),
        ("FingersCrossedHandler", FingersCrossedHandler),
        ("sprockets.logbook.FingersCrossedHandler", FingersCrossedHandler),
        ("sprockets.logbook.queues:ThreadedWrapperHandler", ThreadedWrapperHandler),
    ],
)
def test_a_class_has_several_spellings(opened, name, cls):
    """A short name, the class's own, and a dotted path name the same class."""
    setup = opened(
        {
            "setups": {"one": {"handlers": ["outer"]}},
            "handlers": {
                "outer": {"class": name, "wraps": "memory"},
                "memory": {"class": "test"},
            },
        }
    )

    assert type(setup.handlers["outer"]) is cls


def test_a_table_with_the_name_of_a_class_is_of_that_class(opened):
    """And without a table the handler has nothing but defaults."""
    setup = opened(
        {
            "setups": {"one": {"handlers": ["null", "stderr"]}},
            "handlers": {"stderr": {"level": "error"}},
        }
    )

    null, stderr = setup.objects
    assert (type(null).__name__, type(stderr).__name__) == ("NullHandler", "StderrHandler")
    assert setup.handlers["stderr"].level == ERROR


def test_arguments_are_those_of_the_constructor(opened, tmp_path):
    """Every keyword of it, those that it passes on to a base, and what TOML has no words for."""
    setup = opened(
        {
            "setups": {"one": {"handlers": ["file", "remote"]}},
            "handlers": {
                "file": {
                    "class": "file",
                    "filename": str(tmp_path / "a.log"),
                    "delay": True,
                    "encoding": "latin-1",
                },
                "remote": {
                    "class": "syslog",
                    "address": ["localhost", 5140],
                    "delay": True,
                    "capacity": 7,
                    "retry": {"initial": 0.25, "attempts": 3},
                    "spool": {"folder": str(tmp_path / "spool"), "max_bytes": 4096},
                },
            },
        }
    )

    file, remote = setup.handlers["file"], setup.handlers["remote"]
    assert isinstance(file, FileHandler)
    assert file.encoding == "latin-1"
    assert file.stream is None
    assert isinstance(remote, SyslogHandler)
    assert remote.delivery.capacity == 7
    assert remote.delivery.retry.attempts == 3
    assert remote.delivery.spool.max_bytes == 4096


def test_a_stream_is_named(capsys, opened):
    """``"stdout"`` is standard output as it is when the set-up is made."""
    setup = opened(
        {
            "setups": {"one": {"handlers": ["console"]}},
            "handlers": {
                "console": {
                    "class": "stream",
                    "stream": "stdout",
                    "format": "{record.level_name}|{record.message}",
                }
            },
        }
    )

    with setup:
        log.warning("{} left", 2)

    assert capsys.readouterr().out == "WARNING|2 left\n"


@pytest.mark.parametrize("name", ["json", "logfmt", "ecs", "console"])
def test_a_format_is_named(capsys, opened, name):
    """Each of the known formats writes its line."""
    setup = opened(
        {
            "setups": {"one": {"handlers": ["console"]}},
            "handlers": {"console": {"class": "stream", "stream": "stdout", "format": name}},
        },
        environ={},
    )

    with setup:
        log.warning("{} left", 2)

    line = capsys.readouterr().out
    assert "2 left" in line
    assert "\x1b" not in line
    if name in ("json", "ecs"):
        assert json.loads(line)["message"] == "2 left"


def test_a_format_takes_options(capsys, opened):
    """A table names the format and has its arguments."""
    setup = opened(
        {
            "setups": {"one": {"handlers": ["console"]}},
            "handlers": {
                "console": {
                    "class": "stream",
                    "stream": "stdout",
                    "format": {"name": "json", "fields": ["message", "channel"]},
                }
            },
        }
    )

    with setup:
        log.warning("2 left")

    assert json.loads(capsys.readouterr().out) == {"message": "2 left", "channel": "shop"}


@pytest.mark.parametrize(
    ("environ", "colors"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_the_console_is_coloured_where_that_is_wanted(capsys, opened, environ, colors):
    """Not in a file or a pipe, unless the environment says so."""
    setup = opened(
        {
            "setups": {"one": {"handlers": ["console"]}},
            "handlers": {"console": {"class": "stream", "stream": "stdout", "format": "console"}},
        },
        environ=environ,
    )

    with setup:
        log.warning("2 left")

    assert ("\x1b" in capsys.readouterr().out) is colors


@pytest.mark.parametrize(
    ("options", "passed"),
    [
        ({"channels": ["payments"]}, ["payments", "payments.cards"]),
        ({"except_channels": ["payments"]}, ["shop", "paymentsx"]),
        ({"channels": ["payments"], "except_channels": ["payments.cards"]}, ["payments"]),
        ({"max_level": "debug"}, []),
        (
            {"min_level": "info", "max_level": 11},
            ["payments", "payments.cards", "shop", "paymentsx"],
        ),
        ({"min_level": "Notice"}, []),
    ],
)
def test_a_filter_goes_by_channel_and_level(opened, options, passed):
    """A channel's name stands for those below it too; the longest name decides."""
    setup = opened(
        {
            "setups": {"one": {"handlers": ["null", "memory"]}},
            "handlers": {"memory": {"class": "test", "filter": options}},
        }
    )

    with setup:
        for channel in ("payments", "payments.cards", "shop", "paymentsx"):
            Logger(channel).info("x")

    assert [record.channel for record in setup.handlers["memory"].records] == passed


def test_levels_are_those_of_channels(opened):
    """One default, and others for some channels and those below them."""
    setup = opened(
        {
            "setups": {
                "one": {
                    "handlers": ["null", "memory"],
                    "level": "warning",
                    "levels": {"payments": "debug", "payments.cards": "error"},
                }
            },
            "handlers": {"memory": {"class": "test"}},
        }
    )

    with setup:
        for channel in ("shop", "payments", "payments.bank", "payments.cards"):
            Logger(channel).debug("debug")
            Logger(channel).warning("warning")

    assert [(record.channel, record.message) for record in setup.handlers["memory"].records] == [
        ("shop", "warning"),
        ("payments", "debug"),
        ("payments", "warning"),
        ("payments.bank", "debug"),
        ("payments.bank", "warning"),
    ]


def test_one_level_for_all_costs_no_filter(opened):
    """It is the level of the handlers, so that what is below it ends at the logger."""
    setup = opened(memory(level="error"))
    handler = setup.handlers["memory"]

    assert (handler.level, handler.filter) == (ERROR, None)


def test_the_level_of_a_handler_that_wraps_goes_to_what_it_wraps(opened):
    """Where the settings are shared, they are set once, and in the one place."""
    source = memory(level="error")
    source["setups"]["default"]["handlers"] = ["outer"]
    source["handlers"]["outer"] = {"class": "threaded", "wraps": "memory"}
    setup = opened(source)

    assert setup.handlers["memory"].level == ERROR
    assert setup.handlers["outer"].level == ERROR


def test_fingers_crossed_holds_back_and_passes_on(opened):
    """It wraps the handler it names, which gets all when it is bad enough."""
    setup = opened(
        {
            "setups": {"one": {"handlers": ["null", "crossed"]}},
            "handlers": {
                "crossed": {"class": "fingers_crossed", "wraps": "memory", "action_level": "error"},
                "memory": {"class": "test"},
            },
        }
    )
    delivered = setup.handlers["memory"].records

    with setup:
        log.debug("looking up")
        assert not delivered
        log.error("no price")

    assert [record.message for record in delivered] == ["looking up", "no price"]


def test_processors_and_flags_are_bound_too(opened):
    """Fields, processors of others, and flags, for as long as the set-up is bound."""
    source = memory(processors=["service", "place"], flags={"errors": "silent", "colour": 3})
    source["processors"] = {
        "service": {"class": "fields", "service": "${NAME}", "port": 80},
        "place": {"class": "setups_of_others.Stamp", "where": "cellar"},
    }
    setup = opened(source, environ={"NAME": "shop"})

    with setup:
        log.info("open")
        assert Flags.get_flag("errors") == "silent"
        assert Flags.get_flag("colour") == 3

    extra = setup.handlers["memory"].records[0].extra
    assert dict(extra) == {"service": "shop", "port": 80, "where": "cellar"}
    assert Flags.get_flag("errors") is None
    assert isinstance(setup.objects[1], Fields)


def test_a_blackhole_ends_the_way_of_what_nobody_took(opened):
    """With it, the handlers bound before get nothing; without, what the set-up does not take."""
    with TestHandler() as below:
        with opened(memory(level="error")):
            log.info("passes")
        with opened(memory(level="error", blackhole=True)):
            log.info("ends")

    assert [record.message for record in below.records] == ["passes"]


def test_stdlib_logging_and_warnings_come_along(opened):
    """From the first binding to the end of the last, and they are put back afterwards."""
    setup = opened(memory(redirect_logging=True, redirect_warnings=True))
    before = list(logging.getLogger().handlers), warnings.showwarning

    with setup.applicationbound():
        with setup:
            pass
        logging.getLogger("driver").warning("%d retries", 3)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("the old way", FutureWarning, stacklevel=1)

    assert setup.handlers["memory"].formatted_records == [
        "[WARNING] driver: 3 retries",
        "[WARNING] FutureWarning: the old way",
    ]
    assert (list(logging.getLogger().handlers), warnings.showwarning) == before


# -- values from elsewhere


def test_variables_are_put_in(opened, tmp_path):
    """With a value for when they are unset or empty; and a plain ``${`` can be said."""
    setup = opened(
        {
            "setups": {"one": {"handlers": ["file"]}},
            "handlers": {
                "file": {
                    "class": "file",
                    "filename": "${FOLDER}/${NAME:-shop}$${x}${EMPTY:-.log}",
                    "delay": True,
                    "format": "{record.message}",
                }
            },
        },
        environ={"FOLDER": str(tmp_path), "EMPTY": ""},
    )

    with setup:
        log.info("open")

    assert (tmp_path / "shop${x}.log").read_text() == "open\n"


def test_a_variable_alone_is_a_number_where_one_is_wanted(opened):
    """A port, a switch, an item of an array; a text stays one."""
    setup = opened(
        {
            "setups": {"one": {"handlers": ["syslog", "other"]}},
            "handlers": {
                "syslog": {
                    "class": "syslog",
                    "address": ["localhost", "${PORT:-514}"],
                    "delay": "${DELAY}",
                    "timeout": "${TIMEOUT}",
                    "application_name": "${NUMBER}",
                    "level": "${LEVEL:-error}",
                },
                "other": {
                    "class": "setups_of_others.Shouting",
                    "volume": "${NUMBER}",
                    "name": "${NUMBER}",
                },
            },
        },
        environ={"DELAY": "true", "TIMEOUT": "2.5", "NUMBER": "7"},
    )

    other = setup.handlers["other"]
    assert (other.volume, other.name) == (7, "7")
    assert setup.handlers["syslog"].level == ERROR


def test_a_secret_comes_from_a_file_and_stays_out_of_what_is_said(write, tmp_path):
    """The path is relative to the file that says it; no problem repeats the contents."""
    (tmp_path / "password").write_text("tops3cret\n")
    path = write("""
        [setups.one]
        handlers = ["mail"]

        [handlers.mail]
        class = "mail"
        from_addr = "a@example.com"
        recipients = ["b@example.com"]
        credentials = ["me", {file = "password"}]
    """)
    setup = load(path)
    mail = setup.handlers["mail"]
    assert isinstance(mail, MailHandler)
    assert tuple(mail.credentials) == ("me", "tops3cret")
    setup.close()

    path.write_text(path.read_text().replace('["me", {file = "password"}]', '{file = "password"}'))
    (problem,) = problems_of(path)
    assert problem == (f"{path}: handlers.mail.credentials: must be a table or an array, got '***'")


def test_a_secret_in_the_environment_is_not_repeated_either():
    """What a constructor says about a password is cleared of it."""
    found = problems_of(
        {
            "setups": {"one": {"handlers": ["x"]}},
            "handlers": {"x": {"class": "setups_of_others.Shouting", "volume": "${APP_PASSWORD}"}},
        },
        environ={"APP_PASSWORD": "tops3cret"},
    )

    assert found == ["(mapping): handlers.x.volume: must be a whole number, got '***'"]


# -- several files, one set-up upon another


def test_files_include_others(write, opened):
    """What a file says itself stands before what it includes, the later before the earlier."""
    write(
        """
        [setups.base]
        handlers = ["memory"]
        level = "error"
        flags = {errors = "silent"}

        [handlers.memory]
        class = "test"
        level = "critical"
    """,
        "base.toml",
    )
    write(
        """
        [handlers.memory]
        class = "test"
        level = "info"
    """,
        "more.toml",
    )
    path = write("""
        include = ["base.toml", "${MORE}.toml"]

        [setups.base]
        extends = "base"
        level = "debug"

        [setups.tests]
        extends = "base"
        flags = {introspection = false}
    """)

    setup = opened(path, "tests", environ={"MORE": "more"})

    assert setup.handlers["memory"].level == INFO
    with setup:
        assert Flags.get_flag("errors") == "silent"
        assert Flags.get_flag("introspection") is False


def test_a_handler_extends_another(opened):
    """Its own keys stand before those of the other."""
    source = memory()
    source["handlers"]["memory"] |= {"level": "info", "bubble": True}
    source["handlers"]["loud"] = {"extends": "memory", "level": "error"}
    source["setups"]["default"]["handlers"] = ["memory", "loud"]
    setup = opened(source)

    loud = setup.handlers["loud"]
    assert (type(loud), loud.level, loud.bubble) == (TestHandler, ERROR, True)
    assert loud is not setup.handlers["memory"]


def test_which_set_up_is_meant(write, opened):
    """The one that is named, else the only one, else ``default``; a reference says both."""
    path = write("""
        [setups.default]
        [setups.other]
    """)

    assert opened(path).name == "default"
    assert opened(path, "other").name == "other"
    assert from_reference(f"{path}:other").name == "other"
    assert from_reference(str(path)).name == "default"
    assert problems_of(path, name="othr") == [
        f"{path}: setups: unknown set-up 'othr'; did you mean 'other'? known: default, other"
    ]
    assert problems_of({"setups": {"a": {}, "b": {}}}) == [
        "(mapping): setups: say which set-up, none is named 'default'; known: a, b"
    ]


# -- what is told of a wrong file


def test_the_error_goes_from_process_to_process():
    """It is the same after it was pickled."""
    problem = Problem("a.toml", "handlers.x", "level", "unknown level 'x'")

    error = pickle.loads(pickle.dumps(SetupError([problem], "nothing was bound")))

    assert error.problems == (problem,)
    assert str(error) == "a.toml: handlers.x.level: unknown level 'x'\nnothing was bound"


def test_all_problems_are_told_at_once(write):
    """With file, table, key, what was given, and what is possible."""
    path = write("""
        [setups.one]
        handlers = ["consol", "file", "syslog", "x", "crossed", "console"]
        procesors = []
        level = "dbug"
        flags = {errors = "loud"}
        redirect_logging = "yes"

        [handlers.console]
        class = "stream"
        stream = "stdot"
        format = "jsn"
        bubble = 1

        [handlers.file]
        class = "file"
        filname = "x"
        delay = "yes"

        [handlers.syslog]
        class = "sylog"

        [handlers.x]
        class = "setups_of_others.Shuting"

        [handlers.crossed]
        class = "fingers_crossed"
        wraps = "${NOWHERE}"

        [handlrs.y]
    """)

    found = problems_of(path, environ={})

    here = f"{path}: "
    handlers = ", ".join(sorted(handler_names()))
    for expected in [
        "handlrs: unknown table 'handlrs'; did you mean 'handlers'?"
        " known: handlers, include, processors, setups",
        "setups.one.handlers: unknown handler 'consol'; did you mean 'console'?"
        " known: console, crossed, file, syslog, x",
        "setups.one.level: unknown level 'dbug'; did you mean 'debug'?"
        " known: critical, debug, error, info, notice, notset, trace, warning",
        "setups.one.flags.errors: unknown value 'loud'; known: print, raise, silent",
        "setups.one.redirect_logging: must be true or false, got 'yes'",
        "handlers.console.stream: unknown stream 'stdot'; did you mean 'stdout'?"
        " known: stderr, stdout",
        "handlers.console.format: unknown format 'jsn'; did you mean 'json'?"
        " known: console, ecs, json, logfmt, or a layout such as"
        " '{record.level_name}: {record.message}'",
        "handlers.console.bubble: must be true or false, got 1",
        "handlers.file.filename: is missing; FileHandler needs it",
        "handlers.file.delay: must be true or false, got 'yes'",
        f"handlers.syslog.class: unknown handler 'sylog'; did you mean 'syslog'? known: {handlers}",
        "handlers.crossed.wraps: the variable NOWHERE is not set; set it, or write"
        " ${NOWHERE:-other} for when it is not",
    ]:
        assert here + expected in found
    assert any(
        "setups.one.procesors: unknown key 'procesors'; did you mean 'processors'?" in one
        for one in found
    )
    assert any(
        "handlers.file.filname: unknown key for FileHandler 'filname'; did you mean"
        " 'filename'?" in one
        for one in found
    )
    assert any(
        "handlers.x.class: unknown class in setups_of_others 'Shuting'; did you mean"
        " 'Shouting'?" in one
        for one in found
    )
    assert set(found) <= set(map(str, check(path, environ={})))


def test_what_a_constructor_refuses_is_told_with_the_key(tmp_path):
    """A value out of range, a word it does not know, a file that cannot be opened."""
    found = problems_of(
        {
            "setups": {"one": {"handlers": ["zip", "file", "syslog"]}},
            "handlers": {
                "zip": {
                    "class": "gzip",
                    "filename": str(tmp_path / "x.gz"),
                    "compression_quality": 11,
                },
                "file": {"class": "file", "filename": str(tmp_path / "no" / "x.log")},
                "syslog": {"class": "syslog", "facility": "locl3"},
            },
        }
    )

    assert found[0] == (
        "(mapping): handlers.zip.compression_quality: compression_quality must be 0 to 9, got 11"
    )
    assert found[1].startswith("(mapping): handlers.file.filename: cannot open ")
    assert found[2].startswith("(mapping): handlers.syslog.facility: ")


def test_a_missing_library_is_told_at_the_class(monkeypatch):
    """It says which extra to install."""
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "brotlicffi", None)

    (found,) = problems_of(
        {
            "setups": {"one": {"handlers": ["zip"]}},
            "handlers": {"zip": {"class": "brotli", "filename": "x.br", "delay": True}},
        }
    )

    assert found.startswith("(mapping): handlers.zip.class: ")
    assert "pip install" in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("os.system", "must be a class derived from Handler, 'os.system' is no class"),
        ("subprocess.Popen", "must be a class derived from Handler, 'subprocess.Popen' is the"),
        ("setups_of_others.not_a_class", "is no class"),
        ("setups_of_others.Stamp", "must be a class derived from Handler"),
        ("nowhere.at.All", "cannot import 'nowhere.at': ModuleNotFoundError"),
        ("os.", "cannot import"),
        ("__import__('os').system", "cannot import"),
    ],
)
def test_a_file_names_classes_of_handlers_and_nothing_else(name, text):
    """Whatever else a dotted path leads to is not called."""
    (found,) = problems_of(
        {"setups": {"one": {"handlers": ["x"]}}, "handlers": {"x": {"class": name}}}
    )

    assert found.startswith("(mapping): handlers.x.class: ")
    assert text in found


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("[setups.one", "is not TOML: "),
        ("x = 1\nx = 2", "is not TOML: "),
        (b"\xff", "is not UTF-8: invalid start byte at byte 0"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path, content, text):
    """One problem, and none that only follows from it."""
    path = tmp_path / "logging.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    (found,) = problems_of(path)

    assert found.startswith(f"{path}: {text}")
    assert [str(problem) for problem in check(path)] == [found]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"setups": {"a": {"extends": "b"}, "b": {"extends": "a"}}}, "extends itself"),
        ({"setups": {"a": {"extends": "x"}}}, "unknown name in setups 'x'"),
        ({"setups": {"a": {"extends": 3}}}, "must be the name of one of the setups, got 3"),
        ({"setups": {"a": {"handlers": "x"}}}, "must be an array of names, got 'x'"),
        ({"setups": {"a": {"handlers": ["null", "null"]}}}, "is there twice"),
        ({"setups": {"a": {"levels": {"x": "lod"}}}}, "levels.x: unknown level 'lod'"),
        ({"setups": {"a": {"levels": "x"}}}, "must be a table of channels and levels"),
        ({"setups": {"a": {"level": True}}}, "must be the name of a level or a number, got True"),
        ({"setups": {"a": {"flags": 1}}}, "must be a table of flags"),
        ({"setups": {"a": 1}}, "must be a table, got 1"),
        ({"setups": 1}, "must be a table of tables"),
        ({"setups": {"a": {"processors": ["x"]}}}, "unknown processor 'x'"),
        ({"setups": {"a": {}}, "include": 3}, "must be the paths of files, got 3"),
        ({"setups": {"a": {"level": "${1}"}}}, "cannot read the variable ${1}"),
    ],
)
def test_what_set_ups_cannot_say(source, text):
    """Each mistake has its own words."""
    with pytest.raises(SetupError) as caught:
        load(source, "a", environ={})

    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"class": "fingers_crossed"}, "x.wraps: is missing; FingersCrossedHandler needs the name"),
        ({"class": "test", "wraps": "y"}, "x.wraps: TestHandler wraps no other handler"),
        ({"class": "threaded", "wraps": "x"}, "x.wraps: 'x' wraps itself"),
        ({"class": "threaded", "wraps": 3}, "x.wraps: must be the name of a handler, got 3"),
        (
            {"class": "threaded", "wraps": "y", "level": "info"},
            "x.level: is that of the handler it wraps; say it at 'y'",
        ),
        (
            {"class": "fingers_crossed", "wraps": "y", "action_level": "eror"},
            "x.action_level: unknown level 'eror'; did you mean 'error'?",
        ),
        ({"class": "threaded", "wraps": "y", "handler": "y"}, "x.handler: unknown key"),
        ({"class": "test", "filter": {"chanels": []}}, "x.filter.chanels: unknown key 'chanels'"),
        ({"class": "test", "filter": {"channels": "a"}}, "must be an array of channels"),
        ({"class": "test", "filter": "a"}, "x.filter: must be a table of channels"),
        ({"class": "test", "format": {"nme": "json"}}, "x.format: must be the name of a format"),
        ({"class": "test", "format": {"name": "json", "x": 1}}, "x.format.x: unknown key for JSON"),
        ({"class": "test", "format": "{record.mesage"}, "x.format: "),
        ({"class": "stream"}, "x.stream: is missing; StreamHandler needs it"),
        ({"class": 3}, "x.class: must be the name of a handler or the dotted path"),
        ({}, "x.class: is missing; known: "),
        ({"class": "syslog", "retry": 3}, "x.retry: must be a table, got 3"),
        ({"class": "syslog", "retry": {"initail": 3}}, "x.retry.initail: unknown key for Retry"),
        ({"class": "syslog", "framing": "octets"}, "x.framing: unknown value 'octets'"),
        ({"class": "otlp", "headers": "x"}, "x.headers: must be a table, got 'x'"),
        ({"class": "setups_of_others.Shouting", "volume": {"file": "/nowhere/x"}}, "cannot read"),
    ],
)
def test_what_handlers_cannot_say(table, text):
    """Each mistake has its own words, whether it is loaded or checked."""
    source = {
        "setups": {"a": {"handlers": ["x"]}},
        "handlers": {"x": table, "y": {"class": "test"}},
    }

    with pytest.raises(SetupError) as caught:
        load(source, environ={})

    assert text in str(caught.value)
    assert any(text in str(problem) for problem in check(source, environ={}))


def test_files_that_include_each_other_are_told(write):
    """At the ``include`` that closes the circle."""
    write('include = ["logging.toml"]', "base.toml")
    path = write('include = ["base.toml"]\n[setups.a]')

    (found,) = problems_of(path)

    assert found.endswith("includes itself; one of the files must not")
    assert "base.toml: include: " in found


def test_an_included_file_that_is_missing_is_told_alone(write):
    """What it might have said is not missed one by one."""
    path = write('include = ["base.toml"]\n[setups.a]\nhandlers = ["x"]')

    (found,) = problems_of(path)

    assert found.startswith(f"{path}: include: cannot read ")


def test_what_was_opened_for_a_broken_set_up_is_closed(tmp_path):
    """Nothing stays open, and the folder of a spool is free for the next try."""
    source = {
        "setups": {"a": {"handlers": ["gate", "zip"]}},
        "handlers": {
            "gate": {"class": "setups_of_others.Watched"},
            "zip": {"class": "gzip", "filename": str(tmp_path / "x"), "compression_quality": 99},
        },
    }

    problems_of(source)

    assert [handler.is_closed for handler in Watched.made] == [True]
    Watched.made.clear()


class Watched(Handler):
    """Says whether it was closed."""

    made: list["Watched"] = []  # noqa: RUF012 - shared on purpose

    def __init__(self, tag: str = "") -> None:
        super().__init__()
        self.is_closed = False
        self.tag = tag
        self.made.append(self)

    def close(self):
        self.is_closed = True


# -- checking


def test_a_check_leaves_no_trace(tmp_path, write):
    """No file, no folder, no handler of somebody else's; also for tables that nobody uses."""
    path = write(f"""
        [setups.one]
        handlers = ["file", "crossed"]

        [handlers.file]
        class = "file"
        filename = "{tmp_path}/a.log"
        mode = "w"

        [handlers.crossed]
        class = "fingers_crossed"
        wraps = "remote"

        [handlers.remote]
        class = "syslog"
        address = ["localhost", 1]
        spool = "{tmp_path}/spool"

        [handlers.other]
        class = "setups_of_others.Shouting"
        volume = 3

        [handlers.unused]
        class = "gzip"
        filename = "{tmp_path}/a.gz"
        compression_quality = 12

        [processors.wrong]
        class = "filds"
    """)
    made = Shouting.made

    found = check(path)

    assert [(problem.table, problem.key) for problem in found] == [
        ("processors.wrong", "class"),
        ("handlers.unused", "compression_quality"),
    ]
    assert found[0] == Problem(
        str(path),
        "processors.wrong",
        "class",
        "unknown processor 'filds'; did you mean 'fields'? known: actions, fields",
    )
    assert check(path, "one") == []
    assert Shouting.made == made
    assert [file.name for file in tmp_path.iterdir()] == ["logging.toml"]


# -- bound, unbound, closed


def test_it_is_unbound_whatever_was_bound_after_it(opened):
    """It leaves its place; what others bound stays."""
    setup = opened(memory(flags={"errors": "silent"}))
    setup.push_application()
    with TestHandler().applicationbound():
        setup.pop_application()
        assert Flags.get_flag("errors") is None
        log.info("open")

    assert not setup.handlers["memory"].records


def test_what_cannot_be_is_said(opened):
    """Binding twice, unbinding what is not bound, using what is closed."""
    setup = opened(memory())
    with pytest.raises(AssertionError, match="is not bound to the application"):
        setup.pop_application()
    with pytest.raises(AssertionError, match="is not bound to this context"):
        setup.pop_context()
    with setup.applicationbound(), pytest.raises(AssertionError, match="application already"):
        setup.push_application()

    assert setup.close()
    assert setup.close()

    for method in (setup.push_application, setup.push_context, setup.reload):
        with pytest.raises(AssertionError, match="is closed; load it again"):
            method()
    assert repr(setup) == "<Setup 'default' of (mapping)>"


def test_closing_unbinds_and_delivers(opened):
    """Nothing logs to a closed handler, and what waited was delivered."""
    Collecting.delivered.clear()
    setup = opened(collecting("a"))
    setup.push_application()
    log.info("open")

    assert setup.close()

    assert Collecting.delivered == ["open"]
    assert not any(bound in setup.objects for bound in Handler.stack_manager.iter_context_objects())


def test_a_handler_that_cannot_be_closed_keeps_none_open(capsys, opened):
    """It is reported, and the others are closed."""
    setup = opened(
        {
            "setups": {"a": {"handlers": ["one", "two"]}},
            "handlers": {
                name: {"class": "setups_of_others.Watched", "tag": name} for name in ("one", "two")
            },
        }
    )
    one, two = Watched.made
    Watched.made.clear()
    two.close = lambda: 1 / 0

    assert not setup.close()

    assert one.is_closed
    assert "ZeroDivisionError" in capsys.readouterr().err
    del two.close


# -- reload


def collecting(tag):
    return {
        "setups": {"default": {"handlers": ["remote"]}},
        "handlers": {"remote": {"class": "setups_of_others.Collecting", "tag": tag}},
    }


def test_a_reload_puts_the_new_in_the_place_of_the_old(write, opened):
    """In the same place on the stack: what was bound after it is still asked first."""
    path = write("""
        [setups.one]
        handlers = ["a"]
        processors = ["p"]
        [handlers.a]
        class = "test"
        [processors.p]
        class = "fields"
        version = 1
    """)
    setup = opened(path)
    old = setup.handlers["a"]
    with TestHandler().applicationbound() as below, setup.applicationbound():
        with TestHandler(level=ERROR).applicationbound() as above:
            path.write_text(
                path.read_text()
                .replace('class = "test"', 'class = "test"\nforce_heavy_init = true')
                .replace("= 1", "= 2\n[handlers.b]\nclass = 'test'\nbubble=true")
                .replace('["a"]', '["a", "b"]')
                .replace("[handlers.a]", "flags = {errors = 'silent'}\n[handlers.a]")
            )

            setup.reload()

            log.info("to the new")
            log.error("above")
            assert Flags.get_flag("errors") == "silent"
        log.info("still")

    assert not old.records
    assert not below.records
    assert [record.message for record in above.records] == ["above"]
    for name in ("a", "b"):
        new = setup.handlers[name]
        assert [record.message for record in new.records] == ["to the new", "still"]
        assert new.records[0].extra["version"] == 2
    assert setup.statistics() == {"reloads": 1, "failed_reloads": 0, "left_open": 0}


def test_a_reload_keeps_handlers_that_are_only_set_otherwise(opened):
    """Level, bubble, filter and format change in place, back to the handler's own as well."""
    source = memory(level="error")
    setup = opened(source)
    handler = setup.handlers["memory"]
    before = handler.formatter, handler.filter

    changed = memory(levels={"shop": "info"})
    changed["handlers"]["memory"] |= {
        "level": "debug",
        "bubble": True,
        "format": "json",
        "filter": {"channels": ["shop"]},
    }
    setup.reload(changed)
    assert setup.handlers["memory"] is handler
    assert (handler.level, handler.bubble) == (DEBUG, True)
    assert isinstance(handler.formatter, JSONFormatter)
    assert handler.filter is not None

    setup.reload(memory())
    assert setup.handlers["memory"] is handler
    assert (handler.level, handler.bubble) == (NOTSET, False)
    assert (handler.formatter, handler.filter) == before


def test_what_wraps_is_kept_or_replaced_with_what_it_wraps(opened):
    """One that is closed closes what it wraps, so that is not kept."""

    def source(maxsize, tag):
        return {
            "setups": {"a": {"handlers": ["outer", "other"]}},
            "handlers": {
                "outer": {"class": "threaded", "wraps": "inner", "maxsize": maxsize},
                "inner": {"class": "setups_of_others.Watched", "tag": tag},
                "other": {"class": "setups_of_others.Watched"},
            },
        }

    setup = opened(source(10, "a"))
    first = dict(setup.handlers)

    setup.reload(source(20, "a"))
    second = dict(setup.handlers)
    assert first["inner"] is not second["inner"]
    assert first["inner"].is_closed
    assert second["other"] is first["other"]
    assert not second["other"].is_closed

    setup.reload(source(20, "b"))
    assert setup.handlers["outer"] is not second["outer"]
    assert second["inner"].is_closed
    assert not setup.handlers["inner"].is_closed
    Watched.made.clear()


def test_a_broken_file_leaves_the_old_in_force_and_says_so(write, opened):
    """Also if only a constructor finds out, when other handlers were made already."""
    path = write("""
        [setups.one]
        handlers = ["a"]
        [handlers.a]
        class = "test"
    """)
    setup = opened(path)
    handler = setup.handlers["a"]
    good = path.read_text()
    with setup.applicationbound():
        for broken in (
            "[setups",
            good.replace('"a"', '"b"'),
            good.replace(
                'class = "test"', 'class = "gzip"\nfilename = "x"\ncompression_quality=99'
            ),
        ):
            path.write_text(broken)
            with pytest.raises(SetupError) as caught:
                setup.reload()
            assert str(caught.value).endswith("\nthe set-up 'one' stays as it was")
        path.unlink()
        with pytest.raises(SetupError, match="cannot read"):
            setup.reload()
        log.info("open")

    assert setup.handlers["a"] is handler
    assert [record.message for record in handler.records] == ["open"]
    assert setup.statistics() == {"reloads": 0, "failed_reloads": 4, "left_open": 0}


def test_a_context_keeps_what_it_has_bound(opened):
    """Until it unbinds; then the old one is closed, and what it shares with the new is not."""

    def source(tag):
        return {
            "setups": {"a": {"handlers": ["changes", "stays"]}},
            "handlers": {
                "changes": {"class": "setups_of_others.Watched", "tag": tag},
                "stays": {"class": "setups_of_others.Watched", "tag": "s"},
            },
        }

    setup = opened(source("1"))
    old = setup.handlers["changes"]
    with setup:
        setup.reload(source("2"))
        assert old in list(Handler.stack_manager.iter_context_objects())
        assert not old.is_closed
        with setup:
            assert setup.handlers["changes"] in list(Handler.stack_manager.iter_context_objects())

    assert old.is_closed
    assert not setup.handlers["stays"].is_closed
    Watched.made.clear()


def test_an_old_handler_is_closed_when_no_log_call_is_in_it(opened):
    """A call that began before the exchange ends in a handler that is open."""
    source = {
        "setups": {"a": {"handlers": ["gate"]}},
        "handlers": {"gate": {"class": "setups_of_others.Gate"}},
    }
    setup = opened(source)
    gate = setup.handlers["gate"]
    with setup.applicationbound():
        logging_thread = threading.Thread(target=log.info, args=("slow",))
        logging_thread.start()
        assert gate.entered.wait(TIMEOUT)
        reloading = threading.Thread(
            target=setup.reload, args=(memory() | {"setups": {"a": {"handlers": ["memory"]}}},)
        )
        reloading.start()
        try:
            while setup.handlers.keys() != {"memory"}:
                assert reloading.is_alive()
            log.info("to the new")
            assert not gate.closed.is_set()
        finally:
            gate.go_on.set()
        logging_thread.join(TIMEOUT)
        reloading.join(TIMEOUT)

    assert gate.closed.is_set()
    assert not gate.closed_while_inside
    assert [record.message for record in setup.handlers["memory"].records] == ["to the new"]


def test_waiting_for_calls_has_an_end():
    """A call that hangs is given up; one that is over, though its thread logs on, is not missed."""
    gate = Gate()
    ready = threading.Event()

    def work():
        with gate:
            log.info("hangs")
        ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert gate.entered.wait(TIMEOUT)
    times = iter([0.0, 1.0, 9.0])

    assert not _binding.wait_for_calls(5.0, clock=lambda: next(times), sleep=lambda _: None)
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        gate.go_on.set()
        thread.join(TIMEOUT)

    assert _binding.wait_for_calls(TIMEOUT, sleep=sleep)
    assert len(sleeps) == 1
    assert ready.is_set()


def test_a_call_of_stdlib_logging_is_waited_for_too(opened):
    """The bridge has handlers in its hands as well."""
    source = {
        "setups": {"a": {"handlers": ["gate"], "redirect_logging": True}},
        "handlers": {"gate": {"class": "setups_of_others.Gate"}},
    }
    setup = opened(source)
    gate = setup.handlers["gate"]
    with setup.applicationbound():
        thread = threading.Thread(target=logging.getLogger("driver").warning, args=("slow",))
        thread.start()
        assert gate.entered.wait(TIMEOUT)
        times = iter([0.0, 9.0])
        assert not _binding.wait_for_calls(5.0, clock=lambda: next(times), sleep=lambda _: None)
        gate.go_on.set()
        thread.join(TIMEOUT)


def test_an_exchange_is_one_step(opened, monkeypatch):
    """There is no moment at which the application has neither set-up, or both."""
    setup = opened(collecting("a") | {"processors": {"p": {"class": "fields", "x": 1}}})
    old = setup.objects
    seen = []
    replace = _context._replace_application

    def replace_and_look(*stacks):
        replace(*stacks)
        seen.append(list(Handler.stack_manager.iter_context_objects()))

    with setup.applicationbound():
        monkeypatch.setattr(_context, "_replace_application", replace_and_look)
        setup.reload(collecting("b"))
        monkeypatch.undo()
        new = setup.objects

    assert new != old
    assert len(seen) >= 1
    for bound in seen:
        assert [obj in bound for obj in (*old, *new)] in ([True, False], [False, True])


@pytest.fixture(name="busy")
def _busy():
    """Have threads take turns far more often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("busy")
def test_nothing_is_lost_between(opened, tmp_path):
    """Four threads log all the time; every record is delivered, once, by some handler."""
    Collecting.delivered.clear()
    count, threads = 1500, 4

    def source(number):
        return {
            "setups": {"default": {"handlers": ["remote", "file", "zip"]}},
            "handlers": {
                "remote": {"class": "setups_of_others.Collecting", "tag": str(number)},
                "file": {
                    "class": "file",
                    "filename": str(tmp_path / f"shop{number % 2}.log"),
                    "mode": "w" if number == 0 else "a",
                    "bubble": True,
                    "format": "{record.message}",
                },
                "zip": {
                    "class": "threaded",
                    "wraps": "inner",
                    "maxsize": -number,
                },
                "inner": {
                    "class": "gzip",
                    "filename": str(tmp_path / "shop.gz"),
                    "bubble": True,
                    "format": "{record.message}",
                },
            },
        }

    setup = opened(source(0))
    is_running = threading.Barrier(threads + 1)
    failures = []

    def work(thread):
        is_running.wait(TIMEOUT)
        try:
            with Flags(errors="raise"):
                for number in range(count):
                    log.info("{}-{}", thread, number)
        except BaseException as error:
            failures.append(error)
            raise

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    with setup.applicationbound():
        for worker in workers:
            worker.start()
        is_running.wait(TIMEOUT)
        number = 0
        while any(worker.is_alive() for worker in workers) or number < 4:
            number += 1
            setup.reload(source(number))
        for worker in workers:
            worker.join(TIMEOUT)
    assert setup.close()

    expected = sorted(f"{thread}-{number}" for thread in range(threads) for number in range(count))
    assert not failures
    assert sorted(Collecting.delivered) == expected
    lines = [line for n in (0, 1) for line in (tmp_path / f"shop{n}.log").read_text().split()]
    assert sorted(lines) == expected
    assert sorted(gzip.decompress((tmp_path / "shop.gz").read_bytes()).decode().split()) == expected
    assert setup.statistics()["reloads"] == number
    assert setup.statistics()["left_open"] == 0


def test_a_file_is_emptied_at_the_start_and_not_by_a_reload(opened, tmp_path):
    """``mode = "w"`` is for the program's start."""
    path = tmp_path / "shop.log"
    path.write_text("of the last run\n")

    def source(encoding):
        return {
            "setups": {"a": {"handlers": ["file"]}},
            "handlers": {
                "file": {
                    "class": "file",
                    "filename": str(path),
                    "mode": "w",
                    "encoding": encoding,
                    "format": "{record.message}",
                }
            },
        }

    setup = opened(source("utf-8"))
    with setup.applicationbound():
        log.info("one")
        setup.reload(source("latin-1"))
        log.info("two")

    assert path.read_text() == "one\ntwo\n"


def test_a_group_is_passed_on_when_it_is_replaced(opened):
    """Nobody pops it any more, so its end is the reload."""
    source = {
        "setups": {"a": {"handlers": ["group"]}},
        "handlers": {
            "group": {"class": "group", "wraps": "memory"},
            "memory": {"class": "test"},
        },
    }
    setup = opened(source)
    inner = setup.handlers["memory"]
    with setup.applicationbound():
        log.info("one")
        assert not inner.records

        setup.reload(memory() | {"setups": {"a": {"handlers": ["memory"]}}})

    assert [record.message for record in inner.records] == ["one"]


def test_a_set_up_goes_through_a_fork():
    """A child, forked while another thread reloads, logs, reloads and closes."""
    code = """
        import os, threading
        from sprockets.logbook import Logger
        from sprockets.logbook.setups import load

        def source(tag):
            return {
                "setups": {"a": {"handlers": ["console"]}},
                "handlers": {"console": {
                    "class": "stream", "stream": "stdout", "format": "{record.message}",
                    "encoding": tag,
                }},
            }

        setup = load(source("utf-8"))
        setup.push_application()
        stop = threading.Event()
        def reload():
            while not stop.is_set():
                setup.reload(source("ascii"))
                setup.reload(source("utf-8"))
        thread = threading.Thread(target=reload)
        thread.start()
        for _ in range(20):
            child = os.fork()
            if not child:
                setup.reload(source("latin-1"))
                Logger("x").info("child")
                os._exit(0 if setup.close() else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        thread.join()
        assert setup.close()
    """
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "child\n" * 20


# -- probes


def test_a_probe_of_a_file_is_a_line_in_it(tmp_path):
    """Past filter and level, and past what holds records back."""
    file = FileHandler(
        tmp_path / "a.log",
        level="ERROR",
        filter=lambda record, handler: False,
        format_string="{record.channel}: {record.message}",
    )

    found = probe(FingersCrossedHandler(ThreadedWrapperHandler(file)), text="hello")
    file.close()

    assert (found.handler, found.arrived) == ("FileHandler", True)
    assert found.detail == f"written to {tmp_path / 'a.log'}"
    assert found.seconds >= 0
    assert (tmp_path / "a.log").read_text() == "sprockets.probe: hello\n"


def test_a_probe_says_why_it_failed(tmp_path):
    """What the handler raises is the answer."""
    stream = io.StringIO()
    stream.close()

    found = probe(StreamHandler(stream))

    assert not found.arrived
    assert found.detail.startswith("ValueError: ")


def test_a_probe_of_syslog_is_seen_by_the_server():
    """A server that takes it, and one that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        handler = SyslogHandler("shop", address=address, socktype=socket.SOCK_STREAM, delay=True)
        got = []

        def serve():
            connection, _ = server.accept()
            with connection:
                got.append(connection.recv(4096))

        thread = threading.Thread(target=serve)
        thread.start()
        found = probe(handler, text="hello", timeout=TIMEOUT)
        handler.close()
        thread.join(TIMEOUT)
    assert (found.handler, found.arrived) == ("SyslogHandler", True)
    assert b"hello" in got[0]

    nobody = SyslogHandler("shop", address=address, socktype=socket.SOCK_STREAM, delay=True)
    found = probe(nobody, timeout=0.2)
    nobody.close(0)
    assert not found.arrived
    assert "not delivered within 0.2 s" in found.detail


class Refusing(RemoteHandler):
    """Has everything be a dead letter."""

    def deliver(self, items):
        raise ValueError("no")


def test_a_probe_of_what_refuses_is_no_arrival(capsys):
    """A dead letter did not arrive, though nothing waits any more."""
    handler = Refusing()

    found = probe(handler, timeout=TIMEOUT)
    handler.close()

    assert not found.arrived
    assert "1 dead" in found.detail
    assert "no" in capsys.readouterr().err


def test_a_probe_of_a_mail_without_a_server_says_so():
    """It does not wait longer than it is told to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    mail = MailHandler("a@example.com", ["b@example.com"], server_addr=address)

    found = probe(mail, timeout=0.2)
    mail.close(0)

    assert (found.handler, found.arrived) == ("MailHandler", False)
    assert "not delivered within 0.2 s" in found.detail


def test_a_probe_of_what_swallows_is_content():
    """A blackhole does what it is for."""
    found = probe(sprockets.logbook.NullHandler())

    assert isinstance(found, Probe)
    assert (found.arrived, found.detail) == (True, "swallowed, as it should be")
