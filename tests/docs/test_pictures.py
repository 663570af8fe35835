"""The drawings of the pages: readable in light and dark, by everybody, and from nowhere else."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.docs.walking import directives_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
DRAWINGS = sorted(DOCS.glob("_static/*.svg"))
PAGES = sorted(page for page in DOCS.rglob("*.rst") if "_build" not in page.parts)
FIGURES = [
    (page, argument, options)
    for page in PAGES
    for kind, argument, options in directives_of(page)
    if kind in ("figure", "image")
]


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_a_drawing_follows_the_colours_of_the_reader(path: Path):
    """It says what it shows, has colours for the dark, and loads nothing."""
    text = path.read_text("utf-8")
    # It is our own file.
    root = ET.fromstring(text)

    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert "prefers-color-scheme: dark" in text
    assert re.findall(r"(?:href|url)\W+https?:", text) == []


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: path.stem)
def test_what_is_written_in_a_drawing_is_within_it(path: Path):
    """No line begins or ends outside, as far as its length in letters tells."""
    root = ET.fromstring(path.read_text("utf-8"))
    width = float(root.get("width", "0"))

    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        length = len(text.text or "") * (6.2 if "s" in (text.get("class") or "") else 7.8)
        x = float(text.get("x", "0"))
        begin = x if text.get("text-anchor") is None else x - length / 2
        assert begin >= 0, text.text
        assert begin + length <= width, text.text


def test_every_picture_says_what_it_shows():
    """For those who do not see it."""
    assert [(page.name, path) for page, path, options in FIGURES if not options.get("alt")] == []


def test_every_drawing_is_on_a_page():
    """Else nobody sees it."""
    shown = {Path(path).name for _, path, _ in FIGURES}

    assert {path.name for path in DRAWINGS} - shown - {"logo.svg"} == set()
