"""What all handlers of one frontend share: its store, its threads, who is let in."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

from tornado import httputil, ioloop, web

from sprockets.http.app import CallbackManager
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._deferred import DeferredBackend
from sprockets.tickets._auth import CallableUser, User
from sprockets.tickets._token_file import TokenFile
from sprockets.tickets._tokens import Token

if TYPE_CHECKING:
    from sprockets.logbook.ticketing._trackers import Filing, Tracker

Anonymous: TypeAlias = Literal["never", "local", "anywhere"]
"""Whether those are let in of whom nothing is known, if they are on this machine, or anywhere."""

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_THREADS: Final = 4
_LOOK_INTERVAL: Final = 60.0  # seconds
_LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Site:
    """A frontend: one store, mounted at one path.

    Args:
        store: URL of a store, which is closed with the site; or a store, which stays open.
        base_path: Put before each path, as in ``/tickets``.
        tokens: That are good besides those in the store; a `TokenFile` is read again when it
            changed.
        user: How people are known; a function takes the request and returns a name or None.
        anonymous: See `Anonymous`.  ``None``: local if there is no *user* and no token at all.
        secret: Signs sessions.  Processes that serve the same need the same; ``None`` makes one.
        url: Where people reach it, as in ``https://example.org/tickets``; ``None`` takes that from
            each request.
        secure: Whether cookies are sent by HTTPS only; ``None`` takes that from *url*, or from each
            request.
        hosts: Values of the ``Host`` header that are answered, without port; ``None`` for any if
            people log in, and for those of this machine if they do not.
        session_lifetime: Seconds after which people log in again.
        threads: In which the store is asked.
        trackers: Are told what people do here: trackers, or tables that describe some, which are
            let go of with the site; or a ``Filing``, which stays.

    Raises:
        ValueError: One of these is not as it must be.
    """

    anonymous: Anonymous

    def __init__(
        self,
        store: str | BackendBase,
        *,
        base_path: str = "",
        tokens: Iterable[Token] = (),
        user: User | Callable[[httputil.HTTPServerRequest], str | None] | None = None,
        anonymous: Anonymous | None = None,
        secret: str | bytes | None = None,
        url: str | None = None,
        secure: bool | None = None,
        hosts: Iterable[str] | None = None,
        session_lifetime: float = 12 * 3600.0,
        threads: int = _THREADS,
        trackers: Iterable[Tracker | Mapping[str, Any]] | Filing = (),
    ) -> None:
        self.base_path: str = check_base_path(base_path)
        # A file may have others later.
        self.tokens: Iterable[Token] = tokens if isinstance(tokens, TokenFile) else tuple(tokens)
        if user is not None and not isinstance(user, User):
            user = CallableUser(user)
        self.user: User | None = user
        self.url: str | None = None if url is None else url.rstrip("/")
        if self.url is not None and urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError(f"expected a URL such as https://example.org, got {url!r}")
        if secure is None and self.url is not None:
            secure = self.url.startswith("https:")
        self.secure: bool | None = secure
        self.session_lifetime: float = session_lifetime
        self._secret = secret.encode() if isinstance(secret, str) else secret
        if self._secret is None:
            self._secret = secrets.token_bytes(32)
        if len(self._secret) < 16:
            raise ValueError("expected a secret of 16 characters at least")
        self._owns_store = isinstance(store, str)
        self.store: BackendBase = (
            open_store(store, at_once=False) if isinstance(store, str) else store
        )
        self._owns_filing = not hasattr(trackers, "watch")
        self.filing: Filing | None = self._find_filing(trackers)
        if self.filing is not None:
            # From here on nobody changes a ticket behind the trackers' back.
            self.store = self.filing.watch(self.store)
        self._looking: ioloop.PeriodicCallback | None = None
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        if anonymous is None and (user is not None or any(True for _ in self.tokens)):
            anonymous = "never"
        self.is_settled: bool = False
        if anonymous is None and not self._owns_store:
            anonymous = self._find_anonymous()
        # Whoever is in doubt is not let in.
        self._set_anonymous(anonymous or "never")
        self.is_settled = anonymous is not None
        self._pool = ThreadPoolExecutor(threads, "tickets")
        self._applications: list[web.Application] = []
        self._closers: list[Callable[[], object]] = []
        self._shared: dict[type, object] = {}

    def _find_filing(self, trackers: Any) -> Filing | None:
        if not self._owns_filing:
            filing: Filing = trackers
            return filing
        given = list(trackers)
        if not given:
            return None
        from sprockets.logbook.ticketing._trackers import Filing

        page = None if self.url is None else f"{_escaped(self.url)}/tickets/{{ticket_id}}"
        return Filing.of(given, self.store, ticket_url=page)

    def _find_anonymous(self) -> Anonymous:
        return "never" if self.store.get_tokens() else "local"

    def _set_anonymous(self, anonymous: Anonymous) -> None:
        self.anonymous = anonymous
        is_local = self._hosts is None and anonymous == "local"
        self.hosts: frozenset[str] | None = _LOCAL_HOSTS if is_local else self._hosts

    async def settle(self) -> None:
        """Find out who is let in, which the store says unless somebody else did.

        Raises:
            Exception: Whatever a store raises that cannot be opened; the next request tries again.
        """
        if not self.is_settled:
            found = await self.call(self._find_anonymous)
            self._set_anonymous(found)
            self.is_settled = True

    @property
    def has_login(self) -> bool:
        """Whether browsers are sent to a page where people log in."""
        return self.anonymous == "never" and (self.user is None or self.user.has_login)

    def key_for(self, purpose: str) -> bytes:
        """Return a key for *purpose*, 32 bytes, which tells nothing of those for others."""
        assert self._secret is not None
        return hmac.digest(self._secret, purpose.encode(), hashlib.sha256)

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call *function* in one of the threads, in a copy of this context."""
        loop = asyncio.get_running_loop()
        run = copy_context().run
        return await loop.run_in_executor(self._pool, partial(run, function, *args, **kwargs))

    def attach(self, application: web.Application) -> None:
        """Have the site closed when *application* stops; again and again is once."""
        if any(application is each for each in self._applications):
            return
        self._applications.append(application)
        if isinstance(application, CallbackManager):
            if self.filing is None:
                application.on_shutdown_callbacks.append(lambda _: self.close())
                return
            application.on_start_callbacks.append(lambda *_: self._begin_looking())
            application.on_shutdown_callbacks.append(self._close_behind)
        if self.filing is not None:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop()
                # It runs already, or knows no callbacks.
                self._begin_looking()

    def _begin_looking(self) -> None:
        """Have trackers told every minute what they were not told."""
        if self.filing is None or self._looking is not None:
            return
        self._looking = ioloop.PeriodicCallback(self.filing.look, _LOOK_INTERVAL * 1_000)
        self._looking.start()
        self.filing.look()

    async def _close_behind(self, _: object) -> None:
        """Close it, and wait in a thread for what trackers are still told."""
        self._let_go()
        if self.filing is not None and self._owns_filing:
            await asyncio.get_running_loop().run_in_executor(None, self.filing.close)
        self.close()

    def _let_go(self) -> None:
        if self._looking is not None:
            self._looking.stop()
        while self._closers:
            self._closers.pop()()
        self._pool.shutdown(wait=False)

    def shared(self, kind: Callable[[Site], T]) -> T:
        """Return the one object of that class, which is made of the site when it is asked for."""
        found = self._shared.get(kind)  # type: ignore[call-overload]  # a class
        if found is None:
            found = self._shared[kind] = kind(self)  # type: ignore[index]  # likewise
        return cast("T", found)

    def on_close(self, callback: Callable[[], object]) -> None:
        """Have *callback* called on :meth:`close`."""
        self._closers.append(callback)

    def close(self) -> None:
        """Let go of threads, and of the store if it was opened here; a second call does nothing."""
        self._let_go()
        if self.filing is not None and self._owns_filing:
            self.filing.close()
        if self._owns_store:
            self._owns_store = False
            self.store.close()


def _escaped(url: str) -> str:
    return url.replace("{", "{{").replace("}", "}}")


def check_base_path(path: str) -> str:
    """Return *path* without a slash at its end.

    Raises:
        ValueError: It is no path to mount something at.
    """
    path = path.rstrip("/")
    if path and (not path.startswith("/") or path.startswith("//") or not path.isascii()):
        raise ValueError(f"expected a path such as /tickets, got {path!r}")
    if any(character in path for character in "?#\\% \t\r\n\"'<>"):
        raise ValueError(f"expected a path of plain characters, got {path!r}")
    return path


def open_store(url: str, *, at_once: bool = True) -> BackendBase:
    """Return the store at *url*: MongoDB's for ``mongodb:``, SQLAlchemy's for the rest.

    Args:
        url: Where it is.
        at_once: ``False`` opens it when it is first asked.

    Raises:
        MissingDependency: The library for it is not installed.
        ValueError: That is no URL of a store.
    """
    scheme, sign, _ = url.partition(":")
    if not sign:
        raise ValueError(f"expected the URL of a store, as in sqlite:///tickets.db, got {url!r}")
    kind = "MongoDB" if scheme.partition("+")[0] == "mongodb" else "SQLAlchemy"
    ticketing = import_module("sprockets.logbook.ticketing")
    backend: type[BackendBase] = getattr(ticketing, f"{kind}Backend")
    return backend(uri=url) if at_once else DeferredBackend(backend, uri=url)
