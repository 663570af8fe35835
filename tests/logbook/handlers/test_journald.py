"""The journal: entries that a real systemd-journald, or a strict reader of its protocol, understands."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sprockets.logbook import Flags, JSONFormatter, Logger, LogRecord
from sprockets.logbook._json import FIELDS
from sprockets.logbook._text import cut
from sprockets.logbook.handlers._journald import JournaldHandler, field, field_name

JOURNALD = "/lib/systemd/systemd-journald"
log = Logger("testlogger")


def read_entry(data):
    """Return the fields of an entry, read as strictly as the protocol is written."""
    fields = []
    while data:
        end = data.index(b"\n")
        name, sign, value = data[:end].partition(b"=")
        assert name, data
        assert not name.startswith(b"_")
        assert len(name) <= 64
        assert set(name) <= set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
        data = data[end + 1 :]
        if not sign:
            size = int.from_bytes(data[:8], "little")
            value, rest = data[8 : 8 + size], data[8 + size :]
            assert len(value) == size
            assert rest[:1] == b"\n"
            data = rest[1:]
        fields.append((name.decode(), value.decode()))
    return fields


@pytest.fixture(name="journal")
def _journal(tmp_path):
    """A socket in place of the journal's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.settimeout(2)
        yield journal


@pytest.fixture(name="handler")
def _handler(journal):
    handler = JournaldHandler(address=journal.getsockname())
    yield handler
    handler.close()


def test_an_entry_has_what_the_record_has(journal, handler):
    """The names are those of the JSON, in capitals, beside those that the journal knows."""
    with handler.applicationbound():
        try:
            raise ValueError("why")
        except ValueError:
            log.exception("it {}", "failed", extra={"user": "ann", "items": [1, "b"]})
    fields = dict(read_entry(journal.recv(65536)))

    assert fields["MESSAGE"].startswith("it failed\nTraceback (most recent call last):\n")
    assert fields["MESSAGE"].endswith("\nValueError: why")
    assert fields["PRIORITY"] == "3"
    assert fields["SYSLOG_IDENTIFIER"] == fields["CHANNEL"] == "testlogger"
    assert fields["CODE_FILE"] == fields["FILENAME"] == __file__
    assert fields["CODE_LINE"] == fields["LINENO"]
    assert fields["CODE_FUNC"] == "test_an_entry_has_what_the_record_has"
    assert fields["LEVEL"] == "14"
    assert fields["LEVEL_NAME"] == "ERROR"
    assert fields["PROCESS"] == str(os.getpid())
    assert fields["EXTRA_USER"] == "ann"
    assert fields["EXTRA_ITEMS"] == '[1,"b"]'
    assert fields["ARGS"] == '["failed"]'
    assert fields["EXCEPTION_NAME"].endswith("ValueError")


def test_fields_agree_with_the_json_of_the_record(handler):
    """One record, one set of facts, whoever reads it."""
    record = LogRecord("c", "INFO", "text {}", ("x",), extra={"a": 1})
    record.heavy_init()
    document = json.loads(JSONFormatter()(record, handler))
    fields = dict(read_entry(handler.encode(record)))

    for name in set(FIELDS) - {
        "extra",
        "frame_correction",
        "heavy_initialized",
        "information_pulled",
    }:
        value = document[name]
        if value in (None, [], {}):
            assert name.upper() not in fields
        elif isinstance(value, (list, dict)):
            assert json.loads(fields[name.upper()]) == value
        else:
            assert fields[name.upper()] == str(value)


def test_fields_may_be_chosen_and_the_layout_too(journal):
    """What is unknown is refused."""
    handler = JournaldHandler(
        "shop",
        format_string="[{record.level_name}] {record.message}",
        address=journal.getsockname(),
        fields=["channel"],
    )
    with handler.applicationbound():
        log.info("open")
    handler.close()
    fields = dict(read_entry(journal.recv(9999)))

    assert fields["MESSAGE"] == "[INFO] open"
    assert fields["SYSLOG_IDENTIFIER"] == "shop"
    assert fields["CHANNEL"] == "testlogger"
    assert "THREAD" not in fields
    with pytest.raises(ValueError, match="unknown field 'colour'; known: time, level"):
        JournaldHandler(fields=["colour"], delay=True)


@pytest.mark.parametrize(
    ("level", "priority"), [("TRACE", "7"), ("NOTICE", "5"), ("CRITICAL", "2"), (99, "4")]
)
def test_priorities_are_those_of_syslog(handler, level, priority):
    """Levels of one's own are warnings, and have their number for a name."""
    fields = dict(read_entry(handler.encode(LogRecord("c", level, "x"))))

    assert fields["PRIORITY"] == priority
    assert fields["LEVEL_NAME"] == str(level)


@given(st.text())
def test_any_name_becomes_that_of_a_field(name):
    """One that the journal does not drop."""
    assert read_entry(field(field_name(name), "x"))[0][1] == "x"


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text()))
def test_no_text_can_add_a_field(message, channel, extra):
    """Line breaks included: the values come out as they went in."""
    handler = JournaldHandler(delay=True)
    fields = read_entry(handler.encode(LogRecord(channel, "INFO", message, extra=extra)))

    assert fields[0] == ("MESSAGE", message)
    assert ("CHANNEL", channel) in fields
    names = [name for name, _ in fields]
    assert len([name for name in names if name.startswith("EXTRA_")]) == len(extra)
    assert [value for name, value in fields if name.startswith("EXTRA_")] == list(extra.values())


def test_the_control_lets_a_line_break_add_a_field():
    """Written as lines, as is often done, a text brings fields of its own."""
    forged = read_entry(b"MESSAGE=harmless\nPRIORITY=0\n")

    assert ("PRIORITY", "0") in forged


def make_datagrams_small(handler):
    """Let nothing above some kilobytes go as a datagram, on a machine of any size."""
    handler._link.open().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there are no files in memory here")
def test_a_large_entry_goes_as_a_sealed_file(journal, handler):
    """Its descriptor comes instead of its bytes, and nobody can change it any more."""
    handler.formatter = lambda record, _: "x" * 1_000_000
    make_datagrams_small(handler)
    with handler.applicationbound(), Flags(errors="raise"):
        log.info("large")
    data, descriptors, _, _ = socket.recv_fds(journal, 10, 1)

    assert data == b""
    with open(descriptors[0], "rb") as file:
        fields = dict(read_entry(os.pread(file.fileno(), 2_000_000, 0)))
        seals = fcntl.fcntl(file.fileno(), fcntl.F_GET_SEALS)
    assert fields["MESSAGE"] == cut("x" * 1_000_000)
    assert seals == 15
    assert handler.statistics() == {"sent": 1, "refused": 0, "opened": 1}


def test_there_is_an_error_where_there_is_no_journal(tmp_path):
    """At once, or with the first record."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        JournaldHandler(address=tmp_path / "nowhere")
    handler = JournaldHandler(address=tmp_path / "nowhere", delay=True)
    with handler.applicationbound(), Flags(errors="raise"):
        with pytest.raises(FileNotFoundError):
            log.info("x")
    handler.close()
    handler.close()


# -- the real one


class Journal:
    """A systemd-journald of our own, in a namespace where /run is empty."""

    def __init__(self):
        script = (
            "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal /run/log/journal"
            f" && exec {JOURNALD}"
        )
        self.process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        root = Path(f"/proc/{self.process.pid}/root/run")
        self.address = root / "systemd/journal/socket"
        self.folder = root / "log/journal"

    def wait_ready(self):
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                try:
                    sock.connect(str(self.address))
                except OSError:
                    time.sleep(0.01)
                else:
                    return True
        return False

    def entries(self, run, count):
        """Return the entries of this *run* once there are *count*."""
        command = ["journalctl", "-D", self.folder, "-o", "json", "--all", f"EXTRA_RUN={run}"]
        deadline = time.monotonic() + 5
        while True:
            done = subprocess.run(command, capture_output=True, text=True)
            entries = [json.loads(line) for line in done.stdout.splitlines()]
            if len(entries) >= count or time.monotonic() > deadline:
                return entries
            time.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(name="journald", scope="module")
def _journald():
    if not (os.path.exists(JOURNALD) and shutil.which("journalctl") and shutil.which("unshare")):
        pytest.skip("systemd-journald is not installed; the strict reader above stands in for it")
    journal = Journal()
    if not journal.wait_ready():
        journal.stop()
        pytest.skip("systemd-journald cannot run here, which takes the rights to mount;"
                    " the strict reader above stands in for it")  # fmt: skip
    yield journal
    journal.stop()


def text_of(value):
    """Return a field as journalctl shows it: a list of bytes where it is not plain text."""
    return bytes(value).decode() if isinstance(value, list) else value


def test_journald_keeps_every_field(journald):
    """As it was sent, line breaks and large values included."""
    handler = JournaldHandler("shop", address=journald.address)
    make_datagrams_small(handler)
    texts = ["plain", "two\nlines", "ünïcode \u2028 \x1b[31m", "y" * 300_000]
    with handler.applicationbound(), Flags(errors="raise"):
        for number, text in enumerate(texts):
            log.error(text, extra={"run": "every", "number": number, "text": text})
    handler.close()
    entries = journald.entries("every", len(texts))

    assert [entry["EXTRA_NUMBER"] for entry in entries] == ["0", "1", "2", "3"]
    for entry, text in zip(entries, texts, strict=True):
        assert text_of(entry["MESSAGE"]) == cut(text)
        assert text_of(entry["EXTRA_TEXT"]) == cut(text)
        assert entry["PRIORITY"] == "3"
        assert entry["SYSLOG_IDENTIFIER"] == "shop"
        assert entry["CHANNEL"] == "testlogger"
        assert entry["CODE_FILE"] == __file__
        assert entry["_TRANSPORT"] == "journal"


def test_journald_reads_any_text_as_it_is_meant(journald):
    """A hundred random messages, names and values."""
    handler = JournaldHandler(address=journald.address, block_timeout=1)
    sent = []

    @settings(
        max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.text(min_size=1), st.text(), st.text(min_size=1))
    def send(text, name, value):
        sent.append((text, field_name(f"EXTRA_{name}"), value))
        with Flags(errors="raise"):
            record = LogRecord("c", "INFO", text, extra={name + "_": value, "run": "any"})
            record.heavy_init()
            handler.handle(record)

    send()
    handler.close()
    entries = journald.entries("any", len(sent))

    assert len(entries) == len(sent)
    for entry, (text, name, value) in zip(entries, sent, strict=True):
        assert text_of(entry["MESSAGE"]) == text
        names = [key for key in entry if key.startswith("EXTRA_") and key != "EXTRA_RUN"]
        assert len(names) == 1
        assert names[0].startswith(name[:60])
        assert text_of(entry[names[0]]) == value
