"""Labels of moments: TAI64N."""

import math
import struct
import time
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sprockets.eliot import tai64n
from sprockets.eliot.tai64n import decode, encode

FAR = 2**62 - 2**10
"""Seconds that labels reach for in both directions, less what a float that large cannot tell."""

# From 1972, from when on floats are more than a few nanoseconds apart, to the year 9999.
RECENT = st.floats(2.0**26, 253402300799.0)
LABELS = st.builds(
    "@{:016x}{:08x}".format,
    st.integers(2**62 + 10 + 2**26, 2**62 + 2**37),
    st.integers(0, 999_999_999),
)


def nanoseconds_of(label):
    """Return the whole of a label as one number."""
    return int(label[1:17], 16) * 10**9 + int(label[17:], 16)


def test_the_names_of_the_module():
    """Those that Eliot's users know."""
    assert tai64n.__all__ == ["decode", "encode"]


@pytest.mark.parametrize(
    ("moment", "label"),
    [
        (0, "@400000000000000a00000000"),
        (1e-9, "@400000000000000a00000001"),
        (1.5, "@400000000000000b1dcd6500"),
        (-1, "@400000000000000900000000"),
        (-0.5, "@40000000000000091dcd6500"),
        (-10, "@400000000000000000000000"),
        (-11, "@3fffffffffffffff00000000"),
        (1387299889.153187, "@4000000052b0843b092172dc"),
        (-(2.0**62), "@000000000000000a00000000"),
        (2.0**62 - 1024, "@7ffffffffffffc0a00000000"),
    ],
)
def test_a_moment_and_its_label(moment, label):
    """Ten seconds after 2**62 is 1970, as in daemontools."""
    assert encode(moment) == label
    assert decode(label) == pytest.approx(moment, abs=5e-7)


def test_a_label_of_the_manual_of_tai64nlocal():
    """It shows 21:03:43.7874925 on the west coast, of a clock that counted the 22 leap seconds."""
    moment = decode("@4000000037c219bf2ef02e94")

    shown = datetime(1999, 8, 24, 4, 3, 43, tzinfo=UTC).timestamp() + 0.7874925
    assert moment - 22 == pytest.approx(shown, abs=5e-7)


def test_labels_do_not_count_leap_seconds():
    """Bernstein's is 1992-06-02 08:06:43 UTC, before which there had been 16 of them."""
    moment = decode("@400000002a2b2c2d00000000")

    assert moment == datetime(1992, 6, 2, 8, 6, 43 + 16, tzinfo=UTC).timestamp()


@given(RECENT)
@example(time.time())
def test_a_moment_comes_back_as_it_was(moment):
    """To the last bit, since a label is the more exact of the two."""
    assert decode(encode(moment)) == moment


@given(st.integers(0, 253402300799 * 10**6))
def test_microseconds_come_back_as_they_were(microseconds):
    """Those of today and of 1970, of a clock that counts them."""
    moment = decode(encode(microseconds / 10**6))

    assert round(moment * 10**6) == microseconds


@given(st.integers(0, 2**22), st.integers(0, 999_999_999))
def test_nanoseconds_come_back_where_a_float_has_them(seconds, nanoseconds):
    """In the first weeks of 1970; one may be lost where what is less is cut off."""
    label = f"@{2**62 + 10 + seconds:016x}{nanoseconds:08x}"

    again = encode(decode(label))

    assert nanoseconds_of(label) - nanoseconds_of(again) in (0, 1)


@given(LABELS)
def test_a_label_comes_back_as_near_as_a_float_is(label):
    """Closer than the distance between two floats, and a second time nothing is lost."""
    moment = decode(label)
    again = encode(moment)

    assert abs(nanoseconds_of(label) - nanoseconds_of(again)) <= math.ulp(moment) * 10**9
    assert encode(decode(again)) == again


@given(st.floats(-FAR, FAR), st.floats(-FAR, FAR))
def test_labels_sort_as_their_moments_do(one, other):
    """As text, before 1970 as well."""
    if one <= other:
        assert encode(one) <= encode(other)
    else:
        assert encode(one) >= encode(other)


@given(st.floats(-FAR, FAR))
@example(-1e-20)
@example(math.nextafter(1, 0))
@example(math.nextafter(0, -1))
def test_nanoseconds_are_never_a_second(moment):
    """Also where what is less than a second rounds up to it."""
    label = encode(moment)

    assert int(label[17:], 16) < 10**9
    assert abs(Fraction(nanoseconds_of(label), 10**9) - 2**62 - 10 - Fraction(moment)) <= Fraction(
        1, 10**9
    )


@given(st.floats(0, FAR) | RECENT | st.integers(0, 2**40).map(lambda each: each / 10**6))
def test_a_label_is_that_of_eliot(moment):
    """Digit by digit, and the moment that it reads is the same float."""
    theirs = pytest.importorskip("eliot.tai64n")

    label = encode(moment)

    assert label == theirs.encode(moment)
    assert decode(label) == theirs.decode(label)


@given(st.floats(-FAR, 0), LABELS)
def test_eliot_reads_every_label(moment, label):
    """Those before 1970 as well, which it does not write itself."""
    theirs = pytest.importorskip("eliot.tai64n")

    assert theirs.decode(encode(moment)) == decode(encode(moment))
    assert theirs.decode(label) == decode(label)


def test_eliot_has_no_label_for_most_moments_before_1970():
    """What makes the difference: a fraction of a second."""
    theirs = pytest.importorskip("eliot.tai64n")

    with pytest.raises(struct.error):
        theirs.encode(-0.5)
    assert decode(encode(-0.5)) == -0.5


@pytest.mark.parametrize("number", [3, True, Fraction(5, 2), Decimal("2.5")])
def test_other_numbers_have_labels_too(number):
    """Whatever has a whole part."""
    assert decode(encode(number)) == float(number)


@pytest.mark.parametrize(
    "label",
    [
        "@400000000000000B1DCD6500",
        b"@400000000000000b1dcd6500",
        bytearray(b"@400000000000000b1dcd6500"),
    ],
)
def test_a_label_may_be_in_upper_case_or_bytes(label):
    """As it is in a file."""
    assert decode(label) == 1.5


@pytest.mark.parametrize("moment", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_label(moment):
    """It says what was given."""
    with pytest.raises(ValueError, match=f"only finite times have a TAI64N label, got {moment!r}"):
        encode(moment)


@pytest.mark.parametrize("moment", [2.0**62, -(2.0**62) - 1024, 1e300, -(2**70)])
def test_what_is_too_far_away_has_no_label(moment):
    """Labels end 146 billion years from here; those above are reserved."""
    with pytest.raises(ValueError, match="no label for a time that far away"):
        encode(moment)


@pytest.mark.parametrize("moment", [None, "1.5"])
def test_what_is_no_number_has_no_label(moment):
    """A text is not read as one."""
    with pytest.raises(TypeError, match="must be real number"):
        encode(moment)


@pytest.mark.parametrize(
    "label",
    [
        "",
        "@",
        "400000000000000b1dcd6500",
        "x400000000000000b1dcd6500",
        "@400000000000000b1dcd650",
        "@400000000000000b1dcd65000",
        "@400000000000000b1dcd6500\n",
        " @400000000000000b1dcd6500",
        "@400000000000000b1dcd65zz",
        "@400000000000000b1dcd65_0",
        "@400000000000000b1dcd65é0",
        "@٤00000000000000b1dcd6500",
        b"@400000000000000b1dcd65\xff0",
    ],
)
def test_what_is_no_label_is_refused(label):
    """It says what one looks like, and what was given."""
    with pytest.raises(ValueError, match="a TAI64N label is '@' and 24 hexadecimal") as caught:
        decode(label)

    assert str(caught.value).endswith(f"got {label!r}")


def test_labels_that_are_reserved_are_refused():
    """From 2**63 seconds on, says their inventor."""
    assert decode("@7fffffffffffffff00000000") == 2.0**62

    with pytest.raises(ValueError, match="labels from 2.*63 seconds on are reserved"):
        decode("@800000000000000000000000")


def test_nanoseconds_that_are_a_second_are_refused():
    """There are 0 to 999999999."""
    assert decode("@400000000000000a3b9ac9ff") == 0.999999999

    with pytest.raises(ValueError, match="a second has 999999999 nanoseconds at most"):
        decode("@400000000000000a3b9aca00")
