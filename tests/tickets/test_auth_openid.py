"""Logging in with an OpenID provider that is written here, with real keys."""

import re
import time
from urllib.parse import urlsplit

import pytest

from sprockets._support.optional import MissingDependency
from sprockets.tickets import _auth_openid
from sprockets.tickets._auth_openid import OpenIDConnect
from sprockets.tickets.app import make_app

pytest.importorskip("jwt")

from tests.tickets.openid_provider import CLIENT, SECRET, Provider, make_key, query_of

KEYS = {name: make_key() for name in ("one", "two")}


class Login:
    """A browser, the service it wants to see, and the provider both talk to."""

    def __init__(self, serve, store, provider, **options):
        self.provider = provider
        self.at_provider = serve(provider.application())
        provider.issuer = f"http://127.0.0.1:{self.at_provider.port}"
        settings = {name: options.pop(name) for name in ("base_path", "url") if name in options}
        secret = options.pop("client_secret", SECRET)
        self.user = OpenIDConnect(provider.issuer, CLIENT, secret, **options)
        self.base_path = settings.get("base_path", "")
        self.browser = serve(make_app(store=store, user=self.user, **settings))

    def begin(self, target="/"):
        """Return where the browser is sent to log in."""
        answer = self.browser.fetch(f"{self.base_path}/login?next={target}")
        assert answer.code == 303
        answer = self.browser.fetch(answer.headers["Location"])
        assert answer.code == 302, answer.body
        return answer.headers["Location"]

    def authorize(self, url):
        """Return where the provider sends the browser back to."""
        parts = urlsplit(url)
        answer = self.at_provider.fetch(f"{parts.path}?{parts.query}")
        assert answer.code == 302
        return answer.headers["Location"]

    def come_back(self, url, **options):
        parts = urlsplit(url)
        return self.browser.fetch(f"{parts.path}?{parts.query}", **options)

    def run(self, target="/"):
        return self.come_back(self.authorize(self.begin(target)))


@pytest.fixture(name="provider")
def _provider():
    return Provider({"one": KEYS["one"]})


@pytest.fixture(name="make_login")
def _make_login(serve, store, provider):
    return lambda **options: Login(serve, store, provider, **options)


@pytest.fixture(name="login")
def _login(make_login):
    return make_login()


def test_people_log_in_and_come_back(login):
    """To where they wanted to go; history knows them by name from then on."""
    answer = login.run("/api/v1/me")

    assert answer.code == 303
    assert answer.headers["Location"] == "/api/v1/me"
    assert login.browser.json("/api/v1/me")["name"] == "ada"
    assert list(login.browser.cookies) == ["tickets_session"]


def test_a_page_sends_them_there_by_itself(login):
    """No page of ours in between."""
    answer = login.browser.fetch("/login")

    assert answer.headers["Location"] == "/login/openid?next=%2F"
    assert b"token" in login.browser.fetch("/login?token=1").body


def test_the_login_is_bound_to_the_browser(login):
    """By a state, a nonce and a challenge, each anew; the verifier does not leave us."""
    one, other = query_of(login.begin()), query_of(login.begin())

    assert one["scope"] == "openid profile email"
    assert one["redirect_uri"] == f"http://127.0.0.1:{login.browser.port}/login/openid"
    assert one["code_challenge_method"] == "S256"
    for name in ("state", "nonce", "code_challenge"):
        assert len(one[name]) == 43
        assert one[name] != other[name]
    assert "code_verifier" not in one


def test_the_cookie_of_a_login_is_for_the_server_only(login):
    """And for ten minutes."""
    answer = login.browser.fetch("/login/openid")

    flags = answer.headers["Set-Cookie"].lower()
    assert "tickets_login=" in flags
    assert "httponly" in flags
    assert "samesite=lax" in flags
    assert "max-age=600" in flags


def test_the_address_of_the_service_may_be_named(make_login):
    """For proxies that change it; mounted somewhere, it is that place."""
    login = make_login(url="https://example.org/tickets", base_path="/tickets")

    url = login.begin()

    assert query_of(url)["redirect_uri"] == "https://example.org/tickets/login/openid"


def test_a_secret_may_be_sent_in_the_form(login, provider):
    """Where the provider takes it nowhere else."""
    provider.configuration = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}

    assert login.run().code == 303


def test_a_wrong_secret_is_refused_by_the_provider(make_login):
    """Which people are told as the end of this login."""
    answer = make_login(client_secret="wrong").run()

    assert answer.code == 403
    assert b"log in again" in answer.body


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": None, "email": "ada@example.org"}, "ada@example.org"),
        ({"preferred_username": "", "email": "a@b", "email_verified": False}, "1234"),
        ({"preferred_username": None}, "1234"),
        ({"preferred_username": "ada\nroot"}, "1234"),
        ({"preferred_username": ["ada"]}, "1234"),
    ],
)
def test_people_have_a_name(login, provider, claims, name):
    """The claim that was asked for, a verified address, or what the provider calls them."""
    provider.claims = claims

    login.run()

    assert login.browser.json("/api/v1/me")["name"] == name


def test_not_everybody_is_let_in(make_login, provider):
    """Those whom a function does not allow are told so; writers are named."""
    login = make_login(
        allow=lambda claims: "ops" in claims.get("groups", ()), writers=["somebody else"]
    )
    answer = login.run()
    assert answer.code == 403
    assert b"not let in" in answer.body
    assert login.browser.fetch("/api/v1/me").code == 401

    provider.claims = {"groups": ["ops"]}
    login.run()
    assert login.browser.json("/api/v1/me")["may_write"] is False


NOW = int(time.time())


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "http://127.0.0.1:1"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"aud": [CLIENT, "another"]},
        {"azp": "another"},
        {"exp": NOW - 3600},
        {"exp": None},
        {"exp": "soon"},
        {"iat": None},
        {"iat": NOW + 36_000},
        {"nbf": NOW + 36_000},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
    ],
    ids=lambda claims: re.sub(r"\d+", "N", str(claims)),  # the same in each process
)
def test_a_token_that_is_not_for_this_login_is_refused(login, provider, claims):
    """Issuer, audience, times, nonce and subject are checked."""
    provider.claims = claims

    answer = login.run()

    assert answer.code == 403
    assert b"was not accepted" in answer.body
    assert login.browser.fetch("/api/v1/me").code == 401


def test_one_audience_may_be_a_list(login, provider):
    """Both forms mean the same."""
    provider.claims = {"aud": [CLIENT], "azp": CLIENT}

    assert login.run().code == 303


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_that_anybody_could_have_signed_is_refused(login, provider, algorithm):
    """Not signed at all, or with what is no key of the provider's alone."""
    provider.algorithm = algorithm

    assert login.run().code == 403


def test_a_token_signed_with_another_key_is_refused(login, provider):
    """Though it has the name of the provider's."""
    answer = login.authorize(login.begin())
    real = dict(provider.keys)
    login.user._keys = None
    provider.sign = Provider({"one": KEYS["two"]}).sign
    assert provider.keys == real

    assert login.come_back(answer).code == 403


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.", None, 7, {"a": 1}])
def test_a_token_that_is_none_is_refused(login, provider, token):
    """Whatever the provider sends."""
    provider.answer = (200, {"id_token": token})

    assert login.run().code in (403, 502)


def test_new_keys_are_looked_for(login, provider, monkeypatch):
    """When a token names one that is not known; but not again and again."""
    login.run()
    provider.keys["two"] = KEYS["two"]
    provider.signs_with = "two"
    login.browser.cookies.clear()
    assert login.run().code == 403
    assert provider.asked.count("/keys") == 1

    real = time.monotonic
    monkeypatch.setattr(_auth_openid, "monotonic", lambda: real() + 31)

    assert login.run().code == 303
    assert provider.asked.count("/keys") == 2
    assert provider.asked.count("/.well-known/openid-configuration") == 1


def test_a_login_that_began_elsewhere_is_refused(login):
    """Otherwise somebody could have another person logged in as himself."""
    url = login.authorize(login.begin())

    assert login.browser.another().fetch(f"/login/openid?{urlsplit(url).query}").code == 403
    other = f"/login/openid?code={query_of(url)['code']}&state=another"
    assert login.browser.fetch(other).code == 403
    # That was the end of this login.
    assert login.come_back(url).code == 403


def test_a_login_ends_once(login):
    """Going back in the browser begins no second session."""
    url = login.authorize(login.begin())
    assert login.come_back(url).code == 303
    login.browser.cookies.clear()

    assert login.come_back(url).code == 403


def test_a_code_is_good_once(login):
    """Somebody who has seen it needs the verifier as well; the provider has taken it back."""
    first = login.authorize(login.begin())
    code = query_of(first)["code"]
    assert login.come_back(first).code == 303
    login.browser.cookies.clear()

    second = query_of(login.authorize(login.begin()))
    answer = login.browser.fetch(f"/login/openid?code={code}&state={second['state']}")

    assert answer.code == 403


def test_an_answer_of_another_provider_is_refused(login, provider):
    """As RFC 9207 has them say who they are."""
    url = login.authorize(login.begin())

    assert login.come_back(f"{url}&iss=https://evil.example").code == 403

    url = login.authorize(login.begin())
    assert login.come_back(f"{url}&iss={provider.issuer}").code == 303


def test_a_provider_that_refuses_is_believed(login):
    """Nobody is sent there once more, in circles."""
    login.begin()

    answer = login.browser.fetch("/login/openid?error=access_denied&state=x")

    assert answer.code == 403
    assert b"has not let you in" in answer.body
    assert not login.browser.cookies


def test_people_are_told_on_a_page(login, provider):
    """With a way to try again, and the id under which there is more in the log."""
    provider.answer = (500, {"x": 1})
    url = login.authorize(login.begin())

    answer = login.come_back(url, headers={"Accept": "text/html"})

    assert answer.code == 502
    page = answer.body.decode()
    assert 'role="alert" id="login-problem">The provider does not do its part' in page
    assert 'href="/login/openid?next=%2F"' in page
    assert f"<code>{answer.headers['X-Request-Id']}</code>" in page
    assert "nonce" in answer.headers["Content-Security-Policy"]


def test_nobody_is_sent_elsewhere_after_logging_in(login):
    """What comes after is a path of ours."""
    assert login.run("https://evil.example").headers["Location"] == "/"


@pytest.mark.parametrize(
    "answer", [(500, {"x": 1}), (200, "[]"), (200, "no JSON"), (200, {"access_token": "x"})]
)
def test_a_provider_that_fails_is_told_from_people_who_do(login, provider, answer):
    """A gateway error, which is the provider's."""
    provider.answer = answer

    assert login.run().code == 502


def test_a_configuration_of_another_issuer_is_refused(login, provider):
    """Or one whose endpoints could be listened to."""
    provider.configuration = {"issuer": "https://evil.example"}
    assert login.browser.fetch("/login/openid").code == 502

    provider.configuration = {"token_endpoint": "http://evil.example/token"}
    assert login.browser.fetch("/login/openid").code == 502


def test_a_provider_that_cannot_be_reached_is_said(make_login, serve):
    """As the error that it is."""
    login = make_login()
    login.user.issuer = "http://127.0.0.1:1"

    assert login.browser.fetch("/login/openid").code == 502


@pytest.mark.parametrize("issuer", ["http://example.org", "example.org", "ftp://example.org", ""])
def test_a_provider_is_reached_by_https(issuer):
    """Except on this machine."""
    with pytest.raises(ValueError, match="expected a URL of HTTPS as issuer"):
        OpenIDConnect(issuer, CLIENT)


def test_the_library_is_named_if_it_is_missing(monkeypatch):
    """With the extra that brings it."""
    monkeypatch.setitem(__import__("sys").modules, "jwt", None)

    with pytest.raises(MissingDependency, match=r"sprockets.http\[openid\]"):
        OpenIDConnect("https://example.org", CLIENT)
