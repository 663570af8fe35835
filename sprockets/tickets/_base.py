"""The base of all handlers: nobody is answered who is not let in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final, ParamSpec, TypeVar
from urllib.parse import quote, urlsplit

from tornado import web

from sprockets.http.mixins import ErrorLogger, ErrorWriter, Problem
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.tickets._auth import READ_AND_WRITE, Identity, host_of, is_loopback, peer_of
from sprockets.tickets._settings import Site
from sprockets.tickets._tokens import digest_of, find_token

P = ParamSpec("P")
R = TypeVar("R")

SESSION_COOKIE: Final = "tickets_session"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_MASK: Final = 16  # bytes
_MAX_NEXT: Final = 2_000
# Errors of drivers that mean that the store cannot be asked right now.
_OUTAGES: Final = frozenset(
    {"ConnectionFailure", "InterfaceError", "OperationalError", "StoreUnavailableError"}
)
_FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via")


class TicketsHandler(ErrorLogger, ErrorWriter, web.RequestHandler):
    """Answers those who are let in, and changes nothing for those who may only read.

    A subclass that overrides :meth:`prepare` awaits that of its base first, and looks whether the
    request is finished then.
    """

    needs_user: ClassVar[bool] = True
    """Whether only those are answered who are let in."""
    needs_scope: ClassVar[bool] = True
    """Whether methods that change something are for those only who may write."""
    is_page: ClassVar[bool] = True
    """Whether a browser that is not let in is sent to log in."""

    site: Site
    identity: Identity | None

    def initialize(self, *, site: Site, **kwargs: Any) -> None:
        """Take what the route says."""
        self.site = site
        self.identity = None
        site.attach(self.application)
        super().initialize(**kwargs)

    # -- what pages and the interface for programs use

    @property
    def store(self) -> BackendBase:
        """The store; its methods block, so :meth:`call` them."""
        return self.site.store

    @property
    def base_path(self) -> str:
        """Where the frontend is mounted, without a slash at the end; ``""`` at the root."""
        return self.site.base_path

    @property
    def actor(self) -> str:
        """Who asks, for history."""
        return "" if self.identity is None else self.identity.name

    @property
    def may_write(self) -> bool:
        """Whether who asks may change tickets."""
        return self.identity is not None and self.identity.may_write

    @property
    def csp_nonce(self) -> str:
        """What a ``<script>`` or ``<style>`` in the page must have as its ``nonce``."""
        found: str = self.__dict__.setdefault("_csp_nonce", secrets.token_urlsafe(16))
        return found

    def make_url(self, path: str) -> str:
        """Return *path*, which begins with a slash, under that of the frontend."""
        return f"{self.site.base_path}{path}"

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a method of the store in a thread, in a copy of this context.

        Raises:
            sprockets.http.mixins.Problem: With 503, if the store cannot be reached.
        """
        try:
            return await self.site.call(function, *args, **kwargs)
        except Exception as error:
            if _is_outage(error):
                self.set_header("Retry-After", "5")
                raise Problem(503, detail="The store of the tickets cannot be reached") from error
            raise

    def get_current_user(self) -> str | None:
        """Return the name of who asks."""
        return None if self.identity is None else self.identity.name

    # -- what every answer has

    def set_default_headers(self) -> None:
        """Allow what the pages need, and nothing beyond."""
        nonce = self.csp_nonce
        self.set_header("Content-Security-Policy", make_policy(nonce))
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")

    # -- who is let in

    def check_xsrf_cookie(self) -> None:
        """Leave that to :meth:`prepare`, which knows who asks; Tornado would ask before."""

    async def prepare(self) -> None:
        """Answer those who are not let in."""
        if not self.site.is_settled:
            await self.site.settle()
        self._check_place()
        self.identity = await self._identify()
        if self.identity is None:
            if self.needs_user:
                self._refuse()
                return
        elif self.needs_user and not self.identity.scopes & READ_AND_WRITE:
            raise Problem(403, detail="That may neither read nor write")
        if self.request.method in _SAFE:
            return
        if self.identity is None or self.identity.kind != "token":
            self._check_origin()
            if self.needs_user:
                self._check_form()
        if self.needs_user and self.needs_scope and not self.may_write:
            raise Problem(403, detail=f"{self.actor or 'This token'} may read tickets only")

    def _check_place(self) -> None:
        """Refuse what comes under another name, or from elsewhere where all are let in."""
        site = self.site
        if site.hosts is not None and host_of(self.request.host) not in site.hosts:
            raise Problem(
                421, detail="That Host is not served here", log_message="a Host of another service"
            )
        if site.anonymous == "local" and (
            not is_loopback(peer_of(self.request))
            or any(name in self.request.headers for name in _FORWARDED)
        ):
            raise Problem(
                403,
                detail="Without authentication only this machine is answered, and no proxy;"
                " give the service tokens or a user",
            )

    async def _identify(self) -> Identity | None:
        headers = self.request.headers.get_list("Authorization")
        bearer = [each for each in headers if each[:7].lower() == "bearer "]
        if bearer:
            if len(headers) > 1:
                raise Problem(400, detail="Expected one Authorization header")
            return await self.identify_token(bearer[0][7:].strip())
        site = self.site
        if site.user is not None:
            name = site.user.find_name(self.request)
            if name is not None:
                return Identity(name, site.user.scopes_of(name), "user")
        identity = await self._identify_session()
        if identity is not None:
            return identity
        if site.anonymous != "never":
            return Identity("anonymous", READ_AND_WRITE, "anonymous")
        return None

    async def identify_token(self, text: str) -> Identity | None:
        """Return who has that token, or None."""
        found = await self._look_up(digest_of(text))
        return None if found is None else Identity(*found, "token")

    async def _look_up(self, digest: str) -> tuple[str, frozenset[str]] | None:
        token = find_token(self.site.tokens, digest)
        if token is not None:
            return token.name, token.scopes
        return await self.call(self.store.get_token, digest)

    # -- sessions

    async def _identify_session(self) -> Identity | None:
        value = self.get_cookie(SESSION_COOKIE)
        if not value or len(value) > 4_000:
            return None
        text = web.decode_signed_value(
            self.site.key_for("session"), SESSION_COOKIE, value, self.site.session_lifetime / 86_400
        )
        try:
            facts = json.loads(text or b"null")
        except ValueError:
            return None
        if not isinstance(facts, dict) or facts.get("until", 0) < time.time():
            return None
        if "digest" in facts:
            found = await self._look_up(facts["digest"])
            return None if found is None else Identity(*found, "session")
        user = self.site.user
        if user is None or not user.has_login:
            return None
        return Identity(facts["name"], user.scopes_of(facts["name"]), "session")

    def begin_session(self, **facts: str) -> None:
        """Give the browser a session.

        Args:
            facts: ``name`` of the user; or ``digest`` of a token, with which the session ends.
        """
        lifetime = self.site.session_lifetime
        text = json.dumps({**facts, "until": time.time() + lifetime})
        self.set_own_cookie(SESSION_COOKIE, self._sign(SESSION_COOKIE, text), int(lifetime))

    def end_session(self) -> None:
        """Have the browser forget its session."""
        self.set_own_cookie(SESSION_COOKIE, "", 0)

    def _sign(self, name: str, text: str) -> str:
        return web.create_signed_value(self.site.key_for("session"), name, text).decode("ascii")

    def set_own_cookie(self, name: str, value: str, max_age: int) -> None:
        """Set a cookie that scripts cannot read, and that other sites cannot have posted."""
        secure = self.site.secure
        if secure is None:
            secure = self.request.protocol == "https"
        flags: dict[str, Any] = {"httponly": True, "samesite": "Lax"}
        if secure:
            flags["secure"] = True
        self.set_cookie(name, value, path=self.base_path or "/", max_age=max_age, **flags)

    def _refuse(self) -> None:
        """Send a browser to where people log in; tell a program what is missing."""
        accept = self.request.headers.get("Accept", "")
        if (
            self.is_page
            and self.site.has_login
            and self.request.method in ("GET", "HEAD")
            and "text/html" in accept
            and "Authorization" not in self.request.headers
        ):
            target = quote(self.request.uri or "/", safe="")
            self.redirect(self.make_url(f"/login?next={target}"), status=303)
            return
        has_token = "Authorization" in self.request.headers
        self.set_header(
            "WWW-Authenticate",
            'Bearer realm="tickets"' + (', error="invalid_token"' if has_token else ""),
        )
        raise Problem(
            401,
            detail="That token is not known here"
            if has_token
            else "Log in, or send a token as in 'Authorization: Bearer spt_...'",
        )

    def check_next(self, target: str) -> str:
        """Return *target* if it is a path of this frontend, else that of its first page."""
        home = self.make_url("/")
        if (
            len(target) > _MAX_NEXT
            or not target.startswith(home)
            or target.startswith("//")
            or "\\" in target
            or not target.isprintable()
        ):
            return home
        return target

    # -- requests that other sites have a browser send

    @property
    def xsrf_token(self) -> bytes:
        """What a form has as ``_xsrf``, and a script sends as ``X-Xsrftoken``.

        It differs each time and is good as long as the session is.
        """
        mask = secrets.token_bytes(_MASK)
        return base64.urlsafe_b64encode(mask + _masked(mask, self._make_xsrf())).rstrip(b"=")

    def _make_xsrf(self) -> bytes:
        identity = self.identity or Identity("", frozenset(), "anonymous")
        session = self.get_cookie(SESSION_COOKIE) if identity.kind == "session" else ""
        text = f"{identity.kind}\n{identity.name}\n{session}"
        return hmac.digest(self.site.key_for("xsrf"), text.encode(), hashlib.sha256)

    def _check_form(self) -> None:
        given = (
            self.get_body_argument("_xsrf", "")
            or self.request.headers.get("X-Xsrftoken", "")
            or self.request.headers.get("X-Csrftoken", "")
        )
        try:
            raw = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4))
        except ValueError:
            raw = b""
        if not hmac.compare_digest(_masked(raw[:_MASK], raw[_MASK:]), self._make_xsrf()):
            raise Problem(
                403,
                detail="The form is too old, or not ours: load the page again"
                if given
                else "A form needs _xsrf, a script the header X-Xsrftoken; programs send a token",
            )

    def _check_origin(self) -> None:
        """Refuse what a page of another site has sent."""
        headers = self.request.headers
        site = headers.get("Sec-Fetch-Site")
        origin = headers.get("Origin")
        if site is not None:
            if site in ("same-origin", "none"):
                return
        elif origin is None or (origin == "null" and self.needs_user):
            # Without HTTPS browsers say no more of a form on a page that sends no referrer; such a
            # form has to have what only our pages know.
            return
        else:
            own = urlsplit(self.site.url or f"//{self.request.host}").netloc
            if urlsplit(origin).netloc.lower() == own.lower():
                return
        raise Problem(
            403,
            detail="That was sent by a page of another site",
            log_message=f"sent by a page of another site: Origin {origin!r}, Sec-Fetch-Site"
            f" {site!r}, Host {self.request.host!r}; behind a proxy, say where people reach us",
        )


def make_policy(nonce: str) -> str:
    """Return the Content-Security-Policy: what is our own, and what has the *nonce*."""
    return (
        "default-src 'none'; "
        f"script-src 'self' 'nonce-{nonce}'; "
        f"style-src 'self' 'nonce-{nonce}'; "
        "img-src 'self' data:; connect-src 'self'; font-src 'self'; manifest-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _masked(mask: bytes, text: bytes) -> bytes:
    if len(mask) != _MASK:
        return b""
    return bytes(byte ^ mask[index % _MASK] for index, byte in enumerate(text))


def _is_outage(error: BaseException) -> bool:
    return isinstance(error, (ConnectionError, TimeoutError)) or any(
        each.__name__ in _OUTAGES for each in type(error).__mro__
    )
