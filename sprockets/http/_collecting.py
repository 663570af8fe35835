"""The collector of a service: one process that writes what the parent and all workers log.

It is forked like a worker, by a parent that has no threads, and watched like one.  Workers send
over a unix socket in a private folder, and spool there while nobody listens; the parent has a
channel of its own.  At the end of the service it goes last, when all the others have.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from types import FrameType
from typing import Any, Final, NoReturn, TypeAlias

from sprockets.http._collector_channel import (
    ParentHandler,
    ParentSubscriber,
    SpoolSubscriber,
    stop_frame,
)
from sprockets.http._cpus import count_cpus
from sprockets.http._logging import UNSET, LogConfig
from sprockets.http._settings import Options
from sprockets.logbook import Logger, _context, setups
from sprockets.logbook.base import StackedObject
from sprockets.logbook.collecting import Collector, Source
from sprockets.logbook.compat import redirected_logging, redirected_warnings
from sprockets.logbook.delivery import Retry, Spool
from sprockets.logbook.queues._zeromq_reliable import ReliableZeroMQHandler
from sprockets.logbook.queues._zeromq_reliable_subscriber import ReliableZeroMQSubscriber

#: What records are collected into: a reference to a file of set-ups, a function that returns
#: something to bind, or that itself.
CollectorConfig: TypeAlias = "str | StackedObject | Callable[[], StackedObject]"

EXIT_START: Final = 70
_LONGEST_RESERVE: Final = 3.0
_RESERVE: Final = 0.1
_LIVED: Final = 10.0  # seconds after which a collector did not die of its start
_RELOAD_TIMEOUT: Final = 2.0
_RESTART_TIMEOUT: Final = 5.0
_WORKER_DRAIN: Final = 1.0
_TO_CLOSE: Final = 0.5  # seconds that the collector's handlers have at the end
_SPOOL_BYTES: Final = 256 << 20
_MAX_PATH: Final = 100  # a unix socket's path has 107 bytes

_log: Final = Logger("sprockets.http")


class CollectorError(Exception):
    """The collector cannot be started; the text says why."""


def make_setup(config: CollectorConfig) -> StackedObject:
    """Return what *config* stands for, not bound yet.

    Raises:
        SetupError: The file that it names is wrong.
        TypeError: It is, or returned, nothing that can be bound.
    """
    if isinstance(config, str):
        return setups.from_reference(config)
    if isinstance(config, StackedObject):
        return config
    check_config(config)
    made = config()
    if not isinstance(made, StackedObject):
        raise TypeError(
            "the function given as collector must return a handler or other stacked object,"
            f" {config!r} returned {made!r}"
        )
    return made


def check_config(config: object) -> None:
    """See whether *config* may stand for a set-up.

    Raises:
        TypeError: It may not.
    """
    if not (isinstance(config, (str, StackedObject)) or callable(config)):
        raise TypeError(
            "collector must be a reference such as 'logging.toml:production', a handler or other"
            f" stacked object, or a function that returns one, got {config!r}"
        )


def prepare(
    collector: CollectorConfig | None, log_config: LogConfig, options: Options
) -> tuple[CollectorProcess | None, LogConfig, Options]:
    """Return the collector if there is to be one, and what to log with and the options are then.

    Args:
        collector: The argument of ``run``, which beats the option.
        log_config: Likewise.
        options: As they were given.

    Raises:
        TypeError: *collector* is nothing that could be bound, or there are both.
    """
    config = options.collector if collector is None else collector
    if config is None:
        return None, log_config, options
    check_config(config)
    if log_config is not UNSET:
        raise TypeError(
            "log_config and collector both say where records go; give one of them, and what"
            " log_config said to the collector"
        )
    count = options.number_of_procs if options.number_of_procs > 0 else count_cpus()
    if options.debug or count == 1:
        return None, lambda: make_setup(config), options
    reserve = find_reserve(options.shutdown_limit)
    process = CollectorProcess(
        config,
        folder=options.collector_folder,
        drain_timeout=options.shutdown_limit,
        start_timeout=options.start_timeout,
    )
    rest = dataclasses.replace(options, shutdown_limit=options.shutdown_limit - reserve)
    return process, process.make_worker_handler, rest


def find_reserve(shutdown_limit: float) -> float:
    """Return the seconds of the time for a stop that are the collector's own."""
    return min(shutdown_limit * _RESERVE, _LONGEST_RESERVE)


class CollectorProcess:
    """Keeps a collector alive, for a parent that has no threads.

    Args:
        config: What it collects into.
        folder: Where its socket and the spool are; ``None`` is a temporary one.  What is there from
            a service that was killed is collected first.
        drain_timeout: Seconds that its end may take if the parent is gone.
        start_timeout: Seconds that its start may take.
    """

    def __init__(
        self,
        config: CollectorConfig,
        *,
        folder: str | None = None,
        drain_timeout: float = 25.0,
        start_timeout: float = 60.0,
    ) -> None:
        check_config(config)
        self._config = config
        self._wanted_folder = folder
        self._drain_timeout = drain_timeout
        self._start_timeout = start_timeout or float("inf")
        self._retry = Retry(initial=0.2, maximum=10.0)
        self._folder: Path | None = None
        self.handler: ParentHandler = ParentHandler()
        """To be bound in the parent."""
        self.pid: int | None = None
        """The process, while there is one."""
        self._channel: socket.socket | None = None
        self._control: socket.socket | None = None
        self._alive: tuple[int, int] | None = None
        self._level = 0
        self._failures = 0
        self._started_at = 0.0
        self._due_at = 0.0
        self._pid = os.getpid()
        self.forget_logging: Callable[[], object] = lambda: None
        """Called in a new process: unbinds what the parent logs with."""

    # -- in the parent

    def start(
        self, in_child: Callable[[], object] = lambda: None, timeout: float | None = None
    ) -> None:
        """Start the process, and wait until it receives.

        Args:
            in_child: Called in the new process first: lets go of what is the parent's.
            timeout: Seconds to wait; ``None`` is *start_timeout*.

        Raises:
            CollectorError: It does not start; the text says why.
        """
        if self._folder is None:
            self._folder = self._make_folder()
            self._alive = os.pipe()
        ours, theirs = socket.socketpair()
        control, their_control = socket.socketpair()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()  # or both processes would write what is buffered
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:
            for each in (ours, theirs, control, their_control):
                each.close()
            raise CollectorError(f"cannot fork: {error}") from error
        finally:
            if os.getpid() == self._pid:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if pid == 0:
            ours.close()
            control.close()
            self._be_collector(theirs, their_control, mask, in_child)
        theirs.close()
        their_control.close()
        self.pid, self._channel, self._control = pid, ours, control
        self._started_at = monotonic()
        answer = self._hear(self._start_timeout if timeout is None else timeout)
        if answer.startswith("ready "):
            self._level = int(answer.removeprefix("ready "))
            self.handler.attach(ours)
            return
        if not answer:
            # Whatever it is, it is not to start later.
            self.send(signal.SIGKILL)
        code = self._wait(5.0)
        self._forget()
        raise CollectorError(answer or f"it ended with {code}, or took too long")

    def _make_folder(self) -> Path:
        if self._wanted_folder is None:
            return Path(tempfile.mkdtemp(prefix="sprockets-"))
        folder = Path(self._wanted_folder).absolute()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Whoever can connect can write into the log.
            folder.chmod(0o700)
        except OSError as error:
            raise CollectorError(f"no folder for the collector: {error}") from error
        if len(os.fsencode(folder)) > _MAX_PATH - len("/socket"):
            raise CollectorError(f"{folder} is too long for the path of a unix socket")
        return folder

    def make_worker_handler(self) -> StackedObject:
        """Return what a worker logs with; called there, after the fork."""
        assert self._folder is not None
        return ReliableZeroMQHandler(
            f"ipc://{self._folder}/socket",
            self._level,
            spool=Spool(self._folder / "spool", max_bytes=_SPOOL_BYTES),
            drain_timeout=_WORKER_DRAIN,
        )

    def leave_in_worker(self) -> None:
        """Close the parent's ends in a worker, which only shows by a pipe that it lives."""
        for channel in (self._channel, self._control):
            if channel is not None:
                channel.close()
        self._channel = self._control = self.pid = None

    def send(self, signum: int) -> None:
        """Send a signal, if there is a process."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def reload(self) -> None:
        """Have the set-up read again, and wait for that, so that new workers know of it."""
        if self.pid is None:
            return
        self.send(signal.SIGHUP)
        deadline = monotonic() + _RELOAD_TIMEOUT
        answer = self._hear(_RELOAD_TIMEOUT)
        if answer.startswith("reloaded "):
            self._level = int(answer.removeprefix("reloaded "))
        elif monotonic() >= deadline:
            # Nobody knows what it will want, so it gets all.
            self._level = 0
            _log.warning("the collector takes its time to read its set-up again")

    def tick(self, now: float, in_child: Callable[[], object]) -> None:
        """Do what is due: send what is left, start another one in the place of one that died."""
        self.handler.pump()
        if self.pid is not None:
            self._reap()
        if self.pid is None and now >= self._due_at:
            try:
                # The parent has others to look after.
                self.start(in_child, min(self._start_timeout, _RESTART_TIMEOUT))
            except CollectorError as error:
                self._failures += 1
                wait = self._retry.delay(self._failures)
                self._due_at = monotonic() + wait
                _log.error("the collector does not start, next try in {:.1f} s: {}", wait, error)
            else:
                _log.notice("started another collector, process {}", self.pid)

    @property
    def due_at(self) -> float | None:
        """When there is something to do, by the monotonic clock."""
        return self._due_at if self.pid is None else None

    def _reap(self) -> int | None:
        """See whether the process has ended; return its status if it has."""
        assert self.pid is not None
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else waited for it
            pid, status = self.pid, 0
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        lived = monotonic() - self._started_at
        self._failures = 0 if lived > _LIVED else self._failures + 1
        wait = 0.0 if self._failures < 2 else self._retry.delay(self._failures - 1)
        self._due_at = monotonic() + wait
        ended, lost = self.pid, self.handler.waiting
        self._forget()
        _log.error(
            "the collector {} ended with {}; starting another, {} records of the parent wait",
            ended,
            f"signal {-code}" if code < 0 else f"exit status {code}",
            lost,
        )
        return code

    def _forget(self) -> None:
        self.handler.detach()
        for channel in (self._channel, self._control):
            if channel is not None:
                channel.close()
        self._channel = self._control = self.pid = None

    def _hear(self, timeout: float) -> str:
        """Return the next line that the process says; "" if there is none."""
        assert self._control is not None
        deadline = monotonic() + timeout
        data = b""
        while not data.endswith(b"\n"):
            remaining = deadline - monotonic()
            if remaining <= 0:
                return ""
            self._control.settimeout(min(remaining, 3600.0))
            try:
                more = self._control.recv(4096)
            except TimeoutError:
                return ""
            except OSError:
                break
            if not more:
                break
            data += more
        return data.decode(errors="replace").strip().rpartition("\n")[2]

    def end(self, deadline: float) -> bool:
        """End the process after all workers have; return whether nothing was cut short.

        Args:
            deadline: When it is killed, by the monotonic clock.
        """
        if self._folder is None:
            return True
        # What it said last, it can still write.
        while self.handler.waiting and self.pid is not None and monotonic() < deadline:
            self.handler.pump()
            if self._reap() is not None:
                break
            sleep(0.002)
        is_clean = self.pid is not None
        if self.pid is not None:
            ended = self.pid
            self.handler.detach()
            assert self._channel is not None
            with contextlib.suppress(OSError):
                remaining = deadline - monotonic()
                self._channel.send(stop_frame(max(0.1, remaining - _TO_CLOSE)))
            code = self._wait(deadline - monotonic())
            if code is None:
                self.send(signal.SIGKILL)
                self._wait(5.0)
                _log.error("the collector {} did not end in time and was killed", ended)
            is_clean = code == 0
            self._forget()
        return self._clean_up() and is_clean

    def _wait(self, timeout: float) -> int | None:
        assert self.pid is not None
        deadline = monotonic() + timeout
        while True:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                return 0
            if pid:
                return os.waitstatus_to_exitcode(status)
            if monotonic() >= deadline:
                return None
            sleep(0.002)

    def _clean_up(self) -> bool:
        """Remove the folder, unless something is left in it."""
        assert self._folder is not None
        assert self._alive is not None
        for descriptor in self._alive:
            os.close(descriptor)
        self._alive = None
        folder, self._folder = self._folder, None
        left = [path for path in folder.glob("spool/*.spool") if path.stat().st_size]
        if left:
            _log.error(
                "records that could not be collected are in {}; a service with"
                " SPROCKETS_COLLECTOR_FOLDER={} collects them",
                folder / "spool",
                folder,
            )
            return False
        if self._wanted_folder is None:
            shutil.rmtree(folder, ignore_errors=True)
        return True

    # -- in the collector

    def _be_collector(
        self,
        channel: socket.socket,
        control: socket.socket,
        mask: Any,
        in_child: Callable[[], object],
    ) -> NoReturn:
        status = EXIT_START
        try:
            for signum in _SIGNALS:
                signal.signal(signum, signal.SIG_DFL)
            # Service managers and terminals tell every process; this one goes last.
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                signal.signal(signum, _ignore)
            for signum in (signal.SIGHUP, signal.SIGUSR1):
                signal.signal(signum, _ignore)
            in_child()
            self.forget_logging()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            status = self._collect(channel, control)
        except BaseException as error:  # noqa: BLE001 - told to the parent, which says it
            text = " ".join(f"{type(error).__name__}: {error}".split())
            with contextlib.suppress(OSError):
                control.sendall(f"{text}\n".encode(errors="replace"))
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(status)

    def _collect(self, channel: socket.socket, control: socket.socket) -> int:
        assert self._folder is not None
        assert self._alive is not None
        alive, other_end = self._alive
        os.close(other_end)
        setup = _Told(make_setup(self._config), control)
        parent = ParentSubscriber(channel, alive)
        workers = _Workers(f"ipc://{self._folder}/socket")
        spool = SpoolSubscriber(
            Spool(self._folder / "spool", max_bytes=_SPOOL_BYTES), workers.is_new
        )
        sources = [
            Source("the workers", lambda: workers),
            Source("the parent", lambda: parent),
            Source("what workers have left", lambda: spool),
        ]
        # In one thread: what one source has had, the other leaves out.
        collector = Collector(sources, setup, threads=1, drain_timeout=self._drain_timeout)

        def stop(seconds: float | None) -> None:
            if seconds is not None:
                collector.drain_timeout = seconds
            collector.stop()

        parent.on_stop = stop
        with redirected_logging(), redirected_warnings():
            is_drained = collector.run(
                signals=(signal.SIGHUP, signal.SIGUSR1),
                on_ready=lambda: control.sendall(f"ready {_context.floor}\n".encode()),
            )
        is_closed = setup.close()
        return 0 if is_drained and is_closed else 75


class _Workers(ReliableZeroMQSubscriber):
    """Receives from the workers."""

    def is_new(self, record_id: str | None) -> bool:
        """Whether the record of that name has not come yet; it counts as having come now."""
        assert self._arrivals is not None
        return self._arrivals.admit(record_id)


class _Told(StackedObject):
    """A set-up that tells the parent of each reload.

    Args:
        setup: What is bound and read again.
        control: To the parent.
    """

    def __init__(self, setup: StackedObject, control: socket.socket) -> None:
        self._setup = setup
        self._control = control

    def push_application(self) -> None:
        """Bind to the application."""
        self._setup.push_application()

    def pop_application(self) -> None:
        """Unbind."""
        self._setup.pop_application()

    def push_context(self) -> None:
        """Bind to the current context."""
        self._setup.push_context()

    def pop_context(self) -> None:
        """Unbind from it."""
        self._setup.pop_context()

    def reload(self) -> None:
        """Read the set-up again, and tell the parent which level is wanted now.

        Raises:
            ValueError: It cannot be.
        """
        try:
            reload = getattr(self._setup, "reload", None)
            if reload is None:
                raise ValueError("it came from no file")
            reload()
        finally:
            with contextlib.suppress(OSError):
                self._control.sendall(f"reloaded {_context.floor}\n".encode())

    def close(self) -> bool:
        """Close the handlers; return whether all was delivered."""
        return _close(self._setup)


def _close(setup: StackedObject) -> bool:
    parts = getattr(setup, "objects", None)
    close = getattr(setup, "close", None)
    if callable(close):
        return close() is not False
    # All of them, whatever the first one says.
    return False not in [_close(part) for part in reversed(parts or ())]


_SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
)


def _ignore(signum: int, frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN this is not inherited by programs that are started."""
