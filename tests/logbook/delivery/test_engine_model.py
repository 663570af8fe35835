"""Whatever happens to an engine, each item is in exactly one place, and the counters say which."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sprockets.logbook import Flags
from sprockets.logbook.delivery import (
    Delivery,
    PartlyDelivered,
    PermanentError,
    Retry,
    RetryLater,
    Spool,
)

OUTCOMES = [
    "fine", "fine", "fine", "outage", "later", "refused", "one refused", "partly", "partly out",
    "mistake", "odd", "exit", "own",
]  # fmt: skip


class Stepped(Delivery):
    def _start_thread(self, state):
        return True


class Life(RuleBasedStateMachine):
    """Puts, tries with every outcome, outages, and the end; beside a model that only has lists."""

    @initialize(
        policy=st.sampled_from(["block", "drop_oldest", "drop_newest", "spill"]),
        has_spool=st.booleans(),
        capacity=st.integers(1, 6),
        max_bytes=st.integers(4, 60),
        batch_size=st.integers(1, 4),
        attempts=st.none() | st.integers(1, 3),
        spool_policy=st.sampled_from(["drop_oldest", "drop_newest"]),
    )
    def begin(self, policy, has_spool, capacity, max_bytes, batch_size, attempts, spool_policy):
        self.flags = Flags(errors="silent")
        self.flags.push_context()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 0.0
        self.put_count = 0
        self.refused = 0
        self.delivered = []
        self.dead = []
        self.outcomes = ["fine"]
        self.is_closed = False
        spool = None
        if has_spool or policy == "spill":
            spool = Spool(Path(self.folder.name) / "s", max_bytes=1024, policy=spool_policy)
        self.engine = Stepped(
            self.deliver,
            name="model",
            policy=policy,
            capacity=capacity,
            max_bytes=max_bytes,
            block_timeout=0,
            batch_size=batch_size,
            retry=Retry(attempts=attempts),
            spool=spool,
            on_dead_letter=lambda item, error: self.dead.append(item),
            clock=lambda: self.now,
        )
        self.capacity, self.max_bytes, self.batch_size = capacity, max_bytes, batch_size

    def deliver(self, items):
        outcome = self.outcomes.pop(0) if self.outcomes else "fine"
        if outcome == "own":
            self.put_count += 1
            assert not self.engine.put(b"my own")
            self.refused += 1
        if outcome in ("fine", "own"):
            self.delivered += items
        elif outcome == "outage":
            raise ConnectionRefusedError
        elif outcome == "later":
            raise RetryLater(3.0)
        elif outcome == "refused":
            raise PermanentError("no")
        elif outcome == "one refused":
            raise PermanentError("not this", items[-1:])
        elif outcome.startswith("partly"):
            count = len(items) // 2
            self.delivered += items[:count]
            cause = OSError() if outcome == "partly out" else None
            raise PartlyDelivered(count) from cause
        elif outcome == "mistake":
            raise TypeError("a poisoned one")
        elif outcome == "exit":
            raise SystemExit
        else:
            raise RuntimeError("odd")

    @rule(sizes=st.lists(st.integers(4, 70), min_size=1, max_size=8))
    def put(self, sizes):
        for size in sizes:
            item = b"%04d" % self.put_count
            self.put_count += 1
            self.refused += not self.engine.put(item.ljust(size, b"."))

    @rule(outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=4))
    def attempt(self, outcomes):
        self.outcomes = outcomes
        for _ in outcomes:
            pause = self.engine._step(self.engine._state)
            if pause is not None:
                self.now += pause

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def close(self):
        self.engine.close(0)
        self.is_closed = True

    @invariant()
    def it_adds_up(self):
        if not hasattr(self, "engine"):
            return
        counts = self.engine.statistics()
        parts = [counts[name] for name in ("delivered", "queued", "spooled", "dead")]
        assert min(parts) >= 0
        assert counts["accepted"] == self.put_count == sum(parts) + sum(counts["dropped"].values())
        assert counts["delivered"] == len(self.delivered)
        assert counts["dead"] == len(self.dead)
        assert sum(counts["dropped"].values()) >= self.refused
        assert len(set(self.delivered)) == len(self.delivered), "one was delivered twice"
        assert not set(self.delivered) & set(self.dead)

    @invariant()
    def it_stays_within_its_bounds(self):
        if not hasattr(self, "engine"):
            return
        state = self.engine._state
        # A batch that goes back to be tried one by one comes on top.
        assert len(state.queue) <= self.capacity + self.batch_size
        assert state.bytes == sum(size for _, size in state.queue)
        if self.is_closed:
            assert self.engine.statistics()["queued"] == 0

    def teardown(self):
        if not hasattr(self, "engine"):
            return
        self.engine.close(0)
        spool = self.engine.spool
        if spool is not None:
            # What is said to be in the spool is there, and nothing that was delivered.
            heir = Spool(spool.folder)
            count = heir.adopt()
            assert count == self.engine.statistics()["spooled"]
            assert not set(heir.take(10_000)) & set(self.delivered)
            heir.close()
        self.flags.pop_context()
        self.folder.cleanup()


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_each_item_is_in_exactly_one_place = Life.TestCase


def test_the_control_of_the_model_notices_a_lost_item():
    """An engine that forgets one does not add up, so the test above can fail."""

    class Forgetful(Stepped):
        def _remove(self, state, count, fate):
            super()._remove(state, count, fate)
            state.delivered -= count > 1

    engine = Forgetful(lambda items: None, name="control")
    engine.put(b"1")
    engine.put(b"2")
    engine._step(engine._state)
    counts = engine.statistics()

    with pytest.raises(AssertionError):
        assert counts["accepted"] == counts["delivered"] + counts["queued"]
    engine.close(0)
