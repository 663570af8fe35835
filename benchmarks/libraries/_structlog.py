"""structlog: a chain of functions on a dict; no handlers."""

import json
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import repeat
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.processors import (
    CallsiteParameter,
    CallsiteParameterAdder,
    TimeStamper,
    add_log_level,
    format_exc_info,
)
from structlog.typing import Processor

from benchmarks.cases import (
    CHANNEL,
    FIELDS,
    FURTHER,
    ORDER,
    Case,
    Disk,
    Emitted,
    Library,
    Loop,
    Memory,
    Scope,
    Seen,
    fail,
)

INFO = 20
WARNING = 30

Event = MutableMapping[str, Any]


class _Nowhere:
    """A logger below the chain that takes whatever its last function returns."""

    def info(self, *_: object, **__: object) -> None:
        pass


def _infos(log: Any) -> Loop:
    def infos(count: int) -> None:
        for _ in repeat(None, count):
            log.info("order accepted")

    return infos


def _orders(log: Any) -> Loop:
    def orders(count: int) -> None:
        for _ in repeat(None, count):
            log.info("order %s accepted", ORDER)

    return orders


def _failures(log: Any) -> Loop:
    def failures(count: int) -> None:
        for _ in repeat(None, count):
            try:
                fail()
            except ValueError:
                log.exception("order %s not delivered", ORDER)

    return failures


def _render_line(_logger: object, _method: str, event: Event) -> str:
    text = f"[{event['timestamp']}] {event['level']}: {event['logger']}: {event['event']}"
    if trace := event.get("exception"):
        return f"{text}\n{trace}"
    return text


def _render_line_with_fields(_logger: object, _method: str, event: Event) -> str:
    return (
        f"[{event['timestamp']}] {event['level']}: {event['logger']}: {event['event']}"
        f" request_id={event['request_id']} method={event['method']} path={event['path']}"
    )


def _add_request_id(_logger: object, _method: str, event: Event) -> Event:
    event["request_id"] = FIELDS["request_id"]
    return event


def _add_method(_logger: object, _method: str, event: Event) -> Event:
    event["method"] = FIELDS["method"]
    return event


def _add_path(_logger: object, _method: str, event: Event) -> Event:
    event["path"] = FIELDS["path"]
    return event


def _render_nothing(_logger: object, _method: str, _event: Event) -> str:
    return ""


def _stamp() -> TimeStamper:
    return TimeStamper(fmt="%Y-%m-%d %H:%M:%S.%f", utc=True)


def _logger(below: object, *chain: Processor, level: int = INFO) -> Any:
    return structlog.wrap_logger(
        below,
        processors=chain,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        context_class=dict,
    ).bind(logger=CHANNEL)


class Structlog(Library):
    """structlog with the filtering logger its documentation recommends for speed."""

    name = "structlog"

    def describe(self) -> str:
        """Return the version."""
        return f"{version('structlog')}, make_filtering_bound_logger"

    def _to(self, sink: Memory, *chain: Processor, level: int = INFO) -> Any:
        return _logger(structlog.WriteLogger(sink), *chain, level=level)

    @contextmanager
    def level(self) -> Iterator[Case]:
        """A call below the level its logger class was made for."""
        sink = Memory()
        log = self._to(sink, add_log_level, _stamp(), _render_line, level=WARNING)
        yield Case(_infos(log), sink, partial(log.warning, "stock is low"))

    disabled = level

    @contextmanager
    def taken(self) -> Iterator[Case]:
        """A chain of one function that does nothing."""
        yield Case(_infos(_logger(_Nowhere(), _render_nothing)), Emitted(_Nowhere.info))

    @contextmanager
    def caller(self) -> Iterator[Case]:
        """The place of the call."""
        seen = Seen()
        places = {CallsiteParameter.PATHNAME, CallsiteParameter.LINENO, CallsiteParameter.FUNC_NAME}

        def look(_logger: object, _method: str, event: Event) -> str:
            seen.last = event["pathname"], event["lineno"], event["func_name"]
            return ""

        log = _logger(_Nowhere(), CallsiteParameterAdder(places), look)
        yield Case(_infos(log), seen)

    @contextmanager
    def line(self) -> Iterator[Case]:
        """A line to memory."""
        sink = Memory()
        yield Case(_infos(self._to(sink, add_log_level, _stamp(), _render_line)), sink)

    @contextmanager
    def argument(self) -> Iterator[Case]:
        """A line whose message has an argument."""
        sink = Memory()
        yield Case(_orders(self._to(sink, add_log_level, _stamp(), _render_line)), sink)

    @contextmanager
    def file(self) -> Iterator[Case]:
        """A line to a file; `structlog.WriteLogger` flushes each."""
        path = self.file_named("file")
        with path.open("a", encoding="utf-8") as file:
            below = structlog.WriteLogger(file)
            yield Case(_infos(_logger(below, add_log_level, _stamp(), _render_line)), Disk(path))

    @contextmanager
    def fields(self) -> Iterator[Case]:
        """Fields bound to the logger."""
        sink = Memory()
        log = self._to(sink, add_log_level, _stamp(), _render_line_with_fields).bind(**FIELDS)
        yield Case(_infos(log), sink)

    @contextmanager
    def processors(self) -> Iterator[Case]:
        """Fields by three functions of the chain."""
        sink = Memory()
        adding = _add_request_id, _add_method, _add_path
        yield Case(
            _infos(self._to(sink, add_log_level, _stamp(), *adding, _render_line_with_fields)), sink
        )

    @contextmanager
    def json(self) -> Iterator[Case]:
        """JSON by its own renderer, and `json` as for the others."""
        sink = Memory()
        chain = (
            add_log_level,
            TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(json.dumps),
        )
        yield Case(_infos(self._to(sink, *chain)), sink)

    @contextmanager
    def exception(self) -> Iterator[Case]:
        """A line and a traceback."""
        sink = Memory()
        yield Case(
            _failures(self._to(sink, add_log_level, _stamp(), format_exc_info, _render_line)), sink
        )

    @contextmanager
    def scope_fields(self, below: int = 0) -> Iterator[Scope]:
        """Fields bound to the context."""
        seen = Seen()

        def look(_logger: object, _method: str, event: Event) -> str:
            seen.last = event.get("request_id")
            return ""

        log = _logger(_Nowhere(), merge_contextvars, look)
        enter: Callable[[], Any] = partial(bound_contextvars, **FIELDS)

        def binds(count: int) -> None:
            for _ in repeat(None, count):
                with bound_contextvars(request_id="c0ffee", method="POST", path="/orders"):
                    pass

        def firsts(count: int) -> None:
            for _ in repeat(None, count):
                with bound_contextvars(request_id="c0ffee", method="POST", path="/orders"):
                    log.info("order accepted")

        def furthers(count: int) -> None:
            for _ in repeat(None, count):
                with bound_contextvars(request_id="c0ffee", method="POST", path="/orders"):
                    log.info("order accepted")
                    for _ in repeat(None, FURTHER):
                        log.info("order accepted")

        with self.nested(enter, below):
            yield Scope(binds, firsts, furthers, _infos(log), enter, seen)
