"""`logging`, as it comes and as its documentation says it can be tuned."""

import json
import logging
import platform
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import repeat
from logging.handlers import RotatingFileHandler, TimedRotatingFileHandler
from pathlib import Path

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

LINE = "[%(asctime)s] %(levelname)s: %(name)s: %(message)s"
LINE_WITH_FIELDS = LINE + "".join(f" {name}=%({name})s" for name in FIELDS)


def _infos(log: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> Loop:
    def infos(count: int) -> None:
        for _ in repeat(None, count):
            log.info("order accepted")

    return infos


def _orders(log: logging.Logger) -> Loop:
    def orders(count: int) -> None:
        for _ in repeat(None, count):
            log.info("order %s accepted", ORDER)

    return orders


def _failures(log: logging.Logger) -> Loop:
    def failures(count: int) -> None:
        for _ in repeat(None, count):
            try:
                fail()
            except ValueError:
                log.exception("order %s not delivered", ORDER)

    return failures


class _Null(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        pass


class _HeldBack(logging.Handler):
    """What ``MemoryHandler`` is, but that when it is full it forgets instead of writing."""

    def __init__(self, target: logging.Handler) -> None:
        super().__init__()
        self.target = target
        self.buffer: deque[logging.LogRecord] = deque(maxlen=100)

    def emit(self, record: logging.LogRecord) -> None:
        self.buffer.append(record)
        if record.levelno >= logging.ERROR:
            for held in self.buffer:
                self.target.handle(held)
            self.buffer.clear()


class _Caller(logging.Handler):
    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.last = record.pathname, record.lineno, record.funcName


class _Field(logging.Handler):
    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.last = getattr(record, "request_id", None)


class _JSONFormatter(logging.Formatter):
    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "time": self.formatTime(record),
                "level_name": record.levelname,
                "channel": record.name,
                "message": record.getMessage(),
            }
        )


class _AddField(logging.Filter):
    def __init__(self, name: str, text: str) -> None:
        super().__init__()
        self.field = name
        self.text = text

    def filter(self, record: logging.LogRecord) -> bool:
        setattr(record, self.field, self.text)
        return True


_NO_FIELDS: Mapping[str, object] = {}
_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default=_NO_FIELDS)


class _AddBound(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.__dict__.update(_bound.get())
        return True


@contextmanager
def _binding(**fields: object) -> Iterator[None]:
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


class Stdlib(Library):
    """`logging` as it comes."""

    name = "stdlib"

    def describe(self) -> str:
        """Return the version of the interpreter whose library it is."""
        return f"logging of CPython {platform.python_version()}"

    def _logger(self, handler: logging.Handler | None, level: int = logging.INFO) -> logging.Logger:
        log = logging.Logger(CHANNEL, level)  # a fresh one a case, in no registry
        if handler is not None:
            log.addHandler(handler)
        return log

    def _to_memory(
        self, level: int = logging.NOTSET, line: str = LINE
    ) -> tuple[logging.Handler, Memory]:
        sink = Memory()
        handler = logging.StreamHandler(sink)
        handler.setFormatter(logging.Formatter(line))
        handler.setLevel(level)
        return handler, sink

    @contextmanager
    def disabled(self) -> Iterator[Case]:
        """A logger that is switched off."""
        handler, sink = self._to_memory()
        log = self._logger(handler)
        log.disabled = True

        def enabled_once() -> None:
            log.disabled = False
            log.info("order accepted")
            log.disabled = True

        yield Case(_infos(log), sink, enabled_once)

    @contextmanager
    def level(self) -> Iterator[Case]:
        """A call below the logger's level."""
        handler, sink = self._to_memory()
        log = self._logger(handler, logging.WARNING)
        yield Case(_infos(log), sink, partial(log.warning, "stock is low"))

    @contextmanager
    def uninterested(self) -> Iterator[Case]:
        """A call the logger lets pass and no handler wants."""
        handler, sink = self._to_memory(logging.WARNING)
        log = self._logger(handler)
        yield Case(_infos(log), sink, partial(log.warning, "stock is low"))

    @contextmanager
    def silenced(self) -> Iterator[Case]:
        """A null handler alone."""
        handler, sink = self._to_memory()
        log = self._logger(logging.NullHandler())

        def wanted() -> None:
            log.addHandler(handler)
            log.info("stock is low")
            log.removeHandler(handler)

        yield Case(_infos(log), sink, wanted)

    @contextmanager
    def refused(self) -> Iterator[Case]:
        """A filter that refuses."""
        handler, sink = self._to_memory()
        handler.addFilter(lambda record: record.levelno > logging.INFO)
        log = self._logger(handler)
        yield Case(_infos(log), sink, partial(log.warning, "stock is low"))

    @contextmanager
    def held_back(self) -> Iterator[Case]:
        """The newest hundred kept until something is an error."""
        handler, sink = self._to_memory()
        log = self._logger(_HeldBack(handler))
        yield Case(_infos(log), sink, partial(log.error, "no stock"))

    @contextmanager
    def caller(self) -> Iterator[Case]:
        """The place of the call, which plain `logging` always finds out."""
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
        """A line to a file; `logging.StreamHandler` flushes each."""
        path = self.file_named("file")
        handler = logging.FileHandler(path, "a", encoding="utf-8")
        handler.setFormatter(logging.Formatter(LINE))
        try:
            yield Case(_infos(self._logger(handler)), Disk(path))
        finally:
            handler.close()

    @contextmanager
    def _rotated(
        self,
        row: str,
        make: Callable[[Path], logging.Handler],
        soon: Callable[[Path], logging.Handler],
        pause: float,
    ) -> Iterator[Case]:
        path, proof = self.file_named(row), self.file_named(f"{row}-soon")

        @contextmanager
        def opened(handler: logging.Handler) -> Iterator[logging.Logger]:
            handler.setFormatter(logging.Formatter(LINE))
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
        """Fields by the adapter that the documentation proposes."""
        handler, sink = self._to_memory(line=LINE_WITH_FIELDS)
        yield Case(_infos(logging.LoggerAdapter(self._logger(handler), FIELDS)), sink)

    @contextmanager
    def processors(self) -> Iterator[Case]:
        """Fields by three filters that change the record."""
        handler, sink = self._to_memory(line=LINE_WITH_FIELDS)
        log = self._logger(handler)
        for name, text in FIELDS.items():
            log.addFilter(_AddField(name, text))
        yield Case(_infos(log), sink)

    @contextmanager
    def json(self) -> Iterator[Case]:
        """JSON by the customary formatter of ten lines."""
        handler, sink = self._to_memory()
        handler.setFormatter(_JSONFormatter())
        yield Case(_infos(self._logger(handler)), sink)

    @contextmanager
    def exception(self) -> Iterator[Case]:
        """A line and a traceback."""
        handler, sink = self._to_memory()
        yield Case(_failures(self._logger(handler)), sink)

    @contextmanager
    def scope_fields(self, below: int = 0) -> Iterator[Scope]:
        """Fields by a context variable and a filter that reads it."""
        seen = Seen()
        log = self._logger(_Field(seen))
        log.addFilter(_AddBound())

        def binds(count: int) -> None:
            for _ in repeat(None, count):
                with _binding(request_id="c0ffee", method="POST", path="/orders"):
                    pass

        def firsts(count: int) -> None:
            for _ in repeat(None, count):
                with _binding(request_id="c0ffee", method="POST", path="/orders"):
                    log.info("order accepted")

        def furthers(count: int) -> None:
            for _ in repeat(None, count):
                with _binding(request_id="c0ffee", method="POST", path="/orders"):
                    log.info("order accepted")
                    for _ in repeat(None, FURTHER):
                        log.info("order accepted")

        with self.nested(lambda: _binding(**FIELDS), below):
            yield Scope(binds, firsts, furthers, _infos(log), lambda: _binding(**FIELDS), seen)


class _Tuned:
    _SETTINGS: Mapping[str, object] = {
        "raiseExceptions": False,
        "logThreads": False,
        "logProcesses": False,
        "logMultiprocessing": False,
        "logAsyncioTasks": False,
        "_srcfile": None,
    }

    def __enter__(self) -> None:
        self.before = {name: getattr(logging, name, None) for name in self._SETTINGS}
        vars(logging).update(self._SETTINGS)

    def __exit__(self, *_: object) -> None:
        vars(logging).update(self.before)


class TunedStdlib(Stdlib):
    """`logging` without the facts that can be switched off."""

    name = "stdlib tuned"

    def describe(self) -> str:
        """Return what is switched off."""
        return "no thread, process and multiprocessing facts, no caller, raiseExceptions off"

    def switched(self) -> AbstractContextManager[None]:
        """Switch the facts off for one reading: they are global to the process."""
        return _Tuned()

    # What it does not find out, and what the settings make no difference for.
    caller = scope_fields = None  # type: ignore[assignment]

    @contextmanager
    def taken(self) -> Iterator[Case]:
        """A handler that does nothing; plain `logging`, which finds callers, has the next row."""
        yield Case(_infos(self._logger(_Null())), Emitted(_Null.emit))
