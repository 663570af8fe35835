"""Messages for people, and the command that reads them from a log."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.eliot.json import encode
from sprockets.eliot.prettyprint import (
    REQUIRED_FIELDS,
    compact_format,
    describe_lines,
    main,
    pretty_format,
)

UUID = "8c668cde-235b-4872-af4e-caea524bd1c0"


def message(**fields):
    return {"task_uuid": UUID, "task_level": [1, 2], "timestamp": 1443193754, **fields}


@pytest.mark.parametrize("show", [pretty_format, compact_format])
def test_what_lacks_a_required_field_is_no_message(show):
    """Those three are enough."""
    assert {"task_uuid", "task_level", "timestamp"} == REQUIRED_FIELDS
    assert show(message())

    for name in REQUIRED_FIELDS:
        rest = message()
        del rest[name]
        with pytest.raises(ValueError, match=f"not a message: there is no '{name}'"):
            show(rest)


# -- on some lines


@pytest.mark.rule("E21.1")
def test_a_message_on_some_lines():
    """Place, time, type, and its other fields by name."""
    text = pretty_format(message(message_type="messagey", keys=[123, 456], a=None))

    assert text == (
        f"{UUID} -> /1/2\n"
        "2015-09-25T15:09:14Z\n"
        "  message_type: 'messagey'\n"
        "  a: None\n"
        "  keys: [123, 456]\n"
    )


@pytest.mark.rule("E21.1", "E23.1")
def test_the_end_of_an_action_on_some_lines():
    """Type and status first, then the rest by name."""
    text = pretty_format(
        {
            "errno": 2,
            "exception": "builtins.FileNotFoundError",
            "reason": "[Errno 2] No such file: '/x'",
            "action_status": "failed",
            "timestamp": 1795224951.1551228,
            "task_uuid": "2e9628dc-f5c8-44a3-97f1-a5c12128761a",
            "action_type": "app:badchild",
            "task_level": [4, 2],
        }
    )

    assert text == (
        "2e9628dc-f5c8-44a3-97f1-a5c12128761a -> /4/2\n"
        "2026-11-21T01:35:51.155123Z\n"
        "  action_type: 'app:badchild'\n"
        "  action_status: 'failed'\n"
        "  errno: 2\n"
        "  exception: 'builtins.FileNotFoundError'\n"
        "  reason: \"[Errno 2] No such file: '/x'\"\n"
    )


@pytest.mark.rule("E21.2")
def test_line_breaks_in_a_value_are_shown_as_such():
    """What follows one is indented to where the value begins."""
    text = pretty_format(message(message_type="m", key="hello\nthere\nmonkeys!\n", tab="a\tb"))

    assert text.endswith(
        "  key: 'hello\n"
        "     |  there\n"
        "     |  monkeys!\n"
        "     |  '\n"
        "  tab: 'a\tb'\n"
    )  # fmt: skip


@pytest.mark.rule("E21.2")
def test_large_values_are_laid_out_in_forty_columns():
    """As pprint does it."""
    text = pretty_format(message(long=["a" * 30, "b" * 38, {"k": 1}]))

    assert text.endswith(
        f"  long: ['{'a' * 30}',\n"
        f"      |  '{'b' * 38}',\n"
        "      |  {'k': 1}]\n"
    )  # fmt: skip


# -- on one line


@pytest.mark.rule("E21.3")
def test_a_message_on_one_line():
    """Values as JSON in ASCII, in the same order."""
    text = compact_format(
        {
            "x": 2,
            "items": [1, {"k": "é✓😀"}],
            "text": 'a\n"b"\\',
            "action_status": "started",
            "task_uuid": "2e9628dc",
            "task_level": [3, 2],
            "timestamp": 1795224951.15507,
            "action_type": "app:info",
        }
    )

    assert text == (
        '2e9628dc/3/2 2026-11-21T01:35:51.155070Z action_type="app:info" action_status="started"'
        r' items=[1,{"k":"\u00e9\u2713\ud83d\ude00"}] text="a\n\"b\"\\" x=2'
    )


TEXTS = st.text(st.sampled_from('a "\\\n\x00\x7f\x85é\u2028\uffff😀\udc80'), max_size=6)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), TEXTS | st.integers() | st.none()))
def test_values_on_one_line_can_be_read_back(fields):
    """Each is JSON, and ASCII."""
    text = compact_format(message(**fields)).partition("Z")[2]

    assert text.isascii()
    assert text == "".join([f" {name}={json.dumps(fields[name])}" for name in sorted(fields)])


# -- time


@pytest.fixture(name="tokyo")
def _tokyo(monkeypatch):
    """A machine nine hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.rule("E21.4")
@pytest.mark.parametrize(
    ("timestamp", "utc", "local"),
    [
        (1443193754, "2015-09-25T15:09:14Z", "2015-09-26T00:09:14"),
        (1443193754.5, "2015-09-25T15:09:14.500000Z", "2015-09-26T00:09:14.500000"),
        (-1.0, "1969-12-31T23:59:59Z", "1970-01-01T08:59:59"),
    ],
)
def test_times_are_utc_or_local(tokyo, timestamp, utc, local):
    """Local ones have no suffix; microseconds are shown if there are any."""
    sale = message(timestamp=timestamp)

    assert pretty_format(sale).splitlines()[1] == utc
    assert pretty_format(sale, local_timezone=True).splitlines()[1] == local
    assert compact_format(sale).split()[1] == utc
    assert compact_format(sale, True).split()[1] == local


# -- anything


class Broken:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize("show", [pretty_format, compact_format])
def test_values_and_names_may_be_anything(show):
    """Not only what JSON has: messages come from memory as well."""
    text = show(message(broken=Broken(), kind=object, **{"e\x1b[31m\nforged: 1": 1}) | {5: 6})

    assert "eliot: unknown, str() raised exception" in text
    assert "<class 'object'>" in text
    assert r"e\x1b[31m\nforged: 1" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("show", [pretty_format, compact_format])
def test_values_may_be_nested_deeply(show):
    """Deeper than the layout can go."""
    value = []
    for _ in range(5_000):
        value = [value]

    assert "[" * 5_001 + "]" * 5_001 in show(message(value=value))


@pytest.mark.parametrize("show", [pretty_format, compact_format])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"task_uuid": ...}, "there is no 'task_uuid'"),
        ({"task_level": ...}, "there is no 'task_level'"),
        ({"timestamp": ...}, "there is no 'timestamp'"),
        ({"task_level": "/1"}, "'task_level' must be a list, got '/1'"),
        ({"timestamp": "now"}, "'timestamp' must be a number, got 'now'"),
        ({"timestamp": True}, "'timestamp' must be a number, got True"),
        ({"timestamp": 1e30}, "'timestamp' is no time, 1e"),
        ({"timestamp": float("nan")}, "'timestamp' is no time, nan"),
    ],
)
def test_what_has_no_place_or_time_is_refused(show, change, text):
    """The error names the field."""
    fields = {name: value for name, value in message(**change).items() if value is not ...}

    with pytest.raises(ValueError, match=text):
        show(fields)


# -- lines


@pytest.mark.rule("E21.5", "E21.6")
@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (b"not json", "Not JSON"),
        (b"", "Not JSON"),
        (b'{"a": "\xff"}', "Not JSON"),
        (b"\xff\xfe\x00", "Not JSON"),
        (b"[" * 100_000, "Not JSON"),
        (b'{"a":1}', "Not an Eliot message"),
        (b"[]", "Not an Eliot message"),
        (b"5", "Not an Eliot message"),
        (b'"text"', "Not an Eliot message"),
        (b"null", "Not an Eliot message"),
        (b'{"task_uuid":"u","task_level":[1],"timestamp":"x"}', "Not an Eliot message"),
        (b'{"task_uuid":"u","task_level":"/1","timestamp":1}', "Not an Eliot message"),
        (b'{"task_uuid":"u","task_level":[1],"timestamp":1e300}', "Not an Eliot message"),
        (b'{"task_uuid":"u","task_level":[1],"timestamp":NaN}', "Not an Eliot message"),
        (b'{"task_uuid":"u","task_level":[1],"timestamp":true}', "Not an Eliot message"),
    ],
)
def test_lines_that_are_no_messages_are_shown_and_passed(line, verdict, compact):
    """As the bytes they are; reading goes on."""
    good = json.dumps(message()).encode() + b"\n"

    bad, shown = describe_lines([line + b"\n", good], compact=compact)

    assert bad == f"{verdict}: {line!r}\n\n"
    assert UUID in shown


@given(st.binary())
def test_any_line_gets_a_text(line):
    """Nothing stops the command."""
    (text,) = describe_lines([line])

    assert text.endswith("\n\n")


# -- the command


def run(*arguments, given=b"", environment=None):
    return subprocess.run(
        [sys.executable, "-P", "-m", "sprockets.eliot.prettyprint", *arguments],
        input=given,
        capture_output=True,
        env={**os.environ, "TZ": "Asia/Tokyo", **(environment or {})},
        timeout=60,
        check=False,
    )


@pytest.mark.rule("E21.1", "E21.5")
def test_the_command_shows_what_it_reads():
    """UTF-8 in, an empty line after each message, status 0."""
    sale = message(message_type="é")
    done = run(given=encode(sale) + b"\nnope\n" + encode(sale))

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == (
        f"{pretty_format(sale)}\nNot JSON: b'nope'\n\n{pretty_format(sale)}\n"
    )


@pytest.mark.rule("E21.3", "E21.4")
@pytest.mark.parametrize("options", [["-c", "-l"], ["--compact", "--local-timezone"], ["-cl"]])
def test_the_command_takes_options(options):
    """Short and long ones."""
    done = run(*options, given=encode(message(x=1)) + b"\n")

    assert done.stdout.decode() == f"{UUID}/1/2 2015-09-26T00:09:14 x=1\n"


def test_the_command_shows_what_the_terminal_lacks_as_escapes():
    """It does not end at the first letter that ASCII does not have."""
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run(given=encode(message(x="é\udc80")), environment=environment)

    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"x: '\xe9\udc80'" in done.stdout


def test_the_command_explains_itself():
    """With its options; wrong ones are refused."""
    assert b"--local-timezone" in run("--help").stdout
    assert run("--wrong").returncode == 2


def start():
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "sprockets.eliot.prettyprint", "-c"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )


def test_each_message_is_shown_when_it_is_there():
    """Before the log has ended."""
    with start() as command:
        command.stdin.write(encode(message()) + b"\n")
        first = command.stdout.readline()
        command.stdin.close()
        command.wait(20)

    assert first.startswith(UUID.encode())


def test_ctrl_c_ends_the_command_quietly():
    """With the status that shells give it."""
    with start() as command:
        command.stdin.write(encode(message()) + b"\n")
        command.stdout.readline()
        command.send_signal(signal.SIGINT)
        errors = command.stderr.read()

    assert (command.returncode, errors) == (130, b"")


def test_the_command_ends_quietly_when_nobody_reads_on():
    """As with head(1)."""
    line = encode(message()) + b"\n"
    with start() as command:
        command.stdout.close()
        try:
            for _ in range(1000):
                command.stdin.write(line)
            command.stdin.close()
        except BrokenPipeError:
            pass
        errors = command.stderr.read()

    assert (command.returncode, errors) == (0, b"")


def test_main_may_be_called_with_arguments(monkeypatch, capsys):
    """It reads standard input and returns the status."""
    read_end, write_end = os.pipe()
    os.write(write_end, encode(message()) + b"\n")
    os.close(write_end)
    with open(read_end, encoding="utf-8") as given:
        monkeypatch.setattr(sys, "stdin", given)
        assert main(["--compact"]) == 0

    assert capsys.readouterr().out == f"{UUID}/1/2 2015-09-25T15:09:14Z\n"
