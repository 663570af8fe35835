"""What is done to a service, and how what it does is put into the cell of a table.

A scenario is a function of a started :class:`~tests.http.serving.driver.Service`; its name is the
function's.  What is good here is what the users of a service want, and is written beside each.
"""

import contextlib
import http.client
import json
import signal as signals
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep

from benchmarks.serving.servers import WORKERS, Limits
from tests.http.serving.driver import (
    Connection,
    Load,
    Outcome,
    Pending,
    Response,
    Service,
    Timeline,
    connections_to,
    describe_failure,
    get,
    outcome_of,
    wait_until,
)

DEFAULTS = Limits(None, None)
PATIENT = Limits(20, 60)
LIMITS = Limits()
BUDGET = float(LIMITS.budget or 0)
HEARTBEAT = float(LIMITS.heartbeat or 0)
# What a wait may exceed its limit by: two cores, and others work on them too.
SLACK = 1.5
# How much longer than its limit something is watched before it is called endless.
WATCH = 10.0


@dataclass(frozen=True)
class Cell:
    """What a service did, in a few words, and whether that is good."""

    text: str
    good: bool


@dataclass(frozen=True)
class Scenario:
    """A row of the table.

    Args:
        run: Does it.
        title: What the row is called.
        limits: What the server is told.
        env: The faults.
        is_ready: Whether the service must answer before it begins.
        occupied: Whether somebody else listens on the port.
        slow: Whether it is left out unless asked for.
        runs: How often it is done, where luck plays a part; the first that is not good counts.
    """

    run: Callable[[Service], Cell]
    title: str
    limits: Limits = LIMITS
    env: dict[str, str] = field(default_factory=dict)
    is_ready: bool = True
    occupied: bool = False
    slow: bool = False
    runs: int = 1


SCENARIOS: dict[str, Scenario] = {}


def _scenario(
    title: str,
    *,
    limits: Limits = LIMITS,
    is_ready: bool = True,
    **flags: bool | int | dict[str, str],
) -> Callable[[Callable[[Service], Cell]], Callable[[Service], Cell]]:
    def register(run: Callable[[Service], Cell]) -> Callable[[Service], Cell]:
        SCENARIOS[run.__name__] = Scenario(run, title, limits, is_ready=is_ready, **flags)  # type: ignore[arg-type]
        return run

    return register


# --- what they share ------------------------------------------------------------------------------


def _marks(service: Service, event: str) -> list[int]:
    path = Path(service.env["MARK"])
    lines = path.read_text().splitlines() if path.exists() else []
    return [int(pid) for name, pid in map(str.split, lines) if name == event]


def _wait_mark(service: Service, event: str, count: int = 1) -> list[int]:
    what = f"{count} times {event!r} in the marks"
    wait_until(lambda: len(_marks(service, event)) >= count, 10.0, what)
    return _marks(service, event)


def _serving(service: Service) -> list[int]:
    """Return the processes that answer, as they call themselves."""
    wait_until(lambda: len(set(_marks(service, "startup-done"))) >= WORKERS, 15.0, "two workers")
    return sorted(set(_marks(service, "startup-done")))


def _in_flight(service: Service, seconds: float, *, workers: int = WORKERS) -> list[Pending]:
    """Return slow requests that so many workers have begun, each one."""
    connections = connections_to(service.address, _serving(service)[:workers])
    path = f"/slow?s={seconds:g}"
    pending = [Pending(service.address, path, connection=one) for one in connections.values()]
    _wait_mark(service, "slow", len(pending))
    return pending


def _answers(pending: Sequence[Pending]) -> str:
    """Return how requests ended, in words: ``"200"`` if all did so."""
    outcomes = [one.outcome(timeout=20.0) for one in pending]
    words = sorted(set(outcomes))
    if len(words) == 1:
        return words[0]
    return ", ".join(f"{outcomes.count(word)}× {word}" for word in words)


def _leave(service: Service, timeout: float, *, since: float | None = None) -> tuple[str, float]:
    """Wait for the end, and return it in words and the seconds it took; -1 for no end.

    An end with a process left behind is none.
    """
    since = monotonic() if since is None else since
    try:
        status = service.wait(max(0.1, since + timeout - monotonic()))
    except TimeoutError:
        return f"> {timeout:.0f} s", -1.0
    seconds = monotonic() - since
    try:
        service.wait_gone(1.0)
    except TimeoutError:
        return f"exit {status} in {seconds:.1f} s, leaves processes", -1.0
    return f"exit {status} in {seconds:.1f} s", seconds


def _stop(service: Service, timeout: float) -> tuple[str, float]:
    service.signal(signals.SIGTERM)
    return _leave(service, timeout)


def _leaves_orphans(service: Service) -> bool:
    """Return whether something outlives the parent by more than a second."""
    try:
        service.wait_gone(1.0)
    except TimeoutError:
        return True
    return False


def _kind(response: Response) -> str:
    return response.headers.get("content-type", "no content").partition(";")[0]


def _is_document(response: Response) -> bool:
    try:
        return isinstance(json.loads(response.body), dict)
    except ValueError:
        return False


# --- stopping -------------------------------------------------------------------------------------


@_scenario("TERM, 2 s request in flight")
def term_in_flight(service: Service) -> Cell:
    """Good: it is answered, and the service is gone with 0 soon after."""
    # The other worker is idle, and gone first.
    pending = _in_flight(service, 2, workers=1)
    service.signal(signals.SIGTERM)
    end, seconds = _leave(service, BUDGET + WATCH)
    answers = _answers(pending)
    return Cell(f"{answers}, {end}", answers == "200" and "exit 0" in end and 0 < seconds < 4)


@_scenario("TERM, 9 s request in flight, default limits", limits=DEFAULTS)
def term_long_in_flight(service: Service) -> Cell:
    """Good: it is answered, and the service is gone with 0 soon after."""
    pending = _in_flight(service, 9, workers=1)
    service.signal(signals.SIGTERM)
    end, seconds = _leave(service, 20)
    answers = _answers(pending)
    return Cell(f"{answers}, {end}", answers == "200" and "exit 0" in end and seconds > 0)


def _signal_twice(service: Service, second: int) -> Cell:
    _in_flight(service, 9)
    service.signal(signals.SIGTERM)
    sleep(0.7)  # the time between the two is what is tested
    service.signal(second)
    end, seconds = _leave(service, 14)
    hooks = _marks(service, "shutdown")
    twice = len(hooks) != len(set(hooks))
    text = end if 0 < seconds < 3 else f"ignored: {end}"
    return Cell(f"{text}, hooks run twice" if twice else text, 0 < seconds < 3 and not twice)


@_scenario("TERM then TERM, 9 s requests in flight", limits=PATIENT)
def term_term(service: Service) -> Cell:
    """Good: the second ends the drain at once, and no hook runs twice."""
    return _signal_twice(service, signals.SIGTERM)


@_scenario("TERM then INT, 9 s requests in flight", limits=PATIENT)
def term_int(service: Service) -> Cell:
    """Good: the second ends the drain at once, and no hook runs twice."""
    return _signal_twice(service, signals.SIGINT)


@_scenario("stop hook hangs, budget 5 s", env={"SHUTDOWN": "hang"})
def stop_hook_hangs(service: Service) -> Cell:
    """Good: gone within the budget."""
    _serving(service)
    end, seconds = _stop(service, BUDGET + WATCH)
    return Cell(end, 0 < seconds <= BUDGET + SLACK)


@_scenario("handler blocks the loop, TERM, budget 5 s", limits=Limits(LIMITS.budget, 60))
def term_blocked(service: Service) -> Cell:
    """Good: gone within the budget."""
    _serving(service)
    Pending(service.address, "/block?s=60")
    _wait_mark(service, "block")
    end, seconds = _stop(service, BUDGET + WATCH)
    return Cell(end, 0 < seconds <= BUDGET + SLACK)


@_scenario("idle keep-alive used in drain")
def idle_connection_in_drain(service: Service) -> Cell:
    """Good: answered, and told that it was the last."""
    pids = _serving(service)
    idle = connections_to(service.address, pids)
    pending = _in_flight(service, 3)
    service.signal(signals.SIGTERM)
    sleep(0.5)  # into the drain
    words = set()
    for connection in idle.values():
        try:
            response = connection.request("/")
        except (OSError, http.client.HTTPException) as error:
            words.add(describe_failure(error))
        else:
            closes = "Connection: close" if response.closes else "no close"
            words.add(f"{response.status}, {closes}")
    _answers(pending)
    text = " / ".join(sorted(words))
    return Cell(text, text == "200, Connection: close")


@_scenario("five idle connections, TERM")
def idle_connections_at_term(service: Service) -> Cell:
    """Good: they cost no time."""
    _serving(service)
    connections = [Connection(service.address) for _ in range(5)]
    for connection in connections:
        connection.request("/")
    end, seconds = _stop(service, BUDGET + WATCH)
    return Cell(end, 0 < seconds < 1.5)


@_scenario("new connections in drain")
def new_connections_in_drain(service: Service) -> Cell:
    """Good: refused, or answered; none is accepted and then dropped."""
    pending = _in_flight(service, 3)
    with Timeline(service.address, "/", timeout=8.0) as line:
        service.signal(signals.SIGTERM)
        begun = line.now()
        _leave(service, BUDGET + WATCH)
    _answers(pending)
    probes = [probe for probe in line.probes if probe.at >= begun]
    refused = next((probe for probe in probes if probe.outcome == "refused"), None)
    bad = [probe for probe in probes if probe.outcome not in {"200", "refused"}]
    words: list[str] = []
    if bad:
        outcomes = "/".join(sorted({probe.outcome for probe in bad}))
        longest = max(probe.seconds for probe in bad)
        words.append(f"{len(bad)} accepted, {outcomes} after up to {longest:.1f} s")
    if refused:
        words.append(f"refused from {max(0.0, refused.at - begun):.1f} s on")
    return Cell(", ".join(words), not bad)


@_scenario("20 connections queued while both workers block, TERM")
def queued_at_term(service: Service) -> Cell:
    """Good: what the kernel has accepted is answered."""
    connections = connections_to(service.address, _serving(service))
    for connection in connections.values():
        Pending(service.address, "/block?s=2", connection=connection)
    _wait_mark(service, "block", WORKERS)
    queued = [Pending(service.address, "/") for _ in range(20)]
    service.signal(signals.SIGTERM)
    answers = _answers(queued)
    return Cell(answers, answers == "200")


# --- starting -------------------------------------------------------------------------------------


def _boot(service: Service, watch: float = 10.0) -> Cell:
    end, seconds = _leave(service, watch, since=service.started_at)
    spawns = len(set(_marks(service, "import")))
    tracebacks = service.output().count("Traceback (most recent call last)")
    told = f"{spawns} spawns, {tracebacks} traceback" + "s" * (tracebacks != 1)
    if seconds < 0:
        return Cell(f"{end}, {told}", False)
    return Cell(f"{end}, {told}", "exit 0" not in end and seconds < 3)


@_scenario("import fails", is_ready=False, env={"IMPORT": "fail"})
def import_fails(service: Service) -> Cell:
    """Good: ends soon, and the status is not 0."""
    return _boot(service)


@_scenario("start hook fails", is_ready=False, env={"STARTUP": "fail"})
def start_hook_fails(service: Service) -> Cell:
    """Good: ends soon, and the status is not 0."""
    return _boot(service)


def _hung_start(service: Service) -> Cell:
    end, seconds = _leave(service, HEARTBEAT + WATCH, since=service.started_at)
    spawns = len(set(_marks(service, "import")))
    good = (seconds > 0 and "exit 0" not in end) or spawns > WORKERS
    return Cell(f"{end}, {spawns} spawns", good)


@_scenario("import hangs, limit 5 s", is_ready=False, env={"IMPORT": "hang"})
def import_hangs(service: Service) -> Cell:
    """Good: seen; the worker is replaced, or the service ends and not with 0."""
    return _hung_start(service)


@_scenario("start hook hangs, limit 5 s", is_ready=False, env={"STARTUP": "hang"})
def start_hook_hangs(service: Service) -> Cell:
    """Good: seen; the worker is replaced, or the service ends and not with 0."""
    return _hung_start(service)


@_scenario("requests while a start hook takes 2 s", is_ready=False, env={"STARTUP": "sleep:2"})
def slow_start(service: Service) -> Cell:
    """Good: none is answered by a worker that has not finished its start."""
    with Timeline(service.address, "/pid", interval=0.1) as line:
        wait_until(lambda: _marks(service, "startup-done"), 15.0, "the end of a start hook")
        done = line.now()
        wait_until(lambda: any(probe.outcome == "200" for probe in line.probes), 5.0, "a 200")
    # The last second of the hook: both workers are in it, and whoever wants to listen does.
    early = [probe for probe in line.probes if done - 1.0 < probe.at < done - 0.2]
    words = sorted({p.outcome if p.at + p.seconds < done - 0.2 else "held back" for p in early})
    return Cell("/".join(words), "200" not in words)


@_scenario("port in use", is_ready=False, occupied=True)
def port_in_use(service: Service) -> Cell:
    """Good: ends at once, and not with 0."""
    end, seconds = _leave(service, 12, since=service.started_at)
    return Cell(end, 0 < seconds < 2 and "exit 0" not in end)


@_scenario("second instance on the port")
def second_instance(service: Service) -> Cell:
    """Good: it ends at once, and not with 0; the first goes on."""
    _serving(service)
    second = Service(
        service.command, port=service.port, env=service.env, cwd=service.cwd, ready_path=None
    )
    with second:
        end, seconds = _leave(second, 8, since=second.started_at)
        if seconds < 0:
            serves = set(second.session_pids()) & set(_marks(service, "startup-done"))
            text = "both serve" if serves else "neither serves nor ends"
            return Cell(text if second.returncode is None else end, False)
    alive = outcome_of(lambda: get(service.address)) == "200"
    return Cell(end, alive and seconds < 2 and "exit 0" not in end)


# --- keeping on -----------------------------------------------------------------------------------


@_scenario("kill -9 of a worker")
def kill_worker(service: Service) -> Cell:
    """Good: another one serves within two seconds."""
    old = _serving(service)
    since = monotonic()
    service.signal(signals.SIGKILL, old[0])

    def new() -> set[int]:
        return set(_marks(service, "startup-done")) - set(old)

    try:
        wait_until(lambda: service.returncode is not None or new(), 15.0, "another worker")
        if service.returncode is None:
            for connection in connections_to(service.address, sorted(new())).values():
                connection.close()
    except TimeoutError:
        return Cell("not replaced", False)
    seconds = monotonic() - since
    if service.returncode is not None:
        return Cell(f"server ends, exit {service.returncode}", False)
    return Cell(f"serves again in {seconds:.2f} s", seconds < 2)


def _losses(load: Load) -> str:
    """Return how the load lost what it lost, in words."""
    kinds = Counter(
        f"{loss.outcome}{' on a kept connection' if loss.kept_alive else ''}"
        for loss in load.losses
    )
    return ", ".join(f"{count}× {kind}" for kind, count in sorted(kinds.items()))


@_scenario("HUP under load, worst of 3", runs=3)
def reload_under_load(service: Service) -> Cell:
    """Good: every worker is a new one, and no request was lost."""
    old = _serving(service)
    changed = False
    with Load(service.address, "/pid", clients=4, keep_alive=2) as load:
        load.wait_answers(200)
        pending = _in_flight(service, 2)
        service.signal(signals.SIGHUP)
        try:
            wait_until(
                lambda: (
                    service.returncode is not None
                    or (
                        len(set(_marks(service, "startup-done")) - set(old)) >= WORKERS
                        and not set(old) & set(service.session_pids())
                    )
                ),
                20.0,
                "new workers",
            )
            changed = service.returncode is None
        except TimeoutError:
            pass
        if changed:
            load.wait_answers(200)
    slow = _answers(pending)
    lost = load.lost + sum(one.outcome() != "200" for one in pending)
    kinds = _losses(load)
    told = f"{lost} of {load.counts.total()} lost" + (f" ({kinds})" if kinds else "")
    if slow != "200":
        told += f", slow: {slow}"
    if service.returncode is not None:
        left = ", workers orphaned" if _leaves_orphans(service) else ""
        return Cell(f"ends with {service.returncode}{left}", False)
    if not changed:
        return Cell(f"workers not replaced, {told}", False)
    return Cell(told, not lost)


@_scenario("kill -9 of every new worker for 8 s")
def crash_loop(service: Service) -> Cell:
    """Good: the pauses grow, or it gives up; and the sibling is not left alone."""
    old = _serving(service)
    killed = {old[0]: monotonic()}
    service.signal(signals.SIGKILL, old[0])
    deadline = monotonic() + 8.0
    while monotonic() < deadline and service.returncode is None:
        for pid in set(_marks(service, "startup-done")) - set(old) - set(killed):
            killed[pid] = monotonic()
            service.signal(signals.SIGKILL, pid)
        sleep(0.02)
    told = f"{len(killed)} death{'s' * (len(killed) != 1)}"
    if service.returncode is not None:
        left = ", sibling orphaned" if _leaves_orphans(service) else ""
        good = not left and service.returncode != 0 and len(killed) > 2
        return Cell(f"{told}, ends with {service.returncode}{left}", good)
    gaps = [after - before for before, after in pairwise(killed.values())]
    # The first three against the last three: a single pause may be chance.
    grow = len(gaps) < 3 or sum(gaps[-3:]) > 2 * sum(gaps[:3])
    serves = outcome_of(lambda: get(service.address)) == "200"
    pace = "ever slower" if grow else "no back-off"
    return Cell(f"{told}, {pace}, {'serves on' if serves else 'does not answer'}", grow and serves)


@_scenario("HUP with an application that became broken")
def reload_broken(service: Service) -> Cell:
    """Good: the old workers go on, and no request is lost."""
    old = _serving(service)
    Path(service.env["BROKEN"]).touch()
    with Load(service.address, "/pid", clients=2, keep_alive=1, pause=0.01) as load:
        load.wait_answers(50)
        service.signal(signals.SIGHUP)
        sleep(8.0)  # there is nothing to see where all is well
    told = f"{load.lost} of {load.counts.total()} lost"
    if service.returncode is not None:
        return Cell(f"ends with {service.returncode}, {told}", False)
    kept = set(old) <= set(service.session_pids())
    return Cell(
        ("old workers stay, " if kept else "old workers gone, ") + told, kept and not load.lost
    )


@_scenario("handler blocks the loop, limit 5 s")
def loop_blocked(service: Service) -> Cell:
    """Good: the worker is killed soon after the limit, and the log shows where it hung."""
    _serving(service)
    begun = monotonic()
    Pending(service.address, "/block?s=60")
    (pid,) = _wait_mark(service, "block")
    watch = HEARTBEAT + WATCH
    try:
        wait_until(lambda: pid not in service.session_pids(), watch, "the end of the worker")
    except TimeoutError:
        return Cell(f"never seen ({watch:.0f} s)", False)
    seconds = monotonic() - begun
    output = service.output()
    shown = "app_tornado.py" in output or "app_asgi.py" in output
    stack = "its stack logged" if shown else "no stack"
    return Cell(f"killed at {seconds:.1f} s, {stack}", shown and seconds < HEARTBEAT + 4)


@_scenario("parent kill -9")
def kill_parent(service: Service) -> Cell:
    """Good: no worker serves on."""
    _serving(service)
    begun = monotonic()
    service.signal(signals.SIGKILL)
    try:
        service.wait_gone(5.0)
    except TimeoutError:
        serving = outcome_of(lambda: get(service.address, timeout=2.0))
        return Cell("orphans serve on" if serving == "200" else "orphans stay", False)
    return Cell(f"workers gone in {monotonic() - begun:.1f} s", True)


@_scenario("parent kill -9, 2 s request in flight")
def kill_parent_in_flight(service: Service) -> Cell:
    """Good: answered, and then no worker serves on."""
    pending = _in_flight(service, 2)
    begun = monotonic()
    service.signal(signals.SIGKILL)
    answers = _answers(pending)
    try:
        service.wait_gone(5.0)
    except TimeoutError:
        return Cell(f"{answers}, orphans stay", False)
    return Cell(f"{answers}, workers gone in {monotonic() - begun:.1f} s", answers == "200")


# --- answering ------------------------------------------------------------------------------------


def _raw(service: Service, data: bytes, timeout: float = 5.0) -> Response | Outcome:
    try:
        with Connection(service.address, timeout) as connection:
            # An answer may have come before the server hung up.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(data)
            return connection.read()
    except (OSError, http.client.HTTPException) as error:
        return describe_failure(error)


def _refusal(
    service: Service,
    data: bytes,
    wanted: set[int],
    *,
    timeout: float = 5.0,
    as_document: bool = False,
) -> Cell:
    answer = _raw(service, data, timeout)
    alive = outcome_of(lambda: get(service.address)) == "200"
    if isinstance(answer, str):
        return Cell(answer if alive else f"{answer}, then dead", False)
    text = f"{answer.status} {_kind(answer)}"
    good = alive and answer.status in wanted and (not as_document or _is_document(answer))
    return Cell(text, good)


@_scenario("malformed request line, as JSON")
def malformed_request(service: Service) -> Cell:
    """Good: 400, with a document a machine can read."""
    return _refusal(service, b"GARBAGE\r\n\r\n", {400}, as_document=True)


@_scenario("malformed header")
def malformed_header(service: Service) -> Cell:
    """Good: 400."""
    return _refusal(service, b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", {400})


@_scenario("header line of 1 MB")
def huge_header(service: Service) -> Cell:
    """Good: 431 or 400, and the service lives."""
    line = b"X-Big: " + b"x" * 1_000_000
    return _refusal(service, b"GET / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n", {400, 431})


@_scenario("Content-Length of 10 GB")
def huge_body(service: Service) -> Cell:
    """Good: 413 before the body comes."""
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
    cell = _refusal(service, head, {413}, timeout=3.0)
    return Cell("waits for it", False) if cell.text == "timeout" else cell


@_scenario("unrouted path, as JSON (peers: the application's)")
def unrouted(service: Service) -> Cell:
    """Good: 404, with a document."""
    answer = get(service.address, "/no/such/path")
    text = f"{answer.status} {_kind(answer)}"
    return Cell(text, answer.status == 404 and _is_document(answer))


@_scenario("handler raises")
def handler_raises(service: Service) -> Cell:
    """Good: 500, and nothing that tells the exception's text."""
    answer = get(service.address, "/error")
    text = f"{answer.status} {_kind(answer)}"
    leaks = b"canary" in answer.body
    return Cell(f"{text}, leaks" if leaks else text, answer.status == 500 and not leaks)


@_scenario("stream fails after the headers")
def stream_fails(service: Service) -> Cell:
    """Good: the client can see that something is missing."""
    outcome = outcome_of(lambda: get(service.address, "/stream-fail"))
    return Cell("looks complete" if outcome == "200" else outcome, outcome != "200")


@_scenario("half a header, then nothing", slow=True)
def half_header(service: Service) -> Cell:
    """Good: the connection is closed within 35 seconds."""
    begun = monotonic()
    with Connection(service.address, 36.0) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-")
        try:
            data = connection.socket.recv(1000)
        except TimeoutError:
            return Cell("open after 35 s", False)
        except OSError:
            data = b""
    answer = data.partition(b"\r\n")[0].decode("latin-1", "replace")
    told = f" ({answer})" if answer else ""
    return Cell(f"closed after {monotonic() - begun:.1f} s{told}", True)


def occupy(port: int) -> socket.socket:
    """Return a socket that listens on *port*."""
    return socket.create_server(("127.0.0.1", port))
