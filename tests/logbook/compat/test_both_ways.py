"""Both bridges at once: no record goes round, and none is lost."""

import asyncio
import logging
import logging.handlers
import pickle
import queue
import subprocess
import sys
import textwrap
import threading

import pytest

from sprockets.logbook import Handler, Logger, LogRecord, TestHandler
from sprockets.logbook.compat import (
    LoggingHandler,
    RedirectLoggingHandler,
    redirected_logging,
)

stdlib = logging.getLogger("old.system")
log = Logger("new.system")


class Keeping(logging.Handler):
    """Keeps what it gets."""

    def __init__(self, *args):
        super().__init__(*args)
        self.kept = []

    def emit(self, record):
        self.kept.append(record.getMessage())


@pytest.fixture(name="keeping")
def _keeping():
    return Keeping()


@pytest.mark.rule("CG-8")
@pytest.mark.parametrize("bubble", [True, False])
def test_one_record_each_way(keeping, bubble):
    """Whichever side logs, each side has it once; if the bridge does not bubble, one side only."""
    with TestHandler() as below, redirected_logging(), LoggingHandler(bubble=bubble):
        logging.getLogger().addHandler(keeping)
        stdlib.warning("old")
        log.warning("new")

    assert keeping.kept == ["old", "new"]
    assert [record.message for record in below.records] == (["old", "new"] if bubble else ["old"])
    below.close()


@pytest.mark.rule("CG-8")
@pytest.mark.parametrize("bubble", [True, False])
def test_nothing_is_lost_where_only_the_bridges_are(bubble):
    """A record that stdlib logging would just send back stays, once, with the next handler."""
    with TestHandler() as below, redirected_logging(), LoggingHandler(bubble=bubble):
        stdlib.warning("old")
        log.warning("new")

    assert [record.message for record in below.records] == ["old", "new"]
    below.close()


@pytest.mark.rule("CG-8")
def test_a_record_from_stdlib_goes_on_to_the_next_handler():
    """Dropped at the bridge is not consumed by it, not even by one that is called directly."""
    handler = LoggingHandler()
    record = RedirectLoggingHandler().convert_record(logging.makeLogRecord({"levelno": 20}))
    seen = []

    class Looking(Handler):
        def emit(self, record):
            seen.append((handler.handle(record), handler.emit(record)))

    with Looking(), redirected_logging():
        stdlib.info("x")

    assert seen == [(False, None)]
    record.close()


@pytest.mark.rule("CG-8")
def test_a_queue_between_makes_no_circle(keeping):
    """The mark is on the record, so the thread that reads the queue knows as well."""
    records = queue.SimpleQueue()
    logger = logging.getLogger("queued")
    logger.propagate = False
    logger.addHandler(logging.handlers.QueueHandler(records))
    listener = logging.handlers.QueueListener(records, keeping, RedirectLoggingHandler())
    with (
        TestHandler().applicationbound() as below,
        LoggingHandler("queued", bubble=True).applicationbound(),
    ):
        listener.start()
        log.warning("new")
        logger.warning("old")
        listener.stop()
    logger.handlers.clear()
    logger.propagate = True

    assert keeping.kept == ["new", "old"]
    assert [record.message for record in below.records] == ["new", "old"]
    below.close()


@pytest.mark.rule("CG-8")
def test_a_thread_between_makes_no_circle(keeping):
    """A handler that hands records to a thread of its own hands on where they came from."""

    class Threaded(Handler):
        def __init__(self, handler):
            super().__init__()
            self.handler = handler

        def emit(self, record):
            record.pull_information()
            record.keep_open = True
            thread = threading.Thread(target=self.handler.handle, args=(record,))
            thread.start()
            thread.join()

    with redirected_logging(), Threaded(LoggingHandler()).applicationbound():
        logging.getLogger().addHandler(keeping)
        stdlib.warning("old")
        log.warning("new")

    assert keeping.kept == ["old", "new"]


@pytest.mark.rule("CG-8")
def test_subclasses_that_convert_by_themselves_make_no_circle(keeping):
    """The bridges mark what they send, whoever made it."""

    class In(RedirectLoggingHandler):
        def convert_record(self, old_record):
            return LogRecord(old_record.name, 13, old_record.getMessage())

    class Out(LoggingHandler):
        def convert_record(self, old_record):
            return logging.LogRecord("x", 30, "f.py", 1, old_record.message, (), None)

    logger = logging.Logger("both")
    logger.addHandler(In())
    logger.addHandler(keeping)
    with TestHandler() as below, Out(logger, bubble=True):
        logger.warning("old")
        log.warning("new")

    assert keeping.kept == ["old", "new"]
    assert [record.message for record in below.records] == ["old", "new"]
    below.close()


@pytest.mark.rule("CG-8", "CL-19")
def test_a_handler_s_own_record_is_not_taken_for_the_one_on_its_way(keeping):
    """While one record crosses, what a library logs about that crosses as well."""

    class Chatting(logging.Handler):
        def emit(self, record):
            if record.name != "library":
                logging.getLogger("library").warning("connecting")

    with TestHandler() as below, redirected_logging(), LoggingHandler(bubble=True):
        logging.getLogger().addHandler(Chatting())
        logging.getLogger().addHandler(keeping)
        log.warning("new")

    assert keeping.kept == ["connecting", "new"]
    assert [record.message for record in below.records] == ["connecting", "new"]
    below.close()


@pytest.mark.rule("CG-8")
def test_what_another_process_sends_is_news_here():
    """A record that crossed a bridge there may cross one here: the mark is good in its process."""
    script = """
        import logging, pickle, sys
        from sprockets.logbook import Logger, TestHandler
        from sprockets.logbook.compat import LoggingHandler, redirected_logging

        class Keeping(logging.Handler):
            def emit(self, record):
                kept.append(record.__dict__)

        kept = []
        logger = logging.Logger("there")
        logger.addHandler(Keeping())
        with LoggingHandler(logger):
            Logger("there").warning("out")
        with TestHandler() as handler, redirected_logging():
            logging.getLogger("there").warning("in")
        sys.stdout.buffer.write(pickle.dumps((kept, handler.records)))
    """
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(script)],
        capture_output=True,
        check=True,
        timeout=60,
    )
    (went_out,), (came_in,) = pickle.loads(done.stdout)
    keeping, logger = Keeping(), logging.Logger("here")
    logger.addHandler(keeping)

    with TestHandler() as handler:
        RedirectLoggingHandler().handle(logging.makeLogRecord(went_out))
    assert LoggingHandler(logger).handle(came_in)

    assert [record.message for record in handler.records] == ["out"]
    assert keeping.kept == ["in"]
    handler.close()


@pytest.mark.rule("CG-8")
def test_tasks_and_their_threads_make_no_circle(keeping):
    """With a hundred tasks at once, each record is on each side once."""

    async def work(number):
        stdlib.warning("old %d", number)
        await asyncio.sleep(0)
        log.warning("new {}", number)
        await asyncio.to_thread(stdlib.warning, "thread %d", number)

    async def main():
        await asyncio.gather(*map(work, range(100)))

    with TestHandler() as below, redirected_logging(), LoggingHandler(bubble=True):
        logging.getLogger().addHandler(keeping)
        asyncio.run(main())

    expected = sorted(
        f"{kind} {number}" for kind in ("old", "new", "thread") for number in range(100)
    )
    # asyncio itself says a word at level DEBUG.
    assert sorted(text for text in keeping.kept if "selector" not in text) == expected
    assert sorted(r.message for r in below.records if r.channel != "asyncio") == expected
    below.close()


@pytest.mark.rule("CG-8")
def test_a_target_of_its_own_gets_the_records(keeping):
    """A logger that does not propagate leads nowhere else, whatever the root does."""
    logger = logging.getLogger("apart")
    logger.propagate = False
    logger.addHandler(keeping)
    with TestHandler() as below, redirected_logging(), LoggingHandler(logger):
        log.warning("new")
    logger.handlers.clear()
    logger.propagate = True

    assert (keeping.kept, below.records) == (["new"], [])
