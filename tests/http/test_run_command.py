"""The ``httprun`` command of setuptools."""

import logging
import os
import subprocess
import sys

import pytest
from setuptools import Distribution
from setuptools.errors import BaseError
from tornado import web

from sprockets import http
from sprockets.http._run_command import RunCommand

APP = """
from tornado import web
import os
SEEN = {name: os.environ.get(name) for name in ("PORT", "GREETING")}

def make_app(**settings):
    return web.Application([], **settings)

def end(**settings):
    print("made with", sorted(settings), os.environ["PORT"], flush=True)
    raise SystemExit(3)
"""


@pytest.fixture(name="command")
def _command(tmp_path, monkeypatch):
    """A command in a folder with a module, and nothing that it does stays."""
    (tmp_path / "stall.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.delitem(sys.modules, "stall", raising=False)
    yield RunCommand(Distribution())
    sys.modules.pop("stall", None)


@pytest.fixture(name="calls")
def _calls(monkeypatch):
    calls = []
    monkeypatch.setattr(http, "run", lambda *given, **named: calls.append((given, named)))
    return calls


@pytest.mark.rule("H9.1")
def test_the_attributes_are_none_at_first(command):
    """Whatever is not said is None."""
    assert (command.application, command.env_file, command.port) == (None, None, None)


@pytest.mark.rule("H9.1")
@pytest.mark.parametrize("application", [None, ""])
def test_an_application_is_required(command, application):
    """Without one the command is wrong."""
    command.application = application

    with pytest.raises(BaseError, match="application is required") as caught:
        command.finalize_options()

    assert type(caught.value).__name__ == "DistutilsArgError"


@pytest.mark.rule("H9.1")
def test_an_environment_file_must_exist(command):
    """The text names the one that does not."""
    command.application = "stall:make_app"
    command.env_file = "no-such-file"

    with pytest.raises(BaseError, match="'no-such-file' does not exist") as caught:
        command.finalize_options()

    assert type(caught.value).__name__ == "DistutilsArgError"


@pytest.mark.rule("H9.2", "H9.5")
def test_the_callable_is_run_with_what_the_file_and_the_port_say(command, calls, tmp_path):
    """The file is read first, then the port is set, then the module is imported."""
    (tmp_path / "env").write_text("PORT=1\nGREETING=hello\n")
    command.application = "stall:make_app"
    command.env_file = "env"
    command.port = "8123"
    command.finalize_options()

    command.run()

    ((given, named),) = calls
    (factory,) = given
    assert isinstance(factory(debug=False), web.Application)
    assert factory.__globals__["SEEN"] == {"PORT": "8123", "GREETING": "hello"}
    assert os.environ["PORT"] == "8123"
    assert set(named) == {"log_config"}


@pytest.mark.rule("H9.2")
def test_the_port_of_the_file_counts_where_there_is_no_other(command, calls, tmp_path):
    """Without the option nothing is put above the file."""
    (tmp_path / "env").write_text("PORT=8124\n")
    command.application = "stall:make_app"
    command.env_file = "env"
    command.finalize_options()

    command.run()

    assert os.environ["PORT"] == "8124"
    assert len(calls) == 1


@pytest.mark.rule("H9.2")
def test_a_dry_run_only_finds_the_callable(command, calls, caplog):
    """And says what it has found."""
    command.application = "stall:make_app"
    command.dry_run = 1
    command.finalize_options()
    caplog.set_level(logging.INFO)

    command.run()

    assert calls == []
    assert caplog.messages[0].startswith("would run stall:make_app: <function make_app")


@pytest.mark.rule("H9.3")
@pytest.mark.parametrize(
    ("application", "text"),
    [
        ("stall", "one colon"),
        ("stall:make_app:x", "one colon"),
        ("nowhere_at_all:make_app", "No module named 'nowhere_at_all'"),
        ("stall.sub:make_app", "No module named 'stall.sub'"),
        ("stall:nope", "has no 'nope'"),
        ("stall:SEEN", "is a dict, not callable"),
    ],
)
def test_a_callable_that_cannot_be_found_is_an_error_of_the_arguments(
    command, calls, application, text
):
    """The text says why, and nothing is run."""
    command.application = application
    command.finalize_options()

    with pytest.raises(BaseError, match=text):
        command.run()

    assert calls == []


@pytest.mark.rule("H9.4", "H9.5")
def test_setup_py_runs_it_without_a_warning(tmp_path):
    """Its options are read by setuptools, ``distutils`` is not imported by us."""
    (tmp_path / "stall.py").write_text(APP)
    (tmp_path / "setup.py").write_text(
        "import setuptools\n"
        "from sprockets.http._run_command import RunCommand\n"
        "setuptools.setup(name='x', py_modules=[], cmdclass={'httprun': RunCommand})\n"
    )

    result = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:sprockets", "setup.py", "httprun",
         "-a", "stall:end", "-p", "0"],
        cwd=tmp_path,
        env={**os.environ, "DEBUG": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )  # fmt: skip

    assert "made with ['debug'] 0" in result.stdout, result.stderr
    assert result.returncode == 3


@pytest.mark.rule("H9.4")
def test_only_the_command_itself_needs_setuptools():
    """The package, its runner and the console command do without."""
    program = (
        "import sys\n"
        "sys.modules['setuptools'] = sys.modules['distutils'] = None\n"
        "import sprockets.http.runner, sprockets.http._command, sprockets.commands.run\n"
    )

    subprocess.run([sys.executable, "-P", "-c", program], check=True, timeout=30)
