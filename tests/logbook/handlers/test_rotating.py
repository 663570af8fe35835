"""Handlers that begin a new file when the old one is full, or when its time is over."""

import collections
import contextlib
import gzip
import itertools
import os
import pathlib
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import (
    FileHandler,
    Flags,
    Logger,
    LogRecord,
    _clock,
    set_datetime_format,
    statistics,
)
from sprockets.logbook.handlers import _lockfile, _periods, _rolling
from sprockets.logbook.handlers._rolling import RollingFileHandler
from sprockets.logbook.handlers._rotating import RotatingFileHandler, RotatingFileHandlerBase
from sprockets.logbook.handlers._timed import TimedRotatingFileHandler

log = Logger("testlogger")
PLAIN = "{record.message}"
HERE = pathlib.Path(__file__).parent
SOAK = bool(os.environ.get("SPROCKETS_SOAK"))
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def record_at(moment, message):
    record = LogRecord("testlogger", 11, message)
    record.time = moment
    return record


def write_days(handler, counts, year=2010):
    for day, count in counts:
        for number in range(count):
            moment = datetime(year, 1, day, 12) + timedelta(seconds=number)
            handler.emit(record_at(moment, f"{day} {number}"))


# -- by size


@pytest.mark.rule("RF-1", "RF-2", "RF-3")
@pytest.mark.parametrize("handler_class", [RotatingFileHandler, "subclass"])
def test_a_full_file_becomes_the_first_backup(handler_class, tmp_path):
    """Logbook's vector: 32 lines of 257 bytes, files below 2048 bytes, three back-ups."""
    if handler_class == "subclass":

        class Overriding(RotatingFileHandler):
            def should_rollover(self, record, bytes):
                assert len(record.message) == bytes - 1
                return super().should_rollover(record, bytes)

        handler_class = Overriding
    handler = handler_class(tmp_path / "x", max_size=2048, backup_count=3, format_string=PLAIN)
    with handler:
        for letter in "abcdefghijklmnopqrstuvwxyzABCDEF":
            log.info(letter * 256)

    assert names(tmp_path) == ["x", "x.1", "x.2", "x.3"]
    assert (tmp_path / "x").read_text() == "".join(f"{letter * 256}\n" for letter in "CDEF")
    assert (tmp_path / "x.1").read_text().startswith("v")


@pytest.mark.rule("RF-4", "D-09")
@pytest.mark.parametrize("count", [0, -1])
def test_a_rotating_handler_needs_a_backup(count, tmp_path):
    """Checked before the file is made; the default is five of a mebibyte."""
    with pytest.raises(AssertionError, match="at least one backup file has to be specified"):
        RotatingFileHandler(tmp_path / "x", backup_count=count)
    assert names(tmp_path) == []
    handler = RotatingFileHandler(tmp_path / "x", delay=True)

    assert (handler.backup_count, handler.max_size) == (5, 1024 * 1024)


@pytest.mark.rule("RF-5", "X-30")
@pytest.mark.parametrize(("encoding", "each"), [("utf-8", 41), ("utf-16-le", 42)])
def test_sizes_are_counted_in_bytes(encoding, each, tmp_path):
    """Twenty snowmen and an e are no twenty-one bytes."""
    with RotatingFileHandler(tmp_path / "x", encoding=encoding, max_size=100, format_string=PLAIN):
        for _ in range(3):
            log.info("é" * 20)

    assert (tmp_path / "x.1").stat().st_size == 2 * each
    assert (tmp_path / "x").stat().st_size == each


@pytest.mark.rule("RF-6", "X-31")
def test_an_empty_file_is_never_rotated(tmp_path):
    """A line that is too large by itself gets a file of its own."""
    with RotatingFileHandler(tmp_path / "x", max_size=10, format_string=PLAIN):
        log.info("a" * 50)
        log.info("b" * 50)
        log.info("c")

    assert names(tmp_path) == ["x", "x.1", "x.2"]
    assert [(tmp_path / name).read_text()[:1] for name in ("x", "x.1", "x.2")] == ["c", "b", "a"]


@pytest.mark.rule("RF-7", "X-32")
def test_a_roll_over_that_fails_loses_nothing_and_is_tried_again(tmp_path, monkeypatch, capsys):
    """The line goes to the old file; the failure is the handler's error, told once a minute."""
    refused = []

    def refuse(source, target):
        refused.append(source)
        raise PermissionError(13, "Permission denied", source)

    handler = RotatingFileHandler(tmp_path / "x", max_size=90, format_string=PLAIN)
    with handler.applicationbound():
        for number in range(100):
            log.info("{}", number)
            if number == 30:
                monkeypatch.setattr(os, "replace", refuse)
            if number == 60:
                monkeypatch.undo()
    handler.close()

    assert len(refused) > 1
    assert capsys.readouterr().err.count("PermissionError: [Errno 13]") == 1
    lines = [
        line
        for name in sorted(names(tmp_path), reverse=True)
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert lines == [str(number) for number in range(100)]
    monkeypatch.setattr(os, "replace", refuse)
    with handler, Flags(errors="raise"), pytest.raises(PermissionError):
        log.info("y" * 300)
        log.info("z" * 300)
    assert handler.stream is None


@pytest.mark.rule("RF-8")
@pytest.mark.parametrize("delay", [False, True])
def test_what_is_in_the_file_counts(delay, tmp_path):
    """Also with a delayed opening, and after closing; mode ``w`` begins anew, once."""
    (tmp_path / "x").write_text("old\n" * 20)
    handler = RotatingFileHandler(tmp_path / "x", max_size=100, format_string=PLAIN, delay=delay)
    for letter in "abc":
        with handler:
            log.info(letter * 30)
    assert (tmp_path / "x.1").read_text() == "old\n" * 20
    assert (tmp_path / "x").read_text().count("\n") == 3
    with RotatingFileHandler(tmp_path / "x", "w", max_size=100, format_string=PLAIN, delay=delay):
        log.info("new")

    assert (tmp_path / "x").read_text() == "new\n"


def test_rolling_over_on_request(tmp_path):
    """Whatever the size; gaps among the back-ups close, other names stay."""
    for name in ("x.2", "x.5", "x.old", "x.1.gz", "y.1"):
        (tmp_path / name).write_text(name)
    handler = RotatingFileHandler(tmp_path / "x", backup_count=5, format_string=PLAIN)
    with handler.applicationbound():
        log.info("a")
        handler.perform_rollover()
        log.info("b")
    handler.close()

    assert names(tmp_path) == ["x", "x.1", "x.1.gz", "x.3", "x.5", "x.old", "y.1"]
    assert (tmp_path / "x.1").read_text() == "a\n"
    assert (tmp_path / "x.3").read_text() == "x.2"


def test_a_file_that_others_removed_is_made_anew(tmp_path):
    """While it is small at once, else within a fraction of a second."""
    handler = RotatingFileHandler(tmp_path / "x", max_size=1000, format_string=PLAIN)
    with handler.applicationbound():
        log.info("a")
        (tmp_path / "x").unlink()
        log.info("b")
    handler.close()

    assert (tmp_path / "x").read_text() == "b\n"


def test_writing_overridden_is_respected(tmp_path):
    """As in a handler that encrypts its lines."""

    class Upper(RotatingFileHandler):
        def write(self, item):
            super().write(item.upper())

    with Upper(tmp_path / "x", max_size=20, format_string=PLAIN):
        for word in ("one", "two", "three", "four", "five"):
            log.info(word)

    assert (tmp_path / "x").read_text() == "FIVE\n"


@pytest.mark.rule("RF-7")
def test_a_file_that_cannot_be_moved_costs_no_backup(tmp_path, monkeypatch):
    """As one that may only be appended to: the back-ups go back to where they were."""
    for number in (1, 2, 4):
        (tmp_path / f"x.{number}").write_text(f"old {number}")
    (tmp_path / "x").write_text("full\n" * 10)
    real = os.replace

    def refuse(source, target):
        if source == str(tmp_path / "x"):
            raise PermissionError(1, "Operation not permitted", source)
        real(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with (
        RotatingFileHandler(tmp_path / "x", max_size=50, format_string=PLAIN),
        Flags(errors="silent"),
    ):
        for number in range(10):
            log.info("{}", number)

    assert {name: (tmp_path / name).read_text() for name in names(tmp_path)} == {
        "x": "full\n" * 10 + "".join(f"{number}\n" for number in range(10)),
        "x.1": "old 1", "x.2": "old 2", "x.4": "old 4",
    }  # fmt: skip


@pytest.mark.parametrize("base", [RotatingFileHandler, TimedRotatingFileHandler])
@pytest.mark.parametrize("rolls", [True, False])
def test_an_override_that_always_wants_to_roll_is_asked_once_a_line(base, rolls, tmp_path):
    """Each line then has a file, and no call hangs, whether it rolls or only says so."""

    class Always(base):
        def should_rollover(self, *of_the_line):
            return True

        def perform_rollover(self, *timestamp):
            if rolls:
                super().perform_rollover(*timestamp)

    options = {} if base is RotatingFileHandler else {"timed_filename_for_current": False}
    with Always(tmp_path / "x", format_string=PLAIN, **options):
        for letter in "abc":
            log.info(letter)

    found = "".join(sorted((tmp_path / name).read_text() for name in names(tmp_path)))
    assert found == "a\nb\nc\n"
    if rolls and base is RotatingFileHandler:
        assert names(tmp_path)[:3] == ["x", "x.1", "x.2"]


def make_full(kind, path):
    """Return a handler whose next line begins another file, and write the one before."""
    if kind == "size":
        handler = RotatingFileHandler(path, max_size=20, format_string=PLAIN)
    elif kind == "rolling":
        handler = RollingFileHandler(path, max_size=20, format_string=PLAIN)
    else:
        handler = TimedRotatingFileHandler(
            path, timed_filename_for_current=kind == "plain", format_string=PLAIN
        )
        handler.timed_filename_for_current = kind == "timed"
    handler.handle(record_at(datetime(2010, 1, 8), "a" * 10))
    return handler


KINDS = ["size", "timed", "plain", "rolling"]
needs_modes = pytest.mark.skipif(os.name == "nt", reason="this system has no modes")


@needs_modes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_the_next_file_has_the_permissions_of_the_last(kind, mode, tmp_path):
    """What was not for everybody does not become so over night, whatever the umask."""
    handler = make_full(kind, tmp_path / "x.log")
    (before,) = names(tmp_path)
    (tmp_path / before).chmod(mode)
    handler.handle(record_at(datetime(2010, 1, 9), "b" * 10))
    handler.close()

    assert len(names(tmp_path)) == 2
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


@needs_modes
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("kind", KINDS)
def test_the_next_file_has_the_owner_of_the_last(kind, tmp_path):
    """Who could write it still can."""
    handler = make_full(kind, tmp_path / "x.log")
    (before,) = names(tmp_path)
    os.chown(tmp_path / before, 65534, 65534)
    handler.handle(record_at(datetime(2010, 1, 9), "b" * 10))
    handler.close()

    assert {path.stat().st_uid for path in tmp_path.iterdir()} == {65534}


@needs_modes
@pytest.mark.parametrize("kind", ["size", "plain", "rolling"])
def test_a_symbolic_link_stays_where_it_is(kind, tmp_path):
    """What it leads to is rolled over, beside itself."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "y.log").touch()
    (tmp_path / "x.log").symlink_to(folder / "y.log")
    handler = make_full(kind, tmp_path / "x.log")
    handler.handle(record_at(datetime(2010, 1, 9), "b" * 10))
    handler.close()

    assert sorted(names(tmp_path)) == ["elsewhere", "x.log"]
    assert (tmp_path / "x.log").is_symlink()
    assert (tmp_path / "x.log").read_text() == "b" * 10 + "\n"
    assert len(names(folder)) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_gets_all_lines(kind, tmp_path):
    """As /dev/stdout may be one: it has no size, and is never full."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if kind == "size":
        handler = RotatingFileHandler(path, max_size=1_000_000, format_string=PLAIN)
    elif kind == "rolling":
        handler = RollingFileHandler(path, max_size=1_000_000, format_string=PLAIN)
    else:
        handler = TimedRotatingFileHandler(
            path, timed_filename_for_current=False, format_string=PLAIN
        )
    with handler, Flags(errors="raise"):
        for number in range(5):
            log.info("{}", number)
        found = os.read(reading, 100)
    os.close(reading)

    assert found == b"0\n1\n2\n3\n4\n"
    assert names(tmp_path) == ["pipe"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_system_without_lasting_numbers_of_files_is_no_trap(kind, tmp_path, monkeypatch):
    """The file seems to be gone from its path each time; lines are written all the same."""
    monkeypatch.setattr(_lockfile, "is_at", lambda *of_the_file: False)
    handler = make_full(kind, tmp_path / "x.log")
    handler.handle(record_at(datetime(2010, 1, 9), "b" * 10))
    handler.close()

    found = "".join(path.read_text() for path in sorted(tmp_path.iterdir()))
    assert found == "a" * 10 + "\n" + "b" * 10 + "\n"


@pytest.mark.parametrize("kind", KINDS)
def test_rolling_over_in_the_middle_of_a_line_waits_for_its_end(kind, tmp_path, monkeypatch):
    """As where a signal handler asks for it: the line keeps the file it was meant for."""
    arguments = ["2010-01-09"] if kind in ("timed", "plain") else []
    handler = make_full(kind, tmp_path / "x.log")
    real = os.write

    def write(descriptor, data):
        if bytes(data) == b"b\n":
            handler.perform_rollover(*arguments)
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    handler._writing.put = None
    with Flags(errors="raise"):
        handler.handle(record_at(datetime(2010, 1, 8, 1), "b"))
    monkeypatch.undo()
    handler.close()

    assert len(names(tmp_path)) == 2
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["", "a" * 10 + "\nb\n"]


def test_a_roll_over_on_request_waits_for_no_stopped_process(tmp_path, monkeypatch):
    """It says so; doing it without the lock might move away what another has just begun."""
    handler = RotatingFileHandler(tmp_path / "x", format_string=PLAIN)
    monkeypatch.setattr(_lockfile, "acquire", lambda *of_the_file: False)
    with pytest.raises(BlockingIOError, match="another process"):
        handler.perform_rollover()
    handler.close()

    assert names(tmp_path) == ["x"]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 80), max_size=60),
    max_size=st.integers(1, 200),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
)
def test_whatever_the_lengths_no_file_is_too_large_and_nothing_is_lost(
    tmp_path_factory, lengths, max_size, encoding
):
    """Unless a single line is; the files one after another are the lines in order."""
    folder = tmp_path_factory.mktemp("rotating")
    with RotatingFileHandler(
        folder / "x", max_size=max_size, encoding=encoding, backup_count=99, format_string=PLAIN
    ):
        for length in lengths:
            log.info("é" * length)

    found = []
    for name in sorted(names(folder), key=lambda name: -int(name[2:] or 0)):
        data = (folder / name).read_bytes()
        text = data.decode(encoding)
        assert len(data) < max_size or text.count("\n") <= 1
        found += text.splitlines()
    assert [len(line) for line in found] == lengths


# -- the old base


@pytest.mark.rule("RF-9", "D-18", "P-H6")
def test_the_old_base_asks_with_the_encoded_line(tmp_path):
    """It warns where it is made; the other handlers do not derive from it."""
    asked = []

    class Old(RotatingFileHandlerBase):
        def should_rollover(self, record, formatted_record):
            asked.append((record.message, formatted_record))
            return record.message == "b"

        def perform_rollover(self):
            asked.append("roll")

    with pytest.warns(DeprecationWarning, match="derive from RotatingFileHandler") as warned:
        handler = Old(tmp_path / "x", format_string=PLAIN)
    with handler:
        log.info("a")
        log.info("b")

    assert warned[0].filename == __file__
    assert asked == [("a", b"a\n"), ("b", b"b\n"), "roll"]
    assert (tmp_path / "x").read_text() == "a\nb\n"
    assert not issubclass(RotatingFileHandler, RotatingFileHandlerBase)
    with pytest.warns(DeprecationWarning):
        plain = RotatingFileHandlerBase(tmp_path / "y")
    with plain:
        plain.perform_rollover()
        log.info("c")
    assert (tmp_path / "y").read_text().endswith("c\n")


# -- by time


@pytest.mark.rule("TR-1", "TR-2", "TR-5", "TR-9", "TR-6")
@pytest.mark.parametrize("count", [1, 3])
def test_each_day_has_its_file_and_the_last_are_kept(count, tmp_path):
    """Ten, twenty, ten, twenty records of four days: Logbook's vector."""
    handler = TimedRotatingFileHandler(
        tmp_path / "foo.log", backup_count=count, format_string=PLAIN
    )
    assert names(tmp_path) == []
    write_days(handler, [(8, 10), (9, 20), (10, 10), (11, 20)])
    handler.close()

    days = [8, 9, 10, 11][-count:]
    assert names(tmp_path) == [f"foo-2010-01-{day:02}.log" for day in days]
    assert (tmp_path / "foo-2010-01-11.log").read_text().startswith("11 0\n11 1\n")


@pytest.mark.rule("TR-2")
def test_the_name_is_made_as_asked(tmp_path, monkeypatch):
    """Absolute, from the path at construction."""
    monkeypatch.chdir(tmp_path)
    handler = TimedRotatingFileHandler(
        "foo.log", rollover_format="{basename}{ext}.{timestamp}", format_string=PLAIN
    )
    write_days(handler, [(10, 1)])
    handler.close()

    assert names(tmp_path) == ["foo.log.2010-01-10"]
    assert handler.original_filename == "foo.log"
    assert (handler.basename, handler.ext) == (str(tmp_path / "foo"), ".log")
    assert handler.generate_timed_filename("x") == str(tmp_path / "foo.log.x")
    assert isinstance(handler, FileHandler)


@pytest.mark.rule("TR-3", "TR-5")
@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_current_file_may_have_the_plain_name(count, tmp_path):
    """It gets the name of its day when that is over."""
    handler = TimedRotatingFileHandler(
        tmp_path / "foo.log",
        timed_filename_for_current=False,
        backup_count=count,
        format_string=PLAIN,
    )
    write_days(handler, [(8, 10), (9, 20), (10, 10), (11, 20)])
    handler.close()

    days = [8, 9, 10][len([8, 9, 10]) - count + 1 :] if count else [8, 9, 10]
    assert names(tmp_path) == [f"foo-2010-01-{day:02}.log" for day in days] + ["foo.log"]
    assert (tmp_path / "foo.log").read_text().startswith("11 0\n11 1\n")


@pytest.mark.rule("TR-4", "X-33", "X-02", "TM-5")
@pytest.mark.parametrize("kind", ["utc", "local", "aware", "own"])
def test_an_existing_plain_file_belongs_to_the_day_of_its_last_change(kind, tmp_path, monkeypatch):
    """As records show time: an hour before midnight UTC is tomorrow further east."""
    monkeypatch.setenv("TZ", "Etc/GMT-3")
    time.tzset()
    path = tmp_path / "foo.log"
    path.write_text("old\n")
    at = datetime(2010, 1, 10, 23, tzinfo=UTC).timestamp()
    os.utime(path, (at, at))
    east = datetime(2010, 1, 12, 5, tzinfo=UTC).astimezone()
    shown = {"aware": lambda: east, "own": lambda: east.astimezone(UTC).replace(tzinfo=None)}
    try:
        set_datetime_format(shown.get(kind, kind))
        handler = TimedRotatingFileHandler(
            path, timed_filename_for_current=False, format_string=PLAIN
        )
        handler.emit(record_at(shown.get(kind, lambda: datetime(2010, 1, 12, 5))(), "new"))
        handler.close()
    finally:
        monkeypatch.undo()
        time.tzset()

    day = 11 if kind in ("local", "aware") else 10
    assert names(tmp_path) == [f"foo-2010-01-{day}.log", "foo.log"]
    assert path.read_text() == "new\n"


@pytest.mark.rule("TR-7", "X-35")
@pytest.mark.parametrize("current", [False, True])
@settings(max_examples=200 if SOAK else 40, deadline=None)
@given(
    foreign=st.lists(
        st.one_of(
            st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=20).map(
                lambda text: f"foo-{text}.log"
            ),
            st.dates().map(lambda day: f"foo-{day}.log.bak"),
            st.dates(date(2000, 1, 1)).map(lambda day: f"foo-{day.strftime('%Y-%m-%d')} .log"),
            st.dates().map(lambda day: f"bar-{day}.log"),
            st.sampled_from(
                ["foo-2010-1-1.log", "foo-bar.log", "foo.log.1", "xfoo-2010-01-01.log"]
            ),
        ),
        max_size=5,
        unique=True,
    ),
    own=st.sets(st.dates(date(1990, 1, 1), date(2009, 12, 31)), max_size=5),
    count=st.integers(1, 4),
)
def test_only_own_files_are_deleted(tmp_path_factory, current, foreign, own, count):
    """Names beside the log are own only if their time reads back; the newest own are kept."""
    folder = tmp_path_factory.mktemp("names")
    own_names = {f"foo-{day.isoformat()}.log" for day in own}
    foreign = {name for name in foreign if not is_own(name) and len(name.encode()) < 200}
    for name in foreign | own_names:
        (folder / name).write_text("x")
    handler = TimedRotatingFileHandler(
        folder / "foo.log",
        backup_count=count,
        timed_filename_for_current=current,
        format_string=PLAIN,
    )
    write_days(handler, [(8, 1), (9, 1)])
    assert handler.files_to_delete() == []
    handler.close()

    after = set(names(folder))
    assert foreign <= after
    begun = {"foo-2010-01-08.log"} | ({"foo-2010-01-09.log"} if current else set())
    kept = sorted(own_names | begun)[-count:] if current else sorted(own_names | begun)
    if not current:
        kept = kept[len(kept) - (count - 1) :] if len(kept) >= count else kept
        kept.append("foo.log")
    assert after - foreign == set(kept)


def is_own(name):
    try:
        day = datetime.strptime(name, "foo-%Y-%m-%d.log")
    except ValueError:
        return False
    return name == day.strftime("foo-%Y-%m-%d.log")


@pytest.mark.rule("TR-7")
def test_files_to_delete_are_told_with_their_times(tmp_path):
    """The oldest by name first, in seconds."""
    for day, at in ((1, 300), (2, 100), (3, 200)):
        (tmp_path / f"foo-2009-01-0{day}.log").write_text("x")
        os.utime(tmp_path / f"foo-2009-01-0{day}.log", (at, at))
    handler = TimedRotatingFileHandler(tmp_path / "foo.log", backup_count=2)

    assert handler.files_to_delete() == [
        (300.0, str(tmp_path / "foo-2009-01-01.log")),
        (100.0, str(tmp_path / "foo-2009-01-02.log")),
    ]
    handler.backup_count = 0
    assert handler.files_to_delete() == []


@pytest.mark.rule("TR-7")
def test_a_time_that_cannot_be_read_back_is_compared(tmp_path):
    """Python writes the century, and does not read it."""
    handler = TimedRotatingFileHandler(tmp_path / "foo.log", date_format="%C%y%m%d", backup_count=1)
    for name, at in (("foo-20090101.log", datetime(2009, 1, 1, 12)), ("foo-20090102.log", None)):
        (tmp_path / name).write_text("x")
        if at is not None:
            moment = at.replace(tzinfo=UTC).timestamp()
            os.utime(tmp_path / name, (moment, moment))

    assert [path for _, path in handler.files_to_delete()] == [str(tmp_path / "foo-20090101.log")]


@pytest.mark.rule("TR-8", "TR-9", "TR-10", "X-36")
def test_no_file_of_a_day_is_ever_emptied(tmp_path):
    """A late record, a restart, the file of another process: all append."""
    (tmp_path / "foo-2010-01-08.log").write_text("from another process\n")
    for _ in range(2):
        handler = TimedRotatingFileHandler(tmp_path / "foo.log", format_string=PLAIN)
        write_days(handler, [(8, 1), (9, 1), (8, 1), (9, 1)])
        handler.close()

    assert (tmp_path / "foo-2010-01-08.log").read_text() == "from another process\n" + "8 0\n" * 4
    assert (tmp_path / "foo-2010-01-09.log").read_text() == "9 0\n" * 4


@pytest.mark.rule("TR-8", "TR-9")
def test_a_late_record_goes_to_the_plain_file(tmp_path):
    """It renames nothing, and an existing file of that day is appended to."""
    (tmp_path / "foo-2010-01-08.log").write_text("before\n")
    handler = TimedRotatingFileHandler(
        tmp_path / "foo.log", timed_filename_for_current=False, format_string=PLAIN
    )
    write_days(handler, [(8, 1), (9, 1), (8, 1), (7, 1), (9, 1)])
    handler.close()

    assert names(tmp_path) == ["foo-2010-01-08.log", "foo.log"]
    assert (tmp_path / "foo-2010-01-08.log").read_text() == "before\n8 0\n"
    assert (tmp_path / "foo.log").read_text() == "9 0\n8 0\n7 0\n9 0\n"


@pytest.mark.rule("TR-10")
def test_the_first_opening_uses_the_mode(tmp_path):
    """Mode ``w`` empties the first file, and no other."""
    for day in (8, 9):
        (tmp_path / f"foo-2010-01-0{day}.log").write_text("old\n")
    handler = TimedRotatingFileHandler(tmp_path / "foo.log", "w", format_string=PLAIN)
    write_days(handler, [(8, 1), (9, 1)])
    handler.close()

    assert (tmp_path / "foo-2010-01-08.log").read_text() == "8 0\n"
    assert (tmp_path / "foo-2010-01-09.log").read_text() == "old\n9 0\n"


@pytest.mark.rule("TR-11", "TR-14")
@pytest.mark.parametrize("make", [TimedRotatingFileHandler, RollingFileHandler])
def test_a_record_without_time_is_the_handlers_error(make, tmp_path):
    """And asking whether to roll over changes nothing."""
    handler = (
        make(tmp_path / "foo.log", delay=True)
        if make is RollingFileHandler
        else make(tmp_path / "foo.log", format_string=PLAIN)
    )
    record = record_at(None, "x")
    with Flags(errors="raise"), pytest.raises(ValueError, match="belongs to no file"):
        handler.handle(record)
    if make is RollingFileHandler:
        return
    write_days(handler, [(8, 1)])
    later = record_at(datetime(2010, 1, 9), "x")
    assert [handler.should_rollover(later) for _ in range(2)] == [True, True]
    assert not handler.should_rollover(record_at(datetime(2010, 1, 7), "x"))
    handler.close()


@pytest.mark.rule("TR-12")
def test_a_name_without_the_time_is_refused(tmp_path):
    """All days would share one file."""
    with pytest.raises(ValueError, match="must have a field {timestamp}"):
        TimedRotatingFileHandler(tmp_path / "foo.log", rollover_format="{basename}{ext}")


@pytest.mark.rule("TR-13")
@pytest.mark.parametrize("date_format", ["%Y-%m-%d_%H", "%M"])
def test_any_text_of_the_time_may_decide(date_format, tmp_path):
    """A file ends when its text changes."""
    handler = TimedRotatingFileHandler(
        tmp_path / "foo.log", date_format=date_format, format_string=PLAIN
    )
    step = timedelta(hours=1, minutes=1)
    for number in range(6):
        handler.emit(record_at(datetime(2010, 1, 8) + number // 2 * step, str(number)))
    handler.close()

    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == [
        "0\n1\n",
        "2\n3\n",
        "4\n5\n",
    ]


@pytest.mark.rule("TR-13")
def test_the_path_may_contain_braces_and_percent_signs(tmp_path):
    """They are no fields."""
    folder = tmp_path / "{basename} %Y {"
    folder.mkdir()
    handler = TimedRotatingFileHandler(folder / "f%do.log", backup_count=1, format_string=PLAIN)
    write_days(handler, [(8, 1), (9, 1)])
    handler.close()

    assert names(folder) == ["f%do-2010-01-09.log"]


@pytest.mark.rule("TR-3", "TR-4")
def test_two_processes_that_start_on_a_new_day_move_the_old_file_once(tmp_path):
    """The second finds the first's file at the path, which is no file of yesterday."""
    path = tmp_path / "foo.log"
    path.write_text("yesterday\n")
    moment = datetime(2010, 1, 8, 12)
    set_datetime_format(lambda: moment)
    at = moment.replace(tzinfo=UTC).timestamp()
    os.utime(path, (at, at))
    one, other = (
        TimedRotatingFileHandler(path, timed_filename_for_current=False, format_string=PLAIN)
        for _ in range(2)
    )
    moment = datetime(2010, 1, 9)
    for number, handler in enumerate([one, other] * 3):
        handler.emit(record_at(moment + timedelta(minutes=number), str(number)))
    one.close()
    other.close()

    assert names(tmp_path) == ["foo-2010-01-08.log", "foo.log"]
    assert (tmp_path / "foo-2010-01-08.log").read_text() == "yesterday\n"
    assert path.read_text() == "0\n1\n2\n3\n4\n5\n"


@pytest.mark.parametrize("kind", ["timed", "plain", "rolling"])
def test_a_file_of_a_period_that_others_removed_is_made_anew(kind, tmp_path, monkeypatch):
    """Within a quarter of a second, whatever the time says that records have."""
    seconds = 1_000_000_000
    monkeypatch.setattr("sprockets.logbook._logger.time_ns", lambda: seconds * 1_000_000_000)
    if kind == "rolling":
        handler = RollingFileHandler(tmp_path / "x.log", format_string=PLAIN)
    else:
        handler = TimedRotatingFileHandler(
            tmp_path / "x.log", timed_filename_for_current=kind == "timed", format_string=PLAIN
        )
    with handler.applicationbound():
        log.info("a")
        (path,) = tmp_path.iterdir()
        path.unlink()
        seconds += 1
        log.info("b")
        seconds += 1
        log.info("c")
    handler.close()

    assert path.read_text() == "b\nc\n"


@pytest.mark.parametrize(("seconds", "locked"), [(30, 1), (59.5, 2), (-0.5, 2)])
def test_near_the_end_of_a_period_lines_are_written_under_the_lock(
    seconds, locked, tmp_path, monkeypatch
):
    """The file may then be moved to the end of another, and what comes late must not be lost."""
    start = 1_000_000_020
    acquired = []
    acquire = _lockfile.acquire

    def count(descriptor):
        acquired.append(descriptor)
        return acquire(descriptor)

    moments = iter([start - 60, start + seconds, start + seconds + 0.1])
    monkeypatch.setattr(_lockfile, "acquire", count)
    monkeypatch.setattr("sprockets.logbook._logger.time_ns", lambda: int(next(moments) * 1e9))
    with TimedRotatingFileHandler(
        tmp_path / "x.log", timed_filename_for_current=False, format_string=PLAIN
    ):
        log.info("opens the file")
        acquired.clear()
        log.info("looks at the path")
        log.info("need not, if there is time")

    assert len(acquired) == locked


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_a_file_that_is_added_to_another_adds_whole_lines_only(encoding, tmp_path):
    """The other's last line may be torn; and it has its byte order mark."""
    (tmp_path / "foo-2010-01-08.log").write_bytes("before\nto".encode(encoding))
    handler = TimedRotatingFileHandler(
        tmp_path / "foo.log",
        encoding=encoding,
        timed_filename_for_current=False,
        format_string=PLAIN,
    )
    write_days(handler, [(8, 2), (9, 1)])
    handler.close()

    found = (tmp_path / "foo-2010-01-08.log").read_bytes().decode(encoding)
    assert found == "before\nto\n8 0\n8 1\n"
    assert (tmp_path / "foo.log").read_bytes().decode(encoding) == "9 0\n"


@pytest.mark.rule("TR-7")
@pytest.mark.parametrize(
    ("date_format", "texts"),
    [("%m-%d", ["12-30", "12-31", "01-01"]), ("%Y-W%W", ["2009-W51", "2009-W52", "2010-W00"])],
)
def test_where_names_do_not_tell_which_is_older_the_time_of_the_file_does(
    date_format, texts, tmp_path
):
    """Without a year, the first of January would always be the oldest, and a week is no day."""
    moments = [datetime(2009, 12, 26), datetime(2009, 12, 31), datetime(2010, 1, 1)]
    if date_format == "%m-%d":
        moments[0] = datetime(2009, 12, 30)
    for text, moment in zip(texts, moments, strict=True):
        path = tmp_path / f"foo-{text}.log"
        path.write_text("x")
        at = moment.replace(tzinfo=UTC).timestamp()
        os.utime(path, (at, at))
    handler = TimedRotatingFileHandler(
        tmp_path / "foo.log", date_format=date_format, backup_count=2, format_string=PLAIN
    )
    handler.emit(record_at(datetime(2010, 1, 20), "new"))
    handler.close()

    assert names(tmp_path) == sorted(
        [f"foo-{texts[-1]}.log", f"foo-{datetime(2010, 1, 20).strftime(date_format)}.log"]
    )


def test_an_old_file_that_cannot_be_removed_keeps_no_other(tmp_path, monkeypatch, capsys):
    """It is told, and the line is written."""
    for day in range(1, 5):
        (tmp_path / f"foo-2009-01-0{day}.log").write_text("x")
    real = os.remove

    def refuse(path):
        if path.endswith("02.log"):
            raise PermissionError(1, "Operation not permitted", path)
        real(path)

    monkeypatch.setattr(os, "remove", refuse)
    handler = TimedRotatingFileHandler(tmp_path / "foo.log", backup_count=1, format_string=PLAIN)
    handler.handle(record_at(datetime(2010, 1, 8), "a"))
    handler.handle(record_at(datetime(2010, 1, 8, 1), "b"))
    handler.close()

    assert names(tmp_path) == ["foo-2009-01-02.log", "foo-2010-01-08.log"]
    assert (tmp_path / "foo-2010-01-08.log").read_text() == "a\nb\n"
    assert capsys.readouterr().err.count("PermissionError: [Errno 1]") == 1


# -- without looking at the time of each line

DATE_FORMATS = [
    "%Y-%m-%d",
    "%Y-%m-%d_%H",
    "%d%z%Z",
    "%H%M",
    "%X",
    "%S.%f",
    "%Y%%f",
    "%-d %Ey",
    "%c",
]
ZONES = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns"]


@contextlib.contextmanager
def in_zone(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has one zone")
@settings(max_examples=300 if SOAK else 60, deadline=None)
@given(
    moment=st.datetimes(datetime(1980, 1, 1), datetime(2037, 1, 1)),
    date_format=st.sampled_from(DATE_FORMATS),
    name=st.sampled_from(ZONES),
)
def test_nothing_changes_within_a_stretch(moment, date_format, name):
    """The text of its first and of its last moment is that of the one asked for, in any zone."""
    instant = _clock.moment_of(moment)
    with in_zone(name):
        shown = _clock.datetime_of(instant, local=True)
        since, until = _periods.stretch_of(shown, instant, date_format)

        assert since <= instant <= until
        for other in {since, max(since, until - 1)}:
            text = _clock.datetime_of(other, local=True).strftime(date_format)
            assert text == shown.strftime(date_format)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has one zone")
@pytest.mark.rule("TR-1", "TR-9", "TR-13")
@pytest.mark.parametrize("kind", ["timed", "plain"])
@settings(max_examples=100 if SOAK else 25, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.integers(-2_000_000, 2_000_000),
            st.sampled_from([-3_600_000_000, 1_000, 59_000_000, 3_600_000_000, 86_400_000_000]),
        ),
        min_size=1,
        max_size=30,
    ),
    date_format=st.sampled_from(["%Y-%m-%d", "%Y-%m-%d_%H", "%Y-%m-%dT%H%M%S", "%H%Z"]),
    name=st.sampled_from(ZONES),
    shown=st.sampled_from(["utc", "local"]),
)
def test_lines_go_where_they_would_if_each_were_asked_for_its_time(
    kind, steps, date_format, name, shown, tmp_path_factory
):
    """Through the end of summer time, backwards and forwards, in steps large and small."""
    # Ten minutes before it ends in Berlin.
    moments = list(itertools.accumulate(steps, initial=1_288_486_200_000_000))

    class Asked(TimedRotatingFileHandler):
        def should_rollover(self, record):
            return super().should_rollover(record)

    found = []
    for handler_class in (TimedRotatingFileHandler, Asked):
        folder = tmp_path_factory.mktemp("asked")
        times = (moment * 1000 for moment in moments)
        with in_zone(name), pytest.MonkeyPatch.context() as patch, Flags(errors="raise"):
            set_datetime_format(shown)
            for module in ("_logger", "_clock"):
                patch.setattr(f"sprockets.logbook.{module}.time_ns", times.__next__)
            handler = handler_class(
                folder / "x.log",
                date_format=date_format,
                timed_filename_for_current=kind == "timed",
                format_string=PLAIN,
            )
            with handler:
                for number in range(len(moments)):
                    log.info("{}", number)
        found.append({each: (folder / each).read_text() for each in names(folder)})

    assert found[0] == found[1]
    assert sum(text.count("\n") for text in found[0].values()) == len(moments)


@needs_fork
@pytest.mark.rule("TR-8")
@pytest.mark.parametrize("current", [False, True])
def test_a_worker_that_was_quiet_at_midnight_destroys_nothing(current, tmp_path):
    """It logs once the day before and once after the other has written ten thousand records."""
    count = 9_999 if SOAK else 999

    def make():
        return TimedRotatingFileHandler(
            tmp_path / "foo.log", timed_filename_for_current=current, format_string=PLAIN
        )

    moment = datetime(2010, 1, 8, 23, 59, 59)
    set_datetime_format(lambda: moment)
    quiet, busy = make(), make()
    quiet.emit(record_at(moment, "quiet before"))
    moment = datetime(2010, 1, 9)
    for number in range(count):
        busy.emit(record_at(moment, str(number)))
    quiet.emit(record_at(moment, "quiet after"))
    quiet.close()
    busy.close()

    lines = [
        line for name in names(tmp_path) for line in (tmp_path / name).read_text().splitlines()
    ]
    assert lines == ["quiet before", *map(str, range(count)), "quiet after"]


def test_a_file_opened_with_w_is_the_control_of_midnight(tmp_path):
    """A handler that empties what it opens loses the day, so the test above can fail."""
    path = tmp_path / "foo-2010-01-09.log"
    with FileHandler(path, format_string=PLAIN):
        log.info("busy")
    with FileHandler(path, "w", format_string=PLAIN):
        log.info("quiet after")

    assert path.read_text() == "quiet after\n"


# -- several processes


def together(kind, path, processes, count, when, pause=0.0):
    done = subprocess.run(
        [
            sys.executable, "-P", str(HERE / "rotating_together.py"), kind, str(path),
            str(processes), str(count), when, str(pause),
        ],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "LOGBOOK_INSTALL_DEFAULT_HANDLER": "0"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return float(done.stdout)


def found_lines(folder):
    """Return how often each numbered line is in the files, and the sizes of the files."""
    counts, sizes = collections.Counter(), []
    for path in folder.iterdir():
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        sizes.append(len(data))
        assert data.endswith(b"\n")
        for line in data.decode().splitlines():
            name, number, *filling = line.split(" ")
            assert "".join(filling) == "x" * (int(number) * 7 % 90), "a broken line"
            counts[name, int(number)] += 1
    return counts, sizes


@needs_fork
@pytest.mark.parametrize("kind", ["size", "large", "rolling"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_many_processes_roll_one_file_over(kind, when, tmp_path):
    """Nothing lost, doubled, or broken, and no file too large; undisturbed, 3,700 lines a second."""
    count = 15_000 if SOAK else 1500
    seconds = together(kind, tmp_path / "log", 8, count, when)

    counts, sizes = found_lines(tmp_path)
    assert counts == {(f"p{process}", number): 1 for process in range(8) for number in range(count)}
    assert max(sizes) < (600_000 if kind == "large" else 10_000)
    if SOAK:
        assert 8 * count / seconds >= 3_700


@needs_fork
def test_the_control_of_many_processes_writes_files_too_large(tmp_path, monkeypatch):
    """Without the lock, processes that all see room fill it together."""
    script = (HERE / "rotating_together.py").read_text()
    unlocked = tmp_path / "unlocked.py"
    unlocked.write_text(
        "from sprockets.logbook.handlers import _lockfile\n"
        "_lockfile.acquire = lambda *rest: True\n"
        "_lockfile.is_at = lambda *rest: True\n" + script.replace('"""Several', 'r"""Several', 1)
    )
    folder = tmp_path / "logs"
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-P", str(unlocked), "size", str(folder / "log"), "8", "1500", "after", "0"],
        capture_output=True, check=False, timeout=300,
    )  # fmt: skip

    counts, sizes = found_lines(folder)
    assert max(sizes) >= 10_000 or len(counts) < 12_000


@needs_fork
@pytest.mark.parametrize("kind", ["timed", "plain"])
def test_many_processes_rotate_by_time(kind, tmp_path):
    """Each second a file; nothing is lost or doubled."""
    count, pause = (5_000, 0.0008) if SOAK else (400, 0.003)
    together(kind, tmp_path / "log", 4, count, "before", pause)

    counts, sizes = found_lines(tmp_path)
    assert counts == {(f"p{process}", number): 1 for process in range(4) for number in range(count)}
    assert len(sizes) >= 2


@needs_fork
def test_a_process_that_stopped_with_the_lock_holds_others_up_a_second_at_most(tmp_path):
    """Their lines are written all the same; the roll-over is left to later."""
    with open(tmp_path / "log", "a") as held:
        held.write("x" * 90 + "\n")
        held.flush()
        assert _lockfile.acquire(held.fileno())
        handler = RotatingFileHandler(tmp_path / "log", max_size=100, format_string=PLAIN)
        started = time.monotonic()
        with handler:
            log.info("a" * 20)
        waited = time.monotonic() - started

    assert 0.9 < waited < 1.5
    assert names(tmp_path) == ["log"]
    with handler:
        log.info("b")
    assert names(tmp_path) == ["log", "log.1"]


# -- by size and time, compressed and limited


class Rolling(RollingFileHandler):
    def __init__(self, path, **options):
        super().__init__(path, format_string=PLAIN, **options)


def test_a_rolling_file_is_named_by_its_day_and_a_number(tmp_path):
    """By time and by size together; numbers go on where they were."""
    handler = Rolling(tmp_path / "shop.log", max_size=30)
    write_days(handler, [(8, 10), (9, 3)])
    handler.close()
    handler = Rolling(tmp_path / "shop.log", max_size=30)
    handler.perform_rollover()
    handler.close()

    today = datetime.now(UTC).strftime("%Y-%m-%d")
    assert names(tmp_path) == [
        "shop-2010-01-08.1.log", "shop-2010-01-08.2.log", f"shop-{today}.1.log", "shop.log",
    ]  # fmt: skip
    assert [number for _, number, _, _ in handler.backups()] == [1, 2, 1]
    assert (tmp_path / "shop-2010-01-08.2.log").read_text() == "8 7\n8 8\n8 9\n"


@pytest.mark.parametrize("compression", ["gzip", "brotli"])
def test_all_old_files_but_the_latest_are_compressed(compression, tmp_path):
    """What was in them is still in them, and their times stay."""
    if compression == "brotli":
        decompress = pytest.importorskip("brotli", reason="needs the extra brotli").decompress
    else:
        decompress = gzip.decompress
    handler = Rolling(tmp_path / "shop.log", compression=compression)
    for day in range(8, 12):
        write_days(handler, [(day, 100)])
        # Wait for the thread.
        handler.close()
    suffix = {"gzip": ".gz", "brotli": ".br"}[compression]

    assert names(tmp_path) == [
        f"shop-2010-01-08.1.log{suffix}", f"shop-2010-01-09.1.log{suffix}",
        "shop-2010-01-10.1.log", "shop.log",
    ]  # fmt: skip
    first = decompress((tmp_path / f"shop-2010-01-08.1.log{suffix}").read_bytes())
    assert first.decode().splitlines() == [f"8 {number}" for number in range(100)]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({"backup_count": 2}, [10, 11]),
        ({"max_age": 250.0}, [10, 11]),
        ({"max_age": timedelta(seconds=150)}, [11]),
        ({"max_total_bytes": 10}, [10, 11]),
        ({"backup_count": 3, "max_total_bytes": 5}, [11]),
        ({}, [8, 9, 10, 11]),
    ],
)
def test_old_files_are_limited_by_count_age_and_size(limits, kept, tmp_path):
    """Whichever asks first; names that do not read back are not touched."""
    for name in ("shop-2009-1-1.1.log", "shop-x.1.log", "shop-2009-01-01.01.log", "shop.log.1"):
        (tmp_path / name).write_text("foreign")
        os.utime(tmp_path / name, (1, 1))
    for day in range(8, 12):
        path = tmp_path / f"shop-2009-01-{day:02}.1.log"
        path.write_text("12345")
        os.utime(path, (day * 100, day * 100))
    handler = Rolling(tmp_path / "shop.log", clock=lambda: 1200.0, delay=True, **limits)
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    handler._limit()

    gone = {path.name for path in before} - set(names(tmp_path))
    assert gone == {f"shop-2009-01-{day:02}.1.log" for day in range(8, 12) if day not in kept}


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_size": 0}, {"backup_count": -1}, {"max_age": 0}, {"max_total_bytes": 0},
        {"compression": "zip"}, {"date_format": "%C"}, {"date_format": "%Y/%m"},
        {"date_format": "%m-%d"}, {"date_format": "%Y-W%W"},
    ],
)  # fmt: skip
def test_limits_that_make_no_sense_are_refused(wrong, tmp_path):
    """Before a file is made."""
    with pytest.raises(ValueError, match="must be"):
        Rolling(tmp_path / "x", **wrong)

    assert names(tmp_path) == []


def test_a_roll_over_of_a_rolling_file_that_fails_loses_nothing(tmp_path, monkeypatch, capsys):
    """It goes on in the old file, and is tried again."""

    def refuse(source, target):
        raise PermissionError(13, "Permission denied", source)

    handler = Rolling(tmp_path / "shop.log", max_size=30)
    write_days(handler, [(8, 5)])
    monkeypatch.setattr(os, "rename", refuse)
    for number in range(20):
        handler.handle(record_at(datetime(2010, 1, 9), f"late {number}"))
    monkeypatch.undo()
    write_days(handler, [(10, 1)])
    handler.close()

    assert capsys.readouterr().err.count("PermissionError: [Errno 13]") == 1
    lines = [
        line for name in names(tmp_path) for line in (tmp_path / name).read_text().splitlines()
    ]
    assert len(lines) == len(set(lines)) == 26


def test_a_compression_that_a_crash_cut_is_done_again(tmp_path):
    """The old file is there until the compressed one is whole."""
    for day in (7, 8):
        (tmp_path / f"shop-2010-01-0{day}.1.log").write_text(f"{day}\n")
    (tmp_path / "shop-2010-01-07.1.log.gz.unfinished").write_bytes(b"\x1f")
    handler = Rolling(tmp_path / "shop.log", compression="gzip")
    handler._compress_and_limit()
    handler.close()

    assert names(tmp_path) == ["shop-2010-01-07.1.log.gz", "shop-2010-01-08.1.log", "shop.log"]
    assert gzip.decompress((tmp_path / "shop-2010-01-07.1.log.gz").read_bytes()) == b"7\n"


def test_an_old_file_that_cannot_be_removed_begins_no_new_ones(tmp_path, monkeypatch, capsys):
    """The roll-over is done, and not done again with each line."""
    (tmp_path / "shop-2009-01-01.1.log").write_text("x")

    def refuse(path):
        raise PermissionError(1, "Operation not permitted", path)

    handler = Rolling(tmp_path / "shop.log", backup_count=1)
    monkeypatch.setattr(os, "remove", refuse)
    for day in (8, 9):
        for hour in range(5):
            handler.handle(record_at(datetime(2010, 1, day, hour), f"{day} {hour}"))
    handler.close()

    assert names(tmp_path) == ["shop-2009-01-01.1.log", "shop-2010-01-08.1.log", "shop.log"]
    assert (tmp_path / "shop.log").read_text().count("\n") == 5
    assert capsys.readouterr().err.count("PermissionError: [Errno 1]") == 1


@pytest.mark.parametrize("make", [pathlib.Path.mkdir, lambda path: path.symlink_to("foreign")])
def test_a_name_that_is_taken_is_left_alone(make, tmp_path):
    """What is no old file of ours is neither replaced nor in the way."""
    make(tmp_path / "shop-2010-01-08.1.log")
    handler = Rolling(tmp_path / "shop.log")
    with Flags(errors="raise"):
        write_days(handler, [(8, 1), (9, 1)])
    handler.close()

    assert names(tmp_path) == ["shop-2010-01-08.1.log", "shop-2010-01-08.2.log", "shop.log"]
    assert not (tmp_path / "shop-2010-01-08.1.log").is_file()


def test_a_roll_over_that_another_process_was_first_with_is_not_repeated(tmp_path):
    """A late line goes to the new file, and the next one begins no other."""
    moment = datetime(2010, 1, 8, 12)
    set_datetime_format(lambda: moment)
    one, other = (Rolling(tmp_path / "shop.log") for _ in range(2))
    one.emit(record_at(moment, "a"))
    other.emit(record_at(moment, "b"))
    moment = datetime(2010, 1, 9)
    one.emit(record_at(moment, "c"))
    other.emit(record_at(datetime(2010, 1, 8, 13), "late"))
    other.emit(record_at(moment + timedelta(hours=1), "d"))
    one.close()
    other.close()

    assert names(tmp_path) == ["shop-2010-01-08.1.log", "shop.log"]
    assert (tmp_path / "shop.log").read_text() == "c\nlate\nd\n"


@pytest.fixture(name="old_files")
def _old_files(tmp_path):
    for day in (6, 7, 8):
        path = tmp_path / f"shop-2010-01-0{day}.1.log"
        path.write_text(f"{day}\n")
        path.chmod(0o640)
    return tmp_path


@needs_modes
@pytest.mark.parametrize("compression", ["gzip", "brotli"])
def test_what_is_being_compressed_is_for_its_owner_only(compression, old_files, monkeypatch):
    """Until it has the permissions of the original, whatever the umask."""
    if compression == "brotli":
        pytest.importorskip("brotli", reason="needs the extra brotli")
    seen = []
    make_like = _rolling.make_like

    def look(descriptor, status):
        seen.append(os.fstat(descriptor).st_mode & 0o777)
        make_like(descriptor, status)

    monkeypatch.setattr(_rolling, "make_like", look)
    handler = Rolling(old_files / "shop.log", compression=compression)
    handler._compress_and_limit()
    handler.close()

    assert seen == [0o600] * 2
    compressed = [path for path in old_files.iterdir() if path.suffix in (".gz", ".br")]
    assert {path.stat().st_mode & 0o777 for path in compressed} == {0o640}


def test_compressing_waits_until_no_process_writes_the_file_any_more(old_files, monkeypatch):
    """Others may take it for the current one for a quarter of a second after it was renamed."""
    waited = []
    monkeypatch.setattr(_rolling.time, "sleep", waited.append)
    handler = Rolling(old_files / "shop.log", compression="gzip")
    handler._compress_and_limit()
    handler.close()

    assert len(waited) == 2
    assert all(0 < seconds <= 0.5 for seconds in waited)


def test_a_file_that_grows_while_it_is_compressed_stays(old_files, monkeypatch):
    """A process that was stopped for long may still write to it."""
    copy = RollingFileHandler._copy_compressed

    def grow(self, source, target):
        copy(self, source, target)
        if "06" in source.name:
            with open(source.name, "a") as late:
                late.write("late\n")

    monkeypatch.setattr(RollingFileHandler, "_copy_compressed", grow)
    handler = Rolling(old_files / "shop.log", compression="gzip")
    handler._compress_and_limit()
    handler.close()

    assert (old_files / "shop-2010-01-06.1.log").read_text() == "6\nlate\n"
    assert "shop-2010-01-06.1.log.gz" not in names(old_files)
    assert "shop-2010-01-07.1.log.gz" in names(old_files)


def test_a_compression_that_fails_is_told_and_stops_no_other(old_files, monkeypatch, capsys):
    """Or the disk would fill up, and nobody would know why."""
    copy = RollingFileHandler._copy_compressed

    def fail(self, source, target):
        if "06" in target.name:
            raise OSError(28, "No space left on device")
        copy(self, source, target)

    monkeypatch.setattr(RollingFileHandler, "_copy_compressed", fail)
    failed = statistics()["failed"]
    handler = Rolling(old_files / "shop.log", compression="gzip")
    handler._compress_and_limit()
    handler._compress_and_limit()
    handler.close()

    assert names(old_files) == [
        "shop-2010-01-06.1.log", "shop-2010-01-07.1.log.gz", "shop-2010-01-08.1.log", "shop.log",
    ]  # fmt: skip
    assert capsys.readouterr().err.count("No space left on device\n") == 1
    assert statistics()["failed"] == failed + 2
