"""The plugin for pytest: what `log_records` sees, what it keeps from others, what it leaves behind."""

import contextvars
import subprocess
import sys

import pytest

from sprockets.logbook import Logger, LogRecord, TestHandler

pytest_plugins = ["pytester"]

OTHERS = ("-p", "no:randomly", "-p", "no:tornado")
# What has been imported here before cannot be rewritten there; it has no asserts of tests.
IN_PROCESS = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")


@pytest.fixture(name="run")
def _run(pytester):
    """Write a test file, and run it in this process."""

    def run(text):
        pytester.makepyfile(text)
        return pytester.runpytest_inprocess(*OTHERS, *IN_PROCESS)

    return run


def test_the_fixture_is_a_test_handler(log_records):
    """It is there without a word, and is asked like any."""
    Logger("shop").warning("only {} left", 2)

    assert isinstance(log_records, TestHandler)
    assert log_records.has_warning("only 2 left", channel="shop")


@pytest.mark.rule("PY-1", "PY-6")
def test_records_of_the_test_and_of_its_fixtures_arrive(run):
    """From those that come after it, going up and coming down; open, with their frames."""
    result = run(
        """
        import pytest
        from sprockets.logbook import Logger

        log = Logger("shop")

        @pytest.fixture
        def before(log_records):
            yield
            log.info("down")
            assert [record.message for record in log_records.records] == ["up", "test", "down"]

        @pytest.fixture
        def thing(before):
            log.info("up")

        def test_it(thing, log_records):
            log.info("test")
            assert log_records.formatted_records == ["[INFO] shop: up", "[INFO] shop: test"]
            assert log_records.records[1].calling_frame.f_code.co_name == "test_it"
        """
    )

    result.assert_outcomes(passed=1)


@pytest.mark.rule("PY-2")
def test_records_of_a_test_that_runs_in_a_context_of_its_own_arrive(pytester, run):
    """As plugins for asyncio run them: another task, another context than the fixture's."""
    pytester.makeconftest(
        """
        import asyncio, contextvars, inspect, pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_pyfunc_call(pyfuncitem):
            if inspect.iscoroutinefunction(pyfuncitem.obj):
                arguments = {n: pyfuncitem.funcargs[n] for n in pyfuncitem._fixtureinfo.argnames}
                contextvars.Context().run(asyncio.run, pyfuncitem.obj(**arguments))
                return True
        """
    )
    result = run(
        """
        import asyncio
        from sprockets.logbook import Logger

        async def other():
            Logger("task").info("b")

        async def test_it(log_records):
            Logger("test").info("a")
            await asyncio.gather(asyncio.create_task(other()), asyncio.to_thread(Logger("t").info, "c"))
            assert sorted(record.message for record in log_records.records) == ["a", "b", "c"]
        """
    )

    result.assert_outcomes(passed=1)


@pytest.mark.rule("PY-3")
def test_records_of_other_threads_arrive(log_records):
    """Also of a thread that shares nothing with the test's context."""
    import threading

    thread = threading.Thread(target=Logger("thread").info, args=("hello",))
    thread.start()
    thread.join()
    contextvars.Context().run(Logger("context").info, "hello")

    assert [record.channel for record in log_records.records] == ["thread", "context"]


@pytest.mark.rule("PY-4")
def test_nothing_reaches_standard_error(run, capfd):
    """The default handler, or any below, hears nothing, of a test that passes."""
    result = run(
        """
        from sprockets.logbook import Logger

        def test_it(log_records, capfd):
            Logger("shop").critical("fire")
            assert capfd.readouterr() == ("", "")
        """
    )

    result.assert_outcomes(passed=1)


def test_a_handler_of_the_test_comes_first(log_records):
    """As always, the most recently bound gets a record, and the fixture what that lets bubble."""
    with TestHandler(level="ERROR") as handler, TestHandler(level="CRITICAL", bubble=True):
        Logger("x").error("mine")
        Logger("x").info("below its level")
    handler.close()

    assert [record.message for record in log_records.records] == ["below its level"]


def test_nothing_leaks_from_test_to_test(run):
    """Each has a handler of its own, unbound and closed afterwards, also by a test that fails."""
    result = run(
        """
        import pytest
        from sprockets.logbook import Logger, _context

        seen = []

        @pytest.fixture(autouse=True)
        def outermost(monkeypatch):
            before = _context.application.handlers
            yield
            assert _context.application.handlers == before

        @pytest.mark.parametrize("number", range(3))
        def test_it(number, log_records):
            Logger("x").info("{}", number)
            assert [record.message for record in log_records.records] == [str(number)]
            assert all(record.frame is None for old in seen for record in old.records)
            seen.append(log_records)
            assert number != 1
        """
    )

    result.assert_outcomes(passed=2, failed=1)


@pytest.mark.parametrize(
    "leaving", ["NullHandler(bubble=True).push_application()", "log_records.pop_application()"]
)
def test_it_finds_its_way_out(pytester, leaving):
    """Even if a test leaves a handler bound above it, which stays; or has unbound it itself."""
    pytester.makepyfile(
        f"""
        from sprockets.logbook import Logger, NullHandler, default_handler, _context

        def names():
            return [type(h).__name__ for h in _context.merged(_context.application.handlers, None)]

        def test_one(log_records):
            {leaving}

        def test_two():
            assert "TestHandler" not in names()
            assert names()[-1] == "StderrHandler"

        def test_three(log_records):
            Logger("x").info("y")
            assert log_records.has_infos
        """
    )

    pytester.runpytest_subprocess(*OTHERS).assert_outcomes(passed=3)


def test_the_records_of_a_failed_test_are_shown(run):
    """Once, in a section of their own: they did not go to standard error."""
    result = run(
        """
        from sprockets.logbook import Logger

        def test_fails(log_records):
            Logger("shop").warning("about to {}", "fail")
            assert False

        def test_passes(log_records):
            Logger("shop").warning("quiet")
        """
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*- Captured records -*", "[[]WARNING[]] shop: about to fail"])
    assert str(result.stdout).count("about to fail") == 1
    assert "quiet" not in str(result.stdout)


def test_a_record_that_cannot_be_formatted_does_not_hide_the_failure(run):
    """It is shown raw."""
    result = run(
        """
        from sprockets.logbook import Logger

        def test_fails(log_records):
            Logger("shop").warning("{nobody}", 1)
            assert 1 == 2
        """
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*", "*{nobody}*could not be formatted*"])


@pytest.mark.rule("PY-5")
def test_unittest_binds_in_set_up(run):
    """Pushed there, popped in tear-down; pytest or not."""
    result = run(
        """
        import unittest
        from sprockets.logbook import Logger, TestHandler

        class Test(unittest.TestCase):
            def setUp(self):
                self.handler = TestHandler()
                self.handler.push_context()

            def tearDown(self):
                self.handler.pop_context()

            def test_it(self):
                Logger("x").warning("y")
                self.assertTrue(self.handler.has_warning("y"))
        """
    )

    result.assert_outcomes(passed=1)


@pytest.mark.rule("PY-12")
def test_flags_make_a_failing_handler_fail_the_test(run):
    """Without them its failure is printed, and the test passes."""
    result = run(
        """
        from sprockets.logbook import Flags, Handler, Logger

        class Failing(Handler):
            def emit(self, record):
                raise OSError("full")

        def test_prints():
            with Failing():
                Logger("x").info("y")

        def test_raises():
            with Failing(), Flags(errors="raise"):
                Logger("x").info("y")
        """
    )

    result.assert_outcomes(passed=1, failed=1)


def test_who_does_not_use_it_does_not_import_it():
    """What pytest loads brings nothing of the package; the fixture does."""
    script = (
        "import sys, sprockets._support.pytest_plugin\n"
        "print([name for name in sys.modules if name.startswith('sprockets.logbook')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "[]\n"


def test_the_installed_plugin_is_the_light_one():
    """The entry point names the module that imports little."""
    from importlib.metadata import entry_points

    (entry,) = [e for e in entry_points(group="pytest11") if e.name == "sprockets_logbook"]

    assert entry.value == "sprockets._support.pytest_plugin"


def test_records_may_be_put_aside_during_the_test(log_records):
    """Its list is a list: emptied, it goes on."""
    Logger("x").info("before")
    log_records.records.clear()
    Logger("x").info("after")

    assert log_records.formatted_records == ["[INFO] x: after"]
    assert isinstance(log_records.records[0], LogRecord)
