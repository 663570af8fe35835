"""macOS: what its notification centre is told.  There is no Mac here, so stand-ins are asked.

But for one test: the library is the same on every system, and where it is installed, the real one
has a real desktop show something.
"""

import asyncio
import importlib.util
import os
import subprocess
import sys
import textwrap
import types
import uuid
from enum import Enum
from pathlib import Path

import pytest

from sprockets._support.optional import MissingDependency
from sprockets.logbook import Logger
from sprockets.logbook.notifiers import MacOSNotificationHandler

log = Logger("till")


@pytest.fixture(name="osascript")
def _osascript(tmp_path, monkeypatch):
    """A program of that name that keeps its arguments, instead of the Mac's."""
    monkeypatch.setitem(sys.modules, "desktop_notifier", None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def write(script='for a in "$@"; do printf "%s\\0" "$a"; done >"$0.said"\n'):
        program = tmp_path / "osascript"
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o700)
        return lambda: (tmp_path / "osascript.said").read_text("utf-8").split("\0")[:-1]

    return write


def test_osascript_gets_the_texts_as_arguments(osascript):
    """Never as a part of the script: a record cannot run anything."""
    said = osascript()
    handler = MacOSNotificationHandler("shop", timeout=20)
    text = '" & do shell script "rm -rf ~" & "'

    with handler:
        log.error("{}", text)
    assert handler.close(20)

    assert said() == [
        "-e",
        "on run argv",
        "-e",
        "display notification (item 3 of argv) with title (item 1 of argv)"
        " subtitle (item 2 of argv)",
        "-e",
        "end run",
        "--",
        "shop",
        "till: Error",
        text,
    ]


def test_what_looks_like_an_option_is_text(osascript):
    """And what no program could be given is escaped."""
    said = osascript()
    handler = MacOSNotificationHandler("-shop", timeout=20)

    with handler:
        log.error("-e \0 \ud800\nnext line")
    assert handler.close(20)

    assert said()[6:] == ["--", "-shop", "till: Error", "-e \\x00 \\ud800\nnext line"]


def test_a_long_text_is_cut(osascript):
    """As on other desktops."""
    said = osascript()
    handler = MacOSNotificationHandler("shop", timeout=20)

    with handler:
        log.error("x" * 300)
    assert handler.close(20)

    assert said()[-1] == "x" * 255 + "…"


def test_a_mac_that_refuses_is_left_alone_after_three_times(osascript, capsys, tmp_path):
    """One report has its words; the others are counted."""
    osascript('echo x >>"$0.tries"; echo "not allowed" >&2; exit 1\n')
    handler = MacOSNotificationHandler("shop", timeout=20)

    with handler:
        for _ in range(10):
            log.error("lost")
    assert handler.close(20)

    (line,) = capsys.readouterr().err.splitlines()
    assert "osascript failed with 1: not allowed" in line
    assert (tmp_path / "osascript.tries").read_text() == "x\n" * 3
    assert handler.statistics()["unshown"] == 10


def test_a_mac_that_hangs_costs_no_more_than_the_timeout(osascript, capsys):
    """The program is killed."""
    osascript("exec sleep 600\n")
    handler = MacOSNotificationHandler("shop", timeout=0.2)

    with handler:
        log.error("lost")
    assert handler.close(20)

    assert "osascript took longer than 0.2 s" in capsys.readouterr().err


@pytest.mark.rule("NO-4")
def test_without_either_the_error_names_the_extra(monkeypatch):
    """With what to type."""
    monkeypatch.setitem(sys.modules, "desktop_notifier", None)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(MissingDependency, match=r"'desktop-notifier'.*http\[notify\]") as caught:
        MacOSNotificationHandler()

    assert isinstance(caught.value, RuntimeError)


def test_the_real_library_has_a_desktop_show_a_notice(desktop):
    """What we call is what it has."""
    if importlib.util.find_spec("desktop_notifier") is None:
        pytest.skip("desktop-notifier is not installed: pip install desktop-notifier")
    channel = f"till {uuid.uuid4().hex[:8]}"
    program = f"""
        from sprockets.logbook import Logger
        from sprockets.logbook.notifiers import MacOSNotificationHandler
        handler = MacOSNotificationHandler("shop", timeout=20)
        with handler:
            Logger({channel!r}).error("jammed")
            Logger({channel!r}).info("again")
        assert handler.close(20)
        assert handler.statistics()["delivered"] == 2
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": desktop.address},
        timeout=60,
        check=True,
    )

    shown = desktop.wait_for(f"{channel}: Error")
    assert (shown.application, shown.body, shown.urgency) == ("shop", "jammed", "CRITICAL")
    assert desktop.wait_for(f"{channel}: Info").urgency == "LOW"


class FakeLibrary(types.ModuleType):
    """Stands in for desktop-notifier on a Mac: keeps what it is to show, if it may."""

    class Capability(Enum):
        MESSAGE = 1

    class Urgency(Enum):
        Low = "low"
        Normal = "normal"
        Critical = "critical"

    class Icon:
        def __init__(self, path):
            self.path = path

    def __init__(self, is_signed=True, hangs=False):
        super().__init__("desktop_notifier")
        self.sent = []
        this = self

        class DesktopNotifier:
            def __init__(self, app_name, app_icon=None):
                self.who = (app_name, app_icon and app_icon.path)

            async def get_capabilities(self):
                return {FakeLibrary.Capability.MESSAGE} if is_signed else set()

            async def send(self, **options):
                if hangs:
                    await asyncio.sleep(600)
                this.sent.append((*self.who, options))

        self.DesktopNotifier = DesktopNotifier


def test_the_library_gets_title_text_urgency_and_icon(monkeypatch, tmp_path):
    """It is the first choice, since it speaks in the program's own name."""
    library = FakeLibrary()
    monkeypatch.setitem(sys.modules, "desktop_notifier", library)
    icon = tmp_path / "till.png"
    icon.write_bytes(b"")
    handler = MacOSNotificationHandler("shop", icon)

    with handler:
        log.info("a")
        log.warning("b")
        log.error("c")
    assert handler.close(20)

    urgency = library.Urgency
    assert library.sent == [
        ("shop", icon, {"title": f"till: {level}", "message": text, "urgency": how})
        for level, text, how in (
            ("Info", "a", urgency.Low),
            ("Warning", "b", urgency.Normal),
            ("Error", "c", urgency.Critical),
        )
    ]


def test_a_python_that_is_not_signed_lets_osascript_speak(monkeypatch, osascript):
    """The library does nothing there, and says no word of it."""
    said = osascript()
    library = FakeLibrary(is_signed=False)
    monkeypatch.setitem(sys.modules, "desktop_notifier", library)
    handler = MacOSNotificationHandler("shop", Path("/nowhere"), timeout=20)

    with handler:
        log.error("a")
    assert handler.close(20)

    assert library.sent == []
    assert said()[-1] == "a"


def test_a_python_that_is_not_signed_and_has_no_osascript_says_so(monkeypatch, capsys):
    """Nothing is dropped in silence."""
    monkeypatch.setitem(sys.modules, "desktop_notifier", FakeLibrary(is_signed=False))
    monkeypatch.setenv("PATH", "")
    handler = MacOSNotificationHandler("shop")

    with handler:
        log.error("lost")
    assert handler.close(20)

    assert "this Python is not signed" in capsys.readouterr().err


def test_a_library_that_hangs_costs_no_more_than_the_timeout(monkeypatch, capsys):
    """It is cancelled."""
    monkeypatch.setitem(sys.modules, "desktop_notifier", FakeLibrary(hangs=True))
    handler = MacOSNotificationHandler("shop", timeout=0.05)

    with handler:
        log.error("lost")
    assert handler.close(20)

    assert "TimeoutError" in capsys.readouterr().err
