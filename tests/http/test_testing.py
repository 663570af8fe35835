"""What tests of services use: the test case, and the service that runs beside a test."""

import asyncio
import os
import signal
import socket
import sys
import textwrap
import time
import unittest
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from tornado import web
from tornado.httpclient import HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.testing import AsyncHTTPSTestCase, AsyncHTTPTestCase, gen_test

from sprockets.http.app import Application
from sprockets.http.mixins import LoggingHandler
from sprockets.http.testing import RunningService, SprocketsHttpTestCase, free_port
from sprockets.logbook import Logger


class Hello(web.RequestHandler):
    def get(self):
        self.write(self.request.protocol)


def run_case(case_class, name="test"):
    """Run one test, and return its case and the exceptions that came out of it."""
    caught = []

    class Result(unittest.TestResult):
        def addError(self, test, err):
            caught.append(err[1])

        addFailure = addError

    case = case_class(name)
    case.run(Result())
    return case, caught


def passed(case_class, name="test"):
    case, caught = run_case(case_class, name)
    if caught:
        raise caught[0]
    return case


class Case(SprocketsHttpTestCase):
    """One test, of an application with the callbacks that a subclass gives."""

    callbacks: Mapping = MappingProxyType({})

    def get_app(self):
        self.app = Application([("/", Hello)], runner_callbacks=dict(self.callbacks))
        return self.app

    def test(self):
        assert self.fetch("/").code == 200


# -- the test case


def test_the_case_is_one_of_tornados():
    """Whatever is known of Tornado's test case holds."""
    assert issubclass(SprocketsHttpTestCase, AsyncHTTPTestCase)
    assert (SprocketsHttpTestCase.shutdown_limit, SprocketsHttpTestCase.wait_timeout) == (
        0.25,
        0.05,
    )
    with pytest.raises(NotImplementedError):
        SprocketsHttpTestCase.get_app(None)


@pytest.mark.rule("H10.1")
def test_before_run_callbacks_have_run_when_the_test_begins():
    """With the application and the loop of the test; and there is no application before."""
    calls = []

    class It(Case):
        callbacks = MappingProxyType({"before_run": [lambda *args: calls.append(args)]})

        def get_app(self):
            assert self.app is None
            return super().get_app()

        def test(self):
            assert calls == [(self.app, self.io_loop)]

    passed(It)


@pytest.mark.rule("H10.1")
def test_before_run_callbacks_that_are_coroutines_have_run_to_their_end():
    """As in a worker."""
    calls = []

    async def connect(application, io_loop):
        await asyncio.sleep(0)
        calls.append("connected")

    class It(Case):
        callbacks = MappingProxyType({"before_run": [connect]})

        def test(self):
            assert calls == ["connected"]

    passed(It)


@pytest.mark.rule("H10.2")
def test_on_start_callbacks_run_when_the_loop_does():
    """Not before the test begins, but with its first fetch."""
    calls = []

    class It(Case):
        callbacks = MappingProxyType({"on_start": [lambda *args: calls.append(args)]})

        def test(self):
            assert calls == []
            super().test()
            assert calls == [(self.app, self.io_loop)]

    passed(It)


@pytest.mark.rule("H10.3")
def test_shutdown_callbacks_are_done_after_the_test():
    """What they return has been waited for when the base class's tearDown has run."""
    calls = []

    async def disconnect(application):
        calls.append("began")
        await asyncio.sleep(0.01)
        calls.append("ended")

    class It(Case):
        callbacks = MappingProxyType({"shutdown": [disconnect]})

        def test(self):
            super().test()
            assert calls == []

        def tearDown(self):
            super().tearDown()
            calls.append("torn down")

    passed(It)

    assert calls == ["began", "ended", "torn down"]


@pytest.mark.rule("H10.3")
def test_stop_is_told_the_limits_of_the_class_and_the_instance():
    """Either may set them."""
    calls = []

    class It(Case):
        shutdown_limit = 0.125

        def test(self):
            self.wait_timeout = 0.0625
            stop = self.app.stop
            self.app.stop = lambda *args: (calls.append(args[1:]), stop(*args))

    passed(It)

    assert calls == [(0.125, 0.0625)]


@pytest.mark.rule("H10.3")
def test_what_does_not_end_is_cancelled_at_the_limit(caplog):
    """A test ends though a callback never does."""

    async def never(application):
        await asyncio.Event().wait()

    class It(Case):
        shutdown_limit = 0.05
        callbacks = MappingProxyType({"shutdown": [never]})

    started = time.monotonic()
    passed(It)

    assert time.monotonic() - started < 1
    assert "did not finish within 0.05 s" in caplog.text


@pytest.mark.rule("H10.3")
def test_an_application_that_the_test_has_stopped_is_left_alone():
    """Its callbacks are called once, and tearDown does not wait for an end that was long ago."""
    calls = []

    class It(Case):
        callbacks = MappingProxyType({"shutdown": [calls.append]})

        def test(self):
            self.app.stop(self.io_loop)
            self.io_loop.start()
            assert calls == [self.app]

    passed(It)

    assert len(calls) == 1


def test_requests_in_flight_are_answered_before_the_shutdown_callbacks():
    """In the order in which a worker ends."""
    calls = []

    class Slow(web.RequestHandler):
        async def get(self):
            calls.append("began")
            await asyncio.sleep(0.05)
            calls.append("answered")

    class It(Case):
        def get_app(self):
            shutdown = [lambda _: calls.append("shutdown")]
            self.app = Application([("/", Slow)], runner_callbacks={"shutdown": shutdown})
            return self.app

        def test(self):
            async def ask():
                self.answer = asyncio.ensure_future(self.http_client.fetch(self.get_url("/")))
                while not calls:
                    await asyncio.sleep(0.001)

            self.io_loop.run_sync(ask)

        def tearDown(self):
            super().tearDown()
            # The client saw its answer, or its task was cancelled with the loop.
            assert self.answer.done()

    passed(It)

    assert calls == ["began", "answered", "shutdown"]


@pytest.mark.rule("H10.4")
def test_an_application_that_get_app_only_returned_is_used():
    """And it is there as the attribute."""
    calls = []

    class It(Case):
        def get_app(self):
            self.made = Application(runner_callbacks={"before_run": [lambda *_: calls.append(1)]})
            return self.made

        def test(self):
            assert self.app is self.made
            assert calls == [1]

    passed(It)


@pytest.mark.rule("H10.4")
@pytest.mark.parametrize("is_set", [True, False])
def test_a_plain_application_is_wrapped(is_set):
    """Its callbacks are run, and nobody is warned: that is for whoever serves it."""
    calls = []

    class It(Case):
        def get_app(self):
            made = web.Application([("/", Hello)])
            made.runner_callbacks = {
                "before_run": [lambda application, _: calls.append(application)],
                "shutdown": [calls.append],
            }
            if is_set:
                self.app = made
            self.made = made
            return made

        def test(self):
            super().test()
            assert self.app.tornado_application is self.made
            assert calls == [self.made]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        case = passed(It)

    assert calls == [case.made] * 2


def test_what_is_no_application_is_served_without_callbacks():
    """As by Tornado's own test case, which takes whatever its server takes."""

    class It(Case):
        def get_app(self):
            def answer(request):
                request.connection.write_headers(
                    web.httputil.ResponseStartLine("HTTP/1.1", 204, "No Content"),
                    web.httputil.HTTPHeaders(),
                )
                request.connection.finish()

            return answer

        def test(self):
            assert self.fetch("/").code == 204
            assert self.app is None

    passed(It)


def is_released(port):
    """Whether nobody listens on a port any longer."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.rule("H10.5")
def test_a_before_run_callback_that_raises_is_the_tests_error(caplog):
    """The very exception; and server and loop are released, after the shutdown callbacks."""
    calls = []
    error = RuntimeError("no database")

    def fail(application, io_loop):
        raise error

    async def disconnect(application):
        await asyncio.sleep(0)
        calls.append("disconnected")

    class It(Case):
        callbacks = MappingProxyType({"before_run": [fail], "shutdown": [disconnect]})

        def test(self):
            raise AssertionError("must not run")

    case, caught = run_case(It)

    assert caught == [error]
    assert calls == ["disconnected"]
    assert case.io_loop.asyncio_loop.is_closed()
    assert is_released(case.get_http_port())
    assert [
        record.getMessage()[:36] for record in caplog.records if record.levelname == "ERROR"
    ] == [f"before_run callback {fail!r}"[:36]]


@pytest.mark.rule("H10.5")
@pytest.mark.parametrize("is_set", [True, False])
def test_a_get_app_that_raises_leaves_nothing_open(is_set):
    """The error is the test's; the server's socket and the loop are released."""

    class It(Case):
        def get_app(self):
            if is_set:
                super().get_app()
            raise LookupError("no settings")

        def test(self):
            raise AssertionError("must not run")

    case, caught = run_case(It)

    assert [type(error) for error in caught] == [LookupError]
    assert case.io_loop.asyncio_loop.is_closed()
    assert is_released(case.get_http_port())


def test_the_server_is_the_one_that_serves_in_earnest():
    """Request ids, forwarded addresses and error documents are those of production."""

    class Echo(LoggingHandler, web.RequestHandler):
        def get(self):
            self.write(self.request.remote_ip)

    class It(Case):
        def get_app(self):
            self.app = Application([("/", Echo)], service="shop")
            return self.app

        def test(self):
            answer = self.fetch("/", headers={"X-Real-Ip": "10.9.8.7", "X-Request-Id": "abc"})
            assert answer.body == b"10.9.8.7"
            assert answer.headers["X-Request-Id"] == "abc"
            assert answer.headers["Server"] == "shop"
            assert self.app.activity.row.requests == 1

    passed(It)


def test_options_that_only_tornados_server_knows_get_tornados():
    """Request ids are there all the same."""

    class It(Case):
        def get_httpserver_options(self):
            return {"decompress_request": True}

        def test(self):
            assert type(self.http_server) is HTTPServer
            assert self.fetch("/").headers["X-Request-Id"]

    passed(It)


def test_the_case_serves_with_tls():
    """Together with Tornado's case for that."""

    class It(Case, AsyncHTTPSTestCase):
        def test(self):
            assert self.fetch("/").body == b"https"

    passed(It)


def test_calls_in_threads_keep_the_request_in_their_context(log_records):
    """As in a worker: the loop's executor carries it."""
    log = Logger("thread")

    class Threaded(web.RequestHandler):
        async def get(self):
            await asyncio.get_running_loop().run_in_executor(None, log.info, "in a thread")

    class It(Case):
        def get_app(self):
            self.app = Application([("/", Threaded)])
            return self.app

        def test(self):
            self.fetch("/", headers={"X-Request-Id": "abc"})

    passed(It)

    record = next(each for each in log_records.records if each.channel == "thread")
    assert record.extra["request_id"] == "abc"


def test_tests_may_be_coroutines():
    """With Tornado's gen_test."""

    class It(Case):
        @gen_test
        async def test(self):
            with pytest.raises(HTTPClientError, match="404"):
                await self.http_client.fetch(self.get_url("/nowhere"))

    passed(It)


# -- the service beside the test

SERVICE = """
    import os

    from tornado import web

    from sprockets.http.app import Application


    class Hello(web.RequestHandler):
        def initialize(self, greeting):
            self.greeting = greeting

        def get(self):
            self.write(self.greeting)


    def make_app(greeting="hello", **settings):
        print("making", flush=True)
        kwargs = {"greeting": greeting}
        return Application([("/", Hello, kwargs)], **settings)


    def broken(**settings):
        raise RuntimeError("no database")
"""


@pytest.fixture(name="module")
def _module(tmp_path, monkeypatch):
    """A module that only this process's path leads to."""
    tmp_path.joinpath("greeting_service.py").write_text(textwrap.dedent(SERVICE))
    monkeypatch.syspath_prepend(tmp_path)
    return "greeting_service"


def test_a_free_port_is_free():
    """Somebody else can bind it."""
    port = free_port()

    with socket.create_server(("127.0.0.1", port)):
        assert 20_000 <= port < 32_000


def test_a_free_port_does_not_depend_on_a_seed():
    """Plugins that seed the random numbers would have test runs side by side get the same ones."""
    import random

    ports = set()
    for _ in range(3):
        random.seed(1)
        ports.add(free_port())

    assert len(ports) > 1


def test_a_factory_is_served(module):
    """It answers when the block begins, and says what it was told; the end is clean."""
    with RunningService(
        f"{module}:make_app", {"greeting": "salve", "number_of_procs": 1}
    ) as service:
        assert urlopen(service.url("/")).read() == b"salve"
        assert "making" in service.output
        with pytest.raises(HTTPError, match="404"):
            urlopen(service.url("/nowhere"))
        assert service.returncode is None

        assert service.stop() == 0

    assert service.returncode == 0
    assert "making" in service.output
    assert is_released(service.port)


def test_a_service_with_workers_leaves_none_behind(module):
    """Leaving the block ends them all, even those that no parent can."""
    with RunningService(f"{module}:make_app", {"number_of_procs": 2}) as service:
        # The first may serve before there is a second.
        deadline = time.monotonic() + 5
        while len(children := children_of(service.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(children) >= 2
        service.signal(signal.SIGKILL)
        assert service.wait() == -signal.SIGKILL

    deadline = time.monotonic() + 5
    while any(is_running(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(is_running(pid) for pid in children)


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_service_that_cannot_start_is_an_error_with_its_output(module):
    """With the exit status, and the end of what it wrote."""
    with pytest.raises(RuntimeError, match="the service ended with 70 while it started") as info:
        with RunningService(f"{module}:broken", {"number_of_procs": 1}):
            pass

    assert "no database" in info.value.__notes__[0]


COMMAND = """
    import os, signal, socket, sys, time
    signal.signal(signal.SIGTERM, {on_term})
    print("port", os.environ["PORT"], sys.argv[1], os.environ.get("NOTIFY_SOCKET"), flush=True)
    # A signal just before a long sleep would be looked at after it.
    while True: time.sleep(0.05)
"""


def command(on_term="lambda *_: sys.exit(3)"):
    program = textwrap.dedent(COMMAND).replace("{on_term}", on_term)
    return [sys.executable, "-S", "-c", program, "{port}"]


def test_a_command_is_told_its_port(monkeypatch):
    """In its words and in its environment; what supervises the tests does not concern it."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")

    with RunningService(command(), ready_path=None, port=24_242) as service:
        service.wait_output("\n")
        assert service.output == "port 24242 24242 None\n"
        assert service.stop() == 3


def test_a_service_that_does_not_stop_is_killed():
    """And that is said."""
    service = RunningService(command("signal.SIG_IGN"), ready_path=None, stop_timeout=0.05)
    service.start()
    service.wait_output("port")

    with pytest.raises(TimeoutError, match="did not end within 0.05 seconds"):
        service.stop()

    assert service.returncode == -signal.SIGKILL
    service.close()


def test_a_service_that_does_not_answer_in_time_is_an_error():
    """Nothing is left of it."""
    service = RunningService(command(), start_timeout=0.05)

    with pytest.raises(TimeoutError, match="no answer to / within 0.05 seconds"):
        service.start()

    assert service.returncode == -signal.SIGKILL


def test_an_exception_in_the_block_is_shown_with_the_output():
    """A failed assertion about a service is rarely enough to see why."""
    with pytest.raises(ZeroDivisionError) as info:
        with RunningService(command(), ready_path=None) as service:
            service.wait_output("port")
            raise ZeroDivisionError

    assert info.value.__notes__ == [f"output of the service:\n{service.output}"]
    assert service.returncode == -signal.SIGKILL


def test_output_that_does_not_come_is_an_error():
    """After so many seconds."""
    with RunningService(command(), ready_path=None) as service:
        with pytest.raises(TimeoutError, match="no 'ready' in the output within 0 seconds"):
            service.wait_output("ready", timeout=0)
        with pytest.raises(TimeoutError, match="did not end within 0.01 seconds"):
            service.wait(timeout=0.01)
        with pytest.raises(RuntimeError, match="started before"):
            service.start()
        os.kill(service.pid, signal.SIGTERM)
        service.wait()


def test_what_cannot_be_run_is_refused():
    """With a word on what can."""
    with pytest.raises(ValueError, match="expected module:factory, got 'python service.py'"):
        RunningService("python service.py")
    with pytest.raises(ValueError, match="tell a command in its arguments"):
        RunningService(["true"], {"debug": True})
    with pytest.raises(RuntimeError, match="use it in a with statement"):
        RunningService(["true"]).signal()
    with pytest.raises(FileNotFoundError):
        RunningService(["/no/such/command"]).start()
