"""Collecting: one process receives the records of many, and dispatches them into one set-up.

Many processes that write one file, or one ticket database, get in each other's way.  Here they send
what they log, over a transport that keeps it until it was dealt with, to the one that writes.

>>> import queue
>>> from sprockets.logbook import INFO, LogRecord, TestHandler
>>> from sprockets.logbook.queues._multiprocessing import (
...     MultiProcessingHandler, MultiProcessingSubscriber)
>>> channel = queue.Queue()
>>> with Collector([MultiProcessingSubscriber(channel)], TestHandler()) as collector:
...     MultiProcessingHandler(channel).emit(LogRecord("shop", INFO, "open"))
>>> collector.statistics()["dispatched"]
1
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from time import monotonic
from types import TracebackType
from typing import Final, Protocol, Self

from sprockets.logbook import _caller, _failures, _fork
from sprockets.logbook._collecting._background import Background
from sprockets.logbook._collecting._beats import SupportsBeat
from sprockets.logbook._collecting._crew import Crew
from sprockets.logbook._collecting._files import reopen_files
from sprockets.logbook._collecting._signals import SIGNALS, Mailbox
from sprockets.logbook._collecting._source import Intake, Source
from sprockets.logbook._collecting._urls import (
    register_source,
    source_examples,
    source_from_url,
    unregister_source,
)
from sprockets.logbook._context import StackedObject
from sprockets.logbook._logger import Logger
from sprockets.logbook.delivery import Retry
from sprockets.logbook.errors import MisuseError
from sprockets.logbook.handlers import NullHandler
from sprockets.logbook.queues._subscriber import SubscriberBase

__all__ = [
    "Collector",
    "Source",
    "SupportsBeat",
    "SupportsNotify",
    "register_source",
    "source_examples",
    "source_from_url",
    "unregister_source",
]

_caller.register(__file__)

_LOOK: Final = 0.5  # seconds after which threads that died are noticed
_PATIENCE: Final = 0.5  # seconds for a last word where a handler is stuck
_SOON: Final = 0.05  # seconds after which it is seen that a thread has come round after all
_OVERTIME: Final = 1.0  # seconds beyond the time for the end that a handler may take
_TERM, _INT, _HUP, _USR1 = (*SIGNALS, *[0] * 4)[:4]


class SupportsNotify(Protocol):
    """Who is told how the collector is, such as systemd."""

    watchdog_interval: float | None

    def ready(self, status: str = "") -> None:
        """It receives, or does again after a reload."""

    def reloading(self) -> None:
        """The set-up is being replaced."""

    def stopping(self, seconds: float) -> None:
        """It ends within *seconds*."""

    def alive(self) -> None:
        """Since the last time, every thread has come round: none is stuck in a handler."""


class Collector:
    """Receives records from sources, and dispatches them into a set-up, until it is told to stop.

    A record is acknowledged after it was dispatched, whether or not a handler failed: then it is
    in the file, or wherever else handlers put it that do not deliver behind the caller's back.
    Before, it is still with its sender, or its broker.  What is no record is counted and passed
    over; a source that fails is tried again, ever more rarely, and named in the log.

    While it runs, the set-up is bound to the application, so the process's own records go there
    as well.  The set-up is its owner's to close.  A forked child inherits no running collector.

    Args:
        sources: Subscribers, which are their owner's to close; or what opens them.
        setup: Where the records go; ``None`` is what is bound to the application anyway.
        threads: That receive and dispatch; ``None`` is one for each source, fewer share them.
        drain_timeout: Seconds that the end may take to receive what is under way.
        statistics_interval: Seconds after which the statistics are logged, again and again; 0 is
            never.
        retry: When a source that fails is tried again.
        notifier: Told when the collector is ready, reloading, stopping.
        heart: Told when the threads have come round.  A thread that a handler does not let go of
            does not, and nothing else here notices.

    Raises:
        ValueError: There are no sources, or a number is out of its range.
    """

    log: Logger
    """Tells what the collector does; goes into the set-up."""

    def __init__(
        self,
        sources: Iterable[Source | SubscriberBase],
        setup: StackedObject | None = None,
        *,
        threads: int | None = None,
        drain_timeout: float = 5.0,
        statistics_interval: float = 0.0,
        retry: Retry | None = None,
        notifier: SupportsNotify | None = None,
        heart: SupportsBeat | None = None,
    ) -> None:
        self.log = Logger("sprockets.collector")
        retry = retry or Retry(initial=0.2, maximum=30.0)
        self._intakes = [Intake(source, self.log, retry) for source in sources]
        if not self._intakes:
            raise ValueError("a collector needs something to receive from, got no sources")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads!r}")
        for name, seconds in (
            ("drain_timeout", drain_timeout),
            ("statistics_interval", statistics_interval),
        ):
            if not 0 <= seconds < float("inf"):
                raise ValueError(f"{name} must be seconds from 0 on, got {seconds!r}")
        self.setup = setup
        self.drain_timeout = drain_timeout
        self._thread_count = threads
        self._interval = statistics_interval
        self._notifier = notifier
        self._heart = heart
        self._failed_before = _failures.statistics()["failed"]
        self._start_anew()
        _fork.hold_at_fork(self)

    def _start_anew(self) -> None:
        self._mailbox: Mailbox | None = None
        self._background: Background | None = None
        self._reloading: threading.Thread | None = None
        self._reload_again = False
        self._is_stopping = False
        self._is_stuck = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._describe_sources()}>"

    def _describe_sources(self) -> str:
        return ", ".join(intake.source.name for intake in self._intakes)

    # -- its life

    def open(self) -> None:
        """Open all sources, for those who want to know at once what cannot be opened.

        Raises:
            Exception: What the subscriber raised, with a note that names the source.
        """
        for intake in self._intakes:
            try:
                intake.open()
            except BaseException as error:
                error.add_note(f"source: {intake.source.name}")
                self._close_sources()
                raise

    def run(
        self, *, signals: bool | Iterable[int] = False, on_ready: Callable[[], object] | None = None
    ) -> bool:
        """Collect until :meth:`stop`, or until all sources have ended.

        Args:
            signals: Whether to heed signals, or which; only the main thread can.  TERM and INT
                stop, a second one without waiting; HUP reads the set-up again, see :meth:`reload`;
                USR1 opens files again, and logs the statistics.
            on_ready: Called when the set-up is bound, and the threads have started.

        Returns:
            Whether all that was under way has been received in time.

        Raises:
            AssertionError: It runs already.
        """
        if self._mailbox is not None:
            raise MisuseError(f"{self!r} runs already")
        crew = Crew(self._intakes, self._thread_count)
        heeded = (SIGNALS if signals else ()) if isinstance(signals, bool) else signals
        mailbox = self._mailbox = Mailbox(heeded)
        try:
            with mailbox, ExitStack() as undo:
                if self.setup is not None:
                    # What the set-up is not interested in is not for the default handler either.
                    rest = NullHandler()
                    for bound in (rest, self.setup):
                        bound.push_application()
                        undo.callback(bound.pop_application)
                undo.callback(self._log_statistics, "collected")
                undo.callback(self._close_sources)
                crew.start()
                self.log.info("collecting from {}", self._describe_sources())
                if self._notifier is not None:
                    self._notifier.ready(f"collecting from {self._describe_sources()}")
                if on_ready is not None:
                    on_ready()
                self._supervise(crew, mailbox)
                self._end(crew, mailbox)
        finally:
            self._start_anew()
        return crew.is_drained

    def stop(self) -> None:
        """Have :meth:`run` end, from any thread or a signal handler; returns at once."""
        self._is_stopping = True
        mailbox = self._mailbox
        if mailbox is not None:
            mailbox.wake()

    @property
    def is_ending(self) -> bool:
        """Whether it has been told to end, if only by a signal that nobody has seen to yet."""
        mailbox = self._mailbox
        return self._is_stopping or (mailbox is not None and mailbox.has_any(_TERM, _INT))

    def __enter__(self) -> Self:
        """Run in a thread of its own until the context is left."""
        if self._background is not None:
            raise MisuseError(f"{self!r} runs already")
        background = Background(self.run)
        background.start()
        self._background = background
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        background = self._background
        self.stop()
        if background is not None:
            background.join()

    def _supervise(self, crew: Crew, mailbox: Mailbox) -> None:
        """Keep the threads running, and do what the signals say, until it is to stop."""
        statistics_at = monotonic() + self._interval
        alive_at, told_at = monotonic(), float("-inf")
        while not self._is_stopping and not all(each.is_over for each in self._intakes):
            now = monotonic()
            wait = _LOOK
            if self._interval:
                if now >= statistics_at:
                    statistics_at = now + self._interval
                    self._log_statistics("collected so far")
                wait = min(wait, statistics_at - now)
            if self._notifier is not None and self._notifier.watchdog_interval is not None:
                if now >= alive_at and crew.beat_at > told_at:
                    alive_at, told_at = now + self._notifier.watchdog_interval, now
                    self._notifier.alive()
                wait = min(wait, max(alive_at - now, _SOON))
            if self._heart is not None:
                self._heart.beat(crew.beat_at)
                wait = min(wait, self._heart.interval)
            for signum in mailbox.wait(max(wait, 0.0)):
                self._heed(signum)
            crew.look_after()

    def _heed(self, signum: int) -> None:
        if signum in (_TERM, _INT):
            self._is_stopping = True
            self.log.info("{}: stopping", "SIGTERM" if signum == _TERM else "SIGINT")
        elif signum == _HUP:
            self._begin_reload()
        elif signum == _USR1:
            self.reopen()
            self._log_statistics("collected so far")

    def _end(self, crew: Crew, mailbox: Mailbox) -> None:
        deadline = monotonic() + self.drain_timeout
        crew.end(deadline)
        if self._notifier is not None:
            self._notifier.stopping(self.drain_timeout + _OVERTIME)
        while crew.is_working:
            if self._heart is not None:
                # From here on there is a deadline.
                self._heart.beat(monotonic())
            if monotonic() > deadline + _OVERTIME:
                crew.is_drained = False
                self._is_stuck = True
                self._say(self.log.error, "a handler takes too long; not waiting for it")
                break
            for signum in mailbox.wait(0.02):
                if signum in (_TERM, _INT):
                    self.log.warning("not waiting for records any longer")
                    deadline = monotonic()
                    crew.end(deadline)
        if self._reloading is not None:
            self._reloading.join(self.drain_timeout)

    def _close_sources(self) -> None:
        for intake in self._intakes:
            intake.close()

    # -- what may be asked of it

    def reload(self) -> bool:
        """Read the set-up again, if it is one that can be; a broken one leaves the old in force.

        Returns:
            Whether it is a new one now.
        """
        reload = getattr(self.setup, "reload", None)
        if reload is None:
            self.log.warning("the set-up cannot be read again: it came from no file")
            return False
        try:
            reload()
        except Exception as error:  # noqa: BLE001 - logged; what is there goes on
            self.log.error("keeping the old set-up: {}", error)
            return False
        self.log.info("read the set-up again")
        return True

    def _begin_reload(self) -> None:
        self._reload_again = True
        if self._reloading is None or not self._reloading.is_alive():
            # Old handlers may take their time to deliver, and other signals do not wait for that.
            self._reloading = threading.Thread(target=self._reload, name="reload", daemon=True)
            self._reloading.start()

    def _reload(self) -> None:
        while self._reload_again:
            self._reload_again = False
            if self._notifier is not None:
                self._notifier.reloading()
            is_new = self.reload()
            if self._notifier is not None:
                self._notifier.ready("collecting" if is_new else "the new set-up is broken")

    def reopen(self) -> int:
        """Let go of the log files, which somebody else has moved; return how many there were."""
        count = reopen_files(self.log)
        self.log.info("opened {} files again", count)
        return count

    def statistics(self) -> dict[str, int]:
        """Return what came from all sources together.

        ``received``, ``malformed``, ``duplicates`` and ``gaps`` are what subscribers count;
        ``dispatched`` the records that went through the set-up; ``failed`` what went wrong in
        handlers, formatters and filters of this process since the collector was made; ``outages``
        how often a source began to fail.  What else subscribers count is here as well.
        """
        total: Counter[str] = Counter()
        for intake in self._intakes:
            total.update(intake.statistics())
        # What leaves a dispatch is reported, and so is among these.
        total["failed"] = _failures.statistics()["failed"] - self._failed_before
        return dict(total)

    def statistics_by_source(self) -> dict[str, dict[str, int]]:
        """Return what came from each source, by its name; ``failed`` are undispatched records."""
        return {each.source.name: each.statistics() for each in self._intakes}

    def _log_statistics(self, text: str) -> None:
        counts = self.statistics()
        shown = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
        self._say(self.log.info, "{}: {}", text, shown or "nothing", extra=counts)

    def _say(self, log: Callable[..., object], *arguments: object, **options: object) -> None:
        """Log, from another thread if a handler is stuck and may hold what all others wait for."""
        if not self._is_stuck:
            log(*arguments, **options)
            return
        thread = threading.Thread(target=log, args=arguments, kwargs=options, daemon=True)
        thread.start()
        thread.join(_PATIENCE)

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for: the child has no threads of ours."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Forget that it runs: that is the parent's."""
        for intake in self._intakes:
            intake.forget()
        self._start_anew()
