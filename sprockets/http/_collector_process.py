"""The parent's side of the collector: starts it, watches it, and ends it after all the others.

The parent has no threads, so it forks a collector like a worker, and knows it by the same things:
its exit status, what it says on a socket pair, and a cell of memory in which it beats.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from sprockets.http._collector_channel import ParentHandler, stop_frame
from sprockets.http._collector_child import SIGNALS, SPOOL_BYTES, Post, be_collector
from sprockets.http._collector_folder import CollectorError, clear_folder, make_folder
from sprockets.http._collector_pulse import Pulse
from sprockets.http._collector_setup import CollectorConfig, check_config
from sprockets.logbook import Logger
from sprockets.logbook._collecting._beats import Watch
from sprockets.logbook.base import StackedObject
from sprockets.logbook.delivery import Retry, Spool
from sprockets.logbook.queues._zeromq_reliable import ReliableZeroMQHandler

_LIVED: Final = 10.0  # seconds after which a collector did not die of its start
_RELOAD_TIMEOUT: Final = 2.0
_RESTART_TIMEOUT: Final = 5.0
_WORKER_DRAIN: Final = 1.0
_TO_CLOSE: Final = 0.5  # seconds that the collector's handlers have at the end
_TO_DUMP: Final = 0.5  # seconds for writing down the stacks, before it is killed
_DUMP_BYTES: Final = 65536  # what a pipe holds

_log: Final = Logger("sprockets.http")


class CollectorProcess:
    """Keeps a collector alive, for a parent that has no threads.

    Args:
        config: What it collects into.
        folder: Where its socket and the spool are; ``None`` is a temporary one.  What is there from
            a service that was killed is collected first.
        drain_timeout: Seconds that its end may take if the parent is gone.
        start_timeout: Seconds that its start may take.
        heartbeat_timeout: Seconds after which one that does not come round is killed; 0 is never.
    """

    def __init__(
        self,
        config: CollectorConfig,
        *,
        folder: str | None = None,
        drain_timeout: float = 25.0,
        start_timeout: float = 60.0,
        heartbeat_timeout: float = 60.0,
    ) -> None:
        check_config(config)
        self._config = config
        self._wanted_folder = folder
        self._drain_timeout = drain_timeout
        self._start_timeout = start_timeout or float("inf")
        self._watch = Watch(heartbeat_timeout)
        self._retry = Retry(initial=0.2, maximum=10.0)
        self._folder: Path | None = None
        self.handler: ParentHandler = ParentHandler()
        """To be bound in the parent."""
        self.pid: int | None = None
        """The process, while there is one."""
        self._channel: socket.socket | None = None
        self._control: socket.socket | None = None
        self._dump: int | None = None
        self._alive: tuple[int, int] | None = None
        self._pulse: Pulse | None = None
        self._kill_at: float | None = None
        self.hung: int = 0
        """How many have been killed because they did not come round."""
        self._level = 0
        self._failures = 0
        self._started_at = 0.0
        self._looked_at = 0.0
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
            self._folder = make_folder(self._wanted_folder)
            self._alive = os.pipe()
            self._pulse = Pulse(self._watch.interval)
        ours, theirs = socket.socketpair()
        control, their_control = socket.socketpair()
        dump, their_dump = os.pipe()
        os.set_blocking(dump, False)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()  # or both processes would write what is buffered
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:
            for each in (ours, theirs, control, their_control):
                each.close()
            for descriptor in (dump, their_dump):
                os.close(descriptor)
            raise CollectorError(f"cannot fork: {error}") from error
        finally:
            if os.getpid() == self._pid:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if pid == 0:
            ours.close()
            control.close()
            os.close(dump)
            post = self._make_post(theirs, their_control, their_dump)
            be_collector(post, mask, in_child, self.forget_logging)
        theirs.close()
        their_control.close()
        os.close(their_dump)
        self.pid, self._channel, self._control, self._dump = pid, ours, control, dump
        self._started_at = monotonic()
        limit = self._start_timeout if timeout is None else timeout
        answer = self._hear(limit)
        if answer.startswith("ready "):
            self._level = int(answer.removeprefix("ready "))
            assert self._pulse is not None
            self._pulse.beat()
            self.handler.attach(ours)
            return
        code = self._wait(_TO_DUMP)
        if code is None:
            # Whatever it is, it is not to start later.
            self._kill()
            answer = answer or f"it did not start within {limit:g} s"
        stacks = self._read_stacks()
        self._forget()
        _log_stacks(pid, stacks)
        raise CollectorError(answer or f"it ended with {code}")

    def _make_post(self, channel: socket.socket, control: socket.socket, dump: int) -> Post:
        assert self._folder is not None
        assert self._alive is not None
        assert self._pulse is not None
        return Post(
            config=self._config,
            folder=self._folder,
            alive=self._alive,
            channel=channel,
            control=control,
            dump=dump,
            pulse=self._pulse,
            heartbeat_timeout=self._watch.limit,
            drain_timeout=self._drain_timeout,
        )

    def make_worker_handler(self) -> StackedObject:
        """Return what a worker logs with; called there, after the fork."""
        assert self._folder is not None
        return ReliableZeroMQHandler(
            f"ipc://{self._folder}/socket",
            self._level,
            spool=Spool(self._folder / "spool", max_bytes=SPOOL_BYTES),
            drain_timeout=_WORKER_DRAIN,
        )

    def leave_in_worker(self) -> None:
        """Close the parent's ends in a worker, which only shows by a pipe that it lives."""
        self._close_ends()

    def _close_ends(self) -> None:
        for channel in (self._channel, self._control):
            if channel is not None:
                channel.close()
        if self._dump is not None:
            os.close(self._dump)
        self._channel = self._control = self._dump = self.pid = None

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
        """Do what is due: send what is left, see to one that hangs, start another if it died.

        Args:
            now: The time by the monotonic clock.
            in_child: Called in a new process first: lets go of what is the parent's.
        """
        self.handler.pump()
        if self.pid is not None and self._reap() is None:
            self._check(now)
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

    def _check(self, now: float) -> None:
        """Kill the process if it hangs: what it has not written, its senders still have."""
        assert self._pulse is not None
        self._looked_at = now
        if self._kill_at is not None:
            if now >= self._kill_at:
                self._kill_at = float("inf")
                self.send(signal.SIGKILL)
            return
        silence = self._watch.find_silence(self._pulse.beat_at, now)
        if silence is not None:
            self.hung += 1
            self._kill_at = now + _TO_DUMP
            _log.error(
                "the collector {} has been blocked for {:.1f} s; killing it", self.pid, silence
            )
            self._ask_for_stacks()

    def _ask_for_stacks(self) -> None:
        """Have the process write down where it is, and end; its fault handler does."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGABRT)

    @property
    def due_at(self) -> float | None:
        """When there is something to do, by the monotonic clock."""
        if self.pid is None:
            return self._due_at
        if self._kill_at is not None:
            return self._kill_at
        return self._looked_at + self._watch.interval if self._watch.limit else None

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
        # One that hung at once has lived for as long as that took to be seen.
        enough = _LIVED if self._kill_at is None else _LIVED + 2 * self._watch.limit
        self._failures = 0 if lived > enough else self._failures + 1
        wait = 0.0 if self._failures < 2 else self._retry.delay(self._failures - 1)
        self._due_at = monotonic() + wait
        ended, lost = self.pid, self.handler.waiting
        stacks = self._read_stacks()
        self._forget()
        _log.error(
            "the collector {} ended with {}; starting another, {} records of the parent wait",
            ended,
            f"signal {-code}" if code < 0 else f"exit status {code}",
            lost,
        )
        _log_stacks(ended, stacks)
        return code

    def _read_stacks(self) -> str:
        """Return what the process has written down of where it was."""
        assert self._dump is not None
        with contextlib.suppress(OSError):
            return os.read(self._dump, _DUMP_BYTES).decode(errors="replace").rstrip()
        return ""

    def _forget(self) -> None:
        self.handler.detach()
        self._close_ends()
        self._kill_at = None

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

    def _kill(self) -> None:
        """End the process for good."""
        self._ask_for_stacks()
        if self._wait(_TO_DUMP) is None:
            self.send(signal.SIGKILL)
            self._wait(5.0)

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
        """Let go of what is there for all collectors of the service; return whether all is well."""
        assert self._folder is not None
        assert self._alive is not None
        for descriptor in self._alive:
            os.close(descriptor)
        self._alive = None
        assert self._pulse is not None
        self._pulse.close()
        self._pulse = None
        folder, self._folder = self._folder, None
        return clear_folder(folder, is_temporary=self._wanted_folder is None)


def _log_stacks(pid: int, stacks: str) -> None:
    if stacks:
        _log.error("the collector {}, at its end:\n{}", pid, stacks)
