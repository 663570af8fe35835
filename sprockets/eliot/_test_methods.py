"""Test methods that get a logger, and what is asserted of that when they are over."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest

from sprockets.eliot._logger import swap_logger
from sprockets.eliot._memory_logger import MemoryLogger, choose_encode
from sprockets.eliot.errors import UnflushedTracebacks
from sprockets.eliot.json import json_default


def check_for_errors(logger: MemoryLogger) -> None:
    """Return if all that was logged is as it should be, and no traceback was unexpected.

    Raises:
        UnflushedTracebacks: One was.
        ValidationError: A message is not as its type says.
        Exception: See :meth:`sprockets.eliot.MemoryLogger.validate`.
    """
    if logger.tracebackMessages:
        raise UnflushedTracebacks(*logger.tracebackMessages)
    logger.validate()


class _Recorder:
    """What the decorators do before and after a test method.

    Args:
        is_default: Whether the test's logger is everybody's meanwhile.
    """

    def __init__(
        self,
        assertion: Callable[..., object] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        encoder: type[json.JSONEncoder] | None,
        json_default: Callable[[object], object],
        is_default: bool,
    ) -> None:
        self._assertion = assertion
        self._args = args
        self._kwargs = kwargs
        self._encode = choose_encode(encoder, json_default, stacklevel=4)
        self._is_default = is_default

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the test method, with its logger."""
        if inspect.iscoroutinefunction(function):

            async def record_and_wait(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
                with self._recording(self_) as logger:
                    return await function(self_, *args, logger=logger, **kwargs)

            return functools.wraps(function)(record_and_wait)

        def record(self_: Any, /, *args: Any, **kwargs: Any) -> Any:
            with self._recording(self_) as logger:
                return function(self_, *args, logger=logger, **kwargs)

        return functools.wraps(function)(record)

    @contextmanager
    def _recording(self, test: Any) -> Iterator[MemoryLogger]:
        logger = MemoryLogger()
        logger._encode = self._encode
        is_skipped = False

        def check() -> None:
            if self._assertion is not None and not is_skipped:
                self._assertion(test, logger, *self._args, **self._kwargs)

        # What is added last is done first.
        test.addCleanup(check_for_errors, logger)
        test.addCleanup(check)
        if self._is_default:
            test.addCleanup(swap_logger, swap_logger(logger))
        try:
            yield logger
        except SkipTest:
            is_skipped = True
            raise


def validate_logging(
    assertion: Callable[..., object] | None,
    *assertionArgs: Any,
    encoder_: type[json.JSONEncoder] | None = None,
    json_default_: Callable[[object], object] = json_default,
    **assertionKwargs: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a method of a `unittest.TestCase` that is to log to the ``logger`` it gets.

    After the test, *assertion* is called with the test case, the logger, and the arguments; then
    `check_for_errors`.  Methods may be asynchronous, or return Deferreds, if the test case knows
    what to do with those.

    Args:
        assertion: For example `assertHasAction`; None if there is nothing to assert.
        *assertionArgs: For *assertion*, after the test case and the logger.
        encoder_: Deprecated; a subclass of `json.JSONEncoder`.
        json_default_: As `sprockets.eliot.MemoryLogger` has it.
        **assertionKwargs: For *assertion*.
    """
    return _Recorder(
        assertion, assertionArgs, assertionKwargs, encoder_, json_default_, is_default=False
    )


validateLogging = validate_logging


def capture_logging(
    assertion: Callable[..., object] | None,
    *assertionArgs: Any,
    encoder_: type[json.JSONEncoder] | None = None,
    json_default_: Callable[[object], object] = json_default,
    **assertionKwargs: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a method of a `unittest.TestCase`: what is logged during it goes to its ``logger``.

    It is the default logger of the process meanwhile, so messages of other threads are there too.
    Everything else is as with `validate_logging`.
    """
    return _Recorder(
        assertion, assertionArgs, assertionKwargs, encoder_, json_default_, is_default=True
    )
