"""``run()`` and the runner: what they promise, shown by programs that use them."""

import asyncio
import importlib
import importlib.metadata
import inspect
import json
import logging
import os
import pkgutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest
from tornado import web
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

import sprockets
import sprockets.http
from sprockets.http import runner as runner_module
from sprockets.http.app import Application
from sprockets.http.runner import Runner
from tests.http.serving.driver import Pending, Service, get, no_process_left, outcome_of, wait_until

PUBLIC = [
    *("sprockets.http", "sprockets.http.app", "sprockets.http.context", "sprockets.http.health"),
    *("sprockets.http.logs", "sprockets.http.mixins", "sprockets.http.runner"),
    *("sprockets.http.testing",),
]

# What the programs here begin with; the port is their only argument.
PRELUDE = r"""
import asyncio, logging, os, signal, sys, threading, time, warnings
import sprockets.http
from sprockets.http.app import Application
from sprockets.http.runner import Runner
from tornado import web
from tornado.ioloop import IOLoop

PORT = int(sys.argv[1])


def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Root(web.RequestHandler):
    async def get(self):
        await asyncio.sleep(float(self.get_query_argument("s", "0")))
        self.write({"pid": os.getpid()})


def stop(*_):
    os.kill(os.getpid(), signal.SIGTERM)
"""

# At its exit a program may leave a loop to the system; anything else that is warned of is an error.
STRICT = ("-W", "error")


@pytest.fixture(name="program")
def _program(tmp_path):
    """Run a program of this text after the prelude; with warnings as errors unless told otherwise.

    ``program(text, ready=None)`` does not wait until it answers.
    """
    with ExitStack() as stack:
        started = []

        def program(text, *, ready="/", options=STRICT, **env):
            path = tmp_path / f"program{len(started)}.py"
            path.write_text(PRELUDE + text)
            service = Service(
                [sys.executable, "-P", *options, str(path), "{port}"],
                cwd=tmp_path,
                ready_path=ready,
                env=env,
            )
            started.append(service)
            return stack.enter_context(service)

        yield program
        for service in started:
            if service.returncode is not None:
                assert no_process_left(service.session_id), "an orphan"


def status_of(service):
    status = service.wait(5)
    assert "Warning" not in service.output()
    return status


@pytest.fixture(name="loop")
def _loop():
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


# -- the package


@pytest.mark.rule("H0.1")
def test_sprockets_is_a_namespace():
    """Others may install their packages beside ours."""
    assert getattr(sprockets, "__file__", None) is None
    assert type(sprockets.__path__).__name__ in ("_NamespacePath", "NamespacePath")
    assert not (Path(sprockets.http.__file__).parents[1] / "__init__.py").exists()


@pytest.mark.rule("H0.2")
def test_everything_can_be_imported_without_what_is_optional():
    """Only the command of setuptools needs setuptools."""
    script = f"""
import importlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("setuptools", "distutils", "sentry_sdk", "sprockets.mixins.mediatype"):
            raise ModuleNotFoundError(f"no module {{name}}", name=name)

sys.meta_path.insert(0, Missing())
for name in {PUBLIC}:
    importlib.import_module(name)
try:
    from sprockets.http.runner import RunCommand
except ImportError:
    print("no command")
"""

    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr, done.returncode) == ("no command\n", "", 0)


def public_callables():
    for name in PUBLIC:
        module = importlib.import_module(name)
        for attribute, value in vars(module).items():
            if attribute.startswith("_") or not getattr(value, "__module__", "").startswith(name):
                continue
            if inspect.isfunction(value):
                yield f"{name}.{attribute}", value
            elif inspect.isclass(value):
                for each, method in vars(value).items():
                    function = getattr(method, "__func__", getattr(method, "fget", method))
                    if inspect.isfunction(function) and (
                        not each.startswith("_") or each == "__init__"
                    ):
                        yield f"{name}.{attribute}.{each}", function


@pytest.mark.rule("H0.3")
def test_every_public_callable_is_annotated():
    """And the package says that type checkers may rely on it."""
    assert (Path(sprockets.http.__file__).parent / "py.typed").exists()
    bare = [
        name
        for name, function in public_callables()
        for parameter in [*inspect.signature(function).parameters.values()]
        if parameter.annotation is parameter.empty and parameter.name not in ("self", "cls")
    ]
    silent = [
        name
        for name, function in public_callables()
        if inspect.signature(function).return_annotation is inspect.Signature.empty
    ]

    assert len(list(public_callables())) > 50
    assert (bare, silent) == ([], [])


def test_every_module_can_be_imported():
    """In any order; the one that is a program is not run."""
    names = {each.name for each in pkgutil.iter_modules(sprockets.http.__path__)}
    assert "_run_command" in names

    for name in sorted(names - {"__main__"}):
        importlib.import_module(f"sprockets.http.{name}")


def test_the_version_is_told_twice_alike():
    """As numbers and as a text."""
    assert sprockets.http.__version__ == ".".join(map(str, sprockets.http.version_info))
    assert all(type(number) is int for number in sprockets.http.version_info)
    assert set(sprockets.http.__all__) == {"run", "version_info", "__version__"}


@pytest.mark.rule("H11.7")
def test_sentry_is_an_extra():
    """That can be installed with us."""
    metadata = importlib.metadata.metadata("sprockets.http")

    assert "sentry" in metadata.get_all("Provides-Extra")
    assert any(
        each.startswith("sentry-sdk") and 'extra == "sentry"' in each
        for each in metadata.get_all("Requires-Dist")
    )


# -- the factory


@pytest.mark.rule("H1.1", "H1.2", "H1.14", "H5.8")
def test_the_factory_is_called_once_with_keywords_only(program):
    """``debug`` is among them, the runner's own options are not; the caller's dict is unchanged."""
    service = program(
        """
def make_app(*args, **settings):
    tell("made", args, sorted(settings.items()))
    return Application([("/", Root)], **settings)

given = {"port": PORT, "number_of_procs": 1, "own": 7, "shutdown_limit": 2}
before = dict(given)
tell("returned", sprockets.http.run(make_app, given), given == before)
"""
    )

    service.signal(signal.SIGTERM)

    assert status_of(service) == 0
    lines = [line for line in service.output().splitlines() if not line.startswith("{")]
    assert lines == ["made () [('debug', False), ('own', 7)]", "returned None True"]


@pytest.mark.rule("H1.1", "H1.8")
def test_without_a_number_there_is_a_worker_for_each_processor(program):
    """The application is made in each of them."""
    service = program(
        """
def make_app(**settings):
    tell("made", sorted(settings))
    return Application([("/", Root)], **settings)

os.sched_getaffinity = lambda pid: {0, 1, 2}
import sprockets.http._cpus
sprockets.http._cpus.cgroup_quota = lambda root: None
sprockets.http.run(make_app, {"port": PORT})
"""
    )

    assert len(service.wait_workers(3)) == 3
    wait_until(lambda: service.output().count("made ['debug']") == 3)
    service.signal(signal.SIGTERM)
    assert status_of(service) == 0


@pytest.mark.rule("H1.13")
def test_the_factory_may_be_a_class(program):
    """An application's own."""
    service = program(
        """
class MyApplication(Application):
    def __init__(self, **settings):
        super().__init__([("/", Root)], **settings)

sprockets.http.run(MyApplication, {"port": PORT, "number_of_procs": 1})
"""
    )

    assert get(service.address).status == 200
    service.signal(signal.SIGINT)
    assert status_of(service) == 0


@pytest.mark.rule("H1.15")
def test_only_the_main_thread_can_run_a_service(tmp_path):
    """Only it can handle signals; the text says what to do, and nothing was bound."""
    errors = []
    path = tmp_path / "s.sock"

    def call():
        try:
            sprockets.http.run(
                Application, {"unix_socket": str(path), "number_of_procs": 1}, log_config=None
            )
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(5)

    (text,) = errors
    assert "only the main thread can" in text
    assert not path.exists()


# -- logging


@pytest.mark.rule("H1.9")
def test_logging_is_configured_before_the_factory_is_called(program):
    """From a dict, which is not changed."""
    service = program(
        """
config = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"own": {"format": "own %(name)s: %(message)s"}},
    "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
    "root": {"level": "INFO", "handlers": ["own"]},
}
before = repr(config)

def make_app(**settings):
    logging.getLogger("factory").info("configured")
    tell("unchanged", repr(config) == before)
    return Application([("/", Root)], **settings)

sprockets.http.run(make_app, {"port": PORT, "number_of_procs": 1}, config)
"""
    )

    assert "own factory: configured" in service.output()
    assert "unchanged True" in service.output()


@pytest.mark.rule("H1.10", "H1.11")
def test_without_a_log_config_there_is_the_built_in_set_up_and_no_warning(program):
    """Nobody is told that this is a mistake: it is none."""
    service = program(
        """
def make_app(**settings):
    logging.getLogger("factory").info("configured")
    return Application([("/", Root)], **settings)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    sprockets.http.run(make_app, {"port": PORT, "number_of_procs": 1})
tell("warnings", [str(each.message) for each in caught])
"""
    )

    service.signal(signal.SIGTERM)

    assert service.wait(5) == 0
    assert "warnings []" in service.output()
    records = [json.loads(each) for each in service.output().splitlines() if each.startswith("{")]
    assert ("factory", "configured") in [(each["channel"], each["message"]) for each in records]


@pytest.mark.rule("H1.12")
def test_logging_can_be_left_alone(program):
    """No handler, no level, no redirection."""
    service = program(
        """
def make_app(**settings):
    root = logging.getLogger()
    tell("left alone", root.handlers == [] and root.level == logging.WARNING)
    return Application([("/", Root)], **settings)

sprockets.http.run(make_app, {"port": PORT, "number_of_procs": 1}, log_config=None)
"""
    )

    assert "left alone True" in service.output()


# -- the runner


@pytest.mark.rule("H5.1")
def test_the_server_is_told_what_the_application_says(loop):
    """Its limits are Tornado's unless the settings say otherwise; proxies are believed."""
    plain, told = (
        Runner(Application(debug=True, **settings))
        for settings in ({}, {"xheaders": False, "max_body_size": 1024, "max_buffer_size": 2048})
    )
    seen = []
    for runner in (plain, told):
        assert runner.server is None
        runner.application.on_start_callbacks.append(
            lambda application, io_loop: os.kill(os.getpid(), signal.SIGTERM)
        )

        runner.run(0)

        assert isinstance(runner.server, HTTPServer)
        server = runner.server
        seen.append(
            (server._believes_proxies, server.conn_params.max_body_size, server.max_buffer_size)
        )

    assert seen == [(True, None, None), (False, 1024, 2048)]


@pytest.mark.rule("H5.2")
def test_debug_forks_nothing_whatever_the_number_of_processes_is(program):
    """One line says where it listens."""
    service = program(
        """
sprockets.http.run(
    lambda **settings: Application([("/", Root)], **settings),
    {"port": PORT, "debug": True, "number_of_procs": 4},
)
"""
    )

    assert get(service.address).json()["pid"] == service.pid
    assert service.worker_pids() == []
    assert f"starting 1 process on port {service.port}" in service.output()


@pytest.mark.rule("H5.4")
def test_no_loop_is_made_before_the_fork(program):
    """Nor in the parent at any time."""
    service = program(
        """
made = []
original = asyncio.new_event_loop

def new_event_loop():
    tell("loop of", os.getpid())
    return original()

asyncio.new_event_loop = new_event_loop
asyncio.events.new_event_loop = new_event_loop
Runner(Application([("/", Root)])).run(PORT, 2)
"""
    )
    pids = service.wait_workers(2)

    wait_until(lambda: service.output().count("loop of") == 2)

    assert sorted(service.output().split()) == sorted(
        word for pid in pids for word in ("loop", "of", str(pid))
    )
    service.signal(signal.SIGTERM)
    assert status_of(service) == 0


@pytest.mark.rule("H5.5", "H3.5", "H3.6")
@pytest.mark.parametrize("procs", [1, 2])
def test_a_start_that_fails_ends_in_status_70(program, procs):
    """Each callback after the failing one is passed over; those for the end are called."""
    service = program(
        f"""
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")

def fail(application, io_loop):
    tell("before_run")
    raise LookupError("no such thing")

runner = Runner(
    Application([("/", Root)]),
    before_run=[fail, lambda *_: tell("passed over")],
    on_start=[lambda *_: tell("passed over")],
    shutdown=[lambda application: tell("shutdown")],
)
runner.run(PORT, {procs})
""",
        ready=None,
    )

    assert status_of(service) == 70
    output = service.output()
    assert "passed over" not in output
    assert output.count("shutdown\n") == output.count("before_run\n") >= 1
    assert output.count("Traceback") == output.count("before_run\n")
    assert "ERROR Application before_run callback <function fail" in output
    assert "ERROR Runner the application terminated during start: LookupError: no such" in output
    assert output.index("cancelled the start") < output.index("terminated during start")


@pytest.mark.rule("H5.6", "H1.14")
@pytest.mark.parametrize("procs", [1, 2])
def test_a_server_may_be_started_without_the_events(program, procs):
    """The loop is the caller's to start, and a signal ends it."""
    service = program(
        f"""
logging.basicConfig(level="INFO")
runner = Runner(
    Application([("/", Root)]),
    before_run=[lambda *_: tell("event")],
    on_start=[lambda *_: tell("event")],
    shutdown=[lambda application: tell("shutdown", os.getpid())],
)
runner.start_server(PORT, {procs})
IOLoop.current().start()
tell("ended", os.getpid())
"""
    )
    service.wait_output("with 2 workers" if procs == 2 else "starting 1 process")
    workers = service.wait_workers(2) if procs == 2 else [service.pid]
    assert get(service.address).json()["pid"] in workers

    service.signal(signal.SIGTERM)

    assert status_of(service) == 0
    output = service.output()
    assert "event" not in output
    for pid in workers:
        assert f"shutdown {pid}" in output
        assert f"ended {pid}" in output
    assert output.count("ended") == procs


def test_a_program_that_started_its_loop_by_hand_goes_on_after_it(program):
    """What it does then is its own business, however long it takes."""
    service = program(
        """
runner = Runner(Application([("/", Root)]))
runner.shutdown_limit = 0.1
runner.start_server(PORT, 1)
IOLoop.current().start()
time.sleep(0.9)
tell("went on")
"""
    )

    service.signal(signal.SIGTERM)

    assert service.wait(5) == 0
    assert "went on" in service.output()


@pytest.mark.rule("H5.7")
def test_the_signal_handler_itself_does_not_log(loop, caplog):
    """It may have interrupted whoever holds a lock of logging's; what is to be said comes later."""
    caplog.set_level(logging.DEBUG)
    seen = []

    def interrupt(application, io_loop):
        handler = signal.getsignal(signal.SIGTERM)
        before = len(caplog.records)
        handler(signal.SIGTERM, None)
        seen.append(len(caplog.records) - before)

    Runner(Application(debug=True), before_run=[interrupt]).run(0)

    assert seen == [0]
    assert "Shutting down" in [each.getMessage() for each in caplog.records]


@pytest.mark.rule("H5.8")
@pytest.mark.parametrize("procs", [1, 2])
def test_nothing_deprecated_is_used(program, procs):
    """From the start to the end, with every warning an error and asyncio's debug mode on."""
    service = program(
        f"""
async def later(application, io_loop=None):
    # How long steps take is this machine's business.
    asyncio.get_running_loop().slow_callback_duration = 60
    await asyncio.sleep(0)

runner = Runner(
    Application([("/", Root)]), before_run=[later], on_start=[later], shutdown=[later]
)
runner.run(PORT, {procs})
""",
        options=("-X", "dev", *STRICT),
    )
    assert get(service.address).status == 200

    service.signal(signal.SIGTERM)

    assert service.wait(5) == 0
    assert service.output() == ""


def test_nothing_is_left_open_at_the_end(program):
    """A developer who has warnings shown sees none."""
    service = program(
        """
Runner(Application([("/", Root)])).run(PORT, 1)
""",
        options=("-X", "dev", "-W", "error"),
    )

    service.signal(signal.SIGTERM)

    assert service.wait(5) == 0
    assert service.output() == ""


@pytest.mark.rule("H5.9")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_signal_before_the_loop_runs_counts_as_soon_as_it_does(program, is_async):
    """Queued callbacks still run; those for the end are called; then it is over, and well."""
    service = program(
        f"""
def early(application, io_loop):
    tell("before_run")
    stop()
    tell("still here")

async def early_and_slow(application, io_loop):
    early(application, io_loop)
    await asyncio.sleep(0.02)
    tell("after a while")

runner = Runner(
    Application([("/", Root)]),
    before_run=[early_and_slow if {is_async} else early, lambda *_: tell("second")],
    on_start=[lambda *_: tell("on_start")],
    shutdown=[lambda application: tell("shutdown")],
)
tell("returned", runner.run(PORT, 1))
""",
        ready=None,
    )

    assert status_of(service) == 0
    expected = ["before_run", "still here", "second", "shutdown", "on_start", "returned None"]
    if is_async:
        # The signal was heeded while the loop ran, so that they are queued before the end is.
        expected[2:5] = ["after a while", "second", "on_start", "shutdown"]
    assert service.output().splitlines() == expected


@pytest.mark.rule("H5.10")
def test_a_server_may_be_stopped_before_and_after_it_was_started(program):
    """And twice; new connections are refused, and the loop runs on."""
    service = program(
        """
def twice(runner):
    runner.stop_server()
    runner.stop_server()
    tell("stopped", runner.server is not None)

runner = Runner(Application([("/", Root)]))
twice(runner)
runner.start_server(PORT, 1)
loop = IOLoop.current()
signal.signal(signal.SIGUSR2, lambda *_: loop.asyncio_loop.call_soon_threadsafe(twice, runner))
loop.start()
"""
    )

    service.signal(signal.SIGUSR2)

    service.wait_output("stopped True")
    assert outcome_of(lambda: get(service.address)) == "refused"
    service.signal(signal.SIGTERM)
    assert status_of(service) == 0
    assert service.output().splitlines() == ["stopped False", "stopped True"]


@pytest.mark.rule("H5.10")
def test_a_runner_that_never_served_has_nothing_to_stop():
    """Nor a server."""
    runner = Runner(Application())

    runner.stop_server()
    runner.stop_server()

    assert runner.server is None


def test_the_limits_of_a_runner_are_attributes():
    """Shorter ones than those of ``run()``, as they were."""
    runner = Runner(Application())

    assert (runner.shutdown_limit, runner.wait_timeout) == (5.0, 1.0)
    assert runner.logger is logging.getLogger("Runner")


@pytest.mark.rule("H6.1")
def test_a_service_with_nothing_to_do_ends_at_once(loop):
    """However long the pause between two looks is."""
    runner = Runner(Application(debug=True))
    runner.wait_timeout = runner.shutdown_limit = 60.0
    runner.application.on_start_callbacks.append(
        lambda application, io_loop: os.kill(os.getpid(), signal.SIGTERM)
    )
    began = monotonic()

    assert runner.run(0) is None

    assert monotonic() - began < 5
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.rule("H6.3", "H6.7")
@pytest.mark.parametrize("procs", [1, 2])
def test_the_limits_set_on_the_runner_are_honoured(program, procs):
    """A callback that never ends costs a quarter of a second, and the exit status tells of it."""
    service = program(
        f"""
async def hang(application):
    tell("hanging")
    await asyncio.get_running_loop().create_future()

logging.basicConfig(level="INFO")
runner = Runner(Application([("/", Root)]), shutdown=[hang])
runner.shutdown_limit, runner.wait_timeout = 0.25, 0.05
runner.run(PORT, {procs})
"""
    )
    service.wait_output("with 2 workers" if procs == 2 else "starting 1 process")
    began = monotonic()

    service.signal(signal.SIGTERM)

    assert service.wait(5) == 75
    # What the callbacks do not have was for idle connections.
    assert 0.2 < monotonic() - began < 2
    assert service.output().count("hanging") == procs
    assert "did not finish within" in service.output()


@pytest.mark.rule("H6.2", "H3.16")
def test_requests_in_flight_come_before_the_shutdown_callbacks(program):
    """Nothing new is accepted in the meantime."""
    service = program(
        """
class Slow(Root):
    async def get(self):
        tell("request begins")
        await asyncio.sleep(0.4)
        self.write("done")
        tell("request ends")

Runner(
    Application([("/", Root), ("/slow", Slow)]), shutdown=[lambda application: tell("shutdown")]
).run(PORT, 1)
"""
    )
    pending = Pending(service.address, "/slow")
    service.wait_output("request begins")

    service.signal(signal.SIGTERM)
    wait_until(lambda: outcome_of(lambda: get(service.address)) == "refused")
    refused_at = service.output()

    assert "request ends" not in refused_at
    assert pending.result().status == 200
    assert status_of(service) == 0
    assert service.output().splitlines() == ["request begins", "request ends", "shutdown"]


# -- making the loop


def test_a_loop_that_is_there_is_used(loop):
    """The caller may have put something on it."""
    place = SimpleNamespace(link=None, io_loop=None, has_made_loop=False)

    assert runner_module.open_loop(place, runner_module.Options()) is loop
    assert not place.has_made_loop


def test_a_worker_never_uses_a_loop_that_it_inherited(loop):
    """Both processes would share its selector."""
    place = SimpleNamespace(link=object(), io_loop=None, has_made_loop=False)
    made = runner_module.open_loop(place, runner_module.Options())
    try:
        assert made is not loop
        assert asyncio.get_event_loop_policy().get_event_loop() is made.asyncio_loop
    finally:
        made.close(all_fds=True)
        asyncio.set_event_loop(loop.asyncio_loop)


def test_a_runner_in_process_answers_and_gives_signals_back(loop):
    """As a program that embeds it wants it."""
    found = []

    class Root(web.RequestHandler):
        def get(self):
            self.write("hello")

    async def ask(application, io_loop):
        client = AsyncHTTPClient(force_instance=True)
        port = runner._place.listener.port
        found.append((await client.fetch(f"http://127.0.0.1:{port}/")).body)
        client.close()
        os.kill(os.getpid(), signal.SIGTERM)

    def marked(*_):
        raise AssertionError("not now")

    before = signal.signal(signal.SIGTERM, marked)
    try:
        runner = Runner(Application([("/", Root)], debug=True), on_start=[ask])

        runner.run(0)

        assert signal.getsignal(signal.SIGTERM) is marked
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found == [b"hello"]
