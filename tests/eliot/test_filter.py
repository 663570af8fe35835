"""Filtering messages by an expression."""

import io
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from sprockets.eliot.filter import USAGE, EliotFilter, main

MESSAGES = [{"x": 1}, {"x": 2, "é": ["a"]}, {"y": 3}]
LINES = [json.dumps(message) + "\n" for message in MESSAGES]


def results(expression, lines=LINES):
    """Return what is written, line by line, as a reader gets it."""
    output = io.StringIO()
    EliotFilter(expression, lines, output).run()
    return [json.loads(line) for line in output.getvalue().splitlines()]


@pytest.mark.rule("E21.7")
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("J", MESSAGES),
        ("J['x'] if 'x' in J else SKIP", [1, 2]),
        ("SKIP", []),
        ("SKIP if 'y' in J else {'twice': J['x'] * 2}", [{"twice": 2}, {"twice": 4}]),
        ("[key for key in J if J.get('x') == 2]", [[], ["x", "é"], []]),
        ("(lambda: J.get('y'))()", [None, None, 3]),
        ("sorted(J)[0]", ["x", "x", "y"]),
        (" len(J) \n", [1, 2, 1]),
    ],
)
def test_the_expression_is_evaluated_for_each_message(expression, expected):
    """With the message as J; nothing is written for SKIP."""
    assert results(expression) == expected


@pytest.mark.rule("E21.7")
def test_moments_are_written_as_text():
    """In ISO 8601, wherever they are; other things as in a log."""
    expression = (
        "[datetime(2020, 1, 2), {'t': datetime(2020, 1, 1) + timedelta(microseconds=4)},"
        " {5}, 3j, float('nan'), {(1,): 2}]"
    )

    assert results(expression, ["{}"]) == [
        [
            "2020-01-02T00:00:00",
            {"t": "2020-01-01T00:00:00.000004"},
            [5],
            {"real": 0, "imag": 3},
            None,
            {"(1,)": 2},
        ]
    ]


@pytest.mark.rule("E21.7")
@pytest.mark.parametrize("line", ['{"x": "é"}', '{"x": "é"}\n', '{"x": "é"}\n'.encode()])
@pytest.mark.parametrize("kind", [io.StringIO, io.BytesIO])
def test_lines_and_output_may_be_text_or_bytes(line, kind):
    """Bytes are UTF-8; one line of JSON comes out, in ASCII."""
    output = kind()

    EliotFilter("[J['x']]", [line], output).run()

    written = output.getvalue()
    assert (written if isinstance(written, str) else written.decode()) == '["\\u00e9"]\n'


@pytest.mark.rule("E21.10")
def test_bad_lines_and_failing_expressions_end_it():
    """With the error they raised, after what was written before."""
    output = io.StringIO()

    with pytest.raises(json.JSONDecodeError):
        EliotFilter("J", [LINES[0], "nope"], output).run()
    with pytest.raises(KeyError, match="x"):
        EliotFilter("J['x']", LINES, output).run()
    with pytest.raises(SyntaxError):
        EliotFilter("J if", LINES, output)
    assert output.getvalue() == '{"x": 1}\n1\n2\n'


def fake_sys(*arguments, given=""):
    return SimpleNamespace(
        argv=["filter.py", *arguments],
        stdin=io.StringIO(given),
        stdout=io.StringIO(),
        stderr=io.StringIO(),
    )


@pytest.mark.rule("E21.8")
def test_main_filters_standard_input_to_standard_output():
    """And returns 0."""
    system = fake_sys("J['x']", given=LINES[0])

    assert main(system) == 0
    assert (system.stdout.getvalue(), system.stderr.getvalue()) == ("1\n", "")


@pytest.mark.rule("E21.8")
@pytest.mark.parametrize("arguments", [(), ("J", "J")])
def test_main_takes_one_expression(arguments):
    """Otherwise it says how it is used, and returns 1."""
    system = fake_sys(*arguments, given=LINES[0])

    assert main(system) == 1
    assert (system.stdout.getvalue(), system.stderr.getvalue()) == ("", USAGE)


# -- the command


def command(*arguments):
    return [sys.executable, "-P", "-m", "sprockets.eliot.filter", *arguments]


def run(*arguments, given="", environment=None):
    return subprocess.run(
        command(*arguments),
        input=given.encode(),
        capture_output=True,
        env={**os.environ, **(environment or {})},
        timeout=60,
        check=False,
    )


@pytest.mark.rule("E21.7", "E21.9")
def test_the_command_filters():
    """Messages are UTF-8, whatever the terminal's encoding."""
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = run("J['x']", given='{"x":"é"}\n', environment=environment)

    assert (done.returncode, done.stdout, done.stderr) == (0, b'"\\u00e9"\n', b"")


@pytest.mark.rule("E21.8", "E21.9")
def test_the_command_without_expression_says_how_it_is_used():
    """Its status is 1."""
    done = run()

    assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", USAGE)


@pytest.mark.rule("E21.10")
def test_the_command_ends_with_a_traceback_where_a_line_is_bad():
    """What comes before it is written."""
    done = run("J", given="{}\nnope\n")

    assert (done.returncode, done.stdout) == (1, b"{}\n")
    assert b"JSONDecodeError" in done.stderr


def start(expression):
    return subprocess.Popen(
        command(expression),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )


def test_what_is_filtered_is_there_at_once_and_ctrl_c_ends_it_quietly():
    """In the middle of a log that still grows."""
    with start("J") as filtering:
        filtering.stdin.write(b"{}\n")
        first = filtering.stdout.readline()
        filtering.send_signal(signal.SIGINT)
        errors = filtering.stderr.read()

    assert (first, filtering.returncode, errors) == (b"{}\n", 130, b"")


def test_the_command_ends_quietly_when_nobody_reads_on():
    """As with head(1)."""
    with start("J") as filtering:
        filtering.stdout.close()
        try:
            for _ in range(1000):
                filtering.stdin.write(b"{}\n")
            filtering.stdin.close()
        except BrokenPipeError:
            pass
        errors = filtering.stderr.read()

    assert (filtering.returncode, errors) == (0, b"")
