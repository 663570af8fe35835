"""The door of the room: what is there, under which name, and what it costs."""

import importlib
import inspect
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

from sprockets.logbook import more
from sprockets.logbook.handlers import FingersCrossedHandler
from sprockets.logbook.ticketing import TicketingHandler


def run(code):
    """Run *code* with warnings as errors, and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.rule("RS-17")
@pytest.mark.parametrize(
    ("name", "target", "text"),
    [
        (
            "DatabaseHandler",
            TicketingHandler,
            "sprockets.logbook.more.DatabaseHandler is a deprecated alias to"
            " sprockets.logbook.ticketing.TicketingHandler",
        ),
        (
            "FingersCrossedHandler",
            FingersCrossedHandler,
            "FingersCrossedHandler was moved to sprockets.logbook.handlers",
        ),
    ],
)
def test_an_old_name_leads_to_the_class_and_warns(name, target, text):
    """As an attribute and by import, each time, at the line that asks; an import asks twice."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        found = getattr(more, name)
        exec(f"from sprockets.logbook.more import {name}")

    assert found is target
    assert {(str(one.message), one.category) for one in caught} == {(text, DeprecationWarning)}
    assert [one.filename for one in caught][:2] == [__file__, "<string>"]
    assert name not in vars(more)


@pytest.mark.rule("RS-17")
def test_an_unknown_name_is_an_attribute_error():
    """And an import error for who imports it."""
    with pytest.raises(AttributeError, match=r"sprockets\.logbook\.more.*no attribute 'Nothing'"):
        more.Nothing  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        from sprockets.logbook.more import Nothing  # noqa: F401


@pytest.mark.rule("RS-17", "E-04")
def test_importing_all_names_is_silent():
    """Old names are not among them: who wants one has to say so."""
    out = run("""
        from sprockets.logbook.more import *
        print("DatabaseHandler" in globals(), "FingersCrossedHandler" in globals())
    """)

    assert out == "False False\n"


def test_all_names_are_there_and_from_where_they_seem():
    """The list is sorted, and each name is a class or a text of a room of its own."""
    assert more.__all__ == sorted(more.__all__, key=lambda name: (not name.isupper(), name))
    assert set(more.__all__) <= set(dir(more))
    for name in more.__all__:
        found = getattr(more, name)
        if not name.isupper():
            assert inspect.isclass(found)
            assert found.__module__.startswith("sprockets.logbook.more._")


@pytest.mark.rule("CO-8")
def test_the_codes_of_colours_are_a_module():
    """Of functions for who colours other things."""
    module = importlib.import_module("sprockets.logbook.more._termcolors")

    assert module.colorize("", "x") == "x" + module.codes["reset"]


@pytest.mark.rule("E-02")
def test_the_door_opens_no_room_before_it_is_asked():
    """Neither those behind it, nor any library that is an extra."""
    out = run("""
        import sys
        import sprockets.logbook.more
        rooms = [name for name in sys.modules if name.startswith("sprockets.logbook.more.")]
        print(rooms, [name for name in ("jinja2", "rich", "colorama") if name in sys.modules])
        from sprockets.logbook.more import JinjaFormatter, RichHandler
        print([name for name in ("jinja2", "rich", "colorama") if name in sys.modules])
    """)

    assert out == "[] []\n[]\n"


def test_the_reference_has_every_name():
    """Those of each room, whoever wrote it."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "more.rst"
    if not page.is_file():
        pytest.skip("the pages are not part of what is installed")
    documented = set(
        re.findall(r"sprockets\.logbook\.more\.(\w+)$", page.read_text(), re.MULTILINE)
    )

    assert documented == set(more.__all__)
