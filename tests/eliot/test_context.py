"""The current action: three ways to be it, and what there was before comes back."""

import asyncio
import contextvars
import threading

import pytest

from sprockets.eliot import (
    current_action,
    log_message,
    start_action,
    start_task,
    use_asyncio_context,
)

WAYS = {
    "with": lambda action, f: _inside(action, f),
    "context": lambda action, f: _inside(action.context(), f),
    "run": lambda action, f: action.run(f),
}


def _inside(manager, f):
    with manager:
        return f()


@pytest.fixture(name="enter", params=WAYS)
def _enter(request):
    return WAYS[request.param]


def fail():
    raise KeyError("x")


@pytest.mark.rule("E5.1", "E5.2")
def test_there_is_no_current_action_but_inside(enter):
    """None before, none after, the action in between."""
    action = start_action(action_type="a")

    assert current_action() is None
    assert enter(action, current_action) is action
    assert current_action() is None


@pytest.mark.rule("E5.2")
def test_what_was_current_comes_back(enter):
    """After the end, and after an exception, which passes."""
    with start_action(action_type="outer") as outer:
        enter(start_action(action_type="a"), lambda: None)
        assert current_action() is outer
        with pytest.raises(KeyError):
            enter(start_action(action_type="a"), fail)
        assert current_action() is outer


@pytest.mark.rule("E5.2")
def test_what_each_of_them_returns(messages):
    """The action, and what was called returns; arguments pass through whatever their names."""
    action = start_action(action_type="a")

    with action.context() as bound:
        assert bound is action
    assert action.run(lambda *args, **kwargs: (args, kwargs), 1, f=2, self=3) == (
        (1,), {"f": 2, "self": 3},
    )  # fmt: skip
    assert len(messages) == 1
    with action as entered:
        assert entered is action
    assert len(messages) == 2
    assert action.__enter__().__exit__(None, None, None) is None


@pytest.mark.rule("E5.3", "E13.4")
def test_the_end_is_logged_when_the_parent_is_current_again():
    """So that what is said about that message is in the parent."""
    from sprockets.eliot import add_destinations

    seen = []
    add_destinations(lambda message: seen.append((message.get("action_type"), current_action())))
    with start_action(action_type="outer") as outer, start_action(action_type="a"):
        pass

    assert seen == [("outer", None), ("a", outer), ("a", outer), ("outer", None)]


@pytest.mark.rule("E5.4")
def test_a_context_may_be_entered_again(messages):
    """Nested in itself too, one manager or several; nothing ends."""
    action = start_action(action_type="a")
    bound = action.context()
    for _ in range(2):
        with bound, bound, action.context():
            assert current_action() is action
    assert current_action() is None
    assert len(messages) == 1


@pytest.mark.rule("E5.5")
def test_an_action_inside_itself_ends_with_the_inner_block(messages):
    """The outer exit only restores the context."""
    with start_action(action_type="outer") as outer:
        action = start_action(action_type="a")
        with action:
            with action:
                log_message("m")
            assert current_action() is action
            assert messages[-1]["action_status"] == "succeeded"
            count = len(messages)
        assert len(messages) == count
        assert current_action() is outer


@pytest.mark.rule("E5.6")
@pytest.mark.parametrize("is_inherited", [True, False])
def test_an_exit_in_another_context_ends_the_action(messages, is_inherited):
    """The exit says nothing of it; if the action was current there by inheritance, it is not then."""
    action = start_action(action_type="a")
    mine, other = contextvars.copy_context(), contextvars.copy_context()
    mine.run(action.__enter__)
    if is_inherited:
        other = mine.copy()

    def leave():
        action.__exit__(None, None, None)
        return current_action()

    assert other.run(leave) is None
    assert messages[-1]["action_status"] == "succeeded"
    assert mine.run(current_action) is action


@pytest.mark.rule("E5.6")
def test_an_abandoned_generator_closes_its_action(messages):
    """An asynchronous one, which the loop closes in a context of its own."""

    async def generate():
        with start_action(action_type="generator"):
            yield 1
            yield 2

    async def main():
        generator = generate()
        await anext(generator)
        await asyncio.create_task(generator.aclose())

    asyncio.run(main())

    assert [message.get("action_status") for message in messages] == ["started", "failed"]
    assert messages[-1]["exception"] == "builtins.GeneratorExit"


def test_one_action_entered_in_two_contexts_is_left_in_both(messages):
    """In whatever order they leave."""
    for order in ([0, 1], [1, 0]):
        for manager in (start_action(action_type="a"), start_action(action_type="a").context()):
            befores = [start_task(action_type="x"), start_task(action_type="y")]
            contexts = [contextvars.copy_context(), contextvars.copy_context()]
            for context, before in zip(contexts, befores, strict=True):
                context.run(before.context().__enter__)
                context.run(manager.__enter__)
            for place in order:
                contexts[place].run(manager.__exit__, None, None, None)
                assert contexts[place].run(current_action) is befores[place]


def test_one_action_left_by_two_threads_at_once(messages):
    """Each gets back what it had, whoever takes whose token."""
    wrong = []

    def work(action, barrier, number):
        with start_task(action_type=f"own {number}") as own:
            action.__enter__()
            barrier.wait()
            action.__exit__(None, None, None)
            if current_action() not in (own, None) and current_action() is action:
                wrong.append(number)

    for _ in range(50):
        action, barrier = start_action(action_type="a"), threading.Barrier(4)
        threads = [threading.Thread(target=work, args=(action, barrier, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert not wrong
    ends = [m for m in messages if m.get("action_type") == "a" and m["action_status"] != "started"]
    assert len(ends) == 50


@pytest.mark.rule("E5.7")
def test_a_new_thread_has_no_action():
    """Until it enters one."""
    found = ["unset"]
    with start_action(action_type="a"):
        thread = threading.Thread(target=lambda: found.append(current_action()))
        thread.start()
        thread.join()

    assert found == ["unset", None]


def test_what_made_actions_follow_asyncio_does_nothing_any_more():
    """It says so at the caller's line, and the current action stays what it is."""
    with start_action(action_type="a") as action:
        with pytest.warns(DeprecationWarning, match="delete the call") as warned:
            result = use_asyncio_context()

        assert result is None
        assert current_action() is action
    assert [each.filename for each in warned] == [__file__]
