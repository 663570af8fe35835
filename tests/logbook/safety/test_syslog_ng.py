"""Syslog with a real syslog-ng: it reads what we mean, over each of its doors."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time

import pytest

from sprockets.logbook import Flags, Logger, _clock
from sprockets.logbook.delivery import Retry
from sprockets.logbook.handlers import SyslogHandler

log = Logger("testlogger")

CONFIGURATION = """
@version: 3.38
options {{
  chain-hostnames(no); keep-hostname(yes); use-dns(no); stats-freq(0); log-msg-size(65536);
  frac-digits(6); flush-lines(1); time-reopen(1);
}};
source all {{
  syslog(transport("udp") ip("127.0.0.1") port({udp}));
  syslog(transport("tcp") ip("127.0.0.1") port({counted}));
  network(transport("tcp") ip("127.0.0.1") port({lines}) flags(syslog-protocol));
  syslog(transport("tls") ip("127.0.0.1") port({tls}) tls(
    key-file("{folder}/key.pem") cert-file("{folder}/cert.pem") peer-verify(optional-untrusted)
  ));
  unix-dgram("{folder}/log");
}};
destination out {{
  file("{folder}/out" template("$(format-json pri=$PRI host=$HOST app=$PROGRAM pid=$PID id=$MSGID \\
    data=$SDATA text=$MSG time=$S_ISODATE)\\n"));
}};
log {{ source(all); destination(out); }};
"""


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class SyslogNG:
    """A syslog-ng of our own, which writes what it understood as JSON lines."""

    def __init__(self, folder, program, authority):
        self.folder = folder
        self.out = folder / "out"
        self.udp = free_port(socket.SOCK_DGRAM)
        self.counted, self.lines, self.tls = (free_port(socket.SOCK_STREAM) for _ in range(3))
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        for number, part in enumerate(certificate.cert_chain_pems):
            part.write_to_path(str(folder / "cert.pem"), append=number > 0)
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)
        (folder / "conf").write_text(CONFIGURATION.format(**vars(self)))
        command = [program, "-F", "--no-caps", "-f", folder / "conf"]
        for name in ("persist-file", "pidfile", "control"):
            command += [f"--{name}", folder / name]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wait_started(self):
        deadline = time.monotonic() + 20
        for port in (self.counted, self.lines, self.tls):
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert self.process.poll() is None, "syslog-ng ended by itself"
                    assert time.monotonic() < deadline, "syslog-ng does not start"
                    time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def messages(self, count):
        """Return the messages once there are *count*."""
        deadline = time.monotonic() + 10
        while True:
            lines = self.out.read_text().split("\n") if self.out.exists() else [""]
            if len(lines) > count or time.monotonic() > deadline:
                return [json.loads(line) for line in lines[:-1]]
            time.sleep(0.005)


@pytest.fixture(name="running", scope="module")
def _running(tmp_path_factory):
    program = shutil.which("syslog-ng")
    if program is None:
        pytest.skip("syslog-ng is not installed (Debian: apt-get install syslog-ng-core)")
    trustme = pytest.importorskip("trustme")
    server = SyslogNG(tmp_path_factory.mktemp("syslog-ng"), program, trustme.CA())
    try:
        server.wait_started()
        yield server
    finally:
        server.stop()


@pytest.fixture(name="server")
def _server(running):
    """Return the module's syslog-ng, with nothing in its file."""
    if running.out.exists():
        os.truncate(running.out, 0)
    return running


STREAM = socket.SOCK_STREAM
WAYS = {
    "UDP": lambda s: {"address": ("127.0.0.1", s.udp)},
    "TCP, counted": lambda s: {
        "address": ("127.0.0.1", s.counted), "socktype": STREAM, "framing": "octet-counting",
    },
    "TCP, lines": lambda s: {"address": ("127.0.0.1", s.lines), "socktype": STREAM},
    "TLS": lambda s: {"address": ("localhost", s.tls), "socktype": STREAM, "tls": s.context},
}  # fmt: skip
TEXTS = [
    "plain",
    "a tab\there, a bell\a, an escape \x1b[31m, two\nlines",
    'quotes " and ] and \\ and [not data]',
    "h\xe4lt \u4f60\u597d \U0001f600",
    "trailing blank ",
    "",
]


@pytest.mark.rule("SY-3", "SY-6", "SY-8", "SY-12", "SY-13")
@pytest.mark.parametrize("confirm", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_syslog_ng_reads_every_field_as_it_is_meant(server, way, confirm):
    """Priority, time, host, name, process, structured data, message; twenty of each text."""
    options = WAYS[way](server)
    if way == "UDP" and confirm:
        pytest.skip("over UDP nothing is confirmed")
    if way != "UDP":
        options["confirm"] = confirm
    handler = SyslogHandler(
        facility="local3",
        hostname="host-1",
        format_string="{record.message}",
        retry=Retry(initial=0.01, maximum=0.05),
        **options,
    )
    times, expected = [], []
    handler.filter = lambda record, _: times.append(record.moment) or True
    with handler.applicationbound(), Flags(errors="raise"):
        for number in range(20 * len(TEXTS)):
            text = f"{number} {TEXTS[number % len(TEXTS)]}"
            expected.append(text)
            log.error(text, extra={"number": number, 'a "b" ]': 'c "d" ] \\'})
        assert handler.flush(10)
    handler.close()
    messages = server.messages(len(expected))
    # Each connection is a source of its own.
    messages.sort(key=lambda message: int(re.search(r'number="(\d+)"', message["data"])[1]))

    assert len(messages) == len(expected)
    for text, message, moment in zip(expected, messages, times, strict=True):
        assert message["pri"] == str(19 * 8 + 3)
        assert (message["host"], message["app"]) == ("host-1", "testlogger")
        assert message["pid"] == str(os.getpid())
        assert message["data"].startswith("[extra@32473 ")
        assert 'a__b___="c \\"d\\" \\] \\\\"' in message["data"]
        shown = text.replace("\n", "\\n").replace("\t", "\\t").replace("\a", "\\x07")
        assert message["text"].removeprefix("\ufeff") == shown.replace("\x1b", "\\x1b")
        assert _clock.moment_of(_clock.parse_iso8601(message["time"])) == moment


@pytest.mark.rule("SY-5")
def test_syslog_ng_reads_local_messages(server):
    """Over the socket of the machine."""
    handler = SyslogHandler("shop", server.folder / "log")
    with handler.applicationbound():
        log.error("it is broken")
    handler.close()
    (message,) = server.messages(1)

    # Its tag is all before the first colon.
    assert (message["pri"], message["app"]) == ("11", "shop")
    assert message["text"] == "testlogger: it is broken"
