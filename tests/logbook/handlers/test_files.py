"""Files: opened anew, begun with a byte order mark, continued after a torn line; and forks."""

import os
import signal
import threading
import time

import pytest

from sprockets.logbook import FileHandler, Flags, Logger, MonitoringFileHandler, _fork
from sprockets.logbook.handlers import _files, _torn

log = Logger("testlogger")
PLAIN = "{record.message}"


# -- opening anew


def test_reopening_goes_on_in_the_file_that_is_at_the_path_now(tmp_path):
    """What was written stays in the moved one; a closed handler stays closed."""
    path, moved = tmp_path / "log", tmp_path / "log.1"
    handler = FileHandler(path, "w", format_string=PLAIN)
    with handler.applicationbound():
        log.info("1")
        path.rename(moved)
        log.info("2")
        handler.reopen()
        log.info("3")
        handler.reopen()
        log.info("4")
    handler.close()
    handler.reopen()

    assert handler.stream is None
    assert (moved.read_text(), path.read_text()) == ("1\n2\n", "3\n4\n")


def test_reopening_that_fails_keeps_the_old_file(tmp_path):
    """The error is the caller's, and no record is lost."""
    path, moved = tmp_path / "log", tmp_path / "log.1"
    handler = FileHandler(path, format_string=PLAIN)
    with handler.applicationbound():
        path.rename(moved)
        path.mkdir()
        stream = handler.stream
        with pytest.raises(IsADirectoryError):
            handler.reopen()
        assert handler.stream is stream
        log.info("x")
    handler.close()

    assert moved.read_text() == "x\n"


def lines_in(folder):
    return sorted(line for file in folder.iterdir() for line in file.read_text().splitlines())


def move_while_threads_log(handler, path, reopen):
    """Have two threads log while the file is moved fifty times; return what they logged."""
    with handler.applicationbound():

        def work(name):
            for number in range(2000):
                log.info("{} {}", name, number)

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for number in range(50):
            path.rename(path.with_name(f"log.{number}"))
            reopen()
        for thread in threads:
            thread.join()
    handler.close()
    return sorted(f"{name} {number}" for name in "ab" for number in range(2000))


def test_reopening_while_threads_log_loses_nothing(tmp_path):
    """Also on the way without a record."""
    path = tmp_path / "log"
    handler = FileHandler(path, format_string=PLAIN)
    with Flags(errors="raise"):
        logged = move_while_threads_log(handler, path, handler.reopen)

    assert lines_in(tmp_path) == logged


def test_the_control_of_reopening_loses_lines(tmp_path):
    """What closes the old file while another thread is about to write to it has nowhere to."""
    path = tmp_path / "log"

    class Naive(FileHandler):
        def emit(self, record):
            stream = self.stream
            if record.message == "2":
                # Where another thread may come in between.
                path.rename(tmp_path / "log.1")
                stream.close()
                self.stream = open(path, "a")  # noqa: SIM115 - closed by close()
            stream.write(f"{record.message}\n")
            stream.flush()

    with Naive(path), Flags(errors="silent"):
        for number in range(4):
            log.info("{}", number)

    assert lines_in(tmp_path) == ["0", "1", "3"]


def test_a_file_that_is_gone_is_the_control_of_monitoring(tmp_path):
    """Who does not look at the path goes on in a file that nobody finds."""
    found = {}
    for handler_class in (FileHandler, MonitoringFileHandler):
        path = tmp_path / handler_class.__name__
        with handler_class(path, format_string=PLAIN):
            log.info("1")
            path.unlink()
            log.info("2")
        found[handler_class] = path.read_text() if path.exists() else None

    assert found == {FileHandler: None, MonitoringFileHandler: "2\n"}


def test_a_stream_closed_by_others_is_an_error_of_the_handler(tmp_path):
    """Its descriptor may by then be somebody else's, who wants no log in it."""
    handler = FileHandler(tmp_path / "log", format_string=PLAIN)
    with handler.applicationbound(), Flags(errors="raise"):
        log.info("1")
        descriptor = handler.stream.fileno()
        handler.stream.close()
        with open(tmp_path / "other", "w") as other:
            assert other.fileno() == descriptor
            with pytest.raises(ValueError, match="closed file"):
                log.info("2")
    handler.close()

    assert (tmp_path / "other").read_text() == ""


@pytest.mark.parametrize("action", ["reopen", "close"])
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_a_signal_handler_may_reopen_and_close(action, tmp_path):
    """The line it interrupts is written whole first, to the descriptor it was meant for."""
    path = tmp_path / "log"
    handler = FileHandler(path, format_string=PLAIN)
    seen = []

    def interrupt(number, frame):
        seen.append(number)
        getattr(handler, action)()

    before = signal.signal(signal.SIGALRM, interrupt)
    count = 0
    try:
        with handler.applicationbound(), Flags(errors="raise"):
            signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
            until = time.monotonic() + 0.4
            while time.monotonic() < until:
                log.info("{}", count)
                count += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    handler.close()

    assert len(seen) > 50
    assert path.read_text().splitlines() == [str(number) for number in range(count)]


def test_reopening_in_the_middle_of_a_line_waits_for_its_end(tmp_path, capsys):
    """An error of it is reported, since its caller has gone on."""
    path = tmp_path / "log"
    handler = FileHandler(path, format_string=PLAIN)
    real = os.write

    def write(descriptor, data):
        if data == b"b\n":
            handler.reopen()
            path.unlink()
            path.mkdir()
        return real(descriptor, data)

    with handler.applicationbound(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", write)
        handler._writing.put = None
        with Flags(errors="print"):
            log.info("a")
            log.info("b")
    handler.close()

    assert "IsADirectoryError" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_moving_a_monitored_file_while_processes_log_loses_nothing(tmp_path):
    """Four processes, and a file moved away again and again."""
    path = tmp_path / "log"
    count, moves = (25_000, 50) if os.environ.get("SPROCKETS_SOAK") else (1500, 15)
    children = []
    for process in range(4):
        pid = os.fork()
        if not pid:
            try:
                handler = MonitoringFileHandler(path, format_string=PLAIN)
                with handler.applicationbound():
                    for number in range(count):
                        log.info("{} {}", process, number)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    for number in range(moves):
        time.sleep(0.002)
        if path.exists():
            path.rename(tmp_path / f"log.{number}")
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4

    found = sorted(line for file in tmp_path.iterdir() for line in file.read_text().splitlines())
    assert found == sorted(f"{process} {number}" for process in range(4) for number in range(count))


# -- byte order marks


@pytest.mark.parametrize("encoding", ["utf-16", "UTF16", "utf-32", "utf-8-sig", "utf_8_sig"])
@pytest.mark.parametrize("mode", ["a", "w", "ab"])
def test_a_file_has_one_byte_order_mark(encoding, mode, tmp_path):
    """Whoever opens it how often, and whatever it writes."""
    path = tmp_path / "log"
    for _ in range(2):
        handler = FileHandler(path, mode, encoding, format_string=PLAIN)
        with handler.applicationbound():
            log.info("ü")
            handler.write("text\n")
            handler.close()
            log.info("é")
        handler.close()

    text = path.read_bytes().decode(encoding)
    assert "\ufeff" not in text
    assert text == "ü\ntext\né\n" * (1 if mode == "w" else 2)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-8", "latin-1"])
def test_an_encoding_without_a_mark_gets_none(encoding, tmp_path):
    """And the file is empty until there is a record."""
    FileHandler(tmp_path / "log", encoding=encoding).close()

    assert (tmp_path / "log").read_bytes() == b""


# -- torn lines


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_line_that_was_left_torn_is_ended_before_the_next(encoding, tmp_path):
    """A process that was killed does not spoil the records of its successor."""
    path = tmp_path / "log"
    path.write_bytes("whole\nto".encode(encoding))
    for message in ("a", "b"):
        with FileHandler(path, encoding=encoding, format_string=PLAIN):
            log.info(message)

    assert path.read_bytes().decode(encoding) == "whole\nto\na\nb\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_torn_line_is_ended_by_one_of_all_who_open_the_file(encoding, tmp_path, monkeypatch):
    """Whoever gets the lock second finds it ended."""
    path = tmp_path / "log"
    path.write_bytes("to".encode(encoding))
    is_torn = _files.is_torn

    def another_is_first(*of_the_file):
        answer = is_torn(*of_the_file)
        if answer:
            with open(path, "ab") as other:
                other.write("\n".encode(encoding.replace("16", "16-le")))
        return answer

    monkeypatch.setattr(_files, "is_torn", another_is_first)
    FileHandler(path, encoding=encoding).close()

    assert path.read_bytes().decode(encoding) == "to\n"


def test_a_line_that_another_process_is_writing_is_not_torn(tmp_path, monkeypatch):
    """It is looked at twice."""
    path = tmp_path / "log"
    path.write_text("half ")

    def go_on(seconds):
        with open(path, "a") as file:
            file.write("done\n")

    monkeypatch.setattr(_torn, "sleep", go_on)
    FileHandler(path).close()

    assert path.read_text() == "half done\n"


@pytest.mark.parametrize("follows", [b"", b"another process\n"])
def test_a_line_that_a_full_disk_tore_leaves_no_trace_or_an_ended_one(
    follows, tmp_path, monkeypatch
):
    """Unless another process has written behind it, it is taken back."""
    path = tmp_path / "log"
    real = os.write
    answers = [None, 4, OSError(28, "No space left on device")]

    def write(descriptor, data):
        answer = answers.pop(0) if answers else None
        if isinstance(answer, OSError):
            real(descriptor, follows)
            raise answer
        return real(descriptor, bytes(data)[:answer])

    handler = FileHandler(path, format_string=PLAIN)
    with handler.applicationbound(), Flags(errors="silent"):
        monkeypatch.setattr(os, "write", write)
        handler._writing.put = None
        for message in ("first", "second", "third"):
            log.info(message)
        monkeypatch.undo()
    handler.close()

    left = "seco" + follows.decode() if follows else ""
    assert path.read_text() == f"first\n{left}third\n"


# -- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_a_fork_nobody_empties_the_file(tmp_path):
    """Mode ``w`` is for one process: of two, the second would empty what the first has written."""
    path = tmp_path / "log"
    handler = FileHandler(path, "w", format_string=PLAIN, delay=True)
    with handler.applicationbound():
        for number in range(2):
            pid = os.fork()
            if not pid:
                log.info("child {}", number)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        log.info("parent")
    handler.close()

    assert path.read_text() == "child 0\nchild 1\nparent\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_waits_a_second_for_all_locks_together(tmp_path):
    """Twenty held locks delay it no longer than five."""
    handlers = [FileHandler(tmp_path / "log", delay=True) for _ in range(20)]
    held, leave = threading.Event(), threading.Event()

    def hold():
        for handler in handlers:
            handler.lock.acquire()
        held.set()
        leave.wait()
        for handler in handlers:
            handler.lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    started = time.monotonic()
    _fork._before()
    waited = time.monotonic() - started
    _fork._after_in_parent()
    leave.set()
    thread.join()

    assert 0.9 < waited < 1.2
    assert _fork.time_to_wait() == _fork.MAX_WAIT_EACH
    assert all(handler.lock.acquire(timeout=0) for handler in handlers)
