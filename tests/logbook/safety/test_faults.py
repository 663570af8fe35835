"""Whatever fails on a record's way, the application does not notice, unless it asked to."""

import io
import itertools
import json
import random

import pytest

from sprockets.logbook import (
    Flags,
    Handler,
    JSONFormatter,
    Logger,
    NestedSetup,
    Processor,
    StreamHandler,
    statistics,
)

log = Logger("faults")


class Fault(RuntimeError):
    """What is thrown."""


def throw(*args):
    raise Fault("thrown")


class EvilText:
    __str__ = __repr__ = __format__ = throw


class Emitting(Handler):
    emit = throw


class Hopeless(Handler):
    emit = throw
    handle_error = throw


def formatting(stream):
    handler = StreamHandler(stream)
    handler.formatter = throw
    return handler


PARTS = {
    "processor": lambda stream: [StreamHandler(stream), Processor(throw)],
    "filter": lambda stream: [StreamHandler(stream, filter=throw)],
    "formatter": lambda stream: [formatting(stream)],
    "should_handle": lambda stream: [
        type("Asking", (StreamHandler,), {"should_handle": throw})(stream)
    ],
    "emit": lambda stream: [Emitting()],
    "handle_error": lambda stream: [Hopeless()],
    "__str__": lambda stream: [StreamHandler(stream)],
    "write": lambda stream: [type("Writing", (StreamHandler,), {"write": throw})(stream)],
    "flush": lambda stream: [
        type("Flushing", (StreamHandler,), {"flush": throw, "close": lambda s: 0})(stream)
    ],
}


class Refusing(io.StringIO):
    """A standard error whose reader is gone."""

    def write(self, text):
        raise BrokenPipeError("nobody reads")


def standard_errors():
    closed = io.StringIO()
    closed.close()
    return {"fine": io.StringIO(), "closed": closed, "none": None, "broken": Refusing()}


CASES = list(itertools.product(PARTS, ["fine", "closed", "none", "broken"], ["print", "silent"]))


@pytest.mark.parametrize(("part", "stderr", "errors"), CASES)
def test_a_fault_never_reaches_the_application(part, stderr, errors, monkeypatch):
    """Thirty times each; every one is counted, and those that nobody heard of are counted as such."""
    monkeypatch.setattr("sys.stderr", standard_errors()[stderr])
    before = statistics()
    with NestedSetup([*PARTS[part](io.StringIO()), Flags(errors=errors)]):
        for _ in range(30):
            log.error("x {}", EvilText() if part == "__str__" else 1, extra={"k": EvilText()})
    after = statistics()
    monkeypatch.undo()

    counted = {name: after[name] - before[name] for name in after}
    if part == "__str__":
        assert counted["unformatted"] == 30
    else:
        assert counted["failed"] >= 30
    heard = errors == "silent" or stderr == "fine"
    assert (counted["unreported"] > 0) is (not heard and part != "__str__")


@pytest.mark.parametrize("part", PARTS)
def test_a_fault_reaches_the_application_that_asked_for_it(part):
    """``errors="raise"`` is for tests."""
    with NestedSetup([*PARTS[part](io.StringIO()), Flags(errors="raise")]):
        with pytest.raises((Fault, TypeError)):
            log.error("x {}", EvilText() if part == "__str__" else 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("part", [part for part in PARTS if part != "__str__"])
def test_what_ends_the_program_always_passes(part, error, monkeypatch):
    """Nothing here stops a program from being stopped."""

    def end(*args):
        raise error

    setup = PARTS[part](io.StringIO())
    for thing in setup:
        for name in ("callback", "filter", "formatter"):
            if getattr(thing, name, None) is throw:
                setattr(thing, name, end)
        for name in ("should_handle", "emit", "handle_error", "write", "flush"):
            if getattr(type(thing), name, None) is throw:
                monkeypatch.setattr(type(thing), name, end)

    with NestedSetup([*setup, Flags(errors="silent")]), pytest.raises(error):
        log.error("x")


class Secret:
    """An object with something to hide."""

    _password = "hunter2"

    def __init__(self):
        self.public = "fine"
        self.__dict__["__token"] = "hunter2"


BODIES = [
    "__class__",
    "__init__.__globals__",
    "_password",
    "public.__class__",
    "__dict__",
    "__doc__",
]
SHAPES = [
    "{{0.{}}}",
    "{{0.{}!r}}",
    "{{0.{}:>9}}",
    "{{a.{}}}",
    "{{0.public.{}}}",
    "x{{0.{}}}{{0.{}}}",
]
BOMBS = [
    "{0:>300000000}", "{1:999999999d}", "{1:.999999999f}", "{1:{2}}", "{0!r:>99999}", "{1:0999999999}",
    "{3}" * 2000, "{0:\U0001f4a3>300000000}", "{1:,999999999d}", "{1:>{2}}{1:<{2}}",
]  # fmt: skip


def payloads():
    generator = random.Random(5)
    yield from (shape.format(body, body) for shape in SHAPES for body in BODIES)
    yield from BOMBS
    pieces = [
        "{0",
        "}",
        ".",
        "_",
        "__",
        "[",
        "]",
        "!r",
        ":",
        ">",
        "999999999",
        "{",
        "password",
        "class",
        "a",
    ]
    for _ in range(500):
        yield "".join(generator.choices(pieces, k=generator.randint(2, 12)))


@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_hostile_message_reaches_nothing_private_and_stays_small(kind):
    """Over five hundred of them, through the real way of a record."""
    stream = io.StringIO()
    handler = StreamHandler(stream, format_string="{record.message}")
    if kind == "json":
        handler.formatter = JSONFormatter(["message"])
    sent = 0
    with handler:
        for payload in payloads():
            log.info(payload, Secret(), 1, 300_000_000, "x" * 1000, a=Secret())
            sent += 1

    lines = stream.getvalue().splitlines()
    assert len(lines) == sent >= 500
    assert not [
        line for line in lines if "hunter2" in line or "<class" in line.partition(" [could")[0]
    ]
    assert max(map(len, lines)) <= 65_536 + 20


def test_ten_thousand_random_messages_are_ten_thousand_lines():
    """Whatever the template and the arguments: a line each, no exception."""
    generator = random.Random(7)
    pieces = [
        "{",
        "}",
        "{}",
        "{0}",
        "{a}",
        "%s",
        "\n",
        "\x00",
        "\ud800",
        "☃",
        "text",
        ":",
        "!",
        "[",
        ".",
        "\x1b",
    ]
    values = [1, None, "v", b"\xff", 1.5, [], EvilText(), object(), "\ud800\n", 10**5000]
    text, data = io.StringIO(), io.StringIO()
    json_handler = StreamHandler(data, bubble=True)
    json_handler.formatter = JSONFormatter()
    with StreamHandler(text, format_string="{record.message}"), json_handler:
        for _ in range(10_000):
            message = "".join(generator.choices(pieces, k=generator.randint(0, 6)))
            args = generator.choices(values, k=generator.randint(0, 3))
            kwargs = {"a": generator.choice(values)} if generator.random() < 0.5 else {}
            log.info(message, *args, **kwargs)

    assert text.getvalue().count("\n") == 10_000
    lines = data.getvalue().splitlines()
    assert len(lines) == 10_000
    for line in lines:
        json.loads(line)


def test_huge_values_cost_little_and_are_cut():
    """A hundred megabytes of text, a million keys: one line of bounded length."""
    stream = io.StringIO()
    huge = {"a": "x" * 100_000_000}
    with StreamHandler(stream, format_string="{record.message}"):
        log.info("{}", huge["a"])
        log.info(huge["a"])
        log.info("{}", dict.fromkeys(range(1_000_000)))

    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 65_536
    assert all("cut]" in line or "more" in line for line in lines)
