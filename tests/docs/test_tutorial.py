"""The tutorial leads where it says, for somebody who has nothing but its text."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.walking import Walk, normalise, parts_of, pattern_of
from tests.http.serving.driver import free_port

pytest.importorskip("sqlalchemy")

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial"
# Those of the first table of contents, in its order.
CHAPTERS = re.findall(
    r"^   ([\w-]+)$",
    (TUTORIAL / "index.rst").read_text("utf-8").split(".. toctree::")[1],
    re.MULTILINE,
)


@pytest.fixture(name="walk")
def _walk(tmp_path: Path) -> Iterator[Walk]:
    walk = Walk(tmp_path, free_port())
    yield walk
    walk.close()


def test_it_leads_from_nothing_to_the_page_of_a_failed_request(walk: Walk):
    """Every file, command and answer of every chapter, and the page in the browser at its end."""
    for chapter in CHAPTERS:
        walk.follow(TUTORIAL / f"{chapter}.rst")


def test_its_chapters_are_these():
    """None is left out of the walk."""
    assert CHAPTERS[0] == "install"
    assert CHAPTERS[-1] == "everyday"
    assert len(CHAPTERS) == 6


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_chapter_ends_with_what_there_is_and_where_to_go(chapter: str):
    """Something visible, and the next one."""
    text = (TUTORIAL / f"{chapter}.rst").read_text("utf-8")
    following = dict(itertools.pairwise(CHAPTERS)).get(chapter)

    assert "What you have now\n---" in text
    assert following is None or text.endswith(f"Next: :doc:`{following}`.\n")
    blocks = [
        part.content for part in parts_of(TUTORIAL / f"{chapter}.rst") if part.argument == "console"
    ]
    assert any("\n" in block for block in blocks)


def test_what_a_page_shows_is_looked_for_and_not_taken_for_granted(walk: Walk, tmp_path: Path):
    """The walk fails where a page promises what does not come."""
    page = tmp_path / "page.rst"
    page.write_text(
        ".. code-block:: console\n\n    $ python3 -m venv .venv\n    $ . .venv/bin/activate\n"
        "    $ python -c 'print(\"tea\")'\n    coffee\n"
    )

    with pytest.raises(AssertionError, match="said:\ntea"):
        walk.follow(page)


@pytest.mark.parametrize(
    ("shown", "said", "fits"),
    [
        ("a\n...\nc", "a\nb\nb\nc", True),
        ("a\n...\nc", "a\nc", True),
        ("a\n...\nc", "a\nb", False),
        ("...\nOK", "ran 1\n\nOK", True),
        ("...\nOK", "ran 1\nFAILED", False),
        (
            "task 6dd5478b-c3f6-432e-a3a8-ba78c6a5f000",
            "task 00000000-0000-0000-0000-000000000000",
            True,
        ),
        ("worker 4711 is ready", "worker 12 is ready", True),
        ("worker 4711 is ready", "worker 12 is gone", False),
    ],
)
def test_dots_stand_for_lines_and_kinds_for_what_differs(shown: str, said: str, fits: bool):
    """What differs from run to run is compared by its kind; everything else as it is."""
    assert bool(pattern_of(shown).fullmatch(normalise(said))) is fits
