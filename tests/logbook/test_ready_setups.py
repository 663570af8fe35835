"""Set-ups that are ready made: what each writes, that they go together, and what they refuse."""

import email
import email.policy
import gc
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
import weakref
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.http import _identity
from sprockets.http._logging import LogSetup
from sprockets.logbook import (
    Fields,
    FileHandler,
    Flags,
    GroupHandler,
    Handler,
    Logger,
    NestedSetup,
    NullHandler,
    StreamHandler,
    TestHandler,
    setups,
)
from sprockets.logbook._setups._binding import ForkSafeLock
from sprockets.logbook._setups._requests import bound_request_id, is_request_id, make_request_id
from sprockets.logbook.compat import redirected_logging

log = Logger("shop")
TIMEOUT = 30.0


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture(name="console")
def _console(stream):
    """A console on the stream, closed after the test."""
    console = setups.console(stream=stream, environ={})
    yield console
    console.close()


@pytest.fixture(name="closing")
def _closing():
    """Take set-ups to close after the test, and give them back."""
    taken = []

    def closing(setup):
        taken.append(setup)
        return setup

    yield closing
    for setup in taken:
        setup.close()


def messages(text):
    return [line.partition("shop: ")[2].partition("  ")[0] for line in text.splitlines()]


# -- the console


def test_three_lines_are_a_console(capfd):
    """Imported, bound, logged: it is on standard error, and nothing else writes it."""
    console = setups.console()

    console.push_application()
    Logger("shop").warning("{} left", 3)
    console.pop_application()
    console.close()

    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} WARNING  shop: 3 left\n", err)


def test_a_console_follows_standard_error(monkeypatch):
    """It writes to what standard error is when there is something to write."""
    later = io.StringIO()
    console = setups.console(environ={})

    with console:
        monkeypatch.setattr(sys, "stderr", later)
        log.info("sold")
    console.close()

    assert messages(later.getvalue()) == ["sold"]


@pytest.mark.parametrize(
    ("stream", "environ", "color", "is_colored"),
    [
        (Terminal, {}, None, True),
        (io.StringIO, {}, None, False),
        (Terminal, {"NO_COLOR": "1"}, None, False),
        (Terminal, {"NO_COLOR": "1"}, True, True),
        (Terminal, {}, False, False),
    ],
)
def test_a_console_is_coloured_if_somebody_can_see_it(stream, environ, color, is_colored):
    """Unless the caller says so, terminal and environment do."""
    stream = stream()
    console = setups.console(stream=stream, color=color, environ=environ)

    with console:
        log.info("sold")
    console.close()

    assert ("\x1b[" in stream.getvalue()) is is_colored


def test_what_is_not_bad_enough_for_the_console_nobody_else_writes(console, stream):
    """Records below its level do not fall through to what is bound underneath."""
    with TestHandler() as below, console:
        log.debug("looking")
        log.info("sold")

    assert messages(stream.getvalue()) == ["sold"]
    assert below.records == []


def test_the_level_of_the_console_is_the_callers(closing):
    """By name or number."""
    stream = io.StringIO()

    with closing(setups.console("DEBUG", stream=stream, environ={})):
        log.debug("looking")

    assert messages(stream.getvalue()) == ["looking"]


# -- JSON


def test_json_lines_have_the_names_of_a_record(closing):
    """One object a line, with context, place and traceback."""
    stream = io.StringIO()

    with closing(setups.json_lines(stream)), Fields(request_id="r1"):
        log.debug("looking")
        log.warning("{} left", "a\nb")
        try:
            raise KeyError("price")
        except KeyError:
            log.exception("no price")

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["message"], first["level_name"], first["channel"]) == (
        "a\nb left",
        "WARNING",
        "shop",
    )
    assert first["extra"] == {"request_id": "r1"}
    assert first["time"].endswith("Z")
    assert second["exception_name"] == "builtins.KeyError"


def test_json_lines_go_to_standard_output_by_default(capsys, closing):
    """As it is when the set-up is made."""
    with closing(setups.json_lines()):
        log.info("sold")

    assert json.loads(capsys.readouterr().out)["message"] == "sold"


def test_json_lines_are_appended_to_a_file(tmp_path, closing):
    """Named by a text or a path."""
    for path in (str(tmp_path / "a.jsonl"), tmp_path / "a.jsonl"):
        with closing(setups.json_lines(path, "DEBUG", fields=("message",))):
            log.debug("looking")

    assert (tmp_path / "a.jsonl").read_text() == '{"message":"looking"}\n' * 2


def test_without_standard_output_json_lines_write_nothing(monkeypatch, closing):
    """As in a windowed application; what is below does not write them either."""
    monkeypatch.setattr(sys, "stdout", None)

    with TestHandler() as below, closing(setups.json_lines()):
        log.info("sold")

    assert below.records == []


# -- bound and unbound


@pytest.mark.parametrize("way", ["context", "application"])
def test_stdlib_logging_and_warnings_are_redirected_while_it_is_bound(console, stream, way):
    """And then are as they were."""
    root = logging.getLogger()
    before = (set(root.handlers), root.level, warnings.showwarning)

    with console if way == "context" else console.applicationbound():
        warnings.simplefilter("always")
        logging.getLogger("old").info("a %s one", "stdlib")
        warnings.warn("a warning", UserWarning, stacklevel=1)

    assert [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()] == [
        "INFO     old: a stdlib one",
        "WARNING  UserWarning: a warning",
    ]
    assert (set(root.handlers), root.level, warnings.showwarning) == before


def test_it_can_be_bound_several_times_and_ends_with_the_last(console, stream):
    """To the application once, to contexts as often as one likes."""
    root = logging.getLogger()
    before = set(root.handlers)

    with console.applicationbound(), console, console:
        with pytest.raises(AssertionError, match="bound to the application already"):
            console.push_application()
    logging.getLogger("old").debug("not redirected")

    assert set(root.handlers) == before
    assert stream.getvalue() == ""


def test_it_is_unbound_from_the_application_whatever_came_after(console):
    """As in services, where an application binds handlers of its own and leaves them."""
    later = TestHandler()
    console.push_application()
    later.push_application()

    console.pop_application()

    assert next(Handler.stack_manager.iter_context_objects()) is later
    later.pop_application()
    with pytest.raises(AssertionError, match="not bound to the application"):
        console.pop_application()


def test_closing_unbinds_and_twice_is_once(stream):
    """What is closed says so when somebody binds it."""
    console = setups.console(stream=stream)
    console.push_application()

    assert console.close()
    assert console.close()

    with pytest.raises(AssertionError, match=r"<ReadySetup of console> is closed; make another"):
        console.push_application()
    with pytest.raises(AssertionError, match="closed"):
        console.push_context()


def test_closing_closes_the_others_though_one_fails(tmp_path, capsys):
    """The failure is reported."""

    class Broken(Handler):
        def close(self):
            raise OSError("stuck")

    file = FileHandler(tmp_path / "a.log", bubble=True)
    setup = setups.all_of(file, Broken(bubble=True))

    assert not setup.close()

    assert file.stream is None
    assert "OSError: stuck" in capsys.readouterr().err


def test_it_is_a_log_config_of_a_service(stream):
    """Bound in the parent, with everything redirected, and gone at the end."""
    service = LogSetup(setups.console(stream=stream, environ={}), environ={})

    service.bind_in_parent()
    service.bind_in_worker()
    log.info("sold")
    logging.getLogger("shop").info("stdlib")
    service.unbind(close=True)

    assert messages(stream.getvalue()) == ["sold", "stdlib"]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@needs_fork
def test_a_forked_child_has_it_as_it_was(tmp_path, closing):
    """Bound, and free to be unbound."""
    path = tmp_path / "a.jsonl"
    setup = closing(setups.json_lines(path, fields=("message",)))
    setup.push_application()

    child = os.fork()
    if child == 0:
        log.info("child")
        setup.pop_application()
        setup.push_application()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    log.info("parent")

    assert status == 0
    assert path.read_text().splitlines() == ['{"message":"child"}', '{"message":"parent"}']


@needs_fork
@pytest.mark.parametrize("who", ["another thread", "the thread that forks"])
def test_a_forked_child_finds_no_lock_held_by_a_thread_that_it_does_not_have(who):
    """Nor one that its own thread held too little."""
    lock = ForkSafeLock()
    entered, go_on = threading.Event(), threading.Event()

    def hold():
        with lock:
            entered.set()
            go_on.wait(TIMEOUT)

    def fork():
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            with lock:
                os._exit(0)
        go_on.set()
        return os.waitpid(child, 0)[1]

    if who == "another thread":
        thread = threading.Thread(target=hold)
        thread.start()
        entered.wait(TIMEOUT)
        status = fork()
        thread.join(TIMEOUT)
    else:
        with lock:
            status = fork()

    assert status == 0


# -- together


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_all_of_gives_each_what_it_is_interested_in(closing, order):
    """In whichever order they are named, and what nobody wants ends there."""
    lines, errors = io.StringIO(), io.StringIO()
    parts = [
        setups.console(stream=lines, environ={}),
        setups.json_lines(errors, "ERROR", fields=("message",)),
    ]

    with TestHandler() as below, closing(setups.all_of(*(parts[place] for place in order))):
        log.debug("looking")
        log.info("sold")
        log.error("no price")

    assert messages(lines.getvalue()) == ["sold", "no price"]
    assert errors.getvalue() == '{"message":"no price"}\n'
    assert below.records == []


def test_all_of_takes_what_else_can_be_bound(closing, stream):
    """Handlers that bubble, fields, flags, and set-ups of several."""
    seen = TestHandler(bubble=True)
    nested = NestedSetup([Fields(service="shop"), seen])

    setup = closing(
        setups.all_of(setups.console(stream=stream, environ={}), nested, Flags(errors="silent"))
    )
    with setup.applicationbound():
        log.info("sold")
        assert Flags.get_flag("errors") == "silent"

    assert stream.getvalue().endswith("shop: sold  service=shop\n")
    assert len(seen.records) == 1
    assert list(setup.handlers) == ["console", "test"]
    assert [type(bound).__name__ for bound in setup.objects] == [
        "NullHandler",
        "StreamHandler",
        "Fields",
        "TestHandler",
        "Flags",
    ]


def test_all_of_binds_by_its_own_way_what_does_more_than_to_be_there(closing):
    """A group is passed on when it is unbound."""
    seen = TestHandler()
    setup = closing(setups.all_of(GroupHandler(seen)))

    with setup.applicationbound():
        log.info("sold")
        assert seen.records == []

    assert len(seen.records) == 1


def test_handlers_of_the_same_kind_have_names_of_their_own(closing):
    """The second has a number."""
    setup = closing(setups.all_of(setups.console(), setups.console(), NullHandler(), NullHandler()))

    assert list(setup.handlers) == ["console", "console-2", "null", "null-2"]
    assert repr(setup) == "<ReadySetup of console, console-2, null, null-2>"


def test_what_cannot_be_bound_is_told(console):
    """With what to do instead."""
    with pytest.raises(TypeError, match=r"takes set-ups, handlers.* got <function .*; call it"):
        setups.all_of(setups.console)
    with pytest.raises(TypeError, match=r"got 'console'$"):
        setups.all_of("console")
    with pytest.raises(ValueError, match="give it set-ups"):
        setups.all_of()
    with console, pytest.raises(ValueError, match="is bound already"):
        setups.all_of(console)
    console.close()
    with pytest.raises(ValueError, match="is closed"):
        setups.all_of(console)


def test_bound_as_a_nested_set_up_they_redirect_once(stream, closing):
    """A record of stdlib logging is not written twice."""
    first = closing(setups.json_lines(io.StringIO()))
    second = closing(setups.console(stream=stream, environ={}))

    with NestedSetup([first, second]).applicationbound():
        logging.getLogger("shop").info("once")

    assert messages(stream.getvalue()) == ["once"]


# -- bad input


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: setups.console("LOUD"), LookupError, "unknown level name"),
        (lambda: setups.console(stream=3), TypeError, r"console\(\) writes to a stream or a file"),
        (lambda: setups.json_lines(3), TypeError, r"json_lines\(\) writes to a stream or a file"),
        (lambda: setups.json_lines(level="LOUD"), LookupError, "unknown level name"),
        (lambda: setups.json_lines(fields=("when",)), ValueError, "unknown field 'when'"),
        (
            lambda: setups.json_lines("/nowhere/a.jsonl"),
            FileNotFoundError,
            "there is no directory '/nowhere' for the log file 'a.jsonl'; make it first",
        ),
        (lambda: setups.mail("me"), ValueError, "expected an address such as me@example.org"),
        (lambda: setups.mail("me@example.org", sender="shop"), ValueError, "got 'shop'"),
        (lambda: setups.mail([]), ValueError, "a mail needs a recipient"),
        (
            lambda: setups.mail("me@example.org", at_most_per_hour=0),
            ValueError,
            "at_most_per_hour must be 1 or more, got 0",
        ),
        (
            lambda: setups.mail("me@example.org", in_all_per_hour=0),
            ValueError,
            "in_all_per_hour must be 1 or more, got 0",
        ),
        (
            lambda: setups.mail("me@example.org", server="mail:x"),
            ValueError,
            "expected a mail server as mail.example.org:587, got 'mail:x'",
        ),
        (lambda: setups.mail("me@example.org", volume=3), TypeError, "volume"),
        (lambda: setups.tickets("tickets.sqlite"), ValueError, "is no URL of a database"),
        (lambda: setups.tickets(None), TypeError, "expected the URI of a store"),
        (lambda: setups.tickets("sqlite://", "LOUD"), LookupError, "unknown level name"),
        (lambda: setups.request("a b"), ValueError, "a request id has 1 to 128"),
        (lambda: setups.request(""), ValueError, "a request id has 1 to 128"),
        (lambda: setups.request(17), TypeError, "a request id is a text, got 17"),
        (lambda: setups.request(request_id="r1"), TypeError, "give the request id first"),
        (lambda: setups.request(failing_level="LOUD"), LookupError, "unknown level name"),
        (lambda: setups.consle, AttributeError, "has no attribute 'consle'"),
    ],
)
def test_bad_input_gets_a_sentence(make, error, text):
    """What is wrong, what was given, and what to do."""
    with pytest.raises(error, match=text):
        make()


# -- mail


@pytest.fixture(name="mailbox")
def _mailbox():
    """A mail server, and the mails that came."""
    pytest.importorskip("aiosmtpd", reason="needs aiosmtpd (requirements/testing.txt)")
    from aiosmtpd.controller import Controller

    class Mailbox:
        def __init__(self):
            self.mails = []
            self.came = threading.Event()

        async def handle_DATA(self, server, session, envelope):
            self.mails.append(
                email.message_from_bytes(envelope.content, policy=email.policy.default)
            )
            self.came.set()
            return "250 OK"

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mailbox = Mailbox()
    server = Controller(mailbox, hostname="127.0.0.1", port=port)
    server.start()
    mailbox.server = f"127.0.0.1:{port}"
    yield mailbox
    server.stop()


def test_mail_tells_of_the_same_thing_once_an_hour(mailbox, console, stream):
    """With how often it was in between; and the console has it all."""
    clock = Clock()
    mail = setups.mail("me@example.org", server=mailbox.server, subject="Shop", clock=clock)

    setup = setups.all_of(mail, console)
    with setup:
        for number in range(4):
            clock.seconds = 0 if number < 3 else 3601
            log.error("no price")
            log.warning("slow")
    assert setup.close()

    first, second = mailbox.mails
    assert (first["To"], first["From"], first["Subject"]) == (
        "me@example.org",
        "me@example.org",
        "Shop",
    )
    assert "no price" in first.get_content()
    assert "occurred additional 2 time(s)" in second.get_content()
    assert messages(stream.getvalue()) == ["no price", "slow"] * 4


def test_mails_of_all_together_are_bounded_as_well(mailbox, closing):
    """What exceeds it is told in a digest, with numbers."""
    setup = closing(
        setups.mail(["me@example.org"], server=mailbox.server, in_all_per_hour=2, clock=Clock())
    )

    with setup:
        log.error("one")
        log.error("two")
        log.error("three")
        log.error("four")
    assert setup.close()

    subjects = [mail["Subject"] for mail in mailbox.mails]
    assert len(subjects) == 3
    assert "2 log records not mailed" in subjects[-1]


@pytest.mark.parametrize(
    ("server", "address"),
    [
        (None, None),
        ("mail.example.org", "mail.example.org"),
        ("mail.example.org:587", ("mail.example.org", 587)),
        ("[::1]:25", ("::1", 25)),
        ("[::1]", "::1"),
        ("::1", "::1"),
        (("mail.example.org", 25), ("mail.example.org", 25)),
    ],
)
def test_a_mail_server_may_have_a_port(closing, server, address):
    """In one text, or as a pair."""
    setup = closing(setups.mail("me@example.org", server=server))

    assert setup.handlers["mail"].server_addr == address


# -- tickets


def test_tickets_count_a_bug_and_keep_what_led_to_it(tmp_path, console, stream):
    """However often it happens it is one ticket; the console has it all."""
    pytest.importorskip("sqlalchemy")
    from sprockets.logbook.ticketing import SQLAlchemyBackend, leading_records

    uri = f"sqlite:///{tmp_path / 'tickets.sqlite'}"
    setup = setups.all_of(console, setups.tickets(uri, app="shop", release="1.2"))

    with setup.applicationbound():
        for number in range(3):
            with Fields(request_id=f"r{number}"):
                log.info("looking")
                try:
                    raise KeyError(f"price {number}")
                except KeyError:
                    log.exception("no price for {}", number)
    assert setup.close()

    backend = SQLAlchemyBackend(uri=uri)
    (ticket,) = backend.get_tickets()
    occurrence = ticket.last_occurrence
    backend.close()
    assert ticket.occurrence_count == 3
    assert ticket.app_id == "shop"
    assert occurrence is not None
    assert [record.message for record in leading_records(occurrence)] == ["looking"]
    said = [line.split(" ")[1] for line in stream.getvalue().splitlines() if line[2:3] == ":"]
    assert said == ["INFO", "ERROR"] * 3


def test_tickets_wait_for_a_store_that_is_not_there_yet(tmp_path, closing):
    """Making the set-up, binding it and logging fail for nobody."""
    pytest.importorskip("sqlalchemy")
    setup = closing(
        setups.tickets(f"sqlite:///{tmp_path / 'later' / 'tickets.sqlite'}", drain_timeout=0)
    )

    with Flags(errors="silent").applicationbound(), setup:
        log.error("no price")
        closed = setup.close()

    assert not closed
    assert not (tmp_path / "later").exists()


def test_tickets_of_mongodb_are_not_taken_for_a_database(closing):
    """Its library is asked for when the store is opened, and not before."""
    setup = closing(setups.tickets("mongodb://127.0.0.1:1/tickets"))

    assert list(setup.handlers) == ["tickets"]


# -- a request


@pytest.fixture(name="written")
def _written():
    """A handler for what is written from INFO up, bound."""
    with TestHandler(level="INFO") as written:
        yield written


def told(handler):
    return [record.message for record in handler.records]


def test_debug_records_of_a_request_that_goes_well_are_not_written(written):
    """Those that are bad enough are, at once."""
    with setups.request("r1", user="ann") as request:
        log.debug("looking")
        log.info("sold")

        assert told(written) == ["sold"]

    assert told(written) == ["sold"]
    assert written.records[0].extra["user"] == "ann"
    assert not request.has_failed


def test_debug_records_are_written_before_the_one_that_says_it_failed(written):
    """And those that follow at once; nothing is written twice."""
    with setups.request("r1") as request:
        log.debug("looking")
        log.info("asking")
        log.error("no price")
        log.debug("after that")

        assert request.has_failed

    log.debug("outside")
    assert told(written) == ["asking", "looking", "no price", "after that"]
    assert {record.extra["request_id"] for record in written.records} == {"r1"}


def test_an_exception_that_leaves_the_block_lets_go_what_was_kept(written):
    """It passes; whoever catches it may log it."""
    with pytest.raises(KeyError), setups.request():
        log.debug("looking")
        raise KeyError("price")

    assert told(written) == ["looking"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_what_ends_a_program_is_no_failure(written, error):
    """Nobody wants a thousand debug records for an interrupt."""
    with pytest.raises(error), setups.request():
        log.debug("looking")
        raise error

    assert told(written) == []


def test_a_request_may_say_that_it_failed(written):
    """Also one that has logged nothing so far, and twice is once."""
    with setups.request() as request:
        request.let_go()
        request.let_go()
        log.debug("looking")

    assert told(written) == ["looking"]


def test_the_level_that_says_failure_is_the_callers(written):
    """Here a warning is enough."""
    with setups.request(failing_level="WARNING"):
        log.debug("looking")
        log.warning("slow")

    assert told(written) == ["looking", "slow"]


def test_what_was_kept_goes_where_lines_go_and_alarms_are_left_alone(stream):
    """Through filters, as far as the record's way goes, and no further."""
    alarm = TestHandler(level="ERROR", bubble=True)
    lines = StreamHandler(stream, level="INFO", format_string="{record.message}", bubble=True)
    picky = TestHandler(level="INFO", filter=lambda record, handler: record.level >= 14)
    main, below = TestHandler(level="NOTICE"), TestHandler(level="INFO")

    with below, main, picky, lines, alarm, setups.request():
        log.debug("looking")
        log.error("no price")

    assert stream.getvalue() == "looking\nno price\n"
    assert told(alarm) == ["no price"]
    assert told(picky) == ["no price"]
    assert told(main) == ["looking"]
    assert told(below) == []


def test_what_was_kept_is_written_by_the_ready_ones(console, stream):
    """By the console, though nothing else lets debug records through."""
    with console.applicationbound(), setups.request():
        log.debug("looking")
        logging.getLogger("shop").error("no price")

    assert messages(stream.getvalue()) == ["looking", "no price"]


def test_requests_at_the_same_time_have_nothing_in_common(written):
    """Each thread has its own context; one fails."""
    go_on = threading.Barrier(2, timeout=TIMEOUT)

    def serve(name, fails):
        with written, setups.request(name):
            log.debug("looking for {}", name)
            go_on.wait()
            if fails:
                log.error("no price for {}", name)
            go_on.wait()

    threads = [
        threading.Thread(target=serve, args=("r1", True)),
        threading.Thread(target=serve, args=("r2", False)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)

    assert told(written) == ["looking for r1", "no price for r1"]


def test_a_request_is_gone_with_its_end(written):
    """Nothing waits for the garbage collector."""
    request = setups.request()
    kept = weakref.ref(request._kept)
    gc.disable()
    try:
        with request:
            log.debug("looking")
        del request

        assert kept() is None
    finally:
        gc.enable()


def test_an_id_that_is_bound_already_is_kept(written):
    """As in a request to a service, whose answer has it."""
    with Fields(request_id="r1"), Fields(user="ann"):
        assert setups.request().request_id == "r1"
        assert setups.request("r2").request_id == "r2"
    with Fields(request_id=None), Fields(request_id=3):
        assert bound_request_id() is None

    assert repr(setups.request("r1")) == "<RequestSetup r1>"
    assert is_request_id(setups.request().request_id)


def test_closing_a_request_forgets_what_it_keeps(written):
    """The handlers below are others'."""
    with setups.request() as request:
        log.debug("looking")
        request.close()
        log.error("no price")

    assert told(written) == ["no price"]


@given(text=st.text(max_size=5) | st.text("aZ09._~:/+=@- é\n", min_size=126, max_size=130))
def test_ids_are_those_that_services_take(text):
    """Both doors into a system have the same opinion of an id from outside."""
    assert is_request_id(text) == _identity.is_request_id(text)


def test_new_ids_are_new():
    """And well-formed, for services, too."""
    ids = {make_request_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(_identity.is_request_id(one) and _identity.is_trace_id(one) for one in ids)


# -- the door


def test_the_names_of_the_module_are_there():
    """All of them, those that are imported late included."""
    assert sorted(setups.__all__) == sorted(
        [
            *("CHANNEL", "Probe", "Problem", "ReadySetup", "RequestSetup", "Setup", "SetupError"),
            *("Source", "all_of", "check", "console", "from_reference", "json_lines", "load"),
            *("mail", "parse_reference", "probe", "request", "tickets"),
        ]
    )
    for name in setups.__all__:
        assert getattr(setups, name) is not None


def test_redirections_of_others_are_left_alone(console, stream):
    """One that began earlier goes on afterwards."""
    with TestHandler() as below, redirected_logging():
        with console:
            logging.getLogger("shop").info("inside")
        logging.getLogger("shop").info("outside")

    assert messages(stream.getvalue()) == ["inside"]
    assert told(below) == ["outside"]


SERVICE = """
import sprockets.http
from sprockets.http.app import Application
from sprockets.logbook import Logger, setups
from tornado import web

class Sale(web.RequestHandler):
    def get(self):
        Logger("shop").info("looking")
        Logger("shop").error("no price")

setup = setups.all_of(
    setups.json_lines({lines!r}, fields=("message", "extra", "process")),
    setups.tickets({uri!r}),
)
sprockets.http.run(
    lambda **settings: Application([("/", Sale)], **settings),
    {{"port": {port}, "number_of_procs": 2, "address": "127.0.0.1"}},
    log_config=setup,
)
"""


def test_a_service_with_workers_is_run_with_them(tmp_path):
    """What is made before the fork works in each worker, and delivers all before its end."""
    pytest.importorskip("sqlalchemy")
    from sprockets.logbook.ticketing import SQLAlchemyBackend, leading_records

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines, uri = str(tmp_path / "shop.jsonl"), f"sqlite:///{tmp_path / 'tickets.sqlite'}"
    program = SERVICE.format(lines=lines, uri=uri, port=port)
    service = subprocess.Popen([sys.executable, "-P", "-W", "error", "-c", program])
    try:
        deadline = time.monotonic() + 60
        answers = 0
        while answers < 20:
            assert service.poll() is None
            assert time.monotonic() < deadline, "no answers"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                    answers += answer.status == 200
            except urllib.error.URLError:
                threading.Event().wait(0.05)
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
    finally:
        service.kill()
        service.wait(60)

    records = [json.loads(line) for line in Path(lines).read_text().splitlines()]
    failed = [record for record in records if record["message"] == "no price"]
    store = SQLAlchemyBackend(uri=uri)
    (ticket,) = store.get_tickets()
    occurrence = ticket.last_occurrence
    store.close()
    assert len(failed) == ticket.occurrence_count == 20
    assert len({record["extra"]["request_id"] for record in failed}) == 20
    assert [record.message for record in leading_records(occurrence)] == ["looking"]
