"""The fixture ``log_records``, and how records are caught in tests of all kinds."""

import subprocess
import sys
import threading
import unittest

import pytest

from sprockets.logbook import Logger, NullHandler, TestHandler

log = Logger("tested")

SAMPLE = """
import threading
import pytest
from sprockets.logbook import Logger

log = Logger("sample")

@pytest.fixture
def logging_fixture(log_records):
    log.info("in a fixture")

def test_one(log_records, logging_fixture, capsys):
    log.warning("in the test")
    thread = threading.Thread(target=log.info, args=("in a thread",))
    thread.start()
    thread.join()
    assert [record.message for record in log_records.records] == [
        "in a fixture", "in the test", "in a thread"]
    assert log_records.has_warning("in the test", channel="sample")
    assert capsys.readouterr().err == ""

def test_two(log_records):
    assert log_records.records == []
"""


@pytest.mark.rule("PY-1", "PY-2", "PY-3")
def test_the_fixture_has_the_records_of_its_test_alone(tmp_path):
    """Those of fixtures and threads too; none of another test; nothing goes to standard error."""
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.rule("PY-3")
def test_records_of_other_threads_reach_application_bound_handlers_only():
    """That is why the fixture is bound to the application."""
    with TestHandler() as context_bound, TestHandler().applicationbound() as application_bound:
        thread = threading.Thread(target=log.info, args=("x",))
        thread.start()
        thread.join()

    assert (len(context_bound.records), len(application_bound.records)) == (0, 1)
    application_bound.close()


@pytest.mark.rule("PY-4")
def test_everything_else_can_be_silenced(capsys):
    """A blackhole below the handler under test."""
    with NullHandler().applicationbound(), TestHandler("ERROR") as handler:
        log.warning("silenced")
        log.error("kept")

    assert [record.message for record in handler.records] == ["kept"]
    assert capsys.readouterr().err == ""
    handler.close()


@pytest.mark.rule("PY-5", "P-U1")
def test_set_up_and_tear_down_of_unittest_work():
    """Push in one, pop in the other."""

    class Case(unittest.TestCase):
        def setUp(self):
            self.handler = TestHandler()
            self.handler.push_context()

        def tearDown(self):
            self.handler.pop_context()

        def test_it(self):
            log.info("x")
            assert self.handler.has_info("x")

    result = unittest.TestResult()
    Case("test_it").run(result)

    assert result.wasSuccessful()
    assert result.testsRun == 1


@pytest.mark.rule("D-09", "X-54", "P-P3")
def test_misuse_is_noticed_also_when_assertions_are_off():
    """The checks are no ``assert`` statements."""
    script = (
        "from sprockets.logbook import Logger, LoggerGroup, LogRecord, TestHandler\n"
        "def refused(call):\n"
        "    try: call()\n"
        "    except AssertionError as error: print(error)\n"
        "refused(TestHandler().pop_context)\n"
        "logger = Logger('x'); LoggerGroup([logger])\n"
        "refused(lambda: LoggerGroup([logger]))\n"
        "refused(logger.exception)\n"
        "record = LogRecord('x', 11, 'y'); record.close(); refused(record.heavy_init)\n"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == [
        "no objects on stack",
        "Logger already belongs to a group",
        "no exception occurred",
        "heavy init is no longer possible",
    ]
