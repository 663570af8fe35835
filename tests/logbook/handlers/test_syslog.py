"""Syslog: what a message looks like, and how it gets to the daemon."""

import datetime as dt
import os
import re
import socket
import ssl
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook import Flags, Logger, LogRecord, set_datetime_format
from sprockets.logbook._format import SYSLOG_FORMAT_STRING
from sprockets.logbook._text import escape_line
from sprockets.logbook.handlers import _syslog
from sprockets.logbook.handlers._syslog import SyslogHandler, create_syshandler
from sprockets.logbook.handlers._syslog_message import (
    fit,
    parameter_name,
    parameter_text,
    printable,
    prival,
    structured_data,
)
from sprockets.logbook.handlers._tcp_link import TCPLink

SOAK = os.environ.get("SPROCKETS_SOAK") == "1"
HEADER = re.compile(
    rb"<(?P<pri>[0-9]{1,3})>1 (?P<time>[0-9T:.+-]{19,32}Z|-) (?P<host>[!-~]{1,255})"
    rb" (?P<app>[!-~]{1,48}) (?P<pid>[!-~]{1,128}) (?P<id>[!-~]{1,32}) "
)
log = Logger("testlogger")


def read_message(data):
    """Return the fields of an RFC 5424 message, read strictly."""
    match = HEADER.match(data)
    assert match, data
    fields = {name: value.decode() for name, value in match.groupdict().items()}
    text = data[match.end() :].decode()
    fields["extra"] = []
    if text.startswith("- "):
        fields["text"] = text[2:]
        return fields
    element = re.match(r"\[([!-~]{1,32})((?: [^ =\]\"]{1,32}=\"(?:[^\"\\\]]|\\.)*\")*)\] ", text)
    assert element, text
    fields["sd_id"] = element[1]
    for name, value in re.findall(r" ([^ =\]\"]+)=\"((?:[^\"\\\]]|\\.)*)\"", element[2]):
        fields["extra"].append((name, re.sub(r"\\([\"\\\]])", r"\1", value)))
    fields["text"] = text[element.end() :]
    return fields


def record_of(message="Syslog is weird", level="WARNING", channel="testlogger", **options):
    record = LogRecord(channel, level, message, **options)
    record.heavy_init()
    return record


@pytest.fixture(name="daemon")
def _daemon(tmp_path):
    """A Unix socket for datagrams, as a local daemon has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        daemon.settimeout(2)
        yield daemon


@pytest.fixture(name="udp")
def _udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(2)
        yield server


@pytest.fixture(name="make")
def _make(udp):
    """Make handlers that are closed afterwards; they send over UDP unless told otherwise."""
    made = []

    def make(*args, **options):
        if len(args) < 2:
            options.setdefault("address", udp.getsockname())
        made.append(SyslogHandler(*args, **options))
        return made[-1]

    yield make
    for handler in made:
        handler.close()


def listening(kind=socket.AF_INET):
    server = socket.socket(kind, socket.SOCK_STREAM)
    server.bind(("127.0.0.1" if kind == socket.AF_INET else "::1", 0))
    server.listen()
    server.settimeout(2)
    return server


def read_all(connection):
    connection.settimeout(2)
    data = b""
    while more := connection.recv(65536):
        data += more
    return data


# -- what a message looks like


@pytest.mark.rule("SY-5")
def test_a_local_daemon_gets_priority_name_and_text(daemon):
    """NUL ends the message."""
    for name, expected in (
        (None, b"<12>testlogger: Syslog is weird\0"),
        ("Testing", b"<12>Testing:testlogger: Syslog is weird\0"),
    ):
        handler = SyslogHandler(name, daemon.getsockname())
        with handler.applicationbound():
            log.warning("Syslog is weird")

        assert daemon.recv(9999) == expected
        handler.close()


@pytest.mark.rule("SY-6", "D-15")
def test_the_network_gets_rfc_5424(udp, make):
    """The channel stands for the application's name, and then is not repeated in the text."""
    for name, app, text in (
        (None, "testlogger", "Syslog is weird\n"),
        ("Testing", "Testing", "testlogger: Syslog is weird\n"),
    ):
        with make(name).applicationbound():
            log.warning("Syslog is weird")
        data = udp.recv(9999)

        fields = data.decode().split(" ", 7)
        assert fields[0] == "<12>1"
        assert re.fullmatch(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-9:]{8}\.[0-9]{6}Z", fields[1])
        assert fields[2:] == [socket.gethostname(), app, str(os.getpid()), "-", "-", text]


@pytest.mark.rule("SY-6")
def test_without_name_and_channel_there_is_a_dash(make):
    """The layout shows what it shows of a record without a channel."""
    fields = read_message(make().encode(record_of(channel=None)).partition(b" ")[2])

    assert fields["app"] == "-"
    assert fields["text"] == "None: Syslog is weird\n"


@pytest.mark.rule("SY-3", "X-44")
@pytest.mark.parametrize(
    ("level", "severity"),
    [
        *(("TRACE", 7), ("DEBUG", 7), ("INFO", 6), ("NOTICE", 5), ("WARNING", 4), ("ERROR", 3)),
        *(("CRITICAL", 2), (99, 4), (0, 4)),
    ],
)
def test_priority_is_facility_times_eight_and_severity(make, level, severity):
    """Levels of one's own are warnings."""
    record = LogRecord("c", level, "x")

    assert make().encode_priority(record) == 8 + severity
    assert make(facility="local7").encode_priority(record) == 184 + severity
    assert make(facility=SyslogHandler.LOG_MAIL).encode_priority(record) == 16 + severity


@pytest.mark.parametrize(("facility", "severity"), [(-1, 0), (24, 0), (0, 8), (0, -1)])
def test_a_priority_out_of_range_is_refused(facility, severity):
    """There are 24 facilities and eight severities."""
    with pytest.raises(ValueError, match="must be 0 to"):
        prival(facility, severity)


def test_the_constants_are_those_of_syslog_h():
    """All facilities can be given by name."""
    import syslog

    for name, code in SyslogHandler.facility_names.items():
        assert getattr(SyslogHandler, f"LOG_{name.upper()}") == code
        assert getattr(syslog, f"LOG_{name.upper()}", code << 3) in (code, code << 3)
    for name in ("EMERG", "ALERT", "CRIT", "ERR", "WARNING", "NOTICE", "INFO", "DEBUG"):
        assert getattr(SyslogHandler, f"LOG_{name}") == getattr(syslog, f"LOG_{name}")
    assert len(SyslogHandler.facility_names) == 20


@pytest.mark.rule("SY-4", "X-58")
@pytest.mark.parametrize("facility", ["nobody", 12, 24, None, 1.5])
def test_an_unknown_facility_is_refused_at_once(facility, udp):
    """Not at the first record."""
    with pytest.raises(ValueError, match="unknown facility"):
        SyslogHandler(address=udp.getsockname(), facility=facility)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"protocol": "gelf"}, "unknown protocol 'gelf'; known: local, rfc3164, rfc5424"),
        ({"framing": "json", "socktype": socket.SOCK_STREAM}, "unknown framing 'json'"),
        ({"framing": "octet-counting"}, "octets are counted in a TCP stream only"),
        ({"oversize": "drop"}, "unknown oversize 'drop'"),
        ({"max_message": 80}, "at least 1024 bytes, got 80"),
        ({"tls": True}, "tls needs a .host, port. address"),
        ({"address": 514}, "address must be a path or a pair of host and port, got 514"),
        ({"address": ("h", "x")}, "address must be a path or a pair"),
    ],
)
def test_what_makes_no_sense_is_refused(options, text):
    """With a text that says what there is."""
    with pytest.raises(ValueError, match=text):
        SyslogHandler(**{"address": ("127.0.0.1", 9), "delay": True, **options})


@pytest.mark.rule("SY-7")
def test_a_text_is_split_at_the_delimiter(udp, daemon, make):
    """Over the network a traceback is a message per line; locally it stays one message."""

    def log_failure():
        try:
            raise RuntimeError("broken")
        except RuntimeError:
            log.exception("it failed")

    with make("app").applicationbound():
        log_failure()
    lines = [read_message(udp.recv(9999))["text"] for _ in range(4)]
    with make("app", daemon.getsockname()).applicationbound():
        log_failure()
    local = daemon.recv(9999)
    with make("app", daemon.getsockname(), record_delimiter=" ").applicationbound():
        log.info("a b")

    assert lines[0] == "testlogger: it failed\n"
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert local.endswith(b"RuntimeError: broken\0")
    assert local.count(b"\n") >= 3
    assert [daemon.recv(99) for _ in range(3)] == [
        b"<14>app:testlogger: ",
        b"<14>app:a ",
        b"<14>app:b ",
    ]


@pytest.mark.rule("SY-7", "SY-8")
def test_wrapping_puts_the_header_before_each_piece(make):
    """It is what the envelopes are made with, and text is UTF-8."""
    handler = make(format_string="{record.message}\nnext", record_delimiter="\n")

    assert handler.wrap_segments(record_of("ä"), "<1>") == ["<1>ä\n".encode(), b"<1>next\n"]


@pytest.mark.rule("SY-11", "X-46")
def test_a_custom_formatter_is_used_as_it_is(udp, make):
    """For every record, with and without an application name; the handler stays as it was."""
    for name in (None, "app"):
        handler = make(name)
        handler.formatter = lambda record, handler: f"<{record.channel}: {record.message}>"
        with handler.applicationbound():
            for _ in range(3):
                log.info("x")

        for _ in range(3):
            assert read_message(udp.recv(9999))["text"] == "<testlogger: x>\n"
        assert handler.application_name == name
    handler = make()
    handler.encode(record_of())
    assert handler.format_string == SYSLOG_FORMAT_STRING


@pytest.mark.rule("SY-12", "X-47")
def test_the_time_is_utc_whatever_records_show(udp, make):
    """Aware, local and naive times are the same instant, and say so."""
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    with make().applicationbound():
        set_datetime_format(lambda: moment)
        log.info("aware")
        set_datetime_format("local")
        before = dt.datetime.now(dt.UTC)
        log.info("local")
        after = dt.datetime.now(dt.UTC)

    assert read_message(udp.recv(9999))["time"] == "2026-01-02T01:04:05.000678Z"
    shown = dt.datetime.fromisoformat(read_message(udp.recv(9999))["time"])
    assert before <= shown <= after


@pytest.mark.rule("SY-13")
def test_header_fields_are_printable_ascii(make):
    """Blanks and what is not ASCII become underscores; a record that was never initialised has dashes."""
    handler = make("my äpp\n" + "x" * 99, hostname="höst " + "y" * 999)
    fields = read_message(handler.encode(LogRecord("c", "INFO", "x")).partition(b" ")[2])

    assert fields["app"] == "my__pp_" + "x" * 41
    assert fields["host"] == "h_st_" + "y" * 250
    assert (fields["pid"], fields["time"], fields["id"]) == ("-", "-", "-")


@given(st.text(), st.integers(1, 60))
def test_any_text_becomes_a_header_field(text, length):
    """One to *length* characters from ``!`` to ``~``; such a text stays."""
    field = printable(text, length)

    assert re.fullmatch(f"[!-~]{{1,{length}}}", field)
    if re.fullmatch(f"[!-~]{{1,{length}}}", text):
        assert field == text


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())))
def test_extra_fields_become_structured_data_and_can_be_read_back(extra):
    """Quotes, brackets and backslashes included; control characters are escapes."""
    data = structured_data("extra@32473", extra, 1_000_000)
    fields = read_message(b"<1>1 - h a p i " + data + b" text")

    expected = [(parameter_name(k), escape_line(parameter_text(v))) for k, v in extra.items()]
    assert fields["extra"] == expected
    assert b"\n" not in data


def test_structured_data_can_be_left_out_or_named(make):
    """The number of the enterprise is one's own affair."""
    record = record_of(extra={"user": "ann", "n": [1]})

    named = read_message(make(sd_id="shop@1").encode(record).partition(b" ")[2])
    assert (named["sd_id"], named["extra"]) == ("shop@1", [("user", "ann"), ("n", "[1]")])
    assert read_message(make(sd_id=None).encode(record).partition(b" ")[2])["extra"] == []


def test_structured_data_has_its_bounds(make):
    """What does not fit is left out and counted, and the message still has its text."""
    extra = {"a": "short", "b": "x" * 9000, "c": "short"}
    fields = read_message(
        make(oversize="truncate").encode(record_of(extra=extra)).partition(b" ")[2]
    )

    assert fields["extra"] == [("a", "short"), ("c", "short"), ("truncated", "1")]
    assert fields["text"] == "Syslog is weird\n"


def test_utf_8_is_marked_where_it_is_more_than_ascii(make):
    """With the byte order mark that RFC 5424 wants, unless it is not wanted."""
    assert b"\xef\xbb\xbf\xc3\xa4\n" in make().encode(record_of("ä"))
    assert b"\xef\xbb\xbf" not in make().encode(record_of("a"))
    assert b"\xef\xbb\xbf" not in make(bom=False).encode(record_of("ä"))


@given(st.text(min_size=1), st.sampled_from(["truncate", "split"]), st.integers(64, 300))
def test_a_text_is_cut_between_characters(text, oversize, room):
    """Each piece is UTF-8, no longer than it may be, and together they are the text."""
    data = (text * 60).encode("utf-8", "backslashreplace")
    pieces = fit(data, room, oversize)

    assert all(len(piece) <= room and piece.decode() is not None for piece in pieces)
    if len(data) <= room:
        assert pieces == [data]
    elif oversize == "truncate":
        start, _, mark = pieces[0].rpartition(b"...")
        assert data.startswith(start)
        assert mark == b" [truncated, %d bytes]" % len(data)
    else:
        assert b"".join(re.sub(rb"^\[\d+/\d+\] ", b"", piece) for piece in pieces) == data
        assert pieces[0].startswith(b"[1/%d] " % len(pieces))


@pytest.mark.parametrize("oversize", ["truncate", "split"])
def test_a_large_message_is_cut_with_a_mark(udp, make, oversize):
    """8 kB unless told otherwise; a datagram of 60 kB would get lost on the way."""
    with make("app", oversize=oversize).applicationbound():
        log.info("ä" * 10_000)
    messages = [udp.recv(99999) for _ in range(1 if oversize == "truncate" else 3)]

    assert all(len(message) <= 8192 for message in messages)
    texts = [read_message(message)["text"] for message in messages]
    if oversize == "truncate":
        assert texts[0].endswith("... [truncated, 20012 bytes]\n")
    else:
        assert texts[0].startswith("\ufeff[1/3] testlogger: ä")
        assert sum(text.count("ä") for text in texts) == 10_000


def test_the_old_form_has_local_time_host_and_tag(udp, make):
    """RFC 3164: the month is English in any locale, the day has no leading zero."""
    handler = make("my app", protocol="rfc3164", hostname="host")
    record = record_of()
    record.time = dt.datetime(2026, 2, 3, 12, 0, tzinfo=dt.UTC)
    local = record.time.astimezone()
    with handler.applicationbound():
        handler.emit(record)

    expected = f"<12>Feb {local.day:2d} {local:%H:%M:%S} host my_app[{os.getpid()}]: testlogger: Syslog is weird\n"
    assert udp.recv(999).decode() == expected


def numbered(handler, threads, count):
    """Log from *threads* threads on channels of their own, and return the messages that come."""

    def run(number):
        channel = Logger(f"channel-{number}")
        for _ in range(count):
            channel.info(f"text of channel-{number}")

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    with handler.applicationbound():
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


def count_wrong(messages):
    return sum(
        fields["text"].strip() != f"text of {fields['app']}"
        for fields in map(read_message, messages)
    )


class Rewriting(SyslogHandler):
    """The control: changes itself for the time of a record, as handlers should not."""

    def net_envelope(self, record):
        before = self.application_name, self.format_string
        self.application_name, self.format_string = record.channel, "{record.message}"
        time.sleep(0)
        try:
            return super().net_envelope(record)
        finally:
            self.application_name, self.format_string = before


@pytest.mark.rule("SY-11", "X-46", "M38")
@pytest.mark.parametrize("handler_class", [SyslogHandler, Rewriting])
def test_four_threads_log_under_their_own_names(daemon, handler_class):
    """No record goes under another channel's name; with a handler that changes itself, many do."""
    count = 3000 if SOAK else 300
    handler = handler_class(
        address=daemon.getsockname(), protocol="rfc5424", record_delimiter="\n", block_timeout=5
    )
    messages = []
    reader = threading.Thread(
        target=lambda: messages.extend(daemon.recv(9999) for _ in range(4 * count))
    )
    reader.start()
    numbered(handler, 4, count)
    reader.join()
    handler.close()

    assert len(messages) == 4 * count
    assert handler.statistics()["socket"] == {"sent": 4 * count, "refused": 0, "opened": 1}
    if handler_class is SyslogHandler:
        assert count_wrong(messages) == 0
    else:
        assert count_wrong(messages) > 0


# -- how it gets there


@pytest.mark.rule("SY-1")
def test_an_address_is_a_path_or_a_pair(daemon, udp, tmp_path):
    """Without one it is the daemon of the machine; a socket that is not there is an error at once."""
    local = SyslogHandler(address=tmp_path / "log")
    network = SyslogHandler(address=list(udp.getsockname()))
    default = SyslogHandler(delay=True)

    assert local.unixsocket
    assert not network.unixsocket
    assert network.address == network.remote_address == udp.getsockname()
    assert default.address in ("/dev/log", "/var/run/syslog")
    assert (local.record_delimiter, network.record_delimiter) == ("\0", "\n")
    with pytest.raises(OSError, match="nowhere"):
        SyslogHandler(address=str(tmp_path / "nowhere"))
    for handler in (local, network, default):
        handler.close()


@pytest.mark.rule("SY-2", "SY-5")
def test_a_unix_socket_of_streams_is_found_out(tmp_path):
    """Whatever *socktype* says."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(tmp_path / "log"))
    server.listen()
    handler = SyslogHandler(address=tmp_path / "log", socktype=socket.SOCK_DGRAM)
    with handler.applicationbound():
        log.info("one")
        log.info("two")
    handler.close()
    connection, _ = server.accept()

    assert read_all(connection) == b"<14>testlogger: one\0<14>testlogger: two\0"
    connection.close()
    server.close()


@pytest.mark.rule("SY-14")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_hosts_may_be_names_and_ipv6(host):
    """Over UDP and TCP."""
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    if host == "localhost":
        family = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0][0]
    try:
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind((host, 0))
    except OSError:
        pytest.skip(f"this machine has no {host}")
    server.settimeout(2)
    handler = SyslogHandler(address=(host, server.getsockname()[1]))
    with handler.applicationbound():
        log.info("x")
    handler.close()
    assert b" x\n" in b" " + server.recv(999)
    server.close()

    with listening(family) as server:
        link = TCPLink((host, server.getsockname()[1]), False, 2, confirm=False)
        link.send(b"x")
        connection, _ = server.accept()
        link.close()
        assert read_all(connection) == b"x"
        connection.close()


@pytest.mark.rule("SY-2", "SY-6", "SY-8")
def test_tcp_connects_at_once_and_ends_messages_with_a_line_break():
    """Delivered by a thread; closing waits for it."""
    with listening() as server:
        handler = SyslogHandler("app", server.getsockname(), socktype=socket.SOCK_STREAM)
        connection, _ = server.accept()
        with handler.applicationbound():
            log.info("one")
            log.info("ä\n")
        handler.close()
        lines = read_all(connection).splitlines(keepends=True)
        connection.close()

    texts = [read_message(line)["text"] for line in lines]
    assert texts == ["testlogger: one\n", "\ufefftestlogger: ä\\n\n"]


def test_octets_are_counted_if_wanted():
    """Then a traceback is one message, and nothing has to end it."""
    with listening() as server:
        handler = SyslogHandler(
            "app", server.getsockname(), socktype=socket.SOCK_STREAM, framing="octet-counting"
        )
        connection, _ = server.accept()
        with handler.applicationbound():
            log.info("one")
            log.info("broken", exc_info=ValueError("why"))
        handler.close()
        data = read_all(connection)
        connection.close()

    messages = list(_syslog._counted(data))
    assert b"".join(b"%d %b" % (len(message), message) for message in messages) == data
    assert read_message(messages[0])["text"] == "testlogger: one"
    assert messages[1].endswith(b"\nValueError: why")


@pytest.mark.rule("SY-2")
def test_a_server_that_is_not_there_is_an_error_at_once():
    """Unless the connection is made with the first record."""
    with listening() as server:
        address = server.getsockname()
    with pytest.raises(ConnectionRefusedError):
        SyslogHandler(address=address, socktype=socket.SOCK_STREAM)

    handler = SyslogHandler(
        address=address, socktype=socket.SOCK_STREAM, delay=True, drain_timeout=0.05
    )
    handler.close()


@pytest.mark.rule("SY-9")
def test_a_restarted_daemon_gets_the_next_record(daemon, tmp_path):
    """Over a new socket; while there is none, each record is a handler error."""
    handler = SyslogHandler(address=tmp_path / "log")
    with handler.applicationbound(), Flags(errors="raise"):
        log.info("one")
        first = handler.socket
        daemon.close()
        os.unlink(tmp_path / "log")
        with pytest.raises(OSError, match="log"):
            log.info("two")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as restarted:
            restarted.bind(str(tmp_path / "log"))
            log.info("three")
            assert restarted.recv(99) == b"<14>testlogger: three\0"
    handler.close()

    assert first.fileno() == -1
    assert handler.statistics()["socket"] == {"sent": 2, "refused": 0, "opened": 2}


@pytest.mark.rule("SY-9", "SY-10", "X-45", "P-H13")
def test_a_tcp_connection_that_is_gone_is_made_again_and_all_is_sent():
    """The new one goes to the same address, and the old one is closed."""
    with listening() as server:
        address = server.getsockname()
        handler = SyslogHandler(
            "app",
            address,
            socktype=socket.SOCK_STREAM,
            immediate=True,
            format_string="{record.message}",
        )
        connection, _ = server.accept()
        old = handler.socket
        connection.close()
        with handler.applicationbound(), Flags(errors="raise"):
            log.info("again")
        connection, _ = server.accept()

        assert handler.remote_address == handler.address == address
        assert old.fileno() == -1
        handler.close()
        assert read_all(connection).endswith(b" again\n")
        connection.close()


@pytest.mark.rule("SY-9")
def test_a_second_failure_is_the_handlers_error():
    """Where it delivers in the caller's thread."""
    server = listening()
    handler = SyslogHandler(
        address=server.getsockname(), socktype=socket.SOCK_STREAM, immediate=True
    )
    connection, _ = server.accept()
    connection.close()
    server.close()
    with handler.applicationbound(), Flags(errors="raise"):
        with pytest.raises(ConnectionRefusedError):
            log.info("lost")
    handler.close()


@pytest.mark.rule("P-F8", "P-Q4")
def test_errors_go_to_syslog_and_the_rest_to_stderr(daemon, capsys):
    """With a level, the handler takes its part, and what is bound below it the rest."""
    handler = SyslogHandler("app", daemon.getsockname(), level="ERROR")
    with handler:
        log.error("to syslog")
        log.warning("to stderr")
    handler.close()

    assert daemon.recv(99) == b"<11>app:testlogger: to syslog\0"
    assert capsys.readouterr().err.endswith("WARNING: testlogger: to stderr\n")


@pytest.mark.rule("P-H13")
def test_a_child_process_has_a_connection_of_its_own():
    """Over TCP too: nobody's messages end up in the middle of another's."""
    with listening() as server:
        handler = SyslogHandler(
            "app",
            server.getsockname(),
            socktype=socket.SOCK_STREAM,
            format_string="{record.message}",
        )
        first, _ = server.accept()
        with handler.applicationbound():
            log.info("parent")
            handler.flush()
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    log.info("child")
                    status = 0 if handler.flush(2) else 2
                finally:
                    os._exit(status)
            assert os.waitpid(pid, 0)[1] == 0
            log.info("parent again")
        second, _ = server.accept()
        handler.close()
        texts = [
            [read_message(line)["text"] for line in read_all(connection).splitlines()]
            for connection in (first, second)
        ]
        first.close()
        second.close()

    assert texts == [["parent", "parent again"], ["child"]]


@pytest.mark.rule("SY-15")
def test_closing_twice_is_closing_once(daemon, tmp_path):
    """A record that comes later opens the socket again, as with files."""
    handler = SyslogHandler(address=tmp_path / "log")
    used = handler.socket
    handler.close()
    handler.close()
    assert handler.socket is None
    assert used.fileno() == -1

    handler.emit(record_of("later"))
    assert daemon.recv(99) == b"<12>testlogger: later\0"
    handler.close()


@pytest.mark.rule("SY-15")
def test_nothing_stays_open_when_construction_fails(tmp_path):
    """Neither a socket nor a thread."""
    before = set(os.listdir("/proc/self/fd")), threading.active_count()
    for address in (str(tmp_path / "nowhere"), ("127.0.0.1", 1)):
        with pytest.raises(OSError):
            SyslogHandler(address=address, socktype=socket.SOCK_STREAM)
    with pytest.raises(TypeError):
        SyslogHandler(address=("127.0.0.1", 1), no_such_option=1)

    assert (set(os.listdir("/proc/self/fd")), threading.active_count()) == before


@pytest.fixture(name="certificate")
def _certificate(tmp_path):
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return context, client


@pytest.mark.parametrize("confirm", [False, True])
def test_tls_is_verified_and_counts_octets(certificate, confirm):
    """RFC 5425; a certificate that nobody vouches for is refused."""
    context, client = certificate
    got = []

    def serve(count):
        for _ in range(count):
            connection, _ = server.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as tls:
                    got.append(read_all(tls))
            except OSError as error:
                got.append(error)

    with listening() as server:
        address = ("localhost", server.getsockname()[1])
        thread = threading.Thread(target=serve, args=(2,))
        thread.start()
        handler = SyslogHandler(
            "app", address, socktype=socket.SOCK_STREAM, tls=client, confirm=confirm
        )
        with handler.applicationbound():
            log.info("secret")
        handler.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            SyslogHandler("app", address, socktype=socket.SOCK_STREAM, tls=True)
        thread.join()

    (message,) = _syslog._counted(got[0])
    assert read_message(message)["text"] == "testlogger: secret"
    assert isinstance(got[1], OSError)


def test_a_short_connection_loses_nothing(certificate):
    """A server is still at its end of the handshake when we say that this was all."""
    context, client = certificate
    got = []

    def serve():
        for _ in range(30):
            connection, _ = server.accept()
            try:
                # Ragged ends are errors: we say good-bye.
                with context.wrap_socket(
                    connection, server_side=True, suppress_ragged_eofs=False
                ) as tls:
                    got.append(read_all(tls))
            except OSError as error:
                got.append(error)

    with listening() as server:
        address = ("localhost", server.getsockname()[1])
        thread = threading.Thread(target=serve)
        thread.start()
        for _ in range(30):
            handler = SyslogHandler("app", address, socktype=socket.SOCK_STREAM, tls=client)
            with handler:
                log.info("the only one")
            handler.close()
        thread.join()

    assert [type(text) for text in got] == [bytes] * 30, got
    assert all(b"the only one" in text for text in got)


@pytest.mark.rule("NT-6")
def test_the_system_chooses_the_handler(monkeypatch, tmp_path):
    """Elsewhere than on Windows it is syslog, with this name and level."""
    made = []
    monkeypatch.setattr(
        _syslog, "SyslogHandler", lambda *args, **options: made.append((args, options))
    )
    create_syshandler("app", level="ERROR")

    assert made == [(("app",), {"level": "ERROR"})]
