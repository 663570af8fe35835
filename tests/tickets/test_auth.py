"""Who is let in: tokens, sessions, a trusted header, this machine; and what forms must carry."""

import hashlib
import re
import time
from types import SimpleNamespace

import pytest
from tornado.httputil import HTTPHeaders

from sprockets.tickets import _auth
from sprockets.tickets._auth import (
    CallableUser,
    Identity,
    TrustedHeader,
    User,
    host_of,
    is_loopback,
)
from sprockets.tickets._base import TicketsHandler
from sprockets.tickets._tokens import (
    Token,
    check_name,
    check_scopes,
    digest_of,
    find_token,
    make_token,
    parse_tokens,
)
from sprockets.tickets.app import make_app
from tests.tickets.driver import READER, TOKENS, WRITER, ids

LIST = "/api/v1/tickets"


class AskHandler(TicketsHandler):
    """A page with a form."""

    def get(self):
        self.write(self.xsrf_form_html() + f" {self.actor} {self.may_write}")

    async def post(self):
        self.write(f"done by {self.actor}")


@pytest.fixture(name="make")
def _make(serve, store):
    """Serve an application with a form at ``/form``."""

    def make(**options):
        application = make_app(store=store, **options)
        rules = application.wildcard_router.rules
        site = rules[0].target_kwargs["site"]
        application.add_handlers(".*", [(site.base_path + "/form", AskHandler, {"site": site})])
        return serve(application)

    return make


def form_token(browser, path="/form"):
    """Return what the form wants back."""
    page = browser.fetch(path).body.decode()
    return re.search(r'name="_xsrf" value="([\w-]+)"', page)[1]


def log_in(browser, token=WRITER, base_path=""):
    answer = browser.fetch(f"{base_path}/login", "POST", form={"token": token})
    assert answer.code == 303, answer.body
    return answer


# -- tokens


def test_a_token_is_kept_as_its_digest():
    """What is stored is of no use to whoever reads it."""
    text = make_token()
    token = Token.from_text(text, "ci")

    assert re.fullmatch(r"spt_[\w-]{43}", text)
    assert token.digest == hashlib.sha256(text.encode()).hexdigest()
    assert text not in repr(token)
    assert make_token() != text


def test_a_token_is_found_by_its_digest():
    """Among those that were given; the others are none."""
    assert find_token(TOKENS, digest_of(WRITER)) is TOKENS[0]
    assert find_token(TOKENS, digest_of("spt_")) is None
    assert find_token([], digest_of(WRITER)) is None


def test_digests_are_compared_in_constant_time(monkeypatch):
    """All are compared, also after one has been found."""
    compared = []
    monkeypatch.setattr(
        "sprockets.tickets._tokens.hmac",
        SimpleNamespace(compare_digest=lambda one, other: compared.append(one) or one == other),
    )

    find_token(TOKENS, digest_of(WRITER))

    assert compared == [token.digest for token in TOKENS]


def test_a_file_of_tokens_has_a_line_for_each():
    """Name, scopes, digest; comments and empty lines say nothing."""
    digest = digest_of("spt_1")
    tokens = parse_tokens(f"# robots\n\nci read,write {digest}\n  board read {digest}\n")

    assert [(token.name, sorted(token.scopes)) for token in tokens] == [
        ("ci", ["read", "write"]),
        ("board", ["read"]),
    ]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("ci read", "line 1: expected three words"),
        ("ci read,admin " + "0" * 64, "got 'admin,read'"),
        ("ci read spt_secret", "got 10 characters"),
        ("ci read " + "A" * 64, "in lower case"),
        (f"{'x' * 81} read " + "0" * 64, "1 to 80 characters"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(line, text):
    """By its number; what may be a secret is not repeated."""
    with pytest.raises(ValueError, match=text) as caught:
        parse_tokens(line)

    assert "spt_secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "\x00", "x" * 81])
def test_a_token_has_a_name_for_history(name):
    """One that can be read in a line."""
    with pytest.raises(ValueError, match="1 to 80 characters"):
        check_name(name)


@pytest.mark.parametrize("scopes", [[], ["admin"], ["read", "x"]])
def test_scopes_are_known(scopes):
    """Read and write; there are no others."""
    with pytest.raises(ValueError, match="expected the scopes read or write"):
        check_scopes(scopes)


def test_a_token_lets_in(make):
    """Its name is what history is told."""
    browser = make(tokens=TOKENS).with_token()

    assert browser.json("/api/v1/me") == {
        "name": "robot",
        "scopes": ["read", "write"],
        "may_write": True,
    }


@pytest.mark.parametrize(
    "value",
    [
        "Bearer spt_wrong",
        "Bearer ",
        f"Bearer {digest_of(WRITER)}",
        f"Basic {WRITER}",
        WRITER,
        f"Bearer {WRITER}x",
        "Bearer \x80\xff",
    ],
)
def test_what_is_no_token_does_not(make, value):
    """Neither does the digest, which somebody may have seen."""
    answer = make(tokens=TOKENS).fetch(LIST, headers={"Authorization": value})

    assert answer.code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="tickets", error="invalid_token"'


def test_without_a_token_programs_are_told_how(make):
    """The scheme, and no error yet."""
    answer = make(tokens=TOKENS).fetch(LIST)

    assert answer.code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="tickets"'
    assert b"Authorization: Bearer" in answer.body


def test_two_authorizations_are_refused(make):
    """Nobody knows which of them a proxy looked at."""
    browser = make(tokens=TOKENS)
    headers = HTTPHeaders()
    headers.add("Authorization", f"Bearer {WRITER}")
    headers.add("Authorization", "Bearer spt_other")

    async def ask():
        return await browser.served.client.fetch(
            f"http://127.0.0.1:{browser.port}{LIST}", headers=headers, raise_error=False
        )

    assert browser.served.loop.run_sync(ask).code == 400


def test_a_token_of_the_store_lets_in_until_it_is_removed(make, store):
    """From the next request on, no restart needed."""
    text = make_token()
    browser = make(tokens=TOKENS).with_token(text)
    assert browser.fetch(LIST).code == 401

    store.add_token(digest_of(text), "ci", ["read"])
    assert browser.fetch(LIST).code == 200
    assert browser.json("/api/v1/me")["name"] == "ci"

    store.remove_token("ci")
    assert browser.fetch(LIST).code == 401


def test_a_token_for_reading_changes_nothing(make, store):
    """All methods that change something are refused, with the name of who asked."""
    browser = make(tokens=TOKENS).with_token(READER)
    ticket_id = ids(store)[0]
    mark = store.get_mark()
    assert browser.fetch(LIST).code == 200

    for method, path, data in (
        ("PATCH", f"{LIST}/{ticket_id}", {"state": "solved"}),
        ("DELETE", f"{LIST}/{ticket_id}", None),
        ("POST", f"{LIST}/{ticket_id}/comments", {"text": "x"}),
        ("POST", f"{LIST}/{ticket_id}/merge", {"tickets": [ids(store)[1]]}),
        ("POST", f"{LIST}/bulk", {"tickets": [ticket_id], "delete": True}),
        ("POST", "/form", None),
    ):
        answer = browser.fetch(path, method, data=data)
        assert answer.code == 403, path
        assert b"reader may read tickets only" in answer.body
    assert store.get_mark() == mark


def test_a_token_without_any_scope_lets_nobody_read(make, store):
    """As an older store may hold one."""
    store.add_token(digest_of("spt_odd"), "odd", ["other"])

    assert make(tokens=TOKENS).with_token("spt_odd").fetch(LIST).code == 403


def test_a_token_needs_no_form(make):
    """No other site can make a browser send one."""
    browser = make(tokens=TOKENS).with_token()

    answer = browser.fetch("/form", "POST", form={}, headers={"Origin": "https://evil.example"})

    assert answer.body == b"done by robot"


# -- sessions


def test_a_browser_is_sent_to_log_in_and_comes_back(make):
    """To where it wanted to go."""
    browser = make(tokens=TOKENS)

    answer = browser.fetch("/form?x=1", headers={"Accept": "text/html,*/*"})
    assert answer.code == 303
    assert answer.headers["Location"] == "/login?next=%2Fform%3Fx%3D1"

    page = browser.fetch(answer.headers["Location"]).body.decode()
    assert 'action="/login?next=%2Fform%3Fx%3D1"' in page
    answer = browser.fetch(answer.headers["Location"], "POST", form={"token": WRITER})
    assert answer.code == 303
    assert answer.headers["Location"] == "/form?x=1"
    assert b"robot True" in browser.fetch("/form?x=1").body


def test_a_form_that_is_sent_without_a_session_is_not_redirected(make):
    """What was typed would be lost without a word."""
    answer = make(tokens=TOKENS).fetch("/form", "POST", form={}, headers={"Accept": "text/html"})

    assert answer.code == 401


def test_the_interface_for_programs_never_redirects(make):
    """Not even browsers: scripts of a page ask it."""
    assert make(tokens=TOKENS).fetch(LIST, headers={"Accept": "text/html"}).code == 401


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil",
        "evil",
        "/x\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "/" + "x" * 3000,
    ],
)
def test_nobody_is_sent_elsewhere_after_logging_in(make, target):
    """Paths of this frontend only."""
    from urllib.parse import quote

    browser = make(tokens=TOKENS)
    answer = browser.fetch(f"/login?next={quote(target, safe='')}", "POST", form={"token": WRITER})

    assert answer.headers["Location"] in ("/", "/x  Set-Cookie: a=b")


def test_paths_outside_of_the_mounted_frontend_are_elsewhere(make):
    """The application around it is not ours to send people to."""
    browser = make(tokens=TOKENS, base_path="/tickets")

    answer = browser.fetch("/tickets/login?next=/shop", "POST", form={"token": WRITER})

    assert answer.headers["Location"] == "/tickets/"
    assert "Path=/tickets;" in answer.headers["Set-Cookie"] + ";"


def test_a_wrong_token_is_told_so(make):
    """On the page, with a status that is no success, and no session."""
    browser = make(tokens=TOKENS)

    answer = browser.fetch("/login", "POST", form={"token": "<script>"})

    assert answer.code == 403
    assert b"That token is not known here." in answer.body
    assert b"<script>" not in answer.body
    assert not browser.cookies


def test_the_cookie_of_a_session_is_for_the_server_only(make):
    """Not for scripts, not for other sites; without HTTPS it is not marked as secure."""
    answer = log_in(make(tokens=TOKENS))

    flags = {part.strip().lower() for part in answer.headers["Set-Cookie"].split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/", "max-age=43200"} <= flags
    assert "secure" not in flags


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"url": "https://example.org/"}, {}),
        ({"secure": True}, {}),
        ({}, {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}),
    ],
)
def test_the_cookie_is_secure_with_https(make, options, headers):
    """As settings say, or the proxy in front."""
    browser = make(tokens=TOKENS, **options)
    answer = browser.fetch("/login", "POST", form={"token": WRITER}, headers=headers)

    assert answer.code == 303
    assert "; secure" in answer.headers["Set-Cookie"].lower()


def test_a_forged_session_is_none(make):
    """Another secret signs otherwise; a changed name breaks the signature."""
    browser = make(tokens=TOKENS)
    log_in(browser)
    real = browser.cookies["tickets_session"]
    assert browser.fetch("/form").code == 200

    for forged in (real[:-1] + ("0" if real[-1] != "0" else "1"), real.replace("|", ";", 1), "x"):
        browser.cookies["tickets_session"] = forged
        assert browser.fetch("/form").code == 401


def test_a_session_of_another_secret_is_none(make):
    """What one service signed, another does not take."""
    one, other = make(tokens=TOKENS, secret="a" * 32), make(tokens=TOKENS, secret="b" * 32)
    same = make(tokens=TOKENS, secret="a" * 32)
    log_in(one)
    other.cookies = same.cookies = one.cookies

    assert other.fetch("/form").code == 401
    assert same.fetch("/form").code == 200


def test_a_session_ends_with_its_token(make, store):
    """Who removes a token has removed it everywhere."""
    store.add_token(digest_of("spt_short"), "guest", ["read"])
    browser = make(tokens=TOKENS)
    log_in(browser, "spt_short")
    assert b"guest False" in browser.fetch("/form").body

    store.remove_token("guest")

    assert browser.fetch("/form").code == 401


def test_a_session_ends_after_its_time(make, monkeypatch):
    """Whatever the browser does with its cookie."""
    browser = make(tokens=TOKENS, session_lifetime=3600.0)
    log_in(browser)
    assert browser.fetch("/form").code == 200

    real = time.time
    monkeypatch.setattr("sprockets.tickets._base.time.time", lambda: real() + 3601)

    assert browser.fetch("/form").code == 401


def test_logging_out_needs_a_form_and_ends_the_session(make):
    """Otherwise any page could log people out."""
    browser = make(tokens=TOKENS)
    log_in(browser)
    assert browser.fetch("/logout", "POST", form={}).code == 403

    answer = browser.fetch("/logout", "POST", form={"_xsrf": form_token(browser)})

    assert answer.code == 303
    assert not browser.cookies
    assert browser.fetch("/form").code == 401


# -- forms


def test_a_form_carries_what_only_our_page_knows(make):
    """In the body, or in a header; it differs each time."""
    browser = make(tokens=TOKENS)
    log_in(browser)
    token = form_token(browser)

    assert browser.fetch("/form", "POST", form={"_xsrf": token}).body == b"done by robot"
    for name in ("X-Xsrftoken", "X-Csrftoken"):
        assert browser.fetch("/form", "POST", body="", headers={name: token}).code == 200
    assert form_token(browser) != token


@pytest.mark.parametrize("forged", ["", "x", "A" * 64, "ä", "AAAA" * 1000, "=", "\x00"])
def test_a_form_with_anything_else_is_refused(make, store, forged):
    """With words that help who has left the page open for too long."""
    browser = make(tokens=TOKENS)
    log_in(browser)

    answer = browser.fetch("/form", "POST", form={"_xsrf": forged})

    assert answer.code == 403
    assert b"load the page again" in answer.body or b"A form needs _xsrf" in answer.body


def test_the_form_of_somebody_else_is_refused(make):
    """Of another session, also of the same person."""
    one = make(tokens=TOKENS)
    other = one.another()
    log_in(one)
    log_in(other, READER)
    again = one.another()
    log_in(again)

    assert one.fetch("/form", "POST", form={"_xsrf": form_token(other)}).code == 403
    # A session that was made in the same second is the same.
    assert again.fetch("/form", "POST", form={"_xsrf": form_token(again)}).code == 200


def test_calls_of_scripts_with_a_session_are_checked_as_forms_are(make, store):
    """Another site can have a browser send JSON with its cookies, if it is told to be text."""
    browser = make(tokens=TOKENS)
    log_in(browser)
    path = f"{LIST}/{ids(store)[0]}"

    assert browser.fetch(path, "PATCH", data={"state": "solved"}).code == 403

    headers = {"X-Xsrftoken": form_token(browser)}
    assert browser.fetch(path, "PATCH", data={"state": "solved"}, headers=headers).code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
    ],
)
def test_what_a_page_of_another_site_sends_is_refused(make, headers):
    """Whatever it carries; logging in included."""
    browser = make(tokens=TOKENS)
    log_in(browser)

    for path, form in (("/form", {"_xsrf": form_token(browser)}), ("/login", {"token": WRITER})):
        answer = browser.fetch(path, "POST", form=form, headers=headers)
        assert answer.code == 403
        assert b"a page of another site" in answer.body


def test_a_page_that_does_not_say_where_it_is_needs_what_only_ours_know(make):
    """Browsers say ``null`` of pages that send no referrer; anybody can have them say so."""
    browser = make(tokens=TOKENS)
    headers = {"Origin": "null"}
    assert browser.fetch("/login", "POST", form={"token": WRITER}, headers=headers).code == 403
    log_in(browser)

    form = {"_xsrf": form_token(browser)}
    assert browser.fetch("/form", "POST", form=form, headers=headers).code == 200
    assert browser.fetch("/form", "POST", form={}, headers=headers).code == 403
    assert browser.fetch("/login").headers["Referrer-Policy"] == "same-origin"
    assert browser.fetch("/form").headers["Referrer-Policy"] == "no-referrer"


def test_our_own_origin_is_none_of_those(make):
    """By the Host header; by the address that settings name, if a proxy changes that header."""
    browser = make(tokens=TOKENS)
    log_in(browser)
    for headers in (
        {"Origin": f"http://127.0.0.1:{browser.port}"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ):
        form = {"_xsrf": form_token(browser)}
        assert browser.fetch("/form", "POST", form=form, headers=headers).code == 200

    named = make(tokens=TOKENS, url="https://example.org/x")
    log_in(named)
    headers = {"Origin": "https://example.org"}
    form = {"_xsrf": form_token(named)}
    assert named.fetch("/form", "POST", form=form, headers=headers).code == 200


# -- this machine


def test_without_any_authentication_this_machine_is_answered(make):
    """As ``anonymous``, who may write."""
    browser = make()

    assert browser.json("/api/v1/me") == {
        "name": "anonymous",
        "scopes": ["read", "write"],
        "may_write": True,
    }


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_then_another_host_is_refused(make, host):
    """A name that its owner has lead to this machine, so that pages of it can read ours."""
    answer = make().fetch(LIST, headers={"Host": host})

    assert answer.code in (400, 421)
    assert b"first" not in answer.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000"])
def test_the_names_of_this_machine_are_none_of_those(make, host):
    """With any port, as tunnels change it."""
    assert make().fetch(LIST, headers={"Host": host}).code == 200


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via", "X-Forwarded-Host"]
)
def test_then_a_proxy_is_refused(make, name):
    """Whoever is behind it is not on this machine."""
    answer = make().fetch(LIST, headers={name: "192.0.2.1", "Host": "localhost"})

    assert answer.code == 403
    assert b"give the service tokens" in answer.body


def test_then_another_machine_is_refused(make, monkeypatch):
    """Also if it says that it is this one."""
    browser = make()
    monkeypatch.setattr("sprockets.tickets._base.peer_of", lambda request: "192.0.2.7")

    assert browser.fetch(LIST, headers={"Host": "localhost"}).code == 403


def test_then_forms_are_checked_all_the_same(make):
    """A page of another site can send forms to this machine."""
    browser = make()

    assert browser.fetch("/form", "POST", form={}).code == 403
    assert browser.fetch("/form", "POST", form={"_xsrf": form_token(browser)}).code == 200


def test_a_token_in_the_store_ends_that(make, store):
    """Somebody has thought of authentication: nobody is let in without any more."""
    store.add_token(digest_of(WRITER), "ci", ["read"])

    assert make().fetch(LIST).code == 401


@pytest.mark.parametrize(
    ("anonymous", "status"), [("never", 401), ("anywhere", 200), ("local", 421)]
)
def test_whether_the_unknown_are_let_in_can_be_said(make, anonymous, status):
    """Never, from this machine, or from anywhere."""
    browser = make(anonymous=anonymous)

    assert browser.fetch(LIST, headers={"Host": "example.org"}).code == status


def test_hosts_can_be_named(make):
    """Where people log in, any is answered unless some are named."""
    browser = make(tokens=TOKENS, hosts=["tickets.example.org"]).with_token()

    assert browser.fetch(LIST).code == 421
    assert browser.fetch(LIST, headers={"Host": "Tickets.example.org:443"}).code == 200


# -- people


def request_from(peer, *values, header="X-Forwarded-User"):
    headers = HTTPHeaders()
    for value in values:
        headers.add(header, value)
    sock = SimpleNamespace(getpeername=lambda: peer)
    connection = SimpleNamespace(stream=SimpleNamespace(socket=sock))
    return SimpleNamespace(headers=headers, connection=connection)


@pytest.mark.parametrize(
    ("proxies", "peer", "is_believed"),
    [
        (["10.0.0.0/8"], ("10.1.2.3", 1), True),
        (["10.0.0.0/8"], ("11.1.2.3", 1), False),
        (["10.0.0.0/8"], ("::ffff:10.1.2.3", 1, 0, 0), True),
        (["fe80::/10"], ("fe80::1%eth0", 1, 0, 2), True),
        (["127.0.0.1", "::1"], ("::1", 1, 0, 0), True),
        (["127.0.0.1"], "", False),
        (["unix"], "", True),
        (["unix"], ("127.0.0.1", 1), False),
    ],
)
def test_a_header_is_believed_from_the_proxy_only(proxies, peer, is_believed):
    """By the address of the connection, not by what headers say of it."""
    user = TrustedHeader("X-Forwarded-User", proxies=proxies)

    assert user.find_name(request_from(peer, "ada")) == ("ada" if is_believed else None)


@pytest.mark.parametrize("values", [[], [""], ["ada", "eve"], ["a\tb"], ["x" * 201]])
def test_a_header_that_names_nobody_is_none(values):
    """Not there, empty, twice, or nothing that is a name."""
    assert TrustedHeader().find_name(request_from(("127.0.0.1", 1), *values)) is None


def test_a_connection_that_is_gone_is_of_nobody():
    """Its address cannot be asked for any more."""

    def fail():
        raise OSError

    request = request_from(None, "ada")
    request.connection.stream.socket.getpeername = fail

    assert _auth.peer_of(request) is None
    assert TrustedHeader().find_name(request) is None


def test_proxies_are_named():
    """An empty list would believe nobody, a single text its letters."""
    with pytest.raises(ValueError, match="name the networks of the proxy"):
        TrustedHeader(proxies=[])
    with pytest.raises(TypeError, match=r"as in \['10.0.0.0/8'\]"):
        TrustedHeader(proxies="10.0.0.0/8")
    with pytest.raises(ValueError, match="does not appear to be"):
        TrustedHeader(proxies=["proxy.example.org"])
    with pytest.raises(TypeError, match=r"as in \['ada'\]"):
        TrustedHeader(writers="ada")


def test_a_trusted_header_lets_people_in(make):
    """With their name; some may read only."""
    browser = make(user=TrustedHeader(writers=["ada"]))

    assert browser.fetch(LIST).code == 401
    assert browser.fetch("/form", headers={"Accept": "text/html"}).code == 401
    ada = browser.another(**{"X-Forwarded-User": "ada"})
    bob = browser.another(**{"X-Forwarded-User": "bob"})
    assert ada.json("/api/v1/me")["may_write"] is True
    assert bob.json("/api/v1/me") == {"name": "bob", "scopes": ["read"], "may_write": False}
    assert bob.fetch("/form", "POST", form={"_xsrf": form_token(bob)}).code == 403
    assert ada.fetch("/form", "POST", form={}).code == 403
    assert ada.fetch("/form", "POST", form={"_xsrf": form_token(ada)}).body == b"done by ada"
    assert ada.fetch("/form", "POST", form={"_xsrf": form_token(bob)}).code == 403


def test_a_header_from_elsewhere_lets_nobody_in(make):
    """A client can send any header."""
    browser = make(user=TrustedHeader(proxies=["192.0.2.0/24"]))
    headers = {"X-Forwarded-User": "ada", "X-Forwarded-For": "192.0.2.1", "X-Real-Ip": "192.0.2.1"}

    assert browser.fetch(LIST, headers=headers).code == 401


def test_the_application_may_say_who_it_is(make):
    """With a function that looks at the request."""
    browser = make(user=lambda request: request.headers.get("X-Who"))

    assert browser.json("/api/v1/me", headers={"X-Who": "ada"})["name"] == "ada"
    assert browser.fetch(LIST).code == 401
    assert browser.fetch(LIST, headers={"X-Who": ""}).code == 401


def test_users_have_names_and_scopes():
    """The base lets nobody in, and everybody who is let in write."""
    user = User()

    assert user.find_name(None) is None
    assert user.scopes_of("ada") == {"read", "write"}
    assert user.routes() == []
    assert CallableUser(lambda request: "ada", writers=[]).scopes_of("ada") == {"read"}
    assert not Identity("ada", frozenset(["read"]), "user").may_write


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("unix", True),
        ("192.0.2.1", False),
        ("0.0.0.0", False),
        ("nonsense", False),
        (None, False),
    ],
)
def test_addresses_of_this_machine_are_known(address, expected):
    """All that lead back to it; those that are unknown are none."""
    assert is_loopback(address) is expected


def test_the_host_is_read_with_and_without_port():
    """Also where it is an address with colons."""
    assert host_of("Example.org:8000") == "example.org"
    assert host_of("[2001:DB8::1]:8000") == "2001:db8::1"
    assert host_of("") == ""
