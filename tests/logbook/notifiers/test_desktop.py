"""The desktop: what a real one shows, and what becomes of notices where there is none."""

import contextlib
import importlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import types
import uuid
from pathlib import Path

import pytest

pytest.importorskip("jeepney")

from sprockets._support.optional import MissingDependency
from sprockets.logbook import Logger, LogRecord
from sprockets.logbook.notifiers import LibNotifyHandler
from sprockets.logbook.notifiers._bus_address import find_address, find_sockets
from tests.logbook.notifiers.conftest import wait_until
from tests.services import require

WAYS = ("dbus", "notify-send")
DIALOGUE = "a <b>bold</b> &amp; <img src='http://x/'> back\\nslash\\\nnext line"


@pytest.fixture(autouse=True)
def _no_bus_of_the_users(monkeypatch):
    """Nothing here reaches the desktop of whoever runs the tests."""
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


@pytest.fixture(name="log")
def _log():
    """A logger whose notices can be told from all others."""
    return Logger(f"till {uuid.uuid4().hex[:8]}")


def handler_at(desktop, way="dbus", **options):
    """Return a handler that shows its records there."""
    if way == "notify-send":
        require(shutil.which(way), "no notify-send; install libnotify-bin")
    return LibNotifyHandler("shop", way=way, bus_address=desktop.address, timeout=20, **options)


# -- a real desktop


@pytest.mark.rule("NO-2", "NO-7")
@pytest.mark.parametrize("way", WAYS)
def test_a_desktop_shows_title_text_and_urgency(desktop, log, way):
    """An error is critical and stays; a warning is normal; the rest is low and goes."""
    handler = handler_at(desktop, way)

    with handler:
        for level in ("DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL"):
            log.log(level, "drawer {} is open", 3)
    assert handler.close(20)

    found = {}
    for level in ("Debug", "Info", "Notice", "Warning", "Error", "Critical"):
        shown = desktop.wait_for(f"{log.name}: {level}")
        assert (shown.application, shown.body) == ("shop", "drawer 3 is open")
        found[level] = (shown.urgency, shown.timeout > 0)
    assert found == {
        "Debug": ("LOW", True),
        "Info": ("LOW", True),
        "Notice": ("LOW", True),
        "Warning": ("NORMAL", True),
        "Error": ("CRITICAL", False),
        "Critical": ("CRITICAL", False),
    }
    assert handler.statistics()["delivered"] == 6
    assert handler.statistics()["unshown"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_markup_in_a_record_is_shown_as_it_is(desktop, log, way):
    """A record's text is data: no tag, no image, no backslash in it means anything."""
    handler = handler_at(desktop, way)

    with handler:
        log.info(DIALOGUE.replace("{", "{{"))
    assert handler.close(20)

    assert desktop.wait_for(f"{log.name}: Info").body == (
        "a &lt;b&gt;bold&lt;/b&gt; &amp;amp; &lt;img src='http://x/'&gt; back\\nslash\\\nnext line"
    )


def test_a_desktop_without_markup_gets_plain_text(plain_desktop, log):
    """What would be shown as it is needs no escape."""
    handler = handler_at(plain_desktop)

    with handler:
        log.info(DIALOGUE)
    assert handler.close(20)

    assert plain_desktop.wait_for(f"{log.name}: Info").body == DIALOGUE


@pytest.mark.parametrize("way", WAYS)
def test_a_long_text_is_cut_with_a_mark(desktop, log, way):
    """Nobody reads more in a corner of the screen; also of what grows when it is escaped."""
    handler = handler_at(desktop, way)

    with handler:
        log.info("<" * 300)
        log.warning("ä" * 256)
    assert handler.close(20)

    assert desktop.wait_for(f"{log.name}: Info").body == "&lt;" * 255 + "…"
    assert desktop.wait_for(f"{log.name}: Warning").body == "ä" * 256


@pytest.mark.parametrize("way", WAYS)
def test_what_no_desktop_could_take_is_escaped(desktop, log, way):
    """A NUL, half a character and what looks like an option reach the screen as text."""
    handler = handler_at(desktop, way)

    with handler:
        log.info("--help \0 \ud800 \x1b[31m")
    assert handler.close(20)

    shown = desktop.wait_for(f"{log.name}: Info")
    assert shown.body == "--help \\x00 \\ud800 \\x1b[31m"


@pytest.mark.rule("NO-7", "NO-8")
@pytest.mark.parametrize("way", WAYS)
def test_an_icon_is_a_file_or_a_name(desktop, log, way, tmp_path):
    """A file is told by its URI; without an icon there is none."""
    path = tmp_path / "till icon.png"
    path.write_bytes(b"")
    icons = {"Info": path, "Notice": "dialog-error", "Warning": None}

    for level, icon in icons.items():
        handler = handler_at(desktop, way, icon=icon)
        with handler:
            log.log(level.upper(), "x")
        assert handler.close(20)

    shown = {level: desktop.wait_for(f"{log.name}: {level}").icon for level in icons}
    assert shown["Info"].endswith(("/till%20icon.png", "/till icon.png"))
    assert shown["Notice"] == "dialog-error"
    assert shown["Warning"] not in (shown["Info"], "dialog-error")


@pytest.mark.rule("NO-3")
def test_one_notice_a_minute_is_one_notice_on_the_screen(desktop, log, clock):
    """The desktop sees what the limit lets through, and no more."""
    handler = handler_at(desktop, record_limit=1, clock=clock)

    with handler:
        for number in range(4):
            if number == 3:
                clock.seconds += 61
            log.info("sold {}", number)
    assert handler.close(20)

    summary = f"{log.name}: Info"
    desktop.wait_for(summary)
    assert [one.body for one in desktop.shown() if one.summary == summary] == [
        "sold 0",
        "sold 3\n(and 2 more like it)",
    ]


def test_a_subclass_says_how_urgent_and_how_long(desktop, log):
    """The hooks are asked with the record."""

    class Patient(LibNotifyHandler):
        def get_urgency(self, record):
            return 2

        def get_expires(self, record):
            return 7000

        def set_notifier_icon(self, notifier, icon):
            super().set_notifier_icon(notifier, f"{icon}-{notifier.level_title.lower()}")

    handler = Patient("shop", "dialog", bus_address=desktop.address)
    with handler:
        log.debug("x")
    assert handler.close(20)

    shown = desktop.wait_for(f"{log.name}: Debug")
    assert (shown.urgency, shown.timeout, shown.icon) == ("CRITICAL", 7000, "dialog-debug")


def test_the_bus_is_found_in_the_environment(desktop, log, monkeypatch):
    """By its address, or in the user's folder for such things; it is looked up for each notice."""
    handler = LibNotifyHandler("shop", timeout=20)

    with handler:
        monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", desktop.address)
        log.info("by address")
        assert handler.flush(20)
        monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
        monkeypatch.setenv("XDG_RUNTIME_DIR", os.path.dirname(desktop.address.partition("=")[2]))
        log.warning("by folder")
    assert handler.close(20)

    assert desktop.wait_for(f"{log.name}: Info").body == "by address"
    assert desktop.wait_for(f"{log.name}: Warning").body == "by folder"


def test_a_dead_address_is_passed_over(desktop, log, tmp_path):
    """The next of several is tried."""
    address = f"tcp:host=127.0.0.1;unix:path={tmp_path}/gone;{desktop.address}"
    handler = LibNotifyHandler("shop", bus_address=address, timeout=20)

    with handler:
        log.info("x")
    assert handler.close(20)

    assert desktop.wait_for(f"{log.name}: Info").body == "x"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_shows_its_own(desktop, log):
    """No connection is shared, so parent and child show theirs."""
    handler = handler_at(desktop)
    with handler:
        log.info("parent")
        assert handler.flush(20)
        pid = os.fork()
        if not pid:
            try:
                log.warning("child")
                os._exit(0 if handler.close(20) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        log.error("parent again")
    assert handler.close(20)

    for level, body in (("Info", "parent"), ("Warning", "child"), ("Error", "parent again")):
        assert desktop.wait_for(f"{log.name}: {level}").body == body


def test_nothing_is_left_open(desktop, log):
    """A notice takes a connection, and gives it back."""
    handler = handler_at(desktop)
    with handler:
        log.info("first")
        assert handler.flush(20)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            log.info("more")
        assert handler.flush(20)
        after = len(os.listdir("/proc/self/fd"))
    assert handler.close(20)

    assert after == before


def test_a_script_that_ends_has_shown_its_last_words(desktop, log):
    """Nobody has to close the handler."""
    program = f"""
        from sprockets.logbook import Logger
        from sprockets.logbook.notifiers import LibNotifyHandler
        LibNotifyHandler("shop").push_application()
        Logger({log.name!r}).error("last words")
    """
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": desktop.address},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (result.stdout, result.stderr) == ("", "")
    assert desktop.wait_for(f"{log.name}: Error").body == "last words"


# -- no desktop


class FullBus:
    """A socket at which nobody ever answers, with its queue full or not."""

    def __init__(self, path, is_full):
        self.address = f"unix:path={path}"
        self._sockets = [socket.socket(socket.AF_UNIX)]
        self._sockets[0].bind(str(path))
        self._sockets[0].listen(0 if is_full else 100)
        while is_full:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            self._sockets.append(client)
            try:
                client.connect(str(path))
            except BlockingIOError:
                break

    def close(self):
        for one in self._sockets:
            one.close()


@pytest.mark.parametrize("is_full", [False, True], ids=["never answers", "takes no connection"])
@pytest.mark.parametrize("way", WAYS)
def test_a_black_hole_holds_up_nothing(tmp_path, capsys, log, way, is_full):
    """The call does not wait; the thread does as long as it was told, and says so once."""
    if way == "notify-send":
        require(shutil.which(way), "no notify-send; install libnotify-bin")
    hole = FullBus(tmp_path / "hole", is_full)
    handler = LibNotifyHandler(way=way, bus_address=hole.address, timeout=0.1)
    try:
        with handler:
            for number in range(20):
                log.error("lost {}", number)
        assert handler.close(20)
    finally:
        hole.close()

    statistics = handler.statistics()
    assert (statistics["dead"], statistics["unshown"], statistics["failed"]) == (20, 20, 20)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_call_does_not_wait_for_the_desktop(tmp_path, log):
    """All calls are back while the first notice is still on its way."""
    hole = FullBus(tmp_path / "hole", False)
    handler = LibNotifyHandler(bus_address=hole.address, timeout=60)

    with handler:
        for _ in range(100):
            log.error("lost")
        statistics = handler.statistics()
        hole.close()
    assert handler.close(20)

    assert (statistics["accepted"], statistics["dead"]) == (100, 0)
    assert handler.statistics()["dead"] == 100


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (None, "there is no session bus: DBUS_SESSION_BUS_ADDRESS is not set"),
        ("unix:path=/nowhere/bus", "No such file or directory"),
        ("tcp:host=127.0.0.1,port=1", "the session bus is at no Unix socket"),
        ("nonsense", "the session bus is at no Unix socket: 'nonsense'"),
    ],
)
def test_without_a_bus_one_line_says_so(capsys, log, address, reason):
    """Wherever a script runs: once, and then no more."""
    handler = LibNotifyHandler(bus_address=address)

    with handler:
        for _ in range(10):
            log.error("lost")
    assert handler.close(20)

    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert line.endswith(
        "(this is told once; after 3 failures in a row it is tried every 60 s only)"
    )
    assert handler.statistics()["unshown"] == 10


def test_a_bus_without_a_desktop_says_so(desktop, log, capsys):
    """Nobody has the name, and the bus says it."""
    from sprockets.logbook.notifiers import _dbus

    handler = handler_at(desktop)
    own = _dbus._NAME
    try:
        _dbus._NAME = "org.example.Nobody"
        with handler:
            log.error("lost")
        assert handler.close(20)
    finally:
        _dbus._NAME = own

    assert "org.freedesktop.DBus.Error.ServiceUnknown" in capsys.readouterr().err


class Desk:
    """Stands in for a desktop whose owner comes and goes."""

    def __init__(self):
        self.is_there = True
        self.tries = 0
        self.texts = []

    def show(self, application, title, text, **facts):
        self.tries += 1
        if not self.is_there:
            raise ConnectionError("nobody at the desk")
        self.texts.append(text)


@pytest.fixture(name="desk")
def _desk():
    return Desk()


@pytest.fixture(name="handler")
def _handler(desk, clock):
    handler = LibNotifyHandler(clock=clock)
    handler._desktop = desk
    yield handler
    handler.close(5)


def tell(handler, *texts):
    """Have *handler* show records, one after the other."""
    for text in texts:
        handler.emit(LogRecord("till", 14, text))
        assert handler.flush(20)


def test_after_three_failures_one_notice_a_minute_is_tried(handler, desk, clock, capsys):
    """One report; then silence, in which nothing is tried; a success starts all over."""
    desk.is_there = False
    tell(handler, "a", "b", "c", "d", "e")
    assert desk.tries == 3

    clock.seconds += 59
    tell(handler, "f")
    assert desk.tries == 3

    clock.seconds += 1
    tell(handler, "g", "h")
    assert desk.tries == 4

    clock.seconds += 60
    desk.is_there = True
    tell(handler, "i", "j")
    assert desk.texts == ["i", "j"]

    assert len(capsys.readouterr().err.splitlines()) == 1
    statistics = handler.statistics()
    assert (statistics["accepted"], statistics["delivered"], statistics["dead"]) == (10, 2, 8)
    assert statistics["unshown"] == 8


def test_a_new_row_of_failures_is_told_again(handler, desk, clock, capsys):
    """A desktop that was there and is gone is news; within a minute it is not."""
    tell(handler, "shown")
    desk.is_there = False
    tell(handler, "lost", "lost")
    desk.is_there = True
    tell(handler, "shown")
    assert len(capsys.readouterr().err.splitlines()) == 1

    desk.is_there = False
    tell(handler, "lost")
    assert capsys.readouterr().err == ""

    desk.is_there = True
    tell(handler, "shown")
    clock.seconds += 61
    desk.is_there = False
    tell(handler, "lost")

    assert "(1 reports were left out)" in capsys.readouterr().err


def test_an_immediate_handler_tells_the_first_failure_only(desk, clock, capsys):
    """The error is the handler's, once."""
    handler = LibNotifyHandler(immediate=True, clock=clock)
    handler._desktop = desk
    desk.is_there = False

    with handler:
        for _ in range(5):
            Logger("till").error("lost")
    handler.close()

    assert capsys.readouterr().err.count("PermanentError: nobody at the desk") == 1
    assert desk.tries == 3
    assert handler.statistics()["unshown"] == 5


def living_of_group(group):
    """Return the processes of a group that are not dead; who buries them is up to the system."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, own_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(own_group) == group and state != "Z":
                found.append(path.parent.name)
    return found


def names_of_calls(thread):
    """Return the names of the functions that a thread is in."""
    frame = sys._current_frames()[thread]
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path, monkeypatch, log, capsys):
    """What it started may hold its output open; nobody waits for that."""
    program = tmp_path / "notify-send"
    program.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nsleep 600 &\nwait\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    handler = LibNotifyHandler(way="notify-send", bus_address="unix:path=/x", timeout=0.5)

    with handler:
        log.error("lost")
    assert handler.close(20)

    assert "notify-send took longer than 0.5 s" in capsys.readouterr().err
    assert living_of_group(int((tmp_path / "pid").read_text())) == []


def test_a_program_that_fails_says_why(tmp_path, monkeypatch, log, capsys):
    """Its own words are in the report, on one line."""
    program = tmp_path / "notify-send"
    program.write_text("#!/bin/sh\necho one >&2\necho two >&2\nexit 3\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    handler = LibNotifyHandler(way="notify-send", bus_address="unix:path=/x", timeout=20)

    with handler:
        log.error("lost")
    assert handler.close(20)

    assert "notify-send failed with 3: one two" in capsys.readouterr().err


def test_an_interrupt_of_an_immediate_call_leaves_no_program(tmp_path, monkeypatch):
    """Who presses Ctrl-C gets the prompt back, and no process stays behind."""
    program = tmp_path / "notify-send"
    program.write_text(
        f"#!/bin/sh\necho $$ >{tmp_path}/new\nmv {tmp_path}/new {tmp_path}/pid\nexec sleep 600\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    handler = LibNotifyHandler(
        way="notify-send", bus_address="unix:path=/x", timeout=60, immediate=True
    )

    main = threading.main_thread().ident

    def interrupt():
        wait_until((tmp_path / "pid").exists, "the program")
        # Its start cannot be interrupted without leaving it behind, in no program of Python's.
        wait_until(lambda: "communicate" in names_of_calls(main), "the wait for it")
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        handler.emit(LogRecord("till", 14, "x"))
    thread.join()
    handler.close()

    assert living_of_group(int((tmp_path / "pid").read_text())) == []


# -- which way


@pytest.fixture(name="without")
def _without(monkeypatch):
    """Take libraries, and with an empty PATH the programs, away."""

    def without(*modules, programs=True):
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)
        if not programs:
            monkeypatch.setenv("PATH", "")

    return without


@pytest.mark.rule("NO-4")
def test_jeepney_is_the_first_choice_and_notify_send_the_second(tmp_path, monkeypatch, without):
    """The third is PyGObject; what is asked for by name is taken at once."""
    program = tmp_path / "notify-send"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert LibNotifyHandler().way == "dbus"
    assert LibNotifyHandler(way="notify-send").way == "notify-send"

    without("jeepney")
    assert LibNotifyHandler().way == "notify-send"

    FakeGI().install(monkeypatch)
    program.unlink()
    assert LibNotifyHandler().way == "gobject"


@pytest.mark.rule("NO-4")
def test_without_any_way_the_error_names_the_extra(without):
    """Both errors that such a thing used to be, with what to type."""
    without("jeepney", "gi", "gi.repository", programs=False)

    with pytest.raises(MissingDependency, match=r"sprockets.http\[notify\].*notify-send") as caught:
        LibNotifyHandler()

    assert isinstance(caught.value, RuntimeError)
    assert caught.value.name == "jeepney"


def test_a_way_that_is_asked_for_and_missing_is_an_error(without):
    """Nothing else is taken in its place."""
    without("gi", "gi.repository", programs=False)

    with pytest.raises(MissingDependency, match="no way 'notify-send': there is no program"):
        LibNotifyHandler(way="notify-send")
    with pytest.raises(ValueError, match=r"unknown way 'telepathy'; known: dbus, notify-send"):
        LibNotifyHandler(way="telepathy")


class FakeGI:
    """Stands in for PyGObject, which has no wheel: what is called of it."""

    class Cancellable:
        def __init__(self):
            self._is_cancelled = threading.Event()

        def cancel(self):
            self._is_cancelled.set()

        def is_cancelled(self):
            return self._is_cancelled.is_set()

    def __init__(self, hangs=False):
        self.calls = []
        this = self

        class Connection:
            @staticmethod
            def new_for_address_sync(address, flags, observer, stop):
                this.calls.append(("connect", address, flags, observer))
                if hangs:
                    stop._is_cancelled.wait(20)
                    raise RuntimeError("Operation was cancelled")
                return Connection()

            def call_sync(self, *arguments):
                this.calls.append(("call", *arguments[:-1]))

            def close_sync(self, stop):
                this.calls.append(("close",))

        self.Gio = types.SimpleNamespace(
            Cancellable=self.Cancellable,
            DBusConnection=Connection,
            DBusConnectionFlags=types.SimpleNamespace(
                AUTHENTICATION_CLIENT=1, MESSAGE_BUS_CONNECTION=8
            ),
            DBusCallFlags=types.SimpleNamespace(NONE=0),
        )
        self.GLib = types.SimpleNamespace(Variant=lambda kind, value: (kind, value))

    def install(self, monkeypatch):
        """Have it imported instead of the real one."""
        monkeypatch.setitem(sys.modules, "gi", types.ModuleType("gi"))
        monkeypatch.setitem(sys.modules, "gi.repository", types.ModuleType("gi.repository"))
        monkeypatch.setitem(sys.modules, "gi.repository.Gio", self.Gio)
        monkeypatch.setitem(sys.modules, "gi.repository.GLib", self.GLib)


def test_pygobject_shows_a_notice_and_waits_for_no_black_hole(desktop, log, tmp_path):
    """The real one, in the system's own Python, since it has no wheel."""
    python = "/usr/bin/python3"
    check = "import gi.repository.Gio, sys; assert sys.version_info >= (3, 11)"
    found = (
        Path(python).exists()
        and not subprocess.run(
            [python, "-c", check], stderr=subprocess.DEVNULL, timeout=60, check=False
        ).returncode
    )
    if not found:
        pytest.skip("the system's Python is too old, or has no gi; install python3-gi")
    hole = FullBus(tmp_path / "hole", is_full=False)
    program = f"""
        from sprockets.logbook import Flags, Logger
        from sprockets.logbook.notifiers import LibNotifyHandler
        handler = LibNotifyHandler("shop", way="gobject", timeout=20)
        with handler:
            Logger({log.name!r}).error("a <b>")
            assert handler.flush(20)
            Logger({log.name!r}).info("again")
        assert handler.close(20)
        assert handler.statistics()["delivered"] == 2
        hung = LibNotifyHandler(way="gobject", bus_address={hole.address!r}, timeout=0.2)
        with hung, Flags(errors="silent").applicationbound():
            Logger("lost").error("lost")
            assert hung.close(20)
        assert hung.statistics()["unshown"] == 1
    """
    result = subprocess.run(
        [python, "-B", "-c", textwrap.dedent(program)],
        env={
            **os.environ,
            "DBUS_SESSION_BUS_ADDRESS": desktop.address,
            "PYTHONPATH": str(Path(__file__).parents[3]),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    hole.close()
    assert result.stderr == ""
    shown = desktop.wait_for(f"{log.name}: Error")
    assert (shown.body, shown.urgency, shown.timeout) == ("a &lt;b&gt;", "CRITICAL", 0)
    assert desktop.wait_for(f"{log.name}: Info").body == "again"


def test_pygobject_talks_to_the_bus_and_closes_what_it_opened(monkeypatch):
    """With a stand-in, which knows what it was asked."""
    gi = FakeGI()
    gi.install(monkeypatch)
    handler = LibNotifyHandler("shop", "bell", way="gobject", bus_address="unix:path=/x")

    with handler:
        Logger("till").warning("a <b>")
    assert handler.close(20)

    connect, call, close = gi.calls
    assert connect == ("connect", "unix:path=/x", 9, None)
    assert call[4] == "Notify"
    assert call[5] == (
        "(susssasa{sv}i)",
        ("shop", 0, "bell", "till: Warning", "a &lt;b&gt;", [], {"urgency": ("y", 1)}, -1),
    )
    assert call[8] == 2000
    assert close == ("close",)


def test_pygobject_is_cancelled_when_its_time_is_up(monkeypatch, capsys):
    """With a stand-in that waits until then."""
    FakeGI(hangs=True).install(monkeypatch)
    handler = LibNotifyHandler(way="gobject", bus_address="unix:path=/x", timeout=0.05)

    with handler:
        Logger("till").warning("lost")
    assert handler.close(20)

    assert "no answer on the session bus within 0.05 s" in capsys.readouterr().err


# -- addresses


def test_addresses_are_read_as_the_specification_says():
    """Paths, abstract names, escapes, and the user's folder."""
    environ = {"XDG_RUNTIME_DIR": "/run/user/7"}

    found = find_sockets(
        "unix:guid=1,path=/a%2cb;unix:abstract=/tmp/c;unix:runtime=yes;unix:dir=/tmp;x", environ
    )

    assert found == [b"/a,b", b"\0/tmp/c", b"/run/user/7/bus"]


def test_an_empty_address_is_none(tmp_path):
    """As where a service's file sets the variable to nothing."""
    with pytest.raises(ConnectionError, match="no session bus"):
        find_address({"DBUS_SESSION_BUS_ADDRESS": "", "XDG_RUNTIME_DIR": str(tmp_path)})


def test_no_init_changes_nothing():
    """It is still taken: there is nothing to initialise any more."""
    handler = LibNotifyHandler("shop", None, True)

    with contextlib.closing(handler):
        assert handler.application_name == "shop"
        assert importlib.import_module("jeepney") is not None
