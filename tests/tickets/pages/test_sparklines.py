"""Pictures of numbers over time: right, readable by those who do not see them, and harmless."""

import re
import xml.etree.ElementTree as ET
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.tickets._sparklines import (
    Period,
    describe,
    histogram,
    last_day,
    last_month,
    nice_ceiling,
    short_count,
    sparkline,
)

NOW = datetime(2026, 11, 21, 14, 5, 59)
COUNTS = st.lists(st.integers(0, 10**9), min_size=24, max_size=24)


def bars(picture):
    """Return where the bars of a sparkline are and how high, by their number."""
    found = re.findall(r"M(\d+) 26v-([\d.]+)h3", picture)
    return {int(x) // 4: float(height) for x, height in found}


@settings(deadline=None)  # a machine may be busy
@given(COUNTS)
def test_a_bar_for_each_number_that_is_not_zero(counts):
    """Every hour in which something happened is to be seen; the others have no bar."""
    found = bars(sparkline(counts, last_day(NOW)))

    assert set(found) == {index for index, count in enumerate(counts) if count}
    assert all(2 <= height <= 26 for height in found.values())


@settings(deadline=None)  # a machine may be busy
@given(COUNTS)
def test_higher_bars_for_greater_numbers(counts):
    """Bars keep the order of the numbers, and the greatest fills the height."""
    found = bars(sparkline(counts, last_day(NOW)))

    in_order = sorted(found, key=lambda index: counts[index])
    assert [found[index] for index in in_order] == sorted(found.values())
    assert not found or max(found.values()) == 26


@settings(deadline=None)  # a machine may be busy
@given(COUNTS)
def test_pictures_are_whole_and_without_styles(counts):
    """Both pictures are XML, have a name for those who hear them, and no style attribute."""
    for picture in (sparkline(counts, last_day(NOW)), histogram(counts, last_day(NOW))):
        root = ET.fromstring(picture)
        assert root.get("role") == "img"
        assert root.get("aria-label") == root.find("title").text == describe(counts, last_day(NOW))
        assert "style" not in picture.replace("xlink:style", "")


@settings(deadline=None)  # a machine may be busy
@given(COUNTS)
def test_the_bars_of_a_histogram_stay_within_it(counts):
    """No bar is above the scale, left of the first, or right of the last hour."""
    root = ET.fromstring(histogram(counts, last_day(NOW)))

    for each in root.iter("rect"):
        assert float(each.get("x")) >= 26
        assert float(each.get("x")) + float(each.get("width")) <= 320.1
        assert float(each.get("y")) >= 7.9
        assert float(each.get("y")) + float(each.get("height")) <= 72.1


def test_what_pictures_say():
    """How many, in which time, and when most; or that there was nothing."""
    counts = [0] * 24
    assert describe(counts, last_day(NOW)) == "none in 24 hours"
    counts[-2] = 1500
    assert describe(counts, last_day(NOW)) == "1,500 in 24 hours, most at 13:00 (1,500)"
    days = [0] * 29 + [2]
    assert describe(days, last_month(NOW)) == "2 in 30 days, most on 21 Nov (2)"


def test_periods_begin_with_whole_hours_and_days():
    """The last one is that in which the present is."""
    assert last_day(NOW).begin == datetime(2026, 11, 20, 15)
    assert last_day(NOW).moments()[-1] == datetime(2026, 11, 21, 14)
    assert last_month(NOW).begin == datetime(2026, 10, 23)
    assert len(last_month(NOW).moments()) == 30
    assert Period(NOW, "hour", 1).phrase == "1 hour"


def test_each_bar_of_a_histogram_has_a_title():
    """Who points at an hour is told its number, zeros included."""
    picture = histogram([0] * 23 + [7], last_day(NOW))

    titles = [each.text for each in ET.fromstring(picture).iter("title")]
    assert len(titles) == 25
    assert titles[-1] == "14:00: 7"
    assert titles[1] == "15:00: 0"


@given(st.integers(0, 10**12))
def test_scales_end_above_the_greatest_number(number):
    """Not far above, and with one digit that is not zero."""
    top = nice_ceiling(number)

    assert number <= top <= max(1, 2.5 * number)
    assert str(top).rstrip("0") in ("1", "2", "4", "5")


@given(st.integers(0, 10**12))
def test_short_counts_are_near(number):
    """At most 5 characters, and not more than a twentieth off."""
    text = short_count(number)
    size = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1], 1)
    shown = float(text.rstrip("kMG")) * size

    assert len(text) <= 5
    assert shown == pytest.approx(number, rel=0.06, abs=0.5)


def test_no_numbers_at_all():
    """A picture of nothing is a line."""
    assert bars(sparkline([], Period(NOW, "hour", 24))) == {}
    assert ET.fromstring(histogram([], Period(NOW - timedelta(hours=1), "hour", 0))) is not None
