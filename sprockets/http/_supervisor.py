"""The supervisor: forks workers, watches them, and brings them all down in the end.

It runs in the parent, which has no event loop and no threads, so forking is safe at any moment.
The parent knows its workers by three things: the exit status the kernel reports; a socket pair for
each, on which single bytes go both ways and whose end says that the other side is gone; and the
worker's row of the scoreboard, where its loop writes down that it is alive.

======  =========  =============================================================
byte    direction  meaning
======  =========  =============================================================
``r``   to parent  ready: the worker accepts connections
``m``   to parent  the worker wants to be replaced: it has served its time
``d``   to parent  draining: the worker accepts no connections any more
``T``   to worker  the service stops: drain, after the lame-duck delay
``R``   to worker  retire: drain now, others go on serving
``Q``   to worker  skip what is left of the drain
======  =========  =============================================================

A slot is a place that should have a worker.  During a rolling restart it has two: the one that
serves, and its successor, until that is ready.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import logging
import os
import selectors
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from types import FrameType
from typing import Any, Final, Literal

from sprockets.http._collecting import CollectorProcess, find_reserve
from sprockets.http._notify import Notifier
from sprockets.http._restarts import RestartPolicy
from sprockets.http._scoreboard import DRAINING, SERVING, STARTING, Row, Scoreboard
from sprockets.http._settings import Options
from sprockets.http._sockets import Listener

EXIT_UNAVAILABLE: Final = 69  # EX_UNAVAILABLE: the address could not be bound
EXIT_START: Final = 70  # EX_SOFTWARE: a worker could not start, or they die faster than they serve
EXIT_UNCLEAN: Final = 75  # EX_TEMPFAIL: stopped, but something had to be cut short

_SIGNALS: Final = tuple(
    getattr(signal, name)
    for name in (
        "SIGTERM",
        "SIGINT",
        "SIGQUIT",
        "SIGHUP",
        "SIGUSR1",
        "SIGTTIN",
        "SIGTTOU",
        "SIGCHLD",
    )
    if hasattr(signal, name)
)
_MARGIN: Final = 0.3  # what a worker may need beyond its own deadline, to be gone by itself
_QUICKLY: Final = 1.0  # what is left of the stop after a second signal
_PAUSE: Final = 1.0  # after a fork that failed
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_DUMP_BYTES: Final = 65536  # what a pipe holds
_MOST_ROWS: Final = 512  # beyond what a rolling restart needs

State = Literal["starting", "ready", "retiring"]


class Link:
    """A worker's end of what ties it to its supervisor.

    Args:
        channel: Bytes from and to the parent; at its end the parent is gone.
        row: The worker's cells of the scoreboard.
        generation: How many reloads came before this worker.
    """

    def __init__(self, channel: socket.socket, row: Row, generation: int) -> None:
        self.channel = channel
        self.row = row
        self.generation = generation

    def tell(self, message: bytes) -> None:
        """Send *message*; a parent that is gone does not hear it."""
        with contextlib.suppress(OSError):
            self.channel.send(message)


class _Worker:
    """What the parent knows of one worker."""

    def __init__(
        self, pid: int, channel: socket.socket, dump: int, row: Row, generation: int, now: float
    ) -> None:
        self.pid = pid
        self.channel = channel
        self.dump = dump
        self.row = row
        self.generation = generation
        self.started_at = now
        self.state: State = "starting"
        self.deadline: float | None = None
        """When it must be gone."""
        self.kill_at: float | None = None
        """When it is killed after its stacks were asked for."""
        self.was_killed = False
        self.must_reopen = False
        """Whether it is to be told to open its files again once it can hear that."""
        self.ready_at: float | None = None
        self.wants_out = False
        self.is_draining = False
        """Whether it accepts no connections any more."""

    def tell(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            self.channel.send(message)

    def send(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)


class _Slot:
    """A place that should have a worker."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker: _Worker | None = None
        self.successor: _Worker | None = None
        self.due_at = 0.0
        """When the next worker may start here."""


class _Forked(BaseException):
    """Unwinds the parent's stack in a new worker."""

    def __init__(self, link: Link) -> None:
        self.link = link


class Supervisor:
    """Keeps a number of workers alive until it is told to stop.

    Args:
        count: How many.
        options: Limits and times.
        listener: What the service listens on; the workers inherit it.
        scoreboard: Shared with the workers; has rows for twice as many as there are.
        logger: Where the parent tells what it does.
        notifier: Told when the service is ready, reloading, stopping.
        reopen_files: Called on SIGUSR1, in the parent.
        collector: Writes what all log; watched here, and ended after all workers.
    """

    def __init__(
        self,
        count: int,
        options: Options,
        listener: Listener,
        scoreboard: Scoreboard,
        logger: logging.Logger,
        *,
        notifier: Notifier | None = None,
        reopen_files: Callable[[], object] | None = None,
        collector: CollectorProcess | None = None,
    ) -> None:
        self._collector = collector
        self._options = options
        self._listener = listener
        self._board = scoreboard
        self._log = logger
        self._notifier = notifier or Notifier()
        self._reopen_files = reopen_files
        self._policy = RestartPolicy(options.max_restarts, options.restart_window)
        self._pid = os.getpid()
        self._answered = 0
        self._slots = [_Slot(number) for number in range(count)]
        self._next_slot = count
        self._retiring: set[_Worker] = set()
        self._generation = 0
        self._is_up = False
        self._is_reloading = False
        self._reload_again = False
        self._stop_signals = 0
        self._is_stopping = False
        self._stop_at = 0.0
        self._close_listener_at: float | None = None
        self._status = 0
        self._signals: deque[int] = deque()
        self._selector = selectors.PollSelector()  # nothing of it is shared with the workers
        self._wake_read, self._wake_write = socket.socketpair()
        self._previous: dict[int, Any] = {}
        self._had_terminal = has_terminal()
        self._last_tick = monotonic()
        self._patient_until = 0.0
        self._next_watchdog = 0.0
        self._set_death_signal = _find_prctl()
        scoreboard["target"] = count
        scoreboard["state"] = STARTING

    # -- the parent's life

    def run(self) -> Link | int:
        """Fork the workers and watch them until the end.

        Returns:
            In a worker, its link; at once, to be served.  In the parent the exit status, after
            the last worker is gone.
        """
        self._catch_signals()
        try:
            while True:
                now = monotonic()
                self._tick(now)
                if self._is_stopping and not self._workers():
                    return self._end_collector()
                for key, _ in self._selector.select(self._find_timeout(monotonic())):
                    if key.data is None:
                        self._clear_wakeups()
                    else:
                        self._listen_to(key.data)
                while self._signals:
                    self._handle_signal(self._signals.popleft())
                self._reap()
        except _Forked as forked:
            return forked.link
        finally:
            if os.getpid() == self._pid:
                self._end()

    def _end_collector(self) -> int:
        """End it, now that nobody else has anything to say; return the status of the service."""
        if self._collector is not None:
            over_at = self._stop_at + find_reserve(self._options.shutdown_limit)
            if not self._collector.end(max(over_at, monotonic() + _QUICKLY)):
                self._status = self._status or EXIT_UNCLEAN
        return self._status

    def _end(self) -> None:
        self._release_signals()
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()
        for worker in self._workers():  # only after an error of our own: leave no orphan
            worker.send(signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(worker.pid, 0)

    def _tick(self, now: float) -> None:
        late = now - self._last_tick
        self._last_tick = now
        if late > 5.0:
            # We slept, and so perhaps did the workers: a stopped machine is no blocked loop.
            self._patient_until = now + max(self._options.heartbeat_timeout / 2, 2.0)
        if self._notifier.watchdog_interval is not None and now >= self._next_watchdog:
            self._next_watchdog = now + self._notifier.watchdog_interval
            self._notifier.alive()
        if self._close_listener_at is not None and now >= self._close_listener_at:
            self._close_listener_at = None
            self._listener.close()
        if self._collector is not None:
            self._collector.tick(now, self._drop_all)
        if not self._is_stopping:
            self._take_stock()
            for slot in self._slots:
                self._fill(slot, now)
        for worker in self._workers():
            self._check(worker, now)

    def _fill(self, slot: _Slot, now: float) -> None:
        if now < slot.due_at or slot.successor is not None:
            return
        if slot.worker is None:
            slot.worker = self._fork(slot, now)
        elif slot.worker.wants_out or (
            slot.worker.generation < self._generation
            and slot.worker.state == "ready"
            and not any(each.successor for each in self._slots)
        ):
            slot.successor = self._fork(slot, now)

    def _check(self, worker: _Worker, now: float) -> None:
        """Kill what outlives its deadline, starts too slowly, or has stopped beating."""
        options = self._options
        if worker.kill_at is not None:
            if now >= worker.kill_at:
                worker.kill_at = None
                worker.send(signal.SIGKILL)
            return
        if worker.was_killed:
            return
        if worker.deadline is not None:
            if now >= worker.deadline:
                self._log.error(
                    "worker %d did not stop in time; killing it", worker.pid, extra=_about(worker)
                )
                self._status = self._status or (EXIT_UNCLEAN if self._is_stopping else 0)
                self._kill(worker, now)
        elif worker.state == "starting":
            if options.start_timeout and now - worker.started_at > options.start_timeout:
                self._log.error(
                    "worker %d did not start within %g s; killing it",
                    worker.pid,
                    options.start_timeout,
                    extra=_about(worker),
                )
                self._board["hung"] += 1
                self._kill(worker, now)
        elif options.heartbeat_timeout and now >= self._patient_until:
            silence = now - worker.row["beat_at"]
            if silence > options.heartbeat_timeout:
                self._log.error(
                    "the loop of worker %d has been blocked for %.1f s; killing it",
                    worker.pid,
                    silence,
                    extra=_about(worker),
                )
                self._board["hung"] += 1
                self._kill(worker, now)

    def _kill(self, worker: _Worker, now: float) -> None:
        """Have *worker* write down where it is (its fault handler does), then make it go."""
        worker.was_killed = True
        worker.send(signal.SIGCONT)
        worker.send(signal.SIGABRT)
        worker.kill_at = now + 0.5

    def _find_timeout(self, now: float) -> float:
        options = self._options
        moments = [now + 1.0]
        if options.heartbeat_timeout:
            moments.append(now + max(options.heartbeat_timeout / 4, 0.05))
        if self._close_listener_at is not None:
            moments.append(self._close_listener_at)
        if self._collector is not None and self._collector.due_at is not None:
            moments.append(self._collector.due_at)
        if self._notifier.watchdog_interval is not None:
            moments.append(self._next_watchdog)
        if not self._is_stopping:
            moments.extend(slot.due_at for slot in self._slots if slot.worker is None)
        for worker in self._workers():
            moments.extend(each for each in (worker.deadline, worker.kill_at) if each is not None)
            if worker.state == "starting" and options.start_timeout:
                moments.append(worker.started_at + options.start_timeout)
        return max(min(moments) - now, 0.0) + 0.001

    # -- workers

    def _workers(self) -> list[_Worker]:
        found = list(self._retiring)
        for slot in self._slots:
            found.extend(each for each in (slot.worker, slot.successor) if each is not None)
        return found

    def _fork(self, slot: _Slot, now: float) -> _Worker | None:
        slot.due_at = now + _PAUSE  # should it fail
        row = self._board.find_free()
        if row is None:
            self._log.error("no room for another worker; waiting until an old one is gone")
            return None
        ours, theirs = socket.socketpair()
        dump_read, dump_write = os.pipe()
        os.set_blocking(dump_read, False)
        row.clear()
        row["state"] = STARTING
        row["generation"] = self._generation
        row["started_at"] = now
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()  # or both processes would write what is buffered
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for descriptor in (dump_read, dump_write):
                os.close(descriptor)
            ours.close()
            theirs.close()
            row.clear()
            self._log.error("cannot fork a worker: %s", error)
            return None
        if pid == 0:
            ours.close()
            os.close(dump_read)
            self._become_worker(mask, dump_write)
            row["pid"] = os.getpid()
            raise _Forked(Link(theirs, row, self._generation))
        row["pid"] = pid
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        os.close(dump_write)
        ours.setblocking(False)
        slot.due_at = now
        worker = _Worker(pid, ours, dump_read, row, self._generation, now)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        self._log.debug("started worker %d", pid, extra=_about(worker))
        return worker

    def _become_worker(self, mask: Iterable[int], dump: int) -> None:
        """Drop everything of the parent's that a worker must not hold."""
        self._drop()
        if self._collector is not None:
            self._collector.leave_in_worker()
        for signum in _SIGNALS:
            # Until the worker is ready to stop in good order, a stop signal just ends it.
            signal.signal(signum, signal.SIG_DFL)
        # The terminal sends this one to the whole group; the parent passes it on its own way.
        signal.signal(signal.SIGINT, _ignore)
        faulthandler.enable(dump, all_threads=True)
        if self._set_death_signal is not None:
            self._set_death_signal(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            if os.getppid() != self._pid:  # it died before we asked
                os._exit(0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _drop(self) -> None:
        """Close in a new process what only the parent may hold."""
        for worker in self._workers():
            # A copy of the parent's end would keep that worker from seeing the parent's death.
            worker.channel.close()
            os.close(worker.dump)
        self._selector.close()
        signal.set_wakeup_fd(-1)
        self._wake_read.close()
        self._wake_write.close()

    def _drop_all(self) -> None:
        """Close in a new collector what it does not need either."""
        self._drop()
        self._listener.close()

    def _listen_to(self, worker: _Worker) -> None:
        try:
            messages = worker.channel.recv(64)
        except BlockingIOError:
            return
        except OSError:
            messages = b""
        if not messages:
            self._selector.unregister(worker.channel)
            return
        if b"r" in messages and worker.state == "starting":
            self._welcome(worker)
        if b"m" in messages and worker.state == "ready" and not worker.wants_out:
            self._log.info(
                "worker %d has served its time; replacing it", worker.pid, extra=_about(worker)
            )
            worker.wants_out = True
        if b"d" in messages:
            worker.is_draining = True
            if not self._is_stopping:
                self._take_stock()

    def _welcome(self, worker: _Worker) -> None:
        """Let *worker* serve, and whom it replaces go."""
        worker.state = "ready"
        worker.ready_at = monotonic()
        worker.row["beat_at"] = max(worker.row["beat_at"], monotonic())
        self._log.info("worker %d is ready", worker.pid, extra=_about(worker))
        if worker.must_reopen:
            worker.send(signal.SIGUSR1)
        if self._is_stopping:
            return
        for slot in self._slots:
            if slot.successor is worker:
                old, slot.worker, slot.successor = slot.worker, worker, None
                if old is not None:
                    self._retire(old)
        self._take_stock()

    def _take_stock(self) -> None:
        """See whether the service is up now, and whether a reload is over."""
        ready = [
            slot.worker
            for slot in self._slots
            if slot.worker is not None and slot.worker.state == "ready"
        ]
        if len(ready) < len(self._slots):
            return
        if not self._is_up:
            self._is_up = True
            self._board["state"] = SERVING
            self._log.info(
                "serving on %s with %d workers", self._listener.describe(), len(self._slots)
            )
            self._notifier.ready(f"serving with {len(self._slots)} workers")
        if (
            self._is_reloading
            and all(each.generation == self._generation for each in ready)
            # Who asks from now on is answered by a new one.
            and all(each.is_draining for each in self._retiring)
        ):
            self._finish_reload()

    def _retire(self, worker: _Worker) -> None:
        """Have *worker* finish what it has begun while others serve."""
        self._retiring.add(worker)
        if worker.state == "starting":
            worker.send(signal.SIGTERM)
        else:
            worker.tell(b"R")
        worker.state = "retiring"
        worker.deadline = monotonic() + self._options.shutdown_limit + _MARGIN

    def _reap(self) -> None:
        for worker in self._workers():
            try:
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else waited for it: we shall never know how
                pid, status = worker.pid, 0
            except OSError as error:
                if error.errno != errno.EINTR:
                    raise
                continue
            if pid == worker.pid:
                self._bury(worker, os.waitstatus_to_exitcode(status))

    def _bury(self, worker: _Worker, code: int) -> None:
        """Draw the consequences of the end of *worker*.

        Args:
            worker: The one that is gone.
            code: Its exit status, or the negative number of the signal that ended it.
        """
        self._listen_to_last_words(worker, code)
        with contextlib.suppress(KeyError, ValueError):
            self._listen_to(worker)  # it may have been ready, and told so just before its end
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(worker.channel)
        worker.channel.close()
        os.close(worker.dump)
        worker.row.clear()
        slot = next((s for s in self._slots if worker in (s.worker, s.successor)), None)
        is_successor = slot is not None and slot.successor is worker
        if slot is None:
            self._retiring.discard(worker)
        elif is_successor:
            slot.successor = None
        else:
            slot.worker = None
        if self._is_stopping:
            self._note_end(worker, code)
        elif slot is None:
            if code not in (0, EXIT_UNCLEAN) and not worker.was_killed:
                self._log.warning(
                    "worker %d ended with %s while retiring",
                    worker.pid,
                    _describe(code),
                    extra=_about(worker),
                )
        elif worker.state == "starting" and self._is_reloading and is_successor:
            self._abort_reload(worker, code)
        elif worker.state == "starting" and not self._is_up:
            self._fail(worker, code)
        else:
            self._replace(slot, worker, code)

    def _note_end(self, worker: _Worker, code: int) -> None:
        if worker.state == "starting" and code == -signal.SIGTERM:
            return  # it was told to go before it could have cleaned up after itself
        if code == EXIT_UNCLEAN or worker.was_killed:
            self._status = self._status or EXIT_UNCLEAN
        elif code > 0:
            self._status = self._status or code
        elif code < 0:
            self._log.error(
                "worker %d ended with %s while stopping",
                worker.pid,
                _describe(code),
                extra=_about(worker),
            )
            self._status = self._status or EXIT_UNCLEAN

    def _fail(self, worker: _Worker, code: int) -> None:
        """End the service: its first workers do not start."""
        if code == 0:
            self._log.warning(
                "worker %d ended by itself before it was ready; stopping",
                worker.pid,
                extra=_about(worker),
            )
        else:
            self._log.critical(
                "worker %d could not start (%s); stopping",
                worker.pid,
                _describe(code),
                extra=_about(worker),
            )
        self._status = code if code >= 0 else EXIT_START
        self._begin_stop(lame_duck=False)

    def _replace(self, slot: _Slot, worker: _Worker, code: int) -> None:
        self._board["restarts"] += 1
        answered = self._board.totals().requests
        is_serving, self._answered = answered > self._answered, answered
        lived = None if worker.ready_at is None else monotonic() - worker.ready_at
        wait = self._policy.find_wait(
            slot.number,
            lived=lived,
            is_serving=is_serving,
            was_killed=code == -signal.SIGKILL and not worker.was_killed,
        )
        if wait is None:
            self._log.critical(
                "workers die faster than they serve (the last one, %d, with %s); stopping",
                worker.pid,
                _describe(code),
                extra=_about(worker),
            )
            self._status = EXIT_START
            self._begin_stop(lame_duck=False)
            return
        slot.due_at = monotonic() + wait
        self._log.warning(
            "worker %d ended with %s; starting another%s",
            worker.pid,
            _describe(code),
            f" in {wait:.1f} s" if wait else "",
            extra=_about(worker),
        )

    def _listen_to_last_words(self, worker: _Worker, code: int) -> None:
        """Log the stacks that the fault handler of *worker* left in its pipe."""
        text = b""
        with contextlib.suppress(OSError):
            text = os.read(worker.dump, _DUMP_BYTES)
        if text:
            self._log.error(
                "worker %d, at %s:\n%s",
                worker.pid,
                "its end" if code else "some moment",
                text.decode(errors="replace").rstrip(),
                extra=_about(worker),
            )

    # -- signals

    def _catch_signals(self) -> None:
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        for signum in _SIGNALS:
            self._previous[signum] = signal.signal(signum, self._note_signal)
        self._previous_wakeup = signal.set_wakeup_fd(
            self._wake_write.fileno(), warn_on_full_buffer=False
        )

    def _release_signals(self) -> None:
        signal.set_wakeup_fd(self._previous_wakeup)
        for signum, handler in self._previous.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)

    def _note_signal(self, signum: int, frame: FrameType | None) -> None:
        # A signal handler does nothing but remember; the loop of run() is woken by the wakeup fd.
        self._signals.append(signum)

    def _clear_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_read.recv(4096):
                pass

    def _handle_signal(self, signum: int) -> None:
        if signum == signal.SIGCHLD:
            return  # run() reaps anyway
        name = signal.Signals(signum).name
        if signum in (signal.SIGTERM, signal.SIGINT):
            self._stop_signals += 1
            if self._stop_signals == 1:
                self._log.info("%s: stopping", name)
                self._begin_stop()
            elif self._stop_signals == 2:
                self._log.warning("%s again: not waiting for requests any longer", name)
                self._hurry()
            else:
                self._log.warning("%s once more: killing the workers", name)
                for worker in self._workers():
                    worker.was_killed = True
                    worker.send(signal.SIGKILL)
        elif signum == signal.SIGQUIT:
            self._log.warning("%s: stopping without waiting for requests", name)
            self._stop_signals = max(self._stop_signals, 2)
            self._begin_stop(lame_duck=False)
            self._hurry()
        elif self._is_stopping:
            return
        elif signum == signal.SIGHUP and self._had_terminal and not has_terminal():
            self._log.info("SIGHUP: the terminal is gone; stopping")
            self._begin_stop()
        elif signum == signal.SIGHUP:
            self._log.info("%s: replacing the workers one by one", name)
            if self._collector is not None:
                self._collector.reload()
            self._begin_reload()
        elif signum == signal.SIGUSR1:
            if self._reopen_files is not None:
                self._reopen_files()
            if self._collector is not None:
                self._collector.send(signal.SIGUSR1)
            for worker in self._workers():
                # It may have opened its files already, but would die of the signal if it had not
                # come as far as to expect it.
                if worker.state == "starting":
                    worker.must_reopen = True
                else:
                    worker.send(signal.SIGUSR1)
        elif signum == signal.SIGTTIN:
            self._change_target(+1)
        elif signum == signal.SIGTTOU:
            self._change_target(-1)

    def _change_target(self, change: int) -> None:
        count = len(self._slots) + change
        if count < 1 or count * 2 > len(self._board.rows):
            self._log.warning("cannot run with %d workers", count)
            return
        if change > 0:
            self._slots.append(_Slot(self._next_slot))
            self._next_slot += 1
        else:
            slot = self._slots.pop()
            for worker in (slot.worker, slot.successor):
                if worker is not None:
                    self._retire(worker)
        self._board["target"] = count
        self._log.info("running with %d workers from now on", count)

    # -- the rolling restart

    def _begin_reload(self) -> None:
        if self._is_reloading or not self._is_up:
            self._reload_again = self._is_reloading
            return
        self._is_reloading = True
        self._generation += 1
        self._board["generation"] = self._generation
        self._notifier.reloading()

    def _finish_reload(self) -> None:
        self._is_reloading = False
        self._board["reloads"] += 1
        self._log.info("all workers are replaced")
        self._notifier.ready(f"serving with {len(self._slots)} workers")
        if self._reload_again:
            self._reload_again = False
            self._begin_reload()

    def _abort_reload(self, worker: _Worker, code: int) -> None:
        """Keep the workers there are: the new ones do not start."""
        self._is_reloading = False
        self._reload_again = False
        self._board["failed_reloads"] += 1
        # Whoever serves is up to date until the next reload.
        for slot in self._slots:
            for each in (slot.worker, slot.successor):
                if each is not None:
                    each.generation = self._generation
        self._log.error(
            "the new worker %d could not start (%s); the old ones go on serving",
            worker.pid,
            _describe(code),
            extra=_about(worker),
        )
        self._notifier.ready("reload failed; the old workers go on serving")

    # -- the end

    def _begin_stop(self, *, lame_duck: bool = True) -> None:
        if self._is_stopping:
            return
        self._is_stopping = True
        delay = self._options.drain_delay if lame_duck else 0.0
        now = monotonic()
        limit = delay + self._options.shutdown_limit
        self._board["state"] = DRAINING
        self._stop_at = now + limit + _MARGIN
        reserve = 0.0 if self._collector is None else find_reserve(self._options.shutdown_limit)
        self._notifier.stopping(limit + _MARGIN + reserve)
        self._close_listener_at = now + delay
        for worker in self._workers():
            if worker.state == "starting":
                worker.send(signal.SIGTERM)
            else:
                worker.tell(b"T" if lame_duck else b"R")
            worker.deadline = min(worker.deadline or now + limit + _MARGIN, now + limit + _MARGIN)

    def _hurry(self) -> None:
        self._close_listener_at = monotonic()
        for worker in self._workers():
            worker.tell(b"Q")
            if worker.state == "starting":
                worker.send(signal.SIGKILL)
            worker.deadline = monotonic() + _QUICKLY


def _ignore(signum: int, frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN this is not inherited by programs that the worker starts."""


def has_terminal() -> bool:
    """Whether this process belongs to a terminal, as one that a developer started does."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _about(worker: _Worker) -> dict[str, object]:
    return {"worker": worker.pid, "generation": worker.generation}


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _find_prctl() -> Callable[..., int] | None:
    """The system call by which the kernel tells a process that its parent has died."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found: Callable[..., int] = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return found


def count_rows(workers: int) -> int:
    """Return the rows that a scoreboard for so many *workers* needs, room to grow included."""
    return max(workers * 2, min(max(workers * 4, 32), _MOST_ROWS))
