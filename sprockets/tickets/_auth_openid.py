"""OpenID Connect: people log in with a provider, by authorization code, with PKCE and a nonce.

Source: OpenID Connect Core 1.0, section 3.1; RFC 7636; RFC 9207.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Collection, Mapping
from time import monotonic
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from tornado import auth, httpclient, web

from sprockets._support.optional import optional
from sprockets.http.mixins import Problem
from sprockets.tickets._auth import Route, User
from sprockets.tickets._auth_login import LoginPage

Claims = Mapping[str, Any]

_LOGIN_COOKIE: Final = "tickets_login"
_LOGIN_SECONDS: Final = 600
_TIMEOUT: Final = 10.0  # seconds for one answer of the provider
_FRESH: Final = 3_600.0  # seconds for which what it published is good
_PATIENCE: Final = 30.0  # seconds between two looks for keys that are not there
_LEEWAY: Final = 60  # seconds by which clocks may differ
# Signed with a key that only the provider has; what is signed with a shared secret, or not at all,
# is none of these.
_ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)


class OpenIDConnect(User):
    """Has people log in with an OpenID provider.

    At the provider, register ``https://<where people reach us>/login/openid`` as redirect URI.

    Args:
        issuer: URL of the provider, under which ``/.well-known/openid-configuration`` is.
        client_id: What the provider calls us.
        client_secret: Which only the provider and we know; ``None`` for a public client.
        scopes: That are asked for, besides ``openid``.
        name_claim: What people are called by; if it is missing, ``email`` and ``sub`` are tried.
        allow: Takes the claims of who logged in, and returns whether to let them in; ``None`` lets
            in everybody whom the provider does.
        writers: As for `User`.

    Raises:
        MissingDependency: PyJWT is not installed.
        ValueError: *issuer* is no URL of HTTPS, nor one of this machine.
    """

    has_login: bool = True

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None = None,
        *,
        scopes: Collection[str] = ("profile", "email"),
        name_claim: str = "preferred_username",
        allow: Callable[[Claims], bool] | None = None,
        writers: Collection[str] | None = None,
    ) -> None:
        super().__init__(writers=writers)
        self._jwt = optional("jwt", extra="openid", needed_by="OpenIDConnect")
        optional("cryptography", extra="openid", needed_by="OpenIDConnect")
        _check_url(issuer, "issuer")
        self.issuer = issuer
        self.client_id = client_id
        self.client_secret = client_secret
        self.scopes: list[str] = ["openid", *(scope for scope in scopes if scope != "openid")]
        self._name_claim = name_claim
        self._allow = allow
        self._configuration: dict[str, Any] = {}
        self._keys: Any = None
        self._configured_at = self._fetched_at = -_FRESH

    def routes(self) -> list[Route]:
        """Return the route that begins a login, and ends it."""
        return [("/login/openid", OpenIDHandler)]

    # -- what the provider publishes

    async def configuration(self) -> dict[str, Any]:
        """Return what the provider says of itself; asked for once an hour.

        Raises:
            sprockets.http.mixins.Problem: With 502, if it cannot be had, or is of another provider.
        """
        if monotonic() - self._configured_at >= _FRESH:
            url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
            found = await self._fetch_json(url)
            if found.get("issuer") != self.issuer:
                raise _trouble(
                    f"{url} is of the issuer {found.get('issuer')!r}, expected {self.issuer!r}"
                )
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                try:
                    _check_url(str(found.get(name)), name)
                except ValueError as error:
                    raise _trouble(f"{url}: {error}") from None
            self._configuration = found
            self._configured_at = monotonic()
        return self._configuration

    async def _find_key(self, key_id: str | None) -> Any:
        """Return the key of that id; keys that are new are looked for now and then."""
        age = monotonic() - self._fetched_at
        found = None if age >= _FRESH else self._choose(key_id)
        if found is None and age >= _PATIENCE:
            document = await self._fetch_json((await self.configuration())["jwks_uri"])
            try:
                self._keys = self._jwt.PyJWKSet.from_dict(document)
            except self._jwt.PyJWTError as error:
                raise _trouble(f"the keys of the provider make no sense: {error}") from error
            self._fetched_at = monotonic()
            found = self._choose(key_id)
        if found is None:
            raise Problem(403, detail="The provider has signed with a key that it does not publish")
        return found

    def _choose(self, key_id: str | None) -> Any:
        if self._keys is None:
            return None
        keys = [key for key in self._keys.keys if key.public_key_use in (None, "sig")]
        if key_id is None:
            return keys[0] if len(keys) == 1 else None
        return next((key for key in keys if key.key_id == key_id), None)

    async def _fetch_json(self, url: str, **options: Any) -> dict[str, Any]:
        try:
            answer = await httpclient.AsyncHTTPClient().fetch(
                url,
                connect_timeout=_TIMEOUT,
                request_timeout=_TIMEOUT,
                follow_redirects=False,
                raise_error=False,
                **{"headers": {"Accept": "application/json"}, **options},
            )
            document = json.loads(answer.body or b"null")
        except (OSError, ValueError, httpclient.HTTPError) as error:
            raise _trouble(f"{url}: {error}") from error
        if answer.code == 400 and isinstance(document, dict) and "error" in document:
            raise Problem(
                403,
                detail="The login is over, or was used already: log in again",
                log_message=f"the provider refused a code: {document.get('error')!r}",
            )
        if answer.code != 200 or not isinstance(document, dict):
            raise _trouble(f"{url} answered with {answer.code}")
        return document

    # -- one login

    async def redeem(self, code: str, verifier: str, redirect_uri: str) -> str:
        """Return the ID token that the provider gives for *code*.

        Raises:
            sprockets.http.mixins.Problem: It gives none.
        """
        configuration = await self.configuration()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self.client_id,
            "code_verifier": verifier,
        }
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        if self.client_secret is not None:
            ways = configuration.get("token_endpoint_auth_methods_supported")
            if ways is None or "client_secret_basic" in ways:
                # "... encoded using the application/x-www-form-urlencoded encoding algorithm"
                # -- RFC 6749, section 2.3.1.
                pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
                headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            else:
                form["client_secret"] = self.client_secret
        answer = await self._fetch_json(
            configuration["token_endpoint"], method="POST", body=urlencode(form), headers=headers
        )
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise _trouble("the provider sent no ID token; is this client one of OpenID Connect?")
        return token

    async def verify(self, token: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token, if it is for us and for this login.

        Raises:
            sprockets.http.mixins.Problem: With 403, if it is not.
        """
        jwt = self._jwt
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in _ALGORITHMS:
                raise jwt.InvalidAlgorithmError(f"the algorithm {header.get('alg')!r} is not used")
            key = await self._find_key(header.get("kid"))
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[header["alg"]],
                audience=self.client_id,
                issuer=self.issuer,
                leeway=_LEEWAY,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise _refused(f"{type(error).__name__}: {error}") from error
        audience = claims["aud"]
        parties = claims.get("azp", self.client_id)
        if parties != self.client_id or (isinstance(audience, list) and len(audience) > 1):
            # "... or if it contains additional audiences not trusted by the Client" -- 3.1.3.7.
            raise _refused(f"it is for {audience!r}, used by {parties!r}")
        if not hmac.compare_digest(str(claims.get("nonce")).encode(), nonce.encode()):
            raise _refused("the nonce is of another login")
        return claims

    def name_of(self, claims: Claims) -> str:
        """Return what *claims* call somebody, if they are let in.

        Raises:
            sprockets.http.mixins.Problem: With 403, if they are not.
        """
        if self._allow is not None and not self._allow(claims):
            raise Problem(403, detail="You are logged in, but not let in here")
        for name in (self._name_claim, "email", "sub"):
            value = claims.get(name)
            if name == "email" and claims.get("email_verified") is False:
                continue
            if isinstance(value, str) and value.strip() and value.isprintable():
                return value.strip()[:200]
        raise _refused("it has no name")


class OpenIDHandler(LoginPage, auth.OAuth2Mixin):
    """Sends people to the provider, and takes them in when they come back."""

    async def get(self) -> None:
        """Begin a login, or end it."""
        user = self.site.user
        assert isinstance(user, OpenIDConnect)
        if self.get_query_argument("error", ""):
            self._forget()
            self.logger.warning("login refused: %s", self.get_query_argument("error")[:200])
            raise Problem(403, detail="The provider has not let you in")
        if self.get_query_argument("code", "") or self.get_query_argument("state", ""):
            await self._finish_login(user)
        else:
            await self._begin_login(user)

    def _redirect_uri(self) -> str:
        request = self.request
        base = self.site.url or f"{request.protocol}://{request.host}{self.base_path}"
        return f"{base}/login/openid"

    async def _begin_login(self, user: OpenIDConnect) -> None:
        target = self.check_next(self.get_query_argument("next", ""))
        configuration = await user.configuration()
        login = {
            "state": secrets.token_urlsafe(32),
            "nonce": secrets.token_urlsafe(32),
            "verifier": secrets.token_urlsafe(48),
            "next": target,
        }
        signed = web.create_signed_value(
            self.site.key_for("login"), _LOGIN_COOKIE, json.dumps(login)
        )
        self.set_own_cookie(_LOGIN_COOKIE, signed.decode("ascii"), _LOGIN_SECONDS)
        self._OAUTH_AUTHORIZE_URL = configuration["authorization_endpoint"]
        self.authorize_redirect(
            redirect_uri=self._redirect_uri(),
            client_id=user.client_id,
            scope=user.scopes,
            extra_params={
                "state": login["state"],
                "nonce": login["nonce"],
                "code_challenge": challenge_of(login["verifier"]),
                "code_challenge_method": "S256",
            },
        )

    async def _finish_login(self, user: OpenIDConnect) -> None:
        login = self._read_login()
        self._forget()
        state = self.get_query_argument("state", "")
        if login is None or not hmac.compare_digest(state.encode(), login["state"].encode()):
            raise Problem(403, detail="That login began elsewhere, or too long ago: log in again")
        issuer = self.get_query_argument("iss", "")
        if issuer and issuer != user.issuer:
            raise Problem(403, detail="That login is of another provider")
        token = await user.redeem(
            self.get_query_argument("code", ""), login["verifier"], self._redirect_uri()
        )
        name = user.name_of(await user.verify(token, login["nonce"]))
        self.logger.info("%s logged in", name)
        self.begin_session(name=name)
        self.redirect(self.check_next(login["next"]), status=303)

    def _read_login(self) -> dict[str, str] | None:
        value = self.get_cookie(_LOGIN_COOKIE)
        if not value:
            return None
        text = web.decode_signed_value(
            self.site.key_for("login"), _LOGIN_COOKIE, value, _LOGIN_SECONDS / 86_400
        )
        return None if text is None else json.loads(text)

    def _forget(self) -> None:
        self.set_own_cookie(_LOGIN_COOKIE, "", 0)


def challenge_of(verifier: str) -> str:
    """Return what the provider is told of *verifier* at first.

    >>> challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'

    Source: RFC 7636, section 4.2; the example is the RFC's own, appendix B.
    """
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _check_url(url: str, name: str) -> None:
    parts = urlsplit(url)
    is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.hostname is None or not (
        parts.scheme == "https" or (parts.scheme == "http" and is_local)
    ):
        raise ValueError(f"expected a URL of HTTPS as {name}, got {url!r}")


def _trouble(text: str) -> Problem:
    return Problem(502, detail="The provider does not do its part of the login", log_message=text)


def _refused(text: str) -> Problem:
    return Problem(
        403,
        detail="The provider's word for who you are was not accepted: log in again",
        log_message=f"ID token refused: {text}",
    )
