"""Retry: how long to wait, and for what."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook.delivery import PartlyDelivered, PermanentError, Retry, RetryLater, classify


@given(
    failures=st.integers(1, 10_000),
    chance=st.floats(0, 1),
    initial=st.floats(0.001, 10),
    maximum=st.floats(10, 1000),
)
def test_a_wait_is_between_half_of_the_longest_and_the_longest(failures, chance, initial, maximum):
    """However many failures, and whatever the chance: never at once, never beyond the maximum."""
    retry = Retry(initial, maximum, random=lambda: chance)

    delay = retry.delay(failures)

    longest = min(maximum, initial * 2.0 ** min(failures - 1, 64))
    assert longest / 2 <= delay <= longest


def test_two_processes_that_fail_together_come_back_apart():
    """The wait has a random part, so that they are not all there at the same moment."""
    retry = Retry()

    assert len({retry.delay(5) for _ in range(20)}) > 1
    assert len({Retry(random=lambda: 1.0).delay(5) for _ in range(20)}) == 1, "the control"


def test_a_destination_that_says_when_is_believed():
    """``RetryLater`` sets the wait itself, beyond the maximum as well; but nobody is pestered."""
    assert Retry(maximum=1.0).delay(1, RetryLater(120.0)) == 120.0
    assert Retry().delay(1, RetryLater(0.0)) == Retry().delay(1, RetryLater(-1.0)) == 0.1
    assert Retry(initial=0.0).delay(1, RetryLater(0.0)) == 0.0


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ConnectionResetError(), "outage"),
        (TimeoutError(), "outage"),
        (ssl.SSLError(), "outage"),
        (RetryLater(1.0), "outage"),
        (PermanentError(), "permanent"),
        (UnicodeDecodeError("utf-8", b"", 0, 1, ""), "permanent"),
        (TypeError(), "permanent"),
        (SystemExit(), "transient"),
        (KeyboardInterrupt(), "transient"),
        (type("ForeignError", (Exception,), {})(), "transient"),
        (PartlyDelivered(1), "transient"),
    ],
)
def test_errors_are_outages_mistakes_or_anything_else(error, verdict):
    """An outage passes, a mistake does not; of anything else one cannot know."""
    assert classify(error) == verdict


def test_what_kept_the_rest_from_being_delivered_counts():
    """The cause of ``PartlyDelivered`` says what to expect."""
    error = PartlyDelivered(3)
    error.__cause__ = ConnectionResetError()

    assert classify(error) == "outage"
