"""What must not go wrong: signals, finalisers, forks, threads, kills, the end of the interpreter.

Each with a control, something simpler that does go wrong there, so that the trial is one.
"""

import collections
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).parent
SOAK = bool(os.environ.get("SPROCKETS_SOAK"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")


def run(script, *args, timeout=120):
    """Return what *script* printed."""
    done = subprocess.run(
        [sys.executable, "-P", str(HERE / script), *map(str, args)],
        capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def read(path):
    """Return the messages at *path*, and how many lines are none."""
    messages, torn = [], 0
    for line in path.read_bytes().splitlines():
        try:
            messages.append(json.loads(line))
        except ValueError:
            torn += 1
    return messages, torn


def repeated(messages):
    """Return how many messages have task and level of another one."""
    places = collections.Counter((m["task_uuid"], tuple(m["task_level"])) for m in messages)
    return sum(count - 1 for count in places.values())


# -- signal handlers and finalisers


@pytest.mark.rule("M50")
@pytest.mark.parametrize("kind", ["text", "binary", "text pipe", "binary pipe", "raw pipe"])
def test_signal_handlers_and_finalisers_may_log(kind, tmp_path):
    """Every 0.3 ms, into the middle of anything: nothing lost, nothing torn, no level twice."""
    path = tmp_path / "log"
    out, err = run("signals_while_logging.py", "ours", kind, path, 60 if SOAK else 0.6)
    messages, torn = read(path)
    logged = [message for message in messages if "number" in message]

    assert torn == 0
    assert sorted(message["number"] for message in logged) == list(range(int(out)))
    assert {message["message_type"] for message in logged} == {"main", "signal", "del"}
    assert len(messages) == int(out) + 2
    assert repeated(messages) == 0
    assert err == ""


@pytest.mark.rule("M50")
def test_a_naive_writer_loses_what_signal_handlers_log(tmp_path):
    """The control: a signal comes in the middle of a write, which cannot be begun again."""
    path = tmp_path / "log"
    out, _ = run("signals_while_logging.py", "naive", "text pipe", path, 60 if SOAK else 1.5)
    messages, torn = read(path)

    found = {message["number"] for message in messages if "number" in message}
    assert len(found) < int(out) or torn


# -- fork


@pytest.mark.rule("M48")
def test_forks_inside_of_an_action(tmp_path):
    """Four processes with eight threads each go on with it: no level twice, also none of the ends."""
    path = tmp_path / "log"
    run("fork_in_action.py", "ours", path)
    messages, torn = read(path)

    assert torn == 0
    assert repeated(messages) == 0
    types = collections.Counter(m.get("message_type", m.get("action_type")) for m in messages)
    assert types["parent message"] == 80
    # Two children of the first process, and one of the first child.
    assert types["child message"] == 3 * 80
    assert types["both message"] == 4 * 10
    assert types["in inner"] == types["alone"] == 4
    # In each child, both actions go on as branches, which begin and end.
    assert types["outer"] == types["inner"] == 2
    assert types["eliot:remote_task"] == 2 * 2 * 3
    tasks = {m["task_uuid"] for m in messages if m.get("message_type") != "alone"}
    assert len(tasks) == 1
    levels = {tuple(m["task_level"]) for m in messages if m["task_uuid"] in tasks}
    starts = {tuple(m["task_level"][:-1]) for m in messages if m.get("action_status") == "started"}
    assert {level[:-1] for level in levels} == starts


@pytest.mark.rule("M48")
def test_without_knowing_of_forks_levels_repeat(tmp_path):
    """The control."""
    path = tmp_path / "log"
    run("fork_in_action.py", "naive", path)

    assert repeated(read(path)[0]) > 50


NESTED_FORKS = """
import os, sys
from sprockets.eliot import log_message, start_action, to_file
to_file(open(sys.argv[1], "ab"))
finished = start_action(action_type="finished")
finished.finish()
with start_action(action_type="a") as a:
    for depth in range(5):
        pid = os.fork()
        log_message("m")
        finished.log("late")
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
            break
"""


@pytest.mark.rule("M48")
def test_forks_of_forks(tmp_path):
    """Branches of branches; what is logged after the end of an action has a place too."""
    subprocess.run([sys.executable, "-c", NESTED_FORKS, tmp_path / "log"], check=True)
    messages, torn = read(tmp_path / "log")

    assert torn == 0
    assert repeated(messages) == 0
    types = collections.Counter(m.get("message_type") for m in messages)
    assert types["m"] == types["late"] == 10
    levels = [m["task_level"] for m in messages if m.get("message_type") == "m"]
    # Each process had its number set aside: none had to be drawn.
    assert max(number for level in levels for number in level) < 10
    assert max(map(len, levels)) == 6


CONCURRENT_FORKS = """
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from sprockets.eliot import log_message, start_action, to_file
to_file(open(sys.argv[1], "ab"))
sys.setswitchinterval(1e-6)
def work(action):
    with action.context():
        for _ in range(25):
            pid = os.fork()
            if not pid:
                log_message("child")
                os._exit(0)
            os.waitpid(pid, 0)
with start_action(action_type="a") as action:
    threads = [threading.Thread(target=work, args=(action,)) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


@pytest.mark.rule("M48")
def test_threads_that_fork_at_the_same_time(tmp_path):
    """Each child gets the number that its own thread set aside."""
    subprocess.run(
        [sys.executable, "-c", CONCURRENT_FORKS, tmp_path / "log"], check=True, timeout=60
    )
    messages, torn = read(tmp_path / "log")

    assert torn == 0
    assert repeated(messages) == 0
    levels = [m["task_level"] for m in messages if m.get("message_type") == "child"]
    assert len(levels) == 100
    assert {number for number, _ in levels} == set(range(2, 102))


UUIDS = """
import os, sys
from sprockets.eliot import log_message, to_file
to_file(open(sys.argv[1], "ab"))
log_message("before")
for _ in range(4):
    if not os.fork():
        for _ in range(200):
            log_message("child")
        os._exit(0)
for _ in range(200):
    log_message("parent")
for _ in range(4):
    assert os.wait()[1] == 0
"""


@pytest.mark.rule("M48", "E2.1")
def test_processes_make_ids_of_their_own(tmp_path):
    """None that was made in stock is used twice."""
    subprocess.run([sys.executable, "-c", UUIDS, tmp_path / "log"], check=True)
    messages, _ = read(tmp_path / "log")

    assert len({message["task_uuid"] for message in messages}) == len(messages) == 1_001


@pytest.mark.parametrize("writer", ["file", "in turn"])
def test_forks_while_threads_log(writer, tmp_path):
    """No child hangs, no line is lost or torn."""
    path, forks = tmp_path / "log", 300 if SOAK else 60
    out, _ = run("fork_while_logging.py", writer, path, forks)
    messages, torn = read(path)

    assert out == "0\n"
    assert torn == 0
    assert sorted(m["number"] for m in messages if "number" in m) == list(range(forks))


def test_a_naive_writer_hangs_in_the_child(tmp_path):
    """The control: its lock was held by a thread that the child does not have."""
    out, _ = run("fork_while_logging.py", "naive", tmp_path / "log", 2_000)

    assert int(out) > 0


# -- the end


COUNTING = """
import sys
from sprockets.eliot import log_message, to_file
to_file(open(sys.argv[1], sys.argv[2]))
number = 0
while True:
    log_message("m", number=number, text="x" * 200)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    number += 1
"""


@pytest.mark.rule("M50")
@pytest.mark.parametrize("mode", ["w", "wb"])
def test_what_was_logged_survives_a_kill(mode, tmp_path):
    """Each line whose call had returned is in the file, once and whole."""
    for trial in range(100 if SOAK else 4):
        path = tmp_path / f"log{trial}"
        process = subprocess.Popen(
            [sys.executable, "-c", COUNTING, path, mode], stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
        time.sleep(random.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        acknowledged = 1 + sum(line.endswith("\n") for line in process.stdout)
        process.wait()
        process.stdout.close()
        messages, torn = read(path)

        numbers = [message["number"] for message in messages]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= acknowledged
        assert torn <= 1


AT_EXIT = """
import atexit, sys, threading
from sprockets.eliot import log_message, start_action, to_file
to_file(open(sys.argv[1], sys.argv[2]))
class Talking:
    def __init__(self, name): self.name = name
    def __del__(self): log_message(self.name)
at_module = Talking("module global")
cycle = Talking("cycle"); cycle.cycle = cycle; del cycle
atexit.register(log_message, "atexit")
def work():
    while True:
        log_message("daemon")
threading.Thread(target=work, daemon=True).start()
threading.Thread(target=lambda: log_message("thread")).start()
start_action(action_type="never ended")
with start_action(action_type="a"):
    sys.exit(3)
"""


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_the_end_of_the_interpreter(mode, tmp_path):
    """Those who log then are heard, or at least nothing breaks; the exit status is the program's."""
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, path, mode], capture_output=True, text=True, timeout=30
    )
    messages, torn = read(path)

    assert (done.returncode, done.stderr) == (3, "")
    assert torn == 0
    types = {message.get("message_type") for message in messages}
    assert {"atexit", "thread", "cycle", "daemon"} <= types
    assert [m["exception"] for m in messages if m.get("action_status") == "failed"] == [
        "builtins.SystemExit"
    ]


IMPORTED = """
import sys
import sprockets.eliot
print(*sorted(sys.modules))
"""


@pytest.mark.rule("E0.1")
def test_importing_the_package_imports_nothing_big():
    """Nothing of what not everybody has; no event loop either."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.split())

    assert imported.isdisjoint(
        {"twisted", "tornado", "numpy", "pandas", "polars", "pydantic", "asyncio", "eliot", "orjson",
         "zmq", "sprockets.http", "sprockets.eliot._types", "sprockets.eliot._memory_logger"}
    )  # fmt: skip


@pytest.mark.rule("E0.1")
@pytest.mark.parametrize("name", ["twisted", "logwriter"])
def test_what_needs_twisted_says_so(name):
    """By an ImportError."""
    script = (
        f"import sys; sys.modules['twisted'] = None\n"
        f"try:\n    import sprockets.eliot.{name}\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert "wisted" in done.stdout


@pytest.mark.rule("E0.2", "E0.3")
def test_what_is_installed_is_in_nobodys_way():
    """No module and no script of the other library's names; the types are there."""
    from importlib.metadata import distribution

    import sprockets.eliot

    ours = distribution("sprockets.http")
    scripts = {point.name for point in ours.entry_points if point.group == "console_scripts"}
    folder = pathlib.Path(sprockets.eliot.__file__).parent

    assert scripts.isdisjoint({"eliot-prettyprint", "eliot-tree"})
    assert not [name for name in map(str, ours.files or ()) if re.match(r"eliot[/.]", name)]
    assert (folder / "py.typed").exists()
    assert not (folder.parent / "__init__.py").exists()
