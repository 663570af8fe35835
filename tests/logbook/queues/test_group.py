"""Several subscribers as one."""

import os
import queue
import threading
import time

import pytest

from sprockets.logbook import Flags, Logger, TestHandler
from sprockets.logbook.queues._group import GroupMember, SubscriberGroup
from sprockets.logbook.queues._multiprocessing import (
    MultiProcessingHandler,
    MultiProcessingSubscriber,
)
from sprockets.logbook.queues._subscriber import ClosedError, SubscriberBase
from sprockets.logbook.queues._wire import MalformedRecordError, decode_record


def record(message):
    return decode_record({"level": 11, "message": str(message)})


class Subscriber(MultiProcessingSubscriber):
    """Receives from a plain queue, and writes down what it is told."""

    def __init__(self, *messages):
        super().__init__(queue.Queue())
        self.acknowledged = []
        self.threads = set()
        for message in messages:
            self.queue.put({"level": 11, "message": str(message)})

    def recv(self, timeout=None):
        self.threads.add(threading.current_thread())
        return super().recv(timeout)

    def acknowledge(self, record):
        self.acknowledged.append((record.message, threading.current_thread()))


class Ending(SubscriberBase):
    """Gives some records, then something else."""

    def __init__(self, *items):
        self.items = list(items)

    @property
    def is_ended(self):
        return not self.items

    def recv(self, timeout=None):
        if not self.items:
            return None
        item = self.items.pop(0)
        if isinstance(item, Exception):
            raise item
        return item


@pytest.fixture(name="make_group")
def _make_group():
    groups = []

    def make(*args, **kwargs):
        groups.append(SubscriberGroup(*args, **kwargs))
        return groups[-1]

    yield make
    for group in groups:
        group.stop()


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.002)


@pytest.mark.rule("SG-1", "SG-3")
def test_a_member_has_a_thread_of_its_own(make_group):
    """A daemon, from the time that it was added."""
    first, second = Subscriber(), Subscriber()
    group = make_group([first], queue_limit=0)
    group.add(second)

    assert [member.subscriber for member in group.members] == [first, second]
    assert all(type(member) is GroupMember for member in group.members)
    assert all(member._thread.daemon for member in group.members)
    assert group.queue.maxsize == 0
    assert SubscriberGroup().queue.maxsize == 10


@pytest.mark.rule("SG-2")
def test_records_of_one_member_keep_their_order(make_group):
    """However those of several interleave."""
    group = make_group(Subscriber(*(f"{name} {n}" for n in range(50))) for name in "abc")

    came = [group.recv(5).message.split() for _ in range(150)]

    for name in "abc":
        assert [int(n) for each, n in came if each == name] == list(range(50))
    assert group.recv(0) is None
    assert group.recv(0.01) is None
    assert group.statistics()["received"] == 150
    with pytest.raises(ValueError, match="timeout"):
        group.recv(-1)


@pytest.mark.rule("SG-4", "M26")
def test_a_slow_reader_holds_the_members_back(make_group):
    """Nothing is thrown away: what has no room stays in the transport."""
    subscriber = Subscriber(*range(20))
    group = make_group([subscriber], queue_limit=2)
    wait_until(lambda: group.queue.full() and subscriber.queue.qsize() == 17)
    # More than one attempt of the member to place the next.
    threading.Event().wait(0.12)
    assert subscriber.queue.qsize() == 17

    assert [group.recv(5).message for _ in range(20)] == [str(n) for n in range(20)]


@pytest.mark.rule("SG-5", "SG-6", "SG-7", "SG-8", "SG-10", "Q-16")
def test_after_stop_what_was_received_is_still_there(make_group):
    """Also what a member could not place; then there is nothing, at once, and loops end."""
    subscribers = [Subscriber(*(f"{name}{n}" for n in range(5))) for name in "ab"]
    group = make_group(subscribers, queue_limit=2)
    wait_until(lambda: sum(each.queue.qsize() for each in subscribers) == 6)

    start = time.monotonic()
    group.stop()
    group.stop()
    assert time.monotonic() - start < 2.0
    assert not group.is_ended

    with TestHandler() as seen:
        group.dispatch_forever()
    assert len(seen.records) == 4
    assert group.is_ended
    assert group.recv() is None
    assert group.recv(5) is None
    # The rest is in the transports, which are open.
    left = [each.recv(0).message for each in subscribers for _ in range(each.queue.qsize())]
    assert sorted([record.message for record in seen.records] + left) == [
        f"{name}{n}" for name in "ab" for n in range(5)
    ]


@pytest.mark.rule("SG-5")
def test_stop_does_not_wait_for_a_record(make_group):
    """Members that receive nothing end as well, and who waits in ``recv`` is told."""
    group = make_group([Subscriber(), Subscriber()])
    found = []
    waiting = threading.Thread(target=lambda: found.append(group.recv()))
    waiting.start()

    group.stop()
    waiting.join(5)

    assert found == [None]


@pytest.mark.rule("SG-7")
def test_a_group_without_members_waits_until_it_is_stopped(make_group):
    """One may still be added."""
    group = make_group()
    assert group.recv(0) is None
    assert not group.is_ended
    group.stop()
    assert group.is_ended
    assert group.recv() is None


@pytest.mark.rule("SG-9")
def test_a_member_goes_on_after_an_exception(make_group, capfd):
    """It is reported."""
    group = make_group(
        [Ending(RuntimeError("a hiccup"), MalformedRecordError("x"), record("after"))]
    )

    assert group.recv(5).message == "after"
    assert "a hiccup" in capfd.readouterr().err


@pytest.mark.rule("SG-9", "SG-8")
@pytest.mark.parametrize("end", [[], [ClosedError("closed")]])
def test_a_member_whose_source_has_ended_ends(make_group, end):
    """When all have, the group has."""
    group = make_group([Ending(record("a"), *end), Ending(record("b"), *end)])

    with TestHandler() as seen:
        group.dispatch_forever()

    assert sorted(record.message for record in seen.records) == ["a", "b"]
    assert all(not member.running for member in group.members)


@pytest.mark.rule("SG-11")
def test_a_member_may_be_added_after_stop(make_group):
    """The group runs again."""
    group = make_group([Subscriber()])
    group.stop()
    assert group.is_ended

    group.add(Subscriber("again"))

    assert not group.is_ended
    assert group.recv().message == "again"


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.rule("SG-12")
def test_two_processes_log_to_two_queues(make_group):
    """Ten times both come, in any order."""
    subscribers = [MultiProcessingSubscriber(), MultiProcessingSubscriber()]
    group = make_group(subscribers)
    for _ in range(10):
        children = []
        for subscriber, message in zip(subscribers, ("foo", "bar"), strict=True):
            child = os.fork()
            if child == 0:
                with MultiProcessingHandler(subscriber.queue):
                    Logger("child").warning(message)
                os._exit(0)
            children.append(child)
        assert {group.recv(5).message, group.recv(5).message} == {"foo", "bar"}
        for child in children:
            os.waitpid(child, 0)
    group.stop()
    for subscriber in subscribers:
        subscriber.close()


def test_what_was_dispatched_is_acknowledged_by_the_members_thread(make_group):
    """To the subscriber through which it came, and only once it was dispatched."""
    first, second = Subscriber("a"), Subscriber("b")
    group = make_group([first, second])

    with TestHandler():
        assert group.dispatch_once(5)
        assert group.dispatch_once(5)

    wait_until(lambda: first.acknowledged and second.acknowledged)
    assert [message for message, _ in first.acknowledged] == ["a"]
    assert [message for message, _ in second.acknowledged] == ["b"]
    assert {thread for _, thread in first.acknowledged} == first.threads
    assert first.threads.isdisjoint(second.threads)


def test_what_is_dispatched_after_stop_is_acknowledged_at_once(make_group):
    """There is no other thread any more."""
    subscriber = Subscriber("a")
    group = make_group([subscriber])
    wait_until(lambda: not group.queue.empty())
    group.stop()
    assert subscriber.acknowledged == []

    with TestHandler():
        group.dispatch_forever()

    assert subscriber.acknowledged == [("a", threading.current_thread())]


def test_it_passes_on_where_a_record_came_through_to_nobody(make_group):
    """That is no field of the record."""
    group = make_group([Subscriber("a")])

    assert not [name for name in group.recv(5).to_dict() if "member" in name]


def test_the_counts_are_the_sums(make_group):
    """Of what the members' subscribers count."""
    first, second = Subscriber("a"), Subscriber("b")
    first.queue.put("no record")
    second.queue.put(None)
    with Flags(errors="silent").applicationbound():
        group = make_group([first, second])
        wait_until(lambda: group.statistics()["malformed"] == 2)
    group.recv(5)

    assert group.statistics() == {"received": 1, "malformed": 2, "duplicates": 0, "gaps": 0}


def test_it_dispatches_in_the_background(make_group):
    """Like every subscriber."""
    seen = TestHandler()
    group = make_group([Subscriber(*range(100))])
    controller = group.dispatch_in_background(seen)
    wait_until(lambda: len(seen.records) == 100)
    group.stop()

    wait_until(lambda: not controller.running)
    controller.stop()
