"""loguru: one logger for all, which always finds out the caller."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from itertools import repeat
from typing import TYPE_CHECKING

from loguru import logger

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
    Library,
    Loop,
    Memory,
    Scope,
    Seen,
    fail,
    files_of_two_lines,
)

if TYPE_CHECKING:
    from loguru import Logger, Message, Record

LINE = "[{time:YYYY-MM-DD HH:mm:ss.SSSSSS}] {level}: {extra[channel]}: {message}"
LINE_WITH_FIELDS = LINE + "".join(f" {name}={{extra[{name}]}}" for name in FIELDS)


def _infos(log: "Logger") -> Loop:
    def infos(count: int) -> None:
        for _ in repeat(None, count):
            log.info("order accepted")

    return infos


def _orders(log: "Logger") -> Loop:
    def orders(count: int) -> None:
        for _ in repeat(None, count):
            log.info("order {} accepted", ORDER)

    return orders


def _failures(log: "Logger") -> Loop:
    def failures(count: int) -> None:
        for _ in repeat(None, count):
            try:
                fail()
            except ValueError:
                log.exception("order {} not delivered", ORDER)

    return failures


def _nothing(_record: "Record") -> str:
    return ""


@contextmanager
def _added(
    sink: Callable[["Message"], None] | Memory, line: str = LINE, level: str = "INFO"
) -> Iterator[None]:
    number = logger.add(sink, format=line, level=level, backtrace=False, diagnose=False)
    try:
        yield
    finally:
        logger.remove(number)


@contextmanager
def _looking(sink: Callable[["Message"], None]) -> Iterator[None]:
    """Add a sink that looks at the record and needs no text."""
    number = logger.add(sink, format=_nothing, level="INFO", backtrace=False, diagnose=False)
    try:
        yield
    finally:
        logger.remove(number)


class Loguru(Library):
    """loguru, without its explanations of tracebacks, which would be another row."""

    name = "loguru"

    def prepare(self) -> None:
        """Undo what the import set up."""
        # Its only logger writes to stderr from the start.
        logger.remove()

    def describe(self) -> str:
        """Return the version."""
        return f"{version('loguru')}, backtrace and diagnose off"

    @contextmanager
    def disabled(self) -> Iterator[Case]:
        """The logger switched off for the module that calls."""
        sink, log = Memory(), logger.bind(channel=CHANNEL)

        def enabled_once() -> None:
            logger.enable(__name__)
            log.info("order accepted")
            logger.disable(__name__)

        logger.disable(__name__)
        try:
            with _added(sink):
                yield Case(_infos(log), sink, enabled_once)
        finally:
            logger.enable(__name__)

    @contextmanager
    def level(self) -> Iterator[Case]:
        """A call below every sink's level: loggers have none of their own."""
        sink, log = Memory(), logger.bind(channel=CHANNEL)
        with _added(sink, level="WARNING"):
            yield Case(_infos(log), sink, lambda: log.warning("stock is low"))

    uninterested = level

    @contextmanager
    def caller(self) -> Iterator[Case]:
        """The place of the call, which it always finds out."""
        seen = Seen()

        def look(message: "Message") -> None:
            record = message.record
            seen.last = record["file"].path, record["line"], record["function"]

        with _looking(look):
            yield Case(_infos(logger.bind(channel=CHANNEL)), seen)

    @contextmanager
    def line(self) -> Iterator[Case]:
        """A line to memory."""
        sink = Memory()
        with _added(sink):
            yield Case(_infos(logger.bind(channel=CHANNEL)), sink)

    @contextmanager
    def argument(self) -> Iterator[Case]:
        """A line whose message has an argument."""
        sink = Memory()
        with _added(sink):
            yield Case(_orders(logger.bind(channel=CHANNEL)), sink)

    @contextmanager
    def file(self) -> Iterator[Case]:
        """A line to a file; each is flushed."""
        path = self.file_named("file")
        number = logger.add(path, format=LINE, level="INFO", backtrace=False, diagnose=False)
        try:
            yield Case(_infos(logger.bind(channel=CHANNEL)), Disk(path))
        finally:
            logger.remove(number)

    @contextmanager
    def _rotated(self, row: str, due: object, soon: object, pause: float) -> Iterator[Case]:
        log, path, proof = (
            logger.bind(channel=CHANNEL),
            self.file_named(row),
            self.file_named(f"{row}-soon"),
        )
        add = partial(
            logger.add,
            format=LINE,
            level="INFO",
            retention=MAX_FILES,
            backtrace=False,
            diagnose=False,
        )

        def rolled() -> int:
            number = add(proof, rotation=soon)
            try:
                return files_of_two_lines(proof, lambda: log.info("order accepted"), pause)
            finally:
                logger.remove(number)

        number = add(path, rotation=due)
        try:
            yield Case(_infos(log), Disk(path), rolled=rolled)
        finally:
            logger.remove(number)

    @contextmanager
    def rotated_by_size(self) -> Iterator[Case]:
        """A line to a file that ends when it is full."""
        with self._rotated("rotated_by_size", MAX_BYTES, ONE_LINE, 0) as case:
            yield case

    @contextmanager
    def rotated_by_time(self) -> Iterator[Case]:
        """A line to a file that ends when the day does."""
        with self._rotated("rotated_by_time", "00:00", timedelta(seconds=1), OVER_A_SECOND) as case:
            yield case

    @contextmanager
    def fields(self) -> Iterator[Case]:
        """Fields bound to the logger."""
        sink = Memory()
        with _added(sink, LINE_WITH_FIELDS):
            yield Case(_infos(logger.bind(channel=CHANNEL, **FIELDS)), sink)

    @contextmanager
    def processors(self) -> Iterator[Case]:
        """Fields by three patches."""
        sink = Memory()
        log = (
            logger.bind(channel=CHANNEL)
            .patch(lambda record: record["extra"].update(request_id=FIELDS["request_id"]))
            .patch(lambda record: record["extra"].update(method=FIELDS["method"]))
            .patch(lambda record: record["extra"].update(path=FIELDS["path"]))
        )
        with _added(sink, LINE_WITH_FIELDS):
            yield Case(_infos(log), sink)

    @contextmanager
    def json(self) -> Iterator[Case]:
        """JSON by the sink: `serialize=True` would write three times as many fields."""
        sink = Memory()

        def write(message: "Message") -> None:
            record = message.record
            line = json.dumps(
                {
                    "time": record["time"].isoformat(),
                    "level_name": record["level"].name,
                    "channel": record["extra"]["channel"],
                    "message": record["message"],
                }
            )
            sink.write(line + "\n")

        with _looking(write):
            yield Case(_infos(logger.bind(channel=CHANNEL)), sink)

    @contextmanager
    def exception(self) -> Iterator[Case]:
        """A line and a traceback."""
        sink = Memory()
        with _added(sink):
            yield Case(_failures(logger.bind(channel=CHANNEL)), sink)

    @contextmanager
    def scope_fields(self, below: int = 0) -> Iterator[Scope]:
        """Fields bound to the context."""
        log, seen = logger.bind(channel=CHANNEL), Seen()

        def look(message: "Message") -> None:
            seen.last = message.record["extra"].get("request_id")

        def binds(count: int) -> None:
            for _ in repeat(None, count):
                with logger.contextualize(request_id="c0ffee", method="POST", path="/orders"):
                    pass

        def firsts(count: int) -> None:
            for _ in repeat(None, count):
                with logger.contextualize(request_id="c0ffee", method="POST", path="/orders"):
                    log.info("order accepted")

        def furthers(count: int) -> None:
            for _ in repeat(None, count):
                with logger.contextualize(request_id="c0ffee", method="POST", path="/orders"):
                    log.info("order accepted")
                    for _ in repeat(None, FURTHER):
                        log.info("order accepted")

        with _looking(look), self.nested(lambda: logger.contextualize(**FIELDS), below):
            yield Scope(
                binds, firsts, furthers, _infos(log), lambda: logger.contextualize(**FIELDS), seen
            )
