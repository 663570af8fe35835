"""What is logged of an exception: its name, its text, its traceback, and what extractors add."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

from sprockets.eliot import _context
from sprockets.eliot._fields import (
    EXCEPTION,
    MESSAGE_TYPE,
    REASON,
    TASK_LEVEL,
    TASK_UUID,
    TIMESTAMP,
    TRACEBACK,
    TRACEBACK_MESSAGE,
    Message,
    safe_text,
)
from sprockets.eliot._traceback_text import format_traceback

E = TypeVar("E", bound=BaseException)


class SupportsWrite(Protocol):
    """What a message is written to: see `ILogger`."""

    def write(self, dictionary: Message, serializer: Any = None) -> None:
        """Log *dictionary*."""


_extractors: dict[type[BaseException], Callable[[Any], Mapping[str, Any]]] = {}


def register_exception_extractor(
    exception_class: type[E], extractor: Callable[[E], Mapping[str, Any]]
) -> None:
    """Add what *extractor* finds in an exception to what is logged of it.

    It is called for exceptions of *exception_class*, and of subclasses that have no extractor of
    their own, when an action fails and when a traceback is logged.  What it returns cannot replace
    the fields that are logged anyway.  If it raises, a traceback of that is logged and the
    exception goes without.

    Args:
        exception_class: Registered again, it gets the new extractor.
        extractor: Takes the exception, returns fields by name.

    Raises:
        TypeError: *exception_class* is no exception class.
    """
    if not (isinstance(exception_class, type) and issubclass(exception_class, BaseException)):  # type: ignore[redundant-expr]  # callers may not check
        raise TypeError(f"an exception class is needed, not {exception_class!r}")
    _extractors[exception_class] = extractor


def _describe_os_error(error: OSError) -> Mapping[str, Any]:
    return {"errno": error.errno}


register_exception_extractor(OSError, _describe_os_error)


def exception_name(exception: object) -> str:
    """Return module and name of the class of *exception*, or of *exception* if it is a class."""
    kind = exception if isinstance(exception, type) else type(exception)
    return f"{kind.__module__}.{kind.__name__}"


def extracted_fields(exception: object) -> tuple[Message, Exception | None]:
    """Return the fields that the extractor finds, and what it raised if it did."""
    for kind in type(exception).__mro__:
        extractor = _extractors.get(kind)
        if extractor is not None:
            try:
                found = extractor(exception)
                return _checked(found, extractor), None
            except Exception as error:  # noqa: BLE001 - the caller logs it
                return {}, error
    return {}, None


def _checked(found: object, extractor: object) -> Message:
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"an extractor returns fields by name; {extractor!r} returned {found!r}")
    return dict(found)


def log_exception(
    logger: SupportsWrite, value: object, tb: TracebackType | None, text: str | None = None
) -> None:
    """Log a traceback message about *value*, in the current action.

    Args:
        logger: Where to.
        value: The exception; None if there is none.
        tb: Its traceback.
        text: What to log as traceback, if it is known already.
    """
    fields, error = extracted_fields(value)
    if error is not None:
        _write(logger, error, {}, format_traceback(error, error.__traceback__))
    if text is None:
        text = format_traceback(value if isinstance(value, BaseException) else None, tb)
    _write(logger, value, fields, text)


def _write(logger: SupportsWrite, value: object, fields: Message, text: str) -> None:
    message: Message = {REASON: value, TRACEBACK: text, EXCEPTION: type(value)}
    for name, found in fields.items():
        message.setdefault(name, found)
    message[TIMESTAMP] = time()
    message[TASK_UUID], message[TASK_LEVEL] = _context.place()
    message[MESSAGE_TYPE] = TRACEBACK_MESSAGE
    logger.write(message, TRACEBACK_SERIALIZER)


class TracebackSerializer:
    """Writes exception and class, which loggers for tests keep as they are, as texts."""

    def serialize(self, message: Message) -> None:
        """Replace exception and class in *message* by texts."""
        message[REASON] = safe_text(message[REASON])
        message[EXCEPTION] = exception_name(message[EXCEPTION])

    def validate(self, message: Message) -> None:
        """Accept *message*: it is our own."""


TRACEBACK_SERIALIZER: Final = TracebackSerializer()
