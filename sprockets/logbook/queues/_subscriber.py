"""Subscribers: what receives records from elsewhere and dispatches them here."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Protocol, TypeAlias

from sprockets.logbook import _caller
from sprockets.logbook._dispatch import current_failure, report_failed
from sprockets.logbook._dispatcher import dispatch_record
from sprockets.logbook._failures import Failure, report
from sprockets.logbook._flags import Flags
from sprockets.logbook._routes import find_route, fresh_node
from sprockets.logbook._text import safe_repr
from sprockets.logbook.queues._arrivals import Arrivals
from sprockets.logbook.queues._wire import MalformedRecordError
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

Timeout: TypeAlias = float | None

POLL_INTERVAL: Final = 0.05
"""Seconds after which a background thread looks whether it is to end."""
_REPORT_INTERVAL: Final = 60.0


class SupportsStack(Protocol):
    """A handler, processor, flags or nested set-up, as far as it is bound here."""

    def push_context(self) -> object:
        """Bind to the current context."""

    def pop_context(self) -> object:
        """Unbind from it."""


class ClosedError(Exception):
    """The transport is closed: nothing will come from it any more."""


class SubscriberBase:
    """Receives records and dispatches them to the handlers bound where it runs.

    A subclass writes :meth:`recv`.  One that wants to be told what has been dealt with, so that
    nothing is lost if the process dies in between, writes :meth:`acknowledge` as well.

    One thread at a time may receive.
    """

    dead_letter: Callable[[Any, Exception], object] | None = None
    """Called with what was malformed, and why; by default it is only counted and reported."""

    _received = 0
    _malformed = 0
    _arrivals: Arrivals | None = None
    _reported_at = float("-inf")
    _last_malformed: tuple[str, Exception] | None = None

    def recv(self, timeout: Timeout = None) -> LogRecord | None:
        """Return the next record; None if there is none in time, or the source has ended.

        Args:
            timeout: Seconds to wait at most; None means for ever, 0 not at all.

        Raises:
            ValueError: *timeout* is negative.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it receives")

    @property
    def is_ended(self) -> bool:
        """Whether nothing will come any more."""
        return False

    def acknowledge(self, record: LogRecord) -> None:
        """Tell the transport that *record*, which came from here, has been dealt with.

        :meth:`dispatch_once` does so after the record was dispatched; who calls :meth:`recv`
        does it instead.
        """

    def dispatch_once(self, timeout: Timeout = None) -> bool:
        """Receive one record and dispatch it; return whether there was one.

        Args:
            timeout: As for :meth:`recv`.
        """
        record = self.recv(timeout)
        if record is None:
            return False
        dispatch(record)
        self.acknowledge(record)
        return True

    def dispatch_forever(self) -> None:
        """Dispatch what comes, until the source has ended.

        What is no record is counted, and passed over.

        Raises:
            Exception: What else :meth:`recv` raises.
        """
        while True:
            try:
                if not self.dispatch_once() and self.is_ended:
                    return
            except MalformedRecordError:
                pass  # counted and reported where it came in

    def dispatch_in_background(self, setup: SupportsStack | None = None) -> ThreadController:
        """Dispatch what comes in a thread of its own, and return what stops that.

        Args:
            setup: Bound in that thread; without one only what is bound to the application gets
                the records.
        """
        controller = ThreadController(self, setup)
        controller.start()
        return controller

    # -- what came

    def statistics(self) -> dict[str, int]:
        """Return what came from this source.

        ``received``
            Records that :meth:`recv` returned.
        ``malformed``
            Messages that were no records.
        ``duplicates``
            Records that had come before, and were left out.
        ``gaps``
            Records that their sender numbered and that have not come.
        """
        arrivals = self._arrivals
        return {
            "received": self._received,
            "malformed": self._malformed,
            **({"duplicates": 0, "gaps": 0} if arrivals is None else arrivals.statistics()),
        }

    @property
    def last_malformed(self) -> tuple[str, Exception] | None:
        """The beginning of the last message that was no record, and what was wrong with it."""
        return self._last_malformed

    def _count_malformed(self, data: object, error: Exception) -> None:
        """Count *data*, which is no record because of *error*; reported once a minute."""
        self._malformed += 1
        shown = data[:_SHOWN] if isinstance(data, (bytes, str)) else data
        self._last_malformed = safe_repr(shown, _SHOWN), error
        if self.dead_letter is not None:
            try:
                self.dead_letter(data, error)
            except Exception:  # noqa: BLE001 - reported below like any failure
                report_here(None)
        now = monotonic()
        if now - self._reported_at >= _REPORT_INTERVAL:
            self._reported_at = now
            failure: Failure = (type(error), error, error.__traceback__)
            _report(None, failure)


_SHOWN: Final = 200


def dispatch(record: LogRecord) -> None:
    """Send *record* to the bound handlers, by a short way if there is just one and nothing else."""
    node = fresh_node()
    route = find_route(node, record.level)
    if route is None:
        return
    only = route.only
    if only is None or not node.is_bare:
        dispatch_record(record)
        return
    try:
        only.emit(record)
    except Exception:  # noqa: BLE001 - reported
        report_failed(only, record, current_failure())


def checked_timeout(timeout: Timeout) -> Timeout:
    """Return *timeout*.

    Raises:
        ValueError: It is negative.
    """
    if timeout is not None and timeout < 0:
        raise ValueError(f"a timeout is seconds from 0 on, or None to wait for ever: {timeout!r}")
    return timeout


def report_here(record: LogRecord | None) -> None:
    """Report the exception being handled, as the flag ``errors`` says, and never raise it."""
    kind, error, tb = sys.exc_info()
    if kind is not None and error is not None:
        _report(record, (kind, error, tb))


def _report(record: LogRecord | None, failure: Failure) -> None:
    if Flags.get_flag("errors", "print") == "raise":
        with Flags(errors="print").contextbound():
            report(record, failure)
    else:
        report(record, failure)


class ThreadController:
    """A thread that dispatches what a subscriber receives.

    Args:
        subscriber: Nobody else may call its ``recv`` while the thread runs.
        setup: Bound in the thread.
    """

    def __init__(self, subscriber: SubscriberBase, setup: SupportsStack | None = None) -> None:
        self.subscriber = subscriber
        self.setup = setup
        self.running: bool = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the thread, if it does not run."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive() and self.running:
                return
            self.running = True
            # An empty context: what the starter has bound is not to be seen here.
            context = contextvars.Context()
            self._thread = threading.Thread(
                target=context.run, args=(self._run,), name=type(self).__name__, daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread, after the record it is dispatching; called in it, only ask it to end."""
        self.running = False
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        thread = threading.current_thread()
        setup = self.setup
        try:
            if setup is not None:
                setup.push_context()
            try:
                while self.running and self._thread in (thread, None):
                    if not self._step():
                        break
            finally:
                if setup is not None:
                    setup.pop_context()
        except Exception:  # noqa: BLE001 - a set-up that cannot be bound; nobody else hears of it
            report_here(None)
        finally:
            if self._thread in (thread, None):
                self.running = False

    def _step(self) -> bool:
        """Do one thing; return whether there may be more."""
        try:
            return self._once() or not self.subscriber.is_ended
        except ClosedError:
            return False
        except MalformedRecordError:
            return True  # counted and reported where it came in
        except BaseException:  # noqa: BLE001 - one bad message must not end the service
            report_here(None)
            if self.subscriber.is_ended:
                return False
            threading.Event().wait(POLL_INTERVAL)  # a source that always fails is no reason to spin
            return True

    def _once(self) -> bool:
        return self.subscriber.dispatch_once(timeout=POLL_INTERVAL)
