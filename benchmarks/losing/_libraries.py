"""How each library is told to do the same, in the way that its documentation shows.

Each function returns what logs a text.  What a library has no means for is not in the table.
"""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

Log = Callable[[str], object]
Sink = Callable[[str], object]


# -- a line for each record, in a file


def ours_file(path: Path) -> Log:
    from sprockets.logbook import FileHandler, Logger

    FileHandler(path, format_string="{record.message}").push_application()
    return Logger("shop").info


def stdlib_file(path: Path) -> Log:
    return _stdlib(logging.FileHandler(path)).info


def _stdlib(handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger("shop")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    return logger


def logbook_file(path: Path) -> Log:
    import logbook

    logbook.FileHandler(path, format_string="{record.message}").push_application()
    return logbook.Logger("shop").info


def loguru_file(path: Path) -> Log:
    from loguru import logger

    logger.remove()
    logger.add(path, format="{message}")
    return logger.info


def structlog_file(path: Path) -> Log:
    import structlog

    structlog.configure(
        [structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(path.open("a")),
    )
    return structlog.get_logger().info


def eliot_file(path: Path) -> Log:
    import eliot

    eliot.to_file(path.open("ab"))
    return lambda text: eliot.log_message(message_type="shop", text=text)


FILES: dict[str, Callable[[Path], Log]] = {
    "ours": ours_file,
    "stdlib": stdlib_file,
    "Logbook": logbook_file,
    "loguru": loguru_file,
    "structlog": structlog_file,
    "Eliot": eliot_file,
}


# -- a file that is rolled over at ten kilobytes, with room for all

SIZE, BACKUPS = 10_000, 1_000


def ours_rotated(path: Path) -> Log:
    from sprockets.logbook import Logger, RotatingFileHandler

    handler = RotatingFileHandler(
        path, format_string="{record.message}", max_size=SIZE, backup_count=BACKUPS
    )
    handler.push_application()
    return Logger("shop").info


def stdlib_rotated(path: Path) -> Log:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=SIZE, backupCount=BACKUPS)
    return _stdlib(handler).info


def logbook_rotated(path: Path) -> Log:
    import logbook

    handler = logbook.RotatingFileHandler(
        path, format_string="{record.message}", max_size=SIZE, backup_count=BACKUPS
    )
    handler.push_application()
    return logbook.Logger("shop").info


def loguru_rotated(path: Path) -> Log:
    from loguru import logger

    logger.remove()
    logger.add(path, format="{message}", rotation=SIZE, retention=BACKUPS)
    return logger.info


ROTATED: dict[str, Callable[[Path], Log]] = {
    "ours": ours_rotated,
    "stdlib": stdlib_rotated,
    "Logbook": logbook_rotated,
    "loguru": loguru_rotated,
}


# -- a slow destination behind a thread


def ours_threaded(sink: Sink) -> Log:
    from sprockets.logbook import Handler, Logger
    from sprockets.logbook.queues import ThreadedWrapperHandler

    class Slow(Handler):
        def emit(self, record: Any) -> None:
            sink(record.message)

    ThreadedWrapperHandler(Slow()).push_application()
    return Logger("shop").info


def stdlib_threaded(sink: Sink) -> Log:
    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                sink(record.getMessage())
            except Exception:  # noqa: BLE001  # as its documentation asks of handlers
                self.handleError(record)

    waiting: queue.Queue[Any] = queue.Queue()
    logging.handlers.QueueListener(waiting, Slow()).start()
    return _stdlib(logging.handlers.QueueHandler(waiting)).info


def logbook_threaded(sink: Sink) -> Log:
    import logbook
    from logbook.queues import ThreadedWrapperHandler

    class Slow(logbook.Handler):
        def emit(self, record: Any) -> None:
            sink(record.message)

    ThreadedWrapperHandler(Slow()).push_application()
    return logbook.Logger("shop").info


def loguru_threaded(sink: Sink) -> Log:
    from loguru import logger

    logger.remove()
    logger.add(lambda message: sink(message.rstrip("\n")), format="{message}", enqueue=True)
    return logger.info


THREADED: dict[str, Callable[[Sink], Log]] = {
    "ours": ours_threaded,
    "stdlib": stdlib_threaded,
    "Logbook": logbook_threaded,
    "loguru": loguru_threaded,
}


# -- mail


def ours_mail(port: int) -> Log:
    from sprockets.logbook import Logger, MailHandler

    MailHandler(
        "a@example.com", ["b@example.com"], server_addr=("127.0.0.1", port)
    ).push_application()
    return Logger("shop").error


def stdlib_mail(port: int) -> Log:
    there = ("127.0.0.1", port)
    handler = logging.handlers.SMTPHandler(there, "a@example.com", ["b@example.com"], "shop")
    return _stdlib(handler).error


def logbook_mail(port: int) -> Log:
    import logbook

    handler = logbook.MailHandler(
        "a@example.com", ["b@example.com"], server_addr=("127.0.0.1", port)
    )
    handler.push_application()
    return logbook.Logger("shop").error


MAIL: dict[str, Callable[[int], Log]] = {
    "ours": ours_mail,
    "stdlib": stdlib_mail,
    "Logbook": logbook_mail,
}


# -- a queue between processes: the queue, what logs to it, and what has arrived

Between = tuple[Any, Callable[[Any], Log], Callable[[Any, float], bool]]


def ours_between() -> Between:
    from sprockets.logbook import Logger
    from sprockets.logbook.queues import (
        MalformedRecordError,
        MultiProcessingHandler,
        MultiProcessingSubscriber,
    )

    def send(of: Any) -> Log:
        MultiProcessingHandler(of.queue).push_application()
        return Logger("shop").info

    def receive(of: Any, seconds: float) -> bool:
        try:
            return of.recv(timeout=seconds) is not None
        except MalformedRecordError:  # what the killed one was just writing
            return True

    return MultiProcessingSubscriber(), send, receive


def stdlib_between() -> Between:
    def send(of: Any) -> Log:
        return _stdlib(logging.handlers.QueueHandler(of)).info

    return multiprocessing.Queue(-1), send, _arrived


def _arrived(of: Any, seconds: float) -> bool:
    try:
        of.get(timeout=seconds)
    except queue.Empty:
        return False
    return True


def logbook_between() -> Between:
    import logbook
    from logbook.queues import MultiProcessingHandler

    def send(of: Any) -> Log:
        MultiProcessingHandler(of).push_application()
        return logbook.Logger("shop").info

    return multiprocessing.Queue(-1), send, _arrived


BETWEEN: dict[str, Callable[[], Between]] = {
    "ours": ours_between,
    "stdlib": stdlib_between,
    "Logbook": logbook_between,
}

DISTRIBUTIONS = {
    "ours": "sprockets.http",
    "stdlib": None,
    "Logbook": "logbook",
    "loguru": "loguru",
    "structlog": "structlog",
    "Eliot": "eliot",
}
