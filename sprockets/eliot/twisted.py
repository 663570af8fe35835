"""Twisted: actions that follow Deferreds, and messages in Twisted's own logs.

A callback runs when its Deferred fires, long after the block that added it; it finds its way back
into the action with `DeferredContext`, and a generator keeps its actions with `inline_callbacks`.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import wraps
from itertools import count
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from sprockets._support.optional import optional
from sprockets.eliot._action import current_action, log_message
from sprockets.eliot._destinations import add_destinations, destinations
from sprockets.eliot._fields import MESSAGE_TYPE, TRACEBACK_MESSAGE, Message
from sprockets.eliot._generators import eliot_friendly_generator_function
from sprockets.eliot._traceback import write_failure

if TYPE_CHECKING:
    from twisted.internet import defer as _defer
    from twisted.internet.defer import Deferred, inlineCallbacks
    from twisted.logger import (
        ILogObserver,
        LogEvent,
        Logger,
        LogLevel,
        formatEvent,
        globalLogPublisher,
    )
    from twisted.python.failure import Failure
else:
    _IMPORT: Final = {"extra": "twisted", "needed_by": "sprockets.eliot.twisted"}
    _defer = optional("twisted.internet.defer", **_IMPORT)
    inlineCallbacks = _defer.inlineCallbacks
    Failure = optional("twisted.python.failure", **_IMPORT).Failure
    _logger = optional("twisted.logger", **_IMPORT)
    Logger, LogLevel, formatEvent = _logger.Logger, _logger.LogLevel, _logger.formatEvent
    globalLogPublisher = _logger.globalLogPublisher

__all__ = [
    "AlreadyFinished",
    "DeferredContext",
    "TwistedDestination",
    "inline_callbacks",
    "redirectLogsForTrial",
    "redirectTwistedLogsToEliot",
    "redirect_twisted_logs_to_eliot",
    "stop_redirecting_twisted_logs_to_eliot",
]

P = ParamSpec("P")
T = TypeVar("T")

# How returnValue() leaves a generator, in the versions of Twisted that have it.
_ReturnValue: Any = getattr(_defer, "_DefGen_Return", ())

# -- Deferreds


class AlreadyFinished(Exception):
    """Raised by a `DeferredContext` that is asked for more after ``addActionFinish()``."""


class DeferredContext:
    """A Deferred whose callbacks run inside the action that was current when this was made.

    Its methods are those of the Deferred.  To have a whole chain inside an action, which ends when
    the chain does::

        with start_action(action_type="fetch").context():
            context = DeferredContext(agent.request(b"GET", url))
            context.addCallback(readBody)
            return context.addActionFinish()

    Args:
        deferred: The Deferred; it may have fired already.

    Raises:
        RuntimeError: There is no current action.
    """

    result: Deferred[Any]
    """The Deferred, for those who know nothing of actions."""

    def __init__(self, deferred: Deferred[Any]) -> None:
        action = current_action()
        if action is None:
            raise RuntimeError(
                "a DeferredContext needs a current action, and there is none;"
                " make it within 'with start_action(...).context():'"
            )
        self.result = deferred
        self._action = action
        self._is_finished = False

    def addCallbacks(
        self,
        callback: Callable[..., Any],
        errback: Callable[..., Any] | None = None,
        callbackArgs: Sequence[Any] | None = None,
        callbackKeywords: Mapping[str, Any] | None = None,
        errbackArgs: Sequence[Any] | None = None,
        errbackKeywords: Mapping[str, Any] | None = None,
    ) -> DeferredContext:
        """Add functions for a result and for a failure, with the arguments each gets besides.

        Raises:
            AlreadyFinished: ``addActionFinish()`` has been called.
        """
        self._require_unfinished()
        self.result.addCallbacks(
            self._inside(callback),
            None if errback is None else self._inside(errback),
            callbackArgs=tuple(callbackArgs or ()),
            callbackKeywords=callbackKeywords or {},
            errbackArgs=tuple(errbackArgs or ()),
            errbackKeywords=errbackKeywords or {},
        )
        return self

    def addCallback(
        self, function: Callable[..., Any], /, *args: Any, **kw: Any
    ) -> DeferredContext:
        """Add a function for a result; see :meth:`addCallbacks`."""
        self._require_unfinished()
        self.result.addCallback(self._inside(function), *args, **kw)
        return self

    def addErrback(self, function: Callable[..., Any], /, *args: Any, **kw: Any) -> DeferredContext:
        """Add a function for a failure; see :meth:`addCallbacks`."""
        self._require_unfinished()
        self.result.addErrback(self._inside(function), *args, **kw)
        return self

    def addBoth(self, function: Callable[..., Any], /, *args: Any, **kw: Any) -> DeferredContext:
        """Add a function for a result and for a failure; see :meth:`addCallbacks`."""
        self._require_unfinished()
        self.result.addBoth(self._inside(function), *args, **kw)
        return self

    def addActionFinish(self) -> Deferred[Any]:
        """Have the action finish after what has been added so far, as that ends.

        Returns:
            The Deferred, whose result passes through unchanged.

        Raises:
            AlreadyFinished: This has been called before.
        """
        self._require_unfinished()
        self._is_finished = True
        return self.result.addBoth(self._finish)

    def _finish(self, result: T) -> T:
        self._action.finish(result.value if isinstance(result, Failure) else None)
        return result

    def _inside(self, function: Callable[..., Any]) -> Callable[..., Any]:
        action = self._action

        def call(*args: Any, **kw: Any) -> Any:
            with action.context():
                return function(*args, **kw)

        return call

    def _require_unfinished(self) -> None:
        if self._is_finished:
            raise AlreadyFinished(
                "addActionFinish() has been called, and nothing can be added inside the action"
                " any more; add it before, or to the Deferred itself"
            )


def inline_callbacks(
    original: Callable[P, Generator[Deferred[Any], Any, T]], debug: bool = False
) -> Callable[P, Deferred[T]]:
    """Do what Twisted's ``inlineCallbacks`` does, with actions that stay inside the generator.

    While it waits for a Deferred, its actions are not current for anybody else; when it goes on
    they are, whoever fired that Deferred.

    Args:
        original: A function that returns a generator of Deferreds.
        debug: Whether to log a message of the type ``yielded`` inside the generator at each yield.
    """
    # Twisted runs the generator in a context of its own.  Between the two we would only be in the
    # way: it looks at the frames to tell who called returnValue().
    return inlineCallbacks(_logging_yields(original) if debug else original)


def _logging_yields(
    original: Callable[P, Generator[Deferred[Any], Any, T]],
) -> Callable[P, Generator[Deferred[Any], Any, T]]:
    friendly = eliot_friendly_generator_function(original)
    friendly.debug = True

    @wraps(original)
    def generate(*args: P.args, **kwargs: P.kwargs) -> Generator[Deferred[Any], Any, T]:
        generator = friendly(*args, **kwargs)
        # Anything else is a mistake that Twisted reports.
        return _returning(generator) if isinstance(generator, GeneratorType) else generator

    return generate


def _returning(generator: Generator[Deferred[Any], Any, T]) -> Generator[Deferred[Any], Any, T]:
    try:
        return (yield from generator)
    except _ReturnValue as error:
        return cast("T", error.value)


# -- messages in Twisted's logs, and Twisted's events among the messages

TWISTED_MESSAGE: Final = "eliot:twisted"
"""Type of the messages that Twisted's events become."""


class _Forwarding(threading.local):
    """Whether this thread is on its way between the two; what that causes does not go back."""

    # Not a ContextVar: a task that is made on the way would have it for good.
    is_on = False


_forwarding = _Forwarding()


class TwistedDestination:
    """Sends messages to ``twisted.logger``: namespace ``eliot``, the message as field ``eliot``.

    Tracebacks are critical; everything else is information, failed actions too, and none makes a
    test of trial fail.  What is logged while a message is being sent, in the same thread, is not
    sent: an observer that logs would never end.
    """

    suppressed: int
    """How many messages were not sent for that reason."""

    def __init__(self) -> None:
        self._logger = Logger("eliot")
        self._numbers = count(1)
        self.suppressed = 0

    def __call__(self, message: Message) -> None:
        """Send *message*."""
        if _forwarding.is_on:
            self.suppressed = next(self._numbers)
            return
        is_bad = message.get(MESSAGE_TYPE) == TRACEBACK_MESSAGE
        _forwarding.is_on = True
        try:
            self._logger.emit(
                LogLevel.critical if is_bad else LogLevel.info,
                "Eliot message: {eliot}",
                eliot=message,
            )
        finally:
            _forwarding.is_on = False


class _TrialRedirection:
    """What `redirectLogsForTrial` is.

    Args:
        arguments: Returns the command line, which begins with the program.
    """

    def __init__(self, arguments: Callable[[], Sequence[str]] = lambda: sys.argv) -> None:
        self._arguments = arguments
        # Popped by the first call alone, whatever the thread.
        self._turns = [None]

    def __call__(self) -> TwistedDestination | None:
        """Under trial, have all messages written to ``_trial_temp/test.log``.

        Call it where you like, a package's ``__init__`` included: only the first call counts, and
        without trial none does.  A `RuntimeWarning`, and nothing else, comes of it while Twisted's
        events are redirected the other way.

        Returns:
            The destination that was added, or None.
        """
        if not _is_trial(self._arguments()):
            return None
        if _redirection.is_on:
            warnings.warn(
                "messages are not sent to trial's log: Twisted's events are being redirected to"
                " Eliot; call stop_redirecting_twisted_logs_to_eliot() first",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        try:
            self._turns.pop()
        except IndexError:
            return None
        destination = TwistedDestination()
        add_destinations(destination)
        return destination


def _is_trial(arguments: Sequence[str]) -> bool:
    if not arguments:
        return False
    pieces = arguments[0].replace("\\", "/").split("/")
    return (
        pieces[-1] in ("trial", "trial.exe")
        or pieces[-3:] == ["twisted", "trial", "__main__.py"]
        # What ``trial -j`` starts.
        or pieces[-4:] == ["twisted", "trial", "_dist", "workertrial.py"]
    )


redirectLogsForTrial: Final = _TrialRedirection()
"""Under trial, has all messages written to ``_trial_temp/test.log``; otherwise does nothing.

Call it where you like, a package's ``__init__`` included: only the first call counts.  It returns
the `TwistedDestination` that it added, or None.
"""


class _Redirection:
    """The observer that logs Twisted's events as messages."""

    is_on = False

    def __call__(self, event: LogEvent) -> None:
        """Log *event*, unless it is a message already, or what logging a message caused."""
        if _forwarding.is_on:
            return
        _forwarding.is_on = True
        try:
            level = event.get("log_level")
            log_message(
                TWISTED_MESSAGE,
                log_level=getattr(level, "name", "info"),
                logger=str(event.get("log_namespace", "")),
                message=formatEvent(event),
            )
            failure = event.get("log_failure")
            if failure is not None:
                write_failure(failure)
        finally:
            _forwarding.is_on = False


_redirection = _Redirection()


def redirect_twisted_logs_to_eliot() -> None:
    """Log Twisted's events as messages of the type ``eliot:twisted``, in the current action.

    Their fields are ``log_level``, ``logger`` (the namespace) and ``message``; a failure follows as
    ``eliot:traceback``.  A second call does nothing.  Neither does one while a
    `TwistedDestination` sends messages the other way, except for a `RuntimeWarning`.
    """
    if any(isinstance(each, TwistedDestination) for each in destinations._registered):
        warnings.warn(
            "Twisted's events are not redirected to Eliot: a TwistedDestination sends messages the"
            " other way; remove_destination() it first",
            RuntimeWarning,
            stacklevel=2,
        )
        return
    _redirection.is_on = True
    globalLogPublisher.addObserver(cast("ILogObserver", _redirection))


def stop_redirecting_twisted_logs_to_eliot() -> None:
    """Undo `redirect_twisted_logs_to_eliot`; without it this does nothing."""
    _redirection.is_on = False
    globalLogPublisher.removeObserver(cast("ILogObserver", _redirection))


redirectTwistedLogsToEliot = redirect_twisted_logs_to_eliot
