"""Messages in files: a line each, whole, at once; whatever the file is."""

import contextlib
import gzip
import io
import json
import os
import subprocess
import sys
import threading

import pytest
from twisted.python.logfile import DailyLogFile, LogFile

from sprockets.eliot import (
    FileDestination,
    add_destinations,
    log_message,
    remove_destination,
    start_action,
    statistics,
    to_file,
)

MESSAGE = {"text": 'café ✓ "q"\n', "nothing": None, "flag": True, "items": [1, "a", {"k": []}]}
LINE = '{"text":"café ✓ \\"q\\"\\n","nothing":null,"flag":true,"items":[1,"a",{"k":[]}]}\n'


class Calls:
    """A file that keeps what is called of it."""

    def __init__(self, kind):
        self.kind, self.calls = kind, []

    def write(self, data):
        if not isinstance(data, self.kind):
            raise TypeError
        self.calls.append(("write", data))

    def flush(self):
        self.calls.append(("flush",))


@pytest.mark.rule("E14.1", "E14.2")
@pytest.mark.parametrize("kind", [str, bytes])
def test_a_message_is_one_line_in_one_write(kind):
    """Compact, in UTF-8, flushed; which kind is found out once, with an empty write."""
    file = Calls(kind)
    destination = FileDestination(file=file)
    empty = [("write", b"")] if kind is bytes else []
    assert file.calls == empty

    destination(MESSAGE)

    assert file.calls == [*empty, ("write", LINE if kind is str else LINE.encode()), ("flush",)]


def opened(kind, path):
    """Return a file of *kind*."""
    return {
        "text": lambda: open(path, "w", encoding="utf-8"),
        "text in another encoding": lambda: open(path, "w", encoding="utf-16"),
        "binary": lambda: open(path, "wb"),
        "unbuffered": lambda: open(path, "wb", buffering=0),
        "appended": lambda: open(path, "a", encoding="utf-8"),
        "both ways": lambda: open(path, "w+b"),
        "line by line": lambda: open(path, "w", buffering=1, encoding="UTF8"),
    }[kind]()


KINDS = [
    "text",
    "text in another encoding",
    "binary",
    "unbuffered",
    "appended",
    "both ways",
    "line by line",
]


@pytest.mark.rule("E14.1", "E14.2")
@pytest.mark.parametrize("kind", KINDS)
def test_a_line_is_in_the_file_when_the_call_returns(kind, tmp_path):
    """Also after what the program wrote into it before."""
    path = tmp_path / "log"
    with opened(kind, path) as file:
        is_binary = not isinstance(file, io.TextIOBase)
        file.write(b"before\n" if is_binary else "before\n")
        destination = FileDestination(file=file)
        for _ in range(3):
            destination(MESSAGE)
        encoding = "utf-16" if "encoding" in kind else "utf-8"
        assert path.read_text(encoding) == "before\n" + 3 * LINE


@pytest.mark.rule("E14.2")
def test_files_in_memory(lines):
    """Text and bytes."""
    text = io.StringIO()
    to_file(text)
    log_message("m", k="é")

    assert lines.messages()[0]["k"] == "é"
    assert text.getvalue().encode() == lines.getvalue()


@pytest.mark.rule("E14.1")
def test_what_utf_8_lacks_is_escaped_for_a_text_file_too(tmp_path):
    """A lone surrogate."""
    with open(tmp_path / "log", "w", encoding="utf-16") as file:
        FileDestination(file=file)({"k": "\udc80"})

    assert json.loads((tmp_path / "log").read_text("utf-16")) == {"k": "\udc80"}


@pytest.mark.rule("E14.3")
def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    """By name."""
    path = tmp_path / "log"
    path.touch()
    for mode in ("r", "rb"):
        with (
            path.open(mode) as file,
            pytest.raises(RuntimeError, match=f"not open for writing: .*{path}"),
        ):
            FileDestination(file=file)


def test_a_file_that_is_closed_is_told_and_reported(tmp_path, messages):
    """By a destination failure: its descriptor may be somebody else's by now."""
    for kind in KINDS:
        file = opened(kind, tmp_path / "log")
        destination = to_file(file)
        file.close()
        other = os.open(tmp_path / "other", os.O_CREAT | os.O_WRONLY)
        log_message("m")
        os.close(other)
        remove_destination(destination)
        assert "closed" in messages[-1]["reason"]
        assert not (tmp_path / "other").read_bytes()


@pytest.mark.rule("E14.4")
def test_destinations_for_the_same_file_are_equal(tmp_path):
    """With the same options, that is."""
    one, other = io.StringIO(), io.StringIO()

    assert FileDestination(file=one) == FileDestination(file=one)
    assert hash(FileDestination(file=one)) == hash(FileDestination(file=one))
    assert FileDestination(file=one) != FileDestination(file=other)
    assert FileDestination(file=one) != FileDestination(file=one, json_default=str)
    assert FileDestination(file=one, json_default=str) == FileDestination(
        file=one, json_default=str
    )
    assert FileDestination(file=one) != one
    assert repr(FileDestination(file=one)) == f"FileDestination(file={one!r})"

    add_destinations(FileDestination(file=one))
    remove_destination(FileDestination(file=one))


def test_a_destination_tells_its_file_and_keeps_it():
    """For another file there is another destination."""
    file = io.StringIO()
    destination = FileDestination(file=file)

    with pytest.raises(AttributeError, match="file"):
        destination.file = io.BytesIO()

    assert destination.file is file


class Encoder(json.JSONEncoder):
    def default(self, o):
        return f"by encoder: {type(o).__name__}"


@pytest.mark.rule("E14.5", "E14.8")
def test_an_encoder_is_deprecated():
    """At the caller's line; it works, and does not go with json_default."""
    file = io.StringIO()
    with pytest.warns(
        DeprecationWarning, match="encoder is deprecated, use json_default"
    ) as warned:
        FileDestination(file, Encoder)({"k": object(), "t": "é"})
    assert warned[0].filename == __file__
    with pytest.warns(DeprecationWarning) as warned:
        to_file(file, Encoder)
    assert warned[0].filename == __file__

    assert file.getvalue() == '{"k":"by encoder: object","t":"é"}\n'
    with pytest.raises(RuntimeError, match="give json_default or encoder, not both"):
        FileDestination(file, Encoder, str)


@pytest.mark.rule("E14.8", "E14.10")
def test_a_conversion_of_ones_own(lines):
    """By name; what it raises is reported, and loses the message for this file only."""
    file = io.StringIO()
    to_file(file, json_default=lambda o: f"<{type(o).__name__}>")
    log_message("m", k=object())
    assert json.loads(file.getvalue())["k"] == "<object>"

    to_file(file, json_default=lambda o: 1 / 0)
    log_message("m", k=object())
    assert lines.messages()[-1]["exception"] == "builtins.ZeroDivisionError"


@pytest.mark.rule("E14.6")
def test_to_file_returns_what_it_added():
    """To be removed again."""
    destination = to_file(io.StringIO())

    assert isinstance(destination, FileDestination)
    remove_destination(destination)


@pytest.mark.rule("E14.7")
@pytest.mark.parametrize("kind", [LogFile, DailyLogFile])
def test_log_files_of_twisted(kind, tmp_path):
    """Rotated where they say; every line is complete."""
    options = {"rotateLength": 500} if kind is LogFile else {}
    file = kind("log", str(tmp_path), **options)
    to_file(file)
    for number in range(50):
        log_message("m", number=number)
    file.close()

    paths = list(tmp_path.iterdir())
    assert len(paths) > 10 if kind is LogFile else len(paths) == 1
    found = [json.loads(line)["number"] for path in paths for line in path.read_text().splitlines()]
    assert sorted(found) == list(range(50))
    assert all(path.read_bytes().endswith(b"\n") for path in paths)


def test_a_compressed_file(tmp_path):
    """Anything that has write and flush will do."""
    with gzip.open(tmp_path / "log.gz", "wb") as file:
        to_file(file)
        log_message("m")

    written = gzip.decompress((tmp_path / "log.gz").read_bytes())
    assert json.loads(written)["message_type"] == "m"


def read_slowly(descriptor, got):
    while data := os.read(descriptor, 1_000):
        got.append(data)


@pytest.mark.parametrize("kind", ["text", "binary", "unbuffered", "non-blocking"])
def test_pipes(kind):
    """Lines longer than a pipe holds, by four threads, do not mix."""
    reader, writer = os.pipe()
    if kind == "non-blocking":
        os.set_blocking(writer, False)
    file = (
        os.fdopen(writer, "w", encoding="utf-8")
        if kind == "text"
        else os.fdopen(writer, "wb", buffering=-1 if kind == "binary" else 0)
    )
    destination, got = FileDestination(file=file), []
    reading = threading.Thread(target=read_slowly, args=(reader, got))
    reading.start()

    def work(number):
        for count in range(5):
            destination({"who": [number, count], "text": "x" * 100_000})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close()
    reading.join()
    os.close(reader)

    found = [json.loads(line) for line in b"".join(got).splitlines()]
    assert sorted(message["who"] for message in found) == [
        [n, c] for n in range(4) for c in range(5)
    ]
    assert {len(message["text"]) for message in found} == {100_000}


@pytest.mark.parametrize("kind", ["binary", "unbuffered"])
def test_a_pipe_without_a_reader_is_reported(kind, messages):
    """The others get the message, and the one about it."""
    reader, writer = os.pipe()
    file = os.fdopen(writer, "wb", buffering=-1 if kind == "binary" else 0)
    os.close(reader)
    destination = to_file(file)
    log_message("m")
    remove_destination(destination)
    with contextlib.suppress(OSError):
        file.close()

    assert messages[-1]["exception"] == "builtins.BrokenPipeError"


def test_a_pipe_that_takes_nothing_is_given_up(monkeypatch):
    """After a time; what was begun ends before the next line does."""
    monkeypatch.setattr("sprockets.eliot._files._WRITE_TIMEOUT", 0.01)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with (
        os.fdopen(writer, "wb", buffering=0) as file,
        os.fdopen(reader, "rb", buffering=0) as source,
    ):
        destination = FileDestination(file=file)
        with pytest.raises(OSError, match=r"took nothing; \d+ of 200009 bytes are written"):
            destination({"k": "x" * 200_000})
        torn = source.read(1_000_000)
        destination({"k": 1})
        rest = source.read(1_000_000)

    assert len(torn) >= 4096
    assert rest == b'\n{"k":1}\n'


class Nested:
    """A file that logs while it is being written to."""

    def __init__(self, *said):
        self.said, self.written, self.destination = list(said), [], None

    def write(self, text):
        if isinstance(text, bytes):
            raise TypeError
        while self.said:
            self.destination({"k": self.said.pop(0)})
        if "no" in text:
            raise OSError(text.strip())
        self.written.append(text)


@pytest.mark.rule("M50")
def test_what_is_logged_in_the_middle_of_a_line_comes_after_it():
    """By a signal handler, a finaliser, or the file itself."""
    file = Nested("first", "second")
    file.destination = FileDestination(file=file)

    file.destination({"k": "outer"})

    assert file.written == ['{"k":"outer"}\n', '{"k":"first"}\n', '{"k":"second"}\n']


@pytest.mark.rule("M50")
def test_a_line_that_fails_does_not_take_others_along():
    """The first error is raised, and says how many more lines it was."""
    file = Nested("first", "no 2", "second")
    file.destination = FileDestination(file=file)

    with pytest.raises(OSError, match='{"k":"no 1"}') as caught:
        file.destination({"k": "no 1"})
    file.destination({"k": "last"})

    assert caught.value.__notes__ == ["and 1 more lines were not written"]
    assert file.written == ['{"k":"first"}\n', '{"k":"second"}\n', '{"k":"last"}\n']


def test_an_end_of_the_program_in_the_middle_leaves_the_file_usable():
    """What waited is written with the next line."""

    class Stopping(Nested):
        def write(self, text):
            super().write(text)
            if "stop" in text:
                raise KeyboardInterrupt

    file = Stopping("first")
    file.destination = FileDestination(file=file)
    with pytest.raises(KeyboardInterrupt):
        file.destination({"k": "stop"})
    file.destination({"k": "last"})

    assert file.written == ['{"k":"stop"}\n', '{"k":"first"}\n', '{"k":"last"}\n']


FULL_DISK = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from sprockets.eliot import add_destinations, log_message, statistics, to_file
path = sys.argv[1]
to_file(open(path, *eval(sys.argv[2])))
got = []
add_destinations(got.append)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, -1))
for number in range(20):
    log_message("m", number=number)
failed = statistics()["failures"]
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
log_message("m", number="after")
print(failed, statistics()["failures"])
"""


@pytest.mark.parametrize("options", [("w",), ("wb",), ("wb", 0), ("a",)])
def test_a_disk_that_is_full_tears_one_line(options, tmp_path):
    """What fails is reported and counted; when there is room again, lines are whole again."""
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path, repr(options)],
        capture_output=True,
        text=True,
        check=True,
    )
    failed, failed_in_the_end = map(int, done.stdout.split())
    numbers, torn = [], 0
    for line in path.read_bytes().splitlines():
        try:
            numbers.append(json.loads(line)["number"])
        except ValueError:
            torn += 1

    assert torn == 1
    assert numbers == [*range(20 - failed), "after"]
    assert failed == failed_in_the_end > 10


def test_processes_append_to_one_file(tmp_path):
    """Long lines, with O_APPEND: none is torn, none is missing."""
    script = (
        "import sys; from sprockets.eliot import log_message, to_file;"
        "to_file(open(sys.argv[1], 'a'));"
        "[log_message('m', who=[int(sys.argv[2]), n], text='x' * 20_000) for n in range(100)]"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path / "log", str(number)])
        for number in range(3)
    ]
    for process in running:
        assert process.wait(30) == 0
    found = [json.loads(line)["who"] for line in (tmp_path / "log").read_text().splitlines()]

    assert sorted(found) == [[number, count] for number in range(3) for count in range(100)]


def test_threads_write_to_one_file(tmp_path):
    """None is torn, none is missing; it is not opened for appending."""
    with (tmp_path / "log").open("w") as file:
        to_file(file)

        def work(number):
            for count in range(500):
                log_message("m", who=[number, count], text="x" * count)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [json.loads(line)["who"] for line in (tmp_path / "log").read_text().splitlines()]

    assert sorted(found) == [[number, count] for number in range(4) for count in range(500)]
    assert statistics()["failures"] == 0


@pytest.mark.rule("E14.12", "E14.10")
def test_a_message_that_contains_itself_is_reported(lines):
    """The others of the action are there."""
    cycle = []
    cycle.append(cycle)
    with start_action(action_type="a") as action:
        action.log("m", cycle=cycle)

    told = [(m.get("message_type"), m["task_level"]) for m in lines.messages()]
    assert told == [(None, [1]), ("eliot:destination_failure", [3]), (None, [4])]
