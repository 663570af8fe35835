"""The service that ``make demo`` runs does what the README shows."""

import contextlib
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.http.serving.driver import (
    Pending,
    Service,
    free_port,
    get,
    no_process_left,
    request,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
JSON = {"Content-Type": "application/json"}


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start the example; what it leaves behind, a process or a file, fails the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        started = []

        def start(*arguments: str) -> Service:
            command = [sys.executable, "-P", str(ROOT / "examples" / "orders.py")]
            service = Service(
                [*command, "--port", "{port}", *arguments],
                env={"TMPDIR": str(folder), "PYTHONWARNINGS": "error"},
                cwd=tmp_path,
                ready_path="/ready",
            )
            started.append(stack.enter_context(service))
            wait_until(lambda: "with 2 workers" in service.output())
            return service

        yield start
        for service in started:
            service.signal(signal.SIGTERM)
            assert service.wait() == 0, service.output()
            service.wait_gone()
    assert list(folder.iterdir()) == []


# -- what the README shows


def normalise(text: str) -> str:
    """Return *text* with what differs from run to run told by its kind."""
    for pattern, kind in (
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"\b[0-9a-f]{32}\b", "ID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
        (r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "DATE"),
        (r"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000", "DATE"),
        (r"^\d\d:\d\d:\d\d\.(\d{6}|\d{3})\b", "CLOCK"),
        (r"(127\.0\.0\.1:|port )\d{4,5}\b", r"\1PORT"),
        (r"\bworker(=| )\d+", r"worker\1PID"),
        (r'"[^"]*" \(secs:\d+\.\d+\)', '"CLIENT" (secs:N)'),
        # Another one with Python 3.13.
        (r"Unprocessable (Entity|Content)", "Unprocessable"),
    ):
        text = re.sub(pattern, kind, text, flags=re.MULTILINE)
    return text


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def readme_dialogue() -> list[tuple[str, str]]:
    """Return the command lines that the README shows, each with its answer."""
    found = []
    for block in readme_blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, answer = part.partition("\n")
            if command.startswith("curl"):
                found.append((command, answer.strip()))
    return found


def curl(line: str) -> str:
    """Run a command line, by curl itself if it is there; return what it prints."""
    words = shlex.split(line)
    assert words[0] == "curl"
    if shutil.which("curl"):
        result = subprocess.run(
            ["curl", "-q", *words[1:]], capture_output=True, text=True, timeout=20, check=True
        )
        return result.stdout
    return ask(words[1:])


def ask(words: list[str]) -> str:
    """Do what these arguments of curl's mean."""
    url, headers, body, flags = "", {}, None, ""
    rest = iter(words)
    for word in rest:
        if word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(rest).encode()
        elif word.startswith("-"):
            flags += word[1:]
            assert not word.endswith("w") or next(rest) == "\\n"
        else:
            url = word
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        answer = opener.open(urllib.request.Request(url, body, headers), timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        head = ""
        if "i" in flags:
            lines = [f"{name}: {value}" for name, value in answer.headers.items()]
            lines = [line for line in lines if not line.startswith("Connection")]
            head = "\n".join([f"HTTP/1.1 {answer.status} {answer.reason}", *lines, "", ""])
        return f"{head}{answer.read().decode()}\n"


@pytest.fixture(name="curl", params=[curl, lambda line: ask(shlex.split(line)[1:])])
def _curl(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """What runs a line, and what does if there is no curl."""
    return request.param


def test_the_lines_it_prints_are_answered_as_the_readme_shows(start, curl):
    """The commands, the answers, and what is logged of each."""
    service = start()
    printed = [line for line in service.output().splitlines() if line.startswith("curl ")]
    shown = readme_dialogue()

    answers = [normalise(curl(line).replace("\r", "")).strip() for line in printed]
    service.wait_output("orders: shipped order 1")
    service.wait_output('payment HTTP/1.1" 502')

    assert [normalise(line) for line in printed] == [normalise(command) for command, _ in shown]
    assert len(printed) == 3
    assert answers == [normalise(answer) for _, answer in shown]
    logged = normalise(service.output()).splitlines()
    lines = [
        line for block in readme_blocks("text") if "orders:" in block for line in block.splitlines()
    ]
    wanted = [normalise(line) for line in lines if line != "..."]
    assert len(wanted) > 8
    assert [line for line in wanted if line not in logged] == []


# -- the service


def test_a_failed_request_leads_to_its_page(start):
    """The id in the document is that of a page with the ticket and with what led to it."""
    service = start()
    body = b'{"item": "tea", "quantity": 1}'
    assert request(service.address, "/orders", JSON, method="POST", body=body).status == 201
    ids = [get(service.address, "/orders/1/payment").json()["request_id"] for _ in range(3)]

    def page() -> str:
        return get(service.address, f"/tickets/requests/{ids[-1]}").body.decode()

    wait_until(lambda: "The bank does not answer" in page())
    assert "asking http://127.0.0.1:9/payments/1" in page()
    assert "ConnectionRefusedError" in page()

    def tickets() -> list[dict[str, Any]]:
        return get(service.address, "/tickets/api/v1/tickets").json()["tickets"]

    # Each worker tells of its own, when it comes to it.
    wait_until(lambda: [each["occurrence_count"] for each in tickets()] == [3])
    (ticket,) = tickets()
    assert f"/tickets/tickets/{ticket['id']}" in page()
    assert (ticket["app_id"], ticket["first_release"]) == ("orders", "1.0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_it_well(start, number):
    """Exit status 0, no process left, the report in flight answered, the background task ended."""
    service = start()
    report = Pending(service.address, "/report?seconds=1")
    wait_until(lambda: get(service.address, "/status").json()["in_flight"] == 2)

    # As a terminal does it: every process gets it.
    service.signal_group(number) if number == signal.SIGINT else service.signal(number)

    assert service.wait() == 0
    assert report.result().json() == {"tea": 0, "coffee": 0, "scones": 0}
    service.wait_gone()
    assert no_process_left(service.session_id)
    assert service.output().count("shipping has stopped") == 2
    assert "Traceback" not in service.output()


def test_orders_are_shipped_once_whoever_does_it(start):
    """Two workers ship, and none ships what another has."""
    service = start()
    for _ in range(4):
        body = b'{"item": "coffee", "quantity": 1}'
        assert request(service.address, "/orders", JSON, method="POST", body=body).status == 201

    wait_until(lambda: all(each["shipped_at"] for each in get(service.address, "/orders").json()))

    wait_until(lambda: service.output().count("shipped order") == 4)
    for number in range(1, 5):
        assert service.output().count(f"shipped order {number}") == 1


def test_what_is_wrong_with_an_order_is_said(start):
    """Problems for those who ask for them, with all that is wrong; none costs a traceback."""
    service = start()

    def post(body: bytes) -> tuple[int, dict[str, object]]:
        headers = {**JSON, "Accept": "application/problem+json"}
        response = request(service.address, "/orders", headers, method="POST", body=body)
        assert response.headers["content-type"] == "application/problem+json"
        return response.status, response.json()

    status, document = post(b'{"item": "pizza", "quantity": 0}')
    assert status == 422
    assert [error["pointer"] for error in document["errors"]] == ["#/item", "#/quantity"]
    status, document = post(b'{"item": "scones", "quantity": 5}')
    assert (status, document["left"]) == (409, 3)
    assert document["detail"] == "3 left of scones, 5 asked for"
    assert post(b"[]")[0] == 422
    assert post(b'{"item": ["tea"], "quantity": true}')[0] == 422
    assert post(b'{"item"')[0] == 400
    assert get(service.address, "/orders").json() == []
    assert get(service.address, "/report?seconds=nan").status == 400
    assert "Traceback" not in service.output()


class Bank(BaseHTTPRequestHandler):
    """A bank that is open on demand."""

    is_open = False

    def do_GET(self):
        self.send_response(200 if self.is_open else 503)
        self.send_header("Retry-After", "5")
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"paid" if self.is_open else b"shut")

    def log_message(self, *args):
        pass


@pytest.fixture(name="bank")
def _bank() -> Iterator[HTTPServer]:
    class ThisBank(Bank):
        pass

    with HTTPServer(("127.0.0.1", 0), ThisBank) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_debug_records_come_out_with_the_error_they_lead_to(start, bank):
    """One id finds the document, the debug records, the error and the access record."""
    service = start("--log-format", "json", "--bank", f"http://127.0.0.1:{bank.server_port}")
    body = b'{"item": "tea"}'
    request(service.address, "/orders", JSON, method="POST", body=body)

    bad = get(service.address, "/orders/1/payment")
    bank.RequestHandlerClass.is_open = True
    good = get(service.address, "/orders/1/payment")

    assert (bad.status, bad.headers["retry-after"]) == (502, "5")
    assert good.json() == {"order": 1, "bank": "paid"}
    # Each worker tells of its own, when it comes to it.
    service.wait_output('payment HTTP/1.1\\" 502')
    service.wait_output('payment HTTP/1.1\\" 200')
    records = [json.loads(line) for line in service.output().splitlines() if line.startswith("{")]

    def levels_of(response):
        name = response.json().get("request_id") or response.headers["x-request-id"]
        return [
            (each["level_name"], each["channel"])
            for each in records
            if each["extra"].get("request_id") == name
        ]

    assert levels_of(bad) == [
        ("DEBUG", "orders"),
        ("DEBUG", "orders"),
        ("ERROR", "Payment"),
        ("ERROR", "tornado.access"),
    ]
    assert levels_of(good) == [("INFO", "tornado.access")]
    error = next(each for each in records if each["channel"] == "Payment")
    assert error["exception_name"].endswith("Problem")
    assert "HTTP 503" in error["formatted_exception"]


def test_a_database_of_ones_own_is_kept(start, tmp_path):
    """What was ordered in one run is there in the next."""
    path = tmp_path / "orders.sqlite"
    first = start("--database", str(path))
    request(first.address, "/orders", JSON, method="POST", body=b'{"item": "tea"}')
    first.signal(signal.SIGTERM)
    assert first.wait() == 0

    second = start("--database", str(path))

    assert get(second.address, "/orders/1").json()["item"] == "tea"


def test_a_port_that_is_taken_is_named(start, tmp_path):
    """Status 69, and what to do; nothing is left behind."""
    service = start()

    result = subprocess.run(
        [*service.command],
        env={"TMPDIR": str(tmp_path), "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert result.returncode == 69
    assert f"cannot listen on 127.0.0.1:{service.port}" in result.stdout
    assert "--port" in result.stdout.splitlines()[-1]
    assert [each.name for each in tmp_path.iterdir()] == ["temporary"]


def test_a_port_may_come_from_the_environment(tmp_path):
    """PORT and LOG_FORMAT, as platforms say it."""
    port = free_port()
    service = Service(
        [sys.executable, "-P", str(ROOT / "examples" / "orders.py")],
        port=port,
        env={"PORT": str(port), "LOG_FORMAT": "json", "TMPDIR": str(tmp_path)},
        ready_path="/ready",
    )
    with service:
        service.signal(signal.SIGTERM)
        assert service.wait() == 0

    assert list(tmp_path.iterdir()) == []
