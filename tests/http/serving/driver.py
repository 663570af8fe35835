"""The black box: starts a real service, sends it signals and requests, and tells what it does.

Knows of HTTP, signals and ``/proc``, and of nothing that is ours: any server can be driven.
Every wait here is bounded, and polls for a condition.
"""

import contextlib
import http.client
import json
import os
import random
import signal as signals
import socket
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

#: A TCP port of this machine, or the path of a unix socket.
Address: TypeAlias = int | str

#: ``"200"`` or another status code; or ``"refused"``, ``"reset"``, ``"closed"`` (without any
#: answer), ``"truncated"`` (within the body), ``"timeout"``, ``"broken"`` (no HTTP), ``"error"``.
Outcome: TypeAlias = str

_T = TypeVar("_T")

_HOST = "127.0.0.1"
_TICKS = os.sysconf("SC_CLK_TCK")
# Below what the kernel gives to clients (32768 and up): no request of ours can take the port.
_PORTS = range(20_000, 32_000)
# What the machine's own environment would tell a service.
_FORGOTTEN = {
    "DEBUG", "ENVIRONMENT", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET",
    "NUMBER_OF_PROCS", "PORT", "SERVICE", "WATCHDOG_PID", "WATCHDOG_USEC",
}  # fmt: skip
# Children that multiprocessing keeps for itself.
_HELPERS = (b"resource_tracker", b"forkserver")
_TAIL = 4000


# --- waiting ---------------------------------------------------------------------------------------


def wait_until(
    condition: Callable[[], _T], timeout: float = 10.0, what: str = "", interval: float = 0.02
) -> _T:
    """Return the first true value of *condition*.

    Raises:
        TimeoutError: There was none for *timeout* seconds; the text says *what* was waited for.
    """
    deadline = monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if monotonic() >= deadline:
            raise TimeoutError(f"not within {timeout:g} seconds: {what or condition}")
        sleep(interval)


def free_port() -> int:
    """Return a port that nobody listens on, and that no client will be given."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((_HOST, port))
                return port
    raise OSError("found no free port")


# --- processes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process as ``/proc`` shows it; *started* is in seconds since the machine's start."""

    pid: int
    parent: int
    session: int
    state: str
    started: float


def processes() -> Iterator[Process]:
    """Yield every process of the machine that has not ended; a zombie has."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_bytes()
        except OSError:  # gone meanwhile
            continue
        # The name, in parentheses, may itself hold spaces and parentheses.
        state, parent, _group, session, *rest = stat[stat.rindex(b")") + 2 :].split()
        if state not in b"ZX":
            started = int(rest[15]) / _TICKS
            yield Process(int(entry), int(parent), int(session), state.decode(), started)


def session_pids(session_id: int) -> list[int]:
    """Return the processes of a session, whoever their parent is now."""
    return [process.pid for process in processes() if process.session == session_id]


def no_process_left(session_id: int) -> bool:
    """Return whether every process of a session has ended."""
    return not session_pids(session_id)


def _is_helper(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(word in command for word in _HELPERS)


class ServiceEndedError(Exception):
    """The service ended while it was waited for: *returncode*, and the end of its *output*."""

    def __init__(self, returncode: int, output: str):
        super().__init__(f"the service ended with {returncode}; its output:\n{output[-_TAIL:]}")
        self.returncode: int = returncode
        self.output: str = output


class Service:
    """A command run in a session of its own; leaving the context ends all that is left of it.

    Args:
        command: What to run; ``{port}`` in it becomes the port.
        port: Where it will listen; a free port unless given.
        unix_socket: Where it will listen instead of a port, if it does.
        env: Added to the environment, which is ours without the variables that steer services.
        cwd: The directory to run in.
        ready_path: What must answer, with less than 500, before the context is entered; None does
            not wait.
        start_timeout: Seconds to wait for that answer.
        pass_fds: Descriptors that the command inherits.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int | None = None,
        unix_socket: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        ready_path: str | None = "/",
        start_timeout: float = 15.0,
        pass_fds: Sequence[int] = (),
    ):
        self.port: int = free_port() if port is None else port
        self.address: Address = unix_socket or self.port
        self.command: list[str] = [part.replace("{port}", str(self.port)) for part in command]
        self.env: dict[str, str] = dict(env or {})
        self.cwd: str | os.PathLike[str] | None = cwd
        self.ready_path: str | None = ready_path
        self.start_timeout: float = start_timeout
        self.pass_fds: Sequence[int] = pass_fds
        self.started_at: float = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.NamedTemporaryFile(prefix="service-", suffix=".log")  # noqa: SIM115

    def __enter__(self) -> Self:
        self.start()
        try:
            if self.ready_path is not None:
                self.wait_ready(self.ready_path, self.start_timeout)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(f"output of the service:\n{self.output()[-_TAIL:]}")
        self.close()

    def start(self) -> None:
        """Start the command, and do not wait for it."""
        ours = {name: text for name, text in os.environ.items() if name not in _FORGOTTEN}
        self.started_at = monotonic()
        self._process = subprocess.Popen(
            self.command,
            env={**ours, "PYTHONUNBUFFERED": "1", **self.env},
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=self.pass_fds,
        )

    def close(self) -> None:
        """End all that is left of the session, and forget its output."""
        if self._process is not None:
            self.kill_all()
        self._output.close()

    @property
    def pid(self) -> int:
        """The process that was started; also the id of its session."""
        if self._process is None:
            raise RuntimeError("the service was not started")
        return self._process.pid

    @property
    def session_id(self) -> int:
        """What :func:`no_process_left` wants to know."""
        return self.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; minus the number of the signal that killed it; None while it runs."""
        if self._process is None:
            raise RuntimeError("the service was not started")
        return self._process.poll()

    def output(self) -> str:
        """Return what was written to stdout and stderr so far, by any of its processes."""
        return Path(self._output.name).read_text("utf-8", "replace")

    def workers(self) -> list[Process]:
        """Return the living children, the eldest first, without multiprocessing's own."""
        children = (child for child in processes() if child.parent == self.pid)
        return sorted(
            (child for child in children if not _is_helper(child.pid)),
            key=lambda child: (child.started, child.pid),
        )

    def worker_pids(self) -> list[int]:
        """Return the ids of :meth:`workers`."""
        return [worker.pid for worker in self.workers()]

    def session_pids(self) -> list[int]:
        """Return all that is left of the session, orphans included."""
        return session_pids(self.pid)

    def signal(self, number: int, pid: int | None = None) -> None:
        """Send a signal to the parent alone, or to *pid*; one that has ended gets none."""
        self.returncode  # noqa: B018  # reaps: a number must not reach who has it next
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid if pid is None else pid, number)

    def signal_group(self, number: int) -> None:
        """Send a signal to the whole process group, as a terminal does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, timeout: float = 10.0) -> int:
        """Return the exit status of the parent.

        Raises:
            TimeoutError: It has not ended for *timeout* seconds.
        """
        # Not Popen.wait(): its pauses grow to 50 ms, and times are read off this.
        wait_until(lambda: self.returncode is not None, timeout, "the end of the service", 0.005)
        assert self.returncode is not None
        return self.returncode

    def wait_gone(self, timeout: float = 10.0) -> None:
        """Wait until every process of the session has ended."""
        wait_until(lambda: self.returncode is not None, timeout, "the end of the service")
        wait_until(lambda: no_process_left(self.pid), timeout, "the end of all its processes")

    def wait_ready(self, path: str = "/", timeout: float = 15.0) -> "Response":
        """Return the first answer to *path* with a status below 500.

        Raises:
            ServiceEndedError: The service ended first.
            TimeoutError: There was none for *timeout* seconds.
        """

        def answer() -> Response | None:
            if self.returncode is not None:
                raise ServiceEndedError(self.returncode, self.output())
            try:
                response = get(self.address, path, timeout=1.0)
            except (OSError, http.client.HTTPException):
                return None
            return response if response.status < 500 else None

        try:
            return _some(wait_until(answer, timeout, f"an answer to {path}"))
        except TimeoutError as error:
            error.add_note(f"output of the service:\n{self.output()[-_TAIL:]}")
            raise

    def wait_output(self, text: str, timeout: float = 10.0) -> str:
        """Return the output as soon as it has *text* in it."""
        wait_until(lambda: text in self.output(), timeout, f"{text!r} in the output")
        return self.output()

    def wait_workers(
        self, count: int, timeout: float = 10.0, without: Sequence[int] = ()
    ) -> list[int]:
        """Return the workers as soon as there are *count* of them, and none of *without*."""

        def chosen() -> list[int] | None:
            pids = self.worker_pids()
            return pids if len(pids) == count and not set(pids) & set(without) else None

        return _some(wait_until(chosen, timeout, f"{count} workers"))

    def kill_all(self) -> None:
        """End every process of the session at once, and wait until they have."""

        def ended() -> bool:
            for pid in session_pids(self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signals.SIGKILL)
            return self.returncode is not None and no_process_left(self.pid)

        wait_until(ended, 10.0, "the end of the session")


def _some(value: _T | None) -> _T:
    assert value is not None
    return value


# --- requests --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    """An answer that arrived whole; the names of *headers* are in lower case."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # what a client would read
        """Return the body, decoded."""
        return json.loads(self.body)

    @property
    def closes(self) -> bool:
        """Whether the server says that the connection ends with this answer."""
        return self.headers.get("connection", "").lower() == "close"


def connect(address: Address, timeout: float = 10.0) -> socket.socket:
    """Return a connected socket; *timeout* also bounds each later operation, in seconds."""
    if isinstance(address, int):
        return socket.create_connection((_HOST, address), timeout)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(timeout)
    try:
        client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


class Connection:
    """One connection that stays open from request to request; connects when it is made."""

    def __init__(self, address: Address, timeout: float = 10.0):
        self.socket: socket.socket = connect(address, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close our end."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def read(self, method: str = "GET") -> Response:
        """Return the next answer.

        Raises:
            http.client.RemoteDisconnected: The connection was closed before the first byte.
            http.client.IncompleteRead: It was closed within the body.
            http.client.BadStatusLine: What came is not HTTP.
            OSError: It was reset, or silent for too long.
        """
        answer = http.client.HTTPResponse(self.socket, method=method)
        try:
            answer.begin()
            body = answer.read()
            headers = {name.lower(): text for name, text in answer.headers.items()}
            return Response(answer.status, answer.reason, headers, body)
        finally:
            answer.close()

    def send_request(
        self,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> None:
        """Send a request, and do not read the answer."""
        fields = {"Host": "localhost", **(headers or {})}
        if body is not None:
            fields.setdefault("Content-Length", str(len(body)))
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + (body or b""))

    def request(
        self,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Response:
        """Send a request and return its answer."""
        self.send_request(path, headers, method=method, body=body)
        return self.read(method)

    def is_closed(self) -> bool:
        """Return whether the server has closed the connection, without waiting for it."""
        timeout = self.socket.gettimeout()
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.socket.settimeout(timeout)


def request(
    address: Address,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
    timeout: float = 10.0,
) -> Response:
    """Return the answer to one request on a new connection; raises as :meth:`Connection.read`."""
    with Connection(address, timeout) as connection:
        return connection.request(path, headers, method=method, body=body)


def get(
    address: Address,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
) -> Response:
    """Return the answer to one GET on a new connection that asks to be closed after it."""
    return request(address, path, {"Connection": "close", **(headers or {})}, timeout=timeout)


def outcome_of(call: Callable[[], Response]) -> Outcome:
    """Return in one word how a request went."""
    try:
        return str(call().status)
    except (OSError, http.client.HTTPException) as error:
        return describe_failure(error)


def describe_failure(error: BaseException) -> Outcome:
    """Return in one word why there was no answer."""
    match error:
        # A ConnectionResetError too, so it comes first.
        case http.client.RemoteDisconnected():
            return "closed"
        case ConnectionRefusedError() | FileNotFoundError():
            return "refused"
        case ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError():
            return "reset"
        case http.client.IncompleteRead():
            return "truncated"
        case TimeoutError():
            return "timeout"
        case http.client.HTTPException():
            return "broken"
        case _:
            return "error"


class Pending:
    """A request that a thread waits for, sent before this returns.

    Args:
        address: Where to send it.
        path: What to ask for.
        headers: Sent with it.
        connection: Sends it on this connection instead of a new one.
        timeout: Seconds without a byte after which the answer is given up.
    """

    def __init__(
        self,
        address: Address,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        connection: Connection | None = None,
        timeout: float = 60.0,
    ):
        self.seconds: float | None = None
        self._started = monotonic()
        self._connection = connection or Connection(address)
        self._connection.socket.settimeout(timeout)
        self._connection.send_request(path, headers)
        self._response: Response | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            self._response = self._connection.read()
        except (OSError, http.client.HTTPException) as error:
            self._error = error
        finally:
            self.seconds = monotonic() - self._started
            self._connection.close()

    @property
    def is_done(self) -> bool:
        """Whether there is an answer, or never will be."""
        return not self._thread.is_alive()

    def result(self, timeout: float = 30.0) -> Response:
        """Return the answer; raises as :meth:`Connection.read`, or TimeoutError if none came."""
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        if self._response is None:
            raise TimeoutError(f"no answer within {timeout:g} seconds")
        return self._response

    def outcome(self, timeout: float = 30.0) -> Outcome:
        """Return in one word how it went."""
        return outcome_of(partial(self.result, timeout))


# --- load and time lines ---------------------------------------------------------------------------


@dataclass
class Loss:
    """A request of the load that got no 2xx: *at* seconds after the start."""

    at: float
    outcome: Outcome
    kept_alive: bool


class Load:
    """Clients that ask on and on, each in a thread, until the context is left.

    Args:
        address: Whom to ask.
        path: What to ask for.
        clients: How many.
        keep_alive: How many of them keep their connection for as long as the server does.
        pause: Seconds between two requests of a client; this machine has work to do, too.
        timeout: Seconds a client waits for an answer.
    """

    def __init__(
        self,
        address: Address,
        path: str = "/",
        *,
        clients: int = 4,
        keep_alive: int = 0,
        pause: float = 0.002,
        timeout: float = 10.0,
    ):
        self.counts: Counter[Outcome] = Counter()
        self.losses: list[Loss] = []
        self.bodies: Counter[bytes] = Counter()
        self._address = address
        self._path = path
        self._pause = pause
        self._timeout = timeout
        self._started = monotonic()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._ask, args=(index < keep_alive,), daemon=True)
            for index in range(clients)
        ]

    def __enter__(self) -> Self:
        self._started = monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the clients, each after the request it is at."""
        self._stop.set()
        for thread in self._threads:
            thread.join(self._timeout + 1)

    @property
    def ok(self) -> int:
        """How many requests got a 2xx."""
        return sum(count for word, count in self.counts.items() if word.startswith("2"))

    @property
    def lost(self) -> int:
        """How many did not."""
        return self.counts.total() - self.ok

    def wait_answers(self, count: int, timeout: float = 10.0) -> None:
        """Wait until *count* more requests were answered with a 2xx."""
        goal = self.ok + count
        wait_until(lambda: self.ok >= goal, timeout, f"{count} more answers")

    def _ask(self, keep_alive: bool) -> None:
        connection: Connection | None = None
        while not self._stop.is_set():
            try:
                connection = connection or Connection(self._address, self._timeout)
                response = connection.request(
                    self._path, {} if keep_alive else {"Connection": "close"}
                )
            except (OSError, http.client.HTTPException) as error:
                self._count(describe_failure(error), keep_alive, None)
                close = True
            else:
                self._count(str(response.status), keep_alive, response.body)
                close = not keep_alive or response.closes
            if close and connection is not None:
                connection.close()
                connection = None
            self._stop.wait(self._pause)
        if connection is not None:
            connection.close()

    def _count(self, outcome: Outcome, kept_alive: bool, body: bytes | None) -> None:
        with self._lock:
            self.counts[outcome] += 1
            if body is not None and len(self.bodies) < 1000:
                self.bodies[body] += 1
            if not outcome.startswith("2"):
                self.losses.append(Loss(monotonic() - self._started, outcome, kept_alive))


@dataclass(frozen=True)
class Probe:
    """One request of a time line: begun *at* seconds after its start, over after *seconds*."""

    at: float
    outcome: Outcome
    seconds: float = field(compare=False)


class Timeline:
    """Asks once in *interval* seconds, on a new connection each, and writes down how it went.

    A request that hangs does not hold up the next.
    """

    def __init__(
        self, address: Address, path: str = "/", interval: float = 0.05, timeout: float = 10.0
    ):
        self.probes: list[Probe] = []
        self._address = address
        self._path = path
        self._interval = interval
        self._timeout = timeout
        self._started = 0.0
        self._stop = threading.Event()
        self._asking: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._started = monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the line, and wait for the answers that are due."""
        self._stop.set()
        self._thread.join(self._timeout + 1)
        for thread in self._asking:
            thread.join(self._timeout + 1)
        self.probes.sort(key=lambda probe: probe.at)

    def now(self) -> float:
        """Return the seconds since the start of the line."""
        return monotonic() - self._started

    def changes(self) -> list[tuple[float, Outcome]]:
        """Return when the outcome became another one, the first probe included."""
        probes = sorted(self.probes, key=lambda probe: probe.at)
        runs = groupby(probes, key=lambda probe: probe.outcome)
        return [(next(run).at, outcome) for outcome, run in runs]

    def _run(self) -> None:
        while not self._stop.is_set():
            thread = threading.Thread(target=self._probe, args=(self.now(),), daemon=True)
            thread.start()
            self._asking.append(thread)
            self._stop.wait(self._interval)

    def _probe(self, at: float) -> None:
        outcome = outcome_of(partial(get, self._address, self._path, timeout=self._timeout))
        self.probes.append(Probe(at, outcome, self.now() - at))


def connections_to(
    address: Address, pids: Sequence[int], path: str = "/pid", attempts: int = 200
) -> dict[int, Connection]:
    """Return one idle connection to each of the workers *pids*, as *path* tells their numbers.

    Raises:
        TimeoutError: The kernel gave none of them for so many attempts; which ones, says the text.
    """
    found: dict[int, Connection] = {}
    spare: list[Connection] = []
    for _ in range(attempts):
        if set(pids) <= set(found):
            break
        connection = Connection(address)
        pid = int(connection.request(path).body)
        if pid in pids and pid not in found:
            found[pid] = connection
        else:
            spare.append(connection)
    # Only now: whoever has many connections open gets no more of them.
    for connection in spare:
        connection.close()
    missing = set(pids) - set(found)
    if missing:
        for connection in found.values():
            connection.close()
        raise TimeoutError(f"no connection to {sorted(missing)} in {attempts} attempts")
    return found
