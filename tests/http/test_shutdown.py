"""Shutdown: callbacks, what they have begun, what requests have left; on a real loop."""

import asyncio
import concurrent.futures
import contextvars
import gc
import logging
import time

import pytest
from tornado.ioloop import IOLoop

from sprockets.http import _request_context
from sprockets.http._shutdown import Shutdown, cancel_tasks, context_of_task, tasks_of_requests

logger = logging.getLogger("test-shutdown")


@pytest.fixture(name="loop")
def _loop():
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    yield loop
    tasks = asyncio.all_tasks(loop.asyncio_loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.asyncio_loop.run_until_complete(asyncio.wait(tasks, timeout=1))
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@pytest.fixture(name="shut_down")
def _shut_down(loop, caplog):
    """Shut down with some callbacks; returns the shutdown when it is over, and how long it took."""
    caplog.set_level(logging.DEBUG)

    def shut_down(*callbacks, limit=5.0, wait_timeout=1.0, then=None):
        shutdown = Shutdown(
            "the application",
            callbacks,
            loop,
            limit=limit,
            wait_timeout=wait_timeout,
            logger=logger,
        )
        began = time.monotonic()
        shutdown.begin()
        if then is not None:
            then(shutdown)
        loop.start()
        assert shutdown.is_over
        return shutdown, time.monotonic() - began

    return shut_down


def texts(caplog, level=logging.WARNING):
    return [record.getMessage() for record in caplog.records if record.levelno == level]


class Request:
    """Stands for a request in whose context tasks are begun."""


def begin_in_request(loop, coroutine, name=None):
    """Begin a task as a handler would."""
    context = contextvars.copy_context()
    context.run(_request_context._current.set, Request())

    def begin():
        return asyncio.ensure_future(coroutine, loop=loop.asyncio_loop)

    task = context.run(begin)
    if name:
        task.set_name(name)
    return task


async def forever():
    await asyncio.get_running_loop().create_future()


# -- the callbacks


@pytest.mark.rule("H6.1", "H6.8", "H3.14")
def test_without_anything_to_wait_for_it_is_over_at_once(shut_down, caplog):
    """The callbacks have been called in order, with the application; two records say so."""
    called = []

    shutdown, seconds = shut_down(
        lambda application: called.append((1, application)),
        lambda application: called.append((2, application)),
        wait_timeout=60,
    )

    assert called == [(1, "the application"), (2, "the application")]
    assert seconds < 5
    assert shutdown.unfinished == []
    assert texts(caplog, logging.INFO) == ["starting IOLoop shutdown process", "stopped IOLoop"]
    assert texts(caplog) == []


def test_the_callbacks_are_called_before_begin_returns(loop, shut_down):
    """So that whoever begins it knows that they were."""
    called = []

    shut_down(called.append, then=lambda shutdown: called.append("begun"))

    assert called == ["the application", "begun"]


def test_a_callback_added_meanwhile_is_not_called(shut_down):
    """The list is the one that there was."""
    callbacks = []
    callbacks.append(lambda application: callbacks.append(callbacks[0]))

    shut_down(*callbacks)

    assert len(callbacks) == 2


@pytest.mark.rule("H3.15", "H3.19")
@pytest.mark.parametrize("is_late", [False, True])
def test_a_failure_is_logged_with_type_and_text(shut_down, caplog, is_late):
    """And with its traceback, whether it comes now or later; the others are called."""
    called = []

    def now(application):
        raise LookupError("no such thing")

    async def later(application):
        raise LookupError("no such thing")

    callback = later if is_late else now
    shutdown, _ = shut_down(callback, called.append)

    (text,) = texts(caplog)
    assert text == f"shutdown callback {callback!r} raised LookupError: no such thing"
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.exc_info[0] is LookupError
    assert called
    assert shutdown.unfinished == []


@pytest.mark.rule("H3.17")
def test_results_are_logged_with_the_number_still_pending(shut_down, caplog):
    """At the debug level."""

    async def quick(application):
        return "quick"

    async def slow(application):
        await asyncio.sleep(0.02)
        return "slow"

    shut_down(slow, quick)

    assert texts(caplog, logging.DEBUG)[-2:] == [
        f"shutdown callback {quick!r} returned 'quick'; 1 still pending",
        f"shutdown callback {slow!r} returned 'slow'; 0 still pending",
    ]


@pytest.mark.rule("H3.18")
def test_a_future_of_a_thread_is_waited_for(shut_down):
    """It has no ``__await__``, but threads hand it out."""
    ended = []

    with concurrent.futures.ThreadPoolExecutor(1) as executor:

        def work():
            time.sleep(0.05)
            ended.append(True)

        shut_down(lambda application: executor.submit(work))

        assert ended == [True]


@pytest.mark.rule("H3.21", "H6.7")
def test_what_does_not_finish_in_time_is_cancelled_and_named(shut_down, caplog):
    """The limit is kept whatever the pause between two looks is."""
    cancelled = []

    async def hang(application):
        try:
            await forever()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    shutdown, seconds = shut_down(hang, limit=0.1, wait_timeout=60)

    assert 0.1 <= seconds < 1
    assert shutdown.unfinished == [f"shutdown callback {hang!r}"]
    assert texts(caplog) == [
        f"shutdown callback {hang!r} did not finish within 0.1 s; cancelling it"
    ]


@pytest.mark.rule("H6.6")
def test_callbacks_and_tasks_of_requests_share_one_limit(loop, shut_down):
    """The tasks get what is left of it, not all of it again."""
    task = begin_in_request(loop, forever(), name="endless")

    async def hang(application):
        await forever()

    shutdown, seconds = shut_down(hang, limit=0.25, wait_timeout=0.01)

    assert 0.25 <= seconds < 0.45
    assert [each.partition(" ")[0] for each in shutdown.unfinished] == ["shutdown", "task"]
    assert task.cancelling()


def test_what_is_cancelled_and_fails_then_is_no_news(loop, shut_down):
    """It was named already; a warning of asyncio's would be an error here."""

    async def fail(application):
        try:
            await forever()
        finally:
            raise RuntimeError("while cleaning up")

    shut_down(fail, limit=0.05)
    loop.asyncio_loop.run_until_complete(asyncio.sleep(0))
    gc.collect()


# -- tasks of requests


@pytest.mark.rule("H6.3")
def test_only_tasks_of_requests_are_waited_for(loop):
    """Also those that such a task has begun."""
    inner = []

    async def outer():
        inner.append(asyncio.create_task(forever()))
        await forever()

    of_request = begin_in_request(loop, outer())
    of_service = asyncio.ensure_future(forever(), loop=loop.asyncio_loop)
    loop.asyncio_loop.run_until_complete(asyncio.sleep(0))

    found = tasks_of_requests(loop.asyncio_loop)

    assert set(found) == {of_request, *inner}
    assert of_service not in found


def test_the_context_of_a_task_can_be_had_on_every_python(loop):
    """Python 3.11 keeps it to itself."""
    variable = contextvars.ContextVar("variable")
    context = contextvars.copy_context()
    context.run(variable.set, 7)

    task = loop.asyncio_loop.create_task(forever(), context=context)

    assert context_of_task(task)[variable] == 7


@pytest.mark.rule("H6.3")
def test_a_task_of_a_request_is_waited_for_and_not_a_moment_longer(loop, shut_down):
    """Its end is noticed at once, whatever the pause between two looks is."""
    ended = []

    async def work():
        await asyncio.sleep(0.05)
        ended.append(True)

    begin_in_request(loop, work())

    shutdown, seconds = shut_down(limit=30, wait_timeout=30)

    assert ended == [True]
    assert seconds < 5
    assert shutdown.unfinished == []


def test_tasks_that_tasks_have_begun_are_waited_for_too(loop, shut_down):
    """The last one counts."""
    ended = []

    async def work(depth):
        await asyncio.sleep(0.01)
        if depth:
            work.task = asyncio.create_task(work(depth - 1))
        else:
            ended.append(True)

    begin_in_request(loop, work(3))

    shut_down(limit=30, wait_timeout=30)

    assert ended == [True]


@pytest.mark.rule("H6.3", "H6.6")
def test_an_endless_task_of_a_request_is_cancelled_at_the_limit(loop, shut_down, caplog):
    """The log shows it, and it is remembered as unfinished."""
    task = begin_in_request(loop, forever(), name="endless")

    shutdown, seconds = shut_down(limit=0.1, wait_timeout=0.02)

    assert 0.1 <= seconds < 1
    assert shutdown.unfinished == ["task endless"]
    assert "a task that a request began did not finish" in texts(caplog)[0]
    assert "name='endless'" in texts(caplog)[0]
    assert task.cancelling()


def test_a_wait_timeout_of_zero_does_not_hold_the_loop_up(loop, shut_down):
    """There is a pause at least as long as a tick of the clock."""
    looks = []

    async def work():
        for _ in range(20):
            looks.append(True)
            await asyncio.sleep(0.001)

    begin_in_request(loop, work())

    shut_down(wait_timeout=0)

    assert len(looks) == 20


# -- in a hurry


@pytest.mark.rule("H6.5")
def test_a_hurry_shortens_the_wait_for_callbacks(shut_down):
    """Twice is no sooner; and later it changes nothing."""

    async def hang(application):
        await forever()

    def hurry(shutdown):
        shutdown.hurry(0.05)
        shutdown.hurry(10)

    shutdown, seconds = shut_down(hang, limit=30, then=hurry)

    assert 0.05 <= seconds < 5
    assert len(shutdown.unfinished) == 1
    shutdown.hurry(0.01)


def test_a_hurry_shortens_the_wait_for_tasks_of_requests(loop, shut_down):
    """Those that are not done are cancelled, and named."""
    begin_in_request(loop, forever(), name="endless")

    shutdown, seconds = shut_down(limit=30, wait_timeout=30, then=lambda each: each.hurry(0.05))

    assert 0.05 <= seconds < 5
    assert shutdown.unfinished == ["task endless"]


def test_a_hurry_longer_than_what_is_left_changes_nothing(shut_down):
    """The limit stays the limit."""

    async def hang(application):
        await forever()

    _, seconds = shut_down(hang, limit=0.05, then=lambda shutdown: shutdown.hurry(30))

    assert seconds < 5


# -- cancelling what is left


def test_cancelled_tasks_are_waited_for_and_stubborn_ones_returned(loop):
    """What they raise is nobody's business any longer."""

    async def stubborn():
        while True:
            try:
                await forever()
            except asyncio.CancelledError:
                if done:
                    raise

    async def fail():
        try:
            await forever()
        finally:
            raise RuntimeError("while cleaning up")

    async def work():
        tasks = [asyncio.create_task(each) for each in (forever(), stubborn(), fail())]
        await asyncio.sleep(0)
        return tasks, await cancel_tasks(tasks, 0.05)

    done = False
    tasks, stuck = loop.run_sync(work)

    assert stuck == [tasks[1]]
    assert tasks[0].cancelled()
    done = True
    tasks[1].cancel()
    assert loop.run_sync(lambda: cancel_tasks([], 1)) == []
