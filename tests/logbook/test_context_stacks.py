"""The stacks: binding, order, unbinding, and what caches may not do."""

import asyncio
import gc
import threading
import weakref
from contextvars import copy_context

import pytest

from sprockets.logbook import (
    Flags,
    Handler,
    Logger,
    NestedSetup,
    NullHandler,
    Processor,
    TestHandler,
    _context,
)
from sprockets.logbook.base import ContextObject, ContextStackManager, StackedObject

log = Logger("stacks")


def bound(kind=Handler):
    return list(kind.stack_manager.iter_context_objects())


@pytest.mark.rule("ST-1")
@pytest.mark.parametrize(
    "name", ["push_context", "pop_context", "push_application", "pop_application"]
)
def test_a_bare_stacked_object_cannot_be_bound(name):
    """The base class says that it does not know how it is bound."""
    with pytest.raises(NotImplementedError, match="StackedObject"):
        getattr(StackedObject(), name)()


@pytest.mark.rule("ST-2")
@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_with_binds_yields_and_unbinds_and_swallows_nothing(error, make_handler):
    """``with`` gives back the object, and lets every exception pass after unbinding."""
    handler = make_handler()
    before = bound()

    with pytest.raises(error), handler as target:
        assert target is handler
        assert bound()[0] is handler
        raise error

    assert bound() == before


@pytest.mark.rule("ST-3")
def test_applicationbound_binds_to_the_application_and_yields_the_object(make_handler):
    """Bound to the application, a handler is seen by other threads too."""
    handler = make_handler()

    with handler.applicationbound() as target:
        assert target is handler
        thread = threading.Thread(target=log.info, args=("from afar",))
        thread.start()
        thread.join()

    assert handler.messages == ["from afar"]


@pytest.mark.rule("ST-4", "D-04", "P-D3")
@pytest.mark.parametrize("name", ["threadbound", "greenletbound", "contextbound"])
def test_the_other_names_of_with_yield_the_object_and_take_no_arguments(name, make_handler):
    """``threadbound()`` and its like are ``with`` under older names."""
    handler = make_handler()

    with getattr(handler, name)() as target:
        assert target is handler
        assert bound()[0] is handler

    with pytest.raises(TypeError):
        getattr(handler, name)(bubble=True)


@pytest.mark.rule("ST-5")
def test_threadbound_runs_the_exit_of_the_class_and_applicationbound_does_not():
    """A handler that closes at the end of ``with`` does so for every context form, and only those."""
    closed = []

    class Closing(Handler):
        def __exit__(self, *exc_info):
            super().__exit__(*exc_info)
            closed.append(1)

    handler = Closing()

    with handler.applicationbound():
        pass
    assert closed == []
    with handler.threadbound():
        pass
    assert closed == [1]


@pytest.mark.rule("ST-6", "ST-11", "P-F4", "P-S1", "P-D8")
def test_the_newest_binding_comes_first_whichever_stack_it_is_on(make_handler):
    """Context, application, context: what was bound last is asked first; objects may repeat."""
    a, b, c = make_handler(), make_handler(), make_handler()
    rest = bound()

    a.push_context()
    b.push_application()
    c.push_context()
    a.push_context()

    assert bound() == [a, c, b, a, *rest]
    a.pop_context()
    c.pop_context()
    b.pop_application()
    a.pop_context()


@pytest.mark.rule("ST-7")
def test_popping_an_empty_stack_is_a_misuse_that_says_so(make_handler):
    """The error names the stack that is empty."""
    manager = ContextStackManager()

    with pytest.raises(AssertionError, match="^no objects on stack$"):
        manager.pop_context()
    with pytest.raises(AssertionError, match="^no objects on application stack$"):
        manager.pop_application()
    with pytest.raises(AssertionError, match="^no objects on stack$"):
        copy_context().run(make_handler().pop_context)


@pytest.mark.rule("ST-8", "ST-9", "P-C2", "P-F16", "D-09")
@pytest.mark.parametrize("where", ["context", "application"])
def test_popping_what_is_not_on_top_changes_nothing(where, make_handler):
    """The wrong object stays where it is; upstream removed it before it complained."""
    below, above = make_handler(), make_handler()
    push, pop = f"push_{where}", f"pop_{where}"
    getattr(below, push)()
    getattr(above, push)()
    before = bound()

    with pytest.raises(AssertionError, match="^popped unexpected object$"):
        getattr(below, pop)()

    assert bound() == before
    getattr(above, pop)()
    getattr(below, pop)()


@pytest.mark.rule("ST-10")
def test_a_manager_pops_whatever_is_on_top():
    """The managers themselves return the top, and ask nothing."""
    manager = ContextStackManager()
    manager.push_context("first")
    manager.push_thread("second")
    manager.push_application("third")

    assert list(manager.iter_context_objects()) == ["third", "second", "first"]
    assert manager.pop_application() == "third"
    assert manager.pop_thread() == "second"
    assert manager.pop_context() == "first"


@pytest.mark.rule("ST-12")
def test_iterating_goes_over_a_snapshot(make_handler):
    """What is bound meanwhile does not appear in an iteration under way."""
    first, second = make_handler(), make_handler()

    with first:
        iterator = Handler.stack_manager.iter_context_objects()
        with second:
            assert next(iterator) is first
            assert second not in list(iterator)


@pytest.mark.rule("ST-13")
def test_bound_objects_need_neither_hash_nor_order():
    """A handler class that compares by value and cannot be hashed works like any other."""

    class Unhashable(Handler):
        __hash__ = None

        def __eq__(self, other):
            raise AssertionError("nobody may compare handlers")

        def emit(self, record):
            seen.append(record.message)

    seen = []

    with Unhashable(bubble=True), Unhashable(bubble=True), NullHandler():
        log.info("silenced")
    with NullHandler(), Unhashable(bubble=True), Unhashable():
        log.info("heard")
        log.info("again")

    assert seen == ["heard", "again"]


@pytest.mark.rule("ST-14", "P-P5")
def test_a_change_of_the_application_is_seen_by_the_next_call_of_every_thread(make_handler):
    """A thread that has logged before sees a handler that another one bound to the application."""
    early, late = make_handler(), make_handler()
    ready, go = threading.Event(), threading.Event()

    def worker():
        with early:
            log.info("one")
            ready.set()
            go.wait(5)
            log.info("two")

    thread = threading.Thread(target=worker)
    thread.start()
    ready.wait(5)
    with late.applicationbound():
        go.set()
        thread.join()

    assert early.messages == ["one"]
    assert late.messages == ["two"]


@pytest.mark.rule("ST-14")
def test_nothing_keeps_a_popped_handler_alive(make_handler):
    """After the last binding and the last reference are gone, so is the handler."""
    handler = make_handler()
    reference = weakref.ref(handler)
    with handler, Processor(), handler.applicationbound():
        log.info("x")
    with handler.applicationbound():
        log.info("x")

    del handler
    gc.collect()

    assert reference() is None


@pytest.mark.rule("ST-14")
def test_ten_thousand_contexts_that_logged_leave_nothing_behind(make_handler):
    """Short-lived contexts take what they cached along."""

    def short_life():
        handler = make_handler()
        references.append(weakref.ref(handler))
        handler.push_context()
        log.info("x")

    references = []
    for _ in range(10_000):
        copy_context().run(short_life)
    gc.collect()

    assert not any(reference() for reference in references)
    assert len(_context._wants) <= 16


@pytest.mark.rule("ST-14")
def test_a_stack_that_stays_is_not_merged_again(monkeypatch, make_handler):
    """Repeated calls find what the first one worked out."""
    from sprockets.logbook import _routes

    with make_handler(bubble=True), make_handler(), Processor():
        log.info("x")
        monkeypatch.setattr(_routes, "merged", None)
        log.info("x")
        log.info("x")


@pytest.mark.rule("ST-15")
def test_the_applications_stack_is_whole_under_threads():
    """Eight threads push and pop managers' objects; nothing gets lost, nothing stays."""
    manager = ContextStackManager()

    def work():
        for number in range(500):
            manager.push_application(number)
        for _ in range(500):
            manager.pop_application()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(manager.iter_context_objects()) == []


@pytest.mark.rule("ST-16", "D-04")
def test_every_way_of_binding_goes_through_the_objects_own_methods():
    """One override of push and pop governs ``with``, the aliases, and ``applicationbound``."""
    calls = []

    class Noting(ContextObject):
        stack_manager = ContextStackManager()

        def push_context(self):
            calls.append("push")
            super().push_context()

        def pop_context(self):
            calls.append("pop")
            super().pop_context()

        def push_application(self):
            calls.append("push application")

        def pop_application(self):
            calls.append("pop application")

    noting = Noting()

    with noting:
        pass
    noting.push_thread()
    noting.pop_thread()
    noting.push_greenlet()
    noting.pop_greenlet()
    with noting.threadbound():
        pass
    with noting.applicationbound():
        pass

    assert calls == ["push", "pop"] * 4 + ["push application", "pop application"]


def test_a_context_object_without_a_stack_says_so():
    """Who derives from it and forgets the manager is told."""
    with pytest.raises(AssertionError, match="ContextObject has no stack_manager"):
        ContextObject().push_context()


def test_stacks_of_different_kinds_may_be_popped_in_any_order(make_handler):
    """A processor bound before a handler can be unbound before it, and the handler stays."""
    processor, handler = Processor(lambda record: record.extra.update(p=1)), TestHandler()
    processor.push_context()
    handler.push_context()
    processor.pop_context()
    log.info("without")
    processor.push_context()
    log.info("with")
    handler.pop_context()
    processor.pop_context()

    assert [record.extra["p"] for record in handler.records] == ["", 1]


# -- several as one


@pytest.mark.rule("NS-1", "NS-2", "P-S2", "P-C6")
@pytest.mark.parametrize("where", ["context", "application"])
def test_a_nested_setup_binds_first_to_last(where, make_handler):
    """The last listed handler has the most to say; kinds and nested set-ups mix."""
    low, middle, high = make_handler(), make_handler(), make_handler()
    flags, processor = Flags(errors="silent"), Processor()
    setup = NestedSetup([low, flags, NestedSetup([middle, processor]), high])
    rest = bound(), bound(Flags), bound(Processor)

    getattr(setup, f"push_{where}")()

    assert bound() == [high, middle, low, *rest[0]]
    assert bound(Flags) == [flags, *rest[1]]
    assert bound(Processor) == [processor, *rest[2]]
    getattr(setup, f"pop_{where}")()
    assert (bound(), bound(Flags), bound(Processor)) == rest


@pytest.mark.rule("NS-3")
def test_a_nested_setup_yields_itself_and_does_not_run_its_members_exits(tmp_path):
    """A file handler inside stays open when the set-up is left."""
    from sprockets.logbook import FileHandler

    handler = FileHandler(tmp_path / "log")
    setup = NestedSetup([handler])

    with setup as target:
        assert target is setup
    assert handler.stream is not None
    with setup.applicationbound() as target:
        assert target is setup
    assert handler.stream is not None
    handler.close()


@pytest.mark.rule("NS-4")
def test_an_empty_setup_does_nothing_and_a_given_list_is_copied(make_handler):
    """``NestedSetup()`` is valid; changing the list afterwards changes nothing."""
    objects = [make_handler()]
    setup = NestedSetup(objects)
    objects.clear()

    assert len(setup.objects) == 1
    with NestedSetup() as empty:
        assert empty.objects == []


@pytest.mark.rule("NS-5")
@pytest.mark.parametrize("where", ["context", "application"])
def test_a_setup_that_cannot_be_bound_whole_is_not_bound_at_all(where, make_handler):
    """If one push fails, those before it are undone, and the error comes out."""
    before = bound()
    setup = NestedSetup([make_handler(), make_handler(), StackedObject()])

    with pytest.raises(NotImplementedError):
        getattr(setup, f"push_{where}")()

    assert bound() == before


# -- contexts


@pytest.mark.rule("CC-1", "P-D7", "TY-2")
def test_a_thread_begins_with_nothing_but_the_applications(make_handler):
    """What is bound to a context is not bound in a thread that it starts."""
    here, everywhere = make_handler(), make_handler()

    with everywhere.applicationbound(), here:
        thread = threading.Thread(target=log.info, args=("in a thread",))
        thread.start()
        thread.join()
        log.info("here")

    assert everywhere.messages == ["in a thread"]
    assert here.messages == ["here"]


@pytest.mark.rule("CC-2")
def test_a_copied_context_carries_the_stacks(make_handler):
    """Run in a copy of the context, a thread logs where its starter does."""
    handler = make_handler()

    with handler:
        context = copy_context()
    thread = threading.Thread(target=context.run, args=(log.info, "carried"))
    thread.start()
    thread.join()

    assert handler.messages == ["carried"]


@pytest.mark.rule("CC-3", "CC-4")
def test_tasks_copy_the_stacks_and_coroutines_share_them(make_handler):
    """A task's bindings are its own; a coroutine that is awaited binds for its caller."""
    inherited, own, shared = make_handler(), make_handler(), make_handler()

    async def task():
        own.push_context()
        log.info("task")

    async def coroutine():
        shared.push_context()

    async def main():
        with inherited:
            await asyncio.create_task(task())
            log.info("creator")
            await coroutine()
            log.info("caller")
            shared.pop_context()

    asyncio.run(main())

    assert own.messages == ["task"]
    assert inherited.messages == ["creator"]
    assert shared.messages == ["caller"]


@pytest.mark.rule("CC-5")
def test_to_thread_carries_the_context_and_run_in_executor_does_not(make_handler):
    """``asyncio.to_thread`` logs where its caller does; a plain executor does not."""
    here, everywhere = make_handler(), make_handler()

    async def main():
        with here:
            await asyncio.to_thread(log.info, "to_thread")
            await asyncio.get_running_loop().run_in_executor(None, log.info, "executor")

    with everywhere.applicationbound():
        asyncio.run(main())

    assert here.messages == ["to_thread"]
    assert everywhere.messages == ["executor"]


@pytest.mark.rule("CC-6")
def test_a_task_that_outlives_the_block_goes_on_logging_to_its_handler(make_handler):
    """A task started inside the block keeps the binding it was born with."""
    handler = make_handler()

    async def late(left):
        await left.wait()
        log.info("late")

    async def main():
        left = asyncio.Event()
        with handler:
            task = asyncio.create_task(late(left))
        left.set()
        await task

    asyncio.run(main())

    assert handler.messages == ["late"]


@pytest.mark.rule("CC-7")
def test_tasks_that_take_turns_never_see_each_others_handler(make_handler):
    """A hundred rounds of entering, yielding and logging: all records in the right place."""
    handlers = [make_handler(), make_handler()]

    async def work(number):
        for _ in range(100):
            with handlers[number]:
                await asyncio.sleep(0)
                log.info("{}", number)
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(work(0), work(1))

    asyncio.run(main())

    assert handlers[0].messages == ["0"] * 100
    assert handlers[1].messages == ["1"] * 100


@pytest.mark.rule("CC-8")
def test_a_pop_in_a_foreign_context_is_refused(make_handler):
    """What was pushed elsewhere is not there to be popped."""
    handler = make_handler()
    foreign = copy_context()

    with handler, pytest.raises(AssertionError, match="no objects on stack"):
        foreign.run(handler.pop_context)


@pytest.mark.rule("CC-9", "TY-2")
def test_neither_greenlet_nor_gevent_is_imported():
    """Isolation follows from context variables; no library for it is loaded."""
    import subprocess
    import sys

    script = "import sys, sprockets.logbook; print({'greenlet', 'gevent'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "set()"
