"""The logger that keeps its messages: what it keeps, what it checks, from how many threads."""

import gc
import json
import os
import signal
import sys
import threading
import traceback

import pytest

from sprockets.eliot import (
    Field,
    MemoryLogger,
    MessageType,
    ValidationError,
    add_destinations,
    fields,
    log_message,
    remove_destination,
    start_action,
    write_traceback,
)
from sprockets.eliot.testing import UnflushedTracebacks, check_for_errors, swap_logger

PACKED = MessageType("orders:packed", fields(boxes=int))
WRITES = 10_000 if os.environ.get("SPROCKETS_SOAK") == "1" else 1_000


@pytest.fixture(name="logger")
def _logger():
    return MemoryLogger()


def write_raised(logger, error):
    try:
        raise error
    except type(error):
        write_traceback(logger)


# -- what is kept


@pytest.mark.rule("E19.1")
def test_messages_are_kept_with_their_serializers(logger):
    """The dicts themselves, in order; none goes anywhere else."""
    elsewhere = []
    destination = elsewhere.append
    add_destinations(destination)
    elsewhere.clear()
    first, second = {"message_type": "x"}, {"message_type": "orders:packed", "boxes": 1}

    logger.write(first)
    logger.write(second, PACKED._serializer)
    remove_destination(destination)

    assert logger.messages == [first, second]
    assert logger.messages[0] is first
    assert logger.serializers == [None, PACKED._serializer]
    assert elsewhere == []


@pytest.mark.rule("E19.1")
def test_a_list_taken_before_has_what_comes_after(logger):
    """It is the logger's own; nothing needs to be asked for again."""
    messages = logger.messages

    logger.write({"message_type": "x"})

    assert len(messages) == 1


@pytest.mark.rule("E19.1")
def test_threads_keep_messages_and_serializers_together():
    """Ten of them write at once: every message is there once, beside its own serializer."""
    logger = MemoryLogger()
    start = threading.Barrier(10)
    interval = sys.getswitchinterval()

    class Serializer:
        def validate(self, message):
            pass

        serialize = validate

    def work(number):
        serializer = Serializer()
        serializer.number = number
        start.wait()
        for n in range(WRITES):
            logger.write({"thread": number, "n": n}, serializer)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    pairs = list(zip(logger.messages, logger.serializers, strict=True))
    assert all(message["thread"] == serializer.number for message, serializer in pairs)
    for number in range(10):
        assert [m["n"] for m in logger.messages if m["thread"] == number] == list(range(WRITES))


class Interrupted(list):
    """Does something in the middle of keeping the first message."""

    def __init__(self, do):
        super().__init__()
        self.do = do

    def append(self, message):
        super().append(message)
        if len(self) == 1:
            self.do()


@pytest.mark.rule("E19.1")
def test_what_logs_while_a_message_is_kept_is_kept_after_it(logger):
    """A signal handler or a finalizer interrupts the very thread that writes."""
    logger.messages = Interrupted(lambda: logger.write({"message_type": "inner"}))

    logger.write({"message_type": "orders:packed", "boxes": 1}, PACKED._serializer)

    assert [m["message_type"] for m in logger.messages] == ["orders:packed", "inner"]
    assert logger.serializers == [PACKED._serializer, None]


@pytest.mark.rule("E19.1")
def test_a_message_is_there_when_write_returns(logger):
    """Also if another thread was in the middle of keeping one."""
    is_keeping, go_on, seen = threading.Event(), threading.Event(), []

    def wait():
        is_keeping.set()
        go_on.wait(30)

    def write():
        message = {"message_type": "mine"}
        logger.write(message)
        seen.append(message in logger.messages)

    logger.messages = Interrupted(wait)
    other = threading.Thread(target=logger.write, args=({"message_type": "other"},))
    mine = threading.Thread(target=write)
    other.start()
    is_keeping.wait(30)
    mine.start()
    mine.join(0.1)  # it has to wait; if it did not, it would be back by now
    go_on.set()
    other.join()
    mine.join()

    assert seen == [True]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer of the system")
def test_signal_handlers_may_log_all_the_time():
    """Nothing is lost, nothing waits for itself."""
    logger = MemoryLogger()
    handled = []

    def handle(number, frame):
        handled.append(number)
        logger.write({"message_type": "signal"})

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        count = 0
        while len(handled) < 50:
            logger.write({"message_type": "main"})
            count += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    kinds = [m["message_type"] for m in logger.messages]
    assert (kinds.count("main"), kinds.count("signal")) == (count, len(handled))
    assert len(logger.serializers) == len(kinds)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_finds_no_lock_held():
    """Although other threads were writing when it was forked."""
    logger = MemoryLogger()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            logger.write({"message_type": "thread"})

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    statuses = []
    try:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                logger.write({"message_type": "child"})
                os._exit(0 if logger.messages[-1]["message_type"] == "child" else 1)
            statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            logger.reset()
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert statuses == [0] * 20


@pytest.mark.rule("E19.5")
def test_reset_forgets_everything(logger):
    """Invalid messages and tracebacks too."""
    logger.write({"message_type": "x", 5: 6}, PACKED._serializer)
    write_raised(logger, ValueError())

    logger.reset()

    assert (logger.messages, logger.serializers, logger.tracebackMessages) == ([], [], [])
    assert check_for_errors(logger) is None


def test_a_logger_that_is_not_used_any_more_is_gone():
    """Nobody else holds it, although it is told of forks."""
    import weakref

    logger = MemoryLogger()
    logger.write({"message_type": "x"})
    reference = weakref.ref(logger)

    del logger
    gc.collect()

    assert reference() is None


# -- what is checked


@pytest.mark.rule("E19.1", "E19.2")
@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        (
            {"message_type": "orders:packed", "boxes": "1"},
            ValidationError,
            "field 'boxes' is of type int, not '1'",
        ),
        ({"message_type": "orders:packed"}, ValidationError, "field 'boxes' is missing"),
        ({5: 6}, TypeError, "the name of a field is text, not 5"),
        ({b"\xff": 6}, TypeError, r"the name of a field is text, not b'\\xff'"),
    ],
)
def test_validate_raises_what_was_wrong_and_where_it_was_logged(logger, message, error, text):
    """With the class of the original; and names the file and the line of the call."""
    serializer = PACKED._serializer if "message_type" in message else None

    logger.write(message, serializer)  # here

    with pytest.raises(error, match=text) as caught:
        logger.validate()
    assert type(caught.value) is error
    told = str(caught.value)
    assert f'File "{__file__}"' in told
    assert "logger.write(message, serializer)  # here" in told
    assert "eliot/_memory_logger.py" not in told
    assert "_pytest" not in told
    assert type(caught.value.__cause__) is error


@pytest.mark.rule("E19.1", "E19.2")
def test_a_message_that_json_cannot_express_is_a_type_error(logger):
    """The reason is told, and is the cause."""
    message = {"message_type": "x"}
    message["itself"] = message

    logger.write(message)

    with pytest.raises(TypeError, match="cannot be written as JSON") as caught:
        logger.validate()
    assert isinstance(caught.value.__cause__.__cause__, ValueError)


@pytest.mark.rule("E19.1")
def test_names_may_be_utf8_bytes(logger):
    """As long as they are."""
    logger.write({"café".encode(): 1, "message_type": "x"})

    assert logger.validate() is None
    assert "café".encode() in logger.messages[0]


@pytest.mark.rule("E19.2")
def test_all_that_is_wrong_is_told(logger):
    """The class is that of the first; each with its call."""

    def first():
        logger.write({"message_type": "orders:packed"}, PACKED._serializer)

    def second():
        logger.write({5: 6})

    first()
    logger.write({"message_type": "good"})
    second()

    with pytest.raises(ValidationError) as caught:
        logger.validate()
    told = str(caught.value)
    assert told.index("field 'boxes' is missing") < told.index("is text, not 5")
    assert ", in first\n" in told
    assert ", in second\n" in told
    assert "good" not in told


@pytest.mark.rule("E19.2")
def test_what_a_serializer_raised_is_raised_with_a_note(logger):
    """It is the very same exception; the note tells the rest, once."""

    class Refused(Exception):
        def __init__(self, a, b):
            super().__init__(a, b)

    def refuse(value):
        raise Refused(value, 2)

    logger.write({"message_type": "x", "a": 1}, MessageType("x", [Field("a", refuse)])._serializer)

    for _ in range(2):
        with pytest.raises(Refused) as caught:
            logger.validate()
        assert caught.value.args == (1, 2)
        told = "".join(traceback.format_exception(caught.value))
        assert told.count("logged here:") == 1
        assert "test_what_a_serializer_raised_is_raised_with_a_note" in told


@pytest.mark.rule("E19.2")
def test_the_call_that_is_told_is_the_users(logger):
    """Not what is between it and the logger."""
    previous = swap_logger(logger)
    try:
        with start_action(action_type="a", message_type="b"):  # the culprit
            pass
    finally:
        swap_logger(previous)

    with pytest.raises(ValidationError) as caught:
        logger.validate()
    assert str(caught.value).splitlines()[-1].strip().endswith("# the culprit")


@pytest.mark.rule("E19.3")
def test_validating_changes_nothing(logger):
    """Messages stay as they were logged, and may be serialized afterwards."""
    kind = MessageType("x", [Field("path", lambda value: f"<{value}>")])
    logger.write({"message_type": "x", "path": "/tmp"}, kind._serializer)

    for _ in range(2):
        assert logger.validate() is None
        assert logger.messages == [{"message_type": "x", "path": "/tmp"}]
        assert logger.serialize() == [{"message_type": "x", "path": "</tmp>"}]


@pytest.mark.rule("E19.4")
def test_serialize_returns_copies_with_and_without_serializer(logger):
    """Those without are as they are."""
    logger.write({"message_type": "plain", "a": [1]})
    logger.write({"message_type": "x", "n": "5"}, MessageType("x", [Field("n", int)])._serializer)

    written = logger.serialize()

    assert written == [{"message_type": "plain", "a": [1]}, {"message_type": "x", "n": 5}]
    assert written[0] is not logger.messages[0]
    written[0]["b"] = 1
    assert "b" not in logger.messages[0]


@pytest.mark.rule("E19.4", "E9.9")
def test_serialize_writes_a_traceback_as_text(logger):
    """Which is kept with the exception and its class."""
    error = KeyError("k")
    write_raised(logger, error)

    (kept,), (written,) = logger.messages, logger.serialize()

    assert (kept["reason"], kept["exception"]) == (error, KeyError)
    assert (written["reason"], written["exception"]) == ("'k'", "builtins.KeyError")
    assert json.dumps(written)


@pytest.mark.rule("E7.7")
def test_a_message_that_is_of_both_kinds_is_invalid(logger):
    """No reader of the tree could tell what it is."""
    previous = swap_logger(logger)
    try:
        log_message("m", action_type="a")
    finally:
        swap_logger(previous)

    with pytest.raises(ValidationError, match="has 'action_type' or 'message_type', not both"):
        logger.validate()


@pytest.mark.rule("E7.7")
def test_so_is_an_action_that_is_given_a_message_type(logger):
    """Its start; the end has no such field."""
    with start_action(logger, "a", message_type="m"):
        pass

    with pytest.raises(ValidationError, match="not both") as caught:
        logger.validate()
    assert "'started'" in str(caught.value)
    assert "'succeeded'" not in str(caught.value)


def test_what_is_checked_is_the_moment_of_logging(logger):
    """What becomes of a value later does not count."""
    boxes = [1]
    logger.write({"message_type": "x", "boxes": boxes})

    boxes.append(boxes)

    assert logger.validate() is None


def test_writing_never_raises(logger):
    """Whatever the message is like."""

    class Evil:
        def __repr__(self):
            raise ZeroDivisionError

        __str__ = __repr__

    class EvilSerializer:
        def validate(self, message):
            message.clear()
            raise RecursionError

        serialize = validate

    logger.write({Evil(): 1})
    logger.write({"a": Evil()}, EvilSerializer())

    assert logger.messages[1].keys() == {"a"}
    with pytest.raises(TypeError, match="field is text"):
        logger.validate()


# -- how JSON is made


def test_json_default_is_asked(logger):
    """For what JSON has no form for; what it raises makes a message invalid."""

    def strict(value):
        raise TypeError(f"no form for {value!r}")

    strict_logger = MemoryLogger(json_default=strict)
    for each in (logger, strict_logger):
        each.write({"message_type": "x", "a": object})

    assert logger.validate() is None
    with pytest.raises(TypeError, match="no form for <class 'object'>"):
        strict_logger.validate()


def test_an_encoder_is_deprecated_but_used():
    """The warning points to the caller."""

    class Encoder(json.JSONEncoder):
        def default(self, o):
            return "known" if o is object else super().default(o)

    with pytest.warns(DeprecationWarning, match="use json_default") as caught:
        logger = MemoryLogger(Encoder)
    logger.write({"message_type": "x", "a": object})
    assert logger.validate() is None
    logger.write({"message_type": "x", "a": type})

    assert caught[0].filename == __file__
    with pytest.raises(TypeError, match="not JSON serializable"):
        logger.validate()
    with pytest.raises(RuntimeError, match="json_default or encoder, not both"):
        MemoryLogger(encoder=Encoder, json_default=str)


# -- tracebacks


@pytest.mark.rule("E19.5", "E9.9")
def test_tracebacks_are_flushed_by_the_class_of_the_exception(logger):
    """Those of subclasses too; they stay among the messages."""
    errors = [ValueError("a"), KeyError("b"), IndexError("c")]
    for error in errors:
        write_raised(logger, error)

    flushed = logger.flush_tracebacks(LookupError)

    assert [message["reason"] for message in flushed] == errors[1:]
    assert [message["reason"] for message in logger.tracebackMessages] == errors[:1]
    assert len(logger.messages) == 3
    assert logger.flushTracebacks(LookupError) == []
    assert logger.flush_tracebacks(ValueError) == [logger.messages[0]]


@pytest.mark.rule("E19.6")
def test_tracebacks_that_nobody_expected_are_an_error(logger):
    """It shows them, and says how to expect them; that comes before what is invalid."""
    write_raised(logger, ValueError("surprise"))
    logger.write({5: 6})

    with pytest.raises(UnflushedTracebacks) as caught:
        check_for_errors(logger)
    assert "flush_tracebacks(TypeOfTheException)" in str(caught.value)
    assert "ValueError: surprise" in str(caught.value)
    assert ", in write_raised\n" in str(caught.value)
    assert caught.value.args == tuple(logger.messages[:1])

    logger.flush_tracebacks(ValueError)
    with pytest.raises(TypeError):
        check_for_errors(logger)


@pytest.mark.rule("E19.6")
def test_a_logger_without_faults_passes(logger):
    """Nothing is returned, nothing is changed."""
    PACKED_logger = logger
    previous = swap_logger(PACKED_logger)
    try:
        PACKED.log(boxes=1)
    finally:
        swap_logger(previous)

    assert check_for_errors(logger) is None
    assert len(logger.messages) == 1
