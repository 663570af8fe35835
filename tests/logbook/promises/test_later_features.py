"""What was promised release by release, and has to be there together."""

import gzip
from datetime import UTC, datetime, timedelta, timezone

import pytest

from sprockets.logbook import (
    GZIPCompressionHandler,
    Logger,
    TestHandler,
    TimedRotatingFileHandler,
    set_datetime_format,
)

log = Logger("shop")


@pytest.mark.rule("P-H12")
def test_records_have_the_time_of_a_zone():
    """Any that a callable gives; the instant is the true one."""
    zone = timezone(timedelta(hours=5, minutes=30))

    set_datetime_format(lambda: datetime(2026, 11, 21, 12, 0, tzinfo=zone))
    with TestHandler() as handler:
        log.info("x")

    (record,) = handler.records
    assert record.time.utcoffset() == timedelta(hours=5, minutes=30)
    assert record.to_dict(json_safe=True)["time"] == "2026-11-21T06:30:00.000000Z"
    assert record.time.astimezone(UTC).hour == 6


@pytest.mark.rule("P-H12")
def test_a_logger_is_enabled_and_disabled():
    """By methods, too."""
    with TestHandler() as handler:
        log.disable()
        log.info("one")
        log.enable()
        log.info("two")

    assert [record.message for record in handler.records] == ["two"]


@pytest.mark.rule("P-H12")
def test_files_can_be_compressed(tmp_path):
    """As they are written."""
    with GZIPCompressionHandler(tmp_path / "a.gz", format_string="{record.message}") as handler:
        log.info("x")
    handler.close()

    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"x\n"


@pytest.mark.rule("P-H12")
def test_files_of_days_are_named_as_asked(tmp_path):
    """By the day, the name and the extension, as a layout says."""
    year = datetime.now(UTC).year
    with TimedRotatingFileHandler(
        tmp_path / "a.log",
        format_string="{record.message}",
        date_format="%Y",
        rollover_format="{basename}.{timestamp}{ext}",
    ) as handler:
        log.info("x")
    handler.close()

    assert [path.name for path in tmp_path.iterdir()] in ([f"a.{year}.log"], [f"a.{year + 1}.log"])


@pytest.mark.rule("P-H12")
def test_traces_are_asked_for_as_other_levels_are():
    """All of them, and a single one."""
    with TestHandler() as handler:
        log.trace("x")

    assert handler.has_traces
    assert handler.has_trace("x", channel="shop")
    assert not handler.has_trace("y")
