"""A store and the model of one, walked through the same random steps and compared after each.

def test_the_store_does_what_the_model_does(make_empty_store):
    walk(make_empty_store)
"""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from sprockets.logbook.ticketing._model import Retention, TrackerIssue
from sprockets.logbook.ticketing._search import STATES, Query
from tests.logbook.ticketing.contract import START, fingerprint_of, make_entry
from tests.logbook.ticketing.model import DictStore

RELEASES = [None, "1.0", "1.2", "1.10", "2.0"]
ENVIRONMENTS = [None, "staging", "production"]
REQUESTS = [None, "r-1", "r-2"]
PEOPLE = ["", "ann", "bob"]

# Which one of those there are; reduced to their number.
places = st.integers(0, 1000)
entries = st.fixed_dictionaries(
    {
        "name": st.sampled_from("abcd"),
        "fingerprint": st.none() | st.sampled_from([fingerprint_of(name) for name in "xyz"]),
        "release": st.sampled_from(RELEASES),
        "environment": st.sampled_from(ENVIRONMENTS),
        "request_id": st.sampled_from(REQUESTS),
        "minutes": st.integers(0, 90),
    }
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "states": st.lists(st.sampled_from(STATES), max_size=2).map(tuple),
        "assignees": st.lists(st.sampled_from(PEOPLE), max_size=2).map(tuple),
        "request_ids": st.lists(st.sampled_from(REQUESTS[1:]), max_size=2).map(tuple),
        "releases": st.lists(st.sampled_from(RELEASES[1:]), max_size=2).map(tuple),
        "environments": st.lists(st.sampled_from(ENVIRONMENTS[1:]), max_size=2).map(tuple),
        "min_count": st.none() | st.integers(0, 5),
    },
)


def _step(weight, name, **given):
    return [st.tuples(st.just(name), st.fixed_dictionaries(given))] * weight


# One rule that chooses, instead of one for each: Hypothesis would leave most of them out of a walk.
STEPS = [
    *_step(10, "record", given=st.lists(entries, min_size=1, max_size=4)),
    *_step(3, "deliver_again", place=places, given=st.lists(entries, max_size=1)),
    *_step(3, "solve", place=places, release=st.sampled_from(RELEASES)),
    *_step(1, "reopen", place=places),
    *_step(
        3,
        "ignore",
        place=places,
        minutes=st.none() | st.integers(1, 200),
        number=st.none() | st.integers(1, 5),
    ),
    *_step(2, "assign", place=places, person=st.sampled_from(PEOPLE)),
    *_step(1, "comment", place=places, text=st.text(max_size=5)),
    *_step(3, "merge", place=places, others=st.lists(places, min_size=1, max_size=2)),
    *_step(6, "split", place=places, which=places),
    *_step(1, "delete", place=places),
    *_step(
        1,
        "trim",
        hours=st.none() | st.integers(10, 40),
        in_all=st.none() | st.integers(10, 60),
        of_each=st.none() | st.integers(5, 20),
        solved_hours=st.none() | st.integers(10, 30),
        chunk=st.integers(1, 10),
    ),
    *_step(
        1,
        "claim",
        place=places,
        tracker=st.sampled_from(["redmine", "trac"]),
        seconds=st.integers(0, 90),
    ),
    *_step(
        1,
        "file",
        place=places,
        tracker=st.sampled_from(["redmine", "trac"]),
        number=st.integers(0, 9),
    ),
    *_step(3, "search", given=conditions, excluded=st.lists(conditions, max_size=1)),
]


class StoreMachine(RuleBasedStateMachine):
    """Everything that can be asked of a store, in any order.

    Args:
        store: A store without tickets; closed in the end.
    """

    def __init__(self, store):
        super().__init__()
        self.store = store
        self.model = DictStore()
        self.ids = {}  # of tickets: the model's -> the store's
        self.now = START
        self.sent = []
        self.is_trimmed = False  # what was seen in which release is known of what is stored
        self.is_torn = set()  # tickets whose times depend on what was removed before

    @initialize()
    def begin(self):
        """Not with nothing: most steps need a ticket."""
        for name in "aabcd":
            fingerprint = fingerprint_of(name) if name in "cd" else None
            self.deliver([make_entry(name, time=self.now, fingerprint=fingerprint)])

    def teardown(self):
        self.store.close()

    # -- helpers

    def live(self):
        return self.model._live()

    def ticket_at(self, place):
        live = self.live()
        return live[place % len(live)] if live else None

    def both(self, name, ticket, *args, **kwargs):
        """Call a method of both with their ids of *ticket*; the answers must agree."""
        expected = getattr(self.model, name)(ticket, *args, **kwargs)
        assert getattr(self.store, name)(self.ids[ticket], *args, **kwargs) == expected
        return expected

    # -- steps

    @rule(step=st.one_of(STEPS))
    def step(self, step):
        name, given = step
        getattr(self, name)(**given)

    def record(self, given):
        batch = []
        for facts in given:
            facts = dict(facts)
            self.now += timedelta(minutes=facts.pop("minutes"))
            batch.append(make_entry(facts.pop("name"), time=self.now, **facts))
        self.sent += batch
        self.deliver(batch)

    def deliver_again(self, place, given):
        """Send what was sent before, and beside it perhaps something else."""
        if self.sent:
            entry = replace(self.sent[place % len(self.sent)])
            others = [
                make_entry(facts["name"], time=self.now, fingerprint=facts["fingerprint"])
                for facts in given
            ]
            self.deliver([entry, *others])

    def deliver(self, batch):
        expected = self.model.record_entries(batch)
        found = self.store.record_entries(batch)
        for mine, theirs in zip(expected, found, strict=True):
            assert theirs.event == mine.event
            if mine.event != "duplicate":  # which counts nothing, at no moment in particular
                assert theirs.count == mine.count
            assert self.ids.setdefault(mine.ticket_id, theirs.ticket_id) == theirs.ticket_id
        assert len(set(self.ids.values())) == len(self.ids)

    def solve(self, place, release):
        if ticket := self.ticket_at(place):
            self.both("solve_ticket", ticket, release=release, actor="ann")

    def reopen(self, place):
        if ticket := self.ticket_at(place):
            self.both("reopen_ticket", ticket)

    def ignore(self, place, minutes, number):
        if ticket := self.ticket_at(place):
            until = None if minutes is None else self.now + timedelta(minutes=minutes)
            self.both("ignore_ticket", ticket, until=until, occurrences=number)

    def assign(self, place, person):
        if ticket := self.ticket_at(place):
            self.both("assign_ticket", ticket, person)

    def comment(self, place, text):
        if ticket := self.ticket_at(place):
            self.both("comment_on_ticket", ticket, text, actor="bob")

    def merge(self, place, others):
        into = self.ticket_at(place)
        chosen = {self.ticket_at(other) for other in others} - {into, None}
        if into and chosen:
            chosen = sorted(chosen)
            expected = self.model.merge_tickets(into, chosen)
            assert expected
            assert self.store.merge_tickets(self.ids[into], [self.ids[one] for one in chosen])
            if self.is_torn.intersection(chosen):
                self.is_torn.add(into)

    def split(self, place, which):
        ticket = self.ticket_at(place)
        found = self.model.get_occurrences(ticket, "occurrence_id", 1000) if ticket else []
        if not found:
            return
        occurrence = found[which % len(found)]
        key = occurrence.details.key
        theirs = {
            one.details.key: one.occurrence_id
            for one in self.store.get_occurrences(self.ids[ticket], limit=1000)
        }
        made = self.model.split_ticket(ticket, occurrence.occurrence_id)
        answer = self.store.split_ticket(self.ids[ticket], theirs[key])
        assert (made is None) == (answer is None)
        if made is not None:
            self.ids[made] = answer
            if self.is_trimmed:
                self.is_torn |= {ticket, made}

    def delete(self, place):
        if ticket := self.ticket_at(place):
            self.both("delete_ticket", ticket)

    def trim(self, hours, in_all, of_each, solved_hours, chunk):
        retention = Retention(
            None if hours is None else timedelta(hours=hours),
            in_all,
            of_each,
            None if solved_hours is None else timedelta(hours=solved_hours),
            chunk,
        )
        expected = self.model.apply_retention(retention, self.now)
        found = self.store.apply_retention(retention, self.now)
        assert found.tickets == expected.tickets
        if not found.tickets:
            assert found.occurrences == expected.occurrences
        self.is_trimmed = self.is_trimmed or expected.occurrences > 0

    def claim(self, place, tracker, seconds):
        if ticket := self.ticket_at(place):
            self.now += timedelta(seconds=seconds)
            self.both("claim_issue", ticket, tracker, now=self.now, patience=60)

    def file(self, place, tracker, number):
        if ticket := self.ticket_at(place):
            found = []
            for store, ticket_id in ((self.model, ticket), (self.store, self.ids[ticket])):
                store.save_issue(TrackerIssue(ticket_id, tracker, "7", None, number))
                found.append(store.get_issue(ticket_id, tracker).commented_at)
            assert found[0] == found[1] >= number

    def search(self, given, excluded):
        if self.is_trimmed:
            # What is no longer stored may be known or forgotten.
            for one in (given, *excluded):
                for name in ("releases", "environments", "request_ids"):
                    one.pop(name, None)
        query = Query(**given, excluded=tuple([Query(**one) for one in excluded]))
        expected = {self.ids[one.ticket_id] for one in self.model.get_tickets(query=query)}
        assert {one.ticket_id for one in self.store.get_tickets(query=query)} == expected
        assert self.store.count_tickets(query) == len(expected)

    # -- what holds after each

    @invariant()
    def the_tickets_are_the_same(self):
        found = {ticket.ticket_id: ticket for ticket in self.store.get_tickets(limit=1000)}
        live = self.live()
        assert set(found) == {self.ids[ticket] for ticket in live}
        for ticket in live:
            assert self.facts_of(found[self.ids[ticket]], ticket) == self.facts_of(
                self.model.get_ticket(ticket), ticket
            )

    def facts_of(self, found, ticket):
        status = found.status
        return {
            "count": found.occurrence_count,
            "last": None if ticket in self.is_torn else found.last_occurrence_time,
            "solved": found.solved,
            "state": status.state,
            "fingerprint": status.fingerprint,
            "assignee": status.assignee,
            "solved_in": status.solved_in,
            "ignored": (status.ignored_until, status.ignored_count),
        }

    @invariant()
    def what_belongs_to_one_of_them_is_the_same(self):
        """Of another ticket each time, for the sake of the time it takes."""
        ticket = self.ticket_at(int(self.now.timestamp()) + len(self.sent))
        if ticket is None:
            return
        theirs = self.ids[ticket]
        end = self.now
        for store, ticket_id in ((self.model, ticket), (self.store, theirs)):
            found = store.get_occurrences(ticket_id, limit=1000)
            history = store.get_history(ticket_id, limit=1000)
            counts = store.get_counts([ticket_id], START, end, "hour")[ticket_id]
            facts = (
                Counter((one.details.key, one.time) for one in found),
                [(item.action, item.actor) for item in history],
                counts,
                {one.tracker: one.issue_id for one in store.get_issues(ticket_id)},
            )
            if store is self.model:
                expected = facts
        assert facts == expected


def walk(make_empty_store, *, walks=20, steps=50):
    """Walk *walks* new stores through *steps* steps each; the same ones in every run.

    Args:
        make_empty_store: Returns a store without tickets; called for each walk.
        walks: Number of walks.
        steps: Steps of each, at most.
    """
    run_state_machine_as_test(
        lambda: StoreMachine(make_empty_store()),
        settings=settings(
            max_examples=walks,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            # Shrinking takes minutes where a store is a server; what failed can be repeated.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
