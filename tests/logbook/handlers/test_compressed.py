"""Handlers that compress what they write."""

import gc
import gzip
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import zlib

import pytest

from sprockets.logbook import Flags, Logger
from sprockets.logbook.handlers import _compressed, _lockfile
from sprockets.logbook.handlers._compressed import (
    BrotliCompressionHandler,
    GZIPCompressionHandler,
)

log = Logger("testlogger")
PLAIN = "{record.message}"
LEVELLED = "{record.level_name}:{record.channel}:{record.message}"
SOAK = bool(os.environ.get("SPROCKETS_SOAK"))


def has_brotli():
    try:
        _compressed._import_brotli()
    except ImportError:
        return False
    return True


needs_brotli = pytest.mark.skipif(not has_brotli(), reason="needs the extra brotli")
BOTH = [GZIPCompressionHandler, pytest.param(BrotliCompressionHandler, marks=needs_brotli)]


def decompressed(handler_class, path):
    data = path.read_bytes()
    if handler_class is GZIPCompressionHandler:
        return gzip.decompress(data)
    return _compressed._import_brotli().decompress(data)


@pytest.mark.rule("CH-1", "CH-2", "CH-3")
@pytest.mark.parametrize("handler_class", BOTH)
def test_closing_completes_the_file(handler_class, tmp_path):
    """Until then the line may be invisible; closing is repeatable."""
    path = tmp_path / "log"
    handler = handler_class(path, format_string=LEVELLED)
    with handler.applicationbound():
        log.warning("warning message ü")
        assert not handler.should_flush()
        assert path.read_bytes() == b""
    handler.close()
    handler.close()

    assert decompressed(handler_class, path) == "WARNING:testlogger:warning message ü\n".encode()


@pytest.mark.rule("CH-1")
@pytest.mark.parametrize("handler_class", BOTH)
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
def test_text_is_compressed_in_the_encoding_asked_for(handler_class, encoding, tmp_path):
    """A byte order mark comes once."""
    path = tmp_path / "log"
    with handler_class(path, encoding, format_string=PLAIN, flush_every=1), Flags(errors="raise"):
        for message in ("ü", "é"):
            log.info(message)

    text = decompressed(handler_class, path).decode(encoding)
    assert text == "ü\né\n"


@pytest.mark.rule("CH-4", "X-37")
def test_a_gzip_file_is_continued_after_closing(tmp_path):
    """Upstream's second block destroyed the first one's data."""
    path = tmp_path / "log.gz"
    handler = GZIPCompressionHandler(path, format_string=PLAIN)
    for message in "ab":
        with handler:
            log.info(message)
    with GZIPCompressionHandler(path, format_string=PLAIN):
        log.info("c")

    assert gzip.decompress(path.read_bytes()) == b"a\nb\nc\n"


@needs_brotli
@pytest.mark.rule("CH-4", "X-37")
def test_a_brotli_file_is_never_replaced(tmp_path):
    """A record after closing is an error of the handler, and so is a file that is not empty."""
    path = tmp_path / "log.br"
    handler = BrotliCompressionHandler(path, format_string=PLAIN)
    with handler:
        log.info("a")
    with Flags(errors="raise"), handler, pytest.raises(RuntimeError, match="is complete once"):
        log.info("b")
    with pytest.raises(FileExistsError, match="choose another name"):
        BrotliCompressionHandler(path)

    assert decompressed(BrotliCompressionHandler, path) == b"a\n"


@pytest.mark.rule("CH-5")
def test_without_the_library_nothing_is_made(tmp_path, monkeypatch):
    """The error names the extra, and comes before the file."""
    for name in ("brotli", "brotlicffi"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeError, match=r"pip install 'sprockets.http\[brotli\]'"):
        BrotliCompressionHandler(tmp_path / "log")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.rule("CH-5")
def test_brotlicffi_is_preferred(tmp_path, monkeypatch):
    """Both have the same interface."""

    class Fake:
        class Compressor:
            def __init__(self, quality, lgwin):
                self.asked = (quality, lgwin)

            def process(self, data):
                return data

            def flush(self):
                return b""

            finish = flush

    monkeypatch.setitem(sys.modules, "brotlicffi", Fake)
    with BrotliCompressionHandler(tmp_path / "log", format_string=PLAIN) as handler:
        log.info("x")
    small = BrotliCompressionHandler(
        tmp_path / "other", delay=True, compression_window_size=2**17 - 1, compression_quality=3
    )

    assert (tmp_path / "log").read_bytes() == b"x\n"
    assert handler._compressor.asked == (11, 22)
    assert small._compressor.asked == (3, 16)


@pytest.mark.rule("CH-6")
@pytest.mark.parametrize("size", [1023, 1 << 25, 0, 22])
def test_a_window_is_given_in_bytes(size, tmp_path):
    """4 MiB are 22 bits; what is outside the format's range is refused."""
    with pytest.raises(ValueError, match="given in bytes"):
        BrotliCompressionHandler(tmp_path / "log", compression_window_size=size)


@pytest.mark.parametrize("handler_class", BOTH)
@pytest.mark.parametrize("wrong", [{"compression_quality": 12}, {"flush_every": 0}])
def test_numbers_outside_their_range_are_refused(handler_class, wrong, tmp_path):
    """Before a file is made."""
    with pytest.raises(ValueError, match="must be"):
        handler_class(tmp_path / "log", **wrong)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.rule("CH-7")
@pytest.mark.parametrize("handler_class", BOTH)
def test_a_delayed_file_without_records_is_never_made(handler_class, tmp_path):
    """Not even by closing."""
    handler = handler_class(tmp_path / "log", delay=True)
    handler.flush()
    handler.close()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("handler_class", BOTH)
def test_what_was_flushed_can_be_read_before_the_end(handler_class, tmp_path):
    """After so many records, or on request; a collected handler writes the rest."""
    path = tmp_path / "log"
    handler = handler_class(path, format_string=PLAIN, flush_every=10)
    with handler.applicationbound():
        for number in range(15):
            log.info("{}", number)
        assert readable(handler_class, path).count(b"\n") == 10
        handler.flush()
        assert readable(handler_class, path).count(b"\n") == 15
        log.info("last")
    del handler
    gc.collect()

    assert decompressed(handler_class, path).splitlines()[-1] == b"last"


def readable(handler_class, path):
    """Return what can be read of a file that may end abruptly."""
    data = path.read_bytes()
    if handler_class is GZIPCompressionHandler:
        return gzip.decompress(data)
    return _compressed._import_brotli().Decompressor().process(data)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_a_fork_each_process_writes_its_own_lines(tmp_path):
    """What the parent had collected is written once; both append members to one file."""
    path = tmp_path / "log"
    handler = GZIPCompressionHandler(path, format_string=PLAIN, flush_every=7)
    with handler.applicationbound():
        log.info("before")
        pid = os.fork()
        if not pid:
            for number in range(100):
                log.info("child {}", number)
            handler.close()
            os._exit(0)
        for number in range(100):
            log.info("parent {}", number)
        assert os.waitpid(pid, 0)[1] == 0
    handler.close()

    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert len(lines) == len(set(lines)) == 201
    assert [line for line in lines if line.startswith("child")] == [
        f"child {number}" for number in range(100)
    ]


@needs_brotli
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_brotli_file_belongs_to_the_parent(tmp_path):
    """In a child the record is an error of the handler."""
    path = tmp_path / "log"
    handler = BrotliCompressionHandler(path, format_string=PLAIN)
    with handler.applicationbound():
        log.info("before")
        pid = os.fork()
        if not pid:
            try:
                with Flags(errors="raise"):
                    log.info("child")
            except RuntimeError:
                handler.close()
                os._exit(0)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
    handler.close()

    assert decompressed(BrotliCompressionHandler, path) == b"before\n"


@pytest.mark.parametrize("ending", ["pass", "sys.exit(1)", "1/0"])
def test_at_the_end_of_the_program_everything_is_written(ending, tmp_path):
    """Though nobody closes the handler, and finalisers log."""
    path = tmp_path / "log"
    script = f"""
import sys
from sprockets.logbook import Logger
from sprockets.logbook.handlers._compressed import GZIPCompressionHandler
handler = GZIPCompressionHandler(sys.argv[1], format_string="{{record.message}}")
handler.push_application()
sys.keep = handler
Logger("x").info("main")
{ending}
"""
    subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, timeout=60, check=False
    )

    assert gzip.decompress(path.read_bytes()) == b"main\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_killed_process_leaves_a_file_that_zcat_reads(tmp_path):
    """It lacks fewer records than ``flush_every``, and can be continued."""
    path = tmp_path / "log.gz"
    chance = random.Random(5)
    for trial in range(200 if SOAK else 10):
        path.unlink(missing_ok=True)
        acknowledged = records_of_a_killed_process(path, chance.uniform(0.001, 0.02))
        with GZIPCompressionHandler(path, format_string=PLAIN):
            log.info("continued")

        done = subprocess.run(["zcat", str(path)], capture_output=True, check=True)
        lines = done.stdout.decode().splitlines()
        assert lines.pop() == "continued"
        assert lines == [str(number) for number in range(len(lines))]
        assert len(lines) > acknowledged - 50, trial


def records_of_a_killed_process(path, seconds):
    """Log numbers in a child until it is killed; return how many calls had returned."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            handler = GZIPCompressionHandler(path, format_string=PLAIN, flush_every=50)
            with handler.applicationbound():
                for number in itertools.count():
                    log.info("{}", number)
                    os.write(writing, b".")
        finally:
            os._exit(1)
    os.close(writing)
    os.read(reading, 1)
    timer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
    timer.start()
    count = 1
    while found := os.read(reading, 1 << 16):
        count += len(found)
    timer.join()
    os.waitpid(pid, 0)
    os.close(reading)
    return count


@pytest.mark.parametrize("kept", range(1, 30, 4))
def test_a_member_that_was_torn_is_removed_before_more_is_appended(kept, tmp_path):
    """Gzip would not read what follows it; a file of another program is left as it is."""
    whole = gzip.compress(b"whole\n" * 30) + gzip.compress(bytes(range(256)) * 2)
    path = tmp_path / "log.gz"
    path.write_bytes(whole + gzip.compress(b"torn, and then some\n" * 3)[:kept])
    with GZIPCompressionHandler(path, format_string=PLAIN):
        log.info("next")
    assert gzip.decompress(path.read_bytes()) == gzip.decompress(whole) + b"next\n"


def test_a_member_of_another_program_is_left_alone(tmp_path):
    """However large it is."""
    large = gzip.compress(random.Random(1).randbytes(400_000))
    path = tmp_path / "log.gz"
    path.write_bytes(large)
    with GZIPCompressionHandler(path, format_string=PLAIN):
        log.info("next")

    assert path.read_bytes().startswith(large)
    assert gzip.decompress(path.read_bytes()).endswith(b"next\n")


def test_what_only_looks_like_the_beginning_of_a_member_is_none(tmp_path):
    """Stored data may contain anything: here a member with a field of 65,535 bytes."""
    disguised = random.Random(3).randbytes(2_000) + b"\x1f\x8b\x08\x04" + b"\0" * 6 + b"\xff\xff"
    whole = gzip.compress(disguised + b"and more\n" * 50, 0)
    path = tmp_path / "log.gz"
    path.write_bytes(whole)
    with GZIPCompressionHandler(path, format_string=PLAIN):
        log.info("next")
    assert path.read_bytes().startswith(whole)

    path.write_bytes(whole + gzip.compress(b"torn")[:12])
    with GZIPCompressionHandler(path, format_string=PLAIN):
        log.info("next")
    assert gzip.decompress(path.read_bytes()) == gzip.decompress(whole) + b"next\n"


def test_what_another_process_appends_that_is_no_member_is_left_alone(tmp_path):
    """As zeros of a crash of the system: it is not ours to say what they are."""
    before = gzip.compress(b"whole\n") + b"\0" * 100
    path = tmp_path / "log.gz"
    path.write_bytes(before)
    GZIPCompressionHandler(path).close()

    assert path.read_bytes() == before


def test_a_member_that_another_process_is_writing_is_not_torn(tmp_path, monkeypatch):
    """It has the lock until the member is complete."""
    path = tmp_path / "log.gz"
    member = gzip.compress(b"of another process\n")
    with open(path, "ab", buffering=0) as other:
        other.write(member[:15])
        assert _lockfile.acquire(other.fileno())

        def go_on(seconds):
            other.write(member[15:])
            _lockfile.release(other.fileno())
            monkeypatch.undo()

        monkeypatch.setattr(_lockfile, "sleep", go_on)
        with GZIPCompressionHandler(path, format_string=PLAIN):
            log.info("ours")

    assert gzip.decompress(path.read_bytes()) == b"of another process\nours\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_handlers_that_share_a_file_begin_it_with_one_mark(encoding, tmp_path):
    """Whoever writes first."""
    path = tmp_path / "log.gz"
    handlers = [GZIPCompressionHandler(path, encoding, format_string=PLAIN) for _ in range(2)]
    for handler, message in zip(handlers, "üé", strict=True):
        with handler:
            log.info(message)

    assert gzip.decompress(path.read_bytes()).decode(encoding) == "ü\né\n"


@pytest.mark.parametrize("handler_class", BOTH)
def test_lines_that_could_not_be_written_are_kept(handler_class, tmp_path, monkeypatch):
    """The next record tries again; what was written in part is not there twice."""
    path = tmp_path / "log"
    handler = handler_class(path, format_string=PLAIN, flush_every=1)
    real = os.write
    answers = [5, OSError(28, "No space left on device"), 3, OSError(28, "No space left")]

    def write(descriptor, data):
        answer = answers.pop(0) if answers else None
        if isinstance(answer, OSError):
            raise answer
        return real(descriptor, data[:answer])

    with handler.applicationbound(), Flags(errors="silent"):
        monkeypatch.setattr(os, "write", write)
        log.info("a")
        log.info("b")
        monkeypatch.undo()
        log.info("c")
    handler.close()

    assert decompressed(handler_class, path) == b"a\nb\nc\n"


def test_a_quality_makes_a_difference(tmp_path):
    """Nine is smaller than one."""
    sizes = []
    for quality in (1, 9):
        path = tmp_path / str(quality)
        with GZIPCompressionHandler(path, format_string=PLAIN, compression_quality=quality):
            for number in range(900):
                log.info("{} {}", zlib.crc32(b"%d" % (number // 3)), number % 7)
        sizes.append(path.stat().st_size)

    assert sizes[1] < sizes[0]
