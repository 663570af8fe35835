"""Logging an exception that is being handled, or a Twisted failure."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, TypeAlias

from sprockets.eliot._errors import log_exception
from sprockets.eliot._logger import ILogger, default_logger

ExcInfo: TypeAlias = (
    "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"
)


class Failure(Protocol):
    """A Twisted ``Failure``, as far as it is looked at."""

    @property
    def value(self) -> object:
        """The exception."""

    def getBriefTraceback(self) -> str:
        """Return where it was raised, as text."""


def write_traceback(logger: ILogger | None = None, exc_info: ExcInfo | None = None) -> None:
    """Log an ``eliot:traceback`` of an exception, in the current action.

    The text has no source lines: no file is read for it.

    Args:
        logger: Where to; by default the destinations.
        exc_info: As `sys.exc_info` returns it; by default the exception being handled.
    """
    _, value, tb = sys.exc_info() if exc_info is None else exc_info
    log_exception(default_logger() if logger is None else logger, value, tb)


def write_failure(failure: Failure, logger: ILogger | None = None) -> None:
    """Log an ``eliot:traceback`` of a Twisted failure, in the current action.

    To be used as it is: ``deferred.addErrback(write_failure)``.  The Deferred goes on with None.

    Args:
        failure: A ``twisted.python.failure.Failure``.
        logger: Where to; by default the destinations.
    """
    log_exception(
        default_logger() if logger is None else logger,
        failure.value,
        None,
        failure.getBriefTraceback(),
    )


writeTraceback = write_traceback
writeFailure = write_failure
