"""Fork, signals, finalisers and the end of the program: no deadlock, no loss, nothing twice."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from sprockets.logbook.delivery import Spool

SOAK = bool(os.environ.get("SPROCKETS_SOAK"))
FORKS = 300 if SOAK else 50
SECONDS = 5.0 if SOAK else 0.7
RECORDS = 1000 if SOAK else 300

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def run(script, *arguments, timeout=60):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip


# -- exit

ENDING = """
import os, sys, threading, time
from sprockets.logbook.delivery import Delivery, Spool
path, count, pause, timeout, folder = sys.argv[1:6]
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def deliver(items):
    for item in items:
        time.sleep(float(pause))
        os.write(file, item)
engine = Delivery(deliver, name="slow", batch_size=10, drain_timeout=float(timeout),
                  spool=Spool(folder) if folder else None)
def work():
    for number in range(int(count)):
        engine.put(b"%d\\n" % number)
"""
ENDINGS = {
    "the end of main": "work()",
    "sys.exit in a thread": (
        "def end():\n    work(); sys.exit(1)\n"
        "thread = threading.Thread(target=end); thread.start(); thread.join()"
    ),
    "a thread that goes on": (
        "def late():\n    time.sleep(0.1); work()\nthreading.Thread(target=late).start()"
    ),
    "an exception": "work(); 1/0",
    "an exit function": "import atexit; atexit.register(work)",
    "multiprocessing": (
        "import multiprocessing\n"
        "child = multiprocessing.get_context('fork').Process(target=work)\n"
        "child.start(); child.join()"
    ),
}


@pytest.mark.rule("M2")
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_queued_when_the_program_ends_is_delivered(ending, tmp_path):
    """By a destination that takes its time, after the last line of the program."""
    if ending == "multiprocessing" and not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    path = tmp_path / "delivered"
    done = run(ENDING + ENDINGS[ending], path, RECORDS, 0.001, 5, "")

    assert path.read_text().split() == [str(number) for number in range(RECORDS)], done.stderr
    assert "not delivered" not in done.stderr


@pytest.mark.parametrize("with_spool", [False, True])
def test_what_cannot_be_delivered_in_time_is_spooled_or_reported_with_the_number(
    with_spool, tmp_path
):
    """A destination that is far too slow: delivered and spooled is everything, in order."""
    path, folder = tmp_path / "delivered", tmp_path / "spool"
    begun = time.monotonic()
    done = run(ENDING + "work()", path, RECORDS, 0.01, 0.3, folder if with_spool else "")
    taken = time.monotonic() - begun

    assert taken < 3.0
    delivered = path.read_text().split()
    assert 0 < len(delivered) < RECORDS
    (report,) = [line for line in done.stderr.splitlines() if "not delivered" in line]
    if not with_spool:
        assert f"{RECORDS - len(delivered) // 10 * 10} are lost" in report
        return
    heir = Spool(folder)
    count = heir.adopt()
    assert f"{count} items for 'slow' were not delivered" in report
    assert "0 are lost" in report
    found = [int(item) for item in heir.take(RECORDS)]
    heir.close()
    # The batch under way may be both.
    assert len(delivered) <= RECORDS - count + 10
    assert found == list(range(RECORDS - count, RECORDS))


def test_the_control_of_exits_loses_what_was_queued(tmp_path):
    """Without the hooks it is lost, so the test above can fail."""
    path = tmp_path / "delivered"
    run(ENDING + "work(); os._exit(0)", path, RECORDS, 0.001, 5, "")

    assert len(path.read_text().split() if path.exists() else []) < RECORDS


@needs_fork
@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_that_is_told_to_end_delivers_first(workers, tmp_path):
    """SIGTERM under ``sprockets.http.run``: nothing that was put is lost, in any worker."""
    path = tmp_path / "delivered"
    script = ENDING + textwrap.dedent("""
        import tornado.web
        import sprockets.http
        def on_start(app, loop):
            work()
            os.write(1, b"ready\\n")
        def make_app(**settings):
            app = tornado.web.Application([], **settings)
            app.runner_callbacks = {"on_start": [on_start]}
            return app
        sprockets.http.run(make_app, settings={"number_of_procs": int(sys.argv[6]), "port": 0}, log_config=None)
    """)
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(RECORDS), "0.001", "5", "",
         str(workers)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    lines = [child.stdout.readline() for _ in range(workers)]
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=30)

    assert lines == [b"ready\n"] * workers, errors.decode()
    found = sorted(map(int, path.read_text().split()))
    assert found == sorted([*range(RECORDS)] * workers), errors.decode()


# -- fork

FORKING = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
kind, path, forks = sys.argv[1], sys.argv[2], int(sys.argv[3])
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def deliver(items):
    os.write(file, b"".join(items))
if kind == "control":
    import queue
    class Plain:
        def __init__(self):
            self.queue = queue.Queue()
            threading.Thread(target=self.work, daemon=True).start()
        def work(self):
            while True:
                deliver([self.queue.get()]); self.queue.task_done()
        def put(self, item):
            self.queue.put(item)
        def close(self, timeout=None):
            self.queue.join()
    engine = Plain()
else:
    from sprockets.logbook.delivery import Delivery, Spool
    engine = Delivery(
        deliver, name="forks", policy="spill" if kind == "spool" else "drop_oldest",
        spool=Spool(path + ".spool") if kind == "spool" else None,
        capacity=10 if kind == "spool" else 1_000_000, max_bytes=1 << 40,
    )
stopped = threading.Event()
counts = [0, 0]
def work(who):
    while not stopped.is_set():
        engine.put(b"thread %d %d\\n" % (who, counts[who]))
        counts[who] += 1
        time.sleep(0.0001)
threads = [threading.Thread(target=work, args=(who,)) for who in range(2)]
for thread in threads: thread.start()
hung = 0
for number in range(forks):
    pid = os.fork()
    if not pid:
        engine.put(b"child %d\\n" % number)
        engine.close(3.0)
        os._exit(0)
    deadline = time.monotonic() + (0.5 if kind == "control" else 3.0)
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0); hung += 1
            break
        time.sleep(0.0005)
    if hung and kind == "control":
        break
stopped.set()
for thread in threads: thread.join()
if kind == "spool":
    deadline = time.monotonic() + 10
    while engine.statistics()["spooled"] and time.monotonic() < deadline: time.sleep(0.01)
engine.close(10.0)
print(hung, *counts)
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.rule("M1", "M4")
@needs_fork
@pytest.mark.parametrize("kind", ["memory", "spool"])
def test_a_fork_hangs_nobody_loses_nothing_and_delivers_nothing_twice(kind, tmp_path):
    """Two threads put without pause; each child delivers its own item, in a thread of its own."""
    path = tmp_path / "delivered"
    done = run(FORKING, kind, path, FORKS if kind == "memory" else FORKS // 2)

    assert done.returncode == 0, done.stderr
    hung, *counts = map(int, done.stdout.split())
    lines = path.read_text().splitlines()
    forks = FORKS if kind == "memory" else FORKS // 2
    expected = [f"child {number}" for number in range(forks)]
    for who, count in enumerate(counts):
        expected += [f"thread {who} {number}" for number in range(count)]
    assert hung == 0
    assert sorted(lines) == sorted(expected)


@needs_fork
def test_the_control_of_forks_hangs_or_loses(tmp_path):
    """A thread that does not exist in the child delivers nothing, so the test above can fail."""
    done = run(FORKING, "control", tmp_path / "delivered", 3)

    assert int(done.stdout.split()[0]) >= 1


# -- signals

INTERRUPTED = """
import gc, os, re, signal, sys, threading, time
kind, path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def deliver(items):
    os.write(file, b"".join(b"%s\\n" % item for item in items))
if kind == "control":
    class Plain:
        # Takes its lock as a queue does that may not be entered again.
        def __init__(self): self.lock = threading.Lock()
        def put(self, item):
            with self.lock: deliver([item])
        def close(self, timeout): return True
    engine = Plain()
else:
    from sprockets.logbook.delivery import Delivery, Spool
    engine = Delivery(
        deliver, name="signals", capacity=0 if kind == "spool" else 10_000_000, max_bytes=1 << 40,
        policy="spill" if kind == "spool" else "drop_oldest",
        spool=Spool(path + ".spool") if kind == "spool" else None,
    )
counts = {"main": 0, "signal": 0, "del": 0}
def say(who):
    number = counts[who] = counts[who] + 1  # no signal can come in between
    assert engine.put(b"<%s %d>" % (who.encode(), number)) is not False
class Talking:
    def __init__(self): self.cycle = self
    def __del__(self): say("del")
signal.signal(signal.SIGALRM, lambda number, frame: say("signal"))
signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
signal.setitimer(signal.ITIMER_VIRTUAL, seconds * 4 + 10)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
end = time.monotonic() + seconds
if kind == "control":
    threading.Timer(seconds + 2, os._exit, (9,)).start()
while time.monotonic() < end:
    say("main")
    Talking()
signal.setitimer(signal.ITIMER_REAL, 0)
gc.collect()
gc.disable()
if kind == "spool":
    deadline = time.monotonic() + 20
    while engine.statistics()["spooled"] and time.monotonic() < deadline: time.sleep(0.01)
assert engine.close(20.0)
lines = open(path).read().splitlines()
for who in counts:
    found = {line for line in lines if line.startswith(f"<{who} ")}
    assert len(found) == counts[who] > 0, (who, len(found), counts)
assert len(lines) == sum(counts.values()), (len(lines), counts)
os._exit(0)
"""


@pytest.mark.rule("M6")
@needs_fork
@pytest.mark.parametrize("kind", ["memory", "spool"])
def test_signal_handlers_and_finalisers_may_put_at_any_moment(kind, tmp_path):
    """Every item of all three is delivered once, and nothing waits for itself."""
    seconds = SECONDS if kind == "memory" else SECONDS / 2
    done = run(INTERRUPTED, kind, tmp_path / "delivered", seconds)

    assert done.returncode == 0, done.stderr


@needs_fork
def test_the_control_of_signals_waits_for_itself(tmp_path):
    """A lock that is not taken again by its holder hangs or recurses; the test above can fail."""
    done = run(INTERRUPTED, "control", tmp_path / "delivered", SECONDS / 2)

    assert done.returncode != 0


# -- kill

KILLED = """
import os, sys
from sprockets.logbook.delivery import Delivery, Spool
def deliver(items):
    raise ConnectionRefusedError
sys.stderr = None
engine = Delivery(deliver, name="killed", capacity=0, policy="spill", spool=Spool(sys.argv[1]))
number = 0
while True:
    if engine.put(b"%d\\n" % number):
        os.write(1, b"%d\\n" % number)
    number += 1
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill")
def test_what_put_acknowledged_on_disk_is_delivered_after_a_kill(tmp_path):
    """By the next process, each item once, in order."""
    child = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE)
    said = b""
    while said.count(b"\n") < 2000:
        said += os.read(child.stdout.fileno(), 65536)
    child.kill()
    said += child.stdout.read()
    child.stdout.close()
    child.wait()
    acknowledged = said.count(b"\n")

    delivered = tmp_path.parent / "delivered"
    done = run(
        ENDING + "while engine.statistics()['spooled'] or not engine.statistics()['adopted']:"
        " time.sleep(0.01)",
        delivered, 0, 0, 5, tmp_path,
    )  # fmt: skip

    found = [int(number) for number in delivered.read_text().split()]
    assert found == list(range(len(found))), done.stderr
    assert acknowledged <= len(found) <= acknowledged + 1
    assert not list(pathlib.Path(tmp_path).glob("*.spool"))
