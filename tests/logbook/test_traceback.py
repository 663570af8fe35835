"""Tracebacks: the standard library's text, and what is different when one message is one line."""

from __future__ import annotations

import ast
import gc
import linecache
import sys
import traceback
import weakref
from types import TracebackType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook import _traceback
from sprockets.logbook._traceback import (
    exception_message,
    exception_name,
    format_exception,
)


@pytest.fixture(autouse=True)
def _no_frames(monkeypatch):
    """Start each test with no frame rendered yet."""
    monkeypatch.setattr(_traceback, "_frames", {})


def by_stdlib(exc_info):
    """Return the text to be equal to."""
    return "".join(traceback.format_exception(*exc_info)).rstrip()


def caught(function):
    """Return the exc_info of what *function* raises."""
    try:
        function()
    except BaseException:  # the point of it
        return sys.exc_info()
    raise AssertionError("nothing was raised")


# --- things that go wrong -----------------------------------------------------------------------


def divide():
    return 1 / 0


def divide_within_a_long_expression():
    numbers = {"one": 1, "zero": 0}
    return (
        numbers["one"]
        + numbers["one"] / numbers["zero"]
        + sum(numbers.values())
    )  # fmt: skip


def index_deeply():
    nested = {"a": {"b": {}}}
    return nested["a"]["b"]["c"]["d"]


def cause():
    try:
        divide()
    except ZeroDivisionError as error:
        raise ValueError("by a cause") from error


def context():
    try:
        cause()
    except ValueError:
        return {}["missing"]


def suppressed():
    try:
        divide()
    except ZeroDivisionError:
        raise ValueError("alone") from None


def cause_without_traceback():
    raise ValueError("late") from KeyError("early")


def unsuppressed():
    error = ValueError("cause and context")
    error.__cause__ = error.__context__ = KeyError("k")
    error.__suppress_context__ = False
    raise error


def cycle():
    first, second = ValueError("first"), ValueError("second")
    first.__context__ = second
    second.__context__ = first
    raise first


def cause_cycle():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__ = second
    second.__cause__ = first
    second.__context__ = KeyError("aside")
    second.__suppress_context__ = False
    raise first


def notes():
    error = ValueError("noted")
    error.add_note("one")
    error.add_note("two\nlines")
    error.add_note("")
    raise error


def odd_notes(value):
    def raises():
        error = ValueError("noted")
        error.__notes__ = value
        raise error

    return raises


def group():
    raise ExceptionGroup("several", [ValueError("one"), ExceptionGroup("inner", [KeyError("two")])])


def after_group():
    try:
        group()
    except ExceptionGroup as error:
        raise ValueError("after") from error


def syntax():
    compile("one = two three", "some file.py", "exec")


def syntax_of_user():
    ast.literal_eval("{'a': \n  1 +* 2}")


def syntax_bare():
    raise SyntaxError("bare")


def syntax_odd():
    raise SyntaxError("odd", (None, None, 3, "  text  here\n"))


def indentation():
    compile("if x:\npass\n", "some file.py", "exec")


def misspelt_name():
    divident = 1
    return dividend + divident  # noqa: F821  # on purpose


def missing_import():
    return collections.Counter  # noqa: F821  # on purpose


def misspelt_attribute():
    return "".joim([])


def misspelt_import():
    from collections import Countre  # type: ignore[attr-defined]  # noqa: F401  # on purpose


def missing_module():
    import no_such_module  # type: ignore[import-not-found]  # noqa: F401  # on purpose


def many_misspelt(left=12):
    try:
        if left:
            many_misspelt(left - 1)
        misspelt_attribute()
    finally:
        misspelt_attribute()


def recursion(left=20):
    return recursion(left - 1) if left else divide()


def alternating(left=20):
    return alternating_back(left - 1) if left else divide()


def alternating_back(left):
    return alternating(left - 1)


def repeated_thrice():
    return recursion(2)


def repeated_four_times():
    return recursion(3)


def endless():
    return endless()


def leave():
    sys.exit(3)


def stop():
    raise KeyboardInterrupt


def empty():
    raise ValueError


def many_lines():
    raise ValueError("one\n  two\r\n\tthree\n\n")


def surrogates():
    raise ValueError("\ud800 \x1b[31m \x00")


def os_error():
    open("/no/such/file")  # noqa: SIM115  # on purpose


class OddError(Exception):
    """An exception that has no text."""

    def __str__(self):
        raise ZeroDivisionError


class NoTextError(Exception):
    """An exception whose text is no text."""

    def __str__(self):
        return 5


class FalseError(Exception):
    """An exception that is false."""

    def __bool__(self):
        return False


class Nested:
    """A namespace."""

    class InnerError(Exception):
        """An exception with a qualified name."""


def raising(error):
    def raises():
        try:
            divide()
        except ZeroDivisionError:
            raise error  # noqa: B904  # the context is wanted

    return raises


def evaluated():
    eval("1 +\\\n 1 / 0")  # on purpose


def executed():
    code = "def f():\n    raise ValueError('executed')\nf()"
    exec(compile(code, "<generated>", "exec"), {})  # on purpose


def with_a_long_line():
    code = "x = 0; y = 1 / x;" + " z = 1;" * 2_000
    linecache.cache["<long>"] = (len(code), None, [code + "\n"], "<long>")
    exec(compile(code, "<long>", "exec"), {})  # on purpose


def with_wide_characters():
    return "日本語" + "ü" + (1 / 0)  # fmt: skip


def in_a_comprehension():
    return [[1 / x for x in (1, 0)] for _ in "ab"]


def in_a_generator():
    return list(1 / x for x in (1, 0))  # noqa: C400  # on purpose


def by_lambda():
    return (lambda x: 1 / x)(0)


CASES = [
    *(divide, divide_within_a_long_expression, index_deeply, cause, context, suppressed),
    *(cause_without_traceback, unsuppressed, cycle, cause_cycle, notes, group, after_group),
    *(syntax, syntax_of_user, syntax_bare, syntax_odd, indentation, misspelt_name),
    *(missing_import, misspelt_attribute, misspelt_import, missing_module, many_misspelt),
    *(recursion, alternating, repeated_thrice, repeated_four_times, endless, leave, stop),
    *(empty, many_lines, surrogates, os_error, evaluated, executed, with_a_long_line),
    *(with_wide_characters, in_a_comprehension, in_a_generator, by_lambda),
    *(
        odd_notes(value)
        for value in ([], ["a", 5, OddError()], ("t",), "text", b"by", 5, OddError())
    ),
    *(
        raising(error)
        for error in (OddError(), NoTextError(), FalseError("f"), Nested.InnerError(1))
    ),
    *(raising(error) for error in (AttributeError("a"), NameError("n"), ImportError("i"))),
    raising(type("Made", (ValueError,), {"__module__": None})("made")),
    raising(type("Made", (ValueError,), {"__module__": "__main__"})("made")),
]


@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__qualname__)
def test_the_text_is_that_of_the_standard_library(function):
    """Whatever is raised, the text is the one that traceback.format_exception gives."""
    exc_info = caught(function)
    expected = by_stdlib(exc_info)

    first, cached = format_exception(exc_info), format_exception(exc_info)

    assert first == expected
    assert cached == expected


@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__qualname__)
def test_messages_in_one_line_keep_the_rest(function):
    """Nothing but messages and notes changes when these are kept in one line."""
    exc_info = caught(function)

    lines = format_exception(exc_info, one_line_messages=True).splitlines()

    expected = by_stdlib(exc_info).split("\n")
    assert len(lines) <= len(expected)
    assert lines[0] == expected[0]
    frames = [line for line in expected if line.startswith("  File")]
    assert [line for line in lines if line.startswith("  File")] == frames


def test_an_exception_may_have_no_traceback():
    """An exception that was never raised is one line."""
    assert format_exception((ValueError, ValueError("x"), None)) == "ValueError: x"


def test_no_exception_at_all_is_what_the_standard_library_calls_it():
    """There is nothing to say of nothing."""
    assert format_exception((None, None, None)) == by_stdlib((None, None, None))


def test_a_part_of_a_traceback_may_be_given():
    """The traceback given is the one shown, not the one the exception has."""
    kind, value, tb = caught(recursion)
    part = tb.tb_next.tb_next

    assert format_exception((kind, value, part)) == by_stdlib((kind, value, part))


def test_the_limit_of_the_interpreter_holds(monkeypatch):
    """sys.tracebacklimit cuts our text as it cuts theirs."""
    exc_info = caught(recursion)
    monkeypatch.setattr(sys, "tracebacklimit", 2, raising=False)

    assert format_exception(exc_info) == by_stdlib(exc_info)
    assert format_exception(exc_info).count("  File") == 2


def test_a_traceback_put_together_by_hand_shows_its_own_line():
    """Where code has no line for an instruction, the line of the traceback counts, each time."""
    kind, value, tb = caught(divide)
    for line in (1, 2):
        made = TracebackType(None, tb.tb_frame, -1, line)

        assert format_exception((kind, value, made)) == by_stdlib((kind, value, made))


@given(
    messages=st.lists(st.text(), min_size=1, max_size=4),
    links=st.lists(st.sampled_from(["cause", "context", "none", "both"]), min_size=4, max_size=4),
    notes=st.lists(st.text(), max_size=2),
    kinds=st.lists(
        st.sampled_from([ValueError, KeyError, OSError, SystemExit, SyntaxError, OddError]),
        min_size=4,
        max_size=4,
    ),
)
def test_chains_of_all_kinds_are_written_as_by_the_standard_library(messages, links, notes, kinds):
    """Any chain of causes and contexts with any messages and notes gives the same text."""
    error = None
    for message, link, kind in zip(messages, links, kinds, strict=False):
        before, error = error, kind(message)
        if link in {"cause", "both"}:
            error.__cause__ = before
        if link in {"context", "both"}:
            error.__context__ = before
        for note in notes:
            error.add_note(note)
        exc_info = caught(raising(error)) if link == "none" else (kind, error, None)
    expected = by_stdlib(exc_info)

    assert format_exception(exc_info) == expected


# --- exceptions that misbehave ------------------------------------------------------------------


def _evil(**names):
    def refuse(self, *args):
        raise ZeroDivisionError("evil")

    return type("EvilError", (Exception,), {name: made(refuse) for name, made in names.items()})


@pytest.mark.parametrize("one_line", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        _evil(__cause__=property),
        _evil(__context__=property),
        _evil(__suppress_context__=property),
        _evil(__notes__=property),
        _evil(__traceback__=property),
        _evil(__bool__=lambda function: function),
        _evil(__str__=lambda function: function, __repr__=lambda function: function),
        _evil(__getattribute__=lambda function: function),
        _evil(__hash__=lambda function: function, __eq__=lambda function: function),
        _evil(__str__=lambda function: lambda self: str(self)),
    ],
    ids=range(10),
)
def test_an_exception_that_misbehaves_still_has_a_traceback(kind, one_line):
    """Where it happened and what it was is said whatever the exception does."""
    exc_info = caught(raising(kind("message")))

    text = format_exception(exc_info, one_line_messages=one_line)

    assert "in raises" in text
    assert "EvilError" in text
    try:
        expected = by_stdlib(exc_info)
    except Exception:  # evil to them too
        return
    if not one_line:
        assert text == expected


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_wish_to_stop_passes(error):
    """KeyboardInterrupt and SystemExit raised while a message is written are not swallowed."""

    class StoppingError(Exception):
        def __str__(self):
            raise error

    with pytest.raises(error):
        format_exception((StoppingError, StoppingError(), None))


def test_a_metaclass_cannot_stop_the_traceback():
    """A class that raises when asked for its name is named all the same."""

    class Evil(type):
        def __getattribute__(cls, name):
            raise ZeroDivisionError(name)

    class BadError(Exception, metaclass=Evil):
        pass

    text = format_exception(caught(raising(BadError())))

    assert "BadError" in text
    assert "in raises" in text
    assert exception_name(BadError()) == "<unknown>.<unknown>"


def _room() -> int:
    """Return how many more calls fit on the stack."""
    try:
        return 1 + _room()
    except RecursionError:
        return 0


def test_a_stack_that_is_full_does_not_make_it_raise():
    """Where hardly a frame is left, a text without details is returned rather than an error."""
    exc_info = caught(divide)

    def descend(left):
        return descend(left - 1) if left else format_exception(exc_info)

    room = _room()
    for left in range(4, 40):
        text = descend(room - left)
        assert "ZeroDivisionError" in text or text == "<the traceback cannot be written>"


# --- one message, one line ----------------------------------------------------------------------

FORGED = "x\n2024-02-29 ERROR forged\r\n\x1b[31m\u2028\x85\ud800"


def _with_notes():
    error = ValueError("m")
    error.add_note(FORGED)
    error.__notes__.append(5)
    raise error


def _with_usual_notes():
    error = ValueError("m")
    error.add_note(FORGED)
    raise error


def _with_odd_notes():
    error = ValueError("m")
    error.__notes__ = FORGED
    raise error


def _in_group():
    raise ExceptionGroup(FORGED, [ValueError(FORGED), SyntaxError(FORGED)]) from KeyError(FORGED)


def _in_syntax():
    raise SyntaxError(FORGED, (FORGED, 1, 3, FORGED))


def _in_attribute():
    raise AttributeError(FORGED, name="namex", obj=sys)


def _in_filename():
    exec(compile("1/0", FORGED, "exec"), {})  # on purpose


def _in_class():
    raise type(FORGED, (Exception,), {})("m")


def _in_chain():
    try:
        _in_syntax()
    except SyntaxError:
        raise ValueError(FORGED)  # noqa: B904  # on purpose


@pytest.mark.parametrize(
    "function",
    [
        *(raising(ValueError(FORGED)), raising(KeyError(FORGED)), _with_notes, _with_usual_notes),
        *(
            _with_odd_notes,
            _in_group,
            _in_syntax,
            _in_attribute,
            _in_filename,
            _in_class,
            _in_chain,
        ),
    ],
    ids=lambda function: function.__qualname__,
)
def test_a_message_cannot_forge_a_line(function):
    """With messages in one line, no line begins with what a message contains."""
    text = format_exception(caught(function), one_line_messages=True)

    lines = text.splitlines()
    assert lines == text.split("\n")
    assert not [line for line in lines if line.lstrip(" |").startswith(("2024", "\x1b", "\\x1b"))]
    assert text.encode()
    assert "\x1b" not in text


def test_the_escapes_of_a_message_are_readable():
    """Line breaks and controls in a message are shown as backslash escapes, tabs stay."""
    text = format_exception((ValueError, ValueError("a\nb\tc\x1b"), None), one_line_messages=True)

    assert text == "ValueError: a\\nb\tc\\x1b"


@pytest.mark.parametrize("character", "x\n")
def test_a_huge_message_is_cut(character):
    """A message in one line has at most 64 kB."""
    error = ValueError(character * 10_000_000)

    text = format_exception((ValueError, error, None), one_line_messages=True)

    assert len(text) < 65_600
    assert text.endswith("characters cut]")


# --- what is remembered -------------------------------------------------------------------------


def test_a_frame_is_rendered_once(monkeypatch):
    """The same place in the same code is not rendered a second time."""
    format_exception(caught(divide))
    monkeypatch.setattr(traceback, "extract_tb", None)

    assert "ZeroDivisionError" in format_exception(caught(divide))


def test_equal_code_of_two_files_is_two_places():
    """Code objects that compare equal keep their own file names."""
    texts = []
    for name in ("one.py", "two.py"):
        code = compile("1/0", name, "exec")
        texts.append(format_exception(caught(lambda code=code: exec(code, {}))))

    assert 'File "one.py"' in texts[0]
    assert 'File "two.py"' in texts[1]


def test_a_changed_file_shows_the_line_that_ran(tmp_path):
    """Once seen, a frame is shown as it was when it was loaded, whatever is in the file by now."""
    path = tmp_path / "module.py"
    path.write_text("1 / 0  # before\n")
    code = compile(path.read_text(), str(path), "exec")
    before = format_exception(caught(lambda: exec(code, {})))  # on purpose
    path.write_text("something much longer and different\n")

    after = format_exception(caught(lambda: exec(code, {})))  # on purpose

    assert "1 / 0  # before" in before
    assert after.partition(str(path))[2] == before.partition(str(path))[2]


def test_a_missing_file_has_no_lines(tmp_path):
    """Without its source, a frame is a file name, a line and a function."""
    path = tmp_path / "gone.py"
    exc_info = caught(lambda: exec(compile("1/0", str(path), "exec"), {}))  # on purpose

    text = format_exception(exc_info)

    assert text == by_stdlib(exc_info)
    assert f'  File "{path}", line 1, in <module>\nZeroDivisionError' in text


def test_frames_and_locals_are_let_go():
    """Nothing that was alive in a frame is kept alive by its text."""

    class Local:
        pass

    def fail():
        local = Local()
        gone.append(weakref.ref(local))
        raise ValueError

    gone: list[weakref.ref] = []
    exc_info = caught(fail)
    format_exception(exc_info)

    del exc_info
    gc.collect()

    assert gone[0]() is None


def test_only_so_many_frames_are_remembered():
    """Code made over and over does not fill the memory."""
    for number in range(1_500):
        code = compile(f"raise ValueError({number})", f"<{number}>", "exec")
        exc_info = caught(lambda code=code: exec(code, {}))  # on purpose
        assert f"ValueError: {number}" in format_exception(exc_info)

    assert len(_traceback._frames) <= 1_024


def test_long_lines_are_not_remembered():
    """A frame whose source is a very long line is rendered each time."""
    format_exception(caught(with_a_long_line))

    assert not [frame for frame in _traceback._frames.values() if len(frame.text) > 4_096]


# --- names and messages -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (ZeroDivisionError("division by zero"), "builtins.ZeroDivisionError", "division by zero"),
        (Nested.InnerError(), f"{__name__}.InnerError", ""),
        (KeyError("k"), "builtins.KeyError", "'k'"),
        (OddError(), f"{__name__}.OddError", "<exception str() failed>"),
        (NoTextError(), f"{__name__}.NoTextError", "<exception str() failed>"),
    ],
)
def test_an_exception_has_a_name_and_a_message(error, name, message):
    """The name is module and simple class name; the message is its text, come what may."""
    assert exception_name(error) == name
    assert exception_message(error) == message
