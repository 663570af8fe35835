"""The logging set-ups of a service: what each ``log_config`` binds, and that it all goes again."""

import io
import json
import logging
import logging.config
import logging.handlers
import os
import re
import subprocess
import sys
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.http._logging import (
    LOG_FORMATS,
    UNSET,
    LogSetup,
    builtin_config,
    make_setup,
    reopen_files,
)
from sprockets.logbook import (
    DEBUG,
    Fields,
    FileHandler,
    FingersCrossedHandler,
    Handler,
    Logger,
    NestedSetup,
    NullHandler,
    Processor,
    StreamHandler,
    TestHandler,
    WrapperHandler,
)
from sprockets.logbook.compat import LoggingHandler


def _state():
    root = logging.getLogger()
    return (
        [id(bound) for bound in Handler.stack_manager.iter_context_objects()],
        [id(bound) for bound in Processor.stack_manager.iter_context_objects()],
        set(root.handlers),  # pytest changes the order of its own
        root.level,
        list(root.filters),
        warnings.showwarning,
        list(warnings.filters),
    )


@pytest.fixture(autouse=True)
def _leaves_logging_as_it_was():
    """Fail a test after which logging is another than before."""
    before = _state()
    yield
    assert _state() == before


@pytest.fixture(name="stdlib")
def _stdlib():
    """Put stdlib logging back after a test that configures it for good."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    known = set(logging.Logger.manager.loggerDict)
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    for handler in handlers:
        if handler not in root.handlers:
            root.addHandler(handler)
    root.setLevel(level)
    for name in set(logging.Logger.manager.loggerDict) - known:
        del logging.Logger.manager.loggerDict[name]


@pytest.fixture(name="setup")
def _setup():
    """Make set-ups, and unbind them after the test."""
    made = []

    def make(*args, **kwargs):
        made.append(LogSetup(*args, environ=kwargs.pop("environ", {}), **kwargs))
        return made[-1]

    yield make
    for setup in made:
        setup.unbind()


@pytest.fixture(name="stream")
def _stream():
    return io.StringIO()


def bound():
    return list(Handler.stack_manager.iter_context_objects())


class Terminal(io.StringIO):
    def isatty(self):
        return True


# -- the layouts of 2.5


@pytest.mark.rule("H2.1")
@pytest.mark.parametrize(("debug", "level"), [(True, "DEBUG"), (False, "INFO")])
def test_a_layout_is_one_handler_on_the_root_logger(debug, level):
    """Both layouts leave existing loggers alone, and write to standard output."""
    config = builtin_config(debug, {})

    assert config["version"] == 1
    assert config["disable_existing_loggers"] is False
    assert config["incremental"] is False
    (name,) = config["root"]["handlers"]
    assert config["root"]["level"] == config["handlers"][name]["level"] == level
    assert config["handlers"][name]["class"] == "logging.StreamHandler"
    assert config["handlers"][name]["stream"] == "ext://sys.stdout"


def lines_of(config, capsys, **extra):
    logging.config.dictConfig(config)
    logging.getLogger("shop").warning("%d left", 2, extra=extra)
    logging.getLogger("shop").debug("looking")
    return capsys.readouterr().out.splitlines()


@pytest.mark.rule("H2.1")
def test_the_debug_layout_is_for_reading(stdlib, capsys):
    """Time, level, logger and message, debug records included."""
    first, second = lines_of(builtin_config(True, {}), capsys)

    assert re.fullmatch(r"\[\d{4}-\S+ \S+\] WARNING  shop: 2 left", first)
    assert second.endswith("DEBUG    shop: looking")


@pytest.mark.rule("H2.2", "H2.3")
@pytest.mark.parametrize(
    ("environ", "service"),
    [
        ({}, ""),
        ({"SERVICE": "shop"}, ""),
        ({"ENVIRONMENT": "test", "SERVICE": ""}, ""),
        ({"SERVICE": "shop", "ENVIRONMENT": "test"}, ' service="shop" environment="test"'),
    ],
)
def test_the_structured_layout_names_the_service(stdlib, capsys, environ, service):
    """Both variables are needed; the correlation id is empty if the record has none."""
    (line,) = lines_of(builtin_config(False, environ), capsys)

    assert re.fullmatch(
        rf'W\[sprockets@34085{service} correlation_id="" logger="shop" process="{os.getpid()}"'
        r' line="\d+" function="lines_of" module="test_logging_setups"\] 2 left',
        line,
    )


@pytest.mark.rule("H2.2")
def test_a_correlation_id_is_never_overwritten(stdlib, capsys):
    """What the record has is what is written."""
    (line,) = lines_of(builtin_config(False, {}), capsys, **{"correlation-id": "c1"})

    assert ' correlation_id="c1" ' in line


@pytest.mark.rule("H2.4")
def test_a_per_cent_sign_in_the_environment_is_no_format(stdlib, capsys):
    """What the service is called may have any characters."""
    environ = {"SERVICE": "50%s", "ENVIRONMENT": "%(x)d{service}"}

    (line,) = lines_of(builtin_config(False, environ), capsys)

    assert ' service="50%s" environment="%(x)d{service}" ' in line


# -- the built-in set-ups


@pytest.mark.rule("D-13")
def test_json_is_one_object_a_line_under_the_names_of_a_record(stream):
    """Message, context and traceback are in it, and nothing of lower level."""
    log = Logger("shop")

    with make_setup("json", stream=stream, environ={}), Fields(request_id="r1"):
        log.debug("looking")
        log.warning("only {} left", "a\nb")
        try:
            raise KeyError("price")
        except KeyError:
            log.exception("no price", currency="€")

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["message"] == "only a\nb left"
    assert first["channel"] == "shop"
    assert first["level_name"] == "WARNING"
    assert first["extra"] == {"request_id": "r1"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["time"])
    assert second["exception_name"] == "builtins.KeyError"
    assert second["formatted_exception"].endswith("KeyError: 'price'")


def test_the_console_shows_message_then_context_then_traceback(stream):
    """Request id, method and path come first; what is a text of several words is quoted."""
    log = Logger("shop")

    with make_setup("console", stream=stream, environ={}):
        with Fields(user="ann b", path="/a", request_id="r1", method="GET", none=None, n=3):
            log.info("sold {}", "a\x1b[31m\nb")
            try:
                raise KeyError("price\nforged")
            except KeyError:
                log.exception("no price")

    first, second, *rest = stream.getvalue().splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} INFO     shop: sold a\\x1b\[31m\\nb  "
        r'request_id=r1 method=GET path=/a user="ann b" n=3',
        first,
    )
    assert " ERROR    shop: no price  request_id=r1 " in second
    assert rest[0] == "Traceback (most recent call last):"
    assert "forged" not in rest
    assert "\x1b" not in stream.getvalue()


def test_the_console_is_coloured_on_a_terminal():
    """The level has a colour, the context is dim, and the message is as it is."""
    terminal = Terminal()

    with make_setup("console", stream=terminal, environ={}), Fields(request_id="r1"):
        Logger("shop").warning("sold")

    line = terminal.getvalue()
    assert "\x1b[33mWARNING \x1b[0m shop: sold  \x1b[2mrequest_id=r1\x1b[0m\n" in line


def test_an_access_record_does_not_repeat_its_fields_on_the_console(stream):
    """Its line has said them; the request id it has not."""
    with make_setup("console", stream=stream, environ={}):
        with Fields(method="GET", status=200, request_id="r1"):
            Logger("tornado.access").info("GET / 200")

    assert stream.getvalue().endswith("tornado.access: GET / 200  request_id=r1\n")


def test_the_structured_line_has_the_id_of_the_request(stream):
    """Like the line of 2.5; quotes and brackets of a client cannot end a parameter."""
    environ = {"SERVICE": "shop", "ENVIRONMENT": "50%"}

    with make_setup("structured", stream=stream, environ=environ):
        with Fields(request_id='r1"]\n\\'):
            Logger("shop").notice("sold\nforged")
        with Fields(request_id="r1", **{"correlation-id": "c1"}):
            Logger("shop").error("lost")

    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(
        r'N\[sprockets@34085 service="shop" environment="50%"'
        r' correlation_id="r1\\"\\\]\\n\\\\" logger="shop" process="\d+" line="\d+"'
        r' function="test_the_structured_line_has_the_id_of_the_request"'
        r' module="test_logging_setups"\] sold\\nforged',
        first,
    )
    assert ' correlation_id="c1" ' in second
    assert second.startswith("E[")


ANYTHING = st.text(st.characters(exclude_categories=()), max_size=40)


@pytest.mark.parametrize("log_format", LOG_FORMATS)
@given(channel=ANYTHING, message=ANYTHING, key=ANYTHING, value=ANYTHING | st.integers())
def test_one_record_is_one_line_whatever_is_in_it(log_format, channel, message, key, value):
    """What is logged cannot make another line, nor reach the terminal."""
    stream = io.StringIO()

    with make_setup(log_format, stream=stream, environ={}):
        with Fields(**{key: value, "request_id": value}):
            Logger(channel).info(message)

    line = stream.getvalue()
    assert line.endswith("\n")
    assert "\x1b" not in line
    assert len(line.splitlines()) == 1
    if log_format == "json":
        assert json.loads(line)["message"] == message


def test_what_a_set_up_does_not_write_nobody_writes(stream):
    """Records below its level do not fall through to what is bound underneath."""
    with TestHandler() as below, make_setup("json", stream=stream, environ={}):
        Logger("shop").debug("looking")

    assert below.records == []
    assert stream.getvalue() == ""


def test_no_standard_output_is_no_error(monkeypatch):
    """A service without one writes nothing."""
    monkeypatch.setattr(sys, "stdout", None)

    with make_setup("json", environ={}):
        Logger("shop").error("nobody hears this")


# -- which of them


@pytest.mark.parametrize(
    ("debug", "log_format", "environ", "start"),
    [
        (False, None, {}, "{"),
        (True, None, {}, "0123456789"),
        (False, None, {"LOG_FORMAT": "console"}, "0123456789"),
        (False, None, {"LOG_FORMAT": " "}, "{"),
        (True, None, {"LOG_FORMAT": "Structured"}, "W"),
        (True, "json", {"LOG_FORMAT": "structured"}, "{"),
    ],
)
def test_settings_then_environment_then_debug_choose_the_format(
    setup, stream, debug, log_format, environ, start
):
    """Console lines in debug mode, JSON otherwise, unless somebody chooses; no warning."""
    chosen = setup(UNSET, debug=debug, log_format=log_format, environ=environ, stream=stream)

    chosen.bind_in_parent()
    chosen.bind_in_worker()
    Logger("shop").warning("sold")
    Logger("shop").debug("looking")

    lines = stream.getvalue().splitlines()
    assert len(lines) == 1 + debug
    assert lines[0][0] in start


@pytest.mark.parametrize(
    ("log_config", "log_format", "environ", "text"),
    [
        (UNSET, "xml", {}, "unknown log_format 'xml'; known: json, console, structured"),
        (UNSET, None, {"LOG_FORMAT": "xml"}, "unknown LOG_FORMAT 'xml'; known: json, "),
        (TestHandler, None, {"LOG_FORMAT": "xml"}, "unknown LOG_FORMAT 'xml'"),
        (None, "", {}, "unknown log_format ''"),
    ],
)
def test_an_unknown_format_is_an_error_that_names_the_known(log_config, log_format, environ, text):
    """It says what was given, where, and what there is."""
    with pytest.raises(ValueError, match=text):
        LogSetup(log_config, log_format=log_format, environ=environ)


def test_a_format_nobody_uses_is_not_looked_at():
    """Who brings a set-up does not care for what the environment says of ours."""
    LogSetup(None, environ={"LOG_FORMAT": "xml"})


# -- what log_config may be


def log_in_all_ways():
    Logger("shop").info("a record")
    logging.getLogger("old").info("a %s one", "stdlib")
    warnings.warn("a warning", UserWarning, stacklevel=1)


@pytest.mark.rule("D-2")
def test_a_handler_gets_records_stdlib_records_and_warnings(setup):
    """It is bound from the parent on; the worker has nothing to add."""
    handler = TestHandler()
    given_one = setup(handler)

    given_one.bind_in_parent()
    warnings.simplefilter("always")
    log_in_all_ways()
    given_one.bind_in_worker()
    log_in_all_ways()
    given_one.unbind()

    assert [record.message for record in handler.records] == [
        "a record",
        "a stdlib one",
        "a warning",
    ] * 2


@pytest.mark.rule("D-2")
def test_a_nested_set_up_is_bound_whole(setup):
    """Processors and handlers alike, and all of it goes again."""
    handler = TestHandler()
    nested = NestedSetup([NullHandler(), NestedSetup([Fields(service="shop")]), handler])

    given_one = setup(nested)
    given_one.bind_in_parent()
    Logger("shop").info("sold")
    given_one.unbind()
    given_one.unbind()

    assert handler.records[0].extra["service"] == "shop"


@pytest.mark.rule("D-2")
def test_a_function_is_called_in_the_worker_and_its_handler_closed(setup, stream):
    """The built-in set-up speaks until then, and not a moment longer."""

    class Closing(TestHandler):
        closed = 0

        def close(self):
            self.closed += 1
            super().close()

    made = []
    given_one = setup(lambda: made.append(Closing()) or made[-1], stream=stream)

    given_one.bind_in_parent()
    assert made == []
    Logger("shop").info("in the parent")
    given_one.bind_in_worker()
    given_one.bind_in_worker()
    Logger("shop").info("in the worker")
    logging.getLogger("old").info("from stdlib")

    (handler,) = made
    assert [record.message for record in handler.records] == ["in the worker", "from stdlib"]
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        "in the parent"
    ]
    given_one.unbind()
    assert handler.closed == 1


def test_a_function_that_fails_is_told_of_by_the_built_in_set_up(setup, stream):
    """Why a worker cannot start is logged somewhere."""
    given_one = setup(lambda: 1 / 0, stream=stream)
    given_one.bind_in_parent()

    with pytest.raises(ZeroDivisionError):
        given_one.bind_in_worker()
    Logger("shop").error("cannot start")

    assert "cannot start" in stream.getvalue()


def test_a_function_must_return_something_that_can_be_bound(setup, stream):
    """It says what was returned."""
    given_one = setup(lambda: "handler", stream=stream)
    given_one.bind_in_parent()

    with pytest.raises(TypeError, match="returned 'handler'"):
        given_one.bind_in_worker()


@pytest.mark.rule("H1.12")
def test_none_leaves_everything_alone(setup):
    """Nothing is bound, nothing redirected."""
    before = _state()
    nothing = setup(None)

    nothing.bind_in_parent()
    nothing.bind_in_worker()

    assert _state() == before


@pytest.mark.parametrize("log_config", ["json", 3, []])
def test_anything_else_is_a_type_error(log_config):
    """It says what may be given, and what was."""
    with pytest.raises(TypeError, match=re.escape(repr(log_config))):
        LogSetup(log_config, environ={})


@pytest.mark.rule("H1.9")
def test_a_dict_goes_to_dict_config_as_it_is(setup, stdlib, monkeypatch):
    """Once, before there are workers, and it is the caller's own object."""
    config = {"version": 1, "disable_existing_loggers": False, "root": {"level": "INFO"}}
    calls = []
    configure = logging.config.dictConfig
    monkeypatch.setattr(
        logging.config, "dictConfig", lambda given: (calls.append(given), configure(given))
    )
    given_one = setup(config)

    given_one.bind_in_parent()
    given_one.bind_in_parent()
    given_one.bind_in_worker()

    assert len(calls) == 1
    assert calls[0] is config
    assert config == {"version": 1, "disable_existing_loggers": False, "root": {"level": "INFO"}}


@pytest.mark.rule("D-2")
def test_with_a_dict_the_records_of_the_stacks_obey_its_levels(setup, stdlib, capsys):
    """They go to the stdlib logger of their channel, as if they had been logged there."""
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s %(user)s"}},
        "handlers": {
            "out": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "line",
            }
        },
        "root": {"level": "WARNING", "handlers": ["out"]},
        "loggers": {"shop.orders": {"level": "DEBUG"}},
    }
    given_one = setup(config)

    given_one.bind_in_parent()
    with Fields(user="ann"):
        Logger("shop").info("too quiet")
        Logger("shop").warning("sold {}", 2)
        Logger("shop.orders").debug("looking")
    assert isinstance(bound()[0], LoggingHandler)
    given_one.unbind()

    assert capsys.readouterr().out.splitlines() == [
        "WARNING shop sold 2 ann",
        "DEBUG shop.orders looking ann",
    ]


def test_a_dict_that_is_wrong_binds_nothing(setup, stdlib):
    """The error is stdlib's own."""
    before = bound()

    with pytest.raises(ValueError, match="version"):
        setup({"version": 17}).bind_in_parent()

    assert bound() == before


# -- unbinding


def test_what_an_application_has_bound_above_stays(setup, stream):
    """Nobody has to unbind in order for a service to end well."""
    given_one = setup(stream=stream)
    given_one.bind_in_parent()
    other = TestHandler()
    other.push_application()

    given_one.unbind()
    Logger("shop").info("sold")

    assert bound()[0] is other
    assert [record.message for record in other.records] == ["sold"]
    other.pop_application()


def test_a_set_up_may_have_been_unbound_by_others(setup):
    """Unbinding it again is no error, and takes nothing else off."""
    before = bound()
    handler = TestHandler()
    given_one = setup(handler)
    given_one.bind_in_parent()
    handler.pop_application()

    given_one.unbind()

    assert bound() == before


@pytest.mark.parametrize("close", [False, True])
def test_what_was_given_is_closed_if_the_process_ends(setup, tmp_path, close):
    """Who gave it may go on using it; but a worker that ends has nobody else to close it."""
    handler = FileHandler(tmp_path / "log")
    given_one = setup(NestedSetup([NestedSetup([handler])]))
    given_one.bind_in_parent()

    given_one.unbind(close=close)

    assert (handler.stream is None) is close
    handler.close()


FORK = """
import logging, os, sys
from sprockets.http._logging import LogSetup
from sprockets.logbook import FileHandler, Logger

path = sys.argv[1]
setup = LogSetup(lambda: FileHandler(path, format_string="{record.process} {record.message}"))
setup.bind_in_parent()
for number in range(3):
    if os.fork() == 0:
        setup.bind_in_worker()
        Logger("shop").info("worker")
        logging.getLogger("old").info("worker's stdlib")
        setup.unbind()
        os._exit(0)
for number in range(3):
    os.wait()
Logger("shop").info("parent")
setup.unbind()
"""


def test_each_worker_has_its_own_and_the_parent_keeps_the_built_in(tmp_path):
    """After a real fork: a file that each worker opens, and JSON lines from the parent."""
    path = tmp_path / "log"

    done = subprocess.run(
        [sys.executable, "-c", FORK, str(path)], capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout)["message"] == "parent"
    lines = [line.partition(" ") for line in path.read_text().splitlines()]
    assert sorted(message for _, _, message in lines) == ["worker"] * 3 + ["worker's stdlib"] * 3
    assert len({process for process, _, _ in lines}) == 3
    assert done.stderr == ""


# -- files that others have moved


@pytest.fixture(name="no_other_files")
def _no_other_files():
    """Let go of pytest's own log file, which is not to be counted."""
    reopen_files()


class Holding(Handler):
    def __init__(self, others):
        super().__init__()
        self.others = others


@pytest.mark.parametrize(
    "wrap",
    [
        lambda handler: handler,
        WrapperHandler,
        FingersCrossedHandler,
        lambda handler: WrapperHandler(WrapperHandler(handler)),
        lambda handler: Holding([handler]),
        lambda handler: Holding({"a": handler}),
    ],
)
def test_moved_files_are_let_go_of(tmp_path, no_other_files, wrap):
    """The next record goes to a new file of the old name, whoever wraps the handler."""
    path = tmp_path / "log"
    handler = FileHandler(path, format_string="{record.message}")
    log = Logger("shop")

    with wrap(handler).applicationbound():
        with handler.contextbound():
            log.error("before")
            path.rename(tmp_path / "log.1")
            count = reopen_files()
            log.error("after")
    handler.close()

    assert count == 1
    assert (tmp_path / "log.1").read_text() == "before\n"
    assert path.read_text() == "after\n"


@pytest.mark.parametrize("mode", ["a", "w"])
def test_files_of_stdlib_logging_are_let_go_of(tmp_path, stdlib, no_other_files, mode):
    """They are found on any logger and behind memory handlers, and lose nothing."""
    moved, kept = tmp_path / "moved", tmp_path / "kept"
    one = logging.FileHandler(moved, mode=mode)
    other = logging.FileHandler(kept, mode=mode)
    memory = logging.handlers.MemoryHandler(1, target=other)
    late = logging.FileHandler(tmp_path / "late", delay=True)
    log = logging.getLogger("test.reopen.deep")
    for handler in (one, memory, late):
        log.addHandler(handler)
    late.setLevel(logging.CRITICAL)
    log.propagate = False
    log.warning("before")
    moved.rename(tmp_path / "moved.1")

    count = reopen_files()
    log.warning("after")

    for handler in (memory, one, other, late):
        handler.close()
    log.handlers.clear()
    assert count == 2
    assert (tmp_path / "moved.1").read_text() == "before\n"
    assert moved.read_text() == "after\n"
    assert kept.read_text() == "before\nafter\n"


def test_the_level_of_a_set_up_may_be_chosen(stream):
    """Below it nothing is written."""
    with make_setup("json", stream=stream, level=DEBUG, environ={}):
        Logger("shop").debug("looking")
        Logger("shop").trace("closely")

    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["looking"]


def test_a_stream_handler_of_the_user_writes_where_it_says(setup, stream):
    """Nothing of the built-in set-up is bound beside it."""
    given_one = setup(StreamHandler(stream, format_string="{record.message}"))

    given_one.bind_in_parent()
    Logger("shop").info("sold")

    assert stream.getvalue() == "sold\n"


def test_a_text_names_a_set_up_in_a_file(tmp_path):
    """Bound in the worker, which has files of its own."""
    path = tmp_path / "logging.toml"
    path.write_text(
        '[setups.production]\nhandlers = ["kept"]\n'
        f'[handlers.kept]\nclass = "file"\nfilename = "{tmp_path}/app.log"\n'
        'format_string = "{record.channel}: {record.message}"\n'
    )
    logs = LogSetup(f"{path}:production")

    logs.bind_in_parent()
    logs.bind_in_worker()
    try:
        Logger("shop").warning("sold out")
        logging.getLogger("driver").warning("%d retries", 3)
    finally:
        logs.unbind()

    assert (tmp_path / "app.log").read_text() == "shop: sold out\ndriver: 3 retries\n"


@pytest.mark.parametrize("name", ["production", "other", "production:missing"])
def test_what_is_wrong_in_a_file_of_set_ups_is_said_at_once(tmp_path, name):
    """Before there are workers: all of it, and in the file's own words."""
    path = tmp_path / "logging.toml"
    path.write_text('[setups.production]\nhandlers = ["kept"]\n[handlers.kept]\nclass = "fil"\n')

    with pytest.raises(ValueError, match=r"logging\.toml"):
        LogSetup(f"{path}:{name}")
