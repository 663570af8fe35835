"""Files on disks that are full, broken or read-only, and processes that are killed."""

import contextlib
import importlib.util
import itertools
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from sprockets.logbook import FileHandler, Flags, Logger
from sprockets.logbook.handlers._rotating import RotatingFileHandler

HERE = pathlib.Path(__file__).parent
SOAK = bool(os.environ.get("SPROCKETS_SOAK"))
log = Logger("faults")
PLAIN = "{record.message}"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")


def write(kind, path, count, length, *options, before=()):
    """Have another process log; return the numbers it acknowledged, and its standard error."""
    done = subprocess.run(
        [
            *before, sys.executable, "-P", str(HERE / "write_until_told.py"), kind, str(path),
            str(count), str(length), *options,
        ],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "LOGBOOK_INSTALL_DEFAULT_HANDLER": "0", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [int(number) for number in done.stdout.split()], done.stderr


def whole_numbers_in(*paths, length):
    """Return the numbers of those lines in the files that are whole, and whether all are."""
    lines = [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]
    ending = b"x" * length + b"\n"
    found = [int(line.split()[0]) for line in lines if line.partition(b" ")[2] == ending]
    return found, len(found) == len(lines)


def numbers_in(*paths, length):
    """Return the numbers of the lines in the files, each of which is whole."""
    found = []
    for path in paths:
        data = path.read_bytes()
        assert data.endswith(b"\n") or not data
        for line in data.decode().splitlines():
            number, filling = line.split(" ")
            assert filling == "x" * length, "a torn line"
            found.append(int(number))
    return found


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path):
    """A file system of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if not done or done.returncode:
        pytest.skip("needs root to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("kind", ["file", "rotating"])
def test_a_disk_that_fills_up_tears_no_line_and_loses_none_acknowledged(kind, small_disk):
    """The first record after there is space again is written; the failure is told once."""
    acknowledged, errors = write(kind, small_disk / "log", 3000, 700)
    found = numbers_in(*small_disk.iterdir(), length=700)

    assert sorted(found) == acknowledged
    # Each small file takes a page of its own.
    assert len(found) > (200 if kind == "rotating" else 1000)
    assert errors.count("No space left on device\n") <= 2


@pytest.mark.parametrize("handler_class", [FileHandler, RotatingFileHandler])
def test_the_first_record_after_there_is_space_again_is_written(handler_class, small_disk):
    """Without anybody doing anything about the handler."""
    path = small_disk / "log"
    ballast = small_disk / "ballast"
    handler = handler_class(path, format_string=PLAIN)
    with handler.applicationbound(), Flags(errors="silent"):
        for _ in range(20):
            log.info("a" * 300)
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        for _ in range(40):
            log.info("b" * 300)
        ballast.unlink()
        log.info("c")
    handler.close()

    lines = path.read_text().splitlines()
    assert {(line[0], len(line)) for line in lines} == {("a", 300), ("b", 300), ("c", 1)}
    assert lines[-1] == "c"


@pytest.mark.parametrize("kind", ["naive", "naive-buffered"])
def test_the_control_of_a_full_disk_tears_and_loses(kind, small_disk):
    """What writes without taking back tears a line, so the tests above can fail."""
    acknowledged, _ = write(kind, small_disk / "log", 3000, 700)
    found, are_whole = whole_numbers_in(small_disk / "log", length=700)

    assert not are_whole
    if kind == "naive-buffered":
        assert set(acknowledged) - set(found)


@pytest.mark.parametrize("limit", [10_000, 10_001, 65_536])
def test_a_limit_of_the_size_of_files_tears_no_line(limit, tmp_path):
    """Quotas and limits are like full disks."""
    acknowledged, errors = write("file", tmp_path / "log", 400, 200, f"limit={limit}")

    assert numbers_in(tmp_path / "log", length=200) == acknowledged
    assert limit - 210 < (tmp_path / "log").stat().st_size <= limit
    assert errors.count("OSError: [Errno 27]") == 1


def test_the_control_of_a_limit_tears_a_line(tmp_path):
    """It leaves what did fit of the last one."""
    write("naive", tmp_path / "log", 400, 200, "limit=10001")
    _, are_whole = whole_numbers_in(tmp_path / "log", length=200)

    assert not are_whole


needs_strace = pytest.mark.skipif(
    sys.platform != "linux"
    or not shutil.which("strace")
    or subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode != 0,
    reason="needs strace, and to be allowed to trace",
)


@needs_strace
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EDQUOT", "EINTR"])
def test_errors_of_the_system_lose_nothing_acknowledged(error, tmp_path):
    """From the fifth write on, every third fails; those that do not are whole."""
    path = tmp_path / "log"
    path.touch()
    acknowledged, errors = write(
        "file", path, 60, 20,
        before=["strace", "-qq", "-o", os.devnull, "-P", str(path),
                "-e", f"inject=write:error={error}:when=5+3"],
    )  # fmt: skip

    assert numbers_in(path, length=20) == acknowledged
    if error == "EINTR":
        # Python tries again.
        assert len(acknowledged) == 60
    else:
        assert 35 < len(acknowledged) < 45
        assert errors.count("Traceback") == 1


@needs_strace
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_the_control_of_errors_loses_what_it_acknowledged(error, tmp_path):
    """A buffer is emptied later, when nobody hears that it could not be."""
    path = tmp_path / "log"
    path.touch()
    acknowledged, _ = write(
        "naive-buffered", path, 60, 20,
        before=["strace", "-qq", "-o", os.devnull, "-P", str(path),
                "-e", f"inject=write:error={error}"],
    )  # fmt: skip
    found, _ = whole_numbers_in(path, length=20)

    assert set(acknowledged) - set(found)


def test_a_long_record_that_is_written_in_pieces_is_whole(tmp_path, monkeypatch):
    """No line of another thread comes in between."""
    path = tmp_path / "log"
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:100_000]))
    handler = FileHandler(path)
    handler.formatter = lambda record, handler: record.message * 1_000_000
    with handler.applicationbound():
        threads = [
            threading.Thread(target=lambda letter=letter: [log.info(letter) for _ in range(3)])
            for letter in "ab"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    handler.close()

    lines = path.read_text().splitlines()
    assert sorted(lines) == ["a" * 1_000_000] * 3 + ["b" * 1_000_000] * 3


def write_where_it_is_refused(kind):
    """Log 300 lines in a folder that refuses the second hundred; return what became of them."""
    folder = pathlib.Path("/tmp") / f"sprockets-refused-{os.getpid()}-{kind}"
    folder.mkdir()
    try:
        shutil.chown(folder, 65534)
        folder.chmod(0o755)
        acknowledged, errors = write(
            kind, folder / "log", 300, 20,
            "user=65534", f"repair=100:555:{folder}", f"repair=200:755:{folder}",
        )  # fmt: skip
        return acknowledged, errors, numbers_in(*folder.iterdir(), length=20)
    finally:
        shutil.rmtree(folder)


needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root"
)


@needs_root
@pytest.mark.parametrize("kind", ["rotating", "timed"])
def test_a_folder_that_may_not_be_written_for_a_while_loses_nothing(kind):
    """The roll-over is refused for a hundred records and tried again: 300 of 300."""
    acknowledged, errors, found = write_where_it_is_refused(kind)

    assert sorted(found) == list(range(300))
    assert len(acknowledged) < 300
    assert errors.count("Permission denied") == 1


@needs_root
def test_the_control_of_a_refused_folder_loses_lines():
    """What closes the file before it may rename it has none to go on in."""
    _, _, found = write_where_it_is_refused("naive-rotating")

    assert len(found) < 300


@pytest.mark.parametrize("kind", ["file", "rotating", "timed-by-day"])
def test_a_process_killed_at_any_moment_loses_nothing_acknowledged(kind, tmp_path):
    """At most the last line is torn, and the next process begins one of its own."""
    chance = random.Random(7)
    for trial in range(200 if SOAK else 8):
        folder = tmp_path / str(trial)
        folder.mkdir()
        acknowledged = kill_one(kind, folder, chance.uniform(0.001, 0.05))
        found, torn = found_after_kill(folder)
        assert set(range(acknowledged)) <= set(found), trial
        assert len(found) == len(set(found))
        assert torn <= 1
        shutil.rmtree(folder)


def test_the_control_of_a_killed_process_loses_its_buffer(tmp_path):
    """What is not given to the system before the call returns is lost."""
    acknowledged = kill_one("naive-buffered", tmp_path, 0.01)
    found, _ = found_after_kill(tmp_path)

    assert set(range(acknowledged)) - set(found)


def found_after_kill(folder):
    """Return the numbers of whole lines in the order of the files, and how many lines are torn."""
    names = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    torn = 0
    found = []
    for path in names:
        for line in path.read_bytes().splitlines(keepends=True):
            number, _, filling = line.decode().partition(" ")
            if filling == "x" * 60 + "\n":
                found.append(int(number))
            else:
                torn += 1
    return found, torn


def kill_one(kind, folder, seconds):
    """Have a child log without end and kill it; return how many calls had returned."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            write_for_ever(kind, folder, writing)
        finally:
            os._exit(1)
    os.close(writing)
    count = len(os.read(reading, 1))
    timer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
    timer.start()
    while found := os.read(reading, 1 << 16):
        count += len(found)
    timer.join()
    os.waitpid(pid, 0)
    os.close(reading)
    return count


def write_for_ever(kind, folder, writing):
    spec = importlib.util.spec_from_file_location("writing", HERE / "write_until_told.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.make_handler(kind, folder / "log").applicationbound():
        for number in itertools.count():
            log.info("{} {}", number, "x" * 60)
            os.write(writing, b".")
