"""An OpenID provider: as strict as one has to be, and as wrong as a test wants it."""

import base64
import hashlib
import json
import secrets
import time
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from tornado import web

from sprockets.http.app import Application

SECRET = "sécret:/+ %"
CLIENT = "tickets:1"


def make_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Provider:
    """What the provider knows; tests change it.

    ``claims`` are put over those of each ID token, ``None`` removes one; ``header`` likewise.
    """

    def __init__(self, keys):
        self.keys = dict(keys)
        self.signs_with = next(iter(self.keys))
        self.algorithm = "RS256"
        self.issuer = ""
        self.configuration = {}
        self.claims = {}
        self.answer = None
        self.codes = {}
        self.asked = []

    def application(self):
        return Application(
            [
                ("/.well-known/openid-configuration", ConfigurationHandler, {"provider": self}),
                ("/keys", KeysHandler, {"provider": self}),
                ("/authorize", AuthorizeHandler, {"provider": self}),
                ("/token", TokenHandler, {"provider": self}),
            ]
        )

    def sign(self, claims):
        if self.algorithm == "none":
            return jwt.encode(claims, None, algorithm="none")
        if self.algorithm == "HS256":
            # What a forger does who hopes that the public key is taken for a shared secret.
            return jwt.encode(claims, "public" * 8, algorithm="HS256", headers={"kid": "one"})
        key_id = self.signs_with
        return jwt.encode(
            claims, self.keys[key_id], algorithm=self.algorithm, headers={"kid": key_id}
        )


class Handler(web.RequestHandler):
    def initialize(self, provider):
        self.provider = provider

    def prepare(self):
        self.provider.asked.append(self.request.path)


class ConfigurationHandler(Handler):
    def get(self):
        issuer = self.provider.issuer
        self.finish(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "jwks_uri": f"{issuer}/keys",
                **self.provider.configuration,
            }
        )


class KeysHandler(Handler):
    def get(self):
        keys = []
        for name, key in self.provider.keys.items():
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
            keys.append({**public, "kid": name, "use": "sig", "alg": "RS256"})
        self.finish({"keys": keys})


class AuthorizeHandler(Handler):
    def get(self):
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        assert query["client_id"] == CLIENT
        code = secrets.token_urlsafe(8)
        self.provider.codes[code] = query
        back = {"code": code, "state": query["state"]}
        self.redirect(f"{query['redirect_uri']}?{urlencode(back)}")


class TokenHandler(Handler):
    def post(self):
        provider = self.provider
        if provider.answer is not None:
            status, document = provider.answer
            self.set_status(status)
            self.finish(document)
            return
        form = {name: self.get_body_argument(name) for name in self.request.body_arguments}
        if "client_secret" in form:
            client, secret = form["client_id"], form["client_secret"]
        else:
            pair = base64.b64decode(self.request.headers["Authorization"].split()[1]).decode()
            client, secret = map(unquote_plus, pair.split(":"))
        query = provider.codes.pop(form["code"], None)  # good once
        challenge = base64.urlsafe_b64encode(
            hashlib.sha256(form["code_verifier"].encode()).digest()
        )
        if (
            (client, secret) != (CLIENT, SECRET)
            or query is None
            or form["grant_type"] != "authorization_code"
            or form["redirect_uri"] != query["redirect_uri"]
            or challenge.rstrip(b"=").decode() != query["code_challenge"]
        ):
            self.set_status(400)
            self.finish({"error": "invalid_grant"})
            return
        now = int(time.time())
        claims = {
            "iss": provider.issuer,
            "sub": "1234",
            "aud": CLIENT,
            "exp": now + 300,
            "iat": now,
            "nonce": query["nonce"],
            "preferred_username": "ada",
            **provider.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        self.finish(
            {"id_token": provider.sign(claims), "access_token": "x", "token_type": "Bearer"}
        )


def query_of(url):
    """Return the parameters of *url*, each once."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
