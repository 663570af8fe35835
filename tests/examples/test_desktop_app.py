"""The example of a program with windows leaves behind, and shows, what its page says."""

import os
import pty
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "desktop_app.py"


def run(folder: Path, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", str(PROGRAM), "--folder", str(folder)],
        env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=60,
        check=True,
        **options,
    )


@pytest.fixture(name="names", scope="module")
def _names():
    """What the example defines."""
    return runpy.run_path(str(PROGRAM))


def test_a_crash_leaves_a_report_with_all_that_led_up_to_it(tmp_path: Path):
    """Debug records too, which the log itself leaves out; the program goes on."""
    run(tmp_path, stderr=subprocess.PIPE)

    report = (tmp_path / "crash.log").read_text("utf-8")
    log = (tmp_path / "teatime.log").read_text("utf-8")
    assert "DEBUG: teatime: filling the kettle for coffee" in report
    assert "CRITICAL: teatime: this should not have happened: 'coffee'" in report
    assert report.rstrip().endswith("KeyError: 'coffee'")
    assert "DEBUG" not in log
    assert log.rstrip().endswith("INFO: teatime: ends")


def test_warnings_and_crashes_are_shown_in_dialogs(tmp_path: Path):
    """And nothing less than that."""
    output = run(tmp_path, stderr=subprocess.PIPE).stdout

    assert [line for line in output.splitlines() if line.startswith("[dialog]")] == [
        "[dialog] there is hardly any rooibos left",
        "[dialog] this should not have happened: 'coffee'",
    ]


def test_started_from_a_desktop_it_writes_to_no_console(tmp_path: Path):
    """There is a standard error, but nobody who reads it."""
    assert run(tmp_path, stderr=subprocess.PIPE).stderr == ""


def test_started_from_a_terminal_it_writes_there_as_well(tmp_path: Path):
    """All levels, for whoever reads along."""
    ours, theirs = pty.openpty()
    try:
        run(tmp_path, stderr=theirs)
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)

    assert "DEBUG: teatime: filling the kettle for green" in shown


@pytest.mark.parametrize(
    ("platform", "environ", "wanted"),
    [
        ("linux", {}, ".local/state/teatime"),
        ("linux", {"XDG_STATE_HOME": "/var/x"}, "/var/x/teatime"),
        ("darwin", {}, "Library/Logs/teatime"),
        ("win32", {"LOCALAPPDATA": "/c/ann"}, "/c/ann/teatime/Logs"),
    ],
)
def test_logs_are_where_the_system_wants_them(names, platform: str, environ: dict, wanted: str):
    """In the user's own folder for such things."""
    assert names["state_folder"](environ, platform) == Path.home() / wanted


def test_a_flood_fills_no_memory_with_dialogs(names):
    """Ten wait at most; the rest is in the file."""
    from sprockets.logbook import Logger

    shown: list[str] = []
    dialogs = names["DialogHandler"](shown.append)
    with dialogs:
        for number in range(1000):
            Logger("flood").error("{}", number)

    dialogs.show_waiting()

    assert shown == [str(number) for number in range(10)]
