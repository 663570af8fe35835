"""Actions that follow Deferreds, and messages beside Twisted's own logs; no reactor runs here."""

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    fail,
    inlineCallbacks,
    returnValue,
    succeed,
)
from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.python.failure import Failure

from sprockets.eliot import (
    add_destinations,
    current_action,
    log_message,
    remove_destination,
    start_action,
    statistics,
    write_failure,
    write_traceback,
    writeFailure,
)
from sprockets.eliot.twisted import (
    AlreadyFinished,
    DeferredContext,
    TwistedDestination,
    _TrialRedirection,
    inline_callbacks,
    redirect_twisted_logs_to_eliot,
    redirectLogsForTrial,
    redirectTwistedLogsToEliot,
    stop_redirecting_twisted_logs_to_eliot,
)


@pytest.fixture(name="messages")
def _messages():
    """Everything that is logged."""
    found = []
    destination = found.append
    add_destinations(destination)
    found.clear()  # of what was kept for the first destination of this process
    yield found
    remove_destination(destination)


@pytest.fixture(name="events")
def _events():
    """Everything that goes to Twisted's logs."""
    found = []
    observer = found.append
    globalLogPublisher.addObserver(observer)
    yield found
    globalLogPublisher.removeObserver(observer)


@pytest.fixture(name="twisted_destination")
def _twisted_destination(messages):
    destination = TwistedDestination()
    add_destinations(destination)
    yield destination
    remove_destination(destination)


def story(messages):
    """Return type and level of each message, the types of one task only."""
    assert len({each["task_uuid"] for each in messages}) == 1
    return [
        (
            each.get("message_type") or f"{each['action_type']} {each['action_status']}",
            each["task_level"],
        )
        for each in messages
    ]


def run(script, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True, text=True, check=False, timeout=60, **options,
    )  # fmt: skip


# -- DeferredContext


@pytest.mark.rule("E18.11")
def test_a_deferred_context_needs_an_action():
    """Without one it says so, and what to do."""
    with pytest.raises(RuntimeError, match=r"needs a current action.*start_action"):
        DeferredContext(Deferred())


@pytest.mark.rule("E18.12")
@pytest.mark.parametrize("has_fired", [False, True])
@pytest.mark.parametrize("is_failure", [False, True])
@pytest.mark.parametrize("method", ["addCallback", "addErrback", "addBoth", "addCallbacks"])
def test_callbacks_run_inside_the_action(method, is_failure, has_fired):
    """Whatever is current where they are added or fired, with all their arguments."""
    outcome = ZeroDivisionError("no") if is_failure else "result"
    deferred = Deferred()
    calls = []

    def note(result, *args, **kw):
        calls.append((result, args, kw, current_action()))

    def fire():
        deferred.errback(outcome) if is_failure else deferred.callback(outcome)

    with start_action(action_type="the one") as action:
        context = DeferredContext(deferred)
    if has_fired:
        fire()
    with start_action(action_type="where it is added"):
        if method == "addCallbacks":
            context.addCallbacks(note, note, (1,), {"key": 2}, (1,), {"key": 2})
        else:
            getattr(context, method)(note, 1, key=2)
    if not has_fired:
        with start_action(action_type="where it fires"):
            fire()
    context.addErrback(lambda failure: failure.trap(ZeroDivisionError) and None)

    is_called = method in ("addBoth", "addCallbacks") or (method == "addErrback") == is_failure
    assert len(calls) == is_called
    for result, args, kw, current in calls:
        assert (result.value if is_failure else result) == outcome
        assert (args, kw, current) == ((1,), {"key": 2}, action)
    assert current_action() is None


@pytest.mark.rule("E18.12")
def test_arguments_of_any_name_reach_the_function():
    """Those that our own parameters are called, too."""
    found = []
    with start_action(action_type="a"):
        context = DeferredContext(succeed(1))
    context.addCallback(lambda result, **kw: found.append(kw), function=1, f=2)

    assert found == [{"function": 1, "f": 2}]


@pytest.mark.rule("E18.13")
def test_methods_return_the_context_and_results_chain():
    """As with a Deferred: values, failures, and Deferreds that the next callback waits for."""
    waited = Deferred()
    seen = []
    with start_action(action_type="a"):
        context = DeferredContext(Deferred())
    assert context.addCallback(lambda result: result + 1) is context
    assert context.addCallbacks(lambda result: waited) is context
    assert context.addBoth(lambda result: 1 / 0) is context
    assert context.addCallbacks(seen.append) is context
    assert context.addErrback(lambda failure: failure.trap(ZeroDivisionError)) is context
    assert context.addBoth(seen.append) is context

    context.result.callback(1)
    assert seen == []
    waited.callback("late")

    assert seen == [ZeroDivisionError]


@pytest.mark.rule("E18.14", "E18.16", "E18.17")
def test_the_action_ends_with_the_chain(messages):
    """The example of the documentation: the log is a tree of one action, one message."""

    def calculate(number):
        with start_action(action_type="my_action").context():
            context = DeferredContext(deferred)
            context.addCallback(lambda result: log_message("found", x=result) or result * number)
            context.addActionFinish()
            return context.result

    deferred = Deferred()
    assert calculate(2) is deferred
    assert story(messages) == [("my_action started", [1])]

    deferred.callback(21)

    results = []
    deferred.addCallback(results.append)
    assert results == [42]
    assert story(messages) == [
        ("my_action started", [1]),
        ("found", [2]),
        ("my_action succeeded", [3]),
    ]


@pytest.mark.rule("E18.14", "E18.17")
def test_a_failure_fails_the_action_and_passes_through(messages):
    """The same Failure, after the action's end was logged as failed by its exception."""
    deferred = Deferred()
    with start_action(action_type="my_action").context():
        returned = DeferredContext(deferred).addActionFinish()
    failure = Failure(RuntimeError("because"))

    deferred.errback(failure)

    found = []
    returned.addErrback(found.append)
    assert returned is deferred
    assert found == [failure]
    assert story(messages) == [("my_action started", [1]), ("my_action failed", [2])]
    assert messages[1]["exception"] == "builtins.RuntimeError"
    assert messages[1]["reason"] == "because"


@pytest.mark.rule("E18.14")
def test_what_is_added_to_the_deferred_afterwards_is_outside(messages):
    """The action has ended by then."""
    with start_action(action_type="my_action").context():
        deferred = DeferredContext(succeed(1)).addActionFinish()

    inside = []
    deferred.addCallback(lambda _: inside.append(current_action()))

    assert inside == [None]
    assert story(messages)[-1] == ("my_action succeeded", [2])


@pytest.mark.rule("E18.14")
def test_a_cancelled_chain_fails_its_action(messages):
    """By CancelledError, which goes on as it would."""
    with start_action(action_type="my_action").context():
        deferred = DeferredContext(Deferred()).addActionFinish()

    deferred.cancel()

    found = []
    deferred.addErrback(lambda failure: found.append(failure.type))
    assert found == [CancelledError]
    assert messages[-1]["exception"] == "twisted.internet.defer.CancelledError"


@pytest.mark.rule("E18.15")
def test_after_the_finish_nothing_can_be_added():
    """Not even a second finish."""
    with start_action(action_type="a").context():
        context = DeferredContext(Deferred())
        context.addActionFinish()

    for add in (context.addCallback, context.addErrback, context.addBoth, context.addCallbacks):
        with pytest.raises(AlreadyFinished, match="addActionFinish"):
            add(lambda result: result)
    with pytest.raises(AlreadyFinished):
        context.addActionFinish()


@pytest.mark.rule("E18.18")
def test_a_callback_of_a_plain_deferred_runs_outside(messages):
    """And the action ends with the block: the problem that the context is for."""
    deferred = Deferred()
    with start_action(action_type="my_action"):
        deferred.addCallback(lambda _: log_message("lost"))
    deferred.callback(None)

    assert [each["task_level"] for each in messages] == [[1], [2], [1]]
    assert messages[2]["task_uuid"] != messages[0]["task_uuid"]


@pytest.mark.rule("E5.2", "E4.9")
def test_context_yields_the_action_and_leaves_it_open(messages):
    """And a message logged by its method is one of it."""
    with start_action(action_type="my_action").context() as action:
        action.log(message_type="m", x=3)
    assert story(messages) == [("my_action started", [1]), ("m", [2])]
    action.finish()
    assert story(messages)[2:] == [("my_action succeeded", [3])]


# -- failures


def raising():
    raise RuntimeError("fail")


@pytest.mark.rule("E9.1", "E9.4", "E9.5")
@pytest.mark.parametrize("errback", [write_failure, writeFailure])
def test_write_failure_is_an_errback(messages, errback):
    """The traceback lands in the action, and the Deferred goes on with None."""
    seen = []
    with start_action(action_type="my_action").context():
        context = DeferredContext(Deferred())
        context.addCallback(lambda _: raising())
        context.addErrback(errback)
        context.addCallback(seen.append)
        context.addActionFinish()
    context.result.callback(None)

    assert seen == [None]
    assert story(messages) == [
        ("my_action started", [1]),
        ("eliot:traceback", [2]),
        ("my_action succeeded", [3]),
    ]
    message = messages[1]
    assert message["exception"] == "builtins.RuntimeError" or message["exception"] is RuntimeError
    assert str(message["reason"]) == "fail"
    text = message["traceback"]
    assert text.startswith("Traceback: <class 'RuntimeError'>: fail\n")
    assert f"{__file__}:" in text
    assert ":raising\n" in text


@pytest.mark.rule("E9.5")
def test_a_failure_without_frames_is_told_briefly(messages):
    """As Twisted words it."""
    write_failure(Failure(KeyError("k")))

    (message,) = messages
    assert message["traceback"] == "Traceback (failure with no frames): <class 'KeyError'>: 'k'\n"
    assert message["task_level"] == [1]


@pytest.mark.rule("E9.5", "E6.7")
def test_fields_of_an_extractor_are_in_the_message_of_a_failure(messages):
    """As in any traceback."""
    write_failure(Failure(OSError(2, "none")))

    assert messages[0]["errno"] == 2


WITHOUT_TWISTED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("twisted", "zope"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


@pytest.mark.rule("E9.6", "E0.1")
def test_write_failure_needs_no_twisted():
    """Only two members of the argument are used."""
    done = run(
        WITHOUT_TWISTED
        + textwrap.dedent("""
        from sprockets.eliot import add_destinations, write_failure
        class Failure:
            value = ValueError("v")
            def getBriefTraceback(self): return "brief"
        found = []
        add_destinations(found.append)
        assert write_failure(Failure()) is None
        print(found[0]["traceback"], found[0]["exception"], found[0]["reason"])
        """)
    )

    assert done.stdout == "brief builtins.ValueError v\n", done.stderr


@pytest.mark.rule("E0.1")
@pytest.mark.parametrize("module", ["twisted", "logwriter"])
def test_without_twisted_the_extra_is_named(module):
    """By an ImportError, at the import of what needs it."""
    done = run(
        WITHOUT_TWISTED
        + textwrap.dedent(f"""
        import sprockets.eliot
        try:
            import sprockets.eliot.{module}
        except ImportError as error:
            print(error)
        """)
    )

    assert done.stdout == (
        f"sprockets.eliot.{module} needs 'twisted';"
        " install it with: pip install 'sprockets.http[twisted]'\n"
    ), done.stderr


@pytest.mark.rule("E0.1")
def test_the_package_imports_neither_twisted_nor_tornado():
    """Nor does anything that it loads."""
    done = run(
        "import sprockets.eliot, sys;"
        "print([name for name in ('twisted', 'tornado', 'zope', 'numpy', 'pydantic')"
        " if name in sys.modules])"
    )

    assert done.stdout == "[]\n", done.stderr


# -- inline_callbacks


def returning(value):
    """Leave a generator by returnValue(), which current versions call deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        returnValue(value)


DECORATORS = {
    "ours": inline_callbacks,
    "debug": lambda function: inline_callbacks(function, debug=True),
}


@pytest.fixture(name="decorate", params=DECORATORS)
def _decorate(request):
    return DECORATORS[request.param]


@pytest.mark.rule("E18.19", "E18.20", "E18.25", "E18.26")
@pytest.mark.parametrize("decorate", [inline_callbacks, inlineCallbacks])
def test_actions_stay_inside_the_generator(messages, decorate):
    """The captured log; with Twisted's own decorator it is the same."""
    waited = Deferred()

    @decorate
    def generate():
        with start_action(action_type="in-gen"):
            log_message("before")
            yield waited
            log_message("after")

    with start_action(action_type="outer") as outer:
        deferred = generate()
        assert current_action() is outer
        log_message("outer-msg")
    assert current_action() is None
    log_message("outside")
    waited.callback(None)

    assert deferred.called
    assert messages[5]["task_level"] == [1]
    assert messages.pop(5)["task_uuid"] != messages[0]["task_uuid"]
    assert story(messages) == [
        ("outer started", [1]),
        ("in-gen started", [2, 1]),
        ("before", [2, 2]),
        ("outer-msg", [3]),
        ("outer succeeded", [4]),
        ("after", [2, 3]),
        ("in-gen succeeded", [2, 4]),
    ]


@pytest.mark.rule("E18.20")
def test_the_action_of_who_fires_is_not_seen_inside(messages):
    """And the generator's is not seen by who fires."""
    waited = Deferred()
    inside = []

    @inline_callbacks
    def generate():
        with start_action(action_type="in-gen"):
            yield waited
            inside.append(current_action().task_uuid)

    generate()
    with start_action(action_type="firing") as firing:
        waited.callback(None)
        assert current_action() is firing

    assert inside == [messages[0]["task_uuid"]]
    assert firing.task_uuid != inside[0]


@pytest.mark.rule("E18.21", "E18.22")
@pytest.mark.parametrize("leave", ["return", "returnValue"])
def test_a_value_is_delivered_and_the_action_it_leaves_succeeds(messages, leave, decorate):
    """Also from inside of an open action, and from nested generators."""

    @decorate
    def inner():
        with start_action(action_type="inner"):
            yield succeed(None)
            if leave == "return":
                return "inner value"
            returning("inner value")

    @decorate
    def outer():
        with start_action(action_type="outer"):
            value = yield inner()
            if leave == "return":
                return value, "outer value"
            returning((value, "outer value"))

    found = []
    with warnings.catch_warnings():
        # Twisted finds the frame of returning() one too many.
        warnings.filterwarnings("ignore", "returnValue", DeprecationWarning)
        outer().addCallback(found.append)

    assert found == [("inner value", "outer value")]
    ends = [each for each in messages if each.get("action_status") not in (None, "started")]
    assert [(each["action_type"], each["action_status"]) for each in ends] == [
        ("inner", "succeeded"),
        ("outer", "succeeded"),
    ]


@pytest.mark.rule("E18.22")
def test_return_value_from_the_generator_itself_is_no_mistake():
    """It brings no warning besides that it is deprecated."""

    @inline_callbacks
    def generate():
        with start_action(action_type="a"):
            yield succeed(None)
            returnValue(3)

    found = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        generate().addCallback(found.append)

    assert found == [3]
    assert [each for each in caught if "causing" in str(each.message)] == []


@pytest.mark.rule("E18.23")
def test_an_exception_fails_the_deferred_and_the_action(messages, decorate):
    """Both by it; also one that a Deferred it waits for brings."""

    @decorate
    def generate():
        with start_action(action_type="a"):
            yield fail(ZeroDivisionError("no"))

    found = []
    generate().addErrback(lambda failure: found.append(failure.type))

    assert found == [ZeroDivisionError]
    assert messages[-1]["action_status"] == "failed"
    assert messages[-1]["exception"] == "builtins.ZeroDivisionError"


@pytest.mark.rule("E18.24")
def test_debug_logs_each_yield_in_the_action(messages):
    """One message a yield."""

    @DECORATORS["debug"]
    def generate():
        with start_action(action_type="a"):
            yield succeed(1)
            yield succeed(2)

    generate()

    assert story(messages) == [
        ("a started", [1]),
        ("yielded", [2]),
        ("yielded", [3]),
        ("a succeeded", [4]),
    ]


def outcome_of(decorate, function, drive):
    """Return what comes of *function* decorated, called, and driven."""
    try:
        deferred = decorate(function)()
    except BaseException as error:
        return type(error), str(error).partition("<")[0]
    drive(deferred)
    found = []
    deferred.addBoth(found.append)
    (result,) = found or ["nothing yet"]
    deferred.addErrback(lambda failure: None)
    return (result.type, str(result.value)) if isinstance(result, Failure) else result


def generator(body):
    """Make a generator function of *body*, which gets a Deferred that never fires by itself."""
    return lambda: (yield from body(Deferred()))


def catching(waited):
    try:
        yield waited
    except CancelledError:
        return "cancelled, and caught"


def not_catching(waited):
    yield waited


def deaf(waited):
    while True:
        try:
            return (yield waited)
        except CancelledError:
            waited = succeed("went on")


def immediate(waited):
    return "at once"
    yield waited


def raising_at_once(waited):
    raise KeyError("at once")
    yield waited


def values(waited):
    found = []
    for number in range(3):
        found.append((yield number))
    return found


def a_deferred_of_deferreds(waited):
    first = yield succeed(1)
    try:
        yield fail(ValueError(first))
    except ValueError as error:
        return error.args


def many(waited):
    for number in range(3000):
        yield succeed(number)
    return "not too deep"


def base_exception(waited):
    yield succeed(None)
    raise SystemExit(3)


PARITY = {
    "cancelled": (generator(not_catching), Deferred.cancel),
    "cancelled, and caught": (generator(catching), Deferred.cancel),
    "cancelled, and not impressed": (generator(deaf), Deferred.cancel),
    "still waiting": (generator(not_catching), lambda deferred: None),
    "returns at once": (generator(immediate), lambda deferred: None),
    "raises at once": (generator(raising_at_once), lambda deferred: None),
    "yields plain values": (generator(values), lambda deferred: None),
    "waits for failures": (generator(a_deferred_of_deferreds), lambda deferred: None),
    "yields very often": (generator(many), lambda deferred: None),
    "raises SystemExit": (generator(base_exception), lambda deferred: None),
    "no generator": (lambda: 3, lambda deferred: None),
    "no generator, returnValue": (lambda: returning(3), lambda deferred: None),
    "raises, no generator": (lambda: 1 / 0, lambda deferred: None),
}


@pytest.mark.rule("E18.19")
@pytest.mark.parametrize("name", PARITY)
def test_the_outcome_is_that_of_twisteds_own(name, decorate):
    """Cancelling, returning at once, what is no generator: the same result or error."""
    function, drive = PARITY[name]

    expected = outcome_of(inlineCallbacks, function, drive)

    assert outcome_of(decorate, function, drive) == expected
    gc.collect()  # what Deferreds say when they go would be said in another test


@pytest.mark.rule("E18.19")
def test_a_cancelled_generator_fails_its_action(messages):
    """The Deferred it waits for is cancelled, which is raised at the yield."""
    is_cancelled = []
    waited = Deferred(is_cancelled.append)

    @inline_callbacks
    def generate():
        with start_action(action_type="a"):
            yield waited

    deferred = generate()
    deferred.cancel()
    deferred.addErrback(lambda failure: None)

    assert is_cancelled == [waited]
    assert messages[-1]["exception"] == "twisted.internet.defer.CancelledError"


def test_the_function_keeps_its_name(decorate):
    """With its documentation, as a method too."""

    class Client:
        @decorate
        def fetch(self, key):
            """Fetch it."""
            value = yield succeed(key)
            return self, value

    client, found = Client(), []
    client.fetch(key=3).addCallback(found.append)

    assert (Client.fetch.__name__, Client.fetch.__doc__) == ("fetch", "Fetch it.")
    assert found == [(client, 3)]


TWISTEDS_OWN = """
import sys
from twisted.internet import defer
from sprockets.eliot.twisted import inline_callbacks
def replaced(function):
    return inline_callbacks(function, debug=sys.argv[1] == "debug")
theirs = defer.inlineCallbacks
defer.inlineCallbacks = replaced
import twisted.internet.test.test_inlinecb as tests
defer.inlineCallbacks = theirs
assert tests.inlineCallbacks is replaced
if sys.argv[1] == "debug":
    # Who called returnValue() where it was of no use cannot be told through another generator.
    del tests.NonLocalExitTests
    if hasattr(tests.BasicTests, "testReturnValueDeprecated"):
        del tests.BasicTests.testReturnValueDeprecated
from twisted.trial.reporter import Reporter
from twisted.trial.runner import TestLoader
suite = TestLoader().loadModule(tests)
result = Reporter(stream=sys.stderr)
suite.run(result)
result.done()
print(result.wasSuccessful(), result.testsRun)
"""


@pytest.mark.rule("E18.19", "E18.26")
@pytest.mark.parametrize("mode", ["usual", "debug"])
def test_twisteds_own_tests_of_its_decorator_pass_with_ours(mode, tmp_path):
    """All of them, with our decorator in the place of theirs."""
    pytest.importorskip("twisted.internet.test.test_inlinecb", reason="this Twisted has no tests")
    done = run(TWISTEDS_OWN, mode, cwd=tmp_path)

    successful, count = done.stdout.split()
    assert successful == "True", done.stderr
    assert int(count) >= 5


# -- TwistedDestination


@pytest.mark.rule("E18.1")
def test_messages_become_events(events, twisted_destination):
    """In a namespace of their own, with the message as it was logged."""
    log_message("shop:sold", item="tea")

    (event,) = events
    assert event["log_namespace"] == "eliot"
    assert event["log_level"] is LogLevel.info
    assert event["log_format"] == "Eliot message: {eliot}"
    assert event["eliot"]["item"] == "tea"
    assert formatEvent(event) == f"Eliot message: {event['eliot']!r}"


@pytest.mark.rule("E18.1", "E18.2")
def test_only_tracebacks_are_critical(events, twisted_destination):
    """Failed actions are not, and nothing is a failure in Twisted's eyes."""
    with pytest.raises(ZeroDivisionError), start_action(action_type="a"):
        1 / 0  # noqa: B018
    try:
        raising()
    except RuntimeError:
        write_traceback()

    assert [event["log_level"].name for event in events] == ["info", "info", "critical"]
    assert [event for event in events if "log_failure" in event or event.get("isError")] == []


@pytest.mark.rule("E18.3")
def test_an_observer_that_logs_does_not_go_round(messages, events, twisted_destination):
    """One message, one event; what the observer logs goes to the other destinations."""

    def observer(event):
        log_message("observed", what=formatEvent(event))

    globalLogPublisher.addObserver(observer)
    try:
        log_message("m")
        log_message("n")
    finally:
        globalLogPublisher.removeObserver(observer)

    assert [event["eliot"]["message_type"] for event in events] == ["m", "n"]
    assert sorted(each["message_type"] for each in messages) == ["m", "n", "observed", "observed"]
    assert twisted_destination.suppressed == 2


@pytest.mark.rule("E18.3")
def test_messages_of_other_threads_are_not_taken_for_an_echo(events, twisted_destination):
    """While one thread is being held up by an observer, another's message is sent."""
    inside, go_on = threading.Event(), threading.Event()

    def observer(event):
        if event["eliot"]["message_type"] == "slow":
            inside.set()
            assert go_on.wait(10)

    globalLogPublisher.addObserver(observer)
    thread = threading.Thread(target=log_message, args=("slow",))
    try:
        thread.start()
        assert inside.wait(10)
        log_message("fast")
    finally:
        go_on.set()
        thread.join()
        globalLogPublisher.removeObserver(observer)

    assert sorted(event["eliot"]["message_type"] for event in events) == ["fast", "slow"]
    assert twisted_destination.suppressed == 0


@pytest.mark.rule("E18.3")
def test_a_task_that_an_observer_starts_is_not_silenced(events, twisted_destination):
    """It was made while a message was being sent; it logs when that is over."""
    tasks = []

    async def work():
        await asyncio.sleep(0)
        log_message("later")

    async def main():
        log_message("m")
        await asyncio.gather(*tasks)

    def observer(event):
        if event["eliot"]["message_type"] == "m":
            tasks.append(asyncio.get_running_loop().create_task(work()))

    globalLogPublisher.addObserver(observer)
    try:
        asyncio.run(main())
    finally:
        globalLogPublisher.removeObserver(observer)

    assert [event["eliot"]["message_type"] for event in events] == ["m", "later"]


def test_an_observer_that_raises_is_no_failure_of_ours(messages, events, twisted_destination):
    """Twisted deals with it."""

    def observer(event):
        if event["log_namespace"] == "eliot":
            raising()

    before = statistics()["failures"]
    globalLogPublisher.addObserver(observer)
    try:
        log_message("m")
    finally:
        globalLogPublisher.removeObserver(observer)

    assert [each["message_type"] for each in messages] == ["m"]
    assert statistics()["failures"] == before
    log_message("n")
    assert events[-1]["eliot"]["message_type"] == "n"


@pytest.mark.rule("E18.3", "E16.5")
def test_a_circle_through_standard_logging_is_cut():
    """Messages to Twisted's log, that to stdlib logging, that to messages: each is there once."""
    done = run("""
        import logging
        from twisted.logger import STDLibLogObserver, globalLogBeginner
        from sprockets.eliot import add_destinations, log_message
        from sprockets.eliot.stdlib import EliotHandler
        from sprockets.eliot.twisted import TwistedDestination
        found = []
        logging.getLogger().addHandler(EliotHandler())
        logging.getLogger().setLevel(logging.DEBUG)
        globalLogBeginner.beginLoggingTo([STDLibLogObserver()], redirectStandardIO=False)
        add_destinations(found.append, TwistedDestination())
        for number in range(3):
            log_message("m", number=number)
        logging.warning("by hand")
        print([each["message_type"] for each in found].count("m"), len(found))
    """)

    # And the record that is nobody's echo.
    assert done.stdout == "3 4\n", done.stderr


# -- under trial


@pytest.mark.rule("E18.6", "E18.7")
@pytest.mark.parametrize(
    ("program", "is_trial"),
    [
        ("trial", True),
        ("./trial", True),
        ("/usr/bin/trial", True),
        ("C:\\Python\\Scripts\\trial.exe", True),
        ("/x/site-packages/twisted/trial/__main__.py", True),
        ("C:\\x\\twisted\\trial\\__main__.py", True),
        ("/x/site-packages/twisted/trial/_dist/workertrial.py", True),
        ("/x/trial/prog.py", False),
        ("/x/trial/__main__.py", False),
        ("pytest", False),
        ("mytrial", False),
        ("trial.py", False),
        ("-c", False),
        ("", False),
    ],
)
def test_trial_is_known_by_its_name(messages, program, is_trial):
    """In all the ways in which it can be started."""
    redirect = _TrialRedirection(lambda: [program, "trial"])

    destination = redirect()

    assert isinstance(destination, TwistedDestination) == is_trial
    if destination is not None:
        remove_destination(destination)


@pytest.mark.rule("E18.7")
def test_a_command_line_that_is_empty_is_not_trials():
    """An embedded interpreter has one."""
    assert _TrialRedirection(list)() is None


@pytest.mark.rule("E18.4")
def test_without_trial_nothing_happens():
    """Under pytest, as here."""
    before = statistics()["destinations"]

    assert redirectLogsForTrial() is None
    assert statistics()["destinations"] == before


@pytest.mark.rule("E18.5", "E18.10")
def test_only_the_first_call_counts_in_whatever_thread(messages):
    """Of many at once, one adds a destination."""
    redirect = _TrialRedirection(lambda: ["trial"])
    before = statistics()["destinations"]
    found = []
    together = threading.Barrier(8)

    def call():
        together.wait(10)
        found.append(redirect())

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    destinations = [each for each in found if each is not None]
    assert len(destinations) == 1
    assert statistics()["destinations"] == before + 1
    remove_destination(*destinations)
    assert redirect() is None
    assert statistics()["destinations"] == before


# -- Twisted's events as messages


@pytest.fixture(name="redirected")
def _redirected(messages):
    redirect_twisted_logs_to_eliot()
    yield messages
    stop_redirecting_twisted_logs_to_eliot()


@pytest.mark.rule("E18.8")
def test_twisteds_events_become_messages(redirected):
    """In the current action, formatted, with a failure as a traceback."""
    log = TwistedLogger("shop.stock")
    with start_action(action_type="a"):
        log.warn("only {count} left", count=2)
        try:
            raising()
        except RuntimeError:
            log.failure("while counting")

    assert story(redirected) == [
        ("a started", [1]),
        ("eliot:twisted", [2]),
        ("eliot:twisted", [3]),
        ("eliot:traceback", [4]),
        ("a succeeded", [5]),
    ]
    assert redirected[1]["message"] == "only 2 left"
    assert (redirected[1]["log_level"], redirected[1]["logger"]) == ("warn", "shop.stock")
    assert redirected[2]["log_level"] == "critical"
    assert redirected[3]["traceback"].startswith("Traceback: <class 'RuntimeError'>: fail\n")


@pytest.mark.rule("E18.8")
def test_redirecting_twice_is_redirecting_once_and_can_be_undone(redirected):
    """Undoing it without it does nothing."""
    redirectTwistedLogsToEliot()
    log = TwistedLogger("shop")
    log.info("one")
    stop_redirecting_twisted_logs_to_eliot()
    log.info("two")
    stop_redirecting_twisted_logs_to_eliot()

    assert [each["message"] for each in redirected] == ["one"]


@pytest.mark.rule("E18.8")
def test_trials_log_is_not_used_while_twisteds_events_are_redirected(redirected):
    """A warning says so; once that is undone, the call counts."""
    redirect = _TrialRedirection(lambda: ["trial"])
    before = statistics()["destinations"]

    with pytest.warns(RuntimeWarning, match="stop_redirecting_twisted_logs_to_eliot") as caught:
        assert redirect() is None
    assert caught[0].filename == __file__
    assert statistics()["destinations"] == before

    stop_redirecting_twisted_logs_to_eliot()
    destination = redirect()
    assert destination is not None
    remove_destination(destination)


@pytest.mark.rule("E18.8")
def test_twisteds_events_are_not_redirected_while_messages_go_there(messages, twisted_destination):
    """A warning says so; nothing is redirected."""
    with pytest.warns(RuntimeWarning, match="TwistedDestination") as caught:
        redirect_twisted_logs_to_eliot()
    TwistedLogger("shop").info("one")

    assert caught[0].filename == __file__
    assert messages == []


@pytest.mark.rule("E18.3", "E18.8")
def test_both_ways_at_once_do_not_go_round(redirected, events):
    """Forced by hand, each message is one event, and each event one message."""
    destination = TwistedDestination()
    add_destinations(destination)
    try:
        log_message("m")
        TwistedLogger("shop").info("n")
    finally:
        remove_destination(destination)

    assert [event["log_namespace"] for event in events] == ["eliot", "shop"]
    assert [each["message_type"] for each in redirected] == ["m", "eliot:twisted"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_sends_leaves_the_child_able_to(tmp_path):
    """The child's messages are sent: no lock is held that it cannot get."""
    done = run("""
        import os, sys, threading
        from twisted.logger import globalLogPublisher
        from sprockets.eliot import add_destinations, log_message
        from sprockets.eliot.twisted import TwistedDestination
        inside, go_on = threading.Event(), threading.Event()
        seen = []
        def observer(event):
            if event.get("log_namespace") != "eliot": return
            seen.append(event["eliot"]["message_type"])
            if seen[-1] == "slow":
                inside.set(); go_on.wait(20)
        globalLogPublisher.addObserver(observer)
        add_destinations(TwistedDestination())
        thread = threading.Thread(target=log_message, args=("slow",))
        thread.start(); inside.wait(20)
        import warnings; warnings.simplefilter("ignore")
        pid = os.fork()
        if not pid:
            log_message("child")
            os._exit(0 if seen == ["slow", "child"] else 3)
        _, status = os.waitpid(pid, 0)
        go_on.set(); thread.join()
        sys.exit(os.waitstatus_to_exitcode(status))
    """)

    assert done.returncode == 0, done.stderr
