"""Requests to a real service: their ids, their records, their bounds."""

import contextlib
import json
import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.http.serving.conftest import records
from tests.http.serving.driver import Connection, get, outcome_of, request, wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_one_id_is_in_the_answer_the_document_and_all_records(start):
    """The error's record, Tornado's own and the access log's."""
    service = start()

    response = get(service.address, "/fails")

    request_id = response.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert response.json()["request_id"] == request_id
    wait_until(lambda: any("/fails" in e["message"] for e in records(service, "tornado.access")))
    found = {
        each["channel"]: each["extra"]["request_id"]
        for each in records(service)
        if each["extra"].get("path") == "/fails"
    }
    assert found == dict.fromkeys(["tornado.application", "Fails", "tornado.access"], request_id)
    extra = records(service, "Fails")[0]["extra"]
    assert extra["method"] == "GET"
    assert extra["path"] == "/fails"
    assert extra["handler"] == "Fails"
    assert extra["remote_ip"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"traceparent": PARENT}, TRACE),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"}, TRACE),
        ({"traceparent": f"01-{TRACE}-00f067aa0ba902b7-01"}, TRACE),
        ({"traceparent": f"cc-{TRACE}-00f067aa0ba902b7-01-what-is-next"}, TRACE),
        ({"X-Request-Id": "order-7"}, "order-7"),
        ({"X-Request-Id": "order-7", "traceparent": PARENT}, "order-7"),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01-more"}, None),
        ({"traceparent": f"01-{TRACE}-00f067aa0ba902b7-01.more"}, None),
        ({"traceparent": f"ff-{TRACE}-00f067aa0ba902b7-01"}, None),
        ({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}, None),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, None),
        ({"traceparent": f"00-{TRACE.upper()}-00f067aa0ba902b7-01"}, None),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-1"}, None),
        ({"traceparent": f"00-{TRACE[:-1]}-00f067aa0ba902b7-01"}, None),
        ({"traceparent": "00"}, None),
        ({"traceparent": ""}, None),
        ({"X-Request-Id": "a b"}, None),
        ({"X-Request-Id": 'a"b'}, None),
        ({"X-Request-Id": "<script>"}, None),
        ({"X-Request-Id": "x" * 129}, None),
        ({"X-Request-Id": "-dash"}, None),
        ({"X-Request-Id": "\u00e9"}, None),
    ],
)
@pytest.mark.parametrize("path", ["/", "/plain"])
def test_a_valid_id_is_continued_and_an_invalid_one_replaced(shared, headers, expected, path):
    """W3C's rules for ``traceparent``, ours for ``X-Request-Id``; for any handler class."""
    found = get(shared.address, path, headers).headers["x-request-id"]

    if expected is None:
        assert re.fullmatch("[0-9a-f]{32}", found)
        assert found != TRACE
    else:
        assert found == expected


@pytest.fixture(name="shared", scope="module")
def _shared(tmp_path_factory):
    """One service for the tests that only ask it something."""
    import sys

    from tests.http.serving.conftest import SCRIPT
    from tests.http.serving.driver import Service

    folder = tmp_path_factory.mktemp("shared")
    settings = {
        "number_of_procs": 2,
        "address": "127.0.0.1",
        "max_body_size": 100_000,
        "header_timeout": 2,
        "body_timeout": 2,
        "idle_timeout": 4,
    }
    service = Service(
        [sys.executable, "-P", "-W", "error::DeprecationWarning", str(SCRIPT)],
        env={"MARK": str(folder / "marks")},
        cwd=folder,
    )
    service.command.append(json.dumps({**settings, "port": service.port}))
    with service:
        service.wait_output("with 2 workers")
        yield service


def _ids(service, channel):
    return [
        (each["message"].split()[0], each["extra"]["request_id"])
        for each in records(service, channel)
    ]


def test_every_record_of_a_hundred_concurrent_requests_carries_the_right_id(start):
    """From coroutine, task, executor, thread and callback: 400 of 400, and none a wrong one."""
    service = start({"number_of_procs": 1})
    with ThreadPoolExecutor(25) as pool:
        answers = list(
            pool.map(
                lambda n: (
                    get(service.address, f"/everywhere?name=n{n}", {"X-Request-Id": f"n{n}"}).status
                ),
                range(100),
            )
        )

    assert answers == [200] * 100
    wait_until(lambda: len(records(service, "tornado.access")) >= 101)
    found = _ids(service, "service")
    assert len(found) == 400
    assert all(name == request_id for name, request_id in found)


def test_no_id_is_foreign_on_kept_connections_with_errors_and_disconnects(start):
    """Exceptions in ``prepare``, errors, bodies in pieces, clients that leave."""
    service = start({"number_of_procs": 1})
    rounds = int(os.environ.get("SPROCKETS_SOAK_REQUESTS", "2000"))

    def client(number: int) -> None:
        connection = Connection(service.address)
        for each in range(rounds // 10):
            name = f"c{number}x{each}"
            headers = {"X-Request-Id": name}
            kind = each % 5
            if kind == 0:
                assert connection.request(f"/prepared?name={name}", headers).status == 403
            elif kind == 1:
                assert connection.request("/fails", headers).status == 500
            elif kind == 2:
                answer = connection.request(
                    f"/upload?name={name}", headers, method="PUT", body=b"x" * 5000
                )
                assert answer.json() == {"bytes": 5000}
            elif kind == 3:
                assert connection.request(f"/everywhere?name={name}", headers).status == 200
            else:
                connection.send_request("/slow?s=0.2", headers)
                connection.close()
                connection = Connection(service.address)
        connection.close()

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(client, range(10)))

    wait_until(lambda: len(records(service, "tornado.access")) >= rounds)
    named = 0
    for each in records(service, "service"):
        words = set(re.findall(r"c\d+x\d+", each["message"]))
        assert words == {each["extra"]["request_id"]}, each
        named += 1
    assert named >= rounds * 6 // 10
    assert all("request_id" not in each["extra"] for each in records(service, "Runner")), (
        "a record outside of requests has an id"
    )


def test_a_stacked_object_of_the_handler_class_is_bound_for_its_requests_only(start):
    """A fingers-crossed handler keeps a request's debug records until something goes wrong."""
    service = start({"number_of_procs": 1})

    get(service.address, "/crossing?name=good")
    get(service.address, "/crossing?name=bad&fail=1")

    service.wait_output("a detail of bad")
    assert "a detail of good" not in service.output()


@pytest.mark.parametrize("path", ["/away", "/away-plain"])
def test_a_client_that_goes_away_is_no_error(start, marks, path):
    """No record above INFO, whatever the handler class; it is counted as what it is."""
    service = start({"number_of_procs": 1})
    connection = Connection(service.address)
    connection.send_request(path)
    wait_until(lambda: marks.count("away"))
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()

    wait_until(
        lambda: any(path in each["message"] for each in records(service, "tornado.access")), 15
    )

    worst = [each for each in records(service) if each["level"] >= 13]
    assert worst == []
    access = next(e for e in records(service, "tornado.access") if path in e["message"])
    assert access["extra"]["status"] == 499
    status = get(service.address, "/status").json()
    assert status["client_gone"] == 1
    assert status["responses"]["5xx"] == 0


def test_a_stream_that_fails_looks_truncated(shared):
    """And its record has the request's id."""
    outcome = outcome_of(lambda: get(shared.address, "/stream", {"X-Request-Id": "cut-stream"}))

    assert outcome == "truncated"
    wait_until(
        lambda: any(e["extra"].get("request_id") == "cut-stream" for e in records(shared, "Stream"))
    )


def _is_document(response, status, *, request_id=True):
    document = response.json()
    assert response.status == status
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert set(document) == {"type", "message", "traceback", "request_id"}
    assert document["request_id"] == response.headers["x-request-id"]
    return document


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("POST", "/nowhere", b"{}", 404),
        ("DELETE", "/", None, 405),
        ("POST", "/", b"{}", 405),
        ("GET", "/crossing", None, 400),
        ("GET", "/fails", None, 500),
        ("POST", "/echo", b"x" * 200_000, 413),
        ("GET", "/prepared?name=x", None, 403),
    ],
)
def test_every_error_is_a_document(shared, method, path, body, status):
    """The same members, the same content type, and the id of the header."""
    response = request(shared.address, path, method=method, body=body)

    _is_document(response, status)
    if status == 405:
        assert response.headers["allow"] == "GET"


def test_a_body_in_chunks_is_bounded_too(shared):
    """413 with a document, though nobody said how long it would be."""
    with Connection(shared.address) as connection:
        connection.send(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"4000\r\n"
            + b"x" * 0x4000
            + b"\r\n"
        )
        for _ in range(8):
            connection.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")

        response = connection.read("POST")

        _is_document(response, 413)
        assert response.closes


def test_a_client_that_waits_for_our_word_is_refused_before_it_sends(shared):
    """``Expect: 100-continue`` with a body that is too large."""
    with Connection(shared.address) as connection:
        connection.send(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )

        response = connection.read("POST")

        _is_document(response, 413)
        wait_until(connection.is_closed)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbroken\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"x" * 100_000 + b"\r\n\r\n", 431),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n"
            + b"".join(b"X-%d: y\r\n" % n for n in range(150))
            + b"\r\n",
            431,
        ),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n", 400),
    ],
    ids=["no request", "no header", "long", "many", "length"],
)
def test_what_is_no_proper_request_gets_a_document_too(shared, head, status):
    """Malformed, too long, too many fields."""
    with Connection(shared.address) as connection:
        with contextlib.suppress(OSError):
            connection.send(head)

        document = _is_document(connection.read(), status)

    wait_until(
        lambda: any(
            each["extra"]["request_id"] == document["request_id"]
            and each["extra"]["status"] == status
            for each in records(shared, "tornado.access")
        )
    )


def test_half_a_head_is_given_up_after_its_time(shared):
    """With 408; while others are served."""
    began = monotonic()
    halves = [Connection(shared.address) for _ in range(50)]
    for each in halves:
        each.send(b"GET / HTTP/1.1\r\nHost: x\r\n")

    assert get(shared.address).status == 200
    for each in halves:
        _is_document(each.read(), 408)
        each.close()
    assert 1.0 < monotonic() - began < 6.0


def test_half_a_body_is_given_up_after_its_time(shared):
    """With 408."""
    with Connection(shared.address) as connection:
        connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")

        _is_document(connection.read("POST"), 408)


def test_an_idle_connection_is_closed_after_its_time(shared):
    """Without a word, as HTTP wants it."""
    with Connection(shared.address) as connection:
        assert connection.request("/").status == 200

        wait_until(connection.is_closed, 8)


def test_connections_beyond_the_bound_wait(start):
    """They are served when others have gone."""
    service = start({"number_of_procs": 1, "max_connections": 3})
    held = [Connection(service.address) for _ in range(3)]
    for each in held:
        assert each.request("/").status == 200
    with Connection(service.address, timeout=1) as late:
        late.send_request("/")
        with pytest.raises(TimeoutError):
            late.read()
        held.pop().close()
        late.socket.settimeout(5)

        assert late.read().status == 200
    for each in held:
        each.close()


def test_counters_are_those_of_all_workers_and_never_go_back(start):
    """As JSON and for Prometheus; a worker that dies leaves its counts behind."""
    service = start()
    for _ in range(20):
        get(service.address)
    get(service.address, "/nowhere")
    get(service.address, "/fails")

    # An answer is counted just after it was sent.
    def counted():
        responses = get(service.address, "/status").json()["responses"]
        return responses["4xx"] and responses["5xx"]

    wait_until(counted)
    before = get(service.address, "/status").json()
    assert before["responses"]["4xx"] == 1
    assert before["responses"]["5xx"] == 1
    assert before["responses"]["2xx"] >= 20
    assert [each["state"] for each in before["workers"]] == ["serving"] * 2
    assert {each["pid"] for each in before["workers"]} == set(service.worker_pids())

    victim = service.worker_pids()[0]
    service.signal(signal.SIGKILL, victim)
    service.wait_workers(2, without=[victim])

    after = get(service.address, "/status").json()
    # The victim may have died between its last answer and the count of it.
    assert after["requests"] >= before["requests"]
    wait_until(lambda: get(service.address, "/status").json()["requests"] > before["requests"])
    assert after["restarts"] == 1
    metrics = get(service.address, "/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = metrics.body.decode().splitlines()
    assert 'sprockets_http_responses_total{status="4xx"} 1' in lines
    assert "sprockets_http_worker_restarts_total 1" in lines
    for line in lines:
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^"]*"\})? [0-9.e+-]+', line), line


def test_the_access_log_of_health_checks_is_debug_only(start):
    """They come every second."""
    service = start()
    for path in ("/alive", "/ready", "/status", "/metrics"):
        assert get(service.address, path).status == 200
    get(service.address, "/?last")
    service.wait_output("?last")

    assert not any("/alive" in e["message"] for e in records(service, "tornado.access"))


def test_an_address_is_believed_from_a_proxy_only_if_told_so(start):
    """``xheaders``; what is no address is not believed."""
    trusting = start({"number_of_procs": 1})
    wary = start({"number_of_procs": 1, "xheaders": False})
    for service in (trusting, wary):
        with Connection(service.address) as connection:
            connection.request("/plain", {"X-Forwarded-For": "1.1.1.1, 9.8.7.6"})
            connection.request("/plain")
            connection.request("/plain", {"X-Real-Ip": "nonsense"})
            connection.request("/plain", {"X-Real-Ip": "::1"})
        wait_until(lambda service=service: len(records(service, "plain")) == 4)

    assert [each["extra"]["remote_ip"] for each in records(trusting, "plain")] == [
        "9.8.7.6",
        "127.0.0.1",
        "127.0.0.1",
        "::1",
    ]
    assert {each["extra"]["remote_ip"] for each in records(wary, "plain")} == {"127.0.0.1"}


def test_a_plain_application_has_ids_too(start):
    """Though it is not ours; only its access log and its unrouted URLs are Tornado's."""
    service = start({"number_of_procs": 1}, PLAIN="1")

    response = get(service.address, "/plain")

    request_id = response.headers["x-request-id"]
    wait_until(lambda: records(service, "plain"))
    assert records(service, "plain")[0]["extra"]["request_id"] == request_id
    assert records(service, "plain")[0]["extra"]["handler"] == "Plain"


@pytest.mark.parametrize("log", ["none", "dict", "handler", "file"])
def test_every_kind_of_logging_can_be_chosen(start, tmp_path, log):
    """And the service runs with each."""
    path = tmp_path / "log"
    service = start({"number_of_procs": 2}, LOG=f"{log}:{path}")

    assert get(service.address, "/fails").status == 500

    def written() -> str:
        return service.output() + (path.read_text() if path.exists() else "")

    wait_until(lambda: "failed with 500" in written())
    service.signal(signal.SIGTERM)
    assert service.wait(5) == 0
