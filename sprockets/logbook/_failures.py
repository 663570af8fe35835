"""When logging itself fails: the one place that decides who hears of it.

Nothing that goes wrong in a handler, formatter, filter or processor reaches the application, unless
the flag ``errors`` is ``"raise"``.  It is counted, and reported on standard error where there is
one.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import TracebackType

from sprockets.logbook._flags import Flags
from sprockets.logbook._traceback import format_exception
from sprockets.logbook._typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from sprockets.logbook.record import LogRecord

Failure: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

_is_reporting: ContextVar[bool] = ContextVar("sprockets.logbook.report", default=False)
_counts = {"failed": 0, "unformatted": 0, "unreported": 0}


def statistics() -> dict[str, int]:
    """Return how often logging failed in this process.

    ``failed`` counts what went wrong in handlers, formatters, filters and processors;
    ``unreported`` those of these failures that nobody was told about, since standard error was
    missing, closed, or failed as well; ``unformatted`` the messages that did not fit their
    arguments and were written raw.

    >>> sorted(statistics())
    ['failed', 'unformatted', 'unreported']
    """
    return dict(_counts)


def count_unformatted() -> None:
    """Count a text that could not be formatted and was written raw."""
    _counts["unformatted"] += 1


def should_raise() -> bool:
    """Return whether failures leave the logging call here."""
    return bool(Flags.get_flag("errors", "print") == "raise")


def report(record: LogRecord | None, failure: Failure) -> None:
    """Deal with *failure*, which happened while *record* was handled, as the flag ``errors`` says.

    Raises:
        BaseException: The failure itself, where ``errors`` is ``"raise"``.
    """
    errors = Flags.get_flag("errors", "print")
    if errors == "raise":
        raise failure[1].with_traceback(failure[2])
    _counts["failed"] += 1
    if errors == "silent":
        return
    if _is_reporting.get():
        # Standard error leads back here, as where it is sent to a logger that fails.
        _counts["unreported"] += 1
        return
    token = _is_reporting.set(True)
    try:
        stream = sys.stderr
        if stream is None:
            _counts["unreported"] += 1
            return
        stream.write(_describe(record, failure))
        stream.flush()
    except Exception:  # noqa: BLE001 - there is nobody left to tell; the count tells it
        _counts["unreported"] += 1
    finally:
        _is_reporting.reset(token)


def _describe(record: LogRecord | None, failure: Failure) -> str:
    text = format_exception(failure, one_line_messages=True) + "\n"
    if record is not None:
        text += f"Logged from file {record.filename}, line {record.lineno}\n"
    return text
