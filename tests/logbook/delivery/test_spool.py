"""The spool: what it acknowledged is there afterwards, whole and in order."""

import contextlib
import errno
import os
import pathlib
import random
import resource
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook.delivery import Spool, SpoolFullError

SOAK = bool(os.environ.get("SPROCKETS_SOAK"))
KILLS, MOST = (200, 10_500) if SOAK else (8, 1_000)


@pytest.fixture(name="spool")
def _spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


def drain(spool, limit=1000):
    found = []
    while items := spool.take(limit):
        found += items
        spool.done(len(items))
    return found


items = st.one_of(
    st.binary(),
    st.text(st.characters()),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
)


@given(batch=st.lists(items, max_size=20), limit=st.integers(1, 7))
def test_everything_comes_back_as_it_went_in(batch, limit, tmp_path_factory):
    """Bytes, text with half a surrogate pair, and what JSON has; in order, in any portions."""
    spool = Spool(tmp_path_factory.mktemp("spool"))
    for item in batch:
        spool.append(item)

    assert len(spool) == len(batch)
    assert drain(spool, limit) == batch
    assert len(spool) == 0
    spool.close()
    assert list(spool.folder.iterdir()) == []


def test_what_is_taken_stays_until_it_is_done(spool):
    """Taking again returns the same; only what is done is forgotten."""
    for number in range(5):
        spool.append([number])

    assert spool.take(3) == spool.take(3) == [[0], [1], [2]]
    spool.done(2)
    assert spool.take(2) == [[2], [3]]


def test_what_json_cannot_carry_is_refused(spool):
    """It would not come back as it was."""
    with pytest.raises(TypeError):
        spool.append(object())
    assert len(spool) == 0


def test_two_processes_do_not_touch_each_others_segments(tmp_path):
    """As long as both live, each sees its own; then the other's are adopted, in order."""
    one, other = Spool(tmp_path), Spool(tmp_path)
    for number in range(3):
        one.append([number])
    other.append(["other"])

    assert other.adopt() == 0
    one.close()
    assert other.adopt() == 3
    assert other.adopt() == 0, "they were adopted already"
    assert drain(other) == [[0], [1], [2], ["other"]]
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_half_delivered_segments_are_adopted_from_where_they_were_left(tmp_path):
    """The position is on disk, so that a restart does not deliver everything again."""
    spool = Spool(tmp_path)
    for number in range(10):
        spool.append([number])
    spool.take(4)
    spool.done(4)
    spool.close()

    heir = Spool(tmp_path)

    assert heir.adopt() == 6
    assert drain(heir) == [[number] for number in range(4, 10)]
    heir.close()


@pytest.mark.parametrize("damage", ["cut", "cut-header", "flipped", "garbage", "nothing"])
def test_what_a_crash_left_half_written_is_skipped_and_counted(damage, tmp_path):
    """The records around it are delivered; without damage all are."""
    spool = Spool(tmp_path)
    for number in range(3):
        spool.append(b"record %d" % number)
    spool.close()
    (path,) = tmp_path.glob("*.spool")
    data = path.read_bytes()
    size = len(data) // 3
    path.write_bytes(
        {
            "cut": data[:-3],
            "cut-header": data[: -size + 5],
            "flipped": data[: size + 15] + b"\0" + data[size + 16 :],
            "garbage": data[:size] + b"\xf5splgarbage" * 5 + data[size:],
            "nothing": data,
        }[damage]
    )

    heir = Spool(tmp_path)
    count = heir.adopt()
    found = drain(heir)
    torn = heir.statistics()["torn"]
    heir.close()

    whole = [b"record 0", b"record 1", b"record 2"]
    expected = {"cut": whole[:2], "cut-header": whole[:2], "flipped": [whole[0], whole[2]]}
    assert found == expected.get(damage, whole)
    assert count == len(found)
    assert (torn > 0) is (damage != "nothing")


@given(data=st.binary(max_size=200))
def test_no_garbage_makes_the_spool_fail(data, tmp_path_factory):
    """A folder that something else wrote into is read as far as it can be."""
    folder = tmp_path_factory.mktemp("spool")
    (folder / "0.lock").touch()
    (folder / "0-1.spool").write_bytes(b"\xf5spl" + data)
    (folder / "0-1.at").write_bytes(data[:8])
    spool = Spool(folder)

    spool.adopt()

    assert drain(spool) == []
    spool.close()


def test_a_full_spool_drops_the_oldest_and_says_how_many(tmp_path):
    """The bound holds, what is left is the newest, and none is lost uncounted."""
    spool = Spool(tmp_path, max_bytes=4096)
    dropped = sum(spool.append(b"x" * 100) for _ in range(200))

    assert sum(path.stat().st_size for path in tmp_path.glob("*.spool")) <= 4096
    assert dropped + len(spool) == 200
    assert len(drain(spool)) + dropped == 200
    spool.close()


def test_a_full_spool_may_refuse_the_newest_instead(tmp_path):
    """Then what is there stays."""
    spool = Spool(tmp_path, max_bytes=1024, policy="drop_newest")
    with pytest.raises(SpoolFullError):
        for number in range(100):
            spool.append([number])
    assert drain(spool)[0] == [0]
    spool.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_disk_that_is_full_leaves_no_half_record(tmp_path):
    """The write fails, and what was there before is whole."""
    script = (
        "import resource, signal, sys\n"
        "from sprockets.logbook.delivery import Spool\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "spool = Spool(sys.argv[1])\n"
        "kept = 0\n"
        "for _ in range(50):\n"
        "    try: spool.append(b'x' * 90); kept += 1\n"
        "    except OSError: pass\n"
        "print(kept, len(spool))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    kept, known = map(int, done.stdout.split())

    heir = Spool(tmp_path)
    assert heir.adopt() == kept == known
    assert heir.statistics()["torn"] == 0
    assert 0 < kept < 50
    heir.close()


def test_dead_letters_are_kept_with_the_reason(spool):
    """They are lines of JSON, so that a human can read them."""
    spool.bury(b"\xff\xfe", ValueError("no text"))
    spool.bury("text", TypeError("no bytes"))

    assert list(spool.dead_letters()) == [
        (b"\xff\xfe", "ValueError: no text"),
        ("text", "TypeError: no bytes"),
    ]
    (path,) = (spool.folder / "dead").iterdir()
    assert len(path.read_text().splitlines()) == 2


def test_dead_letters_are_bounded_as_well(tmp_path):
    """Those that are not kept are counted."""
    spool = Spool(tmp_path, max_bytes=1024)
    kept = sum(spool.bury(b"x" * 100, ValueError()) for _ in range(100))

    assert kept == len(list(spool.dead_letters()))
    assert kept + spool.statistics()["unburied"] == 100
    assert 0 < kept < 100
    spool.close()


APPENDING = """
import os, sys
from sprockets.logbook.delivery import Spool
spool = Spool(sys.argv[1])
number = 0
while True:
    spool.append(b"%d %s" % (number, b"x" * (number * 7 % 300)))
    os.write(1, b"%d\\n" % number)
    number += 1
"""


PUTTING = APPENDING.replace(
    "spool = Spool(sys.argv[1])",
    """
from sprockets.logbook.delivery import Delivery
def refuse(items): raise ConnectionRefusedError
sys.stderr = None
engine = Delivery(refuse, name="killed", capacity=0, policy="spill", spool=Spool(sys.argv[1]))
""",
).replace("spool.append", "assert engine.put")


def kill_after(count, script, *arguments):
    """Run *script*, kill it once it has said *count* lines, and return how many it said in all."""
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE
    )
    said = 0
    while said < count:
        more = os.read(child.stdout.fileno(), 65536)
        assert more, "it ended by itself"
        said += more.count(b"\n")
    child.kill()
    said += child.stdout.read().count(b"\n")
    child.wait()
    child.stdout.close()
    return said


@pytest.mark.rule("M18")
@pytest.mark.parametrize("script", [APPENDING, PUTTING], ids=["spool", "engine"])
def test_what_was_acknowledged_outlives_a_kill(script, tmp_path):
    """Killed at a random moment, again and again: nothing acknowledged is lost, nothing is twice."""
    acknowledged = 0
    for trial in range(KILLS):
        folder = tmp_path / str(trial)
        said = kill_after(random.randint(1, MOST), script, folder)

        heir = Spool(folder)
        heir.adopt()
        found = [int(item.split()[0]) for item in drain(heir)]
        assert found == list(range(len(found)))
        # The one that was under way may be there, too, or its beginning.
        assert said <= len(found) <= said + 1
        assert heir.statistics()["torn"] <= 1
        heir.close()
        assert list(folder.iterdir()) == []
        acknowledged += said
    assert acknowledged >= (1_000_000 if SOAK else KILLS)


def test_the_control_of_kills_loses_records(tmp_path):
    """A file that buffers loses what it said it had, so the test above can fail."""
    script = APPENDING.replace("Spool(sys.argv[1])", "open(sys.argv[1], 'wb')").replace(
        "spool.append", "spool.write"
    )
    path = pathlib.Path(tmp_path / "file")
    said = kill_after(10, script, path)

    assert len(path.read_bytes().split(b"x ")) < max(2, said)


HANDING_OVER = """
import logging, os, sys
from logging.handlers import MemoryHandler, QueueHandler, QueueListener
from queue import SimpleQueue
file = logging.FileHandler(sys.argv[1])
if sys.argv[2] == "MemoryHandler":
    handler = MemoryHandler(1000, 100, target=file)
else:
    queue = SimpleQueue()
    handler = QueueHandler(queue)
    QueueListener(queue, file).start()
number = 0
while True:
    handler.handle(logging.makeLogRecord({"msg": str(number), "levelno": 20}))
    os.write(1, b"%d\\n" % number)
    number += 1
"""


@pytest.mark.parametrize("kind", ["MemoryHandler", "QueueHandler"])
def test_the_control_of_kills_loses_what_others_keep_in_memory(kind, tmp_path):
    """What is handed to the standard library's handlers is gone with the process."""
    lost = 0
    for trial in range(20):
        path = tmp_path / f"{trial}"
        said = kill_after(random.randint(100, 900), HANDING_OVER, path, kind)
        lost += said - len(path.read_text().splitlines())
        if lost > 0:
            break

    assert lost > 0


# -- what is wrong with a disk, or with who writes to it


@contextlib.contextmanager
def descriptors_left(count):
    """Let this process open *count* more files only."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Without gaps, so that a limit counts; a number is that of the next file.
    highest = max(map(int, os.listdir("/proc/self/fd")))
    files = [os.open(os.devnull, os.O_RDONLY)]
    while files[-1] < highest:
        files.append(os.open(os.devnull, os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[-1] + 1 + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for file in files:
            os.close(file)


needs_proc = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="this system has no /proc"
)


@needs_proc
def test_who_is_out_of_descriptors_takes_nothing_for_garbage(tmp_path):
    """The dead one's files, and those that are known already, wait for a better moment."""
    dead = Spool(tmp_path)
    for number in range(5):
        dead.append([number])
    dead.close()
    heir = Spool(tmp_path)

    for left in (0, 1):
        with descriptors_left(left), pytest.raises(OSError) as caught:
            heir.adopt()
        assert caught.value.errno == errno.EMFILE
    assert heir.adopt() == 5
    with descriptors_left(0), pytest.raises(OSError) as caught:
        heir.take(5)
    assert caught.value.errno == errno.EMFILE
    assert drain(heir) == [[number] for number in range(5)]
    heir.close()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_just_now_is_not_removed(tmp_path):
    """A file that gives an error is not one without records."""
    dead = Spool(tmp_path)
    dead.append(b"x")
    dead.close()
    (path,) = tmp_path.glob("*.spool")
    path.rename(tmp_path / "aside")
    path.symlink_to(path)
    heir = Spool(tmp_path)

    with pytest.raises(OSError) as caught:
        heir.adopt()
    assert caught.value.errno == errno.ELOOP
    (tmp_path / "aside").rename(path)

    assert heir.adopt() == 1
    assert drain(heir) == [b"x"]
    heir.close()


def test_a_file_that_somebody_removed_is_counted_as_lost(tmp_path):
    """Its items are not waited for; the ones behind it come."""
    spool = Spool(tmp_path, max_bytes=4096)
    for number in range(30):
        spool.append(b"%d" % number)
    first = min(tmp_path.glob("*.spool"))
    gone = len([None for item in first.read_bytes().split(b"\xf5spl") if item])
    first.unlink()

    items = spool.take(100)
    lost = spool.done(len(items))

    assert lost == gone > 0
    assert items == [b"%d" % number for number in range(gone, 30)]
    assert len(spool) == 0
    spool.close()


def test_what_is_cut_off_in_vain_is_skipped(tmp_path):
    """The next record does not follow on what a full disk left of the last one."""
    script = (
        "import os, resource, signal, sys\n"
        "from sprockets.logbook.delivery import Spool\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))\n"
        "def refuse(*args): raise OSError(5, 'no')\n"
        "truncate, os.ftruncate = os.ftruncate, refuse\n"
        "spool = Spool(sys.argv[1])\n"
        "for number in range(9):\n"
        "    try: spool.append(b'%d' % number * 90)\n"
        "    except OSError: resource.setrlimit(resource.RLIMIT_FSIZE, (10000, resource.RLIM_INFINITY))\n"
        "found = spool.take(99)\n"
        "print(len(spool), len(found), spool.done(len(found)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["8", "8", "0"]


INTERRUPTED = """
import random, signal, sys
from sprockets.logbook.delivery import Spool
spool = Spool(sys.argv[1])
class Interrupt(Exception): pass
def interrupt(*args): raise Interrupt
signal.signal(signal.SIGALRM, interrupt)
kept = interrupts = 0
while interrupts < 100:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.random() * 0.0002 + 0.00001)
        for _ in range(1000):
            spool.append(b"x" * 50)
            kept += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupt:
        interrupts += 1
signal.setitimer(signal.ITIMER_REAL, 0)
count = len(spool)
found = 0
while items := spool.take(1000):
    found += len(items)
    assert not spool.done(len(items))
print(kept, count, found, interrupts, spool.statistics()["torn"])
"""


def test_an_interrupt_leaves_whole_records_only(tmp_path):
    """Ctrl-C in the middle of a write: what is in the file is what is counted."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    kept, count, found, interrupts, torn = map(int, done.stdout.split())

    assert interrupts == 100
    assert count == found >= kept
    assert torn == 0


def test_who_appends_does_not_wait_for_who_reads(tmp_path):
    """However long an item takes to be read, or a dead process's files."""
    reading, release = threading.Event(), threading.Event()

    def decode(data):
        reading.set()
        release.wait(10)
        return data

    spool = Spool(tmp_path, decode=decode)
    spool.append(b"1")
    taken = []
    reader = threading.Thread(target=lambda: taken.extend(spool.take(5)))
    reader.start()
    assert reading.wait(5)
    writer = threading.Thread(target=spool.append, args=(b"2",))
    writer.start()
    writer.join(5)
    waits = writer.is_alive()
    release.set()
    reader.join()
    writer.join()

    assert not waits
    assert taken == [b"b1"]
    spool.close()


def test_what_had_to_make_room_while_it_was_read_is_not_shown(tmp_path):
    """It is counted as pushed out already."""
    reading, release = threading.Event(), threading.Event()

    def decode(data):
        reading.set()
        release.wait(10)
        return data

    spool = Spool(tmp_path, max_bytes=1024, decode=decode)
    spool.append(b"first" + b"." * 200)
    taken = []
    reader = threading.Thread(target=lambda: taken.extend(spool.take(5)))
    reader.start()
    assert reading.wait(5)
    pushed_out = 0
    while not pushed_out:
        pushed_out = spool.append(b"x" * 200)
    release.set()
    reader.join()

    assert pushed_out == 1
    assert not any(item.startswith(b"bfirst") for item in taken)
    spool.close()


# -- bounds over the lives of many processes


def test_a_program_that_dies_again_and_again_fills_the_disk_once(tmp_path):
    """What is adopted counts; the oldest goes, and is counted."""
    accepted = dropped = 0
    for _ in range(10):
        spool = Spool(tmp_path, max_bytes=8192)
        spool.adopt()
        for _ in range(30):
            dropped += spool.append(b"x" * 100)
            accepted += 1
        spool.close()
        assert sum(path.stat().st_size for path in tmp_path.glob("*.spool")) <= 8192

    heir = Spool(tmp_path)
    assert heir.adopt() + dropped == accepted
    heir.close()


def test_one_dead_process_at_a_time_is_adopted_beyond_the_bound(tmp_path):
    """So that what many leave together is not pushed out by the one that finds it."""
    for _ in range(3):
        dead = Spool(tmp_path)
        for _ in range(20):
            dead.append(b"x" * 100)
        dead.close()
    heir = Spool(tmp_path, max_bytes=3000)

    counts = []
    for _ in range(3):
        counts.append(heir.adopt())
        drain(heir)

    assert counts == [20, 20, 20]
    heir.close()


def test_dead_letters_of_all_processes_are_bounded_together(tmp_path):
    """A program that is started anew does not begin to count anew."""
    kept = 0
    for _ in range(5):
        spool = Spool(tmp_path, max_bytes=2048)
        kept += sum(spool.bury(b"x" * 100, ValueError()) for _ in range(10))
        spool.close()

    assert 0 < kept < 20
    assert len(list(Spool(tmp_path).dead_letters())) == kept


def test_what_was_wrong_is_known_after_the_end(tmp_path):
    """Closing forgets no count."""
    spool = Spool(tmp_path, max_bytes=1024)
    while spool.bury(b"x" * 100, ValueError()):
        pass
    spool.close()

    assert spool.statistics()["unburied"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_starts_empty_and_leaves_the_parent_its_lock(spool):
    """The child neither reads nor adopts what is its parent's."""
    spool.append(b"parents")
    pid = os.fork()
    if not pid:
        os._exit(10 * len(spool) + spool.adopt() + len(spool.take(9)))

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert spool.take(9) == [b"parents"]
    other = Spool(spool.folder)
    assert other.adopt() == 0, "the child's end did not unlock it"
    other.close()


@pytest.mark.parametrize("options", [{"max_bytes": 1}, {"policy": "drop"}])
def test_options_that_make_no_sense_are_refused(options, tmp_path):
    """At once, and not when the first outage comes."""
    with pytest.raises(ValueError, match="must be"):
        Spool(tmp_path, **options)
