"""How a service stops: in order, within its time, whatever hangs."""

import json
import os
import signal
import subprocess
import sys
from time import monotonic

import pytest

from tests.http.serving.conftest import SCRIPT, records
from tests.http.serving.driver import (
    Connection,
    Pending,
    Timeline,
    free_port,
    get,
    outcome_of,
    session_pids,
    wait_until,
)


@pytest.mark.rule("H5.11", "H6.2", "H1.14")
def test_sigterm_to_the_parent_alone_drains_and_exits_0(start, marks):
    """A request in flight is answered, its connection closed, and no process is left."""
    service = start()
    pending = Pending(service.address, "/slow?s=1.5")
    wait_until(lambda: marks.count("slow"))

    service.signal(signal.SIGTERM)
    began = monotonic()

    assert service.wait(5) == 0
    assert monotonic() - began < 2.5
    response = pending.result()
    assert response.status == 200
    assert response.closes
    service.wait_gone(1)


@pytest.mark.rule("H5.1", "H5.11")
@pytest.mark.parametrize("procs", [1, 2])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_service_stops_at_once(start, marks, procs, signum):
    """Whether one process or several, and by either signal; shutdown callbacks ran once each."""
    service = start({"number_of_procs": procs})
    began = monotonic()

    service.signal(signum)

    assert service.wait(5) == 0
    assert monotonic() - began < 1.0
    assert marks.count("shutdown-done") == procs
    assert marks.count("after-run") == 1


@pytest.mark.rule("H6.5")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_counts_as_one(start, marks, signum):
    """A terminal, or an init system, tells every process; requests are finished all the same."""
    service = start()
    pending = Pending(service.address, "/slow?s=1")
    wait_until(lambda: marks.count("slow"))

    service.signal_group(signum)

    assert service.wait(5) == 0
    assert pending.outcome() == "200"
    assert marks.count("shutdown-done") == 2


@pytest.mark.rule("H3.21", "H6.6")
@pytest.mark.parametrize("procs", [1, 2])
@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"SHUTDOWN": "hang"}, "/"),
        ({"SHUTDOWN": "block:60"}, "/"),
        ({}, "/slow?s=60"),
        ({}, "/block?s=60"),
        ({}, "/later?s=60"),
        ({}, "/stuck?s=60"),
    ],
    ids=["callback", "blocking callback", "request", "blocked loop", "task of a request", "thread"],
)
def test_a_stop_ends_within_its_time_whatever_hangs(start, marks, procs, variables, path):
    """The exit status says that something was cut, and the log what."""
    service = start({"number_of_procs": procs, "shutdown_limit": 2}, **variables)
    pending = Pending(service.address, path)
    if path != "/":
        event = path[1:].partition("?")[0]
        wait_until(lambda: (event == "later" and pending.is_done) or marks.count(event))
    began = monotonic()

    service.signal(signal.SIGTERM)

    assert service.wait(6) == 75
    assert 1.5 < monotonic() - began < 3.0
    service.wait_gone(1)
    output = service.output()
    assert any(
        text in output for text in ("cut after", "in time", "did not finish", "do not end in")
    )


@pytest.mark.rule("H6.6")
@pytest.mark.parametrize("procs", [1, 2])
@pytest.mark.parametrize("fault", ["hang", "block:60"])
def test_a_start_that_hangs_can_be_stopped(start, marks, procs, fault):
    """Whether it waits on the loop or keeps it from running; within the time for stopping."""
    service = start({"number_of_procs": procs, "shutdown_limit": 1}, ready=None, BEFORE_RUN=fault)
    wait_until(lambda: marks.count("before_run") == procs)
    began = monotonic()

    service.signal(signal.SIGTERM)

    assert service.wait(5) == 75
    assert monotonic() - began < 2.5
    service.wait_gone(1)


@pytest.mark.rule("H6.3")
def test_an_endless_task_of_the_service_delays_nothing(start, marks):
    """It belongs to the service, which ends, so it is cancelled."""
    service = start(POLL="1")
    began = monotonic()

    service.signal(signal.SIGTERM)

    assert service.wait(5) == 0
    assert monotonic() - began < 1.0


def test_what_a_request_left_running_is_waited_for(start, marks):
    """A client was perhaps promised what the task does."""
    service = start()
    assert get(service.address, "/later?s=1").status == 200

    service.signal(signal.SIGTERM)

    assert service.wait(5) == 0
    assert marks.count("later") == 1


@pytest.mark.rule("H6.5")
@pytest.mark.parametrize("procs", [1, 2])
def test_a_second_signal_skips_the_drain(start, marks, procs):
    """The shutdown callbacks still run, once; the exit status says that a request was cut."""
    service = start({"number_of_procs": procs})
    pending = Pending(service.address, "/slow?s=9")
    wait_until(lambda: marks.count("slow"))

    service.signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in service.output() or procs == 1)
    wait_until(lambda: outcome_of(lambda: get(service.address)) == "refused")
    began = monotonic()
    service.signal(signal.SIGTERM)

    assert service.wait(5) == 75
    assert monotonic() - began < 1.5
    assert marks.count("shutdown") == procs
    assert pending.outcome() in ("500", "closed", "reset")
    assert any("request cut" in each["message"] for each in records(service))


@pytest.mark.parametrize("procs", [1, 2])
def test_a_third_signal_kills(start, marks, procs):
    """Even if everything hangs."""
    service = start({"number_of_procs": procs}, SHUTDOWN="block:60")
    began = monotonic()
    for count in range(3):
        service.signal(signal.SIGTERM)
        if count == 0:
            wait_until(lambda: marks.count("shutdown") == procs)
        if count == 1 and procs == 2:
            service.wait_output("again")

    assert service.wait(5) == 75
    assert monotonic() - began < 3


def test_sigquit_stops_without_waiting(start, marks):
    """Callbacks run, requests are cut."""
    service = start()
    Pending(service.address, "/slow?s=9")
    wait_until(lambda: marks.count("slow"))

    service.signal(signal.SIGQUIT)

    assert service.wait(3) == 75
    assert marks.count("shutdown") == 2


@pytest.mark.rule("H6.4")
def test_idle_connections_do_not_delay_the_stop(start):
    """Five of them are closed within a moment."""
    service = start()
    connections = [Connection(service.address) for _ in range(5)]
    for connection in connections:
        assert connection.request("/").status == 200
    began = monotonic()

    service.signal(signal.SIGTERM)

    assert service.wait(5) == 0
    assert monotonic() - began < 1.5
    for connection in connections:
        connection.close()


@pytest.mark.rule("H6.4")
def test_an_idle_connection_used_while_draining_is_answered_and_closed(start, marks):
    """The answer says ``Connection: close``."""
    service = start({"number_of_procs": 1})
    with Connection(service.address) as idle:
        assert not idle.request("/").closes
        pending = Pending(service.address, "/slow?s=1.5")
        wait_until(lambda: marks.count("slow"))
        service.signal(signal.SIGTERM)
        wait_until(lambda: outcome_of(lambda: get(service.address)) == "refused")

        response = idle.request("/")

        assert response.status == 200
        assert response.closes
        wait_until(idle.is_closed)
    assert pending.outcome() == "200"
    assert service.wait(5) == 0


@pytest.mark.rule("H3.16", "H6.2")
def test_late_connections_are_refused_and_queued_ones_served(start, marks):
    """What the kernel had accepted while both workers were busy is answered; then all is refused."""
    service = start({"backlog": 64})
    blocked = []
    for count in range(
        1, 12
    ):  # a worker that is blocked accepts nothing: the next goes to the other
        blocked.append(Pending(service.address, "/block?s=0.7"))
        wait_until(lambda count=count: marks.count("block") == count)
        if len({pid for event, pid in marks.lines() if event == "block"}) == 2:
            break
    queued = [Pending(service.address, "/") for _ in range(20)]

    service.signal(signal.SIGTERM)

    assert [each.outcome() for each in queued] == ["200"] * 20
    wait_until(lambda: outcome_of(lambda: get(service.address)) == "refused")
    assert [each.outcome() for each in blocked] == ["200"] * len(blocked)
    assert service.wait(10) == 0


def test_during_the_lame_duck_delay_all_is_served_and_nothing_is_ready(start):
    """``/ready`` says 503 at once; requests are answered until the delay is over."""
    service = start({"drain_delay": 1.0})
    with Timeline(service.address, "/ready") as ready, Timeline(service.address, "/") as served:
        wait_until(lambda: len(ready.probes) > 3)
        at = ready.now()
        service.signal(signal.SIGTERM)
        assert service.wait(5) == 0
        wait_until(lambda: any(probe.outcome == "refused" for probe in list(served.probes)))

    for probe in ready.probes:
        if at + 0.1 < probe.at < at + 0.9:
            assert probe.outcome == "503"
    for probe in served.probes:
        if probe.at < at + 0.9:
            assert probe.outcome == "200"


def test_a_websocket_is_told_that_we_go_away(start, marks):
    """With the code that says so, 1001."""
    service = start({"number_of_procs": 1})
    with Connection(service.address) as client:
        client.send_request(
            "/socket",
            {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            },
        )
        head = client.socket.recv(4096)
        assert head.startswith(b"HTTP/1.1 101")
        service.signal(signal.SIGTERM)

        frame = client.socket.recv(4096)

        assert frame[0] == 0x88
        assert frame[2:4] == (1001).to_bytes(2, "big")
        client.send(b"\x88\x82\x00\x00\x00\x00" + (1001).to_bytes(2, "big"))
    assert service.wait(5) == 0


@pytest.mark.parametrize("procs", [1, 2])
def test_a_service_goes_with_its_terminal(procs):
    """A developer who closes the window leaves nothing behind."""
    port = free_port()
    settings = {"number_of_procs": procs, "port": port, "address": "127.0.0.1"}
    terminal, end = os.openpty()
    launcher = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "os.execv(sys.executable, [sys.executable, '-P', *sys.argv[1:]])"
    )
    service = subprocess.Popen(
        [sys.executable, "-c", launcher, str(SCRIPT), json.dumps(settings)],
        # Nobody reads the terminal, so nothing much may be written to it.
        env={**os.environ, "LOG": "none"},
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    try:
        wait_until(lambda: outcome_of(lambda: get(port)) == "200")

        os.close(terminal)

        wait_until(lambda: service.poll() is not None, 5)
        wait_until(lambda: not session_pids(service.pid), 2)
        assert service.returncode == 0
    finally:
        for each in session_pids(service.pid):
            os.kill(each, signal.SIGKILL)
        service.wait()


@pytest.mark.parametrize("path", ["/", "/slow?s=0.5"])
def test_the_death_of_the_parent_takes_the_workers_down(start, marks, path):
    """Drained, and with the port closed."""
    service = start()
    workers = service.worker_pids()
    pending = Pending(service.address, path)
    if path != "/":
        wait_until(lambda: marks.count("slow"))

    service.signal(signal.SIGKILL)

    service.wait(1)
    wait_until(lambda: not service.session_pids(), 3)
    assert pending.outcome() == "200"
    assert outcome_of(lambda: get(service.address)) == "refused"
    assert len(workers) == 2


def test_the_death_of_the_parent_ends_a_blocked_worker_too(start, marks):
    """Its watchdog does, when the time for stopping is over."""
    service = start({"shutdown_limit": 1})
    Pending(service.address, "/block?s=60")
    wait_until(lambda: marks.count("block"))

    service.signal(signal.SIGKILL)

    wait_until(lambda: not service.session_pids(), 4)
