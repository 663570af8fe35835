"""OTLP: what a collector gets, and what becomes of records when it is dead, slow, or in the mood."""

import gzip
import importlib.util
import json
import os
import re
import resource
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import Flags, Logger, LogRecord
from sprockets.logbook.delivery import PartlyDelivered, PermanentError, Retry, RetryLater
from sprockets.logbook.handlers._http_client import Answer, HTTPClient
from sprockets.logbook.handlers._otlp import SEVERITIES, OTLPHandler, severity_of

log = Logger("till")
QUICK = Retry(initial=0.005, maximum=0.02)
SOAK = os.environ.get("SPROCKETS_SOAK") == "1"
# Seconds; a busy machine is slower, and the short form is there to find what blocks.
LIMIT = 0.005 if SOAK else 0.1
# Of a few calls on a busy machine, those are left out that the system itself held up.
SHARE = 0.999 if SOAK else 0.99


class Receiver(socketserver.ThreadingTCPServer):
    """A strict receiver over HTTP that follows a script, then answers 200.

    An item of the script is a status, or a tuple of status, headers and body, or a word: ``reset``,
    ``silence``, ``drip``.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, *script):
        super().__init__(("127.0.0.1", 0), Request)
        self.script = list(script)
        self.requests = []
        self.connections = 0
        self.judge = None
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1/logs"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request, client_address):
        """Connections are cut in these tests."""

    def __exit__(self, *args):
        self.released.set()
        self.shutdown()
        super().__exit__(*args)


class Request(BaseHTTPRequestHandler):
    """One connection to the receiver."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.connections += 1

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        step = self.server.script.pop(0) if self.server.script else 200
        if self.server.judge is not None:
            step = self.server.judge(body)
        self.server.requests.append((self.path, dict(self.headers), body, step))
        if step == "silence":
            self.server.released.wait(10)
            self.close_connection = True
            return
        if step == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
            self.close_connection = True
            self.rfile = self.wfile = open(os.devnull, "rb+")  # noqa: SIM115
            return
        if step == "drip":
            for _ in range(1_000):
                if self.server.released.wait(0.02):
                    break
                self.wfile.write(b"H")
            return
        status, headers, answer = step if isinstance(step, tuple) else (step, {}, b"{}")
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(answer))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


def handler_for(receiver, **options):
    """Return a handler that tries again quickly."""
    options = {"retry": QUICK, "environ": {}, "service_name": "shop", **options}
    return OTLPHandler(getattr(receiver, "url", receiver), **options)


def records_of(receiver, accepted=True):
    """Return the log records the receiver got, each with its scope."""
    found = []
    for _, headers, body, step in receiver.requests:
        if accepted and (step[0] if isinstance(step, tuple) else step) != 200:
            continue
        assert headers["Content-Type"] == "application/json"
        for logs in json.loads(body)["resourceLogs"]:
            for scope in logs["scopeLogs"]:
                found += [(scope["scope"]["name"], one) for one in scope["logRecords"]]
    return found


def attributes_of(record):
    """Return the attributes of a JSON log record, plain."""
    return {pair["key"]: pair["value"] for pair in record["attributes"]}


def assert_adds_up(statistics):
    """Each accepted record has exactly one fate."""
    assert statistics["accepted"] == (
        statistics["delivered"]
        + statistics["queued"]
        + statistics["spooled"]
        + statistics["dead"]
        + sum(statistics["dropped"].values())
    )


def fail():
    """Log an exception."""
    try:
        raise ValueError("no price")
    except ValueError:
        log.exception("failed")


# -- what is sent


def test_a_record_becomes_a_log_record_with_severity_body_and_attributes():
    """Message, level, channel, place, exception and custom fields are where the model has them."""
    trace = {"trace_id": "AB" * 16, "span_id": "cd" * 8, "trace_flags": 1}
    with Receiver() as receiver:
        handler = handler_for(receiver, service_version="1.2", environment="test")
        with handler:
            log.notice("sold {}", 1, extra={"item": "apple", "n": 3, **trace})
            fail()
        assert handler.close()
        (scope, sold), (_, failed) = records_of(receiver)
        resource = json.loads(receiver.requests[0][2])["resourceLogs"][0]["resource"]

    assert scope == "till"
    assert (sold["severityNumber"], sold["severityText"]) == (10, "NOTICE")
    assert sold["body"] == {"stringValue": "sold 1"}
    assert (sold["traceId"], sold["spanId"], sold["flags"]) == ("ab" * 16, "cd" * 8, 1)
    assert abs(int(sold["timeUnixNano"]) - time.time_ns()) < 60e9
    attributes = attributes_of(sold)
    assert attributes["item"] == {"stringValue": "apple"}
    assert attributes["n"] == {"intValue": "3"}
    assert attributes["code.file.path"] == {"stringValue": __file__}
    assert "trace_id" not in attributes
    attributes = attributes_of(failed)
    assert attributes["exception.type"]["stringValue"].endswith("ValueError")
    assert attributes["exception.message"] == {"stringValue": "no price"}
    assert attributes["exception.stacktrace"]["stringValue"].startswith("Traceback (most")
    assert "traceId" not in failed
    known = attributes_of(resource)
    assert known["service.name"] == {"stringValue": "shop"}
    assert known["service.version"] == {"stringValue": "1.2"}
    assert known["deployment.environment"] == {"stringValue": "test"}
    assert known["process.pid"] == {"intValue": str(os.getpid())}
    assert known["host.name"] == {"stringValue": socket.gethostname()}


@pytest.mark.parametrize(
    ("level", "number"),
    [*SEVERITIES.items(), (99, 21), (8, 0), (-1, 0)],
)
def test_severity_numbers_are_those_of_the_data_model(level, number):
    """A level of one's own has the number of the next one below."""
    assert severity_of(level) == number


@pytest.mark.parametrize(
    ("extra", "trace_id"),
    [
        ({"request_id": "12" * 16}, "12" * 16),
        ({"request_id": "12" * 16, "trace_id": "34" * 16}, "34" * 16),
        ({"request_id": "0" * 32}, None),
        ({"request_id": "0-8"}, None),
        ({"trace_id": 7}, None),
    ],
)
def test_a_request_id_of_32_hexadecimal_digits_is_a_trace_id(extra, trace_id):
    """Unless there is a better one; all zeros is none."""
    handler = OTLPHandler(environ={})

    _, _, record = handler.encode(LogRecord("x", "INFO", "m", extra=extra)).partition(b"\n")

    assert json.loads(record).get("traceId") == trace_id


def test_endpoint_headers_and_resource_come_from_the_environment():
    """With the names that all of OpenTelemetry uses; arguments win."""
    handler = OTLPHandler(
        environ={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/",
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b, x=y",
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=env,team=a",
            "OTEL_SERVICE_NAME": "till",
        },
        resource={"team": "b"},
    )

    assert (handler.client.host, handler.client.path) == ("collector", "/v1/logs")
    assert handler.client.headers["api-key"] == "a b"
    assert handler.resource["service.name"] == "till"
    assert handler.resource["team"] == "b"


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint": "ftp://x"},
        {"endpoint": "http://a:b@x"},
        {"headers": {"a": "b\r\nc: d"}},
        {"encoding": "xml"},
    ],
)
def test_what_cannot_work_is_refused_at_once(options):
    """Not with the first record."""
    with pytest.raises(ValueError):
        OTLPHandler(**{"endpoint": "http://localhost", **options})


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.binary(max_size=8)
    | st.text(st.characters(categories=["Cs"]), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def plain_json(value):
    """Return what a JSON AnyValue says, strictly one thing."""
    if not value:
        return None
    ((kind, content),) = value.items()
    if kind == "arrayValue":
        return [plain_json(item) for item in content["values"]]
    if kind == "kvlistValue":
        return {pair["key"]: plain_json(pair["value"]) for pair in content["values"]}
    return int(content) if kind == "intValue" else content


@settings(max_examples=80, deadline=None)
@given(message=st.text(), extra=st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_both_encodings_say_the_same_and_are_what_the_protocol_says(message, extra):
    """Parsed by the protocol's own definitions, in which an unknown name is an error."""
    logs = pytest.importorskip(
        "opentelemetry.proto.collector.logs.v1.logs_service_pb2",
        reason="opentelemetry-proto is not installed",
    )
    json_format = pytest.importorskip("google.protobuf.json_format")
    record = LogRecord("ü\n", "ERROR", message.replace("{", "(").replace("}", ")"), extra=extra)
    requests = []
    for encoding in ("json", "protobuf"):
        handler = OTLPHandler(encoding=encoding, environ={}, service_name="shop")
        item = handler.encode(record)
        requests.append(handler._dialect.request(handler.resource, [item, item]))

    by_json = json.loads(requests[0], parse_constant=pytest.fail)
    for scope in by_json["resourceLogs"][0]["scopeLogs"]:
        for one in scope["logRecords"]:
            if "traceId" in one:
                del one["traceId"]
    parsed = json_format.ParseDict(by_json, logs.ExportLogsServiceRequest())
    decoded = logs.ExportLogsServiceRequest.FromString(requests[1])
    for request in (parsed, decoded):
        (resource,) = request.resource_logs
        (scope,) = resource.scope_logs
        assert scope.scope.name == "ü\n"
        assert len(scope.log_records) == 2
        one = scope.log_records[0]
        assert one.severity_number == 17
        assert one.body.string_value == record.message.encode("utf-16-le", "surrogatepass").decode(
            "utf-16-le", "replace"
        )
    first, second = (
        {
            pair.key: str(pair.value)
            for pair in request.resource_logs[0].scope_logs[0].log_records[0].attributes
        }
        for request in (parsed, decoded)
    )
    assert first.keys() == second.keys()
    for name in first:
        if "inf" not in second[name] and "nan" not in second[name]:
            assert first[name] == second[name]


def test_attributes_are_bounded_and_the_others_counted():
    """A record with a thousand fields does not stop the others."""
    handler = OTLPHandler(environ={})
    extra = {f"f{number}": number for number in range(1_000)}

    item = handler.encode(LogRecord("x", "INFO", "m", extra=extra))

    record = json.loads(item.partition(b"\n")[2])
    assert len(record["attributes"]) == 128
    assert record["droppedAttributesCount"] + 128 >= 1_000


def test_large_bodies_go_in_gzip_over_one_connection():
    """Small ones are not worth it."""
    with Receiver() as receiver:
        handler = handler_for(receiver)
        with handler:
            for size in (1, 5_000, 5_000):
                log.info("x" * size)
                handler.flush()
        handler.close()

        assert receiver.connections == 1
        encodings = [headers.get("Content-Encoding") for _, headers, _, _ in receiver.requests]
        assert encodings[1:] == ["gzip", "gzip"]
        assert len(records_of(receiver)) == 3


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_a_partial_success_is_counted_and_not_tried_again(encoding):
    """The receiver says how many it threw away, not which."""
    answer = {
        "json": b'{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"old"}}',
        "protobuf": b"\x0a\x07\x08\x02\x12\x03old",
    }[encoding]
    with Receiver((200, {}, answer)) as receiver:
        handler = handler_for(receiver, encoding=encoding, batch_wait=0.2, batch_size=3)
        with handler:
            for number in range(3):
                log.info("{}", number)
        assert handler.close()
        requests = len(receiver.requests)

    statistics = handler.statistics()
    assert (requests, statistics["delivered"], statistics["rejected"]) == (1, 3, 2)


@pytest.mark.parametrize("answer", [b"", b"[]", b"\xff" * 9, b"\x0a\xff", b'{"partialSuccess":0}'])
@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_an_answer_nobody_understands_is_a_success_all_the_same(encoding, answer):
    """The status says so."""
    handler = OTLPHandler(encoding=encoding, environ={})

    assert handler._dialect.rejected(answer) == 0


# -- faults


def slowest(calls, count):
    """Return how long *count* calls took at most, the slowest few left out, in seconds."""
    times = []
    for number in range(count):
        begun = time.perf_counter()
        calls(number)
        times.append(time.perf_counter() - begun)
    return sorted(times)[int(len(times) * SHARE) - 1]


def log_through(handler, count=20):
    """Log *count* numbered records, and return what a call took at most, but for the slowest few."""
    with handler, Flags(errors="silent"):
        return slowest(lambda number: log.info("{}", number), count)


def numbers_of(receiver):
    """Return the numbers of the records that the receiver took."""
    return [int(record["body"]["stringValue"]) for _, record in records_of(receiver)]


@pytest.mark.parametrize(
    "script",
    [
        [],
        [503],
        [(503, {"Retry-After": "0"}, b"")],
        [429, 502, 504],
        ["reset"],
        ["reset", 503, "reset"],
        ["silence"],
        ["drip"],
    ],
    ids=str,
)
def test_what_passes_costs_no_record_and_no_time(script):
    """Each is delivered once, in order; the empty script is the control."""
    with Receiver(*script) as receiver:
        handler = handler_for(receiver, timeout=0.15)
        slow = log_through(handler)
        with Flags(errors="silent"):
            assert handler.close(5)

        statistics = handler.statistics()
        assert numbers_of(receiver) == list(range(20))
        assert (statistics["delivered"], statistics["dead"]) == (20, 0)
        assert statistics["failed"] == len(script)
        assert_adds_up(statistics)
        assert slow < 0.1


@pytest.mark.parametrize("place", ["dead", "black hole"])
def test_log_calls_do_not_wait_for_a_receiver_that_is_not_there(place):
    """Connection refused, or no answer: nearly all calls take 5 ms at most, at the third go."""
    count = 100_000 if SOAK else 3_000
    times = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if place == "black hole":
            taken.listen(0)
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        while len(times) < 3 and (not times or times[-1] > LIMIT):
            handler = handler_for(url, timeout=0.1, capacity=1_000, retry=None)
            times.append(log_through(handler, count))
            with Flags(errors="silent"):
                handler.close(0.02)
            statistics = handler.statistics()
            assert (statistics["accepted"], statistics["delivered"]) == (count, 0)
            assert_adds_up(statistics)

    assert min(times) < LIMIT, times


def test_a_call_that_delivers_itself_does_wait():
    """The control: without the engine, each call is as slow as the receiver."""
    with Receiver("silence", "silence") as receiver:
        handler = handler_for(receiver, timeout=0.05, immediate=True)

        assert log_through(handler, 2) > 0.005


def test_retry_after_is_honoured():
    """The engine is told the seconds, and no request comes before they are over."""
    with Receiver((429, {"Retry-After": "1"}, b""), (503, {"Retry-After": "7"}, b"")) as receiver:
        handler = handler_for(receiver)

        for seconds in (1, 7):
            with pytest.raises(RetryLater) as told:
                handler.deliver([handler.encode(LogRecord("x", "INFO", "m"))])
            assert told.value.after == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("1.5", 1.5),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0),
        ("99999999999", 3_600),
        ("-5", 0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text, seconds):
    """And never more than an hour, whatever a server says."""
    answer = Answer(429, {"retry-after": text}, b"")

    assert answer.retry_after(lambda: 60.0) == seconds


@pytest.mark.parametrize("status", [401, 404, 500, 301])
def test_a_refusal_is_for_good(status):
    """The protocol forbids to try such again: the record is dead, the next one is not."""
    with Receiver(status) as receiver:
        handler = handler_for(receiver)
        with handler, Flags(errors="silent"):
            log.info("0")
            handler.flush()
            log.info("1")
            assert handler.close(5)
        requests = len(receiver.requests)

    statistics = handler.statistics()
    assert (requests, statistics["dead"], statistics["delivered"]) == (2, 1, 1)
    assert_adds_up(statistics)


def test_a_poisonous_record_takes_no_other_with_it():
    """A batch that is refused as malformed is taken apart; each good one arrives once."""
    with Receiver() as receiver:
        receiver.judge = lambda body: 400 if b"p&q" in body else 200
        handler = handler_for(receiver, batch_wait=1.0, batch_size=40)
        with handler, Flags(errors="silent"):
            for number in range(40):
                log.info("{}", number, extra={"bad": "p&q"} if number in (0, 17, 18, 39) else {})
            assert handler.close(5)

        statistics = handler.statistics()
        good = [number for number in range(40) if number not in (0, 17, 18, 39)]
        assert sorted(numbers_of(receiver)) == good
        assert (statistics["delivered"], statistics["dead"]) == (36, 4)
        assert_adds_up(statistics)


def test_an_outage_in_the_middle_of_taking_apart_is_told_exactly():
    """What was delivered before it counts as delivered."""
    with Receiver(400, 200, 503) as receiver:
        handler = handler_for(receiver)
        items = [handler.encode(LogRecord("x", "INFO", str(number))) for number in range(4)]

        with pytest.raises(PartlyDelivered) as told:
            handler.deliver(items)
        handler.deliver(items[told.value.count :])

        assert told.value.count == 2
        assert numbers_of(receiver) == [0, 1, 2, 3]


def test_one_that_is_refused_alone_is_named():
    """So that the engine gives up this one only."""
    with Receiver(413) as receiver:
        handler = handler_for(receiver)
        items = [handler.encode(LogRecord("x", "INFO", "m"))]

        with pytest.raises(PermanentError, match="answered 413") as told:
            handler.deliver(items)

    assert told.value.items == items


def test_a_whole_request_has_one_deadline():
    """A byte now and then does not buy more time."""
    with Receiver("drip") as receiver:
        client = HTTPClient(receiver.url, timeout=0.2)
        begun = time.monotonic()

        with pytest.raises(TimeoutError):
            client.post(b"x")

        assert time.monotonic() - begun < 1
        client.close()


def test_a_connection_that_was_closed_meanwhile_is_replaced():
    """Not found out by a request that fails."""
    with Receiver((200, {"Connection": "close"}, b""), 200) as receiver:
        client = HTTPClient(receiver.url)
        for _ in range(3):
            assert client.post(b"x").status == 200
        client.close()

        assert receiver.connections == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_a_connection_of_its_own():
    """The one of the parent stays as it is, and of use to the parent."""
    with Receiver() as receiver:
        client = HTTPClient(receiver.url)
        assert client.post(b"parent").status == 200

        pid = os.fork()
        if not pid:
            os._exit(0 if client.post(b"child").status == 200 else 1)
        assert os.waitpid(pid, 0)[1] == 0

        assert client.post(b"parent").status == 200
        assert receiver.connections == 2
        assert [body for _, _, body, _ in receiver.requests] == [b"parent", b"child", b"parent"]
        client.close()


def test_a_process_with_many_files_keeps_its_connection():
    """Numbers beyond those that select() knows are descriptors like others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("this system allows no 2,048 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    files = []
    try:
        while not files or files[-1] < 1100:
            files.append(os.open(os.devnull, os.O_RDONLY))
        with Receiver() as receiver:
            client = HTTPClient(receiver.url)
            for _ in range(3):
                assert client.post(b"x").status == 200
            assert client._connection.sock.fileno() > 1024
            assert receiver.connections == 1
            client.close()
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_tls_is_verified(tmp_path):
    """A certificate that nobody vouches for is no collector of ours; one of a known authority is."""
    trustme = pytest.importorskip("trustme")
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    known = ssl.create_default_context()
    authority.configure_trust(known)
    with Receiver() as receiver:
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
        url = f"https://localhost:{receiver.server_address[1]}/v1/logs"
        for verifier in (None, known):
            client = HTTPClient(url, ssl_context=verifier, timeout=2)
            if verifier is None:
                with pytest.raises(ssl.SSLCertVerificationError):
                    client.post(b"x")
            else:
                before = receiver.connections
                for _ in range(3):
                    assert client.post(b"x").status == 200
                assert receiver.connections == before + 1
            client.close()


# -- a real receiver


def find_rotel():
    """Return the path of the agent that PyPI's rotel brings, None if it is not there."""
    given = os.environ.get("SPROCKETS_ROTEL") or shutil.which("rotel-agent")
    if given:
        return given
    found = importlib.util.find_spec("rotel")
    path = Path(found.origin).with_name("rotel-agent") if found and found.origin else None
    return str(path) if path is not None and path.exists() else None


@pytest.fixture(name="rotel")
def _rotel(tmp_path):
    program = find_rotel()
    if program is None:
        pytest.skip("rotel, an OTLP agent, is not installed: pip install rotel")
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(f"127.0.0.1:{free.getsockname()[1]}")
    output = tmp_path / "rotel"
    command = [program, "start", "--otlp-http-endpoint", ports[0], "--otlp-grpc-endpoint", ports[1]]
    command += ["--exporter", "blackhole", "--debug-log", "logs"]
    command += ["--debug-log-verbosity", "detailed"]
    with output.open("wb") as stream:
        agent = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        host, port = ports[0].split(":")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection((host, int(port)), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield f"http://{ports[0]}/v1/logs", output
    finally:
        agent.terminate()
        agent.wait(5)


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_an_agent_that_we_did_not_write_reads_what_we_say(rotel, encoding):
    """Severity, body, attributes of every kind, and the trace id, as it prints them."""
    url, output = rotel
    handler = handler_for(url, encoding=encoding)
    values = {"n": 3, "l": [1, {"a": 2.5}], "inf": float("inf"), "none": None, "big": 2**70}
    with handler:
        log.warning("sold {} ü \ud800", 1, extra={**values, "request_id": "12" * 16})
        fail()
    assert handler.close()
    assert handler.statistics()["delivered"] == 2

    deadline = time.monotonic() + 5
    text = ""
    while text.count("SeverityText") < 2 and time.monotonic() < deadline:
        text = output.read_text(errors="replace")
        time.sleep(0.02)

    for expected in (
        r"service.name: Str\(shop\)",
        r"InstrumentationScope till",
        r"SEVERITY_NUMBER_WARN\(13\)",
        r"SEVERITY_NUMBER_ERROR\(17\)",
        r"Body: Str\(sold 1 ü �\)",
        r"n: Int\(3\)",
        r"l: Slice\(Int\(1\), Map\(a:Double\(2.5\)\)\)",
        r"big: Str\(1180591620717411303424\)",
        rf"Trace ID +: {'12' * 16}",
        r"exception.message: Str\(no price\)",
    ):
        assert re.search(expected, text), (expected, text)
