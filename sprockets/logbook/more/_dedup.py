"""Repeated messages: one line in place of many that say the same."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterable
from contextvars import ContextVar
from itertools import count
from threading import RLock
from typing import Any

from sprockets.logbook import _caller, _fork
from sprockets.logbook._dispatch import current_failure, deliver
from sprockets.logbook._dispatcher import RecordDispatcher
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._routes import find_route, fresh_node
from sprockets.logbook._text import safe_str
from sprockets.logbook.delivery import _exit
from sprockets.logbook.handlers import Handler
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_alive: weakref.WeakSet[DedupHandler] = weakref.WeakSet()
_passing: ContextVar[tuple[DedupHandler, LogRecord] | None] = ContextVar(
    "sprockets.logbook.dedup", default=None
)
"""A handler that says what it counted, and the record it says it with."""


class _Repeated:
    """A message: the first record that had it, and how many did."""

    def __init__(self, record: LogRecord) -> None:
        self.record = record
        # Counting is one step, so that a signal handler that logs in the middle is counted too.
        self._next_time = count().__next__

    def add(self) -> None:
        self._next_time()

    def take(self) -> int:
        return self._next_time()


class DedupHandler(Handler):
    r"""Holds records back while it is bound, and then says each message once, with a count.

    It takes every record from its level up and lets none bubble.  When it is unbound, the first
    record of each message goes to the handlers below, in the order in which they came, with its
    text in the place of its message; records with other levels and channels count as well if they
    say the same.  The representative has its own time, place and traceback.

    The memory grows with the number of different messages, so bind it around a piece of work.
    Around a whole program call :meth:`flush` now and then; what is left at its end is said then.  A
    forked child begins with nothing: what was counted before is its parent's to say.

    >>> from sprockets.logbook import Logger, TestHandler
    >>> log = Logger("shop")
    >>> with TestHandler() as handler, DedupHandler():
    ...     for name in ("tea", "coffee", "tea"):
    ...         log.info("sold {}", name)
    >>> print(*handler.formatted_records, sep="\n")
    [INFO] shop: message repeated 2 times: sold tea
    [INFO] shop: message repeated 1 times: sold coffee

    Args:
        format_string: The text, with ``{count}`` and ``{message}``.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.

    Raises:
        ValueError: *format_string* is none, or has other fields.
    """

    def __init__(
        self,
        format_string: str = "message repeated {count} times: {message}",
        level: Level = NOTSET,
        filter: Filter | None = None,
    ) -> None:
        super().__init__(level, filter, bubble=False)
        try:
            format_string.format(count=1, message="")
        except (LookupError, ValueError, AttributeError) as error:
            raise ValueError(
                f"format_string must be a layout with {{count}} and {{message}}, got"
                f" {format_string!r} ({type(error).__name__}: {error})"
            ) from error
        self._format_string = format_string
        self._lock = RLock()
        self._held_at_fork = False
        self._memory: dict[str, _Repeated] = {}
        _fork.hold_at_fork(self)
        _alive.add(self)

    def handle(self, record: LogRecord) -> bool:
        """Count *record*; a message that cannot be formatted goes to :meth:`handle_error`.

        Returns:
            ``True``; ``False`` for what comes of :meth:`flush`, which is for those below.
        """
        if _passing.get() == (self, record):
            return False
        try:
            self.emit(record)
        except Exception:  # noqa: BLE001 - reported
            self.handle_error(record, current_failure())
        return True

    def emit(self, record: LogRecord) -> None:
        """Count *record*.

        Raises:
            TypeError: Its message cannot be formatted.
        """
        if not (record.heavy_initialized or record.late):
            record.heavy_init()
        record.pull_information()
        message = record.message
        text = message if type(message) is str else safe_str(message)
        with self._lock:
            repeated = self._memory.get(text)
            if repeated is None:
                repeated = self._memory[text] = _Repeated(record)
            repeated.add()

    def clear(self) -> None:
        """Forget what was counted, and say nothing of it."""
        with self._lock:
            self._memory.clear()

    def flush(self) -> None:
        """Say now what was counted, and begin anew; bound or not.

        What a handler below raises, where errors are raised, comes out when all has been said.
        """
        with self._lock:
            memory, self._memory = self._memory, {}
        failure: Exception | None = None
        # Outside of the lock: the handlers below may be slow, and may log.
        for text, repeated in memory.items():
            message = self._format_string.format(count=repeated.take(), message=text)
            record = _with_message(repeated.record, message)
            token = _passing.set((self, record))
            try:
                _dispatch_again(record)
            except Exception as error:  # noqa: BLE001 - raised below, the first of them
                failure = failure or error
            finally:
                _passing.reset(token)
        if failure is not None:
            raise failure

    def pop_context(self) -> None:
        """Unbind from the current context, then say what was counted."""
        super().pop_context()
        self.flush()

    def pop_application(self) -> None:
        """Unbind from the application, then say what was counted."""
        super().pop_application()
        self.flush()

    def before_fork(self) -> None:
        """Wait until no other thread is in the middle of counting."""
        self._held_at_fork = self._lock.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._held_at_fork:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin with nothing, and with a fresh lock."""
        self._lock = RLock()
        self._memory = {}


def _with_message(record: LogRecord, message: str) -> LogRecord:
    """Return a copy of *record* with another message: somebody may have kept the record itself."""
    changed = object.__new__(type(record))
    for name, value in vars(record).items():
        object.__setattr__(changed, name, value)
    changed.message = message
    changed.keep_open = False
    return changed


def _dispatch_again(record: LogRecord) -> None:
    """Send *record* to the handlers a second time, and close it unless somebody keeps it."""
    dispatcher: Any = record.dispatcher
    try:
        if dispatcher is None:
            _deliver(record, ())
        elif type(
            dispatcher
        ).call_handlers is RecordDispatcher.call_handlers and "call_handlers" not in vars(
            dispatcher
        ):
            _deliver(record, dispatcher.handlers)
        else:
            # Somebody's own way of dispatching, which may run the processors again.
            dispatcher.call_handlers(record)
    finally:
        if not record.keep_open:
            record.close()


def _deliver(record: LogRecord, first: Iterable[Handler]) -> None:
    """Do what ``call_handlers`` does, without the processors: they have had the record."""
    route = find_route(fresh_node(), record.level)
    deliver(record, (*first, *(() if route is None else route.handlers)), _leave_alone)


def _leave_alone(record: LogRecord) -> None:
    """Process nothing."""


def _flush_all() -> None:
    """Say what was counted by handlers that the end of the program finds bound."""
    for handler in list(_alive):
        handler.flush()


# Registered after the engines' own exit function, which the import above has seen to: so it is
# called before, and they can still deliver what comes of it.
assert _exit is not None
atexit.register(_flush_all)
