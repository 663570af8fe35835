"""Places in the tree of a task: how they are written, how they compare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.eliot._task_level import TaskLevel

numbers = st.lists(st.integers(min_value=1), max_size=6)
levels = numbers.map(TaskLevel)


@given(level=numbers)
def test_a_level_is_its_numbers(level):
    """As a list of the caller's own each time."""
    task_level = TaskLevel(level)

    got = task_level.as_list()
    got.append(1)

    assert task_level.as_list() == task_level.level == level


@given(level=levels)
def test_what_is_written_is_read_again(level):
    """Under both names."""
    assert TaskLevel.from_string(level.to_string()) == level
    assert TaskLevel.fromString(level.toString()) == level


def test_a_level_is_written_with_slashes():
    """The task itself is a lone slash."""
    assert TaskLevel([2, 1]).to_string() == "/2/1"
    assert TaskLevel([]).to_string() == "/"


@pytest.mark.parametrize("text", ["2//1/", "/2/1", "2/1", "//2/1//"])
def test_empty_pieces_are_ignored(text):
    """However many slashes."""
    assert TaskLevel.from_string(text) == TaskLevel([2, 1])


@pytest.mark.parametrize("text", ["/a", "/1/x", "1.5", "/1 2"])
def test_what_is_no_level_is_refused(text):
    """The text says what one looks like."""
    with pytest.raises(ValueError, match=f"not a task level: {text!r}; it looks like '/2/1'"):
        TaskLevel.from_string(text)


@pytest.mark.rule("E3.2")
@given(level=levels.filter(lambda level: level.level))
def test_a_level_comes_before_its_children_and_siblings(level):
    """And children before the next sibling."""
    assert level < level.child() < level.next_sibling()
    assert level <= level.child()
    assert level.next_sibling() > level
    assert level.next_sibling() >= level.child()


@pytest.mark.rule("E3.2")
def test_numbers_compare_as_numbers():
    """Ten comes after two."""
    assert TaskLevel([1, 2]) < TaskLevel([1, 10])
    assert not TaskLevel([1, 10]) <= TaskLevel([1, 2])


@given(first=numbers, second=numbers)
def test_levels_compare_as_their_lists_do(first, second):
    """All six ways, and the hash with them."""
    one, other = TaskLevel(first), TaskLevel(second)

    assert (one == other) is (first == second)
    assert (one != other) is (first != second)
    assert (one < other) is (first < second)
    assert (one <= other) is (first <= second)
    assert (one > other) is (first > second)
    assert (one >= other) is (first >= second)
    assert first != second or hash(one) == hash(other)


def test_a_level_equals_nothing_else():
    """Not even its list."""
    assert TaskLevel([1]) != [1]
    assert TaskLevel([1]) != "/1"


@given(level=levels)
def test_a_child_is_inside_of_its_parent(level):
    """The first one has the number 1."""
    assert level.child().parent() == level
    assert level.child().level == [*level.level, 1]
    assert level.child().is_sibling_of(level.child().next_sibling())
    assert not level.is_sibling_of(level.child())


def test_a_task_has_no_parent_and_no_siblings():
    """It is where counting begins."""
    assert TaskLevel([]).parent() is None
    assert TaskLevel([1]).parent() == TaskLevel([])
    with pytest.raises(ValueError, match="has no siblings"):
        TaskLevel([]).next_sibling()


def test_a_level_can_be_read():
    """By those who debug."""
    assert repr(TaskLevel([2, 1])) == "TaskLevel([2, 1])"
