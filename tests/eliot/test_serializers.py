"""Serializers that come with the library."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.eliot import Field, MessageType, serializers
from sprockets.eliot.serializers import identity, md5hex, timestamp

# Moments whose UTC is a year that there is, whatever the offset.
NAIVE = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23))


def test_the_names_of_the_module():
    """Those that Eliot's users know."""
    assert serializers.__all__ == ["identity", "md5hex", "timestamp"]


def test_identity_is_the_same_object():
    """No copy, whatever it is."""
    value = object()

    assert identity(value) is value


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 5, 4, 12, 30, 1, 678901), "2026-05-04T12:30:01.678901Z"),
        (datetime(2026, 5, 4, 12, 30), "2026-05-04T12:30:00.000000Z"),
        (datetime(2026, 5, 4, 12, 30, 0, 5, UTC), "2026-05-04T12:30:00.000005Z"),
        (datetime(1, 1, 1), "0001-01-01T00:00:00.000000Z"),
        (datetime(9999, 12, 31, 23, 59, 59, 999999), "9999-12-31T23:59:59.999999Z"),
        (date(2026, 5, 4), "2026-05-04T00:00:00.000000Z"),
    ],
)
def test_a_timestamp_has_all_its_digits(moment, text):
    """Four for the year, six for the microseconds, so that it sorts as text."""
    assert timestamp(moment) == text


@given(NAIVE)
def test_a_naive_timestamp_counts_as_utc(moment):
    """It is read as the moment that it was, microseconds included."""
    assert datetime.fromisoformat(timestamp(moment)) == moment.replace(tzinfo=UTC)


@given(NAIVE, OFFSETS)
def test_a_timestamp_of_elsewhere_is_the_same_moment_in_utc(moment, offset):
    """However far the place is from Greenwich."""
    aware = moment.replace(tzinfo=timezone(offset))

    text = timestamp(aware)

    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == aware


@given(NAIVE, NAIVE)
def test_timestamps_sort_as_their_moments_do(one, other):
    """Also those of the first thousand years."""
    assert (timestamp(one) < timestamp(other)) is (one < other)


@given(NAIVE.filter(lambda moment: moment.year >= 1000))
def test_a_timestamp_is_that_of_eliot(moment):
    """Of moments in UTC, for which Eliot's is made; it writes the year 999 with three digits."""
    theirs = pytest.importorskip("eliot.serializers")

    assert timestamp(moment) == theirs.timestamp(moment)
    assert timestamp(moment.replace(tzinfo=UTC)) == theirs.timestamp(moment.replace(tzinfo=UTC))
    assert timestamp(moment.date()) == theirs.timestamp(moment.date())


def test_eliot_takes_the_clock_of_elsewhere_for_that_of_utc():
    """What makes the difference: two hours."""
    theirs = pytest.importorskip("eliot.serializers")
    noon = datetime(2026, 5, 4, 12, tzinfo=timezone(timedelta(hours=2)))

    assert theirs.timestamp(noon) == "2026-05-04T12:00:00.000000Z"
    assert timestamp(noon) == "2026-05-04T10:00:00.000000Z"


def test_a_timestamp_that_is_no_year_in_utc_is_refused():
    """The last night of the year 9999 has passed in the west when it begins in UTC."""
    west = timezone(timedelta(hours=-1))

    with pytest.raises(OverflowError):
        timestamp(datetime(9999, 12, 31, 23, 30, tzinfo=west))


@pytest.mark.parametrize("value", [None, "2026-05-04", 1.5])
def test_what_is_no_moment_has_no_timestamp(value):
    """Seconds neither: of which epoch?"""
    with pytest.raises(TypeError, match="a timestamp is made of a datetime or a date, got "):
        timestamp(value)


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "d41d8cd98f00b204e9800998ecf8427e"),
        (b"abc", "900150983cd24fb0d6963f7d28e17f72"),
        (b"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_md5_is_that_of_the_rfc(data, digest, kind):
    """The test suite in appendix A.5 of RFC 1321, of everything that holds bytes."""
    assert md5hex(kind(data)) == digest


@given(st.binary())
def test_md5_is_that_of_eliot(data):
    """For all bytes."""
    theirs = pytest.importorskip("eliot.serializers")

    assert md5hex(data) == theirs.md5hex(data)


def test_md5_of_a_text_is_refused():
    """There is one for each encoding."""
    with pytest.raises(TypeError, match="encoded before hashing"):
        md5hex("abc")


def test_md5_is_there_where_it_is_not_to_be_secure(monkeypatch):
    """As on machines that forbid it otherwise; this one does not, so the argument is looked at."""
    asked = []

    class FakeHash:
        def hexdigest(self):
            return "0" * 32

    def md5(data, *, usedforsecurity=True):
        asked.append((data, usedforsecurity))
        return FakeHash()

    monkeypatch.setattr(hashlib, "md5", md5)

    assert md5hex(b"abc") == "0" * 32
    assert asked == [(b"abc", False)]


def test_fields_are_written_by_them(lines):
    """What a message of a type has in the log."""
    paid = MessageType(
        "orders:paid",
        [
            Field("at", timestamp, "When."),
            Field("invoice", md5hex, "What for."),
            Field("note", identity, "Anything."),
        ],
    )

    paid.log(at=datetime(2026, 5, 4, 12, 30), invoice=b"abc", note=["cash"])

    (line,) = lines.getvalue().splitlines()
    written = json.loads(line)
    assert (written["at"], written["invoice"], written["note"]) == (
        "2026-05-04T12:30:00.000000Z",
        "900150983cd24fb0d6963f7d28e17f72",
        ["cash"],
    )
