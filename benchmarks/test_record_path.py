"""What a service pays for its log, on realistic paths: ours beside `logging`.

``pytest benchmarks/test_record_path.py`` compares; with ``--benchmark-disable`` it only shows that
the paths work.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

import pytest

from sprockets import logbook

pytest.importorskip("pytest_benchmark", reason="needs pytest-benchmark: see requirements/")

Benchmark = Callable[..., Any]


class _Service(Protocol):
    """A service with a log file, in one library's words."""

    path: Path

    def skip_debug(self) -> None:
        """Make a call nobody wants."""

    def accept_order(self) -> None:
        """Log one line with two arguments."""

    def serve_request(self) -> None:
        """Bind a request's fields, log two lines inside, one of them unwanted."""

    def fail_request(self) -> None:
        """Log an exception with its traceback."""

    def use_json(self) -> None:
        """Write JSON lines from now on."""


class _OurService:
    """A service on sprockets.logbook."""

    LAYOUT = (
        "[{record.time:%Y-%m-%d %H:%M:%S.%f}] {record.level_name}: {record.channel}: "
        "{record.message} [{record.extra[request_id]}]"
    )

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.log = logbook.Logger("shop", logbook.INFO)
        self.handler = stack.enter_context(logbook.FileHandler(path, format_string=self.LAYOUT))

    def skip_debug(self) -> None:
        """Make a call nobody wants."""
        self.log.debug("stock of {} is {}", "apples", 7)

    def accept_order(self) -> None:
        """Log one line with two arguments."""
        self.log.info("order {} accepted from {}", 1742, "alice")

    def serve_request(self) -> None:
        """Bind a request's fields, log two lines inside, one of them unwanted."""
        with logbook.Fields(request_id="c0ffee", method="POST", path="/orders"):
            self.skip_debug()
            self.accept_order()

    def fail_request(self) -> None:
        """Log an exception with its traceback."""
        try:
            raise LookupError("out of apples")
        except LookupError:
            self.log.exception("order {} not delivered", 1742)

    def use_json(self) -> None:
        """Write JSON lines from now on."""
        fields = ("time", "level_name", "channel", "message")
        self.handler.formatter = logbook.JSONFormatter(fields=fields)


_fields: ContextVar[Mapping[str, str]] = ContextVar("fields")


class _AddFields(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = ""
        record.__dict__.update(_fields.get({}))
        return True


class _ToJSON(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "time": self.formatTime(record),
                "level_name": record.levelname,
                "channel": record.name,
                "message": record.getMessage(),
            }
        )


@contextmanager
def _bound(**fields: str) -> Iterator[None]:
    token = _fields.set({**_fields.get({}), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


class _StdlibService:
    """A service on `logging`, as its cookbook would have it."""

    LAYOUT = "[%(asctime)s] %(levelname)s: %(name)s: %(message)s [%(request_id)s]"

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.handler = logging.FileHandler(path, encoding="utf-8")
        self.handler.setFormatter(logging.Formatter(self.LAYOUT))
        stack.callback(self.handler.close)
        self.log = logging.Logger("shop", logging.INFO)  # leaves nothing behind
        self.log.addFilter(_AddFields())
        self.log.addHandler(self.handler)

    def skip_debug(self) -> None:
        """Make a call nobody wants."""
        self.log.debug("stock of %s is %s", "apples", 7)

    def accept_order(self) -> None:
        """Log one line with two arguments."""
        self.log.info("order %s accepted from %s", 1742, "alice")

    def serve_request(self) -> None:
        """Bind a request's fields, log two lines inside, one of them unwanted."""
        with _bound(request_id="c0ffee", method="POST", path="/orders"):
            self.skip_debug()
            self.accept_order()

    def fail_request(self) -> None:
        """Log an exception with its traceback."""
        try:
            raise LookupError("out of apples")
        except LookupError:
            self.log.exception("order %s not delivered", 1742)

    def use_json(self) -> None:
        """Write JSON lines from now on."""
        self.handler.setFormatter(_ToJSON())


@pytest.fixture(params=[_OurService, _StdlibService], ids=["ours", "stdlib"], name="service")
def _service(request: pytest.FixtureRequest, tmp_path: Path, stack: ExitStack) -> _Service:
    return request.param(tmp_path / "service.log", stack)  # type: ignore[no-any-return]


@pytest.fixture(name="stack")
def _stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _first_line(service: _Service) -> str:
    with service.path.open(encoding="utf-8") as file:
        return file.readline().rstrip("\n")


@pytest.mark.benchmark(group="a call below the level")
def test_a_call_below_the_level(benchmark: Benchmark, service: _Service) -> None:
    """A debug call in production costs as little as the interpreter allows, and writes nothing."""
    benchmark(service.skip_debug)

    assert _first_line(service) == ""


@pytest.mark.benchmark(group="a line to a file")
def test_a_line_to_a_file(benchmark: Benchmark, service: _Service) -> None:
    """A line with two arguments is in the file when the call returns."""
    benchmark(service.accept_order)

    assert _first_line(service).endswith("INFO: shop: order 1742 accepted from alice []")


@pytest.mark.benchmark(group="a request with its fields")
def test_a_request_with_its_fields(benchmark: Benchmark, service: _Service) -> None:
    """Fields bound for a request are in its lines."""
    benchmark(service.serve_request)

    assert _first_line(service).endswith("order 1742 accepted from alice [c0ffee]")


@pytest.mark.benchmark(group="an error with its traceback")
def test_an_error_with_its_traceback(benchmark: Benchmark, service: _Service) -> None:
    """A traceback follows the line of an error."""
    benchmark(service.fail_request)

    lines = service.path.read_text(encoding="utf-8").splitlines()[:6]
    assert lines[0].endswith("ERROR: shop: order 1742 not delivered []")
    assert lines[1] == "Traceback (most recent call last):"
    assert "LookupError: out of apples" in lines


@pytest.mark.benchmark(group="a JSON line")
def test_a_json_line(benchmark: Benchmark, service: _Service) -> None:
    """A JSON line has the four facts asked for."""
    service.use_json()

    benchmark(service.accept_order)

    facts = json.loads(_first_line(service))
    assert set(facts) == {"time", "level_name", "channel", "message"}
    assert facts["message"] == "order 1742 accepted from alice"
