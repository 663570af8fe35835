"""Tickets of a service: its errors are counted in a store, with what led up to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from sprockets.http._settings import Options
from sprockets.logbook import Handler

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
    from sprockets.http._counting import CountingHandler
    from sprockets.logbook.ticketing import MongoDBBackend, SQLAlchemyBackend
    from sprockets.logbook.ticketing._deferred import DeferredBackend
    from sprockets.logbook.ticketing._handlers import TicketingHandler

    kind: type[BackendBase] = SQLAlchemyBackend
    if url.startswith(_MONGODB):
        kind = MongoDBBackend

    def make() -> Handler:
        handler = TicketingHandler(
            url,
            str(settings.get("service") or environ.get("SERVICE") or "generic"),
            options.tickets_level,
            backend=lambda **given: DeferredBackend(kind, **given),  # type: ignore[arg-type]  # makes one
            grouping="fingerprint",
            release=_text(settings.get("version")),
            environment=_text(settings.get("environment") or environ.get("ENVIRONMENT")),
        )
        return CountingHandler(handler, options.tickets_leading_level)

    return make


def _text(value: object) -> str | None:
    return str(value) if value else None
