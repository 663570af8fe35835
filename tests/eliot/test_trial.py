"""Under Twisted's trial, however it is started: messages in its log, and tests of its own kind."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

STARTS = {
    # As the command that is installed does it.
    "trial": [str(Path(sys.executable).with_name("trial"))],
    "python -m twisted.trial": [sys.executable, "-m", "twisted.trial"],
}

PACKAGE = {
    "__init__.py": """
        from sprockets.eliot.twisted import redirectLogsForTrial
        redirectLogsForTrial()
        redirectLogsForTrial()
    """,
    "test_actions.py": """
        from twisted.internet import reactor
        from twisted.internet.defer import Deferred, inlineCallbacks
        from twisted.internet.task import deferLater
        from twisted.trial.unittest import SynchronousTestCase, TestCase

        from sprockets.eliot import (
            add_destinations, current_action, log_message, remove_destination, start_action,
            write_failure, write_traceback,
        )
        from sprockets.eliot.logwriter import ThreadedWriter
        from sprockets.eliot.twisted import DeferredContext, inline_callbacks

        class Synchronous(SynchronousTestCase):
            def test_messages(self):
                log_message("shop:sold", item="tea")

            def test_failed_actions_and_tracebacks_are_no_errors(self):
                with self.assertRaises(ZeroDivisionError), start_action(action_type="shop:divide"):
                    1 / 0
                try:
                    raise RuntimeError("because")
                except RuntimeError:
                    write_traceback()
                self.assertEqual(self.flushLoggedErrors(), [])

        class Asynchronous(TestCase):
            def setUp(self):
                self.found = []
                destination = self.found.append
                add_destinations(destination)
                self.addCleanup(remove_destination, destination)

            def levels(self):
                return [each["task_level"] for each in self.found]

            def test_a_deferred_context_in_a_running_reactor(self):
                with start_action(action_type="shop:wait").context():
                    context = DeferredContext(deferLater(reactor, 0.01, lambda: 3))
                    context.addCallback(lambda result: log_message("shop:waited", x=result))
                    context.addActionFinish()
                self.assertIs(current_action(), None)
                context.result.addCallback(
                    lambda _: self.assertEqual(self.levels(), [[1], [2], [3]]))
                return context.result

            @inline_callbacks
            def test_generators_in_a_running_reactor(self):
                @inline_callbacks
                def branch(name):
                    with start_action(action_type=name):
                        yield deferLater(reactor, 0.01, lambda: None)
                        log_message("shop:" + name)
                    return name

                with start_action(action_type="shop:both"):
                    both = branch("one"), branch("two")
                    names = []
                    for each in both:
                        names.append((yield each))
                self.assertEqual(names, ["one", "two"])
                self.assertEqual(
                    sorted(self.levels()),
                    [[1], [2, 1], [2, 2], [2, 3], [3, 1], [3, 2], [3, 3], [4]])

            @inlineCallbacks
            def test_a_failure_in_a_running_reactor(self):
                with start_action(action_type="shop:fail").context():
                    context = DeferredContext(deferLater(reactor, 0, lambda: 1 / 0))
                    context.addErrback(write_failure)
                    yield context.addActionFinish()
                self.assertEqual(self.found[1]["message_type"], "eliot:traceback")
                self.assertEqual(self.levels(), [[1], [2], [3]])

            @inlineCallbacks
            def test_a_threaded_writer_in_a_running_reactor(self):
                written = []
                writer = ThreadedWriter(written.append, reactor)
                writer.startService()
                log_message("shop:threaded")
                yield writer.stopService()
                self.assertEqual([each["message_type"] for each in written], ["shop:threaded"])
    """,
}


@pytest.fixture(name="project")
def _project(tmp_path):
    """A package with tests for trial, which sends its messages to trial's log."""
    package = tmp_path / "shop"
    package.mkdir()
    for name, text in PACKAGE.items():
        lines = text.splitlines()
        (package / name).write_text("\n".join(line[8:] for line in lines))
    return tmp_path


def run(project, *command):
    return subprocess.run(
        [*command, "shop"],
        cwd=project, env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def lines_of(path, message_type):
    return [line for line in path.read_text().splitlines() if message_type in line]


@pytest.mark.rule("E18.2", "E18.4", "E18.5", "E18.7", "E18.9", "E18.10")
@pytest.mark.parametrize("start", STARTS)
def test_messages_are_in_trials_log(project, start):
    """Once each, as lines of the documented form; failed actions and tracebacks are no errors."""
    if start == "trial" and not Path(STARTS[start][0]).exists():
        pytest.skip("the command trial is not beside this Python")
    done = run(project, *STARTS[start])

    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED (successes=6)" in done.stdout
    log = project / "_trial_temp" / "test.log"
    (line,) = lines_of(log, "shop:sold")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} \[-\] Eliot message: \{'item': 'tea', .*"
        r"'task_level': \[1\], 'message_type': 'shop:sold'\}",
        line,
    )
    assert len(lines_of(log, "shop:divide")) == 2
    assert len(lines_of(log, "'eliot:traceback'")) == 2
    assert len(lines_of(log, "shop:waited")) == 1


@pytest.mark.rule("E18.7")
def test_messages_are_in_the_logs_of_trials_workers(project):
    """With ``trial -j 2``: each in the log of the worker that ran the test."""
    done = run(project, *STARTS["python -m twisted.trial"], "-j", "2")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED (successes=6)" in done.stdout
    logs = [path for path in (project / "_trial_temp").rglob("*.log") if path.name == "test.log"]
    found = [line for path in logs for line in lines_of(path, "Eliot message: ")]
    assert len([line for line in found if "shop:sold" in line]) == 1
    assert len([line for line in found if "shop:divide" in line]) == 2
    assert len([line for line in found if "shop:waited" in line]) == 1


@pytest.mark.rule("E18.4")
def test_without_trial_the_same_package_logs_nowhere(project):
    """Its tests run under unittest, too, and leave no trace."""
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "shop.test_actions.Synchronous"],
        cwd=project, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "Eliot message" not in done.stdout + done.stderr
    assert not (project / "_trial_temp").exists()


CAPTURING = """
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from sprockets.eliot import log_message, start_action
from sprockets.eliot.testing import assertHasAction, assertHasMessage, capture_logging

def check(case, logger):
    case.checked = True
    assertHasAction(case, logger, "shop:wait", True)
    assertHasMessage(case, logger, "shop:waited")

class Capturing(TestCase):
    @capture_logging(check)
    def test_a_captured_deferred(self, logger):
        def waited(action):
            with action:
                log_message("shop:waited")
        with start_action(action_type="shop:wait").context() as action:
            return deferLater(reactor, 0.01, waited, action)

    @capture_logging(check)
    def test_that_nothing_is_logged_is_found(self, logger):
        return deferLater(reactor, 0, lambda: None)
"""


@pytest.mark.rule("E19.7", "E19.9")
def test_logging_is_captured_in_trials_test_cases(project):
    """The assertion runs when the Deferred that the test returned has fired, and not before."""
    pytest.importorskip("sprockets.eliot.testing")
    (project / "shop" / "test_actions.py").write_text(CAPTURING)

    done = run(project, *STARTS["python -m twisted.trial"])

    assert re.search(r"test_a_captured_deferred \.\.\. +\[OK\]", done.stdout)
    # The assertion is a cleanup, so trial calls it an error.
    assert done.stdout.count("No actions of type 'shop:wait'") == 1
    assert "Ran 2 tests" in done.stdout
