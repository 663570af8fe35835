"""Destinations: who gets what, and what happens if one fails."""

import threading

import pytest

from sprockets.eliot import (
    FileDestination,
    Logger,
    add_destination,
    add_destinations,
    add_global_fields,
    addDestination,
    log_message,
    remove_destination,
    start_action,
    statistics,
)
from sprockets.eliot._destinations import destinations


def types(messages):
    return [message.get("message_type", message.get("action_status")) for message in messages]


@pytest.mark.rule("E12.1")
def test_all_get_the_same_dict_in_order_in_the_thread_that_logs():
    """The one added first is called first."""
    got = []
    for name in "abc":
        add_destinations(
            lambda message, name=name: got.append((name, message, threading.get_ident()))
        )

    log_message("m")

    assert [name for name, _, _ in got] == ["a", "b", "c"]
    assert got[0][1] is got[1][1] is got[2][1]
    assert {ident for _, _, ident in got} == {threading.get_ident()}


class Upper:
    def serialize(self, message):
        message["k"] = message["k"].upper()

    def validate(self, message):
        pass


@pytest.mark.rule("E12.2")
def test_a_logger_leaves_the_dict_as_it_is(messages):
    """What it delivers is a copy, serialized, with the global fields."""
    add_global_fields(process="p")
    dictionary = {"k": "v", "message_type": "m"}

    Logger().write(dictionary, Upper())
    Logger().write(dictionary)

    assert dictionary == {"k": "v", "message_type": "m"}
    assert messages == [
        {"k": "V", "message_type": "m", "process": "p"},
        {"k": "v", "message_type": "m", "process": "p"},
    ]


@pytest.mark.rule("E12.3", "E12.4", "M51")
def test_the_newest_thousand_wait_for_the_first_destinations():
    """In order, with the global fields; how many there was no room for is counted."""
    for number in range(5_000):
        log_message("m", number=number)
    assert statistics() == {
        "destinations": 0, "buffered": 1_000, "dropped_before_first_destination": 4_000,
        "dropped_without_destination": 0, "failures": 0, "failures_unreported": 0,
    }  # fmt: skip
    add_global_fields(process="p")
    first, second, late = [], [], []

    add_destinations(first.append, second.append)
    add_destinations(late.append)

    assert [message["number"] for message in first] == list(range(4_000, 5_000))
    assert {message["process"] for message in first} == {"p"}
    assert first == second
    assert late == []
    assert statistics()["buffered"] == 0


@pytest.mark.rule("E12.5")
def test_to_add_nothing_does_nothing():
    """What was kept is kept on."""
    log_message("m")
    got = []

    add_destinations()
    add_destinations(got.append)

    assert types(got) == ["m"]


@pytest.mark.rule("E12.6")
def test_one_registration_is_removed_at_a_time(tmp_path):
    """By equality; of what is none, the text says so."""
    got = []
    add_destinations(got.append, got.append)
    log_message("a")
    remove_destination(got.append)
    log_message("b")
    assert types(got) == ["a", "a", "b"]

    remove_destination(got.append)
    with pytest.raises(ValueError, match=r"not a destination: .*append.*; there are 0 others"):
        remove_destination(got.append)

    with (tmp_path / "log").open("w") as file:
        add_destinations(FileDestination(file=file))
        remove_destination(FileDestination(file=file))


@pytest.mark.rule("E12.7")
def test_without_destinations_messages_are_dropped_and_counted():
    """They are kept before the first only."""
    got = []
    add_destinations(got.append)
    remove_destination(got.append)
    log_message("lost")
    log_message("lost")
    add_destinations(got.append)

    assert got == []
    assert statistics()["dropped_without_destination"] == 2


@pytest.mark.rule("E12.8")
def test_global_fields_add_up(messages):
    """Later ones win, over the message's own too."""
    add_global_fields(a=1, b=1)
    add_global_fields(b=2)
    log_message("m", a=9, c=3)

    assert messages[0].items() >= {"a": 1, "b": 2, "c": 3}.items()


@pytest.mark.rule("E12.9")
def test_global_fields_do_not_replace_what_identifies_a_message(messages):
    """Such names are left out, and that is said."""
    with pytest.warns(RuntimeWarning, match=r"\['action_status', 'task_uuid'\]") as warned:
        add_global_fields(task_uuid="mine", action_status="mine", a=1)
    assert warned[0].filename == __file__
    for name in ("timestamp", "task_level", "message_type", "action_type"):
        with pytest.warns(RuntimeWarning):
            add_global_fields(**{name: "mine"})

    with start_action(action_type="x"):
        log_message("m")

    assert all(message["a"] == 1 for message in messages)
    assert not [message for message in messages if "mine" in message.values()]


@pytest.mark.rule("E12.10")
def test_a_destination_may_add_and_remove():
    """It counts from the next message on; nobody misses one, nobody gets one twice."""
    got, late = [], []

    def once(message):
        remove_destination(once)
        add_destinations(late.append)

    add_destinations(once, got.append)
    for name in "abc":
        log_message(name)

    assert types(got) == ["a", "b", "c"]
    assert types(late) == ["b", "c"]


@pytest.mark.rule("E12.3", "E12.10")
def test_a_destination_may_add_and_remove_while_it_gets_what_was_kept():
    """The kept ones are for the first; the one added then gets what is logged later."""
    for name in "abc":
        log_message(name)
    got, late, removed = [], [], []

    def once(message):
        removed.append(message)
        remove_destination(once)
        add_destinations(late.append)

    add_destinations(once, got.append)
    log_message("d")

    assert types(removed) == ["a"]
    assert types(got) == ["a", "b", "c", "d"]
    assert types(late) == ["d"]


@pytest.mark.rule("E12.3")
def test_what_a_destination_logs_while_it_gets_what_was_kept_comes_after():
    """It joins the end of the queue."""
    log_message("a")
    log_message("b")
    got = []

    def echo(message):
        got.append(message)
        if not message["message_type"].startswith("echo"):
            log_message("echo " + message["message_type"])

    add_destinations(echo)

    assert types(got) == ["a", "b", "echo a", "echo b"]


@pytest.mark.rule("E13.2", "E12.3")
def test_what_was_kept_and_cannot_be_delivered_is_reported():
    """When the destinations are there; the others have got it."""
    for name in "abc":
        log_message(name)
    got = []

    def refuse(message):
        if message["message_type"] == "b":
            raise ValueError("not b")

    add_destinations(refuse, got.append)

    assert types(got) == ["a", "b", "c", "eliot:destination_failure"]
    assert statistics()["failures"] == 1


def test_an_end_of_the_program_while_handing_over_counts_what_is_lost():
    """And the destinations are in place afterwards."""
    for name in "abc":
        log_message(name)
    got = []

    def stop(message):
        got.append(message)
        if message["message_type"] == "a":
            raise SystemExit

    with pytest.raises(SystemExit):
        add_destinations(stop)
    log_message("d")

    assert types(got) == ["a", "d"]
    assert statistics()["dropped_before_first_destination"] == 2
    assert statistics()["destinations"] == 1


@pytest.mark.rule("E12.10")
def test_destinations_come_and_go_while_threads_log():
    """One that stays gets every message once."""
    got, stopped = [], threading.Event()
    add_destinations(got.append)

    def come_and_go():
        while not stopped.is_set():
            passing = [].append
            add_destinations(passing)
            remove_destination(passing)

    def work(number):
        for count in range(2_000):
            log_message("m", who=(number, count))

    churners = [threading.Thread(target=come_and_go) for _ in range(2)]
    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in churners + workers:
        thread.start()
    for thread in workers:
        thread.join()
    stopped.set()
    for thread in churners:
        thread.join()

    assert sorted(message["who"] for message in got) == [
        (n, c) for n in range(4) for c in range(2_000)
    ]
    assert statistics()["destinations"] == 1


@pytest.mark.rule("E12.3", "E12.10")
def test_threads_log_while_the_first_destination_is_added():
    """Nothing is lost between being kept and being delivered, and each thread's are in order."""
    got, ready = [], threading.Barrier(5)

    def work(number):
        ready.wait()
        for count in range(200):
            log_message("m", who=(number, count))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in workers:
        thread.start()
    ready.wait()
    add_destinations(got.append)
    for thread in workers:
        thread.join()

    who = [message["who"] for message in got]
    assert sorted(who) == [(n, c) for n in range(4) for c in range(200)]
    for number in range(4):
        mine = [count for other, count in who if other == number]
        assert mine == sorted(mine)


@pytest.mark.rule("E12.11")
@pytest.mark.parametrize("add", [add_destination, addDestination])
def test_the_old_way_to_add_warns(add):
    """At the caller's line; it adds all the same."""
    got = []
    with pytest.warns(DeprecationWarning, match="use add_destinations") as warned:
        add(got.append)
    log_message("m")

    assert warned[0].filename == __file__
    assert types(got) == ["m"]


def disk_full(message):
    raise RuntimeError("disk full")


@pytest.mark.rule("E13.1", "E13.2")
def test_a_destination_that_fails_is_reported_to_the_others(messages):
    """They get the message; it stays, and is tried again."""
    remove_destination(messages.append)
    tried = []

    def fail(message):
        tried.append(message)
        raise RuntimeError("disk full")

    add_destinations(fail, messages.append)
    log_message("app:x", n=1)
    log_message("app:y")

    assert types(messages) == [
        "app:x",
        "eliot:destination_failure",
        "app:y",
        "eliot:destination_failure",
    ]
    lost, report = messages[:2]
    assert list(report) == [
        "reason",
        "exception",
        "message",
        "timestamp",
        "task_uuid",
        "task_level",
        "message_type",
    ]
    assert report["reason"] == "disk full"
    assert report["exception"] == "builtins.RuntimeError"
    assert report["task_level"] == [1]
    assert report["task_uuid"] != lost["task_uuid"]
    assert report["message"] == str({repr(name): repr(value) for name, value in lost.items()})
    assert types(tried) == types(messages)


@pytest.mark.rule("E13.2")
def test_each_destination_that_fails_is_reported(messages):
    """In the current action, at its next level."""
    add_destinations(disk_full, disk_full)
    with start_action(action_type="a"):
        log_message("m")

    assert types(messages) == [
        "started", "eliot:destination_failure", "eliot:destination_failure",
        "m", "eliot:destination_failure", "eliot:destination_failure",
        "succeeded", "eliot:destination_failure", "eliot:destination_failure",
    ]  # fmt: skip
    assert [message["task_level"] for message in messages] == [
        [1], [1], [1], [2], [3], [4], [5], [1], [1],
    ]  # fmt: skip


@pytest.mark.rule("E13.3")
def test_a_report_that_fails_is_counted_and_that_is_all():
    """With nobody to hear of it, too."""
    add_destinations(disk_full)

    for _ in range(10):
        log_message("m")

    assert statistics()["failures"] == 10
    assert statistics()["failures_unreported"] == 10


@pytest.mark.rule("E13.4")
def test_reports_about_start_and_end_are_in_the_parent(messages):
    """The action is not current yet, or no more."""

    def fail(message):
        if message.get("action_type") == "child":
            raise ValueError

    add_destinations(fail)
    with start_action(action_type="parent"), start_action(action_type="child"):
        pass

    reports = [m["task_level"] for m in messages if m.get("message_type")]
    assert reports == [[3], [4]]


@pytest.mark.rule("E13.5")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_program_passes(error):
    """It is no failure of logging."""

    def stop(message):
        raise error

    add_destinations(stop)
    with pytest.raises(error):
        log_message("m")
    remove_destination(stop)


class Unspeakable:
    def __repr__(self):
        raise ValueError


@pytest.mark.rule("E13.2")
def test_a_message_that_cannot_be_shown_is_shown_as_that(messages):
    """The text is always a text."""
    add_destinations(disk_full)
    log_message("m", what=Unspeakable())

    assert "'eliot: unknown, str() raised exception'" in messages[1]["message"]


class Failing:
    def serialize(self, message):
        message["half"] = True
        raise KeyError("result")

    def validate(self, message):
        pass


@pytest.mark.rule("E13.6")
def test_a_message_that_will_not_serialize_is_replaced_by_two(messages):
    """Its number stays used."""
    with start_action(action_type="a"):
        log_message("app:typed", n="zz", __eliot_serializer__=Failing())

    assert types(messages) == [
        "started",
        "eliot:traceback",
        "eliot:serialization_failure",
        "succeeded",
    ]
    assert [message["task_level"] for message in messages] == [[1], [3], [4], [5]]
    trace, report = messages[1:3]
    assert trace["exception"] == "builtins.KeyError"
    assert trace["reason"] == "'result'"
    assert "Failing" not in trace["traceback"]
    assert "in serialize" in trace["traceback"]
    assert list(report) == ["message", "timestamp", "task_uuid", "task_level", "message_type"]
    assert "\"'n'\": \"'zz'\"" in report["message"]
    assert "half" not in report["message"]


class FailingAll:
    start = success = failure = Failing()


@pytest.mark.rule("E13.8", "E13.7")
def test_an_action_closes_even_if_its_messages_will_not_serialize(messages):
    """What identifies them is delivered, at the level that was taken."""
    with start_action(action_type="a", _serializers=FailingAll, x=1):
        pass
    with pytest.raises(OSError), start_action(action_type="b", _serializers=FailingAll):
        raise OSError(2, "text")

    assert types(messages) == [
        "eliot:traceback", "eliot:serialization_failure", "started",
        "eliot:traceback", "eliot:serialization_failure", "succeeded",
        "eliot:traceback", "eliot:serialization_failure", "started",
        "eliot:traceback", "eliot:serialization_failure", "failed",
    ]  # fmt: skip
    start, end, failed = messages[2], messages[5], messages[11]
    assert set(start) == set(end) == {
        "action_status", "timestamp", "task_uuid", "action_type", "task_level",
    }  # fmt: skip
    assert (start["task_level"], end["task_level"]) == ([1], [2])
    assert start["task_uuid"] == end["task_uuid"]
    assert failed["exception"] == "builtins.FileNotFoundError"
    assert failed["reason"] == "[Errno 2] text"
    assert "errno" not in failed


def test_whether_anybody_wants_messages_can_be_asked():
    """Kept ones are wanted."""
    assert destinations.wants_messages()
    add_destinations(print)
    assert destinations.wants_messages()
    remove_destination(print)
    assert not destinations.wants_messages()
