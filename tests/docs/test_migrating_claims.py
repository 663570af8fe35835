"""What the guides say of other libraries' behaviour is what those that are installed do."""

import asyncio
import contextlib
import contextvars
import importlib
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType

import pytest

SECRET = "hunter2"  # what a hostile template looks for


def _differs(theirs: object, ours: object, peer: str) -> pytest.MarkDecorator:
    """Run a test with the peer and with ours; *library* is which, *expected* what it does."""
    names = [(peer, theirs), (f"sprockets.{peer}", ours)]
    return pytest.mark.parametrize(("library", "expected"), names, indirect=["library"])


def logbook_differs(theirs: object, ours: object) -> pytest.MarkDecorator:
    return _differs(theirs, ours, "logbook")


def eliot_differs(theirs: object, ours: object) -> pytest.MarkDecorator:
    return _differs(theirs, ours, "eliot")


@pytest.fixture(name="library")
def _library(request: pytest.FixtureRequest) -> ModuleType:
    return pytest.importorskip(request.param)


@contextlib.contextmanager
def _written(library: ModuleType, **options: object) -> Iterator[io.StringIO]:
    """Bind a handler that writes messages to what is yielded."""
    stream = io.StringIO()
    handler = library.StreamHandler(stream, **{"format_string": "{record.message}", **options})
    with handler.applicationbound():
        yield stream


def _outcome(call: Callable[[], object]) -> str:
    """Return the name of what *call* raises, or that it is fine."""
    try:
        call()
    except BaseException as error:  # whatever it is, is the answer
        return type(error).__name__
    return "fine"


def _fail(*_: object) -> None:
    raise RuntimeError("no database")


def _run(library: ModuleType, code: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", *options, "-c", f"import {library.__name__} as lb\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


# -- Logbook


@logbook_differs(theirs=0, ours=1)
def test_what_a_program_without_a_set_up_writes(library: ModuleType, expected: int):
    """A line on standard error, or nothing."""
    written = _run(library, "lb.Logger('shop').warning('only {} left', 2)")

    assert written.count("only 2 left\n") == expected


@logbook_differs(theirs="RuntimeError", ours="fine")
def test_a_processor_that_raises(library: ModuleType, expected: str):
    """It breaks the log call, or is reported."""
    with _written(library), library.Processor(_fail):
        assert _outcome(lambda: library.Logger("shop").info("sold")) == expected


@logbook_differs(theirs="RuntimeError", ours="fine")
def test_a_filter_that_raises(library: ModuleType, expected: str):
    """It breaks the log call, or is reported."""
    with _written(library, filter=_fail):
        assert _outcome(lambda: library.Logger("shop").info("sold")) == expected


@logbook_differs(theirs=False, ours=True)
def test_a_message_that_does_not_fit(library: ModuleType, expected: bool):
    """It is lost, or written raw."""
    with _written(library) as stream, contextlib.redirect_stderr(io.StringIO()):
        library.Logger("shop").info("{} and {}", "tea")

    assert stream.getvalue().startswith("{} and {} [could not be formatted") == expected


class _Thing:
    def __init__(self) -> None:
        pass


@logbook_differs(theirs=True, ours=False)
def test_a_template_that_reaches_for_globals(library: ModuleType, expected: bool):
    """It gets them, or not."""
    with _written(library) as stream:
        library.Logger("shop").info("{0.__init__.__globals__[SECRET]}", _Thing())

    assert (SECRET in stream.getvalue()) == expected


@logbook_differs(theirs="a\nb\x1b[0m\n", ours="a\\nb\\x1b[0m\n")
def test_a_line_break_in_a_value(library: ModuleType, expected: str):
    """It makes a line of its own, or is escaped."""
    with _written(library) as stream:
        library.Logger("shop").info("{}", "a\nb\x1b[0m")

    assert stream.getvalue() == expected


@logbook_differs(theirs=["missing"], ours=[])
def test_reading_a_missing_extra(library: ModuleType, expected: list[str]):
    """It inserts the name, or not."""
    with library.TestHandler().applicationbound() as handler:
        library.Logger("shop").info("sold")

    assert handler.records[0].extra["missing"] == ""
    assert list(handler.records[0].extra) == expected


def _interrupted(library: ModuleType) -> None:
    with library.NullHandler().applicationbound(), library.Logger("shop").catch_exceptions():
        raise KeyboardInterrupt


@logbook_differs(theirs="fine", ours="KeyboardInterrupt")
def test_an_interrupt_in_catch_exceptions(library: ModuleType, expected: str):
    """It is swallowed, or passes."""
    assert _outcome(lambda: _interrupted(library)) == expected


@logbook_differs(theirs="TypeError", ours="fine")
def test_a_logger_with_a_level_by_name(library: ModuleType, expected: str):
    """It fails when it is used, or works."""
    with library.NullHandler().applicationbound():
        assert _outcome(lambda: library.Logger("x", level="INFO").debug("a")) == expected


@logbook_differs(theirs="", ours="AssertionError\n")
def test_a_misuse_with_optimization(library: ModuleType, expected: str):
    """It goes unnoticed, or not."""
    code = (
        "below, top = lb.NullHandler(), lb.NullHandler()\n"
        "below.push_application(), top.push_application()\n"
        "try: below.pop_application()\n"
        "except AssertionError: print('AssertionError')\n"
    )

    assert _run(library, code, "-O") == expected


@logbook_differs(theirs=1, ours=5)
def test_errors_of_a_fingers_crossed_handler_with_reset(library: ModuleType, expected: int):
    """Once its buffer was full, they are lost; or not."""
    kept = library.TestHandler()
    log = library.Logger("shop")
    with library.FingersCrossedHandler(kept, buffer_size=10, reset=True).applicationbound():
        for _ in range(5):
            for _ in range(20):
                log.info("asking")
            log.error("failed")

    assert sum(record.message == "failed" for record in kept.records) == expected
    kept.close()


@logbook_differs(theirs="2026-01-01T00:00:00.4Z", ours="2026-01-01T00:00:00.000004Z")
def test_four_microseconds(library: ModuleType, expected: str):
    """They become four tenths of a second, or stay."""
    helpers = importlib.import_module(f"{library.__name__}.helpers")

    assert helpers.format_iso8601(datetime(2026, 1, 1, microsecond=4)) == expected


@logbook_differs(theirs=["b"], ours=["a", "b"])
def test_a_file_that_is_opened_to_be_written_anew(
    library: ModuleType, expected: list[str], tmp_path: Path
):
    """It is truncated whenever it is opened, or once."""
    handler = library.FileHandler(tmp_path / "log", mode="w", format_string="{record.message}")
    with handler.applicationbound():
        library.Logger("shop").info("a")
        handler.close()
        library.Logger("shop").info("b")
    handler.close()

    assert (tmp_path / "log").read_text().split() == expected


@logbook_differs(theirs=False, ours=True)
def test_a_foreign_file_beside_a_rotated_one(library: ModuleType, expected: bool, tmp_path: Path):
    """It is deleted with the old ones, or left alone."""
    foreign = tmp_path / "app-important.log"
    foreign.touch()
    handler = library.TimedRotatingFileHandler(tmp_path / "app.log", backup_count=1)
    for day in (1, 2, 3):
        record = library.LogRecord("shop", library.INFO, "a day")
        record.heavy_init()
        record.time = datetime(2026, 1, day)  # as both libraries have them
        handler.emit(record)
    handler.close()

    assert foreign.exists() == expected


def _header_of_mail(library: ModuleType, name: str) -> str | None:
    """Return a header of the mail about a message with a line break, where that is the subject."""
    handler = library.MailHandler(
        "a@example.com",
        ["b@example.com"],
        server_addr=("127.0.0.1", 9),
        format_string="Subject: {record.message}\n\nbody",
    )
    record = library.LogRecord("shop", library.ERROR, "sold\nReply-To: evil@example.com")
    record.heavy_init()
    mail = handler.generate_mail(record)
    handler.close()
    value = mail[name]
    return None if value is None else str(value)


@logbook_differs(theirs="evil@example.com", ours=None)
def test_a_line_break_in_the_subject_of_a_mail(library: ModuleType, expected: str | None):
    """It adds a header, or none."""
    assert _header_of_mail(library, "Reply-To") == expected


def _verbs(library: ModuleType) -> None:
    handler = library.NullHandler()
    with handler.applicationbound():
        with handler.threadbound():
            pass
        library.Logger("shop").warn("a")


@logbook_differs(theirs="DeprecationWarning", ours="fine")
def test_old_verbs(library: ModuleType, expected: str):
    """They warn, or not."""
    assert _outcome(lambda: _verbs(library)) == expected


# -- Eliot


@contextlib.contextmanager
def _messages(library: ModuleType) -> Iterator[list[dict[str, object]]]:
    """Yield a list of what is logged."""
    library.add_destinations(len)  # what was kept is not for us
    library.remove_destination(len)
    messages: list[dict[str, object]] = []
    library.add_destinations(messages.append)
    try:
        yield messages
    finally:
        library.remove_destination(messages.append)


@eliot_differs(theirs=False, ours=True)
def test_levels_in_threads(library: ModuleType, expected: bool):
    """They are given out twice, or once."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with _messages(library) as messages, library.start_action(action_type="a") as action:
        threads = [
            threading.Thread(target=lambda: [action.log(message_type="b") for _ in range(3_000)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sys.setswitchinterval(interval)

    places = {tuple(message["task_level"]) for message in messages}
    assert (len(places) == len(messages)) == expected


@eliot_differs(theirs=["started", "succeeded", "b"], ours=["started", "b", "succeeded"])
def test_a_coroutine_function_as_a_call(library: ModuleType, expected: list[str]):
    """The action ends before it begins, or with it."""

    @library.log_call
    async def call() -> None:
        library.log_message(message_type="b")

    with _messages(library) as messages:
        asyncio.run(call())

    assert [m.get("action_status", m.get("message_type")) for m in messages] == expected


def _twice(library: ModuleType) -> None:
    with library.start_action(action_type="a") as action, action:
        pass


@eliot_differs(theirs="TypeError", ours="fine")
def test_an_action_inside_of_itself(library: ModuleType, expected: str):
    """It fails, or works."""
    context = contextvars.copy_context()  # theirs stays the current one
    with _messages(library):
        assert context.run(_outcome, lambda: _twice(library)) == expected


def _lost(library: ModuleType) -> None:
    class OwnError(Exception):
        pass

    library.register_exception_extractor(OwnError, lambda _: None)
    with library.start_action(action_type="a"):
        raise OwnError


@eliot_differs(theirs="TypeError", ours="OwnError")
def test_an_extractor_that_returns_nothing(library: ModuleType, expected: str):
    """Its error replaces yours, or not."""
    with _messages(library):
        assert _outcome(lambda: _lost(library)) == expected


@eliot_differs(theirs=["eliot:destination_failure"] * 3, ours=["a", "b", "c"])
def test_values_that_json_libraries_dislike(library: ModuleType, expected: list[str]):
    """The message is lost, or written."""
    file = io.BytesIO()
    destination = library.FileDestination(file=file)
    with _messages(library):
        library.add_destinations(destination)
        library.log_message(message_type="a", value=2**70)
        library.log_message(message_type="b", value="\ud800")
        library.log_message(message_type="c", value={1: 2})
        library.remove_destination(destination)

    kinds = [json.loads(line)["message_type"] for line in file.getvalue().splitlines()]
    assert kinds == expected


@eliot_differs(theirs="TypeError", ours="fine")
def test_a_bad_format_in_stdlib_logging(
    library: ModuleType, expected: str, monkeypatch: pytest.MonkeyPatch
):
    """It raises in the application, or is the handler's error."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger = logging.Logger("shop")
    logger.addHandler(importlib.import_module(f"{library.__name__}.stdlib").EliotHandler())

    with _messages(library):
        assert _outcome(lambda: logger.warning("%d left", "two")) == expected


@eliot_differs(theirs="True\n", ours="False\n")
def test_what_to_file_returns(library: ModuleType, expected: str):
    """Nothing, or the destination, which can be removed then."""
    assert _run(library, "import io; print(lb.to_file(io.BytesIO()) is None)") == expected
