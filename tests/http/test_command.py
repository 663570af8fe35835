"""The command, as whoever starts it sees it: what it serves, says, and ends with."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import pytest
import tornado
from hypothesis import given
from hypothesis import strategies as st

import sprockets.http
from sprockets.http import _command
from sprockets.http._loading import (
    CommandError,
    Environment,
    Reference,
    describe_error,
    load,
    parse_reference,
)
from sprockets.http._reload import Reporter, files_of, files_of_modules, find_sources, look_at
from sprockets.http._settings import FIELDS

SHOP = """
import os
from tornado import web

class Greeting(web.RequestHandler):
    def get(self):
        self.write("VERSION " + os.environ.get("GREETING", "") + str(self.settings.get("own", "")))

def make_app(**settings):
    return web.Application([("/", Greeting)], **settings)
"""

# What the machine's own environment would tell a service.
_FORGOTTEN = ("DEBUG", "ENVIRONMENT", "LOG_FORMAT", "PORT", "SERVICE", "FORCE_COLOR")


def wait_until(condition, timeout=15.0):
    """Return the first true value of *condition*."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} seconds"
        time.sleep(0.02)
    return value


def environment(**more):
    ours = {name: text for name, text in os.environ.items() if name not in _FORGOTTEN}
    return {**ours, "PYTHONUNBUFFERED": "1", **more}


class Served:
    """A command at work."""

    def __init__(self, process, output):
        self.process = process
        self._output = output

    @property
    def output(self):
        return self._output.read_text(encoding="utf-8")

    def wait_output(self, text, count=1):
        def found():
            assert self.process.poll() is None or text in self.output, self.output
            return self.output.count(text) >= count

        wait_until(found)

    @property
    def port(self):
        """The port that the first line with one names."""
        return int(wait_until(lambda: re.search(r"on port (\d+)", self.output))[1])

    def get(self):
        """Return the answer, or an empty text while there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/", headers={"Connection": "close"})
            return connection.getresponse().read().decode()
        return ""

    def wait_answer(self, text):
        try:
            wait_until(lambda: text in self.get())
        except AssertionError:
            raise AssertionError(f"no {text!r} in {self.get()!r}:\n{self.output}") from None

    def stop(self, signum=signal.SIGTERM):
        self.process.send_signal(signum)
        return self.process.wait(10)


@pytest.fixture(name="folder")
def _folder(tmp_path):
    folder = tmp_path / "service"
    folder.mkdir()
    write(folder, "shop.py", "first")
    return folder


def write(folder, name, version):
    (folder / name).write_text(SHOP.replace("VERSION", version), encoding="utf-8")


@pytest.fixture(name="serve")
def _serve(folder, tmp_path):
    with contextlib.ExitStack() as stack:

        def serve(*arguments, env=None, module="sprockets.http"):
            output = tmp_path / f"output-{time.monotonic_ns()}"
            file = stack.enter_context(output.open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", *module.split(), *arguments],
                cwd=folder,
                env=environment(**(env or {})),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(end, process)
            return Served(process, output)

        yield serve


def end(process):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(name="try_command")
def _try_command(folder):
    """Runs the command to its end."""

    def try_command(*arguments, env=None):
        return subprocess.run(
            [sys.executable, "-P", "-m", "sprockets.http", *arguments],
            cwd=folder,
            env=environment(**(env or {})),
            capture_output=True,
            encoding="utf-8",
            timeout=30,
            check=False,
        )

    return try_command


def only_line(text):
    """Return the one line that *text* is, without the name of the command."""
    (line,) = text.splitlines()
    program, _, rest = line.partition(": ")
    assert program == "python -m sprockets.http"
    return rest


# -- serving


@pytest.mark.rule("H9.4")
def test_the_command_serves_without_setuptools(serve):
    """``python -m sprockets.http module:factory`` is all that it takes, and TERM ends it well."""
    served = serve("shop:make_app", "--port", "0", "--workers", "1", "--set", 'own={"a": 1}')

    served.wait_answer("first {'a': 1}")

    assert served.stop() == 0
    assert "Traceback" not in served.output


@pytest.mark.rule("H9.4")
def test_the_options_of_the_older_command_mean_the_same(serve, folder):
    """``-a``, ``-e`` and ``-p`` are those of ``httprun``."""
    (folder / "env").write_text("GREETING=hello\n")

    served = serve("-a", "shop:make_app", "-e", "env", "-p", "0", "-w", "1")

    served.wait_answer("first hello")


@pytest.mark.rule("H9.2")
def test_the_port_of_the_command_line_beats_that_of_the_file(serve, folder):
    """So it does in the environment that the application sees."""
    source = SHOP.replace('"VERSION "', '"port " + os.environ["PORT"]')
    (folder / "shop.py").write_text(source)
    (folder / "env").write_text("PORT=1\n")

    served = serve("shop:make_app", "-e", "env", "-p", "0", "-w", "1")

    assert served.port > 1
    served.wait_answer("port 0")


@pytest.mark.rule("H9.2")
def test_an_environment_file_beats_the_environment_and_the_last_file_wins(try_command, folder):
    """The runner's own options are looked up in them, too."""
    (folder / "one").write_text("PORT=81\nSPROCKETS_NUMBER_OF_PROCS=2\n")
    (folder / "two").write_text("PORT=82\n")

    result = try_command(
        "shop:make_app", "--check", "-e", "one", "--env-file", "two", env={"PORT": "80"}
    )

    assert "on port 82 by 2 processes" in result.stdout
    assert "port = 82 (from PORT)" in result.stdout


@pytest.mark.rule("H9.7")
def test_each_variable_is_logged_once_and_no_value(serve, folder):
    """The parent says what the files define; the workers, who read them again, do not."""
    (folder / "env").write_text("GREETING=secret\n")

    served = serve("shop:make_app", "-e", "env", "-p", "0", "-w", "2", "--log-format", "console")
    served.wait_output("with 2 workers")

    assert served.output.count("set GREETING from env") == 1
    assert "secret" not in served.output


def test_a_hang_up_brings_new_code_and_new_environment_files(serve, folder):
    """The supervisor imports nothing of the application: new workers read everything anew."""
    (folder / "env").write_text("GREETING=hello\nGONE=1\n")
    served = serve("shop:make_app", "-e", "env", "-p", "0", "-w", "2")
    served.wait_output("with 2 workers")
    assert served.get() == "first hello"
    write(folder, "shop.py", "another")
    (folder / "env").write_text("GREETING=goodbye\n")

    served.process.send_signal(signal.SIGHUP)

    served.wait_output("all workers are replaced")
    assert served.get() == "another goodbye"
    assert served.stop() == 0


def test_a_hang_up_with_code_that_does_not_start_leaves_the_old_workers(serve, folder):
    """A mistake costs nothing but its record."""
    served = serve("shop:make_app", "-p", "0", "-w", "2")
    served.wait_output("with 2 workers")
    (folder / "shop.py").write_text("import nowhere_to_be_found\n")

    served.process.send_signal(signal.SIGHUP)

    served.wait_output("the old ones go on serving")
    assert served.get().startswith("first")
    assert "cannot import 'shop': ModuleNotFoundError: No module named 'nowhere" in served.output


LOGS = """
from sprockets.logbook import FileHandler

def make():
    return FileHandler("made.log")

handler = FileHandler("given.log", delay=True)
wrong = 3
config = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "dict.log"}},
    "root": {"handlers": ["file"], "level": "INFO"},
}
"""


@pytest.mark.parametrize(
    ("name", "file"), [("make", "made.log"), ("handler", "given.log"), ("config", "dict.log")]
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_log_config_is_imported_and_used_by_the_workers(serve, folder, name, file, workers):
    """A function, a handler and a dict: each gets the records of the requests."""
    (folder / "logs.py").write_text(LOGS)
    served = serve("shop:make_app", "-p", "0", "-w", workers, "--log-config", f"logs:{name}")
    served.wait_answer("first")

    assert served.stop() == 0

    assert "GET /" in (folder / file).read_text() or "200 GET" in (folder / file).read_text()


# -- reloading


def test_reload_serves_a_changed_file_anew(serve, folder):
    """Soon after the file is written, on the same port, without a connection being refused."""
    served = serve("shop:make_app", "--reload", "--port", "0")
    served.wait_answer("first")
    port = served.port
    outcomes = set()
    done = threading.Event()

    def ask():
        while not done.is_set():
            outcomes.add(served.get())
            time.sleep(0.005)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        write(folder, "shop.py", "other")  # of the same length, and within the same second
        served.wait_answer("other")
    finally:
        done.set()
        thread.join()

    assert served.port == port
    assert outcomes <= {"first ", "other "}
    assert "shop.py changed; serving anew" in served.output


def test_reload_waits_for_the_repair_of_what_does_not_start(serve, folder):
    """A syntax error, then a module that is not there yet: the next change is tried."""
    served = serve("shop:make_app", "--reload", "--port", "0")
    served.wait_answer("first")

    (folder / "shop.py").write_text("def make_app(:\n")
    served.wait_output("waiting for a file to change", 1)
    (folder / "shop.py").write_text("from shelf import make_app\n")
    served.wait_output("waiting for a file to change", 2)
    write(folder, "shelf.py", "mended")

    served.wait_answer("mended")
    assert "shop.py, line 1" in served.output
    assert "No module named 'shelf'" in served.output


def test_reload_begins_with_a_mistake_as_well(serve, folder):
    """What never started can be mended, too."""
    (folder / "shop.py").write_text("make_ap = 1\n")
    served = serve("shop:make_app", "--reload", "--port", "0")
    served.wait_output("waiting for a file to change")

    write(folder, "shop.py", "first")

    served.wait_answer("first")


def test_reload_sees_modules_imported_later_and_environment_files(serve, folder):
    """Whatever the application has imported by then is looked at; so is the environment file."""
    (folder / "late.py").write_text("WORD = 'early'\n")
    source = SHOP.replace('"VERSION "', "__import__('late').WORD + ' '")
    (folder / "shop.py").write_text(source)
    (folder / "env").write_text("GREETING=hello\n")
    served = serve("shop:make_app", "--reload", "--port", "0", "--env-file", "env")
    served.wait_answer("early hello")
    (folder / "late.py").write_text("WORD = 'later'\n")
    served.wait_answer("later hello")

    (folder / "env").write_text("GREETING=goodbye\n")

    served.wait_answer("later goodbye")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_reload_stops_when_it_is_told_to(serve, signum):
    """Neither the parent nor the child stays."""
    served = serve("shop:make_app", "--reload", "--port", "0", "--pid-file", "pid")
    served.wait_answer("first")

    assert served.stop(signum) == 0

    assert served.get() == ""
    with pytest.raises(ProcessLookupError):
        wait_until(lambda: os.killpg(served.process.pid, 0))


def test_reload_stops_as_well_at_the_terminal(serve):
    """Ctrl-C reaches parent and child alike, and is one request to stop."""
    served = serve("shop:make_app", "--reload", "--port", "0")
    served.wait_answer("first")

    os.killpg(served.process.pid, signal.SIGINT)

    assert served.process.wait(10) == 0
    assert "KeyboardInterrupt" not in served.output


def test_reload_stops_while_it_waits_for_a_change(serve, folder):
    """Waiting is no reason to stay."""
    (folder / "shop.py").write_text("1 +\n")
    served = serve("shop:make_app", "--reload", "--port", "0")
    served.wait_output("waiting for a file to change")

    assert served.stop() == 0


def test_the_child_of_reload_does_not_outlive_its_parent(serve):
    """Even if that is killed."""
    served = serve("shop:make_app", "--reload", "--port", "0")
    served.wait_answer("first")

    served.stop(signal.SIGKILL)

    wait_until(lambda: served.get() == "")


def test_reload_is_debugging_unless_told_otherwise(serve):
    """Lines for people by default; what is said counts."""
    served = serve("shop:make_app", "--reload", "--port", "0")
    served.wait_answer("first")
    other = serve("shop:make_app", "--reload", "--port", "0", "--no-debug")
    other.wait_answer("first")

    assert "INFO     Runner: serving on port" in served.output
    assert '"message":"serving on port' in other.output


def test_files_are_told_once_and_found_where_errors_come_from(tmp_path):
    """The source of every module is reported, and the places of an error with its causes."""
    read, write_end = os.pipe()
    try:
        reporter = Reporter(write_end)
        reporter.tell(["/a.py", "/b.py"])
        reporter.tell(["/b.py", "/c.py"])
        assert os.read(read, 1000) == b"/a.py\0/b.py\0/c.py\0"
    finally:
        os.close(read)
        os.close(write_end)
    with pytest.raises(SystemExit) as caught:
        try:
            compile("1 +", str(tmp_path / "broken.py"), "exec")
        except SyntaxError as error:
            raise SystemExit(1) from error
    assert set(files_of(caught.value)) == {__file__, str(tmp_path / "broken.py")}
    assert os.__file__ in set(files_of_modules())
    assert look_at(str(tmp_path / "none")) is None


def test_sources_are_looked_for_but_not_in_environments(tmp_path):
    """Hidden folders, caches and virtual environments are left out."""
    for name in ("a.py", "pkg/b.py", "pkg/c.txt", ".git/d.py", "venv/e.py", "__pycache__/f.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "venv" / "pyvenv.cfg").touch()

    found = {os.path.relpath(path, tmp_path) for path in find_sources(str(tmp_path))}

    assert found == {"a.py", "pkg/b.py"}


# -- checking


def test_check_makes_the_application_and_says_how_it_would_be_served(try_command):
    """Nothing is bound, and what is secret is not shown."""
    result = try_command(
        "shop:make_app", "--check", "-p", "81", "-w", "3", "--set", "own=secret", "--no-xheaders",
        env={"LOG_FORMAT": "structured"},
    )  # fmt: skip

    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        "shop:make_app makes a tornado.web.Application",
        "to be served on port 81 by 3 processes, logging as structured",
        "  port = 81 (from the command line)",
        "  number_of_procs = 3 (from the command line)",
        "  log_format = structured (from LOG_FORMAT)",
        "  xheaders = False (from the command line)",
        "  and for the application: own",
    ]


def test_check_describes_other_addresses_and_debug_mode(try_command):
    """A unix socket instead of a port, and one process for debugging."""
    socket = try_command("shop:make_app", "--check", "--unix-socket", "s", "--debug", "-w", "4")
    host = try_command("shop:make_app", "--check", "--address", "localhost", "-p", "0", "-w", "1")

    assert "on unix socket s by 1 process, logging as console" in socket.stdout
    assert "on port (any that is free) of localhost by 1 process, logging as json" in host.stdout


@pytest.mark.rule("H9.3")
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("1 +", "cannot import 'shop': SyntaxError: invalid syntax (shop.py, line 1)"),
        ("1 / 0", "cannot import 'shop': ZeroDivisionError: division by zero ({folder}/shop.py, line 1)"),
        ("import nope", "cannot import 'shop': ModuleNotFoundError: No module named 'nope' ({folder}/shop.py, line 1); install what is missing for {python}"),
        ("def make_app(): pass", "cannot call 'shop:make_app' with the keyword arguments debug: got an unexpected keyword argument 'debug'; let it take them as **settings"),
        ("def make_app(**settings):\n raise KeyError('x')", "'shop:make_app' could not make the application: KeyError: 'x' ({folder}/shop.py, line 2)"),
        ("def make_app(debug): return 3", "'shop:make_app' returned an int, not a tornado.web.Application"),
        ("async def make_app(debug): return 3", "'shop:make_app' returned a coroutine, not a tornado.web.Application"),
    ],
)  # fmt: skip
def test_check_says_on_one_line_why_there_is_no_application(try_command, folder, source, text):
    """It ends with 70, as the service would."""
    (folder / "shop.py").write_text(source)

    result = try_command("shop:make_app", "--check")

    expected = text.replace("{folder}", str(folder)).replace("{python}", sys.executable)
    assert only_line(result.stderr) == expected
    assert result.returncode == 70
    assert result.stdout == ""


@pytest.mark.rule("H9.3")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", "which application? name the function that makes it, as in package.module:make_app"),
        ("shop", "expected a module, one colon and a name, as in package.module:make_app, got 'shop'"),
        ("shop:a:b", "expected a module, one colon and a name, as in package.module:make_app, got 'shop:a:b'"),
        ("shop.py:make_app", "expected a module, one colon and a name, as in package.module:make_app, got 'shop.py:make_app'; name the module, not its file: shop:make_app"),
        ("./pkg/shop.py", "expected a module, one colon and a name, as in package.module:make_app, got './pkg/shop.py'; name the module, not its file: pkg.shop:make_app"),
        ("shop:make_app -a shop:other", "expected one application, got shop:make_app and shop:other"),
        ("shap:make_app", "cannot find the module 'shap' of 'shap:make_app'; run the command in the directory that has it, or install it for {python}"),
        ("shop.sub:make_app --check", "cannot find the module of 'shop.sub:make_app': No module named 'shop.sub'; 'shop' is not a package"),
        ("shop:make_ap --check", "module 'shop' ({folder}/shop.py) has no 'make_ap'; did you mean 'make_app'?"),
        ("shop:os --check", "'shop:os' is a module, not callable; name a function that returns the application"),
        ("shop:make_app --port many", "argument --port/-p: expected an integer, got 'many'; see python -m sprockets.http --help"),
        ("shop:make_app --port 70000", "argument --port/-p: expected 0 to 65535, got 70000; see python -m sprockets.http --help"),
        ("shop:make_app --log-format xml", "argument --log-format: unknown log_format 'xml'; known: json, console, structured; see python -m sprockets.http --help"),
        ("shop:make_app --set port=1", "argument --set: 'port' has an option of its own: --port; see python -m sprockets.http --help"),
        ("shop:make_app --set port", "argument --set: expected KEY=VALUE, got 'port'; see python -m sprockets.http --help"),
        ("shop:make_app --prot 1", "unrecognized arguments: --prot 1; see python -m sprockets.http --help"),
        ("shop:make_app --env-file none", "cannot read the environment file 'none': No such file or directory"),
        ("shop:make_app --certfile none", "--certfile: cannot use none: [Errno 2] No such file or directory"),
        ("shop:make_app --keyfile none", "--keyfile needs --certfile"),
        ("shop:make_app --log-config logs", "expected a module, one colon and a name, as in package.module:make_app, got 'logs'"),
        ("shop:make_app --log-config shop:os --check", "'shop:os' is a module; name a handler or other stacked object, a function that returns one, or a dict for logging.config.dictConfig"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said_on_one_line(folder, capfd, monkeypatch, arguments, text):
    """It ends with 78, before anything is bound, and names the option."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    for name in _FORGOTTEN:
        monkeypatch.delenv(name, raising=False)

    status = _command.main(arguments.split())

    sys.modules.pop("shop", None)
    out, err = capfd.readouterr()
    expected = text.replace("{folder}", str(folder)).replace("{python}", sys.executable)
    assert only_line(err) == expected
    assert status == 78
    assert out == ""


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PORT", "environment variable PORT: expected an integer, got 'x'"),
        ("DEBUG", "environment variable DEBUG: expected a number, true/yes/on or false/no/off, got 'x'"),
        ("SPROCKETS_BACKLOG", "environment variable SPROCKETS_BACKLOG: expected an integer, got 'x'"),
        ("LOG_FORMAT", "unknown LOG_FORMAT 'x'; known: json, console, structured"),
    ],
)  # fmt: skip
def test_a_variable_that_makes_no_sense_is_named(try_command, variable, text):
    """So is one that an environment file defines."""
    result = try_command("shop:make_app", env={variable: "x"})

    assert only_line(result.stderr) == text
    assert result.returncode == 78


def test_a_file_that_is_no_text_is_named(try_command, folder):
    """An environment file is UTF-8."""
    (folder / "env").write_bytes(b"A=\xff\n")

    result = try_command("shop:make_app", "-e", "env")

    assert "cannot read the environment file 'env': 'utf-8' codec" in only_line(result.stderr)
    assert result.returncode == 78


# -- failing


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("source", "status", "text", "shows_traceback"),
    [
        ("import nope", 70, "cannot import 'shop': ModuleNotFoundError: No module named 'nope'", True),
        ("def make_app(**_): return {}['x']", 70, "could not make the application: KeyError: 'x'", True),
        ("make_app = 3", 78, "'shop:make_app' is an int, not callable", False),
        ("make_ap = 3", 78, "has no 'make_app'; did you mean 'make_ap'?", False),
        ("def make_app(**_): return None", 70, "returned None, not a tornado.web", False),
    ],
)  # fmt: skip
def test_a_service_that_cannot_be_made_says_why_and_ends(
    try_command, folder, source, status, text, shows_traceback, workers
):
    """One line for whoever started it; a traceback in the log only if it shows their code."""
    (folder / "shop.py").write_text(source)

    result = try_command("shop:make_app", "--port", "0", "-w", workers)

    assert text in result.stderr
    assert result.returncode == status
    assert ("Traceback" in result.stdout) == shows_traceback
    assert ("shop.py" in result.stdout) == shows_traceback
    assert '_loading.py\\", line' not in result.stdout or "import_module" not in result.stdout


def test_a_log_config_that_fails_ends_the_service(try_command, folder):
    """Nobody is to serve without the log that was asked for."""
    (folder / "logs.py").write_text("def make():\n    return 3\ndef fail():\n    1 / 0\n")

    wrong = try_command("shop:make_app", "-p", "0", "-w", "2", "--log-config", "logs:make")
    failed = try_command("shop:make_app", "-p", "0", "-w", "2", "--log-config", "logs:fail")

    assert "'logs:make' returned an int, not a handler or other stacked object" in wrong.stderr
    assert wrong.returncode == 78
    assert "'logs:fail' could not set logging up: ZeroDivisionError" in failed.stderr
    assert failed.returncode == 70


def test_a_port_that_is_taken_ends_reload_as_it_ends_the_service(serve, try_command):
    """Status 69, and the log says who is in the way."""
    served = serve("shop:make_app", "-p", "0", "-w", "1")
    served.wait_answer("first")

    again = try_command("shop:make_app", "-p", str(served.port), "-w", "1")
    reload = try_command("shop:make_app", "-p", str(served.port), "--reload")

    assert (again.returncode, reload.returncode) == (69, 69)
    assert "another process listens there" in reload.stdout


# -- the arguments


def test_every_option_of_the_runner_has_its_own(capsys):
    """The help names each with its variable; the certificates of HTTPS are two of them."""
    assert _command.main(["--help"]) == 0

    text = capsys.readouterr().out
    assert text.startswith("usage: python -m sprockets.http [options] MODULE:FACTORY")
    missing = [name for name in FIELDS if f"--{name.replace('_', '-')}" not in text]
    assert missing == ["ssl_options"]
    assert "--certfile" in text
    assert "(SPROCKETS_SHUTDOWN_LIMIT)" in " ".join(text.split())


def test_the_version_is_told(capsys):
    """That of what is installed, of Tornado and of Python: a report needs all three."""
    assert _command.main(["--version"]) == 0

    installed = re.escape(metadata.version("sprockets.http"))
    assert re.fullmatch(
        rf"sprockets.http {installed} \(Tornado \S+, Python \S+\)\n", capsys.readouterr().out
    )


def test_the_numbers_of_the_version_are_those_of_the_distribution():
    """Of which ``a1`` and the like is no part: it is told by the distribution alone."""
    numbers = re.match(r"\d+\.\d+\.\d+", metadata.version("sprockets.http"))

    assert numbers is not None
    assert numbers.group() == sprockets.http.__version__


def test_the_version_of_sources_that_are_not_installed_is_told(tmp_path):
    """As they know it themselves; here they are put beside Tornado, without what pip writes."""
    for package in (Path(sprockets.http.__path__[0]).parent, Path(tornado.__path__[0])):
        (tmp_path / package.name).symlink_to(package)

    done = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "sprockets.http", "--version"],
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.startswith(f"sprockets.http {sprockets.http.__version__} (Tornado "), done
    assert done.returncode == 0


@given(st.from_regex(r"[a-z_]\w*(\.[a-z_]\w*)*", fullmatch=True, alphabet=st.characters(codec="ascii")), st.from_regex(r"[a-zA-Z_]\w*", fullmatch=True, alphabet=st.characters(codec="ascii")))  # fmt: skip
def test_a_reference_survives_being_written_and_read(module, attribute):
    """Whatever is a module and a name is taken as it is; but ``.py`` is a file."""
    reference = Reference(module, attribute)
    if module.endswith(".py") or module == "py":
        with pytest.raises(CommandError):
            parse_reference(str(reference))
    else:
        assert parse_reference(str(reference)) == reference


@given(st.text())
def test_a_reference_is_read_or_refused_on_one_line(text):
    """Nothing else can come of any text."""
    try:
        said = str(parse_reference(text))
    except CommandError as error:
        said = str(error)

    assert said == text or len(said.splitlines()) == 1


def test_an_environment_forgets_what_a_file_no_longer_says(tmp_path):
    """What was there before the files comes back."""
    path = tmp_path / "env"
    environ = {"A": "0", "B": "0", "PORT": "0"}
    both = Environment([str(path)], {"PORT": "9"}, environ)
    path.write_text("A=1\nB=\nC=1\nPORT=5\n")
    assert both.apply_quietly()
    assert environ == {"A": "1", "C": "1", "PORT": "9"}
    assert not both.apply_quietly()

    path.write_text("C=2\n")

    assert both.apply_quietly()
    assert environ == {"A": "0", "B": "0", "C": "2", "PORT": "9"}


def test_an_error_is_described_on_one_line():
    """Its class, its text and its place, as far as there are any."""
    assert describe_error(ValueError("a\nb")) == "ValueError: a b"
    assert describe_error(ValueError()) == "ValueError"
    assert load(Reference("os.path", "join")) is os.path.join
    assert Path(__file__).name in describe_error(_raised())


def _raised():
    try:
        raise ValueError("x")
    except ValueError as error:
        return error
