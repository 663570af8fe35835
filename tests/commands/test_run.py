"""The ``sprockets`` command and its word ``run``."""

import contextlib
import importlib
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest

from sprockets.commands import __main__ as command
from sprockets.commands._registry import COMMANDS

SHOP = """
from tornado import web

def make_app(**settings):
    return web.Application([], **settings)
"""


def test_the_help_lists_every_command(capsys):
    """A line each, and how to learn more."""
    assert command.main(["--help"]) == 0

    text = capsys.readouterr().out
    assert text.startswith("usage: sprockets ")
    for word, each in COMMANDS.items():
        assert re.search(rf"^  {word} +{re.escape(each.summary)}$", text, re.MULTILINE)


def test_listing_the_commands_imports_none_of_them():
    """The help is there at once."""
    program = (
        "import sys\n"
        "from sprockets.commands.__main__ import main\n"
        "main(['--help'])\n"
        "assert not {'tornado', 'sprockets.http'} & set(sys.modules)\n"
    )

    subprocess.run(
        [sys.executable, "-P", "-c", program], check=True, timeout=30, stdout=subprocess.DEVNULL
    )


@pytest.mark.parametrize("word", sorted(COMMANDS))
def test_every_command_can_be_loaded_and_calls_itself_by_its_name(word, capsys):
    """What the registry names is there, and its help begins with what was typed."""
    assert importlib.import_module(COMMANDS[word].module)

    assert command.main([word, "--help"]) == 0

    assert capsys.readouterr().out.startswith(f"usage: sprockets {word} ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "sprockets: which command? known: {known}\n"),
        (["rum"], "sprockets: unknown command 'rum'; known: {known}; did you mean 'run'?\n"),
        (["--x"], "sprockets: unknown command '--x'; known: {known}\n"),
    ],
)
def test_an_unknown_command_is_told_the_known_ones(arguments, text, capsys):
    """On one line, with the status for what makes no sense."""
    assert command.main(arguments) == 78

    assert capsys.readouterr().err == text.replace("{known}", ", ".join(sorted(COMMANDS)))


def test_the_version_is_that_of_the_distribution(capsys):
    """``sprockets --version`` needs no word."""
    assert command.main(["--version"]) == 0

    assert capsys.readouterr().out.startswith(f"sprockets.http {version('sprockets.http')} (")


def test_a_mistake_in_run_is_told_in_the_name_of_run(capsys):
    """Whoever reads it sees which command spoke."""
    assert command.main(["run"]) == 78

    assert capsys.readouterr().err.startswith("sprockets run: which application?")


@pytest.mark.rule("H9.4")
def test_run_serves_until_it_is_told_to_stop(tmp_path):
    """``python -m sprockets.commands run`` is the same command."""
    (tmp_path / "shop.py").write_text(SHOP)
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sprockets.commands", "run", "shop:make_app",
             "--port", "0", "--workers", "2", "--no-debug"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 15
        while "with 2 workers" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.02)

        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
