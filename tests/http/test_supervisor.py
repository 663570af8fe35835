"""The supervisor by itself: its workers here know nothing of Tornado, and do as they are told."""

import json
import re
import signal
import sys
from contextlib import ExitStack
from time import monotonic

import pytest

from sprockets.http._supervisor import count_rows
from tests.http.serving.driver import Service, no_process_left, wait_until

# Each worker runs the text that it is given; what it needs is there.
SCRIPT = r"""
import json, logging, os, signal, sys, threading, time

from sprockets.http._scoreboard import SERVING, Scoreboard
from sprockets.http._settings import Options
from sprockets.http._supervisor import Link, Supervisor

given = json.loads(sys.argv[1])
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(levelname)s %(message)s")


def say(*words):
    # In one piece: several processes write here.
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Listener:
    def describe(self):
        return "nowhere"

    def close(self):
        say("listener closed by", os.getpid())


class Notifier:
    watchdog_interval = None

    def __getattr__(self, name):
        def tell(*arguments):
            say("notified:", name)
            if name == given.get("notifier_fails"):
                raise RuntimeError("the notifier fails")

        return tell


def ready():
    link.row["state"] = SERVING
    link.row["beat_at"] = time.monotonic()
    link.tell(b"r")


def wait_for_the_end():
    # Not even a deadline keeps a worker that has lost its parent.
    while not set(link.channel.recv(64) or b"T") & set(b"TRQ"):
        pass


def serve():
    ready()
    wait_for_the_end()


real_fork, forks = os.fork, 0


def fork():
    global forks
    forks += 1
    if forks in range(*given["no_forks"]):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return real_fork()


if "no_forks" in given:
    os.fork = fork

before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)]
board = Scoreboard(given.get("rows", 8))
options = Options(**{"heartbeat_timeout": 0, **given.get("options", {})})
supervisor = Supervisor(
    given.get("count", 2),
    options,
    Listener(),
    board,
    logging.getLogger("x"),
    notifier=Notifier(),
    reopen_files=lambda: say("the parent opens its files again"),
)
if given.get("hears_of_ends_only"):
    select = supervisor._selector.select
    supervisor._selector.select = lambda timeout: [
        (key, events) for key, events in select(timeout) if key.data is None
    ]
outcome = supervisor.run()
if isinstance(outcome, Link):
    link = outcome
    exec(given["worker"])
    os._exit(0)
after = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)]
print("signals are as before:", before == after)
print("board:", board["state"], board["target"], len(board.workers()))
sys.exit(outcome)
"""


@pytest.fixture(name="supervise")
def _supervise(tmp_path):
    """Supervise workers that run a text: ``supervise("serve()", count=2, rows=8, options={})``."""
    with ExitStack() as stack:
        started = []

        def supervise(worker, **given):
            path = tmp_path / "script.py"
            path.write_text(SCRIPT)
            given["worker"] = worker
            command = [sys.executable, "-P", "-W", "error", str(path), json.dumps(given)]
            service = Service(command, cwd=tmp_path, ready_path=None)
            started.append(service)
            return stack.enter_context(service)

        yield supervise
        for service in started:
            if service.returncode is not None:
                assert no_process_left(service.session_id), "an orphan"


def up(service, count=2):
    service.wait_output(f"serving on nowhere with {count} workers")
    return service.wait_workers(count)


# -- from the start to the end


@pytest.mark.rule("H5.11")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_workers_are_watched_until_a_signal_says_stop(supervise, signum):
    """The parent exits with 0 and puts everything back as it was."""
    service = supervise("serve()")
    up(service)

    service.signal(signum)

    assert service.wait(3) == 0
    output = service.output()
    assert "signals are as before: True" in output
    assert "board: 3 2 0" in output
    assert f"listener closed by {service.pid}" in output
    assert output.index("notified: ready") < output.index("notified: stopping")


def test_a_worker_holds_nothing_of_its_siblings(supervise):
    """A copy of another's channel would keep that one from seeing the death of the parent."""
    service = supervise(
        """
names = []
for each in os.listdir("/proc/self/fd"):
    if os.path.exists(path := f"/proc/self/fd/{each}") or os.path.islink(path):
        names.append(os.readlink(path))
kinds = [name.split(":")[0] for name in names]
say("held:", kinds.count("socket"), kinds.count("pipe"))
serve()
""",
        count=3,
    )

    up(service, 3)

    # Its own channel, and the pipe for its stacks.
    assert re.findall("held: .*", service.output()) == ["held: 1 1"] * 3


def test_a_worker_starts_with_the_signals_of_a_fresh_program(supervise):
    """But for the terminal's, which the parent passes on in its own way."""
    service = supervise(
        """
names = ("SIGTERM", "SIGHUP", "SIGCHLD", "SIGUSR1", "SIGQUIT")
found = [signal.getsignal(getattr(signal, name)) for name in names]
say("defaults:", all(each == signal.SIG_DFL for each in found))
say("blocked:", signal.pthread_sigmask(signal.SIG_BLOCK, []))
os.kill(os.getpid(), signal.SIGINT)
serve()
"""
    )

    up(service)

    assert service.output().count("defaults: True") == 2
    assert service.output().count("blocked: set()") == 2


def test_a_worker_that_is_not_ready_opens_its_files_again_once_it_is(supervise, tmp_path):
    """It may have opened the old ones already, and would not be told otherwise."""
    service = supervise(
        f"""
signal.signal(signal.SIGUSR1, lambda *_: say("a worker opens its files again"))
say("files are open")
while not os.path.exists({str(tmp_path / "go")!r}):
    time.sleep(0.01)
serve()
"""
    )
    wait_until(lambda: service.output().count("files are open") == 2)
    service.signal(signal.SIGUSR1)
    service.wait_output("the parent opens its files again")
    assert "a worker opens" not in service.output()

    (tmp_path / "go").touch()

    wait_until(lambda: service.output().count("a worker opens its files again") == 2)


def test_a_worker_that_ignores_every_word_is_killed_at_its_deadline(supervise):
    """Status 75 says that it did not end by itself; its stack is in the log."""
    service = supervise("ready(); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
                        options={"shutdown_limit": 0.1})  # fmt: skip
    up(service)
    began = monotonic()

    service.signal(signal.SIGTERM)

    assert service.wait(3) == 75
    assert monotonic() - began < 1.5
    assert service.output().count("did not stop in time; killing it") == 2
    assert "Current thread" in service.output()


def test_an_exit_status_while_stopping_is_the_services(supervise):
    """The worst that is known."""
    service = supervise("serve(); os._exit(75)")
    up(service)

    service.signal(signal.SIGTERM)

    assert service.wait(3) == 75


# -- workers that do not start


@pytest.mark.rule("H3.10")
@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os._exit(70)", 70),
        ("os._exit(3)", 3),
        ("os._exit(0)", 0),
        ("os.kill(os.getpid(), signal.SIGKILL)", 70),
    ],
)
def test_a_first_worker_that_ends_before_it_is_ready_ends_the_service(supervise, end, status):
    """At once, with its status; its sibling is not left behind, and nobody is tried again."""
    service = supervise(f"serve() if link.row.index == 1 else (time.sleep(0.05), {end})")

    assert service.wait(3) == status
    output = service.output()
    assert output.count("started worker") == 2
    assert "could not start" in output or "ended by itself before it was ready" in output


@pytest.mark.rule("H5.12")
def test_workers_that_die_faster_than_they_serve_are_given_up_without_an_orphan(supervise):
    """Also a sibling that is well, and one that ignores that it is to end."""
    service = supervise(
        "ready(); time.sleep(60) if link.row.index == 1 else os._exit(9)",
        options={"max_restarts": 3, "shutdown_limit": 0.1},
    )

    assert service.wait(4) == 70
    output = service.output()
    assert "workers die faster than they serve" in output
    assert output.count("started worker") == 4
    assert "did not stop in time; killing it" in output


# -- when the system does not do its part


def test_a_fork_that_fails_is_logged_and_tried_again(supervise):
    """The service starts with what it has, and is whole as soon as it can be."""
    service = supervise("serve()", no_forks=[2, 3])

    service.wait_output("ERROR cannot fork a worker: [Errno 11] Resource temporarily unavailable")

    up(service)
    service.signal(signal.SIGTERM)
    assert service.wait(3) == 0


def test_a_replacement_that_cannot_be_forked_leaves_the_others_serving(supervise):
    """It comes later."""
    service = supervise("serve()", no_forks=[3, 4])
    victim, other = up(service)

    service.signal(signal.SIGKILL, victim)

    service.wait_output("cannot fork a worker")
    assert other in service.worker_pids()
    assert service.wait_workers(2, 5, without=[victim])


def test_a_service_that_cannot_fork_at_all_can_be_stopped(supervise):
    """There is nobody to wait for."""
    service = supervise("serve()", no_forks=[1, 10**9])
    service.wait_output("cannot fork a worker")

    service.signal(signal.SIGTERM)

    assert service.wait(3) == 0


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"no_forks": [2, 10**9]}, "cannot fork a worker"),
        ({"rows": 1}, "no room for another worker"),
    ],
    ids=["no fork", "no row"],
)
def test_what_cannot_be_had_is_not_asked_for_all_the_time(supervise, given, text):
    """The log of a machine in need must not be flooded as well."""
    service = supervise("serve()", **given)
    service.wait_output(text)
    began = monotonic()

    wait_until(lambda: monotonic() - began > 0.1 or service.output().count(text) > 10)

    assert service.output().count(text) <= 10


def test_a_worker_that_ends_just_after_it_was_ready_is_replaced(supervise):
    """What it said is heard before its end is judged: it is no worker that could not start."""
    service = supervise("ready(); os._exit(3)", count=1, hears_of_ends_only=True)

    assert service.wait(30) == 70

    assert "could not start" not in service.output()
    assert service.output().count("is ready") == service.output().count("started worker") == 8
    assert "die faster than they serve" in service.output()


def test_without_a_row_a_worker_waits_until_one_is_free(supervise):
    """One worker serves; when it is gone the other takes its row, and the service goes on."""
    service = supervise("serve()", rows=1)
    service.wait_output("no room for another worker; waiting until an old one is gone")
    service.wait_output("is ready")
    (first,) = service.wait_workers(1)

    service.signal(signal.SIGKILL, first)

    service.wait_workers(1, without=[first])
    wait_until(lambda: service.output().count("is ready") == 2)
    service.signal(signal.SIGTERM)
    assert service.wait(3) == 0, service.output()


def test_an_error_of_the_parents_own_leaves_no_orphan(supervise):
    """What it did not expect ends it, but not without its workers."""
    service = supervise("serve()", notifier_fails="ready")

    assert service.wait(3) == 1

    assert "RuntimeError: the notifier fails" in service.output()


# -- more and fewer


def test_fewer_than_one_worker_or_more_than_there_are_rows_is_refused(supervise):
    """A log line says so; a rolling restart needs a row for each as well."""
    service = supervise("serve()", count=1, rows=2)
    up(service, 1)

    service.signal(signal.SIGTTOU)
    service.wait_output("cannot run with 0 workers")
    service.signal(signal.SIGTTIN)
    service.wait_output("cannot run with 2 workers")

    assert len(service.worker_pids()) == 1


def test_a_rolling_restart_replaces_every_worker(supervise):
    """One by one; the parent says when it is done."""
    service = supervise("serve()")
    before = up(service)

    service.signal(signal.SIGHUP)

    service.wait_output("all workers are replaced")
    service.wait_workers(2, without=before)
    assert service.output().index("notified: reloading") < service.output().rindex(
        "notified: ready"
    )


def test_a_rolling_restart_is_over_when_the_last_old_worker_is_taken_away(supervise):
    """Else there would never be another one."""
    service = supervise("ready() if link.generation != 1 or link.row.index == 3 else None; wait_for_the_end()")  # fmt: skip
    up(service)
    service.signal(signal.SIGHUP)
    # The first is replaced; the successor of the second is never ready.
    wait_until(lambda: service.output().count("is ready") == 3)
    wait_until(lambda: service.output().count("started worker") == 4)

    service.signal(signal.SIGTTOU)
    service.wait_output("running with 1 workers from now on")

    wait_until(lambda: "all workers are replaced" in service.output(), 0.5)


def test_workers_are_replaced_when_the_old_ones_accept_nothing_any_more(supervise, tmp_path):
    """Who asks after that line is answered by a new one; the old ones may still be at work."""
    service = supervise(
        """
ready()
while b"R" not in (told := link.channel.recv(64)):
    if b"T" in told:
        os._exit(0)
say("retires", os.getpid())
while not os.path.exists("drain"):
    time.sleep(0.01)
link.tell(b"d")
wait_for_the_end()
"""
    )
    up(service)
    old = service.worker_pids()
    service.signal(signal.SIGHUP)
    wait_until(lambda: service.output().count("retires") == 2)
    wait_until(lambda: service.output().count("is ready") == 4)

    assert "all workers are replaced" not in service.output()
    (tmp_path / "drain").touch()
    service.wait_output("all workers are replaced")

    assert set(old) < set(service.worker_pids())
    for pid in old:
        service.signal(signal.SIGKILL, pid)


def test_a_service_is_up_when_the_worker_that_does_not_start_is_taken_away(supervise):
    """Else systemd would wait for ever, and nothing could be reloaded."""
    service = supervise("ready() if link.row.index == 1 else None; wait_for_the_end()")
    wait_until(lambda: service.output().count("is ready") == 1)

    service.signal(signal.SIGTTOU)
    service.wait_output("running with 1 workers from now on")

    wait_until(lambda: "serving on nowhere with 1 workers" in service.output(), 0.5)


@pytest.mark.parametrize(
    ("workers", "rows"), [(1, 32), (8, 32), (16, 64), (100, 400), (128, 512), (256, 512)]
)
def test_there_are_rows_for_twice_as_many_workers_and_room_to_grow(workers, rows):
    """Within bounds."""
    assert count_rows(workers) == rows >= 2 * workers


def test_there_is_a_row_for_every_worker_however_many_are_wanted():
    """Or else they are too many, and somebody should say so."""
    assert count_rows(600) >= 600
