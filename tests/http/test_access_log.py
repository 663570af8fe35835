"""The access log: what it says, what it hides, and that nobody can forge it."""

import asyncio
import base64
import io
import json
import logging
import re
import string
import time
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application, RequestHandler

from sprockets.http import _access_log
from sprockets.http._access_log import (
    FIELDS,
    add_secret_names,
    fields_of,
    format_line,
    log_access,
    scrub_headers,
    scrub_uri,
)
from sprockets.logbook import JSONFormatter, StreamHandler
from sprockets.logbook.compat import redirected_logging

LINE = re.compile(
    r"(?P<ip>\S+) - (?P<user>\S+) "
    r"\[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000)\] "
    r'"(?P<method>[^\s"\\]+) (?P<uri>(?:[^\s"\\]|\\.)*) (?P<version>HTTP/1\.[01])" '
    r'(?P<status>\d{3}) "(?P<reason>(?:[^"\\]|\\.)*)" (?P<bytes>-|\d+) '
    r'"(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)" '
    r"\(secs:(?P<secs>\d+\.\d{3})\)"
)


def parse_line(line):
    match = LINE.fullmatch(line)
    assert match is not None, line
    return match


def unescape(text):
    def character(match):
        code = match[1]
        return code if code in '"\\' else chr(int(code[1:], 16))

    return re.sub(r'\\(["\\]|x..|u....|U.{8})', character, text)


def make_request(uri="/", headers=None, method="GET"):
    request = HTTPServerRequest(
        start_line=RequestStartLine(method, uri, "HTTP/1.1"),
        headers=HTTPHeaders({"Host": "localhost", **(headers or {})}),
        connection=SimpleNamespace(
            context=SimpleNamespace(remote_ip="127.0.0.1", protocol="http"),
            set_close_callback=lambda callback: None,
        ),
    )
    request._start_time = 1795225286.5
    request._finish_time = 1795225286.504
    return request


def make_handler(uri="/", headers=None, status=200, reason=None, cls=RequestHandler, method="GET"):
    handler = cls(Application(), make_request(uri, headers, method))
    handler.set_status(status, reason)
    return handler


@pytest.fixture(name="records")
def _records():
    """Collect what is written to the logger ``tornado.access``, and leave it as it was."""
    logger = logging.getLogger("tornado.access")
    found = []
    handler = logging.Handler()
    handler.emit = found.append
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)
    logger.propagate = propagate
    logger.setLevel(level)


@pytest.fixture(name="secret_names")
def _secret_names():
    before = set(_access_log._added)
    yield
    _access_log._added.clear()
    _access_log._added.update(before)
    _access_log._is_known_secret.cache_clear()


# -- the line


@pytest.mark.rule("H7.1")
def test_the_line_has_the_eleven_parts_in_their_order():
    """A line is what 2.5 wrote, part by part."""
    handler = make_handler(headers={"User-Agent": "Tornado/6.6.1"})
    handler.current_user = "bob"

    assert format_line(handler) == (
        '127.0.0.1 - bob [21/Nov/2026:01:41:26 +0000] "GET / HTTP/1.1" 200 "OK" - "-"'
        ' "Tornado/6.6.1" (secs:0.004)'
    )


@pytest.mark.rule("H7.2")
def test_the_bytes_written_are_shown_if_the_handler_counts_them():
    """The attribute ``response_bytes_written`` is the eighth part; none is not zero."""
    handler = make_handler()
    without = parse_line(format_line(handler))
    handler.response_bytes_written = 0

    with_none_written = parse_line(format_line(handler))

    assert without["bytes"] == "-"
    assert with_none_written["bytes"] == "0"


@pytest.mark.rule("H7.3")
@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("ann", "ann"),
        (b"ann", "ann"),
        (17, "17"),
        (None, "-"),
        ("", "-"),
        ({"name": "ann", "password": "s3cret"}, "ann"),
        ({"password": "s3cret"}, "-"),
        (SimpleNamespace(email="ann@example.org", token="s3cret"), "ann@example.org"),
        (SimpleNamespace(token="s3cret"), "-"),
        (["s3cret"], "-"),
        ('ann" 200', 'ann\\"\\x20200'),
    ],
)
def test_the_user_is_named_and_nothing_else_is_told_of_it(user, shown):
    """What a handler has as its user may be anything; only what it is called is written."""
    handler = make_handler()
    handler.current_user = user

    line = format_line(handler)

    assert "s3cret" not in line
    assert parse_line(line)["user"] == shown


@pytest.mark.rule("H7.3")
def test_a_user_that_cannot_be_had_is_a_dash():
    """What ``get_current_user`` raises goes no further than the line."""

    class Handler(RequestHandler):
        def get_current_user(self):
            raise LookupError("no such session")

    handler = make_handler(cls=Handler)

    assert parse_line(format_line(handler))["user"] == "-"
    assert fields_of(handler)["user"] is None


@pytest.mark.rule("H7.5")
def test_quotes_backslashes_and_controls_are_escaped():
    """A user agent cannot end its own part, or the line."""
    handler = make_handler('/a"b', {"User-Agent": 'ua "q"\\\x1b[31m\n', "Referer": "x\u2028\x9b"})

    line = format_line(handler)

    assert '"GET /a\\"b HTTP/1.1"' in line
    assert '"x\\u2028\\x9b" "ua \\"q\\"\\\\\\x1b[31m\\x0a"' in line


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60) | st.binary(max_size=60).map(
    lambda raw: raw.decode("latin-1")
)


@pytest.mark.rule("H7.5")
@given(uri=ANY_TEXT, referer=ANY_TEXT, agent=ANY_TEXT, user=ANY_TEXT, reason=ANY_TEXT)
def test_any_line_can_be_parsed_and_gives_back_what_was_sent(uri, referer, agent, user, reason):
    """Whatever is in the five parts that others choose, the line has all its parts, unmixed."""
    handler = make_handler()
    handler.request.uri = uri
    handler.request.headers["Referer"] = referer
    handler.request.headers["User-Agent"] = agent
    handler._reason = reason
    handler.current_user = user

    line = format_line(handler)

    assert line.isprintable()
    parts = parse_line(line)
    assert unescape(parts["uri"]) == scrub_uri(uri)
    assert unescape(parts["referer"]) == (scrub_uri(referer) or "-")
    assert unescape(parts["agent"]) == (agent or "-")
    assert unescape(parts["user"]) == (user or "-")
    assert unescape(parts["reason"]) == (reason or "-")


def test_a_long_line_ends_somewhere_and_still_parses():
    """Of what is as long as headers may be, the beginning is kept; the line is not cut later."""
    handler = make_handler(
        "/?" + "\x01" * 60_000, {"User-Agent": "\x02" * 60_000, "Referer": "\x03" * 60_000}
    )

    line = format_line(handler)

    assert len(line) < 60_000
    assert parse_line(line)["agent"].endswith("\\x02...")


def test_the_time_is_that_of_the_start_in_utc_and_follows_each_second():
    """The text of a second is kept for that second only."""
    handler = make_handler()
    first = parse_line(format_line(handler))["time"]
    handler.request._start_time += 1
    second = parse_line(format_line(handler))["time"]
    handler.request._start_time -= 1

    again = parse_line(format_line(handler))["time"]

    assert (first, second) == ("21/Nov/2026:01:41:26 +0000", "21/Nov/2026:01:41:27 +0000")
    assert again == first


def test_a_clock_that_is_set_back_makes_no_negative_time():
    """The time that a request took is not below zero, so the line parses."""
    handler = make_handler()
    handler.request._start_time += 3600

    line = format_line(handler)

    assert parse_line(line)["secs"] == "0.000"
    assert fields_of(handler)["duration"] == 0


# -- the fields


def test_the_fields_are_those_of_the_request():
    """The fields say what the line says, and more exactly."""
    handler = make_handler(
        "/orders?page=2&token=s3cret", {"Referer": "/a?password=s3cret"}, status=201
    )
    handler.response_bytes_written = 12

    assert fields_of(handler) == {
        "remote_ip": "127.0.0.1",
        "user": None,
        "method": "GET",
        "path": "/orders",
        "query": "page=2&token=***",
        "http_version": "HTTP/1.1",
        "status": 201,
        "bytes": 12,
        "duration": 0.004,
        "referer": "/a?password=***",
        "user_agent": None,
    }


def test_no_field_is_an_attribute_of_every_record():
    """Stdlib logging refuses an ``extra`` that would overwrite its own attributes."""
    own = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}

    assert own.isdisjoint(FIELDS)
    assert tuple(fields_of(make_handler())) == FIELDS


# -- the record


@pytest.mark.rule("H7.1")
@pytest.mark.parametrize(
    ("status", "failures_only", "level"),
    [
        (200, False, logging.INFO),
        (399, False, logging.INFO),
        (200, True, logging.DEBUG),
        (304, True, logging.DEBUG),
        (400, False, logging.WARNING),
        (499, True, logging.WARNING),
        (500, False, logging.ERROR),
        (599, True, logging.ERROR),
    ],
)
def test_the_level_tells_how_it_went(records, status, failures_only, level):
    """Only successes can be made quieter."""
    handler = make_handler(status=status)
    handler.access_log_failures_only = failures_only

    log_access(handler)

    assert [record.levelno for record in records] == [level]


def test_a_client_that_went_away_is_informational_and_499(records):
    """Nobody did anything wrong, and there was no status that anybody saw."""
    log_access(make_handler(status=500), client_is_gone=True)

    (record,) = records
    assert record.levelno == logging.INFO
    assert record.status == 499
    assert '499 "Client Closed Request"' in record.getMessage()


def test_the_record_has_the_line_and_the_fields(records):
    """The line is the message as it stands, per cent signs included; the fields are attributes."""
    handler = make_handler("/a%20b?page=%d")

    log_access(handler)

    (record,) = records
    assert record.name == "tornado.access"
    assert record.getMessage() == format_line(handler)
    assert {name: getattr(record, name) for name in FIELDS} == fields_of(handler)


def test_a_disabled_access_log_looks_at_nothing(records):
    """Not even the user is asked for, which may mean a look-up."""

    class Handler(RequestHandler):
        asked = 0

        def get_current_user(self):
            Handler.asked += 1

    logging.getLogger("tornado.access").setLevel(logging.WARNING)

    log_access(make_handler(cls=Handler))

    assert records == []
    assert Handler.asked == 0


def test_the_fields_arrive_in_the_stacks():
    """Where stdlib logging is redirected, the JSON of an access record has them under ``extra``."""
    stream = io.StringIO()
    output = StreamHandler(stream)
    output.formatter = JSONFormatter(["channel", "message", "extra"])
    handler = make_handler("/a?b=1")

    with output, redirected_logging():
        log_access(handler)

    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record["channel"] == "tornado.access"
    assert parse_line(record["message"])["uri"] == "/a?b=1"
    assert record["extra"] == fields_of(handler)


class Logging(Application):
    def log_request(self, handler):
        log_access(handler)


class Anything(RequestHandler):
    def get(self):
        self.current_user = self.get_argument("user", None)

    post = put = get


def test_as_many_lines_as_requests_whatever_is_sent(records):
    """Over a real connection, each request that reaches the application is one line that parses."""
    payloads = [bytes([code]) for code in range(256)]
    payloads += [b'" 200 "', b"%0d%0aGET /", b"\\", b"a\tb", "\u2028é".encode(), b'\'"\\"', b"||"]

    async def send(port, payload):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /x?user="
            + payload
            + b" HTTP/1.1\r\nHost: localhost\r\nReferer: /"
            + payload
            + b"\r\nUser-Agent: a"
            + payload
            + b"z\r\nConnection: close\r\n\r\n"
        )
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        # What Tornado itself turns away has no such header.
        return b"\r\nServer: " in answer

    async def main():
        general = logging.getLogger("tornado.general")
        was_disabled, general.disabled = general.disabled, True
        server = Logging([(r".*", Anything)]).listen(0, address="127.0.0.1")
        try:
            port = next(iter(server._sockets.values())).getsockname()[1]
            return [await send(port, payload) for payload in payloads]
        finally:
            server.stop()
            await server.close_all_connections()
            general.disabled = was_disabled

    answered = asyncio.run(main())

    assert sum(answered) > 100
    assert len(records) == sum(answered)
    for record in records:
        assert record.getMessage().isprintable()
        parse_line(record.getMessage())


# -- secrets


@pytest.mark.parametrize(
    ("uri", "scrubbed"),
    [
        ("/a?token=s", "/a?token=***"),
        ("/a?Access-Token=s&b=1", "/a?Access-Token=***&b=1"),
        ("/a?b=1&user[password]=s", "/a?b=1&user[password]=***"),
        ("/a?%74oken=s", "/a?%74oken=***"),
        ("/a?password=s=t?u;v&b=1", "/a?password=***&b=1"),
        ("/a?b=1;token=s", "/a?b=1;token=***"),
        ("/a;jsessionid=s?b=1", "/a;jsessionid=***?b=1"),
        ("/a#access_token=s&b=1", "/a#access_token=***&b=1"),
        ("/cb?code=s&state=x", "/cb?code=***&state=x"),
        ("/cb?pin=1234&spin=1", "/cb?pin=***&spin=1"),
        ("https://ann:s@example.org/a", "https://***@example.org/a"),
        ("https://s@example.org/a", "https://***@example.org/a"),
        ("https://ann:s@t@example.org/a", "https://***@example.org/a"),
        ("ann:s@example.org:443", "***@example.org:443"),
        ("/a?u=postgresql://ann:s@db/x", "/a?u=postgresql://***@db/x"),
        ("/a?next=%2Fcb%3Ftoken%3Ds%26b%3D1", "/a?next=/cb%3Ftoken%3D***%26b%3D1"),
        ("/go/http%3A%2F%2Fann%3As%40h", "/go/http%3A//***%40h"),
        ("/a?x=%252Fcb%253Ftoken%253Ds", "/a?x=/cb%253Ftoken%253D***"),
    ],
)
def test_secrets_are_found_where_addresses_have_them(uri, scrubbed):
    """Keys however they are written, user information, and addresses within addresses."""
    assert scrub_uri(uri) == scrubbed


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/",
        "*",
        "/orders/17",
        "/@ann/repo",
        "/find?q=a%20b&page=2",
        "/find?author=Tolkien&keywords=ring&postcode=1010",
        "/find?email=ann@example.org",
        "/find?email=ann%40example.org",
        "/a?token",
        "/a?token=",
        "/a?=&&;;#",
        "/100%",
        "/a?b=%zz%ff",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(uri):
    """Not a byte changes where there is nothing to hide."""
    assert scrub_uri(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "/" + "%25" * 21_000,
        "/?x=" + "%2525253D" * 7_000,
        "/?" + "a=%&" * 16_000,
        "/?" + "=;" * 32_000,
        "/" * 32_000 + "@" * 32_000,
        "//" + "a" * 64_000 + "?@",
        "a:" * 32_000 + "?@",
        "/?" + "a;" * 32_000 + "%",
    ],
)
def test_the_longest_addresses_do_not_hold_up_the_loop(uri):
    """What a client sends is looked at in linear time; a quadratic one would be seconds here."""
    started = time.process_time()

    scrub_uri(uri)

    assert time.process_time() - started < 1


@given(uri=ANY_TEXT | st.text("?&;#=%/@:token253F3D26", max_size=80))
def test_scrubbing_again_changes_nothing(uri):
    """What has been scrubbed holds no secret."""
    once = scrub_uri(uri)

    assert scrub_uri(once) == once


SECRETS = [f"S3cr{number:04d}" for number in range(200)]
KEYS = [
    "token",
    "access_token",
    "id-token",
    "password",
    "passwd",
    "new_password",
    "client_secret",
    "api_key",
    "ApiKey",
    "auth",
    "authorization",
    "session",
    "sessionid",
    "signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "code",
    "csrf",
    "jwt",
    "pwd",
]


@pytest.mark.rule("M46")
def test_two_hundred_secrets_in_twelve_places_are_nowhere_in_the_output(records):
    """Line and fields show none of them, wherever a client put them."""
    for number, secret in enumerate(SECRETS):
        key = KEYS[number % len(KEYS)]
        encoded = "".join(f"%{ord(character):02X}" for character in secret)
        for uri, headers in [
            (f"/a?{key}={secret}", {}),
            (f"/a?b=1&{key}={secret}&c=2", {}),
            (f"/a?{key.upper()}={secret}", {}),
            (f"/a?b=1;{key}={secret}", {}),
            (f"/a;{key}={secret}", {}),
            (f"/a?{quote(key[0])}{key[1:]}=x{secret}?y", {}),
            (f"http://ann:{secret}@example.org/a", {}),
            (f"/a?next={quote(f'/b?{key}={secret}', safe='')}", {}),
            ("/a", {"Referer": f"https://example.org/b?{key}={secret}"}),
            ("/a", {"Referer": f"https://ann:{secret}@example.org/b"}),
            ("/a", {"Referer": f"https://example.org/b#{key}={secret}"}),
            (f"/a?{key}={encoded}", {"Cookie": f"{key}={secret}", "Authorization": secret}),
        ]:
            log_access(make_handler(uri, headers))

    assert len(records) == 200 * 12
    output = "\n".join(repr(vars(record)) for record in records)
    assert not [secret for secret in SECRETS if secret in output]
    assert "%53%33%63" not in output
    assert parse_line(records[1].getMessage())["uri"] == f"/a?b=1&{KEYS[0]}=***&c=2"


@pytest.mark.rule("M46")
def test_headers_that_are_secret_are_not_shown():
    """Credentials, cookies and whatever is named like them; addresses in others are scrubbed."""
    secret = base64.b64encode(b"ann:s3cret").decode()
    headers = HTTPHeaders(
        {
            "Authorization": f"Basic {secret}",
            "Proxy-Authorization": f"Basic {secret}",
            "Cookie": f"session={secret}",
            "Set-Cookie": secret,
            "X-Api-Key": secret,
            "X-Csrf-Token": secret,
            "Referer": f"/a?token={secret}",
            "Accept": "text/html;q=0.9",
        }
    )

    scrubbed = scrub_headers(headers)

    assert secret not in repr(scrubbed)
    assert scrubbed["Referer"] == "/a?token=***"
    assert scrubbed["Accept"] == "text/html;q=0.9"
    assert scrubbed.keys() == set(headers)


def test_a_service_names_secrets_of_its_own(secret_names):
    """A name that was added counts however it is written, and for what was seen before, too."""
    assert scrub_uri("/a?Finger_Print=s") == "/a?Finger_Print=s"

    add_secret_names("finger-print")

    assert scrub_uri("/a?Finger_Print=s&author=a") == "/a?Finger_Print=***&author=a"
    assert scrub_headers({"X-Fingerprint": "s"}) == {"X-Fingerprint": "***"}


def test_a_secret_needs_a_name():
    """A name of nothing but punctuation would be contained in everything."""
    with pytest.raises(ValueError, match="needs letters or digits"):
        add_secret_names("--")


@given(name=st.text(string.ascii_letters + "-_.", min_size=1, max_size=200))
def test_long_names_are_looked_at_like_short_ones(name):
    """What is not remembered is judged all the same."""
    padded = f"{name}{'x' * 100}token"

    assert scrub_uri(f"/a?{padded}=s") == f"/a?{padded}=***"
