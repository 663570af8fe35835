"""Programs that are started for records."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sprockets.logbook import Flags, Logger, LogRecord, statistics
from sprockets.logbook.delivery import Retry
from sprockets.logbook.more import ExternalApplicationHandler
from sprockets.logbook.queues import ThreadedWrapperHandler

log = Logger("testlogger")

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals and groups of POSIX")

WRITE = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')"
COPY = "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read())"


def python(code, *arguments, **options):
    """Return a handler that runs Python *code*, whose braces are its own."""
    code = code.replace("{", "{{").replace("}", "}}")
    return ExternalApplicationHandler([sys.executable, "-c", code, *arguments], **options)


@pytest.fixture(name="out")
def _out(tmp_path):
    return tmp_path / "out"


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def children():
    """Return how many children this process has, ended ones included; nobody reaps them here."""
    result = subprocess.run(
        ["ps", "-o", "pid=,stat=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return [line for line in result.stdout.splitlines() if "Z" in line]


@pytest.mark.rule("MO-4", "MO-9")
def test_a_program_is_started_for_each_record_and_waited_for(out):
    """Its arguments are layouts; when the call is over, so is the program."""
    with python(WRITE, str(out), "{record.level_name}: {record.message}"):
        log.info("one {}", 1)
        first = out.read_text()
        log.error("two")

    assert first == "INFO: one 1\n"
    assert out.read_text() == "INFO: one 1\nERROR: two\n"


@pytest.mark.rule("MO-4")
def test_there_is_no_shell(out):
    """What a message says is an argument, and nothing else."""
    evil = f"; touch {out}.evil $(id) `id` | cat > x\n'\"*"
    with python(WRITE, str(out), "{record.message}"):
        log.info(evil)

    assert out.read_text() == evil + "\n"
    assert not out.with_suffix(".evil").exists()


@pytest.mark.rule("MO-5")
def test_a_program_may_read_the_record(out):
    """In the encoding that was asked for, and then nothing more."""
    with python(COPY, str(out), stdin_format="{record.message}!", encoding="latin-1") as handler:
        log.info("Grüße, 世界")
    assert (handler.encoding, handler.stdin_format) == ("latin-1", "{record.message}!")

    assert out.read_bytes() == "Grüße, ".encode("latin-1") + b"\\u4e16\\u754c!"


@pytest.mark.rule("MO-5")
def test_without_a_layout_there_is_nothing_to_read(out):
    """Not what somebody types at the terminal."""
    with python(COPY + "; open(sys.argv[1], 'a').write('end')", str(out)):
        log.info("x")

    assert out.read_text() == "end"


@pytest.mark.rule("MO-5")
def test_what_the_program_prints_goes_where_ours_goes(capfd):
    """Standard output and error are those of this process."""
    with python("import sys; print('out', flush=True); print('err', file=sys.stderr)"):
        log.info("x")

    assert capfd.readouterr() == ("out\n", "err\n")


@pytest.mark.rule("MO-6")
def test_the_exit_status_does_not_matter(capsys):
    """Nor does a death by a signal."""
    with Flags(errors="raise"), python("raise SystemExit(3)"):
        log.info("x")
    with Flags(errors="raise"), python("import os; os.abort()"):
        log.info("x")

    assert capsys.readouterr().err == ""


@pytest.mark.rule("MO-6")
def test_a_program_that_cannot_be_started_is_an_error(tmp_path):
    """There is none, or it may not be run."""
    (tmp_path / "plain").write_text("x")

    with Flags(errors="raise"):
        with ExternalApplicationHandler([str(tmp_path / "none")]):
            with pytest.raises(FileNotFoundError):
                log.info("x")
        with ExternalApplicationHandler([str(tmp_path / "plain")]):
            with pytest.raises(PermissionError):
                log.info("x")


@pytest.mark.rule("MO-7")
def test_a_program_need_not_read(out):
    """However much there is."""
    with Flags(errors="raise"), python("pass", stdin_format="{record.message}"):
        log.info("x" * 1_000_000)


@pytest.mark.rule("MO-8")
def test_braces_are_doubled(out):
    """As in every layout."""
    with ExternalApplicationHandler([sys.executable, "-c", WRITE, str(out), "{{{record.msg}}}"]):
        log.info("x")

    assert out.read_text() == "{x}\n"


@pytest.mark.rule("MO-8")
@pytest.mark.parametrize(
    "options", [{"layout": "{nothing}"}, {"stdin_format": "{record.nothing}"}, {"layout": "{0}"}]
)
def test_a_layout_that_cannot_be_formatted_starts_nothing(out, options):
    """It is an error of the handler."""
    layout = options.pop("layout", "x")
    with Flags(errors="raise"), python(WRITE, str(out), layout, **options):
        with pytest.raises((LookupError, AttributeError)):
            log.info("x")
        with pytest.raises(TypeError, match="Could not format"):
            ExternalApplicationHandler(["{record.message}"]).emit(LogRecord("c", 9, "{x}", (1,)))

    assert not out.exists()


@pytest.mark.rule("MO-4")
@pytest.mark.parametrize(
    ("message", "argument"),
    [
        ("a\0b", "a\\x00b"),
        ("a\ud800b", "a\\ud800b"),
        ("x" * 200_000, "x" * 29_974 + " … [170026 characters cut]"),
        ("ü" * 29_000, "ü" * 29_000),
        ("\ud800" * 30_000, "\\ud800" * 20 + " … [150026 characters cut]"),
    ],
)
def test_an_argument_is_made_such_that_the_system_takes_it(out, message, argument):
    """Nobody keeps a record from being told by what they write into it."""
    with Flags(errors="raise"), python(WRITE, str(out), "{record.message}"):
        log.info(message)

    text = out.read_text(encoding="utf-8").removesuffix("\n")
    assert len(text) <= 30_000
    assert text[:100] == argument[:100]
    assert text[-20:] == argument[-20:]


@posix_only
def test_a_program_that_hangs_is_killed_with_all_that_it_started(out, capsys):
    """The log call ends, and says so; nothing is left behind, and no zombie."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        "open(sys.argv[1], 'w').write(str(child.pid))\n"
        "time.sleep(300)\n"
    )
    failed = statistics()["failed"]

    with python(code, str(out), timeout=3.0):
        log.info("x")

    grandchild = int(out.read_text())
    wait_for(lambda: not _is_alive(grandchild))
    assert not children()
    assert statistics()["failed"] == failed + 1
    assert f"TimeoutError: {sys.executable!r} did not end within 3 seconds" in (
        capsys.readouterr().err
    )


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@posix_only
def test_a_program_that_reads_nothing_and_hangs_is_killed_too():
    """Also with more to read than a pipe holds."""
    with (
        Flags(errors="raise"),
        python("import time; time.sleep(300)", stdin_format="{record.message}", timeout=0.5),
    ):
        with pytest.raises(TimeoutError, match=r"did not end within 0\.5 seconds and was killed"):
            log.info("x" * 1_000_000)

    assert not children()


@posix_only
def test_what_interrupts_the_wait_ends_the_program(out):
    """Ctrl-C is not held up by a program that is not."""
    code = (
        "import os, signal, sys, time\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "os.kill(os.getppid(), signal.SIGUSR1)\n"
        "time.sleep(300)\n"
    )

    def interrupt(*args):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with python(code, str(out), timeout=None), pytest.raises(KeyboardInterrupt):
            log.info("x")
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert not _is_alive(int(out.read_text()))
    assert not children()


@posix_only
def test_it_works_where_the_signal_of_ended_children_is_ignored(out):
    """The system reaps them then, and nobody can ask for their status."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with Flags(errors="raise"), python(COPY, str(out), stdin_format="{record.message}"):
            log.info("one")
        with Flags(errors="raise"), python("import time; time.sleep(300)", timeout=0.5):
            with pytest.raises(TimeoutError):
                log.info("x")
    finally:
        signal.signal(signal.SIGCHLD, before)

    assert out.read_text() == "one"
    assert not children()


@posix_only
def test_programs_leave_neither_zombies_nor_open_files():
    """However often, and whether they can be started or not."""
    missing = ExternalApplicationHandler(["/nowhere/none"])
    with Flags(errors="silent"), python("pass", stdin_format="x") as handler:
        handler.emit(_record())
        before = sorted(os.listdir("/dev/fd"))
        for _ in range(5):
            handler.handle(_record())
            missing.handle(_record())
        after = sorted(os.listdir("/dev/fd"))

    assert len(after) == len(before)
    assert not children()


def _record():
    record = LogRecord("c", "INFO", "x")
    record.heavy_init()
    return record


@posix_only
def test_a_program_inherits_no_open_files(out, tmp_path):
    """Connections and files of this process are none of its business."""
    code = (
        "import os, sys\n"
        "try: os.fstat(int(sys.argv[2]))\n"
        "except OSError: open(sys.argv[1], 'w').write('closed')"
    )
    with open(tmp_path / "secret", "w") as secret:
        os.set_inheritable(secret.fileno(), True)
        with python(code, str(out), str(secret.fileno())):
            log.info("x")

    assert out.read_text() == "closed"


def test_in_the_background_the_log_call_does_not_wait(out):
    """Programs are started one after the other, in order; closing waits for them."""
    gate = out.with_suffix(".gate")
    code = "import os, sys, time\nwhile not os.path.exists(sys.argv[3]): time.sleep(0.01)\n" + WRITE
    handler = python(code, str(out), "{record.message} {record.lineno}", str(gate), background=True)

    with handler:
        log.info("one")
        log.info("two")
    was_empty = not out.exists()
    gate.write_text("")

    assert handler.close(30) is True
    assert was_empty
    assert [line.split()[0] for line in out.read_text().splitlines()] == ["one", "two"]
    assert handler.statistics()["delivered"] == 2


def test_in_the_background_what_cannot_succeed_is_given_up_at_once(capsys):
    """A program that is not there will not be there, and one that hung will hang."""
    with Flags(errors="silent"):
        missing = ExternalApplicationHandler(["/nowhere/none"], background=True)
        hanging = python("import time; time.sleep(300)", background=True, timeout=0.5)
        for handler in (missing, hanging):
            handler.emit(_record())
            assert handler.close(30) is True

    for handler in (missing, hanging):
        assert handler.statistics()["dead"] == 1
    err = capsys.readouterr().err
    assert "FileNotFoundError" in err
    assert "did not end within 0.5 seconds" in err


def test_in_the_background_what_the_system_could_not_do_is_tried_again(monkeypatch, out):
    """It may have had no room for another process."""
    failures = [BlockingIOError("no more processes"), OSError("no memory")]
    start = subprocess.Popen

    def failing(*args, **options):
        if failures:
            raise failures.pop()
        return start(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", failing)
    handler = python(
        WRITE, str(out), "{record.message}", background=True, retry=Retry(initial=0.01)
    )
    handler.emit(_record())

    assert handler.close(30) is True
    assert out.read_text() == "x\n"


def test_it_can_be_put_behind_a_thread(out):
    """Of a handler made for that."""
    wrapper = ThreadedWrapperHandler(python(WRITE, str(out), "{record.message}"))
    with wrapper.applicationbound():
        log.info("x")
    wrapper.close()

    assert out.read_text() == "x\n"


def test_threads_start_programs_at_the_same_time(out):
    """One that takes long holds up nobody else."""
    code = (
        "import os, sys, time\n"
        "open(sys.argv[1] + sys.argv[2], 'w').close()\n"
        "while not os.path.exists(sys.argv[1] + sys.argv[3]): time.sleep(0.01)\n"
    )
    with python(code, str(out), "{record.args[0]}", "{record.args[1]}", timeout=60) as handler:
        with handler.applicationbound():
            threads = [
                threading.Thread(target=log.info, args=("{} {}", *pair))
                for pair in (("a", "b"), ("b", "a"))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)

    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ("logger", {}, "arguments must be a program and its arguments, one by one, got 'logger'"),
        ([], {}, r"arguments must be a program and its arguments, one by one, got \[\]"),
        (["x"], {"timeout": 0}, "timeout must be more than 0 seconds, or None, got 0"),
    ],
)
def test_what_cannot_work_is_refused_at_once(arguments, options, text):
    """Not with the first record."""
    with pytest.raises(ValueError, match=text):
        ExternalApplicationHandler(arguments, **options)


def test_an_unknown_encoding_is_refused_at_once():
    """Also if nothing is to be read yet."""
    with pytest.raises(LookupError, match="rot-26"):
        ExternalApplicationHandler(["x"], encoding="rot-26")


def test_closing_twice_is_closing_once():
    """In either way of starting."""
    for background in (False, True):
        handler = ExternalApplicationHandler(["x"], background=background)
        handler.close()
        handler.close()
