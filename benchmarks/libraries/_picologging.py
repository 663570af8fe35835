"""picologging: `logging` rewritten in C++, with the same names."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import ClassVar

import picologging
from picologging.handlers import RotatingFileHandler, TimedRotatingFileHandler

from benchmarks.cases import (
    CHANNEL,
    FIELDS,
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
    Seen,
    fail,
    files_of_two_lines,
)

LINE = "[%(asctime)s] %(levelname)s: %(name)s: %(message)s"
# Its own milliseconds come out as garbage (",-61277306"), and so does a time without a format.
_NO_MILLISECONDS = "writes times without milliseconds: its own are garbage"
TIME = "%Y-%m-%d %H:%M:%S"
LINE_WITH_FIELDS = LINE + "".join(f" {name}=%({name})s" for name in FIELDS)


def _infos(log: picologging.Logger) -> Loop:
    def infos(count: int) -> None:
        for _ in repeat(None, count):
            log.info("order accepted")

    return infos


def _orders(log: picologging.Logger) -> Loop:
    def orders(count: int) -> None:
        for _ in repeat(None, count):
            log.info("order %s accepted", ORDER)

    return orders


def _failures(log: picologging.Logger) -> Loop:
    def failures(count: int) -> None:
        for _ in repeat(None, count):
            try:
                fail()
            except ValueError:
                log.exception("order %s not delivered", ORDER)

    return failures


class _Null(picologging.Handler):
    def emit(self, record: picologging.LogRecord) -> None:
        pass


class _Caller(picologging.Handler):
    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def emit(self, record: picologging.LogRecord) -> None:
        self.seen.last = record.pathname, record.lineno, record.funcName


class _AddFields(picologging.Filter):
    def filter(self, record: picologging.LogRecord) -> bool:
        record.request_id = FIELDS["request_id"]
        record.method = FIELDS["method"]
        record.path = FIELDS["path"]
        return True


class _AddField(picologging.Filter):
    def __init__(self, name: str, text: str) -> None:
        super().__init__()
        self.field = name
        self.text = text

    def filter(self, record: picologging.LogRecord) -> bool:
        setattr(record, self.field, self.text)
        return True


class _JSONFormatter(picologging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s", TIME)

    def format(self, record: picologging.LogRecord) -> str:
        return json.dumps(
            {
                "time": super().format(record),
                "level_name": record.levelname,
                "channel": record.name,
                "message": record.getMessage(),
            }
        )


class Picologging(Library):
    """picologging."""

    name = "picologging"
    faults: ClassVar[Mapping[str, str]] = {
        "caller": "tells the caller's caller",
        "line": _NO_MILLISECONDS,
        "own": _NO_MILLISECONDS,
        "argument": _NO_MILLISECONDS,
        "file": _NO_MILLISECONDS,
        "rotated_by_size": _NO_MILLISECONDS,
        "rotated_by_time": _NO_MILLISECONDS,
        "fields": _NO_MILLISECONDS,
        "processors": _NO_MILLISECONDS,
        "json": _NO_MILLISECONDS,
    }

    def describe(self) -> str:
        """Return the version."""
        return f"{picologging.__version__}, all C++"

    def _logger(
        self, handler: picologging.Handler, level: int = picologging.INFO
    ) -> picologging.Logger:
        log = picologging.Logger(CHANNEL, level)
        log.addHandler(handler)
        return log

    def _to_memory(
        self, level: int = picologging.NOTSET, line: str = LINE
    ) -> tuple[picologging.Handler, Memory]:
        sink = Memory()
        handler = picologging.StreamHandler(sink)
        handler.setFormatter(picologging.Formatter(line, TIME))
        handler.setLevel(level)
        return handler, sink

    @contextmanager
    def disabled(self) -> Iterator[Case]:
        """A logger that is switched off."""
        handler, sink = self._to_memory()
        log = self._logger(handler)

        def enabled_once() -> None:
            log.disabled = False
            log.info("order accepted")
            log.disabled = True

        log.disabled = True
        yield Case(_infos(log), sink, enabled_once)

    @contextmanager
    def level(self) -> Iterator[Case]:
        """A call below the logger's level."""
        handler, sink = self._to_memory()
        log = self._logger(handler, picologging.WARNING)
        yield Case(_infos(log), sink, partial(log.warning, "stock is low"))

    @contextmanager
    def uninterested(self) -> Iterator[Case]:
        """A call the logger lets pass and no handler wants."""
        handler, sink = self._to_memory(picologging.WARNING)
        log = self._logger(handler)
        yield Case(_infos(log), sink, partial(log.warning, "stock is low"))

    @contextmanager
    def taken(self) -> Iterator[Case]:
        """A handler that does nothing."""
        yield Case(_infos(self._logger(_Null())), Emitted(_Null.emit))

    @contextmanager
    def caller(self) -> Iterator[Case]:
        """The place of the call."""
        seen = Seen()
        yield Case(_infos(self._logger(_Caller(seen))), seen)

    @contextmanager
    def line(self) -> Iterator[Case]:
        """A line to memory."""
        handler, sink = self._to_memory()
        yield Case(_infos(self._logger(handler)), sink)

    # Handlers always belong to loggers here.
    own = line

    @contextmanager
    def argument(self) -> Iterator[Case]:
        """A line whose message has an argument."""
        handler, sink = self._to_memory()
        yield Case(_orders(self._logger(handler)), sink)

    @contextmanager
    def file(self) -> Iterator[Case]:
        """A line to a file; each is flushed."""
        path = self.file_named("file")
        handler = picologging.FileHandler(path, "a", encoding="utf-8")
        handler.setFormatter(picologging.Formatter(LINE, TIME))
        try:
            yield Case(_infos(self._logger(handler)), Disk(path))
        finally:
            handler.close()

    @contextmanager
    def _rotated(
        self,
        row: str,
        make: Callable[[Path], picologging.Handler],
        soon: Callable[[Path], picologging.Handler],
        pause: float,
    ) -> Iterator[Case]:
        path, proof = self.file_named(row), self.file_named(f"{row}-soon")

        @contextmanager
        def opened(handler: picologging.Handler) -> Iterator[picologging.Logger]:
            handler.setFormatter(picologging.Formatter(LINE, TIME))
            try:
                yield self._logger(handler)
            finally:
                handler.close()

        def rolled() -> int:
            with opened(soon(proof)) as log:
                return files_of_two_lines(proof, partial(log.info, "order accepted"), pause)

        with opened(make(path)) as log:
            yield Case(_infos(log), Disk(path), rolled=rolled)

    @contextmanager
    def rotated_by_size(self) -> Iterator[Case]:
        """A line to a file that ends when it is full."""
        make = partial(RotatingFileHandler, encoding="utf-8", backupCount=MAX_FILES)
        large, small = partial(make, maxBytes=MAX_BYTES), partial(make, maxBytes=ONE_LINE)
        with self._rotated("rotated_by_size", large, small, 0) as case:
            yield case

    @contextmanager
    def rotated_by_time(self) -> Iterator[Case]:
        """A line to a file that ends when the day does."""
        make = partial(TimedRotatingFileHandler, encoding="utf-8", backupCount=MAX_FILES)
        daily, soon = partial(make, when="midnight"), partial(make, when="S")
        with self._rotated("rotated_by_time", daily, soon, OVER_A_SECOND) as case:
            yield case

    @contextmanager
    def fields(self) -> Iterator[Case]:
        """Fields by one filter: it has no adapter."""
        handler, sink = self._to_memory(line=LINE_WITH_FIELDS)
        handler.addFilter(_AddFields())
        yield Case(_infos(self._logger(handler)), sink)

    @contextmanager
    def processors(self) -> Iterator[Case]:
        """Fields by three filters."""
        handler, sink = self._to_memory(line=LINE_WITH_FIELDS)
        for name, text in FIELDS.items():
            handler.addFilter(_AddField(name, text))
        yield Case(_infos(self._logger(handler)), sink)

    @contextmanager
    def json(self) -> Iterator[Case]:
        """JSON by a formatter like the one for `logging`."""
        handler, sink = self._to_memory()
        handler.setFormatter(_JSONFormatter())
        yield Case(_infos(self._logger(handler)), sink)

    @contextmanager
    def exception(self) -> Iterator[Case]:
        """A line and a traceback."""
        handler, sink = self._to_memory()
        yield Case(_failures(self._logger(handler)), sink)
