"""Syslog with a real rsyslogd: it reads what we mean, and may go away at any time."""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sprockets.logbook import Flags, Logger, _clock, lookup_level
from sprockets.logbook._text import escape_line
from sprockets.logbook.delivery._retry import Retry
from sprockets.logbook.delivery._spool import Spool
from sprockets.logbook.handlers._socket_links import UDPLink, UnixLink
from sprockets.logbook.handlers._syslog import SyslogHandler
from sprockets.logbook.handlers._syslog_message import parameter_name, parameter_text, printable
from sprockets.logbook.handlers._tcp_link import TCPLink

SOAK = os.environ.get("SPROCKETS_SOAK") == "1"
log = Logger("testlogger")

CONFIGURATION = """
global(workDirectory="{folder}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off")
module(load="imudp")
module(load="imtcp")
module(load="imptcp")
module(load="imuxsock" SysSock.Use="off")
template(name="json" type="list" option.jsonf="on") {{
  property(outname="pri" name="pri" format="jsonf")
  property(outname="version" name="protocol-version" format="jsonf")
  property(outname="time" name="timereported" dateformat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="pid" name="procid" format="jsonf")
  property(outname="id" name="msgid" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="text" name="msg" format="jsonf")
}}
ruleset(name="all") {{ action(type="omfile" file="{folder}/out" template="json") }}
input(type="imudp" address="127.0.0.1" port="{udp}" ruleset="all")
input(type="imtcp" address="127.0.0.1" port="{imtcp}" ruleset="all")
input(type="imptcp" address="127.0.0.1" port="{imptcp}" ruleset="all")
input(type="imuxsock" Socket="{folder}/log" RateLimit.Interval="0" ruleset="all")
"""


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Rsyslogd:
    """An rsyslogd of our own, which writes what it understood as JSON lines."""

    configuration = CONFIGURATION
    others = ("log",)
    context = None

    def __init__(self, folder):
        self.folder = folder
        self.out = folder / "out"
        self.udp = free_port(socket.SOCK_DGRAM)
        self.imtcp = free_port(socket.SOCK_STREAM)
        self.imptcp = free_port(socket.SOCK_STREAM)
        self.process = None
        (folder / "conf").write_text(self.configuration.format(**vars(self)))

    def start(self):
        command = ["rsyslogd", "-n", "-f", self.folder / "conf", "-i", self.folder / "pid"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        for port in (self.imtcp, self.imptcp) if self.others else (self.imtcp,):
            deadline = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, "rsyslogd does not start"
                    time.sleep(0.01)
        while not all((self.folder / name).exists() for name in self.others):
            time.sleep(0.01)

    def stop(self, number=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(10)
            self.process = None

    def messages(self, count, seconds=5):
        """Return the messages once there are *count*."""
        deadline = time.monotonic() + seconds
        while True:
            lines = self.out.read_text().split("\n") if self.out.exists() else []
            if len(lines) > count or time.monotonic() > deadline:
                return [json.loads(line) for line in lines[:-1]]
            time.sleep(0.005)

    def forget(self):
        if self.out.exists():
            os.truncate(self.out, 0)


GTLS = """
global(
  workDirectory="{folder}"
  defaultNetstreamDriverCAFile="{folder}/ca.pem"
  defaultNetstreamDriverCertFile="{folder}/cert.pem"
  defaultNetstreamDriverKeyFile="{folder}/key.pem"
)
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="json" type="list" option.jsonf="on") {{
  property(outname="app" name="app-name" format="jsonf")
  property(outname="text" name="msg" format="jsonf")
}}
ruleset(name="all") {{ action(type="omfile" file="{folder}/out" template="json") }}
input(type="imtcp" address="127.0.0.1" port="{imtcp}" ruleset="all")
"""


class TLSRsyslogd(Rsyslogd):
    """One that is spoken to in TLS only."""

    configuration = GTLS
    others = ()

    def __init__(self, folder):
        trustme = pytest.importorskip("trustme")
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        for number, part in enumerate(certificate.cert_chain_pems):
            part.write_to_path(str(folder / "cert.pem"), append=number > 0)
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)
        super().__init__(folder)


def has_gtls():
    return any(
        os.path.exists(f"{folder}/lmnsd_gtls.so")
        for folder in [
            "/usr/lib/rsyslog",
            f"/usr/lib/{os.uname().machine}-linux-gnu/rsyslog",
            "/usr/lib64/rsyslog",
        ]
    )


def needs_gtls():
    needs_rsyslogd()
    if not has_gtls():
        text = "rsyslogd has no TLS (Debian: apt-get install rsyslog-gnutls)"
        if os.environ.get("SPROCKETS_REQUIRE_SERVICES") == "1":
            pytest.fail(text)
        pytest.skip(text)


def needs_rsyslogd():
    if shutil.which("rsyslogd") is None:
        text = "rsyslogd is not installed (Debian: apt-get install rsyslog)"
        if os.environ.get("SPROCKETS_REQUIRE_SERVICES") == "1":
            pytest.fail(text)
        pytest.skip(text)


@pytest.fixture(name="running", scope="module")
def _running(tmp_path_factory):
    needs_rsyslogd()
    rsyslogd = Rsyslogd(tmp_path_factory.mktemp("rsyslogd"))
    rsyslogd.start()
    yield rsyslogd
    rsyslogd.stop()


@pytest.fixture(name="rsyslogd")
def _rsyslogd(running):
    """Return the module's rsyslogd, with nothing in its file."""
    running.forget()
    return running


def read_data(text):
    """Return the structured data *text* as name and pairs."""
    if text == "-":
        return None, []
    match = re.fullmatch(r"\[(\S+)(.*)\]", text)
    pairs = re.findall(r' ([^ =\]"]+)="((?:[^"\\\]]|\\.)*)"', match[2])
    return match[1], [(name, re.sub(r'\\(["\\\]])', r"\1", value)) for name, value in pairs]


WAYS = {
    "UDP": lambda r: {"address": ("127.0.0.1", r.udp)},
    "TCP, counted": lambda r: {
        "address": ("127.0.0.1", r.imtcp),
        "socktype": socket.SOCK_STREAM,
        "framing": "octet-counting",
    },
    "TCP, counted, imptcp": lambda r: {
        "address": ("127.0.0.1", r.imptcp),
        "socktype": socket.SOCK_STREAM,
        "framing": "octet-counting",
        "confirm": True,
    },
    "TCP, lines": lambda r: {"address": ("127.0.0.1", r.imtcp), "socktype": socket.SOCK_STREAM},
}
EVENTS = st.lists(
    st.tuples(
        st.text(max_size=200),
        st.text(max_size=60),
        st.dictionaries(st.text(max_size=40), st.text(max_size=60) | st.integers(), max_size=4),
        st.sampled_from(["TRACE", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL"]),
    ),
    min_size=10,
    max_size=10,
)


@pytest.mark.rule("SY-3", "SY-6", "SY-8", "SY-12", "SY-13", "M39")
@pytest.mark.parametrize("way", WAYS)
def test_rsyslogd_reads_every_field_as_it_is_meant(rsyslogd, way):
    """Whatever the texts are: priority, time, host, name, process, structured data, message."""
    handler = SyslogHandler(facility="local3", hostname="host-1", **WAYS[way](rsyslogd))

    @settings(
        max_examples=200 if SOAK else 12,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(EVENTS)
    def check(events):
        rsyslogd.forget()
        times = []
        with handler.applicationbound(), Flags(errors="raise"):
            for text, channel, extra, level in events:
                handler.filter = lambda record, _: times.append(record.moment) or True
                Logger(channel).log(level, text.replace("{", "(").replace("}", ")"), extra=extra)
            handler.flush()
        messages = rsyslogd.messages(len(events))

        assert len(messages) == len(events)
        for (text, channel, extra, level), message, moment in zip(
            events, messages, times, strict=True
        ):
            text = text.replace("{", "(").replace("}", ")")
            shown = escape_line(text if channel else f"{channel}: {text}")
            mark = "" if shown.isascii() else "\ufeff"
            pairs = [(parameter_name(k), escape_line(parameter_text(v))) for k, v in extra.items()]
            severity = handler.level_priority_map[lookup_level(level)]
            assert message["pri"] == str(19 * 8 + severity)
            assert message["version"] == "1"
            assert message["host"] == "host-1"
            assert message["app"] == printable(channel, 48)
            assert message["pid"] == str(os.getpid())
            assert message["id"] == "-"
            assert read_data(message["data"]) == ("extra@32473" if extra else None, pairs)
            assert message["text"] == mark + shown
            assert _clock.moment_of(_clock.parse_iso8601(message["time"])) == moment

    try:
        check()
    finally:
        handler.close()


@pytest.mark.rule("SY-5")
def test_rsyslogd_reads_local_messages_and_the_old_form(rsyslogd):
    """Over the socket of the machine, and RFC 3164 over UDP."""
    local = SyslogHandler("shop", rsyslogd.folder / "log")
    old = SyslogHandler("shop", ("127.0.0.1", rsyslogd.udp), protocol="rfc3164", hostname="host-1")
    for handler in (local, old):
        with handler.applicationbound():
            log.error("it is broken")
        handler.close()
        rsyslogd.messages(1 if handler is local else 2)
    first, second = rsyslogd.messages(2)

    # Its tag is all before the last colon.
    assert (first["pri"], first["app"], first["text"]) == ("11", "shop", " it is broken")
    assert (second["pri"], second["app"], second["host"]) == ("11", "shop", "host-1")
    assert second["pid"] == str(os.getpid())
    assert second["text"].strip() == "testlogger: it is broken"


# -- the daemon goes away


def survive_restarts(rsyslogd, restarts, count, **options):
    """Log *count* numbers while it restarts; return those that came, statistics, longest call."""
    folder = rsyslogd.folder
    rsyslogd.start()
    handler = SyslogHandler(
        "shop",
        ("127.0.0.1", rsyslogd.imtcp),
        socktype=socket.SOCK_STREAM,
        framing="octet-counting",
        tls=rsyslogd.context or False,
        format_string="{record.message}",
        spool=Spool(folder / "spool"),
        retry=Retry(initial=0.01, maximum=0.05),
        **options,
    )
    logged = 0

    def restart():
        for number in range(restarts):
            while logged < count * (number + 1) / (restarts + 1):
                time.sleep(0.001)
            rsyslogd.stop()
            rsyslogd.start()

    restarting = threading.Thread(target=restart)
    restarting.start()
    slowest = 0.0
    with handler.applicationbound(), Flags(errors="silent"):
        for number in range(count):
            started = time.perf_counter()
            log.info(f"number {number}")
            slowest = max(slowest, time.perf_counter() - started)
            logged += 1
            if number % 10 == 0:
                time.sleep(0.001)
        restarting.join()
        assert handler.flush(30)
    statistics = handler.statistics()
    handler.close()
    rsyslogd.stop()
    numbers = [int(message["text"].split()[1]) for message in rsyslogd.messages(count, 0.5)]
    return numbers, statistics, slowest


@pytest.mark.rule("SY-9", "M40")
@pytest.mark.parametrize("kind", [Rsyslogd, TLSRsyslogd])
def test_nothing_is_lost_while_rsyslogd_restarts(kind, tmp_path):
    """With a spool, batches are confirmed; of what is sent again there is at most one per restart."""
    needs_rsyslogd() if kind is Rsyslogd else needs_gtls()
    restarts, count = (5, 10_000) if SOAK else (2, 1_000)
    numbers, statistics, slowest = survive_restarts(kind(tmp_path), restarts, count)

    assert set(numbers) == set(range(count))
    assert len(numbers) - count <= 200 * restarts
    assert statistics["dropped"] == {}
    assert statistics["dead"] == 0
    assert slowest < 0.25


@pytest.mark.parametrize("confirm", [True, False])
def test_only_a_confirmed_batch_is_known_to_have_been_read(confirm):
    """A server that takes bytes and goes away unread: an error with *confirm*, and none without."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        for _ in range(2):
            connection, _ = server.accept()
            # Until the bytes are there, so that closing throws them away.
            connection.recv(1, socket.MSG_PEEK)
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    link = TCPLink(server.getsockname(), False, 2, confirm=confirm)
    if confirm:
        with pytest.raises(OSError):
            link.send(b"lost")
    else:
        link.send(b"lost")
        time.sleep(0.05)
        link.send(b"lost too, or not")
        assert link.counts["sent"] == 2
    link.close()
    thread.join()
    server.close()


def test_a_daemon_that_reads_nothing_holds_nobody_up(tmp_path):
    """What its queue does not take is counted; the others arrive when it goes on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        handler = SyslogHandler(address=tmp_path / "log", block_timeout=0.02)
        started = time.perf_counter()
        with handler.applicationbound():
            for number in range(2_000):
                log.info(f"number {number}")
            seconds = time.perf_counter() - started
            counts = handler.statistics()["socket"]
            daemon.setblocking(False)
            arrived = 0
            try:
                while daemon.recv(9999):
                    arrived += 1
            except BlockingIOError:
                pass
            log.info("again")
        assert daemon.recv(999) == b"<14>testlogger: again\0"
        handler.close()

    assert seconds < 1
    assert counts["refused"] > 0
    assert counts["sent"] == arrived
    assert counts["sent"] + counts["refused"] == 2_000


def test_the_control_blocks_on_a_daemon_that_reads_nothing(tmp_path):
    """A plain blocking send, as elsewhere, waits for as long as the daemon does nothing."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
    ):
        daemon.bind(str(tmp_path / "log"))
        sender.connect(str(tmp_path / "log"))
        sender.settimeout(0.1)
        with pytest.raises(TimeoutError):
            for _ in range(2_000):
                sender.send(b"<14>testlogger: x\0")


def test_a_stream_is_never_torn_by_a_slow_daemon(tmp_path):
    """A message that has begun is ended before the next; what was not begun is counted."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "log"))
        server.listen()
        link = UnixLink(str(tmp_path / "log"), 0.001)
        link.open()
        connection, _ = server.accept()
        connection.settimeout(2)
        got = []
        for number in range(600):
            link.send(b"%d:" % number + b"x" * 3000 + b"\0")
            if number == 300:
                got.append(connection.recv(100_000))
        counts = dict(link.counts)
        while sum(map(len, got)) < counts["sent"] * 3000:
            got.append(connection.recv(1 << 20))
        link.send(b"last\0")
        link.close()
        while more := connection.recv(1 << 20):
            got.append(more)
        connection.close()
    *messages, rest = b"".join(got).split(b"\0")

    assert counts["refused"] > 0
    assert counts["sent"] + counts["refused"] == 600
    assert rest == b""
    assert messages.pop() == b"last"
    assert len(messages) == counts["sent"]
    assert all(re.fullmatch(rb"\d+:x{3000}", message) for message in messages)


def test_a_signal_handler_may_log_in_the_middle_of_a_stream(tmp_path):
    """And a child process, which makes a connection of its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "log"))
        server.listen()
        handler = SyslogHandler(
            address=tmp_path / "log", format_string="{record.message}", block_timeout=1
        )
        connection, _ = server.accept()
        got = []

        def read(connection):
            while more := connection.recv(65536):
                got.append(more)
            connection.close()

        reader = threading.Thread(target=read, args=(connection,))
        reader.start()
        numbers = itertools.count()

        def on_alarm(number, frame):
            # Counted first: another signal may come before this one is logged.
            number = next(numbers)
            log.info(f"signal {number}")

        before = signal.signal(signal.SIGALRM, on_alarm)
        try:
            with handler.applicationbound(), Flags(errors="raise"):
                signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
                for number in range(3_000):
                    log.info(f"main {number}")
                signal.setitimer(signal.ITIMER_REAL, 0)
                pid = os.fork()
                if pid == 0:
                    log.info("child")
                    os._exit(0)
                os.waitpid(pid, 0)
                other, _ = server.accept()
                log.info("parent")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        handler.close()
        reader.join()
        other.settimeout(2)
        assert other.recv(999) == b"<14>child\0"
        other.close()
    messages = b"".join(got).split(b"\0")[:-1]

    expected = {f"<14>main {number}".encode() for number in range(3_000)}
    fired = next(numbers)
    expected |= {f"<14>signal {number}".encode() for number in range(fired)}
    assert fired
    assert set(messages) == expected | {b"<14>parent"}
    assert len(messages) == len(expected) + 1


# -- the name service, and servers that take nothing


class FakeResolver:
    """Says what *answers* say, one after the other; ``None`` is none until it is released."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.release = threading.Event()
        self.asked = 0

    def __call__(self, host, port, type=0):
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            assert self.release.wait(10)
            answer = self.answers[-1]
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, type, 0, "", answer)]


class FakeClock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        self.seconds += 0.001
        return self.seconds


def wait_until(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.001)


@pytest.mark.rule("SY-14")
def test_a_name_service_that_does_not_answer_holds_nobody_up():
    """The records are counted; with the answer they are sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        resolver = FakeResolver(None, server.getsockname())
        link = UDPLink(("logs.example.com", 514), resolve=resolver)
        begun = time.monotonic()
        for _ in range(5):
            link.send(b"lost")
        seconds = time.monotonic() - begun
        resolver.release.set()
        wait_until(lambda: link._found is not None)
        link.send(b"sent")
        server.settimeout(5)

        assert server.recv(10) == b"sent"
    assert seconds < 2
    assert resolver.asked == 1
    assert link.counts == {"sent": 1, "refused": 5, "opened": 1}
    link.close()


def test_a_network_that_is_away_asks_no_name_in_the_call():
    """Where nothing can be sent, names are not answered either; the old address goes on to count."""
    # Nobody may send there: an error of this machine's, at once.
    nowhere = ("255.255.255.255", 9)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        resolver = FakeResolver(nowhere, None, server.getsockname())
        link = UDPLink(("logs.example.com", 514), resolve=resolver)
        link.open()
        begun = time.monotonic()
        for _ in range(5):
            with pytest.raises(OSError):
                link.send(b"lost")
        seconds = time.monotonic() - begun
        resolver.release.set()
        wait_until(lambda: link._found[4] == server.getsockname())
        link.send(b"sent")
        server.settimeout(5)

        assert server.recv(10) == b"sent"
    assert seconds < 2
    assert resolver.asked == 2
    link.close()


def test_a_name_that_nobody_knows_is_an_error_that_is_asked_for_seldom():
    """Once in five seconds, however much is logged."""
    clock = FakeClock()
    resolver = FakeResolver(socket.gaierror(-2, "Name or service not known"))
    link = UDPLink(("no.example.com", 514), 1.0, resolver, clock)
    for _ in range(20):
        with pytest.raises(OSError, match="Name or service not known"):
            link.send(b"lost")
    assert resolver.asked == 1

    clock.seconds += 10
    with pytest.raises(OSError, match="Name or service not known"):
        link.send(b"lost")
    wait_until(lambda: not link._is_asking)
    assert resolver.asked == 2
    link.close()


@pytest.mark.rule("SY-15")
@pytest.mark.parametrize("confirm", [True, False])
def test_closing_does_not_wait_for_a_server_that_takes_nothing(confirm):
    """The thread that was sending to it gives up, and does not begin anew."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        handler = SyslogHandler(
            "shop",
            server.getsockname(),
            socktype=socket.SOCK_STREAM,
            max_message=1 << 20,
            timeout=30.0,
            confirm=confirm,
        )
        connection, _ = server.accept()
        with handler.applicationbound(), Flags(errors="silent").applicationbound():
            # More than the buffers of both sides take.
            for _ in range(130):
                log.info("x" * 60_000)
            wait_until(lambda: handler.delivery._state.delivering)
            begun = time.monotonic()
            assert not handler.close(0.1)
            seconds = time.monotonic() - begun
            wait_until(lambda: not handler.delivery._state.is_running)
        connection.close()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()

    assert seconds < 5
    assert handler.socket is None
    counts = handler.statistics()
    assert counts["accepted"] == counts["delivered"] + sum(counts["dropped"].values())


# -- TLS


@pytest.mark.parametrize("confirm", [True, False])
def test_rsyslogd_reads_what_comes_over_tls(tmp_path, confirm):
    """A hundred messages, in order; with *confirm* its end of the connection is the confirmation."""
    needs_gtls()
    rsyslogd = TLSRsyslogd(tmp_path)
    rsyslogd.start()
    try:
        handler = SyslogHandler(
            "shop",
            ("localhost", rsyslogd.imtcp),
            socktype=socket.SOCK_STREAM,
            tls=rsyslogd.context,
            confirm=confirm,
            delay=True,
            format_string="{record.message}",
            retry=Retry(initial=0.01, maximum=0.05),
        )
        with handler.applicationbound(), Flags(errors="silent"):
            for number in range(100):
                log.info(f"number {number}")
            assert handler.flush(10)
        handler.close()
        messages = rsyslogd.messages(100)
    finally:
        rsyslogd.stop()

    assert [(message["app"], message["text"]) for message in messages] == [
        ("shop", f"number {number}") for number in range(100)
    ]


def test_a_daemon_that_nobody_vouches_for_gets_nothing(tmp_path):
    """Verification is not a matter of the moment: what is logged waits, and says why."""
    needs_gtls()
    rsyslogd = TLSRsyslogd(tmp_path)
    rsyslogd.start()
    try:
        handler = SyslogHandler(
            "shop", ("localhost", rsyslogd.imtcp), socktype=socket.SOCK_STREAM, tls=True, delay=True
        )
        with handler.applicationbound(), Flags(errors="silent").applicationbound():
            log.info("secret")
            wait_until(lambda: handler.statistics()["failed"])
            handler.close(0)
        assert handler.statistics()["delivered"] == 0
        assert rsyslogd.messages(1, 0.2) == []
    finally:
        rsyslogd.stop()
