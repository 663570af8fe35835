"""Fork: what owns a lock or a connection comes to rest for it, for a bounded time, and goes on."""

import os
import subprocess
import sys
import threading
import time

import pytest

from sprockets.logbook import FingersCrossedHandler, TestHandler, _context, _fork
from sprockets.logbook.delivery import Spool
from sprockets.logbook.handlers import MailHandler
from sprockets.logbook.handlers._http_client import HTTPClient
from sprockets.logbook.handlers._tcp_link import TCPLink

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]


def in_child(action, seconds=10):
    """Return the exit status of a forked child that calls *action*: 0 if it answers true."""
    pid = os.fork()
    if not pid:
        status = 2
        try:
            status = 0 if action() else 1
        finally:
            os._exit(status)
    deadline = time.monotonic() + seconds
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            return "it hangs"
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(done[1])


OWNERS = {
    "stacks": lambda folder: (_context._guard, "lock"),
    "buffer": lambda folder: (FingersCrossedHandler(TestHandler()), "lock"),
    "spool": lambda folder: (Spool(folder), "_lock"),
    "mail": lambda folder: (MailHandler("a@example.com", ["b@example.com"]), "_limit_lock"),
    "tcp": lambda folder: (TCPLink(("127.0.0.1", 9), False, 1.0, confirm=False), "_lock"),
}


@pytest.mark.parametrize("name", OWNERS)
def test_a_lock_that_is_held_delays_a_fork_for_a_bounded_time(name, tmp_path):
    """The lock is free in the child, and stays held by whoever holds it here."""
    owner, attribute = OWNERS[name](tmp_path)
    lock = getattr(owner, attribute)
    taken, release = threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(5)
    begun = time.monotonic()
    status = in_child(lambda: getattr(owner, attribute).acquire(timeout=0))
    seconds = time.monotonic() - begun
    is_held = not lock.acquire(blocking=False)
    release.set()
    holder.join()

    assert status == 0
    assert is_held
    assert seconds < _fork.MAX_WAIT_EACH + 2
    assert lock.acquire(timeout=1), "nobody holds it any more"
    lock.release()


@pytest.mark.parametrize("name", OWNERS)
def test_a_lock_that_is_free_is_free_after_a_fork(name, tmp_path):
    """Here, and for other threads."""
    owner, attribute = OWNERS[name](tmp_path)
    assert in_child(lambda: True) == 0
    got = []

    def use():
        lock = getattr(owner, attribute)
        got.append(lock.acquire(timeout=1))
        lock.release()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()

    assert got == [True]


TOGETHER = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore")
from sprockets.logbook import _fork
class Owner:
    def __init__(self):
        self.lock = threading.RLock()
        self.held = False
        _fork.hold_at_fork(self)
    def before_fork(self):
        self.held = self.lock.acquire(timeout=_fork.time_to_wait())
    def after_fork_in_parent(self):
        if self.held:
            self.lock.release()
    def after_fork_in_child(self):
        self.lock = threading.RLock()
owners = [Owner() for _ in range(5)]
stopped = threading.Event()
def use():
    while not stopped.is_set():
        for owner in owners:
            with owner.lock:
                time.sleep(0)
def fork():
    for _ in range(30):
        pid = os.fork()
        if not pid:
            os._exit(0 if all(owner.lock.acquire(timeout=1) for owner in owners) else 1)
        assert os.waitpid(pid, 0)[1] == 0
user = threading.Thread(target=use); user.start()
forking = [threading.Thread(target=fork) for _ in range(3)]
for thread in forking: thread.start()
for thread in forking: thread.join()
stopped.set()
user.join(5)
print(user.is_alive(), all(owner.lock.acquire(timeout=1) for owner in owners))
sys.stdout.flush()
os._exit(0)
"""


def test_threads_that_fork_at_once_do_so_one_after_another():
    """Owners rest for one, and go on after it: no lock stays held by a thread that forked."""
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_a_child_lets_go_of_the_connections_at_once():
    """Not with the next record: the other side hears of the end when the parent ends them."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        link = TCPLink(address, False, 2.0, confirm=False)
        link.send(b"parent\n")
        syslog, _ = server.accept()
        client = HTTPClient(f"http://127.0.0.1:{address[1]}/")
        client._connect(time.monotonic() + 5)
        http, _ = server.accept()
        numbers = [link.socket.fileno(), client._connection.sock.fileno()]

        def has_let_go():
            for number in numbers:
                try:
                    os.fstat(number)
                except OSError:
                    continue
                return False
            return True

        assert in_child(has_let_go) == 0
        http.setblocking(False)
        syslog.setblocking(False)
        assert syslog.recv(100) == b"parent\n"
        for connection in (http, syslog):
            with pytest.raises(BlockingIOError):
                connection.recv(1)
        link.send(b"still here\n")
        syslog.settimeout(5)
        assert syslog.recv(100) == b"still here\n"
        link.close()
        client.close()
        http.settimeout(5)
        assert (syslog.recv(1), http.recv(1)) == (b"", b"")
        syslog.close()
        http.close()
