"""One worker's life: its signals, its heartbeat, its readiness, and how it ends.

The end, in order: readiness is taken back; after the lame-duck delay the server stops accepting,
having served what the kernel had queued; requests in flight are answered, each with ``Connection:
close``; the shutdown callbacks run; what requests left running is waited for; the loop stops.  All
of that has one budget, of which the requests may not use the last part: the callbacks need it.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import faulthandler
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from time import monotonic
from types import FrameType
from typing import Any, Final

from tornado.ioloop import IOLoop

from sprockets.http import _tornado_records
from sprockets.http._notify import Notifier
from sprockets.http._request_context import Exchange, carry_into_threads, request_of_context
from sprockets.http._scoreboard import DRAINING, SERVING, Row, Scoreboard
from sprockets.http._server import Server
from sprockets.http._settings import Options
from sprockets.http._shutdown import cancel_tasks, context_of_task
from sprockets.http._sockets import Listener, load_certificates
from sprockets.http._supervisor import EXIT_START, EXIT_UNCLEAN, Link, has_terminal
from sprockets.http.app import CallbackManager

_LINGER: Final = 0.3  # how long an idle connection may still be used once we drain
_LOOK: Final = 0.025  # seconds between two looks at a drain
_RESERVE: Final = 0.1  # the part of the time for stopping that is the callbacks' own
_LONGEST_RESERVE: Final = 3.0
_QUICKLY: Final = 0.7  # what is left of the time after a second signal
_OVERTIME: Final = 0.6  # how long after its deadline a process that hangs is ended by its watchdog


class Place:
    """Where a worker works: what it listens on, and who watches it.

    Args:
        listener: What the service listens on.
        board: What is known of the whole service.
        link: To the supervisor; None where there is one process only.
    """

    def __init__(self, listener: Listener, board: Scoreboard, link: Link | None = None) -> None:
        self.listener = listener
        self.board = board
        self.link = link
        self.row: Row = board.rows[0] if link is None else link.row
        self.io_loop: IOLoop | None = None
        """The loop to serve on, once there is one."""
        self.has_made_loop: bool = False
        """Whether it was made for the service, and goes with it."""
        if link is None:
            self.row["pid"] = os.getpid()
            self.row["started_at"] = monotonic()
            board["target"] = 1


class Lifecycle:
    """Sees a worker through, from its first signal handler to its exit status.

    Args:
        application: With the callbacks.
        server: Not yet serving.
        io_loop: Not yet running.
        options: Limits and times.
        place: Where to work.
        logger: Told what happens.
        shutdown_limit: Seconds for a whole stop.
        wait_timeout: Seconds between two looks at what is not finished.
        reopen_files: Called on SIGUSR1.
        notifier: Told how the service is, where there is no supervisor to tell it.
    """

    def __init__(
        self,
        application: CallbackManager,
        server: Server,
        io_loop: IOLoop,
        options: Options,
        place: Place,
        logger: logging.Logger,
        *,
        shutdown_limit: float,
        wait_timeout: float,
        reopen_files: Callable[[], object] | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._application = application
        self._server = server
        self.io_loop = io_loop
        self._loop: asyncio.AbstractEventLoop = io_loop.asyncio_loop  # type: ignore[attr-defined]  # there is no other kind
        self._options = options
        self._place = place
        self._log = logger
        self._limit = shutdown_limit
        self._wait_timeout = wait_timeout
        self._reopen_files = reopen_files
        self._notifier = notifier
        self._previous: dict[int, Any] = {}
        self._is_started = False
        self._is_stopping = False
        self._is_accepting = False
        self._is_quick = False
        self._has_stopped_application = False
        self._stop_signals = 0
        self._deadline = 0.0
        self._drain_began_at = 0.0
        self._heart: asyncio.TimerHandle | None = None
        self._beat_due = 0.0
        self._watchdog_deadline: float | None = None
        self._is_over = False
        self._executor = carry_into_threads(io_loop)
        self.status = 0
        """The exit status so far."""
        self.is_by_hand: bool = False
        """Whether the loop is somebody else's to start, and what comes after it to do."""
        self.has_stuck_threads = False
        """Whether the interpreter would wait for ever for threads that do not end."""
        activity = server.activity
        activity.board, activity.row = place.board, place.row
        if options.max_requests and place.link is not None:
            activity.requests_left = options.max_requests + _at_most(options.max_requests_jitter)
            activity.on_worn_out = self._ask_for_replacement
        self._ask_at = (
            monotonic() + options.max_lifetime + random.random() * options.max_lifetime_jitter  # noqa: S311  # spreads load, keeps no secret
            if options.max_lifetime
            else None
        )

    # -- the beginning

    def install(self) -> None:
        """Take over the signals, and listen to the supervisor."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            if signum == signal.SIGINT and self._place.link is not None:
                continue  # the supervisor passes it on, in its own way
            self._previous[signum] = signal.signal(signum, self._on_stop_signal)
        self._previous[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._on_reopen)
        if self._place.link is None:
            self._previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_hang_up)
        else:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if self._place.link is not None:
            self._place.link.channel.setblocking(False)
            self._loop.add_reader(self._place.link.channel.fileno(), self._hear_parent)
        self._filter = _tornado_records.install()
        self._application.on_started = self._on_started
        self._had_terminal = has_terminal()
        self._beat_due = self._loop.time()
        self._beat()

    def accept(self) -> None:
        """Accept connections as soon as the loop runs."""
        if not self._is_accepting and not self._is_stopping:
            self._is_accepting = True
            self._server.serve_on(self._place.listener.sockets)

    def go_live(self) -> None:
        """The ``before_run`` callbacks are done: serve, now or once ``on_start`` is done."""
        self._is_started = True
        if self._stop_signals:
            self._loop.call_soon(self._begin_stop)
            return
        if not self._options.wait_for_on_start:
            self.accept()
            self._loop.call_soon(self._tell_parent)

    def _on_started(self) -> None:
        """Every ``on_start`` callback has returned, or one has failed."""
        if self._is_stopping:
            return
        if self._application.start_failed:
            if self._options.wait_for_on_start:
                self._log.error("an on_start callback failed; stopping, as nothing was served yet")
                self.status = EXIT_START
                self._begin_stop(lame_duck=False)
            else:
                self._place.row["has_failed"] = 1
                self._log.error("an on_start callback failed; serving on, but never ready")
            return
        self._place.row["is_ready"] = 1
        if self._options.wait_for_on_start:
            self.accept()
            self._tell_parent()

    def _tell_parent(self) -> None:
        row = self._place.row
        if self._is_stopping:
            return
        row["state"] = SERVING
        row["beat_at"] = monotonic()
        if self._place.link is not None:
            self._place.link.tell(b"r")
        else:
            self._place.board["state"] = SERVING
            if self._notifier is not None:
                self._notifier.ready("serving with one process")

    # -- the heartbeat

    def _beat(self) -> None:
        """Write down that the loop runs, and how late it is."""
        now = self._loop.time()
        row = self._place.row
        row["beat_at"] = monotonic()
        lag = max(now - self._beat_due, 0.0)
        row["lag"] = lag
        if lag > row["lag_max"]:
            row["lag_max"] = lag
        timeout = self._options.heartbeat_timeout
        interval = min(1.0, timeout / 4) if timeout else 1.0
        if self._notifier is not None and self._notifier.watchdog_interval is not None:
            interval = min(interval, self._notifier.watchdog_interval)
            self._notifier.alive()
        self._beat_due = now + interval
        self._heart = self._loop.call_at(self._beat_due, self._beat)
        if self._ask_at is not None and monotonic() >= self._ask_at:
            self._ask_at = None
            self._ask_for_replacement()
        if self._options.max_memory and count_resident_bytes() > self._options.max_memory:
            self._ask_for_replacement()

    def _ask_for_replacement(self) -> None:
        if self._place.link is not None and not self._is_stopping:
            self._place.link.tell(b"m")

    # -- what comes from outside

    def _hear_parent(self) -> None:
        link = self._place.link
        assert link is not None
        try:
            messages = link.channel.recv(64)
        except BlockingIOError:
            return
        except OSError:
            messages = b""
        if not messages:
            self._loop.remove_reader(link.channel.fileno())
            if not self._is_stopping:
                self._log.error("the supervisor is gone; stopping")
                self._begin_stop(lame_duck=False)
            return
        if b"Q" in messages:
            self._begin_stop(lame_duck=False)
            self._hurry()
        elif b"R" in messages:
            self._begin_stop(lame_duck=False)
        elif b"T" in messages:
            self._begin_stop()

    def _on_stop_signal(self, signum: int, frame: FrameType | None) -> None:
        # Nothing here may log or take a lock: it may have interrupted whoever holds it.
        self._stop_signals += 1
        if self._stop_signals == 1:
            limit = self._limit + self._options.drain_delay
            self._watchdog_deadline = monotonic() + limit + _OVERTIME
            _thread.start_new_thread(self._watch, ())
        elif self._place.link is not None:
            return  # systemd and others tell every process, and the supervisor tells us too
        elif self._stop_signals > 2:
            os._exit(EXIT_UNCLEAN)
        else:
            self._watchdog_deadline = monotonic() + _QUICKLY + _OVERTIME
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heed_stop_signal)

    def _heed_stop_signal(self) -> None:
        if not self._is_started:
            return  # go_live() will
        self._begin_stop()
        if self._stop_signals > 1:
            self._hurry()

    def _on_reopen(self, signum: int, frame: FrameType | None) -> None:
        if self._reopen_files is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._reopen_files)

    def _on_hang_up(self, signum: int, frame: FrameType | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heed_hang_up)

    def _heed_hang_up(self) -> None:
        if self._had_terminal and not has_terminal():
            self._log.info("SIGHUP: the terminal is gone; stopping")
            self._begin_stop(lame_duck=False)
        else:
            self._reload_certificates()

    def _reload_certificates(self) -> None:
        """Read the certificate files again; new connections use them."""
        context, given = self._server.ssl_options, self._options.ssl_options
        if context is None or not isinstance(given, dict):
            self._log.info("SIGHUP: there is one process only, so none can replace it")
            return
        try:
            load_certificates(context, given)  # type: ignore[arg-type]  # a context by now
        except ValueError as error:
            self._log.error("keeping the old certificates: %s", error)
        else:
            self._log.info("SIGHUP: read the certificates again")

    def _watch(self) -> None:
        """End the process if it outlives its deadline, whatever its loop is stuck in."""
        while not (self._is_over or (self.is_by_hand and self._application.has_stopped)):
            deadline = self._watchdog_deadline
            if deadline is not None and monotonic() >= deadline:
                with contextlib.suppress(Exception):  # stderr may be closed, or anything
                    faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
                # Logging may wait for a lock that the stuck thread holds, so somebody else does it.
                _thread.start_new_thread(
                    self._log.critical, ("the process did not stop in time; ending it now",)
                )
                time.sleep(0.1)
                os._exit(EXIT_UNCLEAN)
            time.sleep(0.05)

    # -- the end

    def _begin_stop(self, *, lame_duck: bool = True) -> None:
        if self._is_stopping:
            return
        self._is_stopping = True
        self._log.debug("Shutting down")
        row = self._place.row
        row["state"] = DRAINING
        row["is_ready"] = 0
        if self._place.link is None:
            self._place.board["state"] = DRAINING
        delay = self._options.drain_delay if lame_duck and self._is_accepting else 0.0
        if self._notifier is not None:
            self._notifier.stopping(delay + self._limit + _OVERTIME)
        self._deadline = self._loop.time() + delay + self._limit
        if delay:
            self._loop.call_later(delay, self._begin_drain)
        else:
            self._begin_drain()

    def _begin_drain(self) -> None:
        if self._drain_began_at:
            return
        self._drain_began_at = self._loop.time()
        if self._is_accepting:
            self._server.begin_drain()
        self._place.listener.close()
        if self._is_accepting and self._place.link is not None:
            self._place.link.tell(b"d")
        self._look()

    def _look(self) -> None:
        """Go on to the callbacks as soon as no request is in flight, or their time has come."""
        if self._has_stopped_application:
            return
        now = self._loop.time()
        if not self._is_quiet(now):
            reserve = min(self._limit * _RESERVE, _LONGEST_RESERVE)
            if now < self._deadline - reserve and not self._is_quick:
                self._loop.call_later(_LOOK, self._look)
                return
            self._cut()
        self._has_stopped_application = True
        self._server.close_idle()
        remaining = max(self._deadline - self._loop.time(), 0.0)
        self._application.stop(self.io_loop, remaining, self._wait_timeout)
        if self._is_quick:
            self._application.hurry(_QUICKLY)

    def _is_quiet(self, now: float) -> bool:
        if self._server.activity.exchanges:
            return False
        if not self._server.has_connections:
            return True
        if now - self._drain_began_at < _LINGER:
            return False
        self._server.close_idle()
        return True

    def _cut(self) -> None:
        """Give up on the requests in flight: cancel their handlers, which answers them with 500."""
        for exchange in list(self._server.activity.exchanges):
            self.status = self.status or EXIT_UNCLEAN
            self._place.row.add("cut")
            exchange.scope.run(
                self._log.warning,
                "request cut after %.1f s: %s %s",
                monotonic() - exchange.started_at,
                exchange.fields.get("method"),
                exchange.fields.get("path"),
            )
            for task in self._tasks_of(exchange):
                task.cancel()

    def _tasks_of(self, exchange: Exchange) -> list[asyncio.Task[Any]]:
        return [
            task
            for task in asyncio.all_tasks(self._loop)
            if request_of_context(context_of_task(task)) is exchange
        ]

    def _hurry(self) -> None:
        """Skip what is left of the drain."""
        if self._is_quick:
            return
        self._is_quick = True
        self._log.warning("not waiting for requests any longer")
        if not self._drain_began_at:
            self._begin_drain()
        elif self._has_stopped_application:
            self._application.hurry(_QUICKLY)
        else:
            self._look()

    def close(self) -> int:
        """Clean up after the loop has stopped, and return the exit status."""
        if self._heart is not None:
            self._heart.cancel()
        self._server.end()
        self._place.listener.close()
        remaining = min(max(self._deadline - self._loop.time(), 0.1), 1.0 if self._is_quick else 60)
        stuck = self._loop.run_until_complete(self._end_tasks(remaining))
        for task in stuck:
            self._log.warning("a task does not end although it was cancelled: %r", task)
        self.has_stuck_threads = not self._end_threads()
        if stuck or self.has_stuck_threads or self._application.unfinished:
            self.status = self.status or EXIT_UNCLEAN
        if self._place.link is not None:
            self._loop.remove_reader(self._place.link.channel.fileno())
        self._is_over = True
        _tornado_records.remove(self._filter)
        for signum, handler in self._previous.items():
            if self._place.link is None:
                signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        return self.status

    def _end_threads(self) -> bool:
        """Wait for what runs in the loop's own threads; return whether all of it has ended."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        threads: Iterable[threading.Thread] = getattr(self._executor, "_threads", ())
        for thread in list(threads):
            thread.join(max(self._deadline - self._loop.time(), 0.1))
        stuck = [thread.name for thread in threads if thread.is_alive()]
        if stuck:
            self._log.warning("functions do not end in the threads %s", ", ".join(stuck))
        return not stuck

    async def _end_tasks(self, seconds: float) -> list[asyncio.Task[Any]]:
        own = asyncio.current_task()
        await asyncio.sleep(0)  # let connections notice that they are closed
        tasks = [task for task in asyncio.all_tasks() if task is not own]
        stuck = await cancel_tasks(tasks, seconds)
        await self._loop.shutdown_asyncgens()
        return stuck


def _at_most(jitter: int) -> int:
    return random.randint(0, jitter) if jitter else 0  # noqa: S311  # spreads load, keeps no secret


def count_resident_bytes() -> int:
    """Return the bytes of memory that this process holds, 0 where the system does not say.

    Source: proc(5), ``/proc/pid/statm``.
    """
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
