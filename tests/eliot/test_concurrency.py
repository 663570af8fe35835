"""Tasks, threads and nurseries: each has the action that it was begun in, and no other."""

import asyncio
import concurrent.futures
import threading
from functools import partial

import pytest
import trio

from sprockets.eliot import current_action, log_message, preserve_context, start_action, start_task


def story(messages):
    """Return type and level of each message."""
    return [
        (message.get("action_type", message.get("message_type")), message["task_level"])
        for message in messages
    ]


async def work(name, mine, other):
    """Log in an action, taking turns with another task."""
    with start_action(action_type=name) as action:
        for _ in range(3):
            await mine.wait()
            mine.clear()
            assert current_action() is action
            log_message(f"in {name}")
            other.set()


INTERLEAVED = [
    ("parent", [1]), ("a", [2, 1]), ("in a", [2, 2]), ("b", [3, 1]), ("in b", [3, 2]),
    ("in a", [2, 3]), ("in b", [3, 3]), ("in a", [2, 4]),
]  # fmt: skip


@pytest.mark.rule("E11.1")
@pytest.mark.parametrize("way", ["gather", "create_task", "TaskGroup"])
def test_asyncio_tasks_do_not_see_each_other(messages, way):
    """Two children of one parent take turns."""

    async def main():
        first, second = asyncio.Event(), asyncio.Event()
        first.set()
        works = partial(work, "a", first, second), partial(work, "b", second, first)
        with start_action(action_type="parent") as parent:
            if way == "gather":
                await asyncio.gather(*(each() for each in works))
            elif way == "create_task":
                for task in [asyncio.create_task(each()) for each in works]:
                    await task
            else:
                async with asyncio.TaskGroup() as group:
                    for each in works:
                        group.create_task(each())
            assert current_action() is parent

    asyncio.run(main())

    assert story(messages)[: len(INTERLEAVED)] == INTERLEAVED
    assert {tuple(level) for _, level in story(messages)[len(INTERLEAVED) :]} == {
        (2, 5), (3, 4), (3, 5), (4,),
    }  # fmt: skip


@pytest.mark.rule("E11.1")
def test_what_is_awaited_runs_in_the_callers_action(messages):
    """It is no task of its own."""

    async def inner():
        log_message("inner")
        await asyncio.sleep(0)
        return current_action()

    async def main():
        with start_action(action_type="a") as action:
            assert await inner() is action

    asyncio.run(main())

    assert story(messages)[1] == ("inner", [2])


@pytest.mark.rule("E11.1")
def test_thousands_of_tasks_at_once(messages):
    """Each numbers its own messages from 1 on."""

    async def main():
        async def one(number):
            with start_task(action_type="task", number=number) as action:
                for count in range(3):
                    await asyncio.sleep(0)
                    assert current_action() is action
                    log_message("m", number=number, count=count)

        await asyncio.gather(*(one(number) for number in range(2_000)))

    asyncio.run(main())

    tasks = {}
    for message in messages:
        tasks.setdefault(message["task_uuid"], []).append(message)
    assert len(tasks) == 2_000
    for each in tasks.values():
        assert [message["task_level"] for message in each] == [[1], [2], [3], [4], [5]]
        assert len({message.get("number") for message in each[:4]}) == 1


@pytest.mark.rule("E11.2")
def test_a_task_outlives_its_parent(messages):
    """It goes on under it; the captured levels."""

    async def main():
        go_on = asyncio.Event()

        async def late():
            with start_action(action_type="late"):
                await go_on.wait()
                log_message("m")

        with start_action(action_type="parent"):
            log_message("m")
            log_message("m")
            task = asyncio.create_task(late())
            await asyncio.sleep(0)
        go_on.set()
        await task

    asyncio.run(main())

    assert story(messages)[-3:] == [("parent", [5]), ("m", [4, 2]), ("late", [4, 3])]


@pytest.mark.rule("E11.3")
def test_trio_needs_nothing_special(messages):
    """The action is opened outside of the nursery, and ends after its children."""

    async def child(name, mine, other):
        with start_action(action_type=name) as action:
            for _ in range(3):
                await mine.acquire()
                assert current_action() is action
                log_message(f"in {name}")
                other.release()

    async def main():
        first, second = trio.Semaphore(1), trio.Semaphore(0)
        with start_action(action_type="parent") as parent:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child, "a", first, second)
                nursery.start_soon(child, "b", second, first)
            assert current_action() is parent
            assert await trio.to_thread.run_sync(current_action) is parent

    trio.run(main)

    told = story(messages)
    assert told[0] == ("parent", [1])
    assert told[-1] == ("parent", [4])
    for name in "ab":
        # Which one is first is trio's to choose.
        levels = [level for kind, level in told if kind in (name, f"in {name}")]
        assert [level[1] for level in levels] == [1, 2, 3, 4, 5]
        assert len({level[0] for level in levels}) == 1


@pytest.mark.rule("E11.1")
def test_to_thread_takes_the_action_along_and_an_executor_does_not(messages):
    """There, `preserve_context` does."""

    async def main():
        loop = asyncio.get_running_loop()
        with start_action(action_type="a") as action:
            assert await asyncio.to_thread(current_action) is action
            assert await loop.run_in_executor(None, current_action) is None
            await loop.run_in_executor(None, preserve_context(partial(log_message, "m")))

    asyncio.run(main())

    assert story(messages) == [
        ("a", [1]), ("eliot:remote_task", [2, 1]), ("m", [2, 2]), ("eliot:remote_task", [2, 3]),
        ("a", [3]),
    ]  # fmt: skip


@pytest.mark.rule("E11.4")
def test_an_action_around_a_yield_leaks(messages):
    """A limitation: a plain generator has no context of its own."""

    def generate():
        with start_action(action_type="generator"):
            yield

    with start_action(action_type="caller") as caller:
        generator = generate()
        next(generator)
        assert current_action() is not caller
        next(generator, None)
        assert current_action() is caller


@pytest.mark.rule("E3.4")
def test_threads_take_numbers_of_one_action(messages):
    """Eight, twenty thousand each: no number twice, none left out."""
    action = start_action(action_type="a")
    barrier = threading.Barrier(8)

    def take():
        barrier.wait()
        return [action.next_level()[0] for _ in range(20_000)]

    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        taken = [future.result() for future in [executor.submit(take) for _ in range(8)]]

    assert sorted(number for each in taken for number in each) == list(range(2, 160_002))


@pytest.mark.rule("E3.4", "E2.1")
def test_threads_log_in_one_action(messages):
    """Messages, children, ids: every level is there once."""
    barrier = threading.Barrier(8)

    def work(action):
        barrier.wait()
        with action.context():
            for _ in range(200):
                log_message("m")
                with start_action(action_type="child"):
                    log_message("m")
                action.serialize_task_id()

    with start_action(action_type="a") as action:
        threads = [threading.Thread(target=work, args=(action,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    levels = [tuple(message["task_level"]) for message in messages]
    assert len(set(levels)) == len(levels) == 2 + 8 * 200 * 4
    assert messages[-1]["task_level"] == [1 + 8 * 200 * 3 + 1]
