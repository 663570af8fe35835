"""The service that writes in a thread; each test in a process of its own, with a real reactor."""

import json
import os
import subprocess
import sys
import textwrap
import time

import pytest

SOAK = bool(os.environ.get("SPROCKETS_SOAK"))
FORKS = 300 if SOAK else 30
SECONDS = 5.0 if SOAK else 0.7

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PREAMBLE = """
import json, os, sys, threading, time
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, inlineCallbacks
from sprockets.eliot import FileDestination, add_destinations, log_message, statistics
from sprockets.eliot.logwriter import ThreadedWriter

MAIN = threading.get_ident()
found, threads = [], set()

def note(message):
    threads.add(threading.get_ident())
    found.append(message.get("number", message["message_type"]))

def say(**facts):
    print(json.dumps(facts), flush=True)
"""


def run(script, *arguments, timeout=60, **options):
    """Run *script* after the preamble; return the finished process."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(script),
         *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=timeout, **options,
    )  # fmt: skip


def facts(done):
    """Return what *done* said, if it ended well and wrote nothing else."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


# -- start and stop


@pytest.mark.rule("E17.1", "E17.2", "E17.3", "E17.4", "E17.5", "E17.13")
def test_messages_are_written_in_another_thread_in_order():
    """Those from before the start too; the Deferred fires in the reactor's thread, with None."""
    done = run("""
        log_message("early", number=-1)
        writer = ThreadedWriter(note, reactor)
        before = statistics()["destinations"]

        @task.react
        @inlineCallbacks
        def main(reactor):
            writer.startService()
            started, during = writer.running, statistics()["destinations"]
            for number in range(100):
                log_message("m", number=number)
            stopping = writer.stopService()
            was_called, stopped = stopping.called, writer.running
            after = statistics()["destinations"]
            result = yield stopping
            say(found=found, own=MAIN in threads, count=len(threads), running=[started, stopped],
                destinations=[before, during, after], was_called=was_called, result=result,
                main=threading.get_ident() == MAIN, statistics=writer.statistics())
    """)

    found = facts(done)
    assert found["found"] == list(range(-1, 100))
    assert (found["own"], found["count"]) == (False, 1)
    assert found["running"] == [1, 0]
    assert found["destinations"] == [0, 1, 0]
    assert found["was_called"] is False
    assert (found["result"], found["main"]) == (None, True)
    assert found["statistics"] == {"queued": 0, "written": 101, "failed": 0, "dropped": 0}


@pytest.mark.rule("E17.1", "E17.4", "E17.5", "E17.9")
def test_logging_and_stopping_do_not_wait_for_a_slow_destination():
    """Five messages of 50 ms: the calls take no time, the Deferred a quarter of a second."""
    done = run("""
        def slow(message):
            time.sleep(0.05)
            note(message)

        @task.react
        @inlineCallbacks
        def main(reactor):
            from twisted.python import threadable
            writer = ThreadedWriter(slow, reactor)
            writer.startService()
            begun = time.monotonic()
            for number in range(5):
                log_message("m", number=number)
            stopping = writer.stopService()
            called = time.monotonic() - begun
            ticks = task.LoopingCall(threads.add, "tick")
            ticks.start(0.01)
            yield stopping
            ticks.stop()
            say(found=found, called=called, took=time.monotonic() - begun,
                ticked="tick" in threads, io=threadable.isInIOThread())
    """)

    found = facts(done)
    assert found["found"] == list(range(5))
    assert found["called"] < 0.2
    assert found["took"] >= 0.25
    assert found["ticked"]
    assert found["io"]


@pytest.mark.rule("E17.5")
def test_when_it_has_stopped_its_thread_is_gone():
    """What it wrote to can be closed; the thread itself ends."""
    done = run("""
        @task.react
        @inlineCallbacks
        def main(reactor):
            # The pool's own thread is there from here on.
            from twisted.internet.threads import deferToThread
            yield deferToThread(note, {"message_type": "warm"})
            count = lambda: len(os.listdir("/proc/self/task"))
            before = count()
            writer = ThreadedWriter(note, reactor)
            writer.startService()
            log_message("m")
            while len(found) < 2: time.sleep(0.001)
            during = count()
            yield writer.stopService()
            deadline = time.monotonic() + 10
            while count() > before and time.monotonic() < deadline: time.sleep(0.001)
            say(during=during - before, after=count() - before)
    """)
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("this system does not list threads")

    assert facts(done) == {"during": 1, "after": 0}


@pytest.mark.rule("E17.6")
def test_what_is_logged_after_the_stop_is_not_written():
    """Not even while what was queued is still being written."""
    done = run("""
        go_on = threading.Event()

        def held(message):
            go_on.wait(20)
            note(message)

        @task.react
        @inlineCallbacks
        def main(reactor):
            writer = ThreadedWriter(held, reactor)
            writer.startService()
            log_message("m", number=1)
            stopping = writer.stopService()
            log_message("m", number=2)
            go_on.set()
            yield stopping
            log_message("m", number=3)
            writer({"message_type": "m", "number": 4})
            say(found=found, statistics=writer.statistics(),
                without=statistics()["dropped_without_destination"])
    """)

    found = facts(done)
    assert found["found"] == [1]
    assert found["without"] == 2
    assert found["statistics"] == {"queued": 0, "written": 1, "failed": 0, "dropped": 1}


@pytest.mark.rule("E17.7")
def test_a_destination_that_raises_loses_that_message_alone():
    """It is counted, and reported on standard error; the following are written."""
    done = run("""
        class Stop(BaseException): pass
        def failing(message):
            if message["number"] % 3 == 1: raise OSError(28, "disk full")
            if message["number"] % 3 == 2: raise Stop("base")
            note(message)

        @task.react
        @inlineCallbacks
        def main(reactor):
            writer = ThreadedWriter(failing, reactor)
            writer.startService()
            for number in range(30):
                log_message("m", number=number)
            yield writer.stopService()
            say(found=found, statistics=writer.statistics(), failures=statistics()["failures"])
    """)

    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["found"] == list(range(0, 30, 3))
    assert found["statistics"] == {"queued": 0, "written": 10, "failed": 20, "dropped": 0}
    assert found["failures"] == 0
    assert "'Eliot Log Writer' fails" in done.stderr
    assert "disk full" in done.stderr


@pytest.mark.rule("E17.8")
def test_it_is_a_service_that_a_parent_starts_and_stops():
    """By its name it is found; with the parent's Deferred everything is written."""
    done = run("""
        from twisted.application.service import IService, MultiService
        from zope.interface.verify import verifyObject

        @task.react
        @inlineCallbacks
        def main(reactor):
            parent, other = MultiService(), ThreadedWriter(lambda message: None, reactor)
            writer = ThreadedWriter(note, reactor)
            writer.setServiceParent(parent)
            other.setName("other"); other.setServiceParent(parent)
            before = writer.running
            parent.startService()
            log_message("m", number=1)
            during = writer.running
            named = parent.getServiceNamed("Eliot Log Writer") is writer
            yield parent.stopService()
            say(found=found, running=[before, during, writer.running], named=named,
                name=ThreadedWriter.name, verified=verifyObject(IService, writer))
    """)

    assert facts(done) == {
        "found": [1],
        "running": [0, 1, 0],
        "named": True,
        "name": "Eliot Log Writer",
        "verified": True,
    }


@pytest.mark.rule("E17.10", "E17.11", "E17.12")
def test_starting_and_stopping_may_be_repeated():
    """Each message once; stopping what does not run has happened already."""
    done = run("""
        @task.react
        @inlineCallbacks
        def main(reactor):
            writer = ThreadedWriter(note, reactor)
            idle = [writer.stopService().called]
            for number in range(3):
                writer.startService()
                writer.startService()
                log_message("m", number=number)
                yield writer.stopService()
                idle.append(writer.stopService().called)
            say(found=found, idle=idle, destinations=statistics()["destinations"],
                statistics=writer.statistics(), result=writer.stopService().result)
    """)

    found = facts(done)
    assert found["found"] == [0, 1, 2]
    assert found["idle"] == [True] * 4
    assert found["destinations"] == 0
    assert found["statistics"]["written"] == 3
    assert found["result"] is None


@pytest.mark.rule("E17.10")
def test_started_again_at_once_it_keeps_the_order():
    """What the first run has still to write comes first, and nothing is written twice at a time."""
    done = run("""
        inside = threading.Lock()
        def slow(message):
            assert inside.acquire(blocking=False)
            time.sleep(0.005)
            note(message)
            inside.release()

        @task.react
        @inlineCallbacks
        def main(reactor):
            writer = ThreadedWriter(slow, reactor)
            stopping = []
            for start in range(4):
                writer.startService()
                for number in range(10):
                    log_message("m", number=start * 10 + number)
                stopping.append(writer.stopService())
            for each in stopping:
                yield each
            say(found=found, statistics=writer.statistics())
    """)

    found = facts(done)
    assert found["found"] == list(range(40))
    assert found["statistics"] == {"queued": 0, "written": 40, "failed": 0, "dropped": 0}


@pytest.mark.rule("E17.15")
def test_the_message_is_handed_over_as_it_is():
    """A value that is changed before it is written is written as it is then."""
    done = run("""
        go_on = threading.Event()
        def held(message):
            go_on.wait(20)
            found.append(message["values"])

        @task.react
        def main(reactor):
            writer = ThreadedWriter(held, reactor)
            writer.startService()
            values = [1]
            log_message("m", values=values)
            values.append(2)
            go_on.set()
            return writer.stopService().addCallback(lambda _: say(found=found))
    """)

    assert facts(done) == {"found": [[1, 2]]}


def test_what_the_destination_logs_does_not_come_back_to_it():
    """It would never end; it is counted."""
    done = run("""
        others = []
        def talking(message):
            note(message)
            log_message("echo")

        @task.react
        @inlineCallbacks
        def main(reactor):
            writer = ThreadedWriter(talking, reactor)
            writer.startService()
            add_destinations(others.append)
            log_message("m", number=1)
            log_message("m", number=2)
            # Stopped first, it would not be a destination any more.
            while len(found) < 2: time.sleep(0.001)
            yield writer.stopService()
            say(found=found, others=[each["message_type"] for each in others],
                statistics=writer.statistics())
    """)

    found = facts(done)
    assert found["found"] == [1, 2]
    assert sorted(found["others"]) == ["echo", "echo", "m", "m"]
    assert found["statistics"]["written"] == 2
    assert found["statistics"]["dropped"] == 2


def test_a_bounded_writer_drops_and_counts_what_it_has_no_room_for():
    """The newest ones."""
    done = run("""
        go_on, inside = threading.Event(), threading.Event()
        def held(message):
            inside.set(); go_on.wait(20)
            note(message)

        @task.react
        @inlineCallbacks
        def main(reactor):
            writer = ThreadedWriter(held, reactor, capacity=3)
            writer.startService()
            log_message("m", number=0)
            inside.wait(20)
            for number in range(1, 10):
                log_message("m", number=number)
            waiting = writer.statistics()
            go_on.set()
            yield writer.stopService()
            say(found=found, waiting=waiting, statistics=writer.statistics())
    """)

    found = facts(done)
    assert found["found"] == [0, 1, 2, 3]
    assert found["waiting"]["queued"] == 4
    assert found["statistics"] == {"queued": 0, "written": 4, "failed": 0, "dropped": 6}


def test_a_capacity_that_makes_no_sense_is_refused():
    """None is no limit; 0 is none at all."""
    done = run("""
        try: ThreadedWriter(note, reactor, capacity=0)
        except ValueError as error: say(error=str(error))
    """)

    assert "None for no limit, got 0" in facts(done)["error"]


# -- files


@pytest.mark.rule("E17.16")
def test_the_documented_example_writes_its_line(tmp_path):
    """A writer around a file, started by hand, under task.react."""
    path = tmp_path / "linux.log"
    done = run(
        """
        def main(reactor):
            writer = ThreadedWriter(FileDestination(file=open(sys.argv[1], "ab", 0)), reactor)
            writer.startService()
            log_message(message_type="test", value="hello", another=1)
            return writer.stopService().addCallback(lambda _: writer._destination.file.close())

        task.react(main, [])
        """,
        path,
    )

    assert done.returncode == 0, done.stderr
    (line,) = path.read_text().splitlines()
    message = json.loads(line)
    assert (message["message_type"], message["value"], message["another"]) == ("test", "hello", 1)
    assert message["task_level"] == [1]


@pytest.mark.rule("E14.7")
@pytest.mark.parametrize("threaded", [False, True])
def test_a_log_file_of_twisteds_rotates_between_lines(tmp_path, threaded):
    """At 500 bytes: every line of every file is complete, and none is missing."""
    done = run(
        """
        from twisted.python.logfile import LogFile
        file = LogFile("actions.log", sys.argv[1], rotateLength=500)
        destination = FileDestination(file=file)

        @task.react
        @inlineCallbacks
        def main(reactor):
            if sys.argv[2] == "True":
                writer = ThreadedWriter(destination, reactor)
                writer.startService()
            else:
                add_destinations(destination)
            for number in range(50):
                log_message("m", number=number, text="é" * (number % 7))
            if sys.argv[2] == "True":
                yield writer.stopService()
            file.close()
            say(failures=statistics()["failures"])
        """,
        tmp_path,
        threaded,
    )

    assert facts(done) == {"failures": 0}
    files = sorted(tmp_path.iterdir(), key=lambda path: -int(path.suffix[1:].replace("log", "0")))
    assert len(files) > 5
    numbers = [
        json.loads(line)["number"]
        for path in files
        for line in path.read_text("utf-8").splitlines()
    ]
    assert numbers == list(range(50))
    assert all(path.read_bytes().endswith(b"\n") for path in files)


@pytest.mark.rule("E14.7")
def test_a_daily_log_file_of_twisteds_rotates_between_lines(tmp_path):
    """By the date that it is told."""
    done = run(
        """
        from twisted.python.logfile import DailyLogFile
        today = [time.time()]
        class File(DailyLogFile):
            def toDate(self, *args):
                return super().toDate(*(args or today))
        file = File("actions.log", sys.argv[1])
        add_destinations(FileDestination(file=file))
        for number in range(30):
            today[0] += 86_400 / 10
            log_message("m", number=number)
        file.close()
        say(failures=statistics()["failures"])
        """,
        tmp_path,
    )

    assert facts(done) == {"failures": 0}
    files = list(tmp_path.iterdir())
    assert len(files) >= 3
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert sorted(json.loads(line)["number"] for line in lines) == list(range(30))


# -- the end of the program, signals, fork

ENDING = """
path, count, pause, timeout = sys.argv[1:5]
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def slow(message):
    time.sleep(float(pause))
    os.write(file, b"%d\\n" % message["number"])
writer = ThreadedWriter(slow, reactor, drain_timeout=float(timeout))
writer.startService()
def work():
    for number in range(int(count)):
        log_message("m", number=number)
"""
ENDINGS = {
    "the end of main": "work()",
    "an exception": "work(); 1/0",
    "sys.exit": "work(); sys.exit(0)",
    "the end of the reactor": (
        "reactor.callWhenRunning(work); reactor.callWhenRunning(reactor.stop); reactor.run()"
    ),
    "react without a stop": (
        "from twisted.internet.defer import succeed\n"
        "def main(reactor):\n    work()\n    return succeed(None)\n"
        "task.react(main)"
    ),
    "a thread that goes on": (
        "def late():\n    time.sleep(0.1); work()\nthreading.Thread(target=late).start()"
    ),
}


@pytest.mark.rule("E17.14")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_that_ends_without_a_stop_writes_what_is_queued(ending, tmp_path):
    """And then it ends."""
    path = tmp_path / "written"
    done = run(ENDING + ENDINGS[ending], path, 100, 0.002, 20)

    assert path.read_text().split() == [str(number) for number in range(100)], done.stderr
    assert "not delivered" not in done.stderr


@pytest.mark.rule("E17.14")
def test_the_control_of_endings_loses_what_was_queued(tmp_path):
    """Without the hooks it is lost: the test above can fail."""
    path = tmp_path / "written"
    run(ENDING + "work(); os._exit(0)", path, 100, 0.002, 20)

    assert len(path.read_text().split() if path.exists() else []) < 100


@pytest.mark.rule("E17.14")
def test_a_program_ends_although_the_destination_is_stuck(tmp_path):
    """After *drain_timeout* seconds, and says how many messages were lost."""
    begun = time.monotonic()
    done = run(ENDING + "work()", tmp_path / "written", 5, 3600, 0.3)
    took = time.monotonic() - begun

    assert took < 20
    assert "5 items for 'Eliot Log Writer' were not delivered" in done.stderr
    assert "5 are lost" in done.stderr


def test_stopping_a_writer_that_is_stuck_gives_up_in_the_end():
    """The reactor can stop; what was lost is counted and reported."""
    done = run("""
        go_on = threading.Event()
        def stuck(message):
            if message["number"] == 3: go_on.wait(30)
            note(message)

        @task.react
        @inlineCallbacks
        def main(reactor):
            writer = ThreadedWriter(stuck, reactor, drain_timeout=0.2)
            writer.startService()
            for number in range(10):
                log_message("m", number=number)
            yield writer.stopService()
            say(found=found, statistics=writer.statistics())
            go_on.set()
    """)

    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["found"] == [0, 1, 2]
    assert found["statistics"] == {"queued": 0, "written": 3, "failed": 0, "dropped": 7}
    assert "7 items for 'Eliot Log Writer' were not delivered" in done.stderr


@pytest.mark.rule("E17.5")
def test_stopping_a_writer_that_is_only_slow_waits_for_longer_than_that():
    """For as long as messages are being written."""
    done = run("""
        def slow(message):
            time.sleep(0.03)
            note(message)

        @task.react
        @inlineCallbacks
        def main(reactor):
            writer = ThreadedWriter(slow, reactor, drain_timeout=0.2)
            writer.startService()
            for number in range(25):
                log_message("m", number=number)
            yield writer.stopService()
            say(count=len(found))
    """)

    assert facts(done) == {"count": 25}


@needs_fork
def test_a_forked_child_writes_its_own_messages(tmp_path):
    """Two threads log without pause; no child hangs, nothing is written twice, nothing is lost."""
    path = tmp_path / "written"
    done = run(
        """
        import signal, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        writer = ThreadedWriter(
            lambda message: os.write(file, message["text"].encode() + b"\\n"), reactor)
        writer.startService()
        stopped, counts = threading.Event(), [0, 0]
        def work(who):
            while not stopped.is_set():
                log_message("m", text=f"thread {who} {counts[who]}")
                counts[who] += 1
                time.sleep(0.0005)
        workers = [threading.Thread(target=work, args=(who,)) for who in range(2)]
        for worker in workers: worker.start()
        hung = 0
        for number in range(int(sys.argv[2])):
            pid = os.fork()
            if not pid:
                log_message("m", text=f"child {number}")
                writer._deliveries[-1].flush(3.0)
                os._exit(0)
            deadline = time.monotonic() + 5.0
            while not os.waitpid(pid, os.WNOHANG)[0]:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0); hung += 1
                    break
                time.sleep(0.0005)
        stopped.set()
        for worker in workers: worker.join()
        say(hung=hung, counts=counts)
        """,
        path,
        FORKS,
    )

    found = facts(done)
    expected = [f"child {number}" for number in range(FORKS)]
    for who, count in enumerate(found["counts"]):
        expected += [f"thread {who} {number}" for number in range(count)]
    assert found["hung"] == 0
    assert sorted(path.read_text().splitlines()) == sorted(expected)


@needs_fork
def test_signal_handlers_may_log_at_any_moment(tmp_path):
    """Every message of the program and of the handler is written once; nothing waits for itself."""
    done = run(
        """
        import signal
        counts = {"main": 0, "signal": 0}
        file = open(sys.argv[1], "ab", 0)
        writer = ThreadedWriter(
            lambda message: file.write(b"%s %d\\n" % (message["who"].encode(), message["number"])),
            reactor)
        writer.startService()
        def say_who(who):
            number = counts[who] = counts[who] + 1
            log_message("m", who=who, number=number)
        signal.signal(signal.SIGALRM, lambda number, frame: say_who("signal"))
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        seconds = float(sys.argv[2])
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds * 4 + 10)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            say_who("main")
        signal.setitimer(signal.ITIMER_REAL, 0)
        writer._deliveries[-1].flush(20.0)
        file.close()
        say(counts=counts, statistics=writer.statistics())
        """,
        tmp_path / "written",
        SECONDS,
    )

    found = facts(done)
    lines = (tmp_path / "written").read_text().splitlines()
    expected = {
        f"{who} {number}"
        for who, count in found["counts"].items()
        for number in range(1, count + 1)
    }
    assert found["counts"]["signal"] > 10
    assert len(lines) == len(expected)
    assert set(lines) == expected
    assert found["statistics"]["dropped"] == 0


# -- under a service of Twisted's

APPLICATION = """
import sys
from twisted.application.service import Application, Service
from twisted.internet import reactor
from sprockets.eliot import FileDestination, log_message, start_action
from sprockets.eliot.logwriter import ThreadedWriter

class Work(Service):
    def startService(self):
        super().startService()
        reactor.callLater(0, self.work)

    def work(self):
        reactor.stop()
        with start_action(action_type="work"):
            for number in range(50):
                log_message("m", number=number)

application = Application("worker")
ThreadedWriter(FileDestination(file=open("actions.log", "ab")), reactor).setServiceParent(application)
Work().setServiceParent(application)
"""


@pytest.mark.rule("E17.2", "E17.8")
def test_twistd_runs_it(tmp_path):
    """Added to an application, it is started and stopped with it, and all is written."""
    (tmp_path / "worker.tac").write_text(APPLICATION)

    done = subprocess.run(
        [sys.executable, "-c", "from twisted.scripts.twistd import run; run()",
         "--nodaemon", "--pidfile=", "--python=worker.tac"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "actions.log").read_text().splitlines()]
    assert [line["task_level"] for line in lines] == [[number] for number in range(1, 53)]
    assert lines[-1]["action_status"] == "succeeded"
