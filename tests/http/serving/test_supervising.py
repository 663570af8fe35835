"""What the supervisor does when workers die, hang, or cannot start; and what signals tell it."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.http.serving.conftest import records
from tests.http.serving.driver import Load, Pending, get, outcome_of, wait_until


@pytest.mark.rule("H5.12")
def test_a_killed_worker_is_replaced_within_a_second(start):
    """And the log says what ended it."""
    service = start()
    victim, other = service.worker_pids()
    began = time.monotonic()

    service.signal(signal.SIGKILL, victim)

    service.wait_workers(2, 3, without=[victim])
    assert time.monotonic() - began < 1.0
    assert other in service.worker_pids()
    assert "ended with SIGKILL" in service.output()


def test_workers_that_are_killed_again_and_again_are_replaced_ever_more_slowly(start):
    """The gaps grow to a second; the service goes on, and so does the sibling."""
    service = start()
    victim, sibling = service.worker_pids()
    for _ in range(5):
        service.signal(signal.SIGKILL, victim)
        wait_until(lambda victim=victim: victim not in service.worker_pids())
        (victim,) = wait_until(lambda: set(service.worker_pids()) - {sibling})

    assert "starting another in 0.2 s" in service.output()
    assert "starting another in 0.4 s" in service.output()
    assert get(service.address).status == 200
    assert sibling in service.worker_pids()


@pytest.mark.rule("H3.10", "H5.12")
def test_workers_that_die_of_themselves_without_serving_end_the_service(start, marks):
    """After eight of them it gives up, with status 70 and no process left."""
    service = start(ready=None, ON_START="crash:1")

    assert service.wait(10) == 70
    service.wait_gone(1)
    assert "die faster than they serve" in service.output()
    assert marks.count("factory") <= 10


@pytest.mark.rule("H3.5", "H3.6", "H3.10")
@pytest.mark.parametrize("procs", [1, 2])
@pytest.mark.parametrize("where", ["FACTORY", "BEFORE_RUN"])
def test_a_start_that_fails_ends_the_service_at_once(start, marks, procs, where):
    """Status 70, one traceback, and no worker is tried again."""
    service = start({"number_of_procs": procs}, ready=None, **{where: "fail"})

    assert service.wait(5) == 70
    service.wait_gone(1)
    assert marks.count(where.lower()) <= procs
    assert marks.count("on_start") == 0
    output = service.output()
    assert output.count("Traceback (most recent call last)") <= marks.count(where.lower())
    if where == "BEFORE_RUN":
        assert marks.count("shutdown-done") == marks.count("before_run")
        messages = [each["message"] for each in records(service)]
        cancelled = next(i for i, text in enumerate(messages) if "cancelled the start" in text)
        ended = next(i for i, text in enumerate(messages) if "terminated during start" in text)
        assert cancelled < ended


@pytest.mark.rule("H3.8")
@pytest.mark.parametrize("procs", [1, 2])
def test_an_exit_of_before_run_keeps_its_status(start, marks, procs):
    """``SystemExit`` passes through, and no shutdown callback is called."""
    service = start({"number_of_procs": procs}, ready=None, BEFORE_RUN="exit:42")

    assert service.wait(5) == 42
    assert marks.count("shutdown") == 0


def test_an_on_start_that_fails_ends_the_start_if_it_is_waited_for(start, marks):
    """Status 70; nothing was served."""
    service = start({"wait_for_on_start": True}, ready=None, ON_START="fail")

    assert service.wait(5) == 70
    service.wait_gone(1)
    assert marks.count("on_start") <= 2


@pytest.mark.rule("H3.12")
def test_an_on_start_that_fails_leaves_the_service_running_but_never_ready(start):
    """Its exception is in the log; ``/ready`` says that it failed."""
    service = start(ON_START="fail")

    assert get(service.address).status == 200
    response = get(service.address, "/ready")
    assert (response.status, response.json()["status"]) == (503, "failed")
    assert any("on_start fails" in str(each) for each in records(service, "tornado.application"))


def test_ready_says_503_until_every_on_start_has_returned(start, marks):
    """Requests are served meanwhile."""
    service = start(ON_START="sleep:1.0")

    assert get(service.address).status == 200
    first = get(service.address, "/ready")
    assert (first.status, first.json()["status"]) == (503, "starting")
    wait_until(lambda: marks.count("on_start-done") == 2)
    assert get(service.address, "/ready").status == 200


@pytest.mark.rule("H3.13")
def test_ready_stays_503_while_an_on_start_never_ends(start):
    """But the service serves."""
    service = start(ON_START="hang")

    assert get(service.address).status == 200
    assert get(service.address, "/ready").status == 503
    assert get(service.address, "/alive").status == 200


def test_no_connection_is_accepted_before_on_start_has_returned_if_it_is_waited_for(start, marks):
    """The first answer comes after the last callback."""
    service = start({"wait_for_on_start": True}, ready=None, ON_START="sleep:0.7")
    wait_until(lambda: marks.count("on_start") == 2)

    response = get(service.address)

    assert response.status == 200
    assert marks.count("on_start-done") >= 1


@pytest.mark.rule("H3.7")
def test_an_awaitable_of_before_run_is_finished_before_anything_is_served(start, marks):
    """It runs on the loop, and ``on_start`` comes after it."""
    service = start(BEFORE_RUN="sleep:0.3")

    assert get(service.address).status == 200
    # The other one may not have come as far.
    [server, *_] = [pid for event, pid in marks.lines() if event == "on_start"]
    events = [event for event, pid in marks.lines() if pid == server]
    assert events.index("before_run") < events.index("on_start")


def test_a_blocked_loop_is_found_and_its_stacks_are_logged(start):
    """The line it hangs in is in the log, and another worker takes its place."""
    service = start({"heartbeat_timeout": 1.5})
    before = service.worker_pids()
    Pending(service.address, "/block?s=60")
    began = time.monotonic()

    wait_until(lambda: set(before) - set(service.worker_pids()), 5)
    service.wait_workers(2, 3)

    assert time.monotonic() - began < 4
    output = service.output()
    assert "has been blocked for" in output
    assert "service.py" in output
    assert "in get" in output


def test_a_start_that_hangs_is_found_too(start):
    """The stacks of the hanging factory are logged, and the service ends with status 70."""
    service = start({"start_timeout": 1}, ready=None, FACTORY="block:60")

    assert service.wait(5) == 70
    output = service.output()
    assert "did not start within 1 s" in output
    assert "in make_app" in output


def test_a_slow_start_is_no_hang(start):
    """A loop that does not beat yet is bounded by the start's time alone."""
    service = start({"heartbeat_timeout": 0.5, "start_timeout": 10}, FACTORY="sleep:1.5")

    assert get(service.address).status == 200
    assert "killing it" not in service.output()


def test_a_reload_loses_nothing(start, marks):
    """New connections, kept ones and a slow request pass a rolling restart; all workers are new."""
    service = start()
    before = service.worker_pids()
    with (
        Load(service.address, clients=2) as fresh,
        Load(service.address, clients=2, keep_alive=2) as kept,
    ):
        pending = Pending(service.address, "/slow?s=1.5")
        wait_until(lambda: marks.count("slow"))
        service.signal(signal.SIGHUP)
        service.wait_output("all workers are replaced")
        fresh.wait_answers(50)

    assert fresh.lost == 0, fresh.losses
    # A kept connection that the retiring worker closes while the client writes is the one loss
    # that HTTP has no cure for; a client repeats such a request.
    assert all(loss.outcome in ("closed", "reset") and loss.kept_alive for loss in kept.losses)
    assert len(kept.losses) <= 2
    assert pending.outcome() == "200"
    wait_until(lambda: not set(before) & set(service.worker_pids()), 5)
    assert len(service.wait_workers(2)) == 2


def test_a_reload_of_a_broken_application_keeps_the_old_workers(start, tmp_path):
    """One line says so, and the workers are the same."""
    broken = tmp_path / "broken"
    service = start(BROKEN=str(broken))
    before = service.worker_pids()
    broken.touch()

    service.signal(signal.SIGHUP)

    service.wait_output("the old ones go on serving")
    assert service.wait_workers(2) == before
    assert get(service.address).status == 200
    broken.unlink()
    service.signal(signal.SIGHUP)
    service.wait_output("all workers are replaced")
    service.wait_workers(2, without=before)


def test_workers_can_be_added_and_taken_away(start):
    """SIGTTIN and SIGTTOU."""
    service = start()

    service.signal(signal.SIGTTIN)
    assert len(service.wait_workers(3)) == 3
    service.signal(signal.SIGTTOU)
    service.wait_workers(2)
    service.signal(signal.SIGTTOU)

    assert len(service.wait_workers(1)) == 1
    assert get(service.address).status == 200


def test_log_files_are_opened_again_on_sigusr1(start, tmp_path):
    """After a rotation by somebody else, records go to the new file."""
    path = tmp_path / "service.log"
    service = start({"number_of_procs": 2}, LOG=f"file:{path}")
    get(service.address)
    wait_until(lambda: path.exists() and "GET / " in path.read_text())
    moved = Path(f"{path}.1")
    path.rename(moved)

    service.signal(signal.SIGUSR1)

    def is_left_alone() -> bool:
        size = moved.stat().st_size
        for _ in range(10):  # for both workers
            get(service.address, "/?again")
        return moved.stat().st_size == size

    wait_until(is_left_alone)
    assert "again" in path.read_text()


def test_a_worker_is_replaced_after_its_requests(start):
    """With no request lost."""
    service = start({"max_requests": 20, "max_requests_jitter": 5})
    before = service.worker_pids()

    with Load(service.address, clients=2) as load:
        wait_until(lambda: not set(before) & set(service.worker_pids()), 10)

    assert load.lost == 0, load.losses
    assert "has served its time" in service.output()


def test_a_worker_is_replaced_after_its_lifetime(start):
    """Even one that does nothing."""
    service = start({"max_lifetime": 1.0})
    before = service.worker_pids()

    wait_until(lambda: not set(before) & set(service.worker_pids()), 10)

    assert get(service.address).status == 200


def test_a_worker_that_grows_too_large_is_replaced(start):
    """A mebibyte is less than any worker has."""
    service = start({"max_memory": 1 << 20, "number_of_procs": 2})

    service.wait_output("has served its time")

    assert get(service.address).status == 200


def test_a_request_that_kills_its_worker_does_not_kill_the_service(start):
    """Others are answered, before and after."""
    service = start({"number_of_procs": 2})

    assert outcome_of(lambda: get(service.address, "/exits")) == "closed"

    assert get(service.address).status == 200
    service.wait_workers(2)
    service.wait_output("exit status 11")


def test_a_segmentation_fault_leaves_its_stacks_in_the_log(start):
    """As any other end by a signal that Python's fault handler knows."""
    service = start()
    victim = service.worker_pids()[0]

    service.signal(signal.SIGSEGV, victim)

    service.wait_output("Segmentation fault")
    service.wait_workers(2, without=[victim])


def test_a_worker_told_to_stop_by_somebody_else_is_replaced(start, marks):
    """It drains; the service keeps its number of workers."""
    service = start()
    victim = service.worker_pids()[0]

    service.signal(signal.SIGTERM, victim)

    service.wait_workers(2, without=[victim])
    assert marks.count("shutdown-done") == 1


def test_files_of_the_parent_survive_a_worker(start, marks):
    """Code after ``run()`` runs in the parent alone."""
    service = start()
    service.signal(signal.SIGTERM)

    assert service.wait(5) == 0
    assert [pid for event, pid in marks.lines() if event == "after-run"] == [service.pid]


def test_threads_of_the_factory_are_harmless(start):
    """The application is made after the fork, so they are the worker's own."""
    service = start(THREAD="1")

    assert get(service.address).status == 200
    assert "Warning" not in service.output()


def test_a_preloaded_application_is_made_once(start, marks):
    """In the parent, before the fork."""
    service = start({"preload": True})

    assert marks.count("factory") == 1
    assert [pid for event, pid in marks.lines() if event == "factory"] == [service.pid]
    assert marks.count("before_run") == 2


def test_the_pid_file_names_the_parent_and_goes_with_it(start, tmp_path):
    """One that a dead process left is replaced."""
    path = tmp_path / "service.pid"
    path.write_text("999999999\n")
    service = start({"pid_file": str(path)})

    assert int(path.read_text()) == service.pid
    service.signal(signal.SIGTERM)
    assert service.wait(5) == 0
    assert not path.exists()


def test_a_pid_file_of_a_living_process_is_respected(start, tmp_path):
    """One line says who has it."""
    path = tmp_path / "service.pid"
    path.write_text(f"{os.getpid()}\n")
    service = start({"pid_file": str(path)}, ready=None)

    assert service.wait(5) == 69
    assert f"names process {os.getpid()}" in service.output()
    assert int(path.read_text()) == os.getpid()


@pytest.mark.rule("H3.4")
def test_each_worker_runs_its_own_callbacks(start, marks):
    """Once in each process, before its loop; the application is made there too."""
    start()
    wait_until(lambda: marks.count("on_start-done") == 2)

    lines = marks.lines()
    for event in ("factory", "before_run", "on_start"):
        assert len({pid for each, pid in lines if each == event}) == 2
