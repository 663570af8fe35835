"""The mixins beside ``sprockets.mixins.mediatype``: documents of the type that was negotiated."""

import asyncio
import json
import subprocess
import sys

import pytest
from sprockets.mixins.mediatype import content, transcoders
from tornado import web
from tornado.ioloop import IOLoop

from sprockets.http.mixins import ErrorLogger, ErrorWriter
from sprockets.logbook import WARNING

_ROUTES = []
_SETTINGS = "sprockets.mixins.mediatype.ContentSettings"


def routed(cls):
    """Serve *cls* at its name."""
    _ROUTES.append((f"/{cls.__name__}", cls))
    return cls


def pack(value):
    """Return *value* as msgpack, as far as documents need it."""
    if value is None:
        return b"\xc0"
    if isinstance(value, str):
        data = value.encode("utf-8")
        head = bytes([0xA0 | len(data)]) if len(data) < 32 else bytes([0xD9, len(data)])
        return head + data
    return bytes([0x80 | len(value)]) + b"".join(
        pack(name) + pack(member) for name, member in value.items()
    )


def unpack(data):
    raise ValueError("cannot")


class Base(content.ContentMixin, ErrorLogger, ErrorWriter, web.RequestHandler):
    """The package before the mixins."""

    def get(self):
        self.send_error(409, reason="r")

    def post(self):
        self.get_request_body()


class BaseAfter(ErrorLogger, ErrorWriter, content.ContentMixin, web.RequestHandler):
    """The package after the mixins."""

    get = Base.get
    post = Base.post


@routed
class Before(Base):
    pass


@routed
class After(BaseAfter):
    pass


@routed
class Good(BaseAfter):
    def get(self):
        self.send_response({"a": self.get_response_content_type()})


@routed
class BadAfterGood(Base):
    def get(self):
        self.send_response({"a": "b"})
        raise web.HTTPError(409)


@routed
class Own(ErrorLogger, ErrorWriter, web.RequestHandler):
    calls = None

    def get(self):
        self.send_error(409, reason="r")

    def send_response(self, *args, **kwargs):
        self.calls.append((args, kwargs))
        self.write("own")


@routed
class OnInstance(ErrorLogger, ErrorWriter, web.RequestHandler):
    def get(self):
        self.send_response = lambda document: self.write("instance")
        self.send_error(409)


@routed
class Coroutine(ErrorLogger, ErrorWriter, web.RequestHandler):
    def get(self):
        self.send_error(409)

    async def send_response(self, document):
        self.write(document)


@routed
class HalfSent(ErrorLogger, ErrorWriter, web.RequestHandler):
    def get(self):
        self.send_error(409, reason="Sold Out")

    def send_response(self, document):
        self.set_status(200)
        self.set_header("Content-Type", "text/plain")
        self.write("half of")
        raise RuntimeError("cannot go on")


@pytest.fixture
def io_loop():
    # pytest-tornado's own makes its loop current in a way that Tornado warns of.
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@pytest.fixture
def app():
    app = web.Application(_ROUTES)
    content.install(app, "application/json", "utf-8")
    content.add_transcoder(app, transcoders.JSONTranscoder())
    content.add_binary_content_type(app, "application/msgpack", pack, unpack)
    return app


@pytest.fixture(name="fetch")
def _fetch(http_client, base_url, log_records):
    def fetch(cls, accept=None, **options):
        headers = options.pop("headers", {})
        if accept is not None:
            headers["Accept"] = accept
        return http_client.fetch(
            f"{base_url}/{cls.__name__}", raise_error=False, headers=headers, **options
        )

    return fetch


_JSON = 'application/json; charset="utf-8"'
_MSGPACK = "application/msgpack"


@pytest.mark.rule("H16.1", "H16.4", "H16.7")
@pytest.mark.parametrize("handler", [Before, After])
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, _JSON),
        ("*/*", _JSON),
        ("garbage", _JSON),
        ("application/xml", _JSON),
        ("application/msgpack", _MSGPACK),
        ("application/json;q=0.1, application/msgpack;q=0.9", _MSGPACK),
    ],
)
@pytest.mark.gen_test
async def test_a_document_has_the_negotiated_type(handler, accept, expected, fetch):
    """In both orders of the bases, the second time as the first."""
    for _ in range(2):
        response = await fetch(handler, accept)

        assert (response.code, response.reason) == (409, "r")
        assert response.headers["Content-Type"] == expected
        assert response.headers["Vary"] == "Accept"
        document = {
            "type": None,
            "message": "r",
            "traceback": None,
            "request_id": response.headers["X-Request-Id"],
        }
        if expected == _JSON:
            assert json.loads(response.body) == document
        else:
            assert response.body == pack(document)


@pytest.mark.rule("H16.1", "H16.2", "H16.3")
@pytest.mark.gen_test
async def test_the_document_is_handed_over_once_and_alone(fetch):
    """One positional argument, and no header set that is the method's business."""
    Own.calls = []

    response = await fetch(Own)

    ((args, kwargs),) = Own.calls
    (document,) = args
    assert kwargs == {}
    assert set(document) == {"type", "message", "traceback", "request_id"}
    assert response.body == b"own"
    assert response.headers["Content-Type"].startswith("text/html")
    assert "Vary" not in response.headers


@pytest.mark.rule("H16.1")
@pytest.mark.gen_test
async def test_the_instance_may_have_the_method(fetch):
    """Not only its class."""
    assert (await fetch(OnInstance)).body == b"instance"


@pytest.mark.rule("H16.5")
@pytest.mark.parametrize("handler", [Before, After])
@pytest.mark.parametrize(
    ("content_type", "status"),
    [("application/json", 400), ("application/msgpack", 400), ("text/csv", 415), ("///", 400)],
)
@pytest.mark.gen_test
async def test_errors_of_the_requests_body_are_documents_too(handler, content_type, status, fetch):
    """Of the type that was negotiated."""
    response = await fetch(
        handler,
        "application/msgpack",
        method="POST",
        body=b"\xff{",
        headers={"Content-Type": content_type},
    )

    assert response.code == status
    assert response.headers["Content-Type"] == _MSGPACK
    assert b"HTTPError" in response.body


def fail(*args):
    raise TypeError("cannot pack this")


@pytest.mark.rule("H16.6")
@pytest.mark.parametrize(
    "broken", ["nothing installed", "no default", "unknown default", "failing"]
)
@pytest.mark.parametrize("handler", [Before, After])
@pytest.mark.gen_test
async def test_a_failing_transcoder_leaves_plain_json(broken, handler, app, fetch, log_records):
    """With the status and the reason of the error, and a warning that says why."""
    accept = "application/xml"
    if broken == "nothing installed":
        del app.settings[_SETTINGS]
    elif broken == "no default":
        app.settings[_SETTINGS].default_content_type = None
    elif broken == "unknown default":
        app.settings[_SETTINGS].default_content_type = "text/csv"
    else:
        accept = "application/failing"
        content.add_binary_content_type(app, accept, fail, unpack)

    response = await fetch(handler, accept)

    assert (response.code, response.reason) == (409, "r")
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(response.body)["message"] == "r"
    (warning,) = [record for record in log_records.records if "cannot send" in record.message]
    assert warning.level == WARNING
    assert warning.exc_info is not None


@pytest.mark.rule("H16.6")
@pytest.mark.gen_test
async def test_nothing_is_left_of_a_document_that_was_half_sent(fetch):
    """Neither what was written, nor the status that was set."""
    response = await fetch(HalfSent)

    assert (response.code, response.reason) == (409, "Sold Out")
    assert json.loads(response.body)["message"] == "Sold Out"
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.gen_test
async def test_a_coroutine_cannot_send_a_document(fetch, log_records):
    """Nobody waits for it; the client has its document all the same."""
    response = await fetch(Coroutine)

    assert json.loads(response.body)["message"] == "Conflict"
    (warning,) = [record for record in log_records.records if record.level == WARNING][1:]
    assert "must not be a coroutine function" in str(warning.exc_info[1])


@pytest.mark.rule("H16.9")
@pytest.mark.gen_test
async def test_a_handler_that_finds_no_type_may_say_so(app, fetch):
    """A newer package raises a 406, and that is a document."""

    @routed
    class NotAcceptable(BaseAfter):
        def get(self):
            self.send_response({})

        def send_response(self, body, set_content_type=True):
            raise web.HTTPError(406)

    app.add_handlers(".*", [("/NotAcceptable", NotAcceptable)])

    response = await fetch(NotAcceptable)

    assert response.code == 406
    assert json.loads(response.body)["message"] == "HTTP 406: Not Acceptable"


@pytest.mark.rule("H16.8")
def test_the_package_is_never_imported():
    """Who does not use it does not pay for it."""
    program = (
        "import sys, sprockets.http.mixins; print('sprockets.mixins.mediatype' in sys.modules)"
    )

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert result.stdout == "False\n"


@pytest.mark.gen_test
async def test_a_response_thrown_away_leaves_vary_as_it_is(fetch):
    """Said twice, it is there once."""
    response = await fetch(BadAfterGood)

    assert response.headers["Vary"] == "Accept"


@pytest.mark.gen_test
async def test_a_problem_is_preferred_to_a_negotiated_document(fetch):
    """If its quality is at least that of the type that was negotiated."""
    accept = "application/msgpack;q={}, application/problem+json;q=0.5"

    better = await fetch(Before, accept.format("0.5"))
    worse = await fetch(Before, accept.format("0.6"))

    assert better.headers["Content-Type"] == "application/problem+json"
    assert worse.headers["Content-Type"] == _MSGPACK


# -- the choice is remembered


@pytest.fixture(name="negotiations")
def _negotiations(monkeypatch):
    """Return the list of ``Accept`` headers that were parsed."""
    parsed = []
    parse = content.headers.parse_accept

    def parse_accept(value, *args, **kwargs):
        parsed.append(value)
        return parse(value, *args, **kwargs)

    monkeypatch.setattr(content.headers, "parse_accept", parse_accept)
    return parsed


@pytest.mark.parametrize("handler", [Before, After, Good])
@pytest.mark.gen_test
async def test_a_header_is_negotiated_once(handler, fetch, negotiations):
    """Not once for each request."""
    for _ in range(3):
        await fetch(handler, "application/json")
        await fetch(handler, "application/msgpack")

    assert negotiations == ["application/json", "application/msgpack"]


@pytest.mark.gen_test
async def test_a_new_default_is_heeded(app, fetch):
    """The choices made before are forgotten."""
    assert (await fetch(Good, "text/csv")).headers["Content-Type"] == _JSON

    content.set_default_content_type(app, "application/msgpack")

    assert (await fetch(Good, "text/csv")).headers["Content-Type"] == _MSGPACK


@pytest.mark.gen_test
async def test_a_new_transcoder_is_heeded(app, fetch):
    """The choices made before are forgotten."""
    assert (await fetch(Good, "text/csv")).headers["Content-Type"] == _JSON

    content.add_binary_content_type(app, "text/csv", pack, unpack)

    assert (await fetch(Good, "text/csv")).headers["Content-Type"] == "text/csv"


@pytest.mark.gen_test
async def test_new_settings_are_heeded(app, fetch):
    """Even if they look like the old ones at first."""
    assert (await fetch(Good)).headers["Content-Type"] == _JSON

    del app.settings[_SETTINGS]
    content.install(app, "application/msgpack")
    content.add_binary_content_type(app, "application/msgpack", pack, unpack)

    assert (await fetch(Good)).headers["Content-Type"] == _MSGPACK


@pytest.mark.gen_test
async def test_what_is_remembered_is_bounded(app, fetch):
    """In number and in length, for it is clients who decide about it."""
    await fetch(Good, "x" * 5_000)
    for number in range(300):
        await fetch(Good, f"x/{number}")

    known = app.__dict__["_sprockets_http_choices"].known
    assert len(known) == 256
    assert max(map(len, known)) < 100


@routed
class Overrides(BaseAfter):
    def get(self):
        self.send_response({"a": "b"})

    def get_response_content_type(self):
        return self.get_query_argument("as", None) or super().get_response_content_type()


@pytest.mark.gen_test
async def test_a_method_of_the_handlers_own_is_asked_each_time(http_client, base_url, fetch):
    """Only the package's own choice is remembered."""
    plain = await fetch(Overrides)
    chosen = await http_client.fetch(f"{base_url}/Overrides?as=application/msgpack")
    again = await fetch(Overrides)

    assert plain.headers["Content-Type"] == again.headers["Content-Type"] == _JSON
    assert chosen.headers["Content-Type"] == _MSGPACK


def test_a_class_without_the_package_has_none_of_its_methods():
    """Nothing is there that could be mistaken for it."""

    class Handler(ErrorLogger, ErrorWriter, web.RequestHandler):
        pass

    assert not hasattr(Handler, "send_response")
    assert not hasattr(Handler, "get_response_content_type")
