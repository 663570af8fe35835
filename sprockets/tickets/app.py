"""The application: a service of its own, or routes for one.

.. code-block:: python

   import sprockets.http
   from sprockets.tickets.app import make_app

   sprockets.http.run(make_app, {"store": "sqlite:///tickets.db", "address": "127.0.0.1"})
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tornado import httputil

from sprockets.http.app import Application
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.tickets import _api, _auth_login, _live, _pages
from sprockets.tickets._api_input import MAX_BODY
from sprockets.tickets._auth import User
from sprockets.tickets._settings import Anonymous, Site
from sprockets.tickets._tokens import Token

if TYPE_CHECKING:
    from sprockets.logbook.ticketing._trackers import Filing, Tracker

__all__ = ["handlers", "make_app"]


def make_app(
    *,
    store: str | BackendBase,
    tokens: Iterable[Token] = (),
    user: User | Callable[[httputil.HTTPServerRequest], str | None] | None = None,
    base_path: str = "",
    anonymous: Anonymous | None = None,
    secret: str | bytes | None = None,
    url: str | None = None,
    secure: bool | None = None,
    hosts: Iterable[str] | None = None,
    session_lifetime: float = 12 * 3600.0,
    trackers: Iterable[Tracker | Mapping[str, Any]] | Filing = (),
    **settings: Any,
) -> Application:
    """Return the application of a frontend.

    Args:
        store: URL of a store, which is closed when the service stops; or a store.
        tokens: That are good besides those in the store; a `TokenFile` is read again when it
            changed.
        user: How people are known; a function takes the request and returns a name or None.
        base_path: Put before each path, as in ``/tickets``.
        anonymous: Whether those are let in of whom nothing is known: ``"never"``, ``"local"`` (on
            this machine) or ``"anywhere"``.  ``None``: local if there is no *user* and no token.
        secret: Signs sessions; 16 characters at least.  Several processes need the same one.
        url: Where people reach it, as in ``https://example.org/tickets``.
        secure: Whether cookies are sent by HTTPS only; taken from *url* or the request by default.
        hosts: Values of the ``Host`` header that are answered, without port.
        session_lifetime: Seconds after which people log in again.
        trackers: Are told, in the background, what is done with tickets here: trackers, or tables
            with their ``kind`` and what that takes, which are let go of when the service stops; or
            a ``Filing``, for those who want to say how, and close it.
        **settings: Of :class:`sprockets.http.app.Application`.
    """
    site = Site(
        store,
        base_path=base_path,
        tokens=tokens,
        user=user,
        anonymous=anonymous,
        secret=secret,
        url=url,
        secure=secure,
        hosts=hosts,
        session_lifetime=session_lifetime,
        trackers=trackers,
    )
    settings.setdefault("service", "sprockets-tickets")
    settings.setdefault("max_body_size", MAX_BODY)
    application = Application(routes(site), **settings)
    site.attach(application)
    return application


def handlers(
    base_path: str = "/tickets", *, store: str | BackendBase, **options: Any
) -> list[tuple[str, type, dict[str, Any]]]:
    """Return the routes of a frontend, for an application of one's own.

    Args:
        base_path: Put before each path.
        store: As for :func:`make_app`.
        **options: Of :func:`make_app`, but for the settings.
    """
    return routes(Site(store, base_path=base_path, **options))


def routes(site: Site) -> list[tuple[str, type, dict[str, Any]]]:
    """Return the routes of *site*."""
    found: list[tuple[Any, ...]] = [*_api.routes(), *_live.routes(), *_auth_login.routes()]
    if site.user is not None:
        found += site.user.routes()
    found += _pages.routes()  # the last, for theirs take most
    prefix = re.escape(site.base_path)
    return [
        (prefix + pattern, handler, {"site": site, **(more[0] if more else {})})
        for pattern, handler, *more in found
    ]
