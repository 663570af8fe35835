"""The base of notifiers: titles, texts, limits, and what subclasses may rely on."""

import gc
import importlib
import os
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest

from sprockets.logbook import Logger, LogRecord
from sprockets.logbook import notifiers as door
from sprockets.logbook.handlers import RemoteHandler
from sprockets.logbook.helpers import get_application_name
from sprockets.logbook.notifiers import Notice, NotificationBaseHandler
from tests.logbook.notifiers.conftest import wait_until

log = Logger("chan")


class Keeper(NotificationBaseHandler):
    """Keeps what it is to send."""

    def __init__(self, *args, **options):
        self.sent = []
        super().__init__(*args, **options)

    def send_notice(self, notice):
        self.sent.append(notice)


def keep(handler, *levels_and_texts):
    """Return what *handler* sends of some records."""
    with handler:
        for level, text in levels_and_texts:
            log.log(level, text)
    assert handler.close()
    return handler.sent


def test_the_door_has_all_names_and_no_others():
    """What is listed can be had, and nothing else."""
    assert door.__all__ == [
        "AppriseHandler",
        "BoxcarHandler",
        "GrowlHandler",
        "LibNotifyHandler",
        "MacOSNotificationHandler",
        "Notice",
        "NotificationBaseHandler",
        "NotifoHandler",
        "PushoverHandler",
        "create_notification_handler",
    ]
    for name in door.__all__:
        assert getattr(door, name).__module__.startswith("sprockets.logbook.notifiers.")
    assert set(door.__all__) <= set(dir(door))
    with pytest.raises(AttributeError, match="no attribute 'TwitterHandler'"):
        _ = door.TwitterHandler


def test_importing_takes_no_library_and_no_network():
    """All modules are imported where no optional library can be, and no socket be made."""
    program = """
        import importlib, pkgutil, socket, sys
        for name in ("jeepney", "apprise", "desktop_notifier", "gi", "Growl", "notifo", "requests"):
            sys.modules[name] = None
        def refuse(*args, **kwargs):
            raise AssertionError("a socket")
        socket.socket.connect = refuse
        import sprockets.logbook.notifiers as door
        for module in pkgutil.iter_modules(door.__path__):
            importlib.import_module(f"{door.__name__}.{module.name}")
        print(len(door.__all__))
    """
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.stderr == ""
    assert int(result.stdout) == len(door.__all__)


@pytest.mark.rule("NO-1")
def test_without_a_name_it_is_the_programs():
    """The application is called as its program is, unless it is named."""
    unnamed, named = Keeper(), Keeper("shop")

    assert unnamed.application_name == get_application_name()
    assert named.application_name == "shop"
    unnamed.close()
    named.close()


@pytest.mark.rule("NO-2")
def test_the_title_is_channel_and_level_and_the_text_the_message():
    """Nothing else is told."""
    (notice,) = keep(Keeper(), ("WARNING", "disk 3 full"))

    assert notice == Notice("chan: Warning", "disk 3 full", 13)
    assert notice.level_title == "Warning"


def test_a_formatter_writes_the_text():
    """Who sets one gets what it says."""
    handler = Keeper()
    handler.formatter = lambda record, handler: f"<{record.message}>"

    (notice,) = keep(handler, ("INFO", "x"))

    assert notice.text == "<x>"


def test_a_message_that_cannot_be_formatted_is_told_raw():
    """A mistake in a call is no reason for silence."""
    handler = Keeper()

    with handler:
        log.error("{} and {}", 1)
    handler.close()

    assert "{} and {} [could not be formatted" in handler.sent[0].text


def test_control_characters_are_escaped_and_long_texts_are_cut():
    """No record moves a cursor, turns the writing round, or fills the screen."""
    handler = Keeper()

    (first, second) = keep(handler, ("INFO", "a\x1b[2J\u202eb\n\tc\0\ud800"), ("INFO", "x" * 5000))

    assert first.text == "a\\x1b[2J\\u202eb\n\tc\\x00\\ud800"
    assert len(second.text) == handler.max_text
    assert second.text.endswith("xx…")


def test_what_waits_is_bytes_that_say_all():
    """So it may wait in a file, for another process."""
    handler = Keeper()

    item = handler.encode(LogRecord("chan", 13, "{}: {}", ("a\ud800", 1)))
    handler.close()

    assert isinstance(item, bytes)
    assert Notice.from_bytes(item) == Notice("chan: Warning", "a\\ud800: 1", 13)


def test_a_record_without_a_channel_has_its_level_as_title():
    """Nobody is called None."""
    handler = Keeper()

    handler.emit(LogRecord(None, 14, "x"))
    handler.close()

    assert handler.sent[0].title == "Error"


def test_a_level_of_ones_own_is_told_as_its_number():
    """An unknown level is no mistake."""
    handler = Keeper()

    handler.emit(LogRecord("chan", 99, "x"))
    handler.close()

    assert handler.sent[0].title == "chan: 99"


@pytest.mark.rule("NO-3")
def test_what_exceeds_the_limit_is_withheld_counted_and_told(clock):
    """One notice of a call per window; the next one says how many there would have been."""
    handler = Keeper(record_limit=1, record_delta=3600, clock=clock)

    with handler:
        for number in range(7):
            if number == 5:
                clock.seconds += 3601
            log.error("jammed {}", number)
        log.error("elsewhere")
    assert handler.close()

    assert [notice.text for notice in handler.sent] == [
        "jammed 0",
        "jammed 5\n(and 4 more like it)",
        "elsewhere",
    ]
    assert handler.statistics()["withheld"] == 5


@pytest.mark.rule("NO-3")
def test_the_number_of_those_left_out_is_not_cut_off(clock):
    """However long the text is."""
    handler = Keeper(record_limit=1, clock=clock)

    with handler:
        for number in range(3):
            if number == 2:
                clock.seconds += 61
            log.error("x" * 5000)
    handler.close()

    assert handler.sent[1].text.endswith("x…\n(and 1 more like it)")
    assert len(handler.sent[1].text) == handler.max_text


@pytest.mark.rule("NO-3")
def test_a_subclass_may_do_all_by_itself(clock):
    """The older contract: emit asks the limit, and makes title and text."""
    told = []

    class Own(NotificationBaseHandler):
        def emit(self, record):
            if self.check_delivery(record)[1]:
                told.append((self.make_title(record), self.make_text(record)))

    handler = Own("shop", 1, 60, "ERROR", None, False, clock=clock)

    with handler:
        for number in range(3):
            log.error("jammed {}", number)
    handler.close()

    assert told == [("chan: Error", "jammed 0")]


def test_a_subclass_that_says_nothing_is_told_so(capsys):
    """What it lacks is named."""

    class Mute(NotificationBaseHandler):
        pass

    handler = Mute(immediate=True)
    with handler:
        log.error("x")
    handler.close()

    assert "Mute does not say how it sends a notice" in capsys.readouterr().err


def test_a_notifier_is_a_remote_handler():
    """So it has an engine, with all that it counts and promises."""
    assert issubclass(NotificationBaseHandler, RemoteHandler)


def test_what_is_logged_while_sending_is_no_notice():
    """Two notifiers that log when they send do not keep each other busy for ever."""

    class Chatty(Keeper):
        def send_notice(self, notice):
            super().send_notice(notice)
            log.error("sent one")

    first, second = Chatty(bubble=True), Chatty()

    with second.applicationbound(), first.applicationbound():
        log.error("jammed")
        assert first.close()
        assert second.close()

    assert [len(handler.sent) for handler in (first, second)] == [1, 1]
    for handler in (first, second):
        statistics = handler.statistics()
        assert statistics["dropped"] == {"recursion": 2}
        assert statistics["accepted"] == 3


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_counts_and_sends_for_itself():
    """It inherits no notice; what it logs is its own to send."""
    handler = Keeper(record_limit=5)
    reader, writer = os.pipe()
    with handler:
        log.error("parent")
        assert handler.flush()
        pid = os.fork()
        if not pid:
            try:
                handler.sent.clear()
                log.error("child")
                handler.close()
                os.write(writer, repr([notice.text for notice in handler.sent]).encode())
            finally:
                os._exit(0)
    os.close(writer)
    with open(reader) as answers:
        told = answers.read()
    os.waitpid(pid, 0)
    handler.close()

    assert told == "['child']"
    assert [notice.text for notice in handler.sent] == ["parent"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_inherits_no_held_lock():
    """Another thread was counting when the parent forked."""
    handler = Keeper(record_limit=5)
    is_held, may_go = threading.Event(), threading.Event()

    def count():
        with handler._limit_lock:
            is_held.set()
            may_go.wait(10)

    thread = threading.Thread(target=count)
    thread.start()
    is_held.wait(10)
    pid = os.fork()
    if not pid:
        try:
            handler.emit(LogRecord("chan", 14, "child"))
            os._exit(0 if handler.close() else 1)
        finally:
            os._exit(2)
    may_go.set()
    thread.join()

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    handler.emit(LogRecord("chan", 14, "parent"))
    assert handler.close()
    assert len(handler.sent) == 1


def test_closing_twice_is_closing_once_and_later_records_are_counted():
    """A second close() finds nothing left to do."""
    handler = Keeper()
    keep(handler, ("INFO", "x"))

    assert handler.close()
    handler.emit(LogRecord("chan", 14, "late"))

    assert handler.statistics()["dropped"] == {"closed": 1}
    assert len(handler.sent) == 1


def test_a_program_that_ends_sends_what_it_has_logged():
    """Nobody has to close a notifier."""
    program = """
        from sprockets.logbook import Logger
        from sprockets.logbook.notifiers import NotificationBaseHandler
        class Printer(NotificationBaseHandler):
            def send_notice(self, notice):
                print(notice.title, notice.text)
        Printer().push_application()
        Logger("chan").error("last words")
    """
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (result.stdout, result.stderr) == ("chan: Error last words\n", "")


def test_a_handler_that_nobody_holds_sends_what_it_has():
    """It is closed by its own thread, and then gone."""
    told = []

    class Teller(NotificationBaseHandler):
        def send_notice(self, notice):
            told.append(notice.text)

    handler = Teller()
    for _ in range(20):
        handler.emit(LogRecord("chan", 14, "x"))
    is_gone = weakref.ref(handler)
    del handler

    wait_until(lambda: gc.collect() >= 0 and is_gone() is None, "the end of the handler")
    assert told == ["x"] * 20


@pytest.mark.parametrize("name", sorted(door.__all__))
def test_a_name_has_a_docstring(name):
    """Whoever asks for help gets it."""
    assert getattr(importlib.import_module(door.__name__), name).__doc__
