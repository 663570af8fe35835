"""Fork, signals, finalisers and the end of the interpreter: no deadlock, no loss."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
# The figures of a long run: SPROCKETS_SOAK=1.
SOAK = bool(os.environ.get("SPROCKETS_SOAK"))
FORKS = 300 if SOAK else 60
SECONDS = 5.0 if SOAK else 0.6
KINDS = ["file", "stream", "stderr", "fingers-crossed", "redirected"]


def run(script, *arguments, timeout=120):
    return subprocess.run(
        [sys.executable, "-P", str(HERE / script), *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=timeout,
        env={**os.environ, "LOGBOOK_INSTALL_DEFAULT_HANDLER": "0"},
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_while_threads_log_hangs_nobody_and_loses_nothing(kind, tmp_path):
    """Each child logs; none finds a lock held, or half a line in a buffer."""
    forks = FORKS if kind in ("file", "stream") or SOAK else 25
    done = run("fork_while_logging.py", kind, tmp_path / "log", forks)

    assert (done.stdout.split(), done.returncode) == (["0", str(forks)], 0), done.stderr[-2000:]


@pytest.mark.skipif(not SOAK, reason="the control takes luck and time; SPROCKETS_SOAK=1 runs it")
def test_the_control_of_forks_hangs(tmp_path):
    """A handler that buffers with a lock of its own does hang, so the test above can fail."""
    done = run("fork_while_logging.py", "stdlib", tmp_path / "log", 300, timeout=300)

    assert int(done.stdout.split()[0]) >= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_lock_that_is_held_at_fork_is_free_in_the_child(tmp_path):
    """Also when its holder does not let go in time: the fork waits a moment, not for ever."""
    script = (
        "import os, sys, threading, time, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from sprockets.logbook import FileHandler, Logger\n"
        "handler = FileHandler(sys.argv[1], format_string='{record.message}')\n"
        "handler.push_application()\n"
        "held, leave = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    handler.lock.acquire(); held.set(); leave.wait(); handler.lock.release()\n"
        "thread = threading.Thread(target=hold); thread.start(); held.wait()\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    Logger('x').info('child'); os._exit(0)\n"
        "deadline = time.monotonic() + 5\n"
        "while not (ended := os.waitpid(pid, os.WNOHANG)[0]) and time.monotonic() < deadline:\n"
        "    time.sleep(0.01)\n"
        "leave.set(); thread.join(); Logger('x').info('parent'); print(bool(ended))\n"
    )
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == "True\n"
    assert path.read_text() == "child\nparent\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no setitimer")
@pytest.mark.parametrize("kind", KINDS)
def test_signal_handlers_and_finalisers_may_log_at_any_moment(kind, tmp_path):
    """Every record of all three is in the file, whole."""
    done = run("signals_while_logging.py", kind, tmp_path / "log", SECONDS)

    assert done.returncode == 0, done.stderr[-2000:]
    *counts, broken = map(int, done.stdout.split())
    assert counts[:3] == counts[3:], "logged and found differ"
    assert broken == 0
    assert min(counts) > 0


def test_the_control_of_signals_loses_records(tmp_path):
    """A buffered stream refuses re-entrance, so the test above can fail."""
    done = run("signals_while_logging.py", "stdlib", tmp_path / "log", 3.0)

    *counts, broken = map(int, done.stdout.split() or [0, 0, 0, 1, 1, 1, 1])
    assert counts[:3] != counts[3:] or broken


@pytest.mark.parametrize("ending", ["pass", "sys.exit(0)", "raise SystemExit(0)", "1/0"])
def test_logging_goes_on_until_the_interpreter_is_gone(ending, tmp_path):
    """From exit functions, finalisers and daemon threads; nothing is said on standard error."""
    script = f"""
import atexit, sys, threading
from sprockets.logbook import FileHandler, Logger, Fields
log = Logger("x")
handler = FileHandler(sys.argv[1], format_string="{{record.message}}")
handler.push_application()
class Talking:
    def __del__(self, log=log): log.info("finaliser")
def chatter():
    while True: log.debug("chatter")
talking = sys.talking = Talking()
atexit.register(log.info, "exit function")
threading.Thread(target=chatter, daemon=True).start()
log.info("main")
{ending}
"""
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    lines = [line for line in path.read_text().splitlines() if line != "chatter"]
    assert lines[:2] == ["main", "exit function"]
    assert set(lines) <= {"main", "exit function", "finaliser"}
    if ending == "1/0":
        assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
        assert "logbook" not in done.stderr
    else:
        assert (done.stderr, done.returncode) == ("", 0)
