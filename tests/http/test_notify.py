"""What the world outside is told: systemd over a real socket, others by a PID file."""

import os
import socket
import subprocess
import sys
import time

import pytest

from sprockets.http._notify import Notifier, PidFile


@pytest.fixture(name="systemd", params=["path", "abstract"])
def _systemd(request, tmp_path):
    """A socket that listens as systemd does, and the environment that names it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        if request.param == "path":
            path = str(tmp_path / "notify")
            listening.bind(path)
        else:
            path = f"@sprockets-test-{os.getpid()}-{time.monotonic_ns()}"
            listening.bind("\0" + path[1:])
        yield listening, {"NOTIFY_SOCKET": path}


def hear(listening):
    lines = listening.recv(4096).decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


# -- systemd


def test_every_state_is_told_as_systemd_wants_it(systemd):
    """By a path in the file system as well as by an abstract name."""
    listening, environ = systemd
    notifier = Notifier(environ)

    before = time.monotonic_ns() // 1000
    notifier.ready("serving with 2 workers")
    notifier.reloading()
    notifier.stopping(25.3)
    notifier.alive()

    assert hear(listening) == {
        "READY": "1",
        "MAINPID": str(os.getpid()),
        "STATUS": "serving with 2 workers",
    }
    reloading = hear(listening)
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert hear(listening) == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "25300000"}
    assert hear(listening) == {"WATCHDOG": "1"}
    assert notifier.lost == 0


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}])
def test_where_systemd_did_not_ask_nothing_is_told(environ):
    """And nothing is lost by that."""
    notifier = Notifier(environ)

    notifier.ready()
    notifier.reloading()
    notifier.stopping(1)
    notifier.alive()

    assert notifier.lost == 0
    assert notifier.watchdog_interval is None


def test_a_socket_that_is_gone_is_no_error(tmp_path):
    """A service runs just as well unheard; but it is counted."""
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})

    notifier.ready()
    notifier.alive()

    assert notifier.lost == 2


def test_a_socket_that_nobody_reads_holds_nothing_up(tmp_path):
    """Its queue is full at some time; the service does not wait."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        began = time.monotonic()
        for _ in range(5000):
            notifier.alive()
            if notifier.lost:
                break

    assert notifier.lost == 1
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdog_is_told_twice_in_its_period(environ, expected):
    """If it is this process that it watches."""
    assert Notifier(environ).watchdog_interval == expected


def test_the_environment_of_the_process_counts_by_itself(monkeypatch, tmp_path):
    """It is systemd who sets it."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notifier = Notifier()

    notifier.alive()

    assert notifier.lost == 1


# -- the PID file


def test_a_pid_file_names_this_process_until_it_is_removed(tmp_path):
    """Nothing else is left in its folder; a second removal finds nothing to do."""
    path = tmp_path / "service.pid"

    file = PidFile(str(path))

    assert path.read_text() == f"{os.getpid()}\n"
    assert os.listdir(tmp_path) == ["service.pid"]
    file.remove()
    assert os.listdir(tmp_path) == []
    file.remove()


@pytest.mark.parametrize("text", ["", "\n", "nonsense", "0", "-1", "\xff\xfe", "999999999\n"])
def test_what_a_dead_process_left_is_replaced(tmp_path, text):
    """Or what was never a process id."""
    path = tmp_path / "service.pid"
    path.write_text(text, encoding="latin-1")

    PidFile(str(path))

    assert path.read_text() == f"{os.getpid()}\n"


def test_a_number_that_can_be_no_process_is_replaced_too(tmp_path):
    """However long it is."""
    path = tmp_path / "service.pid"
    path.write_text("99999999999999999999")

    PidFile(str(path))

    assert path.read_text() == f"{os.getpid()}\n"


def test_a_living_process_keeps_its_file(tmp_path):
    """The text says who has it."""
    path = tmp_path / "service.pid"
    path.write_text("1\n")

    with pytest.raises(FileExistsError, match="names process 1, which is alive"):
        PidFile(str(path))

    assert path.read_text() == "1\n"
    assert os.listdir(tmp_path) == ["service.pid"]


def test_a_living_process_of_somebody_else_is_alive_too(tmp_path, monkeypatch):
    """Though we may not signal it."""

    def refuse(pid, signum):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    (tmp_path / "service.pid").write_text("4711\n")

    with pytest.raises(FileExistsError, match="4711"):
        PidFile(str(tmp_path / "service.pid"))


def test_our_own_number_is_no_obstacle(tmp_path):
    """As after an ``exec``, or in a container, where it is always the same."""
    path = tmp_path / "service.pid"
    path.write_text(f"{os.getpid()}\n")

    PidFile(str(path)).remove()

    assert not path.exists()


def test_a_file_that_is_anothers_by_now_stays(tmp_path):
    """Or one that nobody can read any longer."""
    path = tmp_path / "service.pid"
    file = PidFile(str(path))

    for text in ("1\n", "nonsense"):
        path.write_text(text)
        file.remove()

        assert path.read_text() == text


def test_a_worker_does_not_remove_the_file_of_its_parent(tmp_path):
    """It is a copy of the process that wrote it."""
    path = tmp_path / "service.pid"
    file = PidFile(str(path))
    pid = os.fork()
    if pid == 0:
        file.remove()
        os._exit(0)
    os.waitpid(pid, 0)

    assert path.exists()


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    """Whoever starts the service is told."""
    with pytest.raises(FileNotFoundError):
        PidFile(str(tmp_path / "gone" / "service.pid"))


def test_the_file_of_a_process_that_was_killed_is_replaced(tmp_path):
    """A real one."""
    path = tmp_path / "service.pid"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    path.write_text(f"{child.pid}\n")
    with pytest.raises(FileExistsError):
        PidFile(str(path))
    child.kill()
    child.communicate()

    PidFile(str(path))

    assert path.read_text() == f"{os.getpid()}\n"
