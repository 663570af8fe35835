"""The example that tells when it is done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "notify_me.py"
WORK = "INFO: copied letters\nINFO: copied photographs\nINFO: copied accounts\n"


def run(cwd, **environ):
    """Return what the example said, on a system without a desktop but for *environ*."""
    left_out = ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR")
    own = {name: value for name, value in os.environ.items() if name not in left_out}
    return subprocess.run(
        [sys.executable, "-P", str(EXAMPLE)],
        cwd=cwd,
        env={**own, "PYTHONWARNINGS": "error", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_without_a_desktop_the_console_has_the_news(tmp_path):
    """It ends well, and says why nothing was shown."""
    pytest.importorskip("jeepney")

    result = run(tmp_path)

    assert result.stdout == (
        f"{WORK}NOTICE: 3 folders are safe\nINFO: there is no desktop here, so that was all\n"
    )
    assert "there is no session bus" in result.stderr


def test_a_desktop_shows_the_end_and_nothing_else(tmp_path):
    """A real one."""
    pytest.importorskip("jeepney")
    from tests.logbook.notifiers.desktop import Desktop

    with Desktop() as desktop:
        result = run(tmp_path, DBUS_SESSION_BUS_ADDRESS=desktop.address)
        shown = desktop.wait_for("backup: Notice")

    assert (result.stdout, result.stderr) == (f"{WORK}NOTICE: 3 folders are safe\n", "")
    assert (shown.application, shown.body) == ("Backup", "3 folders are safe")


def test_without_any_way_to_a_desktop_it_says_what_to_install(tmp_path):
    """And does its work."""
    (tmp_path / "jeepney.py").write_text("raise ImportError('not installed')\n")
    (tmp_path / "gi.py").write_text("raise ImportError('not installed')\n")

    result = run(tmp_path, PATH="", PYTHONPATH=f"{tmp_path}:{EXAMPLE.parents[1]}")

    assert "WARNING: no notices: LibNotifyHandler needs 'jeepney'" in result.stdout
    assert result.stdout.endswith("NOTICE: 3 folders are safe\n")
    assert result.stderr == ""
