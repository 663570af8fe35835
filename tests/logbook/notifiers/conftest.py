"""What the tests of notifiers share: desktops, a clock that stands still, and a strict server."""

import json
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl

import pytest

from sprockets.logbook.delivery import Retry

LIMIT = 20.0  # seconds that anything here may take
QUICK = Retry(initial=0.005, maximum=0.02)


def wait_until(condition, what):
    """Return what *condition* returns as soon as that is true."""
    deadline = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < deadline, f"still waiting for {what}"
        time.sleep(0.02)
    return found


class FakeClock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture(name="clock")
def _clock():
    return FakeClock()


@pytest.fixture(name="desktop", scope="session")
def _desktop():
    """A desktop that knows markup."""
    pytest.importorskip("jeepney")
    from tests.logbook.notifiers.desktop import Desktop

    with Desktop() as desktop:
        yield desktop


@pytest.fixture(name="plain_desktop", scope="session")
def _plain_desktop():
    """A desktop that knows plain text only."""
    pytest.importorskip("jeepney")
    from tests.logbook.notifiers.desktop import Desktop

    with Desktop(markup="no") as desktop:
        yield desktop


class Service(socketserver.ThreadingTCPServer):
    """A service over HTTP that follows a script, then answers 200.

    An item of the script is a status, or a tuple of status, headers and body, or a word:
    ``silence``, ``drip``.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, *script):
        super().__init__(("127.0.0.1", 0), _Request)
        self.script = list(script)
        self.requests = []
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/1/messages.json"
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request, client_address):
        """Connections are cut in these tests."""

    def __exit__(self, *args):
        self.released.set()
        self.shutdown()
        super().__exit__(*args)

    @property
    def forms(self):
        """What was posted, as forms."""
        return [dict(parse_qsl(body.decode())) for _, _, body in self.requests]

    @property
    def documents(self):
        """What was posted, as JSON."""
        return [json.loads(body) for _, _, body in self.requests]


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        step = self.server.script.pop(0) if self.server.script else 200
        self.server.requests.append((self.path, dict(self.headers), body))
        if step == "silence":
            self.server.released.wait(30)
            self.close_connection = True
            return
        if step == "drip":
            self.close_connection = True
            while not self.server.released.wait(0.02):
                self.wfile.write(b"H")
            return
        status, headers, answer = step if isinstance(step, tuple) else (step, {}, b'{"status":1}')
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(answer))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


@pytest.fixture(name="serve")
def _serve():
    """Start services; they end with the test."""
    started = []

    def serve(*script):
        service = Service(*script)
        started.append(service)
        return service

    yield serve
    for service in started:
        service.__exit__(None, None, None)
