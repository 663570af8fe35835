"""Old names work, warn where they are used, and say what to use."""

import subprocess
import sys
import warnings

import pytest

from sprockets._support import deprecated, moved


@deprecated("old_sum() is deprecated since 3.0; use sum() instead")
def old_sum(*numbers: int, start: int = 0) -> int:
    """Add up."""
    return sum(numbers, start)


class Queue:
    """Something with an attribute and a method that were renamed."""

    def __init__(self) -> None:
        self.max_size = 10

    def put_nowait(self, item: object) -> object:
        """Return what was put."""
        return item

    maxSize = moved("max_size", since="3.0")
    putNowait = moved("put_nowait", since="3.0")


def test_an_old_function_works_and_warns():
    """The call goes through, and the text is the one given."""
    with pytest.warns(DeprecationWarning, match=r"^old_sum\(\) is deprecated since 3.0; use sum"):
        result = old_sum(1, 2, start=3)

    assert result == 6


def test_the_warning_points_at_the_caller():
    """The line to change is the line that is named."""
    with pytest.warns(DeprecationWarning) as caught:
        old_sum(1)

    assert caught[0].filename == __file__


def test_an_old_function_keeps_its_name_and_documentation():
    """Help and tracebacks tell the same as before; tools find the text."""
    assert old_sum.__name__ == "old_sum"
    assert old_sum.__doc__ == "Add up."
    assert old_sum.__deprecated__.startswith("old_sum()")


def test_a_moved_attribute_is_read_under_its_old_name():
    """Old and new name are one attribute."""
    with pytest.warns(
        DeprecationWarning, match=r"^Queue\.maxSize is deprecated since 3\.0; use max_size instead$"
    ) as caught:
        size = Queue().maxSize

    assert size == 10
    assert caught[0].filename == __file__


def test_a_moved_attribute_is_written_under_its_old_name():
    """What is written under the old name is read under the new."""
    queue = Queue()

    with pytest.warns(DeprecationWarning):
        queue.maxSize = 20

    assert queue.max_size == 20


def test_a_moved_method_is_called_under_its_old_name():
    """A bound method comes back, from the instance as from the class."""
    with pytest.warns(DeprecationWarning):
        assert Queue().putNowait("x") == "x"
    with pytest.warns(DeprecationWarning):
        assert Queue.putNowait is Queue.put_nowait


def test_a_subclass_that_overrides_the_new_name_is_asked():
    """The old name follows the new one into subclasses."""

    class Bigger(Queue):
        def put_nowait(self, item: object) -> object:
            return [item]

    with pytest.warns(DeprecationWarning):
        assert Bigger().putNowait("x") == ["x"]


def test_defining_an_old_name_warns_nobody():
    """Only use warns; an import or a class body does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Silent:
            new = 1
            old = moved("new", since="3.0")

    assert "old" in vars(Silent)


def test_the_marker_does_not_import_typing_extensions():
    """What marks old names costs nobody that import."""
    code = "import sys, sprockets._support; print('typing_extensions' in sys.modules)"

    result = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout == "False\n"
