"""Tracebacks taken apart: nothing is lost, and what is not one's own is folded."""

import json
import sys
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.tickets._views_traceback import MAX_FRAMES, library_of, read_traceback


def formatted(function, *arguments):
    try:
        function(*arguments)
    except BaseException:
        return traceback.format_exc()
    raise AssertionError("it did not fail")


def _chain():
    try:
        json.loads("{")
    except ValueError as error:
        raise RuntimeError("outer\nof two lines") from error


def test_frames_and_errors_of_a_chain():
    """Each exception with its frames, its text, and what it has to do with the one before."""
    trace = read_traceback(formatted(_chain))

    first, second = trace.sections
    assert first.error.startswith("json.decoder.JSONDecodeError: ")
    assert [fold.libraries for fold in first.folds] == [(), ("Python",)]
    assert [fold.is_open for fold in first.folds] == [True, False]
    assert first.folds[1].summary == f"{len(first.folds[1].frames)} frames in Python"
    assert second.relation == "The above exception was the direct cause of the following exception:"
    assert second.error == "RuntimeError: outer\nof two lines"
    frame = second.folds[0].frames[-1]
    assert (frame.basename, frame.function) == ("test_traceback.py", "_chain")
    assert frame.code[0] == 'raise RuntimeError("outer\\nof two lines") from error'


def test_marks_below_a_line_are_known_as_such():
    """What points at a part of a line is no code, and is not read out."""
    trace = read_traceback(
        'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g(1 // 0)\n      ~~^^~~\nZeroDivisionError: x'
    )

    assert list(trace.sections[0].folds[0].frames[0].lines) == [
        ("g(1 // 0)", False),
        ("  ~~^^~~", True),
    ]


def test_where_all_frames_are_a_librarys_they_are_shown():
    """Folding everything would help nobody."""
    text = 'Traceback (most recent call last):\n  File "/x/site-packages/tornado/web.py", line 1, in f\nOSError: x'

    (fold,) = read_traceback(text).sections[0].folds

    assert fold.is_open
    assert fold.libraries == ("tornado",)


def _recurse(number):
    return _recurse(number - 1)


def test_recursion_says_how_often():
    """Python's note on lines that repeat stands with the frame."""
    trace = read_traceback(formatted(_recurse, 10))

    notes = [frame.note for fold in trace.sections[0].folds for frame in fold.frames]
    assert any("Previous line repeated" in note for note in notes)


def test_endless_tracebacks_have_an_end():
    """Of very many frames those in the middle are left out, and counted."""
    frames = "".join(f'  File "a{number}.py", line 1, in f\n    x\n' for number in range(1000))
    trace = read_traceback(f"Traceback (most recent call last):\n{frames}OSError: x")

    (section,) = trace.sections
    assert sum(len(fold.frames) for fold in section.folds) == MAX_FRAMES
    assert section.left_out == 1000 - MAX_FRAMES


def _group():
    raise ExceptionGroup("several", [ValueError("one"), OSError("two")])


@pytest.mark.parametrize("text", [formatted(_group), "no traceback at all", '  File "a", line 1'])
def test_what_looks_otherwise_is_shown_as_it_is(text):
    """Groups, and whatever other programs write."""
    trace = read_traceback(text)

    assert (trace.sections, trace.text) == ((), text)


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_no_traceback(text):
    """Most records have none."""
    assert read_traceback(text) is None


@pytest.mark.parametrize(
    ("filename", "library"),
    [
        (json.__file__, "Python"),
        (pytest.__file__, "pytest"),
        (__file__, ""),
        ("<frozen importlib._bootstrap>", "Python"),
        ("<stdin>", ""),
        (r"C:\Python311\Lib\json\decoder.py", "Python"),
        (r"C:\venv\Lib\site-packages\six.py", "six"),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", "yaml"),
        ("/usr/lib64/python3.13t/asyncio/base_events.py", "Python"),
        ("/srv/lib/shop.py", ""),
    ],
)
def test_whose_a_file_is(filename, library):
    """By where it lies, on whatever machine that was."""
    assert library_of(filename) == library


@given(
    st.lists(
        st.sampled_from(
            [
                "Traceback (most recent call last):",
                '  File "a.py", line 3, in f',
                '  File "b", line 99999999999',
                "    code",
                "    ~~^",
                "Error: x",
                "",
                "During handling of the above exception, another exception occurred:",
                "  [Previous line repeated 3 more times]",
                "x" * 50,
            ]
        )
    )
)
def test_no_text_is_too_odd(lines):
    """Whatever the order of the lines: nothing raises, and every line of code is kept."""
    text = "\n".join(lines)
    trace = read_traceback(text)

    if trace is not None:
        assert trace.text == text


def test_python_of_these_tests_is_a_library():
    """The interpreter that runs this has its files where they are known."""
    assert library_of(sys.modules["traceback"].__file__) == "Python"
