"""A service whose processes all log through one collector."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from sprockets.http import _collecting, _settings
from sprockets.http._collector_channel import (
    ParentHandler,
    ParentSubscriber,
    SpoolSubscriber,
    stop_frame,
)
from sprockets.http._collector_folder import CollectorError, clear_folder, make_folder
from sprockets.http._logging import UNSET
from sprockets.logbook import INFO, LogRecord
from sprockets.logbook.delivery import Spool
from sprockets.logbook.handlers import TestHandler
from sprockets.logbook.queues._wire import encode_record
from tests.http.serving.driver import Service, get, no_process_left, processes, wait_until

SERVICE = """
    import json, os, sys, threading
    from tornado import web
    from sprockets.http import app, run
    from sprockets.logbook import FileHandler, Logger

    log = Logger("shop")

    class Sell(web.RequestHandler):
        def get(self):
            start = int(self.get_argument("start", "0"))
            for number in range(start, start + int(self.get_argument("count", "0"))):
                log.info("sold {}", number)
            self.write({"pid": os.getpid()})

    def make_app(**settings):
        return app.Application([("/", Sell)], **settings)

    def make_handler():
        if "BLOCK" in os.environ:
            threading.Event().wait()
        return FileHandler(os.environ["LOG_PATH"], level="INFO")

    arguments = {}
    if "HOW" in os.environ:
        is_function = os.environ["HOW"] == "function"
        arguments["collector"] = make_handler if is_function else make_handler()
    run(make_app, json.loads(sys.argv[1]), **arguments)
"""
SETUP = """
[setups.production]
handlers = ["all"]

[handlers.all]
class = "{kind}"
filename = "{path}"
format_string = "{{record.process}} {{record.channel}}: {{record.message}}"
level = "info"
{more}
"""
ROTATING = "max_size = 100_000\nbackup_count = 100"


class Collected(Service):
    """The service, and the files that its collector writes."""

    def __init__(self, folder, settings, **options):
        self.folder = folder
        script = folder / "service.py"
        script.write_text(textwrap.dedent(SERVICE))
        environ = {"TMPDIR": str(folder), "LOG_PATH": str(folder / "all.log")}
        super().__init__(
            [sys.executable, "-P", str(script), "placeholder"],
            env={**environ, **options.pop("env", {})},
            cwd=folder,
            **options,
        )
        wanted = {"number_of_procs": 2, "port": self.port, "address": "127.0.0.1", **settings}
        self.command[-1] = json.dumps(wanted)

    def text(self):
        found = sorted(self.folder.glob("all*.log*"))
        return "".join(path.read_text("utf-8") for path in found)

    def wait_text(self, text, count=1):
        wait_until(lambda: self.text().count(text) >= count, 60, f"{text!r} in the log")

    def collector(self):
        """Return the process that writes: the one that says so, or the last that was started."""
        found = re.findall(
            r"^(\d+) sprockets.collector: collecting from", self.text(), re.MULTILINE
        )
        alive = {each.pid for each in processes()}
        return next((int(pid) for pid in reversed(found) if int(pid) in alive), None)

    def sell(self, count, start=0):
        return get(self.address, f"/?count={count}&start={start}", timeout=30)

    def sold(self):
        return [
            int(number) for number in re.findall(r" shop: sold (\d+)$", self.text(), re.MULTILINE)
        ]

    def stop(self, timeout=20):
        self.signal(signal.SIGTERM)
        return self.wait(timeout)


@pytest.fixture(name="start")
def _start(tmp_path):
    (tmp_path / "logging.toml").write_text(
        SETUP.format(kind="file", path=tmp_path / "all.log", more="")
    )
    started = []

    def start(settings=None, **options):
        if settings is None:
            settings = {"collector": "logging.toml:production"}
        service = Collected(tmp_path, settings, **options)
        started.append(service)
        service.__enter__()
        return service

    yield start
    for service in started:
        service.close()
        assert no_process_left(service.session_id)


def leftovers(service):
    return list(service.folder.glob("sprockets-*"))


def test_parent_and_workers_write_one_file_from_one_place(start):
    """Every record of everybody is there when the service has ended, and nothing else is left."""
    service = start()
    service.wait_text("with 2 workers")
    assert all(service.sell(100, 100 * number).status == 200 for number in range(6))
    (folder,) = leftovers(service)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    assert service.stop() == 0

    text = service.text()
    assert sorted(service.sold()) == list(range(600))
    assert f"{service.pid} Runner: serving on " in text
    assert f"{service.pid} Runner: SIGTERM: stopping" in text
    assert text.splitlines()[-1].startswith(tuple("123456789"))
    assert " sprockets.collector: collected: dispatched " in text.splitlines()[-1]
    assert leftovers(service) == []
    assert service.output() == ""


def test_a_killed_collector_and_three_reloads_under_load_lose_nothing(start, tmp_path):
    """Four workers, one file that is rolled over; what comes twice is in there twice, no more."""
    (tmp_path / "logging.toml").write_text(
        SETUP.format(kind="rotating_file", path=tmp_path / "all.log", more=ROTATING)
    )
    service = start({"collector": "logging.toml:production", "number_of_procs": 4})
    service.wait_text("with 4 workers")
    asked, stop = [], threading.Event()
    killed = service.collector()

    def load(begin):
        for number in range(begin, begin + 1_000_000, 50):
            if stop.is_set():
                return
            # One that a worker has begun to serve logs all of it, whatever becomes of the answer.
            if service.sell(50, number).status == 200:
                asked.append(number)

    threads = [
        threading.Thread(target=load, args=(each * 1_000_000,), daemon=True) for each in range(3)
    ]
    for thread in threads:
        thread.start()
    try:
        for turn in range(1, 4):
            service.signal(signal.SIGHUP)
            if turn == 2:
                os.kill(killed, signal.SIGKILL)
                wait_until(lambda: service.collector() not in (None, killed), 20, "another one")
            service.wait_text("Runner: all workers are replaced", turn)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)

    assert service.stop() == 0, service.text()[-3000:] + service.output()[-3000:]

    wanted = {number + offset for number in asked for offset in range(50)}
    sold = service.sold()
    assert len(asked) > 30
    assert wanted <= set(sold)
    assert len(sold) - len(set(sold)) <= 10_000
    assert len(list(tmp_path.glob("all*.log*"))) > 1
    assert f"the collector {killed} ended with signal 9; starting another" in service.text()
    assert leftovers(service) == []


def test_a_stop_signal_to_all_of_them_loses_nothing(start):
    """As a terminal, or systemd, sends it: the collector waits for the others all the same."""
    service = start()
    assert service.sell(500).status == 200

    service.signal_group(signal.SIGTERM)

    assert service.wait(20) == 0
    assert service.sold() == list(range(500))
    assert f"{service.pid} Runner: SIGTERM: stopping" in service.text()


def test_a_collector_that_is_away_does_not_keep_the_service_from_serving(start, tmp_path):
    """It is said why, on standard error, and tried again; then all that was logged is there."""
    service = start()
    service.wait_text("with 2 workers")
    good = (tmp_path / "logging.toml").read_text()
    (tmp_path / "logging.toml").write_text("[setups.production]\nhandlers = ['missing']\n")

    os.kill(service.collector(), signal.SIGKILL)
    service.wait_output("the collector does not start, next try in ")
    for number in range(4):
        assert service.sell(1000, 1000 * number).status == 200
    (tmp_path / "logging.toml").write_text(good)
    service.wait_text("started another collector")
    assert service.stop() == 0

    assert sorted(set(service.sold())) == list(range(4000))
    assert "missing" in service.output()
    assert "ended with signal 9; starting another" in service.text()


def test_the_end_of_a_killed_parent_is_the_end_of_all(start):
    """The workers stop, and then the collector, which has written what they had to say."""
    service = start()
    assert service.sell(200).status == 200

    service.signal(signal.SIGKILL)

    service.wait_gone(30)
    assert service.sold() == list(range(200))


def test_what_a_service_could_not_write_the_next_one_does(start, tmp_path):
    """With a folder that stays: what a worker had spooled when all of them were killed."""
    folder = tmp_path / "state"
    spool = Spool(folder / "spool")
    record = LogRecord("shop", INFO, "sold 7")
    record.heavy_init()
    spool.append(encode_record(record, "0123456789abcdef-1"))
    spool.close()

    service = start({"collector": "logging.toml:production", "collector_folder": str(folder)})
    service.wait_text("sold 7")
    assert service.stop() == 0

    assert service.sold() == [7]
    assert not list((folder / "spool").glob("*.spool"))


@pytest.mark.parametrize("how", ["function", "handler"])
def test_a_collector_may_be_an_object_or_what_makes_one(start, tmp_path, how):
    """As for log_config."""
    service = start({}, env={"HOW": how})
    assert service.sell(100).status == 200

    assert service.stop() == 0

    lines = (tmp_path / "all.log").read_text().splitlines()
    assert len([line for line in lines if "shop: sold " in line]) == 100


def test_the_environment_may_say_it(start):
    """Like every other option."""
    service = start({}, env={"SPROCKETS_COLLECTOR": "logging.toml:production"})
    service.wait_text("with 2 workers")

    assert service.stop() == 0
    assert service.output() == ""


def test_one_process_needs_no_other(start):
    """Its set-up is bound in the process itself."""
    service = start({"collector": "logging.toml:production", "number_of_procs": 1})
    assert service.sell(100).status == 200
    assert service.workers() == []

    assert service.stop() == 0
    assert service.sold() == list(range(100))


def test_a_user_signal_reaches_the_collector(start, tmp_path):
    """Its files are opened again, and it says what came."""
    service = start()
    assert service.sell(10).status == 200
    service.wait_text("sold 9")
    (tmp_path / "all.log").rename(tmp_path / "moved")

    service.signal(signal.SIGUSR1)
    service.wait_text("sprockets.collector: collected so far: dispatched ")

    assert service.stop() == 0
    assert "sold 9" in (tmp_path / "moved").read_text()
    assert "sold 9" not in service.text()


def test_a_collector_that_cannot_be_started_is_the_end(start, tmp_path):
    """With status 70, and the reason on standard error."""
    (tmp_path / "logging.toml").write_text("[setups.production]\nhandlers = ['nobody']\n")
    service = start(ready_path=None)

    assert service.wait(20) == 70

    assert "the collector cannot be started: SetupError: " in service.output()
    assert "nobody" in service.output()
    assert leftovers(service) == []


def test_a_collector_whose_start_hangs_is_the_end_too(start):
    """With the line that it hangs in."""
    service = start({"start_timeout": 1}, env={"HOW": "function", "BLOCK": "1"}, ready_path=None)

    assert service.wait(20) == 70

    assert "the collector cannot be started: it did not start within 1 s" in service.output()
    assert "in make_handler" in service.output()
    assert leftovers(service) == []


# -- one that hangs

HANGING = """
import os, pathlib, threading
from sprockets.logbook import FileHandler

folder = pathlib.Path(__file__).parent

class Hanging(FileHandler):
    def emit(self, record):
        if record.channel == "shop":
            try:
                (folder / "block").unlink()
            except FileNotFoundError:
                pass
            else:
                with self.lock:
                    (folder / "hangs").touch()
                    threading.Event().wait()
            with open(folder / "ids", "a") as file:
                file.write(f"{record.message} {record.record_id}\\n")
        super().emit(record)
"""


@pytest.fixture(name="hanging")
def _hanging(start, tmp_path):
    """Start a service; its collector blocks for ever in a handler once a file says so."""
    (tmp_path / "hanging.py").write_text(HANGING)
    (tmp_path / "logging.toml").write_text(
        SETUP.format(kind="hanging.Hanging", path=tmp_path / "all.log", more="")
    )

    def start_hanging(**settings):
        service = start(
            {"collector": "logging.toml:production", **settings},
            env={"PYTHONPATH": str(tmp_path)},
        )
        service.wait_text("with 2 workers")
        assert service.sell(100).status == 200
        service.wait_text("sold 99")
        return service

    return start_hanging


def ids_of(folder):
    """Return the names under which each of the messages came."""
    found = {}
    for line in (folder / "ids").read_text().splitlines():
        message, _, record_id = line.rpartition(" ")
        found.setdefault(message, set()).add(record_id)
    return found


def test_a_handler_that_blocks_for_ever_costs_the_collector_and_no_record(hanging, tmp_path):
    """The line it hangs in is in the log; what it had not written, the next one writes."""
    service = hanging(collector_heartbeat_timeout=2)
    stuck = service.collector()
    (tmp_path / "block").touch()

    assert service.sell(1000, 100).status == 200
    wait_until((tmp_path / "hangs").exists)
    assert service.sell(1000, 1100).status == 200
    service.wait_text("sold 2099")

    assert service.stop() == 0
    assert set(service.sold()) == set(range(2100))
    assert all(len(names) == 1 for names in ids_of(tmp_path).values())
    text = service.text()
    assert re.search(rf"the collector {stuck} has been blocked for \d\.\d s; killing it", text)
    assert f"the collector {stuck} ended with signal 6; starting another" in text
    assert 'hanging.py", line' in text
    assert "in emit" in text
    assert leftovers(service) == []


def test_a_stopped_collector_is_replaced_and_loses_nothing(hanging, tmp_path):
    """One that does nothing at all any more, as far as the parent can see."""
    service = hanging(collector_heartbeat_timeout=2)
    stopped = service.collector()

    os.kill(stopped, signal.SIGSTOP)
    assert service.sell(2000, 100).status == 200
    service.wait_text("started another collector")
    service.wait_text("sold 2099")

    assert service.stop() == 0
    assert set(service.sold()) == set(range(2100))
    assert all(len(names) == 1 for names in ids_of(tmp_path).values())
    assert f"the collector {stopped} has been blocked for" in service.text()
    assert service.collector() is None


def test_a_stuck_collector_without_its_parent_ends_itself(hanging, tmp_path):
    """Nobody else would see to it; what it has not written stays in the folder."""
    service = hanging(collector_heartbeat_timeout=2)
    (tmp_path / "block").touch()
    assert service.sell(10, 100).status == 200
    wait_until((tmp_path / "hangs").exists)

    service.signal(signal.SIGKILL)

    service.wait_gone(30)
    assert "without its parent; ending it" in service.output()
    assert "in emit" in service.output()


WATCHING = """
import os, pathlib, signal, sys, threading, time
from sprockets.http._collector_process import CollectorProcess
from sprockets.logbook import Handler, INFO, LogRecord

folder, how, limit = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])

class Stuck(Handler):
    def emit(self, record):
        if record.message == "stuck" and not (folder / "hangs").exists():
            (folder / "hangs").touch()
            threading.Event().wait()
        with open(folder / "said", "a") as file:
            file.write(f"{record.message}\\n")

def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

process = CollectorProcess(Stuck(), heartbeat_timeout=limit)
process.handler.push_application()
process.start()
first = process.pid
if how == "blocked":
    record = LogRecord("shop", INFO, "stuck")
    record.heavy_init()
    process.handler.emit(record)
    wait_until((folder / "hangs").exists)
elif how == "stopped":
    os.kill(first, signal.SIGSTOP)
# What it wrote down before is as old as it is.
now = begun = time.monotonic()
for _ in range(70):
    now = now + 2 if how != "healthy" else time.monotonic()
    process.tick(now, lambda: None)
    if process.hung:
        break
seen = now - begun
def has_said():
    process.tick(now, lambda: None)
    return process.pid != first and "at its end" in (folder / "said").read_text()
if process.hung:
    wait_until(has_said)
print(process.hung, process.pid == first, round(seen))
if process.pid is not None:
    os.kill(process.pid, signal.SIGKILL)
process.end(time.monotonic() + 5)
"""


@pytest.mark.parametrize(
    ("how", "limit", "hung"),
    [
        ("blocked", 60, 1),
        ("stopped", 60, 1),
        ("healthy", 60, 0),
        # The controls: without the beat nothing tells it from one that is well.
        ("blocked", 0, 0),
        ("stopped", 0, 0),
    ],
)
def test_a_hang_is_seen_by_the_missing_beat_and_by_nothing_else(tmp_path, how, limit, hung):
    """The parent's clock goes two minutes on: the process lives all the while."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", WATCHING, str(tmp_path), how, str(limit)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found, is_first, seen = done.stdout.split()
    assert int(found) == hung
    assert (is_first == "False") == bool(hung)
    if hung:
        assert 30 <= int(seen) <= 62
        said = (tmp_path / "said").read_text()
        assert "has been blocked for 6" in said
        assert "ended with signal 6; starting another" in said
        assert ("in emit" in said) == (how == "blocked")
        assert "_collector_child.py" in said


# -- the parts


def options(**given):
    return _settings.Options(**given)


def test_two_places_where_records_go_are_one_too_many():
    """A log_config beside a collector is refused."""
    with pytest.raises(TypeError, match="log_config and collector both say where records go"):
        _collecting.prepare("logging.toml", None, options())
    with pytest.raises(TypeError, match="collector must be a reference such as"):
        _collecting.prepare(7, UNSET, options())
    with pytest.raises(TypeError, match="the function given as collector must return a handler"):
        _collecting.make_setup(lambda: 7)


def test_the_collector_has_its_part_of_the_time_for_a_stop():
    """A tenth, three seconds at most; the workers have the rest."""
    handler = TestHandler()
    process, make, rest = _collecting.prepare(handler, UNSET, options(number_of_procs=2))

    assert rest.shutdown_limit == pytest.approx(22.5)
    assert process is not None
    assert callable(make)
    assert _collecting.find_reserve(100.0) == 3.0


def say(handler, *messages):
    for message in messages:
        record = LogRecord("Runner", INFO, message)
        record.heavy_init()
        handler.emit(record)


def receive(subscriber, count):
    found = []
    deadline = time.monotonic() + 10
    while len(found) < count and time.monotonic() < deadline:
        record = subscriber.recv(0.05)
        if record is not None:
            found.append(record)
    return [record.message for record in found], found


@pytest.fixture(name="pipe")
def _pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_what_the_parent_says_is_kept_until_it_was_dispatched(pipe, capsys):
    """The next collector gets what the last one had not dispatched, first and in order."""
    handler = ParentHandler()
    say(handler, "before there is one")
    first, theirs = socket.socketpair()
    handler.attach(first)
    say(handler, "two", "three")
    with theirs:
        subscriber = ParentSubscriber(theirs, pipe[0])
        messages, found = receive(subscriber, 3)
        subscriber.acknowledge(found[0])
    handler.pump()
    first.close()
    handler.detach()
    say(handler, "four")
    second, theirs = socket.socketpair()
    handler.attach(second)
    with theirs:
        again, found = receive(ParentSubscriber(theirs, pipe[0]), 3)
    second.close()

    assert messages == ["before there is one", "two", "three"]
    assert again == ["two", "three", "four"]
    assert len({record.record_id for record in found}) == 3
    err = capsys.readouterr().err
    assert "before there is one" in err
    assert "four" in err
    assert "two" not in err


def test_the_parent_keeps_no_more_than_it_may_and_counts_the_rest(monkeypatch, capsys):
    """The oldest go first."""
    monkeypatch.setattr("sprockets.http._collector_channel._MAX_WAITING", 3)
    handler = ParentHandler()

    say(handler, *"abcde")

    assert (handler.waiting, handler.dropped) == (3, 2)
    capsys.readouterr()


def test_a_parent_whose_collector_does_not_read_does_not_wait(pipe):
    """What the channel does not take stays, and gets there whole."""
    handler = ParentHandler()
    ours, theirs = socket.socketpair()
    handler.attach(ours)
    texts = [f"{number} " + "x" * 10_000 for number in range(200)]
    say(handler, *texts)
    assert handler.waiting == 200

    subscriber = ParentSubscriber(theirs, pipe[0])
    messages = []

    def go_on():
        record = subscriber.recv(0.01)
        if record is not None:
            messages.append(record.message)
            subscriber.acknowledge(record)
        handler.pump()
        return not handler.waiting

    wait_until(go_on, 60, "the last of them", 0)
    ours.close()
    theirs.close()

    assert messages == texts


def test_the_end_of_everybody_stops_the_collector(pipe):
    """And so does the word of the parent; the end of the parent alone does not."""
    stops = []
    ours, theirs = socket.socketpair()
    with theirs:
        subscriber = ParentSubscriber(theirs, pipe[0])
        subscriber.on_stop = stops.append
        ours.send(stop_frame(2.5))
        assert subscriber.recv(0.01) is None
        assert stops == [2.5]
        ours.close()
        assert subscriber.recv(0.01) is None
        assert stops == [2.5]
        os.close(pipe[1])
        assert subscriber.recv(0.01) is None
    assert stops == [2.5, None]


def test_what_is_no_record_is_paid_for_as_well(pipe, capsys):
    """Or the parent would send the wrong ones again."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        subscriber = ParentSubscriber(theirs, pipe[0])
        ours.send(b"\0\0\0\x02{}")
        assert subscriber.recv(0.01) is None
        assert subscriber.recv(0) is None
        ours.settimeout(30)
        assert ours.recv(10) == b"."
    assert subscriber.statistics()["malformed"] == 1
    capsys.readouterr()


def test_what_a_dead_worker_left_is_received_once(tmp_path, capsys):
    """What came another way is left out, what is no record is counted, the rest is forgotten."""
    left = Spool(tmp_path)
    for number in range(3):
        record = LogRecord("shop", INFO, str(number))
        record.heavy_init()
        left.append(encode_record(record, f"0123456789abcdef-{number + 1}"))
    left.append(b"what?")
    left.close()
    subscriber = SpoolSubscriber(Spool(tmp_path), lambda name: name != "0123456789abcdef-2")
    handler = TestHandler()

    with handler:
        while subscriber.dispatch_once(0):
            pass
    subscriber.close()

    assert [record.message for record in handler.records] == ["0", "2"]
    assert subscriber.statistics()["malformed"] == 1
    assert not list(Path(tmp_path).glob("*.spool"))
    capsys.readouterr()


def test_a_folder_that_is_of_no_use_is_said_to_be_so(tmp_path):
    """Where it cannot be made, and where no socket fits into it."""
    (tmp_path / "file").touch()

    with pytest.raises(CollectorError, match=r"no folder for the collector: .*file"):
        make_folder(str(tmp_path / "file" / "folder"))
    with pytest.raises(CollectorError, match="is too long for the path of a unix socket"):
        make_folder(str(tmp_path / ("x" * 100)))


def test_what_is_left_in_a_folder_keeps_it_there(tmp_path):
    """And only that; one that was asked for stays in any case."""
    with TestHandler() as handler:
        for name, is_temporary, text in [
            ("empty", True, b""),
            ("left", True, b"a record"),
            ("asked-for", False, b""),
        ]:
            (tmp_path / name / "spool").mkdir(parents=True)
            (tmp_path / name / "spool" / "1.spool").write_bytes(text)
            is_clear = clear_folder(tmp_path / name, is_temporary=is_temporary)
            assert is_clear == (not text)

    assert {path.name for path in tmp_path.iterdir()} == {"left", "asked-for"}
    (record,) = handler.records
    assert f"SPROCKETS_COLLECTOR_FOLDER={tmp_path / 'left'} collects them" in record.message
