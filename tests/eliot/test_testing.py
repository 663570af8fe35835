"""Tools for tests: decorators, assertions, the tree that was logged, the fixture for pytest."""

import asyncio
import json
import subprocess
import sys
import unittest
import warnings

import pytest

from sprockets.eliot import (
    ActionType,
    MemoryLogger,
    MessageType,
    fields,
    log_message,
    start_action,
    testing,
    write_traceback,
)
from sprockets.eliot._logger import default_logger
from sprockets.eliot.json import EliotJSONEncoder
from sprockets.eliot.testing import (
    COMPLETED_STATUSES,
    LoggedAction,
    LoggedMessage,
    assertContainsFields,
    assertHasAction,
    assertHasMessage,
    capture_logging,
    describe_messages,
    issuperset,
    swap_logger,
    validate_logging,
)

pytest_plugins = ["pytester"]

OTHERS = ("-p", "no:randomly", "-p", "no:tornado", "-p", "sprockets.eliot.pytest_plugin")
PACKED = MessageType("orders:packed", fields(boxes=int))
SHIP = ActionType("orders:ship", fields(order=int), fields())


@pytest.fixture(name="logger")
def _logger():
    """A logger with an action in it, and its parts."""
    logger = MemoryLogger()
    with start_action(logger, "p", k=1) as action:
        action.log("m", x=1)
        with start_action(logger, "c") as child:
            child.log("inner", x=2)
        action.log("m", x=3)
    return logger


def run(body, decorator, base=unittest.TestCase):
    """Run *body*, decorated, as a test; return the result and what happened."""

    class Test(base):
        @decorator
        def test_it(self, logger):
            return body(self, logger)

        if asyncio.iscoroutinefunction(body):

            @decorator
            async def test_it(self, logger):
                return await body(self, logger)

    # Its warnings would be ours; some filters are set by running a test.
    with warnings.catch_warnings(action="error"):
        return Test("test_it").run(unittest.TestResult())


def problems(result):
    """Return the last line of each failure and error of *result*."""
    return [text.strip().splitlines()[-1] for _, text in result.failures + result.errors]


BOTH = pytest.mark.parametrize("decorate", [capture_logging, validate_logging])


# -- decorators


@pytest.mark.rule("E19.7")
@BOTH
def test_the_method_gets_a_fresh_logger_then_the_assertion_then_the_check(decorate):
    """In this order; the assertion gets the test, the logger and what was given."""
    happened = []

    def assertion(test, logger, *args, **kwargs):
        happened.append(("assertion", test, logger, args, kwargs))

    def body(test, logger):
        happened.append(("body", test, logger))
        with start_action(logger, "a"):
            logger.write({5: 6})

    result = run(body, decorate(assertion, 1, two=2))

    (_, test, logger), checked = happened
    assert checked == ("assertion", test, logger, (1,), {"two": 2})
    assert type(logger) is MemoryLogger
    assert problems(result)[0].strip().startswith("logger.write({5: 6})")
    assert "TypeError: TypeError: the name of a field is text" in result.errors[0][1]


@pytest.mark.rule("E19.7")
@BOTH
def test_name_arguments_and_result_are_kept(decorate):
    """It is still the method that it was."""

    class Test(unittest.TestCase):
        def runTest(self):
            """Do nothing."""

        @decorate(None)
        def method(self, a, *, b, logger):
            """Do it."""
            return a, b, logger

    test = Test()
    first, second = test.method(1, b=2), test.method(a=1, b=2)

    assert (Test.method.__name__, Test.method.__doc__) == ("method", "Do it.")
    assert first[:2] == second[:2] == (1, 2)
    assert first[2] is not second[2]
    test.doCleanups()


@pytest.mark.rule("E19.7")
@BOTH
def test_an_assertion_that_fails_fails_the_test(decorate):
    """And the check is made all the same."""

    def body(test, logger):
        try:
            raise ValueError("surprise")
        except ValueError:
            write_traceback(logger)

    result = run(body, decorate(assertHasMessage, PACKED))

    assert len(result.failures) == len(result.errors) == 1
    assert (
        "No messages of type 'orders:packed'; there is:\n  /1 eliot:traceback"
        in result.failures[0][1]
    )
    assert "UnflushedTracebacks" in result.errors[0][1]


@pytest.mark.rule("E19.8")
@BOTH
@pytest.mark.parametrize("how", ["method", "exception"])
def test_a_test_that_is_skipped_asserts_nothing(decorate, how):
    """However it says so."""

    def body(test, logger):
        if how == "method":
            test.skipTest("not today")
        raise unittest.SkipTest("not today")

    result = run(body, decorate(assertHasMessage, "x"))

    assert (result.failures, result.errors) == ([], [])
    assert [reason for _, reason in result.skipped] == ["not today"]


@pytest.mark.rule("E19.9")
def test_capture_logging_makes_the_logger_the_default_one():
    """During the test, and for the cleanups it adds; not for the assertion."""
    before, seen = default_logger(), []

    def assertion(test, logger):
        seen.append(default_logger())
        assertHasMessage(test, logger, "m", {"a": 1})

    def body(test, logger):
        test.addCleanup(lambda: seen.append(default_logger()))
        seen.append(logger)
        log_message("m", a=1)

    assert problems(run(body, capture_logging(assertion))) == []
    assert seen[1] is seen[0]
    assert seen[2] is before
    assert default_logger() is before


@pytest.mark.rule("E19.9")
def test_the_default_logger_is_back_after_an_exception():
    """Of the test, or of the assertion."""
    before = default_logger()

    def body(test, logger):
        raise ZeroDivisionError

    def fail(test, logger):
        raise ZeroDivisionError

    result = run(body, capture_logging(fail))

    assert len(result.errors) == 2
    assert default_logger() is before


@pytest.mark.rule("E19.9")
def test_validate_logging_does_not():
    """What is not given the logger goes where it always goes."""
    before = default_logger()

    def body(test, logger):
        assert default_logger() is before

    assert problems(run(body, validate_logging(None))) == []


@pytest.mark.rule("E19.10")
@BOTH
def test_asynchronous_tests_are_run(decorate):
    """To their end; then what they logged is looked at."""
    happened = []

    async def body(test, logger):
        with start_action(logger, "orders:ship", order=7):
            await asyncio.sleep(0)
            happened.append("ran")

    good = run(body, decorate(assertHasAction, SHIP, True), unittest.IsolatedAsyncioTestCase)
    bad = run(body, decorate(assertHasAction, SHIP, False), unittest.IsolatedAsyncioTestCase)

    assert happened == ["ran", "ran"]
    assert (good.testsRun, problems(good)) == (1, [])
    assert len(bad.failures) == 1


@pytest.mark.rule("E19.10")
@BOTH
def test_an_asynchronous_test_that_fails_fails(decorate):
    """It is waited for."""

    async def body(test, logger):
        await asyncio.sleep(0)
        test.fail("as it should")

    result = run(body, decorate(None), unittest.IsolatedAsyncioTestCase)

    assert problems(result) == ["AssertionError: as it should"]


@pytest.mark.rule("E19.10")
def test_tests_of_tornado_may_be_decorated_on_either_side():
    """Its own decorator runs the coroutine on its loop."""
    from tornado.testing import AsyncTestCase, gen_test

    ran = []

    class Test(AsyncTestCase):
        @capture_logging(assertHasMessage, "m")
        @gen_test
        async def test_outside(self, logger):
            await asyncio.sleep(0)
            log_message("m")
            ran.append("outside")

        @gen_test
        @capture_logging(assertHasMessage, "m")
        async def test_inside(self, logger):
            await asyncio.sleep(0)
            log_message("m")
            ran.append("inside")

    for name in ("test_outside", "test_inside"):
        assert problems(Test(name).run(unittest.TestResult())) == []
    assert ran == ["outside", "inside"]


@pytest.mark.rule("E19.10")
def test_trial_waits_for_what_a_decorated_test_returns(tmp_path):
    """A Deferred or a coroutine; what is asserted is asserted when that is done."""
    (tmp_path / "test_late.py").write_text(
        "from twisted.internet import reactor, task\n"
        "from twisted.trial import unittest\n"
        "from sprockets.eliot import log_message\n"
        "from sprockets.eliot.testing import assertHasMessage, capture_logging\n"
        "class Test(unittest.TestCase):\n"
        "    @capture_logging(assertHasMessage, 'late')\n"
        "    def test_deferred(self, logger):\n"
        "        return task.deferLater(reactor, 0, log_message, 'late')\n"
        "    @capture_logging(assertHasMessage, 'late')\n"
        "    async def test_coroutine(self, logger):\n"
        "        await task.deferLater(reactor, 0, log_message, 'late')\n"
        "    @capture_logging(assertHasMessage, 'other')\n"
        "    def test_fails(self, logger):\n"
        "        return task.deferLater(reactor, 0, log_message, 'late')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "twisted.trial", "test_late"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "successes=2" in done.stdout
    assert "No messages of type 'other'; there is:\n  /1 late" in done.stdout


@pytest.mark.rule("E19.11")
@BOTH
def test_how_json_is_made_may_be_said(decorate):
    """By json_default_, without a warning; by encoder_, with one that points here."""

    def strict(value):
        raise TypeError("no form")

    def body(test, logger):
        logger.write({"message_type": "x", "a": object()})

    with warnings.catch_warnings(action="error"):
        assert problems(run(body, decorate(None))) == []
        assert "no form" in run(body, decorate(None, json_default_=strict)).errors[0][1]
    with pytest.warns(DeprecationWarning, match="use json_default") as caught:
        old = decorate(None, encoder_=json.JSONEncoder)
    assert caught[0].filename == __file__
    assert "not JSON serializable" in run(body, old).errors[0][1]
    with pytest.warns(DeprecationWarning):
        old = decorate(None, encoder_=EliotJSONEncoder)
    assert problems(run(body, old)) == []


def test_the_decorators_work_in_a_program_of_its_own(tmp_path):
    """With unittest alone, from the command line."""
    (tmp_path / "test_shop.py").write_text(
        "import unittest\n"
        "from sprockets.eliot import start_action\n"
        "from sprockets.eliot.testing import assertHasAction, capture_logging\n"
        "class Test(unittest.TestCase):\n"
        "    @capture_logging(assertHasAction, 'ship', succeeded=True)\n"
        "    def test_it(self, logger):\n"
        "        with start_action(action_type='ship'):\n"
        "            pass\n"
        "    @capture_logging(assertHasAction, 'ship', succeeded=True)\n"
        "    def test_nothing(self, logger):\n"
        "        pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "unittest", "test_shop"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "Ran 2 tests" in done.stderr
    assert "FAILED (failures=1)" in done.stderr
    assert "No actions of type 'ship'; there is:\n  nothing" in done.stderr


# -- assertions


@pytest.mark.rule("E19.12")
@pytest.mark.parametrize("kind", [PACKED, "orders:packed"])
def test_the_first_message_of_a_type_is_returned(kind):
    """The type may be given as such or by name."""
    logger = MemoryLogger()
    for boxes in (1, 2):
        logger.write({"message_type": "orders:packed", "boxes": boxes})

    found = assertHasMessage(unittest.TestCase(), logger, kind, {"boxes": 1})

    assert found == LoggedMessage(logger.messages[0])
    with pytest.raises(AssertionError, match="The message differs:\n  'boxes' is 1, expected 2\n"):
        assertHasMessage(unittest.TestCase(), logger, kind, {"boxes": 2})


@pytest.mark.rule("E19.12")
@pytest.mark.parametrize("kind", [SHIP, "orders:ship"])
def test_the_first_action_of_a_type_is_returned(kind):
    """With what is asked of its start and its end."""
    logger = MemoryLogger()
    for order in (7, 8):
        with start_action(logger, "orders:ship", order=order) as action:
            action.add_success_fields(parcel=f"P{order}")

    found = assertHasAction(None, logger, kind, True, {"order": 7}, {"parcel": "P7"})

    assert found == LoggedAction.of_type(logger.messages, kind)[0]
    for arguments, text in (
        ((True, {"order": 8}), "The start message differs:\n  'order' is 7, expected 8\n"),
        ((True, None, {"x": 1}), "The end message differs:\n  'x' is missing, expected 1\n"),
        ((False,), "'orders:ship' should have failed:\n  /2 orders:ship succeeded parcel='P7'"),
    ):
        with pytest.raises(AssertionError) as caught:
            assertHasAction(None, logger, kind, *arguments)
        assert text in str(caught.value)


@pytest.mark.rule("E19.12")
def test_a_failed_action_is_one_that_did_not_succeed():
    """And the failure says how it ended."""
    logger = MemoryLogger()
    with pytest.raises(ValueError), start_action(logger, "a"):
        raise ValueError("no")

    assert not assertHasAction(None, logger, "a", succeeded=False).succeeded
    with pytest.raises(AssertionError, match="should have succeeded:\n  /2 a failed .*reason='no'"):
        assertHasAction(None, logger, "a", succeeded=True)


def test_the_last_message_of_an_action_has_a_status_of_two():
    """A program that reads messages need not spell them."""
    logger = MemoryLogger()
    start_action(logger, "good").finish()
    start_action(logger, "bad").finish(ValueError("no"))

    starts_and_ends = [message["action_status"] for message in logger.messages]

    assert [s for s in starts_and_ends if s in COMPLETED_STATUSES] == ["succeeded", "failed"]
    assert COMPLETED_STATUSES == ("failed", "succeeded")


@pytest.mark.rule("E19.12")
def test_what_is_missing_is_told_with_what_there_is(logger):
    """In order, with types, states and fields."""
    expected = (
        "; there is:\n"
        "  /1 p started k=1\n"
        "  /2 m x=1\n"
        "  /3/1 c started\n"
        "  /3/2 inner x=2\n"
        "  /3/3 c succeeded\n"
        "  /4 m x=3\n"
        "  /5 p succeeded"
    )

    with pytest.raises(AssertionError) as no_message:
        assertHasMessage(None, logger, "c")
    with pytest.raises(AssertionError) as no_action:
        assertHasAction(None, logger, "m", succeeded=True)

    assert str(no_message.value) == f"No messages of type 'c'{expected}"
    assert str(no_action.value) == f"No actions of type 'm'{expected}"


def test_the_failure_is_the_test_cases_own():
    """One that has another class for it raises that."""

    class Failed(Exception):
        pass

    class Test(unittest.TestCase):
        failureException = Failed

    with pytest.raises(Failed, match="No messages of type 'x'; there is:\n  nothing"):
        assertHasMessage(Test(), MemoryLogger(), "x")


@pytest.mark.rule("E19.13")
def test_a_message_may_have_more_fields_than_asked_for():
    """Each that is asked for has to be there, and equal."""
    message = {"a": 1, "b": [2], "c": None}

    assert assertContainsFields(None, message, {"b": [2], "c": None}) is None
    assert assertContainsFields(unittest.TestCase(), message, {}) is None
    with pytest.raises(AssertionError) as caught:
        assertContainsFields(unittest.TestCase(), message, {"a": 2, "d": None, "b": [2]})
    assert str(caught.value) == (
        "The message differs:\n"
        "  'a' is 1, expected 2\n"
        "  'd' is missing, expected None\n"
        "in {'a': 1, 'b': [2], 'c': None}"
    )


@pytest.mark.rule("E19.13")
def test_issuperset_says_whether_it_has_them():
    """Values need not be hashable; the same object is equal to itself."""
    nan = float("nan")

    assert issuperset({"a": [1], "b": nan}, {"a": [1], "b": nan})
    assert issuperset({"a": 1}, {})
    assert not issuperset({"a": 1}, {"a": 2})
    assert not issuperset({}, {"a": None})


# -- the tree


@pytest.mark.rule("E19.15", "E19.16")
def test_an_action_is_a_tree_in_the_order_of_its_messages(logger):
    """With actions inside as trees."""
    (action,) = LoggedAction.of_type(logger.messages, "p")
    first, child, last = action.children

    assert (action.start_message, action.end_message) == (logger.messages[0], logger.messages[-1])
    assert (action.startMessage, action.endMessage) == (action.start_message, action.end_message)
    assert action.succeeded
    assert (first, last) == (LoggedMessage(logger.messages[1]), LoggedMessage(logger.messages[5]))
    assert child == LoggedAction.of_type(logger.messages, "c")[0]
    assert child.children == [LoggedMessage(logger.messages[3])]
    assert list(action.descendants()) == [first, child, *child.children, last]
    assert action.type_tree() == {"p": ["m", {"c": ["inner"]}, "m"]}


@pytest.mark.rule("E19.16")
def test_the_example_of_a_type_tree():
    """An action that has nothing in it is an empty list."""
    logger = MemoryLogger()
    with start_action(logger, "p") as action:
        action.log("m")
        with start_action(logger, "c"):
            pass

    assert LoggedAction.of_type(logger.messages, "p")[0].type_tree() == {"p": ["m", {"c": []}]}


@pytest.mark.rule("E19.15")
def test_messages_are_taken_in_the_order_in_which_they_were_logged():
    """Which, with threads, need not be that of their levels."""
    logger = MemoryLogger()
    with start_action(logger, "p") as action:
        action.log("first")
        action.log("second")
    messages = [logger.messages[i] for i in (3, 2, 1, 0)]

    assert LoggedAction.of_type(messages, "p")[0].type_tree() == {"p": ["second", "first"]}


@pytest.mark.rule("E19.14")
def test_an_action_is_found_by_the_level_of_any_message_in_it(logger):
    """That of its start is the usual one."""
    uuid = logger.messages[0]["task_uuid"]

    for level, name in (([1], "p"), ([5], "p"), ([3, 1], "c"), ([3, 2], "c")):
        found = LoggedAction.from_messages(uuid, level, logger.messages)
        assert found.start_message["action_type"] == name
        assert LoggedAction.fromMessages(uuid, level, logger.messages) == found


@pytest.mark.rule("E19.14")
def test_an_action_without_start_or_end_cannot_be_examined(logger):
    """Nor can one that has such a one in it."""
    uuid = logger.messages[0]["task_uuid"]

    for messages in ([], logger.messages[1:], [{"message_type": "by hand"}]):
        with pytest.raises(ValueError, match=r"^Missing start message$"):
            LoggedAction.from_messages(uuid, [1], messages)
    with pytest.raises(ValueError, match=r"^Missing start message$"):
        LoggedAction.from_messages("another task", [1], logger.messages)
    with pytest.raises(ValueError, match=r"^Missing end message of type p$"):
        LoggedAction.of_type(logger.messages[:-1], "p")
    without_end_of_child = [m for m in logger.messages if m["task_level"] != [3, 3]]
    with pytest.raises(ValueError, match=r"^Missing end message of type c$"):
        LoggedAction.ofType(without_end_of_child, "p")


@pytest.mark.rule("E19.12")
def test_nothing_of_a_type_is_an_empty_list(logger):
    """For messages and actions, by either name."""
    assert LoggedMessage.of_type(logger.messages, "p") == []
    assert LoggedAction.of_type(logger.messages, PACKED.message_type) == []
    assert LoggedMessage.ofType(logger.messages, "m") == [
        LoggedMessage(logger.messages[1]),
        LoggedMessage(logger.messages[5]),
    ]


def test_a_big_tree_is_built_in_one_pass():
    """Ten thousand actions in one: each message is looked at a few times, not ten thousand."""
    looked_at = 0

    class Message(dict):
        def __getitem__(self, name):
            nonlocal looked_at
            looked_at += 1
            return super().__getitem__(name)

    logger = MemoryLogger()
    with start_action(logger, "p"):
        for _ in range(2_000):
            with start_action(logger, "c"):
                pass

    messages = [Message(message) for message in logger.messages]
    action = LoggedAction.of_type(messages, "p")[0]

    assert len(action.children) == 2_000
    assert looked_at < 20 * len(messages)


def test_many_messages_are_described_in_few_lines():
    """A limit, and how many there are beyond it; a line has an end."""
    logger = MemoryLogger()
    with start_action(logger, "a"):
        for n in range(100):
            log_message("m", n=n, text="x" * 1_000)

    lines = describe_messages(logger.messages).splitlines()

    assert len(lines) == 51
    assert lines[-1] == "  ... and 52 more"
    assert lines[1].startswith("  /2 m n=0 text='xxx")
    assert max(map(len, lines)) == 100
    assert describe_messages([{"a": 1}]) == "  / (no type) a=1"
    assert describe_messages([]) == ""


def test_the_default_logger_may_be_swapped_by_hand():
    """What was the default comes back."""
    logger = MemoryLogger()

    previous = swap_logger(logger)
    log_message("m")
    returned = swap_logger(previous)

    assert returned is logger
    assert [m["message_type"] for m in logger.messages] == ["m"]


def test_the_names_of_the_module_are_there():
    """All of them, the old spellings too."""
    assert testing.__all__ == sorted(testing.__all__)
    assert testing.validateLogging is validate_logging
    for name in testing.__all__:
        assert getattr(testing, name)


# -- the fixture


@pytest.fixture(name="run_pytest")
def _run_pytest(pytester):
    """Write a test file, and run it in this process."""

    def run_pytest(text):
        pytester.makepyfile(text)
        return pytester.runpytest_inprocess(*OTHERS)

    return run_pytest


def test_the_fixture_has_what_the_test_logs(run_pytest):
    """From its fixtures, threads and tasks too; no destination gets any of it."""
    result = run_pytest(
        """
        import asyncio, threading
        import pytest
        from sprockets.eliot import (
            MemoryLogger, add_destinations, log_message, remove_destination, start_action
        )
        from sprockets.eliot.testing import assertHasAction, assertHasMessage

        @pytest.fixture
        def thing(eliot_logger):
            log_message("up")
            yield
            log_message("down")
            assert eliot_logger.messages[-1]["message_type"] == "down"

        @pytest.fixture(autouse=True)
        def elsewhere():
            found = []
            destination = found.append
            add_destinations(destination)
            found.clear()
            yield found
            remove_destination(destination)
            assert found == []

        def test_it(thing, eliot_logger):
            assert type(eliot_logger) is MemoryLogger
            with start_action(action_type="ship", order=7):
                thread = threading.Thread(target=log_message, args=("thread",))
                thread.start()
                thread.join()

                async def task():
                    log_message("task")

                asyncio.run(task())
            assertHasMessage(None, eliot_logger, "up")
            assertHasMessage(None, eliot_logger, "thread")
            action = assertHasAction(None, eliot_logger, "ship", True, {"order": 7})
            assert action.type_tree() == {"ship": ["task"]}

        def test_nothing_leaks(eliot_logger):
            assert eliot_logger.messages == []
        """
    )

    result.assert_outcomes(passed=2)


def test_invalid_messages_and_unexpected_tracebacks_are_errors(run_pytest):
    """When the test is over; those it takes out are none."""
    result = run_pytest(
        """
        from sprockets.eliot import MessageType, fields, write_traceback

        def fail():
            try:
                raise ValueError("surprise")
            except ValueError:
                write_traceback()

        def test_invalid(eliot_logger):
            MessageType("t", fields(a=int)).log(a="1")

        def test_unexpected(eliot_logger):
            fail()

        def test_expected(eliot_logger):
            fail()
            assert len(eliot_logger.flush_tracebacks(ValueError)) == 1
        """
    )

    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*ValidationError: *field 'a' is of type int, not '1'*",
            "*UnflushedTracebacks:*",
            "*ValueError: surprise*",
        ]
    )


def test_the_messages_of_a_failed_test_are_shown(run_pytest):
    """Once, in a section of their own."""
    result = run_pytest(
        """
        from sprockets.eliot import start_action

        def test_fails(eliot_logger):
            with start_action(action_type="ship", order=7):
                assert False

        def test_passes(eliot_logger):
            with start_action(action_type="quiet"):
                pass
        """
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*- Captured messages -*", "  /1 ship started order=7", "  /2 ship failed exception=*"]
    )
    assert str(result.stdout).count("ship started") == 1
    assert "quiet" not in str(result.stdout)


def test_the_default_logger_is_back_after_each_test(run_pytest):
    """Also after one that failed, and one that swapped it itself."""
    result = run_pytest(
        """
        import pytest
        from sprockets.eliot import Logger, MemoryLogger
        from sprockets.eliot._logger import default_logger
        from sprockets.eliot.testing import swap_logger

        @pytest.fixture(autouse=True)
        def outermost():
            before = default_logger()
            yield
            assert default_logger() is before

        def test_fails(eliot_logger):
            assert False

        def test_swaps(eliot_logger):
            swap_logger(MemoryLogger())
        """
    )

    result.assert_outcomes(passed=1, failed=1)


def test_who_does_not_use_the_fixture_does_not_import_it():
    """What pytest loads brings nothing of the package."""
    script = (
        "import sys, sprockets._support.pytest_eliot\n"
        "print([name for name in sys.modules if name.startswith('sprockets.eliot')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "[]\n"
