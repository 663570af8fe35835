"""The fixtures that serve an application: with pytest-tornado's names, and without its needs."""

import configparser
import os
import subprocess
import textwrap
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sprockets._support import pytest_http
from sprockets.http import pytest_plugin, testing  # noqa: F401  # imported once, not by each run

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
# What this run has imported, those within it find imported.
STRICT = ("-W", "error", "-W", "ignore:Module already imported")
OURS = ("-p", "no:tornado", "-p", "sprockets.http.pytest_plugin")

SUITE = """
import asyncio
from pathlib import Path

import pytest
import tornado
from tornado import gen, web
from tornado.httpclient import HTTPClientError
from tornado.ioloop import IOLoop


class Hello(web.RequestHandler):
    def get(self):
        self.write(self.request.protocol)


@pytest.fixture
def app():
    return web.Application([("/", Hello)])


@pytest.fixture
def ssl_options():
    folder = Path(tornado.__file__).parent / "test"
    return {"certfile": str(folder / "test.crt"), "keyfile": str(folder / "test.key")}


@pytest.mark.gen_test
async def test_coroutine(http_client, base_url):
    answer = await http_client.fetch(base_url)
    assert answer.body == b"http"


@pytest.mark.gen_test
def test_generator(http_client, base_url):
    answer = yield http_client.fetch(base_url)
    assert answer.body == b"http"


class TestClass:
    @pytest.mark.gen_test(timeout=3)
    def test_generator(self, http_client, base_url):
        with pytest.raises(HTTPClientError):
            yield http_client.fetch(base_url + "/nowhere")

    @pytest.mark.gen_test(run_sync=False)
    async def test_coroutine(self, http_server, http_client, http_port):
        answer = await http_client.fetch(f"http://localhost:{http_port}")
        assert answer.code == 200


@pytest.mark.gen_test
class TestMarkedClass:
    def test_generator(self, http_client, base_url):
        yield http_client.fetch(base_url)

    async def test_coroutine(self, http_client, base_url):
        await http_client.fetch(base_url)


@pytest.mark.gen_test
async def test_tls(https_client, base_url, https_port):
    assert base_url == f"https://localhost:{https_port}"
    answer = await https_client.fetch(base_url, validate_cert=False)
    assert answer.body == b"https"


@pytest.mark.gen_test
async def test_without_any_fixture():
    assert IOLoop.current()


@pytest.mark.gen_test
@pytest.mark.parametrize("number", [1, 2])
def test_parameters(number, io_loop):
    yield gen.sleep(0)
    assert number in (1, 2)


@pytest.mark.gen_test
def test_that_waits_for_nothing(io_loop, loop=None):
    assert loop is None
    assert IOLoop.current() is io_loop


def test_that_runs_the_loop_itself(io_loop, http_client, base_url):
    assert io_loop.run_sync(lambda: http_client.fetch(base_url)).code == 200
"""
TESTS_OF_SUITE = 12


@pytest.fixture(autouse=True)
def _no_other_plugins(monkeypatch):
    """What this environment has besides would cost each run half a second."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture(name="run")
def _run(pytester):
    """Write a test file with an application, and run it in this process."""

    def run(text, *args, plugins=OURS):
        head = """
            import asyncio
            import pytest
            from tornado import web
            from sprockets.http.app import Application

            calls = []

            class Hello(web.RequestHandler):
                def get(self):
                    self.write("hello")

            @pytest.fixture
            def app():
                return Application(
                    [("/", Hello)],
                    runner_callbacks={
                        "before_run": [lambda *_: calls.append("before_run")],
                        "on_start": [lambda *_: calls.append("on_start")],
                        "shutdown": [lambda *_: calls.append("shutdown")],
                    },
                )
        """
        pytester.makepyfile(textwrap.dedent(head) + textwrap.dedent(text))
        return pytester.runpytest_inprocess(*plugins, *STRICT, *args)

    return run


# -- where it runs


@pytest.fixture(scope="module", name="bare_python")
def _bare_python(tmp_path_factory):
    """An interpreter with pytest and our distribution, without setuptools and pytest-tornado.

    Files of this environment are linked rather than downloaded; ours are found as installed in
    place, with the entry points that setup.cfg has now.
    """
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, symlinks=True, with_pip=False)
    (site,) = home.glob("lib/python3*/site-packages")
    wanted, seen = [*_requirements("sprockets.http"), "pytest"], set()
    while wanted:
        name = wanted.pop()
        if name not in seen:
            seen.add(name)
            wanted += _requirements(name)
            _link(metadata.distribution(name), site)
    assert not {"setuptools", "pytest-tornado"} & seen
    if not (ROOT / "sprockets").is_dir():
        # The tests of a wheel: it has its entry points.
        _link(metadata.distribution("sprockets.http"), site)
        return home / "bin" / "python"
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    info = site / "sprockets_http-3.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sprockets.http\nVersion: 3.0\n")
    points = setup["options.entry_points"]
    (info / "entry_points.txt").write_text(
        "\n".join(line for name in points for line in (f"[{name}]", points[name]))
    )
    (site / "sprockets_http.pth").write_text(f"{ROOT}\n")
    return home / "bin" / "python"


def _requirements(name):
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def _link(distribution, site):
    for file in distribution.files or ():
        if ".." not in file.parts:
            link = site.joinpath(file)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.locate())


def run_python(python, *args, cwd):
    environment = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("PYTEST", "PYTHON", "COV"))
    }
    return subprocess.run(
        [python, *args], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_suite_for_pytest_tornado_passes_without_it(bare_python, tmp_path):
    """Nor is there setuptools; pytest finds the plugin by itself, and warnings are errors."""
    (tmp_path / "test_suite.py").write_text(SUITE)

    done = run_python(
        bare_python, "-W", "error", "-m", "pytest", "-W", "error", "--strict-markers", cwd=tmp_path
    )

    assert f"{TESTS_OF_SUITE} passed in" in done.stdout, done.stdout + done.stderr
    assert "warning" not in done.stdout
    missing = run_python(bare_python, "-c", "import setuptools", cwd=tmp_path)
    assert "No module named 'setuptools'" in missing.stderr


def test_the_plugin_imports_nothing_until_it_is_asked(bare_python, tmp_path):
    """Every test run where we are installed loads it, whatever it tests."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n"
        "def test_it(request):\n"
        "    assert request.config.pluginmanager.has_plugin('sprockets_http')\n"
        "    for name in ('asyncio', 'tornado', 'sprockets.http', 'sprockets.logbook'):\n"
        "        assert name not in sys.modules\n"
    )

    done = run_python(bare_python, "-m", "pytest", "-W", "error", cwd=tmp_path)

    assert "1 passed in" in done.stdout, done.stdout + done.stderr


def test_pytest_tornado_comes_first_where_it_is_active(pytester):
    """Its fixtures and its marker are the ones that are used; of ours there is what it lacks."""
    pytest.importorskip("pytest_tornado")
    pytester.makepyfile(SUITE)
    plugins = (
        "-p",
        "sprockets.http.pytest_plugin",
        "-p",
        "pytest_tornado.plugin",
    )

    listed = pytester.runpytest_inprocess(*plugins, "--fixtures", "-v")
    result = pytester.runpytest_inprocess(*plugins, "-k", "not loop_itself")

    listed.stdout.re_match_lines([r"io_loop -- .*pytest_tornado/plugin\.py.*"])
    listed.stdout.re_match_lines([r"run_service -- .*sprockets/_support/pytest_http\.py.*"])
    assert "pytest_http_fixtures" not in str(listed.stdout)
    result.assert_outcomes(passed=TESTS_OF_SUITE - 1, deselected=1)


def test_being_loaded_twice_is_no_harm(run):
    """Found by pytest, and named by its user."""
    result = run(
        "def test_it(http_port): pass",
        plugins=(*OURS, "-p", "sprockets._support.pytest_http"),
    )

    result.assert_outcomes(passed=1)


def test_the_fixtures_are_described(pytester):
    """Whoever runs ``pytest --fixtures`` is told what each is for."""
    result = pytester.runpytest_inprocess(*OURS, "--fixtures")

    listed = {line.partition(" -- ")[0] for line in result.outlines if "/pytest_http" in line}
    assert listed == {
        "run_service",
        "io_loop",
        "http_port",
        "https_port",
        "base_url",
        "http_server",
        "https_server",
        "http_client",
        "https_client",
    }
    assert "no docstring available" not in str(result.stdout)


# -- the application's life


def test_the_callbacks_of_the_application_are_run(run):
    """Before the test, with the loop, and after the test."""
    result = run(
        """
        @pytest.mark.gen_test
        async def test_first(http_client, base_url):
            assert calls == ["before_run", "on_start"]
            assert (await http_client.fetch(base_url)).body == b"hello"

        def test_second():
            assert calls == ["before_run", "on_start", "shutdown"]
        """
    )

    result.assert_outcomes(passed=2)


def test_an_application_of_many_tests_starts_and_stops_with_each(run):
    """The callbacks are called each time."""
    result = run(
        """
        application = Application(
            [("/", Hello)], runner_callbacks={"shutdown": [lambda _: calls.append(1)]}
        )

        @pytest.fixture
        def app():
            return application

        @pytest.mark.gen_test
        @pytest.mark.parametrize("before", [0, 1, 2])
        async def test_it(http_client, base_url, before):
            await http_client.fetch(base_url)
            assert not application.activity.is_draining
            assert len(calls) == before
        """
    )

    result.assert_outcomes(passed=3)


def test_a_before_run_callback_that_raises_is_the_tests_error(run):
    """And nothing stays open, or it would be a warning."""
    result = run(
        """
        import gc

        @pytest.fixture
        def app():
            def fail(application, io_loop):
                raise LookupError("no database")
            return Application(runner_callbacks={"before_run": [fail]})

        def test_it(http_client): pass

        def test_after():
            gc.collect()
        """
    )

    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["E*LookupError: no database"])


def test_an_application_that_is_missing_is_named(run):
    """The option says which fixture returns it."""
    result = run(
        """
        @pytest.fixture
        def shop():
            return web.Application([("/", Hello)])

        @pytest.mark.gen_test
        async def test_it(http_client, base_url):
            await http_client.fetch(base_url)
        """,
        "--app-fixture=shop",
    )
    missing = run("def test_it(http_server): pass", "--app-fixture=store")

    result.assert_outcomes(passed=1)
    missing.assert_outcomes(errors=1)
    missing.stdout.fnmatch_lines(["*fixture 'store' not found"])


def test_whatever_tornado_serves_can_be_the_application(run):
    """A function has no callbacks, and needs none."""
    result = run(
        """
        from tornado import httputil

        @pytest.fixture
        def app():
            def answer(request):
                line = httputil.ResponseStartLine("HTTP/1.1", 204, "No Content")
                request.connection.write_headers(line, httputil.HTTPHeaders())
                request.connection.finish()
            return answer

        @pytest.mark.gen_test
        async def test_it(http_client, base_url):
            assert (await http_client.fetch(base_url)).code == 204
        """
    )

    result.assert_outcomes(passed=1)


# -- coroutine tests


def test_a_mark_is_not_needed_where_the_loop_is_used(run):
    """What else could a coroutine that asks for a loop want."""
    result = run(
        """
        async def test_it(http_client, base_url):
            assert (await http_client.fetch(base_url)).body == b"hello"
        """
    )

    result.assert_outcomes(passed=1)


def test_coroutines_of_others_are_left_to_them(pytester, run):
    """Those that are marked for another plugin, and those that use nothing of ours."""
    pytester.makeconftest(
        """
        import asyncio, inspect, pytest

        def pytest_configure(config):
            config.addinivalue_line("markers", "asyncio: for another plugin")

        @pytest.hookimpl
        def pytest_pyfunc_call(pyfuncitem):
            if inspect.iscoroutinefunction(pyfuncitem.obj):
                pyfuncitem.obj(**{name: None for name in pyfuncitem.funcargs}).close()
                pyfuncitem.config.stash.setdefault("left", []).append(pyfuncitem.name)
                return True

        def pytest_unconfigure(config):
            print("left:", config.stash["left"])
        """
    )
    result = run(
        """
        async def test_plain():
            assert False

        @pytest.mark.asyncio
        async def test_marked(io_loop):
            assert False
        """,
        "-s",
    )

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["left: *'test_plain', 'test_marked'*"])


def test_a_test_that_takes_too_long_fails(run):
    """After the option's time, or the mark's own; and is told from one that waited itself."""
    result = run(
        """
        @pytest.mark.gen_test
        async def test_option():
            await asyncio.Event().wait()

        @pytest.mark.gen_test(timeout=0.01)
        async def test_mark():
            await asyncio.Event().wait()

        @pytest.mark.gen_test
        async def test_own():
            await asyncio.wait_for(asyncio.Event().wait(), 0)
        """,
        "--async-test-timeout=0.02",
    )

    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            ">       await asyncio.Event().wait()",
            "E*TimeoutError: the test did not end within 0.02 seconds",
            "E*TimeoutError: the test did not end within 0.01 seconds",
            "*test_own*",
            "E*TimeoutError",
        ]
    )


def test_the_time_limit_comes_from_the_environment(run, monkeypatch):
    """As for Tornado's own test cases; a variable that makes no sense is passed over."""
    text = """
        def test_it(request):
            print("limit", request.config.getoption("async_test_timeout"))
        """
    for said, meant in (("17", "17.0"), ("soon", "5.0")):
        monkeypatch.setenv("ASYNC_TEST_TIMEOUT", said)
        run(text, "-s").stdout.fnmatch_lines([f"*limit {meant}*"])


def test_a_failing_coroutine_is_a_failing_test(run):
    """With the exception, and where it was raised."""
    result = run(
        """
        @pytest.mark.gen_test
        async def test_coroutine():
            assert 1 == 2

        @pytest.mark.gen_test
        def test_generator():
            yield asyncio.sleep(0)
            assert 3 == 4

        @pytest.mark.gen_test(run_sync=False)
        async def test_other(io_loop):
            io_loop.stop()
            await asyncio.sleep(0.001)
            assert 5 == 6
        """
    )

    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        ["E*assert 1 == 2", "*test_*py:*: AssertionError", "E*assert 3 == 4", "E*assert 5 == 6"]
    )


def test_generators_that_are_not_marked_are_refused_by_pytest(run):
    """A test that yields and is not run would pass for ever."""
    result = run("def test_it(): yield")

    assert result.ret != 0
    result.stdout.fnmatch_lines(["*'yield' keyword is allowed in fixtures, but not in tests*"])


def test_tasks_that_a_test_leaves_are_cancelled(run):
    """Before the loop is closed; they may clean up."""
    result = run(
        """
        @pytest.mark.gen_test
        async def test_it():
            async def work():
                try:
                    await asyncio.Event().wait()
                finally:
                    calls.append("cleaned up")
            test_it.task = asyncio.ensure_future(work())
            await asyncio.sleep(0)

        def test_after():
            assert calls == ["cleaned up"]
        """
    )

    result.assert_outcomes(passed=2)


# -- services beside the test


def test_a_service_runs_until_the_test_is_over(run):
    """And its output is shown where the test fails."""
    result = run(
        """
        from urllib.request import urlopen

        services = []

        def make_app(**settings):
            print("the service's own words", flush=True)
            return Application([("/", Hello)], **settings)

        def test_it(run_service, monkeypatch, request):
            monkeypatch.syspath_prepend(request.path.parent)
            service = run_service(f"{request.path.stem}:make_app", {"number_of_procs": 1})
            services.append(service)
            assert urlopen(service.url()).read() == b"hello"
            assert service.stop() == 0
            raise LookupError

        def test_after():
            assert services[0].returncode == 0
        """
    )

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*LookupError", "the service's own words"])


def test_the_plugin_can_be_named():
    """Under the package that it is for."""
    for name in pytest_plugin.__all__:
        assert getattr(pytest_plugin, name) is getattr(pytest_http, name)
