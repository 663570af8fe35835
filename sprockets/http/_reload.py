"""Reloading: for whoever writes the application, serves it anew whenever a file of it changes.

The parent binds the address, forks a child that makes the application and serves it, and looks at
the files.  The child tells the names of what it has imported.  Connections made while there is no
child wait for the next one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from types import FrameType
from typing import Any, Final, TypeAlias

from tornado import web

from sprockets.http import _sentry, runner
from sprockets.http._lifecycle import Place
from sprockets.http._logging import LogSetup
from sprockets.http._notify import PidFile
from sprockets.http._scoreboard import SERVING, Scoreboard
from sprockets.http._settings import Options
from sprockets.http._sockets import BindError, Listener, listen
from sprockets.http._supervisor import EXIT_UNAVAILABLE, EXIT_UNCLEAN, Link

_INTERVAL: Final = 0.25  # seconds between two looks at the files
_CALM: Final = 0.05  # seconds without a change after which whoever writes is taken to be done
_PATIENCE: Final = 1.0  # seconds that requests get to finish before they are hurried
_OVERTIME: Final = 1.5  # seconds after that until the child is killed
_MOST_FILES: Final = 5000
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})
_STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

#: What is compared of a file; None where there is none.
State: TypeAlias = tuple[int, int, int] | None


def serve(
    create_application: Callable[[], web.Application],
    options: Options,
    logs: LogSetup,
    watched: Iterable[str] = (),
) -> int:
    """Serve until a signal says stop, and return the exit status.

    Args:
        create_application: Called in each child.
        options: All that the runner can be told.
        logs: Bound here, and unbound.
        watched: Files to look at besides the modules.
    """
    logger = runner.get_logger()
    logs.bind_in_parent()
    pid_file: PidFile | None = None
    listener: Listener | None = None
    try:
        listener = listen(options)
        if options.pid_file is not None:
            pid_file = PidFile(options.pid_file)
        logger.info("serving on %s, and again when a file changes", listener.describe())
        return _Reloader(create_application, options, logs, logger, listener, watched).run()
    except BindError as error:
        logger.critical("%s", error.strerror)
        return EXIT_UNAVAILABLE
    except OSError as error:
        logger.critical("cannot write the PID file: %s", error)
        return EXIT_UNAVAILABLE
    finally:
        # Only in the parent: the children leave without coming back here.
        if pid_file is not None:
            pid_file.remove()
        if listener is not None:
            listener.close()
        logs.unbind()


class _Child:
    """What the parent knows of the process that serves."""

    def __init__(self, pid: int, channel: socket.socket, reports: int) -> None:
        self.pid = pid
        self.channel = channel
        self.reports = reports
        self.started_at = time.time()
        self.unfinished = b""

    def has_ended(self) -> int | None:
        """Return the exit status, or the negative number of a signal; None while it runs."""
        with contextlib.suppress(ChildProcessError):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return None if pid == 0 else os.waitstatus_to_exitcode(status)
        return 0

    def tell(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            self.channel.send(message)

    def send(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def read_reports(self) -> list[str]:
        """Return the names that have come in since the last time."""
        with contextlib.suppress(BlockingIOError):
            while text := os.read(self.reports, 65536):
                self.unfinished += text
        *names, self.unfinished = self.unfinished.split(b"\0")
        return [os.fsdecode(name) for name in names]

    def close(self) -> None:
        self.channel.close()
        os.close(self.reports)


class _Reloader:
    def __init__(
        self,
        create_application: Callable[[], web.Application],
        options: Options,
        logs: LogSetup,
        logger: logging.Logger,
        listener: Listener,
        watched: Iterable[str],
    ) -> None:
        self._create_application = create_application
        self._options = options
        self._logs = logs
        self._log = logger
        self._listener = listener
        self._files: dict[str, State] = {name: look_at(name) for name in watched}
        self._board = Scoreboard()
        self._generation = 0
        self._stop_signals = 0
        self._reason = ""

    def run(self) -> int:
        """Serve until a signal says stop, and return the exit status."""
        before = {each: signal.signal(each, self._note_signal) for each in (*_STOPS, signal.SIGHUP)}
        try:
            while True:
                status = self._serve_once()
                if status is not None:
                    return status
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _note_signal(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGHUP:
            self._reason = "told to reload"
        else:
            self._stop_signals += 1

    def _serve_once(self) -> int | None:
        """Serve until there is something new to serve; or return the exit status."""
        self._reason = ""
        child = self._fork()
        try:
            status = self._watch(child)
            if status is None:
                status = self._stop(child)
                return _end_with(status) if self._stop_signals else None
            if status == 0 or self._stop_signals:
                return _end_with(status)
            self._log.error(
                "the application is not served (%s); waiting for a file to change",
                f"exit status {status}" if status > 0 else signal.Signals(-status).name,
            )
            return self._wait_for_repair()
        except BaseException:
            child.send(signal.SIGKILL)
            raise
        finally:
            child.close()

    def _watch(self, child: _Child) -> int | None:
        """Return when *child* is to be replaced or to be stopped; or how it ended by itself."""
        while True:
            status = child.has_ended()
            self._listen_to(child)
            if status is not None:
                return status
            if self._stop_signals:
                return None
            if reason := self._find_change() or self._reason:
                self._log.info("%s; serving anew", reason)
                return None
            select.select([child.reports], [], [], _INTERVAL)

    def _listen_to(self, child: _Child) -> None:
        now = time.time()
        for name in child.read_reports():
            if name in self._files:
                continue
            state = self._files[name] = look_at(name)
            if state is not None and child.started_at < state[0] / 1e9 <= now:
                # Nobody knows which version was imported.
                self._reason = _describe(name)

    def _find_change(self) -> str:
        """Say what has changed, if anything has, once it changes no longer."""
        changed = self._compare()
        if not changed:
            return ""
        first = min(changed)
        while changed and not self._stop_signals:
            time.sleep(_CALM)
            changed = self._compare()
        return _describe(first)

    def _compare(self) -> list[str]:
        states = {name: look_at(name) for name in self._files}
        changed = [name for name, state in states.items() if state != self._files[name]]
        self._files = states
        return changed

    def _wait_for_repair(self) -> int | None:
        """Wait for any file to change, also for one that nobody could import; or to be stopped."""
        for name in find_sources(os.getcwd()):
            self._files.setdefault(name, look_at(name))
        known = len(self._files)
        while not self._stop_signals:
            reason = self._find_change() or self._reason
            for name in find_sources(os.getcwd()):
                self._files.setdefault(name, look_at(name))
            if len(self._files) > known:
                reason = reason or "there is a new file"
            if reason:
                self._log.info("%s; serving anew", reason)
                return None
            time.sleep(_INTERVAL)
        return 0

    def _stop(self, child: _Child) -> int:
        """Stop *child*, and return its exit status."""
        if self._board.rows[0]["state"] == SERVING:
            child.tell(b"R")
        else:
            child.send(signal.SIGTERM)  # it does not listen yet
        seen = self._stop_signals
        hurry_at = monotonic() + min(_PATIENCE, self._options.shutdown_limit)
        kill_at = hurry_at + _OVERTIME
        while (status := child.has_ended()) is None:
            self._listen_to(child)
            now = monotonic()
            if now >= hurry_at or self._stop_signals > seen:
                child.tell(b"Q")
                seen = self._stop_signals
                hurry_at = kill_at
            if now >= kill_at:
                child.send(signal.SIGKILL)
                hurry_at = kill_at = now + _OVERTIME
            select.select([child.reports], [], [], 0.02)
        return status

    # -- the child

    def _fork(self) -> _Child:
        row = self._board.rows[0]
        row.clear()
        self._generation += 1
        ours, theirs = socket.socketpair()
        reports, their_reports = os.pipe()
        os.set_blocking(reports, False)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or both processes would write what is buffered
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (*_STOPS, signal.SIGHUP))
        pid = os.fork()
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
            os.close(their_reports)
            return _Child(pid, ours, reports)
        for signum in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_DFL)
        # The terminal sends this one to both; the parent passes it on its own way.
        signal.signal(signal.SIGINT, _ignore)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        ours.close()
        os.close(reports)
        row["pid"] = os.getpid()
        row["started_at"] = monotonic()
        place = Place(self._listener, self._board, Link(theirs, row, self._generation))
        reporter = Reporter(their_reports)
        runner._forget_parents_exit()
        runner.end(place, lambda: self._work(place, reporter))
        raise AssertionError("a child never returns")

    def _work(self, place: Place, reporter: Reporter) -> int:
        faulthandler.enable()
        # Two versions within a second, of the same length, would be the same to the cache.
        sys.dont_write_bytecode = True
        reporter.start()

        def make_runner() -> runner.Runner:
            try:
                application = self._create_application()
            except BaseException as error:
                reporter.tell(files_of(error))
                raise
            _sentry.initialise(application.settings)
            return runner.Runner(application, options=self._options)

        try:
            return runner._work(None, make_runner, place, self._options, self._logs, self._log)
        finally:
            reporter.tell(files_of_modules())


def _describe(name: str) -> str:
    return f"{os.path.relpath(name)} changed"


def _end_with(status: int) -> int:
    """Return the exit status of the parent whose child ended with *status*."""
    if status == -signal.SIGTERM:
        return 0  # it was told to, before it could do so in good order
    return status if status >= 0 else EXIT_UNCLEAN


class Reporter:
    """Tells the parent which files this process has imported, from a thread of its own.

    Args:
        pipe: Where the names go, each with a null character behind it.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to look at what is imported, until the process ends."""
        threading.Thread(target=self._run, name="reload-reporter", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.tell(files_of_modules())
            time.sleep(_INTERVAL)

    def tell(self, names: Iterable[str]) -> None:
        """Tell those of *names* that have not been told yet."""
        with self._lock:
            new = sorted({os.path.abspath(name) for name in names} - self._told)
            self._told.update(new)
            with contextlib.suppress(OSError):  # the parent is gone
                for name in new:
                    os.write(self._pipe, os.fsencode(name) + b"\0")


def look_at(name: str) -> State:
    """Return what tells one version of a file from another."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def files_of_modules() -> Iterator[str]:
    """Yield the source files of all that is imported."""
    for module in list(sys.modules.values()):
        # Not getattr(): that would import those that are lazy.
        name = getattr(module, "__dict__", {}).get("__file__")
        if isinstance(name, str):
            yield name


def files_of(error: BaseException | None) -> Iterator[str]:
    """Yield the files that *error* came through."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, SyntaxError) and error.filename:
            yield error.filename
        traceback = error.__traceback__
        while traceback is not None:
            name: Any = traceback.tb_frame.f_code.co_filename
            if not name.startswith("<"):
                yield name
            traceback = traceback.tb_next
        error = error.__cause__ or error.__context__


def find_sources(root: str) -> Iterator[str]:
    """Yield the Python files below *root*, but for environments and what is hidden."""
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = [
            each
            for each in folders
            if each not in _SKIPPED
            and not each.startswith(".")
            and not os.path.exists(os.path.join(folder, each, "pyvenv.cfg"))
        ]
        for name in names:
            if name.endswith(".py"):
                yield os.path.join(folder, name)
                count += 1
        if count >= _MOST_FILES:
            return


def _ignore(signum: int, frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN this is not inherited by programs that the child starts."""
