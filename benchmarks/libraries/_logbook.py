"""Logbook, our ancestor, with its compiled speedups."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import repeat
from pathlib import Path

import logbook
from benchmarks.cases import (
    CHANNEL,
    FIELDS,
    FURTHER,
    MAX_BYTES,
    MAX_FILES,
    ONE_LINE,
    ORDER,
    OVER_A_SECOND,
    Case,
    Disk,
    Emitted,
    Library,
    Loop,
    Memory,
    Scope,
    Seen,
    fail,
    files_of_two_lines,
)

LINE = (
    "[{record.time:%Y-%m-%d %H:%M:%S.%f}] {record.level_name}: {record.channel}: {record.message}"
)
LINE_WITH_FIELDS = LINE + "".join(f" {name}={{record.extra[{name}]}}" for name in FIELDS)


def _infos(log: logbook.Logger) -> Loop:
    def infos(count: int) -> None:
        for _ in repeat(None, count):
            log.info("order accepted")

    return infos


def _orders(log: logbook.Logger) -> Loop:
    def orders(count: int) -> None:
        for _ in repeat(None, count):
            log.info("order {} accepted", ORDER)

    return orders


def _failures(log: logbook.Logger) -> Loop:
    def failures(count: int) -> None:
        for _ in repeat(None, count):
            try:
                fail()
            except ValueError:
                log.exception("order {} not delivered", ORDER)

    return failures


def _binds(make: Callable[[], logbook.base.StackedObject]) -> Loop:
    bound = make()

    def binds(count: int) -> None:
        for _ in repeat(None, count):
            with bound:
                pass

    return binds


def _firsts(make: Callable[[], logbook.base.StackedObject], log: logbook.Logger) -> Loop:
    bound = make()

    def firsts(count: int) -> None:
        for _ in repeat(None, count):
            with bound:
                log.info("order accepted")

    return firsts


def _furthers(make: Callable[[], logbook.base.StackedObject], log: logbook.Logger) -> Loop:
    bound = make()

    def furthers(count: int) -> None:
        for _ in repeat(None, count):
            with bound:
                log.info("order accepted")
                for _ in repeat(None, FURTHER):
                    log.info("order accepted")

    return furthers


class _Null(logbook.Handler):
    def emit(self, record: logbook.LogRecord) -> None:
        pass


class _Caller(logbook.Handler):
    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def emit(self, record: logbook.LogRecord) -> None:
        self.seen.last = record.filename, record.lineno, record.func_name


class _Field(logbook.Handler):
    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def emit(self, record: logbook.LogRecord) -> None:
        self.seen.last = record.extra["request_id"]


def _add_fields(record: logbook.LogRecord) -> None:
    record.extra["request_id"] = FIELDS["request_id"]
    record.extra["method"] = FIELDS["method"]
    record.extra["path"] = FIELDS["path"]


def _add_request_id(record: logbook.LogRecord) -> None:
    record.extra["request_id"] = FIELDS["request_id"]


def _add_method(record: logbook.LogRecord) -> None:
    record.extra["method"] = FIELDS["method"]


def _add_path(record: logbook.LogRecord) -> None:
    record.extra["path"] = FIELDS["path"]


def _to_json(record: logbook.LogRecord, _handler: logbook.Handler) -> str:
    return json.dumps(
        {
            "time": record.time.isoformat(),
            "level_name": record.level_name,
            "channel": record.channel,
            "message": record.message,
        }
    )


class Logbook(Library):
    """Logbook."""

    name = "Logbook"

    def describe(self) -> str:
        """Return the version, and whether the compiled part is in use."""
        compiled = "logbook._speedups" in sys.modules and "logbook._fallback" not in sys.modules
        state = "ON" if compiled else "OFF: not a fair comparison"
        return f"{version('logbook')}, compiled speedups {state}"

    @contextmanager
    def disabled(self) -> Iterator[Case]:
        """A logger that is switched off."""
        log, sink = logbook.Logger(CHANNEL), Memory()
        log.disable()

        def enabled_once() -> None:
            log.enable()
            log.info("order accepted")
            log.disable()

        with logbook.StreamHandler(sink, format_string=LINE):
            yield Case(_infos(log), sink, enabled_once)

    @contextmanager
    def level(self) -> Iterator[Case]:
        """A call below the logger's level."""
        log, sink = logbook.Logger(CHANNEL, logbook.WARNING), Memory()
        with logbook.StreamHandler(sink, format_string=LINE):
            yield Case(_infos(log), sink, partial(log.warning, "stock is low"))

    @contextmanager
    def uninterested(self) -> Iterator[Case]:
        """A call the logger lets pass and no handler wants."""
        log, sink = logbook.Logger(CHANNEL), Memory()
        with logbook.StreamHandler(sink, logbook.WARNING, format_string=LINE):
            yield Case(_infos(log), sink, partial(log.warning, "stock is low"))

    @contextmanager
    def silenced(self) -> Iterator[Case]:
        """A null handler above the one that would write."""
        log, sink = logbook.Logger(CHANNEL), Memory()

        def wanted() -> None:
            with logbook.StreamHandler(sink, format_string=LINE):
                log.info("stock is low")

        with logbook.StreamHandler(sink, format_string=LINE), logbook.NullHandler():
            yield Case(_infos(log), sink, wanted)

    @contextmanager
    def refused(self) -> Iterator[Case]:
        """A filter that refuses."""
        log, sink = logbook.Logger(CHANNEL), Memory()
        handler = logbook.StreamHandler(
            sink, format_string=LINE, filter=lambda record, _: record.level > logbook.INFO
        )
        with handler:
            yield Case(_infos(log), sink, partial(log.warning, "stock is low"))

    @contextmanager
    def held_back(self) -> Iterator[Case]:
        """The newest hundred kept until something is an error."""
        log, sink = logbook.Logger(CHANNEL), Memory()
        handler = logbook.StreamHandler(sink, format_string=LINE)
        with logbook.FingersCrossedHandler(handler, buffer_size=100, reset=True):
            yield Case(_infos(log), sink, partial(log.error, "no stock"))

    @contextmanager
    def taken(self) -> Iterator[Case]:
        """A handler that does nothing."""
        with _Null():
            yield Case(_infos(logbook.Logger(CHANNEL)), Emitted(_Null.emit))

    @contextmanager
    def caller(self) -> Iterator[Case]:
        """The place of the call."""
        seen = Seen()
        with _Caller(seen):
            yield Case(_infos(logbook.Logger(CHANNEL)), seen)

    @contextmanager
    def _lines(
        self, format_string: str, make_loop: Callable[[logbook.Logger], Loop] = _infos
    ) -> Iterator[Case]:
        sink = Memory()
        with logbook.StreamHandler(sink, format_string=format_string):
            yield Case(make_loop(logbook.Logger(CHANNEL)), sink)

    @contextmanager
    def line(self) -> Iterator[Case]:
        """A line to memory."""
        with self._lines(LINE) as case:
            yield case

    @contextmanager
    def argument(self) -> Iterator[Case]:
        """A line whose message has an argument."""
        with self._lines(LINE, _orders) as case:
            yield case

    @contextmanager
    def own(self) -> Iterator[Case]:
        """A line to memory by a handler that belongs to the logger."""
        log, sink = logbook.Logger(CHANNEL), Memory()
        log.handlers.append(logbook.StreamHandler(sink, format_string=LINE))
        yield Case(_infos(log), sink)

    @contextmanager
    def file(self) -> Iterator[Case]:
        """A line to a file; each is flushed."""
        path = self.file_named("file")
        with logbook.FileHandler(str(path), format_string=LINE):
            yield Case(_infos(logbook.Logger(CHANNEL)), Disk(path))

    @contextmanager
    def _rotated(
        self,
        row: str,
        make: Callable[[Path], logbook.Handler],
        soon: Callable[[Path], logbook.Handler],
        pause: float,
    ) -> Iterator[Case]:
        log, path, proof = (
            logbook.Logger(CHANNEL),
            self.file_named(row),
            self.file_named(f"{row}-soon"),
        )

        def rolled() -> int:
            with soon(proof):
                return files_of_two_lines(proof, partial(log.info, "order accepted"), pause)

        path.touch()
        with make(path):
            yield Case(_infos(log), Disk(path), rolled=rolled)

    @contextmanager
    def rotated_by_size(self) -> Iterator[Case]:
        """A line to a file that ends when it is full."""
        make = partial(logbook.RotatingFileHandler, format_string=LINE, backup_count=MAX_FILES)
        large, small = partial(make, max_size=MAX_BYTES), partial(make, max_size=ONE_LINE)
        with self._rotated("rotated_by_size", large, small, 0) as case:
            yield case

    @contextmanager
    def rotated_by_time(self) -> Iterator[Case]:
        """A line to a file that ends when the day does."""
        make = partial(
            logbook.TimedRotatingFileHandler,
            format_string=LINE,
            backup_count=MAX_FILES,
            timed_filename_for_current=False,
        )
        soon = partial(make, date_format="%Y-%m-%dT%H%M%S")
        with self._rotated("rotated_by_time", make, soon, OVER_A_SECOND) as case:
            yield case

    @contextmanager
    def fields(self) -> Iterator[Case]:
        """Fields by one processor: a logger has no fields of its own."""
        with logbook.Processor(_add_fields), self._lines(LINE_WITH_FIELDS) as case:
            yield case

    @contextmanager
    def processors(self) -> Iterator[Case]:
        """Fields by three processors."""
        with (
            logbook.Processor(_add_request_id),
            logbook.Processor(_add_method),
            logbook.Processor(_add_path),
            self._lines(LINE_WITH_FIELDS) as case,
        ):
            yield case

    @contextmanager
    def json(self) -> Iterator[Case]:
        """JSON by the customary formatter of ten lines."""
        sink = Memory()
        handler = logbook.StreamHandler(sink)
        handler.formatter = _to_json
        with handler:
            yield Case(_infos(logbook.Logger(CHANNEL)), sink)

    @contextmanager
    def exception(self) -> Iterator[Case]:
        """A line and a traceback."""
        with self._lines(LINE, _failures) as case:
            yield case

    @contextmanager
    def scope_handler(self, below: int = 0) -> Iterator[Scope]:
        """A handler bound to the context."""
        log = logbook.Logger(CHANNEL)
        with self.nested(_Null, below):
            yield Scope(
                _binds(_Null),
                _firsts(_Null, log),
                _furthers(_Null, log),
                _infos(log),
                _Null,
                Emitted(_Null.emit),
            )

    @contextmanager
    def scope_processor(self, below: int = 0) -> Iterator[Scope]:
        """A processor bound to the context."""
        log, seen = logbook.Logger(CHANNEL), Seen()
        make = partial(logbook.Processor, _add_request_id)
        with _Field(seen), self.nested(make, below):
            yield Scope(
                _binds(make), _firsts(make, log), _furthers(make, log), _infos(log), make, seen
            )
