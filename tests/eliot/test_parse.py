"""Reading messages back: whatever their order, the tree is the one that was logged."""

import copy
import io
import json
import os
import pickle
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.eliot import (
    add_destinations,
    log_message,
    remove_destination,
    start_action,
    start_task,
)
from sprockets.eliot._files import FileDestination
from sprockets.eliot.parse import (
    DuplicateChild,
    InvalidStartMessage,
    InvalidStatus,
    Parser,
    Task,
    TaskLevel,
    WrittenAction,
    WrittenMessage,
    WrongActionType,
    WrongTask,
    WrongTaskLevel,
)


def plain(level, uuid="u", **fields):
    """Return a message without action."""
    return {"task_uuid": uuid, "task_level": level, "timestamp": 1.0, "message_type": "m", **fields}


def action(level, status, kind="a", uuid="u", timestamp=1.0, **fields):
    """Return a message that starts or ends an action."""
    return {
        "task_uuid": uuid,
        "task_level": level,
        "timestamp": timestamp,
        "action_type": kind,
        "action_status": status,
        **fields,
    }


NESTED = [
    action([1], "started", "parent", key=1),
    plain([2]),
    action([3, 1], "started", "child", timestamp=2.0),
    plain([3, 2]),
    action([3, 3], "succeeded", "child", timestamp=3.5),
    action([4, 1], "started", "bad"),
    action([4, 2], "failed", "bad", exception="builtins.OSError", reason="no"),
    action([5], "succeeded", "parent"),
]


def outline(written):
    """Return what the tree looks like, as nested lists of types and levels."""
    if isinstance(written, WrittenMessage):
        return written.task_level.as_list()
    return [written.action_type, written.status, [outline(child) for child in written.children]]


NESTED_OUTLINE = [
    "parent",
    "succeeded",
    [[2], ["child", "succeeded", [[3, 2]]], ["bad", "failed", []]],
]


def parse(messages):
    """Return the tasks that got complete, each with the number of messages read by then."""
    parser, done = Parser(), []
    for count, message in enumerate(messages, 1):
        tasks, parser = parser.add(message)
        done += [(count, task) for task in tasks]
    return done, parser.incomplete_tasks()


# -- trees


@pytest.mark.rule("E20.2", "E20.3", "E20.7")
@given(st.permutations(NESTED))
def test_any_order_gives_the_same_tree(messages):
    """It is complete with the last message and not before, and then forgotten."""
    done, incomplete = parse(messages)

    assert [count for count, _ in done] == [len(NESTED)]
    assert outline(done[0][1].root()) == NESTED_OUTLINE
    assert done[0][1].root() == parse(NESTED)[0][0][1].root()
    assert incomplete == []


@pytest.mark.rule("E20.7")
def test_an_action_tells_what_its_start_and_end_say():
    """Type, status, times, exception; what is not known is None."""
    ((_, task),), _ = parse(NESTED)
    root = task.root()
    child, bad = root.children[1:]

    assert (root.task_uuid, root.task_level) == ("u", TaskLevel([]))
    assert root.start_message.contents == {
        "action_type": "parent",
        "action_status": "started",
        "key": 1,
    }
    assert root.end_message.as_dict() == NESTED[-1]
    assert (child.task_level, child.start_time, child.end_time) == (TaskLevel([3]), 2.0, 3.5)
    assert (child.exception, child.reason) == (None, None)
    assert (bad.status, bad.exception, bad.reason) == ("failed", "builtins.OSError", "no")
    assert repr(child) == "<WrittenAction 'child' succeeded u/3, 1 children>"


def test_exception_and_reason_are_those_of_a_failure():
    """Fields of the same names in a success are the application's own."""
    end = WrittenMessage.from_dict(action([2], "succeeded", exception="mine", reason="mine"))

    written = WrittenAction.from_messages(end_message=end)

    assert (written.exception, written.reason) == (None, None)


class Writer:
    """Logs what random choices say, and remembers nothing."""

    def __init__(self, choose):
        self.choose = choose

    def fill(self, uuid, level, depth):
        yield action([*level, 1], "started", f"{level}", uuid)
        number = 2
        while depth and self.choose(3):
            if self.choose(2):
                yield plain([*level, number], uuid)
            else:
                yield from self.fill(uuid, [*level, number], depth - 1)
            number += 1
        yield action([*level, number], ["succeeded", "failed"][self.choose(2)], f"{level}", uuid)


@pytest.mark.rule("E20.2", "E20.3", "E20.4", "E20.5")
@given(st.randoms(use_true_random=False))
def test_interleaved_tasks_come_out_whole(chance):
    """Each when its last message is read, and with all its messages."""
    writer = Writer(chance.randrange)
    messages = [message for uuid in "abc" for message in writer.fill(uuid, [], 3)]
    chance.shuffle(messages)
    last = {message["task_uuid"]: count for count, message in enumerate(messages, 1)}

    done, incomplete = parse(messages)

    assert {task.root().task_uuid: count for count, task in done} == last
    assert incomplete == []
    for _, task in done:
        assert sorted(map(json.dumps, leaves(task.root()))) == sorted(
            json.dumps(m) for m in messages if m["task_uuid"] == task.root().task_uuid
        )


def leaves(written):
    """Yield all messages in a tree, as dicts."""
    if isinstance(written, WrittenMessage):
        yield written.as_dict()
        return
    for member in (written.start_message, *written.children, written.end_message):
        if member is not None:
            yield from leaves(member)


@pytest.mark.rule("E20.4")
def test_a_lone_message_is_complete_at_once():
    """Its root is the message itself."""
    ((count, task),), incomplete = parse([plain([1], x=5)])

    assert (count, incomplete, task.is_complete()) == (1, [], True)
    assert task.root() == WrittenMessage.from_dict(plain([1], x=5))


@pytest.mark.rule("E20.4")
@pytest.mark.parametrize("missing", range(len(NESTED)))
def test_without_any_one_message_a_task_is_incomplete(missing):
    """Whichever it is; the rest of the tree is there."""
    messages = NESTED[:missing] + NESTED[missing + 1 :]

    done, incomplete = parse(messages)

    assert done == []
    assert [task.is_complete() for task in incomplete] == [False]
    assert sorted(map(json.dumps, leaves(incomplete[0].root()))) == sorted(
        map(json.dumps, messages)
    )


@pytest.mark.rule("E20.5")
def test_a_stream_ends_with_what_is_incomplete():
    """Complete tasks before it, as they complete."""
    messages = [action([1], "started", uuid="open"), plain([1], uuid="x"), *NESTED]
    tasks = Parser.parse_stream(iter(messages))

    assert [(task.root().task_uuid, task.is_complete()) for task in tasks] == [
        ("x", True),
        ("u", True),
        ("open", False),
    ]


def test_arguments_may_be_given_by_name():
    """The names that Eliot's have."""
    message = plain([1])

    done, _ = Parser().add(message_dict=message)

    assert done == [Task().add(message_dict=message)]
    assert list(Parser.parse_stream(iterable=[message])) == done
    assert WrittenMessage.from_dict(logged_dictionary=message) == done[0].root()


@given(st.permutations(NESTED))
def test_tasks_and_parsers_of_the_same_messages_are_equal(messages):
    """In whatever order they came; with one missing they are not."""
    (expected,) = Parser.parse_stream(NESTED)
    *some, last = messages
    parser, again = Parser(), Parser()
    for message in some:
        (_, parser), (_, again) = parser.add(message), again.add(message)

    (task,), _ = parser.add(last)

    assert (task, hash(task)) == (expected, hash(expected))
    assert (parser, hash(parser)) == (again, hash(again))
    assert parser.incomplete_tasks() != [task]
    assert parser != Parser()


def test_tasks_and_parsers_are_equal_to_nothing_else():
    """Empty ones are equal to each other."""
    task = Task().add(plain([1]))

    assert (Task(), hash(Task())) == (Task(), hash(Task()))
    assert (Parser(), hash(Parser())) == (Parser(), hash(Parser()))
    assert Task() != task
    assert task != Task()
    assert task != task.root()
    assert Parser() != Task()


@pytest.mark.parametrize("copied", [lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy])
def test_what_was_read_goes_to_another_process(copied):
    """Whole or in part, also when it was added to since; there it can be added to as well."""
    *some, last = NESTED
    parser = Parser()
    for message in some:
        _, parser = parser.add(message)
    (partial,) = parser.incomplete_tasks()
    (whole,), _ = parser.add(last)

    for each in (partial, whole, parser, Task(), Parser(), whole.root()):
        assert copied(each) == each
    assert copied(partial).add(last) == whole
    assert copied(parser).add(last)[0] == [whole]
    assert [copied(each).is_complete() for each in (partial, whole)] == [False, True]


def test_a_task_that_is_deeper_than_the_stack_is_pickled():
    """Its messages are, one after the other."""
    task = Task()
    for depth in range(3000):
        task = task.add(action([*[2] * depth, 1], "started"))

    assert pickle.loads(pickle.dumps(task)) == task


def test_tasks_and_parsers_are_shown_in_a_line():
    """With what tells them apart; a test that fails shows them."""
    parser = Parser()
    _, parser = parser.add(NESTED[0])
    (task,) = parser.incomplete_tasks()

    assert repr([Task(), task, task.add(NESTED[1])]) == (
        "[<Task, no messages>, <Task u, 1 message, incomplete>, <Task u, 2 messages, incomplete>]"
    )
    assert repr(Task().add(plain([1]))) == "<Task u, 1 message, complete>"
    assert repr([Parser(), parser]) == "[<Parser, 0 incomplete tasks>, <Parser, 1 incomplete task>]"


def test_actions_that_differ_deep_inside_are_not_equal():
    """However deep: what compares them does not call itself."""
    depth = 3000
    starts = [action([*[2] * n, 1], "started") for n in range(depth)]
    (one,) = Parser.parse_stream([*starts, plain([*[2] * depth, 2], x=1)])
    (same,) = Parser.parse_stream([*starts, plain([*[2] * depth, 2], x=1)])
    (other,) = Parser.parse_stream([*starts, plain([*[2] * depth, 2], x=2)])

    assert one == same
    assert one != other
    assert one.root() != other.root()
    assert one.root() != "x"


@pytest.mark.rule("E20.5")
def test_a_stream_is_read_no_further_than_needed():
    """The first task is there when its last message is."""

    def endless():
        yield from NESTED
        raise AssertionError("read on")

    assert next(Parser.parse_stream(endless())).is_complete()


@pytest.mark.rule("E20.6")
def test_missing_parents_are_made():
    """Without type, status and times."""
    _, (task,) = parse([plain([2, 2])])
    root = task.root()
    (inner,) = root.children

    assert outline(root) == [None, None, [[None, None, [[2, 2]]]]]
    assert (root.start_time, root.end_time, root.exception, root.reason) == (None,) * 4
    assert (root.task_level, inner.task_level) == (TaskLevel([]), TaskLevel([2]))
    assert (inner.task_uuid, inner.start_message, inner.end_message) == ("u", None, None)


@pytest.mark.rule("E20.8")
def test_a_type_of_none_is_no_action():
    """Whatever its status says."""
    ((_, task),), _ = parse([{**plain([1]), "action_type": None, "action_status": "started"}])

    assert isinstance(task.root(), WrittenMessage)


@pytest.mark.rule("E20.8")
def test_an_empty_type_is_an_action():
    """Types may be empty."""
    ((_, task),), _ = parse([action([1], "started", ""), action([2], "succeeded", "")])

    assert task.root().action_type == ""


@pytest.mark.rule("E20.9")
def test_of_two_messages_at_one_level_the_last_counts():
    """Also if one of them is an action; the task completes all the same."""
    start, end = action([1], "started"), action([3], "succeeded")
    pair = [plain([2], x=1), plain([2], x=2)]
    nested = [plain([2]), action([2, 1], "started", "b"), action([2, 2], "succeeded", "b")]

    ((_, twice),), _ = parse([start, *pair, end])
    ((_, replaced),), _ = parse([start, *nested, end])
    ((_, back),), _ = parse([start, nested[1], nested[0], end])

    assert [child.contents["x"] for child in twice.root().children] == [2]
    assert outline(replaced.root()) == ["a", "succeeded", [["b", "succeeded", []]]]
    assert outline(back.root()) == ["a", "succeeded", [[2]]]


@pytest.mark.rule("E20.10")
def test_a_message_after_the_end_opens_another_task():
    """With the same uuid, incomplete."""
    done, incomplete = parse([*NESTED, plain([6])])

    assert [count for count, _ in done] == [len(NESTED)]
    assert outline(incomplete[0].root()) == [None, None, [[6]]]
    assert incomplete[0].root().task_uuid == "u"


@pytest.mark.rule("E20.4")
def test_what_was_logged_after_the_end_does_not_stop_completion():
    """It comes before a child's end here, and is shown, but not counted."""
    late = plain([6])

    ((_, task),), incomplete = parse([*NESTED[:4], late, *NESTED[5:], NESTED[4]])

    assert incomplete == []
    assert [child.task_level.as_list() for child in task.root().children] == [[2], [3], [4], [6]]


@pytest.mark.rule("E20.4")
def test_numbers_of_another_process_do_not_stop_completion():
    """A forked child's numbers are beyond all of the parent's; its actions must end, though."""
    far = 2**31 + 7
    child = [action([far, 1], "started", "c"), action([far, 2], "succeeded", "c")]
    shadow = plain([far + 1])

    ((both, whole),), _ = parse([NESTED[0], *child, shadow, *NESTED[1:]])
    done, _ = parse([NESTED[0], child[0], *NESTED[1:], child[1]])
    ((without, _),), _ = parse(NESTED)

    assert [len(whole.root().children), both, without] == [5, 11, 8]
    assert [count for count, _ in done] == [10]


@pytest.mark.rule("E20.4")
def test_a_missing_message_is_not_made_up_by_a_late_one():
    """As many as there should be are not enough; it must be those."""
    done, incomplete = parse([action([1], "started"), action([3], "succeeded"), plain([4])])

    assert done == []
    assert outline(incomplete[0].root()) == ["a", "succeeded", [[4]]]


def test_a_task_of_several_messages_without_action_stays_incomplete():
    """Nothing of it is lost, in either order."""
    for messages in ([plain([2]), plain([1])], [plain([3]), plain([1]), plain([2])]):
        done, incomplete = parse(messages)

        assert done == []
        assert len(list(leaves(incomplete[0].root()))) == len(messages)


# -- what does not fit


def written(message):
    return WrittenMessage.from_dict(message)


START = written(action([2, 1], "started"))


@pytest.mark.rule("E20.9")
@pytest.mark.parametrize(
    ("parts", "error", "text"),
    [
        ({"start_message": written(action([1], "failed"))}, InvalidStartMessage,
         "action_status of a start must be 'started', got 'failed'"),
        ({"start_message": written(action([2], "started"))}, InvalidStartMessage,
         "level of a start must end in 1, got /2"),
        ({"start_message": written(plain([1]))}, InvalidStartMessage,
         "action_status of a start must be 'started', got None"),
        ({"end_message": written(action([2], "started"))}, InvalidStatus,
         "action_status of an end must be 'succeeded' or 'failed', got 'started'"),
        ({"start_message": START, "end_message": written(action([2, 2], "failed", "b"))},
         WrongActionType, "an action of type 'a' cannot end with type 'b'"),
        ({"start_message": START, "end_message": written(action([2, 2], "failed", uuid="v"))},
         WrongTask, "task_uuid must be 'u', got 'v'"),
        ({"start_message": START, "children": [written(plain([2, 2], "v"))]},
         WrongTask, "task_uuid must be 'u', got 'v'"),
        ({"start_message": START, "children": [written(plain([3]))]},
         WrongTaskLevel, "/3 is not directly in the action at /2"),
        ({"start_message": START, "end_message": written(action([3, 2], "failed"))},
         WrongTaskLevel, "/3/2 is not directly in the action at /2"),
        ({"children": [written(plain([2, 2])), written(plain([2, 2, 2]))]},
         WrongTaskLevel, "/2/2/2 is not directly in the action at /2"),
        ({"children": [Task().add(plain([2, 2])).root()]},
         WrongTaskLevel, "a task as a whole is in no action"),
        ({"children": [written(plain([2, 2])), written(plain([2, 2], x=1))]},
         DuplicateChild, "two different children at /2/2"),
        ({}, ValueError, "an action is made of at least one message, got none"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(parts, error, text):
    """By an error that says what should have been there."""
    with pytest.raises(error, match=text):
        WrittenAction.from_messages(**parts)


def test_children_are_put_into_order_and_equal_ones_are_one():
    """Messages and actions mixed."""
    inner = WrittenAction.from_messages(written(action([2, 3, 1], "started", "b")))
    children = [written(plain([2, 10])), inner, written(plain([2, 2])), written(plain([2, 2]))]

    whole = WrittenAction.from_messages(START, iter(children))

    assert outline(whole) == ["a", "started", [[2, 2], ["b", "started", []], [2, 10]]]
    assert whole.children[1] is inner


@pytest.mark.rule("E20.9")
@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([action([2], "started")], InvalidStartMessage),
        ([action([1], "odd")], InvalidStatus),
        ([{**plain([1]), "action_type": "a"}], InvalidStatus),
        ([action([1], "started"), action([2], "failed", "b")], WrongActionType),
        ([action([2], "failed", "b"), action([1], "started")], WrongActionType),
    ],
)
def test_a_parser_refuses_what_does_not_fit_and_can_be_used_on(messages, error):
    """As it was before."""
    parser = Parser()
    for message in messages[:-1]:
        _, parser = parser.add(message)
    before = [task.root() for task in parser.incomplete_tasks()]

    with pytest.raises(error):
        parser.add(messages[-1])
    _, after = parser.add(plain([7], "other"))

    assert [task.root() for task in parser.incomplete_tasks()] == before
    assert len(after.incomplete_tasks()) == len(before) + 1


@pytest.mark.rule("E20.9")
def test_a_task_refuses_messages_of_another():
    """Which a parser never hands it."""
    with pytest.raises(WrongTask, match="task_uuid must be 'u', got 'v'"):
        Task().add(plain([2])).add(plain([3], "v"))


@pytest.mark.rule("E20.11")
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"task_uuid": ...}, "there is no 'task_uuid' in {'task_level'"),
        ({"task_level": ...}, "there is no 'task_level' in"),
        ({"timestamp": ...}, "there is no 'timestamp' in"),
        ({"task_level": []}, r"'task_level' must be a list of numbers from 1 up, .* got \[\]"),
        ({"task_level": "/1"}, "'task_level' must be a list of numbers .* got '/1'"),
        ({"task_level": [0]}, "'task_level' must be a list of numbers"),
        ({"task_level": [1, "2"]}, "'task_level' must be a list of numbers"),
        ({"task_level": [True]}, "'task_level' must be a list of numbers"),
        ({"task_level": None}, "'task_level' must be a list of numbers"),
        ({"task_uuid": []}, r"'task_uuid' must be text, got \[\]"),
    ],
)
def test_what_is_no_message_is_refused(change, text):
    """The error names the field."""
    message = {name: value for name, value in {**plain([1]), **change}.items() if value is not ...}

    for add in (Parser().add, Task().add, WrittenMessage.from_dict):
        with pytest.raises(ValueError, match=text):
            add(message)


def test_a_task_without_messages_has_no_root():
    """And is not complete."""
    assert not Task().is_complete()
    with pytest.raises(ValueError, match="a task without messages has no root; add one"):
        Task().root()


# -- messages


def test_a_message_gives_back_what_it_was_made_of():
    """In copies: neither side can change the other's."""
    fields = plain([1, 2], x=[1])
    message = WrittenMessage.from_dict(fields)
    fields["x"] = None
    message.as_dict()["y"] = message.contents["y"] = 1

    assert message.as_dict() == plain([1, 2], x=[1])
    assert message.contents == {"message_type": "m", "x": [1]}
    assert (message.task_uuid, message.timestamp) == ("u", 1.0)
    assert message.task_level == TaskLevel([1, 2])
    assert message == WrittenMessage.from_dict(plain([1, 2], x=[1]))
    assert hash(message) == hash(WrittenMessage.from_dict(plain([1, 2], x=[1])))
    assert message != WrittenMessage.from_dict(plain([1, 2], x=[2]))
    assert eval(repr(message)) == message


# -- nothing changes


def roots(parser):
    return {task.root() for task in parser.incomplete_tasks()}


@pytest.mark.rule("E20.1")
@settings(max_examples=30)
@given(st.randoms(use_true_random=False))
def test_older_parsers_and_tasks_stay_what_they_were(chance):
    """Looked at in any order, and added to, long after others came from them."""
    uuids = [str(number) for number in range(60)]
    messages = [action([1], "started", uuid=uuid) for uuid in uuids]
    messages += [action([2], "succeeded", uuid=uuid) for uuid in uuids[::3]]
    messages += [plain([2 + chance.randrange(3)], chance.choice(uuids)) for _ in range(40)]
    chance.shuffle(messages)
    parsers = [Parser()]
    for message in messages:
        parsers.append(parsers[-1].add(message)[1])

    for count in chance.sample(range(len(parsers)), 20):
        fresh = Parser()
        for message in messages[:count]:
            _, fresh = fresh.add(message)
        assert roots(parsers[count]) == roots(fresh)
        one_more = plain([9], chance.choice(uuids))
        assert roots(parsers[count].add(one_more)[1]) == roots(fresh.add(one_more)[1])
        assert roots(parsers[count]) == roots(fresh)


@pytest.mark.rule("E20.1")
def test_an_older_task_can_go_another_way():
    """Both ways are right, and so is the old task."""
    old = Task().add(NESTED[0])
    one, other = old, old.add(plain([2]))
    for message in NESTED[1:]:
        one = one.add(message)
    other = other.add(action([3], "succeeded", "parent"))

    assert (old.is_complete(), one.is_complete(), other.is_complete()) == (False, True, True)
    assert outline(old.root()) == ["parent", "started", []]
    assert outline(one.root()) == NESTED_OUTLINE
    assert outline(other.root()) == ["parent", "succeeded", [[2]]]


def test_a_task_can_grow_after_its_end():
    """Then it may be incomplete again, until what is new is complete as well."""
    task = Task()
    for message in [*NESTED, action([6, 2, 1], "started", "x")]:
        task = task.add(message)

    assert not task.is_complete()
    for message in [
        action([6, 2, 2], "succeeded", "x"),
        action([6, 1], "started", "y"),
        action([6, 3], "failed", "y"),
    ]:
        assert not task.is_complete()
        task = task.add(message)
    assert task.is_complete()


# -- cost


def seconds_to_parse(count):
    messages = [action([1], "started"), action([count], "succeeded")]
    messages += [plain([number]) for number in range(2, count)]
    random.Random(7).shuffle(messages)
    begin = time.process_time()
    (task,) = Parser.parse_stream(messages)
    assert task.is_complete()
    assert len(task.root().children) == count - 2
    return time.process_time() - begin


@pytest.mark.skipif("SPROCKETS_SOAK" not in os.environ, reason="times code: SPROCKETS_SOAK=1")
def test_the_time_a_message_takes_does_not_grow_with_its_task():
    """Eight times the messages take about eight times as long; squared it would be 64."""
    short = min(seconds_to_parse(2_500) for _ in range(3))

    assert seconds_to_parse(20_000) < 30 * short


def test_a_tree_may_be_deeper_than_the_stack():
    """Fifteen hundred actions within each other."""
    depth = 1_500
    starts = [action([2] * level + [1], "started") for level in range(depth)]
    ends = [action([2] * level + [3 - (level == depth - 1)], "failed") for level in range(depth)]

    (task,) = Parser.parse_stream(starts + ends)
    written, levels = task.root(), 1
    while written.children:
        (written,) = written.children
        levels += 1

    assert task.is_complete()
    assert levels == depth


# -- what this library writes


@pytest.fixture(name="log")
def _log():
    """A file with the messages that the test logs."""
    file = io.BytesIO()
    destination = FileDestination(file)
    add_destinations(destination)
    # What was logged before there was a destination is not of this test.
    file.seek(0)
    file.truncate()
    yield file
    remove_destination(destination)


def read(log):
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_what_is_logged_here_is_read_here(log):
    """Through JSON and back: actions, failures, messages in and out of them."""
    log_message("alone", n=1)
    with start_task(action_type="outer"):
        log_message("hello", items=[1, {"a": None}])
        with pytest.raises(OSError, match="no"), start_action(action_type="inner"):
            raise OSError("no")

    alone, task = Parser.parse_stream(read(log))

    assert alone.root().contents == {"message_type": "alone", "n": 1}
    assert outline(task.root()) == ["outer", "succeeded", [[2], ["inner", "failed", []]]]
    assert task.root().children[1].reason == "no"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.rule("M48")
def test_a_task_that_went_on_in_forked_processes_is_one_tree(tmp_path):
    """With all that each of them logged, and no level twice."""
    with open(tmp_path / "log", "ab") as file:
        destination = FileDestination(file)
        add_destinations(destination)
        file.truncate(0)
        try:
            with start_task(action_type="outer"):
                log_message("before")
                children = []
                for number in range(2):
                    child = os.fork()
                    if child == 0:
                        try:
                            for _ in range(3):
                                log_message("child", number=number)
                            with start_action(action_type="in child"):
                                pass
                        finally:
                            os._exit(0)
                    children.append(child)
                for child in children:
                    os.waitpid(child, 0)
        finally:
            remove_destination(destination)
    messages = [json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    mine = [message for message in messages if message["task_uuid"] == messages[0]["task_uuid"]]

    levels = [tuple(message["task_level"]) for message in mine]
    tree = Task()
    for message in mine:
        tree = tree.add(message)

    assert len(set(levels)) == len(levels)
    assert len([message for message in mine if message.get("message_type") == "child"]) == 6
    assert len(list(leaves(tree.root()))) == len(mine) == len(messages)
