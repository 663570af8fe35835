"""``sprockets tree``, with real files, pipes, signals and processes."""

import gzip
import json
import os
import pty
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from sprockets.commands import _following, _log_files
from sprockets.commands.tree import main

PROGRAM = [
    *(sys.executable, "-P", "-c"),
    "import sys; from sprockets.commands.tree import main; sys.exit(main())",
]
START = 1795224951.0
SOAK = bool(os.environ.get("SPROCKETS_SOAK"))


def lines_of(task, after=0.0, status="succeeded", kind="app:do", request=None, duration=1.0):
    """Return the lines of a small task: an action, with a message and, in a request, a record."""
    place = {"task_uuid": task}
    started = {"action_type": kind, "action_status": "started", "task_level": [1]}
    ended = {"action_type": kind, "action_status": status, "task_level": [3]}
    noted = {"message_type": "app:note", "task_level": [2], "of": task}
    lines = [
        {**started, **place, "timestamp": START + after},
        {**noted, **place, "timestamp": START + after + duration / 2},
        {**ended, **place, "timestamp": START + after + duration},
    ]
    if request is not None:
        moment = datetime.fromtimestamp(START + after, UTC).isoformat()
        extra = {"request_id": request, "task_level": [], **place}
        record = {"time": moment, "level": 11, "channel": "shop", "message": "hi", "extra": extra}
        lines.insert(1, record)
    return [json.dumps(line) + "\n" for line in lines]


@pytest.fixture(name="log")
def _log(tmp_path):
    """Return a function that writes lines to a file and returns its path."""

    def write(*tasks, name="app.log"):
        path = tmp_path / name
        text = "".join(line for task in tasks for line in task)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        return str(path)

    return write


@pytest.fixture(name="tree")
def _tree(capsys, monkeypatch):
    """Return a function that runs the command; it returns the status, the output and the errors."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments):
        status = main(["--utc", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def tasks_in(text):
    """Return which tasks were drawn, in their order."""
    return [
        line.partition("  task ")[2].split()[0] for line in text.split("\n") if "  task " in line
    ]


# -- reading


def test_a_log_is_drawn(tree, log):
    """Its tasks in the order of their completion, apart from one another."""
    path = log(lines_of("first", request="4711"), lines_of("second", 2, "failed"))

    assert tree(path) == (
        0,
        """\
2026-11-21 01:35:51.000Z  task first  request 4711
0.000  ✔ app:do  1.00 s
0.000  ├─ INFO shop: hi
0.500  └─ app:note  of=first

2026-11-21 01:35:53.000Z  task second
0.000  ✘ app:do  1.00 s
0.500  └─ app:note  of=second
""",
        "",
    )


def test_several_files_are_one_log(tree, log):
    """Their lines are put together by time, so a task that two processes wrote is one tree."""
    one, two = lines_of("shared"), lines_of("other", 0.1)
    paths = [log([one[0], one[2]], name="a.log"), log([one[1]], two, name="b.log.gz")]

    status, text, _ = tree(*paths)

    assert status == 0
    assert tasks_in(text) == ["shared", "other"]
    assert "unfinished" not in text
    assert "of=shared" in text


def test_lines_that_say_nothing_are_counted(tree, log):
    """With the first of them, so that it can be looked at; empty ones do not matter."""
    text = lines_of("task")
    path = log([text[0], "\n", "hello\n", text[1], "{}\n", text[2], text[0][:20]])

    status, out, errors = tree(path)

    assert (status, tasks_in(out)) == (0, ["task"])
    assert errors == f"sprockets tree: 3 lines are no messages, the first: line 3 of {path}\n"


def test_a_line_without_end_is_no_message(tree, log, monkeypatch):
    """It is not taken into memory whole; what comes after it is read."""
    monkeypatch.setattr(_log_files, "MAX_LINE", 1_000)
    path = log(["x" * 10_000 + "\n"], lines_of("task"), ["y" * 5_000])

    status, out, errors = tree(path)

    assert (status, tasks_in(out)) == (0, ["task"])
    assert errors == f"sprockets tree: 2 lines are no messages, the first: line 1 of {path}\n"


def test_a_file_that_cannot_be_read_is_told(tree, log, tmp_path):
    """The others are drawn all the same; the status says that it is not all."""
    path = log(lines_of("task"))

    status, out, errors = tree(tmp_path / "none.log", tmp_path, path)

    assert (status, tasks_in(out)) == (2, ["task"])
    assert errors == (
        f"sprockets tree: {tmp_path}/none.log: No such file or directory\n"
        f"sprockets tree: {tmp_path}: Is a directory\n"
    )


def test_a_gzip_file_that_breaks_off_is_read_as_far_as_it_goes(tree, log):
    """As a process leaves it that was killed while it compressed."""
    path = log(*(lines_of(str(uuid.uuid4())) for _ in range(500)), name="app.log.gz")
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)

    status, out, errors = tree(path)

    assert status == 2
    assert 150 < len(tasks_in(out)) < 350
    assert f"sprockets tree: {path} breaks off after line " in errors


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input_is_read(pack):
    """With no file at all; packed or not."""
    text = "".join(lines_of("task")).encode()

    result = subprocess.run(PROGRAM, input=pack(text), capture_output=True, timeout=30)

    assert (result.returncode, result.stderr) == (0, b"")
    assert tasks_in(result.stdout.decode()) == ["task"]


def test_messages_there_twice_are_shown_once(tree, log):
    """As when a file is given twice; it is said."""
    single = {"message_type": "app:up", "task_uuid": "u", "task_level": [1], "timestamp": START}
    path = log(lines_of("task"), lines_of("open", 5)[:2], [json.dumps(single) + "\n"])

    status, out, errors = tree(path, path)

    assert (status, out) == tree(path)[:2]
    assert tasks_in(out) == ["task", "open"]
    assert errors == "sprockets tree: messages that were there more than once, shown once: 6\n"


def test_tasks_that_had_to_go_are_counted(tree, log):
    """They are drawn as they were; the option that helps is named."""
    path = log(*(lines_of(f"task{number}")[:1] for number in range(10)))

    status, out, errors = tree(path, "--max-open", 4)

    assert status == 0
    assert len(tasks_in(out)) == 10
    assert errors.startswith("sprockets tree: tasks that were drawn before their end: 8; ")
    assert errors.endswith("pass a higher --max-open than 4\n")


# -- the choice


MANY = (
    lines_of("aaa", 0, request="4711"),
    lines_of("bbb", 10, "failed", "db:query", duration=0.25),
    lines_of("ccc", 20)[:2],
)


@pytest.mark.parametrize(
    ("arguments", "tasks"),
    [
        ([], ["aaa", "bbb", "ccc"]),
        (["--request", "4711"], ["aaa"]),
        (["--request", "nobody's"], []),
        (["--task", "b"], ["bbb"]),
        (["--task", "bbb@/2/1"], ["bbb"]),
        (["--status", "failed"], ["bbb"]),
        (["--status", "started"], ["ccc"]),
        (["--status", "succeeded"], ["aaa"]),
        (["--type", "db:*"], ["bbb"]),
        (["--min-duration", "500ms"], ["aaa"]),
        (["--min-duration", "0.25", "--type", "db:*"], ["bbb"]),
        (["--since", "2026-11-21T01:36:01"], ["bbb", "ccc"]),
        (["--until", "2026-11-21 01:36:10"], ["aaa", "bbb"]),
        (["--last", "2"], ["bbb", "ccc"]),
        (["--last", "1", "--until", "2026-11-21 01:36:10"], ["bbb"]),
    ],
)
def test_trees_are_chosen(tree, log, arguments, tasks):
    """Those that meet all that is asked for; none is a status of its own."""
    status, out, errors = tree(log(*MANY), *arguments)

    assert tasks_in(out) == tasks
    assert status == (0 if tasks else 1)
    assert errors == ("" if tasks else "sprockets tree: nothing matches\n")


def test_a_request_is_found_in_a_pipe_as_well(log):
    """What cannot be read twice is held until a task is complete."""
    with open(log(*MANY), "rb") as file:
        result = subprocess.run(
            [*PROGRAM, "--request", "4711"], stdin=file, capture_output=True, timeout=30
        )

    assert tasks_in(result.stdout.decode()) == ["aaa"]
    assert result.returncode == 0


def test_all_of_a_request_is_drawn_however_little_is_held(tree, log):
    """Its messages do not name it; in a file they are found all the same."""
    many = [lines_of(f"task{number}", 0, request=str(number)) for number in range(50)]
    path = log(*([lines[step] for lines in many] for step in range(4)))

    _, out, errors = tree(path, "--request", 25, "--max-open", 20)

    assert tasks_in(out) == ["task25"]
    assert "├─ INFO shop: hi" in out
    assert "of=task25" in out
    assert errors == ""


# -- the output


def test_trees_as_json_are_one_a_line(tree, log):
    """For other programs."""
    _, out, _ = tree(log(*MANY), "--json")

    trees = [json.loads(line) for line in out.splitlines()]
    assert [tree["task_uuid"] for tree in trees] == ["aaa", "bbb", "ccc"]
    assert [tree["finished"] for tree in trees] == [True, True, False]
    assert trees[0]["request_ids"] == ["4711"]


def test_a_summary_is_a_table(tree, log):
    """Of the trees that were chosen, and of the types that were asked for."""
    path = log(*MANY)

    assert tree(path, "--summary")[:2] == (
        0,
        """\
action type  count  failed  unfinished     p50     p95     max
app:do           2       0           1  1.00 s  1.00 s  1.00 s
db:query         1       1           0  250 ms  250 ms  250 ms
""",
    )
    _, out, _ = tree(path, "--summary", "--json", "--type", "db:*")
    assert [json.loads(line)["action_type"] for line in out.splitlines()] == ["db:query"]
    assert tree(path, "--summary", "--type", "none")[:2] == (1, "")


def test_fields_are_chosen(tree, log):
    """All of them, some, or none."""
    path = log(MANY[0])

    assert "of=aaa" in tree(path, "--fields", "x, o*")[1]
    assert "of=aaa" not in tree(path, "--fields", "x")[1]
    assert "of=aaa" not in tree(path, "--no-fields")[1]


@pytest.mark.parametrize(
    ("arguments", "environ", "colored"),
    [
        ([], {}, False),
        (["--color", "always"], {}, True),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False),
        ([], {"FORCE_COLOR": "1"}, True),
        ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_a_file_gets_colours_only_if_asked_for(tree, log, monkeypatch, arguments, environ, colored):
    """The option counts for more than the environment."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert ("\x1b[" in tree(log(*MANY), *arguments)[1]) == colored


def test_a_terminal_gets_colours_and_lines_that_fit(log):
    """A real one, of fifty columns; ``NO_COLOR`` is heard."""
    long = json.dumps({"message_type": "m", "task_uuid": "l", "task_level": [1], "timestamp": 1.0,
                       "text": "word " * 30}) + "\n"  # fmt: skip
    path = log([long])

    def run(**environ):
        ours, theirs = pty.openpty()
        environ = {**{k: v for k, v in os.environ.items() if k != "COLUMNS"}, **environ}
        environ.update(TERM="xterm", PYTHONIOENCODING="utf-8")
        import fcntl
        import struct
        import termios

        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
        with subprocess.Popen([*PROGRAM, path], stdout=theirs, env=environ) as process:
            os.close(theirs)
            text = b""
            while True:
                try:
                    data = os.read(ours, 10_000)
                except OSError:
                    break  # Linux says so when the other end is closed
                if not data:
                    break
                text += data
        os.close(ours)
        assert process.returncode == 0
        return text.decode()

    assert "\x1b[" in run(FORCE_COLOR="")
    plain = run(NO_COLOR="1")
    assert "\x1b[" not in plain
    assert 40 < max(len(line) for line in plain.split("\r\n")) <= 50


def test_an_encoding_without_the_signs_gets_ascii(log):
    """And what else it does not have as escapes, not as an error."""
    text = {"message_type": "ä☃", "task_uuid": "l", "task_level": [2], "timestamp": 1.0}
    path = log([json.dumps(text) + "\n"], lines_of("task"))

    result = subprocess.run(
        [*PROGRAM, "--utc", path],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        timeout=30,
    )

    assert result.returncode == 0, result.stderr
    assert "`- ä\\u2603" in result.stdout.decode("latin-1")
    assert "ok app:do" in result.stdout.decode("latin-1")


# -- mistakes


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--status", "open", "x"], "argument --status: invalid choice: 'open'"),
        (["--min-duration", "long", "x"], "argument --min-duration: not a duration: 'long'"),
        (["--since", "soon", "x"], "argument --since: not a moment: 'soon'"),
        (["--last", "-1", "x"], "argument --last: "),
        (["--last", "0", "x"], "argument --last: 0 makes sense with --follow only"),
        (["--width", "39", "x"], "argument --width: must be at least 40"),
        (["--max-open", "0", "x"], "argument --max-open: must be at least 1"),
        (["--follow", "--summary", "x"], "a summary needs an end"),
        (["-", "-"], "standard input can be read once only"),
        (["--fields", "a", "--no-fields", "x"], "not allowed with argument"),
    ],
)
def test_what_makes_no_sense_is_said(tree, arguments, text):
    """With the status for it, and how it is used."""
    status, out, errors = tree(*arguments)

    assert (status, out) == (2, "")
    assert errors.startswith("usage: sprockets tree [options] [FILE ...]\n")
    assert text in errors


def test_a_terminal_is_no_log(log):
    """Without a file, and with nothing piped into it, the command does not wait for ever."""
    ours, theirs = pty.openpty()
    try:
        result = subprocess.run(PROGRAM, stdin=theirs, capture_output=True, timeout=30)
    finally:
        os.close(ours)
        os.close(theirs)

    assert result.returncode == 2
    assert b"which FILE?" in result.stderr


def test_the_help_tells_every_option(tree):
    """And the exit statuses."""
    status, out, _ = tree("--help")

    assert status == 0
    for option in ("--follow", "--request", "--min-duration", "--summary", "--max-open"):
        assert f"{option} " in out or f"{option}\n" in out
    assert "exit status" in out


# -- ends


def test_a_reader_that_has_seen_enough_ends_it_quietly(log):
    """As in ``sprockets tree app.log | head -1``."""
    path = log(*(lines_of(str(uuid.uuid4())) for _ in range(5_000)))

    with subprocess.Popen(
        [*PROGRAM, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()

    assert process.wait(30) == 128 + signal.SIGPIPE
    assert errors == b""


def test_an_output_that_takes_nothing_is_told(log):
    """Nobody thinks that all was drawn when the disk is full."""
    path = log(*(lines_of(str(uuid.uuid4())) for _ in range(200)))

    with open("/dev/full", "wb") as full:
        result = subprocess.run([*PROGRAM, path], stdout=full, stderr=subprocess.PIPE, timeout=30)

    assert result.returncode == 2
    assert result.stderr == b"sprockets tree: cannot write: No space left on device\n"


class Following:
    """The command following files; its output as it comes."""

    def __init__(self, *arguments, stdin=subprocess.DEVNULL):
        self.process = subprocess.Popen(
            [*PROGRAM, "--utc", "--follow", *map(str, arguments)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
        self.text = ""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.text += line.decode()
                self._changed.notify_all()

    def wait_for(self, text):
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, 20), self.text

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        status = self.process.wait(20)
        self._thread.join(20)
        self.process.stdout.close()
        return status

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.stop(signal.SIGKILL)
        self._thread.join(20)
        self.process.stdout.close()


def append(path, lines):
    with open(path, "a") as file:
        file.writelines(lines)


def test_a_log_that_grows_is_followed_until_ctrl_c(log):
    """Each task when it is complete, also if its last line comes in two pieces; then quietly over."""
    path = log(lines_of("first"))
    with Following(path) as following:
        following.wait_for("of=first")
        *lines, last = lines_of("second")
        append(path, [*lines, last[:10]])
        append(path, [last[10:]])
        following.wait_for("of=second")

        assert following.stop() == 128 + signal.SIGINT

    assert tasks_in(following.text) == ["first", "second"]
    assert "Traceback" not in following.text
    assert "no message" not in following.text


def test_a_log_that_is_rotated_or_truncated_is_followed(log):
    """To the end of the old one, and then from the start of the new one."""
    path = log(lines_of("first"))
    with Following(path) as following:
        following.wait_for("of=first")
        append(path, lines_of("second"))
        os.rename(path, f"{path}.1")
        append(f"{path}.1", lines_of("third"))
        log(lines_of("fourth"))
        following.wait_for("of=fourth")
        following.wait_for("of=third")
        os.truncate(path, 0)
        append(path, lines_of("fifth")[:1])
        append(path, lines_of("fifth")[1:])
        following.wait_for("of=fifth")

        following.stop()

    assert tasks_in(following.text) == ["first", "second", "third", "fourth", "fifth"]


def test_a_log_that_is_not_there_yet_is_waited_for(log, tmp_path):
    """It says so, once; with ``--last 0`` only what is new is drawn."""
    old = log(lines_of("old"), name="old.log")
    path = tmp_path / "app.log"
    with Following("--last", 0, path, old) as following:
        following.wait_for(f"sprockets tree: {path}: No such file or directory; waiting for it\n")
        log(lines_of("new"))
        following.wait_for("of=new")

        following.stop()

    assert tasks_in(following.text) == ["new"]
    assert following.text.count("waiting") == 1


def test_a_task_with_gaps_is_drawn_when_it_is_quiet(log):
    """Nobody waits for messages that are below the level that is written."""
    path = log(lines_of("gaps")[2:])
    with Following(path) as following:
        following.wait_for("✔ app:do")

        following.stop()


def test_the_last_of_what_is_there_and_then_what_comes(log):
    """As ``tail -n 1 -f`` does, also where the tasks have gaps."""
    path = log(*(lines_of(f"old{number}", number)[1:] for number in range(5)))
    with Following("--last", 1, path) as following:
        following.wait_for("of=old4")
        append(path, lines_of("new"))
        following.wait_for("of=new")

        following.stop()

    assert tasks_in(following.text) == ["old4", "new"]


def test_a_pipe_is_followed_to_its_end():
    """What is complete is drawn at once; at the end, what is not."""
    with Following(stdin=subprocess.PIPE) as following:
        pipe = following.process.stdin
        pipe.write("".join(lines_of("whole")).encode())
        pipe.flush()
        following.wait_for("of=whole")
        pipe.write("".join(lines_of("torn")[:2]).encode()[:-5])
        pipe.close()

        assert following.process.wait(20) == 0
        following.wait_for("no message")

    assert tasks_in(following.text) == ["whole", "torn"]
    assert "1 line is no message: line 5 of standard input\n" in following.text


def test_packed_logs_are_read_before_others_are_followed(log):
    """Nobody appends to them."""
    packed = log(lines_of("packed"), name="app.log.1.gz")
    path = log(lines_of("first", 10))
    with Following(packed, path) as following:
        following.wait_for("of=first")

        following.stop()

    assert tasks_in(following.text) == ["packed", "first"]


def test_a_line_that_grows_without_end_is_not_kept(monkeypatch):
    """Neither while it comes nor when it has ended."""
    monkeypatch.setattr(_following, "MAX_LINE", 100)
    said = []
    report = _log_files.Report(said.append)
    lines = _following._Lines("app.log", report)

    for _ in range(50):
        assert list(lines.feed(b"x" * 10)) == []
        assert sum(map(len, lines._pieces)) <= 100
    assert list(lines.feed(b"x\nshort\n")) == [(2, b"short\n")]
    report.close()

    assert said == ["1 line is no message: line 1 of app.log"]


# -- what services leave


WRITER = """
import itertools, sys
from sprockets.eliot import add_destinations, FileDestination, log_message, start_action
from sprockets.logbook import FileHandler, Logger
from sprockets.logbook._json import JSONFormatter

path = sys.argv[1]
add_destinations(FileDestination(open(path, "ab", 0)))
handler = FileHandler(path)
handler.formatter = JSONFormatter()
log = Logger("shop")
with handler.applicationbound():
    for number in itertools.count():
        with start_action(action_type="shop:order", number=number) as action:
            with start_action(action_type="shop:pay"):
                log_message("shop:asked", amount=12)
            log.info("order {}", number, extra={
                "task_uuid": action.task_uuid, "task_level": action.task_level.as_list(),
            })
            if number == 20:
                print("ready", flush=True)
"""


def test_what_a_killed_process_leaves_is_drawn(tmp_path, tree):
    """Its last task is unfinished, its last line may be torn; all the rest is there."""
    path = tmp_path / "app.log"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", WRITER, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        process.kill()
    with path.open("ab") as file:
        file.write(b'{"action_type":"shop:order","task_uu')

    status, out, errors = tree(path, "--type", "shop:order")

    assert status == 0
    assert len(tasks_in(out)) >= 20
    assert out.count("unfinished") <= 2 * 2  # of the last task: heading, actions
    blocks = out.split("\n\n")
    assert all("✔ shop:order" in block for block in blocks[:20])
    assert [
        [word for word in ("order 3", "✔ shop:pay", "shop:asked  amount=12") if word in blocks[3]]
    ] == [["order 3", "✔ shop:pay", "shop:asked  amount=12"]]
    lines = path.read_bytes().count(b"\n") + 1
    assert errors.endswith(f"1 line is no message: line {lines} of {path}\n")


# -- size


def write_big_log(path, megabytes):
    """Write a log of many requests at once, some of which never end, and return how many."""
    chance = random.Random(1)
    waiting = []
    size = number = 0
    with open(path, "w") as file:
        while size < megabytes * 1_000_000:
            number += 1
            lines = lines_of(
                str(uuid.UUID(int=chance.getrandbits(128))),
                number / 100,
                "failed" if number % 10 == 0 else "succeeded",
                "http:request",
                f"{number:x}",
            )
            waiting.append(lines if number % 50 else lines[:2])
            if len(waiting) > 100:
                lines = waiting.pop(chance.randrange(100))
                file.writelines(lines[:1])
                size += len(lines[0])
                if lines[1:]:
                    waiting.append(lines[1:])
        for lines in waiting:
            file.writelines(lines)
    return number


MEASURED = """
import re, sys, time
from sprockets.commands.tree import main
begin = time.perf_counter()
status = main()
seconds = time.perf_counter() - begin
# Not what getrusage says: that begins with the size of whoever started the process.
(peak,) = re.findall(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(status, peak, seconds, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--status", "failed"], ["--request", "1f4"]],
    ids=" ".join,
)
def test_memory_is_bounded_whatever_the_size(tmp_path_factory, arguments, record_property):
    """The same for megabytes and gigabytes."""
    megabytes = 200 if SOAK else 5
    path = tmp_path_factory.getbasetemp() / f"big{os.getpid()}.log"
    if not path.exists():
        write_big_log(path, megabytes)

    result = subprocess.run(
        [sys.executable, "-P", "-c", MEASURED, *arguments, "--max-open", "2000", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=600,
    )

    status, peak, seconds = result.stderr.decode().splitlines()[-1].split()
    record_property("peak_mb", int(peak) // 1024)
    record_property("mb_per_second", path.stat().st_size / 1e6 / float(seconds))
    assert status == "0"
    assert int(peak) / 1024 < 40


def test_every_message_of_a_large_log_is_drawn(tmp_path, tree):
    """However few tasks may be open: nothing is lost on the way."""
    path = tmp_path / "big.log"
    write_big_log(path, 0.5)
    lines = path.read_text().splitlines()

    _, out, _ = tree(path, "--max-open", "150")

    assert out.count("app:note") == sum("app:note" in line for line in lines)
    assert out.count("INFO shop: hi") == sum('"hi"' in line for line in lines)


def test_moments_are_local_or_utc_as_the_output_is(tree, log, monkeypatch):
    """What is asked for without a zone is in the zone that is shown."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        path = log(lines_of("task"))
        local = datetime.fromtimestamp(START, UTC) + timedelta(hours=9)

        assert tree(path, "--since", f"{local:%Y-%m-%dT%H:%M:%S}")[0] == 1
        assert main([path, "--since", f"{local:%Y-%m-%dT%H:%M:%S}"]) == 0
    finally:
        monkeypatch.undo()
        time.tzset()
