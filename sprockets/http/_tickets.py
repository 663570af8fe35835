"""Tickets of a service: its errors are counted in a store, with what led up to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from sprockets.http._request_context import current_request, put_on_top
from sprockets.http._settings import Options
from sprockets.http.mixins import ErrorLogger
from sprockets.logbook import Handler, LogRecord

if TYPE_CHECKING:
    from sprockets.logbook.ticketing import BackendBase

_MONGODB: Final = ("mongodb://", "mongodb+srv://")


def tickets_of(
    options: Options, settings: Mapping[str, Any], environ: Mapping[str, str]
) -> Callable[[], Handler] | None:
    """Return what makes the handler that counts the errors of a worker; None if nobody wants that.

    The store is opened behind the service's back, so that one that is away keeps nobody from
    starting.

    Args:
        options: Say which store, and from which level on.
        settings: The application's: ``service``, ``version`` and ``environment`` name it.
        environ: Where ``SERVICE`` and ``ENVIRONMENT`` are looked up.

    Raises:
        ValueError: The URL of the store makes no sense.
        MissingDependency: What it takes is not installed.
    """
    url = options.tickets
    if url is None:
        return None
    # Imported here: this brings a library that few need, and says so if it is not there.
    from sprockets.logbook.ticketing import MongoDBBackend, SQLAlchemyBackend
    from sprockets.logbook.ticketing._deferred import DeferredBackend
    from sprockets.logbook.ticketing._handlers import TicketingHandler
    from sprockets.logbook.ticketing._leading import LeadingRecordsHandler

    class _Counting(LeadingRecordsHandler, finaliser=False):
        """Sees the records of requests first, and no longer than it is bound."""

        def close(self) -> None:
            put_on_top(None)
            super().close()

    kind: type[BackendBase] = SQLAlchemyBackend
    if url.startswith(_MONGODB):
        kind = MongoDBBackend

    def make() -> Handler:
        handler = TicketingHandler(
            url,
            str(settings.get("service") or environ.get("SERVICE") or "generic"),
            options.tickets_level,
            backend=lambda **given: DeferredBackend(kind, **given),  # type: ignore[arg-type]  # makes one
            filter=tells_something_new,
            grouping="fingerprint",
            release=_text(settings.get("version")),
            environment=_text(settings.get("environment") or environ.get("ENVIRONMENT")),
        )
        counting = _Counting(handler, options.tickets_leading_level, bubble=True)
        put_on_top(counting)
        return counting

    return make


def tells_something_new(record: LogRecord, handler: Handler) -> bool:
    """Return whether *record* is the one that tells of its failure.

    The access log does not, and Tornado's own record does not where an `ErrorLogger` writes one.
    """
    if record.channel == "tornado.access":
        return False
    if record.channel != "tornado.application" or not str(record.msg).startswith("Uncaught"):
        return True
    request = current_request()
    handler_class = None if request is None else request.handler_class
    return handler_class is None or not issubclass(handler_class, ErrorLogger)


def _text(value: object) -> str | None:
    return str(value) if value else None
