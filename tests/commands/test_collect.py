"""``sprockets collect``, as the process that it is."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from sprockets.commands import _watching, collect
from sprockets.logbook import INFO, LogRecord
from sprockets.logbook.delivery import Retry, Spool
from sprockets.logbook.queues._zeromq import ZeroMQHandler
from sprockets.logbook.queues._zeromq_reliable import ReliableZeroMQHandler

SETUP = """
[setups.production]
handlers = ["all"]

[handlers.all]
class = "file"
filename = "{path}"
format_string = "{{record.message}}"
"""


def wait_until(condition, what="that"):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to {what} in time"
        threading.Event().wait(0.01)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Collecting:
    """The command, run in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.log = folder / "all.log"
        self.setup = folder / "logging.toml"
        self.setup.write_text(SETUP.format(path=self.log))
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.process = None

    def start(self, *arguments, setup="logging.toml:production", sources=None, **environ):
        sources = sources or [f"zmq+reliable://127.0.0.1:{self.port}"]
        command = [sys.executable, "-P", "-m", "sprockets.commands", "collect", *sources]
        command += arguments
        if setup is not None:
            command += ["--setup", setup]
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1", **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_and_wait(self, *arguments, **environ):
        count = self.text().count("collecting from ")
        self.start(*arguments, **environ)
        wait_until(
            lambda: (
                self.text().count("collecting from ") > count or self.process.poll() is not None
            ),
            "the start",
        )
        assert self.process.poll() is None, self.process.communicate(timeout=30)

    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    def lines(self):
        return self.text().splitlines()

    def end(self, signum=signal.SIGTERM):
        """Return the exit status, and what was written to standard output and standard error."""
        self.process.send_signal(signum)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def sender(self, **options):
        options.setdefault("retry", Retry(initial=0.02, maximum=0.1))
        return ReliableZeroMQHandler(self.address, **options)


@pytest.fixture(name="collecting")
def _collecting(tmp_path):
    collecting = Collecting(tmp_path)
    yield collecting
    if collecting.process is not None:
        collecting.process.kill()
        collecting.process.communicate(timeout=30)


def emit(handler, *messages):
    for message in messages:
        record = LogRecord("shop", INFO, str(message))
        record.heavy_init()
        handler.emit(record)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_writes_what_others_log_and_stops_cleanly(collecting, signum):
    """All of it, from several at once, and with status 0."""
    collecting.start_and_wait()
    senders = [collecting.sender() for _ in range(3)]
    for number, sender in enumerate(senders):
        emit(sender, *(f"{number}-{index}" for index in range(300)))
    assert all(sender.close(20) for sender in senders)

    status, out, err = collecting.end(signum)

    assert (status, out, err) == (0, "", "")
    lines = collecting.lines()
    for number in range(3):
        mine = [line for line in lines if line.startswith(f"{number}-")]
        assert mine == [f"{number}-{index}" for index in range(300)]
    assert f"{signal.Signals(signum).name}: stopping" in lines
    assert lines[-1] == "collected: dispatched 900, received 900"


def test_without_a_set_up_it_writes_lines_of_json(collecting):
    """On standard output, for whatever collects that."""
    collecting.start(setup=None)
    sender = collecting.sender()
    emit(sender, "hello")
    assert sender.close(20)

    status, out, _ = collecting.end()

    assert status == 0
    documents = [json.loads(line) for line in out.splitlines()]
    assert [each["message"] for each in documents if each["channel"] == "shop"] == ["hello"]


def test_a_hang_up_reads_the_set_up_again_and_loses_nothing(collecting, tmp_path):
    """What is logged meanwhile is in the old file or in the new one."""
    collecting.start_and_wait()
    sender = collecting.sender()
    other = tmp_path / "other.log"
    emit(sender, *range(100))
    collecting.setup.write_text(SETUP.format(path=other))
    collecting.process.send_signal(signal.SIGHUP)
    number = 100
    while not other.exists():
        emit(sender, number)
        number += 1
        assert number < 100_000
        threading.Event().wait(0.001)
    emit(sender, "the last")
    assert sender.close(20)

    assert collecting.end()[0] == 0

    written = collecting.lines() + other.read_text().splitlines()
    assert [line for line in written if line.isdigit()] == [str(each) for each in range(number)]
    assert "the last" in other.read_text()
    assert "read the set-up again" in other.read_text()


def test_a_broken_set_up_leaves_the_old_one(collecting):
    """The log says what is wrong, with the place in the file."""
    collecting.start_and_wait()
    collecting.setup.write_text(SETUP.format(path="x").replace("filename", "fielname"))

    collecting.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "keeping the old set-up: " in collecting.text())
    sender = collecting.sender()
    emit(sender, "still here")
    assert sender.close(20)

    assert collecting.end()[0] == 0
    assert "still here" in collecting.lines()
    assert "fielname" in collecting.text()


def test_a_user_signal_opens_files_again_and_logs_the_statistics(collecting, tmp_path):
    """As logrotate wants it."""
    collecting.start_and_wait()
    sender = collecting.sender()
    emit(sender, "before")
    assert sender.flush(20)
    collecting.log.rename(tmp_path / "all.log.1")

    def has_told():
        # A record may be acknowledged before it is counted: asked again, it is.
        collecting.process.send_signal(signal.SIGUSR1)
        return "collected so far: dispatched 1, received 1" in collecting.lines()

    wait_until(has_told)
    emit(sender, "after")
    assert sender.close(20)

    assert collecting.end()[0] == 0
    assert "before" in (tmp_path / "all.log.1").read_text().splitlines()
    assert "after" in collecting.lines()
    assert "before" not in collecting.lines()


@pytest.mark.rule("M22")
def test_a_collector_that_is_killed_loses_nothing(collecting, tmp_path):
    """What it had not acknowledged comes again to the next one; with PUSH it would be lost."""
    collecting.start_and_wait()
    sender = collecting.sender(capacity=1000, spool=Spool(tmp_path / "spool"))
    stop = threading.Event()
    sent = []

    def send():
        while not stop.is_set():
            emit(sender, len(sent))
            sent.append(len(sent))
            if len(sent) % 100 == 0:
                stop.wait(0.005)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        for _ in range(2):
            count = len(collecting.lines())
            wait_until(lambda count=count: len(collecting.lines()) > count + 500, "500 records")
            collecting.process.kill()
            collecting.process.communicate(timeout=30)
            collecting.start_and_wait()
    finally:
        stop.set()
        thread.join(30)
    wait_until(lambda: sender.statistics()["delivered"] == len(sent), "the end of the spool")
    sender.close()

    assert collecting.end()[0] == 0
    numbers = [int(line) for line in collecting.lines() if line.isdigit()]
    assert sender.statistics()["dropped"] == {}
    assert set(numbers) == set(range(len(sent)))


def test_a_plain_push_socket_loses_what_a_killed_collector_had_received(collecting):
    """The control of the test above: this is what acknowledgements are for."""
    collecting.start_and_wait(sources=[f"zmq+pull://127.0.0.1:{collecting.port}"])
    sender = ZeroMQHandler(collecting.address, multi=True)
    emit(sender, "first")
    wait_until(lambda: "first" in collecting.lines())
    collecting.process.send_signal(signal.SIGSTOP)
    # What stops late may still read some; all others are its kernel's, and its own.
    numbers = itertools.count()

    def are_on_their_way():
        emit(sender, *itertools.islice(numbers, 200))
        return queued_bytes(collecting.port) > 0

    wait_until(are_on_their_way, "records on their way")
    collecting.process.kill()
    collecting.process.communicate(timeout=30)
    collecting.start_and_wait(sources=[f"zmq+pull://127.0.0.1:{collecting.port}"])
    emit(sender, "last")
    wait_until(lambda: "last" in collecting.lines())
    sender.close()

    assert collecting.end()[0] == 0
    assert len([line for line in collecting.lines() if line.isdigit()]) < next(numbers)


def queued_bytes(port):
    """Return what the kernel holds for the receiver at *port* and was not read."""
    total = 0
    with open("/proc/net/tcp", encoding="ascii") as file:
        for line in file.readlines()[1:]:
            fields = line.split()
            if int(fields[1].partition(":")[2], 16) == port and fields[3] == "01":
                total += int(fields[4].partition(":")[2], 16)
    return total


# -- what hangs

HANGING = """
import os, pathlib, threading
from sprockets.logbook import FileHandler

class Hanging(FileHandler):
    def emit(self, record):
        if record.message == "stuck":
            here = pathlib.Path(os.environ["HANGS"])
            hangs = len(list(here.glob("hang-*")))
            if hangs < int(os.environ["MOST_HANGS"]):
                (here / f"hang-{hangs}").touch()
                with self.lock:
                    threading.Event().wait()
        super().emit(record)
"""


@pytest.fixture(name="hanging")
def _hanging(collecting, tmp_path):
    """The command, with a handler that blocks for ever in its first ``MOST_HANGS`` processes."""
    (tmp_path / "hanging.py").write_text(HANGING)
    text = collecting.setup.read_text()
    collecting.setup.write_text(text.replace('"file"', '"hanging.Hanging"'))

    def start(*arguments, most, **environ):
        environ |= {"HANGS": str(tmp_path), "MOST_HANGS": str(most), "PYTHONPATH": str(tmp_path)}
        collecting.start_and_wait(*arguments, **environ)
        return collecting

    return start


def test_a_handler_that_blocks_for_ever_costs_the_process_and_no_record(hanging, tmp_path):
    """Its stacks are on standard error; the next one, with the same number, writes all of it."""
    collecting = hanging("--heartbeat-timeout", "2", most=2)
    sender = collecting.sender()
    emit(sender, *range(100), "stuck", *range(100, 200))
    wait_until(lambda: "199" in collecting.lines())
    assert sender.close(20)

    status, _, err = collecting.end()

    assert status == 0
    assert len(list(tmp_path.glob("hang-*"))) == 2
    numbers = [int(line) for line in collecting.lines() if line.isdigit()]
    assert sorted(set(numbers)) == list(range(200))
    assert "stuck" in collecting.lines()
    assert sender.statistics()["delivered"] == 201
    hangs = re.findall(
        r"^sprockets collect: blocked for \S+ s, starting anew in (\S+) s", err, re.MULTILINE
    )
    assert hangs[0] == "0.0"
    assert float(hangs[1]) > 0.0
    assert len(hangs) == 2
    assert 'hanging.py", line' in err
    assert "in emit" in err


def test_one_that_hangs_and_is_to_end_ends(hanging):
    """A signal that it cannot heed any more is no reason to begin anew."""
    collecting = hanging("--heartbeat-timeout", "2", most=1)
    sender = collecting.sender()
    emit(sender, "stuck")
    wait_until(lambda: (collecting.folder / "hang-0").exists())

    status, _, err = collecting.end()

    assert status == 75
    assert "in emit" in err
    assert "starting anew" not in err
    sender.close(0)


def test_without_a_heartbeat_nobody_sees_it(hanging):
    """The control: the process lives, and its port answers; it would do so for ever."""
    collecting = hanging("--heartbeat-timeout", "0", most=1)
    sender = collecting.sender()
    emit(sender, "stuck", "later")
    wait_until(lambda: (collecting.folder / "hang-0").exists())

    with socket.create_connection(("127.0.0.1", collecting.port), 10):
        assert collecting.process.poll() is None
    assert threads_of(collecting.process.pid)["watchdog"] == 0
    assert threads_of(collecting.process.pid)["all"] > 1
    assert "later" not in collecting.lines()
    assert sender.statistics()["delivered"] == 0
    sender.close(0)


@pytest.mark.parametrize("how", ["blocked", "stopped"])
def test_a_process_manager_that_misses_its_word_begins_it_anew(hanging, tmp_path, how):
    """As systemd does with WatchdogSec: the word stops coming, and no record is lost."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(60)
        collecting = hanging(
            *("--heartbeat-timeout", "0"),
            most=1 if how == "blocked" else 0,
            NOTIFY_SOCKET=str(path),
            WATCHDOG_USEC="100000",
        )
        first = collecting.process
        for _ in range(20):  # as long as it is well
            assert listening.recv(4096).startswith((b"READY=1", b"WATCHDOG=1"))
        sender = collecting.sender()
        if how == "stopped":
            first.send_signal(signal.SIGSTOP)
        emit(sender, *range(100), "stuck", *range(100, 200))
        if how == "blocked":
            wait_until(lambda: (tmp_path / "hang-0").exists())
        # It would say so ten times in this one.
        listening.settimeout(1)
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                listening.recv(4096)
    assert first.poll() is None
    first.kill()
    first.communicate(timeout=30)
    hanging("--heartbeat-timeout", "0", most=1 if how == "blocked" else 0)
    wait_until(lambda: "199" in collecting.lines())
    assert sender.close(20)

    assert collecting.end()[0] == 0
    numbers = [int(line) for line in collecting.lines() if line.isdigit()]
    assert set(numbers) == set(range(200))


def threads_of(pid):
    """Return how many threads a process has that are called something."""
    names = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="utf-8") as file:
            names.append(file.read().strip())
    return {"all": len(names), "watchdog": names.count("watchdog")}


class Leaving(Exception):
    """Instead of the end of the process."""


@pytest.fixture(name="renewal")
def _renewal():
    calls = []

    def leave(status):
        calls.append(status)
        raise Leaving

    def execute(path, command):
        calls.append((path, command))
        raise Leaving

    def make(command=("python", "-m", "shop"), environ=None):
        return _watching.Renewal(
            command,
            1.0,
            environ={} if environ is None else environ,
            retry=Retry(initial=0.001, maximum=0.002),
            execute=execute,
            leave=leave,
        )

    make.calls = calls
    return make


def test_a_row_of_hangs_is_counted_from_process_to_process(renewal, capfd):
    """So that the next one waits longer."""
    environ = {}
    for count in "123":
        with pytest.raises(Leaving):
            renewal(environ=environ)(5.0)
        assert environ == {"SPROCKETS_COLLECT_HANGS": count}

    assert renewal.calls == [("python", ["python", "-m", "shop"])] * 3
    assert "blocked for 5.0 s, starting anew in 0.0 s" in capfd.readouterr().err


def test_who_was_called_by_another_program_does_not_begin_it_anew(renewal, capfd):
    """It ends, with the status for what was cut short."""
    with pytest.raises(Leaving):
        renewal(command=())(5.0)

    assert renewal.calls == [75]
    assert _watching.find_command(["no", "such", "arguments"]) == []
    assert _watching.find_command(sys.orig_argv[-1:])[1:] == sys.orig_argv[1:]
    assert "ending" in capfd.readouterr().err


def test_what_cannot_begin_anew_ends(renewal, capfd):
    """With the reason on standard error."""
    made = renewal()
    made._execute = lambda path, command: os.stat("/no/such/program")

    with pytest.raises(Leaving):
        made(5.0)

    assert renewal.calls == [75]
    assert "cannot start anew: [Errno 2]" in capfd.readouterr().err


def test_what_came_is_logged_every_so_often(collecting):
    """Without anybody asking."""
    collecting.start("--statistics-every", "0.1")
    wait_until(lambda: collecting.lines().count("collected so far: nothing") >= 2)

    assert collecting.end()[0] == 0


def test_systemd_hears_when_it_is_ready_and_when_it_stops(collecting, tmp_path):
    """As from ``sprockets run``."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(20)
        collecting.start(NOTIFY_SOCKET=str(path))

        ready = listening.recv(4096).decode()
        status = collecting.end()[0]
        stopping = listening.recv(4096).decode()

    assert ready.startswith(f"READY=1\nMAINPID={collecting.process.pid}\nSTATUS=collecting from ")
    assert stopping.startswith("STOPPING=1\n")
    assert status == 0


def test_a_source_may_be_in_a_variable(collecting):
    """Others see the command line."""
    collecting.start_and_wait(
        sources=["env:LOG_SOURCE"], LOG_SOURCE=f"zmq+reliable://127.0.0.1:{collecting.port}"
    )

    assert collecting.end()[0] == 0


def test_an_address_that_is_taken_is_said_at_once(collecting):
    """With the status that ``sprockets run`` has for it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", collecting.port))
        other.listen()
        collecting.start()
        _, err = collecting.process.communicate(timeout=30)

    assert collecting.process.returncode == 69
    assert re.search(rf"cannot receive: .*in use.*127\.0\.0\.1:{collecting.port}", err)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "receive from what? name a source"),
        (["kafka://u:hunter2@h"], "cannot receive from kafka://; a source is one of"),
        (["redis://u:hunter2@h/0?stream=a"], "redis://u:***@h/0?stream=a: missing: group"),
        (["env:NO_SUCH_VARIABLE"], "'NO_SUCH_VARIABLE' of env:NO_SUCH_VARIABLE is not set"),
        (["zmq+pull://h:1", "zmq+pull://h:1"], "zmq+pull://h:1 is there twice"),
        (["zmq+pull://h:1", "--threads", "0"], "expected a number from 1 on, got '0'"),
        (["zmq+pull://h:1", "--statistics-every", "-1"], "expected seconds, 0 or more, got '-1'"),
        (["zmq+pull://h:1", "--setup", "/no/such.toml"], "/no/such.toml"),
        (["zmq+pull://h:1", "--what"], "unrecognized arguments: --what; see sprockets collect"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_on_one_line(arguments, text, capsys):
    """With status 78, and no password."""
    assert collect.main(arguments) == 78

    err = capsys.readouterr().err
    assert text in err
    assert err.count("\n") == 1
    assert "hunter2" not in err


def test_a_check_opens_nothing(tmp_path, capsys):
    """It says what would be done, and what is wrong with it."""
    path = tmp_path / "logging.toml"
    path.write_text(SETUP.format(path=tmp_path / "all.log"))
    source = "redis://user:hunter2@nowhere/0?stream=a&group=b"

    assert collect.main([source, "--check", "--setup", f"{path}:production"]) == 0

    out = capsys.readouterr().out
    assert "would collect from redis://user:***@nowhere/0?stream=a&group=b\n" in out
    assert f"into the set-up 'production' of {path}\n" in out
    assert not (tmp_path / "all.log").exists()

    assert collect.main([source, "--check", "--setup", f"{path}:staging"]) == 78
    assert "staging" in capsys.readouterr().err


def test_the_help_shows_every_kind_of_source(capsys):
    """And what the exit statuses mean."""
    assert collect.main(["--help"]) == 0

    out = capsys.readouterr().out
    assert "zmq+reliable://HOST:PORT" in out
    assert "amqp://USER:PASSWORD@HOST:PORT/VHOST?queue=NAME" in out
    assert "69 if a source cannot be opened" in out
