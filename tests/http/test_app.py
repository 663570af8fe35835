"""Applications: their callbacks, on a loop of this process; their access log and their headers."""

import asyncio
import concurrent.futures
import gc
import logging
import re
import time

import pytest
from tornado import web
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from sprockets.http.app import Application, CallbackManager, wrap_application
from sprockets.http.runner import Runner
from sprockets.http.testing import make_server, stop_application

EVENTS = ("before_run", "on_start", "shutdown")


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


@pytest.fixture(name="serve")
def _serve(loop):
    """Serve an application, and return what fetches from it."""
    servers = []

    def serve(application):
        bound, port = bind_unused_port()
        server = make_server(application)
        server.add_socket(bound)
        servers.append(server)

        def fetch(path="/", **options):
            client = AsyncHTTPClient(force_instance=True)
            options.setdefault("raise_error", False)
            url = f"http://127.0.0.1:{port}{path}"
            try:
                return loop.run_sync(lambda: client.fetch(url, **options), timeout=5)
            finally:
                client.close()

        fetch.server = server
        return fetch

    yield serve
    for server in servers:
        server.stop()
        loop.run_sync(server.close_all_connections, timeout=5)


@pytest.fixture(name="log")
def _log(caplog):
    """All that is logged, from DEBUG on."""
    caplog.set_level(logging.DEBUG)
    return caplog


def plain(**callbacks):
    """Return an application of Tornado's, with callbacks."""
    application = web.Application()
    application.runner_callbacks = callbacks
    return application


def wrapped(application, *callbacks):
    with pytest.warns(DeprecationWarning):
        return wrap_application(application, *(callbacks or (None, None, None)))


def stop(loop, application, limit=5.0, wait_timeout=1.0):
    """Stop an application, and return after how many seconds the loop ended."""
    started = time.monotonic()
    application.stop(loop, limit, wait_timeout)
    loop.start()
    return time.monotonic() - started


def warnings_of(log):
    return [record for record in log.records if record.levelno == logging.WARNING]


class Hello(web.RequestHandler):
    def get(self):
        self.write("hello")


class Failing(web.RequestHandler):
    def get(self):
        raise web.HTTPError(int(self.get_query_argument("status", "500")))


# -- installing the callbacks


@pytest.mark.rule("H3.1", "H3.3")
def test_a_plain_application_gets_callbacks_from_the_runner():
    """All three lists, and empty ones."""
    application = web.Application()

    with pytest.warns(DeprecationWarning):
        Runner(application)

    assert application.runner_callbacks == {"before_run": [], "on_start": [], "shutdown": []}


@pytest.mark.rule("H3.2")
@pytest.mark.parametrize("make", [web.Application, Application])
@pytest.mark.filterwarnings("ignore:.*is no sprockets.app.Application")
def test_callbacks_that_the_factory_has_set_are_the_ones_that_are_used(make):
    """The very dict and the very lists; only what is missing is added."""
    given = {"shutdown": [print], "of our own": 1}
    lists = dict(given)
    application = make()
    application.runner_callbacks = given

    runner = Runner(application)

    assert application.runner_callbacks is runner.application.runner_callbacks is given
    assert given["shutdown"] is lists["shutdown"] is runner.application.on_shutdown_callbacks
    assert given == {"shutdown": [print], "of our own": 1, "before_run": [], "on_start": []}


@pytest.mark.rule("H3.2")
def test_the_properties_are_the_lists_of_the_dict():
    """What is appended to one is in the other."""
    application = Application()

    assert application.before_run_callbacks is application.runner_callbacks["before_run"]
    assert application.on_start_callbacks is application.runner_callbacks["on_start"]
    assert application.on_shutdown_callbacks is application.runner_callbacks["shutdown"]
    with pytest.raises(AttributeError):
        application.before_run_callbacks = []


# -- before_run


@pytest.mark.rule("H3.4", "H4.3")
@pytest.mark.parametrize("is_plain", [True, False])
def test_before_run_callbacks_are_called_in_order_before_the_loop_runs(loop, is_plain):
    """With the application that serves, and the loop; what they begin on it runs later."""
    calls = []
    served = plain() if is_plain else Application()
    application = wrapped(served) if is_plain else served

    def first(*args):
        calls.append(args)
        loop.add_callback(calls.append, "from the loop")

    application.before_run_callbacks.extend([first, lambda *args: calls.append("second")])

    application.start(loop)

    assert calls == [(served, loop), "second"]
    stop(loop, application)
    assert calls[2:] == ["from the loop"]


@pytest.mark.rule("H3.7")
def test_a_before_run_callback_that_returns_an_awaitable_is_run_to_its_end(loop):
    """Before the next one is called."""
    calls = []

    async def first(application, io_loop):
        await asyncio.sleep(0)
        calls.append("first")

    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            calls.append("second")

    third = [first, lambda *_: Awaitable(), lambda *_: calls.append("third")]
    application = Application(runner_callbacks={"before_run": third})

    application.start(loop)

    assert calls == ["first", "second", "third"]


async def _fail_later(application, io_loop):
    await asyncio.sleep(0)
    raise LookupError("no database")


def _fail(application, io_loop):
    raise LookupError("no database")


@pytest.mark.rule("H3.5", "H3.6", "H3.7", "H4.3")
@pytest.mark.parametrize("fail", [_fail, _fail_later])
def test_a_before_run_callback_that_raises_cancels_the_start(loop, log, fail):
    """The others are not called, the shutdown callbacks are; there is one traceback in the log."""
    calls = []
    application = Application(
        runner_callbacks={
            "before_run": [fail, lambda *_: calls.append("before_run")],
            "on_start": [lambda *_: calls.append("on_start")],
            "shutdown": [lambda *_: calls.append("shutdown")],
        }
    )

    with pytest.raises(LookupError, match="no database"):
        application.start(loop)
    loop.start()

    assert calls == ["shutdown"]
    (record,) = [each for each in log.records if each.exc_info]
    assert (record.name, record.levelname) == ("Application", "ERROR")
    assert record.getMessage() == f"before_run callback {fail!r} cancelled the start"
    assert record.exc_info[0] is LookupError


@pytest.mark.rule("H3.8")
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_before_run_callback_may_end_the_process(loop, log, error):
    """It passes through untouched, with no callback and no record."""
    calls = []

    def leave(*_):
        raise error

    application = Application(runner_callbacks={"before_run": [leave], "shutdown": [calls.append]})

    with pytest.raises(type(error)) as info:
        application.start(loop)

    assert info.value is error
    assert calls == []
    assert [each for each in log.records if each.name == "Application"] == []


@pytest.mark.rule("H3.9", "H4.4")
def test_a_cancelled_start_waits_for_shutdown_callbacks_within_the_limit(loop, log):
    """The limit is the runner's, not a default."""
    calls = []

    async def disconnect(application):
        await asyncio.sleep(0)
        calls.append("disconnected")

    async def never(application):
        await asyncio.Event().wait()

    application = Application(
        runner_callbacks={"before_run": [_fail], "shutdown": [disconnect, never]}
    )
    application.shutdown_limit = 0.05

    with pytest.raises(LookupError):
        application.start(loop)
    started = time.monotonic()
    loop.start()

    assert calls == ["disconnected"]
    assert 0.02 < time.monotonic() - started < 1
    assert application.unfinished == [f"shutdown callback {never!r}"]


# -- on_start


@pytest.mark.rule("H3.11", "H4.3")
def test_on_start_callbacks_are_called_on_the_running_loop_in_order(loop):
    """Not before it runs; with the application that serves, and the loop."""
    calls = []

    def call(*args):
        asyncio.get_running_loop()
        calls.append(args)

    application = Application(
        runner_callbacks={"on_start": [call, lambda *_: calls.append("second")]}
    )

    application.start(loop)
    assert calls == []
    stop(loop, application)

    assert calls == [(application, loop), "second"]
    assert application.has_started


@pytest.mark.rule("H3.12")
@pytest.mark.parametrize("fail", [_fail, _fail_later])
def test_an_on_start_callback_that_raises_is_logged(loop, log, fail):
    """By Tornado, with the traceback; the others are called, and the loop runs on."""
    calls = []
    application = Application(
        runner_callbacks={"on_start": [fail, lambda *_: calls.append("second")]}
    )

    application.start(loop)
    loop.run_sync(lambda: asyncio.sleep(0.01))

    assert calls == ["second"]
    (record,) = [each for each in log.records if each.exc_info]
    assert (record.name, record.levelname) == ("tornado.application", "ERROR")
    assert record.getMessage().startswith("Exception in callback")
    assert record.exc_info[0] is LookupError
    assert application.start_failed
    assert not application.has_started


def test_an_on_start_callback_that_waits_for_ever_is_not_collected(loop):
    """Nobody but the manager knows its task."""
    ended = []

    async def endless(application, io_loop):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("collected")

    application = Application(runner_callbacks={"on_start": [endless]})

    application.start(loop)
    loop.run_sync(lambda: asyncio.sleep(0))
    loop.run_sync(lambda: asyncio.sleep(0))
    gc.collect()

    assert ended == []
    stop(loop, application)


@pytest.mark.rule("H3.13")
def test_on_start_callbacks_do_not_wait_for_each_other(loop):
    """One that never ends is as good as any."""
    calls = []

    async def endless(application, io_loop):
        calls.append("began")
        await asyncio.Event().wait()

    application = Application(
        runner_callbacks={"on_start": [endless, lambda *_: calls.append("second")]}
    )

    application.start(loop)
    loop.run_sync(lambda: asyncio.sleep(0.01))

    assert sorted(calls) == ["began", "second"]
    assert not application.has_started
    assert not application.start_failed


# -- shutdown


@pytest.mark.rule("H3.14")
@pytest.mark.parametrize("is_plain", [True, False])
def test_shutdown_callbacks_are_called_in_order(loop, is_plain):
    """With the application that serves."""
    calls = []
    served = plain() if is_plain else Application()
    application = wrapped(served) if is_plain else served
    application.on_shutdown_callbacks.extend([calls.append, lambda _: calls.append("second")])

    stop(loop, application)

    assert calls == [served, "second"]


@pytest.mark.rule("H3.15", "H3.19")
def test_a_shutdown_callback_that_raises_is_logged_and_passed_over(loop, log):
    """As a warning, with the callback, the exception's type and text, and the traceback."""
    calls = []

    def fail(application):
        raise LookupError("no 100% database")

    application = Application(runner_callbacks={"shutdown": [fail, calls.append]})

    stop(loop, application)

    assert calls == [application]
    (record,) = warnings_of(log)
    assert record.getMessage() == f"shutdown callback {fail!r} raised LookupError: no 100% database"
    assert record.exc_info[0] is LookupError
    assert application.unfinished == []


@pytest.mark.rule("H3.16")
def test_nothing_is_accepted_any_longer_when_the_shutdown_callbacks_are_called(loop, serve):
    """The sockets are closed first."""
    seen = []
    application = Application([("/", Hello)])
    fetch = serve(application)
    application.on_shutdown_callbacks.append(lambda _: seen.append(list(fetch.server._listening)))
    assert fetch().code == 200
    assert fetch.server._listening

    stop_application(application, fetch.server, loop, 1.0, 0.01)

    assert seen == [[]]


@pytest.mark.rule("H3.17")
def test_what_shutdown_callbacks_return_is_waited_for_all_at_once(loop, log):
    """Each end is told at DEBUG, with the result and how many are left; a failure at WARNING."""
    first_may_end = asyncio.Event()
    ended = []

    async def first(application):
        await first_may_end.wait()
        ended.append("first")
        return "done"

    async def second(application):
        first_may_end.set()
        await asyncio.sleep(0.01)
        ended.append("second")
        raise LookupError("not connected")

    application = Application(runner_callbacks={"shutdown": [first, second]})

    stop(loop, application)

    assert ended == ["first", "second"]
    told = [each for each in log.records if "shutdown callback" in each.getMessage()]
    assert [(each.levelname, each.getMessage()) for each in told] == [
        ("DEBUG", f"shutdown callback {first!r} returned 'done'; 1 still pending"),
        ("WARNING", f"shutdown callback {second!r} raised LookupError: not connected"),
    ]
    assert told[1].exc_info[0] is LookupError


class OwnAwaitable:
    def __init__(self, calls):
        self.calls = calls

    def __await__(self):
        yield from asyncio.sleep(0.001).__await__()
        self.calls.append("ended")


def _as_coroutine(calls):
    async def end():
        await OwnAwaitable(calls)

    return end()


def _as_task(calls):
    return asyncio.get_event_loop().create_task(_as_coroutine(calls))


def _as_future(calls):
    future = asyncio.get_event_loop().create_future()
    _as_task(calls).add_done_callback(future.set_result)
    return future


def _as_thread(calls):
    executor = concurrent.futures.ThreadPoolExecutor(1)
    future = executor.submit(calls.append, "ended")
    executor.shutdown(wait=False)
    return future


@pytest.mark.rule("H3.17", "H3.18")
@pytest.mark.parametrize(
    "make",
    [OwnAwaitable, _as_coroutine, _as_task, _as_future, _as_thread],
    ids=lambda f: f.__name__,
)
def test_whatever_can_be_awaited_is(loop, make):
    """Coroutines, tasks, futures of either kind, and objects with an __await__."""
    calls = []
    application = Application(runner_callbacks={"shutdown": [lambda _: make(calls)]})

    stop(loop, application)

    assert calls == ["ended"]


def test_what_cannot_be_awaited_is_let_be(loop, log):
    """A callback may return what it likes."""
    application = Application(runner_callbacks={"shutdown": [lambda _: 42, lambda _: None]})

    stop(loop, application)

    assert warnings_of(log) == []


@pytest.mark.rule("H3.20")
def test_a_cancelled_shutdown_callback_is_over(loop, log):
    """The process ends, and a warning says whose end that was."""

    async def give_up(application):
        raise asyncio.CancelledError

    application = Application(runner_callbacks={"shutdown": [give_up]})

    seconds = stop(loop, application)

    assert seconds < 1
    assert [each.getMessage() for each in warnings_of(log)] == [
        f"shutdown callback {give_up!r} was cancelled"
    ]


@pytest.mark.rule("H3.21", "H6.6", "H6.7")
def test_a_shutdown_callback_that_does_not_end_is_cancelled_at_the_limit(loop, log):
    """It may clean up; a warning names it, and so does the list of what was cut short."""
    calls = []

    async def never(application):
        try:
            await asyncio.Event().wait()
        finally:
            calls.append("cleaned up")

    application = Application(runner_callbacks={"shutdown": [never]})

    seconds = stop(loop, application, 0.05, 0.01)
    loop.run_sync(lambda: asyncio.sleep(0))

    assert 0.03 < seconds < 1
    assert calls == ["cleaned up"]
    assert [each.getMessage() for each in warnings_of(log)] == [
        f"shutdown callback {never!r} did not finish within 0.05 s; cancelling it"
    ]
    assert application.unfinished == [f"shutdown callback {never!r}"]


@pytest.mark.rule("H6.1", "H6.8")
def test_with_nothing_to_wait_for_the_loop_stops_at_once(loop, log):
    """However long the pause between two looks is; and the log says when it began and ended."""
    seconds = stop(loop, Application(), 60.0, 60.0)

    assert seconds < 1
    assert [each.getMessage() for each in log.records if each.levelno == logging.INFO] == [
        "starting IOLoop shutdown process",
        "stopped IOLoop",
    ]


@pytest.mark.rule("H6.5")
def test_a_second_stop_does_nothing(loop):
    """Each callback is called once."""
    calls = []
    application = Application(runner_callbacks={"shutdown": [calls.append]})

    application.stop(loop)
    application.stop(loop)
    loop.start()

    assert calls == [application]


def test_an_application_may_be_started_again(loop):
    """As in the tests of a service, one loop after the other."""
    calls = []
    application = Application(
        runner_callbacks={event: [lambda *_, event=event: calls.append(event)] for event in EVENTS}
    )

    for _ in range(2):
        application.start(loop)
        stop(loop, application)

    # The loop is not run before it is stopped, so the end comes before the beginning.
    assert calls == ["before_run", "shutdown", "on_start"] * 2


@pytest.mark.rule("H4.5")
def test_stop_returns_at_once(loop):
    """The loop need not be running; what is left is done when it is run."""
    calls = []

    async def disconnect(application):
        await asyncio.sleep(0.01)
        calls.append("disconnected")

    application = Application(runner_callbacks={"shutdown": [disconnect]})

    application.stop(loop)
    assert calls == []
    loop.start()

    assert calls == ["disconnected"]


@pytest.mark.rule("H4.5")
def test_stop_may_be_called_from_the_running_loop(loop):
    """By the application itself, say."""
    calls = []
    application = Application(runner_callbacks={"shutdown": [calls.append]})

    loop.add_callback(application.stop, loop)
    loop.start()

    assert calls == [application]


# -- what requests have left running


class Leaving(web.RequestHandler):
    """Answers, and leaves a task behind."""

    def get(self):
        self.settings["tasks"].append(asyncio.ensure_future(self.settings["work"]()))


@pytest.mark.rule("H6.3")
def test_a_task_that_a_request_left_is_waited_for(loop, serve):
    """The client was perhaps promised what it does."""
    ended = []

    async def work():
        await asyncio.sleep(0.02)
        ended.append("work")

    application = Application([("/", Leaving)], tasks=[], work=work)
    serve(application)()

    seconds = stop(loop, application, 5.0, 1.0)

    assert ended == ["work"]
    assert seconds < 0.9, "the end of the last task is the end, whenever the next look is due"


@pytest.mark.rule("H6.3", "H6.7")
def test_a_task_that_a_request_left_and_that_never_ends_is_cancelled_at_the_limit(loop, serve, log):
    """The log says in which request's context it ran."""

    async def work():
        await asyncio.Event().wait()

    application = Application([("/", Leaving)], tasks=[], work=work)
    serve(application)()
    (task,) = application.settings["tasks"]

    seconds = stop(loop, application, 0.05, 0.01)
    loop.run_sync(lambda: asyncio.wait([task]))

    assert 0.03 < seconds < 1
    assert task.cancelled()
    assert application.unfinished == [f"task {task.get_name()}"]
    (record,) = warnings_of(log)
    assert record.getMessage().startswith("a task that a request began did not finish")


def test_tasks_of_the_service_itself_are_not_waited_for(loop):
    """They end with it; the runner cancels them when the loop has stopped."""
    tasks = []
    application = Application(
        runner_callbacks={
            "on_start": [lambda *_: tasks.append(asyncio.ensure_future(asyncio.Event().wait()))]
        }
    )
    application.start(loop)
    loop.run_sync(lambda: asyncio.sleep(0))

    seconds = stop(loop, application, 5.0, 1.0)

    assert seconds < 1
    assert not tasks[0].done()


# -- Application and wrap_application


@pytest.mark.rule("H4.1")
def test_an_application_is_one_of_tornados(serve):
    """It serves, and is its own manager of callbacks; it logs under the name of its class."""

    class Shop(Application):
        pass

    application = Shop([("/", Hello)], greeting="hello")

    assert isinstance(application, web.Application)
    assert isinstance(application, CallbackManager)
    assert application.tornado_application is application
    assert application.logger is logging.getLogger("Shop")
    assert application.settings["greeting"] == "hello"
    assert serve(application)().body == b"hello"


@pytest.mark.rule("H4.1")
def test_an_application_takes_what_tornados_takes(serve):
    """Hosts and transforms by position, as ever."""
    application = Application([("/", Hello)], "shop.example", [web.GZipContentEncoding])

    assert application.default_host == "shop.example"
    assert application.transforms == [web.GZipContentEncoding]


@pytest.mark.rule("H4.2")
def test_callbacks_given_to_the_constructor_are_kept_and_completed():
    """They are no setting."""
    given = {"shutdown": [print]}

    application = Application(runner_callbacks=given)

    assert application.runner_callbacks is given
    assert given == {"before_run": [], "on_start": [], "shutdown": [print]}
    assert "runner_callbacks" not in application.settings


def test_classes_of_the_users_may_stand_beside_the_manager():
    """What is not for the manager of callbacks goes on to the next class."""

    class Named:
        def __init__(self, name):
            self.name = name

    class Manager(CallbackManager, Named):
        pass

    application = web.Application()

    manager = Manager(application, name="shop")

    assert manager.name == "shop"
    assert manager.tornado_application is application
    assert manager.logger is logging.getLogger("Manager")


@pytest.mark.rule("H4.6", "H4.8")
def test_wrapping_an_application_of_ours_returns_it(recwarn):
    """With the given callbacks in its lists; and nobody is warned."""
    application = Application()
    lists = dict(application.runner_callbacks)

    assert wrap_application(application, ["a"], ["b"], ["c"]) is application

    assert application.runner_callbacks == {
        "before_run": ["a"],
        "on_start": ["b"],
        "shutdown": ["c"],
    }
    assert all(application.runner_callbacks[event] is lists[event] for event in EVENTS)
    assert not recwarn.list


@pytest.mark.rule("H4.7")
def test_wrapping_any_other_warns_and_returns_an_adapter():
    """It has all that a runner asks for."""

    class Shop(web.Application):
        pass

    application = Shop(greeting="hello")

    with pytest.warns(DeprecationWarning, match=r"Shop .*sprockets\.app\.Application"):
        adapter = wrap_application(application, ["a"], None, None)

    assert isinstance(adapter, CallbackManager)
    assert adapter.settings is application.settings
    assert adapter.tornado_application is application
    assert adapter.runner_callbacks is application.runner_callbacks
    assert adapter.before_run_callbacks == ["a"]
    assert adapter.on_start_callbacks == adapter.on_shutdown_callbacks == []
    assert adapter.start
    assert adapter.stop


@pytest.mark.rule("H4.7")
def test_the_warning_points_at_whoever_makes_the_runner():
    """That is where an application of ours would go."""
    with pytest.warns(DeprecationWarning) as caught:
        Runner(web.Application())

    assert caught[0].filename == __file__


@pytest.mark.rule("H4.9")
@pytest.mark.parametrize("make", [web.Application, Application])
@pytest.mark.filterwarnings("ignore:.*is no sprockets.app.Application")
def test_given_callbacks_come_after_those_that_are_there(make):
    """And the given lists are not changed."""
    application = make()
    application.runner_callbacks = {"shutdown": ["s"]}
    given = (["b"], ["o"], ["t"])

    runner = Runner(application, *given)
    runner.application.on_shutdown_callbacks.append("u")

    assert application.runner_callbacks == {
        "before_run": ["b"],
        "on_start": ["o"],
        "shutdown": ["s", "t", "u"],
    }
    assert given == (["b"], ["o"], ["t"])


# -- the access log


class Named(Hello):
    async def prepare(self):
        await asyncio.sleep(0)
        self.current_user = "bob"


class Nobody(Hello):
    def get_current_user(self):
        raise LookupError("no database")


class Counting(Hello):
    response_bytes_written = 5


class Quiet(Failing):
    access_log_failures_only = True

    def get(self):
        if self.get_query_argument("status", None):
            super().get()


ROUTES = [
    ("/", Hello),
    ("/named", Named),
    ("/nobody", Nobody),
    ("/counting", Counting),
    ("/quiet", Quiet),
    ("/failing", Failing),
]


def access_records(log):
    return [record for record in log.records if record.name == "tornado.access"]


def access_line(log):
    (record,) = access_records(log)
    return record.getMessage()


@pytest.mark.rule("H7.1")
@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("/", "INFO"),
        ("/quiet", "DEBUG"),
        ("/failing?status=404", "WARNING"),
        ("/quiet?status=404", "WARNING"),
        ("/nowhere", "WARNING"),
        ("/failing?status=503", "ERROR"),
        ("/quiet?status=503", "ERROR"),
    ],
)
def test_the_level_of_an_access_record_says_how_the_request_went(serve, log, path, level):
    """A handler may lower that of its successes, and of nothing else."""
    serve(Application(ROUTES))(path)

    (record,) = access_records(log)
    assert record.levelname == level


def test_the_line_of_the_access_log_is_the_one_that_tools_read(serve, log):
    """Address, user, time, request, status and reason, size, referer, agent, seconds."""
    serve(Application(ROUTES))("/named?a=1", headers={"Referer": "/from", "User-Agent": "test"})

    assert re.fullmatch(
        r"127\.0\.0\.1 - bob \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
        r'"GET /named\?a=1 HTTP/1\.1" 200 "OK" - "/from" "test" \(secs:\d+\.\d{3}\)',
        access_line(log),
    )


@pytest.mark.rule("H7.2")
def test_the_size_of_the_answer_is_logged_where_a_handler_counts_it(serve, log):
    """Otherwise there is a dash."""
    serve(Application(ROUTES))("/counting")

    assert '"OK" 5 "-"' in access_line(log)


@pytest.mark.rule("H7.3")
def test_a_user_that_cannot_be_found_out_is_nobody(serve, log):
    """The answer does not suffer."""
    response = serve(Application(ROUTES))("/nobody")

    assert response.code == 200
    assert access_line(log).startswith("127.0.0.1 - - [")


@pytest.mark.rule("H7.4")
def test_a_log_function_takes_the_place_of_the_access_log(serve, log):
    """It is called with the handler, as Tornado does it."""
    calls = []

    serve(Application(ROUTES, log_function=calls.append))("/")

    assert [type(handler) for handler in calls] == [Hello]
    assert access_records(log) == []


@pytest.mark.rule("H7.5")
def test_what_clients_send_cannot_forge_the_line(serve, log):
    """Quotes and backslashes are escaped."""
    serve(Application(ROUTES))("/", headers={"User-Agent": 'a "quote" and \\'})

    assert r'"a \"quote\" and \\" (secs:' in access_line(log)


@pytest.mark.rule("H7.6")
def test_a_plain_application_keeps_tornados_access_log(serve, log):
    """Also where it has been wrapped."""
    application = web.Application(ROUTES)
    wrapped(application)

    serve(application)("/")

    assert re.fullmatch(r"200 GET / \(127\.0\.0\.1\) \d+\.\d\dms", access_line(log))


# -- the Server header


@pytest.mark.rule("H8.1")
@pytest.mark.parametrize(
    ("given", "header"),
    [
        ({}, None),
        ({"service": "s"}, "s"),
        ({"service": "s", "version": "1"}, "s/1"),
        ({"service": "s", "version": None}, "s"),
        ({"version": "1"}, None),
        ({"service": None, "version": "1"}, None),
        ({"server_header": "x", "service": "s"}, "x"),
        ({"server_header": None, "service": "s"}, None),
    ],
)
def test_the_server_header_is_made_of_service_and_version(serve, given, header):
    """Unless it is given; without either there is none."""
    application = Application(ROUTES, **given)

    assert application.settings["server_header"] == header
    assert serve(application)().headers.get("Server") == header


@pytest.mark.rule("H8.2")
def test_the_server_header_may_be_changed_while_serving(serve):
    """The next answer has it; None and nothing mean that there is none."""
    application = Application(ROUTES)
    fetch = serve(application)

    application.settings["server_header"] = "new"
    assert fetch().headers["Server"] == "new"
    application.settings["server_header"] = None
    assert "Server" not in fetch().headers
    del application.settings["server_header"]
    assert "Server" not in fetch().headers


@pytest.mark.rule("H8.3")
@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/nowhere", 404), ("/failing?status=409", 409), ("/failing?status=500", 500)],
)
def test_every_answer_has_the_server_header(serve, log, path, status):
    """Those without a handler of the service's own included."""
    response = serve(Application(ROUTES, service="shop"))(path)

    assert (response.code, response.headers.get_list("Server")) == (status, ["shop"])


@pytest.mark.rule("H8.4")
def test_the_setting_is_called_server_header(serve):
    """Another of a similar name has no effect."""
    response = serve(Application(ROUTES, server="shop"))()

    assert "Server" not in response.headers


@pytest.mark.rule("H8.5")
def test_a_list_of_transforms_is_not_changed():
    """Neither by the constructor nor by what is added later."""
    given = [web.GZipContentEncoding]

    application = Application(transforms=given)
    application.add_transform(web.GZipContentEncoding)

    assert given == [web.GZipContentEncoding]
    assert application.transforms is not given


@pytest.mark.rule("H8.6")
def test_a_plain_application_keeps_tornados_server_header(serve):
    """Also where it has been wrapped."""
    application = web.Application(ROUTES, server_header="shop")
    wrapped(application)

    assert serve(application)().headers["Server"].startswith("TornadoServer/")
