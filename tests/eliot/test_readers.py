"""What is written is what readers of Eliot's messages read: the real ones, and ours theirs."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from sprockets.eliot.parse import Parser

HERE = pathlib.Path(__file__).parent
PROGRAMS = ["standalone", "nested", "tracebacks", "remote", "preserved", "failures"]

# By program, less the members in which one run differs from another.
SAMPLES = {
    "standalone": """
{"value":"hello","another":1,"task_level":[1],"message_type":"app:standalone"}
{"text":"café ✓ \\"q\\"\\n","nothing":null,"flag":true,"ratio":0.5,"items":[1,"a",{"k":[]}],"task_level":[1],"message_type":"app:second"}
""",
    "nested": """
{"key":123,"action_status":"started","action_type":"app:parent","task_level":[1]}
{"x":1,"task_level":[2],"message_type":"app:info"}
{"n":2,"action_status":"started","action_type":"app:child","task_level":[3,1]}
{"x":2,"task_level":[3,2],"message_type":"app:info"}
{"result":[1,2],"action_status":"succeeded","action_type":"app:child","task_level":[3,3]}
{"action_status":"started","action_type":"app:badchild","task_level":[4,1]}
{"errno":2,"exception":"builtins.FileNotFoundError","reason":"[Errno 2] No such file: '/x'","action_status":"failed","action_type":"app:badchild","task_level":[4,2]}
{"exception":"builtins.RuntimeError","reason":"ono","action_status":"failed","action_type":"app:parent","task_level":[5]}
""",
    "tracebacks": """
{"reason":"because","traceback":"Traceback (most recent call last):\\n  File \\"x.py\\", line 0, in tracebacks\\n  File \\"x.py\\", line 0, in outer\\n  File \\"x.py\\", line 0, in inner\\nValueError: because\\n","exception":"builtins.ValueError","task_level":[1],"message_type":"eliot:traceback"}
{"action_status":"started","action_type":"app:act","task_level":[1]}
{"reason":"[Errno 2] No such file or directory: '/nonexistent'","traceback":"Traceback (most recent call last):\\n  File \\"x.py\\", line 0, in tracebacks\\nFileNotFoundError: [Errno 2] No such file or directory: '/nonexistent'\\n","exception":"builtins.FileNotFoundError","errno":2,"task_level":[2],"message_type":"eliot:traceback"}
{"action_status":"succeeded","action_type":"app:act","task_level":[3]}
""",
    "remote": """
{"action_status":"started","action_type":"main","task_level":[1]}
{"x":1,"action_status":"started","action_type":"http_request","task_level":[2,1]}
{"action_status":"started","action_type":"eliot:remote_task","task_level":[2,2,1]}
{"x":1,"action_status":"started","action_type":"divide","task_level":[2,2,2,1]}
{"action_status":"succeeded","action_type":"divide","task_level":[2,2,2,2]}
{"action_status":"succeeded","action_type":"eliot:remote_task","task_level":[2,2,3]}
{"result":2,"action_status":"succeeded","action_type":"http_request","task_level":[2,3]}
{"action_status":"succeeded","action_type":"main","task_level":[3]}
""",
    "preserved": """
{"action_status":"started","action_type":"main_thread","task_level":[1]}
{"action_status":"started","action_type":"eliot:remote_task","task_level":[2,1]}
{"x":3,"y":4,"action_status":"started","action_type":"in_thread","task_level":[2,2,1]}
{"result":7,"action_status":"succeeded","action_type":"in_thread","task_level":[2,2,2]}
{"action_status":"succeeded","action_type":"eliot:remote_task","task_level":[2,3]}
{"action_status":"succeeded","action_type":"main_thread","task_level":[3]}
""",
    "failures": """
{"n":1,"task_level":[1],"message_type":"app:x"}
{"reason":"disk full","exception":"builtins.RuntimeError","message":"{\\"'n'\\": '1', \\"'timestamp'\\": '0', \\"'task_uuid'\\": \\"'0'\\", \\"'task_level'\\": '[1]', \\"'message_type'\\": \\"'app:x'\\"}","task_level":[1],"message_type":"eliot:destination_failure"}
{"action_status":"started","action_type":"app:act","task_level":[1]}
{"code":17,"exception":"__main__.MyException","reason":"17","action_status":"failed","action_type":"app:act","task_level":[2]}
""",
}


def tool(name):
    """Return the path of a command that is installed beside this interpreter."""
    path = pathlib.Path(sys.executable).parent / name
    if not path.exists():
        pytest.skip(f"needs {name} beside {sys.executable} (it is in requirements/testing.txt)")
    return path


@pytest.fixture(name="log", scope="module")
def _log(tmp_path_factory):
    """Run a program of `readers_samples`, unless that is done, and return the path it wrote to."""
    folder = tmp_path_factory.mktemp("logs")

    def log(package, program):
        path = folder / f"{package}-{program}"
        if not path.exists():
            script = HERE / "readers_samples.py"
            subprocess.run([sys.executable, "-P", script, package, program, path], check=True)
        return path

    return log


def read(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def comparable(message):
    """Return *message* without what is different in each run, its members in order."""
    plain = {name: message[name] for name in message if name not in ("timestamp", "task_uuid")}
    if "traceback" in plain:
        plain["traceback"] = re.sub(
            r'File ".*?", line \d+', 'File "x.py", line 0', plain["traceback"]
        )
    if "message" in plain:
        plain["message"] = re.sub(
            r"'[\d.]{12,}'", "'0'", re.sub(r"'[0-9a-f-]{36}'", "'0'", plain["message"])
        )
    return list(plain.items())


@pytest.mark.rule("E23.1", "E2.4")
@pytest.mark.parametrize("package", ["sprockets.eliot", "eliot"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_samples_are_written(package, program, log):
    """Member by member, in order; the other library writes the same."""
    if package == "eliot":
        pytest.importorskip("eliot")
    messages = read(log(package, program))

    assert [comparable(message) for message in messages] == [
        list(json.loads(line).items()) for line in SAMPLES[program].strip().splitlines()
    ]
    for message in messages:
        assert type(message["timestamp"]) is float
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", message["task_uuid"])


@pytest.mark.rule("E23.1", "M48")
@pytest.mark.parametrize("program", PROGRAMS)
def test_eliot_tree_shows_every_message(program, log):
    """It is content, and each message has its line."""
    command = tool("eliot-tree")
    path = log("sprockets.eliot", program)
    done = subprocess.run([command, "--color", "never", path], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert "<unnamed>" not in done.stdout
    shown = re.findall(r"(\S+?)((?:/\d+)+) (?:⇒ (\w+) )?\d{4}-\d\d-\d\d", done.stdout)
    assert sorted(shown) == sorted(
        (
            message.get("message_type", message.get("action_type")),
            "".join(f"/{number}" for number in message["task_level"]),
            message.get("action_status", ""),
        )
        for message in read(path)
    )


@pytest.mark.rule("E23.1")
@pytest.mark.parametrize("program", PROGRAMS)
def test_eliot_prettyprint_shows_every_message(program, log):
    """None is refused."""
    command = tool("eliot-prettyprint")
    path = log("sprockets.eliot", program)
    with path.open() as file:
        done = subprocess.run([command], stdin=file, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert not re.search(r"^Not ", done.stdout, re.MULTILINE)
    assert re.findall(r"^(\S{36}) -> (/[\d/]+)$", done.stdout, re.MULTILINE) == [
        (message["task_uuid"], "".join(f"/{number}" for number in message["task_level"]))
        for message in read(path)
    ]


@pytest.mark.rule("M48")
def test_eliot_tree_shows_what_forked_processes_did(tmp_path):
    """All of it: every task is complete, and no message is hidden by another one."""
    command = tool("eliot-tree")
    path = tmp_path / "log"
    script = HERE / "safety" / "fork_in_action.py"
    subprocess.run([sys.executable, "-P", script, "ours", path], check=True)
    done = subprocess.run([command, "--color", "never", path], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    assert "<unnamed>" not in done.stdout
    assert len(re.findall(r"/\d+ (?:⇒ \w+ )?\d{4}-\d\d-\d\d", done.stdout)) == len(read(path))
    tasks = list(Parser.parse_stream(read(path)))
    assert all(task.is_complete() for task in tasks)


@pytest.mark.parametrize("program", PROGRAMS)
def test_our_parser_reads_what_the_other_library_wrote(program, log):
    """As it reads ours: the same trees, complete."""
    pytest.importorskip("eliot")

    def outline(node):
        if hasattr(node, "children"):
            return node.action_type, node.status, [outline(child) for child in node.children]
        return node.contents.get("message_type")

    def outlines(package):
        messages = read(log(package, program))
        tasks = list(Parser.parse_stream(messages))
        assert all(task.is_complete() for task in tasks)
        return [outline(task.root()) for task in tasks]

    assert outlines("eliot") == outlines("sprockets.eliot")
