"""Messages in the journal: as a strict reader of its protocol gets them, and a real systemd-journald."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sprockets.eliot import (
    add_destinations,
    log_message,
    remove_destination,
    start_action,
    write_traceback,
)
from sprockets.eliot import journald as module
from sprockets.eliot.journald import JournaldDestination, sd_journal_send

JOURNALD = "/lib/systemd/systemd-journald"

MESSAGE = {"task_uuid": "u", "task_level": [1], "timestamp": 1.5, "message_type": "m"}


def read_entry(data):
    """Return the fields of an entry, read as strictly as the protocol is written."""
    fields = {}
    while data:
        end = data.index(b"\n")
        name, sign, value = data[:end].partition(b"=")
        data = data[end + 1 :]
        if not sign:
            size = int.from_bytes(data[:8], "little")
            value, rest = data[8 : 8 + size], data[8 + size :]
            assert len(value) == size
            assert rest[:1] == b"\n"
            data = rest[1:]
        assert name.decode() not in fields
        fields[name.decode()] = value
    return fields


@pytest.fixture(name="journal")
def _journal(tmp_path):
    """A socket in place of the journal's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.settimeout(5)
        yield journal


@pytest.fixture(name="destination")
def _destination(journal, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/shop.py", "--all"])
    destination = JournaldDestination(address=journal.getsockname())
    yield destination
    destination.close()


@pytest.fixture(name="default_link")
def _default_link(journal, monkeypatch):
    """The link of `sd_journal_send`, to the socket in place of the journal's."""
    link = module._Link(journal.getsockname(), 0.005)
    monkeypatch.setattr(module, "_default_link", link)
    yield link
    link.close()


@pytest.mark.rule("E22.1")
def test_an_entry_has_five_fields(journal, destination):
    """The message as JSON, its task, its type, the program's name, a priority."""
    destination({**MESSAGE, "text": "é%s\n"})
    fields = read_entry(journal.recv(65536))

    assert fields == {
        "MESSAGE": '{"task_uuid":"u","task_level":[1],"timestamp":1.5,"message_type":"m","text":"é%s\\n"}'.encode(),
        "ELIOT_TASK": b"u",
        "ELIOT_TYPE": b"m",
        "SYSLOG_IDENTIFIER": b"shop.py",
        "PRIORITY": b"6",
    }


@pytest.mark.rule("E22.1")
@pytest.mark.parametrize(
    ("message", "kind", "priority"),
    [
        ({"action_type": "a", "action_status": "started"}, b"a", b"6"),
        ({"action_type": "a", "action_status": "succeeded"}, b"a", b"6"),
        ({"action_type": "a", "action_status": "failed"}, b"a", b"3"),
        ({"action_type": "a", "message_type": "m"}, b"a", b"6"),
        ({"action_type": "", "message_type": "m"}, b"", b"6"),
        ({"message_type": "eliot:traceback"}, b"eliot:traceback", b"2"),
        ({"message_type": "é\udc80\nX=1"}, "é\\udc80\nX=1".encode(), b"6"),
        ({}, b"", b"6"),
    ],
)
def test_type_and_priority_go_by_what_it_is(journal, destination, message, kind, priority):
    """Nothing in a type can add a field."""
    destination({"task_uuid": "u", **message})
    fields = read_entry(journal.recv(65536))

    assert (fields["ELIOT_TYPE"], fields["PRIORITY"]) == (kind, priority)
    assert list(fields) == ["MESSAGE", "ELIOT_TASK", "ELIOT_TYPE", "SYSLOG_IDENTIFIER", "PRIORITY"]


@pytest.mark.rule("E22.1")
@pytest.mark.parametrize(("argv", "name"), [([""], b""), ([], b""), (["-c"], b"-c")])
def test_the_programs_name_is_taken_at_construction(journal, monkeypatch, argv, name):
    """Whatever there is of one."""
    monkeypatch.setattr(sys, "argv", argv)
    destination = JournaldDestination(address=journal.getsockname())
    monkeypatch.setattr(sys, "argv", ["later"])
    destination(MESSAGE)
    destination.close()

    assert read_entry(journal.recv(65536))["SYSLOG_IDENTIFIER"] == name


@pytest.mark.rule("E22.3")
def test_any_bytes_arrive_as_they_are(journal, default_link):
    """Percent signs, line breaks, zero bytes, what is no UTF-8."""
    fields = {"MESSAGE": b"100%s %d\n\x00\xff=", "X1": b"", "A_B": bytes(range(256))}

    sd_journal_send(**fields)

    assert read_entry(journal.recv(65536)) == fields


@pytest.mark.rule("E22.3")
@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there are no files in memory here")
def test_hundreds_of_kilobytes_arrive_as_they_are(journal, default_link):
    """As a file, on a machine with datagrams of any size."""
    default_link.open().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    large = os.urandom(700_000)

    sd_journal_send(MESSAGE=large)
    _, descriptors, _, _ = socket.recv_fds(journal, 10, 1)

    with open(descriptors[0], "rb") as file:
        assert read_entry(os.pread(file.fileno(), 2_000_000, 0)) == {"MESSAGE": large}


@pytest.mark.rule("E22.2")
@pytest.mark.parametrize(
    "name", ["", "message", "_PID", "1ST", "A-B", "A=B", "A\nB", "A" * 65, "É"]
)
def test_names_that_the_journal_would_drop_are_refused(journal, default_link, name):
    """Nothing of the entry is sent."""
    with pytest.raises(OSError, match="no name of a field of the journal") as caught:
        sd_journal_send(**{"MESSAGE": b"x", name: b"y"})

    assert caught.value.errno == errno.EINVAL
    assert default_link.counts == {"sent": 0, "refused": 0, "opened": 0}


@pytest.mark.rule("E22.4")
def test_without_a_journal_there_is_a_clear_error(tmp_path):
    """When the destination is made."""
    with pytest.raises(FileNotFoundError) as caught:
        JournaldDestination(address=tmp_path / "nowhere")

    assert str(caught.value) == (
        f"[Errno {errno.ENOENT}] cannot reach the journal of systemd (No such file or directory);"
        f" is systemd-journald running here, and its socket there: '{tmp_path / 'nowhere'}'"
    )


@pytest.mark.rule("E22.2")
def test_a_journal_that_has_gone_is_an_error_of_each_message(journal, destination):
    """And one that is back is found."""
    destination(MESSAGE)
    path = journal.getsockname()
    journal.close()
    os.unlink(path)

    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            destination(MESSAGE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as back:
        back.bind(path)
        destination(MESSAGE)
        assert read_entry(back.recv(65536))["ELIOT_TASK"] == b"u"

    assert destination.statistics() == {"sent": 2, "refused": 0, "opened": 2}


@pytest.mark.rule("E22.2")
def test_a_journal_that_takes_nothing_is_an_error(journal, destination):
    """The program does not wait for it longer than it says; every message is accounted for."""
    errors = []
    for _ in range(2_000):
        try:
            destination(MESSAGE)
        except BlockingIOError as error:
            errors.append(error)
    counts = destination.statistics()

    assert {error.errno for error in errors} == {errno.EAGAIN}
    assert "the journal takes nothing at the moment; entry dropped" in str(errors[0])
    assert counts == {"sent": 2_000 - len(errors), "refused": len(errors), "opened": 1}
    for _ in range(counts["sent"]):
        journal.recv(65536)
    destination(MESSAGE)
    assert read_entry(journal.recv(65536))["ELIOT_TASK"] == b"u"


def test_a_message_that_contains_itself_is_refused(journal, destination):
    """As it is by a file."""
    message = dict(MESSAGE)
    message["self"] = message

    with pytest.raises(ValueError, match="contains itself"):
        destination(message)
    assert destination.statistics()["sent"] == 0


def test_what_is_logged_gets_there(journal, destination):
    """Actions and a traceback, through the library."""
    add_destinations(destination)
    try:
        journal.setblocking(False)
        drain(journal)
        with pytest.raises(ValueError, match="why"), start_action(action_type="sale"):
            log_message("paid", price=42)
            try:
                raise OSError("no")
            except OSError:
                write_traceback()
            raise ValueError("why")
    finally:
        remove_destination(destination)
    entries = drain(journal)

    assert [(entry["ELIOT_TYPE"], entry["PRIORITY"]) for entry in entries] == [
        (b"sale", b"6"),
        (b"paid", b"6"),
        (b"eliot:traceback", b"2"),
        (b"sale", b"3"),
    ]
    assert len({entry["ELIOT_TASK"] for entry in entries}) == 1
    assert json.loads(entries[1]["MESSAGE"])["price"] == 42


def drain(journal):
    """Return the entries that are there."""
    entries = []
    while True:
        try:
            entries.append(read_entry(journal.recv(65536)))
        except BlockingIOError:
            return entries


@pytest.mark.rule("E22.4", "E0.1")
def test_importing_needs_no_journal():
    """Nor any other library; only using it does."""
    code = """
import sys
import sprockets.eliot.journald
print(sorted({"cffi", "systemd", "twisted", "tornado"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)  # fmt: skip

    assert (done.stdout, done.stderr) == ("[]\n", "")


# -- the real one

PROGRAM = """
import os, sys
from sprockets.eliot import add_destinations, log_message, start_action, write_traceback
from sprockets.eliot.journald import JournaldDestination, sd_journal_send
add_destinations(JournaldDestination())
try:
    with start_action(action_type="sale", text="100%s é\\n"):
        log_message("large", value="y" * 400_000)
        raise ValueError("why")
except ValueError:
    write_traceback()
sd_journal_send(MESSAGE=b"plain %d\\nbytes", ELIOT_TYPE=b"own")
"""


@pytest.fixture(name="journald", scope="module")
def _journald():
    """A systemd-journald of our own, in a namespace where /run is empty."""
    tools = [shutil.which(name) for name in ("journalctl", "unshare", "nsenter")]
    if not (os.path.exists(JOURNALD) and all(tools)):
        pytest.skip("systemd-journald is not installed; the strict reader above stands in for it")
    script = (
        "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal /run/log/journal"
        f" && exec {JOURNALD}"
    )
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = Path(f"/proc/{process.pid}/root/run/systemd/journal/socket")
    if not is_ready(process, address):
        process.kill()
        process.wait()
        pytest.skip("systemd-journald cannot run here, which takes the rights to mount;"
                    " the strict reader above stands in for it")  # fmt: skip
    yield process.pid
    process.kill()
    process.wait()


def is_ready(process, address):
    """Wait for the socket to take connections."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.connect(str(address))
            except OSError:
                time.sleep(0.01)
            else:
                return True
    return False


def entries_of(pid, count):
    """Return the entries with a type, as journalctl shows them, once there are *count*."""
    folder = f"/proc/{pid}/root/run/log/journal"
    command = ["journalctl", "-D", folder, "-o", "json", "--all"]
    deadline = time.monotonic() + 10
    while True:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        entries = [json.loads(line) for line in done.stdout.splitlines()]
        entries = [entry for entry in entries if "ELIOT_TYPE" in entry]
        if len(entries) >= count or time.monotonic() > deadline:
            return entries
        time.sleep(0.02)


@pytest.mark.rule("E22.1", "E22.3")
def test_journald_keeps_all_of_it(journald, tmp_path):
    """At the address where journals are, with nothing but what the program says."""
    program = tmp_path / "shop.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        ["nsenter", "-t", str(journald), "-m", sys.executable, "-P", str(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    entries = entries_of(journald, 5)
    messages = [json.loads(entry["MESSAGE"]) for entry in entries[:4]]

    assert (done.returncode, done.stderr) == (0, "")
    assert [(entry["ELIOT_TYPE"], entry.get("PRIORITY")) for entry in entries] == [
        ("sale", "6"),
        ("large", "6"),
        ("sale", "3"),
        ("eliot:traceback", "2"),
        ("own", None),
    ]
    assert [entry["ELIOT_TASK"] for entry in entries[:4]] == [m["task_uuid"] for m in messages]
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries[:4]} == {"shop.py"}
    assert messages[0]["text"] == "100%s é\n"
    assert messages[1]["value"] == "y" * 400_000
    assert entries[4]["MESSAGE"] == "plain %d\nbytes"
