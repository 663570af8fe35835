"""The logging calls, groups, processors, flags, and what the package offers."""

import asyncio
import gc
import json
import pickle
import subprocess
import sys
import textwrap
import weakref

import pytest

import sprockets.logbook as package
from sprockets.logbook import (
    CRITICAL,
    DEBUG,
    ERROR,
    INFO,
    NOTSET,
    TRACE,
    WARNING,
    Fields,
    Flags,
    Handler,
    Logger,
    LoggerGroup,
    NullHandler,
    Processor,
    TestHandler,
)
from sprockets.logbook.base import Inherit, LoggerMixin, RecordDispatcher, group_reflected_property

METHODS = {
    "trace": TRACE, "debug": DEBUG, "info": INFO, "notice": 12, "warning": WARNING,
    "warn": WARNING, "error": ERROR, "critical": CRITICAL,
}  # fmt: skip


@pytest.fixture(name="handler")
def _handler():
    with TestHandler() as handler:
        yield handler
    handler.close()


# -- calls


@pytest.mark.rule("LM-1", "LM-2", "P-Q2", "P-L2")
@pytest.mark.parametrize("name", METHODS)
def test_each_method_logs_at_its_level(name, handler):
    """Nothing below the logger's level, nothing of a disabled one."""
    logger = Logger("x", level=METHODS[name])
    getattr(logger, name)("a {} {b}", 1, b=2)
    logger.level = METHODS[name] + 1
    getattr(logger, name)("below")
    logger.level = NOTSET
    logger.disable()
    getattr(logger, name)("disabled")

    assert [(record.level, record.message) for record in handler.records] == [
        (METHODS[name], "a 1 2")
    ]


@pytest.mark.rule("LM-1", "P-P1")
def test_a_call_that_is_not_enabled_makes_no_record(monkeypatch):
    """Disabled, too low, or wanted by nobody: the record's class is not even touched."""
    from sprockets.logbook import _logger

    monkeypatch.setattr(_logger, "new_record", None)
    disabled, high = Logger("x"), Logger("x", level="ERROR")
    disabled.disable()
    with NullHandler():
        for logger in (disabled, high, Logger("x")):
            logger.warning("x {}", object())


@pytest.mark.rule("LM-3", "D-05")
def test_warn_follows_an_overridden_warning(handler):
    """One override changes both."""

    class Loud(Logger):
        def warning(self, msg, /, *args, **kwargs):
            super().warning(msg.upper(), *args, **kwargs)

    Loud("x").warn("quiet")

    assert handler.has_warning("QUIET")


@pytest.mark.rule("LM-4", "LV-2")
def test_log_takes_names_and_numbers_and_refuses_others_always(handler):
    """A bad name is an error also where nothing would be logged."""
    logger = Logger("x")
    logger.log("ERROR", "a")
    logger.log(37, "b")
    logger.disable()
    with pytest.raises(LookupError, match="unknown level name nope"):
        logger.log("nope", "c")

    assert [record.level for record in handler.records] == [ERROR, 37]


@pytest.mark.rule("LM-5")
@pytest.mark.parametrize("name", METHODS)
def test_a_call_without_a_message_is_a_type_error(name):
    """There is nothing to log."""
    with pytest.raises(TypeError):
        getattr(Logger("x"), name)()


@pytest.mark.rule("LM-6", "LM-7")
def test_exception_records_what_is_being_handled(handler):
    """Its message has a default; without an exception it is a misuse; ``None`` says there is none."""
    logger = Logger("x")
    with pytest.raises(AssertionError, match="^no exception occurred$"):
        logger.exception("x")
    logger.exception("none", exc_info=None)
    try:
        raise ValueError("v")
    except ValueError:
        logger.exception()
    logger.level = "CRITICAL"
    logger.exception("not enabled, so not checked")

    none, caught = handler.records
    assert (none.level, none.exc_info) == (ERROR, None)
    assert (caught.message, caught.exception_message) == ("Uncaught exception occurred", "v")


@pytest.mark.rule("LM-7")
def test_exception_goes_through_an_overridden_error(handler):
    """It delegates."""

    class Noting(Logger):
        def error(self, msg, /, *args, **kwargs):
            super().error(f"noted {msg}", *args, **kwargs)

    Noting("x").exception("x", exc_info=None)

    assert handler.has_error("noted x")


@pytest.mark.rule("LM-8", "D-10", "X-52")
def test_catch_exceptions_logs_and_swallows_exceptions_only(handler):
    """It may be used again; a disabled logger swallows in silence; what ends the program passes."""
    logger = Logger("x")
    catcher = logger.catch_exceptions("failed {}", 1, extra={"k": 2})
    for _ in range(2):
        with catcher as target:
            assert target is catcher
            raise ValueError("v")
    with logger.catch_exceptions():
        pass
    with pytest.raises(KeyboardInterrupt), logger.catch_exceptions():
        raise KeyboardInterrupt
    logger.disable()
    with logger.catch_exceptions():
        raise ValueError("v")

    assert [record.message for record in handler.records] == ["failed 1", "failed 1"]
    assert handler.records[0].extra == {"k": 2}
    assert handler.records[0].exception_shortname == "ValueError"


@pytest.mark.rule("LM-9", "LM-10", "P-L4")
def test_disabled_may_be_a_property_and_is_asked_each_time(handler):
    """A subclass computes it; switching such a logger is an error that says why."""

    class Moody(Logger):
        mood = False

        @property
        def disabled(self):
            return self.mood

    logger = Moody("x")
    logger.info("good")
    logger.mood = True
    logger.info("bad")
    logger.bind(a=1).info("bad, too")
    with pytest.raises(AttributeError, match="^The disabled property is read-only.$"):
        logger.enable()

    assert [record.message for record in handler.records] == ["good"]


@pytest.mark.rule("LM-9", "P-L3")
def test_enable_and_disable_switch(handler):
    """The two are the inverse of each other."""
    logger = Logger("x")
    logger.disable()
    assert logger.disabled
    logger.enable()
    assert not logger.disabled


@pytest.mark.rule("LM-11")
@pytest.mark.parametrize("extra", [5, "text", None, [], {}])
def test_an_extra_that_is_no_mapping_does_no_harm(extra, handler):
    """Bad input is kept for reading, not raised into the application."""
    Logger("x").info("x", extra=extra)

    assert handler.records[0].extra == ({"extra": extra} if extra else {})


@pytest.mark.rule("LM-12", "EX-3", "EX-4", "P-F2", "P-E2")
@pytest.mark.parametrize("name", METHODS)
def test_the_package_functions_are_those_of_a_generic_logger(name, handler):
    """Their records have the channel ``Generic`` and no dispatcher."""
    getattr(package, name)("a {}", 1)
    record = handler.records[0]

    assert (record.level, record.message) == (METHODS[name], "a 1")
    assert (record.channel, record.dispatcher) == ("Generic", None)


@pytest.mark.rule("LM-2", "P-E1")
def test_the_mixin_works_on_any_host(handler):
    """It needs a factory, a switch and a level."""

    class Host(LoggerMixin):
        disabled = False
        level = WARNING

        def make_record_and_handle(self, *args):
            made.append(args)

    made = []
    Host().warning("a", 1, extra={"k": 2})
    Host().info("below")

    assert made == [(WARNING, "a", (1,), {}, None, {"k": 2})]


@pytest.mark.rule("LV-6", "X-01")
def test_levels_may_be_names_wherever_they_are_set():
    """Logger, group, handler: all convert."""
    logger, group, handler = Logger("x", level="ERROR"), LoggerGroup(level="INFO"), Handler("DEBUG")
    logger.level_name = "WARNING"
    group.level = "ERROR"
    handler.level = "TRACE"

    assert (logger.level, group.level, handler.level) == (WARNING, ERROR, TRACE)
    with pytest.raises(LookupError):
        handler.level = "nope"


def test_percent_style_means_what_it_means_to_stdlib_logging(handler):
    """Arguments fill ``%`` fields, braces are text, a wrong style is refused."""
    logger = Logger("x", style="%")
    logger.info("%s took %d s {}", "job", 3)
    logger.info("%(a)s", {"a": 1})
    logger.info("100%")
    logger.info("{a}", a=1)
    with pytest.raises(ValueError, match="unknown style '\\$'"):
        Logger("x", style="$")

    assert [record.message for record in handler.records] == ["job took 3 s {}", "1", "100%", "{a}"]


def test_percent_style_is_bounded_too(handler):
    """A width out of user text cannot make a line of gigabytes."""
    logger = Logger("x", style="%")
    logger.info("%999999999d", 1)
    logger.info("%*d", 999_999_999, 1)
    for record in handler.records:
        with pytest.raises(TypeError, match="over the 1000 allowed"):
            _ = record.message


# -- bound fields


def test_bound_fields_are_carried_by_every_record(handler):
    """The call's own win over bound ones, bound ones over the context's; the original has none."""
    logger = Logger("x")
    bound = logger.bind(a=1, b=1).bind(b=2)
    with Fields(a=0, c=0):
        bound.info("x", extra={"d": 4, "b": 3})
        bound.info("y")
        logger.info("z")

    assert [dict(record.extra) for record in handler.records] == [
        {"a": 1, "b": 3, "c": 0, "d": 4},
        {"a": 1, "b": 2, "c": 0},
        {"a": 0, "c": 0},
    ]


def test_a_bound_logger_follows_the_one_it_came_from():
    """Level, switch and group of the original count until it has its own; the class is kept."""

    class Special(Logger):
        pass

    logger = Special("x", style="%")
    bound = logger.bind(a=1)
    logger.level = "ERROR"
    assert (bound.level, type(bound), bound.name) == (ERROR, Special, "x")
    LoggerGroup([logger], processor=lambda record: record.extra.update(g=1)).disabled = True
    assert bound.disabled
    logger.group.disabled = False
    bound.level = "DEBUG"
    with TestHandler() as handler:
        bound.debug("%d", 1)
    assert (handler.records[0].message, handler.records[0].extra) == ("1", {"a": 1, "g": 1})
    handler.close()


def test_fields_of_the_context_are_one_processor_among_others(handler):
    """They work beside callbacks, and newer ones win over older ones."""
    with Fields(a=1, b=1), Processor(lambda record: record.extra.update(p=1)), Fields(b=2):
        Logger("x").info("x")

    assert handler.records[0].extra == {"a": 1, "b": 2, "p": 1}


# -- processors


@pytest.mark.rule("PR-1", "PR-2", "PR-3", "PR-6", "P-F6", "P-F15", "P-Q7", "P-D9")
def test_processors_run_newest_first_and_filters_see_what_they_add():
    """All run; the result is ignored; the callback gets the record alone."""

    class Own(Processor):
        def process(self, record):
            order.append("own")

    order, seen = [], []
    with (
        TestHandler(
            filter=lambda record, handler: seen.append(dict(record.extra)) or True
        ) as handler,
        Processor(lambda record: order.append("old")),
        Own(),
        Processor(),
        Processor(lambda record: order.append("new") or record.extra.update(k=1) or False),
    ):
        Logger("x").info("x")

    assert order == ["new", "own", "old"]
    assert seen == [{"k": 1}]
    assert len(handler.records) == 1
    handler.close()


@pytest.mark.rule("PR-4", "RD-9")
def test_processors_run_only_when_a_handler_is_interested(no_default_handler):
    """Once for a record, and not at all for one that nobody wants."""
    seen = []
    with Processor(seen.append):
        Logger("x").info("x")
        with TestHandler("ERROR"):
            Logger("x").info("x")
    assert seen == []


# -- flags


@pytest.mark.rule("FL-1", "FL-2", "FL-3", "FL-4", "P-S7")
def test_the_newest_flag_that_is_set_counts():
    """Objects that do not mention it, or say `Inherit`, are transparent."""
    assert Flags.get_flag("errors") is None
    assert Flags.get_flag("errors", "print") == "print"
    with Flags(errors="print", mine=1), Flags(other=2), Flags(errors="silent"):
        assert Flags.get_flag("errors") == "silent"
        with Flags(errors=Inherit), Flags():
            assert Flags.get_flag("errors") == "silent"
        assert (Flags.get_flag("mine"), Flags.get_flag("other")) == (1, 2)
        with Flags(errors="print"):
            assert Flags.get_flag("errors") == "print"
    assert Flags(mine=1).mine == 1
    assert repr(Inherit) == "Inherit"
    assert pickle.loads(pickle.dumps(Inherit)) is Inherit


@pytest.mark.rule("FL-5", "X-09")
def test_a_flag_never_gets_in_the_way_of_a_method():
    """Nor is a method ever taken for a flag."""
    flags = Flags(push_context=1, get_flag=2)
    with flags:
        assert Flags.get_flag("push_context") == 1
        assert Flags.get_flag("pop_context", "none") == "none"
    with pytest.raises(AttributeError, match="sets no flag 'nope'"):
        _ = flags.nope


@pytest.mark.rule("FL-6", "X-55")
def test_an_unknown_way_of_dealing_with_errors_prints(capsys):
    """A typing mistake does not silence failures."""

    class Failing(Handler):
        def emit(self, record):
            raise ValueError("full")

    with Failing(), Flags(errors="slient"):
        Logger("x").error("x")

    assert "ValueError: full" in capsys.readouterr().err


@pytest.mark.rule("FL-8")
def test_flags_count_in_the_context_that_handles():
    """A task's flags do not govern another's."""

    async def main():
        with Flags(errors="raise"):
            inherited = asyncio.create_task(read())
        other = asyncio.create_task(read())
        return await inherited, await other

    async def read():
        return Flags.get_flag("errors", "print")

    assert asyncio.run(main()) == ("raise", "print")


# -- groups


@pytest.mark.rule("LG-1", "LG-2", "LG-3", "LG-8", "P-L6")
def test_members_reflect_the_group_until_they_have_their_own():
    """Level and switch; ``NOTSET`` asks the group; changes take effect at once."""
    logger = Logger("x")
    group = LoggerGroup([logger], level="ERROR")
    assert (logger.level, logger.level_name, logger.disabled) == (ERROR, "ERROR", False)
    logger.level, group.level = "CRITICAL", "DEBUG"
    assert logger.level_name == "CRITICAL"
    logger.level = NOTSET
    assert logger.level == DEBUG
    group.disabled = True
    assert logger.disabled
    logger.disabled = False
    assert not logger.disabled
    del logger.disabled
    assert logger.disabled


@pytest.mark.rule("LG-4")
def test_a_value_that_was_never_set_cannot_be_deleted():
    """And the class gives back the descriptor."""
    with pytest.raises(AttributeError, match="no disabled of its own"):
        del Logger("x").disabled
    assert isinstance(RecordDispatcher.level, group_reflected_property)


@pytest.mark.rule("LG-5", "LG-6")
def test_a_logger_belongs_to_one_group_at_most():
    """Adding twice is a misuse; removing a stranger is an error that changes nothing."""
    logger, group = Logger("x"), LoggerGroup()
    group.add_logger(logger)
    assert (logger.group, group.loggers) == (group, [logger])
    with pytest.raises(AssertionError, match="^Logger already belongs to a group$"):
        LoggerGroup([logger])
    with pytest.raises(ValueError, match="not in this group"):
        group.remove_logger(Logger("x"))
    group.remove_logger(logger)
    assert (logger.group, group.loggers) == (None, [])


@pytest.mark.rule("LG-7", "RD-16")
def test_a_groups_processor_runs_for_every_member(handler):
    """Before the bound ones; it may be replaced at any time."""
    logger = Logger("x")
    group = LoggerGroup([logger], processor=lambda record: record.extra.update(g=1))
    logger.info("a")
    group.processor = lambda record: record.extra.update(g=2)
    logger.info("b")
    group.processor = None
    logger.info("c")

    assert [dict(record.extra) for record in handler.records] == [{"g": 1}, {"g": 2}, {}]


@pytest.mark.rule("LG-9", "LG-10")
def test_a_group_is_switched_with_and_without_force(handler):
    """Members that were switched by themselves follow only where force is used."""
    one, two = Logger("one"), Logger("two")
    group = LoggerGroup([one, two])

    def who():
        handler.records.clear()
        one.info("x")
        two.info("x")
        return [record.channel for record in handler.records]

    group.disable()
    assert who() == []
    group.enable()
    assert who() == ["one", "two"]
    group.disable()
    one.enable()
    assert who() == ["one"]
    group.disable(force=True)
    assert who() == []
    group.enable()
    assert who() == ["two"]
    group.enable(force=True)
    assert who() == ["one", "two"]


@pytest.mark.rule("LG-9")
def test_forcing_leaves_members_alone_that_only_reflect():
    """They go on reflecting."""
    logger = Logger("x")
    group = LoggerGroup([logger])
    group.disable(force=True)
    group.disabled = False

    assert not logger.disabled


# -- what the package offers

NAMES = """
CRITICAL ERROR WARNING NOTICE INFO DEBUG NOTSET TRACE LogRecord Logger LoggerGroup NestedSetup Processor
Flags get_level_name lookup_level dispatch_record set_datetime_format debug info warn warning notice
error exception catch_exceptions critical log trace Handler StreamHandler FileHandler
MonitoringFileHandler StderrHandler TestHandler NullHandler WrapperHandler FingersCrossedHandler
GroupHandler StringFormatter StringFormatterHandlerMixin HashingHandlerMixin LimitingHandlerMixin
Fields JSONFormatter statistics
    BrotliCompressionHandler ConsoleFormatter ECSFormatter GMailHandler GZIPCompressionHandler
    JournaldHandler
    LogfmtFormatter MailHandler NTEventLogHandler OTLPHandler RollingFileHandler
    RotatingFileHandler SentryHandler SyslogHandler TimedRotatingFileHandler create_syshandler
"""


@pytest.mark.rule("EX-1")
def test_every_name_is_importable_and_listed():
    """The list is this one, no more and no less."""
    assert sorted(package.__all__) == sorted(NAMES.split())
    for name in package.__all__:
        assert hasattr(package, name)


@pytest.mark.rule("EX-2")
@pytest.mark.parametrize("door", ["base", "handlers", "helpers", "concurrency", "utils", "compat"])
def test_a_name_is_the_same_object_through_every_door(door):
    """What a submodule offers is what the package offers under that name."""
    import importlib

    module = importlib.import_module(f"sprockets.logbook.{door}")
    for name in module.__all__:
        assert getattr(package, name, getattr(module, name)) is getattr(module, name)


def run_script(script, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True, text=True, check=True, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.rule("EX-6", "EX-7", "D-02", "P-F1", "P-F16", "D-03")
def test_without_any_set_up_a_warning_is_a_line_on_standard_error():
    """The default handler is at the bottom of the application's stack, and can be taken off."""
    script = (
        "import sprockets.logbook as lb\n"
        "lb.Logger('x').warning('y')\n"
        "assert (lb.default_handler.level, lb.default_handler.level_name) == (0, 'NOTSET')\n"
        "lb.default_handler.pop_application()\n"
        "lb.Logger('x').warning('z')\n"
    )
    error = run_script(script).stderr

    assert len(error.splitlines()) == 1
    assert error.endswith(" WARNING: x: y\n".replace(" W", "] W"))


@pytest.mark.rule("D-02")
@pytest.mark.parametrize("value", ["0", "false", "NO", "Off"])
def test_the_environment_can_do_without_the_default_handler(value):
    """Then nothing is bound, and there is no such name."""
    script = "import sprockets.logbook as lb; lb.error('x'); print(hasattr(lb, 'default_handler'))"
    done = run_script(script, LOGBOOK_INSTALL_DEFAULT_HANDLER=value)

    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.rule("D-17", "TY-6")
def test_the_version_is_that_of_the_distribution():
    """Looked up when asked for."""
    from importlib.metadata import version

    assert package.__version__ == version("sprockets.http")
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = package.nope


@pytest.mark.rule("EX-8", "TY-6", "TY-2")
def test_importing_starts_no_threads_and_opens_nothing():
    """The standard library alone, no thread, no socket, no stdlib logging, no asyncio."""
    script = (
        "import sys, threading, json\n"
        "import sprockets.logbook\n"
        "print(json.dumps([threading.active_count(), sorted(set(sys.modules) & "
        "{'logging', 'asyncio', 'socket', 'zmq', 'tornado', 'dataclasses', 'inspect'})]))"
    )

    assert json.loads(run_script(script).stdout) == [1, []]


@pytest.mark.rule("TY-1")
def test_the_package_says_that_it_is_typed():
    """``py.typed`` is where type checkers look."""
    from importlib.resources import files

    assert files("sprockets.logbook").joinpath("py.typed").is_file()


@pytest.mark.rule("TY-5", "RD-1")
def test_a_dispatcher_can_be_referred_to_weakly():
    """Also a bare one."""
    dispatcher = RecordDispatcher("x")
    reference = weakref.ref(dispatcher)
    del dispatcher
    gc.collect()

    assert reference() is None


@pytest.mark.parametrize("way", ["record", "line", "failing line"])
def test_c_itself_may_call(way, tmp_path):
    """As ``atexit`` does: there is no frame of Python to ask then."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""\
            import atexit, sys
            from sprockets.logbook import Logger, StreamHandler, TestHandler

            way = {way!r}
            if way == "record":
                handler = TestHandler()
                atexit.register(lambda: print(handler.formatted_records))
            else:
                handler = StreamHandler(
                    sys.stdout, format_string="{{record.lineno}} {{record.message}}"
                )
            if way == "failing line":
                handler.write = None
                atexit.register(print, "survived")
            handler.push_application()
            atexit.register(Logger("app").info, "bye {{}}", 1)
        """)
    )
    done = subprocess.run([sys.executable, "-P", program], capture_output=True, text=True)

    assert done.returncode == 0
    assert "not deep enough" not in done.stderr
    assert ("survived" if way == "failing line" else "bye 1") in done.stdout
