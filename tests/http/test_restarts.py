"""Restarts: how long to wait before a dead worker is replaced, and when to give up."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.http._restarts import (
    FIRST_WAIT,
    LONG_ENOUGH,
    LONGEST_WAIT,
    LONGEST_WAIT_OF_OTHERS,
    LONGEST_WAIT_WHILE_SERVING,
    RestartPolicy,
)

MIDDLE = 0.5  # the jitter that changes nothing
# How a worker died: at its start; just after it, unused; in use; after a life of its own; by
# somebody else's hand, ready or not.
AT_START = {"lived": None, "is_serving": False}
AT_ONCE = {"lived": 0.2, "is_serving": False}
IN_USE = {"lived": 0.2, "is_serving": True}
IDLE = {"lived": LONG_ENOUGH, "is_serving": False}
KILLED = {"lived": 0.2, "is_serving": False, "was_killed": True}
KILLED_AT_START = {"lived": None, "is_serving": False, "was_killed": True}
NEEDED = [(IN_USE, LONGEST_WAIT_WHILE_SERVING), (IDLE, LONGEST_WAIT_OF_OTHERS)]
NEEDED += [(KILLED, LONGEST_WAIT_OF_OTHERS)]


class FakeClock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture(name="clock")
def _clock():
    return FakeClock()


def policy(clock, most=8, window=60.0, jitter=lambda: MIDDLE):
    return RestartPolicy(most, window, clock=clock, jitter=jitter)


@pytest.mark.parametrize("death", [AT_START, AT_ONCE, IN_USE, IDLE, KILLED, KILLED_AT_START])
def test_the_first_replacement_starts_at_once(clock, death):
    """In every place."""
    restarts = policy(clock)

    assert restarts.find_wait(0, **death) == 0.0
    assert restarts.find_wait(1, **death) == 0.0


@pytest.mark.parametrize("death", [AT_START, AT_ONCE])
def test_the_wait_doubles_with_each_death_at_the_start(clock, death):
    """From a tenth of a second on."""
    restarts = policy(clock)

    waits = [restarts.find_wait(0, **death) for _ in range(7)]

    assert waits == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2])


def test_the_wait_is_bounded(clock):
    """However many deaths in a row there were."""
    restarts = policy(clock, most=10**6, window=10**6)

    waits = [restarts.find_wait(0, **AT_START) for _ in range(5000)]

    assert max(waits) == waits[-1] == LONGEST_WAIT


@pytest.mark.parametrize(("death", "longest"), NEEDED)
def test_a_worker_that_is_needed_is_replaced_within_a_second(clock, death, longest):
    """The sooner the surer it is that the service is used; but not in a busy loop."""
    restarts = policy(clock)

    waits = [restarts.find_wait(0, **death) for _ in range(100)]

    assert waits[:2] == pytest.approx([0.0, FIRST_WAIT])
    assert max(waits) == waits[-1] == longest <= 1.0


def test_killing_workers_before_they_are_ready_is_no_start_either(clock):
    """They are replaced sooner, but nobody knows whether they would ever have served."""
    restarts = policy(clock, most=8)

    waits = [restarts.find_wait(0, **KILLED_AT_START) for _ in range(8)]

    assert waits[-1] is None
    assert max(waits[:-1]) == LONGEST_WAIT_OF_OTHERS


def test_a_worker_that_lived_for_a_while_did_not_die_of_its_start(clock):
    """Though nobody asked it for anything; a moment less is too little."""
    assert policy(clock, most=1).find_wait(0, **IDLE) == 0.0
    assert policy(clock, most=1).find_wait(0, lived=LONG_ENOUGH - 0.001, is_serving=False) is None


def test_the_service_is_given_up_after_a_number_of_deaths_at_the_start(clock):
    """Over all places."""
    restarts = policy(clock, most=4)

    answers = [restarts.find_wait(slot, **AT_START) for slot in range(4)]

    assert answers == [0.0, 0.0, 0.0, None]


def test_one_death_may_be_enough(clock):
    """The least number there is."""
    assert policy(clock, most=1).find_wait(0, **AT_START) is None


@pytest.mark.rule("H5.12")
@pytest.mark.parametrize(
    ("death", "longest"),
    [*NEEDED, ({"lived": 1.0, "is_serving": True}, LONGEST_WAIT_WHILE_SERVING)],
)
def test_workers_that_served_are_replaced_for_ever(clock, death, longest):
    """101 of them died, a second apart; the service has answered all the time."""
    restarts = policy(clock)

    for _ in range(101):
        wait = restarts.find_wait(0, **death)
        assert wait is not None
        assert wait <= longest * 1.1
        clock.seconds += 1.0


@pytest.mark.rule("H5.12")
@pytest.mark.parametrize("death", [AT_START, AT_ONCE])
@pytest.mark.parametrize("slots", [1, 2, 4])
def test_workers_that_die_at_their_start_are_soon_given_up(clock, slots, death):
    """At most eight starts, within ten seconds."""
    restarts = policy(clock)
    due = dict.fromkeys(range(slots), clock.seconds)
    began = clock.seconds
    starts = 0

    while True:
        slot = min(due, key=lambda each: due[each])
        clock.seconds = max(clock.seconds, due[slot])
        starts += 1
        wait = restarts.find_wait(slot, **death)
        if wait is None:
            break
        due[slot] = clock.seconds + wait

    assert starts == 8
    assert clock.seconds - began < 10


def test_what_happened_before_the_window_is_forgotten(clock):
    """The wait starts over, and so does the counting."""
    restarts = policy(clock, most=3, window=60)
    restarts.find_wait(0, **AT_START)
    restarts.find_wait(0, **AT_START)

    clock.seconds += 60.1

    assert restarts.find_wait(0, **AT_START) == 0.0
    assert restarts.find_wait(0, **AT_START) == pytest.approx(FIRST_WAIT)
    assert restarts.find_wait(0, **AT_START) is None


def test_an_answer_in_between_ends_the_row(clock):
    """Somebody serves, so it is some use to go on."""
    restarts = policy(clock, most=3)
    for _ in range(2):
        restarts.find_wait(0, **AT_START)

    assert restarts.find_wait(0, lived=None, is_serving=True) is not None
    assert restarts.find_wait(0, **AT_START) is not None
    assert restarts.find_wait(0, **AT_START) is None


def test_places_wait_each_for_itself(clock):
    """A place whose worker dies often does not slow down the others."""
    restarts = policy(clock, most=100)
    for _ in range(5):
        restarts.find_wait(0, **AT_START)

    assert restarts.find_wait(1, **AT_START) == 0.0


@pytest.mark.parametrize(("jitter", "factor"), [(0.0, 0.9), (1.0, 1.1)])
def test_workers_do_not_start_in_step(clock, jitter, factor):
    """A tenth more or less."""
    restarts = policy(clock, jitter=lambda: jitter)
    restarts.find_wait(0, **AT_START)

    assert restarts.find_wait(0, **AT_START) == pytest.approx(FIRST_WAIT * factor)


KINDS = [AT_START, AT_ONCE, IN_USE, IDLE, KILLED, KILLED_AT_START]
deaths = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, len(KINDS) - 1), st.floats(0, 40)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60)
@given(deaths=deaths, most=st.integers(1, 10), window=st.floats(0, 120), seed=st.integers(0, 99))
def test_whatever_happens_a_wait_is_bounded_and_giving_up_has_a_reason(deaths, most, window, seed):
    """It is given up exactly when so many died at their start, in the window, with no answer since."""
    clock = FakeClock()
    restarts = policy(clock, most, window, random.Random(seed).random)
    strikes = []

    for slot, kind, pause in deaths:
        clock.seconds += pause
        death = KINDS[kind]
        longest = dict.fromkeys(range(len(KINDS)), LONGEST_WAIT_OF_OTHERS)
        longest |= {0: LONGEST_WAIT, 1: LONGEST_WAIT, 2: LONGEST_WAIT_WHILE_SERVING}
        counts = death in (AT_START, AT_ONCE, KILLED_AT_START)
        if death["is_serving"]:
            strikes.clear()
        if counts:
            strikes.append(clock.seconds)
        recent = [each for each in strikes if each >= clock.seconds - window]

        wait = restarts.find_wait(slot, **death)

        assert (wait is None) == (counts and len(recent) >= most)
        if wait is not None:
            assert wait == 0.0 or FIRST_WAIT * 0.9 <= wait <= longest[kind] * 1.1


@given(pauses=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_waits_in_a_row_never_become_shorter(pauses):
    """As long as nothing is forgotten, and nobody serves."""
    clock = FakeClock()
    restarts = policy(clock, most=10**6, window=10**6)
    waits = []
    for pause in pauses:
        clock.seconds += pause
        waits.append(restarts.find_wait(0, **AT_START))

    assert waits == sorted(waits)
