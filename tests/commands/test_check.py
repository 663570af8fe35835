"""``sprockets check``: what it says of set-ups that are right, wrong, or lead nowhere."""

import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sprockets.commands import check
from sprockets.commands._check_report import Row, write_table
from sprockets.logbook import (
    Fields,
    FingersCrossedHandler,
    Handler,
    NestedSetup,
    NullHandler,
    TestHandler,
    setups,
)
from sprockets.logbook.compat import LoggingHandler
from sprockets.logbook.handlers import RemoteHandler
from sprockets.logbook.more import DedupHandler
from sprockets.logbook.setups import Probe

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    # Last: what is tested is what is installed.
    sys.path.append(ROOT)

from tests.services import redis_url  # noqa: E402 - found through the line above

TIMEOUT = "30"
SOON = "0.3"


@pytest.fixture(name="write", autouse=True)
def _write(tmp_path, monkeypatch):
    """Be in a folder of one's own, and return what writes a file of set-ups there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text, name="logging.toml"):
        (tmp_path / name).write_text(textwrap.dedent(text), "utf-8")

    return write


@pytest.fixture(name="ask")
def _ask(capsys):
    """Return what calls the command, and gives its status, its rows by name, and its errors."""

    def ask(*arguments, timeout=TIMEOUT):
        status = check.main([*arguments, "--timeout", timeout, "--json"])
        out, err = capsys.readouterr()
        found = json.loads(out) if out else {"handlers": []}
        assert found.get("ok", False) is (status == 0)
        return status, {row["name"]: row for row in found["handlers"]}, err

    return ask


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(type=kind) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def hanging():
    """A peer that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server.getsockname()[1]


class Receiver(BaseHTTPRequestHandler):
    """Answers every POST with what its server says."""

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        self.server.bodies.append(self.rfile.read(length))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format, *args):
        """Say nothing."""


@contextmanager
def receiving(status=200):
    """A server for POST."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.status, server.bodies = status, []
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def verdicts(rows):
    return {name: row["arrived"] for name, row in rows.items()}


# -- what arrives


def test_a_file_has_the_record(write, ask, tmp_path):
    """It is a real one, past level and filter, and what wraps the file is passed over."""
    write(
        """
        [setups.default]
        handlers = ["crossed"]
        [handlers.crossed]
        class = "fingers_crossed"
        wraps = "errors"
        [handlers.errors]
        class = "file"
        filename = "errors.log"
        level = "error"
        format = "{record.level_name} {record.channel}"
        """
    )

    status, rows, _ = ask("logging.toml")

    assert status == 0
    assert (rows["crossed"]["class"], rows["crossed"]["arrived"]) == ("FileHandler", "yes")
    assert rows["crossed"]["detail"] == f"written to {tmp_path / 'errors.log'}"
    assert (tmp_path / "errors.log").read_text() == "ERROR sprockets.probe\n"


def test_mail_arrives_where_there_is_a_server(write, ask):
    """And it does not where there is none, or one that says nothing: within the time it has."""
    pytest.importorskip("aiosmtpd", reason="needs aiosmtpd (requirements/testing.txt)")
    from aiosmtpd.controller import Controller

    class Mailbox:
        mails = []  # noqa: RUF012 - of this test

        async def handle_DATA(self, server, session, envelope):
            self.mails.append(envelope.content)
            return "250 OK"

    port = free_port()
    server = Controller(Mailbox(), hostname="127.0.0.1", port=port)
    table = """
        [handlers.{0}]
        class = "mail"
        from_addr = "me@example.org"
        recipients = ["me@example.org"]
        server_addr = ["127.0.0.1", {1}]
        """
    with hanging() as silent:
        ports = {"good": port, "dead": free_port(), "silent": silent}
        write(
            '[setups.default]\nhandlers = ["good", "dead", "silent"]\n'
            + "".join(textwrap.dedent(table).format(*item) for item in ports.items())
        )
        server.start()
        try:
            good, delivered, _ = ask("logging.toml", "--only", "good")
            status, rows, err = ask(
                "logging.toml", "--only", "dead", "--only", "silent", timeout="3"
            )
        finally:
            server.stop()

    assert (good, status) == (0, 1)
    assert verdicts(delivered | rows) == {"good": "yes", "dead": "no", "silent": "no"}
    assert delivered["good"]["detail"] == "delivered"
    assert "ConnectionRefusedError" in rows["dead"]["detail"]
    assert rows["silent"]["detail"].startswith("not delivered within 3 s")
    assert len(Mailbox.mails) == 1
    assert err == ""


@pytest.mark.parametrize("kind", ["redis", "redis_stream"])
def test_redis_says_that_it_has_it(write, ask, kind):
    """A list or a stream of a real server."""
    redis = pytest.importorskip("redis")
    url = redis_url()
    address = urlsplit(url)
    key = f"sprockets:check:{uuid.uuid4().hex}"
    where = (
        f'host = "{address.hostname}"\nport = {address.port or 6379}\nkey = "{key}"'
        if kind == "redis"
        else f'stream = "{key}"\nurl = "{url}"'
    )
    write(f'[setups.default]\nhandlers = ["queue"]\n[handlers.queue]\nclass = "{kind}"\n{where}\n')

    try:
        status, rows, err = ask("logging.toml")
        with redis.Redis.from_url(url) as client:
            length = client.llen(key) if kind == "redis" else client.xlen(key)
    finally:
        with redis.Redis.from_url(url) as client:
            client.delete(key)

    assert (status, verdicts(rows), err) == (0, {"queue": "yes"}, "")
    assert length == 1


def test_a_store_of_tickets_has_a_ticket(write, ask, tmp_path):
    """SQLite, by a table and by the ready-made set-up."""
    pytest.importorskip("sqlalchemy")
    from sprockets.logbook.ticketing import SQLAlchemyBackend

    uri = f"sqlite:///{tmp_path / 'tickets.sqlite'}"
    write(f'[setups.a]\nhandlers = ["ticketing"]\n[handlers.ticketing]\nuri = "{uri}"\n')
    write(
        f"""
        from sprockets.logbook import setups
        def setup():
            return setups.all_of(setups.console(), setups.tickets("{uri}"))
        """,
        f"{(module := 'ready_' + uuid.uuid4().hex)}.py",
    )

    first = ask("logging.toml:a")
    second = ask(f"{module}:setup")

    assert (first[0], verdicts(first[1])) == (0, {"ticketing": "yes"})
    assert (second[0], verdicts(second[1])) == (0, {"console": "yes", "tickets": "yes"})
    assert second[1]["tickets"]["class"] == "TicketingHandler"
    backend = SQLAlchemyBackend(uri=uri)
    assert sum(ticket.occurrence_count for ticket in backend.get_tickets()) == 2
    backend.close()


def test_syslog_is_taken_and_no_more(write, ask):
    """Of a datagram nobody says whether it arrives, and over TCP there is no answer, either."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as udp,
        socket.create_server(("127.0.0.1", 0)) as tcp,
    ):
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(float(TIMEOUT))
        write(
            f"""
            [setups.default]
            handlers = ["udp", "tcp"]
            [handlers.udp]
            class = "syslog"
            address = ["127.0.0.1", {udp.getsockname()[1]}]
            [handlers.tcp]
            class = "syslog"
            socktype = {int(socket.SOCK_STREAM)}
            address = ["127.0.0.1", {tcp.getsockname()[1]}]
            """
        )

        status, rows, _ = ask("logging.toml")

        assert b"a record to see whether records arrive" in udp.recv(4096)
    assert status == 0
    assert verdicts(rows) == {"udp": "taken", "tcp": "taken"}
    assert rows["udp"]["detail"] == "sent: of a datagram nobody says whether it arrives"
    assert rows["tcp"]["detail"] == "delivered: syslog over TCP acknowledges nothing"


@pytest.mark.parametrize(
    ("status", "expected"), [(200, "yes"), (400, "no"), (503, "no"), (None, "no")]
)
@pytest.mark.parametrize("kind", ["otlp", "sentry"])
def test_services_over_http_answer(write, ask, kind, status, expected):
    """What they refuse has not arrived, and why not is told; a hanging one has its time."""
    with receiving(status or 200) as server, hanging() as silent:
        port = silent if status is None else server.server_port
        where = (
            f'endpoint = "http://127.0.0.1:{port}/v1/logs"'
            if kind == "otlp"
            else f'dsn = "http://key@127.0.0.1:{port}/1"'
        )
        write(
            f'[setups.default]\nhandlers = ["remote"]\n'
            f'[handlers.remote]\nclass = "{kind}"\n{where}\n'
        )

        found, rows, _ = ask("logging.toml", timeout={503: "2", None: SOON}.get(status, TIMEOUT))

        assert len(server.bodies) >= (status is not None)
    assert (found, verdicts(rows)) == (int(expected == "no"), {"remote": expected})
    if status in (400, 503):
        assert str(status) in rows["remote"]["detail"]


def test_a_queue_with_a_thread_is_passed_over(write, ask):
    """What counts is whether the handler behind it can write: here it cannot."""
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    write(
        """
        [setups.default]
        handlers = ["quick"]
        [handlers.quick]
        class = "threaded"
        wraps = "full"
        [handlers.full]
        class = "file"
        filename = "/dev/full"
        """
    )

    status, rows, _ = ask("logging.toml")

    assert (status, rows["quick"]["class"], rows["quick"]["arrived"]) == (1, "FileHandler", "no")
    assert "No space left on device" in rows["quick"]["detail"]


def test_reliable_queues_are_confirmed_by_who_reads(write, ask):
    """A subscriber has it, or there is none."""
    pytest.importorskip("zmq")
    from sprockets.logbook.queues import ReliableZeroMQSubscriber

    address = f"tcp://127.0.0.1:{free_port()}"
    subscriber = ReliableZeroMQSubscriber(address)
    write(
        f"""
        [setups.default]
        handlers = ["read", "unread"]
        [handlers.read]
        class = "reliable_zero_mq"
        uri = "{address}"
        [handlers.unread]
        class = "reliable_zero_mq"
        uri = "tcp://127.0.0.1:{free_port()}"
        """
    )
    got = []

    def read():
        record = subscriber.recv(float(TIMEOUT))
        got.append(record.message)
        subscriber.acknowledge(record)
        subscriber.recv(0.5)

    thread = threading.Thread(target=read)
    thread.start()
    status, rows, _ = ask("logging.toml", "--only", "read")
    thread.join(float(TIMEOUT))
    subscriber.close()
    unread = ask("logging.toml", "--only", "unread", timeout=SOON)

    assert (status, verdicts(rows)) == (0, {"read": "yes"})
    assert (unread[0], verdicts(unread[1])) == (1, {"unread": "no"})
    assert got == ["a record to see whether records arrive"]


# -- handlers of others


class Remote(RemoteHandler):
    """Delivers to nowhere, in its way."""

    def __init__(self, error=None, **options):
        super().__init__(**options)
        self.error = error

    def deliver(self, items):
        if self.error is not None:
            raise self.error


class Mute(Remote):
    """Knows that its destination never answers."""

    confirms_delivery = False


class Picky(Remote):
    """Hands on nothing, as one that limits what it says."""

    def emit(self, record):
        """Leave it."""


class Counting(Handler):
    """Counts, and knows nothing of delivery."""

    def __init__(self):
        super().__init__()
        self.counts = {"seen": 0}

    def statistics(self):
        return self.counts

    def emit(self, record):
        self.counts["seen"] += 1


@pytest.mark.parametrize(
    ("make", "arrived", "is_confirmed", "detail"),
    [
        (Remote, True, True, "delivered"),
        (Mute, True, False, "delivered: its destination does not answer"),
        (lambda: Remote(immediate=True), True, True, "delivered"),
        (lambda: Remote(ValueError("no"), immediate=True), False, False, "ValueError: no"),
        (lambda: Remote(ValueError("no")), False, False, r".*1 dead.*; ValueError: no"),
        (Picky, False, False, "held back: nothing was handed to its destination"),
        (Counting, True, True, "1 seen"),
        (TestHandler, True, True, "kept in memory"),
        (Handler, True, False, "taken: this handler delivers nothing"),
        (
            lambda: FingersCrossedHandler(lambda *_: None),
            True,
            False,
            "kept back: its handler is made when something fails",
        ),
        (DedupHandler, True, False, "taken: it says each message once it is unbound"),
        (
            LoggingHandler,
            True,
            False,
            "taken: what becomes of it is for stdlib logging to say",
        ),
    ],
)
def test_whatever_a_handler_is_something_is_said_of_it(make, arrived, is_confirmed, detail, capsys):
    """By its counts, by what it raises, or by what is known of its kind."""
    handler = make()

    found = setups.probe(handler, timeout=30)
    close = getattr(handler, "close", None)
    close()

    assert (found.arrived, found.is_confirmed) == (arrived, is_confirmed)
    assert re.fullmatch(detail, found.detail)
    assert "deliver" not in vars(handler)


def test_a_mail_beyond_its_limit_is_held_back():
    """Asked twice, it says why it did not mail twice."""
    mail = setups.mail("me@example.org", server=f"127.0.0.1:{free_port()}", drain_timeout=0)
    handler = mail.handlers["mail"]

    setups.probe(handler, timeout=0.01)
    found = setups.probe(handler, timeout=0.01)
    handler.close(0)

    assert not found.arrived
    assert found.detail == "held back by a limit of the handler: 1 unmailed"


def test_without_standard_error_nothing_is_written_there(monkeypatch):
    """It is no error of the log call, but the record is lost."""
    console = setups.console()
    monkeypatch.setattr(sys, "stderr", None)

    found = setups.probe(console.handlers["console"])

    assert (found.arrived, found.detail) == (False, "there is no standard error")


# -- what a module has


@pytest.fixture(name="module")
def _module(write):
    """Return what writes a module, and gives its name."""
    made = []

    def module(text):
        made.append(f"of_user_{uuid.uuid4().hex}")
        write(text, f"{made[-1]}.py")
        return made[-1]

    yield module
    for name in made:
        sys.modules.pop(name, None)


def test_a_module_may_have_a_set_up_or_a_function_that_makes_one(module, ask):
    """Nested ones, and handlers of the same class, told apart by numbers."""
    name = module(
        """
        from sprockets.logbook import Fields, NestedSetup, NullHandler, TestHandler
        setup = NestedSetup([NullHandler(), Fields(a=1), NestedSetup([TestHandler(), TestHandler()])])
        def make():
            return TestHandler()
        """
    )

    nested = ask(f"{name}:setup")
    made = ask(f"{name}:make")

    assert (nested[0], verdicts(nested[1])) == (0, {"null": "yes", "test": "yes", "test-2": "yes"})
    assert nested[1]["null"]["detail"] == "swallowed, as it should be"
    assert (made[0], verdicts(made[1])) == (0, {"test": "yes"})


def test_a_log_call_that_does_not_return_is_told(module, ask):
    """With how long it has been waited for."""
    name = module(
        """
        import threading
        from sprockets.logbook import Handler
        go_on = threading.Event()
        class Stuck(Handler):
            def emit(self, record):
                go_on.wait()
        stuck = Stuck()
        """
    )

    status, rows, _ = ask(f"{name}:stuck", timeout="0.1")
    sys.modules[name].go_on.set()

    assert (status, verdicts(rows)) == (1, {"stuck": "no"})
    assert re.fullmatch(r"the log call has not returned after [\d.]+ s", rows["stuck"]["detail"])


def test_what_cannot_be_made_is_told_with_its_place(module, ask):
    """And what is no set-up at all; the former is no bad input."""
    name = module(
        """
        number = 3
        def broken():
            raise OSError("no such server")
        def nothing():
            return None
        empty = __import__("sprockets.logbook").logbook.Fields(a=1)
        """
    )

    assert ask(f"{name}:broken")[::2][0] == 1
    assert "could not set logging up: OSError: no such server" in ask(f"{name}:broken")[2]
    for attribute, text in (
        ("number", "is an int; name a handler"),
        ("nothing", "returned None, not a handler"),
        ("empty", "has no handlers, so there is nothing to send"),
        ("nonsense", "has no 'nonsense'"),
    ):
        status, _, err = ask(f"{name}:{attribute}")
        assert (status, text in err) == (2, True), err


# -- bad input


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "the following arguments are required: SETUP"),
        (["logging.toml", "--loud"], "unrecognized arguments: --loud"),
        (["logging.toml", "--level", "loud"], "argument --level: unknown level name"),
        (["logging.toml", "--timeout", "0"], "argument --timeout: expected seconds, more than 0"),
        (["logging.toml", "--timeout", "soon"], "expected seconds, more than 0, got 'soon'"),
        (
            ["logging.toml", "--only", "fiel"],
            "no handler 'fiel'; known: file; did you mean 'file'?",
        ),
        (["logging"], "expected a module, one colon and a name"),
        (["nowhere_at_all:setup"], "cannot find the module 'nowhere_at_all'"),
        (["nowhere.toml"], "nowhere.toml: cannot read 'nowhere.toml'"),
        (["logging.toml:other"], "unknown set-up 'other'; known: default"),
    ],
)
def test_bad_input_is_told_and_nothing_is_sent(write, capsys, arguments, text):
    """In a sentence on standard error, with status 2."""
    write('[setups.default]\nhandlers = ["file"]\n[handlers.file]\nfilename = "a.log"\n')

    assert check.main(arguments) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert text in err
    assert not Path("a.log").exists() or Path("a.log").read_text() == ""


def test_all_problems_of_a_file_are_told(write, capsys, ask):
    """A line each, or in JSON; nothing was opened."""
    write(
        """
        [setups.default]
        handlers = ["file", "fiel"]
        [handlers.file]
        filename = "a.log"
        levle = "info"
        """
    )

    assert check.main(["logging.toml"]) == 2
    out, err = capsys.readouterr()
    assert check.main(["logging.toml", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)

    assert out == ""
    assert len(err.splitlines()) == 2
    assert "did you mean 'level'?" in err
    assert found["ok"] is False
    assert {problem["table"] for problem in found["problems"]} == {
        "handlers.file",
        "setups.default",
    }
    assert not Path("a.log").exists()


def test_what_is_right_and_cannot_be_opened_is_no_bad_input(write, capsys):
    """The file is right; the folder is not there."""
    write('[setups.default]\nhandlers = ["file"]\n[handlers.file]\nfilename = "nowhere/a.log"\n')

    assert check.main(["logging.toml", "--no-send"]) == 0
    assert check.main(["logging.toml"]) == 1

    assert "nowhere/a.log" in capsys.readouterr().err


# -- how it is said


def test_nothing_is_opened_or_sent_if_it_is_not_to_be(write, capsys):
    """The file is read, and that is all."""
    write('[setups.default]\nhandlers = ["file"]\n[handlers.file]\nfilename = "a.log"\n')

    assert check.main(["logging.toml", "--no-send"]) == 0

    assert capsys.readouterr().out == "nothing is wrong with logging.toml; nothing was sent\n"
    assert not Path("a.log").exists()


def test_one_of_several_can_be_asked_alone(write, ask):
    """The others get nothing; the level is the caller's."""
    write(
        """
        [setups.default]
        handlers = ["one", "two"]
        [handlers.one]
        class = "file"
        filename = "one.log"
        format = "{record.level_name}"
        [handlers.two]
        class = "file"
        filename = "two.log"
        """
    )

    status, rows, _ = ask("logging.toml", "--only", "one", "--level", "critical")

    assert (status, verdicts(rows)) == (0, {"one": "yes"})
    assert Path("one.log").read_text() == "CRITICAL\n"
    assert Path("two.log").read_text() == ""


def test_a_table_says_it_to_people(write, capsys, tmp_path):
    """A line for each handler, aligned; what handlers write to standard output is beside it."""
    write(
        """
        [setups.default]
        handlers = ["out", "file"]
        [handlers.out]
        class = "stream"
        stream = "stdout"
        format = "{record.channel}"
        [handlers.file]
        filename = "a.log"
        """
    )

    assert check.main(["logging.toml"]) == 0

    record, head, *lines = capsys.readouterr().out.splitlines()
    assert record == "sprockets.probe"
    assert re.fullmatch(r"handler  class          arrived\?  detail +ms", head)
    assert re.fullmatch(r"out      StreamHandler  yes       written.* [\d.]+", lines[0])
    assert re.fullmatch(
        rf"file     FileHandler    yes       written to {tmp_path}/a.log +[\d.]+", lines[1]
    )
    assert len({len(line) for line in (head, *lines)}) == 1


def test_on_a_terminal_long_details_are_wrapped_and_verdicts_coloured(monkeypatch):
    """In their column; without colours for those who want none."""
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "80")
    rows = [
        Row("mail", Probe("MailHandler", False, "not delivered " * 6, 1.0, False)),
        Row("udp\x1b", Probe("SyslogHandler", True, "sent", 0.001, False)),
    ]
    coloured, plain = Terminal(), Terminal()

    write_table(rows, coloured, {})
    write_table(rows, plain, {"NO_COLOR": "1"})

    text = coloured.getvalue()
    assert "\x1b[31mno      \x1b[0m" in text
    assert "\x1b[33mtaken   \x1b[0m" in text
    lines = plain.getvalue().splitlines()
    assert re.sub(r"\x1b\[\d+m", "", text).splitlines() == lines
    assert max(map(len, lines)) <= 80
    assert lines[2].startswith(" " * len("handler  class          arrived?  "))
    assert "\x1b" not in plain.getvalue()


def test_names_of_handlers_are_those_of_their_set_up():
    """Whatever kind of set-up it is; what is below a set-up that is ready made has no name."""
    inner = TestHandler()
    ready = setups.all_of(setups.console(), Fields(a=1), inner)

    found = check.handlers_of(NestedSetup([NullHandler(), ready]))

    assert list(found) == ["null", "console", "test"]
    assert found["test"] is inner
    ready.close()


def test_a_handler_that_hands_on_to_several_stands_for_these(module, ask):
    """By what each of them is for."""
    name = module(
        """
        from sprockets.logbook import TestHandler
        from sprockets.logbook.more import TaggingHandler
        both = TestHandler()
        tagging = TaggingHandler({"sale": [TestHandler(), both], "refund": both})
        """
    )

    status, rows, _ = ask(f"{name}:tagging")

    assert status == 0
    assert list(rows) == ["tagging/sale", "tagging/sale-2", "tagging/refund"]
    assert {row["class"] for row in rows.values()} == {"TestHandler"}


def test_it_is_a_command(write):
    """From another process, as it is typed."""
    write('[setups.default]\nhandlers = ["file"]\n[handlers.file]\nfilename = "a.log"\n')

    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-m", "sprockets.commands", "check", "logging.toml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert "FileHandler  yes" in result.stdout
